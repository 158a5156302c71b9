//! A client as plain as can be: a socket whose every wait has an end.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use greeter_server::{Address, ServerHandle};
use socket2::{Domain, SockRef, Socket, Type};

/// How long a test waits for what should come at once. Long, since machines are slow at times, and
/// only ever waited out by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The address of the internet that a server under test listens on.
pub fn inet(address: impl ToSocketAddrs) -> SocketAddr {
    address.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()).expect("the server listens on TCP")
}

/// A connection to a server under test. Everything panics that does not go as it should.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    received: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn connect(address: impl ToSocketAddrs) -> Self {
        Self::over(TcpStream::connect(inet(address)).expect("the server accepts"))
    }

    /// Connects with a receive buffer as small as the system allows.
    pub fn connect_with_small_buffer(address: impl ToSocketAddrs) -> Self {
        let address = inet(address);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket can be had");
        socket.set_recv_buffer_size(1).expect("a buffer may be small");
        socket.connect(&address.into()).expect("the server accepts");
        Self::over(socket.into())
    }

    /// Connects with buffers of about so many bytes for each direction. Far smaller ones, filled in
    /// both directions, can bring Linux to a halt that lasts minutes.
    pub fn connect_with_buffers(address: impl ToSocketAddrs, bytes: usize) -> Self {
        let address = inet(address);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket can be had");
        socket.set_recv_buffer_size(bytes).expect("a buffer may be small");
        socket.set_send_buffer_size(bytes).expect("a buffer may be small");
        socket.connect(&address.into()).expect("the server accepts");
        Self::over(socket.into())
    }

    /// Connects from an address of its own, such as any of 127.0.0.0/8.
    pub fn connect_from(source: IpAddr, address: impl ToSocketAddrs) -> Self {
        let address = inet(address);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket can be had");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("the source address is ours");
        socket.connect(&address.into()).expect("the server accepts");
        Self::over(socket.into())
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("a socket can be set up");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
        socket.set_write_timeout(Some(PATIENCE)).expect("a socket can be set up");
        Self { socket, received: Vec::new() }
    }

    /// Our own address.
    pub fn local_addr(&self) -> Address {
        self.socket.local_addr().expect("a connected socket has an address").into()
    }

    /// The server's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.socket.peer_addr().expect("a connected socket has an address")
    }

    /// Another handle to send with, while this one receives.
    pub fn sender(&self) -> Self {
        Self { socket: self.socket.try_clone().expect("a socket can be shared"), received: Vec::new() }
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).expect("the server takes what we send");
    }

    /// Sends bytes to a server that may be gone by now, and tells whether the system took them.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// Sends bytes to whoever may have closed already.
    pub fn send_if_taken(&self, bytes: impl AsRef<[u8]>) {
        let _ = (&self.socket).write_all(bytes.as_ref());
    }

    /// Sends as many of these bytes as the system takes until it has taken none for this long, and
    /// tells how many.
    pub fn send_until_stuck(&mut self, bytes: &[u8], stuck_after: Duration) -> usize {
        self.socket.set_write_timeout(Some(stuck_after)).expect("a socket can be set up");
        let mut sent = 0;
        while sent < bytes.len() {
            match uninterrupted(|| self.socket.write(&bytes[sent..])) {
                Ok(more) => sent += more,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => panic!("cannot send: {error}"),
            }
        }
        sent
    }

    /// Sends these bytes, unless the server cuts the connection first. Tells how many it took, and
    /// how long it took none.
    pub fn send_until_cut(&mut self, bytes: &[u8]) -> (usize, Duration) {
        let (mut sent, mut last) = (0, Instant::now());
        while sent < bytes.len() {
            match uninterrupted(|| self.socket.write(&bytes[sent..])) {
                Ok(more) => sent += more,
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => break,
                Err(error) => panic!("cannot send: {error}"),
            }
            last = Instant::now();
        }
        (sent, last.elapsed())
    }

    /// Sends a byte of urgent data (RFC 6093), as telnet does for its "synch".
    pub fn send_urgent(&self, byte: u8) {
        let sent = SockRef::from(&self.socket).send_out_of_band(&[byte]).expect("the server takes what we send");
        assert_eq!(sent, 1);
    }

    /// Stops sending.
    pub fn finish_sending(&self) {
        self.socket.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// The next line, with its ending; none at the end of the stream.
    pub fn line(&mut self) -> Option<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.received[searched..]) {
                let rest = self.received.split_off(searched + end + 1);
                return Some(std::mem::replace(&mut self.received, rest));
            }
            searched = self.received.len();
            if self.receive_some() == 0 {
                assert!(self.received.is_empty(), "an unfinished line: {:?}", self.received.escape_ascii().to_string());
                return None;
            }
        }
    }

    /// The next line, as text.
    pub fn text(&mut self) -> String {
        let line = self.line().expect("the server still answers");
        String::from_utf8(line).expect("a reply is text")
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            assert!(self.receive_some() > 0, "the server has closed");
        }
        let rest = self.received.split_off(count);
        std::mem::replace(&mut self.received, rest)
    }

    /// Throws away what was received and not asked for, and tells how many bytes that were.
    pub fn take_received(&mut self) -> usize {
        std::mem::take(&mut self.received).len()
    }

    /// Everything up to the end of the stream.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.receive_some() > 0 {}
        std::mem::take(&mut self.received)
    }

    /// Stops sending and reads everything up to the end of the stream.
    pub fn finish(&mut self) -> Vec<u8> {
        self.finish_sending();
        self.rest()
    }

    /// One byte; none once the server has closed or reset the connection.
    pub fn sip(&mut self) -> Option<u8> {
        let mut byte = [0];
        match uninterrupted(|| self.socket.read(&mut byte)) {
            Ok(1) => Some(byte[0]),
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("cannot receive: {error}"),
        }
    }

    /// Whether nothing comes for this long, not even the end of the stream.
    pub fn hears_nothing_for(&mut self, time: Duration) -> bool {
        self.socket.set_read_timeout(Some(time)).expect("a socket can be set up");
        let peeked = uninterrupted(|| self.socket.peek(&mut [0]));
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
        let is_silent =
            matches!(&peeked, Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        is_silent && self.received.is_empty()
    }

    /// Sends a line and reads its reply.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n"));
        self.text()
    }

    /// Closes with a reset.
    pub fn reset(self) {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).expect("a socket can be set up");
    }

    fn receive_some(&mut self) -> usize {
        let mut buffer = [0; 16 * 1024];
        let read = uninterrupted(|| self.socket.read(&mut buffer));
        let bytes = read.expect("the server answers in time, and does not reset");
        self.received.extend_from_slice(&buffer[..bytes]);
        bytes
    }
}

/// What a call comes to that is made again when a signal, such as one to stop and go on, has
/// interrupted it. On a socket that has a timeout, the system leaves that to the caller
/// (signal(7)).
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// Waits until something is so.
///
/// # Panics
///
/// When it is not so after long enough.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns how many lines have come from the clients that are connected, answered or not.
#[must_use]
pub fn lines_received(server: &ServerHandle) -> u64 {
    server.connections().iter().map(|connection| connection.lines).sum()
}
