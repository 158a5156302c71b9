//! What can go wrong before a connection stands, and on one that does.

use std::fmt;
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
    /// Somebody accepted, but TLS cannot be spoken there.
    #[error("cannot speak TLS with {}", one_line(address.to_string().as_bytes()))]
    Tls {
        /// With whom.
        address: ServerAddress,
        /// Why not.
        source: TlsFailure,
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

/// An error of TLS. What [`ConnectionError::Lost`] has may hold one, too: under TLS 1.3 a server
/// tells what it thinks of a client's certificate when that takes itself to be connected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFailure {
    /// The server's certificate is too old.
    #[error("the server's certificate expired {} ago", Roughly(*seconds))]
    Expired {
        /// For how long it has not been valid any more.
        seconds: u64,
    },
    /// The server's certificate is too young.
    #[error("the server's certificate is not valid before {} from now", Roughly(*seconds))]
    NotYetValid {
        /// How long it is until then.
        seconds: u64,
    },
    /// The server's certificate is for somebody else.
    #[error("the server's certificate is not for '{expected}', but for {}", Names(names))]
    WrongName {
        /// Who it should be for.
        expected: String,
        /// Whom it is for.
        names: Vec<String>,
    },
    /// Nobody whom we trust has issued the server's certificate.
    #[error("the server's certificate was issued by nobody whom we trust")]
    UnknownIssuer,
    /// Something else is wrong with the server's certificate.
    #[error("the server's certificate is not good: {}", one_line(.0.as_bytes()))]
    BadCertificate(String),
    /// The server ended it, in words that we have for that.
    #[error("the server ended it: {0}")]
    Alert(&'static str),
    /// The server speaks TLS in another way than we can.
    #[error("there is no version of TLS, and no way to encrypt, that both sides know")]
    Incompatible,
    /// What answered does not speak TLS.
    #[error("the server does not speak TLS: it said '{}'", one_line(answer))]
    NoTls {
        /// The start of what it said.
        answer: Vec<u8>,
    },
    /// The server closed the connection before TLS was there.
    #[error("the server closed the connection instead of answering")]
    Closed,
    /// The connection broke before TLS was there.
    #[error("the connection was lost")]
    Lost(#[source] io::Error),
    /// The server did not answer in time.
    #[error("the server accepted the connection and did not answer within {timeout:?}: does it speak TLS?")]
    TimedOut {
        /// How long connecting might take.
        timeout: Duration,
    },
    /// TLS was to start on an open connection, and something that had come before was unread:
    /// whoever is in between may have put it there.
    #[error("{bytes} bytes had come before it and are unread: they must not count as encrypted")]
    UnreadBytes {
        /// How many.
        bytes: usize,
    },
    /// TLS was to start where it is spoken.
    #[error("it is spoken there already")]
    Already,
    /// It is not said whom the certificate must be for, and the address does not tell.
    #[error("a Unix socket has no name that the server's certificate could be for: give one")]
    NoName,
    /// The system has no certificates of its own, and no others were given.
    #[error("this system has no authorities' certificates where we look for them, so that nobody is trusted")]
    NoRoots,
    /// The library was built without its feature `tls`.
    #[error("TLS is not built in")]
    Unsupported,
    /// Something went against the rules of TLS.
    #[error("that is no TLS as it should be: {}", one_line(.0.as_bytes()))]
    Protocol(String),
}

/// A time, as people say it.
struct Roughly(u64);

impl fmt::Display for Roughly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
        let (length, unit) = units.into_iter().find(|(length, _)| self.0 >= *length).unwrap_or((1, "second"));
        match self.0 / length {
            1 => write!(f, "1 {unit}"),
            count => write!(f, "{count} {unit}s"),
        }
    }
}

/// The names in a certificate.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("nobody"),
            names => one_line(names.join(", ").as_bytes()).fmt(f),
        }
    }
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
