//! The acceptor: lets clients in at all listeners, and deals them out to the connection threads.
//!
//! It has no thread of its own. Two would have to be woken for each client then, one to let it in and one to serve it, and a client that
//! comes, asks once and goes cost 1.4 times as much (docs/speed.md). The first connection thread keeps the [`Entrance`], and whoever stops
//! the server closes it.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use greeter_core::{Address, CloseReason, ConnectionConfig};
use mio::net::TcpListener;
use mio::{Events, Interest, Registry, Token};

use crate::admission::{Answer, Door};
use crate::builder::BACKLOG;
use crate::connection_thread::Mail;
use crate::mailbox::{Inbox, Mailbox};
use crate::refused::{REFUSED_MAX, Refused};
use crate::slots::SLOT_BITS;
use crate::stats::Counters;
use crate::system::Listener;

/// How long accepting rests when the system has no descriptors or no memory to spare. Nothing tells when it has again, so
/// this is also how long a client waits then, at the most.
const PAUSE: Duration = Duration::from_millis(100);

/// How many clients of one listener are let in before the others have a turn, and before the mail is looked at.
const TURN_CLIENTS: usize = 64;

/// The token of the first listener: beyond those of the thread's clients, which are the numbers of their slots.
const FIRST_TOKEN: usize = 1 << SLOT_BITS;

/// How often is looked whether those have gone who were refused last, when there is nothing else to wait for.
const LOOK: Duration = Duration::from_millis(5);

/// Where clients come in, until it is closed.
pub(crate) struct Entrance<S>(Mutex<Acceptor<S, TcpListener>>);

/// What whoever stops the server does, whatever the sessions are.
pub(crate) trait Close: Send + Sync {
    /// Lets in whom the system has connected already, and nobody after that; where there is no room for one, it is told so. At once,
    /// though the thread that keeps the entrance may be busy with a responder. What there is to tell of that is for the caller to tell, when
    /// it holds no lock.
    fn close(&self) -> Vec<News>;

    /// Waits until those have gone who were refused, but no longer than that, and not for anyone who has had its time.
    fn see_off(&self, deadline: &dyn Fn() -> Instant);
}

/// What people are to know. It is told when no lock is held any more, since whoever hears of it may have the server stop.
#[derive(Debug)]
pub(crate) enum News {
    TurnedAway { address: Address, reason: CloseReason },
    CannotAccept(io::Error),
}

impl News {
    pub(crate) fn tell(&self) {
        match self {
            Self::TurnedAway { address, reason } => {
                tracing::warn!(peer = %address, %reason, "Turned a client away.");
            }
            Self::CannotAccept(error) => tracing::warn!(%error, "Cannot accept connections for now."),
        }
    }
}

/// What other threads tell the acceptor.
#[derive(Debug)]
pub(crate) enum Order {
    /// Accept nobody for now. Clients wait in the backlog.
    Pause,
    /// Accept again.
    Resume,
    /// Somebody has left, so that another may come in.
    LookAgain,
}

/// Admits, refuses and deals out, with whatever a listener is here.
pub(crate) struct Acceptor<S, L: Listener> {
    inbox: Inbox<Order>,
    /// None once the entrance is closed. Then nobody comes in any more, and those who were refused are still to go.
    listeners: Vec<Watched<L>>,
    threads: Vec<Mailbox<Mail<S, L::Socket>>>,
    door: Arc<Door>,
    terms: Arc<ConnectionConfig>,
    refused: Refused<L::Socket>,
    is_paused: bool,
    /// Which thread the next client goes to.
    next_thread: usize,
    to_tell: Vec<News>,
    counters: Arc<Counters>,
}

/// What an acceptor has in common with the rest of the server.
pub(crate) struct Reception<S, K> {
    pub(crate) inbox: Inbox<Order>,
    pub(crate) threads: Vec<Mailbox<Mail<S, K>>>,
    pub(crate) door: Arc<Door>,
    pub(crate) terms: Arc<ConnectionConfig>,
    pub(crate) linger: Duration,
    pub(crate) counters: Arc<Counters>,
}

/// A socket that clients connect to, and whether somebody may be waiting.
#[derive(Debug)]
struct Watched<L> {
    socket: L,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nobody is there; the system will tell.
    Quiet,
    /// There may be somebody.
    Busy,
    /// There is somebody, and the system cannot let them in until later.
    Paused { until: Instant },
}

impl<S> Entrance<S> {
    /// Has the listeners watched by the thread that will keep it.
    pub(crate) fn new(
        mut listeners: Vec<TcpListener>,
        registry: &Registry,
        reception: Reception<S, <TcpListener as Listener>::Socket>,
    ) -> io::Result<Self> {
        for (index, listener) in listeners.iter_mut().enumerate() {
            registry.register(listener, Token(FIRST_TOKEN + index), Interest::READABLE)?;
        }
        Ok(Self(Mutex::new(Acceptor::new(listeners, reception, REFUSED_MAX, Instant::now()))))
    }

    /// What is to be done each time that the thread wakes up.
    pub(crate) fn round(&self, events: &Events) {
        let news = events.iter().filter_map(|event| event.token().0.checked_sub(FIRST_TOKEN));
        let to_tell = self.acceptor().round(news, Instant::now);
        to_tell.iter().for_each(News::tell);
    }

    /// How long nothing happens here unless the system or another thread says so. From now on, orders wake the thread.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.acceptor().timeout(Instant::now)
    }

    /// An acceptor that panics half-way has at worst not let somebody in.
    fn acceptor(&self) -> MutexGuard<'_, Acceptor<S, TcpListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Send> Close for Entrance<S> {
    fn close(&self) -> Vec<News> {
        self.acceptor().close(Instant::now())
    }

    fn see_off(&self, deadline: &dyn Fn() -> Instant) {
        while self.acceptor().sweep(Instant::now) && Instant::now() < deadline() {
            thread::sleep(LOOK);
        }
        self.acceptor().close_refused();
    }
}

impl<S, L: Listener> Acceptor<S, L> {
    /// Keeps at most so many clients that were refused.
    pub(crate) fn new(listeners: Vec<L>, reception: Reception<S, L::Socket>, refused_max: usize, now: Instant) -> Self {
        let Reception { inbox, threads, door, terms, linger, counters } = reception;
        let listeners = listeners.into_iter().map(|socket| Watched { socket, state: State::Busy }).collect();
        let refused = Refused::new(refused_max, linger, now, Arc::clone(&counters));
        Self {
            inbox,
            listeners,
            threads,
            door,
            terms,
            refused,
            is_paused: false,
            next_thread: 0,
            to_tell: Vec::new(),
            counters,
        }
    }

    /// Does what there is to do, with news of the listeners of these numbers, and gives what there is to tell of that. Where nobody comes,
    /// it is nothing, not even a look at the clock.
    pub(crate) fn round(&mut self, news: impl Iterator<Item = usize>, clock: impl Fn() -> Instant) -> Vec<News> {
        for index in news {
            if let Some(listener) = self.listeners.get_mut(index)
                && let State::Quiet = listener.state
            {
                listener.state = State::Busy;
            }
        }
        while let Some(order) = self.inbox.next_message() {
            match order {
                Order::Pause => self.is_paused = true,
                Order::Resume => self.is_paused = false,
                Order::LookAgain => {}
            }
        }
        for index in 0..self.listeners.len() {
            self.let_in(index, &clock);
        }
        self.sweep(clock);
        std::mem::take(&mut self.to_tell)
    }

    /// Lets those go who were refused and have had their time. Tells whether any are left.
    pub(crate) fn sweep(&mut self, clock: impl Fn() -> Instant) -> bool {
        self.refused.sweep(clock);
        self.refused.next_sweep().is_some()
    }

    /// Lets all of them go.
    pub(crate) fn close_refused(&mut self) {
        while self.refused.give_one_back() {}
    }

    pub(crate) fn timeout(&self, clock: impl Fn() -> Instant) -> Option<Duration> {
        if !self.inbox.try_sleep() {
            return Some(Duration::ZERO);
        }
        let mut next = self.refused.next_sweep();
        if !self.is_paused && self.door.is_open() {
            for listener in &self.listeners {
                match listener.state {
                    State::Quiet => {}
                    State::Busy => return Some(Duration::ZERO),
                    State::Paused { until } => next = Some(next.map_or(until, |next| next.min(until))),
                }
            }
        }
        next.map(|next| next.saturating_duration_since(clock()))
    }

    /// Lets in one turn's share of those who wait at this listener, if there may be any.
    fn let_in(&mut self, index: usize, clock: impl Fn() -> Instant) {
        let state = self.listeners[index].state;
        if self.is_paused || matches!(state, State::Quiet) {
            return;
        }
        let now = clock();
        if matches!(state, State::Paused { until } if now < until) {
            return;
        }
        let mut turn = Err(io::Error::from(ErrorKind::WouldBlock));
        for _ in 0..TURN_CLIENTS {
            if !self.door.is_open() {
                return self.listeners[index].state = State::Busy;
            }
            match self.let_one_in(index, now) {
                Ok(()) => turn = Ok(()),
                Err((Trouble::NobodyThere, _)) => return self.listeners[index].state = State::Quiet,
                Err((Trouble::ThatClient, error)) => turn = turn.or(Err(error)),
                // What is given back is there for the next try.
                Err((Trouble::Descriptors, _)) if self.refused.give_one_back() => {}
                Err((Trouble::Descriptors | Trouble::System, error)) => return self.pause(index, error, now),
            }
        }
        match turn {
            Ok(()) => self.listeners[index].state = State::Busy,
            // A whole turn of nothing but errors: whatever they mean, the next would be no better.
            Err(error) => self.pause(index, error, now),
        }
    }

    /// Lets in whoever has waited longest at this listener, or tells it that there is no room.
    fn let_one_in(&mut self, index: usize, now: Instant) -> Result<(), (Trouble, io::Error)> {
        match self.listeners[index].socket.accept() {
            Ok((socket, address)) => {
                self.counters.accepted.add(1);
                self.receive(socket, address, now);
                Ok(())
            }
            Err(error) => {
                let trouble = Trouble::of(&error);
                self.counters.accept_errors.add(u64::from(trouble != Trouble::NobodyThere));
                Err((trouble, error))
            }
        }
    }

    /// Leaves a listener alone for a while. Said once, however often it has to be done again at once.
    fn pause(&mut self, index: usize, error: io::Error, now: Instant) {
        let state = State::Paused { until: now + PAUSE };
        if !matches!(std::mem::replace(&mut self.listeners[index].state, state), State::Paused { .. }) {
            self.to_tell.push(News::CannotAccept(error));
        }
    }

    /// Lets in whom the system has connected already, since closing the listener would reset them, and then closes it; nobody is left to wait
    /// for room. Who comes meanwhile does not keep the server from stopping: it ends after two full backlogs. Gives what there is to tell.
    pub(crate) fn close(&mut self, now: Instant) -> Vec<News> {
        for index in 0..self.listeners.len() {
            let mut left = 2 * BACKLOG;
            while left > 0 {
                match self.let_one_in(index, now) {
                    Ok(()) | Err((Trouble::ThatClient, _)) => left -= 1,
                    Err((Trouble::Descriptors, _)) if self.refused.give_one_back() => {}
                    Err((Trouble::NobodyThere | Trouble::Descriptors | Trouble::System, _)) => break,
                }
            }
        }
        self.listeners.clear();
        std::mem::take(&mut self.to_tell)
    }

    /// Deals a client to the next connection thread that is alive, if there is room for it. A thread ends only with the server, or by a
    /// fault of ours.
    fn receive(&mut self, socket: L::Socket, address: Address, now: Instant) {
        let admission = match self.door.ask(address) {
            Answer::Welcome(admission) => admission,
            Answer::Sorry(reason) => {
                self.counters.turned_away.add(1);
                self.to_tell.push(News::TurnedAway { address, reason });
                let words = self.terms.rejection_text(reason);
                return self.refused.refuse(socket, address, reason, words, now);
            }
        };
        for _ in 0..self.threads.len() {
            let thread = &self.threads[self.next_thread];
            self.next_thread = (self.next_thread + 1) % self.threads.len();
            if thread.is_read() {
                return thread.send(Mail::Accepted { socket, address, admission });
            }
        }
        self.counters.closed[CloseReason::Lost.index()].add(1);
    }
}

/// Whose trouble a failed accept(2) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// Nobody's: there is no one to accept.
    NobodyThere,
    /// The one client's, which is gone already. Linux passes errors of the new connection on here (accept(2), "Error
    /// handling"); they say nothing about the listener.
    ThatClient,
    /// There are too few descriptors (EMFILE, ENFILE). The client keeps waiting in the backlog, and trying again at once would fail at
    /// once, unless one is given back.
    Descriptors,
    /// The system's: too little memory (ENOBUFS, ENOMEM), or something nobody has thought of. Trying again at once is of no use.
    System,
}

impl Trouble {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock => Self::NobodyThere,
            ErrorKind::Interrupted
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
            | ErrorKind::PermissionDenied
            | ErrorKind::TimedOut => Self::ThatClient,
            _ => Self::of_the_system(error),
        }
    }

    /// What [`ErrorKind`] does not name.
    #[cfg(unix)]
    fn of_the_system(error: &io::Error) -> Self {
        use rustix::io::Errno;
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE) => Self::Descriptors,
            Some(Errno::PROTO | Errno::NOPROTOOPT | Errno::OPNOTSUPP | Errno::HOSTDOWN) => Self::ThatClient,
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Some(Errno::NONET) => Self::ThatClient,
            _ => Self::System,
        }
    }

    #[cfg(not(unix))]
    const fn of_the_system(_: &io::Error) -> Self {
        Self::System
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_systems_own_trouble_makes_the_acceptor_pause() {
        for kind in [ErrorKind::ConnectionAborted, ErrorKind::Interrupted, ErrorKind::PermissionDenied] {
            assert_eq!(Trouble::of(&kind.into()), Trouble::ThatClient, "{kind}");
        }
        for kind in [ErrorKind::OutOfMemory, ErrorKind::Other, ErrorKind::InvalidInput] {
            assert_eq!(Trouble::of(&kind.into()), Trouble::System, "{kind}");
        }
        assert_eq!(Trouble::of(&ErrorKind::WouldBlock.into()), Trouble::NobodyThere);
    }

    /// accept(2), "Error handling": what it takes for a failure of the one connection.
    #[cfg(target_os = "linux")]
    #[test]
    fn errors_of_one_connection_are_that_clients() {
        use rustix::io::Errno;
        let of_one = [
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
        for errno in of_one {
            assert_eq!(Trouble::of(&errno.into()), Trouble::ThatClient, "{errno}");
        }
        for errno in [Errno::MFILE, Errno::NFILE] {
            assert_eq!(Trouble::of(&errno.into()), Trouble::Descriptors, "{errno}");
        }
        for errno in [Errno::NOBUFS, Errno::NOMEM, Errno::INVAL] {
            assert_eq!(Trouble::of(&errno.into()), Trouble::System, "{errno}");
        }
    }
}
