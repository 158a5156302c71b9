//! Turns bytes into a schedule of what happens on a connection, and checks what holds for any
//! schedule. A test and a fuzzer call it.
//!
//! The bytes are a program. Each of its steps tells the connection of something that can happen to
//! it then, and tells a [model](Model) the same. After each step, the two agree on all that is
//! visible: what the client is sent, byte by byte, the counts, what the connection waits for and
//! for how long, and how it ends; and it holds no more memory than that takes.

pub(crate) mod model;
pub(crate) mod responder;

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greeter_core::{
    BareLf, ClientJob, CloseAction, CloseReason, Connection, ConnectionConfig, ConnectionTimeouts, Delivery,
    LineCounts, LineEnding, Peer, Phase, PushMessage, PushReceipt, TurnBudget, WhenRejected, WhenTooLong, client_id,
};
use model::{Message, Model, ModelRules};
use responder::{LateKind, OnConnect, OnEnd, ScriptedResponder};

/// What happens in a step, by its first byte. The bytes behind it say how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Receive,
    ReadWouldBlock,
    ReceiveEof,
    TakeJob,
    Answer,
    Reject,
    Write,
    WriteWouldBlock,
    Push,
    Stop,
    CloseWith,
    ReplyTimeout,
    AnswerAfterTimeout,
    Wait,
    Abort,
    Close,
    LateAnswer,
}

impl Step {
    const ALL: [Self; 17] = [
        Self::Receive,
        Self::ReadWouldBlock,
        Self::ReceiveEof,
        Self::TakeJob,
        Self::Answer,
        Self::Reject,
        Self::Write,
        Self::WriteWouldBlock,
        Self::Push,
        Self::Stop,
        Self::CloseWith,
        Self::ReplyTimeout,
        Self::AnswerAfterTimeout,
        Self::Wait,
        Self::Abort,
        Self::Close,
        Self::LateAnswer,
    ];

    /// Returns the byte that a program has for it.
    #[allow(dead_code, reason = "a fuzzer makes programs of its own")]
    pub(crate) fn byte(self) -> u8 {
        let index = Self::ALL.iter().position(|step| *step == self);
        u8::try_from(index.expect("all are there")).expect("there are few")
    }
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

    fn step(&mut self) -> Option<Step> {
        self.byte().map(|byte| Step::ALL[usize::from(byte) % Step::ALL.len()])
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// A connection, its model, and what drives them.
struct Driver {
    responder: ScriptedResponder,
    config: ConnectionConfig,
    /// None once it was disconnected.
    connection: Option<Connection<u32>>,
    model: Model,
    /// The job in flight, and whether the connection still waits for it.
    job: Option<(ClientJob<u32>, Awaited)>,
    /// The answer that was given and that the connection was not told of yet.
    given: Option<LateKind>,
    /// How many bytes of replies exhaust a budget.
    reply_bytes: usize,
    now: Instant,
    counts: LineCounts,
    pushes: u32,
    /// All that the client has taken, what was pushed to it with a receipt, and what was told of
    /// that.
    taken: Vec<u8>,
    receipted: Vec<String>,
    told: Arc<Mutex<Vec<(usize, Delivery)>>>,
    /// Whether the responder knows the client, and so must be called at the end.
    is_known: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Yes,
    No,
}

/// Asserts that the property holds for a program. Its first four bytes are the configuration.
#[track_caller]
pub(crate) fn holds(bytes: &[u8]) {
    let mut program = Program(bytes);
    let mut driver = Driver::new(&mut program);
    driver.check();
    while let Some(step) = program.step()
        && driver.connection.is_some()
    {
        driver.run_step(step, &mut program);
        driver.check();
    }
    driver.finish(bytes.len());
}

impl Driver {
    fn new(program: &mut Program<'_>) -> Self {
        let first = program.number();
        let max_line_bytes = first as u32 % 32;
        let (options, limit) = (program.number(), program.number());
        let number = program.number();
        let rules = ModelRules {
            max_line_bytes,
            when_rejected: if number & 1 == 0 { WhenRejected::Continue } else { WhenRejected::Close },
            when_too_long: if number & 2 == 0 { WhenTooLong::Reject } else { WhenTooLong::Truncate },
            bare_lf: if number & 4 == 0 { BareLf::Accept } else { BareLf::Reject },
            line_ending: [None, None, Some(LineEnding::Lf), Some(LineEnding::CrLf)][number >> 3 & 3],
            telnet: number & 32 != 0,
            max_data_bytes: if number & 64 == 0 { 0 } else { 32 },
            on_end: (first & 32 != 0).then_some(OnEnd::ALL[first >> 6]),
        };
        let seconds = |bit: usize, seconds| (options & bit != 0).then(|| Duration::from_secs(seconds));
        let timeouts = ConnectionTimeouts {
            idle: seconds(1, 5),
            line: seconds(2, 3),
            reply: (number & 128 != 0).then(|| Duration::from_secs(6)),
            write: seconds(4, 4),
            linger: seconds(8, 2).unwrap_or_default(),
        };
        let on_connect = OnConnect::ALL[options >> 4 & 7];
        let responder = ScriptedResponder {
            on_connect,
            max_data_bytes: rules.max_data_bytes,
            on_end: rules.on_end,
            promised: Mutex::default(),
            disconnects: AtomicU32::new(0),
        };
        let config = ConnectionConfig::new(max_line_bytes, timeouts, &responder)
            .when_rejected(rules.when_rejected)
            .when_too_long(rules.when_too_long)
            .bare_lf(rules.bare_lf)
            .line_ending(rules.line_ending)
            .telnet(rules.telnet);
        let now = Instant::now();
        let mut model = Model::new(rules, timeouts, on_connect, now);
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
            given: None,
            reply_bytes: if limit == 0 { usize::MAX } else { limit },
            now,
            counts: LineCounts::default(),
            pushes: 0,
            taken: Vec::new(),
            receipted: Vec::new(),
            told: Arc::default(),
            is_known: false,
        }
    }

    /// Lets a step happen, unless it cannot.
    fn run_step(&mut self, step: Step, program: &mut Program<'_>) {
        let now = self.now;
        let Some(connection) = &mut self.connection else { return };
        let model = &mut self.model;
        match step {
            Step::Receive => {
                let length = program.number();
                let bytes = program.bytes(length);
                if connection.wants_input() && !bytes.is_empty() {
                    connection.received(bytes, &self.config, now);
                    model.received(bytes, now);
                }
            }
            Step::ReadWouldBlock if connection.wants_input() => {
                connection.read_would_block();
                model.read_would_block();
            }
            Step::ReceiveEof if connection.wants_input() => {
                connection.received_eof();
                model.received_eof();
            }
            Step::TakeJob => self.take_job(),
            Step::Answer => match program.number() {
                number @ 176..240 => self.overload(number as u32 % 16 + 1),
                number => self.answer(number as u32 % 16 + 1),
            },
            Step::Reject => self.reject(),
            Step::Write => self.write(program.number()),
            Step::WriteWouldBlock if !connection.unsent().is_empty() => {
                connection.write_would_block();
                let held = connection.bytes_held();
                assert!(held <= model.max_bytes_while_blocked(), "{held} bytes are held by {connection:?}");
            }
            Step::Push => self.push(program.number()),
            Step::Stop => {
                let bytes = program.number();
                connection.stop(bytes);
                model.stop(bytes);
            }
            Step::CloseWith => {
                connection.close_with(CloseReason::Overloaded, &self.config, now);
                model.close_with(CloseReason::Overloaded, now);
            }
            Step::ReplyTimeout => self.time_out_reply(),
            Step::AnswerAfterTimeout => self.answer_after_timeout(program.number() as u32 % 16 + 1),
            Step::Wait => {
                self.now += Duration::from_millis(100) * program.number() as u32;
                connection.check_deadline(&self.config, self.now);
                model.check_deadline(self.now);
            }
            Step::Abort => {
                let reason = CloseReason::ALL[program.number() % CloseReason::ALL.len()];
                connection.abort(reason);
                model.abort(reason);
            }
            Step::Close => self.end(),
            Step::LateAnswer => self.answer_later(program.number()),
            Step::ReadWouldBlock | Step::ReceiveEof | Step::WriteWouldBlock => {}
        }
    }

    fn take_job(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let job = connection.take_job(self.now);
        assert_eq!(
            job.is_some(),
            self.model.wants_answer(),
            "a connection that wants an answer gives its job: {:?}",
            self.model
        );
        if let Some(job) = job {
            self.model.take_job(self.now);
            self.job = Some((job, Awaited::Yes));
        }
    }

    /// Answers so many lines of the job at most.
    fn answer(&mut self, lines: u32) {
        let Some(connection) = &mut self.connection else { return };
        let Some((job, Awaited::Yes)) = self.job.take_if(|(_, awaited)| *awaited == Awaited::Yes) else { return };
        let mut answered = job.answer(&self.responder, &self.config, budget(lines, self.reply_bytes));
        let expected = self.model.answered(lines, self.reply_bytes, self.now);
        // Once the connection is over, the model has no lines any more, and no client reads the
        // replies.
        if self.model.phase() != Phase::Over {
            assert_same(answered.replies(), &expected.bytes);
            assert_eq!(answered.take_errors().count, expected.errors);
        }
        self.is_known |= self.model.is_known();
        connection.answered(answered, &self.config, self.now);
    }

    /// Answers so many lines, and has no room for their replies.
    fn overload(&mut self, lines: u32) {
        let Some(connection) = &mut self.connection else { return };
        let Some((job, Awaited::Yes)) = self.job.take_if(|(_, awaited)| *awaited == Awaited::Yes) else { return };
        let answered = job.answer(&self.responder, &self.config, budget(lines, self.reply_bytes));
        self.model.overloaded(lines, self.reply_bytes, self.now);
        self.is_known |= self.model.is_known();
        connection.answered(answered.close_with(CloseReason::Overloaded, &self.config), &self.config, self.now);
    }

    fn reject(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let Some((job, Awaited::Yes)) = self.job.take_if(|(_, awaited)| *awaited == Awaited::Yes) else { return };
        connection.answered(
            job.reject_all(&self.responder, &self.config, TurnBudget::unlimited()),
            &self.config,
            self.now,
        );
        self.model.rejected(self.now);
    }

    /// Lets the socket take so many bytes. A socket that takes none has not written.
    fn write(&mut self, bytes: usize) {
        let Some(connection) = &mut self.connection else { return };
        let bytes = if bytes == 255 { usize::MAX } else { bytes };
        let bytes = bytes.min(connection.unsent().len());
        if bytes > 0 {
            self.taken.extend_from_slice(&connection.unsent()[..bytes]);
            connection.wrote(bytes, self.now);
            self.model.wrote(bytes, self.now);
        }
    }

    /// Pushes a line, several, no lines at all, or bytes as they are, with a receipt or without
    /// one; or the end.
    fn push(&mut self, number: usize) {
        let Some(connection) = &mut self.connection else { return };
        if (208..224).contains(&number) {
            connection.close(&self.config, self.now);
            return self.model.close(self.now);
        }
        self.pushes += 1;
        let text = format!("!{}{}", self.pushes, ".".repeat(number % 32));
        if number >= 240 {
            let text = format!("{text} with a receipt\n");
            let (told, index) = (Arc::clone(&self.told), self.receipted.len());
            let receipt =
                PushReceipt::new(move |delivery| told.lock().expect("nobody panics with it").push((index, delivery)));
            let message = PushMessage::raw(&text);
            let is_accepted = connection.push_with_receipt(&message, receipt, &self.config, self.now);
            self.receipted.push(text.clone());
            return assert_eq!(is_accepted, self.model.push(Message::Receipted(text), self.now));
        }
        let (pushed, message) = match number / 32 {
            7 => {
                let text = text + "\n\r\nraw\n";
                (PushMessage::raw(&text), Message::Raw(text))
            }
            kind => {
                let lines = vec![text; [1, 1, 1, 1, 2, 3, 0][kind]];
                (PushMessage::lines(&lines).expect("it has no LF"), Message::Lines(lines))
            }
        };
        assert_eq!(connection.push(&pushed, &self.config, self.now), self.model.push(message, self.now));
        assert_eq!(connection.pushed_unsent(), self.model.pushed_unsent());
    }

    fn time_out_reply(&mut self) {
        let (Some(connection), Some((_, awaited @ Awaited::Yes))) = (&mut self.connection, &mut self.job) else {
            return;
        };
        *awaited = Awaited::No;
        connection.reply_timed_out(None, &self.config, self.now);
        self.model.reply_timed_out(self.now);
    }

    /// Answers a job that no connection waits for any more, and disconnects its client.
    fn answer_after_timeout(&mut self, lines: u32) {
        let Some((job, Awaited::No)) = self.job.take_if(|(_, awaited)| *awaited == Awaited::No) else { return };
        self.is_known |= self.responder.on_connect.accepts();
        let answered = job.answer(&self.responder, &self.config, budget(lines, self.reply_bytes));
        let disconnect = answered.into_disconnect(CloseReason::ReplyTimeout);
        assert_eq!(disconnect.is_some(), self.is_known, "a client that the responder knows is disconnected");
        if let Some(disconnect) = disconnect {
            disconnect.notify(&self.responder).expect("it does not panic");
        }
    }

    /// Keeps the oldest promise. Nobody may wait for it any more, and the connection may be told of
    /// it in a later step.
    fn answer_later(&mut self, number: usize) {
        if let Some(kind) = self.given.take() {
            return self.late_answer_arrived(kind);
        }
        let promised = self.responder.promised.get_mut().expect("nobody panics with it");
        if promised.is_empty() {
            return;
        }
        let later = promised.remove(0);
        let is_parked = self.connection.as_ref().is_some_and(|connection| connection.lines_parked() > 0);
        assert_eq!(is_parked, self.model.is_parked() && self.connection.is_some());
        if is_parked && promised.is_empty() {
            assert!(later.is_wanted());
        }
        let is_wanted = later.is_wanted();
        let kind = LateKind::ALL[number % LateKind::ALL.len()];
        kind.answer(later);
        if is_wanted && (128..255).contains(&number) {
            self.model.late_answer_given(kind);
            self.given = Some(kind);
        } else if is_wanted {
            self.late_answer_arrived(kind);
        }
    }

    /// Tells the connection of an answer that was given. It may not wait for it any more.
    fn late_answer_arrived(&mut self, kind: LateKind) {
        let Some(connection) = &mut self.connection else { return };
        let is_taken = self.model.late_answer(kind, self.now);
        assert_eq!(connection.late_answer_arrived(None, &self.config, self.now), is_taken);
    }

    /// Does what the close action says.
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

    /// Asserts that whoever pushed with a receipt was told of what the client has taken, and of
    /// nothing else, once.
    fn check_receipts(&self) {
        let told = self.told.lock().expect("nobody panics with it");
        for (index, text) in self.receipted.iter().enumerate() {
            let of_this: Vec<_> =
                told.iter().filter(|(told, _)| *told == index).map(|(_, delivery)| *delivery).collect();
            let is_taken = self.taken.windows(text.len()).any(|window| window == text.as_bytes());
            let is_over = self.connection.is_none();
            match of_this[..] {
                [] => assert!(!is_taken && !is_over, "nobody is told of {text}"),
                [delivery] => assert_eq!(delivery == Delivery::Taken, is_taken, "{text}"),
                _ => panic!("of {text} is told {of_this:?}"),
            }
        }
    }

    /// Asserts that all that is visible is as the model has it.
    fn check(&mut self) {
        self.check_receipts();
        let Some(connection) = &mut self.connection else { return };
        let (model, counts) = (&self.model, connection.take_counts());
        assert_same(connection.unsent(), &model.unsent);
        assert_eq!(connection.wants_input(), model.wants_input(), "{model:?}");
        assert_eq!(connection.wants_answer(), model.wants_answer(), "{model:?}");
        assert_eq!(connection.has_job(), model.has_job);
        assert_eq!(connection.phase(), model.phase(), "{model:?}");
        assert_eq!(connection.since(), model.since, "{model:?}");
        assert_eq!(connection.deadline(&self.config), model.deadline(), "{model:?}");
        assert_eq!(connection.close_action(), model.close_action(), "{model:?}");
        assert_eq!(connection.reason(), model.reason());
        assert_eq!(*connection.peer(), peer());
        let (held, most) = (connection.bytes_held(), model.max_bytes());
        assert!(held <= most, "{held} bytes are held in place of {most} by {connection:?}");
        self.counts.lines += counts.lines;
        self.counts.replies += counts.replies;
        self.counts.discarded += counts.discarded;
        self.counts.unfinished += counts.unfinished;
        assert_eq!(self.counts, model.counts, "{model:?}");
        let LineCounts { lines, replies, discarded, .. } = self.counts;
        assert_eq!(lines, replies + discarded + model.lines_in_hand());
    }

    /// Lets everything continue that can, until the connection is closed. There are no more lines
    /// than this.
    fn finish(mut self, max_lines: usize) {
        // For each line a job and its replies; then both ends of the stream, and the close.
        for _ in 0..max_lines + 4 {
            for step in [
                Step::TakeJob,
                Step::Answer,
                Step::AnswerAfterTimeout,
                Step::LateAnswer,
                Step::Write,
                Step::Close,
                Step::ReceiveEof,
            ] {
                self.run_step(step, &mut Program(&[255]));
                self.check();
            }
        }
        assert!(self.connection.is_none(), "it does not close: {:?}", self.model);
        self.answer_after_timeout(1);
        assert_eq!(self.counts.lines, self.counts.replies + self.counts.discarded);
        assert_eq!(self.responder.disconnects.into_inner(), u32::from(self.is_known));
    }
}

#[track_caller]
fn assert_same(unsent: &[u8], expected: &[u8]) {
    assert!(
        unsent == expected,
        "\"{}\" is to be sent in place of \"{}\"",
        unsent.escape_ascii(),
        expected.escape_ascii()
    );
}

fn peer() -> Peer {
    Peer::new(client_id(7), ([192, 0, 2, 1], 4000).into())
}

/// Returns a budget of so many lines: each takes a millisecond, which is too expensive for two of
/// them to be answered without reading the clock.
fn budget(lines: u32, reply_bytes: usize) -> TurnBudget<impl FnMut() -> Duration> {
    let mut passed = Duration::ZERO;
    TurnBudget::new(Duration::from_millis(lines.into()), reply_bytes, move || {
        passed += Duration::from_millis(1);
        passed
    })
}
