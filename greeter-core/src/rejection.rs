//! The reasons why a line or a client is not served, each with its words.
//!
//! It rejects nothing by itself and knows no responder: the bytes that a client receives are made
//! by [`catch`](crate::catch), and those that end connections are kept in the
//! [`config`](crate::config).

use std::borrow::Cow;
use std::time::Duration;

/// The reason why a line is not answered, or a client not served. The client receives it as one
/// line, in the place of the reply.
///
/// It displays as the reason in words, in lower case and without a full stop. By default, the
/// client receives `error: ` and those words; a [`Responder`](crate::Responder) may [choose
/// others](crate::Responder::reject).
///
/// A rejection is caused by the client, not by the server: it is not logged and does not count as
/// an error. A responder rejects a line by returning one as its error, which `?` does:
///
/// ```
/// # extern crate greeter_core as greeter_server;
/// # use greeter_server::testing::TestClient;
/// # use greeter_server::{BoxError, Line, Peer, Rejection, Reply, Responder};
/// # struct Doubler;
/// # impl Responder for Doubler {
/// #     type Session = ();
/// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
/// fn respond(&self, _: &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
///     let number = line.to_str()?.parse::<i64>();
///     let number = number.map_err(|_| Rejection::custom("that is no number"))?;
///     reply.line(number * 2);
///     Ok(())
/// }
/// # }
/// # let mut client = TestClient::connect(&Doubler);
/// # client.send("21\ntwo\n").expect("42\nerror: that is no number\n");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The line, without its ending, is longer than the server accepts. The responder does not see
    /// it. The session continues with the next line, unless the server [closes the
    /// connection](crate::WhenRejected).
    #[error("line longer than {max_line_bytes} bytes")]
    LineTooLong {
        /// The length of the longest line that the server accepts, in bytes, without its ending.
        max_line_bytes: u32,
    },
    /// The line ends with LF alone, and the server accepts only lines that end with CR LF. The
    /// responder does not see it. The session continues with the next line.
    #[error("line does not end with CR LF")]
    BareLf,
    /// The line is not valid UTF-8, and the responder accepts only text.
    #[error("line is not valid UTF-8")]
    NotUtf8,
    /// The responder's own reason, in these words. A line feed in them breaks the framing, as in
    /// any other reply.
    #[error("{0}")]
    Custom(Cow<'static, str>),
    /// The responder returned an error or panicked, or a line of its reply held a line feed. The
    /// details are for the server's log, not for the client.
    #[error("internal error")]
    InternalError,
    /// No worker was free for longer than a line may wait. The session continues with the next
    /// line.
    #[error("busy")]
    Busy,
    /// The reply timeout expired before the responder answered. The server does not wait for it any
    /// longer, and the connection closes.
    #[error("timed out")]
    ReplyTimeout,
    /// The line timeout expired: a line had begun and did not end in time. The connection closes.
    #[error("line not finished within {within:?}")]
    LineTimeout {
        /// The line timeout: how long a line may take, from its first byte to its ending.
        within: Duration,
    },
    /// The idle timeout expired: the client was owed nothing and sent nothing. The connection
    /// closes.
    #[error("idle for {within:?}")]
    IdleTimeout {
        /// The idle timeout: how long a client may be silent.
        within: Duration,
    },
    /// The client has been connected for as long as one may. It was owed nothing and had begun no
    /// line. The connection closes.
    #[error("session over")]
    SessionTimeout,
    /// The memory budget, which all clients share, has no room for what this client makes the
    /// server hold. The connection closes.
    #[error("overloaded")]
    Overloaded,
    /// The server is at its connection limit. The connection closes, and the responder does not
    /// learn of it.
    #[error("too many connections")]
    ConnectionLimit,
    /// The server is at its limit of connections from this address. The connection closes, and the
    /// responder does not learn of it.
    #[error("too many connections from your address")]
    AddressLimit,
}

impl Rejection {
    /// Creates a rejection with a reason of the responder's own, in lower case and without a full
    /// stop.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::testing::TestClient;
    /// use greeter_server::{Rejection, responder_fn};
    ///
    /// let oracle = responder_fn(|question: &str| match question.ends_with('?') {
    ///     true => Ok("yes"),
    ///     false => Err(Rejection::custom("that is no question")),
    /// });
    /// let mut client = TestClient::connect(&oracle);
    /// client.send("Is it?\nIt is.\n").expect("yes\nerror: that is no question\n");
    /// ```
    #[must_use]
    pub fn custom(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Custom(reason.into())
    }
}
