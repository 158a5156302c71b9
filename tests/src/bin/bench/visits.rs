//! Clients that come, are greeted once, and go: what a connection costs from its beginning to its end.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use greeter_tests::process::ServerProcess;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::case::Quantity;
use crate::measure::{Exchange, Measured, Size};

/// How many visitors there are at a time: fewer than any listener's queue holds.
const VISITORS: usize = 64;

/// How long a visitor waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// One who is there.
struct Visitor {
    socket: TcpStream,
    /// How much of the reply has come.
    received: usize,
}

/// The server's door, as seen from outside.
struct Door<'a> {
    address: SocketAddr,
    exchange: &'a Exchange,
    poll: Poll,
}

impl Door<'_> {
    /// Comes and says what there is to be said.
    fn enter(&self, seat: usize) -> Result<Visitor> {
        // On loopback one is connected at once, or the listener's queue is full.
        let socket = std::net::TcpStream::connect(self.address).context("cannot connect")?;
        socket.set_nonblocking(true).context("cannot prepare a socket")?;
        let mut socket = TcpStream::from_std(socket);
        let sent = socket.write(self.exchange.request).context("cannot send")?;
        ensure!(sent == self.exchange.request.len(), "a line does not fit into a socket");
        self.poll.registry().register(&mut socket, Token(seat), Interest::READABLE).context("cannot wait")?;
        Ok(Visitor { socket, received: 0 })
    }

    /// Reads what has come, and tells whether that is the whole reply.
    fn has_heard(&self, visitor: &mut Visitor) -> Result<bool> {
        let mut space = [0; 64];
        let count = match visitor.socket.read(&mut space) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error).context("cannot receive"),
        };
        let expected = self.exchange.reply.get(visitor.received..visitor.received + count);
        ensure!(count > 0 && expected == Some(&space[..count]), "a visitor was not greeted as it should be");
        visitor.received += count;
        Ok(visitor.received == self.exchange.reply.len())
    }
}

/// Has visitors come and go from one thread.
pub(crate) fn visit(exchange: &Exchange, process: &ServerProcess, size: Size) -> Result<Measured> {
    let mut door = Door { address: process.address(), exchange, poll: Poll::new().context("cannot wait")? };
    let mut visitors = (0..VISITORS).map(|seat| door.enter(seat)).collect::<Result<Vec<_>>>()?;
    let mut events = Events::with_capacity(VISITORS);
    let start = Instant::now();
    // From the end of the warm-up on.
    let mut measured: Option<(Instant, Duration)> = None;
    let mut visits = 0_u64;
    loop {
        match measured {
            None if start.elapsed() >= size.warmup() => {
                measured = Some((Instant::now(), process.cpu_time()));
                visits = 0;
            }
            Some((since, used)) if since.elapsed() >= size.duration => {
                let (elapsed, used) = (since.elapsed(), process.cpu_time().saturating_sub(used));
                ensure!(visits > 0, "nobody was greeted within {:?}", size.duration);
                let processor = used.as_nanos() as f64 / visits as f64;
                let per_second = visits as f64 / elapsed.as_secs_f64();
                return Ok(vec![(Quantity::PerSecond, per_second), (Quantity::Processor, processor)]);
            }
            _ => {}
        }
        door.poll.poll(&mut events, Some(PATIENCE)).context("cannot wait")?;
        ensure!(!events.is_empty(), "nobody was greeted for {PATIENCE:?}");
        for event in &events {
            let seat = event.token().0;
            if door.has_heard(&mut visitors[seat])? {
                visits += 1;
                // The one before leaves.
                visitors[seat] = door.enter(seat)?;
            }
        }
    }
}
