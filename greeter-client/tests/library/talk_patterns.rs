//! Which lines a pattern matches, and what it binds.

use std::time::{Duration, Instant};

use greeter_client::talk::{Pattern, Template, Unbound, Variables};
use proptest::prelude::*;

fn variables(bound: &[(&str, &str)]) -> Variables {
    let mut variables = Variables::default();
    for (name, value) in bound {
        variables.set(name.parse().unwrap(), *value);
    }
    variables
}

/// What `pattern` binds in `line`, as `name=value`s.
fn bound(pattern: &str, line: &str, known: &[(&str, &str)]) -> Option<String> {
    let pattern: Pattern = pattern.parse().unwrap();
    let bindings = pattern.matches(line.as_bytes(), &variables(known), Some(7))?;
    let shown = bindings.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)));
    Some(shown.collect::<Vec<_>>().join(" "))
}

#[track_caller]
fn matches(pattern: &str, line: &str, known: &[(&str, &str)], expected: &str) {
    assert_eq!(bound(pattern, line, known).as_deref(), Some(expected), "{pattern} on {line}");
}

#[track_caller]
fn refuses(pattern: &str, line: &str, known: &[(&str, &str)]) {
    assert_eq!(bound(pattern, line, known), None, "{pattern} on {line}");
}

#[test]
fn text_is_compared_as_it_is() {
    matches("Hello, Bob", "Hello, Bob", &[], "");
    matches("", "", &[], "");
    matches("a.*(b)\\d$", "a.*(b)\\d$", &[], "");
    for line in ["", "Hello, Bo", "Hello, Bobb", "hello, Bob", "Hello, Bob\r"] {
        refuses("Hello, Bob", line, &[]);
    }
}

#[test]
fn the_whole_line_must_match() {
    for pattern in ["b{{*}}", "{{*}}b", "{{:b}}", "{{:b}}{{:b}}", "b{{:c?}}", "{{:b|bc}}"] {
        refuses(pattern, "abc", &[]);
    }
    matches("{{:abc|a}}", "abc", &[], "");
    matches("{{:a|abc}}", "abc", &[], "");
    matches("{{:^abc$}}", "abc", &[], "");
}

#[test]
fn a_free_name_takes_as_little_as_it_can() {
    matches("{{a}}", "", &[], "a=");
    matches("{{a}} {{b}}", "x y z", &[], "a=x b=y z");
    matches("{{a}} {{b}} {{c}}!", "1 2 3 4!", &[], "a=1 b=2 c=3 4");
    matches("{{*}} {{b}}", "x y z", &[], "b=y z");
    matches("{{a}}{{b}}", "xy", &[], "a= b=xy");
    matches("<{{a}}>", "<x>y>", &[], "a=x>y");
    matches("{{a}} {{n:\\d+}}", "x 1 2", &[], "a=x 1 n=2");
    refuses("{{a}} {{b}}", "xy", &[]);
    refuses("ab{{*}}ba", "aba", &[]);
}

/// Where lines end with CR LF and nobody has said so, a greedy placeholder would hide it, and a
/// capture would keep the CR.
#[test]
fn a_cr_at_the_end_of_a_line_is_taken_by_nothing_that_takes_anything() {
    for pattern in [
        "{{*}}",
        "{{a}}",
        "x{{*}}",
        "x{{a}}",
        "{{*}}{{a}}",
        "{{:x}}{{*}}",
        "{{:x}}{{a}}",
        "{{*}}{{e}}",
        "{{:x}}{{*}}{{e}}",
    ] {
        refuses(pattern, "x\r", &[("e", "")]);
        refuses(pattern, "x\r\r", &[("e", "")]);
        assert!(bound(pattern, "x\r.", &[("e", "")]).is_some(), "{pattern}");
    }
    refuses("{{*}}", "\r", &[]);
    matches("{{a}}", "x\r", &[("a", "x\r")], "");
    matches("{{a}} {{b}}", "x\r y", &[], "a=x\r b=y");
    matches("{{a}}\r", "x\r", &[], "a=x");
    matches("{{a:.*}}", "x\r", &[], "a=x\r");
    matches("{{a}}{{:\\r?}}", "x\r", &[], "a=x");
}

#[test]
fn a_bound_name_is_its_value_and_no_regex() {
    matches("{{a}} {{b}}", "x y z", &[("a", "x y")], "b=z");
    matches("{{a}}", ".*", &[("a", ".*")], "");
    refuses("{{a}}", "anything", &[("a", ".*")]);
    matches("{{a:\\d+}}{{n:\\d+}}", "(12", &[("a", "(")], "n=12");
    matches("{{a:\\d+}}", "x", &[("a", "x")], "");
    refuses("{{n:\\d+}} {{a}}", "1 x", &[("a", "y")]);
    matches("{{a}}", "", &[("a", "")], "");
}

#[test]
fn a_name_twice_in_a_line_is_equal_in_both_places() {
    matches("{{a}}={{a}}", "x=x", &[], "a=x");
    refuses("{{a}}={{a}}", "x=y", &[]);
    matches("{{a:\\w+}}={{a}}!{{n:\\d}}", "x=x!1", &[], "a=x n=1");
    refuses("{{a:\\w+}}={{a}}!{{n:\\d}}", "x=y!1", &[]);
}

#[test]
fn groups_within_a_regex_do_not_shift_what_is_captured() {
    matches("{{a:(x)(y)?}}-{{:(.)(.)}}-{{b:.(.)}}", "xy-12-34", &[], "a=xy b=34");
}

#[test]
fn flags_in_a_regex_end_with_it() {
    matches("{{:(?i)ab}}c", "ABc", &[], "");
    refuses("{{:(?i)ab}}c", "ABC", &[]);
}

#[test]
fn a_pattern_can_be_used_again_with_other_values() {
    let pattern: Pattern = "{{a}}:{{n:\\d+}}".parse().unwrap();
    for value in ["x", "y", "x", "(", ""] {
        let known = variables(&[("a", value)]);
        let bindings = pattern.matches(format!("{value}:5").as_bytes(), &known, None).unwrap();
        assert_eq!(bindings.iter().map(|(_, value)| value.to_vec()).collect::<Vec<_>>(), [b"5"]);
        assert_eq!(pattern.matches(b"z:5", &known, None), None);
    }
    assert!(pattern.matches(b"z:5", &variables(&[]), None).is_some());
}

#[test]
fn regexes_see_bytes() {
    let pattern: Pattern = "{{a:.}}{{:\\xff}}é{{*}}".parse().unwrap();
    let bindings = pattern.matches(b"\xfe\xff\xc3\xa9\x80", &Variables::default(), None).unwrap();
    assert_eq!(bindings.iter().next().unwrap().1, b"\xfe");
}

#[test]
fn a_member_is_its_index() {
    matches("guest {{#}}", "guest 7", &[], "");
    refuses("guest {{#}}", "guest 8", &[]);
    matches("{{:g.*}} {{#}}", "guest 7", &[], "");
    let pattern: Pattern = "{{#}}".parse().unwrap();
    assert_eq!(pattern.matches(b"7", &Variables::default(), None), None);
    assert!(pattern.needs_member());
}

#[test]
fn outside_a_crowd_it_is_the_slot_of_the_session() {
    let mut variables = Variables::default();
    variables.set_slot(12);
    let (pattern, template): (Pattern, Template) = ("guest {{#}}".parse().unwrap(), "{{#}}!".parse().unwrap());
    for (member, number) in [(None, "12"), (Some(3), "3")] {
        let line = format!("guest {number}").into_bytes();
        assert!(pattern.matches(&line, &variables, member).is_some());
        assert_eq!(pattern.expected(&variables, member), line);
        assert_eq!(template.expand(&variables, member), Ok(format!("{number}!").into_bytes()));
    }
    assert_eq!(pattern.matches(b"guest 1", &variables, None), None);
}

/// A member of a crowd has that of its session.
#[test]
fn the_number_of_the_session_is_no_placeholder_that_takes_anything() {
    let (pattern, template): (Pattern, Template) = ("{{*}} {{#n}}".parse().unwrap(), "{{#n}}!".parse().unwrap());
    assert_eq!(pattern.matches(b"order 7", &Variables::default(), Some(7)), None);
    assert_eq!(template.expand(&Variables::default(), Some(7)), Err(Unbound::Number));
    let mut variables = Variables::default();
    variables.set_number(7);
    for member in [None, Some(3)] {
        assert!(pattern.matches(b"order 7", &variables, member).is_some());
        assert_eq!(pattern.matches(b"order 3", &variables, member), None);
        assert_eq!(pattern.expected(&variables, member), b"{{*}} 7");
        assert_eq!(template.expand(&variables, member), Ok(b"7!".to_vec()));
    }
    assert!(!pattern.needs_member() && !template.needs_member());
}

#[test]
fn what_is_expected_is_shown_with_the_values_that_are_known() {
    let pattern: Pattern = r"{{a}} {{b:\d}} {{:x}} {{*}} {{#}}".parse().unwrap();
    assert_eq!(pattern.expected(&variables(&[("a", "1")]), Some(3)), br"1 {{b:\d}} {{:x}} {{*}} 3");
    assert_eq!(pattern.expected(&variables(&[("b", "2")]), None), br"{{a}} 2 {{:x}} {{*}} {{#}}");
}

#[test]
fn a_template_without_its_value_says_which() {
    let template: Template = "{{a}} {{#}}".parse().unwrap();
    assert_eq!(template.expand(&variables(&[]), Some(1)), Err(Unbound::Variable("a".parse().unwrap())));
    assert_eq!(template.expand(&variables(&[("a", "x")]), None), Err(Unbound::Member));
    assert_eq!(Unbound::Member.to_string(), "{{#}} has no value outside a crowd");
    assert_eq!(Unbound::Variable("a".parse().unwrap()).to_string(), "{{a}} has no value yet");
}

#[test]
fn a_hostile_line_is_matched_in_no_time() {
    let line = "ab ".repeat(20_000);
    let start = Instant::now();
    for pattern in ["{{a}} {{b}} {{c}} {{d}}!", "{{*}}a{{*}}b{{*}}a{{*}}!", "{{:(a|b| )*}}!", "{{:(.*)*}}{{:(.*)*}}!"] {
        assert_eq!(bound(pattern, &line, &[]), None);
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

proptest! {
    /// The search for literals and the regex engine are two ways to the same answer.
    #[test]
    fn both_ways_of_matching_agree(
        parts in prop::collection::vec("[ab]{0,2}|\\{\\{\\*\\}\\}|\\{\\{[xyz]\\}\\}", 0..6),
        line in "[ab]{0,8}",
        known in prop::option::of("[ab]{0,2}"),
    ) {
        let known: Vec<_> = known.iter().map(|value| ("z", value.as_str())).collect();
        let simple = parts.concat();
        prop_assert_eq!(bound(&simple, &line, &known), bound(&format!("{simple}{{{{:}}}}").replace("{{:}}", "{{:(?:)}}"), &line, &known));
    }
}
