//! Time that passes when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub(super) struct Clock {
    start: Instant,
    nanos: Arc<AtomicU64>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), nanos: Arc::default() }
    }

    /// Another clock that shows the same time, until either goes on.
    pub(super) fn copy(&self) -> Self {
        Self { start: self.start, nanos: Arc::new(AtomicU64::new(self.nanos.load(Ordering::Relaxed))) }
    }

    pub(super) fn now(&self) -> Instant {
        self.start + self.passed()
    }

    /// How long it has gone so far.
    pub(super) fn passed(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    pub(super) fn advance(&self, by: Duration) {
        self.nanos.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX / 2), Ordering::Relaxed);
    }

    /// Goes on, or back, to this time.
    pub(super) fn set(&self, to: Instant) {
        self.nanos.store(to.saturating_duration_since(self.start).as_nanos() as u64, Ordering::Relaxed);
    }
}
