//! Many lines at once come back in order, and nothing gets stuck.

use std::thread;
use std::time::{Duration, Instant};

use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::puppet::Puppet;
use greeter_tests::size::{figure, sized};
use greeter_tests::{PLACEMENTS, answered_by, beside_others, greeter, spawn};

fn names(count: usize) -> String {
    (0..count).map(|n| format!("guest {n}\n")).collect()
}

#[track_caller]
fn assert_greeted(client: &mut Client, count: usize) {
    let began = Instant::now();
    for n in 0..count {
        assert_eq!(client.text(), format!("Hello, guest {n}\n"));
    }
    figure(&format!("{count} lines in flight"), format!("{:?}", began.elapsed()));
    assert!(began.elapsed() <= sized(PATIENCE, Duration::from_secs(2)), "{:?}", began.elapsed());
}

#[test]
fn ten_thousand_lines_in_one_write_read_at_once() {
    let _others = beside_others();
    for workers in PLACEMENTS {
        let server = greeter(workers);
        let mut client = Client::connect(server.local_addr());
        let mut sender = client.sender();
        let send = thread::spawn(move || sender.send(names(10_000)));
        assert_greeted(&mut client, 10_000);
        send.join().expect("everything is sent");
        drop(client);
        assert_eq!(at_rest(&server).replies, 10_000);
    }
}

#[test]
fn ten_thousand_lines_read_only_once_all_are_sent() {
    let _others = beside_others();
    for workers in PLACEMENTS {
        let server = greeter(workers);
        let mut client = Client::connect(server.local_addr());
        client.send(names(10_000));
        assert_greeted(&mut client, 10_000);
        drop(client);
        assert_eq!(at_rest(&server).replies, 10_000);
    }
}

#[test]
fn ten_thousand_lines_in_segments() {
    let _others = beside_others();
    for workers in PLACEMENTS {
        let server = greeter(workers);
        let mut client = Client::connect(server.local_addr());
        let mut sender = client.sender();
        let send = thread::spawn(move || names(10_000).as_bytes().chunks(1448).for_each(|piece| sender.send(piece)));
        assert_greeted(&mut client, 10_000);
        send.join().expect("everything is sent");
        drop(client);
        assert_eq!(at_rest(&server).replies, 10_000);
    }
}

/// Few workers, small buffers, and readers that cannot keep up: whoever waits for whom must not be
/// a circle.
#[test]
fn slow_readers_with_small_buffers_and_one_worker_get_everything() {
    const LINES: usize = 5_000;
    let _others = beside_others();
    for workers in [1, 2] {
        let server = spawn(answered_by(workers).connection_threads(1));
        thread::scope(|scope| {
            for number in 0..8 {
                let mut client = Client::connect_with_small_buffer(server.local_addr());
                let mut sender = client.sender();
                scope.spawn(move || sender.send(names(LINES)));
                scope.spawn(move || {
                    for n in 0..LINES {
                        assert_eq!(client.text(), format!("Hello, guest {n}\n"));
                        if number % 2 == 0 && n % 100 == 0 {
                            thread::sleep(Duration::from_millis(5));
                        }
                    }
                });
            }
        });
        assert_eq!(at_rest(&server).replies, 8 * LINES as u64);
    }
}

/// A read stops at urgent data, and what is behind it is no news any more.
#[test]
fn urgent_data_does_not_hide_the_lines_behind_it() {
    let _others = beside_others();
    for workers in [0, 1] {
        let server = spawn(answered_by(workers).connection_threads(1).responder(Puppet::default()));
        let mut client = Client::connect(server.local_addr());
        client.send("sleep 200 first\n");
        wait_until("the line is being answered", || server.stats().bytes_received > 0);
        client.send("echo before\n");
        client.send_urgent(b'!');
        client.send("echo behind\n");
        assert_eq!(client.text(), "first\n");
        assert_eq!(client.text(), "before\n");
        assert_eq!(client.text(), "behind\n");
    }
}
