//! Where jobs are answered: by the workers of a pool, or on the spot.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::{AnsweredJob, ClientJob, CloseReason, Farewell, Responder, Slice, Terms};
use mio::net::TcpStream;

use crate::builder::Plan;
use crate::connection_thread::Mail;
use crate::mailbox::Mailbox;
use crate::posts::{Errand, Outcome, Post, Posts};
use crate::slots::thread_of;
use crate::sync::{Receiver, Sender};

/// How long a job may keep a worker while others wait. Long against what it costs to send a job home and back (some
/// microseconds), short against what a person notices.
const SLICE: Duration = Duration::from_millis(1);

/// What a connection thread wants done.
#[derive(Debug)]
pub(crate) enum Task<S> {
    /// Answer this job, which waits since then, and send it back to its connection thread.
    Answer { job: ClientJob<S>, sent: Instant },
    /// Tell the responder that a client is gone.
    Farewell(Farewell<S>),
}

/// Who answers the jobs of a connection thread.
#[derive(Debug)]
pub(crate) enum Placement<R: Responder> {
    /// The connection thread itself: the article's first program.
    InPlace { responder: Arc<R>, unsent_bytes_max: usize },
    /// Whichever worker is free: the article's second. The channel has no bound of its own, and needs none: a connection has
    /// one job, and what it leaves behind at its end is one farewell.
    Pool { tasks: Sender<Task<R::Session>>, _presence: Presence },
}

/// What a connection thread holds as long as it lives, so that it can be known when the last one is gone.
pub(crate) type Presence = crossbeam_channel::Sender<Infallible>;

impl<R: Responder> Placement<R> {
    /// Has a job answered: now, or by a message to the connection thread.
    pub(crate) fn answer(
        &self,
        job: ClientJob<R::Session>,
        now: Instant,
        clock: impl Fn() -> Instant,
    ) -> Option<AnsweredJob<R::Session>> {
        match self {
            Self::InPlace { responder, unsent_bytes_max } => {
                Some(answer(responder, job, *unsent_bytes_max, now, clock))
            }
            Self::Pool { tasks, .. } => {
                send(tasks, Task::Answer { job, sent: now });
                None
            }
        }
    }

    pub(crate) fn farewell(&self, farewell: Farewell<R::Session>) {
        match self {
            Self::InPlace { responder, .. } => say(responder, farewell),
            Self::Pool { tasks, .. } => send(tasks, Task::Farewell(farewell)),
        }
    }
}

/// The pool: what its workers and [the watch](crate::watch) over them share.
#[derive(Debug)]
pub(crate) struct Pool<R: Responder, K = TcpStream> {
    pub(crate) responder: Arc<R>,
    pub(crate) terms: Arc<Terms>,
    pub(crate) tasks: Receiver<Task<R::Session>>,
    pub(crate) mailboxes: Vec<Mailbox<Mail<R::Session, K>>>,
    pub(crate) posts: Arc<Posts>,
    pub(crate) limits: PoolLimits,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolLimits {
    pub(crate) workers: usize,
    /// How many bytes of replies end a slice.
    pub(crate) unsent_bytes_max: usize,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) reply_timeout: Option<Duration>,
}

impl PoolLimits {
    pub(crate) const fn of(plan: &Plan) -> Self {
        Self {
            workers: plan.workers,
            unsent_bytes_max: plan.limits.unsent_bytes_max,
            queue_timeout: plan.timeouts.queue,
            reply_timeout: plan.timeouts.reply,
        }
    }
}

impl<R: Responder, K> Pool<R, K> {
    /// A worker's life: tasks, until every connection thread is gone and no task is left, or until it comes back so late that
    /// another works in its place.
    pub(crate) fn work(&self, post: &Arc<Post>) {
        for task in &self.tasks {
            // What a responder does while it answers is contained where it happens. This is for what happens elsewhere, such as
            // the drop of a session that nobody can take back.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.perform(task, post)));
            if outcome.is_err() {
                tracing::error!("A session has panicked at its end.");
            }
            if !self.stays(post, outcome.unwrap_or_else(|_| post.finish())) {
                return;
            }
        }
        post.leave();
    }

    fn perform(&self, task: Task<R::Session>, post: &Post) -> Outcome {
        let now = Instant::now();
        match self.begin(task, post, now) {
            ControlFlow::Continue(job) => {
                let answered = answer(&self.responder, job, self.limits.unsent_bytes_max, now, Instant::now);
                self.finish(answered, post, Instant::now)
            }
            ControlFlow::Break(outcome) => outcome,
        }
    }

    /// Does what is done with a task at once, which may be all of it. Where it is a job to be answered, that is left.
    pub(crate) fn begin(
        &self,
        task: Task<R::Session>,
        post: &Post,
        now: Instant,
    ) -> ControlFlow<Outcome, ClientJob<R::Session>> {
        let (job, sent) = match task {
            Task::Answer { job, sent } => (job, sent),
            Task::Farewell(farewell) => return ControlFlow::Break(self.say(farewell, post, now)),
        };
        let mailbox = &self.mailboxes[thread_of(job.id())];
        if !mailbox.is_read() {
            // A shutdown ran out of time. Nobody would read the answer.
            return ControlFlow::Break(Outcome::InTime);
        }
        if self.has_waited_too_long(sent, now) {
            mailbox.send(Mail::Refused(job.refuse_all(&self.terms)));
            return ControlFlow::Break(Outcome::InTime);
        }
        post.begin(Errand::Answer, job.peer(), now);
        ControlFlow::Continue(job)
    }

    /// Sends an answer home, unless it comes too late.
    pub(crate) fn finish(
        &self,
        answered: AnsweredJob<R::Session>,
        post: &Post,
        clock: impl Fn() -> Instant,
    ) -> Outcome {
        let outcome = post.finish();
        match outcome {
            Outcome::InTime => self.mailboxes[thread_of(answered.id())].send(Mail::Answered(answered)),
            Outcome::TooLate => {
                if let Some(farewell) = answered.into_farewell(CloseReason::NoReply) {
                    let _ = self.say(farewell, post, clock());
                }
            }
        }
        outcome
    }

    /// A responder that does not come back from this keeps no client waiting, but a worker.
    fn say(&self, farewell: Farewell<R::Session>, post: &Post, now: Instant) -> Outcome {
        post.begin(Errand::Farewell, farewell.peer(), now);
        say(&self.responder, farewell);
        post.finish()
    }

    /// Whether a worker goes on after a task that came out so.
    pub(crate) fn stays(&self, post: &Post, outcome: Outcome) -> bool {
        outcome == Outcome::InTime || self.posts.may_stay(post, self.limits.workers)
    }

    pub(crate) fn has_waited_too_long(&self, sent: Instant, now: Instant) -> bool {
        self.limits.queue_timeout.is_some_and(|timeout| now.saturating_duration_since(sent) >= timeout)
    }
}

fn send<S>(tasks: &Sender<Task<S>>, task: Task<S>) {
    tasks.send(task).expect("the pool outlives the connection threads");
}

/// Answers one slice of a job.
pub(crate) fn answer<R: Responder>(
    responder: &Arc<R>,
    job: ClientJob<R::Session>,
    unsent_bytes_max: usize,
    start: Instant,
    clock: impl Fn() -> Instant,
) -> AnsweredJob<R::Session> {
    job.answer(&**responder, Slice::new(SLICE, unsent_bytes_max, || clock().saturating_duration_since(start)))
}

fn say<R: Responder>(responder: &Arc<R>, farewell: Farewell<R::Session>) {
    if let Err(fault) = farewell.say(&**responder) {
        tracing::error!(error = %fault, "Responder failed.");
    }
}
