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
use crate::admission::{Decision, LobbyPlace, Permit};
use crate::config::Config;
use crate::entry_rules::{EntryRules, TlsRule};
use crate::messages::Newcomer;
use crate::slots::{Key, SLOT_BITS, Slots};
use crate::stats::Counters;
use crate::system::{Poller, Socket};
use crate::tls::stream::{HandshakeStep, TlsStream};
use crate::transport::{ReadBuffers, Transport};

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
    /// Where it connects from.
    address: Address,
    place: LobbyPlace,
    rules: Arc<EntryRules>,
    /// `None` only while it takes a step.
    stage: Option<Stage<K>>,
    /// What its proxy has said.
    proxy: Option<Proxied>,
    /// Since when it has kept us waiting, the time excepted in which it waits for us.
    waited_for_since: Option<Instant>,
    is_queued: bool,
    /// Its time is over, but for the bytes that had arrived by then.
    is_late: bool,
}

/// What a newcomer is at.
#[derive(Debug)]
enum Stage<K> {
    /// It sends its header, of which this has come.
    Header { socket: K, begun: Vec<u8> },
    /// It may send so many bytes until its handshake is over.
    Handshake { stream: Box<TlsStream<K>>, bytes_left: usize },
    /// It owes nothing any more.
    Ready(Transport<K>),
    /// It has failed, and reads this before it is closed.
    Failed { socket: K, last_words: Vec<u8> },
}

/// Somebody who owes nothing any more.
#[derive(Debug)]
pub(crate) struct Admitted<K> {
    pub(crate) transport: Transport<K>,
    pub(crate) address: Address,
    pub(crate) origin: Option<Arc<Origin>>,
    pub(crate) permit: Permit,
}

/// What a turn of a newcomer came to.
#[derive(Debug)]
enum NewcomerStep {
    /// It keeps us waiting for its next step, and has taken one or not.
    Waits { has_progressed: bool },
    /// It owes nothing any more.
    Ready,
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
    pub(crate) fn enter(&mut self, newcomer: Newcomer<K>, system: &impl Poller<Socket = K>) {
        let Newcomer { mut socket, address, place, rules, accepted } = newcomer;
        let key = self.guests.next_key();
        if let Err(error) = system.register(&mut socket, FIRST_TOKEN + key.slot) {
            tracing::error!(peer = %address, %error, "Cannot watch a connection.");
            return self.counters.closed[CloseReason::Lost.index()].add(1);
        }
        self.deadlines.push_back((accepted + self.config.timeouts.handshake, key));
        let is_proxy = rules.is_proxy(address);
        let stage =
            if is_proxy { Stage::Header { socket, begun: Vec::new() } } else { begin_handshake(socket, &rules) };
        // Its first bytes are often there at once.
        let (is_queued, is_late) = (true, false);
        self.guests.insert(Guest {
            address,
            place,
            rules,
            stage: Some(stage),
            proxy: None,
            waited_for_since: None,
            is_queued,
            is_late,
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
            guest.place.waits_since(None);
            self.queue.push_back(key);
        }
    }

    /// Gives those who wait for it a turn, until the time of a round is over. Returns who has
    /// become a client.
    pub(crate) fn drive(&mut self, system: &impl Poller<Socket = K>, buffers: &mut ReadBuffers) -> Vec<Admitted<K>> {
        let mut admitted = Vec::new();
        if self.queue.is_empty() {
            return admitted;
        }
        let start = system.now();
        while let Some(key) = self.queue.pop_front() {
            let Some(guest) = self.guests.get_mut(key) else { continue };
            guest.is_queued = false;
            let step = guest.take_step(buffers);
            let now = system.now();
            match step {
                NewcomerStep::Waits { .. } if guest.is_late => self.leave(key, CloseReason::HandshakeTimeout, system),
                NewcomerStep::Waits { has_progressed } => {
                    // A few bytes more are no step, and who sends them one by one gains no time.
                    let since = guest.waited_for_since.filter(|_| !has_progressed).unwrap_or(now);
                    guest.waited_for_since = Some(since);
                    guest.place.waits_since(Some(since));
                }
                NewcomerStep::Ready => admitted.extend(self.admit(key, system, now)),
                NewcomerStep::Leaves(reason) => self.leave(key, reason, system),
            }
            if now.saturating_duration_since(start) >= ROUND {
                break;
            }
        }
        admitted
    }

    /// Lets a newcomer in, unless its address has too many clients.
    fn admit(&mut self, key: Key, system: &impl Poller<Socket = K>, now: Instant) -> Option<Admitted<K>> {
        let Guest { address: via, place, rules, proxy, stage, .. } = self.guests.remove(key)?;
        let Some(Stage::Ready(transport)) = stage else { return None };
        let address = proxy.as_ref().map_or(via, |proxy| proxy.addresses.client(via));
        match place.become_client(address) {
            Decision::Admit(permit) => {
                let tls = match &transport {
                    Transport::Plain(_) | Transport::Upgradable(_) => None,
                    Transport::Tls(stream) => Some(stream.info()),
                };
                let mut origin = Origin::new(proxy, tls);
                origin.can_start_tls = rules.tls_on_request().is_some();
                Some(Admitted { transport, address, origin: Some(Arc::new(origin)), permit })
            }
            Decision::Reject(reason) => {
                tracing::warn!(peer = %address, %via, %reason, "Turned a client away.");
                self.counters.rejected.add(1);
                let text = self.config.connection.rejection_text(reason);
                let (mut socket, last_words) = match transport {
                    Transport::Tls(stream) => stream.into_farewell(&text),
                    transport => (transport.into_socket(), text.into_owned()),
                };
                system.deregister(&mut socket);
                self.rejected.reject(socket, address, reason, &last_words, now);
                None
            }
        }
    }

    /// A newcomer goes.
    fn leave(&mut self, key: Key, reason: CloseReason, system: &impl Poller<Socket = K>) {
        let Some(Guest { stage: Some(stage), address, .. }) = self.guests.remove(key) else { return };
        tracing::debug!(peer = %address, %reason, "A newcomer has left.");
        let (mut socket, last_words) = match stage {
            Stage::Header { socket, .. } => (socket, None),
            Stage::Handshake { stream, .. } => (stream.into_failed().0, None),
            Stage::Ready(transport) => (transport.into_socket(), None),
            Stage::Failed { socket, last_words } => (socket, Some(last_words)),
        };
        system.deregister(&mut socket);
        match last_words {
            // Who is closed with bytes unread is reset, and does not learn why.
            Some(last_words) => self.rejected.reject(socket, address, reason, &last_words, system.now()),
            None => self.counters.closed[reason.index()].add(1),
        }
    }

    /// The newcomer that had this place has lost it to another.
    pub(crate) fn displace(&mut self, place: Key, system: &impl Poller<Socket = K>) {
        let has_place = |key: &Key| self.guests.get(*key).is_some_and(|guest| guest.place.key() == place);
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

/// Begins the handshake of whoever owes one.
fn begin_handshake<K: Socket>(socket: K, rules: &EntryRules) -> Stage<K> {
    let Some(TlsRule::AtOnce(tls)) = &rules.tls else {
        return Stage::Ready(Transport::in_plain(socket, rules.tls_on_request().cloned()));
    };
    match TlsStream::new(socket, &**tls) {
        Ok(stream) => Stage::Handshake { stream: Box::new(stream), bytes_left: tls.max_handshake_bytes() },
        Err((socket, failure)) => {
            tracing::warn!(%failure, "Cannot begin a TLS handshake.");
            Stage::Failed { socket, last_words: Vec::new() }
        }
    }
}

impl<K: Socket> Guest<K> {
    /// Gets on as far as that goes without waiting.
    fn take_step(&mut self, buffers: &mut ReadBuffers) -> NewcomerStep {
        let mut stage = self.stage.take().expect("a newcomer is at something");
        loop {
            let (next, step) = match stage {
                Stage::Header { mut socket, mut begun } => match read_header(&mut socket, &mut begun) {
                    Ok(Some(header)) => {
                        self.proxy = Some(Proxied::new(self.address, header));
                        (begin_handshake(socket, &self.rules), None)
                    }
                    Ok(None) => (Stage::Header { socket, begun }, Some(NewcomerStep::Waits { has_progressed: false })),
                    Err(reason) => (Stage::Header { socket, begun }, Some(NewcomerStep::Leaves(reason))),
                },
                Stage::Handshake { mut stream, mut bytes_left } => {
                    let step = match stream.handshake(&mut buffers.tls, &mut bytes_left) {
                        Ok(HandshakeStep::Waits { has_progressed }) => Some(NewcomerStep::Waits { has_progressed }),
                        Ok(HandshakeStep::Gone) => Some(NewcomerStep::Leaves(CloseReason::ClientClosed)),
                        Err(_) => Some(NewcomerStep::Leaves(CloseReason::Lost)),
                        Ok(HandshakeStep::Done) => {
                            stage = Stage::Ready(Transport::Tls(stream));
                            continue;
                        }
                        Ok(HandshakeStep::Failed(failure)) => {
                            tracing::debug!(peer = %self.address, %failure, "A TLS handshake failed.");
                            let (socket, last_words) = stream.into_failed();
                            stage = Stage::Failed { socket, last_words };
                            continue;
                        }
                    };
                    (Stage::Handshake { stream, bytes_left }, step)
                }
                Stage::Ready(transport) => (Stage::Ready(transport), Some(NewcomerStep::Ready)),
                failed @ Stage::Failed { .. } => (failed, Some(NewcomerStep::Leaves(CloseReason::HandshakeFailed))),
            };
            match step {
                Some(step) => {
                    self.stage = Some(next);
                    return step;
                }
                None => stage = next,
            }
        }
    }
}

/// Reads what there is of a proxy's header, and nothing behind it. Returns it once it is whole, or
/// why it will not come.
fn read_header<K: Socket>(socket: &mut K, begun: &mut Vec<u8>) -> Result<Option<ProxyHeader>, CloseReason> {
    let mut buffer = [0; HEADER_BYTES];
    loop {
        let start = begun.len();
        buffer[..start].copy_from_slice(begun);
        let arrived = match socket.peek(&mut buffer[start..]) {
            Ok(0) => return Err(CloseReason::ClientClosed),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return Err(CloseReason::Lost),
        };
        let end = start + arrived;
        let parsed = ProxyHeader::parse(&buffer[..end]).map_err(|error| {
            tracing::debug!(%error, "A proxy sent no valid header.");
            CloseReason::ProxyHeader
        })?;
        let of_header = parsed.as_ref().map_or(end, |(_, length)| *length);
        read_exactly(socket, &mut buffer[start..of_header]).map_err(|_| CloseReason::Lost)?;
        match parsed {
            Some((header, _)) => return Ok(Some(header)),
            // Another look, since the end of the stream is no byte.
            None => begun.extend_from_slice(&buffer[start..end]),
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
