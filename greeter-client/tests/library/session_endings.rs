//! How conversations end: as expected, or with a failure that says how.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use greeter_client::session::{Actual, Mismatch, SessionOptions, StreamEnd};
use greeter_client::{Session, SessionError};

use crate::kit::{Server, answer, greeter, read_all, read_line, read_to_the_end, reset, serve, stay_silent};

fn to<T>(server: &Server<T>) -> Session {
    let mut options = SessionOptions::to(server.address.clone());
    // What fails because of what came does not wait for it.
    options.timeout = Duration::from_secs(10);
    Session::new(options)
}

/// It failed because of what came, and did not wait for more.
#[track_caller]
fn at_once<T: std::fmt::Debug>(outcome: Result<T, SessionError>) -> Box<Mismatch> {
    match outcome {
        Err(SessionError::Mismatch(mismatch)) if !mismatch.timed_out && mismatch.waited < Duration::from_secs(2) => {
            mismatch
        }
        outcome => panic!("{outcome:?}"),
    }
}

/// A server that sends `bytes` after a line, and resets the connection.
fn resets_after(bytes: &'static [u8]) -> Session {
    let server = serve(move |mut stream: TcpStream| {
        stream.write_all(bytes).unwrap();
        reset(stream);
    });
    let mut session = to(&server);
    session.on("").send("x").unwrap();
    session
}

#[test]
fn a_server_that_closes_at_once() {
    let mut session = to(&serve(drop));
    let mismatch = at_once(session.on("").expect("Hello"));
    assert_eq!((mismatch.actual, mismatch.end), (Actual::End(StreamEnd::Eof), Some(StreamEnd::Eof)));
    at_once(session.on("").expect_reset());
    at_once(session.on("").expect_bytes("H"));
    session.on("").expect_eof().unwrap();
    session.on("").expect_closed().unwrap();
    session.finish().unwrap();
}

/// It has ended the stream and closed the socket: its system refuses what comes then.
#[test]
fn what_is_sent_after_the_end_to_a_server_that_is_gone_is_an_error_of_sending() {
    let refused = |outcome: Result<(), SessionError>| {
        let text = "the server had closed, and refused what was sent after that";
        assert!(
            matches!(&outcome, Err(SessionError::Send { source, .. }) if source.to_string() == text),
            "{outcome:?}"
        );
    };
    let server = serve(drop);
    let mut session = to(&server);
    session.on("").expect_eof().unwrap();
    session.on("").send("too late").unwrap();
    refused(session.finish());

    let server = serve(drop);
    let mut session = to(&server);
    session.on("").expect_eof().unwrap();
    session.on("").send("too late").unwrap();
    refused(session.open("", &server.address.into()));
    session.on("").close().unwrap();
    session.finish().unwrap();
}

#[test]
fn what_is_sent_after_the_end_to_a_server_that_still_reads_is_well_sent() {
    let server = serve(|stream: TcpStream| {
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&stream)
    });
    let mut session = to(&server);
    session.on("").expect_eof().unwrap();
    session.on("").send("more").unwrap();
    session.finish().unwrap();
    assert_eq!(server.outcome(), b"more\n");
}

#[test]
fn a_server_that_closes_in_mid_line() {
    let server = serve(|mut stream: TcpStream| stream.write_all(b"whole\nHello, B").unwrap());
    let mut session = to(&server);
    session.on("").expect("whole").unwrap();
    let mismatch = at_once(session.on("").expect("Hello, Bob"));
    assert_eq!((mismatch.actual, mismatch.end), (Actual::PartialLine(b"Hello, B".to_vec()), Some(StreamEnd::Eof)));
    at_once(session.on("").expect_bytes("Hello, Bob"));
    let mismatch = at_once(session.on("").expect_eof());
    assert_eq!(mismatch.actual, Actual::PartialLine(b"Hello, B".to_vec()));
    session.on("").expect_bytes("Hello, B").unwrap();
    session.on("").expect_eof().unwrap();
}

#[test]
fn a_server_that_resets_in_mid_line() {
    let mut session = resets_after(b"whole\nHello, B");
    session.on("").expect("whole").unwrap();
    let mismatch = at_once(session.on("").expect("Hello, Bob"));
    assert_eq!((mismatch.actual, mismatch.end), (Actual::PartialLine(b"Hello, B".to_vec()), Some(StreamEnd::Reset)));
    at_once(session.on("").expect_reset());
    session.on("").expect_bytes("Hello, B").unwrap();
    let mismatch = at_once(session.on("").expect_eof());
    assert_eq!(mismatch.actual, Actual::End(StreamEnd::Reset));
    session.on("").expect_reset().unwrap();
    session.finish().unwrap();
}

#[test]
fn a_server_that_answers_twice() {
    let server = serve(|stream| answer(stream, |line| [line, line].concat()));
    let mut session = to(&server);
    session.on("").send("Bob").unwrap();
    session.on("").expect("Bob").unwrap();
    session.on("").half_close().unwrap();
    let mismatch = at_once(session.finish());
    assert_eq!(mismatch.actual, Actual::Line(b"Bob".to_vec()));

    let server = serve(|stream| answer(stream, |line| [line, line].concat()));
    let mut session = to(&server);
    session.on("").send("Bob").unwrap();
    session.on("").half_close().unwrap();
    session.on("").expect("Bob").unwrap();
    assert_eq!(at_once(session.on("").expect_eof()).actual, Actual::Line(b"Bob".to_vec()));
}

#[test]
fn the_end_half_closes_and_demands_the_servers_end() {
    let server = serve(|stream| read_all(&stream));
    let mut session = to(&server);
    session.on("").send("Bob").unwrap();
    session.finish().unwrap();
    assert_eq!(server.outcome(), b"Bob\n");
}

#[test]
fn a_server_that_does_not_close_is_late_at_the_end() {
    let mut session = to(&serve(|stream| {
        read_line(&stream);
        stay_silent(stream);
    }));
    session.on("").send("Bob").unwrap();
    session.set_timeout(Duration::from_millis(200));
    let start = Instant::now();
    let error = session.finish().unwrap_err();
    let took = start.elapsed();
    assert!(
        matches!(&error, SessionError::Mismatch(mismatch) if mismatch.timed_out && mismatch.actual == Actual::Nothing),
        "{error:?}"
    );
    assert!(took >= Duration::from_millis(200) && took < Duration::from_millis(700), "{took:?}");
    assert_eq!(error.to_string().split(" within").next(), Some("the connection: expected the end, but nothing came"));
}

#[test]
fn a_reset_is_no_end() {
    let session = resets_after(b"");
    assert_eq!(at_once(session.finish()).actual, Actual::End(StreamEnd::Reset));
}

#[test]
fn what_has_ended_is_exempt() {
    let alice = serve(|stream| {
        read_line(&stream);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_to_the_end(stream);
    });
    let others = [serve(stay_silent), serve(stay_silent)];
    let mut session = to(&alice);
    session.open("bob", &others[0].address.clone().into()).unwrap();
    session.open("carol", &others[1].address.clone().into()).unwrap();
    session.on("alice").send("Alice").unwrap();
    session.on("alice").expect_eof().unwrap();
    // The server has said its last, but still listens.
    session.on("alice").send("one more").unwrap();
    session.on("bob").close().unwrap();
    session.on("carol").reset().unwrap();
    session.finish().unwrap();
    alice.outcome();
}

#[test]
fn a_session_that_is_abandoned_looks_at_nothing_and_closes_all() {
    let server = serve(|mut stream| {
        stream.write_all(b"unread\n").unwrap();
        read_all(&stream)
    });
    let mut session = to(&server);
    session.on("").send("Bob").unwrap();
    session.flush();
    session.abandon();
    assert_eq!(server.outcome(), b"Bob\n");

    let server = greeter();
    drop({
        let mut session = to(&server);
        session.on("").send("Bob").unwrap();
        session.on("").expect("Hello, Bob").unwrap();
        session
    });
    server.outcome();
}

#[test]
fn a_panic_while_a_session_is_open_ends_its_threads() {
    let server = serve(read_to_the_end);
    let mut session = to(&server);
    session.on("").send("Bob").unwrap();
    let judge = || session.on("").expect_nothing(Duration::from_millis(1)).map(|()| panic!("by the test"));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(judge)).is_err());
    drop(session);
    server.outcome();
}
