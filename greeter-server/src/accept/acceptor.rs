//! The acceptor: accepts clients at all listeners, rejects those above a limit, and distributes the
//! others over the connection threads. Must not know what clients say.
//!
//! It has no thread of its own. Otherwise two threads would have to be woken for each client, one
//! to accept it and one to serve it, and a client that comes, asks once and leaves would cost 1.4
//! times as much (docs/speed.md). The first connection thread keeps the [`SharedAcceptor`], and the
//! thread that stops the server closes it.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use greeter_core::{Address, CloseReason};
use mio::{Events, Registry, Token};

use crate::accept::rejected::{MAX_REJECTED, RejectedSockets};
use crate::admission::{AcceptorMessage, Admission, Decision, Displaced, LobbyDecision};
use crate::config::Config;
use crate::entry_rules::EntryRules;
use crate::mailbox::{Inbox, Mailbox};
use crate::messages::{Newcomer, ThreadMessage};
use crate::slots::SLOT_BITS;
use crate::sockets::{BACKLOG, ListeningSocket};
use crate::stats::Counters;
use crate::system::Accept;

/// How long the acceptor pauses when the system has no descriptors or no memory left. No event
/// reports that it has some again, so this is also how long a client waits then, at most.
const PAUSE: Duration = Duration::from_millis(100);

/// How much of what the maximum rate allows may come at once: a rate is not a rhythm.
const ACCEPT_BURST: Duration = Duration::from_millis(100);

/// How many clients of one listener are accepted before the other listeners and the messages have
/// their turn.
const ACCEPT_BATCH: usize = 64;

/// The token of the first listener: above those of the thread's clients, which are the numbers of
/// their slots.
const FIRST_TOKEN: usize = 1 << SLOT_BITS;

/// How often [`CloseListeners::linger_rejected`] checks whether the clients that were rejected last
/// have gone.
const SWEEP_POLL: Duration = Duration::from_millis(5);

/// The acceptor, until it is closed.
pub(crate) struct SharedAcceptor<S>(Mutex<Acceptor<S, ListeningSocket>>);

/// What the thread that stops the server needs from the acceptor, whatever the type of the
/// sessions.
pub(crate) trait CloseListeners: Send + Sync {
    /// Accepts the clients that the system has connected already, rejects those for which there is
    /// no room, and closes the listeners. It does so at once, though the thread that keeps the
    /// acceptor may be in the responder. It returns events for the caller to log once it holds no
    /// lock.
    fn close(&self) -> Vec<AcceptorEvent>;

    /// Waits until the rejected clients have gone, until the deadline at most, and for none longer
    /// than the linger timeout.
    fn linger_rejected(&self, deadline: &dyn Fn() -> Instant);
}

/// An event to log. It is logged when no lock is held any more, since a subscriber may stop the
/// server.
#[derive(Debug)]
pub(crate) enum AcceptorEvent {
    /// A client was rejected, which is `debug` in a quiet server.
    Rejected { address: Address, reason: CloseReason, is_quiet: bool },
    /// A listener pauses.
    CannotAccept(io::Error),
}

impl AcceptorEvent {
    /// Logs the event.
    pub(crate) fn log(&self) {
        match self {
            Self::Rejected { address, reason, is_quiet: true } => {
                tracing::debug!(peer = %address, %reason, "Turned a client away.");
            }
            Self::Rejected { address, reason, is_quiet: false } => {
                tracing::warn!(peer = %address, %reason, "Turned a client away.");
            }
            Self::CannotAccept(error) => tracing::warn!(%error, "Cannot accept connections for now."),
        }
    }
}

/// Accepts, rejects and distributes clients, with any kind of listener.
pub(crate) struct Acceptor<S, L: Accept> {
    inbox: Inbox<AcceptorMessage>,
    /// Empty once the acceptor is closed. Then it accepts no client any more, and those that were
    /// rejected still have to go.
    listeners: Vec<RegisteredListener<L>>,
    threads: Vec<Mailbox<ThreadMessage<S, L::Socket>>>,
    admission: Arc<Admission>,
    config: Arc<Config>,
    /// What clients owe at each listener, in the order of the listeners.
    entry_rules: Vec<Arc<EntryRules>>,
    rejected: RejectedSockets<L::Socket>,
    is_paused: bool,
    /// The thread that gets the next client.
    next_thread: usize,
    events: Vec<AcceptorEvent>,
    counters: Arc<Counters>,
}

/// What an acceptor shares with the rest of the server.
pub(crate) struct AcceptorContext<S, K> {
    pub(crate) inbox: Inbox<AcceptorMessage>,
    pub(crate) threads: Vec<Mailbox<ThreadMessage<S, K>>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) config: Arc<Config>,
    pub(crate) entry_rules: Vec<Arc<EntryRules>>,
    pub(crate) counters: Arc<Counters>,
}

/// A listening socket, and whether clients may be waiting.
#[derive(Debug)]
struct RegisteredListener<L> {
    socket: L,
    state: ListenerState,
    /// How far it has gone with what it may accept: with each client, by the time that one is worth
    /// at the maximum rate (the generic cell rate algorithm).
    accepted_until: Instant,
}

/// Whether accept(2) is worth a try.
#[derive(Clone, Copy, Debug)]
enum ListenerState {
    /// No client waits; the system will report the next.
    WouldBlock,
    /// A client may be waiting.
    Ready,
    /// A client waits, and the system lacks resources to accept it until later.
    Paused { until: Instant },
    /// A client waits, and has no place unless one is released, or until then, when one that keeps
    /// us waiting makes room.
    Full { until: Option<Instant> },
    /// A client may be waiting, and waits until then, so that not too many are accepted a second.
    Throttled { until: Instant },
}

impl<S> SharedAcceptor<S> {
    /// Registers the listeners with the thread that will keep the acceptor.
    pub(crate) fn new(
        mut listeners: Vec<ListeningSocket>,
        registry: &Registry,
        context: AcceptorContext<S, <ListeningSocket as Accept>::Socket>,
    ) -> io::Result<Self> {
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener.register(registry, Token(FIRST_TOKEN + index))?;
        }
        Ok(Self(Mutex::new(Acceptor::new(listeners, context, MAX_REJECTED, Instant::now()))))
    }

    /// Does what there is to do each time the thread wakes up.
    pub(crate) fn round(&self, events: &Events) {
        let ready = events.iter().filter_map(|event| event.token().0.checked_sub(FIRST_TOKEN));
        let to_log = self.acceptor().round(ready, Instant::now);
        to_log.iter().for_each(AcceptorEvent::log);
    }

    /// Returns how long the thread may sleep without an event or a message. From now on, messages
    /// wake it.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.acceptor().timeout(Instant::now)
    }

    /// An acceptor that panics half-way has, at worst, not accepted a client.
    fn acceptor(&self) -> MutexGuard<'_, Acceptor<S, ListeningSocket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Send> CloseListeners for SharedAcceptor<S> {
    fn close(&self) -> Vec<AcceptorEvent> {
        self.acceptor().close(Instant::now())
    }

    fn linger_rejected(&self, deadline: &dyn Fn() -> Instant) {
        while self.acceptor().sweep(Instant::now) && Instant::now() < deadline() {
            thread::sleep(SWEEP_POLL);
        }
        self.acceptor().close_rejected();
    }
}

impl<S, L: Accept> Acceptor<S, L> {
    /// Creates an acceptor that keeps at most `max_rejected` rejected clients.
    pub(crate) fn new(
        listeners: Vec<L>,
        context: AcceptorContext<S, L::Socket>,
        max_rejected: usize,
        now: Instant,
    ) -> Self {
        let AcceptorContext { inbox, threads, admission, config, entry_rules, counters } = context;
        let register = |socket| RegisteredListener { socket, state: ListenerState::Ready, accepted_until: now };
        let listeners = listeners.into_iter().map(register).collect();
        let rejected = RejectedSockets::new(max_rejected, config.timeouts.linger, now, Arc::clone(&counters));
        Self {
            inbox,
            listeners,
            threads,
            admission,
            config,
            entry_rules,
            rejected,
            is_paused: false,
            next_thread: 0,
            events: Vec::new(),
            counters,
        }
    }

    /// Does what there is to do, with the numbers of the listeners that are ready, and returns the
    /// events. If no client comes, it does nothing, and does not even read the clock.
    pub(crate) fn round(
        &mut self,
        ready: impl Iterator<Item = usize>,
        clock: impl Fn() -> Instant,
    ) -> Vec<AcceptorEvent> {
        for index in ready {
            if let Some(listener) = self.listeners.get_mut(index)
                && let ListenerState::WouldBlock = listener.state
            {
                listener.state = ListenerState::Ready;
            }
        }
        while let Some(message) = self.inbox.next_message() {
            match message {
                AcceptorMessage::Pause => self.is_paused = true,
                AcceptorMessage::Resume => self.is_paused = false,
                AcceptorMessage::Reconfigured { config, entry_rules } => {
                    self.rejected.set_linger(config.timeouts.linger);
                    (self.config, self.entry_rules) = (config, entry_rules);
                    // Perhaps nothing is owed any more by those who had no place in the lobby.
                    self.permit_released();
                }
                AcceptorMessage::PermitReleased => self.permit_released(),
            }
        }
        for index in 0..self.listeners.len() {
            self.accept_batch(index, &clock);
        }
        self.sweep(clock);
        std::mem::take(&mut self.events)
    }

    /// Closes the rejected clients whose time is over. Returns whether any are left.
    pub(crate) fn sweep(&mut self, clock: impl Fn() -> Instant) -> bool {
        self.rejected.sweep(clock);
        self.rejected.next_sweep().is_some()
    }

    /// Closes all rejected clients.
    pub(crate) fn close_rejected(&mut self) {
        while self.rejected.close_oldest() {}
    }

    /// Returns how long the thread may sleep without an event or a message. From now on, messages
    /// wake it.
    pub(crate) fn timeout(&self, clock: impl Fn() -> Instant) -> Option<Duration> {
        if !self.inbox.try_sleep() {
            return Some(Duration::ZERO);
        }
        let mut next = self.rejected.next_sweep();
        if !self.is_paused {
            for listener in &self.listeners {
                match listener.state {
                    ListenerState::WouldBlock | ListenerState::Full { until: None } => {}
                    ListenerState::Ready => return Some(Duration::ZERO),
                    ListenerState::Paused { until }
                    | ListenerState::Full { until: Some(until) }
                    | ListenerState::Throttled { until } => {
                        next = Some(next.map_or(until, |next| next.min(until)));
                    }
                }
            }
        }
        next.map(|next| next.saturating_duration_since(clock()))
    }

    /// Accepts one batch of the clients that wait at this listener, if there may be any.
    fn accept_batch(&mut self, index: usize, clock: impl Fn() -> Instant) {
        let state = self.listeners[index].state;
        if self.is_paused || matches!(state, ListenerState::WouldBlock | ListenerState::Full { until: None }) {
            return;
        }
        let now = clock();
        if let ListenerState::Paused { until }
        | ListenerState::Full { until: Some(until) }
        | ListenerState::Throttled { until } = state
            && now < until
        {
            return;
        }
        let mut result = Err(io::Error::from(ErrorKind::WouldBlock));
        for _ in 0..ACCEPT_BATCH {
            let until = self.admission.opens_at(self.entry_rules[index].asks(), now);
            if until.is_none_or(|until| now < until) {
                return self.listeners[index].state = ListenerState::Full { until };
            }
            let until = self.rate_allows_at(index, now);
            if now < until {
                return self.listeners[index].state = ListenerState::Throttled { until };
            }
            match self.accept_one(index, now) {
                Ok(()) => {
                    self.count_for_rate(index, now);
                    result = Ok(());
                }
                Err((AcceptErrorKind::WouldBlock, _)) => {
                    return self.listeners[index].state = ListenerState::WouldBlock;
                }
                Err((AcceptErrorKind::Connection, error)) => result = result.or(Err(error)),
                // The next try can use the descriptor that this frees.
                Err((AcceptErrorKind::Descriptors, _)) if self.rejected.close_oldest() => {}
                Err((AcceptErrorKind::Descriptors | AcceptErrorKind::Resources, error)) => {
                    return self.pause(index, error, now);
                }
            }
        }
        match result {
            Ok(()) => self.listeners[index].state = ListenerState::Ready,
            // A whole batch of nothing but errors: whatever they mean, the next would be no better.
            Err(error) => self.pause(index, error, now),
        }
    }

    /// Returns when the maximum rate allows another client at this listener.
    fn rate_allows_at(&self, index: usize, now: Instant) -> Instant {
        match self.config.limits.max_accept_rate {
            Some(_) => self.listeners[index].accepted_until.checked_sub(ACCEPT_BURST).unwrap_or(now),
            None => now,
        }
    }

    /// Counts a client for the maximum rate.
    fn count_for_rate(&mut self, index: usize, now: Instant) {
        let Some(each) = self.config.limits.max_accept_rate.and_then(|rate| u32::try_from(rate).ok()) else { return };
        let listener = &mut self.listeners[index];
        listener.accepted_until = listener.accepted_until.max(now) + Duration::from_secs(1) / each;
    }

    /// Accepts the client that has waited longest at this listener, and dispatches or rejects it.
    fn accept_one(&mut self, index: usize, now: Instant) -> Result<(), (AcceptErrorKind, io::Error)> {
        match self.listeners[index].socket.accept() {
            Ok((socket, address)) => {
                self.counters.accepted.add(1);
                if self.entry_rules[index].asks_of(address) {
                    self.dispatch_newcomer(index, socket, address, now);
                } else {
                    self.dispatch(index, socket, address, now);
                }
                Ok(())
            }
            Err(error) => {
                let kind = AcceptErrorKind::of(&error);
                self.counters.accept_errors.add(u64::from(kind != AcceptErrorKind::WouldBlock));
                Err((kind, error))
            }
        }
    }

    /// Pauses a listener. However often that repeats at once, it is reported only the first time.
    fn pause(&mut self, index: usize, error: io::Error, now: Instant) {
        let state = ListenerState::Paused { until: now + PAUSE };
        if !matches!(std::mem::replace(&mut self.listeners[index].state, state), ListenerState::Paused { .. }) {
            self.events.push(AcceptorEvent::CannotAccept(error));
        }
    }

    /// Accepts the clients that the system has connected already, since closing the listener would
    /// reset them, and then closes it; no client waits for room any more. Clients that come
    /// meanwhile do not keep the server from stopping: it ends after two full backlogs. Clients at
    /// a socket that another program has as well are left to that one. Returns the events.
    pub(crate) fn close(&mut self, now: Instant) -> Vec<AcceptorEvent> {
        for index in 0..self.listeners.len() {
            self.listeners[index].socket.hide();
            let mut left = if self.listeners[index].socket.keeps_backlog() { 0 } else { 2 * BACKLOG };
            while left > 0 {
                match self.accept_one(index, now) {
                    Ok(()) | Err((AcceptErrorKind::Connection, _)) => left -= 1,
                    Err((AcceptErrorKind::Descriptors, _)) if self.rejected.close_oldest() => {}
                    Err((
                        AcceptErrorKind::WouldBlock | AcceptErrorKind::Descriptors | AcceptErrorKind::Resources,
                        _,
                    )) => break,
                }
            }
        }
        self.listeners.clear();
        std::mem::take(&mut self.events)
    }

    /// Those who had no place may have one now.
    fn permit_released(&mut self) {
        for listener in &mut self.listeners {
            if let ListenerState::Full { .. } = listener.state {
                listener.state = ListenerState::Ready;
            }
        }
    }

    /// Sends a newcomer to the lobby of the next connection thread, or rejects it.
    fn dispatch_newcomer(&mut self, index: usize, socket: L::Socket, address: Address, now: Instant) {
        let Some(thread) = self.choose_thread() else {
            return self.counters.closed[CloseReason::Lost.index()].add(1);
        };
        let rules = Arc::clone(&self.entry_rules[index]);
        match self.admission.admit_newcomer(address, thread, now) {
            LobbyDecision::Enter { place, displaced } => {
                self.displace(displaced);
                let newcomer = Newcomer { socket, address, place, rules, accepted: now };
                self.threads[thread].send(ThreadMessage::Newcomer(newcomer));
            }
            // The words would take a handshake first.
            LobbyDecision::Reject(reason) if rules.has_handshake() => {
                self.counters.rejected.add(1);
                self.counters.closed[reason.index()].add(1);
                let is_quiet = self.config.is_quiet;
                self.events.push(AcceptorEvent::Rejected { address, reason, is_quiet });
            }
            LobbyDecision::Reject(reason) => self.reject(socket, address, reason, now),
        }
    }

    /// Has a newcomer leave that has lost its place to another.
    fn displace(&self, displaced: Option<Displaced>) {
        if let Some(Displaced { thread, place }) = displaced {
            self.threads[thread].send(ThreadMessage::Displaced(place));
        }
    }

    /// Sends a client to the next connection thread, or rejects it.
    fn dispatch(&mut self, index: usize, socket: L::Socket, address: Address, now: Instant) {
        let (decision, displaced) = self.admission.admit(address, now);
        self.displace(displaced);
        let permit = match decision {
            Decision::Admit(permit) => permit,
            Decision::Reject(reason) => return self.reject(socket, address, reason, now),
        };
        match self.choose_thread() {
            Some(thread) => {
                let rules = Arc::clone(&self.entry_rules[index]);
                self.threads[thread].send(ThreadMessage::Accepted { socket, address, permit, rules });
            }
            None => self.counters.closed[CloseReason::Lost.index()].add(1),
        }
    }

    /// Tells a client why there is no place for it.
    fn reject(&mut self, socket: L::Socket, address: Address, reason: CloseReason, now: Instant) {
        self.counters.rejected.add(1);
        self.events.push(AcceptorEvent::Rejected { address, reason, is_quiet: self.config.is_quiet });
        let text = self.config.connection.rejection_text(reason);
        self.rejected.reject(socket, address, reason, &text, now);
    }

    /// Returns the next connection thread that is alive. A thread ends only with the server, or
    /// through an error of ours.
    fn choose_thread(&mut self) -> Option<usize> {
        let count = self.threads.len();
        let mut threads = (0..count).map(|further| (self.next_thread + further) % count);
        let chosen = threads.find(|&thread| self.threads[thread].has_receiver())?;
        self.next_thread = (chosen + 1) % count;
        Some(chosen)
    }
}

/// What a failed accept(2) concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptErrorKind {
    /// Nothing: no client waits.
    WouldBlock,
    /// One client, which is gone already. Linux reports errors of the new connection here
    /// (accept(2), "Error handling"); they say nothing about the listener.
    Connection,
    /// There are too few descriptors (EMFILE, ENFILE). The client stays in the backlog, and another
    /// try would fail at once unless a descriptor is freed.
    Descriptors,
    /// The system: too little memory (ENOBUFS, ENOMEM), or an unknown error. Another try at once is
    /// no use.
    Resources,
}

impl AcceptErrorKind {
    /// Classifies an error of accept(2).
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock => Self::WouldBlock,
            ErrorKind::Interrupted
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
            | ErrorKind::PermissionDenied
            | ErrorKind::TimedOut => Self::Connection,
            _ => Self::of_errno(error),
        }
    }

    /// Classifies an error that [`ErrorKind`] does not name.
    #[cfg(unix)]
    fn of_errno(error: &io::Error) -> Self {
        use rustix::io::Errno;
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE) => Self::Descriptors,
            Some(Errno::PROTO | Errno::NOPROTOOPT | Errno::OPNOTSUPP | Errno::HOSTDOWN) => Self::Connection,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Some(Errno::NONET) => Self::Connection,
            _ => Self::Resources,
        }
    }

    #[cfg(not(unix))]
    const fn of_errno(_: &io::Error) -> Self {
        Self::Resources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_resources_pauses_the_acceptor() {
        for kind in [ErrorKind::ConnectionAborted, ErrorKind::Interrupted, ErrorKind::PermissionDenied] {
            assert_eq!(AcceptErrorKind::of(&kind.into()), AcceptErrorKind::Connection, "{kind}");
        }
        for kind in [ErrorKind::OutOfMemory, ErrorKind::Other, ErrorKind::InvalidInput] {
            assert_eq!(AcceptErrorKind::of(&kind.into()), AcceptErrorKind::Resources, "{kind}");
        }
        assert_eq!(AcceptErrorKind::of(&ErrorKind::WouldBlock.into()), AcceptErrorKind::WouldBlock);
    }

    /// accept(2), "Error handling", lists the errors that concern one connection.
    #[cfg(target_os = "linux")]
    #[test]
    fn errors_of_one_connection_do_not_pause_the_acceptor() {
        use rustix::io::Errno;
        let of_one_connection = [
            Errno::NETDOWN,
            Errno::PROTO,
            Errno::NOPROTOOPT,
            Errno::HOSTDOWN,
            Errno::NONET,
            Errno::HOSTUNREACH,
            Errno::OPNOTSUPP,
            Errno::NETUNREACH,
            Errno::CONNABORTED,
            Errno::TIMEDOUT,
            Errno::PERM,
        ];
        for errno in of_one_connection {
            assert_eq!(AcceptErrorKind::of(&errno.into()), AcceptErrorKind::Connection, "{errno}");
        }
        for errno in [Errno::MFILE, Errno::NFILE] {
            assert_eq!(AcceptErrorKind::of(&errno.into()), AcceptErrorKind::Descriptors, "{errno}");
        }
        for errno in [Errno::NOBUFS, Errno::NOMEM, Errno::INVAL] {
            assert_eq!(AcceptErrorKind::of(&errno.into()), AcceptErrorKind::Resources, "{errno}");
        }
    }
}
