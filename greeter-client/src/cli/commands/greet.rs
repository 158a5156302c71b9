//! `greet NAME…`: each name is a line, and each line of the server is printed as it comes.

use std::io::{self, Write};
use std::ops::ControlFlow;

use greeter_args::Exit;
use greeter_client::{Connection, ConnectionError, Eol, escape};

use crate::cli::args::NAME;
use crate::cli::exit::ExitError;
use crate::cli::output::{CommandOutput, tell_truncated};

/// Refuses what cannot be sent, before there is a connection.
pub(crate) fn check(names: &[String]) -> Result<(), Exit> {
    if names.is_empty() {
        return Err(Exit::usage(NAME, "greet needs a name"));
    }
    match names.iter().find(|name| name.contains('\n')) {
        Some(name) => {
            let name = escape::one_line(name.as_bytes());
            Err(Exit::usage(NAME, &format!("a name cannot hold a newline: '{name}'")))
        }
        None => Ok(()),
    }
}

pub(crate) fn run(connection: Connection, names: &[String], eol: Eol) -> Result<(), ExitError> {
    let mut output = CommandOutput::stdout(eol);
    let mut printed = Ok(());
    let mut replies = 0;
    let done = connection.pipeline(names, |reply| {
        printed = print_line(&mut output, reply);
        replies += 1;
        if printed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if let Err(err) = printed.and_then(|()| output.finish()) {
        return ExitError::unless_reader_gone(err);
    }
    let unanswered = names.len().saturating_sub(replies);
    match done {
        Ok(done) if unanswered == 0 => {
            if done.truncated {
                tell_truncated();
            }
            if done.left_idle {
                tell_left();
            }
            Ok(())
        }
        // Each name has its reply; only the end did not come.
        Err(ConnectionError::TimedOut { .. }) if unanswered == 0 => {
            tell_left();
            Ok(())
        }
        Ok(_) => Err(ConnectionError::Closed.into()),
        Err(err) => Err(ExitError::from(err)),
    }
    .map_err(|failure| match unanswered {
        0 => failure.context("after the last reply".into()),
        _ => failure.context(format!("{unanswered} of {} names unanswered", names.len())),
    })
}

/// Tells that the server was left, and has not ended.
fn tell_left() {
    // Nothing depends on whether this can be printed.
    let _ = writeln!(io::stderr(), "note: each name has its reply, and the server did not close: it was left");
}

fn print_line(output: &mut CommandOutput, line: &[u8]) -> io::Result<()> {
    output.write_all(line)?;
    output.write_all(b"\n")?;
    // A person watches, or a program waits.
    output.flush()
}
