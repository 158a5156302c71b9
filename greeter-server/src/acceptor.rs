//! The acceptor: lets clients in at all listeners, and deals them out to the connection threads.
//!
//! It has no thread of its own. Two would have to be woken for each client then, one to let it in and one to serve it, and a client that
//! comes, asks once and goes cost 1.4 times as much (docs/speed.md). The first connection thread keeps the [`Entrance`], and whoever stops
//! the server closes it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use greeter_core::CloseReason;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Registry, Token};

use crate::admission::Door;
use crate::builder::BACKLOG;
use crate::connection_thread::Mail;
use crate::mailbox::{Inbox, Mailbox};
use crate::slots::SLOT_BITS;
use crate::stats::Counters;

/// How long accepting rests when the system has no descriptors or no memory to spare. Nothing tells when it has again, so
/// this is also how long a client waits then, at the most.
const PAUSE: Duration = Duration::from_millis(100);

/// How many clients of one listener are let in before the others have a turn, and before the mail is looked at.
const TURN_CLIENTS: usize = 64;

/// The token of the first listener: beyond those of the thread's clients, which are the numbers of their slots.
const FIRST_TOKEN: usize = 1 << SLOT_BITS;

/// Where clients come in, until it is closed.
#[derive(Debug)]
pub(crate) struct Entrance<S>(Mutex<Option<Acceptor<S>>>);

/// What whoever stops the server does, whatever the sessions are.
pub(crate) trait Close: Send + Sync {
    /// Lets in whom the system has connected already, and nobody after that. At once, though the thread that keeps the entrance may be
    /// busy with a responder.
    fn close(&self);
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

#[derive(Debug)]
struct Acceptor<S> {
    inbox: Inbox<Order>,
    listeners: Vec<Listener>,
    threads: Vec<Mailbox<Mail<S>>>,
    door: Arc<Door>,
    is_paused: bool,
    /// Which thread the next client goes to.
    next_thread: usize,
    counters: Arc<Counters>,
}

/// A socket that clients connect to, and whether somebody may be waiting.
#[derive(Debug)]
struct Listener {
    socket: TcpListener,
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
        sockets: Vec<TcpListener>,
        registry: &Registry,
        inbox: Inbox<Order>,
        threads: Vec<Mailbox<Mail<S>>>,
        door: Arc<Door>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let mut listeners = Vec::with_capacity(sockets.len());
        for mut socket in sockets {
            registry.register(&mut socket, Token(FIRST_TOKEN + listeners.len()), Interest::READABLE)?;
            listeners.push(Listener { socket, state: State::Busy });
        }
        let acceptor = Acceptor { inbox, listeners, threads, door, is_paused: false, next_thread: 0, counters };
        Ok(Self(Mutex::new(Some(acceptor))))
    }

    /// What is to be done each time that the thread wakes up.
    pub(crate) fn round(&self, events: &Events) {
        if let Some(acceptor) = &mut *self.acceptor() {
            acceptor.round(events);
        }
    }

    /// How long nothing happens here unless the system or another thread says so. From now on, orders wake the thread.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.acceptor().as_ref().and_then(Acceptor::timeout)
    }

    /// An acceptor that panics half-way has at worst not let somebody in.
    fn acceptor(&self) -> MutexGuard<'_, Option<Acceptor<S>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Send> Close for Entrance<S> {
    fn close(&self) {
        if let Some(mut acceptor) = self.acceptor().take() {
            acceptor.let_in_the_last();
        }
    }
}

impl<S> Acceptor<S> {
    fn round(&mut self, events: &Events) {
        for event in events {
            if let Some(index) = event.token().0.checked_sub(FIRST_TOKEN)
                && let Some(listener) = self.listeners.get_mut(index)
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
            self.let_in(index);
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.inbox.try_sleep() {
            return Some(Duration::ZERO);
        }
        if self.is_paused || !self.door.is_open() {
            return None;
        }
        let waits = self.listeners.iter().filter_map(|listener| match listener.state {
            State::Quiet => None,
            State::Busy => Some(Duration::ZERO),
            State::Paused { until } => Some(until.saturating_duration_since(Instant::now())),
        });
        waits.min()
    }

    /// Lets in one turn's share of those who wait at this listener, if there may be any.
    fn let_in(&mut self, index: usize) {
        if self.is_paused {
            return;
        }
        match self.listeners[index].state {
            State::Quiet => return,
            State::Paused { until } if Instant::now() < until => return,
            State::Paused { .. } | State::Busy => {}
        }
        let mut turn = Err(io::Error::from(ErrorKind::WouldBlock));
        for _ in 0..TURN_CLIENTS {
            if !self.door.is_open() {
                return self.listeners[index].state = State::Busy;
            }
            match self.listeners[index].socket.accept() {
                Ok((socket, peer)) => {
                    self.hand_over(socket, peer);
                    turn = Ok(());
                }
                Err(error) => match Trouble::of(&error) {
                    Trouble::NobodyThere => return self.listeners[index].state = State::Quiet,
                    Trouble::ThatClient => {
                        self.counters.accept_errors.add(1);
                        turn = turn.or(Err(error));
                    }
                    Trouble::System => {
                        self.counters.accept_errors.add(1);
                        return self.pause(index, &error);
                    }
                },
            }
        }
        match turn {
            Ok(()) => self.listeners[index].state = State::Busy,
            // A whole turn of nothing but errors: whatever they mean, the next would be no better.
            Err(error) => self.pause(index, &error),
        }
    }

    /// Leaves a listener alone for a while. Said once, however often it has to be done again at once.
    fn pause(&mut self, index: usize, error: &io::Error) {
        let state = State::Paused { until: Instant::now() + PAUSE };
        if !matches!(std::mem::replace(&mut self.listeners[index].state, state), State::Paused { .. }) {
            tracing::warn!(%error, "Cannot accept connections for now.");
        }
    }

    /// The connections that the system has made already, up to a full backlog: closing the listener would reset them.
    fn let_in_the_last(&mut self) {
        self.is_paused = false;
        for index in 0..self.listeners.len() {
            self.listeners[index].state = State::Busy;
            for _ in 0..BACKLOG.div_ceil(TURN_CLIENTS) {
                if let State::Busy = self.listeners[index].state {
                    self.let_in(index);
                }
            }
        }
    }

    /// Deals a client to the next connection thread that is alive. One ends only with the server, or by a fault of ours.
    fn hand_over(&mut self, socket: TcpStream, address: SocketAddr) {
        self.counters.accepted.add(1);
        // Replies leave as they are made, in batches of our own. Where this fails the client is gone, as the next read shows.
        let _ = socket.set_nodelay(true);
        for _ in 0..self.threads.len() {
            let thread = &self.threads[self.next_thread];
            self.next_thread = (self.next_thread + 1) % self.threads.len();
            if thread.is_read() {
                return thread.send(Mail::Accepted { socket, address, answer: self.door.ask(address) });
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
    /// The system's: too few descriptors (EMFILE, ENFILE) or too little memory (ENOBUFS, ENOMEM), or something nobody has
    /// thought of. The client keeps waiting in the backlog, and trying again at once would fail at once.
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
            _ => Self::System,
        }
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
}
