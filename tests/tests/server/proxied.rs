//! Clients that come through a proxy, which says first whose connection it relays.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use greeter_server::{
    BoxError, Builder, CloseReason, Line, Listener, Peer, Reply, Responder, Server, ServerHandle, WhenFull,
};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, PATIENCE, uninterrupted, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::{builder, missing_program, raise_descriptor_limit};

const V1: &[u8] = b"PROXY TCP4 203.0.113.9 198.51.100.7 50412 80\r\n";
const V1_AT_HOME: &[u8] = b"PROXY UNKNOWN\r\n";
/// The same, with a unique id and the name that the client asked for.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x1a\xcb\0\x71\x09\xc6\x33\x64\x07\xc4\xec\0\x50\x05\0\x04a-id\x02\0\x04name";
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Says who asks, by which proxy, and what that has said.
struct WhoAsks;

impl Responder for WhoAsks {
    type Session = String;

    fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<String, BoxError> {
        reply.line("ready");
        let proxy = peer.origin.as_ref().and_then(|origin| origin.proxy.as_ref());
        let (Some(proxy), Some(via)) = (proxy, peer.via()) else { return Ok(format!("{} directly", peer.address)) };
        let id = proxy.tlvs.unique_id().unwrap_or_default().escape_ascii();
        Ok(format!("{} via {} id {id}", peer.address, via.ip().expect("it has an address")))
    }

    fn respond(&self, who: &mut String, _: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(who.as_str());
        Ok(())
    }
}

fn spawn_behind<R: Responder>(builder: Builder<R>, proxy: &str) -> ServerHandle {
    let listener = Listener::from("127.0.0.1:0").proxy_from([proxy]);
    builder.bind(listener).expect("loopback has a free port").spawn().expect("threads can be had")
}

/// All that the server still says.
fn rest(client: &mut Client) -> String {
    String::from_utf8(client.rest()).expect("replies are text")
}

#[test]
fn a_header_cut_anywhere_says_who_asks() {
    let server = spawn_behind(Server::builder().responder(WhoAsks), "127.0.0.0/8");
    let expected = |who: &str| format!("ready\n{who}\n");
    for (header, who) in [
        (V1, "203.0.113.9:50412 via 127.0.0.1 id "),
        (V2, "203.0.113.9:50412 via 127.0.0.1 id a-id"),
        (V1_AT_HOME, "unknown via 127.0.0.1 id "),
    ] {
        for cut in 0..=header.len() {
            let mut client = Client::connect(server.local_addr());
            client.send(&header[..cut]);
            client.send([&header[cut..], b"who?\n"].concat());
            client.finish_sending();
            assert_eq!(rest(&mut client), expected(who), "cut at {cut}");
        }
        let mut client = Client::connect(server.local_addr());
        header.iter().for_each(|byte| client.send([*byte]));
        client.send(b"who?\n");
        client.finish_sending();
        assert_eq!(rest(&mut client), expected(who), "byte by byte");
    }
    at_rest(&server);
}

#[test]
fn the_proxys_own_connections_have_its_address() {
    let server = spawn_behind(Server::builder().responder(WhoAsks), "127.0.0.1");
    let mut check = Client::connect(server.local_addr());
    let own = check.local_addr();
    check.send([V2_LOCAL, b"who?\n"].concat());
    check.finish_sending();
    assert_eq!(rest(&mut check), format!("ready\n{own} via 127.0.0.1 id \n"));
}

#[test]
fn from_elsewhere_a_header_is_a_line() {
    let server = spawn_behind(Server::builder(), "127.0.0.2");
    let mut client = Client::connect(server.local_addr());
    client.send(V1);
    client.finish_sending();
    assert_eq!(client.text(), "Hello, PROXY TCP4 203.0.113.9 198.51.100.7 50412 80\r\n");
    let mut proxy = Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), server.local_addr());
    proxy.send([V1, b"Bob\n"].concat());
    proxy.finish_sending();
    assert_eq!(proxy.text(), "Hello, Bob\n");
}

#[test]
fn what_is_no_header_is_closed_at_the_first_wrong_byte_and_told_nothing() {
    let server = spawn_behind(Server::builder().responder(WhoAsks).handshake_timeout(PATIENCE), "127.0.0.1");
    for wrong in [&b"Bob\n"[..], b"PROXY TCP5", b"\r\n\r\nG", b"PROXY TCP4 203.0.113.09", b"PROXY UNKNOWN\n"] {
        let mut client = TcpStream::connect(server.local_addr()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(wrong).unwrap();
        let said = uninterrupted(|| client.read(&mut [0; 100]));
        let is_gone = matches!(&said, Ok(0)) || said.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
        assert!(is_gone, "{}", wrong.escape_ascii());
    }
    // Neither is one that is cut short by the end of the stream.
    let mut client = Client::connect(server.local_addr());
    client.send(&V1[..20]);
    client.finish_sending();
    assert_eq!(rest(&mut client), "");
    let stats = at_rest(&server);
    assert_eq!((stats.closed_by[CloseReason::ProxyHeader], stats.closed_by[CloseReason::ClientClosed]), (5, 1));
}

#[test]
fn limits_count_the_address_in_the_header() {
    let server = spawn_behind(Server::builder().max_connections_per_address(1), "127.0.0.1");
    let visit = |host: u8| {
        let mut client = Client::connect(server.local_addr());
        client.send(format!("PROXY TCP4 203.0.113.{host} 198.51.100.7 50412 80\r\nBob\n").as_bytes());
        client
    };
    let mut clients: Vec<_> = (1..20).map(visit).collect();
    for client in &mut clients {
        assert_eq!(client.line().as_deref(), Some(&b"Hello, Bob\n"[..]));
    }
    let mut second = visit(7);
    assert_eq!(second.text(), "error: too many connections from your address\n");
    drop(clients);
    drop(second);
    assert_eq!(at_rest(&server).closed_by[CloseReason::AddressLimit], 1);
    assert_eq!(server.stats().handshakes, 0);
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for() {
    let server = spawn_behind(Server::builder().handshake_timeout(Duration::from_millis(300)), "127.0.0.1");
    let mut silent = Client::connect(server.local_addr());
    let mut slow = Client::connect(server.local_addr());
    let started = Instant::now();
    for byte in V1 {
        if !slow.try_send(&[*byte]) {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(rest(&mut silent), "");
    assert!(started.elapsed() < PATIENCE);
    drop(slow);
    let stats = at_rest(&server);
    assert_eq!((stats.closed_by[CloseReason::HandshakeTimeout], stats.closed), (2, 2));
}

#[test]
fn whoever_says_nothing_keeps_nobody_out_for_long() {
    const SILENT: usize = 20;
    let builder = Server::builder().max_handshakes(SILENT).handshake_timeout(PATIENCE * 10);
    let server = spawn_behind(builder, "127.0.0.1");
    let silent: Vec<_> = (0..SILENT).map(|_| Client::connect(server.local_addr())).collect();
    wait_until("they are in the lobby", || server.stats().handshakes == SILENT as u64);
    let mut client = Client::connect(server.local_addr());
    client.send([V1, b"Bob\n"].concat());
    assert_eq!(client.line().as_deref(), Some(&b"Hello, Bob\n"[..]));
    assert_eq!(server.stats().closed_by[CloseReason::HandshakeLimit], 1);
    drop(silent);
}

#[test]
fn a_stop_waits_for_no_header() {
    let server = spawn_behind(Server::builder(), "127.0.0.1");
    let mut silent = Client::connect(server.local_addr());
    wait_until("it is in the lobby", || server.stats().handshakes == 1);
    let report = server.shutdown(PATIENCE);
    assert!(report.took < PATIENCE / 2, "{report:?}");
    assert_eq!((report.overran, report.stats.closed_by[CloseReason::Shutdown]), (0, 1));
    assert_eq!(rest(&mut silent), "");
}

/// An address of this machine that is free now.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound")
}

#[test]
fn haproxy_says_who_asks() {
    if missing_program("haproxy", "haproxy") {
        return;
    }
    for (send, id) in [("send-proxy", ""), ("send-proxy-v2 proxy-v2-options unique-id", "an-id")] {
        let server = spawn_behind(Server::builder().responder(WhoAsks), "127.0.0.1");
        let (address, front) = (server.local_addr(), free_address());
        let directory = TestDirectory::new();
        let configuration = format!(
            "defaults\n mode tcp\n timeout connect 9s\n timeout client 9s\n timeout server 9s\n\
             frontend f\n bind {front}\n unique-id-format an-id\n default_backend b\n\
             backend b\n server s {address} {send} check check-send-proxy inter 50ms\n"
        );
        std::fs::write(directory.file("haproxy.cfg"), configuration).unwrap();
        let mut haproxy = Command::new("haproxy");
        let haproxy = haproxy.arg("-f").arg(directory.file("haproxy.cfg")).args(["-db", "-q"]);
        let mut haproxy = haproxy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut client = None;
        wait_until("haproxy listens", || {
            client = TcpStream::connect(front).ok();
            client.is_some()
        });
        let mut client = BufReader::new(client.unwrap());
        client.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
        let own = client.get_ref().local_addr().unwrap();
        client.get_mut().write_all(b"who?\n").unwrap();
        let (mut banner, mut who) = (String::new(), String::new());
        client.read_line(&mut banner).unwrap();
        client.read_line(&mut who).unwrap();
        assert_eq!((&*banner, &*who), ("ready\n", &*format!("{own} via 127.0.0.1 id {id}\n")));
        drop(client);
        haproxy.kill().unwrap();
        haproxy.wait().unwrap();
        let stats = at_rest(&server);
        assert_eq!(stats.closed_by[CloseReason::ProxyHeader], 0);
    }
}

#[test]
fn a_unix_socket_of_a_proxy_has_headers_too() {
    use std::os::unix::net::UnixStream;
    let directory = TestDirectory::new();
    let listener = Listener::unix(directory.file("s")).proxy_from(["unix"]);
    let server = Server::builder().bind(listener).unwrap().spawn().unwrap();
    let mut client = UnixStream::connect(directory.file("s")).unwrap();
    client.write_all(&[V2, b"Bob\n"].concat()).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, "Hello, Bob\n");
    at_rest(&server);
}

fn with_header(server: &ServerHandle, name: &str) -> Client {
    let mut client = Client::connect(server.local_addr());
    client.send([V1, name.as_bytes(), b"\n"].concat());
    client
}

#[test]
fn a_pause_with_a_full_lobby_lets_somebody_in_afterwards() {
    const SILENT: usize = 5;
    let builder = Server::builder().max_handshakes(SILENT).handshake_timeout(PATIENCE * 10);
    let server = spawn_behind(builder, "127.0.0.1");
    let silent: Vec<_> = (0..SILENT).map(|_| Client::connect(server.local_addr())).collect();
    wait_until("they are in the lobby", || server.stats().handshakes == SILENT as u64);
    let mut inside = Vec::new();
    for round in 0..3 {
        server.pause_accepting();
        let mut outside = with_header(&server, "Bob");
        server.resume_accepting();
        assert_eq!(outside.text(), "Hello, Bob\n", "round {round}");
        inside.push(outside);
    }
    drop((silent, inside));
    assert_eq!(at_rest(&server).handshakes, 0);
}

#[test]
fn newcomers_are_among_the_clients_that_others_wait_for() {
    for leaves in [true, false] {
        let builder = Server::builder().max_connections(2).when_full(WhenFull::Wait);
        let server = spawn_behind(builder.handshake_timeout(PATIENCE * 10), "127.0.0.1");
        let mut silent = Client::connect(server.local_addr());
        let mut inside = with_header(&server, "Ann");
        assert_eq!(inside.text(), "Hello, Ann\n");
        let mut waits = with_header(&server, "Bob");
        assert_eq!(inside.ask("Ann"), "Hello, Ann\n");
        assert_eq!((server.stats().accepted, server.stats().handshakes), (2, 1));
        if leaves {
            drop(silent);
        } else {
            silent.send([V1, b"Cid\n"].concat());
            assert_eq!(silent.text(), "Hello, Cid\n");
            drop(silent);
        }
        assert_eq!(waits.text(), "Hello, Bob\n");
        drop((inside, waits));
        assert_eq!(at_rest(&server).rejected, 0);
    }
}

#[test]
fn a_newcomer_above_the_limit_is_told_so() {
    let server = spawn_behind(Server::builder().max_connections(1).handshake_timeout(PATIENCE * 10), "127.0.0.1");
    let mut client = with_header(&server, "Bob");
    assert_eq!(client.text(), "Hello, Bob\n");
    let mut other = Client::connect(server.local_addr());
    assert_eq!(rest(&mut other), "error: too many connections\n");
    drop((client, other));
    assert_eq!(at_rest(&server).rejected, 1);
}

#[test]
fn a_client_behind_a_proxy_is_killed_like_any() {
    let server = spawn_behind(Server::builder(), "127.0.0.1");
    let mut silent = Client::connect(server.local_addr());
    let mut client = with_header(&server, "Bob");
    assert_eq!(client.text(), "Hello, Bob\n");
    let connections = server.connections();
    assert_eq!(connections.len(), 1);
    server.kill(connections[0].peer.id);
    assert_eq!(client.sip(), None);
    silent.send([V1, b"Ann\n"].concat());
    assert_eq!(silent.text(), "Hello, Ann\n");
    drop(silent);
    assert_eq!(at_rest(&server).closed_by[CloseReason::Killed], 1);
}

#[test]
fn descriptors_are_kept_for_those_whom_the_lobby_rejects() {
    const THREADS: usize = 2;
    raise_descriptor_limit();
    let possible = |listener: Listener| {
        let builder = Server::builder().max_connections(10_000_000).connection_threads(THREADS);
        builder.bind(listener).unwrap().spawn().unwrap().limits().max_connections
    };
    let plain = possible("127.0.0.1:0".into());
    let proxied = possible(Listener::from("127.0.0.1:0").proxy_from(["127.0.0.1"]));
    // 16 and one that is about to be rejected.
    assert!(plain == 10_000_000 || plain - proxied == 17 * THREADS, "{plain} and {proxied}");
}

#[test]
fn a_stop_answers_newcomers_whose_words_had_all_arrived() {
    const CLIENTS: usize = 200;
    let server = spawn_behind(builder(), "127.0.0.0/8");
    let clients = (0..CLIENTS).map(|number| {
        let mut client = Client::connect(server.local_addr());
        client.send([V1, format!("{number}\n").as_bytes()].concat());
        client
    });
    let clients = clients.collect::<Vec<_>>();
    let mut silent = Client::connect(server.local_addr());
    silent.send(V1.split_at(10).0);
    server.shutdown_trigger().trigger(PATIENCE);
    for (number, mut client) in clients.into_iter().enumerate() {
        assert_eq!(rest(&mut client), format!("Hello, {number}\n"));
    }
    assert_eq!(silent.rest(), b"");
    drop(silent);
    server.wait();
    let stats = server.stats();
    assert_eq!((stats.replies, stats.closed_by[CloseReason::Shutdown]), (CLIENTS as u64, CLIENTS as u64 + 1));
}

/// Says where each client has come in.
struct WhereIn;

impl Responder for WhereIn {
    type Session = ();

    fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(format_args!(
            "{} at {}",
            peer.via().map_or("direct", |_| "proxied"),
            peer.listener().unwrap_or("-")
        ));
        Ok(())
    }

    fn respond(&self, (): &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn a_responder_knows_by_which_listener_a_client_has_come() {
    let listen = |name: Option<&str>, proxy: &str| {
        let listener = Listener::from("127.0.0.1:0").proxy_from([proxy]);
        name.map_or(Listener::from("127.0.0.1:0"), |name| listener.named(name))
    };
    let server = builder()
        .responder(WhereIn)
        .listen(listen(None, "127.0.0.1"))
        .listen(listen(Some("inside"), "192.0.2.1"))
        .listen(listen(Some("outside"), "127.0.0.1"));
    let server = server.build().expect("loopback has free ports").spawn().expect("threads can be had");
    for (address, sent, said) in [
        (&server.local_addrs()[0], &b""[..], "direct at -\n"),
        (&server.local_addrs()[1], b"", "direct at inside\n"),
        (&server.local_addrs()[2], V1, "proxied at outside\n"),
    ] {
        let mut client = Client::connect(address);
        client.send(sent);
        client.finish_sending();
        assert_eq!(rest(&mut client), said);
    }
    at_rest(&server);
}
