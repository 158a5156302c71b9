//! Turns a text into lines that know their place in it. It knows nothing of what they say.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A text that holds a script: a file, or a block of a Markdown file.
#[derive(Clone, PartialEq, Eq)]
pub struct Source {
    pub(super) name: Arc<str>,
    pub(super) path: Option<PathBuf>,
    pub(super) text: Arc<[u8]>,
    /// Where each line starts, and where the text ends.
    pub(super) starts: Arc<[usize]>,
    /// Which lines are the script, from 0.
    pub(super) lines: Range<usize>,
    /// If it is a Markdown file, all its blocks: the script is one of them.
    pub(super) blocks: Arc<[Block]>,
}

impl Source {
    /// Finds the lines of `text`. All of it is the script.
    pub(super) fn new(name: Arc<str>, path: Option<PathBuf>, text: Arc<[u8]>) -> Self {
        let ends = memchr::memchr_iter(b'\n', &text).map(|lf| lf + 1).filter(|&end| end < text.len());
        let starts: Arc<[usize]> = std::iter::once(0).chain(ends).chain([text.len()]).collect();
        let lines = 0..if text.is_empty() { 0 } else { starts.len() - 1 };
        Self { name, path, text, starts, lines, blocks: [].into() }
    }

    /// The block of a Markdown file that the script is.
    pub(super) fn block(&self) -> Option<&Block> {
        let index = self.blocks.binary_search_by_key(&self.lines.start, |block| block.lines.start).ok()?;
        self.blocks.get(index)
    }

    /// The block that a line, counted from 1, belongs to. It need not be the script.
    pub(super) fn block_at(&self, line: usize) -> Option<&Block> {
        let before = self.blocks.partition_point(|block| block.fence < line);
        self.blocks[..before].last().filter(|block| line <= block.lines.end)
    }

    /// The line that a byte of the text belongs to, counted from 1, and where that line starts.
    pub(super) fn line_at(&self, byte: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|&start| start <= byte).min(self.starts.len() - 1);
        (line, self.starts[line - 1])
    }

    /// What stands before a line's text because of what the block stands in.
    pub(super) fn margin(&self, line: usize) -> &[u8] {
        let text = &self.text[self.bytes_of(line)];
        &text[..self.block_at(line).map_or(0, |block| block.margin(line)).min(text.len())]
    }

    /// Returns the name of the text when it was read: with the line, this is its place in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the file it was read from.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Returns all of the file, byte for byte: for a block of a Markdown file, the whole of that
    /// file.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Returns which lines of the file are the script, from 1.
    #[must_use]
    pub fn lines(&self) -> Range<usize> {
        self.lines.start + 1..self.lines.end + 1
    }

    /// Returns where a line, counted from 1, lies in [`text`](Self::text), its ending included:
    /// what replaces these bytes leaves all others as they were.
    ///
    /// # Panics
    ///
    /// If there is no such line.
    #[must_use]
    pub fn bytes_of(&self, line: usize) -> Range<usize> {
        self.starts[line - 1]..self.starts[line]
    }

    /// Returns a line, counted from 1, without its ending and without the byte order mark. A line
    /// of a block in Markdown is without what makes it one of the quotes and lists around the
    /// block, too.
    ///
    /// # Panics
    ///
    /// If there is no such line.
    #[must_use]
    pub fn line(&self, line: usize) -> &[u8] {
        let text = &self.text[self.bytes_of(line)];
        let text = if line == 1 { text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text) } else { text };
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        &text[self.margin(line).len().min(text.len())..]
    }
}

/// What some editors put before the first character of a file.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The name and the size, not all of the text.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("name", &self.name).field("lines", &self.lines()).finish_non_exhaustive()
    }
}

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The line of the opening fence, from 1.
    pub(super) fence: usize,
    /// The lines between the fences, from 0.
    pub(super) lines: Range<usize>,
    /// How many bytes of each of these lines belong to what the block stands in: a quote's `>`, a
    /// list's indentation.
    pub(super) margins: Vec<usize>,
    /// What a new line of it begins with.
    pub(super) prefix: Vec<u8>,
}

impl Block {
    /// How many bytes of a line of it, which counts from 1, are not the block's.
    pub(super) fn margin(&self, line: usize) -> usize {
        self.margins[line - 1 - self.lines.start]
    }

    /// What stands before the text of a new line, so that it is one of the block: for one without a
    /// text, as much as is not blank at its end.
    pub(super) fn prefix(&self, is_blank: bool) -> &[u8] {
        if is_blank { trim_end(&self.prefix) } else { &self.prefix }
    }
}

pub(super) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// How many blanks `text` starts with.
pub(super) fn blanks(text: &[u8]) -> usize {
    text.iter().take_while(|&&byte| is_blank(byte)).count()
}

/// `text` without the blanks at its end.
pub(super) fn trim_end(text: &[u8]) -> &[u8] {
    let trailing = text.iter().rev().take_while(|&&byte| is_blank(byte)).count();
    &text[..text.len() - trailing]
}
