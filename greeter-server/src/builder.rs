//! From options to a server that holds its addresses.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;

use greeter_core::{FromLine, Greeter, IntoReply, RespondWith, Responder, respond_with};
use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use crate::server::Server;

/// How many connections the system may make before they are accepted. It takes less where its own limit is lower
/// (`net.core.somaxconn`).
pub(crate) const BACKLOG: usize = 4096;

const LINE_BYTES_MAX: usize = 8 * 1024;
const LINE_BYTES_MAX_MAX: usize = 1024 * 1024 * 1024;
const THREADS_MAX: usize = 1024;

/// What a server is to be, before it is one. [`Server::builder`] makes it, with a default for everything but the address.
#[derive(Debug)]
#[must_use]
pub struct Builder<R> {
    responder: R,
    options: Options,
    listen: Vec<Result<Vec<SocketAddr>, Problem>>,
}

/// What was asked for; none where the default depends on the machine.
#[derive(Clone, Copy, Debug)]
struct Options {
    workers: Option<usize>,
    connection_threads: Option<usize>,
    line_bytes_max: usize,
}

/// What is to be done: options that make sense.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) workers: usize,
    pub(crate) connection_threads: usize,
    pub(crate) line_bytes_max: u32,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Options that make no sense, all of them.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// One thing that is wrong with the options.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// There is nowhere to listen.
    #[error("no address to listen on")]
    NoAddress,
    /// An address that is none, or a name that nobody knows.
    #[error("cannot listen on {address}: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: io::Error,
    },
    /// A number that is too small or too large.
    #[error("{option} is {value}, but must be from {min} to {max}")]
    OutOfRange {
        /// The option, by the name of its method.
        option: &'static str,
        /// What was given.
        value: usize,
        /// The least it may be.
        min: usize,
        /// The most it may be.
        max: usize,
    },
}

impl Builder<Greeter> {
    pub(crate) const fn new() -> Self {
        let options = Options { workers: None, connection_threads: None, line_bytes_max: LINE_BYTES_MAX };
        Self { responder: Greeter, options, listen: Vec::new() }
    }
}

impl<R: Responder> Builder<R> {
    /// Who answers. By default, the [`Greeter`].
    pub fn responder<R2: Responder>(self, responder: R2) -> Builder<R2> {
        Builder { responder, options: self.options, listen: self.listen }
    }

    /// Answers with a function, from the text or the bytes of a line to its reply line, or to a refusal; see
    /// [`respond_with`]:
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let builder = Server::builder().respond_with(|name: &str| format!("Hello, {name}"));
    /// let builder = Server::builder().respond_with(|line: &[u8]| line.to_ascii_uppercase());
    /// ```
    pub fn respond_with<F, T, L>(self, function: F) -> Builder<RespondWith<F, T>>
    where
        F: Fn(&T) -> L + Send + Sync + 'static,
        T: FromLine + ?Sized + 'static,
        L: IntoReply,
    {
        self.responder(respond_with(function))
    }

    /// How many workers answer, from 0 to 1024. By default, one for each processor.
    ///
    /// With 0 there is no pool: the threads that read and write answer too. That saves a way across threads for each batch
    /// of lines, and suits a responder that needs microseconds. With a pool, a responder that takes its time keeps nobody
    /// else from being read and written.
    pub const fn workers(mut self, workers: usize) -> Self {
        self.options.workers = Some(workers);
        self
    }

    /// How many threads read and write, from 1 to 1024. By default, one for each processor where they answer as well, and
    /// one for every two where there is a pool.
    pub const fn connection_threads(mut self, threads: usize) -> Self {
        self.options.connection_threads = Some(threads);
        self
    }

    /// The longest line that is taken, in bytes, without its ending; from 1 to 1 GiB. By default, 8 KiB. A longer one is
    /// [refused](greeter_core::Refusal::LineTooLong), and the session goes on at the next.
    ///
    /// An unfinished line may occupy so much memory for each client.
    pub const fn line_bytes_max(mut self, bytes: usize) -> Self {
        self.options.line_bytes_max = bytes;
        self
    }

    /// One address to listen on; call it once for each. Port 0 takes any free port, and [`Server::local_addrs`] tells which.
    ///
    /// Of a name that has several addresses, the first is taken on which listening is possible. An IPv6 address, the
    /// unspecified one included, does not stand for IPv4 as well.
    pub fn listen(mut self, address: impl ToSocketAddrs + std::fmt::Debug) -> Self {
        let resolved = address.to_socket_addrs().map(Vec::from_iter);
        self.listen.push(resolved.map_err(|reason| Problem::Address { address: format!("{address:?}"), reason }));
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
        let (plan, addresses) = validate(&self.options, self.listen).map_err(BuildError::Invalid)?;
        let listeners: Vec<_> = addresses.iter().map(|one_of| listen_on_one_of(one_of)).collect::<Result<_, _>>()?;
        Ok(Server::new(self.responder, plan, listeners))
    }
}

type Addresses = Vec<Vec<SocketAddr>>;

/// Options that make sense, or everything that does not.
fn validate(
    options: &Options,
    listen: Vec<Result<Vec<SocketAddr>, Problem>>,
) -> Result<(Plan, Addresses), Vec<Problem>> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let workers = options.workers.unwrap_or(processors);
    let threads_by_default = if workers == 0 { processors } else { processors.div_ceil(2) };
    let connection_threads = options.connection_threads.unwrap_or(threads_by_default);

    let mut problems = Vec::new();
    let mut in_range = |option, value, min, max| {
        if value < min || max < value {
            problems.push(Problem::OutOfRange { option, value, min, max });
        }
    };
    in_range("workers", workers, 0, THREADS_MAX);
    in_range("connection_threads", connection_threads, 1, THREADS_MAX);
    in_range("line_bytes_max", options.line_bytes_max, 1, LINE_BYTES_MAX_MAX);

    if listen.is_empty() {
        problems.push(Problem::NoAddress);
    }
    let mut addresses = Vec::new();
    for resolved in listen {
        match resolved {
            Ok(one_of) => addresses.push(one_of),
            Err(problem) => problems.push(problem),
        }
    }
    match u32::try_from(options.line_bytes_max) {
        Ok(line_bytes_max) if problems.is_empty() => {
            Ok((Plan { workers, connection_threads, line_bytes_max }, addresses))
        }
        _ => Err(problems),
    }
}

fn listen_on_one_of(addresses: &[SocketAddr]) -> Result<TcpListener, BuildError> {
    let mut failed = None;
    for &address in addresses {
        match listen_on(address) {
            Ok(listener) => {
                if !address.ip().is_loopback() {
                    tracing::warn!(%address, "Listening where other hosts can connect.");
                }
                return Ok(listener);
            }
            Err(source) => failed = failed.or(Some(BuildError::Listen { address, source })),
        }
    }
    Err(failed.unwrap_or_else(|| BuildError::Invalid(vec![Problem::NoAddress])))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On Unix this lets a server come back while old connections are still winding up. On Windows it would let somebody else
    // take the address away.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).expect("the backlog is a small number"))?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn join(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
