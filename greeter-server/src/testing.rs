//! Trying a responder: [without a network](TestClient), and with one.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{Shutdown, TcpStream};
//! use greeter_server::{Greeter, testing};
//!
//! let server = testing::serve(Greeter);
//! let mut client = TcpStream::connect(server.local_addr())?;
//! client.write_all(b"Bob\n")?;
//! client.shutdown(Shutdown::Write)?;
//! let mut reply = String::new();
//! client.read_to_string(&mut reply)?;
//! assert_eq!(reply, "Hello, Bob\n");
//! # Ok::<(), std::io::Error>(())
//! ```

#[doc(inline)]
pub use greeter_core::testing::{TestClient, check_every_fragmentation};

use greeter_core::Responder;

use crate::server::{Server, ServerHandle};

/// A server with two workers on a free port of 127.0.0.1. Clients can connect when this returns; it stops when the handle is dropped.
///
/// # Panics
///
/// When there is no such server to be had: no port, no descriptor or no thread.
pub fn serve<R: Responder>(responder: R) -> ServerHandle {
    let server = Server::builder().responder(responder).workers(2).connection_threads(1).bind("127.0.0.1:0");
    server.expect("there is a free port").spawn().expect("there are threads to be had")
}
