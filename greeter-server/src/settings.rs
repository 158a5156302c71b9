//! Turns the command line, the environment and a file into the words of one command line, and knows
//! where each of them comes from. Must not know what an option means.
//!
//! An option that takes a value is a setting. It has the same name everywhere (`--line-timeout`,
//! `GREETER_LINE_TIMEOUT`, `line-timeout = "10s"`), and its value is a text that the parser of the
//! command line understands, or refuses in the same words. So an option that is added is one in the
//! environment and in the file as well. Of two values for one name, that of the higher level holds:
//! defaults, then the file, the environment, the command line. A switch is for the command line
//! alone.

mod environment;
mod file;
mod known;
mod print;
mod setting;

use std::ffi::OsString;
use std::path::Path;

use argh::{ArgsInfo, FromArgs};
use greeter_args::Exit;

use self::environment::EnvironmentSettings;
use self::known::KnownOptions;
use self::setting::{
    CONFIG, EXEC_FLAG, LISTEN, LISTENER_NAME, ListenerTable, OF_LISTENERS, Setting, SettingValue, find,
};
pub(crate) use self::setting::{SettingProblem, SettingSource};

/// Where the settings of this process come from. The file can be read more than once.
pub(crate) struct Sources {
    known: KnownOptions,
    switches: Vec<String>,
    flags: Vec<Setting>,
    environment: EnvironmentSettings,
}

/// What holds: of each option that was given, what was given at the highest level.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    known: KnownOptions,
    switches: Vec<String>,
    given: Vec<Setting>,
    listeners: Vec<ListenerTable>,
}

/// What holds for one listener.
#[derive(Clone)]
pub(crate) struct ListenerSettings {
    /// The name that the file gives it.
    pub(crate) name: Option<String>,
    /// Settings with one address to listen on.
    pub(crate) settings: Settings,
    /// The options that the file gives it for itself.
    pub(crate) own: Vec<&'static str>,
}

impl Sources {
    /// Reads the command line and the environment of this process.
    ///
    /// # Errors
    ///
    /// An [`Exit`] where the arguments ask for help or for the version, or cannot be understood.
    pub(crate) fn of_process<T: FromArgs + ArgsInfo>(name: &str, version: &str) -> Result<Self, Exit> {
        let words = with_rest_as_values(std::env::args_os().skip(1));
        greeter_args::parse_from::<T>(name, version, &words)?;
        let known = KnownOptions::of::<T>();
        let (flags, switches) = known.split(words.iter().map(|word| word.to_string_lossy().into_owned()));
        let environment = environment::read(&known, std::env::vars_os());
        Ok(Self { known, switches, flags, environment })
    }

    /// Returns whether there is a file.
    pub(crate) fn has_file(&self) -> bool {
        self.file().is_some()
    }

    /// Returns the file's name, from the highest level that has one.
    fn file(&self) -> Option<&str> {
        let named = find(&self.flags, CONFIG).or_else(|| find(&self.environment.settings, CONFIG));
        named.and_then(|config| config.values.first()).map(|path| path.text.as_str())
    }

    /// Reads the file, if there is one, and returns what holds, or all that is wrong.
    pub(crate) fn settings(&self) -> Result<Settings, Vec<SettingProblem>> {
        let mut problems = self.environment.problems.clone();
        let mut file = file::FileSettings::default();
        if let Some(path) = self.file() {
            match file::read(Path::new(path), &self.known) {
                Ok(settings) => file = settings,
                Err(in_file) => problems.extend(in_file),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let (mut given, mut listeners) = (file.settings, file.listeners);
        for setting in self.environment.settings.iter().chain(&self.flags) {
            given.retain(|lower| lower.name != setting.name);
            if setting.name == LISTEN {
                listeners.clear();
            }
            given.push(setting.clone());
        }
        Ok(Settings { known: self.known.clone(), switches: self.switches.clone(), given, listeners })
    }

    /// Warns of variables that were meant for this program, perhaps, and mean nothing to it.
    pub(crate) fn warn_of_unknown_variables(&self) {
        for (variable, meant) in &self.environment.unknown {
            let did_you_mean = meant.as_deref();
            tracing::warn!(variable, did_you_mean, "An environment variable is no setting.");
        }
    }
}

impl ListenerSettings {
    /// Returns its address, as given.
    pub(crate) fn address(&self) -> &str {
        self.settings.values(LISTEN).first().copied().unwrap_or_default()
    }
}

/// Has each word behind `--exec` be a value of it, whatever it looks like.
fn with_rest_as_values(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    if let Some(start) = words.iter().position(|word| *word == *EXEC_FLAG)
        && start + 1 < words.len()
    {
        let rest = words.split_off(start + 1);
        words.pop();
        words.extend(rest.into_iter().map(|word| {
            let mut value = OsString::from(format!("{EXEC_FLAG}="));
            value.push(word);
            value
        }));
    }
    words
}

impl Settings {
    /// Parses the words.
    pub(crate) fn options<T: FromArgs>(&self) -> Result<T, Vec<SettingProblem>> {
        let words = self.given.iter().flat_map(|Setting { name, values, .. }| {
            values.iter().map(move |value| format!("--{name}={}", value.text))
        });
        let words = self.switches.iter().cloned().chain(words);
        greeter_args::parse_from("", "", words)
            .map_err(|exit| vec![SettingProblem { source: SettingSource::Default, message: exit.message().to_owned() }])
    }

    /// Returns whether there is an address to listen on among what was given.
    pub(crate) fn has_listeners(&self) -> bool {
        !self.listeners.is_empty() || self.has(LISTEN)
    }

    /// Returns whether an option was given a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        find(&self.given, name).is_some_and(|setting| !setting.values.is_empty())
    }

    /// Returns what holds for each listener; for one at each of these addresses, if none is given.
    pub(crate) fn of_listeners(&self, otherwise: &[String]) -> Vec<ListenerSettings> {
        self.tables(otherwise).iter().map(|table| self.of_listener(table)).collect()
    }

    /// Returns the listeners as the file may have them, each with what it has for itself.
    fn tables(&self, otherwise: &[String]) -> Vec<ListenerTable> {
        if !self.listeners.is_empty() {
            return self.listeners.clone();
        }
        let addresses = match find(&self.given, LISTEN) {
            Some(listen) if !listen.values.is_empty() => listen.values.clone(),
            _ => {
                let default = |text: &String| SettingValue { text: text.clone(), source: SettingSource::Default };
                otherwise.iter().map(default).collect()
            }
        };
        let tables = addresses.into_iter().map(|address| {
            let source = address.source.clone();
            let listen = Setting { name: LISTEN, source, values: vec![address] };
            ListenerTable { source: SettingSource::Default, name: None, settings: vec![listen] }
        });
        tables.collect()
    }

    /// Returns what holds for this listener. What it has for itself stands in the file, and so
    /// below the environment and the command line.
    fn of_listener(&self, table: &ListenerTable) -> ListenerSettings {
        let Self { known, switches, given, .. } = self;
        let (known, switches, given) = (known.clone(), switches.clone(), given.clone());
        let mut settings = Self { known, switches, given, listeners: Vec::new() };
        settings.given.retain(|setting| setting.name != LISTEN);
        let mut own = Vec::new();
        for setting in &table.settings {
            let is_overridden = setting::is_above_the_file(&self.given, setting.name) && setting.name != LISTEN;
            if !is_overridden {
                settings.given.retain(|other| other.name != setting.name);
                settings.given.push(setting.clone());
                own.push(setting.name);
            }
        }
        ListenerSettings { name: table.name.clone(), settings, own }
    }

    /// Returns where the value of an option comes from.
    pub(crate) fn source_of(&self, name: &str) -> SettingSource {
        let setting = find(&self.given, name);
        let source = setting.map(|setting| setting.values.first().map_or(&setting.source, |value| &value.source));
        source.cloned().unwrap_or(SettingSource::Default)
    }

    /// Returns where the first value comes from that is meant.
    pub(crate) fn source_of_value(&self, is_meant: impl Fn(&str) -> bool) -> SettingSource {
        let all = self.given.iter().chain(self.listeners.iter().flat_map(|listener| &listener.settings));
        let mut values = all.flat_map(|setting| &setting.values);
        let value = values.find(|value| is_meant(&value.text));
        value.map_or(SettingSource::Default, |value| value.source.clone())
    }

    /// Returns the names of the options that have another value here than there; those of listeners
    /// by what holds for each of these now, and held before. Where is listened is not looked at.
    pub(crate) fn changed_from(
        &self,
        other: &Self,
        listeners: &[(&ListenerSettings, &ListenerSettings)],
    ) -> Vec<&'static str> {
        let is_changed = |name: &&str| match *name {
            LISTEN => false,
            name if OF_LISTENERS.contains(&name) => {
                listeners.iter().any(|(now, then)| now.settings.values(name) != then.settings.values(name))
            }
            name => self.values(name) != other.values(name),
        };
        let are_renamed = listeners.iter().any(|(now, then)| now.name != then.name);
        self.known.names().filter(is_changed).chain(are_renamed.then_some(LISTENER_NAME)).collect()
    }

    /// Returns the values of an option, or its default in words. An empty list is no value.
    fn values(&self, name: &str) -> Vec<&str> {
        match find(&self.given, name) {
            Some(setting) if !setting.values.is_empty() => {
                setting.values.iter().map(|value| value.text.as_str()).collect()
            }
            _ => self.known.find(name).map(|option| option.default).into_iter().collect(),
        }
    }

    /// Returns the settings as a file that has them hold again, with where each comes from.
    pub(crate) fn to_toml(&self) -> String {
        print::to_toml(&self.known, &self.given, &self.listeners)
    }
}
