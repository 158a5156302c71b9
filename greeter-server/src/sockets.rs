//! The sockets of clients and the sockets that listen, of every kind that the system has. Must not
//! know what is said on them.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use greeter_core::Address;
#[cfg(unix)]
use greeter_core::Credentials;
use mio::event::Source;
use mio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Poll, Registry, Token};
use socket2::{SockRef, TcpKeepalive};

#[cfg(unix)]
use crate::socket_file::SocketFile;
use crate::system::{Accept, INTEREST, Poller, Socket};

/// How many connections the system may make before they are accepted. It takes fewer where its own
/// limit is lower (`net.core.somaxconn`).
pub(crate) const BACKLOG: usize = 4096;

/// TCP keepalive for clients: the first probe after this long without a packet, then so many, so
/// far apart. A client that has vanished is noticed after 90 s. Routers in between may forget a
/// silent connection after some minutes, and each probe keeps it known.
const KEEPALIVE: TcpKeepalive = {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60));
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "freebsd", windows))]
    let keepalive = keepalive.with_interval(Duration::from_secs(10)).with_retries(3);
    keepalive
};

/// How long what was sent may go without an acknowledgement (`TCP_USER_TIMEOUT` in tcp(7), RFC
/// 5482). Keepalive sends no probes while there is something to send again, and without this the
/// system gives up after a quarter of an hour. It comes to the same time.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) const USER_TIMEOUT: Duration = Duration::from_secs(90);

/// The options of a TCP connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpOptions {
    /// Whether a client that has vanished is noticed though nothing is sent.
    pub(crate) keepalive: bool,
}

impl TcpOptions {
    /// Sets the options, on a connection or on a listener whose connections inherit them.
    pub(crate) fn set_on<'s>(self, socket: impl Into<SockRef<'s>>) -> io::Result<()> {
        let socket = socket.into();
        // Replies leave as they are written, in batches of our own.
        socket.set_tcp_nodelay(true)?;
        if self.keepalive {
            socket.set_tcp_keepalive(&KEEPALIVE)?;
            #[cfg(any(target_os = "linux", target_os = "android"))]
            socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        }
        Ok(())
    }
}

/// The socket of a client.
#[derive(Debug)]
pub(crate) enum ClientSocket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct ListeningSocket {
    pub(crate) kind: ListeningKind,
    /// Whether it may be another program's as well: then its backlog is left to that one.
    pub(crate) is_inherited: bool,
}

#[derive(Debug)]
pub(crate) enum ListeningKind {
    /// With what each client's socket is still to be given.
    Tcp(TcpListener, Option<TcpOptions>),
    /// With its file, if that is ours.
    #[cfg(unix)]
    Unix(UnixListener, Option<SocketFile>),
}

/// Calls the same function of whichever socket it is.
macro_rules! each {
    ($self:expr, $socket:ident => $call:expr) => {
        match $self {
            Self::Tcp($socket) => $call,
            #[cfg(unix)]
            Self::Unix($socket) => $call,
        }
    };
}

impl Read for ClientSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        each!(self, socket => socket.read(buffer))
    }
}

impl Write for ClientSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        each!(self, socket => socket.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Poller for Poll {
    type Socket = ClientSocket;

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn register(&self, socket: &mut ClientSocket, slot: u32) -> io::Result<()> {
        self.registry().register(socket, Token(slot as usize), INTEREST)
    }

    fn reregister(&self, socket: &mut ClientSocket, slot: u32) -> io::Result<()> {
        self.registry().reregister(socket, Token(slot as usize), INTEREST)
    }

    fn deregister(&self, socket: &mut ClientSocket) {
        // Closing is not enough while the host program starts another program: the child's copy of
        // the descriptor would keep the events coming, for the client that has the slot by then.
        let _ = self.registry().deregister(socket);
    }
}

impl Socket for ClientSocket {
    fn shutdown_write(&self) -> io::Result<()> {
        each!(self, socket => socket.shutdown(Shutdown::Write))
    }

    #[cfg(unix)]
    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (bytes, _) = each!(self, socket => rustix::net::recv(socket, buffer, rustix::net::RecvFlags::PEEK))?;
        Ok(bytes)
    }

    #[cfg(not(unix))]
    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self::Tcp(socket) = self;
        socket.peek(buffer)
    }

    #[cfg(unix)]
    fn bytes_arrived(&self) -> io::Result<usize> {
        let bytes = each!(self, socket => rustix::io::ioctl_fionread(socket))?;
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Returns it as far as a peek can tell.
    #[cfg(not(unix))]
    fn bytes_arrived(&self) -> io::Result<usize> {
        let Self::Tcp(socket) = self;
        socket.peek(&mut vec![0; 64 * 1024])
    }
}

impl Source for ClientSocket {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        each!(self, socket => socket.register(registry, token, interest))
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        each!(self, socket => socket.reregister(registry, token, interest))
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        each!(self, socket => socket.deregister(registry))
    }
}

impl ListeningSocket {
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.kind {
            ListeningKind::Tcp(listener, _) => registry.register(listener, token, Interest::READABLE),
            #[cfg(unix)]
            ListeningKind::Unix(listener, _) => registry.register(listener, token, Interest::READABLE),
        }
    }
}

impl Accept for ListeningSocket {
    type Socket = ClientSocket;

    fn accept(&self) -> io::Result<(ClientSocket, Address)> {
        match &self.kind {
            ListeningKind::Tcp(listener, options) => {
                let (socket, address) = listener.accept()?;
                // If this fails the client is gone, as the next read shows.
                let _ = options.as_ref().map(|options| options.set_on(&socket));
                Ok((ClientSocket::Tcp(socket), address.into()))
            }
            #[cfg(unix)]
            ListeningKind::Unix(listener, _) => {
                let (socket, _) = listener.accept()?;
                let credentials = credentials(&socket);
                Ok((ClientSocket::Unix(socket), Address::Unix(credentials)))
            }
        }
    }

    fn hide(&mut self) {
        #[cfg(unix)]
        if let ListeningKind::Unix(_, file) = &mut self.kind {
            *file = None;
        }
    }

    fn keeps_backlog(&self) -> bool {
        self.is_inherited
    }
}

/// Asks the system who has connected.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn credentials(socket: &UnixStream) -> Option<Credentials> {
    let credentials = rustix::net::sockopt::socket_peercred(socket).ok()?;
    // A process of another namespace has the id 0 here.
    let pid = u32::try_from(credentials.pid.as_raw_nonzero().get()).ok();
    Some(Credentials::new(credentials.uid.as_raw(), credentials.gid.as_raw(), pid))
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const fn credentials(_: &UnixStream) -> Option<Credentials> {
    None
}
