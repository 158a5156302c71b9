//! Sends messages to the connection threads from code that does not know the type of the sessions.
//! Must not wait for an answer.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crossbeam_channel::Sender;
use greeter_core::{ClientId, PushReceipt};

use crate::config::Config;
use crate::info::ConnectionInfo;
use crate::mailbox::Mailbox;
use crate::messages::{InFlightPush, ThreadMessage};
use crate::slots::thread_of;

/// What takes pushed messages and passes them to its clients.
pub(crate) trait PushTarget: Send + Sync {
    /// Returns how many threads receive a broadcast.
    fn count(&self) -> usize;
    fn push(&self, to: ClientId, message: InFlightPush, receipt: Option<PushReceipt>);
    fn broadcast(&self, message: &Arc<InFlightPush>);
    fn close_client(&self, client: ClientId);
}

/// The mailboxes of a server's connection threads.
pub(crate) trait ThreadMailboxes: PushTarget {
    /// Returns whether none of the threads has anything to do.
    fn are_asleep(&self) -> bool;
    fn stop(&self, deadline: Instant);
    fn kill(&self, client: ClientId);
    fn reconfigure(&self, config: &Arc<Config>);
    /// Asks a thread for a sign of life, and returns whether it has not ended.
    fn ask(&self, thread: usize, is_answered: Arc<AtomicBool>) -> bool;
    /// Asks each thread for its list, and returns how many have not ended. A thread that does not
    /// return from the responder sends none.
    fn list(&self, answer: &Sender<Vec<ConnectionInfo>>) -> usize;
}

impl<S: Send + 'static, K: Send + 'static> PushTarget for Vec<Mailbox<ThreadMessage<S, K>>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn push(&self, to: ClientId, message: InFlightPush, receipt: Option<PushReceipt>) {
        if let Some(mailbox) = self.get(thread_of(to)) {
            mailbox.send(ThreadMessage::Push { to, message, receipt });
        }
    }

    fn broadcast(&self, message: &Arc<InFlightPush>) {
        self.iter().for_each(|mailbox| mailbox.send(ThreadMessage::Broadcast { message: Arc::clone(message) }));
    }

    fn close_client(&self, client: ClientId) {
        if let Some(mailbox) = self.get(thread_of(client)) {
            mailbox.send(ThreadMessage::Close(client));
        }
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

    fn reconfigure(&self, config: &Arc<Config>) {
        self.iter().for_each(|mailbox| mailbox.send(ThreadMessage::Reconfigured(Arc::clone(config))));
    }

    fn ask(&self, thread: usize, is_answered: Arc<AtomicBool>) -> bool {
        let mailbox = self.get(thread).filter(|mailbox| mailbox.has_receiver());
        mailbox.map(|mailbox| mailbox.send(ThreadMessage::GiveSignOfLife(is_answered))).is_some()
    }

    fn list(&self, answer: &Sender<Vec<ConnectionInfo>>) -> usize {
        let running = self.iter().filter(|mailbox| mailbox.has_receiver());
        running.map(|mailbox| mailbox.send(ThreadMessage::List { answer: answer.clone() })).count()
    }
}
