//! Turns what a responder writes into the bytes of a reply, and keeps the framing intact.
//!
//! It does not know when the bytes are sent, or whether the client takes them.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;

use crate::answer_cell::AwaitedAnswer;
use crate::error::{BoxError, Fault};
use crate::input::Counted;
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
    replies: &'a mut Vec<u8>,
    ending: LineEnding,
    aside: &'a mut Aside,
}

/// What a call says beside its reply, which is nearly always nothing. It is not part of the reply,
/// so that it stays said if the call panics.
#[derive(Debug)]
pub(crate) struct Aside {
    /// The most bytes that may be read; `None` where no bytes may follow.
    max_data_bytes: Option<u32>,
    /// Whether there is no line to answer.
    is_connecting: bool,
    /// Whether anything was said.
    is_said: bool,
    said: Said,
}

/// The parts of an [`Aside`].
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The counted bytes that were asked for. What a client sends as data must not be read as
    /// lines, whatever comes of the call.
    pub(crate) counted: Option<Counted>,
    /// Whether to close the connection.
    pub(crate) closes: bool,
    /// Whether TLS begins behind the reply.
    pub(crate) starts_tls: bool,
    /// Where the answer will be, if it comes later.
    pub(crate) later: Option<AwaitedAnswer>,
    pub(crate) fault: Option<Fault>,
}

impl Aside {
    /// For a call behind which lines go on in any case.
    pub(crate) const NO_BYTES: Self = Self {
        max_data_bytes: None,
        is_connecting: false,
        is_said: false,
        said: Said { counted: None, closes: false, starts_tls: false, later: None, fault: None },
    };

    pub(crate) const fn new(max_data_bytes: u32) -> Self {
        Self { max_data_bytes: Some(max_data_bytes), ..Self::NO_BYTES }
    }

    /// Notes whether the next call is for a new client, and not for a line.
    pub(crate) const fn set_connecting(&mut self, is_connecting: bool) {
        self.is_connecting = is_connecting;
    }

    /// Returns whether the call has said anything beside its reply.
    #[inline]
    pub(crate) const fn is_said(&self) -> bool {
        self.is_said
    }

    /// Returns what was said, and is ready for the next call.
    pub(crate) fn finish(&mut self) -> Said {
        self.is_said = false;
        std::mem::take(&mut self.said)
    }

    /// Closes the connection, as [`Reply::close`] does.
    pub(crate) const fn close(&mut self) {
        self.is_said = true;
        self.said.closes = true;
    }

    #[cold]
    #[inline(never)]
    fn blame(&mut self, fault: Fault) {
        self.is_said = true;
        self.said.fault.get_or_insert(fault);
    }
}

/// The error of a request for more bytes than [the responder
/// takes](crate::Responder::max_data_bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are more than the {max} that may be read at once")]
pub struct TooManyBytesError {
    /// How many bytes were asked for.
    pub bytes: usize,
    /// How many may be read at once.
    pub max: usize,
}

/// The state of the replies before the line in progress, so that half a reply can be discarded.
pub(crate) struct Checkpoint {
    pub(crate) replies: usize,
    pub(crate) ending: LineEnding,
}

impl<'a> Reply<'a> {
    #[inline]
    pub(crate) const fn new(replies: &'a mut Vec<u8>, ending: LineEnding, aside: &'a mut Aside) -> Self {
        Self { replies, ending, aside }
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
        if let Err(error) = append_line(text, self.ending, self.replies) {
            self.aside.blame(Fault::LfInLine(error));
        }
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
        self.replies.extend_from_slice(bytes.as_ref());
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

    /// Takes the next bytes of the client not for lines, but for so many counted bytes, which may
    /// be any: the responder receives them in one piece, by [`bytes`](crate::Responder::bytes), and
    /// lines go on behind them.
    ///
    /// What the client receives for the line, [`bytes`](crate::Responder::bytes) writes; what this
    /// call writes is sent before that, and a push may come between the two. A client that sends
    /// the bytes too slowly, fewer than 16 KiB within the [line
    /// timeout](crate::ConnectionTimeouts::line), is treated as if it did not finish a line.
    ///
    /// Whatever a client announced as data is never taken for lines. If the call then returns an
    /// error or panics, the bytes are skipped.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{BoxError, Line, Peer, Rejection, Reply, Responder};
    /// # struct Lengths;
    /// # impl Responder for Lengths {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
    /// fn max_data_bytes(&self) -> usize {
    ///     1024
    /// }
    ///
    /// fn respond(
    ///     &self,
    ///     _: &mut (),
    ///     line: Line<'_>,
    ///     reply: &mut Reply<'_>,
    /// ) -> Result<(), BoxError> {
    ///     let bytes = line.to_str()?.parse().map_err(|_| Rejection::custom("how many?"))?;
    ///     if reply.read_bytes(bytes).is_err() {
    ///         reply.line("too many");
    ///     }
    ///     Ok(())
    /// }
    ///
    /// fn bytes(&self, _: &mut (), bytes: &[u8], reply: &mut Reply<'_>) -> Result<(), BoxError> {
    ///     reply.line(format_args!("{} of them are LFs", bytes.iter().filter(|&&b| b == b'\n').count()));
    ///     Ok(())
    /// }
    /// # }
    /// # let mut client = TestClient::connect(&Lengths);
    /// # client.send("3\n\n\nx0\n5000\n").expect("2 of them are LFs\n0 of them are LFs\ntoo many\n");
    /// # client.send([b'\n'; 5000]).send("1\n\n").expect("1 of them are LFs\n");
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`TooManyBytesError`] if these are more than
    /// [`max_data_bytes`](crate::Responder::max_data_bytes). They are then skipped, so that the
    /// responder has nothing to do but to say so in its protocol's words.
    ///
    /// It is an error of the responder to ask twice in one call, from
    /// [`reject`](crate::Responder::reject), or if it takes none.
    pub fn read_bytes(&mut self, bytes: usize) -> Result<(), TooManyBytesError> {
        self.blame_if_it_takes_none();
        let max = self.aside.max_data_bytes.unwrap_or(0);
        match u32::try_from(bytes).ok().filter(|&bytes| bytes <= max) {
            Some(bytes) => {
                self.expect(Counted::Read(bytes));
                Ok(())
            }
            None => {
                self.expect(Counted::Skip(bytes as u64));
                Err(TooManyBytesError { bytes, max: max as usize })
            }
        }
    }

    /// Skips the next bytes of the client, any number of any bytes: they are thrown away unread,
    /// and lines go on behind them.
    ///
    /// It is an error of the responder to ask for bytes twice in one call, to do so from
    /// [`reject`](crate::Responder::reject), and to skip bytes if it
    /// [takes none](crate::Responder::max_data_bytes).
    pub fn skip_bytes(&mut self, bytes: u64) {
        self.blame_if_it_takes_none();
        self.expect(Counted::Skip(bytes));
    }

    fn blame_if_it_takes_none(&mut self) {
        if self.aside.max_data_bytes == Some(0) {
            self.aside.blame(Fault::Misuse("asks for bytes, but says in `max_data_bytes` that it takes none"));
        }
    }

    fn expect(&mut self, counted: Counted) {
        if self.aside.max_data_bytes.is_none() {
            self.aside.blame(Fault::Misuse("asks for bytes where none can follow"));
        } else if self.aside.said.counted.is_some() {
            self.aside.blame(Fault::Misuse("asks for bytes twice in one call"));
        } else if self.aside.said.later.is_some() {
            self.aside.blame(Fault::Misuse("asks for bytes and answers later in one call"));
            self.aside.said.counted = Some(counted);
        } else {
            self.aside.is_said = true;
            self.aside.said.counted = Some(counted);
        }
    }

    /// Has the answer come later.
    pub(crate) fn answer_later(&mut self, answer: AwaitedAnswer) {
        if self.aside.max_data_bytes.is_none() || self.aside.is_connecting {
            self.aside.blame(Fault::Misuse("answers later where there is no line"));
        } else if self.aside.said.later.is_some() {
            self.aside.blame(Fault::Misuse("answers later twice in one call"));
        } else if self.aside.said.counted.is_some() {
            self.aside.blame(Fault::Misuse("asks for bytes and answers later in one call"));
        } else {
            self.aside.is_said = true;
            self.aside.said.later = Some(answer);
        }
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
        self.aside.close();
    }

    /// Has TLS begin behind this reply, as by STARTTLS (RFC 3207, RFC 2595): what is written here
    /// is the last that the client reads in plain.
    ///
    /// The client has come to a listener that speaks TLS on request (`Listener::tls_on_request` of
    /// greeter-server), as [`Peer::can_start_tls`](crate::Peer::can_start_tls) tells; elsewhere
    /// this is an error of the responder's, and the client receives the rejection for that. The
    /// next line is answered once the handshake is over. Before it,
    /// [`tls_started`](crate::Responder::tls_started) is called, where the session forgets what was
    /// said in plain.
    ///
    /// Nothing may have come in plain behind the line that this answers: somebody between the two
    /// may have put it there, for it to be answered as if it had come in TLS (CVE-2011-0411). If
    /// anything has, it is discarded, and the connection closes with
    /// [`PlainBehindStartTls`](crate::CloseReason::PlainBehindStartTls).
    ///
    /// What is [pushed](crate::PushMessage) meanwhile waits for TLS.
    ///
    /// A call cannot ask for this and for bytes, or answer later, or close; that is an error.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{BoxError, Line, Origin, Peer, Reply, Responder, TlsInfo, TlsVersion};
    /// struct Mail;
    ///
    /// impl Responder for Mail {
    ///     /// Who the client says it is.
    ///     type Session = Option<String>;
    ///
    ///     fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<Option<String>, BoxError> {
    ///         reply.line("220 ready");
    ///         Ok(None)
    ///     }
    ///
    ///     fn respond(
    ///         &self,
    ///         who: &mut Option<String>,
    ///         line: Line<'_>,
    ///         reply: &mut Reply<'_>,
    ///     ) -> Result<(), BoxError> {
    ///         match line.to_str()?.split_once(' ') {
    ///             Some(("EHLO", name)) => *who = Some(name.to_owned()),
    ///             _ if line.as_bytes() == b"STARTTLS" => {
    ///                 reply.line("220 go ahead");
    ///                 reply.start_tls();
    ///                 return Ok(());
    ///             }
    ///             _ => {}
    ///         }
    ///         reply.line(format!("250 {}", who.as_deref().unwrap_or("who are you?")));
    ///         Ok(())
    ///     }
    ///
    ///     fn tls_started(&self, who: &mut Option<String>, _: &Peer) {
    ///         *who = None;
    ///     }
    /// }
    ///
    /// let mut client = TestClient::connect_by(Origin::default().with_start_tls(), &Mail);
    /// client.send("EHLO ann\nSTARTTLS\n").expect("220 ready\n250 ann\n220 go ahead\n");
    /// client.start_tls(TlsInfo::new(TlsVersion::Tls13));
    /// client.send("NOOP\n").expect("250 who are you?\n");
    /// ```
    pub fn start_tls(&mut self) {
        if self.aside.is_connecting || self.aside.max_data_bytes.is_none() {
            self.aside.blame(Fault::Misuse("starts TLS where there is no line"));
        } else {
            self.aside.is_said = true;
            self.aside.said.starts_tls = true;
        }
    }
}

/// Adds a line and its ending, and returns an error if it is two lines.
#[inline]
pub(crate) fn append_line(text: impl LineText, ending: LineEnding, bytes: &mut Vec<u8>) -> Result<(), LfInLineError> {
    let framing = text.append_to(bytes);
    if ending == LineEnding::CrLf {
        bytes.push(b'\r');
    }
    bytes.push(b'\n');
    framing
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
        let mut replies = Vec::new();
        let mut aside = Aside::NO_BYTES;
        write(&mut Reply::new(&mut replies, LineEnding::Lf, &mut aside));
        assert_eq!(aside.is_said(), framing.is_err());
        assert_eq!(aside.finish().fault, framing.err().map(Fault::LfInLine));
        if framing.is_ok() {
            assert_eq!(String::from_utf8(replies).unwrap(), expected);
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
