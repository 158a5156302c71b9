//! Restarts under connects, at a socket that a service manager keeps.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use greeter_tests::client::{PATIENCE, uninterrupted, wait_until};
use greeter_tests::missing_program;
use greeter_tests::process::greeter_server;

use crate::sockets::{Started, greeted, started_with};

const CLIENTS: usize = 16;
const RESTARTS: usize = 10;

/// Connects, asks and leaves. Returns whether the client was greeted: whose line comes only after a
/// stop is told nothing.
fn visit(address: SocketAddr, name: &str) -> bool {
    let mut client = TcpStream::connect(address).expect("nobody is refused");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
    client.write_all(format!("{name}\n").as_bytes()).expect("nobody is reset");
    let expected = format!("Hello, {name}\n");
    let mut said = vec![0; expected.len()];
    let mut received = 0;
    while received < said.len() {
        match uninterrupted(|| client.read(&mut said[received..])).expect("nobody is reset") {
            0 => break,
            bytes => received += bytes,
        }
    }
    let said = String::from_utf8_lossy(&said[..received]);
    assert!(said.is_empty() || said == expected, "a reply is lost, or half of it: {said:?}");
    !said.is_empty()
}

#[test]
fn restarts_under_connects_refuse_reset_and_lose_nobody() {
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = kept.local_addr().unwrap();
    let (is_over, greetings) = (AtomicBool::new(false), AtomicUsize::new(0));
    let start = || Started::new(started_with(kept.try_clone().unwrap(), ""), 1);
    let told_nothing: usize = thread::scope(|scope| {
        let (is_over, greetings) = (&is_over, &greetings);
        let visitor = move |number: usize| {
            let mut told_nothing = 0;
            for visit_number in 0.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                match visit(address, &format!("{number}.{visit_number}")) {
                    true => drop(greetings.fetch_add(1, Ordering::Relaxed)),
                    false => told_nothing += 1,
                }
            }
            told_nothing
        };
        let visitors: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || visitor(number))).collect();
        for _ in 0..=RESTARTS {
            let server = start();
            let before = greetings.load(Ordering::Relaxed);
            wait_until("it has greeted somebody", || greetings.load(Ordering::Relaxed) > before + CLIENTS);
            server.end();
        }
        let last = start();
        is_over.store(true, Ordering::Relaxed);
        let told_nothing = visitors.into_iter().map(|visitor| visitor.join().unwrap()).sum();
        last.end();
        told_nothing
    });
    // Each has one connection at a time.
    assert!(told_nothing <= CLIENTS * (RESTARTS + 2), "{told_nothing}");
}

#[test]
fn systemd_passes_its_socket_to_the_server() {
    if missing_program("systemd-socket-activate", "systemd") {
        return;
    }
    for arguments in [&[][..], &["--listen", "fd:web"]] {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("systemd-socket-activate");
        command.args(["--listen", &address.to_string(), "--fdname", "web"]).arg(greeter_server()).args(arguments);
        // It starts the server when the first client has come.
        let first = thread::spawn(move || {
            let mut client = None;
            wait_until("it listens", || {
                client = TcpStream::connect(address).ok();
                client.is_some()
            });
            greeted(client.expect("it has connected"))
        });
        let server = Started::new(command, 1);
        assert_eq!(server.said, [format!("listening on {address}")]);
        assert_eq!(first.join().unwrap(), "Hello, Bob\n");
        server.end();
    }
}
