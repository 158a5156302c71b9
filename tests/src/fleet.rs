//! A crowd of clients that a seed describes, against a server that does as they say; and a model
//! that knows what each is owed.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::client::{PATIENCE, inet, uninterrupted};

/// The longest line that the server of a fleet takes.
pub const MAX_LINE_BYTES: usize = 64;

/// The longest reply that is asked for.
const MAX_REPLY_BYTES: usize = 5_000;

/// What lines begin with that the host pushes to a fleet. Behind it stand numbers, of which each is
/// greater than those before it.
pub const PUSH: &str = "push ";

/// How many lines a client sends at the most that goes away before it has read everything: so many
/// fit into the buffers between.
const MAX_LINES_UNREAD: usize = 20;

/// Numbers that look like chance and are the same for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct FleetRandom(u64);

impl FleetRandom {
    /// The numbers of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// The next number, below this one.
    #[expect(clippy::cast_possible_truncation, reason = "it is smaller than a usize")]
    pub const fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// True so often as once in so many times.
    pub const fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// What a crowd was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetTally {
    /// Replies that were read whole.
    pub replies: usize,
    /// Those among them that said that everyone is busy.
    pub busy: usize,
    /// Lines that were pushed.
    pub pushed: usize,
    /// Clients that got everything they were owed and then the end of the stream.
    pub whole: usize,
    /// Clients that were refused when they came.
    pub refused: usize,
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// It stops sending, and reads everything.
    HalfClose,
    /// The same in the middle of a line.
    InTheMiddle,
    /// It has the server close.
    Quit,
    /// It resets the connection at some time.
    Reset,
    /// It closes at some time.
    Close,
}

/// One client: what it sends, and what it is owed for that.
struct Itinerary {
    stream: Vec<u8>,
    owed: Vec<Vec<u8>>,
    leaving: Leaving,
    reads_slowly: bool,
    random: FleetRandom,
}

/// Sends a crowd to the server, each client on threads of its own, and checks that everybody gets
/// exactly the replies to its lines, and all of them where it leaves decently. The server is to
/// have a [`Puppet`](crate::puppet::Puppet) and this [limit](MAX_LINE_BYTES).
///
/// # Panics
///
/// When somebody does not.
pub fn visit(server: impl ToSocketAddrs, seed: u64, clients: usize, lines: usize) -> FleetTally {
    let server = inet(server);
    let mut random = FleetRandom::new(seed);
    let plans: Vec<_> = (0..clients).map(|name| Itinerary::draw(&mut random, name, lines)).collect();
    thread::scope(|scope| {
        let visits: Vec<_> = plans.into_iter().map(|plan| scope.spawn(move || plan.carry_out(server))).collect();
        let tallies = visits.into_iter().map(|visit| visit.join().expect("a client got what it was owed"));
        tallies.fold(FleetTally::default(), |sum, tally| FleetTally {
            replies: sum.replies + tally.replies,
            busy: sum.busy + tally.busy,
            pushed: sum.pushed + tally.pushed,
            whole: sum.whole + tally.whole,
            refused: sum.refused + tally.refused,
        })
    })
}

impl Itinerary {
    fn draw(random: &mut FleetRandom, name: usize, lines: usize) -> Self {
        let leaving = match random.below(10) {
            0 => Leaving::Reset,
            1 => Leaving::Close,
            2 => Leaving::Quit,
            3 => Leaving::InTheMiddle,
            _ => Leaving::HalfClose,
        };
        let lines = match leaving {
            Leaving::Reset | Leaving::Close => random.below(MAX_LINES_UNREAD),
            _ => lines,
        };
        let mut plan = Self {
            stream: Vec::new(),
            owed: Vec::new(),
            leaving,
            reads_slowly: random.once_in(4),
            random: FleetRandom::new(random.number()),
        };
        for number in 0..lines {
            let (line, reply) = line_and_reply(random, name, number);
            plan.say(random, &line, &reply);
        }
        match leaving {
            Leaving::Quit => plan.say(random, b"quit", b"bye"),
            Leaving::InTheMiddle => plan.stream.extend_from_slice(b"echo half a li"),
            Leaving::HalfClose | Leaving::Reset | Leaving::Close => {}
        }
        plan
    }

    fn say(&mut self, random: &mut FleetRandom, line: &[u8], reply: &[u8]) {
        let ending: &[u8] = if random.once_in(3) { b"\r\n" } else { b"\n" };
        self.stream.extend_from_slice(&[line, ending].concat());
        self.owed.push([reply, ending].concat());
    }

    fn carry_out(mut self, server: SocketAddr) -> FleetTally {
        let socket = TcpStream::connect(server).expect("the server accepts");
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&socket, Some(PATIENCE)).expect("a socket can be set up");
        }
        if matches!(self.leaving, Leaving::Reset | Leaving::Close) {
            return self.leave_early(&socket);
        }
        let mut random = self.random.clone();
        let received = thread::scope(|scope| {
            scope.spawn(|| self.send(&socket));
            receive(&socket, self.reads_slowly, &mut random)
        });
        self.check(&received, true)
    }

    /// Sends in pieces of any size, with pauses. What the server does not take is not sent.
    fn send(&self, mut socket: &TcpStream) {
        let mut random = self.random.clone();
        let mut rest = &self.stream[..];
        while !rest.is_empty() {
            let most = if random.once_in(2) { 10 } else { 2_000 };
            let (piece, others) = rest.split_at(rest.len().min(1 + random.below(most)));
            if socket.write_all(piece).is_err() {
                return;
            }
            rest = others;
            if random.once_in(20) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        // Where the server has closed already, that has no effect. It may not have, since a `quit`
        // can meet with "busy".
        let _ = socket.shutdown(Shutdown::Write);
    }

    /// Sends everything, reads some of the replies, and is gone.
    fn leave_early(&mut self, mut socket: &TcpStream) -> FleetTally {
        // A server that is busy may have refused this client by now.
        let _ = socket.write_all(&self.stream);
        let bytes_owed: usize = self.owed.iter().map(Vec::len).sum();
        let wanted = self.random.below(bytes_owed + 1);
        let mut received = Vec::new();
        while received.len() < wanted {
            let mut buffer = [0; 1000];
            match uninterrupted(|| socket.read(&mut buffer)) {
                Ok(0) => break,
                Ok(bytes) => received.extend_from_slice(&buffer[..bytes]),
                Err(error) => panic!("cannot receive: {error}"),
            }
            // Of somebody who is refused, there is less to read than was owed.
            if received.windows(4).any(|window| window == b"busy") {
                break;
            }
        }
        if self.leaving == Leaving::Reset {
            SockRef::from(socket).set_linger(Some(Duration::ZERO)).expect("a socket can be set up");
        }
        self.check(&received, false)
    }

    /// What was received is what is owed, from the first byte on, and where it is the whole, up to
    /// the last.
    fn check(&self, received: &[u8], is_whole: bool) -> FleetTally {
        if is_refused(received) {
            return FleetTally { refused: 1, ..FleetTally::default() };
        }
        let mut tally = FleetTally::default();
        let mut pushes = Pushes::default();
        let mut rest = received;
        for owed in &self.owed {
            rest = pushes.skip(rest);
            tally.pushed = pushes.count;
            let ending: &[u8] = if owed.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
            let busy = [b"error: busy", ending].concat();
            if let Some(others) = rest.strip_prefix(&owed[..]) {
                rest = others;
            } else if let Some(others) = rest.strip_prefix(&busy[..]) {
                (rest, tally.busy) = (others, tally.busy + 1);
            } else {
                let is_start = owed.starts_with(rest) || busy.starts_with(rest) || Pushes::is_start(rest);
                let is_cut = !is_whole && is_start;
                assert!(is_cut, "owed {:?}, got {:?}", show(owed), show(rest));
                return tally;
            }
            tally.replies += 1;
        }
        rest = pushes.skip(rest);
        tally.pushed = pushes.count;
        assert!(rest.is_empty() || !is_whole && Pushes::is_start(rest), "nothing more was owed, got {:?}", show(rest));
        tally.whole = usize::from(is_whole);
        tally
    }
}

/// The lines that were pushed to one client. They stand between its replies and not in them.
#[derive(Debug, Default)]
struct Pushes {
    count: usize,
    latest: Option<u64>,
}

impl Pushes {
    /// What is left behind those that come next.
    fn skip<'a>(&mut self, mut received: &'a [u8]) -> &'a [u8] {
        while let Some(line) = received.strip_prefix(PUSH.as_bytes())
            && let Some(end) = memchr::memchr(b'\n', line)
        {
            let number = str::from_utf8(line[..end].trim_ascii_end()).ok().and_then(|number| number.parse().ok());
            assert!(number > self.latest, "{:?} comes behind {:?}", show(&line[..end]), self.latest);
            self.latest = number;
            self.count += 1;
            received = &line[end + 1..];
        }
        received
    }

    /// Whether this is the start of one that was cut off.
    fn is_start(rest: &[u8]) -> bool {
        PUSH.as_bytes().starts_with(rest) || rest.starts_with(PUSH.as_bytes())
    }
}

/// A client that came while everybody was busy is told once, with whatever ending, and that is all.
/// It may also have got this far only.
fn is_refused(received: &[u8]) -> bool {
    matches!(received, b"error: busy\n" | b"error: busy\r\n")
}

/// Any line, and the only reply to it.
fn line_and_reply(random: &mut FleetRandom, name: usize, number: usize) -> (Vec<u8>, Vec<u8>) {
    let token = format!("{name}-{number}");
    let (line, reply) = match random.below(200) {
        0 => ("panic".to_owned(), "error: internal error".to_owned()),
        1 => ("panic-locked".to_owned(), "error: internal error".to_owned()),
        2 => (format!("err {token}"), "error: internal error".to_owned()),
        3 => ("nl".to_owned(), "error: internal error".to_owned()),
        4 => (String::new(), "error: internal error".to_owned()),
        5 => return (b"echo \xff".to_vec(), b"error: line is not valid UTF-8".to_vec()),
        6..10 => (format!("echo {}", "x".repeat(MAX_LINE_BYTES)), "error: line longer than 64 bytes".to_owned()),
        10..30 => {
            let bytes = random.below(MAX_REPLY_BYTES);
            (format!("big {bytes}"), "x".repeat(bytes))
        }
        30..32 => (format!("sleep 1 {token}"), token),
        _ => (format!("echo {token}"), token),
    };
    (line.into_bytes(), reply.into_bytes())
}

/// Everything up to the end of the stream, in pieces of any size.
fn receive(mut socket: &TcpStream, reads_slowly: bool, random: &mut FleetRandom) -> Vec<u8> {
    let mut received = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let most = if reads_slowly { 1 + random.below(500) } else { buffer.len() };
        match uninterrupted(|| socket.read(&mut buffer[..most])) {
            Ok(0) => return received,
            Ok(bytes) => received.extend_from_slice(&buffer[..bytes]),
            // Who is refused and goes on sending is reset in the end.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && is_refused(&received) => return received,
            Err(error) => panic!("cannot receive: {error}; the last was {:?}", show(&received)),
        }
        if reads_slowly && random.once_in(10) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn show(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(100)].escape_ascii().to_string()
}
