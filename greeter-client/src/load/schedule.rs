//! Turns a rate into the time of each send: exact for any rate, without drift. No clock.

use std::fmt;
use std::str::FromStr;

/// A rate: how often an open loop sends.
///
/// ```
/// use greeter_client::load::Rate;
///
/// let rate: Rate = "5000/s".parse()?;
/// assert_eq!(rate.to_string(), "5000/s");
/// assert_eq!("30/m".parse::<Rate>()?.per_second(), 0.5);
/// # Ok::<(), greeter_client::load::RateError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// From 1 to [`MAX_COUNT`].
    count: u64,
    unit: RateUnit,
}

/// One for each nanosecond: the clock tells no more apart.
const MAX_COUNT: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RateUnit {
    Second,
    Minute,
    Hour,
}

impl RateUnit {
    const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    const fn nanoseconds(self) -> u64 {
        match self {
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
            Self::Hour => 3_600_000_000_000,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
        }
    }
}

impl Rate {
    /// Returns the rate per second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.count as f64 * 1e9 / self.unit.nanoseconds() as f64
    }

    /// When send `k`, counted from 0, is due: in nanoseconds from the start, rounded down once, and
    /// never summed up.
    pub(super) fn intended(self, k: u64) -> u64 {
        let unit = self.unit.nanoseconds();
        match k.checked_mul(unit) {
            Some(product) => product / self.count,
            None => {
                let nanoseconds = u128::from(k) * u128::from(unit) / u128::from(self.count);
                u64::try_from(nanoseconds).unwrap_or(u64::MAX)
            }
        }
    }

    /// How many sends are due by then, that moment included: those with a [planned](Self::intended)
    /// time up to it.
    pub(super) fn due_by(self, nanoseconds: u64) -> u64 {
        let unit = self.unit.nanoseconds();
        // floor(k·unit / count) <= t holds for just those k for which k·unit < (t + 1)·count.
        match nanoseconds.checked_add(1).and_then(|end| end.checked_mul(self.count)) {
            Some(product) => product.div_ceil(unit),
            None => {
                let due = ((u128::from(nanoseconds) + 1) * u128::from(self.count)).div_ceil(u128::from(unit));
                u64::try_from(due).unwrap_or(u64::MAX)
            }
        }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (count, unit) = text.split_once('/').ok_or(RateError)?;
        let unit = RateUnit::ALL.into_iter().find(|known| known.word() == unit).ok_or(RateError)?;
        // `u64::from_str` would accept a plus sign.
        let digits = Some(count).filter(|count| count.bytes().all(|byte| byte.is_ascii_digit())).ok_or(RateError)?;
        match digits.parse() {
            Ok(count @ 1..=MAX_COUNT) => Ok(Self { count, unit }),
            _ => Err(RateError),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit.word())
    }
}

/// When lines are sent. Times are in nanoseconds since the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) pace: Pace,
    /// How many lines a connection may have in flight.
    pub(crate) pipeline: usize,
    pub(crate) connections: u64,
    pub(crate) threads: u64,
    /// What is due before is not measured.
    pub(crate) warmup: u64,
    /// Nothing is due from here on.
    pub(crate) end: u64,
    /// How many are due in all, if that is said: then each connection has its share, in a closed
    /// loop from the start.
    pub(crate) total: Option<u64>,
    /// How long a reply may take.
    pub(crate) reply_timeout: u64,
}

/// What decides when the next line is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The replies to those before.
    Closed,
    /// The clock: line k is due at its time, on connection k modulo the number of connections.
    Open(Rate),
}

impl Schedule {
    /// How many lines of connection `number`, counted from 0, are due when `due` are in all.
    pub(crate) fn due_on(&self, number: u64, due: u64) -> u64 {
        due.saturating_sub(number).div_ceil(self.connections)
    }

    /// When the `index`th line of connection `number` is due; none in a closed loop.
    pub(crate) fn intended(&self, number: u64, index: u64) -> Option<u64> {
        match self.pace {
            Pace::Closed => None,
            Pace::Open(rate) => Some(rate.intended(index.saturating_mul(self.connections).saturating_add(number))),
        }
    }

    /// How many lines are due in all by `now`; in a closed loop, none of which one would know.
    pub(crate) fn due_by(&self, now: u64) -> u64 {
        match (self.pace, self.end.checked_sub(1)) {
            (Pace::Open(rate), Some(last)) => rate.due_by(now.min(last)),
            (Pace::Closed, _) => self.total.unwrap_or(0),
            _ => 0,
        }
    }

    /// How many lines connection `number` may have sent in all, by `now`.
    pub(crate) fn may_have_sent(&self, number: u64, now: u64) -> u64 {
        match (self.pace, self.total) {
            (Pace::Closed, None) => {
                if now < self.end {
                    u64::MAX
                } else {
                    0
                }
            }
            _ => self.due_on(number, self.due_by(now)),
        }
    }

    /// Whether connection `number`, which has sent so many lines, has more to send at `now` or
    /// later.
    pub(crate) fn has_more(&self, number: u64, sent: u64, now: u64) -> bool {
        self.total.map_or(now < self.end, |total| sent < self.due_on(number, total))
    }

    /// Whether a reply that comes at `now` counts for the rate.
    pub(crate) fn is_in_time(&self, now: u64) -> bool {
        self.total.is_some() || now < self.end
    }

    /// How many lines of connection `number` are due before the end of the warm-up. In a closed
    /// loop nobody knows when what was not sent would have been.
    pub(crate) fn unmeasured_on(&self, number: u64) -> u64 {
        match (self.pace, self.warmup.checked_sub(1)) {
            (Pace::Open(_), Some(last)) => self.due_on(number, self.due_by(last)),
            _ => 0,
        }
    }

    /// Of `due` lines in all, how many are due on the connections of one thread: those whose number
    /// is `thread` modulo the number of threads.
    pub(crate) fn due_of(&self, thread: u64, due: u64) -> u64 {
        let (rounds, rest) = (due / self.connections, due % self.connections);
        rounds * self.connections_of(thread) + rest.saturating_sub(thread).div_ceil(self.threads)
    }

    pub(crate) fn connections_of(&self, thread: u64) -> u64 {
        self.connections.saturating_sub(thread).div_ceil(self.threads)
    }

    /// Which connection of all is the `slot`th of a thread.
    pub(crate) const fn number(&self, thread: u64, slot: u64) -> u64 {
        thread + slot * self.threads
    }
}

/// An error of parsing a [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a rate such as 5000/s, 30/m or 1/h, with a number from 1 to 1000000000")]
pub struct RateError;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rates() -> impl Strategy<Value = Rate> {
        let count = prop_oneof![1..=20_u64, 1..=MAX_COUNT, Just(MAX_COUNT), Just(999_999_937)];
        (count, prop::sample::select(RateUnit::ALL.to_vec())).prop_map(|(count, unit)| Rate { count, unit })
    }

    proptest! {
        /// The definition: k periods, rounded down; also where the product does not fit into 64
        /// bits.
        #[test]
        fn a_planned_time_is_exact(rate in rates(), k in prop_oneof![0..100_u64, 0..=1_u64 << 50]) {
            let intended = u128::from(rate.intended(k));
            let exact = u128::from(k) * u128::from(rate.unit.nanoseconds());
            prop_assert!(intended * u128::from(rate.count) <= exact);
            let is_over_the_top = intended == u128::from(u64::MAX);
            prop_assert!((intended + 1) * u128::from(rate.count) > exact || is_over_the_top);
        }

        #[test]
        fn what_is_due_is_what_was_planned_by_then(rate in rates(), time in prop_oneof![0..10_u64, 0..=1_u64 << 50]) {
            let due = rate.due_by(time);
            prop_assert!(due >= 1, "the first one is due at the start");
            prop_assert!(rate.intended(due - 1) <= time);
            prop_assert!(rate.intended(due) > time);
        }
    }

    #[test]
    fn a_second_has_as_many_sends_as_the_rate_says() {
        for (text, seconds, sends) in
            [("1/s", 10, 10), ("3/s", 1, 3), ("1000000/s", 60, 60_000_000), ("7/m", 60, 7), ("1/h", 86_400, 24)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.due_by(seconds * 1_000_000_000 - 1), sends, "{text}");
            assert_eq!(rate.intended(sends), seconds * 1_000_000_000, "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in ["", "5000", "/s", "0/s", "-1/s", "+1/s", "1/", "1/ms", "1.5/s", "1000000001/s", "5k/s", "1 /s"] {
            assert_eq!(text.parse::<Rate>(), Err(RateError), "{text}");
        }
    }
}
