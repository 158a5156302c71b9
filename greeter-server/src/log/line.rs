//! Turns an event into one line of text or JSON. Whatever clients have sent, the line is printable
//! and short.

use std::fmt::{self, Write};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The maximum length of a line, with its newline. It is also short enough for a pipe to take it as
/// a whole or not at all.
pub(super) const MAX_LINE_BYTES: usize = 512;

/// The format of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text: `TIME LEVEL MESSAGE NAME=VALUE …`.
    Text,
    /// Text for a terminal.
    ColouredText,
    /// A JSON object.
    Json,
}

impl Format {
    pub(super) fn coloured(self) -> Self {
        match self {
            Self::Text | Self::ColouredText => Self::ColouredText,
            Self::Json => Self::Json,
        }
    }

    /// Returns the end of a line that was cut.
    const fn cut(self) -> &'static str {
        match self {
            Self::Text | Self::ColouredText => "…\n",
            Self::Json => ",\"cut\":true}\n",
        }
    }

    /// Returns the end of every other line.
    const fn end(self) -> &'static str {
        match self {
            Self::Text | Self::ColouredText => "\n",
            Self::Json => "}\n",
        }
    }

    /// Returns how many bytes the fields may have: the end of the line always fits after them, and
    /// so does the quote that ends a string.
    const fn room(self) -> usize {
        MAX_LINE_BYTES - self.cut().len() - "\"".len()
    }
}

/// A line under construction. What is written to it is escaped.
#[derive(Debug)]
pub(super) struct LogLine {
    format: Format,
    text: String,
    /// Whether something did not fit; from then on, nothing is added.
    is_cut: bool,
}

impl LogLine {
    pub(super) fn begin(format: Format, level: Level) -> Self {
        let mut line = Self { format, text: String::with_capacity(MAX_LINE_BYTES / 2), is_cut: false };
        // A clock can be wrong, but no event may panic.
        let time = humantime::format_rfc3339_micros(SystemTime::now().max(SystemTime::UNIX_EPOCH));
        let _ = match format {
            Format::Text => write!(line.text, "{time} {level:>5}"),
            Format::ColouredText => write!(line.text, "\x1b[2m{time}\x1b[0m \x1b[{}m{level:>5}\x1b[0m", colour(level)),
            Format::Json => write!(line.text, r#"{{"timestamp":"{time}","level":"{level}""#),
        };
        line
    }

    /// Adds a field whose value is text. In text, the field `message` is shown without its name.
    pub(super) fn text(&mut self, name: &str, value: fmt::Arguments<'_>) {
        let quote = if self.format == Format::Json { "\"" } else { "" };
        let start = self.start(name) + quote;
        if self.push(&start).is_ok() {
            // An error means that not all of it did fit, which shows.
            let _ = self.write_fmt(value);
            self.text.push_str(quote);
        }
    }

    /// Adds a field whose value is a number or a Boolean.
    pub(super) fn number(&mut self, name: &str, value: impl fmt::Display) {
        let piece = format!("{}{value}", self.start(name));
        let _ = self.push(&piece);
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str(if self.is_cut { self.format.cut() } else { self.format.end() });
        self.text
    }

    /// Returns what comes before the value of a field.
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
impl Write for LogLine {
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

/// Returns whether a character is visible, as itself and where it is. Rust's own escapes include
/// quotes and backslashes; here they are shown as they are, as `greeter-client` does.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~') || c.escape_debug().len() == 1
}

/// Returns the terminal's code of a level's colour.
fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        Level::DEBUG => "34",
        _ => "35",
    }
}

/// The fields of an event, as `tracing` passes them.
impl Visit for LogLine {
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

/// Returns the message of an event, as it is.
pub(super) fn message(event: &Event<'_>) -> String {
    struct MessageVisitor(String);

    impl Visit for MessageVisitor {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                // A value that cannot be formatted is left out.
                let _ = write!(self.0, "{value:?}");
            }
        }
    }

    let mut message = MessageVisitor(String::new());
    event.record(&mut message);
    message.0
}
