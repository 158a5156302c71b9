//! Turns what went over a connection into a [script](crate::talk) that says the same.

use std::collections::BTreeSet;
use std::io::{self, Write};

use crate::connection::Traffic;
use crate::net::{Eol, StreamEnd};
use crate::talk::{MAX_SCRIPT_BYTES, MAX_STEPS, Pattern, Secrets, Variables, name_values, quote, spell_line};

/// How much of a line that has not ended is held back. What is longer is written in pieces of this
/// size: even where each byte takes four characters, a piece is far from the longest line of a
/// script.
const PIECE_BYTES: usize = 16 * 1024;

/// What stands above a raw line that lacks a secret.
const MASKED: &str =
    "# In place of *** stood a secret, which the raw form cannot name: this line is to be written by hand.\n";

/// A recorder that writes a conversation as a `.talk` script while it happens. The script
/// [runs](mod@crate::run).
///
/// Each line that was sent becomes `> …` and each that came `< …`, in the order in which they are
/// recorded. What these forms cannot say becomes the raw form: control characters, bytes that are
/// no UTF-8, `{{`, blanks at the end, and a line that had not ended when the other side went on. If
/// the first whole line ends with CR LF, then `eol crlf` stands above it, and a line that ends
/// otherwise than the first is raw.
///
/// ```
/// use greeter_client::{Recorder, Traffic, session::StreamEnd};
///
/// let mut recorder = Recorder::new(Vec::new());
/// recorder.record(Traffic::Received(b"login: "))?;
/// recorder.record(Traffic::Sent(b"Bob\n"))?;
/// recorder.record(Traffic::Received(b"\x1b[1mHello, "))?;
/// recorder.record(Traffic::Received(b"Bob\nBye\n"))?;
/// recorder.record(Traffic::Ended(StreamEnd::Eof))?;
/// assert_eq!(recorder.output(), b"<\"login: \"\n> Bob\n<\"\\e[1mHello, Bob\\n\"\n< Bye\n<eof\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Recorder<W> {
    output: W,
    /// How lines end, which the first whole one tells.
    eol: Option<Eol>,
    unfinished: Option<PartialLine>,
    steps: usize,
    bytes: usize,
    variables: Variables,
    /// The names of those that have been written.
    written_secrets: BTreeSet<String>,
}

/// The start of a line, and whose.
#[derive(Debug)]
struct PartialLine {
    side: Side,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Ours,
    Theirs,
}

impl Side {
    /// What stands before the text.
    fn start(self) -> &'static str {
        match self {
            Self::Ours => ">",
            Self::Theirs => "<",
        }
    }
}

impl<W: Write> Recorder<W> {
    /// Creates a recorder that writes to `output`.
    ///
    /// What it writes is made of whole lines, each with what belongs to it in one write; nothing is
    /// flushed.
    pub fn new(output: W) -> Self {
        Self {
            output,
            eol: None,
            unfinished: None,
            steps: 0,
            bytes: 0,
            variables: Variables::default(),
            written_secrets: BTreeSet::new(),
        }
    }

    /// Keeps those of `variables` that are secrets out of the recording: it has their names, and
    /// above the first line with one the word `secret`. In the raw form, which has no names, `***`
    /// takes its place, and a comment above says so.
    ///
    /// ```
    /// use greeter_client::talk::Variables;
    /// use greeter_client::{Recorder, Traffic};
    ///
    /// let mut variables = Variables::default();
    /// variables.make_secret("password".parse()?);
    /// variables.set("password".parse()?, "hunter2");
    /// let mut recorder = Recorder::new(Vec::new()).hiding(variables);
    /// recorder.record(Traffic::Sent(b"PASS hunter2\n"))?;
    /// assert_eq!(recorder.output(), b"secret password\n> PASS {{password}}\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn hiding(self, variables: Variables) -> Self {
        Self { variables, ..self }
    }

    /// Records one event. The start of a line waits for its rest, or for another event.
    ///
    /// # Errors
    ///
    /// Those of the output, and [`FileTooLarge`](io::ErrorKind::FileTooLarge) where the script
    /// would pass [`MAX_SCRIPT_BYTES`] or [`MAX_STEPS`]. What was written until then is a script,
    /// which lacks its end.
    pub fn record(&mut self, traffic: Traffic<'_>) -> io::Result<()> {
        let mut text = String::new();
        match traffic {
            Traffic::Sent(bytes) => self.spell(Side::Ours, bytes, &mut text),
            Traffic::Received(bytes) => self.spell(Side::Theirs, bytes, &mut text),
            end => {
                self.spell_unfinished(&mut text);
                text.push_str(match end {
                    Traffic::HalfClosed => ">eof\n",
                    Traffic::Reset => ">reset\n",
                    Traffic::Closed => "close\n",
                    Traffic::Ended(StreamEnd::Eof | StreamEnd::Truncated) => "<eof\n",
                    Traffic::Ended(StreamEnd::Reset) => "<reset\n",
                    // A failing network is nothing to expect.
                    Traffic::Ended(StreamEnd::Alert(_) | StreamEnd::Lost(_)) => "abandon\n",
                    Traffic::Sent(_) | Traffic::Received(_) => unreachable!("these have been spelled"),
                });
            }
        }
        self.write(&text)
    }

    /// Returns the output.
    pub fn output(&self) -> &W {
        &self.output
    }

    /// Returns the output, to be changed: for whoever keeps a recording until it is known what to
    /// do with it.
    pub fn output_mut(&mut self) -> &mut W {
        &mut self.output
    }

    /// Returns the output, and drops the start of a line that is still held back.
    pub fn into_output(self) -> W {
        self.output
    }

    fn spell(&mut self, side: Side, bytes: &[u8], text: &mut String) {
        if bytes.is_empty() {
            return;
        }
        if self.unfinished.as_ref().is_some_and(|unfinished| unfinished.side != side) {
            self.spell_unfinished(text);
        }
        let mut line = self.unfinished.take().map(|unfinished| unfinished.bytes).unwrap_or_default();
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            for piece in part.chunks(PIECE_BYTES) {
                line.extend_from_slice(piece);
                if line.ends_with(b"\n") {
                    self.spell_line(side, &line, text);
                    line.clear();
                } else if line.len() >= PIECE_BYTES {
                    let end = self.secrets().cut_at(&line);
                    // What is all one secret has no such place yet.
                    if end > 0 {
                        push_raw(side, &line[..end], self.secrets(), text);
                        line.drain(..end);
                    }
                }
            }
        }
        if !line.is_empty() {
            self.unfinished = Some(PartialLine { side, bytes: line });
        }
    }

    /// Spells a line, or the rest of one whose start has been spelled.
    fn spell_line(&mut self, side: Side, whole: &[u8], text: &mut String) {
        let eol = *self.eol.get_or_insert_with(|| {
            if whole.ends_with(Eol::CrLf.bytes()) {
                text.push_str("eol crlf\n");
                Eol::CrLf
            } else {
                Eol::Lf
            }
        });
        match whole.strip_suffix(eol.bytes()) {
            Some(line) if self.secrets().are_in(line) => {
                if !self.spell_with_names(side, line, text) {
                    push_raw(side, whole, self.secrets(), text);
                }
            }
            Some(line) => {
                text.push_str(&spell_line(side.start(), line, eol));
                text.push('\n');
            }
            None => push_raw(side, whole, self.secrets(), text),
        }
    }

    /// Spells a line with names in place of secrets; false if one would be left, or the line would
    /// be another.
    fn spell_with_names(&mut self, side: Side, line: &[u8], text: &mut String) -> bool {
        let spelled = spell_line("", line, Eol::Lf);
        let Some(plain) = spelled.strip_prefix(' ') else { return false };
        let secrets = self.variables.texts(|name| self.variables.is_secret(name));
        let named = name_values(plain, &secrets, str::to_owned);
        let is_same = named.parse().is_ok_and(|named: Pattern| named.matches(line, &self.variables, None).is_some());
        if !is_same || self.secrets().are_in(named.as_bytes()) {
            return false;
        }
        for (_, name) in secrets {
            if named.contains(&format!("{{{{{name}}}}}")) && self.written_secrets.insert(name.to_owned()) {
                text.push_str(&format!("secret {name}\n"));
            }
        }
        text.push_str(&format!("{} {named}\n", side.start()));
        true
    }

    fn secrets(&self) -> &Secrets {
        self.variables.secrets()
    }

    fn spell_unfinished(&mut self, text: &mut String) {
        if let Some(PartialLine { side, bytes }) = self.unfinished.take() {
            push_raw(side, &bytes, self.secrets(), text);
        }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.steps += text.matches('\n').count();
        self.bytes += text.len();
        if self.steps > MAX_STEPS || self.bytes > MAX_SCRIPT_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the recording is longer than a script may be"));
        }
        self.output.write_all(text.as_bytes())
    }
}

fn push_raw(side: Side, bytes: &[u8], secrets: &Secrets, text: &mut String) {
    let masked = secrets.mask(bytes);
    if *masked != *bytes {
        text.push_str(MASKED);
    }
    text.push_str(side.start());
    text.push_str(&quote(&masked));
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(traffic: &[Traffic<'_>], script: &str) {
        let mut recorder = Recorder::new(Vec::new());
        for &one in traffic {
            recorder.record(one).unwrap();
        }
        assert_eq!(String::from_utf8(recorder.output).unwrap(), script);
    }

    #[test]
    fn lines_are_written_in_the_order_of_their_ends() {
        let traffic = [
            Traffic::Sent(b"Ann\nB"),
            Traffic::Sent(b"en\n\n"),
            Traffic::Received(b"Hello, Ann\n"),
            Traffic::HalfClosed,
        ];
        check(&traffic, "> Ann\n> Ben\n>\n< Hello, Ann\n>eof\n");
    }

    #[test]
    fn what_the_plain_form_cannot_say_is_raw() {
        let lines = b"\x1b[2J\n{{name}}\nblank \n\xff\ncr\r\n\t\n";
        check(
            &[Traffic::Sent(b"a\n"), Traffic::Received(lines)],
            "> a\n<\"\\e[2J\\n\"\n<\"{{name}}\\n\"\n<\"blank \\n\"\n<\"\\xff\\n\"\n<\"cr\\r\\n\"\n<\"\\t\\n\"\n",
        );
    }

    #[test]
    fn the_first_whole_line_tells_how_lines_end() {
        let traffic = [Traffic::Received(b"login: "), Traffic::Sent(b"Bob\r\n"), Traffic::Received(b"a\nb\r\n\r\n")];
        check(&traffic, "<\"login: \"\neol crlf\n> Bob\n<\"a\\n\"\n< b\n<\n");
    }

    #[test]
    fn an_unfinished_line_is_raw_once_something_else_happens() {
        let traffic = [Traffic::Sent(b"Al"), Traffic::Sent(b""), Traffic::Received(b""), Traffic::Received(b"?")];
        check(&traffic, ">\"Al\"\n");
        check(&[Traffic::Received(b"Hel"), Traffic::Sent(b"x\n"), Traffic::Received(b"lo\n")], "<\"Hel\"\n> x\n< lo\n");
        check(&[Traffic::Received(b"Hel"), Traffic::Ended(StreamEnd::Eof)], "<\"Hel\"\n<eof\n");
    }

    #[test]
    fn every_end_is_written() {
        check(&[Traffic::Reset], ">reset\n");
        check(&[Traffic::Closed], "close\n");
        check(&[Traffic::Ended(StreamEnd::Reset)], "<reset\n");
        check(&[Traffic::Ended(StreamEnd::Lost(io::ErrorKind::TimedOut))], "abandon\n");
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        let mut recorder = Recorder::new(Vec::new());
        recorder.record(Traffic::Sent(&b"\xff".repeat(5 * PIECE_BYTES / 2))).unwrap();
        recorder.record(Traffic::Sent(b"\n")).unwrap();
        let lines: Vec<usize> = recorder.output().split(|&byte| byte == b'\n').map(<[u8]>::len).collect();
        let piece = 4 * PIECE_BYTES + 3;
        assert_eq!(lines, [piece, piece, 4 * PIECE_BYTES / 2 + 5, 0]);
    }

    #[test]
    fn a_recording_is_no_longer_than_a_script_may_be() {
        let mut recorder = Recorder::new(io::sink());
        let lines = b"\n".repeat(MAX_STEPS);
        recorder.record(Traffic::Sent(&lines)).unwrap();
        let error = recorder.record(Traffic::Sent(b"\n")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
