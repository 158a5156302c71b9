//! Compares what one connection receives with what it must. No I/O, no clock.
//!
//! Whole reads are compared with the block at once: a line that is right costs its share of a
//! `memcmp`. Lines are taken apart only where something differs, or where a reply is not known to
//! the byte.

use memchr::{memchr, memchr_iter, memrchr};

use crate::load::exchange::{Awaited, MAX_LINE_BYTES, Received, ReplyPlace};
use crate::load::line_block::LineBlock;
use crate::load::workload::{ExpectedReplies, ReplyBound, Workload};
use crate::net::{Eol, LineOverflow};

/// How much is kept of the first line of a reply, to tell of it if the reply never ends.
const MAX_FIRST_BYTES: usize = 1024;

/// What lines begin with that tell of an error, whatever the server: ours, and Redis.
const ERRORS: [&[u8]; 2] = [b"error:", b"-ERR"];

fn looks_like_error(line: &[u8]) -> bool {
    ERRORS.iter().any(|error| line.starts_with(error))
}

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
    /// What has come of a reply whose lines are looked at one by one. The same holds.
    reply: ReplyProgress,
}

/// Whole lines of a reply that is not whole yet.
#[derive(Debug, Default)]
struct ReplyProgress {
    lines: usize,
    /// The first of them, or its beginning.
    first: Vec<u8>,
    /// The first that is wrong, and how many came before.
    wrong: Option<(usize, Vec<u8>)>,
}

impl Checker {
    /// Starts with the reply to `line`.
    pub(crate) fn new(line: usize) -> Self {
        Self { line, matched: 0, begun: Vec::new(), reply: ReplyProgress::default() }
    }

    /// Whether the start of a line has come without its end.
    pub(crate) fn is_within_line(&self, workload: &Workload) -> bool {
        !self.begun.is_empty() || self.matched_bytes(workload).last().is_some_and(|&byte| byte != b'\n')
    }

    /// Whether the start of a reply has come without its end.
    pub(crate) fn is_within_reply(&self) -> bool {
        self.matched > 0 || !self.begun.is_empty() || self.reply.lines > 0
    }

    /// The reply that comes next.
    pub(crate) fn awaited<'a>(&'a self, workload: &'a Workload, eol: Eol) -> Awaited<'a> {
        let matched = self.matched_bytes(workload);
        let begun = match memchr(b'\n', matched) {
            Some(lf) => Some((memchr_iter(b'\n', matched).count(), eol.strip(&matched[..=lf]))),
            None => (self.reply.lines > 0).then_some((self.reply.lines, &self.reply.first[..])),
        };
        let requests = &workload.requests;
        Awaited { to: eol.strip(&requests.bytes()[requests.range(self.line)]), begun }
    }

    /// What has come of a reply that is known to the byte.
    fn matched_bytes<'a>(&self, workload: &'a Workload) -> &'a [u8] {
        match &workload.replies {
            ExpectedReplies::Exact(block) => &block.bytes()[block.range(self.line)][..self.matched],
            ExpectedReplies::Patterns { .. } | ExpectedReplies::Any => &[],
        }
    }

    /// Takes `bytes`, of which the first `due` replies were asked for.
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
                ExpectedReplies::Exact(block) if self.begun.is_empty() && self.reply.lines == 0 => {
                    self.take_expected(block, &mut bytes, due)
                }
                ExpectedReplies::Any if workload.is_one_line() => {
                    self.take_any(&workload.requests, eol, &mut bytes, due, &mut on_received)
                }
                _ => 0,
            };
            if right > 0 {
                on_received(Received::Match(right));
                due -= right;
            } else if !self.take_line(workload, eol, &mut bytes, &mut due, &mut on_received)? {
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
    fn take_any(
        &mut self,
        requests: &LineBlock,
        eol: Eol,
        bytes: &mut &[u8],
        due: usize,
        on_received: &mut impl FnMut(Received<'_>),
    ) -> usize {
        let mut right = 0;
        let mut end = 0;
        for lf in memchr_iter(b'\n', bytes).take(due) {
            let piece = &bytes[end..=lf];
            let begun = if right == 0 { std::mem::take(&mut self.begun) } else { Vec::new() };
            let line = if begun.is_empty() { piece } else { &[&begun, piece].concat() };
            if looks_like_error(line) {
                let to = &requests.bytes()[requests.range(requests.advance(self.line, right))];
                on_received(Received::Suspect { came: eol.strip(line), to: eol.strip(to) });
            }
            right += 1;
            end = lf + 1;
        }
        if right > 0 {
            self.line = requests.advance(self.line, right);
            *bytes = &bytes[end..];
        }
        right
    }

    /// Takes one line as a whole; false if its end has not come yet.
    fn take_line(
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
        self.take_apart(workload, eol);
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
        } else if self.take_line_of_reply(workload, eol, line, on_received) {
            *due -= 1;
        }
        Ok(true)
    }

    /// From here on, what has come as expected is lines that were looked at one by one, and the
    /// start of another.
    fn take_apart(&mut self, workload: &Workload, eol: Eol) {
        if self.matched == 0 {
            return;
        }
        let matched = self.matched_bytes(workload);
        let (lines, rest) = matched.split_at(memrchr(b'\n', matched).map_or(0, |lf| lf + 1));
        self.begun.extend_from_slice(rest);
        self.matched = 0;
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            self.reply.add(eol.strip(line));
        }
    }

    /// Judges a line of the reply that is due, and tells of the reply if it was the last one.
    fn take_line_of_reply(
        &mut self,
        workload: &Workload,
        eol: Eol,
        line: &[u8],
        on_received: &mut impl FnMut(Received<'_>),
    ) -> bool {
        let index = self.reply.lines;
        let is_last = workload.is_last(self.line, index, line);
        if matches!(workload.replies, ExpectedReplies::Any) && looks_like_error(line) {
            let to = &workload.requests.bytes()[workload.requests.range(self.line)];
            on_received(Received::Suspect { came: line, to: eol.strip(to) });
        }
        match workload.is_right(self.line, index, line, eol) {
            Some(false) if self.reply.wrong.is_none() => self.reply.wrong = Some((index, line.to_vec())),
            None if !is_last || !matches!(workload.bound, ReplyBound::Until(_)) => on_received(Received::Uncompared),
            _ => {}
        }
        if !is_last {
            self.reply.add(line);
            return false;
        }
        let request = workload.requests.range(self.line);
        let to = eol.strip(&workload.requests.bytes()[request]);
        let lines = index + 1;
        match self.reply.wrong.take() {
            Some((_, came)) if workload.is_one_line() => {
                on_received(Received::Mismatch { came: &came, place: ReplyPlace::Whole, to });
            }
            Some((index, came)) => {
                on_received(Received::Mismatch { came: &came, place: ReplyPlace::Line(index + 1), to })
            }
            None if lines < workload.compared() => {
                on_received(Received::Mismatch { came: line, place: ReplyPlace::End(lines), to });
            }
            None => on_received(Received::Match(1)),
        }
        self.reply.lines = 0;
        self.line = workload.requests.advance(self.line, 1);
        true
    }
}

impl ReplyProgress {
    fn add(&mut self, line: &[u8]) {
        if self.lines == 0 {
            self.first.clear();
            self.first.extend_from_slice(&line[..line.len().min(MAX_FIRST_BYTES)]);
        }
        self.lines += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::load::config::{Lines, ReplyEnd};
    use crate::load::workload::Workloads;
    use crate::talk::Variables;

    const ONE: ReplyEnd = ReplyEnd::Expected;

    fn until(text: &str) -> ReplyEnd {
        ReplyEnd::Until(text.parse().unwrap())
    }

    fn lines(count: usize) -> ReplyEnd {
        ReplyEnd::Lines(count.try_into().unwrap())
    }

    /// What is heard, as text: right replies one by one. Behind it, what has come of the next one.
    fn received(
        (expect, end): (&[&str], ReplyEnd),
        lines: &[&str],
        eol: Eol,
        pieces: &[&[u8]],
        due: usize,
    ) -> Result<Vec<String>, LineOverflow> {
        let mut lines = Lines::new(lines.iter().map(|line| line.parse().unwrap()));
        lines.expect = expect.iter().map(|line| line.parse().unwrap()).collect();
        lines.reply_end = end;
        let variables = Variables::default();
        let workload = Workloads::new(&lines, &variables, eol, 4, 1, false).unwrap().of(1, &variables).unwrap();
        let mut checker = Checker::new(0);
        let (mut all, mut left) = (Vec::new(), due);
        for piece in pieces {
            let before = left;
            checker.take(&workload, eol, piece, before, |received| match received {
                Received::Match(count) => {
                    left -= count;
                    all.extend((0..count).map(|_| "right".to_owned()));
                }
                Received::Mismatch { came, place, to } => {
                    left -= 1;
                    let place = match place {
                        ReplyPlace::Whole => String::new(),
                        ReplyPlace::Line(line) => format!(" at {line}"),
                        ReplyPlace::End(line) => format!(" ends at {line}"),
                    };
                    all.push(format!("{}{place} to {}", came.escape_ascii(), to.escape_ascii()));
                }
                Received::Uncompared => all.push("uncompared".to_owned()),
                Received::Suspect { came, to } => {
                    all.push(format!("{} suspect to {}", came.escape_ascii(), to.escape_ascii()));
                }
                Received::Unsolicited(line) => all.push(format!("{} unasked", line.escape_ascii())),
            })?;
        }
        if let Some((lines, first)) = checker.awaited(&workload, eol).begun {
            all.push(format!("{lines} begun with {}", first.escape_ascii()));
        }
        assert!(checker.is_within_reply() || !checker.is_within_line(&workload));
        Ok(all)
    }

    #[track_caller]
    fn check(expect: (&[&str], ReplyEnd), came: &str, due: usize, all: &[&str]) {
        let shown = format!("{expect:?} {came:?}");
        assert_eq!(received(expect, &["a", "bcd"], Eol::Lf, &[came.as_bytes()], due).unwrap(), all, "{shown}");
    }

    #[test]
    fn each_line_is_judged() {
        for expect in ["<{{line}}>", "<{{line}}{{:>}}"] {
            let check = |came, due, all: &[&str]| check((&[expect], ONE), came, due, all);
            check("<a>\n<bcd>\n<a>\n", 9, &["right", "right", "right"]);
            check("<a>\n<bad>\n<a>\n", 9, &["right", "<bad> to bcd", "right"]);
            check("\n<bcd>\n<a>\r\n", 9, &[" to a", "right", "<a>\\r to a"]);
            check("<a>x\n<bcd\n", 9, &["<a>x to a", "<bcd to bcd"]);
            check("<a>\n<bcd>\nx\n\n", 2, &["right", "right", "x unasked", " unasked"]);
            check("<a>\n<bcd>", 9, &["right"]);
            check("", 9, &[]);
        }
        check((&[], ONE), "x\n\nx\ny\n", 3, &["right", "right", "right", "y unasked"]);
    }

    #[test]
    fn each_line_of_a_reply_of_several_is_judged() {
        for end in ["E", "{{:E}}"] {
            let expect = ["<{{line}}>", end];
            let both = || (&expect[..], ONE);
            check(both(), "<a>\nE\n<bcd>\nE\n", 9, &["right", "right"]);
            check(both(), "<a>\nE\nx\nE\n<a>\nE\n", 9, &["right", "x at 1 to bcd", "right"]);
            check(both(), "<a>\nx\n<bcd>\nE\n", 9, &["x at 2 to a", "right"]);
            check(both(), "x\ny\n<bcd>\nE\n", 9, &["x at 1 to a", "right"]);
            check(both(), "<a>\nE\n<bcd>\nE\nz\n", 2, &["right", "right", "z unasked"]);
            check(both(), "<a>\nE\n<bcd>\n", 9, &["right", "1 begun with <bcd>"]);
            check(both(), "<a>\nE", 9, &["1 begun with <a>"]);
            // A reply that has gone wrong is no place for a right one to begin.
            check(both(), "x\n<a>\nE\n", 9, &["x at 1 to a", "1 begun with E"]);
        }
    }

    #[test]
    fn of_lines_that_are_not_expected_it_is_told_how_many_there_were() {
        for expect in ["<{{line}}>", "<{{line}}{{:>}}"] {
            let expect = [expect];
            let three = || (&expect[..], lines(3));
            check(three(), "<a>\n1\n2\n<bcd>\n", 9, &["uncompared", "uncompared", "right", "1 begun with <bcd>"]);
            check(three(), "x\n1\n2\n", 9, &["uncompared", "uncompared", "x at 1 to a"]);
        }
        check((&[], lines(2)), "1\n2\n3\n", 9, &["right", "1 begun with 3"]);
    }

    #[test]
    fn a_reply_ends_with_the_first_line_that_is_its_end() {
        for expect in ["<{{line}}>", "<{{line}}{{:>}}"] {
            let expect = [expect];
            let to_end = || (&expect[..], until("{{:E|.*ERROR.*}}"));
            check(to_end(), "<a>\n1\n2\nE\n<bcd>\nE\n", 9, &["uncompared", "uncompared", "right", "right"]);
            check(to_end(), "ERROR\n<bcd>\nE\n", 9, &["ERROR at 1 to a", "right"]);
            check(to_end(), "<a>\n1\n2\n", 9, &["uncompared", "uncompared", "3 begun with <a>"]);
        }
        // It is among those that are expected, or comes too soon.
        for expect in [&["<{{line}}>", "E"][..], &["<{{line}}>", "{{:E}}"]] {
            let to_end = || (expect, until("E"));
            check(to_end(), "<a>\nE\n<bcd>\nE\n", 9, &["right", "right"]);
            check(to_end(), "E\n<bcd>\nx\nE\n", 9, &["E at 1 to a", "x at 2 to bcd"]);
        }
        let expect = (&["<{{line}}>", "{{*}}", "E"][..], until("E"));
        check(expect, "<a>\nE\n", 9, &["E ends at 2 to a"]);
        // The end of each reply is its own.
        check((&[], until("end of {{line}}")), "end of bcd\nend of a\n", 9, &["right"]);
        check((&["{{line}}", "E", "E"], until("E")), "a\nE\nbcd\nE\n", 9, &["E ends at 2 to a", "E ends at 2 to bcd"]);
    }

    /// However it was cut; where something is expected, it is wrong and that is all.
    #[test]
    fn what_looks_like_an_error_is_told_where_nothing_is_expected() {
        let came = b"error: no\nerror\n-ERR x\n -ERR\n-ERR\n";
        let heard = |end, cut: usize, expect: &[&str]| {
            let pieces = came.split_at(cut);
            let mut heard = received((expect, end), &["a", "bcd"], Eol::Lf, &[pieces.0, pieces.1], 5).unwrap();
            // Of some pieces, the right replies are told at once, behind what is odd about them.
            heard.sort();
            heard
        };
        let right = ["right"; 5];
        let all = ["-ERR suspect to a", "-ERR x suspect to a", "error: no suspect to a"].into_iter().chain(right);
        let all: Vec<&str> = all.collect();
        for cut in 0..=came.len() {
            assert_eq!(heard(ONE, cut, &[]), all, "{cut}");
            assert_eq!(heard(until("{{*}}"), cut, &[]), all, "{cut}");
            assert_eq!(heard(ONE, cut, &["{{*}}"]), ["right"; 5], "{cut}");
        }
    }

    #[test]
    fn a_line_has_a_limit() {
        let piece = vec![b'x'; MAX_LINE_BYTES];
        let pieces = |end| received((&["{{line}}"], ONE), &["a"], Eol::Lf, &[&piece, end], 1);
        assert_eq!(pieces(b"\n").unwrap().len(), 1);
        assert_eq!(pieces(b"xx"), Err(LineOverflow));
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
                prop_assert_eq!(&received((&[expect], ONE), &lines, eol, &pieces, due).unwrap(), &all);
            }
        }

        /// The same of replies of several lines, which are known to the byte, or in part, or not.
        #[test]
        fn pieces_of_long_replies_make_no_difference(
            came in prop::collection::vec(prop_oneof!["<a>", "<bb>", "E", "x"], 0..40),
            cuts in prop::collection::vec(0..200_usize, 0..12),
            due in 0..12_usize,
            expect in prop::sample::select(vec![
                &["<{{line}}>", "E"][..], &["<{{line}}>", "{{:E}}"], &["<{{line}}>"], &["{{*}}"], &[],
            ]),
            end in prop::sample::select(vec![0, 2, 3]),
        ) {
            let end = || if end == 0 { until("E") } else { lines(end) };
            let stream = came.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect::<Vec<_>>();
            let cuts = cuts.into_iter().map(|cut| cut.min(stream.len())).chain([0, stream.len()]);
            let mut cuts: Vec<usize> = cuts.collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            let each: Vec<&[u8]> = stream.split_inclusive(|&byte| byte == b'\n').collect();
            let heard = |pieces: &[&[u8]]| received((expect, end()), &["a", "bb"], Eol::Lf, pieces, due).unwrap();
            // Line by line nothing is ever taken for a line that is none.
            prop_assert_eq!(heard(&pieces), heard(&each));
        }
    }
}
