//! Turns what happens on one connection into what should come of it, naively: bytes are split where
//! there is an LF, and all that the client is owed is one long text.
//!
//! It shares no code with the connection that it is compared with.

use std::collections::VecDeque;
use std::time::Instant;

use greeter_core::{CloseAction, CloseReason, ConnectionTimeouts, LineCounts, Phase, Rejection};

use super::responder::{ModelReplies, OnConnect, banner, reply_to};

/// The expected state of one connection.
#[derive(Debug)]
pub(super) struct Model {
    max_line_bytes: usize,
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
    /// How the latest line ended.
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
    pub(super) fn new(max_line_bytes: u32, timeouts: ConnectionTimeouts, on_connect: OnConnect, now: Instant) -> Self {
        Self {
            max_line_bytes: max_line_bytes as usize,
            timeouts,
            on_connect,
            state: State::Open,
            is_closing: false,
            has_job: true,
            session: None,
            unfinished: Vec::new(),
            lines: VecDeque::new(),
            ending: "\n",
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
        self.read_bytes = bytes.len();
        let had_begun = !self.unfinished.is_empty();
        self.unfinished.extend_from_slice(bytes);
        let mut pieces: Vec<_> = self.unfinished.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        self.unfinished = pieces.pop().unwrap_or_default();
        if !pieces.is_empty() || !had_begun {
            self.since = now;
        }
        for message in pieces {
            let (text, ending) = message.strip_suffix(b"\r").map_or((&*message, "\n"), |text| (text, "\r\n"));
            self.lines.push_back(ModelLine { text: text.to_vec(), ending });
            self.ending = ending;
            self.counts.lines += 1;
        }
        if let State::Stopping { bytes_left } = self.state {
            self.state = State::Stopping { bytes_left: bytes_left.saturating_sub(bytes.len()) };
            if bytes_left <= bytes.len() {
                self.read_would_block();
            }
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
        self.take_back(answered, &replies, CloseReason::ResponderClosed, now);
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
            banner(self.on_connect, &mut replies);
            if self.lines.is_empty() {
                self.ending = self.on_connect.ending();
            }
            self.session = self.on_connect.accepts().then_some(0);
        }
        let mut answered = 0;
        while !replies.closes
            && let Some(line) = self.lines.pop_front()
        {
            answered += 1;
            if line.text.len() > self.max_line_bytes {
                let max_line_bytes = self.max_line_bytes as u32;
                replies.line(format!("error: {}", Rejection::LineTooLong { max_line_bytes }), line.ending);
            } else {
                let session = self.session.as_mut().expect("a client that is not accepted is not answered");
                *session += 1;
                reply_to(*session, &line.text, line.ending, &mut replies);
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
        let lines = std::mem::take(&mut self.lines);
        lines.iter().for_each(|line| replies.line("error: busy", line.ending));
        self.take_back(lines.len() as u32, &replies, CloseReason::Busy, now);
    }

    fn take_back(&mut self, answered: u32, replies: &ModelReplies, reason: CloseReason, now: Instant) {
        self.has_job = true;
        self.since = now;
        if let State::Over(_) = self.state {
            return;
        }
        self.unsent.extend_from_slice(&replies.bytes);
        self.appended_bytes += replies.bytes.len();
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
                let behind_replies = [CloseReason::ClientClosed, CloseReason::ResponderClosed, CloseReason::Shutdown];
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
        }
    }
}
