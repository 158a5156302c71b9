//! Crowds that want to be let in, and what others notice of them.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use greeter_tests::client::{PATIENCE, uninterrupted};
use greeter_tests::probe::{latency_of, probe};
use greeter_tests::process::{TestedServer, greeter_server};
use greeter_tests::size::{figure, sized};
use greeter_tests::{alone, beside_others, raise_descriptor_limit};

use crate::kit::{NAME, TlsClient, VERSIONS, World, socket_to};

const MIB: u64 = 1024 * 1024;

/// A server with these listeners, and a certificate.
fn start(world: &World, listeners: &[&str], arguments: &[&str]) -> TestedServer {
    raise_descriptor_limit();
    let (certificate, key) = world.identity("server", &[NAME]);
    let mut command = Command::new(greeter_server());
    command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key).args(arguments);
    command.args(listeners.iter().flat_map(|listener| ["--listen", *listener]));
    TestedServer::start_listeners(command, listeners.len())
}

/// What a client sends first. The server has all its work with it, however often it comes.
fn hello(world: &World) -> Vec<u8> {
    TlsClient::new(io::empty(), &world.authority.trusting(&[VERSIONS[1]])).take_ciphertext()
}

/// As the [probe], over TLS: all but the slowest hundredth.
fn tls_probe(world: &World, address: SocketAddr) -> Duration {
    let mut client = TlsClient::connect(address, &world.authority.trusting(&VERSIONS));
    latency_of(|line| client.ask(line)).0
}

/// Has hello said at full speed until it is over, and tells how often it was answered.
fn storm(hello: &[u8], address: SocketAddr, is_over: &AtomicBool) -> usize {
    const AT_A_TIME: usize = 256;
    let mut sockets: VecDeque<TcpStream> = VecDeque::new();
    let mut answered = 0;
    while !is_over.load(Ordering::Relaxed) {
        if sockets.len() == AT_A_TIME
            && let Some(mut oldest) = sockets.pop_front()
        {
            answered += usize::from(uninterrupted(|| oldest.read(&mut [0; 4096])).is_ok_and(|bytes| bytes > 0));
        }
        let mut socket = socket_to(address);
        // Who has been displaced may be gone.
        let _ = socket.write_all(hello);
        sockets.push_back(socket);
    }
    answered
}

#[test]
fn a_storm_of_handshakes_delays_nobody_who_is_connected() {
    let _alone = alone();
    let world = World::new();
    let arguments = ["--log", "error", "--max-connections-per-address", "off"];
    let server = start(&world, &["127.0.0.1:0", "tls:127.0.0.1:0"], &arguments);
    let [plain, tls] = *server.addresses() else { panic!("it has two") };
    let (hello, is_over) = (hello(&world), AtomicBool::new(false));
    let before = (probe(plain).0, tls_probe(&world, tls));
    let start = Instant::now();
    thread::scope(|scope| {
        let storm = scope.spawn(|| storm(&hello, tls, &is_over));
        let (mut worst_plain, mut worst_tls) = (Duration::ZERO, Duration::ZERO);
        // As long as it takes for thousands of handshakes.
        for _ in 0..sized(2, 10) {
            worst_plain = worst_plain.max(probe(plain).0);
            worst_tls = worst_tls.max(tls_probe(&world, tls));
        }
        is_over.store(true, Ordering::Relaxed);
        let answered = storm.join().expect("it has ended");
        let of_all = format!("{answered} handshakes in {:?}", start.elapsed());
        figure(&of_all, format!("p99 {worst_plain:?} in plain, {worst_tls:?} over TLS; before {before:?}"));
        assert!(answered > sized(100, 2_000), "{of_all}");
        let most = sized(Duration::from_secs(2), Duration::from_millis(10));
        assert!(worst_plain <= most && worst_tls <= most, "{of_all}: {worst_plain:?}, {worst_tls:?}");
    });
}

/// How long it takes until a crowd is gone that all do the same, and how much memory it takes.
fn cut_off(server: &TestedServer, clients: usize, first: &[u8], dribble: &[u8]) -> (Duration, u64) {
    let mut crowd: Vec<_> = (0..clients).map(|_| socket_to(server.address())).collect();
    for socket in &mut crowd {
        socket.set_nonblocking(true).expect("a socket can be set up");
        let _ = socket.write_all(first);
    }
    let (last, mut most, mut next) = (Instant::now(), 0, dribble.iter().cycle());
    while !crowd.is_empty() {
        assert!(last.elapsed() < PATIENCE, "{} are left", crowd.len());
        crowd.retain_mut(|socket| {
            if let Some(byte) = next.next() {
                let _ = socket.write_all(&[*byte]);
            }
            // The server may have said hello.
            match uninterrupted(|| socket.read(&mut [0; 4096])) {
                Ok(bytes) => bytes > 0,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            }
        });
        most = most.max(server.resident_bytes());
        thread::sleep(Duration::from_millis(20));
    }
    (last.elapsed(), most)
}

#[test]
fn whoever_does_not_finish_its_handshake_is_gone_at_the_deadline() {
    let _others = beside_others();
    let world = World::new();
    let limit = Duration::from_secs(1);
    let server = start(&world, &["tls:127.0.0.1:0"], &["--log", "error", "--handshake-timeout", "1s"]);
    let hello = hello(&world);
    // A record that is long, and bytes of it.
    let long = [&[22, 3, 1, 0x3f, 0xff, 1, 0, 0xff, 0xff][..], &[0; 16_000]].concat();
    let clients = sized(200, 1_000);
    let before = server.resident_bytes();
    for (who, first, dribble) in [
        ("silent", &[][..], &[][..]),
        ("dribbling", &hello[..50], &hello[50..51]),
        ("holding a long record", &long, &[]),
        ("silent behind its hello", &hello, &[]),
        ("garbage", b"GET / HTTP/1.1\r\n", &[]),
    ] {
        let (took, most) = cut_off(&server, clients, first, dribble);
        let grown = most.saturating_sub(before) / clients as u64;
        figure(&format!("{who}, {clients} of them"), format!("gone after {took:?}, {grown} bytes each"));
        assert!(took <= limit + sized(Duration::from_secs(10), Duration::from_secs(1)), "{who}: {took:?}");
        assert!(most <= before + 4 * MIB + clients as u64 * 2 * 20_000, "{who}: {most} bytes, {before} before");
    }
}

#[test]
fn a_crowd_that_says_nothing_shuts_no_door() {
    let _others = beside_others();
    let world = World::new();
    let arguments = ["--log", "error", "--handshake-timeout", "10s", "--max-connections-per-address", "off"];
    let server = start(&world, &["tls:127.0.0.1:0"], &arguments);
    let crowd: Vec<_> = (0..1_200).map(|_| socket_to(server.address())).collect();
    let start = Instant::now();
    let mut client = TlsClient::connect(server.address(), &world.authority.trusting(&VERSIONS));
    assert_eq!(client.ask("Bob"), "Hello, Bob\n");
    figure("greeted beside 1,200 who say nothing", format!("after {:?}", start.elapsed()));
    assert!(start.elapsed() <= sized(Duration::from_secs(9), Duration::from_secs(3)), "{:?}", start.elapsed());
    drop(crowd);
}
