//! What each worker is at, so that somebody can watch over them.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use greeter_core::Peer;

use crate::sync::{Mutex, MutexGuard};

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
    Answering(Assignment),
    /// Answering still, but nobody waits for it any more.
    Overdue(Assignment),
    /// The worker has ended.
    Gone,
}

/// Whom a worker answers, and since when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assignment {
    pub(crate) peer: Peer,
    pub(crate) since: Instant,
}

/// One worker, as it was when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerInfo {
    /// Waits for something to do.
    Free,
    /// Answers this client.
    Answering {
        /// The client.
        peer: Peer,
        /// For how long by now.
        since: Duration,
    },
    /// Answers a client still that was told that it takes too long.
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
        let long = |since| now.saturating_duration_since(since);
        match self {
            Self::Free => Some(WorkerInfo::Free),
            Self::Answering(Assignment { peer, since }) => Some(WorkerInfo::Answering { peer, since: long(since) }),
            Self::Overdue(Assignment { peer, since }) => Some(WorkerInfo::Stuck { peer, since: long(since) }),
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
    pub(crate) fn begin(&self, peer: Peer, since: Instant) {
        *self.duty() = Duty::Answering(Assignment { peer, since });
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

    /// Gives up on an assignment that has lasted so long. From now on its answer comes too late.
    pub(crate) fn give_up_after(&self, timeout: Duration, now: Instant) -> Option<Assignment> {
        let mut duty = self.duty();
        match *duty {
            Duty::Answering(assignment) if now.saturating_duration_since(assignment.since) >= timeout => {
                *duty = Duty::Overdue(assignment);
                Some(assignment)
            }
            _ => None,
        }
    }

    /// Nothing that holds the lock can panic.
    fn duty(&self) -> MutexGuard<'_, Duty> {
        self.duty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places of all workers, those of former ones left out.
#[derive(Debug, Default)]
pub(crate) struct Posts(Mutex<Vec<Arc<Post>>>);

impl Posts {
    /// A place for one more.
    pub(crate) fn add(&self) -> Arc<Post> {
        let post = Arc::new(Post::default());
        let mut posts = self.lock();
        posts.retain(|post| !matches!(post.look(), Duty::Gone));
        posts.push(Arc::clone(&post));
        post
    }

    /// Whether a worker that has come back late goes on. It does unless there are as many others as there should be.
    pub(crate) fn may_stay(&self, late: &Post, workers: usize) -> bool {
        // Under the lock, so that of two that come back at the same time not both take the other for the one that stays.
        let posts = self.lock();
        let at_work = posts.iter().filter(|post| matches!(post.look(), Duty::Free | Duty::Answering(_))).count();
        let may_stay = at_work <= workers;
        if !may_stay {
            late.leave();
        }
        may_stay
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Post>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Post>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use greeter_core::ClientId;

    #[test]
    fn an_answer_is_in_time_or_too_late_and_never_both() {
        let peer = Peer::new(ClientId(1), ([192, 0, 2, 1], 4000).into());
        let (start, timeout) = (Instant::now(), Duration::from_secs(30));
        let post = Post::default();
        post.begin(peer, start);
        assert!(post.give_up_after(timeout, start + timeout - Duration::from_nanos(1)).is_none());
        assert_eq!(post.finish(), Outcome::InTime);
        assert!(post.give_up_after(timeout, start + timeout).is_none());

        post.begin(peer, start);
        assert!(post.give_up_after(timeout, start + timeout).is_some());
        assert!(post.give_up_after(timeout, start + timeout).is_none(), "it is given up once");
        assert_eq!(post.finish(), Outcome::TooLate);
        assert!(matches!(post.look(), Duty::Free));
    }
}
