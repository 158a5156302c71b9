//! What one client asked, on its way to whoever answers and back.

use std::any::{Any, TypeId};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::line::{LfInLine, LineBuffer, LineEnding};
use crate::refusal::Refusal;
use crate::reply::{Replies, Reply};
use crate::responder::{ClientId, CloseReason, Failure, Peer, Responder};
use crate::slice::{Clock, Slice};
use crate::terms::{Terms, WhenRefused};

/// How much longer than its line a reply is taken to be, with its ending.
const REPLY_BYTES_MORE: usize = 16;

/// The most room that is made ahead, in bytes: few slices have more replies, and those that do grow it.
pub(crate) const ROOM_BYTES_MAX: usize = 32 * 1024;

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
    /// How the client ends its lines, or its banner as long as it has sent none. What it is told unasked ends so too.
    pub(crate) latest_ending: LineEnding,
    /// What is to become of the client when a line is refused that the responder has not seen.
    when_refused: WhenRefused,
    pub(crate) replies: Replies,
    /// How many lines `replies` answers.
    pub(crate) answered: u32,
    /// Rare, and so in a box.
    faults: Option<Box<Faults>>,
}

/// What went wrong on the responder's side while a job was answered.
#[derive(Debug, Default)]
pub struct Faults {
    /// How many there were: calls that panicked or failed, and replies that broke the framing.
    pub count: u32,
    /// The first of them, for the log.
    pub first: Option<Fault>,
}

impl Faults {
    /// Adds what went wrong after these.
    pub(crate) fn add(&mut self, Self { count, first }: Self) {
        self.count += count;
        self.first = self.first.take().or(first);
    }
}

/// One failure of a responder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It panicked, saying this.
    #[error("the responder panicked: {0}")]
    Panicked(String),
    /// It returned an error, which says this, its causes included.
    #[error("the responder failed: {0}")]
    Failed(String),
    /// Its reply was not what it takes to be one line.
    #[error("the responder's reply holds {0}")]
    BrokenReply(#[from] LfInLine),
}

/// Why a line has no answer of the responder's.
#[derive(Debug)]
enum Unanswered {
    /// It never came to the responder.
    TooLong,
    /// The responder refuses it.
    Refused(Refusal),
    /// The responder failed.
    Fault(Fault),
}

/// Where a job's replies stood before the line at hand, so that half a reply can be taken back.
struct Mark {
    replies: usize,
    ending: LineEnding,
}

impl<S> ClientJob<S> {
    pub(crate) const fn new(peer: Peer, terms: &Terms) -> Self {
        Self {
            peer,
            session: None,
            lines: LineBuffer::new(terms.line_bytes_max),
            latest_ending: LineEnding::Lf,
            when_refused: terms.when_refused,
            replies: Replies { bytes: Vec::new(), hang_up: None },
            answered: 0,
            faults: None,
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
    /// [a bound](Terms::ROOM_BYTES_MAX).
    #[must_use]
    pub fn room_wanted(&self) -> usize {
        let guess = self.lines.bytes_waiting() + REPLY_BYTES_MORE * self.lines() as usize;
        guess.min(ROOM_BYTES_MAX)
    }

    /// Has the replies written into this buffer, whatever it holds now. Where it has the [room that is wanted](Self::room_wanted), whoever
    /// answers need not allocate; once the replies are sent, [the buffer comes back](crate::Connection::wrote). A job that is given
    /// none has its replies in memory that grows as they do.
    pub fn write_into(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.replies.bytes = buffer;
    }

    /// How much memory its lines and replies occupy, in bytes, the room for the next replies among it.
    #[must_use]
    pub fn bytes_held(&self) -> usize {
        self.lines.bytes_held() + self.replies.bytes.capacity().max(self.room_wanted())
    }

    /// Answers lines until there are none left or the slice is over. A responder that panics or fails costs one line.
    #[must_use]
    pub fn answer<R, C>(mut self, responder: &R, mut slice: Slice<C>) -> AnsweredJob<S>
    where
        R: Responder<Session = S> + ?Sized,
        C: Clock,
    {
        let mut mark = Mark { replies: 0, ending: LineEnding::default() };
        let lines = self.lines();
        // Unwinding is caught around the run and not around each line, which so costs nothing. All that a panic leaves half
        // done is one reply, and that is taken back.
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.answer_lines(responder, &mut slice, &mut mark))) {
            self.take_back(responder, &mark, Unanswered::Fault(Fault::Panicked(panic_message(panic))));
            if self.is_over(&mut slice) {
                break;
            }
        }
        self.answered += lines - self.lines();
        AnsweredJob(self)
    }

    /// Has no line answered: the responder [refuses](Responder::refuse) each in its place since everyone is [busy](Refusal::Busy), and its
    /// session so knows of them. Goes on until there are none left or the slice is over. A client that the responder has not heard of yet
    /// is refused as a whole.
    #[must_use]
    pub fn refuse_all<R, C>(mut self, responder: &R, terms: &Terms, mut slice: Slice<C>) -> AnsweredJob<S>
    where
        R: Responder<Session = S> + ?Sized,
        C: Clock,
    {
        if self.session.is_none() {
            return self.hang_up(CloseReason::Busy, terms);
        }
        while let Some(ending) = self.next_ending() {
            let mark = Mark { replies: self.replies.bytes.len(), ending };
            self.refuse(responder, Refusal::Busy, &mark);
            self.answered += 1;
            self.note_refused();
            if self.is_over(&mut slice) {
                break;
            }
        }
        AnsweredJob(self)
    }

    /// Has no line answered, and nobody is left who could ask the responder for its words: what it [said beforehand](Terms::new) stands in
    /// for them. A session that is more than `()` would not know of those lines, so that its connection ends.
    #[must_use]
    pub fn refuse_unheard(mut self, terms: &Terms) -> AnsweredJob<S>
    where
        S: 'static,
    {
        let misses_nothing = self.session.is_some() && TypeId::of::<S>() == TypeId::of::<()>();
        if !misses_nothing {
            return self.hang_up(CloseReason::Busy, terms);
        }
        while self.replies.hang_up.is_none()
            && let Some(ending) = self.next_ending()
        {
            self.replies.bytes.extend_from_slice(terms.notice(CloseReason::Busy, ending));
            self.answered += 1;
            self.note_refused();
        }
        AnsweredJob(self)
    }

    /// Tells the client why, in words that were said beforehand, and has that be the end.
    fn hang_up(mut self, reason: CloseReason, terms: &Terms) -> AnsweredJob<S> {
        self.replies.bytes.extend_from_slice(terms.notice(reason, self.latest_ending));
        self.replies.hang_up = Some(reason);
        AnsweredJob(self)
    }

    /// Takes a line out, whatever it says, and tells how it ended.
    fn next_ending(&mut self) -> Option<LineEnding> {
        self.lines.run().next().map(|line| line.ending)
    }

    /// A line was refused that the responder has not seen.
    fn note_refused(&mut self) {
        if self.when_refused == WhenRefused::Close {
            self.replies.hang_up = Some(CloseReason::LineRefused);
        }
    }

    /// What is to be said when it is over, if the responder knows the client.
    pub(crate) fn into_farewell(self, reason: CloseReason) -> Option<Farewell<S>> {
        let peer = self.peer;
        self.session.map(|session| Farewell { peer, session, reason })
    }

    /// Straight on, until the job or the slice is used up.
    fn answer_lines<R, C>(&mut self, responder: &R, slice: &mut Slice<C>, mark: &mut Mark)
    where
        R: Responder<Session = S> + ?Sized,
        C: Clock,
    {
        if self.session.is_none() && self.replies.hang_up.is_none() {
            self.connect(responder, mark);
            // That took what it took. A line that begins after a tick is for the next slice, here as elsewhere.
            if slice.has_ticked() {
                return;
            }
        }
        while let ControlFlow::Break(why) = self.answer_run(responder, slice, mark) {
            self.take_back(responder, mark, why);
            if self.is_over(slice) {
                return;
            }
        }
    }

    /// The run: line after line, as long as each is answered. What keeps one from being answered is for the caller.
    fn answer_run<R, C>(&mut self, responder: &R, slice: &mut Slice<C>, mark: &mut Mark) -> ControlFlow<Unanswered>
    where
        R: Responder<Session = S> + ?Sized,
        C: Clock,
    {
        let (Some(session), None) = (&mut self.session, self.replies.hang_up) else {
            return ControlFlow::Continue(());
        };
        let mut run = self.lines.run();
        while let Some(line) = run.next() {
            *mark = Mark { replies: self.replies.bytes.len(), ending: line.ending };
            let Ok(text) = line.text else {
                return ControlFlow::Break(Unanswered::TooLong);
            };
            let mut reply = Reply::new(&mut self.replies, line.ending);
            match (responder.respond(session, text, &mut reply), reply.framing()) {
                (Ok(()), Ok(())) => {}
                (Err(failure), _) => return ControlFlow::Break(refusal_in(failure)),
                (_, Err(broken)) => return ControlFlow::Break(Unanswered::Fault(broken.into())),
            }
            if self.replies.hang_up.is_some() || run.lines() == 0 || slice.is_over(self.replies.bytes.len()) {
                break;
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether no more lines are answered now: there is none, the client is to go, or the slice is used up.
    fn is_over<C: Clock>(&self, slice: &mut Slice<C>) -> bool {
        self.lines() == 0 || self.replies.hang_up.is_some() || slice.is_over(self.replies.bytes.len())
    }

    fn connect<R>(&mut self, responder: &R, mark: &mut Mark)
    where
        R: Responder<Session = S> + ?Sized,
    {
        *mark = Mark { replies: self.replies.bytes.len(), ending: LineEnding::default() };
        let mut reply = Reply::new(&mut self.replies, mark.ending);
        let outcome = responder.connect(&self.peer, &mut reply);
        let framing = reply.framing();
        mark.ending = reply.ending();
        if self.lines() == 0 {
            self.latest_ending = mark.ending;
        }
        match (outcome, framing) {
            (Ok(session), Ok(())) => self.session = Some(session),
            (Err(failure), _) => self.take_back(responder, mark, refusal_in(failure)),
            (_, Err(broken)) => self.take_back(responder, mark, Unanswered::Fault(broken.into())),
        }
    }

    /// Puts a refusal in the place of whatever was said since the mark: the responder's own, or an internal error.
    #[cold]
    fn take_back<R>(&mut self, responder: &R, mark: &Mark, why: Unanswered)
    where
        R: Responder<Session = S> + ?Sized,
    {
        match why {
            Unanswered::TooLong => {
                let line_bytes_max = self.lines.line_bytes_max();
                self.refuse(responder, Refusal::LineTooLong { line_bytes_max }, mark);
                self.note_refused();
            }
            Unanswered::Refused(refusal) => self.refuse(responder, refusal, mark),
            Unanswered::Fault(fault) => {
                self.note(fault);
                self.refuse(responder, Refusal::InternalError, mark);
            }
        }
        // Without a session there is no going on.
        if self.session.is_none() {
            self.replies.hang_up = Some(CloseReason::ByResponder);
        }
    }

    /// Refuses in the responder's words, or in ours where it cannot even do that.
    #[cold]
    fn refuse<R>(&mut self, responder: &R, refusal: Refusal, mark: &Mark)
    where
        R: Responder<Session = S> + ?Sized,
    {
        self.replies.bytes.truncate(mark.replies);
        if let Err(fault) = refuse(responder, self.session.as_mut(), refusal, &mut self.replies, mark) {
            self.note(fault);
        }
    }

    fn note(&mut self, fault: Fault) {
        let faults = self.faults.get_or_insert_default();
        faults.count += 1;
        faults.first.get_or_insert(fault);
    }
}

/// Adds a refusal in the responder's words, or says "internal error" where it cannot even do that.
fn refuse<R>(
    responder: &R,
    session: Option<&mut R::Session>,
    refusal: Refusal,
    replies: &mut Replies,
    mark: &Mark,
) -> Result<(), Fault>
where
    R: Responder + ?Sized,
{
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut reply = Reply::new(replies, mark.ending);
        responder.refuse(session, refusal, &mut reply);
        reply.framing()
    }));
    let outcome = match outcome {
        Ok(framing) => framing.map_err(Fault::from),
        Err(panic) => Err(Fault::Panicked(panic_message(panic))),
    };
    if outcome.is_err() {
        replies.bytes.truncate(mark.replies);
        Reply::new(replies, mark.ending).line(format_args!("error: {}", Refusal::InternalError));
    }
    outcome
}

/// The words in which a responder refuses, for when it is not at hand. One that fails at that has "internal error" said in its
/// name.
pub(crate) fn words_of<R>(responder: &R, refusal: &Refusal, ending: LineEnding) -> Box<[u8]>
where
    R: Responder + ?Sized,
{
    let mut replies = Replies::default();
    let _ = refuse(responder, None, refusal.clone(), &mut replies, &Mark { replies: 0, ending });
    replies.bytes.into_boxed_slice()
}

/// The refusal that the responder returned, if that is what it did. What else it returned becomes text here, where a panic of
/// its own code is contained.
#[cold]
fn refusal_in(failure: Failure) -> Unanswered {
    match failure.downcast() {
        Ok(refusal) => Unanswered::Refused(*refusal),
        Err(failure) => {
            let mut text = failure.to_string();
            let mut cause = failure.source();
            while let Some(error) = cause {
                text += &format!(": {error}");
                cause = error.source();
            }
            Unanswered::Fault(Fault::Failed(text))
        }
    }
}

/// A job that has had its turn: the replies to the lines that were answered and, if the slice was over first, the lines that
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
    pub fn send_away(mut self, reason: CloseReason, terms: &Terms) -> Self {
        self.0.replies.bytes = terms.notice(reason, self.0.latest_ending).to_vec();
        self.0.replies.hang_up = Some(reason);
        self
    }

    /// What went wrong since this was asked last.
    pub fn take_faults(&mut self) -> Faults {
        self.0.faults.take().map(|faults| *faults).unwrap_or_default()
    }

    /// What is left of a job that nobody waits for any more: if the responder knows the client, a farewell. The replies go nowhere.
    #[must_use]
    pub fn into_farewell(self, reason: CloseReason) -> Option<Farewell<S>> {
        self.0.into_farewell(reason)
    }
}

/// The last thing that a responder hears of a client.
#[derive(Debug)]
pub struct Farewell<S> {
    peer: Peer,
    session: S,
    reason: CloseReason,
}

impl<S> Farewell<S> {
    /// Who is gone.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// Calls [`Responder::disconnect`].
    ///
    /// # Errors
    ///
    /// [`Fault::Panicked`] when that panicked.
    pub fn say<R>(self, responder: &R) -> Result<(), Fault>
    where
        R: Responder<Session = S> + ?Sized,
    {
        catch_unwind(AssertUnwindSafe(|| responder.disconnect(self.session, self.reason)))
            .map_err(|panic| Fault::Panicked(panic_message(panic)))
    }
}

fn panic_message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned();
    // What it panicked with may panic in its turn, when it is dropped. What it does that with is let be.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(panic);
    }
    text
}
