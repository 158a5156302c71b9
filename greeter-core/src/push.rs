//! Turns lines or bytes that a client has not asked for into one message to push.
//!
//! It does not know who receives the message, or when.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::line::{LfInLineError, Line};

const LF: u8 = b'\n';

/// A message for clients that have not asked: lines, or bytes as they are.
///
/// A client receives it in one piece, with nothing between its parts.
#[derive(Clone, PartialEq, Eq)]
pub struct PushMessage {
    bytes: Box<[u8]>,
    framing: Framing,
}

/// How the bytes of a message are framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// As lines, each with an LF behind it. On the wire they end as the client's own lines do.
    Lines,
    /// In a way that only the responder knows.
    Raw,
    /// As they go on the wire: of no message, but of the answers to telnet's commands.
    Wire,
}

impl PushMessage {
    /// Creates a message of one line, given without its ending.
    ///
    /// ```
    /// # use greeter_core::{LfInLineError, PushMessage};
    /// let message = PushMessage::line("it rains")?;
    /// assert_eq!(message.len(), 9);
    /// assert_eq!(PushMessage::line("two\nlines"), Err(LfInLineError));
    /// # Ok::<(), LfInLineError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`LfInLineError`] if the text holds an LF.
    pub fn line(text: impl AsRef<[u8]>) -> Result<Self, LfInLineError> {
        Self::lines([text])
    }

    /// Creates a message of lines, each given without its ending. With no lines, there is nothing
    /// to send.
    ///
    /// ```
    /// # use greeter_core::{LfInLineError, PushMessage};
    /// let message = PushMessage::lines(["it rains", "it pours"])?;
    /// assert_eq!(message.len(), 18);
    /// # Ok::<(), LfInLineError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`LfInLineError`] if one of the texts holds an LF.
    pub fn lines(lines: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Self, LfInLineError> {
        let mut bytes = Vec::new();
        for line in lines {
            let line = Line::new(line.as_ref())?.as_bytes();
            bytes.reserve(line.len() + 1);
            bytes.extend_from_slice(line);
            bytes.push(LF);
        }
        Ok(Self { bytes: bytes.into(), framing: Framing::Lines })
    }

    /// Creates a message of bytes that are sent as they are.
    ///
    /// ```
    /// # use greeter_core::PushMessage;
    /// let bulk = PushMessage::raw("$8\r\nit rains\r\n");
    /// assert!(!bulk.is_empty());
    /// ```
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self { bytes: bytes.as_ref().into(), framing: Framing::Raw }
    }

    /// Returns the length in bytes. The ending of a line counts as one, however it is sent.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether there is nothing to send.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) const fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) const fn framing(&self) -> Framing {
        self.framing
    }
}

impl fmt::Debug for PushMessage {
    /// Writes the message quoted and escaped, so that it is safe to print wherever it came from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} \"{}\"", self.framing, self.bytes.escape_ascii())
    }
}

/// What has become of a message that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// The client's end has room for all of it: its socket has taken the last byte, or with TLS,
    /// the last byte of the ciphertext. The client itself may not have read it yet.
    Taken,
    /// Not all of it was taken, and the rest will not be: the client is gone, or its connection
    /// ends without it.
    Lost,
}

/// The call that tells what has become of a message. It is made once: if the receipt is dropped,
/// the message is lost.
pub struct PushReceipt(Option<Box<dyn FnOnce(Delivery) + Send>>);

impl PushReceipt {
    /// Creates a receipt that makes this call.
    pub fn new(then: impl FnOnce(Delivery) + Send + 'static) -> Self {
        Self(Some(Box::new(then)))
    }

    /// Tells that all of the message was taken.
    pub(crate) fn taken(mut self) {
        self.tell(Delivery::Taken);
    }

    /// Makes the call. Nobody can be told of a panic, and the thread that makes it has others to
    /// serve.
    fn tell(&mut self, delivery: Delivery) {
        if let Some(then) = self.0.take()
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| then(delivery)))
        {
            // Dropping the payload of a panic may panic as well.
            std::mem::forget(panic);
        }
    }
}

impl Drop for PushReceipt {
    fn drop(&mut self) {
        self.tell(Delivery::Lost);
    }
}

impl fmt::Debug for PushReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushReceipt").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_each_ending_as_one_byte_and_is_escaped_for_debug() {
        let lines = PushMessage::lines(["one", "", "three\r"]).unwrap();
        assert_eq!((lines.len(), lines.is_empty()), (12, false));
        assert_eq!(format!("{lines:?}"), r#"Lines "one\n\nthree\r\n""#);
        let raw = PushMessage::raw([0xff, b'\n']);
        assert_eq!((raw.len(), raw.is_empty()), (2, false));
        assert_eq!(format!("{raw:?}"), r#"Raw "\xff\n""#);
        let none = PushMessage::raw("");
        assert_eq!((none.len(), none.is_empty()), (0, true));
    }
}
