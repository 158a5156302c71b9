//! The lobby of a connection thread: newcomers, who still owe a PROXY header, until they are
//! clients. Must not know lines.
//!
//! A newcomer has one deadline from when it was accepted, and no state machine: of a proxy's
//! client, not even the address is known. What it sends is read no further than the header, so that
//! the client's socket begins with the client's own bytes.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::{Address, CloseReason, Origin, Proxied, ProxyHeader};

use crate::accept::rejected::RejectedSockets;
use crate::admission::{Decision, Permit};
use crate::config::Config;
use crate::messages::Newcomer;
use crate::slots::{Key, SLOT_BITS, Slots};
use crate::stats::Counters;
use crate::system::{Poller, Socket};

/// How long newcomers have their turns in each round of the thread, while clients wait for the
/// next: each waits so much longer, and no more, whatever the crowd that comes.
const ROUND: Duration = Duration::from_millis(1);

/// How many clients are kept that are told that their address has too many.
const MAX_REJECTED: usize = 16;

/// The longest header, and so what is looked at.
const HEADER_BYTES: usize = 4096;

/// The first number under which sockets in the lobby are registered: above those of clients, which
/// are the numbers of their slots, and those of listeners.
const FIRST_TOKEN: u32 = 2 << SLOT_BITS;

/// A newcomer, and what is known of it so far.
#[derive(Debug)]
struct Guest<K> {
    newcomer: Newcomer<K>,
    /// The beginning of its header.
    header: Vec<u8>,
    /// Since when it has kept us waiting, the time excepted in which it waits for us.
    waited_for_since: Option<Instant>,
    is_queued: bool,
    /// Its time is over, but for the bytes that had arrived by then.
    is_late: bool,
}

/// Somebody who owes nothing any more.
#[derive(Debug)]
pub(crate) struct Admitted<K> {
    pub(crate) socket: K,
    pub(crate) address: Address,
    pub(crate) origin: Option<Arc<Origin>>,
    pub(crate) permit: Permit,
}

/// What a turn of a newcomer came to.
#[derive(Debug)]
enum NewcomerStep {
    /// It keeps us waiting.
    Waits,
    /// It has sent its header.
    Header(ProxyHeader),
    /// It leaves, or has to.
    Leaves(CloseReason),
}

/// The newcomers of one connection thread.
#[derive(Debug)]
pub(crate) struct Lobby<K: Socket> {
    guests: Slots<Guest<K>>,
    /// Whose bytes wait for their turn, the oldest first.
    queue: VecDeque<Key>,
    /// When each has to be gone, in the order in which they came; some have gone before.
    deadlines: VecDeque<(Instant, Key)>,
    rejected: RejectedSockets<K>,
    config: Arc<Config>,
    counters: Arc<Counters>,
}

impl<K: Socket> Lobby<K> {
    pub(crate) fn new(config: Arc<Config>, counters: Arc<Counters>, now: Instant) -> Self {
        let rejected = RejectedSockets::new(MAX_REJECTED, config.timeouts.linger, now, Arc::clone(&counters));
        Self { guests: Slots::new(), queue: VecDeque::new(), deadlines: VecDeque::new(), rejected, config, counters }
    }

    /// Returns whether a socket that is registered under this number is in the lobby.
    pub(crate) const fn is_token(token: usize) -> bool {
        token >= FIRST_TOKEN as usize
    }

    /// Takes a newcomer.
    pub(crate) fn enter(&mut self, mut newcomer: Newcomer<K>, system: &impl Poller<Socket = K>) {
        let key = self.guests.next_key();
        if let Err(error) = system.register(&mut newcomer.socket, FIRST_TOKEN + key.slot) {
            tracing::error!(peer = %newcomer.address, %error, "Cannot watch a connection.");
            return self.counters.closed[CloseReason::Lost.index()].add(1);
        }
        self.deadlines.push_back((newcomer.accepted + self.config.timeouts.handshake, key));
        // Its first bytes are often there at once.
        self.guests.insert(Guest {
            newcomer,
            header: Vec::new(),
            waited_for_since: None,
            is_queued: true,
            is_late: false,
        });
        self.queue.push_back(key);
    }

    /// Notes that the socket with this number is ready.
    pub(crate) fn on_ready(&mut self, token: usize) {
        let key = self.guests.key_of(token - FIRST_TOKEN as usize);
        if let Some(key) = key
            && let Some(guest) = self.guests.get_mut(key)
            && !guest.is_queued
        {
            guest.is_queued = true;
            guest.newcomer.place.waits_since(None);
            self.queue.push_back(key);
        }
    }

    /// Gives those who wait for it a turn, until the time of a round is over. Returns who has
    /// become a client.
    pub(crate) fn drive(&mut self, system: &impl Poller<Socket = K>) -> Vec<Admitted<K>> {
        let mut admitted = Vec::new();
        if self.queue.is_empty() {
            return admitted;
        }
        let start = system.now();
        while let Some(key) = self.queue.pop_front() {
            let Some(guest) = self.guests.get_mut(key) else { continue };
            guest.is_queued = false;
            let now = system.now();
            match guest.take_step() {
                NewcomerStep::Waits if guest.is_late => self.leave(key, CloseReason::HandshakeTimeout, system),
                NewcomerStep::Waits => {
                    // A few bytes more are no step, and who sends them one by one gains no time.
                    let since = *guest.waited_for_since.get_or_insert(now);
                    guest.newcomer.place.waits_since(Some(since));
                }
                NewcomerStep::Header(header) => admitted.extend(self.admit(key, header, system, now)),
                NewcomerStep::Leaves(reason) => self.leave(key, reason, system),
            }
            if now.saturating_duration_since(start) >= ROUND {
                break;
            }
        }
        admitted
    }

    /// Lets a newcomer in, unless its address has too many clients.
    fn admit(
        &mut self,
        key: Key,
        header: ProxyHeader,
        system: &impl Poller<Socket = K>,
        now: Instant,
    ) -> Option<Admitted<K>> {
        let Newcomer { mut socket, address: via, place, .. } = self.guests.remove(key)?.newcomer;
        let address = header.addresses.client(via);
        let decision = place.become_client(address);
        match decision {
            Decision::Admit(permit) => {
                let origin = Origin::proxied(Proxied::new(via, header));
                Some(Admitted { socket, address, origin: Some(Arc::new(origin)), permit })
            }
            Decision::Reject(reason) => {
                tracing::warn!(peer = %address, %via, %reason, "Turned a client away.");
                self.counters.rejected.add(1);
                system.deregister(&mut socket);
                let text = self.config.connection.rejection_text(reason);
                self.rejected.reject(socket, address, reason, &text, now);
                None
            }
        }
    }

    /// A newcomer goes.
    fn leave(&mut self, key: Key, reason: CloseReason, system: &impl Poller<Socket = K>) {
        if let Some(Guest { mut newcomer, .. }) = self.guests.remove(key) {
            tracing::debug!(peer = %newcomer.address, %reason, "A newcomer has left.");
            system.deregister(&mut newcomer.socket);
            self.counters.closed[reason.index()].add(1);
        }
    }

    /// The newcomer that had this place has lost it to another.
    pub(crate) fn displace(&mut self, place: Key, system: &impl Poller<Socket = K>) {
        let has_place = |key: &Key| self.guests.get(*key).is_some_and(|guest| guest.newcomer.place.key() == place);
        if let Some(key) = self.guests.keys().into_iter().find(has_place) {
            self.leave(key, CloseReason::HandshakeLimit, system);
        }
    }

    /// Closes those whose time is over.
    pub(crate) fn expire(&mut self, system: &impl Poller<Socket = K>, now: Instant) {
        while let Some((deadline, key)) = self.deadlines.front().copied()
            && deadline <= now
        {
            self.deadlines.pop_front();
            match self.guests.get_mut(key) {
                Some(guest) if guest.is_queued => guest.is_late = true,
                Some(_) => self.leave(key, CloseReason::HandshakeTimeout, system),
                None => {}
            }
        }
        self.rejected.sweep(|| now);
    }

    /// Returns when somebody's time is over, if there is anybody.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        while let Some((_, key)) = self.deadlines.front()
            && self.guests.get(*key).is_none()
        {
            self.deadlines.pop_front();
        }
        let deadline = self.deadlines.front().map(|(deadline, _)| *deadline);
        deadline.into_iter().chain(self.rejected.next_sweep()).min()
    }

    /// Closes all of them: nothing is owed to them.
    pub(crate) fn close(&mut self, system: &impl Poller<Socket = K>) {
        for key in self.guests.keys() {
            self.leave(key, CloseReason::Shutdown, system);
        }
    }

    /// Returns whether somebody waits for a turn.
    pub(crate) fn can_continue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Returns whether nobody is left, not even one that was rejected.
    pub(crate) fn is_empty(&self) -> bool {
        self.guests.is_empty() && self.rejected.next_sweep().is_none()
    }
}

impl<K: Socket> Guest<K> {
    /// Reads what there is of the header, and nothing behind it.
    fn take_step(&mut self) -> NewcomerStep {
        let mut buffer = [0; HEADER_BYTES];
        loop {
            let begun = self.header.len();
            buffer[..begun].copy_from_slice(&self.header);
            let socket = &mut self.newcomer.socket;
            let arrived = match socket.peek(&mut buffer[begun..]) {
                Ok(0) => return NewcomerStep::Leaves(CloseReason::ClientClosed),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return NewcomerStep::Waits,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return NewcomerStep::Leaves(CloseReason::Lost),
            };
            let end = begun + arrived;
            let parsed = ProxyHeader::parse(&buffer[..end]);
            let of_header = match &parsed {
                Ok(Some((_, length))) => *length,
                Ok(None) => end,
                Err(error) => {
                    tracing::debug!(peer = %self.newcomer.address, %error, "A proxy sent no valid header.");
                    return NewcomerStep::Leaves(CloseReason::ProxyHeader);
                }
            };
            if read_exactly(socket, &mut buffer[begun..of_header]).is_err() {
                return NewcomerStep::Leaves(CloseReason::Lost);
            }
            match parsed {
                Ok(Some((header, _))) => return NewcomerStep::Header(header),
                // Another look, since the end of the stream is no byte.
                _ => self.header.extend_from_slice(&buffer[begun..end]),
            }
        }
    }
}

/// Reads bytes that have arrived.
fn read_exactly(socket: &mut impl Socket, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match socket.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => buffer = &mut buffer[bytes..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
