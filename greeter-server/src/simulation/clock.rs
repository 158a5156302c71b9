//! Time that passes when it is told to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::ticker::{Moment, TICK, Ticker};

/// A clock, and a ticker that goes with it.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    start: Instant,
    nanos: Arc<AtomicU64>,
    pub(super) ticker: Arc<Ticker>,
    stops: Arc<Mutex<Stops>>,
}

/// What the process was not there for.
#[derive(Clone, Copy, Debug, Default)]
struct Stops {
    lasted: Duration,
    /// When it went on.
    latest: Duration,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), nanos: Arc::default(), ticker: Arc::default(), stops: Arc::default() }
    }

    /// Another clock that shows the same time, until either goes on.
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
        let stood_still = self.stops.lock().unwrap().lasted;
        self.ticker.set((passed.saturating_sub(stood_still).as_nanos() / TICK.as_nanos()) as u64);
    }

    /// The process goes on that has stood still for so long until now. A little of that counts.
    pub(super) fn go_on_after(&self, stop: Duration) {
        {
            let stops = &mut *self.stops.lock().unwrap();
            stops.lasted += stop.saturating_sub(Duration::from_millis(250));
            stops.latest = self.passed();
        }
        self.set(self.now());
    }

    /// How long it has stood still in all.
    pub(super) fn stood_still(&self) -> Duration {
        self.stops.lock().unwrap().lasted
    }

    /// Whether a time has passed by so much, of which nothing counts in which nobody could do anything.
    pub(super) fn is_past(&self, time: Instant, by: Duration) -> bool {
        let went_on = self.start + self.stops.lock().unwrap().latest;
        self.now() > time.max(went_on) + by
    }
}
