//! Turns the bytes of complete lines into [`Line`]s.
//!
//! It is given complete lines; an [`InputBuffer`](crate::input::InputBuffer) makes them of what the
//! network cuts.

use std::fmt;
use std::hash::{Hash, Hasher};

use memchr::memchr;
use wide::{CmpEq, i8x16};

use crate::rejection::Rejection;

pub(crate) const LF: u8 = b'\n';
const CR: u8 = b'\r';

/// The number of bytes in which one step searches for LFs: as many as a word has bits. A line with
/// no LF in a whole block is long. With 16 bytes, lines of up to 40 bytes, no two of one length,
/// take a fifth longer, since no processor can guess in which block a line ends.
const BLOCK: usize = u64::BITS as usize;

/// The number of bytes that are compared at once. Every x86-64 and every AArch64 can do that.
const REGISTER: usize = 16;

/// The ending of a line on the wire. A reply ends as its request did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineEnding {
    /// A single LF, as `nc` sends.
    #[default]
    Lf,
    /// CR and LF, as `telnet` sends and most RFCs ask for.
    CrLf,
}

impl LineEnding {
    /// Returns the bytes on the wire.
    ///
    /// ```
    /// # use greeter_core::LineEnding;
    /// assert_eq!(LineEnding::CrLf.as_bytes(), b"\r\n");
    /// ```
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }
}

/// The text of one line, without its ending: any bytes but LF.
///
/// The type guarantees that there is no LF: a reply put together from `Line`s cannot break the
/// framing, so nothing has to search it again. It may well hold NUL, a lone CR or invalid UTF-8.
///
/// Lines are equal if their texts are, however they ended.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    text: &'a [u8],
    ending: Option<LineEnding>,
    is_truncated: bool,
}

impl<'a> Line<'a> {
    /// Creates a line of these bytes.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::{LfInLineError, Line};
    ///
    /// assert_eq!(Line::new(b"Bob\r")?.as_bytes(), b"Bob\r");
    /// assert_eq!(Line::new(b"Bob\nAnn"), Err(LfInLineError));
    /// # Ok::<(), LfInLineError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`LfInLineError`] if the bytes hold an LF.
    pub fn new(text: &'a [u8]) -> Result<Self, LfInLineError> {
        if memchr(LF, text).is_some() { Err(LfInLineError) } else { Ok(Self::of(text)) }
    }

    const fn of(text: &'a [u8]) -> Self {
        Self { text, ending: None, is_truncated: false }
    }

    /// Creates a line from text that is known when the program is compiled.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::Line;
    ///
    /// const HELLO: Line<'_> = Line::literal("Hello, ");
    /// assert_eq!(HELLO.as_bytes(), b"Hello, ");
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the text holds an LF. In a `const`, that is a compile error.
    #[must_use]
    pub const fn literal(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let mut index = 0;
        while index < bytes.len() {
            assert!(bytes[index] != LF, "a line holds no LF");
            index += 1;
        }
        Self::of(bytes)
    }

    /// Returns the bytes of the line.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::responder_fn;
    /// use greeter_server::testing::TestClient;
    ///
    /// let length = responder_fn(|line: &[u8]| line.len());
    /// TestClient::connect(&length).send(b"\xFF\x00\r\n").expect("2\r\n");
    /// ```
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.text
    }

    /// Returns how the line ended that a client has sent. A line that was made has no ending.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{BoxError, Line, LineEnding, Peer, Reply, Responder};
    /// # struct Strict;
    /// # impl Responder for Strict {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
    /// fn respond(
    ///     &self,
    ///     _: &mut (),
    ///     line: Line<'_>,
    ///     reply: &mut Reply<'_>,
    /// ) -> Result<(), BoxError> {
    ///     match line.ending() {
    ///         Some(LineEnding::CrLf) => reply.line(line),
    ///         _ => reply.line("end your lines with CR LF, please"),
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// # let mut client = TestClient::connect(&Strict);
    /// # client.send("a\r\nb\n").expect("a\r\nend your lines with CR LF, please\n");
    /// ```
    #[must_use]
    pub const fn ending(self) -> Option<LineEnding> {
        self.ending
    }

    /// Returns whether the client has sent more, which was [too long](WhenTooLong::Truncate).
    #[must_use]
    pub const fn is_truncated(self) -> bool {
        self.is_truncated
    }

    /// Returns the line as text.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::{LfInLineError, Line, Rejection};
    ///
    /// let [name, broken] = [Line::new("Zoë".as_bytes())?, Line::new(b"Zo\xEB")?];
    /// assert_eq!(name.to_str(), Ok("Zoë"));
    /// assert_eq!(broken.to_str(), Err(Rejection::NotUtf8));
    /// # Ok::<(), LfInLineError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`Rejection::NotUtf8`] if the line is not valid UTF-8. A responder passes that on
    /// with `?`, and the client receives it.
    pub fn to_str(self) -> Result<&'a str, Rejection> {
        std::str::from_utf8(self.text).map_err(|_| Rejection::NotUtf8)
    }
}

impl PartialEq for Line<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Line<'_> {}

impl Hash for Line<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Line<'_> {
    /// Writes the line quoted and escaped, so that it is safe to print wherever it came from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.text.escape_ascii())
    }
}

/// The error of a text that was to be one line and holds an LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line feed inside a line")]
pub struct LfInLineError;

/// Why the responder does not see a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unseen {
    TooLong,
    BareLf,
}

/// What happens to a line that is longer than the [limit](Rejection::LineTooLong).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenTooLong {
    /// The responder does not see it, and the client receives [`Rejection::LineTooLong`].
    #[default]
    Reject,
    /// The responder receives the start of it: as many bytes as the limit, however the network cut
    /// the line. [`Line::is_truncated`](Line::is_truncated) tells. It is for protocols in
    /// which a part says more than nothing: syslog, chat.
    Truncate,
}

/// What happens to a line that ends with LF alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BareLf {
    /// It is a line like any other.
    #[default]
    Accept,
    /// The responder does not see it, and the client receives [`Rejection::BareLf`]. It is for
    /// protocols in which another program must see the same lines (RFC 5321, 2.3.8).
    ///
    /// The line behind it is one like any other. Where that may end something, as `.` ends a mail,
    /// a client could still make `LF . CR LF` pass for the end: let the server [close the
    /// connection](crate::WhenRejected::Close), or have the session remember what it has not seen.
    Reject,
}

/// Which lines the responder sees, and how much of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LineRules {
    pub(crate) when_too_long: WhenTooLong,
    pub(crate) bare_lf: BareLf,
}

impl LineRules {
    /// Returns why the responder does not see a line that is too long or that ends so, if it does
    /// not.
    #[cold]
    fn unseen(self, ending: LineEnding) -> Option<Unseen> {
        match (ending, self.bare_lf, self.when_too_long) {
            (LineEnding::Lf, BareLf::Reject, _) => Some(Unseen::BareLf),
            (_, _, WhenTooLong::Reject) => Some(Unseen::TooLong),
            (_, _, WhenTooLong::Truncate) => None,
        }
    }
}

/// One complete line, as it was received.
pub(crate) struct ReceivedLine<'a> {
    pub(crate) text: Result<Line<'a>, Unseen>,
    pub(crate) ending: LineEnding,
}

/// Returns how these bytes end, if they are a line.
pub(crate) const fn ending_of(line: &[u8]) -> Option<LineEnding> {
    match line {
        [.., CR, LF] => Some(LineEnding::CrLf),
        [.., LF] => Some(LineEnding::Lf),
        _ => None,
    }
}

/// An iterator over complete lines.
pub(crate) struct Run<'a> {
    bytes: &'a [u8],
    /// Where the next line begins.
    start: usize,
    /// How many lines are left.
    lines: u32,
    max_line_bytes: usize,
    rules: LineRules,
    ends: LineEnds<'a>,
    /// The buffer's `taken`, `lines` and `returned`, to which this is written back.
    written_back: [&'a mut u32; 3],
}

impl<'a> Run<'a> {
    /// Creates an iterator over the lines in `bytes` behind those taken, which end with an LF.
    #[inline]
    pub(crate) fn new(
        bytes: &'a [u8],
        max_line_bytes: u32,
        rules: LineRules,
        taken: &'a mut u32,
        lines: &'a mut u32,
        returned: &'a mut u32,
    ) -> Self {
        let start = *taken as usize;
        Self {
            bytes,
            start,
            lines: *lines,
            max_line_bytes: max_line_bytes as usize,
            rules,
            ends: LineEnds::new(bytes, start),
            written_back: [taken, lines, returned],
        }
    }

    /// Returns how many lines are left.
    pub(crate) const fn lines(&self) -> u32 {
        self.lines
    }
}

impl<'a> Iterator for Run<'a> {
    type Item = ReceivedLine<'a>;

    // A call for each line would cost half as much as all the rest of it.
    #[expect(clippy::inline_always, reason = "measured: 12 ns a line, and 19 without")]
    #[inline(always)]
    fn next(&mut self) -> Option<ReceivedLine<'a>> {
        let end = self.ends.next()?;
        let line = &self.bytes[self.start..end];
        self.start = end + 1;
        self.lines -= 1;
        let (text, ending) = match line.split_last() {
            Some((&CR, text)) => (text, LineEnding::CrLf),
            _ => (line, LineEnding::Lf),
        };
        let is_too_long = text.len() > self.max_line_bytes;
        if (is_too_long || ending == LineEnding::Lf && self.rules.bare_lf == BareLf::Reject)
            && let Some(unseen) = self.rules.unseen(ending)
        {
            return Some(ReceivedLine { text: Err(unseen), ending });
        }
        let text = if is_too_long { &text[..self.max_line_bytes] } else { text };
        let text = Ok(Line { text, ending: Some(ending), is_truncated: is_too_long });
        Some(ReceivedLine { text, ending })
    }
}

impl Drop for Run<'_> {
    #[expect(clippy::cast_possible_truncation, reason = "it is at most `complete`")]
    fn drop(&mut self) {
        let [taken, lines, returned] = &mut self.written_back;
        **taken = self.start as u32;
        **returned += **lines - self.lines;
        **lines = self.lines;
    }
}

/// An iterator over the places of the LFs in some bytes.
///
/// Most lines are short, so the bytes are searched in blocks: one search serves for all lines that
/// end in the block. `memchr` is made for long texts and must set out anew for each line; it takes
/// over where a line turns out to be long.
struct LineEnds<'a> {
    bytes: &'a [u8],
    /// How many of the bytes have been searched.
    searched: usize,
    /// Where the latest block begins.
    block_at: usize,
    /// The LFs in it that were not returned yet: a bit for each byte, the first is the lowest.
    found: u64,
}

impl<'a> LineEnds<'a> {
    const fn new(bytes: &'a [u8], start: usize) -> Self {
        Self { bytes, searched: start, block_at: start, found: 0 }
    }

    /// Finds the next LFs. Returns `None` if there are none.
    #[inline]
    fn scan_block(&mut self) -> Option<()> {
        let rest = &self.bytes[self.searched..];
        let Some(block) = rest.first_chunk() else { return self.scan_tail(rest) };
        self.block_at = self.searched;
        self.searched += BLOCK;
        self.found = line_feeds_in(block);
        if self.found == 0 { self.scan_long() } else { Some(()) }
    }

    /// Searches what is less than a block.
    fn scan_tail(&mut self, rest: &[u8]) -> Option<()> {
        let mut block = [0; BLOCK];
        block[..rest.len()].copy_from_slice(rest);
        self.block_at = self.searched;
        self.searched = self.bytes.len();
        self.found = line_feeds_in(&block);
        (self.found != 0).then_some(())
    }

    /// Searches a long line. The LF found ends a block of its own.
    #[cold]
    fn scan_long(&mut self) -> Option<()> {
        self.block_at = self.searched + memchr(LF, &self.bytes[self.searched..])?;
        self.searched = self.block_at + 1;
        self.found = 1;
        Some(())
    }
}

impl Iterator for LineEnds<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.found == 0 {
            self.scan_block()?;
        }
        let first = self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(self.block_at + first)
    }
}

/// Returns a bit for each byte that is an LF. The first byte is the lowest bit.
#[inline]
fn line_feeds_in(block: &[u8; BLOCK]) -> u64 {
    let (parts, _) = block.as_chunks::<REGISTER>();
    parts.iter().rev().fold(0, |found, part| {
        let are_line_feeds = i8x16::new(part.map(u8::cast_signed)).cmp_eq(i8x16::splat(LF.cast_signed()));
        found << REGISTER | u64::from(are_line_feeds.move_mask().cast_unsigned())
    })
}
