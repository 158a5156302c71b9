//! Turns an address into a connected socket, and what comes from it into lines, until a deadline.
//! It must not know what the lines mean: neither scripts nor sessions.
//!
//! Files, each importing only from those before it: `framing` (lines), `escape`, `address`,
//! `error`, `deadline`, `stream` (the socket).

pub(crate) mod address;
mod deadline;
mod error;
pub mod escape;
mod framing;
mod stream;

pub use address::{ServerAddress, ServerAddressError};
pub use error::{ConnectError, ConnectionError};
pub use framing::{Eol, EolError};
pub use stream::StreamEnd;

pub(crate) use deadline::Deadline;
pub(crate) use framing::{LineOverflow, ReplyBuffer};
pub(crate) use stream::Stream;
