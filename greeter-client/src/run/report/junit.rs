//! `JUnit` XML. Written by hand: what is hard about it is that XML has no way to say most control
//! characters, and no library takes that off us.

use std::time::Duration;

use super::result::{FinishedScript, ScriptCounts};
use crate::net::escape::xml_text;
use crate::run::outcome::Outcome;

pub(super) fn script(ended: &FinishedScript<'_>) -> String {
    let (name, file) = (attribute(ended.script.name()), attribute(ended.script.source().name()));
    let case = format!(r#"<testcase classname="{file}" name="{name}" file="{file}" time="{}""#, seconds(ended.took));
    match ended.outcome {
        Outcome::Passed => format!("    {case}/>\n"),
        Outcome::Skipped(reason) => {
            format!("    {case}>\n      <skipped message=\"{}\"/>\n    </testcase>\n", attribute(reason))
        }
        Outcome::Failed(failure) => {
            let tag = if failure.error.is_connecting() { "error" } else { "failure" };
            let (message, report) = (attribute(&failure.error.to_string()), xml_text(&failure.to_string()));
            format!("    {case}>\n      <{tag} message=\"{message}\">{report}</{tag}>\n    </testcase>\n")
        }
    }
}

pub(super) fn document(counts: &ScriptCounts, took: Duration, scripts: &str) -> String {
    let ScriptCounts { failed, unconnected, skipped, .. } = counts;
    let numbers = format!(
        r#"name="greeter-client" tests="{}" failures="{failed}" errors="{unconnected}" skipped="{skipped}" time="{}""#,
        counts.scripts(),
        seconds(took)
    );
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {numbers}>\n  <testsuite {numbers}>\n{scripts}  \
         </testsuite>\n</testsuites>\n"
    )
}

fn seconds(duration: Duration) -> String {
    format!("{:.6}", duration.as_secs_f64())
}

/// In an attribute, a newline that stands for itself would be read as a blank.
fn attribute(text: &str) -> String {
    xml_text(text).replace('\n', "&#10;")
}
