//! Turns the host program's questions and orders into answers and messages to the server's threads.
//! Must not do the threads' work.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use greeter_core::ClientId;

use crate::admission::AcceptorMessage;
use crate::config::Config;
use crate::control::{Control, DrainReport, ShutdownTrigger, deadline_in};
use crate::entry_rules::EntryRules;
use crate::info::{ConnectionInfo, WorkerInfo};
use crate::job_times::JobTimes;
use crate::limits::Limits;
use crate::listen::ListenerAddress;
use crate::liveness::StuckThread;
use crate::mailbox::Mailbox;
use crate::monitor::Monitor;
use crate::push::PushHandle;
use crate::running_config::RunningConfig;
use crate::stats::Stats;
use crate::threads::ThreadTracker;

/// A handle to a running server.
///
/// It can be cloned: one for a thread that waits for signals, another for one that publishes
/// metrics. Dropping the last one stops the server like [`shutdown`](Self::shutdown) with no time:
/// lines that have no reply by then are lost. The drop blocks until all threads have ended: usually
/// some milliseconds, about half a second where a responder does not return, and never more than
/// some ten seconds. Dropped by a responder of the same server, it does not wait.
///
/// A clone on which a thread [waits](Self::wait) is a handle, too. And a responder that keeps one
/// keeps its own server running until somebody stops it; it better keeps a
/// [trigger](Self::shutdown_trigger).
///
/// ```
/// use std::time::Duration;
///
/// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?.spawn()?;
/// let metrics = server.clone();
/// let served = std::thread::spawn(move || metrics.stats().served);
/// assert_eq!(served.join().expect("it does not panic"), 0);
/// server.shutdown(Duration::from_secs(10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "dropping the last handle stops the server"]
pub struct ServerHandle(Arc<Running>);

/// What all clones of a handle share.
struct Running {
    addresses: Vec<ListenerAddress>,
    running_config: RunningConfig,
    push: PushHandle,
    trigger: ShutdownTrigger,
    to_acceptor: Mailbox<AcceptorMessage>,
    monitor: Monitor,
    /// The connection threads, the workers and the ticker.
    threads: ThreadTracker,
    /// Until when to wait for the threads, once that is known.
    deadlines: Receiver<Instant>,
    /// How the server ended, once its threads have ended or were left behind. The thread that waits
    /// for them holds the lock.
    report: Mutex<Option<DrainReport>>,
    /// Whether a thread of the server itself has called [`ServerHandle::shutdown`]. Dropping the
    /// handle there neither waits for that thread nor shortens the deadline.
    ends_by_itself: AtomicBool,
}

impl ServerHandle {
    pub(crate) fn new(
        addresses: Vec<ListenerAddress>,
        running_config: RunningConfig,
        push: PushHandle,
        trigger: ShutdownTrigger,
        to_acceptor: Mailbox<AcceptorMessage>,
        control: Arc<Control>,
        deadlines: Receiver<Instant>,
    ) -> Self {
        let monitor = Monitor::new(control, Arc::clone(&running_config.current));
        Self(Arc::new(Running {
            addresses,
            running_config,
            push,
            trigger,
            to_acceptor,
            monitor,
            threads: ThreadTracker::new(),
            deadlines,
            report: Mutex::new(None),
            ends_by_itself: AtomicBool::new(false),
        }))
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.0.monitor.control
    }

    /// What may be asked about the server, by somebody who does not keep it running.
    #[cfg(feature = "admin")]
    pub(crate) fn monitor(&self) -> Monitor {
        self.0.monitor.clone()
    }

    pub(crate) fn threads(&self) -> &ThreadTracker {
        &self.0.threads
    }

    /// Logs that the server is ready, with its limits.
    pub(crate) fn log_ready(&self) {
        let addresses = &self.0.addresses;
        let Config { workers, connection_threads, limits, .. } = &*self.config();
        // The names of an event's fields stay, whatever their sources are called: programs read
        // logs.
        let connections_max = limits.max_connections;
        let memory_bytes_max = limits.max_memory_bytes(*connection_threads, *workers);
        if self.config().is_quiet {
            tracing::debug!(?addresses, "Server is ready.");
        } else {
            tracing::info!(
                ?addresses,
                workers,
                connection_threads,
                connections_max,
                memory_bytes_max,
                "Server is ready."
            );
        }
    }

    /// Returns the address of the first listener, with its real port.
    ///
    /// ```
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// let client = std::net::TcpStream::connect(server.local_addr())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn local_addr(&self) -> &ListenerAddress {
        &self.0.addresses[0]
    }

    /// Returns the addresses of all listeners with their real ports, in the order of the calls of
    /// [`listen`](crate::Builder::listen).
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let server = Server::builder().listen("127.0.0.1:0").bind("127.0.0.1:0")?.spawn()?;
    /// assert_eq!(server.local_addrs().len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn local_addrs(&self) -> &[ListenerAddress] {
        &self.0.addresses
    }

    /// Returns the limits in force. [`max_connections`](Limits::max_connections) may be lower than
    /// what was asked for, where there are too few file descriptors.
    ///
    /// ```
    /// # use greeter_server::Server;
    /// let server = Server::builder().max_line_bytes(100).bind("127.0.0.1:0")?.spawn()?;
    /// assert_eq!(server.limits().max_line_bytes, 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.config().limits
    }

    /// The configuration that holds now.
    fn config(&self) -> Arc<Config> {
        self.0.monitor.config()
    }

    /// Has this hold from now on, wherever it is read.
    pub(crate) fn apply(&self, config: Arc<Config>, entry_rules: Vec<Arc<EntryRules>>) {
        let Running { running_config, monitor: Monitor { control, .. }, to_acceptor, .. } = &*self.0;
        if config.limits != self.config().limits {
            let connections_max = config.limits.max_connections;
            let memory_bytes_max = config.limits.max_memory_bytes(config.connection_threads, config.workers);
            tracing::info!(connections_max, memory_bytes_max, "Limits have changed.");
        }
        running_config.current.replace(Arc::clone(&config));
        control.memory.set_max(config.limits.max_buffer_bytes);
        control.admission.set_limits(config.limits);
        control.mailboxes.reconfigure(&config);
        to_acceptor.send(AcceptorMessage::Reconfigured(config, entry_rules));
    }

    pub(crate) fn running_config(&self) -> &RunningConfig {
        &self.0.running_config
    }

    /// Returns the server's counts since it started, and its gauges.
    ///
    /// ```
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// let stats = server.stats();
    /// println!("{} clients, {} replies", stats.served, stats.replies);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.monitor.control.stats()
    }

    /// Returns how long jobs took since the server started.
    ///
    /// ```
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// let replies = server.job_times().reply;
    /// println!("{} jobs, {:?} of the responder's time", replies.count(), replies.sum());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn job_times(&self) -> JobTimes {
        self.0.monitor.control.job_times()
    }

    /// Returns the open connections, in no particular order: the client of each, its phase, and how
    /// long it has been in that phase.
    ///
    /// It asks every connection thread and waits for all of them for one second at most. The
    /// connections of a thread that is in the responder for longer are left out; so are those of
    /// its own thread, if a responder [in place](crate::Builder::in_place) calls it.
    ///
    /// ```
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// for connection in server.connections() {
    ///     println!("{}: {}", connection.peer.address, connection.phase);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.0.monitor.connections(self.0.threads.is_current_thread_tracked()).0
    }

    /// Asks each connection thread for a sign of life, without waiting for it, and returns one that
    /// has owed its answer to an earlier call for longer than this, if there is any.
    ///
    /// It is for whoever watches over the server: a watchdog, or a balancer's question whether it
    /// is alive. The first call finds nobody stuck. A thread answers between two turns, so what
    /// keeps it is a responder that answers [in place](crate::Builder::in_place), or a fault.
    /// Workers are watched by the server itself
    /// ([`reply_timeout`](crate::Builder::reply_timeout)). A thread that has ended is not stuck.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// if let Some(stuck) = server.stuck_thread(Duration::from_secs(10)) {
    ///     eprintln!("{stuck}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stuck_thread(&self, longer_than: Duration) -> Option<StuckThread> {
        self.0.monitor.stuck_thread(longer_than)
    }

    /// Returns the workers: which client each answers, and for how long. Those that have timed out
    /// come first.
    ///
    /// ```
    /// use greeter_server::WorkerInfo;
    ///
    /// let server = greeter_server::Server::builder().workers(2).bind("127.0.0.1:0")?.spawn()?;
    /// assert!(server.workers().iter().all(|worker| matches!(worker, WorkerInfo::Idle)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.0.monitor.workers()
    }

    /// Closes a client's connection at once, for the reason
    /// [`Killed`](greeter_core::CloseReason::Killed).
    ///
    /// Replies that it has not received are lost. Does nothing if the client has left.
    ///
    /// ```
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// for connection in server.connections() {
    ///     server.kill(connection.peer.id);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill(&self, client: ClientId) {
        self.control().mailboxes.kill(client);
    }

    /// Stops accepting clients until [`resume_accepting`](Self::resume_accepting).
    ///
    /// Clients can still connect, as far as the system's backlog goes, and wait there.
    ///
    /// ```
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// server.pause_accepting();
    /// server.resume_accepting();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pause_accepting(&self) {
        self.control().wanted.set_accepting(false);
        self.0.to_acceptor.send(AcceptorMessage::Pause);
    }

    /// Accepts clients again after [`pause_accepting`](Self::pause_accepting).
    pub fn resume_accepting(&self) {
        self.control().wanted.set_accepting(true);
        self.0.to_acceptor.send(AcceptorMessage::Resume);
    }

    /// Says whether the server wants new clients. It accepts them in any case: this is for whoever
    /// asks before sending any, a balancer above all.
    ///
    /// A host program says that it wants none some seconds before it stops the server, so that
    /// clients are sent elsewhere by then. The admin server (with the feature `admin`) passes it
    /// on, at `/readyz` and to HAProxy's agent-check.
    ///
    /// ```
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// assert!(server.is_ready());
    /// server.set_ready(false);
    /// assert!(!server.is_ready());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_ready(&self, is_ready: bool) {
        self.control().wanted.say(is_ready);
    }

    /// Returns whether the server wants new clients: it has not [said](Self::set_ready) otherwise,
    /// nor does its [responder](crate::Responder::is_ready), it is not
    /// [paused](Self::pause_accepting), and it does not stop.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.control().is_ready()
    }

    /// Returns the handle that pushes lines to clients.
    ///
    /// ```
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// server.push().broadcast("The server stops in five minutes.")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn push(&self) -> &PushHandle {
        &self.0.push
    }

    /// Returns a trigger that stops the server and does not wait.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// let trigger = server.shutdown_trigger().clone();
    /// std::thread::spawn(move || trigger.trigger(Duration::from_secs(10)));
    /// server.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn shutdown_trigger(&self) -> &ShutdownTrigger {
        &self.0.trigger
    }

    /// Stops the server, waits until its last thread has ended, and returns a report.
    ///
    /// The server accepts no more clients and answers every complete line that has arrived; clients
    /// receive their replies and then the end of the stream. What is not done `within` this time is
    /// disconnected, and the report counts it. A responder that does not return cannot be ended:
    /// half a second after the deadline, its thread is left behind.
    ///
    /// Clients that do not close their end are waited for until the linger timeout.
    ///
    /// If it is called several times, the earliest deadline holds, and each call returns the same
    /// report.
    ///
    /// A responder of this server cannot wait for the thread that it runs on. There, the call asks
    /// for the stop and returns at once, and all threads that are still running count as left
    /// behind. A responder should use a [trigger](Self::shutdown_trigger) instead.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let server = greeter_server::Server::builder().bind("127.0.0.1:0")?.spawn()?;
    /// let report = server.shutdown(Duration::from_secs(10));
    /// assert_eq!((report.discarded, report.threads_left), (0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown(&self, within: Duration) -> DrainReport {
        self.0.shutdown(within)
    }

    /// Waits until a [trigger](ShutdownTrigger::trigger) or [`shutdown`](Self::shutdown) stops the
    /// server and its last thread has ended, and returns a report.
    ///
    /// It waits for all threads of the server: a responder of this server that calls it waits for
    /// itself, and returns only once it was left behind.
    /// [`shutdown_trigger`](Self::shutdown_trigger) has an example.
    pub fn wait(&self) -> DrainReport {
        self.0.join()
    }
}

impl Running {
    /// Stops the server, and waits for its threads unless this is one of them.
    fn shutdown(&self, within: Duration) -> DrainReport {
        self.monitor.control.stop(deadline_in(within));
        if self.threads.is_current_thread_tracked() {
            self.ends_by_itself.store(true, Ordering::Relaxed);
            return self.monitor.control.report_now(self.threads.left());
        }
        self.join()
    }

    /// Waits for the threads and logs the report, the first time it is called; then returns the
    /// same report.
    fn join(&self) -> DrainReport {
        let mut known = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = *known {
            return report;
        }
        let threads_left = self.threads.join(&self.deadlines, || self.monitor.control.threads_in_responder());
        let report = self.monitor.control.finish(threads_left);
        *known = Some(report);
        for (reason, lines) in report.discarded_by.iter() {
            tracing::warn!(lines, %reason, "Lines were left without an answer.");
        }
        let DrainReport { took, replies, discarded, overran, rejected: turned_away, .. } = report;
        if self.monitor.config().is_quiet {
            tracing::debug!(?took, "Server has stopped.");
        } else {
            tracing::info!(?took, replies, discarded, overran, threads_left, turned_away, "Server has stopped.");
        }
        report
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let is_over = self.report.get_mut().unwrap_or_else(PoisonError::into_inner).is_some();
        if !is_over && !self.ends_by_itself.load(Ordering::Relaxed) {
            self.shutdown(Duration::ZERO);
        }
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("addresses", &self.0.addresses).finish_non_exhaustive()
    }
}
