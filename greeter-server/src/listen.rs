//! Turns an address in words into a place to listen at, and a place into words. Must not open a
//! socket.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::sync::Arc;

use greeter_core::Origin;

use crate::config::ConfigError;
use crate::entry_rules::{EntryRules, ProxyNetworks, TlsRule};
#[cfg(feature = "tls")]
use crate::tls::settings::Tls;

/// Where a server is to listen, and how.
///
/// [`Builder::listen`](crate::Builder::listen) takes it, and whatever turns into it: a socket
/// address, or a text.
///
/// | text | where |
/// |---|---|
/// | `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080` | TCP; port 0 takes any free port |
/// | `unix:/run/greeter/socket` | a Unix socket with this path |
/// | `unix:/run/greeter/socket,mode=0660,owner=greeter,group=mail` | the same, for whom its file says |
/// | `unix:@name` | a Unix socket with a name and no file (Linux; any process of the network namespace may connect) |
/// | `tls:` and any of these | the same, and clients speak [TLS](Self::tls) |
/// | `fd:3`, `fd:0`, `fd:NAME` | a socket that this process [was started with](crate::InheritedSockets) |
///
/// A path may contain commas: only a tail of `,mode=…`, `,owner=…` and `,group=…` is no part of it.
///
/// Of a name with several addresses, the server takes the first on which the system can listen. An
/// IPv6 address does not stand for IPv4 as well, not even the unspecified one.
///
/// ```
/// use greeter_server::{Listener, Server};
///
/// # let directory = std::env::temp_dir().join(format!("greeter-listener-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// let socket = directory.join("socket");
/// let server = Server::builder()
///     .listen("127.0.0.1:0")
///     .listen(Listener::unix(&socket).mode(0o660))
///     .build()?;
/// assert_eq!(server.local_addrs()[1].to_string(), format!("unix:{}", socket.display()));
/// # drop(server);
/// # std::fs::remove_dir(directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    pub(crate) place: Result<ListenPlace, ConfigError>,
    pub(crate) proxies: Option<Result<ProxyNetworks, ConfigError>>,
    tls: ListenerTls,
    name: Option<Arc<str>>,
}

/// Whether clients of a listener speak TLS, as far as was said.
#[derive(Debug)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "sessions come with the feature"))]
enum ListenerTls {
    InPlain,
    /// By its address, and without a certificate so far.
    Named,
    Given(TlsRule),
    /// At once, and on request.
    Contradictory,
}

/// The permissions of everybody.
#[cfg(unix)]
const MAX_MODE: u32 = 0o777;

/// Where to listen.
#[derive(Debug)]
pub(crate) enum ListenPlace {
    /// At the first of these addresses that can be listened on.
    Inet(Vec<SocketAddr>),
    #[cfg(unix)]
    Unix(UnixPlace),
    /// At a socket that the host program has opened.
    #[cfg(unix)]
    Opened(OwnedFd),
    /// At a socket that this process was started with: its number, or its name.
    #[cfg(unix)]
    Inherited(String),
}

/// A Unix socket, and who may connect to it.
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnixPlace {
    pub(crate) name: UnixName,
    pub(crate) mode: Option<u32>,
    /// A user's number or name.
    pub(crate) owner: Option<String>,
    /// A group's number or name.
    pub(crate) group: Option<String>,
}

/// The name of a Unix socket (unix(7), "Address format").
#[cfg(unix)]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum UnixName {
    Path(PathBuf),
    /// Without a file. Linux only.
    Abstract(Vec<u8>),
}

/// What of a listener stays as it is while a server runs: where it listens, whether clients speak
/// TLS, and who may connect to the file of a Unix socket.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListenerKind {
    /// The place, and whether in TLS. Two listeners that are one display as one.
    known_by: String,
    #[cfg(unix)]
    unix: Option<UnixPlace>,
}

/// The address of a listener.
///
/// It displays as it was asked for, with the real port: `127.0.0.1:40123`,
/// `unix:/run/greeter/socket` or `tls:[::1]:40123`. So greeter-client connects to what is printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ListenerAddress {
    pub(crate) bound_to: BoundTo,
    pub(crate) is_tls: bool,
}

/// What a listener is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BoundTo {
    Inet(SocketAddr),
    #[cfg(unix)]
    Unix(UnixName),
}

impl Listener {
    /// Listens on TCP at this address, or at the first that the system can listen on if it is a
    /// name with several.
    ///
    /// ```
    /// use greeter_server::{Listener, Server};
    ///
    /// let server = Server::builder().bind(Listener::tcp(("localhost", 0)))?;
    /// # Ok::<(), greeter_server::BuildError>(())
    /// ```
    #[must_use]
    pub fn tcp(address: impl ToSocketAddrs + fmt::Debug) -> Self {
        let resolved = address.to_socket_addrs().map(Vec::from_iter);
        Self::at(match resolved {
            Ok(candidates) => Ok(ListenPlace::Inet(candidates)),
            Err(reason) => Err(ConfigError::Address { address: format!("{address:?}"), reason }),
        })
    }

    /// Listens at the Unix socket with this path. Its file is made by the server, and removed by it
    /// if it is still the same file when the server stops.
    ///
    /// A file that a server has left behind that is no more is replaced. It is an error if another
    /// server listens there, or if there is something that is no socket.
    ///
    /// There is no limit of clients per address here: on one machine, all clients of a service can
    /// be one user.
    #[cfg(unix)]
    #[must_use]
    pub fn unix(path: impl AsRef<Path>) -> Self {
        Self::at(Ok(ListenPlace::Unix(UnixPlace::new(UnixName::Path(path.as_ref().to_owned())))))
    }

    /// Listens at a socket that the host program has opened, bound and made listen: TCP or Unix.
    ///
    /// It may be another program's as well. So its options stay as they are, its file is not
    /// removed, it is not shut down, and clients that wait in its backlog when the server stops are
    /// left to whoever listens next.
    #[cfg(unix)]
    #[must_use]
    pub fn opened(socket: impl Into<OwnedFd>) -> Self {
        Self::at(Ok(ListenPlace::Opened(socket.into())))
    }

    /// Speaks TLS with each client.
    ///
    /// A client becomes one once its handshake is over, which it has to be within the [handshake
    /// timeout](crate::Builder::handshake_timeout); then it gets its banner. If it is behind a
    /// [proxy](Self::proxy_from), the PROXY header comes before the handshake, in plain.
    /// [`Peer::tls`](crate::Peer::tls) has what the handshake tells.
    ///
    /// The end of a TLS stream (close_notify) is the end of what the client sends, and so is the
    /// end of its connection without that: since a line ends with LF, nobody can cut one short.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: &Tls) -> Self {
        self.tls = match self.tls {
            ListenerTls::InPlain | ListenerTls::Named | ListenerTls::Given(TlsRule::AtOnce(_)) => {
                ListenerTls::Given(TlsRule::AtOnce(Arc::new(tls.clone())))
            }
            ListenerTls::Given(TlsRule::OnRequest(_)) | ListenerTls::Contradictory => ListenerTls::Contradictory,
        };
        self
    }

    /// Lets a reply [start TLS](crate::Reply::start_tls), as by STARTTLS. Until then, and if none
    /// does, the client speaks in plain.
    ///
    /// The handshake has the [handshake timeout](crate::Builder::handshake_timeout). The client
    /// does not count as a newcomer meanwhile: it is one of the server's clients already.
    ///
    /// `smtp_sink.rs` among the examples shows it.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_on_request(mut self, tls: &Tls) -> Self {
        self.tls = match self.tls {
            ListenerTls::InPlain | ListenerTls::Given(TlsRule::OnRequest(_)) => {
                ListenerTls::Given(TlsRule::OnRequest(Arc::new(tls.clone())))
            }
            _ => ListenerTls::Contradictory,
        };
        self
    }

    /// Returns whether clients speak TLS here: whether it was made of a text that begins with
    /// `tls:`, or was given [TLS](Self::tls).
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self.tls, ListenerTls::Named | ListenerTls::Given(TlsRule::AtOnce(_)))
    }

    /// Gives it a name, by which a responder knows who has come here
    /// ([`Peer::listener`](crate::Peer::listener)): several listeners of one server may have
    /// clients of different kinds.
    ///
    /// ```
    /// use greeter_server::{Listener, Server};
    ///
    /// let server = Server::builder()
    ///     .listen(Listener::from("127.0.0.1:0").named("public"))
    ///     .listen(Listener::from("127.0.0.1:0").named("local"))
    ///     .build()?;
    /// # Ok::<(), greeter_server::BuildError>(())
    /// ```
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Expects a PROXY header first from each client that connects from one of these networks: from
    /// a load balancer, which says by it whose connection it relays (HAProxy's `send-proxy` and
    /// `send-proxy-v2`).
    ///
    /// A network is `10.0.0.0/8` or `2001:db8::/32`, a single address stands for itself, and `unix`
    /// is whoever connects to a Unix socket. From there, a client without a valid header is closed
    /// within the [handshake timeout](crate::Builder::handshake_timeout). From elsewhere, no header
    /// is looked for: `PROXY` is the beginning of a line like any other. So name your proxies and
    /// nobody else: whoever may send a header may claim any address.
    ///
    /// The client's address is the one in the header, for the log, the
    /// [limit](crate::Builder::max_connections_per_address) and the responder;
    /// [`Peer::via`](crate::Peer::via) and [`Peer::origin`](crate::Peer::origin) have the proxy's
    /// address and what else it said. Health checks of the balancer itself (`LOCAL`) have the
    /// balancer's.
    ///
    /// ```
    /// use greeter_server::{Listener, Server};
    ///
    /// let listener = Listener::from("127.0.0.1:0").proxy_from(["127.0.0.1", "10.0.0.0/8"]);
    /// let server = Server::builder().bind(listener)?;
    /// # Ok::<(), greeter_server::BuildError>(())
    /// ```
    #[must_use]
    pub fn proxy_from(mut self, networks: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.proxies = Some(ProxyNetworks::parse(networks).map_err(|network| ConfigError::Network { network }));
        self
    }

    const fn at(place: Result<ListenPlace, ConfigError>) -> Self {
        Self { place, proxies: None, tls: ListenerTls::InPlain, name: None }
    }

    /// Returns where to listen, and what to ask of clients there, or what is wrong.
    pub(crate) fn validate(self) -> Result<(ListenPlace, EntryRules), ConfigError> {
        let Self { place, proxies, tls, name } = self;
        let place = place?;
        let tls = match tls {
            ListenerTls::InPlain => None,
            ListenerTls::Given(tls) => Some(tls),
            ListenerTls::Named => return Err(ConfigError::NoCertificate),
            ListenerTls::Contradictory => return Err(ConfigError::TlsTwice),
        };
        let can_start_tls = matches!(tls, Some(TlsRule::OnRequest(_)));
        let mut origin = Origin::default();
        (origin.listener, origin.can_start_tls) = (name, can_start_tls);
        let origin = (origin != Origin::default()).then(|| Arc::new(origin));
        Ok((place, EntryRules { proxies: proxies.transpose()?, tls, origin }))
    }

    /// Sets the permissions of the Unix socket's file, such as `0o660`. Whoever may write to it may
    /// connect (unix(7)). They hold before anybody can connect. Without it, the process' umask
    /// decides. More than `0o777` is an error.
    #[cfg(unix)]
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        let mut listener = self.of_unix("mode", |unix| unix.mode = Some(mode));
        if mode > MAX_MODE && listener.place.is_ok() {
            listener.place = Err(invalid(&format!("a mode of {mode:o}"), "write it in octal, as 0o660".to_owned()));
        }
        listener
    }

    /// Sets the owner of the Unix socket's file: a user's number, or a name in `/etc/passwd`.
    #[cfg(unix)]
    #[must_use]
    pub fn owner(self, owner: impl Into<String>) -> Self {
        self.of_unix("owner", |unix| unix.owner = Some(owner.into()))
    }

    /// Sets the group of the Unix socket's file: a group's number, or a name in `/etc/group`.
    #[cfg(unix)]
    #[must_use]
    pub fn group(self, group: impl Into<String>) -> Self {
        self.of_unix("group", |unix| unix.group = Some(group.into()))
    }

    /// Sets something that only a Unix socket with a file has.
    #[cfg(unix)]
    fn of_unix(mut self, what: &str, set: impl FnOnce(&mut UnixPlace)) -> Self {
        match &mut self.place {
            Ok(ListenPlace::Unix(unix @ UnixPlace { name: UnixName::Path(_), .. })) => set(unix),
            Ok(place) => {
                let reason = format!("only the file of a Unix socket has a {what}");
                self.place = Err(invalid(&place.to_string(), reason));
            }
            Err(_) => {}
        }
        self
    }
}

/// Returns the error for an address that is none.
fn invalid(address: &str, reason: String) -> ConfigError {
    ConfigError::Address { address: address.to_owned(), reason: io::Error::new(ErrorKind::InvalidInput, reason) }
}

/// An address that is none is reported when the server is built.
impl From<&str> for Listener {
    fn from(text: &str) -> Self {
        if let Some(rest) = behind_scheme(text, "tls:") {
            let listener = Self::from(rest);
            if listener.is_tls() {
                return Self::at(Err(invalid(&format!("{text:?}"), "write tls: once".to_owned())));
            }
            return Self { tls: ListenerTls::Named, ..listener };
        }
        let shown = format!("{text:?}");
        let rest = |scheme: &str| behind_scheme(text, scheme);
        #[cfg(unix)]
        if let Some(unix) = rest("unix:") {
            return Self::at(UnixPlace::parse(unix).map(ListenPlace::Unix).map_err(|reason| invalid(&shown, reason)));
        } else if let Some(which) = rest("fd:") {
            return Self::at(match which {
                "" => Err(invalid(&shown, "write fd:3, or fd:NAME as in LISTEN_FDNAMES".to_owned())),
                which => Ok(ListenPlace::Inherited(which.to_owned())),
            });
        }
        #[cfg(not(unix))]
        if rest("unix:").or(rest("fd:")).is_some() {
            return Self::at(Err(invalid(&shown, "this system has no such sockets".to_owned())));
        }
        match missing_of(text) {
            Some(advice) => Self::at(Err(invalid(&shown, advice))),
            None => Self::tcp(text),
        }
    }
}

/// Returns what is behind this scheme, in capitals or not (RFC 3986, 3.1), if the text has it.
fn behind_scheme<'t>(text: &'t str, scheme: &str) -> Option<&'t str> {
    text.split_at_checked(scheme.len()).filter(|(start, _)| start.eq_ignore_ascii_case(scheme)).map(|(_, rest)| rest)
}

/// Returns how to write a host and a port, if one of them is missing. The resolver knows what
/// people leave out by other names.
fn missing_of(text: &str) -> Option<String> {
    let without_host = text.strip_prefix(':').unwrap_or(text);
    if text.is_empty() || text == ":" {
        Some("write HOST:PORT, as in 127.0.0.1:8080".to_owned())
    } else if text.parse::<Ipv6Addr>().is_ok() {
        Some(format!("the port is missing: write [{text}]:8080"))
    } else if without_host.parse::<u16>().is_ok() {
        let port = without_host;
        Some(format!("the host is missing: write 127.0.0.1:{port}, or for every host 0.0.0.0:{port} or [::]:{port}"))
    } else if text.contains(':') {
        None
    } else {
        Some(format!("the port is missing: write {text}:8080"))
    }
}

impl From<String> for Listener {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&String> for Listener {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<SocketAddr> for Listener {
    fn from(address: SocketAddr) -> Self {
        Self::tcp(address)
    }
}

impl<I: Into<IpAddr>> From<(I, u16)> for Listener {
    fn from(address: (I, u16)) -> Self {
        Self::tcp(SocketAddr::from(address))
    }
}

#[cfg(unix)]
impl UnixPlace {
    const SETTINGS: [&str; 3] = ["mode=", "owner=", "group="];

    const fn new(name: UnixName) -> Self {
        Self { name, mode: None, owner: None, group: None }
    }

    /// Parses what stands behind `unix:`.
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix('@') {
            return match name {
                "" => Err("write unix:@NAME".to_owned()),
                _ if !cfg!(any(target_os = "linux", target_os = "android")) => {
                    Err("this system has no Unix sockets without a file".to_owned())
                }
                name => Ok(Self::new(UnixName::Abstract(name.as_bytes().to_owned()))),
            };
        }
        let mut place = Self::new(UnixName::Path(PathBuf::new()));
        let mut path = text;
        // From behind, since a path may contain commas.
        while let Some((before, setting)) = path.rsplit_once(',')
            && let Some((key, value)) = setting.split_once('=')
            && place.set(key, value)?
        {
            path = before;
        }
        if path.is_empty() {
            return Err("write unix:PATH, as in unix:/run/greeter/socket".to_owned());
        }
        // Of a setting that is misspelt, no path is made.
        if path.split(',').skip(1).any(|part| Self::SETTINGS.iter().any(|setting| part.starts_with(setting))) {
            return Err(format!(
                "{} is no setting; there are mode, owner and group",
                path.rsplit(',').next().unwrap_or(path)
            ));
        }
        place.name = UnixName::Path(path.into());
        Ok(place)
    }

    /// Sets what this key stands for, and returns whether it is one.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, String> {
        let value_of = |known: Option<&String>| match (known, value) {
            (Some(_), _) => Err(format!("{key} is there twice")),
            (None, "") => Err(format!("{key} has no value")),
            (None, value) => Ok(Some(value.to_owned())),
        };
        match key {
            "mode" => {
                if self.mode.is_some() {
                    return Err("mode is there twice".to_owned());
                }
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| *mode <= MAX_MODE);
                self.mode = Some(mode.ok_or_else(|| format!("{value} is no mode; write it as 0660"))?);
            }
            "owner" => self.owner = value_of(self.owner.as_ref())?,
            "group" => self.group = value_of(self.group.as_ref())?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl ListenerKind {
    /// A listener at this place, which is known by that.
    pub(crate) fn of(place: &ListenPlace, known_by: &impl fmt::Display, rules: &EntryRules) -> Self {
        let tls = match rules.tls {
            None => "in plain",
            Some(TlsRule::AtOnce(_)) => "in TLS",
            Some(TlsRule::OnRequest(_)) => "in TLS on request",
        };
        let known_by = format!("{known_by} {tls}");
        #[cfg(unix)]
        let unix = if let ListenPlace::Unix(unix) = place { Some(unix.clone()) } else { None };
        Self {
            known_by,
            #[cfg(unix)]
            unix,
        }
    }

    /// Returns whether it is the same listener, perhaps for others to connect to.
    pub(crate) fn is_same_listener(&self, other: &Self) -> bool {
        self.known_by == other.known_by
    }
}

impl ListenerAddress {
    /// Returns whether clients speak TLS there.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Returns the IP address and the port, or `None` for an address of another kind.
    #[must_use]
    pub const fn as_inet(&self) -> Option<SocketAddr> {
        match &self.bound_to {
            BoundTo::Inet(address) => Some(*address),
            #[cfg(unix)]
            BoundTo::Unix(_) => None,
        }
    }

    /// Returns the port, or `None` for an address that has none.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.as_inet().map(|address| address.port())
    }

    /// Returns the path of a Unix socket, or `None` for an address that has none.
    #[cfg(unix)]
    #[must_use]
    pub fn as_path(&self) -> Option<&Path> {
        match &self.bound_to {
            BoundTo::Unix(UnixName::Path(path)) => Some(path),
            BoundTo::Inet(_) | BoundTo::Unix(UnixName::Abstract(_)) => None,
        }
    }
}

impl fmt::Display for ListenerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_tls {
            f.write_str("tls:")?;
        }
        self.bound_to.fmt(f)
    }
}

impl fmt::Debug for ListenerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As it was asked for.
impl fmt::Display for ListenPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(candidates) => match candidates.first() {
                Some(address) => address.fmt(f),
                None => f.write_str("a name"),
            },
            #[cfg(unix)]
            Self::Unix(place) => place.name.fmt(f),
            #[cfg(unix)]
            Self::Opened(_) => f.write_str("the opened socket"),
            #[cfg(unix)]
            Self::Inherited(which) => write!(f, "fd:{which}"),
        }
    }
}

impl fmt::Display for BoundTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            #[cfg(unix)]
            Self::Unix(name) => name.fmt(f),
        }
    }
}

#[cfg(unix)]
impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{}", String::from_utf8_lossy(name)),
        }
    }
}

/// Lets a [`TcpStream`](std::net::TcpStream) connect to the address.
impl ToSocketAddrs for ListenerAddress {
    type Iter = std::option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let address = self.as_inet().ok_or_else(|| io::Error::new(ErrorKind::Unsupported, "no TCP address"))?;
        Ok(Some(address).into_iter())
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn unix(text: &str) -> UnixPlace {
        match Listener::from(text).place.unwrap() {
            ListenPlace::Unix(unix) => unix,
            place => panic!("{place:?}"),
        }
    }

    #[test]
    fn only_a_tail_of_settings_is_no_part_of_a_path() {
        let (mode, owner, group) = (Some(0o660), Some("root".to_owned()), Some("mail".to_owned()));
        for (text, path, expected) in [
            ("unix:/run/s", "/run/s", (None, None, None)),
            ("unix:/run/s,mode=0660", "/run/s", (mode, None, None)),
            ("unix:/run/s,group=mail,mode=660,owner=root", "/run/s", (mode, owner, group.clone())),
            ("unix:/run/a,b,group=mail", "/run/a,b", (None, None, group)),
            ("unix:/run/a,b=c", "/run/a,b=c", (None, None, None)),
            ("unix:mode=0660,a", "mode=0660,a", (None, None, None)),
        ] {
            let place = unix(text);
            assert_eq!(place.name, UnixName::Path(path.into()), "{text}");
            assert_eq!((place.mode, place.owner, place.group), expected, "{text}");
        }
    }

    #[test]
    fn an_address_that_is_none_says_how_to_write_it() {
        for (text, reason) in [
            ("", "write HOST:PORT, as in 127.0.0.1:8080"),
            ("127.0.0.1", "the port is missing: write 127.0.0.1:8080"),
            ("::1", "the port is missing: write [::1]:8080"),
            ("80", "the host is missing: write 127.0.0.1:80, or for every host 0.0.0.0:80 or [::]:80"),
            (":80", "the host is missing: write 127.0.0.1:80, or for every host 0.0.0.0:80 or [::]:80"),
            ("tls:TLS:127.0.0.1:0", "write tls: once"),
            ("unix:", "write unix:PATH, as in unix:/run/greeter/socket"),
            ("unix:,mode=0660", "write unix:PATH, as in unix:/run/greeter/socket"),
            ("unix:@", "write unix:@NAME"),
            ("unix:/s,mode=0888", "0888 is no mode; write it as 0660"),
            ("unix:/s,mode=01000", "01000 is no mode; write it as 0660"),
            ("unix:/s,owner=", "owner has no value"),
            ("unix:/s,owner=a,owner=b", "owner is there twice"),
            ("unix:/s,mode=0660,grp=x", "grp=x is no setting; there are mode, owner and group"),
            ("unix:/s,owner=a,,group=b", " is no setting; there are mode, owner and group"),
            ("unix:/s,mode=0,mode=0", "mode is there twice"),
            ("fd:", "write fd:3, or fd:NAME as in LISTEN_FDNAMES"),
        ] {
            let error = Listener::from(text).place.unwrap_err();
            assert_eq!(error.to_string(), format!("cannot listen on {text:?}: {reason}"));
        }
        let error = Listener::from(([127, 0, 0, 1], 0)).mode(0o600).place.unwrap_err().to_string();
        assert_eq!(error, "cannot listen on 127.0.0.1:0: only the file of a Unix socket has a mode");
        assert!(Listener::from("unix:@name").owner("root").place.is_err());
        let error = Listener::unix("/s").mode(660).place.unwrap_err().to_string();
        assert_eq!(error, "cannot listen on a mode of 1224: write it in octal, as 0o660");
    }

    #[test]
    fn an_address_displays_as_it_was_asked_for() {
        assert!(Listener::from("TLS:unix:/run/s").is_tls() && unix("UNIX:/run/S").name == unix("unix:/run/S").name);
        for text in ["unix:/run/s", "unix:@name"] {
            assert_eq!(ListenerAddress { bound_to: BoundTo::Unix(unix(text).name), is_tls: false }.to_string(), text);
        }
        assert_eq!(unix("unix:/run/s,mode=0660").name.to_string(), "unix:/run/s");
    }
}
