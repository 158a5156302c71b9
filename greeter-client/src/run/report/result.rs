//! How scripts ended, as the formats are told of it.

use std::time::Duration;

use crate::run::outcome::Outcome;
use crate::talk::Script;

/// A script that has ended.
#[derive(Clone, Copy, Debug)]
pub struct FinishedScript<'a> {
    /// The script.
    pub script: &'a Script,
    /// Its outcome.
    pub outcome: &'a Outcome,
    /// How long it took, the start of its server included.
    pub took: Duration,
}

/// The number of scripts by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScriptCounts {
    /// Scripts that passed.
    pub passed: usize,
    /// Scripts that require something that the run lacks.
    pub skipped: usize,
    /// Scripts that failed.
    pub failed: usize,
    /// Scripts that could not connect.
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

    /// Returns the number of all scripts.
    #[must_use]
    pub const fn scripts(&self) -> usize {
        self.passed + self.skipped + self.failed + self.unconnected
    }
}

/// Milliseconds with their fraction, as a number that every format reads.
pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{}.{:03}", duration.as_millis(), duration.subsec_micros() % 1000)
}
