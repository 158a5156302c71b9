//! A client: what it sends, how, and how it ends.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::random::Random;
use super::rules::Rules;
use super::wire::{Found, Wire};

/// One client, until it has nothing more to do.
#[derive(Debug)]
pub(super) struct Talker {
    pub(super) wire: Arc<Mutex<Wire>>,
    random: Random,
    to_say: VecDeque<u8>,
    speech: Speech,
    hearing: Hearing,
    disconnect: Disconnect,
    /// When it acts again. A client that is done does not act.
    pub(super) next: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Speech {
    /// As much as it can.
    Fluent,
    /// In pieces, with pauses.
    Halting,
    /// A byte now and then, faster than any deadline.
    Dribbling(Duration),
    /// Nothing more after this many bytes.
    Silent(usize),
}

#[derive(Clone, Copy, Debug)]
enum Hearing {
    Good,
    Slow,
    None,
}

/// What it does once it has sent everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disconnect {
    /// Stops sending, and reads to the end.
    Polite,
    /// Waits for the server to close.
    Waits,
    /// Never closes, and sends on when the server has closed.
    Rude,
    Resets,
}

impl Talker {
    pub(super) fn new(wire: Arc<Mutex<Wire>>, number: u32, rules: &Rules, random: &mut Random, now: Instant) -> Self {
        let mut random = random.split();
        let line = rules.deadlines.line.unwrap_or(Duration::from_secs(3));
        let speech = match random.below(10) {
            0 => Speech::Dribbling(line / 5),
            1 => Speech::Silent(random.below(60)),
            2..5 => Speech::Halting,
            _ => Speech::Fluent,
        };
        let hearing = match random.below(10) {
            0 => Hearing::None,
            1..3 => Hearing::Slow,
            _ => Hearing::Good,
        };
        let disconnect = match random.below(10) {
            0 => Disconnect::Resets,
            1 => Disconnect::Rude,
            2..4 => Disconnect::Waits,
            _ => Disconnect::Polite,
        };
        let to_say = script(number, rules, &mut random);
        Self { wire, random, to_say, speech, hearing, disconnect, next: Some(now) }
    }

    /// Does one or two things, and sets the time of the next.
    pub(super) fn act(&mut self, now: Instant) {
        let wire = Arc::clone(&self.wire);
        let wire = &mut *wire.lock().unwrap();
        let found = match self.hearing {
            Hearing::Good => wire.receive(usize::MAX),
            Hearing::Slow => wire.receive(self.random.within(1..20)),
            Hearing::None => Found::NothingYet,
        };
        self.next = match found {
            Found::AReset => None,
            Found::TheEnd if self.disconnect == Disconnect::Rude => {
                wire.send(b"and another thing\n");
                self.pause(now, 1_000_000)
            }
            Found::TheEnd => {
                wire.finish();
                None
            }
            Found::Something | Found::NothingYet => self.speak(wire, now),
        };
    }

    fn speak(&mut self, wire: &mut Wire, now: Instant) -> Option<Instant> {
        if self.to_say.is_empty() {
            return self.end(wire, now);
        }
        let most = match self.speech {
            Speech::Fluent => self.to_say.len(),
            Speech::Halting => self.random.within(1..30),
            Speech::Dribbling(_) => 1,
            Speech::Silent(bytes) => bytes,
        };
        let piece: Vec<u8> = self.to_say.iter().copied().take(most).collect();
        let sent = wire.send(&piece);
        self.to_say.drain(..sent);
        if let Speech::Silent(bytes) = &mut self.speech {
            *bytes -= sent;
        }
        match self.speech {
            Speech::Dribbling(pause) => Some(now + pause),
            Speech::Silent(0) => self.pause(now, 2_000_000),
            _ => self.pause(now, 3_000),
        }
    }

    fn end(&mut self, wire: &mut Wire, now: Instant) -> Option<Instant> {
        match self.disconnect {
            Disconnect::Polite => {
                wire.finish();
                self.disconnect = Disconnect::Waits;
            }
            Disconnect::Resets => {
                wire.reset();
                return None;
            }
            Disconnect::Waits | Disconnect::Rude => {}
        }
        self.pause(now, 200_000)
    }

    fn pause(&mut self, now: Instant, micros: usize) -> Option<Instant> {
        let times = if let Hearing::Slow = self.hearing { 20 } else { 1 };
        Some(now + Duration::from_micros(self.random.within(1..micros * times) as u64))
    }
}

/// Lines, each with a token that is unique, and the start of one more.
fn script(number: u32, rules: &Rules, random: &mut Random) -> VecDeque<u8> {
    let lines = if random.one_in(20) { random.below(300) } else { random.below(12) };
    let favourite = verb(rules, random);
    let ending = random.pick(&["\n", "\r\n"]);
    let mut script = Vec::new();
    for line in 0..lines {
        let verb = if random.one_in(2) { favourite } else { verb(rules, random) };
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
    const OFTEN: [&str; 4] = ["echo", "three", "big", "shout"];
    const SELDOM: [&str; 10] = ["raw", "panic", "stumble", "fail", "reject", "break", "quit", "part", "slow", "silent"];
    match random.below(8) {
        0 if rules.workers > 0 && random.one_in(4) => "hang",
        0..3 => match random.pick(&SELDOM) {
            // If a line whose reply is empty was rejected, that cannot be told from outside.
            "silent" if rules.may_be_busy() => "echo",
            verb => verb,
        },
        _ => random.pick(&OFTEN),
    }
}
