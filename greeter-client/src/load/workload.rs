//! Turns templates and a pattern into what a connection says over and over and what it must hear.
//! No I/O.

use std::sync::Arc;

use memchr::memchr_iter;

use super::config::{Lines, ReplyEnd};
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
    pub(super) bound: ReplyBound,
}

/// What is due for each line of a cycle.
#[derive(Debug)]
pub(super) enum ExpectedReplies {
    /// A reply that is known to the byte: each stands in the block as a whole, however many lines
    /// it has.
    Exact(LineBlock),
    /// Lines that match: so many patterns for each line of the requests.
    Patterns { each: usize, patterns: Box<[Pattern]> },
    /// Anything.
    Any,
}

/// What ends a reply.
#[derive(Debug)]
pub(super) enum ReplyBound {
    /// So many lines.
    Lines(usize),
    /// A line that matches: one pattern for all lines of the requests, or one for each.
    Until(Box<[Pattern]>),
}

impl Workload {
    /// Whether a reply has one line, whatever it is.
    pub(super) fn is_one_line(&self) -> bool {
        matches!(self.bound, ReplyBound::Lines(1))
    }

    /// How many lines at the front of a reply are compared.
    pub(super) fn compared(&self) -> usize {
        match (&self.replies, &self.bound) {
            (ExpectedReplies::Patterns { each, .. }, _) => *each,
            (ExpectedReplies::Exact(_), ReplyBound::Lines(lines)) => *lines,
            (ExpectedReplies::Exact(block), ReplyBound::Until(_)) => lines_in(&block.bytes()[block.range(0)]),
            (ExpectedReplies::Any, _) => 0,
        }
    }

    /// Whether `line`, of which `index` others of the reply to `request` have come before, is
    /// right; none if it is compared with nothing, and others are.
    pub(super) fn is_right(&self, request: usize, index: usize, line: &[u8], eol: Eol) -> Option<bool> {
        match &self.replies {
            ExpectedReplies::Exact(block) => {
                let reply = &block.bytes()[block.range(request)];
                let expected = reply.split_inclusive(|&byte| byte == b'\n').nth(index);
                expected.map(|expected| eol.strip(expected) == line)
            }
            ExpectedReplies::Patterns { each, patterns } if index < *each => {
                Some(patterns[request * each + index].matches(line, &Default::default(), None).is_some())
            }
            ExpectedReplies::Patterns { .. } => None,
            ExpectedReplies::Any => Some(true),
        }
    }

    /// Whether `line` is the last one of the reply to `request`.
    pub(super) fn is_last(&self, request: usize, index: usize, line: &[u8]) -> bool {
        match &self.bound {
            ReplyBound::Lines(lines) => index + 1 == *lines,
            ReplyBound::Until(patterns) => {
                patterns[request % patterns.len()].matches(line, &Default::default(), None).is_some()
            }
        }
    }
}

fn lines_in(bytes: &[u8]) -> usize {
    memchr_iter(b'\n', bytes).count()
}

/// The cycles of all connections.
pub(super) enum Workloads<'a> {
    Shared(Arc<Workload>),
    /// They differ in what stands for `{{#}}` or was captured, or in which of the lines are theirs.
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
        may_capture: bool,
    ) -> Result<Self, LoadError> {
        let maker = WorkloadBuilder { lines, eol, pipeline, connections };
        if lines.lines.is_empty() {
            return Err(LoadError::NothingToSend);
        }
        if may_capture && maker.has_names() {
            return Ok(Self::Each(maker));
        }
        let differ = lines.once
            || lines.lines.iter().any(Template::needs_member)
            || lines.expect.iter().any(Pattern::needs_member)
            || matches!(&lines.reply_end, ReplyEnd::Until(end) if end.needs_member());
        if differ {
            // What is wrong with one is wrong with all.
            maker.workload(1, variables)?;
            Ok(Self::Each(maker))
        } else {
            Ok(Self::Shared(Arc::new(maker.workload(1, variables)?)))
        }
    }

    /// The cycle of connection `member`, counted from 1, for which `variables` have values.
    pub(super) fn of(&self, member: usize, variables: &Variables) -> Result<Arc<Workload>, LoadError> {
        match self {
            Self::Shared(workload) => Ok(Arc::clone(workload)),
            Self::Each(maker) => maker.workload(member, variables).map(Arc::new),
        }
    }
}

pub(super) struct WorkloadBuilder<'a> {
    lines: &'a Lines,
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

    /// Whether there are variables in what is sent or expected.
    fn has_names(&self) -> bool {
        let Lines { lines, expect, reply_end, .. } = self.lines;
        let end = match reply_end {
            ReplyEnd::Until(end) => Some(end),
            ReplyEnd::Expected | ReplyEnd::Lines(_) => None,
        };
        let expected = expect.iter().chain(end).flat_map(Pattern::names).filter(|name| *name != LINE);
        lines.iter().flat_map(Template::names).chain(expected).next().is_some()
    }

    fn workload(&self, member: usize, variables: &Variables) -> Result<Workload, LoadError> {
        let lines = self.lines_of(member).map(|line| {
            let line = line.expand(variables, Some(member))?;
            if line.contains(&b'\n') { Err(LoadError::LfInLineError) } else { Ok(line) }
        });
        let lines = lines.collect::<Result<Vec<_>, LoadError>>()?;
        let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
        let times = self.pipeline.div_ceil(lines.len()).min(MAX_REPEATED_BYTES / bytes).max(1);
        let ending = self.eol.bytes();
        let bound = self.bound(&lines, member, variables)?;
        let replies = self.replies((&lines, member, variables), &bound, times)?;
        let bound = match bound {
            ReplyBound::Until(patterns) if patterns.len() > 1 => {
                ReplyBound::Until(repeat(&patterns, times).cloned().collect())
            }
            bound => bound,
        };
        Ok(Workload { requests: LineBlock::new(repeat(&lines, times), ending), replies, bound })
    }

    fn bound(&self, lines: &[Vec<u8>], member: usize, variables: &Variables) -> Result<ReplyBound, LoadError> {
        let expected = self.lines.expect.len();
        Ok(match &self.lines.reply_end {
            ReplyEnd::Expected => ReplyBound::Lines(expected.max(1)),
            ReplyEnd::Lines(lines) if lines.get() < expected => {
                return Err(LoadError::TooManyExpected { expected, lines: lines.get() });
            }
            ReplyEnd::Lines(lines) => ReplyBound::Lines(lines.get()),
            // What is the same for all is compiled once.
            ReplyEnd::Until(end) if end.names().any(|name| name == LINE) => {
                ReplyBound::Until(self.patterns(std::slice::from_ref(end), (lines, member, variables))?.into())
            }
            ReplyEnd::Until(end) => ReplyBound::Until([end.bound(variables, Some(member))].into()),
        })
    }

    fn replies(
        &self,
        of: (&[Vec<u8>], usize, &Variables),
        bound: &ReplyBound,
        times: usize,
    ) -> Result<ExpectedReplies, LoadError> {
        let each = self.lines.expect.len();
        if each == 0 {
            return Ok(ExpectedReplies::Any);
        }
        let patterns = self.patterns(&self.lines.expect, of)?;
        let ends_with_them = |(request, texts): (usize, &[&[u8]])| match bound {
            ReplyBound::Lines(lines) => each == *lines,
            ReplyBound::Until(ends) => {
                let end = &ends[request % ends.len()];
                texts.iter().position(|text| end.matches(text, &Default::default(), None).is_some()) == Some(each - 1)
            }
        };
        let texts = patterns.iter().map(Pattern::text).collect::<Option<Vec<_>>>();
        Ok(match texts.filter(|texts| texts.chunks(each).enumerate().all(ends_with_them)) {
            Some(texts) => {
                let ending = self.eol.bytes();
                let replies: Vec<_> = texts.chunks(each).map(|texts| texts.join(ending)).collect();
                ExpectedReplies::Exact(LineBlock::new(repeat(&replies, times), ending))
            }
            None => ExpectedReplies::Patterns { each, patterns: repeat(&patterns, times).cloned().collect() },
        })
    }

    /// What is expected for each line, with its values.
    fn patterns(
        &self,
        expect: &[Pattern],
        (lines, member, variables): (&[Vec<u8>], usize, &Variables),
    ) -> Result<Vec<Pattern>, LoadError> {
        let name: Name = LINE.parse().expect("line is a name");
        let mut variables = variables.clone();
        let mut patterns = Vec::with_capacity(lines.len() * expect.len());
        for line in lines {
            variables.set(name.clone(), line.as_slice());
            for expect in expect {
                let pattern = expect.bound(&variables, Some(member));
                if pattern.text().is_some_and(|text| text.contains(&b'\n')) {
                    return Err(LoadError::LfInLineError);
                }
                patterns.push(pattern);
            }
        }
        Ok(patterns)
    }
}

fn repeat<T>(lines: &[T], times: usize) -> impl Iterator<Item = &T> {
    std::iter::repeat_n(lines, times).flatten()
}
