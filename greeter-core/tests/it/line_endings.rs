//! Checks how lines end, in both directions, and what a telnet client is sent.

use std::time::Duration;

use greeter_core::testing::{ConnectionConfig, ConnectionTimeouts, PushMessage, TestClient, peer};
use greeter_core::{
    BareLf, BoxError, CloseReason, Line, LineEnding, Peer, Rejection, Reply, Responder, WhenRejected, WhenTooLong,
};

/// Greets who comes, and answers with what it was given: the ending, a `+` if there was more, and
/// the text. It remembers how many lines it has not seen.
struct Mirror;

impl Responder for Mirror {
    type Session = u32;

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<u32, BoxError> {
        reply.line("hello");
        Ok(0)
    }

    fn respond(&self, unseen: &mut u32, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let ending = match line.ending().expect("a client has ended it") {
            LineEnding::Lf => "lf",
            LineEnding::CrLf => "crlf",
        };
        let more = if line.is_truncated() { "+" } else { "" };
        reply.line([format!("{ending}{more} {unseen} ").as_bytes(), line.as_bytes()].concat());
        Ok(())
    }

    fn reject(&self, session: Option<&mut u32>, rejection: Rejection, reply: &mut Reply<'_>) {
        if let Some(unseen) = session {
            *unseen += 1;
        }
        reply.line(rejection.to_string());
    }
}

fn config() -> ConnectionConfig {
    ConnectionConfig::new(10, ConnectionTimeouts::DEFAULT, &Mirror)
}

fn client(config: ConnectionConfig) -> TestClient<'static, Mirror> {
    TestClient::connect_as(peer(1, ([127, 0, 0, 1], 1)), &Mirror, config)
}

/// Sends a stream in one piece, and cut in every place, to clients with this configuration.
#[track_caller]
fn check(config: impl Fn() -> ConnectionConfig, stream: &[u8], expected: &[u8]) {
    for cut in 0..stream.len() {
        let mut client = client(config());
        client.send(&stream[..cut]).send(&stream[cut..]);
        let received = client.received();
        assert_eq!(received.escape_ascii().to_string(), expected.escape_ascii().to_string(), "cut at {cut}");
    }
}

#[test]
fn a_line_knows_how_it_ended_and_a_line_that_was_made_does_not() {
    check(config, b"a\nb\r\n", b"hello\nlf 0 a\ncrlf 0 b\r\n");
    assert_eq!(Line::literal("a").ending(), None);
    assert_eq!(Line::new(b"a\r").expect("it has no LF").ending(), None);
}

#[test]
fn everything_that_is_sent_ends_as_configured() {
    let stream = b"a\nb\r\nmuch too long\n";
    let crlf = b"hello\r\nlf 0 a\r\ncrlf 0 b\r\nline longer than 10 bytes\r\n";
    check(|| config().line_ending(Some(LineEnding::CrLf)), stream, crlf);
    let lf = b"hello\nlf 0 a\ncrlf 0 b\nline longer than 10 bytes\n";
    check(|| config().line_ending(Some(LineEnding::Lf)), stream, lf);
}

#[test]
fn pushes_and_the_last_words_end_as_configured_from_the_start() {
    let news = PushMessage::lines(["rain", "wind"]).expect("they have no LF");
    for first in ["", "a\n"] {
        let mut client = client(config().line_ending(Some(LineEnding::CrLf)));
        client.send(first).received();
        client.push(&news).expect("rain\r\nwind\r\n");
        client.wait(Duration::from_secs(300)).expect("idle for 300s\r\n").expect_end(CloseReason::IdleTimeout);
    }
    let full = config().line_ending(Some(LineEnding::CrLf));
    assert_eq!(*full.rejection_text(CloseReason::ConnectionLimit), *b"too many connections\r\n");
}

/// What behind a line may not be lines says nothing about how the client's lines end.
#[test]
fn a_push_ends_as_the_latest_reply_did() {
    let news = PushMessage::line("rain").expect("it has no LF");
    let mut client = client(config());
    client.expect("hello\n").push(&news).expect("rain\n");
    client.send("a\r\n").received();
    client.push(&news).expect("rain\r\n");
    client.send("b\nc").received();
    client.push(&news).expect("rain\n");
}

#[test]
fn a_bare_lf_is_rejected_and_the_session_knows() {
    let strict = || config().bare_lf(BareLf::Reject);
    check(strict, b".\r\na\n.\r\n", b"hello\ncrlf 0 .\r\nline does not end with CR LF\ncrlf 1 .\r\n");
    let mut client = client(strict().when_rejected(WhenRejected::Close));
    client.send("a\nb\r\n").expect("hello\nline does not end with CR LF\n");
    client.expect_end(CloseReason::LineRejected);
}

#[test]
fn a_long_line_is_cut_at_the_limit_where_that_is_configured() {
    let cut = || config().when_too_long(WhenTooLong::Truncate);
    check(cut, b"0123456789\n0123456789A\r\n", b"hello\nlf 0 0123456789\ncrlf+ 0 0123456789\r\n");
    let long = [b"x".repeat(100), b"\n".to_vec()].concat();
    check(cut, &long, b"hello\nlf+ 0 xxxxxxxxxx\n");
}

fn telnet() -> ConnectionConfig {
    config().telnet(true)
}

#[test]
fn the_commands_of_a_telnet_client_are_no_part_of_its_lines() {
    // What telnet(1) sends when it is told to: WILL NAWS with a size that holds an LF, DO ECHO.
    let stream = b"Bo\xFF\xFB\x1F\xFF\xFA\x1F\0\n\0\x18\xFF\xF0b\r\n\xFF\xFD\x01a\r\0\r\n";
    let mut client = client(telnet());
    client.send(stream).expect(b"hello\n\xFF\xFE\x1F\xFF\xFC\x01crlf 0 Bob\r\ncrlf 0 a\r\r\n");
    for cut in 0..stream.len() {
        let mut client = self::client(telnet());
        client.send(&stream[..cut]).send(&stream[cut..]);
        let received = client.received();
        let lines: Vec<u8> = TelnetText(&received).collect();
        assert_eq!(lines.escape_ascii().to_string(), r"hello\ncrlf 0 Bob\r\ncrlf 0 a\r\r\n", "cut at {cut}");
        assert_eq!(received.len(), lines.len() + 6, "two refusals");
    }
}

/// Says everything in one letter, in Latin-1.
struct Latin;

impl Responder for Latin {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn reject(&self, _: Option<&mut ()>, _: Rejection, reply: &mut Reply<'_>) {
        reply.line(b"\xFF");
    }
}

/// What a telnet client shows of what it was sent: no refusals, and each doubled 255 once.
struct TelnetText<'a>(&'a [u8]);

impl Iterator for TelnetText<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        loop {
            match self.0 {
                [255, 252 | 254, _, rest @ ..] => self.0 = rest,
                [255, 255, rest @ ..] | [255, rest @ ..] => {
                    self.0 = rest;
                    return Some(255);
                }
                [byte, rest @ ..] => {
                    self.0 = rest;
                    return Some(*byte);
                }
                [] => return None,
            }
        }
    }
}

#[test]
fn the_byte_255_is_data_both_ways() {
    check(telnet, b"\xFF\xFF\n", b"hello\nlf 0 \xFF\xFF\n");
    let mut client = client(telnet());
    client.expect("hello\n").push(&PushMessage::raw(b"\xFF\xFD")).expect(b"\xFF\xFF\xFD");
    let latin = ConnectionConfig::new(10, ConnectionTimeouts::DEFAULT, &Latin).telnet(true).telnet(true);
    assert_eq!(*latin.rejection_text(CloseReason::ConnectionLimit), *b"\xFF\xFF\n");
    check(config, b"\xFF\xFF\n", b"hello\nlf 0 \xFF\xFF\n");
}

/// Telnet clients send "no operation" so that a connection stays known to the network between.
#[test]
fn a_command_is_no_line_and_no_sign_of_life() {
    let mut client = client(telnet());
    client.expect("hello\n");
    for _ in 0..3 {
        client.wait(Duration::from_secs(99)).send(b"\xFF\xF1").expect("");
    }
    client.wait(Duration::from_secs(2)).send(b"\xFF\xFD\x01").expect(b"\xFF\xFC\x01");
    client.wait(Duration::from_secs(1)).expect("idle for 300s\n").expect_end(CloseReason::IdleTimeout);
}

#[test]
fn what_is_refused_before_the_banner_comes_behind_it() {
    let config = telnet();
    let now = std::time::Instant::now();
    let mut connection = greeter_core::Connection::new(peer(1, ([127, 0, 0, 1], 1)), &config, now);
    connection.received(b"\xFF\xFD\x01Bob\n", &config, now);
    let job = connection.take_job(now).expect("the client is to be connected");
    connection.answered(job.answer(&Mirror, &config, greeter_core::TurnBudget::unlimited()), &config, now);
    assert_eq!(connection.unsent(), b"hello\nlf 0 Bob\n\xFF\xFC\x01");
}
