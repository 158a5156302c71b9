//! The protocol of a line server, without its I/O.
//!
//! Bytes become lines, a [`Responder`] answers each line, and the replies become bytes again: in
//! order, however the network cut the bytes. This crate opens no socket, starts no thread and reads
//! no clock. A driver does that and tells the [`Connection`] what happened. `greeter-server` is a
//! driver; this example is one for three lines:
//!
//! ```
//! use std::time::Instant;
//! use greeter_core::{
//!     Connection, ConnectionConfig, ConnectionTimeouts, Greeter, Peer, TurnBudget, client_id,
//! };
//!
//! let config = ConnectionConfig::new(8192, ConnectionTimeouts::NONE, &Greeter);
//! let client = Peer::new(client_id(1), ([127, 0, 0, 1], 4000).into());
//! let now = Instant::now();
//! let mut connection = Connection::new(client, &config, now);
//!
//! connection.received(b"Bob\r\nAnn\nUnfini", &config, now);
//! let job = connection.take_job(now).expect("there are lines to answer");
//! connection.answered(job.answer(&Greeter, &config, TurnBudget::unlimited()), &config, now);
//!
//! assert_eq!(connection.unsent(), b"Hello, Bob\r\nHello, Ann\n");
//! ```
//!
//! `greeter-server` exports everything that a responder and its tests need. The examples here that
//! are about responders import from there. With this crate alone, import the same names from
//! `greeter_core`.
//!
//! # Reading order
//!
//! The files follow a request: [bytes become lines](Line), the complete lines of one read are a
//! [`ClientJob`], and a [`Responder`] answers them into a [`Reply`], for one [`TurnBudget`] of
//! time, or [`Later`], or several side by side ([`Parallel`]). The [`Connection`] holds it all
//! together, with the [`ConnectionConfig`] that all clients share. Apart from all that,
//! [`ProxyHeader`] is what a proxy may send in front of the first line.

#![forbid(unsafe_code)]

mod address;
mod answer_cell;
mod budget;
mod catch;
mod close_reason;
mod config;
mod connection;
mod error;
mod greeter;
mod input;
mod job;
mod later;
mod line;
mod parallel;
mod parts;
mod peer;
mod proxy;
mod push;
mod rejection;
mod reply;
mod responder;
mod sync;
mod telnet;
pub mod testing;
mod tls;

pub use address::{Address, Credentials};
pub use answer_cell::WhenLate;
pub use budget::{BudgetClock, TurnBudget};
pub use close_reason::CloseReason;
pub use config::{ConnectionConfig, ConnectionTimeouts, WhenRejected};
pub use connection::{CloseAction, Connection, LineCounts, Phase};
pub use error::{BoxError, ResponderError, ResponderErrors};
pub use greeter::Greeter;
pub use job::{AnsweredJob, ClientJob, Disconnect};
pub use later::Later;
pub use line::{BareLf, LfInLineError, Line, LineEnding, WhenTooLong};
pub use parallel::Parallel;
pub use parts::PartNumber;
pub use peer::{ClientId, Origin, Peer, Proxied, client_id};
pub use proxy::{ProxyAddresses, ProxyHeader, ProxyHeaderError, ProxyTls, ProxyTlvs};
pub use push::{Delivery, PushMessage, PushReceipt};
pub use rejection::Rejection;
pub use reply::{IntoReply, LineText, Reply, TooManyBytesError};
pub use responder::{FromLine, Responder, ResponderFn, responder_fn};
pub use tls::{ClientCertificate, TlsInfo, TlsVersion};
