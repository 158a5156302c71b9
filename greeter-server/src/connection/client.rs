//! One client of a connection thread: moves bytes between its socket and the state machine of its
//! connection. Must not know other clients.

use std::io::{self, ErrorKind};
use std::time::Instant;

use greeter_core::{CloseAction, CloseReason, Connection, ConnectionConfig, Phase};

use crate::admission::Permit;
use crate::config::Config;
use crate::connection::scratch::Scratch;
use crate::connection::timers::{Millis, TimerTable, share};
use crate::info::ConnectionInfo;
use crate::limits::CHARGE_UNIT;
use crate::memory::MemoryBudget;
use crate::stats::Counters;
use crate::system::{Poller, Readiness, Socket};
use crate::tls::stream::{HandshakeStep, TransportRead};
use crate::transport::{ReadBuffers, Transport};

/// With edge-triggered events, a read that leaves room in the buffer has emptied the socket: what
/// comes later is another edge (epoll(7), question 9; kqueue's `EV_CLEAR` is the same). On Windows
/// the next edge comes only after a read that would have blocked.
const SHORT_READ_EMPTIES_SOCKET: bool = cfg!(unix);

/// One client: its socket, the state machine of its connection, and what its thread knows of both.
#[derive(Debug)]
pub(crate) struct Client<S, K> {
    pub(crate) connection: Connection<S>,
    /// Counts the client as served until it is removed.
    _permit: Permit,
    /// `None` once it is closed, which may be before the connection has its job back.
    transport: Option<Transport<K>>,
    /// Whether a read may return something. Set by the system, cleared by a read.
    readable: bool,
    /// Whether a write may send something. Set by the system, cleared by a write.
    writable: bool,
    /// A short read does not prove that this socket is empty: the end of its input is on its way,
    /// which no other edge will announce, or urgent data is, at which reads stop short.
    read_until_would_block: bool,
    /// Whether it is in its thread's run queue.
    pub(crate) is_in_run_queue: bool,
    /// Whether the log knows that it has come.
    pub(crate) is_logged: bool,
    /// When its timer expires, if it has one.
    pub(crate) timer: Option<Millis>,
    deadline_check: DeadlineCheck,
    /// How many lines of it are counted as parked.
    pub(crate) counted_parked: u16,
    /// How many [units](crate::limits::CHARGE_UNIT) it is charged of the memory budget.
    pub(crate) charged: u32,
    /// Lines answered or discarded since it was accepted.
    pub(crate) lines: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) accepted: Millis,
}

/// Whether a client's deadline is about to be checked. What had arrived by the deadline counts as
/// arrived, though the system may not have reported it, or the thread not have come to it: so it is
/// read first, and only then the connection checks the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeadlineCheck {
    /// No check is due.
    None,
    /// The deadline has passed. It is checked in a turn of its own.
    Due,
    /// It is checked in this turn or a later one, once this many bytes are read or none are left.
    /// Bytes that come after them are not waited for, so that no client delays the check by sending
    /// on.
    AfterReading { bytes_left: ByteCount },
}

/// A number of bytes, 4 GiB at most. It is aligned to one byte, which saves eight for each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ByteCount([u8; 4]);

impl ByteCount {
    fn of(bytes: usize) -> Self {
        Self(u32::try_from(bytes).unwrap_or(u32::MAX).to_ne_bytes())
    }

    const fn bytes(self) -> u32 {
        u32::from_ne_bytes(self.0)
    }

    /// What is left of it when so many have come.
    fn after(self, bytes: usize) -> Self {
        Self::of((self.bytes() as usize).saturating_sub(bytes))
    }
}

impl<S, K: Socket> Client<S, K> {
    /// Creates a new client. Its first bytes are often there at once, so a read is worth trying.
    pub(crate) const fn new(
        connection: Connection<S>,
        transport: Transport<K>,
        permit: Permit,
        accepted: Millis,
    ) -> Self {
        Self {
            connection,
            _permit: permit,
            transport: Some(transport),
            readable: true,
            writable: true,
            read_until_would_block: false,
            is_in_run_queue: false,
            is_logged: false,
            timer: None,
            deadline_check: DeadlineCheck::None,
            counted_parked: 0,
            charged: 0,
            lines: 0,
            bytes_received: 0,
            bytes_sent: 0,
            accepted,
        }
    }

    /// Closes the socket, and returns whether it was open.
    pub(crate) fn close(&mut self, system: &impl Poller<Socket = K>) -> bool {
        let Some(mut transport) = self.transport.take() else { return false };
        system.deregister(transport.socket_mut());
        true
    }

    /// Stops the connection with the server. What has arrived may not all have been reported, so
    /// the socket itself is asked.
    pub(crate) fn stop(&mut self) {
        let arrived = self.transport.as_ref().and_then(|transport| transport.bytes_arrived().ok()).unwrap_or(0);
        self.connection.stop(arrived);
        self.readable |= arrived > 0;
    }

    /// Requests a check of the deadline, since the timer has expired.
    pub(crate) fn request_deadline_check(&mut self) {
        if self.deadline_check == DeadlineCheck::None {
            self.deadline_check = DeadlineCheck::Due;
        }
    }

    /// Returns whether its deadline has passed and was not checked yet.
    pub(crate) fn has_deadline_check(&self) -> bool {
        self.deadline_check != DeadlineCheck::None
    }

    /// If the deadline is due, asks the socket how much there is to read, and allows a read and a
    /// write.
    pub(crate) fn begin_deadline_check(&mut self) {
        if self.deadline_check == DeadlineCheck::Due {
            // While it lingers, its deadline has nothing to do with what it sends.
            let depends_on_input = self.connection.phase() != Phase::Lingering;
            let transport = self.transport.as_ref().filter(|_| depends_on_input);
            // One more, since the end of the input may be behind them, and that is no byte.
            let bytes_left = transport.map_or(0, |transport| transport.bytes_arrived().unwrap_or(0) + 1);
            self.deadline_check = DeadlineCheck::AfterReading { bytes_left: ByteCount::of(bytes_left) };
            self.readable = true;
            self.writable = true;
        }
    }

    /// Checks its deadline, if that is due and everything was read.
    pub(crate) fn finish_deadline_check(&mut self, config: &Config, epoch: Instant, now: Instant) {
        if let DeadlineCheck::AfterReading { bytes_left } = self.deadline_check
            && (bytes_left.bytes() == 0 || !self.readable || !self.connection.wants_input())
        {
            self.deadline_check = DeadlineCheck::None;
            if self.handshake_deadline(config).is_some_and(|deadline| deadline <= now) {
                self.connection.abort(CloseReason::HandshakeTimeout);
            }
            if self.end_deadline(config).is_some_and(|deadline| deadline <= now) {
                self.connection.abort(CloseReason::WriteTimeout);
            }
            if self.session_deadline(config, epoch).is_some_and(|deadline| deadline <= now) {
                self.connection.close_with(CloseReason::SessionTimeout, &config.connection, now);
            }
            self.connection.check_deadline(&config.connection, now);
        }
    }

    /// Returns when its deadline passes, if it has one now. The epoch is that of the thread's
    /// timers.
    pub(crate) fn deadline(&self, config: &Config, epoch: Instant) -> Option<Instant> {
        let own = || self.handshake_deadline(config).or_else(|| self.end_deadline(config));
        let of_phase = self.connection.deadline(&config.connection).or_else(own);
        of_phase.into_iter().chain(self.session_deadline(config, epoch)).min()
    }

    /// Returns until when its session may last, once nothing is owed to it and it has begun no
    /// line. Of many who have connected together, each has another time.
    fn session_deadline(&self, config: &Config, epoch: Instant) -> Option<Instant> {
        let time = config.timeouts.session.filter(|_| self.is_idle())?;
        let least = time - time / 10;
        (epoch + self.accepted.since_epoch()).checked_add(least + share(time / 5, self.connection.peer().id))
    }

    /// Returns whether nothing is owed to it, and it has begun no line.
    fn is_idle(&self) -> bool {
        self.connection.phase() == Phase::Idle && self.connection.close_action() == CloseAction::None
    }

    /// Returns whether a stop may come later for it: it is idle, and nothing of it has arrived.
    pub(crate) fn may_be_stopped_later(&self) -> bool {
        let arrived = self.transport.as_ref().and_then(|transport| transport.bytes_arrived().ok()).unwrap_or(0);
        self.is_idle() && arrived == 0
    }

    /// Returns until when the TLS handshake that a reply has asked for is to be over.
    fn handshake_deadline(&self, config: &Config) -> Option<Instant> {
        let since = self.connection.wants_tls().then(|| self.connection.since());
        since.and_then(|since| since.checked_add(config.timeouts.handshake))
    }

    /// Returns until when the client may take the end of the stream, where that has to be written.
    fn end_deadline(&self, config: &Config) -> Option<Instant> {
        let is_ending = self.wants_write() && self.connection.close_action() != CloseAction::None;
        config.timeouts.write.filter(|_| is_ending).and_then(|time| self.connection.since().checked_add(time))
    }

    /// Notes what the system reports.
    pub(crate) const fn on_ready(&mut self, readiness: Readiness) {
        self.readable |= readiness.readable;
        self.writable |= readiness.writable;
        self.read_until_would_block |= readiness.read_until_would_block;
    }

    /// Returns whether a write may send something.
    fn can_write(&self) -> bool {
        self.writable && (!self.connection.unsent().is_empty() || self.wants_write())
    }

    pub(crate) const fn has_tls(&self) -> bool {
        matches!(self.transport, Some(Transport::Tls(_)))
    }

    /// Returns whether there is something to write beside replies that are unsent, as with TLS.
    /// When the connection is over, the rest of a record is of no use to anybody.
    pub(crate) fn wants_write(&self) -> bool {
        self.transport.as_ref().is_some_and(Transport::wants_write) && self.connection.phase() != Phase::Over
    }

    /// Writes unsent replies, as far as the socket accepts them.
    pub(crate) fn write(&mut self, scratch: &mut Scratch, counters: &Counters, now: Instant) -> io::Result<()> {
        while self.can_write() {
            let Some(transport) = &mut self.transport else { return Ok(()) };
            match transport.send(self.connection.unsent()) {
                Ok(0) => return Ok(()),
                Ok(bytes) => {
                    counters.bytes_sent.add(bytes as u64);
                    self.bytes_sent += bytes as u64;
                    let in_part = transport.sent_in_part();
                    if let Some(buffer) = self.connection.wrote_in_part(bytes, in_part, now) {
                        scratch.keep(buffer);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.writable = false;
                    self.note_progress(now);
                    self.connection.write_would_block();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// If the socket took something, though of no reply, the client that is waited for is alive.
    fn note_progress(&mut self, now: Instant) {
        let has_progressed = self.transport.as_mut().is_some_and(Transport::take_progress);
        let is_ending = self.connection.close_action() != CloseAction::None;
        if has_progressed && (is_ending || self.connection.phase() == Phase::Writing) {
            self.connection.write_progressed(now);
        }
    }

    /// Does the same, though the system has not reported that the socket is writable.
    pub(crate) fn try_write(&mut self, scratch: &mut Scratch, counters: &Counters, now: Instant) -> io::Result<()> {
        self.writable = true;
        self.write(scratch, counters, now)
    }

    /// Reads once, if the connection wants input and there may be some.
    pub(crate) fn read(
        &mut self,
        buffers: &mut ReadBuffers,
        config: &ConnectionConfig,
        counters: &Counters,
        now: Instant,
    ) -> io::Result<()> {
        let Some(transport) = &mut self.transport else { return Ok(()) };
        if !self.connection.wants_input() {
            return Ok(());
        }
        if !self.readable {
            self.connection.read_would_block();
            return Ok(());
        }
        let received = match transport {
            Transport::Tls(_) if self.connection.phase() == Phase::Lingering => transport.receive_nothing(buffers),
            transport => transport.receive(buffers),
        };
        match received {
            Ok(TransportRead::Eof) => {
                self.readable = false;
                self.connection.received_eof();
            }
            Ok(TransportRead::Bytes { bytes, arrived, may_have_more }) => {
                self.readable = !SHORT_READ_EMPTIES_SOCKET || may_have_more || self.read_until_would_block;
                counters.bytes_received.add(bytes.len() as u64);
                self.bytes_received += bytes.len() as u64;
                self.connection.received_decoded(bytes, arrived, config, now);
                if let DeadlineCheck::AfterReading { bytes_left } = &mut self.deadline_check {
                    *bytes_left = bytes_left.after(arrived);
                    // The end may have come by now, and the system not have reported it yet.
                    self.readable = true;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                self.connection.read_would_block();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Begins the TLS that a reply has asked for, or gets on with its handshake as far as that goes
    /// without waiting.
    pub(crate) fn start_tls(&mut self, buffers: &mut ReadBuffers, now: Instant) -> io::Result<()> {
        let Some(transport) = self.transport.take() else { return Ok(()) };
        let transport = match transport {
            // Otherwise it has spoken TLS all the time.
            Transport::Tls(_) if self.connection.peer().tls().is_none() => transport,
            transport => match transport.start_tls() {
                Ok(transport) => transport,
                Err((transport, failure)) => {
                    let peer = self.connection.peer().address;
                    tracing::error!(%peer, %failure, "A reply has started TLS in vain.");
                    self.transport = Some(transport);
                    self.connection.abort(CloseReason::HandshakeFailed);
                    return Ok(());
                }
            },
        };
        let Transport::Tls(stream) = self.transport.insert(transport) else { return Ok(()) };
        match stream.handshake(&mut buffers.tls)? {
            // It reads again once it has written, whatever the system has reported before.
            HandshakeStep::Waits { .. } => {
                self.readable = false;
                self.writable &= !stream.wants_write();
            }
            HandshakeStep::Done => {
                let info = stream.info();
                self.connection.tls_started(info, now);
                // What follows the handshake may have been read with it.
                self.readable = true;
            }
            HandshakeStep::Gone => self.connection.abort(CloseReason::ClientClosed),
            HandshakeStep::Failed(failure) => {
                tracing::debug!(peer = %self.connection.peer().address, %failure, "A TLS handshake failed.");
                // The alert says why, and is waited for like a reply.
                self.connection.tls_failed();
            }
        }
        Ok(())
    }

    /// Returns whether our end of the stream is closed, or about to be.
    pub(crate) fn is_closing(&self) -> bool {
        self.transport.as_ref().is_some_and(Transport::is_closing)
    }

    /// Closes our end of the stream.
    pub(crate) fn shutdown_write(&mut self, now: Instant) -> io::Result<()> {
        let result = self.transport.as_mut().map_or(Ok(()), Transport::shutdown_write);
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.writable = false;
            self.note_progress(now);
        }
        result
    }

    /// Says that nothing follows, to a client that has said so itself and is about to be closed. If
    /// it is gone, that is as good.
    pub(crate) fn finish_stream(&mut self, now: Instant) {
        match self.shutdown_write(now) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                let _ = self.transport.as_mut().map(Transport::discard_output);
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Charges it for what it holds, and returns whether the budget allows that.
    pub(crate) fn charge(&mut self, memory: &MemoryBudget) -> bool {
        let bytes = self.bytes_held();
        memory.charge(&mut self.charged, bytes)
    }

    /// Closes it, since it needs more memory than there is. What this frees is there for the next
    /// client. It is told so, unless its session would keep much memory until it has read that.
    pub(crate) fn close_overloaded(&mut self, config: &ConnectionConfig, memory: &MemoryBudget, now: Instant) {
        self.connection.close_with(CloseReason::Overloaded, config, now);
        let kept_by_session = self.transport.as_mut().map_or(0, Transport::discard_input);
        if kept_by_session >= CHARGE_UNIT {
            self.connection.abort(CloseReason::Overloaded);
        }
        self.charge(memory);
    }

    /// Returns how much memory it occupies for lines and replies, in bytes.
    pub(crate) fn bytes_held(&self) -> usize {
        self.connection.bytes_held() + self.transport.as_ref().map_or(0, Transport::bytes_held)
    }

    /// Returns its state for the host program.
    pub(crate) fn info(&self, timers: &TimerTable, now: Instant) -> ConnectionInfo {
        ConnectionInfo {
            peer: self.connection.peer().clone(),
            age: now.saturating_duration_since(timers.time(self.accepted)),
            phase: self.connection.phase(),
            in_phase: now.saturating_duration_since(self.connection.since()),
            lines: self.lines + u64::from(self.connection.lines_waiting()),
            bytes_received: self.bytes_received,
            bytes_sent: self.bytes_sent,
            bytes_held: self.bytes_held(),
        }
    }

    /// Returns whether another turn can do something without an event or a message.
    pub(crate) fn can_continue(&self) -> bool {
        self.connection.wants_answer()
            || (self.readable && (self.connection.wants_input() || self.connection.wants_tls()))
            || self.can_write()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::admission::{Admission, Decision};
    use crate::limits::READ_BYTES;
    use crate::mailbox::mailbox;
    use crate::simulation::toy_tls::{ToyClient, ToyTls};
    use crate::tls::stream::tests::PieceSocket;
    use greeter_core::testing::peer;
    use greeter_core::{BoxError, Line, Origin, Peer, Reply, Responder, TurnBudget};
    use std::sync::Arc;

    struct StartsTls;

    impl Responder for StartsTls {
        type Session = ();

        fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
            Ok(())
        }

        fn respond(&self, (): &mut (), _: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
            reply.start_tls();
            Ok(())
        }
    }

    /// A client whose responder has asked for TLS, and whose socket has room for so many bytes.
    fn asked(config: &Arc<Config>, room: usize) -> Client<(), PieceSocket> {
        let now = Instant::now();
        let address = std::net::SocketAddr::from(([192, 0, 2, 1], 1));
        let mut peer = peer(1, address);
        peer.origin = Some(Arc::new(Origin::default().with_start_tls()));
        let mut connection = Connection::new(peer, &config.connection, now);
        for received in [&b""[..], b"STARTTLS\n"] {
            connection.received(received, &config.connection, now);
            let job = connection.take_job(now).expect("it is new, or has said something");
            let answered = job.answer(&StartsTls, &config.connection, TurnBudget::unlimited());
            connection.answered(answered, &config.connection, now);
        }
        assert!(connection.wants_tls());
        let (acceptor, ..) = mailbox().unwrap();
        let admission = Arc::new(Admission::new(config.limits, acceptor));
        let (Decision::Admit(permit), _) = admission.admit(address.into(), now) else { panic!("there is room") };
        let mut sender = ToyClient::new(1);
        let mut socket = PieceSocket::new([sender.hello(), sender.finished()]);
        socket.room = room;
        let transport = Transport::in_plain(socket, Some(Arc::new(ToyTls::default())));
        Client::new(connection, transport, permit, TimerTable::new(now).millis(now))
    }

    #[test]
    fn a_handshake_that_waits_for_room_does_not_keep_its_thread_awake() {
        let config = Arc::new(Config::without_timeouts(&StartsTls));
        let mut buffers = ReadBuffers::new(READ_BYTES);
        for room in 0..3 {
            let mut client = asked(&config, room);
            client.start_tls(&mut buffers, Instant::now()).unwrap();
            assert!(client.connection.wants_tls() && !client.can_continue(), "room for {room}");
            // Bytes do not help it, room does.
            let Some(Transport::Tls(stream)) = &mut client.transport else { panic!("it has begun") };
            stream.socket_mut().room = 100;
            client.on_ready(Readiness { writable: true, readable: true, ..Readiness::default() });
            assert!(client.can_continue());
            client.start_tls(&mut buffers, Instant::now()).unwrap();
            assert!(!client.connection.wants_tls() && client.connection.peer().tls().is_some());
        }
    }
}
