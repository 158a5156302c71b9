//! What becomes of `run`, `greet` and the pipe with a server that does not keep to the rules: the
//! exact words, the exit status, little memory, and an end soon after the timeout at the latest.
#![cfg(target_os = "linux")]

use std::any::Any;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use greeter_client::ServerAddress;
use regex::Regex;
use socket2::{Domain, Socket, Type};

use crate::kit::{
    Folder, Outcome, Running, bare_greeter_client, read_line, read_to_the_end, reset, serve, start, stay_silent,
};

/// A server, for as long as the value lives.
type Server = (ServerAddress, Box<dyn Any>);

struct Case {
    server: fn() -> Server,
    /// How long each wait may take.
    timeout: &'static str,
    script: &'static str,
    /// The status of `run`, and what it reports of the script.
    run: (i32, &'static str),
    /// The status of `greet Bob`, what it prints, and what it says on stderr.
    greet: Option<(i32, &'static str, &'static str)>,
    /// The same of a pipe into which `Bob` goes; none where a pipe rightly goes on for ever.
    pipe: Option<(i32, &'static str, &'static str)>,
}

const CASES: &[(&str, Case)] = &[
    (
        "refuses the connection",
        Case {
            server: refuses,
            timeout: "300ms",
            script: "> Bob\n< Hello, Bob\n",
            run: (
                3,
                "  a.talk:1\n      > Bob\n    the connection: cannot be opened: cannot connect to SERVER: \
                 Connection refused (os error 111)",
            ),
            greet: Some((3, "", "error: cannot connect to SERVER: Connection refused (os error 111)\n")),
            pipe: Some((3, "", "error: cannot connect to SERVER: Connection refused (os error 111)\n")),
        },
    ),
    (
        "a black hole",
        Case {
            server: black_hole,
            timeout: "300ms",
            script: "> Bob\n< Hello, Bob\n",
            run: (
                3,
                "  a.talk:1\n      > Bob\n    the connection: cannot be opened: cannot connect to SERVER within 300ms",
            ),
            greet: Some((3, "", "error: cannot connect to SERVER within 300ms\n")),
            pipe: Some((3, "", "error: cannot connect to SERVER within 300ms\n")),
        },
    ),
    (
        "never answers",
        Case {
            server: || served(stay_silent),
            timeout: "300ms",
            script: "> Bob\n< Hello, Bob\n",
            run: (1, "  a.talk:2  CLIENT -> SERVER\n      > Bob\n    - < Hello, Bob\n    + (nothing within T)"),
            greet: Some((3, "", "error: 1 of 1 names unanswered: timed out after 300ms\n")),
            pipe: None,
        },
    ),
    (
        "sends a byte now and then",
        Case {
            server: || served(dribble),
            timeout: "300ms",
            script: "> Bob\n< Hello, Bob\n",
            run: (
                1,
                "  a.talk:2  CLIENT -> SERVER\n      > Bob\n    - < Hello, Bob\n    \
                 + <\"x\" (a line that does not end within T)",
            ),
            greet: Some((3, "", "error: 1 of 1 names unanswered: timed out after 300ms\n")),
            pipe: None,
        },
    ),
    (
        "sends a byte now and then where bytes are expected",
        Case {
            server: || served(dribble),
            timeout: "300ms",
            script: "<\"x\" x 100000\n",
            run: (
                1,
                "  a.talk:1  CLIENT -> SERVER\n    - <\"x\"… (100000 bytes)\n    + <\"x\"\n      C\n      \
                 then the time was over, after T",
            ),
            greet: None,
            pipe: None,
        },
    ),
    (
        "says nothing at the end",
        Case {
            server: || served(stay_silent),
            timeout: "300ms",
            script: "> Bob\n",
            run: (
                1,
                "  a.talk  at its end  CLIENT -> SERVER\n      > Bob\n      >eof\n    - <eof\n    + (nothing within T)",
            ),
            greet: None,
            pipe: None,
        },
    ),
    (
        "a line of 8 MiB",
        Case {
            server: || served(long_line),
            timeout: "15s",
            script: "> Bob\n< Hello, Bob\n",
            run: (
                1,
                "  a.talk:2  CLIENT -> SERVER\n      > Bob\n    - < Hello, Bob\n    + (a line of more than 4194304 bytes)\n      \
                 and N more bytes: \"x\"…",
            ),
            greet: Some((3, "", "error: 1 of 1 names unanswered: the server sent a line longer than 1048576 bytes\n")),
            pipe: Some((
                3,
                "x",
                "error: the server closed the connection in the middle of a line, 8388608 bytes into it\n",
            )),
        },
    ),
    (
        "lines without end",
        Case {
            server: || served(endless_lines),
            timeout: "300ms",
            script: "> Bob\n<*\n< Hello, Bob\n",
            run: (
                1,
                "  a.talk:3  CLIENT -> SERVER\n      <*  (skipped: N lines, of which the last are)\n      < x\n      < x\n      \
                 < x\n      < x\n    - < Hello, Bob\n    + < x\n        ^\n      then the time was over, after T\n      \
                 and N more bytes: \"x\\nx\\n\"…",
            ),
            greet: None,
            pipe: None,
        },
    ),
    (
        "closes at once",
        Case {
            server: || served(drop),
            timeout: "15s",
            script: "< Hello\n",
            run: (1, "  a.talk:1  CLIENT -> SERVER\n    - < Hello\n    + <eof"),
            greet: None,
            pipe: None,
        },
    ),
    (
        "closes at once, and is sent something",
        Case {
            server: || served(drop),
            timeout: "15s",
            script: "<eof\n> Bob\n",
            run: (
                1,
                "  a.talk  at its end\n    the connection: cannot send: the server had closed, and refused what was sent \
                 after that",
            ),
            greet: None,
            pipe: None,
        },
    ),
    (
        "closes in place of a reply",
        Case {
            server: || served(|stream| drop(read_line(&stream))),
            timeout: "15s",
            script: "> Bob\n< Hello, Bob\n",
            run: (1, "  a.talk:2  CLIENT -> SERVER\n      > Bob\n    - < Hello, Bob\n    + <eof"),
            greet: Some((3, "", "error: 1 of 1 names unanswered: the server closed the connection without a reply\n")),
            // Where nothing is owed by any rule, nothing is an answer.
            pipe: Some((0, "", "")),
        },
    ),
    (
        "closes in mid-reply",
        Case {
            server: || served(|stream| answer_once(&stream, "Hello, B")),
            timeout: "15s",
            script: "> Bob\n< Hello, Bob\n",
            run: (
                1,
                "  a.talk:2  CLIENT -> SERVER\n      > Bob\n    - < Hello, Bob\n    \
                 + <\"Hello, B\" (a line that does not end), then <eof",
            ),
            greet: Some((
                3,
                "",
                "error: 1 of 1 names unanswered: the server closed the connection in the middle of a line, 8 bytes into it\n",
            )),
            pipe: Some((
                3,
                "Hello, B",
                "error: the server closed the connection in the middle of a line, 8 bytes into it\n",
            )),
        },
    ),
    (
        "resets in place of a reply",
        Case {
            server: || served(reset),
            timeout: "15s",
            script: "> Bob\n< Hello, Bob\n",
            run: (1, "  a.talk:2  CLIENT -> SERVER\n      > Bob\n    - < Hello, Bob\n    + <reset"),
            greet: Some((
                3,
                "",
                "error: 1 of 1 names unanswered: connection lost: Connection reset by peer (os error 104)\n",
            )),
            pipe: Some((3, "", "error: connection lost: Connection reset by peer (os error 104)\n")),
        },
    ),
    (
        "resets in mid-reply",
        Case {
            server: || {
                served(|mut stream| {
                    stream.write_all(b"Hello, B").unwrap();
                    reset(stream);
                })
            },
            timeout: "15s",
            script: "> Bob\n< Hello, Bob\n",
            run: (
                1,
                "  a.talk:2  CLIENT -> SERVER\n      > Bob\n    - < Hello, Bob\n    \
                 + <\"Hello, B\" (a line that does not end), then <reset",
            ),
            greet: Some((
                3,
                "",
                "error: 1 of 1 names unanswered: connection lost: Connection reset by peer (os error 104)\n",
            )),
            pipe: Some((3, "Hello, B", "error: connection lost: Connection reset by peer (os error 104)\n")),
        },
    ),
    (
        "two replies for one",
        Case {
            server: || {
                served(|stream| {
                    answer_once(&stream, "Hello, Bob\nHello, Bob\n");
                    read_to_the_end(stream);
                })
            },
            timeout: "15s",
            script: "> Bob\n< Hello, Bob\n",
            run: (
                1,
                "  a.talk  at its end  CLIENT -> SERVER\n      > Bob\n      < Hello, Bob\n      >eof\n    - <eof\n    + < Hello, Bob",
            ),
            // They print what the server says, and judge nothing.
            greet: Some((0, "Hello, Bob\nHello, Bob\n", "")),
            pipe: Some((0, "Hello, Bob\nHello, Bob\n", "")),
        },
    ),
    (
        "speaks unasked",
        Case {
            server: || {
                served(|mut stream| {
                    stream.write_all(b"220 ready\n").unwrap();
                    read_to_the_end(stream);
                })
            },
            timeout: "15s",
            script: "<nothing 10s\n",
            run: (1, "  a.talk:1  CLIENT -> SERVER\n    - <nothing 10s\n    + < 220 ready"),
            greet: Some((0, "220 ready\n", "")),
            pipe: Some((0, "220 ready\n", "")),
        },
    ),
];

#[test]
fn run_reports_it() {
    for (server, case) in CASES {
        let (code, report) = case.run;
        let report = format!("FAIL a.talk  (N ms)\n{report}\n\n1 script: 0 passed, 1 failed, 0 skipped\n");
        check(server, case, &["run", "a.talk"], (code, &report, "error: 1 of 1 scripts failed\n"));
    }
}

#[test]
fn greet_tells_it() {
    for (server, case) in CASES {
        case.greet.into_iter().for_each(|expected| check(server, case, &["greet", "Bob"], expected));
    }
}

#[test]
fn the_pipe_tells_it() {
    for (server, case) in CASES {
        case.pipe.into_iter().for_each(|expected| check(server, case, &["pipe"], expected));
    }
}

#[track_caller]
fn check(server: &str, case: &Case, command: &[&str], (code, stdout, stderr): (i32, &str, &str)) {
    /// The program itself, 4 MiB that are read ahead, and what grows or is shown of them.
    const MAX_MEMORY_KIB: u64 = 32 * 1024;
    /// How much later than at its timeout a command may end on a machine that does much else. By
    /// itself it takes milliseconds.
    const SLACK: Duration = Duration::from_secs(10);

    let (address, alive) = (case.server)();
    let folder = Folder::new(&format!("misbehaving-{}-{server}", command[0]), &[("a.talk", case.script)]);
    let address = address.to_string();
    let mut process = bare_greeter_client(&["--connect", &address, "--timeout", case.timeout]);
    let mut running = start(process.args(command).stdin(Stdio::piped()).current_dir(&folder.0));
    // Who does not read it may be gone.
    let _ = running.child.stdin.take().unwrap().write_all(b"Bob\n");
    let since = running.since;
    let (outcome, memory_kib) = watched(running);
    let took = since.elapsed();
    drop(alive);

    // Whether the script could be changed to expect this is not the question here.
    let advice = |line: &&str| !line.starts_with("  accept it with: ");
    let told = masked(&String::from_utf8(outcome.stdout).unwrap(), &address);
    let told: String = told.split_inclusive('\n').filter(advice).collect();
    let seen = Outcome { stdout: told.into_bytes(), stderr: masked(&outcome.stderr, &address), ..outcome };
    let expected = Outcome { code: Some(code), stdout: stdout.into(), stderr: stderr.into() };
    assert_eq!(seen, expected, "{} with a server that {server}", command[0]);
    assert!(took < humantime::parse_duration(case.timeout).unwrap() + SLACK, "{server}: {took:?}");
    assert!(memory_kib < MAX_MEMORY_KIB, "{server}: {memory_kib} KiB");
}

/// What a server of the run's own says may have no end of a line in it.
#[test]
fn what_a_server_prints_costs_no_memory() {
    const MAX_MEMORY_KIB: u64 = 32 * 1024;
    let server = serve(|stream| answer_once(&stream, "Hello, Bob\n"));
    let folder = Folder::new("prints", &[("a.talk", "> Bob\n< Hello, Bob\nabandon\n")]);
    let much = "head -c 200000000 /dev/zero";
    let command = format!("sh -c '{much}; {much} >&2; echo; echo listening on {}; exec sleep 60'", server.address);
    let mut run = bare_greeter_client(&["run", "--wait", "60s", "--server", &command, "a.talk"]);
    let running = start(run.current_dir(&folder.0).stderr(Stdio::null()));
    let (outcome, memory_kib) = watched(running);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(memory_kib < MAX_MEMORY_KIB, "{memory_kib} KiB");
}

/// How the process ends, and the most memory that it was ever seen to occupy.
fn watched(running: Running) -> (Outcome, u64) {
    let status = format!("/proc/{}/status", running.child.id());
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let peak = || {
                let text = fs::read_to_string(&status).ok()?;
                let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
                line.trim().trim_end_matches(" kB").parse::<u64>().ok()
            };
            let mut last = 0;
            while let Some(peak) = peak() {
                last = peak;
                thread::park_timeout(Duration::from_millis(1));
            }
            last
        });
        let outcome = running.outcome();
        (outcome, watch.join().unwrap())
    })
}

/// The text without what differs from run to run: ports, times, and how much came.
fn masked(text: &str, address: &str) -> String {
    let masks = [
        (r"127\.0\.0\.1:\d+ ->", "CLIENT ->"),
        (r"\(\d+ ms\)", "(N ms)"),
        (r"(within|after) \d+\.\d+(ms|s)", "$1 T"),
        (r"skipped: \d+ lines", "skipped: N lines"),
        (r"and \d+ more bytes", "and N more bytes"),
        // Behind as many bytes as came.
        (r" {9,}\^", "      C"),
    ];
    let text = short_rows(text).replace(address, "SERVER");
    masks.iter().fold(text, |text, (mask, shown)| Regex::new(mask).unwrap().replace_all(&text, *shown).into_owned())
}

/// Of each row of x, the first one: of 8 MiB of them, a regex makes a matter of minutes.
fn short_rows(text: &str) -> String {
    let mut previous = ' ';
    text.chars().filter(|&c| std::mem::replace(&mut previous, c) != 'x' || c != 'x').collect()
}

// The servers.

fn served(session: impl FnOnce(TcpStream) + Send + 'static) -> Server {
    let server = serve(session);
    (server.address.clone(), Box::new(server))
}

fn refuses() -> Server {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    (nobody.into(), Box::new(()))
}

/// Nobody accepts here. Once the listener's queue is full, Linux drops who else comes.
fn black_hole() -> Server {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        waiting.push(stream);
        assert!(waiting.len() < 1_000, "the queue has an end");
    }
    (address.into(), Box::new((listener, waiting)))
}

/// Sends a byte now and then until the client goes away.
fn dribble(mut stream: TcpStream) {
    while stream.write_all(b"x").is_ok() {
        thread::park_timeout(Duration::from_millis(5));
    }
}

fn long_line(mut stream: TcpStream) {
    read_line(&stream);
    let _ = (0..128).try_for_each(|_| stream.write_all(&[b'x'; 65536]));
}

fn endless_lines(mut stream: TcpStream) {
    let lines = [&[b'x'; 99][..], b"\n"].concat().repeat(1024);
    while stream.write_all(&lines).is_ok() {}
}

fn answer_once(mut stream: &TcpStream, reply: &str) {
    read_line(stream);
    stream.write_all(reply.as_bytes()).unwrap();
}
