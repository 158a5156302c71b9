//! Turns a length of time and a number of bytes into the end of a turn: how long one client may
//! keep the thread that answers it.
//!
//! It reads no clock of its own; the caller lends one.

use std::time::Duration;

/// The number of lines that are answered without reading the clock, while lines are cheap.
///
/// One reading costs as much as greeting two to four names. One for every 16 lines is 5 % of the
/// processor time of a deep pipeline, as a profile shows; one for every 64, a bit more than 1 %.
/// What a client can gain by sending cheap lines before expensive ones is bounded by the
/// [tick](BudgetClock::has_ticked).
const STRIDE: u32 = 64;

/// The part of a budget, one in so many, that a stride of lines may take and still count as cheap.
/// Lines that continue as they began overrun the budget by no more than that.
const CHEAP: u32 = 8;

/// The part of a budget, one in so many, that a line takes if it is dear, so that handing it to
/// another thread costs little beside it.
const DEAR: u32 = 16;

/// The clock of a [`TurnBudget`]. Any function that returns how long ago the budget began is one,
/// without a tick.
pub trait BudgetClock {
    /// Returns how long ago the budget began.
    fn elapsed(&mut self) -> Duration;

    /// Returns whether a tick has come since the budget began. The default is that none ever comes.
    ///
    /// This is called after every line, so it must cost next to nothing: a look at a number that
    /// another thread raises every few milliseconds.
    fn has_ticked(&self) -> bool {
        false
    }
}

impl<F: FnMut() -> Duration> BudgetClock for F {
    fn elapsed(&mut self) -> Duration {
        self()
    }
}

/// The budget of one turn, in time and in bytes of replies.
///
/// A job is answered until its budget is exhausted; the rest of it then queues behind the other
/// clients. At least one line is answered in every turn.
///
/// The clock is the caller's. It is read after the first line and, if that proves cheap, again
/// after a stride of 64 lines; from when lines prove expensive, it is read after each, until one
/// proves cheap. So that expensive lines behind cheap ones do not go unnoticed for a stride, the
/// budget is exhausted as well when the clock has [ticked](BudgetClock::has_ticked): no line begins
/// after that.
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
    /// Creates a budget that is exhausted after `length` of the time that `clock` returns, or once
    /// `reply_bytes` bytes of replies wait to be sent.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// # use greeter_core::TurnBudget;
    /// let began = Instant::now();
    /// let budget = TurnBudget::new(Duration::from_millis(1), 64 * 1024, || began.elapsed());
    /// ```
    pub const fn new(length: Duration, reply_bytes: usize, clock: C) -> Self {
        Self { clock, length, reply_bytes, stride: 1, until_check: 1, last_check: Duration::ZERO }
    }

    /// Returns whether a tick has come, so that no other line may begin.
    pub(crate) fn has_ticked(&self) -> bool {
        self.clock.has_ticked()
    }

    /// Returns whether to stop. To be called after every line.
    #[inline]
    pub(crate) fn is_exhausted(&mut self, reply_bytes: usize) -> bool {
        if reply_bytes >= self.reply_bytes || self.has_ticked() {
            return true;
        }
        self.until_check -= 1;
        self.until_check == 0 && self.check_clock()
    }

    /// Returns whether these lines, all that were answered so far, have been dear, as far as the
    /// clock was read; or by the clock as it is `now`. It is read as well if a tick has ended the
    /// turn, in the place of a reading.
    pub(crate) fn has_dear_lines(&mut self, lines: u32, now: bool) -> bool {
        if now || self.has_ticked() {
            self.last_check = self.clock.elapsed();
        }
        !self.last_check.is_zero() && self.last_check.saturating_mul(DEAR) >= self.length.saturating_mul(lines)
    }

    /// Reads the clock, and decides after how many lines to read it next.
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
    /// Creates a budget that is never exhausted: all lines of a job are answered.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(Duration::MAX, usize::MAX, || Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Returns how many lines fit a budget of 1 ms when line `n` takes `cost(n)`, and how often the
    /// clock was read.
    fn lines_in_a_turn(cost: impl Fn(u32) -> Duration) -> (u32, u32) {
        let (clock, reads) = (Cell::new(Duration::ZERO), Cell::new(0));
        let mut budget = TurnBudget::new(Duration::from_millis(1), usize::MAX, || {
            reads.set(reads.get() + 1);
            clock.get()
        });
        let mut lines = 0;
        loop {
            clock.set(clock.get() + cost(lines));
            lines += 1;
            if budget.is_exhausted(0) {
                return (lines, reads.get());
            }
        }
    }

    #[test]
    fn an_expensive_line_exhausts_a_budget_by_itself() {
        assert_eq!(lines_in_a_turn(|_| Duration::from_millis(1)), (1, 1));
        assert_eq!(lines_in_a_turn(|_| Duration::from_secs(1)), (1, 1));
        assert_eq!(lines_in_a_turn(|_| Duration::from_micros(400)), (3, 3));
    }

    #[test]
    fn cheap_lines_are_not_timed_one_by_one() {
        let (lines, reads) = lines_in_a_turn(|_| Duration::from_nanos(100));
        assert!((10_000..10_000 + STRIDE).contains(&lines), "{lines}");
        assert!(reads < 350, "{reads}");
    }

    #[test]
    fn lines_that_continue_as_they_began_overrun_by_an_eighth_at_most() {
        for nanoseconds in (100..20_000).step_by(50) {
            let line = Duration::from_nanos(nanoseconds);
            let (lines, _) = lines_in_a_turn(|_| line);
            let took = line * lines;
            assert!(took <= Duration::from_micros(1125), "{lines} lines of {line:?}");
        }
    }

    #[test]
    fn expensive_lines_behind_cheap_ones_overrun_by_one_stride_at_most() {
        let (lines, _) = lines_in_a_turn(|n| if n < 100 { Duration::ZERO } else { Duration::from_millis(1) });
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
                assert!(budget.is_exhausted(0), "{cheap} cheap lines");
            }
        }
    }

    #[test]
    fn a_budget_is_exhausted_by_bytes_of_replies() {
        let mut budget = TurnBudget::new(Duration::MAX, 100, || Duration::ZERO);
        assert!(!budget.is_exhausted(99));
        assert!(budget.is_exhausted(100));
    }
}
