//! Turns the times of jobs into histograms. Must not read a clock.

use std::time::{Duration, Instant};

use crate::counter::Counter;

/// How many bounds a histogram has.
const BOUNDS: usize = 23;

/// The lowest bound is two to this power, in microseconds.
const LOWEST: u32 = 3;

/// How long jobs took since the server started.
///
/// A job is what a client had sent when it was its turn: one line, or as many as fit into a
/// millisecond. That a client has come is a job, too, alone or with its first lines. Jobs that were
/// given up after the reply timeout are not among them, nor is the time after which an answer came
/// [later](greeter_core::Later).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobTimes {
    /// Time that jobs waited for a worker. In place, there is none to wait for.
    pub queue: Histogram,
    /// Time in the responder. A job for which no worker was free in time was not there.
    pub reply: Histogram,
    /// Time from when a job was taken from its connection until its replies were back.
    pub turnaround: Histogram,
}

/// Times, counted by powers of two: 8 µs, 16 µs and so on to 33.554432 s, and all above.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many are at most so long as their bound, and longer than the one before. The last has no
    /// bound.
    counts: [u64; BOUNDS + 1],
    nanos: u64,
}

impl Histogram {
    /// Returns how many times were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of all times.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// Returns the bounds, the lowest first, each with how many times are at most as long. What
    /// [`count`](Self::count) has more is longer than all bounds.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        let totals = self.counts.iter().scan(0, |total, count| {
            *total += count;
            Some(*total)
        });
        (LOWEST..).map(|power| Duration::from_micros(1 << power)).zip(totals).take(BOUNDS)
    }
}

/// When the parts of a job's way were done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// When it was taken from its connection.
    pub(crate) sent: Instant,
    /// When its wait was over.
    pub(crate) begun: Instant,
    /// When the responder had answered it, unless it was rejected before.
    pub(crate) answered: Option<Instant>,
}

/// The histograms of one thread, which alone writes them.
#[derive(Debug, Default)]
pub(crate) struct TimeCounters {
    queue: HistogramCounters,
    reply: HistogramCounters,
    turnaround: HistogramCounters,
}

#[derive(Debug, Default)]
struct HistogramCounters {
    counts: [Counter; BOUNDS + 1],
    nanos: Counter,
}

impl TimeCounters {
    /// Counts a job that is back at its connection now.
    pub(crate) fn add(&self, job: Timing, now: Instant) {
        self.queue.add(job.begun.saturating_duration_since(job.sent));
        if let Some(answered) = job.answered {
            self.reply.add(answered.saturating_duration_since(job.begun));
        }
        self.turnaround.add(now.saturating_duration_since(job.sent));
    }
}

impl HistogramCounters {
    fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts[index(nanos)].add(1);
        self.nanos.add(nanos);
    }
}

/// Returns which bound is the first that is not below this time.
const fn index(nanos: u64) -> usize {
    let micros = nanos.div_ceil(1000);
    // How many bits what is just below has: the power of two that is not below.
    let power = u64::BITS - micros.saturating_sub(1).leading_zeros();
    let index = power.saturating_sub(LOWEST) as usize;
    if index < BOUNDS { index } else { BOUNDS }
}

/// Sums the histograms of all threads.
pub(crate) fn total<'a>(threads: &(impl Iterator<Item = &'a TimeCounters> + Clone)) -> JobTimes {
    let sum = |of: fn(&TimeCounters) -> &HistogramCounters| {
        let sum_of = |counter: &dyn Fn(&HistogramCounters) -> u64| {
            threads.clone().map(|thread| counter(of(thread))).fold(0, u64::wrapping_add)
        };
        let counts = std::array::from_fn(|index| sum_of(&|histogram| histogram.counts[index].get()));
        Histogram { counts, nanos: sum_of(&|histogram| histogram.nanos.get()) }
    };
    JobTimes {
        queue: sum(|times| &times.queue),
        reply: sum(|times| &times.reply),
        turnaround: sum(|times| &times.turnaround),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_at_the_first_bound_that_is_not_below() {
        let micro = 1000;
        let at = |nanos| index(nanos);
        assert_eq!([at(0), at(1), at(8 * micro), at(8 * micro + 1), at(16 * micro)], [0, 0, 0, 1, 1]);
        let highest = (8 << 22) * micro;
        assert_eq!([at(highest), at(highest + 1), at(u64::MAX)], [22, 23, 23]);
    }

    #[test]
    fn the_histograms_of_all_threads_are_one() {
        let threads = [TimeCounters::default(), TimeCounters::default()];
        let sent = Instant::now();
        let [begun, answered, now] = [10, 30, 100_000_000].map(|micros| sent + Duration::from_micros(micros));
        threads[0].add(Timing { sent, begun, answered: Some(answered) }, now);
        threads[1].add(Timing { sent: begun, begun, answered: Some(answered) }, answered);
        threads[1].add(Timing { sent, begun, answered: None }, begun);
        let JobTimes { queue, reply, turnaround } = total(&threads.iter());
        assert_eq!((queue.count(), queue.sum()), (3, Duration::from_micros(20)));
        assert_eq!((reply.count(), reply.sum()), (2, Duration::from_micros(40)));
        let bounds: Vec<_> = turnaround.cumulative().collect();
        assert_eq!((bounds.len(), turnaround.count()), (23, 3));
        assert_eq!(bounds[1..3], [(Duration::from_micros(16), 1), (Duration::from_micros(32), 2)]);
        assert_eq!(bounds[22], (Duration::from_micros(33_554_432), 2), "the other is longer than all bounds");
    }
}
