//! A stop ends in time, whoever holds things up, and says what was lost by it.

use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use greeter_server::{CloseReason, ConnectionInfo, Phase};
use greeter_tests::books::balanced;
use greeter_tests::client::{Client, lines_received, wait_until};
use greeter_tests::process::TestedServer;
use greeter_tests::puppet::Puppet;
use greeter_tests::size::is_full;
use greeter_tests::{PLACEMENTS, alone, answered_by, beside_others, builder, spawn};
use rustix::process::Signal;

const DRAIN: Duration = Duration::from_secs(1);

/// How the server ended: how long after the last signal, with what, and its log.
struct End {
    took: Duration,
    code: Option<i32>,
    log: String,
}

/// One signal, or a second one as soon as the first has been heard.
fn stop(mut server: TestedServer, signals: usize) -> End {
    let start = Instant::now();
    server.signal(Signal::TERM);
    let mut last = start;
    if signals > 1 {
        wait_until("nobody is let in any more", || TcpStream::connect(server.address()).is_err());
        last = Instant::now();
        server.signal(Signal::TERM);
    }
    let (status, log) = server.wait(Duration::from_secs(20));
    let took = last.elapsed();
    if signals > 1 {
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{log}");
        assert!(!is_full() || took <= Duration::from_millis(300), "gone {took:?} after the second signal");
    } else {
        assert!(!is_full() || took <= DRAIN + Duration::from_secs(1), "gone after {took:?}");
    }
    End { took, code: status.code(), log }
}

fn start(arguments: &[&str]) -> TestedServer {
    TestedServer::start(&[&["--drain", "1s", "--workers", "1"], arguments].concat())
}

#[test]
fn a_responder_that_does_not_come_back() {
    const LINES: usize = 10;
    let _others = beside_others();
    for signals in [1, 2] {
        let server = start(&["--work", "60s"]);
        let mut client = Client::connect(server.address());
        client.send("Bob\n".repeat(LINES));
        wait_until("the worker is busy", || server.cpu_time() > Duration::from_millis(50));
        let End { took, code, log } = stop(server, signals);
        println!("hung responder, {signals} signals: {took:?}");
        if signals == 1 {
            assert_eq!(code, Some(3), "{log}");
            assert!(log.contains(&format!("discarded={LINES} overran=1 threads_left=1")), "{log}");
        }
    }
}

#[test]
fn a_client_that_reads_nothing() {
    let _others = beside_others();
    for signals in [1, 2] {
        let server = start(&["--log", "info"]);
        let mut client = Client::connect_with_small_buffer(server.address());
        let line = "x".repeat(8_000) + "\n";
        let sent = client.send_until_stuck(line.repeat(4_000).as_bytes(), Duration::from_millis(300));
        assert!(sent < line.len() * 4_000);
        let End { took, code, log } = stop(server, signals);
        println!("never-reader, {signals} signals: {took:?}");
        if signals == 1 {
            assert_eq!(code, Some(3), "{log}");
            assert!(log.contains("overran=1 threads_left=0") && !log.contains("discarded=0"), "{log}");
        }
    }
}

/// Nothing is owed for a line that never ends, so nothing is lost either.
#[test]
fn a_client_whose_line_never_ends() {
    let _others = beside_others();
    for signals in [1, 2] {
        let server = start(&["--line-timeout", "off"]);
        let mut client = Client::connect(server.address());
        assert_eq!(client.ask("Bob"), "Hello, Bob\n");
        let mut sender = client.sender();
        let is_done = Arc::new(AtomicBool::new(false));
        let drips = {
            let is_done = Arc::clone(&is_done);
            thread::spawn(move || {
                while !is_done.load(Ordering::SeqCst) && sender.try_send(b"x") {
                    thread::sleep(Duration::from_millis(10));
                }
            })
        };
        let End { took, code, log } = stop(server, signals);
        is_done.store(true, Ordering::SeqCst);
        drips.join().expect("it stops dripping");
        println!("dripper, {signals} signals: {took:?}");
        if signals == 1 {
            assert_eq!(code, Some(0), "{log}");
            assert!(log.contains("discarded=0 overran=0 threads_left=0"), "{log}");
        }
    }
}

/// Lines are lost for several reasons in one stop, and each is counted under its own.
#[test]
fn what_is_lost_is_told_by_reason() {
    let _others = beside_others();
    let puppet = Arc::new(Puppet::default());
    let server = spawn(builder().workers(3).reply_timeout(Duration::from_secs(1)).responder(Arc::clone(&puppet)));
    let [mut never_reads, mut killed] = [(); 2].map(|()| Client::connect_with_small_buffer(server.local_addr()));
    never_reads.send("big 8000000\necho a\n");
    killed.send("big 8000000\necho a\necho b\necho c\n");
    wait_until("all are on their way", || {
        let is_written = |connection: &ConnectionInfo| connection.phase == Phase::Writing;
        server.connections().iter().filter(|connection| is_written(connection)).count() == 2
    });
    let name = server.connections().iter().find(|one| one.peer.address == killed.local_addr()).map(|one| one.peer.id);
    server.kill(name.expect("it is connected"));
    wait_until("it is cut off", || server.stats().closed_by[CloseReason::Killed] == 1);
    let mut late = Client::connect(server.local_addr());
    late.send("hang late\necho a\necho b\n");
    wait_until("it is being answered", || lines_received(&server) == 5);
    let before = server.stats();
    let report = server.shutdown(Duration::from_secs(3));
    println!("{:?}", report.discarded_by.iter().collect::<Vec<_>>());
    balanced(&report.stats);
    assert_eq!((before.discarded, before.discarded_by[CloseReason::Killed]), (4, 4));
    assert_eq!((report.discarded, report.discarded_by.total()), (5, 5));
    assert_eq!(report.discarded_by[CloseReason::ReplyTimeout], 3);
    assert_eq!(report.discarded_by[CloseReason::ShutdownDeadline], 2);
    assert_eq!((report.overran, report.threads_left), (1, 1), "{report:?}");
    puppet.release();
}

/// The stop comes in the middle of everything; a stuck responder comes back before the deadline, or
/// after it.
#[test]
fn a_worker_that_comes_back_while_the_server_drains_ends_with_it() {
    let _alone = alone();
    let puppet = Arc::new(Puppet::default());
    // Long beside the 20 ms of each other line, which a machine that has other things to do
    // prolongs.
    let server = builder().workers(1).reply_timeout(Duration::from_secs(1)).responder(Arc::clone(&puppet));
    let server = spawn(server);
    let mut late = Client::connect(server.local_addr());
    late.send("hang late\n");
    assert_eq!(late.text(), "error: timed out\n");
    drop(late);
    let mut busy = Client::connect(server.local_addr());
    busy.send("sleep 20 on time\n".repeat(40));
    wait_until("replies flow", || server.stats().replies > 0);
    server.shutdown_trigger().trigger(Duration::from_secs(20));
    puppet.release();
    let report = server.wait();
    assert_eq!(busy.rest(), b"on time\n".repeat(40));
    assert_eq!((report.stats.replies, report.discarded, report.overran), (40, 0, 0), "{report:?}");
    assert_eq!(report.threads_left, 0, "{report:?}");
    balanced(&report.stats);
}

#[test]
fn who_waits_behind_a_stuck_worker_is_refused_while_the_server_drains() {
    let _others = beside_others();
    for timeout in [50, 200] {
        let puppet = Arc::new(Puppet::default());
        let server = spawn(
            builder()
                .workers(1)
                .reply_timeout(None)
                .queue_timeout(Duration::from_millis(timeout))
                .responder(Arc::clone(&puppet)),
        );
        let mut waits = Client::connect(server.local_addr());
        assert_eq!(waits.ask("echo here"), "here\n");
        let mut hangs = Client::connect(server.local_addr());
        hangs.send("hang late\n");
        wait_until("the worker hangs", || lines_received(&server) == 2);
        waits.send("echo a\necho b\n");
        let stop = thread::spawn(move || server.shutdown(Duration::from_secs(20)));
        assert_eq!(waits.rest(), b"error: busy\nerror: busy\n");
        puppet.release();
        assert_eq!(hangs.rest(), b"late\n");
        drop((waits, hangs));
        let report = stop.join().expect("the server stops");
        assert_eq!((report.discarded, report.overran, report.threads_left), (0, 0, 0), "{report:?}");
        assert_eq!(report.stats.busy, 2);
        balanced(&report.stats);
    }
}

/// Where jobs are answered on the spot, the deadline is noticed after the line at hand.
#[test]
fn a_stop_without_time_takes_none() {
    let _others = beside_others();
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).responder(Puppet::default()));
        let mut clients: Vec<_> = (0..50).map(|_| Client::connect(server.local_addr())).collect();
        clients.iter_mut().for_each(|client| client.send("sleep 10 x\n".repeat(20)));
        wait_until("replies flow", || server.stats().replies > 10);
        let report = server.shutdown(Duration::ZERO);
        println!("{workers} workers: {:?}", report.took);
        balanced(&report.stats);
        assert!(report.overran > 0 && report.threads_left == 0, "{report:?}");
    }
}
