//! Time, and the processor time that is used meanwhile.

use std::time::{Duration, Instant};

/// Nanoseconds since the start of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> u64 {
        nanoseconds(self.0.elapsed())
    }
}

/// A duration as clocks here count: the longest is 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Processor time, and the time in which it was used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuUsage {
    pub(crate) processor: Duration,
    pub(crate) elapsed: Duration,
    /// The shortest time that is part of it: that of one thread.
    pub(crate) shortest: Duration,
}

/// Whose processor time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CpuScope {
    Thread,
    Process,
}

/// Measures processor time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuMeter {
    whose: CpuScope,
    since: u64,
    used: Option<Duration>,
}

impl CpuMeter {
    pub(crate) fn start(whose: CpuScope, now: u64) -> Self {
        Self { whose, since: now, used: processor_time(whose) }
    }

    /// What was used since the start, where the system tells.
    pub(crate) fn read(self, now: u64) -> Option<CpuUsage> {
        let processor = processor_time(self.whose)?.saturating_sub(self.used?);
        let elapsed = Duration::from_nanos(now.saturating_sub(self.since));
        Some(CpuUsage { processor, elapsed, shortest: elapsed })
    }
}

/// The processor time used so far, where the system tells.
#[cfg(unix)]
pub(crate) fn processor_time(whose: CpuScope) -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    let clock = match whose {
        CpuScope::Thread => ClockId::ThreadCPUTime,
        CpuScope::Process => ClockId::ProcessCPUTime,
    };
    Duration::try_from(clock_gettime(clock)).ok()
}

#[cfg(not(unix))]
pub(crate) fn processor_time(_whose: CpuScope) -> Option<Duration> {
    None
}
