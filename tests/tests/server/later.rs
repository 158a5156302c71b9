//! Answers that come later, from a thread of the test's own.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use greeter_server::{BoxError, CloseReason, Later, Line, Peer, Phase, Reply, Responder, ServerHandle};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::{PLACEMENTS, answered_by, spawn};

/// Has every line that begins with `ask` answered by whoever receives its handle, and echoes the
/// others.
struct Desk(Mutex<Sender<(String, Later)>>);

impl Responder for Desk {
    /// How many lines the client has sent.
    type Session = u32;

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<u32, BoxError> {
        Ok(0)
    }

    fn respond(&self, lines: &mut u32, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        *lines += 1;
        let text = line.to_str()?;
        if text.starts_with("ask") {
            let question = (text.to_owned(), reply.later());
            if text.ends_with("close") {
                reply.close();
            }
            self.0.lock().expect("nobody panics with it").send(question)?;
        } else {
            reply.line(line);
        }
        Ok(())
    }
}

fn desk(workers: usize) -> (ServerHandle, Receiver<(String, Later)>) {
    let (questions, asked) = channel();
    (spawn(answered_by(workers).responder(Desk(Mutex::new(questions)))), asked)
}

/// Answers each question after this time, however many there are.
fn upstream(asked: Receiver<(String, Later)>, delay: Duration) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut due = VecDeque::new();
        loop {
            let next = match due.front() {
                None => asked.recv().ok(),
                Some((at, _)) => asked.recv_timeout(Instant::saturating_duration_since(at, Instant::now())).ok(),
            };
            match next {
                Some(question) => due.push_back((Instant::now() + delay, question)),
                None if due.is_empty() => return,
                None => {}
            }
            while due.front().is_some_and(|(at, _)| *at <= Instant::now()) {
                let (_, (question, later)) = due.pop_front().expect("there is one");
                later.line(format_args!("re: {question}"));
            }
        }
    })
}

#[test]
fn many_clients_wait_for_a_slow_upstream_and_keep_no_worker() {
    const CLIENTS: usize = 200;
    const LINES: usize = 5;
    for workers in PLACEMENTS {
        let (server, asked) = desk(workers);
        let upstream = upstream(asked, Duration::from_millis(20));
        thread::scope(|scope| {
            for chunk in 0..8 {
                let address = server.local_addr();
                scope.spawn(move || {
                    let mut clients: Vec<_> = (0..CLIENTS / 8).map(|_| Client::connect(address)).collect();
                    for line in 0..LINES {
                        clients.iter_mut().for_each(|client| client.send(format!("ask {chunk}.{line}\necho\n")));
                        for client in &mut clients {
                            assert_eq!(client.text(), format!("re: ask {chunk}.{line}\n"));
                            assert_eq!(client.text(), "echo\n");
                        }
                    }
                });
            }
        });
        let stats = at_rest(&server);
        assert_eq!((stats.lines, stats.replies), ((2 * CLIENTS * LINES) as u64, (2 * CLIENTS * LINES) as u64));
        assert_eq!((stats.parked, stats.late_answers), (0, 0));
        drop(server);
        upstream.join().expect("it does not panic");
    }
}

#[test]
fn a_parked_line_is_in_the_list_and_in_the_gauge() {
    for workers in PLACEMENTS {
        let (server, asked) = desk(workers);
        let mut client = Client::connect(server.local_addr());
        client.send("ask\necho\n");
        let (_, later) = asked.recv().expect("it is asked");
        wait_until("the line is parked", || server.connections()[0].phase == Phase::Parked);
        wait_until("it is counted", || server.stats().parked == 1);
        assert_eq!((server.stats().lines, server.connections()[0].lines), (0, 2));
        later.line("here");
        assert_eq!([client.text(), client.text()], ["here\n", "echo\n"]);
        wait_until("it is counted", || server.stats().parked == 0);
    }
}

#[test]
fn a_session_can_have_its_answer_made_later() {
    for workers in PLACEMENTS {
        let (server, asked) = desk(workers);
        let mut client = Client::connect(server.local_addr());
        client.send("a\nask\n");
        let (_, later) = asked.recv().expect("it is asked");
        later.then(|lines: &mut u32, reply| {
            reply.line(*lines);
            Ok(())
        });
        assert_eq!([client.text(), client.text()], ["a\n", "2\n"]);
        client.send("ask\n");
        drop(asked.recv().expect("it is asked"));
        assert_eq!(client.text(), "error: internal error\n");
        assert_eq!(server.stats().responder_errors, 1);
    }
}

#[test]
fn nothing_is_lost_at_a_half_close_or_a_drain_while_a_line_is_parked() {
    for workers in PLACEMENTS {
        let (server, asked) = desk(workers);
        let mut half = Client::connect(server.local_addr());
        half.send("ask\necho\n");
        half.finish_sending();
        let (_, later) = asked.recv().expect("it is asked");
        later.line("here");
        assert_eq!(half.rest(), b"here\necho\n");

        let mut drained = Client::connect(server.local_addr());
        drained.send("ask\necho\n");
        let (_, later) = asked.recv().expect("it is asked");
        wait_until("the line is parked", || server.stats().parked == 1);
        let stop = thread::spawn(move || server.shutdown(Duration::from_secs(20)));
        // The entrance is closed now, or will be; either way the line was received.
        later.line("here");
        assert_eq!(drained.rest(), b"here\necho\n");
        drop(drained);
        let report = stop.join().expect("it stops");
        assert_eq!((report.discarded, report.overran, report.threads_left), (0, 0, 0), "{report:?}");
    }
}

#[test]
fn an_answer_that_nobody_waits_for_goes_nowhere() {
    for workers in PLACEMENTS {
        let (server, asked) = desk(workers);
        let mut client = Client::connect(server.local_addr());
        client.send("ask\necho\n");
        let (_, later) = asked.recv().expect("it is asked");
        wait_until("the line is parked", || server.stats().parked == 1);
        assert!(later.is_wanted());
        server.kill(server.connections()[0].peer.id);
        wait_until("nobody waits", || !later.is_wanted());
        // A new client has the place of the old one.
        let mut next = Client::connect(server.local_addr());
        assert_eq!(next.ask("echo"), "echo\n");
        later.line("too late");
        wait_until("it is counted", || server.stats().late_answers == 1);
        assert_eq!(next.ask("again"), "again\n");
        let stats = server.stats();
        assert_eq!((stats.discarded_by[CloseReason::Killed], stats.parked), (2, 0));

        next.send("ask\n");
        let (_, later) = asked.recv().expect("it is asked");
        let report = server.shutdown(Duration::ZERO);
        assert_eq!((report.discarded, report.threads_left), (1, 0), "{report:?}");
        assert!(!later.is_wanted());
        later.then(|_: &mut u32, _| panic!("nobody is left to call it"));
    }
}

/// An answer of no bytes leaves nothing to write, and the end of the stream is due at once.
#[test]
fn a_connection_ends_behind_an_empty_answer() {
    for workers in PLACEMENTS {
        let (server, asked) = desk(workers);
        let silent = thread::spawn(move || asked.into_iter().for_each(|(_, later)| later.raw("")));
        for _ in 0..300 {
            let mut client = Client::connect(server.local_addr());
            client.send("ask and close\n");
            assert_eq!(client.rest(), b"");
        }
        at_rest(&server);
        drop(server);
        silent.join().expect("it does not panic");
    }
}

/// A thread that pushes and then gives the last answer is heard. As long as the line is with a
/// worker, the push waits behind its replies.
#[test]
fn what_was_pushed_before_the_last_answer_is_received() {
    for workers in PLACEMENTS {
        let (server, asked) = desk(workers);
        let push = server.push().clone();
        let clients = server.clone();
        let answering = thread::spawn(move || {
            for (_, later) in asked {
                let id = clients.connections().first().map(|connection| connection.peer.id);
                if let Some(id) = id {
                    push.line(id, "news").expect("there is room");
                }
                later.line("answer");
            }
            clients.shutdown(Duration::from_secs(10));
        });
        for _ in 0..100 {
            let mut client = Client::connect(server.local_addr());
            client.send("ask and close\n");
            let received = String::from_utf8_lossy(&client.rest()).into_owned();
            assert!(received == "news\nanswer\n" || received == "answer\nnews\n", "{received}");
            drop(client);
            wait_until("it is gone", || server.connections().is_empty());
        }
        server.shutdown(Duration::from_secs(10));
        drop(server);
        drop(answering);
    }
}

#[test]
fn a_client_whose_answer_has_no_room_is_told() {
    for workers in PLACEMENTS {
        let (questions, asked) = channel();
        let desk = Desk(Mutex::new(questions));
        let server = spawn(answered_by(workers).max_buffer_bytes(1 << 20).responder(desk));
        for _ in 0..20 {
            let mut client = Client::connect(server.local_addr());
            client.send("ask\r\n");
            let (_, later) = asked.recv().expect("it is asked");
            wait_until("the line is parked", || server.stats().parked == 1);
            later.raw(vec![b'x'; 2_000_000]);
            assert_eq!(String::from_utf8_lossy(&client.rest()), "error: overloaded\r\n");
        }
        at_rest(&server);
    }
}

/// The handle outlives everything.
#[test]
fn an_answer_to_a_server_that_is_gone_goes_nowhere() {
    let (server, asked) = desk(2);
    let kept = Arc::new(());
    let mut client = Client::connect(server.local_addr());
    client.send("ask\n");
    let (_, later) = asked.recv().expect("it is asked");
    drop(server);
    assert!(asked.recv().is_err(), "the responder is gone, though a handle is left");
    let held = Arc::clone(&kept);
    later.then(move |_: &mut u32, _| {
        drop(held);
        Ok(())
    });
    assert_eq!(Arc::strong_count(&kept), 1);
}
