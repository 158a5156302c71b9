//! One client that sends many lines at once to a responder that takes its time.

use std::thread;
use std::time::Duration;

use greeter_client::ServerAddress;
use greeter_client::load::{self, Lines, Load};
use greeter_tests::books::at_rest;
use greeter_tests::size::{figure, is_full};
use greeter_tests::{alone, builder, spawn};

fn per_second(delay: Duration, workers: usize, in_parallel: usize) -> f64 {
    let take_your_time = move |line: &[u8]| {
        thread::sleep(delay);
        line.to_vec()
    };
    let server = spawn(builder().workers(workers).in_parallel(in_parallel).responder_fn(take_your_time));
    let address: ServerAddress = server.local_addr().to_string().parse().expect("it is an address");
    let mut lines = Lines::new(["guest {{#}}".parse().expect("it is a template")]);
    lines.expect = vec!["{{line}}".parse().expect("it is a template")];
    let mut load = Load::lines(address, lines);
    load.connections = 1;
    load.pipeline = 40;
    load.warmup = Duration::from_millis(if is_full() { 1_000 } else { 50 });
    load.duration = Duration::from_millis(if is_full() { 4_000 } else { 300 });
    let report = load::start(load).expect("it connects").finish().expect("it ends");
    assert_eq!(report.errors(), 0, "{report}");
    at_rest(&server);
    report.per_second()
}

#[test]
fn one_client_has_all_workers_that_are_idle() {
    let _alone = alone();
    // The one is longer than a turn, the other than a tick.
    for delay in [1, 20].map(Duration::from_millis) {
        let one = per_second(delay, 1, 1);
        figure(&format!("one client, replies of {delay:?}, 1 worker: lines in a second"), format!("{one:.0}"));
        for in_parallel in [1, 8] {
            let eight = per_second(delay, 8, in_parallel);
            let what = format!("8 workers, {in_parallel} in parallel: lines in a second, and of that with 1 worker");
            figure(&what, format!("{eight:.0}, {:.2} times", eight / one));
        }
    }
}
