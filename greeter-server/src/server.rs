//! The threads of a server: how they are wired, and how they end.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use greeter_core::{Address, ClientId, ConnectionConfig, Greeter, Phase, Responder};
use mio::Poll;
use mio::net::TcpListener;

use crate::acceptor::{Entrance, Order, Reception};
use crate::admission::{Door, Room};
use crate::buffers::Buffers;
use crate::builder::{Builder, Plan};
use crate::connection_thread::{ConnectionThread, House, Mail, READ_BYTES};
use crate::control::{Control, DrainReport, ShutdownTrigger, deadline_in};
use crate::crew::Crew;
use crate::descriptors::connections_possible;
use crate::limits::Limits;
use crate::mailbox::{Inbox, Mailbox, mailbox};
use crate::pool::{Placement, Pool, PoolLimits, Task};
use crate::posts::{Post, WorkerInfo};
use crate::push::Push;
use crate::stats::{Counters, Stats};
use crate::switchboard::{ConnectionInfo, Switchboard};
use crate::sync::{Sender, channel};
use crate::ticker::{Clockwork, Moment, ticker};
use crate::watch::Watch;

/// How long a list of connections waits for a thread that is busy with something else.
const LIST_TIMEOUT: Duration = Duration::from_secs(1);

/// A server that holds its addresses but does not serve yet.
#[derive(Debug)]
#[must_use = "a server serves once it runs or is spawned"]
pub struct Server<R> {
    responder: R,
    push: Push,
    trigger: ShutdownTrigger,
    plan: Plan,
    /// Those of the listeners, in the same order.
    addresses: Vec<Address>,
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
        trigger: ShutdownTrigger,
        plan: Plan,
        addresses: Vec<Address>,
        listeners: Vec<TcpListener>,
    ) -> Self {
        Self { responder, push, trigger, plan, addresses, listeners }
    }

    /// The address of the first listener, with its real port.
    #[must_use]
    pub fn local_addr(&self) -> Address {
        self.addresses[0]
    }

    /// The addresses of all listeners, in the order in which they were asked for.
    #[must_use]
    pub fn local_addrs(&self) -> &[Address] {
        &self.addresses
    }

    /// Serves on this thread and others, for as long as the process lives, or until it is [told to stop](ShutdownTrigger::trigger): then it
    /// tells how that went.
    ///
    /// # Errors
    ///
    /// [`StartError`] when a thread or something else that it takes cannot be had.
    pub fn run(self) -> Result<DrainReport, StartError> {
        Ok(self.spawn()?.wait())
    }

    /// Serves on threads of its own, until the handle is told to [shut down](ServerHandle::shutdown) or dropped, or somebody
    /// [triggers](ShutdownTrigger) that.
    ///
    /// # Errors
    ///
    /// [`StartError`] when a thread or something else that it takes cannot be had. What was started until then is stopped.
    pub fn spawn(self) -> Result<ServerHandle, StartError> {
        let Plan { connection_threads, max_line_bytes, timeouts, .. } = self.plan;
        let limits = self.limits_here();
        let (mailboxes, inboxes) = mailboxes(connection_threads).map_err(StartError::of("a connection thread"))?;
        let counters: Vec<Arc<Counters>> = (0..=connection_threads).map(|_| Arc::default()).collect();
        // The first connection thread keeps the entrance.
        let (orders, orders_to_follow) = mailboxes[0].another();
        let door = Arc::new(Door::new(Room::of(&limits), orders.clone()));
        let responder = Arc::new(self.responder);
        let terms = ConnectionConfig::new(max_line_bytes, timeouts.deadlines(), &*responder);
        let terms = Arc::new(terms.when_rejected(limits.when_rejected));
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
        let buffers = Arc::new(Buffers::new(limits.max_buffer_bytes));
        let house = House { terms, buffers, max_unsent_bytes: limits.max_unsent_bytes, read_bytes: READ_BYTES };
        let closed = Arc::<Entrance<_>>::clone(&entrance);
        let (control, deadlines) = Control::new(counters, door, Arc::clone(&house.buffers), closed, switchboard);
        self.trigger.connect(&control);
        // From here on, leaving early drops the handle, which stops what was started.
        let handle = ServerHandle {
            addresses: self.addresses,
            limits,
            push: self.push,
            trigger: self.trigger,
            acceptor: orders,
            control,
            deadlines,
            threads: Crew::new(),
            is_over: false,
        };
        handle.start_threads(&self.plan, &responder, &house, mailboxes, inboxes, &entrance)?;
        handle.say_ready(&self.plan);
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
    addresses: Vec<Address>,
    limits: Limits,
    push: Push,
    trigger: ShutdownTrigger,
    acceptor: Mailbox<Order>,
    control: Arc<Control>,
    /// Until when to wait for the threads, once that is known.
    deadlines: Receiver<Instant>,
    /// The connection threads, the workers and the watch.
    threads: Crew,
    /// Its end was waited for, or is not to be.
    is_over: bool,
}

impl ServerHandle {
    fn say_ready(&self, plan: &Plan) {
        let Self { addresses, limits, .. } = self;
        let Plan { connection_threads, workers, .. } = *plan;
        let connections_max = limits.connections_max;
        let max_memory_bytes = limits.max_memory_bytes(connection_threads, workers);
        tracing::info!(?addresses, workers, connection_threads, connections_max, max_memory_bytes, "Server is ready.");
    }

    /// Starts all threads, from the end of the flow to its start, so that whoever begins finds the next one there.
    fn start_threads<R: Responder>(
        &self,
        plan: &Plan,
        responder: &Arc<R>,
        house: &House,
        mailboxes: Mailboxes<R::Session>,
        inboxes: Inboxes<R::Session>,
        entrance: &Arc<Entrance<R::Session>>,
    ) -> Result<(), StartError> {
        let max_unsent_bytes = house.max_unsent_bytes;
        let (tasks, tasks_to_do) = channel();
        let (winder, clockwork) = ticker();
        if plan.workers == 0 {
            self.start_ticking(clockwork, |_| false)?;
        } else {
            let pool = Arc::new(Pool {
                responder: Arc::clone(responder),
                terms: Arc::clone(&house.terms),
                tasks: tasks_to_do,
                mailboxes,
                posts: Arc::clone(&self.control.posts),
                buffers: Arc::clone(&house.buffers),
                ticker: Arc::clone(&winder.ticker),
                limits: PoolLimits::of(plan),
            });
            self.start_pool(&pool, &tasks, clockwork)?;
        }
        let placement = || match plan.workers {
            0 => Placement::InPlace { responder: Arc::clone(responder), max_unsent_bytes, winder: winder.clone() },
            workers => Placement::pool(tasks.clone(), workers, winder.clone()),
        };
        self.start_connection_threads(inboxes, entrance, house, placement)
    }

    fn start_connection_threads<R: Responder>(
        &self,
        inboxes: Inboxes<R::Session>,
        entrance: &Arc<Entrance<R::Session>>,
        house: &House,
        placement: impl Fn() -> Placement<R>,
    ) -> Result<(), StartError> {
        for (number, (inbox, poll)) in inboxes.into_iter().enumerate() {
            let counters = Arc::clone(&self.control.counters[number]);
            let thread = ConnectionThread::new(number, placement(), poll, inbox, house.clone(), counters);
            let entrance = (number == 0).then(|| Arc::clone(entrance));
            // A trigger finds the server as long as it lives, and keeps nothing of it.
            let control = Arc::clone(&self.control);
            let life = move || {
                thread.run(entrance.as_deref());
                drop(control);
            };
            let start = self.threads.start(format!("greeter-conn-{number}"), life);
            start.map_err(StartError::of("a connection thread"))?;
        }
        Ok(())
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
        for post in self.control.posts.fill(workers, workers) {
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
        let threads = Arc::clone(&self.control.switchboard);
        let life = move || clockwork.run(|now| look_around(now) || !threads.are_asleep());
        self.threads.start("greeter-watch".to_owned(), life).map_err(StartError::of("the ticker"))
    }
}

impl ServerHandle {
    /// The address of the first listener, with its real port.
    #[must_use]
    pub fn local_addr(&self) -> Address {
        self.addresses[0]
    }

    /// The addresses of all listeners, in the order in which they were asked for.
    #[must_use]
    pub fn local_addrs(&self) -> &[Address] {
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
        self.control.stats()
    }

    /// The connections, in no particular order: who they are, what they are doing, and for how long. Asks every connection thread,
    /// and waits for each that is in the middle of something, for a second at most; one that does not come back from the
    /// responder in that time has its connections left out.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let (sender, lists) = crossbeam_channel::unbounded();
        self.control.switchboard.list(&sender);
        drop(sender);
        let deadline = Instant::now() + LIST_TIMEOUT;
        let mut connections = Vec::new();
        while let Ok(list) = lists.recv_deadline(deadline) {
            connections.extend(list);
        }
        // A connection knows that its job is away. Whether somebody is at it is known at the posts.
        let answered: Vec<_> = self.control.posts.all().iter().filter_map(|post| post.look().assignment()).collect();
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
        let mut workers: Vec<_> = self.control.posts.all().iter().filter_map(|post| post.look().info(now)).collect();
        workers.sort_by_key(|worker| !matches!(worker, WorkerInfo::Stuck { .. }));
        workers
    }

    /// Cuts a client off. What it is still owed is lost. One that has left already is not missed.
    pub fn kill(&self, client: ClientId) {
        self.control.switchboard.kill(client);
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

    /// Has the server stop without waiting for that.
    #[must_use]
    pub const fn shutdown_trigger(&self) -> &ShutdownTrigger {
        &self.trigger
    }

    /// Stops. Nobody is let in any more; every complete line that has arrived is answered; clients read their replies and then
    /// the end of the stream. Returns once the last thread has ended.
    ///
    /// Whatever is not done `within` this time is cut off, and the report says so. A responder that does not come back cannot
    /// be ended: half a second after the deadline its thread is left behind.
    ///
    /// Called by a responder of this very server, it cannot wait for the thread on which it is: it asks for the stop and returns at once.
    /// All threads that are still there count as left behind then, and the report tells how things stand. A responder better has a
    /// [trigger](Self::shutdown_trigger), and leaves the waiting to whoever holds the handle.
    pub fn shutdown(mut self, within: Duration) -> DrainReport {
        self.end(within)
    }

    /// Waits until the server is [told to stop](ShutdownTrigger::trigger), and then until its last thread has ended, as
    /// [`shutdown`](Self::shutdown) does. On a thread of the server itself, that is a responder which does not come back.
    pub fn wait(mut self) -> DrainReport {
        self.join()
    }

    fn end(&mut self, within: Duration) -> DrainReport {
        self.control.stop(deadline_in(within));
        if self.threads.is_among_us() {
            self.is_over = true;
            return self.control.report_now(self.threads.left());
        }
        self.join()
    }

    fn join(&mut self) -> DrainReport {
        self.is_over = true;
        let threads_left = self.threads.join(&self.deadlines, || self.control.held_up());
        let report = self.control.see_off(threads_left);
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
        if !self.is_over {
            self.end(Duration::ZERO);
        }
    }
}
