//! However small the buffers are and however slow who reads, everything goes on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::puppet::Puppet;
use greeter_tests::size::is_full;
use greeter_tests::{answered_by, beside_others, spawn};

const CLIENTS: usize = 8;

#[test]
fn slow_readers_and_few_workers_never_stand_still() {
    let _others = beside_others();
    let lines = if is_full() { 5_000 } else { 300 };
    for workers in [0, 1, 2] {
        let server = spawn(answered_by(workers).max_unsent_bytes(1).responder(Puppet::default()));
        let replies = AtomicU64::new(0);
        let is_done = AtomicBool::new(false);
        let longest_pause = thread::scope(|scope| {
            let pauses = scope.spawn(|| longest_pause(&replies, &is_done));
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let client = match number % 2 {
                        0 => Client::connect(server.local_addr()),
                        _ => Client::connect_with_small_buffer(server.local_addr()),
                    };
                    let replies = &replies;
                    scope.spawn(move || talk(client, number, lines, replies))
                })
                .collect();
            clients.into_iter().for_each(|client| client.join().expect("a client has all its replies"));
            is_done.store(true, Ordering::SeqCst);
            pauses.join().expect("pauses are counted")
        });
        println!("{workers} workers: never more than {longest_pause:?} without a reply");
        if is_full() {
            assert!(longest_pause <= Duration::from_secs(1));
        }
        assert_eq!(at_rest(&server).replies, (CLIENTS * lines) as u64);
    }
}

/// One client: every other one has a small buffer, and takes a rest now and then.
fn talk(mut client: Client, number: usize, lines: usize, replies: &AtomicU64) {
    let mut sender = client.sender();
    thread::scope(|scope| {
        scope.spawn(move || {
            for line in 0..lines {
                sender.send(format!("echo {number}-{line}-{}\n", "x".repeat(line % 300)));
            }
            sender.finish_sending();
        });
        for line in 0..lines {
            assert_eq!(client.text(), format!("{number}-{line}-{}\n", "x".repeat(line % 300)));
            replies.fetch_add(1, Ordering::SeqCst);
            if number % 2 == 1 && line % 100 == 0 {
                thread::sleep(Duration::from_millis(5));
            }
        }
        assert_eq!(client.line(), None);
    });
}

fn longest_pause(replies: &AtomicU64, is_done: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    while !is_done.load(Ordering::SeqCst) {
        let (start, before) = (Instant::now(), replies.load(Ordering::SeqCst));
        wait_until("there is another reply", || {
            is_done.load(Ordering::SeqCst) || replies.load(Ordering::SeqCst) > before
        });
        longest = longest.max(start.elapsed());
    }
    longest
}
