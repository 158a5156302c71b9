//! Limits how often one kind of event is shown: up to a number in a second; the rest is counted.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Level, Metadata};

use super::line::{Format, LogLine};

/// How many events of one kind are shown in one [`PERIOD`]. More cannot be read; and the three
/// kinds that clients can cause at will, accepted, rejected and disconnected, together stay below
/// 333 a second, above which journald drops lines of a service by itself.
pub(super) const MAX_SHOWN: u32 = 100;

/// How long a period lasts. It begins with the first event of its kind.
const PERIOD: Duration = Duration::from_secs(1);

/// The kinds of events that came within the last [`PERIOD`], and those that came in the one before
/// and exceeded the limit.
#[derive(Debug, Default)]
pub(super) struct RateLimits(Mutex<HashMap<Identifier, KindCount>>);

/// The events of one statement in the source.
#[derive(Debug)]
struct KindCount {
    ends: Instant,
    shown: u32,
    suppressed: Suppressed,
}

/// Events that are not shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    pub(super) level: Level,
    /// The message of the first of their kind.
    pub(super) message: String,
    pub(super) count: u64,
}

/// What becomes of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LimitOutcome {
    /// It is shown, after the number of those before it that were not.
    Shown { before: Option<Suppressed> },
    /// It is only counted.
    Suppressed,
}

impl RateLimits {
    /// Decides about an event that happens now.
    pub(super) fn admit(&self, metadata: &Metadata<'_>, message: String, now: Instant) -> LimitOutcome {
        let mut kinds = self.lock();
        let begun = || KindCount::begin(*metadata.level(), message, now);
        let kind = match kinds.get_mut(&metadata.callsite()) {
            Some(kind) if now < kind.ends => kind,
            Some(kind) => {
                let ended = std::mem::replace(kind, begun());
                return LimitOutcome::Shown { before: ended.suppressed.if_any() };
            }
            None => {
                kinds.insert(metadata.callsite(), begun());
                return LimitOutcome::Shown { before: None };
            }
        };
        if kind.shown < MAX_SHOWN {
            kind.shown += 1;
            return LimitOutcome::Shown { before: None };
        }
        kind.suppressed.count += 1;
        LimitOutcome::Suppressed
    }

    /// Removes the kinds whose period has ended, and returns what was suppressed of them.
    pub(super) fn end(&self, now: Instant) -> Vec<Suppressed> {
        let mut kinds = self.lock();
        let ended = kinds.extract_if(|_, kind| kind.ends <= now);
        ended.filter_map(|(_, kind)| kind.suppressed.if_any()).collect()
    }

    /// Removes all kinds, and returns what was suppressed of them.
    pub(super) fn end_all(&self) -> Vec<Suppressed> {
        self.lock().drain().filter_map(|(_, kind)| kind.suppressed.if_any()).collect()
    }

    /// Returns when the next period ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.lock().values().map(|kind| kind.ends).min()
    }

    /// No code that holds the lock can panic.
    fn lock(&self) -> MutexGuard<'_, HashMap<Identifier, KindCount>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KindCount {
    /// Begins a period with its first event, which is shown.
    fn begin(level: Level, message: String, now: Instant) -> Self {
        Self { ends: now + PERIOD, shown: 1, suppressed: Suppressed { level, message, count: 0 } }
    }
}

impl Suppressed {
    /// Returns none if nothing was suppressed.
    fn if_any(self) -> Option<Self> {
        (self.count > 0).then_some(self)
    }

    /// Returns the line for the log.
    pub(super) fn line(&self, format: Format) -> String {
        let mut line = LogLine::begin(format, self.level);
        line.text("message", format_args!("{}", self.message));
        line.number("suppressed", self.count);
        line.finish()
    }
}

#[cfg(test)]
mod tests {
    use tracing::callsite::Callsite;
    use tracing::field::FieldSet;
    use tracing::metadata::Kind as EventKind;
    use tracing::subscriber::Interest;

    use super::*;

    /// A statement that logs.
    struct TestCallsite(Level);

    impl Callsite for TestCallsite {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            unreachable!("it is not registered")
        }
    }

    fn metadata(statement: &'static TestCallsite) -> Metadata<'static> {
        let fields = FieldSet::new(&[], Identifier(statement));
        Metadata::new("event", "here", statement.0, None, None, None, fields, EventKind::EVENT)
    }

    static COMES: TestCallsite = TestCallsite(Level::INFO);
    static FAILS: TestCallsite = TestCallsite(Level::ERROR);
    const SHOWN: LimitOutcome = LimitOutcome::Shown { before: None };

    fn suppressed(count: u64) -> Suppressed {
        Suppressed { level: Level::INFO, message: "first".to_owned(), count }
    }

    #[test]
    fn each_kind_is_shown_a_hundred_times_a_second() {
        let (limits, start) = (RateLimits::default(), Instant::now());
        let admit = |statement, message: &str, now| limits.admit(&metadata(statement), message.to_owned(), now);
        assert_eq!(admit(&COMES, "first", start), SHOWN);
        let late = start + PERIOD - Duration::from_nanos(1);
        for _ in 1..MAX_SHOWN {
            assert_eq!(admit(&COMES, "more", late), SHOWN);
        }
        for _ in 0..7 {
            assert_eq!(admit(&COMES, "too many", late), LimitOutcome::Suppressed);
        }
        assert_eq!(admit(&FAILS, "another kind", late), SHOWN);
        assert_eq!(limits.end(late), []);
        assert_eq!(limits.next_end(), Some(start + PERIOD));

        // An event in the next second reports it, and is the first of that second.
        assert_eq!(admit(&COMES, "first", start + PERIOD), LimitOutcome::Shown { before: Some(suppressed(7)) });
        for _ in 1..MAX_SHOWN {
            assert_eq!(admit(&COMES, "more", start + PERIOD), SHOWN);
        }
        assert_eq!(admit(&COMES, "too many", start + PERIOD), LimitOutcome::Suppressed);

        // So does the end of that second, once.
        assert_eq!(limits.end(start + 2 * PERIOD), [suppressed(1)]);
        assert_eq!(limits.end_all(), []);
        assert_eq!(limits.next_end(), None);
    }

    #[test]
    fn the_end_reports_what_was_suppressed() {
        let (limits, now) = (RateLimits::default(), Instant::now());
        (0..=MAX_SHOWN).for_each(|_| drop(limits.admit(&metadata(&COMES), "first".to_owned(), now)));
        assert_eq!(limits.end_all(), [suppressed(1)]);
    }
}
