//! Lines as one piece of bytes, to be sent and compared by the piece. No I/O.

use std::io::IoSlice;
use std::ops::Range;

/// Lines that stand one behind the other, each with its ending; behind the last one comes the first
/// one again. There is at least one.
#[derive(Debug)]
pub(super) struct LineBlock {
    bytes: Box<[u8]>,
    /// Where each line ends.
    ends: Box<[usize]>,
}

impl LineBlock {
    /// # Panics
    ///
    /// If there is no line.
    pub(super) fn new<L: AsRef<[u8]>>(lines: impl IntoIterator<Item = L>, ending: &[u8]) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for line in lines {
            bytes.extend_from_slice(line.as_ref());
            bytes.extend_from_slice(ending);
            ends.push(bytes.len());
        }
        assert!(!ends.is_empty(), "a tape has a line");
        Self { bytes: bytes.into(), ends: ends.into() }
    }

    pub(super) fn lines(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where a line stands, its ending included.
    pub(super) fn range(&self, line: usize) -> Range<usize> {
        self.start(line)..self.ends[line]
    }

    pub(super) fn start(&self, line: usize) -> usize {
        if line == 0 { 0 } else { self.ends[line - 1] }
    }

    /// How many bytes `count` lines from `line` on are, however often that goes around.
    pub(super) fn length(&self, line: usize, count: usize) -> usize {
        let (rounds, rest) = (count / self.lines(), count % self.lines());
        let start = self.start(line);
        let length = match (line + rest).checked_sub(self.lines()) {
            None => self.start(line + rest) - start,
            Some(wrapped) => self.bytes.len() - start + self.start(wrapped),
        };
        rounds * self.bytes.len() + length
    }

    /// The line `count` lines behind `line`.
    pub(super) fn advance(&self, line: usize, count: usize) -> usize {
        (line + count) % self.lines()
    }

    /// The first of the `length` bytes from `at` on: as many as two pieces hold.
    pub(super) fn pieces(&self, at: usize, length: usize) -> [IoSlice<'_>; 2] {
        let first = length.min(self.bytes.len() - at);
        let second = (length - first).min(at);
        [IoSlice::new(&self.bytes[at..at + first]), IoSlice::new(&self.bytes[..second])]
    }

    /// How many lines, the first of which is `line`, end at or before byte `at`, without going
    /// around.
    pub(super) fn ended(&self, line: usize, at: usize) -> usize {
        let ends = &self.ends[line..];
        // Mostly it is none, one or all.
        match ends.first() {
            Some(&end) if end <= at => 1 + ends[1..].partition_point(|&end| end <= at),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_has_no_end() {
        let line_block = LineBlock::new(["a", "", "bcd"], b"\r\n");
        assert_eq!(line_block.bytes(), b"a\r\n\r\nbcd\r\n");
        assert_eq!((line_block.range(0), line_block.range(1), line_block.range(2)), (0..3, 3..5, 5..10));
        for (line, count, length) in [(0, 0, 0), (0, 1, 3), (0, 3, 10), (1, 2, 7), (2, 1, 5), (2, 2, 8), (1, 7, 22)] {
            assert_eq!(line_block.length(line, count), length, "{count} from {line}");
        }
        assert_eq!(line_block.advance(2, 5), 1);
        assert_eq!(line_block.pieces(5, 4).map(|piece| piece.to_vec()), [b"bcd\r".to_vec(), vec![]]);
        assert_eq!(line_block.pieces(5, 99).map(|piece| piece.to_vec()), [b"bcd\r\n".to_vec(), b"a\r\n\r\n".to_vec()]);
    }

    #[test]
    fn lines_that_have_ended_are_counted() {
        let line_block = LineBlock::new(["a", "", "bcd"], b"\n");
        for (line, at, ended) in
            [(0, 0, 0), (0, 1, 0), (0, 2, 1), (0, 3, 2), (0, 6, 2), (0, 7, 3), (2, 6, 0), (2, 7, 1)]
        {
            assert_eq!(line_block.ended(line, at), ended, "from {line} to byte {at}");
        }
    }
}
