//! Turns what others have written down of a conversation into the draft of a [script](crate::talk):
//! a transcript of an RFC, what swaks or `curl -v` print, a simple script of expect. It must not
//! do any I/O, and it never says that the draft runs: only its reader knows what was meant.
//!
//! What is said stays as it is, byte for byte; nothing becomes a placeholder by guess. What looks
//! as if it stood for something else ([`RemarkKind::Kept`]) is named. What a script cannot say
//! ([`RemarkKind::NotSaid`]) becomes a comment in its place.
//!
//! ```
//! use greeter_client::convert::convert;
//!
//! let draft = convert(b"   S: +OK ready\n   C: USER mrose\n")?;
//! assert!(draft.is_whole());
//! assert!(draft.script.ends_with("eol crlf\n< +OK ready\n> USER mrose\n"));
//! # Ok::<(), greeter_client::convert::ConvertError>(())
//! ```
//!
//! A draft is a script in the normal form: it passes `check` and `fmt --check`.
//!
//! # Layout
//!
//! Files, each importing only from those before it: `draft` (what comes out), `tcl` (an expect
//! script into commands), then one for each kind of text: `expect`, `curl`, `swaks`, `rfc`.

mod curl;
mod draft;
mod expect;
mod rfc;
mod swaks;
mod tcl;

pub use draft::{Draft, Remark, RemarkKind, TranscriptKind};

use crate::talk::{Diagnostics, Script};
use draft::{DraftWriter, TextLine};

/// The longest text that is converted, in bytes. A transcript that somebody reads is shorter, and
/// of this one, whatever it says, the script is within every limit of scripts.
pub const MAX_TRANSCRIPT_BYTES: usize = 1024 * 1024;

/// The longest line of it, in bytes without its ending.
pub const MAX_TRANSCRIPT_LINE_BYTES: usize = 64 * 1024;

/// Why a text cannot be converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// Nothing in it says who speaks.
    #[error(
        "nothing in it says who speaks: lines that begin with 'C: ' and 'S: ', what swaks or curl -v print, or a script of expect"
    )]
    NoDirections,
    /// It is what telnet shows.
    #[error(
        "what telnet shows does not tell who said what: record the conversation instead, with greeter-client record"
    )]
    Telnet,
    /// It is a script as it is.
    #[error("it is a script already")]
    Script,
    /// It is longer than [`MAX_TRANSCRIPT_BYTES`].
    #[error("it is longer than {MAX_TRANSCRIPT_BYTES} bytes")]
    TooLong,
    /// One of its lines is longer than [`MAX_TRANSCRIPT_LINE_BYTES`].
    #[error("line {line} is longer than {MAX_TRANSCRIPT_LINE_BYTES} bytes")]
    LineTooLong {
        /// The number of the line, from 1.
        line: usize,
    },
    /// What came out is no script. No such text is known.
    #[error("what comes out is no script\n{0}")]
    NoScript(Diagnostics),
}

/// Converts a text. What kind it is, its lines say: the one that most of them are of.
///
/// # Errors
///
/// Any [`ConvertError`].
pub fn convert(text: &[u8]) -> Result<Draft, ConvertError> {
    if text.len() > MAX_TRANSCRIPT_BYTES {
        return Err(ConvertError::TooLong);
    }
    let lines = TextLine::all(text);
    if let Some(line) = lines.iter().find(|line| line.text.len() > MAX_TRANSCRIPT_LINE_BYTES) {
        return Err(ConvertError::LineTooLong { line: line.number });
    }
    if Script::parse("text", text).is_ok_and(|script| !script.steps().is_empty()) {
        return Err(ConvertError::Script);
    }
    let counts = [
        (TranscriptKind::Swaks, swaks::count(&lines)),
        (TranscriptKind::Rfc, rfc::count(&lines)),
        (TranscriptKind::Curl, curl::count(&lines)),
        (TranscriptKind::Expect, expect::count(&lines)),
    ];
    // Of equal ones, the first.
    let (kind, count) = counts.into_iter().rev().max_by_key(|(_, count)| *count).unwrap_or((TranscriptKind::Rfc, 0));
    if count == 0 {
        let is_telnet = lines.iter().any(|line| line.text.starts_with(b"Escape character is "));
        return Err(if is_telnet { ConvertError::Telnet } else { ConvertError::NoDirections });
    }
    let mut draft = DraftWriter::new(kind);
    match kind {
        TranscriptKind::Rfc => rfc::convert(&lines, &mut draft),
        TranscriptKind::Swaks => swaks::convert(&lines, &mut draft),
        TranscriptKind::Curl => curl::convert(&lines, &mut draft),
        TranscriptKind::Expect => expect::convert(text, &mut draft),
    }
    draft.finish().map_err(ConvertError::NoScript)
}
