//! Turns a script into an [`Outcome`]: walks its steps over a [`Session`](crate::Session). It must
//! not know a command line or a terminal: nothing is printed here.
//!
//! ```no_run
//! use greeter_client::ServerAddress;
//! use greeter_client::run::{Outcome, RunOptions, run};
//! use greeter_client::talk::Script;
//!
//! let script = Script::parse("hello.talk", "# One name, one greeting.\n> Bob\n< Hello, Bob\n")?;
//! let address: ServerAddress = "127.0.0.1:8080".parse()?;
//! match run(&script, &RunOptions::to(address), None) {
//!     Outcome::Failed(failure) => eprintln!("{failure}"),
//!     Outcome::Skipped(reason) => eprintln!("skipped: {reason}"),
//!     Outcome::Passed => {}
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Failure`] has all that is known as fields, and as text it is the report that a person reads.

mod assignment;
#[cfg(feature = "load")]
mod before;
mod bless;
mod error;
mod masked;
mod options;
mod outcome;
mod own_server;
mod pending;
mod port;
mod process;
pub mod report;
mod runner;
mod shard;
mod tries;

#[cfg(feature = "load")]
pub(crate) use before::run_before;
pub use bless::{Blessing, QUIET, bless};
pub use error::StepError;
pub use options::RunOptions;
pub use outcome::{Failure, FailurePoint, Outcome};
pub use process::{LastLines, ServerError, ServerExit, ServerProcess, ServerProcesses};
pub use runner::run;
pub use shard::{Shard, ShardError};
pub use tries::{FailedTry, Tries, with_retries};
