//! The command `greeter-client`: `--help` tells what it does.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use cli::ExitError;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(ExitError::Exit(exit)) => exit.print(),
        Err(ExitError::Error { code, error }) => {
            cli::tell_error(format_args!("{error:#}{}", cli::advice(&error)));
            ExitCode::from(code)
        }
        Err(ExitError::Signal(signal)) => ExitCode::from(128 + u8::try_from(signal).unwrap_or(127)),
    }
}
