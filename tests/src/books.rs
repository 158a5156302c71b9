//! What a server's figures must come to, whatever was done to it.

use greeter_server::{ServerHandle, Stats};

use crate::client::wait_until;

/// Waits until every client is gone, and gives the figures, which then have to add up.
///
/// # Panics
///
/// When they do not.
#[track_caller]
pub fn at_rest(server: &ServerHandle) -> Stats {
    wait_until("every client is gone", || {
        let stats = server.stats();
        stats.open() == 0 && stats.served == 0 && stats.buffer_bytes == 0
    });
    let stats = server.stats();
    balanced(&stats);
    stats
}

/// Checks that figures of a server at rest add up.
///
/// # Panics
///
/// When they do not.
#[track_caller]
pub fn balanced(stats: &Stats) {
    assert_eq!(stats.accepted, stats.closed, "connections: {stats:?}");
    assert_eq!(stats.closed, stats.closed_by.total(), "connections by reason: {stats:?}");
    assert_eq!(stats.lines, stats.replies + stats.discarded, "lines: {stats:?}");
    assert_eq!(stats.discarded, stats.discarded_by.total(), "lines by reason: {stats:?}");
    assert_eq!((stats.served, stats.buffer_bytes), (0, 0), "{stats:?}");
}
