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
    let mut run = Runner::new(options, None);
    if let Err(error) = run.session.adopt(stream, route) {
        return Err(Outcome::Failed(Box::new(Failure::at_the_end(script, error.into()))));
    }
    for (index, step) in script.steps().iter().enumerate() {
        match run.step(step) {
            Ok(AfterStep::Continue | AfterStep::Abandon) => {}
            Ok(AfterStep::Skip(reason)) => return Err(Outcome::Skipped(reason)),
            Err(error) => {
                return Err(Outcome::Failed(Box::new(Failure::at(script, index, error, run.session.transcript()))));
            }
        }
    }
    let Runner { mut session, variables, .. } = run;
    let transcript = session.transcript();
    session
        .hand_over()
        .map(|stream| (stream, variables))
        .map_err(|error| Outcome::Failed(Box::new(Failure { transcript, ..Failure::at_the_end(script, error.into()) })))
}
