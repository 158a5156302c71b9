//! A counter that goes up every ten milliseconds while any thread answers. Must not know what it is
//! used for.
//!
//! Reading it costs next to nothing, so a thread that answers lines reads it after each and ends a
//! [turn](greeter_core::TurnBudget) when it has gone up. It also stands still while the process
//! does, which the system's clock does not: for the [pool](crate::pool::worker) and the
//! [watchdog](crate::pool::watchdog), a timeout has passed when both say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

/// How long a tick lasts. A finished reply waits at most this long, and for the line being
/// answered, before it is sent; and a reply timeout is this precise. A turn that a tick cuts short
/// costs a microsecond or two.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// How much time counts for one step at most: if the ticker itself did not run for longer, no
/// thread of the process did.
const MAX_STEP: Duration = Duration::from_millis(250);

/// After how many ticks without work in progress the ticker falls asleep.
const IDLE_TICKS: u32 = 100;

/// How often the ticker checks for work while it sleeps. A thread that starts work wakes it, except
/// for one in a million that checks just before the ticker falls asleep.
const SLEEP_CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// A count of ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

/// A time on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) time: Instant,
    pub(crate) tick: Tick,
}

impl Moment {
    /// Returns whether this much time has passed until `now`, without the time in which the process
    /// stood still.
    pub(crate) fn is_past(self, timeout: Duration, now: Self) -> bool {
        let ticks = now.tick.0.saturating_sub(self.tick.0);
        // This many ticks begin with a part of one and end with a part of another.
        let at_most = TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX).saturating_add(1));
        at_most > timeout && now.time.saturating_duration_since(self.time) >= timeout
    }
}

/// The counter that all threads read. It has a cache line (and its neighbour) to itself, which is
/// written a hundred times a second.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Ticker {
    ticks: AtomicU64,
    is_asleep: AtomicBool,
}

impl Ticker {
    #[inline]
    pub(crate) fn tick(&self) -> Tick {
        // It orders nothing: a thread that sees it late ends a turn late, by nanoseconds.
        Tick(self.ticks.load(Ordering::Relaxed))
    }

    pub(crate) fn at(&self, time: Instant) -> Moment {
        Moment { time, tick: self.tick() }
    }

    pub(crate) fn now(&self) -> Moment {
        self.at(Instant::now())
    }

    pub(crate) fn advance(&self, ticks: u64) {
        self.ticks.fetch_add(ticks, Ordering::Relaxed);
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn set(&self, ticks: u64) {
        self.ticks.store(ticks, Ordering::Relaxed);
    }
}

/// Held by each thread that creates work. It keeps the ticker awake, and its thread alive.
#[derive(Clone, Debug)]
pub(crate) struct TickerWaker {
    pub(crate) ticker: Arc<Ticker>,
    waker: Sender<()>,
}

impl TickerWaker {
    /// Creates one for a ticker that a test advances.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn of(ticker: Arc<Ticker>) -> Self {
        Self { ticker, waker: crossbeam_channel::bounded(0).0 }
    }

    /// Wakes the ticker: there is work, so time matters.
    #[inline]
    pub(crate) fn ensure_ticking(&self) {
        if self.ticker.is_asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Wakes the ticker, unless another thread does.
    #[cold]
    fn wake(&self) {
        if self.ticker.is_asleep.swap(false, Ordering::Relaxed) {
            // The channel is full if another thread has just woken it.
            let _ = self.waker.try_send(());
        }
    }
}

/// The ticker's own end, which its thread runs.
#[derive(Debug)]
pub(crate) struct TickerThread {
    ticker: Arc<Ticker>,
    wake_ups: Receiver<()>,
    last: Instant,
    /// The part of the next tick that has passed.
    begun_tick: Duration,
    idle_ticks: u32,
}

/// Creates a ticker that stands still until its thread runs.
pub(crate) fn ticker() -> (TickerWaker, TickerThread) {
    let ticker = Arc::<Ticker>::default();
    let (waker, wake_ups) = crossbeam_channel::bounded(1);
    let ticker_thread = TickerThread {
        ticker: Arc::clone(&ticker),
        wake_ups,
        last: Instant::now(),
        begun_tick: Duration::ZERO,
        idle_ticks: 0,
    };
    (TickerWaker { ticker, waker }, ticker_thread)
}

impl TickerThread {
    /// Runs the thread, until every [`TickerWaker`] is dropped. After each tick it calls `check`,
    /// which returns whether any thread has work.
    pub(crate) fn run(mut self, mut check: impl FnMut(Moment) -> bool) {
        loop {
            match self.wake_ups.recv_deadline(self.last + TICK - self.begun_tick) {
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            self.count_ticks(now);
            let is_busy = check(self.ticker.at(now));
            self.idle_ticks = if is_busy { 0 } else { self.idle_ticks + 1 };
            if self.idle_ticks >= IDLE_TICKS && !self.sleep(&mut check) {
                return;
            }
        }
    }

    /// Counts the ticks from the last step until now.
    fn count_ticks(&mut self, now: Instant) {
        self.begun_tick += now.saturating_duration_since(self.last).min(MAX_STEP);
        self.last = now;
        let mut ticks = 0;
        while self.begun_tick >= TICK {
            self.begun_tick -= TICK;
            ticks += 1;
        }
        self.ticker.advance(ticks);
    }

    /// Sleeps until there is work. Returns false if no [`TickerWaker`] is left.
    fn sleep(&mut self, check: &mut impl FnMut(Moment) -> bool) -> bool {
        self.ticker.is_asleep.store(true, Ordering::Relaxed);
        let has_winder = loop {
            match self.wake_ups.recv_timeout(SLEEP_CHECK_INTERVAL) {
                Ok(()) => break true,
                Err(RecvTimeoutError::Disconnected) => break false,
                Err(RecvTimeoutError::Timeout) if check(self.ticker.now()) => break true,
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        self.ticker.is_asleep.store(false, Ordering::Relaxed);
        self.idle_ticks = 0;
        self.last = Instant::now();
        has_winder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_timeout_has_passed_when_both_clocks_say_so() {
        let start = Instant::now();
        let moment = |millis: u64, ticks: u64| Moment { time: start + MILLI * millis as u32, tick: Tick(ticks) };
        let is_past = |timeout: u64, now| moment(0, 100).is_past(MILLI * timeout as u32, now);
        assert!(is_past(30, moment(30, 103)));
        assert!(!is_past(30, moment(29, 103)), "never early by the clock");
        assert!(is_past(8, moment(8, 100)), "a timeout shorter than a tick needs none");
        assert!(!is_past(20, moment(20, 101)), "of two ticks only one is sure to have passed");
        assert!(is_past(20, moment(20, 102)));
        assert!(!is_past(1000, moment(2500, 125)), "the process stood still");
        assert!(is_past(1000, moment(1000, 100 + 100)));
    }

    #[test]
    fn ticks_keep_up_with_time_but_not_with_time_that_the_process_missed() {
        let (_winder, mut ticker_thread) = ticker();
        let start = ticker_thread.last;
        let mut ticks_at = |millis: u32| {
            ticker_thread.count_ticks(start + MILLI * millis);
            ticker_thread.ticker.tick().0
        };
        assert_eq!([ticks_at(9), ticks_at(10), ticks_at(25), ticks_at(34), ticks_at(40)], [0, 1, 2, 3, 4]);
        assert_eq!(ticks_at(10_040), 4 + 25);
    }

    #[test]
    fn it_ticks_only_while_there_is_work() {
        let (ticker_waker, ticker_thread) = ticker();
        let (sender, receiver) = crossbeam_channel::unbounded();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut checks = 0;
                ticker_thread.run(|_| {
                    checks += 1;
                    let _ = sender.send(checks);
                    checks < 3
                });
            });
            // Until it is asleep.
            let timeout = Duration::from_secs(20);
            while !ticker_waker.ticker.is_asleep.load(Ordering::Relaxed) {
                receiver.recv_timeout(timeout).expect("it checks");
            }
            let asleep_at = ticker_waker.ticker.tick();
            assert!(asleep_at >= Tick(u64::from(IDLE_TICKS)));
            receiver.try_iter().for_each(drop);
            receiver.recv_timeout(timeout).expect("it checks while it sleeps");
            assert_eq!(ticker_waker.ticker.tick(), asleep_at);
            ticker_waker.ensure_ticking();
            while ticker_waker.ticker.tick() == asleep_at {
                receiver.recv_timeout(timeout).expect("it ticks");
            }
            drop(ticker_waker);
        });
    }
}
