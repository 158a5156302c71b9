//! Percentiles of times, in which a line that had no right reply counts as slower than any other.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The time until a reply came, or none if it never did. `Never` is greater than any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Time {
    /// A right reply came after so long.
    After(Duration),
    /// No right reply came.
    Never,
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(time) => f.pad(&ShortDuration(*time).to_string()),
            Self::Never => f.pad("never"),
        }
    }
}

/// A duration with three digits and its unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShortDuration(pub(crate) Duration);

impl fmt::Display for ShortDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.as_nanos() as f64;
        let (value, unit) = match nanoseconds {
            ..999.5 => (nanoseconds, "ns"),
            ..999_500.0 => (nanoseconds / 1e3, "µs"),
            ..999_500_000.0 => (nanoseconds / 1e6, "ms"),
            _ => (nanoseconds / 1e9, "s"),
        };
        let digits = match value {
            _ if unit == "ns" => 0,
            ..9.995 => 2,
            ..99.95 => 1,
            _ => 0,
        };
        f.pad(&format!("{value:.digits$} {unit}"))
    }
}

/// The times of all measured lines, to three digits.
#[derive(Clone, Copy, Debug)]
pub struct Latency<'a> {
    histogram: &'a Histogram<u64>,
    unanswered: u64,
}

impl<'a> Latency<'a> {
    pub(crate) const fn new(histogram: &'a Histogram<u64>, unanswered: u64) -> Self {
        Self { histogram, unanswered }
    }

    /// Returns how many lines were measured, those without a right reply among them.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.histogram.len() + self.unanswered
    }

    /// Returns the time that the fraction `quantile` of all lines did not exceed: 0.5 is the
    /// median, 1.0 the longest time. Returns [`None`] if nothing was measured.
    ///
    /// # Panics
    ///
    /// If it is not from 0 to 1.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Time> {
        assert!((0.0..=1.0).contains(&quantile), "a quantile is from 0 to 1, not {quantile}");
        let lines = self.lines();
        if lines == 0 {
            return None;
        }
        // 0.999 and its like have no exact form in binary, and must not be taken for the next line.
        let rank = ((lines as f64 * (quantile - 1e-12)).ceil() as u64).clamp(1, lines);
        if rank > self.histogram.len() {
            return Some(Time::Never);
        }
        // Between two ranks, so that no rounding reaches the next.
        let within = (rank as f64 - 0.5) / self.histogram.len() as f64;
        Some(Time::After(Duration::from_nanos(self.histogram.value_at_quantile(within))))
    }

    /// The values that were recorded, in steps, each with its upper end in nanoseconds and with how
    /// many there were in it. What never came is not among them.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::load::measure::thread_recorder::histogram;

    #[test]
    fn a_duration_has_three_digits() {
        for (nanoseconds, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (9_994, "9.99 µs"),
            (9_996, "10.0 µs"),
            (99_960, "100 µs"),
            (999_499, "999 µs"),
            (999_501, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (5_000_000_000, "5.00 s"),
            (3_600_000_000_000, "3600 s"),
        ] {
            assert_eq!(ShortDuration(Duration::from_nanos(nanoseconds)).to_string(), text);
        }
    }

    proptest! {
        /// The definition: of the sorted times, the one at the rank. Three digits are kept of it.
        #[test]
        fn a_quantile_is_that_of_the_sorted_times(
            mut times in prop::collection::vec(prop_oneof![1..5_000_u64, 1..=3_600_000_000_000_u64], 0..200),
            unanswered in 0..20_usize,
            quantile in prop_oneof![0.0..=1.0, Just(0.0), Just(0.5), Just(0.99), Just(1.0)],
        ) {
            let mut recorded = histogram();
            times.iter().for_each(|&time| recorded.saturating_record(time));
            let latency = Latency::new(&recorded, unanswered as u64);
            times.sort_unstable();
            let rank = (f64::ceil((quantile - 1e-12) * (times.len() + unanswered) as f64) as usize).max(1);
            match latency.quantile(quantile) {
                None => prop_assert_eq!(times.len() + unanswered, 0),
                Some(Time::Never) => prop_assert!(rank > times.len()),
                Some(Time::After(time)) => {
                    let (time, exact) = (time.as_nanos() as f64, times[rank - 1] as f64);
                    prop_assert!((time - exact).abs() <= exact / 1000.0, "{} is not {}", time, exact);
                }
            }
        }
    }

    #[test]
    fn a_quantile_that_is_not_exact_in_binary_is_not_the_next_line() {
        let mut recorded = histogram();
        (1..=1000).for_each(|time| recorded.record(time).unwrap());
        let latency = Latency::new(&recorded, 0);
        assert_eq!(latency.quantile(99.9 / 100.0), Some(Time::After(Duration::from_nanos(999))));
        assert_eq!(latency.quantile(0.9991), Some(Time::After(Duration::from_nanos(1000))));
    }

    #[test]
    fn what_never_came_is_later_than_everything() {
        let mut recorded = histogram();
        recorded.record_n(1000, 99).unwrap();
        let latency = Latency::new(&recorded, 1);
        assert_eq!(latency.quantile(0.99), Some(Time::After(Duration::from_nanos(1000))));
        assert_eq!(latency.quantile(0.991), Some(Time::Never));
        assert!(Time::After(Duration::MAX) < Time::Never);
    }
}
