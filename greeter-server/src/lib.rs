//! A plain function from one line to one reply, as a TCP service that can be left alone: on OS threads and channels, with no
//! async runtime.
//!
//! ```no_run
//! use greeter_server::Server;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let server = Server::builder().responder_fn(|name: &str| format!("Hello, {name}")).bind("127.0.0.1:8080")?;
//!     server.run()?;
//!     Ok(())
//! }
//! ```
//!
//! What a responder may do beyond that (sessions, banners, several lines, raw bytes, closing) is told at [`Responder`]; what
//! goes over the wire, and how a line flows through the threads, in the book (`docs`).
//!
//! The library prints nothing, handles no signals and has no globals. What happens it tells through `tracing`, and counts in
//! [`Stats`]. In a program without a subscriber for `tracing`, nobody hears of it: what a responder failed at, too, is then only a number,
//! [`Stats::responder_errors`].

#![forbid(unsafe_code)]

// Reading order: the files follow a request. The `acceptor` lets a client in and deals it to a `connection_thread`, which keeps it in one of
// its `slots` and drives it as a `client`: a socket of the `system` on one side, the state machine on the other, the thread's
// `scratch` memory in between. Its jobs go to the `pool`, and come back through the `mailbox`. Around that flow stand those who say no:
// `admission` at the door and `rejected` beside it, `buffers` for memory, `alarms` for a client's time, the `watch` over the workers for
// the responder's, by the `ticker`, and for the time of others on the machine, `yield_policy`. The `server` starts them all from what the
// `builder` was told, and waits for them; `control` is how they are told to end.
//
// All of it but the sockets runs in a made-up world too, in which everything goes wrong: the tests in `simulation`. What threads
// share goes through `sync`, and is tried in every order by those in `models`.

mod accept;
mod admission;
mod builder;
mod config;
mod connection;
mod control;
mod handle;
mod info;
mod limits;
mod mailbox;
mod memory;
mod messages;
#[cfg(loom)]
#[cfg(test)]
mod models;
mod pool;
mod push;
mod server;
#[cfg(not(loom))]
#[cfg(test)]
mod simulation;
mod slots;
mod stats;
mod sync;
mod system;
pub mod testing;
mod thread_mailboxes;
mod threads;
mod ticker;

pub use builder::{BuildError, Builder};
pub use config::ConfigError;
pub use control::{DrainReport, ShutdownTrigger};
#[doc(inline)]
pub use greeter_core::{
    Address, BoxError, ClientId, CloseReason, FromLine, Greeter, IntoReply, LfInLine, Line, LineEnding, LineText, Peer,
    Phase, Rejection, Reply, Responder, ResponderFn, WhenRejected, responder_fn,
};
pub use handle::ServerHandle;
pub use info::{ConnectionInfo, WorkerInfo};
pub use limits::{Limits, WhenFull};
pub use push::{PushError, PushHandle};
pub use server::{Server, StartError};
pub use stats::{CountsByReason, Stats};
