//! Edits change the lines that they are about, and no other byte.

use greeter_client::talk::{Edits, Script};

#[track_caller]
fn check(before: &str, edit: impl FnOnce(&mut Edits), after: &str, diff: &str) {
    let script = Script::parse("a.talk", before).unwrap();
    let mut edits = Edits::default();
    edit(&mut edits);
    assert_eq!(String::from_utf8(edits.apply(script.source())).unwrap(), after);
    assert_eq!(edits.diff(script.source()).to_string(), diff);
}

#[test]
fn nothing_is_nothing() {
    check("\u{feff}> a\r\n\n  < b", |_| {}, "\u{feff}> a\r\n\n  < b", "");
    assert!(Edits::default().is_empty());
}

#[test]
fn new_lines_end_and_are_indented_as_those_they_stand_at() {
    check(
        "> a\r\n< b\r\n",
        |edits| edits.replace(2, ["< c", "< d"]),
        "> a\r\n< c\r\n< d\r\n",
        "  2 - < b\n    + < c\n    + < d\n",
    );
    check("> a\n\t< b\n< c\n", |edits| edits.insert_after(2, ["< x"]), "> a\n\t< b\n\t< x\n< c\n", "  2 + < x\n");
    check("> a\n< b", |edits| edits.insert_after(2, ["< x"]), "> a\n< b\n< x\n", "  2 + < x\n");
    check("> a\n< b", |edits| edits.insert_before(2, ["< x"]), "> a\n< x\n< b", "  2 + < x\n");
    check("> a\n< b", |edits| edits.replace(2, ["< x"]), "> a\n< x\n", "  2 - < b\n    + < x\n");
}

#[test]
fn a_byte_order_mark_stays_in_front() {
    let mark = "\u{feff}";
    check(
        &format!("{mark}< a\n"),
        |edits| edits.insert_before(1, ["< x"]),
        &format!("{mark}< x\n< a\n"),
        "  1 + < x\n",
    );
    check(&format!("{mark}< a\n< b\n"), |edits| edits.replace(1, [""; 0]), &format!("{mark}< b\n"), "  1 - < a\n");
}

#[test]
fn edits_of_one_line_keep_their_order_and_are_counted() {
    let edit = |edits: &mut Edits| {
        edits.insert_after(2, ["< 3"]);
        edits.insert_before(2, ["< 1"]);
        edits.insert_after(2, ["< 4"]);
        edits.replace(2, ["< 2"]);
        let mut other = Edits::default();
        other.replace(10, [""; 0]);
        edits.merge(other);
        assert_eq!(edits.counts(), (2, 4));
    };
    check(
        "> a\n< b\n\n\n\n\n\n\n\n< \u{202e}c\n",
        edit,
        "> a\n< 1\n< 2\n< 3\n< 4\n\n\n\n\n\n\n\n",
        "   2 + < 1\n     - < b\n     + < 2\n     + < 3\n     + < 4\n  10 - < \\u{202e}c\n",
    );
}
