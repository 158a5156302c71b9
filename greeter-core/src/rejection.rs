//! What a server says when it will not answer a line.

use std::borrow::Cow;
use std::time::Duration;

/// Why a line is not answered. The client is told in one line, in the place where the reply would have stood.
///
/// Displayed, it is the reason in words, lower case and without a full stop; what goes out by default is `error: ` and
/// those words. A [`Responder`](crate::Responder) may [choose others](crate::Responder::reject).
///
/// A rejection is the client's doing, not a failure: it is not logged and does not count as a error. A responder rejects by
/// returning one as its error, which `?` does:
///
/// ```
/// # extern crate greeter_core as greeter_server;
/// # use greeter_server::{BoxError, Line, Peer, Rejection, Reply, Responder};
/// # struct Doubler;
/// # impl Responder for Doubler {
/// #     type Session = ();
/// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
/// fn respond(&self, _: &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
///     let number: i64 = line.to_str()?.parse().map_err(|_| Rejection::custom("that is no number"))?;
///     reply.line(format_args!("{}", number * 2));
///     Ok(())
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The line, without its ending, is longer than the server takes. It never came to the responder. The session goes on
    /// at the next line.
    #[error("line longer than {max_line_bytes} bytes")]
    LineTooLong {
        /// The longest line that is taken, in bytes, without its ending.
        max_line_bytes: u32,
    },
    /// The line is not valid UTF-8, and the responder takes only text.
    #[error("line is not valid UTF-8")]
    NotUtf8,
    /// The responder has reasons of its own, in these words. A line feed in them breaks the framing like any other.
    #[error("{0}")]
    Custom(Cow<'static, str>),
    /// The responder failed or panicked, or its reply held a line feed within a line. What went wrong is the server's to
    /// know, not the client's.
    #[error("internal error")]
    InternalError,
    /// Nobody was free to answer the line for longer than lines may wait. The session goes on.
    #[error("busy")]
    Busy,
    /// The responder did not come back with an answer in time. It is not waited for any more, and the connection closes.
    #[error("timed out")]
    ReplyTimeout,
    /// A line has begun and did not end within this time. The connection closes.
    #[error("line not finished within {within:?}")]
    LineTimeout {
        /// How long a line may take, from its first byte to its ending.
        within: Duration,
    },
    /// The client owed nothing, was owed nothing, and said nothing for this time. The connection closes.
    #[error("idle for {within:?}")]
    IdleTimeout {
        /// How long a client may be silent.
        within: Duration,
    },
    /// What this client makes the server hold is more than the server has room for, all clients together. The connection closes.
    #[error("overloaded")]
    Overloaded,
    /// The server has as many clients as it takes. The connection closes before a responder hears of it.
    #[error("too many connections")]
    ConnectionLimit,
    /// The server has as many clients from this address as it takes. The connection closes before a responder hears of it.
    #[error("too many connections from your address")]
    AddressLimit,
}

impl Rejection {
    /// A rejection for this reason: in lower case, without a full stop.
    #[must_use]
    pub fn custom(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Custom(reason.into())
    }
}
