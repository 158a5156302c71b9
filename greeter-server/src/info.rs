//! How one connection or one worker stands, for the host program.

use std::time::Duration;

use greeter_core::{Peer, Phase};

/// One connection, as it was when it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The client, by its name on this server and its address.
    pub peer: Peer,
    /// How long ago it was accepted.
    pub age: Duration,
    /// What it is doing.
    pub phase: Phase,
    /// For how long it has been at that; in [`Phase::Writing`], since the client last took something.
    pub in_phase: Duration,
    /// Complete lines received.
    pub lines: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes handed to the system.
    pub bytes_sent: u64,
    /// Memory that its lines and replies occupy, in bytes.
    pub bytes_held: usize,
}

/// One worker, as it was when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerInfo {
    /// Waiting for a job.
    Idle,
    /// In the responder.
    Busy {
        /// The client that it answers, or of whose end it tells the responder.
        peer: Peer,
        /// How long it has been in the responder.
        elapsed: Duration,
    },
    /// Still in the responder, longer than the reply timeout. The client was told and is gone, or going.
    TimedOut {
        /// The client.
        peer: Peer,
        /// How long it has been in the responder.
        elapsed: Duration,
    },
}
