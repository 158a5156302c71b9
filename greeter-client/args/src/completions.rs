//! Turns the words of an unfinished command line into those that may take the last one's place, and
//! a program's name into what makes a shell ask for them. It must not know any program's options.
//!
//! The scripts know nothing either: what there is to choose from is in the types that the arguments
//! are parsed into, so a script need not be renewed with its program.

use std::ffi::OsString;
use std::str::FromStr;

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind, SubCommandInfo};

use crate::{COLUMN, Exit, VERSION_ENTRY};

/// Tells the scripts that the name of a file is to be completed, which shells do themselves.
const FILES: &str = "<files>";

/// What is said of a value: nothing, as its option has said it.
const UNDESCRIBED: &str = "";

/// The option of a program that has no commands.
const OPTION: &str = "--completions";

/// A shell whose words can be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// GNU bash.
    Bash,
    /// fish.
    Fish,
    /// zsh.
    Zsh,
}

impl Shell {
    /// The names of all of them.
    pub const NAMES: [&'static str; 3] = ["bash", "fish", "zsh"];

    fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("completions/bash"),
            Self::Fish => include_str!("completions/fish"),
            Self::Zsh => include_str!("completions/zsh"),
        }
    }

    /// A candidate as the shell wants it, with what it means where the shell shows that.
    fn candidate(self, word: &str, description: &str) -> String {
        match self {
            _ if description.is_empty() => format!("{word}\n"),
            Self::Bash => format!("{word}\n"),
            Self::Fish => format!("{word}\t{description}\n"),
            Self::Zsh => format!("{}:{description}\n", word.replace(':', "\\:")),
        }
    }
}

impl FromStr for Shell {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "bash" => Ok(Self::Bash),
            "fish" => Ok(Self::Fish),
            "zsh" => Ok(Self::Zsh),
            _ => Err(format!("write {}", Self::NAMES.join(", "))),
        }
    }
}

/// What a word may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The name of a file.
    Files,
    /// Words, and what each means.
    Of(Vec<(String, String)>),
}

impl Choice {
    /// Nothing that a program knows.
    pub const NONE: Self = Self::Of(Vec::new());

    /// Words that need no description.
    #[must_use]
    pub fn of(words: &[&str]) -> Self {
        Self::Of(words.iter().map(|&word| (word.to_owned(), UNDESCRIBED.to_owned())).collect())
    }
}

/// A program whose words can be completed.
#[derive(Debug)]
pub struct Completions<'a> {
    /// The program's name.
    pub program: &'a str,
    /// The word behind which the scripts ask: a command or an option of the program.
    pub call: &'a str,
    /// What its arguments are.
    pub arguments: CommandInfoWithArgs,
    /// What a value may be, by what the help calls it.
    pub values: fn(&str) -> Choice,
}

impl Completions<'_> {
    /// Returns the shell's script; or, where there are words, what the last of them may become, in
    /// the form that the script reads.
    #[must_use]
    pub fn text(&self, shell: Shell, words: &[String]) -> String {
        let Some((current, before)) = words.split_last() else {
            let function = self.program.replace('-', "_");
            let script = shell.script().replace("@program@", self.program).replace("@call@", self.call);
            return script.replace("@function@", &function);
        };
        match self.choice(before, current) {
            Choice::Files => format!("{FILES}\n"),
            Choice::Of(candidates) => {
                let fitting = candidates.iter().filter(|(word, _)| word.starts_with(strip_equals(current)));
                fitting.map(|(word, description)| shell.candidate(word, first_sentence(description))).collect()
            }
        }
    }

    fn choice(&self, before: &[String], current: &str) -> Choice {
        let place = WordPlace::behind(&self.arguments, before, self.call);
        let command = place.command;
        if let Some(name) = place.awaited {
            return self.values_of(name);
        }
        if let Some((name, _)) = current.split_once('=').filter(|_| current.starts_with("--") && !place.options_ended) {
            return match option(command, name).and_then(value_name).map(|value| self.values_of(value)) {
                Some(Choice::Of(values)) => {
                    Choice::Of(values.into_iter().map(|(value, what)| (format!("{name}={value}"), what)).collect())
                }
                _ => Choice::NONE,
            };
        }
        if current.starts_with('-') && !place.options_ended {
            return Choice::Of(self.options(command));
        }
        if !command.commands.is_empty() {
            let describe = |sub: &SubCommandInfo| (sub.name.to_owned(), sub.command.description.to_owned());
            return Choice::Of(command.commands.iter().map(describe).collect());
        }
        // The last one may come again.
        match command.positionals.get(place.positionals).or(command.positionals.last()) {
            Some(positional) => self.values_of(positional.name),
            None if place.options_ended => Choice::NONE,
            // There is nothing else that it could be.
            None => Choice::Of(self.options(command)),
        }
    }

    fn values_of(&self, name: &str) -> Choice {
        match name {
            "file" | "path" => Choice::Files,
            "shell" => Choice::of(&Shell::NAMES),
            name => (self.values)(name),
        }
    }

    fn options(&self, command: &CommandInfoWithArgs) -> Vec<(String, String)> {
        let flags = command.flags.iter().filter(|flag| !flag.hidden);
        let mut options: Vec<_> = flags.map(|flag| (flag.long.to_owned(), flag.description.to_owned())).collect();
        options.push(("--version".to_owned(), "display the version".to_owned()));
        if self.call == OPTION {
            options.push((OPTION.to_owned(), "print what makes a shell complete these options".to_owned()));
        }
        options
    }
}

/// Returns what to print and end with if the arguments of this process ask for completions, as
/// those of a program without commands do: `--completions bash`, and, from the script that this
/// prints, `--completions bash -- WORD…`.
#[must_use]
pub fn asked<T: ArgsInfo>(program: &str, values: fn(&str) -> Choice) -> Option<Exit> {
    asked_in::<T>(program, values, std::env::args_os().skip(1))
}

fn asked_in<T: ArgsInfo>(
    program: &str,
    values: fn(&str) -> Choice,
    arguments: impl IntoIterator<Item = OsString>,
) -> Option<Exit> {
    let words = arguments.into_iter().map(|word| word.to_string_lossy().into_owned());
    let mut words = words.skip_while(|word| word != "--" && word.split('=').next() != Some(OPTION));
    let called = words.next().filter(|word| word != "--")?;
    let shell = match called.split_once('=') {
        Some((_, shell)) => Some(shell.to_owned()),
        None => words.next(),
    };
    let Some(shell) = shell else {
        return Some(Exit::usage(program, &format!("no value provided for option '{OPTION}'")));
    };
    let completions = Completions { program, call: OPTION, arguments: T::get_args_info(), values };
    Some(match shell.parse() {
        Ok(shell) => Exit::Asked(completions.text(shell, &words.skip(1).collect::<Vec<_>>())),
        Err(why) => Exit::usage(program, &format!("cannot parse option '{OPTION}' with value '{shell}': {why}")),
    })
}

/// Adds the option that [`asked`] looks for to a help text whose options stand in groups.
#[must_use]
pub fn in_help(exit: Exit) -> Exit {
    match exit {
        Exit::Asked(text) => {
            let names = Shell::NAMES.join(", ");
            let entry = format!(
                "  {OPTION} <shell>\n{:COLUMN$}print what makes a shell complete these options:\n{:COLUMN$}{names} (default: none)\n",
                "", ""
            );
            Exit::Asked(text.replacen(VERSION_ENTRY, &format!("{VERSION_ENTRY}{entry}"), 1))
        }
        exit => exit,
    }
}

/// Where on a command line a word is.
struct WordPlace<'a> {
    command: &'a CommandInfoWithArgs,
    /// The value of an option, by what the help calls it.
    awaited: Option<&'a str>,
    positionals: usize,
    options_ended: bool,
}

impl<'a> WordPlace<'a> {
    fn behind(root: &'a CommandInfoWithArgs, before: &[String], call: &str) -> Self {
        let mut place = Self { command: root, awaited: None, positionals: 0, options_ended: false };
        for word in before {
            if word == "=" && place.awaited.is_some() {
                continue;
            }
            if place.awaited.take().is_some() {
                continue;
            }
            let found = place.command.commands.iter().find(|sub| sub.name == word);
            match (word.strip_prefix('-'), found) {
                _ if place.options_ended => place.positionals += 1,
                (Some("-"), _) => place.options_ended = true,
                (Some(_), _) if word == OPTION && call == OPTION => place.awaited = Some("shell"),
                (Some(_), _) => place.awaited = option(place.command, word).and_then(value_name),
                (None, Some(sub)) => place.command = &sub.command,
                (None, None) => place.positionals += 1,
            }
        }
        place
    }
}

/// bash makes a word of its own of the `=` between an option and its value.
fn strip_equals(word: &str) -> &str {
    word.strip_prefix('=').unwrap_or(word)
}

fn option<'a>(command: &'a CommandInfoWithArgs, word: &str) -> Option<&'a FlagInfo<'static>> {
    let short = word.strip_prefix('-').and_then(|name| name.parse().ok());
    command.flags.iter().find(|flag| flag.long == word || (short.is_some() && flag.short == short))
}

fn value_name(flag: &FlagInfo<'static>) -> Option<&'static str> {
    match flag.kind {
        FlagInfoKind::Option { arg_name } => Some(arg_name),
        FlagInfoKind::Switch => None,
    }
}

/// As much of a description as stands on a line.
fn first_sentence(description: &str) -> &str {
    let line = description.lines().next().unwrap_or_default();
    let end = [". ", "; "].iter().filter_map(|end| line.find(end)).min().unwrap_or(line.len());
    line[..end].trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use argh::FromArgs;

    use super::*;

    /// A program without commands.
    #[derive(ArgsInfo, FromArgs)]
    struct Options {
        /// how loud; or else it whispers. Take care
        #[argh(option, arg_name = "volume")]
        #[expect(dead_code, reason = "only the declaration is looked at")]
        volume: Option<String>,
    }

    fn asked(words: &[&str]) -> Option<Exit> {
        let values = |name: &str| if name == "volume" { Choice::of(&["high", "low"]) } else { Choice::NONE };
        asked_in::<Options>("prog", values, words.iter().map(OsString::from))
    }

    #[track_caller]
    fn offered(words: &[&str], expected: &str) {
        let call = ["--completions", "fish", "--"];
        assert_eq!(asked(&[&call, words].concat()), Some(Exit::Asked(expected.to_owned())), "{words:?}");
    }

    #[test]
    fn a_program_is_asked_for_completions_before_two_dashes_only() {
        assert_eq!(asked(&["--volume", "low"]), None);
        assert_eq!(asked(&["--", "--completions", "bash"]), None);
        for words in
            [&["--completions", "bash"][..], &["--completions=bash"], &["--volume", "low", "--completions=bash"]]
        {
            let exit = asked(words).unwrap();
            assert!(exit.text().ends_with("complete -F _prog prog\n"), "{words:?}: {}", exit.text());
            assert!(exit.text().contains("\"$1\" --completions bash -- "), "{words:?}: {}", exit.text());
        }
    }

    #[test]
    fn a_shell_that_is_none_is_a_usage_error() {
        for (words, why) in [
            (&["--completions"][..], "no value provided for option '--completions'"),
            (&["--completions", "csh"], "cannot parse option '--completions' with value 'csh': write bash, fish, zsh"),
        ] {
            assert_eq!(asked(words), Some(Exit::usage("prog", why)));
        }
    }

    #[test]
    fn a_word_that_can_only_be_an_option_is_one() {
        let options = "--volume\thow loud\n--help\tdisplay usage information\n--version\tdisplay the version\n";
        let own = "--completions\tprint what makes a shell complete these options\n";
        for word in ["", "--"] {
            let Some(Exit::Asked(text)) = asked(&["--completions", "fish", "--", word]) else { panic!("{word:?}") };
            let mut lines: Vec<&str> = text.lines().collect();
            let mut expected: Vec<&str> = options.lines().chain(own.lines()).collect();
            lines.sort_unstable();
            expected.sort_unstable();
            assert_eq!(lines, expected);
        }
        offered(&["--volume", ""], "high\nlow\n");
        offered(&["--volume=h"], "--volume=high\n");
        offered(&["--completions", "f"], "fish\n");
        offered(&["--", ""], "");
    }
}
