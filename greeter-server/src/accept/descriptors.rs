//! Turns the limit of open files into a number of clients. Must not open any.

use crate::accept::rejected::{MAX_REJECTED, MAX_REJECTED_BY_LOBBY};

/// Descriptors of one thread of the server: to poll, and to be woken.
const PER_THREAD: usize = 2;

/// Descriptors for the clients that were rejected, and one that is about to be.
const FOR_REJECTED: usize = MAX_REJECTED + 1;

/// Descriptors for those that were rejected by one lobby, and one that is about to be. Newcomers
/// are clients.
const PER_LOBBY: usize = MAX_REJECTED_BY_LOBBY + 1;

/// Returns how many clients can be served with the descriptors that this process may have
/// (RLIMIT_NOFILE in getrlimit(2)), less a reserve.
pub(crate) fn connections_possible(listeners: usize, threads: usize, lobbies: usize, for_others: usize) -> usize {
    let reserve = FOR_REJECTED + for_others + listeners + PER_THREAD * threads + PER_LOBBY * lobbies;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lobby_has_a_reserve_for_those_that_it_rejects() {
        let [none, one, two] = [0, 1, 2].map(|lobbies| connections_possible(1, 2, lobbies, 64));
        let is_bounded = none < usize::MAX / 2 && none > 100;
        assert!(!is_bounded || (none - one, one - two) == (MAX_REJECTED_BY_LOBBY + 1, MAX_REJECTED_BY_LOBBY + 1));
    }
}
