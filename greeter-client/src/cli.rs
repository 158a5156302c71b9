//! Turns a command line into one of the library's conversations, and its outcome into an exit code.
//! It must not know how anything goes over the network: that is the library's.
//!
//! stdout is data, stderr is talk about it.

mod args;
mod chat;
mod color;
mod commands;
mod exit;
mod file;
mod input;
mod output;
mod recording_file;
#[cfg(unix)]
mod signals;

use std::io::{self, IsTerminal};

use greeter_args::Exit;
use greeter_client::Connection;

use args::{Command, NAME, Setup};
use chat::ChatRecording;
pub(crate) use color::tell_error;
use commands::{check, completions, convert, fmt, greet, load, pipe, record, run, scripts};
pub(crate) use exit::{ExitError, advice};
use recording_file::RecordingFile;

pub(crate) fn run() -> Result<(), ExitError> {
    let Setup { command, connect, color, connection: options } = args::from_process()?;
    color.apply();
    match command {
        Command::Greet(greet) => {
            greet::check(&greet.names)?;
            greet::run(Connection::connect_with(&connect.address_alone()?, &options)?, &greet.names, options.eol)
        }
        Command::Chat(chat) if is_conversation() => {
            let address = connect.address_alone()?;
            let variables = scripts::variables(&[], &chat.secret, &[])?;
            chat::run(
                Connection::connect_with(&address, &options)?,
                &address,
                options.eol,
                ChatRecording::Kept(Vec::new()),
                variables,
            )
        }
        Command::Chat(_) | Command::Pipe(_) => {
            pipe::run(Connection::connect_with(&connect.address_alone()?, &options)?, options.eol, |_| Ok(()))
        }
        Command::Record(record) => {
            let address = connect.address_alone()?;
            let variables = scripts::variables(&[], &record.secret, &[])?;
            let recording = RecordingFile::create(&record.file).map_err(|message| Exit::usage(NAME, &message))?;
            let connection = Connection::connect_with(&address, &options).inspect_err(|_| recording.discard())?;
            match is_conversation() {
                true => chat::run(connection, &address, options.eol, ChatRecording::File(recording), variables),
                false => record::run(connection, options.eol, recording, variables),
            }
        }
        Command::Check(check) => check::run(&check.paths),
        Command::Completions(completions) => completions::run(completions.shell, &completions.words),
        Command::Convert(convert) => convert::run(convert.path.as_deref()),
        Command::Fmt(fmt) => fmt::run(&fmt.paths, fmt.check),
        Command::Run(run) => run::run(&run, connect, &options),
        // A script may start TLS itself.
        Command::Load(load) if load.script.is_some() => load::run(&load, connect.address()?, &options),
        Command::Load(load) => load::run(&load, connect.address_alone()?, &options),
    }
}

/// Whether a person types and reads what comes.
fn is_conversation() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}
