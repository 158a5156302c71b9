//! Turns whatever fails in a responder into values: a returned error, a panic, a broken reply.
//!
//! It decides nothing about them; what the client receives is decided where lines are answered.

use std::error::Error;

use crate::line::LfInLineError;
use crate::rejection::Rejection;

/// Any error that keeps a responder from answering.
///
/// If it is a [`Rejection`](crate::Rejection), the client receives that, and it does not count as
/// an error. For any other error, the client receives `error: internal error`, and the server
/// [logs](crate::Responder#errors-and-panics) what the error was.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The errors of a responder while it answered a job.
#[derive(Debug, Default)]
pub struct ResponderErrors {
    /// How many there were: calls that panicked or returned an error, and replies that broke the
    /// framing.
    pub count: u32,
    /// The first of them, for the log.
    pub first: Option<ResponderError>,
}

impl ResponderErrors {
    /// Adds errors that came after these.
    pub(crate) fn add(&mut self, Self { count, first }: Self) {
        self.count += count;
        self.first = self.first.take().or(first);
    }
}

/// One error of a responder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponderError {
    /// It panicked with this message.
    #[error("the responder panicked: {0}")]
    Panicked(String),
    /// It returned an error with this text, in which its causes are included.
    #[error("the responder failed: {0}")]
    Failed(String),
    /// A line of its reply held a line feed, so that the client would have read two lines.
    #[error("the responder's reply holds {0}")]
    BrokenReply(#[from] LfInLineError),
    /// It asked for something that it cannot have.
    #[error("the responder {0}")]
    Misuse(&'static str),
}

/// Returns the rejection that an error is. Of any other error, what remains is its text, with those
/// of its causes.
#[cold]
pub(crate) fn rejection_in(error: BoxError) -> Result<Rejection, ResponderError> {
    let error = match error.downcast() {
        Ok(rejection) => return Ok(*rejection),
        Err(error) => error,
    };
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    Err(ResponderError::Failed(text))
}

/// What a responder does wrong in a call: the first that it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    LfInLine(LfInLineError),
    Misuse(&'static str),
}

impl From<Fault> for ResponderError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::LfInLine(error) => Self::BrokenReply(error),
            Fault::Misuse(what) => Self::Misuse(what),
        }
    }
}
