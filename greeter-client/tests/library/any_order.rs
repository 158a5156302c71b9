//! Lines that may come in any order, `<&`, from servers that cut them at every place.

use std::collections::BTreeMap;

use greeter_client::session::{Actual, LineFit, SessionOptions};
use greeter_client::{Session, SessionError};

use crate::kit::{Says, ends, puppet, ran, sends};

const THREE: &str = "<& a\n# Whoever is first.\n<& b\n\n<& c\n";

#[test]
fn lines_come_in_any_order_each_once() {
    for came in ["a\nb\nc\n", "c\nb\na\n", "b\nc\na\n"] {
        ends(came.as_bytes(), THREE, "passed");
    }
    ends(b"a\na\n", "<& a\n<& a\n", "passed");
    // The order of the others is theirs.
    ends(b"b\na\nd\nc\n", "<& a\n<& b\n< d\n<& c\n", "passed");
    ends(b"b\na\nd\nc\n", "<& a\n<& b\n<& c\n<& d\n", "passed");
}

#[test]
fn the_first_line_that_fits_nowhere_is_told_with_what_is_left() {
    let title = "  # Whoever is first.\n  a.talk:5\n";
    ends(b"a\na\na\n", THREE, &format!("{title}      < a\n    - <& b\n    - <& c\n    + < a"));
    ends(b"c\nx\n", THREE, &format!("{title}      < c\n    - <& a\n    - <& b\n    + < x"));
    ends(
        b"c\n",
        &format!(">eof\n{THREE}"),
        "  # Whoever is first.\n  a.talk:6\n      >eof\n      < c\n    - <& a\n    - <& b\n    + <eof",
    );
}

#[test]
fn a_line_is_given_to_whom_it_is_needed_by() {
    for came in ["a\nb\n", "b\na\n"] {
        ends(came.as_bytes(), "<& {{*}}\n<& a\n", "passed");
    }
}

#[test]
fn what_is_captured_is_clear_or_the_group_fails() {
    ends(b"size 3\nid 7\n", "<& id {{id:\\d+}}\n<& size {{n}}\n>eof\n<eof\n", "passed");
    // Judged with the values from before: what one captures is nothing to the others.
    ends(b"b 1\na 1\n", "<& a {{x}}\n<& b {{x}}\n>eof\n<eof\n", "passed");
    ends(
        b"b 2\na 1\n",
        "<& a {{x}}\n<& b {{x}}\n",
        "  a.talk:2\n      <& b {{x}}\n    '<& b {{x}}' captures something else than another line of the group does",
    );
    for came in ["a\nb\n", "b\na\n"] {
        let first = came.lines().next().unwrap_or_default();
        let other = came.lines().last().unwrap_or_default();
        ends(
            came.as_bytes(),
            "<& {{x}}\n<& {{*}}\n",
            &format!(
                "  a.talk:2\n      <& {{{{*}}}}\n    what is captured is not clear: '<& {{{{x}}}}' could be '{first}', and could be '{other}'; \
             write more of the line"
            ),
        );
    }
    ends(b"x\nb\na\n", "set x = a\n<& {{x}}\n<& {{*}}\n<& b\n", "passed");
}

#[test]
fn what_may_stand_before_a_line_may_stand_before_them() {
    ends(b"x\nb\ny\na\nz\n", "<*\n<& a\n<& b\n< z\n", "passed");
    ends(b"b\nb\na\n", "<*\n<& a\n<& b\n", "passed");
    ends(b"x\nb\n-ERR\na\n", "<! -ERR\n<*\n<& a\n<& b\n", "  a.talk:4\n    - <! -ERR\n    + < -ERR");
    ends(b"b\nmotd\na\n", "<? motd\n<& a\n<& b\n", "passed");
    ends(b"b\na\n", "<? motd\n<& a\n<& b\n", "passed");
    ends(b"b\nmotd\nmotd\na\n", "<? motd\n<& a\n<& b\n", "  a.talk:3\n      < b\n    - <& a\n    + < motd");
    ends(
        b"a\nb\n",
        "<*\n<& {{x}}\n<& {{*}}\n",
        "  a.talk:3\n      <& {{*}}\n    what is captured is not clear: '<& {{x}}' could be 'a', and could be 'b'; \
             write more of the line",
    );
}

#[test]
fn each_of_a_crowd_has_its_own_and_other_connections_end_the_group() {
    let says = |line: &str, lines: &[&str]| (line.to_owned(), Says::lines(lines));
    let server =
        puppet(BTreeMap::from([says("1", &["a 1", "b 1"]), says("2", &["b 2", "a 2"]), says("x", &["b", "a"])]));
    assert_eq!(ran(&server, "connect c x2\nc> {{#}}\nc<& a {{#}}\nc<& b {{#}}\n"), "passed");
    assert_eq!(
        ran(&server, "connect c x2\nc> {{#}}\nc<& a {{#}}\nc<& b 1\n"),
        "  a.talk:4  on c.2\n      c.2> 2\n    - c.2<& a 2\n    - c.2<& b 1\n    + c.2< b 2"
    );
    assert_eq!(ran(&server, "> x\nbob> x\n<& a\n<& b\nbob<& b\nbob<& a\n"), "passed");
    assert_eq!(
        ran(&server, "> x\nbob> x\n<& a\nbob<& b\n<& b\nbob<& a\n"),
        "  a.talk:3\n      > x\n    - <& a\n    + < b",
        "one line and another are no group"
    );
}

/// Two deadlines would be twice as long.
#[test]
fn they_have_one_deadline() {
    let server = puppet(BTreeMap::from([("x".to_owned(), Says::lines(&["b"]))]));
    let report = ran(&server, "timeout 600s\n> x\nwithin 200ms\n<& a\n<& b\n<& c\n");
    let (before, after) = report.split_once("within ").expect("the time was over");
    assert_eq!(before, "  a.talk:6\n      > x\n      < b\n    - <& a\n    - <& c\n    + (nothing ");
    assert!(after.ends_with("ms)"), "{report}");
}

#[test]
fn in_rust_a_closure_judges_and_nothing_is_consumed_before_the_last() {
    let open = |bytes: &[u8]| Session::new(SessionOptions::to(sends(vec![bytes.to_vec()]).address));
    let judge = |last: &'static [u8]| {
        move |_: Option<usize>, line: &[u8]| match line {
            line if line == last => LineFit::Last,
            b"x" => LineFit::Wrong,
            _ => LineFit::Fits,
        }
    };
    let mut session = open(b"a\nb\nx\nc\n");
    match session.on("").expect_lines(judge(b"c")) {
        Err(SessionError::Mismatch(mismatch)) => {
            assert_eq!(mismatch.actual, Actual::Line(b"x".to_vec()));
            assert_eq!(mismatch.transcript.len(), 1, "it was opened");
        }
        outcome => panic!("{outcome:?}"),
    }
    session.on("").expect_lines(judge(b"b")).unwrap();
    session.on("").skipping().expect_lines(judge(b"c")).unwrap();
    session.finish().unwrap();
}
