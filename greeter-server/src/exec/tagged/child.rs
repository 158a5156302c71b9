//! One process that answers many clients: what it is told, and what it says of whom. Must not
//! choose whose process it is, or what follows when it is no good.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::{CloseReason, Later, Rejection};
use memchr::memchr;
use tracing::Level;

use super::messages::{ClientLink, EndCause, TaggedConfig};
use super::session::{answer_and_close, lines_of};
use super::words::{ClientWord, EndWord, TaggedId, WordFault, WordIn, WordOut};
use crate::exec::running::{RunningChild, shown};
use crate::push::PushHandle;

/// How many lines in a row may be late before nobody believes in the process any more.
const MAX_LATE: u32 = 3;

/// How much there may be in a line of the protocol beside a reply.
const MAX_WORD_BYTES: usize = 64 * 1024;

/// How much of what a program wants to have logged is.
const MAX_LOGGED: usize = 512;

/// How long what is pushed is held back, at a time, until the line is waited for. That is soon: as
/// soon as the call that has handed it over returns.
const HOLD: Duration = Duration::from_millis(1);

/// How many reads there are in a row: a program that never ceases to write is one of many.
const MAX_READS: usize = 16;

/// A process, and its clients.
#[derive(Debug)]
pub(super) struct TaggedChild {
    pub(super) running: RunningChild,
    config: Arc<TaggedConfig>,
    /// Until when it has to greet. None once it has, and where it may take its time.
    greet_by: Option<Instant>,
    has_greeted: bool,
    /// The last ID that it was given.
    last: TaggedId,
    clients: BTreeMap<TaggedId, TaggedClient>,
    /// When the lines in progress have to be answered.
    due: BTreeSet<(Instant, TaggedId)>,
    in_progress: usize,
    /// How many lines in a row were not answered in time.
    late: u32,
    was_asked: bool,
    unwritten: Unwritten,
    /// Those of whom words are held back until their lines are waited for, and when to look again.
    holding: BTreeSet<TaggedId>,
    held_until: Option<Instant>,
    /// The line that has begun.
    begun: Vec<u8>,
    pub(super) done: Done,
}

/// What it has done since that was last counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) answered: u64,
    pub(super) pushed: u64,
    pub(super) late: u64,
}

/// A client of a process, which knows it by its ID.
#[derive(Debug)]
struct TaggedClient {
    link: Arc<ClientLink>,
    turn: Option<ClientTurn>,
    /// Words that are held back, since what they lead to might overtake what was said before, or
    /// be overtaken.
    held: VecDeque<ClientWord<'static>>,
    held_bytes: usize,
    /// Whether something was pushed that may not have reached the connection by now.
    is_pushed_to: bool,
}

/// What a word has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterWord {
    GoesOn,
    /// The turn is over that was to be by then.
    Answered(Option<Instant>),
}

/// A line in progress.
#[derive(Debug)]
struct ClientTurn {
    later: Later,
    /// What was said so far, each line with its LF.
    said: Vec<u8>,
    until: Option<Instant>,
}

/// What is to be written to a process, and since when.
#[derive(Debug, Default)]
struct Unwritten {
    bytes: Vec<u8>,
    written: usize,
    /// Where what was added at one time ends, counted from the first byte ever.
    added: VecDeque<(u64, Instant)>,
    /// How many bytes were written before those that are here.
    before: u64,
}

/// What a process has done wrong, so that it is of no use to anybody.
#[derive(Debug, thiserror::Error)]
pub(super) enum TaggedFault {
    #[error("it has ended: {0}")]
    Ended(ExitStatus),
    #[error("it has closed its stdout")]
    Closed,
    #[error("a pipe to it failed: {0}")]
    Pipe(io::Error),
    #[error("it did not say hello in time; is its output buffered?")]
    NoHello,
    #[error("it said something else than hello first: {}", shown(.0))]
    OtherHello(Vec<u8>),
    #[error("{fault}: {}", shown(.line))]
    Word { fault: WordFault, line: Vec<u8> },
    #[error("it spoke of client {0}, whom it never had")]
    Stranger(TaggedId),
    #[error("its line is longer than {0} bytes")]
    TooLong(usize),
    #[error("it did not answer {MAX_LATE} lines in a row in time")]
    Silent,
    #[error("it did not read what it was told")]
    Deaf,
}

/// What is wrong with one client, whom a process goes on without.
#[derive(Debug, thiserror::Error)]
enum ClientFault {
    #[error("it was answered without a line in progress")]
    NoTurn,
    #[error("its reply is longer than {0} bytes")]
    ReplyTooLong(usize),
    #[error("a line for it found no room")]
    PushLost,
    #[error("too much was said before its line was waited for")]
    TooMuchHeld,
}

impl Unwritten {
    fn add(&mut self, word: WordOut<'_>, now: Instant) {
        word.append_to(&mut self.bytes);
        let end = self.before + self.bytes.len() as u64;
        match self.added.back_mut() {
            Some((last, at)) if *at == now => *last = end,
            _ => self.added.push_back((end, now)),
        }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    fn took(&mut self, bytes: usize) {
        self.written += bytes;
        let written = self.before + self.written as u64;
        while self.added.front().is_some_and(|(end, _)| *end <= written) {
            self.added.pop_front();
        }
        // What was written is moved out of the way once it is most of what is there.
        if 2 * self.written >= self.bytes.len() {
            self.bytes.drain(..self.written);
            (self.before, self.written) = (written, 0);
            if self.bytes.is_empty() && self.bytes.capacity() > MAX_WORD_BYTES {
                self.bytes = Vec::new();
            }
        }
    }

    /// Returns since when the first of it waits.
    fn oldest(&self) -> Option<Instant> {
        self.added.front().map(|(_, at)| *at)
    }
}

impl TaggedChild {
    /// Greets a process that has just started.
    pub(super) fn new(running: RunningChild, config: Arc<TaggedConfig>, now: Instant) -> Self {
        let mut unwritten = Unwritten::default();
        unwritten.add(WordOut::Hello, now);
        Self {
            greet_by: config.reply_timeout.and_then(|timeout| now.checked_add(timeout)),
            running,
            config,
            has_greeted: false,
            last: TaggedId(0),
            clients: BTreeMap::new(),
            due: BTreeSet::new(),
            in_progress: 0,
            late: 0,
            was_asked: false,
            unwritten,
            holding: BTreeSet::new(),
            held_until: None,
            begun: Vec::new(),
            done: Done::default(),
        }
    }

    pub(super) const fn has_greeted(&self) -> bool {
        self.has_greeted
    }

    /// Returns whether it was given a line.
    pub(super) const fn was_asked(&self) -> bool {
        self.was_asked
    }

    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    pub(super) const fn lines_in_progress(&self) -> usize {
        self.in_progress
    }

    /// Returns whether nothing would be lost by its end.
    pub(super) fn is_done(&self) -> bool {
        self.clients.is_empty() && self.unwritten.is_empty()
    }

    pub(super) fn max_word_bytes(&self) -> usize {
        self.config.max_reply_bytes.saturating_add(MAX_WORD_BYTES)
    }
}

/// What it is told.
impl TaggedChild {
    /// Tells it of a client that has come, and returns what it calls that.
    pub(super) fn open(&mut self, link: Arc<ClientLink>, words: &[u8], now: Instant) -> TaggedId {
        self.last = TaggedId(self.last.0 + 1);
        self.unwritten.add(WordOut::Open(self.last, words), now);
        self.clients.insert(self.last, TaggedClient::new(link));
        self.last
    }

    /// Gives it a client's line. Returns by when it has to be answered; or the line, if the client
    /// has none to wait for.
    pub(super) fn ask(
        &mut self,
        id: TaggedId,
        text: &[u8],
        later: Later,
        now: Instant,
    ) -> Result<Option<Instant>, Later> {
        let Some(client) = self.clients.get_mut(&id).filter(|client| client.turn.is_none()) else { return Err(later) };
        let until = self.config.reply_timeout.and_then(|timeout| now.checked_add(timeout));
        client.turn = Some(ClientTurn { later, said: Vec::new(), until });
        self.in_progress += 1;
        self.due.extend(until.map(|until| (until, id)));
        self.unwritten.add(WordOut::Line(id, text), now);
        self.was_asked = true;
        Ok(until)
    }

    /// A client is gone.
    pub(super) fn left(&mut self, id: TaggedId, reason: Option<CloseReason>, now: Instant) -> Result<(), TaggedFault> {
        let Some(TaggedClient { turn, .. }) = self.forget(id, end_word(reason), now) else { return Ok(()) };
        // The server's own time was over.
        if turn.is_some() && reason == Some(CloseReason::ReplyTimeout) {
            return self.was_late();
        }
        Ok(())
    }

    /// Nothing more is heard of a client. The program is told.
    fn forget(&mut self, id: TaggedId, word: EndWord, now: Instant) -> Option<TaggedClient> {
        let client = self.clients.remove(&id)?;
        if let Some(turn) = &client.turn {
            self.turn_ended(id, turn.until);
        }
        self.unwritten.add(WordOut::End(id, word), now);
        Some(client)
    }

    fn turn_ended(&mut self, id: TaggedId, until: Option<Instant>) {
        self.in_progress -= 1;
        if let Some(until) = until {
            self.due.remove(&(until, id));
        }
    }

    /// Writes what the pipe takes.
    pub(super) fn write(&mut self) -> Result<(), TaggedFault> {
        if !self.unwritten.is_empty() {
            let written = self.running.write(self.unwritten.rest()).map_err(TaggedFault::Pipe)?;
            self.unwritten.took(written);
        }
        Ok(())
    }
}

/// What it says.
impl TaggedChild {
    /// Reads what it has written, up to the first fault. Returns whether there may be more.
    pub(super) fn read(&mut self, push: &PushHandle, buffer: &mut [u8], now: Instant) -> Result<bool, TaggedFault> {
        for _ in 0..MAX_READS {
            let Some(bytes) = self.running.read(buffer, now).map_err(TaggedFault::Pipe)? else { return Ok(false) };
            self.take(&buffer[..bytes], push, now)?;
            // There was no more.
            if bytes < buffer.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take(&mut self, mut bytes: &[u8], push: &PushHandle, now: Instant) -> Result<(), TaggedFault> {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.begun.is_empty() {
                self.take_line(line, push, now)?;
            } else {
                let mut whole = std::mem::take(&mut self.begun);
                whole.extend_from_slice(line);
                self.take_line(&whole, push, now)?;
                // Its room is kept for the next.
                whole.clear();
                if whole.capacity() <= MAX_WORD_BYTES {
                    self.begun = whole;
                }
            }
        }
        self.begun.extend_from_slice(bytes);
        match self.max_word_bytes() {
            most if self.begun.len() > most => Err(TaggedFault::TooLong(most)),
            _ => Ok(()),
        }
    }

    fn take_line(&mut self, line: &[u8], push: &PushHandle, now: Instant) -> Result<(), TaggedFault> {
        let most = self.max_word_bytes();
        if line.len() > most {
            return Err(TaggedFault::TooLong(most));
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let word = WordIn::parse(line);
        if !self.has_greeted {
            return match word {
                Ok(WordIn::Hello) => {
                    (self.has_greeted, self.greet_by) = (true, None);
                    Ok(())
                }
                _ => Err(TaggedFault::OtherHello(line.to_owned())),
            };
        }
        let fault = |fault| TaggedFault::Word { fault, line: line.to_owned() };
        match word.map_err(fault)? {
            WordIn::Hello => return Err(fault(WordFault::Verb)),
            WordIn::Log(level, text) => self.log(level, text),
            WordIn::Of(id, word) => return self.take_word(id, word, push, now),
        }
        Ok(())
    }

    /// Does what is said of a client, or holds it back.
    fn take_word(
        &mut self,
        id: TaggedId,
        word: ClientWord<'_>,
        push: &PushHandle,
        now: Instant,
    ) -> Result<(), TaggedFault> {
        let most = self.max_word_bytes();
        let Some(client) = self.client(id)? else { return Ok(()) };
        if client.held.is_empty() && !client.must_wait(&word) {
            self.perform(id, &word, push, now);
        } else if client.hold(word.into_owned()) > most {
            self.blame(id, &ClientFault::TooMuchHeld, push, now);
        } else if client.turn.is_some() {
            self.holding.insert(id);
            self.held_until = self.held_until.or(Some(now + HOLD));
        }
        Ok(())
    }

    /// Does what is said of a client.
    fn perform(&mut self, id: TaggedId, word: &ClientWord<'_>, push: &PushHandle, now: Instant) {
        if *word == ClientWord::Close {
            let Some(client) = self.forget(id, EndWord::Closed, now) else { return };
            if client.turn.is_some() {
                self.has_answered();
            }
            return client.close(push);
        }
        let Some(client) = self.clients.get_mut(&id) else { return };
        match client.perform(word, self.config.max_reply_bytes, push) {
            Ok(AfterWord::GoesOn) => self.done.pushed += u64::from(matches!(word, ClientWord::Push(_))),
            Ok(AfterWord::Answered(until)) => {
                self.turn_ended(id, until);
                self.has_answered();
            }
            Err(fault) => self.blame(id, &fault, push, now),
        }
    }

    /// Does what was held back, as far as it need not be any more.
    fn perform_held(&mut self, id: TaggedId, push: &PushHandle, now: Instant) {
        while let Some(word) = self.clients.get_mut(&id).and_then(TaggedClient::next_held) {
            self.perform(id, &word, push, now);
        }
    }

    /// Returns the client of this ID; nobody, if it is gone, which may have crossed.
    fn client(&mut self, id: TaggedId) -> Result<Option<&mut TaggedClient>, TaggedFault> {
        if id == TaggedId(0) || id > self.last {
            return Err(TaggedFault::Stranger(id));
        }
        Ok(self.clients.get_mut(&id))
    }

    fn has_answered(&mut self) {
        self.done.answered += 1;
        self.late = 0;
    }

    /// The program has broken the rule with one client, who alone suffers for it.
    fn blame(&mut self, id: TaggedId, fault: &ClientFault, push: &PushHandle, now: Instant) {
        if let Some(client) = self.forget(id, EndWord::Error, now) {
            let (pid, of) = (self.running.id(), client.link.client);
            tracing::error!(pid, client = %of, id = id.0, reason = %fault, "A program failed one of its clients.");
            client.fail(push, |later| later.fail(fault.to_string()));
        }
    }

    fn log(&self, level: Level, text: &[u8]) {
        let pid = self.running.id();
        let line = String::from_utf8_lossy(&text[..text.len().min(MAX_LOGGED)]);
        let line = line.trim_end();
        match level {
            Level::ERROR => tracing::error!(pid, line, "A program reports."),
            Level::WARN => tracing::warn!(pid, line, "A program reports."),
            Level::INFO => tracing::info!(pid, line, "A program reports."),
            Level::DEBUG => tracing::debug!(pid, line, "A program reports."),
            Level::TRACE => tracing::trace!(pid, line, "A program reports."),
        }
    }
}

/// Time, and the end.
impl TaggedChild {
    /// Returns when there is something to do for it.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let line = self.due.first().map(|(until, _)| *until);
        self.greet_by.into_iter().chain(line).chain(self.must_read_by()).chain(self.held_until).min()
    }

    /// Returns by when it has to read something.
    fn must_read_by(&self) -> Option<Instant> {
        self.unwritten.oldest()?.checked_add(self.config.reply_timeout?)
    }

    /// Lets go of those whose lines were to be answered by now. What it has written by then has to
    /// be read before.
    pub(super) fn expire(&mut self, push: &PushHandle, now: Instant) -> Result<(), TaggedFault> {
        if self.held_until.is_some_and(|until| until <= now) {
            self.release(push, now);
        }
        while let Some((_, id)) = self.due.first().copied().filter(|(until, _)| *until <= now) {
            let Some(client) = self.forget(id, EndWord::Timeout, now) else { continue };
            let (pid, of) = (self.running.id(), client.link.client);
            tracing::warn!(pid, client = %of, id = id.0, "A program did not answer a line in time.");
            client.fail(push, |later| later.reject(Rejection::ReplyTimeout));
            self.was_late()?;
        }
        match self.greet_by {
            Some(by) if by <= now => Err(TaggedFault::NoHello),
            _ if self.must_read_by().is_some_and(|by| by <= now) => Err(TaggedFault::Deaf),
            _ => Ok(()),
        }
    }

    /// Does what is held back of those whose lines are waited for by now.
    fn release(&mut self, push: &PushHandle, now: Instant) {
        for id in std::mem::take(&mut self.holding) {
            self.perform_held(id, push, now);
            let waits = |client: &TaggedClient| client.turn.is_some() && !client.held.is_empty();
            if self.clients.get(&id).is_some_and(waits) {
                self.holding.insert(id);
            }
        }
        self.held_until = (!self.holding.is_empty()).then(|| now + HOLD);
    }

    /// A reply is among what its client is sent: what was held back follows.
    pub(super) fn reply_taken(&mut self, id: TaggedId, push: &PushHandle, now: Instant) {
        self.perform_held(id, push, now);
    }

    fn was_late(&mut self) -> Result<(), TaggedFault> {
        self.late += 1;
        self.done.late += 1;
        if self.late < MAX_LATE { Ok(()) } else { Err(TaggedFault::Silent) }
    }

    /// Lets go of all of its clients, whose lines in progress are ended by this.
    pub(super) fn end_clients(&mut self, push: &PushHandle, end: impl Fn(Later)) {
        self.due.clear();
        self.in_progress = 0;
        for client in std::mem::take(&mut self.clients).into_values() {
            client.fail(push, &end);
        }
    }
}

impl TaggedClient {
    const fn new(link: Arc<ClientLink>) -> Self {
        Self { link, turn: None, held: VecDeque::new(), held_bytes: 0, is_pushed_to: false }
    }

    /// Returns whether a word has to wait. Two things go to the connection by ways of their own: a
    /// reply, where its line waits, and what is pushed.
    ///
    /// A reply that is there before the line waits goes out with the call that has handed the line
    /// over, before anything that is pushed: so until then no push comes before it. And it is taken
    /// in its own time, so until then no push comes behind it.
    fn must_wait(&mut self, word: &ClientWord<'_>) -> bool {
        match &self.turn {
            Some(turn) if turn.later.is_awaited() || !turn.later.is_wanted() => {
                self.is_pushed_to = false;
                false
            }
            Some(_) => match word {
                ClientWord::Push(_) => true,
                ClientWord::Say(_) => false,
                ClientWord::Done | ClientWord::Refuse(_) | ClientWord::Close => self.is_pushed_to,
            },
            None => matches!(word, ClientWord::Push(_) | ClientWord::Close) && self.link.await_reply(),
        }
    }

    /// Holds a word back. Returns how much is held back by now.
    fn hold(&mut self, word: ClientWord<'static>) -> usize {
        self.held_bytes += word.cost();
        self.held.push_back(word);
        self.held_bytes
    }

    /// Returns the next word that was held back and need not be any more.
    fn next_held(&mut self) -> Option<ClientWord<'static>> {
        let word = self.held.pop_front()?;
        if self.must_wait(&word) {
            self.held.push_front(word);
            return None;
        }
        self.held_bytes -= word.cost();
        Some(word)
    }

    /// Does what is said, but for the end of the connection.
    fn perform(
        &mut self,
        word: &ClientWord<'_>,
        max_reply_bytes: usize,
        push: &PushHandle,
    ) -> Result<AfterWord, ClientFault> {
        match word {
            ClientWord::Push(text) => {
                self.is_pushed_to |= self.turn.is_none();
                // What is lost would be missed by nobody but the client.
                push.line(self.link.client, text).map_err(|_| ClientFault::PushLost)?;
            }
            ClientWord::Say(text) => {
                let turn = self.turn.as_mut().ok_or(ClientFault::NoTurn)?;
                if turn.said.len() + text.len() > max_reply_bytes {
                    return Err(ClientFault::ReplyTooLong(max_reply_bytes));
                }
                turn.said.extend_from_slice(text);
                turn.said.push(b'\n');
            }
            ClientWord::Done => {
                let turn = self.turn.take().ok_or(ClientFault::NoTurn)?;
                let link = Arc::clone(&self.link);
                link.reply_given();
                turn.later.lines_then(lines_of(&turn.said), move || link.reply_taken());
                return Ok(AfterWord::Answered(turn.until));
            }
            ClientWord::Refuse(reason) => {
                let turn = self.turn.take().ok_or(ClientFault::NoTurn)?;
                self.link.reply_given();
                turn.later.reject(Rejection::custom(String::from_utf8_lossy(reason).into_owned()));
                return Ok(AfterWord::Answered(turn.until));
            }
            ClientWord::Close => {}
        }
        Ok(AfterWord::GoesOn)
    }

    /// Ends the connection behind what was said.
    fn close(self, push: &PushHandle) {
        self.link.set_end(EndCause::Closed);
        match self.turn {
            Some(turn) => answer_and_close(turn.later, turn.said),
            // Before the server has started, there is nobody to close.
            None => drop(push.close(self.link.client)),
        }
    }

    /// Ends the connection: behind what was held back, and the end of the line in progress, if
    /// there is one.
    fn fail(mut self, push: &PushHandle, end: impl FnOnce(Later)) {
        for word in std::mem::take(&mut self.held) {
            if word == ClientWord::Close {
                return self.close(push);
            }
            if self.perform(&word, usize::MAX, push).is_err() {
                break;
            }
        }
        // Where the words of the rejection come from, the connection is seen to its end.
        self.link.set_end(EndCause::Failed);
        match self.turn {
            Some(turn) => end(turn.later),
            None => drop(push.close(self.link.client)),
        }
    }
}

/// Returns the word for the end of a client.
fn end_word(reason: Option<CloseReason>) -> EndWord {
    match reason {
        Some(CloseReason::ClientClosed) => EndWord::Left,
        Some(CloseReason::ResponderClosed) => EndWord::Closed,
        Some(CloseReason::ReplyTimeout) => EndWord::Timeout,
        Some(CloseReason::IdleTimeout | CloseReason::LineTimeout | CloseReason::WriteTimeout) => EndWord::Idle,
        Some(CloseReason::Lost) => EndWord::Lost,
        _ => EndWord::Stopped,
    }
}
