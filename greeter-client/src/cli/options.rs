//! The command line, the environment, and what both of them mean.

use std::env;
use std::str::FromStr;
use std::time::Duration;

use argh::FromArgs;
use greeter_args::Exit;
use greeter_client::{Address, Eol, Options};

/// The program's name in its messages.
pub(super) const NAME: &str = env!("CARGO_PKG_NAME");
const CONNECT_VARIABLE: &str = "GREETER_CONNECT";
const CONNECT_DEFAULT: &str = "127.0.0.1:8080";

/// What the process was asked to do.
pub(super) struct Setup {
    pub(super) command: Command,
    pub(super) address: Address,
    pub(super) connection: Options,
}

/// Reads the arguments and the environment of this process.
pub(super) fn from_process() -> Result<Setup, Exit> {
    let arguments = greeter_args::parse::<Arguments>(NAME, env!("CARGO_PKG_VERSION"))?;
    let mut connection = Options::default();
    connection.eol = arguments.eol;
    connection.timeout = arguments.timeout.0;
    Ok(Setup {
        command: arguments.command.unwrap_or(Command::Chat(Chat {})),
        address: arguments.connect.map_or_else(default_address, Ok)?,
        connection,
    })
}

fn default_address() -> Result<Address, Exit> {
    let text = match env::var(CONNECT_VARIABLE) {
        Ok(text) => text,
        Err(env::VarError::NotPresent) => String::new(),
        Err(env::VarError::NotUnicode(_)) => {
            return Err(Exit::usage(NAME, &format!("{CONNECT_VARIABLE} is not valid UTF-8")));
        }
    };
    // A shell empties a variable for one command more easily than it removes it.
    let text = if text.is_empty() { CONNECT_DEFAULT } else { &text };
    text.parse().map_err(|err| Exit::usage(NAME, &format!("{CONNECT_VARIABLE}: {err}")))
}

/// Talks to a server that speaks in lines, such as greeter-server.
///
/// Without a command: a prompt on a terminal, elsewhere the pipe.
#[derive(FromArgs)]
#[argh(
    help_triggers("-h", "--help"),
    example = "{command_name} greet Ann Ben
{command_name} --connect [::1]:8080 greet -- -dash
{command_name} --connect unix:/run/greeter.sock < names.txt > greetings.txt
{command_name} --connect mail.example:25 --eol crlf",
    note = "Options stand before the command, and --name=value means --name value.
stdout carries what the server sent and nothing else. On a terminal, whatever in it
could act on the terminal is escaped; elsewhere every byte passes. Where the reader of
stdout goes away, as in '... | head -1', that ends the command, and all is well.",
    error_code(0, "all well"),
    error_code(2, "wrong usage, or unreadable input"),
    error_code(3, "could not connect, or the connection was lost, timed out or closed too early"),
    error_code(4, "something else failed, such as writing to stdout")
)]
struct Arguments {
    /// where the server listens: HOST:PORT or unix:PATH (default: $GREETER_CONNECT, or else 127.0.0.1:8080)
    #[argh(option, arg_name = "address")]
    connect: Option<Address>,

    /// how long connecting may take, and with greet each reply; none for ever (default: 5s)
    #[argh(option, default = "Timeout(Options::default().timeout)")]
    timeout: Timeout,

    /// how lines end: lf or crlf. With crlf, newlines are sent as CR LF, and greet and the prompt drop the CR of what
    /// comes back (default: lf)
    #[argh(option, default = "Eol::Lf")]
    eol: Eol,

    #[argh(subcommand)]
    command: Option<Command>,
}

#[derive(FromArgs)]
#[argh(subcommand)]
pub(super) enum Command {
    Greet(Greet),
    Chat(Chat),
    Pipe(Pipe),
}

/// Sends each name as a line and prints the replies.
///
/// Prints every line the server sends until it closes. Fewer lines than names are an error.
#[derive(FromArgs)]
#[argh(subcommand, name = "greet", help_triggers("-h", "--help"))]
pub(super) struct Greet {
    /// who is to be greeted; put -- before a name that starts with a dash
    #[argh(positional, arg_name = "name")]
    pub(super) names: Vec<String>,
}

/// Sends what is typed line by line; without a terminal, the same as pipe.
///
/// Replies are printed as they come. Ctrl-D ends the input, and the replies that are still owed are awaited.
#[derive(FromArgs)]
#[argh(subcommand, name = "chat", help_triggers("-h", "--help"))]
pub(super) struct Chat {}

/// Sends stdin while what comes back goes to stdout.
///
/// At the end of stdin it half-closes and reads on until the server closes. If the server closes first, it ends at
/// once, with an error if bytes were left unsent. No timeout but that for connecting.
#[derive(FromArgs)]
#[argh(subcommand, name = "pipe", help_triggers("-h", "--help"))]
pub(super) struct Pipe {}

/// A duration in people's notation, or the word `none`.
struct Timeout(Option<Duration>);

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        match humantime::parse_duration(text) {
            Ok(Duration::ZERO) => Err("nothing can be done in no time: write none for no timeout".into()),
            Ok(timeout) => Ok(Self(Some(timeout))),
            Err(err) => Err(format!("{err}: write a duration such as 5s or 500ms, or none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_duration_or_none() {
        assert_eq!("500ms".parse::<Timeout>().map(|timeout| timeout.0), Ok(Some(Duration::from_millis(500))));
        assert_eq!("none".parse::<Timeout>().map(|timeout| timeout.0), Ok(None));
        for text in ["", "0s", "-1s", "5", "99999999999999999999s", "soon"] {
            assert!(text.parse::<Timeout>().is_err(), "{text}");
        }
    }
}
