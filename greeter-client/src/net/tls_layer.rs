//! TLS over a socket, for one thread that reads and another that writes. It knows TLS by what goes
//! in and what comes out, and no certificates.
//!
//! Three locks. `incoming` is the reader's, `outgoing` the writer's, each held while the socket is
//! waited for; `session` is both's, and never is. Whoever needs two takes `session` last.

use std::io;
use std::mem;
use std::net::Shutdown;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::deadline::Deadline;
use super::error::{ConnectionError, TlsFailure};
use super::socket::RawSocket;
use super::tls::ClientTlsSession;

/// How much is read from a socket at once: a whole record, and some.
const READ_BYTES: usize = 18 * 1024;

/// With which bytes the first record of a server may begin.
const ALERT: u8 = 0x15;
const HANDSHAKE: u8 = 0x16;

/// How much of what a server says that speaks no TLS is shown.
const ANSWER_BYTES: usize = 80;

/// How long the socket is waited for where nobody waits for the outcome.
const BRIEFLY: Duration = Duration::from_millis(1);

/// A connection's TLS.
#[derive(Debug)]
pub(crate) struct TlsLayer {
    session: Mutex<ClientTlsSession>,
    incoming: Mutex<CiphertextIn>,
    outgoing: Mutex<CiphertextOut>,
    /// Who waits for the handshake, while another thread reads.
    waiting: Mutex<Option<Sender<Result<(), TlsFailure>>>>,
}

/// What has come and is not decrypted yet.
#[derive(Debug)]
pub(crate) struct CiphertextIn {
    ciphertext: Box<[u8]>,
    /// Where in there the rest begins.
    start: usize,
    end: usize,
    /// Something has been looked at, and begins as TLS does.
    is_begun: bool,
    /// Nothing more comes from the socket.
    is_ended: bool,
    /// Why nothing more is decrypted, which is told behind what was.
    failure: Option<TlsFailure>,
}

/// What a look for plaintext has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlainRead {
    /// There were so many bytes.
    Bytes(usize),
    /// More must come from the socket first.
    Starved,
    /// The server has ended the stream: with a word in TLS, or with none.
    Ended,
}

/// What is encrypted and not sent yet.
#[derive(Debug, Default)]
struct CiphertextOut {
    ciphertext: Vec<u8>,
    /// How much of that the socket has taken.
    sent: usize,
    /// How many bytes of a write are in there that has not been told so: when it comes again with
    /// the same bytes, they are not encrypted again.
    accepted: usize,
    /// We have said that no more will be sent.
    is_closed: bool,
}

impl CiphertextIn {
    pub(crate) fn new() -> Self {
        Self {
            ciphertext: vec![0; READ_BYTES].into(),
            start: 0,
            end: 0,
            is_begun: false,
            is_ended: false,
            failure: None,
        }
    }

    /// Room for what comes from the socket, once all that came before is decrypted.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.ciphertext
    }

    /// So much has come; 0 is the end.
    pub(crate) fn filled(&mut self, count: usize) {
        (self.start, self.end) = (0, count);
        self.is_ended |= count == 0;
    }

    /// Decrypts what has come, as much as `space` holds.
    pub(crate) fn read(&mut self, session: &mut ClientTlsSession, space: &mut [u8]) -> Result<PlainRead, TlsFailure> {
        let mut count = session.take(space);
        while count < space.len() && self.feed(session) {
            count += session.take(&mut space[count..]);
        }
        match self.failure.take() {
            failure if count > 0 => self.failure = failure,
            Some(failure) => return Err(failure),
            None if self.is_ended || session.has_peer_closed() => return Ok(PlainRead::Ended),
            None => return Ok(PlainRead::Starved),
        }
        Ok(PlainRead::Bytes(count))
    }

    /// Lets TLS have a part of what has come. `false`: there is nothing that it could take.
    fn feed(&mut self, session: &mut ClientTlsSession) -> bool {
        let ciphertext = &self.ciphertext[self.start..self.end];
        let Some(&first) = ciphertext.first() else { return false };
        let fed = match mem::replace(&mut self.is_begun, true) {
            false if !matches!(first, ALERT | HANDSHAKE) => {
                Err(TlsFailure::NoTls { answer: ciphertext[..ciphertext.len().min(ANSWER_BYTES)].to_vec() })
            }
            _ => session.feed(ciphertext),
        };
        match fed {
            Ok(taken) => self.start += taken,
            Err(failure) => {
                self.failure = Some(failure);
                self.start = self.end;
            }
        }
        true
    }
}

impl TlsLayer {
    pub(super) fn new(session: ClientTlsSession) -> Self {
        Self {
            session: Mutex::new(session),
            incoming: Mutex::new(CiphertextIn::new()),
            outgoing: Mutex::new(CiphertextOut::default()),
            waiting: Mutex::new(None),
        }
    }

    /// On a connection that another thread reads. What becomes of the handshake is sent to the
    /// receiver.
    pub(super) fn start(session: ClientTlsSession) -> (Self, Receiver<Result<(), TlsFailure>>) {
        let (waiting, shaken) = mpsc::channel();
        (Self { waiting: Mutex::new(Some(waiting)), ..Self::new(session) }, shaken)
    }

    /// Its parts, for whoever waits for nothing.
    #[cfg(feature = "load")]
    pub(crate) fn into_parts(self) -> (ClientTlsSession, CiphertextIn) {
        (into_inner(self.session), into_inner(self.incoming))
    }

    /// Both sides say who they are.
    pub(super) fn handshake(&self, socket: &RawSocket, deadline: &Deadline) -> Result<(), TlsFailure> {
        let mut incoming = lock(&self.incoming);
        loop {
            self.flush(socket, deadline).map_err(unshaken)?;
            if !lock(&self.session).is_handshaking() {
                return Ok(());
            }
            let count = socket.read(incoming.space(), deadline).map_err(unshaken)?;
            if count == 0 {
                return Err(TlsFailure::Closed);
            }
            incoming.filled(count);
            let mut session = lock(&self.session);
            while session.is_handshaking() && incoming.feed(&mut session) {}
            drop(session);
            if let Some(failure) = incoming.failure.take() {
                self.tell_briefly(socket);
                return Err(failure);
            }
        }
    }

    /// Begins the handshake, and waits until the thread that reads has brought it to its end.
    pub(super) fn await_handshake(
        &self,
        socket: &RawSocket,
        shaken: &Receiver<Result<(), TlsFailure>>,
        deadline: &Deadline,
    ) -> Result<(), TlsFailure> {
        self.flush(socket, deadline).map_err(unshaken)?;
        let remaining = deadline.remaining().map_err(unshaken)?;
        // The other end stays where it is until there is something to tell.
        match shaken.recv_timeout(remaining.unwrap_or(Duration::MAX)) {
            Ok(outcome) => outcome?,
            Err(_) => return Err(TlsFailure::TimedOut { timeout: deadline.timeout() }),
        }
        // What the reading thread could not send.
        self.flush(socket, deadline).map_err(unshaken)
    }

    /// Tells who waits for the handshake what has become of it.
    pub(super) fn settle(&self, outcome: Result<(), TlsFailure>) {
        if let Some(waiting) = lock(&self.waiting).take() {
            // Who waited may have given it up.
            let _ = waiting.send(outcome);
        }
    }

    /// This has come from the socket, and is less than is read at once.
    pub(super) fn came(&self, ciphertext: &[u8]) {
        let mut incoming = lock(&self.incoming);
        incoming.space()[..ciphertext.len()].copy_from_slice(ciphertext);
        incoming.filled(ciphertext.len());
    }

    /// Reads what there is, or waits for it; 0 is the end.
    pub(super) fn read(
        &self,
        socket: &RawSocket,
        space: &mut [u8],
        deadline: &Deadline,
    ) -> Result<usize, ConnectionError> {
        let mut incoming = lock(&self.incoming);
        loop {
            let mut session = lock(&self.session);
            let was_shaken = !session.is_handshaking();
            let (read, owes) = (incoming.read(&mut session, space), session.owes());
            let is_shaken = !session.is_handshaking();
            drop(session);
            if owes {
                self.tell_briefly(socket);
            }
            if is_shaken && !was_shaken {
                self.settle(Ok(()));
            }
            match read {
                Ok(PlainRead::Bytes(count)) => return Ok(count),
                Ok(PlainRead::Ended) => return Ok(0),
                Ok(PlainRead::Starved) => {
                    let count = socket.read(incoming.space(), deadline)?;
                    incoming.filled(count);
                }
                Err(failure) if is_shaken => {
                    return Err(ConnectionError::Lost(io::Error::new(io::ErrorKind::InvalidData, failure)));
                }
                Err(failure) => {
                    self.settle(Err(failure));
                    return Err(ConnectionError::Lost(io::ErrorKind::InvalidData.into()));
                }
            }
        }
    }

    /// Whether the server said in TLS that it would end the stream.
    pub(super) fn has_peer_closed(&self) -> bool {
        lock(&self.session).has_peer_closed()
    }

    /// Encrypts some of `bytes`, hands that to the system, and says how many they were. Where time
    /// is up before all of it is handed over, the next write must begin with the same bytes.
    pub(super) fn write(
        &self,
        socket: &RawSocket,
        bytes: &[u8],
        deadline: &Deadline,
    ) -> Result<usize, ConnectionError> {
        let mut outgoing = lock(&self.outgoing);
        if outgoing.is_closed {
            return Err(ConnectionError::Lost(io::ErrorKind::BrokenPipe.into()));
        }
        if outgoing.accepted == 0 {
            let encrypted = lock(&self.session).encrypt(bytes, &mut outgoing.ciphertext);
            outgoing.accepted = encrypted.map_err(ConnectionError::Lost)?;
        }
        outgoing.flush(socket, deadline)?;
        Ok(mem::take(&mut outgoing.accepted).min(bytes.len()))
    }

    /// Says that nothing more will be sent, in TLS and below it.
    pub(super) fn half_close(&self, socket: &RawSocket, deadline: &Deadline) -> Result<(), ConnectionError> {
        let mut outgoing = lock(&self.outgoing);
        outgoing.close(&self.session);
        outgoing.flush(socket, deadline)?;
        socket.shutdown(Shutdown::Write);
        Ok(())
    }

    /// Says so, unless that has to wait: for whoever is about to close.
    pub(super) fn close_briefly(&self, socket: &RawSocket) {
        if let Some(mut outgoing) = try_lock(&self.outgoing)
            && !outgoing.is_closed
        {
            outgoing.close(&self.session);
            let _ = outgoing.flush(socket, &Deadline::after(Some(BRIEFLY)));
        }
    }

    /// Sends what TLS itself has to say.
    pub(super) fn flush(&self, socket: &RawSocket, deadline: &Deadline) -> Result<(), ConnectionError> {
        let mut outgoing = lock(&self.outgoing);
        lock(&self.session).owed(&mut outgoing.ciphertext);
        outgoing.flush(socket, deadline)
    }

    /// Sends what TLS itself has to say, unless that has to wait: then it leaves with the next
    /// write. Two sides that both waited to write before they read would wait for ever.
    fn tell_briefly(&self, socket: &RawSocket) {
        if let Some(mut outgoing) = try_lock(&self.outgoing) {
            lock(&self.session).owed(&mut outgoing.ciphertext);
            let _ = outgoing.flush(socket, &Deadline::after(Some(BRIEFLY)));
        }
    }
}

impl CiphertextOut {
    fn close(&mut self, session: &Mutex<ClientTlsSession>) {
        if !mem::replace(&mut self.is_closed, true) {
            lock(session).close(&mut self.ciphertext);
        }
    }

    fn flush(&mut self, socket: &RawSocket, deadline: &Deadline) -> Result<(), ConnectionError> {
        while self.sent < self.ciphertext.len() {
            self.sent += socket.write(&self.ciphertext[self.sent..], deadline)?;
        }
        self.ciphertext.clear();
        self.sent = 0;
        Ok(())
    }
}

/// An error of the socket, before TLS is there.
fn unshaken(error: ConnectionError) -> TlsFailure {
    match error {
        ConnectionError::TimedOut { timeout } => TlsFailure::TimedOut { timeout },
        ConnectionError::Lost(error) => TlsFailure::Lost(error),
        error => TlsFailure::Lost(io::Error::other(error)),
    }
}

/// What is behind the locks is whole between any two statements, so that a thread that panicked has
/// left nothing broken.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(feature = "load")]
fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poison)) => Some(poison.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(feature = "tls")]
#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use rustls::crypto::ring;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection};

    use super::*;
    use crate::net::tls::{TlsClient, TlsClientOptions};

    /// Both ends of what needs no socket.
    struct Ends {
        client: ClientTlsSession,
        incoming: CiphertextIn,
        server: ServerConnection,
    }

    /// Who makes one pair of ends after the other.
    struct Factory(TlsClient, Arc<ServerConfig>);

    impl Factory {
        fn new() -> Self {
            let options = TlsClientOptions { insecure: true, ..TlsClientOptions::default() };
            let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let key = PrivateKeyDer::Pkcs8(identity.signing_key.serialize_der().into());
            let config = ServerConfig::builder_with_provider(ring::default_provider().into())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![identity.cert.der().clone()], key)
                .unwrap();
            Self(TlsClient::new(&options).unwrap(), config.into())
        }

        /// Ends that have shaken hands, with so many bytes of the server's at a time.
        fn ends(&self, piece: usize) -> Ends {
            let client = self.0.session(Some("localhost")).unwrap();
            let server = ServerConnection::new(Arc::clone(&self.1)).unwrap();
            let mut ends = Ends { client, incoming: CiphertextIn::new(), server };
            while ends.client.is_handshaking() || ends.server.is_handshaking() {
                ends.tell_server();
                for piece in ends.server_says().chunks(piece) {
                    assert_eq!(ends.come(piece, 10), b"");
                }
            }
            ends
        }
    }

    impl Ends {
        fn tell_server(&mut self) {
            let mut ciphertext = Vec::new();
            self.client.owed(&mut ciphertext);
            let mut rest = &ciphertext[..];
            while !rest.is_empty() {
                self.server.read_tls(&mut rest).unwrap();
                self.server.process_new_packets().unwrap();
            }
        }

        fn server_says(&mut self) -> Vec<u8> {
            let mut ciphertext = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut ciphertext).unwrap();
            }
            ciphertext
        }

        /// What is read when this comes from the socket, `space` bytes at a time.
        fn come(&mut self, ciphertext: &[u8], space: usize) -> Vec<u8> {
            let mut plain = Vec::new();
            let mut space = vec![0; space];
            for part in ciphertext.chunks(READ_BYTES) {
                self.incoming.space()[..part.len()].copy_from_slice(part);
                self.incoming.filled(part.len());
                while let PlainRead::Bytes(count) = self.incoming.read(&mut self.client, &mut space).unwrap() {
                    plain.extend_from_slice(&space[..count]);
                }
            }
            plain
        }
    }

    #[test]
    fn a_handshake_may_come_in_pieces_of_any_size() {
        let factory = Factory::new();
        for piece in [1, 2, 3, 5, 6, 7, 64, 1000] {
            factory.ends(piece);
        }
    }

    #[test]
    fn records_may_be_cut_anywhere() {
        let factory = Factory::new();
        let mut cut = 0;
        loop {
            let mut ends = factory.ends(READ_BYTES);
            for part in [&b"one\n"[..], b"two\n"] {
                ends.server.writer().write_all(part).unwrap();
            }
            ends.server.refresh_traffic_keys().unwrap();
            ends.server.writer().write_all(b"three\n").unwrap();
            ends.server.send_close_notify();
            let ciphertext = ends.server_says();
            if cut > ciphertext.len() {
                break;
            }
            let (first, second) = ciphertext.split_at(cut);
            let plain = [ends.come(first, 100), ends.come(second, 100)].concat();
            assert_eq!(String::from_utf8(plain).unwrap(), "one\ntwo\nthree\n", "cut at {cut}");
            assert!(matches!(ends.incoming.read(&mut ends.client, &mut [0]), Ok(PlainRead::Ended)));
            assert!(ends.client.has_peer_closed());
            cut += 1;
        }
        assert!(cut > 100);
    }

    /// rustls keeps 16 KiB of what nobody has taken, and refuses to take more in then.
    #[test]
    fn however_little_is_taken_at_a_time_all_of_it_comes() {
        let factory = Factory::new();
        for space in [1, 1000, 4096, 16 * 1024, 100_000] {
            let mut ends = factory.ends(READ_BYTES);
            ends.server.set_buffer_limit(None);
            let said: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
            ends.server.writer().write_all(&said).unwrap();
            let ciphertext = ends.server_says();
            assert!(ends.come(&ciphertext, space) == said, "{space}");
        }
    }

    #[test]
    fn an_end_is_told_behind_what_came_and_a_failure_too() {
        let factory = Factory::new();
        let mut ends = factory.ends(READ_BYTES);
        ends.server.writer().write_all(b"bye\n").unwrap();
        let ciphertext = ends.server_says();
        assert_eq!(ends.come(&ciphertext, 10), b"bye\n");
        ends.incoming.filled(0);
        assert!(matches!(ends.incoming.read(&mut ends.client, &mut [0]), Ok(PlainRead::Ended)));
        assert!(!ends.client.has_peer_closed());

        let mut ends = factory.ends(READ_BYTES);
        ends.server.writer().write_all(b"bye\n").unwrap();
        let mut ciphertext = ends.server_says();
        ciphertext.extend_from_slice(b"\x17\x03\x03\0\x20 garbage garbage garbage garbage");
        ends.incoming.space()[..ciphertext.len()].copy_from_slice(&ciphertext);
        ends.incoming.filled(ciphertext.len());
        let mut space = [0; 10];
        assert!(matches!(ends.incoming.read(&mut ends.client, &mut space), Ok(PlainRead::Bytes(4))));
        let failure = ends.incoming.read(&mut ends.client, &mut space).unwrap_err();
        assert_eq!(failure.to_string(), "that is no TLS as it should be: cannot decrypt peer's message");
        assert!(ends.client.owes());
    }
}
