//! What the parser makes of scripts, good and bad: the exact words and places of everything it
//! says.

use greeter_client::talk::{Action, ConnectionName, Incoming, Outgoing, Script};

#[path = "../talk/bad.rs"]
mod bad;

/// What is said of `text`, in short: `line:column: severity: message (help)`.
fn told(text: &[u8]) -> String {
    let diagnostics: Vec<_> = match Script::parse("x.talk", text) {
        Ok(script) => script.warnings().to_vec(),
        Err(diagnostics) => diagnostics.iter().cloned().collect(),
    };
    let told = diagnostics.iter().map(|diagnostic| {
        let help = diagnostic.help().map_or_else(String::new, |help| format!(" ({help})"));
        format!(
            "{}:{}: {}: {}{help}",
            diagnostic.line(),
            diagnostic.column(),
            diagnostic.severity(),
            diagnostic.message()
        )
    });
    told.collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn says(text: impl AsRef<[u8]>, expected: &str) {
    assert_eq!(told(text.as_ref()), expected, "{}", text.as_ref().escape_ascii());
}

#[track_caller]
fn actions(text: impl AsRef<[u8]>) -> Vec<Action> {
    let script = Script::parse("x.talk", text).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    script.steps().iter().map(|step| step.action().clone()).collect()
}

#[track_caller]
fn same(text: impl AsRef<[u8]>, other: impl AsRef<[u8]>) {
    assert_eq!(actions(text), actions(other));
}

#[test]
fn a_bad_line_is_told_with_its_place_and_its_remedy() {
    for (text, expected) in bad::LINES {
        says(text, expected);
    }
    for (text, expected) in bad::odd() {
        says(text, expected);
    }
}

#[test]
fn steps_that_cannot_work_after_those_before_them_are_told() {
    for (text, expected) in bad::FLOWS {
        says(text, expected);
    }
}

#[test]
fn what_was_probably_not_meant_is_a_warning() {
    for (text, expected) in bad::WARNINGS {
        assert!(Script::parse("x.talk", text).is_ok(), "{text}");
        says(text, expected);
    }
}

#[test]
fn every_bad_line_is_told_and_the_good_ones_between_them_are_not() {
    says(
        ">Bob\n> Bob\n<Bob\n< Bob \n",
        "1:2: error: '>Bob' is no statement (to send a line put one space after >: '> Bob')\n\
         3:2: error: '<Bob' is no statement (to expect a line put one space after <: '< Bob')\n\
         4:6: warning: the blanks at the end are part of the line \
         (where they are meant, the raw form shows them, as in \"Bob  \\n\")",
    );
}

#[test]
fn a_problem_shows_its_line_and_a_caret_whatever_the_line_holds() {
    let shown = |text: &[u8]| Script::parse("x.talk", text).unwrap_err().to_string();
    assert_eq!(
        shown(b"> \x1b[2J\xc3\xa9\xff {{a:(}}"),
        "x.talk:1:14: error: bad regex: unclosed group\n  > \\e[2Jé\\xff {{a:(}}\n                   ^"
    );
    let long = format!("> {}{{{{oh no}}}}{}", "ä".repeat(500), "b".repeat(500));
    let shown = shown(long.as_bytes());
    assert!(shown.starts_with("x.talk:1:503: error: '{{' opens no placeholder\n  …äää"), "{shown}");
    let lines: Vec<_> = shown.lines().collect();
    let at = lines[2].find('^').unwrap();
    assert_eq!(lines[1].chars().skip(at).take(2).collect::<String>(), "{{");
    assert!(lines[1].ends_with("b…") && lines[1].chars().count() < 130, "{}", lines[1]);
}

#[test]
fn after_one_space_everything_is_literal() {
    for text in ["eof", "\"raw\"", "*", " two blanks", "a\tb", "# no comment", "}}", "\u{feff}"] {
        let Action::Send { what: Outgoing::Line(line), to: ConnectionName::Main } = &actions(format!("> {text}"))[0]
        else {
            panic!("{text}");
        };
        assert_eq!(line.expand(&Default::default(), None).unwrap(), text.as_bytes());
        let Action::Expect { what: Incoming::Line(line), .. } = &actions(format!("< {text}"))[0] else {
            panic!("{text}");
        };
        assert_eq!(line.text(), Some(text.as_bytes()));
    }
    same("> ", ">");
    same("< ", "<");
}

/// What was a script before there were prompts says what it said.
#[test]
fn what_is_called_a_prompt_elsewhere_is_what_it_was() {
    let text = "connect prompt\nset prompt = <prompt \"{{n}}$ \"\nprompt> prompt \"a\"\nprompt< <prompt \"{{n}}\"\n\
        prompt<\"prompt {{n}}$ \"\n< prompt\n< prompt \"{{n}}$ \"\n>\"prompt\"\n";
    let steps: Vec<String> = actions(text).iter().map(|action| format!("{action:?}")).collect();
    assert!(!steps.iter().any(|step| step.contains("Prompt(")), "{steps:?}");
    assert_eq!(steps.len(), 8);
    let Action::Expect { from: ConnectionName::Named(name), what: Incoming::Raw(raw) } =
        &actions("prompt<\"{{n}}$ \"")[0]
    else {
        panic!("no raw bytes");
    };
    assert_eq!((name.as_str(), raw.unit()), ("prompt", &b"{{n}}$ "[..]));
}

/// What was a script before lines could be optional says what it said.
#[test]
fn signs_behind_the_space_are_data() {
    let steps = actions("< ? motd\n< ! -ERR\n< & a\n> ? x\nset x = <? y\n<\"? a\\n\"\n# <! z\n<*\n< <*\n");
    let steps: Vec<String> = steps.iter().map(|action| format!("{action:?}")).collect();
    assert!(
        !steps.iter().any(|step| ["Optional(", "Never(", "AnyOrder"].iter().any(|word| step.contains(word))),
        "{steps:?}"
    );
    assert_eq!(steps.len(), 8);
    let Action::Expect { what: Incoming::Optional(pattern), .. } = &actions("<?  a\n< b")[0] else {
        panic!("no optional line");
    };
    assert_eq!(pattern.text(), Some(&b" a"[..]));
}

#[test]
fn lines_in_any_order_are_those_of_one_connection_without_a_step_between() {
    let more = |text: &str| -> Vec<usize> {
        let count = |action| match action {
            Action::Expect { what: Incoming::AnyOrder { more, .. }, .. } => Some(more),
            _ => None,
        };
        actions(text).into_iter().filter_map(count).collect()
    };
    assert_eq!(more("<& a\n# b\n<& b\n\n<& c\n> x\n<& d\n"), [2, 1, 0, 0]);
    assert_eq!(more("<& a\nbob<& b\nbob<& c\n<& d\n"), [0, 1, 0, 0]);
    let many = |count: usize| Script::parse("a.talk", "<& x\n".repeat(count)).map(drop).map_err(|err| err.to_string());
    assert_eq!(many(100), Ok(()));
    let problems = many(103).unwrap_err();
    assert!(problems.starts_with("a.talk:3:1: error: at most 100 lines can come in any order"), "{problems}");
    assert_eq!(problems.matches("error:").count(), 1, "{problems}");
}

#[test]
fn raw_bytes_are_exactly_those() {
    let Action::Send { what: Outgoing::Raw(raw), .. } = &actions(b">\"\\n\\r\\t\\0\\e\\a\\\\\\\"\\x7F\xff{{\" x 2")[0]
    else {
        panic!("no raw bytes");
    };
    assert_eq!(raw.unit(), b"\n\r\t\0\x1b\x07\\\"\x7f\xff{{");
    assert_eq!(raw.to_vec(), raw.unit().repeat(2));
    same("<\"a\"", "<\"a\" x 1");
    same("<\"a\" x2  ", "<\"a\" x 2");
}

#[test]
fn line_endings_marks_and_indentation_change_nothing() {
    let plain = "# Title.\n> Bob\n\n< Hello, Bob\nsleep 1s\n";
    same(plain, plain.replace('\n', "\r\n"));
    same(plain, plain.trim_end());
    same(plain, format!("\u{feff}{plain}"));
    same(plain, plain.replace("> ", " \t > ").replace("sleep", "   sleep").replace("1s", "1s \t"));
    same("sleep 0.000001ms\nsleep 1.50000000000000s", "sleep 0.001us\nsleep 1500ms");
    says(
        "sleep 1.00000000001s",
        "1:7: error: '1.00000000001s' is finer than a nanosecond (write a number and its unit: \
        200ms, 2s, 1.5s or 1m (the units are us, ms, s, m and h))",
    );
    same("sleep 1500ms\nwithin 1m\nsleep 0s\n<", "sleep 1.5s\nwithin 60s\nsleep 0us\n<");
}

#[test]
fn a_steps_title_is_the_last_comment_before_it() {
    let text = "> a\n# one\n# line\n> b\n> c\n\n# two\n\n# three\n> d\n#\n> e\n";
    let script = Script::parse("x.talk", text).unwrap();
    let titles: Vec<_> = script.steps().iter().map(|step| (step.line(), step.title())).collect();
    let one = Some("one line");
    assert_eq!(titles, [(1, None), (4, one), (5, one), (10, Some("three")), (12, Some("three"))]);
}

#[test]
fn every_line_of_the_source_can_be_replaced_alone() {
    let text = b"\xef\xbb\xbf> a\r\n\r\n< b\n< c";
    let script = Script::parse("x.talk", text).unwrap();
    let source = script.source();
    let mut joined = Vec::new();
    for line in source.lines() {
        joined.extend_from_slice(&source.text()[source.bytes_of(line)]);
    }
    assert_eq!(joined, text);
    let lines: Vec<_> = script.steps().iter().map(|step| script.source_of(step).line(step.line())).collect();
    assert_eq!(lines, [&b"> a"[..], b"< b", b"< c"]);
}

#[test]
fn a_script_that_is_wrong_all_over_is_told_so_within_bounds() {
    let diagnostics = Script::parse("x.talk", "nonsense\n".repeat(100_000)).unwrap_err();
    assert_eq!(diagnostics.errors(), greeter_client::talk::MAX_DIAGNOSTICS);
}

/// Were what was parsed looked at again for each step, this would take minutes.
#[test]
fn a_hundred_thousand_steps_are_parsed() {
    let text: String = (0..25_000).fold(String::new(), |text, index| {
        text + &format!("# Greeting {index}.\n> Bob {index}\n< Hello, {{{{name}}}} {index}\n> x\n< {{{{:\\d+}}}}\n")
    });
    let script = Script::parse("long.talk", text).unwrap();
    assert_eq!(script.steps().len(), 100_000);
}

/// Time in step with the length: were it in step with the square of it, a line of a megabyte would
/// take hours.
#[test]
fn a_line_of_a_megabyte_is_parsed() {
    for unit in ["{", "{{", "}", "\\", "[", "a", "{{a:", "{{:[", "\"", "> ", "."] {
        for start in ["< ", "> ", "<\"", "set a = ", "connect ", ""] {
            let _ = Script::parse("x.talk", format!("{start}{}", unit.repeat(1_000_000 / unit.len())));
        }
    }
}
