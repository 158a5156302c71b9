//! One connection as its session sees it: what is to be sent with the next flush, how far it has come, and what it
//! remembers.

use std::io;
use std::mem;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Target;
use super::error::{Expected, Miss, SessionError, Unmet};
use super::event::Act;
use super::socket_io::Wire;
use super::transcript::{Log, Recent};
use crate::net::{Address, ConnectError, Deadline, Stream};

/// How much adjacent sends gather before they are sent without a flush.
const GATHERED_BYTES_MAX: usize = 1024 * 1024;
/// How much a report shows of what is buffered.
const BUFFERED_BYTES_SHOWN: usize = 1024;
/// How long after a refusal the next attempt is made.
const RETRY: Duration = Duration::from_millis(20);

/// A connection, open or closed.
#[derive(Debug)]
pub(super) struct Link {
    name: Arc<str>,
    /// The number within the crowd, from 1; 0 outside of crowds.
    pub(super) member: usize,
    local: String,
    peer: String,
    phase: Phase,
    /// Sent with the next flush, in one write.
    gathered: Vec<u8>,
    recent: Recent,
}

/// How far a connection has come.
#[derive(Debug)]
enum Phase {
    Open(Socket),
    /// We shall send no more.
    HalfClosed(Socket),
    /// The peer has ended the stream, as was expected.
    Ended(Socket),
    /// And we have said more: it may still read, or refuse that.
    Overtime(Socket),
    /// We have closed it.
    Closed,
}

impl Link {
    pub(super) fn open(
        name: &str,
        member: usize,
        target: &Target,
        unread_bytes_max: usize,
        log: &mut Log,
    ) -> Result<Self, SessionError> {
        let stream = connect(target).map_err(|source| SessionError::Connect { connection: name.into(), source })?;
        let (local, peer) = stream.ends();
        let wire = Arc::new(Wire::new(stream, unread_bytes_max));
        let reader = wire.read().map_err(SessionError::Thread)?;
        let phase = Phase::Open(Socket { wire, reader: Some(reader), writer: None, parting: Parting::Close });
        let mut link =
            Self { name: name.into(), member, local, peer, phase, gathered: Vec::new(), recent: Recent::default() };
        link.record(log, Act::Opened);
        Ok(link)
    }

    /// Whether the end of the session asks for this connection's end.
    pub(super) fn is_unfinished(&self) -> bool {
        matches!(self.phase, Phase::Open(_) | Phase::HalfClosed(_))
    }

    pub(super) fn is_half_closed(&self) -> bool {
        matches!(self.phase, Phase::HalfClosed(_))
    }

    pub(super) fn wire(&self) -> Result<Arc<Wire>, SessionError> {
        match &self.phase {
            Phase::Open(socket) | Phase::HalfClosed(socket) | Phase::Ended(socket) | Phase::Overtime(socket) => {
                Ok(Arc::clone(&socket.wire))
            }
            Phase::Closed => Err(SessionError::Closed(self.name.to_string())),
        }
    }

    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    pub(super) fn record(&mut self, log: &mut Log, act: Act) {
        log.record(&mut self.recent, &self.name, act);
    }

    /// Gathers `bytes` for the next flush.
    pub(super) fn send(
        &mut self,
        bytes: &[u8],
        act: Act,
        timeout: Duration,
        log: &mut Log,
    ) -> Result<(), SessionError> {
        if let Phase::HalfClosed(_) = self.phase {
            return Err(SessionError::HalfClosed(self.name.to_string()));
        }
        self.wire()?;
        if let Some(error) = self.send_error() {
            return Err(error);
        }
        self.phase = match mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Ended(socket) => Phase::Overtime(socket),
            phase => phase,
        };
        self.gathered.extend_from_slice(bytes);
        self.record(log, act);
        if self.gathered.len() >= GATHERED_BYTES_MAX {
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
        if let Phase::Open(socket) | Phase::Overtime(socket) = &mut self.phase
            && let Some(writer) = socket.wire.send(&bytes, deadline)
        {
            socket.writer = Some(writer);
        }
    }

    /// Says, once, that nothing more will be sent.
    pub(super) fn half_close(&mut self, log: &mut Log) -> Result<(), SessionError> {
        let wire = self.wire()?;
        self.phase = match mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Open(socket) => Phase::HalfClosed(socket),
            Phase::HalfClosed(socket) => {
                self.phase = Phase::HalfClosed(socket);
                return Ok(());
            }
            phase => phase,
        };
        wire.half_close();
        self.record(log, Act::HalfClosed);
        Ok(())
    }

    /// The peer has ended the stream as expected: nobody asks for it again, nor for what it could not be sent.
    pub(super) fn ended(&mut self) {
        self.phase = match mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Open(socket) | Phase::HalfClosed(socket) => Phase::Ended(socket),
            phase => phase,
        };
    }

    /// Closes when all is sent, or at the deadline.
    pub(super) fn close(&mut self, deadline: &Deadline, log: &mut Log) -> Result<(), SessionError> {
        self.wire()?.drain(deadline);
        self.phase = Phase::Closed;
        self.record(log, Act::Closed);
        Ok(())
    }

    pub(super) fn reset(&mut self, log: &mut Log) -> Result<(), SessionError> {
        match &mut self.phase {
            Phase::Open(socket) | Phase::HalfClosed(socket) | Phase::Ended(socket) | Phase::Overtime(socket) => {
                socket.parting = Parting::Reset
            }
            Phase::Closed => return Err(SessionError::Closed(self.name.to_string())),
        }
        self.phase = Phase::Closed;
        self.record(log, Act::Reset);
        Ok(())
    }

    /// What could not be sent, if the peer's end has not excused it.
    pub(super) fn send_error(&self) -> Option<SessionError> {
        let (_, source) = self.wire().ok()?.lock().send_error.take()?;
        Some(self.cannot_send(source))
    }

    /// That the peer has refused what we said after its end: until `deadline` it may do so.
    pub(super) fn refusal(&self, deadline: &Deadline) -> Option<SessionError> {
        let Phase::Overtime(socket) = &self.phase else { return None };
        let message = "the server had closed, and refused what was sent after that";
        let refused = socket.wire.is_refused(deadline);
        refused.then(|| self.cannot_send(io::Error::new(io::ErrorKind::BrokenPipe, message)))
    }

    fn cannot_send(&self, source: io::Error) -> SessionError {
        let (local, peer) = (self.local.clone(), self.peer.clone());
        SessionError::Send { connection: self.name.to_string(), local, peer, source }
    }

    /// All that is known about an expectation that was not met.
    pub(super) fn unmet(
        &self,
        expected: Expected,
        miss: Miss,
        waited: Duration,
        skipped_lines: usize,
    ) -> Result<SessionError, SessionError> {
        let wire = self.wire()?;
        let mut state = wire.lock();
        let behind = state.inbox.unread().get(miss.bytes..).unwrap_or_default();
        let shown = behind.len().min(BUFFERED_BYTES_SHOWN);
        Ok(SessionError::Unmet(Box::new(Unmet {
            connection: self.name.to_string(),
            member: self.member,
            local: self.local.clone(),
            peer: self.peer.clone(),
            expected,
            came: miss.came,
            end: state.end,
            late: miss.late,
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

/// Connects; where nobody listens yet, for as long as the target says.
fn connect(target: &Target) -> Result<Stream, ConnectError> {
    let waiting = Deadline::after(Some(target.wait));
    loop {
        let outcome = Stream::connect_from(target.from, &target.address, Some(target.timeout));
        let outcome = outcome.and_then(|stream| refuse_self(stream, &target.address));
        match outcome {
            Err(ConnectError::Connect { source, .. }) if is_absence(&source) && waiting.remaining().is_ok() => {
                thread::sleep(RETRY);
            }
            outcome => return outcome,
        }
    }
}

/// Who knocks at a port that nobody has yet may be given that port to knock from, and so talk to himself.
fn refuse_self(stream: Stream, address: &Address) -> Result<Stream, ConnectError> {
    match stream {
        Stream::Tcp(tcp) if tcp.local_addr().ok() == tcp.peer_addr().ok() => {
            Err(ConnectError::Connect { address: address.clone(), source: io::ErrorKind::ConnectionRefused.into() })
        }
        stream => Ok(stream),
    }
}

/// Whether a server that is just starting looks like this. A Unix socket is not there before it listens.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

/// A socket and its threads, which end with it.
#[derive(Debug)]
struct Socket {
    wire: Arc<Wire>,
    /// Taken when it is dropped.
    reader: Option<JoinHandle<()>>,
    /// The last that was needed; it may have ended.
    writer: Option<JoinHandle<()>>,
    parting: Parting,
}

/// How a socket is closed.
#[derive(Clone, Copy, Debug)]
enum Parting {
    Close,
    Reset,
}

impl Drop for Socket {
    fn drop(&mut self) {
        match self.parting {
            Parting::Close => self.wire.hang_up(),
            Parting::Reset => self.wire.abort(),
        }
        for thread in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            // A panic there was reported by its hook, and here somebody may be panicking already.
            let _ = thread.join();
        }
    }
}
