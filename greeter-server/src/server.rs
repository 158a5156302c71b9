//! Turns a validated configuration and its listeners into running threads. Must not know what
//! clients say.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use greeter_core::Responder;
use mio::Poll;

use crate::accept::acceptor::{AcceptorContext, SharedAcceptor};
use crate::admission::Admission;
use crate::config::{Config, Options};
use crate::connection::thread::{ConnectionThread, Shared};
use crate::control::{Control, DrainReport, ShutdownTrigger};
use crate::current::Current;
use crate::entry_rules::EntryRules;
use crate::handle::ServerHandle;
use crate::listen::{ListenerAddress, ListenerKind};
use crate::mailbox::{Inbox, Mailbox, mailbox};
use crate::memory::MemoryBudget;
use crate::messages::ThreadMessage;
use crate::pool::executor::Executor;
use crate::pool::watchdog::Watchdog;
use crate::pool::worker::{Pool, Task};
use crate::pool::worker_registry::WorkerEntry;
use crate::push::PushHandle;
use crate::running_config::RunningConfig;
use crate::sockets::ListeningSocket;
use crate::stats::Counters;
use crate::sync::{Sender, channel};
use crate::thread_mailboxes::ThreadMailboxes;
use crate::threads::ThreadTracker;
use crate::ticker::{Moment, TickerThread, TickerWaker, ticker};

/// A server that holds its addresses and does not serve yet.
///
/// Clients can connect, as far as the system's backlog goes, and wait there. Dropping it closes the
/// listeners.
#[derive(Debug)]
#[must_use = "a server serves once it runs or is spawned"]
pub struct Server<R> {
    responder: R,
    push: PushHandle,
    trigger: ShutdownTrigger,
    options: Options,
    config: Config,
    /// The addresses of the listeners, in the same order.
    addresses: Vec<ListenerAddress>,
    listeners: Vec<ListeningSocket>,
    /// What each of them is, and what its clients owe, in the same order.
    kinds: Vec<(ListenerKind, Arc<EntryRules>)>,
}

/// An error returned by [`Server::spawn`] and [`Server::run`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The system cannot start a thread, or lacks the memory or the descriptors for it.
    #[error("cannot start {thread}")]
    Thread {
        /// The thread, in words.
        thread: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The system cannot register a listener.
    #[error("cannot start the acceptor")]
    Acceptor {
        /// The system's error.
        source: io::Error,
    },
}

impl<R: Responder> Server<R> {
    pub(crate) fn new(
        responder: R,
        push: PushHandle,
        trigger: ShutdownTrigger,
        (options, config): (Options, Config),
        addresses: Vec<ListenerAddress>,
        listeners: Vec<ListeningSocket>,
        kinds: Vec<(ListenerKind, Arc<EntryRules>)>,
    ) -> Self {
        Self { responder, push, trigger, options, config, addresses, listeners, kinds }
    }

    /// Returns the address of the first listener, with its real port.
    ///
    /// ```
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?;
    /// assert_ne!(server.local_addr().port(), Some(0));
    /// # Ok::<(), greeter_server::BuildError>(())
    /// ```
    #[must_use]
    pub fn local_addr(&self) -> &ListenerAddress {
        &self.addresses[0]
    }

    /// Returns the addresses of all listeners with their real ports, in the order of the calls of
    /// [`listen`](crate::Builder::listen).
    ///
    /// ```
    /// let server = greeter_server::Server::builder().listen("127.0.0.1:0").bind("127.0.0.1:0")?;
    /// assert_eq!(server.local_addrs().len(), 2);
    /// # Ok::<(), greeter_server::BuildError>(())
    /// ```
    #[must_use]
    pub fn local_addrs(&self) -> &[ListenerAddress] {
        &self.addresses
    }

    /// Serves until a [trigger](ShutdownTrigger::trigger) stops the server, and returns a report.
    ///
    /// Without a trigger, it serves as long as the process lives.
    ///
    /// # Errors
    ///
    /// Those of [`spawn`](Self::spawn).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?;
    /// # let builder = greeter_server::Server::builder();
    /// # let trigger = builder.shutdown_trigger();
    /// # let server = builder.bind("127.0.0.1:0")?;
    /// # trigger.trigger(Duration::from_secs(1));
    /// let report = server.run()?;
    /// println!("{} lines were lost", report.discarded);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(self) -> Result<DrainReport, StartError> {
        Ok(self.spawn()?.wait())
    }

    /// Serves on threads of its own.
    ///
    /// The server stops when [`shutdown`](ServerHandle::shutdown) is called, when a
    /// [trigger](ShutdownTrigger) asks for it, or when the last handle is dropped.
    ///
    /// # Errors
    ///
    /// Returns [`StartError`] if the system cannot start a thread or lacks what a thread needs.
    /// Threads that have already started are stopped.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// println!("{} clients are connected", server.stats().open());
    /// server.shutdown(Duration::from_secs(10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn(self) -> Result<ServerHandle, StartError> {
        let (kinds, entry_rules): (_, Vec<_>) = self.kinds.into_iter().unzip();
        let config = Arc::new(self.config.with_limits_for(&entry_rules));
        let threads = config.connection_threads;
        let (mailboxes, inboxes) = mailboxes(threads).map_err(StartError::of("a connection thread"))?;
        let counters: Vec<Arc<Counters>> = (0..=threads).map(|_| Arc::default()).collect();
        // The first connection thread keeps the acceptor, so a message to the acceptor wakes that
        // thread.
        let (to_acceptor, acceptor_inbox) = mailboxes[0].another();
        let admission = Arc::new(Admission::new(config.limits, to_acceptor.clone()));
        let context = AcceptorContext {
            inbox: acceptor_inbox,
            threads: mailboxes.clone(),
            admission: Arc::clone(&admission),
            config: Arc::clone(&config),
            entry_rules: entry_rules.clone(),
            counters: Arc::clone(&counters[threads]),
        };
        let acceptor = SharedAcceptor::new(self.listeners, inboxes[0].1.registry(), context);
        let acceptor = Arc::new(acceptor.map_err(|source| StartError::Acceptor { source })?);
        let to_threads: Arc<dyn ThreadMailboxes> = Arc::new(mailboxes.clone());
        self.push.connect(Arc::<dyn ThreadMailboxes>::clone(&to_threads));
        let memory = Arc::new(MemoryBudget::new(config.limits.max_buffer_bytes));
        let to_close = Arc::<SharedAcceptor<_>>::clone(&acceptor);
        let responder = Arc::new(self.responder);
        let asked = Arc::downgrade(&responder);
        let can_answer = Box::new(move || asked.upgrade().is_none_or(|responder| responder.is_ready()));
        let (control, deadlines) =
            Control::new(counters, admission, Arc::clone(&memory), to_close, to_threads, can_answer);
        self.trigger.connect(&control);
        let configuration = RunningConfig::new(Arc::clone(&config), self.options, kinds, entry_rules, &responder);
        let current = Arc::clone(&configuration.current);
        // From here on, an early return drops the handle, which stops the threads that have
        // started.
        let handle =
            ServerHandle::new(self.addresses, configuration, self.push, self.trigger, to_acceptor, control, deadlines);
        let shared = Shared { config, memory, epoch: Instant::now() };
        let wiring = Wiring { handle: &handle, responder, current, shared, mailboxes, acceptor };
        wiring.start(inboxes)?;
        handle.log_ready();
        Ok(handle)
    }
}

impl StartError {
    fn of(thread: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Thread { thread, source }
    }
}

/// The sending ends of the connection threads' mailboxes.
type Mailboxes<S> = Vec<Mailbox<ThreadMessage<S>>>;
/// The receiving end of each, and the `Poll` in which its thread sleeps.
type Inboxes<S> = Vec<(Inbox<ThreadMessage<S>>, Poll)>;

/// Creates a mailbox for each connection thread, and the threads' own ends.
fn mailboxes<S>(threads: usize) -> io::Result<(Mailboxes<S>, Inboxes<S>)> {
    (0..threads).map(|_| mailbox().map(|(mailbox, inbox, poll)| (mailbox, (inbox, poll)))).collect()
}

/// What the threads of a server share.
struct Wiring<'a, R: Responder> {
    handle: &'a ServerHandle,
    responder: Arc<R>,
    current: Arc<Current<Config>>,
    shared: Shared,
    mailboxes: Mailboxes<R::Session>,
    acceptor: Arc<SharedAcceptor<R::Session>>,
}

impl<R: Responder> Wiring<'_, R> {
    /// Starts all threads, from the end of the flow to its start, so that each finds the next one
    /// running.
    fn start(self, inboxes: Inboxes<R::Session>) -> Result<(), StartError> {
        let (tasks, task_receiver) = channel();
        let (ticker_waker, ticker_thread) = ticker();
        let config = Arc::clone(&self.shared.config);
        if config.workers == 0 {
            self.start_ticker(ticker_thread, |_| false)?;
        } else {
            let pool = Arc::new(Pool {
                responder: Arc::clone(&self.responder),
                config: Arc::clone(&self.current),
                tasks: task_receiver,
                mailboxes: self.mailboxes.clone(),
                workers: Arc::clone(&self.handle.control().workers),
                memory: Arc::clone(&self.shared.memory),
                ticker: Arc::clone(&ticker_waker.ticker),
            });
            self.start_pool(&pool, &tasks, ticker_thread)?;
        }
        let executor = || match config.workers {
            0 => {
                Executor::in_place(Arc::clone(&self.responder), Arc::clone(&config), TickerWaker::clone(&ticker_waker))
            }
            _ => {
                let registry = Arc::clone(&self.handle.control().workers);
                Executor::pool(tasks.clone(), registry, &config, TickerWaker::clone(&ticker_waker))
            }
        };
        self.start_connection_threads(inboxes, executor)
    }

    /// Starts the connection threads, the first with the acceptor.
    fn start_connection_threads(
        &self,
        inboxes: Inboxes<R::Session>,
        executor: impl Fn() -> Executor<R>,
    ) -> Result<(), StartError> {
        for (number, (inbox, poll)) in inboxes.into_iter().enumerate() {
            let counters = Arc::clone(&self.handle.control().counters[number]);
            let thread = ConnectionThread::new(number, executor(), poll, inbox, self.shared.clone(), counters);
            let acceptor = (number == 0).then(|| Arc::clone(&self.acceptor));
            // A trigger upgrades a weak reference, so the threads keep the server alive for it.
            let control = Arc::clone(self.handle.control());
            let body = move || {
                thread.run(acceptor.as_deref());
                drop(control);
            };
            let start = self.threads().spawn(format!("greeter-conn-{number}"), body);
            start.map_err(StartError::of("a connection thread"))?;
        }
        Ok(())
    }

    /// Starts the workers, and the watchdog with the ticker.
    fn start_pool(
        &self,
        pool: &Arc<Pool<R>>,
        tasks: &Sender<Task<R::Session>>,
        ticker_thread: TickerThread,
    ) -> Result<(), StartError> {
        let mut spawn_worker = {
            let (pool, spawner) = (Arc::clone(pool), self.threads().spawner());
            let mut numbers = 0_usize..;
            move |entry: &Arc<WorkerEntry>| {
                let (pool, entry) = (Arc::clone(&pool), Arc::clone(entry));
                let number = numbers.next().unwrap_or_default();
                spawner.spawn(format!("greeter-work-{number}"), move || pool.work(&entry))
            }
        };
        let workers = self.shared.config.workers;
        for entry in pool.workers.top_up(workers, workers) {
            spawn_worker(&entry).map_err(StartError::of("a worker"))?;
        }
        let mut watchdog = Watchdog::new(Arc::clone(pool), spawn_worker, tasks.clone());
        self.start_ticker(ticker_thread, move |now| watchdog.check(now))
    }

    /// Starts the ticker, which also runs the watchdog where there are workers.
    fn start_ticker(
        &self,
        ticker_thread: TickerThread,
        mut check: impl FnMut(Moment) -> bool + Send + 'static,
    ) -> Result<(), StartError> {
        let threads = Arc::clone(&self.handle.control().mailboxes);
        let body = move || ticker_thread.run(|now| check(now) || !threads.are_asleep());
        self.threads().spawn("greeter-watch".to_owned(), body).map_err(StartError::of("the ticker"))
    }

    fn threads(&self) -> &ThreadTracker {
        self.handle.threads()
    }
}
