//! The sockets of a load: connected many at a time, then driven by readiness.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use mio::event::Source;
use mio::{Interest, Registry, Token};

use crate::load::error::LoadError;
use crate::net::{CiphertextIn, ClientTlsSession, ConnectError, PlainRead, RawSocket, Route, TlsLayer, connect};

/// How many connects are under way at a time: fewer than any listener's queue holds, and enough to
/// not wait for each round trip in turn.
const MAX_CONNECTING: usize = 32;

/// A connection that is up, and its TLS if it has some.
pub(crate) type Connected = (RawSocket, Option<TlsLayer>);

/// A connection that never blocks, with TLS or without.
#[derive(Debug)]
pub(crate) struct LoadSocket {
    socket: PollSocket,
    tls: Option<Box<LoadTls>>,
}

/// A connected socket that never blocks.
#[derive(Debug)]
enum PollSocket {
    Tcp(mio::net::TcpStream),
    #[cfg(unix)]
    Unix(mio::net::UnixStream),
}

/// The TLS of a connection.
#[derive(Debug)]
struct LoadTls {
    session: ClientTlsSession,
    incoming: CiphertextIn,
    /// Whether the last read from the socket has emptied it.
    is_drained: bool,
    /// What is encrypted, of which the system has taken so much.
    ciphertext: Vec<u8>,
    sent: usize,
}

/// What a read has brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadRead {
    /// So many bytes; 0 is the end.
    pub(crate) count: usize,
    /// There was nothing more, unless it was the end.
    pub(crate) is_short: bool,
}

impl LoadSocket {
    pub(super) fn new((socket, tls): Connected) -> io::Result<Self> {
        let tls = tls.map(|tls| {
            let (session, incoming) = tls.into_parts();
            Box::new(LoadTls { session, incoming, is_drained: false, ciphertext: Vec::new(), sent: 0 })
        });
        Ok(Self { socket: PollSocket::new(socket)?, tls })
    }

    /// From now on `token` tells when it can be read or written again.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match &mut self.socket {
            PollSocket::Tcp(socket) => socket.register(registry, token, interest),
            #[cfg(unix)]
            PollSocket::Unix(socket) => socket.register(registry, token, interest),
        }
    }

    pub(crate) fn read(&mut self, space: &mut [u8]) -> io::Result<LoadRead> {
        let Self { socket, tls } = self;
        let Some(tls) = tls else {
            let count = socket.read(space)?;
            return Ok(LoadRead { count, is_short: count < space.len() });
        };
        loop {
            match tls.incoming.read(&mut tls.session, space) {
                // What did not fit is still in there, and no socket tells of that.
                Ok(PlainRead::Bytes(count)) => {
                    return Ok(LoadRead { count, is_short: tls.is_drained && count < space.len() });
                }
                Ok(PlainRead::Ended) => return Ok(LoadRead { count: 0, is_short: true }),
                Ok(PlainRead::Starved) => {
                    let room = tls.incoming.space();
                    let count = socket.read(room)?;
                    tls.is_drained = count < room.len();
                    tls.incoming.filled(count);
                }
                Err(failure) => return Err(io::Error::new(io::ErrorKind::InvalidData, failure)),
            }
        }
    }

    /// Takes some of the bytes, and says how many. Under TLS the system may not have taken them
    /// yet: then it is [clogged](Self::is_clogged).
    pub(crate) fn write(&mut self, pieces: &[IoSlice<'_>; 2]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.write(pieces) };
        let piece = if pieces[0].is_empty() { &pieces[1] } else { &pieces[0] };
        let count = tls.session.encrypt(piece, &mut tls.ciphertext)?;
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(count),
        }
    }

    /// Whether the system has not taken all that was written.
    pub(crate) fn is_clogged(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.sent < tls.ciphertext.len())
    }

    /// Hands the system what it has not taken.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Self { socket, tls: Some(tls) } = self else { return Ok(()) };
        while tls.sent < tls.ciphertext.len() {
            tls.sent += socket.write(&[IoSlice::new(&tls.ciphertext[tls.sent..]), IoSlice::new(&[])])?;
        }
        tls.ciphertext.clear();
        tls.sent = 0;
        Ok(())
    }
}

impl Drop for LoadSocket {
    fn drop(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.session.close(&mut tls.ciphertext);
            // Nobody waits until the server has room for it.
            let _ = self.flush();
        }
    }
}

impl PollSocket {
    fn new(socket: RawSocket) -> io::Result<Self> {
        Ok(match socket {
            RawSocket::Tcp(stream) => {
                stream.set_nonblocking(true)?;
                Self::Tcp(mio::net::TcpStream::from_std(stream))
            }
            #[cfg(unix)]
            RawSocket::Unix(stream) => {
                stream.set_nonblocking(true)?;
                Self::Unix(mio::net::UnixStream::from_std(stream))
            }
        })
    }

    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(space),
            #[cfg(unix)]
            Self::Unix(socket) => socket.read(space),
        }
    }

    fn write(&mut self, pieces: &[IoSlice<'_>; 2]) -> io::Result<usize> {
        match (self, pieces[1].is_empty()) {
            (Self::Tcp(socket), true) => socket.write(&pieces[0]),
            (Self::Tcp(socket), false) => socket.write_vectored(pieces),
            #[cfg(unix)]
            (Self::Unix(socket), true) => socket.write(&pieces[0]),
            #[cfg(unix)]
            (Self::Unix(socket), false) => socket.write_vectored(pieces),
        }
    }
}

/// Opens one connection, to see that there is a server and where: the others take the same `route`,
/// to the address that answered.
///
/// # Errors
///
/// There is no server, or it is not on this machine and `is_anywhere` is false.
pub(crate) fn connect_first(route: &mut Route, is_anywhere: bool) -> Result<Connected, LoadError> {
    let connected = connect(route)?;
    if let RawSocket::Tcp(tcp) = &connected.0 {
        let ends = tcp.peer_addr().and_then(|peer| Ok((peer, tcp.local_addr()?)));
        let (peer, local) = ends.map_err(|source| ConnectError::Connect { address: route.address.clone(), source })?;
        if !is_anywhere && !is_here(peer, local) {
            return Err(LoadError::Remote(route.address.to_string()));
        }
        route.resolved = Some(peer);
    }
    Ok(connected)
}

/// Whether the peer is on this machine: on a loopback address, or on the very address that we have.
fn is_here(peer: SocketAddr, local: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback() || peer.ip() == local.ip()
}

/// Why not all connections could be had.
enum ConnectingFailure {
    Connect(ConnectError),
    Prepare(LoadError),
}

/// Opens connections until there are `count`, the `first` one among them, and has each prepared,
/// which is told its number, counted from 1. They come back in that order.
///
/// # Errors
///
/// [`LoadError::TooFew`], as soon as one cannot be had, and what `prepare` returns.
pub(crate) fn connect_all<T: Send>(
    first: Connected,
    route: &Route,
    count: usize,
    prepare: impl Fn(usize, Connected) -> Result<(Connected, T), LoadError> + Sync,
) -> Result<Vec<(LoadSocket, T)>, LoadError> {
    let begun = AtomicUsize::new(1);
    let has_failed = AtomicBool::new(false);
    // Whatever is wrong with all of them is found out with one.
    let (first, value) = prepare(1, first)?;
    let up = Mutex::new(vec![(0, first, value)]);
    let failure = Mutex::new(None);
    let prepared = |index: usize| {
        let connected = connect(route).map_err(ConnectingFailure::Connect)?;
        prepare(index + 1, connected).map_err(ConnectingFailure::Prepare)
    };
    let connect_some = || {
        while !has_failed.load(Ordering::Relaxed) {
            let index = begun.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            match prepared(index) {
                Ok((connected, value)) => {
                    up.lock().unwrap_or_else(PoisonError::into_inner).push((index, connected, value));
                }
                Err(error) => {
                    has_failed.store(true, Ordering::Relaxed);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..MAX_CONNECTING.min(count - 1) {
            // Where there is no thread, there are others, or this one.
            let _ = thread::Builder::new().spawn_scoped(scope, connect_some);
        }
        connect_some();
    });
    let mut up = up.into_inner().unwrap_or_else(PoisonError::into_inner);
    up.sort_by_key(|(index, ..)| *index);
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(ConnectingFailure::Connect(source)) => Err(LoadError::TooFew { up: up.len(), asked: count, source }),
        Some(ConnectingFailure::Prepare(error)) => Err(error),
        None => {
            let sockets = up.into_iter().map(|(_, connected, value)| Ok((LoadSocket::new(connected)?, value)));
            sockets.collect::<io::Result<_>>().map_err(LoadError::Poll)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_here;

    #[test]
    fn a_server_is_here_if_it_is_on_loopback_or_has_our_own_address() {
        for (peer, local, here) in [
            ("127.0.0.2:80", "127.0.0.1:50000", true),
            ("[::1]:80", "[::1]:50000", true),
            ("[::ffff:127.0.0.1]:80", "[::ffff:127.0.0.1]:50000", true),
            ("192.0.2.1:80", "192.0.2.1:50000", true),
            ("192.0.2.1:80", "192.0.2.2:50000", false),
            ("[2001:db8::1]:80", "[2001:db8::2]:50000", false),
        ] {
            assert_eq!(is_here(peer.parse().unwrap(), local.parse().unwrap()), here, "{peer}");
        }
    }
}
