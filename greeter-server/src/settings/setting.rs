//! One option that was given, with its values and their places. Must not know which options there
//! are.

use std::fmt;

/// The option that names the file.
pub(super) const CONFIG: &str = "config";
/// The option that takes the rest of the command line.
pub(super) const EXEC_FLAG: &str = "--exec";
/// The option that each listener of the file is an address of.
pub(super) const LISTEN: &str = "listen";
/// What a listener of the file is called by.
pub(super) const LISTENER_NAME: &str = "name";
/// The options that a listener of the file may have for itself.
pub(super) const OF_LISTENERS: [&str; 5] =
    ["proxy-protocol", "tls-cert", "tls-key", "tls-client-ca", "tls-client-auth"];

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SettingSource {
    Default,
    /// Lines and columns count from 1.
    File {
        path: String,
        line: usize,
        column: usize,
    },
    /// The name of the variable.
    Environment(String),
    CommandLine,
}

/// An option that was given a value, or several if it may be repeated.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) source: SettingSource,
    pub(super) values: Vec<SettingValue>,
}

#[derive(Clone, Debug)]
pub(super) struct SettingValue {
    pub(super) text: String,
    pub(super) source: SettingSource,
}

/// What is wrong with the settings, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingProblem {
    pub(crate) source: SettingSource,
    pub(crate) message: String,
}

/// A listener of the file.
#[derive(Clone, Debug)]
pub(super) struct ListenerTable {
    pub(super) source: SettingSource,
    pub(super) name: Option<String>,
    /// Its address, by the name of the option, and what it has for itself.
    pub(super) settings: Vec<Setting>,
}

pub(super) fn find<'s>(settings: &'s [Setting], name: &str) -> Option<&'s Setting> {
    settings.iter().find(|setting| setting.name == name)
}

/// Returns whether an option was given in the environment or on the command line.
pub(super) fn is_above_the_file(settings: &[Setting], name: &str) -> bool {
    find(settings, name)
        .is_some_and(|given| matches!(given.source, SettingSource::Environment(_) | SettingSource::CommandLine))
}

/// The place, as far as it helps to find it.
impl fmt::Display for SettingProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            SettingSource::File { path, line, column } => write!(f, "{path}:{line}:{column}: ")?,
            SettingSource::Environment(variable) => write!(f, "{variable}: ")?,
            SettingSource::Default | SettingSource::CommandLine => {}
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, .. } => write!(f, "{path}:{line}"),
            Self::Environment(variable) => f.write_str(variable),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}
