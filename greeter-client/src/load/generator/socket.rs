//! The sockets of a load: connected many at a time, then driven by readiness.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use mio::event::Source;
use mio::{Interest, Registry, Token};

use crate::load::error::LoadError;
use crate::net::{ConnectError, RawSocket, Route, Stream};

/// How many connects are under way at a time: fewer than any listener's queue holds, and enough to
/// not wait for each round trip in turn.
const MAX_CONNECTING: usize = 32;

/// A connected socket that never blocks.
#[derive(Debug)]
pub(crate) enum LoadSocket {
    Tcp(mio::net::TcpStream),
    #[cfg(unix)]
    Unix(mio::net::UnixStream),
}

impl LoadSocket {
    fn new(stream: Stream) -> io::Result<Self> {
        Ok(match stream.into_socket() {
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

    /// From now on `token` tells when it can be read or written again.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Self::Tcp(socket) => socket.register(registry, token, interest),
            #[cfg(unix)]
            Self::Unix(socket) => socket.register(registry, token, interest),
        }
    }

    pub(crate) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(space),
            #[cfg(unix)]
            Self::Unix(socket) => socket.read(space),
        }
    }

    pub(crate) fn write(&mut self, pieces: &[IoSlice<'_>; 2]) -> io::Result<usize> {
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
pub(crate) fn connect_first(route: &mut Route, is_anywhere: bool) -> Result<Stream, LoadError> {
    let stream = Stream::connect(route)?;
    if let RawSocket::Tcp(tcp) = stream.socket() {
        let ends = tcp.peer_addr().and_then(|peer| Ok((peer, tcp.local_addr()?)));
        let (peer, local) = ends.map_err(|source| ConnectError::Connect { address: route.address.clone(), source })?;
        if !is_anywhere && !is_here(peer, local) {
            return Err(LoadError::Remote(route.address.to_string()));
        }
        route.resolved = Some(peer);
    }
    Ok(stream)
}

/// Whether the peer is on this machine: on a loopback address, or on the very address that we have.
fn is_here(peer: SocketAddr, local: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback() || peer.ip() == local.ip()
}

/// Opens connections until there are `count`, the `first` one among them.
///
/// # Errors
///
/// [`LoadError::TooFew`], as soon as one cannot be had.
pub(crate) fn connect_all(first: Stream, route: &Route, count: usize) -> Result<Vec<LoadSocket>, LoadError> {
    let begun = AtomicUsize::new(1);
    let has_failed = AtomicBool::new(false);
    let up = Mutex::new(vec![first]);
    let failure = Mutex::new(None);
    let connect = || {
        while !has_failed.load(Ordering::Relaxed) && begun.fetch_add(1, Ordering::Relaxed) < count {
            match Stream::connect(route) {
                Ok(stream) => up.lock().unwrap_or_else(PoisonError::into_inner).push(stream),
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
            let _ = thread::Builder::new().spawn_scoped(scope, connect);
        }
        connect();
    });
    let up = up.into_inner().unwrap_or_else(PoisonError::into_inner);
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(source) => Err(LoadError::TooFew { up: up.len(), asked: count, source }),
        None => up.into_iter().map(|stream| LoadSocket::new(stream).map_err(LoadError::Poll)).collect(),
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
