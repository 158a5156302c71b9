//! A connection thread: turns events and messages into turns of its clients. Must not know what a
//! line means.
//!
//! No other thread touches the socket of a connection. The system reports that sockets are ready,
//! and messages bring new clients, answered jobs or a stop; either only puts clients into the run
//! queue. The thread drives the clients in it one after the other, and each turn is bounded: a
//! read, a job, a write. A client that can continue goes to the end of the run queue.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use greeter_core::{
    AnsweredJob, ClientId, CloseAction, CloseReason, Connection, Parallel, PartNumber, Peer, Phase, PushMessage,
    PushReceipt, Responder,
};
use mio::{Events, Poll};

use crate::accept::acceptor::SharedAcceptor;
use crate::config::Config;
use crate::connection::client::Client;
use crate::connection::lobby::{self, Admitted, Lobby};
use crate::connection::scratch::Scratch;
use crate::connection::timers::{TimerTable, share, spread_within};
use crate::connection::yielding::YieldPolicy;
use crate::info::ConnectionInfo;
use crate::job_times::Timing;
use crate::limits::{POLL_PAUSE, TURN};
use crate::mailbox::{Inbox, Mailbox};
use crate::memory::MemoryBudget;
use crate::messages::ThreadMessage;
use crate::pool::executor::Executor;
use crate::slots::{Key, Slots};
use crate::stats::Counters;
use crate::system::{Poller, Readiness, Socket};
use crate::transport::Transport;

/// How long clients are driven before new events and messages are read. Much longer than a
/// turn, so that reading them costs little, and short compared with any deadline: a stop waits at
/// most this long, and for one line.
const ROUND: Duration = Duration::from_millis(10);

/// How many turns pass without reading the clock, unless one of them answers in place, which reads
/// it. Any other turn is at most a read and a write, some 10 µs, and deadlines count in
/// milliseconds.
const TURNS_PER_CLOCK_READ: usize = 8;

/// How many sockets one poll can report. The next poll reports the others.
const EVENTS: usize = 1024;

/// Logs who comes or goes.
macro_rules! visit {
    ($config:expr, $($event:tt)*) => {
        if $config.is_quiet { tracing::debug!($($event)*) } else { tracing::info!($($event)*) }
    };
}

/// Whose answer has come later: the client's, and to which line.
#[derive(Debug)]
struct LateAnswerOf {
    client: ClientId,
    line: PartNumber,
}

/// Whether the server stops.
#[derive(Clone, Copy, Debug)]
enum StopState {
    Running,
    /// What has arrived is answered until then.
    Draining {
        until: Instant,
    },
    /// The deadline has passed, and every connection was closed.
    Aborted,
}

/// What happened to the lines of a client's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driven {
    /// The responder answered them in place.
    Answered,
    /// They went to the pool, or there were none.
    Dispatched,
}

/// What a connection thread shares with the others.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) memory: Arc<MemoryBudget>,
    /// When the timers of all threads begin.
    pub(crate) epoch: Instant,
}

/// The state of a connection thread.
pub(crate) struct ConnectionThread<R: Responder, W: Poller = Poll> {
    number: usize,
    system: W,
    inbox: Inbox<ThreadMessage<R::Session, W::Socket>>,
    /// The clients whose answers have come later. A mailbox of its own, since its sending ends are
    /// in the hands of the responder's threads: of the server, they keep alive what wakes this
    /// thread, and no more.
    late_answers: (Mailbox<LateAnswerOf>, Inbox<LateAnswerOf>),
    executor: Executor<R>,
    shared: Shared,
    counters: Arc<Counters>,

    lobby: Lobby<W::Socket>,
    clients: Slots<Client<R::Session, W::Socket>>,
    /// Clients that can continue, in the order in which they became able to. Each is in it once.
    run_queue: VecDeque<Key>,
    timers: TimerTable,
    /// How long turns in this round may still be for a handshake that a reply has asked for. The
    /// others wait so much longer, as they do for newcomers.
    handshake_time: Duration,
    stopping: StopState,
    /// Whose stop comes later, the last first.
    stopped_later: Vec<(Instant, Key)>,
    scratch: Scratch,
}

impl<R: Responder> ConnectionThread<R> {
    /// Runs the thread, until a stop was requested and its last client is gone. One of the threads
    /// keeps the acceptor.
    pub(crate) fn run(mut self, acceptor: Option<&SharedAcceptor<R::Session>>) {
        let mut events = Events::with_capacity(EVENTS);
        let mut yield_policy = YieldPolicy::new(self.system.now());
        while !self.is_done() {
            self.yield_to_workers(&mut yield_policy);
            let timeouts = [self.timeout(), acceptor.and_then(SharedAcceptor::timeout)];
            let polled = self.system.poll(&mut events, timeouts.into_iter().flatten().min());
            if let Err(error) = polled
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "Cannot wait for sockets.");
                thread::sleep(POLL_PAUSE);
            }
            // Before this thread's own round, so that clients accepted now have a turn in it. The
            // messages that bring them need not wake the thread that sends them.
            self.inbox.woke_up();
            if let Some(acceptor) = acceptor {
                acceptor.round(&events);
            }
            self.round(events.iter().map(|event| (event.token().0, Readiness::from(event))));
        }
    }

    /// Before it sleeps, yields to workers that have more to do than the one task that each takes
    /// next. On the same processor they get on with it, and this thread wakes up to many answers;
    /// had it gone to sleep, the first answer would wake it, and it would take the processor from
    /// the workers again.
    fn yield_to_workers(&self, yield_policy: &mut YieldPolicy) {
        let is_idle = self.run_queue.is_empty() && self.inbox.len() + self.late_answers.1.len() == 0;
        if is_idle && self.executor.has_backlog() {
            yield_policy.yield_to_workers();
        }
    }
}

impl<R: Responder, W: Poller> ConnectionThread<R, W> {
    /// Creates a thread's state. All that can fail happens here, and not in the thread itself.
    pub(crate) fn new(
        number: usize,
        executor: Executor<R>,
        system: W,
        inbox: Inbox<ThreadMessage<R::Session, W::Socket>>,
        shared: Shared,
        counters: Arc<Counters>,
    ) -> Self {
        let now = system.now();
        Self {
            number,
            timers: TimerTable::new(shared.epoch),
            system,
            late_answers: inbox.another(),
            inbox,
            executor,
            lobby: Lobby::new(Arc::clone(&shared.config), Arc::clone(&counters), now),
            counters,
            clients: Slots::new(),
            run_queue: VecDeque::new(),
            handshake_time: Duration::ZERO,
            stopping: StopState::Running,
            stopped_later: Vec::new(),
            scratch: Scratch::new(shared.config.read_bytes),
            shared,
        }
    }

    /// Returns how long to sleep without an event or a message: not at all while clients can
    /// continue. From now on, messages wake the thread.
    pub(crate) fn timeout(&mut self) -> Option<Duration> {
        let can_continue = !self.run_queue.is_empty() || self.lobby.can_continue();
        if !can_continue && self.inbox.try_sleep() && self.late_answers.1.try_sleep() {
            self.next_deadline().map(|deadline| deadline.saturating_duration_since(self.system.now()))
        } else {
            Some(Duration::ZERO)
        }
    }

    /// Does what there is to do each time the thread wakes up, with the events of its sockets.
    pub(crate) fn round(&mut self, events: impl Iterator<Item = (usize, Readiness)>) {
        self.inbox.woke_up();
        for (slot, readiness) in events {
            self.on_ready(slot, readiness);
        }
        self.drain_inbox();
        self.expire_timers();
        self.drive_clients();
        self.drive_lobby();
    }

    /// Notes the readiness of the socket in this slot, and that its client can continue.
    fn on_ready(&mut self, slot: usize, readiness: Readiness) {
        if Lobby::<W::Socket>::is_token(slot) {
            return self.lobby.on_ready(slot);
        }
        let Some(key) = self.clients.key_of(slot) else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        client.on_ready(readiness);
        if readiness.is_broken {
            client.connection.abort(CloseReason::Lost);
        }
        enqueue(&mut self.run_queue, client, key);
    }

    /// Handles the messages that are here.
    fn drain_inbox(&mut self) {
        // Only the messages that are here now: those that come meanwhile wait until the clients
        // in the run queue have had a turn.
        let late_answers = self.late_answers.1.len();
        let messages = self.inbox.len();
        if messages + late_answers == 0 {
            return;
        }
        let now = self.system.now();
        for _ in 0..messages {
            let Some(message) = self.inbox.next_message() else { break };
            self.on_message(message, now);
        }
        // Behind the messages, which were counted later: a push comes before the answer that the
        // same thread gave after it.
        for _ in 0..late_answers {
            let Some(LateAnswerOf { client, line }) = self.late_answers.1.next_message() else { break };
            self.late_answer(client, line, now);
        }
    }

    fn on_message(&mut self, message: ThreadMessage<R::Session, W::Socket>, now: Instant) {
        match message {
            ThreadMessage::Accepted { socket, address, permit, rules } => {
                let origin = rules.origin.clone();
                let transport = Transport::in_plain(socket, rules.tls_on_request().cloned());
                self.client_admitted(Admitted { transport, address, origin, permit }, W::register, now);
            }
            ThreadMessage::Newcomer(newcomer) => match self.stopping {
                StopState::Running | StopState::Draining { .. } => self.lobby.enter(newcomer, &self.system),
                StopState::Aborted => self.counters.closed[CloseReason::ShutdownDeadline.index()].add(1),
            },
            ThreadMessage::Displaced(place) => self.lobby.displace(place),
            ThreadMessage::Answered { job, charged, timing } => {
                self.counters.times.add(timing, now);
                self.job_answered(job, charged, now);
            }
            ThreadMessage::ReplyTimedOut { client, part } => self.reply_timed_out(client, part, now),
            ThreadMessage::Push { to, message, receipt } => self.push(Key::from(to), message.content(), receipt, now),
            ThreadMessage::Close(id) => self.close_by_host(Key::from(id), now),
            ThreadMessage::Broadcast { message } => self.broadcast(message.content(), now),
            ThreadMessage::Kill(id) => {
                self.with_client(Key::from(id), |client| client.connection.abort(CloseReason::Killed));
            }
            ThreadMessage::Reconfigured(config) => self.reconfigure(config),
            ThreadMessage::GiveSignOfLife(is_answered) => is_answered.store(true, Ordering::Relaxed),
            ThreadMessage::List { answer } => {
                // The thread that asked may no longer be waiting.
                let _ = answer.send(self.list());
            }
            ThreadMessage::Stop { deadline } => self.stop(deadline),
        }
    }

    /// Has this hold from now on, also for those who are connected.
    fn reconfigure(&mut self, config: Arc<Config>) {
        self.lobby.reconfigure(&config);
        self.executor.reconfigure(&config);
        self.shared.config = config;
        // Their timers expire by what held before. A turn sets them anew.
        self.with_all_clients(|_| {});
    }

    /// Stops by the earliest deadline that was requested.
    fn stop(&mut self, deadline: Instant) {
        match &mut self.stopping {
            StopState::Running => {
                self.stopping = StopState::Draining { until: deadline };
                self.lobby.stop();
                self.stop_clients(deadline);
            }
            StopState::Draining { until } if deadline < *until => {
                *until = deadline;
                for (_, key) in std::mem::take(&mut self.stopped_later) {
                    self.with_client(key, Client::stop);
                }
            }
            StopState::Draining { .. } | StopState::Aborted => {}
        }
    }

    /// Stops all clients: at once, but for those who are owed nothing, where they are let go one
    /// after the other.
    fn stop_clients(&mut self, deadline: Instant) {
        let now = self.system.now();
        let spread = spread_within(deadline.saturating_duration_since(now), self.shared.config.timeouts.drain_spread);
        for key in self.clients.keys() {
            let Some(client) = self.clients.get_mut(key) else { continue };
            if !spread.is_zero() && client.may_be_stopped_later() {
                self.stopped_later.push((now + share(spread, key.client_id(self.number)), key));
            } else {
                client.stop();
                enqueue(&mut self.run_queue, client, key);
            }
        }
        self.stopped_later.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }

    /// Gives the newcomers a turn, and takes over who has become a client.
    fn drive_lobby(&mut self) {
        for admitted in self.lobby.drive(&self.system, &mut self.scratch.read) {
            self.client_admitted(admitted, W::reregister, self.system.now());
        }
    }

    /// Takes over a client that was admitted, and has its socket watched.
    fn client_admitted(
        &mut self,
        admitted: Admitted<W::Socket>,
        watch: impl FnOnce(&W, &mut W::Socket, u32) -> io::Result<()>,
        now: Instant,
    ) {
        let Admitted { mut transport, address, origin, permit } = admitted;
        let free = self.clients.next_key();
        let key = match free.and_then(|key| watch(&self.system, transport.socket_mut(), key.slot).map(|()| key)) {
            Ok(key) => key,
            Err(error) => {
                tracing::error!(peer = %address, %error, "Cannot watch a connection.");
                self.system.deregister(transport.socket_mut());
                return self.counters.closed[CloseReason::Lost.index()].add(1);
            }
        };
        let mut peer = Peer::new(key.client_id(self.number), address);
        peer.origin = origin;
        let connection = Connection::new(peer, &self.shared.config.connection, now);
        let mut client = Client::new(connection, transport, permit, self.timers.millis(now));
        match self.stopping {
            StopState::Running => {}
            // A newcomer, all of which had arrived by then.
            StopState::Draining { .. } => client.stop(),
            StopState::Aborted => client.connection.abort(CloseReason::ShutdownDeadline),
        }
        enqueue(&mut self.run_queue, &mut client, key);
        self.clients.insert(client);
    }

    /// Gives an answered job back to its connection, with what the worker has charged for it.
    fn job_answered(&mut self, mut job: AnsweredJob<R::Session>, charged: u32, now: Instant) {
        self.counters.busy.add(job.take_busy().into());
        report_errors(&mut job, &self.counters);
        let config = Arc::clone(&self.shared.config);
        let is_here = self.with_client(Key::from(job.id()), |client| {
            client.charged += charged;
            client.connection.answered(job, &config.connection, now);
        });
        assert!(is_here, "a connection waits for its job");
    }

    /// Takes an answer that has come later, unless it is too late, or there is no room for it.
    fn late_answer(&mut self, id: ClientId, line: PartNumber, now: Instant) {
        let key = Key::from(id);
        let config = &self.shared.config.connection;
        let Some(client) = self.clients.get_mut(key) else { return self.counters.late_answers.add(1) };
        let bytes = client.bytes_held() + client.connection.late_answer_len(Some(line));
        if !self.shared.memory.charge(&mut client.charged, bytes) {
            client.close_overloaded(config, &self.shared.memory, now);
        } else if !client.connection.late_answer_arrived(Some(line), config, now) {
            self.counters.late_answers.add(1);
        }
        enqueue(&mut self.run_queue, client, key);
    }

    /// Rejects the line whose reply timeout has passed; its job does not come back.
    fn reply_timed_out(&mut self, id: ClientId, part: Option<PartNumber>, now: Instant) {
        let config = Arc::clone(&self.shared.config);
        let is_here =
            self.with_client(Key::from(id), |client| client.connection.reply_timed_out(part, &config.connection, now));
        assert!(is_here, "a connection waits for its job");
    }

    /// Pushes a message to a client, if it is still connected.
    fn push(&mut self, to: Key, message: &PushMessage, receipt: Option<PushReceipt>, now: Instant) {
        let Some(client) = self.clients.get_mut(to) else { return };
        let most = self.shared.config.limits.max_unsent_bytes;
        // A client with too much unsent from before is disconnected, but only after a write was
        // tried: it may have had no turn for one.
        if client.connection.pushed_unsent() > most {
            match client.try_write(&mut self.scratch, &self.counters, now) {
                Ok(()) if client.connection.pushed_unsent() <= most => {}
                Ok(()) => client.connection.abort(CloseReason::WriteTimeout),
                Err(_) => client.connection.abort(CloseReason::Lost),
            }
        }
        // Behind the end of the stream, which may still be on its way, nothing follows.
        let config = &self.shared.config.connection;
        let is_pushed = !client.is_closing()
            && match receipt {
                Some(receipt) => client.connection.push_with_receipt(message, receipt, config, now),
                None => client.connection.push(message, config, now),
            };
        // Now and not in its turn: a broadcast adds to every client.
        enforce_memory_budget(client, &self.shared, now);
        enqueue(&mut self.run_queue, client, to);
        self.counters.pushed.add(is_pushed.into());
    }

    /// Ends a client's connection behind what it is owed, unless it is ending already.
    fn close_by_host(&mut self, key: Key, now: Instant) {
        let config = Arc::clone(&self.shared.config);
        self.with_client(key, |client| {
            if !client.is_closing() {
                client.connection.close(&config.connection, now);
            }
        });
    }

    fn broadcast(&mut self, message: &PushMessage, now: Instant) {
        for key in self.clients.keys() {
            self.push(key, message, None, now);
        }
    }

    /// Returns the state of all connections.
    pub(crate) fn list(&mut self) -> Vec<ConnectionInfo> {
        let now = self.system.now();
        let keys = self.clients.keys();
        keys.into_iter()
            .filter_map(|key| self.clients.get_mut(key).map(|client| client.info(&self.timers, now)))
            .collect()
    }

    /// Does something with one client and queues it. Returns whether it is here.
    fn with_client(&mut self, key: Key, change: impl FnOnce(&mut Client<R::Session, W::Socket>)) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        change(client);
        enqueue(&mut self.run_queue, client, key);
        true
    }

    fn with_all_clients(&mut self, change: impl Fn(&mut Client<R::Session, W::Socket>)) {
        for key in self.clients.keys() {
            self.with_client(key, &change);
        }
    }

    /// Queues every client whose deadline may have passed; its turn
    /// [checks](Client::finish_deadline_check) that.
    fn expire_timers(&mut self) {
        let Some(deadline) = self.next_deadline() else { return };
        let now = self.system.now();
        if now < deadline {
            return;
        }
        self.lobby.expire(now);
        while let Some((_, key)) = self.stopped_later.pop_if(|(at, _)| *at <= now) {
            self.with_client(key, Client::stop);
        }
        while let Some(slot) = self.timers.pop_expired(now) {
            if let Some(key) = self.clients.key_of(slot as usize)
                && let Some(client) = self.clients.get_mut(key)
            {
                client.timer = None;
                match client.deadline(&self.shared.config, self.shared.epoch) {
                    Some(deadline) if deadline <= now => {
                        client.request_deadline_check();
                        enqueue(&mut self.run_queue, client, key);
                    }
                    // The deadline has moved to a later time.
                    Some(deadline) => self.timers.set(key.slot, &mut client.timer, deadline),
                    None => {}
                }
            }
        }
        if let StopState::Draining { until } = self.stopping
            && until <= now
        {
            self.stopping = StopState::Aborted;
            self.lobby.close(&self.system);
            self.with_all_clients(|client| client.connection.abort(CloseReason::ShutdownDeadline));
        }
    }

    /// Returns when a timer expires or the time for a stop is over.
    fn next_deadline(&mut self) -> Option<Instant> {
        let drained = match self.stopping {
            StopState::Draining { until } => Some(until),
            StopState::Running | StopState::Aborted => None,
        };
        let stopped_next = self.stopped_later.last().map(|(at, _)| *at);
        [self.timers.next_timeout(), drained, stopped_next, self.lobby.next_deadline()].into_iter().flatten().min()
    }

    /// After the deadline of a stop, connections whose jobs are still in flight are left behind.
    pub(crate) fn is_done(&self) -> bool {
        match self.stopping {
            StopState::Running => false,
            StopState::Draining { .. } => self.clients.is_empty() && self.lobby.is_empty(),
            StopState::Aborted => self.run_queue.is_empty(),
        }
    }

    /// Drives each client in the run queue once. Returns early after [`ROUND`], so that new events
    /// are not delayed.
    fn drive_clients(&mut self) {
        if self.run_queue.is_empty() {
            return;
        }
        let mut now = self.system.now();
        let end = now + ROUND;
        self.handshake_time = lobby::ROUND;
        for turn in 1..=self.run_queue.len() {
            now = self.run_first(now);
            if turn % TURNS_PER_CLOCK_READ == 0 {
                now = self.system.now();
            }
            if now >= end {
                break;
            }
        }
        self.executor.flush();
    }

    /// Drives the first client in the run queue. Returns the latest known time.
    fn run_first(&mut self, now: Instant) -> Instant {
        let Some(key) = self.run_queue.pop_front() else { return now };
        let Some(client) = self.clients.get_mut(key) else { return now };
        client.is_in_run_queue = false;
        let clock = || self.system.now();
        let handshake_begins = client.connection.wants_tls().then(clock);
        if handshake_begins.is_some() && self.handshake_time.is_zero() {
            enqueue(&mut self.run_queue, client, key);
            return now;
        }
        let driven = drive(client, &mut self.executor, &self.shared, &mut self.scratch, &self.counters, now, clock);
        if let Some(begun) = handshake_begins {
            self.handshake_time = self.handshake_time.saturating_sub(clock().saturating_duration_since(begun));
        }
        // What a responder has pushed in this turn is in this thread's own inbox. A client that
        // closes receives it first.
        if let Ok((now, Driven::Answered)) = driven
            && client.connection.close_action() != CloseAction::None
            && self.inbox.len() > 0
        {
            count_lines(client, &self.counters);
            enqueue(&mut self.run_queue, client, key);
            return now;
        }
        let driven = driven.and_then(|(now, _)| {
            watch_late_answers(client, &self.late_answers.0);
            shutdown_write(client, now).map(|()| now)
        });
        let now = driven.unwrap_or_else(|error| {
            tracing::debug!(peer = %client.connection.peer().address, %error, "Connection broke.");
            client.connection.abort(CloseReason::Lost);
            now
        });
        log_accepted(client, &self.shared.config);
        count_lines(client, &self.counters);
        if client.can_continue() || parallel_for(client, &self.executor).is_some() {
            enqueue(&mut self.run_queue, client, key);
        } else if let CloseAction::Close(reason) = client.connection.close_action()
            && (!client.wants_write() || client.connection.phase() == Phase::Over)
        {
            self.close(key, reason);
            // The responder may have been called, and taken time.
            return self.system.now();
        }
        if !client.has_deadline_check()
            && let Some(deadline) = client.deadline(&self.shared.config, self.shared.epoch)
        {
            self.timers.set(key.slot, &mut client.timer, deadline);
        }
        now
    }

    /// Closes the socket at once, and removes the client once its job is back.
    fn close(&mut self, key: Key, reason: CloseReason) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.close(&self.system) {
            let peer = client.connection.peer().address;
            let is_silent = client.bytes_received == 0;
            match reason {
                CloseReason::ClientClosed | CloseReason::Lost if is_silent => {
                    tracing::debug!(%peer, %reason, "Somebody came and said nothing.");
                    self.counters.silent_visits.add(1);
                }
                // It has not left. But its coming is not in the log, and so its end is not.
                CloseReason::Shutdown if is_silent => {
                    tracing::debug!(%peer, %reason, "Somebody who had said nothing was let go.");
                }
                _ => {
                    let lines = client.lines;
                    visit!(self.shared.config, %peer, lines, %reason, "Client disconnected.");
                }
            }
            self.counters.closed[reason.index()].add(1);
            self.timers.stop(key.slot, &mut client.timer);
        }
        // A connection that waits for its job may have had another turn, and been charged again.
        self.shared.memory.charge(&mut client.charged, 0);
        if client.connection.has_job()
            && let Some(client) = self.clients.remove(key)
            && let Some(disconnect) = client.connection.into_disconnect()
        {
            self.executor.disconnect(disconnect);
        }
    }
}

/// Gives one client a turn: sends what is unsent, receives the next lines, and has them answered;
/// where that happens in place, sends the replies. Returns the latest known time, and what happened
/// to the lines.
fn drive<R: Responder, K: Socket>(
    client: &mut Client<R::Session, K>,
    executor: &mut Executor<R>,
    shared: &Shared,
    scratch: &mut Scratch,
    counters: &Counters,
    now: Instant,
    clock: impl Fn() -> Instant,
) -> io::Result<(Instant, Driven)> {
    client.begin_deadline_check();
    if client.connection.wants_tls() {
        client.start_tls(&mut scratch.read, now)?;
    }
    client.write(scratch, counters, now)?;
    client.read(&mut scratch.read, &shared.config.connection, counters, now)?;
    enforce_memory_budget(client, shared, now);
    client.finish_deadline_check(&shared.config, shared.epoch, now);
    let (turn_began, mut driven) = (now, answer_next(client, executor, shared, scratch, counters, now, &clock));
    // Lines that are handed over, one beside the other, cost next to nothing: they share a turn.
    while let (now, Driven::Answered) = driven
        && now.saturating_duration_since(turn_began) < TURN
        && parallel_for(client, executor).is_some()
    {
        driven = answer_next(client, executor, shared, scratch, counters, now, &clock);
    }
    let (now, outcome) = driven;
    client.write(scratch, counters, now)?;
    if outcome == Driven::Answered {
        enforce_memory_budget(client, shared, now);
    }
    Ok(driven)
}

/// Has the next line of a client answered beside others, or all that there are.
fn answer_next<R: Responder, K: Socket>(
    client: &mut Client<R::Session, K>,
    executor: &mut Executor<R>,
    shared: &Shared,
    scratch: &mut Scratch,
    counters: &Counters,
    now: Instant,
    clock: impl Fn() -> Instant,
) -> (Instant, Driven) {
    let part = parallel_for(client, executor).and_then(|parallel| client.connection.take_part(parallel, now));
    let Some(mut job) = part.or_else(|| client.connection.take_job(now)) else { return (now, Driven::Dispatched) };
    job.set_reply_buffer(scratch.buffer(job.reply_capacity_hint()));
    let begun = clock();
    let Some(mut job) = executor.answer(job, begun, &clock) else { return (begun, Driven::Dispatched) };
    // The responder may have taken any time.
    let now = clock();
    counters.times.add(Timing { sent: begun, begun, answered: Some(now) }, now);
    report_errors(&mut job, counters);
    client.connection.answered(job, &shared.config.connection, now);
    (now, Driven::Answered)
}

/// Returns how one more line of the client is answered beside others, if one is to be: by a worker
/// that is idle, so that nobody else waits for it. A client of which no worker has anything, since
/// all that was given out is parked, has a place in the queue like any other.
fn parallel_for<'a, R: Responder, K: Socket>(
    client: &Client<R::Session, K>,
    executor: &'a Executor<R>,
) -> Option<&'a Parallel<R::Session>> {
    let Client { connection, .. } = client;
    let has_place = || connection.has_job() && connection.lines_parked() > 0;
    executor
        .parallel()
        .filter(|parallel| connection.wants_part(parallel) && (has_place() || executor.has_idle_worker()))
}

/// Has this thread told of each answer of the client that comes later, once. One that is here is
/// told of, too, so that it comes behind what was pushed before it.
fn watch_late_answers<S, K: Socket>(client: &mut Client<S, K>, told: &Mailbox<LateAnswerOf>) {
    let id = client.connection.peer().id;
    client.connection.watch_late_answers(|line| {
        let told = told.clone();
        Box::new(move || told.send(LateAnswerOf { client: id, line }))
    });
}

/// Logs a client once it has said something: those who only look whether somebody listens, as
/// balancers do, come several times a second.
fn log_accepted<S, K: Socket>(client: &mut Client<S, K>, config: &Config) {
    if client.bytes_received == 0 || std::mem::replace(&mut client.is_logged, true) {
        return;
    }
    let peer = client.connection.peer();
    match peer.via() {
        Some(via) => visit!(config, peer = %peer.address, %via, "Accepted connection."),
        None => visit!(config, peer = %peer.address, "Accepted connection."),
    }
}

/// Counts what has happened on a connection since the last call.
fn count_lines<S, K: Socket>(client: &mut Client<S, K>, counters: &Counters) {
    let counts = client.connection.take_counts();
    client.lines += u64::from(counts.lines);
    counters.add(&counts, client.connection.reason());
    let parked = u16::try_from(client.connection.lines_parked()).expect("so many are not answered side by side");
    let before = std::mem::replace(&mut client.counted_parked, parked);
    if parked != before {
        counters.parked.add(parked.saturating_sub(before).into());
        counters.unparked.add(before.saturating_sub(parked).into());
    }
}

/// Disconnects a client that needs more memory than the budget has left.
fn enforce_memory_budget<S, K: Socket>(client: &mut Client<S, K>, shared: &Shared, now: Instant) {
    if !client.charge(&shared.memory) {
        client.close_overloaded(&shared.config.connection, &shared.memory, now);
    }
}

/// Closes our end of the stream, when it is time for that. With TLS the end has to be written, and
/// may have to wait for the client.
fn shutdown_write<S, K: Socket>(client: &mut Client<S, K>, now: Instant) -> io::Result<()> {
    let is_shut_down = match client.connection.close_action() {
        CloseAction::ShutdownWrite => client.shutdown_write(now),
        // Closing the socket is all that this takes in plain.
        CloseAction::Close(_) if client.has_tls() && client.connection.phase() != Phase::Over => {
            client.finish_stream(now);
            return Ok(());
        }
        CloseAction::Close(_) | CloseAction::None => return Ok(()),
    };
    match is_shut_down {
        Ok(()) => client.connection.write_shut_down(now),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Counts the responder's errors in a job, and logs the first.
fn report_errors<S>(job: &mut AnsweredJob<S>, counters: &Counters) {
    let errors = job.take_errors();
    if let Some(error) = errors.first {
        counters.responder_errors.add(errors.count.into());
        let peer = job.peer().address;
        tracing::error!(%peer, %error, count = errors.count, "Responder failed.");
    }
}

/// Puts a client at the end of the run queue, if it is not in it.
fn enqueue<S, K>(run_queue: &mut VecDeque<Key>, client: &mut Client<S, K>, key: Key) {
    if !client.is_in_run_queue {
        client.is_in_run_queue = true;
        run_queue.push_back(key);
    }
}
