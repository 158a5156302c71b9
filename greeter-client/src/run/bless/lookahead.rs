//! What the steps to come mean for a connection, and for what is unread on it now.

use crate::session::Peek;
use crate::talk::{Action, Connect, Incoming, Pattern, Speaker, Step, Variables};

/// How many expectations are looked ahead at.
const AHEAD_MAX: usize = 100;

/// A connection, as the steps of a script may mean it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer<'a> {
    /// Its name, or that of its crowd; empty for the one without a name.
    pub(super) name: &'a str,
    /// The number within the crowd; 0 outside of crowds.
    pub(super) member: usize,
}

/// What a step is to a connection.
enum Turn<'a> {
    Sends,
    Expects(&'a Incoming),
    /// Nobody asks for what is unread then.
    Forgets,
}

impl Peer<'_> {
    fn is(self, speaker: &Speaker) -> bool {
        match speaker {
            Speaker::Main => self.name.is_empty(),
            Speaker::Named(name) => name.as_str() == self.name,
            Speaker::Member(name, member) => name.as_str() == self.name && member.get() as usize == self.member,
        }
    }

    fn turn(self, step: &Step) -> Option<Turn<'_>> {
        match step.action() {
            Action::Send { to, what } if self.is(to) => Some(match what {
                crate::talk::Outgoing::Reset => Turn::Forgets,
                _ => Turn::Sends,
            }),
            Action::Expect { from, what } if self.is(from) => Some(Turn::Expects(what)),
            Action::Close(speaker) if self.is(speaker) => Some(Turn::Forgets),
            Action::Connect(connect) if name(connect) == self.name => Some(Turn::Forgets),
            Action::Abandon => Some(Turn::Forgets),
            _ => None,
        }
    }

    /// How many of the lines that are unread nobody will ask for: not the next expectation of the connection, after what
    /// is still said before it. Where an expectation comes before anything is said, it is for that to judge.
    pub(super) fn unasked(self, unread: &Peek, steps: &[Step], variables: &Variables) -> usize {
        let mut is_first = true;
        for turn in steps.iter().filter_map(|step| self.turn(step)) {
            match turn {
                Turn::Forgets => return 0,
                Turn::Expects(_) if is_first => return 0,
                Turn::Expects(what) => return unasked_before(what, unread, variables),
                Turn::Sends => is_first = false,
            }
        }
        unread.lines.len()
    }
}

/// How many lines stand before what an expectation can be met by.
pub(super) fn unasked_before(what: &Incoming, unread: &Peek, variables: &Variables) -> usize {
    let count = unread.lines.len();
    let member = (unread.member > 0).then_some(unread.member);
    match what {
        Incoming::Line(pattern) => {
            let is_met = |line: &Vec<u8>| pattern.matches(line, variables, member).is_some();
            unread.lines.iter().position(is_met).unwrap_or(count)
        }
        // What begins like the bytes may go on like them. That a line may have ended with CR LF makes no difference here.
        Incoming::Raw(raw) => {
            let first = raw.unit().split(|&byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
            unread.lines.iter().position(|line| line.starts_with(first) || first.starts_with(line)).unwrap_or(count)
        }
        Incoming::Eof | Incoming::Reset | Incoming::Closed => count,
        Incoming::Skip | Incoming::Nothing(_) | Incoming::Bytes(_) => 0,
    }
}

/// The first of `steps` is an expectation of a line from `from`: its pattern and those that follow on the connection before
/// anything else happens there.
pub(super) fn patterns<'a>(steps: &'a [Step], from: &Speaker) -> Vec<&'a Pattern> {
    let mut patterns = Vec::new();
    for step in steps {
        match step.action() {
            Action::Expect { from: speaker, what: Incoming::Line(pattern) } if speaker == from => {
                patterns.push(pattern)
            }
            Action::Expect { from: speaker, .. } | Action::Send { to: speaker, .. } | Action::Close(speaker)
                if group(speaker) != group(from) => {}
            Action::Within(_) | Action::Timeout(_) | Action::Set { .. } | Action::Sleep(_) => {}
            _ => break,
        }
        if patterns.len() == AHEAD_MAX {
            break;
        }
    }
    patterns
}

/// What the connection expects next, if that is before anything is said there.
pub(super) fn next_expected<'a>(steps: &'a [Step], from: &Speaker) -> Option<&'a Incoming> {
    steps.iter().find_map(|step| match step.action() {
        Action::Expect { from: speaker, what } if group(speaker) == group(from) => Some(Some(what)),
        Action::Send { to: speaker, .. } | Action::Close(speaker) if group(speaker) == group(from) => Some(None),
        Action::Connect(connect) if name(connect) == group(from) => Some(None),
        _ => None,
    })?
}

/// The name of the connection, or of the crowd.
pub(super) fn group(speaker: &Speaker) -> &str {
    match speaker {
        Speaker::Main => "",
        Speaker::Named(name) | Speaker::Member(name, _) => name.as_str(),
    }
}

/// The name of what is opened.
pub(super) fn name(connect: &Connect) -> &str {
    connect.name.as_ref().map_or("", |name| name.as_str())
}
