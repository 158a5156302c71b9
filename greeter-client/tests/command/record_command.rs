//! `greeter-client record FILE`, and that `run` plays back what it wrote.

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;

use greeter_client::ServerAddress;

use crate::kit::{self, Folder, Outcome, greeter_client, read_line, reset, run, run_with, serve};

/// A server that does the same with everybody who comes.
fn server(session: impl Fn(TcpStream) + Clone + Send + 'static) -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().into();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, session) = (stream.unwrap(), session.clone());
            thread::spawn(move || session(stream));
        }
    });
    address
}

fn greeter() -> ServerAddress {
    server(|stream| kit::answer(stream, |line| [b"Hello, ", line].concat()))
}

fn record(folder: &Folder, address: &ServerAddress, input: &'static [u8]) -> Outcome {
    run_with(greeter_client(address, &["record", "new.talk"]).current_dir(&folder.0), input)
}

#[track_caller]
fn plays_back(folder: &Folder, address: &ServerAddress) {
    let outcome = run(greeter_client(address, &["run", "new.talk"]).current_dir(&folder.0));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome:?}");
}

/// What was asked is asked, and what was answered is answered: in which order they crossed, nobody
/// knows.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_pipe_is_written_down_and_plays_back() {
    let (folder, address) = (Folder::new("record", &[]), greeter());
    record(&folder, &address, b"Bob\n{{name}}\n\xff\n").is(0, b"Hello, Bob\nHello, {{name}}\nHello, \xff\n", "");
    let lines = [
        "< Hello, Bob",
        "<\"Hello, \\xff\\n\"",
        "<\"Hello, {{name}}\\n\"",
        "<eof",
        "> Bob",
        ">\"\\xff\\n\"",
        ">\"{{name}}\\n\"",
        ">eof",
    ];
    assert_eq!(sorted(&folder.text("new.talk")), lines);
    plays_back(&folder, &address);
}

#[test]
fn cr_lf_is_written_down_as_what_went_over_the_wire() {
    let folder = Folder::new("record-crlf", &[]);
    let address = server(|mut stream| {
        stream.write_all(b"220 ready\r\n").unwrap();
        kit::answer(stream, |line| [b"250 ", line].concat());
    });
    let mut command = greeter_client(&address, &["--eol=crlf", "record", "new.talk"]);
    run_with(command.current_dir(&folder.0), "HELO\n").is(0, "220 ready\r\n250 HELO\r\n", "");
    let lines = ["< 220 ready", "< 250 HELO", "<eof", "> HELO", ">eof", "eol crlf"];
    assert_eq!(sorted(&folder.text("new.talk")), lines);
    plays_back(&folder, &address);
}

#[test]
fn a_large_pipe_plays_back() {
    let (folder, address) = (Folder::new("record-large", &[]), greeter());
    let input: &'static [u8] = "A name of thirty-two characters\n".repeat(20_000).leak().as_bytes();
    let outcome = record(&folder, &address, input);
    assert_eq!((outcome.code, outcome.stdout.len()), (Some(0), 20_000 * (32 + 7)));
    plays_back(&folder, &address);
}

#[test]
fn a_file_that_exists_is_left_alone() {
    let folder = Folder::new("record-exists", &[("new.talk", "mine")]);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    record(&folder, &nobody.local_addr().unwrap().into(), b"Bob\n").is(
        2,
        "",
        "error: cannot record to new.talk: it exists already: remove it, or take another name\n\
         for more: greeter-client --help\n",
    );
    assert_eq!(folder.text("new.talk"), "mine");
    nobody.set_nonblocking(true).unwrap();
    assert!(nobody.accept().is_err(), "it has connected");
}

#[test]
fn without_a_server_there_is_no_file() {
    let folder = Folder::new("record-nobody", &[]);
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().into();
    assert_eq!(record(&folder, &address, b"Bob\n").code, Some(3));
    assert!(!folder.0.join("new.talk").exists());
}

#[test]
fn a_reset_and_a_cut_line_are_written_down() {
    let folder = Folder::new("record-reset", &[]);
    let server = serve(reset);
    assert_eq!(record(&folder, &server.address, b"Bob\n").code, Some(3));
    let text = folder.text("new.talk");
    assert!(text.starts_with("> Bob\n") && text.ends_with("<reset\n"), "{text}");

    let folder = Folder::new("record-cut", &[]);
    let address = server_that_cuts();
    assert_eq!(record(&folder, &address, b"Bob\n").code, Some(3));
    assert_eq!(sorted(&folder.text("new.talk")), ["<\"Hello, B\"", "<eof", "> Bob", ">eof"]);
    plays_back(&folder, &address);
}

fn server_that_cuts() -> ServerAddress {
    server(|mut stream| {
        read_line(&stream);
        stream.write_all(b"Hello, B").unwrap();
        kit::read_all(&stream);
    })
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_it_with_the_files_name() {
    let address = greeter();
    let folder = Folder::new("record-full", &[]);
    // A limit on the size of files is a full disk for one process. That it comes as a signal, the
    // shell can ignore.
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$@\"";
    let mut command = std::process::Command::new("sh");
    let address = address.to_string();
    command.args([
        "-c",
        script,
        "sh",
        env!("CARGO_BIN_EXE_greeter-client"),
        "--connect",
        &address,
        "record",
        "new.talk",
    ]);
    command.current_dir(&folder.0).stdout(Stdio::from(File::create("/dev/null").unwrap())).stderr(Stdio::piped());
    let outcome = run_with(&mut command, "A name of thirty-two characters\n".repeat(1000));
    assert_eq!(outcome.code, Some(4));
    let error = "error: the recording is not complete: cannot write new.talk: File too large";
    assert!(outcome.stderr.starts_with(error), "{outcome:?}");
}

#[cfg(unix)]
mod on_a_terminal {
    use super::*;
    use kit::terminal::sit_down;

    #[test]
    fn a_conversation_is_written_down_in_the_order_in_which_it_was_seen() {
        let address = server(|mut stream| {
            stream.write_all(b"login: ").unwrap();
            kit::answer(stream, |line| [b"Hello, ", line].concat());
        });
        let hello = format!("connected to {address}; Ctrl-D ends, :help tells more");
        let folder = Folder::new("record-terminal", &[("old.talk", "")]);
        let mut command = greeter_client(&address, &["record", "new.talk"]);
        command.current_dir(&folder.0).env("TERM", "xterm").env("NO_COLOR", "1").env("XDG_STATE_HOME", "/dev/null/no");
        let mut person = sit_down(&mut command);
        person.sees(&[&hello, "login:"]);
        person.types("Bob\r");
        person.sees(&[&hello, "login: Bob", "Hello, Bob", ">"]);
        person.types("Ann\u{16}\u{1b}\r");
        person.sees(&[&hello, "login: Bob", "Hello, Bob", "> Ann\\e", "Hello, Ann\\e", ">"]);
        person.types(":record x.talk\r");
        let refused = "this conversation is being written to new.talk";
        let seen = [&hello, "login: Bob", "Hello, Bob", "> Ann\\e", "Hello, Ann\\e", "> :record x.talk", refused];
        person.sees(&[&seen[..], &[">"]].concat());
        person.types("\u{4}");
        person.leaves(0, &seen);
        let script = "<\"login: \"\n> Bob\n< Hello, Bob\n>\"Ann\\e\\n\"\n<\"Hello, Ann\\e\\n\"\n>eof\n<eof\n";
        assert_eq!(folder.text("new.talk"), script);
        plays_back(&folder, &address);
    }

    #[test]
    fn a_chat_may_be_written_down_later_and_from_its_start() {
        let address = greeter();
        let hello = format!("connected to {address}; Ctrl-D ends, :help tells more");
        let folder = Folder::new("record-later", &[("old.talk", "mine")]);
        let mut command = greeter_client(&address, &[]);
        command.current_dir(&folder.0).env("TERM", "xterm").env("NO_COLOR", "1").env("XDG_STATE_HOME", "/dev/null/no");
        let mut person = sit_down(&mut command);
        person.sees(&[&hello, ">"]);
        person.types("Bob\r");
        person.sees(&[&hello, "> Bob", "Hello, Bob", ">"]);
        person.types(":record old.talk\r:record new.talk\r");
        let seen = [
            &hello,
            "> Bob",
            "Hello, Bob",
            "> :record old.talk",
            "cannot record to old.talk: it exists already: remove it, or take another name",
            "> :record new.talk",
            "this conversation is written to new.talk, from its start",
        ];
        person.sees(&[&seen[..], &[">"]].concat());
        person.types("Ann\r");
        person.sees(&[&seen[..], &["> Ann", "Hello, Ann", ">"]].concat());
        person.types(":quit\r");
        person.leaves(0, &[&seen[..], &["> Ann", "Hello, Ann", "> :quit"]].concat());
        assert_eq!(folder.text("new.talk"), "> Bob\n< Hello, Bob\n> Ann\n< Hello, Ann\nclose\n");
        assert_eq!(folder.text("old.talk"), "mine");
        plays_back(&folder, &address);
    }
}
