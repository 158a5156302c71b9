//! What a connection is to do, said naively: bytes are split where there is an LF, and everything that is owed is one long text.

use std::collections::VecDeque;
use std::time::Instant;

use greeter_core::{CloseAction, CloseReason, ConnectionTimeouts, LineCounts, Phase, Rejection};

use super::responder::{Said, Welcome, reply_to, welcome};

#[derive(Debug)]
pub(super) struct Model {
    max_line_bytes: usize,
    deadlines: ConnectionTimeouts,
    welcome: Welcome,

    life: Life,
    /// Nothing is answered any more, since the last word was said.
    has_hung_up: bool,
    pub(super) has_job: bool,
    /// How often the responder was asked something by this client, if it knows it.
    session: Option<u32>,
    unfinished: Vec<u8>,
    lines: VecDeque<Asked>,
    /// How the latest line ended.
    ending: &'static str,
    pub(super) unsent: Vec<u8>,
    /// How many lines that answers.
    answered: u32,
    pub(super) since: Instant,
    aside: Aside,
    /// Over its whole life.
    pub(super) account: LineCounts,
    /// The size of the latest read, and all that was said since the client has last taken everything.
    read_bytes: usize,
    said_bytes: usize,
}

/// A line that came in.
#[derive(Debug)]
struct Asked {
    text: Vec<u8>,
    ending: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Open,
    Stopping { bytes_left: usize },
    Ending { reason: CloseReason, received_eof: bool },
    Lingering(CloseReason),
    Over(CloseReason),
}

/// Something that is said message.
#[derive(Debug)]
pub(super) enum Piece {
    Lines(Vec<String>),
    Raw(String),
}

/// What is said message.
#[derive(Debug, Default)]
struct Aside {
    waiting: Vec<Piece>,
    bytes: usize,
    /// Since when it had been waiting for the client, which to talk to it does not change.
    interrupted: Option<Instant>,
}

impl Model {
    pub(super) fn new(max_line_bytes: u32, deadlines: ConnectionTimeouts, welcome: Welcome, now: Instant) -> Self {
        Self {
            max_line_bytes: max_line_bytes as usize,
            deadlines,
            welcome,
            life: Life::Open,
            has_hung_up: false,
            has_job: true,
            session: None,
            unfinished: Vec::new(),
            lines: VecDeque::new(),
            ending: "\n",
            unsent: Vec::new(),
            answered: 0,
            since: now,
            aside: Aside::default(),
            account: LineCounts::default(),
            read_bytes: 0,
            said_bytes: 0,
        }
    }

    pub(super) fn received(&mut self, bytes: &[u8], now: Instant) {
        if let Life::Lingering(_) = self.life {
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
        for piece in pieces {
            let (text, ending) = piece.strip_suffix(b"\r").map_or((&*piece, "\n"), |text| (text, "\r\n"));
            self.lines.push_back(Asked { text: text.to_vec(), ending });
            self.ending = ending;
            self.account.lines += 1;
        }
        if let Life::Stopping { bytes_left } = self.life {
            self.life = Life::Stopping { bytes_left: bytes_left.saturating_sub(bytes.len()) };
            if bytes_left <= bytes.len() {
                self.read_would_block();
            }
        }
    }

    pub(super) fn read_would_block(&mut self) {
        if let Life::Stopping { .. } = self.life {
            self.life = Life::Ending { reason: CloseReason::Shutdown, received_eof: false };
        }
    }

    pub(super) fn received_eof(&mut self) {
        match self.life {
            Life::Open | Life::Stopping { .. } => {
                self.account.partial += u32::from(!self.unfinished.is_empty());
                self.life = Life::Ending { reason: CloseReason::ClientClosed, received_eof: true };
            }
            Life::Lingering(reason) => self.life = Life::Over(reason),
            Life::Ending { .. } | Life::Over(_) => {}
        }
    }

    pub(super) fn take_job(&mut self, now: Instant) {
        self.has_job = false;
        self.since = now;
    }

    /// Up to so many lines are answered, and until there are so many bytes of replies.
    pub(super) fn answered(&mut self, lines_max: u32, reply_bytes: usize, now: Instant) -> Said {
        let (answered, said) = self.answer(lines_max, reply_bytes);
        self.come_home(answered, &said, CloseReason::ResponderClosed, now);
        said
    }

    /// They were answered, but for what was said there is no room.
    pub(super) fn taken_back(&mut self, lines_max: u32, reply_bytes: usize, now: Instant) {
        let (answered, _) = self.answer(lines_max, reply_bytes);
        if !matches!(self.life, Life::Over(_)) {
            self.account.discarded += answered;
        }
        let mut said = Said::default();
        said.line("error: overloaded", self.ending);
        said.closes = true;
        self.come_home(0, &said, CloseReason::Overloaded, now);
    }

    fn answer(&mut self, lines_max: u32, reply_bytes: usize) -> (u32, Said) {
        let mut said = Said::default();
        if self.session.is_none() {
            welcome(self.welcome, &mut said);
            if self.lines.is_empty() {
                self.ending = self.welcome.ending();
            }
            self.session = self.welcome.lets_in().then_some(0);
        }
        let mut answered = 0;
        while !said.closes
            && let Some(asked) = self.lines.pop_front()
        {
            answered += 1;
            if asked.text.len() > self.max_line_bytes {
                let max_line_bytes = self.max_line_bytes as u32;
                said.line(format!("error: {}", Rejection::LineTooLong { max_line_bytes }), asked.ending);
            } else {
                let session = self.session.as_mut().expect("who is not welcome is not answered");
                *session += 1;
                reply_to(*session, &asked.text, asked.ending, &mut said);
            }
            if answered >= lines_max || said.bytes.len() >= reply_bytes {
                break;
            }
        }
        (answered, said)
    }

    pub(super) fn rejected(&mut self, now: Instant) {
        let mut said = Said::default();
        if self.session.is_none() {
            said.line("error: busy", self.ending);
            said.closes = true;
            return self.come_home(0, &said, CloseReason::Busy, now);
        }
        let lines = std::mem::take(&mut self.lines);
        lines.iter().for_each(|asked| said.line("error: busy", asked.ending));
        self.come_home(lines.len() as u32, &said, CloseReason::Busy, now);
    }

    fn come_home(&mut self, answered: u32, said: &Said, reason: CloseReason, now: Instant) {
        self.has_job = true;
        self.since = now;
        if let Life::Over(_) = self.life {
            return;
        }
        self.unsent.extend_from_slice(&said.bytes);
        self.said_bytes += said.bytes.len();
        self.answered = answered;
        let waiting = std::mem::take(&mut self.aside.waiting);
        if said.closes {
            self.account.discarded += self.forget_lines();
            self.has_hung_up = true;
            self.life = Life::Ending { reason, received_eof: self.has_peer_stopped() };
        }
        if self.hears() {
            waiting.iter().for_each(|piece| self.say_piece(piece));
        }
        if self.unsent.is_empty() {
            self.all_was_taken();
        }
    }

    pub(super) fn wrote(&mut self, bytes: usize, now: Instant) {
        self.unsent.drain(..bytes);
        self.since = now;
        if self.unsent.is_empty() {
            self.since = self.aside.interrupted.unwrap_or(now);
            self.all_was_taken();
        }
    }

    fn all_was_taken(&mut self) {
        self.account.replies += std::mem::take(&mut self.answered);
        self.aside = Aside::default();
        self.said_bytes = 0;
    }

    /// Tells whether anybody hears it.
    pub(super) fn push(&mut self, piece: Piece, now: Instant) -> bool {
        if piece.len() == 0 || !self.hears() {
            return false;
        }
        self.aside.bytes += piece.len();
        if !self.has_job || self.session.is_none() {
            self.aside.waiting.push(piece);
        } else {
            if self.unsent.is_empty() {
                self.aside.interrupted = Some(self.since);
                self.since = now;
            }
            self.say_piece(&piece);
        }
        true
    }

    pub(super) fn pushed_unsent(&self) -> usize {
        if self.has_job { self.aside.bytes.min(self.unsent.len()) } else { 0 }
    }

    /// Who was let in, or may yet be, and is not sent away hears what is said until the end.
    fn hears(&self) -> bool {
        let is_sent_away_or_gone = match self.life {
            Life::Open | Life::Stopping { .. } => false,
            Life::Ending { reason, .. } => {
                let well = [CloseReason::ClientClosed, CloseReason::ResponderClosed, CloseReason::Shutdown];
                !well.contains(&reason)
            }
            Life::Lingering(_) | Life::Over(_) => true,
        };
        !is_sent_away_or_gone && (self.session.is_some() || !self.has_hung_up)
    }

    fn say_piece(&mut self, piece: &Piece) {
        match piece {
            Piece::Lines(lines) => lines.iter().for_each(|line| self.say(line.as_bytes())),
            Piece::Raw(text) => {
                self.unsent.extend_from_slice(text.as_bytes());
                self.said_bytes += text.len();
            }
        }
    }

    fn say(&mut self, line: &[u8]) {
        let said = self.unsent.len();
        self.unsent.extend_from_slice(line);
        self.unsent.extend_from_slice(self.ending.as_bytes());
        self.said_bytes += self.unsent.len() - said;
    }

    pub(super) fn stop(&mut self, bytes_left: usize) {
        if let Life::Open = self.life {
            self.life = Life::Stopping { bytes_left };
            if bytes_left == 0 {
                self.read_would_block();
            }
        }
    }

    pub(super) fn close_with(&mut self, reason: CloseReason, now: Instant) {
        let is_there = !matches!(self.life, Life::Lingering(_) | Life::Over(_));
        if !is_there || !self.has_job || !self.unsent.is_empty() {
            return self.abort(reason);
        }
        self.account.partial += u32::from(!self.unfinished.is_empty() && !self.has_peer_stopped());
        self.account.discarded += self.forget_lines();
        self.unfinished.clear();
        let ConnectionTimeouts { idle, line, .. } = self.deadlines;
        let rejection = match reason {
            CloseReason::IdleTimeout => Rejection::IdleTimeout { within: idle.expect("it was idle for so long") },
            CloseReason::LineTimeout => Rejection::LineTimeout { within: line.expect("it had so long") },
            CloseReason::ReplyTimeout => Rejection::ReplyTimeout,
            CloseReason::ConnectionLimit => Rejection::ConnectionLimit,
            _ => Rejection::Overloaded,
        };
        self.say(format!("error: {rejection}").as_bytes());
        self.has_hung_up = true;
        self.life = Life::Ending { reason, received_eof: self.has_peer_stopped() };
        self.since = now;
    }

    pub(super) fn reply_timed_out(&mut self, now: Instant) {
        self.has_job = true;
        self.session = None;
        self.aside = Aside::default();
        self.close_with(CloseReason::ReplyTimeout, now);
    }

    pub(super) fn abort(&mut self, reason: CloseReason) {
        self.life = Life::Over(match self.life {
            Life::Open | Life::Stopping { .. } | Life::Ending { .. } => reason,
            Life::Lingering(earlier) | Life::Over(earlier) => earlier,
        });
        self.account.discarded += std::mem::take(&mut self.answered) + self.forget_lines();
        self.unsent.clear();
    }

    pub(super) fn expired(&mut self, now: Instant) {
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
        if let Life::Ending { reason, .. } = self.life {
            self.life = Life::Lingering(reason);
            self.since = now;
        }
    }

    fn forget_lines(&mut self) -> u32 {
        std::mem::take(&mut self.lines).len() as u32
    }

    const fn has_peer_stopped(&self) -> bool {
        matches!(self.life, Life::Ending { received_eof: true, .. })
    }
}

/// What there is to be seen from outside.
impl Model {
    pub(super) fn wants_input(&self) -> bool {
        match self.life {
            Life::Open | Life::Stopping { .. } => self.has_job && self.lines.is_empty() && self.unsent.is_empty(),
            Life::Lingering(_) => true,
            Life::Ending { .. } | Life::Over(_) => false,
        }
    }

    pub(super) fn wants_answer(&self) -> bool {
        let is_there = !matches!(self.life, Life::Lingering(_) | Life::Over(_));
        let has_work = self.session.is_none() || !self.lines.is_empty();
        is_there && self.has_job && has_work && !self.has_hung_up && self.unsent.is_empty()
    }

    pub(super) fn ending(&self) -> CloseAction {
        let is_settled = self.has_job && self.unsent.is_empty() && !self.wants_answer();
        match self.life {
            Life::Ending { reason, received_eof: true } if is_settled => CloseAction::Close(reason),
            Life::Ending { .. } if is_settled => CloseAction::ShutdownWrite,
            Life::Over(reason) => CloseAction::Close(reason),
            _ => CloseAction::None,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.life {
            Life::Over(_) => Phase::Over,
            Life::Lingering(_) => Phase::Lingering,
            _ if !self.has_job => Phase::Answering,
            _ if !self.unsent.is_empty() => Phase::Writing,
            _ if self.wants_answer() => Phase::Queued,
            _ if !self.unfinished.is_empty() => Phase::Reading,
            _ => Phase::Idle,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let wait = match self.phase() {
            Phase::Idle | Phase::Reading if matches!(self.life, Life::Ending { .. }) => return None,
            Phase::Idle => self.deadlines.idle?,
            Phase::Reading => self.deadlines.line?,
            Phase::Writing => self.deadlines.write?,
            Phase::Lingering => self.deadlines.linger,
            _ => return None,
        };
        Some(self.since + wait)
    }

    pub(super) fn reason(&self) -> Option<CloseReason> {
        match self.life {
            Life::Open => None,
            Life::Stopping { .. } => Some(CloseReason::Shutdown),
            Life::Ending { reason, .. } | Life::Lingering(reason) | Life::Over(reason) => Some(reason),
        }
    }

    /// Whether the responder knows the client.
    pub(super) const fn is_known(&self) -> bool {
        self.session.is_some()
    }

    /// How many lines are neither discarded nor replied to.
    pub(super) fn lines_in_hand(&self) -> u32 {
        self.answered + self.lines.len() as u32
    }

    /// How much memory it may hold at the most. A buffer that has grown may have twice the room that it needs.
    pub(super) fn bytes_max(&self) -> usize {
        const LEAST: usize = 8;
        let read = self.max_line_bytes + 2 + self.read_bytes;
        match self.phase() {
            Phase::Idle => 0,
            Phase::Reading => LEAST.max(2 * self.unfinished_bytes_kept()),
            // There may be room ahead for replies.
            _ => 3 * LEAST + 2 * (read + self.said_bytes + self.bytes_waiting()) + read + 16 * self.read_bytes,
        }
    }

    /// The same for one whose client takes nothing for now.
    pub(super) fn bytes_max_without_room(&self) -> usize {
        let lines: usize = self.lines.iter().map(|asked| asked.text.len() + asked.ending.len()).sum();
        let replies = (2 * self.unsent.len()).max(lines + 16 * self.lines.len());
        lines + self.unfinished_bytes_kept() + replies + 2 * self.bytes_waiting()
    }

    /// Of a line that is too long, no more is kept than shows that it is.
    fn unfinished_bytes_kept(&self) -> usize {
        self.unfinished.len().min(self.max_line_bytes + 2)
    }

    /// Where something waits, there is a list of what it is.
    fn bytes_waiting(&self) -> usize {
        const LIST: usize = 4 * 32;
        let waiting = &self.aside.waiting;
        let list = if waiting.is_empty() { 0 } else { LIST + 32 * waiting.len() };
        list + waiting.iter().map(Piece::len).sum::<usize>()
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Lines(lines) => lines.iter().map(|line| line.len() + 1).sum(),
            Self::Raw(text) => text.len(),
        }
    }
}
