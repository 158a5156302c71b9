//! Clients that come, are greeted once, and go: what a connection costs from its beginning to its
//! end.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use greeter_tests::process::TestedServer;
use socket2::{Domain, Socket, Type};

use crate::case::Quantity;
use crate::measure::{Exchange, Measured, Size};

/// How many visitors there are at a time: fewer than any listener's queue holds.
const VISITORS: usize = 64;

/// How long a visitor waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// The ports that visitors come from, on one address after the other. Left to itself, the system
/// looks for a port that nobody has had for a while, and with tens of thousands of visits a second
/// that soon takes a third of the load's time. Where a visitor came from is taken for a minute, so
/// these are none of the ports among which `greeter-client run` looks for a free one.
const PORTS: std::ops::Range<u16> = 33_000..60_000;

/// The first of the addresses. All of 127.0.0.0/8 is this host (RFC 6890).
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);

/// The server's door, as seen from outside.
struct Door<'a> {
    address: SocketAddr,
    exchange: &'a Exchange,
    /// Where visitors come from.
    origins: Box<dyn Iterator<Item = SocketAddr>>,
}

impl<'a> Door<'a> {
    fn new(address: SocketAddr, exchange: &'a Exchange) -> Self {
        let hosts = FIRST_ADDRESS.to_bits()..;
        let origins = hosts.flat_map(|host| PORTS.map(move |port| (Ipv4Addr::from_bits(host), port).into()));
        Self { address, exchange, origins: Box::new(origins) }
    }

    /// Comes and says what there is to be said.
    fn enter(&mut self) -> Result<Socket> {
        let origin = self.origins.next().context("there are no more addresses")?;
        let mut visitor = Socket::new(Domain::IPV4, Type::STREAM, None).context("cannot have a socket")?;
        // A visitor to another server may have been here a moment ago.
        visitor.set_reuse_address(true).context("cannot prepare a socket")?;
        visitor.set_read_timeout(Some(PATIENCE)).context("cannot prepare a socket")?;
        visitor.bind(&origin.into()).with_context(|| format!("cannot come from {origin}"))?;
        // On loopback one is connected at once, or the listener's queue is full.
        visitor.connect(&self.address.into()).context("cannot connect")?;
        visitor.write_all(self.exchange.request).context("cannot send")?;
        Ok(visitor)
    }

    /// Hears the reply, and leaves.
    fn hear(&self, mut visitor: Socket) -> Result<()> {
        let mut space = [0; 64];
        let space = &mut space[..self.exchange.reply.len()];
        visitor.read_exact(space).with_context(|| format!("a visitor was not greeted within {PATIENCE:?}"))?;
        ensure!(space == self.exchange.reply, "a visitor was not greeted as it should be");
        Ok(())
    }
}

/// Has visitors come and go from one thread, the one who has waited longest first.
pub(crate) fn visit(exchange: &Exchange, process: &TestedServer, size: Size) -> Result<Measured> {
    let mut door = Door::new(process.address(), exchange);
    let mut visitors = (0..VISITORS).map(|_| door.enter()).collect::<Result<VecDeque<_>>>()?;
    let start = Instant::now();
    // From the end of the warm-up on.
    let mut measured: Option<(Instant, Duration)> = None;
    let mut visits = 0_u64;
    loop {
        door.hear(visitors.pop_front().expect("for each who leaves another comes"))?;
        visitors.push_back(door.enter()?);
        visits += 1;
        match measured {
            None if start.elapsed() >= size.warmup() => {
                measured = Some((Instant::now(), process.cpu_time()));
                visits = 0;
            }
            Some((since, used)) if since.elapsed() >= size.duration => {
                let (elapsed, used) = (since.elapsed(), process.cpu_time().saturating_sub(used));
                let processor = used.as_nanos() as f64 / visits as f64;
                let per_second = visits as f64 / elapsed.as_secs_f64();
                return Ok(vec![(Quantity::PerSecond, per_second), (Quantity::Processor, processor)]);
            }
            _ => {}
        }
    }
}
