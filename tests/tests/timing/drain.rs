//! Stopping answers what has arrived, says goodbye to everyone, and accounts for every line.

use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greeter_server::{Responder, responder_fn};
use greeter_tests::client::{Client, inet, lines_received, wait_until};
use greeter_tests::process::TestedServer;
use greeter_tests::puppet::Puppet;
use greeter_tests::size::{figure, is_full};
use greeter_tests::{PLACEMENTS, answered_by, beside_others, builder, raise_descriptor_limit, spawn};
use rustix::process::Signal;

const CLIENTS: u64 = 50;
const DEPTH: u64 = 20;

/// Thirty times: fifty clients with twenty lines on their way each, and a stop in the middle of it.
#[test]
fn every_line_that_was_received_is_answered_before_the_end() {
    let _others = beside_others();
    let mut refused_after = Duration::ZERO;
    for round in 0..30_u64 {
        let server = spawn(builder().workers(50).responder(Puppet::default()));
        let address = inet(server.local_addr());
        let replies_read = AtomicU64::new(0);
        let report = thread::scope(|scope| {
            for number in 0..CLIENTS {
                let client = Client::connect(address);
                let replies_read = &replies_read;
                scope.spawn(move || replies_read.fetch_add(pipeline(client, number), Ordering::Relaxed));
            }
            // Anywhere between the first replies and well into the stream.
            wait_until("replies flow", || server.stats().replies > round * 40);
            let start = Instant::now();
            let stop = scope.spawn(move || server.shutdown(Duration::from_secs(20)));
            wait_until("nobody is let in any more", || TcpStream::connect(address).is_err());
            refused_after = refused_after.max(start.elapsed());
            stop.join().expect("the server stops")
        });
        let stats = report.stats;
        assert_eq!(stats.lines, stats.replies + stats.discarded);
        assert_eq!(stats.discarded, 0, "{report:?}");
        assert_eq!((report.overran, report.threads_left, stats.open()), (0, 0, 0));
        assert_eq!(replies_read.into_inner(), stats.replies, "what was sent was read");
    }
    figure("connects are refused at the latest after", format_args!("{refused_after:?}"));
    assert!(!is_full() || refused_after <= Duration::from_millis(100), "refused only after {refused_after:?}");
}

/// Keeps so many lines on their way, checks the replies, and tells how many there were before the
/// end of the stream.
fn pipeline(mut client: Client, number: u64) -> u64 {
    client.send((0..DEPTH).map(|n| format!("sleep 20 {number}-{n}\n")).collect::<String>());
    for n in 0.. {
        match client.line() {
            Some(line) => assert_eq!(line, format!("{number}-{n}\n").into_bytes()),
            None => return n,
        }
        client.send(format!("sleep 20 {number}-{}\n", n + DEPTH));
    }
    unreachable!("the server ends")
}

#[test]
fn sigterm_drains_and_exits_with_0() {
    let _others = beside_others();
    for workers in ["0", "2"] {
        let mut server = TestedServer::start(&["--work", "10ms", "--workers", workers]);
        let mut idle = Client::connect(server.address());
        assert_eq!(idle.ask("Ann"), "Hello, Ann\n");
        let mut busy = Client::connect(server.address());
        busy.send("Bob\n".repeat(20));
        assert_eq!(busy.text(), "Hello, Bob\n");
        server.signal(Signal::TERM);
        assert_eq!(busy.rest(), b"Hello, Bob\n".repeat(19));
        assert_eq!(idle.line(), None);
        drop((idle, busy));
        let (status, log) = server.wait(Duration::from_secs(20));
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("Server has stopped.") && log.contains("discarded=0 overran=0"), "{log}");
    }
}

#[test]
fn clients_that_do_not_go_are_not_waited_for_long() {
    let _others = beside_others();
    let server = spawn(builder());
    let mut stays = Client::connect(server.local_addr());
    assert_eq!(stays.ask("Bob"), "Hello, Bob\n");
    let report = server.shutdown(Duration::from_secs(60));
    assert!(report.took < Duration::from_secs(30), "{report:?}");
    assert_eq!((report.overran, report.discarded), (0, 0));
    assert_eq!(stays.line(), None);
}

#[test]
fn what_is_not_done_by_the_deadline_is_cut_off_and_counted() {
    let _others = beside_others();
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).connection_threads(1).responder(Puppet::default()));
        let mut client = Client::connect(server.local_addr());
        client.send("sleep 30 0\n".repeat(200));
        assert_eq!(client.text(), "0\n");
        let report = server.shutdown(Duration::from_millis(300));
        assert_eq!((report.overran, report.threads_left), (1, 0), "{report:?}");
        assert!(report.discarded > 0);
        assert_eq!(report.stats.lines, 200);
        assert_eq!(report.stats.lines, report.stats.replies + report.stats.discarded);
    }
}

#[test]
fn a_responder_that_does_not_come_back_is_left_behind() {
    let _others = beside_others();
    let server = spawn(builder().workers(1).responder(Puppet::default()));
    let mut client = Client::connect(server.local_addr());
    client.send("sleep 5000 late\n");
    wait_until("the line is received", || lines_received(&server) == 1);
    let report = server.shutdown(Duration::from_millis(100));
    assert_eq!((report.overran, report.discarded, report.threads_left), (1, 1, 1), "{report:?}");
}

/// Ten seconds of work are waiting when time is up, but nobody is left to read the replies.
#[test]
fn jobs_that_wait_for_a_worker_at_the_deadline_are_not_answered() {
    const CLIENTS: u64 = 200;
    let _others = beside_others();
    let server = spawn(builder().workers(1).responder(Puppet::default()));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.local_addr())).collect();
    // Each is welcome before anybody keeps the worker busy, or it might wait for that for too long.
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("echo here"), "here\n"));
    clients.iter_mut().for_each(|client| client.send("sleep 50 late\n"));
    wait_until("all lines are received", || lines_received(&server) == 2 * CLIENTS);
    let report = server.shutdown(Duration::from_millis(100));
    assert_eq!(report.threads_left, 0, "{report:?}");
    assert_eq!(report.stats.replies + report.stats.discarded, 2 * CLIENTS);
    assert!(report.discarded > 0);
}

#[test]
fn a_second_signal_ends_at_once() {
    let _others = beside_others();
    let mut server = TestedServer::start(&["--work", "60s", "--workers", "1"]);
    let mut client = Client::connect(server.address());
    client.send("Bob\n");
    wait_until("the worker is busy", || server.cpu_time() > Duration::from_millis(50));
    server.signal(Signal::TERM);
    wait_until("nobody is let in any more", || TcpStream::connect(server.address()).is_err());
    let start = Instant::now();
    server.signal(Signal::TERM);
    let (status, _) = server.wait(Duration::from_secs(10));
    assert!(!status.success() && start.elapsed() < Duration::from_secs(5));
}

#[test]
fn lines_left_unanswered_show_in_the_exit_code() {
    let _others = beside_others();
    let mut server = TestedServer::start(&["--work", "400ms", "--workers", "1", "--drain", "100ms"]);
    let mut client = Client::connect(server.address());
    client.send("Bob\n".repeat(10));
    assert_eq!(client.text(), "Hello, Bob\n");
    server.signal(Signal::TERM);
    let (status, log) = server.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(3), "{log}");
}

#[test]
fn a_dropped_handle_stops_its_server() {
    let _others = beside_others();
    let server = spawn(builder());
    let address = inet(server.local_addr());
    let mut client = Client::connect(address);
    assert_eq!(client.ask("Bob"), "Hello, Bob\n");
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}

/// The system has made their connections, and nobody has accepted them yet.
#[test]
fn clients_at_the_door_when_the_stop_comes_are_served() {
    let _others = beside_others();
    for workers in PLACEMENTS {
        let server = answered_by(workers).bind("127.0.0.1:0").expect("loopback has a free port");
        let mut clients: Vec<_> = (0..300).map(|_| Client::connect(server.local_addr())).collect();
        clients.iter_mut().for_each(|client| client.send("Bob\n"));
        let server = server.spawn().expect("threads can be had");
        let stop = thread::spawn(move || server.shutdown(Duration::from_secs(20)));
        for mut client in clients {
            assert_eq!(client.rest(), b"Hello, Bob\n");
        }
        let report = stop.join().expect("the server stops");
        assert_eq!((report.stats.accepted, report.stats.replies, report.overran), (300, 300, 0), "{report:?}");
    }
}

/// Answers `wait` only when it may, and everything else at once.
fn gated() -> (impl Responder<Session = ()>, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let responder = responder_fn(move |line: &str| {
        if line == "wait" {
            gate.lock().expect("nobody panics").recv().expect("the test goes on");
        }
        line.to_owned()
    });
    (responder, open)
}

/// More than one read's worth lies in the socket when the stop comes.
#[test]
fn all_that_has_arrived_is_answered_not_only_one_read_of_it() {
    let _others = beside_others();
    for workers in [0, 1] {
        let (responder, gate) = gated();
        let server = spawn(answered_by(workers).connection_threads(1).responder(responder));
        let mut client = Client::connect(server.local_addr());
        client.send("wait\n");
        wait_until("the line is being answered", || server.stats().bytes_received == 5);
        let sent = client.send_until_stuck(&b"1234567\n".repeat(1_000_000), Duration::from_millis(200));
        assert!(sent > 64 * 1024);
        let stop = thread::spawn(move || server.shutdown(Duration::from_secs(20)));
        wait_until("nobody is let in any more", || TcpStream::connect(client.peer_addr()).is_err());
        gate.send(()).expect("the responder waits");
        assert_eq!(client.text(), "wait\n");
        let answered = client.rest();
        assert!(answered.len() > 64 * 1024, "{} bytes were answered", answered.len());
        let report = stop.join().expect("the server stops");
        assert_eq!((report.discarded, report.overran), (0, 0), "{report:?}");
    }
}

/// More sockets have news than one look at the system tells.
#[test]
fn lines_that_arrived_unnoticed_are_answered() {
    const CLIENTS: usize = 1_500;
    let _others = beside_others();
    raise_descriptor_limit();
    for workers in [0, 1] {
        let (responder, gate) = gated();
        let builder = answered_by(workers).connection_threads(1).max_connections_per_address(None);
        let server = spawn(builder.responder(responder));
        let mut first = Client::connect(server.local_addr());
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.local_addr())).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("hello"), "hello\n"));
        first.send("wait\n");
        wait_until("the line is being answered", || server.stats().bytes_received == 6 * CLIENTS as u64 + 5);
        clients.iter_mut().for_each(|client| client.send("last\n"));
        let address = inet(server.local_addr());
        let stop = thread::spawn(move || server.shutdown(Duration::from_secs(20)));
        wait_until("nobody is let in any more", || TcpStream::connect(address).is_err());
        gate.send(()).expect("the responder waits");
        for client in &mut clients {
            assert_eq!(client.rest(), b"last\n");
        }
        assert_eq!(first.rest(), b"wait\n");
        drop((first, clients));
        let report = stop.join().expect("the server stops");
        assert_eq!((report.stats.replies, report.overran), (2 * CLIENTS as u64 + 1, 0), "{report:?}");
    }
}

/// In place, a thread that answers notices the time only between two lines; what it finds then must
/// still be put in order.
#[test]
fn the_books_are_balanced_however_late_the_deadline_is_noticed() {
    let _others = beside_others();
    let server = spawn(builder().in_place().connection_threads(1).responder(Puppet::default()));
    let mut reads_nothing = Client::connect(server.local_addr());
    reads_nothing.send("big 20000000\n".to_owned() + &"echo x\n".repeat(100));
    wait_until("some of it is sent", || server.stats().bytes_sent > 0);
    let mut busy: Vec<_> = (0..20).map(|_| Client::connect(server.local_addr())).collect();
    busy.iter_mut().for_each(|client| client.send("sleep 100 x\n".repeat(3)));
    wait_until("some lines are being answered", || server.stats().bytes_received > 12 * 2);
    let report = server.shutdown(Duration::from_millis(250));
    let stats = report.stats;
    assert_eq!((stats.accepted, report.threads_left), (stats.closed, 0), "{report:?}");
    assert_eq!(stats.lines, stats.replies + stats.discarded, "{report:?}");
    assert!(report.overran > 0 && report.discarded > 0, "{report:?}");
}
