//! A lookup table for Postfix, in the protocol of tcp_table(5).
//!
//! It shows a responder with state that all clients share, and rejections in its protocol's own
//! form.
//!
//! ```sh
//! # An address is optional: -- 127.0.0.1:7000
//! cargo run -p greeter-server --example tcp_table
//! # In main.cf: virtual_alias_maps = tcp:127.0.0.1:8080
//! postmap -q postmaster tcp:127.0.0.1:8080
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use std::collections::HashMap;
use std::fmt::Write;

use greeter_server::{BoxError, Line, Peer, Rejection, Reply, Responder, Server};

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let aliases = HashMap::from([("postmaster", "root"), ("all hands", "ann, bob"), ("100%", "sales")]);
    let server = Server::builder().responder(Table(aliases)).bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

struct Table(HashMap<&'static str, &'static str>);

impl Responder for Table {
    type Session = ();

    fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, _session: &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let (code, text) = match line.to_str().unwrap_or_default().split_once(' ') {
            Some(("get", key)) => match decode(key) {
                Some(key) => self.0.get(key.as_str()).map_or((500, "no such key"), |value| (200, value)),
                None => (400, "malformed key"),
            },
            Some(("put", _)) => (500, "this table is read only"),
            _ => (400, "unknown request"),
        };
        reply.line(format_args!("{code} {}", encode(text)));
        Ok(())
    }

    /// Postfix understands codes. After 400 it tries again later.
    fn reject(&self, _session: Option<&mut Self::Session>, rejection: Rejection, reply: &mut Reply<'_>) {
        reply.line(format_args!("400 {}", encode(&rejection.to_string())));
    }
}

/// Decodes `all%20hands` to `all hands`. Returns none if a `%` is not followed by two digits, or if
/// the result is not text.
fn decode(parameter: &str) -> Option<String> {
    let mut bytes = parameter.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let hex = |byte| char::from(byte).to_digit(16);
        decoded.push(if byte == b'%' { (hex(bytes.next()?)? * 16 + hex(bytes.next()?)?) as u8 } else { byte });
    }
    String::from_utf8(decoded).ok()
}

/// Encodes `all hands` as `all%20hands`: everything but visible ASCII, and `%` itself.
fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'%' | ..=b' ' | 0x7F.. => write!(encoded, "%{byte:02X}").expect("memory takes every byte"),
            _ => encoded.push(byte.into()),
        }
        encoded
    })
}
