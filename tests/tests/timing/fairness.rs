//! A client that asks for little waits little, however much others ask for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use greeter_server::ServerHandle;
use greeter_tests::client::Client;
use greeter_tests::puppet::Puppet;
use greeter_tests::size::is_full;
use greeter_tests::{PLACEMENTS, alone, answered_by, spawn};

const GREEDY: usize = 8;

/// The 99th percentile of how long one line takes that is sent alone.
fn polite_p99(server: &ServerHandle, lines: usize) -> Duration {
    let mut client = Client::connect(server.local_addr());
    let mut waits: Vec<_> = (0..lines)
        .map(|n| {
            let start = Instant::now();
            assert_eq!(client.ask(&format!("echo polite {n}")), format!("polite {n}\n"));
            start.elapsed()
        })
        .collect();
    waits.sort_unstable();
    waits[lines * 99 / 100]
}

#[test]
fn eight_greedy_clients_do_not_starve_a_polite_one() {
    let _alone = alone();
    let lines = if is_full() { 300 } else { 50 };
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).responder(Puppet::default()));
        let idle = polite_p99(&server, lines);
        let is_done = AtomicBool::new(false);
        let (beside, greedy) = thread::scope(|scope| {
            let greedy: Vec<_> = (0..GREEDY).map(|_| scope.spawn(|| ask_for_much(&server, &is_done))).collect();
            let beside = polite_p99(&server, lines);
            is_done.store(true, Ordering::SeqCst);
            let greedy: usize =
                greedy.into_iter().map(|one| one.join().expect("a greedy client gets its replies")).sum();
            (beside, greedy)
        });
        let ratio = beside.as_secs_f64() / idle.as_secs_f64();
        println!("{workers} workers: p99 {idle:?} alone, {beside:?} ({ratio:.1} x) beside {greedy} greedy lines");
        assert!(greedy > 0);
        if is_full() {
            assert!(beside <= (20 * idle).max(Duration::from_millis(100)));
        }
    }
}

/// Pipelines for as long as it takes, and tells how many lines were answered.
fn ask_for_much(server: &ServerHandle, is_done: &AtomicBool) -> usize {
    const AT_ONCE: usize = 10_000;
    let mut client = Client::connect(server.local_addr());
    let mut answered = 0;
    while !is_done.load(Ordering::SeqCst) {
        let mut sender = client.sender();
        thread::scope(|scope| {
            scope.spawn(move || sender.send("echo greedy\n".repeat(AT_ONCE)));
            assert!(client.bytes(7 * AT_ONCE).chunks(7).all(|reply| reply == b"greedy\n"));
        });
        answered += AT_ONCE;
    }
    answered
}
