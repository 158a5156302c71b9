//! What there is to tell of a program that answers many clients at once, in numbers.

/// The counts of a [`Tagged`](crate::Tagged) since it started, and its gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaggedStats {
    /// How many processes run, those included that are to end.
    pub running: u64,
    /// How many clients they have.
    pub clients: u64,
    /// How many lines are in progress.
    pub waiting: u64,
    /// How many lines were answered: also by a refusal, or with the end of the connection.
    pub answered: u64,
    /// How many lines were pushed.
    pub pushed: u64,
    /// How many processes were started.
    pub started: u64,
    /// How many could not be started.
    pub failed_starts: u64,
    /// How many lines were not answered in time.
    pub late: u64,
    /// How many processes were ended since they broke the rule, or did not answer or read any more.
    pub confused: u64,
    /// How many have ended by themselves, and were not to.
    pub ended: u64,
}
