//! Checks what goes over the wire, byte for byte.

use greeter_core::Greeter;
use proptest::prelude::*;

use crate::kit::{MAX_LINE_BYTES, check, replies};

/// Returns what the article's programs reply: whatever stands in front of an LF is greeted, CR and
/// all.
fn model(input: &[u8]) -> Vec<u8> {
    let mut replies = Vec::new();
    for name in input.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        replies.extend_from_slice(b"Hello, ");
        replies.extend_from_slice(name);
    }
    replies
}

#[test]
fn a_name_is_greeted_and_the_reply_ends_as_the_name_did() {
    check(b"Bob\n", b"Hello, Bob\n");
    check(b"Bob\r\n", b"Hello, Bob\r\n");
    check(b"\n\r\n", b"Hello, \nHello, \r\n");
    check(b"Ann\nBen\r\n", b"Hello, Ann\nHello, Ben\r\n");
}

#[test]
fn any_byte_but_lf_may_stand_in_a_name() {
    check(b"a\rb\na\r\r\n", b"Hello, a\rb\nHello, a\r\r\n");
    for byte in (0..=u8::MAX).filter(|byte| *byte != b'\n') {
        for length in [1, 3, MAX_LINE_BYTES as usize] {
            let input = [vec![byte; length], b"\n".to_vec()].concat();
            check(&input, &model(&input));
        }
    }
}

#[test]
fn a_name_without_its_newline_gets_nothing() {
    check(b"Bob", b"");
    check(b"Ann\nBob\r", b"Hello, Ann\n");
}

#[test]
fn five_thousand_empty_lines_are_five_thousand_names() {
    check(&b"\n".repeat(5_000), &b"Hello, \n".repeat(5_000));
}

/// Covers every cut into two and into three, and byte by byte.
#[test]
fn where_the_network_cuts_makes_no_difference() {
    let long = "L".repeat(MAX_LINE_BYTES as usize);
    let streams = [
        b"Bob\n\r\n\nAnn\r\na\rb\r\r\n\x00\xff\nlast\r\nwithout end, however long\r".to_vec(),
        format!("{long}\n{long}\r\n{long}x\n{long}x\r\n{long}{long}\r\n{long}\r\r\n.\n").into_bytes(),
    ];
    for stream in streams {
        let whole = replies(&Greeter, [stream.as_slice()]);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(replies(&Greeter, pieces), whole, "cut at {first} and {second}");
            }
        }
        assert_eq!(replies(&Greeter, stream.chunks(1)), whole);
    }
}

#[test]
fn a_line_over_the_limit_is_rejected_once_and_the_session_continues() {
    let limit = MAX_LINE_BYTES as usize;
    for ending in ["\n", "\r\n"] {
        for length in [limit - 1, limit, limit + 1, limit + 2, limit + 3, 3 * limit, 1000 * limit] {
            let name = "A".repeat(length);
            let input = format!("{name}{ending}Bob\n");
            let expected = match length <= limit {
                true => format!("Hello, {name}{ending}Hello, Bob\n"),
                false => format!("error: line longer than {limit} bytes{ending}Hello, Bob\n"),
            };
            for pieces in [1, 2, 5, 50] {
                let size = input.len().div_ceil(pieces);
                let replies = replies(&Greeter, input.as_bytes().chunks(size));
                assert_eq!(String::from_utf8(replies).unwrap(), expected, "{length} in {pieces} pieces");
            }
        }
    }
}

proptest! {
    #[test]
    fn within_the_limit_the_articles_programs_reply_the_same(
        lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..40),
        endings in proptest::collection::vec(prop_oneof![Just("\n"), Just("\r\n")], 40),
        unfinished in proptest::collection::vec(any::<u8>(), 0..60),
        cut in 1..100_usize,
    ) {
        let mut input: Vec<u8> =
            lines.iter().zip(&endings).flat_map(|(line, ending)| [line, ending.as_bytes()].concat()).collect();
        input.extend(unfinished);
        prop_assert_eq!(replies(&Greeter, input.chunks(cut)), model(&input));
    }
}
