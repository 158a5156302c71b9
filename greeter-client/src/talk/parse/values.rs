//! Turns the words of a line into values, or says what was meant. It knows no statement.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::talk::diagnostic::LineDiagnostic;
use crate::talk::lexer::{Word, count, duration, meant, shown};
use crate::talk::limits::MAX_CROWD;
use crate::talk::variables::{Name, NameError};

/// Words that `connect` knows: no connection is called like that.
pub(super) const CONNECT_WORDS: &[&str] = &["to", "from", "tls", "proxy"];

const OWN_LINE: &str = "a comment stands on a line of its own";

/// The one value of a statement that is written like `example`.
pub(super) fn only_value<'a, 'b>(words: &'a [Word<'b>], example: &str) -> Result<&'a Word<'b>, LineDiagnostic> {
    let keyword = &words[0];
    match &words[1..] {
        [value] => Ok(value),
        [] => {
            let diagnostic = LineDiagnostic::new(keyword.at.clone(), format!("'{}' needs a value", keyword.text));
            Err(diagnostic.help(format!("as in '{example}'")))
        }
        [_, rest @ ..] => {
            let at = rest[0].at.start..rest[rest.len() - 1].at.end;
            let diagnostic = LineDiagnostic::new(at, format!("only one value can follow '{}'", keyword.text));
            Err(match &*keyword.text {
                _ if rest[0].text.starts_with('#') => diagnostic.help(OWN_LINE),
                "include" => diagnostic.help("a path with blanks stands in double quotes"),
                _ => diagnostic.help(format!("as in '{example}'")),
            })
        }
    }
}

pub(super) fn alone(words: &[Word<'_>], statement: &str) -> Result<(), LineDiagnostic> {
    let [_, rest @ ..] = words else { return Ok(()) };
    let Some(first) = rest.first() else { return Ok(()) };
    let diagnostic =
        LineDiagnostic::new(first.at.start..rest[rest.len() - 1].at.end, format!("nothing can follow '{statement}'"));
    Err(if first.text.starts_with('#') { diagnostic.help(OWN_LINE) } else { diagnostic })
}

pub(super) fn unknown(word: &Word<'_>, known: &[&str]) -> LineDiagnostic {
    let diagnostic = LineDiagnostic::new(word.at.clone(), format!("'{}' is not known here", shown(&word.text)));
    match meant(&word.text, known) {
        Some(meant) => diagnostic.help(format!("did you mean '{meant}'?")),
        None => diagnostic.help(format!("known are {}", known.join(", "))),
    }
}

/// A duration in which something can happen.
pub(super) fn some_time(word: &Word<'_>) -> Result<Duration, LineDiagnostic> {
    let duration = duration(word)?;
    if duration.is_zero() {
        return Err(LineDiagnostic::new(word.at.clone(), "nothing can happen in no time").help("write 1ms or more"));
    }
    Ok(duration)
}

pub(super) fn bare_name(word: &Word<'_>) -> Result<Name, LineDiagnostic> {
    if CONNECT_WORDS.contains(&&*word.text) {
        let message = format!("no connection can be called '{}'", word.text);
        return Err(LineDiagnostic::new(word.at.clone(), message).help("that is a word of connect"));
    }
    variable_name(word)
}

pub(super) fn variable_name(word: &Word<'_>) -> Result<Name, LineDiagnostic> {
    word.text.parse().map_err(|err: NameError| {
        LineDiagnostic::new(word.at.clone(), format!("'{}' is no name", shown(&word.text))).help(err.to_string())
    })
}

pub(super) fn crowd_count(word: &Word<'_>, what: &str) -> Result<NonZeroU32, LineDiagnostic> {
    let number = count(word, what, MAX_CROWD)?;
    Ok(u32::try_from(number).ok().and_then(NonZeroU32::new).expect("a count is from 1 to its maximum"))
}
