//! The state of one connection or one worker, for the host program.

use std::time::Duration;

use greeter_core::{Peer, Phase};

/// The state of one connection at the time of
/// [`ServerHandle::connections`](crate::ServerHandle::connections).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The client's id and address.
    pub peer: Peer,
    /// Time since it was accepted.
    pub age: Duration,
    /// What the connection is doing.
    pub phase: Phase,
    /// Time in that phase; in [`Phase::Writing`], since the client last received something.
    pub in_phase: Duration,
    /// Complete lines received. In front of counted bytes that are still to be read, some may turn
    /// out to be part of these.
    pub lines: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes handed to the system.
    pub bytes_sent: u64,
    /// Memory that its lines and replies occupy, in bytes.
    pub bytes_held: usize,
}

/// The state of one worker at the time of [`ServerHandle::workers`](crate::ServerHandle::workers).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerInfo {
    /// It waits for a job.
    Idle,
    /// It is in the responder.
    Busy {
        /// The client whose line it answers, or of whose end it notifies the responder.
        peer: Peer,
        /// Time in the responder.
        elapsed: Duration,
    },
    /// It is still in the responder, longer than the reply timeout. The client's connection closes
    /// or is closed.
    TimedOut {
        /// The client.
        peer: Peer,
        /// Time in the responder.
        elapsed: Duration,
    },
}
