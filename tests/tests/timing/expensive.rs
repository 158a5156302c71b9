//! The article's second program: replies are expensive, and who waits for whom is a matter of the
//! workers.
//!
//! Times are compared with each other and with what the work itself takes, never with what a
//! machine should be able to do.

use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use greeter_server::{BoxError, Line, Peer, Reply, Responder};
use greeter_tests::client::Client;
use greeter_tests::process::TestedServer;
use greeter_tests::{alone, answered_by, beside_others, spawn};

/// When each of two clients has its reply that ask at the same time.
fn two_clients_at_once(workers: &str) -> [Duration; 2] {
    let server = TestedServer::start(&["--work", "1s", "--workers", workers]);
    let mut clients = [Client::connect(server.address()), Client::connect(server.address())];
    let start = Instant::now();
    for client in &mut clients {
        client.send("Bob\n");
    }
    let replied = thread::scope(|scope| {
        let wait = |client: &mut Client| {
            assert_eq!(client.text(), "Hello, Bob\n");
            start.elapsed()
        };
        let waits = clients.each_mut().map(|client| scope.spawn(move || wait(client)));
        waits.map(|thread| thread.join().expect("both are greeted"))
    });
    let [first, second] = replied;
    [first.min(second), first.max(second)]
}

#[test]
fn with_one_worker_the_second_client_waits_for_the_first() {
    let _alone = alone();
    let [first, second] = two_clients_at_once("1");
    assert!(first >= Duration::from_secs(1) && second >= Duration::from_secs(2), "{first:?} {second:?}");
}

#[test]
fn with_two_workers_it_does_not() {
    let _alone = alone();
    let [first, second] = two_clients_at_once("2");
    assert!(second < first + Duration::from_millis(900), "{first:?} {second:?}");
}

/// The same without a clock: each reply is made only while another one is being made.
#[test]
fn as_many_lines_are_answered_at_once_as_there_are_workers() {
    let _others = beside_others();
    for workers in [2, 4] {
        let meeting = Arc::new(Barrier::new(workers));
        let server = spawn(answered_by(workers).responder_fn(move |_: &str| {
            meeting.wait();
            "met"
        }));
        let mut clients: Vec<_> = (0..workers).map(|_| Client::connect(server.local_addr())).collect();
        clients.iter_mut().for_each(|client| client.send("Bob\n"));
        clients.iter_mut().for_each(|client| assert_eq!(client.text(), "met\n"));
    }
}

#[test]
fn a_client_that_pipelines_sees_each_reply_as_it_is_made() {
    let _alone = alone();
    for workers in ["0", "1"] {
        let server = TestedServer::start(&["--work", "300ms", "--workers", workers]);
        let mut client = Client::connect(server.address());
        client.send("1\n2\n3\n4\n5\n");
        let arrivals: Vec<Instant> = (1..=5)
            .map(|name| {
                assert_eq!(client.text(), format!("Hello, {name}\n"));
                Instant::now()
            })
            .collect();
        for pair in arrivals.windows(2) {
            assert!(pair[1] - pair[0] > Duration::from_millis(150), "two replies came together: {arrivals:?}");
        }
    }
}

/// Who is answered in which order tells how long the polite one waits, whatever the machine is
/// doing.
#[test]
fn a_greedy_client_delays_a_polite_one_by_a_few_slices() {
    const POLITE_LINES: usize = 51;
    let _alone = alone();
    for workers in [0, 1] {
        let order = Arc::new(Mutex::new(Vec::new()));
        let slow = Slow { order: Arc::clone(&order) };
        let server = spawn(answered_by(workers).connection_threads(1).responder(slow));
        let mut greedy = Client::connect(server.local_addr());
        greedy.send("greedy\n".repeat(10_000));
        assert_eq!(greedy.text(), "done\n");
        let mut polite = Client::connect(server.local_addr());
        for _ in 0..POLITE_LINES {
            assert_eq!(polite.ask("polite"), "done\n");
        }
        let order = order.lock().expect("nobody panics").clone();
        let mut waits: Vec<usize> =
            order.split(|&is_polite| is_polite).take(POLITE_LINES).skip(1).map(<[bool]>::len).collect();
        waits.sort_unstable();
        assert_eq!(waits.len(), POLITE_LINES - 1);
        assert!(waits[waits.len() / 2] <= 4, "greedy lines between two polite ones, sorted: {waits:?}");
    }
}

/// Takes its time, more than a slice, and notes down for each line whether it was the polite
/// client's.
struct Slow {
    order: Arc<Mutex<Vec<bool>>>,
}

impl Responder for Slow {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, _: &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        self.order.lock().expect("nobody panics").push(line.as_bytes() == b"polite");
        thread::sleep(Duration::from_millis(2));
        reply.line("done");
        Ok(())
    }
}
