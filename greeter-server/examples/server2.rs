//! The article's second program: something very expensive before each greeting, so that a worker greets and nobody else
//! is kept from being read and written.
//!
//! The article has one worker, and a second client waits until the first is greeted. Without `.workers(1)` there is a worker
//! for each processor.
//!
//! ```sh
//! cargo run -p greeter-server --example server2    # or with an address behind: -- 127.0.0.1:7000
//! nc 127.0.0.1 8080                                # say: Bob
//! ```

#![expect(clippy::print_stdout, reason = "whoever starts it wants to know where it listens")]

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

/// Keeps the processor busy for a second, as the article has it.
fn something_very_expensive() {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        std::hint::spin_loop();
    }
}
