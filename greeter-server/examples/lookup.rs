//! A look-up service in front of a slow line server: each line is a key, and the answer is what
//! that upstream says to it. A hundred clients may wait at a time, and keep no worker waiting.
//!
//! It shows answers that come later, from a thread that sends the questions of all clients down one
//! connection without waiting for the answers in between; a bound on how many wait; and a session
//! that an answer changes. The upstream is any server that answers each line with one line, in
//! order.
//!
//! ```sh
//! # Slower than most: a second for each line.
//! cargo run -p greeter-server --example server2 -- 127.0.0.1:7000
//! # The addresses are optional.
//! cargo run -p greeter-server --example lookup -- 127.0.0.1:8080 127.0.0.1:7000
//! # Type: Bob
//! nc 127.0.0.1 8080
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use greeter_server::{BoxError, Later, Line, Peer, Rejection, Reply, Responder, Server};

/// How many questions the upstream has at a time. Those behind them can still be spared it.
const MAX_ASKED: usize = 8;
/// How many more wait for their turn.
const MAX_QUEUED: usize = 100;
/// After so many keys that do not exist, a client is guessing.
const MAX_MISSES: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let upstream = std::env::args().nth(2).unwrap_or("127.0.0.1:7000".into());
    // Without a bound of its own: a client has one question at a time, and clients are limited.
    let (events, received) = mpsc::channel();
    let upstream = Upstream {
        address: upstream.parse()?,
        connection: None,
        asked: VecDeque::new(),
        queued: VecDeque::new(),
        events: events.clone(),
    };
    thread::spawn(move || upstream.run(received));
    // No workers: the responder never waits.
    let server = Server::builder().responder(LookUp(events)).in_place().reply_timeout(PATIENCE).bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

struct LookUp(Sender<Event>);

impl Responder for LookUp {
    /// How many keys the client has asked for that do not exist.
    type Session = u32;

    fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<u32, BoxError> {
        Ok(0)
    }

    fn respond(&self, _misses: &mut u32, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let key = line.to_str()?.to_owned();
        Ok(self.0.send(Event::Question(Question { key, later: reply.later() }))?)
    }
}

struct Question {
    key: String,
    later: Later,
}

/// What the thread that talks to the upstream waits for.
enum Event {
    Question(Question),
    Answer(Vec<u8>),
    /// The connection to the upstream has ended; no answer of it comes behind this.
    Lost,
}

struct Upstream {
    address: SocketAddr,
    connection: Option<TcpStream>,
    /// Who waits for the lines that the upstream owes, in their order.
    asked: VecDeque<Later>,
    queued: VecDeque<Question>,
    events: Sender<Event>,
}

impl Upstream {
    fn run(mut self, received: Receiver<Event>) {
        for event in received {
            match event {
                Event::Question(question) if self.queued.len() < MAX_QUEUED => self.queued.push_back(question),
                Event::Question(question) => question.later.reject(Rejection::Busy),
                Event::Answer(answer) => match self.asked.pop_front() {
                    Some(later) => give(later, answer),
                    // It says more than it was asked: nobody knows what answers what any more.
                    None => self.hang_up(),
                },
                Event::Lost => {
                    self.connection = None;
                    let lost = Rejection::custom("the upstream has broken off");
                    self.asked.drain(..).for_each(|later| later.reject(lost.clone()));
                }
            }
            self.ask();
        }
    }

    /// Asks as many of the questions that are queued as the upstream may have.
    fn ask(&mut self) {
        // All it is at work for have given up, perhaps because it hangs: on a new connection, the
        // next ones need not wait for what is wanted no more.
        if !self.queued.is_empty() && !self.asked.is_empty() && !self.asked.iter().any(Later::is_wanted) {
            return self.hang_up();
        }
        while self.asked.len() < MAX_ASKED
            && let Some(Question { key, later }) = self.queued.pop_front()
        {
            if !later.is_wanted() {
                continue;
            }
            let connection = match self.connection.take().map_or_else(|| self.connect(), Ok) {
                Ok(connection) => self.connection.insert(connection),
                Err(error) => {
                    later.reject(Rejection::custom(format!("no upstream: {error}")));
                    continue;
                }
            };
            if connection.write_all(format!("{key}\n").as_bytes()).is_err() {
                self.queued.push_front(Question { key, later });
                return self.hang_up();
            }
            self.asked.push_back(later);
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let connection = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        connection.set_write_timeout(Some(PATIENCE))?;
        connection.set_nodelay(true)?;
        let (reader, events) = (BufReader::new(connection.try_clone()?), self.events.clone());
        thread::spawn(move || read(reader, &events));
        Ok(connection)
    }

    /// Ends the connection. What was read already comes first, and then `Event::Lost`, behind which
    /// the queue goes on.
    fn hang_up(&self) {
        // It fails if the connection is already broken.
        let _ = self.connection.as_ref().map(|connection| connection.shutdown(Shutdown::Both));
    }
}

/// Answers with the session, which counts the keys that do not exist.
fn give(later: Later, answer: Vec<u8>) {
    later.then(move |misses: &mut u32, reply| {
        *misses += u32::from(answer.starts_with(b"error: "));
        reply.line(answer);
        if *misses == MAX_MISSES {
            reply.close();
        }
        Ok(())
    });
}

/// Reads what the upstream says until it ends. Half a line at the end is no answer.
fn read(mut upstream: BufReader<TcpStream>, events: &Sender<Event>) {
    let mut line = Vec::new();
    while upstream.read_until(b'\n', &mut line).is_ok()
        && let Some(answer) = line.strip_suffix(b"\n")
    {
        // It fails only if nobody asks any more.
        let _ = events.send(Event::Answer(answer.strip_suffix(b"\r").unwrap_or(answer).to_vec()));
        line.clear();
    }
    let _ = events.send(Event::Lost);
}
