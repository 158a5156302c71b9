//! `check PATH…`: parses scripts and tells what is wrong with them.

use std::io::{self, Write};

use greeter_args::Exit;
use greeter_client::escape;
use greeter_client::talk::{self, Diagnostic, ScriptError};

use crate::cli::args::NAME;
use crate::cli::color;
use crate::cli::exit::ExitError;

pub(crate) fn run(paths: &[String]) -> Result<(), ExitError> {
    if paths.is_empty() {
        return Err(Exit::usage(NAME, "check needs a file or a folder").into());
    }
    let (mut scripts, mut steps, mut errors, mut warnings) = (0, 0, 0, 0);
    for script in talk::load_all(paths) {
        scripts += 1;
        match script {
            Ok(script) => {
                steps += script.steps().len();
                warnings += script.warnings().len();
                tell(script.warnings().iter());
            }
            Err(err) => {
                let (errors_here, warnings_here) = match &err {
                    ScriptError::Diagnostics(diagnostics) => {
                        (diagnostics.errors(), diagnostics.iter().len() - diagnostics.errors())
                    }
                    _ => (1, 0),
                };
                errors += errors_here;
                warnings += warnings_here;
                tell_error(&err);
            }
        }
    }
    let warnings = if warnings == 0 { String::new() } else { format!(", {}", count(warnings, "warning")) };
    if errors > 0 {
        let message = format!("{} in {}{warnings}", count(errors, "error"), count(scripts, "script"));
        return Err(ExitError::unreadable(anyhow::Error::msg(message)));
    }
    let summary = format!("{}, {}: no error{warnings}", count(scripts, "script"), count(steps, "step"));
    writeln!(io::stdout(), "{summary}").or_else(ExitError::unless_reader_gone)
}

pub(crate) fn tell<'a>(diagnostics: impl Iterator<Item = &'a Diagnostic>) {
    diagnostics.for_each(color::tell_diagnostic);
}

pub(crate) fn tell_error(err: &ScriptError) {
    if let ScriptError::Diagnostics(diagnostics) = err {
        return tell(diagnostics.iter());
    }
    let source = std::error::Error::source(err).map_or_else(String::new, |source| format!(": {source}"));
    let text = format!("{err}{source}");
    color::tell_error(escape::one_line(text.as_bytes()));
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
