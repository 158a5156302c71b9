//! A finger daemon (RFC 1288): one line in, many lines out, and the connection closes.
//!
//! ```sh
//! # An address is optional; port 79 needs privileges: -- 127.0.0.1:79
//! cargo run -p greeter-server --example finger
//! # It speaks the same protocol on any port. With port 79: finger -l ann@127.0.0.1
//! whois -h 127.0.0.1 -p 8080 ann
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use greeter_server::{BoxError, Line, LineEnding, Peer, Rejection, Reply, Responder, Server};

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = Server::builder().responder(Finger).bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

struct User {
    login: &'static str,
    name: &'static str,
    plan: &'static str,
}

const USERS: [User; 2] = [
    User { login: "ann", name: "Ann Archer", plan: "Monday: write it.\nTuesday: prove it." },
    User { login: "bob", name: "Bob Baker", plan: "Bread." },
];

struct Finger;

impl Responder for Finger {
    type Session = ();

    fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, _session: &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.end_lines_with(LineEnding::CrLf);
        reply.close();
        let query = String::from_utf8_lossy(line.as_bytes());
        let (login, is_long) = match query.strip_prefix("/W") {
            Some(login) => (login.trim(), true),
            None => (query.trim(), false),
        };
        // The RFC's own words (3.2.1): a client that asks elsewhere through us would hide behind
        // our address.
        if login.contains('@') {
            reply.line("Finger forwarding service denied");
            return Ok(());
        }
        let mut found = USERS.iter().filter(|user| login.is_empty() || user.login == login).peekable();
        if found.peek().is_none() {
            reply.line("No such user");
        }
        for User { login, name, plan } in found {
            reply.line(format_args!("{login:8} {name}"));
            if is_long {
                plan.lines().for_each(|line| reply.line(line));
            }
        }
        Ok(())
    }

    fn reject(&self, _session: Option<&mut Self::Session>, rejection: Rejection, reply: &mut Reply<'_>) {
        reply.end_lines_with(LineEnding::CrLf);
        reply.line(format_args!("error: {rejection}"));
        reply.close();
    }
}
