//! What a client is connected by: a socket, in plain or with TLS on it.

use std::io;

use crate::system::Socket;
use crate::tls::stream::{TlsBuffers, TlsStream, TransportRead};

/// A client's socket, and what is on it. Neither reading nor writing blocks.
#[derive(Debug)]
pub(crate) enum Transport<K> {
    Plain(K),
    Tls(Box<TlsStream<K>>),
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
        Self { plain: vec![0; bytes].into_boxed_slice(), tls: TlsBuffers::default() }
    }
}

impl<K: Socket> Transport<K> {
    pub(crate) fn socket_mut(&mut self) -> &mut K {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.socket_mut(),
        }
    }

    /// Reads once.
    pub(crate) fn receive<'b>(&mut self, buffers: &'b mut ReadBuffers) -> io::Result<TransportRead<'b>> {
        match self {
            Self::Plain(socket) => read(socket, &mut buffers.plain),
            Self::Tls(stream) => stream.receive(&mut buffers.tls),
        }
    }

    /// Reads once, from a client that has been sent its end: what it says goes nowhere, so it is
    /// not decrypted.
    pub(crate) fn receive_nothing<'b>(&mut self, buffers: &'b mut ReadBuffers) -> io::Result<TransportRead<'b>> {
        read(self.socket_mut(), &mut buffers.plain)
    }

    /// Writes, and returns how many of these bytes are sent now.
    pub(crate) fn send(&mut self, unsent: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => match socket.write(unsent)? {
                0 => Err(io::ErrorKind::WriteZero.into()),
                bytes => Ok(bytes),
            },
            Self::Tls(stream) => stream.send(unsent),
        }
    }

    /// Returns whether there is something to write beside replies that are unsent.
    pub(crate) fn wants_write(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.wants_write(),
        }
    }

    /// Gives up what there is to write beside replies.
    pub(crate) fn discard_output(&mut self) {
        if let Self::Tls(stream) = self {
            stream.discard_output();
        }
    }

    /// Closes our end of the stream. With TLS, that may have to wait until the socket takes more.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.shutdown_write(),
            Self::Tls(stream) => stream.shutdown_write(),
        }
    }

    /// Returns how many bytes there are to read.
    pub(crate) fn bytes_arrived(&self) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.bytes_arrived(),
            Self::Tls(stream) => stream.bytes_arrived(),
        }
    }

    /// Returns how much memory it occupies beside its own size, in bytes, but for its session.
    pub(crate) const fn bytes_held(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(stream) => stream.bytes_held(),
        }
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
