//! The socket, whatever its kind: moves bytes until a deadline. It knows nothing of what they mean,
//! nor how it came to be connected.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
#[cfg(unix)]
use std::os::unix::net::{SocketAddr as UnixAddress, UnixStream};
use std::time::Duration;

use socket2::SockRef;

use super::deadline::Deadline;
use super::error::ConnectionError;

/// A connected socket. All methods take `&self`: one thread reads while another writes.
#[derive(Debug)]
pub(crate) enum RawSocket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl RawSocket {
    /// Reads what there is, or waits for it; 0 is the end.
    pub(super) fn read(&self, space: &mut [u8], deadline: &Deadline) -> Result<usize, ConnectionError> {
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

    /// The same socket, for whoever uses it from here on.
    #[cfg(feature = "load")]
    pub(super) fn duplicate(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            #[cfg(unix)]
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
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

    /// Our address and the peer's, of a socket that has them.
    pub(super) fn inet_ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self {
            Self::Tcp(stream) => Some((stream.local_addr().ok()?, stream.peer_addr().ok()?)),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
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

/// Whether a socket's own timeout has passed. On Unix `TimedOut` is something else: the network
/// gave up on the peer.
fn is_timeout(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::WouldBlock || (cfg!(windows) && err.kind() == io::ErrorKind::TimedOut)
}
