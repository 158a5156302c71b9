//! A socket with TLS on it: whole records out of what the socket has, and plaintext that counts as
//! sent once its ciphertext is. Must not know lines.

use std::io::{self, ErrorKind};

use greeter_core::TlsInfo;

use crate::limits::READ_BYTES;
use crate::system::Socket;
use crate::tls::record::{MAX_PLAINTEXT_BYTES, MAX_RECORD_BYTES, whole_record};
use crate::tls::session::{NewTlsSession, SessionPhase, TlsProblem, TlsSession};

/// How many bytes of records may come in a row that carry nothing for us. There are key updates and
/// empty records; more of these are made to cost us time, or to be kept: a message that is cut into
/// records lies in the session until it is whole.
const MAX_EMPTY_BYTES: usize = 4096;

/// A client's socket, and the TLS session on it.
#[derive(Debug)]
pub(crate) struct TlsStream<K> {
    socket: K,
    session: Box<dyn TlsSession>,
    /// Ciphertext that has come and was not decrypted: a record in part, and right after the
    /// handshake perhaps some that are whole.
    unread: Vec<u8>,
    unsent_ciphertext: UnsentCiphertext,
    /// Bytes of records in a row that carried nothing.
    empty_bytes: usize,
    /// Whether we have said that nothing follows.
    is_closing: bool,
}

/// Ciphertext on its way into the socket: what the session says for itself, and one record of ours
/// at most.
#[derive(Debug, Default)]
struct UnsentCiphertext {
    bytes: Vec<u8>,
    sent: usize,
    /// Where the record begins and ends.
    record: std::ops::Range<usize>,
    /// How many bytes of plaintext are in it, and how many of these count as sent.
    plaintext: usize,
    told: usize,
}

/// Buffers of a connection thread, for all of its clients with TLS.
#[derive(Debug, Default)]
pub(crate) struct TlsBuffers {
    ciphertext: Vec<u8>,
    plaintext: Vec<u8>,
}

/// What a read has returned.
#[derive(Debug)]
pub(crate) enum TransportRead<'b> {
    Bytes {
        /// What was sent to us, which may be nothing.
        bytes: &'b [u8],
        /// How many bytes were read from the socket; of those that were read before, how many were
        /// decrypted.
        arrived: usize,
        /// Whether there may be more to read.
        may_have_more: bool,
    },
    Eof,
}

/// What becomes of a handshake.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HandshakeStep {
    /// It waits for the client, and has got on since the last time or not.
    Waits {
        has_progressed: bool,
    },
    Done,
    /// The client has gone.
    Gone,
    Failed(TlsProblem),
}

impl<K: Socket> TlsStream<K> {
    pub(crate) fn new(socket: K, new_session: &dyn NewTlsSession) -> Result<Self, (K, TlsProblem)> {
        match new_session.new_session() {
            Ok(session) => Ok(Self {
                socket,
                session,
                unread: Vec::new(),
                unsent_ciphertext: UnsentCiphertext::default(),
                empty_bytes: 0,
                is_closing: false,
            }),
            Err(failure) => Err((socket, failure)),
        }
    }

    /// Gets on with the handshake as far as that goes without waiting.
    pub(crate) fn handshake(&mut self, buffers: &mut TlsBuffers, bytes_left: &mut usize) -> io::Result<HandshakeStep> {
        let mut has_progressed = false;
        buffers.plaintext.clear();
        loop {
            match self.flush() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(HandshakeStep::Waits { has_progressed });
                }
                Err(error) => return Err(error),
            }
            if self.session.phase() != SessionPhase::Handshake {
                self.unread.shrink_to_fit();
                return Ok(HandshakeStep::Done);
            }
            let arrived = match self.read_ciphertext(buffers) {
                Ok(0) => return Ok(HandshakeStep::Gone),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(HandshakeStep::Waits { has_progressed });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.unread.extend_from_slice(&buffers.ciphertext[..arrived]);
            let mut taken = 0;
            let result = loop {
                let record = match whole_record(&self.unread[taken..]) {
                    Ok(Some(length)) => taken..taken + length,
                    // A record in part is memory, too.
                    Ok(None) if self.unread.len() - taken > *bytes_left => break Err(TlsProblem::TooLong),
                    Ok(None) => break Ok(()),
                    Err(failure) => break Err(failure),
                };
                taken = record.end;
                let Some(left) = bytes_left.checked_sub(record.len()) else { break Err(TlsProblem::TooLong) };
                *bytes_left = left;
                // Nothing is read beyond the handshake: that is the client's first turn's.
                let opened = self.session.open(&self.unread[record], &mut buffers.plaintext);
                has_progressed = true;
                if opened.is_err() || self.session.phase() != SessionPhase::Handshake {
                    break opened;
                }
            };
            self.unread.drain(..taken);
            self.session.take_output(&mut self.unsent_ciphertext.bytes);
            if let Err(failure) = result {
                return Ok(HandshakeStep::Failed(failure));
            }
        }
    }

    /// What the handshake has told.
    pub(crate) fn info(&self) -> TlsInfo {
        self.session.info()
    }

    /// Gives up: returns the socket, and what is to be written to it that says why.
    pub(crate) fn into_failed(self) -> (K, Vec<u8>) {
        let UnsentCiphertext { mut bytes, sent, .. } = self.unsent_ciphertext;
        bytes.drain(..sent);
        (self.socket, bytes)
    }

    /// Gives up politely: returns the socket, and the last words to write to it.
    pub(crate) fn into_farewell(mut self, text: &[u8]) -> (K, Vec<u8>) {
        self.session.seal(text, &mut self.unsent_ciphertext.bytes);
        self.session.close();
        self.session.take_output(&mut self.unsent_ciphertext.bytes);
        self.into_failed()
    }

    pub(crate) const fn socket_mut(&mut self) -> &mut K {
        &mut self.socket
    }

    /// How much memory it occupies for what is on its way, in bytes.
    pub(crate) const fn bytes_held(&self) -> usize {
        self.unread.capacity() + self.unsent_ciphertext.bytes.capacity()
    }

    /// Reads from the socket at most once, and decrypts all records that are whole.
    pub(crate) fn receive<'b>(&mut self, buffers: &'b mut TlsBuffers) -> io::Result<TransportRead<'b>> {
        buffers.plaintext.clear();
        if self.session.phase() == SessionPhase::ClosedByPeer {
            return Ok(TransportRead::Eof);
        }
        let (mut arrived, mut may_have_more) = (0, true);
        if !self.has_whole_record() {
            let room = MAX_RECORD_BYTES - self.unread.len();
            arrived = self.read_ciphertext(buffers)?;
            may_have_more = arrived == room;
            if arrived == 0 {
                return Ok(TransportRead::Eof);
            }
        }
        let TlsBuffers { ciphertext, plaintext } = buffers;
        let is_new = self.unread.is_empty();
        if !is_new {
            self.unread.extend_from_slice(&ciphertext[..arrived]);
        }
        let input = if is_new { &ciphertext[..arrived] } else { &self.unread };
        let opened = open_records(&mut *self.session, input, plaintext, &mut self.empty_bytes);
        let taken = *opened.as_ref().unwrap_or(&input.len());
        if arrived == 0 {
            arrived = taken;
        }
        if is_new {
            self.unread.extend_from_slice(&ciphertext[taken..arrived]);
        } else if taken > 0 {
            // Its capacity was that of a whole record.
            self.unread = self.unread[taken..].to_vec();
        }
        self.session.take_output(&mut self.unsent_ciphertext.bytes);
        if let Err(failure) = opened {
            // An alert says why, if the socket takes it now.
            let _ = self.flush();
            return Err(broken(failure));
        }
        may_have_more |= self.session.phase() == SessionPhase::ClosedByPeer || self.has_whole_record();
        Ok(TransportRead::Bytes { bytes: plaintext, arrived, may_have_more })
    }

    /// Returns how many bytes are here that the next reads [count](TransportRead::Bytes::arrived).
    pub(crate) fn bytes_arrived(&self) -> io::Result<usize> {
        let waiting = if self.has_whole_record() { self.unread.len() } else { 0 };
        Ok(self.socket.bytes_arrived()? + waiting)
    }

    /// Returns whether the next record can be decrypted without another read, or is none.
    fn has_whole_record(&self) -> bool {
        !matches!(whole_record(&self.unread), Ok(None))
    }

    /// Reads what completes a record at the most.
    fn read_ciphertext(&mut self, buffers: &mut TlsBuffers) -> io::Result<usize> {
        buffers.ciphertext.resize(MAX_RECORD_BYTES, 0);
        let room = MAX_RECORD_BYTES - self.unread.len();
        self.socket.read(&mut buffers.ciphertext[..room])
    }

    /// Writes, and returns how many of the bytes count as sent now, since their ciphertext is: some
    /// of them may have been encrypted by an earlier call, which was given the same. It returns 0
    /// only if there is nothing to send any more.
    pub(crate) fn send(&mut self, unsent: &[u8]) -> io::Result<usize> {
        loop {
            // Behind what the session says for itself, if that is not out yet.
            if self.unsent_ciphertext.plaintext == 0 && !unsent.is_empty() {
                let part = &unsent[..unsent.len().min(MAX_PLAINTEXT_BYTES)];
                let start = self.unsent_ciphertext.bytes.len();
                self.session.seal(part, &mut self.unsent_ciphertext.bytes);
                self.unsent_ciphertext.record = start..self.unsent_ciphertext.bytes.len();
                self.unsent_ciphertext.plaintext = part.len();
            }
            if self.unsent_ciphertext.is_sent() {
                return Ok(0);
            }
            match self.socket.write(&self.unsent_ciphertext.bytes[self.unsent_ciphertext.sent..])? {
                0 => return Err(ErrorKind::WriteZero.into()),
                bytes => self.unsent_ciphertext.sent += bytes,
            }
            let told = self.unsent_ciphertext.newly_sent();
            if self.unsent_ciphertext.is_sent() {
                self.unsent_ciphertext = UnsentCiphertext::default();
            }
            if told > 0 {
                return Ok(told);
            }
        }
    }

    /// Returns whether there is something to write that is no reply, or the rest of one.
    pub(crate) fn wants_write(&self) -> bool {
        !self.unsent_ciphertext.is_sent()
    }

    /// Gives up what is on its way.
    pub(crate) fn discard_output(&mut self) {
        self.unsent_ciphertext = UnsentCiphertext::default();
    }

    /// Writes what is on its way.
    fn flush(&mut self) -> io::Result<()> {
        while self.wants_write() {
            match self.socket.write(&self.unsent_ciphertext.bytes[self.unsent_ciphertext.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => self.unsent_ciphertext.sent += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent_ciphertext = UnsentCiphertext::default();
        Ok(())
    }

    /// Says that nothing follows, and closes our end of the stream once that is out. It would block
    /// until then.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        if !self.is_closing {
            self.is_closing = true;
            self.session.close();
            self.session.take_output(&mut self.unsent_ciphertext.bytes);
        }
        self.flush()?;
        self.socket.shutdown_write()
    }
}

impl UnsentCiphertext {
    const fn is_sent(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Returns how many bytes of plaintext were sent since the last call. The last one is with the
    /// last byte of the record.
    fn newly_sent(&mut self) -> usize {
        let of_record = self.sent.clamp(self.record.start, self.record.end) - self.record.start;
        let sent = if self.record.is_empty() { 0 } else { self.plaintext * of_record / self.record.len() };
        sent - std::mem::replace(&mut self.told, sent)
    }
}

/// Decrypts the records that are whole, as long as what they carry is no more than one read in
/// plain may be, and returns how many bytes they have.
fn open_records(
    session: &mut dyn TlsSession,
    input: &[u8],
    plaintext: &mut Vec<u8>,
    empty_bytes: &mut usize,
) -> Result<usize, TlsProblem> {
    let mut taken = 0;
    while session.phase() == SessionPhase::Open
        && let Some(length) = whole_record(&input[taken..])?
    {
        let before = plaintext.len();
        if before > 0 && before + length > READ_BYTES {
            break;
        }
        session.open(&input[taken..taken + length], plaintext)?;
        *empty_bytes = if plaintext.len() > before { 0 } else { *empty_bytes + length };
        if *empty_bytes > MAX_EMPTY_BYTES && session.phase() == SessionPhase::Open {
            return Err(TlsProblem::Empty);
        }
        taken += length;
    }
    Ok(taken)
}

fn broken(failure: TlsProblem) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, failure)
}
