//! A connection between a client and the server, as two kernels keep it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::client::SentHeader;
use super::clock::SimulatedClock;
use super::oracle::{Oracle, WireEnd};
use super::random::Random;
use super::responder::SessionRecord;
use super::rules::Rules;
use super::toy_tls::{RecordMark, RecordMarks, ToyReader, ToyRecord, ToyTls, has_last_word};

use crate::admission::MAX_WAIT_FOR_NEWCOMER;
use crate::system::{Poller, Readiness, Socket};

/// Both ends of a connection. What is sent arrives at once; what matters is when the other end
/// reads.
#[derive(Debug)]
pub(super) struct Wire {
    clock: SimulatedClock,
    random: Random,
    rules: Rules,
    pub(super) number: u32,
    pub(super) oracle: Oracle,

    /// How many bytes of the PROXY header the server has not read; and whether it is one.
    header_left: usize,
    has_bad_header: bool,
    /// What is known of its TLS.
    pub(super) tls: Option<WireTls>,
    /// On its way to the server. The client may fill it up to a bound.
    inbound: VecDeque<u8>,
    /// When the unread bytes came, and how many came each time.
    arrivals: VecDeque<(Instant, usize)>,
    inbound_max: usize,
    /// When the client stopped sending; and whether the server has read the end.
    client_finished: Option<Instant>,
    server_saw_eof: bool,
    /// On its way to the client.
    outbound: VecDeque<u8>,
    outbound_max: usize,
    /// Since when the server's writes would block, and it waits for the socket to be writable.
    server_waits: Option<Instant>,
    /// When the server's writes would last block though there was room.
    latest_refusal: Option<Instant>,
    /// When the socket last took something of whatever kind.
    latest_taken: Instant,
    /// When the server was last told that the socket is writable.
    room_made: Instant,
    /// Both directions are gone: the client or the network has reset the connection.
    is_broken: bool,
    pub(super) server_end: ServerEnd,

    /// The thread and the slot for which it is registered, and the readiness that was not reported
    /// yet.
    pub(super) registered: Option<(usize, u32)>,
    readiness: Readiness,
    /// Whether a worker has the client's job.
    pub(super) is_being_answered: bool,
    /// Whether the host program has killed the client.
    pub(super) is_killed: bool,
    /// How many bytes had arrived at the stop, and how many were read in all.
    owed_at_stop: Option<usize>,
    bytes_read: usize,
    bytes_read_before: usize,
    rounds_without_turn: usize,
    /// When the time for a stop is over.
    pub(super) stop_deadline: Option<Instant>,
}

/// A connection's TLS, as somebody sees it who has the keys.
#[derive(Debug)]
pub(super) struct WireTls {
    sessions: Arc<ToyTls>,
    /// What has arrived: bytes of a header before it, and records that the server has not read.
    header_to_come: usize,
    marks: RecordMarks,
    arrived: VecDeque<(RecordMark, Instant)>,
    /// When the client said that nothing follows.
    close_notify_arrived: Option<Instant>,
    /// What the server has read, and how many records at once.
    from_client: ToyReader,
    records_at_once: usize,
    /// Where each record with content ended that was read, and how much content there was by then.
    content_ends: Vec<(usize, usize)>,
    opened_before: usize,
    /// The client has proved that it is no client.
    is_bad: bool,
    is_alert_owed: bool,
    has_finished: bool,
    /// What the server has written.
    from_server: ToyReader,
    bytes_written: usize,
    hello_ends: Option<usize>,
    has_last_word: bool,
    pub(super) plaintext_written: usize,
    /// Since when a record with content was given to the socket that has not taken all of it.
    data_unsent_since: Option<Instant>,
    server_says: LastSaid,
    /// What the client has received.
    bytes_received: usize,
}

/// What the server's end has said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastSaid {
    NotYet,
    Alert,
    CloseNotify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerEnd {
    Open,
    /// The server has closed its end of the stream.
    Finished(Instant),
    Closed,
}

/// The server's end.
#[derive(Debug)]
pub(super) struct VirtualSocket(pub(super) Arc<Mutex<Wire>>);

/// The sockets of one connection thread.
#[derive(Debug)]
pub(super) struct VirtualSystem {
    pub(super) clock: SimulatedClock,
    pub(super) thread: usize,
}

/// What a client finds when it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceiveOutcome {
    Bytes,
    WouldBlock,
    Eof,
    Reset,
}

/// What the client does.
impl Wire {
    pub(super) fn new(number: u32, rules: Rules, oracle: Oracle, clock: &SimulatedClock, mut random: Random) -> Self {
        let outbound_max = random.pick(&[1, 30, 500, 5000, 100_000]);
        Self {
            clock: clock.clone(),
            number,
            oracle,
            header_left: 0,
            has_bad_header: false,
            tls: None,
            inbound: VecDeque::new(),
            arrivals: VecDeque::new(),
            inbound_max: if rules.has_tls { random.pick(&[20, 500, 40_000]) } else { random.pick(&[20, 500, 10_000]) },
            client_finished: None,
            server_saw_eof: false,
            outbound: VecDeque::new(),
            outbound_max,
            server_waits: None,
            latest_refusal: None,
            latest_taken: clock.now(),
            room_made: clock.now(),
            is_broken: false,
            server_end: ServerEnd::Open,
            registered: None,
            readiness: Readiness::default(),
            is_being_answered: false,
            is_killed: false,
            owed_at_stop: None,
            bytes_read: 0,
            bytes_read_before: 0,
            rounds_without_turn: 0,
            stop_deadline: None,
            random,
            rules,
        }
    }

    /// The client will send this first.
    pub(super) fn expect_header(&mut self, header: &SentHeader) {
        self.header_left = header.bytes.len();
        self.has_bad_header = !header.is_valid;
        if let Some(tls) = &mut self.tls {
            tls.header_to_come = self.header_left;
        }
    }

    /// The client will speak TLS.
    pub(super) fn expect_tls(&mut self, sessions: &Arc<ToyTls>) {
        self.tls = Some(WireTls::new(self.number, sessions));
    }

    /// Sends as much as fits, and returns how much that was.
    pub(super) fn send(&mut self, bytes: &[u8]) -> usize {
        if self.is_broken || self.server_end == ServerEnd::Closed {
            // The other end is gone; what was on its way to the client is lost with the reset that
            // comes back.
            self.outbound.clear();
            self.is_broken = true;
            return bytes.len();
        }
        let sent = bytes.len().min(self.inbound_max - self.inbound.len());
        self.inbound.extend(&bytes[..sent]);
        if sent > 0 {
            self.arrivals.push_back((self.clock.now(), sent));
            if let Some(tls) = &mut self.tls {
                tls.note_arrival(&bytes[..sent], self.clock.now());
                self.oracle.finished = self.oracle.finished.or(tls.close_notify_arrived);
            }
        }
        self.readiness.readable |= sent > 0;
        sent
    }

    pub(super) fn finish(&mut self) {
        self.client_finished.get_or_insert(self.clock.now());
        self.oracle.finished = self.oracle.finished.or(self.client_finished);
        self.readiness.readable = true;
        self.readiness.read_until_would_block = true;
    }

    pub(super) fn reset(&mut self) {
        self.is_broken = true;
        self.inbound.clear();
        self.outbound.clear();
        self.readiness = Readiness { readable: true, writable: true, read_until_would_block: true, is_broken: true };
    }

    pub(super) fn receive(&mut self, bytes: usize) -> ReceiveOutcome {
        if self.is_broken {
            return ReceiveOutcome::Reset;
        }
        let taken = bytes.min(self.outbound.len());
        self.outbound.drain(..taken);
        if let Some(tls) = &mut self.tls {
            tls.bytes_received += taken;
        }
        if self.server_waits.is_some() && self.outbound.len() <= self.outbound_max * 2 / 3 {
            self.server_waits = None;
            self.room_made = self.clock.now();
            self.readiness.writable = true;
        }
        match self.server_end {
            _ if taken > 0 => ReceiveOutcome::Bytes,
            ServerEnd::Open => ReceiveOutcome::WouldBlock,
            ServerEnd::Finished(_) | ServerEnd::Closed => ReceiveOutcome::Eof,
        }
    }
}

/// What the world asks.
impl Wire {
    /// Returns whether it is in the lobby.
    pub(super) fn is_in_lobby(&self) -> bool {
        self.registered.is_some() && self.header_left > 0 && !self.is_broken
    }

    pub(super) fn has_readiness_for(&self, thread: usize) -> bool {
        self.readiness != Readiness::default() && self.registered.is_some_and(|(number, _)| number == thread)
    }

    pub(super) fn take_readiness(&mut self) -> (usize, Readiness) {
        let (_, slot) = self.registered.expect("only a registered socket has readiness to report");
        (slot as usize, std::mem::take(&mut self.readiness))
    }

    /// Reports readiness that is not new.
    pub(super) fn wake_for_nothing(&mut self) {
        self.readiness.readable = true;
        self.readiness.writable |= self.server_waits.is_none();
    }

    /// Returns since when the client may have been idle that waits for one late answer, if it takes
    /// what it is sent.
    pub(super) fn may_idle_since(&self) -> Option<Instant> {
        let takes_all = self.server_waits.is_none() && self.readiness == Readiness::default();
        let is_alone = self.rules.in_parallel == 1 && takes_all;
        is_alone.then(|| self.oracle.latest_write.max(self.room_made))
    }

    /// Checks that nothing waits for longer than it may.
    pub(super) fn check_waits(&mut self, record: SessionRecord) {
        let now = self.clock.now();
        self.oracle.opened = self.tls.as_ref().map(|tls| tls.opened(self.number));
        self.oracle.note_stop(now);
        let Rules { timeouts, .. } = self.rules;
        let is_late = |since: Instant, wait| self.clock.is_past(since, wait + self.rules.slack());
        let Oracle { latest_read, latest_write, .. } = self.oracle;
        let latest_write = latest_write.max(self.room_made);
        let latest = latest_read.max(latest_write).max(record.answered.unwrap_or(latest_read));
        let number = self.number;
        match self.server_end {
            ServerEnd::Closed => return,
            ServerEnd::Open if self.is_newcomer() => {
                let accepted = self.oracle.accepted;
                assert!(!is_late(accepted, self.rules.handshake), "client {number} is a newcomer for ever");
                // Its header is there, or will never be.
                let sent =
                    self.arrivals.back().map(|(time, _)| *time).filter(|_| self.inbound.len() >= self.header_left);
                let has_come = sent.or(self.client_finished).filter(|_| self.readiness == Readiness::default());
                let is_unnoticed = has_come.is_some_and(|since| is_late(since.max(accepted), Duration::ZERO));
                return assert!(
                    !is_unnoticed || self.is_broken || self.header_left == 0,
                    "nothing follows from what newcomer {number} has sent"
                );
            }
            ServerEnd::Finished(since) => {
                return assert!(!is_late(since, timeouts.linger), "client {number} lingers for ever");
            }
            // Until the responder knows a client, there is work to do for it.
            ServerEnd::Open if self.is_being_answered || self.is_broken || record.id.is_none() => return,
            ServerEnd::Open => {}
        }
        if let Some(since) = self.waits_for_room_since() {
            let is_over = timeouts.write.is_some_and(|write| is_late(since.max(latest).max(self.latest_taken), write));
            assert!(!is_over, "client {number} reads nothing, for ever");
        } else if self.oracle.end == WireEnd::NotYet
            && self.oracle.is_settled()
            && !self.oracle.has_lines()
            && self.tls.as_ref().is_none_or(|tls| tls.data_unsent_since.is_none())
        {
            self.check_silence(record, latest);
        }
    }

    /// Checks that a client that is owed nothing has not been silent for too long.
    fn check_silence(&self, record: SessionRecord, latest: Instant) {
        let (now, number, timeouts) = (self.clock.now(), self.number, self.rules.timeouts);
        let is_late = |since: Instant, wait| self.clock.is_past(since, wait + self.rules.slack());
        let latest_write = self.oracle.latest_write.max(self.room_made);
        let has_ended = self.server_saw_eof || self.stop_deadline.is_some();
        if self.rules.wants_end && has_ended && record.ends == 0 {
            // It has a call coming, for which there may be no worker for now.
            return;
        }
        // Behind a stop, nothing is read.
        if let Some(since) = self.oracle.finished.filter(|_| !record.is_ended_by_stop) {
            // There is no event for what lies in the server, undecrypted. Nor is anything read
            // while there is no room for what is to be written, as behind a key update.
            let is_busy = self.is_ahead() || self.server_waits.is_some();
            let is_at_rest = self.readiness == Readiness::default() && !is_busy;
            let is_unnoticed = is_at_rest && is_late(since.max(latest), Duration::ZERO);
            assert!(!is_unnoticed, "the end of client {number} is not noticed");
        }
        let (wait, since) = match self.oracle.unfinished_since() {
            // Since it began, or since the replies to the lines before it were sent.
            Some(since) => (timeouts.line, since.max(latest_write).max(record.answered.unwrap_or(since))),
            None => (timeouts.idle, latest),
        };
        // The words that tell it so may have to wait behind an answer to a key update.
        let wait = wait.and_then(|wait| match self.server_waits {
            Some(_) => timeouts.write.map(|write| wait + write),
            None => Some(wait),
        });
        let waited = now.saturating_duration_since(since);
        assert!(!wait.is_some_and(|wait| is_late(since, wait)), "client {number} does nothing, for {waited:?}");
    }

    /// The connection thread has done a round. A client that has sent something and is owed nothing
    /// must have a turn before long.
    pub(super) fn note_round(&mut self, record: SessionRecord) {
        let is_served = self.server_end == ServerEnd::Open && !self.is_broken && record.id.is_some();
        let was_reported = !self.inbound.is_empty() && !self.readiness.readable && self.oracle.end == WireEnd::NotYet;
        let is_owed = self.is_being_answered || !self.oracle.is_settled() || self.oracle.has_lines();
        let waits_for_more = is_owed || self.server_waits.is_some() || self.owed_at_stop.is_some();
        let mut has_progressed = std::mem::replace(&mut self.bytes_read_before, self.bytes_read) != self.bytes_read;
        let mut reads = 1;
        if let Some(tls) = &mut self.tls {
            // One record in a turn, if each is as long as a read may be.
            let opened = tls.opened(self.number);
            has_progressed |= std::mem::replace(&mut tls.opened_before, opened) != opened;
            reads += tls.records_at_once;
        }
        if !is_served || !was_reported || waits_for_more || has_progressed {
            self.rounds_without_turn = 0;
            return;
        }
        self.rounds_without_turn += 1;
        assert!(self.rounds_without_turn <= reads * (2 * self.rules.clients + 8), "client {} has no turn", self.number);
    }

    /// This many bytes are read.
    fn note_read(&mut self, mut bytes: usize) {
        while let Some((_, arrived)) = self.arrivals.front_mut() {
            let part = bytes.min(*arrived);
            bytes -= part;
            *arrived -= part;
            if *arrived > 0 {
                break;
            }
            self.arrivals.pop_front();
        }
    }

    /// Returns how many of these bytes the system accepts now.
    fn room_for(&mut self, bytes: usize) -> usize {
        let room = self.outbound_max.saturating_sub(self.outbound.len());
        if room == 0 {
            self.server_waits.get_or_insert(self.clock.now());
            return 0;
        }
        let deadline_is_due = self
            .rules
            .timeouts
            .write
            .is_some_and(|write| self.oracle.latest_write.max(self.latest_taken) + write <= self.clock.now());
        if !deadline_is_due && self.random.one_in(10) {
            // No memory for now, and some a moment later.
            self.latest_refusal = Some(self.clock.now());
            self.readiness.writable = true;
            return 0;
        }
        self.server_waits = None;
        let max = bytes.min(room);
        if self.random.one_in(4) { self.random.within(1..max + 1) } else { max }
    }

    /// Checks that a rejected client does not stay for ever.
    pub(super) fn check_rejected(&self) {
        if let ServerEnd::Finished(since) = self.server_end
            && (self.oracle.end == WireEnd::Rejected || self.is_bad())
        {
            let is_late = self.clock.is_past(since, self.rules.timeouts.linger + self.rules.slack());
            assert!(!is_late, "client {} was rejected, and lingers for ever", self.number);
        }
    }

    /// Returns whether a worker has lines that the client is to receive the replies to. Behind the
    /// last reply, what was answered beside it goes nowhere.
    fn is_owed_answer(&self) -> bool {
        self.is_being_answered && (self.rules.in_parallel == 1 || self.oracle.end == WireEnd::NotYet)
    }

    /// The server closes the socket: checks that it is time for that.
    fn check_close(&self) {
        let now = self.clock.now();
        let Rules { timeouts, .. } = self.rules;
        let has_lingered = matches!(self.server_end, ServerEnd::Finished(since)
            if now.saturating_duration_since(since) >= timeouts.linger);
        let is_done = self.oracle.is_settled() && !self.is_owed_answer();
        let client_is_done = is_done && self.server_saw_eof && self.inbound.is_empty();
        let has_said_so = self.tls.is_none() || matches!(self.server_end, ServerEnd::Finished(_));
        let reads_nothing = self.server_waits.is_some()
            && timeouts.write.is_some_and(|write| now >= self.oracle.latest_write.max(self.latest_taken) + write);
        // A client that has not taken the replies before it is not told that a late answer timed
        // out.
        let has_taken_less = self.server_waits.is_some() || self.latest_refusal == Some(now);
        let waits_for_late_answer =
            has_taken_less && timeouts.reply.is_some_and(|reply| self.oracle.line_began() + reply <= now);
        let is_over_a_limit = self.rules.may_be_overloaded || self.oracle.may_be_overwhelmed();
        let is_newcomer = self.is_newcomer();
        let has_waited = |least: Duration| self.oracle.accepted + least <= now;
        // What has arrived by then counts, also when the system has not reported it yet.
        let owes_header = self.inbound.len() < self.header_left;
        let owes = owes_header || self.header_left == 0;
        let may_leave = self.has_bad_header
            || self.is_bad()
            || self.stop_deadline.is_some()
            || owes && (self.client_finished.is_some() || self.oracle.finished.is_some())
            || owes && self.rules.has_crowds() && has_waited(MAX_WAIT_FOR_NEWCOMER)
            || owes && has_waited(self.rules.handshake);
        assert!(!is_newcomer || may_leave || self.is_broken, "newcomer {} is closed without a reason", self.number);
        // It is told so before it is closed, and that is checked where it is written.
        let is_unknown =
            if self.tls.is_some() { !self.oracle.is_known() } else { self.rules.has_proxy && self.bytes_read == 0 };
        let may_be_rejected = self.rules.may_be_full && is_unknown;
        let is_excused = is_newcomer
            || may_be_rejected
            || self.is_broken
            || self.is_killed
            || self.is_bad()
            || is_over_a_limit
            || self.stop_deadline.is_some_and(|stop_deadline| stop_deadline <= now);
        assert!(
            has_lingered || client_is_done && has_said_so || reads_nothing || waits_for_late_answer || is_excused,
            "client {} is closed without a reason at its {:?}, settled: {}, answered: {}, knows: {}, unread: {}",
            self.number,
            self.server_end,
            self.oracle.is_settled(),
            self.is_being_answered,
            self.server_saw_eof,
            self.inbound.len(),
        );
    }

    /// The server closes its end of the stream: checks that it is time for that.
    fn check_finish(&mut self) {
        if let Some(tls) = &self.tls {
            let is_within_record = tls.from_server.is_within_record();
            assert!(!is_within_record, "client {} is sent the end within a record", self.number);
            let has_said_so = tls.server_says != LastSaid::NotYet || tls.is_bad && !tls.is_alert_owed;
            assert!(has_said_so, "client {} is not told of the end", self.number);
            if tls.is_bad && self.is_newcomer() {
                return;
            }
            // Behind an end that was pushed, nothing is read.
            let is_owed = !self.oracle.is_closed() && self.oracle.end == WireEnd::NotYet;
            if let Some(owed) = self.owed_at_stop.filter(|_| is_owed) {
                let opened = tls.opened(self.number);
                let arrived = tls.content_ends.iter().rfind(|(end, _)| *end <= owed).map_or(0, |(_, content)| *content);
                assert!(opened >= arrived, "client {} is owed what had come before the stop", self.number);
                self.oracle.forget_behind(opened);
            }
        }
        assert!(self.oracle.is_settled() && !self.is_owed_answer(), "client {} is owed something", self.number);
        assert!(self.oracle.has_received_all(), "client {} has not received what was pushed to it", self.number);
        let was_all_read = self.owed_at_stop.is_some_and(|owed| self.bytes_read >= owed);
        let is_said = self.oracle.end != WireEnd::NotYet || self.oracle.may_have_timed_out;
        assert!(
            self.server_saw_eof || is_said || was_all_read || self.oracle.is_closed(),
            "client {} is sent the end without a reason",
            self.number
        );
        let is_to_be_told = self.rules.wants_end && !is_said && !self.oracle.is_closed();
        assert!(
            !is_to_be_told || self.oracle.is_told_of_end(),
            "client {} is sent the end and nobody is told",
            self.number
        );
    }
}

/// What TLS adds.
impl Wire {
    /// Returns whether the client owes something before its first line, or waits for the server's
    /// part of that.
    fn is_newcomer(&self) -> bool {
        let is_in = |tls: &WireTls| tls.has_finished && (tls.has_last_word || !has_last_word(self.number));
        self.header_left > 0 || self.tls.as_ref().is_some_and(|tls| !is_in(tls))
    }

    /// Returns whether the client has broken the protocol, and the server has read how.
    pub(super) fn is_bad(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_bad)
    }

    /// Returns whether the client knows that the server wants to speak TLS with it.
    pub(super) fn has_received_hello(&self) -> bool {
        let has_received = |tls: &WireTls| tls.hello_ends.is_some_and(|end| end <= tls.bytes_received);
        self.tls.as_ref().is_none_or(has_received)
    }

    /// Returns how many bytes of plaintext a record has at most that is written in part.
    pub(super) fn plaintext_in_part(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.from_server.partial_len())
    }

    /// Returns how many complete lines the server has decrypted.
    pub(super) fn lines_read(&self) -> u64 {
        match &self.tls {
            Some(tls) => self.oracle.lines_within(tls.opened(self.number)),
            None => self.oracle.lines_read,
        }
    }

    /// Returns whether the server has read more, in ciphertext, than it has decrypted.
    fn is_ahead(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.opened(self.number) < self.oracle.bytes_read)
    }

    /// The server has read these bytes, behind a header.
    fn note_content(&mut self, bytes: &[u8]) {
        let now = self.clock.now();
        let Some(tls) = &mut self.tls else { return self.oracle.read(bytes, now) };
        let was_in = tls.has_finished;
        let (mut plaintext, mut has_ended) = (Vec::new(), false);
        let records = tls.from_client.read(bytes);
        tls.records_at_once = records.len();
        for record in records {
            let mark = tls.arrived.pop_front().map(|(mark, _)| mark);
            match record {
                ToyRecord::Hello | ToyRecord::KeyUpdate => {}
                ToyRecord::Finished => {
                    tls.has_finished = true;
                    self.oracle.begins(now);
                }
                ToyRecord::Data(content) => {
                    plaintext.extend_from_slice(&content);
                    let before = tls.content_ends.last().map_or(0, |(_, content)| *content);
                    tls.content_ends.push((mark.map_or(0, |mark| mark.end), before + content.len()));
                }
                ToyRecord::CloseNotify => (self.server_saw_eof, has_ended) = (true, true),
                ToyRecord::Bad => (tls.is_bad, tls.is_alert_owed) = (true, true),
                ToyRecord::NotTls => tls.is_bad = true,
                ToyRecord::LastWord | ToyRecord::Alert => panic!("a client says {record:?}"),
            }
        }
        if was_in {
            self.oracle.read(&plaintext, now);
        } else {
            self.oracle.read_early(&plaintext, now);
        }
        if has_ended {
            self.oracle.read_end(now);
        }
    }

    /// The socket has not taken these bytes.
    fn note_unsent(&mut self, bytes: &[u8]) {
        let now = self.clock.now();
        if let Some(tls) = &mut self.tls {
            let is_unsent = tls.from_server.has_data_with(bytes);
            tls.data_unsent_since = is_unsent.then(|| tls.data_unsent_since.unwrap_or(now));
        }
    }

    /// Returns since when the client has to take something. An answer to a key update is nothing
    /// that is waited for, but replies are, and the end.
    fn waits_for_room_since(&self) -> Option<Instant> {
        let since = self.server_waits?;
        let Some(tls) = &self.tls else { return Some(since) };
        let stopped = self.owed_at_stop.and(self.stop_deadline).map(|deadline| deadline - self.rules.drain);
        let ended = self.oracle.finished.filter(|_| self.server_saw_eof).or(stopped);
        if let Some(unsent) = tls.data_unsent_since {
            return Some(since.max(unsent));
        }
        let is_owed = ended.is_some() || self.oracle.end != WireEnd::NotYet || !self.oracle.is_settled();
        is_owed.then(|| since.max(ended.unwrap_or(since)))
    }

    /// The server has written these bytes.
    fn note_written(&mut self, bytes: &[u8]) {
        let now = self.clock.now();
        self.latest_taken = now;
        let Some(tls) = &mut self.tls else {
            let unread_since = self.arrivals.front().map(|(time, _)| *time);
            return self.oracle.wrote(bytes, now, unread_since);
        };
        let number = self.number;
        assert!(bytes.is_empty() || tls.server_says == LastSaid::NotYet, "client {number} reads on after the end");
        let start = tls.bytes_written;
        tls.bytes_written += bytes.len();
        let unread = tls.arrived.iter().find(|(mark, _)| mark.has_content).map(|(_, time)| *time);
        for record in tls.from_server.read(bytes) {
            assert_eq!(tls.server_says, LastSaid::NotYet, "client {number} reads {record:?} after the end");
            match record {
                ToyRecord::Hello => tls.hello_ends = Some(start + bytes.len()),
                ToyRecord::LastWord => tls.has_last_word = true,
                ToyRecord::KeyUpdate => {}
                ToyRecord::Data(content) => {
                    assert!(tls.has_finished, "client {number} reads before its handshake is over");
                    let is_between = self.is_being_answered && self.rules.in_parallel == 1;
                    assert!(!is_between, "client {number} is written to while it is answered");
                    tls.plaintext_written += content.len();
                    self.oracle.opened = Some(tls.opened(number));
                    self.oracle.wrote(&content, now, unread);
                }
                ToyRecord::CloseNotify => tls.server_says = LastSaid::CloseNotify,
                ToyRecord::Alert => {
                    assert!(tls.is_bad, "client {number} reads an alert for nothing");
                    tls.server_says = LastSaid::Alert;
                }
                ToyRecord::Finished | ToyRecord::Bad | ToyRecord::NotTls => panic!("client {number} reads {record:?}"),
            }
        }
    }
}

impl WireTls {
    fn new(number: u32, sessions: &Arc<ToyTls>) -> Self {
        Self {
            sessions: Arc::clone(sessions),
            header_to_come: 0,
            marks: RecordMarks::default(),
            arrived: VecDeque::new(),
            close_notify_arrived: None,
            from_client: ToyReader::of_client(number),
            records_at_once: 0,
            content_ends: Vec::new(),
            opened_before: 0,
            is_bad: false,
            is_alert_owed: false,
            has_finished: false,
            from_server: ToyReader::of_server(number),
            bytes_written: 0,
            hello_ends: None,
            has_last_word: false,
            plaintext_written: 0,
            data_unsent_since: None,
            server_says: LastSaid::NotYet,
            bytes_received: 0,
        }
    }

    fn note_arrival(&mut self, bytes: &[u8], now: Instant) {
        let of_header = bytes.len().min(self.header_to_come);
        self.header_to_come -= of_header;
        for mark in self.marks.arrived(&bytes[of_header..]) {
            if mark.is_alert {
                self.close_notify_arrived.get_or_insert(now);
            }
            self.arrived.push_back((mark, now));
        }
    }

    /// Returns how many bytes of plaintext the server has decrypted.
    pub(super) fn opened(&self, number: u32) -> usize {
        self.sessions.opened(number)
    }
}

impl VirtualSocket {
    pub(super) fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.lock().unwrap()
    }
}

impl Read for VirtualSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wire = &mut *self.wire();
        if wire.rules.has_faults && wire.random.one_in(20) {
            return Err(ErrorKind::Interrupted.into());
        }
        if wire.rules.has_faults && wire.random.one_in(200) {
            wire.reset();
        }
        if wire.is_broken {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if wire.inbound.is_empty() {
            wire.server_saw_eof |= wire.client_finished.is_some();
            if wire.client_finished.is_some() && wire.server_end == ServerEnd::Open && wire.header_left == 0 {
                wire.oracle.read_end(wire.clock.now());
            }
            return if wire.client_finished.is_some() { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        // If there is room in the buffer, a read empties the socket, as TCP does.
        let bytes = buffer.len().min(wire.inbound.len());
        wire.note_read(bytes);
        if wire.header_left > 0 && wire.server_end == ServerEnd::Open {
            assert!(bytes <= wire.header_left, "client {} is read beyond its header", wire.number);
            assert!(!wire.has_bad_header || bytes < wire.header_left, "a header that is none is refused");
            for (to, from) in buffer.iter_mut().zip(wire.inbound.drain(..bytes)) {
                *to = from;
            }
            wire.header_left -= bytes;
            if wire.header_left == 0 && wire.tls.is_none() {
                wire.oracle.begins(wire.clock.now());
            }
            return Ok(bytes);
        }
        for (to, from) in buffer.iter_mut().zip(wire.inbound.drain(..bytes)) {
            *to = from;
        }
        if wire.server_end == ServerEnd::Open {
            assert!(!wire.is_being_answered, "client {} is read while it is answered", wire.number);
            wire.bytes_read += bytes;
            wire.note_content(&buffer[..bytes]);
        }
        Ok(bytes)
    }
}

impl Write for VirtualSocket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let wire = &mut *self.wire();
        assert_eq!(wire.server_end, ServerEnd::Open, "nothing is written after the end");
        // Where lines are answered side by side, the first may be sent before the last is answered.
        let is_between = wire.tls.is_none() && wire.is_being_answered && wire.rules.in_parallel == 1;
        assert!(!is_between, "client {} is written to while it is answered", wire.number);
        if wire.rules.has_faults && wire.random.one_in(20) {
            return Err(ErrorKind::Interrupted.into());
        }
        if wire.rules.has_faults && wire.random.one_in(100) {
            wire.reset();
        }
        if wire.is_broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let bytes = if wire.registered.is_none() {
            // Nothing was sent on this connection before, so there is room for a short text.
            buffer.len()
        } else {
            match wire.room_for(buffer.len()) {
                0 => {
                    wire.note_unsent(buffer);
                    return Err(ErrorKind::WouldBlock.into());
                }
                bytes => bytes,
            }
        };
        wire.outbound.extend(&buffer[..bytes]);
        wire.note_written(&buffer[..bytes]);
        wire.note_unsent(&buffer[bytes..]);
        Ok(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for VirtualSocket {
    fn shutdown_write(&self) -> io::Result<()> {
        let wire = &mut *self.wire();
        if wire.is_broken || wire.rules.has_faults && wire.random.one_in(50) {
            wire.is_broken = true;
            return Err(ErrorKind::NotConnected.into());
        }
        assert_eq!(wire.server_end, ServerEnd::Open, "a stream has one end");
        wire.check_finish();
        wire.server_end = ServerEnd::Finished(wire.clock.now());
        Ok(())
    }

    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let wire = &mut *self.wire();
        if wire.rules.has_faults && wire.random.one_in(20) {
            return Err(ErrorKind::Interrupted.into());
        }
        if wire.is_broken {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if wire.inbound.is_empty() {
            return if wire.client_finished.is_some() { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let bytes = buffer.len().min(wire.inbound.len());
        for (to, from) in buffer.iter_mut().zip(&wire.inbound) {
            *to = *from;
        }
        Ok(bytes)
    }

    fn bytes_arrived(&self) -> io::Result<usize> {
        let wire = &mut *self.wire();
        if wire.stop_deadline.is_some() {
            wire.owed_at_stop.get_or_insert(wire.bytes_read + wire.inbound.len());
        }
        Ok(wire.inbound.len())
    }
}

impl Poller for VirtualSystem {
    type Socket = VirtualSocket;

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn register(&self, socket: &mut VirtualSocket, slot: u32) -> io::Result<()> {
        let wire = &mut *socket.wire();
        if wire.rules.has_faults && wire.random.one_in(50) {
            wire.is_broken = true;
            return Err(ErrorKind::OutOfMemory.into());
        }
        wire.registered = Some((self.thread, slot));
        wire.readiness.writable = true;
        Ok(())
    }

    fn reregister(&self, socket: &mut VirtualSocket, slot: u32) -> io::Result<()> {
        self.register(socket, slot)?;
        let wire = &mut *socket.wire();
        wire.readiness.readable |= !wire.inbound.is_empty() || wire.client_finished.is_some();
        wire.readiness.read_until_would_block |= wire.client_finished.is_some();
        Ok(())
    }

    fn deregister(&self, socket: &mut VirtualSocket) {
        let wire = &mut *socket.wire();
        wire.registered = None;
        wire.check_close();
    }
}

impl Drop for VirtualSocket {
    fn drop(&mut self) {
        // If a check has failed, the lock is poisoned, and no one looks at this wire any more.
        let Ok(mut wire) = self.0.lock() else { return };
        let has_ended = matches!(wire.server_end, ServerEnd::Finished(_));
        // A stop that has run out of time leaves its clients behind.
        let is_left_behind = wire.registered.take().is_some() && wire.stop_deadline.is_none();
        let is_left_behind = is_left_behind && !std::thread::panicking();
        assert!(!is_left_behind, "client {} is closed and still registered", wire.number);
        let was_told = wire.is_bad() && wire.is_newcomer() && has_ended;
        let has_failed = wire.is_bad() && wire.tls.as_ref().is_some_and(|tls| !tls.has_finished);
        let is_left = has_ended || wire.is_broken || wire.rules.has_faults;
        assert!(!has_failed || is_left, "client {} has failed, and is not told", wire.number);
        wire.server_end = ServerEnd::Closed;
        let was_rejected = (wire.oracle.end == WireEnd::Rejected || was_told) && !wire.is_broken;
        assert!(
            !was_rejected || wire.inbound.is_empty(),
            "client {} was rejected, and a reset takes that back",
            wire.number
        );
        if !wire.inbound.is_empty() {
            wire.outbound.clear();
            wire.is_broken = true;
        }
    }
}
