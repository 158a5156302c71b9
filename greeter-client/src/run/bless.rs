//! Turns a script and what really comes into edits, after which the script says what came: runs it,
//! and works that out where what comes is not what was expected. It must not write files.
//!
//! It walks the same steps with the same runner, and looks before each expectation of a line
//! whether that will be met. What is met stays as it is written. What is not is replaced, inserted
//! or deleted ([`Edits`]), and the run goes on.
//!
//! A line that nobody expects is one that has come by the time the script says or does the next
//! thing, so that before that the run waits for [`QUIET`]. What is said never changes; nor do raw
//! expectations, prompts, `<bytes`, `<nothing`, and what fails for being late behind `within`:
//! where one of them is not met, the script fails, unless it is met behind lines that are inserted.
//! So it does where a server of the run's own has [died](StepError::ServerDied), where a step that
//! is not met stands in an included file, which other scripts may share, and where what came holds
//! a secret that cannot be written as its variable's name.

mod align;
mod any_order;
mod blesser;
mod lookahead;
mod mismatch;
mod spell;
mod write;

pub use blesser::QUIET;

use super::error::StepError;
use super::options::RunOptions;
use super::outcome::{Failure, Outcome};
use super::process::ServerProcess;
use crate::talk::{Edits, Script, Secrets};
use blesser::{Blesser, failed};

/// The result of blessing a script.
#[derive(Debug)]
#[must_use]
pub struct Blessing {
    /// [`Passed`](Outcome::Passed): with the edits, the script says what happened.
    pub outcome: Outcome,
    /// The changes to [`Script::source`]; empty unless it passed. No new line holds a secret, but
    /// an old one may.
    pub edits: Edits,
    /// What is not to be shown of the old lines.
    pub secrets: Secrets,
}

/// It ran, and was not to be blessed.
impl From<Outcome> for Blessing {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, edits: Edits::default(), secrets: Secrets::default() }
    }
}

/// Runs `script` as [`run`](super::run()) does, and returns how to change it so that it says what
/// happened.
///
/// ```no_run
/// use greeter_client::ServerAddress;
/// use greeter_client::run::{Outcome, RunOptions, bless};
/// use greeter_client::talk::Script;
///
/// let script = Script::parse("hello.talk", "# One name, one greeting.\n> Bob\n< Hello, Rob\n")?;
/// let address: ServerAddress = "127.0.0.1:8080".parse()?;
/// let blessing = bless(&script, &RunOptions::to(address), None);
/// if let Outcome::Passed = blessing.outcome {
///     assert_eq!(blessing.edits.apply(script.source()), b"# One name, one greeting.\n> Bob\n< Hello, Bob\n");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn bless(script: &Script, options: &RunOptions, server: Option<&mut ServerProcess>) -> Blessing {
    let mut blesser = Blesser::new(script, options, server);
    let walked = blesser.walk().and_then(|edits| match edits.parse(script) {
        Ok(_) => Ok(edits),
        Err(problems) => Err(failed(Failure::at_the_end(script, StepError::InvalidBlessing(problems)))),
    });
    let secrets = blesser.run.variables.secrets().clone();
    match walked {
        Ok(edits) => Blessing { outcome: Outcome::Passed, edits, secrets },
        Err(outcome) => outcome.masked(&secrets).into(),
    }
}
