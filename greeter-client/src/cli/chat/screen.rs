//! What the person sees: whole lines above, and on the last row what is being typed. Gets text that
//! is already escaped.

use std::io::{self, Stdout, Write};

use anstyle::{AnsiColor, Style};
use greeter_client::escape;
use unicode_width::UnicodeWidthStr;

use super::editor::Editor;
use super::raw::RawTerminal;
use crate::cli::color::is_colored;

const PROMPT: &str = "> ";
const PROMPT_STYLE: Style = AnsiColor::Cyan.on_default().bold();
/// To the start of the row, and clear it.
const ERASE: &str = "\r\x1b[K";
/// What is longer than this without an end is no prompt, and is shown in pieces.
const MAX_UNFINISHED_BYTES: usize = 4096;
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) struct Screen {
    output: Stdout,
    colored: bool,
    last_row: LastRow,
    /// What the server has begun and not ended: maybe a prompt of its own, maybe just slow.
    unfinished: PartialRow,
}

/// What the last row of the screen is there for.
pub(super) enum LastRow {
    /// A line is typed on it, with an editor.
    Edited { terminal: RawTerminal, editor: Editor },
    /// The terminal shows by itself what is typed, if anything is.
    Plain,
}

enum PartialRow {
    Nothing,
    /// It has not been shown, in case that the rest comes at once.
    Fresh(String),
    /// It is on the last row; in front of what is typed, where that is edited.
    Shown(String),
}

impl PartialRow {
    fn take(&mut self) -> String {
        match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => String::new(),
            Self::Fresh(text) | Self::Shown(text) => text,
        }
    }
}

impl Screen {
    pub(super) fn new(last_row: LastRow) -> Self {
        let output = io::stdout();
        let colored = is_colored(&output);
        Self { output, colored, last_row, unfinished: PartialRow::Nothing }
    }

    /// The editor, where there is one.
    pub(super) fn edited(&mut self) -> Option<(&RawTerminal, &mut Editor)> {
        match &mut self.last_row {
            LastRow::Edited { terminal, editor } => Some((terminal, editor)),
            LastRow::Plain => None,
        }
    }

    /// Whether something has come that is shown only if nothing follows.
    pub(super) fn has_fresh(&self) -> bool {
        matches!(self.unfinished, PartialRow::Fresh(_))
    }

    /// Shows what the server has begun, as nothing has followed. It stands where the prompt would.
    pub(super) fn show_fresh(&mut self) -> io::Result<()> {
        let text = self.unfinished.take();
        // Half of the row is for what is typed.
        if text.width() > self.columns() / 2 {
            self.output.write_all(format!("{ERASE}{text}\n").as_bytes())?;
        } else {
            self.unfinished = PartialRow::Shown(text);
        }
        self.draw()
    }

    /// Leaves the line that was typed on the screen, and goes to the next row. Where the terminal
    /// makes the lines, it has done so.
    pub(super) fn enter(&mut self, line: &[u8]) -> io::Result<()> {
        if self.edited().is_some() {
            let row = format!("{ERASE}{}{}\n", self.prompt(), escape::one_line(line));
            self.output.write_all(row.as_bytes())?;
        }
        if matches!(self.unfinished, PartialRow::Shown(_)) {
            self.unfinished = PartialRow::Nothing;
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.output.write_all(CLEAR.as_bytes())
    }

    /// Says something beside the conversation; nothing depends on whether it is read.
    pub(super) fn say(&mut self, message: &str) -> io::Result<()> {
        self.clear_last_row()?;
        self.output.flush()?;
        // In one piece: where the terminal shows what is typed, it would show it in between.
        let line = format!("{}\n", escape::text(message.as_bytes()));
        let _ = io::stderr().write_all(line.as_bytes());
        self.draw()
    }

    /// Nothing will be typed any more: the terminal is as it was.
    pub(super) fn end_typing(&mut self) -> io::Result<()> {
        if let LastRow::Edited { .. } = self.last_row {
            let text = self.unfinished.take();
            self.output.write_all(format!("{ERASE}{text}").as_bytes())?;
            if !text.is_empty() {
                self.unfinished = PartialRow::Shown(text);
            }
            self.last_row = LastRow::Plain;
        }
        self.output.flush()
    }

    /// Ends with a row of its own for whatever comes next.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.end_typing()?;
        self.clear_last_row()?;
        self.output.flush()
    }

    /// Draws the row that is typed on.
    pub(super) fn draw(&mut self) -> io::Result<()> {
        if let LastRow::Edited { terminal, editor } = &self.last_row {
            let prompt_columns = self.prompt_text().width();
            let (view, column) = editor.view(terminal.columns().saturating_sub(prompt_columns));
            let mut row = format!("{ERASE}{}{view}\r", self.prompt());
            if prompt_columns + column > 0 {
                row.push_str(&format!("\x1b[{}C", prompt_columns + column));
            }
            self.output.write_all(row.as_bytes())?;
        }
        self.output.flush()
    }

    fn prompt_text(&self) -> &str {
        match &self.unfinished {
            PartialRow::Shown(text) => text,
            _ => PROMPT,
        }
    }

    fn prompt(&self) -> String {
        match &self.unfinished {
            PartialRow::Shown(text) => text.clone(),
            _ if self.colored => format!("{PROMPT_STYLE}{PROMPT}{PROMPT_STYLE:#}"),
            _ => PROMPT.to_owned(),
        }
    }

    fn columns(&self) -> usize {
        match &self.last_row {
            LastRow::Edited { terminal, .. } => terminal.columns(),
            LastRow::Plain => usize::MAX,
        }
    }

    /// Makes the last row free. Where the terminal shows by itself what is typed, only the start of
    /// a line is in the way.
    fn clear_last_row(&mut self) -> io::Result<()> {
        match (&self.last_row, &self.unfinished) {
            (LastRow::Edited { .. }, _) => self.output.write_all(ERASE.as_bytes()),
            (LastRow::Plain, PartialRow::Shown(_)) => {
                self.unfinished = PartialRow::Nothing;
                self.output.write_all(b"\n")
            }
            (LastRow::Plain, _) => Ok(()),
        }
    }

    fn write_edited(&mut self, text: &str) -> io::Result<()> {
        let mut pending = self.unfinished.take();
        pending.push_str(text);
        if let Some(end) = pending.rfind('\n') {
            self.output.write_all(format!("{ERASE}{}", &pending[..=end]).as_bytes())?;
            pending.drain(..=end);
        }
        if pending.len() > MAX_UNFINISHED_BYTES {
            self.output.write_all(format!("{ERASE}{pending}\n").as_bytes())?;
        } else if !pending.is_empty() {
            // A tab would move by more columns than are counted.
            self.unfinished = PartialRow::Fresh(pending.replace('\t', " "));
        }
        Ok(())
    }

    fn write_plain(&mut self, text: &str) -> io::Result<()> {
        self.output.write_all(text.as_bytes())?;
        self.unfinished = if text.ends_with('\n') { PartialRow::Nothing } else { PartialRow::Shown(text.to_owned()) };
        Ok(())
    }
}

impl Write for Screen {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let shown = String::from_utf8_lossy(text);
        match self.last_row {
            _ if text.is_empty() => {}
            LastRow::Edited { .. } => self.write_edited(&shown)?,
            LastRow::Plain => self.write_plain(&shown)?,
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.draw()
    }
}
