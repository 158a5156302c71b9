//! What passes on one connection of a load, as values: lines that leave, replies that come, and how
//! it is lost.

use std::io;

use crate::net::escape::one_line;
use crate::talk::Secrets;

/// The longest line that is received, in bytes: as much as a connection may make us hold.
pub(crate) const MAX_LINE_BYTES: usize = 1024 * 1024;

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    /// So many right replies, one behind the other.
    Match(usize),
    /// A reply that is not what it should be as one to this line.
    Mismatch { came: &'a [u8], place: ReplyPlace, to: &'a [u8] },
    /// A line of a reply of which nothing says what it should be.
    Uncompared,
    /// The same of a whole load, and by its first word the line tells of an error.
    Suspect { came: &'a [u8], to: &'a [u8] },
    /// A line for which nothing was sent.
    Unsolicited(&'a [u8]),
}

/// Where in a reply something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyPlace {
    /// In its only line.
    Whole,
    /// In its so manieth line, counted from 1, which is the first that is wrong.
    Line(usize),
    /// At its end: it has so many lines, which are right, and should have more.
    End(usize),
}

/// The reply that is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited<'a> {
    pub(crate) to: &'a [u8],
    /// How many lines of it have come, and the first of them.
    pub(crate) begun: Option<(usize, &'a [u8])>,
}

impl Awaited<'_> {
    /// In words, without the secrets in it.
    pub(crate) fn shown(&self, secrets: &Secrets) -> String {
        let to = one_line(&secrets.mask(self.to)).to_string();
        // It may have been cut.
        let first = |first: &[u8]| one_line(&secrets.mask_start(first)).to_string();
        match self.begun {
            None => format!("in place of the reply to '{to}'"),
            Some((1, line)) => format!("behind the first line of the reply to '{to}', which is '{}'", first(line)),
            Some((lines, line)) => {
                format!("behind {lines} lines of the reply to '{to}', which begins with '{}'", first(line))
            }
        }
    }
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
    #[error("the server closed the connection in the middle of a reply")]
    PartialReply,
    #[error("the server sent a line longer than {} bytes", MAX_LINE_BYTES)]
    LineTooLong,
    #[error("no reply in time")]
    ReplyTimeout,
    #[error("connection lost: {0}")]
    Lost(io::Error),
}
