//! What each worker is at, so that somebody can watch over them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use greeter_core::Peer;

use crate::sync::{Mutex, MutexGuard};
use crate::ticker::Moment;

/// A worker's place. The worker says there what it is at; the watch may give up on it. Both go through one lock, so a job is
/// either answered in time or overdue, and never both.
#[derive(Debug, Default)]
pub(crate) struct Post {
    duty: Mutex<Duty>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Duty {
    /// Free, or at something that nobody waits for.
    #[default]
    Free,
    /// With the responder.
    Answering(Assignment),
    /// With the responder still, but nobody waits for it any more.
    Overdue(Assignment),
    /// The worker has ended.
    Gone,
}

/// Which client a worker is with the responder for, what for, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assignment {
    pub(crate) peer: Peer,
    pub(crate) errand: Errand,
    pub(crate) since: Moment,
    /// A moment at which it was at the line that it is at still, for all one can tell from outside: the first tick that came after it had
    /// begun. No other line begins [after that](greeter_core::Clock::has_ticked).
    same_line_since: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// The connection waits for its job.
    Answer,
    /// The client is gone.
    Disconnect,
}

/// One worker, as it was when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerInfo {
    /// Waits for something to do.
    Free,
    /// Answers this client, or tells the responder that it is gone.
    Answering {
        /// The client.
        peer: Peer,
        /// For how long by now.
        since: Duration,
    },
    /// Is at that still, after so long that it is not waited for any more: the client was told that it timed out.
    Stuck {
        /// The client. It may be gone.
        peer: Peer,
        /// For how long by now.
        since: Duration,
    },
}

impl Duty {
    pub(crate) const fn assignment(self) -> Option<Assignment> {
        match self {
            Self::Answering(assignment) | Self::Overdue(assignment) => Some(assignment),
            Self::Free | Self::Gone => None,
        }
    }

    pub(crate) fn info(self, now: Instant) -> Option<WorkerInfo> {
        let long = |since: Moment| now.saturating_duration_since(since.time);
        match self {
            Self::Free => Some(WorkerInfo::Free),
            Self::Answering(Assignment { peer, since, .. }) => Some(WorkerInfo::Answering { peer, since: long(since) }),
            Self::Overdue(Assignment { peer, since, .. }) => Some(WorkerInfo::Stuck { peer, since: long(since) }),
            Self::Gone => None,
        }
    }
}

/// How an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    InTime,
    /// The client was told that it timed out.
    TooLate,
}

impl Post {
    pub(crate) fn begin(&self, errand: Errand, peer: Peer, since: Moment) {
        *self.duty() = Duty::Answering(Assignment { peer, errand, since, same_line_since: None });
    }

    pub(crate) fn finish(&self) -> Outcome {
        match std::mem::take(&mut *self.duty()) {
            Duty::Overdue(_) => Outcome::TooLate,
            Duty::Free | Duty::Answering(_) | Duty::Gone => Outcome::InTime,
        }
    }

    pub(crate) fn leave(&self) {
        *self.duty() = Duty::Gone;
    }

    pub(crate) fn look(&self) -> Duty {
        *self.duty()
    }

    /// To be asked at each tick: gives up on an assignment when one line of it has lasted so long. From now on its answer comes too late.
    pub(crate) fn give_up_after(&self, timeout: Duration, now: Moment) -> Option<Assignment> {
        let mut duty = self.duty();
        let Duty::Answering(assignment) = &mut *duty else { return None };
        // It may have begun within this very tick, and then it lasts for another.
        if assignment.since.tick == now.tick {
            return None;
        }
        let since = *assignment.same_line_since.get_or_insert(now);
        if !since.is_past(timeout, now) {
            return None;
        }
        let assignment = *assignment;
        *duty = Duty::Overdue(assignment);
        Some(assignment)
    }

    /// Nothing that holds the lock can panic.
    fn duty(&self) -> MutexGuard<'_, Duty> {
        self.duty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places of all workers, those of former ones left out.
#[derive(Debug)]
pub(crate) struct Posts {
    posts: Mutex<Vec<Arc<Post>>>,
    made: Instant,
    /// When the time for a stop is over, in microseconds from when these were made.
    closing: AtomicU64,
}

impl Default for Posts {
    fn default() -> Self {
        Self { posts: Mutex::default(), made: Instant::now(), closing: AtomicU64::new(u64::MAX) }
    }
}

impl Posts {
    /// Places for as many more as it takes to have so many at work, but no more in all than this.
    pub(crate) fn fill(&self, workers: usize, most: usize) -> Vec<Arc<Post>> {
        // Under the lock, so that one that comes back late is either counted here or finds its place taken.
        let mut posts = self.lock();
        posts.retain(|post| !matches!(post.look(), Duty::Gone));
        let missing = workers.saturating_sub(at_work(&posts)).min(most.saturating_sub(posts.len()));
        let new: Vec<_> = std::iter::repeat_with(Arc::<Post>::default).take(missing).collect();
        posts.extend_from_slice(&new);
        new
    }

    /// Whether a worker that has come back late goes on. It does unless there are as many others as there should be.
    pub(crate) fn may_stay(&self, late: &Post, workers: usize) -> bool {
        // Under the lock, so that of two that come back at the same time not both take the other for the one that stays.
        let posts = self.lock();
        let may_stay = at_work(&posts) <= workers;
        if !may_stay {
            late.leave();
        }
        may_stay
    }

    /// From then on, or from an earlier time that was told, nothing is answered any more, whenever the connection threads come to notice that
    /// the time for a stop is over.
    pub(crate) fn close_at(&self, deadline: Instant) {
        self.closing.fetch_min(self.micros(deadline), Ordering::Relaxed);
    }

    pub(crate) fn are_closed(&self, now: Instant) -> bool {
        self.closing.load(Ordering::Relaxed) <= self.micros(now)
    }

    fn micros(&self, time: Instant) -> u64 {
        let micros = time.saturating_duration_since(self.made).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX).min(u64::MAX - 1)
    }

    /// Whether somebody waits for any of them.
    pub(crate) fn are_answering(&self) -> bool {
        self.lock().iter().any(|post| matches!(post.look(), Duty::Answering(_)))
    }

    /// How many workers are with the responder.
    pub(crate) fn with_responder(&self) -> usize {
        self.lock().iter().filter(|post| post.look().assignment().is_some()).count()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Post>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Post>>> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of them are there for what comes.
fn at_work(posts: &[Arc<Post>]) -> usize {
    posts.iter().filter(|post| matches!(post.look(), Duty::Free | Duty::Answering(_))).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticker::{TICK, Ticker};
    use greeter_core::client_id;

    #[test]
    fn an_answer_is_in_time_or_too_late_and_never_both() {
        let peer = Peer::new(client_id(1), ([192, 0, 2, 1], 4000).into());
        let (time, ticker) = (Instant::now(), Ticker::default());
        let start = ticker.at(time);
        let after = |millis: u64| {
            ticker.go_on_by(1);
            ticker.at(time + Duration::from_millis(millis))
        };
        let timeout = TICK * 2;
        let post = Post::default();
        post.begin(Errand::Answer, peer, start);
        assert!(post.give_up_after(timeout, start).is_none(), "another line may begin until the next tick");
        assert!(post.give_up_after(timeout, after(8)).is_none());
        assert!(post.give_up_after(timeout, after(27)).is_none(), "that is 19 ms");
        assert_eq!(post.finish(), Outcome::InTime);
        assert!(post.give_up_after(timeout, after(50)).is_none());

        post.begin(Errand::Answer, peer, ticker.at(time));
        assert!([60, 70].iter().all(|&millis| post.give_up_after(timeout, after(millis)).is_none()));
        assert!(post.give_up_after(timeout, after(80)).is_some());
        assert!(post.give_up_after(timeout, after(90)).is_none(), "it is given up once");
        assert_eq!(post.finish(), Outcome::TooLate);
        assert!(matches!(post.look(), Duty::Free));
    }

    #[test]
    fn whoever_comes_back_takes_the_place_or_finds_it_taken() {
        const WORKERS: usize = 2;
        const MOST: usize = 5;
        let peer = Peer::new(client_id(1), ([192, 0, 2, 1], 4000).into());
        let ticker = Ticker::default();
        let posts = Posts::default();
        let hang = |new: Vec<Arc<Post>>| {
            for post in &new {
                post.begin(Errand::Answer, peer, ticker.now());
                ticker.go_on_by(1);
                assert!(post.give_up_after(Duration::ZERO, ticker.now()).is_some());
            }
            new
        };
        let first = hang(posts.fill(WORKERS, MOST));
        assert_eq!(first.len(), WORKERS);
        // One is back before its place is filled, the other after that.
        assert_eq!(first[0].finish(), Outcome::TooLate);
        let second = posts.fill(WORKERS, MOST);
        assert_eq!(second.len(), 1);
        assert!(posts.may_stay(&first[0], WORKERS));
        assert_eq!(first[1].finish(), Outcome::TooLate);
        assert!(!posts.may_stay(&first[1], WORKERS));
        assert!(posts.fill(WORKERS, MOST).is_empty());
        // However many hang, there are never more than that.
        hang(vec![Arc::clone(&first[0]), Arc::clone(&second[0])]);
        assert_eq!(hang(posts.fill(WORKERS, MOST)).len(), 2);
        assert_eq!(hang(posts.fill(WORKERS, MOST)).len(), 1);
        assert!(posts.fill(WORKERS, MOST).is_empty());
        assert_eq!(posts.all().len(), MOST);
    }

    #[test]
    fn a_stop_keeps_to_the_earliest_deadline_it_was_told() {
        let posts = Posts::default();
        let now = Instant::now();
        let seconds = |seconds| now + Duration::from_secs(seconds);
        assert!(!posts.are_closed(seconds(1 << 45)), "that is more microseconds than there are numbers");
        posts.close_at(seconds(10));
        posts.close_at(seconds(20));
        assert_eq!([9, 10].map(|second| posts.are_closed(seconds(second))), [false, true]);
        posts.close_at(seconds(5));
        assert_eq!([4, 5].map(|second| posts.are_closed(seconds(second))), [false, true]);
    }

    #[test]
    fn each_worker_is_seen_at_what_it_is() {
        let peer = Peer::new(client_id(1), ([192, 0, 2, 1], 4000).into());
        let (time, ticker) = (Instant::now(), Ticker::default());
        let posts = Posts::default();
        let places = posts.fill(4, 4);
        let seen = || posts.all().iter().map(|post| post.look().info(time + TICK)).collect::<Vec<_>>();
        assert_eq!(seen(), [Some(WorkerInfo::Free); 4]);
        assert!(!posts.are_answering());
        for place in &places[1..3] {
            place.begin(Errand::Answer, peer, ticker.at(time));
        }
        ticker.go_on_by(1);
        assert!(places[2].give_up_after(Duration::ZERO, ticker.at(time)).is_some());
        places[3].leave();
        let (answering, stuck) = (WorkerInfo::Answering { peer, since: TICK }, WorkerInfo::Stuck { peer, since: TICK });
        assert_eq!(seen(), [Some(WorkerInfo::Free), Some(answering), Some(stuck), None]);
        assert!(posts.are_answering());
        assert_eq!(posts.with_responder(), 2);
        places[1].finish();
        assert!(!posts.are_answering(), "nobody waits for the other");
        assert_eq!(posts.with_responder(), 1);
    }
}
