//! Checks of balancers: nothing of them is in the log above `debug`, and none is an error.

use std::fs;
use std::net::SocketAddr;

use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::process::TestedServer;
use greeter_tests::size::sized;
use greeter_tests::{alone, missing_program};
use rustix::process::Signal;

use crate::balancer::{BOTH, Balancer};

/// What each of them is in the log, at `debug`.
const SILENT: &str = "Somebody came and said nothing.";

/// What the log has of a server that nobody has asked anything, and of its agent.
const WORDS: [&str; 4] = ["Server is ready.", "The agent is ready.", "Server is stopping.", "Server has stopped."];

/// What the two servers log.
const LEVELS: [&str; 2] = ["debug", "info"];

/// Starts two servers, of which one logs everything, and stops them when there were so many checks
/// of both. `check` makes one of each, if nobody else does.
fn checks_leave_no_trace(arguments: [&[&str]; 2], wait_until_up: impl FnOnce(), check: impl Fn([SocketAddr; 2])) {
    let directory = TestDirectory::new();
    let mut servers = [0, 1].map(|number| {
        let log = fs::File::create(directory.file(LEVELS[number])).expect("the folder is ours");
        TestedServer::start_logging_to(log, &[arguments[number], &["--log", LEVELS[number]]].concat())
    });
    wait_until_up();
    let log = |level: &str| fs::read_to_string(directory.file(level)).expect("a log is text");
    let addresses = servers.each_ref().map(TestedServer::address);
    wait_until("there were checks", || {
        check(addresses);
        log("debug").matches(SILENT).count() >= sized(20, 100)
    });
    for server in &mut servers {
        server.signal(Signal::TERM);
        assert!(server.wait(PATIENCE).0.success());
    }
    let [debug, info] = LEVELS.map(log);
    let is_known = |line: &str| WORDS.iter().any(|words| line.contains(words));
    assert!(info.lines().all(is_known) && info.lines().count() >= 3, "{info}");
    assert!(!debug.contains("WARN") && !debug.contains("ERROR"), "{debug}");
    assert!(info.contains("turned_away=0") && debug.contains("turned_away=0"), "{info}{debug}");
}

#[test]
fn checks_of_haproxy_leave_no_line_in_the_log() {
    let _alone = alone();
    if missing_program("haproxy", "haproxy") {
        return;
    }
    let balancer = Balancer::start();
    let [a, b] = BOTH.map(|name| balancer.listening(name));
    checks_leave_no_trace([&a, &b], || BOTH.into_iter().for_each(|name| balancer.wait_until_up(name)), |_| ());
}

/// As those of Kubernetes do (`tcpSocket`), and those of whoever resets what it is done with.
#[test]
fn checks_that_only_connect_leave_no_line_in_the_log() {
    let _alone = alone();
    let check = |addresses: [SocketAddr; 2]| {
        for address in addresses {
            drop(Client::connect(address));
            Client::connect(address).reset();
        }
    };
    checks_leave_no_trace([&["--listen", "127.0.0.1:0"]; 2], || (), check);
}
