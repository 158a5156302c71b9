//! The report of a script that failed, as a person reads it.

use std::error::Error;
use std::fmt;
use std::path::Path;

use crate::net::StreamEnd;
use crate::net::escape::{self, one_line};
use crate::run::error::StepError;
use crate::run::outcome::{Failure, FailurePoint};
use crate::run::process::LastLines;
use crate::session::{Actual, Entry, Event, Expected, Mismatch, SessionError};
use crate::talk::MASK;

/// How many lines of the conversation a report repeats.
const TRANSCRIPT_LINES: usize = 4;

/// How many bytes of a line, or of what is unread, a report shows.
const MAX_SHOWN_BYTES: usize = 200;

impl Failure {
    /// How the server has ended, and what it said last on stderr.
    fn report_server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stderr: Option<&LastLines> = match (&self.server, &self.error) {
            // How it ended is what the error says.
            (Some(end), StepError::Exit { .. } | StepError::ServerDied(_)) => Some(&end.stderr),
            (Some(end), _) => {
                write!(f, "\n      the server has ended ({})", end.status)?;
                Some(&end.stderr)
            }
            (None, StepError::ServerProcess(error)) => error.stderr(),
            (None, _) => None,
        };
        for line in stderr.map(LastLines::to_string).unwrap_or_default().lines() {
            write!(f, "\n      stderr: {line}")?;
        }
        Ok(())
    }

    fn report_unmet(&self, mismatch: &Mismatch, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &mismatch.connection;
        let on = if name.is_empty() { String::new() } else { format!("  on {name}") };
        let (local, peer) = (one_line(mismatch.local.as_bytes()), one_line(mismatch.peer.as_bytes()));
        writeln!(f, "{on}  {local} -> {peer}")?;
        let skipped = mismatch.skipped_lines.min(mismatch.transcript.len());
        let (before, skipped) = mismatch.transcript.split_at(mismatch.transcript.len() - skipped);
        for entry in last(before) {
            writeln!(f, "      {}", said(entry))?;
        }
        if mismatch.skipped_lines > 0 {
            writeln!(f, "      {name}<*  (skipped: {})", skipped_text(mismatch.skipped_lines))?;
        }
        for entry in last(skipped) {
            writeln!(f, "      {}", said(entry))?;
        }
        match &mismatch.expected {
            Expected::AnyOrder { came, left } => {
                came.iter().try_for_each(|line| writeln!(f, "      {name}<{}", ShownLine(line)))?;
                left.iter().try_for_each(|line| writeln!(f, "    - {name}<&{}", ShownLine(line)))?;
            }
            one => writeln!(f, "    - {name}{}", expected(one))?,
        }
        write!(f, "    + {}", actual(name, mismatch))?;
        // Beside a mask, a caret would tell how long a secret is, and how much of it is right.
        if let Some(column) = first_difference(mismatch).filter(|_| !self.is_masked(mismatch)) {
            write!(f, "\n{:width$}^", "", width = 6 + name.chars().count() + column)?;
        }
        if mismatch.timed_out && matches!(mismatch.actual, Actual::Line(_) | Actual::Bytes(_)) {
            write!(f, "\n      then the time was over, after {:.1?}", mismatch.waited)?;
        }
        if mismatch.buffered_bytes > 0 {
            let shown = &mismatch.buffered[..mismatch.buffered.len().min(MAX_SHOWN_BYTES)];
            let more = if shown.len() < mismatch.buffered_bytes { "…" } else { "" };
            write!(f, "\n      and {} more bytes: {}{more}", mismatch.buffered_bytes, ShownBytes(shown))?;
        }
        if let Some(error) = &mismatch.send_error {
            write!(f, "\n      what was sent before was not delivered: {error}")?;
        }
        self.report_server(f)?;
        match (hint(mismatch, self.is_masked(mismatch)), &self.bless_command, &self.blessable) {
            // Who follows the hint has a better script.
            (Some(hint), ..) => write!(f, "\n  hint: {hint}"),
            (None, Some(command), Some(path)) => write!(f, "\n  accept it with: {command} {}", shell_word(path)),
            _ => Ok(()),
        }
    }

    /// Whether a secret may have been masked in what was expected or came.
    fn is_masked(&self, mismatch: &Mismatch) -> bool {
        let has_mask = |bytes: &[u8]| bytes.windows(MASK.len()).any(|found| found == MASK);
        let expected = match &mismatch.expected {
            Expected::Line(Some(bytes)) | Expected::Bytes(bytes) => has_mask(bytes),
            _ => false,
        };
        let actual = match &mismatch.actual {
            Actual::Line(bytes) | Actual::PartialLine(bytes) | Actual::Bytes(bytes) => has_mask(bytes),
            _ => false,
        };
        !self.secrets.is_empty() && (expected || actual)
    }

    fn report(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(title) = &self.title {
            writeln!(f, "  # {}", one_line(title.as_bytes()))?;
        }
        write!(f, "  {}", one_line(self.place.as_bytes()))?;
        match self.at {
            FailurePoint::Start => write!(f, "  at its start")?,
            FailurePoint::Step(_) => {}
            FailurePoint::End => write!(f, "  at its end")?,
        }
        if let StepError::Session(SessionError::Mismatch(mismatch)) = &self.error {
            return self.report_unmet(mismatch, f);
        }
        for entry in last(&self.transcript) {
            write!(f, "\n      {}", said(entry))?;
        }
        if let FailurePoint::Step(step) = &self.at {
            write!(f, "\n      {step}")?;
        }
        write!(f, "\n    {}", self.error)?;
        let mut source = self.error.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        self.report_server(f)
    }
}

/// What a message quotes may be called anything, and may hold a secret: the report as a whole is
/// masked and made harmless, so that no part of it can be forgotten.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = RawReport(self).to_string();
        escape::text(&self.secrets.mask(report.as_bytes())).fmt(f)
    }
}

/// Displays a failure with whatever its parts hold.
struct RawReport<'a>(&'a Failure);

impl fmt::Display for RawReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.report(f)
    }
}

/// A path as a shell reads it.
fn shell_word(path: &Path) -> String {
    let text = escape::path(path).to_string();
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ',' | '@' | ':');
    if text.chars().all(is_plain) && !text.starts_with('-') {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The last lines of the conversation. That a connection was opened goes without saying.
fn last(transcript: &[Entry]) -> impl Iterator<Item = &Entry> {
    let lines: Vec<&Entry> = transcript.iter().filter(|entry| entry.event != Event::Opened).collect();
    lines.into_iter().rev().take(TRANSCRIPT_LINES).rev()
}

fn skipped_text(lines: usize) -> String {
    match lines {
        1 => "1 line".to_owned(),
        2..=TRANSCRIPT_LINES => format!("{lines} lines"),
        _ => format!("{lines} lines, of which the last are"),
    }
}

/// What happened, as a script would have it.
fn said(entry: &Entry) -> String {
    let name = &entry.connection;
    match &entry.event {
        Event::SentLine(line) => format!("{name}>{}", ShownLine(line)),
        Event::SentBytes(bytes) => format!("{name}>{}", ShownBytes(bytes)),
        Event::ReceivedLine(line) => format!("{name}<{}", ShownLine(line)),
        Event::ReceivedBytes(bytes) => format!("{name}<{}", ShownBytes(bytes)),
        Event::Ended(end) => format!("{name}{}", ended(*end)),
        Event::HalfClosed => format!("{name}>eof"),
        Event::TlsStarted => on("starttls", name),
        Event::Reset => format!("{name}>reset"),
        Event::Closed => on("close", name),
        Event::Opened => on("connect", name),
    }
}

/// What was done on a connection, which may have no name.
fn on(action: &str, name: &str) -> String {
    if name.is_empty() { action.to_owned() } else { format!("{action} {name}") }
}

fn expected(expected: &Expected) -> String {
    match expected {
        Expected::Line(Some(line)) => format!("<{}", ShownLine(line)),
        Expected::Line(None) => "< another line".to_owned(),
        Expected::Not(line) => format!("<!{}", ShownLine(line)),
        Expected::AnyOrder { .. } => "<&".to_owned(),
        Expected::Bytes(bytes) => format!("<{}", ShownBytes(bytes)),
        Expected::Prompt(prompt) => format!("<prompt \"{}\"", one_line(prompt)),
        Expected::Count(count) => format!("<bytes {count}"),
        Expected::Eof => "<eof".to_owned(),
        Expected::Reset => "<reset".to_owned(),
        Expected::Closed => "<closed".to_owned(),
        Expected::Nothing(duration) => format!("<nothing {duration:?}"),
    }
}

fn actual(name: &str, mismatch: &Mismatch) -> String {
    let within = if mismatch.timed_out { format!(" within {:.1?}", mismatch.waited) } else { String::new() };
    let actual = match &mismatch.actual {
        Actual::Line(line) => format!("{name}<{}", ShownLine(line)),
        Actual::PartialLine(bytes) => format!("{name}<{} (a line that does not end{within})", ShownBytes(bytes)),
        Actual::Bytes(bytes) => format!("{name}<{}", ShownBytes(bytes)),
        Actual::LineTooLong { limit } => format!("(a line of more than {limit} bytes)"),
        Actual::End(end) => format!("{name}{}", ended(*end)),
        Actual::Nothing => format!("(nothing{within})"),
    };
    match mismatch.end {
        // Where the end was expected anyhow, it only matters what stands before it.
        Some(end) if !matches!(mismatch.actual, Actual::End(_)) && mismatch.expected != Expected::Eof => {
            format!("{actual}, then {name}{}", ended(end))
        }
        _ => actual,
    }
}

fn ended(end: StreamEnd) -> String {
    match end {
        StreamEnd::Eof => "<eof".to_owned(),
        StreamEnd::Truncated => "<eof (without a word in TLS: no close_notify)".to_owned(),
        StreamEnd::Alert(words) => format!(" (the server ended TLS: {words})"),
        StreamEnd::Reset => "<reset".to_owned(),
        StreamEnd::Lost(kind) => format!(" (the connection was lost: {kind})"),
    }
}

/// Where the text that was expected and the one that came begin to differ, in columns from the `<`.
/// Not where one of them is a pattern: what that would have taken, nobody knows.
fn first_difference(mismatch: &Mismatch) -> Option<usize> {
    let (expected, actual) = match (&mismatch.expected, &mismatch.actual) {
        (Expected::Line(Some(expected)), Actual::Line(actual)) => (expected, actual),
        (Expected::Bytes(expected), Actual::Bytes(actual)) => (expected, actual),
        _ => return None,
    };
    if is_pattern(expected) {
        return None;
    }
    let same = expected.iter().zip(actual).take_while(|(one, other)| one == other).count();
    (same < MAX_SHOWN_BYTES).then(|| 2 + one_line(&actual[..same]).to_string().chars().count())
}

/// Whether a placeholder without a value is left in what was expected.
fn is_pattern(expected: &[u8]) -> bool {
    expected.windows(2).any(|pair| pair == b"{{")
}

fn hint(mismatch: &Mismatch, is_masked: bool) -> Option<String> {
    match (&mismatch.expected, &mismatch.actual) {
        (Expected::Line(Some(expected)), Actual::Line(actual))
            if actual.strip_suffix(b"\r").is_some_and(|line| line == expected || is_pattern(expected)) =>
        {
            Some("the server ends its lines with CR LF: put `eol crlf` at the top".to_owned())
        }
        (Expected::Line(Some(expected)), Actual::PartialLine(actual)) if actual == expected && !is_masked => {
            Some(format!("to expect this without the end of a line, write <{}", ShownBytes(actual)))
        }
        (Expected::Prompt(_), Actual::Line(_)) => {
            Some("what ends with a newline is no prompt: expect it as a line, or skip it with <*".to_owned())
        }
        (Expected::Prompt(_), Actual::Bytes(bytes)) => {
            Some(format!("a prompt ends within the first {} bytes of its line", bytes.len()))
        }
        (Expected::Eof, Actual::End(StreamEnd::Reset)) => {
            Some("a server that closes with input unread resets; <closed takes either".to_owned())
        }
        _ => None,
    }
}

/// The text of a line, with the blank before it that says so.
struct ShownLine<'a>(&'a [u8]);

impl fmt::Display for ShownLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..MAX_SHOWN_BYTES) {
            Some(start) if self.0.len() > MAX_SHOWN_BYTES => {
                write!(f, " {}… ({} bytes)", one_line(start), self.0.len())
            }
            _ if self.0.is_empty() => Ok(()),
            _ => write!(f, " {}", one_line(self.0)),
        }
    }
}

/// Bytes in quotes.
struct ShownBytes<'a>(&'a [u8]);

impl fmt::Display for ShownBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..MAX_SHOWN_BYTES) {
            Some(start) if self.0.len() > MAX_SHOWN_BYTES => {
                write!(f, "\"{}\"… ({} bytes)", start.escape_ascii(), self.0.len())
            }
            _ => write!(f, "\"{}\"", self.0.escape_ascii()),
        }
    }
}
