//! What the server counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use greeter_core::Account;

/// What a server has counted since it started.
///
/// At rest, with no client connected, `lines = replies + discarded` and `accepted = closed`. The figures are read one by one while
/// the server goes on, so in full flight they may be apart by what happened in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Connections that were closed.
    pub closed: u64,
    /// Failed calls of accept(2): connections that were gone before they were here, and lacks of descriptors or memory.
    pub accept_errors: u64,
    /// Complete lines received.
    pub lines: u64,
    /// Lines whose replies were handed to the system.
    pub replies: u64,
    /// Lines that got no reply: the connection broke, the responder closed it, or time was up at shutdown.
    pub discarded: u64,
    /// Lines without an ending that clients left behind when they stopped sending.
    pub unfinished: u64,
    /// Answers that the responder owed: it panicked, failed, or made a reply that breaks the framing.
    pub faults: u64,
    /// Connections that a shutdown cut off since its time was up.
    pub overran: u64,
    /// Bytes received, without those thrown away after our end of the stream.
    pub bytes_received: u64,
    /// Bytes handed to the system.
    pub bytes_sent: u64,
}

impl Stats {
    /// Connections that are open.
    #[must_use]
    pub const fn live(&self) -> u64 {
        self.accepted.saturating_sub(self.closed)
    }
}

/// What one thread counts. Only that thread writes, so that counting is a plain addition to memory that it has to itself;
/// anybody may read. A cache line (and its neighbour, which processors like to fetch with it) apart from all others.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) accepted: Counter,
    pub(crate) closed: Counter,
    pub(crate) accept_errors: Counter,
    pub(crate) lines: Counter,
    pub(crate) replies: Counter,
    pub(crate) discarded: Counter,
    pub(crate) unfinished: Counter,
    pub(crate) faults: Counter,
    pub(crate) overran: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
}

impl Counters {
    pub(crate) fn add(&self, account: &Account) {
        self.lines.add(account.lines.into());
        self.replies.add(account.replies.into());
        self.discarded.add(account.discarded.into());
        self.unfinished.add(account.unfinished.into());
    }
}

/// A count with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.store(self.get() + more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sums up over all threads.
pub(crate) fn total(threads: &[Arc<Counters>]) -> Stats {
    let sum = |of: fn(&Counters) -> &Counter| threads.iter().map(|counters| of(counters).get()).sum();
    // What ends is read before what begins, so that nothing seems to have ended that never began.
    Stats {
        closed: sum(|counters| &counters.closed),
        accepted: sum(|counters| &counters.accepted),
        accept_errors: sum(|counters| &counters.accept_errors),
        discarded: sum(|counters| &counters.discarded),
        replies: sum(|counters| &counters.replies),
        lines: sum(|counters| &counters.lines),
        unfinished: sum(|counters| &counters.unfinished),
        faults: sum(|counters| &counters.faults),
        overran: sum(|counters| &counters.overran),
        bytes_received: sum(|counters| &counters.bytes_received),
        bytes_sent: sum(|counters| &counters.bytes_sent),
    }
}
