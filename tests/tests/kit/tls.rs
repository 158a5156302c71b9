//! Certificates, and a client that speaks TLS a record at a time, so that a test decides which
//! bytes leave it and when.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use greeter_server::{Builder, Listener, Responder, ServerHandle, Tls, TlsOptions};
use greeter_tests::client::{PATIENCE, inet};
use greeter_tests::directory::TestDirectory;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use socket2::{Domain, SockRef, Socket, Type};

/// Both versions.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// The name in the certificate of a server under test.
pub(crate) const NAME: &str = "greeter.test";

/// Somebody who issues certificates.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("there is randomness");
        let pem = params.self_signed(&key).expect("the parameters are good").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for these names.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |_| ())
    }

    /// The same, changed.
    pub(crate) fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are good");
        change(&mut params);
        let key = KeyPair::generate().expect("there is randomness");
        let certificate = params.signed_by(&key, &self.issuer).expect("the parameters are good").pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    /// One whose time was over long ago.
    pub(crate) fn issue_expired(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |params| {
            (params.not_before, params.not_after) =
                (rcgen::date_time_ymd(2019, 1, 1), rcgen::date_time_ymd(2020, 1, 1));
        })
    }

    /// What a client is set up with that trusts it.
    pub(crate) fn trusting(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        self.client(versions, None)
    }

    /// The same, with a certificate of the client's own.
    pub(crate) fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Identity>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("it is PEM")).expect("it is an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("ring knows both versions")
            .with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain =
                    CertificateDer::pem_slice_iter(own.certificate.as_bytes()).map(|der| der.expect("it is PEM"));
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("it is PEM");
                builder.with_client_auth_cert(chain.collect(), key).expect("they belong together")
            }
        })
    }
}

impl Identity {
    /// One that nobody has signed but itself.
    pub(crate) fn self_signed(names: &[&str]) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let signed = rcgen::generate_simple_self_signed(names).expect("the names are good");
        Self { certificate: signed.cert.pem(), key: signed.signing_key.serialize_pem() }
    }

    /// Its files, with this name.
    pub(crate) fn write(&self, directory: &TestDirectory, name: &str) -> (PathBuf, PathBuf) {
        let files = (directory.file(format!("{name}.pem")), directory.file(format!("{name}.key")));
        fs::write(&files.0, &self.certificate).expect("the folder is ours");
        fs::write(&files.1, &self.key).expect("the folder is ours");
        files
    }
}

/// An authority, and files of what it has issued.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) directory: TestDirectory,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { authority: Authority::new("ours"), directory: TestDirectory::new() }
    }

    /// A certificate for these names, in files.
    pub(crate) fn identity(&self, name: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        self.authority.issue(names).write(&self.directory, name)
    }

    /// The authority's file.
    pub(crate) fn ca(&self) -> PathBuf {
        let path = self.directory.file("ca.pem");
        fs::write(&path, &self.authority.pem).expect("the folder is ours");
        path
    }

    /// Options with a certificate for [`NAME`], for `localhost` and for loopback.
    pub(crate) fn options(&self) -> TlsOptions {
        let (certificate, key) = self.identity("server", &[NAME, "localhost", "127.0.0.1"]);
        Tls::options().certificate(certificate, key)
    }

    /// A server on loopback that speaks TLS.
    pub(crate) fn spawn<R: Responder>(&self, builder: Builder<R>) -> ServerHandle {
        spawn_with(builder, self.options())
    }

    /// Connects in any version, and finishes the handshake.
    pub(crate) fn connect(&self, server: &ServerHandle) -> TlsClient<TcpStream> {
        TlsClient::connect(inet(server.local_addr()), &self.authority.trusting(&VERSIONS))
    }

    /// The same, in this version.
    pub(crate) fn connect_in(
        &self,
        version: &'static SupportedProtocolVersion,
        server: &ServerHandle,
    ) -> TlsClient<TcpStream> {
        TlsClient::connect(inet(server.local_addr()), &self.authority.trusting(&[version]))
    }
}

/// A server on loopback that speaks TLS.
pub(crate) fn spawn_with<R: Responder>(builder: Builder<R>, options: TlsOptions) -> ServerHandle {
    greeter_tests::raise_descriptor_limit();
    let tls = options.load().expect("the files are good");
    let server = builder.bind(Listener::from("127.0.0.1:0").tls(&tls)).expect("loopback has a free port");
    server.spawn().expect("threads can be had")
}

/// A socket with patience.
pub(crate) fn socket_to(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the server accepts");
    socket.set_nodelay(true).expect("a socket can be set up");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
    socket.set_write_timeout(Some(PATIENCE)).expect("a socket can be set up");
    socket
}

/// The same with buffers of about so many bytes.
pub(crate) fn socket_with_buffers(address: SocketAddr, bytes: usize) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket can be had");
    socket.set_recv_buffer_size(bytes).expect("a buffer may be small");
    socket.set_send_buffer_size(bytes).expect("a buffer may be small");
    socket.connect(&address.into()).expect("the server accepts");
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
    socket
}

/// The same with a receive buffer as small as the system allows.
pub(crate) fn socket_with_small_buffer(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket can be had");
    socket.set_recv_buffer_size(1).expect("a buffer may be small");
    socket.connect(&address.into()).expect("the server accepts");
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
    socket
}

/// How a stream of TLS has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsEnd {
    /// The server has said so.
    CloseNotify,
    /// The connection has, and nothing was said.
    Truncated,
}

/// A client that speaks TLS. Everything panics that does not go as it should.
pub(crate) struct TlsClient<S> {
    pub(crate) socket: S,
    pub(crate) tls: ClientConnection,
    received: Vec<u8>,
}

impl TlsClient<TcpStream> {
    /// Connects, and finishes the handshake.
    pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        Self::over(socket_to(address), config)
    }

    /// Says that nothing follows.
    pub(crate) fn close_notify(&mut self) {
        self.tls.send_close_notify();
        self.flush();
    }

    /// Stops sending, below TLS.
    pub(crate) fn shut_down(&self) {
        self.socket.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Stops sending, in TLS and below it.
    pub(crate) fn finish_sending(&mut self) {
        self.close_notify();
        self.shut_down();
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        SockRef::from(&self.socket).set_linger(Some(std::time::Duration::ZERO)).expect("a socket can be set up");
    }
}

impl<S: Read + Write> TlsClient<S> {
    /// Begins nothing yet.
    pub(crate) fn new(socket: S, config: &Arc<ClientConfig>) -> Self {
        Self::asking_for(NAME, socket, config)
    }

    /// The same, for a server of this name.
    pub(crate) fn asking_for(name: &str, socket: S, config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from(name.to_owned()).expect("it is a name");
        let tls = ClientConnection::new(Arc::clone(config), name).expect("the settings are good");
        Self { socket, tls, received: Vec::new() }
    }

    /// Finishes the handshake.
    pub(crate) fn over(socket: S, config: &Arc<ClientConfig>) -> Self {
        let mut client = Self::new(socket, config);
        client.try_handshake().expect("the handshake succeeds");
        client
    }

    /// Gets as far as it goes until the handshake is over for us.
    pub(crate) fn try_handshake(&mut self) -> io::Result<()> {
        self.handshake_but_last()?;
        let last = self.take_ciphertext();
        self.socket.write_all(&last)
    }

    /// The same, but what ends the handshake is not sent.
    pub(crate) fn handshake_but_last(&mut self) -> io::Result<()> {
        while self.tls.is_handshaking() {
            let flight = self.take_ciphertext();
            self.socket.write_all(&flight)?;
            if self.receive()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// What is to be sent.
    pub(crate) fn take_ciphertext(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).expect("memory takes it");
        }
        bytes
    }

    /// Encrypts bytes, and does not send them.
    pub(crate) fn seal(&mut self, plaintext: impl AsRef<[u8]>) -> Vec<u8> {
        self.tls.set_buffer_limit(None);
        self.tls.writer().write_all(plaintext.as_ref()).expect("memory takes it");
        self.take_ciphertext()
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, plaintext: impl AsRef<[u8]>) {
        let ciphertext = self.seal(plaintext);
        self.send_raw(ciphertext);
    }

    /// Sends what was encrypted before, or anything else.
    pub(crate) fn send_raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).expect("the server takes what we send");
    }

    /// Sends what TLS has to say for itself.
    pub(crate) fn flush(&mut self) {
        let bytes = self.take_ciphertext();
        self.send_raw(bytes);
    }

    /// Reads once from the socket, and tells how many bytes of ciphertext that were.
    fn receive(&mut self) -> io::Result<usize> {
        let bytes = self.tls.read_tls(&mut self.socket)?;
        let state = self.tls.process_new_packets().map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        let mut plaintext = vec![0; state.plaintext_bytes_to_read()];
        self.tls.reader().read_exact(&mut plaintext).expect("they are there");
        self.received.extend(plaintext);
        Ok(bytes)
    }

    /// The next line, with its ending.
    pub(crate) fn line(&mut self) -> String {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.received) {
                let rest = self.received.split_off(end + 1);
                return String::from_utf8(std::mem::replace(&mut self.received, rest)).expect("a reply is text");
            }
            let bytes = self.receive().expect("the server answers in time");
            assert!(bytes > 0, "the server has closed");
        }
    }

    /// Sends a line and reads its reply.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n"));
        self.line()
    }

    /// Everything up to the end of the stream, and how it ends.
    pub(crate) fn rest(&mut self) -> (String, TlsEnd) {
        self.try_rest().expect("the server does not reset")
    }

    /// The same; or how it broke.
    pub(crate) fn try_rest(&mut self) -> io::Result<(String, TlsEnd)> {
        while self.receive()? > 0 {}
        let is_said = self.tls.process_new_packets().is_ok_and(|state| state.peer_has_closed());
        let end = if is_said { TlsEnd::CloseNotify } else { TlsEnd::Truncated };
        Ok((String::from_utf8(std::mem::take(&mut self.received)).expect("replies are text"), end))
    }
}
