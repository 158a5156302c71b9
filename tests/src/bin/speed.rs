//! Measures what a line costs: greeter in both placements beside the bare loop of `floor`, in one run, in turns.
//!
//! Prints the tables of `docs/speed.md`. Only ratios within one run mean anything: run nothing else meanwhile.

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use argh::FromArgs;
use greeter_tests::process::{ServerProcess, build, greeter_server};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// Measures greeter beside the least that a server can do, and prints a table in Markdown.
#[derive(FromArgs)]
#[argh(help_triggers("-h", "--help"))]
struct Options {
    /// rounds, of which the medians are printed (default: 5)
    #[argh(option, default = "5")]
    rounds: usize,

    /// seconds for each figure in each round (default: 2)
    #[argh(option, default = "2")]
    seconds: u64,

    /// connections that are left idle to see what one costs (default: 9000)
    #[argh(option, default = "9000")]
    idle: usize,
}

/// The servers, and how to start them.
const SERVERS: [(&str, &[&str]); 4] = [
    ("bare loop", &[]),
    ("in place, 1 thread", &["--workers", "0", "--connection-threads", "1"]),
    ("in place", &["--workers", "0"]),
    ("pool of 2", &["--workers", "2"]),
];

/// Lines that a client sends at once before it waits for their replies.
const DEPTHS: [usize; 3] = [1, 16, 256];
const CONNECTIONS: usize = 64;

fn main() -> ExitCode {
    match greeter_args::parse::<Options>("speed", env!("CARGO_PKG_VERSION")) {
        Ok(options) => match measure(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let _ = writeln!(io::stderr(), "error: {error:#}");
                ExitCode::FAILURE
            }
        },
        Err(exit) => exit.print(),
    }
}

fn measure(options: &Options) -> Result<()> {
    let floor = build("greeter-tests", "floor");
    let start = |server: usize| {
        let (name, arguments) = SERVERS[server];
        let mut command = Command::new(if name == "bare loop" { floor.as_path() } else { greeter_server() });
        if name != "bare loop" {
            command
                .args(["--listen", "127.0.0.1:0", "--log", "error", "--connections-per-address-max", "off"])
                .args(arguments);
        }
        ServerProcess::start_command(command)
    };
    let mut samples = vec![vec![Vec::new(); DEPTHS.len()]; SERVERS.len()];
    let mut idle = vec![Vec::new(); SERVERS.len()];
    for round in 1..=options.rounds {
        for server in 0..SERVERS.len() {
            for (column, &depth) in DEPTHS.iter().enumerate() {
                let _ = writeln!(io::stderr(), "round {round}: {}, {CONNECTIONS} x {depth}", SERVERS[server].0);
                samples[server][column].push(load(&start(server), depth, Duration::from_secs(options.seconds))?);
            }
            idle[server].push(bytes_per_idle_connection(&start(server), options.idle)?);
        }
    }
    print(&samples, &idle)
}

/// What a load has cost.
#[derive(Clone, Copy, Debug)]
struct Sample {
    lines_per_second: f64,
    /// Processor time of the server, in nanoseconds.
    cpu_per_line: f64,
}

/// One connection of the load: sends its lines in one piece, and sends them again when it has their replies.
struct Client {
    socket: TcpStream,
    request: Vec<u8>,
    reply: Vec<u8>,
    received: usize,
}

/// Loads the server from one thread, in a closed loop, and checks every reply.
fn load(server: &ServerProcess, depth: usize, duration: Duration) -> Result<Sample> {
    let mut poll = Poll::new()?;
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for number in 0..CONNECTIONS {
        let mut socket = TcpStream::from_std(connect(server.address())?);
        poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
        let names = (0..depth).map(|line| format!("guest {number}-{line}\n"));
        let (request, reply) =
            names.map(|name| (name.clone(), format!("Hello, {name}"))).unzip::<_, _, String, String>();
        clients.push(Client { socket, request: request.into_bytes(), reply: reply.into_bytes(), received: 0 });
    }
    let mut events = Events::with_capacity(CONNECTIONS);
    let mut buffer = vec![0; 64 * 1024];
    let mut exchanges = 0_u64;
    let mut start = (Instant::now(), server.cpu_time());
    let mut is_warm = false;
    for client in &mut clients {
        client.send()?;
    }
    loop {
        let elapsed = start.0.elapsed();
        if !is_warm && elapsed > duration / 10 {
            (is_warm, exchanges, start) = (true, 0, (Instant::now(), server.cpu_time()));
        } else if elapsed > duration {
            let lines = (exchanges * depth as u64) as f64;
            let cpu = server.cpu_time().checked_sub(start.1).context("time runs forwards")?;
            return Ok(Sample {
                lines_per_second: lines / elapsed.as_secs_f64(),
                cpu_per_line: cpu.as_secs_f64() * 1e9 / lines,
            });
        }
        poll.poll(&mut events, Some(Duration::from_secs(5)))?;
        ensure!(!events.is_empty(), "the server has not answered for 5 s");
        for event in &events {
            exchanges += u64::from(clients[event.token().0].go_on(&mut buffer)?);
        }
    }
}

impl Client {
    fn send(&mut self) -> Result<()> {
        let sent = self.socket.write(&self.request).context("cannot send")?;
        ensure!(sent == self.request.len(), "a request does not fit into the socket");
        Ok(())
    }

    /// Reads what there is, and tells whether the last reply was there and the next request is out.
    fn go_on(&mut self, buffer: &mut [u8]) -> Result<bool> {
        loop {
            let bytes = match self.socket.read(buffer) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("cannot receive"),
            };
            let expected = self.reply.get(self.received..self.received + bytes);
            ensure!(bytes > 0 && expected == Some(&buffer[..bytes]), "a reply is wrong");
            self.received += bytes;
            if self.received == self.reply.len() {
                self.received = 0;
                self.send()?;
                return Ok(true);
            }
        }
    }
}

/// What the memory of the server grows by for each connection that was greeted once and then says nothing.
fn bytes_per_idle_connection(server: &ServerProcess, connections: usize) -> Result<f64> {
    raise_descriptor_limit()?;
    let mut clients = Vec::with_capacity(connections);
    let mut connect_and_greet = || -> Result<()> {
        let mut socket = connect(server.address())?;
        socket.set_nonblocking(false)?;
        socket.write_all(b"Bob\n")?;
        let mut reply = [0; 11];
        socket.read_exact(&mut reply)?;
        clients.push(socket);
        Ok(())
    };
    // What the first ones bring with them is not theirs alone.
    for _ in 0..100 {
        connect_and_greet()?;
    }
    let before = server.resident_bytes();
    for _ in 0..connections {
        connect_and_greet()?;
    }
    Ok(server.resident_bytes().saturating_sub(before) as f64 / connections as f64)
}

fn connect(address: SocketAddr) -> Result<std::net::TcpStream> {
    let socket = std::net::TcpStream::connect(address).context("cannot connect")?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn raise_descriptor_limit() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

fn print(samples: &[Vec<Vec<Sample>>], idle: &[Vec<f64>]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let header = DEPTHS.map(|depth| format!("{CONNECTIONS} × {depth}")).join(" | ");
    writeln!(stdout, "| lines/s; server CPU per line (against the bare loop) | {header} | idle connection |")?;
    writeln!(stdout, "|---|{}---|", "---|".repeat(DEPTHS.len()))?;
    let cpu = |samples: &[Sample]| median(samples.iter().map(|sample| sample.cpu_per_line));
    for (server, (name, _)) in SERVERS.iter().enumerate() {
        write!(stdout, "| {name} |")?;
        for (column, samples_of_depth) in samples[server].iter().enumerate() {
            let rate = median(samples_of_depth.iter().map(|sample| sample.lines_per_second));
            let (cost, floor) = (cpu(samples_of_depth), cpu(&samples[0][column]));
            write!(stdout, " {:.0} k; {cost:.0} ns ({:.2}) |", rate / 1e3, cost / floor)?;
        }
        writeln!(stdout, " {:.0} B |", median(idle[server].iter().copied()))?;
    }
    Ok(())
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
