//! Walks the steps as the runner does, and looks before each whether it will be met.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lookahead::{self, Peer};
use super::spell::{self, called};
use crate::run::error::Fault;
use crate::run::options::RunOptions;
use crate::run::outcome::{Failure, Outcome};
use crate::run::own_server::survives;
use crate::run::process::Server;
use crate::run::runner::{Next, Run};
use crate::session::{Event, GroupPeek};
use crate::talk::{Action, Edits, Incoming, Script, Speaker, Step};

/// How long nothing must come until nothing more is expected to.
pub const QUIET: Duration = Duration::from_millis(150);

/// How many lines that `<*` skips are remembered.
pub(super) const SKIPPED_MAX: usize = 10_000;

/// A script that is being blessed.
pub(super) struct Mender<'a> {
    pub(super) script: &'a Script,
    pub(super) names: BTreeSet<String>,
    pub(super) run: Run<'a>,
    pub(super) air: Air,
    /// Connections whose end was written down, so that nothing can come from them.
    pub(super) over: Vec<Speaker>,
    /// What the step at hand has consumed.
    pub(super) heard: Arc<Mutex<Vec<Vec<u8>>>>,
    pub(super) edits: Edits,
}

/// Whether something may still be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Air {
    /// We are speaking, and are not done.
    Speaking,
    /// Perhaps.
    Open,
    /// Nothing has come for a while, and nothing was done since.
    Settled,
    /// Besides, an expectation has waited in vain.
    Silent,
}

impl<'a> Mender<'a> {
    pub(super) fn new(script: &'a Script, options: &RunOptions, server: Option<&'a mut Server>) -> Self {
        let mut run = Run::new(options, server);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        run.session.observe(move |entry| {
            let mut heard = hears.lock().unwrap_or_else(PoisonError::into_inner);
            if let Event::ReceivedLine(line) = &entry.event
                && heard.len() < SKIPPED_MAX
            {
                heard.push(line.clone());
            }
        });
        let names = spell::names(script);
        Self { script, names, run, air: Air::Open, over: Vec::new(), heard, edits: Edits::default() }
    }

    /// What is to be changed, or why nothing is.
    pub(super) fn walk(mut self) -> Result<Edits, Outcome> {
        let script = self.script;
        for (index, step) in script.steps().iter().enumerate() {
            match self.step(index, step) {
                Ok(Next::Step) => {}
                Ok(Next::Abandon) => {
                    self.run.is_abandoned = true;
                    break;
                }
                Ok(Next::Skip(reason)) => return Err(Outcome::Skipped(reason)),
                Err(fault) => {
                    let failure = Failure::at(script, index, fault, self.run.session.transcript());
                    return Err(failed(failure.with_end_of(self.run.server)));
                }
            }
        }
        let mut server = self.run.server.take();
        // What a server says that falls over, up to its end, is not what it is to say.
        let finished = self.finish().and_then(|edits| survives(&mut server).map(|()| edits));
        finished.map_err(|fault| failed(Failure::at_the_end(script, fault).with_end_of(server)))
    }

    fn step(&mut self, index: usize, step: &Step) -> Result<Next, Fault> {
        match step.action() {
            Action::Within(_) | Action::Timeout(_) | Action::Set { .. } | Action::Eol(_) | Action::Require(_) => {
                self.run.step(step)
            }
            Action::Expect { from, what } => {
                if self.air == Air::Speaking {
                    self.air = Air::Open;
                }
                self.lock_heard().clear();
                self.expect(index, step, from, what)
            }
            action => {
                if self.air != Air::Speaking {
                    self.settle();
                    self.write_unasked(index)?;
                }
                self.air = if let Action::Send { .. } = action { Air::Speaking } else { Air::Open };
                if let Action::Connect(connect) = action {
                    self.over.retain(|over| lookahead::group(over) != lookahead::name(connect));
                }
                self.run.step(step)
            }
        }
    }

    fn expect(&mut self, index: usize, step: &Step, from: &Speaker, what: &Incoming) -> Result<Next, Fault> {
        let is_skipping = self.run.skipping.contains(from);
        match what {
            _ if self.script.is_included(step) => self.run.step(step),
            Incoming::Bytes(_) | Incoming::Nothing(_) => self.run.step(step),
            Incoming::Raw(_) if is_skipping => self.run.step(step),
            Incoming::Raw(_) => self.expect_raw(index, step, from, what),
            _ if self.is_over(from) => Ok(self.delete(index)),
            Incoming::Skip => self.run.step(step),
            Incoming::Line(_) if is_skipping => self.expect_behind_others(index, step, from),
            _ if is_skipping => self.run.step(step),
            Incoming::Line(pattern) => self.expect_line(index, step, from, pattern),
            Incoming::Eof | Incoming::Reset | Incoming::Closed => self.expect_end(index, step, from),
        }
    }

    /// Writes down what has come that nobody will ask for.
    fn write_unasked(&mut self, index: usize) -> Result<(), Fault> {
        for unread in self.run.session.peek() {
            let steps = &self.script.steps()[index..];
            let counts: Vec<usize> = unread
                .members
                .iter()
                .map(|link| match (Peer { name: &unread.name, member: link.member }) {
                    peer if self.run.skipping.iter().any(|speaker| lookahead::group(speaker) == peer.name) => 0,
                    peer => peer.unasked(link, steps, &self.run.variables),
                })
                .collect();
            let lines = self.take_counted(&unread, &counts)?;
            self.insert(index, lines)?;
        }
        Ok(())
    }

    /// The closing checks: what still comes is written down, too.
    fn finish(mut self) -> Result<Edits, Fault> {
        if self.run.is_abandoned {
            return Ok(self.edits);
        }
        self.run.check_time()?;
        let end = self.script.steps().len();
        self.settle();
        self.write_unasked(end)?;
        let half_closed: BTreeSet<String> =
            self.run.session.peek().into_iter().filter(is_half_closed).map(|group| group.name).collect();
        self.run.session.half_close_all(self.run.at_most(self.run.session.options().timeout));
        for unread in self.run.session.peek().into_iter().filter(GroupPeek::is_whole) {
            let counts: Vec<usize> = unread.members.iter().map(|link| link.lines.len()).collect();
            let mut lines = self.take_counted(&unread, &counts)?;
            for link in self.run.session.peek_group(&unread.name)?.members.iter().filter(|link| !link.rest.is_empty()) {
                lines.push(spell::raw(&called(&unread, link.member), &link.rest));
                self.run.session.take_rest(&unread.name, link.member)?;
            }
            if !lines.is_empty() && !half_closed.contains(&unread.name) {
                lines.insert(0, format!("{}>eof", unread.name));
            }
            self.insert(end, lines)?;
        }
        self.run.finish()?;
        Ok(self.edits)
    }

    /// Waits for quiet, which is no time of the script's own.
    pub(super) fn settle(&mut self) {
        if matches!(self.air, Air::Settled | Air::Silent) {
            return;
        }
        let start = Instant::now();
        let time_max = self.run.session.options().timeout;
        self.run.session.wait_until_quiet(QUIET, time_max);
        self.run.ends = self.run.ends.and_then(|ends| ends.checked_add(start.elapsed()));
        self.air = Air::Settled;
    }

    fn is_over(&self, speaker: &Speaker) -> bool {
        let is_all =
            |over: &Speaker| matches!(over, Speaker::Named(_)) && lookahead::group(over) == lookahead::group(speaker);
        self.over.iter().any(|over| over == speaker || is_all(over))
    }

    pub(super) fn lock_heard(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_half_closed(group: &GroupPeek) -> bool {
    group.members.iter().any(|link| link.is_half_closed)
}

pub(super) fn failed(failure: Failure) -> Outcome {
    Outcome::Failed(Box::new(failure.unblessed()))
}
