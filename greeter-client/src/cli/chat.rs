//! The prompt: what is typed goes out line by line, and what comes back is shown above the prompt.
//!
//! The keyboard, the connection and signals have a thread each, and report what happens. Everything else is done here,
//! one report after the other, so that the screen, the recording and what the server is sent agree about the order.

mod command;
mod editor;
mod events;
mod history;
mod keys;
mod raw;
mod recording;
mod screen;

use std::io::{self, Write};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use greeter_client::escape::Terminal;
use greeter_client::session::StreamEnd;
use greeter_client::{Address, Connection, ConnectionError, Eol, Recorder, Sender, Traffic};

use super::exit::Failure;
use super::input::CUT;
use command::{Command, HELP, Typed};
use editor::Asked;
use events::{Report, Reports};
pub(super) use recording::Tape;
use screen::{LastRow, Screen};

/// For how long nothing may follow until the start of a line is shown.
const QUIET: Duration = Duration::from_millis(100);

/// SIGINT, the signal that Ctrl-C is elsewhere.
const INTERRUPT: i32 = 2;

/// How a conversation ends.
enum Ending {
    /// The server has closed.
    Server,
    /// The connection broke.
    Lost(ConnectionError),
    /// The person leaves, and no longer waits for the server.
    Quit,
    /// The person resets the connection.
    Reset,
    /// The process was told to end.
    Signal(i32),
}

pub(super) fn run(connection: Connection, address: &Address, eol: Eol, tape: Tape) -> Result<(), Failure> {
    let (sender, receiver) = connection.split();
    let modes = editable();
    let original = modes.clone();
    // Signals are watched first: from then on none ends the process before the terminal is as it was.
    let reports = events::start(receiver, move || original.iter().for_each(raw::Modes::restore))
        .map_err(|err| Failure::internal(err.into()))?;
    let (last_row, typing) = keyboard(modes);
    let mut chat = Chat {
        outgoing: Outgoing::Open(sender),
        terminal: Terminal::new(Screen::new(last_row), eol),
        typing,
        recorder: Recorder::new(tape),
        eol,
        bytes_since_lf: 0,
    };
    let talked = chat
        .screen()
        .say(&format!("connected to {address}; Ctrl-D ends, :help tells more"))
        .map_err(Failure::stdout)
        .and_then(|()| chat.talk(&reports));
    let Chat { outgoing, terminal, recorder, bytes_since_lf, .. } = chat;
    let finished = terminal.finish().and_then(Screen::finish);
    let judged = talked.and_then(|ending| judge(ending, &outgoing, bytes_since_lf));
    judged.and(recorder.into_output().finish()).and(finished.map_err(Failure::stdout))
}

/// What a conversation's end means for the command.
fn judge(ending: Ending, outgoing: &Outgoing, bytes_since_lf: usize) -> Result<(), Failure> {
    match (ending, outgoing) {
        (Ending::Server, _) if bytes_since_lf > 0 => Err(ConnectionError::PartialLine { bytes: bytes_since_lf }.into()),
        (Ending::Server, Outgoing::Refused { bytes }) => Err(Failure::unsent(*bytes)),
        (Ending::Server, Outgoing::Open(_)) => {
            // Nothing depends on whether it is read.
            let _ = writeln!(io::stderr(), "the server closed the connection");
            Ok(())
        }
        (Ending::Server, Outgoing::HalfClosed) | (Ending::Quit | Ending::Reset, _) => Ok(()),
        (Ending::Lost(err), _) => Err(err.into()),
        (Ending::Signal(signal), _) => Err(Failure::Signal(signal)),
    }
}

/// How the terminal works before a line is edited on it; none of one that cannot move its cursor.
fn editable() -> Option<raw::Modes> {
    let can_edit = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
    can_edit.then(raw::Modes::current)?.ok()
}

/// Who makes lines of what is typed: an editor, or a terminal that has none to offer.
fn keyboard(modes: Option<raw::Modes>) -> (LastRow, Typing) {
    if let Some(Ok(terminal)) = modes.map(raw::RawTerminal::open) {
        let editor = editor::Editor::new(history::History::load());
        return (LastRow::Edited { terminal, editor }, Typing::Keys(keys::Keys::default()));
    }
    (LastRow::Plain, Typing::Lines(Vec::new()))
}

struct Chat {
    outgoing: Outgoing,
    terminal: Terminal<Screen>,
    typing: Typing,
    recorder: Recorder<Tape>,
    eol: Eol,
    /// How much has come of a line that has not ended.
    bytes_since_lf: usize,
}

/// The way to the server.
enum Outgoing {
    Open(Sender),
    HalfClosed,
    /// The connection took no more. Why, the thread that reads from it will report.
    Refused {
        /// Bytes that were typed and not sent.
        bytes: u64,
    },
}

/// How the keyboard is read.
enum Typing {
    Keys(keys::Keys),
    /// Line by line; this is the start of one.
    Lines(Vec<u8>),
    Ended,
}

impl Chat {
    fn screen(&mut self) -> &mut Screen {
        self.terminal.output_mut()
    }

    fn talk(&mut self, reports: &Reports) -> Result<Ending, Failure> {
        loop {
            let quiet = if self.screen().has_fresh() { QUIET } else { Duration::MAX };
            let ending = match reports.next(quiet) {
                Ok(report) => self.take(report)?,
                Err(RecvTimeoutError::Timeout) => {
                    self.screen().show_fresh().map_err(Failure::stdout)?;
                    None
                }
                Err(RecvTimeoutError::Disconnected) => unreachable!("who reads the connection reports its end"),
            };
            if let Some(ending) = ending {
                self.record(match &ending {
                    Ending::Server => Traffic::Ended(StreamEnd::Eof),
                    Ending::Lost(ConnectionError::Lost(err)) => Traffic::Ended(StreamEnd::from_error(err)),
                    Ending::Reset => Traffic::Reset,
                    _ => Traffic::Closed,
                });
                return Ok(ending);
            }
        }
    }

    fn take(&mut self, report: Report) -> Result<Option<Ending>, Failure> {
        match report {
            Report::Typed(bytes) => self.typed(&bytes),
            Report::LineCut { is_over } => {
                if let Typing::Lines(line) = &mut self.typing {
                    line.clear();
                }
                let row = if is_over { "" } else { "\n" };
                let screen = self.screen();
                screen.enter(b"").and_then(|()| screen.say(&format!("{row}{CUT}"))).map_err(Failure::stdout)?;
                Ok(None)
            }
            Report::TypingEnded => {
                let ending = match std::mem::replace(&mut self.typing, Typing::Ended) {
                    Typing::Lines(line) if !line.is_empty() => self.line(&line)?,
                    _ => None,
                };
                self.half_close()?;
                Ok(ending)
            }
            Report::Received(bytes) => {
                self.record(Traffic::Received(&bytes));
                let after_lf = bytes.iter().rev().take_while(|&&byte| byte != b'\n').count();
                self.bytes_since_lf = if after_lf == bytes.len() { self.bytes_since_lf + after_lf } else { after_lf };
                self.terminal.write_all(&bytes).and_then(|()| self.terminal.flush()).map_err(Failure::stdout)?;
                Ok(None)
            }
            Report::ServerEnded(None) => Ok(Some(Ending::Server)),
            Report::ServerEnded(Some(err)) => Ok(Some(Ending::Lost(err))),
            Report::Resumed => {
                if let Some((terminal, _)) = self.screen().edited() {
                    terminal.enter().map_err(Failure::stdout)?;
                }
                self.screen().draw().map_err(Failure::stdout)?;
                Ok(None)
            }
            Report::Signal(signal) => Ok(Some(Ending::Signal(signal))),
        }
    }

    fn typed(&mut self, bytes: &[u8]) -> Result<Option<Ending>, Failure> {
        for &byte in bytes {
            let ending = match &mut self.typing {
                Typing::Keys(keys) => match keys.take(byte) {
                    Some(key) => self.pressed(key)?,
                    None => None,
                },
                Typing::Lines(line) if byte == b'\n' => {
                    let line = std::mem::take(line);
                    self.line(&line)?
                }
                Typing::Lines(line) => {
                    line.push(byte);
                    None
                }
                Typing::Ended => None,
            };
            if ending.is_some() {
                return Ok(ending);
            }
        }
        self.screen().draw().map_err(Failure::stdout)?;
        Ok(None)
    }

    fn pressed(&mut self, key: keys::Key) -> Result<Option<Ending>, Failure> {
        let Some((terminal, editor)) = self.screen().edited() else { return Ok(None) };
        match editor.press(key) {
            None => {}
            Some(Asked::Line(line)) => return self.line(line.as_bytes()),
            Some(Asked::End) => self.half_close()?,
            Some(Asked::Interrupt) => return Ok(Some(Ending::Signal(INTERRUPT))),
            Some(Asked::Suspend) => terminal.suspend(),
            Some(Asked::ClearScreen) => self.screen().clear().map_err(Failure::stdout)?,
        }
        Ok(None)
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Ending>, Failure> {
        self.screen().enter(line).map_err(Failure::stdout)?;
        let message = match Typed::parse(line) {
            Typed::Line(line) => return Ok(self.send(line)),
            Typed::Command(Command::Quit) => return Ok(Some(Ending::Quit)),
            Typed::Command(Command::Reset) => {
                if let Outgoing::Open(sender) = std::mem::replace(&mut self.outgoing, Outgoing::HalfClosed) {
                    sender.reset();
                }
                return Ok(Some(Ending::Reset));
            }
            Typed::Command(Command::Eof) => {
                self.half_close()?;
                return Ok(None);
            }
            Typed::Command(Command::Record(name)) => match self.recorder.output_mut().start(name) {
                Ok(()) => format!("this conversation is written to {name}, from its start"),
                Err(message) => message,
            },
            Typed::Command(Command::Help) => HELP.to_owned(),
            Typed::Mistake(message) => message,
        };
        self.screen().say(&message).map_err(Failure::stdout)?;
        Ok(None)
    }

    fn send(&mut self, line: &[u8]) -> Option<Ending> {
        let wire = [line, self.eol.bytes()].concat();
        match &mut self.outgoing {
            Outgoing::Open(sender) => match sender.send(line) {
                Ok(()) => self.record(Traffic::Sent(&wire)),
                Err(ConnectionError::Lost(_)) => self.outgoing = Outgoing::Refused { bytes: wire.len() as u64 },
                Err(err) => return Some(Ending::Lost(err)),
            },
            Outgoing::Refused { bytes } => *bytes += wire.len() as u64,
            Outgoing::HalfClosed => {}
        }
        None
    }

    fn half_close(&mut self) -> Result<(), Failure> {
        self.typing = Typing::Ended;
        match std::mem::replace(&mut self.outgoing, Outgoing::HalfClosed) {
            Outgoing::Open(sender) => {
                self.record(Traffic::HalfClosed);
                sender.finish();
            }
            before => self.outgoing = before,
        }
        self.screen().end_typing().map_err(Failure::stdout)
    }

    /// A recording that fails does not end the conversation: that is told now, and by the exit status.
    fn record(&mut self, traffic: Traffic<'_>) {
        if let Err(err) = self.recorder.record(traffic)
            && let Some(message) = self.recorder.output_mut().fail(&err)
        {
            // What it says stands in the exit status, too.
            let _ = self.screen().say(&message);
        }
    }
}
