//! A connection to a server, as those see it who talk over it: connects, and moves bytes until a
//! deadline, with TLS or without. It knows nothing of lines.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use super::connect::{Connecting, Route};
use super::deadline::Deadline;
use super::error::{ConnectError, ConnectionError, TlsFailure};
use super::socket::RawSocket;
use super::tls::ClientTlsSession;
use super::tls_layer::TlsLayer;

/// A connection. All methods take `&self`: one thread reads while another writes.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: RawSocket,
    /// Once it is there, all bytes go through it.
    tls: OnceLock<TlsLayer>,
    /// Nothing more is said, not even that.
    is_aborted: AtomicBool,
}

/// Connects, and speaks TLS if the address says so.
pub(crate) fn connect(route: &Route) -> Result<(RawSocket, Option<TlsLayer>), ConnectError> {
    let connecting = Connecting::start(route);
    let socket = connecting.connect()?;
    if !route.address.is_tls {
        return Ok((socket, None));
    }
    let shake_hands = || {
        let tls = TlsLayer::new(route.tls_session()?);
        tls.handshake(&socket, &connecting.deadline())?;
        Ok(tls)
    };
    match shake_hands() {
        Ok(tls) => Ok((socket, Some(tls))),
        Err(source) => Err(ConnectError::Tls { address: route.address.clone(), source }),
    }
}

/// What a read has brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamRead {
    /// So many bytes; 0 is the end.
    pub(crate) count: usize,
    /// They came through TLS.
    pub(crate) is_secure: bool,
}

impl Stream {
    pub(crate) fn connect(route: &Route) -> Result<Self, ConnectError> {
        let (socket, tls) = connect(route)?;
        let tls = tls.map_or_else(OnceLock::new, OnceLock::from);
        Ok(Self { socket, tls, is_aborted: AtomicBool::new(false) })
    }

    /// Of parts that somebody has used before.
    #[cfg(feature = "load")]
    pub(crate) fn of((socket, tls): (RawSocket, Option<TlsLayer>)) -> Self {
        let tls = tls.map_or_else(OnceLock::new, OnceLock::from);
        Self { socket, tls, is_aborted: AtomicBool::new(false) }
    }

    /// Its parts, for whoever uses them from here on; nothing is said to the peer.
    #[cfg(feature = "load")]
    pub(crate) fn into_parts(mut self, deadline: &Deadline) -> Result<(RawSocket, Option<TlsLayer>), ConnectionError> {
        if let Some(tls) = self.tls.get() {
            tls.flush(&self.socket, deadline)?;
        }
        let tls = self.tls.take();
        Ok((self.socket.duplicate().map_err(ConnectionError::Lost)?, tls))
    }

    pub(crate) fn socket(&self) -> &RawSocket {
        &self.socket
    }

    /// Reads what there is, or waits for it; 0 is the end.
    pub(crate) fn read(&self, space: &mut [u8], deadline: &Deadline) -> Result<usize, ConnectionError> {
        self.read_marked(space, deadline).map(|read| read.count)
    }

    /// The same, for whoever lets TLS start meanwhile.
    pub(crate) fn read_marked(&self, space: &mut [u8], deadline: &Deadline) -> Result<StreamRead, ConnectionError> {
        if self.tls.get().is_none() {
            let count = self.socket.read(space, deadline)?;
            match self.tls.get() {
                // It has started since, and what came is its own.
                Some(tls) => tls.came(&space[..count]),
                None => return Ok(StreamRead { count, is_secure: false }),
            }
        }
        let tls = self.tls.get().expect("it is there, and stays");
        Ok(StreamRead { count: tls.read(&self.socket, space, deadline)?, is_secure: true })
    }

    /// Whether all bytes go through TLS from now on.
    pub(crate) fn is_secure(&self) -> bool {
        self.tls.get().is_some()
    }

    /// Lets all bytes go through TLS, both ways. Another thread must be reading, and must
    /// [tell](StreamRead::is_secure) what came before from what came after.
    pub(crate) fn start_tls(&self, session: ClientTlsSession) -> Result<Receiver<Result<(), TlsFailure>>, TlsFailure> {
        let (tls, shaken) = TlsLayer::start(session);
        self.tls.set(tls).map(|()| shaken).map_err(|_| TlsFailure::Already)
    }

    /// Waits until TLS is there, or cannot be.
    pub(crate) fn await_tls(
        &self,
        shaken: &Receiver<Result<(), TlsFailure>>,
        deadline: &Deadline,
    ) -> Result<(), TlsFailure> {
        self.tls.get().map_or(Ok(()), |tls| tls.await_handshake(&self.socket, shaken, deadline))
    }

    /// There will be no TLS, for this reason.
    pub(crate) fn refuse_tls(&self, failure: TlsFailure) {
        if let Some(tls) = self.tls.get() {
            tls.settle(Err(failure));
        }
    }

    /// How the stream ended, once a read has come to its end.
    pub(crate) fn end(&self) -> StreamEnd {
        match self.tls.get() {
            Some(tls) if !tls.has_peer_closed() => StreamEnd::Truncated,
            _ => StreamEnd::Eof,
        }
    }

    /// Hands some of `bytes` to the system and says how many. Where time is up first, the next
    /// write must begin with the same bytes: some of them may have left.
    pub(crate) fn write(&self, bytes: &[u8], deadline: &Deadline) -> Result<usize, ConnectionError> {
        match self.tls.get() {
            Some(tls) => tls.write(&self.socket, bytes, deadline),
            None => self.socket.write(bytes, deadline),
        }
    }

    pub(crate) fn write_all(&self, mut bytes: &[u8], deadline: &Deadline) -> Result<(), ConnectionError> {
        while !bytes.is_empty() {
            let count = self.write(bytes, deadline)?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Says that nothing more will be sent. Without TLS that waits for nothing. A connection that
    /// is already lost says so when it is read.
    pub(crate) fn half_close(&self, deadline: &Deadline) -> Result<(), ConnectionError> {
        match self.tls.get() {
            Some(tls) => tls.half_close(&self.socket, deadline),
            None => {
                self.socket.shutdown(Shutdown::Write);
                Ok(())
            }
        }
    }

    /// Closes both directions; whoever waits for the socket does so no longer.
    pub(crate) fn close(&self) {
        self.say_goodbye();
        self.socket.shutdown(Shutdown::Both);
    }

    /// Prepares a reset: it is sent when the socket is dropped, and a read that waits on another
    /// thread ends now. A Unix socket knows none, and is just closed.
    pub(crate) fn abort(&self) {
        self.is_aborted.store(true, Ordering::Relaxed);
        self.socket.abort();
    }

    fn say_goodbye(&self) {
        if let Some(tls) = self.tls.get()
            && !self.is_aborted.load(Ordering::Relaxed)
        {
            tls.close_briefly(&self.socket);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.say_goodbye();
    }
}

/// How the peer ended the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamEnd {
    /// It closed cleanly.
    Eof,
    /// It closed without the word that TLS has for that (close_notify): what came may lack
    /// something.
    Truncated,
    /// It reset the connection.
    Reset,
    /// It ended TLS with an alert, which means this.
    Alert(&'static str),
    /// Something between the two of us failed.
    Lost(io::ErrorKind),
}

impl StreamEnd {
    /// Returns whether the peer closed the connection, cleanly or not quite.
    #[must_use]
    pub const fn is_eof(self) -> bool {
        matches!(self, Self::Eof | Self::Truncated)
    }

    /// Returns the end that an error of the connection stands for.
    #[must_use]
    pub fn from_error(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Self::Reset,
            // The peer had closed, and refused what we sent afterwards: Linux reports the refusal,
            // once, to whoever asks first.
            io::ErrorKind::BrokenPipe => Self::Eof,
            kind => match error.get_ref().and_then(|error| error.downcast_ref()) {
                Some(TlsFailure::Alert(words)) => Self::Alert(words),
                _ => Self::Lost(kind),
            },
        }
    }
}

impl fmt::Display for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eof => f.write_str("the server closed the connection"),
            Self::Truncated => f.write_str("the server closed the connection without a word in TLS (close_notify)"),
            Self::Reset => f.write_str("the server reset the connection"),
            Self::Alert(words) => write!(f, "the server ended TLS: {words}"),
            Self::Lost(kind) => write!(f, "the connection was lost: {kind}"),
        }
    }
}
