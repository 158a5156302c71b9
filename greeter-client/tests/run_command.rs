//! `run` as a process: what it reports, and how it ends.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod kit;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use greeter_client::Address;
use kit::{
    Folder, Outcome, PATIENCE, Server, answer, bare_greeter_client, greeter, read_line, run, serve, start, stay_silent,
};

/// What a script against this server comes to, with times and addresses taken out of the report.
fn run_script(address: &Address, script: &str, arguments: &[&str]) -> Outcome {
    let folder = Folder::new(&format!("run-{}", address.to_string().replace([':', '.'], "-")), &[("a.talk", script)]);
    let connect = ["--connect", &address.to_string(), "--timeout", "300ms", "run", "a.talk"];
    let outcome = run(bare_greeter_client(&connect).args(arguments).current_dir(&folder.0));
    let stdout = String::from_utf8(outcome.stdout).unwrap().replace(&address.to_string(), "SERVER");
    Outcome { stdout: masked(&stdout).into_bytes(), ..outcome }
}

/// Puts `N` for what differs from run to run: how long a script took, and our own port.
fn masked(report: &str) -> String {
    let line = |line: &str| {
        let took = line.split_once("  (").filter(|(_, rest)| rest.ends_with(" ms)"));
        match (took, line.split_once("127.0.0.1:")) {
            (Some((script, _)), _) => format!("{script}  (N ms)\n"),
            (None, Some((before, after))) => {
                format!("{before}CLIENT{}\n", after.trim_start_matches(|c: char| c.is_ascii_digit()))
            }
            (None, None) => format!("{line}\n"),
        }
    };
    report.lines().map(line).collect()
}

/// What stands under a report of what blessing would mend.
const ACCEPT: &str = "\n  accept it with: greeter-client run --bless a.talk";

/// As [`fails`]; and what came could be accepted.
#[track_caller]
fn fails_mendably(server: &Server<()>, script: &str, report: &str) {
    fails(server, script, &format!("{report}{ACCEPT}"));
}

#[track_caller]
fn fails(server: &Server<()>, script: &str, report: &str) {
    let start = Instant::now();
    let outcome = run_script(&server.address, script, &[]);
    let expected = format!("FAIL a.talk  (N ms)\n{report}\n\n1 script: 0 passed, 1 failed, 0 skipped\n");
    outcome.is(1, expected, "error: 1 of 1 scripts failed\n");
    // The deadline is 300 ms. How long the machine takes for the rest is its own affair.
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn what_passes_is_told_in_a_line() {
    run_script(&greeter().address, "> Bob\n< Hello, Bob\n", &[]).is(
        0,
        "ok   a.talk  (N ms)\n\n1 script: 1 passed, 0 failed, 0 skipped\n",
        "",
    );
}

#[test]
fn a_wrong_line_is_shown_beside_the_right_one() {
    fails_mendably(
        &greeter(),
        "# Names are not mixed up.\nbob> Ann\nbob< Hello, Ann\nbob> Bob\nbob< Hello, Rob\n",
        "  # Names are not mixed up.\n  a.talk:5  on bob  CLIENT -> SERVER\n      bob> Ann\n      bob< Hello, Ann\n      \
         bob> Bob\n    - bob< Hello, Rob\n    + bob< Hello, Bob\n                  ^",
    );
}

#[test]
fn a_member_of_a_crowd_that_is_wrong_is_named() {
    fails(
        &serve(|_| ()),
        "connect c to {{nowhere}}\n",
        "  a.talk:1\n      connect c to {{nowhere}}\n    {{nowhere}} has no value yet",
    );
}

#[test]
fn what_else_has_come_is_shown() {
    fails_mendably(
        &serve(|mut stream: TcpStream| {
            read_line(&stream);
            stream.write_all(b"one\ntwo\nthree\n").unwrap();
            stay_silent(stream);
        }),
        "> Bob\n< one\n< zwei\n",
        "  a.talk:3  CLIENT -> SERVER\n      > Bob\n      < one\n    - < zwei\n    + < two\n        ^\n      \
         and 6 more bytes: \"three\\n\"",
    );
}

#[test]
fn crlf_where_lf_was_expected_comes_with_a_hint() {
    fails(
        &serve(|mut stream: TcpStream| {
            read_line(&stream);
            stream.write_all(b"hello\r\n").unwrap();
            read_line(&stream);
        }),
        "> Bob\n< hello\n",
        "  a.talk:2  CLIENT -> SERVER\n      > Bob\n    - < hello\n    + < hello\\r\n             ^\n  \
         hint: the server ends its lines with CR LF: put `eol crlf` at the top",
    );
}

#[test]
fn a_placeholder_does_not_take_the_cr_of_crlf_and_says_so() {
    for script in ["> Bob\n< {{*}}\n", "> Bob\n< {{name}}\n", "> Bob\n< he{{name:[a-z]+}}\n"] {
        let pattern = script.trim_end().rsplit('\n').next().unwrap();
        fails(
            &serve(|mut stream: TcpStream| {
                read_line(&stream);
                stream.write_all(b"hello\r\n").unwrap();
                read_line(&stream);
            }),
            script,
            &format!(
                "  a.talk:2  CLIENT -> SERVER\n      > Bob\n    - {pattern}\n    + < hello\\r\n  \
                 hint: the server ends its lines with CR LF: put `eol crlf` at the top"
            ),
        );
    }
}

/// Redis says before a value how long it is, and memcached does so behind the word VALUE.
#[test]
fn as_many_bytes_are_taken_as_the_server_has_said() {
    let counted = |count: &'static str| {
        serve(move |mut stream: TcpStream| {
            read_line(&stream);
            stream.write_all(format!("${count}\na\nb\nc\n").as_bytes()).unwrap();
        })
    };
    let script = "> GET\n< ${{size}}\n<bytes {{size}}\n<\n";
    let passed = "ok   a.talk  (N ms)\n\n1 script: 1 passed, 0 failed, 0 skipped\n";
    run_script(&counted("5").address, script, &[]).is(0, passed, "");
    run_script(&counted("0").address, &script.replace("<\n", "< a\n< b\n< c\n"), &[]).is(0, passed, "");
    for (count, shown) in [("-1", "-1"), ("67108865", "67108865"), ("+5", "+5"), ("\u{1b}", "\\e"), ("", "")] {
        fails(
            &counted(count),
            script,
            &format!(
                "  a.talk:3\n      > GET\n      < ${shown}\n      <bytes {{{{size}}}}\n    {{{{size}}}} is \"{shown}\", \
                 which is no number of bytes: digits alone, and at most 67108864"
            ),
        );
    }
    fails(&serve(|_| ()), "<bytes {{size}}\n", "  a.talk:1\n      <bytes {{size}}\n    {{size}} has no value yet");
    fails(
        &counted("8"),
        script,
        "  a.talk:3  CLIENT -> SERVER\n      > GET\n      < $8\n    - <bytes 8\n    + <\"a\\nb\\nc\\n\", then <eof",
    );
}

#[test]
fn what_a_star_has_skipped_is_counted_and_its_last_lines_are_shown() {
    let serve = |lines: usize| {
        serve(move |mut stream: TcpStream| {
            read_line(&stream);
            (1..=lines).for_each(|line| stream.write_all(format!("250-{line}\n").as_bytes()).unwrap());
        })
    };
    fails_mendably(
        &serve(1),
        "> EHLO\n<*\n< 250 OK\n",
        "  a.talk:3  CLIENT -> SERVER\n      > EHLO\n      <*  (skipped: 1 line)\n      < 250-1\n    \
         - < 250 OK\n    + <eof",
    );
    fails_mendably(
        &serve(1000),
        "> EHLO\n<*\n< 250 OK\n",
        "  a.talk:3  CLIENT -> SERVER\n      <*  (skipped: 1000 lines, of which the last are)\n      \
         < 250-997\n      < 250-998\n      < 250-999\n      < 250-1000\n    - < 250 OK\n    + <eof",
    );
}

#[test]
fn what_the_run_lacks_is_skipped() {
    run_script(&greeter().address, "require tls\n> Bob\n", &[]).is(
        0,
        "skip a.talk  (tls cannot be spoken yet)\n\n1 script: 0 passed, 0 failed, 1 skipped\n",
        "",
    );
}

#[test]
fn variables_come_from_arguments_and_from_the_environment() {
    let folder = Folder::new("variables", &[("a.talk", "> {{who}} and {{other}}\n< Hello, Bob and Ann\n")]);
    let address = greeter().address.to_string();
    let mut command = bare_greeter_client(&["--connect", &address, "run", "-D", "who=Bob", "a.talk"]);
    command.env("TALK_other", "Ann").env("TALK_who", "nobody").current_dir(&folder.0);
    assert_eq!(run(&mut command).code, Some(0));
    folder.run(&["run", "-D", "who", "a.talk"]).is(
        2,
        "",
        "error: -D who: write it as name=value\nfor more: greeter-client --help\n",
    );
}

/// So a script for `load`, whose sessions differ, is tried alone.
#[test]
fn outside_a_crowd_a_script_that_runs_alone_is_session_1() {
    let script = "> guest {{#}}\n< Hello, guest 1\nconnect c to {{server}}\nc> {{#}}\nc< Hello, {{#}}\n";
    let (one, other) = (greeter(), greeter());
    let server = format!("server={}", other.address);
    run_script(&one.address, script, &["-D", &server]).is(
        0,
        "ok   a.talk  (N ms)\n\n1 script: 1 passed, 0 failed, 0 skipped\n",
        "",
    );
}

#[test]
fn nothing_runs_where_one_script_has_errors() {
    let folder = Folder::new("errors", &[("a.talk", "> Bob\n"), ("b.talk", ">Bob\n")]);
    let outcome = folder.run(&["--connect", "127.0.0.1:1", "run", "a.talk", "b.talk"]);
    assert_eq!((outcome.code, outcome.stdout), (Some(2), Vec::new()));
    assert!(outcome.stderr.contains("b.talk:1:2: error: '>Bob' is no statement"), "{}", outcome.stderr);
    folder.run(&["run"]).is(2, "", "error: there is no script to run\nfor more: greeter-client --help\n");
}

#[test]
fn scripts_are_chosen_by_name_and_reported_in_their_order() {
    let fast = "> Bob\n< Hello, Bob\n";
    let slow = "sleep 100ms\n";
    let folder = Folder::new("order", &[("a.talk", slow), ("b.talk", fast), ("c.md", "```talk\nsleep 1ms\n```\n")]);
    let address = greeter().address.to_string();
    let outcome = folder.run(&["--connect", &address, "run", "--jobs", "3", "."]);
    assert_eq!(
        masked(&String::from_utf8(outcome.stdout).unwrap()),
        "ok   ./a.talk  (N ms)\nok   ./b.talk  (N ms)\nok   ./c.md:1  (N ms)\n\n3 scripts: 3 passed, 0 failed, 0 skipped\n"
    );
    let outcome = folder.run(&["--connect", &address, "run", "--filter", ".md", "."]);
    assert_eq!(
        masked(&String::from_utf8(outcome.stdout).unwrap()),
        "ok   ./c.md:1  (N ms)\n\n1 script: 1 passed, 0 failed, 0 skipped\n"
    );
}

/// The command takes a port for its server, which does not use it, but somebody else does.
#[cfg(unix)]
#[test]
fn who_takes_the_port_of_the_server_is_not_taken_for_it() {
    let folder = Folder::new("stranger", &[("a.talk", "> Bob\n< Hello, Bob\n")]);
    let command = ["run", "--server", "sh -c 'echo {port} >port; exec sleep 60'", "a.talk"];
    let running = start(bare_greeter_client(&command).current_dir(&folder.0));
    let deadline = Instant::now() + PATIENCE;
    let port: u16 = loop {
        match std::fs::read_to_string(folder.0.join("port")).ok().and_then(|text| text.strip_suffix('\n')?.parse().ok())
        {
            Some(port) => break port,
            None => assert!(Instant::now() < deadline, "no port was chosen"),
        }
        thread::park_timeout(Duration::from_millis(1));
    };
    let stranger = TcpListener::bind(("127.0.0.1", port)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| answer(stranger.accept().unwrap().0, |line| [b"Hello, ", line].concat()));
        let outcome = running.outcome();
        let report = masked(&String::from_utf8_lossy(&outcome.stdout));
        let expected = format!(
            "FAIL a.talk  (N ms)\n  a.talk  at its start\n    somebody listens on port {port}, though sh has ended: another program took the port, \
             or sh left a process behind\n\n1 script: 0 passed, 1 failed, 0 skipped\n"
        );
        assert_eq!((report, outcome.code), (expected, Some(3)));
    });
}

#[cfg(unix)]
#[test]
fn a_server_that_does_not_listen_on_its_port_is_no_server() {
    let folder = Folder::new("deaf", &[("a.talk", "> Bob\n")]);
    let report = |server: &str, wait: &str| {
        let outcome = folder.run(&["run", "--wait", wait, "--server", server, "a.talk"]);
        assert_eq!(outcome.code, Some(3));
        let report = String::from_utf8(outcome.stdout).unwrap();
        report.lines().nth(2).unwrap().replace(|c: char| c.is_ascii_digit(), "0")
    };
    assert_eq!(
        report("sh -c 'exit 7 # {port}'", "20s"),
        "    sh has ended (exit status: 0): it is to listen on port 00000, and to stay in the foreground"
    );
    assert_eq!(report("sh -c 'exec sleep 60 # {port}'", "50ms"), "    sh does not listen on port 00000 after 00ms");
}

#[cfg(unix)]
#[test]
fn a_server_of_its_own_is_started_for_a_script_and_ended_with_it() {
    let script = "> Bob\n< Hello, Bob\n>eof\n<eof\nsignal TERM\nexits 7\n";
    let folder = Folder::new("server", &[("a.talk", script)]);
    let address = greeter().address.to_string();
    let server = format!(
        "sh -c 'trap \"exit 7\" TERM; echo starting; echo listening on {address}; while :; do sleep 0.01; done'"
    );
    let outcome = folder.run(&["run", "--server", &server, "a.talk"]);
    assert_eq!(outcome.code, Some(0), "{}", String::from_utf8_lossy(&outcome.stdout));
    let outcome = folder.run(&["run", "--server", "false", "a.talk"]);
    assert_eq!(outcome.code, Some(3));
    assert!(String::from_utf8_lossy(&outcome.stdout).contains("false has not said where it listens"));
}
