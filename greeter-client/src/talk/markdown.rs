//! Finds the scripts in a Markdown file: its fenced blocks marked `talk`.

use std::ops::Range;
use std::path::Path;

use super::script::Source;
use super::words::{blanks, trim_end};

/// A fenced block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The line of the opening fence, from 1.
    pub(super) fence: usize,
    /// The lines between the fences, from 0.
    pub(super) lines: Range<usize>,
}

/// Whether scripts are blocks of this file, and not all of it.
pub(super) fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// The blocks whose info string starts with the word `talk`, in order.
///
/// A fence may be indented, as in a list; the blanks at the start of a script's line have no meaning, so that its lines
/// may be indented with it. A block that is never closed ends with the file, as Markdown has it.
pub(super) fn blocks(file: &Source) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = file.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = Fence::open(file.line(line)) else { continue };
        let end = lines.by_ref().find(|&line| fence.is_closed_by(file.line(line))).unwrap_or(file.lines().end);
        if fence.is_talk {
            blocks.push(Block { fence: line, lines: line..end - 1 });
        }
    }
    blocks
}

struct Fence {
    sign: u8,
    length: usize,
    is_talk: bool,
}

impl Fence {
    fn open(line: &[u8]) -> Option<Self> {
        let line = &line[blanks(line)..];
        let sign = *line.first().filter(|&&byte| matches!(byte, b'`' | b'~'))?;
        let length = fence_length(line, sign);
        let info = &line[length..];
        // Backticks in the info string make it code within a paragraph.
        if length < 3 || sign == b'`' && info.contains(&b'`') {
            return None;
        }
        let is_talk = info.split(|byte| byte.is_ascii_whitespace()).find(|word| !word.is_empty()) == Some(b"talk");
        Some(Self { sign, length, is_talk })
    }

    fn is_closed_by(&self, line: &[u8]) -> bool {
        let line = trim_end(&line[blanks(line)..]);
        fence_length(line, self.sign) == line.len() && line.len() >= self.length
    }
}

fn fence_length(line: &[u8], sign: u8) -> usize {
    line.iter().take_while(|&&byte| byte == sign).count()
}
