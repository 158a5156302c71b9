//! Which lines may come before what a connection expects next, and which must not: `<*`, `<!` and
//! `<?`.

use std::cell::RefCell;

use super::assignment::{Assignment, Unclear};
use crate::session::{ConnectionHandle, LineFit};
use crate::talk::{Bindings, Pattern, Variables};

/// Which lines may come before what a connection expects next.
#[derive(Debug, Default)]
pub(super) enum LinesBefore {
    #[default]
    None,
    /// `<*`: any. What `<!` says must not be among them, nor be what is expected.
    Any { but: Vec<Pattern> },
    /// `<?`: these, in their order, each once at most.
    These(Vec<Pattern>),
}

impl LinesBefore {
    pub(super) fn add_excluded(&mut self, pattern: &Pattern) {
        match self {
            Self::Any { but } => but.push(pattern.clone()),
            Self::None | Self::These(_) => *self = Self::Any { but: vec![pattern.clone()] },
        }
    }

    pub(super) fn add_any(&mut self) {
        if !matches!(self, Self::Any { .. }) {
            *self = Self::Any { but: Vec::new() };
        }
    }

    pub(super) fn add_optional(&mut self, pattern: &Pattern) {
        match self {
            Self::These(patterns) => patterns.push(pattern.clone()),
            Self::None | Self::Any { .. } => *self = Self::These(vec![pattern.clone()]),
        }
    }

    /// Whether `<!` stands before `<*`.
    pub(super) fn is_restricted(&self) -> bool {
        matches!(self, Self::Any { but } if !but.is_empty())
    }

    /// The patterns of lines that may come, and have not yet for `member`, who has had so many.
    pub(super) fn optional(&self, had: usize) -> &[Pattern] {
        match self {
            Self::These(patterns) => &patterns[had..],
            Self::None | Self::Any { .. } => &[],
        }
    }
}

/// Judges line after line while an expectation waits. What is captured is there for the next line.
pub(super) struct LineJudge<'a, 'v> {
    before: &'a LinesBefore,
    /// What is expected in any order.
    any_order: &'a [Pattern],
    variables: RefCell<&'v mut Variables>,
    progress: RefCell<JudgeProgress<'a>>,
}

/// What has come of that which may come before.
#[derive(Default)]
struct JudgeProgress<'a> {
    /// Whom the next two are about: one member of a crowd is heard behind the other.
    member: Option<usize>,
    /// How many of the optional patterns stand before the next line: they keep their order.
    had: usize,
    /// What has come of what is expected in any order.
    assignment: Option<Assignment<'a>>,
    /// Why that does not say what the variables are.
    unclear: Option<Unclear>,
    /// The optional patterns that were met, by anybody.
    met: Vec<usize>,
    /// The excluded pattern that was met.
    excluded: Option<usize>,
}

impl<'a, 'v> LineJudge<'a, 'v> {
    pub(super) fn new(before: &'a LinesBefore, any_order: &'a [Pattern], variables: &'v mut Variables) -> Self {
        Self { before, any_order, variables: RefCell::new(variables), progress: RefCell::default() }
    }

    /// Lets the expectation of the handle take the lines that may come before.
    pub(super) fn admit<'b>(&'b self, handle: ConnectionHandle<'b>) -> ConnectionHandle<'b> {
        match self.before {
            LinesBefore::None => handle,
            LinesBefore::Any { .. } if !self.before.is_restricted() && self.any_order.is_empty() => handle.skipping(),
            LinesBefore::Any { .. } => {
                handle.skipping_if(|member, line| !self.is_unclear() && !self.is_excluded(member, line))
            }
            LinesBefore::These(_) => {
                handle.skipping_if(|member, line| !self.is_unclear() && self.is_optional(member, line))
            }
        }
    }

    /// Whether a line is the one that is expected. What must not come is not, whatever else it is.
    pub(super) fn is_line(&self, pattern: &Pattern, member: Option<usize>, line: &[u8]) -> bool {
        !self.is_excluded(member, line) && self.binds(|variables| pattern.matches(line, variables, member))
    }

    /// What a line is among those that are expected in any order.
    pub(super) fn fit(&self, member: Option<usize>, line: &[u8]) -> LineFit {
        if self.is_excluded(member, line) {
            return LineFit::Wrong;
        }
        let mut progress = self.progress.borrow_mut();
        progress.turn_to(member);
        let JudgeProgress { assignment, unclear, .. } = &mut *progress;
        let assignment = assignment.get_or_insert_with(|| Assignment::new(self.any_order));
        if !assignment.add(line, &self.variables.borrow(), member) {
            return LineFit::Wrong;
        }
        if !assignment.is_complete() {
            return LineFit::Fits;
        }
        match assignment.bindings() {
            Ok(bindings) => {
                self.variables.borrow_mut().bind(bindings);
                LineFit::Last
            }
            Err(why) => {
                *unclear = Some(why);
                LineFit::Wrong
            }
        }
    }

    fn is_unclear(&self) -> bool {
        self.progress.borrow().unclear.is_some()
    }

    /// Binds what is captured; false if nothing matches.
    pub(super) fn binds(&self, matches: impl FnOnce(&Variables) -> Option<Bindings>) -> bool {
        let mut variables = self.variables.borrow_mut();
        let bindings = matches(&variables);
        let is_met = bindings.is_some();
        variables.bind(bindings.unwrap_or_default());
        is_met
    }

    fn is_excluded(&self, member: Option<usize>, line: &[u8]) -> bool {
        let LinesBefore::Any { but } = self.before else { return false };
        let variables = self.variables.borrow();
        let excluded = but.iter().position(|pattern| pattern.matches(line, &variables, member).is_some());
        self.progress.borrow_mut().excluded = excluded;
        excluded.is_some()
    }

    fn is_optional(&self, member: Option<usize>, line: &[u8]) -> bool {
        let mut progress = self.progress.borrow_mut();
        progress.turn_to(member);
        let met = |pattern: &Pattern| self.binds(|variables| pattern.matches(line, variables, member));
        let Some(offset) = self.before.optional(progress.had).iter().position(met) else { return false };
        let index = progress.had + offset;
        progress.met.push(index);
        progress.had = index + 1;
        true
    }

    /// What was found out besides whether the expectation was met.
    pub(super) fn into_findings(self) -> Findings<'a> {
        let JudgeProgress { met, excluded, assignment, unclear, .. } = self.progress.into_inner();
        let optional = self.before.optional(0).iter().enumerate();
        let unmet = optional.filter(|(index, _)| !met.contains(index)).map(|(_, pattern)| pattern).collect();
        let excluded = match self.before {
            LinesBefore::Any { but } => excluded.map(|index| &but[index]),
            LinesBefore::None | LinesBefore::These(_) => None,
        };
        let assignment = assignment.unwrap_or_else(|| Assignment::new(self.any_order));
        Findings { unmet, excluded, assignment, unclear }
    }
}

impl JudgeProgress<'_> {
    fn turn_to(&mut self, member: Option<usize>) {
        if self.member != member {
            (self.member, self.had, self.assignment) = (member, 0, None);
        }
    }
}

/// What came before an expectation, and what did not.
pub(super) struct Findings<'a> {
    /// The optional patterns whose lines nobody has sent.
    pub(super) unmet: Vec<&'a Pattern>,
    /// The excluded pattern whose line has ended the wait.
    pub(super) excluded: Option<&'a Pattern>,
    /// What has come of what is expected in any order.
    pub(super) assignment: Assignment<'a>,
    /// Why that is not all, though it is complete.
    pub(super) unclear: Option<Unclear>,
}
