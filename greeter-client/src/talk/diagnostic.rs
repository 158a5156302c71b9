//! What is wrong with a script, told so that it can be put right: where, what, and what to write
//! instead.

use std::fmt::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use super::source::Source;
use crate::net::escape;

/// Longer lines are shown in part: this many bytes of them.
const EXCERPT_BYTES: usize = 120;
/// How much of a line that is shown in part stands before what is wrong, in bytes.
const EXCERPT_BYTES_BEFORE: usize = 60;

/// The severity of a [`Diagnostic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but probably does not say what its author meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One error or warning about a script.
///
/// Displayed as compilers do: the place, the line with a caret under what is wrong, and the remedy.
/// Without a newline at the end, and harmless on a terminal whatever the script holds.
///
/// ```
/// use greeter_client::talk::Script;
///
/// let diagnostics = Script::parse("hello.talk", ">Bob\n").unwrap_err();
/// let shown = "\
/// hello.talk:1:2: error: '>Bob' is no statement
///   >Bob
///    ^^^
///   help: to send a line put one space after >: '> Bob'";
/// assert_eq!(diagnostics.to_string(), shown);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    severity: Severity,
    file: Arc<str>,
    line: usize,
    column: usize,
    message: String,
    help: Option<String>,
    excerpt: String,
    /// Which characters of `excerpt` are wrong.
    caret: Range<usize>,
}

impl Diagnostic {
    pub(super) fn new(severity: Severity, source: &Source, line: usize, diagnostic: LineDiagnostic) -> Self {
        let text = source.line(line);
        let at = diagnostic.at.start.min(text.len())..diagnostic.at.end.min(text.len());
        let shown = excerpt_bytes(text, at.start);
        let ellipsis = |cut: bool| if cut { "…" } else { "" };
        let before = format!("{}{}", ellipsis(shown.start > 0), escape::one_line(&text[shown.start..at.start]));
        let faulty = escape::one_line(&text[at.start..at.end.clamp(at.start, shown.end)]).to_string();
        let after = escape::one_line(&text[at.end.clamp(at.start, shown.end)..shown.end]);
        let caret = before.chars().count();
        Self {
            severity,
            file: Arc::clone(&source.name),
            line,
            column: characters(source.margin(line)) + characters(&text[..at.start]) + 1,
            message: diagnostic.message,
            help: diagnostic.help,
            caret: caret..caret + faulty.chars().count().max(1),
            excerpt: format!("{before}{faulty}{after}{}", ellipsis(shown.end < text.len())),
        }
    }

    /// Returns whether the script can run nevertheless.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Returns the name of the file, as it was when it was read.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns the line in that file, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.line
    }

    /// Returns the column, in characters, from 1. A byte that is no UTF-8 counts as one.
    #[must_use]
    pub fn column(&self) -> usize {
        self.column
    }

    /// Returns what is wrong: lower case, no full stop, one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns what to do about it, where that is known.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = escape::one_line(self.file.as_bytes());
        writeln!(f, "{file}:{}:{}: {}: {}", self.line, self.column, self.severity, self.message)?;
        writeln!(f, "  {}", self.excerpt)?;
        write!(f, "  {:start$}{:^<length$}", "", "", start = self.caret.start, length = self.caret.len())?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// All errors and warnings about a script, in the order of its lines. At least one is an error.
///
/// Displayed as its [`Diagnostic`]s, one below the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics(pub(super) Vec<Diagnostic>);

impl Diagnostics {
    /// Returns an iterator over the diagnostics, warnings among them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// Returns how many of them are errors: at least one.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char('\n')?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// A diagnostic of which only the line knows: not yet in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LineDiagnostic {
    /// Which bytes of the line.
    pub(super) at: Range<usize>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl LineDiagnostic {
    pub(super) fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: None }
    }

    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// The same diagnostic in a text of which what was read began at byte `offset`.
    pub(super) fn shifted(self, offset: usize) -> Self {
        Self { at: self.at.start + offset..self.at.end + offset, ..self }
    }
}

/// Which bytes of `text` to show when byte `at` is wrong: no character is cut.
fn excerpt_bytes(text: &[u8], at: usize) -> Range<usize> {
    if text.len() <= EXCERPT_BYTES {
        return 0..text.len();
    }
    let start = boundary(text, at.saturating_sub(EXCERPT_BYTES_BEFORE));
    let end = boundary(text, (start + EXCERPT_BYTES).min(text.len()));
    start..end.max(at)
}

/// The start of the character that byte `at` belongs to, as far as `text` is UTF-8.
fn boundary(text: &[u8], at: usize) -> usize {
    let continues = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    (at.saturating_sub(3)..=at).rev().find(|&at| !continues(at)).unwrap_or(at)
}

fn characters(text: &[u8]) -> usize {
    text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
}
