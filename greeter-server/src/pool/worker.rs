//! Turns tasks into answered jobs: a worker of the pool, and the call of the responder that an
//! executor makes in place. Must not know sockets.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::{AnsweredJob, BudgetClock, ClientJob, CloseReason, Disconnect, Responder, TurnBudget};

use crate::config::Config;
use crate::current::Current;
use crate::job_times::Timing;
use crate::limits::TURN;
use crate::mailbox::Mailbox;
use crate::memory::MemoryBudget;
use crate::messages::ThreadMessage;
use crate::pool::worker_registry::{CallKind, CallOutcome, WorkerEntry, WorkerRegistry};
use crate::slots::thread_of;
use crate::sockets::ClientSocket;
use crate::sync::Receiver;
use crate::ticker::{Moment, Ticker};

/// Work for the pool.
#[derive(Debug)]
pub(crate) enum Task<S> {
    /// Answer this job, which waits since `sent`, and return it to its connection thread.
    Answer { job: ClientJob<S>, sent: Moment },
    /// Notify the responder that a client is gone.
    Disconnect(Disconnect<S>),
}

/// The pool: what its workers and [the watchdog](crate::pool::watchdog) over them share.
#[derive(Debug)]
pub(crate) struct Pool<R: Responder, K = ClientSocket> {
    pub(crate) responder: Arc<R>,
    pub(crate) config: Arc<Current<Config>>,
    pub(crate) tasks: Receiver<Task<R::Session>>,
    pub(crate) mailboxes: Vec<Mailbox<ThreadMessage<R::Session, K>>>,
    pub(crate) workers: Arc<WorkerRegistry>,
    pub(crate) memory: Arc<MemoryBudget>,
    pub(crate) ticker: Arc<Ticker>,
}

/// A worker, with the configuration that holds for its task.
pub(crate) struct Worker<'p, R: Responder, K = ClientSocket> {
    pool: &'p Pool<R, K>,
    entry: &'p WorkerEntry,
    config: Arc<Config>,
}

/// What is known of a job before it is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BegunJob {
    bytes_held: usize,
    timing: Timing,
}

impl<R: Responder, K> Pool<R, K> {
    /// Runs a worker: tasks, until every connection thread has ended and no task is left, or until
    /// it returns from a call so late that another has replaced it.
    pub(crate) fn work(&self, entry: &WorkerEntry) {
        let mut seen = self.config.seen();
        for task in &self.tasks {
            let worker = Worker { pool: self, entry, config: Arc::clone(seen.latest(&self.config)) };
            // A panic of the responder is caught where it is called. This catches panics elsewhere,
            // such as in the drop of a session whose connection is gone.
            let outcome = catch_unwind(AssertUnwindSafe(|| worker.run_task(task)));
            if outcome.is_err() {
                tracing::error!("A session has panicked at its end.");
            }
            if !worker.keeps_working(outcome.unwrap_or_else(|_| entry.finish())) {
                return;
            }
        }
        entry.leave();
    }

    /// Returns a worker that does one task.
    #[cfg(test)]
    pub(crate) fn worker<'p>(&'p self, entry: &'p WorkerEntry) -> Worker<'p, R, K> {
        Worker { pool: self, entry, config: self.config.get() }
    }
}

impl<R: Responder, K> Worker<'_, R, K> {
    /// Does one task, and returns whether it was in time.
    fn run_task(&self, task: Task<R::Session>) -> CallOutcome {
        let ticker = &self.pool.ticker;
        let now = ticker.now();
        match self.begin_task(task, now, Instant::now) {
            ControlFlow::Continue((job, begun)) => {
                let answered = answer(&self.pool.responder, &self.config, job, now, ticker, Instant::now);
                self.return_job(answered, begun, ticker.now())
            }
            ControlFlow::Break(outcome) => outcome,
        }
    }

    /// Does what a task needs before the responder answers, which may be all of it; otherwise
    /// returns the job to answer, and what is to be returned with it.
    pub(crate) fn begin_task(
        &self,
        task: Task<R::Session>,
        now: Moment,
        clock: impl Fn() -> Instant,
    ) -> ControlFlow<CallOutcome, (ClientJob<R::Session>, BegunJob)> {
        let Self { pool, entry, config } = self;
        let (job, sent) = match task {
            Task::Answer { job, sent } => (job, sent),
            Task::Disconnect(disconnect) => return ControlFlow::Break(self.run_disconnect(disconnect, now)),
        };
        if pool.workers.has_stopped_answering(now.time) {
            // The deadline of a stop has passed. All that is left is to drop the session, which is
            // the responder's code.
            entry.begin(CallKind::Disconnect, job.peer(), now);
            drop(job);
            return ControlFlow::Break(entry.finish());
        }
        entry.begin(CallKind::Answer { part: job.part() }, job.peer(), now);
        let timing = Timing { sent: sent.time, begun: now.time, answered: None };
        let begun = BegunJob { bytes_held: job.bytes_held(), timing };
        if has_waited_too_long(config, sent, now) {
            let turn = turn_budget(config.limits.max_unsent_bytes, now, &pool.ticker, &clock);
            let rejected = job.reject_all(&*pool.responder, &config.connection, turn);
            return ControlFlow::Break(self.send_home(rejected, begun, pool.ticker.at(clock())));
        }
        ControlFlow::Continue((job, begun))
    }

    /// Returns a job that the responder has answered.
    pub(crate) fn return_job(&self, job: AnsweredJob<R::Session>, mut begun: BegunJob, now: Moment) -> CallOutcome {
        begun.timing.answered = Some(now.time);
        self.send_home(job, begun, now)
    }

    /// Sends an answered job to its connection thread, unless it is too late or the thread has
    /// ended. What the job has grown by is charged here, since many jobs may be on their way before
    /// their connection thread receives the first of them.
    fn send_home(&self, mut answered: AnsweredJob<R::Session>, begun: BegunJob, now: Moment) -> CallOutcome {
        let BegunJob { bytes_held: bytes_before, timing } = begun;
        let outcome = self.entry.finish();
        let mailbox = &self.pool.mailboxes[thread_of(answered.id())];
        match outcome {
            CallOutcome::InTime if mailbox.has_receiver() => {
                let mut charged = 0;
                let mut is_within_budget = |job: &AnsweredJob<_>| {
                    self.pool.memory.charge(&mut charged, job.bytes_held().saturating_sub(bytes_before))
                };
                if !is_within_budget(&answered) {
                    answered = answered.close_with(CloseReason::Overloaded, &self.config.connection);
                    is_within_budget(&answered);
                }
                mailbox.send(ThreadMessage::Answered { job: answered, charged, timing });
            }
            CallOutcome::InTime => {}
            CallOutcome::TooLate => {
                if let Some(disconnect) = answered.into_disconnect(CloseReason::ReplyTimeout) {
                    let _ = self.run_disconnect(disconnect, now);
                }
            }
        }
        outcome
    }

    /// A responder that does not return from this costs a worker, and keeps no client waiting.
    fn run_disconnect(&self, disconnect: Disconnect<R::Session>, now: Moment) -> CallOutcome {
        self.entry.begin(CallKind::Disconnect, disconnect.peer(), now);
        notify(&self.pool.responder, disconnect);
        self.entry.finish()
    }

    /// Returns whether it goes on after a task with this outcome.
    pub(crate) fn keeps_working(&self, outcome: CallOutcome) -> bool {
        outcome == CallOutcome::InTime || self.pool.workers.is_still_needed(self.entry, self.config.workers)
    }
}

/// Returns whether the queue timeout of a task has passed.
pub(crate) fn has_waited_too_long(config: &Config, sent: Moment, now: Moment) -> bool {
    config.timeouts.queue.is_some_and(|timeout| sent.is_past(timeout, now))
}

/// The time since a turn began, and whether the ticker has ticked since.
struct TickerClock<'a, C> {
    start: Moment,
    ticker: &'a Ticker,
    clock: C,
}

impl<C: Fn() -> Instant> BudgetClock for TickerClock<'_, C> {
    fn elapsed(&mut self) -> Duration {
        (self.clock)().saturating_duration_since(self.start.time)
    }

    #[inline]
    fn has_ticked(&self) -> bool {
        self.ticker.tick() != self.start.tick
    }
}

/// Answers one turn of a job, which begins at `start`.
pub(crate) fn answer<R: Responder>(
    responder: &Arc<R>,
    config: &Config,
    job: ClientJob<R::Session>,
    start: Moment,
    ticker: &Ticker,
    clock: impl Fn() -> Instant,
) -> AnsweredJob<R::Session> {
    let budget = turn_budget(config.limits.max_unsent_bytes, start, ticker, clock);
    job.answer(&**responder, &config.connection, budget)
}

/// Returns the budget of a turn that begins at `start`.
const fn turn_budget<C: Fn() -> Instant>(
    max_unsent_bytes: usize,
    start: Moment,
    ticker: &Ticker,
    clock: C,
) -> TurnBudget<TickerClock<'_, C>> {
    TurnBudget::new(TURN, max_unsent_bytes, TickerClock { start, ticker, clock })
}

/// Notifies the responder that a client is gone. An error is logged.
pub(crate) fn notify<R: Responder>(responder: &Arc<R>, disconnect: Disconnect<R::Session>) {
    if let Err(error) = disconnect.notify(&**responder) {
        tracing::error!(error = %error, "Responder failed.");
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::limits::CHARGE_UNIT;
    use crate::mailbox::{Inbox, mailbox_of};
    use crate::pool::executor::Executor;
    use crate::slots::Slots;
    use crate::sync::channel;
    use crate::ticker::{TICK, TickerWaker, ticker};
    use greeter_core::{BoxError, Connection, Line, Peer, Rejection, Reply, client_id};

    /// Answers with the line, repeated this many times.
    struct Repeat(usize);

    impl Responder for Repeat {
        type Session = ();

        fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
            Ok(())
        }

        fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
            reply.line(line.as_bytes().repeat(self.0));
            Ok(())
        }
    }

    type TestInbox<S> = Inbox<ThreadMessage<S, ()>>;

    fn pool<R: Responder>(responder: R, max_bytes: usize) -> (Pool<R, ()>, TestInbox<R::Session>) {
        let (mailbox, inbox) = mailbox_of(|| Ok(()));
        let pool = Pool {
            config: Arc::new(Current::new(Arc::new(Config::without_timeouts(&responder)))),
            responder: Arc::new(responder),
            tasks: channel().1,
            mailboxes: vec![mailbox],
            workers: Arc::default(),
            memory: Arc::new(MemoryBudget::new(max_bytes)),
            ticker: Arc::default(),
        };
        (pool, inbox)
    }

    /// Returns the task of a client that has sent these bytes.
    fn task<R: Responder>(pool: &Pool<R, ()>, bytes: &[u8]) -> Task<R::Session> {
        let now = Instant::now();
        let peer = Peer::new(Slots::new().insert(()).client_id(0), ([192, 0, 2, 1], 4000).into());
        let config = pool.config.get();
        let config = &config.connection;
        let mut connection = Connection::new(peer, config, now);
        let connect = connection.take_job(now).expect("the responder is told of a new client");
        connection.answered(connect.answer(&*pool.responder, config, TurnBudget::unlimited()), config, now);
        connection.received(bytes, config, now);
        Task::Answer { job: connection.take_job(now).expect("there is a line"), sent: pool.ticker.at(now) }
    }

    fn with_queue_timeout<R: Responder>(pool: &Pool<R, ()>) {
        let mut config = Config::without_timeouts(&*pool.responder);
        config.timeouts.queue = Some(TICK);
        pool.config.replace(Arc::new(config));
    }

    #[test]
    fn a_backlog_is_more_than_each_worker_takes_next() {
        let (pool, _inbox) = pool(Repeat(1), 0);
        let (tasks, task_receiver) = channel();
        let mut executor = Executor::<Repeat>::pool(
            tasks,
            Arc::default(),
            &Config { workers: 2, ..Config::without_timeouts(&Repeat(1)) },
            ticker().0,
        );
        let mut backlogs = Vec::new();
        for _ in 0..3 {
            executor.put(task(&pool, b"Bob\n"));
            executor.flush();
            backlogs.push(executor.has_backlog());
        }
        assert_eq!(backlogs, [false, false, true]);
        task_receiver.recv().expect("there are three");
        assert!(!executor.has_backlog());
    }

    #[test]
    fn a_worker_is_idle_that_has_no_task_and_will_have_none() {
        let config = Config { workers: 2, ..Config::without_timeouts(&Repeat(1)) };
        let (pool, _inbox) = pool(Repeat(1), 0);
        let (tasks, task_receiver) = channel();
        let mut executor = Executor::<Repeat>::pool(tasks, Arc::clone(&pool.workers), &config, ticker().0);
        let workers = pool.workers.top_up(2, 2);
        assert!(executor.has_idle_worker());
        executor.put(task(&pool, b"Bob\n"));
        assert!(executor.has_idle_worker(), "one is to be sent, and the other worker is idle");
        executor.flush();
        executor.put(task(&pool, b"Ann\n"));
        assert!(!executor.has_idle_worker(), "each worker has one to take");
        executor.flush();
        task_receiver.recv().expect("there are two");
        workers[0].begin(
            CallKind::Answer { part: None },
            &Peer::new(client_id(1), ([192, 0, 2, 1], 4000).into()),
            ticker().0.ticker.now(),
        );
        assert!(!executor.has_idle_worker(), "one worker has its task, and the other is to take one");
        workers[0].finish();
        assert!(executor.has_idle_worker());
    }

    #[test]
    fn growth_of_a_job_is_charged_before_it_returns() {
        let (pool, inbox) = pool(Repeat(100), 1 << 20);
        let task = task(&pool, &[&[b'x'; 900][..], b"\n"].concat());
        assert_eq!(pool.worker(&WorkerEntry::default()).run_task(task), CallOutcome::InTime);
        let Some(ThreadMessage::Answered { job, charged, .. }) = inbox.next_message() else {
            panic!("the job is back")
        };
        assert_eq!(job.replies().len(), 900 * 100 + 1);
        assert!(charged as usize * CHARGE_UNIT > job.replies().len() - 2 * CHARGE_UNIT);
        assert_eq!(pool.memory.bytes(), charged as usize * CHARGE_UNIT);
    }

    #[test]
    fn replies_above_the_memory_budget_are_discarded() {
        let (pool, inbox) = pool(Repeat(10 * CHARGE_UNIT), 2 * CHARGE_UNIT);
        assert_eq!(pool.worker(&WorkerEntry::default()).run_task(task(&pool, b"Bob\r\n")), CallOutcome::InTime);
        let Some(ThreadMessage::Answered { job, charged: 0, .. }) = inbox.next_message() else {
            panic!("there is no room")
        };
        assert_eq!(job.replies(), b"error: overloaded\r\n");
        assert_eq!(pool.memory.bytes(), 0);
    }

    /// Counts the rejected lines of a session.
    struct Strict;

    impl Responder for Strict {
        type Session = u32;

        fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<u32, BoxError> {
            Ok(0)
        }

        fn respond(&self, _: &mut u32, _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
            Ok(())
        }

        fn reject(&self, session: Option<&mut u32>, rejection: Rejection, reply: &mut Reply<'_>) {
            if let Some(rejected) = session {
                *rejected += 1;
                reply.line(format_args!("{rejection} {rejected}"));
            }
        }
    }

    #[test]
    fn a_task_that_waited_too_long_is_rejected_line_by_line() {
        let (pool, inbox) = pool(Strict, 1 << 20);
        with_queue_timeout(&pool);
        let task = task(&pool, b"one\ntwo\n");
        pool.ticker.advance(1);
        let later = pool.ticker.at(Instant::now() + TICK);
        let begun = pool.worker(&WorkerEntry::default()).begin_task(task, later, Instant::now);
        assert!(matches!(begun, ControlFlow::Break(CallOutcome::InTime)));
        let Some(ThreadMessage::Answered { mut job, .. }) = inbox.next_message() else { panic!("the job is back") };
        assert_eq!((job.replies(), job.lines_answered()), (&b"busy 1\nbusy 2\n"[..], 2));
        assert_eq!(job.take_busy(), 2);
    }

    #[test]
    fn short_replies_are_not_charged() {
        let (pool, inbox) = pool(Repeat(2), CHARGE_UNIT);
        let mut other = 0;
        assert!(!pool.memory.charge(&mut other, 3 * CHARGE_UNIT));
        pool.worker(&WorkerEntry::default()).run_task(task(&pool, b"Bob\n"));
        let Some(ThreadMessage::Answered { job, charged: 0, .. }) = inbox.next_message() else {
            panic!("it is answered")
        };
        assert_eq!(job.replies(), b"BobBob\n");
    }

    #[test]
    fn a_job_without_a_connection_thread_is_not_charged() {
        let (pool, inbox) = pool(Repeat(10 * CHARGE_UNIT), 1 << 20);
        let task = task(&pool, b"Bob\n");
        let ControlFlow::Continue((job, begun)) =
            pool.worker(&WorkerEntry::default()).begin_task(task, pool.ticker.now(), Instant::now)
        else {
            panic!("a job")
        };
        let answered = answer(&pool.responder, &pool.config.get(), job, pool.ticker.now(), &pool.ticker, Instant::now);
        drop(inbox);
        assert_eq!(
            pool.worker(&WorkerEntry::default()).return_job(answered, begun, pool.ticker.now()),
            CallOutcome::InTime
        );
        assert_eq!(pool.memory.bytes(), 0);
    }

    #[test]
    fn tasks_are_sent_sixteen_at_a_time_or_when_nothing_more_comes_soon() {
        let (pool, _inbox) = pool(Repeat(1), 0);
        let (tasks, task_receiver) = channel();
        let mut executor = Executor::<Repeat>::pool(
            tasks,
            Arc::default(),
            &Config { workers: 2, ..Config::without_timeouts(&Repeat(1)) },
            ticker().0,
        );
        let mut sent = Vec::new();
        for _ in 0..17 {
            executor.put(task(&pool, b"Bob\n"));
            sent.push(task_receiver.len());
        }
        assert_eq!(sent, [[0; 15].as_slice(), &[16, 16]].concat());
        executor.flush();
        assert_eq!(task_receiver.len(), 17);
    }

    #[test]
    fn after_the_deadline_of_a_stop_no_job_is_answered() {
        let (pool, inbox) = pool(Repeat(1), 1 << 20);
        let task = task(&pool, b"Bob\n");
        let now = pool.ticker.now();
        pool.workers.stop_answering_at(now.time);
        let begun = pool.worker(&WorkerEntry::default()).begin_task(task, now, Instant::now);
        assert!(matches!(begun, ControlFlow::Break(CallOutcome::InTime)));
        assert!(inbox.next_message().is_none());
    }

    /// Records the sessions that have ended, and why.
    #[derive(Default)]
    struct DisconnectLog(std::sync::Mutex<Vec<(u32, CloseReason)>>);

    impl Responder for DisconnectLog {
        type Session = u32;

        fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<u32, BoxError> {
            Ok(0)
        }

        fn respond(&self, lines: &mut u32, _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
            *lines += 1;
            Ok(())
        }

        fn disconnect(&self, lines: u32, reason: CloseReason) {
            self.0.lock().unwrap().push((lines, reason));
        }
    }

    #[test]
    fn a_late_answer_is_dropped_and_its_session_ends() {
        let (pool, inbox) = pool(DisconnectLog::default(), 1 << 20);
        let entry = WorkerEntry::default();
        let ControlFlow::Continue((job, begun)) =
            pool.worker(&entry).begin_task(task(&pool, b"a\nb\n"), pool.ticker.now(), Instant::now)
        else {
            panic!("a job")
        };
        pool.ticker.advance(1);
        assert!(entry.time_out(Duration::ZERO, pool.ticker.now()).is_some());
        let answered = answer(&pool.responder, &pool.config.get(), job, pool.ticker.now(), &pool.ticker, Instant::now);
        assert_eq!(pool.worker(&entry).return_job(answered, begun, pool.ticker.now()), CallOutcome::TooLate);
        assert!(inbox.next_message().is_none());
        assert_eq!(*pool.responder.0.lock().unwrap(), [(2, CloseReason::ReplyTimeout)]);
        assert!(matches!(entry.state(), crate::pool::worker_registry::WorkerState::Idle));
    }

    #[test]
    fn a_turn_lasts_for_a_millisecond_or_until_the_next_tick() {
        let (pool, _inbox) = pool(Repeat(1), 0);
        let lines_answered = |step: Duration, ticks: u64| {
            let Task::Answer { job, sent } = task(&pool, &b"x\n".repeat(10)) else { panic!("a job") };
            let readings = std::cell::Cell::new(0);
            let clock = || {
                readings.set(readings.get() + 1);
                pool.ticker.advance(ticks);
                sent.time + step * readings.get()
            };
            answer(&pool.responder, &pool.config.get(), job, sent, &pool.ticker, clock).lines_answered()
        };
        assert_eq!(lines_answered(Duration::from_micros(300), 0), 4);
        assert_eq!(lines_answered(Duration::from_micros(300), 1), 2, "the tick comes with the first reading");
    }

    #[test]
    fn a_task_waits_too_long_only_with_a_queue_timeout() {
        let (pool, _inbox) = pool(Repeat(1), 0);
        let sent = pool.ticker.now();
        pool.ticker.advance(1);
        let now = pool.ticker.at(sent.time + TICK);
        assert!(!has_waited_too_long(&pool.config.get(), sent, now), "there is none");
        with_queue_timeout(&pool);
        assert!(has_waited_too_long(&pool.config.get(), sent, now));
        assert!(!has_waited_too_long(&pool.config.get(), now, now));
    }

    #[test]
    fn a_worker_runs_all_tasks_and_ends_with_their_senders() {
        let (mut pool, inbox) = pool(DisconnectLog::default(), 1 << 20);
        let (tasks, task_receiver) = channel();
        pool.tasks = task_receiver;
        let Task::Answer { job, .. } = task(&pool, b"x\n") else { panic!("a job") };
        let disconnect = job
            .answer(&*pool.responder, &pool.config.get().connection, TurnBudget::unlimited())
            .into_disconnect(CloseReason::Lost);
        tasks.send(task(&pool, b"a\nb\n")).unwrap();
        tasks.send(Task::Disconnect(disconnect.expect("the session has begun"))).unwrap();
        tasks.send(task(&pool, b"c\n")).unwrap();
        drop(tasks);
        let workers = pool.workers.top_up(1, 1);
        pool.work(&workers[0]);
        let lines = std::iter::from_fn(|| inbox.next_message()).map(|message| match message {
            ThreadMessage::Answered { job, .. } => job.lines_answered(),
            other => panic!("{other:?}"),
        });
        assert_eq!(lines.collect::<Vec<_>>(), [2, 1]);
        assert_eq!(*pool.responder.0.lock().unwrap(), [(1, CloseReason::Lost)]);
        assert!(pool.workers.top_up(0, 1).is_empty() && pool.workers.all().is_empty(), "it has left");
    }

    #[test]
    fn a_worker_goes_on_unless_it_is_late_and_replaced() {
        let (pool, _inbox) = pool(Repeat(1), 0);
        let workers = pool.workers.top_up(1, 1);
        assert!(
            pool.worker(&workers[0]).keeps_working(CallOutcome::InTime)
                && pool.worker(&workers[0]).keeps_working(CallOutcome::TooLate)
        );
        pool.workers.top_up(2, 2);
        assert!(pool.worker(&workers[0]).keeps_working(CallOutcome::InTime));
        assert!(!pool.worker(&workers[0]).keeps_working(CallOutcome::TooLate));
    }

    #[test]
    fn without_a_pool_tasks_run_in_place() {
        let (pool, _inbox) = pool(DisconnectLog::default(), 0);
        let ticker_waker = TickerWaker::of(Arc::clone(&pool.ticker));
        let mut executor = Executor::in_place(Arc::clone(&pool.responder), pool.config.get(), ticker_waker);
        let Task::Answer { job, sent } = task(&pool, b"a\nb\n") else { panic!("a job") };
        let answered = executor.answer(job, sent.time, || sent.time).expect("it is answered");
        assert_eq!(answered.lines_answered(), 2);
        executor.disconnect(answered.into_disconnect(CloseReason::Lost).expect("the session has begun"));
        assert_eq!(*pool.responder.0.lock().unwrap(), [(2, CloseReason::Lost)]);
        assert!(!executor.has_backlog());
    }
}
