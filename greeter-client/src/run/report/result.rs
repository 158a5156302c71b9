//! How scripts ended, as the formats are told of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::run::outcome::Outcome;
use crate::run::tries::FailedTry;
use crate::talk::Script;

/// A script that has ended.
#[derive(Clone, Copy, Debug)]
pub struct FinishedScript<'a> {
    /// The script.
    pub script: &'a Script,
    /// The outcome of its last try.
    pub outcome: &'a Outcome,
    /// How long that took, the start of its server included.
    pub took: Duration,
    /// The tries before that, in their order; mostly there are none.
    pub earlier: &'a [FailedTry],
}

impl FinishedScript<'_> {
    /// Which of its tries was the last one, if it was not the only one.
    pub(super) fn later_try(&self) -> Option<usize> {
        Some(self.earlier.len() + 1).filter(|&number| number > 1)
    }
}

/// The number of scripts by outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScriptCounts {
    /// Scripts that passed, at whatever try.
    pub passed: usize,
    /// Those of them that did not at the first try, by the try at which they did.
    pub passed_at: BTreeMap<usize, usize>,
    /// Scripts that require something that the run lacks.
    pub skipped: usize,
    /// Scripts that failed.
    pub failed: usize,
    /// Scripts that could not connect.
    pub unconnected: usize,
    /// Scripts that were not run, because another one had failed.
    pub not_run: usize,
}

impl ScriptCounts {
    /// Counts one more that has ended.
    pub fn add(&mut self, ended: &FinishedScript<'_>) {
        *match ended.outcome {
            Outcome::Passed => &mut self.passed,
            Outcome::Skipped(_) => &mut self.skipped,
            Outcome::Failed(failure) if failure.error.is_connecting() => &mut self.unconnected,
            Outcome::Failed(_) => &mut self.failed,
        } += 1;
        if let (Outcome::Passed, Some(number)) = (ended.outcome, ended.later_try()) {
            *self.passed_at.entry(number).or_default() += 1;
        }
    }

    /// Returns the number of the scripts that have ended.
    #[must_use]
    pub const fn ended(&self) -> usize {
        self.passed + self.skipped + self.failed + self.unconnected
    }

    /// Returns the number of all scripts, those that were not run among them.
    #[must_use]
    pub const fn scripts(&self) -> usize {
        self.ended() + self.not_run
    }
}

/// Milliseconds with their fraction, as a number that every format reads.
pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{}.{:03}", duration.as_millis(), duration.subsec_micros() % 1000)
}
