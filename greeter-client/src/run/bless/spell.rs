//! How what came is written down as an expectation.

use std::collections::BTreeSet;

use crate::net::{Eol, StreamEnd};
use crate::session::GroupPeek;
use crate::talk::{
    Action, Destination, Incoming, Outgoing, Pattern, Script, Variables, name_values, quote, spell_line,
};

/// Shorter values stand in a line by accident.
const MIN_VALUE_CHARACTERS: usize = 3;

/// Writes lines down: with the variables of one script, as they are bound at one step.
pub(super) struct Speller<'a> {
    pub(super) variables: &'a Variables,
    /// Those that the script speaks of. The environment may bind more.
    pub(super) names: &'a BTreeSet<String>,
    pub(super) eol: Eol,
}

impl Speller<'_> {
    /// A line of a connection that is in no crowd, or of one member. `name` is what stands
    /// before the `<`.
    pub(super) fn line(&self, name: &str, line: &[u8], member: Option<usize>) -> String {
        let start = format!("{name}<");
        let literal = spell_line(&start, line, self.eol);
        let Some(text) = literal[start.len()..].strip_prefix(' ') else { return literal };
        let named = self.with_names(text);
        if self.is_pattern_of(&named, [(member, line)]) { format!("{start} {named}") } else { literal }
    }

    /// A line of each member of the crowd: in one line, if one says it of all, or else in a line
    /// for each.
    pub(super) fn row(&self, crowd: &str, row: &[(Option<usize>, Vec<u8>)], is_of_all: bool) -> Vec<String> {
        let each = || row.iter().map(|(member, line)| self.line(&member_name(crowd, *member), line, *member)).collect();
        let Some((member, line)) = row.last().filter(|_| is_of_all) else { return each() };
        let start = format!("{crowd}<");
        let literal = spell_line(&start, line, self.eol);
        let is_same = row.iter().all(|(_, other)| other == line);
        let Some(text) = literal[start.len()..].strip_prefix(' ').filter(|_| !is_same) else {
            return if is_same { vec![self.line(crowd, line, *member)] } else { each() };
        };
        let numbered = self.with_names_and_number(text, *member);
        let lines = row.iter().map(|(member, line)| (*member, &line[..]));
        if self.is_pattern_of(&numbered, lines) { vec![format!("{start} {numbered}")] } else { each() }
    }

    /// The text with names in place of their values: first those of secrets, so that none is left
    /// in part.
    fn with_names(&self, text: &str) -> String {
        self.with_names_and_number(text, None)
    }

    /// The same with `{{#}}` for each number that is the member's, too.
    fn with_names_and_number(&self, text: &str, member: Option<usize>) -> String {
        let mut values = self.variables.texts(|name| self.names.contains(name) && !self.variables.is_secret(name));
        values.retain(|(value, _)| value.chars().count() >= MIN_VALUE_CHARACTERS);
        let secrets = self.variables.texts(|name| self.variables.is_secret(name));
        name_values(text, &secrets, |text| name_values(&with_number(text, member), &values, str::to_owned))
    }

    /// Whether the text, as an expectation, is met by each of the lines.
    fn is_pattern_of<'l>(&self, text: &str, lines: impl IntoIterator<Item = (Option<usize>, &'l [u8])>) -> bool {
        let Ok(pattern) = text.parse::<Pattern>() else { return false };
        lines.into_iter().all(|(member, line)| pattern.matches(line, self.variables, member).is_some())
    }
}

/// How a script calls one connection.
pub(super) fn called(group_peek: &GroupPeek, member: Option<usize>) -> String {
    member_name(group_of(&group_peek.name), member)
}

fn member_name(group: &str, member: Option<usize>) -> String {
    member.map_or_else(|| group.to_owned(), |member| format!("{group}.{member}"))
}

/// The name without a member's number.
pub(super) fn group_of(name: &str) -> &str {
    name.split_once('.').map_or(name, |(name, _)| name)
}

/// What came without the end of a line.
pub(super) fn raw(name: &str, bytes: &[u8]) -> String {
    format!("{name}<{}", quote(bytes))
}

/// The peer's end; none for what a script cannot say.
pub(super) fn end(name: &str, end: StreamEnd) -> Option<String> {
    match end {
        StreamEnd::Eof | StreamEnd::Truncated => Some(format!("{name}<eof")),
        StreamEnd::Reset => Some(format!("{name}<reset")),
        StreamEnd::Alert(_) | StreamEnd::Lost(_) => None,
    }
}

/// The text with `{{#}}` for each number that is the member's.
fn with_number(text: &str, member: Option<usize>) -> String {
    let Some(number) = member.map(|member| member.to_string()) else { return text.to_owned() };
    let mut numbered = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - start);
        let (before, behind) = (&rest[..start], &rest[start + digits..]);
        let found = &rest[start..start + digits];
        numbered.extend([before, if found == number { "{{#}}" } else { found }]);
        rest = behind;
    }
    numbered + rest
}

/// The variables that a script sets, captures or uses.
pub(super) fn names(script: &Script) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for step in script.steps() {
        match step.action() {
            Action::Send { what: Outgoing::Line(template), .. } => names.extend(template.names().map(str::to_owned)),
            Action::Expect {
                what:
                    Incoming::Line(pattern)
                    | Incoming::Optional(pattern)
                    | Incoming::Never(pattern)
                    | Incoming::AnyOrder { pattern, .. },
                ..
            } => names.extend(pattern.names().map(str::to_owned)),
            Action::Expect { what: Incoming::Prompt(prompt), .. } => names.extend(prompt.names().map(str::to_owned)),
            Action::Expect { what: Incoming::Bytes { capture, .. }, .. } => {
                names.extend(capture.iter().map(|name| name.as_str().to_owned()));
            }
            Action::Set { name, value } => {
                names.insert(name.as_str().to_owned());
                names.extend(value.names().map(str::to_owned));
            }
            Action::Let { name, value } => {
                names.insert(name.as_str().to_owned());
                names.extend(value.names().into_iter().map(str::to_owned));
            }
            Action::Secret(name) => drop(names.insert(name.as_str().to_owned())),
            Action::Connect(connect) => {
                if let Some(Destination::Template(template)) = &connect.to {
                    names.extend(template.names().map(str::to_owned));
                }
            }
            _ => {}
        }
    }
    names
}
