//! Turns what happens on one connection into what should come of it, naively: bytes are split where
//! there is an LF, and all that the client is owed is one long text.
//!
//! It shares no code with the connection that it is compared with.

use std::time::Instant;

use greeter_core::{
    BareLf, CloseAction, CloseReason, ConnectionTimeouts, LineCounts, LineEnding, Phase, Rejection, WhenLate,
    WhenRejected, WhenTooLong,
};

use super::responder::{LateKind, ModelReplies, OnConnect, OnEnd, banner, block_reply, reply_to};

/// What the configuration says of lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModelRules {
    pub(super) max_line_bytes: u32,
    pub(super) when_rejected: WhenRejected,
    pub(super) when_too_long: WhenTooLong,
    pub(super) bare_lf: BareLf,
    pub(super) line_ending: Option<LineEnding>,
    pub(super) telnet: bool,
    pub(super) max_data_bytes: u32,
    /// What the responder does at the end of the input, if it wants to know of it.
    pub(super) on_end: Option<OnEnd>,
}

/// The expected state of one connection.
#[derive(Debug)]
pub(super) struct Model {
    max_line_bytes: usize,
    rules: ModelRules,
    /// All that a telnet client has sent.
    telnet: Vec<u8>,
    timeouts: ConnectionTimeouts,
    on_connect: OnConnect,

    state: State,
    /// Nothing is answered any more: the replies that close the connection were made.
    is_closing: bool,
    pub(super) has_job: bool,
    /// How often the responder was asked to answer this client, if it knows it.
    session: Option<u32>,
    /// What was received and neither answered nor discarded.
    input: Vec<u8>,
    expected: Expected,
    /// What the responder is to be told of behind the last line.
    end_due: Option<OnEnd>,
    end_told: bool,
    /// The same, since the server has stopped while the job was away.
    end_due_with_job: Option<OnEnd>,
    parked: Option<ModelParked>,
    /// A parked line whose answer is here, for a thread that answers.
    resumed: Option<(ModelParked, LateKind)>,
    /// How pushes and rejections end.
    ending: &'static str,
    pub(super) unsent: Vec<u8>,
    /// How many lines `unsent` answers.
    answered: u32,
    pub(super) since: Instant,
    pending_push: PendingPush,
    /// Over the whole life of the connection.
    pub(super) counts: LineCounts,
    /// The size of the latest read, in bytes.
    read_bytes: usize,
    /// How many bytes were appended to `unsent` since the client had last taken everything.
    appended_bytes: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Lines,
    Read(usize),
    Skip(usize),
}

/// A line, or counted bytes, whose answer comes later.
#[derive(Clone, Copy, Debug)]
struct ModelParked {
    lines: u32,
    closes: bool,
    since: Instant,
    when_late: WhenLate,
    /// The answer, where it was given and the connection was not told yet.
    given: Option<LateKind>,
}

/// A line that was received.
#[derive(Debug)]
struct ModelLine {
    text: Vec<u8>,
    ending: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Stopping { bytes_left: usize },
    Ending { reason: CloseReason, received_eof: bool },
    Lingering(CloseReason),
    Over(CloseReason),
}

/// A message that is pushed.
#[derive(Debug)]
pub(super) enum Message {
    Lines(Vec<String>),
    Raw(String),
    /// The same, and somebody is told of it.
    Receipted(String),
    /// Answers to telnet's commands.
    Wire(Vec<u8>),
}

/// What was pushed and is not fully sent.
#[derive(Debug, Default)]
struct PendingPush {
    waiting: Vec<Message>,
    bytes: usize,
    /// Since when the connection had been waiting for the client. A push does not change that.
    interrupted: Option<Instant>,
    /// How many bytes of `unsent` are to be taken until somebody is told.
    receipts: Vec<usize>,
    most_receipts: usize,
    /// Whether the connection closes behind what is being answered.
    closes: bool,
}

impl Model {
    pub(super) fn new(rules: ModelRules, timeouts: ConnectionTimeouts, on_connect: OnConnect, now: Instant) -> Self {
        Self {
            max_line_bytes: rules.max_line_bytes as usize,
            rules,
            telnet: Vec::new(),
            timeouts,
            on_connect,
            state: State::Open,
            is_closing: false,
            has_job: true,
            session: None,
            input: Vec::new(),
            expected: Expected::Lines,
            end_due: None,
            end_told: false,
            end_due_with_job: None,
            parked: None,
            resumed: None,
            ending: rules.ending_for("\n"),
            unsent: Vec::new(),
            answered: 0,
            since: now,
            pending_push: PendingPush::default(),
            counts: LineCounts::default(),
            read_bytes: 0,
            appended_bytes: 0,
        }
    }

    pub(super) fn received(&mut self, bytes: &[u8], now: Instant) {
        if let State::Lingering(_) = self.state {
            return;
        }
        if self.rules.telnet {
            let (data_before, answers_before) = decode(&self.telnet);
            self.telnet.extend_from_slice(bytes);
            let (data, answers) = decode(&self.telnet);
            self.received_data(&data[data_before.len()..], now);
            self.push(Message::Wire(answers[answers_before.len()..].to_vec()), now);
        } else {
            self.received_data(bytes, now);
        }
        if let State::Stopping { bytes_left } = self.state {
            self.state = State::Stopping { bytes_left: bytes_left.saturating_sub(bytes.len()) };
            if bytes_left <= bytes.len() {
                self.read_would_block();
            }
        }
    }

    fn received_data(&mut self, bytes: &[u8], now: Instant) {
        self.read_bytes = bytes.len();
        if let Expected::Skip(left) = self.expected {
            let skipped = left.min(bytes.len());
            self.input.extend_from_slice(&bytes[skipped..]);
            self.expected = if skipped == left { Expected::Lines } else { Expected::Skip(left - skipped) };
            if skipped == left {
                self.since = now;
            }
        } else {
            let had_begun = self.is_unfinished();
            self.input.extend_from_slice(bytes);
            if self.has_input() || !had_begun && !bytes.is_empty() {
                self.since = now;
            }
        }
        if self.expected == Expected::Lines
            && let Some(first) = self.first_line()
        {
            self.ending = self.rules.ending_for(first.ending);
        }
    }

    /// Returns how many bytes are counted ones, if all of those are there.
    fn block(&self) -> Option<usize> {
        match self.expected {
            Expected::Read(bytes) if self.input.len() >= bytes => Some(bytes),
            _ => None,
        }
    }

    /// Returns the bytes that are taken for lines, as far as is known.
    fn bytes_of_lines(&self) -> &[u8] {
        match (self.expected, self.block()) {
            (Expected::Lines, _) => &self.input,
            (_, Some(block)) => &self.input[block..],
            (_, None) => &[],
        }
    }

    fn first_line(&self) -> Option<ModelLine> {
        let bytes = self.bytes_of_lines();
        let line = &bytes[..bytes.iter().position(|&byte| byte == b'\n')?];
        let (text, ending) = line.strip_suffix(b"\r").map_or((line, "\n"), |text| (text, "\r\n"));
        Some(ModelLine { text: text.to_vec(), ending })
    }

    fn take_line(&mut self) -> Option<ModelLine> {
        let line = self.first_line()?;
        self.input.drain(..line.text.len() + line.ending.len());
        Some(line)
    }

    fn take_block(&mut self) -> Option<Vec<u8>> {
        let block = self.block()?;
        self.expected = Expected::Lines;
        Some(self.input.drain(..block).collect())
    }

    /// Expects counted bytes, of which some may have come.
    fn expect(&mut self, expected: Expected) {
        self.expected = expected;
        if let Expected::Skip(bytes) = expected {
            let here = bytes.min(self.input.len());
            self.input.drain(..here);
            self.expected = if here == bytes { Expected::Lines } else { Expected::Skip(bytes - here) };
        }
    }

    /// Returns how many lines wait for an answer, one that comes later among them.
    pub(super) fn lines_unanswered(&self) -> u32 {
        let parked = self.parked.or(self.resumed.map(|(parked, _)| parked));
        self.lines() + parked.map_or(0, |parked| parked.lines)
    }

    fn lines(&self) -> u32 {
        self.bytes_of_lines().iter().filter(|&&byte| byte == b'\n').count() as u32
    }

    fn has_work(&self) -> bool {
        self.parked.is_none() && (self.resumed.is_some() || self.has_input() || self.end_due.is_some())
    }

    fn has_input(&self) -> bool {
        self.lines() > 0 || self.block().is_some()
    }

    fn is_unfinished(&self) -> bool {
        let is_partial = self.expected != Expected::Lines && self.block().is_none();
        is_partial || !self.unfinished_line().is_empty()
    }

    fn unfinished_line(&self) -> &[u8] {
        self.bytes_of_lines().rsplit(|&byte| byte == b'\n').next().unwrap_or_default()
    }

    pub(super) fn read_would_block(&mut self) {
        if let State::Stopping { .. } = self.state {
            self.state = State::Ending { reason: CloseReason::Shutdown, received_eof: false };
            match self.has_job {
                true => self.end_due = self.rules.on_end,
                false => self.end_due_with_job = self.rules.on_end,
            }
        }
    }

    pub(super) fn received_eof(&mut self) {
        match self.state {
            State::Open | State::Stopping { .. } => {
                self.counts.unfinished += u32::from(self.is_unfinished());
                self.end_due = self.rules.on_end;
                self.state = State::Ending { reason: CloseReason::ClientClosed, received_eof: true };
            }
            State::Lingering(reason) => self.state = State::Over(reason),
            State::Ending { .. } | State::Over(_) => {}
        }
    }

    pub(super) fn take_job(&mut self, now: Instant) {
        self.has_job = false;
        self.since = now;
    }

    /// Answers up to so many lines, until there are so many bytes of replies.
    pub(super) fn answered(&mut self, max_lines: u32, reply_bytes: usize, now: Instant) -> ModelReplies {
        let (answered, replies) = self.answer(max_lines, reply_bytes, now);
        let reason = if replies.closes_rejected { CloseReason::LineRejected } else { CloseReason::ResponderClosed };
        self.take_back(answered, &replies, reason, now);
        replies
    }

    /// Answers lines, and discards the replies for which there is no room.
    pub(super) fn overloaded(&mut self, max_lines: u32, reply_bytes: usize, now: Instant) {
        let (answered, _) = self.answer(max_lines, reply_bytes, now);
        if !matches!(self.state, State::Over(_)) {
            self.counts.lines += answered;
            self.counts.discarded += answered;
        }
        let mut replies = ModelReplies::default();
        replies.line("error: overloaded", self.ending);
        replies.closes = true;
        self.take_back(0, &replies, CloseReason::Overloaded, now);
    }

    fn answer(&mut self, max_steps: u32, reply_bytes: usize, now: Instant) -> (u32, ModelReplies) {
        let mut replies = ModelReplies::default();
        if self.session.is_none() {
            self.connect(&mut replies);
        }
        let (mut answered, mut steps) = (0, 0);
        while !replies.closes {
            let mut lines = 0;
            if let Some((parked, kind)) = self.resumed.take() {
                answered += parked.lines;
                lines = parked.lines;
                if let Some(bytes) = kind.bytes(self.ending) {
                    replies.bytes.extend(bytes);
                } else if self.end_told && kind == LateKind::ThenRead {
                    replies.error(self.ending);
                } else {
                    let session = self.session.as_mut().expect("a client that is not accepted is not answered");
                    kind.reply(session, self.ending, self.rules.max_data_bytes as usize, &mut replies);
                }
                replies.closes |= parked.closes;
            } else if let Some(block) = self.take_block() {
                let session = self.session.as_mut().expect("a client that is not accepted is not answered");
                *session += 1;
                block_reply(*session, &block, self.ending, self.rules.max_data_bytes as usize, &mut replies);
            } else if let Some(line) = self.take_line() {
                answered += 1;
                lines = 1;
                self.ending = self.rules.ending_for(line.ending);
                self.answer_line(&line, &mut replies);
            } else if let Some(on_end) = self.end_due.take() {
                self.end_told = true;
                let session = self.session.as_mut().expect("a client that is not accepted is not answered");
                on_end.reply(session, self.ending, &mut replies);
            } else {
                break;
            }
            if let Some(expected) = replies.expected.take() {
                self.expect(expected);
            }
            if let Some(when_late) = replies.parked.take() {
                answered -= lines;
                let closes = std::mem::take(&mut replies.closes);
                self.parked = Some(ModelParked { lines, closes, since: now, when_late, given: None });
                break;
            }
            if std::mem::take(&mut replies.is_answered_at_once) {
                answered -= lines;
                let parked = ModelParked { lines, closes: false, since: now, when_late: WhenLate::Close, given: None };
                self.resumed = Some((parked, LateKind::AtOnce));
            }
            steps += 1;
            if steps >= max_steps || replies.bytes.len() >= reply_bytes {
                break;
            }
        }
        (answered, replies)
    }

    fn connect(&mut self, replies: &mut ModelReplies) {
        let ending = self.rules.ending_for("\n");
        banner(self.on_connect, ending, replies);
        if self.lines() == 0 {
            self.ending = self.on_connect.ending(ending);
        }
        self.session = self.on_connect.accepts().then_some(0);
    }

    fn answer_line(&mut self, line: &ModelLine, replies: &mut ModelReplies) {
        let is_too_long = line.text.len() > self.max_line_bytes;
        let rejection = if line.ending == "\n" && self.rules.bare_lf == BareLf::Reject {
            Some(Rejection::BareLf)
        } else if is_too_long && self.rules.when_too_long == WhenTooLong::Reject {
            Some(Rejection::LineTooLong { max_line_bytes: self.rules.max_line_bytes })
        } else {
            None
        };
        if let Some(rejection) = rejection {
            replies.line(format!("error: {rejection}"), self.ending);
            self.line_rejected(replies);
        } else {
            let session = self.session.as_mut().expect("a client that is not accepted is not answered");
            *session += 1;
            let text = &line.text[..line.text.len().min(self.max_line_bytes)];
            reply_to(*session, text, self.ending, self.rules.max_data_bytes as usize, replies);
        }
    }

    pub(super) fn rejected(&mut self, now: Instant) {
        let mut replies = ModelReplies::default();
        if self.session.is_none() {
            replies.line("error: busy", self.ending);
            replies.closes = true;
            return self.take_back(0, &replies, CloseReason::Busy, now);
        }
        let mut rejected = 0;
        if let Some((parked, kind)) = self.resumed.take() {
            rejected += parked.lines;
            if let Some(bytes) = kind.bytes(self.ending) {
                replies.bytes.extend(bytes);
            } else if kind.is_then() {
                replies.line("error: busy", self.ending);
                self.line_rejected(&mut replies);
            } else {
                kind.reply(&mut 0, self.ending, self.rules.max_data_bytes as usize, &mut replies);
            }
            if parked.closes {
                replies.closes = true;
                return self.take_back(rejected, &replies, CloseReason::ResponderClosed, now);
            }
        }
        if self.take_block().is_some() {
            replies.line("error: busy", self.ending);
            self.line_rejected(&mut replies);
        }
        while !replies.closes
            && let Some(line) = self.take_line()
        {
            rejected += 1;
            self.ending = self.rules.ending_for(line.ending);
            replies.line("error: busy", self.ending);
            self.line_rejected(&mut replies);
        }
        if !replies.closes && self.end_due.take().is_some() {
            self.end_told = true;
            replies.line("error: busy", self.ending);
        }
        self.take_back(rejected, &replies, CloseReason::LineRejected, now);
    }

    /// Closes the connection behind a rejection of a line that the responder has not seen, if the
    /// configuration says so.
    fn line_rejected(&self, replies: &mut ModelReplies) {
        if self.rules.when_rejected == WhenRejected::Close || self.rules.max_data_bytes > 0 {
            replies.closes = true;
            replies.closes_rejected = true;
        }
    }

    fn take_back(&mut self, answered: u32, replies: &ModelReplies, reason: CloseReason, now: Instant) {
        self.has_job = true;
        self.since = now;
        if let State::Over(_) = self.state {
            return;
        }
        self.end_due = self.end_due.or(self.end_due_with_job.take());
        let sent = self.rules.sent(&replies.bytes);
        self.unsent.extend_from_slice(&sent);
        self.appended_bytes += sent.len();
        self.answered = answered;
        self.counts.lines += answered;
        let waiting = std::mem::take(&mut self.pending_push.waiting);
        if replies.closes {
            let is_rejected = [CloseReason::Busy, CloseReason::Overloaded, CloseReason::LineRejected].contains(&reason);
            self.counts.unfinished += u32::from(is_rejected && !self.has_received_eof() && self.is_unfinished());
            self.discard_lines();
            self.is_closing = true;
            self.state = State::Ending { reason, received_eof: self.has_received_eof() };
        }
        if self.accepts_push() {
            waiting.iter().for_each(|message| self.append_message(message));
        }
        self.close_if_pushed();
        if self.unsent.is_empty() {
            self.all_sent();
        }
    }

    pub(super) fn wrote(&mut self, bytes: usize, now: Instant) {
        self.unsent.drain(..bytes);
        self.since = now;
        let before = self.pending_push.receipts.len();
        self.pending_push.receipts.retain_mut(|end| {
            let is_taken = *end <= bytes;
            *end = end.saturating_sub(bytes);
            !is_taken
        });
        let is_any_taken = self.pending_push.receipts.len() < before;
        if is_any_taken && !self.is_unfinished() && self.pending_push.interrupted.is_some() {
            self.pending_push.interrupted = Some(now);
        }
        if self.unsent.is_empty() {
            self.since = self.pending_push.interrupted.unwrap_or(now);
            self.all_sent();
        }
    }

    fn all_sent(&mut self) {
        self.counts.replies += std::mem::take(&mut self.answered);
        self.pending_push = PendingPush { closes: self.pending_push.closes, ..PendingPush::default() };
        self.appended_bytes = 0;
    }

    /// The end is pushed.
    pub(super) fn close(&mut self, now: Instant) {
        if let State::Lingering(_) | State::Over(_) = self.state {
            return;
        }
        if let Some(kind) = self.parked.and_then(|parked| parked.given) {
            self.late_answer(kind, now);
        }
        self.pending_push.closes = true;
        self.close_if_pushed();
        if self.is_closing && self.has_job && self.unsent.is_empty() {
            self.all_sent();
        }
    }

    fn close_if_pushed(&mut self) {
        if !self.pending_push.closes || !self.has_job || self.is_closing {
            return;
        }
        self.end_due = None;
        self.rules.on_end = None;
        if self.session.is_some() && self.resumed.is_none() {
            self.discard_lines();
            self.is_closing = true;
            self.state = State::Ending { reason: CloseReason::ResponderClosed, received_eof: self.has_received_eof() };
        } else {
            let lines = self.lines();
            self.counts.lines += lines;
            self.counts.discarded += lines;
            self.input = self.unfinished_line().to_vec();
            self.expected = Expected::Lines;
        }
    }

    /// Pushes a message, and returns whether the client is to receive it.
    pub(super) fn push(&mut self, message: Message, now: Instant) -> bool {
        if message.len() == 0 || !self.accepts_push() {
            return false;
        }
        self.pending_push.bytes += message.len();
        if !self.has_job || self.session.is_none() {
            self.pending_push.waiting.push(message);
        } else {
            if self.unsent.is_empty() {
                self.pending_push.interrupted = Some(self.since);
                self.since = now;
            }
            self.append_message(&message);
        }
        true
    }

    pub(super) fn pushed_unsent(&self) -> usize {
        if self.has_job { self.pending_push.bytes.min(self.unsent.len()) } else { 0 }
    }

    /// Returns whether the client is to receive what is pushed: it was accepted, or may yet be, and
    /// its connection does not close with a rejection.
    fn accepts_push(&self) -> bool {
        let is_rejected_or_over = match self.state {
            State::Open | State::Stopping { .. } => false,
            State::Ending { reason, .. } => {
                let behind_replies = [
                    CloseReason::ClientClosed,
                    CloseReason::ResponderClosed,
                    CloseReason::LineRejected,
                    CloseReason::Shutdown,
                ];
                !behind_replies.contains(&reason)
            }
            State::Lingering(_) | State::Over(_) => true,
        };
        !is_rejected_or_over && (self.session.is_some() || !self.is_closing)
    }

    fn append_message(&mut self, message: &Message) {
        match message {
            Message::Lines(lines) => lines.iter().for_each(|line| self.append_line(line.as_bytes())),
            Message::Raw(text) => {
                self.unsent.extend_from_slice(text.as_bytes());
                self.appended_bytes += text.len();
            }
            Message::Receipted(text) => {
                self.unsent.extend_from_slice(text.as_bytes());
                self.appended_bytes += text.len();
                self.pending_push.receipts.push(self.unsent.len());
                self.pending_push.most_receipts += 1;
            }
            Message::Wire(bytes) => {
                self.unsent.extend_from_slice(bytes);
                self.appended_bytes += bytes.len();
            }
        }
    }

    fn append_line(&mut self, line: &[u8]) {
        let before = self.unsent.len();
        self.unsent.extend_from_slice(line);
        self.unsent.extend_from_slice(self.ending.as_bytes());
        self.appended_bytes += self.unsent.len() - before;
    }

    pub(super) fn stop(&mut self, bytes_left: usize) {
        if let State::Open = self.state {
            self.state = State::Stopping { bytes_left };
            if bytes_left == 0 {
                self.read_would_block();
            }
        }
    }

    pub(super) fn close_with(&mut self, reason: CloseReason, now: Instant) {
        let is_live = !matches!(self.state, State::Lingering(_) | State::Over(_));
        if !is_live || !self.has_job || !self.unsent.is_empty() {
            return self.abort(reason);
        }
        self.counts.unfinished += u32::from(self.is_unfinished() && !self.has_received_eof());
        self.discard_lines();
        self.input.clear();
        let ConnectionTimeouts { idle, line, .. } = self.timeouts;
        let rejection = match reason {
            CloseReason::IdleTimeout => Rejection::IdleTimeout { within: idle.expect("the idle timeout is set") },
            CloseReason::LineTimeout => Rejection::LineTimeout { within: line.expect("the line timeout is set") },
            CloseReason::ReplyTimeout => Rejection::ReplyTimeout,
            CloseReason::ConnectionLimit => Rejection::ConnectionLimit,
            _ => Rejection::Overloaded,
        };
        self.append_line(format!("error: {rejection}").as_bytes());
        self.is_closing = true;
        self.state = State::Ending { reason, received_eof: self.has_received_eof() };
        self.since = now;
    }

    pub(super) fn reply_timed_out(&mut self, now: Instant) {
        self.has_job = true;
        self.session = None;
        self.pending_push = PendingPush::default();
        self.close_with(CloseReason::ReplyTimeout, now);
    }

    pub(super) fn abort(&mut self, reason: CloseReason) {
        self.state = State::Over(match self.state {
            State::Open | State::Stopping { .. } | State::Ending { .. } => reason,
            State::Lingering(earlier) | State::Over(earlier) => earlier,
        });
        self.counts.discarded += std::mem::take(&mut self.answered);
        self.discard_lines();
        self.end_due = None;
        self.unsent.clear();
    }

    /// The answer to the parked line is given, and the connection not told yet.
    pub(super) fn late_answer_given(&mut self, kind: LateKind) {
        if let Some(parked) = &mut self.parked {
            parked.given = Some(kind);
        }
    }

    /// An answer comes later. Returns whether it was waited for.
    pub(super) fn late_answer(&mut self, kind: LateKind, now: Instant) -> bool {
        let Some(parked) = self.parked.take() else { return false };
        if self.unsent.is_empty() {
            self.since = now;
        }
        self.pending_push.interrupted = None;
        if let Some(bytes) = kind.bytes(self.ending) {
            let sent = self.rules.sent(&bytes);
            self.unsent.extend_from_slice(&sent);
            self.appended_bytes += sent.len();
            self.answered += parked.lines;
            self.counts.lines += parked.lines;
            if parked.closes {
                self.discard_lines();
                self.is_closing = true;
                let received_eof = self.has_received_eof();
                self.state = State::Ending { reason: CloseReason::ResponderClosed, received_eof };
            }
        } else {
            self.resumed = Some((parked, kind));
        }
        if self.unsent.is_empty() {
            self.all_sent();
        }
        true
    }

    pub(super) fn check_deadline(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.parked_until().is_some_and(|until| until <= now) {
            return self.parked_is_late(now);
        }
        match self.phase() {
            Phase::Idle | Phase::Parked => self.close_with(CloseReason::IdleTimeout, now),
            Phase::Reading => self.close_with(CloseReason::LineTimeout, now),
            Phase::Writing => self.abort(CloseReason::WriteTimeout),
            _ => self.received_eof(),
        }
    }

    /// What is answered has won, though the connection was not told yet.
    fn parked_is_late(&mut self, now: Instant) {
        match self.parked {
            Some(parked) if parked.given.is_some() => {}
            Some(parked) if parked.when_late == WhenLate::Reject => {
                if self.unsent.is_empty() {
                    self.since = now;
                }
                self.pending_push.interrupted = None;
                self.resumed = Some((parked, LateKind::TimedOut));
                self.parked = None;
            }
            _ => self.close_with(CloseReason::ReplyTimeout, now),
        }
    }

    pub(super) fn write_shut_down(&mut self, now: Instant) {
        if let State::Ending { reason, .. } = self.state {
            self.state = State::Lingering(reason);
            self.since = now;
        }
    }

    /// Discards all but an unfinished line.
    fn discard_lines(&mut self) {
        let lines = self.lines_unanswered();
        self.parked = None;
        self.resumed = None;
        self.counts.lines += lines;
        self.counts.discarded += lines;
        self.input = self.unfinished_line().to_vec();
        self.expected = Expected::Lines;
    }

    const fn has_received_eof(&self) -> bool {
        matches!(self.state, State::Ending { received_eof: true, .. })
    }
}

impl ModelRules {
    /// Returns how to end what is sent for a line that ended so.
    const fn ending_for(&self, request: &'static str) -> &'static str {
        match self.line_ending {
            None => request,
            Some(LineEnding::Lf) => "\n",
            Some(LineEnding::CrLf) => "\r\n",
        }
    }

    /// Returns what goes on the wire for replies.
    fn sent(&self, replies: &[u8]) -> Vec<u8> {
        let once = |byte: &u8| if self.telnet && *byte == 255 { vec![255, 255] } else { vec![*byte] };
        replies.iter().flat_map(once).collect()
    }
}

/// Returns what all that a telnet client has sent stands for, and the answers to it.
fn decode(mut stream: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut data, mut answers) = (Vec::new(), Vec::new());
    loop {
        stream = match stream {
            [255, 250, rest @ ..] => match behind_subnegotiation(rest) {
                Some(rest) => rest,
                None => break,
            },
            [255, word @ 251..=254, option, rest @ ..] => {
                match word {
                    251 => answers.extend([255, 254, *option]),
                    253 => answers.extend([255, 252, *option]),
                    _ => {}
                }
                rest
            }
            [] | [255] | [255, 251..=254] => break,
            [255, command, rest @ ..] => {
                data.extend((*command == 255).then_some(255));
                rest
            }
            [b'\r', 0, rest @ ..] => {
                data.push(b'\r');
                rest
            }
            [byte, rest @ ..] => {
                data.push(*byte);
                rest
            }
        }
    }
    (data, answers)
}

/// Returns what is behind IAC SE, if that has come.
fn behind_subnegotiation(mut stream: &[u8]) -> Option<&[u8]> {
    loop {
        stream = match stream {
            [255, 240, rest @ ..] => return Some(rest),
            [255, _, rest @ ..] => rest,
            [] | [255] => return None,
            [_, rest @ ..] => rest,
        }
    }
}

/// What is visible from outside.
impl Model {
    pub(super) fn wants_input(&self) -> bool {
        let is_new = self.session.is_none() && !self.input.is_empty();
        match self.state {
            State::Open | State::Stopping { .. } => {
                self.has_job && !self.has_work() && !is_new && self.parked.is_none() && self.unsent.is_empty()
            }
            State::Lingering(_) => true,
            State::Ending { .. } | State::Over(_) => false,
        }
    }

    pub(super) fn wants_answer(&self) -> bool {
        let is_live = !matches!(self.state, State::Lingering(_) | State::Over(_));
        let has_work = self.session.is_none() || self.has_work();
        is_live && self.has_job && has_work && !self.is_closing && self.unsent.is_empty()
    }

    pub(super) fn close_action(&self) -> CloseAction {
        let is_settled = self.has_job && self.unsent.is_empty() && !self.wants_answer() && self.parked.is_none();
        match self.state {
            State::Ending { reason, received_eof: true } if is_settled => CloseAction::Close(reason),
            State::Ending { .. } if is_settled => CloseAction::ShutdownWrite,
            State::Over(reason) => CloseAction::Close(reason),
            _ => CloseAction::None,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::Over(_) => Phase::Over,
            State::Lingering(_) => Phase::Lingering,
            _ if !self.has_job => Phase::Answering,
            _ if !self.unsent.is_empty() => Phase::Writing,
            _ if self.parked.is_some() => Phase::Parked,
            _ if self.wants_answer() => Phase::Queued,
            _ if self.is_unfinished() => Phase::Reading,
            _ => Phase::Idle,
        }
    }

    fn parked_until(&self) -> Option<Instant> {
        let parked = self.parked.filter(|parked| parked.when_late != WhenLate::Wait)?;
        Some(parked.since + self.timeouts.reply?)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let wait = match self.phase() {
            Phase::Idle | Phase::Reading if matches!(self.state, State::Ending { .. }) => None,
            Phase::Idle => self.timeouts.idle,
            Phase::Parked if self.parked.is_some_and(|parked| parked.when_late == WhenLate::Wait) => self.timeouts.idle,
            Phase::Reading => self.timeouts.line,
            Phase::Writing => self.timeouts.write,
            Phase::Lingering => Some(self.timeouts.linger),
            _ => None,
        };
        wait.map(|wait| self.since + wait).into_iter().chain(self.parked_until()).min()
    }

    pub(super) fn reason(&self) -> Option<CloseReason> {
        match self.state {
            State::Open => self.pending_push.closes.then_some(CloseReason::ResponderClosed),
            State::Stopping { .. } => Some(CloseReason::Shutdown),
            State::Ending { reason, .. } | State::Lingering(reason) | State::Over(reason) => Some(reason),
        }
    }

    pub(super) const fn is_parked(&self) -> bool {
        self.parked.is_some()
    }

    /// Returns whether the responder knows the client.
    pub(super) const fn is_known(&self) -> bool {
        self.session.is_some()
    }

    /// Returns how many lines are neither discarded nor replied to.
    pub(super) fn lines_in_hand(&self) -> u32 {
        self.answered
    }

    /// Returns how much memory the connection may hold, in bytes. A buffer that has grown may have
    /// twice the capacity that it needs.
    pub(super) fn max_bytes(&self) -> usize {
        const LEAST: usize = 8;
        let read = self.max_line_bytes + 2 + self.read_bytes;
        match self.phase() {
            Phase::Idle => 0,
            Phase::Reading => LEAST.max(2 * self.unfinished_bytes_kept()),
            // There may be a buffer for replies that are still to be made.
            _ => 3 * LEAST + 2 * (read + self.appended_bytes + self.bytes_waiting()) + read + 16 * self.read_bytes,
        }
    }

    /// Returns the same for a client that takes nothing for now.
    pub(super) fn max_bytes_while_blocked(&self) -> usize {
        let lines = self.bytes_of_lines().len() - self.unfinished_line().len();
        let replies = (2 * self.unsent.len()).max(lines + 16 * self.lines_unanswered() as usize);
        lines + self.block().unwrap_or(0) + self.unfinished_bytes_kept() + replies + 2 * self.bytes_waiting()
    }

    /// Returns how many bytes are kept of what is unfinished. Of a line that is too long, and that
    /// has no line before it, that is no more than shows it.
    fn unfinished_bytes_kept(&self) -> usize {
        match self.expected {
            Expected::Lines
                if !self.has_input() && self.session.is_some() && self.parked.is_none() && self.resumed.is_none() =>
            {
                self.input.len().min(self.max_line_bytes + 2)
            }
            Expected::Lines => self.unfinished_line().len(),
            _ => self.input.len(),
        }
    }

    /// Returns how many bytes the waiting messages may hold, with the list that they are in.
    fn bytes_waiting(&self) -> usize {
        const LIST: usize = 4 * 48;
        let waiting = &self.pending_push.waiting;
        let list = if waiting.is_empty() { 0 } else { LIST + 48 * waiting.len() };
        let receipts = 24 * (4 * self.pending_push.most_receipts.min(1)).max(2 * self.pending_push.most_receipts);
        receipts + list + waiting.iter().map(Message::len).sum::<usize>()
    }
}

impl Message {
    fn len(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.iter().map(|line| line.len() + 1).sum(),
            Self::Raw(text) | Self::Receipted(text) => text.len(),
            Self::Wire(bytes) => bytes.len(),
        }
    }
}
