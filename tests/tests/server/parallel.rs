//! Lines of one client that are answered side by side.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use greeter_server::{BoxError, BuildError, ConfigError, Later, Line, Peer, Phase, Reply, Responder};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::{PLACEMENTS, answered_by, builder, spawn};

/// Takes a while for `dear`, and answers each other line when so many are being answered.
#[derive(Clone)]
struct Meeting {
    size: usize,
    present: Arc<(Mutex<usize>, Condvar)>,
}

impl Meeting {
    fn of(size: usize) -> Self {
        Self { size, present: Arc::default() }
    }

    fn answer(&self, line: &str) -> String {
        if line == "dear" {
            thread::sleep(Duration::from_millis(2));
            return line.to_owned();
        }
        let (present, all_are_here) = &*self.present;
        let mut present = present.lock().expect("nobody panics with it");
        *present += 1;
        all_are_here.notify_all();
        while *present < self.size {
            present = all_are_here.wait(present).expect("nobody panics with it");
        }
        line.to_owned()
    }
}

#[test]
fn as_many_lines_of_one_client_are_answered_at_once_as_may_be() {
    let meeting = Meeting::of(4);
    let answer = move |line: &str| meeting.answer(line);
    let server = spawn(builder().workers(4).in_parallel(4).reply_timeout(None).responder_fn(answer));
    let mut client = Client::connect(server.local_addr());
    client.send("dear\n1\n2\n3\n4\n");
    for reply in ["dear\n", "1\n", "2\n", "3\n", "4\n"] {
        assert_eq!(client.text(), reply);
    }
    drop(client);
    let stats = at_rest(&server);
    assert_eq!((stats.lines, stats.replies), (5, 5));
}

/// Has each line answered by whoever receives its handle.
struct Desk(Mutex<Sender<(String, Later)>>);

impl Responder for Desk {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let question = line.to_str()?.to_owned();
        Ok(self.0.lock().expect("nobody panics with it").send((question, reply.later()))?)
    }
}

fn desk() -> (Desk, Receiver<(String, Later)>) {
    let (questions, asked) = channel();
    (Desk(Mutex::new(questions)), asked)
}

#[test]
fn as_many_answers_come_later_at_once_as_may_be() {
    const AT_ONCE: usize = 10;
    for workers in PLACEMENTS {
        let (desk, asked) = desk();
        let server = spawn(answered_by(workers).in_parallel(AT_ONCE).responder(desk));
        let mut client = Client::connect(server.local_addr());
        let lines: String = (0..3 * AT_ONCE).map(|line| format!("{line}\n")).collect();
        client.send(lines);
        let mut all = Vec::new();
        for _ in 0..3 {
            // All of them are asked before any is answered, and the last is answered first.
            let mut questions: Vec<_> = (0..AT_ONCE).map(|_| asked.recv().expect("it is asked")).collect();
            assert!(asked.try_recv().is_err(), "there are no more at once");
            wait_until("each is parked", || server.stats().parked == AT_ONCE as u64);
            while let Some((question, later)) = questions.pop() {
                later.line(&question);
            }
            all.extend((0..AT_ONCE).map(|_| client.text()));
        }
        let expected: Vec<_> = (0..3 * AT_ONCE).map(|line| format!("{line}\n")).collect();
        assert_eq!(all, expected);
        drop(client);
        let stats = at_rest(&server);
        assert_eq!((stats.lines, stats.replies, stats.parked, stats.late_answers), (30, 30, 0, 0));
    }
}

/// Answers each line later, and is first held up by `held` and `block`.
struct Busy {
    desk: Desk,
    held: Mutex<(Sender<()>, Receiver<()>)>,
}

impl Responder for Busy {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        if let b"held" | b"block" = line.as_bytes() {
            let (reached, released) = &*self.held.lock().expect("nobody panics with it");
            reached.send(())?;
            released.recv()?;
        }
        self.desk.respond(&mut (), line, reply)
    }
}

/// When the only worker is with another client, nobody tells the first that it has become idle.
#[test]
fn whose_lines_are_all_parked_has_a_place_in_the_queue() {
    let (desk, asked) = desk();
    let (reached, is_reached) = channel();
    let (release, released) = channel();
    let busy = Busy { desk, held: Mutex::new((reached, released)) };
    let server = spawn(builder().workers(1).in_parallel(4).responder(busy));
    let [mut first, mut other] = [(); 2].map(|()| Client::connect(server.local_addr()));
    wait_until("the responder knows both", || {
        let clients = server.connections();
        clients.len() == 2 && clients.iter().all(|client| client.phase == Phase::Idle)
    });
    first.send("held\n2\n3\n");
    is_reached.recv().expect("the worker is held");
    other.send("block\n");
    wait_until("the other waits for the worker", || {
        server.connections().iter().any(|client| client.lines == 1 && client.phase == Phase::Queued)
    });
    release.send(()).expect("it is held");
    is_reached.recv().expect("the worker is with the other");
    wait_until("the first waits in the queue behind it", || {
        server.connections().iter().any(|client| client.lines == 3 && client.phase == Phase::Parked)
    });
    release.send(()).expect("it is blocked");
    let mut questions: Vec<_> = (0..4).map(|_| asked.recv_timeout(PATIENCE).expect("it is asked")).collect();
    questions.drain(..).for_each(|(question, later)| later.line(question));
    assert_eq!([first.text(), first.text(), first.text()], ["held\n", "2\n", "3\n"]);
    assert_eq!(other.text(), "block\n");
}

#[test]
fn a_drain_waits_for_every_line_that_is_out() {
    for workers in PLACEMENTS {
        let (desk, asked) = desk();
        let server = spawn(answered_by(workers).in_parallel(4).responder(desk));
        let mut client = Client::connect(server.local_addr());
        client.send("1\n2\n3\n4\n5\n6\n");
        let mut questions: Vec<_> = (0..4).map(|_| asked.recv().expect("it is asked")).collect();
        let upstream = thread::spawn(move || {
            while let Some((question, later)) = questions.pop() {
                later.line(question);
            }
            asked.into_iter().for_each(|(question, later)| later.line(question));
        });
        let reading = thread::spawn(move || std::iter::from_fn(|| client.line()).collect::<Vec<_>>());
        let report = server.shutdown(Duration::from_secs(20));
        // Some may have been answered before the stop began.
        assert_eq!((report.stats.replies, report.discarded), (6, 0));
        assert_eq!(reading.join().expect("it does not panic").concat(), b"1\n2\n3\n4\n5\n6\n");
        drop(server);
        upstream.join().expect("it does not panic");
    }
}

#[test]
fn a_client_that_leaves_leaves_no_line_behind() {
    for workers in PLACEMENTS {
        let (desk, asked) = desk();
        let server = spawn(answered_by(workers).in_parallel(4).responder(desk));
        let mut client = Client::connect(server.local_addr());
        client.send("1\n2\n3\n4\n5\n6\n");
        let questions: Vec<_> = (0..4).map(|_| asked.recv().expect("it is asked")).collect();
        wait_until("each is parked", || server.stats().parked == 4);
        server.kill(server.connections()[0].peer.id);
        wait_until("nobody waits", || questions.iter().all(|(_, later)| !later.is_wanted()));
        questions.into_iter().for_each(|(question, later)| later.line(question));
        let stats = at_rest(&server);
        assert_eq!((stats.lines, stats.replies, stats.discarded, stats.parked), (6, 0, 6, 0));
        wait_until("each was too late", || server.stats().late_answers == 4);
    }
}

#[derive(Debug)]
struct Numbered;

impl Responder for Numbered {
    type Session = u64;

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<u64, BoxError> {
        Ok(0)
    }

    fn respond(&self, _: &mut u64, _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }
}

#[derive(Debug)]
struct Stores;

impl Responder for Stores {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn max_data_bytes(&self) -> usize {
        100
    }
}

#[test]
fn lines_that_depend_on_each_other_are_not_answered_side_by_side() {
    #[track_caller]
    fn check<R: Responder + std::fmt::Debug>(responder: R, reason: &str) {
        let error = builder().responder(responder).in_parallel(2).bind("127.0.0.1:0").expect_err("it is wrong");
        assert!(
            matches!(&error, BuildError::Invalid(problems) if matches!(problems[..], [ConfigError::NotInParallel { .. }]))
        );
        assert_eq!(error.to_string(), format!("in_parallel is 2, but the responder {reason}"));
    }
    check(Numbered, "has sessions: its `Session` is not `()` or `ClientId`");
    check(Stores, "reads counted bytes: its `max_data_bytes` is not 0");
    let error = builder().in_parallel(0).bind("127.0.0.1:0").expect_err("it is wrong");
    assert_eq!(error.to_string(), "in_parallel is 0, but must be from 1 to 1024");
    let usual = builder().in_parallel(1).responder(Numbered).bind("127.0.0.1:0");
    assert!(usual.is_ok(), "one after the other is what is so anyway");
}
