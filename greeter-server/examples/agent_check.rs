//! An agent for HAProxy: tells it, in one line, how much work to send here.
//!
//! It speaks first and then closes; no line is ever answered. What it says is the first line of a file, such as `up 75%`,
//! `drain` or `maint` (HAProxy's manual has them all at "agent-check"), so `echo drain > agent.txt` takes a server out of
//! service, and `rm agent.txt` puts it back.
//!
//! ```sh
//! cargo run -p greeter-server --example agent_check   # or with an address and a file behind: -- 127.0.0.1:7000 agent.txt
//! nc 127.0.0.1 8080                                   # haproxy.cfg: server web … agent-check agent-port 8080
//! ```

#![expect(clippy::print_stdout, reason = "whoever starts it wants to know where it listens")]

use std::fs;

use greeter_server::{BoxError, Line, Peer, Reply, Responder, Server};

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let file = std::env::args().nth(2).unwrap_or("agent.txt".into());
    let server = Server::builder().responder(Agent { file }).bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

struct Agent {
    file: String,
}

impl Responder for Agent {
    type Session = ();

    fn connect(&self, _peer: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        // To a server that drains, "up" alone would not be enough.
        reply.line(text.lines().next().unwrap_or("ready up 100%"));
        reply.close();
        Ok(())
    }

    /// What HAProxy sends (its `agent-send`) comes too late for an answer.
    fn respond(&self, _session: &mut (), _line: Line<'_>, _reply: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }
}
