//! Turns bytes into lines.
//!
//! A [`LineBuffer`] takes bytes as the network cut them and returns them as [`Line`]s. It never
//! looks at what a line says, and where the cuts were leaves no trace: the same bytes give the same
//! lines for every fragmentation.

use std::fmt;
use std::hash::{Hash, Hasher};

use memchr::{memchr, memchr_iter, memrchr};
use wide::{CmpEq, i8x16};

use crate::rejection::Rejection;

const LF: u8 = b'\n';
const CR: u8 = b'\r';

/// The number of bytes in which one step searches for LFs: as many as a word has bits. A line with
/// no LF in a whole block is long. With 16 bytes, lines of up to 40 bytes, no two of one length,
/// take a fifth longer, since no processor can guess in which block a line ends.
const BLOCK: usize = u64::BITS as usize;

/// The number of bytes that are compared at once. Every x86-64 and every AArch64 can do that.
const REGISTER: usize = 16;

/// The ending of a line on the wire. A reply ends as its request did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnding {
    /// A single LF, as `nc` sends.
    #[default]
    Lf,
    /// CR and LF, as `telnet` sends and most RFCs ask for.
    CrLf,
}

impl LineEnding {
    /// Returns the bytes on the wire.
    ///
    /// ```
    /// # use greeter_core::LineEnding;
    /// assert_eq!(LineEnding::CrLf.as_bytes(), b"\r\n");
    /// ```
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
/// The type guarantees that there is no LF: a reply put together from `Line`s cannot break the
/// framing, so nothing has to search it again. It may well hold NUL, a lone CR or invalid UTF-8.
///
/// Lines are equal if their texts are, however they ended.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    text: &'a [u8],
    ending: Option<LineEnding>,
    is_truncated: bool,
}

impl<'a> Line<'a> {
    /// Creates a line of these bytes.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::{LfInLineError, Line};
    ///
    /// assert_eq!(Line::new(b"Bob\r")?.as_bytes(), b"Bob\r");
    /// assert_eq!(Line::new(b"Bob\nAnn"), Err(LfInLineError));
    /// # Ok::<(), LfInLineError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`LfInLineError`] if the bytes hold an LF.
    pub fn new(text: &'a [u8]) -> Result<Self, LfInLineError> {
        if memchr(LF, text).is_some() { Err(LfInLineError) } else { Ok(Self::of(text)) }
    }

    const fn of(text: &'a [u8]) -> Self {
        Self { text, ending: None, is_truncated: false }
    }

    /// Creates a line from text that is known when the program is compiled.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::Line;
    ///
    /// const HELLO: Line<'_> = Line::literal("Hello, ");
    /// assert_eq!(HELLO.as_bytes(), b"Hello, ");
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the text holds an LF. In a `const`, that is a compile error.
    #[must_use]
    pub const fn literal(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let mut index = 0;
        while index < bytes.len() {
            assert!(bytes[index] != LF, "a line holds no LF");
            index += 1;
        }
        Self::of(bytes)
    }

    /// Returns the bytes of the line.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::responder_fn;
    /// use greeter_server::testing::TestClient;
    ///
    /// let length = responder_fn(|line: &[u8]| line.len());
    /// TestClient::connect(&length).send(b"\xFF\x00\r\n").expect("2\r\n");
    /// ```
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.text
    }

    /// Returns how the line ended that a client has sent. A line that was made has no ending.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{BoxError, Line, LineEnding, Peer, Reply, Responder};
    /// # struct Strict;
    /// # impl Responder for Strict {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
    /// fn respond(
    ///     &self,
    ///     _: &mut (),
    ///     line: Line<'_>,
    ///     reply: &mut Reply<'_>,
    /// ) -> Result<(), BoxError> {
    ///     match line.ending() {
    ///         Some(LineEnding::CrLf) => reply.line(line),
    ///         _ => reply.line("end your lines with CR LF, please"),
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// # let mut client = TestClient::connect(&Strict);
    /// # client.send("a\r\nb\n").expect("a\r\nend your lines with CR LF, please\n");
    /// ```
    #[must_use]
    pub const fn ending(self) -> Option<LineEnding> {
        self.ending
    }

    /// Returns whether the client has sent more, which was [too long](WhenTooLong::Truncate).
    #[must_use]
    pub const fn is_truncated(self) -> bool {
        self.is_truncated
    }

    /// Returns the line as text.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::{LfInLineError, Line, Rejection};
    ///
    /// let [name, broken] = [Line::new("Zoë".as_bytes())?, Line::new(b"Zo\xEB")?];
    /// assert_eq!(name.to_str(), Ok("Zoë"));
    /// assert_eq!(broken.to_str(), Err(Rejection::NotUtf8));
    /// # Ok::<(), LfInLineError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Rejection::NotUtf8`] if the line is not valid UTF-8. A responder passes that on
    /// with `?`, and the client receives it.
    pub fn to_str(self) -> Result<&'a str, Rejection> {
        std::str::from_utf8(self.text).map_err(|_| Rejection::NotUtf8)
    }
}

impl PartialEq for Line<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Line<'_> {}

impl Hash for Line<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Line<'_> {
    /// Writes the line quoted and escaped, so that it is safe to print wherever it came from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.text.escape_ascii())
    }
}

/// The error of a text that was to be one line and holds an LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line feed inside a line")]
pub struct LfInLineError;

/// Why the responder does not see a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unseen {
    TooLong,
    BareLf,
}

/// What happens to a line that is longer than the [limit](Rejection::LineTooLong).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenTooLong {
    /// The responder does not see it, and the client receives [`Rejection::LineTooLong`].
    #[default]
    Reject,
    /// The responder receives the start of it: as many bytes as the limit, however the network cut
    /// the line. [`Line::is_truncated`](Line::is_truncated) tells. It is for protocols in
    /// which a part says more than nothing: syslog, chat.
    Truncate,
}

/// What happens to a line that ends with LF alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareLf {
    /// It is a line like any other.
    #[default]
    Accept,
    /// The responder does not see it, and the client receives [`Rejection::BareLf`]. It is for
    /// protocols behind which another program must see the same lines, where `LF . CR LF` must not
    /// be taken for the end of a message (RFC 5321, 2.3.8).
    Reject,
}

/// Which lines the responder sees, and how much of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LineRules {
    pub(crate) when_too_long: WhenTooLong,
    pub(crate) bare_lf: BareLf,
}

/// One complete line, as it was received.
pub(crate) struct ReceivedLine<'a> {
    pub(crate) text: Result<Line<'a>, Unseen>,
    pub(crate) ending: LineEnding,
}

/// The bytes that one client has sent and that are not answered: whole lines first, at most one
/// unfinished line behind them.
///
/// It holds the complete lines that it was given, plus at most the limit and two bytes for the
/// unfinished line. A line's ending does not count against the limit. Every connection has a buffer
/// for all its life, which is mostly idle; so that it is small, it counts in 32 bits.
#[derive(Debug)]
pub(crate) struct LineBuffer {
    bytes: Vec<u8>,
    /// `bytes[..taken]` were returned as lines. Never more than `complete`.
    taken: u32,
    /// `bytes[taken..complete]` are whole lines, `bytes[complete..]` is the unfinished one, which
    /// holds no LF.
    complete: u32,
    /// The number of lines in `bytes[taken..complete]`.
    lines: u32,
    max_line_bytes: u32,
}

impl LineBuffer {
    pub(crate) const fn new(max_line_bytes: u32) -> Self {
        Self { bytes: Vec::new(), taken: 0, complete: 0, lines: 0, max_line_bytes }
    }

    /// Returns how many complete lines wait.
    pub(crate) const fn lines(&self) -> u32 {
        self.lines
    }

    /// Returns how many bytes the complete lines are, with their endings.
    pub(crate) const fn bytes_waiting(&self) -> usize {
        (self.complete - self.taken) as usize
    }

    /// Returns whether the last bytes received are part of a line that has not ended.
    pub(crate) const fn has_unfinished_line(&self) -> bool {
        (self.complete as usize) < self.bytes.len()
    }

    /// Returns the limit for a line, in bytes, without its ending.
    pub(crate) const fn max_line_bytes(&self) -> u32 {
        self.max_line_bytes
    }

    /// Returns how the first line ends that waits.
    pub(crate) fn first_ending(&self) -> Option<LineEnding> {
        let waiting = &self.bytes[self.taken as usize..self.complete as usize];
        let line = &waiting[..memchr(LF, waiting)?];
        Some(if line.last() == Some(&CR) { LineEnding::CrLf } else { LineEnding::Lf })
    }

    /// Returns how much memory the buffer holds, in bytes.
    pub(crate) const fn bytes_held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds the next bytes and returns how many lines they completed. Searches the new bytes only.
    ///
    /// # Panics
    ///
    /// Panics if the buffer would hold 4 GiB. No read is so long, and no
    /// [limit](crate::ConnectionConfig::MAX_LINE_BYTES) is so large.
    pub(crate) fn push(&mut self, input: &[u8]) -> u32 {
        let Some(last) = memrchr(LF, input) else {
            self.push_unfinished(input);
            return 0;
        };
        let (whole, rest) = input.split_at(last + 1);
        let added = memchr_iter(LF, whole).count();
        // Exactly, since these lines are answered before others are received.
        self.bytes.reserve_exact(input.len());
        self.bytes.extend_from_slice(whole);
        self.complete = u32::try_from(self.bytes.len()).expect("a buffer holds fewer than 2^32 bytes");
        let added = u32::try_from(added).expect("there are no more lines than bytes");
        self.lines += added;
        self.push_unfinished(rest);
        added
    }

    /// Adds to the unfinished line. Of a line that is already too long, the buffer keeps the start
    /// and the latest byte: the start is more than any line may have, and the latest byte tells
    /// whether an LF that follows ends it with a CR. So the decision is made where the line ends,
    /// by the one rule in [`Run`], however the line was cut.
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

    /// Returns an iterator over the complete lines. The lines that it has returned are taken when
    /// it is dropped, also by a panic.
    #[inline]
    pub(crate) fn run(&mut self, rules: LineRules) -> Run<'_> {
        let bytes = &self.bytes[..self.complete as usize];
        let start = self.taken as usize;
        Run {
            bytes,
            start,
            lines: self.lines,
            max_line_bytes: self.max_line_bytes as usize,
            rules,
            ends: LineEnds::new(bytes, start),
            taken_from: (&mut self.taken, &mut self.lines),
        }
    }

    /// Discards the complete lines and returns how many there were.
    pub(crate) fn discard_lines(&mut self) -> u32 {
        self.taken = self.complete;
        std::mem::take(&mut self.lines)
    }

    /// Discards everything and returns how many complete lines there were.
    pub(crate) fn discard_all(&mut self) -> u32 {
        self.bytes = Vec::new();
        self.taken = 0;
        self.complete = 0;
        std::mem::take(&mut self.lines)
    }

    /// Releases the memory of the lines that were taken. Once none is left, only an unfinished line
    /// holds memory.
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

/// An iterator over complete lines.
pub(crate) struct Run<'a> {
    bytes: &'a [u8],
    /// Where the next line begins.
    start: usize,
    /// How many lines are left.
    lines: u32,
    max_line_bytes: usize,
    rules: LineRules,
    ends: LineEnds<'a>,
    /// The fields of the buffer that `start` and `lines` are written back to.
    taken_from: (&'a mut u32, &'a mut u32),
}

impl Run<'_> {
    /// Returns how many lines are left.
    pub(crate) const fn lines(&self) -> u32 {
        self.lines
    }
}

impl<'a> Run<'a> {
    /// Returns what the responder sees of a line over the limit.
    #[cold]
    fn too_long(&self, text: &'a [u8], ending: LineEnding) -> Result<Line<'a>, Unseen> {
        match self.rules.when_too_long {
            WhenTooLong::Reject => Err(Unseen::TooLong),
            WhenTooLong::Truncate => {
                Ok(Line { text: &text[..self.max_line_bytes], ending: Some(ending), is_truncated: true })
            }
        }
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
        let text = if ending == LineEnding::Lf && self.rules.bare_lf == BareLf::Reject {
            Err(Unseen::BareLf)
        } else if text.len() <= self.max_line_bytes {
            Ok(Line { text, ending: Some(ending), is_truncated: false })
        } else {
            self.too_long(text, ending)
        };
        Some(ReceivedLine { text, ending })
    }
}

impl Drop for Run<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "it is at most `complete`")]
    fn drop(&mut self) {
        *self.taken_from.0 = self.start as u32;
        *self.taken_from.1 = self.lines;
    }
}

/// An iterator over the places of the LFs in some bytes.
///
/// Most lines are short, so the bytes are searched in blocks: one search serves for all lines that
/// end in the block. `memchr` is made for long texts and must set out anew for each line; it takes
/// over where a line turns out to be long.
struct LineEnds<'a> {
    bytes: &'a [u8],
    /// How many of the bytes have been searched.
    searched: usize,
    /// Where the latest block begins.
    block_at: usize,
    /// The LFs in it that were not returned yet: a bit for each byte, the first is the lowest.
    found: u64,
}

impl<'a> LineEnds<'a> {
    const fn new(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, searched: start, block_at: start, found: 0 }
    }

    /// Finds the next LFs. Returns `None` if there are none.
    #[inline]
    fn scan_block(&mut self) -> Option<()> {
        let rest = &self.bytes[self.searched..];
        let Some(block) = rest.first_chunk() else { return self.scan_tail(rest) };
        self.block_at = self.searched;
        self.searched += BLOCK;
        self.found = line_feeds_in(block);
        if self.found == 0 { self.scan_long() } else { Some(()) }
    }

    /// Searches what is less than a block.
    fn scan_tail(&mut self, rest: &[u8]) -> Option<()> {
        let mut block = [0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        self.block_at = self.searched;
        self.searched = self.bytes.len();
        self.found = line_feeds_in(&block);
        (self.found != 0).then_some(())
    }

    /// Searches a long line. The LF found ends a block of its own.
    #[cold]
    fn scan_long(&mut self) -> Option<()> {
        self.block_at = self.searched + memchr(LF, &self.bytes[self.searched..])?;
        self.searched = self.block_at + 1;
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

/// Returns a bit for each byte that is an LF. The first byte is the lowest bit.
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
    use super::property::{Seen, holds, lines_of, model, rules};
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
        let text = |text: Option<&str>| text.map(|text| text.as_bytes().to_vec()).ok_or(Unseen::TooLong);
        check_by(LineRules::default(), bytes, &expected.iter().map(|line| (text(line.0), line.1)).collect());
    }

    #[track_caller]
    fn check_by(rules: LineRules, bytes: &[u8], expected: &Seen) {
        assert_eq!(model(rules, LIMIT, bytes), *expected);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(lines_of(rules, LIMIT, pieces), *expected, "cut at {first} and {second}");
            }
        }
        assert_eq!(lines_of(rules, LIMIT, bytes.chunks(1)), *expected, "byte by byte");
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
    fn a_line_that_is_too_long_is_cut_at_the_limit_wherever_the_network_cut_it() {
        use LineEnding::{CrLf, Lf};
        let rules = LineRules { when_too_long: WhenTooLong::Truncate, ..LineRules::default() };
        let text = |text: &str| Ok(text.as_bytes().to_vec());
        let bytes = b"abcdefghijkl\r\nabcd\nabcd\rx\r\r\n\n";
        check_by(rules, bytes, &vec![(text("abcd"), CrLf), (text("abcd"), Lf), (text("abcd"), CrLf), (text(""), Lf)]);
        let mut buffer = LineBuffer::new(LIMIT);
        buffer.push(b"abcde\nabcd\n");
        let truncated = buffer.run(rules).map(|line| line.text.map(Line::is_truncated));
        assert_eq!(truncated.collect::<Vec<_>>(), [Ok(true), Ok(false)]);
    }

    #[test]
    fn a_line_without_a_cr_is_rejected_where_that_is_asked_for_whatever_its_length() {
        use LineEnding::{CrLf, Lf};
        let rules = LineRules { bare_lf: BareLf::Reject, ..rules(2) };
        let bytes = b"ab\n.\r\nabcdefgh\n\r\n";
        let bare = || (Err(Unseen::BareLf), Lf);
        check_by(rules, bytes, &vec![bare(), (Ok(b".".to_vec()), CrLf), bare(), (Ok(vec![]), CrLf)]);
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
                let rules = LineRules::default();
                assert_eq!(lines_of(rules, 1000, [&bytes[..]]), model(rules, 1000, &bytes), "{length} behind {before}");
            }
        }
    }

    /// If each byte made the buffer search all earlier bytes again, this would take minutes.
    #[test]
    fn a_mebibyte_that_comes_byte_by_byte_is_one_line() {
        let mut buffer = LineBuffer::new(1 << 20);
        for _ in 0..1 << 20 {
            assert_eq!(buffer.push(b"A"), 0);
        }
        assert_eq!(buffer.push(b"\n"), 1);
        let line = buffer.run(LineRules::default()).next().unwrap();
        assert_eq!(line.text.unwrap().as_bytes().len(), 1 << 20);
    }

    #[test]
    fn a_buffer_whose_lines_were_taken_holds_memory_for_the_unfinished_line_only() {
        let mut buffer = LineBuffer::new(8192);
        buffer.push(&[b"Bob\n".repeat(10_000).as_slice(), b"Ann"].concat());
        assert_eq!(buffer.run(LineRules::default()).count(), 10_000);
        buffer.release_taken();
        assert_eq!(buffer.bytes.capacity(), 3);
        buffer.push(b"\n");
        assert!(buffer.run(LineRules::default()).next().is_some());
        buffer.release_taken();
        assert_eq!(buffer.bytes.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_cut_anywhere_are_split_as_the_model_says(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'x'), any::<u8>()], 0..80),
            number in 0..4_u8,
            cuts in proptest::collection::vec(0..80_usize, 0..8),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut start = 0;
            let pieces = cuts.into_iter().map(|cut| &bytes[std::mem::replace(&mut start, cut)..cut]);
            let rules = rules(number);
            prop_assert_eq!(lines_of(rules, LIMIT, pieces), model(rules, LIMIT, &bytes));
        }
    }
}
