//! The article's first program: the thread that reads a name also writes the greeting.
//!
//! There are no workers: the connection thread answers its clients' lines.
//!
//! ```sh
//! # An address is optional: -- 127.0.0.1:7000
//! cargo run -p greeter-server --example server
//! # Type: Bob
//! nc 127.0.0.1 8080
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use greeter_server::{Greeter, Server};

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = Server::builder().responder(Greeter).in_place().bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}
