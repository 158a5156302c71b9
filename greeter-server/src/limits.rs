//! The limits and timeouts of a server, and the memory that follows from them. Must not know how
//! they are enforced.

use std::time::Duration;

use greeter_core::{ConnectionConfig, ConnectionTimeouts, ProxyHeader, WhenRejected};

/// How long to rest where the system does not wait for sockets, as without memory for it.
pub(crate) const POLL_PAUSE: Duration = Duration::from_millis(10);

/// Descriptors left to the rest of the process, unless it says how many: files, logs, what the
/// responder opens.
pub(crate) const SPARE_DESCRIPTORS: usize = 64;

/// How long a turn may keep a thread that answers while other clients wait. Measured with replies
/// that take 100 µs, two workers, eight clients that have 1,000 lines in flight each, and one that
/// sends a line at a time: with 0.3, 1, 3 and 10 ms, that one waits 1.4, 3.9, 11 and 35 ms, and 89,
/// 97, 99 and 100 of a hundred lines are answered in the same time.
pub(crate) const TURN: Duration = Duration::from_millis(1);

/// How many bytes are read at once. A client that pipelines is read, answered and written in
/// batches of this size, so it decides how long other clients wait and how much memory each needs.
/// Measured with 64 KiB: the cost of a line differs by less than the noise (256 to 4,096 lines on
/// 64 connections), a client beside eight greedy ones waits 2.7 ms instead of 1.3 (0.7 with
/// workers), and 200 clients that read nothing cost a pool 37 MiB instead of 9.
pub(crate) const READ_BYTES: usize = 16 * 1024;

/// How many bytes of reply buffers a thread keeps for later replies. Without them, an allocator
/// that gets back the buffers of all clients that pipeline returns their memory to the system,
/// which clears and maps it again, page by page, when the next lines come.
pub(crate) const MAX_SPARE_BYTES: usize = 1024 * 1024;

/// The unit in which memory is counted, in bytes. What a connection holds below one unit is not
/// counted, so that short lines and replies, which nearly all are, cost no traffic between
/// processors. The published formula includes it.
pub(crate) const CHARGE_UNIT: usize = 4096;

/// How many workers may be timed out for each one that works: up to this number, a replacement is
/// started. Otherwise a responder that hangs for every client would fill the process with threads.
pub(crate) const MAX_TIMED_OUT_PER_WORKER: usize = 4;

/// How many pushed bytes may be in flight to the connection threads. These copy them as fast as
/// they can, so this many in flight means that they do not keep up.
pub(crate) const MAX_PUSH_BYTES_IN_FLIGHT: usize = 16 * 1024 * 1024;

/// Memory for one connection without its lines and replies, in bytes: measured below 350, and
/// rounded up.
const CONNECTION_BYTES: usize = 512;

/// Memory for what is made of a handshake while it goes on, in bytes: measured at 7 KiB, and
/// rounded up.
const HANDSHAKE_BYTES: usize = 8 * 1024;

/// Memory for one TLS session, in bytes: measured at 7.5 KiB after some lines, and rounded up.
const TLS_BYTES: usize = 8704;

/// Memory for one line that is answered beside others, without its text and its reply, in bytes: a
/// job, and a place for it.
const PART_BYTES: usize = 512;

/// A year: as good as for ever, and still a time that the clock can represent.
pub(crate) const FAR_AWAY: Duration = Duration::from_secs(365 * 24 * 3600);

/// The policy at the [connection limit](crate::Builder::max_connections).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The client receives
    /// [`Rejection::ConnectionLimit`](greeter_core::Rejection::ConnectionLimit), and the connection
    /// closes. This is the default.
    #[default]
    Reject,
    /// The client waits in the system's backlog until another has left, as if the network were
    /// slow.
    Wait,
}

/// The limits of a server.
///
/// [`ServerHandle::limits`](crate::ServerHandle::limits) returns those in force. The methods of
/// [`Builder`](crate::Builder) with the same names describe each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The maximum number of concurrent clients.
    pub max_connections: usize,
    /// The maximum number of concurrent clients from one address. `None` means no limit of its own.
    pub max_connections_per_address: Option<usize>,
    /// The policy at the connection limit.
    pub when_full: WhenFull,
    /// The maximum number of clients at a time that have not yet sent their PROXY header or
    /// finished their TLS handshake. They are clients, too. 0 where no listener asks for anything
    /// of that kind.
    pub max_handshakes: usize,
    /// How many clients a second each listener accepts at most. `None` means as many as come.
    pub max_accept_rate: Option<usize>,
    /// How many bytes a client may send in its handshake.
    pub max_handshake_bytes: usize,
    /// The maximum number of clients with TLS. 0 where no listener speaks it.
    pub max_tls_connections: usize,
    /// What follows when the server rejects a line that the responder has not seen.
    pub when_rejected: WhenRejected,
    /// The maximum length of a line in bytes, without its ending.
    pub max_line_bytes: usize,
    /// How many counted bytes the [responder](greeter_core::Responder::max_data_bytes) reads at
    /// once; 0 if it reads lines only.
    pub max_data_bytes: usize,
    /// How many lines of one client may be answered side by side.
    pub in_parallel: usize,
    /// How many bytes of replies may wait for a client to receive them.
    pub max_unsent_bytes: usize,
    /// The memory budget: how many bytes the lines and replies of all clients may occupy together.
    pub max_buffer_bytes: usize,
}

/// The timeouts of a server, by the names of their options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// How long a client may take to finish a line. Bytes of the same line do not extend it.
    pub(crate) line: Option<Duration>,
    /// How long a client may send nothing while no reply is owed to it.
    pub(crate) idle: Option<Duration>,
    /// How long a client may receive nothing of what it is owed.
    pub(crate) write: Option<Duration>,
    /// How long the responder may take to answer one line. That it does not return needs workers:
    /// in place, no other thread would notice. An answer that comes later is waited for so long in
    /// place, too.
    pub(crate) reply: Option<Duration>,
    /// How long a line may wait for a worker.
    pub(crate) queue: Option<Duration>,
    /// How long a client may take from when it is accepted until it has sent its PROXY header and
    /// finished its TLS handshake.
    pub(crate) handshake: Duration,
    /// How long a client may take to close its end of the connection after ours. Zero closes at
    /// once.
    pub(crate) linger: Duration,
    /// How long a client may be connected, a tenth less or more.
    pub(crate) session: Option<Duration>,
    /// Over how much of a stop clients are let go who are owed nothing.
    pub(crate) drain_spread: Duration,
}

impl Limits {
    pub(crate) const DEFAULT: Self = Self {
        max_connections: 10_000,
        max_connections_per_address: Some(1000),
        when_full: WhenFull::Reject,
        max_handshakes: 1024,
        max_accept_rate: None,
        max_handshake_bytes: ProxyHeader::MAX_BYTES,
        max_tls_connections: 0,
        when_rejected: WhenRejected::Continue,
        max_line_bytes: 8 * 1024,
        max_data_bytes: 0,
        in_parallel: 1,
        max_unsent_bytes: 64 * 1024,
        max_buffer_bytes: 256 * 1024 * 1024,
    };

    /// Returns how many bytes the lines and replies of one client may occupy: an unfinished line,
    /// or counted bytes, in memory that grows by doubling, with one read behind it; replies, in
    /// memory that also doubles; and as much again that was pushed in the meantime. Of each line
    /// that is answered beside others, also a copy, and a reply that waits for those before it.
    pub(crate) const fn bytes_per_client(&self) -> usize {
        let parts = if self.in_parallel > 1 { self.in_parallel } else { 0 };
        let part =
            self.max_unsent_bytes.saturating_mul(2).saturating_add(self.max_line_bytes).saturating_add(PART_BYTES);
        let pushed = self.max_unsent_bytes.saturating_mul(2);
        self.bytes_per_job().saturating_add(pushed).saturating_add(part.saturating_mul(parts))
    }

    /// Returns the same without what is pushed.
    const fn bytes_per_job(&self) -> usize {
        let longest = if self.max_line_bytes > self.max_data_bytes { self.max_line_bytes } else { self.max_data_bytes };
        let lines = longest.saturating_mul(2).saturating_add(READ_BYTES);
        let replies = self.max_unsent_bytes.saturating_mul(2);
        lines.saturating_add(if replies < ConnectionConfig::MAX_REPLY_CAPACITY {
            ConnectionConfig::MAX_REPLY_CAPACITY
        } else {
            replies
        })
    }

    /// Returns the maximum memory of a server in bytes, without that of its responder and sessions,
    /// with this many connection threads and workers:
    ///
    /// *connections × (512 + 4,096) + buffers + connection threads × (16 KiB + 1 MiB) + answering
    /// threads × job + handshakes × (handshake + 8 KiB) + TLS connections × 8.5 KiB + 16 MiB*
    ///
    /// 512 bytes is what a connection costs that holds nothing, and 4,096 what it may hold before
    /// that is counted. A client's certificates are counted like its lines. 16 KiB is one read, and
    /// 1 MiB the buffers kept for later replies. A *job* is one read with what is unfinished before
    /// it, and the replies of one turn: *16 KiB + 2 × max(line, data) + 2 × unsent*, twice because
    /// that memory grows by doubling. The answering
    /// threads are the connection threads where there are no workers; otherwise five times the
    /// workers, since four may be timed out for each one that works. 16 MiB of
    /// [pushed](crate::PushHandle) messages may be in flight.
    ///
    /// Six things are not included. What a proxy tells of its client beside the addresses, which is
    /// kept as long as the client is connected, and is at most 4 KiB of each. Answers that come
    /// [later](greeter_core::Later) until their connection takes them, and what a
    /// [`Batcher`](crate::Batcher) is asked. What the responder keeps, above all its
    /// [sessions](greeter_core::Responder::Session), which only the responder can bound:
    /// *connections × (the size of its type + what it owns)*. A single reply that is longer than
    /// the limit for unsent ones. The stacks of the threads. What the allocator keeps.
    ///
    /// ```
    /// let server = greeter_server::Server::builder().workers(2).bind("127.0.0.1:0")?.spawn()?;
    /// println!("at most {} MiB", server.limits().max_memory_bytes(1, 2) >> 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn max_memory_bytes(&self, connection_threads: usize, workers: usize) -> usize {
        let answering = if workers == 0 { connection_threads } else { workers * (1 + MAX_TIMED_OUT_PER_WORKER) };
        (self.max_connections.saturating_mul(CONNECTION_BYTES + CHARGE_UNIT))
            .saturating_add(self.max_buffer_bytes)
            .saturating_add(connection_threads * (READ_BYTES + MAX_SPARE_BYTES))
            .saturating_add(answering.saturating_mul(self.bytes_per_job()))
            .saturating_add(MAX_PUSH_BYTES_IN_FLIGHT)
            .saturating_add(self.max_handshakes.saturating_mul(self.max_handshake_bytes + HANDSHAKE_BYTES))
            .saturating_add(self.max_tls_connections.saturating_mul(TLS_BYTES))
    }
}

impl Timeouts {
    pub(crate) const DEFAULT: Self = Self {
        line: ConnectionTimeouts::DEFAULT.line,
        idle: ConnectionTimeouts::DEFAULT.idle,
        write: ConnectionTimeouts::DEFAULT.write,
        reply: ConnectionTimeouts::DEFAULT.reply,
        queue: Some(Duration::from_secs(5)),
        handshake: Duration::from_secs(10),
        linger: ConnectionTimeouts::DEFAULT.linger,
        session: None,
        drain_spread: Duration::ZERO,
    };

    /// Returns the same with no time beyond what the clock can represent.
    pub(crate) fn within_reach(self) -> Self {
        let Self { line, idle, write, reply, queue, handshake, linger, session, drain_spread } = self;
        let [line, idle, write, reply, queue, session] =
            [line, idle, write, reply, queue, session].map(|time| time.map(|time| time.min(FAR_AWAY)));
        let [handshake, linger, drain_spread] = [handshake, linger, drain_spread].map(|time| time.min(FAR_AWAY));
        Self { line, idle, write, reply, queue, handshake, linger, session, drain_spread }
    }

    pub(crate) const fn of_connections(&self) -> ConnectionTimeouts {
        ConnectionTimeouts {
            idle: self.idle,
            line: self.line,
            reply: self.reply,
            write: self.write,
            linger: self.linger,
        }
    }
}
