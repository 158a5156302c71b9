//! A process that runs, with its pipes in a poll: bytes in and out, and an orderly end. Must not
//! know what the bytes say.

use std::io::{self, ErrorKind, Read, Write};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use mio::unix::pipe::{Receiver, Sender};
use mio::{Interest, Registry, Token};
use rustix::net::{Shutdown, shutdown};
use rustix::process::Signal;

use super::process::{Process, StartedProcess};
use super::stderr::StderrLines;

/// The most processes that a program runs in.
pub(super) const MAX_CHILDREN: usize = 10_000;

/// How long a process may take for each step of its end: the end of its stdin, SIGTERM, SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// How often processes are looked at whose end is no event, or that have closed their stdout.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long whoever stops waits for processes, which SIGKILL has ended by then.
pub(super) const MAX_STOP: Duration = Duration::from_secs(6);

/// How much is read at once. It is also what a pipe holds.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// How many bytes of what was not to be said are shown.
const MAX_SHOWN: usize = 80;

/// A process, and our ends of its pipes.
#[derive(Debug)]
pub(super) struct RunningChild {
    process: Process,
    /// None once nothing more is to be said to it.
    stdin: Option<Sender>,
    stdout: Option<Receiver>,
    stderr: StderrLines,
    /// When it closed its stdout, if it has.
    closed: Option<Instant>,
    /// When it is sent which signal, once it is to end.
    ends: Option<(Instant, Signal)>,
}

/// A descriptor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Stdin,
    Stdout,
    Stderr,
    Life,
}

impl Channel {
    const ALL: [Self; 4] = [Self::Stdin, Self::Stdout, Self::Stderr, Self::Life];

    /// Returns the token of a descriptor of the process with this number.
    pub(super) const fn token(self, number: usize) -> Token {
        Token(number * Self::ALL.len() + self as usize)
    }

    /// Returns the number of the process, and which descriptor of it has this token.
    pub(super) const fn of(token: Token) -> (usize, Self) {
        (token.0 / Self::ALL.len(), Self::ALL[token.0 % Self::ALL.len()])
    }
}

impl RunningChild {
    /// Has its descriptors watched, under the tokens of this number.
    pub(super) fn new(started: StartedProcess, number: usize, registry: &Registry) -> io::Result<Self> {
        let StartedProcess { process, mut stdin, mut stdout, mut stderr } = started;
        registry.register(&mut stdin, Channel::Stdin.token(number), Interest::WRITABLE)?;
        registry.register(&mut stdout, Channel::Stdout.token(number), Interest::READABLE)?;
        registry.register(&mut stderr, Channel::Stderr.token(number), Interest::READABLE)?;
        process.register(registry, Channel::Life.token(number))?;
        Ok(Self {
            stderr: StderrLines::new(stderr, process.id()),
            process,
            stdin: Some(stdin),
            stdout: Some(stdout),
            closed: None,
            ends: None,
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns whether it may still be talked to.
    pub(super) const fn is_open(&self) -> bool {
        self.stdout.is_some() && self.ends.is_none()
    }

    /// Returns whether it is to end.
    pub(super) const fn is_ending(&self) -> bool {
        self.ends.is_some()
    }

    /// Returns when it closed its stdout, if it has, and was not to end.
    pub(super) fn closed(&self) -> Option<Instant> {
        self.closed.filter(|_| self.ends.is_none())
    }

    /// Returns whether it has closed its stdout, or nobody listens to it any more.
    pub(super) const fn has_closed_stdout(&self) -> bool {
        self.stdout.is_none()
    }

    /// Returns whether its end is an event. Otherwise it has to be looked for.
    pub(super) const fn is_watched(&self) -> bool {
        self.process.is_watched()
    }

    /// Returns whether it has ended, and waits to be reaped.
    pub(super) fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Ends its stdin.
    pub(super) fn close_stdin(&mut self) {
        if let Some(stdin) = self.stdin.take() {
            // Of a socket, it is one direction that ends. A pipe has no other.
            let _ = shutdown(&stdin, Shutdown::Write);
        }
    }

    /// Writes what the pipe takes, and returns how much that was. One that does not read any more
    /// may have answered all the same: what it has written is read to the end.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.try_write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
            written => written,
        }
    }

    /// Does the same, and that nobody reads from the pipe any more is an error.
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < bytes.len()
            && let Some(stdin) = &mut self.stdin
        {
            match stdin.write(&bytes[written..]) {
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) if written > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    /// Reads once what it has written. None is nothing for now.
    pub(super) fn read(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<Option<usize>> {
        while let Some(stdout) = &mut self.stdout {
            match stdout.read(buffer) {
                // Mostly it is about to end, which tells more.
                Ok(0) => {
                    self.stdout = None;
                    self.closed = Some(now);
                }
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Of a socket, it is the end of a program that has not read all.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    self.stdout = None;
                    self.closed = Some(now);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Returns how many bytes lie in the pipe to it. The pipe tells that also when nobody reads
    /// from it any more.
    pub(super) fn unread(&self) -> usize {
        let in_pipe = self.stdin.as_ref().and_then(|stdin| rustix::io::ioctl_fionread(stdin).ok());
        in_pipe.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default()
    }

    /// Reads what it says to people. Returns whether there may be more.
    pub(super) fn read_stderr(&mut self, buffer: &mut [u8]) -> bool {
        self.stderr.read(buffer)
    }

    /// Returns the last line that it has said to people.
    pub(super) fn last_words(&self) -> &str {
        self.stderr.last_line()
    }

    /// Has it end: nothing more is said to it, and after a while it is told by signals. One that
    /// has broken the rule is told at once.
    pub(super) fn end(&mut self, is_at_fault: bool, now: Instant) {
        (self.stdin, self.stdout) = (None, None);
        if is_at_fault {
            self.process.signal(Signal::TERM);
        }
        self.ends = Some((now + GRACE, if is_at_fault { Signal::KILL } else { Signal::TERM }));
    }

    /// Returns when it is to be sent the next signal.
    pub(super) fn next_signal(&self) -> Option<Instant> {
        self.ends.map(|(at, _)| at)
    }

    /// Sends it the signal that is due.
    pub(super) fn signal_if_due(&mut self, now: Instant) {
        if let Some((at, signal)) = self.ends
            && at <= now
        {
            self.process.signal(signal);
            self.ends = Some((now + GRACE, Signal::KILL));
        }
    }

    /// Returns how it has ended, once it has.
    pub(super) fn try_reap(&mut self, buffer: &mut [u8]) -> Option<ExitStatus> {
        let status = self.process.try_reap()?;
        self.read_stderr(buffer);
        self.stderr.flush();
        Some(status)
    }
}

/// Shows what a process has written, as far as that helps to find where.
pub(super) fn shown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(MAX_SHOWN)];
    let more = if start.len() < bytes.len() { " …" } else { "" };
    format!("\"{}\"{more}", start.escape_ascii())
}
