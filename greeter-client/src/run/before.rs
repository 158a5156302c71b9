//! A script on a connection that is open already, and that others use behind it.

use super::options::RunOptions;
use super::outcome::{Failure, Outcome};
use super::runner::{AfterStep, Runner};
use crate::net::{Route, Stream};
use crate::talk::{Script, Variables};

/// Runs `script` on `stream`, which `route` has led to, as the connection without a name. It comes
/// back with nothing unread on it, and with what has a value then.
///
/// # Errors
///
/// Any outcome but that it has passed.
pub(crate) fn run_before(
    script: &Script,
    options: &RunOptions,
    stream: Stream,
    route: Route,
) -> Result<(Stream, Variables), Outcome> {
    let mut run = Runner::new(script, options, None);
    let outcome = walk(&mut run, script, stream, route);
    let secrets = run.variables.secrets();
    outcome.map(|stream| (stream, run.variables.clone())).map_err(|outcome| outcome.masked(secrets))
}

fn walk(run: &mut Runner<'_>, script: &Script, stream: Stream, route: Route) -> Result<Stream, Outcome> {
    let failed = |failure: Failure| Outcome::Failed(Box::new(failure));
    run.session.adopt(stream, route).map_err(|error| failed(Failure::at_the_end(script, error.into())))?;
    for (index, step) in script.steps().iter().enumerate() {
        match run.step(step) {
            Ok(AfterStep::Continue | AfterStep::Abandon) => {}
            Ok(AfterStep::Skip(reason)) => return Err(Outcome::Skipped(reason)),
            Err(error) => return Err(failed(Failure::at(script, index, error, run.session.transcript()))),
        }
    }
    let transcript = run.session.transcript();
    run.session.hand_over().map_err(|error| failed(Failure { transcript, ..Failure::at_the_end(script, error.into()) }))
}
