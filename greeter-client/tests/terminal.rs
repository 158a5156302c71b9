//! `greeter-client` on a terminal, as a process.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod kit;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use kit::{PATIENCE, greeter_client, read_line, serve};

const ERASE: &str = "\r\u{1b}[K";

/// A person at a terminal: sees all that is shown, and types.
struct Person {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    /// What was shown and not yet looked at.
    seen: String,
    child: Child,
}

/// Opens a terminal, gives it to `command`, and sits down.
fn sit_down(command: &mut Command) -> Person {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let line = File::options().read(true).write(true).open(path).unwrap();
    let end = || Stdio::from(OwnedFd::from(line.try_clone().unwrap()));
    let child = command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm").spawn().unwrap();
    // The terminal hangs up when the last who holds its other end has gone.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());

    let keyboard = File::from(master);
    let mut output = keyboard.try_clone().unwrap();
    let (sender, screen) = mpsc::channel();
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut chunk) {
            if sender.send(chunk[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    Person { keyboard, screen, seen: String::new(), child }
}

impl Person {
    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until exactly `text` has been shown.
    #[track_caller]
    fn sees(&mut self, text: &str) {
        let text = text.replace('\n', "\r\n");
        while self.seen.len() < text.len() {
            let shown = self.screen.recv_timeout(PATIENCE);
            let shown = shown.unwrap_or_else(|_| panic!("{text:?} is awaited, {:?} was shown", self.seen));
            self.seen.push_str(&String::from_utf8(shown).unwrap());
        }
        let rest = self.seen.split_off(text.len());
        assert_eq!(self.seen, text);
        self.seen = rest;
    }

    /// Waits until `text` is among what has been shown.
    #[track_caller]
    fn waits_for(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let shown = self.screen.recv_timeout(PATIENCE);
            let shown = shown.unwrap_or_else(|_| panic!("{text:?} is awaited, {:?} was shown", self.seen));
            self.seen.push_str(&String::from_utf8(shown).unwrap());
        }
    }

    /// Waits for the command to end, with nothing more to see.
    #[track_caller]
    fn leaves(mut self, code: i32) {
        while let Ok(shown) = self.screen.recv_timeout(PATIENCE) {
            self.seen.push_str(&String::from_utf8(shown).unwrap());
        }
        assert_eq!(self.seen, "");
        assert_eq!(self.child.wait().unwrap().code(), Some(code));
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_prompt_sends_what_is_typed_and_shows_the_replies_above_itself() {
    let server = kit::greeter();
    let mut person = sit_down(&mut greeter_client(&server.address, &[]));
    person.sees(&format!("connected to {}; Ctrl-D ends\n> ", server.address));
    person.types("Bob\n");
    person.sees(&format!("Bob\n{ERASE}Hello, Bob\n> "));
    person.types("Ann\n");
    person.sees(&format!("Ann\n{ERASE}Hello, Ann\n> "));
    person.types("\u{4}");
    person.sees(ERASE);
    person.leaves(0);
    server.outcome();
}

#[test]
fn what_is_owed_is_shown_after_the_end_of_typing() {
    let server = serve(|mut stream: TcpStream| {
        let lines = kit::read_all(&stream);
        stream.write_all(&lines).unwrap();
    });
    let mut person = sit_down(&mut greeter_client(&server.address, &["chat"]));
    person.sees(&format!("connected to {}; Ctrl-D ends\n> ", server.address));
    person.types("Bob\n");
    person.sees("Bob\n");
    person.types("\u{4}");
    person.sees(&format!("{ERASE}Bob\n"));
    person.leaves(0);
}

#[test]
fn a_server_that_closes_ends_the_prompt() {
    let server = serve(|mut stream: TcpStream| {
        stream.write_all(b"login: ").unwrap();
        read_line(&stream);
        stream.write_all(b"bye\n").unwrap();
    });
    let mut person = sit_down(&mut greeter_client(&server.address, &[]));
    person.sees(&format!("connected to {}; Ctrl-D ends\n> {ERASE}login: ", server.address));
    person.types("Bob\n");
    person.sees(&format!("Bob\nbye\n> {ERASE}the server closed the connection\n"));
    person.leaves(0);
}

#[test]
fn a_cut_line_is_told_on_a_line_of_its_own() {
    for (command, greeting) in [("chat", true), ("pipe", false)] {
        let server = serve(|mut stream: TcpStream| {
            read_line(&stream);
            stream.write_all(b"Hello, B").unwrap();
        });
        let mut person = sit_down(&mut greeter_client(&server.address, &[command]));
        if greeting {
            person.sees(&format!("connected to {}; Ctrl-D ends\n> ", server.address));
        }
        person.types("Bob\n");
        let erase = if greeting { ERASE } else { "" };
        person.sees(&format!("Bob\n{erase}Hello, B\n"));
        person.sees("error: the server closed the connection in the middle of a line, 8 bytes into it\n");
        person.leaves(3);
    }
}

#[test]
fn what_could_act_on_the_terminal_is_escaped() {
    let hostile = b"\x1b]0;owned\x07 \xc2\x9b2J \xff \xe2\x80\xaeeb\xe2\x80\xac Z\xc3\xb6e\n";
    let shown = "\\e]0;owned\\a \\u{9b}2J \\xff \\u{202e}eb\\u{202c} Zöe\n";
    for arguments in [&["greet", "Bob"][..], &["pipe"]] {
        let server = serve(|mut stream: TcpStream| {
            read_line(&stream);
            stream.write_all(hostile).unwrap();
        });
        let mut person = sit_down(&mut greeter_client(&server.address, arguments));
        if arguments == ["pipe"] {
            person.types("Bob\n");
            person.sees("Bob\n");
        }
        person.sees(shown);
        person.leaves(0);
    }
}

#[test]
fn a_cr_is_shown_with_lf_and_belongs_to_the_ending_with_crlf() {
    for (eol, shown) in [("lf", "220 ready\\r\n"), ("crlf", "220 ready\n")] {
        let server = serve(|mut stream: TcpStream| {
            read_line(&stream);
            stream.write_all(b"220 ready\r\n").unwrap();
        });
        let mut person = sit_down(&mut greeter_client(&server.address, &["--eol", eol, "greet", "Bob"]));
        person.sees(shown);
        person.leaves(0);
    }
}

/// What is shown and erased again, and what stays.
fn split_progress(shown: &str) -> (Vec<&str>, String) {
    let mut parts = shown.split(ERASE);
    let mut stays = parts.next().unwrap().to_owned();
    let mut erased = Vec::new();
    for part in parts {
        match part.strip_prefix("\u{1b}[?7l").and_then(|part| part.strip_suffix("\u{1b}[?7h")) {
            Some(line) => erased.push(line),
            None => stays += part,
        }
    }
    (erased, stays)
}

#[test]
fn progress_is_shown_below_the_reports_and_goes() {
    let files = [("a.talk", "connect to {{nowhere}}\n"), ("b.talk", "> Bob\n< Hello\n")];
    let folder = kit::Folder::new("progress", &files);
    let (go, told) = mpsc::channel::<()>();
    let server = serve(move |mut stream: TcpStream| {
        read_line(&stream);
        told.recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"Hello\n").unwrap();
    });
    let mut command = greeter_client(&server.address, &["--timeout", "20s", "run", "."]);
    let mut person = sit_down(command.current_dir(&folder.0));
    person.waits_for("1 of 2 scripts, 1 failed: ./b.talk  (1 s)");
    go.send(()).unwrap();
    person.waits_for("error: 1 of 2 scripts failed\r\n");
    let seen = std::mem::take(&mut person.seen).replace("\r\n", "\n");
    let (erased, stays) = split_progress(&seen);
    assert_eq!(erased[0], "0 of 2 scripts: ./a.talk");
    assert!(stays.starts_with("FAIL ./a.talk  ("), "{stays}");
    assert!(stays.ends_with("2 scripts: 1 passed, 1 failed, 0 skipped\nerror: 1 of 2 scripts failed\n"), "{stays}");
    person.leaves(1);
}
