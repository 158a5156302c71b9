//! Turns the environment into settings. Must not take a variable that was meant for somebody else.

use std::ffi::OsString;

use super::known::{KnownOptions, meant};
use super::setting::{Setting, SettingProblem, SettingSource, SettingValue};

/// What the names of all variables begin with.
const PREFIX: &str = "GREETER_";

/// Variables that begin so and are others': of greeter-client; and of Kubernetes, where a service
/// is called greeter.
const FOREIGN: [&str; 3] = ["GREETER_CONNECT", "GREETER_PORT", "GREETER_SERVICE"];

#[derive(Default)]
pub(super) struct EnvironmentSettings {
    pub(super) settings: Vec<Setting>,
    pub(super) problems: Vec<SettingProblem>,
    /// Variables that mean nothing here, each with the one that was meant, perhaps.
    pub(super) unknown: Vec<(String, Option<String>)>,
}

/// Reads the variables. One that is empty is as good as none.
pub(super) fn read(
    known: &KnownOptions,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> EnvironmentSettings {
    let mut read = EnvironmentSettings::default();
    let mut variables: Vec<_> = variables.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    variables.sort();
    for (variable, value) in variables {
        let Some(variable) = variable.to_str().filter(|variable| variable.starts_with(PREFIX)) else { continue };
        if FOREIGN.iter().any(|foreign| is_one_of(variable, foreign)) {
            continue;
        }
        let source = SettingSource::Environment(variable.to_owned());
        let Some(option) = known.iter().find(|option| variable_of(option.name) == variable) else {
            let name = variable[PREFIX.len()..].to_ascii_lowercase();
            read.unknown.push((variable.to_owned(), meant(&name, known.names()).map(variable_of)));
            continue;
        };
        let Some(value) = value.to_str() else {
            read.problems.push(SettingProblem { source, message: "it is not valid UTF-8".to_owned() });
            continue;
        };
        let texts = if option.may_be_repeated { value.split_whitespace().collect() } else { vec![value] };
        if texts.is_empty() {
            continue;
        }
        let refused = texts.iter().find_map(|text| known.check(option.name, text).err());
        if let Some(message) = refused {
            read.problems.push(SettingProblem { source, message });
            continue;
        }
        let value = |text: &str| SettingValue { text: text.to_owned(), source: source.clone() };
        let values = texts.into_iter().map(value).collect();
        read.settings.push(Setting { name: option.name, source, values });
    }
    read
}

/// Returns the name of an option's variable.
fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// Returns whether it is this variable, or one with more behind its name.
fn is_one_of(variable: &str, foreign: &str) -> bool {
    variable.strip_prefix(foreign).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}
