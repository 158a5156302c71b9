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
                    mailbox.send(Mail::Refused { job: job.reject_without_responder(&self.pool.terms), grains: 0 });
                }
                Task::Answer { .. } if staff == Staff::AllStuck => {
                    self.held = Some(task);
                    break;
                }
                Task::Answer { .. } | Task::Disconnect(_) => to_give_back.push(task),
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

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::buffers::Buffers;
    use crate::mailbox::{Inbox, mailbox_of};
    use crate::pool::PoolLimits;
    use crate::posts::Outcome;
    use crate::slots::Slots;
    use crate::sync::channel;
    use greeter_core::{Connection, ConnectionConfig, ConnectionTimeouts, Greeter, Peer, TurnBudget};
    use std::cell::Cell;

    const WORKERS: usize = 2;

    /// A pool whose workers do as the test says, with the mail of its two connection threads, in milliseconds since it began.
    struct House {
        pool: Arc<Pool<Greeter, ()>>,
        tasks: Sender<Task<()>>,
        inboxes: Vec<Inbox<Mail<(), ()>>>,
        began: Instant,
        /// How many more threads the system has.
        threads: Cell<usize>,
    }

    impl House {
        fn new(queue_timeout: Option<u64>, reply_timeout: Option<u64>) -> Self {
            let (mailboxes, inboxes) = (0..2).map(|_| mailbox_of(|| Ok(()))).unzip();
            let (tasks, tasks_to_do) = channel();
            let millis = |timeout: Option<u64>| timeout.map(Duration::from_millis);
            let (queue_timeout, reply_timeout) = (millis(queue_timeout), millis(reply_timeout));
            let limits = PoolLimits { workers: WORKERS, max_unsent_bytes: 1 << 20, queue_timeout, reply_timeout };
            let pool = Pool {
                terms: Arc::new(ConnectionConfig::new(1000, ConnectionTimeouts::NONE, &Greeter)),
                responder: Arc::new(Greeter),
                tasks: tasks_to_do,
                mailboxes,
                posts: Arc::default(),
                buffers: Arc::new(Buffers::new(0)),
                ticker: Arc::default(),
                limits,
            };
            Self { pool: Arc::new(pool), tasks, inboxes, began: Instant::now(), threads: Cell::new(usize::MAX) }
        }

        fn watch(&self) -> Watch<Greeter, impl FnMut(&Arc<Post>) -> io::Result<()>, ()> {
            let recruit = |_: &Arc<Post>| {
                self.threads.set(self.threads.get().checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?);
                Ok(())
            };
            Watch::new(Arc::clone(&self.pool), recruit, self.tasks.clone())
        }

        fn at(&self, millis: u64) -> Moment {
            self.pool.ticker.set(millis / 10);
            self.pool.ticker.at(self.began + Duration::from_millis(millis))
        }

        fn queue(&self, text: &str, millis: u64) {
            let mut connection = Connection::new(client(0), &self.pool.terms, self.began);
            let hello = connection.take_job(self.began).expect("the responder is to know of it");
            connection.answered(hello.answer(&Greeter, TurnBudget::unlimited()), self.began);
            connection.received(text.as_bytes(), self.began);
            let job = connection.take_job(self.began).expect("there is a line");
            self.tasks.send(Task::Answer { job, sent: self.at(millis) }).unwrap();
        }

        /// What has come for a thread's clients.
        fn mail(&self, thread: usize) -> Vec<String> {
            let in_words = |mail| match mail {
                Mail::Overdue(id) => format!("{id:?} is overdue"),
                Mail::Refused { job, grains: 0 } => String::from_utf8_lossy(job.replies()).into_owned(),
                other => panic!("{other:?}"),
            };
            std::iter::from_fn(|| self.inboxes[thread].next_message()).map(in_words).collect()
        }
    }

    fn client(thread: usize) -> Peer {
        Peer::new(Slots::<()>::new().next_key().client_id(thread), ([192, 0, 2, 1], 4000).into())
    }

    #[test]
    fn an_overdue_answer_is_told_to_its_connection_thread_and_others_work_on() {
        let house = House::new(None, Some(100));
        let mut watch = house.watch();
        assert!(!watch.look_around(house.at(0)));
        let posts = house.pool.posts.all();
        assert_eq!(posts.len(), WORKERS);
        posts[0].begin(Errand::Answer, client(1), house.at(0));
        posts[1].begin(Errand::Disconnect, client(0), house.at(0));
        // The line at hand may have begun at the first tick.
        assert!(watch.look_around(house.at(10)) && watch.look_around(house.at(109)));
        assert_eq!((house.mail(1), house.pool.posts.all().len()), (vec![], 2));
        assert!(!watch.look_around(house.at(110)), "nobody waits for any of them");
        assert_eq!(house.mail(0), [""; 0], "nobody waits for a farewell");
        assert_eq!(house.mail(1), [format!("{:?} is overdue", client(1).id)]);
        assert_eq!(house.pool.posts.all().len(), 4);
    }

    #[test]
    fn without_a_reply_timeout_nobody_is_given_up() {
        let house = House::new(None, None);
        let mut watch = house.watch();
        watch.look_around(house.at(0));
        house.pool.posts.all()[0].begin(Errand::Answer, client(1), house.at(0));
        assert!((1..100).all(|seconds| watch.look_around(house.at(seconds * 1000))));
        assert_eq!((house.mail(1), house.pool.posts.all().len()), (vec![], WORKERS));
    }

    #[test]
    fn four_are_started_in_the_place_of_each_and_no_more() {
        let house = House::new(None, Some(10));
        let mut watch = house.watch();
        for millis in (0..1000).step_by(10) {
            watch.look_around(house.at(millis));
            for post in house.pool.posts.all() {
                if matches!(post.look(), Duty::Free) {
                    post.begin(Errand::Answer, client(0), house.at(millis));
                }
            }
        }
        assert_eq!(house.pool.posts.all().len(), WORKERS + 4 * WORKERS);
    }

    #[test]
    fn where_no_thread_is_to_be_had_the_place_stays_empty_and_is_looked_at_again() {
        let house = House::new(None, Some(1000));
        let mut watch = house.watch();
        house.threads.set(1);
        let mut at_work = |millis| {
            watch.look_around(house.at(millis));
            house.pool.posts.all().iter().filter(|post| matches!(post.look(), Duty::Free)).count()
        };
        assert_eq!(at_work(0), 1);
        house.threads.set(1);
        assert_eq!([at_work(99), at_work(100)], [1, 2]);
    }

    #[test]
    fn the_queue_is_looked_at_ten_times_within_the_shorter_timeout_but_every_quarter_of_a_second() {
        let interval = |queue, reply| house_interval(&House::new(queue, reply)).as_millis();
        assert_eq!(interval(Some(1000), Some(500)), 50);
        assert_eq!(interval(Some(500), Some(1000)), 50);
        assert_eq!([interval(None, Some(5000)), interval(Some(5000), None), interval(None, None)], [250; 3]);
    }

    fn house_interval(house: &House) -> Duration {
        house.watch().interval()
    }

    #[test]
    fn while_all_are_stuck_what_has_waited_too_long_is_refused_and_what_has_not_is_kept() {
        let house = House::new(Some(100), None);
        let mut watch = house.watch();
        watch.look_around(house.at(0));
        let posts = house.pool.posts.all();
        posts.iter().for_each(|post| post.begin(Errand::Answer, client(1), house.at(0)));
        house.queue("Ann\nBob\r\n", 0);
        house.queue("Cid\n", 50);
        assert!(watch.look_around(house.at(90)));
        assert_eq!((house.mail(0), house.pool.tasks.len()), (vec![], 2), "they may be free soon");
        assert!(watch.look_around(house.at(100)));
        assert_eq!(house.mail(0), ["error: busy\nerror: busy\r\n"]);
        assert_eq!(house.pool.tasks.len(), 0, "the watch holds the other");
        assert!(watch.look_around(house.at(140)));
        assert_eq!(house.mail(0), [""; 0]);
        assert!(watch.look_around(house.at(150)));
        assert_eq!(house.mail(0), ["error: busy\n"]);
    }

    #[test]
    fn what_the_watch_holds_goes_back_into_the_queue_when_somebody_is_free_again() {
        let house = House::new(Some(100), None);
        let mut watch = house.watch();
        watch.look_around(house.at(0));
        let posts = house.pool.posts.all();
        posts.iter().for_each(|post| post.begin(Errand::Answer, client(1), house.at(0)));
        house.queue("Ann\n", 90);
        watch.look_around(house.at(100));
        assert_eq!(house.pool.tasks.len(), 0);
        assert!(posts.iter().all(|post| post.finish() == Outcome::InTime));
        assert!(watch.look_around(house.at(110)), "there is a task to do");
        assert_eq!((house.pool.tasks.len(), house.mail(0)), (1, vec![]));
        assert!(house.pool.tasks.recv().is_ok());
        assert!(!watch.look_around(house.at(120)));
    }

    #[test]
    fn where_nobody_is_left_every_line_is_refused_at_once() {
        let house = House::new(None, Some(10));
        let mut watch = house.watch();
        house.threads.set(0);
        house.queue("Ann\n", 0);
        assert!(!watch.look_around(house.at(0)));
        assert_eq!(house.mail(0), ["error: busy\n"]);
    }
}
