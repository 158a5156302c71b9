//! What a server says when it will not answer a line.

/// Why a line is not answered. The client is told in one line, in the place where the reply would have stood.
///
/// Displayed, it is the reason in words, lower case and without a full stop; what goes out by default is `error: ` and
/// those words. A [`Responder`](crate::Responder) may [choose others](crate::Responder::refuse).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The line, without its ending, is longer than the server takes. The session goes on at the next line.
    #[error("line longer than {line_bytes_max} bytes")]
    LineTooLong {
        /// The longest line that is taken, in bytes, without its ending.
        line_bytes_max: u32,
    },
    /// The line is not valid UTF-8, and the responder takes only text.
    #[error("line is not valid UTF-8")]
    NotUtf8,
    /// The responder failed or panicked, or its reply held a line feed within a line. What went wrong is the server's to
    /// know, not the client's.
    #[error("internal error")]
    InternalError,
}
