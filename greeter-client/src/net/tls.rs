//! TLS, between bytes and bytes: what a server sends goes in, what it means comes out, and the
//! other way round. All of rustls is in here; it opens nothing, and knows no socket.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, InconsistentKeys,
    RootCertStore, SignatureScheme,
};

use super::error::TlsFailure;
use super::escape;

/// The most plaintext that is encrypted at once: what rustls takes without being emptied.
const CHUNK_BYTES: usize = 64 * 1024;

/// Options of TLS, for a [`TlsClient`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TlsClientOptions {
    /// A PEM file with the certificates of those whom we trust to issue others. The default is the
    /// system's own.
    pub ca: Option<PathBuf>,
    /// A PEM file with our certificate, and below it those that lead to one the server knows. The
    /// default is none.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the key of our certificate.
    pub key: Option<PathBuf>,
    /// The name that the server's certificate must be for. The default is the host of the address,
    /// which a Unix socket has not got.
    pub name: Option<String>,
    /// Whether any certificate is good, whoever has issued it, for whatever name. Then nobody knows
    /// who is at the other end. The default is `false`.
    pub insecure: bool,
}

/// What TLS needs to know of a client: whom it trusts, and who it is.
///
/// It is cheap to clone.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
    is_insecure: bool,
}

/// An error of making a [`TlsClient`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsClientError {
    /// A file cannot be read.
    #[error("cannot read {}", escape::path(path))]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds nothing of the kind that it should.
    #[error("{} holds no {what} in PEM form", escape::path(path))]
    Nothing {
        /// Which one.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// A certificate or a key cannot be used.
    #[error("{} cannot be used: {reason}", escape::path(path))]
    Unusable {
        /// Which file it is in.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is a certificate without a key, or a key without a certificate.
    #[error("a certificate needs its key, and a key its certificate")]
    HalfIdentity,
    /// The name is none that a certificate could be for.
    #[error("'{}' is no name that a certificate could be for", escape::one_line(.0.as_bytes()))]
    BadName(String),
    /// The system has no certificates of its own.
    #[error("this system has no authorities' certificates where we look for them, so that nobody is trusted")]
    NoRoots,
}

impl TlsClient {
    /// Reads the files that `options` name, or the system's certificates.
    ///
    /// # Errors
    ///
    /// What is in them cannot be used, or they cannot be read.
    pub fn new(options: &TlsClientOptions) -> Result<Self, TlsClientError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring knows the versions that are on by default");
        let verifier: Arc<dyn ServerCertVerifier> = if options.insecure {
            Arc::new(AnyCertificate(Arc::clone(&provider)))
        } else {
            let roots = options.ca.as_deref().map_or_else(system_roots, roots_of)?;
            WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
                .build()
                .expect("there are roots, and no lists of what is revoked")
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match (&options.certificate, &options.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                builder.with_client_auth_cert(certificates_of(certificate)?, key_of(key)?).map_err(|error| {
                    let reason = match error {
                        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                            format!("it does not belong to the certificate in {}", escape::path(certificate))
                        }
                        error => error.to_string(),
                    };
                    TlsClientError::Unusable { path: key.clone(), reason }
                })?
            }
            _ => return Err(TlsClientError::HalfIdentity),
        };
        // So that each connection costs, and checks, what the first one does.
        config.resumption = Resumption::disabled();
        let name = options.name.as_deref().map(server_name).transpose()?;
        Ok(Self { config: Arc::new(config), name, is_insecure: options.insecure })
    }

    /// Who trusts what the system trusts, and is nobody; its certificates are read once.
    pub(super) fn system() -> Result<&'static Self, TlsFailure> {
        static SYSTEM: OnceLock<Option<TlsClient>> = OnceLock::new();
        let system = SYSTEM.get_or_init(|| Self::new(&TlsClientOptions::default()).ok());
        system.as_ref().ok_or(TlsFailure::NoRoots)
    }

    /// The start of a session with the server at `host`, which a Unix socket has not got.
    pub(super) fn session(&self, host: Option<&str>) -> Result<ClientTlsSession, TlsFailure> {
        // The zone of a link-local address is no part of any name.
        let host = host.map(|host| host.split_once('%').map_or(host, |(address, _)| address));
        let name = match (&self.name, host) {
            (Some(name), _) => name.clone(),
            (None, Some(host)) => server_name(host).map_err(|_| TlsFailure::NoName)?,
            (None, None) if self.is_insecure => server_name("localhost").map_err(|_| TlsFailure::NoName)?,
            (None, None) => return Err(TlsFailure::NoName),
        };
        let connection = ClientConnection::new(Arc::clone(&self.config), name).map_err(failure)?;
        Ok(ClientTlsSession { connection, has_peer_closed: false })
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, is_insecure, .. } = self;
        f.debug_struct("TlsClient").field("name", name).field("is_insecure", is_insecure).finish_non_exhaustive()
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsClientError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsClientError::BadName(name.to_owned()))
}

fn system_roots() -> Result<RootCertStore, TlsClientError> {
    let mut roots = RootCertStore::empty();
    // Some of them may be broken; those that are not do.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsClientError::NoRoots) } else { Ok(roots) }
}

fn roots_of(path: &Path) -> Result<RootCertStore, TlsClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_of(path)? {
        let unusable =
            |error: rustls::Error| TlsClientError::Unusable { path: path.to_owned(), reason: error.to_string() };
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

fn certificates_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsClientError> {
    let pem = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(TlsClientError::Nothing { path: path.to_owned(), what: "certificate" }),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn key_of(path: &Path) -> Result<PrivateKeyDer<'static>, TlsClientError> {
    let pem = read(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        _ if is_encrypted(&pem) => {
            let shown = escape::path(path);
            let reason = format!(
                "it is encrypted, and nobody is asked for its password: decrypt it by openssl pkey -in {shown} -out PLAIN"
            );
            TlsClientError::Unusable { path: path.to_owned(), reason }
        }
        pem::Error::NoItemsFound => TlsClientError::Nothing { path: path.to_owned(), what: "private key" },
        error => unreadable(path, &error),
    })
}

/// Whether a key in PEM needs a password: in PKCS #8, or as OpenSSL did it before.
fn is_encrypted(pem: &[u8]) -> bool {
    let marks = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];
    pem.split(|byte| *byte == b'\n').any(|line| marks.iter().any(|mark| line.starts_with(mark.as_bytes())))
}

/// What keeps a file from being read as PEM, without what is in it.
fn unreadable(path: &Path, error: &pem::Error) -> TlsClientError {
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "it is cut short: a line with BEGIN has none with END",
        pem::Error::IllegalSectionStart { .. } => "it has a line with BEGIN that does not end with -----",
        pem::Error::Base64Decode(_) => "it has something between BEGIN and END that is no base64",
        _ => "it is no PEM",
    };
    TlsClientError::Unusable { path: path.to_owned(), reason: reason.to_owned() }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsClientError> {
    fs::read(path).map_err(|source| TlsClientError::Read { path: path.to_owned(), source })
}

/// Takes any certificate for a good one. That the server has its key is checked all the same.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// One connection's TLS.
#[derive(Debug)]
pub(crate) struct ClientTlsSession {
    connection: ClientConnection,
    has_peer_closed: bool,
}

impl ClientTlsSession {
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the server has said that it will send no more.
    pub(crate) fn has_peer_closed(&self) -> bool {
        self.has_peer_closed
    }

    /// Takes some of what the server has sent, and says how much. Before it takes more, all that
    /// came of it must be [taken out](Self::take): it holds one read's worth.
    ///
    /// After a failure, an alert is [owed](Self::owed), and nothing more is taken.
    pub(crate) fn feed(&mut self, mut ciphertext: &[u8]) -> Result<usize, TlsFailure> {
        let given = ciphertext.len();
        match self.connection.read_tls(&mut ciphertext) {
            // What follows the server's end means nothing.
            Ok(0) => return Ok(given),
            Ok(_) => {}
            Err(error) => return Err(TlsFailure::Protocol(error.to_string())),
        }
        let state = self.connection.process_new_packets().map_err(failure)?;
        self.has_peer_closed = state.peer_has_closed();
        Ok(given - ciphertext.len())
    }

    /// Takes out what the server has said: as much as there is, and there is room for.
    pub(crate) fn take(&mut self, space: &mut [u8]) -> usize {
        let mut count = 0;
        while count < space.len() {
            match self.connection.reader().read(&mut space[count..]) {
                Ok(0) | Err(_) => break,
                Ok(more) => count += more,
            }
        }
        count
    }

    /// Encrypts some of `bytes` behind what is in `ciphertext`, and says how much.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe): one of the two sides has ended it with an alert.
    pub(crate) fn encrypt(&mut self, bytes: &[u8], ciphertext: &mut Vec<u8>) -> io::Result<usize> {
        let chunk = &bytes[..bytes.len().min(CHUNK_BYTES)];
        let count = self.connection.writer().write(chunk);
        self.owed(ciphertext);
        match count {
            Ok(0) | Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
            count => count,
        }
    }

    /// Whether TLS itself has something to say.
    pub(crate) fn owes(&self) -> bool {
        self.connection.wants_write()
    }

    /// Puts what TLS itself has to say behind what is in `ciphertext`.
    pub(crate) fn owed(&mut self, ciphertext: &mut Vec<u8>) {
        while self.owes() {
            self.connection.write_tls(ciphertext).expect("a vector takes everything");
        }
    }

    /// Says that nothing more will be sent.
    pub(crate) fn close(&mut self, ciphertext: &mut Vec<u8>) {
        self.connection.send_close_notify();
        self.owed(ciphertext);
    }
}

/// What an error of rustls means.
fn failure(error: rustls::Error) -> TlsFailure {
    match error {
        rustls::Error::InvalidCertificate(error) => bad_certificate(error),
        rustls::Error::NoCertificatesPresented => TlsFailure::BadCertificate("there is none".to_owned()),
        rustls::Error::AlertReceived(alert) => TlsFailure::Alert(alert_words(alert)),
        rustls::Error::PeerIncompatible(_) => TlsFailure::Incompatible,
        error => TlsFailure::Protocol(error.to_string()),
    }
}

fn bad_certificate(error: CertificateError) -> TlsFailure {
    let seconds = |from: UnixTime, to: UnixTime| to.as_secs().saturating_sub(from.as_secs());
    match error {
        CertificateError::ExpiredContext { time, not_after } => {
            TlsFailure::Expired { seconds: seconds(not_after, time) }
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            TlsFailure::NotYetValid { seconds: seconds(time, not_before) }
        }
        CertificateError::NotValidForNameContext { expected, presented } => TlsFailure::WrongName {
            expected: expected.to_str().into_owned(),
            names: presented.iter().map(|name| bare_name(name)).collect(),
        },
        CertificateError::UnknownIssuer => TlsFailure::UnknownIssuer,
        CertificateError::BadSignature | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            TlsFailure::BadCertificate("it is not signed by the authority that it names".to_owned())
        }
        error => match error.to_string() {
            text if text.contains("CaUsedAsEndEntity") => {
                TlsFailure::BadCertificate("it is one of an authority, not one of a server".to_owned())
            }
            text => TlsFailure::BadCertificate(text),
        },
    }
}

/// A name of a certificate, which rustls tells as in `DnsName("mail.example")`.
fn bare_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"').to_owned()
}

/// What a server has against us.
fn alert_words(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => "it demands a certificate of ours",
        AlertDescription::BadCertificate => "it does not take our certificate: it is not as it should be",
        AlertDescription::UnsupportedCertificate => {
            "it does not take our certificate: it is of a kind, or for a use, that the server does not support"
        }
        AlertDescription::CertificateUnknown => "it does not take our certificate, and does not say why",
        AlertDescription::CertificateRevoked => "our certificate has been revoked",
        AlertDescription::CertificateExpired => "our certificate has expired",
        AlertDescription::UnknownCA => "it does not trust whoever has issued our certificate",
        AlertDescription::AccessDenied => "our certificate gives us no access",
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "nothing that both sides can speak, or a certificate of ours is missing"
        }
        AlertDescription::ProtocolVersion => "it speaks neither TLS 1.2 nor TLS 1.3",
        AlertDescription::UnrecognisedName => "it does not know the name that we asked for",
        AlertDescription::InternalError => "something in it has failed",
        AlertDescription::UserCanceled => "somebody there does not want to go on",
        _ => "it makes no sense of what we sent",
    }
}
