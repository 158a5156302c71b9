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
mod load;
mod options;
mod output;
mod pipe;
mod progress;
mod run;

use std::io::{self, IsTerminal};

use greeter_client::Connection;

pub(crate) use failure::Failure;
use options::{Command, Setup};

pub(crate) fn run() -> Result<(), Failure> {
    let Setup { command, address, connection: options } = options::from_process()?;
    let connect = || Connection::connect_with(&address, &options);
    match command {
        Command::Greet(greet) => {
            greet::check(&greet.names)?;
            greet::run(connect()?, &greet.names, options.eol)
        }
        Command::Pipe(_) => pipe::run(connect()?, options.eol),
        Command::Chat(_) if io::stdin().is_terminal() && io::stdout().is_terminal() => {
            chat::run(connect()?, &address, options.eol)
        }
        Command::Chat(_) => pipe::run(connect()?, options.eol),
        Command::Check(check) => check::run(&check.paths),
        Command::Fmt(fmt) => fmt::run(&fmt.files, fmt.check),
        Command::Run(run) => run::run(&run, address, &options),
        Command::Load(load) => load::run(load, address, &options),
    }
}
