//! Writes down what came, and where.

use super::blesser::Blesser;
use super::spell::{Speller, called, group_of};
use crate::run::error::StepError;
use crate::run::runner::AfterStep;
use crate::session::GroupPeek;
use crate::talk::Action;

impl Blesser<'_> {
    /// With the variables as they are now.
    pub(super) fn speller(&self) -> Speller<'_> {
        Speller { variables: &self.run.variables, names: &self.names, eol: self.run.session.options().eol }
    }

    /// The lines of this number, one of each connection that has so many.
    pub(super) fn spell(&self, unread: &GroupPeek, row: usize) -> Vec<String> {
        let lines: Vec<(usize, Vec<u8>)> =
            unread.members.iter().filter_map(|link| Some((link.member, link.lines.get(row)?.clone()))).collect();
        match &lines[..] {
            [(member, line)] if !unread.is_crowd => vec![self.speller().line(&unread.name, line, *member)],
            _ => self.speller().row(&unread.name, &lines, lines.len() == unread.size),
        }
    }

    /// Consumes and spells so many lines of each connection: first those that all of them have.
    pub(super) fn take_counted(&mut self, unread: &GroupPeek, counts: &[usize]) -> Result<Vec<String>, StepError> {
        let common = counts.iter().copied().min().unwrap_or(0);
        let mut lines: Vec<String> = (0..common).flat_map(|row| self.spell(unread, row)).collect();
        for (link, &count) in unread.members.iter().zip(counts) {
            let rest = &link.lines[common..count];
            let name = called(unread, link.member);
            lines.extend(rest.iter().map(|line| self.speller().line(&name, line, link.member)));
            self.run.session.take_lines(group_of(&unread.name), link.member, count)?;
        }
        Ok(lines)
    }

    /// Consumes the first line of each connection that has one.
    pub(super) fn take_line(&mut self, unread: &GroupPeek) -> Result<(), StepError> {
        for link in unread.members.iter().filter(|link| !link.lines.is_empty()) {
            self.run.session.take_lines(group_of(&unread.name), link.member, 1)?;
        }
        Ok(())
    }

    pub(super) fn replace(&mut self, index: usize, lines: Vec<String>) -> Result<AfterStep, StepError> {
        self.run.within = None;
        self.edits.replace(self.script.steps()[index].line(), lines);
        Ok(AfterStep::Continue)
    }

    pub(super) fn delete(&mut self, index: usize) -> AfterStep {
        self.edits.replace(self.script.steps()[index].line(), [] as [String; 0]);
        AfterStep::Continue
    }

    /// Inserts lines behind what was done before the step `index`, and before a deadline that is that step's.
    pub(super) fn insert(&mut self, mut index: usize, lines: Vec<String>) -> Result<(), StepError> {
        if lines.is_empty() {
            return Ok(());
        }
        let steps = self.script.steps();
        let own = |index: usize| steps.get(index).filter(|step| !self.script.is_included(step));
        while index > 0 && matches!(steps[index - 1].action(), Action::Within(_)) {
            index -= 1;
        }
        match (index.checked_sub(1).and_then(own), own(index)) {
            (Some(step), _) => self.edits.insert_after(step.line(), lines),
            (None, Some(step)) => self.edits.insert_before(step.line(), lines),
            (None, None) if index == steps.len() && index > 0 => {
                self.edits.insert_after(self.script.source().lines().end - 1, lines);
            }
            (None, None) => return Err(StepError::InsertIntoIncluded(lines.join(", "))),
        }
        Ok(())
    }
}
