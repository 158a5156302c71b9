//! Walks the steps as the runner does, and looks before each whether it will be met.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::lookahead::{self, ScriptConnection, Unsolicited};
use super::spell::{self, called};
use crate::run::error::StepError;
use crate::run::options::RunOptions;
use crate::run::outcome::{Failure, Outcome};
use crate::run::own_server::check_survival;
use crate::run::pending::LinesBefore;
use crate::run::process::ServerProcess;
use crate::run::runner::{AfterStep, Runner};
use crate::session::{Event, GroupPeek};
use crate::talk::{Action, ConnectionName, Edits, Incoming, Script, Step};

/// How long nothing must come until nothing more is expected to.
pub const QUIET: Duration = Duration::from_millis(150);

/// How many lines that `<*` skips are remembered.
pub(super) const MAX_SKIPPED: usize = 10_000;

/// A script that is being blessed.
pub(super) struct Blesser<'a> {
    pub(super) script: &'a Script,
    pub(super) names: BTreeSet<String>,
    pub(super) run: Runner<'a>,
    pub(super) activity: Activity,
    /// Connections whose end was written down, so that nothing can come from them.
    pub(super) over: Vec<ConnectionName>,
    /// What the step at hand has consumed.
    pub(super) heard: Arc<Mutex<Vec<Vec<u8>>>>,
    pub(super) edits: Edits,
}

/// Whether something may still be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    /// We are speaking, and are not done.
    Speaking,
    /// Perhaps.
    Open,
    /// Nothing has come for a while, and nothing was done since.
    Settled,
    /// Besides, an expectation has waited in vain.
    Silent,
}

impl<'a> Blesser<'a> {
    pub(super) fn new(script: &'a Script, options: &RunOptions, server: Option<&'a mut ServerProcess>) -> Self {
        let mut run = Runner::new(script, options, server);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        run.session.observe(move |entry| {
            let mut heard = hears.lock().unwrap_or_else(PoisonError::into_inner);
            if let Event::ReceivedLine(line) = &entry.event
                && heard.len() < MAX_SKIPPED
            {
                heard.push(line.clone());
            }
        });
        let names = spell::names(script);
        Self { script, names, run, activity: Activity::Open, over: Vec::new(), heard, edits: Edits::default() }
    }

    /// What is to be changed, or why nothing is.
    pub(super) fn walk(&mut self) -> Result<Edits, Outcome> {
        let script = self.script;
        for (index, step) in script.steps().iter().enumerate() {
            match self.step(index, step) {
                Ok(AfterStep::Continue) => {}
                Ok(AfterStep::Abandon) => {
                    self.run.is_abandoned = true;
                    break;
                }
                Ok(AfterStep::Skip(reason)) => return Err(Outcome::Skipped(reason)),
                Err(error) => {
                    let failure = Failure::at(script, index, error, self.run.session.transcript());
                    return Err(failed(failure.with_end_of(self.run.server.take())));
                }
            }
        }
        let mut server = self.run.server.take();
        // What a server says that falls over, up to its end, is not what it is to say.
        let finished = self.finish().and_then(|edits| check_survival(&mut server).map(|()| edits));
        finished.map_err(|error| failed(Failure::at_the_end(script, error).with_end_of(server)))
    }

    fn step(&mut self, index: usize, step: &Step) -> Result<AfterStep, StepError> {
        match step.action() {
            Action::Within(_)
            | Action::Timeout(_)
            | Action::Set { .. }
            | Action::Let { .. }
            | Action::Secret(_)
            | Action::Eol(_)
            | Action::Require(_) => self.run.step(step),
            Action::Expect { from, what } => {
                if self.activity == Activity::Speaking {
                    self.activity = Activity::Open;
                }
                self.lock_heard().clear();
                self.expect(index, step, from, what)
            }
            action => {
                if self.activity != Activity::Speaking {
                    self.settle();
                    self.write_unsolicited(index)?;
                }
                self.activity = if let Action::Send { .. } = action { Activity::Speaking } else { Activity::Open };
                if let Action::Connect(connect) = action {
                    self.over.retain(|over| lookahead::group(over) != lookahead::opened_name(connect));
                }
                self.run.step(step)
            }
        }
    }

    fn expect(
        &mut self,
        index: usize,
        step: &Step,
        from: &ConnectionName,
        what: &Incoming,
    ) -> Result<AfterStep, StepError> {
        let is_skipping = matches!(self.run.pending.get(from), Some(LinesBefore::Any { .. }));
        match what {
            _ if self.script.is_included(step) => self.run.step(step),
            Incoming::Bytes { .. } | Incoming::Nothing(_) => self.run.step(step),
            Incoming::Raw(_) | Incoming::Prompt(_) if self.run.pending.contains_key(from) => self.run.step(step),
            Incoming::Raw(_) | Incoming::Prompt(_) => self.expect_raw(index, step, from, what),
            _ if self.is_over(from) => Ok(self.delete(index)),
            Incoming::Skip | Incoming::Never(_) | Incoming::Optional(_) => self.run.step(step),
            Incoming::AnyOrder { more: 0, .. } if !self.run.pending.contains_key(from) => {
                self.expect_any_order(index, step, from)
            }
            Incoming::AnyOrder { .. } => self.run.step(step),
            Incoming::Line(_) if is_skipping => self.expect_behind_others(index, step, from),
            _ if is_skipping => self.run.step(step),
            Incoming::Line(pattern) => {
                self.take_optional(from, Some(pattern))?;
                self.expect_line(index, step, from, pattern)
            }
            Incoming::Eof | Incoming::Reset | Incoming::Closed => {
                self.take_optional(from, None)?;
                self.expect_end(index, step, from)
            }
        }
    }

    /// Writes down what has come that nobody will ask for.
    fn write_unsolicited(&mut self, index: usize) -> Result<(), StepError> {
        for group_peek in self.run.session.peek() {
            let steps = &self.script.steps()[index..];
            let unsolicited: Vec<Unsolicited> = group_peek
                .members
                .iter()
                .map(|peek| match (ScriptConnection { name: &group_peek.name, member: peek.member }) {
                    peer if self.run.pending.keys().any(|pending| lookahead::group(pending) == peer.name) => {
                        Unsolicited::default()
                    }
                    peer => peer.unsolicited(peek, steps, &self.run.variables),
                })
                .collect();
            let counts: Vec<usize> = unsolicited.iter().map(|unsolicited| unsolicited.lines).collect();
            let mut lines = self.take_counted(&group_peek, &counts)?;
            lines.extend(self.take_rests(&group_peek, &unsolicited)?);
            self.insert(index, lines)?;
        }
        Ok(())
    }

    /// The closing checks: what still comes is written down, too.
    fn finish(&mut self) -> Result<Edits, StepError> {
        if self.run.is_abandoned {
            return Ok(std::mem::take(&mut self.edits));
        }
        self.run.check_time()?;
        let end = self.script.steps().len();
        self.settle();
        self.write_unsolicited(end)?;
        let half_closed: BTreeSet<String> =
            self.run.session.peek().into_iter().filter(is_half_closed).map(|group| group.name).collect();
        self.run.session.half_close_all(self.run.at_most(self.run.session.options().timeout));
        for group_peek in self.run.session.peek().into_iter().filter(GroupPeek::is_whole) {
            let counts: Vec<usize> = group_peek.members.iter().map(|peek| peek.lines.len()).collect();
            let mut lines = self.take_counted(&group_peek, &counts)?;
            for peek in
                self.run.session.peek_group(&group_peek.name)?.members.iter().filter(|peek| !peek.rest.is_empty())
            {
                lines.push(spell::raw(&called(&group_peek, peek.member), &peek.rest));
                self.run.session.take_rest(&group_peek.name, peek.member)?;
            }
            if !lines.is_empty() && !half_closed.contains(&group_peek.name) {
                lines.insert(0, format!("{}>eof", group_peek.name));
            }
            self.insert(end, lines)?;
        }
        self.run.finish()?;
        Ok(std::mem::take(&mut self.edits))
    }

    /// Waits for quiet, which is no time of the script's own.
    pub(super) fn settle(&mut self) {
        if matches!(self.activity, Activity::Settled | Activity::Silent) {
            return;
        }
        let start = Instant::now();
        let max_time = self.run.session.options().timeout;
        self.run.session.wait_until_quiet(QUIET, max_time);
        self.run.ends = self.run.ends.and_then(|ends| ends.checked_add(start.elapsed()));
        self.activity = Activity::Settled;
    }

    fn is_over(&self, connection_name: &ConnectionName) -> bool {
        let is_all = |over: &ConnectionName| {
            matches!(over, ConnectionName::Named(_)) && lookahead::group(over) == lookahead::group(connection_name)
        };
        self.over.iter().any(|over| over == connection_name || is_all(over))
    }

    pub(super) fn lock_heard(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_half_closed(group: &GroupPeek) -> bool {
    group.members.iter().any(|peek| peek.is_half_closed)
}

pub(super) fn failed(failure: Failure) -> Outcome {
    Outcome::Failed(Box::new(failure.unblessed()))
}
