//! Trying a [`Responder`] without a socket, a thread or a clock.
//!
//! A [`TestClient`] goes through all that a real one does: framing, jobs, order, rejections, deadlines, the end. Only the network is
//! missing, and time is the test's own.
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
//! client.send("unfinis").wait(Duration::from_secs(10)).expect("error: line not finished within 10s\n");
//! client.expect_end(CloseReason::LineTimeout);
//!
//! // Wherever TCP cuts the stream, the replies are the same.
//! check_every_fragmentation(|| responder_fn(|word: &str| word.repeat(2)), "ab\r\n\ncd\n", "abab\r\n\ncdcd\n");
//! ```

use std::time::{Duration, Instant};

use crate::budget::TurnBudget;
use crate::close_reason::CloseReason;
use crate::config::{ConnectionConfig, ConnectionTimeouts};
use crate::connection::{CloseAction, Connection};
use crate::error::ResponderErrors;
use crate::peer::{Address, ClientId, Peer, client_id};
use crate::push::PushMessage;
use crate::responder::Responder;

const LINE_BYTES_MAX: u32 = 8 * 1024;

/// The longest input that is cut in two places. Above that, only in one: the number of ways grows with the square.
const CUT_TWICE_BYTES_MAX: usize = 64;

/// A client of a responder, in one thread, with nothing between the two but the protocol.
#[derive(Debug)]
pub struct TestClient<'a, R: Responder> {
    peer: Peer,
    responder: &'a R,
    config: ConnectionConfig,
    /// None once it is over.
    connection: Option<Connection<R::Session>>,
    closed: Option<CloseReason>,
    now: Instant,
    received: Vec<u8>,
    errors: ResponderErrors,
}

impl<'a, R: Responder> TestClient<'a, R> {
    /// A client from 127.0.0.1, port 1, with the name 0, on a server with [the usual deadlines](ConnectionTimeouts::DEFAULT) and lines of up
    /// to 8 KiB.
    pub fn connect(responder: &'a R) -> Self {
        Self::connect_with_id(0, responder)
    }

    /// The same with this name, and a port that follows from it: one of several clients whom the responder tells apart.
    pub fn connect_with_id(id: u64, responder: &'a R) -> Self {
        let port = u16::try_from(1 + id % u64::from(u16::MAX)).expect("it is at most 65535");
        let peer = peer(id, ([127, 0, 0, 1], port));
        Self::connect_as(peer, responder, ConnectionConfig::new(LINE_BYTES_MAX, ConnectionTimeouts::DEFAULT, responder))
    }

    /// A client that is somebody else, or on other config.
    pub fn connect_as(peer: Peer, responder: &'a R, config: ConnectionConfig) -> Self {
        let now = Instant::now();
        let connection = Some(Connection::new(peer, &config, now));
        let (received, errors) = (Vec::new(), ResponderErrors::default());
        let mut client = Self { peer, responder, config, connection, closed: None, now, received, errors };
        client.settle();
        client
    }

    /// Its name on the server.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.peer.id
    }

    /// Says something to it message. Nobody hears it who is gone or was sent away; but whoever a reply has just closed does, since the
    /// end of the stream is sent when the test goes on.
    pub fn push(&mut self, message: &PushMessage) -> &mut Self {
        if let Some(connection) = &mut self.connection {
            connection.push(message, self.now);
        }
        self.settle();
        self
    }

    /// Sends bytes, which arrive in one piece. What is sent after the end goes nowhere.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.receive_eof();
        let now = self.now;
        if let Some(connection) = &mut self.connection
            && connection.wants_input()
        {
            connection.received(bytes.as_ref(), now);
        }
        self.settle();
        self
    }

    /// Sends bytes that arrive in one piece while everyone is busy: each line is [rejected](Responder::reject) in its place, and its session
    /// hears of it. A client that [`connect`](Self::connect) has not welcomed cannot be made so.
    pub fn send_while_busy(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.receive_eof();
        if let Some(connection) = &mut self.connection
            && connection.wants_input()
        {
            connection.received(bytes.as_ref(), self.now);
            if let Some(job) = connection.take_job(self.now) {
                let mut rejected = job.reject_all(self.responder, &self.config, TurnBudget::unlimited());
                self.errors.add(rejected.take_errors());
                connection.answered(rejected, self.now);
            }
        }
        self.settle();
        self
    }

    /// The connection breaks, as by a reset. The responder hears of it by [`CloseReason::Lost`].
    pub fn reset(&mut self) -> &mut Self {
        if let Some(connection) = &mut self.connection {
            connection.abort(CloseReason::Lost);
        }
        self.settle();
        self
    }

    /// The server stops. What was sent is answered, and then the connection ends by [`CloseReason::Shutdown`].
    pub fn shutdown(&mut self) -> &mut Self {
        if let Some(connection) = &mut self.connection {
            connection.stop(0);
        }
        self.settle();
        self
    }

    /// Stops sending (`shutdown(2)` with SHUT_WR). What was sent is still answered.
    pub fn shutdown_write(&mut self) -> &mut Self {
        self.receive_eof();
        if let Some(connection) = &mut self.connection {
            connection.received_eof();
        }
        self.settle();
        self
    }

    /// Lets time go by.
    pub fn wait(&mut self, time: Duration) -> &mut Self {
        self.receive_eof();
        self.now += time;
        if let Some(connection) = &mut self.connection {
            connection.expired(self.now, &self.config);
        }
        self.settle();
        self
    }

    /// What has come since this was asked last.
    pub fn received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Exactly this has come since it was asked last.
    ///
    /// # Panics
    ///
    /// When something else has.
    #[track_caller]
    pub fn expect(&mut self, expected: impl AsRef<[u8]>) -> &mut Self {
        assert_same(&self.received(), expected.as_ref(), "");
        self
    }

    /// The server has ended the connection for this reason, or now does as the client closes its own end; and nothing more has come.
    ///
    /// # Panics
    ///
    /// When it is otherwise.
    #[track_caller]
    pub fn expect_end(&mut self, reason: CloseReason) {
        self.shutdown_write().expect("");
        assert_eq!(self.closed, Some(reason), "the connection ends for another reason");
    }

    /// What went wrong on the responder's side since this was asked last: panics, errors, broken framing.
    pub fn take_errors(&mut self) -> ResponderErrors {
        std::mem::take(&mut self.errors)
    }

    /// Has the server send the end of its stream, if it is time for that.
    fn receive_eof(&mut self) {
        if let Some(connection) = &mut self.connection
            && connection.close_action() == CloseAction::ShutdownWrite
        {
            connection.write_shut_down(self.now);
        }
    }

    /// Does all that can be done without more from the client, which reads at once whatever it is sent.
    fn settle(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        loop {
            self.received.extend_from_slice(connection.unsent());
            connection.wrote(connection.unsent().len(), self.now);
            if let Some(job) = connection.take_job(self.now) {
                let mut answered = job.answer(self.responder, TurnBudget::unlimited());
                self.errors.add(answered.take_errors());
                connection.answered(answered, self.now);
                continue;
            }
            match connection.close_action() {
                // The end of the stream is sent when the test goes on: until then, it may have something said message.
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
/// responder themselves.
#[must_use]
pub fn peer(id: u64, address: impl Into<Address>) -> Peer {
    Peer::new(client_id(id), address.into())
}

/// Sends `input` in one piece, byte by byte, and cut in every one place, and in every two where it is short; stops sending; and has
/// seen exactly `expected` each time. Every time with a responder that `make` has just made.
///
/// # Panics
///
/// When the replies differ, saying where the input was cut.
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

/// The ways in which an input is cut: the pieces, and how they came about.
fn fragmentations(input: &[u8]) -> impl Iterator<Item = (Vec<&[u8]>, String)> {
    let whole = (vec![input], "in one piece".to_owned());
    let bytes = (input.chunks(1).collect(), "sent byte by byte".to_owned());
    let cuts = (1..input.len()).flat_map(move |first| {
        let (head, tail) = input.split_at(first);
        let once = (vec![head, tail], format!("cut behind byte {first}"));
        let second_ends = if input.len() > CUT_TWICE_BYTES_MAX { 0 } else { input.len() };
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

    /// The input's ways of being cut, each as its pieces with a bar between them.
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

    /// A responder is not told where the cuts were, but can find out: by a clock, or by what it shares with others. Here the test
    /// tells it.
    #[test]
    fn a_responder_that_is_wrong_for_one_way_of_cutting_is_found_whichever_way_that_is() {
        let ways = fragmentations(b"ab\nc\n").map(|(_, how)| how);
        for (wrong, how) in ways.enumerate() {
            let runs = std::cell::Cell::new(0);
            let make = || {
                let is_wrong = runs.replace(runs.get() + 1) == wrong;
                crate::responder_fn(move |_: &str| if is_wrong { "late" } else { "early" })
            };
            let check = || check_every_fragmentation(make, "ab\nc\n", "early\nearly\n");
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).expect_err("it is found");
            let told = panic.downcast_ref::<String>().expect("it is told in words");
            let (expected, received) = ("\"early\\nearly\\n\"", "\"late\\nlate\\n\"");
            assert_eq!(*told, format!("{how}\nexpected: {expected}\nreceived: {received}"));
        }
    }

    #[test]
    fn a_responder_that_answers_by_the_line_passes_however_its_input_is_cut() {
        check_every_fragmentation(|| Greeter, "Ann\r\n\nBob\nBa", "Hello, Ann\r\nHello, \nHello, Bob\n");
    }

    /// Fails as it is told to.
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
    fn what_went_wrong_is_told_once_and_the_first_of_it_in_words() {
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
    fn whatever_may_happen_to_a_client_can_be_made_to_happen() {
        TestClient::connect(&Greeter)
            .send_while_busy("Ann\nBob\r\n")
            .expect("error: busy\nerror: busy\r\n")
            .send("Cid\n");
        TestClient::connect(&Greeter).send("Ann\nBo").reset().expect("Hello, Ann\n").expect_end(CloseReason::Lost);
        TestClient::connect(&Greeter).shutdown().send("Ann\n").expect_end(CloseReason::Shutdown);
    }

    #[test]
    #[should_panic(expected = "the connection ends for another reason")]
    fn an_end_for_another_reason_is_not_taken_for_this_one() {
        TestClient::connect(&Greeter).expect_end(CloseReason::ResponderClosed);
    }

    #[test]
    fn lines_of_8_kib_are_taken_and_no_longer_ones() {
        let line = "x".repeat(8192);
        let mut client = TestClient::connect(&Greeter);
        client.send(format!("{line}\n")).expect(format!("Hello, {line}\n"));
        client.send(format!("{line}x\n")).expect("error: line longer than 8192 bytes\n");
    }

    #[test]
    fn time_goes_by_as_the_test_says() {
        let mut client = TestClient::connect(&Greeter);
        client.wait(Duration::from_secs(299)).expect("").send("Bob\n").expect("Hello, Bob\n");
        client.wait(Duration::from_secs(299)).expect("").wait(Duration::from_secs(1)).expect("error: idle for 300s\n");
        client.expect_end(CloseReason::IdleTimeout);
    }

    /// Closes at once.
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
    fn what_is_pushed_is_heard_until_the_test_goes_on_behind_a_close() {
        let news = PushMessage::line("news").unwrap();
        let mut client = TestClient::connect(&Status);
        assert_eq!(client.id().as_u64(), 0);
        client.expect("up, 127.0.0.1:1\n").push(&news).expect("news\n");
        client.send("too late\n").push(&news).expect("");
        client.expect_end(CloseReason::ResponderClosed);
        client.push(&news).expect("");
    }

    #[test]
    fn clients_with_names_of_their_own_have_ports_of_their_own() {
        for (id, port) in [(0, 1), (7, 8), (65_534, 65_535), (65_535, 1), (u64::MAX, 1)] {
            let mut client = TestClient::connect_with_id(id, &Status);
            assert_eq!(client.id().as_u64(), id);
            client.expect(format!("up, 127.0.0.1:{port}\n"));
        }
    }
}
