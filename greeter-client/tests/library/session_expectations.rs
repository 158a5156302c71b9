//! What a session expects, and what it says when something else comes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use greeter_client::session::{Actual, Expected, Mismatch, SessionOptions, StreamEnd};
use greeter_client::{Eol, Session, SessionError};

use crate::kit::{self, Server, greeter, read_all, read_line, serve, stay_silent};

const SHORT: Duration = Duration::from_millis(200);

fn to<T>(server: &Server<T>) -> Session {
    Session::new(SessionOptions::to(server.address.clone()))
}

/// A server that sends `bytes` at once and closes when the client has nothing more to say.
fn says(bytes: &'static [u8]) -> Server<()> {
    serve(move |mut stream: TcpStream| {
        stream.write_all(bytes).unwrap();
        read_all(&stream);
    })
}

/// A session with a server that sends `bytes`.
fn hears(bytes: &'static [u8]) -> Session {
    to(&says(bytes))
}

/// A server that sends `bytes` and closes at once.
fn hears_all_of(bytes: &'static [u8]) -> Session {
    to(&serve(move |mut stream: TcpStream| stream.write_all(bytes).unwrap()))
}

#[track_caller]
fn mismatch<T: std::fmt::Debug>(outcome: Result<T, SessionError>) -> Box<Mismatch> {
    match outcome {
        Err(SessionError::Mismatch(mismatch)) => mismatch,
        outcome => panic!("{outcome:?}"),
    }
}

/// It failed when the deadline came, and not much later.
#[track_caller]
fn late<T: std::fmt::Debug>(since: Instant, outcome: Result<T, SessionError>) -> Box<Mismatch> {
    let took = since.elapsed();
    let mismatch = mismatch(outcome);
    assert!(mismatch.timed_out && mismatch.end.is_none(), "{mismatch:?}");
    assert!(took >= SHORT && took < SHORT + Duration::from_millis(500), "{took:?}");
    assert!(mismatch.waited >= SHORT && mismatch.waited <= took, "{:?}", mismatch.waited);
    mismatch
}

/// It failed because of what came, and did not wait for more.
#[track_caller]
fn at_once<T: std::fmt::Debug>(since: Instant, outcome: Result<T, SessionError>) -> Box<Mismatch> {
    let mismatch = mismatch(outcome);
    assert!(!mismatch.timed_out && since.elapsed() < Duration::from_secs(2), "{mismatch:?}");
    mismatch
}

#[test]
fn a_line_is_expected_exactly() {
    let mut session = hears(b"Hello, Bob\n\nHello, \xff\n");
    session.on("").expect("Hello, Bob").unwrap();
    session.on("").expect("").unwrap();
    session.on("").expect(b"Hello, \xff").unwrap();
    session.finish().unwrap();
}

#[test]
fn a_line_that_differs_is_told_with_what_is_behind_it_and_is_not_consumed() {
    let mut session = hears(b"Hello, Rob\nHello, Ann\nHel");
    let start = Instant::now();
    // All has come when the last bytes have.
    session.on("").expect_line(|_, line| line == b"Hello, Rob").unwrap();
    let mismatch = at_once(start, session.on("").expect("Hello, Bob"));
    assert_eq!(mismatch.expected, Expected::Line(Some(b"Hello, Bob".to_vec())));
    assert_eq!(mismatch.actual, Actual::Line(b"Hello, Ann".to_vec()));
    assert!(b"Hel".starts_with(&mismatch.buffered));
    assert_eq!(
        mismatch.to_string(),
        "the connection: expected the line \"Hello, Bob\", but the line \"Hello, Ann\" came"
    );
    session.on("").expect("Hello, Ann").unwrap();
    session.on("").expect_bytes("Hel").unwrap();
    session.finish().unwrap();
}

#[test]
fn a_failure_names_the_connection_and_both_addresses() {
    let server = says(b"no\n");
    let peer = server.address.to_string();
    let mut session = to(&server);
    let mismatch = mismatch(session.on("bob").expect("yes"));
    assert_eq!((mismatch.connection.as_str(), mismatch.member), ("bob", None));
    assert_eq!(mismatch.peer, peer);
    assert!(mismatch.local.starts_with("127.0.0.1:") && mismatch.local != peer, "{}", mismatch.local);
}

#[test]
fn a_judge_sees_the_line_without_its_ending() {
    let mut session = hears(b"id=17\n");
    let mut seen = Vec::new();
    session
        .on("")
        .expect_line(|member, line| {
            seen = line.to_vec();
            member.is_none() && line.starts_with(b"id=")
        })
        .unwrap();
    assert_eq!(seen, b"id=17");
}

#[test]
fn a_cr_before_lf_is_data_with_lf_and_ending_with_crlf() {
    let mut session = hears(b"a\r\nb\r\nc\nd\r\r\n");
    session.on("").expect("a\r").unwrap();
    session.set_eol(Eol::CrLf);
    for line in ["b", "c", "d\r"] {
        session.on("").expect(line).unwrap();
    }
    session.set_eol(Eol::Lf);
    session.finish().unwrap();

    let mut session = hears(b"Hello\r\n");
    assert_eq!(mismatch(session.on("").expect("Hello")).actual, Actual::Line(b"Hello\r".to_vec()));
}

#[test]
fn a_prompt_needs_no_newline() {
    let server = serve(|mut stream| {
        stream.write_all(b"name: ").unwrap();
        let name = read_line(&stream);
        stream.write_all(&[b"Hello, ", &name[..], b"name: "].concat()).unwrap();
        read_all(&stream);
    });
    let mut session = to(&server);
    session.on("").expect_bytes("name: ").unwrap();
    session.on("").send("Bob").unwrap();
    session.on("").expect("Hello, Bob").unwrap();
    session.on("").expect_bytes("name: ").unwrap();
    session.finish().unwrap();
}

#[test]
fn the_first_byte_that_differs_ends_the_wait() {
    let mut session = hears(b"220");
    let start = Instant::now();
    let mismatch = at_once(start, session.on("").expect_bytes("221 ready"));
    assert_eq!(mismatch.actual, Actual::Bytes(b"220".to_vec()));
    session.on("").expect_bytes("220").unwrap();
}

#[test]
fn bytes_that_do_not_come_are_late_and_those_that_came_are_told() {
    let mut session = hears(b"220");
    let start = Instant::now();
    let mismatch = late(start, session.on("").within(SHORT).expect_bytes("220 ready"));
    assert_eq!(mismatch.actual, Actual::Bytes(b"220".to_vec()));
}

#[test]
fn bytes_that_came_before_the_end_are_told_and_only_where_none_did_the_end() {
    let mut session = hears_all_of(b"220");
    let start = Instant::now();
    assert_eq!(at_once(start, session.on("").expect_bytes("220 ready")).actual, Actual::Bytes(b"220".to_vec()));
    session.on("").expect_bytes("220").unwrap();
    let actual = at_once(start, session.on("").expect_bytes("ready")).actual;
    assert_eq!(actual, Actual::End(StreamEnd::Eof));
}

#[test]
fn more_bytes_can_be_expected_than_are_read_ahead() {
    let bytes = vec![b'x'; 3_000_000];
    let server = serve({
        let bytes = bytes.clone();
        move |mut stream| {
            stream.write_all(&bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        }
    });
    let mut options = SessionOptions::to(server.address);
    options.max_unread_bytes = 64 * 1024;
    let mut session = Session::new(options);
    session.on("").expect_bytes(&bytes).unwrap();
    assert_eq!(session.on("").take(bytes.len()).unwrap(), bytes);
    session.finish().unwrap();
}

#[test]
fn counted_bytes_are_taken_whatever_they_are() {
    let mut session = hears_all_of(b"ab\n\0\xffcd\n");
    assert_eq!(session.on("").take(5).unwrap(), b"ab\n\0\xff");
    assert_eq!(session.on("").take(0).unwrap(), b"");
    let start = Instant::now();
    let mismatch = at_once(start, session.on("").take(100));
    assert_eq!((mismatch.actual, mismatch.end), (Actual::Bytes(b"cd\n".to_vec()), Some(StreamEnd::Eof)));
    session.on("").expect("cd").unwrap();
    let start = Instant::now();
    assert_eq!(at_once(start, session.on("").take(1)).actual, Actual::End(StreamEnd::Eof));
}

#[test]
fn skipping_consumes_lines_until_one_fits() {
    let mut session = hears(b"250-one\n250-two\n250 three\nrest\n");
    session.on("").skipping().expect_line(|_, line| line.starts_with(b"250 ")).unwrap();
    session.on("").expect("rest").unwrap();
    session.finish().unwrap();
}

#[test]
fn skipping_works_towards_bytes_and_ends() {
    let mut session = hears(b"one\ntwo\nname: ");
    session.on("").skipping().expect_bytes("name: ").unwrap();
    session.finish().unwrap();

    let mut session = hears_all_of(b"one\ntwo\n");
    session.on("").skipping().expect_eof().unwrap();

    let mut session = hears_all_of(b"one\ntw");
    assert_eq!(mismatch(session.on("").skipping().expect_eof()).actual, Actual::PartialLine(b"tw".to_vec()));
}

#[test]
fn skipping_in_vain_ends_with_the_stream_or_with_the_deadline() {
    let mut session = hears_all_of(b"one\ntwo\n");
    let start = Instant::now();
    assert_eq!(at_once(start, session.on("").skipping().expect("three")).actual, Actual::End(StreamEnd::Eof));

    let mut session = hears(b"one\ntwo\n");
    let start = Instant::now();
    assert_eq!(late(start, session.on("").within(SHORT).skipping().expect("three")).actual, Actual::Nothing);
}

/// A server that always sends something does not prolong the wait.
#[test]
fn skipping_for_ever_ends_at_the_deadline() {
    let server = serve(|mut stream| while stream.write_all(b"noise\n").is_ok() {});
    let mut session = to(&server);
    let start = Instant::now();
    late(start, session.on("").within(SHORT).skipping().expect("signal"));
    let start = Instant::now();
    late(start, session.on("").within(SHORT).skipping().expect_bytes("signal"));
    let start = Instant::now();
    late(start, session.on("").within(SHORT).skipping().expect_eof());
}

#[test]
fn a_silent_server_is_late() {
    let mut session = to(&serve(stay_silent));
    session.on("").send("Bob").unwrap();
    let start = Instant::now();
    let mismatch = late(start, session.on("").within(SHORT).expect("Hello, Bob"));
    assert_eq!((mismatch.actual, mismatch.unsent_bytes), (Actual::Nothing, 0));
    session.set_timeout(SHORT);
    let start = Instant::now();
    late(start, session.on("").expect_eof());
    let start = Instant::now();
    late(start, session.on("").take(1));
}

#[test]
fn bytes_that_dribble_in_do_not_prolong_the_wait() {
    let server = serve(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        while !matches!(stream.read(&mut [0; 64]), Ok(0)) && stream.write_all(b"x").is_ok() {}
    });
    let mut session = to(&server);
    let start = Instant::now();
    let mismatch = late(start, session.on("").within(SHORT).expect("Hello"));
    assert!(matches!(&mismatch.actual, Actual::PartialLine(bytes) if bytes.starts_with(b"x")), "{:?}", mismatch.actual);
}

#[test]
fn what_comes_late_can_still_be_expected() {
    let (go, gone) = mpsc::channel();
    let server = serve(move |mut stream| {
        gone.recv_timeout(kit::PATIENCE).unwrap();
        stream.write_all(b"Hello, Bob\n").unwrap();
    });
    let mut session = to(&server);
    let start = Instant::now();
    late(start, session.on("").within(SHORT).expect("Hello, Bob"));
    go.send(()).unwrap();
    session.on("").expect("Hello, Bob").unwrap();
}

#[test]
fn silence_is_no_byte_and_no_end() {
    let mut session = to(&greeter());
    let start = Instant::now();
    session.on("").expect_nothing(SHORT).unwrap();
    assert!(start.elapsed() >= SHORT);
    session.on("").send("Bob").unwrap();
    let start = Instant::now();
    let mismatch = at_once(start, session.on("").expect_nothing(Duration::from_secs(10)));
    assert_eq!(mismatch.actual, Actual::Line(b"Hello, Bob".to_vec()));
    session.on("").expect("Hello, Bob").unwrap();
    session.on("").expect_nothing(Duration::from_millis(20)).unwrap();
    session.on("").half_close().unwrap();
    let start = Instant::now();
    let mismatch = at_once(start, session.on("").expect_nothing(Duration::from_secs(10)));
    assert_eq!(mismatch.actual, Actual::End(StreamEnd::Eof));

    let mut session = hears(b"name: ");
    let start = Instant::now();
    let mismatch = at_once(start, session.on("").expect_nothing(Duration::from_secs(10)));
    assert!(matches!(mismatch.actual, Actual::PartialLine(_)), "{mismatch:?}");
}

/// The server would send gigabytes meanwhile, if somebody read them.
#[test]
fn an_endless_line_is_refused_and_the_server_feels_that_nobody_reads() {
    let server = serve(|mut stream| {
        stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut bytes = 0;
        while let Ok(count) = stream.write(&[b'x'; 65536]) {
            bytes += count;
        }
        bytes
    });
    let mut options = SessionOptions::to(server.address.clone());
    options.max_unread_bytes = 1024 * 1024;
    let mut session = Session::new(options);
    for _ in 0..2 {
        let start = Instant::now();
        let mismatch = at_once(start, session.on("").expect("Hello"));
        assert_eq!(mismatch.actual, Actual::LineTooLong { limit: 1024 * 1024 });
        assert!(mismatch.buffered.len() == 1024 && mismatch.buffered_bytes < 1_100_000, "{}", mismatch.buffered_bytes);
    }
    // It gave up by itself, as nobody has read for a while.
    assert!(server.outcome() < 32 * 1024 * 1024);
}
