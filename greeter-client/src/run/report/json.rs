//! JSON Lines. Written by hand, for the objects are few and flat; the tests read them with a library.

use std::fmt::Write;
use std::time::Duration;

use super::{Ended, Tally, milliseconds};
use crate::net::escape::is_deceptive;
use crate::run::Outcome;

pub(super) fn script(ended: &Ended<'_>) -> String {
    let (status, more) = match ended.outcome {
        Outcome::Passed => ("passed", String::new()),
        Outcome::Skipped(reason) => ("skipped", format!(r#","reason":{}"#, string(reason))),
        Outcome::Failed(failure) => {
            let title = failure.title.as_deref().map_or_else(|| "null".to_owned(), string);
            let more = format!(
                r#","failure":{{"title":{title},"place":{},"message":{},"connecting":{},"report":{}}}"#,
                string(&failure.place),
                string(&failure.fault.to_string()),
                failure.fault.is_connecting(),
                string(&failure.to_string()),
            );
            ("failed", more)
        }
    };
    let (name, file) = (string(ended.script.name()), string(ended.script.source().name()));
    let took = milliseconds(ended.took);
    format!("{{\"script\":{name},\"file\":{file},\"status\":\"{status}\",\"duration_ms\":{took}{more}}}\n")
}

pub(super) fn end(tally: &Tally, took: Duration) -> String {
    let Tally { passed, skipped, failed, unconnected } = tally;
    format!(
        "{{\"scripts\":{},\"passed\":{passed},\"failed\":{},\"skipped\":{skipped},\"duration_ms\":{}}}\n",
        tally.scripts(),
        failed + unconnected,
        milliseconds(took)
    )
}

/// The text in quotes. What a terminal could act on, or eyes be deceived by, is escaped, too, which the format does not ask for.
pub(crate) fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() || is_deceptive(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(quoted, "\\u{unit:04x}").expect("a string takes everything");
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
