//! An agent for HAProxy: tells it, in one line, how much work to send here.
//!
//! It sends first and then closes; it never answers a line. It sends the first line of a file, such
//! as `up 75%`, `drain` or `maint` (HAProxy's manual lists them at "agent-check"), so `echo drain >
//! agent.txt` takes a server out of service, and `rm agent.txt` puts it back.
//!
//! ```sh
//! # An address and a file are optional: -- 127.0.0.1:7000 agent.txt
//! cargo run -p greeter-server --example agent_check
//! # In haproxy.cfg: server web … weight 100 agent-check agent-port 8080
//! nc 127.0.0.1 8080
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

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
        // "up" alone would not be enough for a server that is draining.
        reply.line(text.lines().next().unwrap_or("ready up 100%"));
        reply.close();
        Ok(())
    }

    /// What HAProxy sends (its `agent-send`) comes after the reply that closes.
    fn respond(&self, _session: &mut (), _line: Line<'_>, _reply: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }
}
