//! A stop that lets idle clients go one after the other, so that they do not all come to the next
//! server at once.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use greeter_tests::client::{Client, PATIENCE};
use greeter_tests::size::figure;
use greeter_tests::{alone, missing_program};
use rustix::process::Signal;

use crate::balancer::{Balancer, Name};

const CLIENTS: usize = 40;

const SPREAD: Duration = Duration::from_secs(3);

#[test]
fn a_spread_stop_sends_idle_clients_to_the_other_server_one_after_the_other() {
    let _alone = alone();
    if missing_program("haproxy", "haproxy") {
        return;
    }
    let balancer = Balancer::start();
    let mut old = balancer.serve(Name::A, &["--drain-spread", "3s", "--drain", "1h"]);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(balancer.address)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("Bob"), "Hello, Bob\n"));
    let _new = balancer.serve(Name::B, &[]);
    assert_eq!(balancer.sessions(Name::A), CLIENTS);
    let begun = Instant::now();
    old.signal(Signal::TERM);
    let moves = |mut client: Client| {
        assert_eq!(client.rest(), b"", "it is told nothing, since nothing was asked");
        let after = begun.elapsed();
        assert_eq!(Client::connect(balancer.address).ask("Ann"), "Hello, Ann\n");
        after
    };
    let ends: Vec<Duration> = thread::scope(|scope| {
        let threads: Vec<_> = clients.into_iter().map(|client| scope.spawn(move || moves(client))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it has moved")).collect()
    });
    // How evenly, a machine that does much else may change; but one after the other it is.
    let mut tenths = BTreeMap::<u128, usize>::new();
    ends.iter().for_each(|end| *tenths.entry(end.as_millis() * 10 / SPREAD.as_millis()).or_default() += 1);
    assert!(tenths.len() >= 4, "{tenths:?}");
    let (status, log) = old.wait(PATIENCE);
    assert!(status.success() && log.contains("discarded=0 overran=0"), "{log}");
    assert_eq!(log.matches("reason=the server is shutting down").count(), CLIENTS, "{log}");
    figure("clients let go in each tenth of 3 s", format!("{:?}", tenths.values()));
}
