//! Turns templates into lines, and lines into what a pattern binds. It must not know scripts: no
//! I/O, no clock.
//!
//! How a line is matched: what a pattern holds besides its placeholders, and the values of the
//! variables that are bound by then, are literals. If no regex is left between them, each free
//! placeholder takes as little as it can, from left to right, and a search for the literals in turn
//! decides. If one is left, all becomes one regex, compiled at the first match and again only when
//! bound values change. Either way, time grows in step with the line, never faster.
//!
//! A CR at the end of a line is hardly ever data: mostly the server ends its lines with CR LF, and
//! nobody has said so. A placeholder without a regex does not take it, for a value with a CR at its
//! end would fail far from its cause.

pub(super) mod placeholder;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::ops::Range;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memmem;
use regex::bytes::Regex;

use super::diagnostic::LineDiagnostic;
use super::variables::{Bindings, Name, Unbound, Variables};
use crate::talk::pattern::placeholder::{Part, Regexes, builder, parse_parts};

/// A template of a line to send: text, `{{name}}`, `{{#}}` and `{{#n}}`.
///
/// ```
/// use greeter_client::talk::{Template, Variables};
///
/// let template: Template = "{{greeting}}, guest {{#}}".parse()?;
/// let mut variables = Variables::default();
/// variables.set("greeting".parse()?, "Hello");
/// assert_eq!(template.expand(&variables, Some(7))?, b"Hello, guest 7");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Box<[Part]>);

impl Template {
    /// Returns the line, without an ending. `member` is the connection's number within its crowd;
    /// without it, `{{#}}` is the [slot](Variables::set_slot) of the session.
    ///
    /// # Errors
    ///
    /// If a placeholder has no value.
    pub fn expand(&self, variables: &Variables, member: Option<usize>) -> Result<Vec<u8>, Unbound> {
        let mut line = Vec::new();
        for part in &self.0 {
            match part.fixed(variables, member) {
                Some(text) => line.extend_from_slice(&text),
                None => return Err(part.unbound()),
            }
        }
        Ok(line)
    }

    /// Returns whether `{{#}}` is in it, so that not all who send it send the same.
    #[must_use]
    pub fn needs_member(&self) -> bool {
        self.0.contains(&Part::Member)
    }

    /// The variables it needs.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| part.name().map(|name| name.as_str()))
    }

    /// Creates the template whose line is `text`, whatever it holds.
    ///
    /// ```
    /// use greeter_client::talk::{Template, Variables};
    ///
    /// assert_eq!(Template::literal(b"{{name}}").expand(&Variables::default(), None)?, b"{{name}}");
    /// # Ok::<(), greeter_client::talk::Unbound>(())
    /// ```
    #[must_use]
    pub fn literal(text: &[u8]) -> Self {
        if text.is_empty() { Self(Box::new([])) } else { Self(Box::new([Part::Text(text.into())])) }
    }

    /// The variable, if the line is its value and nothing else.
    pub(super) fn variable(&self) -> Option<&Name> {
        match &*self.0 {
            [Part::Variable(name)] => Some(name),
            _ => None,
        }
    }

    /// The line, if it has no placeholder.
    pub(super) fn text(&self) -> Option<&[u8]> {
        match &*self.0 {
            [] => Some(&[]),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, LineDiagnostic> {
        let parts = parse_parts(text, &mut Regexes::default())?;
        for (part, at) in &parts {
            if let Part::Anything | Part::Regex(..) = part {
                let diagnostic = LineDiagnostic::new(
                    at.clone(),
                    "only {{name}}, {{#}} and {{#n}} have a value that can be put in here",
                );
                return Err(diagnostic.help("a regex or {{*}} belongs into a line that is expected"));
            }
        }
        Ok(Self(parts.into_iter().map(|(part, _)| part).collect()))
    }
}

/// As it is written, where its text is UTF-8.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| part.fmt(f))
    }
}

impl FromStr for Template {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text.as_bytes()).map_err(PatternError)
    }
}

/// A pattern that a received line is compared with: text and placeholders of every kind.
///
/// It must match the whole line. Without placeholders that is a comparison of bytes. A CR at the
/// end of the line is only matched by text, by a value or by a regex, not by `{{*}}` or a free
/// `{{name}}`. Clones share what is compiled.
///
/// ```
/// use greeter_client::talk::{Pattern, Variables};
///
/// let pattern: Pattern = r"error: line longer than {{max:\d+}} bytes".parse()?;
/// let mut variables = Variables::default();
/// let bindings = pattern.matches(b"error: line longer than 8192 bytes", &variables, None).ok_or("no match")?;
/// variables.bind(bindings);
/// assert_eq!(variables.value("max"), Some(&b"8192"[..]));
///
/// // From now on, {{max}} is that number.
/// assert!(pattern.matches(b"error: line longer than 100 bytes", &variables, None).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pattern(Matcher);

#[derive(Clone, Debug)]
enum Matcher {
    /// A [`Part::Text`], which may be empty.
    Text(Part),
    /// Names, members and anything, but no regex.
    Simple(Box<[Part]>),
    Regex(Arc<RegexPattern>),
}

/// Parts with a regex among them.
#[derive(Debug)]
struct RegexPattern {
    parts: Box<[Part]>,
    compiled: Mutex<Option<CompiledRegex>>,
}

/// The whole as a regex.
#[derive(Debug)]
struct CompiledRegex {
    /// What each part stood for: [`None`] where it was free.
    values: Vec<Option<Vec<u8>>>,
    regex: Regex,
}

impl Matcher {
    /// Of parts that are not all text.
    fn of(parts: Box<[Part]>) -> Self {
        if parts.iter().any(|part| matches!(part, Part::Regex(..))) {
            Self::Regex(Arc::new(RegexPattern { parts, compiled: Mutex::new(None) }))
        } else {
            Self::Simple(parts)
        }
    }
}

impl Pattern {
    /// Returns what `line`, which is without its ending, binds if it matches, and [`None`] if it
    /// does not. `member` is the connection's number within its crowd; without it, `{{#}}` is the
    /// [slot](Variables::set_slot) of the session, and where that is not known either, the pattern
    /// matches nothing.
    ///
    /// A name that stands in the pattern twice must have the same value in both places. Each
    /// placeholder takes the shortest text that lets the line match, from left to right, before the
    /// two are compared.
    #[must_use]
    pub fn matches(&self, line: &[u8], variables: &Variables, member: Option<usize>) -> Option<Bindings> {
        let parts = match &self.0 {
            Matcher::Text(text) => return text.is(line).then(Bindings::default),
            Matcher::Simple(parts) => parts,
            Matcher::Regex(pattern) => &pattern.parts,
        };
        let member = member.or(variables.slot());
        let lacks_number = variables.number().is_none() && parts.contains(&Part::Number);
        if lacks_number || member.is_none() && parts.contains(&Part::Member) {
            return None;
        }
        let fixed: Vec<_> = parts.iter().map(|part| part.fixed(variables, member)).collect();
        match &self.0 {
            Matcher::Regex(pattern) if pattern.needs_regex(&fixed) => pattern.matches(line, &fixed),
            _ => match_simple(line, parts, &fixed),
        }
    }

    /// Returns the pattern as it was written, but with the values of what is bound: what a report
    /// shows as expected.
    ///
    /// ```
    /// use greeter_client::talk::{Pattern, Variables};
    ///
    /// let mut variables = Variables::default();
    /// variables.set("host".parse()?, "mail.example");
    /// let pattern: Pattern = "220 {{host}} {{*}}".parse()?;
    /// assert_eq!(pattern.expected(&variables, None), b"220 mail.example {{*}}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn expected(&self, variables: &Variables, member: Option<usize>) -> Vec<u8> {
        let mut text = Vec::new();
        for part in self.parts() {
            match part.fixed(variables, member) {
                Some(fixed) => text.extend_from_slice(&fixed),
                None => text.extend_from_slice(part.to_string().as_bytes()),
            }
        }
        text
    }

    /// Returns the line that matches, if there is only one, whatever the variables are: the pattern
    /// has no placeholder.
    #[must_use]
    pub fn text(&self) -> Option<&[u8]> {
        match &self.0 {
            Matcher::Text(Part::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Returns whether `{{#}}` is in it, so that not everybody is answered the same.
    #[must_use]
    pub fn needs_member(&self) -> bool {
        self.parts().contains(&Part::Member)
    }

    /// Parses `text`; what is dear is taken from `cache` if the script had it before.
    pub(super) fn parse(text: &[u8], cache: &mut PatternCache) -> Result<Self, LineDiagnostic> {
        if let Some(known) = cache.patterns.get(text) {
            return Ok(Self(Matcher::Regex(Arc::clone(known))));
        }
        if memmem::find(text, b"{{").is_none() {
            return Ok(Self(Matcher::Text(Part::Text(text.into()))));
        }
        let kind = Matcher::of(parse_parts(text, &mut cache.regexes)?.into_iter().map(|(part, _)| part).collect());
        if let Matcher::Regex(pattern) = &kind {
            cache.patterns.insert(text.into(), Arc::clone(pattern));
        }
        Ok(Self(kind))
    }

    /// Whether a line that begins with `start` may match, as far as text at the front of the
    /// pattern tells.
    pub(crate) fn may_begin_with(&self, start: &[u8], variables: &Variables, member: Option<usize>) -> bool {
        let fixed: Vec<_> = self.parts().iter().map_while(|part| part.fixed(variables, member)).collect();
        let text = fixed.concat();
        text.starts_with(start) || fixed.len() < self.parts().len() && start.starts_with(&text)
    }

    /// Of parts that have been parsed. Text never stands beside text.
    pub(super) fn of(parts: Box<[Part]>) -> Self {
        match &*parts {
            [text @ Part::Text(_)] => Self(Matcher::Text(text.clone())),
            _ => Self(Matcher::of(parts)),
        }
    }

    /// The same with the values of what is bound as literals: for a pattern that is matched often
    /// with the same values. It [is a text](Self::text) if nothing is free.
    #[cfg(feature = "load")]
    pub(crate) fn bound(&self, variables: &Variables, member: Option<usize>) -> Self {
        let fixed = |part: &Part| part.fixed(variables, member).map(|text| Part::Text(text.into()));
        let parts: Box<[Part]> = self.parts().iter().map(|part| fixed(part).unwrap_or_else(|| part.clone())).collect();
        if parts.iter().all(|part| matches!(part, Part::Text(_))) {
            return Self(Matcher::Text(Part::Text(self.expected(variables, member).into())));
        }
        Self(Matcher::of(parts))
    }

    /// The variables it captures or needs.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts().iter().filter_map(|part| part.name().map(|name| name.as_str()))
    }

    pub(super) fn parts(&self) -> &[Part] {
        match &self.0 {
            Matcher::Text(text) => std::slice::from_ref(text),
            Matcher::Simple(parts) => parts,
            Matcher::Regex(pattern) => &pattern.parts,
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text.as_bytes(), &mut PatternCache::default()).map_err(PatternError)
    }
}

/// Patterns are equal that are written alike.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Pattern {}

/// An error of parsing a [`Pattern`] or a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.message)]
pub struct PatternError(pub(super) LineDiagnostic);

impl PatternError {
    /// Returns which bytes of the text are wrong.
    #[must_use]
    pub fn at(&self) -> Range<usize> {
        self.0.at.clone()
    }

    /// Returns what to write instead, where that is known.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }
}

/// What has been parsed of a script and may come again.
#[derive(Debug, Default)]
pub(super) struct PatternCache {
    patterns: HashMap<Box<[u8]>, Arc<RegexPattern>>,
    pub(super) regexes: Regexes,
}

/// Matches where each free part takes anything: literals are searched in turn, the last one at the
/// end.
fn match_simple(line: &[u8], parts: &[Part], fixed: &[Option<Cow<'_, [u8]>>]) -> Option<Bindings> {
    let mut free = fixed.iter().enumerate().filter(|(_, text)| text.is_none()).map(|(index, _)| index).peekable();
    let first = *free.peek().unwrap_or(&fixed.len());
    let mut rest = line;
    for text in fixed[..first].iter().flatten() {
        rest = rest.strip_prefix(&**text)?;
    }
    if free.peek().is_none() {
        return rest.is_empty().then(Bindings::default);
    }
    let mut bindings = Bindings::default();
    while let Some(index) = free.next() {
        let next = free.peek().copied();
        let literal = join(&fixed[index + 1..next.unwrap_or(fixed.len())]);
        let length = match next {
            Some(_) => memmem::find(rest, &literal)?,
            None => rest.strip_suffix(&*literal)?.len(),
        };
        if next.is_none() && literal.is_empty() && rest.ends_with(b"\r") {
            return None;
        }
        if let Some(name) = parts[index].name() {
            bindings.add(name, &rest[..length]).then_some(())?;
        }
        rest = &rest[length + literal.len()..];
    }
    Some(bindings)
}

/// Literals that stand side by side are searched as one.
fn join<'a>(fixed: &'a [Option<Cow<'_, [u8]>>]) -> Cow<'a, [u8]> {
    match fixed {
        [] => Cow::Borrowed(&[]),
        [Some(text)] => Cow::Borrowed(text),
        texts => Cow::Owned(texts.iter().flatten().flat_map(|text| text.iter().copied()).collect()),
    }
}

impl RegexPattern {
    /// Whether a regex is left when what is `fixed` is known.
    fn needs_regex(&self, fixed: &[Option<Cow<'_, [u8]>>]) -> bool {
        self.parts.iter().zip(fixed).any(|(part, fixed)| matches!(part, Part::Regex(..)) && fixed.is_none())
    }

    fn matches(&self, line: &[u8], fixed: &[Option<Cow<'_, [u8]>>]) -> Option<Bindings> {
        let regex = self.compiled(fixed);
        let captures = regex.captures(line)?;
        let mut bindings = Bindings::default();
        let mut group = 1;
        for (part, _) in self.parts.iter().zip(fixed).filter(|(_, fixed)| fixed.is_none()) {
            if let Some(name) = part.name() {
                let value = captures.get(group).map_or(&[][..], |value| value.as_bytes());
                bindings.add(name, value).then_some(())?;
            }
            group += 1 + part.regex().map_or(0, |regex| regex.groups);
        }
        Some(bindings)
    }

    /// The whole as a regex. It is kept for as long as the same values are bound: mostly for ever.
    fn compiled(&self, fixed: &[Option<Cow<'_, [u8]>>]) -> Regex {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(CompiledRegex { values, regex }) = &*compiled
            && values.iter().map(Option::as_deref).eq(fixed.iter().map(Option::as_deref))
        {
            return regex.clone();
        }
        let regex = self.compile(fixed);
        let values = fixed.iter().map(|text| text.as_deref().map(<[u8]>::to_vec)).collect();
        *compiled = Some(CompiledRegex { values, regex: regex.clone() });
        regex
    }

    fn compile(&self, fixed: &[Option<Cow<'_, [u8]>>]) -> Regex {
        let mut text = String::from(r"\A");
        for (index, (part, value)) in self.parts.iter().zip(fixed).enumerate() {
            let is_last = || fixed[index + 1..].iter().all(|rest| rest.as_deref().is_some_and(<[u8]>::is_empty));
            match (value, part.regex()) {
                (Some(literal), _) => push_literal(&mut text, literal),
                (None, Some(regex)) => text.extend(["(", &regex.text, ")"]),
                (None, None) if is_last() => text.push_str(r"((?:.*?[^\r])?)"),
                (None, None) => text.push_str("(.*?)"),
            }
        }
        text.push_str(r"\z");
        // Each part is within its limit, and a literal takes what it is long: the sum needs no
        // limit of its own.
        builder(&text).size_limit(usize::MAX).build().expect("parts that compile alone compile side by side")
    }
}

fn push_literal(regex: &mut String, literal: &[u8]) {
    for &byte in literal {
        match byte {
            b' ' => regex.push(' '),
            byte if byte.is_ascii_alphanumeric() => regex.push(byte.into()),
            byte => write!(regex, r"\x{byte:02x}").expect("a string takes everything"),
        }
    }
}
