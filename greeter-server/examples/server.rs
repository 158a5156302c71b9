//! The article's first program: whoever reads a name also greets it.
//!
//! No pool: the thread that reads a client's lines answers them.
//!
//! ```sh
//! cargo run -p greeter-server --example server     # or with an address behind: -- 127.0.0.1:7000
//! nc 127.0.0.1 8080                                # say: Bob
//! ```

#![expect(clippy::print_stdout, reason = "whoever starts it wants to know where it listens")]

use greeter_server::{Greeter, Server};

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = Server::builder().responder(Greeter).in_place().bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}
