//! The command `greeter-client` as a process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// The command, servers for it, and a terminal with somebody at it, which the others use.
mod kit;

/// What is coloured, and when.
mod color;
/// `convert`.
mod convert_command;
/// `greet`.
mod greet;
/// `load`. What it measures is tested without the command, in `load.rs`.
mod load_command;
/// What any command does with a server that does not keep to the rules.
mod misbehaving_servers;
/// `pipe`.
mod pipe_command;
/// `--proxy`, whatever the command.
mod proxy_header;
/// `record`.
mod record_command;
/// `run --bless`.
mod run_bless;
/// `run`.
mod run_command;
/// What is not shown, whatever the command.
mod secrets;
/// `check` and `fmt`.
mod talk_commands;
/// `chat`, and whatever else needs a terminal.
mod terminal;
/// What is said to a command line, where no server is needed for it.
mod usage;
