//! Lets other threads have the processor, for a bounded part of the time. Must not know what they
//! do.

use std::thread;
use std::time::Instant;

/// After a yield, a thread keeps the processor for this many times as long as the yield took. Other
/// threads on it may be our own workers, which are done in microseconds, or those of another
/// process, which stay for as long as the system lets them. Those get one part in this many of the
/// time.
const KEEP_FACTOR: u32 = 10;

/// When a thread may yield again.
#[derive(Debug)]
pub(crate) struct YieldPolicy {
    not_before: Instant,
}

impl YieldPolicy {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { not_before: now }
    }

    /// Lets the other threads that wait for this processor run for a moment, unless that took long
    /// a short while ago.
    pub(crate) fn yield_to_workers(&mut self) {
        self.yield_with(thread::yield_now, Instant::now);
    }

    fn yield_with(&mut self, yield_now: impl FnOnce(), clock: impl Fn() -> Instant) {
        let start = clock();
        if start < self.not_before {
            return;
        }
        yield_now();
        let end = clock();
        self.not_before = end + (end - start) * KEEP_FACTOR;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::time::Duration;

    #[test]
    fn threads_that_stay_long_get_a_small_part_of_the_time() {
        let start = Instant::now();
        for away in [Duration::from_micros(1), Duration::from_millis(3)] {
            let (clock, yielded) = (Cell::new(start), Cell::new(Duration::ZERO));
            let mut yield_policy = YieldPolicy::new(start);
            for _ in 0..100_000 {
                let yield_now = || {
                    clock.set(clock.get() + away);
                    yielded.set(yielded.get() + away);
                };
                yield_policy.yield_with(yield_now, || clock.get());
                clock.set(clock.get() + Duration::from_micros(2));
            }
            let passed = clock.get() - start;
            assert!(yielded.get() >= away * 2, "{yielded:?} of {passed:?}");
            assert!(yielded.get() <= passed / KEEP_FACTOR + away, "{yielded:?} of {passed:?}");
        }
    }
}
