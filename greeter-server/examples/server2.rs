//! The article's second program: something very expensive before each greeting, so a worker greets,
//! and the other clients are still read and written.
//!
//! The article has one worker, and a second client waits until the first is greeted. Without
//! `.workers(1)` there is a worker for each processor.
//!
//! ```sh
//! # An address is optional: -- 127.0.0.1:7000
//! cargo run -p greeter-server --example server2
//! # Type: Bob
//! nc 127.0.0.1 8080
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use std::time::{Duration, Instant};

use greeter_server::Server;

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let greet = |name: &[u8]| {
        something_very_expensive();
        [b"Hello, ", name].concat()
    };
    let server = Server::builder().responder_fn(greet).workers(1).bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

/// Keeps the processor busy for a second, as in the article.
fn something_very_expensive() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        std::hint::spin_loop();
    }
}
