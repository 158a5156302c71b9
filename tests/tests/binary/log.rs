//! Whatever happens to stderr, the server serves and ends as it should, and the log says what it
//! does not show.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use greeter_tests::client::{Client, wait_until};
use greeter_tests::process::{TestedServer, full_pipe, greeter_server};
use rustix::process::Signal;

const ANYWHERE: [&str; 2] = ["--listen", "127.0.0.1:0"];
const AT_MOST: Duration = Duration::from_secs(20);

/// Fifty clients at once, who come and go so often each and have one line answered each time.
fn visit(address: SocketAddr, visits: usize) {
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| (0..visits).for_each(|_| assert_eq!(Client::connect(address).ask("Bob"), "Hello, Bob\n")));
        }
    });
}

fn serves_and_ends(mut server: TestedServer) {
    visit(server.address(), 40);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(AT_MOST).0.code(), Some(0));
}

/// How many events of a kind the log shows, and how many it says that it does not.
fn shown_and_suppressed(log: &str, message: &str) -> (u64, u64) {
    let mut counts = (0, 0);
    for line in log.lines().filter(|line| line.contains(message)) {
        match line.split_once("suppressed=") {
            Some((_, count)) => counts.1 += count.parse::<u64>().expect("a count is a number"),
            None => counts.0 += 1,
        }
    }
    counts
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_clients_nor_the_end() {
    for workers in ["0", "2"] {
        let (_reader, log) = full_pipe();
        let arguments = [&ANYWHERE[..], &["--workers", workers, "--log", "debug"]].concat();
        serves_and_ends(TestedServer::start_logging_to(log, &arguments));
    }
}

/// As a check of a balancer's, which is there for a moment.
#[test]
fn who_has_said_nothing_when_the_server_stops_is_not_in_the_log() {
    let mut server = TestedServer::start(&[]);
    let mut silent = Client::connect(server.address());
    let mut client = Client::connect(server.address());
    assert_eq!(client.ask("Bob"), "Hello, Bob\n");
    server.signal(Signal::TERM);
    assert_eq!((client.rest(), silent.rest()), (Vec::new(), Vec::new()));
    drop((client, silent));
    let (status, log) = server.wait(AT_MOST);
    assert!(status.success(), "{log}");
    let seen = ["Accepted connection.", "Client disconnected."].map(|message| log.matches(message).count());
    assert_eq!(seen, [1, 1], "{log}");
}

#[test]
fn a_log_that_nobody_reads_does_not_hold_up_an_error() {
    let (_reader, log) = full_pipe();
    let mut command = Command::new(greeter_server());
    let status = command.args(["--listen", "nowhere"]).stderr(log).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_log_without_a_reader_stops_nothing() {
    let (reader, log) = io::pipe().unwrap();
    drop(reader);
    serves_and_ends(TestedServer::start_logging_to(log, &ANYWHERE));
}

#[test]
fn a_full_log_stops_nothing() {
    let log = File::options().write(true).open("/dev/full").unwrap();
    serves_and_ends(TestedServer::start_logging_to(log, &ANYWHERE));
}

#[test]
fn a_closed_log_stops_nothing() {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" --listen 127.0.0.1:0 2>&-"]).arg(greeter_server());
    serves_and_ends(TestedServer::start_command(command));
}

#[test]
fn what_is_shown_and_what_is_suppressed_is_all_that_happened() {
    let mut server = TestedServer::start(&[]);
    visit(server.address(), 60);
    server.signal(Signal::TERM);
    let (status, log) = server.wait(AT_MOST);
    assert_eq!(status.code(), Some(0));
    for message in [" INFO Accepted connection.", " INFO Client disconnected."] {
        let (shown, suppressed) = shown_and_suppressed(&log, message);
        assert!(shown >= 100, "the first are shown: {log}");
        assert_eq!(shown + suppressed, 3000, "{log}");
    }
}

#[test]
fn after_a_full_disk_the_log_says_how_much_is_missing() {
    let folder = std::env::temp_dir().join(format!("greeter-log-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("log");
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" --listen 127.0.0.1:0 2>\"$1\""]).arg(greeter_server()).arg(&path);
    let mut server = TestedServer::start_command(command);
    let log = || fs::read_to_string(&path).unwrap();
    wait_until("the server is ready", || log().contains("Server is ready."));
    let visit = || assert_eq!(Client::connect(server.address()).ask("Bob"), "Hello, Bob\n");

    // A file that may not grow is as good as a full disk: the signal that says so as well (SIGXFSZ)
    // ends nothing.
    let room = 1000;
    server.limit_file_bytes(Some(room));
    (0..30).for_each(|_| visit());
    wait_until("the disk is full", || fs::metadata(&path).unwrap().len() == room);
    server.limit_file_bytes(None);
    visit();
    server.signal(Signal::TERM);
    assert_eq!(server.wait(AT_MOST).0.code(), Some(0));

    let log = log();
    fs::remove_dir_all(&folder).unwrap();
    let lost = log.lines().filter_map(|line| line.split_once("WARN Events are missing here")?.1.split_once("lost="));
    let lost: u64 = lost.map(|(_, count)| count.parse::<u64>().unwrap()).sum();
    let whole = ["Server is ready.", "Accepted", "disconnected", "Server is stopping.", "Server has stopped."];
    let (before, after) = log.split_at(room as usize);
    let torn = before.lines().last().unwrap();
    assert!(after.starts_with('\n'), "what was cut off stays by itself: {log}");
    let shown = log.lines().filter(|line| *line != torn && whole.iter().any(|event| line.contains(event))).count();
    // The start and the end, and for each visit its two.
    assert_eq!(shown as u64 + lost, 3 + 31 * 2, "{log}");
}

#[test]
fn a_log_for_programs_has_an_object_in_each_line() {
    let mut server = TestedServer::start(&["--log-format", "json"]);
    assert_eq!(Client::connect(server.address()).ask("Bob"), "Hello, Bob\n");
    server.signal(Signal::TERM);
    let (_, log) = server.wait(AT_MOST);
    assert!(log.lines().all(|line| line.starts_with(r#"{"timestamp":"2"#) && line.ends_with('}')), "{log}");
    assert!(log.contains(r#"Z","level":"INFO","message":"Accepted connection.","peer":"127.0.0.1:"#), "{log}");
    assert!(log.contains(r#","lines":1,"reason":"the "#), "{log}");
}

#[test]
fn an_unknown_format_is_refused() {
    let output = Command::new(greeter_server()).args(["--log-format", "xml"]).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("use text or json"));
}
