//! Turns the declaration of a command line into the names of its options. Must not read any value.

use argh::{ArgsInfo, FlagInfoKind, FromArgs, Optionality};

use super::setting::{Setting, SettingSource, SettingValue};

/// The options that take a value.
#[derive(Clone, Debug)]
pub(super) struct KnownOptions {
    options: Vec<KnownOption>,
    /// What else there is on a command line.
    switches: Vec<&'static str>,
    /// Finds out what is wrong with an option and its value, in one word.
    check: fn(&str) -> Result<(), String>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct KnownOption {
    /// Without its dashes.
    pub(super) name: &'static str,
    pub(super) may_be_repeated: bool,
    /// As the help has it: a value, or words.
    pub(super) default: &'static str,
}

impl KnownOptions {
    pub(super) fn of<T: FromArgs + ArgsInfo>() -> Self {
        let (mut options, mut switches) = (Vec::new(), Vec::new());
        for flag in T::get_args_info().flags {
            let name = flag.long.trim_start_matches('-');
            match flag.kind {
                FlagInfoKind::Switch => switches.push(name),
                FlagInfoKind::Option { .. } => options.push(KnownOption {
                    name,
                    may_be_repeated: flag.optionality == Optionality::Repeating,
                    default: default_in(flag.description),
                }),
            }
        }
        Self { options, switches, check: check::<T> }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &KnownOption> {
        self.options.iter()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> + use<'_> {
        self.options.iter().map(|option| option.name)
    }

    pub(super) fn find(&self, name: &str) -> Option<&KnownOption> {
        self.options.iter().find(|option| option.name == name)
    }

    pub(super) fn is_switch(&self, name: &str) -> bool {
        self.switches.contains(&name)
    }

    /// Finds out whether the command line would take this value, and says what it would say.
    pub(super) fn check(&self, name: &str, value: &str) -> Result<(), String> {
        (self.check)(&format!("--{name}={value}"))
    }

    /// Splits a command line that was understood into its options, by name, and its switches.
    pub(super) fn split(&self, words: impl IntoIterator<Item = String>) -> (Vec<Setting>, Vec<String>) {
        let (mut settings, mut switches) = (Vec::<Setting>::new(), Vec::new());
        // There is nothing that two dashes could keep apart from the options.
        let mut words = words.into_iter().filter(|word| word != "--");
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (&*word, None),
            };
            let Some(option) = name.strip_prefix("--").and_then(|name| self.find(name)) else {
                switches.push(word);
                continue;
            };
            let Some(text) = value.or_else(|| words.next()) else { break };
            let value = SettingValue { text, source: SettingSource::CommandLine };
            match settings.iter_mut().find(|setting| setting.name == option.name) {
                Some(setting) => setting.values.push(value),
                None => settings.push(Setting {
                    name: option.name,
                    source: SettingSource::CommandLine,
                    values: vec![value],
                }),
            }
        }
        (settings, switches)
    }
}

fn check<T: FromArgs>(word: &str) -> Result<(), String> {
    greeter_args::parse_from::<T>("", "", [word]).map(drop).map_err(|exit| exit.message().to_owned())
}

/// Returns the default that a help text ends with.
fn default_in(description: &'static str) -> &'static str {
    let default = description.rsplit_once("(default: ").and_then(|(_, default)| default.strip_suffix(')'));
    default.unwrap_or("none")
}

/// Returns the name that was meant by one with a slip in it, if there is any.
pub(super) fn meant<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let slips = known.map(|known| (distance(&name.replace('_', "-"), known), known));
    let (slips, known) = slips.min_by_key(|(slips, _)| *slips)?;
    (slips <= known.len().div_ceil(4)).then_some(known)
}

/// Returns how many letters must be added, left out or exchanged to make one word of the other.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.chars().enumerate() {
            let exchanged = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_anything_else_is_not() {
        let known = ["listen", "max-connections", "max-connections-per-address", "log", "drain"];
        for (name, expected) in [
            ("max-conections", Some("max-connections")),
            ("max_connections", Some("max-connections")),
            ("max-connections-per-adress", Some("max-connections-per-address")),
            ("lissten", Some("listen")),
            ("lgo", None),
            ("logg", Some("log")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(meant(name, known.into_iter()), expected, "{name}");
        }
    }
}
