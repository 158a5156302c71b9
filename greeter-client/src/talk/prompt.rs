//! Turns the quotes behind `<prompt` into a pattern, and a pattern into those quotes. Where a
//! prompt ends in what has come, the session finds out, by the text that it ends in.

use std::fmt::{self, Write};
use std::ops::Range;
use std::str::FromStr;

use super::diagnostic::LineDiagnostic;
use super::lexer::{quote, unescape};
use super::limits::MAX_PROMPT_BYTES;
use super::pattern::placeholder::{MAX_PLACEHOLDERS, Part, parse_placeholder};
use super::pattern::{Pattern, PatternCache, PatternError};
use super::variables::{Bindings, Variables};

/// A prompt: the start of a line which the server leaves unfinished, with placeholders of every
/// kind, and text at its end.
///
/// Because it ends in text, it is known where it may end: no `{{n}}` is met by half of its digits.
/// It holds no LF, and is met by [`MAX_PROMPT_BYTES`] at most.
///
/// Parsed from, and displayed as, what stands behind `<prompt`, with its quotes.
///
/// ```
/// use greeter_client::talk::{Prompt, Variables};
///
/// let prompt: Prompt = r#""user@host-{{n:\d+}}:~$ ""#.parse()?;
/// assert_eq!(prompt.ending(), b":~$ ");
/// let mut variables = Variables::default();
/// variables.bind(prompt.matches(b"user@host-7:~$ ", &variables, None).ok_or("no match")?);
/// assert_eq!(variables.value("n"), Some(&b"7"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt(Pattern);

impl Prompt {
    /// Returns the text that it ends in: one byte at least.
    #[must_use]
    pub fn ending(&self) -> &[u8] {
        match self.0.parts().last() {
            Some(Part::Text(text)) => text,
            _ => &[],
        }
    }

    /// Returns what `start`, the start of a line, binds if all of it is the prompt, as
    /// [`Pattern::matches`] does.
    #[must_use]
    pub fn matches(&self, start: &[u8], variables: &Variables, member: Option<usize>) -> Option<Bindings> {
        self.0.matches(start, variables, member)
    }

    /// Returns it as it is written between the quotes, but with the values of what is bound: what a
    /// report shows as expected.
    #[must_use]
    pub fn expected(&self, variables: &Variables, member: Option<usize>) -> Vec<u8> {
        let value = |part: &Part| part.fixed(variables, member).map(|text| Part::Text(text.into()));
        let parts: Vec<Part> = self.0.parts().iter().map(|part| value(part).unwrap_or_else(|| part.clone())).collect();
        Spelled(&parts).to_string().into_bytes()
    }

    /// Whether a line that begins with `start` may be it, or begin with it.
    pub(crate) fn may_begin_with(&self, start: &[u8], variables: &Variables, member: Option<usize>) -> bool {
        self.0.may_begin_with(start, variables, member) || self.starts(start, variables, member)
    }

    /// The variables it captures or needs.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names()
    }

    /// Whether a start of `line`, which holds no LF, is the prompt.
    pub(crate) fn starts(&self, line: &[u8], variables: &Variables, member: Option<usize>) -> bool {
        let line = &line[..line.len().min(MAX_PROMPT_BYTES)];
        let may_end = |&end: &usize| line[..end].ends_with(self.ending());
        (1..=line.len()).filter(may_end).any(|end| self.matches(&line[..end], variables, member).is_some())
    }

    /// Parses the quotes at the start of `text`; returns how long they are, too.
    ///
    /// It is one pass from the left. Whoever takes the quotes off first, and then looks for
    /// placeholders, has lost a backslash of each regex, and takes braces that were escaped for
    /// those of a placeholder.
    pub(super) fn parse(text: &[u8], cache: &mut PatternCache) -> Result<(Self, usize), LineDiagnostic> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut bytes = 0;
        // Where the last placeholder stands.
        let mut last = 0..0;
        let mut placeholders = 0;
        let mut at = 1;
        loop {
            let here = &text[at.min(text.len())..];
            let braces = here.iter().take_while(|&&byte| byte == b'{').count();
            match here {
                [] => {
                    let diagnostic = LineDiagnostic::new(0..text.len(), "the closing quote is missing");
                    return Err(diagnostic.help("a quote within is \\\""));
                }
                [b'"', ..] => break,
                // Of more than two braces, the last two open the placeholder, as in a line.
                [b'{', ..] if braces == 2 => {
                    let (part, length) = parse_placeholder(here, &mut cache.regexes, ESCAPED_BRACES)
                        .map_err(|diagnostic| diagnostic.shifted(at))?;
                    last = at..at + length;
                    placeholders += 1;
                    if placeholders > MAX_PLACEHOLDERS {
                        let message = format!("a prompt can have at most {MAX_PLACEHOLDERS} placeholders");
                        return Err(LineDiagnostic::new(last, message));
                    }
                    push_text(&mut parts, &mut literal);
                    parts.push(part);
                    at += length;
                }
                [first, ..] => {
                    let (byte, length) = match first {
                        b'\\' => unescape(here).map_err(|diagnostic| diagnostic.shifted(at))?,
                        &byte => (byte, 1),
                    };
                    if byte == b'\n' {
                        let diagnostic = LineDiagnostic::new(at..at + length, "a prompt is part of one line");
                        return Err(diagnostic.help("what ends with a newline is a line: '< text', or <* to skip it"));
                    }
                    literal.push(byte);
                    bytes += 1;
                    at += length;
                }
            }
        }
        let length = at + 1;
        check_ending(&literal, parts.is_empty(), last, length)?;
        if bytes > MAX_PROMPT_BYTES {
            let message = format!("a prompt can have at most {MAX_PROMPT_BYTES} bytes");
            return Err(LineDiagnostic::new(0..length, message));
        }
        push_text(&mut parts, &mut literal);
        Ok((Self(Pattern::of(parts.into())), length))
    }
}

/// What the words of a missing prompt show.
pub(super) const EXAMPLE: &str = r#"as in '<prompt "user@host-{{n}}:~$ "'"#;

const ESCAPED_BRACES: &str =
    r"placeholders are {{name}}, {{name:regex}}, {{:regex}}, {{*}}, {{#}} and {{#n}}; {{ itself is written \x7b{";

/// Refuses quotes of this length that do not end in text: whose last placeholder is `last`, or that
/// hold nothing at all.
fn check_ending(text: &[u8], is_empty: bool, last: Range<usize>, length: usize) -> Result<(), LineDiagnostic> {
    if !text.is_empty() {
        return Ok(());
    }
    if is_empty {
        return Err(LineDiagnostic::new(0..length, "there is nothing between the quotes").help(EXAMPLE));
    }
    let diagnostic = LineDiagnostic::new(last, "a prompt must end in text, so that it is known where it ends");
    Err(diagnostic.help("half of a value that is still on its way would do for this placeholder"))
}

fn push_text(parts: &mut Vec<Part>, literal: &mut Vec<u8>) {
    if !literal.is_empty() {
        parts.push(Part::Text(std::mem::take(literal).into()));
    }
}

impl FromStr for Prompt {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let at = 0..text.len();
        let parsed = match text.as_bytes().first() {
            Some(b'"') => Self::parse(text.as_bytes(), &mut PatternCache::default()),
            _ => Err(LineDiagnostic::new(at.clone(), "a prompt stands in double quotes")),
        };
        match parsed {
            Ok((prompt, length)) if length == text.len() => Ok(prompt),
            Ok((_, length)) => {
                Err(PatternError(LineDiagnostic::new(length..at.end, "nothing can follow the closing quote")))
            }
            Err(diagnostic) => Err(PatternError(diagnostic)),
        }
    }
}

/// With its quotes, in the one way in which fmt writes it.
impl fmt::Display for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Spelled(self.0.parts()))
    }
}

/// What stands between the quotes.
struct Spelled<'a>(&'a [Part]);

impl fmt::Display for Spelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let Part::Text(text) = part else {
                part.fmt(f)?;
                continue;
            };
            let quoted = quote(text);
            let is_before_placeholder = self.0.get(index + 1).is_some();
            // No escape has a brace in it: each that stands here is the text's own.
            let mut characters = quoted[1..quoted.len() - 1].chars().peekable();
            while let Some(c) = characters.next() {
                match (c, characters.peek()) {
                    ('{', Some('{')) => f.write_str("\\x7b")?,
                    ('{', None) if is_before_placeholder => f.write_str("\\x7b")?,
                    _ => f.write_char(c)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn prompt(text: &str) -> Prompt {
        text.parse().unwrap_or_else(|error: PatternError| panic!("{error}, at {:?}: {text}", error.at()))
    }

    #[track_caller]
    fn is_met(text: &str, starts: &[&[u8]], others: &[&[u8]]) {
        let prompt = prompt(text);
        for start in starts {
            assert!(prompt.matches(start, &Variables::default(), None).is_some(), "{}", start.escape_ascii());
        }
        for other in others {
            assert!(prompt.matches(other, &Variables::default(), None).is_none(), "{}", other.escape_ascii());
        }
    }

    #[test]
    fn quotes_and_placeholders_are_told_apart_in_one_pass() {
        // A regex is verbatim: its backslash is its own, and its quote ends nothing.
        is_met(r#""a{{:\d"\x41}}\x41""#, &[b"a7\"AA"], &[b"ad\"AA", b"a7\"A"]);
        is_met(r#""{{:[^"}]+}}}}" "#.trim_end(), &[b"abc}}", b"x}}"], &[b"\"}}", b"}}}"]);
        // An escape is no brace of a placeholder, and no end.
        is_met(r#""\x7b{n}}\" ""#, &[b"{{n}}\" "], &[b"7\" "]);
        is_met(r#""{\x7bn}} ""#, &[b"{{n}} "], &[b"7 "]);
        is_met(r#""\\{{n}}\\""#, &[b"\\7\\"], &[b"7\\"]);
        // Of three braces, the first is text.
        is_met(r#""{{{n}}}""#, &[b"{7}"], &[b"7}"]);
        is_met(r#""\x7b{{n}}}""#, &[b"{7}"], &[b"7}"]);
        is_met(r#""{n} {""#, &[b"{n} {"], &[b"7 {"]);
        is_met("\"\u{e9}\\xff\\r\\e{{*}}>\"", &[b"\xc3\xa9\xff\r\x1b[1m>"], &[b"\xc3\xa9\xff\r\x1b[1m> "]);
    }

    #[test]
    fn what_is_displayed_says_the_same_and_is_final() {
        for (text, displayed) in [
            (r#""user@host-{{n}}:~$ ""#, r#""user@host-{{n}}:~$ ""#),
            (r#""\x7b{n}}\x20\x22""#, r#""\x7b{n}} \"""#),
            (r#""{\x7b\x7b{{n}}{""#, r#""\x7b\x7b\x7b{{n}}{""#),
            (r#""{{{:\x20"\\}}}\x1b[m""#, r#""\x7b{{:\x20"\\}}}\e[m""#),
            (r#""{{#}}{{*}}{{a:.}}\{{b}}""#, ""),
        ] {
            let Ok(parsed) = text.parse::<Prompt>() else {
                assert_eq!(displayed, "", "{text}");
                continue;
            };
            assert_eq!(parsed.to_string(), displayed);
            assert_eq!(prompt(displayed), parsed);
        }
    }

    #[test]
    fn a_report_has_values_in_place_of_names_and_can_be_read_back() {
        let mut variables = Variables::default();
        variables.set("n".parse().unwrap(), "{{\"\r");
        let expected = prompt(r#""{{n}}{{m:\d}} \\ ""#).expected(&variables, None);
        assert_eq!(String::from_utf8(expected).unwrap(), r#"\x7b{\"\r{{m:\d}} \\ "#);
    }

    #[test]
    fn a_start_of_a_line_is_it_and_nothing_behind_4_kib() {
        let prompt = prompt(r#""{{*}}$ ""#);
        let starts = |line: &[u8]| prompt.starts(line, &Variables::default(), None);
        assert!(starts(b"it costs 5$ a day") && starts(b"$ ") && !starts(b"$") && !starts(b""));
        let line = |length: usize| [&b"x".repeat(length - 2)[..], b"$ "].concat();
        assert!(starts(&line(MAX_PROMPT_BYTES)) && !starts(&line(MAX_PROMPT_BYTES + 1)));
    }
}
