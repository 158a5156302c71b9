//! Blessing: a script that fails becomes one that says what came, and everything else in it stays.

use std::collections::BTreeMap;
use std::time::Duration;

use greeter_client::ServerAddress;
use greeter_client::run::{Outcome, RunOptions, bless, run};
use greeter_client::talk::{Edits, Script};

use crate::kit::{Says, puppet};

fn options(address: &ServerAddress) -> RunOptions {
    let mut options = RunOptions::to(address.clone());
    options.timeout = Duration::from_millis(800);
    options
}

fn server(table: &[(&str, &[&str])]) -> ServerAddress {
    puppet(table.iter().map(|(line, says)| ((*line).to_owned(), Says::lines(says))).collect())
}

fn blessed(address: &ServerAddress, text: &[u8]) -> Result<(Edits, Vec<u8>), String> {
    let script = Script::parse("a.talk", text).map_err(|problems| problems.to_string())?;
    let blessing = bless(&script, &options(address), None);
    match blessing.outcome {
        Outcome::Passed => {
            let text = blessing.edits.apply(script.source());
            Ok((blessing.edits, text))
        }
        Outcome::Skipped(reason) => Err(reason),
        Outcome::Failed(failure) => Err(failure.to_string()),
    }
}

fn passes(address: &ServerAddress, text: &[u8]) -> Result<(), String> {
    let script = Script::parse("a.talk", text).map_err(|problems| problems.to_string())?;
    match run(&script, &options(address), None) {
        Outcome::Passed => Ok(()),
        outcome => Err(format!("{outcome:?}")),
    }
}

/// `before` becomes `after`, which passes and is not changed again.
#[track_caller]
fn becomes(address: &ServerAddress, before: &str, after: &str) {
    let (_, text) = blessed(address, before.as_bytes()).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(String::from_utf8_lossy(&text), after);
    passes(address, &text).unwrap_or_else(|report| panic!("{report}"));
    let (again, _) = blessed(address, &text).unwrap_or_else(|report| panic!("{report}"));
    assert!(again.is_empty(), "{again:?}");
}

#[track_caller]
fn fails(address: &ServerAddress, script: &str, report: &str) {
    let failure = blessed(address, script.as_bytes()).expect_err("nothing can be blessed here");
    assert!(failure.contains(report) && !failure.contains("accept it with"), "{failure}");
}

#[test]
fn a_line_that_differs_is_replaced() {
    let server = server(&[("Bob", &["Hello, Bob"]), ("Ann", &["Hello, Ann"])]);
    becomes(
        &server,
        "# A greeting.\n\n> Bob\n  < Hello, Rob\n# Another one.\n> Ann\n< {{*}}, Ann\n",
        "# A greeting.\n\n> Bob\n  < Hello, Bob\n# Another one.\n> Ann\n< {{*}}, Ann\n",
    );
}

#[test]
fn a_line_that_was_not_expected_is_inserted_where_it_came() {
    let server = server(&[("Bob", &["one", "two", "three"]), ("Ann", &["four"])]);
    becomes(
        &server,
        "> Bob\n< {{:o.*}}\n< three\n\n# Then.\n> Ann\n< four\n",
        "> Bob\n< {{:o.*}}\n< two\n< three\n\n# Then.\n> Ann\n< four\n",
    );
    becomes(
        &server,
        "> Bob\n< one\n< two\n\n# Then.\n> Ann\n< four\n",
        "> Bob\n< one\n< two\n< three\n\n# Then.\n> Ann\n< four\n",
    );
    becomes(
        &server,
        "> Bob\n> Ann\n< one\nwithin 5s\n< four\n",
        "> Bob\n> Ann\n< one\n< two\n< three\nwithin 5s\n< four\n",
    );
    becomes(&server, "> Ann\n", "> Ann\n< four\n");
    becomes(&server, "> Ann", "> Ann\n< four\n");
}

#[test]
fn a_line_that_never_came_is_deleted() {
    let server = server(&[("Bob", &["one", "three"]), ("Ann", &[])]);
    becomes(&server, "> Bob\n< one\n# The second.\n< two\n< three\n", "> Bob\n< one\n# The second.\n< three\n");
    becomes(&server, "> Ann\n< one\n< two\n< three\n> Bob\n< one\n< three\n", "> Ann\n> Bob\n< one\n< three\n");
}

#[test]
fn what_comes_before_it_is_expected_stays() {
    let server = server(&[("a", &["A"]), ("b", &["B"]), ("c", &["C"])]);
    let text = "> a\n> b\n< A\n> c\nsleep 20ms\n> a\n< {{*}}\nx> a\n< C\n< A\nx< A\n";
    becomes(&server, text, text);
    let text = "> a\n< A\n> b\n> c\nclose\n";
    becomes(&server, text, text);
    let text = "> a\n> b\n> c\n<*\n< C\n> a\n> b\n<*\n< B\n> a\nabandon\n";
    becomes(&server, text, text);
}

#[test]
fn a_line_that_differs_is_replaced_where_it_is_expected() {
    let server = server(&[("alice", &["Hello, Alice"]), ("bob", &["Hello, Bob"])]);
    becomes(
        &server,
        "a> alice\nb> bob\na< Hello, Alice\na> alice\nb< Hello, Rob\na< Hello, Alice\n",
        "a> alice\nb> bob\na< Hello, Alice\na> alice\nb< Hello, Bob\na< Hello, Alice\n",
    );
}

#[test]
fn an_end_is_written_down() {
    let closes = Says { close: true, ..Says::lines(&["bye"]) };
    let server = puppet(BTreeMap::from([("quit".into(), closes), ("Bob".into(), Says::lines(&["Hello"]))]));
    becomes(&server, "> quit\n< bye\n< more\n< and more\n", "> quit\n< bye\n<eof\n");
    becomes(
        &server,
        "bob> quit\nbob< bye\nbob< more\nbob<eof\n> Bob\n< Hello\n",
        "bob> quit\nbob< bye\nbob<eof\n> Bob\n< Hello\n",
    );
    becomes(&server, "> quit\n<eof\n", "> quit\n< bye\n<eof\n");
    becomes(&server, "> quit\n< bye\n<reset\n", "> quit\n< bye\n<eof\n");
    becomes(&server, "> Bob\n< Hello\n<eof\n", "> Bob\n< Hello\n");
}

#[test]
fn what_comes_only_after_our_end_is_written_behind_it() {
    let server = puppet(BTreeMap::from([("eof".into(), Says { bytes: b"bye\n$ ".to_vec(), ..Says::default() })]));
    becomes(&server, "> Bob\n", "> Bob\n>eof\n< bye\n<\"$ \"\n");
    becomes(&server, "> Bob\n>eof\n< good bye\n< ?\n", "> Bob\n>eof\n< bye\n<\"$ \"\n");
}

#[test]
fn what_an_editor_does_not_show_is_written_raw() {
    let bytes = b"\x1b[2J\r\n{{x}}\n \nend\r\n".to_vec();
    let server = puppet(BTreeMap::from([("Bob".into(), Says { bytes, ..Says::default() })]));
    becomes(&server, "> Bob\n< a\n", "> Bob\n<\"\\e[2J\\r\\n\"\n<\"{{x}}\\n\"\n<\" \\n\"\n<\"end\\r\\n\"\n");
    let server =
        puppet(BTreeMap::from([("Bob".into(), Says { bytes: b"one\r\ntwo\r\n".to_vec(), ..Says::default() })]));
    becomes(&server, "eol crlf\r\n> Bob\r\n< 1\r\n", "eol crlf\r\n> Bob\r\n< one\r\n< two\r\n");
}

#[test]
fn values_go_back_as_their_names() {
    let server = server(&[("Bob", &["token abcdef 12"]), ("abcdef", &["abcdef{abcdef} is 12"])]);
    becomes(
        &server,
        "> Bob\n< token {{token}} {{n}}\n> {{token}}\n< {{token}} was {{n}}\n",
        "> Bob\n< token {{token}} {{n}}\n> {{token}}\n< {{token}}{{{token}}} is 12\n",
    );
    let script = Script::parse("a.talk", "> Bob\n< token 12\n").unwrap();
    let mut options = options(&server);
    options.variables.set("of_the_environment".parse().unwrap(), "token");
    let blessing = bless(&script, &options, None);
    assert_eq!(blessing.edits.apply(script.source()), b"> Bob\n< token abcdef 12\n");
}

#[test]
fn a_line_that_reaches_somebody_else_is_theirs() {
    let tells = Says { tells: Some("bob"), ..Says::lines(&["alice has come"]) };
    let server = puppet(BTreeMap::from([("alice here".into(), tells), ("bob here".into(), Says::lines(&["welcome"]))]));
    becomes(
        &server,
        "bob> bob here\nbob< welcome\n\nalice> alice here\nalice< somebody has come\n",
        "bob> bob here\nbob< welcome\n\nalice> alice here\nalice< alice has come\nbob< alice has come\n",
    );
}

#[test]
fn the_members_of_a_crowd_are_spoken_of_together_where_they_can() {
    let server = server(&[("guest {n}", &["Hi, guest {n} of 20", "bye"]), ("odd 2", &["two"]), ("all {n}", &["same"])]);
    becomes(
        &server,
        "connect c x12\nc> guest {{#}}\nc< Hello, guest {{#}}\nc> all {{#}}\nc< other\n",
        "connect c x12\nc> guest {{#}}\nc< Hi, guest {{#}} of 20\nc< bye\nc> all {{#}}\nc< same\n",
    );
    becomes(
        &server,
        "connect c x3\nc> odd {{#}}\nc.2> all 2\nc.2< nothing\n",
        "connect c x3\nc> odd {{#}}\nc.2> all 2\nc.2< two\nc.2< same\n",
    );
    becomes(&server, "connect c x3\nc> odd {{#}}\nc< {{:two|three}}\n", "connect c x3\nc> odd {{#}}\nc.2< two\n");
}

#[test]
fn what_is_skipped_to_becomes_the_last_line() {
    let server =
        server(&[("EHLO", &["250-a", "250-b", "250 c"]), ("HELP", &["211-x", "214 y"]), ("twice", &["a", "a"])]);
    becomes(
        &server,
        "> EHLO\n<*\n< 250 {{*}}\n> HELP\n<*\n< 250 {{*}}\n",
        "> EHLO\n<*\n< 250 {{*}}\n> HELP\n<*\n< 214 y\n",
    );
    becomes(&server, "> nothing\n<*\n< x\n> HELP\n<*\n< 214 y\n", "> nothing\n> HELP\n<*\n< 214 y\n");
    fails(&server, "> twice\n<*\n< b\n", "- < b");
}

#[test]
fn lines_before_bytes_are_inserted() {
    let says = |bytes: &[u8]| Says { bytes: bytes.to_vec(), ..Says::default() };
    let table = [("in", says(b"welcome\nnews\n$ ")), ("on", says(b"one\ntwo\n"))];
    let server = puppet(table.map(|(line, says)| (line.to_owned(), says)).into());
    becomes(
        &server,
        "> in\n< welcome\nwithin 9s\n<\"$ \"\n> on\n<\"two\\n\"\n",
        "> in\n< welcome\n< news\nwithin 9s\n<\"$ \"\n> on\n< one\n<\"two\\n\"\n",
    );
    fails(&server, "> on\n<\"three\\n\"\n", "- <\"three\\n\"");
}

fn says(table: &[(&str, &str)]) -> ServerAddress {
    let says = |&(line, bytes): &(&str, &str)| {
        (line.to_owned(), Says { bytes: bytes.as_bytes().to_vec(), close: bytes == "bye\n", tells: None })
    };
    puppet(table.iter().map(says).collect())
}

#[test]
fn a_prompt_stays_and_lines_before_it_are_inserted() {
    let server = says(&[("", "user@h-71:~$ "), ("in", "news of h-71\nhi\nuser@h-71:~$ "), ("exit", "bye\n")]);
    let text = "<prompt \"user@{{host:h-\\d+}}:~$ \"\n> in\n<*\n<prompt \"user@{{host}}:~$ \"\n> exit\n< bye\n";
    becomes(&server, text, text);
    becomes(
        &server,
        "<prompt \"user@{{host}}:~$ \"\n> in\n<prompt \"user@{{host}}:~$ \"\n> exit\n<eof\n",
        "<prompt \"user@{{host}}:~$ \"\n> in\n< news of {{host}}\n< hi\n<prompt \"user@{{host}}:~$ \"\n> exit\n< bye\n<eof\n",
    );
    becomes(
        &server,
        "<prompt \"{{*}}$ \"\n> in\n< news of h-71\nwithin 9s\n<prompt \"{{*}}$ \"\nabandon\n",
        "<prompt \"{{*}}$ \"\n> in\n< news of h-71\n< hi\nwithin 9s\n<prompt \"{{*}}$ \"\nabandon\n",
    );
    // What stands behind it in its line makes no difference.
    let prompt = "<prompt \"user@{{*}}:~$ \"\n";
    becomes(
        &server,
        &format!("{prompt}> in\n> exit\n{prompt}< bye\n"),
        &format!("{prompt}> in\n> exit\n< news of h-71\n< hi\n{prompt}< bye\n"),
    );
    fails(&server, "<prompt \"{{*}}# \"\n> exit\n< bye\n", "    - <prompt \"{{*}}# \"");
    fails(&server, "<*\n<prompt \"{{*}}# \"\n> exit\n< bye\n", "    - <prompt \"{{*}}# \"");
}

#[test]
fn what_may_come_and_what_must_not_stays_as_it_is() {
    let server = server(&[("a", &["motd 7", "ready", "go"]), ("b", &["ready"]), ("c", &["one", "-ERR two", "three"])]);
    let optional = "<? motd {{n}}\n<? news\n";
    for text in [
        &format!("> a\n{optional}< ready\n< go\n"),
        &format!("> b\n{optional}< ready\n"),
        &format!("> a\n{optional}<\"ready\\n\"\n< go\n"),
        "> c\n<! -ERR {{*}}\n<*\n< one\n< -ERR two\n< three\n",
    ] {
        becomes(&server, text, text);
    }
    becomes(
        &server,
        &format!("> a\n{optional}< steady\n> {{{{n}}}}\n< go\n"),
        &format!("> a\n{optional}< ready\n> {{{{n}}}}\n< go\n"),
    );
    becomes(&server, &format!("> a\n{optional}< go\n"), &format!("> a\n{optional}< ready\n< go\n"));
    becomes(&server, &format!("> a\n> b\n{optional}<eof\n"), &format!("> a\n> b\n{optional}< ready\n< go\n< ready\n"));
    becomes(
        &server,
        "connect c x2\nc> a\nc<? motd 7\nc< steady\nc< go\n",
        "connect c x2\nc> a\nc<? motd 7\nc< ready\nc< go\n",
    );
    // Without what they come before, they would be no script.
    fails(
        &server,
        &format!("> x\n{optional}< ready\n"),
        "nothing follows on this connection that such a line could come before",
    );
    fails(&server, "> x\n<! -ERR {{*}}\n<*\n< three\n", "    - < three\n    + (nothing within");
    fails(&server, "> c\n<! -ERR {{*}}\n<*\n< three\n", "    - <! -ERR {{*}}\n    + < -ERR two");
}

#[test]
fn lines_in_any_order_keep_the_patterns_that_are_met() {
    let server = server(&[("x", &["c 3", "a 1", "b 2"]), ("y", &["a"]), ("z", &["{{", "a"])]);
    let text = "> x\n<& a {{n}}\n<& b {{*}}\n<& c 3\n> {{n}}\n";
    becomes(&server, text, text);
    becomes(&server, "> x\n<& a {{n}}\n<& q\n<& c 3\n> {{n}}\n", "> x\n<& a {{n}}\n<& b 2\n<& c 3\n> {{n}}\n");
    becomes(&server, "> x\n<& a {{n}}\n# One.\n<& c 4\n", "> x\n<& a {{n}}\n# One.\n<& c 3\n< b 2\n");
    becomes(&server, "> x\n<& q\n<& c 4\n<& r\n", "> x\n<& c 3\n<& a 1\n<& b 2\n");
    becomes(&server, "> x\n> y\n<& a\n<& a 1\n<& b 2\n<& c 3\n<& d\n", "> x\n> y\n<& a\n<& a 1\n<& b 2\n<& c 3\n");
    fails(&server, "> z\n<& a\n<& b\n", "    - <& b");
    fails(&server, "> x\n<& {{x}}\n<& {{*}}\n<& q\n", "what is captured is not clear");
    fails(&server, "> x\nwithin 5s\n<& a 1\n<& q\n", "    - <& q");
}

/// As a recording has it: else it stands before the next line, as if it were a part of that.
#[test]
fn a_prompt_that_came_before_a_send_is_written_before_it() {
    let server = says(&[("", "welcome\n$ "), ("in", "hi\n$ "), ("exit", "bye\n"), ("on", "")]);
    becomes(&server, "< welcome\n> in\n> exit\n", "< welcome\n<\"$ \"\n> in\n> exit\n< hi\n< $ bye\n");
    becomes(
        &server,
        "# In.\nconnect\n> in\n\nsleep 1ms\n# Out.\n> exit\n< bye\n",
        "# In.\nconnect\n< welcome\n<\"$ \"\n> in\n\nsleep 1ms\n< hi\n<\"$ \"\n# Out.\n> exit\n< bye\n",
    );
    // Which of several connections it came on makes no difference.
    becomes(
        &server,
        "connect bob\nconnect c x2\n> on\nbob> exit\nc> exit\nclose\n",
        "connect bob\nbob< welcome\nbob<\"$ \"\nconnect c x2\nc< welcome\nc<\"$ \"\n> on\nbob> exit\nc> exit\n\
         close\nbob< bye\nc< bye\n",
    );
}

#[test]
fn what_may_still_become_what_is_expected_is_left_to_it() {
    let server = says(&[("", "$ "), ("in", "hi\n$ "), ("half", "50"), ("exit", "bye\n")]);
    for text in [
        "<\"$ \"\n> half\nsleep 1ms\n> exit\n<prompt \"5\"\n< 0bye\n",
        "> in\n< $ hi\n> exit\n< $ bye\n",
        "> in\n< {{:. }}hi\n<\"$ \"\n> exit\n< {{*}}\n",
        "> in\n<\"$ hi\\n$ \"\n> exit\n<*\n<eof\n",
        "> in\n<prompt \"${{*}}i\"\n<\n> exit\n<*\n< $ bye\n",
        "> in\n<prompt \"$ \"\n< hi\n> exit\n<bytes 6\n",
        "> in\n<prompt \"{{x}} hi\"\n<\n> exit\n<bytes 2\n< bye\n",
        "> in\n> exit\nclose\n",
        "set p = $\n> in\n< {{p}} {{hi}}\n> exit\n< {{p}} {{*}}\n",
    ] {
        let text = format!("connect\n{text}");
        becomes(&server, &text, &text);
    }
    becomes(&server, "connect\n> in\n< % {{*}}\nabandon\n", "connect\n<\"$ \"\n> in\n< hi\nabandon\n");
}

#[test]
fn some_things_are_for_people_to_change() {
    let server = server(&[("Bob", &["Hello, Bob"])]);
    fails(&server, "> Bob\n<nothing 50ms\n", "- <nothing 50ms");
    fails(&server, "> Bob\n<\"Hullo\"\n<\", Bob\\n\"\n", "- <\"Hullo\"");
    fails(&server, "> Bob\n<bytes 20\n", "- <bytes 20");
    fails(&server, "> Bob\n< Hello, Bob\nwithin 50ms\n< Hello\n", "- < Hello");
    fails(&server, "> Bob\n< {{name}}!\n> {{name}}\n", "{{name}} has no value yet");
}

#[test]
fn what_there_was_no_time_for_is_not_deleted() {
    let server = server(&[]);
    let script = Script::parse("a.talk", "> Bob\n< Hello, Bob\n").unwrap();
    let mut options = options(&server);
    options.max_time = Duration::from_millis(50);
    let blessing = bless(&script, &options, None);
    let Outcome::Failed(failure) = blessing.outcome else { panic!("{blessing:?}") };
    assert_eq!(failure.place, "a.talk:2");
    assert!(failure.to_string().ends_with("the script has taken more than 50ms"), "{failure}");
}

#[test]
fn a_crowd_of_which_some_have_gone_is_spoken_of_one_by_one() {
    let closes = Says { close: true, ..Says::default() };
    let server = puppet(BTreeMap::from([("quit".into(), closes), ("Bob".into(), Says::lines(&["Hello"]))]));
    becomes(
        &server,
        "connect c x3\nc.2> quit\nc.2<eof\nc.1> Bob\nc.3> Bob\n",
        "connect c x3\nc.2> quit\nc.2<eof\nc.1> Bob\nc.3> Bob\nc.1< Hello\nc.3< Hello\n",
    );
}

#[test]
fn a_script_that_would_be_none_is_left_alone() {
    let closes = Says { close: true, ..Says::default() };
    let server = puppet(BTreeMap::from([("quit".into(), closes)]));
    // Without the end, the connection is open already where it is opened again.
    fails(&server, "> Bob\n<eof\nconnect\n> Bob\n", "is open already");
}
