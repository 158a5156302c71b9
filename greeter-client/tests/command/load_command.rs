//! `greeter-client load`, as a process.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use greeter_client::ServerAddress;

use crate::kit::{self, Folder, Outcome, bare_greeter_client, greeter_client, run, start};

/// Greets everybody, as long as the test runs.
fn greeter() -> ServerAddress {
    kit::greeter_for(usize::MAX)
}

/// A short load, and `arguments`.
fn load(address: &ServerAddress, arguments: &[&str]) -> Command {
    let short = ["load", "--connections=3", "--warmup=0s", "--duration=100ms"];
    greeter_client(address, &[&short[..], arguments].concat())
}

const BOB: [&str; 2] = ["--line=Bob", "--expect=Hello, Bob"];

fn stdout(outcome: &Outcome) -> String {
    String::from_utf8(outcome.stdout.clone()).unwrap()
}

#[track_caller]
fn refused(arguments: &[&str], message: &str) {
    let outcome = run(&mut bare_greeter_client(&[&["load"], arguments].concat()));
    outcome.is(2, "", &format!("error: {message}\nfor more: greeter-client --help\n"));
}

#[test]
fn a_report_goes_to_stdout_and_all_is_well() {
    let outcome = run(&mut load(&greeter(), &["--rate=100/s", "--line=guest {{#}}", "--expect=Hello, {{line}}"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let text = stdout(&outcome);
    for words in [
        "open loop, 100/s: 3 connections to 127.0.0.1:",
        "0.1 s after 0 s of warm-up\n",
        "  lines      10 right, ",
        "  replies    each compared with 'Hello, {{line}}'\n",
        "  errors     0\n",
        "response time  service time\n",
        "  p99.9 ",
        "of 10 late\n",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn assertions_decide() {
    let address = greeter();
    let with = |assertions: &[&str], expect: &str| {
        let assertions = assertions.iter().map(|assertion| format!("--assert={assertion}")).collect::<Vec<_>>();
        let arguments: Vec<&str> = assertions.iter().map(String::as_str).collect();
        run(&mut load(&address, &[&["--line=Bob", "--rate=50/s", expect], &arguments[..]].concat()))
    };
    let right = "--expect=Hello, Bob";
    let held = with(&["p99<1h", "rate>0/s", "errors=0"], right);
    assert_eq!(held.code, Some(0), "{held:?}");
    assert!(stdout(&held).ends_with("/s)\n  ok   errors=0  (0)\n"), "{held:?}");

    let unmet = with(&["p50>1h", "errors=0", "max<1ns"], right);
    assert_eq!(unmet.code, Some(2), "1ns is finer than scripts can write: {unmet:?}");
    let unmet = with(&["p50>1h", "errors=0", "max<1us"], right);
    assert_eq!(unmet.code, Some(1), "{unmet:?}");
    assert!(stdout(&unmet).contains("  FAIL p50>1h  ("), "{unmet:?}");
    assert!(unmet.stderr.ends_with("error: 2 of 3 assertions do not hold\n"), "{unmet:?}");

    // Wrong replies fail by themselves, unless an assertion says how many there may be.
    let wrong = with(&[], "--expect=Hello, Rob");
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.stderr.ends_with("error: there were errors: 5\n"), "{wrong:?}");
    assert_eq!(with(&["errors<=100%"], "--expect=Hello, Rob").code, Some(0));
}

/// Whatever errors an assertion allows: what would have been due on a lost connection, a closed
/// loop does not know.
#[test]
fn a_closed_loop_that_loses_connections_fails() {
    for (loses, lost) in [(1, 1), (3, 3)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().into();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let stream = stream.unwrap();
                let lines = if number < loses { 100 } else { usize::MAX };
                thread::spawn(move || -> std::io::Result<()> {
                    for line in BufReader::new(stream.try_clone()?).lines().take(lines) {
                        (&stream).write_all(format!("Hello, {}\n", line?).as_bytes())?;
                    }
                    Ok(())
                });
            }
        });
        let arguments =
            ["load", "--connections=3", "--warmup=0s", "--duration=1s", "--assert=errors<5%", "--assert=p90<1h"];
        let outcome = run(greeter_client(&address, &arguments).args(BOB));
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(stdout(&outcome).contains("  ok   errors<5%  ("), "{outcome:?}");
        let error = format!("error: connections lost before the end: {lost}\n");
        assert!(outcome.stderr.ends_with(&error), "{outcome:?}");
    }
}

/// As with lines, so with scripts.
#[test]
fn a_closed_loop_of_scripts_whose_server_is_gone_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().into();
    thread::spawn(move || {
        for stream in listener.incoming().take(50) {
            let stream = stream.unwrap();
            thread::spawn(move || {
                BufReader::new(stream.try_clone()?)
                    .lines()
                    .next()
                    .map_or(Ok(()), |_| (&stream).write_all(b"Hello, Bob\n"))
            });
        }
    });
    let folder = Folder::new("load-gone", &[("s.talk", "> Bob\n< Hello, Bob\n")]);
    let arguments = ["load", "--connections=4", "--warmup=0s", "--duration=2s", "--script=s.talk"];
    let mut command = greeter_client(&address, &arguments);
    let outcome = run(command.args(["--assert=errors<100%"]).current_dir(&folder.0));
    assert!(stdout(&outcome).contains("  ok   errors<100%  ("), "{outcome:?}");
    assert!(outcome.stderr.contains("warning: connections lost before the end: 4 of 4; "), "{outcome:?}");
    assert!(outcome.stderr.ends_with("error: connections lost before the end: 4\n"), "{outcome:?}");
    assert_eq!(outcome.code, Some(1));
}

#[test]
fn the_figures_are_written_to_files() {
    let folder = Folder::new("load-files", &[]);
    let (json, html) = (folder.0.join("load.json"), folder.0.join("load.html"));
    let files = [format!("--json={}", json.display()), format!("--html={}", html.display())];
    let outcome = run(load(&greeter(), &BOB).args(files));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let figures: serde_json::Value = serde_json::from_str(&folder.text("load.json")).unwrap();
    assert_eq!(figures["loop"], "closed");
    assert!(folder.text("load.html").ends_with("</html>\n"));

    let outcome = run(load(&greeter(), &BOB).arg("--json=/nowhere/load.json"));
    assert_eq!((outcome.code, stdout(&outcome)), (Some(2), String::new()));
    assert!(outcome.stderr.starts_with("error: cannot write /nowhere/load.json: "), "{outcome:?}");
}

#[test]
fn the_lines_of_a_file_and_a_script_can_be_sent() {
    let folder = Folder::new(
        "load-lines",
        &[
            ("names.txt", "Ann\r\nBen\n{{#}}"),
            ("hello.talk", "> Bob\n< Hello, {{name}}\n"),
            ("empty.txt", ""),
            ("far.talk", "connect a to 192.0.2.1:7\n"),
        ],
    );
    let address = greeter();
    let in_folder = |arguments: &[&str]| run(load(&address, arguments).current_dir(&folder.0));
    let names = in_folder(&["--lines=names.txt", "--expect=Hello, {{line}}", "--rate=300/s"]);
    assert_eq!(names.code, Some(0), "{names:?}");
    let script = in_folder(&["--script=hello.talk", "--rate=50/s"]);
    assert_eq!(script.code, Some(0), "{script:?}");
    assert!(stdout(&script).contains("  scripts    5 right, "), "{script:?}");
    let wrong = in_folder(&["--script=hello.talk", "--rate=50/s", "-D", "name=Rob"]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(stdout(&wrong).contains("- < Hello, Rob"), "{wrong:?}");
    assert!(!stdout(&wrong).contains("accept it with"), "a load blesses nothing: {wrong:?}");
    in_folder(&["--lines=empty.txt"]).is(2, "", "error: there is nothing to send\n");
    in_folder(&["--script=far.talk"]).is(
        2,
        "",
        "error: 192.0.2.1:7 is not known to be on this machine, and a load can put a server out of service: --anywhere allows it\n",
    );
    let missing = in_folder(&["--lines=missing.txt"]);
    assert!(missing.code == Some(2) && missing.stderr.starts_with("error: cannot read missing.txt: "), "{missing:?}");
}

/// Nobody has asked for a warm-up: with one, nothing of either would be measured.
#[test]
fn so_many_lines_and_the_lines_of_a_file_once_are_all_measured() {
    let folder = Folder::new("load-once", &[("names.txt", "Ann\nBen\n{{#}}\n")]);
    let address = greeter();
    for (arguments, lines, right) in [
        (&["--line=Bob", "--count=20"][..], "20 lines", "20"),
        (&["--lines=names.txt", "--once"], "3 lines", "3"),
        (&["--lines=names.txt", "--once", "--count=2"], "2 lines", "2"),
        (&["--lines=names.txt", "--count=7"], "7 lines", "7"),
        (&["--line=a {{#}}", "--line=b {{#}}", "--once"], "2 lines", "2"),
    ] {
        let command = &[&["load", "--connections=2", "--expect=Hello, {{line}}"], arguments].concat();
        let outcome = run(greeter_client(&address, command).current_dir(&folder.0));
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let text = stdout(&outcome);
        assert!(text.contains(&format!(", 1 line at a time on each, {lines} in all, in 0")), "{text}");
        assert!(text.contains(&format!("  lines      {right} right, ")), "{text}");
        assert!(text.contains("\n  max "), "{text}");
    }
}

#[test]
fn replies_may_have_several_lines() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().into();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || -> std::io::Result<()> {
                for line in BufReader::new(stream.try_clone()?).lines() {
                    (&stream).write_all(format!("Hello,\n{}\nEND\n", line?).as_bytes())?;
                }
                Ok(())
            });
        }
    });
    for (arguments, replies) in [
        (
            &["--expect=Hello,", "--expect={{line}}", "--expect=END"][..],
            "each compared with 'Hello,', '{{line}}', 'END'",
        ),
        (
            &["--expect=Hello,", "--reply-lines=3"],
            "each compared with 'Hello,'; 3 lines each; 20 lines of them not compared",
        ),
        (
            &["--expect=Hello,", "--reply-until=END"],
            "each compared with 'Hello,'; each to the line 'END'; 10 lines of them not compared",
        ),
    ] {
        let outcome = run(greeter_client(&address, &["load", "--line=Bob", "--count=10"]).args(arguments));
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(stdout(&outcome).contains("  lines      10 right, "), "{outcome:?}");
        assert!(stdout(&outcome).contains(&format!("  replies    {replies}\n")), "{outcome:?}");
    }
}

#[test]
fn a_login_before_the_load() {
    let folder = Folder::new(
        "load-before",
        &[
            ("login.talk", "> Ann {{#}}\n< Hello, {{name}}\n"),
            ("wrong.talk", "# A login.\n> Ann\n< Hello, {{name:B.*}}\n"),
            ("closing.talk", "> Ann\n>eof\n"),
            ("two.md", "```talk\n> Ann\n```\n```talk\n> Ben\n```\n"),
        ],
    );
    let address = greeter();
    let with = |script: &str| {
        let arguments = ["load", "--count=30", "--connections=3", "--line={{name}}!", "--expect=Hello, Ann {{#}}!"];
        run(greeter_client(&address, &arguments).args(["--before", script]).current_dir(&folder.0))
    };
    let outcome = with("login.talk");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(stdout(&outcome).contains("  lines      30 right, "), "{outcome:?}");
    let wrong = with("wrong.talk");
    assert_eq!((wrong.code, stdout(&wrong)), (Some(1), String::new()));
    let error = "error: before the load, the script has failed on connection 1\n";
    assert!(wrong.stderr.starts_with(error) && wrong.stderr.contains("- < Hello, {{name:B.*}}"), "{wrong:?}");
    with("closing.talk").is(
        2,
        "",
        "error: closing.talk:2: '>eof' cannot stand before a load: the connection stays open for the load\n",
    );
    let two = with("two.md");
    assert_eq!(two.code, Some(2));
    assert!(two.stderr.starts_with("error: --before takes one script, and two.md has another number\n"), "{two:?}");
}

#[test]
fn a_usage_error_names_what_is_at_fault() {
    refused(&[], "load needs --line, --lines or --script");
    refused(&["--line=a", "--script=b"], "only one of --line, --lines and --script can be given");
    refused(&["--script=a", "--before=b"], "--before is for lines: a script says itself what it does");
    refused(&["--script=a", "--once"], "--once is for lines: a script says itself what it does");
    refused(
        &["--line=a", "--count=5", "--duration=1s"],
        "--count says when it ends, and --duration, too: give one of them",
    );
    refused(
        &["--line=a", "--once", "--duration=1s"],
        "--once says when it ends, and --duration, too: give one of them",
    );
    refused(&["--script=a", "--reply-lines=2"], "--reply-lines is for lines: a script says itself what it does");
    refused(
        &["--line=a", "--reply-lines=2", "--reply-until=b"],
        "only one of --reply-lines and --reply-until can be given",
    );
    refused(
        &["--line=a", "--reply-lines=0"],
        "cannot parse option '--reply-lines' with value '0': write a number from 1 on",
    );
    run(&mut bare_greeter_client(&["load", "--line=a", "--expect=b", "--expect=c", "--reply-lines=1"])).is(
        2,
        "",
        "error: 2 lines are expected of a reply that has 1\n",
    );
    refused(&["--line=a", "--count=0"], "cannot parse option '--count' with value '0': write a number from 1 on");
    refused(&["--script=a", "--expect=b"], "--expect is for lines: a script says itself what it does");
    refused(
        &["--line=a", "--rate=fast"],
        "cannot parse option '--rate' with value 'fast': write a rate such as 5000/s, 30/m or 1/h, with a number from 1 to \
         1000000000",
    );
    refused(
        &["--line=a", "--assert=p99<5"],
        "cannot parse option '--assert' with value 'p99<5': a percentile is compared with a duration: write it as 5ms, 200us \
         or 1s",
    );
    refused(&["--line={{", "--rate=1/s"], "cannot parse option '--line' with value '{{': '{{' opens no placeholder");
    run(&mut bare_greeter_client(&["load", "--line=a", "--pipeline=0"])).is(
        2,
        "",
        "error: pipeline must be from 1 to 100000, not 0\n",
    );
}

#[test]
fn nobody_to_connect_to_is_told_at_once() {
    let refusing: ServerAddress = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().into();
    let outcome = run(&mut load(&refusing, &BOB));
    assert_eq!((outcome.code, stdout(&outcome)), (Some(3), String::new()));
    assert!(outcome.stderr.starts_with(&format!("error: cannot connect to {refusing}: ")), "{outcome:?}");
}

#[cfg(unix)]
#[test]
fn more_connections_than_files_that_may_be_open_are_refused_with_the_limit() {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_greeter-client");
    let words = ["-c", "ulimit -n 64; exec \"$0\" \"$@\"", program, "load", "--line=Bob", "--connections=100"];
    command.args(words).stdin(std::process::Stdio::null());
    let outcome = run(command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()));
    outcome.is(
        3,
        "",
        "error: 100 connections need 132 open files, and this process may have 64: raise the limit (ulimit -Hn), or ask for \
         fewer\n",
    );
}

/// Only the hard limit counts: the soft one is raised.
#[cfg(unix)]
#[test]
fn as_many_connections_as_asked_for_come_up_beyond_the_soft_limit() {
    let address = greeter();
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_greeter-client");
    let words = ["-c", "ulimit -Sn 64; exec \"$0\" \"$@\"", program, "--connect", &address.to_string(), "load"];
    command.args(words).args(BOB).args(["--connections=100", "--warmup=0s", "--duration=50ms"]);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    let outcome = run(command.stderr(std::process::Stdio::piped()));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(stdout(&outcome).starts_with("closed loop: 100 connections"), "{outcome:?}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_load_and_not_the_report() {
    use rustix::process::{Pid, Signal, kill_process};

    let folder = Folder::new("load-interrupted", &[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().into();
    let json = folder.0.join("load.json");
    let arguments = ["load", "--line=Bob", "--connections=1", "--rate=1000/s", "--warmup=0s", "--duration=1h"];
    let running = start(greeter_client(&address, &arguments).arg(format!("--json={}", json.display())));
    let (mut stream, _) = listener.accept().unwrap();
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    for _ in 0..50 {
        input.read_line(&mut line).unwrap();
        stream.write_all(b"Hello, Bob\n").unwrap();
    }
    kill_process(Pid::from_child(&running.child), Signal::INT).unwrap();
    let outcome = running.outcome();
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    assert!(
        outcome.stderr.contains("warning: it was stopped after ") && outcome.stderr.ends_with("error: interrupted\n")
    );
    assert!(stdout(&outcome).contains("  lines      50 right, "), "{outcome:?}");
    let figures: serde_json::Value = serde_json::from_str(&folder.text("load.json")).unwrap();
    assert_eq!((&figures["complete"], &figures["errors"]["total"]), (&false.into(), &0.into()));
}

/// As shells leave it for what they put into the background.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_that_was_ignored_from_the_start_stops_nothing() {
    use rustix::process::{Pid, Signal, kill_process};

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new("sh");
    let client = env!("CARGO_BIN_EXE_greeter-client");
    command.args(["-c", "trap '' INT; exec \"$0\" \"$@\"", client, "--timeout=20s", "--connect"]);
    command.arg(listener.local_addr().unwrap().to_string());
    command.args(["load", "--line=Bob", "--connections=1", "--rate=10/s", "--warmup=0s", "--duration=1s"]);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
    let running = start(command.stderr(std::process::Stdio::piped()));
    let (stream, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    lines.next().unwrap().unwrap();
    kill_process(Pid::from_child(&running.child), Signal::INT).unwrap();
    thread::spawn(move || {
        (&stream)
            .write_all(b"Hello, Bob\n")
            .and_then(|()| lines.try_for_each(|line| line.and_then(|_| (&stream).write_all(b"Hello, Bob\n"))))
    });
    let outcome = running.outcome();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(stdout(&outcome).contains("  lines      10 right, "), "{outcome:?}");
}

#[test]
fn help_names_the_options_and_the_exit_codes() {
    let outcome = run(&mut bare_greeter_client(&["load", "--help"]));
    let help = stdout(&outcome);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    for words in
        ["--rate", "--pipeline", "--expect", "--assert", "--html", "{{line}}", "rate>=4900/s", "(default: 50)", "130 "]
    {
        assert!(help.contains(words), "{words} in {help}");
    }
}
