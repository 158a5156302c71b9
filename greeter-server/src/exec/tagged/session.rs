//! One client's end of the talk with a program: it tells when the client is gone, however that
//! comes. Must not know which process it has.

use std::fmt;
use std::sync::Arc;

use greeter_core::{ClientId, CloseReason, Later, Reply};

use super::messages::{ClientLink, EndCause, TaggedMessage};
use crate::mailbox::Mailbox;

/// The session of a client of [`Tagged`](crate::Tagged). Its end is the client's, also where the
/// server ends without a word.
pub struct TaggedSession {
    link: Arc<ClientLink>,
    reason: Option<CloseReason>,
}

impl TaggedSession {
    /// A client has come, of which its program is to be told so much.
    pub(super) fn open(client: ClientId, words: Vec<u8>, thread: &Mailbox<TaggedMessage>) -> Self {
        let link = Arc::new(ClientLink::new(client, thread.clone()));
        thread.send(TaggedMessage::Open { link: Arc::clone(&link), words });
        Self { link, reason: None }
    }

    /// Returns why the connection is to end, if it is.
    pub(super) fn end_cause(&self) -> Option<EndCause> {
        self.link.end_cause()
    }

    pub(super) fn ask(&self, text: &[u8], later: Later) {
        self.link.thread.send(TaggedMessage::Ask { client: self.link.client, text: text.to_owned(), later });
    }

    /// A rejection is among what the client is sent.
    pub(super) fn was_rejected(&self) {
        self.link.reply_taken();
    }

    pub(super) fn left(mut self, reason: CloseReason) {
        self.reason = Some(reason);
    }
}

impl Drop for TaggedSession {
    fn drop(&mut self) {
        self.link.thread.send(TaggedMessage::Left { client: self.link.client, reason: self.reason });
    }
}

impl fmt::Debug for TaggedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaggedSession").field("client", &self.link.client).finish_non_exhaustive()
    }
}

/// Returns the lines of a text in which each has its LF.
pub(super) fn lines_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

/// Answers a line with these lines, and ends the connection behind them.
pub(super) fn answer_and_close(later: Later, lines: Vec<u8>) {
    later.then(move |_: &mut TaggedSession, reply: &mut Reply<'_>| {
        lines_of(&lines).for_each(|line| reply.line(line));
        reply.close();
        Ok(())
    });
}
