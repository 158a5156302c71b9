//! stdout: escaped where it is a terminal, byte for byte where it is not.

use std::io::{self, IsTerminal, Stdout, Write};

use greeter_client::Eol;
use greeter_client::escape::Terminal;

pub(super) enum CommandOutput {
    Terminal(Terminal<Stdout>),
    Plain(Stdout),
}

impl CommandOutput {
    pub(super) fn stdout(eol: Eol) -> Self {
        let stdout = io::stdout();
        if stdout.is_terminal() { Self::Terminal(Terminal::new(stdout, eol)) } else { Self::Plain(stdout) }
    }

    /// Shows what was still held back.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::Terminal(terminal) => terminal.finish().map(drop),
            Self::Plain(mut stdout) => stdout.flush(),
        }
    }
}

impl Write for CommandOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Terminal(terminal) => terminal.write(bytes),
            Self::Plain(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Terminal(terminal) => terminal.flush(),
            Self::Plain(stdout) => stdout.flush(),
        }
    }
}

/// Tells that the server ended TLS without a word: an attacker could have cut it there.
pub(super) fn tell_truncated() {
    let words = "note: the server closed the connection without a word in TLS (close_notify): something may be missing";
    // Nothing depends on whether this can be printed.
    let _ = writeln!(io::stderr(), "{words}");
}
