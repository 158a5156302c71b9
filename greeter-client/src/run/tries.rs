//! Runs a script again that has failed: for servers that fail now and then.

use std::time::{Duration, Instant};

use super::outcome::{Failure, Outcome};

/// A try of a script that failed, and that another one followed.
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedTry {
    /// Where it failed, and why.
    pub failure: Box<Failure>,
    /// How long it took, the start of its server included.
    pub took: Duration,
}

/// All tries of a script.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub struct Tries {
    /// Those before the last one, in their order: each of them failed.
    pub earlier: Vec<FailedTry>,
    /// The outcome of the last one.
    pub outcome: Outcome,
    /// How long the last one took, the start of its server included.
    pub took: Duration,
}

/// Runs a script by calling `attempt`, and does so again while it fails, up to `retries` times. A
/// call that is to be worth anything has a server of its own, which nothing has happened to yet.
///
/// ```
/// use greeter_client::run::{Outcome, with_retries};
///
/// let tries = with_retries(2, || Outcome::Passed);
/// assert!(matches!(tries.outcome, Outcome::Passed));
/// assert!(tries.earlier.is_empty());
/// ```
pub fn with_retries(retries: usize, mut attempt: impl FnMut() -> Outcome) -> Tries {
    let mut earlier = Vec::new();
    loop {
        let start = Instant::now();
        let outcome = attempt();
        let took = start.elapsed();
        match outcome {
            Outcome::Failed(failure) if earlier.len() < retries => earlier.push(FailedTry { failure, took }),
            outcome => return Tries { earlier, outcome, took },
        }
    }
}
