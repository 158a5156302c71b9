//! What can be said to the connection threads by those who do not know the type of the sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use greeter_core::{ClientId, Phase};

use crate::connection_thread::Mail;
use crate::mailbox::Mailbox;
use crate::push::{Hearers, UnderWay};
use crate::slots::thread_of;

/// The connection threads of one server.
pub(crate) trait Switchboard: Hearers {
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

impl<S: Send + 'static, K: Send + 'static> Hearers for Vec<Mailbox<Mail<S, K>>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn push(&self, to: ClientId, news: UnderWay) {
        if let Some(mailbox) = self.get(thread_of(to)) {
            mailbox.send(Mail::Push { to, news });
        }
    }

    fn broadcast(&self, news: &Arc<UnderWay>) {
        self.iter().for_each(|mailbox| mailbox.send(Mail::Broadcast { news: Arc::clone(news) }));
    }
}

impl<S: Send + 'static, K: Send + 'static> Switchboard for Vec<Mailbox<Mail<S, K>>> {
    fn are_asleep(&self) -> bool {
        self.iter().all(Mailbox::is_asleep)
    }

    fn stop(&self, deadline: Instant) {
        self.iter().for_each(|mailbox| mailbox.send(Mail::Stop { deadline }));
    }

    fn kill(&self, client: ClientId) {
        if let Some(mailbox) = self.get(thread_of(client)) {
            mailbox.send(Mail::Kill(client));
        }
    }

    fn list(&self, answer: &Sender<Vec<ConnectionInfo>>) {
        self.iter().for_each(|mailbox| mailbox.send(Mail::List { answer: answer.clone() }));
    }
}
