//! The messages to a connection thread. Must not know what sends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use crossbeam_channel::Sender;
use greeter_core::{Address, AnsweredJob, ClientId, PartNumber, PushMessage, PushReceipt};

use crate::admission::{LobbyPlace, Permit};
use crate::config::Config;
use crate::entry_rules::EntryRules;
use crate::info::ConnectionInfo;
use crate::job_times::Timing;
use crate::limits::MAX_PUSH_BYTES_IN_FLIGHT;
use crate::slots::Key;
use crate::sockets::ClientSocket;

/// The cost of a pushed message to one thread in bytes, beside its text.
const MESSAGE_BYTES: usize = 64;

/// A message to a connection thread.
#[derive(Debug)]
pub(crate) enum ThreadMessage<S, K = ClientSocket> {
    /// The acceptor has a new client, with its permit. It owes nothing of what the rules ask.
    Accepted { socket: K, address: Address, permit: Permit, rules: Arc<EntryRules> },
    /// The acceptor has a newcomer, who still owes something.
    Newcomer(Newcomer<K>),
    /// The newcomer in the lobby that had this place has lost it.
    Displaced(Key),
    /// A worker or the watchdog returns an answered job. For its replies, this many units were
    /// charged against the memory budget.
    Answered { job: AnsweredJob<S>, charged: u32, timing: Timing },
    /// The reply timeout of this client's job has passed, or of a part of it.
    ReplyTimedOut { client: ClientId, part: Option<PartNumber> },
    /// Push this to the client, if it is still connected. The receipt tells what becomes of it.
    Push { to: ClientId, message: InFlightPush, receipt: Option<PushReceipt> },
    /// Push this to every client.
    Broadcast { message: Arc<InFlightPush> },
    /// End this client's connection behind what it is owed.
    Close(ClientId),
    /// Disconnect this client, if it is still connected.
    Kill(ClientId),
    /// This holds from now on.
    Reconfigured(Arc<Config>),
    /// Say that this thread is alive.
    GiveSignOfLife(Arc<AtomicBool>),
    /// Send a list of the thread's connections.
    List { answer: Sender<Vec<ConnectionInfo>> },
    /// Answer what has arrived, until this deadline or an earlier one, and then end.
    Stop { deadline: Instant },
}

/// A socket that was accepted, before it is known whose it is.
#[derive(Debug)]
pub(crate) struct Newcomer<K> {
    pub(crate) socket: K,
    /// The address that it connects from.
    pub(crate) address: Address,
    pub(crate) place: LobbyPlace,
    pub(crate) rules: Arc<EntryRules>,
    pub(crate) accepted: Instant,
}

/// A message on its way to one connection thread or to all, and the bytes in flight that it has
/// reserved until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlightPush {
    message: PushMessage,
    bytes: usize,
    bytes_in_flight: Arc<AtomicUsize>,
}

impl InFlightPush {
    /// Reserves bytes in flight for a message to this many threads; returns none if too many are in
    /// flight already.
    pub(crate) fn reserve(message: PushMessage, threads: usize, bytes_in_flight: &Arc<AtomicUsize>) -> Option<Self> {
        let bytes = message.len() + MESSAGE_BYTES * threads;
        let bytes_in_flight = Arc::clone(bytes_in_flight);
        let before = bytes_in_flight.fetch_add(bytes, Ordering::Relaxed);
        let reserved = Self { message, bytes, bytes_in_flight };
        (before + bytes <= MAX_PUSH_BYTES_IN_FLIGHT).then_some(reserved)
    }

    pub(crate) const fn content(&self) -> &PushMessage {
        &self.message
    }
}

impl Drop for InFlightPush {
    fn drop(&mut self) {
        self.bytes_in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
