//! Turns the limit of open files into a number of clients. Must not open any.

use crate::accept::rejected::MAX_REJECTED;

/// Descriptors left to the rest of the process: files, logs, what the responder opens.
const FOR_OTHERS: usize = 64;

/// Descriptors of one thread of the server: to poll, and to be woken.
const PER_THREAD: usize = 2;

/// Descriptors for the clients that were rejected, and one that is about to be.
const FOR_REJECTED: usize = MAX_REJECTED + 1;

/// Returns how many clients can be served with the descriptors that this process may have
/// (RLIMIT_NOFILE in getrlimit(2)), less a reserve.
pub(crate) fn connections_possible(listeners: usize, threads: usize) -> usize {
    let reserve = FOR_REJECTED + FOR_OTHERS + listeners + PER_THREAD * threads;
    limit().saturating_sub(reserve).max(1)
}

/// Returns the soft limit of this process.
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
