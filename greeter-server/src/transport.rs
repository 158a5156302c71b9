//! What a client is connected by: a socket, in plain or with TLS on it.

use std::io;
use std::sync::Arc;

use crate::system::Socket;
use crate::tls::session::{NewTlsSession, TlsProblem};
use crate::tls::stream::{TlsBuffers, TlsStream, TransportRead};

/// A client's socket, and what is on it. Neither reading nor writing blocks.
#[derive(Debug)]
pub(crate) enum Transport<K> {
    Plain(K),
    /// In plain, until a reply starts TLS.
    Upgradable(Box<Upgradable<K>>),
    Tls(Box<TlsStream<K>>),
}

/// A socket, and what makes a TLS session for it.
#[derive(Debug)]
pub(crate) struct Upgradable<K> {
    socket: K,
    tls: Arc<dyn NewTlsSession>,
}

/// Memory into which a connection thread reads.
#[derive(Debug)]
pub(crate) struct ReadBuffers {
    plain: Box<[u8]>,
    pub(crate) tls: TlsBuffers,
}

impl ReadBuffers {
    /// Creates buffers for reads of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { plain: vec![0; bytes].into_boxed_slice(), tls: TlsBuffers::new(bytes) }
    }
}

impl<K: Socket> Transport<K> {
    /// A socket on which clients speak in plain, at least until a reply starts TLS.
    pub(crate) fn in_plain(socket: K, tls: Option<Arc<dyn NewTlsSession>>) -> Self {
        match tls {
            Some(tls) => Self::Upgradable(Box::new(Upgradable { socket, tls })),
            None => Self::Plain(socket),
        }
    }

    pub(crate) fn into_socket(self) -> K {
        match self {
            Self::Plain(socket) => socket,
            Self::Upgradable(upgradable) => upgradable.socket,
            Self::Tls(stream) => stream.into_failed().0,
        }
    }

    /// Has TLS begin, unless that is not possible here.
    pub(crate) fn start_tls(self) -> Result<Self, (Self, TlsProblem)> {
        match self {
            Self::Upgradable(upgradable) => TlsStream::new(upgradable.socket, &*upgradable.tls)
                .map(|stream| Self::Tls(Box::new(stream)))
                .map_err(|(socket, problem)| (Self::Plain(socket), problem)),
            transport @ (Self::Plain(_) | Self::Tls(_)) => Err((transport, TlsProblem::NotOffered)),
        }
    }

    pub(crate) fn socket_mut(&mut self) -> &mut K {
        match self {
            Self::Plain(socket) => socket,
            Self::Upgradable(upgradable) => &mut upgradable.socket,
            Self::Tls(stream) => stream.socket_mut(),
        }
    }

    /// Reads once.
    pub(crate) fn receive<'b>(&mut self, buffers: &'b mut ReadBuffers) -> io::Result<TransportRead<'b>> {
        match self {
            Self::Plain(socket) => read(socket, &mut buffers.plain),
            Self::Upgradable(upgradable) => read(&mut upgradable.socket, &mut buffers.plain),
            Self::Tls(stream) => stream.receive(&mut buffers.tls),
        }
    }

    /// Reads once, from a client that has been sent its end: what it says goes nowhere, so it is
    /// not decrypted, and counts as nothing.
    pub(crate) fn receive_nothing<'b>(&mut self, buffers: &'b mut ReadBuffers) -> io::Result<TransportRead<'b>> {
        read(self.socket_mut(), &mut buffers.plain).map(|read| match read {
            TransportRead::Bytes { arrived, may_have_more, .. } => {
                TransportRead::Bytes { bytes: &[], arrived, may_have_more }
            }
            TransportRead::Eof => TransportRead::Eof,
        })
    }

    /// Writes, and returns how many of these bytes are sent now.
    pub(crate) fn send(&mut self, unsent: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => write(socket, unsent),
            Self::Upgradable(upgradable) => write(&mut upgradable.socket, unsent),
            Self::Tls(stream) => stream.send(unsent),
        }
    }

    /// Returns how many bytes that count as sent are of a record that is not.
    pub(crate) const fn sent_in_part(&self) -> usize {
        match self {
            Self::Plain(_) | Self::Upgradable(_) => 0,
            Self::Tls(stream) => stream.sent_in_part(),
        }
    }

    /// Returns whether there is something to write beside replies that are unsent.
    pub(crate) fn wants_write(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Upgradable(_) => false,
            Self::Tls(stream) => stream.wants_write(),
        }
    }

    /// Gives up what was read and not received. Returns how much memory its session keeps all the
    /// same beside what any takes.
    pub(crate) fn discard_input(&mut self) -> usize {
        match self {
            Self::Plain(_) | Self::Upgradable(_) => 0,
            Self::Tls(stream) => stream.discard_input(),
        }
    }

    /// Gives up what there is to write beside replies.
    pub(crate) fn discard_output(&mut self) {
        if let Self::Tls(stream) = self {
            stream.discard_output();
        }
    }

    /// Returns whether the socket took something since the last call that counts as no reply, or
    /// the end of the stream now waits for it.
    pub(crate) fn take_progress(&mut self) -> bool {
        match self {
            Self::Plain(_) | Self::Upgradable(_) => false,
            Self::Tls(stream) => stream.take_progress(),
        }
    }

    /// Closes our end of the stream. With TLS, that may have to wait until the socket takes more.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown_write(),
            Self::Upgradable(upgradable) => upgradable.socket.shutdown_write(),
            Self::Tls(stream) => stream.shutdown_write(),
        }
    }

    /// Returns whether the other end was or will be told that nothing follows, as with TLS.
    pub(crate) const fn is_closing(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Upgradable(_) => false,
            Self::Tls(stream) => stream.is_closing(),
        }
    }

    /// Returns how many bytes there are to read, or were read and are not received yet.
    pub(crate) fn bytes_arrived(&self) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.bytes_arrived(),
            Self::Upgradable(upgradable) => upgradable.socket.bytes_arrived(),
            Self::Tls(stream) => stream.bytes_arrived(),
        }
    }

    /// Returns how much memory it occupies beside its own size, in bytes, but for its session.
    pub(crate) const fn bytes_held(&self) -> usize {
        match self {
            Self::Plain(_) | Self::Upgradable(_) => 0,
            Self::Tls(stream) => stream.bytes_held(),
        }
    }
}

fn write(socket: &mut impl Socket, unsent: &[u8]) -> io::Result<usize> {
    match socket.write(unsent)? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        bytes => Ok(bytes),
    }
}

fn read<'b>(socket: &mut impl Socket, buffer: &'b mut [u8]) -> io::Result<TransportRead<'b>> {
    match socket.read(buffer)? {
        0 => Ok(TransportRead::Eof),
        bytes => {
            Ok(TransportRead::Bytes { bytes: &buffer[..bytes], arrived: bytes, may_have_more: bytes == buffer.len() })
        }
    }
}
