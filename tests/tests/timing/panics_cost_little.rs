//! What panics cost in time, beside what answering costs.

use std::time::{Duration, Instant};

use greeter_server::ServerHandle;
use greeter_tests::client::Client;
use greeter_tests::puppet::silence_panics;
use greeter_tests::size::is_full;
use greeter_tests::{PLACEMENTS, alone, answered_by, spawn};

/// How long so many lines take of which each hundredth is this one.
fn time(server: &ServerHandle, lines: usize, hundredth: &str, its_reply: &str) -> Duration {
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.ask("echo first"), "first\n");
    let start = Instant::now();
    let mut sender = client.sender();
    let (hundredth, others) = (format!("{hundredth}\n"), "echo x\n".to_owned());
    let is_hundredth = |n: usize| n % 100 == 99;
    sender.send((0..lines).map(|n| if is_hundredth(n) { &*hundredth } else { &*others }).collect::<String>());
    for n in 0..lines {
        assert_eq!(client.text(), if is_hundredth(n) { its_reply } else { "x\n" });
    }
    start.elapsed()
}

/// Answers `echo X` after 100 µs, and panics at anything else.
fn expensive(line: &str) -> String {
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(100) {
        std::hint::spin_loop();
    }
    line.strip_prefix("echo ").expect("as told").to_owned()
}

#[test]
fn a_panic_among_a_hundred_replies_costs_little_time() {
    let _alone = alone();
    silence_panics();
    let lines = if is_full() { 10_000 } else { 1_000 };
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).responder_fn(expensive));
        let mut ratios: Vec<_> = (0..5)
            .map(|_| {
                let without = time(&server, lines, "echo y", "y\n");
                let with = time(&server, lines, "panic", "error: internal error\n");
                without.as_secs_f64() / with.as_secs_f64()
            })
            .collect();
        ratios.sort_unstable_by(f64::total_cmp);
        println!(
            "{workers} workers: {:.1} % of the throughput without panics, median of {ratios:.3?}",
            ratios[2] * 100.0
        );
        assert!(!is_full() || ratios[2] >= 0.95);
    }
}
