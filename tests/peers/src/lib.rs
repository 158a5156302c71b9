//! What the servers here have in common: where they listen, and that they say so.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::net::TcpListener;

use socket2::SockRef;

/// How many clients may wait to be accepted: as many as with Go and with greeter. The standard
/// library's 128 would have thousands that come at a time be forgotten and come again a second
/// later, which is not what is measured.
const BACKLOG: i32 = 4096;

/// Listens on a free port of 127.0.0.1, and says on which, as `greeter-server` does.
///
/// # Errors
///
/// What the system says.
pub fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    SockRef::from(&listener).listen(BACKLOG)?;
    writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
    Ok(listener)
}

/// A tokio runtime as `#[tokio::main]` makes it: one worker for each processor.
///
/// # Errors
///
/// What the system says.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_io().build()
}
