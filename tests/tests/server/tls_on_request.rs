//! TLS that begins where a reply has asked for it.

use std::io::{Read, Write};
use std::net::TcpStream;

use greeter_server::{BoxError, CloseReason, Line, Listener, Peer, Phase, Reply, Responder, Server, ServerHandle};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, inet, wait_until};
use greeter_tests::{builder, spawn};

use crate::kit::{TlsClient, VERSIONS, World, socket_to};

/// Starts TLS, whatever is asked and wherever it is.
struct StartsTls;

impl Responder for StartsTls {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), _: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line("go ahead");
        reply.start_tls();
        Ok(())
    }
}

fn spawn_on_request(world: &World) -> ServerHandle {
    let tls = world.options().load().expect("the files are good");
    let listener = Listener::from("127.0.0.1:0").tls_on_request(&tls);
    let server = Server::builder().responder(StartsTls).bind(listener).expect("loopback has a free port");
    server.spawn().expect("threads can be had")
}

/// A client that may begin its handshake.
fn asked(server: &ServerHandle) -> TcpStream {
    let mut client = socket_to(inet(server.local_addr()));
    client.write_all(b"STARTTLS\n").expect("the server takes what we send");
    let mut reply = [0; 9];
    client.read_exact(&mut reply).expect("the server replies");
    assert_eq!(&reply, b"go ahead\n");
    client
}

#[test]
fn a_reply_that_starts_tls_where_there_is_none_to_start_is_an_error() {
    let world = World::new();
    let in_plain = spawn(builder().responder(StartsTls));
    assert_eq!(Client::connect(in_plain.local_addr()).ask("STARTTLS"), "error: internal error\n");
    let in_tls = world.spawn(builder().responder(StartsTls));
    let mut client = world.connect(&in_tls);
    assert_eq!(client.ask("STARTTLS"), "error: internal error\n");
    drop(client);
    for server in [in_plain, in_tls] {
        assert_eq!(at_rest(&server).responder_errors, 1);
    }
}

#[test]
fn a_listener_speaks_tls_at_once_or_on_request() {
    let world = World::new();
    let tls = world.options().load().expect("the files are good");
    let listeners = [
        Listener::from("127.0.0.1:0").tls(&tls).tls_on_request(&tls),
        Listener::from("127.0.0.1:0").tls_on_request(&tls).tls(&tls),
        Listener::from("tls:127.0.0.1:0").tls_on_request(&tls),
    ];
    for listener in listeners {
        let error = builder().bind(listener).expect_err("it is a contradiction").to_string();
        assert!(error.contains("at once, as behind tls:, or on request"), "{error}");
    }
}

/// From when the reply goes ahead, through each part of the handshake.
#[test]
fn what_is_pushed_meanwhile_comes_in_tls() {
    let world = World::new();
    let server = spawn_on_request(&world);
    let push = server.push();
    let socket = asked(&server);
    push.broadcast("before").expect("it is a line");
    let mut client = TlsClient::new(socket, &world.authority.trusting(&VERSIONS));
    wait_until("it was pushed", || server.stats().pushed == 1);
    client.handshake_but_last().expect("the server goes on");
    push.broadcast("in the middle").expect("it is a line");
    wait_until("it was pushed", || server.stats().pushed == 2);
    assert_eq!(server.connections()[0].phase, Phase::Handshake);
    client.flush();
    assert_eq!((client.line(), client.line()), ("before\n".to_owned(), "in the middle\n".to_owned()));
    drop(client);
    at_rest(&server);
}

/// A closed socket would answer what is still on its way with a reset, which takes the alert with
/// it.
#[test]
fn whoever_sends_no_good_hello_is_told_by_an_alert_and_not_reset() {
    let world = World::new();
    let server = spawn_on_request(&world);
    let mut client = asked(&server);
    client.write_all(&[22, 3, 1, 0, 4, 1, 0, 0, 0]).expect("the server takes what we send");
    for _ in 0..64 {
        client.write_all(&[b'x'; 1 << 14]).expect("the server takes what we send");
    }
    let mut said = Vec::new();
    client.read_to_end(&mut said).expect("the end comes");
    assert_eq!(said.len(), 7, "{said:?}");
    assert_eq!((said[0], said[1], said[5]), (21, 3, 2), "it is a fatal alert: {said:?}");
    drop(client);
    assert_eq!(at_rest(&server).closed_by[CloseReason::HandshakeFailed], 1);
}

#[test]
fn a_handshake_is_so_long_at_most_whatever_turns_it_takes() {
    const BYTES: usize = 16 * 1024;
    let world = World::new();
    let server = spawn_on_request(&world);
    let mut client = asked(&server);
    // A hello that would have 60,000 bytes, in records of its own pace.
    let mut hello = [&[1, 0, 0xea, 0x60][..], &vec![0; 60_000]].concat();
    let mut sent = 0;
    while sent < BYTES {
        assert_eq!(server.stats().closed_by[CloseReason::HandshakeFailed], 0, "behind {sent} bytes");
        let part = hello.drain(..200).collect::<Vec<_>>();
        client.write_all(&[&[22, 3, 1, 0, 200][..], &part].concat()).expect("the server takes what we send");
        sent += 205;
        // The server answers behind its turns, so each record has one of its own.
        assert_eq!(server.connections().len(), 1);
    }
    let mut said = Vec::new();
    client.read_to_end(&mut said).expect("the end comes");
    assert_eq!(said, b"");
    drop(client);
    assert_eq!(at_rest(&server).closed_by[CloseReason::HandshakeFailed], 1);
}
