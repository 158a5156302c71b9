//! The small change of statements: words, quoted text, numbers, durations, and guesses at what a
//! misspelt word meant.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;

use super::diagnostic::LineDiagnostic;
use super::source::{blanks, is_blank};

/// The longest duration that a script may ask for: beyond it, a unit was mistaken.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// A word of a control line.
#[derive(Clone, Debug)]
pub(super) struct Word<'a> {
    /// Where it stands in the line, its quotes included.
    pub(super) at: Range<usize>,
    pub(super) text: Cow<'a, str>,
}

/// Splits `line`, from byte `start` on, into words at its blanks; a word in double quotes may hold
/// them.
pub(super) fn split(line: &str, start: usize) -> Result<Vec<Word<'_>>, LineDiagnostic> {
    let bytes = line.as_bytes();
    let mut words = Vec::new();
    let mut at = start + blanks(&bytes[start..]);
    while at < bytes.len() {
        let word = if bytes[at] == b'"' {
            let (text, length) = unquote(&bytes[at..]).map_err(|diagnostic| diagnostic.shifted(at))?;
            let range = at..at + length;
            let text = String::from_utf8(text).map_err(|_| {
                LineDiagnostic::new(range.clone(), "this is not valid UTF-8").help("only data may be any bytes")
            })?;
            Word { at: range, text: Cow::Owned(text) }
        } else {
            let length = bytes[at..].iter().take_while(|&&byte| !is_blank(byte)).count();
            Word { at: at..at + length, text: Cow::Borrowed(&line[at..at + length]) }
        };
        at = word.at.end;
        words.push(word);
        if bytes.get(at).is_some_and(|&byte| !is_blank(byte)) {
            return Err(LineDiagnostic::new(at..bytes.len(), "a blank must follow the closing quote"));
        }
        at += blanks(&bytes[at..]);
    }
    Ok(words)
}

/// The bytes that the quoted text at the start of `text` stands for, and its length with both
/// quotes.
pub(super) fn unquote(text: &[u8]) -> Result<(Vec<u8>, usize), LineDiagnostic> {
    let mut bytes = Vec::new();
    let mut at = 1;
    loop {
        match text.get(at) {
            None => {
                return Err(
                    LineDiagnostic::new(0..text.len(), "the closing quote is missing").help("a quote within is \\\"")
                );
            }
            Some(b'"') => return Ok((bytes, at + 1)),
            Some(b'\\') => {
                let (byte, length) = unescape(&text[at..]).map_err(|diagnostic| diagnostic.shifted(at))?;
                bytes.push(byte);
                at += length;
            }
            Some(&byte) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
}

/// The byte that the escape at the start of `text` stands for, and the escape's length.
pub(super) fn unescape(text: &[u8]) -> Result<(u8, usize), LineDiagnostic> {
    const ESCAPES: &str = r#"the escapes are \n \r \t \0 \e \a \\ \" and \xNN"#;
    let simple = match text.get(1) {
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'0') => 0,
        Some(b'e') => 0x1b,
        Some(b'a') => 7,
        Some(&byte @ (b'\\' | b'"')) => byte,
        Some(b'x') => {
            let digit = |at: usize| text.get(at).and_then(|&digit| char::from(digit).to_digit(16));
            let (Some(high), Some(low)) = (digit(2), digit(3)) else {
                return Err(LineDiagnostic::new(0..2, "two hexadecimal digits must follow \\x").help(ESCAPES));
            };
            let byte = u8::try_from(high * 16 + low).expect("two hexadecimal digits make a byte");
            return Ok((byte, 4));
        }
        Some(_) => {
            let length = text[1..].utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
            let end = 1 + length.map_or(1, char::len_utf8);
            let escape = crate::net::escape::one_line(&text[..end]);
            return Err(LineDiagnostic::new(0..end, format!("{escape} is no escape")).help(ESCAPES));
        }
        None => return Err(LineDiagnostic::new(0..1, "nothing follows the backslash").help(ESCAPES)),
    };
    Ok((simple, 2))
}

/// Returns `bytes` in double quotes, in the escapes of [the raw form](crate::talk#raw-form): what
/// fmt writes, and what a recorder or `--bless` must write where a plain line would not do.
///
/// ```
/// assert_eq!(greeter_client::talk::quote(b"caf\xc3\xa9 \xff\r\n\x1b"), r#""café \xff\r\n\e""#);
/// ```
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\0' => text.push_str("\\0"),
                '\x1b' => text.push_str("\\e"),
                '\x07' => text.push_str("\\a"),
                '\\' | '"' => text.extend(['\\', c]),
                c if is_plain(c) => text.push(c),
                c => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_hex(&mut text, byte)),
            }
        }
        chunk.invalid().iter().for_each(|&byte| push_hex(&mut text, byte));
    }
    text.push('"');
    text
}

fn push_hex(text: &mut String, byte: u8) {
    write!(text, "\\x{byte:02x}").expect("a string takes everything");
}

/// Whether a character looks like what it is, in an editor and on a terminal.
pub(super) fn is_plain(c: char) -> bool {
    let mut text = [0; 4];
    let text: &str = c.encode_utf8(&mut text);
    let escaped = || crate::net::escape::one_line(text.as_bytes()).to_string() != text;
    if c.is_ascii() { c == ' ' || c.is_ascii_graphic() } else { !c.is_whitespace() && !escaped() }
}

/// A whole number from 1 to `max`, in digits alone.
pub(super) fn count(word: &Word<'_>, what: &str, max: usize) -> Result<usize, LineDiagnostic> {
    let digits = word.text.bytes().all(|byte| byte.is_ascii_digit()) && !word.text.is_empty();
    // More digits than fit are a number all the same.
    let number = if digits { Some(word.text.parse().unwrap_or(usize::MAX)) } else { None };
    match number {
        Some(number) if (1..=max).contains(&number) => Ok(number),
        Some(_) => Err(LineDiagnostic::new(word.at.clone(), format!("{what} must be from 1 to {max}"))),
        None => Err(LineDiagnostic::new(word.at.clone(), format!("'{}' is no number", shown(&word.text)))
            .help(format!("{what} is a number from 1 to {max}"))),
    }
}

/// A duration as scripts write it, if it is one.
#[cfg(feature = "load")]
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    duration(&Word { at: 0..text.len(), text: text.into() }).ok()
}

/// A duration: a number, with a fraction or without, and its unit.
pub(super) fn duration(word: &Word<'_>) -> Result<Duration, LineDiagnostic> {
    const FORMS: &str = "write a number and its unit: 200ms, 2s, 1.5s or 1m (the units are us, ms, s, m and h)";
    let diagnostic = |message: String| LineDiagnostic::new(word.at.clone(), message).help(FORMS);
    let text = &*word.text;
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let nanos_per_unit: u64 = match unit {
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" if !number.is_empty() => return Err(diagnostic(format!("'{}' has no unit", shown(text)))),
        _ => return Err(diagnostic(format!("'{}' is no duration", shown(text)))),
    };
    let too_long = || LineDiagnostic::new(word.at.clone(), format!("'{}' is longer than a day", shown(text)));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(diagnostic(format!("'{}' is no duration", shown(text))));
    }
    let mut nanos =
        whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(nanos_per_unit)).ok_or_else(too_long)?;
    let mut digit_nanos = nanos_per_unit;
    for digit in fraction.bytes().map(|digit| u64::from(digit - b'0')) {
        if digit != 0 && (digit_nanos == 0 || !digit_nanos.is_multiple_of(10)) {
            return Err(diagnostic(format!("'{}' is finer than a nanosecond", shown(text))));
        }
        digit_nanos /= 10;
        nanos = nanos.checked_add(digit * digit_nanos).ok_or_else(too_long)?;
    }
    let duration = Duration::from_nanos(nanos);
    if duration > MAX_DURATION { Err(too_long()) } else { Ok(duration) }
}

/// The one way in which fmt writes a duration: whole seconds, or else milliseconds, or else
/// microseconds.
pub(super) fn duration_text(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        _ if nanos.is_multiple_of(1_000_000_000) => format!("{}s", nanos / 1_000_000_000),
        _ if nanos.is_multiple_of(1_000_000) => format!("{}ms", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1_000) => format!("{}us", nanos / 1_000),
        _ => format!("{}us", format!("{}.{:03}", nanos / 1_000, nanos % 1_000).trim_end_matches('0')),
    }
}

/// Text of a script in a message: harmless and short.
pub(super) fn shown(text: &str) -> String {
    const MAX_CHARACTERS: usize = 40;
    let mut start: String = text.chars().take(MAX_CHARACTERS).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    crate::net::escape::one_line(start.as_bytes()).to_string()
}

/// Which of `words` was probably meant by `text`.
pub(super) fn meant<'a>(text: &str, words: &[&'a str]) -> Option<&'a str> {
    const MAX_LENGTH: usize = 16;
    if text.len() > MAX_LENGTH {
        return None;
    }
    let text = text.to_lowercase();
    let distances = words.iter().map(|&word| (distance(text.as_bytes(), word.to_lowercase().as_bytes()), word));
    let (distance, word) = distances.min_by_key(|&(distance, _)| distance)?;
    // Two mistakes in a short word leave too little of it.
    let max_distance = if word.len() < 5 && distance == 2 && text.len() <= word.len() { 1 } else { word.len() / 2 };
    (distance <= max_distance.min(2)).then_some(word)
}

/// How many insertions, deletions, substitutions and swaps of neighbours lie between two words.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let substituted = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
                let swapped = i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
                let swapped = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                substituted.min(swapped).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
        }
    }
    rows[left.len()][right.len()]
}
