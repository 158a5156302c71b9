//! Writes down what came, and where.

use super::blesser::Blesser;
use super::lookahead::Unsolicited;
use super::spell::{self, Speller, called, group_of};
use crate::run::error::StepError;
use crate::run::runner::AfterStep;
use crate::session::{GroupPeek, Peek};
use crate::talk::Action;

impl Blesser<'_> {
    /// With the variables as they are now.
    pub(super) fn speller(&self) -> Speller<'_> {
        Speller { variables: &self.run.variables, names: &self.names, eol: self.run.session.options().eol }
    }

    /// The lines of this number, one of each connection that has so many.
    pub(super) fn spell(&self, group_peek: &GroupPeek, row: usize) -> Vec<String> {
        let lines: Vec<(Option<usize>, Vec<u8>)> =
            group_peek.members.iter().filter_map(|peek| Some((peek.member, peek.lines.get(row)?.clone()))).collect();
        match &lines[..] {
            [(member, line)] if !group_peek.is_crowd => vec![self.speller().line(&group_peek.name, line, *member)],
            _ => self.speller().row(&group_peek.name, &lines, lines.len() == group_peek.size),
        }
    }

    /// Consumes and spells so many lines of each connection: first those that all of them have.
    pub(super) fn take_counted(&mut self, group_peek: &GroupPeek, counts: &[usize]) -> Result<Vec<String>, StepError> {
        let common = counts.iter().copied().min().unwrap_or(0);
        let mut lines: Vec<String> = (0..common).flat_map(|row| self.spell(group_peek, row)).collect();
        for (peek, &count) in group_peek.members.iter().zip(counts) {
            let rest = &peek.lines[common..count];
            let name = called(group_peek, peek.member);
            lines.extend(rest.iter().map(|line| self.speller().line(&name, line, peek.member)));
            self.run.session.take_lines(group_of(&group_peek.name), peek.member, count)?;
        }
        Ok(lines)
    }

    /// Consumes and spells what stands unfinished behind the last line of each connection that
    /// nobody will ask for it.
    pub(super) fn take_rests(
        &mut self,
        group_peek: &GroupPeek,
        unsolicited: &[Unsolicited],
    ) -> Result<Vec<String>, StepError> {
        let taken: Vec<&Peek> =
            group_peek.members.iter().zip(unsolicited).filter(|(_, found)| found.rest).map(|(peek, _)| peek).collect();
        for peek in &taken {
            self.run.session.take_rest(group_of(&group_peek.name), peek.member)?;
        }
        let [first, others @ ..] = &taken[..] else { return Ok(Vec::new()) };
        if taken.len() == group_peek.size && others.iter().all(|peek| peek.rest == first.rest) {
            return Ok(vec![spell::raw(group_of(&group_peek.name), &first.rest)]);
        }
        Ok(taken.iter().map(|peek| spell::raw(&called(group_peek, peek.member), &peek.rest)).collect())
    }

    /// Consumes the first line of each connection that has one.
    pub(super) fn take_line(&mut self, group_peek: &GroupPeek) -> Result<(), StepError> {
        for peek in group_peek.members.iter().filter(|peek| !peek.lines.is_empty()) {
            self.run.session.take_lines(group_of(&group_peek.name), peek.member, 1)?;
        }
        Ok(())
    }

    pub(super) fn replace(&mut self, index: usize, lines: Vec<String>) -> Result<AfterStep, StepError> {
        self.check_secrets(&lines)?;
        self.run.within = None;
        self.edits.replace(self.script.steps()[index].line(), lines);
        Ok(AfterStep::Continue)
    }

    /// Nothing is written that holds a secret: with a mask in its place, it would be another line.
    fn check_secrets(&self, lines: &[String]) -> Result<(), StepError> {
        let secrets = self.run.variables.secrets();
        match lines.iter().any(|line| secrets.are_in(line.as_bytes())) {
            true => Err(StepError::SecretInBlessing),
            false => Ok(()),
        }
    }

    pub(super) fn delete(&mut self, index: usize) -> AfterStep {
        self.edits.replace(self.script.steps()[index].line(), [] as [String; 0]);
        AfterStep::Continue
    }

    /// Inserts lines behind what was done before the step `index`, and before a deadline that is
    /// that step's.
    pub(super) fn insert(&mut self, mut index: usize, lines: Vec<String>) -> Result<(), StepError> {
        if lines.is_empty() {
            return Ok(());
        }
        self.check_secrets(&lines)?;
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
