//! The watch over the workers: a responder that does not come back costs its own client, and nobody else.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::Responder;
use mio::net::TcpStream;

use crate::connection_thread::Mail;
use crate::pool::{Pool, Task};
use crate::posts::{Assignment, Duty, Errand, Post};
use crate::slots::thread_of;
use crate::sync::Sender;
use crate::ticker::Moment;

/// How often the watch looks at the queue, and for places to fill: a fraction of the shortest timeout, but no less often than this.
const LOOKS_PER_TIMEOUT: u32 = 10;
const LOOK_MAX: Duration = Duration::from_millis(250);

/// How many workers may be stuck for each that works: for so many a replacement is started. A responder that hangs for every
/// client would otherwise fill the process with threads.
pub(crate) const STUCK_PER_WORKER: usize = 4;

/// What is done at each [tick](crate::ticker), which is three things. It gives up on answers that are overdue: the client is told, and whoever
/// is stuck in the responder is left there. It starts a worker in the place of each that is stuck, up to a number. And where
/// nobody is left to take tasks, it refuses them.
pub(crate) struct Watch<R: Responder, F, K = TcpStream> {
    pool: Arc<Pool<R, K>>,
    /// Has a worker start at a post.
    recruit: F,
    /// The way back into the queue. It is dropped with the watch, so that it keeps no worker waiting.
    tasks: Sender<Task<R::Session>>,
    /// When replacements and the queue are looked at next, which takes longer than to look at the workers.
    next_long_look: Option<Instant>,
    /// A task that was taken out of the queue to see how long it has waited, and has not waited too long.
    held: Option<Task<R::Session>>,
}

impl<R: Responder, F: FnMut(&Arc<Post>) -> io::Result<()>, K> Watch<R, F, K> {
    pub(crate) const fn new(pool: Arc<Pool<R, K>>, recruit: F, tasks: Sender<Task<R::Session>>) -> Self {
        Self { pool, recruit, tasks, next_long_look: None, held: None }
    }

    /// Tells whether there is anything to look after.
    pub(crate) fn look_around(&mut self, now: Moment) -> bool {
        let gave_up = self.give_up_on_the_overdue(now);
        if gave_up || self.next_long_look.is_none_or(|next| next <= now.time) {
            self.next_long_look = Some(now.time + self.interval());
            self.start_replacements();
            self.look_after_the_queue(now);
        }
        self.held.is_some() || !self.pool.tasks.is_empty() || self.pool.posts.are_answering()
    }

    fn interval(&self) -> Duration {
        let limits = self.pool.limits;
        let shortest = [limits.queue_timeout, limits.reply_timeout].into_iter().flatten().min();
        shortest.map_or(LOOK_MAX, |shortest| (shortest / LOOKS_PER_TIMEOUT).min(LOOK_MAX))
    }

    /// Tells whether there was such a one.
    fn give_up_on_the_overdue(&self, now: Moment) -> bool {
        let Some(timeout) = self.pool.limits.reply_timeout else { return false };
        let mut gave_up = false;
        for post in self.pool.posts.all() {
            if let Some(assignment) = post.give_up_after(timeout, now) {
                gave_up = true;
                let id = assignment.peer.id;
                tracing::error!(peer = %assignment.peer.address, ?timeout, "Responder does not come back.");
                if assignment.errand == Errand::Answer {
                    self.pool.mailboxes[thread_of(id)].send(Mail::Overdue(id));
                }
            }
        }
        gave_up
    }

    fn start_replacements(&mut self) {
        let workers = self.pool.limits.workers;
        for post in self.pool.posts.fill(workers, workers + workers * STUCK_PER_WORKER) {
            if let Err(error) = (self.recruit)(&post) {
                post.leave();
                tracing::error!(%error, "Cannot start a worker in the place of one that is stuck.");
            }
        }
    }

    /// Tasks that have waited too long are refused by the worker that takes them. While all workers are stuck, none does. Then the
    /// watch looks at the first in the queue, and holds it until its time is over or somebody is free again.
    fn look_after_the_queue(&mut self, now: Moment) {
        let staff = self.staff(now);
        let mut to_give_back = Vec::new();
        while let Some(task) = self.held.take().or_else(|| self.next_task(staff)) {
            match task {
                Task::Answer { job, sent }
                    if staff == Staff::NobodyLeft
                        || staff == Staff::AllStuck && self.pool.has_waited_too_long(sent, now) =>
                {
                    let mailbox = &self.pool.mailboxes[thread_of(job.id())];
                    mailbox.send(Mail::Refused { job: job.refuse_unheard(&self.pool.terms), grains: 0 });
                }
                Task::Answer { .. } if staff == Staff::AllStuck => {
                    self.held = Some(task);
                    break;
                }
                Task::Answer { .. } | Task::Farewell(_) => to_give_back.push(task),
            }
        }
        for task in to_give_back {
            self.tasks.send(task).expect("the watch itself can receive");
        }
    }

    fn next_task(&self, staff: Staff) -> Option<Task<R::Session>> {
        match staff {
            Staff::AtWork => None,
            Staff::AllStuck | Staff::NobodyLeft => self.pool.tasks.try_recv().ok(),
        }
    }

    fn staff(&self, now: Moment) -> Staff {
        let stuck_after = self.pool.limits.queue_timeout.unwrap_or(Duration::MAX);
        let posts = self.pool.posts.all();
        let staff = posts.iter().map(|post| match post.look() {
            Duty::Free => Staff::AtWork,
            Duty::Answering(Assignment { since, .. }) if !since.is_past(stuck_after, now) => Staff::AtWork,
            Duty::Answering(_) => Staff::AllStuck,
            Duty::Overdue(_) | Duty::Gone => Staff::NobodyLeft,
        });
        staff.min().unwrap_or(Staff::NobodyLeft)
    }
}

/// Who there is to take tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Staff {
    /// At least one worker that is free or will be soon, for all one can tell.
    AtWork,
    /// Only workers that have been at one task for longer than a task may wait.
    AllStuck,
    /// Only workers that nobody waits for any more, and no more may be started.
    NobodyLeft,
}
