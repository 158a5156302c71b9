//! Options of a session, and where its connections go.

use std::net::IpAddr;
use std::time::Duration;

use crate::net::{Eol, Proxy, ServerAddress, TlsClient};

/// Options of a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// The target of a connection that is opened by its first use; `None`: each must be
    /// [opened](super::Session::open). The default is none, because nobody can guess it.
    pub target: Option<Target>,
    /// The timeout of each expectation. The default is 5 s, because nobody watches a test for
    /// longer without doubting it.
    pub timeout: Duration,
    /// How lines end, in what is sent and in what is expected. The default is LF.
    pub eol: Eol,
    /// How much is read ahead on a connection, in bytes, and the longest line. An expectation of
    /// more bytes than that may have them. The default is 4 MiB, so that no usual pipeline ever
    /// makes the server wait, and a hundred servers gone mad do not take the machine with them.
    pub max_unread_bytes: usize,
}

impl SessionOptions {
    /// Creates options whose connections are opened to `target`, a [`ServerAddress`] for instance;
    /// the rest is default.
    #[must_use]
    pub fn to(target: impl Into<Target>) -> Self {
        Self { target: Some(target.into()), ..Self::default() }
    }
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { target: None, timeout: Duration::from_secs(5), eol: Eol::Lf, max_unread_bytes: 4 * 1024 * 1024 }
    }
}

/// A target of connections. A [`ServerAddress`] is one, with the defaults for the rest.
///
/// ```
/// use std::time::Duration;
/// use greeter_client::{ServerAddress, session::Target};
///
/// let mut target = Target::from("127.0.0.1:8080".parse::<ServerAddress>()?);
/// target.from = Some("127.0.0.2".parse()?);
/// target.wait = Duration::from_secs(5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Target {
    /// The address of the server.
    pub address: ServerAddress,
    /// The address of this machine to connect from; a Unix socket has none. By default the system
    /// chooses it.
    pub from: Option<IpAddr>,
    /// The PROXY header that is sent first. The default is none.
    pub proxy: Option<Proxy>,
    /// Whom TLS trusts, and who we are in it, where the address says `tls:`. The default is
    /// [`None`]: whom the system trusts, and nobody.
    pub tls: Option<TlsClient>,
    /// How long one attempt may take. The default is 5 s.
    pub timeout: Duration,
    /// How long attempts are repeated while the address refuses, or a Unix socket is not there: for
    /// a server that is just starting. The default is 0, so that a server that does not run is
    /// noticed at once.
    pub wait: Duration,
}

impl From<ServerAddress> for Target {
    fn from(address: ServerAddress) -> Self {
        Self { address, from: None, proxy: None, tls: None, timeout: Duration::from_secs(5), wait: Duration::ZERO }
    }
}
