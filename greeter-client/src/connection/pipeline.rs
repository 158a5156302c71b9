//! Turns a stream of lines into a stream of replies, with as many in flight as TCP takes.
//!
//! Three threads, so that none ever waits for another's turn: one takes lines from the iterator,
//! one writes them, and the caller's reads replies. Whatever gathers while a write is under way
//! leaves with the next one, so that a fast iterator costs few system calls and a slow one no
//! delay.

use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::{Connection, Receiver};
use crate::net::{ConnectionError, Deadline, Eol, Stream};

/// How many bytes of lines may wait for the write that is under way: enough for one large write,
/// little enough that a stream of any length costs nothing.
const MAX_WAITING_BYTES: usize = 64 * 1024;

/// From here on, a callback does not just take its time: it waits, as for a reader of its own that
/// is slow. Below, it is part of what reading a line costs, and counts, or a server that speaks
/// without end and fast would be read without end.
const CALLBACK_WAITS: Duration = Duration::from_millis(10);

/// The result of a [pipeline](Connection::pipeline).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pipelined {
    /// Lines taken from the iterator.
    pub lines: u64,
    /// Lines that came back, whether or not each answers one that was sent.
    pub replies: u64,
    /// Whether the iterator came to its end and every line of it was sent. Otherwise the server
    /// closed first, or the callback broke off.
    pub all_sent: bool,
    /// Whether the server ended the stream without the word that TLS has for that: what came may
    /// lack something.
    pub truncated: bool,
    /// Whether the server has not closed, and was left when it had been silent for
    /// [`ConnectionOptions::idle`](crate::ConnectionOptions::idle).
    pub left_idle: bool,
}

impl Connection {
    /// Sends all of `lines` while their replies come in, then half-closes and reads until the
    /// server closes. Calls `on_reply` with each line that comes back, without its ending, in the
    /// order received; `on_reply` can break off.
    ///
    /// Memory stays constant however many lines there are, and neither side can block the other for
    /// good: lines are read while others wait to be written. The iterator runs on a thread of its
    /// own and may wait, even for what `on_reply` tells it: no line is held back.
    ///
    /// The timeout is how long the server may take for the next line while it owes one, and for its
    /// end after the last. It owes a line as long as fewer have come than were taken from the
    /// iterator. Once that has ended and as many have come, it owes its end, and what it says
    /// instead does not prolong the wait: only what `on_reply` waits for does. With
    /// [`ConnectionOptions::idle`](crate::ConnectionOptions::idle), a server that is silent for so
    /// long when it owes nothing but its end is left.
    ///
    /// A call returns only when `lines` does: one that waits for ever keeps it.
    ///
    /// # Errors
    ///
    /// Any [`ConnectionError`] but [`Closed`](ConnectionError::Closed): a server that closes early
    /// is no error here, the result tells. After [`LfInLineError`](ConnectionError::LfInLineError),
    /// the lines before that one have been sent and answered.
    ///
    /// ```
    /// # use std::io::{BufRead, BufReader, Write};
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = greeter_client::ServerAddress::from(listener.local_addr()?);
    /// # let server = std::thread::spawn(move || -> std::io::Result<()> {
    /// #     let (mut stream, _) = listener.accept()?;
    /// #     for name in BufReader::new(stream.try_clone()?).lines() {
    /// #         stream.write_all(format!("Hello, {}\n", name?).as_bytes())?;
    /// #     }
    /// #     Ok(())
    /// # });
    /// use std::ops::ControlFlow;
    /// use greeter_client::Connection;
    ///
    /// let mut bytes = 0;
    /// let guests = (0..10_000).map(|n| format!("guest {n}"));
    /// let done = Connection::connect(&address)?.pipeline(guests, |reply| {
    ///     bytes += reply.len();
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!((done.lines, done.replies, done.all_sent), (10_000, 10_000, true));
    /// assert_eq!(bytes, 168_890);
    /// # server.join().expect("the server does not panic")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pipeline<I>(
        self,
        lines: I,
        on_reply: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<Pipelined, ConnectionError>
    where
        I: IntoIterator<Item: AsRef<[u8]>, IntoIter: Send>,
    {
        let (sender, mut receiver) = self.split();
        let lines = lines.into_iter();
        let outbox = SendQueue::new();
        thread::scope(|scope| {
            // However this ends, a panic of `on_reply` included, the other two threads must not
            // wait for a server that nobody reads any more.
            let hang_up = CloseOnDrop { outbox: &outbox, stream: &sender.stream };
            let taking = spawn(scope, "lines", || outbox.take_from(lines, sender.eol))?;
            let sending = spawn(scope, "send", || outbox.write_to(&sender.stream))?;
            let replies = receive_all(&mut receiver, &outbox, on_reply);
            drop(hang_up);
            let (taken, sent) = (join(taking), join(sending));
            // What the server did explains what happened to the sending, which explains what became
            // of the lines.
            let (replies, flow, left_idle) = replies?;
            let truncated = flow.is_continue() && !left_idle && receiver.is_truncated();
            // Whoever broke off has closed the connection; that the sending met with that is no
            // news.
            let written = if flow.is_break() { sent.unwrap_or(false) } else { sent? };
            let all_taken = taken?;
            let queue = outbox.lock();
            let all_sent = all_taken && written && queue.wire.is_empty();
            Ok(Pipelined { lines: queue.lines, replies, all_sent, truncated, left_idle })
        })
    }
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ConnectionError> {
    thread::Builder::new().name(name.into()).spawn_scoped(scope, work).map_err(ConnectionError::Thread)
}

/// A panic of the iterator is the caller's own, and goes on there.
fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Reads lines until the server's end, until `on_reply` breaks off, or until the server is left:
/// tells how many there were, and which it was.
fn receive_all(
    receiver: &mut Receiver,
    outbox: &SendQueue,
    mut on_reply: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(u64, ControlFlow<()>, bool), ConnectionError> {
    let mut last_came = Instant::now();
    let mut left_idle = false;
    let flow = loop {
        let waiting_since = outbox.waiting_since();
        let owed = Deadline::from(waiting_since, receiver.timeout);
        let quiet_since = outbox.settled_at().map(|at| at.max(last_came));
        // Where it does not count yet, it will not be over sooner than this.
        let quiet = Deadline::from(quiet_since.unwrap_or_else(Instant::now), receiver.idle);
        let unread = receiver.unread().len();
        match receiver.receive_by(&owed.or_earlier(quiet)) {
            Ok(Some(reply)) => {
                let before = Instant::now();
                let flow = on_reply(reply);
                // Afterwards, because the time that the callback waits is not the server's.
                outbox.reply_came(before.elapsed());
                last_came = Instant::now();
                if flow.is_break() {
                    break flow;
                }
            }
            Ok(None) => break ControlFlow::Continue(()),
            // Nothing was owed when the wait began, and what is owed now has not been owed for so
            // long.
            Err(ConnectionError::TimedOut { .. }) if outbox.waiting_since() > waiting_since => {}
            Err(ConnectionError::TimedOut { .. }) => {
                owed.remaining()?;
                // So it is the silence that is over, or it does not count yet.
                if receiver.unread().len() > unread {
                    last_came = Instant::now();
                } else if quiet_since.is_some() {
                    left_idle = true;
                    break ControlFlow::Continue(());
                }
            }
            Err(err) => return Err(err),
        }
    };
    Ok((outbox.lock().replies, flow, left_idle))
}

/// Lines on their way from the thread that takes them to the thread that writes them, and what the
/// server owes for them.
struct SendQueue {
    queue: Mutex<QueueState>,
    /// Rung when `wire` is no longer empty, no longer full, or `state` has changed. One is enough:
    /// the two threads wait for opposite things, so that never both of them wait.
    changed: Condvar,
}

struct QueueState {
    /// Whole lines that no write has taken yet: at most [`MAX_WAITING_BYTES`] and one line.
    wire: Vec<u8>,
    /// Lines that were ever put into `wire`.
    lines: u64,
    /// Lines that came back.
    replies: u64,
    /// When the wait for the next reply, or for the end, began, if one is owed.
    waiting_since: Instant,
    /// When it was said that nothing more will be sent.
    half_closed_at: Option<Instant>,
    state: SendPhase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SendPhase {
    /// Lines come and go.
    Open,
    /// No more lines come; what is in `wire` is still to be sent, and then the half-close.
    Ended,
    /// Nothing more can be sent, or need be.
    Broken,
}

impl SendQueue {
    fn new() -> Self {
        let queue = QueueState {
            wire: Vec::new(),
            lines: 0,
            replies: 0,
            waiting_since: Instant::now(),
            half_closed_at: None,
            state: SendPhase::Open,
        };
        Self { queue: Mutex::new(queue), changed: Condvar::new() }
    }

    /// The work of the thread that takes lines. Says whether it took all.
    fn take_from<L: AsRef<[u8]>>(&self, lines: impl Iterator<Item = L>, eol: Eol) -> Result<bool, ConnectionError> {
        let _end = EndOnDrop(self);
        for line in lines {
            let queue = self.lock();
            let waited = self.changed.wait_while(queue, |queue| queue.is_full() && queue.state == SendPhase::Open);
            let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
            if queue.state == SendPhase::Broken {
                return Ok(false);
            }
            let was_empty = queue.wire.is_empty();
            if !eol.append_line(&mut queue.wire, line.as_ref()) {
                return Err(ConnectionError::LfInLineError);
            }
            queue.owe(|queue| queue.lines += 1);
            if was_empty {
                self.changed.notify_one();
            }
        }
        Ok(true)
    }

    /// The work of the thread that writes. Says whether all that it took was written.
    fn write_to(&self, stream: &Stream) -> Result<bool, ConnectionError> {
        // A server may take its time to read, as long as it answers: the wait for replies has the
        // deadline.
        let never = Deadline::after(None);
        let mut batch = Vec::new();
        while self.take_batch(&mut batch) {
            if let Err(err) = stream.write_all(&batch, &never) {
                self.enter(SendPhase::Broken);
                return match err {
                    // Either side has closed, which the wait for replies tells better.
                    ConnectionError::Lost(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(false),
                    err => Err(err),
                };
            }
        }
        // Whether it can still be said, the wait for the server's end tells.
        let _ = stream.half_close(&never);
        self.lock().half_closed_at = Some(Instant::now());
        Ok(true)
    }

    /// Puts all that waits into `batch`. `false`: there is nothing, and there will be nothing.
    fn take_batch(&self, batch: &mut Vec<u8>) -> bool {
        // One huge line must not cost its size for as long as the stream goes on.
        batch.clear();
        batch.shrink_to(2 * MAX_WAITING_BYTES);
        let queue = self.lock();
        let waited = self.changed.wait_while(queue, |queue| queue.wire.is_empty() && queue.state == SendPhase::Open);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        if queue.wire.is_empty() || queue.state == SendPhase::Broken {
            return false;
        }
        let was_full = queue.is_full();
        mem::swap(batch, &mut queue.wire);
        if was_full {
            self.changed.notify_one();
        }
        true
    }

    /// A line has come, and the callback was at it for so long.
    fn reply_came(&self, took: Duration) {
        let mut queue = self.lock();
        let is_owed = queue.lines > queue.replies;
        queue.replies += 1;
        if is_owed {
            queue.waiting_since = Instant::now();
        } else if took >= CALLBACK_WAITS {
            queue.waiting_since = queue.waiting_since.checked_add(took).unwrap_or_else(Instant::now);
        }
    }

    /// When the wait for the next reply began: now, if none is owed.
    fn waiting_since(&self) -> Instant {
        let queue = self.lock();
        if queue.owes() { queue.waiting_since } else { Instant::now() }
    }

    /// Since when the server owes nothing but its end, if it does: all is sent, and as many lines
    /// have come.
    fn settled_at(&self) -> Option<Instant> {
        let queue = self.lock();
        queue.half_closed_at.filter(|_| queue.replies >= queue.lines)
    }

    fn enter(&self, state: SendPhase) {
        let mut queue = self.lock();
        if queue.state != SendPhase::Broken {
            queue.owe(|queue| queue.state = state);
        }
        self.changed.notify_all();
    }

    /// The queue is whole between any two statements, so that a thread that panicked has left
    /// nothing broken.
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn is_full(&self) -> bool {
        self.wire.len() >= MAX_WAITING_BYTES
    }

    /// Whether the server has something to say: a line, or after the last of ours its end.
    fn owes(&self) -> bool {
        self.lines > self.replies || self.state != SendPhase::Open
    }

    /// Does what may make the server owe something, from now on.
    fn owe(&mut self, act: impl FnOnce(&mut Self)) {
        if !self.owes() {
            self.waiting_since = Instant::now();
        }
        act(self);
    }
}

/// Ends the stream of lines, also where the iterator panics.
struct EndOnDrop<'a>(&'a SendQueue);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.enter(SendPhase::Ended);
    }
}

/// Lets nobody wait for the socket or for the outbox any more.
struct CloseOnDrop<'a> {
    outbox: &'a SendQueue,
    stream: &'a Stream,
}

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.outbox.enter(SendPhase::Broken);
        self.stream.close();
    }
}
