//! Turns bytes, as the network cut them, into lines and into counted bytes.
//!
//! An [`InputBuffer`] never looks at what a line says, and where the cuts were leaves no trace: the
//! same bytes give the same lines for every fragmentation.

use memchr::{memchr, memchr_iter, memrchr};

use crate::line::{LF, LineEnding, LineRules, Run, ending_of};

/// How many counted bytes start the line timeout anew: so many may take as long as a line may.
const BYTES_PER_TIMEOUT: u64 = 16 * 1024;

/// What a responder has asked for in the place of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// The next so many bytes, in one piece.
    Read(u32),
    /// So many bytes, to be thrown away.
    Skip(u64),
}

impl Counted {
    /// Returns the same bytes, to be thrown away.
    pub(crate) const fn skipped(self) -> Self {
        match self {
            Self::Read(bytes) => Self::Skip(bytes as u64),
            Self::Skip(_) => self,
        }
    }
}

/// What a buffer expects: lines, or counted bytes. One number, since every connection has it for
/// all its life: zero for lines, otherwise the bytes that are to come and a bit that says how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct NextInput(u64);

impl NextInput {
    const LINES: Self = Self(0);
    const SKIP: u64 = 2;
    const READ: u64 = 1;

    const fn counted(self) -> Option<Counted> {
        match self.0 & 3 {
            Self::READ => Some(Counted::Read((self.0 >> 2) as u32)),
            Self::SKIP => Some(Counted::Skip(self.0 >> 2)),
            _ => None,
        }
    }
}

impl From<Counted> for NextInput {
    fn from(counted: Counted) -> Self {
        match counted {
            Counted::Read(bytes) => Self(u64::from(bytes) << 2 | Self::READ),
            // Nobody lives to see the end of 2^62 bytes.
            Counted::Skip(bytes) => Self(bytes.min(u64::MAX >> 2) << 2 | Self::SKIP),
        }
    }
}

/// The bytes that one client has sent and that are not answered: whole lines first, at most one
/// unfinished line behind them; or in the place of lines, counted bytes.
///
/// Beside the complete lines that it was given, it holds an unfinished line: the limit and two
/// bytes of it, once no line waits before it. A line's ending does not count against the limit.
/// Every connection has a buffer for all its life, which is mostly idle; so that it is small, it
/// counts in 32 bits.
#[derive(Debug)]
pub(crate) struct InputBuffer {
    bytes: Vec<u8>,
    /// `bytes[..taken]` were returned. Never more than `complete`.
    taken: u32,
    /// `bytes[taken..complete]` are counted bytes that are all there, if such are expected, and
    /// whole lines. `bytes[complete..]` is the unfinished line, which holds no LF, or the start of
    /// the counted bytes.
    complete: u32,
    /// The number of lines in `bytes[taken..complete]`.
    lines: u32,
    /// How many lines were returned that were not [taken note of](Self::take_returned).
    returned: u32,
    expected: NextInput,
}

impl InputBuffer {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new(), taken: 0, complete: 0, lines: 0, returned: 0, expected: NextInput::LINES }
    }

    /// Returns how many complete lines wait. Behind counted bytes that are not all there, none
    /// does.
    pub(crate) const fn lines(&self) -> u32 {
        self.lines
    }

    /// Returns whether there is something to answer: a line, or counted bytes that are all there.
    pub(crate) const fn has_work(&self) -> bool {
        self.lines > 0 || self.block().is_some()
    }

    /// Returns how many lines were returned since the last call.
    pub(crate) const fn take_returned(&mut self) -> u32 {
        std::mem::replace(&mut self.returned, 0)
    }

    /// Takes the note of lines back that are not answered after all.
    pub(crate) const fn take_back(&mut self, lines: u32) {
        self.returned -= lines;
    }

    /// Notes that lines are answered that were taken back.
    pub(crate) const fn return_again(&mut self, lines: u32) {
        self.returned += lines;
    }

    /// Returns how many lines were returned since that was last taken.
    pub(crate) const fn returned(&self) -> u32 {
        self.returned
    }

    /// Returns how many bytes the complete lines are, with their endings.
    pub(crate) const fn bytes_of_lines(&self) -> usize {
        let block = match self.block() {
            Some(bytes) => bytes,
            None => 0,
        };
        self.complete as usize - self.taken as usize - block
    }

    /// Returns whether the client has begun something and not finished it: the last bytes received
    /// are part of a line that has not ended, or counted bytes are not all there.
    pub(crate) const fn is_unfinished(&self) -> bool {
        (self.complete as usize) < self.bytes.len() || self.expected.0 != 0 && self.block().is_none()
    }

    /// Returns how the first line ends that waits, if it is certain that it is one.
    pub(crate) fn first_ending(&self) -> Option<LineEnding> {
        if self.expected != NextInput::LINES || self.lines == 0 {
            return None;
        }
        let lines = &self.bytes[self.taken as usize..self.complete as usize];
        let first = if self.lines == 1 { lines } else { &lines[..=memchr(LF, lines)?] };
        ending_of(first)
    }

    /// Returns whether nothing is here that was not returned.
    pub(crate) const fn is_empty(&self) -> bool {
        self.taken as usize == self.bytes.len()
    }

    /// Returns how much memory the buffer holds, in bytes.
    pub(crate) const fn bytes_held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Adds the next bytes. Returns whether the line timeout starts anew: a line was completed or
    /// begun, or enough of the counted bytes have come.
    ///
    /// With `keeps_tail`, a call is due that may ask for what has come as counted bytes, so that
    /// even an unfinished line is kept whole.
    ///
    /// # Panics
    ///
    /// Panics if the buffer would hold 4 GiB. No read is so long, and no
    /// [limit](crate::ConnectionConfig::MAX_LINE_BYTES) is so large.
    pub(crate) fn push(&mut self, input: &[u8], max_line_bytes: u32, keeps_tail: bool) -> bool {
        match self.expected.counted() {
            None => {
                let had_begun = self.is_unfinished();
                self.push_lines(input, max_line_bytes, keeps_tail);
                // More bytes of a line do not extend its timeout: a byte a minute would keep the
                // connection for ever.
                self.lines > 0 || !had_begun && !input.is_empty()
            }
            Some(Counted::Skip(left)) => {
                let (skipped, rest) = input.split_at(input.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
                let left_now = left - skipped.len() as u64;
                self.expected = if left_now == 0 { NextInput::LINES } else { Counted::Skip(left_now).into() };
                self.push_lines(rest, max_line_bytes, keeps_tail);
                left_now == 0 || left / BYTES_PER_TIMEOUT != left_now / BYTES_PER_TIMEOUT
            }
            Some(Counted::Read(bytes)) => {
                let bytes = bytes as usize;
                let before = self.bytes.len() - self.taken as usize;
                let (counted, rest) = input.split_at(input.len().min(bytes - before));
                self.grow(counted.len(), bytes - before);
                self.bytes.extend_from_slice(counted);
                let now = before + counted.len();
                if now == bytes {
                    self.complete = self.len();
                    self.push_lines(rest, max_line_bytes, keeps_tail);
                }
                now == bytes || before as u64 / BYTES_PER_TIMEOUT != now as u64 / BYTES_PER_TIMEOUT
            }
        }
    }

    /// Adds bytes of lines. Searches the new bytes only.
    fn push_lines(&mut self, input: &[u8], max_line_bytes: u32, keeps_tail: bool) {
        match memrchr(LF, input) {
            // What is behind the last LF is kept whole as long as a line waits: that may ask for it
            // as counted bytes.
            Some(last) => {
                // Most reads are of one line.
                self.lines += match memchr(LF, input) {
                    Some(first) if first == last => 1,
                    _ => count_line_feeds(&input[..=last]),
                };
                // Exactly, since these lines are answered before others are received.
                self.bytes.reserve_exact(input.len());
                self.bytes.extend_from_slice(input);
                self.complete = self.len() - u32::try_from(input.len() - last - 1).expect("it is part of the buffer");
            }
            None if keeps_tail || self.has_work() => self.bytes.extend_from_slice(input),
            None => self.push_unfinished(input, max_line_bytes),
        }
    }

    /// Adds to the unfinished line, when no line waits before it. Of a line that is already too
    /// long, the buffer keeps the start and the latest byte: the start is more than any line may
    /// have, and the latest byte tells whether an LF that follows ends it with a CR. So the
    /// decision is made where the line ends, by the one rule in [`Run`], however the line was cut.
    fn push_unfinished(&mut self, input: &[u8], max_line_bytes: u32) {
        let Some(&latest) = input.last() else { return };
        let room = max_unfinished_bytes(max_line_bytes) - (self.bytes.len() - self.complete as usize);
        if input.len() <= room {
            self.bytes.extend_from_slice(input);
        } else {
            self.bytes.extend_from_slice(&input[..room]);
            let end = self.bytes.len() - 1;
            self.bytes[end] = latest;
        }
    }

    /// Makes room for more counted bytes, of which `missing` are to come. The memory follows what
    /// has come, by doubling, and not what was announced.
    fn grow(&mut self, more: usize, missing: usize) {
        if self.bytes.capacity() - self.bytes.len() < more {
            self.bytes.reserve_exact(missing.min(more.max(self.bytes.len())));
        }
    }

    fn len(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a buffer holds fewer than 2^32 bytes")
    }

    /// Returns an iterator over the complete lines. The lines that it has returned are taken when
    /// it is dropped, also by a panic. There are none while counted bytes are expected.
    #[inline]
    pub(crate) fn run(&mut self, max_line_bytes: u32, rules: LineRules) -> Run<'_> {
        debug_assert_eq!(self.expected, NextInput::LINES, "counted bytes come before lines");
        let bytes = &self.bytes[..self.complete as usize];
        Run::new(bytes, max_line_bytes, rules, &mut self.taken, &mut self.lines, &mut self.returned)
    }

    /// Moves the first line into a buffer of its own.
    pub(crate) fn split_line(&mut self) -> Option<Self> {
        debug_assert_eq!(self.expected, NextInput::LINES, "counted bytes come before lines");
        let waiting = &self.bytes[self.taken as usize..self.complete as usize];
        let bytes = waiting[..=memchr(LF, waiting)?].to_vec();
        let complete = u32::try_from(bytes.len()).expect("it is part of the buffer");
        self.taken += complete;
        self.lines -= 1;
        Some(Self { complete, bytes, lines: 1, ..Self::new() })
    }

    /// Expects counted bytes in the place of lines. What has come already is taken for these, LFs
    /// and all.
    pub(crate) fn expect(&mut self, counted: Counted) {
        let waiting = &self.bytes[self.taken as usize..];
        match counted {
            Counted::Read(bytes) => {
                self.expected = counted.into();
                match waiting.get(..bytes as usize) {
                    Some(block) => {
                        // Behind the complete lines, there is no LF.
                        self.lines -= count_line_feeds(block);
                        self.complete = self.complete.max(self.taken + bytes);
                    }
                    None => {
                        self.complete = self.taken;
                        self.lines = 0;
                    }
                }
            }
            Counted::Skip(bytes) => {
                let here = waiting.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
                self.lines -= count_line_feeds(&waiting[..here]);
                self.taken += u32::try_from(here).expect("it is part of the buffer");
                self.complete = self.complete.max(self.taken);
                let left = bytes - here as u64;
                self.expected = if left == 0 { NextInput::LINES } else { Counted::Skip(left).into() };
            }
        }
    }

    /// Takes the counted bytes, if all of them are there. Lines come behind them.
    pub(crate) fn take_block(&mut self) -> Option<&[u8]> {
        let bytes = self.block()?;
        let start = self.taken as usize;
        self.taken += u32::try_from(bytes).expect("it is part of the buffer");
        self.expected = NextInput::LINES;
        Some(&self.bytes[start..start + bytes])
    }

    /// Returns how many counted bytes are expected, if all of them are there.
    const fn block(&self) -> Option<usize> {
        match self.expected.counted() {
            Some(Counted::Read(bytes)) if self.bytes.len() - self.taken as usize >= bytes as usize => {
                Some(bytes as usize)
            }
            _ => None,
        }
    }

    /// Discards the complete lines, and counted bytes, and returns how many lines there were.
    pub(crate) fn discard_lines(&mut self) -> u32 {
        if self.expected != NextInput::LINES && self.block().is_none() {
            self.complete = self.len();
        }
        self.taken = self.complete;
        self.expected = NextInput::LINES;
        std::mem::take(&mut self.lines)
    }

    /// Discards everything and returns how many complete lines there were.
    pub(crate) fn discard_all(&mut self) -> u32 {
        self.bytes = Vec::new();
        self.taken = 0;
        self.complete = 0;
        self.expected = NextInput::LINES;
        std::mem::take(&mut self.lines)
    }

    /// Releases the memory of what was taken. Once there is nothing to answer, only what is
    /// unfinished holds memory, and of a line no more than is needed to judge it.
    pub(crate) fn release_taken(&mut self, max_line_bytes: u32) {
        if self.has_work() {
            return;
        }
        let max = self.complete as usize + max_unfinished_bytes(max_line_bytes);
        if self.expected == NextInput::LINES
            && self.bytes.len() > max
            && let Some(&latest) = self.bytes.last()
        {
            self.bytes.truncate(max);
            self.bytes[max - 1] = latest;
        }
        self.compact();
    }

    /// Keeps what was not taken, and no more memory than that needs.
    pub(crate) fn compact(&mut self) {
        if self.taken == 0 && self.bytes.capacity() == self.bytes.len() {
            return;
        }
        self.bytes = self.bytes[self.taken as usize..].to_vec();
        self.complete -= self.taken;
        self.taken = 0;
    }
}

/// Returns how many bytes of an unfinished line are kept.
const fn max_unfinished_bytes(max_line_bytes: u32) -> usize {
    max_line_bytes as usize + 2
}

fn count_line_feeds(bytes: &[u8]) -> u32 {
    u32::try_from(memchr_iter(LF, bytes).count()).expect("there are no more lines than bytes")
}

#[cfg(test)]
#[path = "../tests/input/property.rs"]
mod property;

#[cfg(test)]
mod tests {
    use super::property::{Seen, holds, lines_of, model, rules};
    use super::*;
    use crate::line::{BareLf, Line, Unseen, WhenTooLong};
    use proptest::prelude::*;

    const LIMIT: u32 = 4;

    /// In how many bytes one step searches for LFs.
    const BLOCK: usize = 64;

    #[test]
    fn the_corpus_holds() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/input/corpus");
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
        let mut buffer = InputBuffer::new();
        buffer.push(b"abcde\nabcd\n", LIMIT, false);
        let truncated = buffer.run(LIMIT, rules).map(|line| line.text.map(Line::is_truncated));
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
        let mut buffer = InputBuffer::new();
        for _ in 0..1000 {
            buffer.push(&[b'A'; 1000], LIMIT, false);
        }
        assert!(buffer.is_unfinished());
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
        let mut buffer = InputBuffer::new();
        for _ in 0..1 << 20 {
            buffer.push(b"A", 1 << 20, false);
        }
        buffer.push(b"\n", 1 << 20, false);
        assert_eq!(buffer.lines(), 1);
        let line = buffer.run(1 << 20, LineRules::default()).next().unwrap();
        assert_eq!(line.text.unwrap().as_bytes().len(), 1 << 20);
    }

    #[test]
    fn a_buffer_whose_lines_were_taken_holds_memory_for_the_unfinished_line_only() {
        let mut buffer = InputBuffer::new();
        buffer.push(&[b"Bob\n".repeat(10_000).as_slice(), b"Ann"].concat(), 8192, false);
        assert_eq!(buffer.run(8192, LineRules::default()).count(), 10_000);
        buffer.release_taken(8192);
        assert_eq!(buffer.bytes.capacity(), 3);
        buffer.push(b"\n", 8192, false);
        assert!(buffer.run(8192, LineRules::default()).next().is_some());
        buffer.release_taken(8192);
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
