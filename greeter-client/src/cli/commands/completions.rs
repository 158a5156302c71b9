//! `completions SHELL`: what makes a shell complete the words of this program; and, asked by that,
//! which words may stand in place of the last one.
//!
//! The scripts know nothing: what there is to choose from is in the types that the arguments are
//! parsed into.

use std::io::{self, Write};

use argh::{ArgsInfo, CommandInfoWithArgs, FlagInfo, FlagInfoKind};

use crate::cli::args::{Args, Shell};
use crate::cli::color::Color;
use crate::cli::exit::ExitError;

/// Tells the scripts that the name of a file is to be completed, which shells do themselves.
const FILES: &str = "<files>";

/// What is said of a value: nothing, as its option has said it.
const UNDESCRIBED: &str = "";

impl Shell {
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

/// Prints the shell's script; or, where there are words, what the last of them may become.
pub(crate) fn run(shell: Shell, words: &[String]) -> Result<(), ExitError> {
    let text = match words.split_last() {
        None => shell.script().to_owned(),
        Some((current, before)) => match choice(&Args::get_args_info(), before, current) {
            Choice::Files => format!("{FILES}\n"),
            Choice::Of(candidates) => {
                let fitting = candidates.iter().filter(|(word, _)| word.starts_with(strip_equals(current)));
                fitting.map(|(word, description)| shell.candidate(word, first_sentence(description))).collect()
            }
        },
    };
    io::stdout().write_all(text.as_bytes()).or_else(ExitError::unless_reader_gone)
}

/// What a word may be.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    Files,
    /// Words, and what each means.
    Of(Vec<(String, String)>),
}

impl Choice {
    const NONE: Self = Self::Of(Vec::new());

    fn of(words: &[&str]) -> Self {
        Self::Of(words.iter().map(|&word| (word.to_owned(), UNDESCRIBED.to_owned())).collect())
    }
}

/// bash makes a word of its own of the `=` between an option and its value.
fn strip_equals(word: &str) -> &str {
    word.strip_prefix('=').unwrap_or(word)
}

fn choice(root: &CommandInfoWithArgs, before: &[String], current: &str) -> Choice {
    let mut command = root;
    let mut awaited = None;
    let mut positionals = 0;
    let mut options_ended = false;
    for word in before {
        if word == "=" && awaited.is_some() {
            continue;
        }
        if awaited.take().is_some() {
            continue;
        }
        let found = command.commands.iter().find(|sub| sub.name == word);
        match (word.strip_prefix('-'), found) {
            _ if options_ended => positionals += 1,
            (Some("-"), _) => options_ended = true,
            (Some(_), _) => awaited = option(command, word).and_then(value_name),
            (None, Some(sub)) => command = &sub.command,
            (None, None) => positionals += 1,
        }
    }
    if let Some(name) = awaited {
        return values(name);
    }
    if let Some((name, _)) = current.split_once('=').filter(|_| current.starts_with("--") && !options_ended) {
        return match option(command, name).and_then(value_name).map(values) {
            Some(Choice::Of(values)) => {
                Choice::Of(values.into_iter().map(|(value, what)| (format!("{name}={value}"), what)).collect())
            }
            _ => Choice::NONE,
        };
    }
    if current.starts_with('-') && !options_ended {
        return Choice::Of(options(command));
    }
    if !command.commands.is_empty() {
        let describe = |sub: &argh::SubCommandInfo| (sub.name.to_owned(), sub.command.description.to_owned());
        return Choice::Of(command.commands.iter().map(describe).collect());
    }
    // The last one may come again.
    let positional = command.positionals.get(positionals).or(command.positionals.last());
    positional.map_or(Choice::NONE, |positional| values(positional.name))
}

fn options(command: &CommandInfoWithArgs) -> Vec<(String, String)> {
    let flags = command.flags.iter().filter(|flag| !flag.hidden);
    let mut options: Vec<_> = flags.map(|flag| (flag.long.to_owned(), flag.description.to_owned())).collect();
    options.push(("--version".to_owned(), "display the version".to_owned()));
    options
}

fn option<'a>(command: &'a CommandInfoWithArgs, word: &str) -> Option<&'a FlagInfo<'a>> {
    let short = word.strip_prefix('-').and_then(|name| name.parse().ok());
    command.flags.iter().find(|flag| flag.long == word || (short.is_some() && flag.short == short))
}

fn value_name<'a>(flag: &'a FlagInfo<'a>) -> Option<&'a str> {
    match flag.kind {
        FlagInfoKind::Option { arg_name } => Some(arg_name),
        FlagInfoKind::Switch => None,
    }
}

/// What a value may be, by what help calls it.
fn values(name: &str) -> Choice {
    match name {
        "file" | "path" => Choice::Files,
        "eol" => Choice::of(&["lf", "crlf"]),
        "format" => Choice::of(&["text", "tap", "junit", "json"]),
        "shell" => Choice::of(&Shell::NAMES),
        "when" => Choice::of(&Color::NAMES),
        _ => Choice::NONE,
    }
}

/// As much of a description as stands on a line.
fn first_sentence(description: &str) -> &str {
    let line = description.lines().next().unwrap_or_default();
    line.split_once(". ").map_or(line, |(sentence, _)| sentence).trim_end_matches('.')
}
