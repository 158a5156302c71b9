//! How scripts are run: the options of a run and their defaults.

use std::time::Duration;

use crate::net::Eol;
use crate::session::Target;
use crate::talk::Variables;

/// Options of a run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunOptions {
    /// The target of a connection that the script does not send elsewhere. Without it, only the
    /// run's own [`ServerProcess`](super::ServerProcess) tells one. The default is none.
    pub target: Option<Target>,
    /// How lines end until the script says otherwise. The default is LF.
    pub eol: Eol,
    /// The timeout of each expectation until the script sets another. The default is 5 s.
    pub timeout: Duration,
    /// How long a whole script may take. The default is 60 s, so that a script which waits again
    /// and again ends, too.
    pub max_time: Duration,
    /// The variables that are bound from the start, and those that are secrets whatever the script
    /// says. The default is none.
    pub variables: Variables,
    /// What a person types, before the name of a script, to have it [blessed](super::bless()) in
    /// the same way as it was run, as a shell reads it. Reports advise that where it helps. The
    /// default is none, and no advice.
    pub bless_command: Option<String>,
}

impl RunOptions {
    /// Creates options whose connections go to `target`, a [`ServerAddress`](crate::ServerAddress)
    /// for instance; the rest is default.
    #[must_use]
    pub fn to(target: impl Into<Target>) -> Self {
        Self { target: Some(target.into()), ..Self::default() }
    }
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            target: None,
            eol: Eol::Lf,
            timeout: Duration::from_secs(5),
            max_time: Duration::from_secs(60),
            variables: Variables::default(),
            bless_command: None,
        }
    }
}
