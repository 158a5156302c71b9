//! Checks how long a client may keep a connection waiting, and what it receives then. The test owns
//! the clock.

use std::time::{Duration, Instant};

use greeter_core::{
    BoxError, CloseAction, CloseReason, Connection, ConnectionConfig, ConnectionTimeouts, Greeter, Line, LineCounts,
    Phase, PushMessage, Rejection, Reply, Responder, TurnBudget,
};

use crate::kit::{Script, assert_lawful, drive, peer};

const IDLE: Duration = Duration::from_secs(300);
const LINE: Duration = Duration::from_secs(10);
const WRITE: Duration = Duration::from_secs(30);
const LINGER: Duration = Duration::from_secs(2);

/// A connection, and the time.
struct Scene<R: Responder> {
    responder: R,
    config: ConnectionConfig,
    connection: Connection<R::Session>,
    now: Instant,
}

impl Scene<Greeter> {
    fn new() -> Self {
        Self::with(Greeter)
    }
}

impl<R: Responder> Scene<R> {
    fn with(responder: R) -> Self {
        let timeouts =
            ConnectionTimeouts { idle: Some(IDLE), line: Some(LINE), reply: None, write: Some(WRITE), linger: LINGER };
        let config = ConnectionConfig::new(64, timeouts, &responder);
        let now = Instant::now();
        let mut scene = Self { connection: Connection::new(peer(), &config, now), responder, config, now };
        scene.answer();
        scene
    }

    /// Lets time pass, and wakes the connection if its deadline has come.
    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.connection.check_deadline(&self.config, self.now);
    }

    fn answer(&mut self) {
        while let Some(job) = self.connection.take_job(self.now) {
            self.connection.answered(
                job.answer(&self.responder, &self.config, TurnBudget::unlimited()),
                &self.config,
                self.now,
            );
        }
    }

    /// Sends bytes, has them answered, and takes the replies.
    fn send(&mut self, bytes: &[u8]) -> String {
        self.connection.received(bytes, &self.config, self.now);
        self.answer();
        self.read()
    }

    fn read(&mut self) -> String {
        let unsent = self.connection.unsent().to_vec();
        self.connection.wrote(unsent.len(), self.now);
        String::from_utf8_lossy(&unsent).into_owned()
    }

    #[track_caller]
    fn assert_phase(&self, phase: Phase, left: Option<Duration>) {
        assert_eq!(self.connection.phase(), phase);
        assert_eq!(self.connection.deadline(&self.config).map(|deadline| deadline - self.now), left);
    }

    /// Asserts that the client receives this, and that its connection closes in order.
    #[track_caller]
    fn assert_rejected(mut self, expected: &str, reason: CloseReason) {
        assert_eq!(self.read(), expected);
        assert_eq!(self.connection.close_action(), CloseAction::ShutdownWrite);
        self.connection.write_shut_down(self.now);
        self.assert_phase(Phase::Lingering, Some(LINGER));
        self.wait(LINGER);
        assert_eq!(self.connection.close_action(), CloseAction::Close(reason));
        assert_lawful(self.connection.take_counts());
    }
}

#[test]
fn a_silent_client_is_closed_at_the_idle_timeout() {
    let mut scene = Scene::new();
    scene.assert_phase(Phase::Idle, Some(IDLE));
    scene.wait(IDLE - Duration::from_millis(1));
    scene.assert_phase(Phase::Idle, Some(Duration::from_millis(1)));
    scene.wait(Duration::from_millis(1));
    scene.assert_rejected("error: idle for 300s\n", CloseReason::IdleTimeout);
}

#[test]
fn a_client_that_sends_now_and_then_stays_connected() {
    let mut scene = Scene::new();
    for _ in 0..10 {
        scene.wait(IDLE - Duration::from_secs(1));
        assert_eq!(scene.send(b"Bob\n"), "Hello, Bob\n");
        scene.assert_phase(Phase::Idle, Some(IDLE));
    }
}

#[test]
fn more_of_an_unfinished_line_does_not_extend_the_line_timeout() {
    let mut scene = Scene::new();
    scene.wait(Duration::from_secs(60));
    for byte in b"123456789" {
        assert_eq!(scene.send(&[*byte]), "");
        scene.wait(Duration::from_secs(1));
    }
    scene.assert_phase(Phase::Reading, Some(Duration::from_secs(1)));
    scene.wait(Duration::from_secs(1));
    scene.assert_rejected("error: line not finished within 10s\n", CloseReason::LineTimeout);
}

#[test]
fn a_rejection_ends_as_the_clients_lines_do() {
    let mut scene = Scene::new();
    scene.send(b"Bob\r\n");
    scene.send(b"An");
    scene.wait(LINE);
    scene.assert_rejected("error: line not finished within 10s\r\n", CloseReason::LineTimeout);
}

#[test]
fn each_line_has_its_own_time() {
    let mut scene = Scene::new();
    for _ in 0..5 {
        scene.send(b"a line, and the next be");
        scene.wait(LINE - Duration::from_secs(1));
        assert!(!scene.send(b"gins\n").is_empty());
    }
    scene.send(b"one\nand a ha");
    scene.assert_phase(Phase::Reading, Some(LINE));
}

#[test]
fn a_line_that_is_too_long_and_never_ends_has_no_more_time() {
    let mut scene = Scene::new();
    for _ in 0..9 {
        scene.send(&[b'A'; 1000]);
        scene.wait(Duration::from_secs(1));
    }
    assert!(scene.connection.bytes_held() < 1000);
    scene.wait(Duration::from_secs(1));
    scene.assert_rejected("error: line not finished within 10s\n", CloseReason::LineTimeout);
}

#[test]
fn no_timeout_runs_while_the_job_is_in_flight() {
    let mut scene = Scene::new();
    scene.connection.received(b"Bob\nAn", &scene.config, scene.now);
    scene.assert_phase(Phase::Queued, None);
    let job = scene.connection.take_job(scene.now).unwrap();
    scene.wait(2 * IDLE);
    scene.assert_phase(Phase::Answering, None);
    scene.connection.answered(job.answer(&Greeter, &scene.config, TurnBudget::unlimited()), &scene.config, scene.now);
    scene.assert_phase(Phase::Writing, Some(WRITE));
    scene.read();
    // The client could not continue its line sooner: the server did not read.
    scene.assert_phase(Phase::Reading, Some(LINE));
}

#[test]
fn each_byte_that_the_client_takes_restarts_the_write_timeout() {
    let mut scene = Scene::new();
    scene.connection.received(b"Bob\n", &scene.config, scene.now);
    scene.answer();
    for _ in 0..5 {
        scene.wait(WRITE - Duration::from_secs(1));
        scene.connection.wrote(1, scene.now);
        scene.assert_phase(Phase::Writing, Some(WRITE));
    }
    scene.connection.wrote(0, scene.now);
    scene.wait(WRITE);
    assert_eq!(scene.connection.close_action(), CloseAction::Close(CloseReason::WriteTimeout));
    assert_eq!(scene.connection.take_counts(), LineCounts { lines: 1, replies: 0, discarded: 1, unfinished: 0 });
}

#[test]
fn a_reply_timeout_rejects_the_client_and_discards_the_late_answer() {
    let mut scene = Scene::with(Script);
    scene.connection.received(b"slow\r\nnext\r\nha", &scene.config, scene.now);
    let job = scene.connection.take_job(scene.now).unwrap();
    scene.now += Duration::from_secs(30);
    scene.connection.reply_timed_out(None, &scene.config, scene.now);
    assert_eq!(scene.connection.take_counts(), LineCounts { lines: 2, replies: 0, discarded: 2, unfinished: 1 });

    let late = job.answer(&Script, &scene.config, TurnBudget::unlimited()).into_disconnect(CloseReason::ReplyTimeout);
    assert!(late.is_some(), "the thread that has the session disconnects it");
    scene.assert_rejected("error: timed out\r\n", CloseReason::ReplyTimeout);
}

#[test]
fn a_reply_timeout_of_a_connection_that_is_over_sends_nothing() {
    let mut scene = Scene::new();
    scene.connection.received(b"slow\n", &scene.config, scene.now);
    let _job = scene.connection.take_job(scene.now).unwrap();
    scene.connection.abort(CloseReason::Lost);
    scene.connection.reply_timed_out(None, &scene.config, scene.now);
    assert_eq!(scene.connection.unsent(), b"");
    assert_eq!(scene.connection.close_action(), CloseAction::Close(CloseReason::Lost));
    assert_lawful(scene.connection.take_counts());
    assert!(scene.connection.into_disconnect().is_none(), "the session is with the job");
}

#[test]
fn a_client_that_has_stopped_sending_is_not_idle() {
    for begun in ["", "Bo"] {
        let mut scene = Scene::new();
        if !begun.is_empty() {
            scene.connection.received(begun.as_bytes(), &scene.config, scene.now);
        }
        scene.connection.received_eof();
        scene.wait(2 * IDLE);
        assert_eq!((scene.read().as_str(), scene.connection.deadline(&scene.config)), ("", None));
        assert_eq!(scene.connection.close_action(), CloseAction::Close(CloseReason::ClientClosed));
    }
}

#[test]
fn busy_is_a_reply_like_any_other() {
    let mut scene = Scene::new();
    scene.connection.received(b"a\r\nb\n", &scene.config, scene.now);
    let job = scene.connection.take_job(scene.now).unwrap();
    scene.connection.answered(
        job.reject_all(&scene.responder, &scene.config, TurnBudget::unlimited()),
        &scene.config,
        scene.now,
    );
    assert_eq!(scene.read(), "error: busy\r\nerror: busy\n");
    assert_eq!(scene.send(b"c\n"), "Hello, c\n");
    assert_lawful(scene.connection.take_counts());
}

#[test]
fn a_client_that_connects_while_no_worker_is_free_is_rejected() {
    let config = ConnectionConfig::new(64, ConnectionTimeouts::NONE, &Greeter);
    let now = Instant::now();
    let mut connection = Connection::new(peer(), &config, now);
    let job = connection.take_job(now).unwrap();
    connection.answered(job.reject_all(&Greeter, &config, TurnBudget::unlimited()), &config, now);
    assert_eq!(drive(&mut connection, &Greeter), b"error: busy\n");
    assert_eq!((connection.close_action(), connection.reason()), (CloseAction::ShutdownWrite, Some(CloseReason::Busy)));
}

#[test]
fn a_client_over_a_limit_is_rejected_in_the_responders_words() {
    let config = Scene::with(Script).config;
    assert_eq!(*config.rejection_text(CloseReason::ConnectionLimit), *b"error: too many connections\n");
    assert_eq!(*config.rejection_text(CloseReason::AddressLimit), *b"error: too many connections from your address\n");
    assert_eq!(*config.rejection_text(CloseReason::Lost), *b"");
}

#[test]
fn a_client_with_unsent_replies_receives_no_rejection() {
    let mut scene = Scene::new();
    scene.connection.received(b"Bob\n", &scene.config, scene.now);
    scene.answer();
    scene.connection.close_with(CloseReason::Overloaded, &scene.config, scene.now);
    assert_eq!(scene.connection.close_action(), CloseAction::Close(CloseReason::Overloaded));
    assert_lawful(scene.connection.take_counts());
}

/// Rejects in SMTP's way (RFC 5321, 4.2.1).
struct Smtp;

impl Responder for Smtp {
    type Session = ();

    fn connect(&self, _: &greeter_core::Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn reject(&self, _session: Option<&mut Self::Session>, rejection: Rejection, reply: &mut Reply<'_>) {
        match rejection {
            Rejection::IdleTimeout { .. } => reply.line(format_args!("421 {rejection}")),
            _ => panic!("no words for this one"),
        }
    }
}

#[test]
fn rejections_are_in_the_responders_words_or_else_an_internal_error() {
    let mut scene = Scene::with(Smtp);
    scene.wait(IDLE);
    scene.assert_rejected("421 idle for 300s\n", CloseReason::IdleTimeout);

    let mut scene = Scene::with(Smtp);
    scene.send(b"unfin");
    scene.wait(LINE);
    scene.assert_rejected("error: internal error\n", CloseReason::LineTimeout);
}

fn message() -> PushMessage {
    PushMessage::line("news").expect("it holds no LF")
}

#[test]
fn a_push_stands_between_replies_and_never_in_one() {
    let mut scene = Scene::new();
    assert!(scene.connection.push(&message(), &scene.config, scene.now));
    assert_eq!(scene.connection.pushed_unsent(), 5);
    scene.assert_phase(Phase::Writing, Some(WRITE));
    assert_eq!(scene.read(), "news\n");

    scene.connection.received(b"Bob\r\n", &scene.config, scene.now);
    let job = scene.connection.take_job(scene.now).unwrap();
    assert!(scene.connection.push(&message(), &scene.config, scene.now));
    assert!(scene.connection.push(&PushMessage::line("").unwrap(), &scene.config, scene.now));
    assert_eq!(scene.connection.pushed_unsent(), 0, "no client can take it yet");
    assert_eq!(scene.connection.unsent(), b"");
    scene.connection.answered(job.answer(&Greeter, &scene.config, TurnBudget::unlimited()), &scene.config, scene.now);
    assert!(scene.connection.push(&message(), &scene.config, scene.now));
    assert_eq!(scene.connection.pushed_unsent(), 11);
    assert_eq!(scene.read(), "Hello, Bob\r\nnews\r\n\r\nnews\r\n");
    scene.assert_phase(Phase::Idle, Some(IDLE));
    assert_lawful(scene.connection.take_counts());
}

#[test]
fn a_push_does_not_extend_the_timeouts_of_a_client() {
    let mut scene = Scene::new();
    scene.wait(Duration::from_secs(200));
    scene.connection.push(&message(), &scene.config, scene.now);
    assert_eq!(scene.read(), "news\n");
    scene.assert_phase(Phase::Idle, Some(Duration::from_secs(100)));

    scene.send(b"unfin");
    scene.wait(Duration::from_secs(6));
    scene.connection.push(&message(), &scene.config, scene.now);
    assert_eq!(scene.read(), "news\n");
    scene.assert_phase(Phase::Reading, Some(Duration::from_secs(4)));
}
