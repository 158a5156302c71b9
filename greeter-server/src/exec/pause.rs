//! How long a place waits for its next process: longer each time that one was no good. Must not
//! know what makes one good.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// How long a place without a process waits for the next, at least and at most.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Returns how long to wait after so many failures in a row.
pub(super) fn pause_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = MIN_PAUSE.saturating_mul(1 << doublings).min(MAX_PAUSE);
    Duration::from_micros(varied_by(u64::try_from(pause.as_micros()).unwrap_or(u64::MAX), 5))
}

/// Returns a number a tenth less or more, so that not all are replaced together.
pub(super) fn varied(number: u64) -> u64 {
    varied_by(number, 10).max(1)
}

/// Returns a number that is up to this part of it less or more.
fn varied_by(number: u64, part: u64) -> u64 {
    let chance = RandomState::new().build_hasher().finish();
    let most = number / part;
    number - most + chance % (2 * most + 1)
}
