//! The plain prompt: what is typed goes out line by line, and what comes back is printed above the prompt.

use std::env;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use greeter_client::escape::Terminal;
use greeter_client::{Address, Connection, End, Eol};

use super::{Failure, pipe};

const PROMPT: &[u8] = b"> ";
/// To the start of the line, and clear it.
const ERASE: &[u8] = b"\r\x1b[K";

pub(super) fn run(connection: Connection, address: &Address, eol: Eol) -> Result<(), Failure> {
    say(&format!("connected to {address}; Ctrl-D ends"));
    let typing_ended = Arc::new(AtomicBool::new(false));
    let input = Keyboard { stdin: io::stdin(), ended: Arc::clone(&typing_ended) };
    // A terminal that cannot erase gets no prompt.
    let wanted = env::var_os("TERM").is_some_and(|term| term != "dumb");
    let mut screen = Screen { output: io::stdout(), state: Line::Whole, wanted, typing_ended };
    let shown = screen.flush();
    let mut terminal = Terminal::new(screen, eol);
    let piped = connection.pipe(input, &mut terminal);
    let finished = shown.and_then(|()| terminal.finish()).and_then(Screen::finish);
    if let Some(End::Server { .. }) = pipe::judge(piped)? {
        say("the server closed the connection");
    }
    finished.or_else(Failure::unless_reader_gone)
}

/// Says something beside the conversation; nothing depends on whether it is read.
fn say(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// stdin, and whether it has ended: from then on no prompt invites to type.
struct Keyboard {
    stdin: io::Stdin,
    ended: Arc<AtomicBool>,
}

impl Read for Keyboard {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let count = self.stdin.read(space)?;
        if count == 0 {
            self.ended.store(true, Ordering::Relaxed);
        }
        Ok(count)
    }
}

/// A terminal whose last line is the prompt whenever the server is silent. Gets text that is already escaped.
struct Screen<W> {
    output: W,
    state: Line,
    wanted: bool,
    typing_ended: Arc<AtomicBool>,
}

/// What the last line of the screen is, as far as the output knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// The server's last line has ended.
    Whole,
    /// The server has begun a line, maybe a prompt of its own.
    Begun,
    /// Our prompt, and what is being typed behind it.
    Prompt,
}

impl<W: Write> Screen<W> {
    /// Leaves no prompt behind, and a fresh line.
    fn finish(mut self) -> io::Result<()> {
        self.erase_prompt()?;
        if self.state == Line::Begun {
            self.output.write_all(b"\n")?;
        }
        self.output.flush()
    }

    fn erase_prompt(&mut self) -> io::Result<()> {
        if self.state == Line::Prompt {
            self.output.write_all(ERASE)?;
            self.state = Line::Whole;
        }
        Ok(())
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Some(last) = text.last() {
            self.erase_prompt()?;
            self.output.write_all(text)?;
            self.state = if *last == b'\n' { Line::Whole } else { Line::Begun };
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.wanted && self.state == Line::Whole && !self.typing_ended.load(Ordering::Relaxed) {
            self.output.write_all(PROMPT)?;
            self.state = Line::Prompt;
        }
        self.output.flush()
    }
}
