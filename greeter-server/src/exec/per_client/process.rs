//! One client's process: lines in, pieces of what it says out, each when the one before was taken.
//! Must not decide when it starts.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::{Delivery, Later};

use super::messages::{LINE_COST, MAX_UNREAD, PerClientMessage, ProcessLink};
use super::report::ProcessPermit;
use crate::exec::running::{LOOK_INTERVAL, RunningChild};
use crate::mailbox::Mailbox;
use crate::push::{PushError, PushHandle};

/// How much of what a process says is on its way to its client at most.
pub(super) const PIECE_BYTES: usize = 16 * 1024;

/// How long what a process has left behind may hold its stdout, and the client wait for it.
const AFTERMATH: Duration = Duration::from_secs(1);

/// When a piece for which there was no room is pushed again.
const PUSH_AGAIN: Duration = Duration::from_millis(10);

/// A client, and its process.
#[derive(Debug)]
pub(super) struct ClientProcess {
    pub(super) link: Arc<ProcessLink>,
    _permit: ProcessPermit,
    /// None while it is being started.
    pub(super) running: Option<RunningChild>,
    /// Whether nothing is done for it any more but to see to its end.
    pub(super) is_dismissed: bool,
    /// What is to be written to it, and how much of that its pipe has taken.
    unwritten: Vec<u8>,
    written: usize,
    /// The client's line that waits until enough of this is written.
    parked: Option<Later>,
    /// The answer to the end of the input, which ends the connection.
    last_answer: Option<Later>,
    piece: Piece,
    /// When it was seen to be dead.
    dead_since: Option<Instant>,
}

/// What the process has said, as far as the client has not taken it.
#[derive(Debug)]
enum Piece {
    Nothing,
    /// It is on its way.
    Pushed,
    /// There was no room for it.
    Held {
        bytes: Vec<u8>,
        again_at: Instant,
    },
}

impl ClientProcess {
    pub(super) const fn new(link: Arc<ProcessLink>, permit: ProcessPermit) -> Self {
        Self {
            link,
            _permit: permit,
            running: None,
            is_dismissed: false,
            unwritten: Vec::new(),
            written: 0,
            parked: None,
            last_answer: None,
            piece: Piece::Nothing,
            dead_since: None,
        }
    }

    /// The client has sent a line.
    pub(super) fn input(&mut self, bytes: &[u8], later: Option<Later>) {
        self.unwritten.extend_from_slice(bytes);
        self.parked = later;
        self.link.has_read(LINE_COST);
    }

    /// Nothing more comes from the client.
    pub(super) fn end_input(&mut self, later: Later) {
        self.last_answer = Some(later);
    }

    /// The client has taken the piece.
    pub(super) fn taken(&mut self) {
        self.piece = Piece::Nothing;
    }

    /// Writes what its pipe takes, and ends its stdin if that was all there will be.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let Some(running) = self.running.as_mut().filter(|running| !running.is_ending()) else { return Ok(()) };
        let unwritten = &self.unwritten[self.written..];
        let written = match running.try_write(unwritten) {
            // It does not read any more, and may write all the same.
            Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                unwritten.len()
            }
            written => written?,
        };
        self.written += written;
        self.link.has_read(written);
        if self.written == self.unwritten.len() {
            (self.unwritten, self.written) = (Vec::new(), 0);
            if self.last_answer.is_some() {
                running.close_stdin();
            }
        } else if self.written > self.unwritten.len() / 2 {
            self.unwritten.drain(..self.written);
            self.written = 0;
        }
        if self.unwritten.len() - self.written <= MAX_UNREAD / 2 {
            answer_with_nothing(self.parked.take());
        }
        Ok(())
    }

    /// Pushes the next piece of what it says, if the one before was taken.
    pub(super) fn send(
        &mut self,
        push: &PushHandle,
        thread: &Mailbox<PerClientMessage>,
        buffer: &mut [u8],
        now: Instant,
    ) -> io::Result<()> {
        let Some(running) = self.running.as_mut().filter(|running| !running.is_ending()) else { return Ok(()) };
        let bytes = match std::mem::replace(&mut self.piece, Piece::Nothing) {
            Piece::Nothing if self.dead_since.is_some_and(|since| since + AFTERMATH <= now) => return Ok(()),
            Piece::Nothing => match running.read(buffer, now)? {
                Some(bytes) => buffer[..bytes].to_vec(),
                None => return Ok(()),
            },
            Piece::Held { bytes, again_at } if again_at <= now => bytes,
            piece => {
                self.piece = piece;
                return Ok(());
            }
        };
        let (client, thread) = (self.link.client, thread.clone());
        let then = move |delivery| {
            // Otherwise the client is gone, and its session says so.
            if delivery == Delivery::Taken {
                thread.send(PerClientMessage::Taken { client });
            }
        };
        self.piece = match push.raw_then(client, &bytes, then) {
            Err(PushError::TooMuch) => Piece::Held { bytes, again_at: now + PUSH_AGAIN },
            _ => Piece::Pushed,
        };
        Ok(())
    }

    /// Looks whether it has ended, and returns whether there is nothing more to come from it.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        let Some(running) = &self.running else { return false };
        if self.dead_since.is_none() && running.has_ended() {
            self.dead_since = Some(now);
        }
        let Some(since) = self.dead_since else { return false };
        matches!(self.piece, Piece::Nothing) && (running.has_closed_stdout() || since + AFTERMATH <= now)
    }

    /// Returns whether there may be something to do for it that no event tells of.
    pub(super) fn waits_for_time(&self) -> bool {
        let is_unwatched = self.running.as_ref().is_some_and(|running| !running.is_watched());
        is_unwatched || self.dead_since.is_some() || matches!(self.piece, Piece::Held { .. })
    }

    /// Returns when there is something to do for it.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let running = self.running.as_ref()?;
        if running.is_ending() {
            return Some(running.next_signal().map_or(now, |at| at.min(now + LOOK_INTERVAL)));
        }
        let again = match self.piece {
            Piece::Held { again_at, .. } => Some(again_at),
            Piece::Nothing | Piece::Pushed => None,
        };
        let look = (self.dead_since.is_none() && !running.is_watched()).then(|| now + LOOK_INTERVAL);
        let over = self.dead_since.map(|since| since + AFTERMATH).filter(|at| *at > now);
        again.into_iter().chain(look).chain(over).min()
    }

    /// Ends the connection behind all that was said.
    pub(super) fn finish(&mut self, push: &PushHandle) {
        answer_with_nothing(self.parked.take());
        match self.last_answer.take() {
            Some(last) => answer_with_nothing(Some(last)),
            // If the server has not started, there is nobody to close.
            None => _ = push.close(self.link.client),
        }
    }
}

/// Answers a line, which is not one to the program, so that the client's next may come.
pub(super) fn answer_with_nothing(later: Option<Later>) {
    later.into_iter().for_each(|later| later.raw(""));
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::ffi::OsStr;
    use std::sync::Mutex;
    use std::thread;

    use greeter_core::{ClientId, PushReceipt, client_id};
    use mio::Registry;

    use super::*;
    use crate::exec::per_client::report::PerClientState;
    use crate::exec::process::Program;
    use crate::mailbox::mailbox;
    use crate::messages::InFlightPush;
    use crate::thread_mailboxes::PushTarget;

    /// A server whose threads do nothing.
    #[derive(Default)]
    struct Busy(Mutex<Vec<(InFlightPush, Option<PushReceipt>)>>);

    impl PushTarget for Busy {
        fn count(&self) -> usize {
            1
        }

        fn push(&self, _: ClientId, message: InFlightPush, receipt: Option<PushReceipt>) {
            self.0.lock().unwrap().push((message, receipt));
        }

        fn broadcast(&self, _: &Arc<InFlightPush>) {}

        fn close_client(&self, _: ClientId) {}
    }

    /// A process that does this.
    fn process(script: &str, registry: &Registry) -> ClientProcess {
        let permit = Arc::new(PerClientState::new(1)).permit().unwrap();
        let mut process = ClientProcess::new(Arc::new(ProcessLink::new(client_id(1))), permit);
        let mut program = Program::new(OsStr::new("sh"));
        program.arguments = ["-c", script].map(Into::into).into();
        program.has_socket = true;
        process.running = Some(RunningChild::new(program.start().unwrap(), 1, registry).unwrap());
        process
    }

    #[test]
    fn of_what_it_has_left_behind_nothing_is_read_after_a_while() {
        let (push, busy) = (PushHandle::new(), Arc::<Busy>::default());
        push.connect(Arc::clone(&busy) as _);
        let (thread, _inbox, poll) = mailbox().unwrap();
        let mut process = process("yes", poll.registry());
        let (began, mut buffer) = (Instant::now(), [0; PIECE_BYTES]);
        process.dead_since = Some(began);
        for _ in 0..3 {
            // There is always more.
            while !matches!(process.piece, Piece::Pushed) {
                process.send(&push, &thread, &mut buffer, began).unwrap();
                thread::yield_now();
            }
            process.taken();
        }
        assert!(process.waits_for_time() && !process.is_over(began));
        process.send(&push, &thread, &mut buffer, began + AFTERMATH).unwrap();
        assert!(process.is_over(began + AFTERMATH));
    }

    #[test]
    fn a_piece_for_which_there_is_no_room_is_held_and_nothing_is_read_meanwhile() {
        let (push, busy) = (PushHandle::new(), Arc::<Busy>::default());
        push.connect(Arc::clone(&busy) as _);
        push.raw(client_id(2), vec![b'x'; (16 << 20) - 64]).unwrap();
        let (thread, _inbox, poll) = mailbox().unwrap();
        let mut process = process("echo first; read -r _; echo second", poll.registry());
        let (began, mut buffer) = (Instant::now(), [0; PIECE_BYTES]);
        while !matches!(process.piece, Piece::Held { .. }) {
            process.send(&push, &thread, &mut buffer, began).unwrap();
            thread::yield_now();
        }
        assert_eq!(process.next_due(began), Some(began + PUSH_AGAIN));
        busy.0.lock().unwrap().clear();
        process.send(&push, &thread, &mut buffer, began).unwrap();
        assert!(matches!(process.piece, Piece::Held { .. }), "it is not time for that");
        process.send(&push, &thread, &mut buffer, began + PUSH_AGAIN).unwrap();
        assert!(matches!(process.piece, Piece::Pushed));
        assert_eq!(busy.0.lock().unwrap().len(), 1);
    }
}
