//! A connection to a server, as those see it who talk over it: connects, and moves bytes until a
//! deadline. It knows nothing of lines.

use std::fmt;
use std::io;
use std::net::Shutdown;

use super::connect::{Connecting, Route};
use super::deadline::Deadline;
use super::error::{ConnectError, ConnectionError};
use super::socket::RawSocket;

/// A connection. All methods take `&self`: one thread reads while another writes.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: RawSocket,
}

impl Stream {
    pub(crate) fn connect(route: &Route) -> Result<Self, ConnectError> {
        let connecting = Connecting::start(route);
        if route.address.is_tls {
            return Err(connecting.failed(io::Error::new(io::ErrorKind::Unsupported, "TLS cannot be spoken yet")));
        }
        Ok(Self { socket: connecting.connect()? })
    }

    pub(crate) fn socket(&self) -> &RawSocket {
        &self.socket
    }

    #[cfg(feature = "load")]
    pub(crate) fn into_socket(self) -> RawSocket {
        self.socket
    }

    /// Reads what there is, or waits for it; 0 is the end.
    pub(crate) fn read(&self, space: &mut [u8], deadline: &Deadline) -> Result<usize, ConnectionError> {
        self.socket.read(space, deadline)
    }

    /// Hands some of `bytes` to the system and says how many.
    pub(crate) fn write(&self, bytes: &[u8], deadline: &Deadline) -> Result<usize, ConnectionError> {
        self.socket.write(bytes, deadline)
    }

    pub(crate) fn write_all(&self, bytes: &[u8], deadline: &Deadline) -> Result<(), ConnectionError> {
        self.socket.write_all(bytes, deadline)
    }

    /// Closes one direction or both. A connection that is already lost says so when it is read.
    pub(crate) fn shutdown(&self, how: Shutdown) {
        self.socket.shutdown(how);
    }

    /// Prepares a reset: it is sent when the socket is dropped, and a read that waits on another
    /// thread ends now. A Unix socket knows none, and is just closed.
    pub(crate) fn abort(&self) {
        self.socket.abort();
    }
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
