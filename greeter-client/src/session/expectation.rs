//! What a connection waits for: each expectation looks at the front of what has come until it is
//! met, impossible or late, and consumes only what meets it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::connection::SessionConnection;
use super::error::{Actual, Observed, SessionError};
use super::event::Event;
use super::prompt::{LineStart, MAX_PROMPT_BYTES, next_start};
use super::socket_io::{IoState, SendErrors, SocketIo};
use super::transcript::SessionLog;
use crate::net::{Deadline, Eol, StreamEnd};

/// How long the rest of a line may take that came where nothing should have.
const LINE_REST: Duration = Duration::from_millis(50);

/// What a line is among several that are [expected](super::ConnectionHandle::expect_lines) at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFit {
    /// One of them, and more are to come.
    Fits,
    /// One of them, and the last.
    Last,
    /// None of them.
    Wrong,
}

/// Which lines may come before what is expected; they are consumed, too.
pub(super) enum Skips<'a> {
    Nothing,
    Everything,
    /// For a member of a crowd it is asked with its number.
    If(SkipRule<'a>),
}

/// Whether a line may be skipped, of a member of a crowd or of nobody.
type SkipRule<'a> = Box<dyn FnMut(Option<usize>, &[u8]) -> bool + 'a>;

impl Skips<'_> {
    fn has(&mut self, member: Option<usize>, line: &[u8]) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::If(has) => has(member, line),
        }
    }
}

impl fmt::Debug for Skips<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Everything => "Everything",
            Self::If(_) => "If(..)",
        })
    }
}

/// What one connection expects now.
#[derive(Debug)]
pub(super) struct Expectation<'a, 's> {
    connection: &'a mut SessionConnection,
    log: &'a mut SessionLog,
    socket_io: Arc<SocketIo>,
    pub(super) deadline: Deadline,
    pub(super) eol: Eol,
    skips: &'a mut Skips<'s>,
    /// How many lines that were.
    pub(super) skipped_lines: usize,
}

impl<'a, 's> Expectation<'a, 's> {
    pub(super) fn new(
        connection: &'a mut SessionConnection,
        log: &'a mut SessionLog,
        deadline: Deadline,
        eol: Eol,
        skips: &'a mut Skips<'s>,
    ) -> Result<Self, SessionError> {
        let socket_io = connection.socket_io()?;
        Ok(Self { connection, log, socket_io, deadline, eol, skips, skipped_lines: 0 })
    }

    /// The connection's number within its crowd.
    pub(super) fn member(&self) -> Option<usize> {
        self.connection.member
    }

    /// A line that `accepts` accepts. It runs on the caller's thread, while reading goes on.
    pub(super) fn line(&mut self, mut accepts: impl FnMut(&[u8]) -> bool) -> Result<(), Observed> {
        loop {
            let line = self.next_line()?;
            let text = self.eol.strip(&line);
            let is_met = accepts(text);
            if is_met {
                self.take_line(&line);
                return Ok(());
            }
            self.skip(&line, self.whole(&line))?;
        }
    }

    /// Lines, until `judge` says which is the last one. Nothing is consumed before that.
    pub(super) fn lines(&mut self, mut judge: impl FnMut(&[u8]) -> LineFit) -> Result<(), Observed> {
        // How much of what is unread has been judged; and where its lines end.
        let mut judged = 0;
        let mut ends = Vec::new();
        loop {
            let line = self.line_behind(judged)?;
            let observed = Observed::new(Actual::Line(self.eol.strip(&line).to_vec()), judged + line.len());
            let fit = judge(self.eol.strip(&line));
            if fit == LineFit::Wrong && !self.skips.has(self.connection.member, self.eol.strip(&line)) {
                return Err(observed);
            }
            if self.deadline.remaining().is_err() && fit != LineFit::Last {
                return Err(observed.timed_out());
            }
            judged += line.len();
            ends.push(line.len());
            if fit == LineFit::Last {
                break;
            }
        }
        for length in ends {
            let line = self.socket_io.lock().received.unread()[..length].to_vec();
            self.take_line(&line);
        }
        Ok(())
    }

    /// Waits for a whole line behind the first `judged` bytes, which are whole lines.
    fn line_behind(&self, judged: usize) -> Result<Vec<u8>, Observed> {
        let limit = self.socket_io.max_unread_bytes();
        // Every byte is searched once.
        let mut searched = judged;
        let found = self.socket_io.wait(&self.deadline, SendErrors::Fatal, |state| {
            let unread = state.received.unread();
            if let Some(lf) = memchr::memchr(b'\n', &unread[searched..]) {
                return Some(Ok(unread[judged..=searched + lf].to_vec()));
            }
            searched = unread.len();
            match (&unread[judged..], state.end) {
                ([], Some(end)) => Some(Err(Observed::new(Actual::End(end), judged))),
                (_, None) if unread.len() >= limit => Some(Err(Observed::new(Actual::LineTooLong { limit }, judged))),
                (rest, Some(_)) => Some(Err(unfinished(rest))),
                (_, None) => None,
            }
        });
        found.unwrap_or_else(|| match &self.socket_io.lock().received.unread()[judged..] {
            [] => Err(Observed::new(Actual::Nothing, judged).timed_out()),
            rest => Err(unfinished(rest).timed_out()),
        })
    }

    /// Exactly `expected`.
    pub(super) fn bytes(&mut self, expected: &[u8]) -> Result<(), Observed> {
        loop {
            // Many bytes come in many pieces, and none is compared twice.
            let mut same = 0;
            let found = self.socket_io.wait(&self.deadline, SendErrors::Fatal, |state| {
                let unread = state.received.unread();
                let count = unread.len().min(expected.len());
                let is_same = unread[same..count] == expected[same..count];
                same = count;
                match (is_same, state.end) {
                    (true, _) if count == expected.len() => Some(Ok(())),
                    (true, None) => demand(state, expected.len()),
                    (true, Some(end)) if count == 0 => Some(Err(Observed::new(Actual::End(end), 0))),
                    _ => Some(Err(Observed::new(Actual::Bytes(unread[..count].to_vec()), count))),
                }
            });
            match found {
                Some(Ok(())) => {
                    self.take(expected.len(), Event::ReceivedBytes(expected.to_vec()));
                    return Ok(());
                }
                Some(Err(observed)) if self.skips_some() && observed.bytes > 0 => {
                    let line = self.next_line()?;
                    self.skip(&line, self.whole(&line))?;
                }
                Some(Err(observed)) => return Err(observed),
                None => return Err(self.bytes_at_timeout()),
            }
        }
    }

    /// The shortest start of a line that ends with `ending` and that `accepts` accepts.
    ///
    /// It is decided at each place where `ending` ends, in their order and by the whole from the
    /// front: so it makes no difference how the bytes were cut. That what is unread at the moment
    /// is the prompt would be a rule of packets.
    pub(super) fn prompt(&mut self, ending: &[u8], mut accepts: impl FnMut(&[u8]) -> bool) -> Result<(), Observed> {
        // Where it cannot end, up to here.
        let mut tried = 0;
        loop {
            match self.next_start(ending, tried)? {
                StartOrLine::Start(start) if accepts(&start) => {
                    self.take(start.len(), Event::ReceivedBytes(start));
                    return Ok(());
                }
                StartOrLine::Start(start) => tried = start.len(),
                StartOrLine::Line(observed) if self.skips_some() => {
                    let line = self.next_line()?;
                    self.skip(&line, observed)?;
                    tried = 0;
                }
                StartOrLine::Line(observed) => return Err(observed),
            }
        }
    }

    /// Waits until more of the line may be the prompt than its first `tried` bytes, or none of it
    /// can.
    fn next_start(&self, ending: &[u8], tried: usize) -> Result<StartOrLine, Observed> {
        let limit = MAX_PROMPT_BYTES.min(self.socket_io.max_unread_bytes());
        let found = self.socket_io.wait(&self.deadline, SendErrors::Fatal, |state| {
            let unread = state.received.unread();
            Some(match (next_start(unread, ending, tried, limit), state.end) {
                (LineStart::Candidate(end), _) => Ok(StartOrLine::Start(unread[..end].to_vec())),
                (LineStart::Ended(bytes), _) => {
                    let line = self.eol.strip(&unread[..bytes]).to_vec();
                    Ok(StartOrLine::Line(Observed::new(Actual::Line(line), bytes)))
                }
                (LineStart::TooLong, _) => {
                    Ok(StartOrLine::Line(Observed::new(Actual::Bytes(unread[..limit].to_vec()), limit)))
                }
                (LineStart::Open, None) => return None,
                (LineStart::Open, Some(end)) if unread.is_empty() => Err(Observed::new(Actual::End(end), 0)),
                (LineStart::Open, Some(_)) => Err(unfinished(unread)),
            })
        });
        found.unwrap_or_else(|| Err(self.line_at_timeout()))
    }

    /// The next `count` bytes, if `accepts` accepts them.
    pub(super) fn count(&mut self, count: usize, accepts: impl FnOnce(&[u8]) -> bool) -> Result<(), Observed> {
        let found = self.socket_io.wait(&self.deadline, SendErrors::Fatal, |state| {
            let unread = state.received.unread();
            match (unread.get(..count), state.end) {
                (Some(bytes), _) => Some(Ok(bytes.to_vec())),
                (None, None) => demand(state, count),
                (None, Some(end)) if unread.is_empty() => Some(Err(Observed::new(Actual::End(end), 0))),
                (None, Some(_)) => Some(Err(Observed::new(Actual::Bytes(unread.to_vec()), unread.len()))),
            }
        });
        match found {
            Some(Ok(bytes)) if !accepts(&bytes) => Err(Observed::new(Actual::Bytes(bytes), count)),
            Some(Ok(bytes)) => {
                self.take(count, Event::ReceivedBytes(bytes));
                Ok(())
            }
            Some(Err(observed)) => Err(observed),
            None => Err(self.bytes_at_timeout()),
        }
    }

    /// As [`end`](Self::end), and explains why something could not be sent.
    pub(super) fn end_forgiving(&mut self, accepts: fn(StreamEnd) -> bool) -> Result<(), Observed> {
        self.end(accepts)?;
        self.socket_io.lock().send_error = None;
        Ok(())
    }

    /// The peer's end, as `accepts` says, behind the last line.
    pub(super) fn end(&mut self, accepts: fn(StreamEnd) -> bool) -> Result<(), Observed> {
        let end = loop {
            let found = self.socket_io.wait(&self.deadline, SendErrors::Ignored, |state| match state.end {
                end if !state.received.unread().is_empty() => Some((end, false)),
                Some(end) => Some((Some(end), true)),
                None => None,
            });
            match found {
                Some((Some(end), true)) if accepts(end) => break end,
                Some((Some(end), true)) => return Err(Observed::new(Actual::End(end), 0)),
                Some(_) if self.skips_some() => {
                    let line = self.next_line_by(SendErrors::Ignored)?;
                    self.skip(&line, self.something())?;
                }
                Some(_) => return Err(self.something()),
                None => return Err(Observed::new(Actual::Nothing, 0).timed_out()),
            }
        };
        self.connection.record(self.log, Event::Ended(end));
        self.connection.mark_ended();
        Ok(())
    }

    /// No byte and no end until the deadline, which is no failure here.
    pub(super) fn nothing(&mut self) -> Result<(), Observed> {
        let found = self.socket_io.wait(&self.deadline, SendErrors::Fatal, |state| match state.end {
            _ if !state.received.unread().is_empty() => Some(None),
            Some(end) => Some(Some(end)),
            None => None,
        });
        match found {
            Some(Some(end)) => Err(Observed::new(Actual::End(end), 0)),
            Some(None) => Err(self.something()),
            None if self.socket_io.lock().send_error.is_some() => Err(Observed::new(Actual::Nothing, 0)),
            None => Ok(()),
        }
    }

    fn next_line(&self) -> Result<Vec<u8>, Observed> {
        self.next_line_by(SendErrors::Fatal)
    }

    /// Waits for a whole line and copies it, its ending included.
    fn next_line_by(&self, errors: SendErrors) -> Result<Vec<u8>, Observed> {
        let limit = self.socket_io.max_unread_bytes();
        let found = self.socket_io.wait(&self.deadline, errors, |state| {
            if let Some(line) = state.received.line() {
                return Some(Ok(line.to_vec()));
            }
            match (state.received.unread(), state.end) {
                ([], Some(end)) => Some(Err(Observed::new(Actual::End(end), 0))),
                (unread, _) if unread.len() >= limit => Some(Err(Observed::new(Actual::LineTooLong { limit }, 0))),
                (unread, Some(_)) => Some(Err(unfinished(unread))),
                (_, None) => None,
            }
        });
        found.unwrap_or_else(|| Err(self.line_at_timeout()))
    }

    fn line_at_timeout(&self) -> Observed {
        match self.socket_io.lock().received.unread() {
            [] => Observed::new(Actual::Nothing, 0).timed_out(),
            unread => unfinished(unread).timed_out(),
        }
    }

    /// The line, or the start of one, that came where nothing should have.
    fn something(&self) -> Observed {
        let remaining = self.deadline.remaining().unwrap_or(Some(Duration::ZERO));
        let rest = Deadline::after(Some(remaining.unwrap_or(LINE_REST).min(LINE_REST)));
        // A failure that shows all of the line is worth more than one that comes a little sooner.
        self.socket_io.wait(&rest, SendErrors::Ignored, |state| {
            (state.received.line().is_some() || state.end.is_some()).then_some(())
        });
        let mut state = self.socket_io.lock();
        match state.received.line() {
            Some(line) => self.whole(line),
            None => unfinished(state.received.unread()),
        }
    }

    fn bytes_at_timeout(&self) -> Observed {
        let mut state = self.socket_io.lock();
        state.demand = 0;
        match state.received.unread() {
            [] => Observed::new(Actual::Nothing, 0).timed_out(),
            unread => Observed::all(Actual::Bytes(unread.to_vec())).timed_out(),
        }
    }

    fn whole(&self, line: &[u8]) -> Observed {
        Observed::new(Actual::Line(self.eol.strip(line).to_vec()), line.len())
    }

    /// Whether a line may come before what is expected, so that its end is worth waiting for.
    fn skips_some(&self) -> bool {
        !matches!(self.skips, Skips::Nothing)
    }

    /// Consumes a line that may come before what is expected, unless the time is over: lines that
    /// never end to come are no reason to go on.
    fn skip(&mut self, line: &[u8], observed: Observed) -> Result<(), Observed> {
        if !self.skips.has(self.connection.member, self.eol.strip(line)) {
            return Err(observed);
        }
        if self.deadline.remaining().is_err() {
            return Err(observed.timed_out());
        }
        self.take_line(line);
        self.skipped_lines += 1;
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) {
        self.take(line.len(), Event::ReceivedLine(self.eol.strip(line).to_vec()));
    }

    fn take(&mut self, count: usize, event: Event) {
        self.socket_io.consume(count);
        self.connection.record(self.log, event);
    }
}

/// What has come of a line that is to begin with a prompt.
enum StartOrLine {
    /// This may be the prompt.
    Start(Vec<u8>),
    /// Nothing of it can be; what came in the prompt's place.
    Line(Observed),
}

/// Lets the reading thread go on until `count` bytes are unread.
fn demand<T>(state: &mut IoState, count: usize) -> Option<T> {
    state.demand = count;
    None
}

fn unfinished(unread: &[u8]) -> Observed {
    Observed::all(Actual::PartialLine(unread.to_vec()))
}
