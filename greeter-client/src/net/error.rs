//! What can go wrong before a connection stands, and on one that does.

use std::io;
use std::time::Duration;

use super::address::ServerAddress;
use super::escape::one_line;

/// An error of connecting to a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The name stands for no address.
    #[error("cannot find {}", one_line(address.to_string().as_bytes()))]
    Resolve {
        /// Where to.
        address: ServerAddress,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nothing accepted there: each address of the name was tried, and this is what the last one
    /// said.
    #[error("cannot connect to {}", one_line(address.to_string().as_bytes()))]
    Connect {
        /// Where to.
        address: ServerAddress,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody answered in time.
    #[error("cannot connect to {} within {timeout:?}", one_line(address.to_string().as_bytes()))]
    TimedOut {
        /// Where to.
        address: ServerAddress,
        /// How long it was tried.
        timeout: Duration,
    },
}

/// An error of a connected [`Connection`](crate::Connection).
///
/// After any of them but [`LfInLineError`](Self::LfInLineError) and [`TimedOut`](Self::TimedOut) in
/// a [`receive`](crate::Connection::receive) the connection is of no more use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The line holds an LF: it would be two lines, and get two replies. Nothing of it was sent.
    #[error("a line cannot hold a newline")]
    LfInLineError,
    /// The connection was reset, or the network failed.
    #[error("connection lost")]
    Lost(#[source] io::Error),
    /// The server did not do its part in time.
    #[error("timed out after {timeout:?}")]
    TimedOut {
        /// How long it was given.
        timeout: Duration,
    },
    /// The server closed the connection where a reply was due.
    #[error("the server closed the connection without a reply")]
    Closed,
    /// The server closed the connection in the middle of a line.
    #[error("the server closed the connection in the middle of a line, {bytes} bytes into it")]
    PartialLine {
        /// How much of the line had come. [`Connection::unread`](crate::Connection::unread) has it.
        bytes: usize,
    },
    /// The server sent a line longer than
    /// [`ConnectionOptions::max_line_bytes`](crate::ConnectionOptions::max_line_bytes).
    #[error("the server sent a line longer than {limit} bytes")]
    LineTooLong {
        /// The longest line that is accepted, in bytes, without its ending.
        limit: usize,
    },
    /// A thread that is needed could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}
