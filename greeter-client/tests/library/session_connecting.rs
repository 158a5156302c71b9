//! How connections come to be, by name.

use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use greeter_client::session::{DEFAULT, Event, SessionOptions, Target};
use greeter_client::{ConnectError, ServerAddress, Session, SessionError};

use crate::kit::{self, greeter, serve, stay_silent};

/// An address at which nobody listens.
fn nobody() -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().into()
}

#[track_caller]
fn refused(outcome: Result<(), SessionError>) {
    let is_refusal = |source: &std::io::Error| source.kind() == std::io::ErrorKind::ConnectionRefused;
    match outcome {
        Err(SessionError::Connect { source: ConnectError::Connect { source, .. }, .. }) if is_refusal(&source) => {}
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn the_first_use_opens() {
    let server = greeter();
    let mut session = Session::new(SessionOptions::to(server.address));
    assert_eq!(session.size(DEFAULT), 0);
    session.on(DEFAULT).send("Bob").unwrap();
    assert_eq!(session.size(DEFAULT), 1);
    session.on(DEFAULT).expect("Hello, Bob").unwrap();
    session.finish().unwrap();
}

#[test]
fn without_a_target_each_connection_must_be_opened() {
    let server = greeter();
    let mut session = Session::default();
    assert!(matches!(session.on("bob").send("x"), Err(SessionError::UnknownConnection(name)) if name == "bob"));
    let target = Target::from(server.address);
    session.open("bob", &target).unwrap();
    session.on("bob").send("Bob").unwrap();
    session.on("bob").expect("Hello, Bob").unwrap();
    assert!(matches!(session.open("bob", &target), Err(SessionError::AlreadyOpen(_))));
    assert!(matches!(session.open("b.ob", &target), Err(SessionError::BadName(_))));
    session.finish().unwrap();
}

#[test]
fn what_was_closed_can_be_opened_again() {
    let (first, second) = (serve(stay_silent), greeter());
    let mut session = Session::new(SessionOptions::to(first.address));
    session.on("bob").close().unwrap();
    assert!(matches!(session.on("bob").send("x"), Err(SessionError::Closed(_))));
    session.open("bob", &second.address.into()).unwrap();
    session.on("bob").send("Bob").unwrap();
    session.on("bob").expect("Hello, Bob").unwrap();
    session.finish().unwrap();
}

#[test]
fn a_refusal_is_told_at_once() {
    let mut session = Session::new(SessionOptions::to(nobody()));
    let start = Instant::now();
    refused(session.on("").send("x"));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_server_that_is_just_starting_is_waited_for() {
    let address = nobody();
    let (refusals, refused_once) = mpsc::channel();
    let late = {
        let address = address.to_string();
        thread::spawn(move || {
            refused_once.recv_timeout(kit::PATIENCE).unwrap();
            let listener = TcpListener::bind(address).unwrap();
            listener.accept().unwrap()
        })
    };
    let mut target = Target::from(address);
    let mut session = Session::default();
    refused(session.open("", &target));
    target.wait = kit::PATIENCE;
    refusals.send(()).unwrap();
    session.open("", &target).unwrap();
    drop(late.join().unwrap());
    session.on("").expect_eof().unwrap();
}

#[test]
fn a_server_that_never_starts_is_waited_for_no_longer_than_said() {
    let mut target = Target::from(nobody());
    target.wait = Duration::from_millis(200);
    let start = Instant::now();
    refused(Session::default().open("", &target));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(200) && took < Duration::from_millis(700), "{took:?}");
}

/// All of 127.0.0.0/8 is this machine on Linux.
#[cfg(target_os = "linux")]
#[test]
fn a_source_address_can_be_chosen() {
    let server = serve(|stream| stream.peer_addr().unwrap().ip());
    let mut target = Target::from(server.address.clone());
    target.from = Some("127.0.0.2".parse().unwrap());
    let mut session = Session::default();
    session.open("bob", &target).unwrap();
    assert_eq!(server.outcome().to_string(), "127.0.0.2");
    session.on("bob").expect_eof().unwrap();
    assert_eq!(session.transcript().first().map(|entry| &entry.event), Some(&Event::Opened));

    target.from = Some("::1".parse().unwrap());
    assert!(matches!(session.open("carol", &target), Err(SessionError::Connect { .. })));
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_a_connection_like_any_other() {
    use std::os::unix::net::UnixListener;

    let directory = std::env::temp_dir().join(format!("greeter-session-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("socket");
    let mut target = Target::from(ServerAddress::unix(&path));
    target.wait = kit::PATIENCE;
    let server = thread::spawn(move || {
        let listener = UnixListener::bind(path).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
    });
    let mut session = Session::default();
    session.open("bob", &target).unwrap();
    session.on("bob").send("Bob").unwrap();
    session.on("bob").expect("Bob").unwrap();
    let outcome = session.on("bob").within(Duration::from_millis(10)).expect("more");
    let Err(SessionError::Mismatch(mismatch)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(mismatch.peer, target.address.to_string());
    target.from = Some("127.0.0.2".parse().unwrap());
    assert!(matches!(session.open("carol", &target), Err(SessionError::Connect { .. })));
    session.finish().unwrap();
    server.join().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}
