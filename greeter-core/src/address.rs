//! Turns what the system says of one end of a connection into an [`Address`].
//!
//! It opens no connection and looks up no name.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// The address of one end of a connection, or of a listener.
///
/// It displays as the standard library displays addresses, `127.0.0.1:8080` or `[::1]:8080`, and a
/// process at a Unix socket as `unix:uid=1000,gid=1000,pid=4242`. One that nobody knows is
/// `unknown`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Address {
    /// An IPv4 or IPv6 address, and a port.
    Inet(SocketAddr),
    /// A process of this machine that has connected to a Unix socket. Its own end has no name, as a
    /// rule; `None` where the system does not say who it is.
    Unix(Option<Credentials>),
    /// No address, since nobody knows it: the client is behind a proxy, and the proxy does not know
    /// it or cannot say it.
    Unknown,
}

/// Who connected to a Unix socket, as the system says (`SO_PEERCRED` in unix(7)): the user and the
/// group that the process had when it connected, and its id in this server's namespace.
///
/// The process may have ended since, and its id be another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Credentials {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The process id; none where the process is not visible from here.
    pub pid: Option<u32>,
}

impl Credentials {
    /// Creates the credentials of a process.
    #[must_use]
    pub const fn new(uid: u32, gid: u32, pid: Option<u32>) -> Self {
        Self { uid, gid, pid }
    }
}

impl Address {
    /// Returns the IPv4 or IPv6 address and the port, or `None` for an address of another kind.
    #[must_use]
    pub const fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
            Self::Unix(_) | Self::Unknown => None,
        }
    }

    /// Returns the IP address, or `None` for an address that has none.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(address) => Some(address.ip()),
            Self::Unix(_) | Self::Unknown => None,
        }
    }

    /// Returns the port, or `None` for an address that has none.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Inet(address) => Some(address.port()),
            Self::Unix(_) | Self::Unknown => None,
        }
    }
}

impl<A: Into<SocketAddr>> From<A> for Address {
    fn from(address: A) -> Self {
        Self::Inet(address.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(None) => f.write_str("unix"),
            Self::Unix(Some(Credentials { uid, gid, pid })) => {
                write!(f, "unix:uid={uid},gid={gid}")?;
                pid.map_or(Ok(()), |pid| write!(f, ",pid={pid}"))
            }
            Self::Unknown => f.pad("unknown"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Lets a [`TcpStream`](std::net::TcpStream) connect to the address.
impl ToSocketAddrs for Address {
    type Iter = std::option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let address = self.as_inet().ok_or_else(|| io::Error::new(ErrorKind::Unsupported, "no TCP address"))?;
        Ok(Some(address).into_iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_no_larger_than_a_socket_address() {
        assert_eq!(size_of::<Address>(), size_of::<SocketAddr>());
    }

    #[test]
    fn an_address_displays_as_a_socket_address_does() {
        for text in ["127.0.0.1:8080", "[::1]:8080"] {
            let address = Address::from(text.parse::<SocketAddr>().unwrap());
            assert_eq!((address.to_string().as_str(), format!("{address:?}").as_str()), (text, text));
            assert_eq!(address.to_socket_addrs().unwrap().next(), address.as_inet());
        }
        let unix = |pid| Address::Unix(Some(Credentials::new(1000, 100, pid)));
        assert_eq!(unix(Some(4242)).to_string(), "unix:uid=1000,gid=100,pid=4242");
        assert_eq!(unix(None).to_string(), "unix:uid=1000,gid=100");
        assert_eq!(Address::Unix(None).to_string(), "unix");
        assert!(unix(None).to_socket_addrs().is_err());
    }

    #[test]
    fn an_address_that_is_unknown_says_so_and_is_nowhere_to_connect_to() {
        let unknown = Address::Unknown;
        assert_eq!((format!("{unknown:>9}"), format!("{unknown:?}")), ("  unknown".to_owned(), "unknown".to_owned()));
        assert_eq!((unknown.as_inet(), unknown.ip(), unknown.port()), (None, None, None));
        assert_eq!(unknown.to_socket_addrs().unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
