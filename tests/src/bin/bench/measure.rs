//! Puts a server through a case, and tells what came of it. Every reply is checked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use greeter_client::Eol;
use greeter_client::load::{self, Latency, Lines, Load, Report, Time};
use greeter_tests::process::TestedServer;

use crate::case::{Case, GREEDY, Quantity};
use crate::server::Contestant;
use crate::visits;

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// For how long each figure is measured.
    pub(crate) duration: Duration,
    /// How many connections are idle.
    pub(crate) idle: usize,
}

impl Size {
    /// For how long a server works before it is measured.
    pub(crate) fn warmup(self) -> Duration {
        self.duration / 5
    }
}

pub(crate) type Measured = Vec<(Quantity, f64)>;

/// How many clients ask at a time where each is to be greeted by an expensive responder.
const CONNECTIONS_EXPENSIVE: usize = 64;

/// Measures a server that was started for that.
///
/// # Errors
///
/// What cannot be had, and every reply that is wrong.
pub(crate) fn measure(case: Case, server: Contestant, process: &TestedServer, size: Size) -> Result<Measured> {
    match case {
        Case::Lines { connections, depth } => lines(load(server, process, connections, depth)?, process, size),
        Case::Waiting { .. } | Case::Working { .. } => {
            lines(load(server, process, CONNECTIONS_EXPENSIVE, 1)?, process, size)
        }
        Case::Polite => polite(server, process, size),
        Case::Idle => idle(server, process, size.idle),
        Case::Visits => visits::visit(&request_and_reply(server), process, size),
    }
}

/// How long a reply may take: longer than any server that is not stuck needs for all that is in
/// flight.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many different lines a connection sends at least, so that a reply to another line is a wrong
/// one.
const MIN_LINES: usize = 4;

/// How many at most: a connection keeps them, and what comes back, in memory.
const MAX_LINES: usize = 1024;

fn load(server: Contestant, process: &TestedServer, connections: usize, depth: usize) -> Result<Load> {
    let (lines, reply, eol) = match server {
        Contestant::Redis => (vec!["PING".parse()?], "+PONG", Eol::CrLf),
        _ => {
            let line = |number| format!("guest {{{{#}}}}-{number}").parse();
            let lines = (0..depth.clamp(MIN_LINES, MAX_LINES)).map(line).collect::<Result<Vec<_>, _>>()?;
            (lines, "Hello, {{line}}", Eol::Lf)
        }
    };
    let mut lines = Lines::new(lines);
    lines.expect = vec![reply.parse()?];
    let mut load = Load::lines(process.address().into(), lines);
    load.eol = eol;
    load.connections = connections;
    load.pipeline = depth;
    load.timeout = Some(PATIENCE);
    Ok(load)
}

/// What each connection needs at least, so that all have their turn several times while they are
/// measured.
const DURATION_OF_CONNECTION: Duration = Duration::from_micros(200);

fn lines(mut load: Load, process: &TestedServer, size: Size) -> Result<Measured> {
    let turns = DURATION_OF_CONNECTION * u32::try_from(load.connections).context("there are too many connections")?;
    let size = Size { duration: size.duration.max(turns), ..size };
    load.warmup = size.warmup();
    load.duration = size.duration;
    let mut running = load::start(load)?;
    running.wait(size.warmup());
    let start = (Instant::now(), process.cpu_time());
    running.wait(size.duration);
    let (elapsed, used) = (start.0.elapsed(), process.cpu_time().saturating_sub(start.1));
    let report = running.finish()?;
    check(&report)?;
    let per_second = report.per_second();
    ensure!(per_second > 0.0, "no line was answered within {:?}", size.duration);
    // Both are rates, so that it does not matter by how little the two stretches of time differ.
    let processor = used.as_secs_f64() / elapsed.as_secs_f64() * 1e9 / per_second;
    let mut measured = vec![(Quantity::PerSecond, per_second), (Quantity::Processor, processor)];
    measured.extend(report.busy().map(|busy| (Quantity::LoadBusy, busy)));
    measured.extend(percentiles(report.latency()));
    Ok(measured)
}

fn check(report: &Report) -> Result<()> {
    ensure!(report.errors() == 0, "not every reply was right:\n{report}");
    Ok(())
}

/// None of what was not sent and answered within the time.
fn percentiles(latency: Latency<'_>) -> impl Iterator<Item = (Quantity, f64)> {
    let quantiles = [(Quantity::P50, 0.5), (Quantity::P99, 0.99), (Quantity::P999, 0.999)];
    quantiles.into_iter().filter_map(move |(quantity, quantile)| match latency.quantile(quantile)? {
        Time::After(time) => Some((quantity, time.as_nanos() as f64)),
        Time::Never => None,
    })
}

/// How many lines each of the greedy ones has under way.
const GREEDY_DEPTH: usize = 10_000;

/// How long one client waits that sends a line at a time, while others send as much as the server
/// takes.
fn polite(server: Contestant, process: &TestedServer, size: Size) -> Result<Measured> {
    let mut greedy = load(server, process, GREEDY, GREEDY_DEPTH)?;
    greedy.warmup = Duration::ZERO;
    greedy.duration = size.duration * 2 + PATIENCE;
    let mut greedy = load::start(greedy)?;
    greedy.wait(size.warmup());
    let mut polite = load(server, process, 1, 1)?;
    polite.warmup = Duration::ZERO;
    polite.duration = size.duration;
    let polite = load::start(polite)?.finish()?;
    greedy.stop();
    let greedy = greedy.finish()?;
    check(&polite)?;
    check(&greedy)?;
    ensure!(greedy.sent() > 0, "the greedy clients have sent nothing");
    Ok(percentiles(polite.latency()).collect())
}

/// How many connections there are before those that are counted: what the first ones bring with
/// them is not theirs alone.
const FIRST: usize = 100;

/// What the memory of the server grows by for each connection that was greeted once and then says
/// nothing.
fn idle(server: Contestant, process: &TestedServer, connections: usize) -> Result<Measured> {
    let exchange = request_and_reply(server);
    let mut clients = Vec::with_capacity(FIRST + connections);
    let mut greet = |count: usize| -> Result<()> {
        for _ in 0..count {
            clients.push(greeted(process.address(), &exchange)?);
        }
        Ok(())
    };
    greet(FIRST)?;
    let before = process.resident_bytes();
    greet(connections)?;
    let grown = process.resident_bytes().saturating_sub(before);
    Ok(vec![(Quantity::Memory, grown as f64 / connections as f64)])
}

/// What a client says, and what it must hear.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) request: &'static [u8],
    pub(crate) reply: &'static [u8],
}

const fn request_and_reply(server: Contestant) -> Exchange {
    match server {
        Contestant::Redis => Exchange { request: b"PING\r\n", reply: b"+PONG\r\n" },
        _ => Exchange { request: b"Bob\n", reply: b"Hello, Bob\n" },
    }
}

fn greeted(address: SocketAddr, exchange: &Exchange) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(address).context("cannot connect")?;
    socket.set_read_timeout(Some(PATIENCE)).context("cannot have a timeout")?;
    socket.write_all(exchange.request).context("cannot send")?;
    let mut reply = vec![0; exchange.reply.len()];
    socket.read_exact(&mut reply).context("no reply")?;
    ensure!(reply == exchange.reply, "the reply was {:?}", String::from_utf8_lossy(&reply));
    Ok(socket)
}
