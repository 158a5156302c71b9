//! Watches over the workers, so that a responder that does not return costs only its own client.
//! Must not call the responder.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::Responder;

use crate::job_times::Timing;
use crate::limits::MAX_TIMED_OUT_PER_WORKER;
use crate::messages::ThreadMessage;
use crate::pool::worker::{Pool, Task, has_waited_too_long};
use crate::pool::worker_registry::{Call, CallKind, WorkerEntry, WorkerState};
use crate::slots::thread_of;
use crate::sockets::ClientSocket;
use crate::sync::Sender;
use crate::ticker::Moment;

/// How often the watchdog checks the queue, and for missing workers: so many times per shortest
/// timeout, and at least this often.
const CHECKS_PER_TIMEOUT: u32 = 10;
const MAX_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Does three things at each [tick](crate::ticker). It times out calls of the responder: the client
/// receives a rejection, and the worker is left in the responder. It replaces each worker that has
/// timed out, up to a limit. And where no worker is left to take tasks, it rejects them.
pub(crate) struct Watchdog<R: Responder, F, K = ClientSocket> {
    pool: Arc<Pool<R, K>>,
    /// Starts a worker for an entry.
    spawn_worker: F,
    /// For giving tasks back to the queue. It is dropped with the watchdog, so that it keeps no
    /// worker waiting.
    tasks: Sender<Task<R::Session>>,
    /// When the pool and the queue are checked next. That costs more than checking the workers'
    /// calls.
    next_pool_check: Option<Instant>,
    /// A task taken out of the queue to see how long it has waited, which is not yet too long.
    held: Option<Task<R::Session>>,
}

impl<R: Responder, F: FnMut(&Arc<WorkerEntry>) -> io::Result<()>, K> Watchdog<R, F, K> {
    pub(crate) const fn new(pool: Arc<Pool<R, K>>, spawn_worker: F, tasks: Sender<Task<R::Session>>) -> Self {
        Self { pool, spawn_worker, tasks, next_pool_check: None, held: None }
    }

    /// Returns whether there is anything to watch.
    pub(crate) fn check(&mut self, now: Moment) -> bool {
        let has_timed_out = self.time_out_workers(now);
        if has_timed_out || self.next_pool_check.is_none_or(|next| next <= now.time) {
            self.next_pool_check = Some(now.time + self.interval());
            self.start_replacements();
            self.check_queue(now);
        }
        self.held.is_some() || !self.pool.tasks.is_empty() || self.pool.workers.are_answering()
    }

    /// Returns how often the pool and the queue are checked.
    fn interval(&self) -> Duration {
        let timeouts = self.pool.config.get().timeouts;
        let shortest = [timeouts.queue, timeouts.reply].into_iter().flatten().min();
        shortest.map_or(MAX_CHECK_INTERVAL, |shortest| (shortest / CHECKS_PER_TIMEOUT).min(MAX_CHECK_INTERVAL))
    }

    /// Returns whether any call timed out.
    fn time_out_workers(&self, now: Moment) -> bool {
        let Some(timeout) = self.pool.config.get().timeouts.reply else { return false };
        let mut has_timed_out = false;
        for entry in self.pool.workers.all() {
            if let Some(call) = entry.time_out(timeout, now) {
                has_timed_out = true;
                let id = call.peer.id;
                tracing::error!(peer = %call.peer.address, ?timeout, "Responder does not come back.");
                if let CallKind::Answer { part } = call.kind {
                    self.pool.mailboxes[thread_of(id)].send(ThreadMessage::ReplyTimedOut { client: id, part });
                }
            }
        }
        has_timed_out
    }

    /// Starts the workers that are missing.
    fn start_replacements(&mut self) {
        let workers = self.pool.config.get().workers;
        for entry in self.pool.workers.top_up(workers, workers + workers * MAX_TIMED_OUT_PER_WORKER) {
            if let Err(error) = (self.spawn_worker)(&entry) {
                entry.leave();
                tracing::error!(%error, "Cannot start a worker in the place of one that is stuck.");
            }
        }
    }

    /// Normally, the worker that takes a task rejects it if it has waited too long. While no worker
    /// is free, none does. Then the watchdog looks at the first task in the queue, and holds it
    /// until its time is over or a worker is free again.
    fn check_queue(&mut self, now: Moment) {
        let health = self.health(now);
        let mut to_requeue = Vec::new();
        while let Some(task) = self.held.take().or_else(|| self.next_task(health)) {
            match task {
                Task::Answer { job, sent }
                    if health == PoolHealth::Exhausted
                        || health == PoolHealth::Stalled && has_waited_too_long(&self.pool.config.get(), sent, now) =>
                {
                    let mailbox = &self.pool.mailboxes[thread_of(job.id())];
                    mailbox.send(ThreadMessage::Answered {
                        job: job.reject_without_responder(&self.pool.config.get().connection),
                        charged: 0,
                        timing: Timing { sent: sent.time, begun: now.time, answered: None },
                    });
                }
                Task::Answer { .. } if health == PoolHealth::Stalled => {
                    self.held = Some(task);
                    break;
                }
                Task::Answer { .. } | Task::Disconnect(_) => to_requeue.push(task),
            }
        }
        for task in to_requeue {
            self.tasks.send(task).expect("the watchdog itself can receive");
        }
    }

    /// Takes the first task of the queue, unless a worker will.
    fn next_task(&self, health: PoolHealth) -> Option<Task<R::Session>> {
        match health {
            PoolHealth::Working => None,
            PoolHealth::Stalled | PoolHealth::Exhausted => self.pool.tasks.try_recv().ok(),
        }
    }

    /// Returns what the workers can do about the queue.
    fn health(&self, now: Moment) -> PoolHealth {
        let stalled_after = self.pool.config.get().timeouts.queue.unwrap_or(Duration::MAX);
        let mut health = PoolHealth::Exhausted;
        for worker in self.pool.workers.all() {
            match worker.state() {
                WorkerState::Idle => return PoolHealth::Working,
                WorkerState::Busy(Call { since, .. }) if !since.is_past(stalled_after, now) => {
                    return PoolHealth::Working;
                }
                WorkerState::Busy(_) => health = PoolHealth::Stalled,
                WorkerState::TimedOut(_) | WorkerState::Exited => {}
            }
        }
        health
    }
}

/// What the workers can do about the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PoolHealth {
    /// At least one worker is free, or may be soon.
    Working,
    /// Every worker has timed out, or has been at one task for longer than a task may wait.
    Stalled,
    /// Every worker has timed out, and no more may be started.
    Exhausted,
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::current::Current;
    use crate::mailbox::{Inbox, mailbox_of};
    use crate::memory::MemoryBudget;
    use crate::pool::worker_registry::CallOutcome;
    use crate::slots::Slots;
    use crate::sync::channel;
    use greeter_core::{Connection, Greeter, Peer, TurnBudget};
    use std::cell::Cell;

    const WORKERS: usize = 2;

    /// A pool whose workers do what the test says, with the inboxes of its two connection threads,
    /// in milliseconds since it began.
    struct TestPool {
        pool: Arc<Pool<Greeter, ()>>,
        tasks: Sender<Task<()>>,
        inboxes: Vec<Inbox<ThreadMessage<(), ()>>>,
        began: Instant,
        /// How many more threads the system has.
        threads: Cell<usize>,
    }

    impl TestPool {
        fn new(queue_timeout: Option<u64>, reply_timeout: Option<u64>) -> Self {
            let (mailboxes, inboxes) = (0..2).map(|_| mailbox_of(|| Ok(()))).unzip();
            let (tasks, task_receiver) = channel();
            let millis = |timeout: Option<u64>| timeout.map(Duration::from_millis);
            let mut config = Config::without_timeouts(&Greeter);
            config.workers = WORKERS;
            (config.timeouts.queue, config.timeouts.reply) = (millis(queue_timeout), millis(reply_timeout));
            let pool = Pool {
                config: Arc::new(Current::new(Arc::new(config))),
                responder: Arc::new(Greeter),
                tasks: task_receiver,
                mailboxes,
                workers: Arc::default(),
                memory: Arc::new(MemoryBudget::new(0)),
                ticker: Arc::default(),
            };
            Self { pool: Arc::new(pool), tasks, inboxes, began: Instant::now(), threads: Cell::new(usize::MAX) }
        }

        fn watchdog(&self) -> Watchdog<Greeter, impl FnMut(&Arc<WorkerEntry>) -> io::Result<()>, ()> {
            let spawn_worker = |_: &Arc<WorkerEntry>| {
                self.threads.set(self.threads.get().checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?);
                Ok(())
            };
            Watchdog::new(Arc::clone(&self.pool), spawn_worker, self.tasks.clone())
        }

        fn at(&self, millis: u64) -> Moment {
            self.pool.ticker.set(millis / 10);
            self.pool.ticker.at(self.began + Duration::from_millis(millis))
        }

        fn queue(&self, text: &str, millis: u64) {
            let config = self.pool.config.get();
            let config = &config.connection;
            let mut connection = Connection::new(client(0), config, self.began);
            let connect = connection.take_job(self.began).expect("the responder is told of a new client");
            connection.answered(connect.answer(&Greeter, config, TurnBudget::unlimited()), config, self.began);
            connection.received(text.as_bytes(), config, self.began);
            let job = connection.take_job(self.began).expect("there is a line");
            self.tasks.send(Task::Answer { job, sent: self.at(millis) }).unwrap();
        }

        /// The messages to a thread, in words.
        fn messages(&self, thread: usize) -> Vec<String> {
            let in_words = |message| match message {
                ThreadMessage::ReplyTimedOut { client, .. } => format!("{client:?} has timed out"),
                ThreadMessage::Answered { job, charged: 0, .. } => String::from_utf8_lossy(job.replies()).into_owned(),
                other => panic!("{other:?}"),
            };
            std::iter::from_fn(|| self.inboxes[thread].next_message()).map(in_words).collect()
        }
    }

    fn client(thread: usize) -> Peer {
        Peer::new(Slots::new().insert(()).client_id(thread), ([192, 0, 2, 1], 4000).into())
    }

    #[test]
    fn a_call_that_times_out_is_reported_to_its_connection_thread_and_replaced() {
        let test = TestPool::new(None, Some(100));
        let mut watchdog = test.watchdog();
        assert!(!watchdog.check(test.at(0)));
        let workers = test.pool.workers.all();
        assert_eq!(workers.len(), WORKERS);
        workers[0].begin(CallKind::Answer { part: None }, &client(1), test.at(0));
        workers[1].begin(CallKind::Disconnect, &client(0), test.at(0));
        // The line being answered may have begun at the first tick.
        assert!(watchdog.check(test.at(10)) && watchdog.check(test.at(109)));
        assert_eq!((test.messages(1), test.pool.workers.all().len()), (vec![], 2));
        assert!(!watchdog.check(test.at(110)), "every worker has timed out");
        assert_eq!(test.messages(0), [""; 0], "no client waits for a disconnect");
        assert_eq!(test.messages(1), [format!("{:?} has timed out", client(1).id)]);
        assert_eq!(test.pool.workers.all().len(), 4);
    }

    #[test]
    fn without_a_reply_timeout_no_call_times_out() {
        let test = TestPool::new(None, None);
        let mut watchdog = test.watchdog();
        watchdog.check(test.at(0));
        test.pool.workers.all()[0].begin(CallKind::Answer { part: None }, &client(1), test.at(0));
        assert!((1..100).all(|seconds| watchdog.check(test.at(seconds * 1000))));
        assert_eq!((test.messages(1), test.pool.workers.all().len()), (vec![], WORKERS));
    }

    #[test]
    fn at_most_four_workers_replace_each_one() {
        let test = TestPool::new(None, Some(10));
        let mut watchdog = test.watchdog();
        for millis in (0..1000).step_by(10) {
            watchdog.check(test.at(millis));
            for entry in test.pool.workers.all() {
                if matches!(entry.state(), WorkerState::Idle) {
                    entry.begin(CallKind::Answer { part: None }, &client(0), test.at(millis));
                }
            }
        }
        assert_eq!(test.pool.workers.all().len(), WORKERS + 4 * WORKERS);
    }

    #[test]
    fn a_worker_that_cannot_start_is_tried_again() {
        let test = TestPool::new(None, Some(1000));
        let mut watchdog = test.watchdog();
        test.threads.set(1);
        let mut running = |millis| {
            watchdog.check(test.at(millis));
            test.pool.workers.all().iter().filter(|entry| matches!(entry.state(), WorkerState::Idle)).count()
        };
        assert_eq!(running(0), 1);
        test.threads.set(1);
        assert_eq!([running(99), running(100)], [1, 2]);
    }

    #[test]
    fn the_queue_is_checked_ten_times_per_shortest_timeout_and_every_quarter_second() {
        let interval = |queue, reply| interval_of(&TestPool::new(queue, reply)).as_millis();
        assert_eq!(interval(Some(1000), Some(500)), 50);
        assert_eq!(interval(Some(500), Some(1000)), 50);
        assert_eq!([interval(None, Some(5000)), interval(Some(5000), None), interval(None, None)], [250; 3]);
    }

    fn interval_of(test: &TestPool) -> Duration {
        test.watchdog().interval()
    }

    #[test]
    fn a_stalled_pool_rejects_tasks_that_waited_too_long_and_keeps_the_others() {
        let test = TestPool::new(Some(100), None);
        let mut watchdog = test.watchdog();
        watchdog.check(test.at(0));
        let workers = test.pool.workers.all();
        workers.iter().for_each(|entry| entry.begin(CallKind::Answer { part: None }, &client(1), test.at(0)));
        test.queue("Ann\nBob\r\n", 0);
        test.queue("Cid\n", 50);
        assert!(watchdog.check(test.at(90)));
        assert_eq!((test.messages(0), test.pool.tasks.len()), (vec![], 2), "a worker may be free soon");
        assert!(watchdog.check(test.at(100)));
        assert_eq!(test.messages(0), ["error: busy\nerror: busy\r\n"]);
        assert_eq!(test.pool.tasks.len(), 0, "the watchdog holds the other");
        assert!(watchdog.check(test.at(140)));
        assert_eq!(test.messages(0), [""; 0]);
        assert!(watchdog.check(test.at(150)));
        assert_eq!(test.messages(0), ["error: busy\n"]);
    }

    #[test]
    fn a_held_task_returns_to_the_queue_when_a_worker_is_free() {
        let test = TestPool::new(Some(100), None);
        let mut watchdog = test.watchdog();
        watchdog.check(test.at(0));
        let workers = test.pool.workers.all();
        workers.iter().for_each(|entry| entry.begin(CallKind::Answer { part: None }, &client(1), test.at(0)));
        test.queue("Ann\n", 90);
        watchdog.check(test.at(100));
        assert_eq!(test.pool.tasks.len(), 0);
        assert!(workers.iter().all(|entry| entry.finish() == CallOutcome::InTime));
        assert!(watchdog.check(test.at(110)), "there is a task");
        assert_eq!((test.pool.tasks.len(), test.messages(0)), (1, vec![]));
        assert!(test.pool.tasks.recv().is_ok());
        assert!(!watchdog.check(test.at(120)));
    }

    #[test]
    fn an_exhausted_pool_rejects_every_line_at_once() {
        let test = TestPool::new(None, Some(10));
        let mut watchdog = test.watchdog();
        test.threads.set(0);
        test.queue("Ann\n", 0);
        assert!(!watchdog.check(test.at(0)));
        assert_eq!(test.messages(0), ["error: busy\n"]);
    }
}
