//! Where the server listens and what it says to those who start it.

use std::process::{Command, Output};

use greeter_server::{BuildError, ConfigError, Server};
use greeter_tests::client::Client;
use greeter_tests::process::{TestedServer, greeter_server};
use greeter_tests::{builder, spawn};
use rustix::process::Signal;
use std::time::Duration;

fn run(arguments: &[&str]) -> Output {
    Command::new(greeter_server()).args(arguments).output().expect("the server can be started")
}

#[track_caller]
fn refused(arguments: &[&str], reason: &str) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(reason), "{said:?} does not say {reason:?}");
    assert!(output.stdout.is_empty());
}

#[test]
fn without_arguments_it_listens_on_loopback_only() {
    // Somebody else may have the port; what matters is which address is tried.
    let mut child = Command::new(greeter_server());
    let mut child = child.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    let stdout = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut first).unwrap();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{first}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("listening on 127.0.0.1:8080") || said.contains("cannot listen on 127.0.0.1:8080"), "{said}");
    assert!(!said.contains("other hosts"), "{said}");
}

#[test]
fn an_address_that_others_can_reach_is_warned_about_once() {
    let mut server = TestedServer::start_with(&["--listen", "0.0.0.0:0"]);
    assert_ne!(server.address().port(), 0);
    server.signal(Signal::TERM);
    let (_, log) = server.wait(Duration::from_secs(10));
    assert_eq!(log.matches("other hosts").count(), 1, "{log}");
}

#[test]
fn a_busy_port_is_an_error_that_names_it() {
    let server = spawn(builder());
    let address = server.local_addr().to_string();
    refused(&["--listen", &address], &format!("cannot listen on {address}: "));
}

#[test]
fn every_listener_is_announced_and_served() {
    let server = Server::builder().listen("127.0.0.1:0").listen("127.0.0.1:0").build().unwrap().spawn().unwrap();
    let addresses = server.local_addrs();
    assert_ne!(addresses[0], addresses[1]);
    for address in addresses {
        assert_eq!(Client::connect(address).ask("Bob"), "Hello, Bob\n");
    }
}

#[test]
fn all_problems_are_named_at_once() {
    let error = Server::builder().workers(5000).max_line_bytes(0).build().err().unwrap();
    assert_eq!(
        error.to_string(),
        "workers is 5000, but must be from 1 to 1024; max_line_bytes is 0, but must be from 1 to 1073741824; no address to listen on"
    );
    assert!(matches!(error, BuildError::Invalid(problems) if matches!(problems[2], ConfigError::NoAddress)));
}

#[test]
fn help_and_version_go_to_stdout() {
    for (argument, expected) in [("--help", "--max-line-bytes"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let output = run(&[argument]);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains(expected));
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn the_log_says_what_the_articles_program_says() {
    let mut server = TestedServer::start(&[]);
    assert_eq!(Client::connect(server.address()).ask("Bob"), "Hello, Bob\n");
    server.signal(Signal::TERM);
    let (status, log) = server.wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(0));
    let events = ["Server is ready.", "Accepted connection.", "Client disconnected.", "Server has stopped."];
    let places: Vec<_> = events.map(|event| log.find(event).unwrap_or_else(|| panic!("no {event} in {log}"))).into();
    assert!(places.is_sorted(), "{log}");
}
