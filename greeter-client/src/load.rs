//! Loads a line server and tells what came of it: how fast replies came, from when lines were due and from when they were
//! sent; how many were wrong; and whether it was the server or the generator that was slow.
//!
//! ```
//! # use std::io::{BufRead, BufReader, Write};
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let address = greeter_client::Address::from(listener.local_addr()?);
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
//! lines.expect = Some("Hello, {{line}}".parse()?);
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
//! Nothing is printed here: a [`Report`] has the figures, is displayed as text, and makes JSON and a page of HTML.
//!
//! # What it promises
//!
//! * *An open loop is open.* With a [rate](Load::rate), send k is due at k periods from the start, computed in integers, whatever
//!   happens meanwhile. A line that cannot leave because replies are owed waits, and the time it waits is part of its
//!   [response time](Report::latency); its [service time](Report::service) starts when it leaves. The gap between the two is what a
//!   closed loop hides.
//! * *Every reply is checked*, and none that is missing or wrong makes a percentile better: such a line counts as slower than any
//!   other.
//! * *All connections or nothing.* If one cannot be opened, nothing is sent; one that is lost on the way is an error, and what was
//!   due on it, too.
//! * *A generator that is late says so.* [`Report::late`] counts the lines that left more than a millisecond after they could have,
//!   and [`Report::busy`] tells how near the generator itself was to its limit.
//!
//! # Layout
//!
//! In the order of a line: `rate` (when it is due) → `ledger` (on which connection, and what became of it) → `cycle` and `tape`
//! (its bytes) → `generator` (a thread and its poll, with `timer`) → `connection` and `socket` → `checker` (its reply) → `recorder`
//! (histograms of one thread) → `collector` (of all) → `latency` and [`Report`], with `text`, `json`, `html` and [`Assertion`]. `script`
//! stands in for all from `cycle` to `checker` where the unit of load is a script.

mod generator;
mod line_block;
mod measure;
mod report;
mod running;
mod schedule;
mod workload;

use std::io;
use std::time::Duration;

pub use measure::latency::{Latency, Time};
pub use report::Report;
pub use report::assertion::{Assertion, AssertionError, Verdict};
#[doc(hidden)]
pub use report::chart;
pub use running::{Progress, Running, start};
pub use schedule::{Rate, RateError};

use crate::net::escape::one_line;
use crate::net::{Address, ConnectError, Eol};
use crate::talk::{Pattern, Script, Template, Unbound, Variables};

/// A load: where to, what, how much and for how long.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Load {
    /// Where the server listens.
    pub target: Address,
    /// Whether the server may be on another machine: nobody should load one by mistake. Default: no.
    pub anywhere: bool,
    /// What is sent.
    pub work: Work,
    /// The variables that have values in lines, expectations and scripts. Default: none.
    pub variables: Variables,
    /// How lines end. Default: LF.
    pub eol: Eol,
    /// How many connections there are, or how many scripts run at a time. Default: 50.
    pub connections: usize,
    /// How many threads share the connections; each script has one of its own. Default: 1.
    pub threads: usize,
    /// How many lines a connection may have in flight. In a closed loop they leave in one piece. Default: 1.
    pub pipeline: usize,
    /// How often a line is sent, on all connections together; [`None`]: whenever the replies to those before have come.
    /// Default: none.
    pub rate: Option<Rate>,
    /// For how long lines are sent before they are measured. Default: 1 s.
    pub warmup: Duration,
    /// For how long they are measured. Default: 10 s.
    pub duration: Duration,
    /// How long connecting may take, and each reply; [`None`]: for ever. Default: 5 s.
    pub timeout: Option<Duration>,
}

/// What is sent, again and again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Work {
    /// Lines, each of which has one line as its reply.
    Lines(Lines),
    /// Scripts, one after the other; each has its own connections, and is one unit of load. Outside a crowd, `{{#}}` is the
    /// number of the session among those that run at a time, from 1.
    Scripts(Vec<Script>),
}

/// Lines, and what must come back.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lines {
    /// Each connection sends them in turn, over and over; the second connection begins with the second line, and so on.
    /// `{{#}}` is the number of the connection, from 1.
    pub lines: Vec<Template>,
    /// What each reply must match; `{{line}}` is the line it replies to. [`None`]: any line is right.
    pub expect: Option<Pattern>,
}

impl Lines {
    /// These lines, with any line as a reply.
    #[must_use]
    pub fn new(lines: impl IntoIterator<Item = Template>) -> Self {
        Self { lines: lines.into_iter().collect(), expect: None }
    }
}

impl Load {
    /// Sends lines to `target`; the rest is default.
    #[must_use]
    pub fn lines(target: Address, lines: Lines) -> Self {
        Self::new(target, Work::Lines(lines))
    }

    /// Runs scripts against `target`; the rest is default.
    #[must_use]
    pub fn scripts(target: Address, scripts: Vec<Script>) -> Self {
        Self::new(target, Work::Scripts(scripts))
    }

    fn new(target: Address, work: Work) -> Self {
        Self {
            target,
            anywhere: false,
            work,
            variables: Variables::default(),
            eol: Eol::Lf,
            connections: 50,
            threads: 1,
            pipeline: 1,
            rate: None,
            warmup: Duration::from_secs(1),
            duration: Duration::from_secs(10),
            timeout: Some(Duration::from_secs(5)),
        }
    }
}

/// Why there is no load, or no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There is no line and no script.
    #[error("there is nothing to send")]
    NothingToSend,
    /// Something is zero, or larger than it can be.
    #[error("{what} must be from 1 to {max}, not {value}")]
    OutOfRange {
        /// What: a field of [`Load`].
        what: &'static str,
        /// What it is.
        value: usize,
        /// What it may be.
        max: usize,
    },
    /// Nothing can be measured in no time.
    #[error("nothing can be measured in no time")]
    NoTime,
    /// A placeholder in a line has no value.
    #[error("a line to send lacks a value")]
    Unbound(#[from] Unbound),
    /// A line holds an LF: it would be two, and get two replies.
    #[error("a line cannot hold a newline")]
    HoldsLf,
    /// The server may be on another machine, and [`Load::anywhere`] does not say that this is meant.
    #[error("{} is not known to be on this machine, and a load can put a server out of service", one_line(.0.as_bytes()))]
    Remote(String),
    /// There is no server.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There are fewer connections than asked for. Nothing was sent.
    #[error("only {up} of {asked} connections are up")]
    TooFew {
        /// How many could be opened.
        up: usize,
        /// How many should be.
        asked: usize,
        /// Why there are no more.
        source: ConnectError,
    },
    /// The system does not let us wait for connections.
    #[error("cannot wait for connections")]
    Poll(#[source] io::Error),
    /// A thread that is needed could not be started, or has not come to its end.
    #[error("a thread of the load has failed")]
    Thread(#[source] io::Error),
}

impl LoadError {
    /// Whether what was asked for makes no sense, so that nothing was tried.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NothingToSend
                | Self::OutOfRange { .. }
                | Self::NoTime
                | Self::Unbound(_)
                | Self::HoldsLf
                | Self::Remote(_)
        )
    }

    /// Whether the server could not be reached, or not often enough.
    #[must_use]
    pub const fn is_connecting(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::TooFew { .. })
    }
}
