//! What each signal does to the server that could end it, and that it is heard whatever else the
//! server waits for.

use std::fs;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::missing_program;
use greeter_tests::process::{TestedServer, full_pipe, greeter_server};
use greeter_tests::size::tell;
use rustix::process::{Pid, Signal, kill_process};

use crate::reloads::ReloadingServer;

/// What a person or a supervisor says to end it.
const REQUESTS: [Signal; 2] = [Signal::TERM, Signal::INT];

/// What says that it should end, and may say so over and over.
const HINTS: [Signal; 5] = [Signal::HUP, Signal::ALARM, Signal::VTALARM, Signal::PROF, Signal::XCPU];

/// What is no reason to end.
const NO_REASONS: [Signal; 4] = [Signal::USR1, Signal::USR2, Signal::PIPE, Signal::XFSZ];

const LINES: usize = 10;

const SLOW: [&str; 4] = ["--workers", "1", "--work", "20ms"];

/// Whether a server that we start hears this signal. It does not where we were started with it as
/// ignored: by `nohup`, or by `&` in a script.
fn is_heard(signal: &Signal) -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("the system tells of our process");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("it tells what we ignore");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("that is a mask in hexadecimal");
    let is_heard = ignored >> (signal.as_raw() - 1) & 1 == 0;
    if !is_heard {
        tell(&format!("SKIPPED for {signal:?}, which was ignored when the tests were started"));
    }
    is_heard
}

/// A client with lines on their way, of which the first has been answered.
fn client_in_the_middle(server: &TestedServer) -> Client {
    let mut client = Client::connect(server.address());
    client.send("Bob\n".repeat(LINES));
    assert_eq!(client.text(), "Hello, Bob\n");
    client
}

#[track_caller]
fn answers_the_rest_and_ends_with_0(mut client: Client, mut server: TestedServer) {
    assert_eq!(client.rest(), b"Hello, Bob\n".repeat(LINES - 1));
    drop(client);
    let (status, log) = server.wait(PATIENCE);
    assert_eq!(status.code(), Some(0), "{status}, {log}");
    assert_eq!(log.matches("Server is stopping.").count(), 1, "{log}");
    assert!(log.contains("discarded=0"), "{log}");
}

fn wait_until_it_stops(server: &TestedServer) {
    wait_until("nobody is let in any more", || TcpStream::connect(server.address()).is_err());
}

#[test]
fn a_signal_to_end_has_what_arrived_answered() {
    for signal in REQUESTS.into_iter().chain(HINTS).filter(is_heard) {
        println!("{signal:?}");
        let server = TestedServer::start(&SLOW);
        let client = client_in_the_middle(&server);
        server.signal(signal);
        answers_the_rest_and_ends_with_0(client, server);
    }
}

/// A terminal that closes says so twice, first by the kernel and then by the shell; time that is up
/// is up every second anew.
#[test]
fn a_hint_to_end_may_come_again_and_a_request_behind_it_is_the_first() {
    for hint in HINTS.into_iter().filter(is_heard) {
        for second in [hint, Signal::TERM] {
            println!("{hint:?}, {second:?}");
            let server = TestedServer::start(&SLOW);
            let client = client_in_the_middle(&server);
            server.signal(hint);
            wait_until_it_stops(&server);
            server.signal(second);
            answers_the_rest_and_ends_with_0(client, server);
        }
    }
}

#[test]
fn a_second_request_ends_at_once() {
    for signal in REQUESTS.into_iter().filter(is_heard) {
        let mut server = TestedServer::start(&["--workers", "1", "--work", "60s"]);
        let mut client = Client::connect(server.address());
        client.send("Bob\n");
        server.signal(Signal::TERM);
        wait_until_it_stops(&server);
        server.signal(signal);
        let (status, log) = server.wait(PATIENCE);
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}, {log}");
    }
}

/// What three signals come to where SIGTERM is followed by a delay.
///
/// | first | second | third |
/// |---|---|---|
/// | SIGTERM: goes on as before | any: begins the end | a request: ends at once; a hint: nothing |
/// | SIGINT: begins the end | a request: ends at once; a hint: nothing | |
/// | SIGHUP: begins the end | a request or a hint: nothing | a request behind a request: ends at once |
#[test]
fn a_delay_begins_with_sigterm_and_ends_with_the_next_signal() {
    const SIGNALS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::HUP];
    let is_request = |signal: Signal| signal != Signal::HUP;
    let directory = TestDirectory::new();
    let (mut delayed, mut killed) = (0, 0);
    for [first, second, third] in combinations(SIGNALS) {
        if ![first, second, third].iter().all(is_heard) {
            continue;
        }
        println!("{first:?}, {second:?}, {third:?}");
        let log = directory.file(format!("{first:?} {second:?} {third:?}"));
        let has_logged = |words: &str| fs::read_to_string(&log).is_ok_and(|log| log.contains(words));
        let arguments = ["--workers", "1", "--work", "60s", "--drain-delay", "1h"];
        let mut server =
            TestedServer::start_logging_to(fs::File::create(&log).expect("the folder is ours"), &arguments);
        let mut client = Client::connect(server.address());
        client.send("Bob\n");
        // It has been read, and so the end must wait for it.
        wait_until("it is in the log", || has_logged("Accepted connection."));
        let mut requests = u32::from(is_request(first));
        server.signal(first);
        if first == Signal::TERM {
            wait_until("the delay begins", || has_logged("goes on as before"));
            assert!(TcpStream::connect(server.address()).is_ok(), "clients come as ever");
            delayed += 1;
            server.signal(second);
            wait_until_it_stops(&server);
            requests = 1;
        } else {
            wait_until_it_stops(&server);
            server.signal(second);
            requests += u32::from(is_request(second));
        }
        let stat = format!("/proc/{}/stat", server.id());
        let has_ended = || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z "));
        if requests < 2 {
            requests += u32::from(is_request(third));
            server.signal(third);
        }
        if requests == 2 {
            // Two that come at once are one.
            wait_until("it ends", || {
                server.signal(if is_request(third) { third } else { second });
                has_ended()
            });
        }
        if requests < 2 {
            // It is still at it, or this would not be what ends it.
            server.signal(Signal::KILL);
            assert_eq!(server.wait(PATIENCE).0.signal(), Some(9));
            continue;
        }
        let (status, _) = server.wait(PATIENCE);
        assert!(matches!(status.signal(), Some(2 | 15)), "{status}");
        killed += 1;
    }
    tell(&format!("{delayed} delays, {killed} ended at once"));
}

/// What a signal does to a server with a file of settings, by what it was at before.
///
/// | | SIGTERM | SIGINT | SIGHUP |
/// |---|---|---|---|
/// | serves | begins the delay | begins the end | reads the file |
/// | delay | begins the end | begins the end | is logged |
/// | end | ends at once | ends at once | is logged |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Serving,
    Delay,
    End,
    Gone,
}

#[test]
fn with_a_file_of_settings_a_hangup_neither_ends_nor_hurries_anything() {
    const SIGNALS: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::HUP];
    if !SIGNALS.iter().all(is_heard) {
        return;
    }
    let settings = "listen = \"127.0.0.1:0\"\nworkers = 1\nwork = \"60s\"\ndrain-delay = \"1h\"\ndrain = \"1h\"\n";
    for signals in combinations(SIGNALS) {
        println!("{signals:?}");
        let mut reloading = ReloadingServer::start(settings, &[]);
        let mut client = Client::connect(reloading.server.address());
        client.send("Bob\n");
        // It has been read, and so the end must wait for it.
        wait_until("it is in the log", || reloading.log().contains("Accepted connection."));
        let lets_in = |server: &TestedServer| TcpStream::connect(server.address()).is_ok();
        let mut at = At::Serving;
        let (mut reloads, mut late) = (0, 0);
        for signal in signals {
            at = match (at, signal) {
                (At::Serving, Signal::TERM) => At::Delay,
                (At::Serving | At::Delay, Signal::TERM | Signal::INT) => At::End,
                (At::End | At::Gone, Signal::TERM | Signal::INT) => At::Gone,
                (at, _) => at,
            };
            if at == At::Gone {
                // The first time may have been it.
                wait_until("it ends at once", || {
                    reloading.server.signal(signal);
                    let stat = fs::read_to_string(format!("/proc/{}/stat", reloading.server.id()));
                    stat.is_ok_and(|stat| stat.contains(") Z "))
                });
                break;
            }
            reloading.server.signal(signal);
            reloads += usize::from(at == At::Serving && signal == Signal::HUP);
            late += usize::from(at != At::Serving && signal == Signal::HUP);
            wait_until("it does so", || {
                let log = reloading.log();
                let is_at = match at {
                    At::Serving => lets_in(&reloading.server),
                    At::Delay => log.contains("goes on as before") && lets_in(&reloading.server),
                    At::End | At::Gone => log.contains("Server is stopping.") && !lets_in(&reloading.server),
                };
                let said = log.matches("SIGHUP reads no settings any more").count();
                is_at && (reloading.reloads(), said) == (reloads, late)
            });
        }
        if at != At::Gone {
            // It is still at it, or this would not be what ends it.
            reloading.server.signal(Signal::KILL);
        }
        let (status, _) = reloading.server.wait(PATIENCE);
        let expected: &[i32] = if at == At::Gone { &[2, 15] } else { &[9] };
        assert!(status.signal().is_some_and(|signal| expected.contains(&signal)), "{status}: {}", reloading.log());
    }
}

fn combinations(signals: [Signal; 3]) -> impl Iterator<Item = [Signal; 3]> {
    let pairs = signals.into_iter().flat_map(move |first| signals.map(|second| [first, second]));
    pairs.flat_map(move |[first, second]| signals.map(|third| [first, second, third]))
}

#[test]
fn a_delay_is_over_by_itself() {
    let server = TestedServer::start(&["--drain-delay", "100ms", "--workers", "1", "--work", "20ms"]);
    let client = client_in_the_middle(&server);
    server.signal(Signal::TERM);
    answers_the_rest_and_ends_with_0(client, server);
}

#[test]
fn a_signal_that_is_no_reason_to_end_does_nothing() {
    let server = TestedServer::start(&SLOW);
    let client = client_in_the_middle(&server);
    for signal in NO_REASONS {
        server.signal(signal);
    }
    server.signal(Signal::TERM);
    answers_the_rest_and_ends_with_0(client, server);
}

/// Of `nohup`, and of `&` in a shell without job control.
#[test]
fn what_was_ignored_when_it_started_stays_ignored() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP INT USR1; exec \"$@\"", "sh"]);
    command.arg(greeter_server()).args(["--listen", "127.0.0.1:0"]).args(SLOW);
    let server = TestedServer::start_command(command);
    let client = client_in_the_middle(&server);
    for signal in [Signal::INT, Signal::HUP, Signal::USR1, Signal::INT] {
        server.signal(signal);
    }
    // Had any of these been heard, this would be the second.
    server.signal(Signal::TERM);
    answers_the_rest_and_ends_with_0(client, server);
}

/// Who wants to know what a server is doing right now gets its memory, and no drain.
#[test]
fn quit_ends_at_once() {
    if !is_heard(&Signal::QUIT) {
        return;
    }
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c 0; exec \"$@\"", "sh"]);
    command.arg(greeter_server()).args(["--listen", "127.0.0.1:0"]);
    let mut server = TestedServer::start_command(command);
    server.signal(Signal::QUIT);
    let (status, log) = server.wait(PATIENCE);
    assert_eq!(status.signal(), Some(Signal::QUIT.as_raw()), "{status}, {log}");
}

#[test]
fn a_stdout_that_nobody_reads_keeps_no_signal_from_being_heard() {
    let (_reader, stdout) = full_pipe();
    let server = TestedServer::start_announcing_to(stdout, &[&["--listen", "127.0.0.1:0"], &SLOW[..]].concat());
    let client = client_in_the_middle(&server);
    server.signal(Signal::TERM);
    answers_the_rest_and_ends_with_0(client, server);
}

/// To process 1 of a container the system passes no signal that it has not asked for, its own
/// included: there it cannot die of one, and ends with the status that a shell would tell.
#[test]
fn as_process_1_it_ends_with_the_status_that_a_shell_would_tell() {
    let Some(container) = container() else { return };
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)].into_iter().filter(|(signal, _)| is_heard(signal)) {
        let mut command = Command::new("unshare");
        command.args(container).arg(greeter_server());
        command.args(["--listen", "127.0.0.1:0", "--workers", "1", "--work", "60s"]);
        let mut server = TestedServer::start_command(command);
        let process_1 = only_child(server.id());
        let mut client = Client::connect(server.address());
        client.send("Bob\n");
        kill_process(process_1, Signal::TERM).expect("it is our own");
        wait_until_it_stops(&server);
        kill_process(process_1, signal).expect("it is our own");
        let (status, log) = server.wait(PATIENCE);
        assert_eq!(status.code(), Some(code), "{status}, {log}");
    }
}

#[test]
fn as_process_1_it_drains() {
    let Some(container) = container() else { return };
    let mut command = Command::new("unshare");
    command.args(container).arg(greeter_server()).args(["--listen", "127.0.0.1:0"]).args(SLOW);
    let server = TestedServer::start_command(command);
    let client = client_in_the_middle(&server);
    kill_process(only_child(server.id()), Signal::TERM).expect("it is our own");
    answers_the_rest_and_ends_with_0(client, server);
}

/// How to have `unshare` start a program as process 1; none where that is not allowed.
pub(crate) fn container() -> Option<&'static [&'static str]> {
    const BY_ANYBODY: &[&str] = &["--user", "--map-root-user", "--pid", "--fork", "--kill-child"];
    const BY_ROOT: &[&str] = &["--pid", "--fork", "--kill-child"];
    if missing_program("unshare", "util-linux") {
        return None;
    }
    let is_allowed = |arguments: &&&[&str]| {
        let output = Command::new("unshare").args(**arguments).arg("true").output();
        output.is_ok_and(|output| output.status.success())
    };
    let container = [BY_ANYBODY, BY_ROOT].iter().find(is_allowed).copied();
    if container.is_none() {
        tell("SKIPPED, since this machine lets nobody start a process 1 of their own");
    }
    container
}

/// The process that this one has started.
pub(crate) fn only_child(parent: u32) -> Pid {
    let is_child = |status: &str| status.lines().any(|line| line == format!("PPid:\t{parent}"));
    let mut processes = fs::read_dir("/proc").expect("the system has a table of processes").filter_map(Result::ok);
    let child = processes.find_map(|process| {
        let id = process.file_name().to_str()?.parse().ok()?;
        let status = fs::read(process.path().join("status")).ok()?;
        is_child(&String::from_utf8_lossy(&status)).then_some(id)
    });
    Pid::from_raw(child.expect("it has started a process")).expect("processes are numbered from 1")
}
