//! Turns templates and a pattern into what a connection says over and over and what it must hear.
//! No I/O.

use std::sync::Arc;

use super::config::Lines;
use super::error::LoadError;
use super::line_block::LineBlock;
use crate::net::Eol;
use crate::talk::{Name, Pattern, Template, Variables};

/// What `{{line}}` in an expectation stands for.
const LINE: &str = "line";

/// How large the block of one connection may be made by repeating its lines, so that a whole
/// pipeline leaves in one piece: four pages, of which thousands of connections can have their own.
const MAX_REPEATED_BYTES: usize = 16 * 1024;

/// What one connection says over and over, and what it must hear.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) requests: LineBlock,
    pub(super) replies: ExpectedReplies,
}

/// What is due for each line of a cycle.
#[derive(Debug)]
pub(super) enum ExpectedReplies {
    /// A line that is known to the byte.
    Exact(LineBlock),
    /// A line that matches: one pattern for each line of the requests.
    Patterns(Box<[Pattern]>),
    /// A line.
    Any,
}

/// The cycles of all connections.
pub(super) enum Workloads<'a> {
    Shared(Arc<Workload>),
    /// They differ in what stands for `{{#}}`, or in which of the lines are theirs.
    Each(WorkloadBuilder<'a>),
}

impl<'a> Workloads<'a> {
    /// # Errors
    ///
    /// If a line or a reply cannot be made.
    pub(super) fn new(
        lines: &'a Lines,
        variables: &'a Variables,
        eol: Eol,
        pipeline: usize,
        connections: usize,
    ) -> Result<Self, LoadError> {
        let maker = WorkloadBuilder { lines, variables, eol, pipeline, connections };
        if lines.lines.is_empty() {
            return Err(LoadError::NothingToSend);
        }
        let differ = lines.once
            || lines.lines.iter().any(Template::needs_member)
            || lines.expect.as_ref().is_some_and(Pattern::needs_member);
        if differ {
            // What is wrong with one is wrong with all.
            maker.workload(1)?;
            Ok(Self::Each(maker))
        } else {
            Ok(Self::Shared(Arc::new(maker.workload(1)?)))
        }
    }

    /// The cycle of connection `member`, counted from 1.
    pub(super) fn of(&self, member: usize) -> Result<Arc<Workload>, LoadError> {
        match self {
            Self::Shared(workload) => Ok(Arc::clone(workload)),
            Self::Each(maker) => maker.workload(member).map(Arc::new),
        }
    }
}

pub(super) struct WorkloadBuilder<'a> {
    lines: &'a Lines,
    variables: &'a Variables,
    eol: Eol,
    pipeline: usize,
    connections: usize,
}

impl WorkloadBuilder<'_> {
    /// The lines of connection `member`: its own, where each is sent once.
    fn lines_of(&self, member: usize) -> Box<dyn Iterator<Item = &Template> + '_> {
        let lines = &self.lines.lines;
        match self.lines.once {
            // Whoever has none of them sends none; a block has one all the same.
            true => Box::new(lines.iter().skip((member - 1) % lines.len()).step_by(self.connections)),
            false => Box::new(lines.iter()),
        }
    }

    fn workload(&self, member: usize) -> Result<Workload, LoadError> {
        let lines = self.lines_of(member).map(|line| {
            let line = line.expand(self.variables, Some(member))?;
            if line.contains(&b'\n') { Err(LoadError::LfInLineError) } else { Ok(line) }
        });
        let lines = lines.collect::<Result<Vec<_>, LoadError>>()?;
        let patterns = self.lines.expect.as_ref().map(|expect| self.patterns(expect, &lines, member));
        let patterns = patterns.transpose()?;
        let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
        let times = self.pipeline.div_ceil(lines.len()).min(MAX_REPEATED_BYTES / bytes).max(1);
        let ending = self.eol.bytes();
        let replies = match patterns {
            None => ExpectedReplies::Any,
            Some(patterns) => match patterns.iter().map(Pattern::text).collect::<Option<Vec<_>>>() {
                Some(texts) => ExpectedReplies::Exact(LineBlock::new(repeat(&texts, times), ending)),
                None => ExpectedReplies::Patterns(repeat(&patterns, times).cloned().collect()),
            },
        };
        Ok(Workload { requests: LineBlock::new(repeat(&lines, times), ending), replies })
    }

    /// What is expected for each line, with its values.
    fn patterns(&self, expect: &Pattern, lines: &[Vec<u8>], member: usize) -> Result<Vec<Pattern>, LoadError> {
        let name: Name = LINE.parse().expect("line is a name");
        let mut variables = self.variables.clone();
        let patterns = lines.iter().map(|line| {
            variables.set(name.clone(), line.as_slice());
            let pattern = expect.bound(&variables, Some(member));
            if pattern.text().is_some_and(|text| text.contains(&b'\n')) {
                Err(LoadError::LfInLineError)
            } else {
                Ok(pattern)
            }
        });
        patterns.collect()
    }
}

fn repeat<T>(lines: &[T], times: usize) -> impl Iterator<Item = &T> {
    std::iter::repeat_n(lines, times).flatten()
}
