//! `record FILE`: a chat or a pipe that is written down as a script.

use greeter_client::talk::Variables;
use greeter_client::{Connection, Eol, Recorder};

use super::pipe;
use crate::cli::exit::ExitError;
use crate::cli::recording_file::{RecordingFile, incomplete};

/// A pipe, and what passes it is written down.
pub(crate) fn run(
    connection: Connection,
    eol: Eol,
    RecordingFile { name, file }: RecordingFile,
    variables: Variables,
) -> Result<(), ExitError> {
    let mut recorder = Recorder::new(file).hiding(variables);
    pipe::run(connection, eol, move |traffic| recorder.record(traffic).map_err(|err| incomplete(&name, &err)))
}
