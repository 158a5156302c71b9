//! Turns an event into one line: of text, or of JSON. Whatever clients had a hand in, the line is printable and not long.

use std::fmt::{self, Write};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The longest line, its newline included. It is also short enough that a pipe takes it as a whole or not at all.
pub(super) const LINE_BYTES_MAX: usize = 512;

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people: `TIME LEVEL MESSAGE NAME=VALUE …`.
    Text,
    /// For people at a terminal.
    ColouredText,
    /// For programs: an object of JSON.
    Json,
}

impl Format {
    pub(super) fn coloured(self) -> Self {
        match self {
            Self::Text | Self::ColouredText => Self::ColouredText,
            Self::Json => Self::Json,
        }
    }

    /// How a line ends whose rest did not find room.
    const fn cut(self) -> &'static str {
        match self {
            Self::Text | Self::ColouredText => "…\n",
            Self::Json => ",\"cut\":true}\n",
        }
    }

    /// How every other line ends.
    const fn end(self) -> &'static str {
        match self {
            Self::Text | Self::ColouredText => "\n",
            Self::Json => "}\n",
        }
    }

    /// The room for pieces of a line: what ends it always fits behind them, and so does the quote that ends a string.
    const fn room(self) -> usize {
        LINE_BYTES_MAX - self.cut().len() - "\"".len()
    }
}

/// A line in the making. What is written to it is escaped.
#[derive(Debug)]
pub(super) struct Line {
    format: Format,
    text: String,
    /// Something did not find room; from then on, nothing does.
    is_cut: bool,
}

impl Line {
    pub(super) fn begin(format: Format, level: Level) -> Self {
        let mut line = Self { format, text: String::with_capacity(LINE_BYTES_MAX / 2), is_cut: false };
        // A clock can be wrong, but nothing that is logged may panic.
        let time = humantime::format_rfc3339_micros(SystemTime::now().max(SystemTime::UNIX_EPOCH));
        let _ = match format {
            Format::Text => write!(line.text, "{time} {level:>5}"),
            Format::ColouredText => write!(line.text, "\x1b[2m{time}\x1b[0m \x1b[{}m{level:>5}\x1b[0m", colour(level)),
            Format::Json => write!(line.text, r#"{{"timestamp":"{time}","level":"{level}""#),
        };
        line
    }

    /// Adds a field whose value is text. The field `message` has no name where people read.
    pub(super) fn text(&mut self, name: &str, value: fmt::Arguments<'_>) {
        let quote = if self.format == Format::Json { "\"" } else { "" };
        let start = self.start(name) + quote;
        if self.push(&start).is_ok() {
            // An error says that there was no room for all of it, which shows.
            let _ = self.write_fmt(value);
            self.text.push_str(quote);
        }
    }

    /// Adds a field whose value is a number or a truth.
    pub(super) fn number(&mut self, name: &str, value: impl fmt::Display) {
        let piece = format!("{}{value}", self.start(name));
        let _ = self.push(&piece);
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str(if self.is_cut { self.format.cut() } else { self.format.end() });
        self.text
    }

    /// What stands before the value of a field.
    fn start(&self, name: &str) -> String {
        match (self.format, name) {
            (Format::Json, name) => format!(r#","{name}":"#),
            (_, "message") => " ".to_owned(),
            (Format::Text, name) => format!(" {name}="),
            (Format::ColouredText, name) => format!(" \x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m"),
        }
    }

    /// Adds a piece as it is, whole or not at all.
    fn push(&mut self, piece: &str) -> fmt::Result {
        self.is_cut |= self.text.len() + piece.len() > self.format.room();
        if self.is_cut {
            return Err(fmt::Error);
        }
        self.text.push_str(piece);
        Ok(())
    }
}

/// Escapes what is written.
impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| self.write_char(c))
    }

    fn write_char(&mut self, c: char) -> fmt::Result {
        match (self.format, c) {
            (Format::Json, '"' | '\\') => self.push(&format!("\\{c}")),
            _ if is_printable(c) => self.push(c.encode_utf8(&mut [0; 4])),
            (Format::Json, c) => {
                let units = c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
                self.push(&units)
            }
            (_, c) => self.push(&c.escape_debug().to_string()),
        }
    }
}

/// Whether a character shows, as itself and where it stands. For Rust itself, quotes and backslashes also need escapes; here
/// they are for eyes, as they are in what `greeter-client` shows.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~') || c.escape_debug().len() == 1
}

/// The codes of a terminal for a colour.
fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG => "34",
        _ => "35",
    }
}

/// The fields of an event, as `tracing` hands them over.
impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match self.format {
            Format::Json => self.text(field.name(), format_args!("{value}")),
            _ => self.text(field.name(), format_args!("{value:?}")),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field.name(), value);
    }
}

/// The message of an event, as it is.
pub(super) fn message(event: &Event<'_>) -> String {
    struct Message(String);

    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                // What a value of somebody else cannot format is left out.
                let _ = write!(self.0, "{value:?}");
            }
        }
    }

    let mut message = Message(String::new());
    event.record(&mut message);
    message.0
}
