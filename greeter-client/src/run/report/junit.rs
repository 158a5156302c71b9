//! `JUnit` XML. Written by hand: what is hard about it is that XML has no way to say most control
//! characters, and no library takes that off us.
//!
//! Of a script that was tried again it has what Maven Surefire writes, which others have taken over
//! from there: `flakyFailure` where it has passed in the end, and else `rerunFailure`.

use std::time::Duration;

use super::result::{FinishedScript, ScriptCounts};
use crate::net::escape::xml_text;
use crate::run::outcome::{Failure, Outcome};
use crate::run::tries::FailedTry;
use crate::talk::Script;

pub(super) fn script(ended: &FinishedScript<'_>) -> String {
    let (name, file) = (attribute(ended.script.name()), attribute(ended.script.source().name()));
    let case = format!(r#"<testcase classname="{file}" name="{name}" file="{file}" time="{}""#, seconds(ended.took));
    let last = match (ended.outcome, ended.later_try()) {
        (Outcome::Passed, None) => return format!("    {case}/>\n"),
        // For whoever does not know the elements of the earlier ones.
        (Outcome::Passed, Some(number)) => format!("      <system-out>passed at try {number}</system-out>\n"),
        (Outcome::Skipped(reason), _) => format!("      <skipped message=\"{}\"/>\n", attribute(reason)),
        (Outcome::Failed(failure), _) => {
            let (tag, message, report) = failed(failure);
            format!("      <{tag} message=\"{message}\">{report}</{tag}>\n")
        }
    };
    let prefix = if matches!(ended.outcome, Outcome::Failed(_)) { "rerun" } else { "flaky" };
    let earlier: String = ended.earlier.iter().map(|failed| earlier(prefix, failed)).collect();
    format!("    {case}>\n{last}{earlier}    </testcase>\n")
}

fn earlier(prefix: &str, FailedTry { failure, took }: &FailedTry) -> String {
    let (tag, message, report) = failed(failure);
    let name = format!("{prefix}{}{}", tag[..1].to_uppercase(), &tag[1..]);
    format!(
        "      <{name} type=\"{tag}\" message=\"{message}\" time=\"{}\"><stackTrace>{report}</stackTrace></{name}>\n",
        seconds(*took)
    )
}

/// What a failure is called, and its message and its report.
fn failed(failure: &Failure) -> (&'static str, String, String) {
    let tag = if failure.error.is_connecting() { "error" } else { "failure" };
    (tag, attribute(&failure.message()), xml_text(&failure.to_string()))
}

/// As a property, since every `testcase` is one that was run: there is no word for others but
/// `skipped`.
pub(super) fn not_run(script: &Script) -> String {
    format!("      <property name=\"not run\" value=\"{}\"/>\n", attribute(script.name()))
}

pub(super) fn document(counts: &ScriptCounts, took: Duration, not_run: &str, scripts: &str) -> String {
    let ScriptCounts { failed, unconnected, skipped, .. } = counts;
    let numbers = format!(
        r#"name="greeter-client" tests="{}" failures="{failed}" errors="{unconnected}" skipped="{skipped}" time="{}""#,
        counts.ended(),
        seconds(took)
    );
    let properties =
        if not_run.is_empty() { String::new() } else { format!("    <properties>\n{not_run}    </properties>\n") };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {numbers}>\n  <testsuite {numbers}>\n{properties}\
         {scripts}  </testsuite>\n</testsuites>\n"
    )
}

fn seconds(duration: Duration) -> String {
    format!("{:.6}", duration.as_secs_f64())
}

/// In an attribute, a newline that stands for itself would be read as a blank.
fn attribute(text: &str) -> String {
    xml_text(text).replace('\n', "&#10;")
}
