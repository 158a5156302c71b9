//! Clients that use TLS to cost the server time or memory.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use greeter_server::{ClientAuth, CloseReason, ServerHandle, WhenFull};
use greeter_tests::books::at_rest;
use greeter_tests::client::{PATIENCE, inet, wait_until};
use greeter_tests::{builder, missing_program};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ClientConfig, ClientConnection, ConnectionTrafficSecrets};

use crate::kit::{NAME, TlsClient, VERSIONS, World, socket_to, spawn_with};

/// Writes as much of this as is taken, and waits for the end; what is said before that.
fn until_closed(socket: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    let _ = socket.write_all(bytes);
    let mut said = Vec::new();
    // A reset is as good an end.
    let _ = socket.read_to_end(&mut said);
    said
}

/// A handshake record.
fn record(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("it fits").to_be_bytes();
    [&[22, 3, 1][..], &length, payload].concat()
}

/// Handshake messages of a kind that nobody knows.
fn message(length: u32) -> Vec<u8> {
    [&[1][..], &length.to_be_bytes()[1..], &vec![0; length as usize]].concat()
}

fn closed(server: &ServerHandle, reason: CloseReason, count: u64) {
    let what = format!("{count} are closed: {:?}", server.stats());
    wait_until(&what, || server.stats().closed_by[reason] == count);
}

#[test]
fn a_record_that_cannot_be_one_is_refused_at_its_header() {
    let world = World::new();
    let server = world.spawn(builder().handshake_timeout(PATIENCE * 10).line_timeout(None).idle_timeout(None));
    for header in [&[22, 3, 1, 0x48, 1][..], &[22, 3, 1, 0xff, 0xff], &[0x80, 46, 1, 3, 1], &[22, 2, 0], &[24]] {
        let mut socket = socket_to(inet(server.local_addr()));
        until_closed(&mut socket, header);
    }
    let stats = at_rest(&server);
    assert_eq!(stats.closed_by[CloseReason::HandshakeFailed], 5);
    // Nor is it taken from who is in.
    for version in VERSIONS {
        for header in [&[23, 3, 3, 0x48, 1][..], &[23, 3, 3, 0xff, 0xff], &[25]] {
            let mut client = world.connect_in(version, &server);
            assert_eq!(client.ask("Bob"), "Hello, Bob\n");
            until_closed(&mut client.socket, header);
        }
        // What has no seal is no line.
        let mut client = world.connect_in(version, &server);
        let mut line = client.seal("Bob\n");
        *line.last_mut().unwrap() ^= 1;
        client.send_raw(line);
        let error = client.try_rest().unwrap_err();
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
    }
    let stats = at_rest(&server);
    assert_eq!((stats.closed_by[CloseReason::Lost], stats.lines), (8, 6));
}

#[test]
fn a_hello_in_pieces_is_put_together() {
    let world = World::new();
    let server = world.spawn(builder());
    for piece in [1, 2, 5, 100] {
        let config = world.authority.trusting(&VERSIONS);
        let mut client = TlsClient::new(socket_to(inet(server.local_addr())), &config);
        let hello = client.take_ciphertext();
        let pieces: Vec<u8> = hello[5..].chunks(piece).flat_map(record).collect();
        client.send_raw(pieces);
        client.try_handshake().unwrap();
        assert_eq!(client.ask("Bob"), "Hello, Bob\n");
    }
}

/// A record is cheap: one byte of a message can be one.
#[test]
fn records_of_one_byte_hold_no_place_against_others() {
    let world = World::new();
    let server = world.spawn(builder().max_handshakes(3).handshake_timeout(PATIENCE * 10));
    let crowd = hold_places(&world, &server, 3);
    assert_eq!(world.connect(&server).ask("Bob"), "Hello, Bob\n");
    closed(&server, CloseReason::HandshakeLimit, 1);
    drop(crowd);
    at_rest(&server);
}

/// So that no crowd of silent newcomers shuts a server whose places are all clients'.
#[test]
fn whoever_keeps_a_full_server_waiting_makes_room() {
    let world = World::new();
    for when_full in [WhenFull::Reject, WhenFull::Wait] {
        let limits = builder().max_connections(3).when_full(when_full).handshake_timeout(PATIENCE * 10);
        let server = world.spawn(limits);
        let crowd = hold_places(&world, &server, 3);
        let mut clients = [(); 3].map(|()| world.connect(&server));
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("Bob"), "Hello, Bob\n"));
        closed(&server, CloseReason::HandshakeLimit, 3);
        drop((crowd, clients));
        at_rest(&server);
    }
}

/// Has so many newcomers send one record after the other, of one byte each, while it is kept.
fn hold_places(world: &World, server: &ServerHandle, count: usize) -> Sender<()> {
    let config = world.authority.trusting(&VERSIONS);
    let mut crowd = Vec::new();
    for _ in 0..count {
        let socket = socket_to(inet(server.local_addr()));
        let hello = TlsClient::new(socket.try_clone().expect("a descriptor can be had"), &config).take_ciphertext();
        crowd.push((socket, hello));
    }
    wait_until("they have their places", || server.stats().handshakes == count as u64);
    let (kept, is_over) = channel();
    thread::spawn(move || {
        for at in 5.. {
            if is_over.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
            // Some are gone by then.
            crowd.iter_mut().for_each(|(socket, hello)| _ = socket.write_all(&record(&hello[at..=at])));
        }
    });
    kept
}

#[test]
fn a_handshake_has_so_many_bytes_and_no_more() {
    const LIMIT: usize = 16 * 1024;
    let world = World::new();
    for (options, limit) in
        [(world.options(), LIMIT), (world.options().client_authorities(world.ca(), ClientAuth::Required), 4 * LIMIT)]
    {
        let server = spawn_with(builder().handshake_timeout(PATIENCE * 10), options);
        // A message that never ends, in records as long as may be and as short as can be, the last
        // of them in part.
        let endless = &message(65_535)[..];
        for of_each in [16_000, 100, 1] {
            let mut bytes: Vec<u8> = endless.chunks(of_each).flat_map(record).collect();
            bytes.truncate(limit);
            let mut waits = socket_to(inet(server.local_addr()));
            waits.write_all(&bytes).unwrap();
            wait_until("it is a newcomer", || server.stats().handshakes == 1);
            let more = endless.chunks(of_each).flat_map(record).cycle().skip(limit).take(200_000).collect::<Vec<_>>();
            until_closed(&mut waits, &more);
            wait_until("it is refused", || server.stats().handshakes == 0);
        }
        let stats = at_rest(&server);
        assert_eq!((stats.closed_by[CloseReason::HandshakeFailed], stats.accepted), (3, 3));
    }
    // A record in part counts as well.
    let server = world.spawn(builder().handshake_timeout(PATIENCE * 10));
    let mut socket = socket_to(inet(server.local_addr()));
    until_closed(&mut socket, &record(&message(18_000))[..LIMIT + 1]);
    assert_eq!(at_rest(&server).closed_by[CloseReason::HandshakeFailed], 1);
}

/// What encrypts records that no library would: of any kind, and empty.
struct Sealer {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Sealer {
    fn new(client: ClientConnection) -> Self {
        let (sequence, secrets) = client.dangerous_extract_secrets().expect("it may be asked for").tx;
        let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("it is another cipher") };
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("it is a key"));
        Self { key, iv: iv.as_ref().try_into().expect("it has 12 bytes"), sequence }
    }

    /// A record of this kind (RFC 8446, 5.2).
    fn seal(&mut self, kind: u8, plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()).for_each(|(byte, mask)| *byte ^= mask);
        self.sequence += 1;
        let mut payload = [plaintext, &[kind]].concat();
        let length = u16::try_from(payload.len() + 16).expect("it fits").to_be_bytes();
        let header = [&[23, 3, 3][..], &length].concat();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(&header), &mut payload).expect("it is short");
        [header, payload].concat()
    }
}

/// Connects in TLS 1.3.
fn sealing(world: &World, server: &ServerHandle) -> (TcpStream, Sealer) {
    let mut config = ClientConfig::clone(&world.authority.trusting(&[VERSIONS[1]]));
    config.enable_secret_extraction = true;
    let TlsClient { socket, tls, .. } = TlsClient::connect(inet(server.local_addr()), &Arc::new(config));
    (socket, Sealer::new(tls))
}

#[test]
fn records_that_carry_nothing_are_cut_off() {
    let world = World::new();
    let server = world.spawn(builder());
    let (mut socket, mut sealer) = sealing(&world, &server);
    // Some may come between lines.
    for lines in 1..=20 {
        let empty: Vec<u8> = (0..30).flat_map(|_| sealer.seal(23, b"")).collect();
        socket.write_all(&[empty, sealer.seal(23, b"Bob\n")].concat()).unwrap();
        wait_until("it is answered", || server.stats().replies == lines);
    }
    let empty: Vec<u8> = (0..100_000).flat_map(|_| sealer.seal(23, b"")).collect();
    until_closed(&mut socket, &empty);
    closed(&server, CloseReason::Lost, 1);
    drop(socket);
    at_rest(&server);
}

/// A message in pieces would lie in the session until it is whole.
#[test]
fn messages_that_do_not_end_are_cut_off() {
    let world = World::new();
    let server = world.spawn(builder());
    for of_each in [1, 100, 16_000] {
        let (mut socket, mut sealer) = sealing(&world, &server);
        let endless: Vec<u8> = message(60_000).chunks(of_each).flat_map(|piece| sealer.seal(22, piece)).collect();
        // It is not even whole.
        until_closed(&mut socket, &endless[..50_000]);
    }
    assert_eq!(at_rest(&server).closed_by[CloseReason::Lost], 3);
}

#[test]
fn key_updates_between_lines_are_followed_and_a_flood_is_cut_off() {
    let world = World::new();
    let server = world.spawn(builder());
    let mut client = world.connect_in(VERSIONS[1], &server);
    for _ in 0..40 {
        client.tls.refresh_traffic_keys().unwrap();
        assert_eq!(client.ask("Bob"), "Hello, Bob\n");
    }
    let mut flood = Vec::new();
    for _ in 0..1_000 {
        client.tls.refresh_traffic_keys().unwrap();
        flood.extend(client.take_ciphertext());
    }
    until_closed(&mut client.socket, &flood);
    closed(&server, CloseReason::Lost, 1);
    assert_eq!(at_rest(&server).lines, 40);
}

/// Keys that are asked for again and again, by whoever reads nothing, are answered once.
#[test]
fn who_asks_for_keys_and_reads_nothing_is_held_in_little_memory() {
    let world = World::new();
    let server = world.spawn(builder().responder_fn(|_: &[u8]| None::<String>));
    let mut client = world.connect_in(VERSIONS[1], &server);
    for _ in 0..2_000 {
        client.tls.refresh_traffic_keys().unwrap();
        client.send("no reply\n");
    }
    wait_until("all have come", || server.stats().lines == 2_000);
    assert!(server.connections()[0].bytes_held < 16 * 1024, "{:?}", server.connections());
    client.finish_sending();
    client.rest();
    at_rest(&server);
}

#[test]
fn openssls_renegotiation_is_refused_and_its_key_updates_are_followed() {
    if missing_program("openssl", "openssl") {
        return;
    }
    let world = World::new();
    let server = world.spawn(builder());
    for (version, typed) in [("-tls1_2", "Bob R"), ("-tls1_3", "Bob K Bob k Bob K k Bob")] {
        let mut command = Command::new("openssl");
        command.args(["s_client", version, "-servername", NAME, "-CAfile"]).arg(world.ca());
        command.arg("-connect").arg(inet(server.local_addr()).to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        wait_until("it is connected", || !server.connections().is_empty());
        for word in typed.split(' ') {
            let replies = server.stats().replies;
            stdin.write_all(format!("{word}\n").as_bytes()).unwrap();
            match word {
                "Bob" => wait_until("it is answered", || server.stats().replies == replies + 1),
                "R" => assert!(stderr.any(|line| line.unwrap() == "RENEGOTIATING")),
                _ => assert!(stderr.any(|line| line.unwrap() == "KEYUPDATE")),
            }
        }
        drop(stdin);
        child.wait().unwrap();
    }
    assert_eq!(at_rest(&server).accepted, 2);
}
