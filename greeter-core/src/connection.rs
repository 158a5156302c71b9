//! One connection, as a state machine without I/O.
//!
//! A driver owns the socket and the clock. It tells the [`Connection`] what happened, asks it what to do, and does that:
//!
//! | what happened | the driver says | what to do | the driver asks |
//! |---|---|---|---|
//! | bytes arrived | [`received`](Connection::received) | read | [`wants_input`](Connection::wants_input) |
//! | end of input | [`peer_stopped`](Connection::peer_stopped) | have a job answered | [`take_job`](Connection::take_job) |
//! | a job was answered | [`answered`](Connection::answered) | write | [`unsent`](Connection::unsent) |
//! | bytes were taken | [`wrote`](Connection::wrote) | end it | [`ending`](Connection::ending) |
//! | the socket failed | [`abort`](Connection::abort) | | |
//! | a deadline passed | [`expired`](Connection::expired) | wake up at | [`deadline`](Connection::deadline) |
//! | the server stops | [`stop`](Connection::stop) | | |
//!
//! The machine reads, answers and writes one after the other, never two at a time: it takes no input while there are lines
//! to answer or replies to send. That is all the back-pressure there is, and it bounds what a client can make the server
//! hold: one read, one unfinished line, and the replies of one slice.

use std::time::Instant;

use crate::job::{AnsweredJob, ClientId, ClientJob, Farewell};
use crate::responder::{CloseReason, Peer};

/// The conversation with one client.
#[derive(Debug)]
pub struct Connection<S> {
    work: Work<S>,
    /// How much of the job's replies the socket has taken. Zero while the job is away.
    written: usize,
    phase: Phase,
    account: Account,
}

/// Where the connection's only job is.
#[derive(Debug)]
enum Work<S> {
    /// Here, with the lines to answer and the replies to send.
    Home(ClientJob<S>),
    /// With whoever answers it. So many lines went with it.
    Away { lines: u32 },
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Lines come in, replies go out.
    Open,
    /// The server stops. What had arrived by then is still taken, and answered: so many bytes.
    Stopping { bytes_left: usize },
    /// Nothing more is taken in. What is owed is answered and sent, then it is over. A peer that has stopped sending has
    /// nothing on the way that a close could meet.
    Ending { reason: CloseReason, peer_stopped: bool },
    /// Everything was sent, and our end of the stream after it. Closing now, with input unread, would send a reset, and that
    /// destroys what the peer has not read yet (RFC 9293, 3.10.4; RFC 1122, 4.2.2.13). So input is read and thrown away.
    Lingering { reason: CloseReason, until: Instant },
    /// The socket is to be closed, or is.
    Over { reason: CloseReason },
}

/// What a driver is to do about the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing yet.
    NotYet,
    /// Shut the socket down for writing, then call [`Connection::finished_sending`].
    FinishSending,
    /// Close the socket. Once the job [is home](Connection::is_home), the connection can be
    /// [dissolved](Connection::dissolve).
    Close(CloseReason),
}

/// What has happened on a connection, in numbers, since it was asked last.
///
/// Over the life of a connection, `lines = replies + discarded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Complete lines that came in.
    pub lines: u32,
    /// Lines whose replies were taken whole by the socket, silent ones included.
    pub replies: u32,
    /// Lines that were never answered, or whose replies the socket did not take. Replies go out in batches; a batch that was
    /// cut short counts as discarded as a whole.
    pub discarded: u32,
    /// Unfinished lines that the client left behind when it stopped sending.
    pub unfinished: u32,
}

impl<S> Connection<S> {
    /// A client has connected. `id` is the driver's name for it; no line may be longer than `line_bytes_max`.
    #[must_use]
    pub const fn new(id: ClientId, peer: Peer, line_bytes_max: u32) -> Self {
        let job = ClientJob::new(id, peer, line_bytes_max);
        Self { work: Work::Home(job), written: 0, phase: Phase::Open, account: Account::new() }
    }

    /// Whether to read. Of what is read, [`received`](Self::received) wants to know; a read that had nothing to give is to
    /// be told [`nothing_received`](Self::nothing_received).
    #[must_use]
    pub fn wants_input(&self) -> bool {
        match self.phase {
            Phase::Open | Phase::Stopping { .. } => {
                matches!(&self.work, Work::Home(job) if job.lines() == 0 && job.replies.bytes.is_empty())
            }
            Phase::Lingering { .. } => true,
            Phase::Ending { .. } | Phase::Over { .. } => false,
        }
    }

    /// Bytes arrived.
    ///
    /// # Panics
    ///
    /// When the connection did not [want input](Self::wants_input).
    pub fn received(&mut self, bytes: &[u8]) {
        if let Phase::Lingering { .. } = self.phase {
            return;
        }
        assert!(self.wants_input(), "input is taken only when it is wanted");
        self.account.lines += self.job().lines.push(bytes);
        if let Phase::Stopping { bytes_left } = &mut self.phase {
            *bytes_left = bytes_left.saturating_sub(bytes.len());
            if *bytes_left == 0 {
                self.nothing_received();
            }
        }
    }

    /// The socket has nothing more to read for now.
    pub const fn nothing_received(&mut self) {
        if let Phase::Stopping { .. } = self.phase {
            self.phase = Phase::Ending { reason: CloseReason::ByShutdown, peer_stopped: false };
        }
    }

    /// The peer has stopped sending. It is still owed its replies.
    pub fn peer_stopped(&mut self) {
        match self.phase {
            Phase::Open | Phase::Stopping { .. } => {
                self.account.unfinished += u32::from(self.job().lines.has_unfinished_line());
                self.phase = Phase::Ending { reason: CloseReason::ByClient, peer_stopped: true };
            }
            Phase::Lingering { reason, .. } => self.phase = Phase::Over { reason },
            Phase::Ending { .. } | Phase::Over { .. } => {}
        }
    }

    /// Whether there is something to answer: a new client, or complete lines. Nothing is answered while replies are unsent.
    #[must_use]
    pub fn wants_answer(&self) -> bool {
        let is_live = matches!(self.phase, Phase::Open | Phase::Stopping { .. } | Phase::Ending { .. });
        is_live && matches!(&self.work, Work::Home(job) if job.is_due())
    }

    /// The job, when it [wants an answer](Self::wants_answer).
    pub fn take_job(&mut self) -> Option<ClientJob<S>> {
        if !self.wants_answer() {
            return None;
        }
        let job = self.job();
        job.make_room();
        let lines = job.lines();
        match std::mem::replace(&mut self.work, Work::Away { lines }) {
            Work::Home(job) => Some(job),
            Work::Away { .. } => None,
        }
    }

    /// The job comes home. Of a connection that is over, the replies go nowhere.
    ///
    /// # Panics
    ///
    /// When it never left.
    pub fn answered(&mut self, answered: AnsweredJob<S>) {
        assert!(!self.is_home(), "a connection has one job");
        let AnsweredJob(mut job) = answered;
        if let Phase::Over { .. } = self.phase {
            job.forget();
        } else if job.replies.hang_up {
            self.account.discarded += job.lines.discard_lines();
            self.phase = Phase::Ending { reason: CloseReason::ByResponder, peer_stopped: self.has_peer_stopped() };
        }
        job.lines.settle();
        self.work = Work::Home(job);
        self.wrote(0);
    }

    /// The replies that are still to be sent.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        match &self.work {
            Work::Home(job) => &job.replies.bytes[self.written..],
            Work::Away { .. } => &[],
        }
    }

    /// The socket took so many bytes of what is [unsent](Self::unsent).
    ///
    /// # Panics
    ///
    /// When there were not so many.
    pub fn wrote(&mut self, bytes: usize) {
        assert!(bytes <= self.unsent().len(), "the socket takes what it is given");
        self.written += bytes;
        if let Work::Home(job) = &mut self.work
            && self.written == job.replies.bytes.len()
        {
            self.written = 0;
            job.replies.bytes = Vec::new();
            self.account.replies += std::mem::take(&mut job.answered);
        }
    }

    /// The server stops: what has arrived is answered, and then it is over. `bytes` of it are still to be
    /// [received](Self::received); what is sent later does not count, so nobody can keep the server from stopping.
    pub const fn stop(&mut self, bytes: usize) {
        if let Phase::Open = self.phase {
            self.phase = Phase::Stopping { bytes_left: bytes };
            if bytes == 0 {
                self.nothing_received();
            }
        }
    }

    /// It is over at once. What is owed is lost. Where nothing is owed any more, the reason is the one it ended for.
    pub fn abort(&mut self, reason: CloseReason) {
        let reason = match self.phase {
            Phase::Open | Phase::Stopping { .. } | Phase::Ending { .. } => reason,
            Phase::Lingering { reason, .. } => reason,
            Phase::Over { .. } => return,
        };
        self.phase = Phase::Over { reason };
        self.written = 0;
        self.account.discarded += match &mut self.work {
            Work::Home(job) => job.forget(),
            Work::Away { lines } => std::mem::take(lines),
        };
    }

    /// What to do about the end. The driver asks when it has nothing else to do for the connection.
    #[must_use]
    pub fn ending(&self) -> Ending {
        let is_settled = matches!(&self.work, Work::Home(job) if job.replies.bytes.is_empty() && !job.is_due());
        match self.phase {
            Phase::Ending { reason, peer_stopped: true } if is_settled => Ending::Close(reason),
            Phase::Ending { .. } if is_settled => Ending::FinishSending,
            Phase::Over { reason } => Ending::Close(reason),
            Phase::Open | Phase::Stopping { .. } | Phase::Ending { .. } | Phase::Lingering { .. } => Ending::NotYet,
        }
    }

    /// Our end of the stream was sent. The peer has until then to close its own.
    pub const fn finished_sending(&mut self, until: Instant) {
        if let Phase::Ending { reason, .. } = self.phase {
            self.phase = Phase::Lingering { reason, until };
        }
    }

    /// When [`expired`](Self::expired) wants to be told.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Lingering { until, .. } => Some(until),
            _ => None,
        }
    }

    /// It is now this late.
    pub fn expired(&mut self, now: Instant) {
        match self.phase {
            Phase::Lingering { reason, until } if until <= now => self.phase = Phase::Over { reason },
            _ => {}
        }
    }

    /// Whether the job is here, so that the connection can be dissolved.
    #[must_use]
    pub const fn is_home(&self) -> bool {
        matches!(self.work, Work::Home(_))
    }

    /// What there is to count since this was asked last.
    pub fn take_account(&mut self) -> Account {
        std::mem::take(&mut self.account)
    }

    /// Ends the connection's life. If the responder knows the client, there is a farewell to say.
    ///
    /// # Panics
    ///
    /// When the job is not [home](Self::is_home), or it is not [time to close](Ending::Close).
    pub fn dissolve(self) -> Option<Farewell<S>> {
        let Ending::Close(reason) = self.ending() else { panic!("a connection that goes on is not dissolved") };
        match self.work {
            Work::Home(job) => job.session.map(|session| Farewell { session, reason }),
            Work::Away { .. } => panic!("a connection waits for its job"),
        }
    }

    const fn has_peer_stopped(&self) -> bool {
        matches!(self.phase, Phase::Ending { peer_stopped: true, .. })
    }

    /// The job of a connection that is known to have it.
    fn job(&mut self) -> &mut ClientJob<S> {
        match &mut self.work {
            Work::Home(job) => job,
            Work::Away { .. } => panic!("nothing is read while the job is away"),
        }
    }
}

impl<S> ClientJob<S> {
    /// Whether there is something to answer and nothing to send first.
    fn is_due(&self) -> bool {
        let has_work = self.session.is_none() || self.lines() > 0;
        has_work && !self.replies.hang_up && self.replies.bytes.is_empty()
    }

    /// Throws away what was asked and what was answered, and tells how many lines that were.
    fn forget(&mut self) -> u32 {
        self.replies.bytes = Vec::new();
        std::mem::take(&mut self.answered) + self.lines.discard_lines()
    }
}

impl Account {
    const fn new() -> Self {
        Self { lines: 0, replies: 0, discarded: 0, unfinished: 0 }
    }
}
