//! What is asked of a load: where to, what is sent, how often and for how long.

use std::time::Duration;

use super::schedule::Rate;
use crate::net::{Eol, ServerAddress};
use crate::talk::{Pattern, Script, Template, Variables};

/// A load: where to, what, how much and for how long.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Load {
    /// Where the server listens.
    pub target: ServerAddress,
    /// Whether the server may be on another machine: nobody should load one by mistake. Default: no.
    pub anywhere: bool,
    /// What is sent.
    pub content: LoadContent,
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
pub enum LoadContent {
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
    pub fn lines(target: ServerAddress, lines: Lines) -> Self {
        Self::new(target, LoadContent::Lines(lines))
    }

    /// Runs scripts against `target`; the rest is default.
    #[must_use]
    pub fn scripts(target: ServerAddress, scripts: Vec<Script>) -> Self {
        Self::new(target, LoadContent::Scripts(scripts))
    }

    fn new(target: ServerAddress, content: LoadContent) -> Self {
        Self {
            target,
            anywhere: false,
            content,
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
