//! Turns options into a server that holds its addresses. Must not start a thread or serve a client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use greeter_core::{
    BareLf, FromLine, Greeter, IntoReply, LineEnding, Responder, ResponderFn, WhenRejected, WhenTooLong, responder_fn,
};

use crate::accept::inherited::InheritedSockets;
use crate::accept::listener::{check_place, kind_of, listen_at};
use crate::config::{Config, ConfigError, Options, Placement};
use crate::control::ShutdownTrigger;
use crate::entry_rules::EntryRules;
use crate::limits::{Limits, SPARE_DESCRIPTORS, Timeouts, WhenFull};
use crate::listen::{ListenPlace, Listener, ListenerAddress};
use crate::push::PushHandle;
use crate::server::Server;
use crate::sockets::TcpOptions;

/// Configures a server.
///
/// [`Server::builder`] creates it, with a default for every option but the address.
///
/// ```
/// use std::time::Duration;
/// use greeter_server::{Server, WhenFull};
///
/// let server = Server::builder()
///     .responder_fn(|name: &str| format!("Hello, {name}"))
///     .max_connections(1_000)
///     .when_full(WhenFull::Wait)
///     .idle_timeout(Duration::from_secs(60))
///     .bind("127.0.0.1:0")?;
/// # Ok::<(), greeter_server::BuildError>(())
/// ```
#[derive(Debug)]
#[must_use]
pub struct Builder<R> {
    responder: R,
    push: PushHandle,
    trigger: ShutdownTrigger,
    pub(crate) options: Options,
    listen: Vec<Result<(ListenPlace, EntryRules), ConfigError>>,
    inherited: InheritedSockets,
}

/// An error returned by [`Builder::build`], [`Builder::bind`] and [`Builder::check`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// All invalid options.
    #[error("{}", join(.0))]
    Invalid(Vec<ConfigError>),
    /// The system cannot listen on an address.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address, as it was given.
        address: String,
        /// The system's error.
        source: io::Error,
    },
}

impl Server<Greeter> {
    /// Returns a builder with a default for everything but the address. Its responder is the
    /// [`Greeter`].
    pub fn builder() -> Builder<Greeter> {
        Builder::new()
    }
}

impl Builder<Greeter> {
    fn new() -> Self {
        let options = Options {
            placement: Placement::WorkerPerProcessor,
            connection_threads: None,
            limits: Limits::DEFAULT,
            max_buffer_bytes: None,
            timeouts: Timeouts::DEFAULT,
            line_ending: None,
            bare_lf: BareLf::Accept,
            when_too_long: WhenTooLong::Reject,
            telnet: false,
            tcp: TcpOptions { keepalive: true },
            is_quiet: false,
            spare_descriptors: SPARE_DESCRIPTORS,
        };
        Self {
            responder: Greeter,
            push: PushHandle::new(),
            trigger: ShutdownTrigger::new(),
            options,
            listen: Vec::new(),
            inherited: InheritedSockets::default(),
        }
    }
}

impl<R: Responder> Builder<R> {
    /// Sets the responder. The default is [`Greeter`].
    ///
    /// ```
    /// use greeter_server::{Greeter, Server};
    ///
    /// let builder = Server::builder().responder(Greeter);
    /// ```
    pub fn responder<R2: Responder>(self, responder: R2) -> Builder<R2> {
        let Self { responder: _, push, trigger, options, listen, inherited } = self;
        Builder { responder, push, trigger, options, listen, inherited }
    }

    /// Sets a responder that also pushes lines. `make` receives the [`PushHandle`].
    ///
    /// ```
    /// # use greeter_server::{BoxError, Line, Peer, PushHandle, Reply, Responder, Server};
    /// /// Pushes every line to all clients.
    /// struct Megaphone(PushHandle);
    ///
    /// impl Responder for Megaphone {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
    ///     // …
    ///     fn respond(
    ///         &self,
    ///         _session: &mut (),
    ///         line: Line<'_>,
    ///         _reply: &mut Reply<'_>,
    ///     ) -> Result<(), BoxError> {
    ///         Ok(self.0.broadcast(line.as_bytes())?)
    ///     }
    /// }
    ///
    /// let builder = Server::builder().responder_with(Megaphone);
    /// ```
    pub fn responder_with<R2: Responder>(self, make: impl FnOnce(PushHandle) -> R2) -> Builder<R2> {
        let responder = make(self.push.clone());
        self.responder(responder)
    }

    /// Sets a responder that also pushes lines, and whose making may fail, as that of a
    /// `Tagged` does.
    ///
    /// ```
    /// # use greeter_server::{BoxError, Line, Peer, PushHandle, Reply, Responder, Server};
    /// # struct Archive(PushHandle);
    /// # impl Archive {
    /// #     fn open(push: PushHandle) -> std::io::Result<Self> { Ok(Self(push)) }
    /// # }
    /// # impl Responder for Archive {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
    /// #     fn respond(&self, _: &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
    /// #         Ok(())
    /// #     }
    /// # }
    /// let builder = Server::builder().try_responder_with(Archive::open)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns that of `make`.
    pub fn try_responder_with<R2: Responder, E>(
        self,
        make: impl FnOnce(PushHandle) -> Result<R2, E>,
    ) -> Result<Builder<R2>, E> {
        let responder = make(self.push.clone())?;
        Ok(self.responder(responder))
    }

    /// Returns the handle that pushes to the clients of this server, for whatever is made before
    /// it. Until the server has started, [nothing](crate::PushError::NotStarted) can be pushed.
    ///
    /// ```
    /// # use greeter_server::{PushError, Server};
    /// let builder = Server::builder();
    /// let push = builder.push();
    /// assert_eq!(push.broadcast("too early"), Err(PushError::NotStarted));
    /// let server = builder.bind("127.0.0.1:0")?.spawn()?;
    /// push.broadcast("it has begun")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn push(&self) -> PushHandle {
        self.push.clone()
    }

    /// Returns a trigger that stops the server, for a responder or for any other code that does not
    /// have the [handle](crate::ServerHandle).
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    /// use std::time::Duration;
    /// use greeter_server::Server;
    ///
    /// let builder = Server::builder();
    /// let trigger = builder.shutdown_trigger();
    /// let server = builder
    ///     .responder_fn(move |line: &str| {
    ///         if line == "stop" {
    ///             trigger.trigger(Duration::from_secs(10));
    ///         }
    ///         line.to_owned()
    ///     })
    ///     .bind("127.0.0.1:0")?;
    /// let mut client = TcpStream::connect(server.local_addr())?;
    /// client.write_all(b"stop\n")?;
    /// let report = server.run()?;
    /// assert_eq!((report.replies, report.discarded), (1, 0));
    /// assert_eq!(std::io::read_to_string(client)?, "stop\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn shutdown_trigger(&self) -> ShutdownTrigger {
        self.trigger.clone()
    }

    /// Sets a function as the responder. It turns the text or the bytes of a line into a reply line
    /// or a rejection; see [`responder_fn`].
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().responder_fn(|name: &str| format!("Hello, {name}"));
    /// let builder = Server::builder().responder_fn(|line: &[u8]| line.to_ascii_uppercase());
    /// ```
    pub fn responder_fn<F, T, L>(self, function: F) -> Builder<ResponderFn<F, T>>
    where
        F: Fn(&T) -> L + Send + Sync + 'static,
        T: FromLine + ?Sized + 'static,
        L: IntoReply,
    {
        self.responder(responder_fn(function))
    }

    /// Sets how many workers answer, from 1 to 1024. The default is one for each processor.
    ///
    /// With workers, a responder that takes long does not keep other clients from being read and
    /// written. [`in_place`](Self::in_place) answers without workers.
    ///
    /// One worker for each processor suits a responder that computes. One that waits, for a
    /// database or another server, makes its worker wait too. It needs as many workers as there are
    /// lines a second, times the seconds that each line waits, and some more, since lines do not
    /// arrive evenly: for 2,000 lines a second that wait 20 ms each, that is 40, and 60 are enough.
    /// A worker that waits costs a thread and the part of its stack that it has used. Lines for
    /// which there are too few workers wait in the queue, up to the [queue
    /// timeout](Self::queue_timeout).
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().workers(60);
    /// ```
    pub const fn workers(mut self, workers: usize) -> Self {
        self.options.placement = Placement::Workers(workers);
        self
    }

    /// Answers on the connection threads, in place of workers.
    ///
    /// That saves a way across threads for each batch of lines, and suits a responder that needs
    /// microseconds. A responder that takes long delays all clients of its thread, and one that
    /// does not return is not noticed: the [reply timeout](Self::reply_timeout) holds for answers
    /// that come [later](crate::Reply::later) only, and there is no
    /// [queue timeout](Self::queue_timeout), since nothing queues for a worker.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().in_place();
    /// ```
    pub const fn in_place(mut self) -> Self {
        self.options.placement = Placement::InPlace;
        self
    }

    /// Sets how many lines of one client may be answered side by side, from 1 to 1024. The default
    /// is 1: one after the other.
    ///
    /// It is for clients that send many lines at once to a responder that takes long for each.
    /// Replies are in the order of the lines all the same, and timeouts and limits are as ever; the
    /// reply timeout is for each line by itself. Only lines that take more than about 60 µs, or are
    /// answered [later](crate::Reply::later), in place too, are given out one by one, since that
    /// costs some microseconds each. They come from one read, of 16 KiB at most: the next one waits
    /// until all its replies are sent.
    ///
    /// Workers that are idle take part, and nobody else is kept waiting: while others of a client
    /// are with workers, a line is given out only if some worker has nothing to do. So more than
    /// the workers are of use only where lines are answered later.
    ///
    /// The responder must keep no sessions (`()`) and read lines only. It is called for lines of
    /// one client in any order, at the same time: of a client that sends `set k 1` and `get k`
    /// together, the second may not see what the first has set. Behind a line that closes the
    /// connection or times out, some may have been answered, though nobody receives that and they
    /// count as discarded. A [push](crate::PushHandle) comes as soon as it can, between two
    /// replies. One client can keep so many workers in calls that do not return, and makes the
    /// server hold so many replies.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// use std::time::Duration;
    ///
    /// let server = Server::builder()
    ///     .responder_fn(|line: &str| {
    ///         std::thread::sleep(Duration::from_millis(1));
    ///         line.to_owned()
    ///     })
    ///     .workers(8)
    ///     .in_parallel(8)
    ///     .bind("127.0.0.1:0")?;
    /// # Ok::<(), greeter_server::BuildError>(())
    /// ```
    pub const fn in_parallel(mut self, lines: usize) -> Self {
        self.options.limits.in_parallel = lines;
        self
    }

    /// Sets how many threads read and write, from 1 to 1024. The default is one for every two
    /// processors, with workers or without.
    ///
    /// On two processors, beside the load, a second connection thread makes a greeting cost a
    /// quarter more where connection threads answer in place, since each is woken for fewer clients
    /// at a time, and more than that beside a pool. Where answering takes long, add
    /// [workers](Self::workers) instead.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().connection_threads(2);
    /// ```
    pub const fn connection_threads(mut self, threads: usize) -> Self {
        self.options.connection_threads = Some(threads);
        self
    }

    /// Sets the maximum number of concurrent clients, from 1 to 10 million. The default is 10,000.
    ///
    /// When the server starts, it lowers the limit to the number of available file descriptors
    /// (RLIMIT_NOFILE), less a reserve, and logs that. The limit is exact: a client counts from
    /// when it is accepted until its connection is closed and its last job is back. At the limit,
    /// [`when_full`](Self::when_full) applies.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().max_connections(1_000);
    /// ```
    pub const fn max_connections(mut self, connections: usize) -> Self {
        self.options.limits.max_connections = connections;
        self
    }

    /// Sets the maximum number of concurrent clients from one address, from 1 to 10 million. The
    /// default is 1,000.
    ///
    /// One client more receives [`Rejection::AddressLimit`](crate::Rejection::AddressLimit) and the
    /// connection closes. The addresses of an IPv6 /64 network count as one. `None` disables the
    /// limit, for example behind a load balancer, from whose address all clients come.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().max_connections_per_address(None);
    /// ```
    pub fn max_connections_per_address(mut self, connections: impl Into<Option<usize>>) -> Self {
        self.options.limits.max_connections_per_address = connections.into();
        self
    }

    /// Sets the policy at the connection limit. The default is [`WhenFull::Reject`].
    ///
    /// ```
    /// use greeter_server::{Server, WhenFull};
    ///
    /// let builder = Server::builder().when_full(WhenFull::Wait);
    /// ```
    pub const fn when_full(mut self, when_full: WhenFull) -> Self {
        self.options.limits.when_full = when_full;
        self
    }

    /// Sets what follows when the server rejects a line that the responder has not seen, because it
    /// was too long or no worker was free in time. The default is [`WhenRejected::Continue`]: the
    /// session goes on.
    ///
    /// ```
    /// use greeter_server::{Server, WhenRejected};
    ///
    /// let builder = Server::builder().when_rejected(WhenRejected::Close);
    /// ```
    pub const fn when_rejected(mut self, when_rejected: WhenRejected) -> Self {
        self.options.limits.when_rejected = when_rejected;
        self
    }

    /// Sets how every line ends that is sent: replies, banners, pushes and rejections.
    ///
    /// By default, each ends as the client's own line did, so that `nc` and `telnet` both read what
    /// they expect; until there is a line, as the banner did. Most protocols of RFCs ask for CR LF.
    /// A reply may [say otherwise](crate::Reply::end_lines_with).
    ///
    /// ```
    /// # use greeter_server::Server;
    /// use greeter_server::LineEnding;
    ///
    /// let builder = Server::builder().line_ending(LineEnding::CrLf);
    /// ```
    pub const fn line_ending(mut self, ending: LineEnding) -> Self {
        self.options.line_ending = Some(ending);
        self
    }

    /// Sets what happens to a line that ends with LF alone. The default is [`BareLf::Accept`].
    ///
    /// For each line that it rejects, the client receives
    /// [`Rejection::BareLf`](crate::Rejection::BareLf).
    ///
    /// ```
    /// # use greeter_server::Server;
    /// use greeter_server::BareLf;
    ///
    /// let builder = Server::builder().bare_lf(BareLf::Reject);
    /// ```
    pub const fn bare_lf(mut self, bare_lf: BareLf) -> Self {
        self.options.bare_lf = bare_lf;
        self
    }

    /// Sets whether clients speak telnet (RFC 854, RFC 855). The default is not to.
    ///
    /// Then commands are taken out of what a client sends before it is cut into lines, each option
    /// that it offers or asks for is refused, `CR NUL` is a CR, and the byte 255 is sent and
    /// received twice. In other protocols these bytes are data.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().telnet(true);
    /// ```
    pub const fn telnet(mut self, telnet: bool) -> Self {
        self.options.telnet = telnet;
        self
    }

    /// Sets what happens to a line that is longer than [the limit](Self::max_line_bytes). The
    /// default is [`WhenTooLong::Reject`].
    ///
    /// ```
    /// # use greeter_server::Server;
    /// use greeter_server::WhenTooLong;
    ///
    /// let builder = Server::builder().max_line_bytes(480).when_too_long(WhenTooLong::Truncate);
    /// ```
    pub const fn when_too_long(mut self, when_too_long: WhenTooLong) -> Self {
        self.options.when_too_long = when_too_long;
        self
    }

    /// Sets the maximum length of a line in bytes, without its ending, from 1 to 1 GiB. The default
    /// is 8 KiB.
    ///
    /// For a longer line, the client receives
    /// [`Rejection::LineTooLong`](crate::Rejection::LineTooLong), and the session goes on with the
    /// next line; or the responder receives [the start of it](Self::when_too_long).
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().max_line_bytes(1024);
    /// ```
    pub const fn max_line_bytes(mut self, bytes: usize) -> Self {
        self.options.limits.max_line_bytes = bytes;
        self
    }

    /// Sets how many bytes of replies may wait for a client to receive them, from 1 to 1 GiB. The
    /// default is 64 KiB.
    ///
    /// At the limit, the client is not read and its lines are not answered until it has received
    /// enough. A client that still has more than this left of what was [pushed](crate::PushHandle)
    /// to it is disconnected when the next message comes. What is pushed to a client while a worker
    /// answers it counts against the [memory budget](Self::max_buffer_bytes) in the meantime.
    ///
    /// The limit bounds neither a single reply nor a single pushed message.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().max_unsent_bytes(16 * 1024);
    /// ```
    pub const fn max_unsent_bytes(mut self, bytes: usize) -> Self {
        self.options.limits.max_unsent_bytes = bytes;
        self
    }

    /// Sets the memory budget: how many bytes the lines and replies of all clients may occupy
    /// together.
    ///
    /// The minimum is what one client may occupy. The default is 256 MiB, or that minimum if it is
    /// more. A client that needs more than what is left receives
    /// [`Rejection::Overloaded`](crate::Rejection::Overloaded) and the connection closes.
    /// [`Limits::max_memory_bytes`] returns how much memory the server needs in all.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().max_buffer_bytes(64 * 1024 * 1024);
    /// ```
    pub const fn max_buffer_bytes(mut self, bytes: usize) -> Self {
        self.options.max_buffer_bytes = Some(bytes);
        self
    }

    /// Sets how long a client may take to finish a line, from its first byte to its ending.
    ///
    /// Bytes of the same line do not extend it. When it passes, the client receives
    /// [`Rejection::LineTimeout`](crate::Rejection::LineTimeout) and the connection closes. The
    /// default is 10 seconds. `None` disables it; the minimum is 1 ms.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// use std::time::Duration;
    ///
    /// let builder = Server::builder().line_timeout(Duration::from_secs(2));
    /// let builder = Server::builder().line_timeout(None);
    /// ```
    pub fn line_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.timeouts.line = timeout.into();
        self
    }

    /// Sets how long a client may send nothing while no reply is owed to it.
    ///
    /// When it passes, the client receives
    /// [`Rejection::IdleTimeout`](crate::Rejection::IdleTimeout) and the connection closes. Lines
    /// that are pushed to the client do not extend it. The default is 5 minutes. `None` disables
    /// it; the minimum is 1 ms.
    ///
    /// A client that keeps its connection for its next request, such as one with a connection pool,
    /// may later read this rejection and take it for the reply. For such clients, a responder can
    /// [write nothing](crate::Responder::reject).
    ///
    /// With `None`, the server still notices within 90 s that a client's machine or network is
    /// gone: TCP keepalive sends its probes after 60 s without a packet, three times, 10 s apart.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// use std::time::Duration;
    ///
    /// let builder = Server::builder().idle_timeout(Duration::from_secs(60));
    /// ```
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.timeouts.idle = timeout.into();
        self
    }

    /// Sets how long a client may receive nothing of what it is owed.
    ///
    /// When it passes, the client is disconnected. The default is 30 seconds. `None` disables it;
    /// the minimum is 1 ms.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// use std::time::Duration;
    ///
    /// let builder = Server::builder().write_timeout(Duration::from_secs(10));
    /// ```
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.timeouts.write = timeout.into();
        self
    }

    /// Sets how long the responder may take to answer one line.
    ///
    /// When it passes, the client receives
    /// [`Rejection::ReplyTimeout`](crate::Rejection::ReplyTimeout) and the connection closes. That
    /// happens at most 20 ms late, and never early. Another worker replaces the one that is still
    /// in the responder, up to four for each worker, and the server discards what the responder
    /// writes when it returns. Replies that were written within the last 20 ms before the line that
    /// timed out are lost with it. A call of [`disconnect`](crate::Responder::disconnect) has the
    /// same time before its worker is replaced.
    ///
    /// An answer that comes [later](crate::Reply::later) has the same time, from when its line is
    /// parked.
    ///
    /// The default is 30 seconds. `None` disables it; the minimum is 1 ms. It needs workers, but
    /// for answers that come later: a responder that does not return to a connection thread costs
    /// all clients of that thread.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// use std::time::Duration;
    ///
    /// let builder = Server::builder().reply_timeout(Duration::from_secs(5));
    /// ```
    pub fn reply_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.timeouts.reply = timeout.into();
        self
    }

    /// Sets how long a line may wait for a worker.
    ///
    /// When it passes, the reply to the line is [`Rejection::Busy`](crate::Rejection::Busy), and
    /// the session goes on. The default is 5 seconds. `None` disables it; the minimum is 1 ms.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// use std::time::Duration;
    ///
    /// let builder = Server::builder().queue_timeout(Duration::from_millis(500));
    /// ```
    pub fn queue_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.timeouts.queue = timeout.into();
        self
    }

    /// Sets how long a client may take from when it is accepted until it has sent its PROXY header,
    /// where one is [expected](Listener::proxy_from), and finished its TLS handshake, where TLS is
    /// spoken.
    ///
    /// What it sends meanwhile does not extend it. The default is 10 seconds; the minimum is 1 ms.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// use std::time::Duration;
    ///
    /// let builder = Server::builder().handshake_timeout(Duration::from_secs(3));
    /// ```
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.options.timeouts.handshake = timeout;
        self
    }

    /// Sets the maximum number of clients at a time that have not yet sent their PROXY header or
    /// finished their TLS handshake.
    ///
    /// They count as clients, but not for their address. When there are so many, the one that has
    /// kept the server waiting longest makes room for the next, if that is more than a second; of
    /// these, one of the address with most. If all have just come, the next one waits in the
    /// system's backlog. So nobody who sends nothing keeps others out. The default is 1,024.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().max_handshakes(100);
    /// ```
    pub const fn max_handshakes(mut self, handshakes: usize) -> Self {
        self.options.limits.max_handshakes = handshakes;
        self
    }

    /// Sets how many clients a second each listener accepts at most. More wait in the system's
    /// backlog.
    ///
    /// So a crowd that comes at once, as when another server is gone, does not take all processor
    /// time from those who are connected. A tenth of a second's worth may come together. A stop
    /// does not keep to it. The default, `None`, is as many as come; the maximum is a million.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().max_accept_rate(200);
    /// ```
    pub fn max_accept_rate(mut self, clients_per_second: impl Into<Option<usize>>) -> Self {
        self.options.limits.max_accept_rate = clients_per_second.into();
        self
    }

    /// Sets how long a client may be connected, from when it is served: where it owes a PROXY
    /// header or a TLS handshake first, that has a [timeout of its own](Self::handshake_timeout).
    ///
    /// When that time is over, and the client is owed nothing and has begun no line, it receives
    /// [`Rejection::SessionTimeout`](crate::Rejection::SessionTimeout) and the connection closes.
    /// Of clients that a balancer has spread over several servers, this is how those who stay
    /// connected for days come to a server that is new. Each has a time of its own, up to a tenth
    /// less or more, so that not all of them come back at once. In a protocol whose clients would
    /// take the rejection for the reply to their next request, the responder's
    /// [`reject`](Responder::reject) says nothing. The default, `None`, is for ever; the minimum is
    /// 1 ms.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// use std::time::Duration;
    ///
    /// let builder = Server::builder().max_session_time(Duration::from_secs(3600));
    /// ```
    pub fn max_session_time(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.options.timeouts.session = time.into();
        self
    }

    /// Sets over how much of a stop clients are let go who are owed nothing, one after the other.
    ///
    /// They all connect again at once otherwise, to whatever takes the place of this server. Who is
    /// owed a reply goes with that; who sends a line meanwhile has its reply. It is never more than
    /// nine tenths of the time that the stop has: whoever is last has the rest. The default is
    /// zero: at once.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// use std::time::Duration;
    ///
    /// let builder = Server::builder().drain_spread(Duration::from_secs(5));
    /// ```
    pub const fn drain_spread(mut self, time: Duration) -> Self {
        self.options.timeouts.drain_spread = time;
        self
    }

    /// Sets how long a client may take to close its end of the connection after the server has
    /// closed its own.
    ///
    /// Until then, the server reads and discards what the client sends, since a reset could destroy
    /// replies that are still on their way. The default is 2 seconds. Zero closes the connection at
    /// once.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// use std::time::Duration;
    ///
    /// let builder = Server::builder().linger_timeout(Duration::ZERO);
    /// ```
    pub const fn linger_timeout(mut self, timeout: Duration) -> Self {
        self.options.timeouts.linger = timeout;
        self
    }

    /// Adds an address to listen on: a text, a socket address or a [`Listener`], which says all
    /// that can be listened on. Call it once for each address.
    ///
    /// Port 0 takes any free port; [`Server::local_addrs`] returns the real one.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let server = Server::builder().listen("127.0.0.1:0").listen(([127, 0, 0, 1], 0)).build()?;
    /// # Ok::<(), greeter_server::BuildError>(())
    /// ```
    pub fn listen(mut self, listener: impl Into<Listener>) -> Self {
        self.listen.push(listener.into().validate());
        self
    }

    /// Has it be `debug` who comes and goes, and when the server does: for one that is asked the
    /// same by the same few clients, all the time.
    #[cfg(feature = "admin")]
    pub(crate) const fn quiet(mut self) -> Self {
        self.options.is_quiet = true;
        self
    }

    /// Sets how many file descriptors are left to the rest of the program: the server has fewer
    /// connections where it would take these as well (RLIMIT_NOFILE in getrlimit(2)). The default
    /// is 64; more is for a responder that holds files or sockets of its own.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().spare_descriptors(500);
    /// ```
    pub const fn spare_descriptors(mut self, descriptors: usize) -> Self {
        self.options.spare_descriptors = descriptors;
        self
    }

    /// Sets the sockets that addresses such as `fd:3` mean.
    ///
    /// [`InheritedSockets`] has an example.
    pub fn inherited(mut self, sockets: InheritedSockets) -> Self {
        self.inherited = sockets;
        self
    }

    /// Sets whether a TCP client that has vanished is noticed though it is sent nothing, or only
    /// what is never acknowledged.
    ///
    /// The default is yes: after 60 seconds without a packet the system probes it, and after 90
    /// seconds it gives up (`TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT` and `TCP_USER_TIMEOUT`
    /// in tcp(7)). Otherwise the timeouts of this server are all that ends such a connection.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().tcp_keepalive(false);
    /// ```
    pub const fn tcp_keepalive(mut self, on: bool) -> Self {
        self.options.tcp.keepalive = on;
        self
    }

    /// [Listens](Self::listen) on this address and [builds](Self::build) the server.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build).
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let server = Server::builder().bind("127.0.0.1:0")?;
    /// # Ok::<(), greeter_server::BuildError>(())
    /// ```
    pub fn bind(self, listener: impl Into<Listener>) -> Result<Server<R>, BuildError> {
        self.listen(listener).build()
    }

    /// Validates the options and listens on the addresses.
    ///
    /// From now on clients can connect; they are served once the server runs.
    ///
    /// # Errors
    ///
    /// Returns [`BuildError::Invalid`] with all invalid options, or [`BuildError::Listen`] with the
    /// first address on which the system cannot listen.
    ///
    /// ```
    /// use greeter_server::{BuildError, Server};
    ///
    /// let error = Server::builder().max_line_bytes(0).build().expect_err("both are wrong");
    /// assert!(matches!(error, BuildError::Invalid(errors) if errors.len() == 2));
    /// ```
    pub fn build(self) -> Result<Server<R>, BuildError> {
        let (builder, config) = self.validate()?;
        let Self { responder, push, trigger, options, listen, mut inherited } = builder;
        let (mut addresses, mut listeners, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        for (place, rules) in listen.into_iter().flatten() {
            let kind = kind_of(&place, &rules);
            let listening = listen_at(place, &mut inherited, options.tcp);
            let (bound_to, socket) = listening.map_err(|(address, source)| BuildError::Listen { address, source })?;
            let address = ListenerAddress { bound_to, is_tls: rules.has_handshake() };
            warn_if_reachable(&address);
            addresses.push(address);
            listeners.push(socket);
            kinds.push((kind, Arc::new(rules)));
        }
        inherited.warn_of_unused();
        Ok(Server::new(responder, push, trigger, (options, config), addresses, listeners, kinds))
    }

    /// Validates the options and the addresses as [`build`](Self::build) does, and listens nowhere.
    ///
    /// It is for a program that is asked whether it could start, and for one that reads its
    /// settings again while its server runs. What only listening shows is not found: whether an
    /// address is taken, may be had, or was passed to this process.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build), as far as they can be known.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().workers(2).listen("192.0.2.1:80").check()?;
    /// let error = builder.max_line_bytes(0).check().expect_err("a line has a byte");
    /// assert_eq!(error.to_string(), "max_line_bytes is 0, but must be from 1 to 1073741824");
    /// # Ok::<(), greeter_server::BuildError>(())
    /// ```
    pub fn check(self) -> Result<Self, BuildError> {
        let (builder, _) = self.validate()?;
        for (place, _) in builder.listen.iter().flatten() {
            check_place(place).map_err(|(address, source)| BuildError::Listen { address, source })?;
        }
        Ok(builder)
    }

    /// Takes the listeners, if each is valid, or returns what is wrong.
    pub(crate) fn take_listeners(&mut self) -> Result<Vec<(ListenPlace, EntryRules)>, Vec<ConfigError>> {
        let (mut valid, mut errors) = (Vec::new(), Vec::new());
        for listener in std::mem::take(&mut self.listen) {
            match listener {
                Ok(listener) => valid.push(listener),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(valid) } else { Err(errors) }
    }

    /// Returns a builder of which each listener is valid, with its configuration; or all invalid
    /// options.
    fn validate(mut self) -> Result<(Self, Config), BuildError> {
        let mut errors = Vec::new();
        let config = self.options.validate(&self.responder).map_err(|invalid| errors.extend(invalid));
        if self.listen.is_empty() {
            errors.push(ConfigError::NoAddress);
        }
        match self.take_listeners() {
            Ok(valid) => self.listen.extend(valid.into_iter().map(Ok)),
            Err(invalid) => errors.extend(invalid),
        }
        match config {
            Ok(config) if errors.is_empty() => Ok((self, config)),
            _ => Err(BuildError::Invalid(errors)),
        }
    }
}

/// Returns the invalid options in words.
fn join(problems: &[ConfigError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Warns of an address that is not on this machine only.
fn warn_if_reachable(address: &ListenerAddress) {
    if address.as_inet().is_some_and(|address| !address.ip().is_loopback()) {
        tracing::warn!(%address, "Listening where other hosts can connect.");
    }
}
