//! Records what each worker is doing, for the watchdog and the host program. Must not start or end
//! a worker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use greeter_core::{PartNumber, Peer};

use crate::info::WorkerInfo;
use crate::sync::{Mutex, MutexGuard};
use crate::ticker::Moment;

/// What one worker is doing. The worker sets its state; the watchdog may time its call out. Both go
/// through one lock, so a job is either answered in time or timed out, and never both.
#[derive(Debug, Default)]
pub(crate) struct WorkerEntry {
    state: Mutex<WorkerState>,
}

/// What a worker is doing.
#[derive(Clone, Debug, Default)]
pub(crate) enum WorkerState {
    /// Free, or doing something that nothing waits for.
    #[default]
    Idle,
    /// In the responder.
    Busy(Call),
    /// In the responder for longer than the reply timeout. Nothing waits for its answer any more.
    TimedOut(Call),
    /// The worker has ended.
    Exited,
}

/// A call of the responder: for which client, what for, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) peer: Peer,
    pub(crate) kind: CallKind,
    pub(crate) since: Moment,
    /// A moment at which the worker was at the line that it is still at, as far as another thread
    /// can tell: the first tick after the call began. No other line begins [after
    /// that](greeter_core::BudgetClock::has_ticked).
    same_line_since: Option<Moment>,
}

/// What a call of the responder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// The connection waits for its job, or for a part of it.
    Answer { part: Option<PartNumber> },
    /// The client is gone.
    Disconnect,
}

impl WorkerState {
    pub(crate) fn call(self) -> Option<Call> {
        match self {
            Self::Busy(call) | Self::TimedOut(call) => Some(call),
            Self::Idle | Self::Exited => None,
        }
    }

    pub(crate) fn info(self, now: Instant) -> Option<WorkerInfo> {
        let elapsed = |since: Moment| now.saturating_duration_since(since.time);
        match self {
            Self::Idle => Some(WorkerInfo::Idle),
            Self::Busy(Call { peer, since, .. }) => Some(WorkerInfo::Busy { peer, elapsed: elapsed(since) }),
            Self::TimedOut(Call { peer, since, .. }) => Some(WorkerInfo::TimedOut { peer, elapsed: elapsed(since) }),
            Self::Exited => None,
        }
    }
}

/// Whether an answer came in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    InTime,
    /// The reply timeout has passed, and the client was rejected.
    TooLate,
}

impl WorkerEntry {
    /// The worker begins a call.
    pub(crate) fn begin(&self, kind: CallKind, peer: &Peer, since: Moment) {
        *self.lock() = WorkerState::Busy(Call { peer: peer.clone(), kind, since, same_line_since: None });
    }

    /// The worker has returned from its call. Returns whether that was in time.
    pub(crate) fn finish(&self) -> CallOutcome {
        match std::mem::take(&mut *self.lock()) {
            WorkerState::TimedOut(_) => CallOutcome::TooLate,
            WorkerState::Idle | WorkerState::Busy(_) | WorkerState::Exited => CallOutcome::InTime,
        }
    }

    /// The worker ends.
    pub(crate) fn leave(&self) {
        *self.lock() = WorkerState::Exited;
    }

    pub(crate) fn state(&self) -> WorkerState {
        self.lock().clone()
    }

    /// Times out the call if one line of it has lasted longer than the timeout: from now on its
    /// answer is too late. To be called at each tick.
    pub(crate) fn time_out(&self, timeout: Duration, now: Moment) -> Option<Call> {
        let mut state = self.lock();
        let WorkerState::Busy(call) = &mut *state else { return None };
        // It may have begun within this very tick, and then it lasts for another.
        if call.since.tick == now.tick {
            return None;
        }
        let since = *call.same_line_since.get_or_insert(now);
        if !since.is_past(timeout, now) {
            return None;
        }
        let call = call.clone();
        *state = WorkerState::TimedOut(call.clone());
        Some(call)
    }

    /// No code that holds the lock can panic.
    fn lock(&self) -> MutexGuard<'_, WorkerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entries of all workers that have not ended.
#[derive(Debug)]
pub(crate) struct WorkerRegistry {
    entries: Mutex<Vec<Arc<WorkerEntry>>>,
    created: Instant,
    /// When the workers stop answering, in microseconds since `created`.
    closes_at_micros: AtomicU64,
}

impl Default for WorkerRegistry {
    fn default() -> Self {
        Self { entries: Mutex::default(), created: Instant::now(), closes_at_micros: AtomicU64::new(u64::MAX) }
    }
}

impl WorkerRegistry {
    /// Adds and returns the entries that are missing for `workers` to be running, with at most
    /// `max` entries in all.
    pub(crate) fn top_up(&self, workers: usize, max: usize) -> Vec<Arc<WorkerEntry>> {
        // Under the lock, so that a worker that returns late is either counted here or finds itself
        // replaced.
        let mut entries = self.lock();
        entries.retain(|entry| !matches!(entry.state(), WorkerState::Exited));
        let missing = workers.saturating_sub(running(&entries)).min(max.saturating_sub(entries.len()));
        let new: Vec<_> = std::iter::repeat_with(Arc::<WorkerEntry>::default).take(missing).collect();
        entries.extend_from_slice(&new);
        new
    }

    /// Returns whether a worker that has returned late goes on. It does, unless enough others are
    /// running.
    pub(crate) fn is_still_needed(&self, late: &WorkerEntry, workers: usize) -> bool {
        // Under the lock, so that of two that return at the same time, not both take the other for
        // the one that stays.
        let entries = self.lock();
        let is_needed = running(&entries) <= workers;
        if !is_needed {
            late.leave();
        }
        is_needed
    }

    /// Stops answering at this deadline, or at an earlier one that was set before, whenever the
    /// connection threads notice that the deadline has passed.
    pub(crate) fn stop_answering_at(&self, deadline: Instant) {
        self.closes_at_micros.fetch_min(self.micros(deadline), Ordering::Relaxed);
    }

    /// Returns whether the workers have stopped answering.
    pub(crate) fn has_stopped_answering(&self, now: Instant) -> bool {
        self.closes_at_micros.load(Ordering::Relaxed) <= self.micros(now)
    }

    fn micros(&self, time: Instant) -> u64 {
        let micros = time.saturating_duration_since(self.created).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX).min(u64::MAX - 1)
    }

    /// Returns whether the answer of any worker is waited for.
    pub(crate) fn are_answering(&self) -> bool {
        self.lock().iter().any(|entry| matches!(entry.state(), WorkerState::Busy(_)))
    }

    /// Returns how many workers are at a task whose answer is waited for.
    pub(crate) fn count_answering(&self) -> usize {
        self.lock().iter().filter(|entry| matches!(entry.state(), WorkerState::Busy(_))).count()
    }

    /// Returns how many workers are in the responder.
    pub(crate) fn count_in_responder(&self) -> usize {
        self.lock().iter().filter(|entry| entry.state().call().is_some()).count()
    }

    /// Returns all entries.
    pub(crate) fn all(&self) -> Vec<Arc<WorkerEntry>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<WorkerEntry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns how many of these are free or will be.
fn running(entries: &[Arc<WorkerEntry>]) -> usize {
    entries.iter().filter(|entry| matches!(entry.state(), WorkerState::Idle | WorkerState::Busy(_))).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticker::{TICK, Ticker};
    use greeter_core::client_id;

    const ANSWER: CallKind = CallKind::Answer { part: None };

    #[test]
    fn a_call_is_answered_in_time_or_times_out_and_never_both() {
        let peer = Peer::new(client_id(1), ([192, 0, 2, 1], 4000).into());
        let (time, ticker) = (Instant::now(), Ticker::default());
        let start = ticker.at(time);
        let after = |millis: u64| {
            ticker.advance(1);
            ticker.at(time + Duration::from_millis(millis))
        };
        let timeout = TICK * 2;
        let entry = WorkerEntry::default();
        entry.begin(ANSWER, &peer, start);
        assert!(entry.time_out(timeout, start).is_none(), "another line may begin until the next tick");
        assert!(entry.time_out(timeout, after(8)).is_none());
        assert!(entry.time_out(timeout, after(27)).is_none(), "that is 19 ms");
        assert_eq!(entry.finish(), CallOutcome::InTime);
        assert!(entry.time_out(timeout, after(50)).is_none());

        entry.begin(ANSWER, &peer, ticker.at(time));
        assert!([60, 70].iter().all(|&millis| entry.time_out(timeout, after(millis)).is_none()));
        assert!(entry.time_out(timeout, after(80)).is_some());
        assert!(entry.time_out(timeout, after(90)).is_none(), "a call times out once");
        assert_eq!(entry.finish(), CallOutcome::TooLate);
        assert!(matches!(entry.state(), WorkerState::Idle));
    }

    #[test]
    fn a_late_worker_goes_on_unless_it_was_replaced() {
        const WORKERS: usize = 2;
        const MAX: usize = 5;
        let peer = Peer::new(client_id(1), ([192, 0, 2, 1], 4000).into());
        let ticker = Ticker::default();
        let workers = WorkerRegistry::default();
        let hang = |new: Vec<Arc<WorkerEntry>>| {
            for entry in &new {
                entry.begin(ANSWER, &peer, ticker.now());
                ticker.advance(1);
                assert!(entry.time_out(Duration::ZERO, ticker.now()).is_some());
            }
            new
        };
        let first = hang(workers.top_up(WORKERS, MAX));
        assert_eq!(first.len(), WORKERS);
        // One returns before it is replaced, the other after that.
        assert_eq!(first[0].finish(), CallOutcome::TooLate);
        let second = workers.top_up(WORKERS, MAX);
        assert_eq!(second.len(), 1);
        assert!(workers.is_still_needed(&first[0], WORKERS));
        assert_eq!(first[1].finish(), CallOutcome::TooLate);
        assert!(!workers.is_still_needed(&first[1], WORKERS));
        assert!(workers.top_up(WORKERS, MAX).is_empty());
        // However many hang, there are never more than this.
        hang(vec![Arc::clone(&first[0]), Arc::clone(&second[0])]);
        assert_eq!(hang(workers.top_up(WORKERS, MAX)).len(), 2);
        assert_eq!(hang(workers.top_up(WORKERS, MAX)).len(), 1);
        assert!(workers.top_up(WORKERS, MAX).is_empty());
        assert_eq!(workers.all().len(), MAX);
    }

    #[test]
    fn workers_stop_answering_at_the_earliest_deadline() {
        let workers = WorkerRegistry::default();
        let now = Instant::now();
        let seconds = |seconds| now + Duration::from_secs(seconds);
        assert!(!workers.has_stopped_answering(seconds(1 << 45)), "that is more microseconds than there are numbers");
        workers.stop_answering_at(seconds(10));
        workers.stop_answering_at(seconds(20));
        assert_eq!([9, 10].map(|second| workers.has_stopped_answering(seconds(second))), [false, true]);
        workers.stop_answering_at(seconds(5));
        assert_eq!([4, 5].map(|second| workers.has_stopped_answering(seconds(second))), [false, true]);
    }

    #[test]
    fn each_worker_is_listed_with_its_state() {
        let peer = Peer::new(client_id(1), ([192, 0, 2, 1], 4000).into());
        let (time, ticker) = (Instant::now(), Ticker::default());
        let workers = WorkerRegistry::default();
        let entries = workers.top_up(4, 4);
        let seen = || workers.all().iter().map(|entry| entry.state().info(time + TICK)).collect::<Vec<_>>();
        assert_eq!(seen(), [const { Some(WorkerInfo::Idle) }; 4]);
        assert!(!workers.are_answering());
        for entry in &entries[1..3] {
            entry.begin(ANSWER, &peer, ticker.at(time));
        }
        ticker.advance(1);
        assert!(entries[2].time_out(Duration::ZERO, ticker.at(time)).is_some());
        entries[3].leave();
        let (busy, timed_out) =
            (WorkerInfo::Busy { peer: peer.clone(), elapsed: TICK }, WorkerInfo::TimedOut { peer, elapsed: TICK });
        assert_eq!(seen(), [Some(WorkerInfo::Idle), Some(busy), Some(timed_out), None]);
        assert!(workers.are_answering());
        assert_eq!(workers.count_in_responder(), 2);
        entries[1].finish();
        assert!(!workers.are_answering(), "the other has timed out");
        assert_eq!(workers.count_in_responder(), 1);
    }
}
