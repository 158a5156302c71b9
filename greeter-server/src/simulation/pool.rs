//! The pool of a world: its workers, and the watchdog.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use greeter_core::AnsweredJob;

use super::clock::SimulatedClock;
use super::oracle::number_of;
use super::responder::ScriptedResponder;
use super::wire::VirtualSocket;

use crate::pool::watchdog::Watchdog;
use crate::pool::worker::{BegunJob, Pool, Task, answer};
use crate::pool::worker_registry::{WorkerEntry, WorkerState};
use crate::ticker::Moment;

type SpawnWorker = Box<dyn FnMut(&Arc<WorkerEntry>) -> io::Result<()>>;

/// The pool's own code, without its threads and its time.
pub(super) struct SimulatedPool {
    pub(super) real: Arc<Pool<ScriptedResponder, VirtualSocket>>,
    pub(super) workers: Rc<RefCell<Vec<SimulatedWorker>>>,
    watchdog: Watchdog<ScriptedResponder, SpawnWorker, VirtualSocket>,
    pub(super) next_check: Option<Instant>,
    check_interval: Duration,
    /// The clock that answering advances.
    clock: SimulatedClock,
}

pub(super) struct SimulatedWorker {
    pub(super) entry: Arc<WorkerEntry>,
    pub(super) work: Option<RunningTask>,
}

/// The task that a worker is doing.
pub(super) struct RunningTask {
    answered: AnsweredJob<u32>,
    begun: BegunJob,
    pub(super) until: Instant,
}

impl SimulatedPool {
    pub(super) fn new(
        pool: Pool<ScriptedResponder, VirtualSocket>,
        tasks: Sender<Task<u32>>,
        clock: SimulatedClock,
        check_interval: Duration,
        mut fails_to_spawn: impl FnMut() -> bool + 'static,
    ) -> Self {
        let pool = Arc::new(pool);
        let simulated = |entry: &Arc<WorkerEntry>| SimulatedWorker { entry: Arc::clone(entry), work: None };
        let workers = pool.workers.top_up(pool.config.get().workers, pool.config.get().workers);
        let workers: Vec<SimulatedWorker> = workers.iter().map(simulated).collect();
        let workers = Rc::new(RefCell::new(workers));
        let spawned = Rc::clone(&workers);
        let spawn_worker: SpawnWorker = Box::new(move |entry| {
            if fails_to_spawn() {
                return Err(ErrorKind::WouldBlock.into());
            }
            spawned.borrow_mut().push(simulated(entry));
            Ok(())
        });
        let watchdog = Watchdog::new(Arc::clone(&pool), spawn_worker, tasks);
        let next_check = Some(clock.now() + check_interval);
        Self { real: pool, workers, watchdog, next_check, check_interval, clock }
    }

    /// Returns whether this worker can do something now.
    pub(super) fn can_work(&self, worker: usize, now: Instant) -> bool {
        match &self.workers.borrow()[worker].work {
            Some(work) => work.until <= now,
            None => !self.real.tasks.is_empty(),
        }
    }

    /// Takes a task, or finishes one. Returns the client whose job was begun or finished.
    pub(super) fn work(&self, worker: usize, now: Moment) -> Option<u32> {
        let (entry, work) = {
            let worker = &mut self.workers.borrow_mut()[worker];
            (Arc::clone(&worker.entry), worker.work.take())
        };
        let Some(RunningTask { answered, begun, .. }) = work else {
            let task = self.real.tasks.try_recv().ok()?;
            let (job, begun) = match self.real.worker(&entry).begin_task(task, now, || now.time) {
                ControlFlow::Continue(begun) => begun,
                // A notification of the responder takes no time here, and so is in time.
                ControlFlow::Break(outcome) => {
                    assert!(self.real.worker(&entry).keeps_working(outcome));
                    return None;
                }
            };
            let number = number_of(job.peer().address);
            // The outcome is known now, and delivered when the time has passed that it took.
            self.clock.set(now.time);
            let responder = &self.real.responder;
            responder.begin_turn();
            let answered =
                answer(responder, &self.real.config.get(), job, now, &self.clock.ticker, || self.clock.now());
            responder.check_turn();
            self.workers.borrow_mut()[worker].work = Some(RunningTask { answered, begun, until: self.clock.now() });
            return Some(number);
        };
        let number = number_of(answered.peer().address);
        let is_late = matches!(entry.state(), WorkerState::TimedOut(_));
        let outcome = self.real.worker(&entry).return_job(answered, begun, now);
        if !self.real.worker(&entry).keeps_working(outcome) {
            self.workers.borrow_mut().remove(worker);
        }
        (!is_late).then_some(number)
    }

    /// The watchdog checks.
    pub(super) fn check(&mut self, now: Moment) {
        self.watchdog.check(now);
        self.next_check = Some(now.time + self.check_interval);
    }

    /// Returns the clients whose jobs are with workers that have not timed out.
    pub(super) fn answering(&self) -> Vec<u32> {
        let workers = self.workers.borrow();
        let clients = workers.iter().filter_map(|worker| match worker.entry.state() {
            WorkerState::Busy(call) => Some(number_of(call.peer.address)),
            WorkerState::Idle | WorkerState::TimedOut(_) | WorkerState::Exited => None,
        });
        clients.collect()
    }

    /// Checks that no more workers run than there should be, however many had timed out and have
    /// returned.
    pub(super) fn check_worker_count(&self) {
        let workers = self.workers.borrow();
        let running = workers.iter().filter(|worker| !matches!(worker.entry.state(), WorkerState::TimedOut(_))).count();
        assert!(running <= self.real.config.get().workers, "{running} workers are running");
    }

    /// Checks that no worker is in a call for longer than it may be.
    pub(super) fn check_call_times(&self, now: Instant, slack: Duration) {
        let Some(timeout) = self.real.config.get().timeouts.reply else { return };
        for worker in &*self.workers.borrow() {
            if let WorkerState::Busy(call) = worker.entry.state() {
                let took = now.saturating_duration_since(call.since.time);
                assert!(
                    took <= timeout * 2 + slack + 2 * self.check_interval,
                    "the call for {:?} does not time out",
                    call.peer
                );
            }
        }
    }
}
