//! Expectations that may not be met, and what takes their place then.

use std::collections::BTreeMap;
use std::time::Duration;

use super::align::{Move, first_move};
use super::blesser::{Activity, Blesser, MAX_SKIPPED, QUIET};
use super::{lookahead, spell};
use crate::net::StreamEnd;
use crate::run::error::StepError;
use crate::run::pending::LinesBefore;
use crate::run::runner::AfterStep;
use crate::session::{Actual, GroupPeek, Peek, SessionError};
use crate::talk::{Action, ConnectionName, Incoming, Pattern, Step};

impl Blesser<'_> {
    /// Looks first, so that a crowd has not begun to answer when one of it turns out to say
    /// something else.
    pub(super) fn expect_line(
        &mut self,
        index: usize,
        step: &Step,
        from: &ConnectionName,
        pattern: &Pattern,
    ) -> Result<AfterStep, StepError> {
        self.run.check_time()?;
        let name = from.to_string();
        let group_peek = self.run.session.await_lines(&name, self.patience())?;
        if self.are_met(&[pattern], &group_peek, 0, 0) {
            return self.run.step(step);
        }
        self.run.check_time()?;
        let is_late = group_peek.members.iter().any(|peek| peek.lines.is_empty() && peek.end.is_none());
        if is_late && self.run.within.is_some() {
            return self.run.step(step);
        }
        self.settle();
        let group_peek = self.run.session.peek_group(&name)?;
        let lines = group_peek.members.iter().map(|peek| peek.lines.len());
        let (rows, most) = (lines.clone().min().unwrap_or(0), lines.max().unwrap_or(0));
        if rows == 0 && most == 0 {
            return self.replace_by_what_is_no_line(index, step, from, &group_peek);
        }
        let patterns = lookahead::patterns(&self.script.steps()[index..], from);
        let next = match rows {
            0 => Move::Replace,
            _ => first_move(rows, patterns.len(), |row, expected| self.are_met(&patterns, &group_peek, row, expected)),
        };
        match next {
            Move::Delete if self.run.within.is_some() => self.run.step(step),
            Move::Delete => Ok(self.delete(index)),
            Move::Replace => {
                let lines = self.spell(&group_peek, 0);
                self.take_line(&group_peek)?;
                self.replace(index, lines)
            }
            Move::InsertBefore(count) => {
                let lines: Vec<String> = (0..count).flat_map(|row| self.spell(&group_peek, row)).collect();
                for _ in 0..count {
                    self.take_line(&group_peek)?;
                }
                self.insert(index, lines)?;
                self.run.step(step)
            }
        }
    }

    /// Takes the lines that may come before what is expected next: a line like `pattern`, or the
    /// end. They stay as they are written, come or not.
    pub(super) fn take_optional(&mut self, from: &ConnectionName, pattern: Option<&Pattern>) -> Result<(), StepError> {
        let Some(before) = self.run.pending.remove(from) else { return Ok(()) };
        let name = from.to_string();
        // How many of the optional patterns are over for each member.
        let mut had = BTreeMap::new();
        loop {
            let timeout = self.patience();
            let mut is_taken = false;
            for peek in self.run.session.await_lines(&name, timeout)?.members {
                let had = had.entry(peek.member).or_insert(0);
                let Some(line) = peek.lines.first() else { continue };
                let matches = |pattern: &Pattern| pattern.matches(line, &self.run.variables, peek.member);
                if pattern.and_then(matches).is_some() {
                    continue;
                }
                let found = before.optional(*had).iter().map(matches).enumerate();
                let Some((offset, bindings)) = found.into_iter().find_map(|(at, found)| Some((at, found?))) else {
                    continue;
                };
                self.run.variables.bind(bindings);
                *had += offset + 1;
                self.run.session.take_lines(lookahead::group(from), peek.member, 1)?;
                is_taken = true;
            }
            if !is_taken {
                return Ok(());
            }
        }
    }

    /// How long a line is waited for.
    fn patience(&self) -> Duration {
        match self.activity {
            Activity::Silent => QUIET,
            _ => self.run.at_most(self.run.within.unwrap_or(self.run.session.options().timeout)),
        }
    }

    /// Where an end came, or the start of a line, or nothing at all.
    fn replace_by_what_is_no_line(
        &mut self,
        index: usize,
        step: &Step,
        from: &ConnectionName,
        group_peek: &GroupPeek,
    ) -> Result<AfterStep, StepError> {
        let Some(first) = group_peek.members.first() else { return self.run.step(step) };
        let is_same = group_peek.members.iter().all(|peek| peek.end == first.end && peek.rest == first.rest);
        match (&first.rest[..], first.end) {
            _ if !is_same => self.run.step(step),
            // The time is over, and it was not a time of its own.
            ([], None) => {
                self.activity = Activity::Silent;
                Ok(self.delete(index))
            }
            ([], Some(end)) => self.replace_by_end(index, step, from, end),
            (rest, Some(_)) => {
                let line = spell::raw(&group_peek.name, rest);
                for peek in &group_peek.members {
                    self.run.session.take_rest(lookahead::group(from), peek.member)?;
                }
                self.replace(index, vec![line])
            }
            _ => self.run.step(step),
        }
    }

    /// The end came, which is written down unless the script does that next.
    fn replace_by_end(
        &mut self,
        index: usize,
        step: &Step,
        from: &ConnectionName,
        end: StreamEnd,
    ) -> Result<AfterStep, StepError> {
        let Some(line) = spell::end(&from.to_string(), end) else { return self.run.step(step) };
        let is_awaited = match lookahead::next_expected(&self.script.steps()[index + 1..], from) {
            Some(Incoming::Eof) => end.is_eof(),
            Some(Incoming::Reset) => end == StreamEnd::Reset,
            Some(Incoming::Closed) => true,
            _ => false,
        };
        if is_awaited && self.run.within.is_none() {
            return Ok(self.delete(index));
        }
        let name = from.to_string();
        let speaker = self.run.session.on(&name);
        match end {
            StreamEnd::Eof | StreamEnd::Truncated => speaker.expect_eof()?,
            _ => speaker.expect_reset()?,
        }
        self.over.push(from.clone());
        self.replace(index, vec![line])
    }

    /// Bytes and prompts never change, but lines may have come before them.
    pub(super) fn expect_raw(
        &mut self,
        index: usize,
        step: &Step,
        from: &ConnectionName,
        what: &Incoming,
    ) -> Result<AfterStep, StepError> {
        let within = self.run.within;
        let error = match self.run.step(step) {
            Err(error @ StepError::Session(SessionError::Mismatch(_))) => error,
            outcome => return outcome,
        };
        self.settle();
        let group_peek = self.run.session.peek_group(&from.to_string())?;
        // Of a crowd, some have had their bytes already.
        let [peek] = &group_peek.members[..] else { return Err(error) };
        match lookahead::unsolicited_before(what, peek, &self.run.variables) {
            count if count == 0 || count == peek.lines.len() && !self.begins_like(what, peek) => Err(error),
            count => {
                let lines = self.take_counted(&group_peek, &[count])?;
                self.insert(index, lines)?;
                self.run.within = within;
                self.run.step(step)
            }
        }
    }

    /// Whether bytes that do not end a line are the start of those that are expected, or start with
    /// them.
    fn begins_like(&self, what: &Incoming, peek: &Peek) -> bool {
        match what {
            _ if peek.rest.is_empty() => false,
            Incoming::Raw(raw) => raw.unit().starts_with(&peek.rest) || peek.rest.starts_with(raw.unit()),
            Incoming::Prompt(prompt) => prompt.starts(&peek.rest, &self.run.variables, peek.member),
            _ => false,
        }
    }

    pub(super) fn expect_end(
        &mut self,
        index: usize,
        step: &Step,
        from: &ConnectionName,
    ) -> Result<AfterStep, StepError> {
        loop {
            let within = self.run.within;
            let mismatch = match self.run.step(step) {
                Err(StepError::Session(SessionError::Mismatch(mismatch))) => mismatch,
                outcome => return outcome,
            };
            self.run.within = within;
            match (&mismatch.actual, mismatch.end) {
                (Actual::Line(_), _) => {
                    self.settle();
                    let group_peek = self.run.session.peek_group(&from.to_string())?;
                    let counts: Vec<usize> = group_peek.members.iter().map(|peek| peek.lines.len()).collect();
                    let lines = self.take_counted(&group_peek, &counts)?;
                    self.insert(index, lines)?;
                }
                (Actual::PartialLine(rest), Some(_)) => {
                    self.run.session.take_rest(lookahead::group(from), mismatch.member)?;
                    self.insert(index, vec![spell::raw(&mismatch.connection, rest)])?;
                }
                (&Actual::End(end), _) => {
                    let Some(line) = spell::end(&from.to_string(), end) else {
                        return Err(SessionError::Mismatch(mismatch).into());
                    };
                    self.over.push(from.clone());
                    return self.replace(index, vec![line]);
                }
                (Actual::Nothing, _) if within.is_none() => return Ok(self.delete(index)),
                _ => return Err(SessionError::Mismatch(mismatch).into()),
            }
        }
    }

    /// An expectation behind `<*`. If it never comes, the last line that did takes its place.
    pub(super) fn expect_behind_others(
        &mut self,
        index: usize,
        step: &Step,
        from: &ConnectionName,
    ) -> Result<AfterStep, StepError> {
        let is_timed = self.run.within.is_some();
        let is_restricted = self.run.pending.get(from).is_some_and(LinesBefore::is_restricted);
        let mismatch = match self.run.step(step) {
            Err(StepError::Session(SessionError::Mismatch(mismatch))) => mismatch,
            outcome => return outcome,
        };
        let heard = std::mem::take(&mut *self.lock_heard());
        let is_crowd = self.run.session.size(&from.to_string()) > 1;
        match (heard.split_last(), &mismatch.actual) {
            _ if is_timed || is_crowd || heard.len() == MAX_SKIPPED => Err(SessionError::Mismatch(mismatch).into()),
            (None, Actual::Nothing) => {
                let is_skip =
                    |step: &Step| *step.action() == Action::Expect { from: from.clone(), what: Incoming::Skip };
                let skip = self.script.steps()[..index].iter().rposition(is_skip).expect("who skips was told to");
                // What it must not skip would stand there alone.
                if is_restricted || self.script.is_included(&self.script.steps()[skip]) {
                    return Err(SessionError::Mismatch(mismatch).into());
                }
                self.activity = Activity::Silent;
                self.delete(skip);
                Ok(self.delete(index))
            }
            (None, &Actual::End(end)) => self.replace_by_end(index, step, from, end),
            // It would be taken for the same line before it.
            (Some((last, before)), Actual::Nothing | Actual::End(_)) if !before.contains(last) => {
                let line = self.speller().line(&from.to_string(), last, mismatch.member);
                self.replace(index, vec![line])
            }
            _ => Err(SessionError::Mismatch(mismatch).into()),
        }
    }

    /// Whether a pattern is met by one row of lines: the line of that number on each connection.
    fn are_met(&self, patterns: &[&Pattern], group_peek: &GroupPeek, row: usize, pattern: usize) -> bool {
        let mut variables = None;
        !group_peek.members.is_empty()
            && group_peek.members.iter().all(|peek| {
                let Some(line) = peek.lines.get(row) else { return false };
                let bound = variables.as_ref().unwrap_or(&self.run.variables);
                let Some(bindings) = patterns[pattern].matches(line, bound, peek.member) else { return false };
                if bindings.iter().len() > 0 {
                    variables.get_or_insert_with(|| self.run.variables.clone()).bind(bindings);
                }
                true
            })
    }
}
