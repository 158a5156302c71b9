//! The command `greeter-client`: `--help` tells what it does.

#![forbid(unsafe_code)]

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;

use cli::Failure;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Exit(exit)) => exit.print(),
        Err(Failure::Error { code, error }) => {
            // Where stderr is closed or full, the status still tells.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::from(code)
        }
        #[cfg(unix)]
        Err(Failure::Signal(signal)) => ExitCode::from(128 + u8::try_from(signal).unwrap_or(127)),
    }
}
