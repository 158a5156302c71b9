//! Unix sockets, and sockets that somebody else has opened.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use greeter_server::{
    Address, BoxError, BuildError, Line, Listener, Peer, Reply, Responder, Server, ServerHandle, WhenFull,
};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, PATIENCE};
use greeter_tests::directory::TestDirectory;

fn connect(path: &Path) -> BufReader<UnixStream> {
    let socket = UnixStream::connect(path).expect("the server listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
    BufReader::new(socket)
}

fn ask(client: &mut BufReader<UnixStream>, line: &str) -> String {
    writeln!(client.get_mut(), "{line}").expect("nobody is reset");
    let mut reply = String::new();
    client.read_line(&mut reply).expect("the server answers");
    reply
}

fn listen_at(path: &Path) -> ServerHandle {
    Server::builder().bind(Listener::unix(path)).expect("nobody listens there").spawn().expect("threads can be had")
}

/// Says who asks.
struct WhoAmI;

impl Responder for WhoAmI {
    type Session = Address;

    fn connect(&self, peer: &Peer, _: &mut Reply<'_>) -> Result<Address, BoxError> {
        Ok(peer.address)
    }

    fn respond(&self, address: &mut Address, _: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(address.to_string());
        Ok(())
    }
}

#[test]
fn a_responder_sees_which_process_asks() {
    let directory = TestDirectory::new();
    let path = directory.file("s");
    let server = Server::builder().responder(WhoAmI).bind(Listener::unix(&path)).unwrap().spawn().unwrap();
    let said = ask(&mut connect(&path), "who am I?");
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    if cfg!(target_os = "linux") {
        assert_eq!(said, format!("unix:uid={uid},gid={gid},pid={}\n", std::process::id()));
    }
    assert_eq!(server.local_addr().as_path(), Some(&*path));
}

#[test]
fn no_limit_counts_the_processes_of_a_machine_as_one_address() {
    let directory = TestDirectory::new();
    let path = directory.file("s");
    let builder = Server::builder().max_connections_per_address(1).max_connections(3);
    let server = builder.bind(Listener::unix(&path)).unwrap().spawn().unwrap();
    let mut clients = [(); 3].map(|()| connect(&path));
    assert!(clients.iter_mut().all(|client| ask(client, "Bob") == "Hello, Bob\n"));
    let mut said = String::new();
    connect(&path).read_to_string(&mut said).unwrap();
    assert_eq!(said, "error: too many connections\n");
    drop(clients);
    assert_eq!(at_rest(&server).rejected, 1);
}

#[test]
fn whoever_has_connected_before_a_stop_is_answered_and_the_file_is_gone() {
    for _ in 0..20 {
        let directory = TestDirectory::new();
        let path = directory.file("s");
        let server = listen_at(&path);
        let mut clients: Vec<_> = (0..50).map(|_| connect(&path)).collect();
        for client in &mut clients {
            client.get_mut().write_all(b"Bob\n").unwrap();
            client.get_ref().shutdown(Shutdown::Write).unwrap();
        }
        let report = server.shutdown(PATIENCE);
        for mut client in clients {
            let mut said = String::new();
            client.read_to_string(&mut said).unwrap();
            assert_eq!(said, "Hello, Bob\n");
        }
        assert_eq!(report.overran, 0);
        assert!(!path.exists());
    }
}

#[test]
fn a_stop_removes_only_its_own_file() {
    let directory = TestDirectory::new();
    let path = directory.file("s");
    let first = listen_at(&path);
    std::fs::remove_file(&path).unwrap();
    let second = listen_at(&path);
    first.shutdown(Duration::ZERO);
    assert_eq!(ask(&mut connect(&path), "Bob"), "Hello, Bob\n");
    second.shutdown(Duration::ZERO);
    assert!(!path.exists());
}

#[test]
fn a_server_that_is_dropped_before_it_serves_leaves_no_file() {
    let directory = TestDirectory::new();
    let path = directory.file("s");
    let server = Server::builder().bind(Listener::unix(&path)).unwrap();
    assert!(path.exists());
    drop(server);
    assert!(!path.exists());
}

#[test]
fn an_address_that_cannot_be_listened_on_is_named_with_the_reason() {
    let directory = TestDirectory::new();
    let path = directory.file("s");
    let _server = listen_at(&path);
    let Err(BuildError::Listen { address, source }) = Server::builder().bind(Listener::unix(&path)) else {
        panic!("two servers listen at one socket")
    };
    assert_eq!(
        (address, source.to_string()),
        (format!("unix:{}", path.display()), "another server listens there".into())
    );
    let too_long = directory.file("a".repeat(200));
    assert!(matches!(Server::builder().bind(Listener::unix(too_long)), Err(BuildError::Listen { .. })));
}

/// A service manager keeps the socket, and servers come and go.
#[test]
fn a_restart_at_a_socket_that_is_kept_refuses_and_loses_nobody() {
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = kept.local_addr().unwrap();
    let start = || {
        let listener = Listener::opened(kept.try_clone().unwrap());
        Server::builder().bind(listener).unwrap().spawn().unwrap()
    };
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let greeted: usize = thread::scope(|scope| {
        let visit = || {
            let mut greeted = 0;
            while greeted == 0 || !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                let mut client = TcpStream::connect(address).expect("nobody is refused");
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                client.write_all(b"Bob\n").expect("nobody is reset");
                client.shutdown(Shutdown::Write).expect("nobody is reset");
                let mut said = String::new();
                client.read_to_string(&mut said).expect("nobody is reset");
                // Whose line comes only after the stop is told nothing, and can ask again.
                assert!(said.is_empty() || said == "Hello, Bob\n", "{said}");
                greeted += usize::from(!said.is_empty());
            }
            greeted
        };
        let visitors: Vec<_> = (0..8).map(|_| scope.spawn(visit)).collect();
        for _ in 0..30 {
            let server = start();
            thread::sleep(Duration::from_millis(5));
            let report = server.shutdown(PATIENCE);
            assert_eq!((report.overran, report.discarded), (0, 0));
        }
        // The last one answers those who wait.
        let _server = start();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        visitors.into_iter().map(|visitor| visitor.join().unwrap()).sum()
    });
    assert!(greeted > 30, "{greeted}");
}

#[test]
fn the_file_of_an_opened_socket_stays() {
    let directory = TestDirectory::new();
    let path = directory.file("s");
    let kept = UnixListener::bind(&path).unwrap();
    let listener = Listener::opened(kept.try_clone().unwrap());
    let server = Server::builder().when_full(WhenFull::Wait).bind(listener).unwrap().spawn().unwrap();
    assert_eq!(server.local_addr().to_string(), format!("unix:{}", path.display()));
    assert_eq!(ask(&mut connect(&path), "Bob"), "Hello, Bob\n");
    server.shutdown(PATIENCE);
    let mut waits = connect(&path);
    let _next = Server::builder().bind(Listener::opened(kept)).unwrap().spawn().unwrap();
    assert_eq!(ask(&mut waits, "Ann"), "Hello, Ann\n");
}

#[test]
fn a_path_need_not_be_text() {
    let directory = TestDirectory::new();
    let path = directory.file(std::ffi::OsStr::from_bytes(b"s\xff\n"));
    let server = listen_at(&path);
    assert_eq!(server.local_addr().as_path(), Some(&*path));
    assert_eq!(ask(&mut connect(&path), "Bob"), "Hello, Bob\n");
    server.shutdown(Duration::ZERO);
    assert!(!path.exists());
}

#[test]
fn whoever_waits_at_an_opened_socket_at_a_stop_is_left_to_the_next_server() {
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let start = || {
        let builder = Server::builder().max_connections(1).when_full(WhenFull::Wait);
        builder.bind(Listener::opened(kept.try_clone().unwrap())).unwrap().spawn().unwrap()
    };
    let server = start();
    let mut inside = Client::connect(server.local_addr());
    assert_eq!(inside.ask("Bob"), "Hello, Bob\n");
    let mut waits = Client::connect(server.local_addr());
    waits.send(b"Ann\n");
    let stats = server.shutdown(PATIENCE).stats;
    assert_eq!((stats.accepted, stats.rejected), (1, 0));
    drop(inside);
    let _next = start();
    assert_eq!(waits.text(), "Hello, Ann\n");
}
