//! What a connection thread is told by other threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crossbeam_channel::Sender;
use greeter_core::{Address, AnsweredJob, ClientId, PushMessage};
use mio::net::TcpStream;

use crate::admission::Permit;
use crate::info::ConnectionInfo;
use crate::limits::MAX_PUSH_BYTES_IN_FLIGHT;

/// What something costs that is under way to one thread, beside its text.
const MESSAGE_BYTES: usize = 64;

/// What other threads tell a connection thread.
#[derive(Debug)]
pub(crate) enum ThreadMessage<S, K = TcpStream> {
    /// The acceptor has a new client, and this is its place.
    Accepted { socket: K, address: Address, permit: Permit },
    /// A worker sends a job home, and so many charged of the server's room are counted for what it has grown by.
    Answered { job: AnsweredJob<S>, charged: u32 },
    /// The same, of a job that nobody was free to answer in time.
    Rejected { job: AnsweredJob<S>, charged: u32 },
    /// This client's job is not waited for any more.
    ReplyTimedOut(ClientId),
    /// Say this to this client, if it is still here.
    Push { to: ClientId, news: PushedMessage },
    /// Say this to every client.
    Broadcast { news: Arc<PushedMessage> },
    /// Cut this client off, if it is still here.
    Kill(ClientId),
    /// Send a list of the connections there.
    List { answer: Sender<Vec<ConnectionInfo>> },
    /// Serve to the end what has arrived, but no longer than this or what was said before, and then end.
    Stop { deadline: Instant },
}

/// Something on its way to one connection thread or to all, and the room that it takes until it has got there, or nowhere.
#[derive(Debug)]
pub(crate) struct PushedMessage {
    message: PushMessage,
    bytes: usize,
    bytes_in_flight: Arc<AtomicUsize>,
}

impl PushedMessage {
    /// Reserves room for a message to so many threads, out of what may be in flight; none if there
    /// is too little.
    pub(crate) fn reserve(message: PushMessage, threads: usize, bytes_in_flight: &Arc<AtomicUsize>) -> Option<Self> {
        let bytes = message.len() + MESSAGE_BYTES * threads;
        let bytes_in_flight = Arc::clone(bytes_in_flight);
        let before = bytes_in_flight.fetch_add(bytes, Ordering::Relaxed);
        let reserved = Self { message, bytes, bytes_in_flight };
        (before + bytes <= MAX_PUSH_BYTES_IN_FLIGHT).then_some(reserved)
    }

    pub(crate) const fn message(&self) -> &PushMessage {
        &self.message
    }
}

impl Drop for PushedMessage {
    fn drop(&mut self) {
        self.bytes_in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
