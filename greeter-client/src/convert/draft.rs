//! What comes out: the text of a script, and what its reader has to know.

use std::fmt;
use std::ops::RangeInclusive;

use crate::net::Eol;
use crate::net::escape::one_line;
use crate::talk::{self, Diagnostics, Script, quote, spell_line};

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TranscriptKind {
    /// `C: …` and `S: …`, as in RFCs, or `S: …` and `R: …` in the oldest ones.
    Rfc,
    /// What swaks prints: ` -> …`, `<-  …` and others.
    Swaks,
    /// What `curl -v` prints: `> …`, `< …` and `* …`.
    Curl,
    /// A script of expect.
    Expect,
}

impl fmt::Display for TranscriptKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rfc => "an RFC's transcript",
            Self::Swaks => "what swaks has printed",
            Self::Curl => "what curl -v has printed",
            Self::Expect => "an expect script",
        })
    }
}

/// A draft of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Draft {
    /// What it was made of.
    pub kind: TranscriptKind,
    /// The script, in the normal form.
    pub script: String,
    /// What its reader has to know, in the order of the lines.
    pub remarks: Vec<Remark>,
}

impl Draft {
    /// Returns whether the script says everything that the text does.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.remarks.iter().all(|remark| remark.kind != RemarkKind::NotSaid)
    }
}

/// Something about lines of the text. Displayed without the lines, on one line, and harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remark {
    /// The lines of the text, from 1.
    pub lines: RangeInclusive<usize>,
    /// What became of them.
    pub kind: RemarkKind,
    /// Why.
    pub message: String,
}

/// What became of lines that a remark is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemarkKind {
    /// They are in the script as they are, and may not be meant so.
    Kept,
    /// They are a comment.
    NotSaid,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            RemarkKind::Kept => "kept as it is",
            RemarkKind::NotSaid => "not said",
        };
        write!(f, "{what}: {}", one_line(self.message.as_bytes()))
    }
}

/// A line of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextLine<'a> {
    /// From 1.
    pub(super) number: usize,
    /// Without its ending.
    pub(super) text: &'a [u8],
}

impl<'a> TextLine<'a> {
    pub(super) fn all(text: &'a [u8]) -> Vec<Self> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let lines = text.split(|&byte| byte == b'\n').zip(1..);
        lines.map(|(text, number)| Self { number, text: text.strip_suffix(b"\r").unwrap_or(text) }).collect()
    }

    pub(super) fn is_blank(&self) -> bool {
        self.text.trim_ascii().is_empty()
    }

    /// What stands behind `prefix` and a blank; a line that ends with the prefix has nothing there.
    pub(super) fn behind(&self, prefix: &str) -> Option<&'a [u8]> {
        match self.text.strip_prefix(prefix.as_bytes())? {
            [] => Some(&[]),
            [b' ', rest @ ..] => Some(rest),
            _ => None,
        }
    }
}

/// Writes a draft.
pub(super) struct DraftWriter {
    kind: TranscriptKind,
    script: String,
    remarks: Vec<Remark>,
    eol: Eol,
}

impl DraftWriter {
    pub(super) fn new(kind: TranscriptKind) -> Self {
        let script = format!("# A draft, made of {kind}: read it before you run it.\n\n");
        Self { kind, script, remarks: Vec::new(), eol: Eol::Lf }
    }

    /// Lines end with CR LF from here on.
    pub(super) fn ends_lines_with_crlf(&mut self) {
        self.eol = Eol::CrLf;
        self.step("eol crlf");
    }

    /// One line of the script.
    pub(super) fn step(&mut self, text: &str) {
        self.script.push_str(text);
        self.script.push('\n');
    }

    pub(super) fn send(&mut self, line: &[u8]) {
        self.step(&spell_line(">", line, self.eol));
    }

    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        self.step(&format!(">{}", quote(bytes)));
    }

    pub(super) fn expect(&mut self, line: &[u8]) {
        self.step(&spell_line("<", line, self.eol));
    }

    pub(super) fn blank(&mut self) {
        self.step("");
    }

    pub(super) fn comment(&mut self, text: &[u8]) {
        let text = one_line(text.trim_ascii_end()).to_string();
        self.step(format!("# {text}").trim_ascii_end());
    }

    /// A line that a script cannot say. Lines that follow each other for the same reason have one
    /// remark.
    pub(super) fn not_said(&mut self, line: TextLine<'_>, why: &str) {
        self.comment(line.text);
        self.remark(line.number, RemarkKind::NotSaid, why);
    }

    /// A line that comes next, and that may not be meant as it is.
    pub(super) fn kept(&mut self, number: usize, why: &str) {
        self.comment(why.as_bytes());
        self.remark(number, RemarkKind::Kept, why);
    }

    /// What is not in the text at all, where it would have come.
    pub(super) fn missing(&mut self, number: usize, what: &str) {
        self.comment(what.as_bytes());
        self.remark(number, RemarkKind::NotSaid, what);
    }

    pub(super) fn remark(&mut self, number: usize, kind: RemarkKind, message: &str) {
        if let Some(last) = self.remarks.last_mut()
            && last.kind == kind
            && last.message == message
            && (number == *last.lines.end() || number == last.lines.end() + 1)
            && kind == RemarkKind::NotSaid
        {
            last.lines = *last.lines.start()..=number;
            return;
        }
        self.remarks.push(Remark { lines: number..=number, kind, message: message.to_owned() });
    }

    pub(super) fn finish(self) -> Result<Draft, Diagnostics> {
        let script = talk::format("draft", &self.script)?;
        Script::parse("draft", &script)?;
        let script = String::from_utf8_lossy(&script).into_owned();
        Ok(Draft { kind: self.kind, script, remarks: self.remarks })
    }
}
