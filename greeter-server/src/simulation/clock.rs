//! Time that passes when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::ticker::{Moment, TICK, Ticker};

/// A clock, and a ticker that goes with it.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    start: Instant,
    nanos: Arc<AtomicU64>,
    pub(super) ticker: Arc<Ticker>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), nanos: Arc::default(), ticker: Arc::default() }
    }

    /// Another clock that shows the same time, until either goes on.
    pub(super) fn copy(&self) -> Self {
        let copy = Self { start: self.start, nanos: Arc::default(), ticker: Arc::default() };
        copy.set(self.now());
        copy
    }

    pub(super) fn now(&self) -> Instant {
        self.start + self.passed()
    }

    pub(super) fn moment(&self) -> Moment {
        self.ticker.at(self.now())
    }

    /// How long it has gone so far.
    pub(super) fn passed(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    pub(super) fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }

    /// Goes on, or back, to this time.
    pub(super) fn set(&self, to: Instant) {
        let passed = to.saturating_duration_since(self.start);
        self.nanos.store(passed.as_nanos() as u64, Ordering::Relaxed);
        self.ticker.set((passed.as_nanos() / TICK.as_nanos()) as u64);
    }
}
