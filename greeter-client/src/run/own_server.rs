//! A server of the run's own, and what its script says of it.

use std::process::ExitStatus;
use std::time::Duration;

use super::error::StepError;
use super::process::{ServerError, ServerProcess};
use crate::talk::Signal;

/// How long a server may take to end after the last connection of a script that has passed: its
/// process closes its connections a moment before others can see that it has ended.
const FALLING: Duration = Duration::from_millis(50);

/// A server of the run's own.
pub(super) struct OwnServer<'a> {
    pub(super) server: &'a mut ServerProcess,
    /// The script has done what may end it, or has said how it ends.
    pub(super) is_end_asked: bool,
}

impl OwnServer<'_> {
    pub(super) fn signal(&mut self, signal: Signal) -> Result<(), ServerError> {
        self.is_end_asked |= !matches!(signal, Signal::Stop | Signal::Cont);
        self.server.signal(signal)
    }

    pub(super) fn exits(&mut self, expected: u8, timeout: Duration) -> Result<(), StepError> {
        match self.server.wait(timeout)? {
            Some(status) if status.code() == Some(expected.into()) => {
                self.is_end_asked = true;
                Ok(())
            }
            Some(status) => Err(StepError::Exit { expected, actual: status.to_string() }),
            None => Err(StepError::StillRuns { waited: timeout }),
        }
    }

    /// Whether an end with this status is one that the script has neither asked for nor been told
    /// of.
    pub(super) fn has_died(&self, status: ExitStatus) -> bool {
        !self.is_end_asked && !status.success()
    }
}

/// However well everything went, a server that has fallen over it has not passed.
pub(super) fn check_survival(server: &mut Option<OwnServer<'_>>) -> Result<(), StepError> {
    let Some(own) = server.as_mut().filter(|own| !own.is_end_asked) else { return Ok(()) };
    match own.server.wait(FALLING)? {
        Some(status) if own.has_died(status) => Err(StepError::ServerDied(status)),
        _ => Ok(()),
    }
}
