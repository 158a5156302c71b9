//! Turns keys into lines for the server, and what comes back into rows above the prompt. It must
//! not know the other commands.
//!
//! The keyboard, the connection and signals have a thread each, and tell what happens. Everything
//! else is done here, one event after the other, so that the screen, the recording and what the
//! server is sent agree about the order.

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
use greeter_client::talk::{Secrets, Variables};
use greeter_client::{Connection, ConnectionError, Eol, Recorder, Sender, ServerAddress, Traffic};

use super::exit::ExitError;
use super::input::CUT;
use super::output::tell_truncated;
use command::{HELP, PromptCommand, TypedLine};
use editor::EditorEvent;
use events::{ChatEvent, ChatEvents};
pub(super) use recording::ChatRecording;
use screen::{LastRow, Screen};

/// For how long nothing may follow until the start of a line is shown.
const QUIET: Duration = Duration::from_millis(100);

/// SIGINT, the signal that Ctrl-C is elsewhere.
const INTERRUPT: i32 = 2;

/// How a conversation ends.
enum ChatEnd {
    /// The server has closed, like this.
    Server(StreamEnd),
    /// The connection broke.
    Lost(ConnectionError),
    /// The person leaves, and no longer waits for the server.
    Quit,
    /// The person resets the connection.
    Reset,
    /// The process was told to end.
    Signal(i32),
}

pub(super) fn run(
    connection: Connection,
    address: &ServerAddress,
    eol: Eol,
    recording: ChatRecording,
    variables: Variables,
) -> Result<(), ExitError> {
    let (sender, receiver) = connection.split();
    let modes = editable();
    let original = modes.clone();
    // Signals are watched first: from then on none ends the process before the terminal is as it
    // was.
    let events = events::start(receiver, move || original.iter().for_each(raw::Modes::restore))
        .map_err(|err| ExitError::internal(err.into()))?;
    let (last_row, typing) = keyboard(modes, variables.secrets());
    let mut chat = Chat {
        send_side: SendSide::Open(sender),
        terminal: Terminal::new(Screen::new(last_row), eol),
        typing,
        recorder: Recorder::new(recording).hiding(variables),
        eol,
        bytes_since_lf: 0,
    };
    let talked = chat
        .screen()
        .say(&format!("connected to {address}; Ctrl-D ends, :help tells more"))
        .map_err(ExitError::stdout)
        .and_then(|()| chat.talk(&events));
    let Chat { send_side, terminal, recorder, bytes_since_lf, .. } = chat;
    let finished = terminal.finish().and_then(Screen::finish);
    let judged = talked.and_then(|ending| classify(ending, &send_side, bytes_since_lf));
    judged.and(recorder.into_output().finish()).and(finished.map_err(ExitError::stdout))
}

/// What a conversation's end means for the command.
fn classify(ending: ChatEnd, send_side: &SendSide, bytes_since_lf: usize) -> Result<(), ExitError> {
    match (ending, send_side) {
        (ChatEnd::Server(_), _) if bytes_since_lf > 0 => {
            Err(ConnectionError::PartialLine { bytes: bytes_since_lf }.into())
        }
        (ChatEnd::Server(_), SendSide::Refused { bytes }) => Err(ExitError::unsent(*bytes)),
        // Nothing depends on whether what is told here is read.
        (ChatEnd::Server(StreamEnd::Truncated), _) => {
            tell_truncated();
            Ok(())
        }
        (ChatEnd::Server(_), SendSide::Open(_)) => {
            let _ = writeln!(io::stderr(), "the server closed the connection");
            Ok(())
        }
        (ChatEnd::Server(_), SendSide::HalfClosed) | (ChatEnd::Quit | ChatEnd::Reset, _) => Ok(()),
        (ChatEnd::Lost(err), _) => Err(err.into()),
        (ChatEnd::Signal(signal), _) => Err(ExitError::Signal(signal)),
    }
}

/// How the terminal works before a line is edited on it; none of one that cannot move its cursor.
fn editable() -> Option<raw::Modes> {
    let can_edit = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
    can_edit.then(raw::Modes::current)?.ok()
}

/// Who makes lines of what is typed: an editor, or a terminal that has none to offer.
fn keyboard(modes: Option<raw::Modes>, secrets: &Secrets) -> (LastRow, TypingMode) {
    if let Some(Ok(terminal)) = modes.map(raw::RawTerminal::open) {
        let editor = editor::Editor::new(history::History::load(secrets.clone()));
        return (LastRow::Edited { terminal, editor }, TypingMode::Keys(keys::KeyDecoder::default()));
    }
    (LastRow::Plain, TypingMode::Lines(Vec::new()))
}

struct Chat {
    send_side: SendSide,
    terminal: Terminal<Screen>,
    typing: TypingMode,
    recorder: Recorder<ChatRecording>,
    eol: Eol,
    /// How much has come of a line that has not ended.
    bytes_since_lf: usize,
}

/// The way to the server.
enum SendSide {
    Open(Sender),
    HalfClosed,
    /// The connection took no more. Why, the thread that reads from it will report.
    Refused {
        /// Bytes that were typed and not sent.
        bytes: u64,
    },
}

/// How the keyboard is read.
enum TypingMode {
    Keys(keys::KeyDecoder),
    /// Line by line; this is the start of one.
    Lines(Vec<u8>),
    Ended,
}

impl Chat {
    fn screen(&mut self) -> &mut Screen {
        self.terminal.output_mut()
    }

    fn talk(&mut self, events: &ChatEvents) -> Result<ChatEnd, ExitError> {
        loop {
            let quiet = if self.screen().has_fresh() { QUIET } else { Duration::MAX };
            let ending = match events.next(quiet) {
                Ok(event) => self.take(event)?,
                Err(RecvTimeoutError::Timeout) => {
                    self.screen().show_fresh().map_err(ExitError::stdout)?;
                    None
                }
                Err(RecvTimeoutError::Disconnected) => unreachable!("who reads the connection reports its end"),
            };
            if let Some(ending) = ending {
                self.record(match &ending {
                    ChatEnd::Server(end) => Traffic::Ended(*end),
                    ChatEnd::Lost(ConnectionError::Lost(err)) => Traffic::Ended(StreamEnd::from_error(err)),
                    ChatEnd::Reset => Traffic::Reset,
                    _ => Traffic::Closed,
                });
                return Ok(ending);
            }
        }
    }

    fn take(&mut self, event: ChatEvent) -> Result<Option<ChatEnd>, ExitError> {
        match event {
            ChatEvent::Typed(bytes) => self.typed(&bytes),
            ChatEvent::LineCut { is_over } => {
                if let TypingMode::Lines(line) = &mut self.typing {
                    line.clear();
                }
                let row = if is_over { "" } else { "\n" };
                let screen = self.screen();
                screen.enter(b"").and_then(|()| screen.say(&format!("{row}{CUT}"))).map_err(ExitError::stdout)?;
                Ok(None)
            }
            ChatEvent::TypingEnded => {
                let ending = match std::mem::replace(&mut self.typing, TypingMode::Ended) {
                    TypingMode::Lines(line) if !line.is_empty() => self.line(&line)?,
                    _ => None,
                };
                self.half_close()?;
                Ok(ending)
            }
            ChatEvent::Received(bytes) => {
                self.record(Traffic::Received(&bytes));
                let after_lf = bytes.iter().rev().take_while(|&&byte| byte != b'\n').count();
                self.bytes_since_lf = if after_lf == bytes.len() { self.bytes_since_lf + after_lf } else { after_lf };
                self.terminal.write_all(&bytes).and_then(|()| self.terminal.flush()).map_err(ExitError::stdout)?;
                Ok(None)
            }
            ChatEvent::ServerEnded(Ok(end)) => Ok(Some(ChatEnd::Server(end))),
            ChatEvent::ServerEnded(Err(err)) => Ok(Some(ChatEnd::Lost(err))),
            ChatEvent::Resumed => {
                if let Some((terminal, _)) = self.screen().edited() {
                    terminal.enter().map_err(ExitError::stdout)?;
                }
                self.screen().draw().map_err(ExitError::stdout)?;
                Ok(None)
            }
            ChatEvent::Signal(signal) => Ok(Some(ChatEnd::Signal(signal))),
        }
    }

    fn typed(&mut self, bytes: &[u8]) -> Result<Option<ChatEnd>, ExitError> {
        for &byte in bytes {
            let ending = match &mut self.typing {
                TypingMode::Keys(keys) => match keys.take(byte) {
                    Some(key) => self.pressed(key)?,
                    None => None,
                },
                TypingMode::Lines(line) if byte == b'\n' => {
                    let line = std::mem::take(line);
                    self.line(&line)?
                }
                TypingMode::Lines(line) => {
                    line.push(byte);
                    None
                }
                TypingMode::Ended => None,
            };
            if ending.is_some() {
                return Ok(ending);
            }
        }
        self.screen().draw().map_err(ExitError::stdout)?;
        Ok(None)
    }

    fn pressed(&mut self, key: keys::KeyPress) -> Result<Option<ChatEnd>, ExitError> {
        let Some((terminal, editor)) = self.screen().edited() else { return Ok(None) };
        match editor.press(key) {
            None => {}
            Some(EditorEvent::Line(line)) => return self.line(line.as_bytes()),
            Some(EditorEvent::End) => self.half_close()?,
            Some(EditorEvent::Interrupt) => return Ok(Some(ChatEnd::Signal(INTERRUPT))),
            Some(EditorEvent::Suspend) => terminal.suspend(),
            Some(EditorEvent::ClearScreen) => self.screen().clear().map_err(ExitError::stdout)?,
        }
        Ok(None)
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<ChatEnd>, ExitError> {
        self.screen().enter(line).map_err(ExitError::stdout)?;
        let message = match TypedLine::parse(line) {
            TypedLine::Line(line) => return Ok(self.send(line)),
            TypedLine::Command(PromptCommand::Quit) => return Ok(Some(ChatEnd::Quit)),
            TypedLine::Command(PromptCommand::Reset) => {
                if let SendSide::Open(sender) = std::mem::replace(&mut self.send_side, SendSide::HalfClosed) {
                    sender.reset();
                }
                return Ok(Some(ChatEnd::Reset));
            }
            TypedLine::Command(PromptCommand::Eof) => {
                self.half_close()?;
                return Ok(None);
            }
            TypedLine::Command(PromptCommand::Record(name)) => match self.recorder.output_mut().start(name) {
                Ok(()) => format!("this conversation is written to {name}, from its start"),
                Err(message) => message,
            },
            TypedLine::Command(PromptCommand::Help) => HELP.to_owned(),
            TypedLine::Mistake(message) => message,
        };
        self.screen().say(&message).map_err(ExitError::stdout)?;
        Ok(None)
    }

    fn send(&mut self, line: &[u8]) -> Option<ChatEnd> {
        let wire = [line, self.eol.bytes()].concat();
        match &mut self.send_side {
            SendSide::Open(sender) => match sender.send(line) {
                Ok(()) => self.record(Traffic::Sent(&wire)),
                Err(ConnectionError::Lost(_)) => self.send_side = SendSide::Refused { bytes: wire.len() as u64 },
                Err(err) => return Some(ChatEnd::Lost(err)),
            },
            SendSide::Refused { bytes } => *bytes += wire.len() as u64,
            SendSide::HalfClosed => {}
        }
        None
    }

    fn half_close(&mut self) -> Result<(), ExitError> {
        self.typing = TypingMode::Ended;
        match std::mem::replace(&mut self.send_side, SendSide::HalfClosed) {
            SendSide::Open(sender) => {
                self.record(Traffic::HalfClosed);
                sender.finish();
            }
            before => self.send_side = before,
        }
        self.screen().end_typing().map_err(ExitError::stdout)
    }

    /// A recording that fails does not end the conversation: that is told now, and by the exit
    /// status.
    fn record(&mut self, traffic: Traffic<'_>) {
        if let Err(err) = self.recorder.record(traffic)
            && let Some(message) = self.recorder.output_mut().fail(&err)
        {
            // What it says stands in the exit status, too.
            let _ = self.screen().say(&message);
        }
    }
}
