//! Trying a [`Responder`] without a socket, a thread or a clock.
//!
//! A [`TestClient`] goes through all that a real one does: framing, jobs, order, refusals, deadlines, the end. Only the network is
//! missing, and time is the test's own.
//!
//! ```
//! # extern crate greeter_core as greeter_server;
//! use std::time::Duration;
//! use greeter_server::testing::{TestClient, check_every_fragmentation};
//! use greeter_server::{CloseReason, respond_with};
//!
//! let doubler = respond_with(|word: &str| word.repeat(2));
//! let mut client = TestClient::connect(&doubler);
//! client.send("ab\ncd\r\n").expect("abab\ncdcd\r\n");
//! client.send(b"\xFF\n").expect("error: line is not valid UTF-8\n");
//! client.send("unfinis").wait(Duration::from_secs(10)).expect("error: line not finished within 10s\n");
//! client.expect_end(CloseReason::LineUnfinished);
//!
//! // Wherever TCP cuts the stream, the replies are the same.
//! check_every_fragmentation(|| respond_with(|word: &str| word.repeat(2)), "ab\r\n\ncd\n", "abab\r\n\ncdcd\n");
//! ```

use std::time::{Duration, Instant};

use crate::connection::{Connection, Ending};
use crate::job::Faults;
use crate::responder::{ClientId, CloseReason, Peer, Responder};
use crate::slice::Slice;
use crate::terms::{Deadlines, Terms};
use crate::unasked::Unasked;

const LINE_BYTES_MAX: u32 = 8 * 1024;

/// The longest input that is cut in two places. Above that, only in one: the number of ways grows with the square.
const CUT_TWICE_BYTES_MAX: usize = 64;

/// A client of a responder, in one thread, with nothing between the two but the protocol.
#[derive(Debug)]
pub struct TestClient<'a, R: Responder> {
    peer: Peer,
    responder: &'a R,
    terms: Terms,
    /// None once it is over.
    connection: Option<Connection<R::Session>>,
    closed: Option<CloseReason>,
    now: Instant,
    received: Vec<u8>,
    faults: Faults,
}

impl<'a, R: Responder> TestClient<'a, R> {
    /// A client from 127.0.0.1, port 1, with the name 0, on a server with [the usual deadlines](Deadlines::DEFAULT) and lines of up
    /// to 8 KiB.
    pub fn connect(responder: &'a R) -> Self {
        Self::connect_with_id(ClientId(0), responder)
    }

    /// The same with this name, and a port that follows from it: one of several clients whom the responder tells apart.
    pub fn connect_with_id(id: ClientId, responder: &'a R) -> Self {
        let port = u16::try_from(1 + id.0 % u64::from(u16::MAX)).expect("it is at most 65535");
        let peer = Peer::new(id, ([127, 0, 0, 1], port).into());
        Self::connect_as(peer, responder, Terms::new(LINE_BYTES_MAX, Deadlines::DEFAULT, responder))
    }

    /// A client that is somebody else, or on other terms.
    pub fn connect_as(peer: Peer, responder: &'a R, terms: Terms) -> Self {
        let now = Instant::now();
        let connection = Some(Connection::new(peer, &terms, now));
        let (received, faults) = (Vec::new(), Faults::default());
        let mut client = Self { peer, responder, terms, connection, closed: None, now, received, faults };
        client.settle();
        client
    }

    /// Its name on the server.
    #[must_use]
    pub const fn id(&self) -> ClientId {
        self.peer.id
    }

    /// Says something to it unasked. Nobody hears it who is gone or was sent away; but whoever a reply has just closed does, since the
    /// end of the stream is sent when the test goes on.
    pub fn push(&mut self, unasked: &Unasked) -> &mut Self {
        if let Some(connection) = &mut self.connection {
            connection.push(unasked, self.now);
        }
        self.settle();
        self
    }

    /// Sends bytes, which arrive in one piece. What is sent after the end goes nowhere.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.hear_the_end();
        let now = self.now;
        if let Some(connection) = &mut self.connection
            && connection.wants_input()
        {
            connection.received(bytes.as_ref(), now);
        }
        self.settle();
        self
    }

    /// Sends bytes that arrive in one piece while everyone is busy: each line is [refused](Responder::refuse) in its place, and its session
    /// hears of it. A client that [`connect`](Self::connect) has not welcomed cannot be made so.
    pub fn send_while_busy(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.hear_the_end();
        if let Some(connection) = &mut self.connection
            && connection.wants_input()
        {
            connection.received(bytes.as_ref(), self.now);
            if let Some(job) = connection.take_job(self.now) {
                let mut refused = job.refuse_all(self.responder, &self.terms, Slice::endless());
                note(&mut self.faults, refused.take_faults());
                connection.answered(refused, self.now);
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

    /// The server stops. What was sent is answered, and then the connection ends by [`CloseReason::ByShutdown`].
    pub fn shut_down(&mut self) -> &mut Self {
        if let Some(connection) = &mut self.connection {
            connection.stop(0);
        }
        self.settle();
        self
    }

    /// Stops sending (`shutdown(2)` with SHUT_WR). What was sent is still answered.
    pub fn stop_sending(&mut self) -> &mut Self {
        self.hear_the_end();
        if let Some(connection) = &mut self.connection {
            connection.peer_stopped();
        }
        self.settle();
        self
    }

    /// Lets time go by.
    pub fn wait(&mut self, time: Duration) -> &mut Self {
        self.hear_the_end();
        self.now += time;
        if let Some(connection) = &mut self.connection {
            connection.expired(self.now, &self.terms);
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
        self.stop_sending().expect("");
        assert_eq!(self.closed, Some(reason), "the connection ends for another reason");
    }

    /// What went wrong on the responder's side since this was asked last: panics, errors, broken framing.
    pub fn take_faults(&mut self) -> Faults {
        std::mem::take(&mut self.faults)
    }

    /// Has the server send the end of its stream, if it is time for that.
    fn hear_the_end(&mut self) {
        if let Some(connection) = &mut self.connection
            && connection.ending() == Ending::FinishSending
        {
            connection.finished_sending(self.now);
        }
    }

    /// Does all that can be done without more from the client, which reads at once whatever it is sent.
    fn settle(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        loop {
            self.received.extend_from_slice(connection.unsent());
            connection.wrote(connection.unsent().len(), self.now);
            if let Some(job) = connection.take_job(self.now) {
                let mut answered = job.answer(self.responder, Slice::endless());
                note(&mut self.faults, answered.take_faults());
                connection.answered(answered, self.now);
                continue;
            }
            match connection.ending() {
                // The end of the stream is sent when the test goes on: until then, it may have something said unasked.
                Ending::NotYet | Ending::FinishSending => return self.connection = Some(connection),
                Ending::Close(reason) => {
                    self.closed = Some(reason);
                    if let Some(farewell) = connection.dissolve() {
                        self.faults.count += u32::from(farewell.say(self.responder).is_err());
                    }
                    return;
                }
            }
        }
    }
}

/// Adds up what went wrong.
fn note(faults: &mut Faults, Faults { count, first }: Faults) {
    faults.count += count;
    faults.first = faults.first.take().or(first);
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
    let (input, expected) = (input.as_ref(), expected.as_ref());
    check(&make(), input.chunks(input.len().max(1)), expected, "in one piece");
    check(&make(), input.chunks(1), expected, "sent byte by byte");
    for first in 1..input.len() {
        let (head, tail) = input.split_at(first);
        check(&make(), [head, tail].into_iter(), expected, &format!("cut behind byte {first}"));
        if input.len() > CUT_TWICE_BYTES_MAX {
            continue;
        }
        for second in 1..tail.len() {
            let (middle, tail) = tail.split_at(second);
            let cuts = format!("cut behind bytes {first} and {}", first + second);
            check(&make(), [head, middle, tail].into_iter(), expected, &cuts);
        }
    }
}

#[track_caller]
fn check<'a, R: Responder>(responder: &R, pieces: impl Iterator<Item = &'a [u8]>, expected: &[u8], cuts: &str) {
    let mut client = TestClient::connect(responder);
    for piece in pieces {
        client.send(piece);
    }
    client.stop_sending();
    assert_same(&client.received(), expected, cuts);
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
    use crate::{Failure, Greeter, Line, Reply};

    #[test]
    #[should_panic(expected = "expected: \"Hello, Ann\\n\"\nreceived: \"Hello, Bob\\n\"")]
    fn a_wrong_reply_is_shown_beside_the_right_one() {
        TestClient::connect(&Greeter).send("Bob\n").expect("Hello, Ann\n");
    }

    #[test]
    #[should_panic(expected = "cut behind byte 1")]
    fn a_responder_that_depends_on_the_cuts_is_found() {
        // One that remembers what its like before it was asked shows a difference between the runs.
        let runs = std::cell::Cell::new(0);
        let make = || {
            runs.set(runs.get() + 1);
            let run = runs.get();
            crate::respond_with(move |_: &str| if run == 3 { "late" } else { "early" })
        };
        check_every_fragmentation(make, "ab\n", "early\n");
    }

    #[test]
    fn whatever_may_happen_to_a_client_can_be_made_to_happen() {
        TestClient::connect(&Greeter)
            .send_while_busy("Ann\nBob\r\n")
            .expect("error: busy\nerror: busy\r\n")
            .send("Cid\n");
        TestClient::connect(&Greeter).send("Ann\nBo").reset().expect("Hello, Ann\n").expect_end(CloseReason::Lost);
        TestClient::connect(&Greeter).shut_down().send("Ann\n").expect_end(CloseReason::ByShutdown);
    }

    #[test]
    #[should_panic(expected = "the connection ends for another reason")]
    fn an_end_for_another_reason_is_not_taken_for_this_one() {
        TestClient::connect(&Greeter).expect_end(CloseReason::ByResponder);
    }

    /// Closes at once.
    struct Status;

    impl Responder for Status {
        type Session = ();

        fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<(), Failure> {
            reply.line(format_args!("up, {}", peer.address));
            reply.close();
            Ok(())
        }

        fn respond(&self, (): &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), Failure> {
            Ok(())
        }
    }

    #[test]
    fn what_is_pushed_is_heard_until_the_test_goes_on_behind_a_close() {
        let news = Unasked::line("news").unwrap();
        let mut client = TestClient::connect(&Status);
        assert_eq!(client.id(), ClientId(0));
        client.expect("up, 127.0.0.1:1\n").push(&news).expect("news\n");
        client.send("too late\n").push(&news).expect("");
        client.expect_end(CloseReason::ByResponder);
        client.push(&news).expect("");
    }

    #[test]
    fn clients_with_names_of_their_own_have_ports_of_their_own() {
        for (id, port) in [(0, 1), (7, 8), (65_534, 65_535), (65_535, 1), (u64::MAX, 1)] {
            let mut client = TestClient::connect_with_id(ClientId(id), &Status);
            assert_eq!(client.id(), ClientId(id));
            client.expect(format!("up, 127.0.0.1:{port}\n"));
        }
    }
}
