//! Turns a request to stop into orders to every part of a server, and its counters into a report.
//! Must not know the type of the sessions, or wait for a thread but in [`Control::finish`].

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use greeter_core::CloseReason;

use crate::accept::acceptor::{AcceptorEvent, CloseListeners};
use crate::admission::Admission;
use crate::job_times::{self, JobTimes};
use crate::limits::FAR_AWAY;
use crate::liveness::Liveness;
use crate::memory::MemoryBudget;
use crate::pool::worker_registry::{WorkerRegistry, WorkerState};
use crate::stats::{Counters, CountsByReason, Stats, total};
use crate::thread_mailboxes::ThreadMailboxes;

/// How long after the deadline of a stop the responder may still return.
const GRACE: Duration = Duration::from_millis(500);

/// Tells whether the responder wants new clients.
type CanAnswer = dyn Fn() -> bool + Send + Sync;

/// A running server, as far as it can be asked for its state and be stopped. Neither waits for a
/// thread.
pub(crate) struct Control {
    #[cfg(feature = "admin")]
    pub(crate) started: std::time::SystemTime,
    pub(crate) counters: Vec<Arc<Counters>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) memory: Arc<MemoryBudget>,
    pub(crate) workers: Arc<WorkerRegistry>,
    pub(crate) acceptor: Arc<dyn CloseListeners>,
    pub(crate) mailboxes: Arc<dyn ThreadMailboxes>,
    pub(crate) liveness: Liveness,
    pub(crate) wanted: Wanted,
    can_answer: Box<CanAnswer>,
    stop: Mutex<Option<StopRequest>>,
    /// Sends the thread that waits for the others the deadline for that.
    join_deadlines: Sender<Instant>,
}

/// What the host program has said about new clients.
#[derive(Debug)]
pub(crate) struct Wanted {
    is_said: AtomicBool,
    accepts: AtomicBool,
}

/// A stop that was requested.
#[derive(Clone, Copy, Debug)]
struct StopRequest {
    asked: Instant,
    /// The counts at that time.
    before: Stats,
    deadline: Instant,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// Time from the first request to stop until the last thread ended and the sockets of clients
    /// that were rejected last were closed.
    pub took: Duration,
    /// All counts since the server started. No connection is left, unless a responder hangs on a
    /// connection thread: the clients of that thread are in no count of closed ones.
    pub stats: Stats,
    /// Lines answered during the stop.
    pub replies: u64,
    /// Lines lost during the stop.
    pub discarded: u64,
    /// The same, by the reason for which their connections closed.
    pub discarded_by: CountsByReason,
    /// Connections that were not finished at the deadline.
    pub overran: u64,
    /// Clients rejected during the stop: the last that the system had connected, where the server
    /// was full.
    pub rejected: u64,
    /// Threads left behind because the responder did not return. Without a pool, the ticker's
    /// thread is among them.
    pub threads_left: usize,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { is_said: true.into(), accepts: true.into() }
    }
}

impl Wanted {
    pub(crate) fn say(&self, are_wanted: bool) {
        self.is_said.store(are_wanted, Ordering::Relaxed);
    }

    pub(crate) fn set_accepting(&self, accepts: bool) {
        self.accepts.store(accepts, Ordering::Relaxed);
    }

    fn are_wanted(&self) -> bool {
        self.is_said.load(Ordering::Relaxed) && self.accepts.load(Ordering::Relaxed)
    }
}

impl Control {
    /// Creates the control of a running server, and what receives the deadlines for waiting for its
    /// threads.
    pub(crate) fn new(
        counters: Vec<Arc<Counters>>,
        admission: Arc<Admission>,
        memory: Arc<MemoryBudget>,
        acceptor: Arc<dyn CloseListeners>,
        mailboxes: Arc<dyn ThreadMailboxes>,
        can_answer: Box<CanAnswer>,
    ) -> (Arc<Self>, Receiver<Instant>) {
        let (join_deadlines, deadlines) = crossbeam_channel::unbounded();
        let control = Self {
            #[cfg(feature = "admin")]
            started: std::time::SystemTime::now(),
            counters,
            admission,
            memory,
            workers: Arc::default(),
            acceptor,
            mailboxes,
            liveness: Liveness::default(),
            wanted: Wanted::default(),
            can_answer,
            stop: Mutex::new(None),
            join_deadlines,
        };
        (Arc::new(control), deadlines)
    }

    /// Returns the counts since the server started, and its gauges.
    pub(crate) fn stats(&self) -> Stats {
        let workers_timed_out =
            self.workers.all().iter().filter(|entry| matches!(entry.state(), WorkerState::TimedOut(_))).count();
        Stats {
            served: self.admission.served() as u64,
            handshakes: self.admission.newcomers() as u64,
            buffer_bytes: self.memory.bytes() as u64,
            workers_timed_out: workers_timed_out as u64,
            ..total(&self.counters)
        }
    }

    /// Returns how long jobs took.
    pub(crate) fn job_times(&self) -> JobTimes {
        job_times::total(&self.counters.iter().map(|thread| &thread.times))
    }

    /// Returns whether new clients are wanted.
    pub(crate) fn is_ready(&self) -> bool {
        self.wanted.are_wanted() && !self.is_stopping() && (self.can_answer)()
    }

    /// Returns whether a stop was requested.
    pub(crate) fn is_stopping(&self) -> bool {
        self.lock().is_some()
    }

    /// Stops the server by this deadline, or by an earlier one that was requested before.
    pub(crate) fn stop(&self, deadline: Instant) {
        let events = {
            // The lock is held until the last clients have been sent to the connection threads, so
            // that no order to stop gets there before them.
            let mut stop = self.lock();
            match &mut *stop {
                None => {
                    *stop = Some(StopRequest { asked: Instant::now(), before: self.stats(), deadline });
                    self.acceptor.close()
                }
                Some(stop) if deadline < stop.deadline => {
                    stop.deadline = deadline;
                    Vec::new()
                }
                Some(_) => return,
            }
        };
        self.workers.stop_answering_at(deadline);
        self.mailboxes.stop(deadline);
        // It fails only when nothing waits for the threads any more.
        let _ = self.join_deadlines.send(deadline + GRACE);
        events.iter().for_each(AcceptorEvent::log);
    }

    /// Waits for the clients that were rejected last, after the threads have ended, and returns the
    /// report.
    pub(crate) fn finish(&self, threads_left: usize) -> DrainReport {
        if self.lock().is_none() {
            // The threads have ended before a stop was requested: an error of ours.
            self.stop(Instant::now());
        }
        let stop = || self.lock().expect("a stop was requested, and stays so");
        self.acceptor.linger_rejected(&|| stop().deadline);
        self.report(stop(), threads_left)
    }

    /// Returns the report so far, after a stop was requested.
    pub(crate) fn report_now(&self, threads_left: usize) -> DrainReport {
        let stop = self.lock().expect("a stop was requested");
        self.report(stop, threads_left)
    }

    /// Counts what has happened since the stop was requested.
    fn report(&self, StopRequest { asked, before, .. }: StopRequest, threads_left: usize) -> DrainReport {
        let stats = self.stats();
        DrainReport {
            took: asked.elapsed(),
            stats,
            replies: stats.replies - before.replies,
            discarded: stats.discarded - before.discarded,
            discarded_by: stats.discarded_by.since(&before.discarded_by),
            overran: stats.closed_by[CloseReason::ShutdownDeadline] - before.closed_by[CloseReason::ShutdownDeadline],
            rejected: stats.rejected - before.rejected,
            threads_left,
        }
    }

    /// Returns how many threads are in the responder.
    pub(crate) fn threads_in_responder(&self) -> usize {
        // Without a pool, it is not known whether a connection thread is in the responder.
        let has_pool = !self.workers.all().is_empty();
        if has_pool { self.workers.count_in_responder() } else { usize::MAX }
    }

    /// Nothing that holds the lock can panic.
    fn lock(&self) -> MutexGuard<'_, Option<StopRequest>> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the instant after this time, at most a year from now.
pub(crate) fn deadline_in(time: Duration) -> Instant {
    Instant::now() + time.min(FAR_AWAY)
}

/// Stops a server without waiting for it.
///
/// For a [`Responder`](crate::Responder) whose client asks for a stop, and for any other code that
/// does not have the [handle](crate::ServerHandle). It comes [from the
/// builder](crate::Builder::shutdown_trigger), which has an example, or from the
/// [handle](crate::ServerHandle::shutdown_trigger). It can be cloned, and does nothing once the
/// server is gone.
#[derive(Clone)]
pub struct ShutdownTrigger(Arc<Mutex<TriggerState>>);

/// Whether a trigger has a server to stop.
enum TriggerState {
    /// The server has not started. A stop may have been requested already.
    NotStarted { deadline: Option<Instant> },
    /// The server has started. It may have ended since.
    Connected(Weak<Control>),
}

impl ShutdownTrigger {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(TriggerState::NotStarted { deadline: None })))
    }

    /// Asks the server to stop `within` this time, and returns at once.
    ///
    /// [`ServerHandle::shutdown`](crate::ServerHandle::shutdown) describes what happens then;
    /// [`ServerHandle::wait`](crate::ServerHandle::wait) and [`Server::run`](crate::Server::run)
    /// return a report when it has happened.
    ///
    /// A line that is being answered has been received, so its client receives the reply before the
    /// end of the stream. If the server has not started yet, it still serves the clients that have
    /// connected meanwhile, as long as there is time. If a stop is requested several times, also by
    /// `shutdown` or by dropping the handle, the earliest deadline holds, and the report covers the
    /// time since the first request.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let builder = greeter_server::Server::builder();
    /// let trigger = builder.shutdown_trigger();
    /// let server = builder.bind("127.0.0.1:0")?;
    /// trigger.trigger(Duration::from_secs(10));
    /// assert_eq!(server.run()?.threads_left, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn trigger(&self, within: Duration) {
        let within = deadline_in(within);
        let control = match &mut *self.state() {
            TriggerState::NotStarted { deadline } => {
                *deadline = Some(deadline.map_or(within, |earlier| earlier.min(within)));
                return;
            }
            TriggerState::Connected(control) => control.upgrade(),
        };
        if let Some(control) = control {
            control.stop(within);
        }
    }

    /// Connects the trigger to its server, which stops if that was requested already.
    pub(crate) fn connect(&self, control: &Arc<Control>) {
        let before = std::mem::replace(&mut *self.state(), TriggerState::Connected(Arc::downgrade(control)));
        if let TriggerState::NotStarted { deadline: Some(deadline) } = before {
            control.stop(deadline);
        }
    }

    /// Nothing that holds the lock can panic.
    fn state(&self) -> MutexGuard<'_, TriggerState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ShutdownTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownTrigger").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::info::ConnectionInfo;
    use crate::limits::CHARGE_UNIT;
    use crate::limits::Limits;
    use crate::mailbox::mailbox;
    use crate::messages::InFlightPush;
    use crate::pool::worker_registry::CallKind;
    use crate::thread_mailboxes::PushTarget;
    use crate::ticker::Ticker;
    use crossbeam_channel::Receiver;
    use greeter_core::client_id;
    use greeter_core::{ClientId, Peer, PushReceipt};
    use std::sync::atomic::AtomicBool;

    /// What the acceptor and the connection threads were told, in order.
    #[derive(Default)]
    struct RecordedCalls(Mutex<Vec<RecordedCall>>);

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum RecordedCall {
        Close,
        Stop(Instant),
        LingerRejected(Instant),
    }

    impl RecordedCalls {
        fn record(&self, call: RecordedCall) {
            self.0.lock().unwrap().push(call);
        }

        fn all(&self) -> Vec<RecordedCall> {
            self.0.lock().unwrap().clone()
        }
    }

    impl CloseListeners for RecordedCalls {
        fn close(&self) -> Vec<AcceptorEvent> {
            self.record(RecordedCall::Close);
            Vec::new()
        }

        fn linger_rejected(&self, deadline: &dyn Fn() -> Instant) {
            self.record(RecordedCall::LingerRejected(deadline()));
        }
    }

    impl PushTarget for RecordedCalls {
        fn count(&self) -> usize {
            0
        }

        fn push(&self, _: ClientId, _: InFlightPush, _: Option<PushReceipt>) {}

        fn broadcast(&self, _: &Arc<InFlightPush>) {}

        fn close_client(&self, _: ClientId) {}
    }

    impl ThreadMailboxes for RecordedCalls {
        fn are_asleep(&self) -> bool {
            true
        }

        fn stop(&self, deadline: Instant) {
            self.record(RecordedCall::Stop(deadline));
        }

        fn kill(&self, _: ClientId) {}

        fn reconfigure(&self, _: &Arc<Config>) {}

        fn ask(&self, _: usize, _: Arc<AtomicBool>) -> bool {
            false
        }

        fn list(&self, _: &Sender<Vec<ConnectionInfo>>) -> usize {
            0
        }
    }

    fn control() -> (Arc<Control>, Arc<RecordedCalls>, Receiver<Instant>) {
        let calls = Arc::<RecordedCalls>::default();
        let limits = Limits { max_connections: 1, ..Limits::DEFAULT };
        let admission = Arc::new(Admission::new(limits, mailbox().unwrap().0));
        let (counters, memory) = (vec![Arc::default(), Arc::default()], Arc::new(MemoryBudget::new(1 << 20)));
        let (acceptor, mailboxes) = (Arc::clone(&calls) as _, Arc::clone(&calls) as _);
        let (control, deadlines) = Control::new(counters, admission, memory, acceptor, mailboxes, Box::new(|| true));
        (control, calls, deadlines)
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn listeners_close_once_and_the_earliest_deadline_holds() {
        let (control, calls, deadlines) = control();
        let now = Instant::now();
        for after in [10, 20, 10, 5] {
            control.stop(now + seconds(after));
        }
        let (first, second) = (now + seconds(10), now + seconds(5));
        assert_eq!(calls.all(), [RecordedCall::Close, RecordedCall::Stop(first), RecordedCall::Stop(second)]);
        let half = Duration::from_millis(500);
        assert_eq!(deadlines.try_iter().collect::<Vec<_>>(), [first + half, second + half]);
        assert!(control.workers.has_stopped_answering(second) && !control.workers.has_stopped_answering(second - half));
        control.finish(0);
        assert_eq!(calls.all().last(), Some(&RecordedCall::LingerRejected(second)));
    }

    #[test]
    fn threads_that_end_before_a_stop_is_requested_count_as_a_stop() {
        let (control, calls, _deadlines) = control();
        control.finish(0);
        let all = calls.all();
        let [RecordedCall::Close, RecordedCall::Stop(deadline), RecordedCall::LingerRejected(until)] = all[..] else {
            panic!("{all:?}")
        };
        assert_eq!(deadline, until);
        assert!(deadline <= Instant::now());
    }

    #[test]
    fn a_report_counts_from_the_first_request_to_stop() {
        let (control, _calls, _deadlines) = control();
        let count = |thread: usize, replies: u64| {
            let counters = &control.counters[thread];
            counters.replies.add(replies);
            counters.rejected.add(2 * replies);
            counters.discarded[CloseReason::Lost.index()].add(replies + 1);
            for (index, counter) in counters.closed.iter().enumerate() {
                counter.add(replies + index as u64);
            }
        };
        count(0, 100);
        control.stop(Instant::now() + seconds(10));
        count(1, 1000);
        control.stop(Instant::now());
        count(0, 10_000);
        let report = control.finish(3);
        assert_eq!((report.replies, report.discarded, report.threads_left), (11_000, 11_002, 3));
        assert_eq!((report.stats.replies, report.stats.discarded), (11_100, 11_103));
        assert_eq!(report.discarded_by[CloseReason::Lost], 11_002);
        let closed = |reason: CloseReason| 11_000 + 2 * reason.index() as u64;
        assert_eq!(report.overran, closed(CloseReason::ShutdownDeadline));
        assert_eq!(report.rejected, 22_000);
    }

    #[test]
    fn stats_count_workers_in_the_responder_and_charged_memory() {
        let (control, _calls, _deadlines) = control();
        assert_eq!(control.threads_in_responder(), usize::MAX, "without a pool it is not known");
        let (ticker, peer) = (Ticker::default(), Peer::new(client_id(1), ([192, 0, 2, 1], 4000).into()));
        let workers = control.workers.top_up(3, 3);
        assert_eq!(control.threads_in_responder(), 0);
        workers[..2].iter().for_each(|entry| entry.begin(CallKind::Answer { part: None }, &peer, ticker.now()));
        ticker.advance(1);
        assert!(workers[0].time_out(Duration::ZERO, ticker.now()).is_some());
        assert!(control.memory.charge(&mut 0, 3 * CHARGE_UNIT));
        let _client = control.admission.admit(peer.address, Instant::now());
        let stats = control.stats();
        assert_eq!((stats.served, stats.buffer_bytes), (1, 3 * CHARGE_UNIT as u64));
        assert_eq!((control.threads_in_responder(), stats.workers_timed_out), (2, 1));
    }

    /// Asserts that the latest deadline is `within` this time from the request.
    #[track_caller]
    fn assert_stops_within(calls: &RecordedCalls, within: Duration, asked: Instant) {
        let all = calls.all();
        let Some(RecordedCall::Stop(deadline)) = all.last() else { panic!("{all:?}") };
        assert!((asked + within..=Instant::now() + within).contains(deadline));
    }

    #[test]
    fn a_stop_requested_before_the_start_has_the_earliest_deadline() {
        let (control, calls, _deadlines) = control();
        let (trigger, asked) = (ShutdownTrigger::new(), Instant::now());
        [20, 10, 30].into_iter().for_each(|within| trigger.trigger(seconds(within)));
        assert_eq!(calls.all(), []);
        trigger.connect(&control);
        assert_stops_within(&calls, seconds(10), asked);
        let asked = Instant::now();
        trigger.trigger(seconds(5));
        assert_stops_within(&calls, seconds(5), asked);
        drop(control);
        trigger.trigger(seconds(1));
        assert_eq!(calls.all().len(), 3, "a server that is gone receives nothing");
    }

    #[test]
    fn a_stop_without_a_deadline_has_one_within_a_year() {
        let (control, calls, _deadlines) = control();
        let (trigger, asked) = (ShutdownTrigger::new(), Instant::now());
        trigger.connect(&control);
        assert_eq!(calls.all(), []);
        trigger.trigger(Duration::MAX);
        assert_stops_within(&calls, seconds(31_536_000), asked);
        assert_eq!(format!("{trigger:?}"), "ShutdownTrigger { .. }");
    }
}
