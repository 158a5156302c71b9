//! Lines of many clients that one function answers together. It does so when the test lets it.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use greeter_server::{Asked, Batcher, BoxError, Line, Peer, Reply, Responder, ServerHandle};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, PATIENCE, inet, wait_until};
use greeter_tests::puppet::silence_panics;
use greeter_tests::{PLACEMENTS, answered_by, spawn};

/// Has every line that begins with `ask` answered in a batch, and echoes the others.
struct Counter(Batcher<String>);

impl Responder for Counter {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match line.to_str()? {
            text if text.starts_with("ask") => self.0.ask(text.to_owned(), reply),
            _ => reply.line(line),
        }
        Ok(())
    }
}

/// A batch whose function waits until this is dropped.
struct Held {
    batch: Vec<Asked<String>>,
    /// Has the function answer so many of these itself, and panic.
    panics: Sender<(Vec<Asked<String>>, usize)>,
}

impl Held {
    fn questions(&self) -> Vec<String> {
        self.batch.iter().map(|asked| asked.question.clone()).collect()
    }

    fn answer(self) {
        self.batch.into_iter().for_each(answer);
    }

    fn panic_behind(self, answered: usize) {
        self.panics.send((self.batch, answered)).expect("the function waits");
    }
}

fn answer(Asked { question, later }: Asked<String>) {
    later.line(format_args!("re: {question}"));
}

/// A server whose batches have so many lines at most, and the batches.
fn counter(workers: usize, max_lines: usize) -> (ServerHandle, Receiver<Held>) {
    let (sender, held) = channel();
    let batcher = Batcher::spawn(max_lines, move |batch| {
        let (panics, told) = channel();
        // It fails only if the test is over.
        let _ = sender.send(Held { batch, panics });
        if let Ok((batch, answered)) = told.recv() {
            let mut batch: Vec<_> = batch;
            batch.drain(..answered).for_each(answer);
            panic!("as told, {} lines before the end", batch.len());
        }
    });
    (spawn(answered_by(workers).responder(Counter(batcher.expect("threads can be had")))), held)
}

fn next(held: &Receiver<Held>) -> Held {
    held.recv_timeout(PATIENCE).expect("the function is called")
}

/// Has a new client ask, behind all others: it is the last of so many that wait.
fn asks(server: &ServerHandle, line: &str, waiting: u64) -> Client {
    let mut client = Client::connect(server.local_addr());
    client.send(format!("{line}\n"));
    wait(server, waiting);
    client
}

/// Waits until so many clients wait for an answer.
fn wait(server: &ServerHandle, waiting: u64) {
    wait_until(&format!("{waiting} clients wait"), || server.stats().parked == waiting);
}

/// Has the function wait with a line of a client of its own.
fn hold(server: &ServerHandle, held: &Receiver<Held>) -> (Client, Held) {
    (asks(server, "ask first", 1), next(held))
}

#[test]
fn a_line_that_is_alone_waits_for_no_other() {
    for workers in PLACEMENTS {
        let (server, held) = counter(workers, 100);
        let mut clients: Vec<_> = (0..3).map(|_| Client::connect(server.local_addr())).collect();
        for round in 0..3 {
            for client in &mut clients {
                client.send(format!("ask {round}\n"));
                let batch = next(&held);
                assert_eq!(batch.questions(), [format!("ask {round}")]);
                batch.answer();
                assert_eq!(client.text(), format!("re: ask {round}\n"));
            }
        }
    }
}

#[test]
fn lines_that_come_while_a_batch_is_answered_are_the_next_but_not_too_many() {
    for workers in PLACEMENTS {
        let (server, held) = counter(workers, 4);
        let (mut first, batch) = hold(&server, &held);
        let lines: Vec<_> = (0..10).map(|number| format!("ask {number}")).collect();
        let mut clients: Vec<_> = lines.iter().zip(2..).map(|(line, waiting)| asks(&server, line, waiting)).collect();
        batch.answer();
        assert_eq!(first.text(), "re: ask first\n");
        for expected in [&lines[..4], &lines[4..8], &lines[8..]] {
            let batch = next(&held);
            assert_eq!(batch.questions(), expected);
            batch.answer();
        }
        for (client, line) in clients.iter_mut().zip(lines) {
            assert_eq!(client.text(), format!("re: {line}\n"));
        }
    }
}

/// Whatever a batch does with its lines, it is the client's own answer that each client receives,
/// and where it asked.
#[test]
fn each_client_receives_its_own_answers_among_its_other_lines() {
    const CLIENTS: usize = 50;
    const LINES: usize = 20;
    for workers in PLACEMENTS {
        let (server, held) = counter(workers, 16);
        let answering = thread::spawn(move || {
            for mut held in held {
                let clients: BTreeSet<_> = held.batch.iter().map(|asked| asked.question.split('.').next()).collect();
                assert_eq!(clients.len(), held.batch.len(), "a client has two lines in a batch: {:?}", held.batch);
                held.batch.reverse();
                held.answer();
            }
        });
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.local_addr())).collect();
        for (client, number) in clients.iter_mut().zip(0..) {
            client.send((0..LINES).map(|line| format!("ask {number}.{line}\necho {line}\n")).collect::<String>());
        }
        for (client, number) in clients.iter_mut().zip(0..) {
            let expected: String = (0..LINES).map(|line| format!("re: ask {number}.{line}\necho {line}\n")).collect();
            assert_eq!(String::from_utf8_lossy(&client.finish()), expected);
        }
        drop(clients);
        let stats = at_rest(&server);
        assert_eq!((stats.replies, stats.parked), ((2 * CLIENTS * LINES) as u64, 0));
        drop(server);
        // The responder was the last that could ask.
        answering.join().expect("no client has two lines in a batch");
    }
}

#[test]
fn a_panic_costs_the_lines_that_have_no_answer_yet() {
    silence_panics();
    for workers in PLACEMENTS {
        let (server, held) = counter(workers, 100);
        let (mut first, batch) = hold(&server, &held);
        let mut clients: Vec<_> = (0..5).map(|number| asks(&server, &format!("ask {number}"), number + 2)).collect();
        batch.answer();
        assert_eq!(first.text(), "re: ask first\n");
        let batch = next(&held);
        assert_eq!(batch.batch.len(), 5);
        batch.panic_behind(2);
        let answers: Vec<_> = clients.iter_mut().map(Client::text).collect();
        let error = "error: internal error\n";
        assert_eq!(answers, ["re: ask 0\n", "re: ask 1\n", error, error, error]);
        wait_until("they are counted", || server.stats().responder_errors == 3);
        for client in &mut clients {
            client.send("ask again\n");
            next(&held).answer();
            assert_eq!(client.text(), "re: ask again\n");
        }
    }
}

#[test]
fn whoever_is_gone_is_left_out() {
    for workers in PLACEMENTS {
        let (server, held) = counter(workers, 100);
        let (mut first, batch) = hold(&server, &held);
        let gone = asks(&server, "ask and reset", 2);
        let mut here = asks(&server, "ask and stay", 3);
        gone.reset();
        wait(&server, 2);
        batch.answer();
        assert_eq!(first.text(), "re: ask first\n");
        let batch = next(&held);
        assert_eq!(batch.questions(), ["ask and stay"]);
        wait(&server, 1);
        // Nobody at all is left for the next one.
        asks(&server, "ask and reset", 2).reset();
        wait(&server, 1);
        batch.answer();
        assert_eq!(here.text(), "re: ask and stay\n");
        here.send("ask again\n");
        let batch = next(&held);
        assert_eq!(batch.questions(), ["ask again"]);
        batch.answer();
        assert_eq!(here.text(), "re: ask again\n");
    }
}

#[test]
fn what_was_asked_is_answered_at_a_half_close_and_at_a_stop() {
    for workers in PLACEMENTS {
        let (server, held) = counter(workers, 2);
        let (mut first, batch) = hold(&server, &held);
        let mut half: Vec<_> = (2..5).map(|waiting| asks(&server, "ask and finish", waiting)).collect();
        half.iter().for_each(Client::finish_sending);
        let mut open: Vec<_> = (5..8).map(|waiting| asks(&server, "ask and stay\necho", waiting)).collect();
        let address = inet(server.local_addr());
        let stop = thread::spawn(move || server.shutdown(PATIENCE));
        wait_until("nobody is let in any more", || TcpStream::connect(address).is_err());
        batch.answer();
        for lines in [2, 2, 2] {
            let batch = next(&held);
            assert_eq!(batch.batch.len(), lines);
            batch.answer();
        }
        assert_eq!(first.rest(), b"re: ask first\n");
        half.iter_mut().for_each(|client| assert_eq!(client.rest(), b"re: ask and finish\n"));
        open.iter_mut().for_each(|client| assert_eq!(client.rest(), b"re: ask and stay\necho\n"));
        drop((first, half, open));
        let report = stop.join().expect("it stops");
        assert_eq!((report.replies, report.discarded, report.threads_left), (10, 0, 0), "{report:?}");
        assert!(held.recv_timeout(PATIENCE).is_err_and(|error| error == RecvTimeoutError::Disconnected));
    }
}

/// Nobody waits for a function that does not return: a stop counts its lines as lost.
#[test]
fn a_stop_does_not_wait_for_a_function_that_hangs() {
    for workers in PLACEMENTS {
        let (server, held) = counter(workers, 100);
        let (first, hung) = hold(&server, &held);
        let next = asks(&server, "ask", 2);
        let report = server.shutdown(Duration::ZERO);
        assert_eq!((report.discarded, report.threads_left), (2, 0), "{report:?}");
        drop((first, next, hung));
        // The line behind it is wanted no more, and there is nothing else.
        assert!(held.recv_timeout(PATIENCE).is_err_and(|error| error == RecvTimeoutError::Disconnected));
    }
}
