//! Colours are for people.
#![cfg(unix)]

use std::io::Write;
use std::process::Command;

use crate::kit::terminal::sit_down;
use crate::kit::{self, Folder, Outcome, bare_greeter_client, greeter, greeter_client, run, run_with, serve};

const FAILING: (&str, &str) = ("a.talk", "# A title.\n> Bob\n< Hello, Rob\n");
const BAD: (&str, &str) = ("bad.talk", ">Bob\n");

/// Runs the script that fails, with these arguments and this environment, and gives what went to
/// stdout.
fn report(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let (folder, server) = (Folder::new("color", &[FAILING]), greeter());
    let mut command = greeter_client(&server.address, &[arguments, &["run", "a.talk"]].concat());
    command.current_dir(&folder.0).envs(environment.iter().copied());
    let outcome = run(&mut command);
    assert_eq!(outcome.code, Some(1));
    String::from_utf8(outcome.stdout).unwrap()
}

#[test]
fn a_report_is_coloured_where_that_is_asked_for() {
    for (arguments, environment, colored) in [
        (&[][..], &[][..], false),
        (&["--color", "always"], &[], true),
        (&["--color=always"], &[("NO_COLOR", "1")], true),
        (&[], &[("CLICOLOR_FORCE", "1")], true),
        (&["--color=never"], &[("CLICOLOR_FORCE", "1")], false),
        (&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        (&["--color=auto"], &[], false),
    ] {
        let text = report(arguments, environment);
        assert_eq!(text.contains('\x1b'), colored, "{arguments:?} {environment:?} {text}");
        if colored {
            let parts = [
                "\x1b[31mFAIL",
                "\x1b[31m    - < Hello, Rob\x1b[0m\n",
                "\x1b[32m    + < Hello, Bob\x1b[0m\n",
                "^\x1b[0m\n",
            ];
            assert!(parts.iter().all(|part| text.contains(part)), "{}", text.escape_debug());
        }
    }
}

fn check(arguments: &[&str]) -> Outcome {
    Folder::new("color-check", &[BAD]).run(&[arguments, &["check", "bad.talk"]].concat())
}

#[test]
fn problems_and_errors_are_coloured_too() {
    assert!(!check(&[]).stderr.contains('\x1b'));
    let outcome = check(&["--color=always"]);
    for part in [
        "bad.talk:1:2: \x1b[1m\x1b[31merror:\x1b[0m '>Bob'",
        "   ^^^\x1b[0m\n",
        "\x1b[36m  help:\x1b[0m",
        "\x1b[31merror:\x1b[0m 1 error in",
    ] {
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr.escape_debug());
    }
}

#[test]
fn what_is_blessed_is_coloured_too() {
    let (folder, server) = (Folder::new("color-bless", &[FAILING]), greeter());
    let mut command = greeter_client(&server.address, &["--color=always", "run", "--bless", "a.talk"]);
    let outcome = run(command.current_dir(&folder.0).env_remove("CI"));
    let change = "blessed a.talk: -1 +1\n\x1b[31m  3 - < Hello, Rob\x1b[0m\n\x1b[32m    + < Hello, Bob\x1b[0m\n";
    assert_eq!(outcome.stderr, change);
}

#[test]
fn what_programs_read_is_never_coloured() {
    for format in ["tap", "junit", "json"] {
        let (folder, server) = (Folder::new("color-format", &[FAILING]), greeter());
        let mut command = greeter_client(&server.address, &["--color=always", "run", "--report", format, "a.talk"]);
        let outcome = run(command.current_dir(&folder.0));
        assert!(!outcome.stdout.is_empty() && !outcome.stdout.contains(&0x1b), "{outcome:?}");
    }
}

#[test]
fn data_is_never_coloured() {
    for arguments in [&["pipe"][..], &["greet", "Bob"]] {
        let server = greeter();
        let mut command = greeter_client(&server.address, &[&["--color=always"], arguments].concat());
        run_with(&mut command, "Bob\n").is(0, "Hello, Bob\n", "");
    }
}

fn on_a_terminal(command: &mut Command, rows: &[&str], keys: &str) -> Vec<String> {
    let mut person = sit_down(command.env("TERM", "xterm").env("XDG_STATE_HOME", "/dev/null/no-folder"));
    person.sees(rows);
    person.types(keys);
    let colors = person.colors().to_vec();
    let _ = person.child.wait();
    colors
}

#[test]
fn a_terminal_has_colours_unless_it_should_not() {
    for (no_color, colored) in [("", true), ("1", false)] {
        let mut help = bare_greeter_client(&["fmt", "--check", "/none.talk"]);
        let rows = [
            "error: /none.talk: cannot read: No such file or directory (os error 2)",
            "error: 1 of 1 left as they are",
        ];
        assert_eq!(!on_a_terminal(help.env("NO_COLOR", no_color), &rows, "").is_empty(), colored);

        let server = serve(|mut stream| {
            stream.write_all(b"\x1b[31mred\n").unwrap();
            kit::read_all(&stream);
        });
        let hello = format!("connected to {}; Ctrl-D ends, :help tells more", server.address);
        let mut chat = greeter_client(&server.address, &[]);
        let colors = on_a_terminal(chat.env("NO_COLOR", no_color), &[&hello, "\\e[31mred", ">"], ":quit\r");
        assert_eq!(!colors.is_empty(), colored);
    }
}
