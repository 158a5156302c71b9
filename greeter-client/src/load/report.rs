//! Turns counts and histograms into figures, and in `text`, `json` and `html` into something to
//! read. It must not know how lines are sent.

pub(super) mod assertion;
/// How the charts are drawn, for the benchmark too.
#[doc(hidden)]
pub mod chart;
mod html;
mod json;
mod text;

use std::time::Duration;

use hdrhistogram::Histogram;

use super::config::{Lines, Load, LoadContent, ReplyEnd};
use super::schedule::Rate;
use crate::load::measure::aggregator::{Aggregator, Bin};
use crate::load::measure::clock::CpuUsage;
use crate::load::measure::latency::{Latency, ShortDuration};
use crate::load::measure::thread_recorder::{Counts, LoadErrorKind, TICK};
use crate::net::escape::one_line;
use crate::talk::Pattern;
use text::{grouped, plural};

/// The shortest time that tells how busy a generator is: in its first milliseconds it starts, and
/// does nothing else.
const MIN_BUSY: Duration = TICK;

/// The results of a load. Displayed, it is a text of some lines.
#[derive(Debug)]
pub struct Report {
    pub(super) load: Load,
    pub(super) counts: Counts,
    /// None in a closed loop.
    pub(super) response: Option<Histogram<u64>>,
    pub(super) service: Histogram<u64>,
    pub(super) bins: Vec<Bin>,
    pub(super) examples: [Option<String>; LoadErrorKind::ALL.len()],
    /// The first line that looks like an error.
    pub(super) suspect: Option<String>,
    pub(super) used: Option<CpuUsage>,
    /// How long it took in all.
    pub(super) elapsed: Duration,
    /// For how long lines were measured: as long as was asked for, unless it was stopped. A server
    /// that is gone answers nothing in the rest of the time, which must not make it look faster.
    pub(super) measured: Duration,
    /// How many connections were lost when they could still have sent something.
    pub(super) lost_early: u64,
    pub(super) end: LoadEnd,
}

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoadEnd {
    /// All that was due was done or given up.
    Complete,
    /// It was told to stop, with so many lines due or in flight.
    Stopped { waiting: u64 },
    /// There was no connection left.
    NoConnections,
}

impl Report {
    /// `at` is when the last thread ended.
    pub(super) fn new(load: Load, aggregator: &mut Aggregator, at: Duration, is_stopped: bool) -> Self {
        let lost_early = aggregator.ended.iter().map(|ended| ended.lost_early).sum();
        let (whole, planned) = (at.saturating_sub(load.warmup), load.planned());
        let seen = planned.map_or(whole, |planned| planned.min(whole));
        let measured = match load.total() {
            _ if is_stopped => seen,
            // What comes late counts, and so does its time.
            Some(_) => planned.unwrap_or_default().max(whole),
            None => load.duration,
        };
        let end = match (is_stopped, load.total()) {
            (true, _) => LoadEnd::Stopped { waiting: aggregator.ended.iter().map(|ended| ended.waiting).sum() },
            (false, Some(_)) if lost_early == load.connections as u64 => LoadEnd::NoConnections,
            (false, None) if seen < load.duration => LoadEnd::NoConnections,
            (false, _) => LoadEnd::Complete,
        };
        let used = aggregator.used();
        let bins = aggregator.bins(measured);
        let (response, service) = aggregator.finish();
        let counts = aggregator.counts;
        let examples = std::mem::take(&mut aggregator.examples);
        let suspect = aggregator.suspect.take();
        Self { load, counts, response, service, bins, examples, suspect, used, elapsed: at, measured, lost_early, end }
    }

    /// Returns the response times: from when each line was due until its reply came. In a closed
    /// loop, where a line is due when it is sent, they are the same as [`service`](Self::service).
    #[must_use]
    pub fn latency(&self) -> Latency<'_> {
        Latency::new(self.response.as_ref().unwrap_or(&self.service), self.counts.unanswered)
    }

    /// Returns the service times: from when each line was sent until its reply came. In an open
    /// loop, lines that had to wait until they could be sent look better than they were.
    #[must_use]
    pub fn service(&self) -> Latency<'_> {
        Latency::new(&self.service, self.counts.unanswered)
    }

    /// Returns the right replies per second, of all the time that was asked for unless the load was
    /// stopped.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        if self.measured.is_zero() { 0.0 } else { self.counts.in_time as f64 / self.measured.as_secs_f64() }
    }

    /// Returns how many lines were sent, the warm-up included.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.counts.sent
    }

    /// Returns the number of errors, the warm-up included: replies that did not match, that did not
    /// come or that nobody had asked for, lines that were due and could not be sent, sessions that
    /// could not connect, connections that were lost.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.counts.errors()
    }

    /// Returns the fraction of all due lines that had no right reply, the warm-up included, from 0
    /// to 1.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        let due = self.due();
        if due == 0 { 0.0 } else { self.failed() as f64 / due as f64 }
    }

    /// Those of the errors that are lines without a right reply: of the others, none is a line.
    pub(super) fn failed(&self) -> u64 {
        let count = |kind: LoadErrorKind| self.counts.errors_by_kind[kind as usize];
        count(LoadErrorKind::Mismatch)
            + count(LoadErrorKind::Unanswered)
            + count(LoadErrorKind::Unsent)
            + count(LoadErrorKind::Unconnected)
    }

    /// Returns how many lines left more than 1 ms after they were due and could have been sent:
    /// then the generator, or its machine, was too slow. It is always 0 in a closed loop, which has
    /// no schedule to fall behind.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.counts.late
    }

    /// Returns the fraction of the time in which the generator's threads were at work, from 0 to 1,
    /// where the system tells. Near 1, the times are the generator's own as much as the server's.
    /// Returns [`None`] also where that time was shorter than 100 ms on any thread, which says more
    /// about how a load begins than about how it goes.
    #[must_use]
    pub fn busy(&self) -> Option<f64> {
        let is_lines = matches!(self.load.content, LoadContent::Lines(_));
        let used = self.used.filter(|used| is_lines && used.shortest >= MIN_BUSY)?;
        Some((used.processor.as_secs_f64() / used.elapsed.as_secs_f64()).min(1.0))
    }

    /// Returns the processor time that the generator used for each line or script, user and system,
    /// where the system tells.
    #[must_use]
    pub fn cost(&self) -> Option<Duration> {
        let replies = u32::try_from(self.counts.replies.max(1)).ok();
        let used = self.used.filter(|_| self.counts.replies > 0)?;
        match replies {
            Some(replies) => Some(used.processor / replies),
            None => Some(Duration::from_secs_f64(used.processor.as_secs_f64() / self.counts.replies as f64)),
        }
    }

    /// Returns how many connections were lost before the end. In an open loop, and with a
    /// [count](Load::count), whatever was due on them after that is among the
    /// [errors](Self::errors). In a closed loop nothing was: a line is
    /// due when the replies to those before have come. So no figure of a closed loop tells what was
    /// missed, and whoever judges one judges by this, too. For scripts, it is how many of those
    /// that ran at a time have ended in a closed loop because there was nobody to connect to.
    #[must_use]
    pub fn connections_lost(&self) -> u64 {
        self.lost_early
    }

    /// Returns whether the load was [stopped](super::RunningLoad::stop) before its end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self.end, LoadEnd::Stopped { .. })
    }

    /// Returns what must be said before any of the figures is believed; empty if all is well.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let units = self.units();
        let Counts { sent, late, max_late, .. } = self.counts;
        if self.is_late() {
            let most = ShortDuration(Duration::from_nanos(max_late));
            warnings.push(format!(
                "the generator was late: {late} of {sent} {units} left over 1 ms after they could have, at worst {most}; \
                 the response times hold that against the server"
            ));
        }
        if self.is_busy() {
            warnings.push(format!(
                "the generator was busy {:.0} % of the time: the times are its own as much as the server's; more threads \
                 or fewer {units} may help",
                self.busy().unwrap_or_default() * 100.0,
            ));
        }
        match self.end {
            LoadEnd::Complete => {}
            LoadEnd::Stopped { waiting } => warnings.push(format!(
                "it was stopped after {:.1} s, when {waiting} {units} were due or in flight: they are not among the figures",
                self.elapsed.as_secs_f64(),
            )),
            LoadEnd::NoConnections => warnings.push(format!(
                "it ended after {:.1} s, when no connection was left",
                self.elapsed.as_secs_f64(),
            )),
        }
        if self.lost_early > 0 && !self.knows_what_is_due() {
            warnings.push(format!(
                "connections lost before the end: {} of {}; in a closed loop no {units} are due on them any more, so that the \
                 figures do not tell what was missed",
                self.lost_early, self.load.connections,
            ));
        }
        if let Some(suspects) = self.suspects() {
            warnings.push(format!("nothing was compared, and of the lines that came {suspects}: say what is expected"));
        }
        if self.latency().lines() == 0 {
            warnings.push("nothing was measured".to_owned());
        }
        warnings
    }

    /// More than one line in a hundred was late.
    pub(super) fn is_late(&self) -> bool {
        self.counts.late.saturating_mul(100) > self.due()
    }

    /// How many lines were due, whether or not they could be sent.
    fn due(&self) -> u64 {
        self.counts.sent.saturating_add(self.counts.errors_by_kind[LoadErrorKind::Unsent as usize])
    }

    /// Whether the generator had hardly any time to spare.
    pub(super) fn is_busy(&self) -> bool {
        self.busy().is_some_and(|busy| busy > 0.9)
    }

    /// Returns whether it is known what was due on connections that were lost: not in a closed
    /// loop, unless it has a [count](Load::count).
    #[must_use]
    pub fn knows_what_is_due(&self) -> bool {
        self.rate().is_some() || self.load.total().is_some()
    }

    pub(super) const fn rate(&self) -> Option<Rate> {
        self.load.rate
    }

    /// What is counted.
    pub(super) const fn units(&self) -> &'static str {
        match self.load.content {
            LoadContent::Lines(_) => "lines",
            LoadContent::Scripts(_) => "scripts",
        }
    }

    /// Whether any reply counts as right.
    pub(super) fn compares_nothing(&self) -> bool {
        matches!(&self.load.content, LoadContent::Lines(Lines { expect, .. }) if expect.is_empty())
    }

    /// What there is to say of lines that look like an error, where nothing was compared.
    pub(super) fn suspects(&self) -> Option<String> {
        match self.counts.suspect {
            0 => None,
            1 => Some("1 looks like an error".to_owned()),
            lines => Some(format!("{} look like an error", grouped(lines))),
        }
    }

    /// How replies were judged.
    pub(super) fn checked(&self) -> String {
        let LoadContent::Lines(Lines { expect, reply_end, .. }) = &self.load.content else {
            return "each compared with what its script expects".to_owned();
        };
        let variables = &self.load.variables;
        let shown =
            |expect: &Pattern| format!("'{}'", one_line(&variables.secrets().mask(&expect.expected(variables, None))));
        let mut text = match expect.iter().map(shown).collect::<Vec<_>>() {
            none if none.is_empty() => "counted, not compared: there is no expectation".to_owned(),
            lines => format!("each compared with {}", lines.join(", ")),
        };
        match reply_end {
            ReplyEnd::Expected => return text,
            ReplyEnd::Lines(lines) => text.push_str(&format!("; {lines} line{} each", plural(lines.get()))),
            ReplyEnd::Until(end) => text.push_str(&format!("; each to the line {}", shown(end))),
        }
        match self.counts.uncompared {
            0 => text,
            lines => format!("{text}; {} lines of them not compared", grouped(lines)),
        }
    }
}
