//! Checks who is told of what was pushed, and when; and the end that is pushed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greeter_core::testing::{ConnectionConfig, ConnectionTimeouts, PushMessage, TestClient, peer};
use greeter_core::{
    BoxError, CloseAction, CloseReason, Connection, Delivery, Later, Line, LineCounts, Origin, Parallel, Peer, Phase,
    PushReceipt, Reply, Responder, TlsInfo, TlsVersion, TurnBudget, WhenLate,
};

const IDLE: Duration = Duration::from_secs(60);
const WRITE: Duration = Duration::from_secs(30);
const LINE: Duration = Duration::from_secs(10);

/// Answers `later` later, starts TLS, and echoes the rest.
#[derive(Default)]
struct Clerk(Mutex<Vec<Later>>);

impl Responder for Clerk {
    type Session = ();

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line("hello");
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match line.as_bytes() {
            b"later" => self.0.lock().expect("nobody panics with it").push(reply.later_with(WhenLate::Wait)),
            b"starttls" => reply.start_tls(),
            _ => {}
        }
        reply.line(line);
        Ok(())
    }

    fn wants_end_of_input(&self) -> bool {
        true
    }

    fn end_of_input(&self, (): &mut (), _: CloseReason, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line("no more");
        Ok(())
    }
}

/// What was told of what was pushed, by numbers.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<(u32, Delivery)>>>);

impl Told {
    fn receipt(&self, number: u32) -> PushReceipt {
        let told = Arc::clone(&self.0);
        PushReceipt::new(move |delivery| told.lock().expect("nobody panics with it").push((number, delivery)))
    }

    /// Returns what was told since the last call.
    fn take(&self) -> Vec<(u32, Delivery)> {
        std::mem::take(&mut self.0.lock().expect("nobody panics with it"))
    }
}

/// A connection whose driver is the test.
struct Scene {
    clerk: Clerk,
    config: ConnectionConfig,
    connection: Connection<()>,
    now: Instant,
    told: Told,
}

impl Scene {
    /// A client that has not been answered yet.
    fn new() -> Self {
        let clerk = Clerk::default();
        let timeouts =
            ConnectionTimeouts { idle: Some(IDLE), line: Some(LINE), write: Some(WRITE), ..ConnectionTimeouts::NONE };
        let config = ConnectionConfig::new(100, timeouts, &clerk);
        let now = Instant::now();
        let mut peer = peer(1, ([127, 0, 0, 1], 1));
        peer.origin = Some(Arc::new(Origin::default().with_start_tls()));
        let connection = Connection::new(peer, &config, now);
        Self { clerk, config, connection, now, told: Told::default() }
    }

    /// A client that has its banner.
    fn connected() -> Self {
        let mut scene = Self::new();
        scene.answer();
        assert_eq!(scene.write(), "hello\n");
        scene
    }

    fn send(&mut self, text: &str) {
        self.connection.received(text.as_bytes(), &self.config, self.now);
    }

    fn answer(&mut self) {
        let job = self.connection.take_job(self.now).expect("there is something to answer");
        let answered = job.answer(&self.clerk, &self.config, TurnBudget::unlimited());
        self.connection.answered(answered, &self.config, self.now);
    }

    fn push(&mut self, number: u32, text: &str) -> bool {
        let message = PushMessage::raw(text);
        self.connection.push_with_receipt(&message, self.told.receipt(number), &self.config, self.now)
    }

    fn write_some(&mut self, bytes: usize) -> String {
        let sent = String::from_utf8_lossy(&self.connection.unsent()[..bytes]).into_owned();
        self.connection.wrote(bytes, self.now);
        sent
    }

    fn write(&mut self) -> String {
        self.write_some(self.connection.unsent().len())
    }

    fn close(&mut self) {
        self.connection.close(&self.config, self.now);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.connection.check_deadline(&self.config, self.now);
    }

    fn assert_counts(&mut self, lines: u32, replies: u32, discarded: u32) {
        assert_eq!(self.connection.take_counts(), LineCounts { lines, replies, discarded, unfinished: 0 });
    }

    #[track_caller]
    fn assert_ends(&mut self) {
        assert_eq!(self.connection.close_action(), CloseAction::ShutdownWrite);
        assert_eq!(self.connection.reason(), Some(CloseReason::ResponderClosed));
    }
}

#[test]
fn each_is_told_of_once_its_last_byte_is_taken_and_not_before() {
    let mut scene = Scene::connected();
    assert!(scene.push(1, "one ") && scene.push(2, "two ") && scene.push(3, "three"));
    assert_eq!(scene.write_some(3), "one");
    assert_eq!(scene.told.take(), []);
    // What is taken is forgotten, and the places move.
    assert_eq!(scene.write_some(4), " two");
    assert_eq!(scene.told.take(), [(1, Delivery::Taken)]);
    scene.connection.write_would_block();
    assert_eq!(scene.write_some(1), " ");
    assert_eq!(scene.told.take(), [(2, Delivery::Taken)]);
    assert_eq!(scene.write_some(4), "thre");
    scene.connection.write_would_block();
    assert_eq!(scene.told.take(), []);
    assert_eq!(scene.write(), "e");
    assert_eq!(scene.told.take(), [(3, Delivery::Taken)]);
    assert_eq!(scene.connection.bytes_held(), 0);
}

/// The last bytes of a record make the others of use.
#[test]
fn what_is_in_part_of_a_record_is_not_taken_before_the_rest_is() {
    let mut scene = Scene::connected();
    assert!(scene.push(1, "one ") && scene.push(2, "two ") && scene.push(3, "three"));
    scene.connection.wrote_in_part(4, 4, scene.now);
    scene.connection.wrote_in_part(6, 10, scene.now);
    assert_eq!(scene.told.take(), []);
    scene.connection.write_would_block();
    scene.connection.wrote_in_part(1, 0, scene.now);
    assert_eq!(scene.told.take(), [(1, Delivery::Taken), (2, Delivery::Taken)]);
    scene.connection.wrote_in_part(1, 1, scene.now);
    assert_eq!(scene.write(), "e");
    assert_eq!(scene.told.take(), [(3, Delivery::Taken)]);
}

#[test]
fn nothing_is_taken_as_soon_as_what_is_before_it_is() {
    let mut scene = Scene::connected();
    assert!(scene.push(1, ""));
    assert_eq!(scene.told.take(), [(1, Delivery::Taken)]);
    assert_eq!(scene.connection.phase(), Phase::Idle);
    assert!(scene.push(2, "a") && scene.push(3, ""));
    assert_eq!(scene.told.take(), []);
    scene.write();
    assert_eq!(scene.told.take(), [(2, Delivery::Taken), (3, Delivery::Taken)]);
}

#[test]
fn what_waits_for_the_banner_a_reply_or_tls_is_told_of_when_it_is_taken() {
    let mut scene = Scene::new();
    assert!(scene.push(1, "early ") && scene.push(2, "bird\n"));
    scene.answer();
    assert_eq!(scene.told.take(), []);
    assert_eq!(scene.write(), "hello\nearly bird\n");
    assert_eq!(scene.told.take(), [(1, Delivery::Taken), (2, Delivery::Taken)]);

    scene.send("a\n");
    let job = scene.connection.take_job(scene.now).expect("there is a line");
    assert!(scene.push(3, "news\n"));
    let answered = job.answer(&scene.clerk, &scene.config, TurnBudget::unlimited());
    scene.connection.answered(answered, &scene.config, scene.now);
    assert_eq!(scene.write_some(2), "a\n");
    assert_eq!(scene.told.take(), []);
    assert_eq!(scene.write(), "news\n");
    assert_eq!(scene.told.take(), [(3, Delivery::Taken)]);

    scene.send("later\n");
    scene.answer();
    scene.write();
    assert!(scene.push(4, "meanwhile\n"));
    assert_eq!(scene.write(), "meanwhile\n");
    assert_eq!(scene.told.take(), [(4, Delivery::Taken)]);
    scene.clerk.0.lock().expect("nobody panics with it").remove(0).raw("");
    assert!(scene.connection.late_answer_arrived(None, &scene.config, scene.now));

    scene.send("starttls\n");
    scene.answer();
    assert!(scene.push(5, "secret\n"));
    assert_eq!(scene.write(), "starttls\n");
    assert_eq!(scene.told.take(), []);
    scene.connection.tls_started(TlsInfo::new(TlsVersion::Tls13), scene.now);
    scene.answer();
    assert_eq!(scene.write(), "secret\n");
    assert_eq!(scene.told.take(), [(5, Delivery::Taken)]);
}

#[test]
fn whatever_ends_the_connection_what_was_not_taken_is_lost() {
    type End = fn(&mut Scene);
    let ends: [(&str, End); 5] = [
        ("reset", |scene| scene.connection.abort(CloseReason::Lost)),
        ("no memory", |scene| scene.connection.close_with(CloseReason::Overloaded, &scene.config, scene.now)),
        ("write timeout", |scene| scene.wait(WRITE)),
        ("forgotten", |scene| {
            let other = Scene::connected();
            drop(std::mem::replace(&mut scene.connection, other.connection));
        }),
        ("a job that times out", |scene| {
            scene.write();
            assert_eq!(scene.told.take(), [(1, Delivery::Taken)]);
            scene.send("a\n");
            drop(scene.connection.take_job(scene.now).expect("there is a line"));
            assert!(scene.push(1, "piece"));
            scene.connection.reply_timed_out(None, &scene.config, scene.now);
        }),
    ];
    for (name, end) in ends {
        let mut scene = Scene::connected();
        assert!(scene.push(1, "piece"));
        end(&mut scene);
        assert_eq!(scene.told.take(), [(1, Delivery::Lost)], "{name}");
    }
    let mut scene = Scene::connected();
    scene.connection.abort(CloseReason::Killed);
    assert!(!scene.push(1, "late"));
    assert_eq!(scene.told.take(), [(1, Delivery::Lost)]);
    let mut scene = Scene::connected();
    scene.send("starttls\n");
    scene.answer();
    assert!(scene.push(1, "secret"));
    scene.connection.stop(0);
    assert_eq!(scene.told.take(), [(1, Delivery::Lost)], "no TLS begins any more");
}

#[test]
fn whoever_takes_what_is_waited_for_is_not_idle() {
    let mut scene = Scene::connected();
    for _ in 0..3 {
        scene.wait(IDLE - WRITE / 2);
        assert!(scene.push(1, "ab"));
        scene.write_some(1);
        scene.wait(WRITE / 4);
        scene.write();
        assert_eq!(scene.connection.deadline(&scene.config), Some(scene.now + IDLE));
    }
    assert_eq!(scene.connection.reason(), None);
    // Other pushes are no sign of life.
    let since = scene.now;
    scene.wait(IDLE / 2);
    assert!(scene.connection.push(&PushMessage::raw("news"), &scene.config, scene.now));
    scene.write();
    assert_eq!(scene.connection.deadline(&scene.config), Some(since + IDLE));
    // And a line that has begun has its own time.
    let began = scene.now;
    scene.send("unfinished");
    scene.wait(LINE / 2);
    assert!(scene.push(1, "ab"));
    scene.write();
    assert_eq!(scene.connection.deadline(&scene.config), Some(began + LINE));
}

#[test]
fn a_call_that_panics_harms_nobody() {
    let mut scene = Scene::connected();
    let receipt = PushReceipt::new(|_| panic!("as told"));
    scene.connection.push_with_receipt(&PushMessage::raw("a"), receipt, &scene.config, scene.now);
    assert!(scene.push(2, "b"));
    scene.write();
    assert_eq!(scene.told.take(), [(2, Delivery::Taken)]);
}

#[test]
fn the_end_comes_behind_what_is_unsent_and_was_pushed_before() {
    let mut scene = Scene::connected();
    scene.close();
    scene.assert_ends();

    let mut scene = Scene::connected();
    scene.send("a\n");
    scene.answer();
    assert!(scene.push(1, "news\n"));
    scene.close();
    assert_eq!(scene.connection.close_action(), CloseAction::None);
    assert_eq!(scene.write(), "a\nnews\n");
    assert_eq!(scene.told.take(), [(1, Delivery::Taken)]);
    scene.assert_ends();
    scene.assert_counts(1, 1, 0);
}

#[test]
fn the_end_comes_behind_what_is_being_answered_and_not_behind_what_is_not() {
    let mut scene = Scene::new();
    scene.close();
    scene.answer();
    assert_eq!(scene.write(), "hello\n");
    scene.assert_ends();

    let mut scene = Scene::connected();
    scene.send("a\nb\nc\n");
    let job = scene.connection.take_job(scene.now).expect("there are lines");
    assert!(scene.push(1, "before\n"));
    scene.close();
    assert!(scene.push(2, "behind\n"), "as behind a reply that closes");
    let mut passed = Duration::ZERO;
    let clock = || {
        passed += Duration::from_millis(1);
        passed
    };
    let budget = TurnBudget::new(Duration::from_millis(1), usize::MAX, clock);
    let answered = job.answer(&scene.clerk, &scene.config, budget);
    scene.connection.answered(answered, &scene.config, scene.now);
    assert_eq!(scene.write(), "a\nbefore\nbehind\n");
    scene.assert_counts(3, 1, 2);
    scene.assert_ends();

    let mut scene = Scene::connected();
    scene.send("a\nb\n");
    scene.close();
    assert!(!scene.connection.wants_answer());
    scene.assert_counts(2, 0, 2);
    scene.assert_ends();
}

#[test]
fn the_end_does_not_wait_for_a_parked_line_but_takes_an_answer_that_is_here() {
    let mut scene = Scene::connected();
    scene.send("later\nb\n");
    scene.answer();
    scene.close();
    let later = scene.clerk.0.lock().expect("nobody panics with it").remove(0);
    assert!(!later.is_wanted());
    assert_eq!(scene.write(), "later\n");
    scene.assert_counts(2, 0, 2);
    scene.assert_ends();

    for is_then in [false, true] {
        let mut scene = Scene::connected();
        scene.send("later\nb\n");
        scene.answer();
        let later = scene.clerk.0.lock().expect("nobody panics with it").remove(0);
        match is_then {
            false => later.raw("here\n"),
            true => later.then(|(): &mut (), reply| {
                reply.line("here");
                Ok(())
            }),
        }
        scene.close();
        let mut written = scene.write();
        if is_then {
            scene.answer();
            written += &scene.write();
        }
        assert_eq!(written, "later\nhere\n");
        scene.assert_counts(2, 1, 1);
        scene.assert_ends();
    }
}

#[test]
fn the_end_comes_behind_the_lines_that_are_answered_side_by_side() {
    for with_later in [false, true] {
        let mut scene = Scene::connected();
        scene.send(if with_later { "a\nb\nlater\nc\nd\n" } else { "a\nb\nc\nd\ne\n" });
        let job = scene.connection.take_job(scene.now).expect("there are lines");
        let mut passed = Duration::ZERO;
        let clock = || {
            passed += Duration::from_millis(1);
            passed
        };
        let answered = job.answer(&scene.clerk, &scene.config, TurnBudget::new(Duration::from_millis(1), 1000, clock));
        scene.connection.answered(answered, &scene.config, scene.now);
        assert_eq!(scene.write(), "a\n");
        let parallel = Parallel::new(3, 1000);
        let jobs: Vec<_> = std::iter::from_fn(|| scene.connection.take_part(&parallel, scene.now)).collect();
        assert_eq!(jobs.len(), 3);
        scene.close();
        assert!(scene.connection.take_part(&parallel, scene.now).is_none());
        for job in jobs.into_iter().rev() {
            assert_eq!(scene.connection.unsent(), b"");
            let answered = job.answer(&scene.clerk, &scene.config, TurnBudget::unlimited());
            scene.connection.answered(answered, &scene.config, scene.now);
        }
        if with_later {
            assert_eq!(scene.write(), "b\nlater\n");
            scene.assert_counts(5, 2, 3);
        } else {
            assert_eq!(scene.write(), "b\nc\nd\n");
            scene.assert_counts(5, 4, 1);
        }
        scene.assert_ends();
    }
}

#[test]
fn an_end_that_is_pushed_is_told_to_nobody_as_the_end_of_the_input() {
    let clerk = Clerk::default();
    let mut client = TestClient::connect(&clerk);
    client.send("a\n").shutdown_write().expect("hello\na\nno more\n");
    let mut client = TestClient::connect(&clerk);
    client.send("later\n").shutdown_write().close().expect("hello\nlater\n");
    client.expect_end(CloseReason::ResponderClosed);
    let mut scene = Scene::new();
    scene.connection.received_eof();
    scene.close();
    scene.answer();
    assert_eq!(scene.write(), "hello\n");
    assert_eq!(scene.connection.close_action(), CloseAction::Close(CloseReason::ResponderClosed));
    // A connection that ends already has its reason.
    let mut client = TestClient::connect(&clerk);
    client.reset().close().expect("hello\n").expect_end(CloseReason::Lost);
}

#[test]
fn the_end_of_who_is_to_begin_tls_comes_in_plain() {
    let mut scene = Scene::connected();
    scene.send("starttls\n");
    scene.answer();
    assert!(scene.push(1, "secret"));
    scene.close();
    assert_eq!(scene.write(), "starttls\n");
    assert_eq!(scene.told.take(), [(1, Delivery::Lost)]);
    scene.assert_ends();
}

/// Whoever counts lines by the reason why they were discarded has one, from the first on.
#[test]
fn lines_that_are_discarded_before_the_banner_have_a_reason() {
    let mut scene = Scene::new();
    scene.send("a\nb\n");
    scene.close();
    assert_eq!(scene.connection.reason(), Some(CloseReason::ResponderClosed));
    scene.assert_counts(2, 0, 2);
}
