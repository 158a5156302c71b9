//! The [Test Anything Protocol](https://testanything.org/tap-version-14-specification.html).

use std::time::Duration;

use super::result::{FinishedScript, ScriptCounts, milliseconds};
use crate::net::escape::{json_string, one_line};
use crate::run::outcome::{Failure, Outcome};

pub(super) fn head(scripts: usize) -> String {
    format!("TAP version 14\n1..{scripts}\n")
}

pub(super) fn script(number: usize, ended: &FinishedScript<'_>) -> String {
    let name = escaped(ended.script.name());
    let point = match ended.outcome {
        Outcome::Passed => format!("ok {number} - {name}\n"),
        Outcome::Skipped(reason) => format!("ok {number} - {name} # SKIP {}\n", escaped(reason)),
        Outcome::Failed(_) => format!("not ok {number} - {name}\n"),
    };
    let failure = if let Outcome::Failed(failure) = ended.outcome { Some(&**failure) } else { None };
    let mut yaml = outcome(ended.took, failure);
    if let Some(number) = ended.later_try() {
        yaml += &format!("try: {number}\nearlier:\n");
        for failed in ended.earlier {
            let item = outcome(failed.took, Some(&failed.failure));
            let dashes = ["  - "].into_iter().chain(std::iter::repeat("    "));
            yaml.extend(item.lines().zip(dashes).map(|(line, dash)| format!("{dash}{line}\n")));
        }
    }
    let yaml: String = yaml.lines().map(|line| format!("  {line}\n")).collect();
    format!("{point}  ---\n{yaml}  ...\n")
}

/// A plan that is not kept says why.
pub(super) fn end(counts: &ScriptCounts) -> String {
    match counts.not_run {
        0 => String::new(),
        not_run => format!("Bail out! not run, since a script has failed: {not_run} of {}\n", counts.scripts()),
    }
}

/// How one try went, as YAML. A string of JSON is one of YAML, too; the report is for people to
/// read, and as a block it stays readable.
fn outcome(took: Duration, failure: Option<&Failure>) -> String {
    let took = format!("duration_ms: {}\n", milliseconds(took));
    let Some(failure) = failure else { return took };
    let report: String = failure.to_string().lines().map(|line| format!("  {line}\n")).collect();
    let (at, message) = (json_string(&failure.place), json_string(&failure.message()));
    format!("{took}at: {at}\nmessage: {message}\nreport: |2\n{report}")
}

/// Harmless, on one line; a number sign would begin a directive.
fn escaped(text: &str) -> String {
    one_line(text.as_bytes()).to_string().replace('\\', r"\\").replace('#', r"\#")
}
