//! The parts of a line: text, and the placeholders between it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use memchr::memmem;
use regex::bytes::RegexBuilder;

use crate::talk::diagnostic::LineDiagnostic;
use crate::talk::lexer::shown;
use crate::talk::variables::{Name, NameError, Unbound, Variables, is_name, is_name_byte};

/// The most placeholders in a line. A regex of so many parts is still compiled in no time.
pub(crate) const MAX_PLACEHOLDERS: usize = 64;
/// The most memory that one placeholder's regex may take, compiled: some thousand characters to
/// match.
const MAX_REGEX_BYTES: usize = 256 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(Box<[u8]>),
    /// `{{name}}`
    Variable(Name),
    /// `{{#}}`
    Member,
    /// `{{#n}}`
    Number,
    /// `{{*}}`
    Anything,
    /// `{{name:regex}}` or `{{:regex}}`
    Regex(Option<Name>, CheckedRegex),
}

/// A regex that compiles, also in brackets among others. It has no named groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckedRegex {
    pub(crate) text: Arc<str>,
    /// How many groups it has of its own.
    pub(crate) groups: usize,
}

/// Those that are known to compile.
pub(crate) type Regexes = HashMap<Box<str>, CheckedRegex>;

impl Part {
    /// What it stands for if that is certain before the line is seen.
    pub(crate) fn fixed<'a>(&'a self, variables: &'a Variables, member: Option<usize>) -> Option<Cow<'a, [u8]>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Member => member.or(variables.slot()).map(|number| Cow::Owned(number.to_string().into_bytes())),
            Self::Number => variables.number().map(|number| Cow::Owned(number.to_string().into_bytes())),
            Self::Variable(name) | Self::Regex(Some(name), _) => variables.value(name.as_str()).map(Cow::Borrowed),
            Self::Anything | Self::Regex(None, _) => None,
        }
    }

    pub(crate) fn is(&self, line: &[u8]) -> bool {
        matches!(self, Self::Text(text) if **text == *line)
    }

    pub(crate) fn name(&self) -> Option<&Name> {
        match self {
            Self::Variable(name) | Self::Regex(Some(name), _) => Some(name),
            _ => None,
        }
    }

    pub(crate) fn regex(&self) -> Option<&CheckedRegex> {
        match self {
            Self::Regex(_, regex) => Some(regex),
            _ => None,
        }
    }

    /// Why a template part has no value.
    pub(crate) fn unbound(&self) -> Unbound {
        match self {
            Self::Number => Unbound::Number,
            part => part.name().map_or(Unbound::Member, |name| Unbound::Variable(name.clone())),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&String::from_utf8_lossy(text)),
            Self::Variable(name) => write!(f, "{{{{{name}}}}}"),
            Self::Member => f.write_str("{{#}}"),
            Self::Number => f.write_str("{{#n}}"),
            Self::Anything => f.write_str("{{*}}"),
            Self::Regex(Some(name), regex) => write!(f, "{{{{{name}:{}}}}}", regex.text),
            Self::Regex(None, regex) => write!(f, "{{{{:{}}}}}", regex.text),
        }
    }
}

/// Splits a line at its placeholders. Each part comes with its place in `text`.
pub(crate) fn parse_parts(text: &[u8], regexes: &mut Regexes) -> Result<Vec<(Part, Range<usize>)>, LineDiagnostic> {
    let mut parts = Vec::new();
    let mut literal = 0;
    let mut placeholders = 0;
    while let Some(start) = memmem::find(&text[literal..], b"{{").map(|offset| literal + offset) {
        // Of more than two braces, the last two open the placeholder, so that any text can stand
        // before it.
        let start = start + text[start..].iter().take_while(|&&byte| byte == b'{').count() - 2;
        let (part, length) =
            parse_placeholder(&text[start..], regexes, RAW).map_err(|diagnostic| diagnostic.shifted(start))?;
        placeholders += 1;
        if placeholders > MAX_PLACEHOLDERS {
            let message = format!("a line can have at most {MAX_PLACEHOLDERS} placeholders");
            return Err(LineDiagnostic::new(start..start + length, message));
        }
        if start > literal {
            parts.push((Part::Text(text[literal..start].into()), literal..start));
        }
        literal = start + length;
        parts.push((part, start..literal));
    }
    if literal < text.len() {
        parts.push((Part::Text(text[literal..].into()), literal..text.len()));
    }
    Ok(parts)
}

const RAW: &str = "placeholders are {{name}}, {{name:regex}}, {{:regex}}, {{*}}, {{#}} and {{#n}}; \
                   {{ itself can be written in the raw form, in double quotes";

/// The placeholder whose braces start `text`, and its length. `help` is for braces that open none.
pub(crate) fn parse_placeholder(
    text: &[u8],
    regexes: &mut Regexes,
    help: &str,
) -> Result<(Part, usize), LineDiagnostic> {
    let inner = &text[2..];
    match inner {
        [b'*', b'}', b'}', ..] => return Ok((Part::Anything, 5)),
        [b'#', b'}', b'}', ..] => return Ok((Part::Member, 5)),
        [b'#', b'n', b'}', b'}', ..] => return Ok((Part::Number, 6)),
        _ => {}
    }
    let name_bytes = inner.iter().take_while(|byte| is_name_byte(byte)).count();
    let name = std::str::from_utf8(&inner[..name_bytes]).ok().and_then(|name| name.parse::<Name>().ok());
    let name_at = 2..2 + name_bytes;
    match (&inner[name_bytes..], name) {
        ([b'}', b'}', ..], Some(name)) => Ok((Part::Variable(name), 2 + name_bytes + 2)),
        ([b'}', b'}', ..] | [b':', ..], None) if name_bytes > 0 => {
            let name = shown(&String::from_utf8_lossy(&inner[..name_bytes]));
            Err(LineDiagnostic::new(name_at, format!("'{name}' is no name")).help(NameError.to_string()))
        }
        ([b':', regex @ ..], name) => {
            let start = 2 + name_bytes + 1;
            let length = regex_length(regex).ok_or_else(|| {
                let diagnostic = LineDiagnostic::new(0..text.len(), "this placeholder is not closed");
                diagnostic.help("}} closes it; a brace within the regex needs its partner or a backslash")
            })?;
            let regex = check_regex(&regex[..length], regexes).map_err(|diagnostic| diagnostic.shifted(start))?;
            Ok((Part::Regex(name, regex), start + length + 2))
        }
        _ => Err(no_placeholder(text, help)),
    }
}

fn no_placeholder(text: &[u8], help: &str) -> LineDiagnostic {
    let diagnostic = LineDiagnostic::new(0..2, "'{{' opens no placeholder");
    let Some(end) = memmem::find(text, b"}}") else { return diagnostic.help(help) };
    let inner = String::from_utf8_lossy(&text[2..end]);
    let trimmed = inner.trim();
    if trimmed.len() < inner.len() && (is_name(trimmed.as_bytes()) || ["*", "#", "#n"].contains(&trimmed)) {
        return LineDiagnostic {
            at: 0..end + 2,
            ..diagnostic.help(format!("write it without blanks: {{{{{trimmed}}}}}"))
        };
    }
    diagnostic.help(help)
}

/// How long the regex is that ends at the first `}}` which does not belong to it.
fn regex_length(text: &[u8]) -> Option<usize> {
    let (mut braces, mut classes) = (0_usize, 0_usize);
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b'[' => {
                classes += 1;
                // A bracket that closes in the first place is an ordinary character.
                at += usize::from(text.get(at + 1) == Some(&b'^'));
                at += usize::from(text.get(at + 1) == Some(&b']'));
            }
            b']' => classes = classes.saturating_sub(1),
            b'{' if classes == 0 => braces += 1,
            b'}' if classes == 0 && braces > 0 => braces -= 1,
            b'}' if classes == 0 && text.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn check_regex(text: &[u8], regexes: &mut Regexes) -> Result<CheckedRegex, LineDiagnostic> {
    let at = 0..text.len();
    let text = std::str::from_utf8(text).map_err(|_| {
        let diagnostic = LineDiagnostic::new(at.clone(), "this regex is not valid UTF-8");
        diagnostic.help(r"a byte that is no UTF-8 is written \xNN")
    })?;
    if text.is_empty() {
        return Err(LineDiagnostic::new(at, "no regex follows the colon").help("{{name}} and {{*}} match anything"));
    }
    if let Some(known) = regexes.get(text) {
        return Ok(known.clone());
    }
    let bad = |err: &regex::Error| LineDiagnostic::new(at.clone(), format!("bad regex: {}", in_one_line(err)));
    let regex = builder(text).build().map_err(|err| bad(&err))?;
    if regex.capture_names().flatten().next().is_some() {
        let diagnostic = LineDiagnostic::new(at, "a group in a placeholder can have no name");
        return Err(diagnostic.help("{{name:regex}} names what is captured"));
    }
    // A comment in verbose mode would swallow what follows the regex in the whole.
    builder(&format!(r"\A({text})\z")).size_limit(usize::MAX).build().map_err(|err| bad(&err))?;
    let regex = CheckedRegex { text: text.into(), groups: regex.captures_len() - 1 };
    regexes.insert(text.into(), regex.clone());
    Ok(regex)
}

/// The regex crate's words without its drawing.
fn in_one_line(err: &regex::Error) -> String {
    match err {
        regex::Error::CompiledTooBig(_) => format!("compiled, it is larger than {} KiB", MAX_REGEX_BYTES / 1024),
        err => {
            let text = err.to_string();
            let last = text.lines().last().unwrap_or_default();
            crate::net::escape::one_line(last.strip_prefix("error: ").unwrap_or(last).as_bytes()).to_string()
        }
    }
}

/// Regexes on bytes: `.` is any byte, `\d`, `\w` and `\s` are ASCII.
pub(crate) fn builder(text: &str) -> RegexBuilder {
    let mut builder = RegexBuilder::new(text);
    builder.unicode(false).dot_matches_new_line(true).size_limit(MAX_REGEX_BYTES);
    builder
}
