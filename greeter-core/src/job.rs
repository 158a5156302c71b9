//! What one client asked, on its way to whoever answers and back.

use std::any::TypeId;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::budget::{BudgetClock, TurnBudget};
use crate::catch::{panic_message, reject};
use crate::close_reason::CloseReason;
use crate::config::{ConnectionConfig, WhenRejected};
use crate::error::{BoxError, ResponderError, ResponderErrors};
use crate::line::{LineBuffer, LineEnding};
use crate::peer::{ClientId, Peer};
use crate::rejection::Rejection;
use crate::reply::{Checkpoint, Replies, Reply};
use crate::responder::Responder;

/// How much longer than its line a reply is taken to be, with its ending.
const REPLY_BYTES_MORE: usize = 16;

/// The complete lines that one client has sent, with everything that answering them needs: who asked, the client's session,
/// and the buffer that the replies go into. It holds no socket.
///
/// A connection has one job and no more. While the job is away the connection is not read, so replies are in order without
/// sequence numbers, the session is nobody else's without a lock, and there are never more jobs than connections.
///
/// A job is answered by value: what comes back is an [`AnsweredJob`], and a job that was not answered cannot come home.
#[derive(Debug)]
pub struct ClientJob<S> {
    pub(crate) peer: Peer,
    /// None until the responder was told of the client.
    pub(crate) session: Option<S>,
    pub(crate) lines: LineBuffer,
    /// How the client ends its lines, or its banner as long as it has sent none. What it is told message ends so too.
    pub(crate) latest_ending: LineEnding,
    /// What is to become of the client when a line is rejected that the responder has not seen.
    when_rejected: WhenRejected,
    pub(crate) replies: Replies,
    /// How many lines `replies` answers.
    pub(crate) answered: u32,
    /// Rare, and so in a box.
    errors: Option<Box<ResponderErrors>>,
}

/// Why a line has no answer of the responder's.
#[derive(Debug)]
enum Unanswered {
    /// It never came to the responder.
    TooLong,
    /// The responder rejects it.
    Rejected(Rejection),
    /// The responder failed.
    ResponderError(ResponderError),
}

impl<S> ClientJob<S> {
    pub(crate) const fn new(peer: Peer, config: &ConnectionConfig) -> Self {
        Self {
            peer,
            session: None,
            lines: LineBuffer::new(config.max_line_bytes),
            latest_ending: LineEnding::Lf,
            when_rejected: config.when_rejected,
            replies: Replies { bytes: Vec::new(), close_reason: None },
            answered: 0,
            errors: None,
        }
    }

    /// Whose job this is.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.peer.id
    }

    /// Whose job this is, and where they are.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// How many lines wait for an answer.
    #[must_use]
    pub const fn lines(&self) -> u32 {
        self.lines.lines()
    }

    /// Takes in what the client has sent and tells how many lines that completed.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> u32 {
        let lines = self.lines.push(bytes);
        if lines > 0 {
            self.latest_ending = self.lines.latest_ending();
        }
        lines
    }

    /// How many bytes the replies will come to, by a guess: replies are taken to be a little longer than their lines. No more than
    /// [a bound](ConnectionConfig::MAX_REPLY_CAPACITY).
    #[must_use]
    pub fn reply_capacity_hint(&self) -> usize {
        let guess = self.lines.bytes_waiting() + REPLY_BYTES_MORE * self.lines() as usize;
        guess.min(ConnectionConfig::MAX_REPLY_CAPACITY)
    }

    /// Has the replies written into this buffer, whatever it holds now. Where it has the [room that is wanted](Self::reply_capacity_hint), whoever
    /// answers need not allocate; once the replies are sent, [the buffer comes back](crate::Connection::wrote). A job that is given
    /// none has its replies in memory that grows as they do.
    pub fn set_reply_buffer(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.replies.bytes = buffer;
    }

    /// How much memory its lines and replies occupy, in bytes, the room for the next replies among it.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.lines.bytes_held() + self.replies.bytes.capacity().max(self.reply_capacity_hint())
    }

    /// Answers lines until there are none left or the budget is over. A responder that panics or fails costs one line.
    #[must_use]
    pub fn answer<R, C>(mut self, responder: &R, mut budget: TurnBudget<C>) -> AnsweredJob<S>
    where
        R: Responder<Session = S> + ?Sized,
        C: BudgetClock,
    {
        let mut checkpoint = Checkpoint { replies: 0, ending: LineEnding::default() };
        let lines = self.lines();
        // Unwinding is caught around the run and not around each line, which so costs nothing. All that a panic leaves half
        // done is one reply, and that is taken back.
        while let Err(panic) =
            catch_unwind(AssertUnwindSafe(|| self.answer_lines(responder, &mut budget, &mut checkpoint)))
        {
            self.roll_back(
                responder,
                &checkpoint,
                Unanswered::ResponderError(ResponderError::Panicked(panic_message(panic))),
            );
            if self.is_over(&mut budget) {
                break;
            }
        }
        self.answered += lines - self.lines();
        AnsweredJob(self)
    }

    /// Has no line answered: the responder [rejects](Responder::reject) each in its place since everyone is [busy](Rejection::Busy), and its
    /// session so knows of them. Goes on until there are none left or the budget is over. A client that the responder has not heard of yet
    /// is rejected as a whole.
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
        while let Some(ending) = self.next_ending() {
            let checkpoint = Checkpoint { replies: self.replies.bytes.len(), ending };
            self.reject(responder, Rejection::Busy, &checkpoint);
            self.answered += 1;
            self.rejected_unseen();
            if self.is_over(&mut budget) {
                break;
            }
        }
        AnsweredJob(self)
    }

    /// Has no line answered, and nobody is left who could ask the responder for its words: what it [said beforehand](ConnectionConfig::new) stands in
    /// for them. A session that is more than `()` would not know of those lines, so that its connection ends.
    #[must_use]
    pub fn reject_without_responder(mut self, config: &ConnectionConfig) -> AnsweredJob<S>
    where
        S: 'static,
    {
        let misses_nothing = self.session.is_some() && TypeId::of::<S>() == TypeId::of::<()>();
        if !misses_nothing {
            return self.close_with(CloseReason::Busy, config);
        }
        while self.replies.close_reason.is_none()
            && let Some(ending) = self.next_ending()
        {
            self.replies.bytes.extend_from_slice(config.rejection_text_with(CloseReason::Busy, ending));
            self.answered += 1;
            self.rejected_unseen();
        }
        AnsweredJob(self)
    }

    /// Tells the client why, in words that were said beforehand, and has that be the end.
    fn close_with(mut self, reason: CloseReason, config: &ConnectionConfig) -> AnsweredJob<S> {
        self.replies.bytes.extend_from_slice(config.rejection_text_with(reason, self.latest_ending));
        self.replies.close_reason = Some(reason);
        AnsweredJob(self)
    }

    /// Takes a line out, whatever it says, and tells how it ended.
    fn next_ending(&mut self) -> Option<LineEnding> {
        self.lines.run().next().map(|line| line.ending)
    }

    /// A line was rejected that the responder has not seen.
    fn rejected_unseen(&mut self) {
        if self.when_rejected == WhenRejected::Close {
            self.replies.close_reason = Some(CloseReason::LineRejected);
        }
    }

    /// What is to be said when it is over, if the responder knows the client.
    pub(crate) fn into_disconnect(self, reason: CloseReason) -> Option<Disconnect<S>> {
        let peer = self.peer;
        self.session.map(|session| Disconnect { peer, session, reason })
    }

    /// Straight on, until the job or the budget is used up.
    fn answer_lines<R, C>(&mut self, responder: &R, budget: &mut TurnBudget<C>, checkpoint: &mut Checkpoint)
    where
        R: Responder<Session = S> + ?Sized,
        C: BudgetClock,
    {
        if self.session.is_none() && self.replies.close_reason.is_none() {
            self.connect(responder, checkpoint);
            // That took what it took. A line that begins after a tick is for the next budget, here as elsewhere.
            if budget.has_ticked() {
                return;
            }
        }
        while let ControlFlow::Break(why) = self.answer_run(responder, budget, checkpoint) {
            self.roll_back(responder, checkpoint, why);
            if self.is_over(budget) {
                return;
            }
        }
    }

    /// The run: line after line, as long as each is answered. What keeps one from being answered is for the caller.
    fn answer_run<R, C>(
        &mut self,
        responder: &R,
        budget: &mut TurnBudget<C>,
        checkpoint: &mut Checkpoint,
    ) -> ControlFlow<Unanswered>
    where
        R: Responder<Session = S> + ?Sized,
        C: BudgetClock,
    {
        let (Some(session), None) = (&mut self.session, self.replies.close_reason) else {
            return ControlFlow::Continue(());
        };
        let mut run = self.lines.run();
        while let Some(line) = run.next() {
            *checkpoint = Checkpoint { replies: self.replies.bytes.len(), ending: line.ending };
            let Ok(text) = line.text else {
                return ControlFlow::Break(Unanswered::TooLong);
            };
            let mut reply = Reply::new(&mut self.replies, line.ending);
            match (responder.respond(session, text, &mut reply), reply.framing()) {
                (Ok(()), Ok(())) => {}
                (Err(failure), _) => return ControlFlow::Break(unanswered(failure)),
                (_, Err(broken)) => return ControlFlow::Break(Unanswered::ResponderError(broken.into())),
            }
            if self.replies.close_reason.is_some() || run.lines() == 0 || budget.is_exhausted(self.replies.bytes.len())
            {
                break;
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether no more lines are answered now: there is none, the client is to go, or the budget is used up.
    fn is_over<C: BudgetClock>(&self, budget: &mut TurnBudget<C>) -> bool {
        self.lines() == 0 || self.replies.close_reason.is_some() || budget.is_exhausted(self.replies.bytes.len())
    }

    fn connect<R>(&mut self, responder: &R, checkpoint: &mut Checkpoint)
    where
        R: Responder<Session = S> + ?Sized,
    {
        *checkpoint = Checkpoint { replies: self.replies.bytes.len(), ending: LineEnding::default() };
        let mut reply = Reply::new(&mut self.replies, checkpoint.ending);
        let outcome = responder.connect(&self.peer, &mut reply);
        let framing = reply.framing();
        checkpoint.ending = reply.ending();
        if self.lines() == 0 {
            self.latest_ending = checkpoint.ending;
        }
        match (outcome, framing) {
            (Ok(session), Ok(())) => self.session = Some(session),
            (Err(failure), _) => self.roll_back(responder, checkpoint, unanswered(failure)),
            (_, Err(broken)) => self.roll_back(responder, checkpoint, Unanswered::ResponderError(broken.into())),
        }
    }

    /// Puts a rejection in the place of whatever was said since the checkpoint: the responder's own, or an internal error.
    #[cold]
    fn roll_back<R>(&mut self, responder: &R, checkpoint: &Checkpoint, why: Unanswered)
    where
        R: Responder<Session = S> + ?Sized,
    {
        match why {
            Unanswered::TooLong => {
                let max_line_bytes = self.lines.max_line_bytes();
                self.reject(responder, Rejection::LineTooLong { max_line_bytes }, checkpoint);
                self.rejected_unseen();
            }
            Unanswered::Rejected(rejection) => self.reject(responder, rejection, checkpoint),
            Unanswered::ResponderError(error) => {
                self.record_error(error);
                self.reject(responder, Rejection::InternalError, checkpoint);
            }
        }
        // Without a session there is no going on.
        if self.session.is_none() {
            self.replies.close_reason = Some(CloseReason::ResponderClosed);
        }
    }

    /// Refuses in the responder's words, or in ours where it cannot even do that.
    #[cold]
    fn reject<R>(&mut self, responder: &R, rejection: Rejection, checkpoint: &Checkpoint)
    where
        R: Responder<Session = S> + ?Sized,
    {
        self.replies.bytes.truncate(checkpoint.replies);
        if let Err(error) = reject(responder, self.session.as_mut(), rejection, &mut self.replies, checkpoint) {
            self.record_error(error);
        }
    }

    fn record_error(&mut self, error: ResponderError) {
        let errors = self.errors.get_or_insert_default();
        errors.count += 1;
        errors.first.get_or_insert(error);
    }
}

/// The rejection that the responder returned, if that is what it did. What else it returned becomes text here, where a panic of
/// its own code is contained.
#[cold]
fn unanswered(failure: BoxError) -> Unanswered {
    match failure.downcast() {
        Ok(rejection) => Unanswered::Rejected(*rejection),
        Err(failure) => {
            let mut text = failure.to_string();
            let mut cause = failure.source();
            while let Some(error) = cause {
                text += &format!(": {error}");
                cause = error.source();
            }
            Unanswered::ResponderError(ResponderError::Failed(text))
        }
    }
}

/// A job that has had its turn: the replies to the lines that were answered and, if the budget was over first, the lines that
/// were not. [`Connection::answered`](crate::Connection::answered) takes it.
#[derive(Debug)]
pub struct AnsweredJob<S>(pub(crate) ClientJob<S>);

impl<S> AnsweredJob<S> {
    /// Whose job this is.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.0.id()
    }

    /// Whose job this is, and where they are.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.0.peer
    }

    /// How many lines were answered.
    #[must_use]
    pub const fn lines_answered(&self) -> u32 {
        self.0.answered
    }

    /// The replies, as they go out.
    #[must_use]
    pub fn replies(&self) -> &[u8] {
        &self.0.replies.bytes
    }

    /// How much memory its lines and replies occupy, in bytes.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.0.bytes_held()
    }

    /// Takes all replies back, for which there is no room, and has the client told so in their place; that is its end.
    #[must_use]
    pub fn close_with(mut self, reason: CloseReason, config: &ConnectionConfig) -> Self {
        self.0.replies.bytes = config.rejection_text_with(reason, self.0.latest_ending).to_vec();
        self.0.replies.close_reason = Some(reason);
        self
    }

    /// What went wrong since this was asked last.
    pub fn take_errors(&mut self) -> ResponderErrors {
        self.0.errors.take().map(|errors| *errors).unwrap_or_default()
    }

    /// What is left of a job that nobody waits for any more: if the responder knows the client, a disconnect. The replies go nowhere.
    #[must_use]
    pub fn into_disconnect(self, reason: CloseReason) -> Option<Disconnect<S>> {
        self.0.into_disconnect(reason)
    }
}

/// The last thing that a responder hears of a client.
#[derive(Debug)]
pub struct Disconnect<S> {
    peer: Peer,
    session: S,
    reason: CloseReason,
}

impl<S> Disconnect<S> {
    /// Who is gone.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// Calls [`Responder::disconnect`].
    ///
    /// # Errors
    ///
    /// [`ResponderError::Panicked`] when that panicked.
    pub fn notify<R>(self, responder: &R) -> Result<(), ResponderError>
    where
        R: Responder<Session = S> + ?Sized,
    {
        catch_unwind(AssertUnwindSafe(|| responder.disconnect(self.session, self.reason)))
            .map_err(|panic| ResponderError::Panicked(panic_message(panic)))
    }
}
