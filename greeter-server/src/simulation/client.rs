//! A client: what it sends, how, and how it ends.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::listener::address_of;
use super::random::Random;
use super::rules::{PROXY, Rules};
use super::toy_tls::ToyClient;
use super::wire::{ReceiveOutcome, Wire};

/// One client, until it has nothing more to do.
#[derive(Debug)]
pub(super) struct SimulatedClient {
    pub(super) wire: Arc<Mutex<Wire>>,
    random: Random,
    to_send: VecDeque<u8>,
    /// What it says once the server has said hello, where they speak TLS.
    behind_hello: VecDeque<u8>,
    /// It hurries until then.
    hurries: bool,
    send_pace: SendPace,
    receive_pace: ReceivePace,
    ending: ClientEnding,
    /// When it acts again. A client that is done does not act.
    pub(super) next: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum SendPace {
    /// As much as it can.
    Full,
    /// In pieces, with pauses.
    InPieces,
    /// A byte now and then, faster than any deadline.
    ByteByByte(Duration),
    /// Nothing more after this many bytes.
    StopsAfter(usize),
}

#[derive(Clone, Copy, Debug)]
enum ReceivePace {
    Fast,
    Slow,
    None,
}

/// What it does once it has sent everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientEnding {
    /// Stops sending, and reads to the end.
    Finishes,
    /// Waits for the server to close.
    Waits,
    /// Never closes, and sends on when the server has closed.
    SendsOn,
    Resets,
}

impl SimulatedClient {
    pub(super) fn new(wire: Arc<Mutex<Wire>>, number: u32, rules: &Rules, random: &mut Random, now: Instant) -> Self {
        let mut random = random.split();
        let line = rules.timeouts.line.unwrap_or(Duration::from_secs(3));
        let send_pace = match random.below(10) {
            0 => SendPace::ByteByByte(line / 5),
            1 => SendPace::StopsAfter(random.below(60)),
            2..5 => SendPace::InPieces,
            _ => SendPace::Full,
        };
        let receive_pace = match random.below(10) {
            0 => ReceivePace::None,
            1..3 => ReceivePace::Slow,
            _ => ReceivePace::Fast,
        };
        let ending = match random.below(10) {
            0 => ClientEnding::Resets,
            1 => ClientEnding::SendsOn,
            2..4 => ClientEnding::Waits,
            _ => ClientEnding::Finishes,
        };
        let mut to_send = script(number, rules, &mut random);
        let (mut behind_hello, mut ending) = (VecDeque::new(), ending);
        if rules.has_tls {
            (to_send, behind_hello) = with_tls(number, &to_send, rules, &mut ending, &mut random);
        }
        let hurries = rules.has_tls && !random.one_in(4);
        if rules.has_proxy {
            let header = header(number, &mut random);
            wire.lock().unwrap().expect_header(&header);
            // Now and then it ends before its header does.
            let sent = if random.one_in(12) {
                to_send.clear();
                random.below(header.bytes.len())
            } else {
                header.bytes.len()
            };
            header.bytes[..sent].iter().rev().for_each(|byte| to_send.push_front(*byte));
        }
        Self { wire, random, to_send, behind_hello, hurries, send_pace, receive_pace, ending, next: Some(now) }
    }

    /// Does one or two things, and sets the time of the next.
    pub(super) fn act(&mut self, now: Instant) {
        let wire = Arc::clone(&self.wire);
        let wire = &mut *wire.lock().unwrap();
        let receive_pace = if self.hurries { ReceivePace::Fast } else { self.receive_pace };
        let outcome = match receive_pace {
            ReceivePace::Fast => wire.receive(usize::MAX),
            ReceivePace::Slow => wire.receive(self.random.within(1..20)),
            ReceivePace::None => ReceiveOutcome::WouldBlock,
        };
        self.next = match outcome {
            ReceiveOutcome::Reset => None,
            ReceiveOutcome::Eof if self.ending == ClientEnding::SendsOn => {
                wire.send(b"and another thing\n");
                self.pause(now, 1_000_000)
            }
            ReceiveOutcome::Eof => {
                wire.finish();
                None
            }
            ReceiveOutcome::Bytes | ReceiveOutcome::WouldBlock => self.send(wire, now),
        };
    }

    fn send(&mut self, wire: &mut Wire, now: Instant) -> Option<Instant> {
        if !self.behind_hello.is_empty() && wire.has_received_hello() {
            self.to_send.append(&mut self.behind_hello);
            self.hurries = false;
        }
        if self.to_send.is_empty() && !self.behind_hello.is_empty() {
            return self.pause(now, 100_000);
        }
        if self.to_send.is_empty() {
            return self.end(wire, now);
        }
        let max = match self.send_pace {
            _ if self.hurries => self.to_send.len(),
            SendPace::Full => self.to_send.len(),
            SendPace::InPieces => self.random.within(1..30),
            SendPace::ByteByByte(_) => 1,
            SendPace::StopsAfter(bytes) => bytes,
        };
        let piece: Vec<u8> = self.to_send.iter().copied().take(max).collect();
        let sent = wire.send(&piece);
        self.to_send.drain(..sent);
        if let SendPace::StopsAfter(bytes) = &mut self.send_pace
            && !self.hurries
        {
            *bytes -= sent;
        }
        match self.send_pace {
            SendPace::ByteByByte(pause) => Some(now + pause),
            SendPace::StopsAfter(0) => self.pause(now, 2_000_000),
            _ => self.pause(now, 3_000),
        }
    }

    fn end(&mut self, wire: &mut Wire, now: Instant) -> Option<Instant> {
        match self.ending {
            ClientEnding::Finishes => {
                wire.finish();
                self.ending = ClientEnding::Waits;
            }
            ClientEnding::Resets => {
                wire.reset();
                return None;
            }
            ClientEnding::Waits | ClientEnding::SendsOn => {}
        }
        self.pause(now, 200_000)
    }

    fn pause(&mut self, now: Instant, micros: usize) -> Option<Instant> {
        let times = if let ReceivePace::Slow = self.receive_pace { 20 } else { 1 };
        Some(now + Duration::from_micros(self.random.within(1..micros * times) as u64))
    }
}

/// Returns what a client sends with TLS, before and after it has received the server's hello. Some
/// are none that should have come.
fn with_tls(
    number: u32,
    script: &VecDeque<u8>,
    rules: &Rules,
    ending: &mut ClientEnding,
    random: &mut Random,
) -> (VecDeque<u8>, VecDeque<u8>) {
    let mut client = ToyClient::new(number);
    let mistake = random.below(60);
    let hello = match mistake {
        0 => b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        1 => client.bad(),
        _ => client.hello(),
    };
    let mut behind_hello = VecDeque::new();
    behind_hello.extend(if mistake == 2 { client.bad() } else { client.finished() });
    behind_hello.extend(client.script(script, rules.max_record, random));
    match (mistake, *ending) {
        (0 | 1, _) => behind_hello.clear(),
        (3, _) => behind_hello.extend(client.bad()),
        (_, ClientEnding::Finishes) if !random.one_in(3) => {
            behind_hello.extend(client.close_notify());
            if random.one_in(2) {
                *ending = ClientEnding::Waits;
            }
        }
        _ => {}
    }
    (hello.into(), behind_hello)
}

/// What a proxy sends first.
pub(super) struct SentHeader {
    pub(super) bytes: Vec<u8>,
    pub(super) is_valid: bool,
}

/// A header of either version, now and then one that is none.
fn header(number: u32, random: &mut Random) -> SentHeader {
    let source = address_of(number);
    let bytes = if random.one_in(2) {
        format!("PROXY TCP4 {} {PROXY} {} 80\r\n", source.ip(), source.port()).into_bytes()
    } else {
        let IpAddr::V4(ip) = source.ip() else { panic!("clients have IPv4") };
        let filling = random.below(300);
        let length = 12 + 3 + filling as u16;
        let fixed: [&[u8]; 3] = [b"\r\n\r\n\0\r\nQUIT\n", &[0x21, 0x11], &length.to_be_bytes()];
        let ports = [source.port().to_be_bytes(), [0, 80]].concat();
        let tlv = [&[4], &(filling as u16).to_be_bytes()[..], &vec![0; filling]].concat();
        [&fixed.concat()[..], &ip.octets(), &PROXY.octets(), &ports, &tlv].concat()
    };
    match random.below(12) {
        0 => SentHeader { bytes: b"PROXY TCP5".to_vec(), is_valid: false },
        _ => SentHeader { bytes, is_valid: true },
    }
}

/// Lines, each with a token that is unique, and the start of one more.
fn script(number: u32, rules: &Rules, random: &mut Random) -> VecDeque<u8> {
    let lines = if random.one_in(20) { random.below(300) } else { random.below(12) };
    let usual_verb = verb(rules, random);
    let ending = random.pick(&["\n", "\r\n"]);
    let mut script = Vec::new();
    for line in 0..lines {
        let verb = if random.one_in(2) { usual_verb } else { verb(rules, random) };
        script.extend_from_slice(format!("{verb} {number}.{line}").as_bytes());
        if random.one_in(8) {
            script.extend(std::iter::repeat_n(b' ', random.below(rules.max_line_bytes)));
        }
        let ending = if random.one_in(8) { random.pick(&["\n", "\r\n", "\r\r\n", "\n\n"]) } else { ending };
        script.extend_from_slice(ending.as_bytes());
    }
    if random.one_in(2) {
        script.extend_from_slice(b"unfinished");
    }
    script.into()
}

fn verb(rules: &Rules, random: &mut Random) -> &'static str {
    const FREQUENT: [&str; 4] = ["echo", "three", "big", "shout"];
    const RARE: [&str; 18] = [
        "raw", "panic", "stumble", "fail", "reject", "break", "quit", "part", "leave", "slow", "silent", "later",
        "later", "later", "stream", "stream", "stream", "pour",
    ];
    const DEAR: [&str; 6] = ["slow", "slow", "later", "hang", "quit", "part"];
    match random.below(8) {
        // Only dear lines are answered side by side.
        0..4 if rules.in_parallel > 1 && rules.workers > 0 => match random.pick(&DEAR) {
            "hang" | "quit" | "part" if !random.one_in(4) => "slow",
            verb => verb,
        },
        0 if rules.workers > 0 && random.one_in(4) => "hang",
        0..3 => match random.pick(&RARE) {
            // If a line whose reply is empty was rejected, that cannot be told from outside.
            "silent" if rules.may_be_busy() => "echo",
            verb => verb,
        },
        _ => random.pick(&FREQUENT),
    }
}
