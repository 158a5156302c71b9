//! `completions SHELL`: what makes a shell complete the words of this program; and, asked by that,
//! which words may stand in place of the last one. It must not know how: that is the same for every
//! program.

use std::io::{self, Write};

use argh::ArgsInfo;
use greeter_args::completions::{Choice, Completions, Shell};

use crate::cli::args::{Args, NAME};
use crate::cli::color::Color;
use crate::cli::exit::ExitError;

/// Prints the shell's script; or, where there are words, what the last of them may become.
pub(crate) fn run(shell: Shell, words: &[String]) -> Result<(), ExitError> {
    let completions = Completions { program: NAME, call: "completions", arguments: Args::get_args_info(), values };
    io::stdout().write_all(completions.text(shell, words).as_bytes()).or_else(ExitError::unless_reader_gone)
}

/// What a value may be, by what help calls it.
fn values(name: &str) -> Choice {
    match name {
        "eol" => Choice::of(&["lf", "crlf"]),
        "format" => Choice::of(&["text", "tap", "junit", "json"]),
        "when" => Choice::of(&Color::NAMES),
        _ => Choice::NONE,
    }
}
