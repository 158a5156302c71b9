//! What a connection waits for: each expectation looks at the front of what has come until it is met, impossible or
//! late, and consumes only what meets it.

use std::sync::Arc;
use std::time::Duration;

use super::connection::Link;
use super::error::{Came, Miss, SessionError};
use super::event::Act;
use super::socket_io::{SendErrors, State, Wire};
use super::transcript::Log;
use crate::net::{Deadline, Eol, PeerEnd};

/// How long the rest of a line may take that came where nothing should have.
const LINE_REST: Duration = Duration::from_millis(50);

/// What one connection expects now.
#[derive(Debug)]
pub(super) struct Expectation<'a> {
    link: &'a mut Link,
    log: &'a mut Log,
    wire: Arc<Wire>,
    pub(super) deadline: Deadline,
    pub(super) eol: Eol,
    /// Lines that are not what is expected are consumed, too.
    pub(super) skipping: bool,
    /// How many that were.
    pub(super) skipped_lines: usize,
}

impl<'a> Expectation<'a> {
    pub(super) fn new(
        link: &'a mut Link,
        log: &'a mut Log,
        deadline: Deadline,
        eol: Eol,
        skipping: bool,
    ) -> Result<Self, SessionError> {
        let wire = link.wire()?;
        Ok(Self { link, log, wire, deadline, eol, skipping, skipped_lines: 0 })
    }

    /// The connection's number within its crowd.
    pub(super) fn member(&self) -> usize {
        self.link.member
    }

    /// A line that `judge` accepts. It judges on the caller's thread, while reading goes on.
    pub(super) fn line(&mut self, mut judge: impl FnMut(&[u8]) -> bool) -> Result<(), Miss> {
        loop {
            let line = self.next_line()?;
            let text = strip(self.eol, &line);
            let is_met = judge(text);
            if is_met {
                self.take_line(&line);
                return Ok(());
            }
            let miss = Miss::impossible(Came::Line(text.to_vec()), line.len());
            if !self.skipping {
                return Err(miss);
            }
            self.skip(&line, miss)?;
        }
    }

    /// Exactly `expected`.
    pub(super) fn bytes(&mut self, expected: &[u8]) -> Result<(), Miss> {
        loop {
            // Many bytes come in many pieces, and none is compared twice.
            let mut same = 0;
            let found = self.wire.wait(&self.deadline, SendErrors::Matter, |state| {
                let unread = state.inbox.unread();
                let count = unread.len().min(expected.len());
                let is_same = unread[same..count] == expected[same..count];
                same = count;
                match (is_same, state.end) {
                    (true, _) if count == expected.len() => Some(Ok(())),
                    (true, None) => demand(state, expected.len()),
                    (true, Some(end)) if count == 0 => Some(Err(Miss::impossible(Came::End(end), 0))),
                    _ => Some(Err(Miss::impossible(Came::Bytes(unread[..count].to_vec()), count))),
                }
            });
            match found {
                Some(Ok(())) => {
                    self.take(expected.len(), Act::ReceivedBytes(expected.to_vec()));
                    return Ok(());
                }
                Some(Err(miss)) if self.skipping && miss.bytes > 0 => {
                    let line = self.next_line()?;
                    self.skip(&line, miss)?;
                }
                Some(Err(miss)) => return Err(miss),
                None => return Err(self.late_bytes()),
            }
        }
    }

    /// The next `count` bytes, whatever they are.
    pub(super) fn count(&mut self, count: usize) -> Result<Vec<u8>, Miss> {
        let found = self.wire.wait(&self.deadline, SendErrors::Matter, |state| {
            let unread = state.inbox.unread();
            match (unread.get(..count), state.end) {
                (Some(bytes), _) => Some(Ok(bytes.to_vec())),
                (None, None) => demand(state, count),
                (None, Some(end)) if unread.is_empty() => Some(Err(Miss::impossible(Came::End(end), 0))),
                (None, Some(_)) => Some(Err(Miss::impossible(Came::Bytes(unread.to_vec()), unread.len()))),
            }
        });
        match found {
            Some(Ok(bytes)) => {
                self.take(count, Act::ReceivedBytes(bytes.clone()));
                Ok(bytes)
            }
            Some(Err(miss)) => Err(miss),
            None => Err(self.late_bytes()),
        }
    }

    /// As [`end`](Self::end), and explains why something could not be sent.
    pub(super) fn end_forgiving(&mut self, accepts: fn(PeerEnd) -> bool) -> Result<(), Miss> {
        self.end(accepts)?;
        self.wire.lock().send_error = None;
        Ok(())
    }

    /// The peer's end, as `accepts` says, behind the last line.
    pub(super) fn end(&mut self, accepts: fn(PeerEnd) -> bool) -> Result<(), Miss> {
        let end = loop {
            let found = self.wire.wait(&self.deadline, SendErrors::Forgiven, |state| match state.end {
                end if !state.inbox.unread().is_empty() => Some((end, false)),
                Some(end) => Some((Some(end), true)),
                None => None,
            });
            match found {
                Some((Some(end), true)) if accepts(end) => break end,
                Some((Some(end), true)) => return Err(Miss::impossible(Came::End(end), 0)),
                Some(_) if self.skipping => {
                    let line = self.next_line_by(SendErrors::Forgiven)?;
                    self.skip(&line, self.something())?;
                }
                Some(_) => return Err(self.something()),
                None => return Err(Miss::impossible(Came::Nothing, 0).late()),
            }
        };
        self.link.record(self.log, Act::Ended(end));
        self.link.ended();
        Ok(())
    }

    /// No byte and no end until the deadline, which is no failure here.
    pub(super) fn nothing(&mut self) -> Result<(), Miss> {
        let found = self.wire.wait(&self.deadline, SendErrors::Matter, |state| match state.end {
            _ if !state.inbox.unread().is_empty() => Some(None),
            Some(end) => Some(Some(end)),
            None => None,
        });
        match found {
            Some(Some(end)) => Err(Miss::impossible(Came::End(end), 0)),
            Some(None) => Err(self.something()),
            None if self.wire.lock().send_error.is_some() => Err(Miss::impossible(Came::Nothing, 0)),
            None => Ok(()),
        }
    }

    fn next_line(&self) -> Result<Vec<u8>, Miss> {
        self.next_line_by(SendErrors::Matter)
    }

    /// Waits for a whole line and copies it, its ending included.
    fn next_line_by(&self, errors: SendErrors) -> Result<Vec<u8>, Miss> {
        let limit = self.wire.unread_bytes_max();
        let found = self.wire.wait(&self.deadline, errors, |state| {
            if let Some(line) = state.inbox.line() {
                return Some(Ok(line.to_vec()));
            }
            match (state.inbox.unread(), state.end) {
                ([], Some(end)) => Some(Err(Miss::impossible(Came::End(end), 0))),
                (unread, _) if unread.len() >= limit => Some(Err(Miss::impossible(Came::TooLong { limit }, 0))),
                (unread, Some(_)) => Some(Err(unfinished(unread))),
                (_, None) => None,
            }
        });
        found.unwrap_or_else(|| match self.wire.lock().inbox.unread() {
            [] => Err(Miss::impossible(Came::Nothing, 0).late()),
            unread => Err(unfinished(unread).late()),
        })
    }

    /// The line, or the start of one, that came where nothing should have.
    fn something(&self) -> Miss {
        let remaining = self.deadline.remaining().unwrap_or(Some(Duration::ZERO));
        let rest = Deadline::after(Some(remaining.unwrap_or(LINE_REST).min(LINE_REST)));
        // A failure that shows all of the line is worth more than one that comes a little sooner.
        self.wire.wait(&rest, SendErrors::Forgiven, |state| {
            (state.inbox.line().is_some() || state.end.is_some()).then_some(())
        });
        let mut state = self.wire.lock();
        match state.inbox.line() {
            Some(line) => Miss::impossible(Came::Line(strip(self.eol, line).to_vec()), line.len()),
            None => unfinished(state.inbox.unread()),
        }
    }

    fn late_bytes(&self) -> Miss {
        let mut state = self.wire.lock();
        state.demand = 0;
        match state.inbox.unread() {
            [] => Miss::impossible(Came::Nothing, 0).late(),
            unread => Miss::impossible(Came::Bytes(unread.to_vec()), unread.len()).late(),
        }
    }

    /// Consumes a line in vain, unless the time is over: lines that never end to come are no reason to go on.
    fn skip(&mut self, line: &[u8], miss: Miss) -> Result<(), Miss> {
        if self.deadline.remaining().is_err() {
            return Err(miss.late());
        }
        self.take_line(line);
        self.skipped_lines += 1;
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) {
        self.take(line.len(), Act::ReceivedLine(strip(self.eol, line).to_vec()));
    }

    fn take(&mut self, count: usize, act: Act) {
        self.wire.consume(count);
        self.link.record(self.log, act);
    }
}

/// Lets the reading thread go on until `count` bytes are unread.
fn demand<T>(state: &mut State, count: usize) -> Option<T> {
    state.demand = count;
    None
}

fn unfinished(unread: &[u8]) -> Miss {
    Miss::impossible(Came::Unfinished(unread.to_vec()), unread.len())
}

/// The line without its ending. In lines that end with LF alone, a CR before it is part of the line.
pub(super) fn strip(eol: Eol, line: &[u8]) -> &[u8] {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    match eol {
        Eol::Lf => text,
        Eol::CrLf => text.strip_suffix(b"\r").unwrap_or(text),
    }
}
