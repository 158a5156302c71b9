//! JSON Lines. Written by hand, for the objects are few and flat; the tests read them with a
//! library.

use std::time::Duration;

use super::result::{FinishedScript, ScriptCounts, milliseconds};
use crate::net::escape::json_string;
use crate::run::outcome::Outcome;

pub(super) fn script(ended: &FinishedScript<'_>) -> String {
    let (status, more) = match ended.outcome {
        Outcome::Passed => ("passed", String::new()),
        Outcome::Skipped(reason) => ("skipped", format!(r#","reason":{}"#, json_string(reason))),
        Outcome::Failed(failure) => {
            let title = failure.title.as_deref().map_or_else(|| "null".to_owned(), json_string);
            let more = format!(
                r#","failure":{{"title":{title},"place":{},"message":{},"connecting":{},"report":{}}}"#,
                json_string(&failure.place),
                json_string(&failure.error.to_string()),
                failure.error.is_connecting(),
                json_string(&failure.to_string()),
            );
            ("failed", more)
        }
    };
    let (name, file) = (json_string(ended.script.name()), json_string(ended.script.source().name()));
    let took = milliseconds(ended.took);
    format!("{{\"script\":{name},\"file\":{file},\"status\":\"{status}\",\"duration_ms\":{took}{more}}}\n")
}

pub(super) fn end(counts: &ScriptCounts, took: Duration) -> String {
    let ScriptCounts { passed, skipped, failed, unconnected } = counts;
    format!(
        "{{\"scripts\":{},\"passed\":{passed},\"failed\":{},\"skipped\":{skipped},\"duration_ms\":{}}}\n",
        counts.scripts(),
        failed + unconnected,
        milliseconds(took)
    )
}
