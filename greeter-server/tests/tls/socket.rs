//! A socket between two ends that a test plays both.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};

use crate::system::Socket;
use crate::tls::record::MAX_RECORD_BYTES;

/// How often one call of the stream's may turn to its socket: all that a test sends fits into a
/// few reads. Who asks more often asks without need.
const MAX_CALLS: u32 = 100;

/// What a session says for itself is shorter: its part of the handshake, and what it owes later.
pub(crate) const MAX_OWN_BYTES: usize = 2048;

/// A socket that has what a test has put into it, and takes as much as a test allows.
#[derive(Debug, Default)]
pub(crate) struct ScriptedSocket {
    /// What has arrived and was not read.
    arrived: Vec<u8>,
    /// Whether the end of the stream is behind it.
    pub(crate) is_finished: bool,
    /// How many bytes were read.
    pub(crate) taken: usize,
    pub(crate) written: Vec<u8>,
    /// For how many bytes there is room.
    pub(crate) room: usize,
    /// How many calls a signal interrupts.
    pub(crate) interruptions: u32,
    is_shut_down: Cell<bool>,
    calls_left: u32,
    has_blocked: bool,
}

impl ScriptedSocket {
    pub(crate) fn arrive(&mut self, bytes: &[u8]) {
        self.arrived.extend_from_slice(bytes);
    }

    /// How many bytes there are to read.
    pub(crate) const fn unread(&self) -> usize {
        self.arrived.len()
    }

    /// Whether all was read, and nothing will follow.
    pub(crate) const fn is_at_end(&self) -> bool {
        self.is_finished && self.arrived.is_empty()
    }

    pub(crate) const fn is_shut_down(&self) -> bool {
        self.is_shut_down.get()
    }

    /// A call of the stream's begins.
    pub(crate) const fn begin_call(&mut self) {
        (self.calls_left, self.has_blocked) = (MAX_CALLS, false);
    }

    fn count_call(&mut self) -> io::Result<()> {
        assert!(!self.has_blocked, "nothing is tried again before something has happened");
        self.calls_left = self.calls_left.checked_sub(1).expect("the socket is asked in a circle");
        if let Some(left) = self.interruptions.checked_sub(1) {
            self.interruptions = left;
            return Err(ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    fn block(&mut self) -> io::Result<usize> {
        self.has_blocked = true;
        Err(ErrorKind::WouldBlock.into())
    }
}

impl Read for ScriptedSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!buffer.is_empty(), "who reads has room");
        self.count_call()?;
        if self.arrived.is_empty() {
            return if self.is_finished { Ok(0) } else { self.block() };
        }
        let bytes = self.arrived.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&self.arrived[..bytes]);
        self.arrived.drain(..bytes);
        self.taken += bytes;
        Ok(bytes)
    }
}

impl Write for ScriptedSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!bytes.is_empty() && !self.is_shut_down.get(), "who writes has something, and writes before the end");
        assert!(bytes.len() <= MAX_RECORD_BYTES + MAX_OWN_BYTES, "one record is on its way");
        self.count_call()?;
        let taken = bytes.len().min(self.room);
        if taken == 0 {
            return self.block();
        }
        self.room -= taken;
        self.written.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for ScriptedSocket {
    fn shutdown_write(&self) -> io::Result<()> {
        self.is_shut_down.set(true);
        Ok(())
    }

    fn peek(&self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn bytes_arrived(&self) -> io::Result<usize> {
        Ok(self.arrived.len())
    }
}
