//! Finds the scripts in a Markdown file: its fenced code blocks marked `talk`, as CommonMark has
//! them.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use memchr::memmem;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::talk::diagnostic::{Diagnostic, Diagnostics, LineDiagnostic, Severity};
use crate::talk::source::{BYTE_ORDER_MARK, Block, Source};

/// What stands for a byte that is no UTF-8: it means nothing in Markdown.
const SUBSTITUTE: u8 = 0x1a;

/// Whether scripts are blocks of this file, and not all of it.
pub(crate) fn is_markdown(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| ["md", "markdown"].iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// The scripts in a file: the blocks whose info string starts with the word `talk`, in order.
///
/// # Errors
///
/// The file says `talk` in a form in which no block would be found.
pub(crate) fn scripts(file: &Source) -> Result<Vec<Source>, Diagnostics> {
    if let Some(diagnostic) = unreadable(&file.text) {
        return Err(Diagnostics(vec![Diagnostic::new(Severity::Error, file, 1, diagnostic)]));
    }
    let mark = if file.text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let text = as_text(&file.text[mark..]);
    let mut events = Parser::new_ext(&text, Options::empty()).into_offset_iter();
    let mut blocks = Vec::new();
    while let Some((event, at)) = events.next() {
        if matches!(event, Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) if is_talk(&info)) {
            let pieces = events.by_ref().take_while(|(event, _)| !matches!(event, Event::End(TagEnd::CodeBlock)));
            let pieces = pieces.map(|(_, piece)| piece.start + mark..piece.end + mark);
            blocks.push(block(file, at.start + mark, pieces));
        }
    }
    let blocks: Arc<[Block]> = blocks.into();
    let script = |block: &Block| Source { lines: block.lines.clone(), blocks: Arc::clone(&blocks), ..file.clone() };
    Ok(blocks.iter().map(script).collect())
}

fn is_talk(info: &str) -> bool {
    info.split_whitespace().next() == Some("talk")
}

/// Why there may be blocks that are not found, if the file says `talk`.
fn unreadable(text: &[u8]) -> Option<LineDiagnostic> {
    // Of UTF-16, whichever half of a character comes first.
    if memmem::find(text, b"t\0a\0l\0k").is_some() {
        return Some(LineDiagnostic::new(0..2, "this looks like UTF-16").help("save it as UTF-8"));
    }
    let ends_with_cr = !text.contains(&b'\n') && text.contains(&b'\r') && memmem::find(text, b"talk").is_some();
    ends_with_cr
        .then(|| LineDiagnostic::new(0..1, "the lines of this file end with CR alone").help("save it with LF or CR LF"))
}

/// The text with every byte in its place, as far as a parser of Markdown needs it: what is no UTF-8
/// is data of scripts, and so is a CR that no LF follows, which ends no line of a script.
fn as_text(text: &[u8]) -> String {
    let mut bytes = text.to_vec();
    let mut at = 0;
    for chunk in text.utf8_chunks() {
        at += chunk.valid().len();
        bytes[at..at + chunk.invalid().len()].fill(SUBSTITUTE);
        at += chunk.invalid().len();
    }
    // From the end, so that it is known what follows.
    let (mut next, mut is_end) = (b'\n', true);
    for byte in bytes.iter_mut().rev() {
        match *byte {
            b'\r' if next != b'\n' => *byte = b' ',
            // The parser takes no tab behind a closing fence, where CommonMark does.
            b'\t' if is_end => *byte = b' ',
            _ => {}
        }
        next = *byte;
        is_end = next == b'\n' || is_end && matches!(next, b'\r' | b' ');
    }
    String::from_utf8(bytes).expect("what is no UTF-8 has been replaced")
}

/// The block whose fence stands at a byte of the file, and whose text these pieces of it are.
fn block(file: &Source, fence: usize, pieces: impl Iterator<Item = Range<usize>>) -> Block {
    let (line, begin) = file.line_at(fence);
    let before = file.text[begin..fence].strip_prefix(BYTE_ORDER_MARK).unwrap_or(&file.text[begin..fence]);
    // What marks an item of a list does so once, and indents what follows.
    let prefix = before.iter().map(|&byte| if matches!(byte, b'>' | b'\t') { byte } else { b' ' }).collect();
    let mut margins = Vec::new();
    for piece in pieces {
        let last = piece.end.saturating_sub(1).max(piece.start);
        for number in file.line_at(piece.start).0..=file.line_at(last).0 {
            // A line without a piece of its own has no text.
            (line + 1 + margins.len()..number).for_each(|blank| margins.push(file.bytes_of(blank).len()));
            if line + margins.len() < number {
                margins.push(piece.start.saturating_sub(file.bytes_of(number).start));
            }
        }
    }
    Block { fence: line, lines: line..line + margins.len(), margins, prefix }
}
