//! Turns a plain function from one line to one reply into a TCP service that can be left alone, on
//! OS threads and channels, without an async runtime.
//!
//! ```no_run
//! use greeter_server::Server;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let server = Server::builder()
//!         .responder_fn(|name: &str| format!("Hello, {name}"))
//!         .bind("127.0.0.1:8080")?;
//!     server.run()?;
//!     Ok(())
//! }
//! ```
//!
//! What a responder can do beyond that (sessions, banners, several lines, raw bytes, closing) is
//! described at [`Responder`], and step by step in `docs/responders.md`; what goes over the wire,
//! and how a line flows through the threads, in the book (`docs`).
//!
//! The library prints nothing, handles no signals and has no globals. It reports events through
//! `tracing` and counts them in [`Stats`]. Without a subscriber for `tracing`, a program sees the
//! responder's errors only as a number, [`Stats::responder_errors`].
//!
//! # Features
//!
//! | feature | brings |
//! |---|---|
//! | `"tls"` | TLS: `Tls`, and addresses that begin with `tls:` |
//! | `"tls-aws-lc-rs"` | the same, with the cryptography of AWS-LC |
//! | `"admin"` | metrics, probes and a page about a running server: `admin::server` |
//! | `"exec"` | any program as a responder (Unix): `Exec`, `Tagged`, `PerClient` |
//! | `"cli"`, on by default | what the binary needs, TLS and the admin server among it |

#![forbid(unsafe_code)]

// Reading order: the files follow a request. The `builder` turns options into a `server`, which
// starts the threads and returns a `handle`; `reload` changes the options that hold, and `control`
// stops them. A `connection` thread owns the sockets of its clients and the state machine of each;
// on the first of them, `accept` admits clients or rejects them. Jobs go to the `pool` of workers
// and come back as messages. `push` sends lines that no client has asked for, and a `batcher` has
// the lines of many answered together.
// `thread_mailboxes` sends `messages` to connection threads without knowing the type of the
// sessions. `admission` counts clients against the limits.
//
// Beneath all of these: `config` and `limits`, `mailbox`, `slots`, `memory`, `stats`, `job_times`,
// `info`, `threads`, `ticker`, `system` (sockets and their readiness), and `sync` (what threads
// share). `admin` answers questions about a server, as a responder like any other.
//
// Everything but the sockets also runs in a simulated world, in which everything goes wrong: the
// tests in `simulation`. The models in `models` try what threads share through `sync` in every
// order.

mod accept;
#[cfg(feature = "admin")]
pub mod admin;
mod admission;
mod batcher;
mod builder;
mod config;
mod connection;
mod control;
mod counter;
mod current;
mod entry_rules;
#[cfg(feature = "exec")]
#[cfg(unix)]
mod exec;
mod handle;
mod info;
mod job_times;
mod limits;
mod listen;
mod liveness;
mod mailbox;
mod memory;
mod messages;
#[cfg(loom)]
#[cfg(test)]
mod models;
mod monitor;
mod pool;
mod push;
mod reload;
mod running_config;
mod server;
#[cfg(not(loom))]
#[cfg(test)]
mod simulation;
mod slots;
#[cfg(unix)]
mod socket_file;
mod sockets;
mod stats;
mod sync;
mod system;
pub mod testing;
mod thread_mailboxes;
mod threads;
mod ticker;
mod tls;
mod transport;

#[doc(inline)]
pub use accept::inherited::{InheritedError, InheritedSockets};
pub use batcher::{Asked, Batcher};
pub use builder::{BuildError, Builder};
pub use config::ConfigError;
pub use control::{DrainReport, ShutdownTrigger};
#[doc(inline)]
#[cfg(feature = "exec")]
#[cfg(unix)]
pub use exec::{
    Exec, ExecError, ExecOptions, ExecStats, PerClient, PerClientOptions, PerClientStats, Tagged, TaggedOptions,
    TaggedStats,
};
pub use greeter_core::{
    Address, BareLf, BoxError, ClientCertificate, ClientId, CloseReason, Credentials, Delivery, FromLine, Greeter,
    IntoReply, Later, LfInLineError, Line, LineEnding, LineText, Origin, Peer, Phase, Proxied, ProxyAddresses,
    ProxyTls, ProxyTlvs, Rejection, Reply, Responder, ResponderFn, TlsInfo, TlsVersion, TooManyBytesError, WhenLate,
    WhenRejected, WhenTooLong, responder_fn,
};
pub use handle::ServerHandle;
pub use info::{ConnectionInfo, WorkerInfo};
pub use job_times::{Histogram, JobTimes};
pub use limits::{Limits, WhenFull};
pub use listen::{Listener, ListenerAddress};
pub use liveness::StuckThread;
pub use push::{PushError, PushHandle};
pub use reload::ReloadReport;
pub use server::{Server, StartError};
pub use stats::{CountsByReason, Stats};
#[cfg(feature = "tls")]
pub use tls::settings::{ClientAuth, Tls, TlsError, TlsOptions};
