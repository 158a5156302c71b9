//! A server without descriptors keeps serving those it has, lets others wait, and does not spin.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use greeter_tests::client::Client;
use greeter_tests::process::{TestedServer, greeter_server};
use greeter_tests::size::{figure, sized};
use greeter_tests::{PLACEMENTS, alone, missing_program};
use rustix::process::Signal;

/// How many clients find room, and how many come.
const ROOM: usize = 10;
const CROWD: usize = 60;

/// A crowd before a server that has just run out of descriptors: those who have found room are
/// served, the others wait.
fn crowd(server: &TestedServer) -> Vec<Client> {
    server.limit_descriptors((server.descriptors() + ROOM) as u64);
    let mut crowd: Vec<_> = (0..CROWD).map(|_| Client::connect(server.address())).collect();
    for client in &mut crowd[..ROOM] {
        assert_eq!(client.ask("first"), "Hello, first\n");
    }
    crowd
}

#[test]
fn clients_wait_in_the_backlog_until_there_are_descriptors_again() {
    let _alone = alone();
    for workers in PLACEMENTS {
        let mut server = TestedServer::start(&["--workers", &workers.to_string(), "--log", "warn"]);
        let mut crowd = crowd(&server);
        // Ten go, ten more come in; and so on until all have been served.
        while !crowd.is_empty() {
            for mut client in crowd.drain(..ROOM) {
                assert_eq!(client.ask("at last"), "Hello, at last\n");
            }
        }
        server.signal(Signal::TERM);
        let (status, log) = server.wait(Duration::from_secs(10));
        assert_eq!(status.code(), Some(0));
        let complaints = log.matches("Cannot accept connections").count();
        assert!((1..=20).contains(&complaints), "{log}");
    }
}

#[test]
fn a_server_without_descriptors_rests_while_it_serves_those_it_has() {
    let _alone = alone();
    let hold = sized(Duration::from_secs(1), Duration::from_secs(10));
    for workers in PLACEMENTS {
        let mut server = TestedServer::start(&["--workers", &workers.to_string(), "--log", "warn"]);
        let mut served = Client::connect(server.address());
        assert_eq!(served.ask("before"), "Hello, before\n");
        let crowd = crowd(&server);

        let (began, cpu) = (Instant::now(), server.cpu_time());
        let mut replies = Vec::new();
        while began.elapsed() < hold {
            let asked = Instant::now();
            assert_eq!(served.ask("meanwhile"), "Hello, meanwhile\n");
            replies.push(asked.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
        replies.sort_unstable();
        let slow = replies[replies.len() * 99 / 100];
        let used = (server.cpu_time() - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
        assert!(used <= sized(0.2, 0.05), "{:.0} % of a processor while nothing can be done", used * 100.0);

        let mut next = Client::connect(server.address());
        next.send("next\n");
        assert!(next.hears_nothing_for(Duration::from_millis(100)));
        drop(crowd);
        let relieved = Instant::now();
        assert_eq!(next.text(), "Hello, next\n");
        let waited = relieved.elapsed();
        assert!(waited <= sized(Duration::from_secs(10), Duration::from_millis(1100)), "{waited:?} after the relief");
        assert!(slow <= sized(Duration::from_secs(5), Duration::from_millis(50)), "{slow:?} for who is served");

        drop((next, served));
        server.signal(Signal::TERM);
        let (_, log) = server.wait(Duration::from_secs(10));
        assert!((1..=3).contains(&log.lines().count()), "{log}");
        figure(
            "out of descriptors",
            format!(
                "{:.1} % of a processor, {slow:?} for a reply, {waited:?} after relief, {} log lines",
                used * 100.0,
                log.lines().count()
            ),
        );
    }
}

#[test]
fn a_server_without_descriptors_asks_ten_times_a_second_whether_there_are_some() {
    let _alone = alone();
    if missing_program("strace", "strace") {
        return;
    }
    let hold = sized(Duration::from_secs(1), Duration::from_secs(10));
    let name = format!("out_of_descriptors-{}", std::process::id());
    let trace = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let failed = || fs::read_to_string(&trace).expect("the tracer writes").matches("EMFILE").count();
    for workers in PLACEMENTS {
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-e", "trace=accept4", "-o"]).arg(&trace);
        command.arg(greeter_server()).args([
            "--listen",
            "127.0.0.1:0",
            "--log",
            "warn",
            "--workers",
            &workers.to_string(),
        ]);
        let server = TestedServer::start_command(command);
        let _crowd = crowd(&server);
        let (began, before) = (Instant::now(), failed());
        thread::sleep(hold);
        let (more, took) = (failed() - before, began.elapsed().as_secs_f64());
        figure("accepts a second without descriptors", format!("{:.1}", more as f64 / took));
        assert!(more >= 1, "it never asks again");
        assert!(more as f64 <= 30.0 * took, "{more} accepts in {took:.1} s");
    }
    fs::remove_file(trace).expect("the file is ours");
}
