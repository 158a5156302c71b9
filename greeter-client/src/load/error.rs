//! Why there is no load.

use std::io;

use crate::net::ConnectError;
use crate::net::escape::one_line;
use crate::talk::Unbound;

/// An error returned by [`load::start`](super::start) and
/// [`RunningLoad::finish`](super::RunningLoad::finish).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no line and no script.
    #[error("there is nothing to send")]
    NothingToSend,
    /// Something is zero, or larger than it can be.
    #[error("{what} must be from 1 to {max}, not {value}")]
    OutOfRange {
        /// What: a field of [`Load`](super::Load).
        what: &'static str,
        /// What it is.
        value: usize,
        /// What it may be.
        max: usize,
    },
    /// Nothing can be measured in no time.
    #[error("nothing can be measured in no time")]
    NoTime,
    /// A placeholder in a line has no value.
    #[error("a line to send lacks a value")]
    Unbound(#[from] Unbound),
    /// A line holds an LF: it would be two, and get two replies.
    #[error("a line cannot hold a newline")]
    LfInLineError,
    /// A reply has fewer lines than are expected of it.
    #[error("{expected} lines are expected of a reply that has {lines}")]
    TooManyExpected {
        /// How many are expected.
        expected: usize,
        /// How many it has.
        lines: usize,
    },
    /// The script [before](super::Load::before) the load has a step that does not leave its
    /// connection to the load.
    #[error("{place}: '{step}' cannot stand before a load: {why}")]
    Before {
        /// The file and the line.
        place: String,
        /// The line.
        step: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The script before the load did not pass. No line of the load was sent.
    #[error("before the load, the script has failed on connection {connection}\n{report}")]
    BeforeFailed {
        /// The first connection of which that is known, counted from 1.
        connection: usize,
        /// Where it failed, and why: some lines.
        report: String,
    },
    /// The server may be on another machine, and [`Load::anywhere`](super::Load::anywhere) does not
    /// say that this is meant.
    #[error("{} is not known to be on this machine, and a load can put a server out of service", one_line(.0.as_bytes()))]
    Remote(String),
    /// There is no server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There are fewer connections than asked for. Nothing was sent.
    #[error("only {up} of {asked} connections are up")]
    TooFew {
        /// How many could be opened.
        up: usize,
        /// How many should be.
        asked: usize,
        /// Why there are no more.
        source: ConnectError,
    },
    /// The system does not let us wait for connections.
    #[error("cannot wait for connections")]
    Poll(#[source] io::Error),
    /// A thread that is needed could not be started, or has not come to its end.
    #[error("a thread of the load has failed")]
    Thread(#[source] io::Error),
}

impl LoadError {
    /// Returns whether the options make no sense, so that nothing was tried.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NothingToSend
                | Self::OutOfRange { .. }
                | Self::NoTime
                | Self::Unbound(_)
                | Self::LfInLineError
                | Self::TooManyExpected { .. }
                | Self::Before { .. }
                | Self::Remote(_)
        )
    }

    /// Returns whether the server could not be reached, or not often enough.
    #[must_use]
    pub const fn is_connecting(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::TooFew { .. })
    }
}
