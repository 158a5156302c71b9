//! Turns the lines of one client into replies: the job that travels to the thread that answers, and
//! back.
//!
//! It holds no socket and reads no clock.

use std::any::TypeId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::answer_cell::{AwaitedAnswer, LateAnswer, Wake, WhenLate};
use crate::budget::{BudgetClock, TurnBudget};
use crate::catch::{drop_caught, panic_message, reject};
use crate::close_reason::CloseReason;
use crate::config::ConnectionConfig;
use crate::error::{BoxError, Fault, ResponderError, ResponderErrors, rejection_in};
use crate::input::InputBuffer;
use crate::later::ThenFn;
use crate::line::{LineEnding, Unseen};
use crate::parts::{PartNumber, Parts};
use crate::peer::{ClientId, Peer};
use crate::rejection::Rejection;
use crate::reply::{Aside, Checkpoint, Reply, Said};
use crate::responder::Responder;
use crate::telnet::{self, TelnetState};

/// How many bytes longer than its line a reply is assumed to be, both with their endings.
const REPLY_BYTES_MORE: usize = 16;

/// What [`Later::then`](crate::Later::then) does wrong if it names another type.
const OTHER_SESSION: ResponderError = ResponderError::Misuse("answers later for a session of another type");

/// The complete lines that one client has sent, with everything that is needed to answer them: the
/// client, its session, and the buffer for the replies. It holds no socket.
///
/// A connection has exactly one job. While the job is in flight, the connection is not read. So
/// replies are in order without sequence numbers, the session needs no lock, and there are never
/// more jobs than connections. Only where the driver [asks for it](crate::Connection::take_part),
/// the job stays, and lines of it go out as jobs of their own: its parts, which have numbers.
///
/// A job is answered by value: the result is an [`AnsweredJob`], and only that can be given back to
/// the connection.
#[derive(Debug)]
pub struct ClientJob<S> {
    pub(crate) peer: Peer,
    /// None until the responder has connected the client.
    pub(crate) session: Option<S>,
    pub(crate) input: InputBuffer,
    /// How pushes and rejections end: as the latest reply does, or as the reply to the first line
    /// that waits will; before there is a line, as the banner does.
    pub(crate) latest_ending: LineEnding,
    pub(crate) telnet: TelnetState,
    /// The bytes that the client is to receive, not sent yet.
    pub(crate) replies: Vec<u8>,
    /// The reason for which the connection closes behind these bytes, if it does.
    pub(crate) close_reason: Option<CloseReason>,
    /// Whether answering takes so long for each line that others may help.
    pub(crate) is_dear: bool,
    pub(crate) end_of_input: EndOfInput,
    /// Boxed, since few jobs have any of it, and jobs are many.
    rare: Option<Box<Rare<S>>>,
}

/// Whether the responder learns that nothing more is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndOfInput {
    /// It does not want to.
    Unwanted,
    /// It wants to, once that has happened.
    Wanted,
    /// It must be told, behind all lines, and why.
    Due(CloseReason),
    /// It was told.
    Told,
}

impl EndOfInput {
    /// Nothing more is received, for this reason.
    pub(crate) fn has_come(&mut self, reason: CloseReason) {
        if *self == Self::Wanted {
            *self = Self::Due(reason);
        }
    }

    const fn is_due(self) -> bool {
        matches!(self, Self::Due(_))
    }

    /// Takes the reason, if the responder must be told now.
    fn take_due(&mut self) -> Option<CloseReason> {
        let Self::Due(reason) = *self else { return None };
        *self = Self::Told;
        Some(reason)
    }
}

/// What few jobs have.
#[derive(Debug)]
struct Rare<S> {
    errors: ResponderErrors,
    /// How many lines were rejected as busy.
    busy: u32,
    late: Option<Late>,
    /// Answers that have come when nobody wanted them any more. They may hold the responder's code,
    /// so they are dropped where the responder is called.
    unwanted: Vec<LateAnswer>,
    /// Which part of a job this is, if it is one.
    number: Option<PartNumber>,
    parts: Parts<ClientJob<S>>,
    tls: Option<TlsRequest>,
}

/// What has become of a responder's wish that TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TlsRequest {
    /// The handshake is to come. No line is taken or answered meanwhile.
    Pending,
    /// The responder must be told that the handshake is over.
    Started,
}

impl<S> Default for Rare<S> {
    fn default() -> Self {
        Self {
            errors: ResponderErrors::default(),
            busy: 0,
            late: None,
            unwanted: Vec::new(),
            number: None,
            parts: Parts::default(),
            tls: None,
        }
    }
}

/// A line, or counted bytes, that the responder answers later.
#[derive(Debug)]
enum Late {
    /// The answer is to come.
    Parked(Parked),
    /// The answer is here, and a thread that answers must deal with it.
    Answered { lines: u32, closes: bool, ending: LineEnding, answer: LateAnswer },
}

/// What waits for an answer that comes later.
#[derive(Debug)]
pub(crate) struct Parked {
    pub(crate) answer: AwaitedAnswer,
    /// How many lines wait for this answer: one, or none where the line of the counted bytes was
    /// answered before.
    pub(crate) lines: u32,
    /// Whether the connection closes behind the answer.
    closes: bool,
    /// Since when the connection waits for the answer, once it does.
    pub(crate) since: Option<Instant>,
    /// Whether the connection is told of the answer.
    is_watched: bool,
}

impl Parked {
    /// Returns until when the answer is waited for.
    pub(crate) fn until(&self, config: &ConnectionConfig) -> Option<Instant> {
        let timeout = match self.answer.when_late {
            WhenLate::Close | WhenLate::Reject => config.timeouts.reply,
            WhenLate::Wait => None,
        };
        self.since?.checked_add(timeout?)
    }

    /// Returns whether the answer has not come in time. One that is here has won, and its message
    /// is on the way.
    pub(crate) fn is_late(&self, config: &ConnectionConfig, now: Instant) -> bool {
        self.until(config).is_some_and(|until| until <= now) && !self.answer.is_answered()
    }

    /// Has this called once, when the answer is here, which it may be already.
    fn watch(&mut self, call: impl FnOnce() -> Wake) {
        if !std::mem::replace(&mut self.is_watched, true)
            && let Some(call) = self.answer.arm(call())
        {
            call();
        }
    }
}

/// The reason why the responder gave no reply to a line.
#[derive(Debug)]
enum Unanswered {
    /// The responder has not seen it.
    Unseen(Unseen),
    /// The responder rejected it.
    Rejected(Rejection),
    /// The responder failed.
    ResponderError(ResponderError),
}

impl<S> ClientJob<S> {
    pub(crate) const fn new(peer: Peer, config: &ConnectionConfig) -> Self {
        Self {
            peer,
            session: None,
            input: InputBuffer::new(),
            latest_ending: match config.rules.line_ending {
                Some(ending) => ending,
                None => LineEnding::Lf,
            },
            telnet: TelnetState::Data,
            replies: Vec::new(),
            close_reason: None,
            is_dear: false,
            end_of_input: if config.rules.wants_end_of_input { EndOfInput::Wanted } else { EndOfInput::Unwanted },
            rare: None,
        }
    }

    /// Returns the client's id.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.peer.id
    }

    /// Returns the client.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Returns which part of its connection's job this is, if it is one.
    #[must_use]
    pub fn part(&self) -> Option<PartNumber> {
        self.rare.as_ref()?.number
    }

    /// Returns how many lines wait for an answer. One that is answered [later](Reply::later) is
    /// among them, and so are its [parts](crate::Connection::take_part).
    #[must_use]
    pub fn lines(&self) -> u32 {
        let late = match self.late() {
            Some(Late::Parked(Parked { lines, .. }) | Late::Answered { lines, .. }) => *lines,
            None => 0,
        };
        self.input.lines() + late + self.parts().map_or(0, Parts::lines)
    }

    /// Adds bytes that the client has sent, and returns whether the line timeout starts anew.
    pub(crate) fn receive(&mut self, bytes: &[u8], config: &ConnectionConfig) -> bool {
        let keeps_tail = self.session.is_none();
        let starts_anew = self.input.push(bytes, config.max_line_bytes, keeps_tail);
        if let Some(ending) = self.input.first_ending() {
            self.latest_ending = config.rules.ending_for(ending);
        }
        starts_anew
    }

    /// Returns an estimate of how many bytes the replies need: each is assumed to be a little
    /// longer than its line. It is at most
    /// [`MAX_REPLY_CAPACITY`](ConnectionConfig::MAX_REPLY_CAPACITY).
    #[must_use]
    pub fn reply_capacity_hint(&self) -> usize {
        let guess = self.input.bytes_of_lines() + REPLY_BYTES_MORE * self.lines() as usize;
        guess.min(ConnectionConfig::MAX_REPLY_CAPACITY)
    }

    /// Sets the buffer that the replies are written into, and clears it; unless a part has replies
    /// already, which wait for those before them.
    ///
    /// A buffer with the [estimated capacity](Self::reply_capacity_hint) spares the thread that
    /// answers an allocation. Once the replies are sent,
    /// [`Connection::wrote`](crate::Connection::wrote) returns the buffer. The default is a buffer
    /// that grows with the replies.
    pub fn set_reply_buffer(&mut self, mut buffer: Vec<u8>) {
        if self.replies.is_empty() {
            buffer.clear();
            self.replies = buffer;
        }
    }

    /// Returns how much memory the lines and replies occupy, in bytes. That includes the estimated
    /// capacity for the next replies.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        let parts = self.parts().map_or(0, |parts| parts.bytes_held(Self::bytes_held));
        self.input.bytes_held() + self.replies.capacity().max(self.reply_capacity_hint()) + parts
    }

    /// Returns whether there is anything to answer, once the client is connected.
    pub(crate) fn has_work(&self) -> bool {
        match self.late() {
            Some(Late::Parked(_)) => false,
            Some(Late::Answered { .. }) => true,
            None => match self.tls_request() {
                None => self.input.has_work() || self.end_of_input.is_due(),
                Some(request) => request == TlsRequest::Started,
            },
        }
    }

    fn tls_request(&self) -> Option<TlsRequest> {
        self.rare.as_ref().and_then(|rare| rare.tls)
    }

    /// Returns whether TLS is to begin behind the replies.
    pub(crate) fn awaits_tls(&self) -> bool {
        self.tls_request() == Some(TlsRequest::Pending)
    }

    /// The handshake is over.
    pub(crate) fn tls_started(&mut self) {
        self.rare.get_or_insert_default().tls = Some(TlsRequest::Started);
    }

    /// Tells the responder that the handshake is over, if it is to be told.
    fn tell_of_tls<R>(&mut self, responder: &R, call: &mut PendingCall)
    where
        R: Responder<Session = S> + ?Sized,
    {
        if self.tls_request() == Some(TlsRequest::Started)
            && let Some(rare) = &mut self.rare
            && let Some(session) = &mut self.session
        {
            rare.tls = None;
            call.checkpoint = Checkpoint { replies: self.replies.len(), ending: self.latest_ending };
            call.lines = 0;
            responder.tls_started(session, &self.peer);
        }
    }

    /// Returns whether nothing more is answered: no line is left, or the connection closes behind
    /// what is.
    pub(crate) fn is_over(&self) -> bool {
        self.close_reason.is_some() || self.parked().is_none() && !self.has_work()
    }

    /// Returns whether more input can be taken: there is nothing to answer, to wait for or to send.
    /// Of a client that is not connected yet, one read is.
    pub(crate) fn wants_input(&self) -> bool {
        let is_new = self.session.is_none() && !self.input.is_empty();
        !self.has_work() && !is_new && !self.awaits_answer() && !self.awaits_tls() && self.replies.is_empty()
    }

    /// Returns whether a line is answered later, or lines are answered side by side.
    pub(crate) fn awaits_answer(&self) -> bool {
        self.parked().is_some() || self.has_parts()
    }

    fn late(&self) -> Option<&Late> {
        self.rare.as_ref()?.late.as_ref()
    }

    /// Returns what is answered later, if anything is.
    pub(crate) fn parked(&self) -> Option<&Parked> {
        match self.late() {
            Some(Late::Parked(parked)) => Some(parked),
            _ => None,
        }
    }

    pub(crate) fn parked_mut(&mut self) -> Option<&mut Parked> {
        match &mut self.rare.as_mut()?.late {
            Some(Late::Parked(parked)) => Some(parked),
            _ => None,
        }
    }

    /// Returns what is answered later, its parts included, in the order of the lines.
    pub(crate) fn all_parked(&self) -> impl Iterator<Item = &Parked> {
        let parts = self.parts().into_iter().flat_map(Parts::held);
        self.parked().into_iter().chain(parts.filter_map(Self::parked))
    }

    /// Has a call made for each answer to come that none is made for yet, with the number of its
    /// line as a part. A job that is parked itself has that of the part which it may become.
    pub(crate) fn watch_answers(&mut self, call: impl Fn(PartNumber) -> Wake) {
        let next = self.next_part();
        if let Some(parked) = self.parked_mut() {
            parked.watch(|| call(next));
        }
        for part in self.parts_mut().into_iter().flat_map(Parts::held_mut) {
            if let (Some(number), Some(parked)) = (part.part(), part.parked_mut()) {
                parked.watch(|| call(number));
            }
        }
    }

    /// Returns the job that waits for this late answer, which may be a part; without a number, the
    /// first that waits for one that is here.
    pub(crate) fn parked_at(&mut self, number: Option<PartNumber>) -> Option<&mut Self> {
        let next = self.next_part();
        if self.parked().is_some() {
            return Some(self).filter(|_| number.is_none_or(|number| number == next));
        }
        match number {
            Some(number) => self.parts_mut()?.held_at(number),
            None => self.parts_mut()?.held_mut().find(|part| part.is_late_answer_here()),
        }
    }

    /// Returns whether the answer is here that is awaited.
    fn is_late_answer_here(&self) -> bool {
        self.parked().is_some_and(|parked| parked.answer.is_answered())
    }

    fn next_part(&self) -> PartNumber {
        self.parts().map(Parts::next_number).unwrap_or_default()
    }

    /// Releases the memory of what was answered. What is behind a line is kept whole as long as an
    /// answer may still ask for it as counted bytes.
    pub(crate) fn release_answered(&mut self, config: &ConnectionConfig) {
        if !matches!(self.late(), Some(Late::Parked(_) | Late::Answered { .. })) {
            self.input.release_taken(config.max_line_bytes);
        }
    }

    /// Notes that the connection waits for a late answer from now on, if there is one to come.
    pub(crate) fn begin_wait(&mut self, now: Instant) {
        if let Some(parked) = self.parked_mut() {
            parked.since = Some(now);
        }
    }

    /// Takes the answer of what is answered later, if it is here. Bytes are the reply now; anything
    /// else makes the job due again. Returns how many lines have their reply, if the answer was
    /// here.
    pub(crate) fn take_late_answer(&mut self, config: &ConnectionConfig) -> Option<u32> {
        let answer = self.parked()?.answer.take()?;
        let rare = self.rare.as_mut()?;
        let Some(Late::Parked(Parked { lines, closes, answer: awaited, .. })) = rare.late.take() else { return None };
        if let LateAnswer::Bytes(bytes, _when_taken) = answer {
            let start = self.replies.len();
            self.replies.extend_from_slice(&bytes);
            // What a part has to send is escaped when it is appended to the replies of its job.
            if config.rules.telnet && self.part().is_none() {
                telnet::escape(&mut self.replies, start);
            }
            self.input.return_again(lines);
            self.close_reason = closes.then_some(CloseReason::ResponderClosed);
            return Some(lines);
        }
        rare.late = Some(Late::Answered { lines, closes, ending: awaited.ending, answer });
        Some(0)
    }

    /// Has the line rejected whose answer has not come in time. If it comes at this moment, it is
    /// taken.
    pub(crate) fn reject_late(&mut self) {
        let Some(rare) = &mut self.rare else { return };
        if let Some(Late::Parked(parked)) = rare.late.take_if(|late| matches!(late, Late::Parked(_))) {
            let Parked { lines, closes, answer, .. } = parked;
            let (ending, here) = (answer.ending, answer.cancel());
            let answer = here.unwrap_or(LateAnswer::Rejection(Rejection::ReplyTimeout));
            rare.late = Some(Late::Answered { lines, closes, ending, answer });
        }
    }

    /// Ends the wait for a late answer, and returns how many lines waited for it.
    pub(crate) fn cancel_late_answer(&mut self) -> u32 {
        let Some(rare) = &mut self.rare else { return 0 };
        match rare.late.take() {
            Some(Late::Parked(Parked { lines, answer, .. })) => {
                rare.unwanted.extend(answer.cancel());
                lines
            }
            Some(Late::Answered { lines, answer, .. }) => {
                rare.unwanted.push(answer);
                lines
            }
            None => 0,
        }
    }

    /// Returns the answers that nobody wanted.
    fn take_unwanted(&mut self) -> Vec<LateAnswer> {
        self.rare.as_mut().map(|rare| std::mem::take(&mut rare.unwanted)).unwrap_or_default()
    }

    /// Creates the next part of this job.
    pub(crate) fn new_part(&mut self, session: S, input: InputBuffer) -> Self {
        let number = Some(self.rare.get_or_insert_default().parts.next_number());
        Self {
            peer: self.peer.clone(),
            session: Some(session),
            input,
            latest_ending: self.latest_ending,
            telnet: TelnetState::Data,
            replies: Vec::new(),
            close_reason: None,
            is_dear: false,
            end_of_input: EndOfInput::Unwanted,
            rare: Some(Box::new(Rare { number, ..Rare::default() })),
        }
    }

    /// Makes what is answered later the next part.
    pub(crate) fn split_parked(&mut self, session: S) -> Self {
        let mut part = self.new_part(session, InputBuffer::new());
        part.is_dear = true;
        if let (Some(own), Some(of_part)) = (&mut self.rare, &mut part.rare) {
            of_part.late = own.late.take();
        }
        part
    }

    /// Returns whether an answer that came later waits for a thread that answers.
    pub(crate) fn has_late_answer(&self) -> bool {
        matches!(self.late(), Some(Late::Answered { .. }))
    }

    pub(crate) fn parts(&self) -> Option<&Parts<Self>> {
        self.rare.as_ref().map(|rare| &rare.parts)
    }

    pub(crate) fn parts_mut(&mut self) -> Option<&mut Parts<Self>> {
        self.rare.as_mut().map(|rare| &mut rare.parts)
    }

    /// Returns whether any line is a part whose reply was not taken.
    pub(crate) fn has_parts(&self) -> bool {
        self.parts().is_some_and(|parts| !parts.is_empty())
    }

    /// Waits for no late answer and no part any more. Returns how many lines they were for.
    pub(crate) fn stop_waiting(&mut self) -> u32 {
        let late = self.cancel_late_answer();
        let Some(parts) = self.parts_mut() else { return late };
        let lines = parts.lines();
        parts.abandon().into_iter().for_each(|part| self.let_go(part));
        late + lines
    }

    /// Drops a part that nobody waits for, but not what its late answer has left.
    pub(crate) fn let_go(&mut self, mut part: Self) {
        part.cancel_late_answer();
        let mut unwanted = part.take_unwanted();
        if !unwanted.is_empty() {
            self.rare.get_or_insert_default().unwanted.append(&mut unwanted);
        }
    }

    /// Returns whether any part is with a thread that answers.
    pub(crate) fn has_parts_in_flight(&self) -> bool {
        self.parts().is_some_and(Parts::are_in_flight)
    }

    /// Answers lines until none are left or the budget is exhausted, or until one is answered
    /// [later](Reply::later).
    ///
    /// A responder that panics or returns an error costs one line, which is answered
    /// `error: internal error`; the job continues with the next.
    #[must_use]
    pub fn answer<R, C>(mut self, responder: &R, config: &ConnectionConfig, mut budget: TurnBudget<C>) -> AnsweredJob<S>
    where
        R: Responder<Session = S> + ?Sized,
        C: BudgetClock,
        S: 'static,
    {
        let checkpoint = Checkpoint { replies: 0, ending: self.latest_ending };
        let mut call = PendingCall { checkpoint, lines: 0, aside: Aside::new(config.rules.max_data_bytes) };
        let returned = self.input.returned();
        // Panics are caught around the run and not around each line, which then costs nothing. All
        // that a panic leaves half done is one reply, and that is rolled back.
        while let Err(panic) =
            catch_unwind(AssertUnwindSafe(|| self.answer_input(responder, config, &mut budget, &mut call)))
        {
            let why = Unanswered::ResponderError(ResponderError::Panicked(panic_message(panic)));
            if let Err(why) = self.finish_call::<()>(Err(why), &mut call) {
                self.roll_back(responder, config, &mut call, why);
            }
            if self.is_turn_over(&mut budget) {
                break;
            }
        }
        let lines = self.input.returned() - returned;
        if lines > 0 {
            self.latest_ending = call.checkpoint.ending;
        }
        let is_part = self.part().is_some();
        self.is_dear = self.parked().is_some() || budget.has_dear_lines(lines, is_part) || is_part && self.is_dear;
        AnsweredJob(self)
    }

    /// Rejects lines as [busy](Rejection::Busy) until none are left or the budget is exhausted.
    ///
    /// The responder's [`reject`](Responder::reject) is called for each, so the session learns of
    /// them. A client that the responder has not connected yet receives one rejection, and the
    /// connection closes.
    #[must_use]
    pub fn reject_all<R, C>(
        mut self,
        responder: &R,
        config: &ConnectionConfig,
        mut budget: TurnBudget<C>,
    ) -> AnsweredJob<S>
    where
        R: Responder<Session = S> + ?Sized,
        C: BudgetClock,
    {
        if self.session.is_none() {
            return self.close_with(CloseReason::Busy, config);
        }
        if let Some(Late::Answered { lines, closes, answer, .. }) = self.take_answered() {
            let checkpoint = Checkpoint { replies: self.replies.len(), ending: self.latest_ending };
            self.input.return_again(lines);
            match answer {
                LateAnswer::Bytes(bytes, _when_taken) => self.replies.extend_from_slice(&bytes),
                LateAnswer::Rejection(rejection) => self.reject(responder, rejection, &checkpoint),
                LateAnswer::Error(error) => {
                    self.record_error(error);
                    self.reject(responder, Rejection::InternalError, &checkpoint);
                }
                // Nobody has time for it. It may have asked for bytes that come next.
                LateAnswer::Then(then) => {
                    drop_caught(then);
                    self.reject(responder, Rejection::Busy, &checkpoint);
                    self.note_busy(lines);
                    self.rejected_unseen(config);
                }
            }
            if closes {
                self.close_reason = Some(CloseReason::ResponderClosed);
            }
            if self.is_turn_over(&mut budget) {
                return AnsweredJob(self);
            }
        }
        // Counted bytes belong to a line that was answered; that nobody answers them is said once.
        let has_block = self.input.take_block().is_some();
        let before = self.input.returned();
        let mut next = has_block.then_some(self.latest_ending).or_else(|| self.next_ending(config));
        while let Some(ending) = next {
            let checkpoint = Checkpoint { replies: self.replies.len(), ending };
            self.reject(responder, Rejection::Busy, &checkpoint);
            self.rejected_unseen(config);
            if self.is_turn_over(&mut budget) {
                break;
            }
            next = self.next_ending(config);
        }
        self.note_busy(self.input.returned() - before);
        // Like counted bytes: that nobody deals with it is said once.
        if next.is_none() && self.close_reason.is_none() && self.end_of_input.take_due().is_some() {
            let checkpoint = Checkpoint { replies: self.replies.len(), ending: self.latest_ending };
            self.reject(responder, Rejection::Busy, &checkpoint);
        }
        AnsweredJob(self)
    }

    /// Rejects all lines as busy, when no thread is left that could call the responder: the client
    /// receives the [prepared words](ConnectionConfig::new).
    ///
    /// A session that is more than `()` would miss these lines, so its connection closes.
    #[must_use]
    pub fn reject_without_responder(mut self, config: &ConnectionConfig) -> AnsweredJob<S>
    where
        S: 'static,
    {
        let session_misses_nothing = self.session.is_some() && TypeId::of::<S>() == TypeId::of::<()>();
        let needs_responder = self.has_late_answer() || self.end_of_input.is_due();
        if !session_misses_nothing || needs_responder || config.rules.max_data_bytes > 0 {
            return self.close_with(CloseReason::Busy, config);
        }
        while self.close_reason.is_none()
            && let Some(ending) = self.next_ending(config)
        {
            self.replies.extend_from_slice(config.rejection_text_with(CloseReason::Busy, ending));
            self.rejected_unseen(config);
        }
        self.note_busy(self.input.returned());
        AnsweredJob(self)
    }

    /// Sends the client the prepared rejection for this reason, and closes.
    fn close_with(mut self, reason: CloseReason, config: &ConnectionConfig) -> AnsweredJob<S> {
        self.replies.extend_from_slice(config.rejection_text_with(reason, self.latest_ending));
        self.close_reason = Some(reason);
        AnsweredJob(self)
    }

    /// Takes a line out, whatever it says, and returns how to end what is sent for it.
    fn next_ending(&mut self, config: &ConnectionConfig) -> Option<LineEnding> {
        let line = self.input.run(config.max_line_bytes, config.rules.lines).next()?;
        self.latest_ending = config.rules.ending_for(line.ending);
        Some(self.latest_ending)
    }

    /// Closes the connection, if configured so, after a line was rejected that the responder has
    /// not seen.
    fn rejected_unseen(&mut self, config: &ConnectionConfig) {
        if config.rules.closes_when_rejected() {
            self.close_reason = Some(CloseReason::LineRejected);
        }
    }

    /// Returns the call to make when the connection is closed, if the responder knows the client.
    /// There is none for a part, whose session is only a clone.
    pub(crate) fn into_disconnect(mut self, reason: CloseReason) -> Option<Disconnect<S>> {
        if self.part().is_some() {
            return None;
        }
        self.cancel_late_answer();
        let unwanted = self.take_unwanted();
        self.session.map(|session| Disconnect { peer: self.peer, session, reason, unwanted })
    }

    /// Connects the client, if that is due, and answers lines and counted bytes until none are left
    /// or the budget is exhausted. A panic passes through.
    fn answer_input<R, C>(
        &mut self,
        responder: &R,
        config: &ConnectionConfig,
        budget: &mut TurnBudget<C>,
        call: &mut PendingCall,
    ) where
        R: Responder<Session = S> + ?Sized,
        C: BudgetClock,
        S: 'static,
    {
        if self.session.is_none() && self.close_reason.is_none() {
            self.connect(responder, config, call);
            // This may have taken long. No line begins after a tick, here as elsewhere.
            if budget.has_ticked() {
                return;
            }
        }
        self.tell_of_tls(responder, call);
        while self.has_work() && self.close_reason.is_none() {
            let why = if let Some(outcome) = self.answer_late(call) {
                self.finish_call(outcome, call).err()
            } else if let Some(outcome) = self.answer_block(responder, call) {
                self.finish_call(outcome.map_err(unanswered), call).err()
            } else if let Some(outcome) = self.tell_of_end(responder, call) {
                self.finish_call(outcome.map_err(unanswered), call).err()
            } else {
                match self.answer_lines(responder, config, budget, call) {
                    Halt::Over if self.input.has_work() || !self.end_of_input.is_due() => return,
                    Halt::Over => None,
                    Halt::Unseen(unseen) => Some(Unanswered::Unseen(unseen)),
                    Halt::Called(outcome) => {
                        self.latest_ending = call.checkpoint.ending;
                        self.finish_call(outcome.map_err(unanswered), call).err()
                    }
                }
            };
            if let Some(why) = why {
                self.roll_back(responder, config, call, why);
            }
            if self.is_turn_over(budget) {
                return;
            }
        }
    }

    /// Has the responder answer counted bytes, if that is what comes next.
    fn answer_block<R>(&mut self, responder: &R, call: &mut PendingCall) -> Option<Result<(), BoxError>>
    where
        R: Responder<Session = S> + ?Sized,
    {
        let (Some(session), Some(bytes)) = (&mut self.session, self.input.take_block()) else { return None };
        call.checkpoint = Checkpoint { replies: self.replies.len(), ending: self.latest_ending };
        call.lines = 0;
        let mut reply = Reply::new(&mut self.replies, self.latest_ending, &mut call.aside);
        Some(responder.bytes(session, bytes, &mut reply))
    }

    /// Tells the responder that nothing more is received, if it is to be told and no line is left.
    fn tell_of_end<R>(&mut self, responder: &R, call: &mut PendingCall) -> Option<Result<(), BoxError>>
    where
        R: Responder<Session = S> + ?Sized,
    {
        if self.input.has_work() {
            return None;
        }
        let reason = self.end_of_input.take_due()?;
        let session = self.session.as_mut()?;
        // Whatever has come of the last line, this is said as it was.
        let ending = call.checkpoint.ending;
        call.checkpoint = Checkpoint { replies: self.replies.len(), ending };
        call.lines = 0;
        let mut reply = Reply::new(&mut self.replies, ending, &mut call.aside);
        Some(responder.end_of_input(session, reason, &mut reply))
    }

    /// Takes an answer that came later, if a thread that answers must deal with one.
    fn take_answered(&mut self) -> Option<Late> {
        self.rare.as_mut()?.late.take_if(|late| matches!(late, Late::Answered { .. }))
    }

    /// Deals with an answer that came later, if there is one.
    fn answer_late(&mut self, call: &mut PendingCall) -> Option<Result<(), Unanswered>>
    where
        S: 'static,
    {
        let Some(Late::Answered { lines, closes, ending, answer }) = self.take_answered() else { return None };
        call.checkpoint = Checkpoint { replies: self.replies.len(), ending: self.latest_ending };
        call.lines = lines;
        self.input.return_again(lines);
        if closes {
            call.aside.close();
        }
        let session = self.session.as_mut()?;
        Some(match answer {
            LateAnswer::Bytes(bytes, _when_taken) => {
                self.replies.extend_from_slice(&bytes);
                Ok(())
            }
            LateAnswer::Rejection(rejection) => Err(Unanswered::Rejected(rejection)),
            LateAnswer::Error(error) => Err(Unanswered::ResponderError(error)),
            LateAnswer::Then(then) => match then.downcast::<ThenFn<S>>() {
                Ok(then) => {
                    let mut reply = Reply::new(&mut self.replies, ending, &mut call.aside);
                    then(session, &mut reply).map_err(unanswered)
                }
                Err(other) => {
                    drop_caught(other);
                    Err(Unanswered::ResponderError(OTHER_SESSION))
                }
            },
        })
    }

    /// Has the responder answer line after line, as long as it just does that. The caller handles
    /// all else.
    // A function of its own, so that the loop has the registers to itself: inlined, it takes 17 ns
    // for a greeting in place of 12.
    #[inline(never)]
    fn answer_lines<R, C>(
        &mut self,
        responder: &R,
        config: &ConnectionConfig,
        budget: &mut TurnBudget<C>,
        call: &mut PendingCall,
    ) -> Halt
    where
        R: Responder<Session = S> + ?Sized,
        C: BudgetClock,
    {
        let Some(session) = &mut self.session else { return Halt::Over };
        let mut run = self.input.run(config.max_line_bytes, config.rules.lines);
        while let Some(line) = run.next() {
            let ending = config.rules.ending_for(line.ending);
            call.checkpoint = Checkpoint { replies: self.replies.len(), ending };
            let text = match line.text {
                Ok(text) => text,
                Err(unseen) => return Halt::Unseen(unseen),
            };
            let mut reply = Reply::new(&mut self.replies, ending, &mut call.aside);
            let outcome = responder.respond(session, text, &mut reply);
            if outcome.is_err() || call.aside.is_said() {
                call.lines = 1;
                return Halt::Called(outcome);
            }
            if run.lines() == 0 || budget.is_exhausted(self.replies.len()) {
                break;
            }
        }
        Halt::Over
    }

    /// Does what a call has said beside its reply. Returns what it returned, or why there is no
    /// reply; then what it has asked for is skipped.
    #[cold]
    fn finish_call<T>(&mut self, outcome: Result<T, Unanswered>, call: &mut PendingCall) -> Result<T, Unanswered> {
        let Said { counted, closes, starts_tls, fault, later } = call.aside.finish();
        let misuse = match starts_tls {
            _ if self.end_of_input == EndOfInput::Told && (starts_tls || counted.is_some()) => {
                Some("asks for bytes or TLS of a client that has stopped sending")
            }
            true if counted.is_some() || closes || later.is_some() => Some("starts TLS and something else in one call"),
            true if !self.peer.can_start_tls() => {
                Some("starts TLS where the listener has none on request, or it is spoken already")
            }
            _ => None,
        };
        let fault = fault.or(misuse.map(Fault::Misuse));
        let outcome = match (outcome, fault) {
            (Ok(_), Some(fault)) => Err(Unanswered::ResponderError(fault.into())),
            (outcome, _) => outcome,
        };
        if let Some(counted) = counted
            && self.end_of_input != EndOfInput::Told
        {
            self.input.expect(if outcome.is_ok() { counted } else { counted.skipped() });
            // What comes is not in a part's hands, and must not be taken for lines.
            if self.part().is_some() {
                self.close_reason = Some(CloseReason::ResponderClosed);
            }
        }
        if starts_tls && outcome.is_ok() {
            // Of a part, other lines are on their way.
            match self.part() {
                None => self.rare.get_or_insert_default().tls = Some(TlsRequest::Pending),
                Some(_) => self.close_reason = Some(CloseReason::ResponderClosed),
            }
        }
        match later {
            Some(answer) if outcome.is_ok() => {
                self.park(Parked { answer, lines: call.lines, closes, since: None, is_watched: false });
            }
            later => {
                later.and_then(|answer| answer.cancel()).into_iter().for_each(drop_caught);
                if closes {
                    self.close_reason = Some(CloseReason::ResponderClosed);
                }
            }
        }
        outcome
    }

    /// Parks a line, unless its answer is here.
    fn park(&mut self, parked: Parked) {
        let Parked { lines, closes, .. } = parked;
        self.input.take_back(lines);
        let late = match parked.answer.take() {
            Some(answer) => Late::Answered { lines, closes, ending: parked.answer.ending, answer },
            None => Late::Parked(parked),
        };
        self.rare.get_or_insert_default().late = Some(late);
    }

    /// Returns whether no more lines are answered now: none are left, the connection closes, or the
    /// budget is exhausted.
    fn is_turn_over<C: BudgetClock>(&self, budget: &mut TurnBudget<C>) -> bool {
        !self.has_work() || self.close_reason.is_some() || budget.is_exhausted(self.replies.len())
    }

    /// Has the responder create the session and write the banner.
    fn connect<R>(&mut self, responder: &R, config: &ConnectionConfig, call: &mut PendingCall)
    where
        R: Responder<Session = S> + ?Sized,
    {
        let ending = config.rules.ending_for(LineEnding::default());
        call.checkpoint = Checkpoint { replies: self.replies.len(), ending };
        call.aside.set_connecting(true);
        let mut reply = Reply::new(&mut self.replies, ending, &mut call.aside);
        let outcome = responder.connect(&self.peer, &mut reply);
        call.checkpoint.ending = reply.ending();
        if self.lines() == 0 {
            self.latest_ending = call.checkpoint.ending;
        }
        call.aside.set_connecting(false);
        match self.finish_call(outcome.map_err(unanswered), call) {
            Ok(session) => self.session = Some(session),
            Err(why) => self.roll_back(responder, config, call, why),
        }
    }

    /// Replaces what a call has written with a rejection: the responder's own, or an internal
    /// error.
    #[cold]
    fn roll_back<R>(&mut self, responder: &R, config: &ConnectionConfig, call: &mut PendingCall, why: Unanswered)
    where
        R: Responder<Session = S> + ?Sized,
    {
        let checkpoint = &call.checkpoint;
        match why {
            Unanswered::Unseen(unseen) => {
                let rejection = match unseen {
                    Unseen::TooLong => Rejection::LineTooLong { max_line_bytes: config.max_line_bytes },
                    Unseen::BareLf => Rejection::BareLf,
                };
                self.reject(responder, rejection, checkpoint);
                self.rejected_unseen(config);
            }
            Unanswered::Rejected(rejection) => self.reject(responder, rejection, checkpoint),
            Unanswered::ResponderError(error) => {
                self.record_error(error);
                self.reject(responder, Rejection::InternalError, checkpoint);
            }
        }
        // A client without a session cannot be served.
        if self.session.is_none() {
            self.close_reason = Some(CloseReason::ResponderClosed);
        }
    }

    /// Replaces what was written since the checkpoint with this rejection, and records an error if
    /// the responder fails at wording it.
    #[cold]
    fn reject<R>(&mut self, responder: &R, rejection: Rejection, checkpoint: &Checkpoint)
    where
        R: Responder<Session = S> + ?Sized,
    {
        self.replies.truncate(checkpoint.replies);
        let (error, closes) = reject(responder, self.session.as_mut(), rejection, &mut self.replies, checkpoint);
        if let Some(error) = error {
            self.record_error(error);
        }
        if closes {
            self.close_reason = Some(CloseReason::ResponderClosed);
        }
    }

    fn note_busy(&mut self, lines: u32) {
        if lines > 0 {
            self.rare.get_or_insert_default().busy += lines;
        }
    }

    /// Counts an error and keeps the first.
    fn record_error(&mut self, error: ResponderError) {
        let errors = &mut self.rare.get_or_insert_default().errors;
        errors.count += 1;
        errors.first.get_or_insert(error);
    }
}

/// Why lines are not answered one after the other.
enum Halt {
    /// No lines are left, or the budget is exhausted.
    Over,
    /// The responder does not see the latest line.
    Unseen(Unseen),
    /// The latest call returned this, and if it is no error, has said something beside its reply.
    Called(Result<(), BoxError>),
}

/// The call of the responder in progress: what is needed to undo it, should it fail or panic.
struct PendingCall {
    checkpoint: Checkpoint,
    /// How many lines are answered by it: one, or none where it is for counted bytes.
    lines: u32,
    aside: Aside,
}

/// Returns what becomes of a line whose call has returned this error. The error becomes text here,
/// where a panic of its `Display` is caught.
#[cold]
fn unanswered(error: BoxError) -> Unanswered {
    match rejection_in(error) {
        Ok(rejection) => Unanswered::Rejected(rejection),
        Err(error) => Unanswered::ResponderError(error),
    }
}

/// A job after its turn: the replies to the lines that were answered and, if the budget was
/// exhausted first, the lines that were not.
///
/// [`Connection::answered`](crate::Connection::answered) takes it.
#[derive(Debug)]
pub struct AnsweredJob<S>(pub(crate) ClientJob<S>);

impl<S> AnsweredJob<S> {
    /// Returns the client's id.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.0.id()
    }

    /// Returns the client.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// Returns which part of its connection's job this is, if it is one.
    #[must_use]
    pub fn part(&self) -> Option<PartNumber> {
        self.0.part()
    }

    /// Returns how many lines were answered.
    #[must_use]
    pub const fn lines_answered(&self) -> u32 {
        self.0.input.returned()
    }

    /// Returns the replies, as they are sent.
    #[must_use]
    pub fn replies(&self) -> &[u8] {
        &self.0.replies
    }

    /// Returns how much memory the lines and replies occupy, in bytes.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.0.bytes_held()
    }

    /// Replaces all replies with the rejection for this reason, and closes the connection behind
    /// it.
    ///
    /// It is for replies that the memory budget has no room for.
    #[must_use]
    pub fn close_with(mut self, reason: CloseReason, config: &ConnectionConfig) -> Self {
        self.0.replies = config.rejection_text_with(reason, self.0.latest_ending).to_vec();
        self.0.close_reason = Some(reason);
        self.take_busy();
        self
    }

    /// Returns how many lines were rejected as [busy](Rejection::Busy) since the last call.
    pub fn take_busy(&mut self) -> u32 {
        self.0.rare.as_mut().map_or(0, |rare| std::mem::take(&mut rare.busy))
    }

    /// Returns the errors of the responder since the last call.
    pub fn take_errors(&mut self) -> ResponderErrors {
        self.0.rare.as_mut().map(|rare| std::mem::take(&mut rare.errors)).unwrap_or_default()
    }

    /// Returns the call to make for a job that no connection waits for any more, if the responder
    /// knows the client. The replies are lost.
    #[must_use]
    pub fn into_disconnect(self, reason: CloseReason) -> Option<Disconnect<S>> {
        self.0.into_disconnect(reason)
    }
}

/// The last call that a responder receives for a client.
#[derive(Debug)]
pub struct Disconnect<S> {
    peer: Peer,
    session: S,
    reason: CloseReason,
    /// Late answers that nobody wanted.
    unwanted: Vec<LateAnswer>,
}

impl<S> Disconnect<S> {
    /// Returns the client that is gone.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Calls [`Responder::disconnect`].
    ///
    /// # Errors
    ///
    /// Returns [`ResponderError::Panicked`] if the call panicked.
    pub fn notify<R>(self, responder: &R) -> Result<(), ResponderError>
    where
        R: Responder<Session = S> + ?Sized,
    {
        self.unwanted.into_iter().for_each(drop_caught);
        catch_unwind(AssertUnwindSafe(|| responder.disconnect(self.session, self.reason)))
            .map_err(|panic| ResponderError::Panicked(panic_message(panic)))
    }
}
