//! Why a script failed, as values, and as the report that a person reads.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use super::process::{LastLines, ServerEnd, ServerError};
use super::{Own, RunOptions};
use crate::net::escape::one_line;
use crate::net::{AddressError, PeerEnd, escape};
use crate::session::{Act, Came, Entry, Expected, SessionError, Unmet};
use crate::talk::{Action, CountError, Problems, Script, Unbound};

/// How many lines of the conversation a report repeats.
const TRANSCRIPT_LINES: usize = 4;

/// How long a server may take to end after it has ended a connection, so that the one explains the other.
const DYING: Duration = Duration::from_millis(250);

/// How many bytes of a line, or of what is unread, a report shows.
const SHOWN_BYTES_MAX: usize = 200;

/// A script that failed: where, and why. Displayed, it is a report of several lines, indented, without a last newline, and
/// harmless on a terminal.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The comment above the step.
    pub title: Option<String>,
    /// The file and the line, as in `hello.talk:3`; without the line, if it did not fail at a step.
    pub place: String,
    /// How far it had come.
    pub at: At,
    /// What happened.
    pub fault: Fault,
    /// How the server of the run's own has ended, if it has: that may be why.
    pub server: Option<ServerEnd>,
    /// What was said last before that, on any connection.
    pub transcript: Vec<Entry>,
    /// The file that [`bless`](super::bless()) can probably change so that it says what happened.
    pub mendable: Option<PathBuf>,
    /// How a person does that, but for the file: [`RunOptions::bless_command`].
    pub bless_command: Option<String>,
}

/// How far a script had come when it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// It could not begin.
    Start,
    /// To this step; it is shown as it is written.
    Step(String),
    /// To the checks at its end.
    End,
}

/// What happened that the script does not say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// On a connection; above all, what came is not what was expected.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A placeholder has no value.
    #[error(transparent)]
    Unbound(#[from] Unbound),
    /// What a variable says is no number of bytes.
    #[error(transparent)]
    Count(#[from] CountError),
    /// What a variable says is no address.
    #[error("cannot connect there")]
    Address(#[from] AddressError),
    /// The server of the run's own cannot be reached.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server ended in another way.
    #[error("the server was to end with {expected}, but it ended with {came}")]
    Exit {
        /// The status that was expected.
        expected: u8,
        /// The status that came, or the signal.
        came: String,
    },
    /// The server ended by itself with another status than 0 or by a signal, and the script has neither sent it a signal nor
    /// said that it `exits`.
    #[error("the server has ended by itself ({0}), and the script does not say so")]
    Died(ExitStatus),
    /// The server did not end.
    #[error("the server still runs after {waited:?}")]
    StillRuns {
        /// How long it was waited for.
        waited: Duration,
    },
    /// A step is about the server's process, and there is none.
    #[error("this run has no server of its own: give it one with --server")]
    NoServer,
    /// Nobody has said where to connect to.
    #[error("there is no address to connect to: give one with --connect or --server")]
    NoTarget,
    /// The run lacks something that the script uses.
    #[error("{0}; `require` lets a script be skipped where that is so")]
    Lacking(String),
    /// What is to be inserted belongs into a file that the script includes, and that others may share.
    #[error("only what stands in the script itself is blessed, not what it includes; there was to be inserted: {0}")]
    InIncluded(String),
    /// With what came, the script would be none.
    #[error("what came cannot be written down so that the script stays one; edit it by hand\n{0}")]
    Unblessed(Problems),
    /// The script as a whole takes too long.
    #[error("the script has taken more than {0:?}")]
    TimeMax(Duration),
}

impl Fault {
    /// Whether a connection, or a server of the run's own, could not be had in the first place: then the fault is hardly the script's.
    #[must_use]
    pub const fn is_connecting(&self) -> bool {
        match self {
            Self::Session(SessionError::Connect { .. }) => true,
            Self::Server(error) => !matches!(error, ServerError::Process(_)),
            _ => false,
        }
    }

    /// Whether a connection, or the server itself, was not there any more.
    fn is_about_an_end(&self) -> bool {
        match self {
            Self::Session(SessionError::Unmet(unmet)) => {
                unmet.end.is_some() || unmet.send_error.is_some() || matches!(unmet.came, Came::End(_))
            }
            Self::Session(SessionError::Connect { .. } | SessionError::Send { .. }) => true,
            Self::Server(ServerError::Process(_)) | Self::Exit { .. } | Self::Died(_) => true,
            _ => false,
        }
    }

    /// Whether [`bless`](super::bless()) may accept what came instead.
    fn is_mendable(&self, is_timed: bool) -> bool {
        let Self::Session(SessionError::Unmet(unmet)) = self else { return false };
        let is_expected =
            matches!(unmet.expected, Expected::Line(_) | Expected::Eof | Expected::Reset | Expected::Closed);
        let has_come = match unmet.came {
            Came::Line(_) | Came::End(PeerEnd::Eof | PeerEnd::Reset) => true,
            Came::Unfinished(_) => unmet.end.is_some(),
            Came::Nothing => unmet.late && !is_timed,
            _ => false,
        };
        is_expected && has_come
    }
}

impl Failure {
    pub(super) fn at(script: &Script, index: usize, fault: Fault, transcript: Vec<Entry>) -> Self {
        let step = &script.steps()[index];
        let source = script.source_of(step);
        let is_timed = index > 0 && matches!(script.steps()[index - 1].action(), Action::Within(_));
        let mendable = fault.is_mendable(is_timed) && !script.is_included(step);
        Self {
            title: step.title().map(str::to_owned),
            place: format!("{}:{}", source.name(), step.line()),
            at: At::Step(one_line(source.line(step.line())).to_string()),
            mendable: source.path().filter(|_| mendable).map(Path::to_owned),
            fault,
            server: None,
            bless_command: None,
            transcript,
        }
    }

    pub(super) fn at_the_end(script: &Script, fault: Fault) -> Self {
        let mendable =
            matches!(&fault, Fault::Session(SessionError::Unmet(unmet)) if matches!(unmet.came, Came::Line(_)));
        Self {
            title: None,
            place: script.name().to_owned(),
            at: At::End,
            mendable: script.source().path().filter(|_| mendable).map(Path::to_owned),
            fault,
            server: None,
            bless_command: None,
            transcript: Vec::new(),
        }
    }

    /// The script could not begin, for there is no server of the run's own for it.
    #[must_use]
    pub fn without_server(script: &Script, error: ServerError) -> Self {
        Self {
            title: None,
            place: script.name().to_owned(),
            at: At::Start,
            mendable: None,
            fault: error.into(),
            server: None,
            bless_command: None,
            transcript: Vec::new(),
        }
    }

    /// The script is over, and [its server's end](super::Server::end) was not as it should be.
    #[must_use]
    pub fn at_servers_end(script: &Script, error: ServerError) -> Self {
        Self::at_the_end(script, error.into())
    }

    /// Adds how the server has ended. Where an end has failed the script, the server may be about to.
    pub(super) fn with_end_of(self, server: Option<Own<'_>>) -> Self {
        let within = if self.fault.is_about_an_end() { DYING } else { Duration::ZERO };
        let Some(own) = server else { return self };
        let end = own.server.wait_for_end(within).ok().flatten();
        let has_died = end.as_ref().is_some_and(|end| own.has_died(end.status));
        Self { mendable: self.mendable.filter(|_| !has_died), server: end, ..self }
    }

    pub(super) fn advised(self, options: &RunOptions) -> Self {
        Self { bless_command: options.bless_command.clone(), ..self }
    }

    /// It was tried to bless the script, in vain.
    pub(super) fn unblessed(self) -> Self {
        Self { mendable: None, ..self }
    }

    /// How the server has ended, and what it said last on stderr.
    fn report_server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stderr: Option<&LastLines> = match (&self.server, &self.fault) {
            // How it ended is what the fault says.
            (Some(end), Fault::Exit { .. } | Fault::Died(_)) => Some(&end.stderr),
            (Some(end), _) => {
                write!(f, "\n      the server has ended ({})", end.status)?;
                Some(&end.stderr)
            }
            (None, Fault::Server(error)) => error.stderr(),
            (None, _) => None,
        };
        for line in stderr.map(LastLines::to_string).unwrap_or_default().lines() {
            write!(f, "\n      stderr: {line}")?;
        }
        Ok(())
    }

    fn report_unmet(&self, unmet: &Unmet, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &unmet.connection;
        let on = if name.is_empty() { String::new() } else { format!("  on {name}") };
        let (local, peer) = (one_line(unmet.local.as_bytes()), one_line(unmet.peer.as_bytes()));
        writeln!(f, "{on}  {local} -> {peer}")?;
        let skipped = unmet.skipped_lines.min(unmet.transcript.len());
        let (before, skipped) = unmet.transcript.split_at(unmet.transcript.len() - skipped);
        for entry in last(before) {
            writeln!(f, "      {}", said(entry))?;
        }
        if unmet.skipped_lines > 0 {
            writeln!(f, "      {name}<*  (skipped: {})", skipped_text(unmet.skipped_lines))?;
        }
        for entry in last(skipped) {
            writeln!(f, "      {}", said(entry))?;
        }
        write!(f, "    - {name}{}\n    + {}", expected(&unmet.expected), came(name, unmet))?;
        if let Some(column) = first_difference(unmet) {
            write!(f, "\n{:width$}^", "", width = 6 + name.chars().count() + column)?;
        }
        if unmet.late && matches!(unmet.came, Came::Line(_) | Came::Bytes(_)) {
            write!(f, "\n      then the time was over, after {:.1?}", unmet.waited)?;
        }
        if unmet.buffered_bytes > 0 {
            let shown = &unmet.buffered[..unmet.buffered.len().min(SHOWN_BYTES_MAX)];
            let more = if shown.len() < unmet.buffered_bytes { "…" } else { "" };
            write!(f, "\n      and {} more bytes: {}{more}", unmet.buffered_bytes, Quoted(shown))?;
        }
        if let Some(error) = &unmet.send_error {
            write!(f, "\n      what was sent before was not delivered: {error}")?;
        }
        self.report_server(f)?;
        match (hint(unmet), &self.bless_command, &self.mendable) {
            // Who follows the hint has a better script.
            (Some(hint), ..) => write!(f, "\n  hint: {hint}"),
            (None, Some(command), Some(path)) => write!(f, "\n  accept it with: {command} {}", shell_word(path)),
            _ => Ok(()),
        }
    }

    fn report(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(title) = &self.title {
            writeln!(f, "  # {}", one_line(title.as_bytes()))?;
        }
        write!(f, "  {}", one_line(self.place.as_bytes()))?;
        match self.at {
            At::Start => write!(f, "  at its start")?,
            At::Step(_) => {}
            At::End => write!(f, "  at its end")?,
        }
        if let Fault::Session(SessionError::Unmet(unmet)) = &self.fault {
            return self.report_unmet(unmet, f);
        }
        for entry in last(&self.transcript) {
            write!(f, "\n      {}", said(entry))?;
        }
        if let At::Step(step) = &self.at {
            write!(f, "\n      {step}")?;
        }
        write!(f, "\n    {}", self.fault)?;
        let mut source = self.fault.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        self.report_server(f)
    }
}

/// What a message quotes may be called anything: the report as a whole is made harmless, so that no part of it can be forgotten.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape::text(Report(self).to_string().as_bytes()).fmt(f)
    }
}

/// Displays a failure with whatever its parts hold.
struct Report<'a>(&'a Failure);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.report(f)
    }
}

/// A path as a shell reads it.
fn shell_word(path: &Path) -> String {
    let text = one_line(path.as_os_str().as_encoded_bytes()).to_string();
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ',' | '@' | ':');
    if text.chars().all(is_plain) && !text.starts_with('-') {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The last lines of the conversation. That a connection was opened goes without saying.
fn last(transcript: &[Entry]) -> impl Iterator<Item = &Entry> {
    let lines: Vec<&Entry> = transcript.iter().filter(|entry| entry.act != Act::Opened).collect();
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
    match &entry.act {
        Act::SentLine(line) => format!("{name}>{}", Line(line)),
        Act::SentBytes(bytes) => format!("{name}>{}", Quoted(bytes)),
        Act::ReceivedLine(line) => format!("{name}<{}", Line(line)),
        Act::ReceivedBytes(bytes) => format!("{name}<{}", Quoted(bytes)),
        Act::Ended(end) => format!("{name}{}", ended(*end)),
        Act::HalfClosed => format!("{name}>eof"),
        Act::Reset => format!("{name}>reset"),
        Act::Closed => format!("close {name}"),
        Act::Opened => format!("connect {name}"),
    }
}

fn expected(expected: &Expected) -> String {
    match expected {
        Expected::Line(Some(line)) => format!("<{}", Line(line)),
        Expected::Line(None) => "< another line".to_owned(),
        Expected::Bytes(bytes) => format!("<{}", Quoted(bytes)),
        Expected::Count(count) => format!("<bytes {count}"),
        Expected::Eof => "<eof".to_owned(),
        Expected::Reset => "<reset".to_owned(),
        Expected::Closed => "<closed".to_owned(),
        Expected::Nothing(duration) => format!("<nothing {duration:?}"),
    }
}

fn came(name: &str, unmet: &Unmet) -> String {
    let within = if unmet.late { format!(" within {:.1?}", unmet.waited) } else { String::new() };
    let came = match &unmet.came {
        Came::Line(line) => format!("{name}<{}", Line(line)),
        Came::Unfinished(bytes) => format!("{name}<{} (a line that does not end{within})", Quoted(bytes)),
        Came::Bytes(bytes) => format!("{name}<{}", Quoted(bytes)),
        Came::TooLong { limit } => format!("(a line of more than {limit} bytes)"),
        Came::End(end) => format!("{name}{}", ended(*end)),
        Came::Nothing => format!("(nothing{within})"),
    };
    match unmet.end {
        // Where the end was expected anyhow, it only matters what stands before it.
        Some(end) if !matches!(unmet.came, Came::End(_)) && unmet.expected != Expected::Eof => {
            format!("{came}, then {name}{}", ended(end))
        }
        _ => came,
    }
}

fn ended(end: PeerEnd) -> String {
    match end {
        PeerEnd::Eof => "<eof".to_owned(),
        PeerEnd::Reset => "<reset".to_owned(),
        PeerEnd::Lost(kind) => format!(" (the connection was lost: {kind})"),
    }
}

/// Where the text that was expected and the one that came begin to differ, in columns from the `<`. Not where one of them is
/// a pattern: what that would have taken, nobody knows.
fn first_difference(unmet: &Unmet) -> Option<usize> {
    let (expected, came) = match (&unmet.expected, &unmet.came) {
        (Expected::Line(Some(expected)), Came::Line(came)) => (expected, came),
        (Expected::Bytes(expected), Came::Bytes(came)) => (expected, came),
        _ => return None,
    };
    if is_pattern(expected) {
        return None;
    }
    let same = expected.iter().zip(came).take_while(|(one, other)| one == other).count();
    (same < SHOWN_BYTES_MAX).then(|| 2 + one_line(&came[..same]).to_string().chars().count())
}

/// Whether a placeholder without a value is left in what was expected.
fn is_pattern(expected: &[u8]) -> bool {
    expected.windows(2).any(|pair| pair == b"{{")
}

fn hint(unmet: &Unmet) -> Option<String> {
    match (&unmet.expected, &unmet.came) {
        (Expected::Line(Some(expected)), Came::Line(came))
            if came.strip_suffix(b"\r").is_some_and(|line| line == expected || is_pattern(expected)) =>
        {
            Some("the server ends its lines with CR LF: put `eol crlf` at the top".to_owned())
        }
        (Expected::Line(Some(expected)), Came::Unfinished(came)) if came == expected => {
            Some(format!("to expect this without the end of a line, write <{}", Quoted(came)))
        }
        (Expected::Eof, Came::End(PeerEnd::Reset)) => {
            Some("a server that closes with input unread resets; <closed takes either".to_owned())
        }
        _ => None,
    }
}

/// The text of a line, with the blank before it that says so.
struct Line<'a>(&'a [u8]);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..SHOWN_BYTES_MAX) {
            Some(start) if self.0.len() > SHOWN_BYTES_MAX => {
                write!(f, " {}… ({} bytes)", one_line(start), self.0.len())
            }
            _ if self.0.is_empty() => Ok(()),
            _ => write!(f, " {}", one_line(self.0)),
        }
    }
}

/// Bytes in quotes.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get(..SHOWN_BYTES_MAX) {
            Some(start) if self.0.len() > SHOWN_BYTES_MAX => {
                write!(f, "\"{}\"… ({} bytes)", start.escape_ascii(), self.0.len())
            }
            _ => write!(f, "\"{}\"", self.0.escape_ascii()),
        }
    }
}
