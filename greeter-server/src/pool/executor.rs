//! Has the jobs of a connection thread answered: by the workers of a pool, or in place. Must not
//! know how either does it.

use std::sync::Arc;
use std::time::Instant;

use greeter_core::{AnsweredJob, ClientJob, Disconnect, Parallel, Responder};

use crate::config::Config;
use crate::pool::worker::{Task, answer, notify};
use crate::pool::worker_registry::WorkerRegistry;
use crate::sync::Sender;
use crate::ticker::TickerWaker;

/// How many tasks are sent together. A worker that sleeps is woken for the first of them and finds
/// the others there; one by one, it would finish each before the next has come, and go to sleep in
/// between. Measured on two processors, medians of seven rounds: 3 % less for 64 connections that
/// send 1 or 16 lines. Rounds differ by more; 4 and 64 cannot be told from 16.
const TASKS_TOGETHER: usize = 16;

/// What answers the jobs of a connection thread.
#[derive(Debug)]
pub(crate) enum Executor<R: Responder> {
    /// The connection thread itself: the article's first program.
    InPlace {
        responder: Arc<R>,
        config: Arc<Config>,
        parallel: Option<Parallel<R::Session>>,
        ticker_waker: TickerWaker,
    },
    /// The workers: the article's second. The channel is unbounded, and needs no bound: a
    /// connection has one job, or as many parts of it as are answered side by side, and leaves one
    /// disconnect behind at its end. Tasks wait in the outbox until there are enough of them or
    /// every queued client has had its turn.
    Pool {
        tasks: Sender<Task<R::Session>>,
        outbox: Vec<Task<R::Session>>,
        workers: usize,
        registry: Arc<WorkerRegistry>,
        parallel: Option<Parallel<R::Session>>,
        ticker_waker: TickerWaker,
    },
}

impl<R: Responder> Executor<R> {
    /// Creates an executor that answers on the calling thread.
    pub(crate) fn in_place(responder: Arc<R>, config: Arc<Config>, ticker_waker: TickerWaker) -> Self {
        let parallel = config.parallel();
        Self::InPlace { responder, config, parallel, ticker_waker }
    }

    /// Creates an executor that sends tasks to the workers.
    pub(crate) fn pool(
        tasks: Sender<Task<R::Session>>,
        registry: Arc<WorkerRegistry>,
        config: &Config,
        ticker_waker: TickerWaker,
    ) -> Self {
        let outbox = Vec::with_capacity(TASKS_TOGETHER);
        Self::Pool { tasks, outbox, workers: config.workers, registry, parallel: config.parallel(), ticker_waker }
    }

    /// Has this hold from now on.
    pub(crate) fn reconfigure(&mut self, new: &Arc<Config>) {
        let (Self::InPlace { parallel, .. } | Self::Pool { parallel, .. }) = self;
        *parallel = new.parallel();
        if let Self::InPlace { config, .. } = self {
            *config = Arc::clone(new);
        }
    }

    /// Returns whether more tasks wait than there are workers to take one.
    pub(crate) fn has_backlog(&self) -> bool {
        match self {
            Self::InPlace { .. } => false,
            Self::Pool { tasks, workers, .. } => tasks.len() > *workers,
        }
    }

    /// Returns how lines of one client are answered side by side, if they are.
    pub(crate) const fn parallel(&self) -> Option<&Parallel<R::Session>> {
        let (Self::InPlace { parallel, .. } | Self::Pool { parallel, .. }) = self;
        parallel.as_ref()
    }

    /// Returns whether a task would be taken at once. It looks at each worker, so it is asked only
    /// where that matters.
    pub(crate) fn has_idle_worker(&self) -> bool {
        match self {
            Self::InPlace { .. } => true,
            Self::Pool { tasks, outbox, workers, registry, .. } => {
                tasks.len() + outbox.len() + registry.count_answering() < *workers
            }
        }
    }

    /// Answers a job now and returns it, or sends it to the workers, whose answer comes as a
    /// message to the connection thread.
    pub(crate) fn answer(
        &mut self,
        job: ClientJob<R::Session>,
        now: Instant,
        clock: impl Fn() -> Instant,
    ) -> Option<AnsweredJob<R::Session>> {
        match self {
            Self::InPlace { responder, config, ticker_waker, .. } => {
                ticker_waker.ensure_ticking();
                let ticker = &ticker_waker.ticker;
                Some(answer(responder, config, job, ticker.at(now), ticker, clock))
            }
            Self::Pool { ticker_waker, .. } => {
                let sent = ticker_waker.ticker.at(now);
                self.put(Task::Answer { job, sent });
                None
            }
        }
    }

    /// Has the responder notified that a client is gone: now, or by a worker.
    pub(crate) fn disconnect(&mut self, disconnect: Disconnect<R::Session>) {
        match self {
            Self::InPlace { responder, .. } => notify(responder, disconnect),
            Self::Pool { .. } => self.put(Task::Disconnect(disconnect)),
        }
    }

    /// Puts a task into the outbox, and sends the outbox once it is full.
    pub(super) fn put(&mut self, task: Task<R::Session>) {
        if let Self::Pool { outbox, .. } = self {
            outbox.push(task);
            if outbox.len() == TASKS_TOGETHER {
                self.flush();
            }
        }
    }

    /// Sends what is in the outbox, since no more tasks come soon.
    pub(crate) fn flush(&mut self) {
        if let Self::Pool { tasks, outbox, ticker_waker, .. } = self
            && !outbox.is_empty()
        {
            ticker_waker.ensure_ticking();
            for task in outbox.drain(..) {
                tasks.send(task).expect("the pool outlives the connection threads");
            }
        }
    }
}
