//! Turns what a responder writes into the bytes of a reply, and keeps the framing intact.
//!
//! It does not know when the bytes are sent, or whether the client takes them.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;

use crate::close_reason::CloseReason;
use crate::error::BoxError;
use crate::line::{LfInLineError, Line, LineEnding};
use private::AppendTo;

/// The reply to one line, as the responder writes it: no lines, one, or many.
///
/// Every line gets the ending that its request had. A line that holds an LF would be two lines to
/// the client, so it is an error of the responder: everything that it wrote for this request is
/// discarded, and the client receives `error: internal error` in its place. A lone CR is data. A
/// responder that frames its replies in another way writes them with [`raw`](Self::raw).
#[derive(Debug)]
pub struct Reply<'a> {
    replies: &'a mut Replies,
    ending: LineEnding,
    framing: Result<(), LfInLineError>,
}

/// The bytes that a client is to receive, not sent yet.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    pub(crate) bytes: Vec<u8>,
    /// The reason for which the connection closes behind these bytes, if it does.
    pub(crate) close_reason: Option<CloseReason>,
}

/// The state of the replies before the line in progress, so that half a reply can be discarded.
pub(crate) struct Checkpoint {
    pub(crate) replies: usize,
    pub(crate) ending: LineEnding,
}

impl<'a> Reply<'a> {
    pub(crate) const fn new(replies: &'a mut Replies, ending: LineEnding) -> Self {
        Self { replies, ending, framing: Ok(()) }
    }

    /// Returns an error if a line held an LF.
    pub(crate) const fn framing(&self) -> Result<(), LfInLineError> {
        self.framing
    }

    /// Returns how the next line would end.
    pub(crate) const fn ending(&self) -> LineEnding {
        self.ending
    }

    /// Writes one line and adds the ending.
    ///
    /// Takes text (`"ok"`, a `String`), bytes (`b"ok"`, a `Vec<u8>`), numbers and `char`s,
    /// `format_args!("Hello, {name}")`, and [`Line`]s: one, or an array of them that becomes one
    /// line, which costs no search for LF.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{BoxError, Line, Peer, Reply, Responder};
    /// # struct Lengths;
    /// # impl Responder for Lengths {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
    /// fn respond(
    ///     &self,
    ///     _: &mut (),
    ///     line: Line<'_>,
    ///     reply: &mut Reply<'_>,
    /// ) -> Result<(), BoxError> {
    ///     reply.line([Line::literal("you sent "), line]);
    ///     reply.line(format_args!("{} bytes", line.as_bytes().len()));
    ///     Ok(())
    /// }
    /// # }
    /// # TestClient::connect(&Lengths).send("Bob\r\n").expect("you sent Bob\r\n3 bytes\r\n");
    /// ```
    pub fn line(&mut self, text: impl LineText) {
        if let Err(error) = text.append_to(&mut self.replies.bytes) {
            self.framing = Err(error);
        }
        if self.ending == LineEnding::CrLf {
            self.replies.bytes.push(b'\r');
        }
        self.replies.bytes.push(b'\n');
    }

    /// Writes bytes as they are: adds no ending and checks nothing. The framing is the responder's
    /// own.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{BoxError, Line, Peer, Reply, Responder};
    /// # struct Bulk;
    /// # impl Responder for Bulk {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
    /// /// Answers with the length of the line, and then the line: a "bulk string" of Redis.
    /// fn respond(
    ///     &self,
    ///     _: &mut (),
    ///     line: Line<'_>,
    ///     reply: &mut Reply<'_>,
    /// ) -> Result<(), BoxError> {
    ///     reply.raw(format!("${}\r\n", line.as_bytes().len()));
    ///     reply.raw(line.as_bytes());
    ///     reply.raw("\r\n");
    ///     Ok(())
    /// }
    /// # }
    /// # TestClient::connect(&Bulk).send("Bob\n").expect("$3\r\nBob\r\n");
    /// ```
    pub fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.replies.bytes.extend_from_slice(bytes.as_ref());
    }

    /// Ends the lines of this reply that are still to come with `ending`, whatever the request had.
    ///
    /// That is for protocols that ask for CR LF (RFC 1288, RFC 3912), and for a banner, which has
    /// no request. Whatever else a client receives before it has sent a line, pushes and
    /// rejections, ends as its banner does.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{BoxError, Line, LineEnding, Peer, Reply, Responder};
    /// # struct Finger;
    /// # impl Responder for Finger {
    /// #     type Session = ();
    /// fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
    ///     reply.end_lines_with(LineEnding::CrLf);
    ///     reply.line("ready");
    ///     Ok(())
    /// }
    /// #     fn respond(
    /// #         &self,
    /// #         _: &mut (),
    /// #         line: Line<'_>,
    /// #         reply: &mut Reply<'_>,
    /// #     ) -> Result<(), BoxError> {
    /// #         Ok(reply.line(line))
    /// #     }
    /// # }
    /// # TestClient::connect(&Finger).expect("ready\r\n").send("Bob\n").expect("Bob\n");
    /// ```
    pub const fn end_lines_with(&mut self, ending: LineEnding) {
        self.ending = ending;
    }

    /// Closes the connection once the client has received this reply.
    ///
    /// Lines that the client sent behind this one are not answered. The connection closes even if
    /// the responder fails afterwards and the rest of what it wrote is discarded.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{BoxError, CloseReason, Line, Peer, Reply, Responder};
    /// # struct Polite;
    /// # impl Responder for Polite {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
    /// fn respond(
    ///     &self,
    ///     _: &mut (),
    ///     line: Line<'_>,
    ///     reply: &mut Reply<'_>,
    /// ) -> Result<(), BoxError> {
    ///     match line.as_bytes() {
    ///         b"quit" => {
    ///             reply.line("bye");
    ///             reply.close();
    ///         }
    ///         _ => reply.line(line),
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// # let mut client = TestClient::connect(&Polite);
    /// # client.send("a\nquit\nb\n").expect("a\nbye\n").expect_end(CloseReason::ResponderClosed);
    /// ```
    pub const fn close(&mut self) {
        self.replies.close_reason = Some(CloseReason::ResponderClosed);
    }
}

/// The argument of [`Reply::line`]: text, bytes, numbers, a `char`, `format_args!`, and [`Line`]s.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be said as a line",
    label = "not the text of a line",
    note = "text, bytes, numbers and `char` can; for what can be displayed, write `format_args!(\"{{}}\", …)`; several lines are said one by one"
)]
pub trait LineText: private::AppendTo {}

#[diagnostic::do_not_recommend]
impl<T: private::AppendTo> LineText for T {}

/// The result that a function for [`responder_fn`](crate::responder_fn) may return.
///
/// * The text of a line: all that [`Reply::line`] takes, but owned or `'static`.
/// * `()`, for no reply; and an `Option`, whose `None` is no reply.
/// * A `Result` of these. Its error is a [`Rejection`](crate::Rejection), which the client receives
///   in its own words, or any other.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a reply",
    label = "not a reply",
    note = "the text of a line can (text, bytes, a number, a `char`), `()` for no reply, and an `Option` or a `Result` of these",
    note = "the error of a `Result` can be a `Rejection`, text, and what is `std::error::Error + Send + Sync`",
    note = "for what can be displayed, return `to_string()`; for many lines, implement `Responder`"
)]
pub trait IntoReply: private::ReplyTo {}

#[diagnostic::do_not_recommend]
impl<T: private::AppendTo> IntoReply for T {}

impl IntoReply for () {}

impl<T: IntoReply> IntoReply for Option<T> {}

impl<T: IntoReply, E: Into<BoxError>> IntoReply for Result<T, E> {}

/// Keeps the methods out of reach of other crates, so that only this module decides what is sent.
mod private {
    use super::{BoxError, IntoReply, LfInLineError, Reply};

    pub trait AppendTo {
        /// Adds the text to `bytes`, without an ending. If it holds an LF, the caller discards what
        /// was added.
        fn append_to(self, bytes: &mut Vec<u8>) -> Result<(), LfInLineError>;
    }

    pub trait ReplyTo {
        /// Writes it as a reply, or returns the error that it is.
        fn reply_to(self, reply: &mut Reply<'_>) -> Result<(), BoxError>;
    }

    impl<T: AppendTo> ReplyTo for T {
        fn reply_to(self, reply: &mut Reply<'_>) -> Result<(), BoxError> {
            reply.line(self);
            Ok(())
        }
    }

    impl ReplyTo for () {
        fn reply_to(self, _reply: &mut Reply<'_>) -> Result<(), BoxError> {
            Ok(())
        }
    }

    impl<T: IntoReply> ReplyTo for Option<T> {
        fn reply_to(self, reply: &mut Reply<'_>) -> Result<(), BoxError> {
            self.map_or(Ok(()), |some| some.reply_to(reply))
        }
    }

    impl<T: IntoReply, E: Into<BoxError>> ReplyTo for Result<T, E> {
        fn reply_to(self, reply: &mut Reply<'_>) -> Result<(), BoxError> {
            self.map_err(Into::into)?.reply_to(reply)
        }
    }
}

impl AppendTo for Line<'_> {
    fn append_to(self, bytes: &mut Vec<u8>) -> Result<(), LfInLineError> {
        bytes.extend_from_slice(self.as_bytes());
        Ok(())
    }
}

impl<const N: usize> AppendTo for [Line<'_>; N] {
    fn append_to(self, bytes: &mut Vec<u8>) -> Result<(), LfInLineError> {
        for piece in &self {
            bytes.extend_from_slice(piece.as_bytes());
        }
        Ok(())
    }
}

impl AppendTo for &[u8] {
    fn append_to(self, bytes: &mut Vec<u8>) -> Result<(), LfInLineError> {
        Line::new(self)?.append_to(bytes)
    }
}

impl AppendTo for fmt::Arguments<'_> {
    fn append_to(self, bytes: &mut Vec<u8>) -> Result<(), LfInLineError> {
        let start = bytes.len();
        std::io::Write::write_fmt(bytes, self).expect("memory takes every byte");
        if memchr(b'\n', &bytes[start..]).is_some() { Err(LfInLineError) } else { Ok(()) }
    }
}

macro_rules! line_text_by_its_bytes {
    ($($text:ty: $as_bytes:ident),*) => {$(
        impl AppendTo for $text {
            fn append_to(self, bytes: &mut Vec<u8>) -> Result<(), LfInLineError> {
                self.$as_bytes().append_to(bytes)
            }
        }
    )*};
}
line_text_by_its_bytes!(&str: as_bytes, String: as_bytes, &String: as_bytes, Cow<'_, str>: as_bytes);
line_text_by_its_bytes!(Vec<u8>: as_slice, &Vec<u8>: as_slice);

macro_rules! line_text_by_its_display {
    ($($text:ty),*) => {$(
        impl AppendTo for $text {
            fn append_to(self, bytes: &mut Vec<u8>) -> Result<(), LfInLineError> {
                format_args!("{self}").append_to(bytes)
            }
        }
    )*};
}
line_text_by_its_display!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, char);

impl<const N: usize> AppendTo for &[u8; N] {
    fn append_to(self, bytes: &mut Vec<u8>) -> Result<(), LfInLineError> {
        self.as_slice().append_to(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: impl FnOnce(&mut Reply<'_>), expected: &str, framing: Result<(), LfInLineError>) {
        let mut replies = Replies::default();
        let mut reply = Reply::new(&mut replies, LineEnding::Lf);
        write(&mut reply);
        assert_eq!(reply.framing(), framing);
        if framing.is_ok() {
            assert_eq!(String::from_utf8(replies.bytes).unwrap(), expected);
        }
    }

    #[test]
    fn a_line_gets_its_ending() {
        check(|reply| reply.line("text"), "text\n", Ok(()));
        check(|reply| reply.line(String::from("string")), "string\n", Ok(()));
        check(|reply| reply.line(b"bytes"), "bytes\n", Ok(()));
        check(|reply| reply.line(vec![b'v']), "v\n", Ok(()));
        check(|reply| reply.line(format_args!("{} and {}", 1, 2)), "1 and 2\n", Ok(()));
        check(|reply| reply.line(-7), "-7\n", Ok(()));
        check(|reply| reply.line(0.5), "0.5\n", Ok(()));
        check(|reply| reply.line('ë'), "ë\n", Ok(()));
        check(|reply| reply.line([Line::literal("a"), Line::literal("b")]), "ab\n", Ok(()));
        check(|reply| reply.line(""), "\n", Ok(()));
    }

    #[test]
    fn a_lone_cr_is_data() {
        check(|reply| reply.line("a\rb"), "a\rb\n", Ok(()));
    }

    #[test]
    fn a_line_feed_inside_a_line_breaks_the_reply() {
        check(|reply| reply.line("two\nlines"), "", Err(LfInLineError));
        check(|reply| reply.line(b"two\n"), "", Err(LfInLineError));
        check(|reply| reply.line('\n'), "", Err(LfInLineError));
        check(|reply| reply.line(format_args!("{}", "two\nlines")), "", Err(LfInLineError));
        check(
            |reply| {
                reply.line("\n");
                reply.line("a valid line does not repair it");
            },
            "",
            Err(LfInLineError),
        );
    }

    #[test]
    fn raw_bytes_are_neither_ended_nor_checked() {
        check(|reply| reply.raw("$2\r\n\n\n\r\n"), "$2\r\n\n\n\r\n", Ok(()));
    }

    #[test]
    fn the_ending_can_be_chosen_for_the_lines_to_come() {
        check(
            |reply| {
                reply.line("one");
                reply.end_lines_with(LineEnding::CrLf);
                reply.line("two");
            },
            "one\ntwo\r\n",
            Ok(()),
        );
    }
}
