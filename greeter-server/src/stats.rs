//! What the server counts.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use greeter_core::{CloseReason, LineCounts};

/// What a server has counted since it started, and how things stand.
///
/// At rest, with no client connected, `lines = replies + discarded` and `accepted = closed`. The figures are read one by one while
/// the server goes on, so in full flight they may be apart by what happened in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that were accepted, those among them that were only told that there is no room.
    pub accepted: u64,
    /// Connections that were told at once that there is no room for them.
    pub rejected: u64,
    /// Connections that were closed.
    pub closed: u64,
    /// The same, by the reason.
    pub closed_by: CountsByReason,
    /// Failed calls of accept(2): connections that were gone before they were here, and lacks of descriptors or memory.
    pub accept_errors: u64,
    /// Complete lines received.
    pub lines: u64,
    /// Lines whose replies were handed to the system.
    pub replies: u64,
    /// Lines that got no reply, since their connection ended first.
    pub discarded: u64,
    /// The same, by the reason for which the connection ended.
    pub discarded_by: CountsByReason,
    /// Lines without an ending that clients left behind when they stopped sending or were sent away.
    pub partial_lines: u64,
    /// Lines whose reply was that everyone was [busy](greeter_core::Rejection::Busy), for as long as lines may wait. Where the whole client was
    /// told so, since it was new or its session could not hear of its lines, that is the reason for which it was closed.
    pub busy: u64,
    /// Answers that the responder owed: it panicked, failed, or made a reply that breaks the framing.
    pub responder_errors: u64,
    /// How often something was [pushed](crate::PushHandle) to a client that was there: a line, several together, or bytes.
    pub pushed: u64,
    /// Bytes received from clients that are served, those among them that were thrown away after our end of the stream.
    pub bytes_received: u64,
    /// Bytes handed to the system.
    pub bytes_sent: u64,

    /// How many clients are being served now.
    pub served: u64,
    /// How many bytes lines and replies occupy now, beyond what each connection may hold anyway.
    pub buffer_bytes: u64,
    /// How many workers are stuck in the responder now, beyond the time it has for an answer.
    pub workers_timed_out: u64,
}

impl Stats {
    /// Connections that are open.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.closed)
    }
}

/// A count for each [`CloseReason`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct CountsByReason([u64; CloseReason::ALL.len()]);

impl CountsByReason {
    /// Those reasons whose count is not zero.
    pub fn iter(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        CloseReason::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What has been counted since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.0;
        counts.iter_mut().zip(earlier.0).for_each(|(count, before)| *count -= before);
        Self(counts)
    }
}

impl fmt::Debug for CountsByReason {
    /// Those reasons whose count is not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Index<CloseReason> for CountsByReason {
    type Output = u64;

    fn index(&self, reason: CloseReason) -> &u64 {
        &self.0[reason.index()]
    }
}

/// What one thread counts. Only that thread writes, so that counting is a plain addition to memory that it has to itself;
/// anybody may read. A cache line (and its neighbour, which processors like to fetch with it) apart from all others.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) lines: Counter,
    pub(crate) replies: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) accepted: Counter,
    pub(crate) turned_away: Counter,
    pub(crate) accept_errors: Counter,
    pub(crate) unfinished: Counter,
    pub(crate) busy: Counter,
    pub(crate) errors: Counter,
    pub(crate) pushed: Counter,
    pub(crate) closed: [Counter; CloseReason::ALL.len()],
    pub(crate) discarded: [Counter; CloseReason::ALL.len()],
}

impl Counters {
    /// Adds what happened on a connection that is ending for this reason, if it is.
    pub(crate) fn add(&self, account: &LineCounts, reason: Option<CloseReason>) {
        self.lines.add(account.lines.into());
        self.replies.add(account.replies.into());
        if account.partial > 0 {
            self.unfinished.add(account.partial.into());
        }
        if account.discarded > 0 {
            let reason = reason.expect("nothing is discarded but at the end of a connection");
            self.discarded[reason.index()].add(account.discarded.into());
        }
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
    let by_reason = |of: fn(&Counters) -> &[Counter; CloseReason::ALL.len()]| {
        CountsByReason(std::array::from_fn(|index| threads.iter().map(|counters| of(counters)[index].get()).sum()))
    };
    // What ends is read before what begins, so that nothing seems to have ended that never began.
    let closed_by = by_reason(|counters| &counters.closed);
    let discarded_by = by_reason(|counters| &counters.discarded);
    Stats {
        closed: closed_by.total(),
        closed_by,
        accepted: sum(|counters| &counters.accepted),
        rejected: sum(|counters| &counters.turned_away),
        accept_errors: sum(|counters| &counters.accept_errors),
        discarded: discarded_by.total(),
        discarded_by,
        busy: sum(|counters| &counters.busy),
        replies: sum(|counters| &counters.replies),
        lines: sum(|counters| &counters.lines),
        partial_lines: sum(|counters| &counters.unfinished),
        responder_errors: sum(|counters| &counters.errors),
        pushed: sum(|counters| &counters.pushed),
        bytes_received: sum(|counters| &counters.bytes_received),
        bytes_sent: sum(|counters| &counters.bytes_sent),
        ..Stats::default()
    }
}
