//! The one trait to implement: from a line to a reply.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::close_reason::CloseReason;
use crate::error::BoxError;
use crate::line::Line;
use crate::peer::Peer;
use crate::rejection::Rejection;
use crate::reply::{IntoReply, Reply};

/// What a server says to its clients.
///
/// # The life of a client
///
/// 1. [`connect`](Self::connect), once, as soon as the client is connected and, where there is a pool, a worker is free. What
///    it writes is a banner.
/// 2. [`respond`](Self::respond), once for every complete line, in the order they were sent, one at a time.
///    [`reject`](Self::reject) stands in for it where a line cannot be answered.
/// 3. [`disconnect`](Self::disconnect), once, when the connection is gone and the last reply was made.
///
/// # Threads
///
/// One responder serves all clients, from several threads at once (`&self`, [`Sync`]); what belongs to one client lives in
/// its [`Session`](Self::Session), which is lent to one call at a time and needs no lock. All calls come from the threads that
/// answer: the workers of the pool, or the connection threads where there is no pool. In the pool, taking long costs a
/// worker; without one, it costs every client of that thread. How many workers a responder wants that waits for others is told at
/// `workers` of the server's `Builder`.
///
/// Replies are sent as they are made, but not always one by one: those made within a millisecond or so leave together. In a server, none
/// waits for longer than 10 ms and the line at hand.
///
/// # Failing
///
/// An `Err` or a panic costs that client one `error: internal error` line, in the place of the reply, and nothing else: what was
/// already said to this line is taken back, the session stays as the panic left it, and the next line is answered. An `Err`
/// that holds a [`Rejection`] is told to the client in its own words. Where it is `connect` that fails, there is no session to
/// go on with, and the connection closes. Panics can only be contained where they unwind: with `panic = "abort"` they end
/// the process.
///
/// What the error was is told in an event of `tracing`. Whether anybody hears that is for the program to say: where it has no subscriber
/// (the crate `tracing-subscriber` has one to begin with), an `Err` leaves no trace but a number, `errors` in the server's `Stats`. Of a
/// panic, Rust's own report on stderr remains.
///
/// # Example
///
/// ```
/// # extern crate greeter_core as greeter_server;
/// use greeter_server::{BoxError, Line, Peer, Reply, Responder};
///
/// /// Answers each line with the number of lines that this client has sent.
/// struct Counter;
///
/// impl Responder for Counter {
///     type Session = u64;
///
///     fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<u64, BoxError> {
///         Ok(0)
///     }
///
///     fn respond(&self, lines: &mut u64, _line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
///         *lines += 1;
///         reply.line(format_args!("{lines}"));
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a responder",
    label = "answers no lines",
    note = "a function from a line to a reply becomes one by `responder_fn(|line: &str| …)`; a type of your own implements `Responder`"
)]
pub trait Responder: Send + Sync + 'static {
    /// What is kept for each client. Where it is `()`, the trait can be used as `dyn Responder<Session = ()>`.
    ///
    /// There are as many as there are connections, and what they hold is in no limit of the server's: a session that grows with what its
    /// client sends has a bound of its own.
    type Session: Send + 'static;

    /// A client is here: makes its session and may say a banner.
    ///
    /// A banner's lines end with LF unless the reply is [told otherwise](Reply::end_lines_with); and so does whatever else the client is
    /// told before it has sent a line.
    ///
    /// # Errors
    ///
    /// Whatever keeps this client from being served, such as a [`Rejection`]. It is told, and the connection closes.
    fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<Self::Session, BoxError>;

    /// Answers one line, which comes without its ending. Writing nothing is an answer too: the client gets no reply.
    ///
    /// # Errors
    ///
    /// Whatever keeps the responder from answering.
    fn respond(&self, session: &mut Self::Session, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError>;

    /// Says that a line is not answered and why; by default `error: ` and the reason. Should this panic or break the framing, the
    /// client reads `error: internal error`. In a protocol of one line for each connection, this is to
    /// [close](Reply::close).
    ///
    /// A line that was too long or came when everyone was busy never comes to [`respond`](Self::respond), so this is where a `session`
    /// hears of it: one that collects lines can note here that it has missed one, and reject what it would have done with them. (Or such
    /// a line is the end of the connection, wherever it comes: [`WhenRejected`](crate::WhenRejected). That is the way where the line that ends a
    /// collection may be the one that is rejected: what it said, nobody is told.)
    ///
    /// There is no session where the responder does not know the client: [`connect`](Self::connect) failed, or everyone was busy when it
    /// came. And there is none for the rejections that end a connection: these are asked for once, when the server starts, and said
    /// in these words from then on. The session hears of those in [`disconnect`](Self::disconnect).
    ///
    /// Where there are no words, the connection ends in silence. That is best for [`Rejection::IdleTimeout`] in a protocol whose clients keep a
    /// connection for their next request: what was said meanwhile stands there first, and such a client takes it for the answer; that
    /// the connection has ended it takes for what it is, and comes again.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use std::time::Duration;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{CloseReason, BoxError, Line, Peer, Rejection, Reply, Responder};
    /// # struct Echo;
    /// # impl Responder for Echo {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
    /// #     fn respond(&self, _: &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> { Ok(reply.line(line)) }
    /// fn reject(&self, _: Option<&mut ()>, rejection: Rejection, reply: &mut Reply<'_>) {
    ///     match rejection {
    ///         Rejection::IdleTimeout { .. } => {}
    ///         rejection => reply.line(format_args!("error: {rejection}")),
    ///     }
    /// }
    /// # }
    /// # let mut client = TestClient::connect(&Echo);
    /// # client.send("a\n").expect("a\n");
    /// # client.wait(Duration::from_secs(300)).expect_end(CloseReason::IdleTimeout);
    /// ```
    fn reject(&self, session: Option<&mut Self::Session>, rejection: Rejection, reply: &mut Reply<'_>) {
        let _ = session;
        reply.line(format_args!("error: {rejection}"));
    }

    /// The client is gone, and so is its connection. By default, the session is dropped. A client that does not close its own end when the
    /// server has closed its is gone once it has [lingered](crate::ConnectionTimeouts::linger), some seconds later.
    ///
    /// Where a shutdown ran out of time, sessions of lines that were still with a worker are dropped without this call.
    #[expect(unused_variables, reason = "their names are for the reader")]
    fn disconnect(&self, session: Self::Session, reason: CloseReason) {}
}

macro_rules! responder_behind_a_pointer {
    ($($pointer:ident),*) => {$(
        impl<R: Responder + ?Sized> Responder for $pointer<R> {
            type Session = R::Session;

            fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<Self::Session, BoxError> {
                R::connect(self, peer, reply)
            }

            fn respond(&self, session: &mut Self::Session, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
                R::respond(self, session, line, reply)
            }

            fn reject(&self, session: Option<&mut Self::Session>, rejection: Rejection, reply: &mut Reply<'_>) {
                R::reject(self, session, rejection, reply);
            }

            fn disconnect(&self, session: Self::Session, reason: CloseReason) {
                R::disconnect(self, session, reason);
            }
        }
    )*};
}
responder_behind_a_pointer!(Arc, Box);

/// A responder of one function, from the text or the bytes of a line to its reply line, to none, or to a rejection.
///
/// ```
/// # extern crate greeter_core as greeter_server;
/// use greeter_server::{Rejection, responder_fn};
///
/// let of_text = responder_fn(|name: &str| format!("Hello, {name}"));
/// let of_bytes = responder_fn(|line: &[u8]| line.to_ascii_uppercase());
/// let of_numbers = responder_fn(|line: &str| {
///     let number: i64 = line.parse().map_err(|_| Rejection::custom("that is no number"))?;
///     Ok::<_, Rejection>(number + 1)
/// });
/// let of_some = responder_fn(|line: &str| (line != "quiet").then(|| line.len()));
/// ```
///
/// It says which it takes, `|line: &str|` or `|line: &[u8]|`; a function of text never sees a line that is not valid UTF-8, whose
/// client is rejected in words. What it may return is told at [`IntoReply`].
///
/// What it returns is its own, or `'static`, and not a part of the line. Of `|line: &str| line.trim()` the compiler says that a "lifetime may
/// not live long enough", and of a function with a name that "one type is more general than the other"; `line.trim().to_owned()` will do.
/// A [`Responder`] of your own can say a part of the line without a copy of it.
pub const fn responder_fn<F, T, R>(function: F) -> ResponderFn<F, T>
where
    F: Fn(&T) -> R + Send + Sync + 'static,
    T: FromLine + ?Sized,
    R: IntoReply,
{
    ResponderFn { function, of: PhantomData }
}

/// The responder that [`responder_fn`] makes.
#[derive(Debug)]
pub struct ResponderFn<F, T: ?Sized> {
    function: F,
    of: PhantomData<fn(&T)>,
}

impl<F, T, R> Responder for ResponderFn<F, T>
where
    F: Fn(&T) -> R + Send + Sync + 'static,
    T: FromLine + ?Sized + 'static,
    R: IntoReply,
{
    type Session = ();

    fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, _session: &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        (self.function)(T::from_line(line)?).reply_to(reply)
    }
}

/// What the function of [`responder_fn`] may take: `str` or `[u8]`.
#[diagnostic::on_unimplemented(
    message = "a line cannot be taken as `{Self}`",
    note = "a function that answers takes `&str` or `&[u8]`; say which: `|line: &str| …`"
)]
pub trait FromLine {
    /// The line as this type.
    ///
    /// # Errors
    ///
    /// The rejection that the client reads when the line cannot be one.
    fn from_line(line: Line<'_>) -> Result<&Self, Rejection>;
}

impl FromLine for str {
    fn from_line(line: Line<'_>) -> Result<&Self, Rejection> {
        line.to_str()
    }
}

impl FromLine for [u8] {
    fn from_line(line: Line<'_>) -> Result<&Self, Rejection> {
        Ok(line.as_bytes())
    }
}
