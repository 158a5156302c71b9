//! From options to a server that holds its addresses.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use greeter_core::{Address, FromLine, Greeter, IntoReply, Responder, ResponderFn, WhenRejected, responder_fn};
use mio::net::TcpListener;

use crate::accept::listener::listen_on;
use crate::config::{ConfigError, Options, Placement};
use crate::control::ShutdownTrigger;
use crate::limits::{Limits, Timeouts, WhenFull};
use crate::push::PushHandle;
use crate::server::Server;

/// What a server is to be, before it is one. [`Server::builder`] makes it, with a default for everything but the address.
#[derive(Debug)]
#[must_use]
pub struct Builder<R> {
    responder: R,
    push: PushHandle,
    trigger: ShutdownTrigger,
    options: Options,
    listen: Vec<Result<Vec<SocketAddr>, ConfigError>>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Options that make no sense, all of them.
    #[error("{}", join(.0))]
    Invalid(Vec<ConfigError>),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: Address,
        /// What the system says.
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
        };
        Self {
            responder: Greeter,
            push: PushHandle::new(),
            trigger: ShutdownTrigger::new(),
            options,
            listen: Vec::new(),
        }
    }
}

impl<R: Responder> Builder<R> {
    /// Who answers. By default, the [`Greeter`].
    pub fn responder<R2: Responder>(self, responder: R2) -> Builder<R2> {
        Builder { responder, push: self.push, trigger: self.trigger, options: self.options, listen: self.listen }
    }

    /// Who answers, and wants to say something message as well: gets what that takes when it is made.
    ///
    /// ```
    /// # use greeter_server::{BoxError, Line, Peer, PushHandle, Reply, Responder, Server};
    /// /// Tells everyone what anyone says.
    /// struct Megaphone(PushHandle);
    ///
    /// impl Responder for Megaphone {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
    ///     // …
    ///     fn respond(&self, _: &mut (), line: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
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

    /// What has the server stop, for a responder or whoever else will not have the [handle](crate::ServerHandle).
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

    /// Answers with a function, from the text or the bytes of a line to its reply line, or to a rejection; see
    /// [`responder_fn`]:
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

    /// How many workers answer, from 0 to 1024. By default, one for each processor.
    ///
    /// With 0 there is no pool: the threads that read and write answer too. That saves a way across threads for each batch
    /// of lines, and suits a responder that needs microseconds. With a pool, a responder that takes its time keeps nobody
    /// else from being read and written.
    ///
    /// One for each processor suits a responder that computes. One that waits, for a database or another server, has a worker wait with it:
    /// there it takes as many as there are lines a second, times the seconds that each waits, and some more, since lines do not come evenly.
    /// For 2,000 lines a second that wait 20 ms each, that is 40, and 60 will do. A worker that waits costs a thread and what of its stack it
    /// has touched. Lines for which they are too few wait in the queue, up to the [queue timeout](Self::queue_timeout).
    pub const fn workers(mut self, workers: usize) -> Self {
        self.options.placement = Placement::Workers(workers);
        self
    }

    /// Has the connection threads answer by themselves, in place of workers.
    ///
    /// That saves a way across threads for each batch of lines, and suits a responder that needs
    /// microseconds. One that takes its time keeps all clients of its thread waiting, and one that
    /// does not return is not noticed: there is no [reply timeout](Self::reply_timeout).
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().in_place();
    /// ```
    pub const fn in_place(mut self) -> Self {
        self.options.placement = Placement::InPlace;
        self
    }

    /// How many threads read and write, from 1 to 1024. By default, one for every two processors, whoever answers.
    ///
    /// On two processors, beside the load, a second one makes a greeting cost a quarter more where they answer in place, since each is woken
    /// for fewer clients at a time, and more than that beside a pool. Where answering takes its time, have a [pool](Self::workers).
    pub const fn connection_threads(mut self, threads: usize) -> Self {
        self.options.connection_threads = Some(threads);
        self
    }

    /// How many clients are served at a time, from 1 to 10 million. By default 10,000; and never more than there are descriptors for
    /// (RLIMIT_NOFILE) when the server starts, less a reserve, which is logged then.
    ///
    /// Exact, whatever happens: a client counts from when it is accepted until nothing of it is left.
    pub const fn max_connections(mut self, connections: usize) -> Self {
        self.options.limits.max_connections = connections;
        self
    }

    /// How many clients are served at a time from one address, from 1 to 10 million; by default, 1,000. What is one too many is
    /// [told so](greeter_core::Rejection::AddressLimit). `None` is as many as in all, such as behind a balancer, from whose address all
    /// come. The addresses of an IPv6 /64 network count as one.
    pub fn max_connections_per_address(mut self, connections: impl Into<Option<usize>>) -> Self {
        self.options.limits.max_connections_per_address = connections.into();
        self
    }

    /// What happens to a client that comes when all places are taken. By default, it is [rejected](WhenFull::Reject).
    pub const fn when_full(mut self, when_full: WhenFull) -> Self {
        self.options.limits.when_full = when_full;
        self
    }

    /// What becomes of a client when a line of it was rejected that the responder has not seen: it was too long, or everyone was busy. By
    /// default, [its session goes on](WhenRejected::Continue).
    pub const fn when_rejected(mut self, when_rejected: WhenRejected) -> Self {
        self.options.limits.when_rejected = when_rejected;
        self
    }

    /// The longest line that is taken, in bytes, without its ending; from 1 to 1 GiB. By default, 8 KiB. A longer one is
    /// [rejected](greeter_core::Rejection::LineTooLong), and the session goes on at the next.
    pub const fn max_line_bytes(mut self, bytes: usize) -> Self {
        self.options.limits.max_line_bytes = bytes;
        self
    }

    /// How many bytes of replies may wait for a client to take them, from 1 to 1 GiB. By default, 64 KiB. From there on the client is
    /// not read and its lines are not answered until it has taken them; and a client that has more than so much left of what was
    /// [pushed](crate::PushHandle) to it is cut off when the next piece comes. What is pushed to a client that is being answered waits for that
    /// in the [room for buffers](Self::max_buffer_bytes).
    ///
    /// It bounds neither a single reply nor a single piece that is pushed.
    pub const fn max_unsent_bytes(mut self, bytes: usize) -> Self {
        self.options.limits.max_unsent_bytes = bytes;
        self
    }

    /// How many bytes the lines and replies of all clients may occupy together, at least what one client may occupy. By default,
    /// 256 MiB, or that if it is more. Whoever would make it more is [sent away](greeter_core::Rejection::Overloaded). How much memory that makes in
    /// all is told by [`Limits::max_memory_bytes`].
    pub const fn max_buffer_bytes(mut self, bytes: usize) -> Self {
        self.options.max_buffer_bytes = Some(bytes);
        self
    }

    /// How long a line may take from its first byte to its last; by default, 10 s. More bytes renew nothing. Then the client is
    /// [told](greeter_core::Rejection::LineTimeout), and the connection closes. `None` waits for ever, here and in the other four
    /// timeouts.
    pub fn line_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.timeouts.line = timeout.into();
        self
    }

    /// How long a client may be silent while nothing is owed to it; by default, 5 minutes. Then it is
    /// [told](greeter_core::Rejection::IdleTimeout), and the connection closes. What is said to it message renews nothing.
    ///
    /// A client that keeps its connection for the next request, as in a pool of connections, may find there what it was told in the
    /// meantime, and take it for the answer. For those, a responder [ends in silence](greeter_core::Responder::reject).
    ///
    /// With `None`, a client whose machine or network is gone without a word is still noticed within 90 s, by TCP's own questions
    /// (keepalive), which are asked after 60 s without a packet, three times, 10 s apart.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.timeouts.idle = timeout.into();
        self
    }

    /// How long a client may take nothing of what it is owed; by default, 30 s. Then it is cut off.
    pub fn write_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.timeouts.write = timeout.into();
        self
    }

    /// How long the responder may take for the answer to one line; by default, 30 s. It is met to within 20 ms, and never early. Then the client is
    /// [told](greeter_core::Rejection::ReplyTimeout), and the connection closes; another worker starts in the place of the one that is
    /// stuck, up to four for each; and what the responder says when it comes back is heard by nobody. Replies that were
    /// made within the last 20 ms before the line that is overdue are lost with it. A disconnect has the same time, and then
    /// another worker goes on as well.
    ///
    /// It takes a pool: a responder that does not come back to a connection thread costs all clients of that thread.
    pub fn reply_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.timeouts.reply = timeout.into();
        self
    }

    /// How long lines may wait for a worker; by default, 5 s. Then each gets the reply that everyone is
    /// [busy](greeter_core::Rejection::Busy), and the session goes on.
    pub fn queue_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options.timeouts.queue = timeout.into();
        self
    }

    /// How long a client has to close its end of the connection once it was sent ours; by default, 2 s. Until then what it sends is
    /// read and thrown away, since a reset could destroy replies that are still on their way. Zero closes at once.
    pub const fn linger_timeout(mut self, timeout: Duration) -> Self {
        self.options.timeouts.linger = timeout;
        self
    }

    /// One address to listen on; call it once for each. Port 0 takes any free port, and [`Server::local_addrs`] tells which.
    ///
    /// Of a name that has several addresses, the first is taken on which listening is possible. An IPv6 address, the
    /// unspecified one included, does not stand for IPv4 as well.
    pub fn listen(mut self, address: impl ToSocketAddrs + std::fmt::Debug) -> Self {
        let resolved = address.to_socket_addrs().map(Vec::from_iter);
        self.listen.push(resolved.map_err(|reason| ConfigError::Address { address: format!("{address:?}"), reason }));
        self
    }

    /// [Listens](Self::listen) on this address and [builds](Self::build).
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build).
    pub fn bind(self, address: impl ToSocketAddrs + std::fmt::Debug) -> Result<Server<R>, BuildError> {
        self.listen(address).build()
    }

    /// Takes hold of the addresses. Clients can connect from now on; they are served once the server runs.
    ///
    /// # Errors
    ///
    /// [`BuildError::Invalid`] with everything that is wrong with the options, or [`BuildError::Listen`] with the first
    /// address that cannot be had.
    pub fn build(self) -> Result<Server<R>, BuildError> {
        let mut errors = Vec::new();
        let config = self.options.validate(&self.responder).map_err(|invalid| errors.extend(invalid));
        if self.listen.is_empty() {
            errors.push(ConfigError::NoAddress);
        }
        let mut addresses = Vec::new();
        for resolved in self.listen {
            match resolved {
                Ok(candidates) => addresses.push(candidates),
                Err(error) => errors.push(error),
            }
        }
        let (Ok(config), true) = (config, errors.is_empty()) else { return Err(BuildError::Invalid(errors)) };
        let listeners: Vec<_> = addresses.iter().map(|candidates| listen(candidates)).collect::<Result<_, _>>()?;
        let (addresses, listeners) = listeners.into_iter().unzip();
        Ok(Server::new(self.responder, self.push, self.trigger, config, addresses, listeners))
    }
}

fn join(problems: &[ConfigError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Listens on the first of these addresses on which that is possible, and returns it with its real port.
fn listen(candidates: &[SocketAddr]) -> Result<(Address, TcpListener), BuildError> {
    let mut failed = None;
    for &address in candidates {
        match listen_on(address) {
            Ok(listener) => {
                if !address.ip().is_loopback() {
                    tracing::warn!(%address, "Listening where other hosts can connect.");
                }
                return Ok(listener);
            }
            Err(source) => failed = failed.or(Some(BuildError::Listen { address: address.into(), source })),
        }
    }
    Err(failed.unwrap_or_else(|| BuildError::Invalid(vec![ConfigError::NoAddress])))
}
