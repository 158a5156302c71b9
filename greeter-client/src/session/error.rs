//! What went wrong in a session, as values: all that a report needs, and no report.

use std::fmt;
use std::io;
use std::time::Duration;

use super::event::Entry;
use crate::net::escape::one_line;
use crate::net::{ConnectError, StreamEnd, TlsFailure};

/// How many bytes of a mismatch its message shows; its fields have them all.
const MAX_SHOWN_BYTES: usize = 200;

/// An error of a [`Session`](super::Session).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// What came is not what was expected.
    #[error("{0}")]
    Mismatch(Box<Mismatch>),
    /// Bytes could not be sent, and what followed did not expect the connection to end.
    #[error("{}: cannot send", who(.connection))]
    Send {
        /// Its name.
        connection: String,
        /// Our address.
        local: String,
        /// The server's address.
        peer: String,
        /// What the system said; [`TimedOut`](io::ErrorKind::TimedOut) where the server did not
        /// read.
        source: io::Error,
    },
    /// A connection could not be opened.
    #[error("{}: cannot be opened", who(.connection))]
    Connect {
        /// Its name.
        connection: String,
        /// Why.
        source: ConnectError,
    },
    /// TLS could not be started on a connection that was open.
    #[error("{}: cannot start TLS", who(.connection))]
    StartTls {
        /// Its name.
        connection: String,
        /// Why.
        source: TlsFailure,
    },
    /// There is no such connection, and no [target](super::SessionOptions::target) to open it to.
    #[error("there is no connection {0:?}")]
    UnknownConnection(String),
    /// A connection of that name is open, and cannot be opened again.
    #[error("{} is open already", who(.0))]
    AlreadyOpen(String),
    /// We closed or reset the connection before.
    #[error("{} is closed", who(.0))]
    Closed(String),
    /// We half-closed the connection before: there is nothing more to be sent.
    #[error("{} is half-closed: nothing more can be sent", who(.0))]
    HalfClosed(String),
    /// A line to be sent holds an LF: it would be two.
    #[error("a line cannot hold a newline")]
    LfInLineError,
    /// A crowd has at least one member; and its name, like that of a connection, holds no dot.
    #[error("there is no crowd of nobody, and no dot in a name: {0:?}")]
    BadName(String),
    /// A connection that others use from here on is not as they need it.
    #[error("{}: it is to be open, with nothing unread, but {found}", who(.connection))]
    NotReady {
        /// Its name.
        connection: String,
        /// What is unread, or the end.
        found: Actual,
    },
    /// A thread that is needed could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// An expectation that was not met, and all that is known about it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Mismatch {
    /// The connection's name; `c.17` is a member of the crowd `c`.
    pub connection: String,
    /// The connection's number within its crowd, from 1; `None` outside of crowds.
    pub member: Option<usize>,
    /// Our address.
    pub local: String,
    /// The server's address.
    pub peer: String,
    /// What should have come.
    pub expected: Expected,
    /// What came in its place. It has not been consumed.
    pub actual: Actual,
    /// How the peer ended the stream behind what came, if it did.
    pub end: Option<StreamEnd>,
    /// Whether the timeout passed before anything came that rules the expectation out.
    pub timed_out: bool,
    /// How long it was waited for.
    pub waited: Duration,
    /// How many lines the expectation has [skipped](super::ConnectionHandle::skipping), which are
    /// the last of the [`transcript`](Self::transcript).
    pub skipped_lines: usize,
    /// What else has come and is unread, behind [`actual`](Self::actual): its first KiB.
    pub buffered: Vec<u8>,
    /// How many bytes there are of that.
    pub buffered_bytes: usize,
    /// How many bytes the server has not taken yet.
    pub unsent_bytes: usize,
    /// Why an earlier send was not delivered.
    pub send_error: Option<io::Error>,
    /// The last events on this connection.
    pub transcript: Vec<Entry>,
}

/// An expectation that was not met.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) actual: Actual,
    /// How much of what is unread `actual` shows, a line's ending included.
    pub(super) bytes: usize,
    pub(super) timed_out: bool,
}

impl Observed {
    pub(super) fn new(actual: Actual, bytes: usize) -> Self {
        Self { actual, bytes, timed_out: false }
    }

    /// `actual` is all that is unread. What comes after this look is not told beside it: else the
    /// same failure would be told in two ways.
    pub(super) fn all(actual: Actual) -> Self {
        Self::new(actual, usize::MAX)
    }

    pub(super) fn timed_out(self) -> Self {
        Self { timed_out: true, ..self }
    }
}

/// What should have come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// The next line: exactly this one, or what only the closure knows.
    Line(Option<Vec<u8>>),
    /// A line that is not this one, which must not come before what is waited for: the pattern of a
    /// script.
    Not(Vec<u8>),
    /// Lines in any order: those that have come, none of which is consumed, and the patterns of a
    /// script for which none has.
    AnyOrder {
        /// What has come.
        came: Vec<Vec<u8>>,
        /// What has not.
        left: Vec<Vec<u8>>,
    },
    /// Exactly these bytes.
    Bytes(Vec<u8>),
    /// The start of a line that is left unfinished: what it ends with, and in a script all of it,
    /// as it is written, with the values of what is bound.
    Prompt(Vec<u8>),
    /// So many bytes, whatever they are.
    Count(usize),
    /// The peer's end of the stream, and nothing unread before it.
    Eof,
    /// A reset, and nothing unread before it.
    Reset,
    /// One of the two, and nothing unread before it.
    Closed,
    /// No byte and no end for so long.
    Nothing(Duration),
}

/// What came in place of what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Actual {
    /// A whole line, without its ending.
    Line(Vec<u8>),
    /// The start of a line: its ending has not come, or will not.
    PartialLine(Vec<u8>),
    /// Where bytes were expected: those that came, at most as many as should have. Where a prompt
    /// was: more than one may have.
    Bytes(Vec<u8>),
    /// A line that is longer than
    /// [`SessionOptions::max_unread_bytes`](super::SessionOptions::max_unread_bytes).
    LineTooLong {
        /// The limit.
        limit: usize,
    },
    /// The end of the stream.
    End(StreamEnd),
    /// Nothing yet.
    Nothing,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, but {}", who(&self.connection), self.expected, self.actual)?;
        if self.timed_out {
            write!(f, " within {:?}", self.waited)?;
        }
        if self.skipped_lines > 0 {
            write!(f, "; lines that were skipped before: {}", self.skipped_lines)?;
        }
        match &self.send_error {
            Some(error) => write!(f, "; and what was sent before was not delivered: {error}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(None) => f.write_str("another line"),
            Self::Line(Some(line)) => write!(f, "the line {}", QuotedStart(line)),
            Self::Not(line) => write!(f, "another line than {}", QuotedStart(line)),
            Self::AnyOrder { left, .. } => {
                let left: Vec<String> = left.iter().map(|line| QuotedStart(line).to_string()).collect();
                write!(f, "in any order the lines {}", left.join(", "))
            }
            Self::Bytes(bytes) => write!(f, "the bytes {}", QuotedStart(bytes)),
            Self::Prompt(prompt) => write!(f, "a prompt like {}", QuotedStart(prompt)),
            Self::Count(count) => write!(f, "{count} bytes"),
            Self::Eof => f.write_str("the end"),
            Self::Reset => f.write_str("a reset"),
            Self::Closed => f.write_str("the end or a reset"),
            Self::Nothing(duration) => write!(f, "nothing for {duration:?}"),
        }
    }
}

impl fmt::Display for Actual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "the line {} came", QuotedStart(line)),
            Self::PartialLine(bytes) => write!(f, "only the unfinished line {} came", QuotedStart(bytes)),
            Self::Bytes(bytes) => write!(f, "the bytes {} came", QuotedStart(bytes)),
            Self::LineTooLong { limit } => write!(f, "a line of more than {limit} bytes came"),
            Self::End(end) => write!(f, "{end}"),
            Self::Nothing => f.write_str("nothing came"),
        }
    }
}

/// The start of some bytes, in quotes.
struct QuotedStart<'a>(&'a [u8]);

impl fmt::Display for QuotedStart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..MAX_SHOWN_BYTES) {
            Some(start) if self.0.len() > MAX_SHOWN_BYTES => {
                write!(f, "\"{}\"… ({} bytes)", one_line(start), self.0.len())
            }
            _ => write!(f, "\"{}\"", one_line(self.0)),
        }
    }
}

/// How a message calls a connection.
fn who(name: &str) -> &str {
    if name.is_empty() { "the connection" } else { name }
}
