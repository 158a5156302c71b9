//! Bytes that are counted by the server and captured by the script, wherever they are cut.

use std::collections::BTreeMap;

use crate::kit::{Says, ends, puppet, ran};

const BODY: &[u8] = b"$5\na\r\nb\n\n$5\na\r\nb\nend\n";

#[test]
fn bytes_are_captured_whatever_they_are_and_compared_from_then_on() {
    ends(BODY, "< ${{size}}\n<bytes {{size}} {{body}}\n<\n< $5\n<bytes {{size}} {{body}}\n<\"end\\n\"\n", "passed");
    ends(
        b"abcabd",
        "<bytes 3 {{x}}\n<bytes 3 {{x}}\n",
        "  a.talk:2\n      <\"abc\"\n    - <\"abc\"\n    + <\"abd\"\n          ^",
    );
    // It is not taken for the same because it begins like it.
    ends(
        b"abcab",
        "<bytes 3 {{x}}\n<bytes 2 {{x}}\n",
        "  a.talk:2\n      <\"abc\"\n    - <\"abc\"\n    + <\"ab\"\n          ^",
    );
    // A value that was there before, and one of no bytes.
    ends(b"abc", "set x = abc\n<bytes 3 {{x}}\n", "passed");
    ends(b"0\nend\n", "< {{n}}\n<bytes {{n}} {{x}}\n< end{{x}}\n", "passed");
    ends(b"ab", ">eof\n<bytes 3 {{x}}\n", "  a.talk:2\n      >eof\n    - <bytes 3\n    + <\"ab\", then <eof");
}

#[test]
fn what_has_been_captured_can_be_sent_if_it_is_a_line() {
    let server = puppet(BTreeMap::from([
        ("get".to_owned(), Says::lines(&["3", "abc"])),
        ("put abc".to_owned(), Says::lines(&["fine"])),
    ]));
    assert_eq!(ran(&server, "> get\n< {{n}}\n<bytes {{n}} {{body}}\n<\n> put {{body}}\n< fine\n"), "passed");
    assert_eq!(
        ran(&server, "> get\n< {{n}}\n<bytes 4 {{body}}\n> put {{body}}\n< fine\n"),
        "  a.talk:4\n      > get\n      < 3\n      <\"abc\\n\"\n      > put {{body}}\n    a line cannot hold a newline"
    );
}

#[test]
fn each_of_a_crowd_has_the_same_or_fails() {
    let says = |line: &str, bytes: &str| (line.to_owned(), Says { bytes: bytes.into(), ..Says::default() });
    let server = puppet(BTreeMap::from([says("1", "abc"), says("2", "abc"), says("3", "abd")]));
    assert_eq!(ran(&server, "connect c x2\nc> {{#}}\nc<bytes 3 {{x}}\n"), "passed");
    let report = ran(&server, "connect c x3\nc> {{#}}\nc<bytes 3 {{x}}\n");
    assert!(report.starts_with("  a.talk:3  on c.3\n      c.3> 3\n    - c.3<\"abc\"\n    + c.3<\"abd\""), "{report}");
}

#[test]
fn a_mebibyte_can_be_captured_and_no_more() {
    let much = "x".repeat(1024 * 1024);
    let server = puppet(BTreeMap::from([("get".to_owned(), Says::lines(&["1048577", &much]))]));
    assert_eq!(ran(&server, "> get\n< 1048577\n<bytes 1048576 {{x}}\n<\n"), "passed");
    assert_eq!(
        ran(&server, "> get\n< {{n}}\n<bytes {{n}} {{x}}\n"),
        "  a.talk:3\n      > get\n      < 1048577\n      <bytes {{n}} {{x}}\n    1048577 bytes cannot be captured: at most 1048576"
    );
}
