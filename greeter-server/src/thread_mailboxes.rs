//! What can be said to the connection threads by those who do not know the type of the sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use greeter_core::{ClientId, Phase};

use crate::connection_thread::ThreadMessage;
use crate::mailbox::Mailbox;
use crate::push::{PushTarget, PushedMessage};
use crate::slots::thread_of;

/// The connection threads of one server.
pub(crate) trait ThreadMailboxes: PushTarget {
    /// Whether none of them has anything to do.
    fn are_asleep(&self) -> bool;
    fn stop(&self, deadline: Instant);
    fn kill(&self, client: ClientId);
    /// Each thread sends its list, unless it is busy for ever.
    fn list(&self, answer: &Sender<Vec<ConnectionInfo>>);
}

/// One connection, as it was when it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The client, by its name on this server and its address.
    pub peer: greeter_core::Peer,
    /// How long ago it was accepted.
    pub age: Duration,
    /// What it is doing.
    pub phase: Phase,
    /// For how long it has been at that; in [`Phase::Writing`], since the client last took something.
    pub in_phase: Duration,
    /// Complete lines received.
    pub lines: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Bytes handed to the system.
    pub bytes_sent: u64,
    /// Memory that its lines and replies occupy, in bytes.
    pub bytes_held: usize,
}

impl<S: Send + 'static, K: Send + 'static> PushTarget for Vec<Mailbox<ThreadMessage<S, K>>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn push(&self, to: ClientId, news: PushedMessage) {
        if let Some(mailbox) = self.get(thread_of(to)) {
            mailbox.send(ThreadMessage::Push { to, news });
        }
    }

    fn broadcast(&self, news: &Arc<PushedMessage>) {
        self.iter().for_each(|mailbox| mailbox.send(ThreadMessage::Broadcast { news: Arc::clone(news) }));
    }
}

impl<S: Send + 'static, K: Send + 'static> ThreadMailboxes for Vec<Mailbox<ThreadMessage<S, K>>> {
    fn are_asleep(&self) -> bool {
        self.iter().all(Mailbox::is_asleep)
    }

    fn stop(&self, deadline: Instant) {
        self.iter().for_each(|mailbox| mailbox.send(ThreadMessage::Stop { deadline }));
    }

    fn kill(&self, client: ClientId) {
        if let Some(mailbox) = self.get(thread_of(client)) {
            mailbox.send(ThreadMessage::Kill(client));
        }
    }

    fn list(&self, answer: &Sender<Vec<ConnectionInfo>>) {
        self.iter().for_each(|mailbox| mailbox.send(ThreadMessage::List { answer: answer.clone() }));
    }
}
