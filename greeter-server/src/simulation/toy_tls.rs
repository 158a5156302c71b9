//! TLS as a toy: real records, two flights, and a cipher that nobody has to guess. What is
//! repeated, lost, cut or out of order does not decrypt.
//!
//! A client says hello in plain, with its number; the server answers, and from there on each end
//! encrypts: each record with its number since the latest key update, and a check byte behind its
//! content. The client is in once it has sent that it is finished. Every second server says one
//! thing more then.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use greeter_core::{TlsInfo, TlsVersion};

use super::random::Random;

use crate::tls::record::MAX_PLAINTEXT_BYTES;
use crate::tls::session::{NewTlsSession, SessionPhase, TlsProblem, TlsSession};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const FATAL: [u8; 2] = [2, 40];

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const LAST_WORD: u8 = 4;
const FINISHED: u8 = 20;
const KEY_UPDATE: u8 = 24;

/// Type, version and length of a record; and what is behind its content.
const HEADER_BYTES: usize = 5;
const CHECK_BYTES: usize = 1;

/// How much longer a record is than its content.
pub(crate) const OVERHEAD: usize = HEADER_BYTES + CHECK_BYTES;

/// Makes the sessions of a server.
#[derive(Debug, Default)]
pub(crate) struct ToyTls {
    /// How many bytes of content the session of each client has decrypted.
    opened: Arc<Mutex<HashMap<u32, usize>>>,
}

/// The server's end.
#[derive(Debug)]
struct ToySession {
    step: ToyStep,
    opened: Arc<Mutex<HashMap<u32, usize>>>,
    output: Vec<u8>,
}

#[derive(Debug)]
enum ToyStep {
    AwaitsHello,
    /// The client has said who it is; it has finished or not, and closed or not.
    Met {
        number: u32,
        phase: SessionPhase,
        opens: ToyCipher,
        seals: ToyCipher,
    },
}

/// One direction of a connection.
#[derive(Clone, Debug)]
struct ToyCipher {
    key: u8,
    count: u8,
}

/// The client's end of what is sent.
#[derive(Debug)]
pub(crate) struct ToyClient {
    number: u32,
    seals: ToyCipher,
}

/// Whoever reads one direction of a connection, as it comes.
#[derive(Debug)]
pub(crate) struct ToyReader {
    /// `None` once something was no record.
    partial: Option<Vec<u8>>,
    opens: ToyCipher,
    has_hello: bool,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToyRecord {
    Hello,
    Finished,
    /// What the server says behind a handshake.
    LastWord,
    KeyUpdate,
    Data(Vec<u8>),
    CloseNotify,
    Alert,
    /// It does not decrypt.
    Bad,
    /// It is none.
    NotTls,
}

impl ToyTls {
    /// Returns how many bytes of this client's content were decrypted.
    pub(super) fn opened(&self, number: u32) -> usize {
        self.opened.lock().unwrap().get(&number).copied().unwrap_or_default()
    }
}

impl NewTlsSession for ToyTls {
    fn new_session(&self) -> Result<Box<dyn TlsSession>, TlsProblem> {
        let (step, opened) = (ToyStep::AwaitsHello, Arc::clone(&self.opened));
        Ok(Box::new(ToySession { step, opened, output: Vec::new() }))
    }

    fn max_handshake_bytes(&self) -> usize {
        200
    }
}

/// Whether a server has a last word for this client.
pub(crate) const fn has_last_word(number: u32) -> bool {
    number.is_multiple_of(2)
}

impl TlsSession for ToySession {
    fn open(&mut self, record: &[u8], plaintext: &mut Vec<u8>) -> Result<(), TlsProblem> {
        let (kind, payload) = parts(record);
        assert_eq!(record.len(), length(record).unwrap_or_default(), "a session is given one whole record");
        let ToyStep::Met { number, phase, opens, seals } = &mut self.step else {
            let Some(number) = client_hello(kind, payload) else {
                append(ALERT, &FATAL, &mut self.output);
                return Err(TlsProblem::NotTls);
            };
            append(HANDSHAKE, &[SERVER_HELLO], &mut self.output);
            let phase = SessionPhase::Handshake;
            self.step = ToyStep::Met {
                number,
                phase,
                opens: ToyCipher::of_client(number),
                seals: ToyCipher::of_server(number),
            };
            return Ok(());
        };
        assert_ne!(*phase, SessionPhase::ClosedByPeer, "nothing is opened after the end");
        match (opens.open(kind, payload), *phase) {
            (ToyRecord::Finished, SessionPhase::Handshake) => {
                *phase = SessionPhase::Open;
                if has_last_word(*number) {
                    seals.seal(HANDSHAKE, &[LAST_WORD], &mut self.output);
                }
            }
            (ToyRecord::Data(content), SessionPhase::Open) => {
                plaintext.extend_from_slice(&content);
                *self.opened.lock().unwrap().entry(*number).or_default() += content.len();
            }
            (ToyRecord::KeyUpdate, SessionPhase::Open) => {
                opens.update();
                seals.seal(HANDSHAKE, &[KEY_UPDATE], &mut self.output);
                seals.update();
            }
            (ToyRecord::CloseNotify, SessionPhase::Open) => *phase = SessionPhase::ClosedByPeer,
            _ => {
                seals.seal(ALERT, &FATAL, &mut self.output);
                return Err(TlsProblem::NotTls);
            }
        }
        Ok(())
    }

    fn seal(&mut self, plaintext: &[u8], ciphertext: &mut Vec<u8>) -> usize {
        let start = ciphertext.len();
        assert!((1..=MAX_PLAINTEXT_BYTES).contains(&plaintext.len()), "a record has a size");
        let ToyStep::Met { seals, phase, .. } = &mut self.step else { panic!("nobody is there") };
        assert_ne!(*phase, SessionPhase::Handshake, "nothing is said before the handshake is over");
        seals.seal(DATA, plaintext, ciphertext);
        start
    }

    fn take_output(&mut self, ciphertext: &mut Vec<u8>) {
        ciphertext.append(&mut self.output);
    }

    fn close(&mut self) {
        match &mut self.step {
            ToyStep::AwaitsHello => append(ALERT, &CLOSE_NOTIFY, &mut self.output),
            ToyStep::Met { seals, .. } => seals.seal(ALERT, &CLOSE_NOTIFY, &mut self.output),
        }
    }

    fn phase(&self) -> SessionPhase {
        match self.step {
            ToyStep::AwaitsHello => SessionPhase::Handshake,
            ToyStep::Met { phase, .. } => phase,
        }
    }

    fn info(&self) -> TlsInfo {
        TlsInfo::new(TlsVersion::Tls13)
    }

    fn bytes_kept(&self) -> usize {
        0
    }
}

impl ToyClient {
    pub(crate) fn new(number: u32) -> Self {
        Self { number, seals: ToyCipher::of_client(number) }
    }

    pub(crate) fn hello(&self) -> Vec<u8> {
        let mut record = Vec::new();
        append(HANDSHAKE, &[&[CLIENT_HELLO][..], &self.number.to_be_bytes()].concat(), &mut record);
        record
    }

    pub(crate) fn finished(&mut self) -> Vec<u8> {
        self.sealed(HANDSHAKE, &[FINISHED])
    }

    pub(crate) fn data(&mut self, content: &[u8]) -> Vec<u8> {
        self.sealed(DATA, content)
    }

    pub(crate) fn key_update(&mut self) -> Vec<u8> {
        let record = self.sealed(HANDSHAKE, &[KEY_UPDATE]);
        self.seals.update();
        record
    }

    pub(crate) fn close_notify(&mut self) -> Vec<u8> {
        self.sealed(ALERT, &CLOSE_NOTIFY)
    }

    /// Returns a record that cannot be decrypted.
    pub(crate) fn bad(&self) -> Vec<u8> {
        let mut record = self.seals.clone().sealed(HANDSHAKE, &[FINISHED]);
        *record.last_mut().expect("a record has a length") ^= 1;
        record
    }

    /// Returns a script in records of random sizes, with some between them that have no content.
    pub(super) fn script(&mut self, script: &VecDeque<u8>, max_record: usize, random: &mut Random) -> VecDeque<u8> {
        let (script, mut sealed) = (script.iter().copied().collect::<Vec<_>>(), VecDeque::new());
        let max = 1 + random.below(max_record);
        let is_chatty = random.one_in(3);
        let mut rest = &script[..];
        while !rest.is_empty() {
            match random.below(12) {
                0 if is_chatty => sealed.extend(self.data(&[])),
                1 if is_chatty => sealed.extend(self.key_update()),
                _ => {
                    let (part, behind) = rest.split_at(random.within(1..max + 1).min(rest.len()));
                    sealed.extend(self.data(part));
                    rest = behind;
                }
            }
        }
        if is_chatty && random.one_in(2) {
            sealed.extend(self.key_update());
        }
        sealed
    }

    fn sealed(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        self.seals.sealed(kind, content)
    }
}

impl ToyReader {
    /// Reads what this client sends.
    pub(crate) fn of_client(number: u32) -> Self {
        Self { partial: Some(Vec::new()), opens: ToyCipher::of_client(number), has_hello: false }
    }

    /// Reads what the server sends to this client.
    pub(crate) fn of_server(number: u32) -> Self {
        Self { partial: Some(Vec::new()), opens: ToyCipher::of_server(number), has_hello: false }
    }

    /// Returns the records that these bytes complete, up to the first that is none.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Vec<ToyRecord> {
        let mut records = Vec::new();
        let Some(partial) = &mut self.partial else { return records };
        partial.extend_from_slice(bytes);
        while let Some(length) = length(partial).filter(|length| partial.len() >= *length) {
            let record = partial.drain(..length).collect::<Vec<_>>();
            let (kind, payload) = parts(&record);
            let record = if self.has_hello { self.opens.open(kind, payload) } else { hello(kind, payload) };
            self.has_hello = true;
            if record == ToyRecord::KeyUpdate {
                self.opens.update();
            }
            records.push(record.clone());
            if record == ToyRecord::Bad {
                self.partial = None;
                return records;
            }
        }
        if partial.first().is_some_and(|kind| !(ALERT..=DATA).contains(kind)) {
            records.push(ToyRecord::NotTls);
            self.partial = None;
        }
        records
    }

    /// Returns whether a record has begun and not ended.
    pub(crate) fn is_within_record(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| !partial.is_empty())
    }

    /// Returns whether there is content in what is there of a record, with what is to follow.
    pub(super) fn has_data_with(&self, bytes: &[u8]) -> bool {
        let mut rest = [self.partial.as_deref().unwrap_or_default(), bytes].concat();
        while let Some(kind) = rest.first() {
            if *kind == DATA {
                return true;
            }
            let length = length(&rest).unwrap_or(rest.len()).min(rest.len());
            rest.drain(..length);
        }
        false
    }

    /// Returns how many bytes of that are there.
    pub(crate) fn partial_len(&self) -> usize {
        self.partial.as_ref().map_or(0, Vec::len)
    }
}

/// Where the records end that have arrived, and when that was.
#[derive(Debug, Default)]
pub(super) struct RecordMarks {
    partial: Vec<u8>,
    /// Where the first byte of `partial` is in the stream.
    start: usize,
}

/// What a record that has arrived is, by its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordMark {
    /// Where it ends in the stream.
    pub(super) end: usize,
    pub(super) has_content: bool,
    pub(super) is_alert: bool,
}

impl RecordMarks {
    pub(super) fn arrived(&mut self, bytes: &[u8]) -> Vec<RecordMark> {
        self.partial.extend_from_slice(bytes);
        let mut marks = Vec::new();
        while let Some(length) = length(&self.partial).filter(|length| self.partial.len() >= *length) {
            let record: Vec<u8> = self.partial.drain(..length).collect();
            self.start += length;
            let has_content = record[0] == DATA && record.len() > OVERHEAD;
            marks.push(RecordMark { end: self.start, has_content, is_alert: record[0] == ALERT });
        }
        marks
    }
}

impl ToyCipher {
    fn of_client(number: u32) -> Self {
        Self { key: (number as u8).wrapping_mul(17), count: 0 }
    }

    fn of_server(number: u32) -> Self {
        Self { key: (number as u8).wrapping_mul(17).wrapping_add(7), count: 0 }
    }

    const fn update(&mut self) {
        (self.key, self.count) = (self.key.wrapping_add(1), 0);
    }

    fn sealed(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        self.seal(kind, content, &mut record);
        record
    }

    fn seal(&mut self, kind: u8, content: &[u8], record: &mut Vec<u8>) {
        let mut payload = content.to_vec();
        payload.push(check(kind, content));
        self.apply(&mut payload);
        append(kind, &payload, record);
    }

    fn open(&mut self, kind: u8, payload: &[u8]) -> ToyRecord {
        let mut content = payload.to_vec();
        self.apply(&mut content);
        let checked = content.pop();
        match (kind, &content[..]) {
            _ if checked != Some(check(kind, &content)) => ToyRecord::Bad,
            (HANDSHAKE, [FINISHED]) => ToyRecord::Finished,
            (HANDSHAKE, [LAST_WORD]) => ToyRecord::LastWord,
            (HANDSHAKE, [KEY_UPDATE]) => ToyRecord::KeyUpdate,
            (DATA, _) => ToyRecord::Data(content),
            (ALERT, content) if content == CLOSE_NOTIFY => ToyRecord::CloseNotify,
            (ALERT, _) => ToyRecord::Alert,
            _ => ToyRecord::Bad,
        }
    }

    /// Encrypts or decrypts the next record.
    fn apply(&mut self, payload: &mut [u8]) {
        for (index, byte) in payload.iter_mut().enumerate() {
            let index = index as u8;
            *byte ^= self.key.wrapping_mul(5) ^ self.count.wrapping_mul(29) ^ index.wrapping_mul(11);
        }
        self.count = self.count.wrapping_add(1);
    }
}

fn check(kind: u8, content: &[u8]) -> u8 {
    content.iter().fold(kind, |sum, byte| sum.rotate_left(1).wrapping_add(*byte))
}

/// Appends a record.
fn append(kind: u8, payload: &[u8], record: &mut Vec<u8>) {
    let length = u16::try_from(payload.len()).expect("a record is short");
    record.extend_from_slice(&[kind, 3, 3]);
    record.extend_from_slice(&length.to_be_bytes());
    record.extend_from_slice(payload);
}

/// Returns how long a record is, once that is known.
fn length(bytes: &[u8]) -> Option<usize> {
    let &[ALERT..=DATA, 3, _, high, low, ..] = bytes else { return None };
    Some(HEADER_BYTES + usize::from(u16::from_be_bytes([high, low])))
}

fn parts(record: &[u8]) -> (u8, &[u8]) {
    (record[0], &record[HEADER_BYTES..])
}

fn client_hello(kind: u8, payload: &[u8]) -> Option<u32> {
    match (kind, payload) {
        (HANDSHAKE, [CLIENT_HELLO, number @ ..]) => Some(u32::from_be_bytes(number.try_into().ok()?)),
        _ => None,
    }
}

/// Reads the first record of either end.
fn hello(kind: u8, payload: &[u8]) -> ToyRecord {
    match (kind, payload) {
        (HANDSHAKE, [SERVER_HELLO]) => ToyRecord::Hello,
        (ALERT, payload) if payload == CLOSE_NOTIFY => ToyRecord::CloseNotify,
        (ALERT, _) => ToyRecord::Alert,
        _ => client_hello(kind, payload).map_or(ToyRecord::Bad, |_| ToyRecord::Hello),
    }
}
