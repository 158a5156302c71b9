//! Turns a line into a reply: the one trait that a service implements.
//!
//! A responder sees lines and sessions; it does not know how the bytes came or where the reply
//! goes.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::close_reason::CloseReason;
use crate::error::BoxError;
use crate::line::Line;
use crate::peer::Peer;
use crate::rejection::Rejection;
use crate::reply::{IntoReply, Reply};

/// The service of a server: what it answers to its clients.
///
/// # The life of a client
///
/// 1. [`connect`](Self::connect), once, as soon as the client is connected and, where there is a
///    pool, a worker is free. What it writes is the banner.
/// 2. [`respond`](Self::respond), once for every complete line, one at a time, in the order in
///    which the client sent them. [`reject`](Self::reject) stands in for it where a line cannot be
///    answered.
/// 3. [`end_of_input`](Self::end_of_input), once, if the responder
///    [wants it](Self::wants_end_of_input) and nothing more comes.
/// 4. [`disconnect`](Self::disconnect), once, when the connection is closed and the last reply was
///    made.
///
/// # Threads
///
/// One responder serves all clients, from several threads at once (`&self`, [`Sync`]). What belongs
/// to one client lives in its [`Session`](Self::Session), which is lent to one call at a time and
/// needs no lock. All calls come from the threads that answer: the workers of the pool, or the
/// connection threads where there is no pool. In a pool, a slow call keeps one worker busy; without
/// a pool, it delays every client of that thread. `workers` of the server's `Builder` says how many
/// workers suit a responder that waits for other programs.
///
/// Replies are sent as they are made, but not always one by one: those made within about a
/// millisecond leave together. In a server, no reply waits for longer than 10 ms and the line in
/// progress.
///
/// # Errors and panics
///
/// An `Err` or a panic costs that client one line, `error: internal error`, in the place of the
/// reply, and nothing else: what the call wrote is discarded, the session stays as the panic left
/// it, and the next line is answered. If the `Err` holds a [`Rejection`], the client receives the
/// rejection's words instead. If `connect` fails, there is no session to continue with, and the
/// connection closes. A panic is contained only where it unwinds: with `panic = "abort"` it ends
/// the process.
///
/// The server reports each error as an event of `tracing`. The program decides whether anything
/// receives it: without a subscriber (the crate `tracing-subscriber` has one to begin with), an
/// `Err` leaves no trace but a number, `responder_errors` in the server's `Stats`. Of a panic,
/// Rust's own report on stderr remains.
///
/// # Example
///
/// ```
/// # extern crate greeter_core as greeter_server;
/// use greeter_server::testing::TestClient;
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
///     fn respond(
///         &self,
///         lines: &mut u64,
///         _line: Line<'_>,
///         reply: &mut Reply<'_>,
///     ) -> Result<(), BoxError> {
///         *lines += 1;
///         reply.line(*lines);
///         Ok(())
///     }
/// }
///
/// TestClient::connect(&Counter).send("a\nb\n").expect("1\n2\n");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a responder",
    label = "answers no lines",
    note = "a function from a line to a reply becomes one by `responder_fn(|line: &str| …)`; a type of your own implements `Responder`"
)]
pub trait Responder: Send + Sync + 'static {
    /// The state of one client. Where it is `()`, the trait can be used as
    /// `dyn Responder<Session = ()>`.
    ///
    /// There is one session for each connection, and no limit of the server counts what it holds:
    /// if a session grows with what its client sends, the responder must bound it.
    type Session: Send + 'static;

    /// Creates the session of a client that has connected.
    ///
    /// What this writes is the banner. Its lines end with LF unless the reply [says
    /// otherwise](Reply::end_lines_with). Everything else that the client receives before it has
    /// sent a line ends in the same way.
    ///
    /// # Errors
    ///
    /// Returns any error to reject the client. It receives the [`Rejection`], or
    /// `error: internal error` for any other error, and the connection closes.
    fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<Self::Session, BoxError>;

    /// Answers one line.
    ///
    /// The line comes without its ending. Writing nothing sends no reply.
    ///
    /// # Errors
    ///
    /// Discards what this call wrote. The client receives the [`Rejection`], or
    /// `error: internal error` for any other error, which is logged. The session continues with the
    /// next line.
    fn respond(&self, session: &mut Self::Session, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError>;

    /// Answers counted bytes: those that a call has [asked for](Reply::read_bytes), all of them and
    /// no more, however the network cut them.
    ///
    /// It may ask for more. `memcached.rs` and `redis.rs` among the examples show it. The default
    /// is an error, for responders that ask for none.
    ///
    /// # Errors
    ///
    /// As for [`respond`](Self::respond).
    #[expect(unused_variables, reason = "their names are for the reader")]
    fn bytes(&self, session: &mut Self::Session, bytes: &[u8], reply: &mut Reply<'_>) -> Result<(), BoxError> {
        Err("a responder that reads bytes must say what to do with them".into())
    }

    /// Learns that a client speaks TLS now, as a reply has [asked](Reply::start_tls).
    ///
    /// Here the session forgets what the client has said in plain, which somebody between the two
    /// may have said in its name (RFC 3207, 4.2). `peer` has what the handshake
    /// [tells](Peer::tls). The default does nothing.
    #[expect(unused_variables, reason = "their names are for the reader")]
    fn tls_started(&self, session: &mut Self::Session, peer: &Peer) {}

    /// Learns that nothing more comes from the client, as a program learns that its stdin is at its
    /// end. The client may still read: what this writes is sent, and then the connection closes.
    ///
    /// The `reason` is that for which the connection closes then. With
    /// [`ClientClosed`](CloseReason::ClientClosed) the client itself has stopped sending (a
    /// half-close, `shutdown(2)` with `SHUT_WR`, or the same in TLS): it has said all. With
    /// [`Shutdown`](CloseReason::Shutdown) the server stops, and nobody knows what the client would
    /// have said. There are no others today.
    ///
    /// It is called once, if the responder [wants it](Self::wants_end_of_input), when all complete
    /// lines are answered, those too that are answered later. A line that is not complete is
    /// discarded, as ever. It answers no line and counts as none. It may answer
    /// [later](Reply::later): the connection stays open until then, or until a shutdown has run out
    /// of time, and what is pushed meanwhile is sent. To ask for [bytes](Reply::read_bytes) or
    /// [TLS](Reply::start_tls) here is an error.
    ///
    /// It is not called if the connection ends in another way: it broke, the client was killed or
    /// rejected, something timed out, or a reply has closed it.
    /// [`disconnect`](Self::disconnect) is called in any case. If no worker is free
    /// for longer than the queue timeout, [`reject`](Self::reject) is called in its place, as for a
    /// line, and the client reads that the server is [busy](Rejection::Busy).
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::testing::TestClient;
    /// use greeter_server::{BoxError, CloseReason, Line, Peer, Rejection, Reply, Responder};
    ///
    /// /// Answers the sum of all numbers, once they have all come.
    /// struct Sum;
    ///
    /// impl Responder for Sum {
    ///     type Session = u64;
    ///
    ///     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<u64, BoxError> {
    ///         Ok(0)
    ///     }
    ///
    ///     fn respond(
    ///         &self,
    ///         sum: &mut u64,
    ///         line: Line<'_>,
    ///         _: &mut Reply<'_>,
    ///     ) -> Result<(), BoxError> {
    ///         let number = line.to_str()?.parse::<u32>();
    ///         *sum += u64::from(number.map_err(|_| Rejection::custom("no number"))?);
    ///         Ok(())
    ///     }
    ///
    ///     fn wants_end_of_input(&self) -> bool {
    ///         true
    ///     }
    ///
    ///     fn end_of_input(
    ///         &self,
    ///         sum: &mut u64,
    ///         reason: CloseReason,
    ///         reply: &mut Reply<'_>,
    ///     ) -> Result<(), BoxError> {
    ///         // A sum of some of the numbers would be taken for that of all.
    ///         match reason {
    ///             CloseReason::ClientClosed => Ok(reply.line(*sum)),
    ///             _ => Ok(()),
    ///         }
    ///     }
    /// }
    ///
    /// let mut client = TestClient::connect(&Sum);
    /// client.send("20\nmany\n22\n").expect("error: no number\n");
    /// client.shutdown_write().expect("42\n").expect_end(CloseReason::ClientClosed);
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`respond`](Self::respond).
    #[expect(unused_variables, reason = "their names are for the reader")]
    fn end_of_input(
        &self,
        session: &mut Self::Session,
        reason: CloseReason,
        reply: &mut Reply<'_>,
    ) -> Result<(), BoxError> {
        Ok(())
    }

    /// Returns whether [`end_of_input`](Self::end_of_input) is to be called. The default is not to:
    /// it costs a turn for each client that leaves. The server asks once, when it starts.
    fn wants_end_of_input(&self) -> bool {
        false
    }

    /// Returns how many counted bytes may be [read at once](Reply::read_bytes), up to 1 GiB. The
    /// default is 0: the responder reads lines only.
    ///
    /// The server asks once, when it starts. So many bytes may one client make the server hold, as
    /// they come; the server's memory formula counts them if they are more than the longest line.
    ///
    /// Of a responder that takes bytes, a connection closes behind every rejection of a line that
    /// the responder has not seen, as by [`WhenRejected::Close`](crate::WhenRejected::Close): the
    /// line may have announced bytes, and these must not be taken for lines.
    fn max_data_bytes(&self) -> usize {
        0
    }

    /// Words a rejection. The default is `error: ` and the reason.
    ///
    /// If this panics or breaks the framing, the client receives `error: internal error`. In a
    /// protocol of one line for each connection, this must [close](Reply::close) the connection.
    ///
    /// This is called for what [`respond`](Self::respond) itself returns, too. A line that is too
    /// long, or that waits too long for a worker, never reaches it: this is where the `session`
    /// learns of that. A session that
    /// collects lines can note here that one is missing, and reject what it would have done with
    /// them. If the rejected line may be the one that ends the collection, nobody can tell what it
    /// said; then let the server close the connection, by [`WhenRejected`](crate::WhenRejected).
    ///
    /// There is no session where the responder does not know the client: [`connect`](Self::connect)
    /// failed, or no worker was free when it came. There is none either for the rejections that end
    /// a connection. The server asks for the words of these once, when it starts, and uses them
    /// from then on; the session learns of the end in [`disconnect`](Self::disconnect).
    ///
    /// Where a rejection ends the connection and this writes nothing, it ends in silence; where the
    /// session goes on, nothing is sent for that line. Silence is best for
    /// [`Rejection::IdleTimeout`] in a protocol whose clients keep a connection for their next
    /// request: such a client would take the rejection for the answer to that request. An end
    /// without words it takes for what it is, and connects again.
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
    /// #     fn respond(
    /// #         &self,
    /// #         _: &mut (),
    /// #         line: Line<'_>,
    /// #         reply: &mut Reply<'_>,
    /// #     ) -> Result<(), BoxError> {
    /// #         Ok(reply.line(line))
    /// #     }
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

    /// Ends the session of a client whose connection is closed. The default drops the session.
    ///
    /// If the client does not close its own end of the stream after the server has closed its end,
    /// this is called when the [linger timeout](crate::ConnectionTimeouts::linger) expires, some
    /// seconds later.
    ///
    /// Where lines of one client are answered side by side, a call for one that has timed out may
    /// still be running.
    ///
    /// If a shutdown ran out of time, the sessions of lines that were still with a worker are
    /// dropped without this call.
    #[expect(unused_variables, reason = "their names are for the reader")]
    fn disconnect(&self, session: Self::Session, reason: CloseReason) {}

    /// Returns whether new clients are wanted, as far as the responder is concerned: false while
    /// what it needs is not there, such as another program or a database. The default is true.
    ///
    /// It changes nothing for clients. A server's readiness, which probes and balancers ask for
    /// (`ServerHandle::is_ready` of greeter-server, and its admin server), is this as well. It is
    /// called by any thread, and must not wait.
    fn is_ready(&self) -> bool {
        true
    }
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

            fn bytes(&self, session: &mut Self::Session, bytes: &[u8], reply: &mut Reply<'_>) -> Result<(), BoxError> {
                R::bytes(self, session, bytes, reply)
            }

            fn max_data_bytes(&self) -> usize {
                R::max_data_bytes(self)
            }

            fn tls_started(&self, session: &mut Self::Session, peer: &Peer) {
                R::tls_started(self, session, peer);
            }

            fn end_of_input(
                &self,
                session: &mut Self::Session,
                reason: CloseReason,
                reply: &mut Reply<'_>,
            ) -> Result<(), BoxError> {
                R::end_of_input(self, session, reason, reply)
            }

            fn wants_end_of_input(&self) -> bool {
                R::wants_end_of_input(self)
            }

            fn reject(&self, session: Option<&mut Self::Session>, rejection: Rejection, reply: &mut Reply<'_>) {
                R::reject(self, session, rejection, reply);
            }

            fn disconnect(&self, session: Self::Session, reason: CloseReason) {
                R::disconnect(self, session, reason);
            }

            fn is_ready(&self) -> bool {
                R::is_ready(self)
            }
        }
    )*};
}
responder_behind_a_pointer!(Arc, Box);

/// Creates a responder from one function, from a line to its reply line, to no reply, or to a
/// rejection.
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
/// The function says which it takes, `|line: &str|` or `|line: &[u8]|`. A function of text never
/// sees a line that is not valid UTF-8; the client receives [`Rejection::NotUtf8`]. [`IntoReply`]
/// lists what the function may return.
///
/// It returns a value that is owned or `'static`, not a part of the line. Of
/// `|line: &str| line.trim()` the compiler says that a "lifetime may not live long enough", and of
/// a named function that "one type is more general than the other"; return
/// `line.trim().to_owned()`. A [`Responder`] of your own can send a part of the line without a
/// copy.
pub const fn responder_fn<F, T, R>(function: F) -> ResponderFn<F, T>
where
    F: Fn(&T) -> R + Send + Sync + 'static,
    T: FromLine + ?Sized,
    R: IntoReply,
{
    ResponderFn { function, of: PhantomData }
}

/// The responder that [`responder_fn`] creates.
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

/// The argument that a function for [`responder_fn`] may take: `str` or `[u8]`.
#[diagnostic::on_unimplemented(
    message = "a line cannot be taken as `{Self}`",
    note = "a function that answers takes `&str` or `&[u8]`; say which: `|line: &str| …`"
)]
pub trait FromLine {
    /// Returns the line as this type.
    ///
    /// # Errors
    ///
    /// Returns the rejection that the client receives when the line is not of this type.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// A method with a default that is not passed on would be lost without a word.
    #[test]
    fn a_pointer_passes_on_every_method() {
        let source = include_str!("responder.rs");
        let methods = |begins: &str, ends: &str| {
            let (_, rest) = source.split_once(begins).expect("it is there");
            let (block, _) = rest.split_once(ends).expect("it ends");
            let declared = block.lines().filter_map(|line| line.trim().strip_prefix("fn ")?.split_once('('));
            declared.map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>()
        };
        let of_trait = methods("pub trait Responder", "\n}\n");
        assert!(of_trait.contains("tls_started"), "{of_trait:?}");
        assert_eq!(methods("macro_rules! responder_behind_a_pointer", "\n}\n"), of_trait);
    }
}
