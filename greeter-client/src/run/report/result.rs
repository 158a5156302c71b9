//! How scripts ended, as the formats are told of it.

use std::time::Duration;

use crate::run::outcome::Outcome;
use crate::talk::Script;

/// A script that has ended.
#[derive(Clone, Copy, Debug)]
pub struct FinishedScript<'a> {
    /// Which.
    pub script: &'a Script,
    /// How.
    pub outcome: &'a Outcome,
    /// How long it took, its server's start included.
    pub took: Duration,
}

/// How many scripts ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScriptCounts {
    /// Everything was as they say.
    pub passed: usize,
    /// The run lacks something that they require.
    pub skipped: usize,
    /// Something was not as they say.
    pub failed: usize,
    /// There was nobody to talk to.
    pub unconnected: usize,
}

impl ScriptCounts {
    /// Counts one more.
    pub fn add(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Passed => &mut self.passed,
            Outcome::Skipped(_) => &mut self.skipped,
            Outcome::Failed(failure) if failure.error.is_connecting() => &mut self.unconnected,
            Outcome::Failed(_) => &mut self.failed,
        } += 1;
    }

    /// How many there were.
    #[must_use]
    pub const fn scripts(&self) -> usize {
        self.passed + self.skipped + self.failed + self.unconnected
    }
}

/// Milliseconds with their fraction, as a number that every format reads.
pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{}.{:03}", duration.as_millis(), duration.subsec_micros() % 1000)
}
