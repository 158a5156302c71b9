//! One connection as its session sees it: what is to be sent with the next flush, how far it has
//! come, and what it remembers.

use std::io;
use std::mem;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

#[cfg(feature = "load")]
use super::error::Actual;
use super::error::{Expected, Mismatch, Observed, SessionError};
use super::event::Event;
use super::options::Target;
use super::socket_io::SocketIo;
use super::transcript::{RecentEntries, SessionLog};
use crate::net::{ConnectError, Deadline, RawSocket, Route, ServerAddress, Stream};

/// How much adjacent sends gather before they are sent without a flush.
const MAX_GATHERED_BYTES: usize = 1024 * 1024;
/// How much a report shows of what is buffered.
const BUFFERED_BYTES_SHOWN: usize = 1024;
/// How long after a refusal the next attempt is made.
const RETRY: Duration = Duration::from_millis(20);

/// A connection, open or closed.
#[derive(Debug)]
pub(super) struct SessionConnection {
    name: Arc<str>,
    /// The number within the crowd, from 1; none outside of crowds.
    pub(super) member: Option<usize>,
    local: String,
    peer: String,
    /// How it was opened.
    route: Route,
    phase: ConnectionPhase,
    /// Sent with the next flush, in one write.
    gathered: Vec<u8>,
    recent: RecentEntries,
}

/// How far a connection has come.
#[derive(Debug)]
enum ConnectionPhase {
    Open(OpenSocket),
    /// We shall send no more.
    HalfClosed(OpenSocket),
    /// The peer has ended the stream, as was expected.
    Ended(OpenSocket),
    /// And we have said more: it may still read, or refuse that.
    Overtime(OpenSocket),
    /// We have closed it.
    Closed,
}

impl SessionConnection {
    pub(super) fn open(
        name: &str,
        member: Option<usize>,
        target: &Target,
        max_unread_bytes: usize,
        log: &mut SessionLog,
    ) -> Result<Self, SessionError> {
        let route = Route {
            from: target.from,
            proxy: target.proxy,
            tls: target.tls.clone(),
            ..Route::to(target.address.clone(), Some(target.timeout))
        };
        let stream =
            connect(&route, target.wait).map_err(|source| SessionError::Connect { connection: name.into(), source })?;
        let ends = stream.socket().ends();
        Self::start(name, member, route, (SocketIo::new(stream, max_unread_bytes), ends), log)
    }

    /// A connection that was opened elsewhere, and may be [handed over](Self::hand_over).
    #[cfg(feature = "load")]
    pub(super) fn adopt(
        stream: Stream,
        route: Route,
        max_unread_bytes: usize,
        log: &mut SessionLog,
    ) -> Result<Self, SessionError> {
        let ends = stream.socket().ends();
        Self::start("", None, route, (SocketIo::new(stream, max_unread_bytes).releasable(), ends), log)
    }

    fn start(
        name: &str,
        member: Option<usize>,
        route: Route,
        (socket_io, (local, peer)): (SocketIo, (String, String)),
        log: &mut SessionLog,
    ) -> Result<Self, SessionError> {
        let socket_io = Arc::new(socket_io);
        let reader = socket_io.read().map_err(SessionError::Thread)?;
        let phase = ConnectionPhase::Open(OpenSocket {
            socket_io,
            reader: Some(reader),
            writer: None,
            close_mode: CloseMode::Close,
        });
        let mut connection = Self {
            name: name.into(),
            member,
            local,
            peer,
            route,
            phase,
            gathered: Vec::new(),
            recent: RecentEntries::default(),
        };
        connection.record(log, Event::Opened);
        Ok(connection)
    }

    /// Whether the end of the session asks for this connection's end.
    pub(super) fn is_unfinished(&self) -> bool {
        matches!(self.phase, ConnectionPhase::Open(_) | ConnectionPhase::HalfClosed(_))
    }

    pub(super) fn is_half_closed(&self) -> bool {
        matches!(self.phase, ConnectionPhase::HalfClosed(_))
    }

    pub(super) fn socket_io(&self) -> Result<Arc<SocketIo>, SessionError> {
        match &self.phase {
            ConnectionPhase::Open(socket)
            | ConnectionPhase::HalfClosed(socket)
            | ConnectionPhase::Ended(socket)
            | ConnectionPhase::Overtime(socket) => Ok(Arc::clone(&socket.socket_io)),
            ConnectionPhase::Closed => Err(SessionError::Closed(self.name.to_string())),
        }
    }

    fn socket_mut(&mut self) -> Result<&mut OpenSocket, SessionError> {
        match &mut self.phase {
            ConnectionPhase::Open(socket)
            | ConnectionPhase::HalfClosed(socket)
            | ConnectionPhase::Ended(socket)
            | ConnectionPhase::Overtime(socket) => Ok(socket),
            ConnectionPhase::Closed => Err(SessionError::Closed(self.name.to_string())),
        }
    }

    pub(super) fn recent(&self) -> &RecentEntries {
        &self.recent
    }

    pub(super) fn record(&mut self, log: &mut SessionLog, event: Event) {
        log.record(&mut self.recent, &self.name, event);
    }

    /// Gathers `bytes` for the next flush.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        event: Event,
        timeout: Duration,
        log: &mut SessionLog,
    ) -> Result<(), SessionError> {
        if let ConnectionPhase::HalfClosed(_) = self.phase {
            return Err(SessionError::HalfClosed(self.name.to_string()));
        }
        self.socket_io()?;
        if let Some(error) = self.send_error() {
            return Err(error);
        }
        self.phase = match mem::replace(&mut self.phase, ConnectionPhase::Closed) {
            ConnectionPhase::Ended(socket) => ConnectionPhase::Overtime(socket),
            phase => phase,
        };
        self.gathered.extend_from_slice(bytes);
        self.record(log, event);
        if self.gathered.len() >= MAX_GATHERED_BYTES {
            self.flush(&Deadline::after(Some(timeout)));
        }
        Ok(())
    }

    /// Sends what was gathered. What goes wrong is told by the connection's next step.
    pub(super) fn flush(&mut self, deadline: &Deadline) {
        if self.gathered.is_empty() {
            return;
        }
        let bytes = mem::take(&mut self.gathered);
        if let ConnectionPhase::Open(socket) | ConnectionPhase::Overtime(socket) = &mut self.phase
            && let Some(writer) = socket.socket_io.send(&bytes, deadline)
        {
            socket.writer = Some(writer);
        }
    }

    /// Says, once, that nothing more will be sent.
    pub(super) fn half_close(&mut self, log: &mut SessionLog) -> Result<(), SessionError> {
        if self.is_half_closed() {
            return Ok(());
        }
        let socket = self.socket_mut()?;
        if let Some(writer) = socket.socket_io.half_close() {
            socket.writer = Some(writer);
        }
        self.phase = match mem::replace(&mut self.phase, ConnectionPhase::Closed) {
            ConnectionPhase::Open(socket) => ConnectionPhase::HalfClosed(socket),
            phase => phase,
        };
        self.record(log, Event::HalfClosed);
        Ok(())
    }

    /// Speaks TLS from here on.
    pub(super) fn start_tls(&mut self, deadline: &Deadline, log: &mut SessionLog) -> Result<(), SessionError> {
        let socket_io = self.socket_io()?;
        if let Some(error) = self.send_error() {
            return Err(error);
        }
        let started = self.route.tls_session().and_then(|session| socket_io.start_tls(session, deadline));
        started.map_err(|source| SessionError::StartTls { connection: self.name.to_string(), source })?;
        self.record(log, Event::TlsStarted);
        Ok(())
    }

    /// The peer has ended the stream as expected: nobody asks for it again, nor for what it could
    /// not be sent.
    pub(super) fn mark_ended(&mut self) {
        self.phase = match mem::replace(&mut self.phase, ConnectionPhase::Closed) {
            ConnectionPhase::Open(socket) | ConnectionPhase::HalfClosed(socket) => ConnectionPhase::Ended(socket),
            phase => phase,
        };
    }

    /// Closes when all is sent, or at the deadline.
    pub(super) fn close(&mut self, deadline: &Deadline, log: &mut SessionLog) -> Result<(), SessionError> {
        self.socket_io()?.drain(deadline);
        self.phase = ConnectionPhase::Closed;
        self.record(log, Event::Closed);
        Ok(())
    }

    /// Gives the connection away, open as it is, with nothing unread or unsent on it.
    #[cfg(feature = "load")]
    pub(super) fn hand_over(mut self, deadline: &Deadline) -> Result<Stream, SessionError> {
        let socket_io = self.socket_io()?;
        socket_io.drain(deadline);
        if let Some(error) = self.send_error() {
            return Err(error);
        }
        let phase = mem::replace(&mut self.phase, ConnectionPhase::Closed);
        let ConnectionPhase::Open(mut socket) = phase else {
            return Err(SessionError::HalfClosed(self.name.to_string()));
        };
        if socket_io.lock().unsent_bytes() > 0 {
            return Err(
                self.cannot_send(io::Error::new(io::ErrorKind::TimedOut, "the server does not read what is sent"))
            );
        }
        socket_io.release();
        // It would take what belongs to whoever has the connection next.
        socket.join();
        let state = socket_io.lock();
        let found = match (state.received.unread(), state.end) {
            ([], None) => None,
            ([], Some(end)) => Some(Actual::End(end)),
            (unread, _) => Some(Actual::Bytes(unread.to_vec())),
        };
        drop(state);
        if let Some(found) = found {
            return Err(SessionError::NotReady { connection: self.name.to_string(), found });
        }
        socket.close_mode = CloseMode::Keep;
        drop(socket);
        let alone = Arc::into_inner(socket_io).map(SocketIo::into_stream);
        alone.ok_or_else(|| SessionError::Thread(io::Error::other("the connection is still in use")))
    }

    pub(super) fn reset(&mut self, log: &mut SessionLog) -> Result<(), SessionError> {
        self.socket_mut()?.close_mode = CloseMode::Reset;
        self.phase = ConnectionPhase::Closed;
        self.record(log, Event::Reset);
        Ok(())
    }

    /// What could not be sent, if the peer's end has not excused it.
    pub(super) fn send_error(&self) -> Option<SessionError> {
        let (_, source) = self.socket_io().ok()?.lock().send_error.take()?;
        Some(self.cannot_send(source))
    }

    /// That the peer has refused what we said after its end: until `deadline` it may do so.
    pub(super) fn refusal(&self, deadline: &Deadline) -> Option<SessionError> {
        let ConnectionPhase::Overtime(socket) = &self.phase else { return None };
        let message = "the server had closed, and refused what was sent after that";
        let refused = socket.socket_io.is_refused(deadline);
        refused.then(|| self.cannot_send(io::Error::new(io::ErrorKind::BrokenPipe, message)))
    }

    fn cannot_send(&self, source: io::Error) -> SessionError {
        let (local, peer) = (self.local.clone(), self.peer.clone());
        SessionError::Send { connection: self.name.to_string(), local, peer, source }
    }

    /// All that is known about an expectation that was not met.
    pub(super) fn mismatch(
        &self,
        expected: Expected,
        observed: Observed,
        waited: Duration,
        skipped_lines: usize,
    ) -> Result<SessionError, SessionError> {
        let socket_io = self.socket_io()?;
        let mut state = socket_io.lock();
        let behind = state.received.unread().get(observed.bytes..).unwrap_or_default();
        let shown = behind.len().min(BUFFERED_BYTES_SHOWN);
        Ok(SessionError::Mismatch(Box::new(Mismatch {
            connection: self.name.to_string(),
            member: self.member,
            local: self.local.clone(),
            peer: self.peer.clone(),
            expected,
            actual: observed.actual,
            end: state.end,
            timed_out: observed.timed_out,
            waited,
            skipped_lines,
            buffered: behind[..shown].to_vec(),
            buffered_bytes: behind.len(),
            unsent_bytes: state.unsent_bytes(),
            send_error: state.send_error.take().map(|(_, error)| error),
            transcript: self.recent.entries().cloned().collect(),
        })))
    }
}

/// Connects; where nobody listens yet, for as long as `wait`.
fn connect(route: &Route, wait: Duration) -> Result<Stream, ConnectError> {
    let waiting = Deadline::after(Some(wait));
    loop {
        match Stream::connect(route).and_then(|stream| refuse_self(stream, &route.address)) {
            Err(ConnectError::Connect { source, .. }) if is_absence(&source) && waiting.remaining().is_ok() => {
                thread::sleep(RETRY);
            }
            outcome => return outcome,
        }
    }
}

/// Who knocks at a port that nobody has yet may be given that port to knock from, and so talk to
/// himself.
fn refuse_self(stream: Stream, address: &ServerAddress) -> Result<Stream, ConnectError> {
    match stream.socket() {
        RawSocket::Tcp(tcp) if tcp.local_addr().ok() == tcp.peer_addr().ok() => {
            Err(ConnectError::Connect { address: address.clone(), source: io::ErrorKind::ConnectionRefused.into() })
        }
        _ => Ok(stream),
    }
}

/// Whether a server that is just starting looks like this. A Unix socket is not there before it
/// listens.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

/// A socket and its threads, which end with it.
#[derive(Debug)]
struct OpenSocket {
    socket_io: Arc<SocketIo>,
    /// Taken when it is dropped.
    reader: Option<JoinHandle<()>>,
    /// The last that was needed; it may have ended.
    writer: Option<JoinHandle<()>>,
    close_mode: CloseMode,
}

/// How a socket is closed.
#[derive(Clone, Copy, Debug)]
enum CloseMode {
    Close,
    Reset,
    /// It stays open: somebody else has it.
    #[cfg(feature = "load")]
    Keep,
}

impl OpenSocket {
    fn join(&mut self) {
        for thread in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            // A panic there was reported by its hook, and here somebody may be panicking already.
            let _ = thread.join();
        }
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        match self.close_mode {
            CloseMode::Close => self.socket_io.close(),
            CloseMode::Reset => self.socket_io.abort(),
            #[cfg(feature = "load")]
            CloseMode::Keep => {}
        }
        self.join();
    }
}
