//! Turns `HOST:PORT`, `unix:PATH`, `unix:@NAME` or one of these behind `tls:` into a
//! [`ServerAddress`] that can be connected to. It resolves no names.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The address of a server: `HOST:PORT`, `unix:PATH` where the system has Unix sockets, or
/// `unix:@NAME` for one of Linux that has a name and no path. `tls:` before any of them means TLS.
///
/// An IPv6 address stands in brackets. A name is resolved when a connection is made, not here. A
/// path that begins with `@` is written `unix:./@path`.
///
/// ```
/// use greeter_client::ServerAddress;
///
/// for text in ["127.0.0.1:8080", "[::1]:8080", "localhost:8080", "tls:mail.example:465"] {
///     assert_eq!(text.parse::<ServerAddress>()?.to_string(), text);
/// }
/// assert_eq!(
///     "localhost".parse::<ServerAddress>().map_err(|err| err.to_string()),
///     Err("'localhost' names no port: write HOST:PORT, as in localhost:8080".into()),
/// );
/// # Ok::<(), greeter_client::ServerAddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    pub(crate) kind: AddressKind,
    /// Whether TLS is spoken there.
    pub(crate) is_tls: bool,
}

/// The kinds of address. A host is not empty and holds no brackets; a port is not 0; a name is not
/// empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AddressKind {
    Tcp {
        host: String,
        port: u16,
    },
    #[cfg(unix)]
    Unix(PathBuf),
    /// The name of a Unix socket that has no path.
    #[cfg(target_os = "linux")]
    Abstract(String),
}

impl From<AddressKind> for ServerAddress {
    fn from(kind: AddressKind) -> Self {
        Self { kind, is_tls: false }
    }
}

impl ServerAddress {
    /// Returns the address of the Unix socket at `path`.
    ///
    /// ```
    /// use greeter_client::ServerAddress;
    ///
    /// assert_eq!(ServerAddress::unix("/run/greeter.sock"), "unix:/run/greeter.sock".parse()?);
    /// # Ok::<(), greeter_client::ServerAddressError>(())
    /// ```
    #[cfg(unix)]
    #[must_use]
    pub fn unix(path: impl AsRef<Path>) -> Self {
        AddressKind::Unix(path.as_ref().to_owned()).into()
    }

    /// Returns the same address, at which TLS is spoken.
    ///
    /// ```
    /// use greeter_client::ServerAddress;
    ///
    /// let address: ServerAddress = "mail.example:465".parse()?;
    /// assert_eq!(address.over_tls(), "tls:mail.example:465".parse()?);
    /// # Ok::<(), greeter_client::ServerAddressError>(())
    /// ```
    #[must_use]
    pub fn over_tls(self) -> Self {
        Self { is_tls: true, ..self }
    }

    /// The host, which a Unix socket has not got.
    pub(crate) fn host(&self) -> Option<&str> {
        match &self.kind {
            AddressKind::Tcp { host, .. } => Some(host),
            #[cfg(unix)]
            _ => None,
        }
    }

    /// Returns whether TLS is spoken at this address.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }
}

#[cfg(feature = "load")]
impl ServerAddress {
    /// Whether it is certain, before any name is resolved, that this is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        match &self.kind {
            AddressKind::Tcp { host, .. } => {
                host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
            }
            #[cfg(unix)]
            AddressKind::Unix(_) => true,
            #[cfg(target_os = "linux")]
            AddressKind::Abstract(_) => true,
        }
    }
}

/// The address that a listener in the same program told. Connecting to port 0 fails.
impl From<SocketAddr> for ServerAddress {
    fn from(address: SocketAddr) -> Self {
        // Printed and cut, because the zone of a link-local address must not be lost.
        let text = address.to_string();
        let host = text.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        AddressKind::Tcp { host: host.to_owned(), port: address.port() }.into()
    }
}

impl FromStr for ServerAddress {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, ServerAddressError> {
        match behind_scheme(text, "tls:") {
            Some(below) => Ok(Self { kind: parse_kind(below)?, is_tls: true }),
            None => parse_kind(text).map(Self::from),
        }
    }
}

/// What follows a scheme, which may be written in any case (RFC 3986).
fn behind_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn parse_kind(text: &str) -> Result<AddressKind, ServerAddressError> {
    match behind_scheme(text, "unix:") {
        Some(path) => parse_unix(path),
        None => parse_tcp(text),
    }
}

#[cfg(unix)]
fn parse_unix(path: &str) -> Result<AddressKind, ServerAddressError> {
    match (path, path.strip_prefix('@')) {
        ("" | "@", _) => Err(ServerAddressError::NoPath),
        (path, None) => Ok(AddressKind::Unix(path.into())),
        #[cfg(target_os = "linux")]
        (_, Some(name)) => Ok(AddressKind::Abstract(name.to_owned())),
        #[cfg(not(target_os = "linux"))]
        (_, Some(_)) => Err(ServerAddressError::NoAbstractSockets),
    }
}

#[cfg(not(unix))]
fn parse_unix(_path: &str) -> Result<AddressKind, ServerAddressError> {
    Err(ServerAddressError::NoUnixSockets)
}

fn parse_tcp(text: &str) -> Result<AddressKind, ServerAddressError> {
    let owned = || text.escape_debug().to_string();
    if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
        return Err(ServerAddressError::NoBrackets(owned()));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| ServerAddressError::NoPort(owned()))?;
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).filter(|host| host.contains(':'));
    let host = in_brackets.unwrap_or(host);
    if host.is_empty() || host.contains(|c: char| "[]/".contains(c) || c.is_whitespace() || c.is_control()) {
        return Err(ServerAddressError::BadHost(owned()));
    }
    if host.contains(':') && in_brackets.is_none() {
        return Err(ServerAddressError::NoBrackets(owned()));
    }
    // `u16::from_str` would accept a plus sign.
    let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    match port.and_then(|port| port.parse().ok()) {
        Some(port) if port != 0 => Ok(AddressKind::Tcp { host: host.to_owned(), port }),
        _ => Err(ServerAddressError::BadPort(owned())),
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_tls {
            f.write_str("tls:")?;
        }
        match &self.kind {
            AddressKind::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            AddressKind::Tcp { host, port } => write!(f, "{host}:{port}"),
            // Without the folder it would be a name.
            #[cfg(unix)]
            AddressKind::Unix(path) if path.as_os_str().as_encoded_bytes().starts_with(b"@") => {
                write!(f, "unix:./{}", path.display())
            }
            #[cfg(unix)]
            AddressKind::Unix(path) => write!(f, "unix:{}", path.display()),
            #[cfg(target_os = "linux")]
            AddressKind::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}

/// An error of parsing a [`ServerAddress`]; its message says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerAddressError {
    /// There is no port.
    #[error("'{0}' names no port: write HOST:PORT, as in localhost:8080")]
    NoPort(String),
    /// The port is no number from 1 to 65535.
    #[error("'{0}' has no usable port: write HOST:PORT with a port from 1 to 65535")]
    BadPort(String),
    /// The host is empty, or holds what no host can.
    #[error("'{0}' has no usable host: write HOST:PORT, as in localhost:8080")]
    BadHost(String),
    /// An IPv6 address without brackets, in which the port cannot be told apart.
    #[error("'{0}' is ambiguous: put an IPv6 address in brackets, as in [::1]:8080")]
    NoBrackets(String),
    /// `unix:` or `unix:@` and nothing else.
    #[error("'unix:' names no socket: write unix:PATH, as in unix:/run/greeter.sock")]
    NoPath,
    /// Only Linux has Unix sockets without a path.
    #[error("'unix:@' is for Linux: write unix:PATH, as in unix:/run/greeter.sock")]
    NoAbstractSockets,
    /// This system has no Unix sockets.
    #[error("this system has no Unix sockets: write HOST:PORT, as in localhost:8080")]
    NoUnixSockets,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn round_trips(text: &str) {
        assert_eq!(text.parse::<ServerAddress>().unwrap().to_string(), text);
    }

    #[track_caller]
    fn refused(text: &str, err: fn(String) -> ServerAddressError) {
        assert_eq!(text.parse::<ServerAddress>(), Err(err(text.escape_debug().to_string())));
    }

    #[test]
    fn an_address_prints_as_it_was_written() {
        for text in ["127.0.0.1:1", "localhost:65535", "[::1]:8080", "[fe80::1%eth0]:25", "a-b.example:8080"] {
            round_trips(text);
        }
        #[cfg(unix)]
        for text in ["unix:run.sock", "unix:/tmp/a b:c", "unix: ", "unix:./@a", "tls:unix:run.sock", "unix:tls:a"] {
            round_trips(text);
        }
        #[cfg(target_os = "linux")]
        for text in ["unix:@greeter", "unix:@a b", "unix:@@", "tls:unix:@greeter"] {
            round_trips(text);
        }
        for text in ["tls:127.0.0.1:1", "tls:[::1]:8080", "tls:mail.example:465"] {
            round_trips(text);
            assert!(text.parse::<ServerAddress>().unwrap().is_tls());
        }
    }

    #[test]
    fn a_bad_address_is_refused_with_its_reason() {
        for text in ["", "localhost", "127.0.0.1", "8080"] {
            refused(text, ServerAddressError::NoPort);
        }
        for text in ["h:", "h:0", "h:65536", "h:-1", "h:+1", "h:1x", "h: 1", "[::1]:", "h:\u{1b}"] {
            refused(text, ServerAddressError::BadPort);
        }
        for text in [":8080", "a b:1", "a\n:1", "[]:1", "[a]:1", "[::1", "http://h:1"] {
            refused(text, ServerAddressError::BadHost);
        }
        for text in ["::1", "::1:8080", "fe80::1%eth0:80"] {
            refused(text, ServerAddressError::NoBrackets);
        }
        assert_eq!("TLS:h:1".parse::<ServerAddress>(), "tls:h:1".parse());
        assert_eq!("tls:h".parse::<ServerAddress>(), Err(ServerAddressError::NoPort("h".into())));
        assert_eq!("tls:tls:h:1".parse::<ServerAddress>(), Err(ServerAddressError::NoBrackets("tls:h:1".into())));
        #[cfg(unix)]
        for text in ["unix:", "unix:@", "tls:unix:"] {
            assert_eq!(text.parse::<ServerAddress>(), Err(ServerAddressError::NoPath));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_looks_like_a_name_stays_a_path() {
        let address = ServerAddress::unix("@run");
        assert_eq!(address.to_string(), "unix:./@run");
        assert_ne!("unix:@run".parse(), Ok(address));
    }

    #[test]
    fn a_listeners_address_is_an_address() {
        for text in ["127.0.0.1:8080", "[::1]:8080", "[fe80::1%3]:8080"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(ServerAddress::from(address), text.parse().unwrap());
        }
    }
}
