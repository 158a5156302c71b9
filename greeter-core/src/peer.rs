//! Clients: what they are called, and where they come from.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// The name of one client of a server, from its first byte to its last. No two clients of a server
/// have the same, however long it runs.
///
/// A server makes it and hands it out, in [`Peer::id`]. It is displayed as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(u64);

/// A client, as the responder is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The client's name on this server.
    pub id: ClientId,
    /// The address that the client connects from.
    pub address: Address,
}

/// The address of one end of a connection, or of a listener.
///
/// It is displayed as the standard library displays addresses: `127.0.0.1:8080`, `[::1]:8080`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Address {
    /// An address of IPv4 or IPv6, and a port.
    Inet(SocketAddr),
}

/// Returns the client's name that has this number on the driver's side.
///
/// For drivers of a [`Connection`](crate::Connection), which see to it that none is given twice.
#[must_use]
pub const fn client_id(number: u64) -> ClientId {
    ClientId(number)
}

impl ClientId {
    /// Returns the number that it is displayed as.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Peer {
    /// Creates the description of a client.
    #[must_use]
    pub const fn new(id: ClientId, address: Address) -> Self {
        Self { id, address }
    }
}

impl Address {
    /// Returns the address of the internet, where it is one.
    #[must_use]
    pub const fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(address) => Some(*address),
        }
    }

    /// Returns the IP address, where it has one.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(address) => Some(address.ip()),
        }
    }

    /// Returns the port, where it has one.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Inet(address) => Some(address.port()),
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
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// So that a [`TcpStream`](std::net::TcpStream) connects to it.
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
    fn an_address_is_no_larger_than_that_of_a_socket() {
        assert_eq!(size_of::<Address>(), size_of::<SocketAddr>());
    }

    #[test]
    fn an_address_is_displayed_as_that_of_a_socket() {
        for text in ["127.0.0.1:8080", "[::1]:8080"] {
            let address = Address::from(text.parse::<SocketAddr>().unwrap());
            assert_eq!((address.to_string().as_str(), format!("{address:?}").as_str()), (text, text));
            assert_eq!(address.to_socket_addrs().unwrap().next(), address.as_inet());
        }
    }
}
