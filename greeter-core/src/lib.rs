//! The protocol of a line server, without its I/O.
//!
//! Bytes go in, lines come out of them, a [`Responder`] answers each, and the replies go back as bytes: in order, whatever
//! the network did to the bytes on their way. This crate opens no socket, starts no thread and reads no clock; a driver
//! does that and tells the [`Connection`] what happened. `greeter-server` is one, a test with three lines is another:
//!
//! ```
//! use std::time::Instant;
//! use greeter_core::{ClientId, Connection, Deadlines, Greeter, Peer, Slice, Terms};
//!
//! let terms = Terms::new(8192, Deadlines::NONE, &Greeter);
//! let client = Peer::new(ClientId(1), ([127, 0, 0, 1], 4000).into());
//! let now = Instant::now();
//! let mut connection = Connection::new(client, &terms, now);
//!
//! connection.received(b"Bob\r\nAnn\nUnfini", now);
//! let job = connection.take_job(now).expect("there are lines to answer");
//! connection.answered(job.answer(&Greeter, Slice::endless()), now);
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
//! answers its lines into a [`Reply`] for a [`Slice`] of time, and the [`Connection`] holds it all together, on the [`Terms`] that
//! hold for every client.

#![forbid(unsafe_code)]

mod connection;
mod greeter;
mod job;
mod line;
mod refusal;
mod reply;
mod responder;
mod slice;
mod terms;
pub mod testing;
mod unasked;

pub use connection::{Account, Connection, Ending, Phase};
pub use greeter::Greeter;
pub use job::{AnsweredJob, ClientJob, Farewell, Fault, Faults};
pub use line::{LfInLine, Line, LineEnding};
pub use refusal::Refusal;
pub use reply::{IntoReply, LineText, Reply};
pub use responder::{ClientId, CloseReason, Failure, FromLine, Peer, RespondWith, Responder, respond_with};
pub use slice::{Clock, Slice};
pub use terms::{Deadlines, Terms, WhenRefused};
pub use unasked::Unasked;
