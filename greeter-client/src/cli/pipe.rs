//! The pipe: stdin out, replies to stdout.

use std::io::{self, Write};

use greeter_client::{Connection, End, Eol, PipeError, Piped};

use super::Failure;
use super::output::Output;

pub(super) fn run(connection: Connection, eol: Eol) -> Result<(), Failure> {
    let mut output = Output::stdout(eol);
    let piped = connection.pipe(io::stdin(), &mut output);
    if let (Output::Terminal(terminal), Err(PipeError::Cut { .. })) = (&mut output, &piped) {
        // The message about it must not look like the rest of the line.
        let _ = terminal.write(b"\n");
    }
    let finished = output.finish();
    judge(piped).and_then(|_| finished.or_else(Failure::unless_reader_gone))
}

/// What a pipe's outcome means for the command. The thread that reads stdin may still be waiting: it ends with the
/// process.
pub(super) fn judge(piped: Result<Piped, PipeError>) -> Result<Option<End>, Failure> {
    match piped {
        Ok(Piped { end: End::Server { bytes_unsent }, .. }) if bytes_unsent > 0 => Err(Failure::connection(
            anyhow::anyhow!("the server closed the connection with {bytes_unsent} bytes of the input unsent"),
        )),
        Ok(piped) => {
            if piped.input_cut {
                // Nothing depends on whether this can be printed.
                let _ = writeln!(io::stderr(), "note: the input's last line has no newline: most servers ignore it");
            }
            Ok(Some(piped.end))
        }
        Err(PipeError::Output(err)) => Failure::unless_reader_gone(err).map(|()| None),
        Err(err) => Err(err.into()),
    }
}
