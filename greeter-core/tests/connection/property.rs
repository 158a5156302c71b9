//! What holds for a connection, whatever happens in whatever order: a test and a fuzzer ask for it.
//!
//! Bytes are a program. Each of its steps tells a connection of something that can happen to it then, and a [model](Model) the same.
//! After each, the two agree on all that can be seen: what the client is sent, byte by byte, what is counted, what is waited for and
//! for how long, and how it ends; and no more memory is held than that takes.

pub(crate) mod model;
pub(crate) mod responder;

use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use greeter_core::{
    ClientJob, CloseAction, CloseReason, Connection, ConnectionConfig, ConnectionTimeouts, LineCounts, Peer, Phase,
    PushMessage, TurnBudget, client_id,
};
use model::{Model, Piece};
use responder::{Obedient, Welcome};

/// What a step is about, by its first byte. The bytes behind it say how much.
#[derive(Clone, Copy, Debug)]
enum Step {
    Receive,
    ReceiveNothing,
    PeerStops,
    TakeJob,
    Answer,
    Refuse,
    Write,
    WaitForRoom,
    Push,
    Stop,
    SendAway,
    GiveUp,
    AnswerLate,
    Wait,
    Abort,
    End,
}

impl Step {
    const ALL: [Self; 16] = [
        Self::Receive,
        Self::ReceiveNothing,
        Self::PeerStops,
        Self::TakeJob,
        Self::Answer,
        Self::Refuse,
        Self::Write,
        Self::WaitForRoom,
        Self::Push,
        Self::Stop,
        Self::SendAway,
        Self::GiveUp,
        Self::AnswerLate,
        Self::Wait,
        Self::Abort,
        Self::End,
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

    /// The next byte, or zero behind the last.
    fn number(&mut self) -> usize {
        self.byte().unwrap_or(0).into()
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

/// A connection and what drives it.
struct World {
    responder: Obedient,
    config: ConnectionConfig,
    /// None once it was dissolved.
    connection: Option<Connection<u32>>,
    model: Model,
    /// With whoever answers it, and whether somebody still waits for it.
    job: Option<(ClientJob<u32>, Awaited)>,
    /// How many bytes of replies end a budget.
    reply_bytes: usize,
    now: Instant,
    account: LineCounts,
    pushes: u32,
    /// Whether the responder knows the client, and so is to be told disconnect.
    is_known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Yes,
    No,
}

/// A program keeps to all rules. Its first three bytes are the config.
#[track_caller]
pub(crate) fn holds(bytes: &[u8]) {
    let mut program = Program(bytes);
    let mut world = World::new(&mut program);
    world.check();
    while let Some(step) = program.step()
        && world.connection.is_some()
    {
        world.happen(step, &mut program);
        world.check();
    }
    world.finish(bytes.len());
}

impl World {
    fn new(program: &mut Program<'_>) -> Self {
        let max_line_bytes = program.number() as u32 % 32;
        let (options, limit) = (program.number(), program.number());
        let seconds = |bit: usize, seconds| (options & bit != 0).then(|| Duration::from_secs(seconds));
        let deadlines = ConnectionTimeouts {
            idle: seconds(1, 5),
            line: seconds(2, 3),
            write: seconds(4, 4),
            linger: seconds(8, 2).unwrap_or_default(),
        };
        let welcome = Welcome::ALL[options >> 4 & 7];
        let responder = Obedient { welcome, disconnect: AtomicU32::new(0) };
        let config = ConnectionConfig::new(max_line_bytes, deadlines, &responder);
        let now = Instant::now();
        let mut model = Model::new(max_line_bytes, deadlines, welcome, now);
        let mut connection = Connection::new(peer(), &config, now);
        if options & 128 != 0 {
            model.close_with(CloseReason::ConnectionLimit, now);
            connection.close_with(CloseReason::ConnectionLimit, &config, now);
        }
        Self {
            responder,
            config,
            connection: Some(connection),
            model,
            job: None,
            reply_bytes: if limit == 0 { usize::MAX } else { limit },
            now,
            account: LineCounts::default(),
            pushes: 0,
            is_known: false,
        }
    }

    /// Lets something happen, unless it cannot.
    fn happen(&mut self, step: Step, program: &mut Program<'_>) {
        let now = self.now;
        let Some(connection) = &mut self.connection else { return };
        let model = &mut self.model;
        match step {
            Step::Receive => {
                let length = program.number();
                let bytes = program.bytes(length);
                if connection.wants_input() && !bytes.is_empty() {
                    connection.received(bytes, now);
                    model.received(bytes, now);
                }
            }
            Step::ReceiveNothing if connection.wants_input() => {
                connection.read_would_block();
                model.read_would_block();
            }
            Step::PeerStops if connection.wants_input() => {
                connection.received_eof();
                model.received_eof();
            }
            Step::TakeJob => self.take_job(),
            Step::Answer => match program.number() {
                number @ 176..240 => self.take_back(number as u32 % 16 + 1),
                number => self.answer(number as u32 % 16 + 1),
            },
            Step::Refuse => self.reject(),
            Step::Write => self.write(program.number()),
            Step::WaitForRoom if !connection.unsent().is_empty() => {
                connection.write_would_block();
                let held = connection.bytes_held();
                assert!(held <= model.bytes_max_without_room(), "{held} bytes are held by {connection:?}");
            }
            Step::Push => self.push(program.number()),
            Step::Stop => {
                let bytes = program.number();
                connection.stop(bytes);
                model.stop(bytes);
            }
            Step::SendAway => {
                connection.close_with(CloseReason::Overloaded, &self.config, now);
                model.close_with(CloseReason::Overloaded, now);
            }
            Step::GiveUp => self.give_up(),
            Step::AnswerLate => self.answer_late(program.number() as u32 % 16 + 1),
            Step::Wait => {
                self.now += Duration::from_millis(100) * program.number() as u32;
                connection.expired(self.now, &self.config);
                model.expired(self.now);
            }
            Step::Abort => {
                let reason = CloseReason::ALL[program.number() % CloseReason::ALL.len()];
                connection.abort(reason);
                model.abort(reason);
            }
            Step::End => self.end(),
            Step::ReceiveNothing | Step::PeerStops | Step::WaitForRoom => {}
        }
    }

    fn take_job(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let job = connection.take_job(self.now);
        assert_eq!(job.is_some(), self.model.wants_answer(), "who waits for an answer is answered: {:?}", self.model);
        if let Some(job) = job {
            self.model.take_job(self.now);
            self.job = Some((job, Awaited::Yes));
        }
    }

    /// So many lines of the job are answered at the most.
    fn answer(&mut self, lines: u32) {
        let Some(connection) = &mut self.connection else { return };
        let Some((job, Awaited::Yes)) = self.job.take_if(|(_, awaited)| *awaited == Awaited::Yes) else { return };
        let mut answered = job.answer(&self.responder, budget(lines, self.reply_bytes));
        let said = self.model.answered(lines, self.reply_bytes, self.now);
        // Of one that is over, the model has no lines any more, and nobody reads what is said to them.
        if self.model.phase() != Phase::Over {
            assert_same(answered.replies(), &said.bytes);
            assert_eq!(answered.take_errors().count, said.errors);
        }
        self.is_known |= self.model.is_known();
        connection.answered(answered, self.now);
    }

    /// So many lines are answered, and there is no room for that.
    fn take_back(&mut self, lines: u32) {
        let Some(connection) = &mut self.connection else { return };
        let Some((job, Awaited::Yes)) = self.job.take_if(|(_, awaited)| *awaited == Awaited::Yes) else { return };
        let answered = job.answer(&self.responder, budget(lines, self.reply_bytes));
        self.model.taken_back(lines, self.reply_bytes, self.now);
        self.is_known |= self.model.is_known();
        connection.answered(answered.close_with(CloseReason::Overloaded, &self.config), self.now);
    }

    fn reject(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let Some((job, Awaited::Yes)) = self.job.take_if(|(_, awaited)| *awaited == Awaited::Yes) else { return };
        connection.answered(job.reject_all(&self.responder, &self.config, TurnBudget::unlimited()), self.now);
        self.model.rejected(self.now);
    }

    /// The socket takes so many bytes. One that takes none has not written.
    fn write(&mut self, bytes: usize) {
        let Some(connection) = &mut self.connection else { return };
        let bytes = if bytes == 255 { usize::MAX } else { bytes };
        let bytes = bytes.min(connection.unsent().len());
        if bytes > 0 {
            connection.wrote(bytes, self.now);
            self.model.wrote(bytes, self.now);
        }
    }

    /// A line, several, or bytes as they are; no lines at all among them.
    fn push(&mut self, number: usize) {
        let Some(connection) = &mut self.connection else { return };
        self.pushes += 1;
        let text = format!("!{}{}", self.pushes, ".".repeat(number % 32));
        let (message, piece) = match number / 32 {
            7 => {
                let text = text + "\n\r\nraw\n";
                (PushMessage::raw(&text), Piece::Raw(text))
            }
            kind => {
                let lines = vec![text; [1, 1, 1, 1, 2, 3, 0][kind]];
                (PushMessage::lines(&lines).expect("it has no LF"), Piece::Lines(lines))
            }
        };
        assert_eq!(connection.push(&message, self.now), self.model.push(piece, self.now));
        assert_eq!(connection.pushed_unsent(), self.model.pushed_unsent());
    }

    fn give_up(&mut self) {
        let (Some(connection), Some((_, awaited @ Awaited::Yes))) = (&mut self.connection, &mut self.job) else {
            return;
        };
        *awaited = Awaited::No;
        connection.reply_timed_out(&self.config, self.now);
        self.model.reply_timed_out(self.now);
    }

    /// Whoever has a job that nobody waits for any more says disconnect.
    fn answer_late(&mut self, lines: u32) {
        let Some((job, Awaited::No)) = self.job.take_if(|(_, awaited)| *awaited == Awaited::No) else { return };
        self.is_known |= self.responder.welcome.lets_in();
        let answered = job.answer(&self.responder, budget(lines, self.reply_bytes));
        let disconnect = answered.into_disconnect(CloseReason::ReplyTimeout);
        assert_eq!(disconnect.is_some(), self.is_known, "whom the responder knows it is told disconnect");
        if let Some(disconnect) = disconnect {
            disconnect.notify(&self.responder).expect("it does not panic");
        }
    }

    /// Does what there is to do about the end.
    fn end(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        match connection.close_action() {
            CloseAction::ShutdownWrite => {
                connection.write_shut_down(self.now);
                self.model.write_shut_down(self.now);
            }
            CloseAction::Close(reason) if connection.has_job() => {
                assert_eq!(self.model.reason(), Some(reason));
                if let Some(disconnect) = self.connection.take().and_then(Connection::into_disconnect) {
                    disconnect.notify(&self.responder).expect("it does not panic");
                }
            }
            CloseAction::None | CloseAction::Close(_) => {}
        }
    }

    /// All that there is to be seen is as the model has it.
    fn check(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let (model, account) = (&self.model, connection.take_counts());
        assert_same(connection.unsent(), &model.unsent);
        assert_eq!(connection.wants_input(), model.wants_input(), "{model:?}");
        assert_eq!(connection.wants_answer(), model.wants_answer(), "{model:?}");
        assert_eq!(connection.has_job(), model.has_job);
        assert_eq!(connection.phase(), model.phase(), "{model:?}");
        assert_eq!(connection.since(), model.since, "{model:?}");
        assert_eq!(connection.deadline(&self.config), model.deadline(), "{model:?}");
        assert_eq!(connection.close_action(), model.ending(), "{model:?}");
        assert_eq!(connection.reason(), model.reason());
        assert_eq!(connection.peer(), peer());
        let (held, most) = (connection.bytes_held(), model.bytes_max());
        assert!(held <= most, "{held} bytes are held in place of {most} by {connection:?}");
        self.account.lines += account.lines;
        self.account.replies += account.replies;
        self.account.discarded += account.discarded;
        self.account.partial += account.partial;
        assert_eq!(self.account, model.account, "{model:?}");
        let LineCounts { lines, replies, discarded, .. } = self.account;
        assert_eq!(lines, replies + discarded + model.lines_in_hand());
    }

    /// Lets everything that can go on go on, until it is over. There are no more lines than this.
    fn finish(mut self, lines_max: usize) {
        // For each line a job and its replies; then both ends of the stream, and the last look.
        for _ in 0..lines_max + 4 {
            for step in [Step::TakeJob, Step::Answer, Step::AnswerLate, Step::Write, Step::End, Step::PeerStops] {
                self.happen(step, &mut Program(&[255]));
                self.check();
            }
        }
        assert!(self.connection.is_none(), "it does not end: {:?}", self.model);
        self.answer_late(1);
        assert_eq!(self.account.lines, self.account.replies + self.account.discarded);
        assert_eq!(self.responder.disconnect.into_inner(), u32::from(self.is_known));
    }
}

#[track_caller]
fn assert_same(said: &[u8], owed: &[u8]) {
    assert!(said == owed, "\"{}\" is said in place of \"{}\"", said.escape_ascii(), owed.escape_ascii());
}

fn peer() -> Peer {
    Peer::new(client_id(7), ([192, 0, 2, 1], 4000).into())
}

/// A budget of so many lines: each takes a millisecond, which is too dear for two of them to be answered without a look at the clock.
fn budget(lines: u32, reply_bytes: usize) -> TurnBudget<impl FnMut() -> Duration> {
    let mut passed = Duration::ZERO;
    TurnBudget::new(Duration::from_millis(lines.into()), reply_bytes, move || {
        passed += Duration::from_millis(1);
        passed
    })
}
