//! A responder that panics, fails or replies nonsense costs its client one line, and nobody else
//! anything.

use std::time::Duration;

use greeter_tests::client::{Client, wait_until};
use greeter_tests::process::{own_threads, own_threads_left_behind};
use greeter_tests::puppet::{Puppet, silence_panics};
use greeter_tests::{PLACEMENTS, alone, answered_by, beside_others, spawn};

#[test]
fn panics_cost_one_line_each_and_the_pool_keeps_its_size() {
    const LINES: u64 = 10_000;
    let _alone = alone();
    silence_panics();
    for workers in PLACEMENTS {
        let threads = || own_threads("greeter-");
        let others = own_threads_left_behind("greeter-");
        let server = spawn(answered_by(workers).connection_threads(1).responder(Puppet::default()));
        let mut client = Client::connect(server.local_addr());
        assert_eq!(client.ask("echo first"), "first\n");
        // The workers, the connection thread and the watch; each gives itself its name.
        let all = others + workers + 2;
        wait_until("all its threads have begun", || threads() == all);
        let word = |n: u64| match n {
            n if n % 250 == 249 => "panic-locked".to_owned(),
            n if n % 100 == 99 => "panic".to_owned(),
            n => format!("echo {n}"),
        };
        let mut sender = client.sender();
        let send = std::thread::spawn(move || {
            sender.send((0..LINES).map(|n| word(n) + "\n").collect::<String>());
        });
        for n in 0..LINES {
            let expected = word(n).strip_prefix("echo ").map_or("error: internal error\n".into(), |n| format!("{n}\n"));
            assert_eq!(client.text(), expected);
        }
        send.join().expect("everything is sent");
        assert_eq!(threads(), all);
        client.finish_sending();
        assert_eq!(client.line(), None);
        wait_until("the client is gone", || server.stats().open() == 0);
        let stats = server.stats();
        assert_eq!((stats.lines, stats.replies, stats.discarded), (LINES + 1, LINES + 1, 0));
        assert_eq!(stats.responder_errors, LINES / 100 + LINES / 250 - LINES / 500);
    }
}

#[test]
fn a_bad_reply_does_not_reach_the_next_one() {
    let _others = beside_others();
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).responder(Puppet::default()));
        let mut client = Client::connect(server.local_addr());
        assert_eq!(client.ask("nl"), "error: internal error\n");
        assert_eq!(client.ask("err"), "error: internal error\n");
        assert_eq!(client.ask("echo a\rb"), "a\rb\n");
        assert_eq!(client.ask("echo "), "\n");
        client.send(b"\xff\n");
        assert_eq!(client.text(), "error: line is not valid UTF-8\n");
        let big = 64 * 1024 * 1024;
        client.send(format!("big {big}\necho next\n"));
        assert!(client.bytes(big).iter().all(|&byte| byte == b'x'));
        assert_eq!(client.text(), "\n");
        assert_eq!(client.text(), "next\n");
    }
}

#[test]
fn a_responder_that_closes_has_its_last_words_delivered() {
    let _others = beside_others();
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).responder(Puppet::default()));
        // A close with this much input unread would be a reset, and the reply would be lost.
        let mut client = Client::connect(server.local_addr());
        client.send("big 200000\nquit\n".to_owned() + &"echo unread\n".repeat(50_000));
        assert_eq!(client.bytes(200_000).len(), 200_000);
        assert_eq!(client.rest(), b"\nbye\n");
        drop(client);
        wait_until("the client is gone", || server.stats().open() == 0);
        let report = server.shutdown(Duration::from_secs(10));
        assert_eq!(report.stats.replies, 2);
        assert_eq!(report.stats.lines, report.stats.replies + report.stats.discarded);
    }
}
