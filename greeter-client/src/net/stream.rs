//! The socket, whatever its kind: connects, and moves bytes until a deadline. It knows nothing of
//! lines.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
#[cfg(unix)]
use std::os::unix::net::{SocketAddr as UnixAddress, UnixStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use super::address::{AddressKind, ServerAddress};
use super::deadline::Deadline;
use super::error::{ConnectError, ConnectionError};

/// A connected socket. All methods take `&self`: one thread reads while another writes.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Stream {
    /// Connects within `timeout`, resolving included; a host with several addresses shares it among
    /// them.
    pub(crate) fn connect(address: &ServerAddress, timeout: Option<Duration>) -> Result<Self, ConnectError> {
        Self::connect_from(None, address, timeout)
    }

    /// Connects from an address of this machine, or from the one that the system chooses.
    pub(crate) fn connect_from(
        source: Option<IpAddr>,
        address: &ServerAddress,
        timeout: Option<Duration>,
    ) -> Result<Self, ConnectError> {
        let connecting = Connecting { address, source, timeout, start: Instant::now() };
        if address.is_tls {
            return Err(connecting.failed(io::Error::new(io::ErrorKind::Unsupported, "TLS cannot be spoken yet")));
        }
        match &address.kind {
            AddressKind::Tcp { host, port } => connecting.tcp(host, *port),
            #[cfg(unix)]
            AddressKind::Unix(path) => connecting.unix(UnixAddress::from_pathname(path)),
            #[cfg(target_os = "linux")]
            AddressKind::Abstract(name) => connecting.unix(UnixAddress::from_abstract_name(name)),
        }
    }

    /// Reads what there is, or waits for it; 0 is the end.
    pub(crate) fn read(&self, space: &mut [u8], deadline: &Deadline) -> Result<usize, ConnectionError> {
        self.retry(|| {
            self.set_read_timeout(deadline.remaining()?).map_err(ConnectionError::Lost)?;
            Ok(match self {
                Self::Tcp(stream) => (&*stream).read(space),
                #[cfg(unix)]
                Self::Unix(stream) => (&*stream).read(space),
            })
        })
    }

    /// Hands some of `bytes` to the system and says how many.
    pub(crate) fn write(&self, bytes: &[u8], deadline: &Deadline) -> Result<usize, ConnectionError> {
        self.retry(|| {
            self.set_write_timeout(deadline.remaining()?).map_err(ConnectionError::Lost)?;
            Ok(match self {
                Self::Tcp(stream) => (&*stream).write(bytes),
                #[cfg(unix)]
                Self::Unix(stream) => (&*stream).write(bytes),
            })
        })
    }

    pub(crate) fn write_all(&self, mut bytes: &[u8], deadline: &Deadline) -> Result<(), ConnectionError> {
        while !bytes.is_empty() {
            let count = self.write(bytes, deadline)?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Closes one direction or both. A connection that is already lost says so when it is read.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(how),
            #[cfg(unix)]
            Self::Unix(stream) => stream.shutdown(how),
        };
    }

    /// Whether the peer has refused something, and nobody has been told so yet.
    pub(crate) fn has_failed(&self) -> bool {
        let error = match self {
            Self::Tcp(stream) => stream.take_error(),
            #[cfg(unix)]
            Self::Unix(stream) => stream.take_error(),
        };
        !matches!(error, Ok(None))
    }

    /// Prepares a reset: it is sent when the socket is dropped, and a read that waits on another
    /// thread ends now. A Unix socket knows none, and is just closed.
    pub(crate) fn abort(&self) {
        if let Self::Tcp(stream) = self {
            // It fails only where the connection is lost already.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        // The other direction stays as it is: its shutdown would tell the peer of a clean end
        // first.
        self.shutdown(Shutdown::Read);
    }

    /// Our address and the peer's, for people.
    pub(crate) fn ends(&self) -> (String, String) {
        let shown =
            |address: io::Result<SocketAddr>| address.map_or_else(|_| "?".into(), |address| address.to_string());
        match self {
            Self::Tcp(stream) => (shown(stream.local_addr()), shown(stream.peer_addr())),
            #[cfg(unix)]
            Self::Unix(stream) => (unix_end(stream.local_addr()), unix_end(stream.peer_addr())),
        }
    }

    /// Goes on where only a signal or the clock ended the wait: the deadline decides whether it is
    /// over.
    fn retry(
        &self,
        mut call: impl FnMut() -> Result<io::Result<usize>, ConnectionError>,
    ) -> Result<usize, ConnectionError> {
        loop {
            match call()? {
                Ok(count) => return Ok(count),
                Err(err) if err.kind() == io::ErrorKind::Interrupted || is_timeout(&err) => {}
                Err(err) => return Err(ConnectionError::Lost(err)),
            }
        }
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout),
            #[cfg(unix)]
            Self::Unix(stream) => stream.set_read_timeout(timeout),
        }
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_write_timeout(timeout),
            #[cfg(unix)]
            Self::Unix(stream) => stream.set_write_timeout(timeout),
        }
    }
}

/// A Unix socket's address, for people.
#[cfg(unix)]
fn unix_end(address: io::Result<UnixAddress>) -> String {
    let Ok(address) = address else { return "unix:".into() };
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_abstract_name() {
        return format!("unix:@{}", String::from_utf8_lossy(name));
    }
    address.as_pathname().map_or("unix:".into(), |path| format!("unix:{}", path.display()))
}

/// How the peer ended the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamEnd {
    /// It closed cleanly.
    Eof,
    /// It reset the connection.
    Reset,
    /// Something between the two of us failed.
    Lost(io::ErrorKind),
}

impl StreamEnd {
    /// Returns the end that an error of the connection stands for.
    #[must_use]
    pub fn from_error(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Self::Reset,
            // The peer had closed, and refused what we sent afterwards: Linux reports the refusal,
            // once, to whoever asks first.
            io::ErrorKind::BrokenPipe => Self::Eof,
            kind => Self::Lost(kind),
        }
    }
}

impl fmt::Display for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eof => f.write_str("the server closed the connection"),
            Self::Reset => f.write_str("the server reset the connection"),
            Self::Lost(kind) => write!(f, "the connection was lost: {kind}"),
        }
    }
}

/// Whether a socket's own timeout has passed. On Unix `TimedOut` is something else: the network
/// gave up on the peer.
fn is_timeout(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::WouldBlock || (cfg!(windows) && err.kind() == io::ErrorKind::TimedOut)
}

/// An attempt to connect, and when it began.
struct Connecting<'a> {
    address: &'a ServerAddress,
    source: Option<IpAddr>,
    timeout: Option<Duration>,
    start: Instant,
}

impl Connecting<'_> {
    fn tcp(&self, host: &str, port: u16) -> Result<Stream, ConnectError> {
        let addresses = self.resolve(host, port)?;
        self.first_of(&addresses).map(Stream::Tcp)
    }

    #[cfg(unix)]
    fn unix(&self, address: io::Result<UnixAddress>) -> Result<Stream, ConnectError> {
        let has_source = self.source.is_some();
        // A full backlog makes this wait, and std has no timeout for it.
        let stream = self.limited(move || match has_source {
            true => Err(io::Error::new(io::ErrorKind::InvalidInput, "a Unix socket has no source address")),
            false => UnixStream::connect_addr(&address?),
        })?;
        stream.map(Stream::Unix).map_err(|source| self.failed(source))
    }

    /// Connects to the first of `addresses` that accepts.
    fn first_of(&self, addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for (tried, address) in addresses.iter().enumerate() {
            let share = (addresses.len() - tried).try_into().unwrap_or(u32::MAX);
            // An address that swallows packets must not use up the time of those behind it.
            let time = self.remaining()?.map(|remaining| (remaining / share).max(Duration::from_nanos(1)));
            let connected = match (self.source, time) {
                (Some(source), time) => connect_bound(source, *address, time),
                (None, Some(time)) => TcpStream::connect_timeout(address, time),
                (None, None) => TcpStream::connect(address),
            };
            // Without this, a line that is sent while another is unacknowledged waits for up to
            // 40 ms.
            match connected.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
                Ok(stream) => return Ok(stream),
                Err(err) => failure = err,
            }
        }
        // std's own timeout bears no number of the system's.
        match failure.kind() {
            io::ErrorKind::TimedOut if failure.raw_os_error().is_none() => Err(self.timed_out()),
            _ => Err(self.failed(failure)),
        }
    }

    fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let name = host.to_owned();
        // The system's resolver waits as long as it likes.
        let resolved = self.limited(move || Ok((name, port).to_socket_addrs()?.collect()))?;
        resolved.map_err(|source| ConnectError::Resolve { address: self.address.clone(), source })
    }

    /// Does on another thread what knows no timeout. Where the time is up, the thread is left to
    /// itself.
    fn limited<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<io::Result<T>, ConnectError> {
        let Some(remaining) = self.remaining()? else { return Ok(act()) };
        let (sender, receiver) = mpsc::sync_channel(1);
        let started = thread::Builder::new().name("connect".into()).spawn(move || {
            // Nobody listens any more where the time was up.
            let _ = sender.send(act());
        });
        match started {
            Ok(_) => receiver.recv_timeout(remaining).map_err(|_| self.timed_out()),
            Err(err) => Ok(Err(err)),
        }
    }

    /// How much of the timeout is left; `None`: there is none.
    fn remaining(&self) -> Result<Option<Duration>, ConnectError> {
        let Some(timeout) = self.timeout else { return Ok(None) };
        match timeout.saturating_sub(self.start.elapsed()) {
            Duration::ZERO => Err(self.timed_out()),
            remaining => Ok(Some(remaining)),
        }
    }

    fn timed_out(&self) -> ConnectError {
        ConnectError::TimedOut { address: self.address.clone(), timeout: self.timeout.unwrap_or(Duration::MAX) }
    }

    fn failed(&self, source: io::Error) -> ConnectError {
        ConnectError::Connect { address: self.address.clone(), source }
    }
}

fn connect_bound(source: IpAddr, address: SocketAddr, time: Option<Duration>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    match time {
        Some(time) => socket.connect_timeout(&address.into(), time)?,
        None => socket.connect(&address.into())?,
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn connect(addresses: &[SocketAddr]) -> Result<SocketAddr, ConnectError> {
        let address = "name:1".parse().unwrap();
        let connecting = Connecting { address: &address, source: None, timeout: Some(TIMEOUT), start: Instant::now() };
        connecting.first_of(addresses).map(|stream| stream.peer_addr().unwrap())
    }

    #[test]
    fn the_address_behind_one_that_refuses_is_tried() {
        let refusing = listener().1;
        let (_open, accepting) = listener();
        assert_eq!(connect(&[refusing, accepting]).unwrap(), accepting);
        assert!(matches!(connect(&[accepting, refusing]), Ok(address) if address == accepting));
        assert!(matches!(connect(&[refusing, refusing]), Err(ConnectError::Connect { .. })));
        assert!(matches!(connect(&[]), Err(ConnectError::Connect { .. })));
    }

    /// Linux drops who comes when a listener's queue is full.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_address_behind_one_that_is_silent_has_its_share_of_the_time() {
        let (_full, silent) = listener();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&silent, Duration::from_millis(200)) {
            waiting.push(stream);
        }
        let (_open, accepting) = listener();
        let start = Instant::now();
        assert_eq!(connect(&[silent, accepting]).unwrap(), accepting);
        assert!(start.elapsed() < TIMEOUT * 3 / 4, "{:?}", start.elapsed());
    }
}
