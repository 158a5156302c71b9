//! The protocol of a line server, without its I/O.
//!
//! Bytes go in, lines come out of them, a [`Responder`] answers each, and the replies go back as bytes: in order, whatever
//! the network did to the bytes on their way. This crate opens no socket, starts no thread and reads no clock; a driver
//! does that and tells the [`Connection`] what happened. `greeter-server` is one, a test with three lines is another:
//!
//! ```
//! use std::time::Instant;
//! use greeter_core::{Connection, ConnectionTimeouts, Greeter, Peer, TurnBudget, client_id, ConnectionConfig};
//!
//! let config = ConnectionConfig::new(8192, ConnectionTimeouts::NONE, &Greeter);
//! let client = Peer::new(client_id(1), ([127, 0, 0, 1], 4000).into());
//! let now = Instant::now();
//! let mut connection = Connection::new(client, &config, now);
//!
//! connection.received(b"Bob\r\nAnn\nUnfini", now);
//! let job = connection.take_job(now).expect("there are lines to answer");
//! connection.answered(job.answer(&Greeter, TurnBudget::unlimited()), now);
//!
//! assert_eq!(connection.unsent(), b"Hello, Bob\r\nHello, Ann\n");
//! ```
//!
//! `greeter-server` has all of it that a responder is written and tried with under its own name. So in the examples here that are about
//! responders, what is imported comes from there, and who has only this crate imports it from this one.
//!
//! # Reading order
//!
//! The files follow a request: [bytes become lines](Line), the lines of one read are a [`ClientJob`], a [`Responder`]
//! answers its lines into a [`Reply`] for a [`TurnBudget`] of time, and the [`Connection`] holds it all together, on the [`ConnectionConfig`] that
//! hold for every client.

#![forbid(unsafe_code)]

mod budget;
mod catch;
mod close_reason;
mod config;
mod connection;
mod error;
mod greeter;
mod job;
mod line;
mod peer;
mod push;
mod rejection;
mod reply;
mod responder;
pub mod testing;

pub use budget::{BudgetClock, TurnBudget};
pub use close_reason::CloseReason;
pub use config::{ConnectionConfig, ConnectionTimeouts, WhenRejected};
pub use connection::{CloseAction, Connection, LineCounts, Phase};
pub use error::{BoxError, ResponderError, ResponderErrors};
pub use greeter::Greeter;
pub use job::{AnsweredJob, ClientJob, Disconnect};
pub use line::{LfInLine, Line, LineEnding};
pub use peer::{Address, ClientId, Peer, client_id};
pub use push::PushMessage;
pub use rejection::Rejection;
pub use reply::{IntoReply, LineText, Reply};
pub use responder::{FromLine, Responder, ResponderFn, responder_fn};
