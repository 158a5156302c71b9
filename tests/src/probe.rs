//! Somebody who behaves, by whom it shows what others who do not cost them.

use std::net::ToSocketAddrs;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::size::sized;

/// How many lines one probe sends, one at a time.
const LINES: usize = 300;

/// How long the replies to a client that sends one line at a time took, all but the slowest
/// hundredth.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct ProbeLatency(pub Duration);

/// Sends lines to a greeting server, one at a time, and checks every reply.
pub fn probe(address: impl ToSocketAddrs) -> ProbeLatency {
    let mut client = Client::connect(address);
    latency_of(|line| client.ask(line))
}

/// The same of any client that asks with a line and returns the reply with its ending.
pub fn latency_of(mut ask: impl FnMut(&str) -> String) -> ProbeLatency {
    let mut took: Vec<_> = (0..LINES)
        .map(|number| {
            let start = Instant::now();
            assert_eq!(ask(&format!("probe {number}")), format!("Hello, probe {number}\n"));
            start.elapsed()
        })
        .collect();
    took.sort_unstable();
    ProbeLatency(took[LINES * 99 / 100])
}

impl ProbeLatency {
    /// Checks that it is like that of the same server with nothing else to do.
    ///
    /// # Panics
    ///
    /// When it is not. Machines that do something else meanwhile are given their due in the
    /// everyday size.
    #[track_caller]
    pub fn assert_like(self, idle: Self) {
        let (least, factor) = sized((Duration::from_secs(2), 10), (Duration::from_millis(5), 3));
        assert!(self.0 <= least.max(idle.0 * factor), "{:?} in place of {:?}", self.0, idle.0);
    }
}
