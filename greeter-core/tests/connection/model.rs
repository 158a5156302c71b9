//! Turns what happens on one connection into what should come of it, naively: bytes are split where
//! there is an LF, and all that the client is owed is one long text.
//!
//! It shares no code with the connection that it is compared with.

use std::collections::VecDeque;
use std::time::Instant;

use greeter_core::{
    BareLf, CloseAction, CloseReason, ConnectionTimeouts, LineCounts, LineEnding, Phase, Rejection, WhenRejected,
    WhenTooLong,
};

use super::responder::{ModelReplies, OnConnect, banner, reply_to};

/// What the configuration says of lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModelRules {
    pub(super) max_line_bytes: u32,
    pub(super) when_rejected: WhenRejected,
    pub(super) when_too_long: WhenTooLong,
    pub(super) bare_lf: BareLf,
    pub(super) line_ending: Option<LineEnding>,
    pub(super) telnet: bool,
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
    unfinished: Vec<u8>,
    lines: VecDeque<ModelLine>,
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
            unfinished: Vec::new(),
            lines: VecDeque::new(),
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
        let had_begun = !self.unfinished.is_empty();
        self.unfinished.extend_from_slice(bytes);
        let mut pieces: Vec<_> = self.unfinished.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        self.unfinished = pieces.pop().unwrap_or_default();
        if !pieces.is_empty() || !had_begun && !bytes.is_empty() {
            self.since = now;
        }
        for message in pieces {
            let (text, ending) = message.strip_suffix(b"\r").map_or((&*message, "\n"), |text| (text, "\r\n"));
            self.lines.push_back(ModelLine { text: text.to_vec(), ending });
            self.counts.lines += 1;
        }
        if let Some(first) = self.lines.front() {
            self.ending = self.rules.ending_for(first.ending);
        }
    }

    pub(super) fn read_would_block(&mut self) {
        if let State::Stopping { .. } = self.state {
            self.state = State::Ending { reason: CloseReason::Shutdown, received_eof: false };
        }
    }

    pub(super) fn received_eof(&mut self) {
        match self.state {
            State::Open | State::Stopping { .. } => {
                self.counts.unfinished += u32::from(!self.unfinished.is_empty());
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
        let (answered, replies) = self.answer(max_lines, reply_bytes);
        let reason = if replies.closes_rejected { CloseReason::LineRejected } else { CloseReason::ResponderClosed };
        self.take_back(answered, &replies, reason, now);
        replies
    }

    /// Answers lines, and discards the replies for which there is no room.
    pub(super) fn overloaded(&mut self, max_lines: u32, reply_bytes: usize, now: Instant) {
        let (answered, _) = self.answer(max_lines, reply_bytes);
        if !matches!(self.state, State::Over(_)) {
            self.counts.discarded += answered;
        }
        let mut replies = ModelReplies::default();
        replies.line("error: overloaded", self.ending);
        replies.closes = true;
        self.take_back(0, &replies, CloseReason::Overloaded, now);
    }

    fn answer(&mut self, max_lines: u32, reply_bytes: usize) -> (u32, ModelReplies) {
        let mut replies = ModelReplies::default();
        if self.session.is_none() {
            let ending = self.rules.ending_for("\n");
            banner(self.on_connect, ending, &mut replies);
            if self.lines.is_empty() {
                self.ending = self.on_connect.ending(ending);
            }
            self.session = self.on_connect.accepts().then_some(0);
        }
        let mut answered = 0;
        while !replies.closes
            && let Some(line) = self.lines.pop_front()
        {
            answered += 1;
            let ending = self.rules.ending_for(line.ending);
            self.ending = ending;
            let is_too_long = line.text.len() > self.max_line_bytes;
            let rejection = if line.ending == "\n" && self.rules.bare_lf == BareLf::Reject {
                Some(Rejection::BareLf)
            } else if is_too_long && self.rules.when_too_long == WhenTooLong::Reject {
                Some(Rejection::LineTooLong { max_line_bytes: self.rules.max_line_bytes })
            } else {
                None
            };
            if let Some(rejection) = rejection {
                replies.line(format!("error: {rejection}"), ending);
                self.line_rejected(&mut replies);
            } else {
                let session = self.session.as_mut().expect("a client that is not accepted is not answered");
                *session += 1;
                let text = &line.text[..line.text.len().min(self.max_line_bytes)];
                reply_to(*session, text, ending, &mut replies);
            }
            if answered >= max_lines || replies.bytes.len() >= reply_bytes {
                break;
            }
        }
        (answered, replies)
    }

    pub(super) fn rejected(&mut self, now: Instant) {
        let mut replies = ModelReplies::default();
        if self.session.is_none() {
            replies.line("error: busy", self.ending);
            replies.closes = true;
            return self.take_back(0, &replies, CloseReason::Busy, now);
        }
        let mut rejected = 0;
        while !replies.closes
            && let Some(line) = self.lines.pop_front()
        {
            rejected += 1;
            self.ending = self.rules.ending_for(line.ending);
            replies.line("error: busy", self.ending);
            self.line_rejected(&mut replies);
        }
        self.take_back(rejected, &replies, CloseReason::LineRejected, now);
    }

    /// Closes the connection behind a rejection of a line that the responder has not seen, if the
    /// configuration says so.
    fn line_rejected(&self, replies: &mut ModelReplies) {
        if self.rules.when_rejected == WhenRejected::Close {
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
        let sent = self.rules.sent(&replies.bytes);
        self.unsent.extend_from_slice(&sent);
        self.appended_bytes += sent.len();
        self.answered = answered;
        let waiting = std::mem::take(&mut self.pending_push.waiting);
        if replies.closes {
            self.counts.discarded += self.discard_lines();
            self.is_closing = true;
            self.state = State::Ending { reason, received_eof: self.has_received_eof() };
        }
        if self.accepts_push() {
            waiting.iter().for_each(|message| self.append_message(message));
        }
        if self.unsent.is_empty() {
            self.all_sent();
        }
    }

    pub(super) fn wrote(&mut self, bytes: usize, now: Instant) {
        self.unsent.drain(..bytes);
        self.since = now;
        if self.unsent.is_empty() {
            self.since = self.pending_push.interrupted.unwrap_or(now);
            self.all_sent();
        }
    }

    fn all_sent(&mut self) {
        self.counts.replies += std::mem::take(&mut self.answered);
        self.pending_push = PendingPush::default();
        self.appended_bytes = 0;
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
        self.counts.unfinished += u32::from(!self.unfinished.is_empty() && !self.has_received_eof());
        self.counts.discarded += self.discard_lines();
        self.unfinished.clear();
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
        self.counts.discarded += std::mem::take(&mut self.answered) + self.discard_lines();
        self.unsent.clear();
    }

    pub(super) fn check_deadline(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.phase() {
            Phase::Idle => self.close_with(CloseReason::IdleTimeout, now),
            Phase::Reading => self.close_with(CloseReason::LineTimeout, now),
            Phase::Writing => self.abort(CloseReason::WriteTimeout),
            _ => self.received_eof(),
        }
    }

    pub(super) fn write_shut_down(&mut self, now: Instant) {
        if let State::Ending { reason, .. } = self.state {
            self.state = State::Lingering(reason);
            self.since = now;
        }
    }

    fn discard_lines(&mut self) -> u32 {
        std::mem::take(&mut self.lines).len() as u32
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
        match self.state {
            State::Open | State::Stopping { .. } => self.has_job && self.lines.is_empty() && self.unsent.is_empty(),
            State::Lingering(_) => true,
            State::Ending { .. } | State::Over(_) => false,
        }
    }

    pub(super) fn wants_answer(&self) -> bool {
        let is_live = !matches!(self.state, State::Lingering(_) | State::Over(_));
        let has_work = self.session.is_none() || !self.lines.is_empty();
        is_live && self.has_job && has_work && !self.is_closing && self.unsent.is_empty()
    }

    pub(super) fn close_action(&self) -> CloseAction {
        let is_settled = self.has_job && self.unsent.is_empty() && !self.wants_answer();
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
            _ if self.wants_answer() => Phase::Queued,
            _ if !self.unfinished.is_empty() => Phase::Reading,
            _ => Phase::Idle,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let wait = match self.phase() {
            Phase::Idle | Phase::Reading if matches!(self.state, State::Ending { .. }) => return None,
            Phase::Idle => self.timeouts.idle?,
            Phase::Reading => self.timeouts.line?,
            Phase::Writing => self.timeouts.write?,
            Phase::Lingering => self.timeouts.linger,
            _ => return None,
        };
        Some(self.since + wait)
    }

    pub(super) fn reason(&self) -> Option<CloseReason> {
        match self.state {
            State::Open => None,
            State::Stopping { .. } => Some(CloseReason::Shutdown),
            State::Ending { reason, .. } | State::Lingering(reason) | State::Over(reason) => Some(reason),
        }
    }

    /// Returns whether the responder knows the client.
    pub(super) const fn is_known(&self) -> bool {
        self.session.is_some()
    }

    /// Returns how many lines are neither discarded nor replied to.
    pub(super) fn lines_in_hand(&self) -> u32 {
        self.answered + self.lines.len() as u32
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
        let lines: usize = self.lines.iter().map(|line| line.text.len() + line.ending.len()).sum();
        let replies = (2 * self.unsent.len()).max(lines + 16 * self.lines.len());
        lines + self.unfinished_bytes_kept() + replies + 2 * self.bytes_waiting()
    }

    /// Returns how many bytes of the unfinished line are kept. Of one that is too long, that is no
    /// more than shows it.
    fn unfinished_bytes_kept(&self) -> usize {
        self.unfinished.len().min(self.max_line_bytes + 2)
    }

    /// Returns how many bytes the waiting messages may hold, with the list that they are in.
    fn bytes_waiting(&self) -> usize {
        const LIST: usize = 4 * 32;
        let waiting = &self.pending_push.waiting;
        let list = if waiting.is_empty() { 0 } else { LIST + 32 * waiting.len() };
        list + waiting.iter().map(Message::len).sum::<usize>()
    }
}

impl Message {
    fn len(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.iter().map(|line| line.len() + 1).sum(),
            Self::Raw(text) => text.len(),
            Self::Wire(bytes) => bytes.len(),
        }
    }
}
