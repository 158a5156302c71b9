//! Turns options into the one validated configuration that all threads share. Must not touch the
//! network.

use std::any::{Any, TypeId};
use std::io;
use std::thread;
use std::time::Duration;

use greeter_core::{BareLf, ClientId, ConnectionConfig, LineEnding, Parallel, Responder, WhenRejected, WhenTooLong};

use crate::limits::{Limits, READ_BYTES, Timeouts};
use crate::slots::THREAD_BITS;
use crate::sockets::TcpOptions;

/// The maximum number of connection threads, and of workers.
const MAX_THREADS: usize = 1 << THREAD_BITS;
const MAX_CONNECTIONS: usize = 10_000_000;
/// More than any system accepts.
const MAX_ACCEPT_RATE: usize = 1_000_000;
/// The maximum number of lines of one client that are answered side by side.
const MAX_IN_PARALLEL: usize = 1024;
const GIB: usize = 1024 * 1024 * 1024;

/// The shortest timeout: the shortest time worth measuring.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// The only timeout that cannot be none.
const HANDSHAKE_TIMEOUT: &str = "handshake_timeout";

/// Options before validation; `None` where the default depends on the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) placement: Placement,
    pub(crate) connection_threads: Option<usize>,
    /// All limits but the memory budget.
    pub(crate) limits: Limits,
    pub(crate) max_buffer_bytes: Option<usize>,
    pub(crate) timeouts: Timeouts,
    pub(crate) line_ending: Option<LineEnding>,
    pub(crate) bare_lf: BareLf,
    pub(crate) when_too_long: WhenTooLong,
    pub(crate) telnet: bool,
    pub(crate) tcp: TcpOptions,
    pub(crate) is_quiet: bool,
    /// How many descriptors are left to others.
    pub(crate) spare_descriptors: usize,
}

/// Which threads answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// Workers, one for each processor.
    WorkerPerProcessor,
    /// This many workers.
    Workers(usize),
    /// The connection threads.
    InPlace,
}

/// Validated configuration, shared by all threads of a server.
#[derive(Debug)]
pub(crate) struct Config {
    /// How many workers there are. 0: connection threads answer in place.
    pub(crate) workers: usize,
    pub(crate) connection_threads: usize,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    /// How many bytes are read at once: [`READ_BYTES`], but for simulated worlds.
    pub(crate) read_bytes: usize,
    /// Whether it is `debug` who comes and goes, and when the server does.
    pub(crate) is_quiet: bool,
    /// How many descriptors are left to others.
    pub(crate) spare_descriptors: usize,
    /// What the state machine of a connection needs, with the rejections in the responder's own
    /// form.
    pub(crate) connection: ConnectionConfig,
}

/// One invalid option.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no address to listen on.
    #[error("no address to listen on")]
    NoAddress,
    /// An address that is none, or a name that cannot be resolved.
    #[error("cannot listen on {address}: {reason}")]
    Address {
        /// The address as `Debug` shows it: of a text, with its quotes.
        address: String,
        /// The resolver's error.
        reason: io::Error,
    },
    /// A listener whose address says `tls:` was given no certificate, or this server was built
    /// without the feature `tls`.
    #[cfg_attr(feature = "tls", error("an address with tls: needs a certificate and its key"))]
    #[cfg_attr(not(feature = "tls"), error("an address with tls: needs greeter-server's feature tls"))]
    NoCertificate,
    /// A listener was given TLS at once, perhaps by its address, and TLS on request.
    #[error("clients of one listener speak TLS at once, as behind tls:, or on request")]
    TlsTwice,
    /// A network of proxies that is none.
    #[error("{network:?} is no network: write 10.0.0.0/8, 192.0.2.1, 2001:db8::/32 or unix")]
    Network {
        /// The network, as given.
        network: String,
    },
    /// A number that is too small or too large.
    #[error("{option} is {value}, but must be {}", range(*.min, *.max))]
    OutOfRange {
        /// The option, by the name of its method on [`Builder`](crate::Builder), or on the
        /// [`Responder`](crate::Responder).
        option: &'static str,
        /// The value, as given.
        value: usize,
        /// The minimum.
        min: usize,
        /// The maximum.
        max: usize,
    },
    /// Lines of one client cannot be answered [side by side](crate::Builder::in_parallel).
    #[error("in_parallel is {lines}, but the responder {reason}")]
    NotInParallel {
        /// The value, as given.
        lines: usize,
        /// What keeps the lines from being answered so, in words.
        reason: &'static str,
    },
    /// A timeout below the minimum.
    #[error("{option} is {}, but must be at least {min:?}{}", time_in_words(*value), or_none(option))]
    TooShort {
        /// The option, by the name of its method on [`Builder`](crate::Builder).
        option: &'static str,
        /// The value, as given.
        value: Duration,
        /// The minimum.
        min: Duration,
    },
}

impl Options {
    /// Returns the options that a server which was started with others can have while it runs, and
    /// the names of those that it cannot: its threads and listeners are there, and how lines are
    /// framed is agreed with those who are connected.
    pub(crate) fn of_running(self, started_with: &Self) -> (Self, Vec<&'static str>) {
        let Self { placement, connection_threads, line_ending, bare_lf, when_too_long, telnet, tcp, .. } =
            *started_with;
        let needs_restart = [
            ("workers", self.placement == placement),
            ("connection_threads", self.connection_threads == connection_threads),
            ("line_ending", self.line_ending == line_ending),
            ("bare_lf", self.bare_lf == bare_lf),
            ("when_too_long", self.when_too_long == when_too_long),
            ("telnet", self.telnet == telnet),
            ("tcp_keepalive", self.tcp.keepalive == tcp.keepalive),
        ];
        let needs_restart = needs_restart.into_iter().filter(|(_, is_same)| !is_same).map(|(name, _)| name).collect();
        let options = Self { placement, connection_threads, line_ending, bare_lf, when_too_long, telnet, tcp, ..self };
        (options, needs_restart)
    }

    /// Validates the options of a server with this responder, and returns either its configuration,
    /// without listeners, or all invalid options.
    pub(crate) fn validate<R: Responder>(self, responder: &R) -> Result<Config, Vec<ConfigError>> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let (workers, min_workers) = match self.placement {
            Placement::WorkerPerProcessor => (processors.min(MAX_THREADS), 1),
            Placement::Workers(workers) => (workers, 1),
            Placement::InPlace => (0, 0),
        };
        let connection_threads = self.connection_threads.unwrap_or(processors.div_ceil(2));
        let Self { mut limits, timeouts, .. } = self;
        let timeouts = timeouts.within_reach();
        limits.max_data_bytes = responder.max_data_bytes();
        if limits.max_data_bytes > 0 {
            // Behind a line that may have announced bytes, nobody knows what is a line.
            limits.when_rejected = WhenRejected::Close;
        }
        let min_buffer_bytes = limits.bytes_per_client();
        limits.max_buffer_bytes = self.max_buffer_bytes.unwrap_or(limits.max_buffer_bytes.max(min_buffer_bytes));
        let per_address = limits.max_connections_per_address.unwrap_or(1);
        let numbers = [
            in_range("workers", workers, min_workers, MAX_THREADS),
            in_range("connection_threads", connection_threads, 1, MAX_THREADS),
            in_range("in_parallel", limits.in_parallel, 1, MAX_IN_PARALLEL),
            in_range("max_connections", limits.max_connections, 1, MAX_CONNECTIONS),
            in_range("max_connections_per_address", per_address, 1, MAX_CONNECTIONS),
            in_range("max_accept_rate", limits.max_accept_rate.unwrap_or(1), 1, MAX_ACCEPT_RATE),
            in_range("max_handshakes", limits.max_handshakes, 1, MAX_CONNECTIONS),
            in_range("max_line_bytes", limits.max_line_bytes, 1, ConnectionConfig::MAX_LINE_BYTES as usize),
            in_range("max_data_bytes", limits.max_data_bytes, 0, ConnectionConfig::MAX_DATA_BYTES as usize),
            in_range("max_unsent_bytes", limits.max_unsent_bytes, 1, GIB),
            in_range("max_buffer_bytes", limits.max_buffer_bytes, min_buffer_bytes, usize::MAX),
        ];
        let not_in_parallel = not_in_parallel::<R>(&limits);
        let errors: Vec<_> = numbers.into_iter().flatten().chain(not_in_parallel).chain(too_short(&timeouts)).collect();
        match u32::try_from(limits.max_line_bytes) {
            Ok(max_line_bytes) if errors.is_empty() => {
                let connection = ConnectionConfig::new(max_line_bytes, timeouts.of_connections(), responder);
                let connection = connection
                    .when_rejected(limits.when_rejected)
                    .when_too_long(self.when_too_long)
                    .bare_lf(self.bare_lf)
                    .line_ending(self.line_ending)
                    .telnet(self.telnet);
                let Self { is_quiet, spare_descriptors, .. } = self;
                Ok(Config {
                    workers,
                    connection_threads,
                    limits,
                    timeouts,
                    read_bytes: READ_BYTES,
                    is_quiet,
                    spare_descriptors,
                    connection,
                })
            }
            _ => Err(errors),
        }
    }
}

impl Config {
    /// Returns how lines of one client are answered side by side, if they are. Only a session that
    /// nothing can change is the same for all of them.
    pub(crate) fn parallel<S: 'static>(&self) -> Option<Parallel<S>> {
        let (lines, bytes) = (self.limits.in_parallel, self.limits.max_unsent_bytes);
        let parallel: [Box<dyn Any>; 2] =
            [Box::new(Parallel::<()>::new(lines, bytes)), Box::new(Parallel::<ClientId>::new(lines, bytes))];
        let mut of_session = parallel.into_iter().filter_map(|parallel| parallel.downcast().ok());
        of_session.next().filter(|_| lines > 1).map(|parallel| *parallel)
    }
}

#[cfg(test)]
impl Config {
    /// Returns a configuration with one worker, no timeouts, and limits that no test reaches by
    /// chance.
    pub(crate) fn without_timeouts<R: Responder>(responder: &R) -> Self {
        let timeouts = Timeouts { line: None, idle: None, write: None, reply: None, queue: None, ..Timeouts::DEFAULT };
        let limits = Limits { max_line_bytes: 1000, max_unsent_bytes: 1 << 20, ..Limits::DEFAULT };
        let connection = ConnectionConfig::new(1000, timeouts.of_connections(), responder);
        Self {
            workers: 1,
            connection_threads: 1,
            limits,
            timeouts,
            read_bytes: READ_BYTES,
            is_quiet: false,
            spare_descriptors: crate::limits::SPARE_DESCRIPTORS,
            connection,
        }
    }
}

/// Returns an error if lines of one client are to be answered side by side, and the responder is
/// not one for that.
fn not_in_parallel<R: Responder>(limits: &Limits) -> Option<ConfigError> {
    let session = TypeId::of::<R::Session>();
    let has_sessions = ![TypeId::of::<()>(), TypeId::of::<ClientId>()].contains(&session);
    let reason = match limits.max_data_bytes {
        _ if has_sessions => "has sessions: its `Session` is not `()` or `ClientId`",
        0 => return None,
        _ => "reads counted bytes: its `max_data_bytes` is not 0",
    };
    let lines = limits.in_parallel;
    (lines > 1).then_some(ConfigError::NotInParallel { lines, reason })
}

/// Returns an error for each timeout below the minimum.
fn too_short(timeouts: &Timeouts) -> impl Iterator<Item = ConfigError> + use<> {
    let times = [
        ("line_timeout", timeouts.line),
        ("idle_timeout", timeouts.idle),
        ("write_timeout", timeouts.write),
        ("reply_timeout", timeouts.reply),
        ("queue_timeout", timeouts.queue),
        ("max_session_time", timeouts.session),
        (HANDSHAKE_TIMEOUT, Some(timeouts.handshake)),
    ];
    times.into_iter().filter_map(|(option, time)| {
        let value = time.filter(|time| *time < MIN_TIMEOUT)?;
        Some(ConfigError::TooShort { option, value, min: MIN_TIMEOUT })
    })
}

/// Returns an error if the value of an option is not in its range.
fn in_range(option: &'static str, value: usize, min: usize, max: usize) -> Option<ConfigError> {
    (value < min || max < value).then_some(ConfigError::OutOfRange { option, value, min, max })
}

/// Returns a time in words. To `Debug`, none at all is one of nanoseconds.
fn time_in_words(time: Duration) -> String {
    if time.is_zero() { "0s".to_owned() } else { format!("{time:?}") }
}

/// Returns what else an option may be than a time: nothing for the one that always is one.
fn or_none(option: &str) -> &'static str {
    if option == HANDSHAKE_TIMEOUT { "" } else { ", or none at all" }
}

/// Returns the allowed numbers in words.
fn range(min: usize, max: usize) -> String {
    if max == usize::MAX { format!("at least {min}") } else { format!("from {min} to {max}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Server;

    #[test]
    fn a_time_that_is_too_short_says_whether_there_may_be_none() {
        let error = Server::builder().handshake_timeout(Duration::ZERO).idle_timeout(Duration::ZERO);
        let said = error.bind("127.0.0.1:0").err().unwrap().to_string();
        assert_eq!(
            said,
            "idle_timeout is 0s, but must be at least 1ms, or none at all; \
             handshake_timeout is 0s, but must be at least 1ms"
        );
    }
}
