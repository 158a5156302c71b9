//! A policy for Postfix: which clients, senders and recipients it accepts mail from and for, in the
//! protocol of its SMTPD_POLICY_README.
//!
//! It shows requests of many lines, each ended by an empty one, and a server that ends a connection
//! without a word where it is in trouble, as its protocol wants it.
//!
//! ```sh
//! # An address is optional: -- 127.0.0.1:7000
//! cargo run -p greeter-server --example policy
//! # In main.cf: smtpd_recipient_restrictions = … check_policy_service inet:127.0.0.1:8080
//! printf 'request=smtpd_access_policy\nhelo_name=localhost\n\n' | nc -N 127.0.0.1 8080
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use std::time::Duration;

use greeter_server::{BoxError, Line, Peer, Rejection, Reply, Responder, Server};

/// What a line of a request leads to. The first of these that applies counts, in whatever order the
/// lines come.
const RULES: [(&str, &str); 3] = [
    ("recipient=postmaster@example.org", "OK"),
    ("helo_name=localhost", "REJECT that is not your name"),
    ("sender=eve@example.org", "DEFER not today"),
];

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = Server::builder()
        .responder(Policy)
        // Postfix closes after five minutes, and it should be the first to do so.
        .idle_timeout(Duration::from_secs(600))
        .bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

struct Policy;

/// What has come of a request. The lines themselves need not be kept.
#[derive(Default)]
struct Request {
    is_about_mail: bool,
    rule: Option<usize>,
}

impl Responder for Policy {
    type Session = Request;

    fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<Request, BoxError> {
        Ok(Request::default())
    }

    fn respond(&self, request: &mut Request, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let line = line.as_bytes();
        if !line.is_empty() {
            let rule = RULES.iter().position(|(words, _)| line.eq_ignore_ascii_case(words.as_bytes()));
            request.rule = request.rule.into_iter().chain(rule).min();
            request.is_about_mail |= line == b"request=smtpd_access_policy";
            return Ok(());
        }
        let Request { is_about_mail, rule } = std::mem::take(request);
        if !is_about_mail {
            return Err(Rejection::custom("unknown request").into());
        }
        let action = rule.map_or("DUNNO", |rule| RULES[rule].1);
        reply.line(format_args!("action={action}"));
        reply.line("");
        Ok(())
    }

    /// A request is not answered if a line of it is missing. Postfix connects again, or tells its
    /// own client to come back later.
    fn reject(&self, _request: Option<&mut Request>, _rejection: Rejection, reply: &mut Reply<'_>) {
        reply.close();
    }
}
