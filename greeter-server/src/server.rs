//! The threads of a server: how they are wired, and how they end.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use greeter_core::{Address, ClientId, ConnectionConfig, Greeter, Phase, Responder};
use mio::Poll;
use mio::net::TcpListener;

use crate::acceptor::{AcceptorContext, AcceptorMessage, SharedAcceptor};
use crate::admission::{Admission, Room};
use crate::builder::{Builder, Plan};
use crate::connection_thread::{ConnectionThread, House, READ_BYTES, ThreadMessage};
use crate::control::{Control, DrainReport, ShutdownTrigger, deadline_in};
use crate::descriptors::connections_possible;
use crate::limits::Limits;
use crate::mailbox::{Inbox, Mailbox, mailbox};
use crate::memory::MemoryBudget;
use crate::pool::{Executor, Pool, PoolLimits, Task};
use crate::push::PushHandle;
use crate::stats::{Counters, Stats};
use crate::sync::{Sender, channel};
use crate::thread_mailboxes::{ConnectionInfo, ThreadMailboxes};
use crate::threads::ThreadTracker;
use crate::ticker::{Clockwork, Moment, ticker};
use crate::watchdog::Watchdog;
use crate::worker_registry::{WorkerEntry, WorkerInfo};

/// How long a list of connections waits for a thread that is busy with something else.
const LIST_TIMEOUT: Duration = Duration::from_secs(1);

/// A server that holds its addresses but does not serve yet.
#[derive(Debug)]
#[must_use = "a server serves once it runs or is spawned"]
pub struct Server<R> {
    responder: R,
    push: PushHandle,
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
        push: PushHandle,
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
        // The first connection thread keeps the acceptor.
        let (orders, orders_to_follow) = mailboxes[0].another();
        let door = Arc::new(Admission::new(Room::of(&limits), orders.clone()));
        let responder = Arc::new(self.responder);
        let terms = ConnectionConfig::new(max_line_bytes, timeouts.deadlines(), &*responder);
        let terms = Arc::new(terms.when_rejected(limits.when_rejected));
        let reception = AcceptorContext {
            inbox: orders_to_follow,
            threads: mailboxes.clone(),
            door: Arc::clone(&door),
            terms: Arc::clone(&terms),
            linger: timeouts.linger,
            counters: Arc::clone(&counters[connection_threads]),
        };
        let acceptor = SharedAcceptor::new(self.listeners, inboxes[0].1.registry(), reception);
        let acceptor = Arc::new(acceptor.map_err(StartError::of("the acceptor"))?);
        let threads: Arc<dyn ThreadMailboxes> = Arc::new(mailboxes.clone());
        self.push.connect(Arc::<dyn ThreadMailboxes>::clone(&threads));
        let buffers = Arc::new(MemoryBudget::new(limits.max_buffer_bytes));
        let house = House { terms, buffers, max_unsent_bytes: limits.max_unsent_bytes, read_bytes: READ_BYTES };
        let closed = Arc::<SharedAcceptor<_>>::clone(&acceptor);
        let (control, deadlines) = Control::new(counters, door, Arc::clone(&house.buffers), closed, threads);
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
            threads: ThreadTracker::new(),
            is_over: false,
        };
        handle.start_threads(&self.plan, &responder, &house, mailboxes, inboxes, &acceptor)?;
        handle.say_ready(&self.plan);
        Ok(handle)
    }

    /// The limits, as far as this process can keep them.
    fn limits_here(&self) -> Limits {
        let Plan { mut limits, workers, connection_threads, .. } = self.plan;
        let possible = connections_possible(self.listeners.len(), connection_threads + workers);
        if possible < limits.max_connections {
            let asked = limits.max_connections;
            tracing::warn!(asked, possible, "The limit of open files allows fewer connections.");
            limits.max_connections = possible;
        }
        limits
    }
}

impl StartError {
    fn of(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        |source| Self { what: what.into(), source }
    }
}

type Mailboxes<S> = Vec<Mailbox<ThreadMessage<S>>>;
type Inboxes<S> = Vec<(Inbox<ThreadMessage<S>>, Poll)>;

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
    push: PushHandle,
    trigger: ShutdownTrigger,
    acceptor: Mailbox<AcceptorMessage>,
    control: Arc<Control>,
    /// Until when to wait for the threads, once that is known.
    deadlines: Receiver<Instant>,
    /// The connection threads, the workers and the watchdog.
    threads: ThreadTracker,
    /// Its end was waited for, or is not to be.
    is_over: bool,
}

impl ServerHandle {
    fn say_ready(&self, plan: &Plan) {
        let Self { addresses, limits, .. } = self;
        let Plan { connection_threads, workers, .. } = *plan;
        // The names of an event's fields are kept, whatever their sources are called: logs are read by programs.
        let connections_max = limits.max_connections;
        let memory_bytes_max = limits.max_memory_bytes(connection_threads, workers);
        tracing::info!(?addresses, workers, connection_threads, connections_max, memory_bytes_max, "Server is ready.");
    }

    /// Starts all threads, from the end of the flow to its start, so that whoever begins finds the next one there.
    fn start_threads<R: Responder>(
        &self,
        plan: &Plan,
        responder: &Arc<R>,
        house: &House,
        mailboxes: Mailboxes<R::Session>,
        inboxes: Inboxes<R::Session>,
        acceptor: &Arc<SharedAcceptor<R::Session>>,
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
                workers: Arc::clone(&self.control.workers),
                buffers: Arc::clone(&house.buffers),
                ticker: Arc::clone(&winder.ticker),
                limits: PoolLimits::of(plan),
            });
            self.start_pool(&pool, &tasks, clockwork)?;
        }
        let executor = || match plan.workers {
            0 => Executor::InPlace { responder: Arc::clone(responder), max_unsent_bytes, winder: winder.clone() },
            workers => Executor::pool(tasks.clone(), workers, winder.clone()),
        };
        self.start_connection_threads(inboxes, acceptor, house, executor)
    }

    fn start_connection_threads<R: Responder>(
        &self,
        inboxes: Inboxes<R::Session>,
        acceptor: &Arc<SharedAcceptor<R::Session>>,
        house: &House,
        executor: impl Fn() -> Executor<R>,
    ) -> Result<(), StartError> {
        for (number, (inbox, poll)) in inboxes.into_iter().enumerate() {
            let counters = Arc::clone(&self.control.counters[number]);
            let thread = ConnectionThread::new(number, executor(), poll, inbox, house.clone(), counters);
            let acceptor = (number == 0).then(|| Arc::clone(acceptor));
            // A trigger finds the server as long as it lives, and keeps nothing of it.
            let control = Arc::clone(&self.control);
            let life = move || {
                thread.run(acceptor.as_deref());
                drop(control);
            };
            let start = self.threads.spawn(format!("greeter-conn-{number}"), life);
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
        let mut spawn_worker = {
            let (pool, spawner) = (Arc::clone(pool), self.threads.spawner());
            let mut numbers = 0_usize..;
            move |entry: &Arc<WorkerEntry>| {
                let (pool, entry) = (Arc::clone(&pool), Arc::clone(entry));
                let number = numbers.next().unwrap_or_default();
                spawner.spawn(format!("greeter-work-{number}"), move || pool.work(&entry))
            }
        };
        let workers = pool.limits.workers;
        for entry in self.control.workers.top_up(workers, workers) {
            spawn_worker(&entry).map_err(StartError::of("a worker"))?;
        }
        let mut watch = Watchdog::new(Arc::clone(pool), spawn_worker, tasks.clone());
        self.start_ticking(clockwork, move |now| watch.check(now))
    }

    /// Starts the ticker, and with it the watchdog over the workers, where there are any.
    fn start_ticking(
        &self,
        clockwork: Clockwork,
        mut look_around: impl FnMut(Moment) -> bool + Send + 'static,
    ) -> Result<(), StartError> {
        let threads = Arc::clone(&self.control.threads);
        let life = move || clockwork.run(|now| look_around(now) || !threads.are_asleep());
        self.threads.spawn("greeter-watch".to_owned(), life).map_err(StartError::of("the ticker"))
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
        self.control.threads.list(&sender);
        drop(sender);
        let deadline = Instant::now() + LIST_TIMEOUT;
        let mut connections = Vec::new();
        while let Ok(list) = lists.recv_deadline(deadline) {
            connections.extend(list);
        }
        // A connection knows that its job is away. Whether somebody is at it is known at the workers.
        let answered: Vec<_> = self.control.workers.all().iter().filter_map(|entry| entry.state().call()).collect();
        for connection in &mut connections {
            let is_at_hand = answered.iter().any(|call| call.peer.id == connection.peer.id);
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
        let mut workers: Vec<_> =
            self.control.workers.all().iter().filter_map(|entry| entry.state().info(now)).collect();
        workers.sort_by_key(|worker| !matches!(worker, WorkerInfo::TimedOut { .. }));
        workers
    }

    /// Cuts a client off. What it is still owed is lost. One that has left already is not missed.
    pub fn kill(&self, client: ClientId) {
        self.control.threads.kill(client);
    }

    /// Lets nobody in until [`resume`](Self::resume_accepting). Clients can still connect, as far as the system's backlog goes, and wait there.
    pub fn pause_accepting(&self) {
        self.acceptor.send(AcceptorMessage::Pause);
    }

    /// Lets clients in again.
    pub fn resume_accepting(&self) {
        self.acceptor.send(AcceptorMessage::Resume);
    }

    /// Says something to clients that have not asked.
    #[must_use]
    pub const fn push(&self) -> &PushHandle {
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
        if self.threads.is_current_thread_tracked() {
            self.is_over = true;
            return self.control.report_now(self.threads.left());
        }
        self.join()
    }

    fn join(&mut self) -> DrainReport {
        self.is_over = true;
        let threads_left = self.threads.join(&self.deadlines, || self.control.busy_with_responder());
        let report = self.control.finish(threads_left);
        for (reason, lines) in report.discarded_by.iter() {
            tracing::warn!(lines, %reason, "Lines were left without an answer.");
        }
        let DrainReport { took, replies, discarded, overran, rejected: turned_away, .. } = report;
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
