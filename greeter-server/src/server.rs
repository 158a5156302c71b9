//! The threads of a server: how they are wired, and how they end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::{ClientId, CloseReason, Greeter, Phase, Responder, Terms};
use mio::Poll;
use mio::net::TcpListener;

use crate::acceptor::{Close, Entrance, Order, Reception};
use crate::admission::{Door, Room};
use crate::buffers::Buffers;
use crate::builder::{Builder, Plan};
use crate::connection_thread::{ConnectionThread, House, Mail, READ_BYTES};
use crate::crew::Crew;
use crate::descriptors::connections_possible;
use crate::limits::Limits;
use crate::mailbox::{Inbox, Mailbox, mailbox};
use crate::pool::{Placement, Pool, PoolLimits, Task};
use crate::posts::{Duty, Post, Posts, WorkerInfo};
use crate::push::Push;
use crate::stats::{ByReason, Counters, Stats, total};
use crate::switchboard::{ConnectionInfo, Switchboard};
use crate::sync::{Sender, channel};
use crate::ticker::{Clockwork, Moment, ticker};
use crate::watch::Watch;

/// How much longer than the deadline of a stop the responder may take to come back.
const GRACE: Duration = Duration::from_millis(500);

/// How long a list of connections waits for a thread that is busy with something else.
const LIST_TIMEOUT: Duration = Duration::from_secs(1);

/// As good as for ever, and still a time that the clock can tell: a year.
const FAR_AWAY: Duration = Duration::from_secs(365 * 24 * 3600);

/// A server that holds its addresses but does not serve yet.
#[derive(Debug)]
#[must_use = "a server serves once it runs or is spawned"]
pub struct Server<R> {
    responder: R,
    push: Push,
    plan: Plan,
    /// Those of the listeners, in the same order.
    addresses: Vec<SocketAddr>,
    listeners: Vec<TcpListener>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {what}")]
pub struct StartError {
    what: String,
    source: io::Error,
}

impl Server<Greeter> {
    /// Describes a server. Without further words it greets.
    pub fn builder() -> Builder<Greeter> {
        Builder::new()
    }
}

impl<R: Responder> Server<R> {
    pub(crate) const fn new(
        responder: R,
        push: Push,
        plan: Plan,
        addresses: Vec<SocketAddr>,
        listeners: Vec<TcpListener>,
    ) -> Self {
        Self { responder, push, plan, addresses, listeners }
    }

    /// The address of the first listener, with its real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The addresses of all listeners, in the order in which they were asked for.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves on this thread and others, for as long as the process lives.
    ///
    /// # Errors
    ///
    /// [`StartError`] when a thread or something else that it takes cannot be had.
    pub fn run(self) -> Result<(), StartError> {
        self.spawn()?.wait();
        Ok(())
    }

    /// Serves on threads of its own, until the handle is told to [shut down](ServerHandle::shutdown) or dropped.
    ///
    /// # Errors
    ///
    /// [`StartError`] when a thread or something else that it takes cannot be had. What was started until then is stopped.
    pub fn spawn(self) -> Result<ServerHandle, StartError> {
        let Plan { workers, connection_threads, line_bytes_max, timeouts, .. } = self.plan;
        let limits = self.limits_here();
        let (mailboxes, inboxes) = mailboxes(connection_threads).map_err(StartError::of("a connection thread"))?;
        let counters: Vec<Arc<Counters>> = (0..=connection_threads).map(|_| Arc::default()).collect();
        // The first connection thread keeps the entrance.
        let (orders, orders_to_follow) = mailboxes[0].another();
        let door = Arc::new(Door::new(Room::of(&limits), orders.clone()));
        let responder = Arc::new(self.responder);
        let terms = Terms::new(line_bytes_max, timeouts.deadlines(), &*responder);
        let terms = Arc::new(terms.when_refused(limits.when_refused));
        let reception = Reception {
            inbox: orders_to_follow,
            threads: mailboxes.clone(),
            door: Arc::clone(&door),
            terms: Arc::clone(&terms),
            linger: timeouts.linger,
            counters: Arc::clone(&counters[connection_threads]),
        };
        let entrance = Entrance::new(self.listeners, inboxes[0].1.registry(), reception);
        let entrance = Arc::new(entrance.map_err(StartError::of("the acceptor"))?);
        let switchboard: Arc<dyn Switchboard> = Arc::new(mailboxes.clone());
        self.push.connect(Arc::<dyn Switchboard>::clone(&switchboard));
        // From here on, leaving early drops the handle, which stops what was started.
        let handle = ServerHandle {
            addresses: self.addresses,
            limits,
            counters,
            door,
            buffers: Arc::new(Buffers::new(limits.buffer_bytes_max)),
            posts: Arc::default(),
            push: self.push,
            acceptor: orders,
            entrance: Arc::<Entrance<_>>::clone(&entrance),
            switchboard,
            threads: Crew::new(),
        };

        // From the end of the flow to its start, so that whoever begins finds the next one there.
        let (tasks, tasks_to_do) = channel();
        let (winder, clockwork) = ticker();
        if workers == 0 {
            handle.start_ticking(clockwork, |_| false)?;
        } else {
            let pool = Arc::new(Pool {
                responder: Arc::clone(&responder),
                terms: Arc::clone(&terms),
                tasks: tasks_to_do,
                mailboxes,
                posts: Arc::clone(&handle.posts),
                buffers: Arc::clone(&handle.buffers),
                ticker: Arc::clone(&winder.ticker),
                limits: PoolLimits::of(&self.plan),
            });
            handle.start_pool(&pool, &tasks, clockwork)?;
        }
        let unsent_bytes_max = limits.unsent_bytes_max;
        let buffers = Arc::clone(&handle.buffers);
        let house = House { terms, buffers, unsent_bytes_max, read_bytes: READ_BYTES };
        for (number, (inbox, poll)) in inboxes.into_iter().enumerate() {
            let placement = match workers {
                0 => Placement::InPlace { responder: Arc::clone(&responder), unsent_bytes_max, winder: winder.clone() },
                _ => Placement::pool(tasks.clone(), workers, winder.clone()),
            };
            let counters = Arc::clone(&handle.counters[number]);
            let thread = ConnectionThread::new(number, placement, poll, inbox, house.clone(), counters);
            let entrance = (number == 0).then(|| Arc::clone(&entrance));
            let name = format!("greeter-conn-{number}");
            let start = handle.threads.start(name, move || thread.run(entrance.as_deref()));
            start.map_err(StartError::of("a connection thread"))?;
        }
        handle.say_ready(connection_threads, workers);
        Ok(handle)
    }

    /// The limits, as far as this process can keep them.
    fn limits_here(&self) -> Limits {
        let Plan { mut limits, workers, connection_threads, .. } = self.plan;
        let possible = connections_possible(self.listeners.len(), connection_threads + workers);
        if possible < limits.connections_max {
            let asked = limits.connections_max;
            tracing::warn!(asked, possible, "The limit of open files allows fewer connections.");
            limits.connections_max = possible;
        }
        limits
    }
}

impl StartError {
    fn of(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        |source| Self { what: what.into(), source }
    }
}

type Mailboxes<S> = Vec<Mailbox<Mail<S>>>;
type Inboxes<S> = Vec<(Inbox<Mail<S>>, Poll)>;

/// A mailbox for each connection thread, and the threads' own ends.
fn mailboxes<S>(threads: usize) -> io::Result<(Mailboxes<S>, Inboxes<S>)> {
    (0..threads).map(|_| mailbox().map(|(mailbox, inbox, poll)| (mailbox, (inbox, poll)))).collect()
}

/// A server at work.
///
/// Dropping it stops the server at once, as [`shutdown`](Self::shutdown) does that has no time.
#[must_use = "dropping the handle stops the server"]
pub struct ServerHandle {
    addresses: Vec<SocketAddr>,
    limits: Limits,
    counters: Vec<Arc<Counters>>,
    door: Arc<Door>,
    buffers: Arc<Buffers>,
    posts: Arc<Posts>,
    push: Push,
    acceptor: Mailbox<Order>,
    entrance: Arc<dyn Close>,
    switchboard: Arc<dyn Switchboard>,
    /// The connection threads, the workers and the watch.
    threads: Crew,
}

impl ServerHandle {
    fn say_ready(&self, connection_threads: usize, workers: usize) {
        let Self { addresses, limits, .. } = self;
        let connections_max = limits.connections_max;
        let memory_bytes_max = limits.memory_bytes_max(connection_threads, workers);
        tracing::info!(?addresses, workers, connection_threads, connections_max, memory_bytes_max, "Server is ready.");
    }

    fn start_pool<R: Responder>(
        &self,
        pool: &Arc<Pool<R>>,
        tasks: &Sender<Task<R::Session>>,
        clockwork: Clockwork,
    ) -> Result<(), StartError> {
        let mut recruit = {
            let (pool, recruiter) = (Arc::clone(pool), self.threads.recruiter());
            let mut numbers = 0_usize..;
            move |post: &Arc<Post>| {
                let (pool, post) = (Arc::clone(&pool), Arc::clone(post));
                let number = numbers.next().unwrap_or_default();
                recruiter.start(format!("greeter-work-{number}"), move || pool.work(&post))
            }
        };
        let workers = pool.limits.workers;
        for post in self.posts.fill(workers, workers) {
            recruit(&post).map_err(StartError::of("a worker"))?;
        }
        let mut watch = Watch::new(Arc::clone(pool), recruit, tasks.clone());
        self.start_ticking(clockwork, move |now| watch.look_around(now))
    }

    /// Starts the ticker, and with it the watch over the workers, where there are any.
    fn start_ticking(
        &self,
        clockwork: Clockwork,
        mut look_around: impl FnMut(Moment) -> bool + Send + 'static,
    ) -> Result<(), StartError> {
        let threads = Arc::clone(&self.switchboard);
        let life = move || clockwork.run(|now| look_around(now) || !threads.are_asleep());
        self.threads.start("greeter-watch".to_owned(), life).map_err(StartError::of("the ticker"))
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// How long it took from the call to the end of the last thread.
    pub took: Duration,
    /// Everything the server has counted in its life; no connection is left.
    pub stats: Stats,
    /// Lines that were answered while it drained.
    pub replies: u64,
    /// Lines that were lost while it drained.
    pub discarded: u64,
    /// The same, by the reason for which their connections ended.
    pub discarded_by: ByReason,
    /// Connections that were not done by the deadline.
    pub overran: u64,
    /// Connections that were told that there is no room for them. The last clients that the system had connected are among them, where
    /// the server was full.
    pub turned_away: u64,
    /// Threads that were left behind since the responder did not come back.
    pub threads_left: usize,
}

impl ServerHandle {
    /// The address of the first listener, with its real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The addresses of all listeners, in the order in which they were asked for.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What the server takes on. The number of connections is that for which there are descriptors.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// What the server has counted so far, and how things stand.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let workers_stuck = self.posts.all().iter().filter(|post| matches!(post.look(), Duty::Overdue(_))).count();
        Stats {
            serving: self.door.served() as u64,
            buffer_bytes: self.buffers.bytes() as u64,
            workers_stuck: workers_stuck as u64,
            ..total(&self.counters)
        }
    }

    /// The connections, in no particular order: who they are, what they are doing, and for how long. Asks every connection thread,
    /// and waits for each that is in the middle of something, for a second at most; one that does not come back from the
    /// responder in that time has its connections left out.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let (sender, lists) = crossbeam_channel::unbounded();
        self.switchboard.list(&sender);
        drop(sender);
        let deadline = Instant::now() + LIST_TIMEOUT;
        let mut connections = Vec::new();
        while let Ok(list) = lists.recv_deadline(deadline) {
            connections.extend(list);
        }
        // A connection knows that its job is away. Whether somebody is at it is known at the posts.
        let answered: Vec<_> = self.posts.all().iter().filter_map(|post| post.look().assignment()).collect();
        for connection in &mut connections {
            let is_at_hand = answered.iter().any(|assignment| assignment.peer.id == connection.peer.id);
            if connection.phase == Phase::Answering && !is_at_hand {
                connection.phase = Phase::Queued;
            }
        }
        connections
    }

    /// The workers: whom each is answering, and for how long; first of all those that do not come back.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let now = Instant::now();
        let mut workers: Vec<_> = self.posts.all().iter().filter_map(|post| post.look().info(now)).collect();
        workers.sort_by_key(|worker| !matches!(worker, WorkerInfo::Stuck { .. }));
        workers
    }

    /// Cuts a client off. What it is still owed is lost. One that has left already is not missed.
    pub fn kill(&self, client: ClientId) {
        self.switchboard.kill(client);
    }

    /// Lets nobody in until [`resume`](Self::resume). Clients can still connect, as far as the system's backlog goes, and wait there.
    pub fn pause(&self) {
        self.acceptor.send(Order::Pause);
    }

    /// Lets clients in again.
    pub fn resume(&self) {
        self.acceptor.send(Order::Resume);
    }

    /// Says something to clients that have not asked.
    #[must_use]
    pub const fn push(&self) -> &Push {
        &self.push
    }

    /// Stops. Nobody is let in any more; every complete line that has arrived is answered; clients read their replies and then
    /// the end of the stream. Returns once the last thread has ended.
    ///
    /// Whatever is not done `within` this time is cut off, and the report says so. A responder that does not come back cannot
    /// be ended: half a second after the deadline its thread is left behind.
    pub fn shutdown(mut self, within: Duration) -> DrainReport {
        self.stop(within)
    }

    /// Waits for ever, since a server ends only by its handle.
    fn wait(self) {
        self.threads.join();
    }

    fn stop(&mut self, within: Duration) -> DrainReport {
        let began = Instant::now();
        let before = self.stats();
        let deadline = began + within.min(FAR_AWAY);
        self.posts.close_at(deadline);
        // First, so that the last clients come to the connection threads before the order to stop does.
        self.entrance.close();
        self.switchboard.stop(deadline);
        // Where there is no pool, nobody can tell of a connection thread whether it is with the responder.
        let has_pool = !self.posts.all().is_empty();
        let held_up = || if has_pool { self.posts.with_responder() } else { usize::MAX };
        let threads_left = self.threads.join_until(deadline + GRACE, held_up);
        self.entrance.see_off(deadline);
        let stats = self.stats();
        let since = |reason: CloseReason| stats.closed_by[reason] - before.closed_by[reason];
        let report = DrainReport {
            took: began.elapsed(),
            stats,
            replies: stats.replies - before.replies,
            discarded: stats.discarded - before.discarded,
            discarded_by: stats.discarded_by.since(&before.discarded_by),
            overran: since(CloseReason::ByShutdownDeadline),
            turned_away: since(CloseReason::ServerFull) + since(CloseReason::AddressFull),
            threads_left,
        };
        for (reason, lines) in report.discarded_by.iter() {
            tracing::warn!(lines, %reason, "Lines were left without an answer.");
        }
        let DrainReport { took, replies, discarded, overran, turned_away, .. } = report;
        tracing::info!(?took, replies, discarded, overran, threads_left, turned_away, "Server has stopped.");
        report
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.stop(Duration::ZERO);
        }
    }
}
