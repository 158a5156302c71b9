//! Certificates, and servers that speak TLS with them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use greeter_client::{ServerAddress, TlsClient, TlsClientOptions};

use super::{Folder, Server, serve};

/// A client's end as the server sees it.
pub(crate) type TlsStream = StreamOwned<ServerConnection, TcpStream>;

/// Somebody who issues certificates.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM form.
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
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `names`, changed as `change` says.
    pub(crate) fn issue_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_with(names, |_| ())
    }

    /// The file `ca.pem` in `folder`, whose clients trust this authority.
    pub(crate) fn write(&self, folder: &Folder) -> PathBuf {
        let path = folder.0.join("ca.pem");
        fs::write(&path, &self.pem).unwrap();
        path
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        roots
    }
}

impl Identity {
    /// The files `cert.pem` and `key.pem` in `folder`.
    pub(crate) fn write(&self, folder: &Folder) -> (PathBuf, PathBuf) {
        let (certificate, key) = (folder.0.join("cert.pem"), folder.0.join("key.pem"));
        fs::write(&certificate, &self.certificate).unwrap();
        fs::write(&key, &self.key).unwrap();
        (certificate, key)
    }
}

/// What a server says of itself, and whom it asks for a certificate.
pub(crate) fn server_config(
    identity: &Identity,
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(authority.roots().into(), provider).build().unwrap(),
        ),
    };
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    builder.with_single_cert(chain, key).unwrap().into()
}

/// A server for one client over TLS.
pub(crate) fn serve_tls<T: Send + 'static>(
    config: &Arc<ServerConfig>,
    session: impl FnOnce(TlsStream) -> T + Send + 'static,
) -> Server<T> {
    let config = Arc::clone(config);
    let mut server = serve(move |socket| session(accept_tls(&config, socket)));
    server.address = over_tls(&server.address);
    server
}

/// The server's side of TLS on a socket.
pub(crate) fn accept_tls(config: &Arc<ServerConfig>, socket: TcpStream) -> TlsStream {
    socket.set_nodelay(true).unwrap();
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), socket)
}

/// The same server, by the name that its certificate is for.
pub(crate) fn over_tls(address: &ServerAddress) -> ServerAddress {
    address.to_string().replace("127.0.0.1", "tls:localhost").parse().unwrap()
}

/// A client that trusts `authority`.
pub(crate) fn client_of(authority: &Authority, folder: &Folder) -> TlsClient {
    let mut options = TlsClientOptions::default();
    options.ca = Some(authority.write(folder));
    TlsClient::new(&options).unwrap()
}

/// Greets everybody over TLS, for as long as the test runs; `header` bytes of each connection come
/// before TLS, and are given to `on_header`.
pub(crate) fn greet_over_tls(
    config: &Arc<ServerConfig>,
    header: usize,
    on_header: impl Fn(&[u8]) + Clone + Send + 'static,
) -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = over_tls(&listener.local_addr().unwrap().into());
    let config = Arc::clone(config);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, config, on_header) = (socket.unwrap(), Arc::clone(&config), on_header.clone());
            thread::spawn(move || {
                let mut bytes = vec![0; header];
                socket.read_exact(&mut bytes).unwrap();
                on_header(&bytes);
                greet(accept_tls(&config, socket));
            });
        }
    });
    address
}

/// Greets one client, and ends as TLS wants it. Of one that does not want to be greeted, nothing is
/// told.
pub(crate) fn greet(stream: TlsStream) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        if stream.get_mut().write_all(&[b"Hello, ", &line[..]].concat()).is_err() {
            return;
        }
        line.clear();
    }
    end(stream.get_mut());
}

/// Says that nothing more will come, in TLS and below it.
pub(crate) fn end(stream: &mut TlsStream) {
    stream.conn.send_close_notify();
    let _ = stream.flush();
    let _ = stream.sock.shutdown(Shutdown::Write);
}
