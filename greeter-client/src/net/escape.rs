//! Makes bytes from a server safe to show: on a terminal, they could move the cursor, rename the
//! window, put text into the clipboard, or look like what they are not.
//!
//! Printable Unicode stays. What is escaped, in the notation that Rust and `.talk` scripts share:
//!
//! * C0 controls and DEL: `\e`, `\r`, `\a`, `\0`, else `\x08`;
//! * C1 controls, of which some terminals understand U+009B as ESC `[`; what reverses or isolates
//!   the direction of text, such as U+202E; other invisible characters that alter what is seen or
//!   copied: `\u{202e}`;
//! * bytes that are not UTF-8: `\xff`.
//!
//! A backslash stays as it is: the text is for eyes, and not meant to be read back by a program.
//! What is escaped once is not changed by being escaped again.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::path::Path;

use super::framing::Eol;

/// Escapes `bytes` as one line of harmless text, newlines and tabs too: for messages.
///
/// ```
/// let name = greeter_client::escape::one_line(b"B\xc3\xb6b \x1b[2J\xff\n");
/// assert_eq!(name.to_string(), r"Böb \e[2J\xff\n");
/// ```
#[must_use]
pub fn one_line(bytes: &[u8]) -> OneLine<'_> {
    OneLine(bytes)
}

/// Escapes a path as [`one_line`] does, whatever its name is made of.
///
/// ```
/// use std::path::Path;
///
/// assert_eq!(greeter_client::escape::path(Path::new("a\nb.talk")).to_string(), r"a\nb.talk");
/// ```
#[must_use]
pub fn path(path: &Path) -> OneLine<'_> {
    one_line(path.as_os_str().as_encoded_bytes())
}

/// Bytes that are displayed as one line of harmless text; see [`one_line`].
#[derive(Clone, Copy, Debug)]
pub struct OneLine<'a>(&'a [u8]);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    c => write_char(f, c)?,
                }
            }
            write_invalid(f, chunk.invalid())?;
        }
        Ok(())
    }
}

/// Escapes `bytes` as harmless text of several lines, in which newlines and tabs stay: for what has
/// been put together of messages. What must stay on one line is escaped with [`one_line`] before.
///
/// ```
/// let report = greeter_client::escape::text(b"FAIL\ta.talk\n  \x1b[2J\n");
/// assert_eq!(report.to_string(), "FAIL\ta.talk\n  \\e[2J\n");
/// ```
#[must_use]
pub fn text(bytes: &[u8]) -> Text<'_> {
    Text(bytes)
}

/// Bytes that are displayed as harmless text; see [`text`].
#[derive(Clone, Copy, Debug)]
pub struct Text<'a>(&'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\n' | '\t' => f.write_char(c)?,
                    c => write_char(f, c)?,
                }
            }
            write_invalid(f, chunk.invalid())?;
        }
        Ok(())
    }
}

/// A writer that escapes what could act on the terminal behind it. Newlines and tabs pass; with
/// [`Eol::CrLf`], so does a CR directly before a newline.
///
/// What is written may be cut anywhere, in the middle of a character too: its start waits for the
/// rest, and [`finish`](Self::finish) says that there is none.
///
/// ```
/// use std::io::Write;
/// use greeter_client::{Eol, escape::Terminal};
///
/// let mut terminal = Terminal::new(Vec::new(), Eol::Lf);
/// terminal.write_all(b"caf\xc3")?;
/// terminal.write_all(b"\xa9\t\x1b]0;owned\x07\n")?;
/// assert_eq!(terminal.finish()?, "café\t\\e]0;owned\\a\n".as_bytes());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Terminal<W> {
    output: W,
    eol: Eol,
    /// The start of a character or of a line ending, whose rest may still come: at most 3 bytes.
    begun: Vec<u8>,
}

impl<W: Write> Terminal<W> {
    /// Creates a writer that escapes what goes to `output`.
    pub fn new(output: W, eol: Eol) -> Self {
        Self { output, eol, begun: Vec::new() }
    }

    /// Returns the output.
    pub fn output_mut(&mut self) -> &mut W {
        &mut self.output
    }

    /// Escapes what has begun and not been completed, flushes, and returns the output.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        let mut text = String::new();
        for chunk in self.begun.utf8_chunks() {
            chunk.valid().chars().try_for_each(|c| write_char(&mut text, c)).expect(STRING);
            write_invalid(&mut text, chunk.invalid()).expect(STRING);
        }
        self.output.write_all(text.as_bytes())?;
        self.output.flush()?;
        Ok(self.output)
    }

    /// Splits off what may be completed by the bytes that follow.
    fn begun_at(&self, bytes: &[u8]) -> usize {
        if self.eol == Eol::CrLf && bytes.ends_with(b"\r") {
            return bytes.len() - 1;
        }
        let incomplete = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
        match std::str::from_utf8(incomplete) {
            Err(err) if err.error_len().is_none() => bytes.len() - incomplete.len(),
            _ => bytes.len(),
        }
    }

    fn escape(&self, bytes: &[u8]) -> String {
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            let mut chars = chunk.valid().chars().peekable();
            while let Some(c) = chars.next() {
                match c {
                    '\n' | '\t' => text.push(c),
                    '\r' if self.eol == Eol::CrLf && chars.peek() == Some(&'\n') => {}
                    c => write_char(&mut text, c).expect(STRING),
                }
            }
            write_invalid(&mut text, chunk.invalid()).expect(STRING);
        }
        text
    }
}

const STRING: &str = "writing to a string does not fail";

/// One call takes all bytes or fails: what has been escaped cannot be taken back in part.
impl<W: Write> Write for Terminal<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = std::mem::take(&mut self.begun);
        all.extend_from_slice(bytes);
        self.begun = all.split_off(self.begun_at(&all));
        let text = self.escape(&all);
        self.output.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

fn write_char(f: &mut impl fmt::Write, c: char) -> fmt::Result {
    match c {
        '\0' => f.write_str("\\0"),
        '\u{7}' => f.write_str("\\a"),
        '\u{1b}' => f.write_str("\\e"),
        '\r' => f.write_str("\\r"),
        c if c.is_ascii_control() => write!(f, "\\x{:02x}", u32::from(c)),
        c if is_deceptive(c) => write!(f, "\\u{{{:x}}}", u32::from(c)),
        c => f.write_char(c),
    }
}

fn write_invalid(f: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

/// The text in quotes. What a terminal could act on, or eyes be deceived by, is escaped, too, which
/// the format does not ask for.
pub(crate) fn json_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() || is_deceptive(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(quoted, "\\u{unit:04x}").expect("a string takes everything");
                }
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// What XML has no way to say is shown as the replacement character; what would deceive whoever
/// looks at the file is named.
pub(crate) fn xml_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            '\t' | '\r' => escaped.push_str(&format!("&#{};", u32::from(c))),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c if is_deceptive(c) => escaped.push_str(&format!("&#{};", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Characters that are not seen but change what is. Joiners (U+200C, U+200D) stay: some scripts and
/// emoji need them.
fn is_deceptive(c: char) -> bool {
    matches!(
        c,
        '\u{80}'..='\u{9f}'          // C1 controls
        | '\u{61c}'                  // Arabic letter mark
        | '\u{180e}'                 // Mongolian vowel separator
        | '\u{200b}'                 // zero width space
        | '\u{200e}' | '\u{200f}'    // directional marks
        | '\u{2028}'..='\u{202e}'    // line and paragraph separators, directional embeddings and overrides
        | '\u{2060}'..='\u{206f}'    // word joiner, invisible operators, directional isolates, deprecated controls
        | '\u{feff}'                 // byte order mark
        | '\u{fff9}'..='\u{fffb}'    // interlinear annotation
        | '\u{e0000}'..='\u{e007f}'  // tags
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(eol: Eol, pieces: &[&[u8]]) -> String {
        let mut terminal = Terminal::new(Vec::new(), eol);
        for piece in pieces {
            terminal.write_all(piece).unwrap();
        }
        String::from_utf8(terminal.finish().unwrap()).unwrap()
    }

    /// However the bytes are cut, the same is shown.
    #[track_caller]
    fn check(eol: Eol, bytes: &[u8], text: &str) {
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(shown(eol, &pieces), text, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn printable_unicode_stays() {
        for text in ["", "plain \\ \"text\"\t\n", "Zoë, 李, שלום, 👩‍👧 🎉", "\u{a0}\u{e9}\u{10ffff}"] {
            check(Eol::Lf, text.as_bytes(), text);
        }
    }

    #[test]
    fn controls_are_escaped() {
        check(Eol::Lf, b"\x1b[2J\x07\0\x08\x7f", "\\e[2J\\a\\0\\x08\\x7f");
        check(Eol::Lf, "\u{9b}2J\u{85}".as_bytes(), "\\u{9b}2J\\u{85}");
    }

    #[test]
    fn bytes_that_are_no_utf8_are_escaped() {
        check(Eol::Lf, b"a\xffb\x9b\xc3", "a\\xffb\\x9b\\xc3");
        check(Eol::Lf, b"\xf0\x9f\x8e", "\\xf0\\x9f\\x8e");
        check(Eol::Lf, b"\xe2\x80\n\xed\xa0\x80", "\\xe2\\x80\n\\xed\\xa0\\x80");
    }

    #[test]
    fn text_cannot_be_turned_around_or_hidden() {
        check(Eol::Lf, "a\u{202e}b\u{2066}c".as_bytes(), "a\\u{202e}b\\u{2066}c");
        check(Eol::Lf, "\u{feff}\u{200b}\u{e0041}".as_bytes(), "\\u{feff}\\u{200b}\\u{e0041}");
    }

    #[test]
    fn a_cr_is_shown_unless_it_belongs_to_the_ending() {
        check(Eol::Lf, b"a\r\nb\rc\r", "a\\r\nb\\rc\\r");
        check(Eol::CrLf, b"a\r\nb\rc\r\r\n\r", "a\nb\\rc\\r\n\\r");
    }

    /// Whatever comes, what a terminal gets is printable.
    #[test]
    fn nothing_but_newline_and_tab_passes_unprintable() {
        let bytes: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        let text = shown(Eol::CrLf, &[&bytes]) + &one_line(&bytes).to_string() + &text(&bytes).to_string();
        assert!(text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'), "{text:?}");
    }
}
