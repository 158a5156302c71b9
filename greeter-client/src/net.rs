//! Turns an address into a connected socket, and what comes from it into lines, until a deadline.
//! It must not know what the lines mean: neither scripts nor sessions.
//!
//! Files, each importing only from those before it: `framing` (lines), `escape`, `address`,
//! `error`, `deadline`, `socket`, `proxy` (the header that may come first), `connect` (how a socket
//! comes to be), `stream` (what is talked over).

pub(crate) mod address;
mod connect;
mod deadline;
mod error;
pub mod escape;
mod framing;
mod proxy;
mod socket;
mod stream;

pub use address::{ServerAddress, ServerAddressError};
pub use error::{ConnectError, ConnectionError};
pub use framing::{Eol, EolError};
pub use proxy::{Proxy, ProxyClient, ProxyFormatError, ProxyVersion};
pub use stream::StreamEnd;

pub(crate) use connect::Route;
pub(crate) use deadline::Deadline;
pub(crate) use framing::{LineOverflow, ReplyBuffer};
pub(crate) use socket::RawSocket;
pub(crate) use stream::Stream;
