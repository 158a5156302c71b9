//! Crowds of clients that do everything clients can do get what a model says, whatever the server
//! is set to.

use std::time::{Duration, Instant};

use greeter_server::ServerHandle;
use greeter_tests::books::at_rest;
use greeter_tests::fleet::{FleetRandom, MAX_LINE_BYTES, visit};
use greeter_tests::puppet::{Puppet, silence_panics};
use greeter_tests::size::is_full;
use greeter_tests::{answered_by, spawn};

const CLIENTS: usize = 30;
const LINES: usize = 70;

/// A seed that failed is tried again, alone, with `GREETER_SEED`.
fn seeds() -> Vec<u64> {
    match std::env::var("GREETER_SEED") {
        Ok(seed) => vec![seed.parse().expect("GREETER_SEED is a number")],
        Err(_) if is_full() => (0..200).collect(),
        Err(_) => (0..16).collect(),
    }
}

/// A server with tiny limits, others for each seed.
fn server_of(seed: u64) -> ServerHandle {
    let mut random = FleetRandom::new(!seed);
    let queue_timeout = if random.once_in(4) { Duration::from_millis(1) } else { Duration::from_secs(20) };
    spawn(
        answered_by([0, 1, 2, 4][random.below(4)])
            .connection_threads(1 + random.below(2))
            .max_line_bytes(MAX_LINE_BYTES)
            .max_unsent_bytes([1, 100, 4096][random.below(3)])
            .queue_timeout(queue_timeout)
            .responder(Puppet::default()),
    )
}

#[test]
fn every_client_of_any_crowd_gets_exactly_what_it_is_owed() {
    silence_panics();
    let start = Instant::now();
    let (mut replies, mut busy, mut whole, mut refused) = (0, 0, 0, 0);
    for seed in seeds() {
        eprintln!("GREETER_SEED={seed}");
        let server = server_of(seed);
        let tally = visit(server.local_addr(), seed, CLIENTS, LINES);
        let stats = at_rest(&server);
        assert!(stats.replies >= tally.replies as u64, "what was read was sent");
        assert!(stats.busy >= tally.busy as u64);
        assert_eq!(stats.accepted, CLIENTS as u64);
        assert_eq!(server.shutdown(Duration::from_secs(10)).threads_left, 0);
        replies += tally.replies;
        busy += tally.busy;
        whole += tally.whole;
        refused += tally.refused;
    }
    println!(
        "{replies} replies, {busy} of them busy; {whole} clients got all, {refused} were refused; {:?}",
        start.elapsed()
    );
    assert!(whole > 0);
}
