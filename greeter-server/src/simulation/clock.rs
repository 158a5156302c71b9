//! Time that passes only when the simulation advances it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::ticker::{Moment, TICK, Ticker};

/// A clock, and a ticker that agrees with it.
#[derive(Clone, Debug)]
pub(super) struct SimulatedClock {
    start: Instant,
    nanos: Arc<AtomicU64>,
    pub(super) ticker: Arc<Ticker>,
    stops: Arc<Mutex<Suspensions>>,
}

/// The time in which the process stood still.
#[derive(Clone, Copy, Debug, Default)]
struct Suspensions {
    lasted: Duration,
    /// When it last continued.
    latest: Duration,
}

impl SimulatedClock {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), nanos: Arc::default(), ticker: Arc::default(), stops: Arc::default() }
    }

    /// Returns another clock that shows the same time, until either advances.
    pub(super) fn copy(&self) -> Self {
        let stops = Arc::clone(&self.stops);
        let copy = Self { start: self.start, nanos: Arc::default(), ticker: Arc::default(), stops };
        copy.set(self.now());
        copy
    }

    pub(super) fn now(&self) -> Instant {
        self.start + self.passed()
    }

    pub(super) fn moment(&self) -> Moment {
        self.ticker.at(self.now())
    }

    /// Returns the time since the start.
    pub(super) fn passed(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    pub(super) fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }

    /// Sets the clock to this time, which may be earlier.
    pub(super) fn set(&self, to: Instant) {
        let passed = to.saturating_duration_since(self.start);
        self.nanos.store(passed.as_nanos() as u64, Ordering::Relaxed);
        let suspended = self.stops.lock().unwrap().lasted;
        self.ticker.set((passed.saturating_sub(suspended).as_nanos() / TICK.as_nanos()) as u64);
    }

    /// The process continues after it stood still for this long. A little of that counts.
    pub(super) fn resume_after(&self, stop: Duration) {
        {
            let stops = &mut *self.stops.lock().unwrap();
            stops.lasted += stop.saturating_sub(Duration::from_millis(250));
            stops.latest = self.passed();
        }
        self.set(self.now());
    }

    /// Returns how long the process has stood still in all.
    pub(super) fn suspended(&self) -> Duration {
        self.stops.lock().unwrap().lasted
    }

    /// Returns whether the clock is `by` past a time, without the time in which the process could
    /// do nothing.
    pub(super) fn is_past(&self, time: Instant, by: Duration) -> bool {
        let resumed = self.start + self.stops.lock().unwrap().latest;
        self.now() > time.max(resumed) + by
    }
}
