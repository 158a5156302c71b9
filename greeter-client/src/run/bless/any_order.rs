//! Lines that may come in any order, and what takes the places of those that did not come.

use super::blesser::{Activity, Blesser};
use super::lookahead;
use crate::run::assignment::Assignment;
use crate::run::error::StepError;
use crate::run::runner::AfterStep;
use crate::session::{Actual, SessionError};
use crate::talk::{Action, ConnectionName, Incoming, Pattern, Step};

impl Blesser<'_> {
    /// The last step of a group of lines, which waits for them all. If not all come, those patterns
    /// stay that have a line, and the lines that have no pattern take the places of the others.
    pub(super) fn expect_any_order(
        &mut self,
        index: usize,
        step: &Step,
        from: &ConnectionName,
    ) -> Result<AfterStep, StepError> {
        let is_timed = self.run.within.is_some();
        let mismatch = match self.run.step(step) {
            Err(StepError::Session(SessionError::Mismatch(mismatch))) => mismatch,
            outcome => return outcome,
        };
        let name = from.to_string();
        let is_blessable = matches!(mismatch.actual, Actual::Line(_) | Actual::Nothing | Actual::End(_));
        if is_timed || !is_blessable || self.run.session.size(&name) > 1 {
            return Err(SessionError::Mismatch(mismatch).into());
        }
        self.settle();
        let group = self.run.session.peek_group(&name)?;
        let Some(peek) = group.members.first() else { return Err(SessionError::Mismatch(mismatch).into()) };
        let patterns = self.group_before(index);
        let mut assignment = Assignment::new(&patterns);
        let lines: Vec<&Vec<u8>> = peek.lines.iter().take(patterns.len()).collect();
        let variables = &self.run.variables;
        let mut others: Vec<&[u8]> =
            lines.iter().filter(|line| !assignment.add(line, variables, peek.member)).map(|line| &line[..]).collect();
        let bindings = assignment.bindings().map_err(|unclear| assignment.explain(&unclear))?;
        let first = index + 1 - patterns.len();
        for pattern in assignment.left().collect::<Vec<_>>() {
            let replaced = if others.is_empty() {
                Vec::new()
            } else {
                let line = others.remove(0);
                let spelled = self.speller().line(&name, line, peek.member);
                // In the raw form, it would be no line.
                let Some(text) = spelled.strip_prefix(&format!("{name}<")).filter(|text| !text.starts_with('"')) else {
                    return Err(SessionError::Mismatch(mismatch).into());
                };
                vec![format!("{name}<&{text}")]
            };
            self.edits.replace(self.script.steps()[first + pattern].line(), replaced);
        }
        if lines.len() < patterns.len() {
            self.activity = Activity::Silent;
        }
        self.run.session.take_lines(lookahead::group(from), peek.member, lines.len())?;
        self.run.variables.bind(bindings);
        Ok(AfterStep::Continue)
    }

    /// The patterns of the group whose last step is at `index`.
    fn group_before(&self, index: usize) -> Vec<Pattern> {
        let steps = &self.script.steps()[..=index];
        let pattern = |(at, step): (usize, &Step)| match step.action() {
            Action::Expect { what: Incoming::AnyOrder { pattern, more }, .. } if *more == index - at => {
                Some(pattern.clone())
            }
            _ => None,
        };
        let mut patterns: Vec<Pattern> = steps.iter().enumerate().rev().map_while(pattern).collect();
        patterns.reverse();
        patterns
    }
}
