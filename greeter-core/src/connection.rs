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
//! | the socket failed | [`abort`](Connection::abort) | wake up at | [`deadline`](Connection::deadline) |
//! | a deadline passed | [`expired`](Connection::expired) | tell people | [`phase`](Connection::phase) |
//! | the answer is overdue | [`give_up_on_job`](Connection::give_up_on_job) | | |
//! | something to say unasked | [`push`](Connection::push) | | |
//! | the server stops | [`stop`](Connection::stop) | | |
//!
//! The machine reads, answers and writes one after the other, never two at a time: it takes no input while there are lines
//! to answer or replies to send. That is all the back-pressure there is, and it bounds what a client can make the server
//! hold: one read, one unfinished line, and the replies of one slice.
//!
//! It reads no clock: an event is told when it happened. What the machine keeps of that is one moment, since when it has been in
//! its present [`Phase`]; all deadlines come from it.

use std::time::Instant;

use crate::job::{AnsweredJob, ClientJob, Farewell};
use crate::line::LineEnding;
use crate::responder::{CloseReason, Peer};
use crate::terms::Terms;
use crate::unasked::{Framing, Unasked};

/// The conversation with one client.
#[derive(Debug)]
pub struct Connection<S> {
    work: Work<S>,
    /// How much of the job's replies the socket has taken. Zero while the job is away.
    written: usize,
    course: Course,
    /// When the present phase began; in [`Phase::Writing`], when the client last took something.
    since: Instant,
    /// What is being said unasked, if anything.
    aside: Option<Box<Aside>>,
    account: Account,
}

/// Where the connection's only job is.
#[derive(Debug)]
enum Work<S> {
    /// Here, with the lines to answer and the replies to send.
    Home(ClientJob<S>),
    /// With whoever answers it. So many lines went with it, in so much memory.
    Away { peer: Peer, lines: u32, latest_ending: LineEnding, has_unfinished_line: bool, bytes: usize },
}

/// What is said outside the replies, until it has been written.
#[derive(Debug, Default)]
struct Aside {
    /// What waits for the job to come home, so that it does not get into the middle of a reply, and ends as is known then.
    waiting: Vec<(Framing, Vec<u8>)>,
    /// How many bytes have been said since the client had taken everything.
    said: usize,
    /// What [`Connection::since`] is again once all is written: to talk to a client is no sign of life of it.
    interrupted: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Course {
    /// Lines come in, replies go out.
    Open,
    /// The server stops. What had arrived by then is still taken, and answered: so many bytes.
    Stopping { bytes_left: u32 },
    /// Nothing more is taken in. What is owed is answered and sent, then it is over. A peer that has stopped sending has
    /// nothing on the way that a close could meet.
    Ending { reason: CloseReason, peer_stopped: bool },
    /// Everything was sent, and our end of the stream after it. Closing now, with input unread, would send a reset, and that
    /// destroys what the peer has not read yet (RFC 9293, 3.10.4; RFC 1122, 4.2.2.13). So input is read and thrown away.
    Lingering { reason: CloseReason },
    /// The socket is to be closed, or is.
    Over { reason: CloseReason },
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
    /// Unfinished lines that the client left behind when it stopped sending or was sent away.
    pub unfinished: u32,
}

/// From the first byte to the last.
impl<S> Connection<S> {
    /// A client has connected.
    #[must_use]
    pub const fn new(peer: Peer, terms: &Terms, now: Instant) -> Self {
        let work = Work::Home(ClientJob::new(peer, terms));
        Self { work, written: 0, course: Course::Open, since: now, aside: None, account: Account::new() }
    }

    /// Whether to read. Of what is read, [`received`](Self::received) wants to know; a read that had nothing to give is to
    /// be told [`nothing_received`](Self::nothing_received).
    #[must_use]
    pub fn wants_input(&self) -> bool {
        match self.course {
            Course::Open | Course::Stopping { .. } => {
                matches!(&self.work, Work::Home(job) if job.lines() == 0 && job.replies.bytes.is_empty())
            }
            Course::Lingering { .. } => true,
            Course::Ending { .. } | Course::Over { .. } => false,
        }
    }

    /// Bytes arrived.
    ///
    /// # Panics
    ///
    /// When the connection did not [want input](Self::wants_input).
    pub fn received(&mut self, bytes: &[u8], now: Instant) {
        if let Course::Lingering { .. } = self.course {
            return;
        }
        assert!(self.wants_input(), "input is taken only when it is wanted");
        let line_had_begun = self.job().lines.has_unfinished_line();
        let lines = self.job().receive(bytes);
        self.account.lines += lines;
        // More of a line that had begun renews nothing: a byte a minute would keep the connection for ever.
        if lines > 0 || !line_had_begun {
            self.since = now;
        }
        if let Course::Stopping { bytes_left } = &mut self.course {
            *bytes_left = bytes_left.saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            if *bytes_left == 0 {
                self.nothing_received();
            }
        }
    }

    /// The socket has nothing more to read for now.
    pub const fn nothing_received(&mut self) {
        if let Course::Stopping { .. } = self.course {
            self.course = Course::Ending { reason: CloseReason::ByShutdown, peer_stopped: false };
        }
    }

    /// The peer has stopped sending. It is still owed its replies.
    pub fn peer_stopped(&mut self) {
        match self.course {
            Course::Open | Course::Stopping { .. } => {
                self.account.unfinished += u32::from(self.job().lines.has_unfinished_line());
                self.course = Course::Ending { reason: CloseReason::ByClient, peer_stopped: true };
            }
            Course::Lingering { reason } => self.course = Course::Over { reason },
            Course::Ending { .. } | Course::Over { .. } => {}
        }
    }

    /// Whether there is something to answer: a new client, or complete lines. Nothing is answered while replies are unsent.
    #[must_use]
    pub fn wants_answer(&self) -> bool {
        let is_live = matches!(self.course, Course::Open | Course::Stopping { .. } | Course::Ending { .. });
        is_live && matches!(&self.work, Work::Home(job) if job.is_due())
    }

    /// The job, when it [wants an answer](Self::wants_answer).
    pub fn take_job(&mut self, now: Instant) -> Option<ClientJob<S>> {
        if !self.wants_answer() {
            return None;
        }
        self.since = now;
        let job = self.job();
        let away = Work::Away {
            peer: job.peer,
            lines: job.lines(),
            latest_ending: job.latest_ending,
            has_unfinished_line: job.lines.has_unfinished_line(),
            bytes: job.bytes_held(),
        };
        match std::mem::replace(&mut self.work, away) {
            Work::Home(job) => Some(job),
            Work::Away { .. } => None,
        }
    }

    /// The job comes home. Of a connection that is over, the replies go nowhere.
    ///
    /// # Panics
    ///
    /// When it never left.
    pub fn answered(&mut self, answered: AnsweredJob<S>, now: Instant) {
        assert!(!self.is_home(), "a connection has one job");
        let AnsweredJob(mut job) = answered;
        if let Course::Over { .. } = self.course {
            job.forget();
        } else if let Some(reason) = job.replies.hang_up {
            self.account.discarded += job.lines.discard_lines();
            if !ends_behind_replies(reason) {
                // What there is to send tells why, and is no reply.
                self.account.discarded += std::mem::take(&mut job.answered);
            }
            self.course = Course::Ending { reason, peer_stopped: self.has_peer_stopped() };
        }
        job.lines.settle();
        self.work = Work::Home(job);
        self.say_what_waited();
        self.since = now;
        self.wrote(0, now);
    }

    /// The replies that are still to be sent.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        match &self.work {
            Work::Home(job) => &job.replies.bytes[self.written..],
            Work::Away { .. } => &[],
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
        match &mut self.work {
            Work::Home(job) if self.written == job.replies.bytes.len() => {
                self.written = 0;
                self.account.replies += std::mem::take(&mut job.answered);
                if let Some(interrupted) = self.aside.take().and_then(|aside| aside.interrupted) {
                    self.since = interrupted;
                }
                Some(std::mem::take(&mut job.replies.bytes))
            }
            Work::Home(_) | Work::Away { .. } => None,
        }
    }

    /// The socket takes nothing for now. What is held until it does is held in no more than twice the memory that it needs.
    pub fn wait_for_room(&mut self) {
        if let Work::Home(job) = &mut self.work {
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

    /// Says something unasked: at once, or behind the banner or the replies that are being made. Its lines end as the client's own do,
    /// and until it has sent one, as its banner did.
    ///
    /// Whoever is owed replies hears it, also where the connection ends behind them, until our end of the stream is sent; whoever was
    /// not let in or is sent away does not.
    ///
    /// Tells whether anybody hears it. How much is [left to be taken](Self::pushed_unsent) before that, and whether that is too much, is
    /// the driver's to judge.
    pub fn push(&mut self, unasked: &Unasked, now: Instant) -> bool {
        if unasked.is_empty() || !self.hears() {
            return false;
        }
        let (framing, bytes) = (unasked.framing(), unasked.bytes());
        let aside = self.aside.get_or_insert_default();
        aside.said += bytes.len();
        match &mut self.work {
            Work::Home(job) if job.session.is_some() => {
                if job.replies.bytes.is_empty() {
                    aside.interrupted = Some(self.since);
                    self.since = now;
                }
                job.say(framing, bytes);
            }
            // A client is told nothing before its banner.
            Work::Home(_) | Work::Away { .. } => aside.wait(framing, bytes),
        }
        true
    }

    /// How many bytes that were [pushed](Self::push) the client could have taken and has not, at the most: of what it is sent, it may have
    /// taken some that stand before these. What waits for the banner or for replies that are being made, nobody could take yet.
    #[must_use]
    pub fn pushed_unsent(&self) -> usize {
        self.aside.as_ref().map_or(0, |aside| aside.said.min(self.unsent().len()))
    }

    /// Says what waited for the job, which is home.
    fn say_what_waited(&mut self) {
        let waiting = self.aside.as_mut().map(|aside| std::mem::take(&mut aside.waiting));
        let hears = self.hears();
        if let (Some(waiting), Work::Home(job), true) = (waiting, &mut self.work, hears) {
            waiting.iter().for_each(|(framing, bytes)| job.say(*framing, bytes));
        }
    }

    /// Whether what is said unasked is heard.
    fn hears(&self) -> bool {
        let is_owed_replies = match self.course {
            Course::Open | Course::Stopping { .. } => true,
            Course::Ending { reason, .. } => ends_behind_replies(reason),
            Course::Lingering { .. } | Course::Over { .. } => false,
        };
        let is_let_in = match &self.work {
            Work::Home(job) => job.session.is_some() || job.replies.hang_up.is_none(),
            Work::Away { .. } => true,
        };
        is_owed_replies && is_let_in
    }
}

/// Towards the end.
impl<S> Connection<S> {
    /// The server stops: what has arrived is answered, and then it is over. `bytes` of it are still to be
    /// [received](Self::received); what is sent later does not count, so nobody can keep the server from stopping.
    pub fn stop(&mut self, bytes: usize) {
        if let Course::Open = self.course {
            self.course = Course::Stopping { bytes_left: u32::try_from(bytes).unwrap_or(u32::MAX) };
            if bytes == 0 {
                self.nothing_received();
            }
        }
    }

    /// Tells the client why, and ends. Lines that wait for an answer get none. There is no telling a client that is being
    /// answered or has not taken its replies: that one is cut off.
    pub fn send_away(&mut self, reason: CloseReason, terms: &Terms, now: Instant) {
        let peer_stopped = self.has_peer_stopped();
        match (&mut self.work, self.course) {
            (Work::Home(job), Course::Open | Course::Stopping { .. } | Course::Ending { .. })
                if job.replies.bytes.is_empty() =>
            {
                self.account.unfinished += u32::from(!peer_stopped && job.lines.has_unfinished_line());
                self.account.discarded += job.lines.discard_all();
                job.replies.bytes.extend_from_slice(terms.notice(reason, job.latest_ending));
                job.replies.hang_up = Some(reason);
                self.course = Course::Ending { reason, peer_stopped };
                self.since = now;
            }
            _ => self.abort(reason),
        }
    }

    /// The answer is overdue. The client is told, and that is the end; the job is not waited for. When it is answered after all,
    /// whoever has it parts with [what is left of it](AnsweredJob::into_farewell).
    ///
    /// # Panics
    ///
    /// When the job is home.
    pub fn give_up_on_job(&mut self, terms: &Terms, now: Instant) {
        let Work::Away { peer, lines, latest_ending, has_unfinished_line, .. } = self.work else {
            panic!("nobody waits for a job that is home")
        };
        self.account.discarded += lines;
        let is_sent_away = !self.has_peer_stopped() && !matches!(self.course, Course::Over { .. });
        self.account.unfinished += u32::from(has_unfinished_line && is_sent_away);
        self.aside = None;
        let mut job = ClientJob::new(peer, terms);
        job.latest_ending = latest_ending;
        self.work = Work::Home(job);
        self.send_away(CloseReason::NoReply, terms, now);
    }

    /// It is over at once. What is owed is lost. Where nothing is owed any more, the reason is the one it ended for.
    pub fn abort(&mut self, reason: CloseReason) {
        let reason = match self.course {
            Course::Open | Course::Stopping { .. } | Course::Ending { .. } => reason,
            Course::Lingering { reason } => reason,
            Course::Over { .. } => return,
        };
        self.course = Course::Over { reason };
        self.written = 0;
        self.aside = None;
        self.account.discarded += match &mut self.work {
            Work::Home(job) => job.forget(),
            Work::Away { lines, .. } => std::mem::take(lines),
        };
    }

    /// What to do about the end. The driver asks when it has nothing else to do for the connection.
    #[must_use]
    pub fn ending(&self) -> Ending {
        let is_settled = matches!(&self.work, Work::Home(job) if job.replies.bytes.is_empty() && !job.is_due());
        match self.course {
            Course::Ending { reason, peer_stopped: true } if is_settled => Ending::Close(reason),
            Course::Ending { .. } if is_settled => Ending::FinishSending,
            Course::Over { reason } => Ending::Close(reason),
            Course::Open | Course::Stopping { .. } | Course::Ending { .. } | Course::Lingering { .. } => Ending::NotYet,
        }
    }

    /// Our end of the stream was sent.
    pub const fn finished_sending(&mut self, now: Instant) {
        if let Course::Ending { reason, .. } = self.course {
            self.course = Course::Lingering { reason };
            self.since = now;
        }
    }

    /// Whether the job is here, so that the connection can be dissolved.
    #[must_use]
    pub const fn is_home(&self) -> bool {
        matches!(self.work, Work::Home(_))
    }

    /// Ends the connection's life. If the responder knows the client, there is a farewell to say.
    ///
    /// # Panics
    ///
    /// When the job is not [home](Self::is_home), or it is not [time to close](Ending::Close).
    pub fn dissolve(self) -> Option<Farewell<S>> {
        let Ending::Close(reason) = self.ending() else { panic!("a connection that goes on is not dissolved") };
        match self.work {
            Work::Home(job) => job.into_farewell(reason),
            Work::Away { .. } => panic!("a connection waits for its job"),
        }
    }

    const fn has_peer_stopped(&self) -> bool {
        matches!(self.course, Course::Ending { peer_stopped: true, .. })
    }

    /// The job of a connection that is known to have it.
    fn job(&mut self) -> &mut ClientJob<S> {
        match &mut self.work {
            Work::Home(job) => job,
            Work::Away { .. } => panic!("nothing is read while the job is away"),
        }
    }
}

/// In time.
impl<S> Connection<S> {
    /// What it is waiting for.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match (&self.work, self.course) {
            (_, Course::Over { .. }) => Phase::Over,
            (_, Course::Lingering { .. }) => Phase::Lingering,
            (Work::Away { .. }, _) => Phase::Answering,
            (Work::Home(job), _) if !job.replies.bytes.is_empty() => Phase::Writing,
            (Work::Home(job), _) if job.is_due() => Phase::Queued,
            (Work::Home(job), _) if job.lines.has_unfinished_line() => Phase::Reading,
            (Work::Home(_), _) => Phase::Idle,
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
    pub fn deadline(&self, terms: &Terms) -> Option<Instant> {
        let wait = match (self.phase(), self.course) {
            // It is over as soon as the driver asks what to do about the end.
            (Phase::Idle | Phase::Reading, Course::Ending { .. }) => None,
            (Phase::Idle, _) => terms.deadlines.idle,
            (Phase::Reading, _) => terms.deadlines.line,
            (Phase::Writing, _) => terms.deadlines.write,
            (Phase::Lingering, _) => Some(terms.deadlines.linger),
            (Phase::Queued | Phase::Answering | Phase::Over, _) => None,
        };
        self.since.checked_add(wait?)
    }

    /// It is now this late.
    pub fn expired(&mut self, now: Instant, terms: &Terms) {
        if self.deadline(terms).is_none_or(|deadline| now < deadline) {
            return;
        }
        match (self.phase(), self.course) {
            (_, Course::Lingering { reason }) => self.course = Course::Over { reason },
            (Phase::Idle, _) => self.send_away(CloseReason::Idle, terms, now),
            (Phase::Reading, _) => self.send_away(CloseReason::LineUnfinished, terms, now),
            (Phase::Writing, _) => self.abort(CloseReason::NotReading),
            _ => {}
        }
    }
}

/// In names and numbers.
impl<S> Connection<S> {
    /// Whose connection it is.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        match &self.work {
            Work::Home(job) => job.peer,
            Work::Away { peer, .. } => *peer,
        }
    }

    /// What there is to count since this was asked last.
    pub fn take_account(&mut self) -> Account {
        std::mem::take(&mut self.account)
    }

    /// How much memory lines and replies occupy, in bytes, the room for the next replies among it. Of a job that is away, what it
    /// left with.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        let aside = self.aside.as_ref().map_or(0, |aside| aside.bytes_held());
        let job = match &self.work {
            Work::Home(job) => job.bytes_held(),
            Work::Away { bytes, .. } => *bytes,
        };
        aside + job
    }

    /// Why it is ending, if it is.
    #[must_use]
    pub const fn reason(&self) -> Option<CloseReason> {
        match self.course {
            Course::Open => None,
            Course::Stopping { .. } => Some(CloseReason::ByShutdown),
            Course::Ending { reason, .. } | Course::Lingering { reason } | Course::Over { reason } => Some(reason),
        }
    }
}

/// Whether what is sent before an end for this reason is replies. Otherwise it tells why, and nothing else.
const fn ends_behind_replies(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::ByClient | CloseReason::ByResponder | CloseReason::LineRefused | CloseReason::ByShutdown
    )
}

impl<S> ClientJob<S> {
    /// Says something behind the replies.
    fn say(&mut self, framing: Framing, bytes: &[u8]) {
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
        has_work && self.replies.hang_up.is_none() && self.replies.bytes.is_empty()
    }

    /// Throws away what was asked and what was answered, and tells how many lines that were.
    fn forget(&mut self) -> u32 {
        self.replies.bytes = Vec::new();
        std::mem::take(&mut self.answered) + self.lines.discard_lines()
    }
}

impl Aside {
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

impl Account {
    const fn new() -> Self {
        Self { lines: 0, replies: 0, discarded: 0, unfinished: 0 }
    }
}
