//! One process that answers lines: bytes into its stdin, and out of its stdout. Must not decide
//! which lines it gets, or what follows if it breaks the rule: one line for each, and nothing else.

use std::collections::VecDeque;
use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use memchr::memchr;
use mio::Registry;

use super::process::StartedProcess;
use super::running::{RunningChild, shown};
use super::waiting::AskedLine;

/// A process, and the lines that it has been given.
#[derive(Debug)]
pub(super) struct ExecChild {
    pub(super) running: RunningChild,
    /// The lines that it has not answered, the oldest first.
    asked: VecDeque<AskedLine>,
    /// What is to be written, and how much of it the pipe has taken.
    unwritten: Vec<u8>,
    written: usize,
    /// The reply that has begun.
    begun: Vec<u8>,
    /// Until when its next line has to come.
    pub(super) until: Option<Instant>,
    answered: u64,
    /// After how many lines it is to be replaced.
    pub(super) lines_max: u64,
}

/// What a process has done wrong. It is not used any more then: whose answer the next line would
/// be, nobody knows.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExecFault {
    #[error("it has ended: {0}")]
    Ended(ExitStatus),
    #[error("it has closed its stdout")]
    Closed,
    #[error("it wrote when nothing was asked: {}", shown(.0))]
    Stray(Vec<u8>),
    #[error("it wrote more than one line for one: {}", shown(.0))]
    Surplus(Vec<u8>),
    #[error("its line is longer than {0} bytes")]
    TooLong(usize),
    #[error("it did not answer in time: {0}")]
    Late(Silence),
    #[error("a pipe to it failed: {0}")]
    Pipe(io::Error),
}

/// What is known of a process that has not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silence {
    #[error("it has not read the line")]
    Unread,
    #[error(
        "it has read the line and written nothing; is its output buffered? \
         (python3 -u, perl: $|=1, awk: fflush(), C: fflush(stdout), others: stdbuf -oL)"
    )]
    Unwritten,
    #[error("it has written {0} bytes without a line feed; is its output buffered?")]
    Unfinished(usize),
}

/// What came of the bytes that a process has written.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The lines that are answered, with their answers.
    pub(super) answered: Vec<(AskedLine, Vec<u8>)>,
    pub(super) fault: Option<ExecFault>,
}

impl ExecChild {
    /// Has its descriptors watched, under the tokens of this number.
    pub(super) fn new(started: StartedProcess, number: usize, registry: &Registry) -> io::Result<Self> {
        Ok(Self {
            running: RunningChild::new(started, number, registry)?,
            asked: VecDeque::new(),
            unwritten: Vec::new(),
            written: 0,
            begun: Vec::new(),
            until: None,
            answered: 0,
            lines_max: u64::MAX,
        })
    }

    /// Returns whether it may be given lines.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_open() && self.asked.is_empty()
    }

    /// Returns whether it has answered a line.
    pub(super) const fn has_answered(&self) -> bool {
        self.answered > 0
    }

    /// Returns whether it has answered as many lines as it may.
    pub(super) const fn is_worn(&self) -> bool {
        self.answered >= self.lines_max
    }

    /// Gives it lines, each to be answered within this time.
    pub(super) fn give(
        &mut self,
        lines: VecDeque<AskedLine>,
        timeout: Option<Duration>,
        now: Instant,
    ) -> Result<(), ExecFault> {
        debug_assert!(self.is_idle(), "it is asked once it has answered");
        self.unwritten.clear();
        self.written = 0;
        lines.iter().for_each(|line| self.unwritten.extend_from_slice(&line.text));
        self.asked = lines;
        self.begin_wait(timeout, now);
        self.write()
    }

    /// The time of the first of its lines begins, unless it began with another process.
    fn begin_wait(&mut self, timeout: Option<Duration>, now: Instant) {
        self.until = self.asked.front_mut().and_then(|line| {
            line.until = line.until.or_else(|| now.checked_add(timeout?));
            line.until
        });
    }

    /// Writes what the pipe takes.
    pub(super) fn write(&mut self) -> Result<(), ExecFault> {
        let written = self.running.write(&self.unwritten[self.written..]).map_err(ExecFault::Pipe)?;
        self.written += written;
        Ok(())
    }

    /// Reads what it has written, up to the first fault.
    pub(super) fn read(
        &mut self,
        max_reply_bytes: usize,
        timeout: Option<Duration>,
        buffer: &mut [u8],
        now: Instant,
    ) -> Progress {
        let mut progress = Progress::default();
        while progress.fault.is_none() {
            match self.running.read(buffer, now) {
                Ok(Some(bytes)) => {
                    self.take(&buffer[..bytes], max_reply_bytes, &mut progress);
                    if !progress.answered.is_empty() {
                        self.begin_wait(timeout, now);
                    }
                    // There was no more.
                    if bytes < buffer.len() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => progress.fault = Some(ExecFault::Pipe(error)),
            }
        }
        progress
    }

    /// Takes bytes that it has written.
    fn take(&mut self, mut bytes: &[u8], max_reply_bytes: usize, progress: &mut Progress) {
        while !bytes.is_empty() {
            if self.asked.is_empty() {
                let bytes = bytes.to_vec();
                let has_answered_now = !progress.answered.is_empty();
                let fault = if has_answered_now { ExecFault::Surplus(bytes) } else { ExecFault::Stray(bytes) };
                progress.fault = Some(fault);
                return;
            }
            let Some(end) = memchr(b'\n', bytes) else {
                self.begun.extend_from_slice(bytes);
                break;
            };
            self.begun.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            if self.begun.last() == Some(&b'\r') {
                self.begun.pop();
            }
            if self.begun.len() > max_reply_bytes {
                break;
            }
            let answer = std::mem::take(&mut self.begun);
            self.answered += 1;
            progress.answered.extend(self.asked.pop_front().map(|line| (line, answer)));
        }
        if self.begun.len() > max_reply_bytes {
            progress.fault = Some(ExecFault::TooLong(max_reply_bytes));
        }
    }

    /// Returns how many bytes of what it was given it has not read.
    fn unread(&self) -> usize {
        self.running.unread() + self.unwritten.len() - self.written
    }

    /// Returns what is known of why it does not answer.
    pub(super) fn silence(&self) -> Silence {
        match (self.begun.len(), self.asked.front()) {
            (0, Some(line)) if self.unread() >= self.bytes_asked().min(line.text.len()) => Silence::Unread,
            (0, _) => Silence::Unwritten,
            (bytes, _) => Silence::Unfinished(bytes),
        }
    }

    fn bytes_asked(&self) -> usize {
        self.asked.iter().map(|line| line.text.len()).sum()
    }

    /// Takes the lines away that it has not answered: those of which it has read a byte, and those
    /// of which it has not, which another may be given.
    pub(super) fn take_asked(&mut self) -> (VecDeque<AskedLine>, VecDeque<AskedLine>) {
        let mut unread = self.unread();
        let mut seen = std::mem::take(&mut self.asked);
        let mut unseen = VecDeque::new();
        while seen.back().is_some_and(|line| line.text.len() <= unread)
            && let Some(line) = seen.pop_back()
        {
            unread -= line.text.len();
            unseen.push_front(line);
        }
        self.until = None;
        (seen, unseen)
    }
}
