//! How a script went; and of one that failed, where and why.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::StepError;
use super::options::RunOptions;
use super::own_server::OwnServer;
use super::process::{ServerError, ServerExit};
use crate::net::escape::one_line;
use crate::session::{Actual, Entry, SessionError};
use crate::talk::{Action, Script, Secrets};

/// How long a server may take to end after it has ended a connection, so that the one explains the
/// other.
const DYING: Duration = Duration::from_millis(250);

/// The outcome of a script.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// Everything was as the script says.
    Passed,
    /// The run lacks something that the script [requires](crate::talk::Capability); the words say
    /// what.
    Skipped(String),
    /// Something was not.
    Failed(Box<Failure>),
}

/// A failed script: where it failed, and why. Displayed, it is a report of several lines, indented,
/// without a last newline, and harmless on a terminal.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The comment above the step.
    pub title: Option<String>,
    /// The file and the line, as in `hello.talk:3`; without the line, if it did not fail at a step.
    pub place: String,
    /// How far the script had come.
    pub at: FailurePoint,
    /// Why it failed.
    pub error: StepError,
    /// How the run's own server has ended, if it has: that may be why.
    pub server: Option<ServerExit>,
    /// The last events before that, on any connection.
    pub transcript: Vec<Entry>,
    /// The file that [`bless`](super::bless()) can probably change so that it says what happened.
    pub blessable: Option<PathBuf>,
    /// The command for that, without the file: [`RunOptions::bless_command`].
    pub bless_command: Option<String>,
    /// What is not to be told.
    pub(super) secrets: Secrets,
}

/// How far a script had come when it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailurePoint {
    /// It could not begin.
    Start,
    /// To this step; it is shown as it is written.
    Step(String),
    /// To the checks at its end.
    End,
}

impl Failure {
    /// Returns why it failed, in a line and with `***` in place of secrets: what
    /// [`error`](Self::error) says itself has them as they are.
    #[must_use]
    pub fn message(&self) -> String {
        self.secrets.mask_text(&self.error.to_string())
    }

    pub(super) fn at(script: &Script, index: usize, error: StepError, transcript: Vec<Entry>) -> Self {
        let step = &script.steps()[index];
        let source = script.source_of(step);
        let is_timed = index > 0 && matches!(script.steps()[index - 1].action(), Action::Within(_));
        let blessable = error.is_blessable(is_timed) && !script.is_included(step);
        Self {
            title: step.title().map(str::to_owned),
            place: format!("{}:{}", source.name(), step.line()),
            at: FailurePoint::Step(one_line(source.line(step.line())).to_string()),
            blessable: source.path().filter(|_| blessable).map(Path::to_owned),
            error,
            server: None,
            bless_command: None,
            secrets: Secrets::default(),
            transcript,
        }
    }

    pub(super) fn at_the_end(script: &Script, error: StepError) -> Self {
        let blessable = matches!(&error, StepError::Session(SessionError::Mismatch(mismatch)) if matches!(mismatch.actual, Actual::Line(_)));
        Self {
            title: None,
            place: script.name().to_owned(),
            at: FailurePoint::End,
            blessable: script.source().path().filter(|_| blessable).map(Path::to_owned),
            error,
            server: None,
            bless_command: None,
            secrets: Secrets::default(),
            transcript: Vec::new(),
        }
    }

    /// Creates the failure of a script that could not begin, because its own server could not be
    /// started.
    #[must_use]
    pub fn without_server(script: &Script, error: ServerError) -> Self {
        Self {
            title: None,
            place: script.name().to_owned(),
            at: FailurePoint::Start,
            blessable: None,
            error: error.into(),
            server: None,
            bless_command: None,
            secrets: Secrets::default(),
            transcript: Vec::new(),
        }
    }

    /// Creates the failure of a script that is over, and whose [server's
    /// end](super::ServerProcess::end) was not as it should be.
    #[must_use]
    pub fn at_servers_end(script: &Script, error: ServerError) -> Self {
        Self::at_the_end(script, error.into())
    }

    /// Adds how the server has ended. Where an end has failed the script, the server may be about
    /// to.
    pub(super) fn with_end_of(self, server: Option<OwnServer<'_>>) -> Self {
        let within = if self.error.is_about_an_end() { DYING } else { Duration::ZERO };
        let Some(own) = server else { return self };
        let end = own.server.wait_for_end(within).ok().flatten();
        let has_died = end.as_ref().is_some_and(|end| own.has_died(end.status));
        Self { blessable: self.blessable.filter(|_| !has_died), server: end, ..self }
    }

    pub(super) fn advised(self, options: &RunOptions) -> Self {
        Self { bless_command: options.bless_command.clone(), ..self }
    }

    /// It was tried to bless the script, in vain.
    pub(super) fn unblessed(self) -> Self {
        Self { blessable: None, ..self }
    }
}
