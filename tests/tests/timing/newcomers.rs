//! Newcomers by the thousand that owe a PROXY header and do not send it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use greeter_server::{CloseReason, Listener};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, PATIENCE, inet, uninterrupted, wait_until};
use greeter_tests::probe::probe;
use greeter_tests::process::TestedServer;
use greeter_tests::size::{figure, sized};
use greeter_tests::{PLACEMENTS, alone, answered_by, raise_descriptor_limit};
use rustix::process::Signal;

const MIB: u64 = 1024 * 1024;
const HEADER: &[u8] = b"PROXY TCP4 203.0.113.9 198.51.100.7 50412 80\r\n";

fn with_header(address: SocketAddr, name: &str) -> Client {
    let mut client = Client::connect(address);
    client.send([HEADER, name.as_bytes(), b"\n"].concat());
    client
}

#[test]
fn more_silent_ones_than_there_are_places_keep_nobody_out() {
    const SILENT: usize = 1200;
    let _alone = alone();
    raise_descriptor_limit();
    for workers in PLACEMENTS {
        let listener = Listener::from("127.0.0.1:0").proxy_from(["127.0.0.1"]);
        let builder = answered_by(workers).max_connections_per_address(None);
        let server = builder.bind(listener).unwrap().spawn().unwrap();
        let address = inet(server.local_addr());
        let silent: Vec<_> = (0..SILENT).map(|_| Client::connect(address)).collect();
        wait_until("the lobby is full", || server.stats().handshakes == 1024);
        let started = Instant::now();
        let mut client = with_header(address, "Bob");
        assert_eq!(client.text(), "Hello, Bob\n");
        let waited = started.elapsed();
        figure("a client behind 1,200 silent newcomers", format!("{waited:?}"));
        assert!(waited <= sized(PATIENCE, Duration::from_secs(3)), "{waited:?}");
        assert!(server.stats().handshakes <= 1024);
        drop((silent, client));
        assert_eq!(at_rest(&server).handshakes, 0);
    }
}

/// Connects two thousand that each owe a header: some send garbage, some nothing, some most of a
/// long header, some a byte now and then. Returns how long the server bore the last of them.
fn flood(address: SocketAddr) -> Duration {
    const FLOOD: usize = 2000;
    // A header of version 2 with an unknown client, and 4,000 bytes behind that.
    let long = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x0f\xa0"[..], &[0; 3000]].concat();
    let connect = |number: usize| {
        let mut socket = TcpStream::connect(address).expect("the server listens");
        socket.set_nodelay(true).expect("a socket can be set up");
        let begin = [&b"GET / HTTP/1.1\r\n"[..], b"", &long, &HEADER[..1]][number % 4];
        // Some are gone by now.
        let _ = socket.write_all(begin);
        socket.set_nonblocking(true).expect("a socket can be set up");
        (number, socket)
    };
    let mut sockets: Vec<_> = (0..FLOOD).map(connect).collect();
    let started = Instant::now();
    // Longer than any deadline, and no header before that: an unknown client may be said much of.
    for byte in b"ROXY UNKNOWN ".iter().chain(std::iter::repeat(&b'1')) {
        sockets.retain_mut(|(number, socket)| {
            let dribbles = *number % 4 == 3;
            let is_lost = is_gone(socket) || dribbles && socket.write_all(&[*byte]).is_err();
            !is_lost
        });
        if sockets.is_empty() {
            break;
        }
        assert!(started.elapsed() < handshake_timeout() + PATIENCE, "{} are still there", sockets.len());
        thread::sleep(Duration::from_millis(100));
    }
    started.elapsed()
}

fn handshake_timeout() -> Duration {
    Duration::from_secs(sized(2, 10))
}

/// Returns whether the server has closed or reset the connection.
fn is_gone(socket: &mut TcpStream) -> bool {
    match uninterrupted(|| socket.read(&mut [0; 100])) {
        Ok(bytes) => bytes == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}

#[track_caller]
fn assert_gone_in_time(took: Duration) {
    // Those that have waited for a place have their time from then on.
    let at_most = handshake_timeout() + sized(PATIENCE, Duration::from_secs(3));
    assert!(took <= at_most, "the last was there for {took:?}");
}

#[test]
fn a_flood_of_newcomers_disturbs_nobody_who_is_polite() {
    let _alone = alone();
    raise_descriptor_limit();
    for workers in PLACEMENTS {
        let builder = answered_by(workers).max_connections_per_address(None).handshake_timeout(handshake_timeout());
        let proxied = Listener::from("127.0.0.1:0").proxy_from(["127.0.0.1"]);
        let server = builder.listen("127.0.0.1:0").listen(proxied).build().unwrap().spawn().unwrap();
        let [plain, proxied] = [0, 1].map(|index| inet(&server.local_addrs()[index]));
        let descriptors = || std::fs::read_dir("/proc/self/fd").expect("this process lives").count();
        let idle = probe(plain);
        let before = descriptors();
        let (took, mut meanwhile) = thread::scope(|scope| {
            let flood = scope.spawn(|| flood(proxied));
            let mut probes = Vec::new();
            while probes.is_empty() || !flood.is_finished() {
                probes.push(probe(plain));
            }
            (flood.join().expect("the flood ends"), probes)
        });
        meanwhile.sort_unstable_by_key(|latency| latency.0);
        let (usual, slowest) = (meanwhile[meanwhile.len() / 2], meanwhile[meanwhile.len() - 1]);
        let of = meanwhile.len();
        let figures = format!("{usual:?}, at worst {slowest:?} of {of} probes ({idle:?}), all gone after {took:?}");
        figure("a polite client beside 2,000 newcomers", figures);
        usual.assert_like(idle);
        assert!(slowest.0 <= sized(PATIENCE, Duration::from_millis(100)), "{slowest:?}");
        assert_gone_in_time(took);
        let stats = at_rest(&server);
        assert_eq!((stats.handshakes, stats.rejected, stats.discarded), (0, 0, 0));
        let of_flood = [CloseReason::ProxyHeader, CloseReason::HandshakeTimeout, CloseReason::HandshakeLimit];
        let of_flood: u64 = of_flood.into_iter().map(|reason| stats.closed_by[reason]).sum();
        assert_eq!(of_flood, 2000, "{stats:?}");
        wait_until("descriptors are closed", || descriptors() <= before);
        assert_eq!(with_header(proxied, "Bob").text(), "Hello, Bob\n");
    }
}

#[test]
fn a_flood_of_newcomers_leaves_no_memory_behind() {
    let _alone = alone();
    raise_descriptor_limit();
    let timeout = format!("{:?}", handshake_timeout());
    let server = TestedServer::start(&[
        "--log",
        "warn",
        "--max-connections-per-address",
        "off",
        "--proxy-protocol",
        "127.0.0.0/8",
        "--handshake-timeout",
        &timeout,
    ]);
    assert_eq!(with_header(server.address(), "Bob").text(), "Hello, Bob\n");
    let descriptors = server.descriptors();
    // The first one brings what stays: slots for as many as were ever there at a time.
    flood(server.address());
    let before = server.resident_bytes();
    let (took, most) = thread::scope(|scope| {
        let flood = scope.spawn(|| flood(server.address()));
        let mut most = before;
        while !flood.is_finished() {
            most = most.max(server.resident_bytes());
            thread::sleep(Duration::from_millis(10));
        }
        (flood.join().expect("the flood ends"), most)
    });
    assert_gone_in_time(took);
    wait_until("descriptors are closed", || server.descriptors() <= descriptors);
    let stays = server.resident_bytes().saturating_sub(before);
    let most = most.saturating_sub(before);
    figure("2,000 newcomers", format!("at most {} KiB more, {} KiB stay", most / 1024, stays / 1024));
    assert!(most <= 16 * MIB && stays <= 2 * MIB, "{most} and {stays} bytes more");
    assert_eq!(with_header(server.address(), "Bob").text(), "Hello, Bob\n");
}

#[test]
fn a_signal_ends_a_server_with_five_hundred_half_headers_at_once() {
    const NEWCOMERS: usize = 500;
    let _alone = alone();
    raise_descriptor_limit();
    let options =
        ["--max-connections-per-address", "off", "--proxy-protocol", "127.0.0.1", "--handshake-timeout", "60s"];
    let mut server = TestedServer::start(&options);
    let descriptors = server.descriptors();
    let newcomers: Vec<_> = (0..NEWCOMERS)
        .map(|_| {
            let mut client = Client::connect(server.address());
            client.send(&HEADER[..20]);
            client
        })
        .collect();
    wait_until("they are in the lobby", || server.descriptors() >= descriptors + NEWCOMERS);
    let started = Instant::now();
    server.signal(Signal::TERM);
    let (status, log) = server.wait(PATIENCE);
    let took = started.elapsed();
    figure("a stop with 500 half headers", format!("{took:?}"));
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(took <= sized(PATIENCE, Duration::from_millis(500)) / 2, "{took:?}");
    drop(newcomers);
}
