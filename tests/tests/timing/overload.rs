//! More lines than can be answered are refused early and in words, in their places; and as many are
//! answered as can be.

use std::thread;
use std::time::{Duration, Instant};

use greeter_server::ServerHandle;
use greeter_tests::books::at_rest;
use greeter_tests::client::Client;
use greeter_tests::puppet::Puppet;
use greeter_tests::size::is_full;
use greeter_tests::{alone, builder, spawn};

const WORKERS: usize = 4;
const WORK: Duration = Duration::from_millis(5);
const CLIENTS: usize = 200;
/// What four workers can do in a second.
const CAPACITY: f64 = 800.0;
const QUEUE_TIMEOUT: Duration = Duration::from_millis(8);

/// What came of so many lines a second, sent whether or not the earlier ones were answered.
#[derive(Debug)]
struct Outcome {
    answered_per_second: f64,
    answered: usize,
    busy: usize,
    /// From when a line was due to its refusal; the 99th percentile.
    busy_after: Duration,
}

/// The clients take turns at sending; each has a thread that reads.
fn offer(server: &ServerHandle, lines_per_second: f64, during: Duration) -> Outcome {
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.local_addr())).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("echo here"), "here\n"));
    let lines = (lines_per_second * during.as_secs_f64()) as usize;
    let start = Instant::now();
    let due = |line: usize| start + Duration::from_secs_f64(line as f64 / lines_per_second);
    let replies: Vec<(Instant, bool, usize)> = thread::scope(|scope| {
        let mut senders: Vec<_> = clients.iter().map(Client::sender).collect();
        let receivers: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(number, mut client)| scope.spawn(move || receive(&mut client, (number..lines).step_by(CLIENTS))))
            .collect();
        for line in 0..lines {
            thread::sleep(due(line).saturating_duration_since(Instant::now()));
            senders[line % CLIENTS].send(format!("sleep {} {line}\n", WORK.as_millis()));
        }
        senders.iter().for_each(Client::finish_sending);
        receivers.into_iter().flat_map(|receiver| receiver.join().expect("each line has its reply")).collect()
    });
    let last = replies.iter().map(|(at, ..)| *at).max().expect("there are replies");
    let answered = replies.iter().filter(|(_, is_busy, _)| !is_busy).count();
    let mut waits: Vec<_> = replies.iter().filter(|(_, busy, _)| *busy).map(|(at, _, line)| *at - due(*line)).collect();
    waits.sort_unstable();
    Outcome {
        answered_per_second: answered as f64 / (last - start).as_secs_f64(),
        answered,
        busy: waits.len(),
        busy_after: waits.get(waits.len() * 99 / 100).copied().unwrap_or_default(),
    }
}

/// Each line has one reply, in the order in which they were sent.
fn receive(client: &mut Client, lines: impl Iterator<Item = usize>) -> Vec<(Instant, bool, usize)> {
    let replies = lines.map(|line| {
        let reply = client.text();
        let is_busy = reply == "error: busy\n";
        assert!(is_busy || reply == format!("{line}\n"), "the reply to line {line} is {reply:?}");
        (Instant::now(), is_busy, line)
    });
    let replies = replies.collect();
    assert_eq!(client.line(), None);
    replies
}

#[test]
fn more_than_can_be_answered_is_refused_and_as_much_is_answered_as_can_be() {
    let _alone = alone();
    let during = if is_full() { Duration::from_secs(10) } else { Duration::from_secs(1) };
    let server = spawn(builder().workers(WORKERS).queue_timeout(QUEUE_TIMEOUT).responder(Puppet::default()));
    let outcomes = [0.5, 1.0, 2.0, 5.0].map(|load| {
        let outcome = offer(&server, load * CAPACITY, during);
        println!("{load} x: {outcome:?}");
        outcome
    });
    let stats = at_rest(&server);
    assert_eq!(stats.discarded, 0);
    assert_eq!(stats.busy, outcomes.iter().map(|outcome| outcome.busy as u64).sum::<u64>());
    let [_, just_enough, _, far_too_much] = outcomes;
    assert!(far_too_much.busy > 0 && far_too_much.answered > 0);
    if is_full() {
        assert!(far_too_much.answered_per_second >= 0.9 * just_enough.answered_per_second);
        assert!(far_too_much.busy_after <= Duration::from_millis(20), "{:?}", far_too_much.busy_after);
    }
}
