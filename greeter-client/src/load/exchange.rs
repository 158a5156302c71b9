//! What passes on one connection of a load, as values: lines that leave, replies that come, and how
//! it is lost.

use std::io;

/// The longest line that is received, in bytes: as much as a connection may make us hold.
pub(crate) const MAX_LINE_BYTES: usize = 1024 * 1024;

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    /// So many right replies, one behind the other.
    Match(usize),
    /// What came is not what it should be as a reply to this line.
    Mismatch { came: &'a [u8], to: &'a [u8] },
    /// A line for which nothing was sent.
    Unsolicited(&'a [u8]),
}

/// Lines that were sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// How many lines this connection had sent before.
    pub(crate) first: u64,
    /// How many of them are in flight.
    pub(crate) lines: usize,
    pub(crate) sent: u64,
}

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionLoss {
    #[error("the server closed the connection")]
    Closed,
    #[error("the server closed the connection in the middle of a line")]
    PartialLine,
    #[error("the server sent a line longer than {} bytes", MAX_LINE_BYTES)]
    LineTooLong,
    #[error("no reply in time")]
    ReplyTimeout,
    #[error("connection lost: {0}")]
    Lost(io::Error),
}
