//! The PROXY header that a connection may begin with: from words to bytes. It opens nothing.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use proxy_header::{ProxiedAddress, ProxyHeader};

/// A PROXY header to send first: what a proxy would say about its client.
///
/// Written as in scripts and behind `--proxy`.
///
/// ```
/// use greeter_client::Proxy;
///
/// for text in ["v2", "v1 192.0.2.1:5000", "v2 [2001:db8::1]:5000", "v2 local"] {
///     assert_eq!(text.parse::<Proxy>()?.to_string(), text);
/// }
/// # Ok::<(), greeter_client::ProxyFormatError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its version.
    pub version: ProxyVersion,
    /// The client that it names.
    pub client: ProxyClient,
}

/// The version of a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyVersion {
    /// `v1`: a line of text.
    V1,
    /// `v2`: binary.
    V2,
}

/// The client that a PROXY header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyClient {
    /// We ourselves, with the addresses that the connection has. A Unix socket has none, and its
    /// header is that of [`Local`](Self::Local).
    Real,
    /// The client at this address, which has connected to the server's.
    At(SocketAddr),
    /// `local`: nobody, as in the health check of a proxy; `LOCAL` in v2, and `UNKNOWN` in v1.
    Local,
}

impl ProxyVersion {
    pub(crate) const WORDS: &[&str] = &["v1", "v2"];

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word {
            "v1" => Some(Self::V1),
            "v2" => Some(Self::V2),
            _ => None,
        }
    }
}

impl ProxyClient {
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word {
            "local" => Some(Self::Local),
            _ => word.parse().ok().map(Self::At),
        }
    }
}

impl Proxy {
    /// The header, on a connection between these addresses, if it has some.
    pub(super) fn to_bytes(self, ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
        let addresses = match (self.client, ends) {
            (ProxyClient::Real, ends) => ends,
            (ProxyClient::At(client), Some((_, server))) => Some((client, server)),
            (ProxyClient::At(client), None) => Some((client, nowhere(client))),
            (ProxyClient::Local, _) => None,
        };
        let header = addresses.map_or_else(ProxyHeader::with_local, |(client, server)| {
            let (client, server) = of_one_family(client, server);
            ProxyHeader::with_address(ProxiedAddress::stream(client, server))
        });
        let mut bytes = Vec::new();
        let encoded = match self.version {
            ProxyVersion::V1 => header.encode_v1(&mut bytes),
            ProxyVersion::V2 => header.encode_v2(&mut bytes),
        };
        encoded.expect("a header of two addresses of one family can be written");
        bytes
    }
}

/// The address of a server that has none.
fn nowhere(client: SocketAddr) -> SocketAddr {
    match client {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// A header names two IPv4 addresses or two IPv6 ones: of a mixed pair, that of IPv4 is mapped.
fn of_one_family(client: SocketAddr, server: SocketAddr) -> (SocketAddr, SocketAddr) {
    let mapped = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
        v6 => v6,
    };
    match client.is_ipv4() == server.is_ipv4() {
        true => (client, server),
        false => (mapped(client), mapped(server)),
    }
}

impl fmt::Display for ProxyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.client {
            ProxyClient::Real => write!(f, "{}", self.version),
            ProxyClient::At(client) => write!(f, "{} {client}", self.version),
            ProxyClient::Local => write!(f, "{} local", self.version),
        }
    }
}

impl FromStr for Proxy {
    type Err = ProxyFormatError;

    fn from_str(text: &str) -> Result<Self, ProxyFormatError> {
        let words = || {
            let (version, client) =
                text.split_once(' ').map_or((text, None), |(version, client)| (version, Some(client)));
            let client = client.map_or(Some(ProxyClient::Real), ProxyClient::from_word)?;
            Some(Self { version: ProxyVersion::from_word(version)?, client })
        };
        words().ok_or(ProxyFormatError)
    }
}

/// An error of parsing a [`Proxy`]; its message says what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write v1 or v2, and behind it an IP address with a port or local, as in 'v2 192.0.2.1:5000'")]
#[non_exhaustive]
pub struct ProxyFormatError;

#[cfg(test)]
mod tests {
    use proxy_header::ParseConfig;

    use super::*;

    const ENDS: (&str, &str) = ("127.0.0.1:40000", "127.0.0.1:25");

    #[track_caller]
    fn header(text: &str, ends: Option<(&str, &str)>) -> Vec<u8> {
        let ends = ends.map(|(client, server)| (client.parse().unwrap(), server.parse().unwrap()));
        text.parse::<Proxy>().unwrap().to_bytes(ends)
    }

    #[test]
    fn version_1_is_a_line() {
        let line = |text, ends| String::from_utf8(header(text, ends)).unwrap();
        assert_eq!(line("v1", Some(ENDS)), "PROXY TCP4 127.0.0.1 127.0.0.1 40000 25\r\n");
        assert_eq!(line("v1 192.0.2.1:5000", Some(ENDS)), "PROXY TCP4 192.0.2.1 127.0.0.1 5000 25\r\n");
        assert_eq!(line("v1 192.0.2.1:5000", None), "PROXY TCP4 192.0.2.1 0.0.0.0 5000 0\r\n");
        assert_eq!(line("v1 local", Some(ENDS)), "PROXY UNKNOWN\r\n");
        assert_eq!(line("v1", None), "PROXY UNKNOWN\r\n");
        let mixed = line("v1 [2001:db8::1]:5000", Some(ENDS));
        assert_eq!(mixed, "PROXY TCP6 2001:db8::1 ::ffff:127.0.0.1 5000 25\r\n");
        let mixed = line("v1 192.0.2.1:5000", Some(("[::1]:1", "[::1]:2")));
        assert_eq!(mixed, "PROXY TCP6 ::ffff:192.0.2.1 ::1 5000 2\r\n");
    }

    #[test]
    fn version_2_is_binary() {
        const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
        assert_eq!(header("v2 local", Some(ENDS)), [SIGNATURE, b"\x20\0\0\0"].concat());
        assert_eq!(header("v2", None), [SIGNATURE, b"\x20\0\0\0"].concat());
        let bytes = header("v2 192.0.2.1:5000", Some(ENDS));
        assert_eq!(bytes, [SIGNATURE, b"\x21\x11\0\x0c\xc0\0\x02\x01\x7f\0\0\x01\x13\x88\0\x19"].concat());
        let bytes = header("v2 [2001:db8::1]:5000", None);
        let (parsed, length) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
        assert_eq!((parsed.proxied_address().unwrap().destination, length), ("[::]:0".parse().unwrap(), bytes.len()));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for text in ["", "v3", "V2", "v2 ", "v2 192.0.2.1", "v2 192.0.2.1:5000 x", "local", "v2  local"] {
            assert_eq!(text.parse::<Proxy>(), Err(ProxyFormatError), "{text}");
        }
    }
}
