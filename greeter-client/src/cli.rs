//! Turns a command line into one of the library's conversations and its outcome into an exit code. One file per
//! command.
//!
//! stdout is data, stderr is talk about it.

mod chat;
mod failure;
mod greet;
mod options;
mod output;
mod pipe;

use std::io::{self, IsTerminal};

use greeter_client::Connection;

pub(crate) use failure::Failure;
use options::{Command, Setup};

pub(crate) fn run() -> Result<(), Failure> {
    let Setup { command, address, connection: options } = options::from_process()?;
    if let Command::Greet(greet) = &command {
        greet::check(&greet.names)?;
    }
    let connection = Connection::connect_with(&address, &options)?;
    match command {
        Command::Greet(greet) => greet::run(connection, &greet.names, options.eol),
        Command::Pipe(_) => pipe::run(connection, options.eol),
        Command::Chat(_) if io::stdin().is_terminal() && io::stdout().is_terminal() => {
            chat::run(connection, &address, options.eol)
        }
        Command::Chat(_) => pipe::run(connection, options.eol),
    }
}
