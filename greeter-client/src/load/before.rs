//! The script that each connection is through with before the load begins.

use std::time::Duration;

use super::config::Load;
use super::error::LoadError;
use super::generator::socket::Connected;
use crate::net::escape::one_line;
use crate::net::{Deadline, Route, Stream};
use crate::run::{Outcome, RunOptions, run_before};
use crate::talk::{Action, ConnectionName, Incoming, Outgoing, Script, Variables};

/// How long it may take.
const MAX_TIME: Duration = Duration::from_secs(60);

/// How long the last words of TLS may wait for the server.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Whether a script leaves the connection of the load as the load needs it.
///
/// # Errors
///
/// The first step that does not.
pub(super) fn check(script: &Script) -> Result<(), LoadError> {
    for step in script.steps() {
        let Some(why) = objection(step.action()) else { continue };
        let source = script.source_of(step);
        return Err(LoadError::Before {
            place: format!("{}:{}", one_line(source.name().as_bytes()), step.line()),
            step: one_line(source.line(step.line())).to_string(),
            why,
        });
    }
    Ok(())
}

/// Why a step cannot stand before a load.
fn objection(action: &Action) -> Option<&'static str> {
    const ALONE: &str = "before a load there is one connection, without a name";
    const OPEN: &str = "the connection stays open for the load";
    match action {
        Action::Send { to, .. } if *to != ConnectionName::Main => Some(ALONE),
        Action::Expect { from, .. } if *from != ConnectionName::Main => Some(ALONE),
        Action::StartTls(name) if *name != ConnectionName::Main => Some(ALONE),
        Action::Connect(connect) if connect.name.is_some() => Some(ALONE),
        Action::Connect(_) => Some("the connection is that of the load, and open already"),
        Action::Send { what: Outgoing::Eof | Outgoing::Reset, .. } => Some(OPEN),
        Action::Expect { what: Incoming::Eof | Incoming::Reset | Incoming::Closed, .. } => Some(OPEN),
        Action::Close(_) | Action::Abandon => Some(OPEN),
        Action::Signal(_) | Action::Exits(_) => Some("a load has no server of its own"),
        _ => None,
    }
}

/// Runs the script on connection `number`, counted from 1, and gives that back, with what has
/// values then.
pub(super) fn run(
    load: &Load,
    script: &Script,
    number: usize,
    connected: Connected,
    route: &Route,
) -> Result<(Connected, Variables), LoadError> {
    let mut options = RunOptions { eol: load.eol, max_time: MAX_TIME, ..RunOptions::default() };
    options.timeout = load.timeout.unwrap_or(MAX_TIME);
    options.variables = load.variables.clone();
    options.variables.set_slot(number);
    options.variables.set_number(number as u64);
    let failed = |report: String| LoadError::BeforeFailed { connection: number, report };
    let (stream, variables) =
        run_before(script, &options, Stream::of(connected), route.clone()).map_err(|outcome| match outcome {
            Outcome::Failed(failure) => failed(failure.to_string()),
            Outcome::Skipped(reason) => failed(format!("  it was skipped: {}", one_line(reason.as_bytes()))),
            Outcome::Passed => failed(String::new()),
        })?;
    let connected = stream.into_parts(&Deadline::after(Some(LAST_WORDS)));
    connected.map(|connected| (connected, variables)).map_err(|error| failed(format!("  {error}")))
}
