//! Checks lines that are answered side by side: whatever the order in which they are answered, the
//! client receives the replies in the order of the lines, and the account balances.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use greeter_core::testing::{ConnectionConfig, ConnectionTimeouts, PushMessage, peer};
use greeter_core::{
    AnsweredJob, BoxError, BudgetClock, ClientJob, CloseAction, CloseReason, Connection, Later, Line, LineCounts,
    Parallel, PartNumber, Peer, Phase, Reply, Responder, TurnBudget, WhenLate,
};
use proptest::prelude::*;

const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_REPLY_BYTES: usize = 6000;

/// Answers each line with itself, and some with more, less, or later.
#[derive(Default)]
struct Clerk {
    promised: Mutex<Vec<(String, Later)>>,
    /// What is never answered.
    broken: Mutex<Vec<Later>>,
    /// What becomes of a line that is answered later, if that is too late.
    when_late: WhenLate,
    ended: AtomicU32,
}

impl Clerk {
    fn promise(&self, line: &str, reply: &mut Reply<'_>) {
        self.promised.lock().expect("nobody panics with it").push((line.to_owned(), reply.later_with(self.when_late)));
    }

    fn never_answer(&self, reply: &mut Reply<'_>) {
        self.broken.lock().expect("nobody panics with it").push(reply.later_with(WhenLate::Reject));
    }

    /// Returns whether a line waits for what is never answered.
    fn is_waited_for(&self) -> bool {
        self.broken.lock().expect("nobody panics with it").iter().any(Later::is_wanted)
    }

    /// Gives one of the answers that are to come, if any is.
    fn keep(&self, which: usize) -> bool {
        let mut promised = self.promised.lock().expect("nobody panics with it");
        if promised.is_empty() {
            return false;
        }
        let which = which % promised.len();
        let (line, later) = promised.swap_remove(which);
        drop(promised);
        if line == "telnet-later" {
            later.raw([255, b'\n']);
        } else if line.starts_with("then") {
            later.then(move |(): &mut (), reply| {
                reply.line(format_args!("then {line}"));
                Ok(())
            });
        } else {
            later.line(format_args!("late {line}"));
        }
        true
    }
}

impl Responder for Clerk {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let text = line.to_str()?;
        match text.split(' ').next().unwrap_or_default() {
            "later" | "then" => self.promise(text, reply),
            "soon" => {
                reply.line(format_args!("soon {text}"));
                self.promise(&text.replace("soon", "then"), reply);
            }
            "wait" => {
                reply.line(format_args!("please {text}"));
                self.promise(text, reply);
            }
            "never" => self.never_answer(reply),
            "vain" => {
                reply.line("perhaps");
                self.never_answer(reply);
            }
            "silent" => {}
            "big" => reply.line("x".repeat(5000)),
            "fail" => return Err("as told".into()),
            "quit" => {
                reply.line(format_args!("bye {text}"));
                reply.close();
            }
            "telnet" => reply.raw([b'a', 255, b'\n']),
            "telnet-now" => reply.later().raw([b'b', 255, b'\n']),
            "telnet-later" => {
                reply.raw([b'c', 255]);
                self.promise(text, reply);
            }
            _ => reply.line(text),
        }
        Ok(())
    }

    fn disconnect(&self, (): (), _: CloseReason) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection whose driver is the test.
struct Scene {
    clerk: Clerk,
    config: ConnectionConfig,
    parallel: Parallel<()>,
    connection: Connection<()>,
    in_flight: Vec<ClientJob<()>>,
    /// Where the connection is told of late answers.
    told: (Sender<PartNumber>, Receiver<PartNumber>),
    now: Instant,
    written: Vec<u8>,
    counts: LineCounts,
}

impl Scene {
    fn with(config: ConnectionConfig, max_lines: usize, sent: &str) -> Self {
        Self::of(Clerk::default(), config, max_lines, sent)
    }

    fn of(clerk: Clerk, config: ConnectionConfig, max_lines: usize, sent: &str) -> Self {
        let now = Instant::now();
        let connection = Connection::new(peer(1, ([127, 0, 0, 1], 1)), &config, now);
        let parallel = Parallel::new(max_lines, MAX_REPLY_BYTES);
        let (in_flight, written) = (Vec::new(), Vec::new());
        let (told, counts) = (channel(), counts(0, 0, 0));
        let mut scene = Self { clerk, config, parallel, connection, in_flight, told, now, written, counts };
        scene.take();
        scene.answer(0);
        scene.connection.received(sent.as_bytes(), &scene.config, now);
        scene
    }

    /// A client that has sent a dear line and then these, which are to be answered.
    fn new(max_lines: usize, sent: &str) -> Self {
        let timeouts = ConnectionTimeouts { reply: Some(REPLY_TIMEOUT), ..ConnectionTimeouts::NONE };
        let config = ConnectionConfig::new(100, timeouts, &Clerk::default());
        let mut scene = Self::with(config, max_lines, &format!("first\n{sent}"));
        scene.take();
        scene.answer(0);
        assert_eq!(scene.write(), "first\n");
        scene
    }

    /// Takes what there is to answer, and returns whether there was something. What is parked is
    /// watched from now on.
    fn take(&mut self) -> bool {
        self.connection.watch_late_answers(|line| {
            let told = self.told.0.clone();
            Box::new(move || told.send(line).expect("the scene is there"))
        });
        let part = self.connection.take_part(&self.parallel, self.now);
        let job = part.or_else(|| self.connection.take_job(self.now));
        let is_some = job.is_some();
        self.in_flight.extend(job);
        is_some
    }

    fn take_all(&mut self) {
        while self.take() {}
    }

    /// Has one of the jobs in flight answered, each line of which takes so long.
    fn answered_in(&mut self, which: usize, line: Duration) -> AnsweredJob<()> {
        let mut elapsed = Duration::ZERO;
        let clock = || {
            elapsed += line;
            elapsed
        };
        let budget = TurnBudget::new(Duration::from_millis(1), usize::MAX, clock);
        self.in_flight.remove(which).answer(&self.clerk, &self.config, budget)
    }

    /// Has one of the jobs in flight answered, which takes a millisecond, and takes it back.
    fn answer(&mut self, which: usize) {
        let answered = self.answered_in(which, Duration::from_millis(1));
        self.connection.answered(answered, &self.config, self.now);
    }

    fn write(&mut self) -> String {
        let sent = self.connection.unsent().to_vec();
        self.connection.wrote(sent.len(), self.now);
        self.written.extend_from_slice(&sent);
        String::from_utf8_lossy(&sent).into_owned()
    }

    /// Lets time pass.
    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.connection.check_deadline(&self.config, self.now);
    }

    /// Tells the connection of a late answer that it is to be told of, and returns whether there
    /// was one that it waited for.
    fn arrived(&mut self) -> bool {
        let line = self.told.1.try_recv();
        line.is_ok_and(|line| self.connection.late_answer_arrived(Some(line), &self.config, self.now))
    }

    fn counts(&mut self) -> LineCounts {
        let LineCounts { lines, replies, discarded, unfinished } = self.connection.take_counts();
        self.counts.lines += lines;
        self.counts.replies += replies;
        self.counts.discarded += discarded;
        self.counts.unfinished += unfinished;
        self.counts
    }
}

const fn counts(lines: u32, replies: u32, discarded: u32) -> LineCounts {
    LineCounts { lines, replies, discarded, unfinished: 0 }
}

#[test]
fn replies_leave_in_the_order_of_the_lines() {
    let mut scene = Scene::new(3, "a\nb\nc\nd\n");
    scene.take_all();
    assert_eq!(scene.in_flight.len(), 3, "no more than were allowed");
    assert_eq!(scene.connection.phase(), Phase::Answering);
    assert!(!scene.connection.wants_input());
    scene.answer(1);
    scene.answer(1);
    assert_eq!(scene.write(), "", "the first is still to come");
    assert!(!scene.take(), "three lines are not sent yet");
    scene.answer(0);
    assert_eq!(scene.connection.phase(), Phase::Writing);
    assert!(!scene.take(), "nothing is answered while replies are unsent");
    assert_eq!(scene.write(), "a\nb\nc\n");
    scene.take_all();
    scene.answer(0);
    assert_eq!(scene.write(), "d\n");
    assert_eq!((scene.connection.phase(), scene.counts()), (Phase::Idle, counts(5, 5, 0)));
    assert!(scene.connection.wants_input());
    assert_eq!(scene.connection.bytes_held(), 0);
}

#[test]
fn replies_that_wait_for_others_are_in_memory() {
    let mut scene = Scene::new(3, "a\nbig\nc\n");
    scene.take_all();
    scene.answer(1);
    assert!((5000..12_000).contains(&scene.connection.bytes_held()));
    scene.answer(0);
    assert_eq!(scene.write().len(), 5003);
    scene.answer(0);
    scene.write();
    assert_eq!(scene.connection.bytes_held(), 0);
}

#[test]
fn no_line_is_given_out_while_too_much_waits_for_the_first() {
    let mut scene = Scene::new(8, "a\nbig\nbig\nc\nd\n");
    (0..4).for_each(|_| assert!(scene.take()));
    scene.answer(1);
    assert!(scene.take(), "5000 bytes wait");
    assert!(!scene.take(), "there are no more");
    let mut scene = Scene::new(8, "a\nbig\nbig\nc\nd\n");
    (0..3).for_each(|_| assert!(scene.take()));
    scene.answer(2);
    scene.answer(1);
    assert!(!scene.take(), "10,000 bytes wait");
    scene.answer(0);
    assert_eq!(scene.write().len(), 10_004);
    scene.take_all();
    assert_eq!(scene.in_flight.len(), 2);
}

/// A turn that takes so long is ended by a tick, before its clock is read.
#[test]
fn lines_that_last_for_a_tick_are_dear() {
    struct Ticked;

    impl BudgetClock for Ticked {
        fn elapsed(&mut self) -> Duration {
            Duration::from_millis(11)
        }

        fn has_ticked(&self) -> bool {
            true
        }
    }

    let config = ConnectionConfig::new(100, ConnectionTimeouts::NONE, &Clerk::default());
    let mut scene = Scene::with(config, 3, "a\nb\nc\n");
    scene.take_all();
    let budget = TurnBudget::new(Duration::from_millis(1), usize::MAX, Ticked);
    let answered = scene.in_flight.remove(0).answer(&scene.clerk, &scene.config, budget);
    scene.connection.answered(answered, &scene.config, scene.now);
    assert_eq!(scene.write(), "a\n");
    scene.take_all();
    assert_eq!(scene.in_flight.len(), 2);
}

#[test]
fn cheap_lines_are_answered_as_one_job() {
    let mut scene = Scene::new(3, "a\nb\nc\nd\ne\nf\n");
    scene.take_all();
    let answered = scene.answered_in(0, Duration::from_micros(1));
    scene.connection.answered(answered, &scene.config, scene.now);
    assert_eq!(scene.write(), "a\n");
    assert!(!scene.take(), "the lines are cheap now, and the rest waits for those in flight");
    for reply in ["b\n", "c\n"] {
        let answered = scene.answered_in(0, Duration::from_micros(1));
        scene.connection.answered(answered, &scene.config, scene.now);
        assert_eq!(scene.write(), reply);
    }
    scene.take_all();
    assert_eq!(scene.in_flight.len(), 1);
    assert_eq!((scene.in_flight[0].part(), scene.in_flight[0].lines()), (None, 3));
}

#[test]
fn one_line_alone_is_no_part() {
    let mut scene = Scene::new(8, "a\n");
    scene.take_all();
    assert_eq!((scene.in_flight.len(), scene.in_flight[0].part()), (1, None));
}

#[test]
fn what_follows_the_last_reply_is_discarded_and_comes_back_to_nobody() {
    let mut scene = Scene::new(4, "a\nquit\nb\nc\nd\n");
    scene.take_all();
    scene.answer(2);
    scene.answer(1);
    scene.answer(0);
    assert_eq!(scene.write(), "a\nbye quit\n");
    assert_eq!(scene.counts(), counts(6, 3, 3));
    assert_eq!(scene.connection.close_action(), CloseAction::ShutdownWrite);
    scene.connection.write_shut_down(scene.now);
    scene.connection.received_eof();
    assert_eq!(scene.connection.close_action(), CloseAction::Close(CloseReason::ResponderClosed));
    assert!(!scene.connection.has_job(), "the line behind is with a thread that answers");
    scene.answer(0);
    assert!(scene.connection.has_job());
    assert_eq!(scene.counts(), counts(6, 3, 3));
    scene.connection.into_disconnect().expect("it is known").notify(&scene.clerk).expect("it does not fail");
    assert_eq!(scene.clerk.ended.load(Ordering::Relaxed), 1);
}

#[test]
fn a_line_that_times_out_keeps_back_only_what_is_behind_it() {
    for is_first_answered in [true, false] {
        let mut scene = Scene::new(4, "a\nhang\nb\nc\n");
        scene.take_all();
        let part = scene.in_flight[1].part();
        assert!(part.is_some());
        scene.answer(2);
        if is_first_answered {
            scene.answer(0);
        }
        scene.connection.reply_timed_out(part, &scene.config, scene.now);
        if !is_first_answered {
            assert_eq!(scene.write(), "", "the line before it is still to come");
            scene.answer(0);
        }
        // The socket had no room, and the words come behind the reply.
        assert_eq!(scene.write(), "a\n");
        assert!(scene.connection.deadline(&scene.config).is_some_and(|deadline| deadline <= scene.now));
        scene.connection.check_deadline(&scene.config, scene.now);
        assert_eq!(scene.write(), "error: timed out\n");
        assert_eq!(scene.counts(), counts(5, 2, 3));
        assert_eq!(scene.connection.reason(), Some(CloseReason::ReplyTimeout));
        // What the thread returns that was given up goes nowhere, and is no end of a session.
        let late = scene.answered_in(0, Duration::from_millis(1));
        assert!(late.into_disconnect(CloseReason::ReplyTimeout).is_none());
        assert!(!scene.connection.has_job(), "another line is in flight");
        scene.answer(0);
        assert!(scene.connection.has_job());
    }
}

#[test]
fn a_broken_connection_waits_for_its_lines_in_flight() {
    let mut scene = Scene::new(4, "a\nb\nlater\nd\n");
    scene.take_all();
    scene.answer(2);
    scene.answer(1);
    scene.connection.abort(CloseReason::Lost);
    assert_eq!(scene.counts(), counts(5, 1, 4));
    let part = scene.in_flight[0].part();
    assert!(!scene.connection.has_job());
    scene.answer(1);
    scene.connection.reply_timed_out(part, &scene.config, scene.now);
    assert!(scene.connection.has_job());
    assert!(!scene.clerk.promised.lock().expect("nobody panics with it")[0].1.is_wanted());
    assert_eq!(scene.counts(), counts(5, 1, 4));
}

#[test]
fn many_answers_come_later_at_once() {
    let mut scene = Scene::new(3, "later 1\nwait 2\nthen 3\nlater 4\n");
    scene.take_all();
    (0..3).for_each(|_| scene.answer(0));
    assert!(!scene.take(), "three lines are not sent yet");
    assert_eq!(scene.connection.phase(), Phase::Parked);
    assert!(scene.clerk.keep(1) && scene.arrived());
    assert!(scene.clerk.keep(1) && scene.arrived());
    assert_eq!((scene.write(), scene.take()), (String::new(), true), "one is to be made by a thread that answers");
    assert!(scene.clerk.keep(0) && scene.arrived());
    assert!(!scene.arrived(), "each is told of once");
    assert_eq!(scene.write(), "late later 1\nplease wait 2\nlate wait 2\n");
    assert_eq!(scene.connection.phase(), Phase::Answering);
    scene.take_all();
    assert_eq!(scene.in_flight.len(), 2, "that, and the next line");
    scene.answer(1);
    scene.answer(0);
    assert_eq!(scene.write(), "then then 3\n");
    scene.take();
    assert!(scene.clerk.keep(0) && scene.arrived());
    assert_eq!(scene.write(), "late later 4\n");
    assert_eq!(scene.counts(), counts(5, 5, 0));
}

/// What needs a thread that answers has one as soon as it is here, whatever comes before it.
#[test]
fn late_answers_are_made_side_by_side() {
    let mut scene = Scene::new(3, "wait 1\nthen 2\nthen 3\n");
    scene.take_all();
    (0..3).for_each(|_| scene.answer(0));
    assert!(!scene.take());
    assert!(scene.clerk.keep(2) && scene.clerk.keep(1) && scene.arrived() && scene.arrived());
    assert_eq!(scene.write(), "please wait 1\n");
    scene.take_all();
    assert_eq!(scene.in_flight.len(), 2);
    scene.answer(1);
    scene.answer(0);
    assert_eq!(scene.write(), "");
    assert!(scene.clerk.keep(0) && scene.arrived());
    assert_eq!(scene.write(), "late wait 1\nthen then 2\nthen then 3\n");
    assert_eq!(scene.counts(), counts(4, 4, 0));
}

#[test]
fn a_line_that_is_parked_as_one_job_does_not_hold_up_the_others() {
    let timeouts = ConnectionTimeouts::NONE;
    let mut scene = Scene::with(ConnectionConfig::new(100, timeouts, &Clerk::default()), 3, "later 1\na\nlater 2\nb\n");
    scene.take_all();
    assert_eq!(scene.in_flight.len(), 1, "nothing is known of these lines yet");
    scene.answer(0);
    scene.take_all();
    assert_eq!(scene.in_flight.len(), 2);
    scene.answer(1);
    scene.answer(0);
    scene.take();
    assert!(scene.clerk.keep(0) && scene.arrived());
    assert_eq!(scene.write(), "late later 1\na\n");
    scene.take_all();
    scene.answer(0);
    scene.take();
    assert!(scene.clerk.keep(0) && scene.arrived());
    assert_eq!(scene.write(), "late later 2\nb\n");
    assert_eq!(scene.counts(), counts(4, 4, 0));
}

/// An answer that is here before the connection asks to be told of it must not be taken for the one
/// that it was told of.
#[test]
fn each_message_is_for_an_answer_that_the_connection_waits_for() {
    let mut scene = Scene::new(3, "later 1\nlater 2\n");
    scene.take_all();
    scene.answer(1);
    scene.take();
    scene.answer(0);
    assert!(scene.clerk.keep(1) && scene.clerk.keep(0) && scene.arrived());
    assert!(!scene.take());
    assert!(scene.arrived() && !scene.arrived());
    assert_eq!(scene.write(), "late later 1\nlate later 2\n");
}

#[test]
fn each_late_answer_has_a_time_of_its_own() {
    let mut scene = Scene::new(3, "later 1\nlater 2\nc\n");
    scene.take_all();
    let began = scene.now;
    scene.now = began + Duration::from_secs(2);
    scene.answer(1);
    scene.now = began + Duration::from_secs(4);
    scene.answer(0);
    scene.answer(0);
    let deadline = |scene: &Scene| scene.connection.deadline(&scene.config);
    assert_eq!(deadline(&scene), Some(began + Duration::from_secs(7)), "the second came first");
    scene.take();
    scene.now = began + Duration::from_secs(7);
    scene.connection.check_deadline(&scene.config, scene.now);
    assert_eq!(scene.write(), "", "the first may still come");
    assert_eq!(deadline(&scene), Some(began + Duration::from_secs(9)));
    assert!(scene.clerk.keep(1));
    scene.now = began + Duration::from_secs(9);
    scene.connection.check_deadline(&scene.config, scene.now);
    assert!(scene.arrived(), "it was in time, and its message on the way");
    assert_eq!(scene.write(), "late later 1\n");
    scene.connection.check_deadline(&scene.config, scene.now);
    assert_eq!(scene.write(), "error: timed out\n");
    assert_eq!(scene.counts(), counts(4, 2, 2));
}

#[test]
fn a_late_line_is_rejected_in_its_place_and_the_others_go_on() {
    let mut scene = Scene::new(4, "a\nnever\nlater\nb\n");
    scene.take_all();
    scene.answer(1);
    scene.answer(1);
    scene.answer(1);
    scene.take();
    assert!(scene.clerk.keep(0) && scene.arrived());
    scene.wait(REPLY_TIMEOUT);
    assert_eq!((scene.write(), scene.clerk.is_waited_for()), (String::new(), false));
    scene.take_all();
    assert_eq!(scene.in_flight.len(), 2, "the line before it, and the rejection, which the responder words");
    scene.answer(1);
    scene.answer(0);
    assert_eq!(scene.write(), "a\nerror: timed out\nlate later\nb\n");
    assert_eq!((scene.counts(), scene.connection.reason()), (counts(5, 5, 0), None));
}

/// What is waited for without end is the client's own idle time only when nothing else of it is
/// waited for.
#[test]
fn an_answer_that_is_waited_for_without_end_makes_its_client_idle_once_it_is_first() {
    let idle = Duration::from_secs(60);
    let timeouts = ConnectionTimeouts { idle: Some(idle), reply: Some(REPLY_TIMEOUT), ..ConnectionTimeouts::NONE };
    let clerk = Clerk { when_late: WhenLate::Wait, ..Clerk::default() };
    let config = ConnectionConfig::new(100, timeouts, &clerk);
    let mut scene = Scene::of(clerk, config, 3, "first\na\nlater\nb\n");
    scene.take_all();
    scene.answer(0);
    scene.write();
    scene.take_all();
    scene.answer(1);
    scene.answer(1);
    scene.wait(10 * idle);
    assert_eq!(scene.connection.deadline(&scene.config), None, "a thread is at the first");
    scene.answer(0);
    assert_eq!(scene.write(), "a\n");
    assert_eq!(scene.connection.deadline(&scene.config), Some(scene.now + idle));
    scene.wait(idle - Duration::from_millis(1));
    assert_eq!(scene.connection.reason(), None);
    scene.wait(Duration::from_millis(1));
    assert_eq!(scene.write(), "error: idle for 60s\n");
    assert_eq!(scene.connection.reason(), Some(CloseReason::IdleTimeout));
    assert_eq!(scene.counts(), counts(4, 2, 2));
}

#[test]
fn each_line_that_is_too_late_is_rejected_in_its_own_time() {
    let mut scene = Scene::new(3, "never\nnever\n");
    scene.take_all();
    scene.answer(1);
    scene.now += REPLY_TIMEOUT / 2;
    scene.answer(0);
    scene.wait(REPLY_TIMEOUT / 2);
    scene.take_all();
    assert_eq!(scene.in_flight.len(), 1, "the second came first");
    assert!(scene.clerk.is_waited_for());
    scene.wait(REPLY_TIMEOUT / 2);
    assert!(!scene.clerk.is_waited_for());
}

#[test]
fn the_first_line_says_whether_its_client_is_idle() {
    let idle = REPLY_TIMEOUT / 2;
    for (lines, wait) in [("later\nnever\n", idle), ("never\nlater\n", REPLY_TIMEOUT)] {
        let timeouts = ConnectionTimeouts { idle: Some(idle), reply: Some(REPLY_TIMEOUT), ..ConnectionTimeouts::NONE };
        let clerk = Clerk { when_late: WhenLate::Wait, ..Clerk::default() };
        let config = ConnectionConfig::new(100, timeouts, &clerk);
        let mut scene = Scene::of(clerk, config, 3, &format!("first\n{lines}"));
        scene.take_all();
        scene.answer(0);
        scene.write();
        scene.take_all();
        scene.answer(1);
        scene.answer(0);
        assert_eq!(scene.connection.deadline(&scene.config), Some(scene.now + wait), "{lines}");
    }
}

#[test]
fn a_push_comes_between_whole_replies() {
    let mut scene = Scene::new(3, "a\nb\nc\n");
    scene.take_all();
    scene.answer(0);
    let news = PushMessage::line("news").expect("it has no LF");
    assert!(scene.connection.push(&news, &scene.config, scene.now));
    scene.answer(0);
    scene.answer(0);
    assert_eq!(scene.write(), "a\nnews\nb\nc\n");
}

#[test]
fn telnet_escapes_each_reply_once() {
    let config = ConnectionConfig::new(100, ConnectionTimeouts::NONE, &Clerk::default()).telnet(true);
    let mut scene = Scene::with(config, 4, "first\ntelnet\ntelnet-now\ntelnet-later\ntelnet-later\n");
    for _ in 0..3 {
        scene.take_all();
        while !scene.in_flight.is_empty() {
            scene.answer(0);
        }
        scene.take();
        while scene.clerk.keep(0) {
            assert!(scene.arrived());
        }
        scene.write();
    }
    let expected: &[u8] = b"first\na\xff\xff\nb\xff\xff\nc\xff\xff\xff\xff\nc\xff\xff\xff\xff\n";
    assert_eq!(scene.written, expected);
}

#[test]
fn what_no_worker_is_free_for_is_busy_in_its_place() {
    let mut scene = Scene::new(3, "a\nb\nc\n");
    scene.take_all();
    let rejected = scene.in_flight.remove(1).reject_all(&scene.clerk, &scene.config, TurnBudget::unlimited());
    scene.connection.answered(rejected, &scene.config, scene.now);
    let rejected = scene.in_flight.remove(1).reject_without_responder(&scene.config);
    scene.connection.answered(rejected, &scene.config, scene.now);
    scene.answer(0);
    assert_eq!(scene.write(), "a\nerror: busy\nerror: busy\n");
    assert_eq!(scene.counts(), counts(4, 4, 0));
}

#[test]
fn what_there_is_no_memory_for_ends_the_connection_in_its_place() {
    let mut scene = Scene::new(4, "a\nlater\nc\n");
    scene.take_all();
    let answered = scene.answered_in(1, Duration::from_millis(1));
    let overloaded = answered.close_with(CloseReason::Overloaded, &scene.config);
    scene.connection.answered(overloaded, &scene.config, scene.now);
    assert_eq!(scene.write(), "");
    scene.answer(0);
    assert_eq!(scene.write(), "a\nerror: overloaded\n");
    scene.answer(0);
    assert_eq!(scene.counts(), counts(4, 2, 2));
    assert_eq!(scene.connection.reason(), Some(CloseReason::Overloaded));
}

/// A choice by which time passes; so does each that is like it and greater.
const PASS: u8 = 202;

fn line() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "bb",
        "ccc\r",
        "silent",
        "fail",
        "later 1",
        "later 2",
        "wait",
        "then",
        "soon",
        "never",
        "vain",
        "quit",
        "this is longer than allowed",
    ])
}

/// A client that has sent these lines. Only what is never answered is too late.
fn sent_in_any_order(lines: &[&str], max_lines: usize) -> Scene {
    let clerk = Clerk { when_late: WhenLate::Wait, ..Clerk::default() };
    let timeouts = ConnectionTimeouts { reply: Some(REPLY_TIMEOUT), ..ConnectionTimeouts::NONE };
    let config = ConnectionConfig::new(20, timeouts, &clerk);
    let sent: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
    Scene::of(clerk, config, max_lines, &sent)
}

/// What a client receives whose lines are answered one after the other.
fn one_after_the_other(lines: &[&str]) -> (Vec<u8>, LineCounts) {
    let mut scene = sent_in_any_order(lines, 1);
    loop {
        if scene.take() {
            scene.answer(0);
        } else if scene.clerk.keep(0) {
            assert!(scene.arrived());
        } else if scene.clerk.is_waited_for() {
            scene.wait(REPLY_TIMEOUT);
        } else {
            break;
        }
        scene.write();
    }
    let counts = scene.counts();
    (scene.written, counts)
}

proptest! {
    #[test]
    fn whatever_the_order_the_client_receives_the_same(
        lines in prop::collection::vec(line(), 0..14),
        max_lines in 2_usize..5,
        choices in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (expected, expected_counts) = one_after_the_other(&lines);
        let mut scene = sent_in_any_order(&lines, max_lines);
        // What is to come when no choice is left comes in any way.
        let rest = [0, 1, 2, PASS, u8::MAX].into_iter().cycle().take(500);
        for choice in choices.into_iter().chain(rest) {
            let which = usize::from(choice) / 4;
            match choice % 4 {
                0 => drop(scene.take()),
                1 if !scene.in_flight.is_empty() => {
                    let which = which % scene.in_flight.len();
                    let cost = [1, 1000, 1000, 1000][usize::from(choice / 16) % 4];
                    let answered = scene.answered_in(which, Duration::from_micros(cost));
                    scene.connection.answered(answered, &scene.config, scene.now);
                }
                2 if choice >= PASS => scene.wait(REPLY_TIMEOUT / 2),
                2 => {
                    scene.clerk.keep(which);
                    scene.arrived();
                }
                _ => {
                    let some = scene.connection.unsent().len().min(1 + which);
                    scene.written.extend_from_slice(&scene.connection.unsent()[..some]);
                    scene.connection.wrote(some, scene.now);
                }
            }
            prop_assert!(scene.in_flight.len() <= max_lines);
        }
        prop_assert_eq!(scene.written.escape_ascii().to_string(), expected.escape_ascii().to_string());
        prop_assert_eq!(scene.counts(), expected_counts);
        prop_assert!(scene.in_flight.is_empty() && scene.connection.has_job());
    }
}
