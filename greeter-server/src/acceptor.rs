//! The acceptor: one thread for all listeners, which deals new clients out to the connection threads.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::builder::BACKLOG;
use crate::connection_thread::Mail;
use crate::mailbox::{Inbox, Mailbox};
use crate::stats::Counters;

/// How long accepting rests when the system has no descriptors or no memory to spare. Nothing tells when it has again, so
/// this is also how long a client waits then, at the most.
const PAUSE: Duration = Duration::from_millis(100);

/// How many clients of one listener are let in before the others have a turn, and before the mail is looked at.
const TURN_CLIENTS: usize = 64;

/// How many listeners one look at the system can report.
const EVENTS: usize = 64;

/// What other threads tell the acceptor.
#[derive(Debug)]
pub(crate) enum Order {
    /// Let in who is at the door already, and end.
    Stop,
}

#[derive(Debug)]
pub(crate) struct Acceptor<S> {
    poll: Poll,
    inbox: Inbox<Order>,
    doors: Vec<Door>,
    threads: Vec<Mailbox<Mail<S>>>,
    /// Which thread the next client goes to.
    next_thread: usize,
    counters: Arc<Counters>,
}

/// A listener, and when to knock on it.
#[derive(Debug)]
struct Door {
    listener: TcpListener,
    state: DoorState,
}

#[derive(Clone, Copy, Debug)]
enum DoorState {
    /// Nobody is there; the system will tell.
    Quiet,
    /// There may be somebody.
    Busy,
    /// There is somebody, and the system cannot let them in until later.
    Paused { until: Instant },
}

impl<S> Acceptor<S> {
    /// Sets everything up that can fail, so that the thread itself need not.
    pub(crate) fn new(
        listeners: Vec<TcpListener>,
        poll: Poll,
        inbox: Inbox<Order>,
        threads: Vec<Mailbox<Mail<S>>>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let mut doors = Vec::with_capacity(listeners.len());
        for mut listener in listeners {
            poll.registry().register(&mut listener, Token(doors.len()), Interest::READABLE)?;
            doors.push(Door { listener, state: DoorState::Busy });
        }
        Ok(Self { poll, inbox, doors, threads, next_thread: 0, counters })
    }

    /// The thread's life, until it is told to stop. The listeners end with it.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            for door in 0..self.doors.len() {
                self.let_in(door);
            }
            if let Some(Order::Stop) = self.inbox.next_letter() {
                return self.let_in_the_last();
            }
            self.wait(&mut events);
        }
    }

    fn wait(&mut self, events: &mut Events) {
        let timeout = if self.inbox.try_sleep() { self.timeout() } else { Some(Duration::ZERO) };
        let polled = self.poll.poll(events, timeout);
        self.inbox.woke_up();
        if let Err(error) = polled
            && error.kind() != ErrorKind::Interrupted
        {
            tracing::error!(%error, "Cannot wait for clients.");
        }
        for event in &*events {
            if let Some(door) = self.doors.get_mut(event.token().0)
                && let DoorState::Quiet = door.state
            {
                door.state = DoorState::Busy;
            }
        }
    }

    /// How long nothing happens unless the system or another thread says so.
    fn timeout(&self) -> Option<Duration> {
        let waits = self.doors.iter().filter_map(|door| match door.state {
            DoorState::Quiet => None,
            DoorState::Busy => Some(Duration::ZERO),
            DoorState::Paused { until } => Some(until.saturating_duration_since(Instant::now())),
        });
        waits.min()
    }

    /// Lets in one turn's share of those who are at this door, if there may be any.
    fn let_in(&mut self, door: usize) {
        match self.doors[door].state {
            DoorState::Quiet => return,
            DoorState::Paused { until } if Instant::now() < until => return,
            DoorState::Paused { .. } | DoorState::Busy => {}
        }
        let mut turn = Err(io::Error::from(ErrorKind::WouldBlock));
        for _ in 0..TURN_CLIENTS {
            match self.doors[door].listener.accept() {
                Ok((socket, peer)) => {
                    self.hand_over(socket, peer);
                    turn = Ok(());
                }
                Err(error) => match Trouble::of(&error) {
                    Trouble::NobodyThere => return self.doors[door].state = DoorState::Quiet,
                    Trouble::ThatClient => {
                        self.counters.accept_errors.add(1);
                        turn = turn.or(Err(error));
                    }
                    Trouble::System => {
                        self.counters.accept_errors.add(1);
                        return self.pause(door, &error);
                    }
                },
            }
        }
        match turn {
            Ok(()) => self.doors[door].state = DoorState::Busy,
            // A whole turn of nothing but errors: whatever they mean, the next would be no better.
            Err(error) => self.pause(door, &error),
        }
    }

    /// Leaves a door alone for a while. Said once, however often it has to be done again at once.
    fn pause(&mut self, door: usize, error: &io::Error) {
        let state = DoorState::Paused { until: Instant::now() + PAUSE };
        if !matches!(std::mem::replace(&mut self.doors[door].state, state), DoorState::Paused { .. }) {
            tracing::warn!(%error, "Cannot accept connections for now.");
        }
    }

    /// The connections that the system has made already, up to a full backlog: closing the listener would reset them.
    fn let_in_the_last(&mut self) {
        for door in 0..self.doors.len() {
            self.doors[door].state = DoorState::Busy;
            for _ in 0..BACKLOG.div_ceil(TURN_CLIENTS) {
                if let DoorState::Busy = self.doors[door].state {
                    self.let_in(door);
                }
            }
        }
    }

    fn hand_over(&mut self, socket: TcpStream, peer: SocketAddr) {
        self.counters.accepted.add(1);
        // Replies leave as they are made, in batches of our own. Where this fails the client is gone, as the next read shows.
        let _ = socket.set_nodelay(true);
        self.threads[self.next_thread].send(Mail::Accepted { socket, peer });
        self.next_thread = (self.next_thread + 1) % self.threads.len();
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
