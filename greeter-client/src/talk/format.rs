//! The normal form of a script, which says the same as every other form of it.

use std::borrow::Cow;
use std::path::Path;

use super::diagnostic::Diagnostics;
use super::discover::markdown;
use super::lexer::{duration_text, is_plain, quote};
use super::parse;
use super::parse::line;
use super::parse::line::Statement;
use super::pattern::{PatternCache, Template};
use super::script::{Action, Connect, ConnectionName, Destination, Incoming, Outgoing, Raw};
use super::source::{Source, blanks, is_blank};
use crate::net::Eol;

/// Returns `text` in the normal form; `name` is for messages. What is not UTF-8 or not a script at
/// all is never changed into something else: what cannot be parsed, line for line, is an error.
///
/// If `name` is a Markdown file's, as [`load_all`](super::load_all) has them, each fenced code
/// block marked `talk` is brought into the normal form, indented as its fence is, and all else
/// stays byte for byte.
///
/// # The normal form
///
/// * The text of a data line, behind `> ` or `< `, stays as it is, byte for byte.
/// * No line is indented, and none but a data line ends with blanks.
/// * Blank lines stand alone: none at the start, none at the end, and never two together.
/// * One space stands between the words of a control line, and in `set name = value` on both sides
///   of `=`.
/// * A comment starts with `# `; what follows keeps its shape. `#!` and rows such as `####` stay.
/// * A duration is in whole seconds, or else in milliseconds, or else in microseconds: `90s`,
///   `1500ms`, `250us`.
/// * `connect` names the crowd's size, `to`, `from`, `tls` and `proxy` in this order.
/// * In double quotes, what an editor shows as it is stands for itself, and everything else has its
///   shortest escape; a word or a value that needs no quotes has none. `x 1` is left out. In a
///   prompt, a brace that is text and stands before another brace is `\x7b`.
/// * Every line ends as the first one does, the last one too; but data that ends with CR has CR LF
///   behind it. There is no byte order mark.
///
/// The normal form of a normal form is the same, and both parse to the same steps.
///
/// # Errors
///
/// Everything that is wrong with a line. What is wrong with lines together is no obstacle, and
/// files that are included are not looked at.
///
/// ```
/// let text = b"#One name.\n\n\n  timeout   1500ms\n> Bob\n<\"Hello\\x2c Bob\\x0a\" x 1";
/// let normal = greeter_client::talk::format("hello.talk", text)?;
/// assert_eq!(normal, b"# One name.\n\ntimeout 1500ms\n> Bob\n<\"Hello, Bob\\n\"\n");
/// # Ok::<(), greeter_client::talk::Diagnostics>(())
/// ```
pub fn format(name: &str, text: impl AsRef<[u8]>) -> Result<Vec<u8>, Diagnostics> {
    let text = text.as_ref();
    let source = Source::new(name.into(), None, text.into());
    if markdown::is_markdown(Path::new(name)) {
        return format_blocks(&source);
    }
    parse::check_lines(&source)?;
    Ok(format_lines(&source))
}

/// A Markdown file with its scripts in the normal form.
fn format_blocks(file: &Source) -> Result<Vec<u8>, Diagnostics> {
    let mut normal = Vec::with_capacity(file.text.len());
    let mut diagnostics = Vec::new();
    let mut copied = 0;
    for script in markdown::scripts(file)? {
        let at = file.starts[script.lines.start]..file.starts[script.lines.end];
        match parse::check_lines(&script) {
            Ok(()) => {
                normal.extend_from_slice(&file.text[copied..at.start]);
                normal.extend(format_lines(&script));
                copied = at.end;
            }
            Err(found) => diagnostics.extend(found.0),
        }
    }
    normal.extend_from_slice(&file.text[copied..]);
    if diagnostics.is_empty() { Ok(normal) } else { Err(Diagnostics(diagnostics)) }
}

/// The lines of a script, in what a block of it stands in.
fn format_lines(source: &Source) -> Vec<u8> {
    let block = source.block();
    let prefix = |is_blank| block.map_or(&b""[..], |block| block.prefix(is_blank));
    let ending = common_ending(source);
    let mut normal = Vec::with_capacity(source.text.len());
    let mut cache = PatternCache::default();
    let mut blank = false;
    for line in source.lines() {
        let text = source.line(line);
        let statement = line::parse(text, &mut cache).expect("every line has been checked");
        if statement == Statement::Blank {
            blank = !normal.is_empty();
            continue;
        }
        if std::mem::take(&mut blank) {
            normal.extend_from_slice(prefix(true));
            normal.extend_from_slice(ending.as_bytes());
        }
        normal.extend_from_slice(prefix(false));
        match statement {
            Statement::Comment(comment) => push_comment(&mut normal, comment),
            Statement::Include(path) => normal.extend_from_slice(format!("include {}", word(&path)).as_bytes()),
            Statement::Action(action) => match normal_action(&action) {
                Some(form) => normal.extend_from_slice(form.as_bytes()),
                None => normal.extend_from_slice(&text[blanks(text)..]),
            },
            Statement::Blank => {}
        }
        // A CR that belongs to the data must not become half of an ending.
        let ending = if normal.ends_with(b"\r") { "\r\n" } else { ending };
        normal.extend_from_slice(ending.as_bytes());
    }
    normal
}

/// CR LF where every line of the file ends in it. One line does not show what the file's ending is:
/// the CR before its LF may be data, and the first line may be one that the normal form leaves out.
fn common_ending(source: &Source) -> &'static str {
    let mut lines = source.text.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
    match lines.next() {
        Some(first) if first.ends_with(b"\r\n") && lines.all(|line| line.ends_with(b"\r\n")) => "\r\n",
        _ => "\n",
    }
}

fn push_comment(normal: &mut Vec<u8>, comment: &[u8]) {
    let comment = comment.trim_ascii_end();
    normal.push(b'#');
    if comment.first().is_some_and(|&byte| !is_blank(byte) && !matches!(byte, b'#' | b'!')) {
        normal.push(b' ');
    }
    normal.extend_from_slice(comment);
}

/// How an action is written; [`None`] for lines, which stay as they are.
fn normal_action(action: &Action) -> Option<String> {
    Some(match action {
        Action::Send { to, what } => format!("{to}>{}", normal_outgoing(what)?),
        Action::Expect { from, what } => format!("{from}<{}", normal_incoming(what)?),
        Action::Within(duration) => format!("within {}", duration_text(*duration)),
        Action::Timeout(duration) => format!("timeout {}", duration_text(*duration)),
        Action::Sleep(duration) => format!("sleep {}", duration_text(*duration)),
        Action::Eol(Eol::Lf) => "eol lf".into(),
        Action::Eol(Eol::CrLf) => "eol crlf".into(),
        Action::Connect(connect) => normal_connect(connect),
        Action::Set { name, value } => format!("set {name} = {}", normal_value(value)),
        Action::Let { name, value } => format!("let {name} = {value}"),
        Action::Secret(name) => format!("secret {name}"),
        Action::Require(capability) => format!("require {capability}"),
        Action::Signal(signal) => format!("signal {signal}"),
        Action::Exits(status) => format!("exits {status}"),
        Action::Close(ConnectionName::Main) => "close".into(),
        Action::Close(connection_name) => format!("close {connection_name}"),
        Action::StartTls(ConnectionName::Main) => "starttls".into(),
        Action::StartTls(connection_name) => format!("starttls {connection_name}"),
        Action::Abandon => "abandon".into(),
    })
}

fn normal_outgoing(what: &Outgoing) -> Option<String> {
    match what {
        Outgoing::Line(_) => None,
        Outgoing::Raw(raw) => Some(normal_raw(raw)),
        Outgoing::Eof => Some("eof".into()),
        Outgoing::Reset => Some("reset".into()),
    }
}

fn normal_incoming(what: &Incoming) -> Option<String> {
    Some(match what {
        Incoming::Line(_) | Incoming::Never(_) | Incoming::Optional(_) | Incoming::AnyOrder { .. } => return None,
        Incoming::Raw(raw) => normal_raw(raw),
        Incoming::Prompt(prompt) => format!("prompt {prompt}"),
        Incoming::Skip => "*".into(),
        Incoming::Eof => "eof".into(),
        Incoming::Reset => "reset".into(),
        Incoming::Closed => "closed".into(),
        Incoming::Nothing(duration) => format!("nothing {}", duration_text(*duration)),
        Incoming::Bytes { count, capture: None } => format!("bytes {count}"),
        Incoming::Bytes { count, capture: Some(name) } => format!("bytes {count} {{{{{name}}}}}"),
    })
}

fn normal_raw(raw: &Raw) -> String {
    match raw.times() {
        1 => quote(raw.unit()),
        times => format!("{} x {times}", quote(raw.unit())),
    }
}

fn normal_connect(connect: &Connect) -> String {
    let mut words = vec![Cow::Borrowed("connect")];
    words.extend(connect.name.iter().map(|name| name.as_str().into()));
    words.extend(connect.crowd.map(|size| format!("x{size}").into()));
    match &connect.to {
        Some(Destination::Address(address)) => words.extend(["to".into(), word(&address.to_string()).into()]),
        Some(Destination::Template(template)) => words.extend(["to".into(), template.to_string().into()]),
        None => {}
    }
    words.extend(connect.from.map(|from| format!("from {from}").into()));
    words.extend(connect.tls.then_some("tls".into()));
    words.extend(connect.proxy.map(|proxy| format!("proxy {proxy}").into()));
    words.join(" ")
}

/// A word of a control line, in quotes if it needs them.
fn word(text: &str) -> String {
    let plain = text.chars().all(|c| is_plain(c) && c != ' ') && !text.is_empty();
    if plain && !text.starts_with('"') && !text.contains("{{") { text.to_owned() } else { quote(text.as_bytes()) }
}

/// The value of a variable, in quotes if it needs them. One with placeholders stands as it stood.
fn normal_value(value: &Template) -> String {
    let Some(bytes) = value.text() else { return value.to_string() };
    match std::str::from_utf8(bytes) {
        Ok(text)
            if !text.is_empty()
                && text.chars().all(is_plain)
                && text.trim() == text
                && !text.starts_with('"')
                && !text.contains("{{") =>
        {
            text.to_owned()
        }
        _ => quote(bytes),
    }
}

/// The text with `{{name}}` in place of each of the values that stands in it, and what `between`
/// makes of the rest.
pub(crate) fn name_values(text: &str, values: &[(&str, &str)], between: impl Fn(&str) -> String) -> String {
    let mut named = String::new();
    let (mut start, mut at) = (0, 0);
    while let Some(c) = text[at..].chars().next() {
        match values.iter().find(|(value, _)| text[at..].starts_with(value)) {
            Some((value, name)) => {
                named.extend([&between(&text[start..at]), "{{", name, "}}"]);
                at += value.len();
                start = at;
            }
            None => at += c.len_utf8(),
        }
    }
    named + &between(&text[start..])
}

/// Returns how a script says that `line`, without its ending, is sent or received: `start` is what
/// stands before the text, such as `bob<`. Where the plain form would not say it, or not visibly,
/// it is the raw form with `eol`'s ending. For those who write scripts: a recorder, or `--bless`.
///
/// ```
/// use greeter_client::{Eol, talk};
///
/// assert_eq!(talk::spell_line("bob<", b"Hello, Bob", Eol::Lf), "bob< Hello, Bob");
/// assert_eq!(talk::spell_line(">", b"", Eol::Lf), ">");
/// assert_eq!(talk::spell_line("<", b"Hello, \x1b[2J", Eol::CrLf), r#"<"Hello, \e[2J\r\n""#);
/// ```
#[must_use]
pub fn spell_line(start: &str, line: &[u8], eol: Eol) -> String {
    match std::str::from_utf8(line) {
        Ok("") => start.to_owned(),
        Ok(text) if text.chars().all(is_plain) && !text.ends_with(' ') && !text.contains("{{") => {
            format!("{start} {text}")
        }
        _ => format!("{start}{}", quote(&[line, eol.bytes()].concat())),
    }
}
