//! Who stops sending still gets every reply that is owed, and then the end of the stream.

use std::process::Command;
use std::time::{Duration, Instant};

use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, PATIENCE};
use greeter_tests::process::{TestedServer, greeter_server};
use greeter_tests::puppet::Puppet;
use greeter_tests::size::{figure, sized};
use greeter_tests::{PLACEMENTS, alone, answered_by, spawn};

#[test]
fn fifty_lines_and_a_half_get_fifty_replies_and_the_end() {
    let _alone = alone();
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).responder(Puppet::default()));
        let mut client = Client::connect(server.local_addr());
        let lines: String = (0..50).map(|n| format!("sleep 2 line {n}\n")).collect();
        client.send(lines + "echo half");
        client.finish_sending();
        for n in 0..50 {
            assert_eq!(client.text(), format!("line {n}\n"));
        }
        let last = Instant::now();
        assert_eq!(client.line(), None);
        figure("the end of the stream after the last reply", format!("{:?}", last.elapsed()));
        assert!(last.elapsed() <= sized(PATIENCE, Duration::from_millis(100)), "{:?}", last.elapsed());
        drop(client);
        let stats = at_rest(&server);
        assert_eq!((stats.lines, stats.replies, stats.discarded, stats.unfinished_lines), (50, 50, 0, 1));
    }
}

/// Whoever asks the system for readiness level by level is told of the half-close for ever, and
/// spins.
#[test]
fn a_half_closed_client_costs_nothing_while_its_reply_is_made() {
    let _alone = alone();
    let mut command = Command::new(greeter_server());
    command.args(["--listen", "127.0.0.1:0", "--workers", "1", "--work", "2s", "--log", "warn"]);
    let server = TestedServer::start_command(command);
    let mut client = Client::connect(server.address());
    client.send("Bob\n");
    client.finish_sending();
    assert_eq!(client.rest(), b"Hello, Bob\n");
    let used = server.cpu_time();
    // The worker's two seconds, and next to nothing for the connection thread.
    assert!(used < Duration::from_millis(2500), "{used:?} of processor time for 2 s of work");
}
