//! Starts threads and joins all of them within a time. Must not know what they do.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

/// How long after the deadline threads may take to end that are not in the responder: they wait
/// only for a processor.
const MAX_LATENESS: Duration = Duration::from_secs(10);

/// How often [`ThreadTracker::join`] checks, after the deadline, which threads are left.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// The handles of the threads that were not joined yet.
type Handles = Mutex<Vec<JoinHandle<()>>>;

/// The threads of one server, and a way to join them that does not block for ever.
#[derive(Debug)]
pub(crate) struct ThreadTracker {
    threads: Arc<Handles>,
    /// Each thread holds a clone; no message is ever sent. When the last clone is dropped, all
    /// threads have ended. `None` once they are joined.
    running: Mutex<Option<Sender<Infallible>>>,
    all_done: Receiver<Infallible>,
}

/// Starts threads that a [`ThreadTracker`] joins. It waits for the spawner itself, too.
#[derive(Clone, Debug)]
pub(crate) struct Spawner {
    threads: Arc<Handles>,
    running: Sender<Infallible>,
}

impl Spawner {
    /// Starts a thread. Linux shows the first 15 bytes of its name.
    pub(crate) fn spawn(&self, name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let running = self.running.clone();
        let thread = thread::Builder::new().name(name).spawn(move || {
            body();
            drop(running);
        })?;
        let mut threads = lock(&self.threads);
        // A thread that has ended keeps its stack until it is joined.
        threads.extract_if(.., |thread| thread.is_finished()).for_each(join);
        threads.push(thread);
        Ok(())
    }
}

impl ThreadTracker {
    pub(crate) fn new() -> Self {
        let (running, all_done) = crossbeam_channel::bounded(0);
        Self { threads: Arc::default(), running: Mutex::new(Some(running)), all_done }
    }

    /// Starts a thread. Linux shows the first 15 bytes of its name.
    pub(crate) fn spawn(&self, name: String, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.spawner().spawn(name, body)
    }

    pub(crate) fn spawner(&self) -> Spawner {
        let running = lock(&self.running).clone().expect("threads are started before they are joined");
        Spawner { threads: Arc::clone(&self.threads), running }
    }

    /// Waits until all threads have ended, and returns how many have not.
    ///
    /// It waits until the earliest of `deadlines`; as long as there is none, for ever. After that
    /// it no longer waits for threads that are held up, of which there are `held_up()`. Others may
    /// be late because the machine is busy, and end soon.
    pub(crate) fn join(&self, deadlines: &Receiver<Instant>, held_up: impl Fn() -> usize) -> usize {
        // Our own clone must not keep us waiting.
        drop(lock(&self.running).take());
        let mut earliest: Option<Instant> = None;
        let mut check = crossbeam_channel::never();
        let all_done = loop {
            crossbeam_channel::select! {
                recv(self.all_done) -> _ => break true,
                recv(deadlines) -> deadline => {
                    let deadline = deadline.expect("the control keeps the sender");
                    let deadline = earliest.map_or(deadline, |earliest| earliest.min(deadline));
                    earliest = Some(deadline);
                    check = crossbeam_channel::at(deadline);
                }
                recv(check) -> _ => {
                    let is_enough = earliest.is_some_and(|earliest| Instant::now() >= earliest + MAX_LATENESS);
                    if self.left() <= held_up() || is_enough {
                        break false;
                    }
                    check = crossbeam_channel::after(CHECK_INTERVAL);
                }
            }
        };
        let threads = std::mem::take(&mut *lock(&self.threads));
        let (ended, left): (Vec<_>, Vec<_>) = threads.into_iter().partition(|thread| all_done || thread.is_finished());
        ended.into_iter().for_each(join);
        left.len()
    }

    /// Returns how many threads have not ended.
    pub(crate) fn left(&self) -> usize {
        lock(&self.threads).iter().filter(|thread| !thread.is_finished()).count()
    }

    /// Returns whether the current thread is one of them.
    pub(crate) fn is_current_thread_tracked(&self) -> bool {
        let this = thread::current().id();
        lock(&self.threads).iter().any(|thread| thread.thread().id() == this)
    }
}

/// No code that holds one of the locks panics half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Joins a thread, and logs if it has panicked.
fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        // The panic hook has already reported the panic.
        tracing::error!("A thread of the server has panicked, and with it went its clients.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Returns a receiver of these deadlines, and the sender that keeps it open.
    fn deadlines(deadlines: &[Instant]) -> (Sender<Instant>, Receiver<Instant>) {
        let (sender, receiver) = crossbeam_channel::unbounded();
        deadlines.iter().for_each(|&deadline| sender.send(deadline).unwrap());
        (sender, receiver)
    }

    fn in_an_hour() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn join_waits_until_the_earliest_deadline() {
        let (release, released) = crossbeam_channel::bounded::<Infallible>(0);
        let (_sender, deadlines) = deadlines(&[Instant::now(), in_an_hour()]);
        let threads = ThreadTracker::new();
        threads.spawn("hung".to_owned(), move || assert!(released.recv().is_err())).unwrap();
        assert_eq!(threads.join(&deadlines, || 1), 1);
        drop(release);
    }

    #[test]
    fn join_leaves_threads_that_are_held_up_after_the_deadline() {
        let (release, released) = crossbeam_channel::bounded::<Infallible>(0);
        let (_sender, deadlines) = deadlines(&[Instant::now() + Duration::from_millis(50)]);
        let threads = ThreadTracker::new();
        threads.spawn("quick".to_owned(), || {}).unwrap();
        threads.spawn("hung".to_owned(), move || assert!(released.recv().is_err())).unwrap();
        assert_eq!(threads.join(&deadlines, || 1), 1);
        drop(release);
    }

    #[test]
    fn join_waits_for_threads_that_are_only_late() {
        let (release, released) = crossbeam_channel::bounded::<Infallible>(0);
        let (_sender, deadlines) = deadlines(&[Instant::now()]);
        let threads = ThreadTracker::new();
        threads.spawn("late".to_owned(), move || assert!(released.recv().is_err())).unwrap();
        let release = Cell::new(Some(release));
        let held_up = || {
            drop(release.take());
            0
        };
        assert_eq!(threads.join(&deadlines, held_up), 0);
    }

    #[test]
    fn join_returns_before_the_deadline_once_all_threads_have_ended() {
        let (_sender, deadlines) = deadlines(&[in_an_hour()]);
        let threads = ThreadTracker::new();
        threads.spawn("quick".to_owned(), || {}).unwrap();
        assert_eq!(threads.join(&deadlines, || 0), 0);
    }

    #[test]
    fn join_waits_without_a_deadline() {
        let (_sender, deadlines) = deadlines(&[]);
        let threads = ThreadTracker::new();
        threads.spawn("quick".to_owned(), || {}).unwrap();
        assert_eq!(threads.join(&deadlines, || 0), 0);
    }

    #[test]
    fn join_keeps_to_a_deadline_that_comes_later() {
        let (release, released) = crossbeam_channel::bounded::<Infallible>(0);
        let (sender, deadlines) = deadlines(&[in_an_hour()]);
        let threads = ThreadTracker::new();
        threads.spawn("hung".to_owned(), move || assert!(released.recv().is_err())).unwrap();
        let waiting = thread::spawn(move || threads.join(&deadlines, || 1));
        sender.send(Instant::now()).unwrap();
        assert_eq!(waiting.join().unwrap(), 1);
        drop(release);
    }
}
