//! Crowds of clients for as long as one likes, and what that does to the server's memory, descriptors and threads. Meanwhile the host
//! pushes lines, and now and then the responder does not come back before it was given up on.
//!
//! ```text
//! cargo run --release -p greeter-tests --bin soak -- --minutes 10
//! ```
#![expect(clippy::print_stdout, reason = "a report goes to stdout")]

use std::convert::Infallible;
use std::fs;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use argh::FromArgs;
use greeter_server::{Builder, CloseReason, Greeter, ServerHandle};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::fleet::{MAX_LINE_BYTES, PUSH, visit};
use greeter_tests::puppet::{Puppet, silence_panics};
use greeter_tests::{builder, spawn};

const WORKERS: usize = 2;

/// How long the responder may take in the pool, and how long it takes where it hangs.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
const HANG: Duration = Duration::from_secs(3);

/// In one round of so many it hangs, for up to this many clients at once.
const HANGS_EVERY: u64 = 8;
const MAX_HANGS: u64 = 3;

/// How often something is pushed. What is pushed to a client that waits for its reply waits, too, and is not to become too much.
const PUSH_EVERY: Duration = Duration::from_millis(30);

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
#[derive(Clone, Copy, Debug)]
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

/// What clients were told.
#[derive(Debug, Default)]
struct Told {
    replies: usize,
    pushed: usize,
    timed_out: u64,
}

fn main() {
    let options: Options = argh::from_env();
    silence_panics();
    let in_place = spawn(soaked().in_place().responder(Puppet::default()));
    let pool = spawn(soaked().workers(WORKERS).reply_timeout(REPLY_TIMEOUT).responder(Puppet::default()));
    let start = Instant::now();
    let until = start + Duration::from_secs_f64(options.minutes * 60.0);
    let mut seed = options.seed;
    let mut told = Told::default();
    let mut round = || {
        visits(&in_place, seed, 0, &options, &mut told);
        let hangs = if seed.is_multiple_of(HANGS_EVERY) { 1 + seed / HANGS_EVERY % MAX_HANGS } else { 0 };
        visits(&pool, seed, hangs, &options, &mut told);
        seed += 1;
        format!("seed {seed}, {told:?}")
    };
    // The first crowds bring what stays.
    (0..20).for_each(|_| drop(round()));
    wait_for_workers(&pool);
    let first = Footprint::now();
    let mut next_report = Instant::now();
    while Instant::now() < until {
        let told = round();
        if Instant::now() >= next_report {
            next_report += Duration::from_secs(15);
            println!("{:>5} s, {told}: {:?}", start.elapsed().as_secs(), Footprint::now());
        }
    }
    wait_for_workers(&pool);
    wait_until("descriptors and threads are as before", || {
        let Footprint { descriptors, threads, .. } = Footprint::now();
        descriptors <= first.descriptors && threads <= first.threads
    });
    let last = Footprint::now();
    println!("first {first:?}\nlast  {last:?}");
    assert_eq!(pool.stats().closed_by[CloseReason::ReplyTimeout], told.timed_out);
    for server in [in_place, pool] {
        println!("{:?}", server.shutdown(Duration::from_secs(10)));
    }
    assert!(last.resident_kib <= first.resident_kib + 4 * 1024, "more memory than before");
}

fn soaked() -> Builder<Greeter> {
    builder().max_line_bytes(MAX_LINE_BYTES).max_unsent_bytes(4096).linger_timeout(Duration::from_millis(100))
}

/// One crowd, some for whom the responder hangs, and a host that talks to all of them. Afterwards nobody is left, and the figures add up.
fn visits(server: &ServerHandle, seed: u64, hangs: u64, options: &Options, told: &mut Told) {
    let (crowd, crowd_gone) = mpsc::channel::<Infallible>();
    thread::scope(|scope| {
        let host = scope.spawn(move || push_until(server, &crowd_gone));
        let hung: Vec<_> = (0..hangs).map(|number| scope.spawn(move || hang(server, seed + number))).collect();
        let tally = visit(server.local_addr(), seed, options.clients, options.lines);
        told.replies += tally.replies;
        told.pushed += tally.pushed;
        told.timed_out += hung.into_iter().map(|hung| u64::from(hung.join().expect("it was told"))).sum::<u64>();
        drop(crowd);
        host.join().expect("there is room for what is pushed");
    });
    at_rest(server);
}

/// The host says something to everybody or to somebody, all the time.
fn push_until(server: &ServerHandle, end: &Receiver<Infallible>) {
    let mut lines = (1..).map(|number| format!("{PUSH}{number}"));
    while let Err(RecvTimeoutError::Timeout) = end.recv_timeout(PUSH_EVERY) {
        server.push().broadcast(lines.next().unwrap_or_default()).expect("there is room");
        for somebody in server.connections().into_iter().take(2) {
            server.push().line(somebody.peer.id, lines.next().unwrap_or_default()).expect("there is room");
        }
    }
}

/// A client for whom the responder hangs. It waits to be told, and then was, or does not.
fn hang(server: &ServerHandle, seed: u64) -> bool {
    let mut client = Client::connect(server.local_addr());
    client.send("echo here\n");
    assert_eq!(reply(&mut client).as_deref(), Some("here\n"));
    client.send(format!("sleep {} late\n", HANG.as_millis()));
    if seed % 2 == 1 {
        client.reset();
        return false;
    }
    assert_eq!(reply(&mut client).as_deref(), Some("error: timed out\n"));
    assert_eq!(reply(&mut client), None);
    true
}

/// The next line that was not pushed.
fn reply(client: &mut Client) -> Option<String> {
    loop {
        let line = String::from_utf8(client.line()?).expect("a reply is text");
        if !line.starts_with(PUSH) {
            return Some(line);
        }
    }
}

/// Waits until those who hung are back, and the pool has its size.
fn wait_for_workers(pool: &ServerHandle) {
    wait_until("the pool has its size", || pool.workers().len() == WORKERS && pool.stats().workers_timed_out == 0);
}
