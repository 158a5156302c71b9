//! What passes between the clients' sessions and the thread that drives their program. Must not
//! know what follows from it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use greeter_core::{ClientId, CloseReason, Later};

use crate::exec::process::Program;
use crate::exec::report::ExecError;
use crate::exec::spawner::StartOutcome;
use crate::mailbox::Mailbox;
use crate::sync::Sender;

/// What a program is run with.
#[derive(Clone, Debug)]
pub(super) struct TaggedConfig {
    pub(super) program: Arc<Program>,
    pub(super) children: usize,
    pub(super) reply_timeout: Option<Duration>,
    pub(super) max_reply_bytes: usize,
    pub(super) reaps_orphans: bool,
}

/// A message to the thread.
#[derive(Debug)]
pub(super) enum TaggedMessage {
    /// A client has come, of which the program is told so much.
    Open {
        link: Arc<ClientLink>,
        words: Vec<u8>,
    },
    /// It has sent a line.
    Ask {
        client: ClientId,
        text: Vec<u8>,
        later: Later,
    },
    /// Its reply, which was waited for, is among what it is sent.
    Taken {
        client: ClientId,
    },
    /// It is gone. The reason is not known if the server has ended without one.
    Left {
        client: ClientId,
        reason: Option<CloseReason>,
    },
    Started(StartOutcome),
    /// Has new clients go to processes with these options; or says why not.
    Replace {
        config: Arc<TaggedConfig>,
        told: Sender<Result<(), ExecError>>,
    },
    Stop,
}

impl From<StartOutcome> for TaggedMessage {
    fn from(outcome: StartOutcome) -> Self {
        Self::Started(outcome)
    }
}

/// What a client's session and the thread share.
pub(super) struct ClientLink {
    pub(super) client: ClientId,
    pub(super) thread: Mailbox<TaggedMessage>,
    /// 0, or why its connection is to end: it changes once.
    end_cause: AtomicU8,
    /// Where its latest reply is.
    reply: AtomicU8,
}

/// Why a connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndCause {
    /// The program has closed it: there is nothing more to say.
    Closed = 1,
    /// The program is no good for this client any more.
    Failed = 2,
}

/// Where replies are: among what the client is sent, on their way there, or on their way with the
/// thread waiting for the news.
const TAKEN: u8 = 0;
const GIVEN: u8 = 1;
const AWAITED: u8 = 2;

impl ClientLink {
    pub(super) const fn new(client: ClientId, thread: Mailbox<TaggedMessage>) -> Self {
        Self { client, thread, end_cause: AtomicU8::new(0), reply: AtomicU8::new(TAKEN) }
    }

    /// Has the connection end where its session is asked next.
    pub(super) fn set_end(&self, cause: EndCause) {
        let _ = self.end_cause.compare_exchange(0, cause as u8, Ordering::Release, Ordering::Relaxed);
    }

    pub(super) fn end_cause(&self) -> Option<EndCause> {
        match self.end_cause.load(Ordering::Acquire) {
            0 => None,
            1 => Some(EndCause::Closed),
            _ => Some(EndCause::Failed),
        }
    }

    /// The thread gives a reply now.
    pub(super) fn reply_given(&self) {
        self.reply.store(GIVEN, Ordering::Release);
    }

    /// The reply is among what the client is sent. Whoever waits for that is told.
    pub(super) fn reply_taken(&self) {
        if self.reply.swap(TAKEN, Ordering::AcqRel) == AWAITED {
            self.thread.send(TaggedMessage::Taken { client: self.client });
        }
    }

    /// Returns whether what is pushed now could overtake the reply. Then the thread is told when
    /// that is over.
    pub(super) fn await_reply(&self) -> bool {
        self.reply.compare_exchange(GIVEN, AWAITED, Ordering::AcqRel, Ordering::Acquire) != Err(TAKEN)
    }
}

impl fmt::Debug for ClientLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLink").field("client", &self.client).finish_non_exhaustive()
    }
}
