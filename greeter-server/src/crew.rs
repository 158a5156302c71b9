//! Threads that end together.

use std::convert::Infallible;
use std::io;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

/// Some threads, and a way to wait for all of them that does not last for ever.
#[derive(Debug)]
pub(crate) struct Crew {
    threads: Vec<JoinHandle<()>>,
    /// Each thread holds a clone; nothing is ever sent. When the last one is dropped, all threads are done.
    at_work: Sender<Infallible>,
    all_done: Receiver<Infallible>,
}

impl Crew {
    pub(crate) fn new() -> Self {
        let (at_work, all_done) = crossbeam_channel::bounded(0);
        Self { threads: Vec::new(), at_work, all_done }
    }

    /// Starts one more thread. Linux shows the first 15 bytes of its name.
    pub(crate) fn start(&mut self, name: String, life: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let at_work = self.at_work.clone();
        let thread = thread::Builder::new().name(name).spawn(move || {
            life();
            drop(at_work);
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Waits until all threads have ended, but no longer than this, and tells how many have not.
    pub(crate) fn join_until(&mut self, deadline: Instant) -> usize {
        // Our own clone is not to keep us waiting.
        self.at_work = crossbeam_channel::bounded(0).0;
        let outcome = self.all_done.recv_deadline(deadline);
        let all_done = matches!(outcome, Err(RecvTimeoutError::Disconnected));
        let (ended, left): (Vec<_>, Vec<_>) =
            self.threads.drain(..).partition(|thread| all_done || thread.is_finished());
        for thread in ended {
            if thread.join().is_err() {
                // The panic hook has told what there is to tell.
                tracing::error!("A thread of the server has panicked, and with it went its clients.");
            }
        }
        left.len()
    }

    /// Whether there is nobody to wait for.
    pub(crate) const fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// Waits until all threads have ended.
    pub(crate) fn join(&mut self) {
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
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
