//! Turns a connection into a pipe: an input's bytes go out while what comes back goes to an output.
//!
//! It works on bytes, not on lines, so that a prompt without a newline is seen at once and nothing
//! is ever held back.

use std::io::{self, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::endings::Endings;
use super::traffic::Traffic;
use super::{Connection, Sender};
use crate::net::{ConnectionError, Deadline, StreamEnd};

/// How much is read at once from the input and from the connection.
const CHUNK_BYTES: usize = 64 * 1024;

/// How long after the server's end the input may take to show that it has more, or no more. One
/// that is ready shows it far sooner; one that waits for a person or for another program delays the
/// end by no more than this.
const GRACE: Duration = Duration::from_millis(50);

/// The result of a [pipe](Connection::pipe).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Piped {
    /// Bytes that were handed to the system, line endings as sent.
    pub bytes_sent: u64,
    /// Bytes that the server sent.
    pub bytes_received: u64,
    /// Whether the input's last line had no newline. It was sent as it is; most servers do not
    /// answer it.
    pub input_cut: bool,
    /// Which side ended the pipe.
    pub end: PipeEnd,
    /// Whether the server ended the stream without the word that TLS has for that: what came may
    /// lack something.
    pub truncated: bool,
    /// Whether the server has not closed, and was left when it had been silent for
    /// [`ConnectionOptions::idle`](crate::ConnectionOptions::idle).
    pub left_idle: bool,
}

/// The side that ended a [pipe](Connection::pipe).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PipeEnd {
    /// The input ended, all of it was sent, and then the server closed, or was left.
    Input,
    /// The server closed first.
    Server {
        /// Bytes that had been read from the input and could not be sent any more.
        bytes_unsent: u64,
    },
}

/// An error of a [pipe](Connection::pipe). Everything that the server had sent until then was
/// written to the output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipeError {
    /// The connection was reset, or the network failed.
    #[error("connection lost")]
    Lost(#[source] io::Error),
    /// The server closed the connection in the middle of a line, which was written to the output as
    /// far as it came.
    #[error("the server closed the connection in the middle of a line, {bytes} bytes into it")]
    PartialLine {
        /// How much of the line had come.
        bytes: u64,
    },
    /// The server was silent for [`ConnectionOptions::idle`](crate::ConnectionOptions::idle) in the
    /// middle of a line, which was written to the output as far as it came.
    #[error("the server said nothing more for {waited:?} in the middle of a line, {bytes} bytes into it")]
    SilentInLine {
        /// How much of the line had come.
        bytes: u64,
        /// How long it was waited for more.
        waited: Duration,
    },
    /// The input failed. What had been read of it was sent, and answered.
    #[error("cannot read the input")]
    Input(#[source] io::Error),
    /// The output failed.
    #[error("cannot write to the output")]
    Output(#[source] io::Error),
    /// Who [watched](Connection::pipe_watched) wanted no more, in their words.
    #[error(transparent)]
    Watch(io::Error),
    /// A thread that is needed could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl Connection {
    /// Sends all of `input` while it writes everything that comes back to `output`, and flushes
    /// each piece as it comes. At the end of the input it half-closes, and reads on until the
    /// server closes; or until it has been silent for
    /// [`ConnectionOptions::idle`](crate::ConnectionOptions::idle), if that is set.
    ///
    /// Bytes pass as they are, in both directions, with one exception: where the connection's
    /// [`Eol`](crate::Eol)(crate::Eol) is [`CrLf`](crate::Eol::CrLf), an LF of the input that has
    /// no CR before it gets one.
    ///
    /// Memory stays constant. There is no timeout, because a pipe may rest for as long as both
    /// sides like. If the server closes first, this returns at once (50 ms), even while `input` is
    /// waiting: a thread of its own reads the input, and is left behind until that wait ends.
    ///
    /// # Errors
    ///
    /// Any [`PipeError`]. A server that closes first is none: see [`PipeEnd`].
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
    /// use greeter_client::{Connection, PipeEnd};
    ///
    /// let mut output = Vec::new();
    /// let piped = Connection::connect(&address)?.pipe(&b"Ann\nBen\n"[..], &mut output)?;
    /// assert_eq!(output, b"Hello, Ann\nHello, Ben\n");
    /// assert_eq!((piped.end, piped.bytes_sent), (PipeEnd::Input, 8));
    /// # server.join().expect("the server does not panic")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pipe<I>(self, input: I, output: impl Write) -> Result<Piped, PipeError>
    where
        I: Read + Send + 'static,
    {
        self.pipe_watched(input, output, |_| Ok(()))
    }

    /// Does what [`pipe`](Self::pipe) does, and tells `watch` what passes: what is sent, before it
    /// is sent, and what has come, before it is written to `output`. So no reply is told before the
    /// line that it replies to. One thread at a time calls `watch`, and the pipe waits for it.
    ///
    /// # Errors
    ///
    /// Those of [`pipe`](Self::pipe), and [`Watch`](PipeError::Watch): an error of `watch` ends the
    /// pipe.
    ///
    /// ```
    /// # use std::io::{BufRead, BufReader, Write};
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = greeter_client::ServerAddress::from(listener.local_addr()?);
    /// # let server = std::thread::spawn(move || -> std::io::Result<()> {
    /// #     let (mut stream, _) = listener.accept()?;
    /// #     let names: Vec<_> = BufReader::new(stream.try_clone()?).lines().collect();
    /// #     names.into_iter().try_for_each(|name| stream.write_all(format!("Hello, {}\n", name?).as_bytes()))
    /// # });
    /// use std::fs;
    /// use greeter_client::{Connection, Recorder};
    ///
    /// # let path = std::env::temp_dir().join(format!("pipe-watched-{}.talk", std::process::id()));
    /// let mut recorder = Recorder::new(fs::File::create(&path)?);
    /// let record = move |traffic: greeter_client::Traffic<'_>| recorder.record(traffic);
    /// Connection::connect(&address)?.pipe_watched(&b"Ann\n"[..], std::io::sink(), record)?;
    /// assert_eq!(fs::read_to_string(&path)?, "> Ann\n>eof\n< Hello, Ann\n<eof\n");
    /// # fs::remove_file(&path)?;
    /// # server.join().expect("the server does not panic")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pipe_watched<I, W>(self, input: I, output: impl Write, watch: W) -> Result<Piped, PipeError>
    where
        I: Read + Send + 'static,
        W: FnMut(Traffic<'_>) -> io::Result<()> + Send + 'static,
    {
        let (sender, receiver) = self.split();
        let idle = receiver.idle;
        let watch = TrafficWatch::new(watch);
        let outgoing = Arc::new(InputSide::default());
        let stream = Arc::clone(&receiver.stream);
        let forward = {
            let (outgoing, watch) = (Arc::clone(&outgoing), watch.clone());
            move || outgoing.forward(input, &sender, &watch)
        };
        thread::Builder::new().name("input".into()).spawn(forward).map_err(PipeError::Thread)?;

        let mut incoming = OutputSide { output, watch, bytes: 0, bytes_since_lf: 0, truncated: false, left_idle: None };
        let received = incoming.pass(receiver.unread()).and_then(|()| {
            let mut chunk = vec![0; CHUNK_BYTES];
            let mut last_came = Instant::now();
            loop {
                let quiet_since = outgoing.half_closed_at().map(|at| at.max(last_came));
                // Where it does not count yet, it will not be over sooner than this.
                let deadline = Deadline::from(quiet_since.unwrap_or_else(Instant::now), idle);
                match stream.read(&mut chunk, &deadline) {
                    Ok(0) => return Ok(()),
                    Ok(count) => {
                        incoming.pass(&chunk[..count])?;
                        last_came = Instant::now();
                    }
                    Err(ConnectionError::TimedOut { .. }) if quiet_since.is_none() => {}
                    Err(ConnectionError::TimedOut { .. }) => {
                        incoming.left_idle = idle;
                        return Ok(());
                    }
                    Err(err) => return Err(lost(err)),
                }
            }
        });
        // What the input's thread could still send, nobody would answer.
        incoming.truncated = incoming.left_idle.is_none() && stream.end() == StreamEnd::Truncated;
        stream.close();
        let piped = received.and_then(|()| outgoing.account(&incoming));
        incoming.watch.end(piped, incoming.left_idle.is_some())
    }
}

/// Who is told what passes, by the thread that reads the input and by the one that reads the
/// connection.
struct TrafficWatch<T>(Arc<Mutex<Option<T>>>);

impl<T: FnMut(Traffic<'_>) -> io::Result<()>> TrafficWatch<T> {
    fn new(watch: T) -> Self {
        Self(Arc::new(Mutex::new(Some(watch))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, traffic: Traffic<'_>) -> Result<(), PipeError> {
        match &mut *self.lock() {
            _ if matches!(traffic, Traffic::Sent([]) | Traffic::Received([])) => Ok(()),
            Some(watch) => watch(traffic).map_err(PipeError::Watch),
            // The pipe has ended, and only the input does not know it yet.
            None => Ok(()),
        }
    }

    /// Tells how the server ended it, or that it was left, and then nothing any more.
    fn end(&self, piped: Result<Piped, PipeError>, was_left: bool) -> Result<Piped, PipeError> {
        let end = match &piped {
            Ok(_) | Err(PipeError::SilentInLine { .. } | PipeError::Input(_)) if was_left => Some(Traffic::Closed),
            Ok(_) | Err(PipeError::PartialLine { .. } | PipeError::Input(_)) => Some(Traffic::Ended(StreamEnd::Eof)),
            Err(PipeError::Lost(err)) => Some(Traffic::Ended(StreamEnd::from_error(err))),
            Err(_) => None,
        };
        let told = end.map_or(Ok(()), |end| self.tell(end));
        *self.lock() = None;
        piped.and_then(|piped| told.map(|()| piped))
    }
}

impl<T> Clone for TrafficWatch<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The output, and what has passed to it.
struct OutputSide<W, T> {
    output: W,
    watch: TrafficWatch<T>,
    bytes: u64,
    /// How much of a line that has not ended.
    bytes_since_lf: u64,
    /// The server ended TLS without a word.
    truncated: bool,
    /// How long the server had been silent when it was left.
    left_idle: Option<Duration>,
}

impl<W: Write, T: FnMut(Traffic<'_>) -> io::Result<()>> OutputSide<W, T> {
    fn pass(&mut self, bytes: &[u8]) -> Result<(), PipeError> {
        self.watch.tell(Traffic::Received(bytes))?;
        self.bytes += bytes.len() as u64;
        self.bytes_since_lf = match memchr::memrchr(b'\n', bytes) {
            Some(lf) => (bytes.len() - lf - 1) as u64,
            None => self.bytes_since_lf + bytes.len() as u64,
        };
        self.output.write_all(bytes).and_then(|()| self.output.flush()).map_err(PipeError::Output)
    }
}

/// The input's way out: written by the thread that reads the input, looked at when the server has
/// closed.
#[derive(Default)]
struct InputSide {
    progress: Mutex<PipeProgress>,
    /// Rung after each write and each change of state: a server may answer and close before the
    /// thread that wrote has run again.
    changed: Condvar,
}

#[derive(Default)]
struct PipeProgress {
    /// Bytes read from the input, line endings as sent.
    bytes_taken: u64,
    /// How many of them the system has accepted.
    bytes_sent: u64,
    /// The last of them was no LF.
    mid_line: bool,
    /// When it was said that nothing more will be sent.
    half_closed_at: Option<Instant>,
    state: InputState,
}

impl PipeProgress {
    fn is_writing(&self) -> bool {
        matches!(self.state, InputState::Open) && self.bytes_taken > self.bytes_sent
    }
}

#[derive(Default)]
enum InputState {
    #[default]
    Open,
    /// At its end, and all of it is sent.
    Ended,
    /// It failed, and what came before is sent.
    Failed(io::Error),
    /// The connection takes no more.
    Refused(io::Error),
    /// Who watches wants no more.
    Unwatched(io::Error),
}

impl InputSide {
    fn lock(&self) -> MutexGuard<'_, PipeProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The work of the thread that reads the input.
    fn forward<T>(&self, mut input: impl Read, sender: &Sender, watch: &TrafficWatch<T>)
    where
        T: FnMut(Traffic<'_>) -> io::Result<()>,
    {
        let sent = self.send_all(&mut input, sender, watch);
        let ends = matches!(sent, Ok(()) | Err(PipeError::Input(_)));
        let told = if ends { watch.tell(Traffic::HalfClosed) } else { Ok(()) };
        let (state, is_closed) = match told.and(sent) {
            Ok(()) => (InputState::Ended, false),
            Err(PipeError::Lost(err)) => (InputState::Refused(err), false),
            Err(PipeError::Input(err)) => (InputState::Failed(err), false),
            Err(PipeError::Watch(err)) => (InputState::Unwatched(err), true),
            Err(_) => unreachable!("sending fails at its input, at its connection, or at who watches"),
        };
        // First the state: the server may close as soon as it hears of the end, and then it counts.
        self.lock().state = state;
        self.changed.notify_one();
        match is_closed {
            true => sender.stream.close(),
            // Whether it can still be said, the server's end tells.
            false => drop(sender.stream.half_close(&Deadline::after(None))),
        }
        self.lock().half_closed_at = Some(Instant::now());
    }

    fn half_closed_at(&self) -> Option<Instant> {
        self.lock().half_closed_at
    }

    fn send_all<T>(&self, input: &mut impl Read, sender: &Sender, watch: &TrafficWatch<T>) -> Result<(), PipeError>
    where
        T: FnMut(Traffic<'_>) -> io::Result<()>,
    {
        let never = Deadline::after(None);
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut endings = Endings::new(sender.eol);
        loop {
            let count = match input.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(PipeError::Input(err)),
            };
            let mut wire = endings.apply(&chunk[..count]);
            watch.tell(Traffic::Sent(wire))?;
            {
                let mut progress = self.lock();
                progress.bytes_taken += wire.len() as u64;
                progress.mid_line = !wire.ends_with(b"\n");
            }
            while !wire.is_empty() {
                let sent = sender.stream.write(wire, &never).map_err(lost)?;
                self.lock().bytes_sent += sent as u64;
                self.changed.notify_one();
                wire = &wire[sent..];
            }
        }
    }

    /// What to tell now that the server has closed, and the connection been shut down: no write can
    /// wait any more.
    fn account<W, T>(&self, incoming: &OutputSide<W, T>) -> Result<Piped, PipeError> {
        let is_open = |progress: &mut PipeProgress| matches!(progress.state, InputState::Open);
        let (progress, _) =
            self.changed.wait_timeout_while(self.lock(), GRACE, is_open).unwrap_or_else(PoisonError::into_inner);
        let mut progress =
            self.changed.wait_while(progress, |progress| progress.is_writing()).unwrap_or_else(PoisonError::into_inner);
        let end = match std::mem::take(&mut progress.state) {
            // The reset was told to the sending side, and to the receiving side only the end.
            InputState::Refused(err) if err.kind() == io::ErrorKind::ConnectionReset => {
                return Err(PipeError::Lost(err));
            }
            InputState::Unwatched(err) => return Err(PipeError::Watch(err)),
            InputState::Failed(err) if incoming.bytes_since_lf == 0 => return Err(PipeError::Input(err)),
            InputState::Ended => PipeEnd::Input,
            _ => PipeEnd::Server { bytes_unsent: progress.bytes_taken - progress.bytes_sent },
        };
        if incoming.bytes_since_lf > 0 {
            let bytes = incoming.bytes_since_lf;
            return Err(match incoming.left_idle {
                Some(waited) => PipeError::SilentInLine { bytes, waited },
                None => PipeError::PartialLine { bytes },
            });
        }
        Ok(Piped {
            bytes_sent: progress.bytes_sent,
            bytes_received: incoming.bytes,
            input_cut: matches!(end, PipeEnd::Input) && progress.mid_line,
            end,
            truncated: incoming.truncated,
            left_idle: incoming.left_idle.is_some(),
        })
    }
}

fn lost(err: ConnectionError) -> PipeError {
    match err {
        ConnectionError::Lost(err) => PipeError::Lost(err),
        _ => unreachable!("a socket without a deadline fails only by being lost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_line_is_measured_across_reads() {
        let watch = TrafficWatch::new(|_: Traffic<'_>| Ok(()));
        let mut incoming =
            OutputSide { output: Vec::new(), watch, bytes: 0, bytes_since_lf: 0, truncated: false, left_idle: None };
        for (bytes, since_lf) in [(&b"ab"[..], 2), (b"c", 3), (b"d\n\nef", 2), (b"", 2), (b"g", 3), (b"\n", 0)] {
            incoming.pass(bytes).unwrap();
            assert_eq!(incoming.bytes_since_lf, since_lf);
        }
        assert_eq!((&incoming.output[..], incoming.bytes), (&b"abcd\n\nefg\n"[..], 10));
    }
}
