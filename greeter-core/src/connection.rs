//! One connection, as a state machine without I/O.
//!
//! A driver owns the socket and the clock. It tells the [`Connection`] what happened, asks it what to do, and does that:
//!
//! | what happened | the driver says | what to do | the driver asks |
//! |---|---|---|---|
//! | bytes arrived | [`received`](Connection::received) | read | [`wants_input`](Connection::wants_input) |
//! | end of input | [`received_eof`](Connection::received_eof) | have a job answered | [`take_job`](Connection::take_job) |
//! | a job was answered | [`answered`](Connection::answered) | write | [`unsent`](Connection::unsent) |
//! | bytes were taken | [`wrote`](Connection::wrote) | end it | [`ending`](Connection::close_action) |
//! | the socket failed | [`abort`](Connection::abort) | wake up at | [`deadline`](Connection::deadline) |
//! | a deadline passed | [`expired`](Connection::expired) | tell people | [`phase`](Connection::phase) |
//! | the answer is overdue | [`reply_timed_out`](Connection::reply_timed_out) | | |
//! | something to say message | [`push`](Connection::push) | | |
//! | the server stops | [`stop`](Connection::stop) | | |
//!
//! The machine reads, answers and writes one after the other, never two at a time: it takes no input while there are lines
//! to answer or replies to send. That is all the back-pressure there is, and it bounds what a client can make the server
//! hold: one read, one unfinished line, and the replies of one budget.
//!
//! It reads no clock: an event is told when it happened. What the machine keeps of that is one moment, since when it has been in
//! its present [`Phase`]; all deadlines come from it.

use std::fmt;
use std::time::Instant;

use crate::close_reason::CloseReason;
use crate::config::ConnectionConfig;
use crate::job::{AnsweredJob, ClientJob, Disconnect};
use crate::line::LineEnding;
use crate::peer::Peer;
use crate::push::{Framing, PushMessage};

/// The conversation with one client.
#[derive(Debug)]
pub struct Connection<S> {
    job_slot: JobSlot<S>,
    /// How much of the job's replies the socket has taken. Zero while the job is away.
    written: usize,
    state: State,
    /// When the present phase began; in [`Phase::Writing`], when the client last took something.
    since: Instant,
    /// What is being said message, if anything.
    pending_push: Option<Box<PendingPush>>,
    counts: LineCounts,
}

/// Where the connection's only job is.
#[derive(Debug)]
enum JobSlot<S> {
    /// Here, with the lines to answer and the replies to send.
    Held(ClientJob<S>),
    /// With whoever answers it. So many lines went with it, in so much memory.
    InFlight { peer: Peer, lines: u32, latest_ending: LineEnding, has_unfinished_line: bool, bytes: usize },
}

/// What is said outside the replies, until it has been written.
#[derive(Debug, Default)]
struct PendingPush {
    /// What waits for the job to come home, so that it does not get into the middle of a reply, and ends as is known then.
    waiting: Vec<(Framing, Vec<u8>)>,
    /// How many bytes have been said since the client had taken everything.
    unsent_bytes: usize,
    /// What [`Connection::since`] is again once all is written: to talk to a client is no sign of life of it.
    interrupted: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Lines come in, replies go out.
    Open,
    /// The server stops. What had arrived by then is still taken, and answered: so many bytes.
    Stopping { bytes_left: u32 },
    /// Nothing more is taken in. What is owed is answered and sent, then it is over. A peer that has stopped sending has
    /// nothing on the way that a close could meet.
    Ending { reason: CloseReason, received_eof: bool },
    /// Everything was sent, and our end of the stream after it. Closing now, with input unread, would send a reset, and that
    /// destroys what the peer has not read yet (RFC 9293, 3.10.4; RFC 1122, 4.2.2.13). So input is read and thrown away.
    Lingering { reason: CloseReason },
    /// The socket is to be closed, or is.
    Over { reason: CloseReason },
}

impl State {
    /// Whether a connection in this state may go on to that one. It never goes back:
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

/// What a connection is doing, which is mostly waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for the client to begin a line. Nothing is owed.
    Idle,
    /// Waiting for the client to finish the line that it has begun.
    Reading,
    /// Waiting for somebody to answer.
    Queued,
    /// Being answered, for all that the connection knows.
    Answering,
    /// Waiting for the client to take its replies.
    Writing,
    /// Waiting for the client to close its end of the stream, since ours was sent.
    Lingering,
    /// Over.
    Over,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Reading => "reading",
            Self::Queued => "queued",
            Self::Answering => "answering",
            Self::Writing => "writing",
            Self::Lingering => "lingering",
            Self::Over => "over",
        })
    }
}

/// What a driver is to do about the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseAction {
    /// Nothing yet.
    None,
    /// Shut the socket down for writing, then call [`Connection::write_shut_down`].
    ShutdownWrite,
    /// Close the socket. Once the job [is home](Connection::has_job), the connection can be
    /// [dissolved](Connection::into_disconnect).
    Close(CloseReason),
}

/// What has happened on a connection, in numbers, since it was asked last.
///
/// Over the life of a connection, `lines = replies + discarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Complete lines that came in.
    pub lines: u32,
    /// Lines whose replies were taken whole by the socket, silent ones included.
    pub replies: u32,
    /// Lines that were never answered, or whose replies the socket did not take. Replies go out in batches; a batch that was
    /// cut short counts as discarded as a whole.
    pub discarded: u32,
    /// Unfinished lines that the client left behind when it stopped sending or was sent away.
    pub partial: u32,
}

/// From the first byte to the last.
impl<S> Connection<S> {
    /// A client has connected.
    #[must_use]
    pub const fn new(peer: Peer, config: &ConnectionConfig, now: Instant) -> Self {
        let work = JobSlot::Held(ClientJob::new(peer, config));
        Self {
            job_slot: work,
            written: 0,
            state: State::Open,
            since: now,
            pending_push: None,
            counts: LineCounts::new(),
        }
    }

    /// Whether to read. Of what is read, [`received`](Self::received) wants to know; a read that had nothing to give is to
    /// be told [`read_would_block`](Self::read_would_block).
    #[must_use]
    pub fn wants_input(&self) -> bool {
        match self.state {
            State::Open | State::Stopping { .. } => {
                matches!(&self.job_slot, JobSlot::Held(job) if job.lines() == 0 && job.replies.bytes.is_empty())
            }
            State::Lingering { .. } => true,
            State::Ending { .. } | State::Over { .. } => false,
        }
    }

    /// Bytes arrived.
    ///
    /// # Panics
    ///
    /// When the connection did not [want input](Self::wants_input).
    pub fn received(&mut self, bytes: &[u8], now: Instant) {
        if let State::Lingering { .. } = self.state {
            return;
        }
        assert!(self.wants_input(), "input is taken only when it is wanted");
        let line_had_begun = self.job().lines.has_unfinished_line();
        let lines = self.job().receive(bytes);
        self.counts.lines += lines;
        // More of a line that had begun renews nothing: a byte a minute would keep the connection for ever.
        if lines > 0 || !line_had_begun {
            self.since = now;
        }
        if let State::Stopping { bytes_left } = self.state {
            self.stop_after(bytes_left.saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
        }
    }

    /// The socket has nothing more to read for now.
    pub fn read_would_block(&mut self) {
        if let State::Stopping { .. } = self.state {
            self.transition(State::Ending { reason: CloseReason::Shutdown, received_eof: false });
        }
    }

    /// The peer has stopped sending. It is still owed its replies.
    pub fn received_eof(&mut self) {
        match self.state {
            State::Open | State::Stopping { .. } => {
                self.counts.partial += u32::from(self.job().lines.has_unfinished_line());
                self.transition(State::Ending { reason: CloseReason::ClientClosed, received_eof: true });
            }
            State::Lingering { reason } => self.transition(State::Over { reason }),
            State::Ending { .. } | State::Over { .. } => {}
        }
    }

    /// Whether there is something to answer: a new client, or complete lines. Nothing is answered while replies are unsent.
    #[must_use]
    pub fn wants_answer(&self) -> bool {
        let is_live = matches!(self.state, State::Open | State::Stopping { .. } | State::Ending { .. });
        is_live && matches!(&self.job_slot, JobSlot::Held(job) if job.is_due())
    }

    /// The job, when it [wants an answer](Self::wants_answer).
    pub fn take_job(&mut self, now: Instant) -> Option<ClientJob<S>> {
        if !self.wants_answer() {
            return None;
        }
        self.since = now;
        let job = self.job();
        let away = JobSlot::InFlight {
            peer: job.peer,
            lines: job.lines(),
            latest_ending: job.latest_ending,
            has_unfinished_line: job.lines.has_unfinished_line(),
            bytes: job.bytes_held(),
        };
        match std::mem::replace(&mut self.job_slot, away) {
            JobSlot::Held(job) => Some(job),
            JobSlot::InFlight { .. } => None,
        }
    }

    /// The job comes home. Of a connection that is over, the replies go nowhere.
    ///
    /// # Panics
    ///
    /// When it never left.
    pub fn answered(&mut self, answered: AnsweredJob<S>, now: Instant) {
        assert!(!self.has_job(), "a connection has one job");
        let AnsweredJob(mut job) = answered;
        if let State::Over { .. } = self.state {
            job.discard();
        } else if let Some(reason) = job.replies.close_reason {
            self.counts.discarded += job.lines.discard_lines();
            if !ends_behind_replies(reason) {
                // What there is to send tells why, and is no reply.
                self.counts.discarded += std::mem::take(&mut job.answered);
            }
            self.transition(State::Ending { reason, received_eof: self.has_received_eof() });
        }
        job.lines.release_taken();
        self.job_slot = JobSlot::Held(job);
        self.append_waiting_push();
        self.since = now;
        // Where there is nothing to send, the lines count as answered now.
        self.finish_writing();
    }

    /// The replies that are still to be sent.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        match &self.job_slot {
            JobSlot::Held(job) => &job.replies.bytes[self.written..],
            JobSlot::InFlight { .. } => &[],
        }
    }

    /// The socket took so many bytes of what is [unsent](Self::unsent). If that was all, the buffer it was in is given back.
    ///
    /// # Panics
    ///
    /// When there were not so many.
    pub fn wrote(&mut self, bytes: usize, now: Instant) -> Option<Vec<u8>> {
        assert!(bytes <= self.unsent().len(), "the socket takes what it is given");
        self.written += bytes;
        if bytes > 0 {
            self.since = now;
        }
        self.finish_writing()
    }

    /// Counts the replies once the socket has taken all of them, and gives back the buffer they were in.
    fn finish_writing(&mut self) -> Option<Vec<u8>> {
        match &mut self.job_slot {
            JobSlot::Held(job) if self.written == job.replies.bytes.len() => {
                self.written = 0;
                self.counts.replies += std::mem::take(&mut job.answered);
                if let Some(interrupted) = self.pending_push.take().and_then(|push| push.interrupted) {
                    self.since = interrupted;
                }
                Some(std::mem::take(&mut job.replies.bytes))
            }
            JobSlot::Held(_) | JobSlot::InFlight { .. } => None,
        }
    }

    /// The socket takes nothing for now. What is held until it does is held in no more than twice the memory that it needs.
    pub fn write_would_block(&mut self) {
        if let JobSlot::Held(job) = &mut self.job_slot {
            let replies = &mut job.replies.bytes;
            // What is left is moved when it is the smaller part, so that each byte is moved once in all. A client that takes a
            // long reply in small bites would have it moved at each of them.
            if self.written >= replies.len() / 2 {
                *replies = replies.split_off(std::mem::take(&mut self.written));
            }
            replies.shrink_to_fit();
            job.lines.compact();
        }
    }

    /// Says something message: at once, or behind the banner or the replies that are being made. Its lines end as the client's own do,
    /// and until it has sent one, as its banner did.
    ///
    /// Whoever is owed replies hears it, also where the connection ends behind them, until our end of the stream is sent; whoever was
    /// not let in or is sent away does not.
    ///
    /// Tells whether anybody hears it. How much is [left to be taken](Self::pushed_unsent) before that, and whether that is too much, is
    /// the driver's to judge.
    pub fn push(&mut self, message: &PushMessage, now: Instant) -> bool {
        if message.is_empty() || !self.accepts_push() {
            return false;
        }
        let (framing, bytes) = (message.framing(), message.bytes());
        let push = self.pending_push.get_or_insert_default();
        push.unsent_bytes += bytes.len();
        match &mut self.job_slot {
            JobSlot::Held(job) if job.session.is_some() => {
                if job.replies.bytes.is_empty() {
                    push.interrupted = Some(self.since);
                    self.since = now;
                }
                job.append(framing, bytes);
            }
            // A client is told nothing before its banner.
            JobSlot::Held(_) | JobSlot::InFlight { .. } => push.wait(framing, bytes),
        }
        true
    }

    /// How many bytes that were [pushed](Self::push) the client could have taken and has not, at the most: of what it is sent, it may have
    /// taken some that stand before these. What waits for the banner or for replies that are being made, nobody could take yet.
    #[must_use]
    pub fn pushed_unsent(&self) -> usize {
        self.pending_push.as_ref().map_or(0, |push| push.unsent_bytes.min(self.unsent().len()))
    }

    /// Says what waited for the job, which is home.
    fn append_waiting_push(&mut self) {
        let waiting = self.pending_push.as_mut().map(|push| std::mem::take(&mut push.waiting));
        let hears = self.accepts_push();
        if let (Some(waiting), JobSlot::Held(job), true) = (waiting, &mut self.job_slot, hears) {
            waiting.iter().for_each(|(framing, bytes)| job.append(*framing, bytes));
        }
    }

    /// Whether what is said message is heard.
    fn accepts_push(&self) -> bool {
        let is_owed_replies = match self.state {
            State::Open | State::Stopping { .. } => true,
            State::Ending { reason, .. } => ends_behind_replies(reason),
            State::Lingering { .. } | State::Over { .. } => false,
        };
        let is_let_in = match &self.job_slot {
            JobSlot::Held(job) => job.session.is_some() || job.replies.close_reason.is_none(),
            JobSlot::InFlight { .. } => true,
        };
        is_owed_replies && is_let_in
    }
}

/// Towards the end.
impl<S> Connection<S> {
    /// The server stops: what has arrived is answered, and then it is over. `bytes` of it are still to be
    /// [received](Self::received); what is sent later does not count, so nobody can keep the server from stopping.
    pub fn stop(&mut self, bytes: usize) {
        if let State::Open = self.state {
            self.stop_after(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
    }

    /// Takes so many more bytes in, and then no more.
    fn stop_after(&mut self, bytes_left: u32) {
        self.transition(State::Stopping { bytes_left });
        if bytes_left == 0 {
            self.read_would_block();
        }
    }

    /// Tells the client why, and ends. Lines that wait for an answer get none. There is no telling a client that is being
    /// answered or has not taken its replies: that one is cut off.
    pub fn close_with(&mut self, reason: CloseReason, config: &ConnectionConfig, now: Instant) {
        let received_eof = self.has_received_eof();
        match (&mut self.job_slot, self.state) {
            (JobSlot::Held(job), State::Open | State::Stopping { .. } | State::Ending { .. })
                if job.replies.bytes.is_empty() =>
            {
                self.counts.partial += u32::from(!received_eof && job.lines.has_unfinished_line());
                self.counts.discarded += job.lines.discard_all();
                job.replies.bytes.extend_from_slice(config.rejection_text_with(reason, job.latest_ending));
                job.replies.close_reason = Some(reason);
                self.transition(State::Ending { reason, received_eof });
                self.since = now;
            }
            _ => self.abort(reason),
        }
    }

    /// The answer is overdue. The client is told, and that is the end; the job is not waited for. When it is answered after all,
    /// whoever has it parts with [what is left of it](AnsweredJob::into_disconnect).
    ///
    /// # Panics
    ///
    /// When the job is home.
    pub fn reply_timed_out(&mut self, config: &ConnectionConfig, now: Instant) {
        let JobSlot::InFlight { peer, lines, latest_ending, has_unfinished_line, .. } = self.job_slot else {
            panic!("nobody waits for a job that is home")
        };
        self.counts.discarded += lines;
        let is_sent_away = !self.has_received_eof() && !matches!(self.state, State::Over { .. });
        self.counts.partial += u32::from(has_unfinished_line && is_sent_away);
        self.pending_push = None;
        let mut job = ClientJob::new(peer, config);
        job.latest_ending = latest_ending;
        self.job_slot = JobSlot::Held(job);
        self.close_with(CloseReason::ReplyTimeout, config, now);
    }

    /// It is over at once. What is owed is lost. Where nothing is owed any more, the reason is the one it ended for.
    pub fn abort(&mut self, reason: CloseReason) {
        let reason = match self.state {
            State::Open | State::Stopping { .. } | State::Ending { .. } => reason,
            State::Lingering { reason } => reason,
            State::Over { .. } => return,
        };
        self.transition(State::Over { reason });
        self.written = 0;
        self.pending_push = None;
        self.counts.discarded += match &mut self.job_slot {
            JobSlot::Held(job) => job.discard(),
            JobSlot::InFlight { lines, .. } => std::mem::take(lines),
        };
    }

    /// What to do about the end. The driver asks when it has nothing else to do for the connection.
    #[must_use]
    pub fn close_action(&self) -> CloseAction {
        let is_settled = matches!(&self.job_slot, JobSlot::Held(job) if job.replies.bytes.is_empty() && !job.is_due());
        match self.state {
            State::Ending { reason, received_eof: true } if is_settled => CloseAction::Close(reason),
            State::Ending { .. } if is_settled => CloseAction::ShutdownWrite,
            State::Over { reason } => CloseAction::Close(reason),
            State::Open | State::Stopping { .. } | State::Ending { .. } | State::Lingering { .. } => CloseAction::None,
        }
    }

    /// Our end of the stream was sent.
    pub fn write_shut_down(&mut self, now: Instant) {
        if let State::Ending { reason, .. } = self.state {
            self.transition(State::Lingering { reason });
            self.since = now;
        }
    }

    /// Whether the job is here, so that the connection can be dissolved.
    #[must_use]
    pub const fn has_job(&self) -> bool {
        matches!(self.job_slot, JobSlot::Held(_))
    }

    /// Ends the connection's life. If the responder knows the client, there is a disconnect to say.
    ///
    /// # Panics
    ///
    /// When the job is not [home](Self::has_job), or it is not [time to close](CloseAction::Close).
    pub fn into_disconnect(self) -> Option<Disconnect<S>> {
        let CloseAction::Close(reason) = self.close_action() else {
            panic!("a connection that goes on is not dissolved")
        };
        match self.job_slot {
            JobSlot::Held(job) => job.into_disconnect(reason),
            JobSlot::InFlight { .. } => panic!("a connection waits for its job"),
        }
    }

    /// The only place that changes the state.
    fn transition(&mut self, to: State) {
        assert!(self.state.leads_to(to), "a connection goes from {:?} to {to:?}", self.state);
        self.state = to;
    }

    const fn has_received_eof(&self) -> bool {
        matches!(self.state, State::Ending { received_eof: true, .. })
    }

    /// The job of a connection that is known to have it.
    fn job(&mut self) -> &mut ClientJob<S> {
        match &mut self.job_slot {
            JobSlot::Held(job) => job,
            JobSlot::InFlight { .. } => panic!("nothing is read while the job is away"),
        }
    }
}

/// In time.
impl<S> Connection<S> {
    /// What it is waiting for.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match (&self.job_slot, self.state) {
            (_, State::Over { .. }) => Phase::Over,
            (_, State::Lingering { .. }) => Phase::Lingering,
            (JobSlot::InFlight { .. }, _) => Phase::Answering,
            (JobSlot::Held(job), _) if !job.replies.bytes.is_empty() => Phase::Writing,
            (JobSlot::Held(job), _) if job.is_due() => Phase::Queued,
            (JobSlot::Held(job), _) if job.lines.has_unfinished_line() => Phase::Reading,
            (JobSlot::Held(_), _) => Phase::Idle,
        }
    }

    /// Since when it has been in this phase; in [`Phase::Writing`], when the client last took something.
    #[must_use]
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// When [`expired`](Self::expired) wants to be told. While the responder has the word there is no deadline here: how long that
    /// may take is known to whoever has the job.
    #[must_use]
    pub fn deadline(&self, config: &ConnectionConfig) -> Option<Instant> {
        let wait = match (self.phase(), self.state) {
            // It is over as soon as the driver asks what to do about the end.
            (Phase::Idle | Phase::Reading, State::Ending { .. }) => None,
            (Phase::Idle, _) => config.timeouts.idle,
            (Phase::Reading, _) => config.timeouts.line,
            (Phase::Writing, _) => config.timeouts.write,
            (Phase::Lingering, _) => Some(config.timeouts.linger),
            (Phase::Queued | Phase::Answering | Phase::Over, _) => None,
        };
        self.since.checked_add(wait?)
    }

    /// It is now this late.
    pub fn expired(&mut self, now: Instant, config: &ConnectionConfig) {
        if self.deadline(config).is_none_or(|deadline| now < deadline) {
            return;
        }
        match (self.phase(), self.state) {
            (_, State::Lingering { reason }) => self.transition(State::Over { reason }),
            (Phase::Idle, _) => self.close_with(CloseReason::IdleTimeout, config, now),
            (Phase::Reading, _) => self.close_with(CloseReason::LineTimeout, config, now),
            (Phase::Writing, _) => self.abort(CloseReason::WriteTimeout),
            _ => {}
        }
    }
}

/// In names and numbers.
impl<S> Connection<S> {
    /// Whose connection it is.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        match &self.job_slot {
            JobSlot::Held(job) => job.peer,
            JobSlot::InFlight { peer, .. } => *peer,
        }
    }

    /// What there is to count since this was asked last.
    pub fn take_counts(&mut self) -> LineCounts {
        std::mem::take(&mut self.counts)
    }

    /// How much memory lines and replies occupy, in bytes, the room for the next replies among it. Of a job that is away, what it
    /// left with.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        let push = self.pending_push.as_ref().map_or(0, |push| push.bytes_held());
        let job = match &self.job_slot {
            JobSlot::Held(job) => job.bytes_held(),
            JobSlot::InFlight { bytes, .. } => *bytes,
        };
        push + job
    }

    /// Why it is ending, if it is.
    #[must_use]
    pub const fn reason(&self) -> Option<CloseReason> {
        match self.state {
            State::Open => None,
            State::Stopping { .. } => Some(CloseReason::Shutdown),
            State::Ending { reason, .. } | State::Lingering { reason } | State::Over { reason } => Some(reason),
        }
    }
}

/// Whether what is sent before an end for this reason is replies. Otherwise it tells why, and nothing else.
const fn ends_behind_replies(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::ClientClosed | CloseReason::ResponderClosed | CloseReason::LineRejected | CloseReason::Shutdown
    )
}

impl<S> ClientJob<S> {
    /// Says something behind the replies.
    fn append(&mut self, framing: Framing, bytes: &[u8]) {
        let replies = &mut self.replies.bytes;
        match (framing, self.latest_ending) {
            (Framing::Raw, _) | (Framing::Lines, LineEnding::Lf) => replies.extend_from_slice(bytes),
            (Framing::Lines, LineEnding::CrLf) => {
                for line in bytes.split_inclusive(|&byte| byte == b'\n') {
                    replies.extend_from_slice(&line[..line.len() - 1]);
                    replies.extend_from_slice(LineEnding::CrLf.as_bytes());
                }
            }
        }
    }

    /// Whether there is something to answer and nothing to send first.
    fn is_due(&self) -> bool {
        let has_work = self.session.is_none() || self.lines() > 0;
        has_work && self.replies.close_reason.is_none() && self.replies.bytes.is_empty()
    }

    /// Throws away what was asked and what was answered, and tells how many lines that were.
    fn discard(&mut self) -> u32 {
        self.replies.bytes = Vec::new();
        std::mem::take(&mut self.answered) + self.lines.discard_lines()
    }
}

impl PendingPush {
    /// Keeps something until the job is home.
    fn wait(&mut self, framing: Framing, bytes: &[u8]) {
        match self.waiting.last_mut() {
            Some((latest, waiting)) if *latest == framing => waiting.extend_from_slice(bytes),
            _ => self.waiting.push((framing, bytes.to_vec())),
        }
    }

    /// How much memory that occupies, in bytes.
    fn bytes_held(&self) -> usize {
        let texts: usize = self.waiting.iter().map(|(_, bytes)| bytes.capacity()).sum();
        texts + self.waiting.capacity() * size_of::<(Framing, Vec<u8>)>()
    }
}

impl LineCounts {
    const fn new() -> Self {
        Self { lines: 0, replies: 0, discarded: 0, partial: 0 }
    }
}
