//! Compares what one connection receives with what it must. No I/O, no clock.
//!
//! Whole reads are compared with the block at once: a line that is right costs its share of a
//! `memcmp`. Lines are taken apart only where something differs, or where a reply is not known to
//! the byte.

use memchr::{memchr, memchr_iter};

use crate::load::exchange::{MAX_LINE_BYTES, Received};
use crate::load::line_block::LineBlock;
use crate::load::workload::{ExpectedReplies, Workload};
use crate::net::{Eol, LineOverflow};

/// Where one connection is in what it must hear.
#[derive(Debug)]
pub(crate) struct Checker {
    /// Which line's reply comes next.
    line: usize,
    /// How much of it has come as expected.
    matched: usize,
    /// What has come of a line that must be looked at as a whole. While there is some, nothing is
    /// `matched`.
    begun: Vec<u8>,
}

impl Checker {
    /// Starts with the reply to `line`.
    pub(crate) const fn new(line: usize) -> Self {
        Self { line, matched: 0, begun: Vec::new() }
    }

    /// Whether the start of a line has come without its end.
    pub(crate) fn is_within_line(&self) -> bool {
        self.matched > 0 || !self.begun.is_empty()
    }

    /// Which line's reply comes next.
    pub(crate) const fn line(&self) -> usize {
        self.line
    }

    /// Takes `bytes`, of which the first `due` lines are replies.
    pub(crate) fn take(
        &mut self,
        workload: &Workload,
        eol: Eol,
        mut bytes: &[u8],
        mut due: usize,
        mut on_received: impl FnMut(Received<'_>),
    ) -> Result<(), LineOverflow> {
        while !bytes.is_empty() {
            let right = match &workload.replies {
                ExpectedReplies::Exact(line_block) if self.begun.is_empty() => {
                    self.take_expected(line_block, &mut bytes, due)
                }
                ExpectedReplies::Any => self.take_any(&workload.requests, &mut bytes, due),
                _ => 0,
            };
            if right > 0 {
                on_received(Received::Match(right));
                due -= right;
            } else if !self.take_one(workload, eol, &mut bytes, &mut due, &mut on_received)? {
                break;
            }
        }
        Ok(())
    }

    /// Takes what is as expected, and tells how many lines have ended in it.
    fn take_expected(&mut self, line_block: &LineBlock, bytes: &mut &[u8], due: usize) -> usize {
        let mut right = 0;
        while right < due && !bytes.is_empty() {
            // To the end of the block, or to that of what is due.
            let lines = (due - right).min(line_block.lines() - self.line);
            let start = line_block.start(self.line) + self.matched;
            let expected = &line_block.bytes()[start..line_block.range(self.line + lines - 1).end];
            let length = expected.len().min(bytes.len());
            let same = if expected[..length] == bytes[..length] {
                length
            } else {
                expected.iter().zip(*bytes).take_while(|(expected, byte)| expected == byte).count()
            };
            let ended = line_block.ended(self.line, start + same);
            right += ended;
            self.line += ended;
            self.matched = start + same - line_block.start(self.line);
            if self.line == line_block.lines() {
                (self.line, self.matched) = (0, 0);
            }
            *bytes = &bytes[same..];
            if same < length {
                break;
            }
        }
        right
    }

    /// Takes whole lines, whatever they are. What of a line is not whole is not kept.
    fn take_any(&mut self, requests: &LineBlock, bytes: &mut &[u8], due: usize) -> usize {
        let mut right = 0;
        let mut end = 0;
        for lf in memchr_iter(b'\n', bytes).take(due) {
            right += 1;
            end = lf + 1;
        }
        if right > 0 {
            self.begun.clear();
            self.line = requests.advance(self.line, right);
            *bytes = &bytes[end..];
        }
        right
    }

    /// Takes one line as a whole; false if its end has not come yet.
    fn take_one(
        &mut self,
        workload: &Workload,
        eol: Eol,
        bytes: &mut &[u8],
        due: &mut usize,
        on_received: &mut impl FnMut(Received<'_>),
    ) -> Result<bool, LineOverflow> {
        if bytes.is_empty() {
            return Ok(false);
        }
        if let ExpectedReplies::Exact(line_block) = &workload.replies
            && self.matched > 0
        {
            let start = line_block.start(self.line);
            self.begun.extend_from_slice(&line_block.bytes()[start..start + self.matched]);
            self.matched = 0;
        }
        let Some(lf) = memchr(b'\n', bytes) else {
            if self.begun.len() + bytes.len() > MAX_LINE_BYTES {
                return Err(LineOverflow);
            }
            self.begun.extend_from_slice(bytes);
            return Ok(false);
        };
        let (piece, rest) = bytes.split_at(lf + 1);
        *bytes = rest;
        let begun = std::mem::take(&mut self.begun);
        let whole = if begun.is_empty() { piece } else { &[&begun, piece].concat() };
        let line = eol.strip(whole);
        if *due == 0 {
            on_received(Received::Unsolicited(line));
            return Ok(true);
        }
        let is_right = match &workload.replies {
            ExpectedReplies::Exact(line_block) => eol.strip(&line_block.bytes()[line_block.range(self.line)]) == line,
            ExpectedReplies::Patterns(patterns) => {
                patterns[self.line].matches(line, &Default::default(), None).is_some()
            }
            ExpectedReplies::Any => true,
        };
        let request = workload.requests.range(self.line);
        let to = eol.strip(&workload.requests.bytes()[request]);
        on_received(if is_right { Received::Match(1) } else { Received::Mismatch { came: line, to } });
        *due -= 1;
        self.line = workload.requests.advance(self.line, 1);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::load::config::Lines;
    use crate::load::workload::Workloads;
    use crate::talk::Variables;

    /// What is heard, as text: right replies one by one.
    fn received(
        expect: &str,
        lines: &[&str],
        eol: Eol,
        pieces: &[&[u8]],
        due: usize,
    ) -> Result<Vec<String>, LineOverflow> {
        let mut lines = Lines::new(lines.iter().map(|line| line.parse().unwrap()));
        lines.expect = (!expect.is_empty()).then(|| expect.parse().unwrap());
        let variables = Variables::default();
        let workload = Workloads::new(&lines, &variables, eol, 4, 1).unwrap().of(1).unwrap();
        let mut checker = Checker::new(0);
        let (mut all, mut left) = (Vec::new(), due);
        for piece in pieces {
            let before = left;
            checker.take(&workload, eol, piece, before, |received| match received {
                Received::Match(count) => {
                    left -= count;
                    all.extend((0..count).map(|_| "right".to_owned()));
                }
                Received::Mismatch { came, to } => {
                    left -= 1;
                    all.push(format!("{} to {}", came.escape_ascii(), to.escape_ascii()));
                }
                Received::Unsolicited(line) => all.push(format!("{} unasked", line.escape_ascii())),
            })?;
        }
        Ok(all)
    }

    #[track_caller]
    fn check(expect: &str, came: &str, due: usize, all: &[&str]) {
        assert_eq!(
            received(expect, &["a", "bcd"], Eol::Lf, &[came.as_bytes()], due).unwrap(),
            all,
            "{expect} {came:?}"
        );
    }

    #[test]
    fn each_line_is_judged() {
        for expect in ["<{{line}}>", "<{{line}}{{:>}}"] {
            check(expect, "<a>\n<bcd>\n<a>\n", 9, &["right", "right", "right"]);
            check(expect, "<a>\n<bad>\n<a>\n", 9, &["right", "<bad> to bcd", "right"]);
            check(expect, "\n<bcd>\n<a>\r\n", 9, &[" to a", "right", "<a>\\r to a"]);
            check(expect, "<a>x\n<bcd\n", 9, &["<a>x to a", "<bcd to bcd"]);
            check(expect, "<a>\n<bcd>\nx\n\n", 2, &["right", "right", "x unasked", " unasked"]);
            check(expect, "<a>\n<bcd>", 9, &["right"]);
            check(expect, "", 9, &[]);
        }
        check("", "x\n\nx\ny\n", 3, &["right", "right", "right", "y unasked"]);
    }

    #[test]
    fn a_line_has_a_limit() {
        let piece = vec![b'x'; MAX_LINE_BYTES];
        assert_eq!(received("{{line}}", &["a"], Eol::Lf, &[&piece, b"\n"], 1).unwrap().len(), 1);
        assert_eq!(received("{{line}}", &["a"], Eol::Lf, &[&piece, b"xx"], 1), Err(LineOverflow));
    }

    proptest! {
        /// However the replies are cut into pieces, the same is heard as when they are taken line
        /// by line.
        #[test]
        fn pieces_make_no_difference(
            replies in prop::collection::vec("[ab<>\r]{0,4}", 0..40),
            right in prop::collection::vec(any::<bool>(), 40),
            cuts in prop::collection::vec(0..400_usize, 0..12),
            due in 0..40_usize,
            is_crlf in any::<bool>(),
        ) {
            let (eol, lines) = (if is_crlf { Eol::CrLf } else { Eol::Lf }, ["a", "", "bb"]);
            let (mut stream, mut all) = (Vec::new(), Vec::new());
            for (number, reply) in replies.iter().enumerate() {
                let to = lines[number % 3];
                let reply = if right[number] { format!("<{to}>") } else { reply.clone() };
                stream.extend_from_slice(reply.as_bytes());
                stream.extend_from_slice(eol.bytes());
                let came = reply.as_bytes().escape_ascii();
                all.push(match () {
                    () if number >= due => format!("{came} unasked"),
                    () if reply == format!("<{to}>") => "right".to_owned(),
                    () => format!("{came} to {to}"),
                });
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).chain([0, stream.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            for expect in ["<{{line}}>", "<{{line}}{{:>}}"] {
                prop_assert_eq!(&received(expect, &lines, eol, &pieces, due).unwrap(), &all);
            }
        }
    }
}
