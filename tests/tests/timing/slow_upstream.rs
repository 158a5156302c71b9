//! Answers that come from an upstream that takes its time: what keeps clients waiting is the
//! upstream, and not the number of workers.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use greeter_client::ServerAddress;
use greeter_client::load::{self, Lines, Load};
use greeter_server::{BoxError, Later, Line, Peer, Reply, Responder};
use greeter_tests::books::at_rest;
use greeter_tests::size::{figure, is_full};
use greeter_tests::{alone, builder, spawn};

/// How long the upstream takes for an answer, however many questions there are.
const DELAY: Duration = Duration::from_millis(50);
const WORKERS: usize = 2;

/// Asks the upstream for each answer.
struct Relay(Sender<(Instant, Vec<u8>, Later)>);

impl Responder for Relay {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(self.0.send((Instant::now() + DELAY, line.as_bytes().to_vec(), reply.later()))?)
    }
}

/// Waits in the responder, as without answers that come later.
fn relay_by_waiting(line: &[u8]) -> Vec<u8> {
    thread::sleep(DELAY);
    line.to_vec()
}

fn upstream(questions: &Receiver<(Instant, Vec<u8>, Later)>) {
    let mut waiting = VecDeque::new();
    while let Some((due, line, later)) = waiting.pop_front().or_else(|| questions.recv().ok()) {
        thread::sleep(Instant::saturating_duration_since(&due, Instant::now()));
        later.raw([&line[..], b"\n"].concat());
        waiting.extend(questions.try_iter());
    }
}

fn load(address: ServerAddress, connections: usize) -> load::Report {
    let mut lines = Lines::new(["guest {{#}}".parse().expect("it is a template")]);
    lines.expect = vec!["{{line}}".parse().expect("it is a template")];
    let mut load = Load::lines(address, lines);
    load.connections = connections;
    load.warmup = Duration::from_millis(if is_full() { 1_000 } else { 100 });
    load.duration = Duration::from_millis(if is_full() { 5_000 } else { 500 });
    load::start(load).expect("it connects").finish().expect("it ends")
}

#[test]
fn a_thousand_clients_wait_for_the_upstream_and_for_nothing_else() {
    let _alone = alone();
    let connections = if is_full() { 1_000 } else { 100 };
    let (questions, asked) = channel();
    let upstream = thread::spawn(move || upstream(&asked));
    let relays = [
        (
            "later",
            connections,
            spawn(builder().workers(WORKERS).max_connections_per_address(None).responder(Relay(questions))),
        ),
        (
            "waiting in the responder",
            // More would wait for longer than the load does.
            20,
            spawn(
                builder()
                    .workers(WORKERS)
                    .max_connections_per_address(None)
                    .queue_timeout(None)
                    .responder_fn(relay_by_waiting),
            ),
        ),
    ];
    for (how, connections, server) in relays {
        let address: ServerAddress = server.local_addr().to_string().parse().expect("it is an address");
        let report = load(address, connections);
        figure(&format!("{connections} clients, {how}: lines in a second"), format!("{:.0}", report.per_second()));
        assert_eq!(report.errors(), 0, "{report}");
        assert!(report.latency().lines() > 0, "{report}");
        at_rest(&server);
    }
    upstream.join().expect("it does not panic");
}
