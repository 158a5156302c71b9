//! Whatever the system refuses while the server starts, it serves all the same or says what it
//! could not do, and ends.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use greeter_tests::client::Client;
use greeter_tests::process::{TestedServer, greeter_server};
use greeter_tests::size::{figure, sized};
use greeter_tests::{PLACEMENTS, missing_program};
use rustix::process::Signal;

use crate::kit::World;

/// What it asks of the system, and how that may fail.
const CALLS: [(&str, &str); 13] = [
    ("socket", "EMFILE"),
    ("setsockopt", "ENOBUFS"),
    ("bind", "ENOMEM"),
    ("listen", "EADDRINUSE"),
    ("ioctl", "EIO"),
    ("fcntl", "EIO"),
    ("getsockname", "ENOBUFS"),
    ("epoll_create1", "ENFILE"),
    ("epoll_ctl", "ENOSPC"),
    ("eventfd2", "EMFILE"),
    ("socketpair", "ENFILE"),
    ("clone3", "EAGAIN"),
    ("sched_getaffinity", "EPERM"),
];

/// How a start went in which one call failed.
enum Start {
    Served,
    Refused { said: String },
}

#[test]
fn whichever_call_fails_it_serves_or_says_what_it_cannot_do() {
    if missing_program("strace", "strace") {
        return;
    }
    for workers in PLACEMENTS {
        for (call, error) in CALLS {
            let mut starts = 0;
            while let Some(start) = start_without(workers, call, error, starts + 1) {
                starts += 1;
                if let Start::Refused { said } = start {
                    let last = said.lines().last().unwrap_or_default();
                    assert!(last.starts_with("error: cannot "), "{call} number {starts}: {said}");
                    figure(&format!("{call} number {starts} fails"), last);
                } else {
                    figure(&format!("{call} number {starts} fails"), "serves");
                }
            }
            assert!(starts > 0 || call == "ioctl", "{call} is never called: nothing was tried");
        }
    }
}

/// With TLS, one more of them is that which reads the certificates again.
#[test]
fn without_a_thread_for_its_certificates_it_ends_with_1() {
    if missing_program("strace", "strace") {
        return;
    }
    let world = World::new();
    let (certificate, key) = world.identity("server", &["localhost"]);
    let said = (1..100).find_map(|time| {
        let mut command = Command::new("strace");
        command.args(["-D", "-o", "/dev/null", "-e", &format!("inject=clone3:error=EAGAIN:when={time}")]);
        command.arg(greeter_server()).args(["--listen", "tls:127.0.0.1:0"]);
        command.arg("--tls-cert").arg(&certificate).arg("--tls-key").arg(&key);
        let (status, said) = TestedServer::try_start(command, 1).err()?;
        assert_eq!(status.code(), Some(1), "clone3 number {time}: {said}");
        Some(said).filter(|said| said.contains("certificates"))
    });
    let said = said.expect("that thread is one of the first");
    assert!(
        said.ends_with("error: cannot watch the certificates: Resource temporarily unavailable (os error 11)\n"),
        "{said}"
    );
}

/// Starts a server whose main thread is refused this call for this time; none if it does not make
/// it so often.
fn start_without(workers: usize, call: &str, error: &str, time: usize) -> Option<Start> {
    let trace = trace_file(&format!("{workers}-{call}-{time}"));
    let mut command = Command::new("strace");
    // The tracer stands aside: the process that we start becomes the server. Threads are not
    // followed.
    command.args(["-D", "-o"]).arg(&trace).args(["-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:error={error}:when={time}")]);
    command.arg(greeter_server()).args(["--listen", "127.0.0.1:0", "--log", "warn", "--workers", &workers.to_string()]);
    let began = Instant::now();
    let start = match TestedServer::try_start(command, 1) {
        Ok(mut server) => {
            assert_in_time(began);
            assert_eq!(Client::connect(server.address()).ask("Bob"), "Hello, Bob\n", "{call} number {time}");
            server.signal(Signal::TERM);
            let (status, log) = server.wait(Duration::from_secs(20));
            assert_eq!(status.code(), Some(0), "{call} number {time}: {log}");
            Start::Served
        }
        Err((status, said)) => {
            assert_in_time(began);
            assert!(!said.to_lowercase().contains("panicked"), "{call} number {time}: {said}");
            assert!(matches!(status.code(), Some(1 | 2)), "{call} number {time}: {status}: {said}");
            Start::Refused { said }
        }
    };
    let traced = fs::read_to_string(&trace).expect("the tracer writes");
    fs::remove_file(trace).expect("the file is ours");
    traced.contains("(INJECTED)").then_some(start)
}

#[track_caller]
fn assert_in_time(began: Instant) {
    let took = began.elapsed();
    assert!(took <= sized(Duration::from_secs(15), Duration::from_secs(2)), "{took:?}");
}

/// A file for the tracer that no other run of this test has.
fn trace_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("starting_in_trouble-{}-{name}", std::process::id()))
}
