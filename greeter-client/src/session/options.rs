//! Options of a session, and where its connections go.

use std::net::IpAddr;
use std::time::Duration;

use crate::net::{Eol, ServerAddress};

/// How a session behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Where a connection is opened to by its first use; `None`: each must be [opened](super::Session::open). Default: none,
    /// because nobody can guess it.
    pub target: Option<Target>,
    /// The deadline of each expectation. Default: 5 s, because nobody watches a test for longer without doubting it.
    pub timeout: Duration,
    /// How lines end, in what is sent and in what is expected. Default: LF.
    pub eol: Eol,
    /// How much is read ahead on a connection, in bytes, and the longest line. An expectation of more bytes than that
    /// may have them. Default: 4 MiB, so that no usual pipeline ever makes the server wait, and a hundred servers gone
    /// mad do not take the machine with them.
    pub max_unread_bytes: usize,
}

impl SessionOptions {
    /// Connections are opened to `target`, an [`ServerAddress`] for instance; the rest is default.
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

/// Where and how to connect. An [`ServerAddress`] is one, with the defaults for the rest.
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
    /// Where to.
    pub address: ServerAddress,
    /// The address of this machine to connect from; a Unix socket has none. Default: as the system likes.
    pub from: Option<IpAddr>,
    /// How long one attempt may take. Default: 5 s.
    pub timeout: Duration,
    /// For how long the attempt is repeated while the address refuses, or a Unix socket is not there: for a server
    /// that is just starting. Default: 0, so that a server that does not run is noticed at once.
    pub wait: Duration,
}

impl From<ServerAddress> for Target {
    fn from(address: ServerAddress) -> Self {
        Self { address, from: None, timeout: Duration::from_secs(5), wait: Duration::ZERO }
    }
}
