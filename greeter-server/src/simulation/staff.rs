//! Those who answer: the workers of a pool, and the watch over them.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use greeter_core::AnsweredJob;

use super::clock::Clock;
use super::oracle::number_of;
use super::responder::Puppet;
use super::wire::VirtualSocket;
use crate::pool::{Home, Pool, Task, answer};
use crate::posts::{Duty, Post};
use crate::ticker::Moment;
use crate::watch::Watch;

type Recruit = Box<dyn FnMut(&Arc<Post>) -> io::Result<()>>;

/// The pool's own code, with its threads and its time taken out of it.
pub(super) struct Staff {
    pub(super) pool: Arc<Pool<Puppet, VirtualSocket>>,
    pub(super) workers: Rc<RefCell<Vec<Worker>>>,
    watch: Watch<Puppet, Recruit, VirtualSocket>,
    pub(super) next_look: Option<Instant>,
    look_around: Duration,
    /// The time that answering takes.
    clock: Clock,
}

pub(super) struct Worker {
    pub(super) post: Arc<Post>,
    pub(super) work: Option<Work>,
}

/// What a worker has in hand.
pub(super) struct Work {
    answered: AnsweredJob<u32>,
    bytes_before: usize,
    pub(super) until: Instant,
}

impl Staff {
    pub(super) fn new(
        pool: Pool<Puppet, VirtualSocket>,
        tasks: Sender<Task<u32>>,
        clock: Clock,
        look_around: Duration,
        mut has_no_threads: impl FnMut() -> bool + 'static,
    ) -> Self {
        let pool = Arc::new(pool);
        let hire = |post: &Arc<Post>| Worker { post: Arc::clone(post), work: None };
        let posts = pool.posts.fill(pool.limits.workers, pool.limits.workers);
        let workers: Vec<Worker> = posts.iter().map(hire).collect();
        let workers = Rc::new(RefCell::new(workers));
        let staff = Rc::clone(&workers);
        let recruit: Recruit = Box::new(move |post| {
            if has_no_threads() {
                return Err(ErrorKind::WouldBlock.into());
            }
            staff.borrow_mut().push(hire(post));
            Ok(())
        });
        let watch = Watch::new(Arc::clone(&pool), recruit, tasks);
        let next_look = Some(clock.now() + look_around);
        Self { pool, workers, watch, next_look, look_around, clock }
    }

    /// Whether this worker can do something now.
    pub(super) fn can_work(&self, worker: usize, now: Instant) -> bool {
        match &self.workers.borrow()[worker].work {
            Some(work) => work.until <= now,
            None => !self.pool.tasks.is_empty(),
        }
    }

    /// Takes a task, or brings one to its end. Tells whose job was begun or ended.
    pub(super) fn work(&self, worker: usize, now: Moment) -> Option<u32> {
        let (post, work) = {
            let worker = &mut self.workers.borrow_mut()[worker];
            (Arc::clone(&worker.post), worker.work.take())
        };
        let Some(Work { answered, bytes_before, .. }) = work else {
            let task = self.pool.tasks.try_recv().ok()?;
            let job = match self.pool.begin(task, &post, now, || now.time) {
                ControlFlow::Continue(job) => job,
                // What is said to the responder takes no time here, and so is said in time.
                ControlFlow::Break(outcome) => {
                    assert!(self.pool.stays(&post, outcome));
                    return None;
                }
            };
            let number = number_of(job.peer().address);
            let bytes_before = job.bytes_held();
            // What comes of it is known now, and told when the time has passed that it took.
            self.clock.set(now.time);
            let responder = &self.pool.responder;
            let max_unsent_bytes = self.pool.limits.max_unsent_bytes;
            responder.begin_run();
            let answered = answer(responder, job, max_unsent_bytes, now, &self.clock.ticker, || self.clock.now());
            responder.check_run();
            self.workers.borrow_mut()[worker].work = Some(Work { answered, bytes_before, until: self.clock.now() });
            return Some(number);
        };
        let number = number_of(answered.peer().address);
        let is_late = matches!(post.look(), Duty::Overdue(_));
        let outcome = self.pool.finish(Home::Answered, answered, bytes_before, &post, || now);
        if !self.pool.stays(&post, outcome) {
            self.workers.borrow_mut().remove(worker);
        }
        (!is_late).then_some(number)
    }

    /// The watch looks around.
    pub(super) fn look_around(&mut self, now: Moment) {
        self.watch.look_around(now);
        self.next_look = Some(now.time + self.look_around);
    }

    /// Whose jobs are with workers that somebody waits for.
    pub(super) fn answering(&self) -> Vec<u32> {
        let workers = self.workers.borrow();
        let assignments = workers.iter().filter_map(|worker| match worker.post.look() {
            Duty::Answering(assignment) => Some(number_of(assignment.peer.address)),
            Duty::Free | Duty::Overdue(_) | Duty::Gone => None,
        });
        assignments.collect()
    }

    /// However many were stuck and have come back, no more are at work than there should be.
    pub(super) fn check_number(&self) {
        let workers = self.workers.borrow();
        let at_work = workers.iter().filter(|worker| !matches!(worker.post.look(), Duty::Overdue(_))).count();
        assert!(at_work <= self.pool.limits.workers, "{at_work} workers are at work");
    }

    /// No worker has been at something for longer than it may.
    pub(super) fn check_patience(&self, now: Instant, slack: Duration) {
        let Some(timeout) = self.pool.limits.reply_timeout else { return };
        for worker in &*self.workers.borrow() {
            if let Duty::Answering(assignment) = worker.post.look() {
                let took = now.saturating_duration_since(assignment.since.time);
                assert!(took <= timeout * 2 + slack + 2 * self.look_around, "nobody gives up on {:?}", assignment.peer);
            }
        }
    }
}
