//! Checks when a responder learns that nothing more comes from its client, and what follows from
//! what it does then.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use greeter_core::testing::{ConnectionConfig, ConnectionTimeouts, PushMessage, TestClient, peer};
use greeter_core::{
    BoxError, CloseAction, CloseReason, Connection, Later, Line, LineCounts, Origin, Parallel, Peer, Rejection, Reply,
    Responder, TurnBudget, WhenLate,
};

/// Says how many lines there were, or what the last line asks for.
#[derive(Default)]
struct Total {
    is_unwanted: bool,
    promised: Mutex<Vec<Later>>,
    ends: AtomicU32,
    rejected: AtomicU32,
    /// That of the latest end.
    reason: Mutex<Option<CloseReason>>,
}

impl Total {
    fn promised(&self) -> Later {
        self.promised.lock().expect("nobody panics with it").remove(0)
    }

    fn reason(&self) -> Option<CloseReason> {
        *self.reason.lock().expect("nobody panics with it")
    }

    fn ends(&self) -> u32 {
        self.ends.load(Ordering::Relaxed)
    }

    fn promise(&self, when_late: WhenLate, reply: &mut Reply<'_>) {
        self.promised.lock().expect("nobody panics with it").push(reply.later_with(when_late));
    }
}

impl Responder for Total {
    type Session = Vec<String>;

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<Vec<String>, BoxError> {
        Ok(Vec::new())
    }

    fn respond(&self, lines: &mut Vec<String>, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match line.to_str()? {
            "later" => self.promise(WhenLate::Close, reply),
            "quit" => reply.close(),
            "panic" => panic!("as told"),
            "starttls" => reply.start_tls(),
            _ => {}
        }
        lines.push(line.to_str()?.to_owned());
        reply.line(lines.len());
        Ok(())
    }

    fn end_of_input(
        &self,
        lines: &mut Vec<String>,
        reason: CloseReason,
        reply: &mut Reply<'_>,
    ) -> Result<(), BoxError> {
        self.ends.fetch_add(1, Ordering::Relaxed);
        *self.reason.lock().expect("nobody panics with it") = Some(reason);
        match lines.last().map(String::as_str) {
            Some("end fails") => return Err("as told".into()),
            Some("end rejects") => return Err(Rejection::custom("no").into()),
            Some("end panics") => panic!("as told"),
            Some("end reads") => reply.read_bytes(1)?,
            Some("end starts TLS") => reply.start_tls(),
            Some("end closes") => reply.close(),
            Some("end is late") => self.promise(WhenLate::Reject, reply),
            Some("end waits") => {
                reply.line("wait");
                self.promise(WhenLate::Wait, reply);
            }
            _ => {}
        }
        reply.line(format_args!("{} in all", lines.len()));
        Ok(())
    }

    fn wants_end_of_input(&self) -> bool {
        !self.is_unwanted
    }

    fn max_data_bytes(&self) -> usize {
        10
    }

    fn reject(&self, _: Option<&mut Vec<String>>, rejection: Rejection, reply: &mut Reply<'_>) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        reply.line(format_args!("error: {rejection}"));
    }
}

#[test]
fn it_is_told_behind_all_complete_lines() {
    let total = Total::default();
    TestClient::connect(&total).shutdown_write().expect("0 in all\n");
    TestClient::connect(&total).send("a\r\nb\r\nun").shutdown_write().expect("1\r\n2\r\n2 in all\r\n");
    let mut client = TestClient::connect(&total);
    client.send("later\nb\n").shutdown_write().expect("1\n");
    total.promised().line("here");
    client.expect("here\n2\n2 in all\n").expect_end(CloseReason::ClientClosed);
    assert_eq!(total.ends(), 3);
}

#[test]
fn a_responder_that_does_not_want_it_is_not_told() {
    let total = Total { is_unwanted: true, ..Total::default() };
    TestClient::connect(&total).send("a\n").shutdown_write().expect("1\n").expect_end(CloseReason::ClientClosed);
    assert_eq!(total.ends(), 0);
}

#[test]
fn whoever_leaves_in_another_way_is_not_told_of() {
    let total = Total::default();
    let connect = || TestClient::connect(&total);
    connect().send("a\n").reset().expect("1\n").expect_end(CloseReason::Lost);
    connect().send("quit\n").expect("1\n").expect_end(CloseReason::ResponderClosed);
    let five_minutes = Duration::from_secs(300);
    connect().wait(five_minutes).expect("error: idle for 300s\n").expect_end(CloseReason::IdleTimeout);
    let mut tls = TestClient::connect_by(Origin::default().with_start_tls(), &total);
    tls.send("starttls\nmore\n").shutdown_write().expect("1\n");
    tls.expect_end(CloseReason::PlainBehindStartTls);
    assert_eq!(total.ends(), 0);
}

#[test]
fn what_goes_wrong_is_said_and_the_connection_ends() {
    let cases = [
        ("end fails", "error: internal error\n", 1),
        ("end panics", "error: internal error\n", 1),
        ("end reads", "error: internal error\n", 1),
        ("end starts TLS", "error: internal error\n", 1),
        ("end rejects", "error: no\n", 0),
    ];
    for (line, reply, errors) in cases {
        let total = Total::default();
        let mut client = TestClient::connect_by(Origin::default().with_start_tls(), &total);
        client.send(format!("{line}\n")).expect("1\n").shutdown_write().expect(reply);
        assert_eq!(client.take_errors().count, errors, "{line}");
        client.expect_end(CloseReason::ClientClosed);
        assert_eq!(total.ends(), 1);
    }
}

#[test]
fn it_may_close() {
    let total = Total::default();
    let mut client = TestClient::connect(&total);
    client.send("end closes\n").shutdown_write().expect("1\n1 in all\n").expect_end(CloseReason::ResponderClosed);
}

#[test]
fn it_may_be_answered_later_and_pushes_go_on() {
    let total = Total::default();
    let mut client = TestClient::connect(&total);
    client.send("end waits\n").shutdown_write().expect("1\nwait\n1 in all\n");
    client.wait(Duration::from_secs(299)).push(&PushMessage::line("news").expect("it has no LF")).expect("news\n");
    total.promised().then(|lines: &mut Vec<String>, reply| {
        reply.line(format_args!("{} in the end", lines.len()));
        Ok(())
    });
    client.expect("1 in the end\n").expect_end(CloseReason::ClientClosed);

    let mut client = TestClient::connect(&total);
    client.send("end is late\n").shutdown_write().expect("1\n1 in all\n");
    client.wait(Duration::from_secs(60)).expect("error: timed out\n").expect_end(CloseReason::ClientClosed);
    assert!(!total.promised().is_wanted());

    let mut client = TestClient::connect(&total);
    client.send("end waits\n").shutdown_write().shutdown().expect("1\nwait\n1 in all\n");
    total.promised().line("here");
    client.expect("here\n").expect_end(CloseReason::ClientClosed);
    assert_eq!(total.ends(), 3);
}

#[test]
fn telnet_and_its_line_endings_hold() {
    let total = Total::default();
    let config = ConnectionConfig::new(100, ConnectionTimeouts::NONE, &total).telnet(true);
    let mut client = TestClient::connect_as(peer(1, ([127, 0, 0, 1], 1)), &total, config);
    client.send("a\r\n").send([255]).shutdown_write().expect("1\r\n1 in all\r\n");
}

/// A connection whose driver is the test.
struct Scene {
    total: Total,
    config: ConnectionConfig,
    connection: Connection<Vec<String>>,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        let total = Total::default();
        let config = ConnectionConfig::new(100, ConnectionTimeouts::NONE, &total);
        let now = Instant::now();
        let connection = Connection::new(peer(1, ([127, 0, 0, 1], 1)), &config, now);
        let mut scene = Self { total, config, connection, now };
        scene.answer();
        scene
    }

    fn send(&mut self, bytes: &str) {
        self.connection.received(bytes.as_bytes(), &self.config, self.now);
    }

    fn answer(&mut self) {
        let job = self.connection.take_job(self.now).expect("there is something to answer");
        let answered = job.answer(&self.total, &self.config, TurnBudget::unlimited());
        self.connection.answered(answered, &self.config, self.now);
    }

    fn write(&mut self) -> String {
        let sent = String::from_utf8(self.connection.unsent().to_vec()).expect("it is text");
        self.connection.wrote(sent.len(), self.now);
        sent
    }

    fn assert_counts(&mut self, lines: u32, replies: u32, discarded: u32, unfinished: u32) {
        assert_eq!(self.connection.take_counts(), LineCounts { lines, replies, discarded, unfinished });
    }
}

#[test]
fn it_is_one_turn_with_the_lines_before_it_and_is_no_line() {
    let mut scene = Scene::new();
    scene.send("a\nb\r\nun");
    scene.connection.received_eof();
    assert_eq!(scene.connection.lines_waiting(), 2);
    scene.answer();
    assert_eq!(scene.write(), "1\n2\r\n2 in all\r\n");
    assert!(!scene.connection.wants_answer());
    scene.assert_counts(2, 2, 0, 1);
    assert_eq!(scene.connection.close_action(), CloseAction::Close(CloseReason::ClientClosed));
}

#[test]
fn it_ends_its_lines_as_the_last_line_did_whatever_came_of_that() {
    for last in ["b", "panic"] {
        let mut scene = Scene::new();
        scene.send(&format!("a\n{last}\r\n"));
        scene.connection.received_eof();
        scene.answer();
        let sent = scene.write();
        assert!(sent.starts_with("1\n") && sent.ends_with(" in all\r\n"), "{last}: {sent}");
    }
}

#[test]
fn it_waits_for_its_turn_when_the_budget_is_exhausted() {
    let mut scene = Scene::new();
    scene.send("a\nb\n");
    scene.connection.received_eof();
    for (reply, is_more) in [("1\n", true), ("2\n", true), ("2 in all\n", false)] {
        let job = scene.connection.take_job(scene.now).expect("there is more");
        let mut passed = Duration::ZERO;
        let clock = || {
            passed += Duration::from_millis(1);
            passed
        };
        let budget = TurnBudget::new(Duration::from_millis(1), usize::MAX, clock);
        let answered = job.answer(&scene.total, &scene.config, budget);
        scene.connection.answered(answered, &scene.config, scene.now);
        assert_eq!(scene.write(), reply);
        assert_eq!(scene.connection.wants_answer(), is_more);
        assert_eq!(scene.connection.close_action() == CloseAction::None, is_more);
    }
}

#[test]
fn a_stop_ends_the_input_behind_what_has_arrived() {
    let total = Total::default();
    let mut client = TestClient::connect(&total);
    client.send("a\nun").shutdown().expect("1\n1 in all\n").expect_end(CloseReason::Shutdown);
    assert_eq!((total.ends(), total.reason()), (1, Some(CloseReason::Shutdown)));
    let mut client = TestClient::connect(&total);
    client.send("end waits\n").shutdown().expect("1\nwait\n1 in all\n");
    total.promised().line("here");
    client.expect("here\n").expect_end(CloseReason::Shutdown);
    assert_eq!(total.ends(), 2);
    let mut tls = TestClient::connect_by(Origin::default().with_start_tls(), &total);
    tls.send("starttls\n").shutdown().expect("1\n").expect_end(CloseReason::Shutdown);
    assert_eq!(total.ends(), 2);
}

#[test]
fn whichever_end_comes_first_is_the_one_that_is_told() {
    for (received, reason) in [("a\n", CloseReason::Shutdown), ("a", CloseReason::ClientClosed)] {
        let mut scene = Scene::new();
        scene.connection.stop(2);
        scene.send(received);
        scene.connection.received_eof();
        scene.answer();
        assert_eq!((scene.total.ends(), scene.total.reason()), (1, Some(reason)));
        scene.write();
        assert!(!scene.connection.wants_answer());
    }
}

/// A stop does not wait for the job.
#[test]
fn a_stop_while_a_line_is_answered_is_told_behind_it() {
    for closes in [false, true] {
        let mut scene = Scene::new();
        scene.send(if closes { "quit\n" } else { "a\n" });
        let job = scene.connection.take_job(scene.now).expect("there is a line");
        scene.connection.stop(0);
        let answered = job.answer(&scene.total, &scene.config, TurnBudget::unlimited());
        assert_eq!(scene.total.ends(), 0);
        scene.connection.answered(answered, &scene.config, scene.now);
        assert_eq!(scene.write(), "1\n");
        assert_eq!(scene.connection.wants_answer(), !closes);
        if !closes {
            scene.answer();
            assert_eq!(scene.write(), "1 in all\n");
        }
        let reason = if closes { CloseReason::ResponderClosed } else { CloseReason::Shutdown };
        assert_eq!(
            (scene.connection.close_action(), scene.connection.reason()),
            (CloseAction::ShutdownWrite, Some(reason))
        );
        assert_eq!(scene.total.ends(), u32::from(!closes));
    }
}

#[test]
fn nobody_is_told_when_the_connection_is_closed_before_the_turn() {
    let mut scene = Scene::new();
    scene.connection.received_eof();
    assert!(scene.connection.wants_answer());
    scene.connection.close_with(CloseReason::Overloaded, &scene.config, scene.now);
    assert!(!scene.connection.wants_answer());
    assert_eq!(scene.write(), "error: overloaded\n");
}

#[test]
fn where_no_worker_is_free_it_is_rejected_in_its_place() {
    let mut scene = Scene::new();
    scene.connection.received_eof();
    let before = scene.total.rejected.load(Ordering::Relaxed);
    let job = scene.connection.take_job(scene.now).expect("it is due");
    let rejected = job.reject_all(&scene.total, &scene.config, TurnBudget::unlimited());
    scene.connection.answered(rejected, &scene.config, scene.now);
    assert_eq!(scene.write(), "error: busy\n");
    assert_eq!(scene.total.rejected.load(Ordering::Relaxed), before + 1);
    scene.assert_counts(0, 0, 0, 0);
    assert_eq!(scene.connection.close_action(), CloseAction::Close(CloseReason::ClientClosed));

    let mut scene = Scene::new();
    scene.connection.received_eof();
    let job = scene.connection.take_job(scene.now).expect("it is due");
    scene.connection.answered(job.reject_without_responder(&scene.config), &scene.config, scene.now);
    assert_eq!((scene.write(), scene.total.ends()), ("error: busy\n".to_owned(), 0));
    assert_eq!(scene.connection.close_action(), CloseAction::Close(CloseReason::Busy));
}

/// A session of `()` misses nothing but this.
struct NoSession;

impl Responder for NoSession {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn wants_end_of_input(&self) -> bool {
        true
    }
}

#[test]
fn where_nobody_is_left_who_could_be_told_the_server_says_that_it_is_busy() {
    let config = ConnectionConfig::new(100, ConnectionTimeouts::NONE, &NoSession);
    let now = Instant::now();
    let mut connection = Connection::new(peer(1, ([127, 0, 0, 1], 1)), &config, now);
    let job = connection.take_job(now).expect("it is new");
    connection.answered(job.answer(&NoSession, &config, TurnBudget::unlimited()), &config, now);
    connection.received_eof();
    let job = connection.take_job(now).expect("it is due");
    connection.answered(job.reject_without_responder(&config), &config, now);
    assert_eq!(connection.unsent(), b"error: busy\n");
    connection.wrote(12, now);
    assert_eq!(connection.close_action(), CloseAction::Close(CloseReason::Busy));
}

#[test]
fn it_waits_for_all_lines_that_are_answered_side_by_side() {
    let mut scene = Scene::new();
    scene.send("a\nlater\nc\n");
    scene.connection.received_eof();
    let parallel = Parallel::new(3, 1000);
    let job = scene.connection.take_job(scene.now).expect("there are lines");
    let mut passed = Duration::ZERO;
    let clock = || {
        passed += Duration::from_millis(1);
        passed
    };
    let answered = job.answer(&scene.total, &scene.config, TurnBudget::new(Duration::from_millis(1), 1000, clock));
    scene.connection.answered(answered, &scene.config, scene.now);
    assert_eq!(scene.write(), "1\n");
    let jobs: Vec<_> = std::iter::from_fn(|| scene.connection.take_part(&parallel, scene.now)).collect();
    assert_eq!(jobs.len(), 2);
    for job in jobs.into_iter().rev() {
        let answered = job.answer(&scene.total, &scene.config, TurnBudget::unlimited());
        scene.connection.answered(answered, &scene.config, scene.now);
    }
    assert!(!scene.connection.wants_answer());
    assert_eq!(scene.write(), "2\n", "what the line that is answered later has said");
    scene.total.promised().line("here");
    assert!(scene.connection.late_answer_arrived(None, &scene.config, scene.now));
    assert_eq!(scene.write(), "here\n2\n", "each has a clone of the session");
    scene.answer();
    assert_eq!(scene.write(), "1 in all\n");
    scene.assert_counts(3, 3, 0, 0);
}
