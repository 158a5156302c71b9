//! Turns the state of a server into the one line of HAProxy's agent-check.

use greeter_core::{BoxError, Line, Peer, Rejection, Reply, Responder};

use crate::monitor::Monitor;

/// The responder of [`agent`](super::agent).
#[derive(Debug)]
pub struct Agent {
    monitor: Monitor,
}

impl Agent {
    pub(super) const fn new(monitor: Monitor) -> Self {
        Self { monitor }
    }

    /// Returns how much of the server is free, in hundredths. Of a server that is full it is still
    /// one: none at all would have HAProxy stop asking it for anything, as `drain` does.
    fn weight(&self) -> u64 {
        let most = self.monitor.config().limits.max_connections.max(1) as u64;
        let served = self.monitor.control.stats().served.min(most);
        ((most - served) * 100 / most).max(1)
    }
}

impl Responder for Agent {
    type Session = ();

    /// Speaks first. `up` alone would not lift a `drain` that was said before: `ready` does.
    fn connect(&self, _peer: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        if self.monitor.control.is_ready() {
            reply.line(format_args!("ready up {}%", self.weight()));
        } else {
            reply.line("drain");
        }
        reply.close();
        Ok(())
    }

    /// A word that HAProxy does not know would tell it nothing.
    fn reject(&self, _session: Option<&mut ()>, _rejection: Rejection, _reply: &mut Reply<'_>) {}

    /// What HAProxy sends (its `agent-send`) comes behind the reply that closes.
    fn respond(&self, _session: &mut (), _line: Line<'_>, _reply: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }
}
