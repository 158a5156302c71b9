//! What holds of a server whatever its sessions are: how it stands, and that it is to stop.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
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
    stop: Mutex<Option<Stop>>,
    /// Tells whoever waits for the threads until when to do so.
    patience: Sender<Instant>,
}

/// A stop that was asked for.
#[derive(Clone, Copy, Debug)]
struct Stop {
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
    /// A server that nobody has asked to stop yet, and what tells whoever waits for its threads until when to do so.
    pub(crate) fn new(
        counters: Vec<Arc<Counters>>,
        door: Arc<Door>,
        buffers: Arc<Buffers>,
        entrance: Arc<dyn Close>,
        switchboard: Arc<dyn Switchboard>,
    ) -> (Arc<Self>, Receiver<Instant>) {
        let (patience, deadlines) = crossbeam_channel::unbounded();
        let (posts, stop) = (Arc::default(), Mutex::new(None));
        (Arc::new(Self { counters, door, buffers, posts, entrance, switchboard, stop, patience }), deadlines)
    }

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
            overran: stats.closed_by[CloseReason::ShutdownDeadline] - before.closed_by[CloseReason::ShutdownDeadline],
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

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::admission::{Room, WhenFull};
    use crate::buffers::GRAIN;
    use crate::mailbox::mailbox;
    use crate::posts::Errand;
    use crate::push::{Hearers, UnderWay};
    use crate::switchboard::ConnectionInfo;
    use crate::ticker::Ticker;
    use crossbeam_channel::Receiver;
    use greeter_core::client_id;
    use greeter_core::{ClientId, Peer};

    /// What is told to the entrance and to the connection threads.
    #[derive(Default)]
    struct Noted(Mutex<Vec<Told>>);

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Told {
        Close,
        Stop(Instant),
        SeeOff(Instant),
    }

    impl Noted {
        fn note(&self, told: Told) {
            self.0.lock().unwrap().push(told);
        }

        fn told(&self) -> Vec<Told> {
            self.0.lock().unwrap().clone()
        }
    }

    impl Close for Noted {
        fn close(&self) -> Vec<News> {
            self.note(Told::Close);
            Vec::new()
        }

        fn see_off(&self, deadline: &dyn Fn() -> Instant) {
            self.note(Told::SeeOff(deadline()));
        }
    }

    impl Hearers for Noted {
        fn count(&self) -> usize {
            0
        }

        fn push(&self, _: ClientId, _: UnderWay) {}

        fn broadcast(&self, _: &Arc<UnderWay>) {}
    }

    impl Switchboard for Noted {
        fn are_asleep(&self) -> bool {
            true
        }

        fn stop(&self, deadline: Instant) {
            self.note(Told::Stop(deadline));
        }

        fn kill(&self, _: ClientId) {}

        fn list(&self, _: &Sender<Vec<ConnectionInfo>>) {}
    }

    fn control() -> (Arc<Control>, Arc<Noted>, Receiver<Instant>) {
        let noted = Arc::<Noted>::default();
        let room = Room { connections_max: 1, per_address_max: None, when_full: WhenFull::Reject };
        let door = Arc::new(Door::new(room, mailbox().unwrap().0));
        let (counters, buffers) = (vec![Arc::default(), Arc::default()], Arc::new(Buffers::new(1 << 20)));
        let (entrance, switchboard) = (Arc::clone(&noted) as _, Arc::clone(&noted) as _);
        let (control, patient) = Control::new(counters, door, buffers, entrance, switchboard);
        (control, noted, patient)
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_door_is_closed_once_and_the_earliest_deadline_holds() {
        let (control, noted, patient) = control();
        let now = Instant::now();
        for after in [10, 20, 10, 5] {
            control.stop(now + seconds(after));
        }
        let (first, second) = (now + seconds(10), now + seconds(5));
        assert_eq!(noted.told(), [Told::Close, Told::Stop(first), Told::Stop(second)]);
        let half = Duration::from_millis(500);
        assert_eq!(patient.try_iter().collect::<Vec<_>>(), [first + half, second + half]);
        assert!(control.posts.are_closed(second) && !control.posts.are_closed(second - half));
        control.see_off(0);
        assert_eq!(noted.told().last(), Some(&Told::SeeOff(second)));
    }

    #[test]
    fn threads_that_have_ended_unasked_are_a_stop_by_now() {
        let (control, noted, _patient) = control();
        control.see_off(0);
        let told = noted.told();
        let [Told::Close, Told::Stop(deadline), Told::SeeOff(until)] = told[..] else { panic!("{told:?}") };
        assert_eq!(deadline, until);
        assert!(deadline <= Instant::now());
    }

    #[test]
    fn a_report_tells_what_has_happened_since_a_stop_was_asked_for_first() {
        let (control, _noted, _patient) = control();
        let count = |thread: usize, replies: u64| {
            let counters = &control.counters[thread];
            counters.replies.add(replies);
            counters.turned_away.add(2 * replies);
            counters.discarded[CloseReason::Lost.index()].add(replies + 1);
            for (index, counter) in counters.closed.iter().enumerate() {
                counter.add(replies + index as u64);
            }
        };
        count(0, 100);
        control.stop(Instant::now() + seconds(10));
        count(1, 1000);
        control.stop(Instant::now());
        count(0, 10_000);
        let report = control.see_off(3);
        assert_eq!((report.replies, report.discarded, report.threads_left), (11_000, 11_002, 3));
        assert_eq!((report.stats.replies, report.stats.discarded), (11_100, 11_103));
        assert_eq!(report.discarded_by[CloseReason::Lost], 11_002);
        let closed = |reason: CloseReason| 11_000 + 2 * reason.index() as u64;
        assert_eq!(report.overran, closed(CloseReason::ShutdownDeadline));
        assert_eq!(report.turned_away, 22_000);
    }

    #[test]
    fn it_is_told_who_is_held_up_and_what_is_held() {
        let (control, _noted, _patient) = control();
        assert_eq!(control.held_up(), usize::MAX, "without a pool nobody can tell");
        let (ticker, peer) = (Ticker::default(), Peer::new(client_id(1), ([192, 0, 2, 1], 4000).into()));
        let posts = control.posts.fill(3, 3);
        assert_eq!(control.held_up(), 0);
        posts[..2].iter().for_each(|post| post.begin(Errand::Answer, peer, ticker.now()));
        ticker.go_on_by(1);
        assert!(posts[0].give_up_after(Duration::ZERO, ticker.now()).is_some());
        assert!(control.buffers.count(&mut 0, 3 * GRAIN));
        let _client = control.door.ask(peer.address);
        let stats = control.stats();
        assert_eq!((stats.serving, stats.buffer_bytes), (1, 3 * GRAIN as u64));
        assert_eq!((control.held_up(), stats.workers_stuck), (2, 1));
    }

    /// The deadline that was told last, as one `within` which a server was to stop.
    #[track_caller]
    fn assert_told(noted: &Noted, within: Duration, asked: Instant) {
        let told = noted.told();
        let Some(Told::Stop(deadline)) = told.last() else { panic!("{told:?}") };
        assert!((asked + within..=Instant::now() + within).contains(deadline));
    }

    #[test]
    fn a_server_that_was_told_to_stop_before_it_started_does_so_by_the_earliest_deadline() {
        let (control, noted, _patient) = control();
        let (trigger, asked) = (ShutdownTrigger::new(), Instant::now());
        [20, 10, 30].into_iter().for_each(|within| trigger.trigger(seconds(within)));
        assert_eq!(noted.told(), []);
        trigger.connect(&control);
        assert_told(&noted, seconds(10), asked);
        let asked = Instant::now();
        trigger.trigger(seconds(5));
        assert_told(&noted, seconds(5), asked);
        drop(control);
        trigger.trigger(seconds(1));
        assert_eq!(noted.told().len(), 3, "whoever is gone is told nothing");
    }

    #[test]
    fn to_stop_some_time_is_to_stop_within_a_year() {
        let (control, noted, _patient) = control();
        let (trigger, asked) = (ShutdownTrigger::new(), Instant::now());
        trigger.connect(&control);
        assert_eq!(noted.told(), []);
        trigger.trigger(Duration::MAX);
        assert_told(&noted, seconds(31_536_000), asked);
        assert_eq!(format!("{trigger:?}"), "ShutdownTrigger { .. }");
    }
}
