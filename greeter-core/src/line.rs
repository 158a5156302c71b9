//! Bytes into lines.
//!
//! A [`LineBuffer`] takes bytes as the network cut them and gives them back as [`Line`]s. It never looks at what a line
//! says, and where the cuts were leaves no trace: the same bytes give the same lines for every fragmentation.

use std::fmt;

use memchr::{memchr, memchr_iter, memrchr};
use wide::{CmpEq, i8x16};

use crate::rejection::Rejection;

const LF: u8 = b'\n';
const CR: u8 = b'\r';

/// How many bytes one look for LFs takes in: as many as a word has bits. A line with no LF in a whole block is long. With 16 bytes, lines
/// of up to 40 bytes, no two of one length, take a fifth longer, since no processor can guess in which of them a line ends.
const BLOCK: usize = u64::BITS as usize;

/// How many bytes are compared at once. Every x86-64 and every AArch64 can do that.
const REGISTER: usize = 16;

/// How a line ends on the wire. A reply ends as its request did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnding {
    /// A single LF, as `nc` sends.
    #[default]
    Lf,
    /// CR and LF, as `telnet` sends and most RFCs ask for.
    CrLf,
}

impl LineEnding {
    /// The bytes on the wire.
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }
}

/// The text of one line, without its ending: any bytes but LF.
///
/// That it holds no LF is what the type is for: a reply put together from `Line`s cannot break the framing, so nobody has
/// to look again. It may well hold NUL, a lone CR or broken UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Line<'a>(&'a [u8]);

impl<'a> Line<'a> {
    /// The line that these bytes make.
    ///
    /// # Errors
    ///
    /// [`LfInLine`] when they would make more than one.
    pub fn new(text: &'a [u8]) -> Result<Self, LfInLine> {
        if memchr(LF, text).is_some() { Err(LfInLine) } else { Ok(Self(text)) }
    }

    /// A line known when the program is written, checked when it is compiled:
    ///
    /// ```
    /// # use greeter_core::Line;
    /// const HELLO: Line<'_> = Line::literal("Hello, ");
    /// ```
    ///
    /// # Panics
    ///
    /// When the text holds an LF; in a `const` that is a compile error.
    #[must_use]
    pub const fn literal(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let mut index = 0;
        while index < bytes.len() {
            assert!(bytes[index] != LF, "a line holds no LF");
            index += 1;
        }
        Self(bytes)
    }

    /// The bytes of the line.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The line as text.
    ///
    /// # Errors
    ///
    /// [`Rejection::NotUtf8`] when it is none; a responder passes that on with `?`, and the client reads it.
    pub fn to_str(self) -> Result<&'a str, Rejection> {
        std::str::from_utf8(self.0).map_err(|_| Rejection::NotUtf8)
    }
}

impl fmt::Debug for Line<'_> {
    /// Quoted and escaped: safe to print wherever the line came from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// What was to be one line holds an LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line feed inside a line")]
pub struct LfInLine;

/// A line over the limit: its text was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LineTooLong;

/// One complete line as it came in.
pub(crate) struct ReceivedLine<'a> {
    pub(crate) text: Result<Line<'a>, LineTooLong>,
    pub(crate) ending: LineEnding,
}

/// The bytes that one client has sent and nobody has answered: whole lines first, at most one unfinished line behind them.
///
/// Memory: what it was given in complete lines, plus at most the limit and two bytes for the unfinished one. A line's
/// ending does not count against the limit. Every connection has one for all its life, which is mostly idle, so it counts in 32
/// bits.
#[derive(Debug)]
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    /// `bytes[..taken]` were given out as lines. Never more than `complete`.
    taken: u32,
    /// `bytes[taken..complete]` are whole lines, `bytes[complete..]` is the unfinished one, which holds no LF.
    complete: u32,
    /// How many lines stand in `bytes[taken..complete]`.
    lines: u32,
    max_line_bytes: u32,
}

impl LineBuffer {
    pub(crate) const fn new(max_line_bytes: u32) -> Self {
        Self { bytes: Vec::new(), taken: 0, complete: 0, lines: 0, max_line_bytes }
    }

    /// How many complete lines are waiting.
    pub(crate) const fn lines(&self) -> u32 {
        self.lines
    }

    /// How many bytes those lines are, with their endings.
    pub(crate) const fn bytes_waiting(&self) -> usize {
        (self.complete - self.taken) as usize
    }

    /// Whether the last bytes received were part of a line that has not ended.
    pub(crate) const fn has_unfinished_line(&self) -> bool {
        (self.complete as usize) < self.bytes.len()
    }

    pub(crate) const fn max_line_bytes(&self) -> u32 {
        self.max_line_bytes
    }

    /// How the latest complete line ended, while there is one.
    pub(crate) fn latest_ending(&self) -> LineEnding {
        if self.bytes[..self.complete as usize].ends_with(b"\r\n") { LineEnding::CrLf } else { LineEnding::Lf }
    }

    /// How much memory it holds, in bytes.
    pub(crate) const fn bytes_held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes in the next bytes and tells how many lines they completed. Looks at the new bytes only.
    ///
    /// # Panics
    ///
    /// When it would hold 4 GiB. No read is so long, and no [limit](crate::ConnectionConfig::MAX_LINE_BYTES).
    pub(crate) fn push(&mut self, input: &[u8]) -> u32 {
        let Some(last) = memrchr(LF, input) else {
            self.push_unfinished(input);
            return 0;
        };
        let (whole, rest) = input.split_at(last + 1);
        let added = memchr_iter(LF, whole).count();
        // Exactly, since these lines will have been answered before others are taken in.
        self.bytes.reserve_exact(input.len());
        self.bytes.extend_from_slice(whole);
        self.complete = u32::try_from(self.bytes.len()).expect("a buffer holds fewer than 2^32 bytes");
        let added = u32::try_from(added).expect("there are no more lines than bytes");
        self.lines += added;
        self.push_unfinished(rest);
        added
    }

    /// Adds to the unfinished line. Of one that is already too long, its start and its latest byte are kept: the start is
    /// more than any line may have, and the latest byte tells whether an LF that follows ends it with a CR. So the verdict
    /// falls where the line ends, by the one rule in [`Run`], however the line was cut.
    fn push_unfinished(&mut self, input: &[u8]) {
        let Some(&latest) = input.last() else { return };
        let kept_max = self.max_line_bytes as usize + 2;
        let room = kept_max - (self.bytes.len() - self.complete as usize);
        if input.len() <= room {
            self.bytes.extend_from_slice(input);
        } else {
            self.bytes.extend_from_slice(&input[..room]);
            let end = self.bytes.len() - 1;
            self.bytes[end] = latest;
        }
    }

    /// The complete lines. Those that were given out are taken when the run ends, were it by a panic.
    pub(crate) fn run(&mut self) -> Run<'_> {
        let bytes = &self.bytes[..self.complete as usize];
        let start = self.taken as usize;
        Run {
            bytes,
            start,
            lines: self.lines,
            max_line_bytes: self.max_line_bytes as usize,
            ends: LineEnds::new(bytes, start),
            taken_from: (&mut self.taken, &mut self.lines),
        }
    }

    /// Throws the complete lines away and tells how many there were.
    pub(crate) fn discard_lines(&mut self) -> u32 {
        self.taken = self.complete;
        std::mem::take(&mut self.lines)
    }

    /// Throws everything away, and tells how many complete lines that were.
    pub(crate) fn discard_all(&mut self) -> u32 {
        self.bytes = Vec::new();
        self.taken = 0;
        self.complete = 0;
        std::mem::take(&mut self.lines)
    }

    /// Gives back the memory of the lines that were taken: once none is left, only an unfinished line holds any.
    pub(crate) fn release_taken(&mut self) {
        if self.lines == 0 {
            self.compact();
        }
    }

    /// Keeps what was not taken, and no more memory than that needs.
    pub(crate) fn compact(&mut self) {
        self.bytes = self.bytes[self.taken as usize..].to_vec();
        self.complete -= self.taken;
        self.taken = 0;
    }
}

/// Complete lines, one after the other.
pub(crate) struct Run<'a> {
    bytes: &'a [u8],
    /// Where the next line begins.
    start: usize,
    /// How many lines there are still.
    lines: u32,
    max_line_bytes: usize,
    ends: LineEnds<'a>,
    /// Where the buffer keeps the first two.
    taken_from: (&'a mut u32, &'a mut u32),
}

impl Run<'_> {
    /// How many there are still.
    pub(crate) const fn lines(&self) -> u32 {
        self.lines
    }
}

impl<'a> Iterator for Run<'a> {
    type Item = ReceivedLine<'a>;

    #[inline]
    fn next(&mut self) -> Option<ReceivedLine<'a>> {
        let end = self.ends.next()?;
        let line = &self.bytes[self.start..end];
        self.start = end + 1;
        self.lines -= 1;
        let (text, ending) = match line.split_last() {
            Some((&CR, text)) => (text, LineEnding::CrLf),
            _ => (line, LineEnding::Lf),
        };
        let text = if text.len() > self.max_line_bytes { Err(LineTooLong) } else { Ok(Line(text)) };
        Some(ReceivedLine { text, ending })
    }
}

impl Drop for Run<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "it is not behind `complete`")]
    fn drop(&mut self) {
        *self.taken_from.0 = self.start as u32;
        *self.taken_from.1 = self.lines;
    }
}

/// Where lines end: the places of the LFs in some bytes.
///
/// Most lines are short, so the bytes are looked at in blocks: what was found in one serves for all lines that end there. A search that
/// is made for long texts has to be set out on anew for each line; it goes on where a line turns out to be long.
struct LineEnds<'a> {
    bytes: &'a [u8],
    /// How many of them have been looked at.
    looked_at: usize,
    /// Where the block begins that was looked at last.
    block_at: usize,
    /// The LFs in it that have not been told of: a bit for each byte, the first is the lowest.
    found: u64,
}

impl<'a> LineEnds<'a> {
    const fn new(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, looked_at: start, block_at: start, found: 0 }
    }

    /// Goes on to the next LF, or tells that there is none.
    #[inline]
    fn scan_block(&mut self) -> Option<()> {
        let rest = &self.bytes[self.looked_at..];
        let Some(block) = rest.first_chunk() else { return self.scan_tail(rest) };
        self.block_at = self.looked_at;
        self.looked_at += BLOCK;
        self.found = line_feeds_in(block);
        if self.found == 0 { self.scan_long() } else { Some(()) }
    }

    /// Looks at what is less than a block.
    fn scan_tail(&mut self, rest: &[u8]) -> Option<()> {
        let mut block = [0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        self.block_at = self.looked_at;
        self.looked_at = self.bytes.len();
        self.found = line_feeds_in(&block);
        (self.found != 0).then_some(())
    }

    /// The line is long. What is found ends a block of its own.
    #[cold]
    fn scan_long(&mut self) -> Option<()> {
        self.block_at = self.looked_at + memchr(LF, &self.bytes[self.looked_at..])?;
        self.looked_at = self.block_at + 1;
        self.found = 1;
        Some(())
    }
}

impl Iterator for LineEnds<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.found == 0 {
            self.scan_block()?;
        }
        let first = self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(self.block_at + first)
    }
}

/// A bit for each byte that is an LF. The first byte is the lowest.
#[inline]
fn line_feeds_in(block: &[u8; BLOCK]) -> u64 {
    let (parts, _) = block.as_chunks::<REGISTER>();
    parts.iter().rev().fold(0, |found, part| {
        let are_line_feeds = i8x16::new(part.map(u8::cast_signed)).cmp_eq(i8x16::splat(LF.cast_signed()));
        found << REGISTER | u64::from(are_line_feeds.move_mask().cast_unsigned())
    })
}

#[cfg(test)]
#[path = "../tests/line/property.rs"]
mod property;

#[cfg(test)]
mod tests {
    use super::property::{holds, lines_of, model};
    use super::*;
    use proptest::prelude::*;

    const LIMIT: u32 = 4;

    #[test]
    fn the_corpus_holds() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/line/corpus");
        let files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty());
        files.iter().for_each(|file| holds(&std::fs::read(file).unwrap()));
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: &[(Option<&str>, LineEnding)]) {
        let expected: Vec<_> =
            expected.iter().map(|(text, ending)| (text.map(|text| text.as_bytes().to_vec()), *ending)).collect();
        assert_eq!(model(LIMIT, bytes), expected);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(lines_of(LIMIT, pieces), expected, "cut at {first} and {second}");
            }
        }
        assert_eq!(lines_of(LIMIT, bytes.chunks(1)), expected, "byte by byte");
    }

    #[test]
    fn a_line_ends_at_lf_and_keeps_which_ending_it_had() {
        use LineEnding::{CrLf, Lf};
        check(b"Bob\nAnn\r\n", &[(Some("Bob"), Lf), (Some("Ann"), CrLf)]);
        check(b"\n\r\n", &[(Some(""), Lf), (Some(""), CrLf)]);
        check(b"a\rb\n\r\r\n", &[(Some("a\rb"), Lf), (Some("\r"), CrLf)]);
        check(b"Bob", &[]);
    }

    #[test]
    fn the_limit_counts_a_line_without_its_ending() {
        use LineEnding::{CrLf, Lf};
        check(b"abcd\nabcd\r\n", &[(Some("abcd"), Lf), (Some("abcd"), CrLf)]);
        check(b"abcde\nok\nabcde\r\nok\n", &[(None, Lf), (Some("ok"), Lf), (None, CrLf), (Some("ok"), Lf)]);
        check(b"abcdefghijkl\r\nok\n", &[(None, CrLf), (Some("ok"), Lf)]);
        check(b"abcd\r\r\nabcd\rx\n", &[(None, CrLf), (None, Lf)]);
    }

    #[test]
    fn an_endless_line_holds_no_more_than_the_limit() {
        let mut buffer = LineBuffer::new(LIMIT);
        for _ in 0..1000 {
            buffer.push(&[b'A'; 1000]);
        }
        assert!(buffer.has_unfinished_line());
        assert_eq!(buffer.bytes.len(), LIMIT as usize + 2);
    }

    #[test]
    fn lines_of_every_length_are_found_wherever_they_begin() {
        for before in 0..2 * BLOCK {
            for length in 0..3 * BLOCK {
                let line = vec![b'x'; length];
                let bytes = [&vec![b'y'; before], &b"\n"[..], &line, b"\n\n", &line, b"\n"].concat();
                assert_eq!(lines_of(1000, [&bytes[..]]), model(1000, &bytes), "{length} behind {before}");
            }
        }
    }

    /// Were the bytes that are there already searched again with each that comes, this would take minutes.
    #[test]
    fn a_mebibyte_that_comes_byte_by_byte_is_one_line() {
        let mut buffer = LineBuffer::new(1 << 20);
        for _ in 0..1 << 20 {
            assert_eq!(buffer.push(b"A"), 0);
        }
        assert_eq!(buffer.push(b"\n"), 1);
        let line = buffer.run().next().unwrap();
        assert_eq!(line.text.unwrap().as_bytes().len(), 1 << 20);
    }

    #[test]
    fn a_settled_buffer_holds_memory_for_the_unfinished_line_only() {
        let mut buffer = LineBuffer::new(8192);
        buffer.push(&[b"Bob\n".repeat(10_000).as_slice(), b"Ann"].concat());
        assert_eq!(buffer.run().count(), 10_000);
        buffer.release_taken();
        assert_eq!(buffer.bytes.capacity(), 3);
        buffer.push(b"\n");
        assert!(buffer.run().next().is_some());
        buffer.release_taken();
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_cut_anywhere_are_split_as_the_model_says(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'x'), any::<u8>()], 0..80),
            cuts in proptest::collection::vec(0..80_usize, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut start = 0;
            let pieces = cuts.into_iter().map(|cut| &bytes[std::mem::replace(&mut start, cut)..cut]);
            prop_assert_eq!(lines_of(LIMIT, pieces), model(LIMIT, &bytes));
        }
    }
}
