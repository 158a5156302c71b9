//! Greets like `greeter-server`, but each reply waits for a millisecond, as one does that needs a
//! disk or another server: on as many workers as its argument says. Only for comparison.

#![forbid(unsafe_code)]

use greeter_tests::answered_by;
use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use anyhow::Context;

const WAIT: Duration = Duration::from_millis(1);

fn main() -> anyhow::Result<()> {
    let workers = std::env::args().nth(1).and_then(|workers| workers.parse().ok()).context("say how many workers")?;
    let greet = |name: &str| {
        thread::sleep(WAIT);
        format!("Hello, {name}")
    };
    let server = answered_by(workers).responder_fn(greet).bind("127.0.0.1:0")?;
    writeln!(io::stdout(), "listening on {}", server.local_addr())?;
    server.run()?;
    Ok(())
}
