//! The lobby of a connection thread: newcomers, who still owe a PROXY header or a TLS handshake,
//! until they are clients. Must not know lines.
//!
//! A newcomer has one deadline from when it was accepted, and no state machine: of a proxy's
//! client, not even the address is known. What it sends is read no further than the header, so that
//! the client's socket begins with the client's own bytes.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::{Address, CloseReason, Origin, Proxied, ProxyHeader};

use crate::accept::rejected::{MAX_REJECTED_BY_LOBBY, RejectedSockets};
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
pub(crate) const ROUND: Duration = Duration::from_millis(1);

/// How many deadlines of those who have left may be kept beside those of the others.
const MAX_OLD_DEADLINES: usize = if cfg!(test) { 1 } else { 1024 };

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
    /// It has to leave for this reason, unless what it owes had arrived by then: that may wait for
    /// its turn, or the system may not have reported it yet.
    leaves_with: Option<CloseReason>,
}

/// What a newcomer is at.
#[derive(Debug)]
enum Stage<K> {
    /// It sends its header, of which this has come.
    Header {
        socket: K,
        begun: Vec<u8>,
    },
    Handshake(Box<TlsStream<K>>),
    /// It owes nothing any more.
    Ready(Transport<K>),
    /// It has failed, and reads this before it is closed.
    Failed {
        socket: K,
        last_words: Vec<u8>,
    },
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
    /// When each was accepted, from when its time counts, the oldest first; some have gone before.
    accepted: VecDeque<(Instant, Key)>,
    rejected: RejectedSockets<K>,
    /// Why whoever comes now is to leave, unless what it owes is here already.
    comers_leave_with: Option<CloseReason>,
    config: Arc<Config>,
    counters: Arc<Counters>,
}

impl<K: Socket> Lobby<K> {
    pub(crate) fn new(config: Arc<Config>, counters: Arc<Counters>, now: Instant) -> Self {
        let rejected = RejectedSockets::new(MAX_REJECTED_BY_LOBBY, config.timeouts.linger, now, Arc::clone(&counters));
        Self {
            guests: Slots::new(),
            queue: VecDeque::new(),
            accepted: VecDeque::new(),
            rejected,
            comers_leave_with: None,
            config,
            counters,
        }
    }

    /// Returns whether a socket that is registered under this number is in the lobby.
    pub(crate) const fn is_token(token: usize) -> bool {
        token >= FIRST_TOKEN as usize
    }

    /// Takes a newcomer.
    pub(crate) fn enter(&mut self, newcomer: Newcomer<K>, system: &impl Poller<Socket = K>) {
        let Newcomer { mut socket, address, place, rules, accepted } = newcomer;
        let free = self.guests.next_key();
        let key = match free.and_then(|key| system.register(&mut socket, FIRST_TOKEN + key.slot).map(|()| key)) {
            Ok(key) => key,
            Err(error) => {
                tracing::error!(peer = %address, %error, "Cannot watch a connection.");
                return self.counters.closed[CloseReason::Lost.index()].add(1);
            }
        };
        if self.accepted.len() > self.guests.len() + MAX_OLD_DEADLINES {
            self.accepted.retain(|(_, key)| self.guests.get(*key).is_some());
        }
        self.accepted.push_back((accepted, key));
        let is_proxy = rules.is_proxy(address);
        let stage =
            if is_proxy { Stage::Header { socket, begun: Vec::new() } } else { begin_handshake(socket, &rules) };
        // Its first bytes are often there at once.
        self.guests.insert(Guest {
            address,
            place,
            rules,
            stage: Some(stage),
            proxy: None,
            waited_for_since: None,
            is_queued: true,
            leaves_with: self.comers_leave_with,
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
                NewcomerStep::Waits { has_progressed } => match guest.leaves_with {
                    Some(reason) => self.leave(key, reason, system),
                    None => {
                        // A few bytes more are no step, and who sends them one by one gains no
                        // time.
                        let since = guest.waited_for_since.filter(|_| !has_progressed).unwrap_or(now);
                        guest.waited_for_since = Some(since);
                        guest.place.waits_since(Some(since));
                    }
                },
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
                Some(Admitted { transport, address, origin: Some(rules.origin_of(proxy, tls)), permit })
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
            Stage::Handshake(stream) => (stream.into_failed().0, None),
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
    pub(crate) fn displace(&mut self, place: Key) {
        let has_place = |key: &Key| self.guests.get(*key).is_some_and(|guest| guest.place.key() == place);
        if let Some(key) = self.guests.keys().into_iter().find(has_place) {
            self.give_last_turn(key, CloseReason::HandshakeLimit);
        }
    }

    /// A newcomer has one more turn, and leaves for this reason if that brings nothing.
    fn give_last_turn(&mut self, key: Key, reason: CloseReason) {
        let Some(guest) = self.guests.get_mut(key) else { return };
        guest.leaves_with.get_or_insert(reason);
        if !guest.is_queued {
            guest.is_queued = true;
            self.queue.push_back(key);
        }
    }

    /// Gives a last turn to those whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((accepted, key)) = self.accepted.front().copied()
            && accepted + self.config.timeouts.handshake <= now
        {
            self.accepted.pop_front();
            self.give_last_turn(key, CloseReason::HandshakeTimeout);
        }
        self.rejected.sweep(|| now);
    }

    /// Returns when somebody's time is over, if there is anybody.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        while let Some((_, key)) = self.accepted.front()
            && self.guests.get(*key).is_none()
        {
            self.accepted.pop_front();
        }
        let deadline = self.accepted.front().map(|(accepted, _)| *accepted + self.config.timeouts.handshake);
        deadline.into_iter().chain(self.rejected.next_sweep()).min()
    }

    /// Has this hold from now on, also for those who are here.
    pub(crate) fn reconfigure(&mut self, config: &Arc<Config>) {
        self.rejected.set_linger(config.timeouts.linger);
        self.config = Arc::clone(config);
    }

    /// The server stops. Whoever has sent all that it owes becomes a client, and what it has said
    /// is answered; the others leave.
    pub(crate) fn stop(&mut self) {
        self.comers_leave_with = Some(CloseReason::Shutdown);
        for key in self.guests.keys() {
            self.give_last_turn(key, CloseReason::Shutdown);
        }
    }

    /// Closes all of them, since the time for a stop is over.
    pub(crate) fn close(&mut self, system: &impl Poller<Socket = K>) {
        for key in self.guests.keys() {
            self.leave(key, CloseReason::ShutdownDeadline, system);
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
        Ok(stream) => Stage::Handshake(Box::new(stream)),
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
            let (next, step) = self.advance(stage, buffers);
            stage = next;
            if let Some(step) = step {
                self.stage = Some(stage);
                return step;
            }
        }
    }

    /// Goes to the next stage, or says what keeps it from that.
    fn advance(&mut self, stage: Stage<K>, buffers: &mut ReadBuffers) -> (Stage<K>, Option<NewcomerStep>) {
        match stage {
            Stage::Header { mut socket, mut begun } => match read_header(&mut socket, &mut begun, self.address) {
                Ok(Some(header)) => {
                    self.proxy = Some(Proxied::new(self.address, header));
                    (begin_handshake(socket, &self.rules), None)
                }
                Ok(None) => (Stage::Header { socket, begun }, Some(NewcomerStep::Waits { has_progressed: false })),
                Err(reason) => (Stage::Header { socket, begun }, Some(NewcomerStep::Leaves(reason))),
            },
            Stage::Handshake(mut stream) => {
                let step = match stream.handshake(&mut buffers.tls) {
                    Ok(HandshakeStep::Done) => return (Stage::Ready(Transport::Tls(stream)), None),
                    Ok(HandshakeStep::Failed(failure)) => {
                        tracing::debug!(peer = %self.address, %failure, "A TLS handshake failed.");
                        let (socket, last_words) = stream.into_failed();
                        return (Stage::Failed { socket, last_words }, None);
                    }
                    Ok(HandshakeStep::Waits { has_progressed }) => NewcomerStep::Waits { has_progressed },
                    Ok(HandshakeStep::Gone) => NewcomerStep::Leaves(CloseReason::ClientClosed),
                    Err(_) => NewcomerStep::Leaves(CloseReason::Lost),
                };
                (Stage::Handshake(stream), Some(step))
            }
            ready @ Stage::Ready(_) => (ready, Some(NewcomerStep::Ready)),
            failed @ Stage::Failed { .. } => (failed, Some(NewcomerStep::Leaves(CloseReason::HandshakeFailed))),
        }
    }
}

/// Reads what there is of a proxy's header, and nothing behind it. Returns it once it is whole, or
/// why it will not come.
fn read_header<K: Socket>(
    socket: &mut K,
    begun: &mut Vec<u8>,
    proxy: Address,
) -> Result<Option<ProxyHeader>, CloseReason> {
    let mut buffer = [0; ProxyHeader::MAX_BYTES];
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
            tracing::debug!(peer = %proxy, %error, "A proxy sent no valid header.");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Admission, LobbyDecision, MAX_WAIT_FOR_NEWCOMER};
    use crate::entry_rules::ProxyNetworks;
    use crate::mailbox::mailbox;
    use crate::stats::total;
    use greeter_core::Greeter;
    use std::cell::{Cell, RefCell};
    use std::io::{Read, Write};
    use std::rc::Rc;

    const HEADER: &[u8] = b"PROXY TCP4 203.0.113.9 198.51.100.7 50412 80\r\n";

    /// What has arrived, and is not read yet; and whether the end of the stream is behind it.
    type Arrived = Rc<RefCell<(Vec<u8>, bool)>>;

    #[derive(Debug)]
    struct ProxySocket(Arrived);

    impl Read for ProxySocket {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let bytes = self.peek(buffer)?;
            self.0.borrow_mut().0.drain(..bytes);
            Ok(bytes)
        }
    }

    impl Write for ProxySocket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Socket for ProxySocket {
        fn shutdown_write(&self) -> io::Result<()> {
            Ok(())
        }

        fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
            match &*self.0.borrow() {
                (arrived, false) if arrived.is_empty() => Err(ErrorKind::WouldBlock.into()),
                (arrived, _) => {
                    let bytes = buffer.len().min(arrived.len());
                    buffer[..bytes].copy_from_slice(&arrived[..bytes]);
                    Ok(bytes)
                }
            }
        }

        fn bytes_arrived(&self) -> io::Result<usize> {
            Ok(self.0.borrow().0.len())
        }
    }

    /// Time passes each time it is asked for.
    struct PassingTime {
        now: Cell<Instant>,
        step: Duration,
    }

    impl Poller for PassingTime {
        type Socket = ProxySocket;

        fn now(&self) -> Instant {
            self.now.set(self.now.get() + self.step);
            self.now.get()
        }

        fn register(&self, _: &mut ProxySocket, _: u32) -> io::Result<()> {
            Ok(())
        }

        fn reregister(&self, _: &mut ProxySocket, _: u32) -> io::Result<()> {
            Ok(())
        }

        fn deregister(&self, _: &mut ProxySocket) {}
    }

    /// A lobby, and what is around it.
    struct LobbyBench {
        lobby: Lobby<ProxySocket>,
        system: PassingTime,
        admission: Arc<Admission>,
        counters: Arc<Counters>,
        start: Instant,
    }

    impl LobbyBench {
        fn new(max_handshakes: usize) -> Self {
            let mut config = Config::without_timeouts(&Greeter);
            config.limits.max_handshakes = max_handshakes;
            config.limits.max_connections_per_address = Some(1);
            config.timeouts.handshake = Duration::from_secs(10);
            config.timeouts.linger = Duration::from_secs(2);
            let config = Arc::new(config);
            let (acceptor, _, _) = mailbox().unwrap();
            let admission = Arc::new(Admission::new(config.limits, acceptor));
            let (counters, start) = (Arc::<Counters>::default(), Instant::now());
            let system = PassingTime { now: Cell::new(start), step: Duration::ZERO };
            Self { lobby: Lobby::new(config, Arc::clone(&counters), start), system, admission, counters, start }
        }

        /// Somebody comes, from whom this has arrived; another may lose its place.
        fn comes(&mut self, arrived: &[u8]) -> (Arrived, Option<Key>) {
            let address = ([192, 0, 2, 1], 1).into();
            let accepted = self.system.now();
            let proxies = ProxyNetworks::parse(["192.0.2.1"]).expect("it is an address");
            let rules = Arc::new(EntryRules { proxies: Some(proxies), ..EntryRules::default() });
            let decision = self.admission.admit_newcomer(address, 0, accepted);
            let LobbyDecision::Enter { place, displaced } = decision else { panic!("there is room") };
            let arrived = Arrived::new((arrived.to_vec(), false).into());
            let socket = ProxySocket(Rc::clone(&arrived));
            // The thread may be late.
            self.passes(Duration::from_millis(1));
            self.lobby.enter(Newcomer { socket, address, place, rules, accepted }, &self.system);
            (arrived, displaced.map(|displaced| displaced.place))
        }

        fn passes(&self, time: Duration) -> Instant {
            self.system.now.set(self.system.now.get() + time);
            self.system.now.get()
        }

        fn drive(&mut self) -> Vec<Admitted<ProxySocket>> {
            self.lobby.drive(&self.system, &mut ReadBuffers::new(0))
        }

        /// How many were closed for this reason.
        fn closed(&self, reason: CloseReason) -> u64 {
            total(&[Arc::clone(&self.counters)]).closed_by[reason]
        }
    }

    #[test]
    fn a_crowd_has_its_turns_in_several_rounds() {
        let mut bench = LobbyBench::new(1000);
        for host in 0..100 {
            bench.comes(format!("PROXY TCP4 203.0.113.{host} 198.51.100.7 50412 80\r\n").as_bytes());
        }
        bench.system.step = ROUND / 10;
        let (mut admitted, mut rounds) = (Vec::new(), 0);
        while bench.lobby.can_continue() {
            let round = bench.drive();
            assert!(round.len() <= 11, "{} in one round", round.len());
            admitted.extend(round);
            rounds += 1;
        }
        assert_eq!((admitted.len(), rounds), (100, 10));
        assert!(bench.lobby.is_empty());
    }

    #[test]
    fn whoever_sends_bytes_one_by_one_gains_no_time() {
        let mut bench = LobbyBench::new(1);
        let (arrived, _) = bench.comes(b"");
        bench.drive();
        let opens_at = bench.system.now() + MAX_WAIT_FOR_NEWCOMER;
        for byte in &HEADER[..10] {
            let now = bench.passes(MAX_WAIT_FOR_NEWCOMER / 20);
            assert_eq!(bench.admission.opens_at(true, now), Some(opens_at));
            arrived.borrow_mut().0.push(*byte);
            bench.lobby.on_ready(FIRST_TOKEN as usize);
            let while_it_waits_for_us = now + MAX_WAIT_FOR_NEWCOMER;
            assert_eq!(bench.admission.opens_at(true, now), Some(while_it_waits_for_us));
            assert!(bench.drive().is_empty());
        }
    }

    #[test]
    fn what_has_arrived_counts_though_it_was_not_reported() {
        for is_displaced in [true, false] {
            for sends_header in [true, false] {
                let mut bench = LobbyBench::new(1);
                let (arrived, _) = bench.comes(&HEADER[..10]);
                assert!(bench.drive().is_empty());
                if sends_header {
                    arrived.borrow_mut().0.extend(&HEADER[10..]);
                }
                let reason = if is_displaced {
                    bench.passes(MAX_WAIT_FOR_NEWCOMER);
                    let (_, displaced) = bench.comes(b"");
                    bench.lobby.displace(displaced.unwrap());
                    CloseReason::HandshakeLimit
                } else {
                    let deadline = bench.lobby.next_deadline().unwrap();
                    assert_eq!(deadline, bench.start + Duration::from_secs(10));
                    bench.system.now.set(deadline);
                    bench.lobby.expire(deadline);
                    CloseReason::HandshakeTimeout
                };
                assert_eq!(bench.drive().len(), usize::from(sends_header));
                assert_eq!(bench.closed(reason), u64::from(!sends_header));
            }
        }
    }

    #[test]
    fn whoever_is_rejected_stays_until_it_has_closed() {
        let mut bench = LobbyBench::new(10);
        let (first, _) = bench.comes(HEADER);
        let (second, _) = bench.comes(HEADER);
        let admitted = bench.drive();
        assert_eq!(admitted.len(), 1);
        assert!(first.borrow().0.is_empty() && second.borrow().0.is_empty());
        assert_eq!(total(&[Arc::clone(&bench.counters)]).rejected, 1);
        assert!(!bench.lobby.is_empty());
        let sweep = bench.lobby.next_deadline().unwrap();
        assert!(sweep < bench.start + Duration::from_secs(1));
        bench.lobby.expire(sweep);
        assert!(!bench.lobby.is_empty());
        second.borrow_mut().1 = true;
        let sweep = bench.lobby.next_deadline().unwrap();
        bench.lobby.expire(sweep);
        assert!(bench.lobby.is_empty() && bench.lobby.next_deadline().is_none());
        assert_eq!(bench.closed(CloseReason::AddressLimit), 1);
    }

    #[test]
    fn deadlines_of_those_who_have_left_are_not_kept() {
        let mut bench = LobbyBench::new(10);
        let (_silent, _) = bench.comes(b"");
        bench.drive();
        for _ in 0..100 {
            bench.comes(b"no header");
            bench.drive();
        }
        assert!(bench.lobby.accepted.len() <= 2 + MAX_OLD_DEADLINES);
        assert_eq!(bench.lobby.next_deadline(), Some(bench.start + Duration::from_secs(10)));
    }
}
