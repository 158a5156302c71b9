//! Where a prompt may end in what has come. No socket, no clock, and no word of what it must be:
//! that says who waits for it.

use memchr::{memchr, memmem};

/// The most bytes that a [prompt](super::ConnectionHandle::expect_prompt) has. Each place at which
/// it may end is looked at, so that there must not be too many of them.
pub const MAX_PROMPT_BYTES: usize = 4096;

/// What is known of a line of which a prompt may be the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineStart {
    /// So many bytes of it may be the prompt.
    Candidate(usize),
    /// The line has ended before, and with its LF has so many bytes.
    Ended(usize),
    /// It has more bytes than a prompt.
    TooLong,
    /// More has to come.
    Open,
}

/// Looks for the next place where `ending` ends, behind the first `tried` bytes, of which it is
/// known that they are not the prompt.
///
/// It depends on the first bytes of `unread`, and never on how many there are: what has come by now
/// is where a packet was cut.
pub(super) fn next_start(unread: &[u8], ending: &[u8], tried: usize, limit: usize) -> LineStart {
    let start = &unread[..unread.len().min(limit)];
    let lf = memchr(b'\n', start);
    let first = (tried + 1).saturating_sub(ending.len());
    let line = start.get(first..lf.unwrap_or(start.len()));
    match (line.and_then(|line| memmem::find(line, ending)), lf) {
        (Some(offset), _) => LineStart::Candidate(first + offset + ending.len()),
        (_, Some(lf)) => LineStart::Ended(lf + 1),
        _ if start.len() == limit => LineStart::TooLong,
        _ => LineStart::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of `input` in these pieces, if a prompt is what `accepts` accepts.
    fn feed<'a>(
        pieces: impl IntoIterator<Item = &'a [u8]>,
        ending: &[u8],
        accepts: impl Fn(&[u8]) -> bool,
    ) -> (LineStart, Vec<Vec<u8>>) {
        let (mut unread, mut tried, mut asked) = (Vec::new(), 0, Vec::new());
        for piece in pieces {
            unread.extend_from_slice(piece);
            loop {
                match next_start(&unread, ending, tried, 64) {
                    LineStart::Candidate(end) => {
                        asked.push(unread[..end].to_vec());
                        if accepts(&unread[..end]) {
                            return (LineStart::Candidate(end), asked);
                        }
                        assert!(end > tried, "each place is looked at once");
                        tried = end;
                    }
                    LineStart::Open => break,
                    known => return (known, asked),
                }
            }
        }
        (LineStart::Open, asked)
    }

    /// However it is cut in two or three, and byte by byte.
    #[track_caller]
    fn check(input: &[u8], ending: &[u8], accepts: impl Fn(&[u8]) -> bool, expected: LineStart, asked: &[&[u8]]) {
        let asked: Vec<Vec<u8>> = asked.iter().map(|start| start.to_vec()).collect();
        assert_eq!(feed(input.chunks(1), ending, &accepts), (expected, asked.clone()), "byte by byte");
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let pieces = [&input[..first], &input[first..second], &input[second..]];
                let outcome = feed(pieces, ending, &accepts);
                assert_eq!(outcome, (expected, asked.clone()), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn the_shortest_start_is_the_prompt_however_the_bytes_are_cut() {
        use LineStart::{Candidate, Ended, Open, TooLong};
        let guest = |start: &[u8]| start.starts_with(b"user@");
        check(b"user@h-7:~$ next", b"$ ", guest, Candidate(12), &[b"user@h-7:~$ "]);
        check(b"5$ a user@h:~$ ", b"$ ", guest, Open, &[b"5$ ", b"5$ a user@h:~$ "]);
        check(b"it costs 5$ a day\nuser@h-7:~$ next", b"$ ", guest, Ended(18), &[b"it costs 5$ "]);
        check(b"user@h-7:~$\n ", b"$ ", guest, Ended(12), &[]);
        check(b"user@h-7:~$\r\n", b"\r", guest, Candidate(12), &[b"user@h-7:~$\r"]);
        check(b"\n$ ", b"$ ", guest, Ended(1), &[]);
        // Places may lie within each other.
        check(b"aaaa", b"aa", |start| start.len() == 4, Candidate(4), &[b"aa", b"aaa", b"aaaa"]);
        check(b"$ ", b"$ ", |_| false, Open, &[b"$ "]);
        // So many bytes, whatever is behind them.
        check(&b"x".repeat(70), b"$", |_| true, TooLong, &[]);
        check(
            &[&b"x".repeat(63)[..], b"$\n"].concat(),
            b"$",
            |_| true,
            Candidate(64),
            &[&[&b"x".repeat(63)[..], b"$"].concat()],
        );
        check(&[&b"x".repeat(64)[..], b"$\n"].concat(), b"$", |_| true, TooLong, &[]);
        check(&[&b"x".repeat(64)[..], b"\n"].concat(), b"$", |_| true, TooLong, &[]);
        check(&[&b"x".repeat(63)[..], b"\n"].concat(), b"$", |_| true, Ended(64), &[]);
    }

    #[test]
    fn an_ending_of_nothing_is_everywhere_behind_a_byte() {
        check(b"abc\n", b"", |start| start == b"abc", LineStart::Candidate(3), &[b"a", b"ab", b"abc"]);
        check(b"ab\n", b"", |_| false, LineStart::Ended(3), &[b"a", b"ab"]);
        check(b"", b"", |_| true, LineStart::Open, &[]);
    }
}
