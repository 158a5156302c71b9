//! One socket between three threads: the caller's, which sends and expects; one that reads whatever
//! comes, up to a limit; and, only while the peer does not read as fast as we send, one that
//! writes.
//!
//! A reading thread per connection, and not one loop over all of them: its stack is [`STACK_BYTES`]
//! of address space of which a few KiB are used, so that a crowd of hundreds costs little; blocking
//! reads need no readiness, no timer and no dependency; and back-pressure is a thread that waits.

use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::receive_buffer::ReceiveBuffer;
use crate::net::{ClientTlsSession, ConnectionError, Deadline, Stream, StreamEnd, StreamRead, TlsFailure};

/// How much is read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// For loops whose buffers are on the heap, and for a handshake of TLS, which takes over 32 KiB in
/// a build without optimizations, and more where certificates form a long chain.
const STACK_BYTES: usize = 256 * 1024;
/// How much may wait for a peer that does not read before a further send waits, too.
const MAX_UNSENT_BYTES: usize = 64 * 1024 * 1024;
/// How long a send may take on the caller's own thread, where its error is seen at once.
const SEND_AT_ONCE: Duration = Duration::from_millis(5);
/// How soon the writing thread notices that it is not needed any more.
const WRITE_SLICE: Duration = Duration::from_millis(50);
/// How long after a send has failed what the peer said before may still be on its way through the
/// reading thread.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How long after a send the peer's refusal may be on its way.
pub(super) const REFUSAL: Duration = Duration::from_millis(250);
/// How often a reading thread that may be released looks whether it is.
const RELEASE_LOOK: Duration = Duration::from_millis(10);
/// How often to look for it: no read waits for it, for the stream has ended.
const REFUSAL_LOOK: Duration = Duration::from_millis(2);

/// The socket and what its threads tell each other.
#[derive(Debug)]
pub(super) struct SocketIo {
    stream: Stream,
    state: Mutex<IoState>,
    /// Rung for the caller: something came, the stream ended, a send failed or all is sent.
    changed: Condvar,
    /// Rung for the reading thread: something was consumed, more is demanded, or nobody listens any
    /// more.
    room: Condvar,
    max_unread_bytes: usize,
    /// Whether the reading thread may be told to end while the connection stays open.
    is_releasable: bool,
}

#[derive(Debug)]
pub(super) struct IoState {
    pub(super) received: ReceiveBuffer,
    /// How the peer ended the stream, behind what is in `received`.
    pub(super) end: Option<StreamEnd>,
    /// Why a send failed, and when. Nothing is sent afterwards.
    pub(super) send_error: Option<(Instant, io::Error)>,
    /// What is waited for needs so many unread bytes.
    pub(super) demand: usize,
    to_write: WriteQueue,
    closed: bool,
    /// The reading thread ends, once it has found nothing more to read.
    released: bool,
}

/// What the writing thread has to do. There is one if `unsent_bytes` is not 0.
#[derive(Debug, Default)]
struct WriteQueue {
    /// What it will take when it is done with what it has.
    queue: Vec<u8>,
    /// The queue, and what the thread holds.
    unsent_bytes: usize,
    /// After the last of it, the half-close.
    half_close: bool,
}

/// Whether a send that failed ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendErrors {
    Fatal,
    Ignored,
}

impl SocketIo {
    pub(super) fn new(stream: Stream, max_unread_bytes: usize) -> Self {
        let state = IoState {
            received: ReceiveBuffer::default(),
            end: None,
            send_error: None,
            demand: 0,
            to_write: WriteQueue::default(),
            closed: false,
            released: false,
        };
        let (changed, room) = (Condvar::new(), Condvar::new());
        let max_unread_bytes = max_unread_bytes.max(1);
        Self { stream, state: Mutex::new(state), changed, room, max_unread_bytes, is_releasable: false }
    }

    /// The same, of which the reading thread may be [released](Self::release).
    #[cfg(feature = "load")]
    pub(super) fn releasable(self) -> Self {
        Self { is_releasable: true, ..self }
    }

    /// Lets the reading thread end, behind all that has come by now.
    #[cfg(feature = "load")]
    pub(super) fn release(&self) {
        self.lock().released = true;
        self.room.notify_one();
    }

    /// What it reads and writes, once its threads have ended.
    #[cfg(feature = "load")]
    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// Starts to read.
    pub(super) fn read(self: &Arc<Self>) -> io::Result<JoinHandle<()>> {
        let socket_io = Arc::clone(self);
        spawn("session read", move || socket_io.read_all())
    }

    /// The most that is read ahead of what is waited for.
    pub(super) fn max_unread_bytes(&self) -> usize {
        self.max_unread_bytes
    }

    /// Waits until `probe` has found what it looks for. `None`: the time is over.
    pub(super) fn wait<T>(
        &self,
        deadline: &Deadline,
        errors: SendErrors,
        mut probe: impl FnMut(&mut IoState) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(found) = probe(&mut state) {
                return Some(found);
            }
            // What was demanded may be more than the reading thread reads by itself.
            self.room.notify_one();
            let remaining = state.remaining(deadline, errors)?;
            state = match remaining {
                Some(remaining) => {
                    self.changed.wait_timeout(state, remaining).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Takes `count` bytes away.
    pub(super) fn consume(&self, count: usize) {
        let mut state = self.lock();
        state.received.consume(count);
        state.demand = 0;
        self.room.notify_one();
    }

    /// Sends `bytes`: what the system takes is sent now and on this thread, and only the rest is
    /// left to another, whose handle is returned. An error is left for who
    /// [looks](State::send_error).
    pub(super) fn send(self: &Arc<Self>, mut bytes: &[u8], deadline: &Deadline) -> Option<JoinHandle<()>> {
        if self.send_behind(bytes, deadline) {
            return None;
        }
        let at_once = Deadline::after(Some(SEND_AT_ONCE));
        while !bytes.is_empty() && deadline.remaining().is_ok() {
            match self.stream.write(bytes, &at_once) {
                Ok(count) => bytes = &bytes[count..],
                Err(ConnectionError::TimedOut { .. }) => break,
                Err(error) => {
                    self.send_failed(error);
                    return None;
                }
            }
        }
        if bytes.is_empty() { None } else { self.write_later(bytes, false) }
    }

    /// Says that nothing more will be sent, after all that is unsent. What TLS says then may have
    /// to wait, and is left to another thread like the rest of a send.
    pub(super) fn half_close(self: &Arc<Self>) -> Option<JoinHandle<()>> {
        let mut state = self.lock();
        if state.to_write.unsent_bytes > 0 {
            state.to_write.half_close = true;
            return None;
        }
        drop(state);
        match self.stream.half_close(&Deadline::after(Some(SEND_AT_ONCE))) {
            Err(ConnectionError::TimedOut { .. }) => self.write_later(b"", true),
            // A connection that is lost says so when it is read.
            _ => None,
        }
    }

    /// Speaks TLS from here on, in both directions.
    ///
    /// What came before, and is unread, is never taken for what came after: here it is refused, and
    /// what the reading thread holds meanwhile, [`deliver`](Self::deliver) refuses.
    pub(super) fn start_tls(&self, session: ClientTlsSession, deadline: &Deadline) -> Result<(), TlsFailure> {
        self.drain(deadline);
        let shaken = {
            let state = self.lock();
            match state.received.unread().len() {
                0 if state.end.is_some() => return Err(TlsFailure::Closed),
                0 => self.stream.start_tls(session)?,
                bytes => return Err(TlsFailure::UnreadBytes { bytes }),
            }
        };
        self.stream.await_tls(&shaken, deadline)
    }

    /// Waits until all is sent, or cannot be.
    pub(super) fn drain(&self, deadline: &Deadline) {
        self.wait(deadline, SendErrors::Ignored, |state| (state.to_write.unsent_bytes == 0).then_some(()));
    }

    /// Whether the peer, which has ended the stream, refuses what it was sent after that. Its
    /// system tells so as soon as bytes arrive for which nobody is there; of those that are read,
    /// or not yet, nothing is told.
    pub(super) fn is_refused(&self, deadline: &Deadline) -> bool {
        loop {
            if self.lock().send_error.is_some() || self.stream.socket().has_failed() {
                return true;
            }
            if deadline.remaining().is_err() {
                return false;
            }
            thread::sleep(REFUSAL_LOOK);
        }
    }

    /// Lets the threads end. What is unsent is dropped.
    pub(super) fn close(&self) {
        self.mark_closed();
        self.stream.close();
    }

    /// As [`hang_up`](Self::hang_up), but the peer is told by a reset, once the threads have ended
    /// and the socket is dropped.
    pub(super) fn abort(&self) {
        self.mark_closed();
        self.stream.abort();
    }

    /// The state is whole between any two statements, so that a thread that panicked has left
    /// nothing broken.
    pub(super) fn lock(&self) -> MutexGuard<'_, IoState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark_closed(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.room.notify_one();
    }

    /// The work of the reading thread.
    fn read_all(&self) {
        let look = self.is_releasable.then_some(RELEASE_LOOK);
        let mut chunk = vec![0; CHUNK_BYTES];
        let end = loop {
            match self.stream.read_marked(&mut chunk, &Deadline::after(look)) {
                Ok(StreamRead { count: 0, .. }) => break self.stream.end(),
                Ok(StreamRead { count, is_secure }) if self.deliver(&chunk[..count], is_secure) => {}
                Ok(_) => return,
                Err(ConnectionError::TimedOut { .. }) if self.is_releasable => {
                    if self.lock().released {
                        return;
                    }
                }
                Err(ConnectionError::Lost(error)) => break StreamEnd::from_error(&error),
                Err(error) => unreachable!("a read that has no deadline can only be lost: {error}"),
            }
        };
        self.stream.refuse_tls(TlsFailure::Closed);
        let mut state = self.lock();
        state.end = Some(end);
        state.tell_reset();
        self.changed.notify_one();
    }

    /// Says whether anybody still listens.
    fn deliver(&self, bytes: &[u8], is_secure: bool) -> bool {
        let limit = self.max_unread_bytes;
        let is_over = |state: &IoState| state.closed || state.released;
        let is_full = |state: &mut IoState| state.received.unread().len() >= limit.max(state.demand) && !is_over(state);
        let waited = self.room.wait_while(self.lock(), is_full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if !is_secure && self.stream.is_secure() {
            self.stream.refuse_tls(TlsFailure::UnreadBytes { bytes: bytes.len() });
            state.end = Some(StreamEnd::Lost(io::ErrorKind::InvalidData));
            return false;
        }
        state.received.push(bytes);
        self.changed.notify_one();
        !is_over(&state)
    }

    /// Puts `bytes` behind what another thread is sending. `false`: there is none. After an error,
    /// they are dropped.
    fn send_behind(&self, bytes: &[u8], deadline: &Deadline) -> bool {
        let settled = |state: &mut IoState| {
            let full = state.to_write.queue.len() >= MAX_UNSENT_BYTES && state.send_error.is_none();
            (!full).then_some(())
        };
        let in_time = self.wait(deadline, SendErrors::Fatal, settled).is_some();
        let mut state = self.lock();
        match &state.to_write {
            _ if state.send_error.is_some() => true,
            WriteQueue { unsent_bytes: 0, .. } => false,
            _ if in_time => {
                state.to_write.queue.extend_from_slice(bytes);
                state.to_write.unsent_bytes += bytes.len();
                true
            }
            _ => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "the server does not read what is sent");
                state.send_error = Some((Instant::now(), error));
                true
            }
        }
    }

    fn write_later(self: &Arc<Self>, bytes: &[u8], half_close: bool) -> Option<JoinHandle<()>> {
        self.lock().to_write = WriteQueue { queue: bytes.to_vec(), unsent_bytes: bytes.len(), half_close };
        let socket_io = Arc::clone(self);
        match spawn("session write", move || socket_io.write_all()) {
            Ok(thread) => Some(thread),
            Err(error) => {
                self.send_failed(ConnectionError::Lost(error));
                None
            }
        }
    }

    /// The work of the writing thread: to its last byte, an error, or the end of the session.
    fn write_all(&self) {
        let mut sent = 0;
        while let Some(batch) = self.next_batch(sent) {
            let mut rest = &batch[..];
            while !rest.is_empty() {
                match self.stream.write(rest, &Deadline::after(Some(WRITE_SLICE))) {
                    Ok(count) => rest = &rest[count..],
                    Err(ConnectionError::TimedOut { .. }) if !self.lock().closed => {}
                    Err(error) => return self.send_failed(error),
                }
            }
            sent = batch.len();
        }
        let is_last = |state: &IoState| state.to_write.half_close && !state.closed;
        while is_last(&self.lock()) {
            match self.stream.half_close(&Deadline::after(Some(WRITE_SLICE))) {
                Err(ConnectionError::TimedOut { .. }) => {}
                // A connection that is lost says so when it is read.
                _ => return,
            }
        }
    }

    /// What is to be sent after `sent` bytes, if there is more.
    fn next_batch(&self, sent: usize) -> Option<Vec<u8>> {
        let mut state = self.lock();
        let to_write = &mut state.to_write;
        to_write.unsent_bytes -= sent;
        self.changed.notify_one();
        (to_write.unsent_bytes > 0).then(|| mem::take(&mut to_write.queue))
    }

    fn send_failed(&self, error: ConnectionError) {
        let error = match error {
            ConnectionError::Lost(error) => error,
            error => io::Error::new(io::ErrorKind::TimedOut, error),
        };
        let mut state = self.lock();
        state.to_write = WriteQueue::default();
        state.send_error = Some((Instant::now(), error));
        state.tell_reset();
        self.changed.notify_one();
    }
}

impl IoState {
    pub(super) fn unsent_bytes(&self) -> usize {
        self.to_write.unsent_bytes
    }

    /// How long a wait may still last: `None` if its time is over, `Some(None)` if it has no end.
    fn remaining(&self, deadline: &Deadline, errors: SendErrors) -> Option<Option<Duration>> {
        let remaining = deadline.remaining().ok()?;
        match &self.send_error {
            Some((at, _)) if errors == SendErrors::Fatal => {
                let last_words = Deadline::from(*at, Some(LAST_WORDS)).remaining().ok()?;
                Some(remaining.into_iter().chain(last_words).min())
            }
            _ => Some(remaining),
        }
    }

    /// A reset is reported once. Where the sending thread got the report, the reading one sees a
    /// mere end.
    fn tell_reset(&mut self) {
        let was_reset = |(_, error): &(Instant, io::Error)| StreamEnd::from_error(error) == StreamEnd::Reset;
        if self.end.is_some_and(StreamEnd::is_eof) && self.send_error.as_ref().is_some_and(was_reset) {
            self.end = Some(StreamEnd::Reset);
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(work)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::net::Route;

    /// How a peer seems to have ended the stream when a read saw a mere end and a send failed with
    /// `error`.
    fn end_beside(error: io::ErrorKind) -> Option<StreamEnd> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let route = Route::to(listener.local_addr().unwrap().into(), None);
        let socket_io = Arc::new(SocketIo::new(Stream::connect(&route).unwrap(), 1));
        drop(listener.accept().unwrap());
        socket_io.read().unwrap().join().unwrap();
        socket_io.send_failed(ConnectionError::Lost(error.into()));
        socket_io.lock().end
    }

    /// They have been read, and have not been delivered when TLS begins.
    #[cfg(feature = "tls")]
    #[test]
    fn plain_bytes_that_are_delivered_late_are_refused() {
        use crate::net::{TlsClient, TlsClientOptions};

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = TlsClientOptions { insecure: true, ..TlsClientOptions::default() };
        let tls = Some(TlsClient::new(&options).unwrap());
        let route = Route { tls, ..Route::to(listener.local_addr().unwrap().into(), None) };
        let socket_io = Arc::new(SocketIo::new(Stream::connect(&route).unwrap(), 1));
        let starting = {
            let (socket_io, session) = (Arc::clone(&socket_io), route.tls_session().unwrap());
            thread::spawn(move || socket_io.start_tls(session, &Deadline::after(Some(Duration::from_secs(20)))))
        };
        while !socket_io.stream.is_secure() {
            thread::yield_now();
        }
        assert!(!socket_io.deliver(b"injected", false));
        assert!(matches!(starting.join().unwrap(), Err(TlsFailure::UnreadBytes { bytes: 8 })));
        assert!(socket_io.lock().received.unread().is_empty());
    }

    /// Linux tells of it once, to whoever asks first: which of the threads that is cannot be
    /// foreseen.
    #[test]
    fn a_reset_that_only_the_sending_thread_was_told_of_is_a_reset() {
        assert_eq!(end_beside(io::ErrorKind::ConnectionReset), Some(StreamEnd::Reset));
        assert_eq!(end_beside(io::ErrorKind::BrokenPipe), Some(StreamEnd::Eof));
    }
}
