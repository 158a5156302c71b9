//! What a client is owed: a naive model that sees what the server reads from a client, and checks
//! what it writes to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greeter_core::{Address, WhenLate, WhenRejected};

use super::responder::{LateKind, OnEnd, PANICKED, REJECTED, SLOW, SORTS, SessionHistory, ended, is_parked, when_late};
use super::rules::Rules;

/// The parts of a line. A line without a verb and a token is echoed.
pub(super) struct LineCommand<'a> {
    pub(super) verb: &'a [u8],
    pub(super) token: &'a str,
    pub(super) number: Option<u32>,
}

impl<'a> LineCommand<'a> {
    pub(super) fn of(line: &'a [u8]) -> Self {
        let mut command = line.splitn(3, |&byte| byte == b' ');
        let verb = command.next().unwrap_or_default();
        let token = command.next().and_then(|token| std::str::from_utf8(token).ok()).unwrap_or_default();
        let number = token.split_once('.').and_then(|(number, _)| number.parse().ok());
        Self { verb, token, number }
    }

    /// Returns how long the answer takes.
    pub(super) fn cost(&self) -> Duration {
        match self.verb {
            b"slow" => Duration::from_millis(3),
            b"hang" => Duration::from_secs(100),
            _ => Duration::from_micros(self.token.len() as u64),
        }
    }

    /// Returns the reply, and whether it is the last.
    fn reply(&self, line: &[u8], ending: &str) -> (Vec<u8>, bool) {
        let token = self.token;
        let reply = match (self.verb, self.number) {
            (b"silent" | b"stream" | b"pour", Some(_)) => String::new(),
            (b"later" | b"leave", Some(_)) => {
                let reply = match LateKind::of(token) {
                    LateKind::Line => format!("late {token}{ending}"),
                    LateKind::Then => format!("then {token}{ending}"),
                    LateKind::Rejection => format!("error: no {token}{ending}"),
                    LateKind::Dropped => format!("error: internal error{ending}"),
                };
                return (reply.into_bytes(), self.verb == b"leave");
            }
            (b"three", Some(_)) => format!("1 {token}{ending}2 {token}{ending}3 {token}{ending}"),
            (b"big", Some(_)) => format!("{}{ending}", token.repeat(100)),
            (b"raw", Some(_)) => format!("{token}\n\n\r\nend\n"),
            (b"panic" | b"stumble" | b"fail" | b"break", Some(_)) => format!("error: internal error{ending}"),
            (b"reject", Some(_)) => format!("error: no {token}{ending}"),
            (b"quit" | b"part", Some(_)) => return (format!("bye {token}{ending}").into_bytes(), true),
            _ => return ([line, ending.as_bytes()].concat(), false),
        };
        (reply.into_bytes(), false)
    }
}

/// Returns the number of the client with this address.
pub(super) fn number_of(address: Address) -> u32 {
    u32::from(address.port().expect("clients come by TCP")) - 1000
}

/// Everything that was read from and written to one client.
#[derive(Debug)]
pub(super) struct Oracle {
    number: u32,
    rules: Rules,
    sessions: Arc<Mutex<SessionHistory>>,
    /// The start of a line, and when it came.
    unfinished: Vec<u8>,
    unfinished_since: Instant,
    /// How many bytes of what has been read the server has decrypted, with TLS.
    pub(super) opened: Option<usize>,
    /// Lines that the server has read and not answered.
    lines: VecDeque<ExpectedReply>,
    /// The ending of the latest line whose answer was seen.
    ending: &'static str,
    /// The banner that is expected first.
    banner: Vec<u8>,
    is_banner_sent: bool,
    is_read: bool,
    /// What the server has written that is not a whole reply yet.
    written: Vec<u8>,
    latest_push: u32,
    pub(super) latest_piece: u32,
    pub(super) accepted: Instant,
    /// When the server last read something, and last wrote something that was not pushed.
    pub(super) latest_read: Instant,
    unread_since: Option<Instant>,
    /// When the client stopped sending.
    pub(super) finished: Option<Instant>,
    pub(super) latest_reply: Instant,
    pub(super) latest_write: Instant,
    pub(super) end: WireEnd,
    pub(super) lines_read: u64,
    /// How many bytes were read, and after how many of them each line ended.
    pub(super) bytes_read: usize,
    line_ends: Vec<usize>,
    lines_answered: u64,
    busy: u64,
    too_long: u64,
    late: u64,
    is_end_read: bool,
    /// Whether the rejection of a late line, which was written last, may have been the end: in the
    /// same words, a connection closes whose worker has taken too long for a line behind it.
    pub(super) may_have_timed_out: bool,
}

#[derive(Debug)]
struct ExpectedReply {
    reply: Vec<u8>,
    is_last: bool,
    is_too_long: bool,
    /// What happens if its answer, which is to come later, is too late.
    when_late: Option<WhenLate>,
    /// Whether a worker may take too long for it.
    hangs: bool,
    /// Whether it is no line, but the end of the input; and whether the responder may not be told.
    is_end: bool,
    is_optional: bool,
    /// Whether what was pushed right before it must be received before it.
    is_behind_push: bool,
    ending: &'static str,
    read: Instant,
}

/// Why nothing more may be written to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireEnd {
    NotYet,
    /// The responder closed the connection.
    Closed,
    IdleTimeout,
    SessionTimeout,
    LineTimeout,
    ReplyTimeout,
    Overloaded,
    Rejected,
    Busy,
}

impl Oracle {
    pub(super) fn new(number: u32, rules: Rules, sessions: &Arc<Mutex<SessionHistory>>, now: Instant) -> Self {
        let ending = rules.ending_for("\n");
        let banner = match number % SORTS {
            REJECTED => format!("error: not you {number}{ending}"),
            PANICKED => format!("error: internal error{ending}"),
            sort if sort % 4 == 0 => format!("hello {number}{ending}"),
            _ => String::new(),
        };
        Self {
            number,
            rules,
            sessions: Arc::clone(sessions),
            unfinished: Vec::new(),
            unfinished_since: now,
            opened: None,
            lines: VecDeque::new(),
            ending,
            is_banner_sent: banner.is_empty(),
            is_read: false,
            banner: banner.into_bytes(),
            written: Vec::new(),
            latest_push: 0,
            latest_piece: 0,
            accepted: now,
            latest_read: now,
            unread_since: None,
            finished: None,
            latest_reply: now,
            latest_write: now,
            end: WireEnd::NotYet,
            lines_read: 0,
            bytes_read: 0,
            line_ends: Vec::new(),
            lines_answered: 0,
            busy: 0,
            too_long: 0,
            late: 0,
            is_end_read: false,
            may_have_timed_out: false,
        }
    }

    /// The server may read the first byte from now on.
    pub(super) const fn begins(&mut self, now: Instant) {
        (self.latest_read, self.latest_reply, self.latest_write) = (now, now, now);
    }

    /// The server has read these bytes.
    pub(super) fn read(&mut self, bytes: &[u8], now: Instant) {
        // With the first lines, the server need not wait until the banner is sent.
        let may_be_read = self.is_settled() || self.written.is_empty() && !self.is_read && self.lines.is_empty();
        assert!(may_be_read, "client {} is read while it is owed {:?}", self.number, self.owed());
        self.is_read = true;
        assert_eq!(self.end, WireEnd::NotYet, "client {} is read after its end", self.number);
        self.lines_answered += self.lines.len() as u64;
        self.ending = self.lines.drain(..).next_back().map_or(self.ending, |line| line.ending);
        self.read_early(bytes, now);
    }

    /// The server has read these bytes right behind a handshake.
    pub(super) fn read_early(&mut self, bytes: &[u8], now: Instant) {
        if bytes.is_empty() {
            return;
        }
        self.latest_read = now;
        for &byte in bytes {
            self.bytes_read += 1;
            if self.unfinished.is_empty() {
                self.unfinished_since = now;
            }
            self.unfinished.push(byte);
            if byte == b'\n' {
                let line = std::mem::take(&mut self.unfinished);
                self.expect_reply(&line[..line.len() - 1], now);
            }
        }
    }

    fn expect_reply(&mut self, line: &[u8], read: Instant) {
        self.lines_read += 1;
        self.line_ends.push(self.bytes_read);
        let (text, ending) = line.strip_suffix(b"\r").map_or((line, "\n"), |text| (text, "\r\n"));
        let ending = self.rules.ending_for(ending);
        let max = self.rules.max_line_bytes;
        let is_too_long = text.len() > max;
        let (reply, is_last) = match is_too_long {
            true => (format!("error: line longer than {max} bytes{ending}").into_bytes(), self.closes_when_rejected()),
            false => LineCommand::of(text).reply(text, ending),
        };
        let command = LineCommand::of(text);
        let is_later =
            matches!(command.verb, b"later" | b"leave") && command.number.is_some() && is_parked(command.token);
        let when_late = (is_later && !is_too_long).then(|| when_late(command.token));
        let hangs = command.verb == b"hang";
        let is_behind_push = command.verb == b"leave" && is_parked(command.token) && self.rules.in_parallel == 1;
        let expected = ExpectedReply {
            reply,
            is_last,
            is_too_long,
            when_late,
            hangs,
            is_end: false,
            is_optional: false,
            is_behind_push,
            ending,
            read,
        };
        self.lines.push_back(expected);
    }

    /// The server has read the end of the input. With TLS, that may still be behind what it has to
    /// decrypt.
    pub(super) fn read_end(&mut self, now: Instant) {
        self.end_input(self.rules.has_tls, now);
    }

    /// If the server has ended the input itself by now, the responder was told so.
    pub(super) fn note_stop(&mut self, now: Instant) {
        if self.sessions.lock().unwrap().record(self.number).is_ended_by_stop {
            // What was not decrypted by then has not arrived.
            if let Some(opened) = self.opened {
                self.forget_behind(opened);
            }
            self.end_input(false, now);
        }
    }

    /// The responder is to be told that nothing more comes, behind what was read.
    fn end_input(&mut self, is_optional: bool, now: Instant) {
        let is_again = self.lines.back().is_some_and(|expected| expected.is_end);
        if !self.rules.wants_end || self.end != WireEnd::NotYet || self.is_end_read || is_again {
            return;
        }
        self.is_end_read = true;
        let ending = self.lines.back().map_or(self.ending, |expected| expected.ending);
        let on_end = OnEnd::of(self.number);
        let reply = match on_end {
            OnEnd::Line | OnEnd::Stream => format!("{}{ending}", ended(self.number)),
            OnEnd::Nothing => return,
            OnEnd::Failure => format!("error: internal error{ending}"),
        };
        self.lines.push_back(ExpectedReply {
            reply: reply.into_bytes(),
            is_last: false,
            is_too_long: false,
            when_late: (on_end == OnEnd::Stream).then_some(WhenLate::Wait),
            hangs: false,
            is_end: true,
            is_optional,
            is_behind_push: false,
            ending,
            read: now,
        });
    }

    /// The server writes these bytes, which must be what the client is owed. What the client has
    /// sent since `unread_since` is unread.
    pub(super) fn wrote(&mut self, bytes: &[u8], now: Instant, unread_since: Option<Instant>) {
        self.latest_write = now;
        self.unread_since = unread_since;
        self.note_stop(now);
        self.written.extend_from_slice(bytes);
        while !self.written.is_empty() {
            let written = self.written.len();
            let is_part_of_reply = self.match_one(now);
            if self.written.len() == written {
                assert!(
                    is_part_of_reply,
                    "client {} reads \"{}\" and is owed {:?}, its end being {:?}",
                    self.number,
                    self.written.escape_ascii(),
                    self.owed(),
                    self.end
                );
                return;
            }
        }
    }

    /// Removes one reply or one line from what was written, if it is there. Otherwise returns
    /// whether what is there may be the start of one.
    fn match_one(&mut self, now: Instant) -> bool {
        if self.end != WireEnd::NotYet {
            // What was pushed before the end of the stream comes after the last reply, unless the
            // client was rejected.
            return self.end == WireEnd::Closed && (self.match_push() || self.match_piece() || self.may_become_push());
        }
        if !self.is_banner_sent && self.takes(&self.banner.clone()) {
            self.latest_reply = now;
            self.is_banner_sent = true;
            if let REJECTED | PANICKED = self.number % SORTS {
                self.end = WireEnd::Closed;
            }
            return true;
        }
        if self.match_reply(now) || self.match_push() || self.match_piece() || self.match_end(now) {
            return true;
        }
        let may_become = |text: &[u8]| text.starts_with(&self.written);
        let reply =
            self.lines.iter().find(|expected| !expected.reply.is_empty()).map(|expected| expected.reply.as_slice());
        may_become(if self.is_banner_sent { reply.unwrap_or_default() } else { &self.banner })
            || may_become(b"error: busy\n")
            || may_become(b"error: busy\r\n")
            || self.ends().iter().any(|(text, _)| may_become(text.as_bytes()))
            || self.may_become_push()
    }

    /// Returns whether what was written may be the start of a pushed line.
    fn may_become_push(&self) -> bool {
        self.written.len() < 24 && !self.written.contains(&b'\n') && {
            ["push", "piece"].iter().any(|what| {
                let push = format!("{what} {}.", self.number);
                self.written.starts_with(push.as_bytes()) || push.as_bytes().starts_with(&self.written)
            })
        }
    }

    /// Removes this from what was written, if all of it is there.
    fn takes(&mut self, text: &[u8]) -> bool {
        let is_there = self.written.starts_with(text);
        if is_there {
            self.written.drain(..text.len());
        }
        is_there
    }

    fn match_reply(&mut self, now: Instant) -> bool {
        if !self.is_banner_sent {
            return false;
        }
        // A line whose reply is empty leaves nothing to see.
        let Some(next) = self.lines.iter().position(|expected| !expected.reply.is_empty()) else { return false };
        let expected = &self.lines[next];
        let (reply, is_last, read, ending) = (expected.reply.clone(), expected.is_last, expected.read, expected.ending);
        let (is_too_long, is_behind_push) = (expected.is_too_long, expected.is_behind_push);
        let may_be_late = expected.when_late == Some(WhenLate::Reject) && self.rules.timeouts.reply.is_some();
        let is_answered = self.takes(&reply);
        let is_late = !is_answered && may_be_late && self.is_late_in_place(ending, now.saturating_duration_since(read));
        // Before the responder knows a client, a rejection is not for a line but closes the
        // connection.
        let is_busy = !is_answered
            && self.rules.may_be_busy()
            && self.is_known()
            && self.takes(format!("error: busy{ending}").as_bytes());
        if is_busy {
            // Where all workers have timed out and no more may be started, lines are rejected
            // without waiting.
            let may_wait = self.rules.reply.is_none();
            let queue = self.rules.queue.unwrap_or_default();
            let has_waited = now.saturating_duration_since(read) >= queue;
            assert!(has_waited || !may_wait, "client {} did not wait in the queue for long enough", self.number);
            self.busy += 1;
            let recorded = self.sessions.lock().unwrap().record(self.number).busy;
            if self.closes_when_rejected() {
                self.end = WireEnd::Closed;
            } else if self.busy > recorded {
                // Its session could not be told of the line, so it cannot go on.
                self.end = WireEnd::Busy;
            }
        }
        if is_answered && is_behind_push && !is_too_long {
            let pushed_last = self.sessions.lock().unwrap().record(self.number).pushed_last;
            assert!(self.latest_push >= pushed_last, "client {} reads the last words too late", self.number);
        }
        if is_answered && is_too_long {
            self.too_long += 1;
            let recorded = self.sessions.lock().unwrap().record(self.number).too_long;
            assert!(self.too_long <= recorded, "the session of client {} does not know of a line", self.number);
        }
        if is_answered || is_late || is_busy {
            self.may_have_timed_out = is_late && self.may_hang();
            self.lines_answered += self.lines.drain(..=next).filter(|expected| !expected.is_end).count() as u64;
            self.ending = ending;
            self.latest_reply = now;
        }
        if (is_answered || is_late) && is_last {
            self.end = WireEnd::Closed;
        }
        is_answered || is_late || is_busy
    }

    /// Removes the rejection of a line whose answer is late from what was written, if that is there
    /// and the session knows of it.
    fn is_late_in_place(&mut self, ending: &str, took: Duration) -> bool {
        let recorded = self.sessions.lock().unwrap().record(self.number).late;
        if self.late >= recorded || !self.takes(format!("error: timed out{ending}").as_bytes()) {
            return false;
        }
        self.late += 1;
        let reply = self.rules.timeouts.reply.expect("it is set");
        assert!(took >= reply, "client {} is late after {took:?}", self.number);
        true
    }

    /// Returns whether a worker may take too long for one of the lines that wait.
    fn may_hang(&self) -> bool {
        self.rules.reply.is_some() && self.lines.iter().any(|expected| expected.hangs)
    }

    /// Returns what happens to the line that comes next, as far as can be seen, if its answer is
    /// too late.
    fn when_next_is_late(&self) -> Option<WhenLate> {
        self.lines.iter().find(|expected| !expected.reply.is_empty())?.when_late
    }

    /// Pieces come as they are, one behind the other.
    fn match_piece(&mut self) -> bool {
        let piece = format!("piece {}.{}\n", self.number, self.latest_piece + 1);
        let is_next = self.is_banner_sent && self.takes(piece.as_bytes());
        self.latest_piece += u32::from(is_next);
        is_next
    }

    /// Returns whether the end was pushed, behind which lines may have no answer.
    pub(super) fn is_closed(&self) -> bool {
        self.sessions.lock().unwrap().record(self.number).is_closed
    }

    /// Pushed lines contain their client's number, and are numbered.
    fn match_push(&mut self) -> bool {
        let Some(end) = self.written.iter().position(|&byte| byte == b'\n') else { return false };
        let line = String::from_utf8_lossy(&self.written[..=end]).into_owned();
        let Some(number) = self
            .endings()
            .find_map(|ending| line.strip_suffix(ending).filter(|line| !line.ends_with('\r')))
            .and_then(|line| line.strip_prefix("push "))
            .and_then(|line| line.strip_prefix(&self.number.to_string()))
            .and_then(|line| line.strip_prefix('.'))
        else {
            return false;
        };
        let number: u32 = number.parse().expect("a push has a number");
        assert!(number > self.latest_push, "pushes come once, and in order");
        self.latest_push = number;
        self.written.drain(..=end);
        true
    }

    fn match_end(&mut self, now: Instant) -> bool {
        let ends = self.ends();
        let Some((_, end)) = ends.into_iter().find(|(text, _)| self.takes(text.as_bytes())) else { return false };
        let number = self.number;
        let since = |earlier: Instant| now.saturating_duration_since(earlier);
        match end {
            WireEnd::IdleTimeout => {
                // A line whose answer is waited for without end is no work, and keeps the client
                // from being read.
                let waits = self.is_banner_sent && self.when_next_is_late() == Some(WhenLate::Wait);
                let is_idle = waits || self.is_settled() && self.unfinished.is_empty();
                assert!(is_idle, "client {number} has work in flight");
                let latest = self.latest_read.max(self.latest_reply);
                let idle = self.rules.timeouts.idle.expect("it is set");
                assert!(since(latest) >= idle, "client {number} was not idle");
                assert!(waits || !self.has_sent_by(latest + idle), "client {number} was not idle, it was not read");
            }
            WireEnd::SessionTimeout => {
                let is_idle = self.is_settled() && self.unfinished.is_empty();
                assert!(is_idle, "client {number} has work in flight, or has begun a line");
                let session = self.rules.session.expect("it is set");
                assert!(since(self.accepted) >= session - session / 10, "client {number} has time left");
            }
            // It may have read more than it has decrypted, of what came too late.
            WireEnd::LineTimeout if self.is_ahead() => {}
            WireEnd::LineTimeout => {
                assert!(self.is_settled() && !self.unfinished.is_empty(), "client {number} has begun no line");
                let line = self.rules.timeouts.line.expect("it is set");
                assert!(since(self.unfinished_since) >= line, "client {number} had time left for its line");
                let was_read = !self.has_sent_by(self.unfinished_since + line);
                assert!(was_read, "client {number} may have finished its line, it was not read");
            }
            WireEnd::ReplyTimeout => {
                let is_for_next = self.when_next_is_late().is_none_or(|when_late| when_late == WhenLate::Close);
                assert!(
                    is_for_next || self.may_hang() || self.rules.in_parallel > 1,
                    "client {number} is closed for a late line"
                );
                let may_wait_for_its_banner = !self.is_banner_sent || number % SORTS == SLOW;
                assert!(!self.lines.is_empty() || may_wait_for_its_banner, "client {number} waits for nothing");
                let reply = self.rules.timeouts.reply.expect("it is set");
                let took = since(self.line_began());
                assert!(took >= reply, "client {number} did not wait for so long: one line has taken {took:?}");
            }
            WireEnd::NotYet | WireEnd::Closed | WireEnd::Overloaded | WireEnd::Rejected | WireEnd::Busy => {}
        }
        self.end = end;
        true
    }

    /// Returns whether bytes or the end had arrived by this time that are unread.
    fn has_sent_by(&self, time: Instant) -> bool {
        [self.unread_since, self.finished].into_iter().flatten().any(|arrived| arrived <= time)
    }

    /// Returns how what is pushed may end, and the last words: as the latest line does that was
    /// answered, or as the first that waits. Of lines whose reply is empty, it cannot be seen
    /// whether they wait.
    fn endings(&self) -> impl Iterator<Item = &'static str> {
        let silent = self.lines.iter().take_while(|line| line.reply.is_empty()).count();
        let waiting = self.lines.iter().take(silent + 1).map(|line| line.ending);
        std::iter::once(self.ending).chain(waiting)
    }

    /// Returns what may be written at the end.
    fn ends(&self) -> Vec<(String, WireEnd)> {
        let Rules { timeouts, may_be_overloaded, .. } = self.rules;
        let mut ends = Vec::new();
        let mut add =
            |text: String, end| ends.extend(self.endings().map(|ending| (format!("error: {text}{ending}"), end)));
        if let Some(idle) = timeouts.idle {
            add(format!("idle for {idle:?}"), WireEnd::IdleTimeout);
        }
        if let Some(line) = timeouts.line {
            add(format!("line not finished within {line:?}"), WireEnd::LineTimeout);
        }
        if self.rules.session.is_some() {
            add("session over".to_owned(), WireEnd::SessionTimeout);
        }
        if timeouts.reply.is_some() {
            add("timed out".to_owned(), WireEnd::ReplyTimeout);
        }
        if may_be_overloaded {
            add("overloaded".to_owned(), WireEnd::Overloaded);
        }
        if self.rules.may_be_full && (self.lines_read == 0 || self.rules.has_tls && !self.is_known()) {
            add("too many connections".to_owned(), WireEnd::Rejected);
            add("too many connections from your address".to_owned(), WireEnd::Rejected);
        }
        if self.rules.may_be_busy() {
            add("busy".to_owned(), WireEnd::Busy);
        }
        ends
    }

    /// Returns the number of answered lines, counting those whose reply is empty, since their
    /// answer cannot be seen.
    pub(super) fn lines_answered_at_most(&self) -> u64 {
        self.lines_answered + self.lines.iter().filter(|expected| expected.reply.is_empty()).count() as u64
    }

    /// Returns whether so much was pushed that the client may be disconnected for not reading it.
    pub(super) fn may_be_overwhelmed(&self) -> bool {
        self.sessions.lock().unwrap().record(self.number).pushed_bytes > self.rules.max_unsent_bytes
    }

    /// Returns whether more has been read, in ciphertext, than the server has decrypted.
    pub(super) fn is_ahead(&self) -> bool {
        self.opened.is_some_and(|opened| opened < self.bytes_read)
    }

    /// What came behind so many bytes is not owed any more.
    pub(super) fn forget_behind(&mut self, bytes: usize) {
        let behind = self.lines_read - self.lines_within(bytes);
        let end = if self.lines.back().is_some_and(|expected| expected.is_end) { self.lines.pop_back() } else { None };
        self.lines.truncate(self.lines.len().saturating_sub(behind as usize));
        self.lines.extend(end);
    }

    /// Returns how many lines are complete within so many bytes.
    pub(super) fn lines_within(&self, bytes: usize) -> u64 {
        self.line_ends.partition_point(|end| *end <= bytes) as u64
    }

    fn closes_when_rejected(&self) -> bool {
        self.rules.when_rejected == WhenRejected::Close
    }

    /// Returns whether the client has received all that was pushed to it by the reply that closed
    /// its connection, if one did.
    pub(super) fn has_received_all(&self) -> bool {
        // A line behind the one that closed may have pushed, too; and if the end was pushed as
        // well, what comes behind that is lost.
        if self.rules.in_parallel > 1 || self.is_closed() {
            return true;
        }
        let pushed_last = self.sessions.lock().unwrap().record(self.number).pushed_last;
        self.end != WireEnd::Closed || self.written.is_empty() && self.latest_push >= pushed_last
    }

    /// Returns when the responder was given the latest line; where others are answered beside it,
    /// when the first was read that is not answered.
    pub(super) fn line_began(&self) -> Instant {
        if let (2.., Some(first)) = (self.rules.in_parallel, self.lines.front()) {
            return first.read;
        }
        self.sessions.lock().unwrap().record(self.number).line_began.unwrap_or(self.latest_read)
    }

    pub(super) fn is_told_of_end(&self) -> bool {
        self.sessions.lock().unwrap().record(self.number).ends > 0
    }

    pub(super) fn is_known(&self) -> bool {
        self.sessions.lock().unwrap().record(self.number).id.is_some()
    }

    /// Returns whether everything that the server has read was answered, as far as answers can be
    /// seen.
    pub(super) fn is_settled(&self) -> bool {
        let is_owed = |expected: &ExpectedReply| !expected.reply.is_empty() && !expected.is_optional;
        let is_answered = self.written.is_empty() && (self.is_closed() || !self.lines.iter().any(is_owed));
        self.is_banner_sent && is_answered || self.may_have_timed_out || self.end != WireEnd::NotYet
    }

    pub(super) fn unfinished_since(&self) -> Option<Instant> {
        (!self.unfinished.is_empty()).then_some(self.unfinished_since)
    }

    pub(super) fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Returns what is owed, in a readable form.
    fn owed(&self) -> Vec<String> {
        let banner = (!self.is_banner_sent).then(|| self.banner.escape_ascii().to_string());
        banner
            .into_iter()
            .chain(self.lines.iter().map(|expected| expected.reply.escape_ascii().to_string()))
            .take(3)
            .collect()
    }
}
