//! Bytes, both ways, and how that ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use greeter_client::session::{Actual, SessionOptions, StreamEnd, Target};
use greeter_client::{Connection, ConnectionOptions, PipeEnd, ServerAddress, Session, SessionError, TlsClient};
use rustls::{ALL_VERSIONS, ServerConfig};

use crate::kit::{
    Authority, Folder, Server, TlsStream, client_of, end, greet, read_to_the_end, serve_tls, server_config,
};

/// What each test needs: a server's certificate, and clients that trust it.
struct World {
    config: Arc<ServerConfig>,
    client: TlsClient,
    _folder: Folder,
}

impl World {
    fn new(name: &str) -> Self {
        let (authority, folder) = (Authority::new("ours"), Folder::new(name, &[]));
        let config = server_config(&authority.issue(&["localhost"]), None, ALL_VERSIONS);
        Self { config, client: client_of(&authority, &folder), _folder: folder }
    }

    fn serve<T: Send + 'static>(&self, session: impl FnOnce(TlsStream) -> T + Send + 'static) -> Server<T> {
        serve_tls(&self.config, session)
    }

    fn connect(&self, address: &ServerAddress) -> Connection {
        let mut options = ConnectionOptions::default();
        options.tls = Some(self.client.clone());
        Connection::connect_with(address, &options).unwrap()
    }

    fn session(&self, address: &ServerAddress) -> Session {
        let mut target = Target::from(address.clone());
        target.tls = Some(self.client.clone());
        Session::new(SessionOptions::to(target))
    }
}

fn line_of(stream: &mut TlsStream) -> Vec<u8> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") && stream.read(&mut byte).unwrap() > 0 {
        line.push(byte[0]);
    }
    line
}

#[test]
fn a_half_close_says_so_in_tls_and_below_it() {
    let world = World::new("half-close");
    let server = world.serve(|mut stream| {
        let mut bytes = Vec::new();
        // Without a word in TLS this were an error.
        let ended = stream.read_to_end(&mut bytes).map(|_| ());
        let below = stream.sock.read(&mut [0]).unwrap();
        stream.write_all(b"Hello, Bob\n").unwrap();
        end(&mut stream);
        (bytes, ended.is_ok(), below)
    });
    let mut connection = world.connect(&server.address);
    connection.send("Bob").unwrap();
    connection.finish_sending();
    assert_eq!(connection.receive().unwrap(), Some(&b"Hello, Bob"[..]));
    assert_eq!(connection.receive().unwrap(), None);
    assert!(!connection.split().1.is_truncated());
    assert_eq!(server.outcome(), (b"Bob\n".to_vec(), true, 0));
}

#[test]
fn a_server_that_sends_no_more_still_reads() {
    let world = World::new("half-closed");
    let server = world.serve(|mut stream| {
        end(&mut stream);
        let line = line_of(&mut stream);
        (line, stream.read(&mut [0]).unwrap())
    });
    let mut session = world.session(&server.address);
    session.on("bob").expect_eof().unwrap();
    session.on("bob").send("still here").unwrap();
    session.on("bob").half_close().unwrap();
    session.finish().unwrap();
    assert_eq!(server.outcome(), (b"still here\n".to_vec(), 0));
}

#[test]
fn an_end_without_a_word_in_tls_is_an_end_and_is_named() {
    let world = World::new("truncated");
    let rude = || {
        world.serve(|mut stream| {
            stream.write_all(b"bye\n").unwrap();
            stream.sock.shutdown(Shutdown::Write).unwrap();
            read_to_the_end(stream.sock);
        })
    };

    let mut receiver = world.connect(&rude().address).split().1;
    assert_eq!(receiver.receive().unwrap(), Some(&b"bye"[..]));
    assert_eq!(receiver.receive().unwrap(), None);
    assert!(receiver.is_truncated());

    let piped = world.connect(&rude().address).pipe(&b""[..], std::io::sink()).unwrap();
    assert!(piped.truncated);

    let mut session = world.session(&rude().address);
    session.on("").expect("bye").unwrap();
    let Err(SessionError::Mismatch(mismatch)) = session.on("").expect("more") else { panic!("there is more") };
    assert_eq!(mismatch.actual, Actual::End(StreamEnd::Truncated));
    let words = "the connection: expected the line \"more\", but the server closed the connection without a word in TLS \
                 (close_notify)";
    assert_eq!(mismatch.to_string(), words);
    session.on("").expect_eof().unwrap();
}

#[test]
fn a_reset_says_nothing_first() {
    let world = World::new("reset");
    let server = world.serve(|mut stream| {
        let line = line_of(&mut stream);
        stream.write_all(&line).unwrap();
        let mut bytes = Vec::new();
        (stream.read_to_end(&mut bytes).map_err(|error| error.kind()), bytes)
    });
    let mut session = world.session(&server.address);
    session.on("").send("Bob").unwrap();
    session.on("").expect("Bob").unwrap();
    session.on("").reset().unwrap();
    assert_eq!(server.outcome(), (Err(ErrorKind::ConnectionReset), Vec::new()));
}

#[test]
fn who_closes_says_so_in_tls() {
    let world = World::new("close");
    let server = world.serve(|mut stream| stream.read(&mut [0]).map_err(|error| error.kind()));
    drop(world.connect(&server.address));
    assert_eq!(server.outcome(), Ok(0));
    let server = world.serve(|mut stream| stream.read(&mut [0]).map_err(|error| error.kind()));
    let mut session = world.session(&server.address);
    session.open("bob", &session.options().target.clone().unwrap()).unwrap();
    session.on("bob").close().unwrap();
    assert_eq!(server.outcome(), Ok(0));
}

const MANY: usize = 10_000_000;

/// Writes as much before it reads anything, so that whoever does not read meanwhile waits for ever.
fn writes_first(mut stream: TlsStream) -> usize {
    stream.write_all(&b"0123456\n".repeat(MANY / 8)).unwrap();
    let mut space = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match stream.read(&mut space).unwrap() {
            0 => break,
            count => total += count,
        }
    }
    end(&mut stream);
    total
}

#[test]
fn ten_megabytes_pass_each_way_at_the_same_time_through_a_pipe() {
    let world = World::new("pipe");
    let server = world.serve(writes_first);
    let mut output = Vec::new();
    let input = std::io::Cursor::new(b"abcdefg\n".repeat(MANY / 8));
    let piped = world.connect(&server.address).pipe(input, &mut output).unwrap();
    assert_eq!((piped.end, piped.truncated, piped.bytes_sent), (PipeEnd::Input, false, MANY as u64));
    assert!(output == b"0123456\n".repeat(MANY / 8));
    assert_eq!(server.outcome(), MANY);
}

/// What does not leave at once is sent by another thread, which begins with bytes that are
/// encrypted already.
#[test]
fn ten_megabytes_pass_each_way_at_the_same_time_through_a_session() {
    let world = World::new("session");
    let server = world.serve(writes_first);
    let mut session = world.session(&server.address);
    session.on("bob").send_bytes(b"abcdefg\n".repeat(MANY / 8)).unwrap();
    session.on("bob").half_close().unwrap();
    session.on("bob").expect_bytes(b"0123456\n".repeat(MANY / 8)).unwrap();
    session.on("bob").expect_eof().unwrap();
    session.finish().unwrap();
    assert_eq!(server.outcome(), MANY);
}

#[test]
fn what_is_sent_comes_byte_for_byte_though_writing_stalls() {
    let world = World::new("stalls");
    let server = world.serve(|mut stream| {
        thread::park_timeout(std::time::Duration::from_millis(300));
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        end(&mut stream);
        bytes
    });
    let bytes: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut session = world.session(&server.address);
    for part in bytes.chunks(1_000_003) {
        session.on("").send_bytes(part).unwrap();
        session.flush();
    }
    session.finish().unwrap();
    assert!(server.outcome() == bytes);
}

#[test]
fn new_keys_are_taken_and_answered() {
    let world = World::new("keys");
    let server = world.serve(|mut stream| {
        for _ in 0..3 {
            let line = line_of(&mut stream);
            stream.conn.refresh_traffic_keys().unwrap();
            stream.write_all(&line).unwrap();
        }
        end(&mut stream);
    });
    let mut connection = world.connect(&server.address);
    for line in ["one", "two", "three"] {
        assert_eq!(connection.ask(line).unwrap(), line.as_bytes());
    }
    server.outcome();
}

/// Between client and server, which passes on one byte at a time, each in a packet of its own.
fn byte_by_byte(server: &ServerAddress) -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.to_string().rsplit_once(':').unwrap().0.to_owned();
    let address = format!("{address}:{}", listener.local_addr().unwrap().port()).parse().unwrap();
    let server = TcpStream::connect(server.to_string().trim_start_matches("tls:")).unwrap();
    thread::spawn(move || {
        let client = listener.accept().unwrap().0;
        let pass = |mut from: TcpStream, mut to: TcpStream| {
            to.set_nodelay(true).unwrap();
            let mut byte = [0];
            while from.read(&mut byte).is_ok_and(|count| count > 0) && to.write_all(&byte).is_ok() {}
            let _ = to.shutdown(Shutdown::Write);
        };
        let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || pass(back.0, back.1));
        pass(client, server);
    });
    address
}

#[test]
fn records_may_come_byte_by_byte() {
    let world = World::new("bytes");
    let server = world.serve(greet);
    let mut session = world.session(&byte_by_byte(&server.address));
    for name in ["Ann", "Ben", &"A".repeat(3_000)] {
        session.on("").send(name).unwrap();
        session.on("").expect(format!("Hello, {name}")).unwrap();
    }
    session.finish().unwrap();
}
