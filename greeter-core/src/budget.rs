//! How long a client may keep the one who answers to itself.

use std::time::Duration;

/// How many lines are answered without a look at the clock, while lines are cheap.
///
/// A look costs as much as greeting two to four names. One for every 16 lines is 5 % of the processor time of a deep pipeline, as a profile
/// shows; one for every 64, a bit more than 1 %. What a client can gain by sending cheap lines before dear ones is bounded by the
/// [tick](BudgetClock::has_ticked).
const STRIDE: u32 = 64;

/// Which part of a budget so many lines may take and be cheap. By no more than that do lines overrun it that go on as they began.
const CHEAP: u32 = 8;

/// What a [`TurnBudget`] is told the time by. Any function that tells how long ago the budget began is one, without a tick.
pub trait BudgetClock {
    /// How long ago the budget began.
    fn elapsed(&mut self) -> Duration;

    /// Whether a tick has come since the budget began. This is asked after every line, so it is to cost next to nothing: a look at a
    /// number that somebody else raises every few milliseconds.
    fn has_ticked(&self) -> bool {
        false
    }
}

impl<F: FnMut() -> Duration> BudgetClock for F {
    fn elapsed(&mut self) -> Duration {
        self()
    }
}

/// One turn's share: a job is answered until its budget is used up, by time or by bytes of replies, and the rest of it
/// then queues behind everyone else's. At least one line is answered in every budget.
///
/// The clock is the caller's. It is asked after the first line, and if that proves cheap, after a stride of many; and after each line, from
/// when they prove dear until one proves cheap. So that dear lines behind cheap ones do not go unnoticed for a stride, the budget is over as
/// well when the clock has [ticked](BudgetClock::has_ticked): no line begins later than that.
#[derive(Debug)]
pub struct TurnBudget<C> {
    clock: C,
    length: Duration,
    reply_bytes: usize,
    stride: u32,
    until_check: u32,
    last_check: Duration,
}

impl<C: BudgetClock> TurnBudget<C> {
    /// A budget that is over after `length` of the time that `clock` tells, or once `reply_bytes` of replies are waiting to be
    /// sent.
    pub const fn new(length: Duration, reply_bytes: usize, clock: C) -> Self {
        Self { clock, length, reply_bytes, stride: 1, until_check: 1, last_check: Duration::ZERO }
    }

    /// Whether no other line is to begin.
    pub(crate) fn has_ticked(&self) -> bool {
        self.clock.has_ticked()
    }

    /// Whether to stop, asked after every line.
    #[inline]
    pub(crate) fn is_exhausted(&mut self, reply_bytes: usize) -> bool {
        if reply_bytes >= self.reply_bytes || self.has_ticked() {
            return true;
        }
        self.until_check -= 1;
        self.until_check == 0 && self.check_clock()
    }

    /// Looks at the clock, and decides when to do so next.
    fn check_clock(&mut self) -> bool {
        let now = self.clock.elapsed();
        let took = now.saturating_sub(self.last_check);
        let is_cheap = took.saturating_mul(STRIDE * CHEAP) <= self.length.saturating_mul(self.stride);
        self.stride = if is_cheap { STRIDE } else { 1 };
        self.until_check = self.stride;
        self.last_check = now;
        now >= self.length
    }
}

impl TurnBudget<fn() -> Duration> {
    /// A budget without an end: all lines of a job are answered.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(Duration::MAX, usize::MAX, || Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// How many lines a budget of 1 ms gives when line `n` takes `cost(n)`, and how often it looked at the clock.
    fn lines_in_a_slice(cost: impl Fn(u32) -> Duration) -> (u32, u32) {
        let (clock, looks) = (Cell::new(Duration::ZERO), Cell::new(0));
        let mut budget = TurnBudget::new(Duration::from_millis(1), usize::MAX, || {
            looks.set(looks.get() + 1);
            clock.get()
        });
        let mut lines = 0;
        loop {
            clock.set(clock.get() + cost(lines));
            lines += 1;
            if budget.is_exhausted(0) {
                return (lines, looks.get());
            }
        }
    }

    #[test]
    fn a_dear_line_fills_a_slice_by_itself() {
        assert_eq!(lines_in_a_slice(|_| Duration::from_millis(1)), (1, 1));
        assert_eq!(lines_in_a_slice(|_| Duration::from_secs(1)), (1, 1));
        assert_eq!(lines_in_a_slice(|_| Duration::from_micros(400)), (3, 3));
    }

    #[test]
    fn cheap_lines_are_not_timed_one_by_one() {
        let (lines, looks) = lines_in_a_slice(|_| Duration::from_nanos(100));
        assert!((10_000..10_000 + STRIDE).contains(&lines), "{lines}");
        assert!(looks < 350, "{looks}");
    }

    #[test]
    fn lines_that_go_on_as_they_began_overrun_by_an_eighth_at_most() {
        for nanoseconds in (100..20_000).step_by(50) {
            let line = Duration::from_nanos(nanoseconds);
            let (lines, _) = lines_in_a_slice(|_| line);
            let took = line * lines;
            assert!(took <= Duration::from_micros(1125), "{lines} lines of {line:?}");
        }
    }

    #[test]
    fn dear_lines_behind_cheap_ones_overrun_by_one_stride_at_most() {
        let (lines, _) = lines_in_a_slice(|n| if n < 100 { Duration::ZERO } else { Duration::from_millis(1) });
        assert!(lines <= 100 + STRIDE, "{lines}");
    }

    /// Lines that take 5 ms, behind some that take nothing, with a tick every 10 ms.
    #[test]
    fn no_line_begins_after_a_tick() {
        struct Ticking<'a>(&'a Cell<Duration>);

        impl BudgetClock for Ticking<'_> {
            fn elapsed(&mut self) -> Duration {
                self.0.get()
            }

            fn has_ticked(&self) -> bool {
                self.0.get() >= Duration::from_millis(10)
            }
        }

        for cheap in [1, 2, 63, 64, 65, 200] {
            let clock = Cell::new(Duration::ZERO);
            let mut budget = TurnBudget::new(Duration::from_millis(1), usize::MAX, Ticking(&clock));
            for _ in 0..cheap {
                assert!(!budget.is_exhausted(0));
            }
            clock.set(Duration::from_millis(5));
            if !budget.is_exhausted(0) {
                clock.set(Duration::from_millis(10));
                assert!(budget.is_exhausted(0), "{cheap} cheap ones");
            }
        }
    }

    #[test]
    fn a_slice_ends_with_its_bytes() {
        let mut budget = TurnBudget::new(Duration::MAX, 100, || Duration::ZERO);
        assert!(!budget.is_exhausted(99));
        assert!(budget.is_exhausted(100));
    }
}
