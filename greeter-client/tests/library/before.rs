//! What may come before what is expected, and what must not: `<?`, and `<!` with `<*`. Each is
//! tried against servers that send the line that it is about and those that do not, cut at every
//! place.

use std::collections::BTreeMap;
use std::time::Duration;

use greeter_client::run::{Outcome, RunOptions, run};
use greeter_client::session::{Actual, Expected, SessionOptions};
use greeter_client::talk::Script;
use greeter_client::{Session, SessionError};

use crate::kit::{Says, ends, puppet, ran, sends};

#[test]
fn a_line_may_come_before_what_is_expected_or_not() {
    for came in ["motd\nready\n", "ready\n"] {
        ends(came.as_bytes(), "<? motd\n< ready\n", "passed");
    }
    // Each once, in their order.
    for came in ["one\ntwo\nend\n", "one\nend\n", "two\nend\n", "end\n"] {
        ends(came.as_bytes(), "<? one\n<? two\n< end\n", "passed");
    }
    for (came, line) in [("two\none\nend\n", "one"), ("one\none\nend\n", "one"), ("one\nthree\nend\n", "three")] {
        let first = came.lines().next().unwrap_or_default();
        let report = format!("  a.talk:3\n      < {first}\n    - < end\n    + < {line}\n        ^");
        ends(came.as_bytes(), "<? one\n<? two\n< end\n", &report);
    }
    ends(b"other\nready\n", "<? motd\n< ready\n", "  a.talk:2\n    - < ready\n    + < other\n        ^");
}

/// What is expected has precedence, so that nothing waits to see whether a line comes that need
/// not.
#[test]
fn a_line_that_is_expected_is_no_optional_one() {
    ends(b"a\na\n", "<? a\n< a\n< a\n", "passed");
    ends(b"a\nb\n", "<? {{*}}\n< b\n", "passed");
    ends(b"b\nb\n", "<? {{*}}\n< b\n<? b\n<? {{*}}\n< b\n", "passed");
    ends(b"a\n", "<? {{*}}\n<? a\n< {{x}}\n>eof\n<eof\n", "passed");
}

#[test]
fn an_optional_line_stands_before_all_that_can_be_skipped_to() {
    for came in ["hi\n$ x", "$ x"] {
        ends(came.as_bytes(), "<? hi\n<\"$ x\"\n", "passed");
        ends(came.as_bytes(), "<? hi\n<prompt \"{{:.}} \"\n<\"x\"\n", "passed");
    }
    for came in ["hi\n", ""] {
        ends(came.as_bytes(), "> x\n<? hi\n>eof\n<eof\n", "passed");
        ends(came.as_bytes(), "<? hi\n>eof\n<closed\n", "passed");
    }
    // Sends may stand between, and other connections.
    let says = |lines: &[&str]| {
        BTreeMap::from([("x".to_owned(), Says::lines(lines)), ("bob".to_owned(), Says::lines(&["hi"]))])
    };
    for lines in [&["hi", "ready"][..], &["ready"]] {
        let script = "<? hi\n> x\nbob> bob\nbob<? hi\nbob< {{x:hi}}\n< ready\n";
        assert_eq!(ran(&puppet(says(lines)), script), "passed");
    }
}

#[test]
fn an_optional_line_captures_and_who_needs_what_it_has_not_captured_is_told_why() {
    let script = "<? id {{id:\\d+}}\n< ready\n> {{id}}\n";
    ends(b"id 71\nready\n", script, "passed");
    ends(
        b"ready\n",
        script,
        "  a.talk:3\n      < ready\n      > {{id}}\n    {{id}} has no value: '<? id {{id:\\d+}}' would have captured it, \
         and no such line has come",
    );
    ends(
        b"ready\n",
        "<? size {{n}}\n< ready\n<bytes {{n}}\n",
        "  a.talk:3\n      < ready\n      <bytes {{n}}\n    \
         {{n}} has no value: '<? size {{n}}' would have captured it, and no such line has come",
    );
    // It has a value by then, and so it is that one.
    ends(b"id 71\nid 72\nready\n", "<? id {{id}}\n<? id {{id}}\n< {{*}}d 72\n< ready\n", "passed");
    ends(
        b"id 71\nid 72\nready\n",
        "<? id {{id}}\n< ready\n",
        "  a.talk:2\n      < id 71\n    - < ready\n    + < id 72\n        ^",
    );
}

#[test]
fn what_must_not_be_skipped_ends_the_wait_at_once() {
    let script = "<! -ERR {{*}}\n<*\n< END\n";
    ends(b"a\nEND\n", script, "passed");
    ends(b"END\n", script, "passed");
    ends(
        b"a\n-ERR no such key\n",
        script,
        "  a.talk:3\n      <*  (skipped: 1 line)\n      < a\n    - <! -ERR {{*}}\n    + < -ERR no such key",
    );
    // Several of them; and what is free in one binds nothing.
    let several = "<! -ERR {{why}}\n<! {{why}} denied\n<*\n< {{why}}\n> {{why}}\n";
    ends(b"fine\n", several, "passed");
    ends(b"access denied\n", several, "  a.talk:4\n    - <! {{why}} denied\n    + < access denied");
}

#[test]
fn what_must_not_come_is_not_what_is_expected_either() {
    ends(b"250 ok\n", "<! {{:[45].*}}\n<*\n< {{code:\\d+}} {{*}}\n", "passed");
    ends(
        b"550 no\n",
        "<! {{:[45].*}}\n<*\n< {{code:\\d+}} {{*}}\n",
        "  a.talk:3\n    - <! {{:[45].*}}\n    + < 550 no",
    );
    // Where bytes, a prompt or the end are expected, it is for the lines before.
    ends(b"550 no\n$ ", "<! 550 {{*}}\n<*\n<\"$ \"\n", "  a.talk:3\n    - <! 550 {{*}}\n    + < 550 no");
    ends(b"550 no\n$ ", "<! 550 {{*}}\n<*\n<prompt \"{{:.}} \"\n", "  a.talk:3\n    - <! 550 {{*}}\n    + < 550 no");
    ends(b"550 no\n", "<! 550 {{*}}\n<*\n>eof\n<eof\n", "  a.talk:4\n      >eof\n    - <! 550 {{*}}\n    + < 550 no");
    ends(b"250 ok\n$ ", "<! 550 {{*}}\n<*\n<\"$ \"\n", "passed");
}

/// As dropped or altered expectations are tried against real servers: with the line and without.
#[test]
fn each_of_these_words_matters() {
    let with: &[u8] = b"motd\nready\n";
    ends(with, "< ready\n", "  a.talk:1\n    - < ready\n    + < motd\n        ^");
    ends(with, "<? mote\n< ready\n", "  a.talk:2\n    - < ready\n    + < motd\n        ^");
    ends(b"a\n-ERR\nEND\n", "<*\n< END\n", "passed");
    ends(b"a\n-ERR\nEND\n", "<! -err\n<*\n< END\n", "passed");
    ends(
        b"a\n-ERR\nEND\n",
        "<! -ERR\n<*\n< END\n",
        "  a.talk:3\n      <*  (skipped: 1 line)\n      < a\n    - <! -ERR\n    + < -ERR",
    );
}

#[test]
fn each_of_a_crowd_has_lines_before_of_its_own() {
    let says = |line: &str, lines: &[&str]| (line.to_owned(), Says::lines(lines));
    let server = puppet(BTreeMap::from([
        says("1", &["motd 1", "ready 1"]),
        says("2", &["ready 2"]),
        says("3", &["motd 3", "ready 3"]),
        says("bad 2", &["-ERR", "ready 2"]),
    ]));
    let crowd = "connect c x3\nc> {{#}}\n";
    assert_eq!(ran(&server, &format!("{crowd}c<? motd {{{{#}}}}\nc< ready {{{{#}}}}\n")), "passed");
    assert_eq!(ran(&server, &format!("{crowd}c<! -ERR\nc<*\nc< ready {{{{#}}}}\n")), "passed");
    let report = ran(&server, "connect c x3\nc> bad {{#}}\nc.2<! -ERR\nc.2<*\nc.2< ready {{*}}\n");
    assert_eq!(report, "  a.talk:5  on c.2\n      c.2> bad 2\n    - c.2<! -ERR\n    + c.2< -ERR");
}

#[test]
fn in_rust_a_closure_says_which_lines_may_come_before() {
    let open = |bytes: &[u8]| Session::new(SessionOptions::to(sends(vec![bytes.to_vec()]).address));
    let mut session = open(b"a\nb\nc\n");
    let mut seen = Vec::new();
    session
        .on("")
        .skipping_if(|member, line| {
            seen.push((member, line.to_vec()));
            line != b"c"
        })
        .expect("c")
        .unwrap();
    assert_eq!(seen, [(None, b"a".to_vec()), (None, b"b".to_vec())], "the line that is expected is not asked about");
    session.finish().unwrap();

    let mut session = open(b"a\nb\nc\n");
    match session.on("").skipping_if(|_, line| line == b"a").expect("c") {
        Err(SessionError::Mismatch(mismatch)) => {
            assert_eq!(mismatch.actual, Actual::Line(b"b".to_vec()));
            assert_eq!(mismatch.expected, Expected::Line(Some(b"c".to_vec())));
            assert_eq!((mismatch.skipped_lines, mismatch.timed_out), (1, false));
        }
        outcome => panic!("{outcome:?}"),
    }
    session.on("").expect("b").unwrap();
    session.on("").expect("c").unwrap();
    session.finish().unwrap();
}

/// What may come costs no time of its own where it does not.
#[test]
fn an_expectation_waits_as_long_as_it_would_alone() {
    let server = puppet(BTreeMap::from([("x".to_owned(), Says::lines(&["a"]))]));
    let script = Script::parse("a.talk", "> x\nwithin 200ms\n<? a\n< b\n").unwrap();
    let mut options = RunOptions::to(server);
    options.timeout = Duration::from_secs(600);
    match run(&script, &options, None) {
        Outcome::Failed(failure) => {
            assert!(failure.to_string().contains("    - < b\n    + (nothing within "), "{failure}");
        }
        outcome => panic!("{outcome:?}"),
    }
}
