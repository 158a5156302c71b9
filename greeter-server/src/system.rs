//! What the acceptor and a connection thread ask of the system: sockets, word of them, and the time.
//!
//! All else that they do, they do by themselves, and so they can be driven by a system that was made up for a test.

use greeter_core::Address;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Poll, Token};

/// What a socket is watched for. Urgent data (RFC 6093) is of no interest for itself, but a read stops short where it stands.
const INTEREST: Interest = {
    let both = Interest::READABLE.add(Interest::WRITABLE);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let both = both.add(Interest::PRIORITY);
    both
};

/// Where the sockets of a connection thread are.
pub(crate) trait Poller {
    type Socket: Socket;

    fn now(&self) -> Instant;

    /// Has a socket watched from now on. News of it comes under the number of its slot, and each piece of news once.
    fn register(&self, socket: &mut Self::Socket, slot: u32) -> io::Result<()>;

    /// There is to be no more news of this socket, which is about to be closed.
    fn deregister(&self, socket: &mut Self::Socket);
}

/// Where clients connect, as the system has it.
pub(crate) trait Listener {
    type Socket: Socket;

    /// Takes the connection that has waited longest (accept(2)). Does not block.
    fn accept(&self) -> io::Result<(Self::Socket, Address)>;
}

/// One client's connection, as the system has it. Neither reading nor writing blocks.
pub(crate) trait Socket: Read + Write {
    /// Sends our end of the stream.
    fn shutdown_write(&self) -> io::Result<()>;

    /// How much there is to read.
    fn bytes_arrived(&self) -> io::Result<usize>;
}

/// What the system has to say about a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The end of its input is on its way, which no other news will announce, or urgent data is, at which reads stop.
    pub(crate) read_until_would_block: bool,
    pub(crate) is_broken: bool,
}

impl Poller for Poll {
    type Socket = TcpStream;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn register(&self, socket: &mut TcpStream, slot: u32) -> io::Result<()> {
        self.registry().register(socket, Token(slot as usize), INTEREST)
    }

    fn deregister(&self, socket: &mut TcpStream) {
        // Closing is not enough where the host is about to start a program: its copy of the descriptor would keep the events
        // coming, for whoever has the slot by then.
        let _ = self.registry().deregister(socket);
    }
}

impl Listener for TcpListener {
    type Socket = TcpStream;

    fn accept(&self) -> io::Result<(TcpStream, Address)> {
        let (socket, address) = Self::accept(self)?;
        // Replies leave as they are made, in batches of our own. Where this fails the client is gone, as the next read shows.
        let _ = socket.set_nodelay(true);
        Ok((socket, address.into()))
    }
}

impl Socket for TcpStream {
    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }

    #[cfg(unix)]
    fn bytes_arrived(&self) -> io::Result<usize> {
        let bytes = rustix::io::ioctl_fionread(self)?;
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// As far as a look at its start can tell.
    #[cfg(not(unix))]
    fn bytes_arrived(&self) -> io::Result<usize> {
        self.peek(&mut vec![0; 64 * 1024])
    }
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Self {
        Self {
            readable: event.is_readable() || event.is_read_closed() || event.is_priority(),
            writable: event.is_writable() || event.is_write_closed(),
            read_until_would_block: event.is_read_closed() || event.is_priority(),
            is_broken: event.is_error(),
        }
    }
}
