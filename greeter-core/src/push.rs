//! What is said to a client that has not asked.

use std::fmt;

use crate::line::{LfInLine, Line};

const LF: u8 = b'\n';

/// Something to say to a client that has not asked: lines, or bytes as they are. It is said in one piece, and nothing gets between its
/// parts.
#[derive(Clone, PartialEq, Eq)]
pub struct PushMessage {
    bytes: Box<[u8]>,
    framing: Framing,
}

/// What bytes are to be taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Lines, each with an LF behind it. On the wire they end as the client's own lines do.
    Lines,
    /// Nothing that is ours to know.
    Raw,
}

impl PushMessage {
    /// One line, given without its ending.
    ///
    /// # Errors
    ///
    /// [`LfInLine`] when it would be more than one.
    pub fn line(text: impl AsRef<[u8]>) -> Result<Self, LfInLine> {
        Self::lines([text])
    }

    /// Lines, each given without its ending. They may be none: then nothing is said.
    ///
    /// # Errors
    ///
    /// [`LfInLine`] when one of them would be more than one.
    pub fn lines(lines: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Self, LfInLine> {
        let mut bytes = Vec::new();
        for line in lines {
            let line = Line::new(line.as_ref())?.as_bytes();
            bytes.reserve(line.len() + 1);
            bytes.extend_from_slice(line);
            bytes.push(LF);
        }
        Ok(Self { bytes: bytes.into(), framing: Framing::Lines })
    }

    /// Bytes as they are.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self { bytes: bytes.as_ref().into(), framing: Framing::Raw }
    }

    /// How many bytes it is, each line ending counted as one.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) const fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) const fn framing(&self) -> Framing {
        self.framing
    }
}

impl fmt::Debug for PushMessage {
    /// Quoted and escaped: safe to print wherever it came from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} \"{}\"", self.framing, self.bytes.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_length_counts_each_ending_as_one_and_it_can_be_shown() {
        let lines = PushMessage::lines(["one", "", "three\r"]).unwrap();
        assert_eq!((lines.len(), lines.is_empty()), (12, false));
        assert_eq!(format!("{lines:?}"), r#"Lines "one\n\nthree\r\n""#);
        let raw = PushMessage::raw([0xff, b'\n']);
        assert_eq!((raw.len(), raw.is_empty()), (2, false));
        assert_eq!(format!("{raw:?}"), r#"Raw "\xff\n""#);
        let none = PushMessage::raw("");
        assert_eq!((none.len(), none.is_empty()), (0, true));
    }
}
