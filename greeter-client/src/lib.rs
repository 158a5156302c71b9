//! A client for any server that speaks in lines: one line out, one line back.
//!
//! ```no_run
//! use greeter_client::{ServerAddress, Connection};
//!
//! let address: ServerAddress = "127.0.0.1:8080".parse()?;
//! let mut connection = Connection::connect(&address)?;
//! assert_eq!(connection.ask("Bob")?, b"Hello, Bob");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Everything blocks, on std's sockets; nothing prints, and nothing ends the process. What may wait
//! has a deadline on the monotonic clock, and what may grow has a limit: see [`ConnectionOptions`].
//!
//! # Three ways to talk
//!
//! * [`Connection::ask`]: one line, then its reply. [`Connection::send`] and
//!   [`Connection::receive`] are its halves, and [`Connection::split`] gives them to two threads.
//! * [`Connection::pipeline`]: any number of lines go out while their replies come in.
//! * [`Connection::pipe`]: bytes, not lines: all of an input goes out while everything that comes
//!   back goes to an output.
//!
//! # Lines
//!
//! What is sent ends as [`ConnectionOptions::eol`] says. In what is received, LF ends a line,
//! always. Whether a CR directly before it belongs to the ending depends on the same option: with
//! [`Eol::Lf`] it is part of the line, so that a reply is never altered; with [`Eol::CrLf`] it is
//! dropped, and a line that ends with LF alone is accepted as it is. A lone CR is an ordinary byte.
//!
//! # Scripts
//!
//! A [`Session`] holds several named connections and expects exactly what should come; [`talk`] is
//! the language in which that is written down as a transcript; [`run`](mod@run) runs such a script,
//! with a server of its own if it likes. A [`Recorder`] writes one while a conversation goes on.
//!
//! # TLS
//!
//! With the feature `tls`, an address that begins with `tls:` means TLS
//! ([`ServerAddress::over_tls`]). Whom it trusts, and who we are in it, a [`TlsClient`] says.
//! Without the feature, connecting there fails with [`TlsFailure::Unsupported`].
//!
//! # Load
//!
//! With the feature `load`, the module of that name loads a server, and tells how it bore it.
//!
//! # Reading order
//!
//! Rooms, from the ground up; each imports only from those before it:
//!
//! 1. `net`: a [`ServerAddress`] becomes a connected socket, and its bytes become lines, until a
//!    deadline; [`escape`] makes them safe to show.
//! 2. `connection`: [`Connection`], its halves [`Sender`] and [`Receiver`], the pipeline and the
//!    pipe.
//! 3. [`session`]: several named connections, and exactly what must come back.
//! 4. [`talk`]: the language of scripts. It knows no session.
//! 5. [`run`](mod@run): walks the steps of a script over a session; blesses and [reports](report).
//! 6. `record`: a conversation becomes a script; [`convert`]: so does what others have written down
//!    of one.
//! 7. [`load`](self#load): schedule, generator, measure, report.
//!
//! The command, `greeter-client`, stands on top of the library in `cli`: arguments, exit codes and
//! output, then a file for each of the `commands`, and `chat`, the prompt.

#![forbid(unsafe_code)]

mod connection;
pub mod convert;
#[cfg(feature = "load")]
pub mod load;
mod net;
mod record;
pub mod run;
pub mod session;
pub mod talk;

pub use connection::{Connection, ConnectionOptions, PipeEnd, PipeError, Piped, Pipelined, Receiver, Sender, Traffic};
pub use net::{ConnectError, ConnectionError, Eol, EolError, ServerAddress, ServerAddressError, escape};
pub use net::{Proxy, ProxyClient, ProxyFormatError, ProxyVersion};
pub use net::{TlsClient, TlsFailure};
#[cfg(feature = "tls")]
pub use net::{TlsClientError, TlsClientOptions};
pub use record::Recorder;
pub use run::report;
pub use session::{Session, SessionError};
