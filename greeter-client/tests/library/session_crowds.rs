//! Many connections that are spoken to as one.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use greeter_client::session::{Actual, Mismatch, SessionOptions, StreamEnd, Target};
use greeter_client::{ServerAddress, Session, SessionError};

use crate::kit::{self, answer, read_line, stay_silent};

/// Starts a server that does `session` with each client until the test ends, and opens a crowd `c`
/// of `size` to it.
fn crowd(size: usize, session: impl Fn(TcpStream) + Send + Sync + 'static) -> Session {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::from(ServerAddress::from(listener.local_addr().unwrap()));
    let session = Arc::new(session);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let session = Arc::clone(&session);
            thread::spawn(move || session(stream.unwrap()));
        }
    });
    let mut session = Session::new(SessionOptions::to(target.clone()));
    session.open_crowd("c", size, &target).unwrap();
    session
}

fn greet(stream: TcpStream) {
    answer(stream, |line| [b"Hello, ", line].concat());
}

#[track_caller]
fn mismatch<T: std::fmt::Debug>(outcome: Result<T, SessionError>) -> Box<Mismatch> {
    match outcome {
        Err(SessionError::Mismatch(mismatch)) => mismatch,
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn fifty_get_their_own_greetings() {
    let mut session = crowd(50, greet);
    assert_eq!((session.size("c"), session.size("c.7"), session.size("d")), (50, 1, 0));
    for round in 0..10 {
        session.on("c").send_each(|member| format!("guest {} {round}", member.unwrap())).unwrap();
        session
            .on("c")
            .expect_line(|member, line| line == format!("Hello, guest {} {round}", member.unwrap()).as_bytes())
            .unwrap();
    }
    session.on("c").half_close().unwrap();
    session.on("c").expect_eof().unwrap();
    session.finish().unwrap();
}

#[test]
fn the_one_that_differs_is_named() {
    let mut session = crowd(50, |stream| {
        answer(stream, |line| if line == b"guest 17\n" { b"Hello, you\n".to_vec() } else { line.to_vec() });
    });
    session.on("c").send_each(|member| format!("guest {}", member.unwrap())).unwrap();
    let mismatch =
        mismatch(session.on("c").expect_line(|member, line| line == format!("guest {}", member.unwrap()).as_bytes()));
    assert_eq!((mismatch.connection.as_str(), mismatch.member), ("c.17", Some(17)));
    assert_eq!(mismatch.actual, Actual::Line(b"Hello, you".to_vec()));
    session.on("c.18").expect("guest 18").unwrap();
}

#[test]
fn one_member_can_be_spoken_to() {
    let mut session = crowd(3, greet);
    session.on("c.2").send("Bob").unwrap();
    session.on("c.2").expect("Hello, Bob").unwrap();
    session.on("c.1").expect_nothing(Duration::from_millis(20)).unwrap();
    session.on("c.3").reset().unwrap();
    for name in ["c.0", "c.4", "c.02", "c.", "c.1.1", "d.1"] {
        assert!(matches!(session.on(name).send("x"), Err(SessionError::UnknownConnection(_))), "{name}");
    }
    session.finish().unwrap();
}

/// Nobody is greeted before all have spoken.
#[test]
fn what_is_said_to_all_reaches_all_before_one_is_waited_for() {
    let together = Barrier::new(50);
    let mut session = crowd(50, move |mut stream| {
        let line = read_line(&stream);
        together.wait();
        stream.write_all(&line).unwrap();
    });
    session.on("c").send("now").unwrap();
    session.on("c").expect("now").unwrap();
    session.on("c").expect_eof().unwrap();
}

#[test]
fn all_members_share_one_deadline() {
    let mut session = crowd(20, stay_silent);
    let start = Instant::now();
    let mismatch = mismatch(session.on("c").within(Duration::from_millis(200)).expect("x"));
    assert_eq!((mismatch.connection.as_str(), mismatch.timed_out), ("c.1", true));
    session.on("c").expect_nothing(Duration::from_millis(200)).unwrap();
    session.set_timeout(Duration::from_millis(200));
    let errors = session.finish_all();
    assert_eq!(errors.len(), 20);
    assert!(start.elapsed() < Duration::from_millis(1100), "{:?}", start.elapsed());
}

#[test]
fn the_bytes_of_all_can_be_taken() {
    let mut session = crowd(3, greet);
    session.on("c").send_each(|member| member.unwrap().to_string()).unwrap();
    session.on("c").expect_bytes("Hello, ").unwrap();
    assert_eq!(session.on("c").take(2).unwrap(), b"1\n2\n3\n");
    session.finish().unwrap();
}

#[test]
fn the_end_of_the_session_finds_every_member_that_got_too_much() {
    let mut session = crowd(30, |stream| {
        answer(stream, |line| match line {
            b"3\n" | b"23\n" => [line, line].concat(),
            line => line.to_vec(),
        });
    });
    session.on("c").send_each(|member| member.unwrap().to_string()).unwrap();
    session.on("c").expect_line(|member, line| line == member.unwrap().to_string().as_bytes()).unwrap();
    let names: Vec<_> =
        session.finish_all().into_iter().map(|error| mismatch(Err::<(), _>(error)).connection).collect();
    assert_eq!(names, ["c.3", "c.23"]);
}

#[test]
fn a_crowd_ends_as_a_whole_or_in_part() {
    let mut session = crowd(5, |stream| {
        if read_line(&stream) == b"4\n" {
            kit::reset(stream);
        }
    });
    session.on("c.4").send_bytes("4\nmore").unwrap();
    session.flush();
    session.on("c.4").expect_reset().unwrap();
    for member in [1, 2, 3, 5] {
        session.on(&format!("c.{member}")).send("x").unwrap();
    }
    let mismatch = mismatch(session.on("c").expect_eof());
    assert_eq!((mismatch.connection.as_str(), mismatch.actual), ("c.4", Actual::End(StreamEnd::Reset)));
    session.on("c").expect_closed().unwrap();
    session.finish().unwrap();
}

/// Threads, sockets and memory for them come and go.
#[test]
fn three_hundred_are_no_trouble() {
    let mut session = crowd(300, greet);
    session.on("c").send("Bob").unwrap();
    session.on("c").expect("Hello, Bob").unwrap();
    session.finish().unwrap();
}

#[test]
fn a_crowd_that_cannot_come_whole_names_the_one_that_could_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::from(ServerAddress::from(listener.local_addr().unwrap()));
    drop(listener);
    let mut session = Session::default();
    let error = session.open_crowd("c", 3, &target).unwrap_err();
    assert!(matches!(&error, SessionError::Connect { connection, .. } if connection == "c.1"), "{error:?}");
    assert_eq!(session.size("c"), 0);
    assert!(matches!(session.open_crowd("c", 0, &target), Err(SessionError::BadName(_))));
}
