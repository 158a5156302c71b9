//! What goes wrong on the side of the responder.

use std::error::Error;

use crate::line::LfInLine;

/// What keeps a responder from answering: any error. The client reads `error: internal error`, and the server's log has the error, where
/// it has [a log](crate::Responder#failing); but where it is a [`Rejection`](crate::Rejection), the client reads that, and nobody is to blame.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What went wrong on the responder's side while a job was answered.
#[derive(Debug, Default)]
pub struct ResponderErrors {
    /// How many there were: calls that panicked or failed, and replies that broke the framing.
    pub count: u32,
    /// The first of them, for the log.
    pub first: Option<ResponderError>,
}

impl ResponderErrors {
    /// Adds what went wrong after these.
    pub(crate) fn add(&mut self, Self { count, first }: Self) {
        self.count += count;
        self.first = self.first.take().or(first);
    }
}

/// One failure of a responder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponderError {
    /// It panicked, saying this.
    #[error("the responder panicked: {0}")]
    Panicked(String),
    /// It returned an error, which says this, its causes included.
    #[error("the responder failed: {0}")]
    Failed(String),
    /// Its reply was not what it takes to be one line.
    #[error("the responder's reply holds {0}")]
    BrokenReply(#[from] LfInLine),
}
