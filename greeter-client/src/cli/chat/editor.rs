//! The line that is being typed. It knows no terminal: keys come in, and a view of the line goes
//! out.
//!
//! It is our own: rustyline 19 and reedline 0.52 were tried in its place, and neither would do.
//! Both need Rust 1.95, and make one line of a paste of several. rustyline waits for keys in a call
//! that nothing but SIGINT ends, loses most of what arrives together with a line, and ends on a
//! byte that is no UTF-8. reedline looks ten times a second whether a reply has come, and asks the
//! terminal where its cursor is before each line: for one that does not answer, it waits for
//! seconds.

use greeter_client::escape;
use unicode_width::UnicodeWidthStr;

use super::history::History;
use super::keys::KeyPress;

/// What a key asks for that the line cannot do itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum EditorEvent {
    /// The line is finished.
    Line(String),
    /// There will be no more lines.
    End,
    Interrupt,
    Suspend,
    ClearScreen,
}

#[derive(Debug)]
pub(super) struct Editor {
    text: String,
    /// Where in `text`, in bytes; always between two characters.
    cursor: usize,
    /// What was deleted last.
    deleted: String,
    history: History,
}

impl Editor {
    pub(super) fn new(history: History) -> Self {
        Self { text: String::new(), cursor: 0, deleted: String::new(), history }
    }

    pub(super) fn press(&mut self, key: KeyPress) -> Option<EditorEvent> {
        match key {
            KeyPress::Enter => {
                let line = std::mem::take(&mut self.text);
                self.cursor = 0;
                self.history.add(&line);
                return Some(EditorEvent::Line(line));
            }
            KeyPress::Interrupt => return Some(EditorEvent::Interrupt),
            KeyPress::Suspend => return Some(EditorEvent::Suspend),
            KeyPress::ClearScreen => return Some(EditorEvent::ClearScreen),
            KeyPress::EndOrDelete if self.text.is_empty() => return Some(EditorEvent::End),
            KeyPress::Up => self.replace(History::older),
            KeyPress::Down => self.replace(History::newer),
            KeyPress::Char(c) => {
                self.text.insert(self.cursor, c);
                self.cursor += c.len_utf8();
            }
            KeyPress::PutBack => {
                self.text.insert_str(self.cursor, &self.deleted);
                self.cursor += self.deleted.len();
            }
            KeyPress::Left => self.cursor = self.before(),
            KeyPress::Right => self.cursor = self.after(),
            KeyPress::WordLeft => self.cursor = self.word_before(),
            KeyPress::WordRight => self.cursor = self.word_after(),
            KeyPress::Home => self.cursor = 0,
            KeyPress::End => self.cursor = self.text.len(),
            KeyPress::Backspace => drop(self.cut(self.before(), self.cursor)),
            KeyPress::Delete | KeyPress::EndOrDelete => drop(self.cut(self.cursor, self.after())),
            KeyPress::DeleteToStart => self.deleted = self.cut(0, self.cursor),
            KeyPress::DeleteToEnd => self.deleted = self.cut(self.cursor, self.text.len()),
            KeyPress::DeleteWord => self.deleted = self.cut(self.word_before(), self.cursor),
            KeyPress::DeleteNextWord => self.deleted = self.cut(self.cursor, self.word_after()),
        }
        None
    }

    /// As much of the line as `columns` hold with the cursor in it, and the cursor's column.
    pub(super) fn view(&self, columns: usize) -> (String, usize) {
        let shown = |text: &str| escape::one_line(text.as_bytes()).to_string();
        let mut before: Vec<(String, usize)> = Vec::new();
        let mut column = 0;
        for c in self.text[..self.cursor].chars().rev() {
            let one = shown(c.encode_utf8(&mut [0; 4]));
            let width = one.width();
            // The cursor itself stands on a column.
            if column + width >= columns {
                break;
            }
            column += width;
            before.push((one, width));
        }
        let mut view: String = before.into_iter().rev().map(|(one, _)| one).collect();
        let mut used = column;
        for c in self.text[self.cursor..].chars() {
            let one = shown(c.encode_utf8(&mut [0; 4]));
            used += one.width();
            if used >= columns {
                break;
            }
            view.push_str(&one);
        }
        (view, column)
    }

    fn replace(&mut self, step: impl FnOnce(&mut History, &str) -> Option<String>) {
        if let Some(line) = step(&mut self.history, &self.text) {
            self.text = line;
            self.cursor = self.text.len();
        }
    }

    fn cut(&mut self, start: usize, end: usize) -> String {
        self.cursor = start;
        self.text.drain(start..end).collect()
    }

    fn before(&self) -> usize {
        self.text[..self.cursor].char_indices().next_back().map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        self.text[self.cursor..].chars().next().map_or(self.cursor, |c| self.cursor + c.len_utf8())
    }

    fn word_before(&self) -> usize {
        let text = self.text[..self.cursor].trim_end_matches(|c: char| !c.is_alphanumeric());
        text.trim_end_matches(char::is_alphanumeric).len()
    }

    fn word_after(&self) -> usize {
        let rest = self.text[self.cursor..].trim_start_matches(|c: char| !c.is_alphanumeric());
        self.text.len() - rest.trim_start_matches(char::is_alphanumeric).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::chat::keys::KeyDecoder;

    /// Types `bytes`, and gives the line with `|` where the cursor is, and what was asked for.
    fn typed(bytes: &[u8]) -> (String, Vec<EditorEvent>) {
        let mut editor = Editor::new(History::default());
        let mut keys = KeyDecoder::default();
        let pressed = bytes.iter().filter_map(|&byte| keys.take(byte));
        let asked = pressed.filter_map(|key| editor.press(key)).collect();
        let (before, after) = editor.text.split_at(editor.cursor);
        (format!("{before}|{after}"), asked)
    }

    #[track_caller]
    fn check(bytes: &[u8], line: &str) {
        assert_eq!(typed(bytes), (line.to_owned(), Vec::new()));
    }

    #[test]
    fn a_line_is_edited_anywhere() {
        check("Bb\x1b[Do".as_bytes(), "Bo|b");
        check("Zoë\x08\x08ack".as_bytes(), "Zack|");
        check(b"abc\x01\x04\x05\x1b[D\x1b[3~d", "bd|");
        check(b"ab\x01\x02\x08\x1b[C\x1b[C\x1b[C\x04\x1b[3~", "ab|");
    }

    #[test]
    fn words_and_ends_are_deleted_and_put_back() {
        check(b"one two\x17", "one |");
        check(b"one two  \x17\x19\x19", "one two  two  |");
        check(b"one two\x1bb\x0b\x01\x19", "two|one ");
        check(b"one two\x1bb\x15", "|two");
        check(b"one two\x01\x1bd\x1bf\x1b\x7f", " |");
    }

    #[test]
    fn enter_finishes_the_line_and_the_arrows_bring_lines_back() {
        let (line, asked) = typed(b"one\rtwo\rthree\x1b[A\x1b[A\x1b[A");
        assert_eq!(
            (line.as_str(), asked),
            ("one|", vec![EditorEvent::Line("one".into()), EditorEvent::Line("two".into())])
        );
        assert_eq!(typed(b"one\rtwo\rthree\x1b[A\x1b[A\x1b[B\x1b[B\x1b[B!").0, "three!|");
        assert_eq!(typed(b"one\r\x1b[A\r").1, [EditorEvent::Line("one".into()), EditorEvent::Line("one".into())]);
    }

    #[test]
    fn what_is_not_the_lines_business_is_asked_for() {
        let (line, asked) = typed(b"\x04a\x04\x03\x1a\x0c");
        assert_eq!(line, "a|");
        assert_eq!(asked, [EditorEvent::End, EditorEvent::Interrupt, EditorEvent::Suspend, EditorEvent::ClearScreen]);
    }

    #[test]
    fn the_view_holds_the_cursor_however_long_the_line_is() {
        let mut editor = Editor::new(History::default());
        "0123456789".chars().for_each(|c| drop(editor.press(KeyPress::Char(c))));
        assert_eq!(editor.view(80), ("0123456789".into(), 10));
        assert_eq!(editor.view(5), ("6789".into(), 4));
        editor.press(KeyPress::Home);
        assert_eq!(editor.view(5), ("0123".into(), 0));
        editor.press(KeyPress::Right);
        assert_eq!(editor.view(5), ("0123".into(), 1));
        assert_eq!(editor.view(0), (String::new(), 0));
    }

    #[test]
    fn wide_and_control_characters_take_their_columns() {
        let mut editor = Editor::new(History::default());
        ['李', '\t', '\x1b'].into_iter().for_each(|c| drop(editor.press(KeyPress::Char(c))));
        assert_eq!(editor.view(80), ("李\\t\\e".into(), 6));
        assert_eq!(editor.view(6), ("\\t\\e".into(), 4));
    }
}
