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

#[derive(Debug)]
pub(crate) struct Aggregator {
    /// How many ticks make a bin.
    bin_ticks: u64,
    /// Which tick each thread is in.
    ticks: Vec<u64>,
    /// Those to which a thread may still add.
    open: BTreeMap<u64, (Counts, Histogram<u64>)>,
    pub(crate) bins: Vec<Bin>,
    pub(crate) counts: Counts,
    response: Option<Histogram<u64>>,
    service: Histogram<u64>,
    pub(crate) examples: [Option<String>; LoadErrorKind::ALL.len()],
    pub(crate) ended: Vec<ThreadResult>,
}

impl Aggregator {
    pub(crate) fn new(threads: usize, duration: Duration, is_open: bool) -> Self {
        let ticks = duration.as_nanos().div_ceil(TICK.as_nanos());
        let bin_ticks = u64::try_from(ticks).unwrap_or(u64::MAX).div_ceil(MAX_BINS).max(1);
        Self {
            bin_ticks,
            ticks: vec![0; threads],
            open: BTreeMap::new(),
            bins: Vec::new(),
            counts: Counts::default(),
            response: is_open.then(histogram),
            service: histogram(),
            examples: Default::default(),
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
    fn close_bins(&mut self, end: u64) {
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.key() < end) {
            let (number, (counts, times)) = entry.remove_entry();
            // A time in which nothing at all happened is told, too.
            while (self.bins.len() as u64) < number {
                self.close_bin(&Counts::default(), &histogram());
            }
            self.close_bin(&counts, &times);
        }
    }

    fn close_bin(&mut self, counts: &Counts, times: &Histogram<u64>) {
        let length = TICK * u32::try_from(self.bin_ticks).unwrap_or(u32::MAX);
        let value = |quantile| Duration::from_nanos(times.value_at_quantile(quantile));
        self.bins.push(Bin {
            start: length * u32::try_from(self.bins.len()).unwrap_or(u32::MAX),
            length,
            replies: counts.replies,
            errors: counts.errors(),
            times: (!times.is_empty()).then(|| BinTimes { p50: value(0.5), p99: value(0.99), max: value(1.0) }),
        });
    }

    pub(crate) fn latency(&self) -> Latency<'_> {
        Latency::new(self.response.as_ref().unwrap_or(&self.service), self.counts.unanswered)
    }

    /// Nothing more comes: the times from when lines were due, in an open loop, and from when they
    /// were sent. The bins reach as far as lines were measured, whether or not there was anybody
    /// left to see something.
    pub(crate) fn finish(&mut self, measured: Duration) -> (Option<Histogram<u64>>, Histogram<u64>) {
        self.close_bins(u64::MAX);
        let covered = |bins: &[Bin]| bins.last().map_or(Duration::ZERO, |bin| bin.start + bin.length);
        while covered(&self.bins) < measured && (self.bins.len() as u64) < MAX_BINS {
            self.close_bin(&Counts::default(), &histogram());
        }
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
