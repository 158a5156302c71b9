//! Turns received bytes into lines, and tells how a sent line ends. No socket, no clock.

use std::ops::Range;
use std::str::FromStr;

/// The ending of a line on the wire; see [the crate's notes on lines](crate#lines).
///
/// ```
/// use greeter_client::Eol;
///
/// assert_eq!("crlf".parse(), Ok(Eol::CrLf));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eol {
    /// LF. A CR before it is part of the line.
    #[default]
    Lf,
    /// CR LF. In what is received, a CR directly before LF belongs to the ending, and may be
    /// missing.
    CrLf,
}

impl Eol {
    /// Returns the bytes that end a line which is sent.
    #[must_use]
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }

    /// The line in `text`, which ends with LF. In lines that end with LF alone, a CR before it is
    /// part of the line.
    pub(crate) fn strip(self, text: &[u8]) -> &[u8] {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        &text[..self.line_bytes(text)]
    }

    /// Appends what `line` is on the wire. `false`: it holds an LF, and would be two lines.
    pub(crate) fn append_line(self, wire: &mut Vec<u8>, line: &[u8]) -> bool {
        if memchr::memchr(b'\n', line).is_some() {
            return false;
        }
        wire.extend_from_slice(line);
        wire.extend_from_slice(self.bytes());
        true
    }

    /// How many bytes of `text`, which stood before an LF, are the line itself.
    fn line_bytes(self, text: &[u8]) -> usize {
        match (self, text) {
            (Self::CrLf, [line @ .., b'\r']) => line.len(),
            _ => text.len(),
        }
    }
}

impl FromStr for Eol {
    type Err = EolError;

    fn from_str(text: &str) -> Result<Self, EolError> {
        match text {
            "lf" => Ok(Self::Lf),
            "crlf" => Ok(Self::CrLf),
            _ => Err(EolError),
        }
    }
}

/// An error of parsing an [`Eol`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write lf or crlf")]
pub struct EolError;

/// A line is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineOverflow;

/// The smallest buffer. Most replies of a line server fit, and a load test has thousands of these.
const MIN_BYTES: usize = 4 * 1024;
/// Up to here the buffer grows when reads fill it; beyond, only a line that long makes it grow.
const BYTES_FOR_SPEED: usize = 64 * 1024;

/// What has been received and not yet been taken as a line.
///
/// Every byte is searched once and moved a bounded number of times, however the bytes arrive.
#[derive(Debug)]
pub(crate) struct ReplyBuffer {
    bytes: Vec<u8>,
    /// `bytes[unread]` has been received and not been taken; what is before and behind is free.
    unread: Range<usize>,
    /// There is no LF in `bytes[unread.start..searched]`.
    searched: usize,
    eol: Eol,
    /// The most bytes a line may have, without its ending.
    max_line_bytes: usize,
}

impl ReplyBuffer {
    pub(crate) fn new(eol: Eol, max_line_bytes: usize) -> Self {
        Self { bytes: Vec::new(), unread: 0..0, searched: 0, eol, max_line_bytes }
    }

    /// Takes the next whole line, without its ending: where it lies, until the next call of
    /// [`space`](Self::space).
    pub(crate) fn take_line(&mut self) -> Result<Option<Range<usize>>, LineOverflow> {
        let unsearched = &self.bytes[self.searched..self.unread.end];
        let Some(offset) = memchr::memchr(b'\n', unsearched) else {
            self.searched = self.unread.end;
            return if self.eol.line_bytes(self.unread()) > self.max_line_bytes { Err(LineOverflow) } else { Ok(None) };
        };
        let lf = self.searched + offset;
        let line = self.unread.start..self.unread.start + self.eol.line_bytes(&self.bytes[self.unread.start..lf]);
        if line.len() > self.max_line_bytes {
            return Err(LineOverflow);
        }
        self.unread.start = lf + 1;
        self.searched = lf + 1;
        Ok(Some(line))
    }

    /// Takes everything, line ends among it: where it lies, until the next call of
    /// [`space`](Self::space).
    pub(crate) fn take_all(&mut self) -> Range<usize> {
        let all = self.unread.clone();
        self.unread.start = self.unread.end;
        self.searched = self.unread.end;
        all
    }

    /// The bytes at a place that one of these told.
    pub(crate) fn line(&self, line: Range<usize>) -> &[u8] {
        &self.bytes[line]
    }

    /// What has been received and not been taken.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.bytes[self.unread.clone()]
    }

    /// Free space of at least one byte, provided that [`take_line`](Self::take_line) has just found
    /// no line, or that everything has been taken.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.unread.is_empty() {
            self.unread = 0..0;
            self.searched = 0;
        }
        if self.unread.end == self.bytes.len() {
            self.make_space();
        }
        &mut self.bytes[self.unread.end..]
    }

    /// Says that the first `count` bytes of [`space`](Self::space) have been filled.
    pub(crate) fn filled(&mut self, count: usize) {
        self.unread.end += count;
        let full = self.unread.end == self.bytes.len();
        if full && self.bytes.len() < BYTES_FOR_SPEED.min(self.max_bytes()) {
            self.grow();
        }
    }

    /// Moves what is unread to the front only where that frees half of the buffer, so that a byte
    /// is moved rarely.
    fn make_space(&mut self) {
        if self.unread.start > self.bytes.len() / 2 || self.bytes.len() >= self.max_bytes() {
            self.bytes.copy_within(self.unread.clone(), 0);
            self.searched -= self.unread.start;
            self.unread = 0..self.unread.len();
        } else {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let bytes = (self.bytes.len() * 2).max(MIN_BYTES).min(self.max_bytes());
        self.bytes.resize(bytes, 0);
    }

    /// The longest line and its ending.
    fn max_bytes(&self) -> usize {
        self.max_line_bytes.saturating_add(2)
    }
}

#[cfg(test)]
#[path = "../../tests/lines/property.rs"]
mod property;

#[cfg(test)]
mod tests {
    use super::property::{feed, holds};
    use super::*;

    #[test]
    fn the_corpus_holds() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lines/corpus");
        let files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty());
        files.iter().for_each(|file| holds(&std::fs::read(file).unwrap()));
    }

    #[track_caller]
    fn check(eol: Eol, max: usize, input: &[u8], lines: &[&[u8]], rest: Result<&[u8], LineOverflow>) {
        let expected = (lines.iter().map(|line| line.to_vec()).collect(), rest.map(<[u8]>::to_vec));
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let pieces = [&input[..first], &input[first..second], &input[second..]];
                assert_eq!(feed(eol, max, pieces), expected, "cut at {first} and {second}");
            }
        }
        assert_eq!(feed(eol, max, input.chunks(1)), expected, "byte by byte");
    }

    #[test]
    fn lf_ends_a_line_and_keeps_the_cr() {
        check(Eol::Lf, 100, b"a\r\n\nb\rc\n\r\r\nd\r", &[b"a\r", b"", b"b\rc", b"\r\r"], Ok(b"d\r"));
    }

    #[test]
    fn crlf_drops_one_cr_and_accepts_its_absence() {
        check(Eol::CrLf, 100, b"a\r\n\nb\rc\n\r\r\nd\r", &[b"a", b"", b"b\rc", b"\r"], Ok(b"d\r"));
    }

    #[test]
    fn any_other_byte_is_data() {
        let line: Vec<u8> = (0..=255).filter(|&byte| byte != b'\n').collect();
        let input = [&line[..], b"\n"].concat();
        assert_eq!(feed(Eol::Lf, 255, input.chunks(1)), (vec![line], Ok(Vec::new())));
    }

    #[test]
    fn the_limit_counts_the_line_without_its_ending() {
        check(Eol::Lf, 3, b"abc\nabc", &[b"abc"], Ok(b"abc"));
        check(Eol::Lf, 3, b"a\nabcd", &[b"a"], Err(LineOverflow));
        check(Eol::Lf, 3, b"a\nabcd\n", &[b"a"], Err(LineOverflow));
        check(Eol::Lf, 3, b"abc\r\n", &[], Err(LineOverflow));
        check(Eol::CrLf, 3, b"abc\r\nabc\nabc\r", &[b"abc", b"abc"], Ok(b"abc\r"));
        check(Eol::CrLf, 3, b"abcd\r\n", &[], Err(LineOverflow));
        check(Eol::CrLf, 3, b"abc\r\r\n", &[], Err(LineOverflow));
        check(Eol::Lf, 0, b"\n\nx", &[b"", b""], Err(LineOverflow));
        check(Eol::Lf, usize::MAX, b"abc\n", &[b"abc"], Ok(b""));
    }

    #[test]
    fn the_buffer_is_never_larger_than_the_longest_line() {
        let mut buffer = ReplyBuffer::new(Eol::CrLf, 100_000);
        while buffer.take_line() == Ok(None) {
            let space = buffer.space();
            space.fill(b'x');
            let count = space.len();
            buffer.filled(count);
        }
        assert_eq!(buffer.bytes.len(), 100_002);
    }

    /// A rescan of the longest line for every byte of it would read 0.5 TB.
    #[test]
    fn a_long_line_that_arrives_byte_by_byte_is_searched_once() {
        let input = vec![b'x'; 1 << 20];
        let (lines, rest) = feed(Eol::Lf, 1 << 20, input.chunks(1));
        assert_eq!((lines.len(), rest.map(|rest| rest.len())), (0, Ok(1 << 20)));
    }
}
