//! For people.

use super::result::{FinishedScript, ScriptCounts};
use crate::net::escape::one_line;
use crate::run::outcome::Outcome;

pub(super) fn script(ended: &FinishedScript<'_>) -> String {
    let name = one_line(ended.script.name().as_bytes());
    let took = ended.took.as_millis();
    match ended.outcome {
        Outcome::Passed => format!("ok   {name}  ({took} ms)\n"),
        Outcome::Skipped(reason) => format!("skip {name}  ({})\n", one_line(reason.as_bytes())),
        Outcome::Failed(failure) => format!("FAIL {name}  ({took} ms)\n{failure}\n"),
    }
}

pub(super) fn end(counts: &ScriptCounts) -> String {
    let scripts = counts.scripts();
    let s = if scripts == 1 { "" } else { "s" };
    let failed = counts.failed + counts.unconnected;
    format!("\n{scripts} script{s}: {} passed, {failed} failed, {} skipped\n", counts.passed, counts.skipped)
}
