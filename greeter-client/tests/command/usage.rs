//! What the command says to a command line: no server is needed for any of it.

use crate::kit::{Folder, bare_greeter_client, run};

#[track_caller]
fn refused(arguments: &[&str], message: &str) {
    run(&mut bare_greeter_client(arguments)).is(2, "", &format!("error: {message}\nfor more: greeter-client --help\n"));
}

#[test]
fn help_goes_to_stdout_and_names_every_command_default_and_exit_code() {
    let outcome = run(&mut bare_greeter_client(&["--help"]));
    let help = String::from_utf8(outcome.stdout).unwrap();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    let words = ["greet", "chat", "pipe", "GREETER_CONNECT", "127.0.0.1:8080", "5s", "lf", "0 ", "2 ", "3 ", "4 "];
    for word in words {
        assert!(help.contains(word), "{word} in {help}");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let version = format!("greeter-client {}\n", env!("CARGO_PKG_VERSION"));
    run(&mut bare_greeter_client(&["--version"])).is(0, version, "");
}

#[test]
fn a_name_that_holds_a_newline_is_refused() {
    refused(&["greet", "Ann", "B\u{1b}\nC"], r"a name cannot hold a newline: 'B\e\nC'");
}

#[test]
fn a_usage_error_names_what_is_at_fault() {
    refused(&["greet"], "greet needs a name");
    refused(&["gret", "Ann"], "unrecognized argument: gret");
    refused(&["--port", "1"], "unrecognized argument: --port");
    refused(&["--connect"], "no value provided for option '--connect'");
    refused(
        &["--connect=localhost", "greet", "Ann"],
        "cannot parse option '--connect' with value 'localhost': \
         'localhost' names no port: write HOST:PORT, as in localhost:8080",
    );
    refused(&["--eol=cr"], "cannot parse option '--eol' with value 'cr': write lf or crlf");
    refused(
        &["--timeout=0s"],
        "cannot parse option '--timeout' with value '0s': \
         nothing can be done in no time: write none for no timeout",
    );
}

#[test]
fn no_time_is_no_silence() {
    refused(
        &["--idle=0s"],
        "cannot parse option '--idle' with value '0s': nothing can come in no time: leave it out for no end",
    );
}

/// Whatever a program puts into an argument must not reach the terminal as it is.
#[test]
fn what_is_quoted_from_a_command_line_is_harmless() {
    let folder = Folder::new("quoted", &[("a.talk", "> Bob\n")]);
    let odd = "/nonexistent/\u{1b}[2J\u{202e}x\nok";
    let socket = format!("unix:{odd}");
    let server = "'/nonexistent/\u{1b}[2J\u{202e}x'";
    for arguments in [
        &["--connect", &socket, "greet", "Ann"][..],
        &["--connect", &socket, "load", "--line", "a"],
        &["--connect", "127.0.0.1:1", "load", "--lines", odd],
        &["--connect", "127.0.0.1:1", "load", "--line", "a", "--json", odd],
        &["--connect", "127.0.0.1:1", "record", odd],
        &["--connect", &socket, "run", "a.talk"],
        &["run", "--server", server, "a.talk"],
        &["run", "--server", server, "--report", "tap", "a.talk"],
        &["run", odd],
        &["check", odd],
        &["convert", odd],
        &["fmt", odd],
        &["--color", odd],
        &["--connect", odd, "greet", "Ann"],
        &["completions", odd],
    ] {
        let outcome = folder.run(arguments);
        assert!(outcome.code != Some(0), "{arguments:?}: {outcome:?}");
        let told = String::from_utf8(outcome.stdout).unwrap() + &outcome.stderr;
        assert!(!told.contains(|c: char| c.is_control() && c != '\n' || c == '\u{202e}'), "{arguments:?}: {told:?}");
        assert!(told.contains("[2J") && !told.contains("\nok"), "{arguments:?}: {told:?}");
    }
}

#[test]
fn a_bad_address_in_the_environment_is_a_usage_error_that_names_the_variable() {
    let mut command = bare_greeter_client(&["greet", "Ann"]);
    run(command.env("GREETER_CONNECT", "h:0")).is(
        2,
        "",
        "error: GREETER_CONNECT: 'h:0' has no usable port: write HOST:PORT with a port from 1 to 65535\n\
         for more: greeter-client --help\n",
    );
}

#[test]
fn who_does_not_connect_does_not_mind_a_bad_address_in_the_environment() {
    for arguments in [&["check", env!("CARGO_MANIFEST_DIR")][..], &["fmt"], &["completions", "bash"], &["--help"]] {
        let outcome = run(bare_greeter_client(arguments).env("GREETER_CONNECT", "h:0"));
        assert!(!outcome.stderr.contains("GREETER_CONNECT"), "{arguments:?} {outcome:?}");
    }
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_not_utf8_is_a_usage_error() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let mut command = bare_greeter_client(&["greet"]);
    let outcome = run(command.arg(OsStr::from_bytes(b"B\xffb")));
    outcome.is(2, "", "error: argument 'B\u{fffd}b' is not valid UTF-8\nfor more: greeter-client --help\n");
}
