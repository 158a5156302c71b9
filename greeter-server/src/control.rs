//! What holds of a server whatever its sessions are: how it stands, and that it is to stop.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use greeter_core::CloseReason;

use crate::acceptor::{Close, News};
use crate::admission::Door;
use crate::buffers::Buffers;
use crate::posts::{Duty, Posts};
use crate::stats::{ByReason, Counters, Stats, total};
use crate::switchboard::Switchboard;

/// How much longer than the deadline of a stop the responder may take to come back.
const GRACE: Duration = Duration::from_millis(500);

/// As good as for ever, and still a time that the clock can tell: a year.
const FAR_AWAY: Duration = Duration::from_secs(365 * 24 * 3600);

/// A running server, for those who ask how it stands or have it stop. Neither waits for a thread.
pub(crate) struct Control {
    pub(crate) counters: Vec<Arc<Counters>>,
    pub(crate) door: Arc<Door>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) posts: Arc<Posts>,
    pub(crate) entrance: Arc<dyn Close>,
    pub(crate) switchboard: Arc<dyn Switchboard>,
    pub(crate) stop: Mutex<Option<Stop>>,
    /// Tells whoever waits for the threads until when to do so.
    pub(crate) patience: Sender<Instant>,
}

/// A stop that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    asked: Instant,
    /// What had been counted by then.
    before: Stats,
    deadline: Instant,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainReport {
    /// How long it took from when the stop was first asked for to the end of the last thread, and until those had gone who were refused
    /// at last.
    pub took: Duration,
    /// Everything the server has counted in its life; no connection is left.
    pub stats: Stats,
    /// Lines that were answered while it drained.
    pub replies: u64,
    /// Lines that were lost while it drained.
    pub discarded: u64,
    /// The same, by the reason for which their connections ended.
    pub discarded_by: ByReason,
    /// Connections that were not done by the deadline.
    pub overran: u64,
    /// Connections that were told by the stop that there is no room for them: the last clients that the system had connected, where the
    /// server was full.
    pub turned_away: u64,
    /// Threads that were left behind since the responder did not come back.
    pub threads_left: usize,
}

impl Control {
    /// What the server has counted so far, and how things stand.
    pub(crate) fn stats(&self) -> Stats {
        let workers_stuck = self.posts.all().iter().filter(|post| matches!(post.look(), Duty::Overdue(_))).count();
        Stats {
            serving: self.door.served() as u64,
            buffer_bytes: self.buffers.bytes() as u64,
            workers_stuck: workers_stuck as u64,
            ..total(&self.counters)
        }
    }

    /// Has the server stop by then, or by an earlier deadline if it was told one.
    pub(crate) fn stop(&self, deadline: Instant) {
        let to_tell = {
            // Held until the last clients have come to the connection threads, so that no order to stop gets there before them.
            let mut stop = self.lock();
            match &mut *stop {
                None => {
                    *stop = Some(Stop { asked: Instant::now(), before: self.stats(), deadline });
                    self.entrance.close()
                }
                Some(stop) if deadline < stop.deadline => {
                    stop.deadline = deadline;
                    Vec::new()
                }
                Some(_) => return,
            }
        };
        self.posts.close_at(deadline);
        self.switchboard.stop(deadline);
        // Where nobody waits any more, nobody need know how long.
        let _ = self.patience.send(deadline + GRACE);
        to_tell.iter().for_each(News::tell);
    }

    /// The threads have ended. Waits for those who were refused at last, and tells how all went.
    pub(crate) fn see_off(&self, threads_left: usize) -> DrainReport {
        if self.lock().is_none() {
            // For a fault of ours, they have ended before anybody asked for it.
            self.stop(Instant::now());
        }
        let stop = || self.lock().expect("a stop was asked for, and is not taken back");
        self.entrance.see_off(&|| stop().deadline);
        self.report(stop(), threads_left)
    }

    /// How things stand once a stop was asked for.
    pub(crate) fn report_now(&self, threads_left: usize) -> DrainReport {
        let stop = self.lock().expect("a stop was asked for");
        self.report(stop, threads_left)
    }

    /// What has happened since the stop was asked for.
    fn report(&self, Stop { asked, before, .. }: Stop, threads_left: usize) -> DrainReport {
        let stats = self.stats();
        DrainReport {
            took: asked.elapsed(),
            stats,
            replies: stats.replies - before.replies,
            discarded: stats.discarded - before.discarded,
            discarded_by: stats.discarded_by.since(&before.discarded_by),
            overran: stats.closed_by[CloseReason::ByShutdownDeadline]
                - before.closed_by[CloseReason::ByShutdownDeadline],
            turned_away: stats.turned_away - before.turned_away,
            threads_left,
        }
    }

    /// How many threads are held up by the responder.
    pub(crate) fn held_up(&self) -> usize {
        // Where there is no pool, nobody can tell of a connection thread whether it is with the responder.
        let has_pool = !self.posts.all().is_empty();
        if has_pool { self.posts.with_responder() } else { usize::MAX }
    }

    /// Nothing that holds the lock can panic.
    fn lock(&self) -> MutexGuard<'_, Option<Stop>> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When so much time is over.
pub(crate) fn deadline_in(time: Duration) -> Instant {
    Instant::now() + time.min(FAR_AWAY)
}

/// Has a server stop, and waits for nothing: for a [`Responder`](crate::Responder) whose client asks for that, or whoever else does not have
/// the [handle](crate::ServerHandle). It can be cloned, comes [from the builder](crate::Builder::shutdown_trigger) or the handle, and does no
/// harm once the server is gone.
#[derive(Clone)]
pub struct ShutdownTrigger(Arc<Mutex<Fuse>>);

enum Fuse {
    /// The server has not started. It may have been told to stop all the same.
    Loose {
        deadline: Option<Instant>,
    },
    Connected(Weak<Control>),
}

impl ShutdownTrigger {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Fuse::Loose { deadline: None })))
    }

    /// Asks the server to stop `within` this time, and returns at once. What then happens is told at
    /// [`ServerHandle::shutdown`](crate::ServerHandle::shutdown); [`ServerHandle::wait`](crate::ServerHandle::wait) and
    /// [`Server::run`](crate::Server::run) return when it has happened, with a report.
    ///
    /// A line that is being answered has been received, and its client reads the reply before the end. Of a server that has not started
    /// yet, clients that have connected meanwhile are still served when it does, as long as there is time. Asked several times, also by
    /// `shutdown` or by dropping the handle, the server keeps to the earliest deadline, and the report tells what has happened since it
    /// was first asked.
    pub fn trigger(&self, within: Duration) {
        let within = deadline_in(within);
        let control = match &mut *self.fuse() {
            Fuse::Loose { deadline } => {
                *deadline = Some(deadline.map_or(within, |earlier| earlier.min(within)));
                return;
            }
            Fuse::Connected(control) => control.upgrade(),
        };
        if let Some(control) = control {
            control.stop(within);
        }
    }

    /// The server has what it takes to stop.
    pub(crate) fn connect(&self, control: &Arc<Control>) {
        let before = std::mem::replace(&mut *self.fuse(), Fuse::Connected(Arc::downgrade(control)));
        if let Fuse::Loose { deadline: Some(deadline) } = before {
            control.stop(deadline);
        }
    }

    /// Nothing that holds the lock can panic.
    fn fuse(&self) -> MutexGuard<'_, Fuse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ShutdownTrigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownTrigger").finish_non_exhaustive()
    }
}
