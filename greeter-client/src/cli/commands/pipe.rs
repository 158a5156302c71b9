//! The pipe: stdin out, replies to stdout.

use std::io::{self, Write};

use greeter_client::{Connection, Eol, PipeEnd, PipeError, Piped, Traffic};

use crate::cli::exit::ExitError;
use crate::cli::input::Stdin;
use crate::cli::output::{CommandOutput, tell_truncated};

/// `watch` is told what passes. The thread that reads stdin may still be waiting at the end: it
/// ends with the process.
pub(crate) fn run(
    connection: Connection,
    eol: Eol,
    watch: impl FnMut(Traffic<'_>) -> io::Result<()> + Send + 'static,
) -> Result<(), ExitError> {
    let mut output = CommandOutput::stdout(eol);
    let piped = connection.pipe_watched(Stdin::default(), &mut output, watch);
    if let (CommandOutput::Terminal(terminal), Err(PipeError::PartialLine { .. } | PipeError::SilentInLine { .. })) =
        (&mut output, &piped)
    {
        // The message about it must not look like the rest of the line.
        let _ = terminal.write(b"\n");
    }
    let finished = output.finish();
    classify(piped).and_then(|()| finished.or_else(ExitError::unless_reader_gone))
}

/// What a pipe's outcome means for the command.
fn classify(piped: Result<Piped, PipeError>) -> Result<(), ExitError> {
    match piped {
        Ok(Piped { end: PipeEnd::Server { bytes_unsent }, .. }) if bytes_unsent > 0 => {
            Err(ExitError::unsent(bytes_unsent))
        }
        Ok(piped) => {
            if piped.input_cut {
                // Nothing depends on whether this can be printed.
                let _ = writeln!(io::stderr(), "note: the input's last line has no newline: most servers ignore it");
            }
            if piped.truncated {
                tell_truncated();
            }
            Ok(())
        }
        Err(PipeError::Output(err)) => ExitError::unless_reader_gone(err),
        Err(err) => Err(err.into()),
    }
}
