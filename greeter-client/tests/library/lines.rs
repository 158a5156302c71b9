//! One line out, one line back.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use greeter_client::{Connection, ConnectionError, ConnectionOptions, Eol, ServerAddress};

use crate::kit::{self, greeter, read_all, read_line, serve};

fn with_eol(address: &ServerAddress, eol: Eol) -> Connection {
    let mut options = ConnectionOptions::default();
    options.eol = eol;
    Connection::connect_with(address, &options).unwrap()
}

/// A server that sends `bytes` at once and closes when the client has nothing more to say.
fn says(bytes: &'static [u8]) -> kit::Server<Vec<u8>> {
    serve(move |mut stream: TcpStream| {
        stream.write_all(bytes).unwrap();
        read_all(&stream)
    })
}

#[test]
fn a_line_gets_its_reply_and_the_next_one_its_own() {
    let server = greeter();
    let mut connection = Connection::connect(&server.address).unwrap();
    for name in ["Bob", "", "B\0\r\u{1b}ö", "Ann"] {
        assert_eq!(connection.ask(name).unwrap(), format!("Hello, {name}").as_bytes());
    }
    assert_eq!(connection.ask([0xff, 0xfe]).unwrap(), b"Hello, \xff\xfe");
    connection.finish_sending();
    assert!(matches!(connection.receive(), Ok(None)));
    server.outcome();
}

#[test]
fn a_line_is_sent_as_it_is_with_the_ending_chosen() {
    for (eol, wire) in [(Eol::Lf, &b"a\rb\r\n\n"[..]), (Eol::CrLf, b"a\rb\r\r\n\r\n")] {
        let server = says(b"");
        let mut connection = with_eol(&server.address, eol);
        connection.send("a\rb\r").unwrap();
        connection.send("").unwrap();
        connection.finish_sending();
        assert_eq!(server.outcome(), wire);
    }
}

#[test]
fn a_cr_before_lf_is_data_with_lf_and_ending_with_crlf() {
    for (eol, lines) in [(Eol::Lf, [&b"a\r"[..], b"b", b"\r\r"]), (Eol::CrLf, [b"a", b"b", b"\r"])] {
        let server = says(b"a\r\nb\n\r\r\n");
        let mut connection = with_eol(&server.address, eol);
        for line in lines {
            assert_eq!(connection.receive().unwrap(), Some(line));
        }
    }
}

#[test]
fn a_line_that_holds_a_newline_is_refused_and_nothing_of_it_is_sent() {
    let server = says(b"");
    let mut connection = Connection::connect(&server.address).unwrap();
    assert!(matches!(connection.send("Ann\nBen"), Err(ConnectionError::LfInLineError)));
    assert!(matches!(connection.ask("\n"), Err(ConnectionError::LfInLineError)));
    connection.send("Bob").unwrap();
    connection.finish_sending();
    assert_eq!(server.outcome(), b"Bob\n");
}

#[test]
fn a_banner_is_received_before_anything_is_sent() {
    let server = says(b"220 ready\n");
    let mut connection = Connection::connect(&server.address).unwrap();
    assert_eq!(connection.receive().unwrap(), Some(&b"220 ready"[..]));
}

#[test]
fn a_second_reply_is_left_for_the_next_receive() {
    let server = serve(|mut stream| {
        read_line(&stream);
        stream.write_all(b"one\ntwo\n").unwrap();
    });
    let mut connection = Connection::connect(&server.address).unwrap();
    assert_eq!(connection.ask("Bob").unwrap(), b"one");
    assert_eq!(connection.unread(), b"two\n");
    assert_eq!(connection.receive().unwrap(), Some(&b"two"[..]));
    assert_eq!(connection.receive().unwrap(), None);
}

#[test]
fn after_a_half_close_the_replies_still_owed_are_received() {
    let server = greeter();
    let mut connection = Connection::connect(&server.address).unwrap();
    for n in 0..50 {
        connection.send(n.to_string()).unwrap();
    }
    connection.finish_sending();
    for n in 0..50 {
        assert_eq!(connection.receive().unwrap(), Some(format!("Hello, {n}").as_bytes()));
    }
    assert_eq!(connection.receive().unwrap(), None);
    assert!(matches!(connection.send("late"), Err(ConnectionError::Lost(_))));
}

#[test]
fn the_two_directions_work_on_two_threads() {
    let server = greeter();
    let (mut sender, mut receiver) = Connection::connect(&server.address).unwrap().split();
    let sending = std::thread::spawn(move || {
        for n in 0..1_000 {
            sender.send(n.to_string()).unwrap();
        }
        sender.finish();
    });
    for n in 0..1_000 {
        assert_eq!(receiver.receive().unwrap(), Some(format!("Hello, {n}").as_bytes()));
    }
    assert_eq!(receiver.receive().unwrap(), None);
    sending.join().unwrap();
}

#[test]
fn bytes_are_received_as_they_come_and_behind_lines() {
    let server = serve(|mut stream: TcpStream| {
        stream.write_all(b"220 ready\nlogin: ").unwrap();
        read_line(&stream);
        stream.write_all(b"bye\n").unwrap();
    });
    let mut connection = Connection::connect(&server.address).unwrap();
    assert_eq!(connection.receive().unwrap(), Some(&b"220 ready"[..]));
    let (mut sender, mut receiver) = connection.split();
    let mut prompt = Vec::new();
    while prompt != b"login: " {
        prompt.extend_from_slice(receiver.receive_bytes().unwrap().unwrap());
    }
    sender.send("Bob").unwrap();
    assert_eq!(receiver.receive().unwrap(), Some(&b"bye"[..]));
    assert!(matches!(receiver.receive_bytes(), Ok(None)));
}

#[test]
fn bytes_may_be_waited_for_again() {
    let server = serve(|mut stream: TcpStream| {
        read_line(&stream);
        stream.write_all(b"late").unwrap();
    });
    let mut options = ConnectionOptions::default();
    options.timeout = Some(Duration::from_millis(50));
    let (mut sender, mut receiver) = Connection::connect_with(&server.address, &options).unwrap().split();
    assert!(matches!(receiver.receive_bytes(), Err(ConnectionError::TimedOut { .. })));
    sender.send("Bob").unwrap();
    let bytes = loop {
        match receiver.receive_bytes() {
            Err(ConnectionError::TimedOut { .. }) => {}
            other => break other.unwrap().unwrap(),
        }
    };
    assert!(b"late".starts_with(bytes) && !bytes.is_empty());
}

#[test]
fn a_reset_is_seen_by_the_server_and_ends_the_receiver() {
    let server = serve(|mut stream: TcpStream| {
        read_line(&stream);
        stream.read(&mut [0]).map_err(|err| err.kind())
    });
    let (mut sender, mut receiver) = Connection::connect(&server.address).unwrap().split();
    sender.send("Bob").unwrap();
    let receiving = std::thread::spawn(move || receiver.receive_bytes().map(|bytes| bytes.map(<[u8]>::to_vec)));
    sender.reset();
    assert!(matches!(receiving.join().unwrap(), Ok(None)));
    assert_eq!(server.outcome(), Err(ErrorKind::ConnectionReset));
}
