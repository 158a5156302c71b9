//! `greeter-client` on a terminal, as a process.
#![cfg(unix)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;
use std::time::Instant;
use std::{fs, io};

use greeter_client::ServerAddress;
use rustix::process::{Pid, Signal, kill_process};

use crate::kit::terminal::{Person, sit_down};
use crate::kit::{self, Folder, PATIENCE, greeter, greeter_client, read_all, read_line, serve, stay_silent};

/// The command for a terminal that can do everything, with no history and no colours.
fn command(address: &ServerAddress, arguments: &[&str]) -> Command {
    let mut command = greeter_client(address, arguments);
    command.env("TERM", "xterm").env("NO_COLOR", "1").env("XDG_STATE_HOME", "/dev/null/no-folder");
    command
}

fn hello(address: &ServerAddress) -> String {
    format!("connected to {address}; Ctrl-D ends, :help tells more")
}

fn pid(person: &Person) -> Pid {
    Pid::from_child(&person.child)
}

/// Sits down at a chat, and waits until there is a prompt.
fn chat(command: &mut Command, hello: &str) -> Person {
    let mut person = sit_down(command);
    person.sees(&[hello, ">"]);
    person
}

/// A server that says what it is told to, and gives all that it has read in the end.
fn puppet() -> (kit::Server<Vec<u8>>, mpsc::Sender<&'static [u8]>) {
    let (says, lines) = mpsc::channel::<&'static [u8]>();
    let server = serve(move |mut stream: TcpStream| {
        for bytes in lines {
            stream.write_all(bytes).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut bytes = Vec::new();
        // Whoever leaves without reading resets.
        let _ = stream.read_to_end(&mut bytes);
        bytes
    });
    (server, says)
}

#[test]
fn what_is_typed_goes_out_and_the_replies_come_above_the_prompt() {
    let server = greeter();
    let hello = hello(&server.address);
    let mut person = chat(&mut command(&server.address, &[]), &hello);
    person.types("Bob\r");
    person.sees(&[&hello, "> Bob", "Hello, Bob", ">"]);
    // All at once, as over a slow line.
    person.types("Ann\rBen\r:");
    person.sees(&[&hello, "> Bob", "Hello, Bob", "> Ann", "> Ben", "Hello, Ann", "Hello, Ben", "> :"]);
    person.types("\u{7f}\u{4}");
    person.leaves(0, &[&hello, "> Bob", "Hello, Bob", "> Ann", "> Ben", "Hello, Ann", "Hello, Ben"]);
    server.outcome();
}

#[test]
fn a_reply_does_not_disturb_what_is_being_typed() {
    let (server, says) = puppet();
    let hello = hello(&server.address);
    let mut person = chat(&mut command(&server.address, &["chat"]), &hello);
    person.types("Hello, Bb\u{1b}[Do");
    person.sees(&[&hello, "> Hello, Bob"]);
    says.send(b"one\ntwo\n").unwrap();
    person.sees(&[&hello, "one", "two", "> Hello, Bob"]);
    person.types("b\r");
    person.sees(&[&hello, "one", "two", "> Hello, Bobb", ">"]);
    drop(says);
    assert_eq!(server.outcome(), b"Hello, Bobb\n");
    person.leaves(0, &[&hello, "one", "two", "> Hello, Bobb", "the server closed the connection"]);
}

#[test]
fn what_the_server_has_begun_stands_where_the_prompt_would() {
    let (server, says) = puppet();
    let hello = hello(&server.address);
    let mut person = chat(&mut command(&server.address, &[]), &hello);
    says.send(b"welcome\r\nlogin: ").unwrap();
    person.sees(&[&hello, "welcome\\r", "login:"]);
    person.types("Bob");
    person.sees(&[&hello, "welcome\\r", "login: Bob"]);
    // It was slow, and now goes on.
    says.send(b"(name) ").unwrap();
    person.sees(&[&hello, "welcome\\r", "login: (name) Bob"]);
    person.types("\r");
    person.sees(&[&hello, "welcome\\r", "login: (name) Bob", ">"]);
    says.send("caf\u{e9}".as_bytes()).unwrap();
    person.sees(&[&hello, "welcome\\r", "login: (name) Bob", "café"]);
    says.send(b"\nbye\n").unwrap();
    person.sees(&[&hello, "welcome\\r", "login: (name) Bob", "café", "bye", ">"]);
    person.types("\u{4}");
    person.sees(&[&hello, "welcome\\r", "login: (name) Bob", "café", "bye"]);
    drop(says);
    assert_eq!(server.outcome(), b"Bob\n");
    person.leaves(0, &[&hello, "welcome\\r", "login: (name) Bob", "café", "bye"]);
}

#[test]
fn a_line_without_an_end_is_shown_above_the_prompt_where_it_is_long() {
    let (server, says) = puppet();
    let hello = hello(&server.address);
    let mut person = chat(&mut command(&server.address, &[]), &hello);
    says.send(b"a question that is so long that it leaves no room for an answer? ").unwrap();
    let question = "a question that is so long that it leaves no room for an answer?";
    person.sees(&[&hello, question, ">"]);
    person.types(":quit\r");
    person.leaves(0, &[&hello, question, "> :quit"]);
}

#[test]
fn what_is_owed_is_shown_after_the_end_of_typing() {
    for keys in ["\u{4}", ":eof\r"] {
        let (released, release) = mpsc::channel();
        let server = serve(move |mut stream: TcpStream| {
            let lines = read_all(&stream);
            released.send(()).unwrap();
            stream.write_all(&lines).unwrap();
        });
        let hello = hello(&server.address);
        let mut person = chat(&mut command(&server.address, &["chat"]), &hello);
        person.types("Bob\r");
        person.types(keys);
        release.recv_timeout(PATIENCE).unwrap();
        let eof = if keys == "\u{4}" { None } else { Some("> :eof") };
        let rows: Vec<&str> = [Some(&*hello), Some("> Bob"), eof, Some("Bob")].into_iter().flatten().collect();
        person.leaves(0, &rows);
    }
}

#[test]
fn a_cut_line_is_told_on_a_row_of_its_own() {
    for (command_name, is_chat) in [("chat", true), ("pipe", false)] {
        let server = serve(|mut stream: TcpStream| {
            read_line(&stream);
            stream.write_all(b"Hello, B").unwrap();
        });
        let mut person = sit_down(&mut command(&server.address, &[command_name]));
        let hello = hello(&server.address);
        if is_chat {
            person.sees(&[&hello, ">"]);
        }
        person.types("Bob\r");
        let error = "error: the server closed the connection in the middle of a line, 8 bytes into it";
        let rows = [&*hello, if is_chat { "> Bob" } else { "Bob" }, "Hello, B", error];
        person.leaves(3, if is_chat { &rows } else { &rows[1..] });
    }
}

#[test]
fn a_lost_connection_is_an_error() {
    let server = serve(kit::reset);
    let hello = hello(&server.address);
    let mut person = chat(&mut command(&server.address, &[]), &hello);
    person.types("Bob\r");
    let error = format!(
        "error: connection lost: {}",
        io::Error::from_raw_os_error(rustix::io::Errno::CONNRESET.raw_os_error())
    );
    person.leaves(3, &[&hello, "> Bob", &error]);
}

#[test]
fn the_terminal_is_as_it_was_however_it_ends() {
    let server = serve(stay_silent);
    let greeting = hello(&server.address);
    let mut person = chat(&mut command(&server.address, &[]), &greeting);
    person.has_raw_keys(true);
    person.types("half\u{3}");
    person.leaves(130, &[&greeting]);

    for (signal, code) in
        [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131), (Signal::USR1, 138)]
    {
        let server = serve(stay_silent);
        let greeting = hello(&server.address);
        let mut person = chat(&mut command(&server.address, &[]), &greeting);
        person.types("half");
        person.sees(&[&greeting, "> half"]);
        kill_process(pid(&person), signal).unwrap();
        person.leaves(code, &[&greeting]);
    }

    // Where the terminal makes the lines, and where typing has ended.
    for (term, keys) in [("dumb", ""), ("xterm", "\u{4}")] {
        let server = serve(stay_silent);
        let greeting = hello(&server.address);
        let mut person = sit_down(command(&server.address, &[]).env("TERM", term));
        if term == "xterm" {
            person.sees(&[&greeting, ">"]);
        }
        person.types(keys);
        person.sees(&[&greeting]);
        person.has_raw_keys(false);
        kill_process(pid(&person), Signal::INT).unwrap();
        person.leaves(130, &[&greeting]);
    }
}

/// What is written to such a terminal is waited for without end, and so was the signal.
#[test]
fn a_terminal_that_takes_no_output_keeps_nobody() {
    for (term, signal, code) in [
        ("xterm", Signal::TERM, 143),
        ("xterm", Signal::INT, 130),
        ("xterm", Signal::HUP, 129),
        ("xterm", Signal::QUIT, 131),
        ("dumb", Signal::TERM, 143),
    ] {
        let (server, says) = puppet();
        let greeting = hello(&server.address);
        let mut person = sit_down(command(&server.address, &[]).env("TERM", term));
        person.sees_that(|rows| rows.first() == Some(&greeting));
        person.has_raw_keys(term == "xterm");
        person.stops_the_output();
        // More than the queue of what has come holds.
        says.send("0123456789\n".repeat(100_000).leak().as_bytes()).unwrap();
        person.types("B");
        kill_process(pid(&person), signal).unwrap();
        person.is_left(code);
    }
}

/// A signal from somebody who has no patience.
#[test]
fn a_second_signal_ends_it_at_once() {
    let server = serve(stay_silent);
    let greeting = hello(&server.address);
    let mut person = chat(&mut command(&server.address, &[]), &greeting);
    person.stops_the_output();
    let until = Instant::now() + PATIENCE;
    while person.child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "it goes on");
        kill_process(pid(&person), Signal::TERM).unwrap();
        std::thread::yield_now();
    }
    person.is_left(143);
}

#[cfg(target_os = "linux")]
#[test]
fn control_z_gives_the_terminal_back_until_it_goes_on() {
    let server = greeter();
    // In a group of its own, so that this process is not suspended with it.
    let hello = hello(&server.address);
    let mut person = chat(command(&server.address, &[]).process_group(0), &hello);
    person.types("Bo");
    person.sees(&[&hello, "> Bo"]);
    person.types("\u{1a}");
    let until = Instant::now() + PATIENCE;
    let state = || fs::read_to_string(format!("/proc/{}/stat", person.child.id())).unwrap();
    while !state().contains(") T ") {
        assert!(Instant::now() < until, "it is not suspended: {}", state());
        std::thread::yield_now();
    }
    person.has_raw_keys(false);
    kill_process(pid(&person), Signal::CONT).unwrap();
    person.has_raw_keys(true);
    person.types("b\r");
    person.sees(&[&hello, "> Bob", "Hello, Bob", ">"]);
    person.types("\u{4}");
    person.leaves(0, &[&hello, "> Bob", "Hello, Bob"]);
}

#[test]
fn lines_come_back_with_the_arrows_and_in_the_next_conversation() {
    let folder = Folder::new("history", &[]);
    for (keys, line) in [("Bob\rAnn\r\u{1b}[A\u{1b}[A", "> Bob"), ("\u{1b}[A", "> Ann")] {
        let server = serve(stay_silent);
        let hello = hello(&server.address);
        let mut person = chat(command(&server.address, &[]).env("XDG_STATE_HOME", &folder.0), &hello);
        person.types(keys);
        let before: &[&str] = if keys.len() > 3 { &["> Bob", "> Ann"] } else { &[] };
        person.sees(&[&[&*hello], before, &[line]].concat());
        person.types("\u{3}");
        person.leaves(130, &[&[&*hello], before].concat());
    }
    assert_eq!(folder.text("greeter-client/history"), "Bob\nAnn\n");
}

#[test]
fn a_line_with_a_secret_is_not_kept_and_recorded_with_its_name() {
    let folder = Folder::new("secret-history", &[]);
    let server = serve(stay_silent);
    let hello = hello(&server.address);
    let mut chatting = command(&server.address, &["chat", "--secret", "password"]);
    chatting.env("XDG_STATE_HOME", &folder.0).env("TALK_password", "hunter2").current_dir(&folder.0);
    let mut person = chat(&mut chatting, &hello);
    person.types("Bob\rPASS hunter2\r:record a.talk\r\u{1b}[A\u{1b}[A");
    let told = "this conversation is written to a.talk, from its start";
    let rows = [&*hello, "> Bob", "> PASS hunter2", "> :record a.talk", told, "> Bob"];
    person.sees(&rows);
    person.types("\u{3}");
    person.leaves(130, &rows[..5]);
    assert_eq!(folder.text("greeter-client/history"), "Bob\n:record a.talk\n");
    assert_eq!(folder.text("a.talk"), "> Bob\nsecret password\n> PASS {{password}}\nclose\n");
}

#[test]
fn a_line_that_begins_with_a_colon_is_a_command_unless_it_begins_with_two() {
    let server = greeter();
    let hello = hello(&server.address);
    let mut person = chat(&mut command(&server.address, &[]), &hello);
    person.types(":quti\r");
    let mistake = ":quti is no command (see :help); to send it, write ::quti";
    person.sees(&[&hello, "> :quti", mistake, ">"]);
    person.types("::quti\r");
    person.sees(&[&hello, "> :quti", mistake, "> ::quti", "Hello, :quti", ">"]);
    person.types("\u{c}");
    person.sees(&[">"]);
    person.types(":help\r");
    let help = [
        "> :help",
        "What you type is sent line by line; these are commands:",
        "  :eof          say that no more will be sent, and see what is still owed (Ctrl-D)",
        "  :reset        break the connection off with a reset",
        "  :record FILE  write this conversation down, from its start, as a script that can be run",
        "  :quit         leave without waiting for the server (Ctrl-C)",
        "  ::text        send the line :text",
    ];
    person.sees(&[&help[..], &[">"]].concat());
    person.types(":quit\r");
    person.leaves(0, &[&help[..], &["> :quit"]].concat());
}

#[test]
fn a_reset_is_seen_by_the_server() {
    let server = serve(|mut stream: TcpStream| {
        read_line(&stream);
        stream.read(&mut [0]).map_err(|err| err.kind())
    });
    let hello = hello(&server.address);
    let mut person = chat(&mut command(&server.address, &[]), &hello);
    person.types("Bob\r:reset\r");
    person.leaves(0, &[&hello, "> Bob", "> :reset"]);
    assert_eq!(server.outcome(), Err(io::ErrorKind::ConnectionReset));
}

#[test]
fn a_terminal_that_can_do_nothing_gets_lines() {
    for term in [Some("dumb"), None] {
        let (server, says) = puppet();
        let mut chat = command(&server.address, &[]);
        match term {
            Some(term) => chat.env("TERM", term),
            None => chat.env_remove("TERM"),
        };
        let mut person = sit_down(&mut chat);
        let hello = hello(&server.address);
        person.sees(&[&hello]);
        says.send(b"login: ").unwrap();
        person.sees(&[&hello, "login:"]);
        person.types("Bob\r:quti\r");
        let mistake = ":quti is no command (see :help); to send it, write ::quti";
        person.sees(&[&hello, "login: Bob", ":quti", mistake]);
        says.send(b"bye\n").unwrap();
        drop(says);
        assert_eq!(server.outcome(), b"Bob\n");
        person.leaves(0, &[&hello, "login: Bob", ":quti", mistake, "bye", "the server closed the connection"]);
    }
}

const CUT: &str = "the terminal gives at most 4095 bytes of a line that is typed, so this one was not sent: give it in a file, \
                   or at a prompt where TERM is not dumb";

/// The terminal drops what is typed beyond its room for a line, but all of it is on the screen.
#[cfg(target_os = "linux")]
#[test]
fn a_line_that_the_terminal_has_cut_is_not_sent_and_that_is_told() {
    // The server asks, and then awaits a line or not.
    let (asks, awaits) = mpsc::channel::<bool>();
    let (sends, lines) = mpsc::channel();
    let server = serve(move |mut stream: TcpStream| {
        for is_awaited in awaits {
            stream.write_all(b"? ").unwrap();
            if is_awaited {
                sends.send(read_line(&stream)).unwrap();
            }
        }
    });
    let mut person = sit_down(command(&server.address, &[]).env("TERM", "dumb"));
    let mut rows = vec![hello(&server.address)];
    // One that is too long is handed on in two parts, as Emacs does with long lines.
    for (typed, end, is_sent, told) in [
        (&*"x".repeat(4094), "\r", true, None),
        (&"y".repeat(4095), "\r", false, Some(CUT)),
        (&"y".repeat(5000), "\r", false, Some(CUT)),
        (&"z".repeat(5000), "\u{4}", false, Some(CUT)),
        ("and more", "\r", false, None),
        ("Bob", "\r", true, None),
    ] {
        // What is typed must not come between what is shown.
        asks.send(is_sent).unwrap();
        person.sees_that(|seen| seen.split_last() == Some((&"?".to_owned(), &rows)));
        person.types(&format!("{typed}{end}"));
        rows.extend([Some(format!("? {typed}")), told.map(str::to_owned)].into_iter().flatten());
        person.sees_that(|seen| seen == rows);
        if is_sent {
            assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), format!("{typed}\n").as_bytes());
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_line_that_the_terminal_has_cut_ends_a_pipe_and_what_reads_files() {
    let typed = "x".repeat(5000);
    for (arguments, why) in
        [(&["pipe"][..], "cannot read the input"), (&["fmt"], "cannot read stdin"), (&["convert"], "cannot read stdin")]
    {
        let server = serve(|stream: TcpStream| read_all(&stream));
        let mut person = sit_down(&mut command(&server.address, arguments));
        person.types(&format!("# one\r{typed}\r"));
        person.leaves(2, &["# one", &typed, &format!("error: {why}: {CUT}")]);
    }
}

#[test]
fn what_could_act_on_the_terminal_is_escaped() {
    let hostile = b"\x1b]0;owned\x07 \xc2\x9b2J \xff \xe2\x80\xaeeb\xe2\x80\xac Z\xc3\xb6e\n";
    let shown = "\\e]0;owned\\a \\u{9b}2J \\xff \\u{202e}eb\\u{202c} Zöe";
    for arguments in [&["greet", "Bob"][..], &["pipe"], &["chat"]] {
        let server = serve(|mut stream: TcpStream| {
            read_line(&stream);
            stream.write_all(hostile).unwrap();
        });
        let mut person = sit_down(&mut command(&server.address, arguments));
        let hello = hello(&server.address);
        match arguments {
            ["pipe"] => {
                person.types("Bob\r");
                person.leaves(0, &["Bob", shown]);
            }
            ["chat"] => {
                person.sees(&[&hello, ">"]);
                person.types("B\u{16}\u{1b}b\r");
                person.leaves(0, &[&hello, "> B\\eb", shown, "the server closed the connection"]);
            }
            _ => person.leaves(0, &[shown]),
        }
    }
}

#[test]
fn a_cr_is_shown_with_lf_and_belongs_to_the_ending_with_crlf() {
    for (eol, shown) in [("lf", "220 ready\\r"), ("crlf", "220 ready")] {
        let server = serve(|mut stream: TcpStream| {
            read_line(&stream);
            stream.write_all(b"220 ready\r\n").unwrap();
        });
        let person = sit_down(&mut command(&server.address, &["--eol", eol, "greet", "Bob"]));
        person.leaves(0, &[shown]);
    }
}

#[test]
fn progress_is_shown_below_the_reports_and_goes() {
    let files = [("a.talk", "connect to {{nowhere}}\n"), ("b.talk", "> Bob\n< Hello\n")];
    let folder = Folder::new("progress", &files);
    let (go, told) = mpsc::channel::<()>();
    let server = serve(move |mut stream: TcpStream| {
        read_line(&stream);
        told.recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"Hello\n").unwrap();
    });
    let mut person = sit_down(command(&server.address, &["--timeout", "20s", "run", "."]).current_dir(&folder.0));
    let waits_for = "1 of 2 scripts, 1 failed: ./b.talk  (1 s)";
    person.sees_that(|rows| rows.last().is_some_and(|row| row == waits_for));
    go.send(()).unwrap();
    let end = ["2 scripts: 1 passed, 1 failed, 0 skipped", "error: 1 of 2 scripts failed"];
    person.sees_that(|rows| rows.ends_with(&end.map(str::to_owned)));
    assert_eq!(person.erased()[0], "0 of 2 scripts: ./a.talk");
    let rows = person.rows();
    assert!(rows[0].starts_with("FAIL ./a.talk  ("), "{rows:#?}");
    assert!(!rows.iter().any(|row| row.contains(" of 2 scripts:")), "{rows:#?}");
    person.leaves(1, &rows.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn much_at_once_is_cut_only_where_its_lines_end() {
    let (server, says) = puppet();
    let hello = hello(&server.address);
    let mut person = chat(&mut command(&server.address, &[]), &hello);
    let lines = vec!["0123456789"; 1000];
    says.send((lines.join("\n") + "\nlast").leak().as_bytes()).unwrap();
    person.sees(&[&[&*hello], &lines[..], &["last"]].concat());
    says.send(b" line\n").unwrap();
    person.sees(&[&[&*hello], &lines[..], &["last line", ">"]].concat());
    // What never ends is shown all the same.
    says.send("x".repeat(5000).leak().as_bytes()).unwrap();
    person.sees(&[&[&*hello], &lines[..], &["last line", &"x".repeat(5000), ">"]].concat());
    person.types("\u{3}");
    person.leaves(130, &[&[&*hello], &lines[..], &["last line", &"x".repeat(5000)]].concat());
}
