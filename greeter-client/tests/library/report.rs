//! Reports for programs: what stands in them is what was told, whatever that holds.

use std::collections::BTreeMap;
use std::time::Duration;

use greeter_client::report::{FinishedScript, ReportFormat, Reporter};
use greeter_client::run::{Failure, Outcome, RunOptions, run, with_retries};
use greeter_client::talk::Script;
use proptest::prelude::*;
use serde_json::Value;

use crate::kit::{Says, puppet};

const TOOK: Duration = Duration::from_micros(6_045);

fn script(name: &str) -> Script {
    Script::parse(name, "> Bob\n").unwrap()
}

fn report(format: ReportFormat, ended: &[(&str, Outcome)]) -> String {
    let mut reporter = Reporter::new(format, Vec::new(), ended.len());
    for (name, outcome) in ended {
        reporter.add(&FinishedScript { script: &script(name), outcome, took: TOOK, earlier: &[] }).unwrap();
    }
    String::from_utf8(reporter.finish().unwrap()).unwrap()
}

/// A script that failed at a line which no format takes as it is.
fn failure() -> Box<Failure> {
    let says = Says { bytes: b"]]></failure>\x1b[2J \"\xff\n...\n".to_vec(), ..Says::default() };
    let server = puppet(BTreeMap::from([("Bob".into(), says)]));
    let script = Script::parse("a.talk", "# A <title> \x1b\u{85} & \"more\"\n> Bob\n< Hello, Bob\n").unwrap();
    match run(&script, &RunOptions::to(server), None) {
        Outcome::Failed(failure) => failure,
        outcome => panic!("{outcome:?}"),
    }
}

fn objects(report: &str) -> Vec<Value> {
    report.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What XML can say of a text.
fn in_xml(text: &str) -> String {
    let replaced = |c: char| c.is_control() && !"\n\r\t".contains(c) || "\u{fffe}\u{ffff}".contains(c);
    text.chars().map(|c| if replaced(c) { '\u{fffd}' } else { c }).collect()
}

#[test]
fn json_has_an_object_for_each_script_and_one_for_all() {
    let skipped = Outcome::Skipped("TLS is not built in".into());
    let report = report(ReportFormat::Json, &[("a.talk", Outcome::Passed), ("b.talk", skipped)]);
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(
        lines[..2],
        [
            r#"{"script":"a.talk","file":"a.talk","status":"passed","duration_ms":6.045}"#,
            r#"{"script":"b.talk","file":"b.talk","status":"skipped","duration_ms":6.045,"reason":"TLS is not built in"}"#,
        ]
    );
    let all = &objects(&report)[2];
    assert_eq!(
        (&all["scripts"], &all["passed"], &all["failed"], &all["skipped"]),
        (&2.into(), &1.into(), &0.into(), &1.into())
    );
}

#[test]
fn json_and_junit_hold_the_report_of_a_failure() {
    let failure = failure();
    let (place, message, text) = (failure.place.clone(), failure.error.to_string(), failure.to_string());
    let ended = [("a.talk", Outcome::Failed(failure))];
    let object = &objects(&report(ReportFormat::Json, &ended))[0];
    let found = &object["failure"];
    assert_eq!((&object["status"], &found["place"]), (&"failed".into(), &Value::from(place)));
    assert_eq!((&found["message"], &found["report"]), (&Value::from(&*message), &Value::from(&*text)));
    assert_eq!(found["connecting"], false);

    let report = report(ReportFormat::Junit, &ended);
    let document = roxmltree::Document::parse(&report).unwrap();
    let suite = document.root_element().first_element_child().unwrap();
    assert_eq!(
        ["tests", "failures", "errors", "skipped"].map(|name| suite.attribute(name).unwrap()),
        ["1", "1", "0", "0"]
    );
    let failure = document.descendants().find(|node| node.has_tag_name("failure")).unwrap();
    assert_eq!((failure.attribute("message").unwrap(), failure.text().unwrap()), (&*in_xml(&message), &*in_xml(&text)));
}

/// As it is written, and not as bytes are.
#[test]
fn a_prompt_that_does_not_come_is_told_in_every_format() {
    let text = "<prompt \"{{user}}@h-{{n:\\d+}}:\\\"$ \"\n";
    let failed = || {
        let server = puppet(BTreeMap::from([("".into(), Says { bytes: b"ann@h-7\n".to_vec(), ..Says::default() })]));
        Outcome::Failed(match run(&Script::parse("a.talk", text).unwrap(), &RunOptions::to(server), None) {
            Outcome::Failed(failure) => failure,
            outcome => panic!("{outcome:?}"),
        })
    };
    let shown = |report: &str| report.contains(&format!("    - {text}    + < ann@h-7\n  hint: what ends"));
    let object = &objects(&report(ReportFormat::Json, &[("a.talk", failed())]))[0]["failure"];
    assert!(shown(object["report"].as_str().unwrap()), "{object}");
    let message =
        "the connection: expected a prompt like \"{{user}}@h-{{n:\\d+}}:\\\"$ \", but the line \"ann@h-7\" came";
    assert_eq!(object["message"], message);
    let junit = report(ReportFormat::Junit, &[("a.talk", failed())]);
    let document = roxmltree::Document::parse(&junit).unwrap();
    let failure = document.descendants().find(|node| node.has_tag_name("failure")).unwrap();
    assert!(failure.attribute("message") == Some(message) && shown(failure.text().unwrap()), "{junit}");
    for format in [ReportFormat::Text, ReportFormat::Tap] {
        let report = report(format, &[("a.talk", failed())]);
        let lines: Vec<&str> = report.lines().map(str::trim).collect();
        assert!(lines.windows(2).any(|pair| *pair == [&format!("- {}", text.trim())[..], "+ < ann@h-7"]), "{report}");
    }
}

#[test]
fn tap_numbers_its_points_and_explains_them() {
    let skipped = Outcome::Skipped("no # here".into());
    let failed = Outcome::Failed(failure());
    let report =
        report(ReportFormat::Tap, &[("a #1.talk", Outcome::Passed), ("b\n.talk", skipped), ("c.talk", failed)]);
    let expected = "\
TAP version 14
1..3
ok 1 - a \\#1.talk
  ---
  duration_ms: 6.045
  ...
ok 2 - b\\\\n.talk # SKIP no \\# here
  ---
  duration_ms: 6.045
  ...
not ok 3 - c.talk
  ---
  duration_ms: 6.045
  at: \"a.talk:3\"
";
    let (head, block) = report.split_at(expected.len());
    assert_eq!(head, expected);
    let lines: Vec<&str> = block.lines().collect();
    assert!(lines[0].starts_with("  message: \"the connection: expected"), "{block}");
    assert_eq!(lines[1..3], ["  report: |2", "      # A <title> \\e\\u{85} & \"more\""]);
    assert_eq!(lines.last(), Some(&"  ..."));
    assert!(lines[3..lines.len() - 1].iter().all(|line| line.starts_with("    ")), "{block}");
}

/// What a terminal would act on, and what would deceive whoever reads it.
fn acts(c: char) -> bool {
    c.is_control() && c != '\n' || "\u{202e}\u{200b}\u{feff}\u{e0041}".contains(c)
}

#[test]
fn a_script_called_anything_is_told_harmlessly_in_every_format() {
    let name = "a \x1b]0;owned\x07\u{9b}\u{202e}\u{200b}\u{feff}\u{e0041}\nok.talk";
    let shown = r"a \e]0;owned\a\u{9b}\u{202e}\u{200b}\u{feff}\u{e0041}\nok.talk";
    let server = puppet(BTreeMap::from([("Bob".into(), Says::lines(&["Hi"]))]));
    let failed = || match run(&Script::parse(name, "> Bob\n< Hello\n").unwrap(), &RunOptions::to(server.clone()), None)
    {
        failed @ Outcome::Failed(_) => failed,
        outcome => panic!("{outcome:?}"),
    };
    for format in [ReportFormat::Text, ReportFormat::Tap, ReportFormat::Json, ReportFormat::Junit] {
        let report = report(format, &[(name, failed()), (name, Outcome::Skipped(name.into()))]);
        assert!(!report.contains(acts), "{report:?}");
        assert!(!report.contains("\nok.talk"), "{report}");
    }
    let Outcome::Failed(failure) = failed() else { unreachable!() };
    let told = failure.to_string();
    assert!(told.starts_with(&format!("  {shown}:2  ")), "{told}");
    assert!(
        report(ReportFormat::Text, &[(name, Outcome::Skipped(name.into()))])
            .starts_with(&format!("skip {shown}  ({shown})\n"))
    );
    let json = report(ReportFormat::Json, &[(name, failed())]);
    assert_eq!(objects(&json)[0]["script"], name);
    assert_eq!(objects(&json)[0]["failure"]["place"], format!("{name}:2"));
    let junit = report(ReportFormat::Junit, &[(name, failed())]);
    let document = roxmltree::Document::parse(&junit).unwrap();
    let case = document.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
    assert_eq!(case.attribute("name").unwrap(), in_xml(name));
}

/// The server's address stands in the report, and a socket may be called anything.
#[cfg(unix)]
#[test]
fn a_socket_called_anything_is_told_harmlessly() {
    let name = format!("greeter-{}-\x1b[2J\nok.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let address = greeter_client::ServerAddress::unix(&path);
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::io::Read::read_exact(&mut stream, &mut [0; 4]).unwrap();
    });
    let script = Script::parse("a.talk", "> Bob\n< Hello\n").unwrap();
    let Outcome::Failed(unmet) = run(&script, &RunOptions::to(address.clone()), None) else { panic!("it has failed") };
    serving.join().unwrap();
    std::fs::remove_file(&path).unwrap();
    let Outcome::Failed(unconnected) = run(&script, &RunOptions::to(address.clone()), None) else {
        panic!("it has failed")
    };
    let alone = greeter_client::Connection::connect(&address).unwrap_err().to_string();
    for told in [unmet.to_string(), unconnected.to_string(), alone] {
        assert!(told.contains(r"\e[2J\nok.sock"), "{told}");
        assert!(!told.contains(acts) && !told.contains("\nok.sock"), "{told:?}");
    }
}

#[test]
fn a_server_that_cannot_be_had_is_an_error_and_no_failure() {
    let command = ["/nonexistent/server".to_owned()];
    let error = greeter_client::run::ServerProcess::start(&command, Duration::from_secs(1)).unwrap_err();
    let failure = Failure::without_server(&script("a.talk"), error);
    assert_eq!(
        failure.to_string(),
        "  a.talk  at its start\n    cannot start /nonexistent/server: No such file or directory (os error 2)"
    );
    let ended = [("a.talk", Outcome::Failed(Box::new(failure)))];
    assert!(report(ReportFormat::Junit, &ended).contains(r#"failures="0" errors="1""#));
    assert!(report(ReportFormat::Json, &ended).contains(r#""connecting":true"#));
}

/// The report of a script whose first tries fail, and the last of which ends like this.
fn report_after(failures: Vec<Outcome>, last: Outcome, format: ReportFormat) -> String {
    let retries = failures.len();
    let mut outcomes = failures.into_iter().chain([last]);
    let tries = with_retries(retries, || outcomes.next().unwrap());
    let mut reporter = Reporter::new(format, Vec::new(), 1);
    let script = script("a.talk");
    let ended = FinishedScript { script: &script, outcome: &tries.outcome, took: TOOK, earlier: &tries.earlier };
    reporter.add(&ended).unwrap();
    String::from_utf8(reporter.finish().unwrap()).unwrap()
}

/// In place of the time that a try took.
fn timeless(report: &str) -> String {
    regex::Regex::new(r"(at try 1, )\d+|(duration_ms.{2}|time=.)[\d.]+")
        .unwrap()
        .replace_all(report, "$1${2}N")
        .into_owned()
}

#[test]
fn a_script_that_passes_in_the_end_has_each_of_its_tries_in_every_format() {
    let told = failure().to_string().lines().next().unwrap().to_owned();
    let after = |format| timeless(&report_after(vec![Outcome::Failed(failure())], Outcome::Passed, format));
    let text = after(ReportFormat::Text);
    assert!(text.starts_with(&format!("fail a.talk  (at try 1, N ms)\n{told}\n")), "{text}");
    assert!(
        text.ends_with("\nok   a.talk  (at try 2, 6 ms)\n\n1 script: 1 passed (1 at try 2), 0 failed, 0 skipped\n")
    );

    let json = after(ReportFormat::Json).replace(":N", ":0");
    let [object, all] = &objects(&json)[..] else { panic!("{json}") };
    assert_eq!((&object["status"], &object["try"]), (&"passed".into(), &2.into()));
    assert!(object["earlier"][0]["failure"]["report"].as_str().unwrap().starts_with(&told), "{json}");
    assert_eq!(all["passed_at_try"], serde_json::json!({ "2": 1 }));

    let junit = after(ReportFormat::Junit);
    let document = roxmltree::Document::parse(&junit).unwrap();
    let case = document.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
    let parts: Vec<_> = case.children().filter(roxmltree::Node::is_element).collect();
    assert_eq!((parts[0].tag_name().name(), parts[0].text()), ("system-out", Some("passed at try 2")));
    assert_eq!((parts[1].tag_name().name(), parts[1].attribute("type")), ("flakyFailure", Some("failure")));
    assert!(parts[1].first_element_child().unwrap().text().unwrap().starts_with(&in_xml(&told)), "{junit}");
    assert!(junit.contains(r#"tests="1" failures="0" errors="0""#), "{junit}");

    let tap = after(ReportFormat::Tap);
    let head =
        "ok 1 - a.talk\n  ---\n  duration_ms: N\n  try: 2\n  earlier:\n    - duration_ms: N\n      at: \"a.talk:3\"\n";
    assert!(tap.contains(head) && tap.contains("      report: |2\n          # A <title>"), "{tap}");
}

#[test]
fn a_script_that_fails_at_every_try_is_one_failure() {
    let after = |format| {
        let failures = vec![Outcome::Failed(failure()), Outcome::Failed(failure())];
        timeless(&report_after(failures, Outcome::Failed(failure()), format))
    };
    let text = after(ReportFormat::Text);
    let heads: Vec<&str> = text.lines().filter(|line| line.contains("at try")).collect();
    assert_eq!(
        heads,
        ["fail a.talk  (at try 1, N ms)", "fail a.talk  (at try 2, 0 ms)", "FAIL a.talk  (at try 3, 6 ms)"]
    );
    assert!(text.ends_with("\n1 script: 0 passed, 1 failed, 0 skipped\n"), "{text}");
    let junit = after(ReportFormat::Junit);
    let document = roxmltree::Document::parse(&junit).unwrap();
    let count = |name| document.descendants().filter(|node| node.has_tag_name(name)).count();
    assert_eq!([count("failure"), count("rerunFailure"), count("system-out")], [1, 2, 0]);
    assert!(junit.contains(r#"tests="1" failures="1" errors="0""#), "{junit}");
    let json = after(ReportFormat::Json).replace(":N", ":0");
    assert_eq!(objects(&json)[0]["earlier"].as_array().unwrap().len(), 2);
}

#[test]
fn nothing_is_tried_again_but_what_fails() {
    let tried = |last: fn() -> Outcome, retries| {
        let mut tries = 0;
        let all = with_retries(retries, || {
            tries += 1;
            if tries > 2 { last() } else { Outcome::Failed(failure()) }
        });
        (tries, all.earlier.len(), matches!(all.outcome, Outcome::Failed(_)))
    };
    assert_eq!(tried(|| Outcome::Passed, 0), (1, 0, true));
    assert_eq!(tried(|| Outcome::Passed, 1), (2, 1, true));
    assert_eq!(tried(|| Outcome::Passed, 2), (3, 2, false));
    assert_eq!(tried(|| Outcome::Passed, 9), (3, 2, false));
    assert_eq!(tried(|| Outcome::Skipped("no".into()), 9), (3, 2, false));
}

/// Whoever reads that something was skipped takes it for a decision of the script's.
#[test]
fn what_was_not_run_is_neither_skipped_nor_passed_in_any_format() {
    let name = "b <\n>.talk";
    let report = |format| {
        let mut reporter = Reporter::new(format, Vec::new(), 3);
        let (outcome, ended, other) = (Outcome::Failed(failure()), script("a.talk"), script(name));
        reporter.add(&FinishedScript { script: &ended, outcome: &outcome, took: TOOK, earlier: &[] }).unwrap();
        reporter.add_not_run(&other).unwrap();
        reporter.add_not_run(&other).unwrap();
        assert_eq!((reporter.counts().scripts(), reporter.counts().ended()), (3, 1));
        String::from_utf8(reporter.finish().unwrap()).unwrap()
    };
    let text = report(ReportFormat::Text);
    assert!(text.ends_with("\n3 scripts: 0 passed, 1 failed, 0 skipped, 2 not run\n"), "{text}");
    let tap = report(ReportFormat::Tap);
    assert!(tap.starts_with("TAP version 14\n1..3\nnot ok 1 - a.talk\n"), "{tap}");
    assert!(tap.ends_with("\nBail out! not run, since a script has failed: 2 of 3\n"), "{tap}");
    let json = report(ReportFormat::Json);
    let objects = objects(&json);
    assert_eq!(
        objects[1],
        serde_json::json!({ "script": name, "file": name, "status": "not run" }),
        "and no time, for it took none"
    );
    assert_eq!(
        (&objects[3]["scripts"], &objects[3]["skipped"], &objects[3]["not_run"]),
        (&3.into(), &0.into(), &2.into())
    );
    let junit = report(ReportFormat::Junit);
    let document = roxmltree::Document::parse(&junit).unwrap();
    let suite = document.root_element().first_element_child().unwrap();
    assert_eq!(["tests", "failures", "skipped"].map(|name| suite.attribute(name).unwrap()), ["1", "1", "0"]);
    let parts: Vec<_> =
        suite.children().filter(roxmltree::Node::is_element).map(|part| part.tag_name().name()).collect();
    assert_eq!(parts, ["properties", "testcase"]);
    let properties: Vec<_> = document.descendants().filter(|node| node.has_tag_name("property")).collect();
    let values: Vec<_> = properties.iter().map(|node| (node.attribute("name"), node.attribute("value"))).collect();
    assert_eq!(values, [(Some("not run"), Some(name)); 2]);
}

fn text() -> impl Strategy<Value = String> {
    let c = prop_oneof![any::<char>(), (0..0x100_u32).prop_map(|c| char::from_u32(c).unwrap())];
    prop::collection::vec(c, 0..40).prop_map(|text| text.into_iter().collect())
}

proptest! {
    #[test]
    fn any_text_comes_back_out_of_json_and_junit(name in text(), reason in text()) {
        let ended = [(&*name, Outcome::Skipped(reason.clone()))];
        let json = report(ReportFormat::Json, &ended);
        let object = &objects(&json)[0];
        prop_assert_eq!((&object["script"], &object["reason"]), (&Value::from(&*name), &Value::from(&*reason)));

        let junit = report(ReportFormat::Junit, &ended);
        let document = roxmltree::Document::parse(&junit).unwrap();
        let case = document.descendants().find(|node| node.has_tag_name("testcase")).unwrap();
        let skipped = case.first_element_child().unwrap();
        prop_assert_eq!(case.attribute("name").unwrap(), in_xml(&name));
        prop_assert_eq!(skipped.attribute("message").unwrap(), in_xml(&reason));
        for report in [json, junit] {
            prop_assert!(!report.contains(|c: char| c.is_control() && c != '\n'), "{:?}", report);
        }
    }
}
