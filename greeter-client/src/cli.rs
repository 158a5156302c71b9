//! Turns a command line into one of the library's conversations and its outcome into an exit code. One file per
//! command.
//!
//! stdout is data, stderr is talk about it.

mod bless;
mod chat;
mod check;
mod failure;
mod file;
mod fmt;
mod greet;
mod options;
mod output;
mod pipe;
mod progress;
mod record;
mod run;

use std::io::{self, IsTerminal};

use greeter_args::Exit;
use greeter_client::Connection;

use chat::Tape;
pub(crate) use failure::Failure;
use options::{Command, NAME, Setup};
use record::Recording;

pub(crate) fn run() -> Result<(), Failure> {
    let Setup { command, address, connection: options } = options::from_process()?;
    let connect = || Connection::connect_with(&address, &options);
    match command {
        Command::Greet(greet) => {
            greet::check(&greet.names)?;
            greet::run(connect()?, &greet.names, options.eol)
        }
        Command::Pipe(_) => pipe::run(connect()?, options.eol, |_| Ok(())),
        Command::Chat(_) if is_conversation() => chat::run(connect()?, &address, options.eol, Tape::Kept(Vec::new())),
        Command::Chat(_) => pipe::run(connect()?, options.eol, |_| Ok(())),
        Command::Record(record) => {
            let recording = Recording::create(&record.file).map_err(|message| Exit::usage(NAME, &message))?;
            let connection = connect().inspect_err(|_| recording.discard())?;
            if is_conversation() {
                chat::run(connection, &address, options.eol, Tape::File(recording))
            } else {
                record::run(connection, options.eol, recording)
            }
        }
        Command::Check(check) => check::run(&check.paths),
        Command::Fmt(fmt) => fmt::run(&fmt.files, fmt.check),
        Command::Run(run) => run::run(&run, address, &options),
    }
}

/// Whether a person types and reads what comes.
fn is_conversation() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}
