//! The floor under every figure: greets as `greeter-server` does with the least that this can be
//! done with. One thread, one bare `mio` loop, and nothing that makes a server one that can be left
//! alone: no limit on lines, no back-pressure, no fairness, no counters, no shutdown. Only for
//! comparison.

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

const LISTENER: Token = Token(usize::MAX);

/// How many clients may wait to be accepted: as many as with greeter, so that thousands can come at
/// a time.
const BACKLOG: i32 = 4096;

struct FloorClient {
    socket: TcpStream,
    unfinished: Vec<u8>,
}

fn main() -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    SockRef::from(&listener).listen(BACKLOG)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;

    let mut clients: Vec<Option<FloorClient>> = Vec::new();
    let mut vacant = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut input = vec![0; 64 * 1024];
    let mut output = Vec::new();
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    socket.set_nodelay(true)?;
                    let slot = vacant.pop().unwrap_or_else(|| {
                        clients.push(None);
                        clients.len() - 1
                    });
                    poll.registry().register(&mut socket, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
                    clients[slot] = Some(FloorClient { socket, unfinished: Vec::new() });
                }
            } else if event.is_readable()
                && let Some(client) = &mut clients[event.token().0]
                && !serve(client, &mut input, &mut output)?
            {
                clients[event.token().0] = None;
                vacant.push(event.token().0);
            }
        }
    }
}

/// Answers what there is to read, and tells whether the client is still there.
fn serve(client: &mut FloorClient, input: &mut [u8], output: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let bytes = match client.socket.read(input) {
            Ok(0) => return Ok(false),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(_) => return Ok(false),
        };
        let mut rest = &input[..bytes];
        output.clear();
        while let Some(end) = memchr::memchr(b'\n', rest) {
            output.extend_from_slice(b"Hello, ");
            output.append(&mut client.unfinished);
            output.extend_from_slice(&rest[..=end]);
            rest = &rest[end + 1..];
        }
        client.unfinished.extend_from_slice(rest);
        let mut unsent = &output[..];
        while !unsent.is_empty() {
            match client.socket.write(unsent) {
                Ok(bytes) => unsent = &unsent[bytes..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(_) => return Ok(false),
            }
        }
        if bytes < input.len() {
            return Ok(true);
        }
    }
}
