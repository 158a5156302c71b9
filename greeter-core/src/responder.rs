//! The one trait to implement: from a line to a reply.

use std::error::Error;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::line::Line;
use crate::refusal::Refusal;
use crate::reply::{IntoReply, Reply};

/// What keeps a responder from answering: any error. The client reads `error: internal error`, and the server's log has the error, where
/// it has [a log](Responder#failing); but where it is a [`Refusal`], the client reads that, and nobody is to blame.
pub type Failure = Box<dyn Error + Send + Sync>;

/// What a server says to its clients.
///
/// # The life of a client
///
/// 1. [`connect`](Self::connect), once, as soon as the client is connected and, where there is a pool, a worker is free. What
///    it writes is a banner.
/// 2. [`respond`](Self::respond), once for every complete line, in the order they were sent, one at a time.
///    [`refuse`](Self::refuse) stands in for it where a line cannot be answered.
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
/// that holds a [`Refusal`] is told to the client in its own words. Where it is `connect` that fails, there is no session to
/// go on with, and the connection closes. Panics can only be contained where they unwind: with `panic = "abort"` they end
/// the process.
///
/// What the error was is told in an event of `tracing`. Whether anybody hears that is for the program to say: where it has no subscriber
/// (the crate `tracing-subscriber` has one to begin with), an `Err` leaves no trace but a number, `faults` in the server's `Stats`. Of a
/// panic, Rust's own report on stderr remains.
///
/// # Example
///
/// ```
/// # extern crate greeter_core as greeter_server;
/// use greeter_server::{Failure, Line, Peer, Reply, Responder};
///
/// /// Answers each line with the number of lines that this client has sent.
/// struct Counter;
///
/// impl Responder for Counter {
///     type Session = u64;
///
///     fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<u64, Failure> {
///         Ok(0)
///     }
///
///     fn respond(&self, lines: &mut u64, _line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
///         *lines += 1;
///         reply.line(format_args!("{lines}"));
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a responder",
    label = "answers no lines",
    note = "a function from a line to a reply becomes one by `respond_with(|line: &str| …)`; a type of your own implements `Responder`"
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
    /// Whatever keeps this client from being served, such as a [`Refusal`]. It is told, and the connection closes.
    fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<Self::Session, Failure>;

    /// Answers one line, which comes without its ending. Writing nothing is an answer too: the client gets no reply.
    ///
    /// # Errors
    ///
    /// Whatever keeps the responder from answering.
    fn respond(&self, session: &mut Self::Session, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), Failure>;

    /// Says that a line is not answered and why; by default `error: ` and the reason. Should this panic or break the framing, the
    /// client reads `error: internal error`. In a protocol of one line for each connection, this is to
    /// [close](Reply::close).
    ///
    /// A line that was too long or came when everyone was busy never comes to [`respond`](Self::respond), so this is where a `session`
    /// hears of it: one that collects lines can note here that it has missed one, and refuse what it would have done with them. (Or such
    /// a line is the end of the connection, wherever it comes: [`WhenRefused`](crate::WhenRefused). That is the way where the line that ends a
    /// collection may be the one that is refused: what it said, nobody is told.)
    ///
    /// There is no session where the responder does not know the client: [`connect`](Self::connect) failed, or everyone was busy when it
    /// came. And there is none for the refusals that end a connection: these are asked for once, when the server starts, and said
    /// in these words from then on. The session hears of those in [`disconnect`](Self::disconnect).
    ///
    /// Where there are no words, the connection ends in silence. That is best for [`Refusal::Idle`] in a protocol whose clients keep a
    /// connection for their next request: what was said meanwhile stands there first, and such a client takes it for the answer; that
    /// the connection has ended it takes for what it is, and comes again.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use std::time::Duration;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{CloseReason, Failure, Line, Peer, Refusal, Reply, Responder};
    /// # struct Echo;
    /// # impl Responder for Echo {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), Failure> { Ok(()) }
    /// #     fn respond(&self, _: &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), Failure> { Ok(reply.line(line)) }
    /// fn refuse(&self, _: Option<&mut ()>, refusal: Refusal, reply: &mut Reply<'_>) {
    ///     match refusal {
    ///         Refusal::Idle { .. } => {}
    ///         refusal => reply.line(format_args!("error: {refusal}")),
    ///     }
    /// }
    /// # }
    /// # let mut client = TestClient::connect(&Echo);
    /// # client.send("a\n").expect("a\n");
    /// # client.wait(Duration::from_secs(300)).expect_end(CloseReason::Idle);
    /// ```
    fn refuse(&self, session: Option<&mut Self::Session>, refusal: Refusal, reply: &mut Reply<'_>) {
        let _ = session;
        reply.line(format_args!("error: {refusal}"));
    }

    /// The client is gone, and so is its connection. By default, the session is dropped. A client that does not close its own end when the
    /// server has closed its is gone once it has [lingered](crate::Deadlines::linger), some seconds later.
    ///
    /// Where a shutdown ran out of time, sessions of lines that were still with a worker are dropped without this call.
    #[expect(unused_variables, reason = "their names are for the reader")]
    fn disconnect(&self, session: Self::Session, reason: CloseReason) {}
}

/// Names one client of a server, from its first byte to its last. Another client never has the same.
///
/// What is in it is the driver's business; the core only carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Who is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The client's name on this server.
    pub id: ClientId,
    /// The address that the connection came from.
    pub address: SocketAddr,
}

impl Peer {
    /// Whoever connected from `address` and is called `id` here.
    #[must_use]
    pub const fn new(id: ClientId, address: SocketAddr) -> Self {
        Self { id, address }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client stopped sending and got every reply it was owed.
    #[error("the client stopped sending")]
    ByClient,
    /// The responder [closed](Reply::close) it.
    #[error("the responder closed it")]
    ByResponder,
    /// A line was refused that the responder has not seen, and that was [to be the end](crate::WhenRefused::Close).
    #[error("a line was refused")]
    LineRefused,
    /// The program that the server is part of closed it. What was still owed is lost.
    #[error("the host program closed it")]
    ByHost,
    /// The server is shutting down; every complete line was answered.
    #[error("the server is shutting down")]
    ByShutdown,
    /// The server was shutting down and its deadline passed: what was still owed is lost.
    #[error("the server's deadline for shutting down has passed")]
    ByShutdownDeadline,
    /// The connection broke, by a reset or another error of the network: what was still owed is lost.
    #[error("the connection broke")]
    Lost,
    /// The client was idle for too long: nothing was owed, and no line had begun.
    #[error("the client was idle")]
    Idle,
    /// The client began a line and did not finish it in time.
    #[error("the client did not finish its line")]
    LineUnfinished,
    /// The client did not read what it was sent: what was still owed is lost.
    #[error("the client did not read its replies")]
    NotReading,
    /// The responder did not come back with an answer in time. It is told so when it does.
    #[error("the responder did not answer in time")]
    NoReply,
    /// Nobody was free: to welcome the client, or to tell its session that lines were refused.
    #[error("everyone was busy")]
    Busy,
    /// The server had no room for what this client made it hold.
    #[error("the server had no room for its lines and replies")]
    Overloaded,
    /// The server had as many clients as it takes. No responder is told of this one.
    #[error("the server was full")]
    ServerFull,
    /// The server had as many clients from that address as it takes. No responder is told of this one.
    #[error("there were too many connections from its address")]
    AddressFull,
}

impl CloseReason {
    /// The place of this one among [all](Self::ALL).
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// All reasons, in the order of their indices.
    pub const ALL: [Self; 15] = [
        Self::ByClient,
        Self::ByResponder,
        Self::LineRefused,
        Self::ByHost,
        Self::ByShutdown,
        Self::ByShutdownDeadline,
        Self::Lost,
        Self::Idle,
        Self::LineUnfinished,
        Self::NotReading,
        Self::NoReply,
        Self::Busy,
        Self::Overloaded,
        Self::ServerFull,
        Self::AddressFull,
    ];
}

macro_rules! responder_behind_a_pointer {
    ($($pointer:ident),*) => {$(
        impl<R: Responder + ?Sized> Responder for $pointer<R> {
            type Session = R::Session;

            fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<Self::Session, Failure> {
                R::connect(self, peer, reply)
            }

            fn respond(&self, session: &mut Self::Session, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
                R::respond(self, session, line, reply)
            }

            fn refuse(&self, session: Option<&mut Self::Session>, refusal: Refusal, reply: &mut Reply<'_>) {
                R::refuse(self, session, refusal, reply);
            }

            fn disconnect(&self, session: Self::Session, reason: CloseReason) {
                R::disconnect(self, session, reason);
            }
        }
    )*};
}
responder_behind_a_pointer!(Arc, Box);

/// A responder of one function, from the text or the bytes of a line to its reply line, to none, or to a refusal.
///
/// ```
/// # extern crate greeter_core as greeter_server;
/// use greeter_server::{Refusal, respond_with};
///
/// let of_text = respond_with(|name: &str| format!("Hello, {name}"));
/// let of_bytes = respond_with(|line: &[u8]| line.to_ascii_uppercase());
/// let of_numbers = respond_with(|line: &str| {
///     let number: i64 = line.parse().map_err(|_| Refusal::because("that is no number"))?;
///     Ok::<_, Refusal>(number + 1)
/// });
/// let of_some = respond_with(|line: &str| (line != "quiet").then(|| line.len()));
/// ```
///
/// It says which it takes, `|line: &str|` or `|line: &[u8]|`; a function of text never sees a line that is not valid UTF-8, whose
/// client is refused in words. What it may return is told at [`IntoReply`].
///
/// What it returns is its own, or `'static`, and not a part of the line. Of `|line: &str| line.trim()` the compiler says that a "lifetime may
/// not live long enough", and of a function with a name that "one type is more general than the other"; `line.trim().to_owned()` will do.
/// A [`Responder`] of your own can say a part of the line without a copy of it.
pub const fn respond_with<F, T, R>(function: F) -> RespondWith<F, T>
where
    F: Fn(&T) -> R + Send + Sync + 'static,
    T: FromLine + ?Sized,
    R: IntoReply,
{
    RespondWith { function, of: PhantomData }
}

/// The responder that [`respond_with`] makes.
#[derive(Debug)]
pub struct RespondWith<F, T: ?Sized> {
    function: F,
    of: PhantomData<fn(&T)>,
}

impl<F, T, R> Responder for RespondWith<F, T>
where
    F: Fn(&T) -> R + Send + Sync + 'static,
    T: FromLine + ?Sized + 'static,
    R: IntoReply,
{
    type Session = ();

    fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn respond(&self, _session: &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
        (self.function)(T::from_line(line)?).reply_to(reply)
    }
}

/// What the function of [`respond_with`] may take: `str` or `[u8]`.
#[diagnostic::on_unimplemented(
    message = "a line cannot be taken as `{Self}`",
    note = "a function that answers takes `&str` or `&[u8]`; say which: `|line: &str| …`"
)]
pub trait FromLine {
    /// The line as this type.
    ///
    /// # Errors
    ///
    /// The refusal that the client reads when the line cannot be one.
    fn from_line(line: Line<'_>) -> Result<&Self, Refusal>;
}

impl FromLine for str {
    fn from_line(line: Line<'_>) -> Result<&Self, Refusal> {
        line.to_str()
    }
}

impl FromLine for [u8] {
    fn from_line(line: Line<'_>) -> Result<&Self, Refusal> {
        Ok(line.as_bytes())
    }
}
