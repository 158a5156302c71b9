//! Turns certificates, keys and authorities into what makes TLS sessions. Must not touch a socket.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustls::crypto::CryptoProvider;
#[cfg(feature = "tls-aws-lc-rs")]
use rustls::crypto::aws_lc_rs as provider;
#[cfg(not(feature = "tls-aws-lc-rs"))]
use rustls::crypto::ring as provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, ServerConnection};

use crate::tls::rustls_session::RustlsSession;
use crate::tls::session::{NewTlsSession, TlsProblem, TlsSession};

/// How many bytes a client may send in its handshake.
const HANDSHAKE_BYTES: usize = 16 * 1024;
/// The same where it sends certificates.
const HANDSHAKE_BYTES_WITH_CERTIFICATES: usize = 64 * 1024;

/// The largest file that is read: many times as much as any chain takes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// The longest name of an application protocol (RFC 7301).
const MAX_ALPN_BYTES: usize = 255;
/// The least time between two looks at the files.
const MIN_RELOAD_INTERVAL: Duration = Duration::from_millis(1);

/// TLS for the clients of a [listener](crate::Listener::tls): certificates, and whom to trust.
///
/// TLS 1.3 and 1.2 are spoken. There are no tickets and no resumption: with a key on P-256 they
/// save a fifth of a handshake of 0.1 ms, and a client's certificate would not be checked again. Of
/// keys, P-256 is the one to have: RSA makes each handshake several times as dear.
///
/// The cryptography is ring's. With the feature `tls-aws-lc-rs` it is that of AWS-LC, which takes a
/// minute longer to build and also agrees on keys that no quantum computer finds (X25519MLKEM768).
///
/// It can be cloned, and all clones are the same: [`reload`](Self::reload) is for all of them.
///
/// ```no_run
/// use greeter_server::{Listener, Server, Tls};
///
/// let tls = Tls::from_files("chain.pem", "key.pem")?;
/// let server = Server::builder().bind(Listener::from("tls:0.0.0.0:7000").tls(&tls))?.spawn()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Tls(Arc<SharedTls>);

/// What all clones share.
struct SharedTls {
    options: TlsOptions,
    /// What new sessions are made with.
    current: RwLock<Arc<ServerConfig>>,
    /// The contents that it was made of. The lock is held while files are read.
    contents: Mutex<Vec<Vec<u8>>>,
    max_handshake_bytes: usize,
    /// Threads that read again end when these are dropped.
    reloading: Mutex<Vec<Sender<()>>>,
}

/// Options of [`Tls`].
///
/// ```no_run
/// use greeter_server::{ClientAuth, Tls};
///
/// let tls = Tls::options()
///     .certificate("example.org.pem", "example.org.key")
///     .certificate("example.net.pem", "example.net.key")
///     .client_authorities("clients-ca.pem", ClientAuth::Required)
///     .load()?;
/// # Ok::<(), greeter_server::TlsError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TlsOptions {
    certificates: Vec<(PathBuf, PathBuf)>,
    client_authorities: Option<(PathBuf, ClientAuth)>,
    alpn: Vec<Vec<u8>>,
}

/// Whether a client needs a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A client is asked for one and may have none. One that is not valid is refused.
    Optional,
    /// A client without a valid one is refused.
    Required,
}

/// An error of [`TlsOptions::load`] and [`Tls::reload`]: a file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// There is no certificate.
    #[error("TLS needs a certificate and its key")]
    NoCertificate,
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// An application protocol is empty, or has more than 255 bytes.
    #[error("an application protocol (ALPN) has from 1 to 255 bytes, and one of {bytes} was given")]
    Alpn {
        /// How many it has.
        bytes: usize,
    },
    /// A file does not have what it should.
    #[error("{} {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, in words.
        problem: String,
    },
}

impl TlsOptions {
    /// Adds a certificate, with the chain of those that signed it, and its key: files in PEM.
    ///
    /// A client that asks for a name ([SNI](greeter_core::TlsInfo::server_name)) gets the first
    /// certificate that is valid for it, and otherwise the first of all.
    pub fn certificate(mut self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.certificates.push((chain.as_ref().to_owned(), key.as_ref().to_owned()));
        self
    }

    /// Asks clients for a certificate from one of these authorities: a file in PEM.
    pub fn client_authorities(mut self, authorities: impl AsRef<Path>, auth: ClientAuth) -> Self {
        self.client_authorities = Some((authorities.as_ref().to_owned(), auth));
        self
    }

    /// Sets the application protocols that are offered (ALPN, RFC 7301), the favourite first. A
    /// client that asks for others only is refused; one that asks for none is not. Each has from 1
    /// to 255 bytes.
    pub fn alpn(mut self, protocols: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Reads the files: files of the usual kind, or links to them, of 1 MiB at most.
    ///
    /// A certificate that has expired, or is not valid yet, is a warning of `tracing`, and no
    /// error.
    ///
    /// # Errors
    ///
    /// Returns [`TlsError`] if a file cannot be read, or does not have what it should: a
    /// certificate, a key, or the key of that certificate; or if an application protocol cannot be
    /// one.
    pub fn load(self) -> Result<Tls, TlsError> {
        if let Some(protocol) = self.alpn.iter().find(|protocol| !(1..=MAX_ALPN_BYTES).contains(&protocol.len())) {
            return Err(TlsError::Alpn { bytes: protocol.len() });
        }
        let contents = self.read()?;
        let config = Arc::new(self.configure(&contents)?);
        let max_handshake_bytes =
            if self.client_authorities.is_some() { HANDSHAKE_BYTES_WITH_CERTIFICATES } else { HANDSHAKE_BYTES };
        Ok(Tls::new(self, config, contents, max_handshake_bytes))
    }

    /// The files, in an order of their own.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let certificates = self.certificates.iter().flat_map(|(chain, key)| [chain, key]);
        let authorities = self.client_authorities.iter().map(|(path, _)| path);
        certificates.chain(authorities).map(PathBuf::as_path)
    }

    fn read(&self) -> Result<Vec<Vec<u8>>, TlsError> {
        self.files().map(read).collect()
    }

    fn configure(&self, contents: &[Vec<u8>]) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(provider::default_provider());
        let mut files = self.files().zip(contents);
        let mut keys = Vec::new();
        while keys.len() < self.certificates.len()
            && let (Some(chain), Some(key)) = (files.next(), files.next())
        {
            keys.push(Arc::new(certified_key(chain, key, &provider)?));
        }
        let resolver = ByName { first: keys.first().ok_or(TlsError::NoCertificate)?.clone(), keys };
        let resolver = Arc::new(resolver);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has what TLS 1.2 and 1.3 need");
        let builder = match (&self.client_authorities, files.next()) {
            (Some((path, auth)), Some((_, pem))) => {
                let roots = Arc::new(authorities(path, pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = if *auth == ClientAuth::Optional { verifier.allow_unauthenticated() } else { verifier };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| content(path, &error))?)
            }
            _ => builder.with_no_client_auth(),
        };
        for ((path, _), key) in self.certificates.iter().zip(&resolver.keys) {
            warn_unless_valid_now(path, &key.cert);
        }
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols.clone_from(&self.alpn);
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}

impl Tls {
    /// Returns options without a certificate.
    pub fn options() -> TlsOptions {
        TlsOptions::default()
    }

    /// Reads a certificate, with the chain of those that signed it, and its key: files in PEM.
    ///
    /// # Errors
    ///
    /// Those of [`TlsOptions::load`].
    pub fn from_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsError> {
        Self::options().certificate(chain, key).load()
    }

    /// Reads the files again, and returns whether they have changed. From then on, new clients get
    /// the new certificates; those who are connected keep what they have.
    ///
    /// Nobody calls it by itself: a program does, when it knows of new files or from time to time,
    /// or has a thread do so by [`reload_every`](Self::reload_every).
    ///
    /// All files are looked at as a whole, by what is in them: a link that leads to other files
    /// now, as Kubernetes has it, is a change like any other.
    ///
    /// # Errors
    ///
    /// Those of [`TlsOptions::load`], such as a certificate whose key was not written yet. Then
    /// nothing changes, and it is worth another try.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let mut contents = self.0.contents.lock().unwrap_or_else(PoisonError::into_inner);
        let read = self.0.options.read()?;
        if *contents == read {
            return Ok(false);
        }
        let config = Arc::new(self.0.options.configure(&read)?);
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        *contents = read;
        Ok(true)
    }

    /// Has a thread [reload](Self::reload) every so often, for as long as there is a clone of this,
    /// such as that of a server, or of a client that may still
    /// [ask for TLS](crate::Listener::tls_on_request).
    ///
    /// What comes of it is told through `tracing`: new certificates by `info`, and files that
    /// cannot be used by `warn`, once for each problem. Those that are there stay in use.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use greeter_server::{Listener, Server, Tls};
    ///
    /// let tls = Tls::from_files("chain.pem", "key.pem")?;
    /// let server = Server::builder().bind(Listener::from("tls:0.0.0.0:7000").tls(&tls))?;
    /// tls.reload_every(Duration::from_secs(1))?;
    /// server.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the system's error if it has no thread.
    pub fn reload_every(&self, interval: Duration) -> io::Result<()> {
        let (until_dropped, dropped) = bounded(0);
        let (shared, interval) = (Arc::downgrade(&self.0), interval.max(MIN_RELOAD_INTERVAL));
        let reload = move || reload_until(&dropped, interval, &shared);
        thread::Builder::new().name("certificates".to_owned()).spawn(reload)?;
        self.0.reloading.lock().unwrap_or_else(PoisonError::into_inner).push(until_dropped);
        Ok(())
    }

    /// Uses a configuration of rustls, for what has no option here. It is the one place where a
    /// type of rustls shows, and goes with its versions.
    ///
    /// The configuration decides about everything, tickets included; there is nothing to
    /// [reload](Self::reload).
    #[must_use]
    pub fn from_rustls(config: Arc<ServerConfig>) -> Self {
        Self::new(TlsOptions::default(), config, Vec::new(), HANDSHAKE_BYTES_WITH_CERTIFICATES)
    }

    fn new(options: TlsOptions, config: Arc<ServerConfig>, contents: Vec<Vec<u8>>, max_handshake_bytes: usize) -> Self {
        let (current, contents) = (RwLock::new(config), Mutex::new(contents));
        Self(Arc::new(SharedTls { options, current, contents, max_handshake_bytes, reloading: Mutex::default() }))
    }
}

impl NewTlsSession for Tls {
    fn new_session(&self) -> Result<Box<dyn TlsSession>, TlsProblem> {
        let config = Arc::clone(&*self.0.current.read().unwrap_or_else(PoisonError::into_inner));
        let connection = ServerConnection::new(config).map_err(|_| TlsProblem::Misbehaved)?;
        Ok(Box::new(RustlsSession::new(connection)))
    }

    fn max_handshake_bytes(&self) -> usize {
        self.0.max_handshake_bytes
    }
}

/// It shows the files, and nothing that is in them.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TlsOptions { certificates, client_authorities, alpn } = &self.0.options;
        f.debug_struct("Tls")
            .field("certificates", certificates)
            .field("client_authorities", client_authorities)
            .field("alpn", alpn)
            .finish_non_exhaustive()
    }
}

/// Reloads again and again, until all clones are dropped.
fn reload_until(dropped: &Receiver<()>, interval: Duration, shared: &Weak<SharedTls>) {
    let mut latest_problem = None;
    while dropped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout)
        && let Some(tls) = shared.upgrade().map(Tls)
    {
        match tls.reload() {
            Ok(false) => latest_problem = None,
            Ok(true) => {
                tracing::info!("Read new certificates.");
                latest_problem = None;
            }
            // It is half written, perhaps. What stays wrong is said once.
            Err(error) => {
                let problem = Some(in_full(&error));
                if problem != latest_problem {
                    let error = problem.as_deref().unwrap_or_default();
                    tracing::warn!(error, "Cannot read new certificates, and keeps those it has.");
                }
                latest_problem = problem;
            }
        }
    }
}

/// Returns an error with its cause.
fn in_full(error: &TlsError) -> String {
    match error {
        TlsError::File { source, .. } => format!("{error}: {source}"),
        error => error.to_string(),
    }
}

/// Chooses a certificate by the name that the client asks for.
#[derive(Debug)]
struct ByName {
    first: Arc<CertifiedKey>,
    keys: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let is_for = |key: &&Arc<CertifiedKey>, name: &ServerName<'_>| {
            let parsed = key.cert.first().and_then(|der| webpki::EndEntityCert::try_from(der).ok());
            parsed.is_some_and(|parsed| parsed.verify_is_valid_for_subject_name(name).is_ok())
        };
        let by_name = name.and_then(|name| self.keys.iter().find(|key| is_for(key, &name)));
        Some(Arc::clone(by_name.unwrap_or(&self.first)))
    }
}

/// Reads a certificate and its key, and checks that they belong together.
fn certified_key(
    (chain_path, chain): (&Path, &Vec<u8>),
    (key_path, key): (&Path, &Vec<u8>),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| content(chain_path, &pem_problem(&error)))?;
    if chain.is_empty() {
        return Err(content(chain_path, &"has no certificate in PEM"));
    }
    let key = private_key(key_path, key)?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            content(key_path, &format!("is not the key of the certificate in {}", chain_path.display()))
        }
        rustls::Error::InvalidCertificate(_) => content(chain_path, &"has a certificate that cannot be read"),
        _ => content(key_path, &"has a private key of an unknown kind"),
    })
}

/// Reads a private key.
fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        _ if is_encrypted(pem) => {
            let plain = format!("openssl pkey -in {} -out PLAIN", path.display());
            content(path, &format!("is encrypted, and nobody is asked for its password: decrypt it by {plain}"))
        }
        pem::Error::NoItemsFound => content(path, &"has no private key in PEM"),
        error => content(path, &pem_problem(&error)),
    })
}

/// Returns whether a key in PEM needs a password: in PKCS #8, or as OpenSSL did it before.
fn is_encrypted(pem: &[u8]) -> bool {
    let marks = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];
    pem.split(|byte| *byte == b'\n').any(|line| marks.iter().any(|mark| line.starts_with(mark.as_bytes())))
}

/// Returns what keeps a file from being read as PEM, without what is in it.
const fn pem_problem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "is cut short: a line with BEGIN has none with END",
        pem::Error::IllegalSectionStart { .. } => "has a line with BEGIN that does not end with -----",
        pem::Error::Base64Decode(_) => "has something between BEGIN and END that is no base64",
        _ => "is no PEM",
    }
}

/// Warns of certificates that clients will not take at this time. The first is the server's, the
/// others lead to whom clients know.
fn warn_unless_valid_now(path: &Path, chain: &[CertificateDer<'_>]) {
    let now = UnixTime::now();
    for (certificate, number) in chain.iter().zip(1..) {
        let Some(problem) = problem_at(now, certificate) else { continue };
        let file = path.display();
        tracing::warn!(%file, number, problem, "A certificate is not valid now, and clients refuse it.");
    }
}

/// Returns whether a certificate has expired by then, or is not valid yet, in words.
fn problem_at(time: UnixTime, certificate: &CertificateDer<'_>) -> Option<&'static str> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    // Nobody is trusted, so that it always is an error. The time is what is looked at first.
    let verified = certificate.verify_for_usage(&[], &[], &[], time, webpki::KeyUsage::server_auth(), None, None);
    match verified.err()? {
        webpki::Error::CertExpired { .. } => Some("it has expired"),
        webpki::Error::CertNotValidYet { .. } => Some("its time has not come"),
        _ => None,
    }
}

/// Reads a file, and waits for nobody: where there is a pipe, it would be for whoever writes to it.
fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let file = open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(content(path, &"is no file"));
    }
    let mut contents = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut contents).map_err(failed)?;
    if contents.len() as u64 > MAX_FILE_BYTES {
        return Err(content(path, &"is larger than 1 MiB"));
    }
    Ok(contents)
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        options.custom_flags(flags.bits().cast_signed());
    }
    options.read(true).open(path)
}

/// Reads the certificates of authorities.
fn authorities(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| content(path, &pem_problem(&error)))?;
        roots.add(certificate).map_err(|_| content(path, &"has a certificate that cannot be read"))?;
    }
    if roots.is_empty() { Err(content(path, &"has no certificate in PEM")) } else { Ok(roots) }
}

fn content(path: &Path, problem: &dyn fmt::Display) -> TlsError {
    TlsError::Content { path: path.to_owned(), problem: problem.to_string() }
}
