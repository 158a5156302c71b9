//! A function as a responder: converts temperatures, and rejects what it cannot read.
//!
//! ```sh
//! # An address is optional: -- 127.0.0.1:7000
//! cargo run -p greeter-server --example closure
//! # Type: 37 C
//! nc 127.0.0.1 8080
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use greeter_server::{Rejection, Server};

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = Server::builder().responder_fn(convert).bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

/// Turns `37 C` into `98.6 F`, and the other way round.
fn convert(line: &str) -> Result<String, Rejection> {
    let (degrees, scale) = line.split_once(' ').ok_or_else(|| Rejection::custom("say it like this: 37 C"))?;
    let degrees: f64 = degrees.parse().map_err(|_| Rejection::custom(format!("{degrees:?} is not a number")))?;
    match scale {
        "C" => Ok(format!("{:.1} F", degrees * 1.8 + 32.0)),
        "F" => Ok(format!("{:.1} C", (degrees - 32.0) / 1.8)),
        _ => Err(Rejection::custom(format!("{scale:?} is neither C nor F"))),
    }
}
