//! How many descriptors there are for clients.

use crate::accept::rejected::MAX_REJECTED;

/// Descriptors that a server leaves to the rest of the process: files, logs, whatever the responder opens.
const FOR_OTHERS: usize = 64;

/// What a thread of the server needs for itself: to poll, and to be woken.
const PER_THREAD: usize = 2;

/// Those who were rejected, and one who is about to be.
const FOR_REFUSED: usize = MAX_REJECTED + 1;

/// How many clients can be served with the descriptors that this process may have (RLIMIT_NOFILE in getrlimit(2)), less a reserve.
pub(crate) fn connections_possible(listeners: usize, threads: usize) -> usize {
    let reserve = FOR_REFUSED + FOR_OTHERS + listeners + PER_THREAD * threads;
    limit().saturating_sub(reserve).max(1)
}

#[cfg(unix)]
fn limit() -> usize {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
const fn limit() -> usize {
    usize::MAX
}
