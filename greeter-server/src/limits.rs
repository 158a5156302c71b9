//! What a server takes on, and how long it waits.

use std::time::Duration;

use greeter_core::{ConnectionConfig, ConnectionTimeouts, WhenRejected};

/// How much is read at once. A client that pipelines is read, answered and written in batches of this size, so this is how long
/// the others wait for it, and how much each may have the server hold. Measured with 64 KiB: what a line costs differs by less than
/// the noise (256 to 4,096 lines on 64 connections), a client beside eight greedy ones waits for 2.7 ms in place of 1.3 (in the pool,
/// of 0.7), and 200 that read nothing cost a pool 37 MiB in place of 9.
pub(crate) const READ_BYTES: usize = 16 * 1024;

/// How much memory a thread keeps for replies that are yet to come, in bytes. Without, an allocator that gets back the buffers of all
/// who pipeline gives their memory to the system, and has it cleared and mapped again, page by page, when they send the next lines.
pub(crate) const SPARE_BYTES_MAX: usize = 1024 * 1024;

/// What is counted, in bytes. What a connection holds below that is not, so that small lines and replies, which are nearly all
/// there are, cost no traffic between the processors; it is reckoned with in the sum that is published.
pub(crate) const CHARGE_UNIT: usize = 4096;

/// How many workers may be stuck for each that works: for so many a replacement is started. A responder that hangs for every
/// client would otherwise fill the process with threads.
pub(crate) const MAX_TIMED_OUT_PER_WORKER: usize = 4;

/// How many bytes may be under way to the connection threads. They take them off as fast as they can copy, so that so much is
/// under way means that they do not keep up.
pub(crate) const MAX_PUSH_BYTES_IN_FLIGHT: usize = 16 * 1024 * 1024;

/// What one connection costs in memory beside its lines and replies, in bytes; measured below 350, and rounded up.
const CONNECTION_BYTES: usize = 512;

/// What happens to a client that comes when there are as many as there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is [told](greeter_core::Rejection::ConnectionLimit), and the connection closes.
    #[default]
    Reject,
    /// It waits in the system's backlog until another has left, as if the network were slow.
    Wait,
}

/// How many bytes a server takes on, of each kind, and how many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Clients served at a time.
    pub max_connections: usize,
    /// Clients served at a time from one address. None is no limit but that for all.
    pub max_connections_per_address: Option<usize>,
    /// What happens to a client that is one too many.
    pub when_full: WhenFull,
    /// What happens to a client whose line is rejected before the responder has seen it.
    pub when_rejected: WhenRejected,
    /// The longest line that is taken, in bytes, without its ending.
    pub max_line_bytes: usize,
    /// How many bytes of replies are made before the client has taken those that were made before.
    pub max_unsent_bytes: usize,
    /// How many bytes the lines and replies of all clients may occupy together.
    pub max_buffer_bytes: usize,
}

/// How long a server waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// For a line to end that has begun. More bytes of it renew nothing.
    pub(crate) line: Option<Duration>,
    /// For a client to begin a line, when nothing is owed to it.
    pub(crate) idle: Option<Duration>,
    /// For a client to take any of the replies it is owed.
    pub(crate) write: Option<Duration>,
    /// For the responder to answer. In the pool only: without one, nobody is left to notice.
    pub(crate) reply: Option<Duration>,
    /// For a worker to be free.
    pub(crate) queue: Option<Duration>,
    /// For a client to close its end of the connection once it was sent ours. Zero closes at once.
    pub(crate) linger: Duration,
}

impl Limits {
    pub(crate) const DEFAULT: Self = Self {
        max_connections: 10_000,
        max_connections_per_address: Some(1000),
        when_full: WhenFull::Reject,
        when_rejected: WhenRejected::Continue,
        max_line_bytes: 8 * 1024,
        max_unsent_bytes: 64 * 1024,
        max_buffer_bytes: 256 * 1024 * 1024,
    };

    /// How many bytes the lines and replies of one client may occupy: an unfinished line, in memory that grows by doubling, with a
    /// read behind it; replies, in memory that does so too; and as much that was pushed meanwhile.
    pub(crate) const fn bytes_per_client(&self) -> usize {
        self.bytes_per_job().saturating_add(self.max_unsent_bytes.saturating_mul(2))
    }

    /// The same without what is pushed.
    const fn bytes_per_job(&self) -> usize {
        let lines = self.max_line_bytes.saturating_mul(2).saturating_add(READ_BYTES);
        let replies = self.max_unsent_bytes.saturating_mul(2);
        lines.saturating_add(if replies < ConnectionConfig::MAX_REPLY_CAPACITY {
            ConnectionConfig::MAX_REPLY_CAPACITY
        } else {
            replies
        })
    }

    /// How much memory a server occupies at the most, in bytes, beside what its responder and the sessions take, with so many threads
    /// that read and so many workers:
    ///
    /// *connections × (512 + 4,096) + buffers + reading threads × (16 KiB + 1 MiB) + answering threads × job + 16 MiB*
    ///
    /// 512 bytes are what a connection costs that holds nothing, and 4,096 what it may hold before that is counted. 16 KiB is one
    /// read, and 1 MiB are buffers that replies were in and the next ones will be. A *job* is one read with the unfinished line before
    /// it, and the replies of one turn: *16 KiB + 2 × line + 2 × unsent*, twice since that memory grows by doubling. The answering
    /// threads are those that read where there are no workers; otherwise five times the workers, since four may be stuck for each that
    /// works. 16 MiB may be under way that is [pushed](crate::PushHandle).
    ///
    /// Four things are not in it. What the responder keeps, first of all its [sessions](greeter_core::Responder::Session): one for each
    /// connection, so as much as *connections × (the size of its type + what it owns)*, which only the responder can bound. A single
    /// reply that is itself longer than the limit for unsent ones. The stacks of the threads. What the allocator keeps.
    #[must_use]
    pub const fn max_memory_bytes(&self, connection_threads: usize, workers: usize) -> usize {
        let answering = if workers == 0 { connection_threads } else { workers * (1 + MAX_TIMED_OUT_PER_WORKER) };
        (self.max_connections.saturating_mul(CONNECTION_BYTES + CHARGE_UNIT))
            .saturating_add(self.max_buffer_bytes)
            .saturating_add(connection_threads * (READ_BYTES + SPARE_BYTES_MAX))
            .saturating_add(answering.saturating_mul(self.bytes_per_job()))
            .saturating_add(MAX_PUSH_BYTES_IN_FLIGHT)
    }
}

impl Timeouts {
    pub(crate) const DEFAULT: Self = Self {
        line: ConnectionTimeouts::DEFAULT.line,
        idle: ConnectionTimeouts::DEFAULT.idle,
        write: ConnectionTimeouts::DEFAULT.write,
        reply: Some(Duration::from_secs(30)),
        queue: Some(Duration::from_secs(5)),
        linger: ConnectionTimeouts::DEFAULT.linger,
    };

    pub(crate) const fn of_connections(&self) -> ConnectionTimeouts {
        ConnectionTimeouts { idle: self.idle, line: self.line, write: self.write, linger: self.linger }
    }
}
