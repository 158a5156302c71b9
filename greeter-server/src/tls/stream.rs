//! A socket with TLS on it: whole records out of what the socket has, and plaintext that counts as
//! sent once its ciphertext is. Must not know lines.

use std::io::{self, ErrorKind};

use greeter_core::TlsInfo;

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
    /// How many bytes of records may still come that carry nothing for us: until the handshake is
    /// over, or in a row.
    overhead_left: usize,
    /// How much memory the session keeps beside what any takes: perhaps all that it was given in
    /// the handshake, and then what that has told.
    session_bytes: usize,
    /// Whether we have said that nothing follows.
    is_closing: bool,
    /// Whether the socket took ciphertext that does not count as plaintext yet, or the end of the
    /// stream now waits for it.
    has_progressed: bool,
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
#[derive(Debug)]
pub(crate) struct TlsBuffers {
    ciphertext: Vec<u8>,
    plaintext: Vec<u8>,
    /// How much plaintext one read may bring, unless it is all in one record.
    max_plaintext: usize,
}

impl TlsBuffers {
    pub(crate) const fn new(max_plaintext: usize) -> Self {
        Self { ciphertext: Vec::new(), plaintext: Vec::new(), max_plaintext }
    }
}

/// What a read has returned.
#[derive(Debug)]
pub(crate) enum TransportRead<'b> {
    Bytes {
        /// What was sent to us, which may be nothing.
        bytes: &'b [u8],
        /// How many of the bytes that [had arrived](TlsStream::bytes_arrived) this took.
        arrived: usize,
        /// Whether there may be more to read.
        may_have_more: bool,
    },
    Eof,
}

/// What becomes of a handshake.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HandshakeStep {
    /// It waits for the client, which has sent what we had to answer since the last time, or has
    /// not. Records are no progress by themselves: one byte can be one.
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
                overhead_left: new_session.max_handshake_bytes(),
                session_bytes: 0,
                is_closing: false,
                has_progressed: false,
            }),
            Err(failure) => Err((socket, failure)),
        }
    }

    /// Gets on with the handshake as far as that goes without waiting.
    pub(crate) fn handshake(&mut self, buffers: &mut TlsBuffers) -> io::Result<HandshakeStep> {
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
                self.overhead_left = MAX_EMPTY_BYTES;
                self.session_bytes = self.session.bytes_kept();
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
                    Ok(None) if self.unread.len() - taken > self.overhead_left => break Err(TlsProblem::TooLong),
                    Ok(None) => break Ok(()),
                    Err(failure) => break Err(failure),
                };
                taken = record.end;
                let Some(left) = self.overhead_left.checked_sub(record.len()) else { break Err(TlsProblem::TooLong) };
                self.overhead_left = left;
                self.session_bytes += record.len();
                // Nothing is decrypted beyond the handshake: that is the client's first turn's.
                let opened = self.session.open(&self.unread[record], &mut buffers.plaintext);
                if opened.is_err() || self.session.phase() != SessionPhase::Handshake {
                    break opened;
                }
            };
            self.unread.drain(..taken);
            self.session.take_output(&mut self.unsent_ciphertext.bytes);
            has_progressed |= self.wants_write();
            if let Err(failure) = result {
                // Behind the alert, nothing follows.
                self.is_closing = true;
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
        self.unread.capacity() + self.unsent_ciphertext.bytes.capacity() + self.session_bytes
    }

    /// Reads from the socket at most once, and decrypts all records that are whole.
    pub(crate) fn receive<'b>(&mut self, buffers: &'b mut TlsBuffers) -> io::Result<TransportRead<'b>> {
        buffers.plaintext.clear();
        // Behind an alert of ours nothing is decrypted, and behind our end there is no need to.
        if self.is_closing || self.session.phase() == SessionPhase::ClosedByPeer {
            return Ok(TransportRead::Eof);
        }
        let waiting = self.bytes_waiting();
        let (mut arrived, mut may_have_more) = (0, true);
        if !self.has_whole_record() {
            let room = MAX_RECORD_BYTES - self.unread.len();
            arrived = self.read_ciphertext(buffers)?;
            may_have_more = arrived == room;
            if arrived == 0 {
                return Ok(TransportRead::Eof);
            }
        }
        let TlsBuffers { ciphertext, plaintext, max_plaintext } = buffers;
        let is_new = self.unread.is_empty();
        if !is_new {
            self.unread.extend_from_slice(&ciphertext[..arrived]);
        }
        let input = if is_new { &ciphertext[..arrived] } else { &self.unread };
        let opened = open_records(&mut *self.session, input, plaintext, *max_plaintext, &mut self.overhead_left);
        let taken = *opened.as_ref().unwrap_or(&input.len());
        if is_new {
            self.unread.extend_from_slice(&ciphertext[taken..arrived]);
        } else if taken > 0 {
            // Its capacity was that of a whole record.
            self.unread = self.unread[taken..].to_vec();
        }
        self.session.take_output(&mut self.unsent_ciphertext.bytes);
        if let Err(failure) = opened {
            self.is_closing = true;
            // An alert says why, if the socket takes it now.
            let _ = self.flush();
            return Err(broken(failure));
        }
        may_have_more |= self.session.phase() == SessionPhase::ClosedByPeer || self.has_whole_record();
        Ok(TransportRead::Bytes { bytes: plaintext, arrived: waiting + arrived - self.bytes_waiting(), may_have_more })
    }

    /// Returns whether the next record can be decrypted without another read, or is none.
    fn has_whole_record(&self) -> bool {
        !matches!(whole_record(&self.unread), Ok(None))
    }

    /// Returns how many bytes there are to read, or were read and wait to be decrypted.
    pub(crate) fn bytes_arrived(&self) -> io::Result<usize> {
        Ok(self.socket.bytes_arrived()? + self.bytes_waiting())
    }

    /// Returns how many bytes wait to be decrypted. A record in part waits for the client.
    fn bytes_waiting(&self) -> usize {
        if self.has_whole_record() { self.unread.len() } else { 0 }
    }

    /// Reads what completes a record at the most.
    fn read_ciphertext(&mut self, buffers: &mut TlsBuffers) -> io::Result<usize> {
        buffers.ciphertext.resize(MAX_RECORD_BYTES, 0);
        let room = MAX_RECORD_BYTES - self.unread.len();
        self.socket.read(&mut buffers.ciphertext[..room])
    }

    /// Returns how many bytes that count as sent are of a record that is not.
    pub(crate) const fn sent_in_part(&self) -> usize {
        self.unsent_ciphertext.told
    }

    /// Writes, and returns how many of the bytes count as sent now, since their ciphertext is: some
    /// of them may have been encrypted by an earlier call, which was given the same. It returns 0
    /// only if there is nothing to send any more.
    pub(crate) fn send(&mut self, unsent: &[u8]) -> io::Result<usize> {
        loop {
            // Behind what the session says for itself, if that is not out yet.
            if self.unsent_ciphertext.plaintext == 0 && !unsent.is_empty() {
                let part = &unsent[..unsent.len().min(MAX_PLAINTEXT_BYTES)];
                let start = self.session.seal(part, &mut self.unsent_ciphertext.bytes);
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
            self.has_progressed = told == 0;
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

    /// Returns whether the socket took something since the last call that counts as no plaintext,
    /// or the end of the stream now waits for it.
    pub(crate) const fn take_progress(&mut self) -> bool {
        std::mem::replace(&mut self.has_progressed, false)
    }

    /// Gives up what was read and not decrypted. Returns how much memory the session keeps all the
    /// same, beside what any takes.
    pub(crate) fn discard_input(&mut self) -> usize {
        self.unread = Vec::new();
        self.session_bytes
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
                Ok(bytes) => {
                    self.unsent_ciphertext.sent += bytes;
                    self.has_progressed = true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent_ciphertext = UnsentCiphertext::default();
        Ok(())
    }

    /// Returns whether we have said that nothing follows.
    pub(crate) const fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Says that nothing follows, and closes our end of the stream once that is out. It would block
    /// until then.
    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        if !self.is_closing {
            (self.is_closing, self.has_progressed) = (true, true);
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
    max_plaintext: usize,
    overhead_left: &mut usize,
) -> Result<usize, TlsProblem> {
    let mut taken = 0;
    while session.phase() == SessionPhase::Open
        && let Some(length) = whole_record(&input[taken..])?
    {
        let before = plaintext.len();
        if before > 0 && before + length > max_plaintext {
            break;
        }
        session.open(&input[taken..taken + length], plaintext)?;
        let left = if plaintext.len() > before { Some(MAX_EMPTY_BYTES) } else { overhead_left.checked_sub(length) };
        // The end is overhead, too, and the last.
        *overhead_left = match left {
            None if session.phase() == SessionPhase::Open => return Err(TlsProblem::Empty),
            left => left.unwrap_or_default(),
        };
        taken += length;
    }
    Ok(taken)
}

fn broken(failure: TlsProblem) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, failure)
}

#[cfg(test)]
#[cfg(not(loom))]
pub(crate) mod tests {
    use super::*;
    use crate::limits::READ_BYTES;
    use crate::simulation::toy_tls::{OVERHEAD, ToyClient, ToyReader, ToyRecord, ToyTls};
    use std::collections::VecDeque;
    use std::io::{Read, Write};

    /// A number of a client to which the server says nothing behind the handshake, and one to which
    /// it does.
    const TERSE: u32 = 1;
    const CHATTY: u32 = 2;

    /// A socket that is read in the pieces that it was given, and takes so many bytes in all.
    #[derive(Debug, Default)]
    pub(crate) struct PieceSocket {
        pieces: VecDeque<Vec<u8>>,
        is_finished: bool,
        written: Vec<u8>,
        pub(crate) room: usize,
        most_at_once: usize,
        is_shut_down: std::cell::Cell<bool>,
    }

    impl Read for PieceSocket {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.pieces.front_mut() else {
                return if self.is_finished { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
            };
            let bytes = piece.len().min(buffer.len());
            buffer[..bytes].copy_from_slice(&piece[..bytes]);
            piece.drain(..bytes);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
            Ok(bytes)
        }
    }

    impl Write for PieceSocket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            assert!(!self.is_shut_down.get(), "nothing is written after the end");
            let taken = bytes.len().min(self.room).min(self.most_at_once);
            if taken == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.room -= taken;
            self.written.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Socket for PieceSocket {
        fn shutdown_write(&self) -> io::Result<()> {
            self.is_shut_down.set(true);
            Ok(())
        }

        fn peek(&self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }

        fn bytes_arrived(&self) -> io::Result<usize> {
            Ok(self.pieces.iter().map(Vec::len).sum())
        }
    }

    impl PieceSocket {
        pub(crate) fn new(pieces: impl IntoIterator<Item = Vec<u8>>) -> Self {
            let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
            Self { pieces, room: usize::MAX, most_at_once: usize::MAX, ..Self::default() }
        }
    }

    type PieceStream = TlsStream<PieceSocket>;

    fn stream(pieces: &[&[u8]]) -> PieceStream {
        let socket = PieceSocket::new(pieces.iter().map(|piece| piece.to_vec()));
        TlsStream::new(socket, &ToyTls::default()).expect("a toy has a session for everybody")
    }

    fn buffers() -> TlsBuffers {
        TlsBuffers::new(READ_BYTES)
    }

    /// Returns a stream whose handshake is over, and the client that sent it.
    fn open_stream(number: u32) -> (PieceStream, ToyClient) {
        let mut client = ToyClient::new(number);
        let mut stream = stream(&[&client.hello(), &client.finished()]);
        assert_eq!(stream.handshake(&mut buffers()).unwrap(), HandshakeStep::Done);
        stream.socket.written.clear();
        (stream, client)
    }

    /// Receives until there is nothing more, or the end. Returns what was received each time.
    fn received(stream: &mut PieceStream, buffers: &mut TlsBuffers) -> (Vec<Vec<u8>>, bool) {
        let mut parts = Vec::new();
        loop {
            let before = stream.bytes_arrived().unwrap();
            match stream.receive(buffers) {
                Ok(TransportRead::Bytes { bytes, arrived, may_have_more }) => {
                    parts.push(bytes.to_vec());
                    assert_eq!(before - arrived, stream.bytes_arrived().unwrap(), "what has arrived is counted once");
                    assert!(may_have_more || !stream.has_whole_record(), "a record waits, and nobody knows");
                }
                Ok(TransportRead::Eof) => return (parts, true),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return (parts, false),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Sends all of this, as the socket has room for so many bytes each time. Returns the records
    /// that came out.
    #[track_caller]
    fn send_all(stream: &mut PieceStream, number: u32, text: &[u8], room: usize) -> Vec<ToyRecord> {
        let (mut unsent, before) = (text, stream.socket.written.len());
        loop {
            stream.socket.room = room;
            loop {
                match stream.send(unsent) {
                    Ok(0) => {
                        assert!(unsent.is_empty() && !stream.wants_write(), "all was sent");
                        return ToyReader::of_server(number).read(&handshake_and(number, &stream.socket.written));
                    }
                    Ok(bytes) => {
                        assert!(bytes <= unsent.len(), "no more is sent than there is");
                        unsent = &unsent[bytes..];
                        let of_records = text.len().div_ceil(MAX_PLAINTEXT_BYTES) * OVERHEAD;
                        let written = stream.socket.written.len() - before;
                        assert!(written + unsent.len() <= text.len() + of_records + 40, "what was sent is known");
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// Returns the server's part of the handshake, and this behind it.
    fn handshake_and(number: u32, written: &[u8]) -> Vec<u8> {
        let mut client = ToyClient::new(number);
        let mut stream = stream(&[&client.hello(), &client.finished()]);
        stream.handshake(&mut buffers()).unwrap();
        [&stream.socket.written, written].concat()
    }

    fn data(records: &[ToyRecord]) -> Vec<u8> {
        let content = |record: &ToyRecord| match record {
            ToyRecord::Data(content) => content.clone(),
            ToyRecord::Hello | ToyRecord::LastWord | ToyRecord::KeyUpdate | ToyRecord::CloseNotify => Vec::new(),
            record => panic!("{record:?}"),
        };
        records.iter().flat_map(content).collect()
    }

    /// A handshake, three lines in some records, and the end.
    fn conversation(number: u32) -> Vec<u8> {
        let mut client = ToyClient::new(number);
        let mut sent = [client.hello(), client.finished()].concat();
        sent.extend([client.data(b"ann\nb"), client.data(b""), client.key_update(), client.data(b"ob\n")].concat());
        sent.extend([client.data(b"cleo\n"), client.close_notify()].concat());
        sent
    }

    #[track_caller]
    fn check_cut(number: u32, pieces: &[&[u8]]) {
        let (mut stream, mut buffers) = (stream(pieces), TlsBuffers::new(4));
        assert_eq!(stream.handshake(&mut buffers).unwrap(), HandshakeStep::Done);
        stream.socket.written.clear();
        let (parts, is_end) = received(&mut stream, &mut buffers);
        assert_eq!((&parts.concat()[..], is_end), (&b"ann\nbob\ncleo\n"[..], true), "{pieces:?}");
        assert_eq!(send_all(&mut stream, number, b"", 1).last(), Some(&ToyRecord::KeyUpdate));
        assert_eq!(stream.bytes_held(), 0, "{pieces:?}");
    }

    #[test]
    fn wherever_ciphertext_is_cut_the_same_plaintext_comes_out() {
        for number in [TERSE, CHATTY] {
            let sent = conversation(number);
            check_cut(number, &sent.chunks(1).collect::<Vec<_>>());
            for first in 0..sent.len() {
                for second in first..sent.len() {
                    check_cut(number, &[&sent[..first], &sent[first..second], &sent[second..]]);
                }
            }
        }
    }

    #[test]
    fn what_came_right_behind_the_handshake_has_arrived() {
        let sent = conversation(TERSE);
        let mut stream = stream(&[&sent]);
        stream.handshake(&mut buffers()).unwrap();
        let of_handshake = [ToyClient::new(TERSE).hello(), ToyClient::new(TERSE).finished()].concat().len();
        assert_eq!(stream.socket.bytes_arrived().unwrap(), 0);
        assert_eq!(stream.bytes_arrived().unwrap(), sent.len() - of_handshake);
    }

    #[test]
    fn a_handshake_is_so_long_at_most() {
        let mut client = ToyClient::new(TERSE);
        let sent = [client.hello(), client.finished()].concat();
        // What comes behind it does not count.
        let behind = client.data(&[b'x'; 1000]);
        for (most, pieces) in [
            (sent.len() - 1, vec![sent.clone()]),
            (sent.len() - 1, sent.iter().map(|byte| vec![*byte]).collect()),
            (sent.len(), vec![[&sent[..], &behind].concat()]),
        ] {
            let mut stream = stream(&pieces.iter().map(Vec::as_slice).collect::<Vec<_>>());
            stream.overhead_left = most;
            let expected =
                if most < sent.len() { HandshakeStep::Failed(TlsProblem::TooLong) } else { HandshakeStep::Done };
            assert_eq!(stream.handshake(&mut buffers()).unwrap(), expected);
        }
    }

    #[test]
    fn what_needs_no_answer_is_no_progress() {
        let waits = |pieces: &[&[u8]]| stream(pieces).handshake(&mut buffers()).unwrap();
        let client = ToyClient::new(TERSE);
        assert_eq!(waits(&[&client.hello()[..3]]), HandshakeStep::Waits { has_progressed: false });
        assert_eq!(waits(&[&client.hello()]), HandshakeStep::Waits { has_progressed: true });
    }

    #[test]
    fn who_fails_is_told_in_an_alert() {
        let client = ToyClient::new(TERSE);
        for (pieces, heard) in [
            (vec![client.bad()], vec![ToyRecord::Alert]),
            (vec![client.hello(), client.bad()], vec![ToyRecord::Hello, ToyRecord::Alert]),
        ] {
            let mut stream = stream(&pieces.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let step = stream.handshake(&mut buffers()).unwrap();
            assert_eq!(step, HandshakeStep::Failed(TlsProblem::NotTls));
            let (socket, last_words) = stream.into_failed();
            assert_eq!(ToyReader::of_server(TERSE).read(&[socket.written, last_words].concat()), heard);
        }
        let plain = stream(&[b"GET / HTTP/1.1\r\n\r\n"]).handshake(&mut buffers()).unwrap();
        assert_eq!(plain, HandshakeStep::Failed(TlsProblem::NotTls));
    }

    #[test]
    fn a_handshake_waits_for_room() {
        let mut client = ToyClient::new(CHATTY);
        let mut stream = stream(&[&client.hello(), &client.finished(), &client.data(b"ann\n")]);
        (stream.socket.room, stream.socket.most_at_once) = (0, 1);
        let mut steps = 0;
        loop {
            match stream.handshake(&mut buffers()).unwrap() {
                HandshakeStep::Waits { .. } => stream.socket.room = 1,
                step => break assert_eq!(step, HandshakeStep::Done),
            }
            steps += 1;
        }
        assert_eq!(steps, stream.socket.written.len());
        let records = ToyReader::of_server(CHATTY).read(&stream.socket.written);
        assert_eq!(records, [ToyRecord::Hello, ToyRecord::LastWord]);
        assert_eq!(received(&mut stream, &mut buffers()).0.concat(), b"ann\n");
    }

    #[test]
    fn whatever_a_socket_takes_plaintext_counts_as_it_goes() {
        for number in [TERSE, CHATTY] {
            for length in [1, 2, 5, 37] {
                let text = (0..length).collect::<Vec<u8>>();
                for room in (1..length as usize + OVERHEAD + 2).chain([1000]) {
                    for most_at_once in [1, 3, 1000] {
                        let (mut stream, _) = open_stream(number);
                        stream.socket.most_at_once = most_at_once;
                        let records = send_all(&mut stream, number, &text, room);
                        assert_eq!(records.last(), Some(&ToyRecord::Data(text.clone())));
                        assert_eq!(stream.bytes_held(), 0);
                    }
                }
            }
        }
    }

    #[test]
    fn the_last_byte_counts_with_the_last_of_its_record() {
        let (mut stream, _) = open_stream(TERSE);
        let text = [b'x'; 2];
        (stream.socket.room, stream.socket.most_at_once) = (text.len() + OVERHEAD - 1, 1);
        let mut sent = 0;
        while let Ok(bytes) = stream.send(&text[sent..]) {
            sent += bytes;
            // Never far behind, and never ahead.
            let written = stream.socket.written.len();
            assert_eq!(sent, text.len() * written / (text.len() + OVERHEAD));
        }
        assert_eq!(sent, text.len() - 1);
        assert!(stream.take_progress() && !stream.take_progress(), "the socket has taken some behind that");
        stream.socket.room = 1;
        assert_eq!(stream.send(&text[sent..]).unwrap(), 1);
        assert!(!stream.wants_write() && stream.bytes_held() == 0);
    }

    #[test]
    fn more_that_is_unsent_later_goes_into_the_next_record() {
        let (mut stream, _) = open_stream(TERSE);
        stream.socket.room = 2;
        assert!(stream.send(b"ann").is_err());
        stream.socket.room = 1000;
        assert_eq!(stream.send(b"ann and bob").unwrap(), 3);
        assert_eq!(stream.send(b" and bob").unwrap(), 8);
        assert_eq!(stream.send(b"").unwrap(), 0);
        let records = ToyReader::of_server(TERSE).read(&handshake_and(TERSE, &stream.socket.written));
        assert_eq!(records[1..], [ToyRecord::Data(b"ann".to_vec()), ToyRecord::Data(b" and bob".to_vec())]);
    }

    #[test]
    fn long_replies_go_out_in_whole_records() {
        let text: Vec<u8> = (0..3 * MAX_PLAINTEXT_BYTES + 7).map(|index| index as u8).collect();
        for room in [1000, 16_389, 16_390, 16_391, 1 << 20] {
            let (mut stream, _) = open_stream(TERSE);
            let records = send_all(&mut stream, TERSE, &text, room);
            assert_eq!(records.len(), 1 + 4);
            assert_eq!(data(&records), text);
            assert_eq!(stream.bytes_held(), 0);
        }
    }

    #[test]
    fn what_the_session_says_goes_between_records() {
        for room in 1..40 {
            let (mut stream, mut client) = open_stream(TERSE);
            // Before a record, in the middle of one, and behind it.
            let update = client.key_update();
            stream.socket.pieces.push_back(update);
            received(&mut stream, &mut buffers());
            stream.socket.room = room;
            let mut unsent = &b"ann and bob"[..];
            while let Ok(bytes) = stream.send(unsent)
                && !unsent.is_empty()
            {
                unsent = &unsent[bytes..];
            }
            stream.socket.pieces.push_back([client.key_update(), client.key_update()].concat());
            received(&mut stream, &mut buffers());
            let records = send_all(&mut stream, TERSE, unsent, room);
            let of = |record: &ToyRecord| records.iter().filter(|other| *other == record).count();
            assert_eq!((of(&ToyRecord::KeyUpdate), &data(&records)[..]), (3, &b"ann and bob"[..]), "{room}");
        }
    }

    #[test]
    fn the_end_comes_behind_everything_and_waits_for_room() {
        let (mut stream, mut client) = open_stream(TERSE);
        stream.socket.pieces.push_back(client.key_update());
        received(&mut stream, &mut buffers());
        stream.socket.most_at_once = 1;
        let mut tries = 0;
        assert!(!stream.is_closing());
        loop {
            stream.socket.room = usize::from(tries > 0);
            match stream.shutdown_write() {
                Ok(()) => break,
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(!stream.socket.is_shut_down.get() && stream.is_closing() && stream.wants_write());
            assert!(stream.take_progress(), "the end has begun, or the socket has taken a byte");
            tries += 1;
        }
        assert_eq!(tries, stream.socket.written.len());
        assert!(stream.socket.is_shut_down.get() && stream.bytes_held() == 0);
        let records = ToyReader::of_server(TERSE).read(&handshake_and(TERSE, &stream.socket.written));
        assert_eq!(records[1..], [ToyRecord::KeyUpdate, ToyRecord::CloseNotify]);
    }

    #[test]
    fn an_end_that_was_begun_is_sent_by_an_ordinary_write() {
        let (mut stream, _) = open_stream(TERSE);
        stream.socket.room = 1;
        assert!(stream.shutdown_write().is_err());
        stream.socket.room = 1000;
        assert_eq!(stream.send(b"").unwrap(), 0);
        assert!(!stream.socket.is_shut_down.get());
        stream.shutdown_write().unwrap();
        let records = ToyReader::of_server(TERSE).read(&handshake_and(TERSE, &stream.socket.written));
        assert_eq!(records[1..], [ToyRecord::CloseNotify]);
    }

    #[test]
    fn records_without_content_come_to_an_end() {
        let empty = OVERHEAD;
        let most = MAX_EMPTY_BYTES / empty;
        for (before, is_refused) in [(most, false), (most + 1, true)] {
            let (mut stream, mut client) = open_stream(TERSE);
            for _ in 0..before {
                stream.socket.pieces.push_back(client.data(b""));
            }
            let last = client.data(b"x");
            stream.socket.pieces.push_back(last);
            let mut buffers = buffers();
            let error = loop {
                match stream.receive(&mut buffers) {
                    Ok(TransportRead::Bytes { bytes: b"x", .. }) => break None,
                    Ok(TransportRead::Bytes { bytes, .. }) => assert!(bytes.is_empty()),
                    Ok(TransportRead::Eof) => panic!("that is not the end"),
                    Err(error) => break Some(error.kind()),
                }
            };
            assert_eq!(error, is_refused.then_some(ErrorKind::InvalidData));
        }
        // Each byte between them allows as many again.
        let (mut stream, mut client) = open_stream(TERSE);
        for _ in 0..4 * most {
            stream.socket.pieces.push_back([client.data(b""), client.data(b"x")].concat());
        }
        assert_eq!(received(&mut stream, &mut buffers()).0.concat(), vec![b'x'; 4 * most]);
    }

    #[test]
    fn one_read_brings_so_much_plaintext_at_most() {
        for (sizes, turns) in [
            (vec![READ_BYTES], 1),
            (vec![10, READ_BYTES], 2),
            (vec![READ_BYTES, 10], 2),
            (vec![8000, 8000, 8000], 2),
            (vec![1; 3000], 2),
        ] {
            let (mut stream, mut client) = open_stream(TERSE);
            let sent: Vec<u8> = sizes.iter().flat_map(|size| client.data(&vec![b'x'; *size])).collect();
            stream.socket.pieces.push_back(sent);
            let (parts, _) = received(&mut stream, &mut buffers());
            let with_content: Vec<_> = parts.iter().map(Vec::len).filter(|length| *length > 0).collect();
            assert_eq!(with_content.iter().sum::<usize>(), sizes.iter().sum::<usize>());
            assert!(with_content.iter().all(|length| *length <= READ_BYTES), "{with_content:?}");
            assert_eq!(with_content.len(), turns, "{with_content:?}");
            assert_eq!(stream.bytes_held(), 0);
        }
    }

    #[test]
    fn a_record_in_part_is_all_that_is_kept() {
        let (mut stream, mut client) = open_stream(TERSE);
        let record = client.data(&[b'x'; MAX_PLAINTEXT_BYTES]);
        let mut most = 0;
        for piece in record.chunks(100) {
            stream.socket.pieces.push_back(piece.to_vec());
            let (parts, _) = received(&mut stream, &mut buffers());
            most = most.max(stream.bytes_held());
            assert_eq!(stream.bytes_arrived().unwrap(), 0, "a record in part is not waited for");
            assert_eq!(parts.concat().is_empty(), stream.bytes_held() > 0);
        }
        assert!((record.len() - 100..=2 * record.len()).contains(&most), "{most}");
        assert_eq!(stream.bytes_held(), 0);
    }

    #[test]
    fn the_end_of_the_socket_is_the_end_even_within_a_record() {
        let (mut stream, mut client) = open_stream(TERSE);
        let record = client.data(b"ann\n");
        stream.socket.pieces.push_back(record[..record.len() - 1].to_vec());
        stream.socket.is_finished = true;
        assert_eq!(received(&mut stream, &mut buffers()), (vec![Vec::new()], true));
    }

    #[test]
    fn a_record_that_is_none_is_an_error_with_an_alert() {
        let (mut stream, client) = open_stream(TERSE);
        stream.socket.pieces.push_back(client.bad());
        let error = stream.receive(&mut buffers()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let records = ToyReader::of_server(TERSE).read(&handshake_and(TERSE, &stream.socket.written));
        assert_eq!(records[1..], [ToyRecord::Alert]);
        let (mut stream, _) = open_stream(TERSE);
        stream.socket.pieces.push_back(b"GET".to_vec());
        assert_eq!(stream.receive(&mut buffers()).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_farewell_is_text_and_the_end() {
        let (stream, _) = open_stream(TERSE);
        let (_, last_words) = stream.into_farewell(b"too many\n");
        let records = ToyReader::of_server(TERSE).read(&handshake_and(TERSE, &last_words));
        assert_eq!(records[1..], [ToyRecord::Data(b"too many\n".to_vec()), ToyRecord::CloseNotify]);
    }
}
