//! What is asked of a load: where to, what is sent, how often and for how long.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::schedule::Rate;
use crate::net::{Eol, Proxy, ServerAddress, TlsClient};
use crate::talk::{Pattern, Script, Template, Variables};

/// A load: its target, content, rate and duration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Load {
    /// The address of the server.
    pub target: ServerAddress,
    /// Whether the server may be on another machine: nobody should load one by mistake. The default
    /// is `false`.
    pub anywhere: bool,
    /// What is sent.
    pub content: LoadContent,
    /// The script that is run on each connection before any line is sent, as its only connection,
    /// the one without a name: it leaves that open, and nothing unread on it. What it captures has
    /// a value in the lines and expectations of that connection, and `{{#}}` is its number. The
    /// default is none.
    pub before: Option<Script>,
    /// The variables that have values in lines, expectations and scripts. No report shows those
    /// that are secrets. The default is none.
    pub variables: Variables,
    /// How lines end. The default is LF.
    pub eol: Eol,
    /// The number of connections, or of scripts that run at a time, from 1 to 65535. The default is
    /// 50.
    pub connections: usize,
    /// The number of threads that share the connections, from 1 to that of the connections; each
    /// script has a thread of its own. The default is 1.
    pub threads: usize,
    /// The most lines in flight on a connection, from 1 to 100000. In a closed loop they leave in
    /// one piece. The default is 1.
    pub pipeline: usize,
    /// How often a line is sent, on all connections together. [`None`], the default, is a closed
    /// loop: a line is sent when the replies to those before have come.
    pub rate: Option<Rate>,
    /// How many lines, or scripts, are sent in all, those of the warm-up among them. The load ends
    /// when they are answered, whatever its duration is; what a lost connection leaves unsent is an
    /// error, since line k, counted from 0, is due on connection k modulo the number of them.
    /// [`None`], the default: as many as there is time for.
    pub count: Option<u64>,
    /// How long lines are sent before they are measured. The default is 1 s.
    pub warmup: Duration,
    /// How long lines are measured, unless it is said [how many](Self::count) there are. The
    /// default is 10 s.
    pub duration: Duration,
    /// How long connecting, and each reply, may take; [`None`] disables it. The default is 5 s.
    pub timeout: Option<Duration>,
    /// The PROXY header that is sent first on each connection. The default is none.
    pub proxy: Option<Proxy>,
    /// Whom TLS trusts, and who we are in it, where the address says `tls:`. The default is
    /// [`None`]: whom the system trusts, and nobody.
    pub tls: Option<TlsClient>,
}

/// What is sent, again and again.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LoadContent {
    /// Lines, each of which has a reply of one line or of several.
    Lines(Lines),
    /// Scripts, one after the other; each has its own connections, and is one unit of load. Outside
    /// a crowd, `{{#}}` is the number of the session among those that run at a time, from 1;
    /// `{{#n}}` is its number among all of the load.
    Scripts(Vec<Script>),
}

/// Lines to send, and the replies that must come.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lines {
    /// The lines. Each connection sends them in turn, over and over; the second connection begins
    /// with the second line, and so on. `{{#}}` is the number of the connection, from 1.
    pub lines: Vec<Template>,
    /// The patterns that the lines of each reply must match, in turn; `{{line}}` is the line that
    /// it replies to. Without any, every reply is right.
    pub expect: Vec<Pattern>,
    /// Where a reply ends. The default is [`Expected`](ReplyEnd::Expected).
    pub reply_end: ReplyEnd,
    /// Whether each line is sent once, and the load ends when all are answered: line k, counted
    /// from 0, on connection k modulo the number of them. The default is `false`.
    pub once: bool,
}

/// Where the reply to a line ends. Its lines beyond those that are [expected](Lines::expect) are
/// counted, and not compared.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ReplyEnd {
    /// Behind as many lines as are expected, or behind one.
    #[default]
    Expected,
    /// Behind so many lines, which are no fewer than those that are expected.
    Lines(NonZeroUsize),
    /// Behind the first line that matches, which may be among those that are expected.
    Until(Pattern),
}

impl Lines {
    /// Creates a list of lines, each with any line as its reply.
    #[must_use]
    pub fn new(lines: impl IntoIterator<Item = Template>) -> Self {
        Self { lines: lines.into_iter().collect(), expect: Vec::new(), reply_end: ReplyEnd::default(), once: false }
    }
}

impl Load {
    /// Creates a load of lines for `target`; the rest is default.
    #[must_use]
    pub fn lines(target: ServerAddress, lines: Lines) -> Self {
        Self::new(target, LoadContent::Lines(lines))
    }

    /// Creates a load of scripts for `target`; the rest is default.
    #[must_use]
    pub fn scripts(target: ServerAddress, scripts: Vec<Script>) -> Self {
        Self::new(target, LoadContent::Scripts(scripts))
    }

    fn new(target: ServerAddress, content: LoadContent) -> Self {
        Self {
            target,
            anywhere: false,
            content,
            before: None,
            variables: Variables::default(),
            eol: Eol::Lf,
            connections: 50,
            threads: 1,
            pipeline: 1,
            rate: None,
            count: None,
            warmup: Duration::from_secs(1),
            duration: Duration::from_secs(10),
            timeout: Some(Duration::from_secs(5)),
            proxy: None,
            tls: None,
        }
    }

    /// How many lines or scripts there are to send in all, where that is known beforehand.
    pub(super) fn total(&self) -> Option<u64> {
        let once = match &self.content {
            LoadContent::Lines(Lines { once: true, lines, .. }) => Some(lines.len() as u64),
            _ => None,
        };
        once.into_iter().chain(self.count).min()
    }

    /// How long lines are measured, where that is known beforehand. With a number of lines, that is
    /// as long as the rate takes for them, at least.
    pub(super) fn planned(&self) -> Option<Duration> {
        match (self.total(), self.rate) {
            (None, _) => Some(self.duration),
            (Some(total), Some(rate)) => Some(Duration::from_nanos(rate.intended(total)).saturating_sub(self.warmup)),
            (Some(_), None) => None,
        }
    }
}
