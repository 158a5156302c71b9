//! What has been received and not been consumed: lines or bytes, from the front only. No socket, no
//! clock, no limit of its own.

/// Up to here an empty buffer keeps its memory.
const KEPT_BYTES: usize = 64 * 1024;

/// Every byte is searched once for an LF and moved a bounded number of times, however the bytes
/// arrive.
#[derive(Debug, Default)]
pub(super) struct ReceiveBuffer {
    bytes: Vec<u8>,
    /// `bytes[start..]` is unread; what is before has been consumed.
    start: usize,
    /// There is no LF in `bytes[start..searched]`.
    searched: usize,
}

impl ReceiveBuffer {
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The next whole line and its LF.
    pub(super) fn line(&mut self) -> Option<&[u8]> {
        let Some(offset) = memchr::memchr(b'\n', &self.bytes[self.searched..]) else {
            self.searched = self.bytes.len();
            return None;
        };
        // The LF itself is found again by the next search, until the line is consumed.
        self.searched += offset;
        Some(&self.bytes[self.start..=self.searched])
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        // Only where that frees half of the buffer, so that a byte is moved rarely.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the first `count` bytes away: no more than are unread.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        self.searched = self.searched.max(self.start);
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
            self.start = 0;
            self.searched = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Consumes every line as soon as it is whole.
    fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut received = ReceiveBuffer::default();
        let mut lines = Vec::new();
        for piece in pieces {
            received.push(piece);
            while let Some(line) = received.line() {
                let line = line.to_vec();
                received.consume(line.len());
                lines.push(line);
            }
        }
        (lines, received.unread().to_vec())
    }

    #[test]
    fn lines_come_out_whole_however_the_bytes_are_cut() {
        let input = b"a\r\n\nb\rc\n\n\nunfinished";
        let lines = [&b"a\r\n"[..], b"\n", b"b\rc\n", b"\n", b"\n"].map(<[u8]>::to_vec).to_vec();
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let pieces = [&input[..first], &input[first..second], &input[second..]];
                assert_eq!(feed(pieces), (lines.clone(), b"unfinished".to_vec()), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn bytes_and_lines_may_be_taken_in_turn() {
        let mut received = ReceiveBuffer::default();
        received.push(b"one\ntwo\nthree");
        assert_eq!(received.line(), Some(&b"one\n"[..]));
        received.consume(2);
        assert_eq!(received.line(), Some(&b"e\n"[..]));
        received.consume(4);
        assert_eq!(received.line(), Some(&b"o\n"[..]));
        received.consume(2);
        assert_eq!(received.line(), None);
        received.consume(1);
        received.push(b"\n");
        assert_eq!(received.line(), Some(&b"hree\n"[..]));
    }

    /// A rescan of the line for every byte of it would read 0.5 TB.
    #[test]
    fn a_long_line_that_arrives_byte_by_byte_is_searched_once() {
        let input = vec![b'x'; 1 << 20];
        assert_eq!(feed(input.chunks(1)), (Vec::new(), input));
    }

    #[test]
    fn what_was_consumed_is_given_back_once_it_is_the_larger_part_and_at_the_end_all_but_64_kib() {
        let mut received = ReceiveBuffer::default();
        received.push(&[b'x'; 1000]);
        received.consume(500);
        received.push(b"y");
        assert_eq!((received.start, received.bytes.len()), (500, 1001), "what is left is not moved yet");
        received.consume(1);
        received.push(b"z");
        assert_eq!((received.start, received.unread().len()), (0, 501));

        // Some of it is always unread.
        for _ in 0..1000 {
            received.push(&[b'x'; 1000]);
            received.consume(1000);
            assert!(received.bytes.len() < 4000);
        }
        received.push(&[b'x'; 1_000_000]);
        received.consume(received.unread().len());
        assert_eq!((received.bytes.len(), received.bytes.capacity()), (0, 65_536));
    }
}
