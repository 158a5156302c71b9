//! `greeter-client greet NAME…`, as a process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;

use greeter_client::ServerAddress;

use crate::kit::{bare_greeter_client, greeter, greeter_client, read_all, read_line, run, serve, stay_silent};

/// A server that answers whatever it is sent first with `bytes`, and closes.
fn says(bytes: &'static [u8]) -> ServerAddress {
    serve(move |mut stream: TcpStream| {
        read_line(&stream);
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&stream);
    })
    .address
}

#[test]
fn each_name_is_greeted_in_order() {
    let server = greeter();
    run(&mut greeter_client(&server.address, &["greet", "Ann", "", "Zoë", "help"])).is(
        0,
        "Hello, Ann\nHello, \nHello, Zoë\nHello, help\n",
        "",
    );
}

#[test]
fn a_name_that_starts_with_a_dash_stands_behind_two() {
    let server = greeter();
    run(&mut greeter_client(&server.address, &["greet", "--", "-V", "--a=b"])).is(0, "Hello, -V\nHello, --a=b\n", "");
}

#[test]
fn the_server_may_be_named_by_the_environment() {
    let server = greeter();
    run(bare_greeter_client(&["greet", "Bob"]).env("GREETER_CONNECT", server.address.to_string())).is(
        0,
        "Hello, Bob\n",
        "",
    );
}

#[test]
fn with_crlf_the_cr_goes_out_and_does_not_come_back() {
    let server = serve(|mut stream| {
        let line = read_line(&stream);
        stream.write_all(&line).unwrap();
        read_all(&stream);
        line
    });
    run(&mut greeter_client(&server.address, &["--eol=crlf", "greet", "Bob"])).is(0, "Bob\n", "");
    assert_eq!(server.outcome(), b"Bob\r\n");
}

#[test]
fn everything_that_the_server_says_is_printed() {
    run(&mut greeter_client(&says(b"one\ntwo\n\x1b[2J\xff\r\n"), &["greet", "Bob"])).is(
        0,
        b"one\ntwo\n\x1b[2J\xff\r\n",
        "",
    );
}

#[test]
fn a_reply_is_printed_as_soon_as_it_comes() {
    let server = serve(|mut stream| {
        read_line(&stream);
        stream.write_all(b"one\n").unwrap();
        read_all(&stream);
        // The test closes this connection when it has seen the first reply.
        stream
    });
    let mut command = greeter_client(&server.address, &["--timeout", "none", "greet", "Bob"]);
    let mut child = command.spawn().unwrap();
    let mut line = [0; 4];
    child.stdout.take().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"one\n");
    drop(server.outcome());
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_unanswered_name_is_an_error() {
    run(&mut greeter_client(&says(b"one\n"), &["greet", "Ann", "Ben", "Eve"])).is(
        3,
        "one\n",
        "error: 2 of 3 names unanswered: the server closed the connection without a reply\n",
    );
}

#[test]
fn a_reply_that_is_cut_off_is_not_printed() {
    run(&mut greeter_client(&says(b"Hello, Ann\nHello, B"), &["greet", "Ann", "Ben"])).is(
        3,
        "Hello, Ann\n",
        "error: 1 of 2 names unanswered: the server closed the connection in the middle of a line, 8 bytes into it\n",
    );
}

const LEFT: &str = "note: each name has its reply, and the server did not close: it was left\n";

/// The server owes a line for a name, and then its end: what it says in place of that does not put
/// it off.
#[test]
fn a_server_that_never_stops_speaking_is_left_at_the_timeout() {
    for banner in [&b""[..], b"welcome\n"] {
        let server = serve(move |mut stream| {
            stream.write_all(banner).unwrap();
            read_line(&stream);
            while stream.write_all(b"more\n").is_ok() {}
        });
        let outcome = run(&mut greeter_client(&server.address, &["--timeout=300ms", "greet", "Ann"]));
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), LEFT));
        assert!(outcome.stdout.starts_with(&[banner, b"more\n"].concat()));
        server.outcome();
    }
}

#[test]
fn a_server_that_has_answered_and_does_not_close_is_left_and_that_is_told() {
    for options in [&["--timeout=300ms"][..], &["--timeout=none", "--idle=50ms"], &["--timeout=60s", "--idle=50ms"]] {
        let server = serve(|mut stream| {
            read_line(&stream);
            read_line(&stream);
            stream.write_all(b"one\ntwo\n").unwrap();
            stay_silent(stream);
        });
        run(&mut greeter_client(&server.address, &[options, &["greet", "Ann", "Ben"]].concat())).is(
            0,
            "one\ntwo\n",
            LEFT,
        );
    }
    // One that owes a reply is not.
    let server = serve(|mut stream| {
        read_line(&stream);
        stream.write_all(b"one\n").unwrap();
        stay_silent(stream);
    });
    run(&mut greeter_client(&server.address, &["--timeout=300ms", "--idle=1ms", "greet", "Ann", "Ben"])).is(
        3,
        "one\n",
        "error: 1 of 2 names unanswered: timed out after 300ms\n",
    );
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let server = serve(|mut stream| {
        read_line(&stream);
        while stream.write_all(b"more\n").is_ok() {}
    });
    let mut child = greeter_client(&server.address, &["greet", "Ann"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 5]).unwrap();
    drop(stdout);
    let outcome = child.wait_with_output().unwrap();
    assert_eq!((outcome.status.code(), outcome.stderr), (Some(0), Vec::new()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let server = greeter();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let outcome = run(greeter_client(&server.address, &["greet", "Ann"]).stdout(Stdio::from(full)));
    assert_eq!(outcome.code, Some(4));
    assert!(outcome.stderr.starts_with("error: cannot write to stdout: "), "{outcome:?}");
}
