//! What a client does with a server that does not keep to the rules.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use greeter_client::{Connection, ConnectionError, ConnectionOptions};

use crate::kit::{read_line, reset, serve, stay_silent};

const TIMEOUT: Duration = Duration::from_millis(300);

fn impatient() -> ConnectionOptions {
    let mut options = ConnectionOptions::default();
    options.timeout = Some(TIMEOUT);
    options
}

/// It timed out, and not when bytes stopped coming. How much later than it should is the affair of
/// the machine, too.
#[track_caller]
fn timed_out<T: std::fmt::Debug>(since: Instant, outcome: &Result<T, ConnectionError>) {
    let took = since.elapsed();
    assert!(matches!(outcome, Err(ConnectionError::TimedOut { timeout: TIMEOUT })), "{outcome:?}");
    assert!(took >= TIMEOUT && took < TIMEOUT + Duration::from_secs(10), "{took:?}");
}

/// Sends a byte now and then until the client goes away.
fn dribble(mut stream: TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    while !matches!(stream.read(&mut [0; 64]), Ok(0)) && stream.write_all(b"x").is_ok() {}
}

#[test]
fn a_silent_server_is_waited_for_no_longer_than_the_timeout() {
    let server = serve(stay_silent);
    let mut connection = Connection::connect_with(&server.address, &impatient()).unwrap();
    timed_out(Instant::now(), &connection.ask("Bob"));
}

#[test]
fn bytes_that_dribble_in_do_not_prolong_the_wait() {
    let server = serve(dribble);
    let mut connection = Connection::connect_with(&server.address, &impatient()).unwrap();
    timed_out(Instant::now(), &connection.receive());
    assert!(!connection.unread().is_empty());
    timed_out(Instant::now(), &connection.ask("Bob"));
}

#[test]
fn a_server_that_never_reads_does_not_hold_up_a_send_for_ever() {
    let server = serve(stay_silent);
    let mut connection = Connection::connect_with(&server.address, &impatient()).unwrap();
    let line = vec![b'x'; 64 * 1024 * 1024];
    timed_out(Instant::now(), &connection.send(line));
}

#[test]
fn a_reply_that_comes_late_can_still_be_waited_for() {
    let server = serve(|mut stream| {
        stream.write_all(b"Hello, ").unwrap();
        // The client's second line says that its first wait is over.
        read_line(&stream);
        stream.write_all(b"Bob\n").unwrap();
    });
    let mut connection = Connection::connect_with(&server.address, &impatient()).unwrap();
    timed_out(Instant::now(), &connection.receive());
    connection.send("go on").unwrap();
    assert_eq!(connection.receive().unwrap(), Some(&b"Hello, Bob"[..]));
}

#[test]
fn an_endless_line_is_refused_at_the_limit() {
    let server = serve(|mut stream| while stream.write_all(&[b'x'; 65536]).is_ok() {});
    let mut options = ConnectionOptions::default();
    options.max_line_bytes = 100_000;
    let mut connection = Connection::connect_with(&server.address, &options).unwrap();
    for _ in 0..2 {
        assert!(matches!(connection.receive(), Err(ConnectionError::LineTooLong { limit: 100_000 })));
    }
    assert!(connection.unread().len() <= 100_002);
    drop(connection);
    server.outcome();
}

#[test]
fn a_reply_that_is_cut_off_is_not_a_reply() {
    let server = serve(|mut stream| {
        read_line(&stream);
        stream.write_all(b"whole\nHello, B").unwrap();
    });
    let mut connection = Connection::connect(&server.address).unwrap();
    assert_eq!(connection.ask("Bob").unwrap(), b"whole");
    assert!(matches!(connection.receive(), Err(ConnectionError::PartialLine { bytes: 8 })));
    assert_eq!(connection.unread(), b"Hello, B");
}

#[test]
fn a_server_that_closes_in_place_of_a_reply_is_told_from_one_that_resets() {
    let server = serve(|stream| drop(read_line(&stream)));
    let mut connection = Connection::connect(&server.address).unwrap();
    assert!(matches!(connection.ask("Bob"), Err(ConnectionError::Closed)));

    let server = serve(reset);
    let mut connection = Connection::connect(&server.address).unwrap();
    assert!(matches!(connection.ask("Bob"), Err(ConnectionError::Lost(_))));
}
