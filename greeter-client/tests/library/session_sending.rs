//! What leaves, when, and what becomes of what cannot.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use greeter_client::session::{Actual, SessionOptions, StreamEnd};
use greeter_client::{Eol, Session, SessionError};

use crate::kit::{self, Server, answer, greeter, read_all, read_line, reset, serve, stay_silent};

fn to<T>(server: &Server<T>) -> Session {
    Session::new(SessionOptions::to(server.address.clone()))
}

/// A session with a server that has just reset the connection.
fn after_reset() -> Session {
    let server = serve(reset);
    let mut session = to(&server);
    session.on("").send("x").unwrap();
    session.flush();
    server.outcome();
    session
}

/// Tells how the stream ended: the bytes, or the error.
fn read_to_end(mut stream: TcpStream) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes).map_err(|err| err.kind())
}

#[test]
fn adjacent_sends_are_one_write() {
    let server = serve(|mut stream| {
        let mut bytes = [0; 1000];
        let count = stream.read(&mut bytes).unwrap();
        stream.write_all(b"seen\n").unwrap();
        read_all(&stream);
        bytes[..count].to_vec()
    });
    let mut session = to(&server);
    for name in 0..50 {
        session.on("").send(name.to_string()).unwrap();
    }
    session.on("").send_bytes("raw").unwrap();
    session.on("").expect("seen").unwrap();
    session.finish().unwrap();
    let lines: String = (0..50).map(|name| format!("{name}\n")).collect();
    assert_eq!(server.outcome(), (lines + "raw").into_bytes());
}

#[test]
fn nothing_leaves_before_the_flush() {
    let (tell, told) = mpsc::channel();
    let server = serve(move |stream| tell.send(read_line(&stream)));
    let mut session = to(&server);
    session.on("").send("Bob").unwrap();
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
    session.flush();
    assert_eq!(told.recv_timeout(kit::PATIENCE).unwrap(), b"Bob\n");
}

#[test]
fn a_line_gets_the_ending_chosen_and_holds_no_other() {
    let server = serve(|stream| read_all(&stream));
    let mut session = to(&server);
    session.on("").send("a").unwrap();
    session.set_eol(Eol::CrLf);
    session.on("").send("b").unwrap();
    assert!(matches!(session.on("").send("c\nd"), Err(SessionError::LfInLineError)));
    session.on("").send_bytes("e\nf").unwrap();
    session.finish().unwrap();
    assert_eq!(server.outcome(), b"a\nb\r\ne\nf");
}

/// The server reads only when it can write, and 20 MB each way are more than what is between the
/// two, and more than is read ahead.
#[test]
fn a_pipeline_of_megabytes_does_not_stop() {
    let server = serve(|stream| answer(stream, <[u8]>::to_vec));
    let mut session = to(&server);
    let line = |number: usize| format!("{number:0>999}");
    for number in 0..20_000 {
        session.on("").send(line(number)).unwrap();
    }
    for number in 0..20_000 {
        session.on("").expect(line(number)).unwrap();
    }
    session.finish().unwrap();
}

#[test]
fn a_server_may_write_before_it_has_read_all() {
    let server = serve(|mut stream| {
        stream.read_exact(&mut [0; 1]).unwrap();
        stream.write_all(b"error: too long\n").unwrap();
        // More than the client could hold in a socket's buffers: it is read while the rest waits to
        // be sent.
        stream.write_all(&[b'x'; 8_000_000]).unwrap();
        stream.write_all(b"\n").unwrap();
        read_all(&stream).len()
    });
    let mut options = SessionOptions::to(server.address.clone());
    options.max_unread_bytes = 16_000_000;
    let mut session = Session::new(options);
    session.on("").send_bytes([b'A'; 70_000]).unwrap();
    session.on("").send_bytes(vec![b'A'; 30_000_000]).unwrap();
    session.on("").expect("error: too long").unwrap();
    session.on("").expect_line(|_, line| line.len() == 8_000_000).unwrap();
    session.finish().unwrap();
    assert_eq!(server.outcome(), 30_069_999);
}

#[test]
fn a_server_that_never_reads_does_not_hold_up_what_it_says() {
    let server = serve(|mut stream| {
        stream.write_all(b"220 ready\n").unwrap();
        stay_silent(stream);
    });
    let mut session = to(&server);
    let start = Instant::now();
    session.on("").send_bytes(vec![b'x'; 30_000_000]).unwrap();
    session.on("").expect("220 ready").unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    session.on("").send("more").unwrap();
    let start = Instant::now();
    let outcome = session.on("").within(Duration::from_millis(200)).expect("Hello");
    let took = start.elapsed();
    let Err(SessionError::Mismatch(mismatch)) = outcome else { panic!("{outcome:?}") };
    assert!(
        mismatch.timed_out && mismatch.actual == Actual::Nothing && mismatch.unsent_bytes > 1_000_000,
        "{mismatch:?}"
    );
    assert!(took < Duration::from_millis(700), "{took:?}");
    let start = Instant::now();
    session.set_timeout(Duration::from_millis(200));
    assert!(session.finish().is_err());
    assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());
}

/// What may wait for it has a limit, and then the deadline.
#[test]
fn a_server_that_never_reads_costs_bounded_memory() {
    let mut session = to(&serve(stay_silent));
    session.set_timeout(Duration::from_millis(200));
    let chunk = vec![b'x'; 1 << 20];
    let start = Instant::now();
    let error = (0..200).find_map(|_| session.on("").send_bytes(&chunk).err()).unwrap();
    assert!(matches!(&error, SessionError::Send { source, .. } if source.kind() == ErrorKind::TimedOut), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn another_ones_turn_flushes() {
    let (tell, told) = mpsc::channel();
    let server = serve(move |stream| tell.send(read_line(&stream)));
    let other = serve(stay_silent);
    let mut session = to(&server);
    session.open("bob", &other.address.into()).unwrap();
    session.on("alice").send("Alice").unwrap();
    session.on("bob").send("Bob").unwrap();
    assert_eq!(told.recv_timeout(kit::PATIENCE).unwrap(), b"Alice\n");
}

#[test]
fn two_connections_talk_in_turns() {
    let (alice, bob) = (greeter(), greeter());
    let mut session = to(&alice);
    session.open("bob", &bob.address.into()).unwrap();
    for round in 0..100 {
        session.on("alice").send(format!("Alice {round}")).unwrap();
        session.on("bob").send(format!("Bob {round}")).unwrap();
        session.on("bob").expect(format!("Hello, Bob {round}")).unwrap();
        session.on("alice").expect(format!("Hello, Alice {round}")).unwrap();
    }
    session.finish().unwrap();
}

#[test]
fn a_half_closed_connection_still_gets_its_replies() {
    let server = serve(|mut stream| {
        let bytes = read_all(&stream);
        stream.write_all(format!("{} bytes\n", bytes.len()).as_bytes()).unwrap();
    });
    let mut session = to(&server);
    // Too much for the socket: the half-close waits for the last of it.
    session.on("").send_bytes(vec![b'x'; 10_000_000]).unwrap();
    session.on("").half_close().unwrap();
    assert!(matches!(session.on("").send("more"), Err(SessionError::HalfClosed(name)) if name.is_empty()));
    session.on("").expect("10000000 bytes").unwrap();
    session.on("").expect_eof().unwrap();
    session.finish().unwrap();
}

#[test]
fn a_reset_is_a_reset_and_no_clean_end_before_it() {
    let server = serve(read_to_end);
    let mut session = to(&server);
    session.on("").send("Bob").unwrap();
    session.on("").reset().unwrap();
    assert_eq!(server.outcome(), Err(ErrorKind::ConnectionReset));
    assert!(matches!(session.on("").send("more"), Err(SessionError::Closed(_))));
    session.finish().unwrap();
}

#[test]
fn a_reset_does_not_wait_for_what_the_server_has_not_read() {
    let (go, gone) = mpsc::channel();
    let server = serve(move |stream| {
        gone.recv_timeout(kit::PATIENCE).unwrap();
        read_to_end(stream)
    });
    let mut session = to(&server);
    session.on("").send_bytes(vec![b'x'; 30_000_000]).unwrap();
    let start = Instant::now();
    session.on("").reset().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    go.send(()).unwrap();
    assert_eq!(server.outcome(), Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_close_sends_what_was_said_and_looks_at_nothing() {
    let server = serve(read_to_end);
    let mut session = to(&server);
    session.on("").send_bytes(vec![b'x'; 10_000_000]).unwrap();
    session.on("").close().unwrap();
    assert_eq!(server.outcome().map(|bytes| bytes.len()), Ok(10_000_000));
    assert!(matches!(session.on("").expect("x"), Err(SessionError::Closed(_))));
    session.finish().unwrap();
}

#[test]
fn what_could_not_be_sent_is_forgiven_where_the_end_is_expected() {
    let mut session = after_reset();
    for line in ["y", "z"] {
        session.on("").send(line).unwrap();
        session.on("").expect_reset().unwrap();
    }
    session.finish().unwrap();

    let mut session = after_reset();
    session.on("").send("y").unwrap();
    session.flush();
    session.on("").expect_closed().unwrap();
    session.finish().unwrap();

    let mut session = after_reset();
    session.on("").send("y").unwrap();
    session.on("").half_close().unwrap();
    session.on("").expect_closed().unwrap();
    session.finish().unwrap();
}

#[test]
fn what_could_not_be_sent_fails_any_other_step() {
    let mut session = after_reset();
    session.on("").send("y").unwrap();
    session.flush();
    let error = session.on("").send("z").unwrap_err();
    assert!(matches!(error, SessionError::Send { .. }), "{error:?}");

    let mut session = after_reset();
    session.on("").send("y").unwrap();
    let outcome = session.on("").expect("Hello");
    let Err(SessionError::Mismatch(mismatch)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(mismatch.actual, Actual::End(StreamEnd::Reset));
    assert!(mismatch.send_error.is_some() && mismatch.to_string().contains("not delivered"), "{mismatch}");
}

/// The first send after the server's end is answered with a reset, and the second fails.
#[test]
fn what_could_not_be_sent_fails_the_end_of_the_session() {
    let server = serve(drop);
    let mut session = to(&server);
    session.open("", &server.address.clone().into()).unwrap();
    server.outcome();
    session.on("").send("a").unwrap();
    session.flush();
    session.on("").send("b").unwrap();
    let error = session.finish().unwrap_err();
    assert!(matches!(error, SessionError::Send { .. }), "{error:?}");
}

/// The reply was under way before the reset, and is not lost to it.
#[test]
fn what_came_before_can_be_expected_though_a_send_failed() {
    let server = serve(|mut stream| {
        read_line(&stream);
        stream.write_all(b"error: go away\n").unwrap();
        read_line(&stream);
    });
    let mut session = to(&server);
    session.on("").send("a").unwrap();
    session.flush();
    session.on("").send("b").unwrap();
    session.flush();
    server.outcome();
    session.on("").send("c").unwrap();
    session.flush();
    // The server has refused "c", which it tells with a reset, and "d" cannot be sent.
    assert!(session.on("").send("d").is_ok());
    session.on("").expect("error: go away").unwrap();
    session.on("").expect_closed().unwrap();
}
