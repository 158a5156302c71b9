//! What the steps to come mean for a connection, and for what is unread on it now.

use crate::session::Peek;
use crate::talk::{Action, Connect, ConnectionName, Incoming, Pattern, Step, Variables};

/// How many expectations are looked ahead at.
const MAX_AHEAD: usize = 100;

/// A connection, as the steps of a script may mean it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScriptConnection<'a> {
    /// Its name, or that of its crowd; empty for the one without a name.
    pub(super) name: &'a str,
    /// The number within the crowd; none outside of crowds.
    pub(super) member: Option<usize>,
}

/// What a step is to a connection.
enum StepRole<'a> {
    Sends,
    Expects(&'a Incoming),
    /// Nobody asks for what is unread then.
    Forgets,
}

impl ScriptConnection<'_> {
    fn is(self, connection_name: &ConnectionName) -> bool {
        match connection_name {
            ConnectionName::Main => self.name.is_empty(),
            ConnectionName::Named(name) => name.as_str() == self.name,
            ConnectionName::Member(name, member) => {
                name.as_str() == self.name && Some(member.get() as usize) == self.member
            }
        }
    }

    fn role_of(self, step: &Step) -> Option<StepRole<'_>> {
        match step.action() {
            Action::Send { to, what } if self.is(to) => Some(match what {
                crate::talk::Outgoing::Reset => StepRole::Forgets,
                _ => StepRole::Sends,
            }),
            Action::Expect { from, what } if self.is(from) => Some(StepRole::Expects(what)),
            Action::StartTls(connection_name) if self.is(connection_name) => Some(StepRole::Sends),
            Action::Close(connection_name) if self.is(connection_name) => Some(StepRole::Forgets),
            Action::Connect(connect) if opened_name(connect) == self.name => Some(StepRole::Forgets),
            Action::Abandon => Some(StepRole::Forgets),
            _ => None,
        }
    }

    /// What of that which is unread nobody will ask for: not the next expectation of the
    /// connection, after what is still said before it. Where an expectation comes before anything
    /// is said, it is for that to judge.
    pub(super) fn unsolicited(self, peek: &Peek, steps: &[Step], variables: &Variables) -> Unsolicited {
        let mut is_first = true;
        for turn in steps.iter().filter_map(|step| self.role_of(step)) {
            match turn {
                StepRole::Forgets => return Unsolicited::default(),
                StepRole::Expects(_) if is_first => return Unsolicited::default(),
                StepRole::Expects(what) => {
                    let lines = unsolicited_before(what, peek, variables);
                    let is_last = lines == peek.lines.len();
                    let rest = is_last && !peek.rest.is_empty() && !may_begin_with(what, peek, variables);
                    return Unsolicited { lines, rest };
                }
                StepRole::Sends => is_first = false,
            }
        }
        // If nothing more is said, the rest of the line may come with the end.
        Unsolicited { lines: peek.lines.len(), rest: !is_first && !peek.rest.is_empty() }
    }
}

/// What is unread on a connection and that nobody will ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unsolicited {
    /// So many lines.
    pub(super) lines: usize,
    /// What stands behind them without an end: a prompt.
    pub(super) rest: bool,
}

/// Whether what stands behind the last line may become, with what still comes, what is expected. If
/// so, it belongs to that, and the script stays as it is.
fn may_begin_with(what: &Incoming, peek: &Peek, variables: &Variables) -> bool {
    let rest = &peek.rest[..];
    match what {
        Incoming::Line(pattern) => pattern.may_begin_with(rest, variables, peek.member),
        Incoming::Prompt(prompt) => prompt.may_begin_with(rest, variables, peek.member),
        Incoming::Raw(raw) => {
            let bytes = raw.to_vec();
            bytes.starts_with(rest) || rest.starts_with(&bytes)
        }
        Incoming::Eof | Incoming::Reset | Incoming::Closed => false,
        Incoming::Skip
        | Incoming::Never(_)
        | Incoming::Optional(_)
        | Incoming::AnyOrder { .. }
        | Incoming::Nothing(_)
        | Incoming::Bytes { .. } => true,
    }
}

/// How many lines stand before what an expectation can be met by.
pub(super) fn unsolicited_before(what: &Incoming, peek: &Peek, variables: &Variables) -> usize {
    let count = peek.lines.len();
    match what {
        Incoming::Line(pattern) => {
            let is_met = |line: &Vec<u8>| pattern.matches(line, variables, peek.member).is_some();
            peek.lines.iter().position(is_met).unwrap_or(count)
        }
        // What begins like the bytes may go on like them. That a line may have ended with CR LF
        // makes no difference here.
        Incoming::Raw(raw) => {
            let first = raw.unit().split(|&byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
            peek.lines.iter().position(|line| line.starts_with(first) || first.starts_with(line)).unwrap_or(count)
        }
        Incoming::Prompt(prompt) => {
            let is_met = |line: &Vec<u8>| prompt.starts(line, variables, peek.member);
            peek.lines.iter().position(is_met).unwrap_or(count)
        }
        Incoming::Eof | Incoming::Reset | Incoming::Closed => count,
        Incoming::Skip
        | Incoming::Never(_)
        | Incoming::Optional(_)
        | Incoming::AnyOrder { .. }
        | Incoming::Nothing(_)
        | Incoming::Bytes { .. } => 0,
    }
}

/// The first of `steps` is an expectation of a line from `from`: its pattern and those that follow
/// on the connection before anything else happens there.
pub(super) fn patterns<'a>(steps: &'a [Step], from: &ConnectionName) -> Vec<&'a Pattern> {
    let mut patterns = Vec::new();
    for step in steps {
        match step.action() {
            Action::Expect { from: connection_name, what: Incoming::Line(pattern) } if connection_name == from => {
                patterns.push(pattern)
            }
            Action::Expect { from: connection_name, .. }
            | Action::Send { to: connection_name, .. }
            | Action::StartTls(connection_name)
            | Action::Close(connection_name)
                if group(connection_name) != group(from) => {}
            Action::Within(_)
            | Action::Timeout(_)
            | Action::Set { .. }
            | Action::Let { .. }
            | Action::Secret(_)
            | Action::Sleep(_) => {}
            _ => break,
        }
        if patterns.len() == MAX_AHEAD {
            break;
        }
    }
    patterns
}

/// What the connection expects next, if that is before anything is said there.
pub(super) fn next_expected<'a>(steps: &'a [Step], from: &ConnectionName) -> Option<&'a Incoming> {
    steps.iter().find_map(|step| match step.action() {
        Action::Expect { from: connection_name, what } if group(connection_name) == group(from) => Some(Some(what)),
        Action::Send { to: connection_name, .. }
        | Action::StartTls(connection_name)
        | Action::Close(connection_name)
            if group(connection_name) == group(from) =>
        {
            Some(None)
        }
        Action::Connect(connect) if opened_name(connect) == group(from) => Some(None),
        _ => None,
    })?
}

/// The name of the connection, or of the crowd.
pub(super) fn group(connection_name: &ConnectionName) -> &str {
    match connection_name {
        ConnectionName::Main => "",
        ConnectionName::Named(name) | ConnectionName::Member(name, _) => name.as_str(),
    }
}

/// The name of what is opened.
pub(super) fn opened_name(connect: &Connect) -> &str {
    connect.name.as_ref().map_or("", |name| name.as_str())
}
