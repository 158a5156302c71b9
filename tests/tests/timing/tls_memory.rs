//! What clients with TLS cost, and what they may make the server hold.

use std::io::{Read, Write};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use greeter_server::{ClientAuth, CloseReason, Listener, ServerHandle};
use greeter_tests::client::{PATIENCE, inet, wait_until};
use greeter_tests::process::{TestedServer, greeter_server};
use greeter_tests::puppet::Puppet;
use greeter_tests::size::{figure, sized};
use greeter_tests::{alone, beside_others, builder, raise_descriptor_limit, spawn};

use crate::kit::{
    Authority, Identity, NAME, TlsClient, VERSIONS, World, socket_to, socket_with_small_buffer, spawn_with,
};

const MIB: usize = 1024 * 1024;

/// What a connection with TLS costs that holds nothing, in bytes: its session, and what any costs.
const IDLE_BYTES: u64 = 8704 + 512;

fn start(world: &World, arguments: &[&str]) -> TestedServer {
    raise_descriptor_limit();
    let (certificate, key) = world.identity("server", &[NAME]);
    let mut command = Command::new(greeter_server());
    command.args(["--listen", "tls:127.0.0.1:0", "--log", "warn", "--max-connections-per-address", "off"]);
    command.arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key).args(arguments);
    TestedServer::start_command(command)
}

#[test]
fn idle_clients_cost_eight_and_a_half_kibibytes() {
    let _alone = alone();
    let world = World::new();
    let clients = sized(500, 4_000);
    for version in VERSIONS {
        let server = start(&world, &["--workers", "0"]);
        let config = world.authority.trusting(&[version]);
        // Records as long as they may be leave nothing behind.
        let name = "x".repeat(7000);
        let greeted = || {
            let mut client = TlsClient::connect(server.address(), &config);
            for name in ["Bob", &name, "Ann"] {
                assert_eq!(client.ask(name), format!("Hello, {name}\n"));
            }
            client.send(format!("{name}\n").repeat(2));
            assert_eq!((client.line().len(), client.line().len()), (7008, 7008));
            client
        };
        // What the first ones bring with them is not theirs alone.
        let first: Vec<_> = (0..100).map(|_| greeted()).collect();
        let before = server.resident_bytes();
        let crowd: Vec<_> = (0..clients).map(|_| greeted()).collect();
        let each = server.resident_bytes().saturating_sub(before) / clients as u64;
        figure(&format!("an idle client in {:?}", version.version), format!("{each} bytes ({clients} of them)"));
        assert!(each <= IDLE_BYTES, "{each} bytes each");
        drop((first, crowd));
    }
}

/// Whatever a client sends to prove who it is, the session keeps.
#[test]
fn certificates_of_clients_are_in_the_budget() {
    let _alone = alone();
    let world = World::new();
    let clients = sized(100, 900);
    let own = world.authority.issue(&["ann"]);
    // Nobody checks what does not lead to an authority.
    let mut certificate = own.certificate.clone();
    let strangers = Authority::new("a stranger");
    let many: Vec<String> = (0..300).map(|number| format!("{number}.{}.example", "x".repeat(60))).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    (0..2).for_each(|_| certificate += &strangers.issue(&names).certificate);
    let config = world.authority.client(&VERSIONS, Some(&Identity { certificate, ..own }));
    raise_descriptor_limit();
    let limits = || builder().workers(1).max_connections_per_address(None).max_buffer_bytes(MIB).max_unsent_bytes(4096);
    let server = spawn_with(
        limits().max_connections(clients).max_handshakes(10),
        world.options().client_authorities(world.ca(), ClientAuth::Required),
    );
    let mut crowd = Vec::new();
    for _ in 0..clients {
        let mut client = TlsClient::new(socket_to(inet(server.local_addr())), &config);
        let _ = client.try_handshake();
        crowd.push(client);
    }
    wait_until("some were told that it is full", || server.stats().closed_by[CloseReason::Overloaded] > 0);
    let held = server.connections().iter().map(|client| client.bytes_held).sum::<usize>();
    figure("certificates that are kept", format!("{held} bytes of {}", server.connections().len()));
    // What is below a unit of memory is not charged.
    assert!(held <= MIB + clients * 4096, "{held}");
    drop(crowd);
}

#[test]
fn records_that_are_not_whole_are_in_the_budget() {
    let _alone = alone();
    let world = World::new();
    let (clients, budget) = (sized(600, 9_000), sized(4, 64) * MIB);
    let size = format!("{}MiB", budget / MIB);
    let arguments = ["--workers", "2", "--connection-threads", "1", "--max-buffer-bytes", &size];
    let server = start(&world, &arguments);
    let config = world.authority.trusting(&[VERSIONS[1]]);
    let mut crowd: Vec<_> = (0..clients)
        .map(|_| {
            let mut client = TlsClient::connect(server.address(), &config);
            // As long as a record may be, and a byte short.
            let mut record = vec![0; 5 + 0x4800 - 1];
            record[..5].copy_from_slice(&[23, 3, 3, 0x48, 0]);
            let _ = client.socket.write_all(&record);
            client
        })
        .collect();
    let most_held = budget / (16 * 1024);
    let mut told = 0;
    wait_until("those are gone for whom there is no room", || {
        for client in &crowd {
            client.socket.set_nonblocking(true).expect("a socket can be set up");
        }
        crowd.retain_mut(|client| match client.try_rest() {
            Ok((said, _)) => {
                assert!(said.starts_with("error: "), "{said:?}");
                told += 1;
                false
            }
            Err(_) => true,
        });
        crowd.len() <= most_held
    });
    let resident = server.resident_bytes();
    let alike = builder().workers(2).connection_threads(1).max_buffer_bytes(budget).max_connections_per_address(None);
    let tls = world.options().load().expect("the files are good");
    let alike = alike.bind(Listener::from("127.0.0.1:0").tls(&tls)).expect("loopback has a free port");
    let alike = alike.spawn().expect("threads can be had");
    let most = alike.limits().max_memory_bytes(1, 2);
    figure(
        &format!("{clients} who hold a record in part, and {size} for all"),
        format!("{told} were told that it is full; {} MiB of {}", resident / MIB as u64, most / MIB),
    );
    assert!(resident <= most as u64, "{resident} of {most}");
    assert!(told > 0);
    // Whoever has left makes room.
    drop(crowd);
    wait_until("there is room", || {
        let mut client = TlsClient::connect(server.address(), &config);
        client.ask("Bob") == "Hello, Bob\n"
    });
}

/// Whether a client is kept for so long that reads so many bytes of a long reply at a time.
fn read_slowly(server: &ServerHandle, mut socket: impl Read, bytes: usize, time: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < time && !server.connections().is_empty() {
        let _ = socket.read(&mut vec![0; bytes]);
        thread::sleep(Duration::from_millis(100));
    }
    server.stats().closed_by[CloseReason::WriteTimeout] == 0
}

#[test]
fn a_slow_reader_is_judged_as_in_plain() {
    let _others = beside_others();
    const TIMEOUT: Duration = Duration::from_secs(3);
    let world = World::new();
    let serve = || builder().responder(Puppet::default()).write_timeout(TIMEOUT).linger_timeout(Duration::ZERO);
    thread::scope(|scope| {
        // So many bytes every tenth of a second.
        for (bytes, is_kept) in [(1_000_000, true), (10_000, true), (1_000, true), (10, false)] {
            let plain = spawn(serve());
            let over_tls = world.spawn(serve());
            let world = &world;
            // Buffers that grow are a reprieve.
            let time = if is_kept { TIMEOUT * 3 } else { PATIENCE * 2 };
            let ask = format!("big {}\n", 64 * MIB);
            let in_plain = scope.spawn({
                let ask = ask.clone();
                move || {
                    let mut socket = socket_with_small_buffer(inet(plain.local_addr()));
                    socket.write_all(ask.as_bytes()).expect("the server takes what we send");
                    wait_until("it is asked", || plain.stats().bytes_sent > 0);
                    read_slowly(&plain, socket, bytes, time)
                }
            });
            scope.spawn(move || {
                let socket = socket_with_small_buffer(inet(over_tls.local_addr()));
                let mut client = TlsClient::over(socket, &world.authority.trusting(&VERSIONS));
                client.send(ask);
                wait_until("it is asked", || over_tls.stats().bytes_sent > 0);
                let over_tls = read_slowly(&over_tls, client.socket, bytes, time);
                let in_plain = in_plain.join().expect("it has ended");
                figure(
                    &format!("{} bytes a second", bytes * 10),
                    format!("kept in plain: {in_plain}, over TLS: {over_tls}"),
                );
                assert_eq!((in_plain, over_tls), (is_kept, is_kept), "{bytes} bytes at a time");
            });
        }
    });
}
