//! The settings of one world.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use greeter_core::{ConnectionConfig, ConnectionTimeouts, LineEnding, Parallel, WhenRejected};

use super::clock::SimulatedClock;
use super::random::Random;
use super::responder::ScriptedResponder;
use super::toy_tls::ToyTls;

use crate::config::Config;
use crate::entry_rules::{EntryRules, ProxyNetworks, TlsRule};
use crate::limits::{Limits, Timeouts, WhenFull};
use crate::pool::executor::Executor;
use crate::pool::worker::Task;
use crate::pool::worker_registry::WorkerRegistry;
use crate::ticker::TickerWaker;

/// The address of the proxy.
pub(super) const PROXY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// The server's settings, and what the world may do to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) max_line_bytes: usize,
    pub(super) read_bytes: usize,
    pub(super) max_unsent_bytes: usize,
    pub(super) max_buffer_bytes: usize,
    pub(super) may_be_overloaded: bool,
    pub(super) timeouts: ConnectionTimeouts,
    pub(super) queue: Option<Duration>,
    /// How long a worker may be in a call. A late answer has the same time in place, too.
    pub(super) reply: Option<Duration>,
    /// How often the watchdog checks. A ticker may be late, where other processes have the
    /// processor.
    pub(super) check_interval: Duration,
    /// 0: the connection threads answer in place.
    pub(super) workers: usize,
    pub(super) threads: usize,
    pub(super) clients: usize,
    pub(super) max_connections: usize,
    pub(super) per_address_max: Option<usize>,
    pub(super) may_be_full: bool,
    pub(super) waits_when_full: bool,
    pub(super) when_rejected: WhenRejected,
    pub(super) line_ending: Option<LineEnding>,
    /// How many rejected clients are kept.
    pub(super) max_rejected: usize,
    /// Whether sockets break, and calls are interrupted.
    pub(super) has_faults: bool,
    /// Whether the host program pushes lines and kills clients.
    pub(super) has_active_host: bool,
    /// Whether the process stands still now and then, as after SIGSTOP.
    pub(super) may_be_suspended: bool,
    /// How long the server has for its stop.
    pub(super) drain: Duration,
    pub(super) drain_spread: Duration,
    pub(super) session: Option<Duration>,
    pub(super) max_accept_rate: Option<usize>,
    /// How many lines of one client are answered side by side.
    pub(super) in_parallel: usize,
    /// Whether clients come through a proxy, with a PROXY header.
    pub(super) has_proxy: bool,
    /// Whether clients speak TLS, behind such a header; and how much their records carry.
    pub(super) has_tls: bool,
    pub(super) max_record: usize,
    /// How long a header and a handshake may take.
    pub(super) handshake: Duration,
    pub(super) max_handshakes: usize,
    /// Whether the responder has something to say to who has stopped sending.
    pub(super) wants_end: bool,
}

impl Rules {
    pub(super) fn random(random: &mut Random) -> Self {
        let seconds = |random: &mut Random, range| {
            (!random.one_in(3)).then(|| Duration::from_millis(random.within(range) as u64))
        };
        let clients = if random.one_in(50) { random.within(20..60) } else { random.within(1..9) };
        let max_connections = if random.one_in(4) { random.within(1..4) } else { 1000 };
        let per_address_max = random.one_in(6).then(|| random.within(1..4));
        let may_be_overloaded = random.one_in(6);
        let workers = random.below(4);
        let reply = seconds(random, 100..30_000);
        Self {
            max_line_bytes: random.pick(&[12, 16, 40, 100]),
            read_bytes: random.pick(&[1, 7, 16, 64, 300, 5000]),
            max_unsent_bytes: random.pick(&[1, 50, 300, 4000, 20_000]),
            max_buffer_bytes: if may_be_overloaded { 8192 } else { usize::MAX },
            may_be_overloaded,
            timeouts: ConnectionTimeouts {
                idle: seconds(random, 1500..60_000),
                line: seconds(random, 1500..20_000),
                reply,
                write: seconds(random, 1500..40_000),
                linger: Duration::from_millis(random.pick(&[1500, 2000])),
            },
            queue: seconds(random, 20..6_000),
            reply: reply.filter(|_| workers > 0),
            check_interval: Duration::from_millis(random.pick(&[10, 50, 250])),
            workers,
            threads: if random.one_in(3) { 2 } else { 1 },
            clients,
            max_connections,
            per_address_max,
            may_be_full: max_connections < 2 * clients || per_address_max.is_some(),
            waits_when_full: random.one_in(2),
            when_rejected: random.pick(&[WhenRejected::Continue, WhenRejected::Close]),
            line_ending: random.pick(&[None, None, Some(LineEnding::Lf), Some(LineEnding::CrLf)]),
            max_rejected: random.pick(&[1, 3, 63]),
            has_faults: random.one_in(3),
            has_active_host: random.one_in(3),
            may_be_suspended: random.one_in(3),
            drain: Duration::from_millis(random.pick(&[0, 30, 3000, 30_000])),
            drain_spread: Duration::from_millis(random.pick(&[0, 0, 20, 10_000])),
            session: random.pick(&[None, None, Some(Duration::from_secs(3))]),
            max_accept_rate: random.pick(&[None, None, Some(20)]),
            in_parallel: random.pick(&[1, 1, 2, 5]),
            has_proxy: random.one_in(3),
            has_tls: random.one_in(3),
            max_record: random.pick(&[1, 20, 300, 2000, 16_000]),
            handshake: Duration::from_millis(random.pick(&[1500, 5000])),
            max_handshakes: random.pick(&[1, 2, 1000]),
            wants_end: random.one_in(2),
        }
    }

    /// Returns what is asked of clients.
    pub(super) fn entry_rules(&self, tls: &Arc<ToyTls>) -> EntryRules {
        let proxies = self.has_proxy.then(|| ProxyNetworks::parse([PROXY.to_string()]).expect("it is an address"));
        EntryRules { proxies, tls: self.has_tls.then(|| TlsRule::AtOnce(Arc::<ToyTls>::clone(tls))), origin: None }
    }

    /// Returns whether a newcomer may have to make room for another client.
    pub(super) const fn has_crowds(&self) -> bool {
        self.max_handshakes < 1000 || self.max_connections < 1000
    }

    /// Returns whether a line may be rejected because no worker is free to answer it.
    pub(super) const fn may_be_busy(&self) -> bool {
        self.workers > 0 && (self.queue.is_some() || self.reply.is_some())
    }

    /// Returns how to end what is sent for a line that ended so.
    pub(super) fn ending_for(&self, request: &'static str) -> &'static str {
        match self.line_ending {
            None => request,
            Some(LineEnding::Lf) => "\n",
            Some(LineEnding::CrLf) => "\r\n",
        }
    }

    /// Returns the configuration of the server in this world, with this responder.
    pub(super) fn config(&self, responder: &ScriptedResponder) -> Config {
        let ConnectionTimeouts { line, idle, write, linger, .. } = self.timeouts;
        let connection = ConnectionConfig::new(self.max_line_bytes as u32, self.timeouts, responder);
        Config {
            workers: self.workers,
            connection_threads: self.threads,
            limits: Limits {
                max_connections: self.max_connections,
                max_connections_per_address: self.per_address_max,
                when_full: if self.waits_when_full { WhenFull::Wait } else { WhenFull::Reject },
                when_rejected: self.when_rejected,
                max_line_bytes: self.max_line_bytes,
                max_data_bytes: 0,
                in_parallel: self.in_parallel,
                max_unsent_bytes: self.max_unsent_bytes,
                max_buffer_bytes: self.max_buffer_bytes,
                max_handshakes: self.max_handshakes,
                max_accept_rate: self.max_accept_rate,
                max_handshake_bytes: 4096,
                max_tls_connections: 0,
            },
            timeouts: Timeouts {
                line,
                idle,
                write,
                reply: self.reply,
                queue: self.queue,
                handshake: self.handshake,
                linger,
                session: self.session,
                drain_spread: self.drain_spread,
            },
            read_bytes: self.read_bytes,
            is_quiet: false,
            spare_descriptors: 0,
            connection: connection.when_rejected(self.when_rejected).line_ending(self.line_ending),
        }
    }

    pub(super) fn executor(
        &self,
        responder: &Arc<ScriptedResponder>,
        config: &Arc<Config>,
        tasks: &Sender<Task<u32>>,
        registry: &Arc<WorkerRegistry>,
        clock: &SimulatedClock,
    ) -> Executor<ScriptedResponder> {
        let ticker_waker = TickerWaker::of(Arc::clone(&clock.ticker));
        let mut executor = match self.workers {
            0 => Executor::in_place(Arc::clone(responder), Arc::clone(config), ticker_waker),
            _ => Executor::pool(tasks.clone(), Arc::clone(registry), config, ticker_waker),
        };
        // A server does that for sessions of `()`. A number that nobody changes is as good.
        let (Executor::InPlace { parallel, .. } | Executor::Pool { parallel, .. }) = &mut executor;
        *parallel = (self.in_parallel > 1).then(|| Parallel::new(self.in_parallel, self.max_unsent_bytes));
        executor
    }

    /// Returns how much later than its time something may happen, because threads are busy: without
    /// workers, they answer every client's lines.
    pub(super) fn slack(&self) -> Duration {
        Duration::from_millis(300 + 10 * self.clients as u64)
    }
}
