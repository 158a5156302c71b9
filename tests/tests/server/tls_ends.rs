//! How a stream of TLS ends: with close_notify, whoever ends it.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use greeter_server::{CloseReason, Server, WhenRejected};
use greeter_tests::books::at_rest;
use greeter_tests::builder;
use greeter_tests::client::{PATIENCE, inet, wait_until};
use greeter_tests::puppet::{Gate, Puppet};

use crate::kit::{TlsClient, TlsEnd, VERSIONS, World, socket_to};

#[test]
fn however_a_client_stops_sending_it_has_its_replies_and_a_close_notify() {
    let world = World::new();
    let server = world.spawn(builder());
    for version in VERSIONS {
        for end in ["close_notify and FIN", "FIN alone", "close_notify alone"] {
            let mut client = world.connect_in(version, &server);
            client.send("one\ntwo\nunfini");
            if end.contains("close_notify") {
                client.close_notify();
            }
            if end.contains("FIN") {
                client.shut_down();
            }
            assert_eq!(client.rest(), ("Hello, one\nHello, two\n".to_owned(), TlsEnd::CloseNotify), "{end}");
        }
    }
    let stats = at_rest(&server);
    assert_eq!((stats.closed_by[CloseReason::ClientClosed], stats.unfinished_lines, stats.replies), (6, 6, 12));
}

#[test]
fn replies_that_take_long_reach_a_client_that_has_said_its_end() {
    let world = World::new();
    let puppet = Arc::new(Puppet::default());
    let server = world.spawn(builder().workers(1).responder(Arc::clone(&puppet)));
    for has_fin in [false, true] {
        let mut client = world.connect(&server);
        client.send("hang one\nbig 3000000\necho two\n");
        client.close_notify();
        if has_fin {
            client.shut_down();
        }
        wait_until("they are in hand", || server.connections().iter().any(|client| client.lines == 3));
        puppet.release();
        let (said, end) = client.rest();
        assert_eq!((said.len(), end), (4 + 3_000_001 + 4, TlsEnd::CloseNotify));
    }
    assert_eq!(at_rest(&server).closed_by[CloseReason::ClientClosed], 2);
}

#[test]
fn a_reset_is_a_reset() {
    let world = World::new();
    let server = world.spawn(builder());
    for lines in [0, 1] {
        let mut client = world.connect(&server);
        (0..lines).for_each(|_| assert_eq!(client.ask("Bob"), "Hello, Bob\n"));
        wait_until("it is a client", || server.connections().len() == 1);
        client.reset();
        wait_until("it is gone", || server.stats().open() == 0);
    }
    // In its handshake, too.
    let mut client = TlsClient::new(socket_to(inet(server.local_addr())), &world.authority.trusting(&VERSIONS));
    let hello = client.take_ciphertext();
    client.send_raw(&hello[..100]);
    wait_until("it is a newcomer", || server.stats().handshakes == 1);
    client.reset();
    assert_eq!(at_rest(&server).closed_by[CloseReason::Lost], 3);
}

#[test]
fn what_the_server_ends_it_ends_with_words_and_close_notify() {
    let world = World::new();
    for version in VERSIONS {
        let server = world.spawn(builder().responder(Puppet::default()));
        let mut client = world.connect_in(version, &server);
        client.send("echo hello\nquit\necho too late\n");
        assert_eq!(client.rest(), ("hello\nbye\n".to_owned(), TlsEnd::CloseNotify));
        drop(client);
        assert_eq!(at_rest(&server).closed_by[CloseReason::ResponderClosed], 1);

        let server = world.spawn(builder().idle_timeout(Duration::from_millis(100)));
        let mut client = world.connect_in(version, &server);
        assert_eq!(client.rest(), ("error: idle for 100ms\n".to_owned(), TlsEnd::CloseNotify));
        drop(client);
        assert_eq!(at_rest(&server).closed_by[CloseReason::IdleTimeout], 1);

        let server = world.spawn(builder().line_timeout(Duration::from_millis(100)));
        let mut client = world.connect_in(version, &server);
        client.send("Bo");
        assert_eq!(client.rest(), ("error: line not finished within 100ms\n".to_owned(), TlsEnd::CloseNotify));
        drop(client);
        assert_eq!(at_rest(&server).closed_by[CloseReason::LineTimeout], 1);

        let server = world.spawn(builder().max_line_bytes(100).when_rejected(WhenRejected::Close));
        let mut client = world.connect_in(version, &server);
        client.send("x".repeat(100_000) + "\n");
        let (said, end) = client.rest();
        assert!(said.starts_with("error: ") && end == TlsEnd::CloseNotify, "{said:?}, {end:?}");
        drop(client);
        let stats = at_rest(&server);
        assert_eq!(stats.closed_by[CloseReason::LineRejected], 1, "{stats:?}");
    }
}

#[test]
fn a_stop_answers_what_has_arrived_and_says_close_notify() {
    let world = World::new();
    for version in VERSIONS {
        let server = world.spawn(builder());
        let mut idle = world.connect_in(version, &server);
        let mut busy = world.connect_in(version, &server);
        let mut newcomer = TlsClient::new(socket_to(inet(server.local_addr())), &world.authority.trusting(&[version]));
        let hello = newcomer.take_ciphertext();
        newcomer.send_raw(&hello[..hello.len() - 1]);
        wait_until("all are there", || (server.connections().len(), server.stats().handshakes) == (2, 1));
        // A byte in each record.
        let lines: Vec<u8> = "one\ntwo\n".bytes().flat_map(|byte| busy.seal([byte])).collect();
        busy.send_raw(lines);
        let report = server.shutdown(PATIENCE);
        assert_eq!((report.discarded, report.overran), (0, 0), "{report:?}");
        assert_eq!(busy.rest(), ("Hello, one\nHello, two\n".to_owned(), TlsEnd::CloseNotify));
        assert_eq!(idle.rest(), (String::new(), TlsEnd::CloseNotify));
        let _ = newcomer.socket.read_to_end(&mut Vec::new());
        assert_eq!(report.stats.closed_by[CloseReason::Shutdown], 3);
    }
}

/// Lines that one read takes in, and that are more than a turn decrypts.
#[test]
fn a_stop_answers_what_was_read_and_not_decrypted() {
    const FULL: [u8; 8_191] = [b'x'; 8_191];
    let world = World::new();
    let (entered, gate) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
    let builder = builder().in_place().connection_threads(1).linger_timeout(Duration::ZERO);
    let server = world.spawn(builder.responder_fn({
        let (entered, gate) = (Arc::clone(&entered), Arc::clone(&gate));
        move |line: &[u8]| {
            entered.open();
            gate.pass();
            line.len()
        }
    }));
    let mut client = world.connect(&server);
    // A full record, and others behind it.
    let mut ciphertext = client.seal([&FULL[..], b"\n", &FULL, b"\n"].concat());
    ciphertext.extend((0..10).flat_map(|n| client.seal(format!("{n}\n"))));
    client.send_raw(ciphertext);
    entered.pass();
    let trigger = server.shutdown_trigger().clone();
    trigger.trigger(PATIENCE);
    gate.open();
    let report = server.wait();
    assert_eq!((report.discarded, report.stats.replies), (0, 12), "{report:?}");
    let (said, end) = client.rest();
    assert_eq!((said.lines().count(), end), (12, TlsEnd::CloseNotify));
}

#[test]
fn whose_address_has_too_many_is_told_in_tls() {
    let world = World::new();
    let server = world.spawn(Server::builder().max_connections_per_address(1));
    let first = world.connect(&server);
    for version in VERSIONS {
        // Its end of the handshake may cross the server's words.
        let mut second = world.connect_in(version, &server);
        let expected = "error: too many connections from your address\n".to_owned();
        assert_eq!(second.rest(), (expected, TlsEnd::CloseNotify));
    }
    drop(first);
    let stats = at_rest(&server);
    assert_eq!((stats.closed_by[CloseReason::AddressLimit], stats.rejected), (2, 2));
}

#[test]
fn who_writes_on_after_the_servers_end_is_not_decrypted() {
    let world = World::new();
    let server = world.spawn(builder().responder(Puppet::default()).linger_timeout(PATIENCE));
    let mut client = world.connect(&server);
    client.send("quit\n");
    wait_until("it lingers", || server.stats().replies == 1);
    // Neither records nor anything else.
    let _ = client.socket.write_all(&[0; 100_000]);
    client.shut_down();
    assert_eq!(client.rest(), ("bye\n".to_owned(), TlsEnd::CloseNotify));
    assert_eq!(at_rest(&server).closed_by[CloseReason::ResponderClosed], 1);
}

#[test]
fn a_stop_answers_whoever_has_just_finished_its_handshake() {
    let world = World::new();
    for round in 0..20 {
        let server = world.spawn(builder().handshake_timeout(PATIENCE));
        // One that says nothing, and is there for sure when the stop comes, and until its end.
        let newcomer = socket_to(inet(server.local_addr()));
        wait_until("it is in the lobby", || server.stats().handshakes == 1);
        let mut clients = Vec::new();
        for number in 0..20 {
            // From here, the handshake is over in TLS 1.3, and the server has not read that yet.
            let mut client = world.connect_in(VERSIONS[1], &server);
            client.send(format!("{round} {number}\n"));
            clients.push(client);
        }
        server.shutdown_trigger().trigger(PATIENCE);
        for (number, mut client) in clients.into_iter().enumerate() {
            assert_eq!(client.rest(), (format!("Hello, {round} {number}\n"), TlsEnd::CloseNotify));
        }
        server.wait();
        drop(newcomer);
        let stats = server.stats();
        assert_eq!((stats.replies, stats.closed_by[CloseReason::Shutdown]), (20, 21));
    }
}
