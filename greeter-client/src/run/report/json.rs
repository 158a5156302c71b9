//! JSON Lines. Written by hand, for the objects are few and flat; the tests read them with a
//! library.

use std::time::Duration;

use super::result::{FinishedScript, ScriptCounts, milliseconds};
use crate::net::escape::json_string;
use crate::run::outcome::{Failure, Outcome};
use crate::run::tries::FailedTry;
use crate::talk::Script;

pub(super) fn script(ended: &FinishedScript<'_>) -> String {
    let (status, more) = match ended.outcome {
        Outcome::Passed => ("passed", String::new()),
        Outcome::Skipped(reason) => ("skipped", format!(r#","reason":{}"#, json_string(reason))),
        Outcome::Failed(failed) => ("failed", format!(r#","failure":{}"#, failure(failed))),
    };
    let tries = ended.later_try().map_or_else(String::new, |number| {
        let earlier: Vec<String> = ended.earlier.iter().map(failed_try).collect();
        format!(r#","try":{number},"earlier":[{}]"#, earlier.join(","))
    });
    let took = milliseconds(ended.took);
    format!("{{{},\"status\":\"{status}\",\"duration_ms\":{took}{more}{tries}}}\n", names(ended.script))
}

pub(super) fn not_run(script: &Script) -> String {
    format!("{{{},\"status\":\"not run\"}}\n", names(script))
}

pub(super) fn end(counts: &ScriptCounts, took: Duration) -> String {
    let ScriptCounts { passed, passed_at, skipped, failed, unconnected, not_run } = counts;
    let later: Vec<String> = passed_at.iter().map(|(number, scripts)| format!(r#""{number}":{scripts}"#)).collect();
    format!(
        "{{\"scripts\":{},\"passed\":{passed},\"passed_at_try\":{{{}}},\"failed\":{},\"skipped\":{skipped},\
         \"not_run\":{not_run},\"duration_ms\":{}}}\n",
        counts.scripts(),
        later.join(","),
        failed + unconnected,
        milliseconds(took)
    )
}

fn names(script: &Script) -> String {
    format!(r#""script":{},"file":{}"#, json_string(script.name()), json_string(script.source().name()))
}

fn failed_try(failed: &FailedTry) -> String {
    format!(r#"{{"duration_ms":{},"failure":{}}}"#, milliseconds(failed.took), failure(&failed.failure))
}

fn failure(failure: &Failure) -> String {
    let title = failure.title.as_deref().map_or_else(|| "null".to_owned(), json_string);
    format!(
        r#"{{"title":{title},"place":{},"message":{},"connecting":{},"report":{}}}"#,
        json_string(&failure.place),
        json_string(&failure.message()),
        failure.error.is_connecting(),
        json_string(&failure.to_string()),
    )
}
