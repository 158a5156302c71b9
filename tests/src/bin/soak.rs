//! Crowds of clients for as long as one likes, and what that does to the server's memory, descriptors and threads.
//!
//! ```text
//! cargo run --release -p greeter-tests --bin soak -- --minutes 10
//! ```
#![expect(clippy::print_stdout, reason = "a report goes to stdout")]

use std::fs;
use std::time::{Duration, Instant};

use argh::FromArgs;
use greeter_server::ServerHandle;
use greeter_tests::books::at_rest;
use greeter_tests::fleet::{LINE_BYTES_MAX, visit};
use greeter_tests::puppet::{Puppet, silence_panics};
use greeter_tests::{builder, spawn};

/// Has crowds of clients visit two servers, one after the other; any reply that is not owed ends it with a panic.
#[derive(FromArgs)]
struct Options {
    /// for how long (default: 10)
    #[argh(option, default = "10.0")]
    minutes: f64,

    /// the first crowd (default: 0)
    #[argh(option, default = "0")]
    seed: u64,

    /// clients in a crowd (default: 40)
    #[argh(option, default = "40")]
    clients: usize,

    /// lines of a client (default: 200)
    #[argh(option, default = "200")]
    lines: usize,
}

/// What this process, server and clients, occupies while no client is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Footprint {
    resident_kib: usize,
    descriptors: usize,
    threads: usize,
}

impl Footprint {
    fn now() -> Self {
        let statm = fs::read_to_string("/proc/self/statm").expect("a process has memory");
        let pages: usize = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).expect("pages are a number");
        let count = |folder| fs::read_dir(folder).expect("a process can look at itself").count();
        Self {
            resident_kib: pages * rustix::param::page_size() / 1024,
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
        }
    }
}

fn main() {
    let options: Options = argh::from_env();
    silence_panics();
    let servers = [0, 2].map(|workers| {
        let builder = builder().workers(workers).line_bytes_max(LINE_BYTES_MAX).unsent_bytes_max(4096);
        spawn(builder.linger(Duration::from_millis(100)).responder(Puppet::default()))
    });
    let start = Instant::now();
    let until = start + Duration::from_secs_f64(options.minutes * 60.0);
    let mut seed = options.seed;
    let mut replies = 0;
    // The first crowds bring what stays.
    for _ in 0..20 {
        replies += round(&servers, seed, &options);
        seed += 1;
    }
    let first = Footprint::now();
    let mut next_report = Instant::now();
    while Instant::now() < until {
        replies += round(&servers, seed, &options);
        seed += 1;
        if Instant::now() >= next_report {
            next_report += Duration::from_secs(15);
            println!("{:>5} s, seed {seed}, {replies} replies: {:?}", start.elapsed().as_secs(), Footprint::now());
        }
    }
    let last = Footprint::now();
    println!("first {first:?}\nlast  {last:?}");
    for server in servers {
        println!("{:?}", server.shutdown(Duration::from_secs(10)));
    }
    assert_eq!((first.descriptors, first.threads), (last.descriptors, last.threads));
    assert!(last.resident_kib <= first.resident_kib + 4 * 1024, "more memory than before");
}

/// One crowd for each server. Afterwards nobody is left, and the figures add up.
fn round(servers: &[ServerHandle], seed: u64, options: &Options) -> usize {
    let visit_one = |server: &ServerHandle| {
        let tally = visit(server.local_addr(), seed, options.clients, options.lines);
        at_rest(server);
        tally.replies
    };
    servers.iter().map(visit_one).sum()
}
