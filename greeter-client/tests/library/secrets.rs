//! What becomes of secrets in outcomes, in blessed scripts and in recordings. That no output of the
//! command has one is tested with the command.

use std::time::Duration;

use greeter_client::run::{Outcome, RunOptions, bless, run};
use greeter_client::talk::{Script, Variables};
use greeter_client::{Recorder, ServerAddress, Traffic};

use crate::kit::{Says, puppet};

fn server(table: &[(&str, &[&str])]) -> ServerAddress {
    puppet(table.iter().map(|(line, says)| ((*line).to_owned(), Says::lines(says))).collect())
}

/// Options with a password that the script may make a secret of.
fn options(address: &ServerAddress) -> RunOptions {
    let mut options = RunOptions::to(address.clone());
    options.timeout = Duration::from_millis(800);
    options.variables.set("password".parse().unwrap(), "hunter2");
    options
}

#[track_caller]
fn fails(options: &RunOptions, script: &str) -> String {
    match run(&Script::parse("a.talk", script).unwrap(), options, None) {
        Outcome::Failed(failure) => failure.to_string(),
        outcome => panic!("{outcome:?}"),
    }
}

#[track_caller]
fn becomes(address: &ServerAddress, before: &str, after: &str) {
    let script = Script::parse("a.talk", before).unwrap();
    let blessing = bless(&script, &options(address), None);
    assert!(matches!(blessing.outcome, Outcome::Passed), "{:?}", blessing.outcome);
    assert_eq!(String::from_utf8_lossy(&blessing.edits.apply(script.source())), after);
}

#[test]
fn a_secret_is_one_wherever_the_script_says_so_and_without_a_word_of_it() {
    let address = server(&[("hunter2", &["you are hunter2"])]);
    for script in ["secret password\n> {{password}}\n< x\n", "> {{password}}\n< x\nsecret password\n"] {
        assert!(fails(&options(&address), script).contains("      > ***\n    - < x\n    + < you are ***"));
    }
    let mut options = options(&address);
    assert!(fails(&options, "> {{password}}\n< x\n").contains("    + < you are hunter2"));
    options.variables.make_secret("password".parse().unwrap());
    assert!(fails(&options, "> {{password}}\n< x\n").contains("    + < you are ***"));
}

#[test]
fn every_value_that_a_secret_has_had_stays_one() {
    let address = server(&[("a", &["hunter2 and hunter3"])]);
    let script = "secret password\n> a\nset password = hunter3\n< x\n";
    assert!(fails(&options(&address), script).contains("    + < *** and ***"));
}

/// It would tell how long a secret is.
#[test]
fn bytes_are_counted_with_masks() {
    let address = server(&[("a", &["one", "hunter2"]), ("b", &["one", &format!("hunter2{}", "x".repeat(2000))])]);
    let behind = |line: &str| fails(&options(&address), &format!("secret password\n> {line}\n< x\n"));
    assert!(behind("a").contains("and 4 more bytes: \"***\\n\""));
    assert!(behind("b").contains("and 2004 more bytes: \"***xx"));
}

#[test]
fn with_a_short_secret_nothing_is_done() {
    let mut options = options(&server(&[]));
    options.variables.set("pin".parse().unwrap(), "123");
    let error = "{{pin}} is a secret, and its value has less than 4 bytes: too much would be masked";
    let report = fails(&options, "> {{pin}}\nsecret pin\n");
    assert_eq!(report, format!("  a.talk:1\n      > {{{{pin}}}}\n    {error}"));
    // Nor is one captured without a word, if by the last step of all.
    let options = self::options(&server(&[("a", &["12"])]));
    let report = fails(&options, "secret pin\n> a\n< {{pin}}\n");
    assert_eq!(report, format!("  a.talk:3\n      > a\n      < ***\n      < {{{{pin}}}}\n    {error}"));
}

/// How long a text is is no secret.
#[test]
fn what_is_computed_from_a_secret_is_one() {
    let address = server(&[]);
    let shown = |value: &str| {
        let script = format!(
            "secret password\nset more = bob:{{{{password}}}}\nlet v = {value}\n> <{{{{v}}}}>\n> {{{{nothing}}}}\n"
        );
        let report = fails(&options(&address), &script);
        report.lines().find_map(|line| line.strip_prefix("      > ")).map(str::to_owned)
    };
    assert_eq!(shown("len({{password}})").as_deref(), Some("<7>"));
    assert_eq!(shown("md5(hunter)").as_deref(), Some("<6b1b36cbb04b41490bfc0ab2bfa26f86>"));
    for value in ["md5({{password}})", "md5(x{{password}}x)", "md5({{more}})", "base64({{more}})"] {
        assert_eq!(shown(value).as_deref(), Some("<***>"), "{value}");
    }
    let mut options = options(&address);
    options.variables.set("password".parse().unwrap(), "1234");
    let report = fails(&options, "secret password\nlet next = {{password}}+1\n> {{next}}\n> {{nothing}}\n");
    assert!(report.contains("      > ***\n"), "{report}");
}

#[test]
fn what_is_blessed_has_the_names_of_secrets() {
    let address = server(&[("a", &["hunter2 and 2", "xhunter22"]), ("go {n}", &["hunter2 is {n}"])]);
    becomes(&address, "secret password\n> a\n< x\n", "secret password\n> a\n< {{password}} and 2\n< x{{password}}2\n");
    // The number of the second is not that of the password.
    becomes(
        &address,
        "secret password\nconnect c x2\nc> go {{#}}\n",
        "secret password\nconnect c x2\nc> go {{#}}\nc< {{password}} is {{#}}\n",
    );
    // Those of the run, too, of which the script does not speak.
    let mut options = options(&address);
    options.variables.make_secret("password".parse().unwrap());
    let script = Script::parse("a.talk", "> a\n").unwrap();
    let blessing = bless(&script, &options, None);
    let text = blessing.edits.apply(script.source());
    assert_eq!(String::from_utf8_lossy(&text), "> a\n< {{password}} and 2\n< x{{password}}2\n");
}

#[test]
fn a_recording_is_cut_where_no_secret_is() {
    let mut variables = Variables::default();
    variables.make_secret("password".parse().unwrap());
    variables.set("password".parse().unwrap(), "hunter2");
    // In pieces of 16 KiB, each with the start of the next secret at its end.
    let unit = format!("{}hunter2", "x".repeat(16 * 1024 - 3));
    for chunk in [usize::MAX, 1000] {
        let mut recorder = Recorder::new(Vec::new()).hiding(variables.clone());
        let sent = unit.repeat(3);
        for bytes in sent.as_bytes().chunks(chunk.min(sent.len())) {
            recorder.record(Traffic::Sent(bytes)).unwrap();
        }
        recorder.record(Traffic::Closed).unwrap();
        let text = String::from_utf8(recorder.into_output()).unwrap();
        let said: String = text.lines().filter_map(|line| line.strip_prefix(">\"")?.strip_suffix('"')).collect();
        assert!(said == sent.replace("hunter2", "***"), "{chunk}: {} bytes", said.len());
        Script::parse("new.talk", text).unwrap();
    }
}
