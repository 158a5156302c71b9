//! Any program as a responder that answers many clients at once: each line of the talk says whose
//! it is. Must not know processes.

mod child;
mod messages;
mod pool;
pub(super) mod report;
mod session;
mod words;

use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use greeter_core::{BoxError, CloseReason, Line, Peer, Rejection, Reply, Responder};

use self::messages::{EndCause, TaggedConfig, TaggedMessage};
use self::pool::{TaggedPool, TaggedState};
use self::report::TaggedStats;
use self::session::TaggedSession;
use super::common_options::common_options;
use super::pool_thread::PoolThread;
use super::process::Program;
use super::report::ExecError;
use super::running::MAX_CHILDREN;
use crate::limits::{Limits, Timeouts};
use crate::push::PushHandle;

/// Has another program answer many clients at once, with all that a responder of this library has:
/// sessions, several lines for one, pushes, and orderly ends.
///
/// Where [`Exec`](crate::Exec) gives a process one line and waits for one, here a process has many
/// clients, and everything that is said says of whom. It is for programs that keep something in
/// memory: a chat, a game, a store. [An example](#a-program) is below.
///
/// ```no_run
/// use greeter_server::{Server, Tagged};
///
/// Server::builder()
///     .try_responder_with(|push| Tagged::options("python3").args(["tagged.py"]).start(push))?
///     .in_place()
///     .bind("127.0.0.1:7000")?
///     .run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # The protocol
///
/// Lines in both directions, each ended by LF (the program's own may end with CR LF), with one TAB
/// between fields. The text is the last field and may hold TABs; it is whatever bytes the client
/// has sent. A program has to flush what it writes.
///
/// To the program's stdin:
///
/// | line | says |
/// |---|---|
/// | `hello 1` | the version: first of all, and nothing else before the program has answered it |
/// | `open ID PEER k=v…` | a client has come, from this address; and, where there are such, by which [`listener=`](crate::Listener::named), in which version of TLS (`tls=TLSv1.3`), and through which proxy (`via=10.0.0.1:4711`) |
/// | `line ID TEXT` | the client's line: a turn begins, which the program ends by `done`, `refuse` or `close` |
/// | `end ID REASON` | the client is gone, whatever it was owed: once for each `open` |
///
/// From the program's stdout:
///
/// | line | says |
/// |---|---|
/// | `hello 1` | it is ready: within the [reply timeout](TaggedOptions::reply_timeout) |
/// | `say ID TEXT` | a line of the reply; a reply may have none |
/// | `done ID` | the reply is whole: it is sent now, and the client's next line may come |
/// | `refuse ID REASON` | the line is [rejected in these words](Rejection::custom), whatever was said before; the turn is over |
/// | `close ID` | the connection ends behind what was said; if there is a turn, that is over |
/// | `push ID TEXT` | a line that was not asked for, at any time: also a banner |
/// | `log LEVEL TEXT` | for the server's log: `error`, `warn`, `info`, `debug` or `trace` |
///
/// An ID is a number that is ours, and never used twice in one process. A client has one line in
/// progress at most; those of different clients may be answered in any order. What is
/// pushed to a client during its turn comes before the reply, and what is pushed behind the end of
/// the turn comes behind it.
///
/// The reasons of `end`: `left` (the client has stopped sending, and has received all), `lost` (the
/// connection broke), `closed` (by the program), `timeout` (the line was not answered in time),
/// `idle` (it sent nothing, or did not read, for too long), `error` (the program has broken the
/// rule with this client), `stopped` (the server stops, or has ended it). There may be others some
/// day.
///
/// # What breaks the rule
///
/// With one client, who then loses its connection, is in the log, and is told of by `end`:
///
/// * `say`, `done` or `refuse` without a line in progress;
/// * a reply of more than [`max_reply_bytes`](TaggedOptions::max_reply_bytes) (the client receives
///   `error: internal error`);
/// * pushes for which there is no [room](crate::PushError::TooMuch);
/// * no answer within the [reply timeout](TaggedOptions::reply_timeout): the client receives
///   `error: timed out`, since nobody knows any more what the program holds of it.
///
/// What is said of a client that is gone is ignored, as it may have crossed the `end`.
///
/// In general, and then the process is ended with all that it has started:
///
/// * another line than these, a field that is missing or too many, an ID that it was never given;
/// * a line of more than 64 KiB and [`max_reply_bytes`](TaggedOptions::max_reply_bytes), or a
///   stdout that is closed;
/// * three lines in a row that were not answered in time, and none to anybody between them;
/// * what it is told is not read for as long as the reply timeout. So what waits to be written is
///   bounded: by a line for each of its clients, and by the words of those that come and go.
///
/// What a process writes to its stderr is in the log, line by line.
///
/// # Processes
///
/// A client belongs to one process for its life: to that which has the fewest when it comes. The
/// sessions are in the process's memory, so clients of different processes know nothing of each
/// other, and there is [one](TaggedOptions::children) unless told otherwise. When a process ends,
/// its clients lose their connections, a line in progress being an internal error. New clients go
/// to the others; where there is no process at all, they are rejected as [busy](Rejection::Busy).
/// The next starts after a tenth of a second, and if processes end before they are given a line,
/// after twice as long each time, up to 30 seconds.
///
/// # Threads
///
/// A line is only handed over, so a server with this responder is best one that answers [in
/// place](crate::Builder::in_place). Clones share the processes; when the last is dropped they end:
/// by the end of their stdin, then SIGTERM and SIGKILL, for each process with its whole group.
///
/// The server's [memory budget](crate::Builder::max_buffer_bytes) does not know of what lies
/// between it and the program: a line and a reply for each client at most.
///
/// # A program
///
/// A chat and a counter in Python, `examples/programs/tagged.py`; beside it is the same in shell,
/// awk and Perl:
///
/// ```python
#[doc = include_str!("../../examples/programs/tagged.py")]
/// ```
#[derive(Clone)]
pub struct Tagged(Arc<TaggedHandle>);

/// What all clones share.
struct TaggedHandle {
    thread: PoolThread<TaggedMessage>,
    state: Arc<TaggedState>,
}

/// Options of [`Tagged`].
///
/// ```no_run
/// use std::time::Duration;
/// use greeter_server::{Server, Tagged};
///
/// let builder = Server::builder();
/// let options = Tagged::options("./game").children(4).reply_timeout(Duration::from_secs(2));
/// // A clone tells how it is, while the server has the other.
/// let tagged = options.start(builder.push())?;
/// let server = builder.responder(tagged.clone()).in_place().bind("127.0.0.1:7000")?.spawn()?;
/// assert!(tagged.is_ready());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until they start a program"]
pub struct TaggedOptions(TaggedConfig);

impl Tagged {
    /// Returns options to start this program with. It is looked for as a shell does: in `PATH`,
    /// unless there is a `/` in it. No shell sees it or its arguments.
    pub fn options(program: impl AsRef<OsStr>) -> TaggedOptions {
        TaggedOptions(TaggedConfig {
            program: Arc::new(Program::new(program.as_ref())),
            children: 1,
            reply_timeout: Timeouts::DEFAULT.reply,
            max_reply_bytes: Limits::DEFAULT.max_unsent_bytes,
            reaps_orphans: false,
        })
    }

    /// Has new clients go to processes with other options, and waits until the first of them has
    /// said hello, as [`start`](TaggedOptions::start) does. From then on those before get no more
    /// clients, and each ends when its last client has left.
    ///
    /// # Errors
    ///
    /// Those of [`start`](TaggedOptions::start); then all is as before.
    pub fn replace(&self, options: TaggedOptions) -> Result<(), ExecError> {
        let config = Arc::new(options.validate()?);
        self.0.thread.ask(|told| TaggedMessage::Replace { config, told })
    }

    /// Returns whether new clients are let in: whether there is a process.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.state.is_ready()
    }

    /// Returns counts and gauges.
    #[must_use]
    pub fn stats(&self) -> TaggedStats {
        self.0.state.stats()
    }

    /// Ends all processes, and waits for that: some seconds at most. It is for when the server has
    /// stopped; clients that are still there lose their connections.
    pub fn stop(&self) {
        self.0.thread.stop(TaggedMessage::Stop);
    }
}

common_options!(TaggedOptions);

impl TaggedOptions {
    /// Sets in how many processes the program runs, 1 to 10,000. The default is 1: clients of
    /// different processes have nothing in common.
    pub const fn children(mut self, children: usize) -> Self {
        self.0.children = children;
        self
    }

    /// Sets how long a process may take for the answer to a line, for its hello, and to read what
    /// it is told. The default is 30 seconds.
    ///
    /// The server's own [reply timeout](crate::Builder::reply_timeout) counts as well, and comes to
    /// the same.
    pub fn reply_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.0.reply_timeout = timeout.into();
        self
    }

    /// Sets how long a reply may be, in bytes, with all of its lines. The default is 64 KiB.
    pub const fn max_reply_bytes(mut self, bytes: usize) -> Self {
        self.0.max_reply_bytes = bytes;
        self
    }

    /// Checks the options, and whether there is such a program, and starts nothing.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start) that show by then.
    pub fn check(&self) -> Result<(), ExecError> {
        self.clone().validate()?.program.check()
    }

    /// Starts the program, and waits until its first process has said hello. What it pushes goes
    /// through this handle, which has to be that of the server whose clients it answers: from
    /// [`Builder::push`](crate::Builder::push) or
    /// [`try_responder_with`](crate::Builder::try_responder_with).
    ///
    /// # Errors
    ///
    /// Returns an [`ExecError`] if an option is invalid, the system cannot start the program or
    /// what drives it, or its first process is no good. Then nothing is left of it.
    pub fn start(self, push: PushHandle) -> Result<Tagged, ExecError> {
        let config = Arc::new(self.validate()?);
        let (state, shared) = (Arc::<TaggedState>::default(), Arc::clone(&config));
        let of_pool = Arc::clone(&state);
        let run = move |events| TaggedPool::new(shared, events, push, of_pool).run();
        let thread = PoolThread::start("greeter-tagged", run)?;
        let tagged = Tagged(Arc::new(TaggedHandle { thread, state }));
        let outcome = tagged.0.thread.ask(|told| TaggedMessage::Replace { config, told });
        if outcome.is_err() {
            tagged.stop();
        }
        outcome.map(|()| tagged)
    }

    /// Returns them, if they are valid.
    fn validate(self) -> Result<TaggedConfig, ExecError> {
        match self.0.children {
            1..=MAX_CHILDREN => Ok(self.0),
            value => Err(ExecError::OutOfRange { option: "children", value, min: 1, max: MAX_CHILDREN }),
        }
    }
}

/// Every line is handed over, and answered later.
impl Responder for Tagged {
    type Session = TaggedSession;

    fn connect(&self, peer: &Peer, _: &mut Reply<'_>) -> Result<TaggedSession, BoxError> {
        if !self.is_ready() {
            return Err(Rejection::Busy.into());
        }
        Ok(TaggedSession::open(peer.id, words::opening(peer), self.0.thread.mailbox()))
    }

    fn respond(&self, session: &mut TaggedSession, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match session.end_cause() {
            None => session.ask(line.as_bytes(), reply.later()),
            Some(EndCause::Closed) => reply.close(),
            // The rejection closes.
            Some(EndCause::Failed) => return Err(Rejection::InternalError.into()),
        }
        Ok(())
    }

    fn reject(&self, session: Option<&mut TaggedSession>, rejection: Rejection, reply: &mut Reply<'_>) {
        reply.line(format_args!("error: {rejection}"));
        if let Some(session) = session {
            session.was_rejected();
            if session.end_cause().is_some() {
                reply.close();
            }
        }
    }

    fn disconnect(&self, session: TaggedSession, reason: CloseReason) {
        session.left(reason);
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }
}

impl Drop for TaggedHandle {
    fn drop(&mut self) {
        self.thread.send(TaggedMessage::Stop);
    }
}

impl fmt::Debug for Tagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tagged").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
