//! Turns a file in TOML into settings, or into all that is wrong with it, by lines and columns.
//! Must not wait for anybody.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::known::{KnownOption, KnownOptions, meant};
use super::setting::{
    CONFIG, LISTEN, ListenerTable, OF_LISTENERS, Setting, SettingProblem, SettingSource, SettingValue,
};

/// The largest file that is read: many times as much as all settings take.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// How much that is wrong is told at a time. Whoever has made as many mistakes has given another
/// file than was meant.
const MAX_PROBLEMS: usize = 100;

const ADDRESS: &str = "address";
const NAME: &str = "name";

#[derive(Default)]
pub(super) struct FileSettings {
    pub(super) settings: Vec<Setting>,
    pub(super) listeners: Vec<ListenerTable>,
}

/// A file that is being read.
struct SettingsFile<'f> {
    path: String,
    text: &'f str,
    /// Where its lines begin, the first left out.
    line_starts: Vec<usize>,
    known: &'f KnownOptions,
    problems: Vec<(usize, SettingProblem)>,
}

/// Reads the file. What is wrong with its values is told only where all of it is TOML.
pub(super) fn read(path: &Path, known: &KnownOptions) -> Result<FileSettings, Vec<SettingProblem>> {
    let shown = greeter_args::printable(&path.to_string_lossy());
    let cannot_read = |message: String| vec![SettingProblem { source: SettingSource::Default, message }];
    let bytes = bytes_of(path).map_err(|error| cannot_read(format!("cannot read {shown}: {error}")))?;
    let text = String::from_utf8_lossy(&bytes);
    let line_starts = text.match_indices('\n').map(|(newline, _)| newline + 1).collect();
    let mut file = SettingsFile { path: shown, text: &text, known, line_starts, problems: Vec::new() };
    if let Err(error) = str::from_utf8(&bytes) {
        file.problem(error.valid_up_to(), "this is not UTF-8");
        return file.ended(FileSettings::default());
    }
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in errors.iter().take(MAX_PROBLEMS) {
        file.problem(error.span().map_or(0, |span| span.start), error.message());
    }
    // What follows in the same line follows from that, mostly.
    file.problems.dedup_by_key(|(_, problem)| match problem.source {
        SettingSource::File { line, .. } => line,
        _ => 0,
    });
    let settings = if errors.is_empty() { file.settings(table.get_ref()) } else { FileSettings::default() };
    file.ended(settings)
}

/// Reads a file of the usual kind: where there is a pipe, it would be for whoever writes to it.
fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(bytes)
}

impl SettingsFile<'_> {
    fn settings(&mut self, table: &DeTable<'_>) -> FileSettings {
        let mut settings = FileSettings::default();
        for (key, value) in table {
            if self.is_full() {
                break;
            }
            let name: &str = key.get_ref();
            match value.get_ref() {
                DeValue::Array(tables) if name == LISTEN && tables.iter().any(|table| table.get_ref().is_table()) => {
                    settings.listeners = tables.iter().filter_map(|table| self.listener(table)).collect();
                }
                DeValue::Table(_) if name == LISTEN => {
                    self.problem(key.span().start, "a listener is written as [[listen]], with two brackets");
                }
                _ => match self.known.find(name).filter(|option| option.name != CONFIG) {
                    Some(option) => settings.settings.extend(self.setting(*option, key, value)),
                    None => self.unknown(key),
                },
            }
        }
        settings
    }

    fn unknown(&mut self, key: &Spanned<DeString<'_>>) {
        let name: &str = key.get_ref();
        let message = if name == CONFIG || self.known.is_switch(name) {
            format!("'{name}' is for the command line only")
        } else {
            let names = self.known.names().filter(|name| *name != CONFIG);
            unknown_key(name, meant(name, names))
        };
        self.problem(key.span().start, &message);
    }

    fn listener(&mut self, table: &Spanned<DeValue<'_>>) -> Option<ListenerTable> {
        let start = table.span().start;
        let Some(keys) = table.get_ref().as_table() else {
            self.problem(start, "where one listener is a table, each is");
            return None;
        };
        let mut listener = ListenerTable { source: self.source(start), name: None, settings: Vec::new() };
        for (key, value) in keys {
            let name: &str = key.get_ref();
            match name {
                NAME => listener.name = self.text(name, value),
                ADDRESS => listener.settings.extend(self.text(name, value).map(|text| {
                    let source = self.source(value.span().start);
                    let value = SettingValue { text, source: source.clone() };
                    Setting { name: LISTEN, source, values: vec![value] }
                })),
                _ => match self.known.find(name) {
                    Some(option) if OF_LISTENERS.contains(&name) => {
                        listener.settings.extend(self.setting(*option, key, value));
                    }
                    Some(_) => {
                        let message = format!("'{name}' is not of a listener: put it above the first [[listen]]");
                        self.problem(key.span().start, &message);
                    }
                    None => {
                        let meant = meant(name, OF_LISTENERS.into_iter().chain([ADDRESS, NAME]));
                        self.problem(key.span().start, &unknown_key(name, meant));
                    }
                },
            }
        }
        if !keys.keys().any(|key| key.get_ref() == ADDRESS) {
            self.problem(start, "this listener has no address, as in address = \"127.0.0.1:8080\"");
        }
        Some(listener)
    }

    fn setting(
        &mut self,
        option: KnownOption,
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Setting> {
        let KnownOption { name, may_be_repeated, .. } = option;
        let listed = match value.get_ref() {
            DeValue::Array(values) if may_be_repeated => values.iter().collect(),
            _ => vec![value],
        };
        let mut values = Vec::new();
        for value in listed {
            if self.is_full() {
                break;
            }
            let text = self.text(name, value)?;
            let start = value.span().start;
            if let Err(message) = self.known.check(name, &text) {
                self.problem(start, &message);
                continue;
            }
            values.push(SettingValue { text, source: self.source(start) });
        }
        Some(Setting { name, source: self.source(key.span().start), values })
    }

    /// Returns the value as the command line would have it.
    fn text(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        Some(match value.get_ref() {
            DeValue::String(text) => text.clone().into_owned(),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => number.to_string(),
                Err(_) => number.to_string(),
            },
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            DeValue::Array(_) => {
                self.problem(value.span().start, &format!("'{name}' has one value, and this is a list"));
                return None;
            }
            DeValue::Table(_) => {
                self.problem(value.span().start, &format!("'{name}' is a value, and this is a table"));
                return None;
            }
        })
    }

    fn is_full(&self) -> bool {
        self.problems.len() >= MAX_PROBLEMS
    }

    fn problem(&mut self, byte: usize, message: &str) {
        if self.is_full() {
            return;
        }
        let problem = SettingProblem { source: self.source(byte), message: message.to_owned() };
        self.problems.push((byte, problem));
    }

    fn source(&self, byte: usize) -> SettingSource {
        let line = self.line_starts.partition_point(|start| *start <= byte);
        let line_start = line.checked_sub(1).map_or(0, |before| self.line_starts[before]);
        let before = self.text.get(line_start..byte).unwrap_or_default();
        SettingSource::File { path: self.path.clone(), line: line + 1, column: before.chars().count() + 1 }
    }

    /// Returns the settings, or what is wrong, from the top to the bottom.
    fn ended(mut self, settings: FileSettings) -> Result<FileSettings, Vec<SettingProblem>> {
        if self.problems.is_empty() {
            return Ok(settings);
        }
        let is_full = self.is_full();
        self.problems.sort_by_key(|(byte, _)| *byte);
        if is_full && let Some((_, last)) = self.problems.last_mut() {
            last.message.push_str("; and there is more");
        }
        Err(self.problems.into_iter().map(|(_, problem)| problem).collect())
    }
}

fn unknown_key(name: &str, meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("unknown key '{name}'; did you mean {meant}?"),
        None => format!("unknown key '{name}'"),
    }
}
