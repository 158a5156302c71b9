//! Turns one line into what it says. It knows nothing of the lines around it.

use std::ops::Range;

use super::connect::parse_connect;
use super::values::{alone, bare_name, crowd_count, only_value, some_time, unknown, variable_name};
use crate::net::Eol;
use crate::talk::calculation;
use crate::talk::calculation::Calculation;
use crate::talk::count;
use crate::talk::count::Count;
use crate::talk::diagnostic::LineDiagnostic;
use crate::talk::lexer;
use crate::talk::lexer::{Word, duration, meant, shown};
use crate::talk::limits::{MAX_CAPTURED_BYTES, MAX_LINE_BYTES, MAX_RAW_BYTES};
use crate::talk::pattern::{Pattern, PatternCache, Template};
use crate::talk::prompt;
use crate::talk::prompt::Prompt;
use crate::talk::script::{Action, Capability, ConnectionName, Incoming, Outgoing, Raw, Signal};
use crate::talk::source::{blanks, is_blank, trim_end};
use crate::talk::variables::{Name, NameError, is_name_byte};

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement<'a> {
    Blank,
    /// The text behind `#`.
    Comment(&'a [u8]),
    /// The path as it is written, not yet relative to anything.
    Include(String),
    Action(Action),
}

const CONTROLS: &[&str] = &[
    "within", "timeout", "sleep", "eol", "connect", "set", "let", "secret", "include", "require", "signal", "exits",
    "close", "starttls", "abandon",
];

/// Parses one line, without its ending.
pub(crate) fn parse<'a>(line: &'a [u8], cache: &mut PatternCache) -> Result<Statement<'a>, LineDiagnostic> {
    if line.len() > MAX_LINE_BYTES {
        let diagnostic =
            LineDiagnostic::new(0..0, format!("a line of a script can have at most {MAX_LINE_BYTES} bytes"));
        return Err(diagnostic.help("what repeats can be written in the raw form: >\"A\" x 70000"));
    }
    let start = blanks(line);
    match line.get(start) {
        None => Ok(Statement::Blank),
        Some(b'#') => Ok(Statement::Comment(&line[start + 1..])),
        Some(_) => match find_direction(line, start) {
            Some(at) => {
                let connection_name = parse_connection_name(line, start..at)?;
                let action = if line[at] == b'>' {
                    Action::Send { to: connection_name, what: parse_outgoing(line, at)? }
                } else {
                    Action::Expect { from: connection_name, what: parse_incoming(line, at, cache)? }
                };
                Ok(Statement::Action(action))
            }
            None => parse_control(line, start),
        },
    }
}

// Data lines.

/// Where the `>` or `<` of a data line stands, if it is one.
fn find_direction(line: &[u8], start: usize) -> Option<usize> {
    let is_speaker = |byte: &u8| is_name_byte(byte) || *byte == b'.';
    let at = start + line[start..].iter().take_while(|byte| is_speaker(byte)).count();
    matches!(line.get(at), Some(b'<' | b'>')).then_some(at)
}

fn parse_connection_name(line: &[u8], at: Range<usize>) -> Result<ConnectionName, LineDiagnostic> {
    let text = std::str::from_utf8(&line[at.clone()]).expect("what may name a connection is ASCII");
    if text.is_empty() {
        return Ok(ConnectionName::Main);
    }
    let (name, member) = text.split_once('.').map_or((text, None), |(name, member)| (name, Some(member)));
    let name = bare_name(&Word { at: at.start..at.start + name.len(), text: name.into() })?;
    let Some(member) = member else { return Ok(ConnectionName::Named(name)) };
    let member = Word { at: at.end - member.len()..at.end, text: member.into() };
    crowd_count(&member, "the index of a member").map(|index| ConnectionName::Member(name, index))
}

/// What follows `>` at byte `at`.
fn parse_outgoing(line: &[u8], at: usize) -> Result<Outgoing, LineDiagnostic> {
    match &line[at + 1..] {
        [] => Template::parse(b"").map(Outgoing::Line),
        [b' ', text @ ..] => Template::parse(text).map(Outgoing::Line).map_err(|diagnostic| diagnostic.shifted(at + 2)),
        [b'"', ..] => parse_raw(line, at + 1).map(Outgoing::Raw),
        _ => {
            let words = direction_words(line, at)?;
            match &*words[0].text {
                "eof" => alone(&words, ">eof").map(|()| Outgoing::Eof),
                "reset" => alone(&words, ">reset").map(|()| Outgoing::Reset),
                _ => Err(no_data(line, at, &words[0], &["eof", "reset"])),
            }
        }
    }
}

/// What follows `<` at byte `at`.
fn parse_incoming(line: &[u8], at: usize, cache: &mut PatternCache) -> Result<Incoming, LineDiagnostic> {
    match &line[at + 1..] {
        [] => Pattern::parse(b"", cache).map(Incoming::Line),
        [b' ', text @ ..] => {
            Pattern::parse(text, cache).map(Incoming::Line).map_err(|diagnostic| diagnostic.shifted(at + 2))
        }
        // As behind `<` itself: one space, and then the line.
        [sign @ (b'?' | b'!' | b'&'), rest @ ..] if rest.first().is_none_or(|&byte| byte == b' ') => {
            let text = rest.get(1..).unwrap_or_default();
            let pattern = Pattern::parse(text, cache).map_err(|diagnostic| diagnostic.shifted(at + 3))?;
            Ok(match sign {
                b'?' => Incoming::Optional(pattern),
                b'!' => Incoming::Never(pattern),
                // How many follow, only all lines together show.
                _ => Incoming::AnyOrder { pattern, more: 0 },
            })
        }
        [sign @ (b'?' | b'!' | b'&'), rest @ ..] => {
            let (sign, text) = (char::from(*sign), String::from_utf8_lossy(rest.trim_ascii()));
            let diagnostic =
                LineDiagnostic::new(at + 1..line.len(), format!("'<{sign}{}' is no statement", shown(&text)));
            Err(diagnostic.help(format!("put one space after <{sign}: '<{sign} {}'", shown(&text))))
        }
        [b'"', ..] => parse_raw(line, at + 1).map(Incoming::Raw),
        [b'p', b'r', b'o', b'm', b'p', b't', rest @ ..]
            if rest.first().is_none_or(|&byte| is_blank(byte) || byte == b'"') =>
        {
            parse_prompt(line, at + 1, cache).map(Incoming::Prompt)
        }
        _ => {
            let words = direction_words(line, at)?;
            match &*words[0].text {
                "*" => alone(&words, "<*").map(|()| Incoming::Skip),
                "eof" => alone(&words, "<eof").map(|()| Incoming::Eof),
                "reset" => alone(&words, "<reset").map(|()| Incoming::Reset),
                "closed" => alone(&words, "<closed").map(|()| Incoming::Closed),
                "nothing" => some_time(only_value(&words, "<nothing 100ms")?).map(Incoming::Nothing),
                "bytes" => parse_bytes(&words),
                _ => Err(no_data(
                    line,
                    at,
                    &words[0],
                    &["*", "?", "!", "&", "eof", "reset", "closed", "nothing", "bytes", "prompt"],
                )),
            }
        }
    }
}

/// `bytes`, how many, and what they are captured in.
fn parse_bytes(words: &[Word<'_>]) -> Result<Incoming, LineDiagnostic> {
    let [keyword, size, name] = words else {
        let count = Count::parse(only_value(words, "<bytes 512")?)?;
        return Ok(Incoming::Bytes { count, capture: None });
    };
    let Some(name) = count::variable(name) else {
        let at = name.at.start..words[words.len() - 1].at.end;
        let diagnostic =
            LineDiagnostic::new(at, format!("only {{{{name}}}} can follow the number of '{}'", keyword.text));
        return Err(diagnostic.help("as in '<bytes 512 {{body}}'"));
    };
    let count = Count::parse(size)?;
    if matches!(count, Count::Bytes(bytes) if bytes > MAX_CAPTURED_BYTES) {
        let message = format!("at most {MAX_CAPTURED_BYTES} bytes can be captured");
        return Err(LineDiagnostic::new(size.at.clone(), message));
    }
    Ok(Incoming::Bytes { count, capture: Some(name) })
}

/// The words behind `>` or `<`: at least one, for neither a blank nor the end stands there.
fn direction_words(line: &[u8], at: usize) -> Result<Vec<Word<'_>>, LineDiagnostic> {
    if line[at + 1] == b'\t' {
        let message = format!("a tab follows {}", char::from(line[at]));
        return Err(
            LineDiagnostic::new(at + 1..at + 2, message).help("put one space there; what follows it is literal")
        );
    }
    let Ok(text) = std::str::from_utf8(line) else {
        let text = String::from_utf8_lossy(&line[at + 1..]);
        return Err(no_data(line, at, &Word { at: at + 1..line.len(), text }, &[]));
    };
    // Quotes have no meaning here yet, and an error in them is not what is wrong.
    lexer::split(text, at + 1).or_else(|_| Ok(vec![Word { at: at + 1..line.len(), text: text[at + 1..].into() }]))
}

/// `>Bob`: what most people write first.
fn no_data(line: &[u8], at: usize, word: &Word<'_>, words: &[&str]) -> LineDiagnostic {
    let sign = char::from(line[at]);
    let text = String::from_utf8_lossy(&line[at + 1..]);
    let verb = if sign == '>' { "send" } else { "expect" };
    let guess =
        meant(&word.text, words).map_or_else(String::new, |word| format!("did you mean '{sign}{word}'? else, "));
    let diagnostic = LineDiagnostic::new(word.at.clone(), format!("'{sign}{}' is no statement", shown(&word.text)));
    let start = String::from_utf8_lossy(line[..at].trim_ascii_start());
    diagnostic.help(format!("{guess}to {verb} a line put one space after {sign}: '{start}{sign} {}'", shown(&text)))
}

/// The raw form, whose opening quote is byte `start`.
fn parse_raw(line: &[u8], start: usize) -> Result<Raw, LineDiagnostic> {
    let (bytes, length) = lexer::unquote(&line[start..]).map_err(|diagnostic| diagnostic.shifted(start))?;
    if bytes.is_empty() {
        let diagnostic = LineDiagnostic::new(start..start + length, "there is nothing between the quotes");
        return Err(diagnostic.help("an empty line is > or < alone"));
    }
    let end = start + length;
    let rest = trim_end(&line[end..]);
    let repeat = &rest[blanks(rest)..];
    let at = end + blanks(rest)..end + rest.len();
    let times = match repeat {
        [] => 1,
        [b'x', digits @ ..] => {
            let skipped = 1 + blanks(digits);
            let digits = String::from_utf8_lossy(&repeat[skipped..]);
            if digits.is_empty() {
                return Err(LineDiagnostic::new(at, "no number follows x").help("a repetition is written x 3"));
            }
            let max_times = (MAX_RAW_BYTES / bytes.len()).max(1);
            let word = Word { at: at.start + skipped..at.end, text: digits };
            lexer::count(&word, "the repetition", max_times)?
        }
        _ => {
            let diagnostic = LineDiagnostic::new(at, "only a repetition can follow the closing quote");
            return Err(
                diagnostic.help("it is written x 3; a quote within is \\\", and nothing is added to what is sent")
            );
        }
    };
    let times = u32::try_from(times).expect("so many bytes are fewer than 4 GiB");
    Ok(Raw { bytes: bytes.into(), times })
}

/// The prompt whose word stands at byte `start`.
fn parse_prompt(line: &[u8], start: usize, cache: &mut PatternCache) -> Result<Prompt, LineDiagnostic> {
    let word = start..start + "prompt".len();
    let quotes = word.end + blanks(&line[word.end..]);
    let rest = word.end..trim_end(line).len();
    match line.get(quotes) {
        None => return Err(LineDiagnostic::new(word, "'prompt' needs a value").help(prompt::EXAMPLE)),
        Some(b'"') if quotes > word.end => {}
        Some(b'"') => return Err(LineDiagnostic::new(rest, "a blank must stand before the quote")),
        Some(_) => {
            let diagnostic = LineDiagnostic::new(quotes..rest.end, "a prompt stands in double quotes");
            return Err(diagnostic.help(prompt::EXAMPLE));
        }
    }
    let (prompt, length) = Prompt::parse(&line[quotes..], cache).map_err(|diagnostic| diagnostic.shifted(quotes))?;
    if quotes + length < rest.end {
        return Err(LineDiagnostic::new(quotes + length..rest.end, "nothing can follow the closing quote"));
    }
    Ok(prompt)
}

// Control lines.

fn parse_control(line: &[u8], start: usize) -> Result<Statement<'_>, LineDiagnostic> {
    let first = start..start + line[start..].iter().take_while(|&&byte| !is_blank(byte)).count();
    let keyword = String::from_utf8_lossy(&line[first.clone()]);
    if !CONTROLS.contains(&&*keyword) {
        return Err(no_control(line, first));
    }
    let text = std::str::from_utf8(line).map_err(|err| {
        let at = err.valid_up_to();
        LineDiagnostic::new(at..at + 1, "this byte is not valid UTF-8")
            .help("only comments and data may hold any bytes")
    })?;
    match &*keyword {
        "set" => return parse_set(text, first.end).map(Statement::Action),
        "let" => return parse_let(text, first.end).map(Statement::Action),
        _ => {}
    }
    let mut all = vec![Word { at: first.clone(), text: keyword.clone() }];
    all.extend(lexer::split(text, first.end)?);
    Ok(Statement::Action(match &*keyword {
        "within" => Action::Within(some_time(only_value(&all, "within 200ms")?)?),
        "timeout" => Action::Timeout(some_time(only_value(&all, "timeout 2s")?)?),
        "sleep" => Action::Sleep(duration(only_value(&all, "sleep 50ms")?)?),
        "eol" => Action::Eol(parse_eol(only_value(&all, "eol crlf")?)?),
        "connect" => Action::Connect(Box::new(parse_connect(&all[1..])?)),
        "secret" => Action::Secret(variable_name(only_value(&all, "secret password")?)?),
        "include" => return only_value(&all, "include setup.talk").and_then(parse_include),
        "require" => {
            let word = only_value(&all, "require tls")?;
            Action::Require(Capability::from_word(&word.text).ok_or_else(|| unknown(word, Capability::WORDS))?)
        }
        "signal" => Action::Signal(parse_signal(only_value(&all, "signal TERM")?)?),
        "exits" => Action::Exits(parse_status(only_value(&all, "exits 0")?)?),
        "close" => Action::Close(parse_whose(&all, "close bob")?),
        "starttls" => Action::StartTls(parse_whose(&all, "starttls bob")?),
        _ => alone(&all, "abandon").map(|()| Action::Abandon)?,
    }))
}

/// A line that starts with neither a direction nor a control word, which is `first`.
fn no_control(line: &[u8], first: Range<usize>) -> LineDiagnostic {
    let word = String::from_utf8_lossy(&line[first.clone()]);
    let text = shown(&String::from_utf8_lossy(trim_end(&line[first.start..])));
    let behind = line[first.end..].trim_ascii();
    let diagnostic = LineDiagnostic::new(first, format!("'{}' is no control word", shown(&word)));
    if let [sign @ (b'>' | b'<'), ..] = behind
        && word.parse::<Name>().is_ok()
    {
        let sign = char::from(*sign);
        let diagnostic = LineDiagnostic {
            message: format!("a blank stands between a connection's name and its {sign}"),
            ..diagnostic
        };
        return diagnostic.help(format!("write '{}{sign}'", shown(&word)));
    }
    match (&*word, meant(&word, CONTROLS)) {
        (_, Some(meant)) => diagnostic.help(format!("did you mean '{meant}'? to send the line write '> {text}'")),
        ("//" | ";" | "--" | "/*", None) => diagnostic.help("a comment starts with #"),
        ("send" | "write", None) => diagnostic.help("a line is sent by > and one space, as in '> Bob'"),
        ("expect" | "receive" | "recv" | "read", None) => {
            diagnostic.help("a line is expected by < and one space, as in '< Hello, Bob'")
        }
        ("wait" | "pause" | "delay", None) => diagnostic.help("did you mean 'sleep'?"),
        _ => diagnostic.help(format!("to send the line write '> {text}', to expect it '< {text}'")),
    }
}

fn parse_eol(word: &Word<'_>) -> Result<Eol, LineDiagnostic> {
    word.text.parse().map_err(|_| unknown(word, &["lf", "crlf"]))
}

fn parse_include<'a>(word: &Word<'_>) -> Result<Statement<'a>, LineDiagnostic> {
    if word.text.is_empty() || word.text.contains('\0') {
        return Err(LineDiagnostic::new(word.at.clone(), "this is no path"));
    }
    Ok(Statement::Include(word.text.clone().into_owned()))
}

fn parse_signal(word: &Word<'_>) -> Result<Signal, LineDiagnostic> {
    Signal::from_word(&word.text).ok_or_else(|| {
        let upper = word.text.to_uppercase();
        match Signal::from_word(upper.strip_prefix("SIG").unwrap_or(&upper)) {
            Some(meant) => LineDiagnostic { help: Some(format!("write '{meant}'")), ..unknown(word, Signal::WORDS) },
            None => unknown(word, Signal::WORDS),
        }
    })
}

fn parse_status(word: &Word<'_>) -> Result<u8, LineDiagnostic> {
    let status = Some(&word.text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    status.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let diagnostic = LineDiagnostic::new(word.at.clone(), format!("'{}' is no exit status", shown(&word.text)));
        diagnostic.help("an exit status is a number from 0 to 255")
    })
}

/// The connection that a statement is about: the one without a name, unless it says another.
fn parse_whose(words: &[Word<'_>], example: &str) -> Result<ConnectionName, LineDiagnostic> {
    if words.len() == 1 {
        return Ok(ConnectionName::Main);
    }
    let word = only_value(words, example)?;
    let connection_name = word.text.as_bytes();
    if !connection_name.iter().all(|byte| is_name_byte(byte) || *byte == b'.') || connection_name.is_empty() {
        return Err(LineDiagnostic::new(word.at.clone(), format!("'{}' is no name", shown(&word.text)))
            .help(NameError.to_string()));
    }
    let padded = [&vec![b' '; word.at.start], connection_name].concat();
    parse_connection_name(&padded, word.at.start..padded.len())
}

/// The rest of `set`, from byte `start` on.
fn parse_set(line: &str, start: usize) -> Result<Action, LineDiagnostic> {
    let (name, at) = parse_assignment(line, "set", start, "as in 'set host = mail.example'")?;
    let value = &line.as_bytes()[at.clone()];
    let value = if value.first() == Some(&b'"') {
        let (bytes, length) = lexer::unquote(value).map_err(|diagnostic| diagnostic.shifted(at.start))?;
        if length < value.len() {
            return Err(LineDiagnostic::new(at.start + length..at.end, "nothing can follow the closing quote"));
        }
        Template::literal(&bytes)
    } else {
        Template::parse(value).map_err(|diagnostic| diagnostic.shifted(at.start))?
    };
    if value.needs_member() {
        return Err(LineDiagnostic::new(at, "{{#}} has no value here: a variable is in no crowd"));
    }
    Ok(Action::Set { name, value })
}

/// The rest of `let`, from byte `start` on.
fn parse_let(line: &str, start: usize) -> Result<Action, LineDiagnostic> {
    let (name, at) = parse_assignment(line, "let", start, calculation::EXAMPLE)?;
    Calculation::parse(line, at).map(|value| Action::Let { name, value })
}

/// The name behind `keyword`, and where the value stands behind its `=`.
fn parse_assignment(
    line: &str,
    keyword: &str,
    start: usize,
    example: &str,
) -> Result<(Name, Range<usize>), LineDiagnostic> {
    let end = trim_end(line.as_bytes()).len();
    let Some(equals) = line[start..end].find('=').map(|offset| start + offset) else {
        let message = format!("'{keyword}' needs a name, = and a value");
        return Err(LineDiagnostic::new(start.min(end)..end, message).help(example));
    };
    let name_start = start + blanks(&line.as_bytes()[start..]);
    let name = trim_end(&line.as_bytes()[name_start.min(equals)..equals]);
    let at = name_start.min(equals)..name_start.min(equals) + name.len();
    let name = variable_name(&Word { at: at.clone(), text: line[at].into() }).map_err(|diagnostic| match name {
        [] => diagnostic.help(example),
        _ => diagnostic,
    })?;
    Ok((name, equals + 1 + blanks(&line.as_bytes()[equals + 1..end])..end))
}
