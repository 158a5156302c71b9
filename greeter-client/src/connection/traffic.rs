//! What passes over a connection, as a value for whoever watches.

use crate::net::StreamEnd;

/// One event on a connection, with the bytes as they were on the wire. They may be cut anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Traffic<'a> {
    /// We sent these bytes, line endings among them.
    Sent(&'a [u8]),
    /// These bytes came.
    Received(&'a [u8]),
    /// We said that nothing more will be sent.
    HalfClosed,
    /// We reset the connection.
    Reset,
    /// We closed the connection, and did not wait for what may still have come.
    Closed,
    /// The peer ended the connection.
    Ended(StreamEnd),
}
