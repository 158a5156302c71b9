//! Servers that live for one connection, with an end to every wait.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use greeter_client::ServerAddress;

/// No test waits for longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A server for one connection, on a port of its own.
pub(crate) struct Server<T> {
    pub(crate) address: ServerAddress,
    outcome: Receiver<T>,
}

/// Starts a server that does `session` with its only client.
pub(crate) fn serve<T: Send + 'static>(session: impl FnOnce(TcpStream) -> T + Send + 'static) -> Server<T> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().into();
    let (sender, outcome) = mpsc::channel();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let _ = sender.send(session(stream));
    });
    Server { address, outcome }
}

impl<T> Server<T> {
    /// Waits for the session to end.
    pub(crate) fn outcome(self) -> T {
        self.outcome.recv_timeout(PATIENCE).expect("the server ended its session")
    }
}

/// `Bob` → `Hello, Bob`, until the client stops sending.
pub(crate) fn greeter() -> Server<()> {
    serve(|stream| answer(stream, |line| [b"Hello, ", line].concat()))
}

/// Answers each line, its ending included, with the bytes of `reply`. An unfinished line gets none.
pub(crate) fn answer(stream: TcpStream, reply: impl Fn(&[u8]) -> Vec<u8>) {
    let mut output = stream.try_clone().unwrap();
    let mut input = BufReader::new(stream);
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).unwrap() > 0 {
        if line.ends_with(b"\n") {
            output.write_all(&reply(&line)).unwrap();
        }
        line.clear();
    }
}

/// Reads one line with its ending, bytewise, so that what follows stays in the socket.
pub(crate) fn read_line(mut stream: &TcpStream) -> Vec<u8> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\n") && stream.read(&mut byte).unwrap() > 0 {
        line.push(byte[0]);
    }
    line
}

/// Reads to the client's end.
pub(crate) fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Ends the connection with a reset: a socket that is closed with unread bytes does.
pub(crate) fn reset(stream: TcpStream) {
    stream.peek(&mut [0]).unwrap();
    drop(stream);
}

/// Neither reads nor writes nor closes, as long as the test runs.
pub(crate) fn stay_silent(stream: TcpStream) {
    std::mem::forget(stream);
}

/// Reads and forgets until the client stops sending.
pub(crate) fn read_to_the_end(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    while matches!(stream.read(&mut bytes), Ok(1..)) {}
}
