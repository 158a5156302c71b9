//! A script of expect, of which literal `expect` and `send` can be said. It looks for what it
//! expects anywhere in what has come, and takes all before that away: `<*`, and a prompt that may
//! begin with anything.

use std::time::Duration;

use super::draft::{DraftWriter, RemarkKind, TextLine};
use super::tcl::{TclCommand, TclWord, commands};
use crate::talk::{MAX_PROMPT_BYTES, Prompt, quote, spell_line};

/// Why an `expect` is not said.
const NO_PATTERN: &str = "only literal text is said, and eof: no patterns, no variables, no branches";

pub(super) fn count(lines: &[TextLine<'_>]) -> usize {
    let begins = |line: &&TextLine<'_>| {
        let text = line.text.trim_ascii_start();
        let word = text.split(|byte| matches!(byte, b' ' | b'\t' | b'{')).next();
        matches!(word, Some(b"expect" | b"send" | b"exp_send")) && text.len() > word.map_or(0, <[u8]>::len)
    };
    lines.iter().filter(begins).count()
}

pub(super) fn convert(text: &[u8], draft: &mut DraftWriter) {
    let lines = TextLine::all(text);
    let mut talk = ExpectTalk { lines, draft, is_over: false, has_exited: false, has_begun: false, has_spawned: false };
    talk.play(&commands(text, 1));
    if talk.has_begun && !talk.is_over {
        // An expect script that ends looks at nothing any more.
        talk.draft.step("close");
    }
}

struct ExpectTalk<'a, 'd> {
    lines: Vec<TextLine<'a>>,
    draft: &'d mut DraftWriter,
    /// The connection has ended.
    is_over: bool,
    /// The script has.
    has_exited: bool,
    has_begun: bool,
    has_spawned: bool,
}

impl ExpectTalk<'_, '_> {
    fn play(&mut self, commands: &[TclCommand]) {
        let mut last_line = 0;
        for command in commands {
            if last_line > 0 && command.first_line > last_line + 1 {
                self.draft.blank();
            }
            last_line = command.last_line;
            if command.is_comment || self.has_exited {
                self.comment(command);
                continue;
            }
            if let Err(why) = self.command(command) {
                self.not_said(command, why);
            }
        }
    }

    /// Says a command, all of it; or nothing, and why.
    fn command(&mut self, command: &TclCommand) -> Result<(), &'static str> {
        let Some(name) = command.words.first().and_then(|word| word.value.as_deref()) else {
            return Err("only literal expect and send are said");
        };
        match name {
            b"expect" => self.expect(command),
            b"send" | b"exp_send" => self.send(command),
            b"spawn" if !self.has_spawned => {
                self.has_spawned = true;
                let why = "what is spawned says where to connect, and how lines end: --connect, and eol crlf";
                self.draft.remark(command.first_line, RemarkKind::Kept, why);
                self.comment(command);
                Ok(())
            }
            b"spawn" => Err("a second program would be a second connection"),
            b"set" => match command.values().as_deref() {
                Some([_, b"timeout", seconds]) => {
                    let timeout = seconds_of(seconds).ok_or("it waits without end, or not at all")?;
                    self.draft.step(&format!("timeout {timeout}s"));
                    Ok(())
                }
                _ => Err("there are no variables but the timeout"),
            },
            b"sleep" => match command.values().as_deref() {
                Some([_, seconds]) => {
                    let duration = fraction_of_seconds(seconds).ok_or("it is no time")?;
                    self.draft.step(&format!("sleep {}us", duration.as_micros()));
                    Ok(())
                }
                _ => Err("it is no time"),
            },
            b"close" if !self.has_begun => Err("there is nothing to close"),
            b"close" if command.words.len() == 1 && !self.is_over => {
                self.is_over = true;
                self.draft.step("close");
                Ok(())
            }
            b"exit" | b"exp_exit" => {
                self.has_exited = true;
                self.comment(command);
                Ok(())
            }
            // They say nothing to the server.
            b"wait" | b"puts" | b"send_user" | b"send_error" | b"log_user" | b"log_file" | b"exp_internal"
            | b"stty" | b"package" => {
                self.comment(command);
                Ok(())
            }
            _ => Err("only literal expect and send are said"),
        }
    }

    fn send(&mut self, command: &TclCommand) -> Result<(), &'static str> {
        let text = sent(command)?;
        if self.is_over {
            return Err("the connection has ended before");
        }
        self.has_begun |= !text.is_empty();
        let mut rest = &text[..];
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let Some(end) = end else {
                self.draft.send_raw(rest);
                break;
            };
            self.draft.send(&rest[..end]);
            let length = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
            rest = &rest[end + length..];
        }
        Ok(())
    }

    fn expect(&mut self, command: &TclCommand) -> Result<(), &'static str> {
        let (mut words, mut is_exact) = (&command.words[1..], false);
        while let [first, rest @ ..] = words
            && let Some(flag @ (b"-ex" | b"-exact" | b"-gl" | b"-glob" | b"--")) = first.value.as_deref()
        {
            is_exact |= flag.starts_with(b"-ex");
            words = rest;
        }
        let (pattern, action) = match words {
            [pattern] => (pattern, None),
            [pattern, action] if action.is_braced => (pattern, Some(action)),
            _ => return Err(NO_PATTERN),
        };
        if self.is_over {
            return Err("the connection has ended before");
        }
        let value = pattern.value.as_deref().ok_or(NO_PATTERN)?;
        let actions = action.map(action_of).transpose()?.unwrap_or_default();
        let is_option = value.starts_with(b"-") && !is_exact && words.len() == command.words.len() - 1;
        let is_word = matches!(value, b"timeout" | b"default" | b"full_buffer" | b"null");
        // In braces, a line with a word before it is several patterns.
        let is_block = pattern.is_braced && value.contains(&b'\n');
        if is_option || is_word || is_block || value.is_empty() {
            return Err(NO_PATTERN);
        }
        let steps = match value {
            b"eof" if !is_exact => {
                self.is_over = true;
                "<eof".to_owned()
            }
            _ => expected(&if is_exact { value.to_vec() } else { literal(value).ok_or(NO_PATTERN)? })?,
        };
        self.has_begun = true;
        self.draft.step("<*");
        self.draft.step(&steps);
        self.play(&actions);
        Ok(())
    }

    fn comment(&mut self, command: &TclCommand) {
        for line in &self.lines[command.first_line - 1..command.last_line.min(self.lines.len())] {
            let text = line.text.trim_ascii();
            self.draft.comment(text.strip_prefix(b"#").map_or(text, <[u8]>::trim_ascii_start));
        }
    }

    fn not_said(&mut self, command: &TclCommand, why: &str) {
        for line in &self.lines[command.first_line - 1..command.last_line.min(self.lines.len())] {
            self.draft.not_said(*line, why);
        }
    }
}

/// What is done when something has come: literal sends, and nothing else.
fn action_of(word: &TclWord) -> Result<Vec<TclCommand>, &'static str> {
    let text = word.value.as_deref().ok_or(NO_PATTERN)?;
    let commands = commands(text, word.line);
    let is_send = |command: &TclCommand| {
        let name = command.words.first().and_then(|word| word.value.as_deref());
        matches!(name, Some(b"send" | b"exp_send")) && sent(command).is_ok()
    };
    if commands.iter().all(is_send) { Ok(commands) } else { Err(NO_PATTERN) }
}

/// What a `send` sends.
fn sent(command: &TclCommand) -> Result<Vec<u8>, &'static str> {
    let values = command.values().ok_or("what is sent depends on something")?;
    match &values[1..] {
        [text] if text.starts_with(b"-") => Err("it is an option of send"),
        [flags @ .., text] if flags.iter().all(|flag| matches!(*flag, b"--" | b"-s" | b"-h")) => Ok(text.to_vec()),
        _ => Err("it is sent in a way of its own, or elsewhere"),
    }
}

/// The text that a glob pattern stands for, if it stands for one alone. It may begin anywhere, star
/// or not.
fn literal(pattern: &[u8]) -> Option<Vec<u8>> {
    let pattern = pattern.strip_prefix(b"*").unwrap_or(pattern);
    if pattern.starts_with(b"^") {
        return None;
    }
    let mut text = Vec::new();
    let mut bytes = pattern.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'?' | b'[' => return None,
            // The end of what has come, whenever that is looked at.
            b'$' if bytes.peek().is_none() => return None,
            b'\\' => text.push(bytes.next()?),
            byte => text.push(byte),
        }
    }
    Some(text).filter(|text| !text.is_empty())
}

/// The step for a text that may stand anywhere.
fn expected(text: &[u8]) -> Result<String, &'static str> {
    let line = text.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    if let Some(line) = line {
        // What is no plain text, a pattern cannot say.
        let plain = spell_line("<", line, crate::net::Eol::Lf);
        return match plain.strip_prefix("< ") {
            Some(line) => Ok(format!("< {{{{*}}}}{line}")),
            None if line.is_empty() => Ok("< {{*}}".to_owned()),
            None => Err("a line with these characters cannot be searched for"),
        };
    }
    if text.contains(&b'\n') || text.len() > MAX_PROMPT_BYTES {
        return Err("a prompt is part of one line, and of 4096 bytes at most");
    }
    let quoted = quote(text).replace('{', r"\x7b");
    let prompt: Prompt = format!("\"{{{{*}}}}{}", &quoted[1..]).parse().map_err(|_| NO_PATTERN)?;
    Ok(format!("<prompt {prompt}"))
}

/// A number of seconds that is a timeout, and at most a day.
fn seconds_of(text: &[u8]) -> Option<u64> {
    let seconds: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(seconds).filter(|seconds| (1..=86_400).contains(seconds))
}

fn fraction_of_seconds(text: &[u8]) -> Option<Duration> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(seconds).filter(|seconds| (0.0..=86_400.0).contains(seconds)).map(Duration::from_secs_f64)
}
