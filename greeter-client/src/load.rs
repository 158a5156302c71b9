//! Turns a [`Load`] into a [`Report`]: how fast replies came, from when lines were due and from
//! when they were sent; how many were wrong; and whether it was the server or the generator that
//! was slow. It must not know the command line: nothing is printed here.
//!
//! ```
//! # use std::io::{BufRead, BufReader, Write};
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let address = greeter_client::ServerAddress::from(listener.local_addr()?);
//! # let greet = |stream: std::net::TcpStream| -> std::io::Result<()> {
//! #     for name in BufReader::new(stream.try_clone()?).lines() {
//! #         (&stream).write_all(format!("Hello, {}\n", name?).as_bytes())?;
//! #     }
//! #     Ok(())
//! # };
//! # std::thread::spawn(move || {
//! #     for stream in listener.incoming() {
//! #         std::thread::spawn(move || greet(stream?));
//! #     }
//! # });
//! use std::time::Duration;
//! use greeter_client::load::{self, Lines, Load};
//!
//! let mut lines = Lines::new(["guest {{#}}".parse()?]);
//! lines.expect = vec!["Hello, {{line}}".parse()?];
//! let mut load = Load::lines(address, lines);
//! load.connections = 4;
//! load.rate = Some("200/s".parse()?);
//! load.warmup = Duration::ZERO;
//! load.duration = Duration::from_millis(100);
//!
//! let report = load::start(load)?.finish()?;
//! assert_eq!((report.latency().lines(), report.errors()), (20, 0));
//! println!("{report}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Report`] has the figures, is displayed as text, and makes JSON and a page of HTML.
//!
//! # What it promises
//!
//! * *An open loop is open.* With a [rate](Load::rate), send k is due at k periods from the start,
//!   computed in integers, whatever happens meanwhile. A line that cannot leave because replies are
//!   owed waits, and the time it waits is part of its [response time](Report::latency); its
//!   [service time](Report::service) starts when it leaves. The gap between the two is what a
//!   closed loop hides.
//! * *Every reply is checked*, and none that is missing or wrong makes a percentile better: such a
//!   line counts as slower than any other.
//! * *All connections or nothing.* If one cannot be opened, nothing is sent; one that is lost on
//!   the way is an error, and what was due on it, too.
//! * *A generator that is late says so.* [`Report::late`] counts the lines that left more than a
//!   millisecond after they could have, and [`Report::busy`] tells how near the generator itself
//!   was to its limit.
//!
//! # Layout
//!
//! Rooms and files, each importing only from those before it: `schedule` (when a line is due),
//! `config`, `error`, `line_block` and `workload` (what each connection sends and must receive),
//! `exchange` (what passes on it), `measure` (counts, with no I/O: `clock`, `thread_recorder`,
//! `accounting`, `latency`, `aggregator`), `generator` (sends and reads: `checker`, `socket`,
//! `connection`, `timer`; `script` where the unit of load is a script), `before` (what a connection
//! is through with by then), `report` (shows: the data,
//! then `text`, `json`, `html` with `chart`, and `assertion`), `running` (starts all that).

mod before;
mod config;
mod error;
mod exchange;
mod generator;
mod line_block;
mod measure;
mod report;
mod running;
mod schedule;
mod workload;

pub use config::{Lines, Load, LoadContent, ReplyEnd};
pub use error::LoadError;
pub use measure::latency::{Latency, Time};
pub use report::Report;
pub use report::assertion::{Assertion, AssertionError, Verdict};
#[doc(hidden)]
pub use report::chart;
pub use running::{LoadProgress, RunningLoad, start};
pub use schedule::{Rate, RateError};
