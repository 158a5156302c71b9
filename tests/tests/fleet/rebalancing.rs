//! A server more in a fleet whose clients stay: only who leaves the old ones comes to it.

use std::time::Instant;

use greeter_tests::client::wait_until;
use greeter_tests::size::figure;
use greeter_tests::{alone, missing_program};

use crate::balancer::{Balancer, Name};
use crate::crowd::{Crowd, nobody_is_harmed, sum};

const CLIENTS: usize = 20;

#[test]
fn sessions_of_limited_length_move_to_a_server_that_is_new() {
    let _alone = alone();
    if missing_program("haproxy", "haproxy") {
        return;
    }
    let balancer = Balancer::start();
    let arguments = ["--max-session-time", "2s"];
    let _old = balancer.serve(Name::A, &arguments);
    let crowd = Crowd::new(balancer.address, CLIENTS);
    let _new = balancer.serve(Name::B, &arguments);
    let begun = Instant::now();
    wait_until("each has two fifths at the least", || {
        let [old, new] = [Name::A, Name::B].map(|name| balancer.sessions(name));
        old + new == CLIENTS && old.min(new) * 5 >= CLIENTS * 2
    });
    figure("even shares", format!("after {:.1} s", begun.elapsed().as_secs_f64()));
    wait_until("each was told", || crowd.accounts().iter().all(|account| account.told > 0));
    crowd.each_is_greeted();
    let accounts = crowd.leave();
    nobody_is_harmed(&accounts);
    assert_eq!(sum(&accounts, |it| it.ended), 0, "{accounts:?}");
    figure("sessions that were over", sum(&accounts, |it| it.told));
}
