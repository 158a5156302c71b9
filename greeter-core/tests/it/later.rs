//! Checks answers that come later: each is given once, whoever is first decides, and the account
//! balances.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greeter_core::testing::{
    ConnectionConfig, ConnectionTimeouts, PushMessage, TestClient, check_every_fragmentation, peer,
};
use greeter_core::{
    BoxError, CloseAction, CloseReason, Connection, Later, Line, LineCounts, LineEnding, Peer, Phase, Rejection, Reply,
    Responder, ResponderError, TurnBudget, WhenLate,
};

/// Answers `later` later, and all else at once.
#[derive(Default)]
struct Clerk {
    promised: Mutex<Vec<Later>>,
    /// How many sessions have ended.
    ended: AtomicU32,
}

impl Clerk {
    /// Returns the oldest promise that was not kept yet.
    fn promised(&self) -> Later {
        self.promised.lock().expect("nobody panics with it").remove(0)
    }

    fn promise(&self, reply: &mut Reply<'_>) {
        self.promise_with(WhenLate::default(), reply);
    }

    fn promise_with(&self, when_late: WhenLate, reply: &mut Reply<'_>) {
        self.promised.lock().expect("nobody panics with it").push(reply.later_with(when_late));
    }
}

impl Responder for Clerk {
    /// How many lines were seen.
    type Session = u32;

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<u32, BoxError> {
        Ok(0)
    }

    fn respond(&self, seen: &mut u32, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        *seen += 1;
        match line.as_bytes() {
            b"later" => self.promise(reply),
            b"refusable" => self.promise_with(WhenLate::Reject, reply),
            b"refusable and last" => {
                self.promise_with(WhenLate::Reject, reply);
                reply.close();
            }
            b"patient" => self.promise_with(WhenLate::Wait, reply),
            b"now" => reply.later().line("at once"),
            b"wait" => {
                reply.line("please wait");
                self.promise(reply);
            }
            b"last" => {
                self.promise(reply);
                reply.close();
            }
            b"now and last" => {
                reply.later().line("bye at once");
                reply.close();
            }
            b"crlf" => {
                reply.end_lines_with(LineEnding::CrLf);
                self.promise(reply);
            }
            b"fail" => {
                self.promise(reply);
                return Err("as told".into());
            }
            b"panic" => {
                self.promise(reply);
                panic!("as told");
            }
            b"twice" => {
                self.promise(reply);
                self.promise(reply);
            }
            b"both" => {
                self.promise(reply);
                reply.read_bytes(2)?;
            }
            b"store" => reply.read_bytes(2)?,
            _ => reply.line(line),
        }
        Ok(())
    }

    fn bytes(&self, _: &mut u32, bytes: &[u8], reply: &mut Reply<'_>) -> Result<(), BoxError> {
        if bytes.len() > 2 {
            reply.line(bytes.len());
            return Ok(());
        }
        self.promise(reply);
        Ok(())
    }

    fn max_data_bytes(&self) -> usize {
        50_000
    }

    fn reject(&self, _: Option<&mut u32>, rejection: Rejection, reply: &mut Reply<'_>) {
        reply.line(format_args!("error: {rejection}"));
    }

    fn disconnect(&self, _: u32, _: CloseReason) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_lines_behind_wait_for_the_answer() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("a\nlater\r\nb\n").expect("a\n");
    let later = clerk.promised();
    assert!(later.is_wanted());
    later.line("here it is");
    client.expect("here it is\r\nb\n").send("c\n").expect("c\n");
}

#[test]
fn an_answer_that_is_there_when_the_call_returns_is_a_reply_like_any_other() {
    check_every_fragmentation(Clerk::default, "a\nnow\r\nnow\nb\n", "a\nat once\r\nat once\nb\n");
}

#[test]
fn a_later_answer_ends_as_the_reply_would_have() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("crlf\ncrlf\nlater\r\n");
    clerk.promised().line("one");
    client.expect("one\r\n");
    clerk.promised().then(|_: &mut u32, reply| {
        reply.line("two");
        Ok(())
    });
    client.expect("two\r\n");
    clerk.promised().reject(Rejection::custom("three"));
    client.expect("error: three\r\n");
}

#[test]
fn a_later_answer_may_be_several_lines_or_none_and_all_of_them_or_an_error() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("later\r\nlater\nlater\nb\n");
    clerk.promised().lines(["one", "", "three"]);
    client.expect("one\r\n\r\nthree\r\n");
    clerk.promised().lines([""; 0]);
    client.expect("");
    clerk.promised().lines(["one", "two\nlines"]);
    client.expect("error: internal error\nb\n");
}

#[test]
fn what_was_said_in_the_call_leaves_at_once() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("wait\n").expect("please wait\n");
    clerk.promised().raw("thank\nyou\n");
    client.expect("thank\nyou\n");
}

#[test]
fn an_answer_may_be_a_rejection_nothing_or_made_with_the_session() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("later\nlater\nlater\nlater\nlater\n");
    clerk.promised().reject(Rejection::custom("not today"));
    client.expect("error: not today\n");
    clerk.promised().raw("");
    client.expect("");
    clerk.promised().then(|seen: &mut u32, reply| {
        *seen += 100;
        reply.line(format_args!("{seen} seen"));
        Ok(())
    });
    client.expect("103 seen\n");
    clerk.promised().then(|_: &mut u32, _| Err("as told".into()));
    client.expect("error: internal error\n");
    clerk.promised().then(|_: &mut u32, reply| {
        reply.line("bye");
        reply.close();
        Ok(())
    });
    client.expect("bye\n").expect_end(CloseReason::ResponderClosed);
}

#[test]
fn a_later_answer_may_come_later_again() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("later\nb\n");
    let (sender, receiver) = std::sync::mpsc::channel();
    clerk.promised().then(move |_: &mut u32, reply| {
        reply.line("soon");
        Ok(sender.send(reply.later())?)
    });
    client.expect("soon\n");
    receiver.recv().expect("it was asked").line("done");
    client.expect("done\nb\n");
}

#[test]
fn what_goes_wrong_with_a_later_answer_is_an_internal_error() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    let internal = "error: internal error\n";
    let mut check = |wrong: &dyn Fn(Later), what: &str| {
        client.send("later\n").expect("");
        wrong(clerk.promised());
        client.expect(internal);
        let error = client.take_errors().first.expect("there was one").to_string();
        assert!(error.contains(what), "{error}");
    };
    check(&drop, "dropped a `Later` without an answer");
    check(&|later| later.line("two\nlines"), "line feed");
    check(&|later| later.fail("the store is gone"), "the store is gone");
    check(&|later| later.then(|_: &mut String, _| Ok(())), "a session of another type");
    check(&|later| later.then(|_: &mut u32, _| panic!("as told")), "as told");
    check(
        &|later| {
            let thread = std::thread::spawn(move || {
                let _later = later;
                panic!("on another thread");
            });
            thread.join().expect_err("it panics");
        },
        "dropped a `Later` without an answer",
    );
}

#[test]
fn a_failure_that_is_a_rejection_is_one() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("later\n");
    clerk.promised().fail(Rejection::custom("not today"));
    client.expect("error: not today\n");
    assert_eq!(client.take_errors().count, 0);
}

#[test]
fn an_answer_to_a_call_that_fails_goes_nowhere() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    for verb in ["fail", "panic", "twice", "both"] {
        let skipped = if verb == "both" { "xx" } else { "" };
        client.send(format!("{verb}\n{skipped}b\n")).expect("error: internal error\nb\n");
        let later = clerk.promised();
        assert!(!later.is_wanted(), "{verb}");
        later.line("too late");
        clerk.promised.lock().expect("nobody panics with it").clear();
        client.send("c\n").expect("c\n");
        assert_eq!(client.take_errors().count, 1);
    }
}

#[test]
fn counted_bytes_may_be_answered_later() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("store\nx\nb\n").expect("");
    clerk.promised().line("stored");
    client.expect("stored\nb\n");
}

/// The line is parked when its data is here, and only the answer says how much that is.
#[test]
fn a_later_answer_may_ask_for_the_bytes_that_came_with_its_line() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send([&b"later\n"[..], &[b'x'; 50_000], b"b\n"].concat()).expect("");
    clerk.promised().then(|_: &mut u32, reply| Ok(reply.read_bytes(50_000)?));
    client.expect("50000\nb\n");
    // What is no data is an unfinished line like any other.
    client.send([&b"later\n"[..], &[b'x'; 50_000]].concat()).expect("");
    clerk.promised().line("here");
    client.expect("here\n").send("\nb\n").expect("error: line longer than 8192 bytes\n");
}

/// The answer would have asked for bytes, but nobody has had time for it.
#[test]
fn behind_an_answer_that_nobody_has_time_for_nothing_is_taken_for_lines() {
    let mut scene = Scene::new("later\nevil\n");
    scene.clerk.promised().then(|_: &mut u32, reply| Ok(reply.read_bytes(5)?));
    assert!(scene.connection.late_answer_arrived(None, &scene.config, scene.now));
    let job = scene.connection.take_job(scene.now).expect("the answer is for a thread that answers");
    let rejected = job.reject_all(&scene.clerk, &scene.config, TurnBudget::unlimited());
    scene.connection.answered(rejected, &scene.config, scene.now);
    assert_eq!(scene.write(), b"error: busy\n");
    scene.assert_counts(2, 1, 1);
    assert_eq!(scene.connection.reason(), Some(CloseReason::LineRejected));
}

#[test]
fn an_answer_that_takes_no_time_is_said_by_whoever_rejects() {
    type Answer = fn(Later);
    let answers: [(Answer, &str); 2] = [
        (|later| later.reject(Rejection::custom("no")), "error: no\n"),
        (|later| drop(later), "error: internal error\n"),
    ];
    for (answer, expected) in answers {
        let mut scene = Scene::new("later\n");
        answer(scene.clerk.promised());
        assert!(scene.connection.late_answer_arrived(None, &scene.config, scene.now));
        let job = scene.connection.take_job(scene.now).expect("the answer is for a thread that answers");
        let rejected = job.reject_all(&scene.clerk, &scene.config, TurnBudget::unlimited());
        scene.connection.answered(rejected, &scene.config, scene.now);
        assert_eq!(String::from_utf8_lossy(&scene.write()), expected);
        scene.assert_counts(1, 1, 0);
    }
}

#[test]
fn the_connection_closes_behind_the_later_answer() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("last\nb\n").expect("");
    clerk.promised().line("bye");
    client.expect("bye\n").expect_end(CloseReason::ResponderClosed);
    let mut client = TestClient::connect(&clerk);
    client.send("now and last\nb\n").expect("bye at once\n").expect_end(CloseReason::ResponderClosed);
    let mut client = TestClient::connect(&clerk);
    client.send("last\nb\n").expect("");
    clerk.promised().reject(Rejection::custom("no"));
    client.expect("error: no\n").expect_end(CloseReason::ResponderClosed);
}

#[test]
fn whoever_has_stopped_sending_and_whoever_is_drained_gets_the_answer() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("later\nb\n").shutdown_write();
    clerk.promised().line("here");
    client.expect("here\nb\n").expect_end(CloseReason::ClientClosed);
    let mut client = TestClient::connect(&clerk);
    client.send("later\nb\n").shutdown();
    clerk.promised().line("here");
    client.expect("here\nb\n").expect_end(CloseReason::Shutdown);
    assert_eq!(clerk.ended.load(Ordering::Relaxed), 2);
}

#[test]
fn the_reply_timeout_ends_the_wait() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("later\nb\n").wait(Duration::from_millis(29_999)).expect("");
    client.push(&PushMessage::line("news").expect("it has no LF")).expect("news\n");
    let later = clerk.promised();
    assert!(later.is_wanted());
    client.wait(Duration::from_millis(1)).expect("error: timed out\n");
    assert!(!later.is_wanted());
    later.line("too late");
    client.expect("").expect_end(CloseReason::ReplyTimeout);
    assert_eq!(clerk.ended.load(Ordering::Relaxed), 1);
}

#[test]
fn a_line_that_is_late_may_be_rejected_and_its_client_goes_on() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("refusable\nb\nrefusable\nrefusable and last\n").wait(Duration::from_millis(29_999)).expect("");
    let later = clerk.promised();
    assert!(later.is_wanted());
    client.wait(Duration::from_millis(1)).expect("error: timed out\nb\n");
    assert!(!later.is_wanted());
    later.line("too late");
    clerk.promised().line("in time");
    client.expect("in time\n").wait(Duration::from_secs(30)).expect("error: timed out\n");
    client.expect_end(CloseReason::ResponderClosed);
    assert_eq!(clerk.ended.load(Ordering::Relaxed), 1);
}

/// Pushes are no sign of life, and what is said after a while is not late.
#[test]
fn a_line_may_be_waited_for_until_its_client_counts_as_idle() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("patient\nb\n").wait(Duration::from_secs(299)).expect("");
    clerk.promised().line("at last");
    client.expect("at last\nb\n").send("patient\n").wait(Duration::from_secs(299)).expect("");
    client.push(&PushMessage::line("news").expect("it has no LF")).expect("news\n");
    let later = clerk.promised();
    client.wait(Duration::from_secs(1)).expect("error: idle for 300s\n");
    assert!(!later.is_wanted());
    client.expect_end(CloseReason::IdleTimeout);
}

#[test]
fn a_broken_connection_wants_no_answer() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("later\n").reset();
    let later = clerk.promised();
    assert!(!later.is_wanted());
    later.then(|_: &mut u32, _| panic!("nobody calls it"));
    client.expect_end(CloseReason::Lost);
}

#[test]
fn pushes_do_not_wait_for_the_answer() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("later\n").push(&PushMessage::line("news").expect("it has no LF")).expect("news\n");
    clerk.promised().line("here");
    client.expect("here\n");
}

fn config() -> ConnectionConfig {
    ConnectionConfig::new(100, ConnectionTimeouts::NONE, &Clerk::default())
}

/// A connection whose driver is the test.
struct Scene {
    clerk: Clerk,
    config: ConnectionConfig,
    connection: Connection<u32>,
    now: Instant,
}

impl Scene {
    fn new(sent: &str) -> Self {
        let (config, now) = (config(), Instant::now());
        let mut connection = Connection::new(peer(1, ([127, 0, 0, 1], 1)), &config, now);
        connection.received(sent.as_bytes(), &config, now);
        let mut scene = Self { clerk: Clerk::default(), config, connection, now };
        scene.answer();
        scene
    }

    fn answer(&mut self) {
        if let Some(job) = self.connection.take_job(self.now) {
            let answered = job.answer(&self.clerk, &self.config, TurnBudget::unlimited());
            self.connection.answered(answered, &self.config, self.now);
        }
    }

    fn write(&mut self) -> Vec<u8> {
        let sent = self.connection.unsent().to_vec();
        self.connection.wrote(sent.len(), self.now);
        sent
    }

    fn assert_counts(&mut self, lines: u32, replies: u32, discarded: u32) {
        assert_eq!(self.connection.take_counts(), LineCounts { lines, replies, discarded, unfinished: 0 });
    }
}

#[test]
fn a_parked_line_is_waited_for_and_nothing_else_is_done() {
    let mut scene = Scene::new("later\nb\n");
    assert_eq!(scene.connection.phase(), Phase::Parked);
    assert!(!scene.connection.wants_input() && !scene.connection.wants_answer());
    assert_eq!(scene.connection.lines_waiting(), 2);
    scene.connection.stop(0);
    assert_eq!(scene.connection.close_action(), CloseAction::None);
    scene.assert_counts(0, 0, 0);
    scene.clerk.promised().line("here");
    assert!(scene.connection.late_answer_arrived(None, &scene.config, scene.now));
    scene.assert_counts(1, 0, 0);
    assert_eq!(scene.write(), b"here\n");
    scene.assert_counts(0, 1, 0);
    scene.answer();
    assert_eq!(scene.write(), b"b\n");
    scene.assert_counts(1, 1, 0);
    assert_eq!(scene.connection.close_action(), CloseAction::ShutdownWrite);
}

/// It is queued since the client took what was pushed, and no longer.
#[test]
fn a_line_that_is_late_behind_an_unsent_push_is_rejected_behind_it() {
    let mut scene = Scene::new("refusable\n");
    let reply = Duration::from_secs(6);
    let timeouts = ConnectionTimeouts { reply: Some(reply), ..ConnectionTimeouts::NONE };
    let config = ConnectionConfig::new(100, timeouts, &scene.clerk);
    let message = PushMessage::line("news").expect("it has no LF");
    assert!(scene.connection.push(&message, &config, scene.now));
    scene.connection.check_deadline(&config, scene.now + reply);
    let taken = scene.now + reply * 2;
    scene.connection.wrote("news\n".len(), taken);
    assert_eq!((scene.connection.phase(), scene.connection.since()), (Phase::Queued, taken));
}

#[test]
fn whoever_answers_knows_when_the_line_is_waited_for_and_when_its_answer_was_taken() {
    let told = Arc::new(AtomicU32::new(0));
    let then = || {
        let told = Arc::clone(&told);
        move || {
            told.fetch_add(1, Ordering::Relaxed);
        }
    };
    for (ends, said) in [(false, b"one\ntwo\n".as_slice()), (true, b"")] {
        told.store(0, Ordering::Relaxed);
        let mut scene = Scene::new("later\n");
        let later = scene.clerk.promised();
        assert!(!later.is_awaited());
        scene.connection.watch_late_answers(|_| Box::new(|| {}));
        assert!(later.is_awaited());
        if ends {
            scene.connection.abort(CloseReason::Lost);
            assert!(!later.is_awaited());
        }
        later.lines_then(["one", "two"], then());
        assert_eq!(told.load(Ordering::Relaxed), u32::from(ends));
        assert_eq!(scene.connection.late_answer_arrived(None, &scene.config, scene.now), !ends);
        assert_eq!(told.load(Ordering::Relaxed), 1);
        assert_eq!(scene.write(), said);
    }
    // An answer that is no lines is told of as well, and a panic ends nothing.
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("later\nlater\n");
    clerk.promised().lines_then(["two\nlines"], then());
    client.expect("error: internal error\n");
    assert_eq!(told.load(Ordering::Relaxed), 2);
    clerk.promised().lines_then(["one"], || panic!("as told"));
    client.expect("one\n").send("b\n").expect("b\n");
}

#[test]
fn the_driver_is_told_once_and_of_an_answer_that_is_too_late_too() {
    for is_late in [false, true] {
        let mut scene = Scene::new("later\n");
        let (sender, told) = std::sync::mpsc::channel();
        let call = |_| -> Box<dyn FnOnce() + Send> {
            let sender = sender.clone();
            Box::new(move || sender.send(()).expect("the test waits"))
        };
        scene.connection.watch_late_answers(call);
        scene.connection.watch_late_answers(|_| panic!("a call was left"));
        assert!(told.try_recv().is_err());
        if is_late {
            scene.connection.abort(CloseReason::Killed);
            scene.assert_counts(1, 0, 1);
        }
        scene.clerk.promised().line("here");
        told.try_recv().expect("the answer was given");
        assert_eq!(scene.connection.late_answer_arrived(None, &scene.config, scene.now), !is_late);
    }
    let mut scene = Scene::new("later\n");
    scene.clerk.promised().line("here");
    assert_eq!(scene.connection.late_answer_len(None), 5);
    let (sender, told) = std::sync::mpsc::channel();
    scene.connection.watch_late_answers(|_| {
        let sender = sender.clone();
        Box::new(move || sender.send(()).expect("the test waits"))
    });
    told.try_recv().expect("the answer is here");
}

#[test]
fn each_end_counts_a_parked_line_once() {
    type End = fn(&mut Scene);
    let ends: [(End, u32); 3] = [
        (|scene| scene.connection.abort(CloseReason::Lost), 2),
        (|scene| scene.connection.close_with(CloseReason::Overloaded, &scene.config, scene.now), 2),
        (
            |scene| {
                scene.clerk.promised().then(|_: &mut u32, _| Ok(()));
                assert!(scene.connection.late_answer_arrived(None, &scene.config, scene.now));
                let job = scene.connection.take_job(scene.now).expect("the answer is for a thread that answers");
                assert_eq!(job.lines(), 2);
                scene.connection.reply_timed_out(None, &scene.config, scene.now);
                drop(job);
            },
            2,
        ),
    ];
    for (end, lines) in ends {
        let mut scene = Scene::new("later\nb\n");
        end(&mut scene);
        scene.assert_counts(lines, 0, lines);
    }
}

#[test]
fn an_answer_that_nobody_has_time_for_is_rejected_with_its_line() {
    struct Dropped(std::sync::Arc<AtomicU32>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("as told");
        }
    }

    let drops = std::sync::Arc::new(AtomicU32::new(0));
    let mut scene = Scene::new("later\n");
    let dropped = Dropped(std::sync::Arc::clone(&drops));
    scene.clerk.promised().then(move |_: &mut u32, _| {
        drop(dropped);
        Ok(())
    });
    assert!(scene.connection.late_answer_arrived(None, &scene.config, scene.now));
    let job = scene.connection.take_job(scene.now).expect("the answer is for a thread that answers");
    let rejected = job.reject_all(&scene.clerk, &scene.config, TurnBudget::unlimited());
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    scene.connection.answered(rejected, &scene.config, scene.now);
    assert_eq!(scene.write(), b"error: busy\n");
    scene.assert_counts(1, 1, 0);
}

/// What the responder left behind is dropped where the responder is called.
#[test]
fn an_answer_that_has_come_too_early_to_be_wanted_goes_with_the_session() {
    let mut scene = Scene::new("later\n");
    let kept = std::sync::Arc::new(());
    let held = std::sync::Arc::clone(&kept);
    scene.clerk.promised().then(move |_: &mut u32, _| {
        drop(held);
        Ok(())
    });
    scene.connection.abort(CloseReason::Lost);
    scene.assert_counts(1, 0, 1);
    let disconnect = scene.connection.into_disconnect().expect("the responder knows the client");
    assert_eq!(std::sync::Arc::strong_count(&kept), 2);
    disconnect.notify(&scene.clerk).expect("it does not panic");
    assert_eq!(std::sync::Arc::strong_count(&kept), 1);
}

/// Promises what it cannot keep.
struct Eager;

impl Responder for Eager {
    type Session = ();

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.later().line("welcome");
        Ok(())
    }

    fn respond(&self, (): &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn where_there_is_no_line_nothing_is_answered_later() {
    let mut client = TestClient::connect(&Eager);
    client.expect("error: internal error\n");
    assert_eq!(client.take_errors().first, Some(ResponderError::Misuse("answers later where there is no line")));
}
