//! What the acceptor and a connection thread need from the system: sockets, their readiness, and
//! the time. A trait for each, so that a test can drive them with a system of its own.

use greeter_core::Address;
use std::io::{self, Read, Write};
use std::time::Instant;

use mio::Interest;
use mio::event::Event;

/// What a socket is registered for. Urgent data (RFC 6093) is of no interest for itself, but a read
/// stops short where it begins.
pub(crate) const INTEREST: Interest = {
    let both = Interest::READABLE.add(Interest::WRITABLE);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let both = both.add(Interest::PRIORITY);
    both
};

/// The system's readiness queue for the sockets of one connection thread.
pub(crate) trait Poller {
    type Socket: Socket;

    fn now(&self) -> Instant;

    /// Registers a socket. Its events carry the number of its slot, and each is reported once.
    fn register(&self, socket: &mut Self::Socket, slot: u32) -> io::Result<()>;

    /// Registers a registered socket for another slot. What it is ready for is reported again
    /// (`EPOLL_CTL_MOD` in epoll_ctl(2)).
    fn reregister(&self, socket: &mut Self::Socket, slot: u32) -> io::Result<()>;

    /// Deregisters a socket that is about to be closed.
    fn deregister(&self, socket: &mut Self::Socket);
}

/// A listening socket.
pub(crate) trait Accept {
    type Socket: Socket;

    /// Accepts the connection that has waited longest (accept(2)). Does not block.
    fn accept(&self) -> io::Result<(Self::Socket, Address)>;

    /// Keeps new clients from finding it, as far as that can be done before it is closed.
    fn hide(&mut self);

    /// Whether clients that wait when the server stops are left to another program, which listens
    /// at the same socket.
    fn keeps_backlog(&self) -> bool;
}

/// A client's socket. Neither reading nor writing blocks.
pub(crate) trait Socket: Read + Write {
    /// Closes our end of the stream.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Reads, and leaves what it has read to be read again.
    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Returns how many bytes there are to read.
    fn bytes_arrived(&self) -> io::Result<usize>;
}

/// What the system reports about a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// A read must be repeated until it would block: the end of the input is on its way, which no
    /// other event will announce, or urgent data is, at which reads stop short.
    pub(crate) read_until_would_block: bool,
    pub(crate) is_broken: bool,
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
