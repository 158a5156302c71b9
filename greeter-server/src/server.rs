//! The threads of a server: how they are wired, and how they end.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::{Greeter, Responder};
use mio::Poll;
use mio::net::TcpListener;

use crate::acceptor::{Acceptor, Order};
use crate::builder::{Builder, Plan};
use crate::connection_thread::{ConnectionThread, Mail};
use crate::crew::Crew;
use crate::mailbox::{Inbox, Mailbox, mailbox};
use crate::pool::{Placement, work};
use crate::stats::{Counters, Stats, total};

/// How much longer than the deadline of a stop the threads may take to notice that it has passed.
const GRACE: Duration = Duration::from_millis(500);

/// As good as for ever, and still a time that the clock can tell: a year.
const FAR_AWAY: Duration = Duration::from_secs(365 * 24 * 3600);

/// A server that holds its addresses but does not serve yet.
#[derive(Debug)]
#[must_use = "a server serves once it runs or is spawned"]
pub struct Server<R> {
    responder: R,
    plan: Plan,
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
    pub const fn builder() -> Builder<Greeter> {
        Builder::new()
    }
}

impl<R: Responder> Server<R> {
    pub(crate) const fn new(responder: R, plan: Plan, listeners: Vec<TcpListener>) -> Self {
        Self { responder, plan, listeners }
    }

    /// The address of the first listener, with its real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addrs()[0]
    }

    /// The addresses of all listeners, in the order in which they were asked for.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        let address = |listener: &TcpListener| listener.local_addr().expect("a bound socket has an address");
        self.listeners.iter().map(address).collect()
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
        let Plan { workers, connection_threads, line_bytes_max } = self.plan;
        let addresses = self.local_addrs();
        let responder = Arc::new(self.responder);
        let counters: Vec<_> = (0..=connection_threads).map(|_| Arc::new(Counters::default())).collect();

        let (acceptor, acceptor_inbox, acceptor_poll) = mailbox().map_err(StartError::of("the acceptor"))?;
        let (mailboxes, inboxes) = mailboxes(connection_threads).map_err(StartError::of("a connection thread"))?;
        // From here on, leaving early drops the handle, which stops what was started.
        let mut handle = ServerHandle {
            addresses,
            counters,
            acceptor,
            acceptor_thread: Crew::new(),
            stop_connections: stop_by_mail(mailboxes.clone()),
            threads: Crew::new(),
        };

        // From the end of the flow to its start, so that whoever begins finds the next one there.
        let (tasks, tasks_to_do) = crossbeam_channel::unbounded();
        for number in 0..workers {
            let (responder, tasks, mailboxes) = (Arc::clone(&responder), tasks_to_do.clone(), mailboxes.clone());
            let start =
                handle.threads.start(format!("greeter-work-{number}"), move || work(&responder, &tasks, &mailboxes));
            start.map_err(StartError::of("a worker"))?;
        }
        for (number, (inbox, poll)) in inboxes.into_iter().enumerate() {
            let placement = match workers {
                0 => Placement::InPlace { responder: Arc::clone(&responder) },
                _ => Placement::Pool { tasks: tasks.clone(), home: number },
            };
            let counters = Arc::clone(&handle.counters[number]);
            let thread = ConnectionThread::new(placement, poll, inbox, line_bytes_max, counters);
            let start = handle.threads.start(format!("greeter-conn-{number}"), || thread.run());
            start.map_err(StartError::of("a connection thread"))?;
        }
        let counters = Arc::clone(&handle.counters[connection_threads]);
        let acceptor = Acceptor::new(self.listeners, acceptor_poll, acceptor_inbox, mailboxes, counters)
            .map_err(StartError::of("the acceptor"))?;
        let start = handle.acceptor_thread.start("greeter-accept".to_owned(), || acceptor.run());
        start.map_err(StartError::of("the acceptor"))?;
        tracing::info!(addresses = ?handle.addresses, workers, connection_threads, "Server is ready.");
        Ok(handle)
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

fn stop_by_mail<S: Send + 'static>(mailboxes: Mailboxes<S>) -> Box<dyn Fn(Instant) + Send + Sync> {
    Box::new(move |deadline| mailboxes.iter().for_each(|mailbox| mailbox.send(Mail::Stop { deadline })))
}

/// A server at work.
///
/// Dropping it stops the server at once, as [`shutdown`](Self::shutdown) does that has no time.
#[must_use = "dropping the handle stops the server"]
pub struct ServerHandle {
    addresses: Vec<SocketAddr>,
    counters: Vec<Arc<Counters>>,
    acceptor: Mailbox<Order>,
    acceptor_thread: Crew,
    /// Tells the connection threads to end by then. In a box, since it knows the type of the sessions.
    stop_connections: Box<dyn Fn(Instant) + Send + Sync>,
    /// The connection threads and the workers.
    threads: Crew,
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
    /// Connections that were not done by the deadline.
    pub overran: u64,
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

    /// What the server has counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        total(&self.counters)
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
    fn wait(mut self) {
        self.acceptor_thread.join();
    }

    fn stop(&mut self, within: Duration) -> DrainReport {
        let began = Instant::now();
        let before = self.stats();
        let deadline = began + within.min(FAR_AWAY);
        // First the acceptor, so that its last clients come to the connection threads before the order to stop does.
        self.acceptor.send(Order::Stop);
        let acceptors_left = self.acceptor_thread.join_until(deadline + GRACE);
        (self.stop_connections)(deadline);
        let threads_left = acceptors_left + self.threads.join_until(deadline + GRACE);
        let stats = self.stats();
        let report = DrainReport {
            took: began.elapsed(),
            stats,
            replies: stats.replies - before.replies,
            discarded: stats.discarded - before.discarded,
            overran: stats.overran - before.overran,
            threads_left,
        };
        let DrainReport { took, replies, discarded, overran, .. } = report;
        tracing::info!(?took, replies, discarded, overran, threads_left, "Server has stopped.");
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
