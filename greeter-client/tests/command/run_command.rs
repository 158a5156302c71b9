//! `run` as a process: what it reports, and how it ends.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use greeter_client::ServerAddress;

use crate::kit::{
    Folder, Outcome, PATIENCE, Says, Server, answer, bare_greeter_client, greeter, puppet, read_line, run, serve,
    start, stay_silent,
};

/// What a script against this server comes to, with times and addresses taken out of the report.
fn run_script(address: &ServerAddress, script: &str, arguments: &[&str]) -> Outcome {
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

/// A server that greets Bob, on any number of connections.
fn hello_bob() -> ServerAddress {
    puppet(BTreeMap::from([("Bob".to_owned(), Says::lines(&["Hello, Bob"]))]))
}

/// What stands under a report of what blessing would mend.
const ACCEPT: &str = "\n  accept it with: greeter-client --connect SERVER --timeout 300ms run --bless a.talk";

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

/// Else it would be another server, or other lines, that the script is changed for.
#[cfg(unix)]
#[test]
fn the_advice_to_bless_has_the_options_of_the_run() {
    let script = "> {{who}}\n< Hello, {{who}}!\n";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        listener.incoming().for_each(|stream| answer(stream.unwrap(), |line| [b"Hello, ", line].concat()));
    });
    let says = format!("sh -c 'echo listening on {address}; exec sleep 60'");
    let (connect, crlf) =
        (["--connect", &address, "run"], ["--eol", "crlf", "run", "--server", &says, "--max-time=20s"]);
    let options = [
        (&connect[..], format!("greeter-client --connect {address} run --bless -D 'who=Ann and Bob'")),
        (
            &crlf[..],
            format!("greeter-client --eol crlf run --bless --server \"{says}\" --max-time 20s -D 'who=Ann and Bob'"),
        ),
    ];
    for (arguments, command) in options {
        let folder = Folder::new("advice", &[("it's.talk", script)]);
        let outcome = folder.run(&[arguments, &["-D", "who=Ann and Bob", "it's.talk"]].concat());
        let report = String::from_utf8(outcome.stdout).unwrap();
        let advice = report.lines().find_map(|line| line.strip_prefix("  accept it with: "));
        assert_eq!(advice, Some(&*format!("{command} 'it'\\''s.talk'")), "{report}");
        // As a shell takes it.
        let itself = advice.unwrap().replace("greeter-client", "\"$0\"");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &itself, env!("CARGO_BIN_EXE_greeter-client")]).env_remove("CI").current_dir(&folder.0);
        let blessed = run(shell.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()));
        assert_eq!((blessed.code, &*folder.text("it's.talk")), (Some(0), "> {{who}}\n< Hello, {{who}}\n"));
    }
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
    run_script(&greeter().address, "require server\n> Bob\n", &[]).is(
        0,
        "skip a.talk  (this run has no server of its own: give it one with --server)\n\n1 script: 0 passed, 0 failed, 1 skipped\n",
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
    let script = "> guest {{#}}\n< Hello, guest 1\nconnect c to {{server}}\nc> {{#}}\nc< Hello, {{#}}\n\
                  set order = order-{{#n}}\n> {{order}}\n< Hello, order-1\n";
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

#[test]
fn after_a_failure_nothing_more_is_begun_if_so_asked() {
    let (good, bad) = ("> Bob\n< Hello, Bob\n", "> Bob\n< Hello, Rob\n");
    let folder = Folder::new("fail-fast", &[("a.talk", good), ("b.talk", bad), ("c.talk", good), ("d.talk", bad)]);
    let address = hello_bob().to_string();
    let run = |arguments: &[&str]| {
        let outcome = folder.run(&[&["--connect", &address, "run"], arguments, &["."]].concat());
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        (masked(&String::from_utf8(outcome.stdout).unwrap()), outcome.stderr)
    };
    let heads = |report: &str| -> Vec<String> {
        report.lines().filter(|line| line.contains(".talk  (")).map(|line| line[..13].to_owned()).collect()
    };
    let (report, error) = run(&["--fail-fast"]);
    assert_eq!(heads(&report), ["ok   ./a.talk", "FAIL ./b.talk"]);
    assert!(report.ends_with("\n4 scripts: 1 passed, 1 failed, 0 skipped, 2 not run\n"), "{report}");
    assert_eq!(error, "error: 1 of 4 scripts failed, and 2 were not run\n");
    // Only a failure that stays one.
    let (report, _) = run(&["--fail-fast", "--retries", "1"]);
    assert_eq!(heads(&report), ["ok   ./a.talk", "fail ./b.talk", "FAIL ./b.talk"]);
    let (report, error) = run(&[]);
    assert!(report.ends_with("\n4 scripts: 2 passed, 2 failed, 0 skipped\n"), "{report}");
    assert_eq!(error, "error: 2 of 4 scripts failed\n");
}

/// The second goes on when it has been told that the first one failed.
#[test]
fn what_has_begun_when_another_fails_goes_on_to_its_end() {
    let (failed, go) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = std::sync::mpsc::channel::<()>();
    let second = serve(move |mut stream: TcpStream| {
        read_line(&stream);
        begun.send(()).unwrap();
        go.recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"Hello, Bob\n").unwrap();
    });
    let first = serve(move |mut stream: TcpStream| {
        read_line(&stream);
        has_begun.recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"Hello, Rob\n").unwrap();
    });
    let files = [
        ("a.talk", "connect other to {{first}}\nother> Bob\nother< Hello, Bob\n"),
        ("b.talk", "> Bob\n< Hello, Bob\n<eof\n"),
        ("c.talk", "> Bob\n"),
        ("d.talk", "> Bob\n"),
    ];
    let folder = Folder::new("goes-on", &files);
    let connect = ["--connect", &second.address.to_string(), "--timeout", "60s"];
    let mut command = bare_greeter_client(&connect);
    command.args(["run", "--fail-fast", "--jobs=2", "-D", &format!("first={}", first.address), "."]);
    let mut child = command.current_dir(&folder.0).spawn().unwrap();
    let mut report = BufReader::new(child.stdout.take().unwrap());
    let mut told = String::new();
    report.read_line(&mut told).unwrap();
    failed.send(()).unwrap();
    report.read_to_string(&mut told).unwrap();
    child.wait().unwrap();
    assert!(told.starts_with("FAIL ./a.talk") && told.contains("\nok   ./b.talk"), "{told}");
    assert!(told.ends_with("\n4 scripts: 1 passed, 1 failed, 0 skipped, 2 not run\n"), "{told}");
}

#[test]
fn each_script_is_in_one_shard_of_those_that_the_filter_leaves() {
    let pass = "> Bob\n< Hello, Bob\n";
    let names = ["a1.talk", "a2.talk", "b1.talk", "b2.talk", "b3.talk"];
    let folder = Folder::new("shards", &names.map(|name| (name, pass)));
    let address = hello_bob().to_string();
    let run = |arguments: &[&str]| {
        let outcome = folder.run(&[&["--connect", &address, "run"], arguments, &["."]].concat());
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let report = String::from_utf8(outcome.stdout).unwrap();
        report.lines().filter_map(|line| Some(line.strip_prefix("ok   ./")?.split_once("  ")?.0.to_owned())).collect()
    };
    let shard = |shard: &str| -> Vec<String> { run(&["--shard", shard]) };
    assert_eq!([shard("1/2"), shard("2/2")], [vec!["a1.talk", "b1.talk", "b3.talk"], vec!["a2.talk", "b2.talk"]]);
    let of_b: [Vec<String>; 2] = ["1/2", "2/2"].map(|shard| run(&["--filter", "b", "--shard", shard]));
    assert_eq!(of_b, [vec!["b1.talk", "b3.talk"], vec!["b2.talk"]]);
    // One without a script has nothing to do; but a filter that leaves nothing is a mistake.
    assert_eq!(shard("6/6"), [""; 0]);
    let outcome = folder.run(&["run", "--shard", "1/2", "--filter", "c", "."]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
}

#[test]
fn what_cannot_be_shared_or_tried_again_is_refused() {
    let folder = Folder::new("refused", &[("a.talk", "> Bob\n")]);
    for (option, value, why) in [
        ("--shard", "0/2", "write K/N, as in 1/4: the first of four parts"),
        ("--shard", "3/2", "write K/N, as in 1/4: the first of four parts"),
        ("--retries", "101", "write a number from 0 to 100"),
    ] {
        let error = format!("cannot parse option '{option}' with value '{value}': {why}");
        folder.run(&["run", option, value, "a.talk"]).is(
            2,
            "",
            &format!("error: {error}\nfor more: greeter-client --help\n"),
        );
    }
    let error = "error: --retries is for what comes now and then, and --bless would make that what is expected\n\
                 for more: greeter-client --help\n";
    folder.run(&["run", "--bless", "--force", "--retries", "1", "a.talk"]).is(2, "", error);
}

/// Each of its servers answers better than the one before.
#[cfg(unix)]
#[test]
fn a_script_that_fails_is_tried_again_with_a_fresh_server() {
    let greeter = greeter();
    let bad = serve(|mut stream: TcpStream| {
        read_line(&stream);
        stream.write_all(b"Hello, Rob\n").unwrap();
    });
    let folder = Folder::new("retries", &[("a.talk", "> Bob\n< Hello, Bob\n")]);
    let command = format!(
        "sh -c 'echo $$ >>servers; case $(wc -l <servers) in 1) exit 7;; 2) echo listening on {};; *) echo listening on {};; esac; \
         exec sleep 60'",
        bad.address, greeter.address
    );
    let outcome = folder.run(&["run", "--server", &command, "--retries", "3", "a.talk"]);
    let report = masked(&String::from_utf8(outcome.stdout).unwrap());
    let heads: Vec<&str> = report.lines().filter(|line| line.contains(" ms)")).collect();
    assert_eq!(heads, ["fail a.talk  (N ms)", "fail a.talk  (N ms)", "ok   a.talk  (N ms)"], "{report}");
    assert!(report.contains("and has ended (exit status: 7)") && report.contains("    + < Hello, Rob"), "{report}");
    assert!(report.ends_with("\n1 script: 1 passed (1 at try 3), 0 failed, 0 skipped\n"), "{report}");
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let servers = folder.text("servers");
    let pids: std::collections::BTreeSet<&str> = servers.lines().collect();
    assert_eq!(pids.len(), 3, "{servers}");
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
            "FAIL a.talk  (N ms)\n  a.talk  at its end\n    somebody listens on port {port}, though sh has ended: another program took the port, \
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

/// What a file says that somebody else writes, with a newline at its end when it is whole.
fn told(folder: &Folder, name: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(folder.0.join(name)).unwrap_or_default();
        if let Some(text) = text.strip_suffix('\n') {
            return text.to_owned();
        }
        assert!(Instant::now() < deadline, "{name} was not written");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Waits until the process whose number a file says has ended, whether or not its parent knows.
#[cfg(target_os = "linux")]
#[track_caller]
fn has_ended(folder: &Folder, name: &str) {
    let stat = format!("/proc/{}/stat", told(folder, name));
    let deadline = Instant::now() + PATIENCE;
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "{name} goes on");
        thread::park_timeout(Duration::from_millis(1));
    }
}

#[cfg(unix)]
#[test]
fn a_server_that_ends_before_it_listens_is_told_with_its_status_and_its_last_words() {
    let folder = Folder::new("too-early", &[("a.talk", "> Bob\n")]);
    let port_number = regex::Regex::new(r"port \d+").unwrap();
    let port = "it is to listen on port N, and to stay in the foreground";
    let no_port = "a line \"listening on ADDRESS\" on its stdout";
    for (server, how, words) in [
        ("sh -c 'echo 1 >&2; printf \"\\033no\" >&2; exit 7 # {port}'", "has ended (exit status: 7)", port),
        (
            "sh -c 'echo 1 >&2; printf \"\\033no\" >&2; exit 7'",
            "has not said where it listens, and has ended (exit status: 7)",
            no_port,
        ),
        // Somebody still holds its outputs.
        (
            "sh -c 'sleep 60 & echo 1 >&2; printf \"\\033no\" >&2; kill -KILL $$'",
            "has not said where it listens, and has ended (signal: 9 (SIGKILL))",
            no_port,
        ),
    ] {
        let report = |format: &str| {
            let outcome = folder.run(&["run", "--wait", "60s", "--report", format, "--server", server, "a.talk"]);
            assert_eq!((outcome.code, outcome.stderr.starts_with("1\n\u{1b}no")), (Some(3), true), "{outcome:?}");
            let report = String::from_utf8(outcome.stdout).unwrap();
            port_number.replace_all(&report, "port N").into_owned()
        };
        let message = format!("sh {how}: {words}");
        let text = format!("    {message}\n      stderr: 1\n      stderr: \\eno\n");
        assert!(report("text").contains(&text), "{}", report("text"));
        let tap = text.lines().map(|line| format!("    {line}\n")).collect::<String>();
        assert!(report("tap").contains(&tap), "{}", report("tap"));
        let junit = report("junit");
        let document = roxmltree::Document::parse(&junit).unwrap();
        let error = document.descendants().find(|node| node.has_tag_name("error")).unwrap();
        assert_eq!(error.attribute("message"), Some(&*message));
        assert!(error.text().unwrap().contains(text.trim_end()), "{junit}");
        let json: serde_json::Value = serde_json::from_str(report("json").lines().next().unwrap()).unwrap();
        assert!(json["failure"]["report"].as_str().unwrap().contains(text.trim_end()), "{json}");
    }
}

/// It has ended a connection because it came to its own end.
#[cfg(target_os = "linux")]
#[test]
fn a_server_that_ends_under_a_script_is_told_with_its_status_and_its_last_words() {
    let folder = Folder::new("dies", &[("a.talk", "> Bob\n< Hello, Bob\n")]);
    let path = folder.0.clone();
    let server = serve(move |stream: TcpStream| {
        read_line(&stream);
        let folder = std::mem::ManuallyDrop::new(Folder(path));
        std::fs::write(folder.0.join("die"), "").unwrap();
        has_ended(&folder, "pid");
    });
    let command = format!(
        "sh -c 'echo $$ >pid; echo listening on {}; until [ -e die ]; do sleep 0.01; done; echo oh >&2; exit 9'",
        server.address
    );
    let outcome = folder.run(&["run", "--server", &command, "a.talk"]);
    let report = masked(&String::from_utf8(outcome.stdout).unwrap()).replace(&server.address.to_string(), "SERVER");
    let expected = "    + <eof\n      the server has ended (exit status: 9)\n      stderr: oh\n\n1 script: ";
    assert!(report.contains(expected), "{report}");
}

/// It says its last line, ends like this, and only then are its connections closed. None if it goes
/// on.
#[cfg(target_os = "linux")]
fn with_a_server_that_ends(folder: &Folder, end: Option<&str>, reply: &'static str, arguments: &[&str]) -> Outcome {
    let path = folder.0.clone();
    let is_dying = end.is_some();
    let server = serve(move |mut stream: TcpStream| {
        read_line(&stream);
        stream.write_all(reply.as_bytes()).unwrap();
        if is_dying {
            let folder = std::mem::ManuallyDrop::new(Folder(path));
            std::fs::write(folder.0.join("die"), "").unwrap();
            has_ended(&folder, "pid");
        }
    });
    let command = format!(
        "sh -c 'rm -f die; echo $$ >pid; echo listening on {}; until [ -e die ]; do sleep 0.01; done; echo oh >&2; {}'",
        server.address,
        end.unwrap_or_default()
    );
    let outcome = folder.run(&[&["run", "--server", &command], arguments].concat());
    let stdout = String::from_utf8(outcome.stdout).unwrap().replace(&server.address.to_string(), "SERVER");
    Outcome { stdout: masked(&stdout).into_bytes(), ..outcome }
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_that_dies_after_its_last_reply_fails_the_script() {
    let hello = "> Bob\n< Hello, Bob\n";
    let folder = Folder::new("dies-last", &[("a.talk", hello), ("b.talk", &format!("{hello}abandon\n"))]);
    for script in ["a.talk", "b.talk"] {
        for (end, how) in [("exit 6", "exit status: 6"), ("kill -SEGV $$", "signal: 11 (SIGSEGV)")] {
            let outcome = with_a_server_that_ends(&folder, Some(end), "Hello, Bob\n", &[script]);
            let report = String::from_utf8(outcome.stdout).unwrap().replace(" (core dumped)", "");
            let expected = format!(
                "FAIL {script}  (N ms)\n  {script}  at its end\n    the server has ended by itself ({how}), and the script does \
                 not say so\n      stderr: oh\n\n1 script: 0 passed, 1 failed, 0 skipped\n"
            );
            assert_eq!((report, outcome.code), (expected, Some(1)));
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_server_says_that_dies_is_not_blessed() {
    let script = "> Bob\n< Hello, Bob\n";
    let folder = Folder::new("dies-blessed", &[("a.talk", script), ("b.talk", &format!("{script}abandon\n"))]);
    for (name, reply) in [("a.talk", ""), ("a.talk", "Hello, Rob\n"), ("b.talk", "")] {
        let before = folder.text(name);
        let outcome = with_a_server_that_ends(&folder, Some("exit 6"), reply, &["--bless", "--force", name]);
        let report = String::from_utf8(outcome.stdout).unwrap();
        let words =
            "    the server has ended by itself (exit status: 6), and the script does not say so\n      stderr: oh\n";
        assert!(report.contains(words), "{report}");
        assert_eq!((outcome.code, folder.text(name)), (Some(1), before));
    }
    let outcome = with_a_server_that_ends(&folder, Some("exit 0"), "Hello, Rob\n", &["--bless", "--force", "a.talk"]);
    assert_eq!((outcome.code, &*folder.text("a.talk")), (Some(0), "> Bob\n< Hello, Rob\n"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_that_ends_as_it_was_told_or_in_peace_fails_nothing() {
    let hello = "> Bob\n< Hello, Bob\n";
    let exits = format!("{hello}exits 6\n");
    let signal = format!("{hello}signal KILL\n<closed\n");
    let folder = Folder::new("ends-well", &[("a.talk", hello), ("b.talk", &exits), ("c.talk", &signal)]);
    for (script, end) in [("a.talk", Some("exit 0")), ("b.talk", Some("exit 6")), ("a.talk", None)] {
        let outcome = with_a_server_that_ends(&folder, end, "Hello, Bob\n", &[script]);
        assert_eq!(outcome.code, Some(0), "{script} {end:?}: {outcome:?}");
    }
    // Its connections are another's, which closes them when it is done.
    let outcome = with_a_server_that_ends(&folder, None, "Hello, Bob\n", &["c.talk"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_server_has_started_ends_with_it() {
    let folder = Folder::new("children", &[("a.talk", "> Bob\n< Hello, Bob\n")]);
    // The second is one that does not hear.
    for child in ["sleep 60", "(trap \"\" TERM; exec sleep 60)"] {
        let command = format!("sh -c '{child} & echo $! >child; echo listening on {}; wait'", greeter().address);
        let outcome = folder.run(&["run", "--server", &command, "a.talk"]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        has_ended(&folder, "child");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_server_leaves_behind_is_told() {
    let folder = Folder::new("left", &[("a.talk", "> Bob\n< Hello, Bob\n")]);
    let left = "setsid sh -c \"echo \\$\\$ >child; exec sleep 60\" &";
    // Not before it has left: what still belongs to the group ends with it.
    let has_left = "until [ -s child ]; do sleep 0.01; done";
    let command = format!("sh -c '{left} {has_left}; echo listening on {}; exec sleep 60'", greeter().address);
    let outcome = folder.run(&["run", "--server", &command, "a.talk"]);
    let child: i32 = told(&folder, "child").parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(child).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    let report = String::from_utf8(outcome.stdout).unwrap();
    let words =
        "  a.talk  at its end\n    sh has ended, and left a process behind that has gone to another process group\n";
    assert!(report.contains(words), "{report}");
}

/// A harness may signal the client alone, and then waits until nobody holds its outputs any more.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_ends_the_run_ends_its_servers_first() {
    use rustix::process::{Pid, Signal, kill_process};

    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129), (Signal::QUIT, 131)] {
        // Under a script, and before there is anybody for one.
        for listens in [true, false] {
            let folder = Folder::new(&format!("signal-{code}-{listens}"), &[("a.talk", "> Bob\n< Hello, Bob\n")]);
            let server = serve(stay_silent);
            let says = if listens { format!("echo listening on {}", server.address) } else { "echo no".to_owned() };
            let command = format!("sh -c 'sleep 60 & echo $! >child; echo $$ >pid; {says}; wait'");
            let arguments = ["--timeout", "60s", "run", "--wait", "60s", "--server", &command, "a.talk"];
            let running = start(bare_greeter_client(&arguments).current_dir(&folder.0));
            told(&folder, "pid");
            if listens {
                server.outcome();
            }
            kill_process(Pid::from_child(&running.child), signal).unwrap();
            let outcome = running.outcome();
            assert_eq!((outcome.code, outcome.stdout), (Some(code), Vec::new()), "{}", outcome.stderr);
            has_ended(&folder, "pid");
            has_ended(&folder, "child");
        }
    }
}

/// As `nohup` leaves it, and a shell for what it puts into the background.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_was_ignored_from_the_start_ends_nothing() {
    use rustix::process::{Pid, Signal, kill_process};

    let folder = Folder::new("nohup", &[("a.talk", "> Bob\n< Hello, Bob\n")]);
    let (signalled, go) = std::sync::mpsc::channel::<()>();
    let server = serve(move |mut stream: TcpStream| {
        read_line(&stream);
        go.recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"Hello, Bob\n").unwrap();
        read_line(&stream);
    });
    let listening = format!("sh -c 'echo $$ >pid; echo listening on {}; exec sleep 60'", server.address);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP INT; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_greeter-client")]);
    command.args(["--timeout", "60s", "run", "--server", &listening, "a.talk"]).current_dir(&folder.0);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    let running = start(command.stderr(std::process::Stdio::piped()));
    told(&folder, "pid");
    for signal in [Signal::HUP, Signal::INT] {
        kill_process(Pid::from_child(&running.child), signal).unwrap();
    }
    signalled.send(()).unwrap();
    let outcome = running.outcome();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}
