//! Turns a call that makes the responder word a rejection into bytes, also when the responder
//! panics.
//!
//! No panic of a responder leaves this module, and it knows neither jobs nor connections. Calls
//! that answer lines are contained where jobs are answered.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::ResponderError;
use crate::line::LineEnding;
use crate::rejection::Rejection;
use crate::reply::{Aside, Checkpoint, Reply};
use crate::responder::Responder;

/// Adds a rejection in the responder's words, or `error: internal error` where the responder fails
/// at it. Returns that error, and whether the responder closes the connection.
pub(crate) fn reject<R>(
    responder: &R,
    session: Option<&mut R::Session>,
    rejection: Rejection,
    replies: &mut Vec<u8>,
    checkpoint: &Checkpoint,
) -> (Option<ResponderError>, bool)
where
    R: Responder + ?Sized,
{
    let mut aside = Aside::NO_BYTES;
    let mut reply = Reply::new(replies, checkpoint.ending, &mut aside);
    let outcome = catch_unwind(AssertUnwindSafe(|| responder.reject(session, rejection, &mut reply)));
    let said = aside.finish();
    let error = match (outcome, said.fault) {
        (Ok(()), fault) => fault.map(ResponderError::from),
        (Err(panic), _) => Some(ResponderError::Panicked(panic_message(panic))),
    };
    if error.is_some() {
        replies.truncate(checkpoint.replies);
        Reply::new(replies, checkpoint.ending, &mut aside).line(format_args!("error: {}", Rejection::InternalError));
    }
    (error, said.closes)
}

/// Returns the bytes of a rejection in the responder's words, for when the responder cannot be
/// asked later. A responder that fails at it gives `error: internal error`.
pub(crate) fn rejection_words<R>(responder: &R, rejection: &Rejection, ending: LineEnding) -> Box<[u8]>
where
    R: Responder + ?Sized,
{
    let mut replies = Vec::new();
    let _ = reject(responder, None, rejection.clone(), &mut replies, &Checkpoint { replies: 0, ending });
    replies.into_boxed_slice()
}

/// Drops what may be the responder's code, and whatever it panics with.
pub(crate) fn drop_caught<T>(responders: T) {
    // Dropping the payload of a panic may panic as well, so that is leaked.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(responders))) {
        std::mem::forget(panic);
    }
}

/// Returns the message of a panic, if it is text.
pub(crate) fn panic_message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned();
    drop_caught(panic);
    text
}
