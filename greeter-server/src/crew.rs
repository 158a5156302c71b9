//! Threads that end together.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

/// Some threads, and a way to wait for all of them that does not last for ever.
#[derive(Debug)]
pub(crate) struct Crew {
    recruiter: Recruiter,
    all_done: Receiver<Infallible>,
}

/// Starts threads for a crew, which does not end before the recruiter does.
#[derive(Clone, Debug)]
pub(crate) struct Recruiter {
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    /// Each thread holds a clone; nothing is ever sent. When the last one is dropped, all threads are done.
    at_work: Sender<Infallible>,
}

impl Recruiter {
    /// Starts one more thread. Linux shows the first 15 bytes of its name.
    pub(crate) fn start(&self, name: String, life: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let at_work = self.at_work.clone();
        let thread = thread::Builder::new().name(name).spawn(move || {
            life();
            drop(at_work);
        })?;
        let mut threads = self.threads();
        // A thread that has ended keeps its stack until it is joined.
        threads.extract_if(.., |thread| thread.is_finished()).for_each(join);
        threads.push(thread);
        Ok(())
    }

    /// A push does not panic half-way.
    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crew {
    pub(crate) fn new() -> Self {
        let (at_work, all_done) = crossbeam_channel::bounded(0);
        Self { recruiter: Recruiter { threads: Arc::default(), at_work }, all_done }
    }

    /// Starts one more thread. Linux shows the first 15 bytes of its name.
    pub(crate) fn start(&self, name: String, life: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.recruiter.start(name, life)
    }

    pub(crate) fn recruiter(&self) -> Recruiter {
        self.recruiter.clone()
    }

    /// Waits until all threads have ended, but no longer than this, and tells how many have not.
    pub(crate) fn join_until(&mut self, deadline: Instant) -> usize {
        // Our own clone is not to keep us waiting.
        self.recruiter.at_work = crossbeam_channel::bounded(0).0;
        let outcome = self.all_done.recv_deadline(deadline);
        let all_done = matches!(outcome, Err(RecvTimeoutError::Disconnected));
        let threads = std::mem::take(&mut *self.recruiter.threads());
        let (ended, left): (Vec<_>, Vec<_>) = threads.into_iter().partition(|thread| all_done || thread.is_finished());
        ended.into_iter().for_each(join);
        left.len()
    }

    /// Whether there is nobody to wait for.
    pub(crate) fn is_empty(&self) -> bool {
        self.recruiter.threads().is_empty()
    }

    /// Waits until all threads have ended.
    pub(crate) fn join(&self) {
        let threads = std::mem::take(&mut *self.recruiter.threads());
        for thread in threads {
            let _ = thread.join();
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        // The panic hook has told what there is to tell.
        tracing::error!("A thread of the server has panicked, and with it went its clients.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn whoever_does_not_end_in_time_is_left_behind() {
        let (release, released) = crossbeam_channel::bounded::<Infallible>(0);
        let mut crew = Crew::new();
        crew.start("quick".to_owned(), || {}).unwrap();
        crew.start("stuck".to_owned(), move || assert!(released.recv().is_err())).unwrap();
        assert_eq!(crew.join_until(Instant::now() + Duration::from_millis(50)), 1);
        drop(release);
    }

    #[test]
    fn a_crew_that_ends_is_not_waited_for_until_the_deadline() {
        let mut crew = Crew::new();
        crew.start("quick".to_owned(), || {}).unwrap();
        assert_eq!(crew.join_until(Instant::now() + Duration::from_secs(3600)), 0);
    }
}
