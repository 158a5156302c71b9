//! The [Test Anything Protocol](https://testanything.org/tap-version-14-specification.html).

use super::result::{FinishedScript, milliseconds};
use crate::net::escape::{json_string, one_line};
use crate::run::outcome::Outcome;

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
    let mut yaml = format!("duration_ms: {}\n", milliseconds(ended.took));
    if let Outcome::Failed(failure) = ended.outcome {
        // A string of JSON is one of YAML, too; the report is for people to read, and as a block it
        // stays readable.
        let report: String = failure.to_string().lines().map(|line| format!("  {line}\n")).collect();
        yaml += &format!(
            "at: {}\nmessage: {}\nreport: |2\n{report}",
            json_string(&failure.place),
            json_string(&failure.error.to_string())
        );
    }
    let yaml: String = yaml.lines().map(|line| format!("  {line}\n")).collect();
    format!("{point}  ---\n{yaml}  ...\n")
}

/// Harmless, on one line; a number sign would begin a directive.
fn escaped(text: &str) -> String {
    one_line(text.as_bytes()).to_string().replace('\\', r"\\").replace('#', r"\#")
}
