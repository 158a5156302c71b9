//! For people.

use super::result::{FinishedScript, ScriptCounts};
use crate::net::escape::one_line;
use crate::run::outcome::Outcome;

pub(super) fn script(ended: &FinishedScript<'_>) -> String {
    let name = one_line(ended.script.name().as_bytes());
    let earlier = ended.earlier.iter().zip(1..).map(|(failed, number)| {
        let took = failed.took.as_millis();
        format!("fail {name}  (at try {number}, {took} ms)\n{}\n", failed.failure)
    });
    let at = ended.later_try().map_or_else(String::new, |number| format!("at try {number}, "));
    let took = ended.took.as_millis();
    let last = match ended.outcome {
        Outcome::Passed => format!("ok   {name}  ({at}{took} ms)\n"),
        Outcome::Skipped(reason) => format!("skip {name}  ({})\n", one_line(reason.as_bytes())),
        Outcome::Failed(failure) => format!("FAIL {name}  ({at}{took} ms)\n{failure}\n"),
    };
    earlier.chain([last]).collect()
}

pub(super) fn end(counts: &ScriptCounts) -> String {
    let scripts = counts.scripts();
    let s = if scripts == 1 { "" } else { "s" };
    let later: Vec<String> =
        counts.passed_at.iter().map(|(number, scripts)| format!("{scripts} at try {number}")).collect();
    let later = if later.is_empty() { String::new() } else { format!(" ({})", later.join(", ")) };
    let failed = counts.failed + counts.unconnected;
    let not_run = if counts.not_run == 0 { String::new() } else { format!(", {} not run", counts.not_run) };
    format!(
        "\n{scripts} script{s}: {} passed{later}, {failed} failed, {} skipped{not_run}\n",
        counts.passed, counts.skipped
    )
}
