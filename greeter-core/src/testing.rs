//! Turns a [`Responder`] into a test: sends it bytes and compares its replies, without a socket, a
//! thread or a clock.
//!
//! A [`TestClient`] passes through all that a real client does: framing, jobs, order, rejections,
//! timeouts, the end. Only the network is missing, and the test decides what time it is.
//!
//! ```
//! # extern crate greeter_core as greeter_server;
//! use std::time::Duration;
//! use greeter_server::testing::{TestClient, check_every_fragmentation};
//! use greeter_server::{CloseReason, responder_fn};
//!
//! let doubler = responder_fn(|word: &str| word.repeat(2));
//! let mut client = TestClient::connect(&doubler);
//! client.send("ab\ncd\r\n").expect("abab\ncdcd\r\n");
//! client.send(b"\xFF\n").expect("error: line is not valid UTF-8\n");
//! client.send("unfinis").wait(Duration::from_secs(10));
//! client.expect("error: line not finished within 10s\n").expect_end(CloseReason::LineTimeout);
//!
//! // Wherever TCP cuts the stream, the replies are the same.
//! let make = || responder_fn(|word: &str| word.repeat(2));
//! check_every_fragmentation(make, "ab\r\n\ncd\n", "abab\r\n\ncdcd\n");
//! ```

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

#[doc(no_inline)]
pub use crate::config::{ConnectionConfig, ConnectionTimeouts};
#[doc(no_inline)]
pub use crate::error::{ResponderError, ResponderErrors};
#[doc(no_inline)]
pub use crate::push::{PushMessage, PushReceipt};

use crate::address::Address;
use crate::budget::TurnBudget;
use crate::close_reason::CloseReason;
use crate::connection::{CloseAction, Connection};
use crate::peer::{ClientId, Origin, Peer, client_id};
use crate::responder::Responder;
use crate::tls::TlsInfo;

const MAX_LINE_BYTES: u32 = 8 * 1024;

/// The length of the longest input that is cut in two places. A longer one is cut in one: the
/// number of ways grows with the square of the length.
const MAX_BYTES_CUT_TWICE: usize = 64;

/// A client of a responder, in one thread, with nothing between the two but the protocol.
#[derive(Debug)]
pub struct TestClient<'a, R: Responder> {
    peer: Peer,
    responder: &'a R,
    config: ConnectionConfig,
    /// None once it is closed.
    connection: Option<Connection<R::Session>>,
    closed: Option<CloseReason>,
    now: Instant,
    /// What was sent while a line was answered later.
    unread: Vec<u8>,
    /// Whether the client has stopped sending, behind what is unread.
    has_shut_down: bool,
    received: Vec<u8>,
    errors: ResponderErrors,
    /// Where it is told of answers that come later.
    told: (Sender<()>, Receiver<()>),
}

/// How long an answer from another thread is waited for: longer than any test takes that passes.
const PATIENCE: Duration = Duration::from_secs(10);

impl<'a, R: Responder> TestClient<'a, R> {
    /// Connects a client from 127.0.0.1, port 1, with the id 0.
    ///
    /// The server has the [default timeouts](ConnectionTimeouts::DEFAULT) and accepts lines of up
    /// to 8 KiB.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::Greeter;
    /// use greeter_server::testing::TestClient;
    ///
    /// TestClient::connect(&Greeter).send("Bob\n").expect("Hello, Bob\n");
    /// ```
    pub fn connect(responder: &'a R) -> Self {
        Self::connect_with_id(0, responder)
    }

    /// Connects a client with this id, and a port that depends on the id: one of several clients
    /// that the responder tells apart.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::Greeter;
    /// use greeter_server::testing::TestClient;
    ///
    /// let clients = [7, 8].map(|id| TestClient::connect_with_id(id, &Greeter));
    /// assert_eq!(clients.map(|client| client.id().as_u64()), [7, 8]);
    /// ```
    pub fn connect_with_id(id: u64, responder: &'a R) -> Self {
        let port = u16::try_from(1 + id % u64::from(u16::MAX)).expect("it is at most 65535");
        let peer = peer(id, ([127, 0, 0, 1], port));
        Self::connect_as(peer, responder, ConnectionConfig::new(MAX_LINE_BYTES, ConnectionTimeouts::DEFAULT, responder))
    }

    /// Connects a client that has come like this: through a proxy, in TLS, or where a reply may
    /// start it.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::testing::TestClient;
    /// use greeter_server::{BoxError, Line, Origin, Peer, Reply, Responder, TlsInfo, TlsVersion};
    ///
    /// struct Versions;
    ///
    /// impl Responder for Versions {
    ///     type Session = ();
    ///
    ///     fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
    ///         let tls = peer.tls().ok_or("there is no TLS")?;
    ///         reply.line(format_args!("this is {}", tls.version));
    ///         Ok(())
    ///     }
    ///     // …
    /// #   fn respond(&self, _: &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
    /// #       Ok(())
    /// #   }
    /// }
    ///
    /// let origin = Origin::new(None, Some(TlsInfo::new(TlsVersion::Tls12)));
    /// TestClient::connect_by(origin, &Versions).expect("this is TLSv1.2\n");
    /// ```
    pub fn connect_by(origin: Origin, responder: &'a R) -> Self {
        let mut peer = peer(0, ([127, 0, 0, 1], 1));
        peer.origin = Some(Arc::new(origin));
        Self::connect_as(peer, responder, ConnectionConfig::new(MAX_LINE_BYTES, ConnectionTimeouts::DEFAULT, responder))
    }

    /// Connects a client with its own address or configuration.
    ///
    /// ```
    /// use std::time::Duration;
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::testing::{ConnectionConfig, ConnectionTimeouts, TestClient, peer};
    /// use greeter_server::{CloseReason, Greeter};
    ///
    /// let idle = Some(Duration::from_secs(1));
    /// let timeouts = ConnectionTimeouts { idle, ..ConnectionTimeouts::NONE };
    /// let config = ConnectionConfig::new(16, timeouts, &Greeter);
    /// let mut client = TestClient::connect_as(peer(7, ([192, 0, 2, 1], 4000)), &Greeter, config);
    /// client.wait(Duration::from_secs(1)).expect("error: idle for 1s\n");
    /// client.expect_end(CloseReason::IdleTimeout);
    /// ```
    pub fn connect_as(peer: Peer, responder: &'a R, config: ConnectionConfig) -> Self {
        let now = Instant::now();
        let connection = Some(Connection::new(peer.clone(), &config, now));
        let (unread, received, errors) = (Vec::new(), Vec::new(), ResponderErrors::default());
        let mut client = Self {
            peer,
            responder,
            config,
            connection,
            closed: None,
            now,
            unread,
            has_shut_down: false,
            received,
            errors,
            told: channel(),
        };
        client.settle();
        client
    }

    /// Returns the client's id.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.peer.id
    }

    /// Pushes a message to the client, which receives it as a [real client](Connection::push)
    /// would.
    ///
    /// If a reply has just closed the connection, the client still receives the message: the end of
    /// the stream is sent when the test does anything else.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::testing::{PushMessage, TestClient};
    /// use greeter_server::{Greeter, LfInLineError};
    ///
    /// let mut client = TestClient::connect(&Greeter);
    /// client.send("Bob\r\n").expect("Hello, Bob\r\n");
    /// client.push(&PushMessage::line("it rains")?).expect("it rains\r\n");
    /// # Ok::<(), LfInLineError>(())
    /// ```
    pub fn push(&mut self, message: &PushMessage) -> &mut Self {
        if let Some(connection) = &mut self.connection {
            connection.push(message, &self.config, self.now);
        }
        self.settle();
        self
    }

    /// Pushes a message and has somebody [told](Connection::push_with_receipt) what becomes of it.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use std::sync::mpsc::channel;
    /// use greeter_server::testing::{PushMessage, PushReceipt, TestClient};
    /// use greeter_server::{Delivery, Greeter};
    ///
    /// let (told, tells) = channel();
    /// let mut client = TestClient::connect(&Greeter);
    /// let receipt = PushReceipt::new(move |delivery| told.send(delivery).unwrap());
    /// client.push_with_receipt(&PushMessage::raw("a piece"), receipt).expect("a piece");
    /// assert_eq!(tells.recv(), Ok(Delivery::Taken));
    /// ```
    pub fn push_with_receipt(&mut self, message: &PushMessage, receipt: PushReceipt) -> &mut Self {
        if let Some(connection) = &mut self.connection {
            connection.push_with_receipt(message, receipt, &self.config, self.now);
        }
        self.settle();
        self
    }

    /// Ends the connection from outside, [as a reply that closes does](Connection::close).
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::testing::TestClient;
    /// use greeter_server::{CloseReason, Greeter};
    ///
    /// let mut client = TestClient::connect(&Greeter);
    /// client.send("Bob\n").close().expect("Hello, Bob\n").expect_end(CloseReason::ResponderClosed);
    /// ```
    pub fn close(&mut self) -> &mut Self {
        if let Some(connection) = &mut self.connection {
            connection.close(&self.config, self.now);
        }
        self.settle();
        self
    }

    /// Sends bytes, which arrive in one piece. What is sent after the end of the connection is
    /// lost. While a line is answered [later](crate::Reply::later), the bytes are not read; they
    /// arrive once the client has its answer.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::Greeter;
    /// use greeter_server::testing::TestClient;
    ///
    /// let mut client = TestClient::connect(&Greeter);
    /// client.send("Bob\nAn").expect("Hello, Bob\n").send("n\n").expect("Hello, Ann\n");
    /// ```
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.send_server_eof();
        self.unread.extend_from_slice(bytes.as_ref());
        self.settle();
        self
    }

    /// Sends bytes, which arrive in one piece while no worker is free: each line is
    /// [rejected](Responder::reject) in its place, and the session learns of it.
    ///
    /// The banner was sent before, so this cannot show a client that finds no worker free when it
    /// connects.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::Greeter;
    /// use greeter_server::testing::TestClient;
    ///
    /// let mut client = TestClient::connect(&Greeter);
    /// client.send_while_busy("Bob\nAnn\n").expect("error: busy\nerror: busy\n");
    /// client.send("Cid\n").expect("Hello, Cid\n");
    /// ```
    pub fn send_while_busy(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.send_server_eof();
        if let Some(connection) = &mut self.connection
            && !connection.wants_input()
        {
            self.unread.extend_from_slice(bytes.as_ref());
        } else if let Some(connection) = &mut self.connection {
            connection.received(bytes.as_ref(), &self.config, self.now);
            if let Some(job) = connection.take_job(self.now) {
                let mut rejected = job.reject_all(self.responder, &self.config, TurnBudget::unlimited());
                self.errors.add(rejected.take_errors());
                connection.answered(rejected, &self.config, self.now);
            }
        }
        self.settle();
        self
    }

    /// Breaks the connection, as a reset does. The responder receives [`CloseReason::Lost`].
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::testing::TestClient;
    /// use greeter_server::{CloseReason, Greeter};
    ///
    /// TestClient::connect(&Greeter).send("Bo").reset().expect_end(CloseReason::Lost);
    /// ```
    pub fn reset(&mut self) -> &mut Self {
        if let Some(connection) = &mut self.connection {
            connection.abort(CloseReason::Lost);
        }
        self.settle();
        self
    }

    /// Shuts the server down. What was sent is answered, then the connection ends with
    /// [`CloseReason::Shutdown`].
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::testing::TestClient;
    /// use greeter_server::{CloseReason, Greeter};
    ///
    /// let mut client = TestClient::connect(&Greeter);
    /// client.send("Bob\n").shutdown().expect("Hello, Bob\n").expect_end(CloseReason::Shutdown);
    /// ```
    pub fn shutdown(&mut self) -> &mut Self {
        if let Some(connection) = &mut self.connection {
            connection.stop(0);
        }
        self.settle();
        self
    }

    /// Stops sending (`shutdown(2)` with `SHUT_WR`): a half-close. What was sent is still answered.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::testing::TestClient;
    /// use greeter_server::{CloseReason, Greeter};
    ///
    /// let mut client = TestClient::connect(&Greeter);
    /// client.send("Bob\nAn").shutdown_write().expect("Hello, Bob\n");
    /// client.expect_end(CloseReason::ClientClosed);
    /// ```
    pub fn shutdown_write(&mut self) -> &mut Self {
        self.send_server_eof();
        self.has_shut_down = true;
        self.settle();
        self
    }

    /// Begins TLS, as the last reply has [asked](crate::Reply::start_tls): the handshake is over,
    /// and this is what it has told. [`Reply::start_tls`](crate::Reply::start_tls) has an example.
    ///
    /// # Panics
    ///
    /// Panics if TLS is not to begin now.
    #[track_caller]
    pub fn start_tls(&mut self, info: TlsInfo) -> &mut Self {
        let connection = self.connection.as_mut().filter(|connection| connection.wants_tls());
        let connection = connection.expect("the responder has started TLS, and nothing has come behind that");
        connection.tls_started(info, self.now);
        self.settle();
        self
    }

    /// Lets time pass, for the client and for the server.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use std::time::Duration;
    /// use greeter_server::Greeter;
    /// use greeter_server::testing::TestClient;
    ///
    /// let mut client = TestClient::connect(&Greeter);
    /// client.wait(Duration::from_secs(299)).expect("");
    /// client.wait(Duration::from_secs(1)).expect("error: idle for 300s\n");
    /// ```
    pub fn wait(&mut self, time: Duration) -> &mut Self {
        self.send_server_eof();
        self.now += time;
        if let Some(connection) = &mut self.connection {
            connection.check_deadline(&self.config, self.now);
        }
        self.settle();
        self
    }

    /// Returns the bytes that the client has received since the last call.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::Greeter;
    /// use greeter_server::testing::TestClient;
    ///
    /// let greeting = TestClient::connect(&Greeter).send("Bob\n").received();
    /// assert!(greeting.ends_with(b"Bob\n"));
    /// ```
    pub fn received(&mut self) -> Vec<u8> {
        // An answer that comes later may have come.
        self.settle();
        std::mem::take(&mut self.received)
    }

    /// Asserts that the client has received exactly these bytes since the last call.
    ///
    /// Nearly every example here shows it. What the responder answers in a call is there when
    /// [`send`](Self::send) returns. Answers that come [later](crate::Reply::later), from another
    /// thread, are waited for, up to ten seconds, as long as more is expected.
    ///
    /// # Panics
    ///
    /// Panics if it has received anything else, and shows both.
    #[track_caller]
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) -> &mut Self {
        let expected = expected.as_ref();
        let mut received = self.received();
        while received.len() < expected.len() && expected.starts_with(&received) && self.waits_for_answer() {
            received.extend(self.received());
        }
        assert_same(&received, expected, "");
        self
    }

    /// Waits until an answer has come later, if one is to come. Returns whether one has.
    fn waits_for_answer(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        connection.watch_late_answers(|_| {
            let told = self.told.0.clone();
            // The test may be over by then.
            Box::new(move || told.send(()).unwrap_or_default())
        });
        connection.lines_parked() > 0 && self.told.1.recv_timeout(PATIENCE).is_ok()
    }

    /// Stops sending, and asserts that the connection has ended for this reason and that the client
    /// has received nothing more.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::testing::TestClient;
    /// use greeter_server::{CloseReason, Greeter};
    ///
    /// TestClient::connect(&Greeter).expect_end(CloseReason::ClientClosed);
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the connection has not ended, has ended for another reason, or the client has
    /// received anything more.
    #[track_caller]
    pub fn expect_end(&mut self, reason: CloseReason) {
        self.shutdown_write().expect("");
        assert_eq!(self.closed, Some(reason), "the connection ends for another reason");
    }

    /// Returns the errors of the responder since the last call: panics, returned errors, broken
    /// framing.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// use greeter_server::responder_fn;
    /// use greeter_server::testing::TestClient;
    ///
    /// let parse = responder_fn(|line: &str| line.parse::<i32>().map(|number| number + 1));
    /// let mut client = TestClient::connect(&parse);
    /// client.send("1\ntwo\n").expect("2\nerror: internal error\n");
    /// assert_eq!(client.take_errors().count, 1);
    /// ```
    pub fn take_errors(&mut self) -> ResponderErrors {
        std::mem::take(&mut self.errors)
    }

    /// Sends the end of the server's stream, if it is time for that.
    fn send_server_eof(&mut self) {
        if let Some(connection) = &mut self.connection
            && connection.close_action() == CloseAction::ShutdownWrite
        {
            connection.write_shut_down(self.now);
        }
    }

    /// Does all that can be done without more from the client, which at once reads whatever it is
    /// sent.
    fn settle(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        loop {
            self.received.extend_from_slice(connection.unsent());
            connection.wrote(connection.unsent().len(), self.now);
            if let Some(job) = connection.take_job(self.now) {
                let mut answered = job.answer(self.responder, &self.config, TurnBudget::unlimited());
                self.errors.add(answered.take_errors());
                connection.answered(answered, &self.config, self.now);
                continue;
            }
            if connection.late_answer_arrived(None, &self.config, self.now) {
                continue;
            }
            if self.has_shut_down && self.unread.is_empty() {
                connection.received_eof();
                if connection.wants_answer() {
                    continue;
                }
            }
            if !self.unread.is_empty() && connection.wants_input() {
                connection.received(&std::mem::take(&mut self.unread), &self.config, self.now);
                continue;
            }
            match connection.close_action() {
                // The end of the stream is sent when the test does anything else: until then, the
                // test can push.
                CloseAction::None | CloseAction::ShutdownWrite => return self.connection = Some(connection),
                CloseAction::Close(reason) => {
                    self.closed = Some(reason);
                    if let Some(Err(error)) =
                        connection.into_disconnect().map(|disconnect| disconnect.notify(self.responder))
                    {
                        self.errors.add(ResponderErrors { count: 1, first: Some(error) });
                    }
                    return;
                }
            }
        }
    }
}

/// Creates the description of a client, for [`TestClient::connect_as`] and for tests that call a
/// responder directly.
///
/// ```
/// # extern crate greeter_core as greeter_server;
/// use greeter_server::testing::peer;
///
/// let client = peer(7, ([192, 0, 2, 1], 4000));
/// assert_eq!(format!("{} {}", client.id, client.address), "7 192.0.2.1:4000");
/// ```
#[must_use]
pub fn peer(id: u64, address: impl Into<Address>) -> Peer {
    Peer::new(client_id(id), address.into())
}

/// Asserts that the replies to `input` are `expected`, wherever the network cuts the input.
///
/// A new client sends the input in one piece, byte by byte, cut in every place, and, if it has at
/// most 64 bytes, cut in every two places; then it stops sending. Each time, `make` creates a new
/// responder.
///
/// ```
/// # extern crate greeter_core as greeter_server;
/// use greeter_server::Greeter;
/// use greeter_server::testing::check_every_fragmentation;
///
/// check_every_fragmentation(|| Greeter, "Bob\r\nAnn\n", "Hello, Bob\r\nHello, Ann\n");
/// ```
///
/// # Panics
///
/// Panics if the replies differ, and says where the input was cut.
#[track_caller]
pub fn check_every_fragmentation<R: Responder>(
    make: impl Fn() -> R,
    input: impl AsRef<[u8]>,
    expected: impl AsRef<[u8]>,
) {
    let expected = expected.as_ref();
    for (pieces, how) in fragmentations(input.as_ref()) {
        let responder = make();
        let mut client = TestClient::connect(&responder);
        for piece in pieces {
            client.send(piece);
        }
        client.shutdown_write();
        assert_same(&client.received(), expected, &how);
    }
}

/// Returns the ways to cut an input: the pieces, and a description.
fn fragmentations(input: &[u8]) -> impl Iterator<Item = (Vec<&[u8]>, String)> {
    let whole = (vec![input], "in one piece".to_owned());
    let bytes = (input.chunks(1).collect(), "sent byte by byte".to_owned());
    let cuts = (1..input.len()).flat_map(move |first| {
        let (head, tail) = input.split_at(first);
        let once = (vec![head, tail], format!("cut behind byte {first}"));
        let second_ends = if input.len() > MAX_BYTES_CUT_TWICE { 0 } else { input.len() };
        let twice = (first + 1..second_ends).map(move |second| {
            let pieces = vec![head, &input[first..second], &input[second..]];
            (pieces, format!("cut behind bytes {first} and {second}"))
        });
        std::iter::once(once).chain(twice)
    });
    [whole, bytes].into_iter().chain(cuts)
}

#[track_caller]
fn assert_same(received: &[u8], expected: &[u8], how: &str) {
    assert!(
        received == expected,
        "{how}\nexpected: \"{}\"\nreceived: \"{}\"",
        expected.escape_ascii(),
        received.escape_ascii()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxError, Greeter, Line, Reply, ResponderError};

    #[test]
    #[should_panic(expected = "expected: \"Hello, Ann\\n\"\nreceived: \"Hello, Bob\\n\"")]
    fn a_wrong_reply_is_shown_beside_the_right_one() {
        TestClient::connect(&Greeter).send("Bob\n").expect("Hello, Ann\n");
    }

    /// Returns the ways to cut an input, the pieces of each with a bar between them.
    fn cuts(input: &str) -> Vec<String> {
        let in_words =
            |(pieces, how): (Vec<&[u8]>, String)| format!("{}: {how}", String::from_utf8_lossy(&pieces.join(&b'|')));
        fragmentations(input.as_bytes()).map(in_words).collect()
    }

    #[test]
    fn an_input_is_cut_in_every_place_and_in_every_two() {
        let ways = [
            "abcd: in one piece",
            "a|b|c|d: sent byte by byte",
            "a|bcd: cut behind byte 1",
            "a|b|cd: cut behind bytes 1 and 2",
            "a|bc|d: cut behind bytes 1 and 3",
            "ab|cd: cut behind byte 2",
            "ab|c|d: cut behind bytes 2 and 3",
            "abc|d: cut behind byte 3",
        ];
        assert_eq!(cuts("abcd"), ways);
        assert_eq!(cuts("a"), ["a: in one piece", "a: sent byte by byte"]);
        assert_eq!(cuts(""), [": in one piece", ": sent byte by byte"]);
    }

    #[test]
    fn an_input_of_more_than_64_bytes_is_cut_in_one_place_only() {
        assert_eq!(cuts(&"x".repeat(64)).len(), 2 + 63 + 63 * 62 / 2);
        assert_eq!(cuts(&"x".repeat(65)).len(), 2 + 64);
    }

    /// A responder does not learn where the cuts were, but could find out: by a clock, or by what
    /// it shares with others. Here the test decides.
    #[test]
    fn a_responder_that_is_wrong_for_one_way_of_cutting_is_found_for_every_way() {
        let ways = fragmentations(b"ab\nc\n").map(|(_, how)| how);
        for (wrong, how) in ways.enumerate() {
            let runs = std::cell::Cell::new(0);
            let make = || {
                let is_wrong = runs.replace(runs.get() + 1) == wrong;
                crate::responder_fn(move |_: &str| if is_wrong { "late" } else { "early" })
            };
            let check = || check_every_fragmentation(make, "ab\nc\n", "early\nearly\n");
            let panic =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).expect_err("the wrong reply is found");
            let message = panic.downcast_ref::<String>().expect("the message is text");
            let (expected, received) = ("\"early\\nearly\\n\"", "\"late\\nlate\\n\"");
            assert_eq!(*message, format!("{how}\nexpected: {expected}\nreceived: {received}"));
        }
    }

    #[test]
    fn a_responder_that_answers_by_the_line_passes_however_its_input_is_cut() {
        check_every_fragmentation(|| Greeter, "Ann\r\n\nBob\nBa", "Hello, Ann\r\nHello, \nHello, Bob\n");
    }

    /// Fails as the line says.
    struct Faulty;

    impl Responder for Faulty {
        type Session = ();

        fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
            Ok(())
        }

        fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
            match line.to_str()? {
                "fail" => return Err("no luck".into()),
                "panic" => panic!("no luck at all"),
                line => reply.line(line),
            }
            Ok(())
        }

        fn disconnect(&self, (): (), _: CloseReason) {
            panic!("no disconnect")
        }
    }

    #[test]
    fn errors_are_returned_once_with_their_count_and_the_first_of_them() {
        let mut client = TestClient::connect(&Faulty);
        client.send("a\nfail\npanic\n").send("panic\n").send("b\n");
        let errors = client.take_errors();
        assert_eq!((errors.count, errors.first), (3, Some(ResponderError::Failed("no luck".to_owned()))));
        let errors = client.take_errors();
        assert_eq!((errors.count, errors.first), (0, None));
        client.shutdown_write();
        assert_eq!(client.take_errors().first, Some(ResponderError::Panicked("no disconnect".to_owned())));
    }

    #[test]
    fn a_test_can_be_busy_reset_and_shut_down() {
        TestClient::connect(&Greeter)
            .send_while_busy("Ann\nBob\r\n")
            .expect("error: busy\nerror: busy\r\n")
            .send("Cid\n");
        TestClient::connect(&Greeter).send("Ann\nBo").reset().expect("Hello, Ann\n").expect_end(CloseReason::Lost);
        TestClient::connect(&Greeter).shutdown().send("Ann\n").expect_end(CloseReason::Shutdown);
    }

    #[test]
    #[should_panic(expected = "the connection ends for another reason")]
    fn an_end_for_another_reason_fails_the_test() {
        TestClient::connect(&Greeter).expect_end(CloseReason::ResponderClosed);
    }

    #[test]
    fn lines_of_up_to_8_kib_are_accepted() {
        let line = "x".repeat(8192);
        let mut client = TestClient::connect(&Greeter);
        client.send(format!("{line}\n")).expect(format!("Hello, {line}\n"));
        client.send(format!("{line}x\n")).expect("error: line longer than 8192 bytes\n");
    }

    #[test]
    fn time_passes_as_the_test_says() {
        let mut client = TestClient::connect(&Greeter);
        client.wait(Duration::from_secs(299)).expect("").send("Bob\n").expect("Hello, Bob\n");
        client.wait(Duration::from_secs(299)).expect("").wait(Duration::from_secs(1)).expect("error: idle for 300s\n");
        client.expect_end(CloseReason::IdleTimeout);
    }

    /// Sends a banner and closes.
    struct Status;

    impl Responder for Status {
        type Session = ();

        fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
            reply.line(format_args!("up, {}", peer.address));
            reply.close();
            Ok(())
        }

        fn respond(&self, (): &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
            Ok(())
        }
    }

    #[test]
    fn a_push_behind_a_close_is_received_until_the_test_goes_on() {
        let message = PushMessage::line("news").unwrap();
        let mut client = TestClient::connect(&Status);
        assert_eq!(client.id().as_u64(), 0);
        client.expect("up, 127.0.0.1:1\n").push(&message).expect("news\n");
        client.send("too late\n").push(&message).expect("");
        client.expect_end(CloseReason::ResponderClosed);
        client.push(&message).expect("");
    }

    #[test]
    fn clients_with_ids_of_their_own_have_ports_of_their_own() {
        for (id, port) in [(0, 1), (7, 8), (65_534, 65_535), (65_535, 1), (u64::MAX, 1)] {
            let mut client = TestClient::connect_with_id(id, &Status);
            assert_eq!(client.id().as_u64(), id);
            client.expect(format!("up, 127.0.0.1:{port}\n"));
        }
    }
}
