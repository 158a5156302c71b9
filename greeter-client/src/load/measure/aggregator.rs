//! Puts together what all threads have seen: sums, and how it went over time.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::clock::CpuUsage;
use super::latency::Latency;
use super::thread_recorder::{Counts, LoadErrorKind, RecorderMessage, TICK, ThreadResult, TickRecord, histogram};

/// How many points a chart over time has at most.
const MAX_BINS: u64 = 100;

/// What was seen in one stretch of time.
#[derive(Clone, Debug)]
pub(crate) struct Bin {
    /// When it starts, counted from the end of the warm-up.
    pub(crate) start: Duration,
    pub(crate) length: Duration,
    /// Right replies.
    pub(crate) replies: u64,
    pub(crate) errors: u64,
    /// The times of what was answered in it: from when a line was due, in a closed loop from when
    /// it was sent. None where nothing was.
    pub(crate) times: Option<BinTimes>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct BinTimes {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

/// What was seen in a stretch that is over, until it is known how long the stretches are.
#[derive(Debug, Default)]
struct ClosedBin {
    counts: Counts,
    /// The times, and how often there was each: hardly any stretch has seen many different ones.
    times: Vec<(u64, u64)>,
}

impl ClosedBin {
    fn histogram(&self) -> Histogram<u64> {
        let mut times = histogram();
        for &(value, count) in &self.times {
            times.saturating_record_n(value, count);
        }
        times
    }

    fn told(&self, start: Duration, length: Duration) -> Bin {
        let times = self.histogram();
        let value = |quantile| Duration::from_nanos(times.value_at_quantile(quantile));
        Bin {
            start,
            length,
            replies: self.counts.replies,
            errors: self.counts.errors(),
            times: (!times.is_empty()).then(|| BinTimes { p50: value(0.5), p99: value(0.99), max: value(1.0) }),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Aggregator {
    /// How many ticks make a bin.
    bin_ticks: u64,
    /// Which tick each thread is in.
    ticks: Vec<u64>,
    /// Those to which a thread may still add.
    open: BTreeMap<u64, (Counts, Histogram<u64>)>,
    closed: Vec<ClosedBin>,
    pub(crate) counts: Counts,
    response: Option<Histogram<u64>>,
    service: Histogram<u64>,
    pub(crate) examples: [Option<String>; LoadErrorKind::ALL.len()],
    /// A line that looks like an error.
    pub(crate) suspect: Option<String>,
    pub(crate) ended: Vec<ThreadResult>,
}

impl Aggregator {
    /// `duration` is how long lines are measured, where that is known.
    pub(crate) fn new(threads: usize, duration: Option<Duration>, is_open: bool) -> Self {
        let ticks = duration.unwrap_or_default().as_nanos().div_ceil(TICK.as_nanos());
        let bin_ticks = u64::try_from(ticks).unwrap_or(u64::MAX).div_ceil(MAX_BINS).max(1);
        Self {
            bin_ticks,
            ticks: vec![0; threads],
            open: BTreeMap::new(),
            closed: Vec::new(),
            counts: Counts::default(),
            response: is_open.then(histogram),
            service: histogram(),
            examples: Default::default(),
            suspect: None,
            ended: Vec::new(),
        }
    }

    /// # Errors
    ///
    /// A thread could not go on.
    pub(crate) fn take(&mut self, message: RecorderMessage) -> std::io::Result<()> {
        match message {
            RecorderMessage::Tick { thread, tick } => self.take_tick(thread, &tick),
            RecorderMessage::Example(kind, text) => {
                self.examples[kind as usize].get_or_insert(text);
            }
            RecorderMessage::Suspect(text) => {
                self.suspect.get_or_insert(text);
            }
            RecorderMessage::Ended(ended) => self.ended.push(ended?),
        }
        Ok(())
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.len() == self.ticks.len()
    }

    fn take_tick(&mut self, thread: usize, tick: &TickRecord) {
        self.counts.add(&tick.counts);
        add(&mut self.service, &tick.service);
        if let (Some(sum), Some(response)) = (&mut self.response, &tick.response) {
            add(sum, response);
        }
        let bin = tick.number / self.bin_ticks;
        let (counts, times) = self.open.entry(bin).or_insert_with(|| (Counts::default(), histogram()));
        counts.add(&tick.counts);
        add(times, tick.response.as_ref().unwrap_or(&tick.service));
        self.ticks[thread] = tick.number;
        let done = self.ticks.iter().min().copied().unwrap_or_default() / self.bin_ticks;
        self.close_bins(done);
    }

    /// Nobody adds any more to what is before bin `end`.
    fn close_bins(&mut self, mut end: u64) {
        while let Some((&number, _)) = self.open.first_key_value().filter(|(number, _)| **number < end) {
            if number >= 2 * MAX_BINS {
                self.widen_bins();
                end /= 2;
                continue;
            }
            let (counts, times) = self.open.remove(&number).unwrap_or_else(|| (Counts::default(), histogram()));
            // A time in which nothing at all happened is told, too.
            self.closed.resize_with(number as usize, ClosedBin::default);
            let times = times.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
            self.closed.push(ClosedBin { counts, times });
        }
    }

    /// It takes longer than was foreseen: from now on, two bins are one.
    fn widen_bins(&mut self) {
        self.bin_ticks *= 2;
        if self.closed.len() % 2 == 1
            && let Some(last) = self.closed.pop()
        {
            self.open.insert(self.closed.len() as u64, (last.counts, last.histogram()));
        }
        let mut closed = std::mem::take(&mut self.closed).into_iter();
        while let (Some(mut first), Some(second)) = (closed.next(), closed.next()) {
            first.counts.add(&second.counts);
            first.times.extend(second.times);
            self.closed.push(first);
        }
        for (number, (counts, times)) in std::mem::take(&mut self.open) {
            let (sum, all) = self.open.entry(number / 2).or_insert_with(|| (Counts::default(), histogram()));
            sum.add(&counts);
            add(all, &times);
        }
    }

    /// How it went over time. The bins reach as far as lines were measured, whether or not there
    /// was anybody left to see something.
    pub(crate) fn bins(&mut self, measured: Duration) -> Vec<Bin> {
        self.close_bins(u64::MAX);
        let length = TICK * u32::try_from(self.bin_ticks).unwrap_or(u32::MAX);
        let covering = measured.as_nanos().div_ceil(length.as_nanos());
        let covering = usize::try_from(covering.min(u128::from(MAX_BINS))).unwrap_or_default();
        let bins = self.closed.len().max(covering);
        self.closed.resize_with(bins, ClosedBin::default);
        let closed = std::mem::take(&mut self.closed).into_iter().zip(0..);
        closed.map(|(bin, number)| bin.told(length * number, length)).collect()
    }

    pub(crate) fn latency(&self) -> Latency<'_> {
        Latency::new(self.response.as_ref().unwrap_or(&self.service), self.counts.unanswered)
    }

    /// Nothing more comes: the times from when lines were due, in an open loop, and from when they
    /// were sent.
    pub(crate) fn finish(&mut self) -> (Option<Histogram<u64>>, Histogram<u64>) {
        (self.response.take(), std::mem::replace(&mut self.service, histogram()))
    }

    /// What all threads have used.
    pub(crate) fn used(&self) -> Option<CpuUsage> {
        let used = self.ended.iter().map(|ended| ended.used).collect::<Option<Vec<_>>>()?;
        Some(CpuUsage {
            processor: used.iter().map(|used| used.processor).sum(),
            elapsed: used.iter().map(|used| used.elapsed).sum(),
            shortest: used.iter().map(|used| used.shortest).min()?,
        })
    }
}

fn add(sum: &mut Histogram<u64>, more: &Histogram<u64>) {
    if !more.is_empty() {
        sum.add(more).expect("histograms with the same bounds can be added");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An aggregator that was told nothing of how long it takes, after a tick of one reply each.
    fn after(ticks: impl IntoIterator<Item = u64>) -> Vec<Bin> {
        let mut aggregator = Aggregator::new(1, None, false);
        for number in ticks {
            let mut service = histogram();
            service.record(number + 1).unwrap();
            let counts = Counts { replies: 1, ..Counts::default() };
            let tick = Box::new(TickRecord { number, counts, response: None, service });
            aggregator.take(RecorderMessage::Tick { thread: 0, tick }).unwrap();
        }
        aggregator.bins(Duration::ZERO)
    }

    #[test]
    fn bins_grow_with_a_load_that_takes_longer_than_was_foreseen() {
        for ticks in [1, 199, 200, 201, 399, 400, 401, 1000] {
            let bins = after(0..ticks);
            assert!(bins.len() <= 200, "{} of {ticks}", bins.len());
            let length = bins[0].length;
            for (number, bin) in (0..).zip(&bins) {
                assert_eq!((bin.start, bin.length), (length * number, length));
                let each = bin.length.as_millis() as u64 / 100;
                let first = u64::from(number) * each;
                assert_eq!(bin.replies, each.min(ticks - first), "bin {number} of {ticks}");
                let last = bin.times.unwrap().max.as_nanos() as u64;
                assert_eq!(last, (first + bin.replies), "bin {number} of {ticks}");
            }
        }
    }

    #[test]
    fn a_pause_is_as_long_as_it_was() {
        for pause in [1, 150, 333, 5000] {
            let bins = after([0, 1, 2, 2 + pause]);
            assert_eq!(bins.iter().map(|bin| bin.replies).sum::<u64>(), 4);
            let each = bins[0].length.as_millis() as u64 / 100;
            assert_eq!(bins.len() as u64, (2 + pause) / each + 1, "{pause}");
            assert_eq!(bins.last().unwrap().replies, if (2 + pause) / each == 2 / each { 4 } else { 1 }, "{pause}");
        }
    }
}
