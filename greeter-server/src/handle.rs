//! A running server, for its host program.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use greeter_core::{Address, ClientId, Phase};

use crate::admission::AcceptorMessage;
use crate::config::Config;
use crate::control::{Control, DrainReport, ShutdownTrigger, deadline_in};
use crate::info::{ConnectionInfo, WorkerInfo};
use crate::limits::Limits;
use crate::mailbox::Mailbox;
use crate::push::PushHandle;
use crate::stats::Stats;
use crate::threads::ThreadTracker;

/// How long a list of connections waits for a thread that is busy with something else.
const LIST_TIMEOUT: Duration = Duration::from_secs(1);

/// A handle to a running server.
///
/// It can be cloned: one for a thread that waits for signals, another for one that publishes
/// metrics. Dropping the last one stops the server as [`shutdown`](Self::shutdown) without any time
/// does: lines that are not answered by then are lost. That blocks until all threads have ended:
/// some milliseconds as a rule, about half a second where a responder does not return, and never
/// more than some ten seconds.
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

struct Running {
    addresses: Vec<Address>,
    config: Arc<Config>,
    push: PushHandle,
    trigger: ShutdownTrigger,
    to_acceptor: Mailbox<AcceptorMessage>,
    control: Arc<Control>,
    /// The connection threads, the workers and the ticker.
    threads: ThreadTracker,
    /// Until when to wait for the threads, once that is known.
    deadlines: Receiver<Instant>,
    /// How the server ended, once its threads have ended or were left behind. Locked by the thread
    /// that waits for them.
    report: Mutex<Option<DrainReport>>,
    /// A thread of the server itself has asked for the end. Dropping the handle there neither waits
    /// for that thread nor hastens the end.
    ends_by_itself: AtomicBool,
}

impl ServerHandle {
    pub(crate) fn new(
        addresses: Vec<Address>,
        config: Arc<Config>,
        push: PushHandle,
        trigger: ShutdownTrigger,
        to_acceptor: Mailbox<AcceptorMessage>,
        control: Arc<Control>,
        deadlines: Receiver<Instant>,
    ) -> Self {
        Self(Arc::new(Running {
            addresses,
            config,
            push,
            trigger,
            to_acceptor,
            control,
            threads: ThreadTracker::new(),
            deadlines,
            report: Mutex::new(None),
            ends_by_itself: AtomicBool::new(false),
        }))
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.0.control
    }

    pub(crate) fn threads(&self) -> &ThreadTracker {
        &self.0.threads
    }

    pub(crate) fn log_ready(&self) {
        let Running { addresses, config, .. } = &*self.0;
        let Config { workers, connection_threads, limits, .. } = &**config;
        // The names of an event's fields stay, whatever their sources are called: programs read logs.
        let connections_max = limits.max_connections;
        let memory_bytes_max = limits.max_memory_bytes(*connection_threads, *workers);
        tracing::info!(?addresses, workers, connection_threads, connections_max, memory_bytes_max, "Server is ready.");
    }

    /// Returns the address of the first listener, with its real port.
    #[must_use]
    pub fn local_addr(&self) -> Address {
        self.0.addresses[0]
    }

    /// Returns the addresses of all listeners with their real ports, in the order in which they were
    /// asked for.
    #[must_use]
    pub fn local_addrs(&self) -> &[Address] {
        &self.0.addresses
    }

    /// Returns the limits that hold. The number of connections is that for which there are
    /// descriptors.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.0.config.limits
    }

    /// Returns what the server has counted so far, and its gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.control.stats()
    }

    /// Returns the connections, in no particular order: whose they are, what they are doing, and for
    /// how long.
    ///
    /// It asks every connection thread, and waits for each for a second at most. A thread that is in
    /// the responder for longer than that has its connections left out.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let (sender, lists) = crossbeam_channel::unbounded();
        self.0.control.threads.list(&sender);
        drop(sender);
        let deadline = Instant::now() + LIST_TIMEOUT;
        let mut connections = Vec::new();
        while let Ok(list) = lists.recv_deadline(deadline) {
            connections.extend(list);
        }
        // A connection knows that its job is away. Whether a worker has taken it, the workers know.
        let calls: Vec<_> = self.0.control.workers.all().iter().filter_map(|worker| worker.state().call()).collect();
        for connection in &mut connections {
            let is_taken = calls.iter().any(|call| call.peer.id == connection.peer.id);
            if connection.phase == Phase::Answering && !is_taken {
                connection.phase = Phase::Queued;
            }
        }
        connections
    }

    /// Returns the workers: which client each answers, and for how long. Those that have timed out
    /// come first.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let now = Instant::now();
        let all = self.0.control.workers.all();
        let mut workers: Vec<_> = all.iter().filter_map(|worker| worker.state().info(now)).collect();
        workers.sort_by_key(|worker| !matches!(worker, WorkerInfo::TimedOut { .. }));
        workers
    }

    /// Closes a client's connection at once, for the reason [`Killed`](greeter_core::CloseReason::Killed).
    /// What it is still owed is lost. Does nothing if the client has left.
    pub fn kill(&self, client: ClientId) {
        self.0.control.threads.kill(client);
    }

    /// Stops accepting clients until [`resume_accepting`](Self::resume_accepting). They can still
    /// connect, as far as the system's backlog goes, and wait there.
    pub fn pause_accepting(&self) {
        self.0.to_acceptor.send(AcceptorMessage::Pause);
    }

    /// Accepts clients again.
    pub fn resume_accepting(&self) {
        self.0.to_acceptor.send(AcceptorMessage::Resume);
    }

    /// Returns the handle that pushes lines to clients.
    #[must_use]
    pub fn push(&self) -> &PushHandle {
        &self.0.push
    }

    /// Returns the trigger, which asks for a stop and does not wait for it.
    #[must_use]
    pub fn shutdown_trigger(&self) -> &ShutdownTrigger {
        &self.0.trigger
    }

    /// Stops the server, waits until its last thread has ended, and returns how that went.
    ///
    /// Nobody is accepted any more; every complete line that has arrived is answered; clients read
    /// their replies and then the end of the stream. What is not done `within` this time is cut off,
    /// and the report says so. A responder that does not return cannot be ended: half a second after
    /// the deadline, its thread is left behind.
    ///
    /// Called several times, the earliest deadline holds, and each call returns the same report.
    ///
    /// A responder of this very server cannot wait for the thread that it is on: there, the call asks
    /// for the stop and returns at once, and all threads that are still there count as left behind.
    /// A responder better has a [trigger](Self::shutdown_trigger).
    pub fn shutdown(&self, within: Duration) -> DrainReport {
        self.0.shutdown(within)
    }

    /// Waits until somebody [triggers](ShutdownTrigger::trigger) a stop or [shuts down](Self::shutdown),
    /// and then until the last thread has ended; returns how that went. On a thread of the server
    /// itself, it never returns.
    pub fn wait(&self) -> DrainReport {
        self.0.join()
    }
}

impl Running {
    fn shutdown(&self, within: Duration) -> DrainReport {
        self.control.stop(deadline_in(within));
        if self.threads.is_current_thread_tracked() {
            self.ends_by_itself.store(true, Ordering::Relaxed);
            return self.control.report_now(self.threads.left());
        }
        self.join()
    }

    fn join(&self) -> DrainReport {
        let mut known = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = *known {
            return report;
        }
        let threads_left = self.threads.join(&self.deadlines, || self.control.busy_with_responder());
        let report = self.control.finish(threads_left);
        *known = Some(report);
        for (reason, lines) in report.discarded_by.iter() {
            tracing::warn!(lines, %reason, "Lines were left without an answer.");
        }
        let DrainReport { took, replies, discarded, overran, rejected: turned_away, .. } = report;
        tracing::info!(?took, replies, discarded, overran, threads_left, turned_away, "Server has stopped.");
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
