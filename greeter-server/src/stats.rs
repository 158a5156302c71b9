//! Turns the counters of all threads into one [`Stats`]. Must not cost a thread that counts more
//! than an addition.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use greeter_core::{CloseReason, LineCounts};

use crate::counter::Counter;
use crate::job_times::TimeCounters;

/// Counts of a server since it started, and its gauges.
///
/// At rest, with no client connected, `lines = replies + discarded` and `accepted = closed`. The
/// values are read one by one while the server works, so under load they may differ by what
/// happened in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections accepted, including those rejected at once.
    pub accepted: u64,
    /// Connections rejected at once, at the connection limit or the address limit.
    pub rejected: u64,
    /// Connections closed.
    pub closed: u64,
    /// The same, by reason.
    pub closed_by: CountsByReason,
    /// Clients that came, sent not one byte and left: health checks, and scanners of ports. They
    /// are `debug` in the log.
    pub silent_visits: u64,
    /// Failed calls of accept(2): connections that were gone before they were accepted, and a lack
    /// of descriptors or memory.
    pub accept_errors: u64,
    /// Complete lines that were answered or discarded.
    pub lines: u64,
    /// Lines whose replies were handed to the system.
    pub replies: u64,
    /// Lines that got no reply, because their connection closed first.
    pub discarded: u64,
    /// The same, by the reason for which the connection closed.
    pub discarded_by: CountsByReason,
    /// Lines without an ending: what a client had sent of a line when it stopped sending or was
    /// disconnected.
    pub unfinished_lines: u64,
    /// Lines whose reply was [`Rejection::Busy`](greeter_core::Rejection::Busy), after the queue
    /// timeout. Where that closed the connection, because the client was new or its session could
    /// not receive the rejection, it counts in [`closed_by`](Self::closed_by) instead.
    pub busy: u64,
    /// Errors of the responder: it panicked, returned an error, or wrote a reply that breaks the
    /// framing.
    pub responder_errors: u64,
    /// Messages [pushed](crate::PushHandle) to a client that was connected: a line, several
    /// together, or bytes.
    pub pushed: u64,
    /// Answers that [came later](greeter_core::Later) than anybody waited for them.
    pub late_answers: u64,
    /// Bytes received from clients that are served, including those discarded after the server
    /// closed its end.
    pub bytes_received: u64,
    /// Bytes handed to the system.
    pub bytes_sent: u64,

    /// Clients served now.
    pub served: u64,
    /// Of these, clients that still owe a PROXY header or a TLS handshake.
    pub handshakes: u64,
    /// Bytes that lines and replies occupy now, as counted against the memory budget.
    pub buffer_bytes: u64,
    /// Lines that are answered [later](greeter_core::Reply::later), and not answered yet.
    pub parked: u64,
    /// Workers in the responder now for longer than the reply timeout.
    pub workers_timed_out: u64,
}

impl Stats {
    /// Returns the number of open connections.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.closed)
    }
}

/// A count for each [`CloseReason`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct CountsByReason([u64; CloseReason::ALL.len()]);

impl CountsByReason {
    /// Returns the reasons whose count is not zero.
    pub fn iter(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        CloseReason::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }

    /// Returns the sum of all counts.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns what has been counted since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.0;
        counts.iter_mut().zip(earlier.0).for_each(|(count, before)| *count -= before);
        Self(counts)
    }
}

impl fmt::Debug for CountsByReason {
    /// Shows the reasons whose count is not zero.
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

/// The counters of one thread. Only that thread writes them, so that counting is a plain addition
/// to memory that it has to itself; any thread may read. A cache line (and its neighbour, which
/// processors prefetch with it) apart from all others.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) lines: Counter,
    pub(crate) replies: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) accepted: Counter,
    pub(crate) rejected: Counter,
    pub(crate) accept_errors: Counter,
    pub(crate) unfinished_lines: Counter,
    pub(crate) busy: Counter,
    pub(crate) responder_errors: Counter,
    pub(crate) pushed: Counter,
    pub(crate) late_answers: Counter,
    pub(crate) silent_visits: Counter,
    /// Lines that were parked, and that are so no more.
    pub(crate) parked: Counter,
    pub(crate) unparked: Counter,
    pub(crate) times: TimeCounters,
    pub(crate) closed: [Counter; CloseReason::ALL.len()],
    pub(crate) discarded: [Counter; CloseReason::ALL.len()],
}

impl Counters {
    /// Adds what has happened on a connection, and for which reason it closes, if it does.
    pub(crate) fn add(&self, counts: &LineCounts, reason: Option<CloseReason>) {
        self.lines.add(counts.lines.into());
        self.replies.add(counts.replies.into());
        if counts.unfinished > 0 {
            self.unfinished_lines.add(counts.unfinished.into());
        }
        if counts.discarded > 0 {
            let reason = reason.expect("lines are discarded only at the end of a connection");
            self.discarded[reason.index()].add(counts.discarded.into());
        }
    }
}

/// Sums the counters of all threads.
pub(crate) fn total(threads: &[Arc<Counters>]) -> Stats {
    let sum = |of: fn(&Counters) -> &Counter| threads.iter().map(|counters| of(counters).get()).sum::<u64>();
    let by_reason = |of: fn(&Counters) -> &[Counter; CloseReason::ALL.len()]| {
        CountsByReason(std::array::from_fn(|index| threads.iter().map(|counters| of(counters)[index].get()).sum()))
    };
    // What ends is read before what begins, so that nothing seems to have ended that never began.
    let closed_by = by_reason(|counters| &counters.closed);
    let discarded_by = by_reason(|counters| &counters.discarded);
    let unparked: u64 = sum(|counters| &counters.unparked);
    Stats {
        parked: sum(|counters| &counters.parked).saturating_sub(unparked),
        late_answers: sum(|counters| &counters.late_answers),
        silent_visits: sum(|counters| &counters.silent_visits),
        closed: closed_by.total(),
        closed_by,
        accepted: sum(|counters| &counters.accepted),
        rejected: sum(|counters| &counters.rejected),
        accept_errors: sum(|counters| &counters.accept_errors),
        discarded: discarded_by.total(),
        discarded_by,
        busy: sum(|counters| &counters.busy),
        replies: sum(|counters| &counters.replies),
        lines: sum(|counters| &counters.lines),
        unfinished_lines: sum(|counters| &counters.unfinished_lines),
        responder_errors: sum(|counters| &counters.responder_errors),
        pushed: sum(|counters| &counters.pushed),
        bytes_received: sum(|counters| &counters.bytes_received),
        bytes_sent: sum(|counters| &counters.bytes_sent),
        ..Stats::default()
    }
}
