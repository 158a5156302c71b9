//! Turns what happens on one connection into what to do next: a state machine without I/O.
//!
//! It touches no socket, starts no thread and reads no clock. A driver owns these. It tells the
//! [`Connection`] what happened, asks it what to do, and does that:
//!
//! | what happened | the driver calls |
//! |---|---|
//! | bytes arrived | [`received`] |
//! | end of input | [`received_eof`] |
//! | a job was answered | [`answered`] |
//! | the socket took bytes | [`wrote`] |
//! | the socket failed | [`abort`] |
//! | a timer expired | [`check_deadline`] |
//! | the reply timed out | [`reply_timed_out`] |
//! | a late answer is here | [`late_answer_arrived`] |
//! | a message is pushed | [`push`], [`push_with_receipt`] |
//! | the end is pushed | [`close`] |
//! | the server stops | [`stop`] |
//! | TLS has begun | [`tls_started`] |
//!
//! | what to do | the driver asks |
//! |---|---|
//! | read | [`wants_input`] |
//! | have a job answered | [`take_job`] |
//! | have one more line answered beside others | [`take_part`] |
//! | write | [`unsent`] |
//! | close | [`close_action`] |
//! | wake up at | [`deadline`] |
//! | report | [`phase`] |
//! | be told of late answers | [`watch_late_answers`] |
//! | begin TLS | [`wants_tls`] |
//!
//! The connection reads, answers and writes one after the other, never two at a time: it takes no
//! input while there are lines to answer or replies to send. That is all the back-pressure there
//! is, and it bounds what a client can make the server hold: one read, one unfinished line, and the
//! replies of one turn. Where lines are answered side by side, replies are written while others are
//! still made, but no line goes out while one is unsent; then it is also one reply for each of
//! them.
//!
//! Each event comes with the time at which it happened. Of these the connection keeps the instant
//! when its present [`Phase`] began, and while a line is answered later, when that began to be
//! waited for; all deadlines come from these.
//!
//! [`received`]: Connection::received
//! [`wants_input`]: Connection::wants_input
//! [`received_eof`]: Connection::received_eof
//! [`take_job`]: Connection::take_job
//! [`take_part`]: Connection::take_part
//! [`answered`]: Connection::answered
//! [`unsent`]: Connection::unsent
//! [`wrote`]: Connection::wrote
//! [`close_action`]: Connection::close_action
//! [`abort`]: Connection::abort
//! [`deadline`]: Connection::deadline
//! [`check_deadline`]: Connection::check_deadline
//! [`phase`]: Connection::phase
//! [`reply_timed_out`]: Connection::reply_timed_out
//! [`late_answer_arrived`]: Connection::late_answer_arrived
//! [`watch_late_answers`]: Connection::watch_late_answers
//! [`push`]: Connection::push
//! [`push_with_receipt`]: Connection::push_with_receipt
//! [`close`]: Connection::close
//! [`stop`]: Connection::stop
//! [`tls_started`]: Connection::tls_started
//! [`wants_tls`]: Connection::wants_tls

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use crate::answer_cell::WhenLate;
use crate::close_reason::CloseReason;
use crate::config::ConnectionConfig;
use crate::job::{AnsweredJob, ClientJob, Disconnect, EndOfInput, Parked};
use crate::line::LineEnding;
use crate::parallel::Parallel;
use crate::parts::PartNumber;
use crate::peer::Peer;
use crate::push::{Framing, PushMessage, PushReceipt};
use crate::telnet::{self, Decoded};
use crate::tls::TlsInfo;

/// The protocol state of one client.
#[derive(Debug)]
pub struct Connection<S> {
    job_slot: JobSlot<S>,
    /// How much of the job's replies the socket has taken. Zero while the job is in flight.
    written: usize,
    state: State,
    /// When the present phase began; in [`Phase::Writing`], when the client last took a byte.
    since: Instant,
    /// What was pushed and is not fully sent, if anything.
    pending_push: Option<Box<PendingPush>>,
    counts: LineCounts,
}

/// The place of the only job of the connection.
#[derive(Debug)]
enum JobSlot<S> {
    /// Here, with the lines to answer and the replies to send.
    Held(ClientJob<S>),
    /// With the thread that answers it. What was known of it when it left: so many lines, in so
    /// much memory.
    InFlight { peer: Peer, lines: u32, latest_ending: LineEnding, is_unfinished: bool, bytes: usize },
}

/// What was pushed to the client, until it has been sent.
#[derive(Debug, Default)]
struct PendingPush {
    /// What waits until the job is held again, so that it does not get into the middle of a reply.
    /// Its line endings are known only then.
    waiting: Vec<WaitingPush>,
    /// Who is to be told when the client has taken so many bytes of the replies. It is negative
    /// where these are gone already, though in part of a record.
    receipts: VecDeque<(isize, PushReceipt)>,
    /// Whether the connection closes behind what is in flight.
    closes: bool,
    /// How many bytes were pushed since the client had last taken everything.
    unsent_bytes: usize,
    /// What [`Connection::since`] becomes again once everything is sent: a push is no sign of life
    /// of the client.
    interrupted: Option<Instant>,
}

/// A message, or several, until it can be appended to the replies.
#[derive(Debug)]
struct WaitingPush {
    framing: Framing,
    bytes: Vec<u8>,
    receipt: Option<PushReceipt>,
}

/// The stages of a connection. It moves forward only, by [`Connection::transition`].
#[derive(Clone, Copy, Debug)]
enum State {
    /// Lines come in, replies go out.
    Open,
    /// The server stops. What had arrived by then, so many bytes, is still received and answered.
    Stopping { bytes_left: u32 },
    /// Nothing more is received. What is owed is answered and sent, then the connection ends. If
    /// the client has stopped sending (`received_eof`), no bytes of it are on the way that could
    /// meet a closed socket.
    Ending { reason: CloseReason, received_eof: bool },
    /// Everything was sent, and the server's end of the stream after it. Closing now, with input
    /// unread, would send a reset, and that destroys what the client has not read yet (RFC 9293,
    /// 3.10.4; RFC 1122, 4.2.2.13). So input is read and discarded.
    Lingering { reason: CloseReason },
    /// The socket is to be closed, or is closed.
    Over { reason: CloseReason },
}

impl State {
    /// Returns whether a connection in this state may change to that one. It never goes back:
    ///
    /// | from | to |
    /// |---|---|
    /// | open | stopping, ending, over |
    /// | stopping | stopping with fewer bytes left, ending, over |
    /// | ending | ending for another reason, lingering, over |
    /// | lingering | over |
    /// | over | |
    const fn leads_to(self, to: Self) -> bool {
        match (self, to) {
            (Self::Stopping { bytes_left: before }, Self::Stopping { bytes_left }) => bytes_left <= before,
            (Self::Open, Self::Stopping { .. })
            | (Self::Open | Self::Stopping { .. } | Self::Ending { .. }, Self::Ending { .. } | Self::Over { .. })
            | (Self::Ending { .. }, Self::Lingering { .. })
            | (Self::Lingering { .. }, Self::Over { .. }) => true,
            _ => false,
        }
    }
}

/// What a connection is doing, which is mostly waiting. It displays as one word, in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for the client to begin a line. The client is owed nothing.
    Idle,
    /// Waiting for the client to finish the line that it has begun.
    Reading,
    /// Waiting for a thread that answers.
    Queued,
    /// Being answered, as far as the connection knows: the job is in flight, or the part of it
    /// whose reply is next.
    Answering,
    /// Waiting for an answer that the responder gives [later](crate::Reply::later).
    Parked,
    /// The client is to begin TLS, since a reply has [asked for it](crate::Reply::start_tls).
    Handshake,
    /// Waiting for the client to take its replies.
    Writing,
    /// Waiting for the client to close its end of the stream, after the server's end was sent.
    Lingering,
    /// Closed, or to be closed at once.
    Over,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Reading => "reading",
            Self::Queued => "queued",
            Self::Answering => "answering",
            Self::Parked => "parked",
            Self::Handshake => "handshake",
            Self::Writing => "writing",
            Self::Lingering => "lingering",
            Self::Over => "over",
        })
    }
}

/// What a driver does to close a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseAction {
    /// Nothing yet.
    None,
    /// Shut the socket down for writing, then call [`Connection::write_shut_down`].
    ShutdownWrite,
    /// Close the socket. Once the connection [has its job](Connection::has_job), call
    /// [`Connection::into_disconnect`].
    Close(CloseReason),
}

/// The lines of a connection, in numbers, since they were last taken.
///
/// Over the life of a connection, `lines = replies + discarded`. A line counts once it is answered
/// or discarded: before that, it may turn out to be part of [counted
/// bytes](crate::Reply::read_bytes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Complete lines that were answered or discarded.
    pub lines: u32,
    /// Lines whose replies the socket took whole, lines without a reply included.
    pub replies: u32,
    /// Lines that were never answered, or whose replies the socket did not take. Replies are sent
    /// in batches; a batch that was cut short counts as discarded as a whole.
    pub discarded: u32,
    /// Unfinished lines and counted bytes that the client left behind when it stopped sending, or
    /// when the server closed the connection with a rejection.
    pub unfinished: u32,
}

/// Receiving, answering and sending.
impl<S> Connection<S> {
    /// Creates the state of a client that has just connected. All later calls take the same
    /// configuration.
    #[must_use]
    pub const fn new(peer: Peer, config: &ConnectionConfig, now: Instant) -> Self {
        Self {
            job_slot: JobSlot::Held(ClientJob::new(peer, config)),
            written: 0,
            state: State::Open,
            since: now,
            pending_push: None,
            counts: LineCounts::new(),
        }
    }

    /// Returns whether to read from the socket.
    ///
    /// The driver passes what it reads to [`received`](Self::received). If there is nothing to
    /// read, it calls [`read_would_block`](Self::read_would_block).
    #[must_use]
    pub fn wants_input(&self) -> bool {
        match self.state {
            State::Open | State::Stopping { .. } => {
                matches!(&self.job_slot, JobSlot::Held(job) if job.wants_input())
            }
            State::Lingering { .. } => true,
            State::Ending { .. } | State::Over { .. } => false,
        }
    }

    /// Takes bytes that arrived.
    ///
    /// # Panics
    ///
    /// Panics if the connection did not [want input](Self::wants_input).
    pub fn received(&mut self, bytes: &[u8], config: &ConnectionConfig, now: Instant) {
        self.received_decoded(bytes, bytes.len(), config, now);
    }

    /// Does the same with bytes that have arrived in another form, of another length, as with TLS.
    /// A [`stop`](Self::stop) counts what arrives.
    ///
    /// # Panics
    ///
    /// Panics if input is not wanted.
    pub fn received_decoded(&mut self, bytes: &[u8], arrived: usize, config: &ConnectionConfig, now: Instant) {
        if let State::Lingering { .. } = self.state {
            return;
        }
        assert!(self.wants_input(), "input is taken only when it is wanted");
        let job = self.job();
        if config.rules.telnet {
            let Decoded { data, answers } = job.telnet.decode(bytes);
            self.received_data(&data, config, now);
            if !answers.is_empty() && self.accepts_push() {
                self.push_bytes(Framing::Wire, &answers, None, config, now);
            }
        } else {
            self.received_data(bytes, config, now);
        }
        if let State::Stopping { bytes_left } = self.state {
            self.stop_after(bytes_left.saturating_sub(u32::try_from(arrived).unwrap_or(u32::MAX)));
        }
    }

    /// Adds bytes to the input. Of telnet's commands, nothing is left here, so they are no sign of
    /// life.
    fn received_data(&mut self, bytes: &[u8], config: &ConnectionConfig, now: Instant) {
        if self.job().receive(bytes, config) {
            self.since = now;
        }
    }

    /// Notes that the socket has nothing more to read for now.
    pub fn read_would_block(&mut self) {
        if let State::Stopping { .. } = self.state {
            self.transition(State::Ending { reason: CloseReason::Shutdown, received_eof: false });
            self.end_input();
        }
    }

    /// Has the responder told that nothing more is received, if the job is held. Otherwise it is
    /// when the job comes back.
    fn end_input(&mut self) {
        if let (JobSlot::Held(job), State::Ending { reason, .. }) = (&mut self.job_slot, self.state) {
            job.end_of_input.has_come(reason);
        }
    }

    /// Notes that the client has stopped sending. It is still owed its replies.
    pub fn received_eof(&mut self) {
        match self.state {
            State::Open | State::Stopping { .. } => {
                self.counts.unfinished += u32::from(self.job().input.is_unfinished());
                self.transition(State::Ending { reason: CloseReason::ClientClosed, received_eof: true });
                self.end_input();
            }
            State::Lingering { reason } => self.transition(State::Over { reason }),
            State::Ending { .. } | State::Over { .. } => {}
        }
    }

    /// Returns whether there is something to answer: a new client, complete lines, or the [end of
    /// the input](crate::Responder::end_of_input). Nothing is answered while replies are unsent.
    #[must_use]
    pub fn wants_answer(&self) -> bool {
        let is_live = matches!(self.state, State::Open | State::Stopping { .. } | State::Ending { .. });
        is_live && matches!(&self.job_slot, JobSlot::Held(job) if job.is_due())
    }

    /// Takes the job, if it [wants an answer](Self::wants_answer). It is then in flight.
    ///
    /// While it has [parts](Self::take_part), the first of them may come in its place, to be
    /// answered once more.
    pub fn take_job(&mut self, now: Instant) -> Option<ClientJob<S>> {
        if !self.wants_answer() {
            return None;
        }
        self.since = now;
        let job = self.job();
        if job.has_parts() {
            return job.take_part_due();
        }
        let in_flight = JobSlot::InFlight {
            peer: job.peer.clone(),
            lines: job.lines(),
            latest_ending: job.latest_ending,
            is_unfinished: job.input.is_unfinished(),
            bytes: job.bytes_held(),
        };
        match std::mem::replace(&mut self.job_slot, in_flight) {
            JobSlot::Held(job) => Some(job),
            JobSlot::InFlight { .. } => None,
        }
    }

    /// Returns whether a line may be answered beside those that are already.
    #[must_use]
    pub fn wants_part(&self, parallel: &Parallel<S>) -> bool {
        let is_live = matches!(self.state, State::Open | State::Stopping { .. } | State::Ending { .. });
        let wants_part = |job: &ClientJob<S>| job.may_be_answered() && (job.has_part_due() || job.can_split(parallel));
        is_live && matches!(&self.job_slot, JobSlot::Held(job) if wants_part(job))
    }

    /// Takes one line as a job of its own, a part of the connection's job, if that is
    /// [wanted](Self::wants_part), or once more a part that is answered later. Others may follow
    /// while it is in flight; whatever the order in which they are [answered](Self::answered), the
    /// client receives the replies in the order of the lines.
    ///
    /// A driver with idle threads asks for a part before it [takes the job](Self::take_job), which
    /// is not there as long as any part is not answered.
    pub fn take_part(&mut self, parallel: &Parallel<S>, now: Instant) -> Option<ClientJob<S>> {
        if !self.wants_part(parallel) {
            return None;
        }
        let job = self.job();
        let is_first = !job.awaits_answer();
        let part = job.take_part_due().or_else(|| job.split_line(parallel));
        if is_first {
            self.since = now;
        }
        part
    }

    /// Takes the answered job back, or a [part](Self::take_part) of it. If the connection is over,
    /// its replies are discarded.
    ///
    /// # Panics
    ///
    /// Panics if the job is not in flight.
    pub fn answered(&mut self, answered: AnsweredJob<S>, config: &ConnectionConfig, now: Instant) {
        let AnsweredJob(mut job) = answered;
        if let Some(number) = job.part() {
            return self.part_answered(number, job, config, now);
        }
        assert!(!self.has_job(), "a connection has one job");
        if let State::Over { .. } = self.state {
            // These lines were counted when the connection was aborted.
            job.discard();
        } else {
            self.counts.lines += job.input.returned();
            if job.close_reason.is_some_and(|reason| !ends_behind_replies(reason)) {
                // What is sent is a rejection that says why, not a reply.
                self.counts.discarded += job.input.take_returned();
            }
        }
        if config.rules.telnet {
            telnet::escape(&mut job.replies, 0);
        }
        job.begin_wait(now);
        let close_reason = job.close_reason;
        self.job_slot = JobSlot::Held(job);
        self.end_input();
        if let Some(reason) = close_reason {
            self.close_behind(reason);
        }
        self.check_tls_request();
        self.job().release_answered(config);
        self.append_waiting_push(config);
        self.close_if_pushed(config);
        self.since = now;
        // If there is nothing to send, the lines count as answered now.
        self.finish_writing();
    }

    /// Ends the connection behind the replies that are held, unless it is over. Lines that are not
    /// answered are discarded.
    fn close_behind(&mut self, reason: CloseReason) {
        if let State::Over { .. } = self.state {
            return;
        }
        let received_eof = self.has_received_eof();
        let is_rejected = !ends_behind_replies(reason)
            || matches!(reason, CloseReason::LineRejected | CloseReason::PlainBehindStartTls);
        let job = self.job();
        let unfinished = u32::from(is_rejected && !received_eof && job.input.is_unfinished());
        job.close_reason = Some(reason);
        let lines = job.discard_lines();
        self.counts.unfinished += unfinished;
        self.counts.discard_unanswered(lines);
        self.transition(State::Ending { reason, received_eof });
    }

    /// Returns the replies that are still to be sent.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        match &self.job_slot {
            JobSlot::Held(job) => &job.replies[self.written..],
            JobSlot::InFlight { .. } => &[],
        }
    }

    /// Notes that the socket took so many bytes of what is [unsent](Self::unsent). If that was all
    /// of it, returns the buffer that it was in.
    ///
    /// # Panics
    ///
    /// Panics if fewer bytes were unsent.
    pub fn wrote(&mut self, bytes: usize, now: Instant) -> Option<Vec<u8>> {
        self.wrote_in_part(bytes, 0, now)
    }

    /// Does the same where the last `in_part` bytes that it took, in this call or earlier ones, are
    /// of no use to the client without more: with TLS, those of a record of which not all was
    /// taken. Nobody is [told](Self::push_with_receipt) of these yet.
    ///
    /// # Panics
    ///
    /// Panics if fewer bytes were unsent.
    pub fn wrote_in_part(&mut self, bytes: usize, in_part: usize, now: Instant) -> Option<Vec<u8>> {
        assert!(bytes <= self.unsent().len(), "the socket takes what it is given");
        self.written += bytes;
        if bytes > 0 {
            self.since = now;
        }
        self.tell_what_is_taken(self.written.cast_signed() - in_part.cast_signed(), now);
        self.finish_writing()
    }

    /// Tells whoever is to be told that the client has taken a message. Whoever waits for that to
    /// push more keeps the client waiting, so it counts as a sign of life. It does not extend the
    /// time for a line that has begun.
    fn tell_what_is_taken(&mut self, taken: isize, now: Instant) {
        let Some(push) = &mut self.pending_push else { return };
        let is_taken = |receipt: &(isize, PushReceipt)| receipt.0 <= taken;
        let mut is_any_taken = false;
        while push.receipts.front().is_some_and(is_taken)
            && let Some((_, receipt)) = push.receipts.pop_front()
        {
            receipt.taken();
            is_any_taken = true;
        }
        let is_unfinished = matches!(&self.job_slot, JobSlot::Held(job) if job.input.is_unfinished());
        if is_any_taken && !is_unfinished && push.interrupted.is_some() {
            push.interrupted = Some(now);
        }
    }

    /// Notes that the socket took bytes that are none of what is [unsent](Self::unsent), as with
    /// TLS, or that the end of the stream now waits for it: the time to take the rest begins anew.
    pub const fn write_progressed(&mut self, now: Instant) {
        self.since = now;
    }

    /// Counts the replies once the socket has taken all of them, and returns the buffer that they
    /// were in.
    fn finish_writing(&mut self) -> Option<Vec<u8>> {
        match &mut self.job_slot {
            JobSlot::Held(job) if self.written == job.replies.len() => {
                self.written = 0;
                self.counts.replies += job.input.take_returned();
                let replies = std::mem::take(&mut job.replies);
                if let Some(mut push) = self.pending_push.take() {
                    std::mem::take(&mut push.receipts).into_iter().for_each(|(_, receipt)| receipt.taken());
                    self.since = push.interrupted.take().unwrap_or(self.since);
                    // What waits for the banner, or for TLS, has yet to be sent.
                    if self.accepts_push() && (push.closes || !push.waiting.is_empty()) {
                        push.unsent_bytes = push.waiting.iter().map(|waiting| waiting.bytes.len()).sum();
                        self.pending_push = Some(push);
                    }
                }
                Some(replies)
            }
            JobSlot::Held(_) | JobSlot::InFlight { .. } => None,
        }
    }

    /// Notes that the socket takes nothing for now. Until it does, the connection holds at most
    /// twice the memory that the rest needs.
    pub fn write_would_block(&mut self) {
        if let JobSlot::Held(job) = &mut self.job_slot {
            let replies = &mut job.replies;
            // What is left is moved when it is the smaller part, so that each byte is moved once in
            // all. Otherwise a client that takes a long reply in small pieces would have it moved
            // for each of them.
            if self.written >= replies.len() / 2 {
                let taken = std::mem::take(&mut self.written);
                *replies = replies.split_off(taken);
                let receipts = self.pending_push.iter_mut().flat_map(|push| &mut push.receipts);
                receipts.for_each(|(end, _)| *end -= taken.cast_signed());
            }
            replies.shrink_to_fit();
            job.input.compact();
        }
    }

    /// Pushes a message: at once, or behind the banner or the replies that are being made. Returns
    /// whether the client is to receive it.
    ///
    /// Its lines end as the client's own do; until the client has sent a line, they end as its
    /// banner did.
    ///
    /// A client that is owed replies receives the message until the server's end of the stream is
    /// sent, even if the connection ends behind those replies. A client that the responder did not
    /// accept, or whose connection closes with a rejection, does not. Where a reply has [started
    /// TLS](crate::Reply::start_tls), the message waits for that.
    ///
    /// The driver checks [how much is unsent](Self::pushed_unsent) before, and decides whether that
    /// is too much.
    pub fn push(&mut self, message: &PushMessage, config: &ConnectionConfig, now: Instant) -> bool {
        if message.is_empty() || !self.accepts_push() {
            return false;
        }
        self.push_bytes(message.framing(), message.bytes(), None, config, now);
        true
    }

    /// Pushes a message like [`push`](Self::push), and has somebody told what becomes of it: once,
    /// when the client has [taken](crate::Delivery::Taken) all of it, or when it is known that it
    /// will not.
    ///
    /// A client that takes such a message shows that it is there: the [idle
    /// timeout](crate::ConnectionTimeouts::idle) counts anew from then.
    pub fn push_with_receipt(
        &mut self,
        message: &PushMessage,
        receipt: PushReceipt,
        config: &ConnectionConfig,
        now: Instant,
    ) -> bool {
        let is_accepted = self.accepts_push();
        if is_accepted {
            self.push_bytes(message.framing(), message.bytes(), Some(receipt), config, now);
        }
        is_accepted
    }

    /// Appends bytes that the client has not asked for, or keeps them until they can be.
    fn push_bytes(
        &mut self,
        framing: Framing,
        bytes: &[u8],
        receipt: Option<PushReceipt>,
        config: &ConnectionConfig,
        now: Instant,
    ) {
        if bytes.is_empty() && self.can_append_push() && self.unsent().is_empty() {
            return receipt.into_iter().for_each(PushReceipt::taken);
        }
        let push = self.pending_push.get_or_insert_default();
        push.unsent_bytes += bytes.len();
        match &mut self.job_slot {
            JobSlot::Held(job) if job.session.is_some() && !job.awaits_tls() => {
                if job.replies.is_empty() {
                    push.interrupted = Some(self.since);
                    self.since = now;
                }
                job.append(framing, bytes, config);
                push.receipts.extend(receipt.map(|receipt| (job.replies.len().cast_signed(), receipt)));
            }
            // A client receives nothing before its banner, and nothing more in plain behind the
            // reply that starts TLS.
            JobSlot::Held(_) | JobSlot::InFlight { .. } => push.wait(framing, bytes, receipt),
        }
    }

    /// Returns whether what is pushed now goes behind what is unsent.
    fn can_append_push(&self) -> bool {
        matches!(&self.job_slot, JobSlot::Held(job) if job.session.is_some() && !job.awaits_tls())
    }

    /// Returns how many [pushed](Self::push) bytes the client could have taken and has not, at
    /// most: it may have taken some of the bytes in front of them. What waits for the banner or for
    /// replies that are being made does not count, since no client could take it yet.
    #[must_use]
    pub fn pushed_unsent(&self) -> usize {
        self.pending_push.as_ref().map_or(0, |push| push.unsent_bytes.min(self.unsent().len()))
    }

    /// Appends what waited for the job, which is held now.
    fn append_waiting_push(&mut self, config: &ConnectionConfig) {
        if self.awaits_tls() {
            return;
        }
        let accepts = self.accepts_push();
        let Some(push) = &mut self.pending_push else { return };
        let waiting = std::mem::take(&mut push.waiting);
        if let (JobSlot::Held(job), true) = (&mut self.job_slot, accepts) {
            for WaitingPush { framing, bytes, receipt } in waiting {
                job.append(framing, &bytes, config);
                push.receipts.extend(receipt.map(|receipt| (job.replies.len().cast_signed(), receipt)));
            }
        }
    }

    /// Returns whether the client is to receive what is pushed.
    fn accepts_push(&self) -> bool {
        let is_owed_replies = match self.state {
            State::Open => true,
            State::Stopping { .. } => !self.awaits_tls(),
            State::Ending { reason, .. } => ends_behind_replies(reason) && !self.awaits_tls(),
            State::Lingering { .. } | State::Over { .. } => false,
        };
        let is_accepted = match &self.job_slot {
            JobSlot::Held(job) => job.session.is_some() || job.close_reason.is_none(),
            JobSlot::InFlight { .. } => true,
        };
        is_owed_replies && is_accepted
    }
}

/// Answers that come later.
impl<S> Connection<S> {
    /// Has the driver told of the answer to each [parked](Phase::Parked) line: `call` returns what
    /// is called then, once, from any thread, or at once if the answer is here. The driver then
    /// calls [`late_answer_arrived`](Self::late_answer_arrived), with the number that `call` was
    /// given.
    ///
    /// Does nothing if no line is parked of which the driver is not told already.
    pub fn watch_late_answers(&mut self, call: impl Fn(PartNumber) -> Box<dyn FnOnce() + Send>) {
        if let JobSlot::Held(job) = &mut self.job_slot {
            job.watch_answers(call);
        }
    }

    /// Returns how many bytes this answer to a parked line has that is here, if it is bytes.
    #[must_use]
    pub fn late_answer_len(&mut self, line: Option<PartNumber>) -> usize {
        match &mut self.job_slot {
            JobSlot::Held(job) => {
                let parked = job.parked_at(line).and_then(|job| job.parked());
                parked.map_or(0, |parked| parked.answer.len())
            }
            JobSlot::InFlight { .. } => 0,
        }
    }

    /// Takes the answer to the parked line that the driver was told of, and returns whether it was
    /// here. If not, it came too late for its line. A driver that is told of none gives no number,
    /// and has the first that is here taken.
    pub fn late_answer_arrived(&mut self, line: Option<PartNumber>, config: &ConnectionConfig, now: Instant) -> bool {
        let JobSlot::Held(job) = &mut self.job_slot else { return false };
        if job.has_parts() {
            let taken = job.parked_at(line).and_then(|part| part.take_late_answer(config));
            self.merge_parts(config, now);
            return taken.is_some();
        }
        let was_writing = !job.replies.is_empty();
        let Some(lines) = job.parked_at(line).and_then(|job| job.take_late_answer(config)) else { return false };
        self.counts.lines += lines;
        if !was_writing {
            self.since = now;
        }
        if let Some(push) = &mut self.pending_push {
            push.interrupted = None;
        }
        if let Some(reason) = job.close_reason {
            self.close_behind(reason);
        }
        self.job().release_answered(config);
        self.finish_writing();
        true
    }

    /// Returns how many lines are answered later, and their answers were not taken yet.
    #[must_use]
    pub fn lines_parked(&self) -> usize {
        match &self.job_slot {
            JobSlot::Held(job) => job.all_parked().count(),
            JobSlot::InFlight { .. } => 0,
        }
    }
}

/// Lines that are answered side by side.
impl<S> Connection<S> {
    /// Takes an answered part back.
    fn part_answered(&mut self, number: PartNumber, mut part: ClientJob<S>, config: &ConnectionConfig, now: Instant) {
        part.begin_wait(now);
        self.job().take_part_back(number, part);
        self.merge_parts(config, now);
    }

    /// Makes the replies of the parts at the front its own, as far as they are here.
    fn merge_parts(&mut self, config: &ConnectionConfig, now: Instant) {
        let phase = self.phase();
        let JobSlot::Held(job) = &mut self.job_slot else { return };
        let mut close_reason = None;
        while close_reason.is_none()
            && let Some(mut part) = job.merge_first_part(config)
        {
            let lines = part.input.take_returned();
            self.counts.lines += lines;
            // A part that closes the connection may have left its line unanswered.
            self.counts.discard_unanswered(part.discard_lines());
            close_reason = part.close_reason;
            if close_reason.is_some_and(|reason| !ends_behind_replies(reason)) {
                self.counts.discarded += lines;
            } else {
                job.input.return_again(lines);
            }
            job.let_go(part);
        }
        match close_reason {
            Some(reason) => self.close_behind(reason),
            None => job.take_said_by_first_part(config),
        }
        self.job().release_answered(config);
        if self.phase() != phase {
            self.since = now;
        }
        if let Some(push) = &mut self.pending_push {
            push.interrupted = None;
        }
        self.close_if_pushed(config);
        self.finish_writing();
        self.end_timed_out_part(config, now);
    }

    /// Closes the connection if the reply to the first line timed out, and those before it are
    /// sent.
    fn end_timed_out_part(&mut self, config: &ConnectionConfig, now: Instant) {
        if self.is_first_part_timed_out() {
            self.close_with(CloseReason::ReplyTimeout, config, now);
        }
    }

    fn is_first_part_timed_out(&self) -> bool {
        matches!(&self.job_slot, JobSlot::Held(job) if job.replies.is_empty() && job.has_first_part_timed_out())
    }
}

/// TLS that begins behind a reply.
impl<S> Connection<S> {
    /// Returns whether TLS is to begin now, as a reply has [asked](crate::Reply::start_tls): the
    /// reply is sent, and nothing has come behind the line that it answers. Until the handshake is
    /// over, the connection takes no input, and has no deadline of its own.
    #[must_use]
    pub fn wants_tls(&self) -> bool {
        let is_ready = |job: &ClientJob<S>| job.awaits_tls() && job.replies.is_empty();
        matches!((&self.job_slot, self.state), (JobSlot::Held(job), State::Open) if is_ready(job))
    }

    /// Returns whether a reply has asked for TLS that has not begun.
    fn awaits_tls(&self) -> bool {
        matches!(&self.job_slot, JobSlot::Held(job) if job.awaits_tls())
    }

    /// The handshake is over, and this is what it has told. The responder is told
    /// [next](crate::Responder::tls_started), before the next line.
    ///
    /// # Panics
    ///
    /// Panics if no TLS [was wanted](Self::wants_tls).
    pub fn tls_started(&mut self, info: TlsInfo, now: Instant) {
        assert!(self.wants_tls(), "TLS begins when it is wanted");
        let job = self.job();
        job.peer.tls_started(info);
        job.tls_started();
        self.since = now;
    }

    /// The handshake has failed, and the connection ends. What is said of that is the driver's
    /// part: the responder says nothing more.
    ///
    /// # Panics
    ///
    /// Panics if no TLS [was wanted](Self::wants_tls).
    pub fn tls_failed(&mut self) {
        assert!(self.wants_tls(), "TLS fails when it is wanted");
        self.close_behind(CloseReason::HandshakeFailed);
    }

    /// Ends the connection if TLS is asked for and must not begin: somebody may have sent in plain
    /// what is to be read as sent in TLS, or the server stops.
    fn check_tls_request(&mut self) {
        let JobSlot::Held(job) = &self.job_slot else { return };
        match self.state {
            State::Open if job.awaits_tls() && !job.input.is_empty() => {
                self.close_behind(CloseReason::PlainBehindStartTls);
            }
            State::Stopping { .. } if job.awaits_tls() => self.read_would_block(),
            _ => {}
        }
    }
}

/// Closing.
impl<S> Connection<S> {
    /// Stops the connection: what has arrived is answered, then it ends.
    ///
    /// `bytes` of what has arrived are still to be [received](Self::received). What the client
    /// sends later does not count, so no client can keep the server from stopping.
    pub fn stop(&mut self, bytes: usize) {
        if let State::Open = self.state {
            self.stop_after(u32::try_from(bytes).unwrap_or(u32::MAX));
            self.check_tls_request();
        }
    }

    /// Receives so many more bytes, and then no more.
    fn stop_after(&mut self, bytes_left: u32) {
        self.transition(State::Stopping { bytes_left });
        if bytes_left == 0 {
            self.read_would_block();
        }
    }

    /// Ends the connection as a reply that [closes](crate::Reply::close) does: behind the replies
    /// that are unsent or being made, those to lines that are with a thread that answers, and
    /// behind what was pushed before. Lines that no thread has are discarded, and a parked line is
    /// waited for no more, unless its answer is here.
    ///
    /// Does nothing if the connection closes already.
    pub fn close(&mut self, config: &ConnectionConfig, now: Instant) {
        if let State::Lingering { .. } | State::Over { .. } = self.state {
            return;
        }
        while self.late_answer_arrived(None, config, now) {}
        self.pending_push.get_or_insert_default().closes = true;
        self.close_if_pushed(config);
        self.finish_writing();
    }

    /// Ends the connection if that was [pushed](Self::close), and nothing comes before that which
    /// is with a thread that answers, or is to be.
    fn close_if_pushed(&mut self, config: &ConnectionConfig) {
        let (JobSlot::Held(job), Some(push)) = (&mut self.job_slot, &mut self.pending_push) else { return };
        if !push.closes {
            return;
        }
        if job.close_reason.is_some() {
            push.closes = false;
            return;
        }
        // One that was told of it has nothing to read any more.
        if job.end_of_input != EndOfInput::Told {
            job.end_of_input = EndOfInput::Unwanted;
        }
        if job.session.is_some() && !job.has_late_answer() && !job.is_first_part_made() {
            push.closes = false;
            self.close_behind(CloseReason::ResponderClosed);
        } else {
            let lines = job.input.discard_lines();
            self.counts.discard_unanswered(lines);
            // Whatever the answer asks for, nothing is read any more.
            return job.input.release_taken(config.max_line_bytes);
        }
        self.job().release_answered(config);
    }

    /// Sends the client the rejection for this reason, and closes. Lines that wait for an answer
    /// get none.
    ///
    /// A client whose job is in flight, that has not taken its replies, or is to begin TLS, cannot
    /// receive a rejection: its connection is [aborted](Self::abort).
    pub fn close_with(&mut self, reason: CloseReason, config: &ConnectionConfig, now: Instant) {
        let received_eof = self.has_received_eof();
        match (&mut self.job_slot, self.state) {
            (JobSlot::Held(job), State::Open | State::Stopping { .. } | State::Ending { .. })
                if job.replies.is_empty() && !job.awaits_tls() =>
            {
                self.counts.unfinished += u32::from(!received_eof && job.input.is_unfinished());
                self.counts.discard_unanswered(job.stop_waiting() + job.input.discard_all());
                job.append(Framing::Raw, config.rejection_text_with(reason, job.latest_ending), config);
                job.close_reason = Some(reason);
                self.transition(State::Ending { reason, received_eof });
                self.since = now;
            }
            _ => self.abort(reason),
        }
    }

    /// Notes that the reply timeout expired of the job, or of a [part](ClientJob::part): the client
    /// receives a rejection, the connection closes, and the job is not waited for. What is answered
    /// of the lines before a part is sent first.
    ///
    /// When the job is answered after all, the thread that has it calls
    /// [`AnsweredJob::into_disconnect`].
    ///
    /// # Panics
    ///
    /// Panics if the job is not in flight.
    pub fn reply_timed_out(&mut self, part: Option<PartNumber>, config: &ConnectionConfig, now: Instant) {
        if let Some(number) = part {
            self.job().parts_mut().expect("a job in flight is waited for").time_out(number);
            return self.end_timed_out_part(config, now);
        }
        let JobSlot::InFlight { peer, lines, latest_ending, is_unfinished, .. } = &self.job_slot else {
            panic!("a job that is held cannot time out")
        };
        let (lines, is_unfinished) = (*lines, *is_unfinished);
        let mut job = ClientJob::new(peer.clone(), config);
        job.latest_ending = *latest_ending;
        self.counts.discard_unanswered(lines);
        let is_rejected = !self.has_received_eof() && !matches!(self.state, State::Over { .. });
        self.counts.unfinished += u32::from(is_unfinished && is_rejected);
        self.pending_push = None;
        self.job_slot = JobSlot::Held(job);
        self.close_with(CloseReason::ReplyTimeout, config, now);
    }

    /// Ends the connection at once. What the client is owed is lost.
    ///
    /// If the client is owed nothing any more, the reason stays the one that the connection was
    /// ending for.
    pub fn abort(&mut self, reason: CloseReason) {
        let reason = match self.state {
            State::Open | State::Stopping { .. } | State::Ending { .. } => reason,
            State::Lingering { reason } => reason,
            State::Over { .. } => return,
        };
        self.transition(State::Over { reason });
        self.written = 0;
        self.pending_push = None;
        match &mut self.job_slot {
            JobSlot::Held(job) => {
                self.counts.discarded += job.input.take_returned();
                self.counts.discard_unanswered(job.discard());
            }
            JobSlot::InFlight { lines, .. } => self.counts.discard_unanswered(std::mem::take(lines)),
        }
    }

    /// Returns what to do to close the connection. The driver asks when it has nothing else to do
    /// for it.
    #[must_use]
    pub fn close_action(&self) -> CloseAction {
        let is_settled = matches!(
            &self.job_slot,
            JobSlot::Held(job) if job.replies.is_empty() && !job.is_due() && !job.awaits_answer()
        );
        match self.state {
            State::Ending { reason, received_eof: true } if is_settled => CloseAction::Close(reason),
            State::Ending { .. } if is_settled => CloseAction::ShutdownWrite,
            State::Over { reason } => CloseAction::Close(reason),
            State::Open | State::Stopping { .. } | State::Ending { .. } | State::Lingering { .. } => CloseAction::None,
        }
    }

    /// Notes that the server's end of the stream was sent.
    pub fn write_shut_down(&mut self, now: Instant) {
        if let State::Ending { reason, .. } = self.state {
            self.transition(State::Lingering { reason });
            self.since = now;
        }
    }

    /// Returns whether the job is held, and nothing of it in flight.
    #[must_use]
    pub fn has_job(&self) -> bool {
        matches!(&self.job_slot, JobSlot::Held(job) if !job.has_parts_in_flight())
    }

    /// Consumes the connection, and returns the call to make if the responder knows the client.
    ///
    /// # Panics
    ///
    /// Panics if the connection does not [have its job](Self::has_job), or it is not [time to
    /// close](CloseAction::Close).
    pub fn into_disconnect(self) -> Option<Disconnect<S>> {
        let CloseAction::Close(reason) = self.close_action() else {
            panic!("a connection is disconnected when it is over")
        };
        match self.job_slot {
            JobSlot::Held(job) => job.into_disconnect(reason),
            JobSlot::InFlight { .. } => panic!("a connection is disconnected when it has its job"),
        }
    }

    /// Changes the state. No other place does.
    fn transition(&mut self, to: State) {
        assert!(self.state.leads_to(to), "a connection goes from {:?} to {to:?}", self.state);
        self.state = to;
        if self.awaits_tls() {
            // It does not begin any more, and what was to be said in it is not said in plain.
            self.pending_push = None;
        }
    }

    /// Returns whether the client stopped sending before the connection was over.
    const fn has_received_eof(&self) -> bool {
        matches!(self.state, State::Ending { received_eof: true, .. })
    }

    /// Returns the job of a connection that is known to hold it.
    fn job(&mut self) -> &mut ClientJob<S> {
        match &mut self.job_slot {
            JobSlot::Held(job) => job,
            JobSlot::InFlight { .. } => panic!("nothing is read while the job is in flight"),
        }
    }
}

/// Time.
impl<S> Connection<S> {
    /// Returns what the connection is waiting for.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match (&self.job_slot, self.state) {
            (_, State::Over { .. }) => Phase::Over,
            (_, State::Lingering { .. }) => Phase::Lingering,
            (JobSlot::InFlight { .. }, _) => Phase::Answering,
            (JobSlot::Held(job), _) if !job.replies.is_empty() => Phase::Writing,
            (JobSlot::Held(_), _) if self.wants_tls() => Phase::Handshake,
            (JobSlot::Held(job), _) if job.is_first_parked() => Phase::Parked,
            (JobSlot::Held(job), _) if job.has_parts() && !job.is_due() => Phase::Answering,
            (JobSlot::Held(job), _) if job.is_due() => Phase::Queued,
            (JobSlot::Held(job), _) if job.input.is_unfinished() => Phase::Reading,
            (JobSlot::Held(_), _) => Phase::Idle,
        }
    }

    /// Returns when the phase began; in [`Phase::Writing`], when the client last took a byte.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// Returns when to call [`check_deadline`](Self::check_deadline), if nothing happens before.
    ///
    /// There is no deadline while the job is queued or in flight: how long that may take is for the
    /// driver to decide.
    #[must_use]
    pub fn deadline(&self, config: &ConnectionConfig) -> Option<Instant> {
        if self.is_first_part_timed_out() {
            return Some(self.since);
        }
        let parked = self.parked_until(config);
        let wait = match (self.phase(), self.state) {
            // It ends as soon as the driver asks for the close action.
            (Phase::Idle | Phase::Reading, State::Ending { .. }) => None,
            (Phase::Idle, _) => config.timeouts.idle,
            (Phase::Parked, _) if self.waits_without_end() => config.timeouts.idle,
            (Phase::Reading, _) => config.timeouts.line,
            (Phase::Writing, _) => config.timeouts.write,
            (Phase::Lingering, _) => Some(config.timeouts.linger),
            (Phase::Queued | Phase::Answering | Phase::Parked | Phase::Handshake | Phase::Over, _) => None,
        };
        let phase = wait.and_then(|wait| self.since.checked_add(wait));
        parked.into_iter().chain(phase).min()
    }

    /// Returns until when an answer that comes later is waited for: the first that times out.
    fn parked_until(&self, config: &ConnectionConfig) -> Option<Instant> {
        match &self.job_slot {
            JobSlot::Held(job) => job.all_parked().filter_map(|parked| parked.until(config)).min(),
            JobSlot::InFlight { .. } => None,
        }
    }

    /// Returns whether the first line without a reply is parked for as long as its answer takes.
    fn waits_without_end(&self) -> bool {
        let JobSlot::Held(job) = &self.job_slot else { return false };
        job.all_parked().next().is_some_and(|parked| parked.answer.when_late == WhenLate::Wait)
    }

    /// Closes the connection if its deadline has passed, or rejects a line whose answer was to come
    /// by then.
    pub fn check_deadline(&mut self, config: &ConnectionConfig, now: Instant) {
        if self.deadline(config).is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.is_first_part_timed_out() {
            return self.end_timed_out_part(config, now);
        }
        if self.parked_until(config).is_some_and(|until| until <= now)
            && let JobSlot::Held(job) = &mut self.job_slot
        {
            let is_late = |parked: &Parked| parked.is_late(config, now);
            match job.parked().filter(|parked| is_late(parked)).map(|parked| parked.answer.when_late) {
                Some(WhenLate::Reject) => {
                    if job.replies.is_empty() {
                        self.since = now;
                    }
                    if let Some(push) = &mut self.pending_push {
                        push.interrupted = None;
                    }
                    job.reject_late();
                }
                Some(WhenLate::Close | WhenLate::Wait) => self.close_with(CloseReason::ReplyTimeout, config, now),
                None => {
                    job.time_out_parked_parts(is_late);
                    self.end_timed_out_part(config, now);
                }
            }
            return;
        }
        match (self.phase(), self.state) {
            (_, State::Lingering { reason }) => self.transition(State::Over { reason }),
            (Phase::Idle | Phase::Parked, _) => self.close_with(CloseReason::IdleTimeout, config, now),
            (Phase::Reading, _) => self.close_with(CloseReason::LineTimeout, config, now),
            (Phase::Writing, _) => self.abort(CloseReason::WriteTimeout),
            _ => {}
        }
    }
}

/// State and counts.
impl<S> Connection<S> {
    /// Returns the client.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        match &self.job_slot {
            JobSlot::Held(job) => &job.peer,
            JobSlot::InFlight { peer, .. } => peer,
        }
    }

    /// Returns the counts since the last call.
    pub fn take_counts(&mut self) -> LineCounts {
        std::mem::take(&mut self.counts)
    }

    /// Returns how much memory lines and replies occupy, in bytes, the estimated capacity for the
    /// next replies included. While the job is in flight, what it held when it left.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        let push = self.pending_push.as_ref().map_or(0, |push| push.bytes_held());
        let job = match &self.job_slot {
            JobSlot::Held(job) => job.bytes_held(),
            JobSlot::InFlight { bytes, .. } => *bytes,
        };
        push + job
    }

    /// Returns how many complete lines have no answer yet, as far as is known: some may turn out to
    /// be part of counted bytes.
    #[must_use]
    pub fn lines_waiting(&self) -> u32 {
        match &self.job_slot {
            JobSlot::Held(job) => job.lines(),
            JobSlot::InFlight { lines, .. } => *lines,
        }
    }

    /// Returns the reason for which the connection is ending, if it is.
    #[must_use]
    pub fn reason(&self) -> Option<CloseReason> {
        match self.state {
            // Lines behind an end that is pushed are discarded at once.
            State::Open if self.pending_push.as_ref().is_some_and(|push| push.closes) => {
                Some(CloseReason::ResponderClosed)
            }
            State::Open => None,
            State::Stopping { .. } => Some(CloseReason::Shutdown),
            State::Ending { reason, .. } | State::Lingering { reason } | State::Over { reason } => Some(reason),
        }
    }
}

/// Returns whether replies are sent before an end for this reason. For the other reasons, only a
/// rejection is.
const fn ends_behind_replies(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::ClientClosed
            | CloseReason::ResponderClosed
            | CloseReason::LineRejected
            | CloseReason::Shutdown
            | CloseReason::PlainBehindStartTls
    )
}

impl<S> ClientJob<S> {
    /// Appends pushed bytes behind the replies.
    fn append(&mut self, framing: Framing, bytes: &[u8], config: &ConnectionConfig) {
        let replies = &mut self.replies;
        let start = replies.len();
        match (framing, self.latest_ending) {
            (Framing::Raw | Framing::Wire, _) | (Framing::Lines, LineEnding::Lf) => replies.extend_from_slice(bytes),
            (Framing::Lines, LineEnding::CrLf) => {
                for line in bytes.split_inclusive(|&byte| byte == b'\n') {
                    replies.extend_from_slice(&line[..line.len() - 1]);
                    replies.extend_from_slice(LineEnding::CrLf.as_bytes());
                }
            }
        }
        if config.rules.telnet && framing != Framing::Wire {
            telnet::escape(replies, start);
        }
    }

    /// Returns whether there is something to answer, and nothing to send first.
    fn is_due(&self) -> bool {
        let has_work = match self.has_parts() {
            true => self.is_first_part_due(),
            false => self.session.is_none() || self.has_work(),
        };
        has_work && self.may_be_answered()
    }

    /// Returns whether nothing stands in the way of an answer.
    fn may_be_answered(&self) -> bool {
        self.close_reason.is_none() && self.replies.is_empty()
    }

    /// Discards lines and replies, and returns how many lines had no reply yet.
    fn discard(&mut self) -> u32 {
        self.replies = Vec::new();
        self.input.take_returned();
        self.discard_lines()
    }

    /// Discards lines, those that are answered already by others among them, and returns how many
    /// there were.
    fn discard_lines(&mut self) -> u32 {
        self.stop_waiting() + self.input.discard_lines()
    }
}

impl PendingPush {
    /// Keeps a message until the job is held again.
    fn wait(&mut self, framing: Framing, bytes: &[u8], receipt: Option<PushReceipt>) {
        match self.waiting.last_mut() {
            Some(latest) if latest.framing == framing && latest.receipt.is_none() => {
                latest.bytes.extend_from_slice(bytes);
                latest.receipt = receipt;
            }
            _ => self.waiting.push(WaitingPush { framing, bytes: bytes.to_vec(), receipt }),
        }
    }

    /// Returns how much memory the messages occupy, in bytes.
    fn bytes_held(&self) -> usize {
        let texts: usize = self.waiting.iter().map(|waiting| waiting.bytes.capacity()).sum();
        let receipts = self.receipts.capacity() * size_of::<(isize, PushReceipt)>();
        texts + self.waiting.capacity() * size_of::<WaitingPush>() + receipts
    }
}

impl LineCounts {
    const fn new() -> Self {
        Self { lines: 0, replies: 0, discarded: 0, unfinished: 0 }
    }

    /// Counts lines that nobody has answered.
    const fn discard_unanswered(&mut self, lines: u32) {
        self.lines += lines;
        self.discarded += lines;
    }
}
