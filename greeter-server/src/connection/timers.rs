//! Turns the deadlines of a thread's clients into the time to look at each again. Must not know
//! what the deadlines mean.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use greeter_core::ClientId;

use crate::slots::SLOT_BITS;

/// The timers of a connection thread: at most one for each slot.
///
/// A deadline moves with every request, nearly always to a later time, and hardly ever passes. So a
/// timer is set anew only if it would expire too late. One that expires too early is set again, for
/// the deadline that the connection then has. That makes a request cost one comparison, whatever
/// the number of clients.
#[derive(Debug)]
pub(crate) struct TimerTable {
    epoch: Instant,
    by_time: BTreeSet<Timer>,
}

/// A time and a slot: the earlier, the smaller. One number instead of two halves the memory that
/// the set needs for each client. The time has 42 bits, which is 139 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Timer(u64);

/// A time in milliseconds, rounded up, so that a timer does not expire early. Eight bytes, in an
/// `Option` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Millis(NonZeroU64);

impl TimerTable {
    pub(crate) const fn new(epoch: Instant) -> Self {
        Self { epoch, by_time: BTreeSet::new() }
    }

    /// Makes the timer of this slot expire at the deadline or before.
    pub(crate) fn set(&mut self, slot: u32, timer: &mut Option<Millis>, deadline: Instant) {
        let due = self.millis(deadline);
        if timer.is_some_and(|timer| timer <= due) {
            return;
        }
        self.stop(slot, timer);
        self.by_time.insert(Timer::new(due, slot));
        *timer = Some(due);
    }

    /// Stops the timer of this slot.
    pub(crate) fn stop(&mut self, slot: u32, timer: &mut Option<Millis>) {
        if let Some(due) = timer.take() {
            self.by_time.remove(&Timer::new(due, slot));
        }
    }

    /// Takes a slot whose timer has expired. It has none from now on.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<u32> {
        let timer = *self.by_time.first()?;
        if self.time(timer.due()) > now {
            return None;
        }
        self.by_time.pop_first();
        Some(timer.slot())
    }

    /// Returns when the first timer expires.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.by_time.first().map(|timer| self.time(timer.due()))
    }

    /// Returns a time in milliseconds since the epoch of this table.
    pub(crate) fn millis(&self, time: Instant) -> Millis {
        let since = time.saturating_duration_since(self.epoch);
        let millis =
            since.as_secs().saturating_mul(1000).saturating_add(since.subsec_nanos().div_ceil(1_000_000).into());
        Millis(NonZeroU64::MIN.saturating_add(millis.min(Millis::MAX_MILLIS)))
    }

    /// Returns the time that is this many milliseconds after the epoch.
    pub(crate) fn time(&self, millis: Millis) -> Instant {
        self.epoch + millis.since_epoch()
    }
}

/// Over how much of a stop clients are let go. Whoever is last may have sent something just before,
/// and has a tenth of the stop for the reply.
pub(crate) fn spread_within(stop: Duration, asked: Duration) -> Duration {
    asked.min(stop - stop / 10)
}

/// A share of this time, which is another for each client.
pub(crate) fn share(time: Duration, client: ClientId) -> Duration {
    // Numbers that follow each other are spread evenly (Knuth's multiplicative hashing).
    let hash = client.as_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    time.mul_f64(f64::from(u32::try_from(hash).expect("it has 32 bits")) / f64::from(u32::MAX))
}

impl Millis {
    /// Returns the time since the epoch.
    pub(crate) const fn since_epoch(self) -> Duration {
        Duration::from_millis(self.0.get() - 1)
    }

    /// A timer for a later time expires at this one, too early, and is set again.
    const MAX_MILLIS: u64 = (u64::MAX >> SLOT_BITS) - 1;
}

impl Timer {
    const fn new(Millis(due): Millis, slot: u32) -> Self {
        Self(due.get() << SLOT_BITS | slot as u64)
    }

    fn due(self) -> Millis {
        Millis(NonZeroU64::new(self.0 >> SLOT_BITS).expect("no time is zero"))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the parts are taken out as they were put in")]
    const fn slot(self) -> u32 {
        self.0 as u32 & ((1 << SLOT_BITS) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_be_let_go_has_a_tenth_of_the_stop() {
        let [one, nine, ten] = [1, 9, 10].map(Duration::from_secs);
        assert_eq!([one, nine, ten].map(|asked| spread_within(ten, asked)), [one, nine, nine]);
    }

    #[test]
    fn the_shares_of_clients_are_spread_evenly() {
        let second = Duration::from_secs(1);
        let mut tenths = [0; 10];
        for number in 0..10_000 {
            let tenth = share(second, greeter_core::client_id(number)).as_millis() / 100;
            tenths[usize::try_from(tenth).unwrap().min(9)] += 1;
        }
        assert!(tenths.iter().all(|count| (900..1100).contains(count)), "{tenths:?}");
    }

    fn expired(timers: &mut TimerTable, now: Instant) -> Vec<u32> {
        std::iter::from_fn(|| timers.pop_expired(now)).collect()
    }

    #[test]
    fn timers_expire_in_order_and_not_early() {
        let start = Instant::now();
        let mut timers = TimerTable::new(start);
        let at = |micros| start + Duration::from_micros(micros);
        for (slot, micros) in [(0, 5_000), (1, 1_500), ((1 << SLOT_BITS) - 1, 5_000)] {
            timers.set(slot, &mut None, at(micros));
        }
        assert_eq!(timers.next_timeout(), Some(at(2_000)));
        assert_eq!(expired(&mut timers, at(1_999)), [0_u32; 0]);
        assert_eq!(expired(&mut timers, at(5_000)), [1, 0, (1 << SLOT_BITS) - 1]);
        assert_eq!(timers.next_timeout(), None);
    }

    #[test]
    fn timers_reach_a_hundred_years() {
        let start = Instant::now();
        let mut timers = TimerTable::new(start);
        let hundred_years = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        timers.set(1, &mut None, start + hundred_years);
        assert_eq!(timers.next_timeout(), Some(start + hundred_years));
        timers.set(2, &mut None, start + 10 * hundred_years);
        assert_eq!(expired(&mut timers, start + 2 * hundred_years), [1, 2]);
    }

    #[test]
    fn a_timer_moves_only_to_an_earlier_time() {
        let start = Instant::now();
        let mut timers = TimerTable::new(start);
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut timer = None;
        timers.set(7, &mut timer, after(300));
        timers.set(7, &mut timer, after(400));
        assert_eq!(timers.next_timeout(), Some(after(300)));
        timers.set(7, &mut timer, after(10));
        assert_eq!((timers.next_timeout(), timers.by_time.len()), (Some(after(10)), 1));
        timers.stop(7, &mut timer);
        assert_eq!((timers.next_timeout(), timer), (None, None));
    }
}
