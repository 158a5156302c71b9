//! Whatever happens in whatever order, a client reads a prefix of what it is owed, and all of it unless something broke.

mod kit;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use greeter_core::{Account, ClientJob, CloseReason, Connection, Ending, Greeter, Phase, Slice};
use kit::{assert_lawful, connection};
use proptest::prelude::*;

/// What the world does next, if it can.
#[derive(Clone, Debug)]
enum Event {
    /// So many bytes of what the client sends arrive.
    Arrive(usize),
    /// A worker answers so many lines of the job it has.
    Answer(usize),
    /// The socket takes so many bytes.
    Drain(usize),
    /// The client has no more to send.
    Stop,
    /// The server is told to stop.
    Shutdown,
    /// The connection breaks.
    Break,
    /// The lingering is over.
    Expire,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..40_usize).prop_map(Event::Arrive),
        8 => (1..5_usize).prop_map(Event::Answer),
        8 => (0..60_usize).prop_map(Event::Drain),
        1 => Just(Event::Stop),
        1 => Just(Event::Shutdown),
        1 => Just(Event::Break),
        1 => Just(Event::Expire),
    ]
}

/// A driver that does as it is told, a step at a time, and keeps the books.
struct World {
    connection: Connection<()>,
    unread: VecDeque<u8>,
    received: Vec<u8>,
    written: Vec<u8>,
    job: Option<ClientJob<()>>,
    account: Account,
    is_broken: bool,
    now: Instant,
}

impl World {
    fn new(input: &[u8]) -> Self {
        Self {
            connection: connection(),
            unread: input.iter().copied().collect(),
            received: Vec::new(),
            written: Vec::new(),
            job: None,
            account: Account::default(),
            is_broken: false,
            now: Instant::now(),
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Arrive(bytes) if self.connection.wants_input() => {
                let piece: Vec<u8> = self.unread.drain(..bytes.min(self.unread.len())).collect();
                let is_read_as_lines = self.connection.phase() != Phase::Lingering;
                match piece.is_empty() {
                    true => self.connection.nothing_received(),
                    false => self.connection.received(&piece, self.now),
                }
                if is_read_as_lines {
                    self.received.extend(piece);
                }
            }
            Event::Answer(lines) => {
                if let Some(job) = self.job.take() {
                    let mut left = lines as u32;
                    let clock = || {
                        left -= 1;
                        if left == 0 { Duration::from_secs(1) } else { Duration::ZERO }
                    };
                    self.connection.answered(
                        job.answer(&Greeter, Slice::new(Duration::from_millis(1), usize::MAX, clock)),
                        self.now,
                    );
                }
            }
            Event::Drain(bytes) => {
                let bytes = bytes.min(self.connection.unsent().len());
                self.written.extend_from_slice(&self.connection.unsent()[..bytes]);
                self.connection.wrote(bytes, self.now);
            }
            Event::Stop if self.connection.wants_input() => self.connection.peer_stopped(),
            Event::Shutdown => self.connection.stop(self.unread.len().min(30)),
            Event::Break => {
                self.connection.abort(CloseReason::Lost);
                self.is_broken = true;
            }
            Event::Expire => {
                self.now += Duration::from_secs(2);
                self.connection.expired(self.now, &kit::terms());
            }
            Event::Arrive(_) | Event::Stop => {}
        }
        if self.job.is_none() {
            self.job = self.connection.take_job(self.now);
        }
        if self.connection.ending() == Ending::FinishSending {
            self.connection.finished_sending(self.now);
        }
        self.keep_books();
    }

    fn keep_books(&mut self) {
        let Account { lines, replies, discarded, unfinished } = self.connection.take_account();
        self.account.lines += lines;
        self.account.replies += replies;
        self.account.discarded += discarded;
        self.account.unfinished += unfinished;
        let lines_received = self.received.iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!(self.account.lines as usize, lines_received);
        assert!(self.account.replies + self.account.discarded <= self.account.lines);
        let owed = kit::replies(&Greeter, [self.received.as_slice()]);
        assert!(
            owed.starts_with(&self.written),
            "{} is no start of {}",
            self.written.escape_ascii(),
            owed.escape_ascii()
        );
    }

    /// Lets everything that can go on go on, until the connection is over.
    fn finish(mut self) {
        let ends = [Event::Arrive(40), Event::Answer(100), Event::Drain(1000)];
        for _ in 0..1000 {
            ends.iter().for_each(|event| self.happen(event));
            if self.unread.is_empty() {
                self.happen(&Event::Stop);
            }
            if let Ending::Close(_) = self.connection.ending()
                && self.connection.is_home()
            {
                assert_lawful(self.account);
                if !self.is_broken {
                    assert_eq!(self.account.discarded, 0);
                    assert_eq!(self.written, kit::replies(&Greeter, [self.received.as_slice()]));
                }
                let has_been_announced = self.connection.dissolve().is_some();
                assert!(has_been_announced || self.is_broken);
                return;
            }
        }
        panic!("the connection does not end: {:?}", self.connection);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn what_is_owed_is_written_in_any_schedule(
        input in proptest::collection::vec(prop_oneof![3 => Just(b'x'), 2 => Just(b'\n'), 1 => Just(b'\r')], 0..400),
        events in proptest::collection::vec(event(), 0..60),
    ) {
        let mut world = World::new(&input);
        events.iter().for_each(|event| world.happen(event));
        world.finish();
    }
}
