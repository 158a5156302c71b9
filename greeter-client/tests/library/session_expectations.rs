//! What a session expects, and what it says when something else comes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use greeter_client::session::{Came, Expected, PeerEnd, SessionOptions, Unmet};
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
fn unmet<T: std::fmt::Debug>(outcome: Result<T, SessionError>) -> Box<Unmet> {
    match outcome {
        Err(SessionError::Unmet(unmet)) => unmet,
        outcome => panic!("{outcome:?}"),
    }
}

/// It failed when the deadline came, and not much later.
#[track_caller]
fn late<T: std::fmt::Debug>(since: Instant, outcome: Result<T, SessionError>) -> Box<Unmet> {
    let took = since.elapsed();
    let unmet = unmet(outcome);
    assert!(unmet.late && unmet.end.is_none(), "{unmet:?}");
    assert!(took >= SHORT && took < SHORT + Duration::from_millis(500), "{took:?}");
    assert!(unmet.waited >= SHORT && unmet.waited <= took, "{:?}", unmet.waited);
    unmet
}

/// It failed because of what came, and did not wait for more.
#[track_caller]
fn at_once<T: std::fmt::Debug>(since: Instant, outcome: Result<T, SessionError>) -> Box<Unmet> {
    let unmet = unmet(outcome);
    assert!(!unmet.late && since.elapsed() < Duration::from_secs(2), "{unmet:?}");
    unmet
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
    let unmet = at_once(start, session.on("").expect("Hello, Bob"));
    assert_eq!(unmet.expected, Expected::Line(Some(b"Hello, Bob".to_vec())));
    assert_eq!(unmet.came, Came::Line(b"Hello, Ann".to_vec()));
    assert!(b"Hel".starts_with(&unmet.buffered));
    assert_eq!(unmet.to_string(), "the connection: expected the line \"Hello, Bob\", but the line \"Hello, Ann\" came");
    session.on("").expect("Hello, Ann").unwrap();
    session.on("").expect_bytes("Hel").unwrap();
    session.finish().unwrap();
}

#[test]
fn a_failure_names_the_connection_and_both_addresses() {
    let server = says(b"no\n");
    let peer = server.address.to_string();
    let mut session = to(&server);
    let unmet = unmet(session.on("bob").expect("yes"));
    assert_eq!((unmet.connection.as_str(), unmet.member), ("bob", 0));
    assert_eq!(unmet.peer, peer);
    assert!(unmet.local.starts_with("127.0.0.1:") && unmet.local != peer, "{}", unmet.local);
}

#[test]
fn a_judge_sees_the_line_without_its_ending() {
    let mut session = hears(b"id=17\n");
    let mut seen = Vec::new();
    session
        .on("")
        .expect_line(|member, line| {
            seen = line.to_vec();
            member == 0 && line.starts_with(b"id=")
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
    assert_eq!(unmet(session.on("").expect("Hello")).came, Came::Line(b"Hello\r".to_vec()));
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
    let unmet = at_once(start, session.on("").expect_bytes("221 ready"));
    assert_eq!(unmet.came, Came::Bytes(b"220".to_vec()));
    session.on("").expect_bytes("220").unwrap();
}

#[test]
fn bytes_that_do_not_come_are_late_and_those_that_came_are_told() {
    let mut session = hears(b"220");
    let start = Instant::now();
    let unmet = late(start, session.on("").within(SHORT).expect_bytes("220 ready"));
    assert_eq!(unmet.came, Came::Bytes(b"220".to_vec()));
}

#[test]
fn bytes_that_came_before_the_end_are_told_and_only_where_none_did_the_end() {
    let mut session = hears_all_of(b"220");
    let start = Instant::now();
    assert_eq!(at_once(start, session.on("").expect_bytes("220 ready")).came, Came::Bytes(b"220".to_vec()));
    session.on("").expect_bytes("220").unwrap();
    let came = at_once(start, session.on("").expect_bytes("ready")).came;
    assert_eq!(came, Came::End(PeerEnd::Eof));
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
    options.unread_bytes_max = 64 * 1024;
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
    let unmet = at_once(start, session.on("").take(100));
    assert_eq!((unmet.came, unmet.end), (Came::Bytes(b"cd\n".to_vec()), Some(PeerEnd::Eof)));
    session.on("").expect("cd").unwrap();
    let start = Instant::now();
    assert_eq!(at_once(start, session.on("").take(1)).came, Came::End(PeerEnd::Eof));
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
    assert_eq!(unmet(session.on("").skipping().expect_eof()).came, Came::Unfinished(b"tw".to_vec()));
}

#[test]
fn skipping_in_vain_ends_with_the_stream_or_with_the_deadline() {
    let mut session = hears_all_of(b"one\ntwo\n");
    let start = Instant::now();
    assert_eq!(at_once(start, session.on("").skipping().expect("three")).came, Came::End(PeerEnd::Eof));

    let mut session = hears(b"one\ntwo\n");
    let start = Instant::now();
    assert_eq!(late(start, session.on("").within(SHORT).skipping().expect("three")).came, Came::Nothing);
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
    let unmet = late(start, session.on("").within(SHORT).expect("Hello, Bob"));
    assert_eq!((unmet.came, unmet.unsent_bytes), (Came::Nothing, 0));
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
    let unmet = late(start, session.on("").within(SHORT).expect("Hello"));
    assert!(matches!(&unmet.came, Came::Unfinished(bytes) if bytes.starts_with(b"x")), "{:?}", unmet.came);
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
    let unmet = at_once(start, session.on("").expect_nothing(Duration::from_secs(10)));
    assert_eq!(unmet.came, Came::Line(b"Hello, Bob".to_vec()));
    session.on("").expect("Hello, Bob").unwrap();
    session.on("").expect_nothing(Duration::from_millis(20)).unwrap();
    session.on("").half_close().unwrap();
    let start = Instant::now();
    let unmet = at_once(start, session.on("").expect_nothing(Duration::from_secs(10)));
    assert_eq!(unmet.came, Came::End(PeerEnd::Eof));

    let mut session = hears(b"name: ");
    let start = Instant::now();
    let unmet = at_once(start, session.on("").expect_nothing(Duration::from_secs(10)));
    assert!(matches!(unmet.came, Came::Unfinished(_)), "{unmet:?}");
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
    options.unread_bytes_max = 1024 * 1024;
    let mut session = Session::new(options);
    for _ in 0..2 {
        let start = Instant::now();
        let unmet = at_once(start, session.on("").expect("Hello"));
        assert_eq!(unmet.came, Came::TooLong { limit: 1024 * 1024 });
        assert!(unmet.buffered.len() == 1024 && unmet.buffered_bytes < 1_100_000, "{}", unmet.buffered_bytes);
    }
    // It gave up by itself, as nobody has read for a while.
    assert!(server.outcome() < 32 * 1024 * 1024);
}
