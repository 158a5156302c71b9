//! Any program as a responder: it reads a line and writes one. Must not know what is said.

mod child;
mod common_options;
mod orphans;
mod pause;
mod per_client;
mod pool;
mod pool_thread;
mod process;
mod report;
mod running;
mod spawner;
mod stderr;
mod tagged;
mod waiting;

use std::ffi::OsStr;
use std::fmt;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use greeter_core::{BoxError, ClientId, Line, Peer, Reply, Responder, WhenLate};

use self::common_options::common_options;
pub use self::per_client::report::PerClientStats;
pub use self::per_client::{PerClient, PerClientOptions};
use self::pool::{ExecPool, PoolMessage, PoolOptions, PoolState};
use self::pool_thread::PoolThread;
use self::process::Program;
pub use self::report::{ExecError, ExecStats};
use self::running::MAX_CHILDREN;
pub use self::tagged::report::TaggedStats;
pub use self::tagged::{Tagged, TaggedOptions};
use self::waiting::AskedLine;
use crate::limits::{Limits, Timeouts};

/// The most lines that a process is given at once.
const MAX_BATCH: usize = 1024;

/// Has another program answer: it runs in processes that stay, and each reads a line and writes
/// one.
///
/// It is for programs in any language, as Squid has them for helpers and Apache for rewriting: a
/// loop that reads a line from stdin, and writes its reply to stdout, and flushes it. What this
/// server does for its clients (limits, deadlines, refusals, the account of every line) it does for
/// such a program's.
///
/// ```no_run
/// use greeter_server::{Exec, Server};
///
/// let exec = Exec::options("python3").args(["-u", "responder.py"]).start()?;
/// Server::builder().responder(exec).in_place().bind("127.0.0.1:7000")?.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # The rule
///
/// **One line for each line, and nothing else.** The reply is the line without its LF, and without
/// a CR before that. A process that does not keep to it is ended with all that it has started, and
/// never asked again, since its answers would be shifted from then on, and each client would read
/// another's; another process takes its place. What breaks the rule:
///
/// * more than one line for one, a line when nothing was asked, a line of more than
///   [`max_reply_bytes`](ExecOptions::max_reply_bytes), or a stdout that is closed;
/// * no line within the [reply timeout](ExecOptions::reply_timeout): the client receives `error:
///   timed out`, and its connection goes on.
///
/// What cannot be seen is a line too many that comes *after* the next was asked: it looks like that
/// one's answer. A program that prints such lines must not be used in this way.
///
/// What a process writes to its stderr is in the log, line by line.
///
/// # A process that ends
///
/// A line that it had not begun to read is given to another, within the same time. Of any other,
/// nobody knows what has become of it: it is never repeated, and its client receives `error:
/// internal error`. The next process starts after a tenth of a second, and if processes end before
/// they have read a line, after twice as long each time, up to 30 seconds. While that is so in all
/// places, lines are rejected as [busy](crate::Rejection::Busy) at once.
///
/// # Threads
///
/// A line is only handed over, so a server with this responder is best one that answers [in
/// place](crate::Builder::in_place). Clones share the processes; when the last is dropped they end:
/// by the end of their stdin, then SIGTERM and SIGKILL, for each process with its whole group.
#[derive(Clone)]
pub struct Exec(Arc<ExecHandle>);

/// What all clones share.
struct ExecHandle {
    thread: PoolThread<PoolMessage>,
    state: Arc<PoolState>,
}

/// Options of [`Exec`].
///
/// ```no_run
/// use std::time::Duration;
/// use greeter_server::Exec;
///
/// let exec = Exec::options("./responder")
///     .children(4)
///     .probe("ping")
///     .reply_timeout(Duration::from_secs(2))
///     .start()?;
/// # Ok::<(), greeter_server::ExecError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until they start a program"]
pub struct ExecOptions(PoolOptions);

impl Exec {
    /// Returns options to start this program with. It is looked for as a shell does: in `PATH`,
    /// unless there is a `/` in it. No shell sees it or its arguments.
    pub fn options(program: impl AsRef<OsStr>) -> ExecOptions {
        ExecOptions(PoolOptions {
            program: Arc::new(Program::new(program.as_ref())),
            children: thread::available_parallelism().map_or(1, NonZero::get),
            batch: 1,
            lines_max: None,
            probe: None,
            reply_timeout: Timeouts::DEFAULT.reply,
            queue_timeout: Timeouts::DEFAULT.queue,
            max_reply_bytes: Limits::DEFAULT.max_unsent_bytes,
            reaps_orphans: false,
        })
    }

    /// Has other options hold from now on, and the processes replaced, one after the other, each
    /// once another is there for it. It waits until the first was found to be good, as
    /// [`start`](ExecOptions::start) does.
    ///
    /// # Errors
    ///
    /// Those of [`start`](ExecOptions::start); then all is as before.
    pub fn replace(&self, options: ExecOptions) -> Result<(), ExecError> {
        let options = Arc::new(options.validate()?);
        self.0.thread.ask(|told| PoolMessage::Replace { options, told })
    }

    /// Returns whether lines are answered: false while no process is there, and the last ones have
    /// ended before they had read a line.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.0.state.is_down.load(Ordering::Relaxed)
    }

    /// Returns counts and gauges.
    #[must_use]
    pub fn stats(&self) -> ExecStats {
        self.0.state.stats()
    }

    /// Ends all processes, and waits for that: some seconds at most. It is for when the server has
    /// stopped; a line that is asked later is rejected.
    pub fn stop(&self) {
        self.0.thread.stop(PoolMessage::Stop);
    }
}

common_options!(ExecOptions);

impl ExecOptions {
    /// Sets in how many processes the program runs, 1 to 10,000: so many lines are answered at a
    /// time. The default is one for each processor.
    pub const fn children(mut self, children: usize) -> Self {
        self.0.children = children;
        self
    }

    /// Sets how many lines of one client a process is given at once, 1 to 1,024: it reads them one
    /// after the other, and answers each. It is for programs that are known to keep the rule: a
    /// line too many shifts the rest of that client's answers before it is seen. The default is 1.
    ///
    /// A client has several lines at a time only if the server answers as many of them [side by
    /// side](crate::Builder::in_parallel).
    pub const fn batch(mut self, lines: usize) -> Self {
        self.0.batch = lines;
        self
    }

    /// Sets after how many lines a process is replaced, a tenth less or more, for programs that
    /// grow. The next is started first. The default is never.
    pub const fn lines_max(mut self, lines: u64) -> Self {
        self.0.lines_max = Some(lines);
        self
    }

    /// Sets a line that each process has to answer before it is given any other, with whatever it
    /// likes. Without one, only the first is tried, by whether it lives in silence for half a
    /// second.
    pub fn probe(mut self, line: impl AsRef<[u8]>) -> Self {
        self.0.probe = Some(line.as_ref().to_owned());
        self
    }

    /// Sets how long a process may take for its answer, from when it was given the line. With
    /// several at once, the time of each begins when the one before is answered. The default is 30
    /// seconds.
    ///
    /// The server's own [reply timeout](crate::Builder::reply_timeout) counts as well, from when
    /// the line was asked; then, too, the client goes on.
    pub fn reply_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.0.reply_timeout = timeout.into();
        self
    }

    /// Sets how long a line may wait for a process that is free. Then it is rejected as
    /// [busy](crate::Rejection::Busy). The default is 5 seconds.
    pub fn queue_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.0.queue_timeout = timeout.into();
        self
    }

    /// Sets how long a reply may be, in bytes. The default is 64 KiB.
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

    /// Starts the program, and waits until its first process was found to be good: for half a
    /// second, or for the answer to the [probe](Self::probe).
    ///
    /// # Errors
    ///
    /// Returns an [`ExecError`] if an option is invalid, the system cannot start the program or
    /// what drives it, or its first process is no good. Then nothing is left of it.
    pub fn start(self) -> Result<Exec, ExecError> {
        let options = Arc::new(self.validate()?);
        let (state, shared) = (Arc::<PoolState>::default(), Arc::clone(&options));
        let of_pool = Arc::clone(&state);
        let run = move |events| ExecPool::new(shared, events, of_pool).run();
        let thread = PoolThread::start("greeter-exec", run)?;
        let exec = Exec(Arc::new(ExecHandle { thread, state }));
        let outcome = exec.0.thread.ask(|told| PoolMessage::Replace { options, told });
        if outcome.is_err() {
            exec.stop();
        }
        outcome.map(|()| exec)
    }

    /// Returns them, if they are valid.
    fn validate(self) -> Result<PoolOptions, ExecError> {
        let Self(options) = self;
        let lines_max = usize::try_from(options.lines_max.unwrap_or(1)).unwrap_or(usize::MAX);
        let numbers = [
            ("children", options.children, MAX_CHILDREN),
            ("batch", options.batch, MAX_BATCH),
            ("lines_max", lines_max, usize::MAX),
        ];
        if let Some((option, value, max)) = numbers.into_iter().find(|(_, value, max)| !(1..=*max).contains(value)) {
            return Err(ExecError::OutOfRange { option, value, min: 1, max });
        }
        if options.probe.as_ref().is_some_and(|probe| probe.contains(&b'\n')) {
            return Err(ExecError::Probe);
        }
        Ok(options)
    }
}

/// Every line is handed over, and answered later.
impl Responder for Exec {
    type Session = ClientId;

    fn connect(&self, peer: &Peer, _: &mut Reply<'_>) -> Result<ClientId, BoxError> {
        Ok(peer.id)
    }

    fn respond(&self, client: &mut ClientId, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let later = reply.later_with(WhenLate::Reject);
        self.0.thread.send(PoolMessage::Ask(AskedLine::new(line.as_bytes(), *client, later)));
        Ok(())
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }
}

impl Drop for ExecHandle {
    fn drop(&mut self) {
        self.thread.send(PoolMessage::Stop);
    }
}

impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
