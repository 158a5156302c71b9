//! A client of rustls' that can be made to say more than rustls would: any record, encrypted as it
//! should be.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::client::Resumption;
use rustls::crypto::cipher::{
    AeadKey, Iv, KeyBlockShape, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundOpaqueMessage,
    OutboundPlainMessage, Tls12AeadAlgorithm, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuiteCommon, ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, Error, RootCertStore,
    ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, Tls12CipherSuite, Tls13CipherSuite,
};

/// What servers and clients are made with.
struct Configs {
    /// A server without tickets, as ours is, and one with.
    servers: [Arc<ServerConfig>; 2],
    /// A client of TLS 1.3, and one of 1.2.
    clients: [ClientConfig; 2],
}

/// Keys and signatures have the same length each time, so that the same program cuts what is sent
/// at the same places.
static CONFIGS: LazyLock<Configs> = LazyLock::new(|| {
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("there is entropy");
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("the name is good");
    params.serial_number = Some(1.into());
    let certificate = params.self_signed(&key).expect("the key is good").der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("it is a certificate");
    let server = |tickets| {
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has what they need")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .expect("they belong together");
        config.send_tls13_tickets = tickets;
        Arc::new(config)
    };
    let provider = Arc::new(tapped_provider());
    let client = |version: &'static SupportedProtocolVersion| {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .expect("the provider has a suite for it")
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config
    };
    Configs { servers: [server(0), server(2)], clients: [client(&TLS13), client(&TLS12)] }
});

/// Returns how a server is configured, with tickets or without.
pub(crate) fn server_config(has_tickets: bool) -> Arc<ServerConfig> {
    Arc::clone(&CONFIGS.servers[usize::from(has_tickets)])
}

// What is between a client and its cipher.

/// What the encrypter of this thread's client has done, and shall do.
#[derive(Default)]
struct Tap {
    /// What it encrypts in place of the next record.
    forged: Option<(ContentType, Vec<u8>)>,
    /// What was in the records that it has encrypted.
    sealed: Vec<(ContentType, Vec<u8>)>,
}

thread_local! {
    static TAP: RefCell<Tap> = RefCell::default();
}

/// A cipher, or an encrypter, that is listened to.
struct Tapped<T>(T);

impl MessageEncrypter for Tapped<Box<dyn MessageEncrypter>> {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, number: u64) -> Result<OutboundOpaqueMessage, Error> {
        let forged = TAP.with_borrow_mut(|tap| tap.forged.take());
        let (typ, content) = forged.unwrap_or_else(|| (message.typ, message.payload.to_vec()));
        let payload = OutboundChunks::Single(&content);
        let sealed = self.0.encrypt(OutboundPlainMessage { typ, version: message.version, payload }, number);
        TAP.with_borrow_mut(|tap| tap.sealed.push((typ, content)));
        sealed
    }

    fn encrypted_payload_len(&self, bytes: usize) -> usize {
        self.0.encrypted_payload_len(bytes)
    }
}

impl Tls13AeadAlgorithm for Tapped<&'static dyn Tls13AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Tapped(self.0.encrypter(key, iv)))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

impl Tls12AeadAlgorithm for Tapped<&'static dyn Tls12AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        Box::new(Tapped(self.0.encrypter(key, iv, extra)))
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.0.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv, explicit)
    }
}

/// Returns ring's provider with one suite for each version, both tapped.
fn tapped_provider() -> CryptoProvider {
    let common = |common: &CipherSuiteCommon| CipherSuiteCommon {
        suite: common.suite,
        hash_provider: common.hash_provider,
        confidentiality_limit: common.confidentiality_limit,
    };
    let tapped = |suite| match suite {
        SupportedCipherSuite::Tls13(suite) => SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
            common: common(&suite.common),
            hkdf_provider: suite.hkdf_provider,
            aead_alg: Box::leak(Box::new(Tapped(suite.aead_alg))),
            quic: None,
        }))),
        SupportedCipherSuite::Tls12(suite) => SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
            common: common(&suite.common),
            prf_provider: suite.prf_provider,
            kx: suite.kx,
            sign: suite.sign,
            aead_alg: Box::leak(Box::new(Tapped(suite.aead_alg))),
        }))),
    };
    let suites =
        [ring::cipher_suite::TLS13_AES_128_GCM_SHA256, ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
    CryptoProvider { cipher_suites: suites.map(tapped).into(), ..ring::default_provider() }
}

// The client.

/// The client's end of a connection.
pub(crate) struct TlsClient {
    connection: ClientConnection,
    /// Whether the records that follow are behind its handshake.
    is_behind_handshake: bool,
    is_closed: bool,
    /// The plaintext that it has encrypted.
    pub(crate) said: Vec<u8>,
    /// The plaintext that it has decrypted.
    pub(crate) heard: Vec<u8>,
    /// Whether it was told that nothing follows.
    pub(crate) has_heard_end: bool,
    /// Whether it has given up.
    pub(crate) is_dead: bool,
}

/// A record that it has made.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) bytes: Vec<u8>,
    /// What is in it, if it is behind the handshake.
    pub(crate) content: Option<(ContentType, usize)>,
    /// How much was said before it.
    pub(crate) said_before: usize,
    /// Whether it says that nothing follows.
    pub(crate) is_end: bool,
}

impl TlsClient {
    /// Creates a client that begins with a long hello: with so many names of protocols.
    pub(crate) fn new(is_tls12: bool, protocols: usize) -> Self {
        let mut config = CONFIGS.clients[usize::from(is_tls12)].clone();
        config.alpn_protocols = vec![vec![b'x'; 255]; protocols];
        let name = ServerName::try_from("localhost").expect("it is a name");
        TAP.take();
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("the configuration is good");
        connection.set_buffer_limit(None);
        Self {
            connection,
            is_behind_handshake: false,
            is_closed: false,
            said: Vec::new(),
            heard: Vec::new(),
            has_heard_end: false,
            is_dead: false,
        }
    }

    /// Whether it may say something else than plaintext now.
    pub(crate) fn is_open(&self) -> bool {
        !self.connection.is_handshaking() && !self.is_closed && !self.is_dead
    }

    /// Says something, once its handshake is over.
    pub(crate) fn say(&mut self, text: &[u8]) {
        if !self.is_closed && !self.is_dead {
            self.connection.writer().write_all(text).expect("the buffer has no limit");
        }
    }

    /// Says one record of any type and content.
    pub(crate) fn forge(&mut self, typ: ContentType, content: Vec<u8>) {
        TAP.with_borrow_mut(|tap| tap.forged = Some((typ, content)));
        self.connection.writer().write_all(b"x").expect("it is sent at once");
    }

    /// Changes its key, if there is a way to say so.
    pub(crate) fn update_key(&mut self) {
        let _ = self.connection.refresh_traffic_keys();
    }

    /// Says that nothing follows.
    pub(crate) fn close(&mut self) {
        self.connection.send_close_notify();
        self.is_closed = true;
    }

    /// Reads what the server has sent.
    pub(crate) fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_dead && !self.has_heard_end {
            self.connection.read_tls(&mut bytes).expect("there is room, since all is read each time");
            match self.connection.process_new_packets() {
                Ok(state) => self.has_heard_end = state.peer_has_closed(),
                Err(_) => self.is_dead = true,
            }
            // It would block, unless it is at the end.
            let _ = self.connection.reader().read_to_end(&mut self.heard);
        }
    }

    /// Returns the records that it has made since the last call.
    pub(crate) fn take_records(&mut self) -> Vec<Record> {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).expect("writing to memory does not fail");
        }
        let records = records(&bytes);
        let sealed = TAP.take().sealed;
        // Who encrypts does so from there on.
        let in_plain = records.len() - sealed.len();
        let sealed = std::iter::repeat_n(None, in_plain).chain(sealed.into_iter().map(Some));
        let made = records.into_iter().zip(sealed).map(|(bytes, sealed)| {
            let said_before = self.said.len();
            // Whether it is a warning or fatal.
            let is_end = matches!(&sealed, Some((ContentType::Alert, content)) if matches!(content[..], [1 | 2, 0]));
            let content = sealed.and_then(|(typ, content)| {
                if typ == ContentType::ApplicationData {
                    self.said.extend_from_slice(&content);
                }
                self.is_behind_handshake |= typ != ContentType::Handshake;
                self.is_behind_handshake.then_some((typ, content.len()))
            });
            Record { bytes: bytes.to_vec(), content, said_before, is_end }
        });
        let made = made.collect();
        self.is_behind_handshake |= !self.connection.is_handshaking();
        made
    }
}

/// Cuts bytes into the records that they consist of, and what is left of one.
pub(crate) fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let length =
            bytes.get(3..5).map_or(bytes.len(), |length| 5 + usize::from(length[0]) * 256 + usize::from(length[1]));
        let (record, rest) = bytes.split_at(length.min(bytes.len()));
        records.push(record);
        bytes = rest;
    }
    records
}
