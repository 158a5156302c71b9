//! Turns the lines of one client into replies: the job that travels to the thread that answers, and
//! back.
//!
//! It holds no socket and reads no clock.

use std::any::TypeId;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::budget::{BudgetClock, TurnBudget};
use crate::catch::{panic_message, reject};
use crate::close_reason::CloseReason;
use crate::config::{ConnectionConfig, ConnectionRules, WhenRejected};
use crate::error::{BoxError, ResponderError, ResponderErrors};
use crate::line::{LineBuffer, LineEnding, Unseen};
use crate::peer::{ClientId, Peer};
use crate::rejection::Rejection;
use crate::reply::{Checkpoint, Replies, Reply};
use crate::responder::Responder;
use crate::telnet::TelnetState;

/// How many bytes longer than its line a reply is assumed to be, both with their endings.
const REPLY_BYTES_MORE: usize = 16;

/// The complete lines that one client has sent, with everything that is needed to answer them: the
/// client, its session, and the buffer for the replies. It holds no socket.
///
/// A connection has exactly one job. While the job is in flight, the connection is not read. So
/// replies are in order without sequence numbers, the session needs no lock, and there are never
/// more jobs than connections.
///
/// A job is answered by value: the result is an [`AnsweredJob`], and only that can be given back to
/// the connection.
#[derive(Debug)]
pub struct ClientJob<S> {
    pub(crate) peer: Peer,
    /// None until the responder has connected the client.
    pub(crate) session: Option<S>,
    pub(crate) lines: LineBuffer,
    /// How pushes and rejections end: as the latest reply does, or as the reply to the first line
    /// that waits will; before there is a line, as the banner does.
    pub(crate) latest_ending: LineEnding,
    pub(crate) rules: ConnectionRules,
    pub(crate) telnet: TelnetState,
    pub(crate) replies: Replies,
    /// How many lines `replies` answers.
    pub(crate) answered: u32,
    /// Boxed, since errors are rare and jobs are many.
    errors: Option<Box<ResponderErrors>>,
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
            lines: LineBuffer::new(config.max_line_bytes),
            latest_ending: match config.rules.line_ending {
                Some(ending) => ending,
                None => LineEnding::Lf,
            },
            rules: config.rules,
            telnet: TelnetState::Data,
            replies: Replies { bytes: Vec::new(), close_reason: None },
            answered: 0,
            errors: None,
        }
    }

    /// Returns the client's id.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.peer.id
    }

    /// Returns the client.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// Returns how many lines wait for an answer.
    #[must_use]
    pub const fn lines(&self) -> u32 {
        self.lines.lines()
    }

    /// Adds bytes that the client has sent, and returns how many lines they completed.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> u32 {
        let lines = self.lines.push(bytes);
        if let Some(ending) = self.lines.first_ending() {
            self.latest_ending = self.rules.ending_for(ending);
        }
        lines
    }

    /// Returns an estimate of how many bytes the replies need: each is assumed to be a little
    /// longer than its line. It is at most
    /// [`MAX_REPLY_CAPACITY`](ConnectionConfig::MAX_REPLY_CAPACITY).
    #[must_use]
    pub fn reply_capacity_hint(&self) -> usize {
        let guess = self.lines.bytes_waiting() + REPLY_BYTES_MORE * self.lines() as usize;
        guess.min(ConnectionConfig::MAX_REPLY_CAPACITY)
    }

    /// Sets the buffer that the replies are written into, and clears it.
    ///
    /// A buffer with the [estimated capacity](Self::reply_capacity_hint) spares the thread that
    /// answers an allocation. Once the replies are sent,
    /// [`Connection::wrote`](crate::Connection::wrote) returns the buffer. The default is a buffer
    /// that grows with the replies.
    pub fn set_reply_buffer(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.replies.bytes = buffer;
    }

    /// Returns how much memory the lines and replies occupy, in bytes. That includes the estimated
    /// capacity for the next replies.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.lines.bytes_held() + self.replies.bytes.capacity().max(self.reply_capacity_hint())
    }

    /// Answers lines until none are left or the budget is exhausted.
    ///
    /// A responder that panics or returns an error costs one line, which is answered
    /// `error: internal error`; the job continues with the next.
    #[must_use]
    pub fn answer<R, C>(mut self, responder: &R, mut budget: TurnBudget<C>) -> AnsweredJob<S>
    where
        R: Responder<Session = S> + ?Sized,
        C: BudgetClock,
    {
        let mut checkpoint = Checkpoint { replies: 0, ending: self.latest_ending };
        let lines = self.lines();
        // Panics are caught around the run and not around each line, which then costs nothing. All
        // that a panic leaves half done is one reply, and that is rolled back.
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
        let answered = lines - self.lines();
        if answered > 0 {
            self.latest_ending = checkpoint.ending;
        }
        self.answered += answered;
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
        if !session_misses_nothing {
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

    /// Sends the client the prepared rejection for this reason, and closes.
    fn close_with(mut self, reason: CloseReason, config: &ConnectionConfig) -> AnsweredJob<S> {
        self.replies.bytes.extend_from_slice(config.rejection_text_with(reason, self.latest_ending));
        self.replies.close_reason = Some(reason);
        AnsweredJob(self)
    }

    /// Takes a line out, whatever it says, and returns how to end what is sent for it.
    fn next_ending(&mut self) -> Option<LineEnding> {
        let line = self.lines.run(self.rules.lines).next()?;
        self.latest_ending = self.rules.ending_for(line.ending);
        Some(self.latest_ending)
    }

    /// Closes the connection, if configured so, after a line was rejected that the responder has
    /// not seen.
    fn rejected_unseen(&mut self) {
        if self.rules.when_rejected == WhenRejected::Close {
            self.replies.close_reason = Some(CloseReason::LineRejected);
        }
    }

    /// Returns the call to make when the connection is closed, if the responder knows the client.
    pub(crate) fn into_disconnect(self, reason: CloseReason) -> Option<Disconnect<S>> {
        let peer = self.peer;
        self.session.map(|session| Disconnect { peer, session, reason })
    }

    /// Connects the client, if that is due, and answers lines until none are left or the budget is
    /// exhausted. A panic passes through.
    fn answer_lines<R, C>(&mut self, responder: &R, budget: &mut TurnBudget<C>, checkpoint: &mut Checkpoint)
    where
        R: Responder<Session = S> + ?Sized,
        C: BudgetClock,
    {
        if self.session.is_none() && self.replies.close_reason.is_none() {
            self.connect(responder, checkpoint);
            // This may have taken long. No line begins after a tick, here as elsewhere.
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

    /// Answers line after line, as long as the responder answers each. The caller handles a line
    /// that it does not answer.
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
        let mut run = self.lines.run(self.rules.lines);
        while let Some(line) = run.next() {
            *checkpoint = Checkpoint { replies: self.replies.bytes.len(), ending: self.rules.ending_for(line.ending) };
            let text = match line.text {
                Ok(text) => text,
                Err(unseen) => return ControlFlow::Break(Unanswered::Unseen(unseen)),
            };
            let mut reply = Reply::new(&mut self.replies, checkpoint.ending);
            match (responder.respond(session, text, &mut reply), reply.framing()) {
                (Ok(()), Ok(())) => {}
                (Err(error), _) => return ControlFlow::Break(unanswered(error)),
                (_, Err(broken)) => return ControlFlow::Break(Unanswered::ResponderError(broken.into())),
            }
            if self.replies.close_reason.is_some() || run.lines() == 0 || budget.is_exhausted(self.replies.bytes.len())
            {
                break;
            }
        }
        ControlFlow::Continue(())
    }

    /// Returns whether no more lines are answered now: none are left, the connection closes, or the
    /// budget is exhausted.
    fn is_over<C: BudgetClock>(&self, budget: &mut TurnBudget<C>) -> bool {
        self.lines() == 0 || self.replies.close_reason.is_some() || budget.is_exhausted(self.replies.bytes.len())
    }

    /// Has the responder create the session and write the banner.
    fn connect<R>(&mut self, responder: &R, checkpoint: &mut Checkpoint)
    where
        R: Responder<Session = S> + ?Sized,
    {
        let ending = self.rules.ending_for(LineEnding::default());
        *checkpoint = Checkpoint { replies: self.replies.bytes.len(), ending };
        let mut reply = Reply::new(&mut self.replies, checkpoint.ending);
        let outcome = responder.connect(&self.peer, &mut reply);
        let framing = reply.framing();
        checkpoint.ending = reply.ending();
        if self.lines() == 0 {
            self.latest_ending = checkpoint.ending;
        }
        match (outcome, framing) {
            (Ok(session), Ok(())) => self.session = Some(session),
            (Err(error), _) => self.roll_back(responder, checkpoint, unanswered(error)),
            (_, Err(broken)) => self.roll_back(responder, checkpoint, Unanswered::ResponderError(broken.into())),
        }
    }

    /// Replaces what was written since the checkpoint with a rejection: the responder's own, or an
    /// internal error.
    #[cold]
    fn roll_back<R>(&mut self, responder: &R, checkpoint: &Checkpoint, why: Unanswered)
    where
        R: Responder<Session = S> + ?Sized,
    {
        match why {
            Unanswered::Unseen(unseen) => {
                let rejection = match unseen {
                    Unseen::TooLong => Rejection::LineTooLong { max_line_bytes: self.lines.max_line_bytes() },
                    Unseen::BareLf => Rejection::BareLf,
                };
                self.reject(responder, rejection, checkpoint);
                self.rejected_unseen();
            }
            Unanswered::Rejected(rejection) => self.reject(responder, rejection, checkpoint),
            Unanswered::ResponderError(error) => {
                self.record_error(error);
                self.reject(responder, Rejection::InternalError, checkpoint);
            }
        }
        // A client without a session cannot be served.
        if self.session.is_none() {
            self.replies.close_reason = Some(CloseReason::ResponderClosed);
        }
    }

    /// Replaces what was written since the checkpoint with this rejection, and records an error if
    /// the responder fails at wording it.
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

    /// Counts an error and keeps the first.
    fn record_error(&mut self, error: ResponderError) {
        let errors = self.errors.get_or_insert_default();
        errors.count += 1;
        errors.first.get_or_insert(error);
    }
}

/// Returns the rejection that the responder returned as its error, if it is one. Any other error
/// becomes text here, where a panic of its `Display` is caught.
#[cold]
fn unanswered(error: BoxError) -> Unanswered {
    match error.downcast() {
        Ok(rejection) => Unanswered::Rejected(*rejection),
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text += &format!(": {error}");
                cause = error.source();
            }
            Unanswered::ResponderError(ResponderError::Failed(text))
        }
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
    pub const fn peer(&self) -> Peer {
        self.0.peer
    }

    /// Returns how many lines were answered.
    #[must_use]
    pub const fn lines_answered(&self) -> u32 {
        self.0.answered
    }

    /// Returns the replies, as they are sent.
    #[must_use]
    pub fn replies(&self) -> &[u8] {
        &self.0.replies.bytes
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
        self.0.replies.bytes = config.rejection_text_with(reason, self.0.latest_ending).to_vec();
        self.0.replies.close_reason = Some(reason);
        self
    }

    /// Returns the errors of the responder since the last call.
    pub fn take_errors(&mut self) -> ResponderErrors {
        self.0.errors.take().map(|errors| *errors).unwrap_or_default()
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
}

impl<S> Disconnect<S> {
    /// Returns the client that is gone.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
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
        catch_unwind(AssertUnwindSafe(|| responder.disconnect(self.session, self.reason)))
            .map_err(|panic| ResponderError::Panicked(panic_message(panic)))
    }
}
