//! Lines over TLS, however their ciphertext arrives.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use greeter_server::{BoxError, CloseReason, Line, Listener, Peer, Reply, Responder, Server};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, inet, wait_until};
use greeter_tests::puppet::Puppet;
use greeter_tests::{builder, spawn};

use crate::kit::{TlsClient, TlsEnd, VERSIONS, World, socket_to};

/// Greets whoever is there before they say anything.
struct WithBanner;

impl Responder for WithBanner {
    type Session = ();

    fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(format!("ready, {}", peer.tls().ok_or("it has no TLS")?.version));
        Ok(())
    }

    fn respond(&self, _: &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(line.as_bytes());
        Ok(())
    }
}

#[test]
fn both_versions_are_spoken() {
    let world = World::new();
    let server = world.spawn(Server::builder());
    for version in VERSIONS {
        let mut client = world.connect_in(version, &server);
        assert_eq!(client.ask("Bob"), "Hello, Bob\n");
        client.finish_sending();
        assert_eq!(client.rest(), (String::new(), TlsEnd::CloseNotify));
    }
    let stats = at_rest(&server);
    assert_eq!((stats.lines, stats.bytes_received, stats.bytes_sent), (2, 8, 22), "they count what is said");
    assert_eq!(stats.closed_by[CloseReason::ClientClosed], 2);
}

/// A socket that cuts in two what is written to it: behind so many bytes, or, if there is no such
/// number, behind each.
struct Cut {
    socket: TcpStream,
    behind: Option<usize>,
    written: usize,
}

impl Read for Cut {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Cut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = match self.behind {
            None => 1,
            Some(behind) => behind.checked_sub(self.written).filter(|left| *left > 0).unwrap_or(bytes.len()),
        };
        let written = self.socket.write(&bytes[..bytes.len().min(most)])?;
        self.written += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_cut_anywhere_in_what_a_client_encrypts_changes_nothing() {
    let world = World::new();
    let server = world.spawn(builder().responder(WithBanner));
    for version in VERSIONS {
        let config = world.authority.trusting(&[version]);
        let talk = |behind| {
            let socket = Cut { socket: socket_to(inet(server.local_addr())), behind, written: 0 };
            let mut client = TlsClient::over(socket, &config);
            // Two lines in one record, and one that ends in another.
            for part in ["one\ntwo\nthr", "ee\nfo"] {
                client.send(part);
            }
            client.tls.send_close_notify();
            client.flush();
            assert_eq!(client.line().trim_end().replace("TLSv1_", "TLSv1."), format!("ready, {}", name(version)));
            assert_eq!(client.rest(), ("one\ntwo\nthree\n".to_owned(), TlsEnd::CloseNotify), "{behind:?}");
            client.socket.written
        };
        let length = talk(None);
        assert!(length > 300, "{length}");
        for behind in 1..length {
            talk(Some(behind));
        }
    }
    let stats = at_rest(&server);
    assert_eq!((stats.closed_by[CloseReason::ClientClosed], stats.unfinished_lines), (stats.accepted, stats.accepted));
}

fn name(version: &rustls::SupportedProtocolVersion) -> &'static str {
    if std::ptr::eq(version, VERSIONS[0]) { "TLSv1.2" } else { "TLSv1.3" }
}

#[test]
fn the_banner_waits_for_the_end_of_the_handshake() {
    let world = World::new();
    let server = world.spawn(builder().responder(WithBanner));
    for version in VERSIONS {
        let socket = socket_to(inet(server.local_addr()));
        let mut client = TlsClient::new(socket, &world.authority.trusting(&[version]));
        // In TLS 1.2, the server's end of the handshake comes last.
        if version.version == rustls::ProtocolVersion::TLSv1_2 {
            client.try_handshake().unwrap();
        } else {
            client.handshake_but_last().unwrap();
            assert_eq!((server.stats().handshakes, server.connections().len()), (1, 0));
            client.flush();
        }
        assert_eq!(client.line(), format!("ready, {}\n", name(version)));
    }
}

#[test]
fn lines_in_the_write_that_ends_the_handshake_are_answered() {
    let world = World::new();
    let server = world.spawn(builder());
    for lines in [1, 1_000] {
        let socket = socket_to(inet(server.local_addr()));
        let mut client = TlsClient::new(socket, &world.authority.trusting(&[VERSIONS[1]]));
        client.handshake_but_last().unwrap();
        let mut last = client.take_ciphertext();
        // Each in a record, then the end of the stream, all at once.
        (0..lines).for_each(|n| last.extend(client.seal(format!("{n}\n"))));
        client.tls.send_close_notify();
        last.extend(client.take_ciphertext());
        client.send_raw(&last);
        client.shut_down();
        let expected: String = (0..lines).map(|n| format!("Hello, {n}\n")).collect();
        assert_eq!(client.rest(), (expected, TlsEnd::CloseNotify));
    }
    at_rest(&server);
}

#[test]
fn ten_thousand_lines_at_once_are_answered_in_order() {
    let world = World::new();
    for workers in greeter_tests::PLACEMENTS {
        let server = world.spawn(greeter_tests::answered_by(workers));
        for of_each in [1, 10_000] {
            let mut client = world.connect(&server);
            let lines: Vec<String> = (0..10_000).map(|n| format!("{n}\n")).collect();
            let ciphertext: Vec<u8> = lines.chunks(of_each).flat_map(|lines| client.seal(lines.concat())).collect();
            let mut socket = client.socket.try_clone().unwrap();
            let sender = std::thread::spawn(move || socket.write_all(&ciphertext));
            for n in 0..10_000 {
                assert_eq!(client.line(), format!("Hello, {n}\n"));
            }
            sender.join().unwrap().unwrap();
        }
        let stats = at_rest(&server);
        assert_eq!((stats.lines, stats.replies), (20_000, 20_000));
    }
}

/// No event announces what has been read, and is more than one turn decrypts.
#[test]
fn records_behind_a_full_one_are_answered_though_nothing_else_comes() {
    const FULL: [u8; 8_191] = [b'x'; 8_191];
    let world = World::new();
    for workers in greeter_tests::PLACEMENTS {
        let server = world.spawn(greeter_tests::answered_by(workers));
        for version in VERSIONS {
            let mut client = world.connect_in(version, &server);
            for _ in 0..10 {
                let mut ciphertext = client.seal([&FULL[..], b"\n", &FULL, b"\n"].concat());
                ciphertext.extend((0..10).flat_map(|n| client.seal(format!("{n}\n"))));
                client.send_raw(ciphertext);
                (0..2).for_each(|_| assert_eq!(client.line().len(), 7 + 8_192));
                (0..10).for_each(|n| assert_eq!(client.line(), format!("Hello, {n}\n")));
            }
        }
    }
}

#[test]
fn a_reply_of_many_records_is_whole() {
    let world = World::new();
    let server = world.spawn(builder().responder(Puppet::default()));
    let mut client = world.connect(&server);
    for length in [16_383, 16_384, 16_385, 5_000_000] {
        let reply = client.ask(&format!("big {length}"));
        assert_eq!(reply.trim_end(), "x".repeat(length));
    }
}

#[test]
fn tls_goes_over_a_unix_socket() {
    let world = World::new();
    let path = world.directory.file("s");
    let tls = world.options().load().unwrap();
    let server = builder().bind(Listener::unix(&path).tls(&tls)).unwrap().spawn().unwrap();
    let mut client = TlsClient::over(UnixStream::connect(&path).unwrap(), &world.authority.trusting(&VERSIONS));
    assert_eq!(client.ask("Bob"), "Hello, Bob\n");
    client.tls.send_close_notify();
    client.flush();
    assert_eq!(client.rest(), (String::new(), TlsEnd::CloseNotify));
    at_rest(&server);
}

#[test]
fn a_proxys_header_comes_before_the_handshake_wherever_it_is_cut() {
    const HEADER: &[u8] = b"PROXY TCP4 203.0.113.9 198.51.100.7 50412 80\r\n";
    let world = World::new();
    let tls = world.options().load().unwrap();
    let listener = Listener::from("127.0.0.1:0").tls(&tls).proxy_from(["127.0.0.1"]);
    let server = builder().responder(WhoAsks).bind(listener).unwrap().spawn().unwrap();
    for cut in 0..=HEADER.len() {
        let mut socket = socket_to(inet(server.local_addr()));
        socket.write_all(&HEADER[..cut]).unwrap();
        let mut client = TlsClient::new(socket, &world.authority.trusting(&VERSIONS));
        let hello = client.take_ciphertext();
        client.send_raw([&HEADER[cut..], &hello].concat());
        client.try_handshake().unwrap();
        assert_eq!(client.ask("who?"), "203.0.113.9:50412 via 127.0.0.1, greeter.test\n");
    }
    // One inside TLS is a line like any other, and none before it is none.
    let mut client = TlsClient::new(socket_to(inet(server.local_addr())), &world.authority.trusting(&VERSIONS));
    assert!(client.try_handshake().is_err());
    wait_until("it is counted", || server.stats().closed_by[CloseReason::ProxyHeader] == 1);
}

/// Says who asks.
struct WhoAsks;

impl Responder for WhoAsks {
    type Session = String;

    fn connect(&self, peer: &Peer, _: &mut Reply<'_>) -> Result<String, BoxError> {
        let tls = peer.tls().ok_or("it has no TLS")?;
        let mut who = peer.address.to_string();
        if let Some(via) = peer.via() {
            write!(who, " via {}", via.ip().expect("it has an address"))?;
        }
        write!(who, ", {}", tls.server_name.as_deref().unwrap_or_default())?;
        Ok(who)
    }

    fn respond(&self, who: &mut String, _: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(who.as_str());
        Ok(())
    }
}

#[test]
fn who_speaks_plain_to_tls_is_closed_and_tls_is_garbage_in_plain() {
    let world = World::new();
    let server = world.spawn(builder());
    let mut plain = Client::connect(server.local_addr());
    plain.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(plain.rest(), b"");
    drop(plain);
    assert_eq!(at_rest(&server).closed_by[CloseReason::HandshakeFailed], 1);

    let server = spawn(builder());
    let mut client = TlsClient::new(socket_to(inet(server.local_addr())), &world.authority.trusting(&VERSIONS));
    let hello = client.take_ciphertext();
    client.send_raw([&hello[..], b"\n"].concat());
    client.shut_down();
    let mut said = Vec::new();
    client.socket.read_to_end(&mut said).unwrap();
    assert!(said.starts_with(b"Hello, \x16\x03\x01") || said.starts_with(b"error: "), "{}", said.escape_ascii());
    drop(client);
    at_rest(&server);
}
