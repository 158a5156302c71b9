//! Turns bytes into a client with TLS, a network that changes what it sends, and a server with
//! rustls behind it, and checks what holds for any of them. A test and a fuzzer call it.
//!
//! The bytes are a program. Each of its steps is something that one of the three does: the client
//! encrypts a record, the network loses one, a connection thread reads. Ours is the `TlsStream`
//! only. What the server hands out is always a start of what the client has said, and all of it up
//! to the first record that was changed; what counts as sent is what the client can decrypt, but
//! for a record that is on its way; and no more memory is held than a record takes.

pub(crate) mod client;
pub(crate) mod socket;

use std::collections::VecDeque;
use std::io::ErrorKind;

use client::{Record, TlsClient, records, server_config};
use rustls::ContentType;
use socket::{MAX_OWN_BYTES, ScriptedSocket};

use crate::tls::record::{MAX_PLAINTEXT_BYTES, MAX_RECORD_BYTES};
use crate::tls::session::{NewTlsSession, TlsProblem, TlsSession};
use crate::tls::settings::Tls;
use crate::tls::stream::{HandshakeStep, TlsBuffers, TlsStream, TransportRead};

/// Type, version and length of a record.
const HEADER_BYTES: usize = 5;

/// How many bytes of records may come in a row that carry nothing.
const MAX_EMPTY_BYTES: usize = 4096;

/// How many key updates rustls takes without data between them, and how many records in a row in
/// which there is nothing at all.
const MAX_IN_A_ROW: usize = 32;

/// How long a program may be, in steps and in what each end says, so that each one ends soon.
const MAX_STEPS: usize = 400;
const MAX_TEXT_BYTES: usize = 200_000;

/// In so many rounds, both ends have said what is left.
const MAX_ROUNDS: usize = 50;

/// What happens in a step, by its first byte. The bytes behind it say how much.
#[derive(Clone, Copy, Debug)]
enum Step {
    ClientSays,
    ClientUpdatesKey,
    ClientForges,
    ClientSaysNothing,
    ClientCloses,
    ClientHears,
    Deliver,
    DeliverAll,
    Finish,
    Flip,
    Drop,
    Repeat,
    Swap,
    InsertBytes,
    InsertHeader,
    InsertAlert,
    Room,
    Interrupt,
    ServerReads,
    ServerReadsAll,
    ServerSays,
    ServerSends,
    ServerCloses,
    Farewell,
}

impl Step {
    const ALL: [Self; 24] = [
        Self::ClientSays,
        Self::ClientUpdatesKey,
        Self::ClientForges,
        Self::ClientSaysNothing,
        Self::ClientCloses,
        Self::ClientHears,
        Self::Deliver,
        Self::DeliverAll,
        Self::Finish,
        Self::Flip,
        Self::Drop,
        Self::Repeat,
        Self::Swap,
        Self::InsertBytes,
        Self::InsertHeader,
        Self::InsertAlert,
        Self::Room,
        Self::Interrupt,
        Self::ServerReads,
        Self::ServerReadsAll,
        Self::ServerSays,
        Self::ServerSends,
        Self::ServerCloses,
        Self::Farewell,
    ];
}

/// The bytes of a program that are left.
struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// Returns the next byte, or zero behind the last.
    fn number(&mut self) -> usize {
        self.byte().unwrap_or(0).into()
    }

    /// Returns a length: most of them are short, and some longer than a record.
    fn length(&mut self) -> usize {
        match self.number() {
            short @ 0..200 => short,
            long => 1000 + (long - 200) * 512,
        }
    }

    fn step(&mut self) -> Option<Step> {
        self.byte().map(|byte| Step::ALL[usize::from(byte) % Step::ALL.len()])
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// Makes sessions of rustls', with a limit of its own.
#[derive(Debug)]
struct TestedTls {
    tls: Tls,
    max_handshake_bytes: usize,
}

impl NewTlsSession for TestedTls {
    fn new_session(&self) -> Result<Box<dyn TlsSession>, TlsProblem> {
        self.tls.new_session()
    }

    fn max_handshake_bytes(&self) -> usize {
        self.max_handshake_bytes
    }
}

/// A record on its way, or what was put between them.
struct Wired {
    record: Record,
    /// Whether it is as the client has sent it.
    is_genuine: bool,
    /// Whether it cannot be decrypted where it is now, so that the connection ends with it.
    is_bad: bool,
    /// Whether it, or its place, was changed. It is not changed again, lest all is well again.
    is_changed: bool,
}

impl Wired {
    const fn new(record: Record, is_bad: bool) -> Self {
        Self { record, is_genuine: true, is_bad, is_changed: false }
    }

    /// What the client has not sent here.
    const fn foreign(record: Record, is_bad: bool) -> Self {
        Self { record, is_genuine: false, is_bad, is_changed: true }
    }
}

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServerState {
    Handshake,
    Open,
    /// It has read the end of the input, or said its last.
    AtEnd,
    /// The handshake or a read has failed, or the client has gone before the handshake was over.
    Failed,
}

/// The three, and what is known of them.
struct Driver {
    client: TlsClient,
    /// What the client has sent and has not arrived. So many bytes of the first have.
    wire: VecDeque<Wired>,
    begun: usize,
    /// `None` once its socket is all that is left.
    stream: Option<TlsStream<ScriptedSocket>>,
    state: ServerState,
    buffers: TlsBuffers,
    max_plaintext: usize,
    max_handshake_bytes: usize,
    /// How many bytes of the client's are part of the handshake.
    handshake_bytes: usize,
    /// What the server has handed out.
    handed_out: Vec<u8>,
    /// What the server says, and how much of it counts as sent.
    given: Vec<u8>,
    sent: usize,
    /// What the socket has taken, and how much of it the client has read.
    written: Vec<u8>,
    heard: usize,
    /// Whether nothing was changed on the way, and nothing said that rustls would not.
    is_exact: bool,
    /// How much was said in records that have arrived as a whole.
    said_arrived: usize,
    /// How much was said before the first record that cannot be decrypted.
    said_before_bad: usize,
    /// How much was said before the client's close_notify.
    said_before_end: Option<usize>,
    /// Whether records end where their headers say.
    is_framed: bool,
    /// Whether one that cannot be decrypted has arrived.
    has_bad_arrived: bool,
    /// How many bytes may still come that carry nothing.
    empty_left: usize,
    /// How many records of the client's are key updates, since there was data, and how many at the
    /// end have no content.
    key_updates: usize,
    without_content: usize,
    /// Whether the server has said that nothing follows.
    is_closing: bool,
}

/// Asserts that the property holds for a program. Its first byte is the configuration, the next one
/// how long a handshake may be, and, if the client has a long hello, another one how long.
#[track_caller]
pub(crate) fn holds(bytes: &[u8]) {
    let mut program = Program(bytes);
    let mut driver = Driver::new(&mut program);
    for _ in 0..MAX_STEPS {
        let Some(step) = program.step() else { break };
        driver.run_step(step, &mut program);
        driver.check();
    }
    driver.finish();
}

impl Driver {
    fn new(program: &mut Program<'_>) -> Self {
        let options = program.number();
        // Without many protocols, a handshake has a few hundred bytes.
        let max_handshake_bytes = match program.number() {
            small @ 0..200 => small * 5,
            _ if options & 8 == 0 => 16 * 1024,
            _ => 64 * 1024,
        };
        let protocols = if options & 4 == 0 { 0 } else { program.number() };
        let max_plaintext = [16 * 1024, 100][usize::from(options & 16 != 0)];
        let tls = TestedTls { tls: Tls::from_rustls(server_config(options & 2 != 0)), max_handshake_bytes };
        let mut socket = ScriptedSocket::default();
        socket.room = if options & 32 == 0 { usize::MAX } else { 0 };
        let stream = TlsStream::new(socket, &tls).map_err(|(_, problem)| problem);
        let mut driver = Self {
            client: TlsClient::new(options & 1 != 0, protocols),
            wire: VecDeque::new(),
            begun: 0,
            stream: Some(stream.expect("there is a session for everybody")),
            state: ServerState::Handshake,
            buffers: TlsBuffers::new(max_plaintext),
            max_plaintext,
            max_handshake_bytes,
            handshake_bytes: 0,
            handed_out: Vec::new(),
            given: Vec::new(),
            sent: 0,
            written: Vec::new(),
            heard: 0,
            is_exact: true,
            said_arrived: 0,
            said_before_bad: usize::MAX,
            said_before_end: None,
            is_framed: true,
            has_bad_arrived: false,
            empty_left: MAX_EMPTY_BYTES,
            key_updates: 0,
            without_content: 0,
            is_closing: false,
        };
        driver.collect();
        driver
    }

    fn run_step(&mut self, step: Step, program: &mut Program<'_>) {
        match step {
            Step::ClientSays => self.client_says(program.length()),
            Step::ClientUpdatesKey => self.of_open_client(TlsClient::update_key),
            Step::ClientForges => self.client_forges(program),
            Step::ClientSaysNothing => {
                for _ in 0..program.number() {
                    self.of_open_client(|client| client.forge(ContentType::ApplicationData, Vec::new()));
                }
            }
            Step::ClientCloses => self.of_open_client(TlsClient::close),
            Step::ClientHears => self.client_hears(program.length()),
            Step::Deliver => self.deliver(program.length()),
            Step::DeliverAll => self.deliver(usize::MAX),
            Step::Finish => self.socket(|socket| socket.is_finished = true),
            Step::Flip => {
                let (which, at, bit) = (program.number(), program.length(), program.number() % 8);
                self.flip(which, at, 1 << bit);
            }
            Step::Drop | Step::Repeat | Step::Swap => self.reorder(step, program.number()),
            Step::InsertBytes => {
                let (which, length) = (program.number(), program.length());
                let bytes = program.bytes(length).to_vec();
                self.insert(which, bytes, false);
            }
            Step::InsertHeader => {
                let (which, kind, length) = (program.number(), program.number(), program.number());
                // Of a record that is empty, and of one that is too long by a byte or by far.
                let length = [[0, 0], [0x48, 0x01], [0xFF, 0xFF]][length % 3];
                self.insert(which, vec![20 + (kind % 4) as u8, 3, 3, length[0], length[1]], true);
            }
            Step::InsertAlert => {
                let (which, level, description) = (program.number(), program.number(), program.number());
                self.insert(which, vec![21, 3, 3, 0, 2, level as u8, description as u8], true);
            }
            Step::Room => {
                let room = program.length();
                self.socket(|socket| socket.room = room);
            }
            Step::Interrupt => {
                let interruptions = program.number() % 4;
                self.socket(|socket| socket.interruptions = interruptions as u32);
            }
            Step::ServerReads => {
                self.server_reads();
            }
            Step::ServerReadsAll => self.server_reads_all(),
            Step::ServerSays => self.server_says(program.length()),
            Step::ServerSends => {
                self.server_sends();
            }
            Step::ServerCloses => self.server_closes(),
            Step::Farewell => self.farewell(program.length()),
        }
    }

    // The client.

    /// Has the client encrypt what no client would say.
    fn client_forges(&mut self, program: &mut Program<'_>) {
        let typ = [ContentType::Alert, ContentType::Handshake, ContentType::ApplicationData][program.number() % 3];
        let length = program.number() % 8;
        let mut content = program.bytes(length).to_vec();
        if length == 7 {
            content.resize(MAX_PLAINTEXT_BYTES + 1, 0);
        }
        let is_data = typ == ContentType::ApplicationData;
        self.is_exact &= is_data || !self.client.is_open();
        self.of_open_client(|client| client.forge(typ, content));
    }

    fn client_says(&mut self, length: usize) {
        if self.client.said.len() + length <= MAX_TEXT_BYTES {
            self.client.say(&text(self.client.said.len(), length));
            self.collect();
        }
    }

    fn of_open_client(&mut self, act: impl FnOnce(&mut TlsClient)) {
        if self.client.is_open() {
            act(&mut self.client);
            self.collect();
        }
    }

    fn client_hears(&mut self, length: usize) {
        self.take_written();
        let end = self.written.len().min(self.heard.saturating_add(length));
        let was_dead = self.client.is_dead;
        self.client.hear(&self.written[self.heard..end]);
        self.heard = end;
        self.check_heard();
        let may_die = was_dead || !self.is_exact || self.state == ServerState::Failed;
        assert!(!self.client.is_dead || may_die, "what the server sends can be decrypted");
        self.collect();
    }

    /// Takes the records that the client has made, and foresees what becomes of them.
    fn collect(&mut self) {
        for record in self.client.take_records() {
            let Some((typ, length)) = record.content else {
                self.handshake_bytes += record.bytes.len();
                self.wire.push_back(Wired::new(record, false));
                continue;
            };
            let is_data = typ == ContentType::ApplicationData;
            self.key_updates = if is_data { 0 } else { self.key_updates + 1 };
            self.without_content = if length > 0 { 0 } else { self.without_content + 1 };
            // More are refused by rustls.
            self.is_exact &= self.key_updates.max(self.without_content) <= MAX_IN_A_ROW;
            let mut is_bad = is_data && length > MAX_PLAINTEXT_BYTES;
            if is_data && length > 0 {
                self.empty_left = MAX_EMPTY_BYTES;
            } else if let Some(left) = self.empty_left.checked_sub(record.bytes.len()) {
                self.empty_left = left;
            } else {
                // The end may be one too many.
                is_bad |= !record.is_end;
            }
            if record.is_end {
                self.said_before_end = self.said_before_end.or(Some(record.said_before));
            }
            if is_bad {
                self.said_before_bad = self.said_before_bad.min(record.said_before);
            }
            self.wire.push_back(Wired::new(record, is_bad));
        }
    }

    // The network.

    fn socket(&mut self, act: impl FnOnce(&mut ScriptedSocket)) {
        if let Some(stream) = &mut self.stream {
            act(stream.socket_mut());
        }
    }

    /// Takes what the socket has taken.
    fn take_written(&mut self) {
        if let Some(stream) = &mut self.stream {
            self.written.append(&mut stream.socket_mut().written);
        }
    }

    fn deliver(&mut self, mut most: usize) {
        let Some(stream) = &mut self.stream else { return };
        let socket = stream.socket_mut();
        while !socket.is_finished
            && most > 0
            && let Some(first) = self.wire.front()
        {
            let rest = &first.record.bytes[self.begun..];
            let part = rest.len().min(most);
            socket.arrive(&rest[..part]);
            most -= part;
            self.begun += part;
            if part < rest.len() {
                break;
            }
            self.has_bad_arrived |= first.is_bad && self.is_framed;
            if let (true, Some((ContentType::ApplicationData, length))) = (first.is_genuine, first.record.content) {
                self.said_arrived = self.said_arrived.max(first.record.said_before + length);
            }
            self.wire.pop_front();
            self.begun = 0;
        }
    }

    /// Returns the first place none of which has arrived.
    fn first_place(&self) -> usize {
        usize::from(self.begun > 0)
    }

    /// Returns the place of a record that may be changed.
    fn place(&self, which: usize) -> Option<usize> {
        let first = self.first_place();
        let places = self.wire.len().checked_sub(first).filter(|places| *places > 0)?;
        Some(first + which % places).filter(|place| !self.wire[*place].is_changed)
    }

    /// Notes that from this place on, nothing is as it was sent.
    fn breaks_at(&mut self, place: usize) {
        let genuine = self.wire.iter().skip(place).find(|wired| wired.is_genuine);
        let said_before = genuine.map_or(self.client.said.len(), |wired| wired.record.said_before);
        self.said_before_bad = self.said_before_bad.min(said_before);
    }

    /// Changes a bit of a record.
    fn flip(&mut self, which: usize, at: usize, bit: u8) {
        let Some(place) = self.place(which) else { return };
        self.is_exact = false;
        let at = at % self.wire[place].record.bytes.len();
        // Type and version may be anything that begins a record. What is not encrypted, the
        // handshake may do without.
        let is_encrypted = self.wire[place].record.content.is_some();
        if is_encrypted && at >= 3 {
            self.breaks_at(place);
        }
        self.is_framed &= at >= HEADER_BYTES;
        let wired = &mut self.wire[place];
        wired.is_bad |= is_encrypted && at >= HEADER_BYTES;
        wired.is_genuine &= at < 3;
        wired.is_changed = true;
        wired.record.bytes[at] ^= bit;
    }

    /// Loses a record, sends it twice, or has the next one overtake it.
    fn reorder(&mut self, step: Step, which: usize) {
        let Some(place) = self.place(which) else { return };
        self.is_exact = false;
        let is_encrypted = self.wire[place].record.content.is_some();
        let is_repeated = matches!(step, Step::Repeat);
        if is_encrypted {
            self.breaks_at(place + usize::from(is_repeated));
        }
        match step {
            Step::Repeat => {
                self.wire[place].is_changed = true;
                let record = self.wire[place].record.clone();
                self.wire.insert(place + 1, Wired::foreign(record, is_encrypted));
            }
            Step::Swap if place + 1 < self.wire.len() => {
                self.wire.swap(place, place + 1);
                (self.wire[place].is_changed, self.wire[place + 1].is_changed) = (true, true);
            }
            _ => {
                self.wire.remove(place);
            }
        }
    }

    /// Puts something before a record, or behind the last.
    fn insert(&mut self, which: usize, bytes: Vec<u8>, is_record: bool) {
        if bytes.is_empty() {
            return;
        }
        self.is_exact = false;
        let first = self.first_place();
        let place = first + which % (self.wire.len() - first + 1);
        self.is_framed &= is_record;
        // Behind the handshake, all is encrypted.
        let is_bad = self.state != ServerState::Handshake;
        if is_bad {
            self.breaks_at(place);
        }
        let record = Record { bytes, content: None, said_before: 0, is_end: false };
        self.wire.insert(place, Wired::foreign(record, is_bad));
    }

    // The server.

    /// Has the server read once, and returns whether it may read more.
    fn server_reads(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        stream.socket_mut().begin_call();
        match self.state {
            ServerState::Handshake => {
                self.server_shakes_hands();
                self.state == ServerState::Open
            }
            ServerState::Open => self.server_receives(),
            ServerState::AtEnd | ServerState::Failed => false,
        }
    }

    fn server_reads_all(&mut self) {
        // Each read takes a record out of what was sent.
        let mut reads = 0;
        while self.server_reads() {
            reads += 1;
            assert!(reads < 2 * MAX_TEXT_BYTES, "a client keeps its thread busy");
        }
    }

    fn server_shakes_hands(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let step = stream.handshake(&mut self.buffers).expect("the socket has no errors");
        let wants_write = stream.wants_write();
        let socket = stream.socket_mut();
        let (taken, limit) = (socket.taken, self.max_handshake_bytes);
        assert!(taken <= limit + MAX_RECORD_BYTES, "{taken} bytes were read of a handshake");
        match step {
            HandshakeStep::Waits { .. } if wants_write => assert_eq!(socket.room, 0, "there is room"),
            HandshakeStep::Waits { .. } => {
                assert_eq!(socket.unread(), 0, "there is something to read");
                assert!(taken <= limit, "a handshake of {taken} bytes is waited for");
            }
            HandshakeStep::Done => {
                assert!(!wants_write, "the handshake is over when it is out");
                assert!(!self.is_exact || self.handshake_bytes <= limit, "the handshake is too long");
                self.state = ServerState::Open;
            }
            HandshakeStep::Gone => {
                assert!(socket.is_at_end(), "the client is still there");
                self.state = ServerState::Failed;
            }
            HandshakeStep::Failed(problem) => {
                assert!(problem != TlsProblem::TooLong || taken > limit, "{taken} bytes are not too many");
                let is_too_long = problem == TlsProblem::TooLong && self.handshake_bytes > limit;
                assert!(!self.is_exact || is_too_long, "{problem:?}: nothing was wrong with it");
                self.state = ServerState::Failed;
            }
        }
    }

    fn server_receives(&mut self) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        let arrived_before = stream.bytes_arrived().expect("the socket has no errors");
        let taken_before = stream.socket_mut().taken;
        let received = stream.receive(&mut self.buffers);
        let arrived_after = stream.bytes_arrived().expect("the socket has no errors");
        let socket = stream.socket_mut();
        let may_read_more = match received {
            Ok(TransportRead::Bytes { bytes, arrived, may_have_more }) => {
                assert!(bytes.len() <= self.max_plaintext.max(MAX_PLAINTEXT_BYTES), "a read brings too much");
                assert_eq!(arrived_before - arrived_after, arrived, "what is taken had arrived");
                let has_got_on = socket.taken > taken_before || arrived > 0;
                assert!(has_got_on, "it reads, and has nothing to read");
                assert!(may_have_more || arrived_after == 0, "there is more");
                let begun = self.handed_out.len();
                assert!(self.client.said[begun..].starts_with(bytes), "the client has said something else");
                self.handed_out.extend_from_slice(bytes);
                may_have_more
            }
            Ok(TransportRead::Eof) => {
                let has_heard_end = self.said_before_end == Some(self.handed_out.len());
                assert!(socket.is_at_end() || has_heard_end, "nobody has said that it is the end");
                self.state = ServerState::AtEnd;
                false
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert_eq!(arrived_after, 0, "there is something to read");
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidData);
                let has_cause = !self.is_exact || self.said_before_bad < usize::MAX;
                assert!(has_cause, "{error}: nothing was wrong with it");
                self.state = ServerState::Failed;
                return false;
            }
        };
        if arrived_after == 0 {
            self.check_all_is_read();
        }
        may_read_more
    }

    /// Checks what holds once all records that are whole were decrypted.
    fn check_all_is_read(&self) {
        let has_heard_end = self.said_before_end.is_some_and(|said| said <= self.handed_out.len());
        assert!(!self.has_bad_arrived || has_heard_end || !self.is_framed, "a record that is bad was taken");
        if self.is_exact {
            let said = self.said_arrived.min(self.said_before_end.unwrap_or(usize::MAX));
            assert_eq!(self.handed_out.len(), said, "all that was said is handed out");
        }
    }

    fn server_says(&mut self, length: usize) {
        if !self.is_closing && self.given.len() + length <= MAX_TEXT_BYTES {
            let more = text(self.given.len() + 7, length);
            self.given.extend(more);
        }
    }

    /// Has the server send once, and returns whether it may send more.
    fn server_sends(&mut self) -> bool {
        let is_open = matches!(self.state, ServerState::Open | ServerState::AtEnd);
        let Some(stream) = self.stream.as_mut().filter(|_| is_open) else { return false };
        stream.socket_mut().begin_call();
        let written_before = stream.socket_mut().written.len();
        let unsent = &self.given[self.sent..];
        let result = stream.send(unsent);
        let has_written = stream.socket_mut().written.len() > written_before;
        match result {
            Ok(0) => {
                assert!(unsent.is_empty() && !stream.wants_write(), "there is something to send");
                false
            }
            Ok(bytes) => {
                assert!(bytes <= unsent.len(), "more counts as sent than was given");
                self.sent += bytes;
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => {
                assert_eq!((error.kind(), stream.socket_mut().room), (ErrorKind::WouldBlock, 0));
                assert!(!has_written || stream.take_progress(), "the socket has taken something");
                false
            }
        }
    }

    /// Has the server say that nothing follows, once all is sent, or its handshake has failed.
    fn server_closes(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let may_close = match self.state {
            ServerState::Handshake => false,
            ServerState::Open | ServerState::AtEnd => self.sent == self.given.len(),
            ServerState::Failed => stream.is_closing(),
        };
        if may_close {
            stream.socket_mut().begin_call();
            self.is_closing = true;
            if self.state == ServerState::Open {
                // What comes from now on is not decrypted.
                self.state = ServerState::AtEnd;
            }
            match stream.shutdown_write() {
                Ok(()) => assert!(stream.socket_mut().is_shut_down() && !stream.wants_write()),
                Err(error) => {
                    assert_eq!((error.kind(), stream.socket_mut().room), (ErrorKind::WouldBlock, 0));
                    assert!(stream.wants_write() && !stream.socket_mut().is_shut_down());
                }
            }
        }
    }

    /// Has the server give up: with a few words, when the client has just come in, or because the
    /// handshake has failed.
    fn farewell(&mut self, length: usize) {
        let is_new = self.state == ServerState::Open && self.handed_out.is_empty() && self.given.is_empty();
        let is_over = self.state == ServerState::Failed;
        self.take_written();
        let Some(stream) = self.stream.take_if(|_| (is_new || is_over) && !self.is_closing) else { return };
        let (_, last_words) = if is_new {
            self.given = text(7, length.min(MAX_PLAINTEXT_BYTES));
            (self.sent, self.is_closing, self.state) = (self.given.len(), true, ServerState::AtEnd);
            stream.into_farewell(&self.given)
        } else {
            stream.into_failed()
        };
        assert!(last_words.len() <= MAX_RECORD_BYTES + MAX_OWN_BYTES);
        self.written.extend(last_words);
    }

    // What holds.

    /// Checks what holds after every step.
    fn check(&mut self) {
        let handed_out = self.handed_out.len();
        assert!(handed_out <= self.said_arrived, "what was handed out has not arrived");
        assert!(handed_out <= self.said_before_bad, "what is behind a record that is bad was handed out");
        let said_before_end = self.said_before_end.unwrap_or(usize::MAX);
        assert!(handed_out <= said_before_end, "what is behind the end was handed out");
        let Some(stream) = &mut self.stream else { return };
        let (held, wants_write) = (stream.bytes_held(), stream.wants_write());
        // Memory is made ahead for twice as much as there is.
        let most = MAX_RECORD_BYTES + if wants_write { MAX_RECORD_BYTES + MAX_OWN_BYTES } else { 0 };
        // The session may keep what it was given in the handshake, until that is over.
        let of_session = if self.state == ServerState::Open { 0 } else { self.max_handshake_bytes };
        assert!(held <= 2 * most + of_session, "{held} bytes are held");
        let has_read_all = stream.bytes_arrived().is_ok_and(|bytes| bytes == 0) && self.begun == 0 && self.is_framed;
        if self.state == ServerState::Open && has_read_all && !wants_write {
            assert_eq!(held, 0, "memory is held for nothing");
        }
    }

    /// Checks what the client has heard.
    fn check_heard(&self) {
        let heard = self.client.heard.len();
        assert!(self.given.starts_with(&self.client.heard), "the server has said something else");
        // The rest of a record goes out in front of the alert, and nobody counts any more.
        if self.state == ServerState::Failed {
            return;
        }
        assert!(heard <= self.sent, "what the client has read counts as sent");
        if self.heard == self.written.len() && !self.client.is_dead {
            let last = records(&self.written).last().copied().unwrap_or_default();
            let in_part = if is_whole(last) { 0 } else { last.len() };
            let is_on_its_way = self.stream.as_ref().is_some_and(TlsStream::wants_write);
            let ahead = if is_on_its_way { in_part } else { 0 };
            assert!(self.sent - heard <= ahead, "{} count as sent, {heard} were heard", self.sent);
        }
    }

    /// Lets everybody say what is left, and checks how it ends.
    fn finish(&mut self) {
        let mut rounds = 0;
        loop {
            let so_far = (self.heard, self.handed_out.len(), self.wire.len(), self.sent, self.state);
            self.socket(|socket| (socket.room, socket.interruptions) = (usize::MAX, 0));
            self.deliver(usize::MAX);
            self.server_reads_all();
            while self.server_sends() {}
            if self.is_closing {
                self.server_closes();
            }
            self.client_hears(usize::MAX);
            self.check();
            if so_far == (self.heard, self.handed_out.len(), self.wire.len(), self.sent, self.state) {
                break;
            }
            rounds += 1;
            assert!(rounds < MAX_ROUNDS, "it does not come to an end");
        }
        let is_open = matches!(self.state, ServerState::Open | ServerState::AtEnd);
        if is_open && !self.client.is_dead {
            assert_eq!(self.client.heard.len(), self.given.len(), "all that is said is heard");
            assert_eq!(self.client.has_heard_end, self.is_closing, "the end is told, and nothing else is one");
        }
        if self.is_exact && self.wire.is_empty() && self.said_before_bad == usize::MAX {
            let is_too_long = self.handshake_bytes > self.max_handshake_bytes;
            assert!(is_open || is_too_long || self.stream_is_finished(), "{:?} is no end", self.state);
        }
    }

    fn stream_is_finished(&mut self) -> bool {
        self.stream.as_mut().is_some_and(|stream| stream.socket_mut().is_finished)
    }
}

/// Returns whether a record is there with all that its header says.
fn is_whole(record: &[u8]) -> bool {
    record
        .get(3..5)
        .is_none_or(|length| record.len() == HEADER_BYTES + usize::from(u16::from_be_bytes([length[0], length[1]])))
        && (record.is_empty() || record.len() >= HEADER_BYTES)
}

/// Returns text that differs from place to place.
fn text(start: usize, length: usize) -> Vec<u8> {
    (start..start + length).map(|index| (index % 251) as u8).collect()
}
