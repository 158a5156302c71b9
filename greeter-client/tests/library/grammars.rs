//! The grammars for editors know the words of the language, and no others.

use std::collections::BTreeSet;

use greeter_client::talk::{self, Script};
use regex::Regex;
use serde_json::Value;

const TEXTMATE: &str = include_str!("../../packaging/editors/talk.tmLanguage.json");
const VIM: &str = include_str!("../../packaging/editors/talk.vim");

/// Where the parser has its control words.
const PARSER: &str = include_str!("../../src/talk/parse/line.rs");

/// Every statement of the language, in a table.
const PAGE: &str = include_str!("../../../docs/talk.md");

/// Every construct of the language.
const EVERYTHING: &str = include_str!("../talk/corpus/everything.talk");

type Words = BTreeSet<String>;

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Words {
    words.into_iter().map(str::to_owned).collect()
}

/// The words of one kind in Vim's file.
fn in_vim(kind: &str) -> Words {
    let start = format!("syn keyword {kind} contained ");
    words(VIM.lines().filter_map(|line| line.strip_prefix(&*start)).flat_map(str::split_whitespace))
}

fn textmate() -> Value {
    serde_json::from_str(TEXTMATE).unwrap()
}

fn pattern(rule: &str) -> String {
    textmate()["repository"][rule]["match"].as_str().unwrap_or_else(|| panic!("there is no {rule}")).to_owned()
}

/// The words of one rule of the `TextMate` grammar: the group in it that is nothing but words.
fn in_textmate(rule: &str) -> Words {
    let group = Regex::new(r"\(([A-Za-z0-9*\\]+(?:\|[A-Za-z0-9*\\]+)+)\)").unwrap();
    let pattern = pattern(rule);
    words(group.captures(&pattern).unwrap().get(1).unwrap().as_str().split('|').map(|word| word.trim_matches('\\')))
}

/// What the parser says of a script of one line.
fn told(text: &str) -> String {
    Script::parse("a.talk", text).err().map(|problems| problems.to_string()).unwrap_or_default()
}

/// What the parser says it knows in the place of a word.
fn known(text: &str) -> Words {
    let told = told(text);
    let (_, known) = told.split_once("known are ").unwrap_or_else(|| panic!("{told}"));
    words(known.lines().next().unwrap().split(", "))
}

#[test]
fn the_control_words_are_those_of_the_parser() {
    let (_, list) = PARSER.split_once("const CONTROLS: &[&str] = &[").unwrap();
    let parsers = words(list.split_once(']').unwrap().0.split('"').skip(1).step_by(2));
    assert!(parsers.contains("within") && !parsers.contains("eof"));
    assert_eq!(in_vim("talkControl"), parsers);
    assert_eq!(in_textmate("control"), parsers);
    for word in parsers {
        assert!(!told(&word).contains("is no control word"), "{word}");
    }
}

#[test]
fn the_words_behind_a_direction_are_those_of_the_parser() {
    let (_, arms) = PARSER.split_once("fn parse_outgoing").unwrap();
    let arm = Regex::new(r#""([a-z*]+)" (?:=>|\|)"#).unwrap();
    let arms = arms.split_once("fn direction_words").unwrap().0;
    let parsers = words(arm.captures_iter(arms).map(|word| word.get(1).unwrap().as_str()));
    assert!(parsers.contains("nothing") && parsers.contains("*"));
    assert_eq!(in_textmate("event"), parsers);
    let mut vims = in_vim("talkEvent");
    // It has a rule of its own in either file.
    assert!(vims.remove("prompt") && pattern("prompt").contains("(prompt)"));
    assert!(VIM.contains("syn match talkSkip contained /<\\@1<=\\*/") && vims.insert("*".to_owned()));
    assert_eq!(vims, parsers);
    for word in parsers.iter().map(String::as_str).chain(["prompt"]) {
        assert!(!told(&format!("<{word}")).contains("is no statement"), "{word}");
    }
}

#[test]
fn the_words_behind_a_control_word_are_those_of_the_parser() {
    let mut parsers = known("signal NONE");
    parsers.extend(["require none", "eol none"].map(known).into_iter().flatten());
    // In `connect`, a word that is not known is taken for a name.
    for option in ["to a:1", "from ::1", "tls", "proxy v1"] {
        assert_eq!(told(&format!("connect bob {option}")), "");
        parsers.extend(option.split(' ').take(1).map(str::to_owned));
    }
    let problem = told("let x = none(a)");
    let (_, functions) = problem.split_once("the functions are ").unwrap();
    parsers.extend(words(functions.lines().next().unwrap().split(", ")));
    assert_eq!(in_vim("talkOption"), parsers);
    assert_eq!(in_textmate("option"), parsers);
}

/// What an editor does with a line that no rule is about, nobody sees.
#[test]
fn every_line_is_of_the_rule_that_it_should_be() {
    let grammar = textmate();
    let rules =
        grammar["patterns"].as_array().unwrap().iter().map(|rule| rule["include"].as_str().unwrap()[1..].to_owned());
    let rules: Vec<(String, Regex)> = rules.map(|rule| (rule.clone(), Regex::new(&pattern(&rule)).unwrap())).collect();
    let rule_of = |line: &str| rules.iter().find(|(_, rule)| rule.is_match(line)).map(|(name, _)| name.clone());
    let mut met = Words::new();
    for line in EVERYTHING.lines().filter(|line| !line.trim().is_empty()) {
        met.extend([rule_of(line).unwrap_or_else(|| panic!("no rule is about {line:?}"))]);
    }
    assert_eq!(met, rules.iter().map(|(name, _)| name.clone()).collect());
    let rows = PAGE.lines().skip_while(|line| *line != "| write | means |").take_while(|line| line.starts_with('|'));
    let statements: Vec<&str> =
        rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(statements.len() > 40, "{statements:?}");
    for line in statements {
        assert!(rule_of(line).is_some(), "no rule is about {line:?}");
    }
    for (line, rule) in [
        ("> eof", Some("sent")),
        (">eof", Some("event")),
        ("bob.7> # x", Some("sent")),
        ("  # > x", Some("comment")),
        ("<", Some("expected")),
        ("< \"a\"", Some("expected")),
        ("<\"a\\\"\" x 3", Some("raw")),
        ("bob<? motd", Some("expected")),
        ("<!", Some("expected")),
        ("<& # x", Some("expected")),
        ("<?motd", None),
        (">? motd", None),
        ("<*", Some("event")),
        ("<prompt \"$ \"", Some("prompt")),
        ("within 5s", Some("control")),
        ("withing 5s", None),
        (">eofx", None),
        (">Bob", None),
        ("<\"a", None),
    ] {
        assert_eq!(rule_of(line).as_deref(), rule, "{line}");
        assert_eq!(talk::format("a.talk", line).is_err(), rule.is_none(), "{line}");
    }
    // All that is written in the file can be read.
    for (_, rule) in grammar["repository"].as_object().unwrap() {
        regex::bytes::Regex::new(&format!("(?-u){}", rule["match"].as_str().unwrap())).unwrap();
    }
}
