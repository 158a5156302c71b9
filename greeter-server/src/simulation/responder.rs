//! A responder that does everything a responder can do, as each line asks.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greeter_core::{
    BoxError, ClientId, CloseReason, Delivery, Later, Line, Peer, Rejection, Reply, Responder, WhenLate,
};

use super::clock::SimulatedClock;
use super::oracle;

use crate::push::PushHandle;
use crate::ticker::TICK;

/// The responder rejects clients whose port has this remainder.
pub(super) const REJECTED: u32 = 7;
/// The responder panics for clients whose port has this remainder.
pub(super) const PANICKED: u32 = 11;
/// The responder delays the banner of clients whose port has this remainder.
pub(super) const SLOW: u32 = 9;
/// How many remainders there are.
pub(super) const SORTS: u32 = 16;

/// Answers lines such as `three 7.12`: the verb, the client's number, and the number of its line.
pub(super) struct ScriptedResponder {
    /// The clock that answering advances.
    pub(super) clock: SimulatedClock,
    pub(super) push: PushHandle,
    pub(super) sessions: Arc<Mutex<SessionHistory>>,
    /// The answers that are to come later.
    pub(super) promises: Arc<Mutex<Vec<Promise>>>,
    wants_end: bool,
    turn: Mutex<TurnTimes>,
}

/// An answer that comes later.
#[derive(Debug)]
pub(super) struct Promise {
    pub(super) later: Later,
    /// The client's number.
    pub(super) number: u32,
    pub(super) when_late: WhenLate,
    token: String,
    pub(super) asked: Instant,
    /// When it is kept, if it ever is.
    pub(super) due: Option<Instant>,
    /// What is pushed right before the answer, which is the last.
    farewell: Option<Farewell>,
}

/// Pushes a line that a client must receive before its connection closes.
#[derive(Debug)]
struct Farewell {
    push: PushHandle,
    sessions: Arc<Mutex<SessionHistory>>,
    number: u32,
}

impl Farewell {
    fn say(self) -> Result<(), BoxError> {
        let (id, push) = {
            let mut sessions = self.sessions.lock().unwrap();
            let push = sessions.next_push(self.number);
            let record = sessions.record(self.number);
            record.pushed_last = record.pushes;
            (record.id, push)
        };
        Ok(self.push.line(id.expect("the client is connected"), push)?)
    }
}

/// Pieces for one client, each of which is pushed when the one before it was taken.
#[derive(Debug)]
struct Pieces {
    push: PushHandle,
    sessions: Arc<Mutex<SessionHistory>>,
    number: u32,
    left: u32,
    last: Last,
}

/// What comes behind the last piece.
#[derive(Debug)]
enum Last {
    Nothing,
    Close,
    Answer(Later),
}

impl Pieces {
    fn push_next(mut self) {
        let mut sessions = self.sessions.lock().unwrap();
        let record = sessions.record(self.number);
        let id = record.id.expect("the client is connected");
        let Some(left) = self.left.checked_sub(1) else {
            record.is_closed |= matches!(self.last, Last::Close);
            drop(sessions);
            return match self.last {
                Last::Nothing => {}
                Last::Close => self.push.close(id).expect("it has started"),
                Last::Answer(later) => later.line(ended(self.number)),
            };
        };
        self.left = left;
        record.pieces += 1;
        let piece = format!("piece {}.{}\n", self.number, record.pieces);
        record.pushed_bytes += piece.len();
        drop(sessions);
        let push = self.push.clone();
        push.raw_then(id, piece, move |delivery| self.told(delivery)).expect("little is being pushed");
    }

    fn told(self, delivery: Delivery) {
        let mut sessions = self.sessions.lock().unwrap();
        let record = sessions.record(self.number);
        match delivery {
            Delivery::Taken => record.pieces_taken += 1,
            Delivery::Lost => record.pieces_lost += 1,
        }
        drop(sessions);
        if delivery == Delivery::Taken {
            self.push_next();
        }
    }
}

/// What is said last to a client that has stopped sending.
pub(super) fn ended(number: u32) -> String {
    format!("ended {number}")
}

/// What the responder does when a client has stopped sending, by the client's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnEnd {
    Line,
    Stream,
    Nothing,
    Failure,
}

impl OnEnd {
    pub(super) fn of(number: u32) -> Self {
        [Self::Line, Self::Stream, Self::Nothing, Self::Failure][number as usize % 4]
    }
}

/// How an answer that comes later is given, by the number of its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LateKind {
    Line,
    Then,
    Rejection,
    Dropped,
}

impl LateKind {
    pub(super) fn of(token: &str) -> Self {
        [Self::Line, Self::Then, Self::Rejection, Self::Dropped][line_of(token) % 4]
    }
}

/// Returns the number of the line with this token.
fn line_of(token: &str) -> usize {
    token.split_once('.').and_then(|(_, line)| line.parse().ok()).unwrap_or_default()
}

/// Returns the number of the client with this token.
fn client_of(token: &str) -> usize {
    token.split_once('.').and_then(|(client, _)| client.parse().ok()).unwrap_or_default()
}

/// Returns after how many milliseconds an answer is given that comes later, if it ever is.
fn delay_of(token: &str) -> Option<u64> {
    [Some(0), Some(1), Some(200), Some(5_000), None][(client_of(token) + line_of(token)) % 5]
}

/// Returns what becomes of the line if that is too late.
pub(super) fn when_late(token: &str) -> WhenLate {
    [WhenLate::Close, WhenLate::Reject, WhenLate::Wait][(client_of(token) / 5 + line_of(token) / 4) % 3]
}

/// Returns whether an answer is given while its line is parked, and not in the call itself.
pub(super) fn is_parked(token: &str) -> bool {
    delay_of(token) != Some(0)
}

impl Promise {
    /// Keeps it, or breaks it.
    pub(super) fn keep(self) {
        let Self { later, token, farewell, .. } = self;
        // Nobody waits for the last words to a client whose line was rejected as late.
        let farewell = farewell.filter(|_| later.is_wanted());
        farewell.into_iter().for_each(|farewell| farewell.say().expect("there is room for it"));
        match LateKind::of(&token) {
            LateKind::Line => later.line(format_args!("late {token}")),
            LateKind::Then => later.then(move |_: &mut u32, reply| {
                reply.line(format_args!("then {token}"));
                Ok(())
            }),
            LateKind::Rejection => later.reject(Rejection::custom(format!("no {token}"))),
            LateKind::Dropped => drop(later),
        }
    }
}

/// The lines of one turn, whose replies are sent together.
#[derive(Debug, Default)]
struct TurnTimes {
    first_reply: Option<Instant>,
    /// How long the first reply waited before the latest line began.
    waited: Duration,
}

/// What the responder knows of each client, by the clients' numbers.
#[derive(Debug, Default)]
pub(super) struct SessionHistory(Vec<SessionRecord>);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SessionRecord {
    pub(super) id: Option<ClientId>,
    pub(super) disconnect: Option<CloseReason>,
    /// When the latest line began.
    pub(super) line_began: Option<Instant>,
    /// When it was answered last.
    pub(super) answered: Option<Instant>,
    /// How many rejected lines its session was told of.
    pub(super) too_long: u64,
    pub(super) busy: u64,
    /// How many lines of it were rejected since their answers came too late.
    pub(super) late: u64,
    /// How often it was told of the end of the input.
    pub(super) ends: u32,
    /// Whether that was since the server has stopped.
    pub(super) is_ended_by_stop: bool,
    pushes: u32,
    /// The number of the push by the reply that closed the connection.
    pub(super) pushed_last: u32,
    /// How many pieces were pushed to it, and what was told of them.
    pub(super) pieces: u32,
    pub(super) pieces_taken: u32,
    pub(super) pieces_lost: u32,
    /// Whether the end was pushed to it.
    pub(super) is_closed: bool,
    /// How many bytes were pushed to it, each ending counted as one.
    pub(super) pushed_bytes: usize,
}

impl SessionHistory {
    pub(super) fn record(&mut self, number: u32) -> &mut SessionRecord {
        let index = number as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, SessionRecord::default());
        }
        &mut self.0[index]
    }

    pub(super) fn all(&self) -> &[SessionRecord] {
        &self.0
    }

    /// Returns the text of the next push to a client: the client's number, and that of the push.
    pub(super) fn next_push(&mut self, number: u32) -> String {
        let record = self.record(number);
        record.pushes += 1;
        let push = format!("push {number}.{}", record.pushes);
        record.pushed_bytes += push.len() + 1;
        push
    }
}

impl Responder for ScriptedResponder {
    /// The client's number.
    type Session = u32;

    fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<u32, BoxError> {
        let number = oracle::number_of(peer.address);
        self.begin_line(number);
        self.spend(match number % SORTS {
            SLOW => Duration::from_millis(150),
            _ => Duration::from_micros(u64::from(number % 50)),
        });
        self.turn.lock().unwrap().first_reply.get_or_insert(self.clock.now());
        match number % SORTS {
            REJECTED => return Err(Rejection::custom(format!("not you {number}")).into()),
            PANICKED => panic_quietly(),
            sort if sort % 4 == 0 => reply.line(format_args!("hello {number}")),
            _ => {}
        }
        let mut sessions = self.sessions.lock().unwrap();
        let record = sessions.record(number);
        assert!(record.id.replace(peer.id).is_none(), "a client connects once");
        record.answered = Some(self.clock.now());
        Ok(number)
    }

    fn respond(&self, session: &mut u32, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let text = line.as_bytes();
        let command = oracle::LineCommand::of(text);
        self.begin_line(*session);
        self.spend(command.cost());
        self.turn.lock().unwrap().first_reply.get_or_insert(self.clock.now());
        self.sessions.lock().unwrap().record(*session).answered = Some(self.clock.now());
        let Some(number) = command.number else {
            reply.line(text);
            return Ok(());
        };
        assert_eq!(number, *session, "each client has its own session");
        match command.verb {
            b"silent" => {}
            b"later" => self.promise(number, command.token, None, reply),
            b"stream" => self.stream(number, line_of(command.token) as u32 % 4, Last::Nothing),
            b"pour" => self.stream(number, line_of(command.token) as u32 % 4, Last::Close),
            b"three" => ["1", "2", "3"].iter().for_each(|piece| reply.line(format_args!("{piece} {}", command.token))),
            b"big" => reply.line(command.token.repeat(100)),
            b"raw" => reply.raw(format!("{}\n\n\r\nend\n", command.token)),
            b"panic" => panic_quietly(),
            b"stumble" => {
                reply.line("half a reply");
                panic_quietly();
            }
            b"fail" => return Err("as the client wishes".into()),
            b"reject" => return Err(Rejection::custom(format!("no {}", command.token)).into()),
            b"break" => reply.line("two\nlines"),
            b"quit" => {
                reply.line(format_args!("bye {}", command.token));
                reply.close();
            }
            b"part" => {
                self.farewell(number).say()?;
                reply.line(format_args!("bye {}", command.token));
                reply.close();
            }
            b"leave" => {
                self.promise(number, command.token, Some(self.farewell(number)), reply);
                reply.close();
            }
            b"shout" => {
                let (id, push) = {
                    let mut sessions = self.sessions.lock().unwrap();
                    (sessions.record(number).id, sessions.next_push(number))
                };
                self.push.line(id.expect("the client is connected"), push)?;
                reply.line(text);
            }
            _ => reply.line(text),
        }
        Ok(())
    }

    fn end_of_input(&self, session: &mut u32, reason: CloseReason, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        self.begin_line(*session);
        self.turn.lock().unwrap().first_reply.get_or_insert(self.clock.now());
        let mut sessions = self.sessions.lock().unwrap();
        let record = sessions.record(*session);
        record.answered = Some(self.clock.now());
        record.ends += 1;
        record.is_ended_by_stop = reason == CloseReason::Shutdown;
        assert_eq!(record.ends, 1, "an input has one end");
        drop(sessions);
        match OnEnd::of(*session) {
            OnEnd::Line => reply.line(ended(*session)),
            OnEnd::Stream => self.stream(*session, 3, Last::Answer(reply.later_with(WhenLate::Wait))),
            OnEnd::Nothing => {}
            OnEnd::Failure => panic_quietly(),
        }
        Ok(())
    }

    fn wants_end_of_input(&self) -> bool {
        self.wants_end
    }

    fn reject(&self, session: Option<&mut u32>, rejection: Rejection, reply: &mut Reply<'_>) {
        if let Some(number) = session {
            let record = *number;
            let mut sessions = self.sessions.lock().unwrap();
            match rejection {
                Rejection::LineTooLong { .. } => sessions.record(record).too_long += 1,
                Rejection::Busy => sessions.record(record).busy += 1,
                Rejection::ReplyTimeout => sessions.record(record).late += 1,
                _ => {}
            }
        }
        reply.line(format_args!("error: {rejection}"));
    }

    fn disconnect(&self, session: u32, reason: CloseReason) {
        let mut sessions = self.sessions.lock().unwrap();
        let disconnect = sessions.record(session).disconnect.replace(reason);
        assert!(disconnect.is_none(), "client {session} disconnects once");
    }
}

impl ScriptedResponder {
    pub(super) fn new(
        clock: SimulatedClock,
        push: PushHandle,
        sessions: Arc<Mutex<SessionHistory>>,
        wants_end: bool,
    ) -> Self {
        Self { clock, push, sessions, promises: Arc::default(), wants_end, turn: Mutex::default() }
    }

    fn farewell(&self, number: u32) -> Farewell {
        Farewell { push: self.push.clone(), sessions: Arc::clone(&self.sessions), number }
    }

    fn stream(&self, number: u32, pieces: u32, last: Last) {
        let (push, sessions) = (self.push.clone(), Arc::clone(&self.sessions));
        Pieces { push, sessions, number, left: pieces, last }.push_next();
    }

    /// Answers later: at once, soon, or later than some timeouts.
    fn promise(&self, number: u32, token: &str, farewell: Option<Farewell>, reply: &mut Reply<'_>) {
        let asked = self.clock.now();
        let delay = delay_of(token);
        let due = delay.map(|millis| asked + Duration::from_millis(millis));
        let when_late = when_late(token);
        let later = reply.later_with(when_late);
        let promise = Promise { later, number, when_late, token: token.to_owned(), asked, due, farewell };
        if delay == Some(0) {
            promise.keep();
        } else {
            self.promises.lock().unwrap().push(promise);
        }
    }

    pub(super) fn begin_turn(&self) {
        *self.turn.lock().unwrap() = TurnTimes::default();
    }

    /// Checks that no reply has waited longer than a tick for lines that began after it was
    /// written.
    pub(super) fn check_turn(&self) {
        let TurnTimes { waited, .. } = *self.turn.lock().unwrap();
        assert!(waited <= TICK, "a reply waits for {waited:?}");
    }

    fn begin_line(&self, client: u32) {
        let now = self.clock.now();
        self.sessions.lock().unwrap().record(client).line_began = Some(now);
        let turn = &mut *self.turn.lock().unwrap();
        if let Some(first) = turn.first_reply {
            turn.waited = now.saturating_duration_since(first);
        }
    }

    fn spend(&self, time: Duration) {
        self.clock.advance(time);
    }
}

/// Unwinds as a panic does, without the message that would be printed for each.
fn panic_quietly() {
    std::panic::resume_unwind(Box::new("as the client wishes"));
}
