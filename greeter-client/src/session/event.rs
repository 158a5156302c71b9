//! What happened on a connection, as a value.

use std::sync::Arc;
use std::time::Duration;

use crate::net::StreamEnd;

/// One event of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The position within the session: earlier events have smaller numbers.
    pub number: u64,
    /// The time since the session began.
    pub at: Duration,
    /// The connection's name; `c.17` is a member of the crowd `c`.
    pub connection: Arc<str>,
    /// The event. A remembered entry holds at most the first KiB of its bytes.
    pub event: Event,
}

/// An event on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The connection was opened.
    Opened,
    /// We sent a line; the ending is left out.
    SentLine(Vec<u8>),
    /// We sent bytes as they are.
    SentBytes(Vec<u8>),
    /// TLS is spoken from here on.
    TlsStarted,
    /// We said that nothing more will be sent.
    HalfClosed,
    /// We reset the connection.
    Reset,
    /// We closed the connection.
    Closed,
    /// A line came, and was expected or skipped; the ending is left out.
    ReceivedLine(Vec<u8>),
    /// Bytes came, and were expected.
    ReceivedBytes(Vec<u8>),
    /// The peer ended the stream, and that was expected.
    Ended(StreamEnd),
}

impl Event {
    pub(crate) fn bytes_mut(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::SentLine(bytes) | Self::SentBytes(bytes) | Self::ReceivedLine(bytes) | Self::ReceivedBytes(bytes) => {
                Some(bytes)
            }
            Self::Opened | Self::TlsStarted | Self::HalfClosed | Self::Reset | Self::Closed | Self::Ended(_) => None,
        }
    }
}
