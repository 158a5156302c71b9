//! What there is to tell of a program that has a process for each client, in numbers, and how many
//! of these there may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::counter::Counter;

/// The counts of a [`PerClient`](crate::PerClient) since it started, and its gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PerClientStats {
    /// How many processes there are, those included that are being started or are to end.
    pub running: u64,
    /// How many there may be.
    pub max_processes: u64,
    /// How many were started.
    pub started: u64,
    /// How many could not be started.
    pub failed_starts: u64,
    /// How many were ended by a signal that was not this library's: most have crashed.
    pub crashed: u64,
    /// How many clients were rejected since there were too many processes.
    pub rejected: u64,
}

/// What others may know.
#[derive(Debug)]
pub(super) struct PerClientState {
    running: AtomicUsize,
    max: AtomicUsize,
    /// More than one thread counts it.
    rejected: AtomicU64,
    pub(super) started: Counter,
    pub(super) failed_starts: Counter,
    pub(super) crashed: Counter,
}

/// Leave for one process, until it is dropped.
#[derive(Debug)]
pub(super) struct ProcessPermit(Arc<PerClientState>);

impl PerClientState {
    pub(super) fn new(max: usize) -> Self {
        Self {
            running: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
            rejected: AtomicU64::new(0),
            started: Counter::default(),
            failed_starts: Counter::default(),
            crashed: Counter::default(),
        }
    }

    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    pub(super) fn has_room(&self) -> bool {
        self.running.load(Ordering::Relaxed) < self.max.load(Ordering::Relaxed)
    }

    /// Returns leave for one more, if there is room.
    pub(super) fn permit(self: &Arc<Self>) -> Option<ProcessPermit> {
        let max = self.max.load(Ordering::Relaxed);
        let one_more = |running: usize| (running < max).then_some(running + 1);
        let is_permitted = self.running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        if !is_permitted {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        }
        is_permitted.then(|| ProcessPermit(Arc::clone(self)))
    }

    pub(super) fn stats(&self) -> PerClientStats {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed) as u64;
        PerClientStats {
            running: of(&self.running),
            max_processes: of(&self.max),
            started: self.started.get(),
            failed_starts: self.failed_starts.get(),
            crashed: self.crashed.get(),
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }
}

impl Drop for ProcessPermit {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
