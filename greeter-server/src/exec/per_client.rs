//! Any program as a responder of one client: each has a process of its own, as of inetd. Must not
//! know processes.

mod environment;
mod messages;
mod pool;
mod process;
pub(super) mod report;

use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;

use greeter_core::{BoxError, CloseReason, Line, LineEnding, Peer, Rejection, Reply, Responder, WhenLate};

use self::messages::{LINE_COST, MAX_UNREAD, PerClientConfig, PerClientMessage, ProcessLink};
use self::pool::PerClientPool;
use self::report::{PerClientState, PerClientStats};
use super::common_options::common_options;
use super::pool_thread::PoolThread;
use super::process::Program;
use super::report::ExecError;
use super::running::MAX_CHILDREN;
use crate::mailbox::Mailbox;
use crate::push::PushHandle;

/// Has a program answer each client in a process of its own, as inetd and `tcpserver` do: what the
/// client sends is the program's stdin, and what the program writes to its stdout is what the
/// client receives. Both are one socket, as there, but not the client's: it has no address.
///
/// It is for programs that were written for inetd (its `nowait`), for UCSPI tools, or for a
/// terminal: they know nothing of other clients, keep what they like, and end when they are done.
/// Where a process for each client is too much, [`Exec`](crate::Exec) and
/// [`Tagged`](crate::Tagged) have processes that stay.
///
/// ```no_run
/// use greeter_server::{PerClient, Server};
///
/// Server::builder()
///     .try_responder_with(|push| PerClient::options("/usr/sbin/in.fingerd").start(push))?
///     .in_place()
///     .bind("127.0.0.1:7079")?
///     .run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What goes in and out
///
/// * **In** goes each line with the ending that it had, once it is complete. A line that the server
///   rejects, being too long, does not, and neither does one without an end. A client whose process
///   does not read is not read any more either once 64 KiB wait for it.
/// * **Out** goes every byte as it comes: a prompt needs no LF. A program whose client does not
///   read has to wait, with 16 KiB on their way, and nothing is lost, however much it is.
/// * **The end of the input** is that of the program's stdin: when the client has stopped sending
///   (`printf … | nc -N`), or the server stops. Then the program has as much time as it wants, as
///   long as the client is not [idle](crate::Builder::idle_timeout), or the shutdown has time left.
/// * **The end of the process** ends the connection, behind all that it has written. If something
///   that it has started has its stdout still, the connection ends a second later. What is left of
///   its process group is killed then: a job in the background, too, unless it has made a session
///   of its own (setsid(2)).
/// * **The end of the connection** ends the process with its group: by the end of its stdin and of
///   its stdout, after two seconds by SIGTERM, and after two more by SIGKILL. A client
///   that only closes may be one that has stopped sending and still reads: nobody knows before
///   something is sent to it.
///
/// There is no time for a reply, since nobody knows what is one. The idle timeout counts what goes
/// in either direction. Who is let go by it, or by the time for a line, is told nothing but the
/// end: the words between are the program's.
///
/// What a process writes to its stderr is in the log, line by line.
///
/// # The environment
///
/// It is that of this process, but for what a service manager has said to it alone, and has what
/// UCSPI tools say: `PROTO=TCP`, `TCPREMOTEIP` and `TCPREMOTEPORT`; behind a proxy that sends its
/// header `TCPLOCALIP` and `TCPLOCALPORT` as well; and of a Unix socket `PROTO=UNIX`,
/// `UNIXREMOTEEUID`, `UNIXREMOTEEGID` and `UNIXREMOTEPID`. With TLS, `SSL_PROTOCOL`, such as
/// `TLSv1.3`, `SSL_TLS_SNI_SERVERNAME`, and `SSL_PEER_CERT_HASH`, the SHA-256 of the client's
/// certificate in hex. `GREETER_LISTENER` is the [name](crate::Listener::named) of the listener.
/// What is not known of a client is not set.
///
/// # How many there are
///
/// Clients beyond [`max_processes`](PerClientOptions::max_processes) are rejected as
/// [busy](Rejection::Busy). A process counts until it has ended. A client whose process cannot be
/// started reads `error: internal error`, and why is in the log.
///
/// # Threads
///
/// A line is only handed over, so a server with this responder is best one that answers [in
/// place](crate::Builder::in_place). Clones share the processes; when the last is dropped they end.
///
/// The server's [memory budget](crate::Builder::max_buffer_bytes) does not know of what lies
/// between it and a process: twice 64 KiB and a line for each client at most, and mostly little.
#[derive(Clone)]
pub struct PerClient(Arc<PerClientHandle>);

/// What all clones share.
struct PerClientHandle {
    thread: PoolThread<PerClientMessage>,
    state: Arc<PerClientState>,
}

/// Options of [`PerClient`].
///
/// ```no_run
/// use greeter_server::{PerClient, Server};
///
/// let builder = Server::builder();
/// let options = PerClient::options("sh").args(["-c", "echo hello, $TCPREMOTEIP"]).max_processes(10);
/// // A clone tells how it is, while the server has the other.
/// let per_client = options.start(builder.push())?;
/// let server = builder.responder(per_client.clone()).in_place().bind("127.0.0.1:7000")?.spawn()?;
/// assert_eq!(per_client.stats().running, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until they start a program"]
pub struct PerClientOptions(PerClientConfig);

/// The session of a client of [`PerClient`]. Its end is the client's, also where the server ends
/// without a word.
pub struct PerClientSession {
    link: Arc<ProcessLink>,
    thread: Mailbox<PerClientMessage>,
}

impl PerClient {
    /// Returns options to start this program with. It is looked for as a shell does: in `PATH`,
    /// unless there is a `/` in it. No shell sees it or its arguments.
    pub fn options(program: impl AsRef<OsStr>) -> PerClientOptions {
        let program = Program { forgotten: environment::NAMES, has_socket: true, ..Program::new(program.as_ref()) };
        PerClientOptions(PerClientConfig {
            program: Arc::new(program),
            max_processes: PerClientOptions::DEFAULT_MAX_PROCESSES,
            reaps_orphans: false,
        })
    }

    /// Has other options hold for the clients that come from now on. Those that are there keep
    /// their processes.
    ///
    /// # Errors
    ///
    /// Those of [`start`](PerClientOptions::start); then all is as before.
    pub fn replace(&self, options: PerClientOptions) -> Result<(), ExecError> {
        let config = options.validate()?;
        self.0.state.set_max(config.max_processes);
        self.0.thread.send(PerClientMessage::Replace(config));
        Ok(())
    }

    /// Returns whether new clients are let in: whether there may be another process.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.thread.mailbox().has_receiver() && self.0.state.has_room()
    }

    /// Returns counts and gauges.
    #[must_use]
    pub fn stats(&self) -> PerClientStats {
        self.0.state.stats()
    }

    /// Ends all processes, and waits for that: some seconds at most. It is for when the server has
    /// stopped; clients that are still there lose their connections.
    pub fn stop(&self) {
        self.0.thread.stop(PerClientMessage::Stop);
    }
}

common_options!(PerClientOptions);

impl PerClientOptions {
    /// How many [processes](Self::max_processes) there may be unless told otherwise.
    pub const DEFAULT_MAX_PROCESSES: usize = 100;

    /// The most [processes](Self::max_processes) that may be asked for.
    pub const MAX_PROCESSES: usize = MAX_CHILDREN;

    /// Sets how many processes there may be, 1 to 10,000, those included that are to end. The
    /// default is [100](Self::DEFAULT_MAX_PROCESSES). Each takes four descriptors beside that of
    /// its client, which the server has to [spare](crate::Builder::spare_descriptors).
    pub const fn max_processes(mut self, processes: usize) -> Self {
        self.0.max_processes = processes;
        self
    }

    /// Checks the options, and whether there is such a program, and starts nothing.
    ///
    /// # Errors
    ///
    /// Those of [`start`](Self::start), but for what the system lacks.
    pub fn check(&self) -> Result<(), ExecError> {
        self.clone().validate().map(drop)
    }

    /// Begins to start the program for clients. What it writes goes through this handle, which has
    /// to be that of the server whose clients it answers: from
    /// [`Builder::push`](crate::Builder::push) or
    /// [`try_responder_with`](crate::Builder::try_responder_with).
    ///
    /// No process is started before a client comes; only whether there is such a program is
    /// looked at.
    ///
    /// # Errors
    ///
    /// Returns an [`ExecError`] if an option is invalid, there is no such program or it may not be
    /// executed, or the system cannot start what drives it.
    pub fn start(self, push: PushHandle) -> Result<PerClient, ExecError> {
        let config = self.validate()?;
        let state = Arc::new(PerClientState::new(config.max_processes));
        let of_pool = Arc::clone(&state);
        let run = move |events| PerClientPool::new(config, events, push, of_pool).run();
        let thread = PoolThread::start("greeter-clients", run)?;
        Ok(PerClient(Arc::new(PerClientHandle { thread, state })))
    }

    /// Returns them, if they are valid and there is such a program.
    fn validate(self) -> Result<PerClientConfig, ExecError> {
        match self.0.max_processes {
            1..=Self::MAX_PROCESSES => self.0.program.check().map(|()| self.0),
            value => Err(ExecError::OutOfRange { option: "max_processes", value, min: 1, max: Self::MAX_PROCESSES }),
        }
    }
}

/// Lines are handed over, and what the program says is pushed.
impl Responder for PerClient {
    type Session = PerClientSession;

    fn connect(&self, peer: &Peer, _: &mut Reply<'_>) -> Result<PerClientSession, BoxError> {
        let thread = self.0.thread.mailbox().clone();
        let permit = self.0.state.permit().filter(|_| thread.has_receiver()).ok_or_else(|| {
            tracing::warn!(max_processes = self.stats().max_processes, "There is no room for a client's process.");
            Rejection::Busy
        })?;
        let link = Arc::new(ProcessLink::new(peer.id));
        let environment = environment::of(peer);
        thread.send(PerClientMessage::Open { link: Arc::clone(&link), environment, permit });
        Ok(PerClientSession { link, thread })
    }

    /// A line whose process has much to read already is answered once it has read enough, so that
    /// its client is not read meanwhile.
    fn respond(&self, session: &mut PerClientSession, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let ending = line.ending().unwrap_or(LineEnding::Lf).as_bytes();
        let bytes = [line.as_bytes(), ending].concat();
        let unread = session.link.add_unread(bytes.len() + LINE_COST);
        let later = (unread > MAX_UNREAD).then(|| reply.later_with(WhenLate::Wait));
        session.thread.send(PerClientMessage::Input { client: session.link.client, bytes, later });
        Ok(())
    }

    /// What a program says is its own: of a client that is let go for its silence, the end says
    /// enough.
    fn reject(&self, _: Option<&mut PerClientSession>, rejection: Rejection, reply: &mut Reply<'_>) {
        match rejection {
            Rejection::IdleTimeout { .. } | Rejection::LineTimeout { .. } => {}
            rejection => reply.line(format_args!("error: {rejection}")),
        }
    }

    fn wants_end_of_input(&self) -> bool {
        true
    }

    /// It is answered, by nothing, once the process has ended.
    fn end_of_input(
        &self,
        session: &mut PerClientSession,
        _: CloseReason,
        reply: &mut Reply<'_>,
    ) -> Result<(), BoxError> {
        let later = reply.later_with(WhenLate::Wait);
        session.thread.send(PerClientMessage::EndOfInput { client: session.link.client, later });
        Ok(())
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }
}

impl Drop for PerClientSession {
    fn drop(&mut self) {
        self.thread.send(PerClientMessage::Left { client: self.link.client });
    }
}

impl Drop for PerClientHandle {
    fn drop(&mut self) {
        self.thread.send(PerClientMessage::Stop);
    }
}

impl fmt::Debug for PerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerClient").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl fmt::Debug for PerClientSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerClientSession").field("client", &self.link.client).finish_non_exhaustive()
    }
}
