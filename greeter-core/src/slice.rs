//! How long a client may keep the one who answers to itself.

use std::time::Duration;

/// How many lines are answered without a look at the clock, while lines are cheap.
///
/// A look costs as much as greeting two to four names. One for every 16 lines is 5 % of the processor time of a deep pipeline, as a profile
/// shows; one for every 64, a bit more than 1 %. What a client can gain by sending cheap lines before dear ones is bounded by the
/// [tick](Clock::has_ticked).
const STRIDE: u32 = 64;

/// Which part of a slice so many lines may take and be cheap. By no more than that do lines overrun it that go on as they began.
const CHEAP: u32 = 8;

/// What a [`Slice`] is told the time by. Any function that tells how long ago the slice began is one, without a tick.
pub trait Clock {
    /// How long ago the slice began.
    fn elapsed(&mut self) -> Duration;

    /// Whether a tick has come since the slice began. This is asked after every line, so it is to cost next to nothing: a look at a
    /// number that somebody else raises every few milliseconds.
    fn has_ticked(&self) -> bool {
        false
    }
}

impl<F: FnMut() -> Duration> Clock for F {
    fn elapsed(&mut self) -> Duration {
        self()
    }
}

/// One turn's share: a job is answered until its slice is used up, by time or by bytes of replies, and the rest of it
/// then queues behind everyone else's. At least one line is answered in every slice.
///
/// The clock is the caller's. It is asked after the first line, and if that proves cheap, after a stride of many; and after each line, from
/// when they prove dear until one proves cheap. So that dear lines behind cheap ones do not go unnoticed for a stride, the slice is over as
/// well when the clock has [ticked](Clock::has_ticked): no line begins later than that.
#[derive(Debug)]
pub struct Slice<C> {
    clock: C,
    length: Duration,
    reply_bytes: usize,
    stride: u32,
    until_look: u32,
    last_look: Duration,
}

impl<C: Clock> Slice<C> {
    /// A slice that is over after `length` of the time that `clock` tells, or once `reply_bytes` of replies are waiting to be
    /// sent.
    pub const fn new(length: Duration, reply_bytes: usize, clock: C) -> Self {
        Self { clock, length, reply_bytes, stride: 1, until_look: 1, last_look: Duration::ZERO }
    }

    /// Whether no other line is to begin.
    pub(crate) fn has_ticked(&self) -> bool {
        self.clock.has_ticked()
    }

    /// Whether to stop, asked after every line.
    #[inline]
    pub(crate) fn is_over(&mut self, reply_bytes: usize) -> bool {
        if reply_bytes >= self.reply_bytes || self.has_ticked() {
            return true;
        }
        self.until_look -= 1;
        self.until_look == 0 && self.look()
    }

    /// Looks at the clock, and decides when to do so next.
    fn look(&mut self) -> bool {
        let now = self.clock.elapsed();
        let took = now.saturating_sub(self.last_look);
        let is_cheap = took.saturating_mul(STRIDE * CHEAP) <= self.length.saturating_mul(self.stride);
        self.stride = if is_cheap { STRIDE } else { 1 };
        self.until_look = self.stride;
        self.last_look = now;
        now >= self.length
    }
}

impl Slice<fn() -> Duration> {
    /// A slice without an end: all lines of a job are answered.
    #[must_use]
    pub fn endless() -> Self {
        Self::new(Duration::MAX, usize::MAX, || Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// How many lines a slice of 1 ms gives when line `n` takes `cost(n)`, and how often it looked at the clock.
    fn lines_in_a_slice(cost: impl Fn(u32) -> Duration) -> (u32, u32) {
        let (clock, looks) = (Cell::new(Duration::ZERO), Cell::new(0));
        let mut slice = Slice::new(Duration::from_millis(1), usize::MAX, || {
            looks.set(looks.get() + 1);
            clock.get()
        });
        let mut lines = 0;
        loop {
            clock.set(clock.get() + cost(lines));
            lines += 1;
            if slice.is_over(0) {
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

        impl Clock for Ticking<'_> {
            fn elapsed(&mut self) -> Duration {
                self.0.get()
            }

            fn has_ticked(&self) -> bool {
                self.0.get() >= Duration::from_millis(10)
            }
        }

        for cheap in [1, 2, 63, 64, 65, 200] {
            let clock = Cell::new(Duration::ZERO);
            let mut slice = Slice::new(Duration::from_millis(1), usize::MAX, Ticking(&clock));
            for _ in 0..cheap {
                assert!(!slice.is_over(0));
            }
            clock.set(Duration::from_millis(5));
            if !slice.is_over(0) {
                clock.set(Duration::from_millis(10));
                assert!(slice.is_over(0), "{cheap} cheap ones");
            }
        }
    }

    #[test]
    fn a_slice_ends_with_its_bytes() {
        let mut slice = Slice::new(Duration::MAX, 100, || Duration::ZERO);
        assert!(!slice.is_over(99));
        assert!(slice.is_over(100));
    }
}
