//! A server that ends without a word (SIGKILL): what is lost is what was on its way.

use greeter_tests::client::{Client, PATIENCE};
use greeter_tests::size::figure;
use greeter_tests::{alone, missing_program};
use rustix::process::Signal;

use crate::balancer::{BOTH, Balancer, Name};
use crate::crowd::{Account, Crowd, sum};

const CLIENTS: usize = 16;

#[test]
fn a_server_that_is_killed_costs_its_own_clients_a_line_and_others_nothing() {
    let _alone = alone();
    if missing_program("haproxy", "haproxy") {
        return;
    }
    let balancer = Balancer::start();
    let mut servers = BOTH.map(|name| balancer.serve(name, &[]));
    let crowd = Crowd::new(balancer.address, CLIENTS);
    let [lost, kept] = BOTH.map(|name| balancer.sessions(name));
    assert!(lost > 0 && kept > 0 && lost + kept == CLIENTS, "{lost} and {kept}");
    servers[Name::A as usize].signal(Signal::KILL);
    servers[Name::A as usize].wait(PATIENCE);
    // Whether or not a check has seen it: whom it refuses, the other takes.
    for _ in 0..CLIENTS {
        assert_eq!(Client::connect(balancer.address).ask("Bob"), "Hello, Bob\n");
    }
    crowd.each_is_greeted();
    crowd.each_is_greeted();
    let accounts = crowd.leave();
    let interruptions = |account: &Account| account.ended + account.broken;
    for account in &accounts {
        assert!(account.faults.is_empty() && account.told == 0, "{account:?}");
        // It may come to the one that is going once more, since its clients are cut off before its
        // port is.
        assert!(account.sent_again <= interruptions(account), "{account:?}");
    }
    let interrupted = accounts.iter().filter(|account| interruptions(account) > 0).count();
    assert_eq!(interrupted, lost, "{accounts:?}");
    figure(
        "kill -9",
        format!("{lost} of {CLIENTS} connected again, {} lines lost", sum(&accounts, |it| it.sent_again)),
    );
}
