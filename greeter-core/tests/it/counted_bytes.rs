//! Checks counted bytes: what a responder reads, what it skips, and that data is never taken for
//! lines.

use std::time::{Duration, Instant};

use greeter_core::testing::{ConnectionConfig, ConnectionTimeouts, TestClient, check_every_fragmentation, peer};
use greeter_core::{
    BoxError, CloseReason, Connection, Line, LineCounts, LineEnding, Peer, Phase, Rejection, Reply, Responder,
    ResponderError, TurnBudget,
};

const MAX: usize = 100_000;

/// Reads and skips as the line says: `read 5`, `skip 5`, and then ways to do it wrong.
struct Store;

impl Responder for Store {
    /// How many lines have come.
    type Session = u32;

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<u32, BoxError> {
        Ok(0)
    }

    fn respond(&self, lines: &mut u32, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        *lines += 1;
        let line = line.to_str()?;
        let (verb, number) = line.split_once(' ').unwrap_or((line, "0"));
        let bytes: usize = number.parse().map_err(|_| Rejection::custom("how many?"))?;
        match verb {
            "read" => reply.read_bytes(bytes)?,
            "ask" => {
                reply.line("go ahead");
                reply.read_bytes(bytes)?;
            }
            "store" if reply.read_bytes(bytes).is_err() => reply.line("too large"),
            "store" => {}
            "skip" => {
                reply.line("skipped");
                reply.skip_bytes(bytes as u64);
            }
            "fail" => {
                reply.read_bytes(bytes)?;
                return Err("as told".into());
            }
            "panic" => {
                reply.read_bytes(bytes)?;
                panic!("as told");
            }
            "twice" => {
                reply.read_bytes(bytes)?;
                reply.read_bytes(bytes)?;
            }
            "quit" => {
                reply.read_bytes(bytes)?;
                reply.line("bye");
                reply.close();
            }
            _ => reply.line(format_args!("line {lines}: {line}")),
        }
        Ok(())
    }

    fn bytes(&self, lines: &mut u32, bytes: &[u8], reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match bytes {
            b"more!" => reply.read_bytes(2)?,
            b"much!" => reply.read_bytes(50_000)?,
            b"panic" => panic!("as told"),
            b"fail!" => return Err("as told".into()),
            _ => reply.line(format_args!("{lines}: {} bytes, \"{}\"", bytes.len(), bytes.escape_ascii())),
        }
        Ok(())
    }

    fn max_data_bytes(&self) -> usize {
        MAX
    }

    fn reject(&self, _: Option<&mut u32>, rejection: Rejection, reply: &mut Reply<'_>) {
        // What may not be asked for here is found and told.
        if rejection == Rejection::custom("how many?") {
            let _ = reply.read_bytes(1);
        }
        reply.line(format_args!("error: {rejection}"));
    }
}

#[test]
fn bytes_of_any_kind_come_whole_and_lines_go_on_behind_them() {
    check_every_fragmentation(
        || Store,
        b"read 5\r\na\nb\r\nc\nread 0\nd\nread 3\n\n\n\ne",
        "1: 5 bytes, \"a\\nb\\r\\n\"\r\nline 2: c\n3: 0 bytes, \"\"\nline 4: d\n5: 3 bytes, \"\\n\\n\\n\"\n",
    );
    check_every_fragmentation(|| Store, b"ask 4\n\xFF\0\r\n", "go ahead\n1: 4 bytes, \"\\xff\\x00\\r\\n\"\n");
    check_every_fragmentation(|| Store, b"read 5\nmore!\n\nx\n", "1: 2 bytes, \"\\n\\n\"\nline 2: x\n");
}

#[test]
fn bytes_are_skipped_whatever_they_are() {
    check_every_fragmentation(
        || Store,
        b"skip 4\r\na\nb\nc\nskip 0\nd\n",
        "skipped\r\nline 2: c\nskipped\nline 4: d\n",
    );
}

/// The longest line is 8 KiB, and all of it is in one piece; a buffer that kept of an unfinished
/// line only what it needs would have lost the rest.
#[test]
fn bytes_that_come_with_their_line_are_all_there() {
    let data = vec![b'x'; 50_000];
    let mut client = TestClient::connect(&Store);
    client.send([b"a\nread 50000\n", &data[..], b"b\n"].concat());
    let received = client.received();
    assert!(received.starts_with(b"line 1: a\n2: 50000 bytes, \"xxx"));
    assert!(received.ends_with(b"x\"\nline 3: b\n"));
}

/// What comes behind the bytes, in the same read, may be bytes again.
#[test]
fn bytes_that_come_with_the_bytes_before_them_are_all_there() {
    let data = vec![b'x'; 50_000];
    let mut client = TestClient::connect(&Store);
    client.send("read 5\n").send([b"much!", &data[..], b"b\n"].concat());
    let received = client.received();
    assert!(received.starts_with(b"1: 50000 bytes") && received.ends_with(b"x\"\nline 2: b\n"));
}

#[test]
fn what_was_announced_is_never_taken_for_lines() {
    let internal = "error: internal error\n";
    for (stream, expected) in [
        ("fail 4\na\nb\nc\n", format!("{internal}line 2: c\n")),
        ("panic 4\na\nb\nc\n", format!("{internal}line 2: c\n")),
        ("twice 4\na\nb\nc\n", format!("{internal}line 2: c\n")),
        ("read 5\npanic\nc\n", format!("{internal}line 2: \nline 3: c\n")),
        ("read 5\nfail!c\n", format!("{internal}line 2: c\n")),
    ] {
        std::panic::set_hook(Box::new(|_| {}));
        check_every_fragmentation(|| Store, stream, expected);
        let _ = std::panic::take_hook();
    }
    let too_many =
        format!("store {}\n{}c\nread {}\n{}d\n", MAX + 1, "a\n".repeat(50_000), MAX + 1, "b\n".repeat(50_000));
    // The number is odd: it ends between a letter and its LF, which are skipped and not.
    let mut client = TestClient::connect(&Store);
    client.send(too_many);
    client.expect("too large\nline 2: \nerror: internal error\nline 4: \n");
}

#[test]
fn what_a_responder_does_wrong_is_named() {
    let mut client = TestClient::connect(&Store);
    client.send("twice 1\nx").expect("error: internal error\n");
    assert_eq!(client.take_errors().first, Some(ResponderError::Misuse("asks for bytes twice in one call")));
    client.send("what now\n").expect("error: internal error\n");
    assert_eq!(client.take_errors().first, Some(ResponderError::Misuse("asks for bytes where none can follow")));
    client.send("read 100001\n");
    let Some(ResponderError::Failed(text)) = client.take_errors().first else { panic!("it has failed") };
    assert_eq!(text, "100001 bytes are more than the 100000 that may be read at once");
}

/// A responder without `max_data_bytes`.
struct Forgetful;

impl Responder for Forgetful {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match line.as_bytes() {
            b"skip" => reply.skip_bytes(2),
            b"read" => reply.read_bytes(2)?,
            b"read nothing" => reply.read_bytes(0)?,
            _ => reply.line(line),
        }
        Ok(())
    }
}

#[test]
fn a_responder_that_takes_no_bytes_gets_none() {
    let mut client = TestClient::connect(&Forgetful);
    client.send("skip\na\nb\n").expect("error: internal error\nb\n");
    client.send("read\na\nb\n").expect("error: internal error\nb\n");
    client.send("read nothing\nb\n").expect("error: internal error\nb\n");
    let errors = client.take_errors();
    let asks = "asks for bytes, but says in `max_data_bytes` that it takes none";
    assert!(errors.count == 3 && errors.first == Some(ResponderError::Misuse(asks)), "{errors:?}");
}

#[test]
fn behind_a_rejected_line_nothing_is_taken_for_lines() {
    let long = format!("read {}\nread 1\n", "0".repeat(9000));
    let mut client = TestClient::connect(&Store);
    client.send(long).expect("error: line longer than 8192 bytes\n").expect_end(CloseReason::LineRejected);
    let mut client = TestClient::connect(&Store);
    client.send_while_busy("read 9\nread 1\nx\n").expect("error: busy\n").expect_end(CloseReason::LineRejected);
}

#[test]
fn a_reply_that_closes_does_not_wait_for_bytes() {
    let mut client = TestClient::connect(&Store);
    client.send("quit 5\nab").expect("bye\n").expect_end(CloseReason::ResponderClosed);
}

fn config(timeouts: ConnectionTimeouts) -> ConnectionConfig {
    ConnectionConfig::new(100, timeouts, &Store)
}

fn client(timeouts: ConnectionTimeouts) -> TestClient<'static, Store> {
    TestClient::connect_as(peer(1, ([127, 0, 0, 1], 1)), &Store, config(timeouts))
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn sixteen_kib_may_take_as_long_as_a_line() {
    let timeouts = ConnectionTimeouts { line: Some(10 * SECOND), ..ConnectionTimeouts::NONE };
    for verb in ["ask", "skip"] {
        let mut client = client(timeouts);
        client.send(format!("{verb} 50000\n")).received();
        for _ in 0..3 {
            client.wait(9 * SECOND).send(vec![b'x'; 16 * 1024]).expect("");
        }
        client.wait(9 * SECOND).send("x").wait(SECOND).expect("error: line not finished within 10s\n");
        client.expect_end(CloseReason::LineTimeout);
    }
    // With not a byte of them there, too.
    let mut client = client(timeouts);
    client.send("read 1\n").wait(10 * SECOND).expect("error: line not finished within 10s\n");
}

#[test]
fn bytes_that_do_not_come_are_unfinished_and_the_account_balances() {
    let now = Instant::now();
    let config = config(ConnectionTimeouts::NONE);
    for (sent, lines, unfinished) in
        [("a\nread 5\nb\nc", 2, 1), ("skip 5\n", 1, 1), ("read 2\nb\nc", 1, 1), ("read 0\n", 1, 0)]
    {
        let mut connection = Connection::new(peer(1, ([127, 0, 0, 1], 1)), &config, now);
        connection.received(sent.as_bytes(), &config, now);
        while let Some(job) = connection.take_job(now) {
            connection.answered(job.answer(&Store, &config, TurnBudget::unlimited()), &config, now);
            connection.wrote(connection.unsent().len(), now);
        }
        if unfinished > 0 {
            assert_eq!(connection.phase(), Phase::Reading);
        }
        connection.received_eof();
        let expected = LineCounts { lines, replies: lines, discarded: 0, unfinished };
        assert_eq!(connection.take_counts(), expected, "{sent:?}");
    }
}

/// The line before the bytes, the bytes, and the line behind them, each in a turn of its own.
#[test]
fn a_budget_may_end_between_a_line_and_its_bytes() {
    let now = Instant::now();
    let config = config(ConnectionTimeouts::NONE);
    let mut connection = Connection::new(peer(1, ([127, 0, 0, 1], 1)), &config, now);
    connection.received(b"ask 4\r\na\nb\nc\n", &config, now);
    let mut sent = Vec::new();
    let mut turns = 0;
    while let Some(job) = connection.take_job(now) {
        let budget = TurnBudget::new(Duration::ZERO, usize::MAX, || Duration::ZERO);
        connection.answered(job.answer(&Store, &config, budget), &config, now);
        sent.extend_from_slice(connection.unsent());
        connection.wrote(connection.unsent().len(), now);
        turns += 1;
    }
    assert_eq!(String::from_utf8_lossy(&sent), "go ahead\r\n1: 4 bytes, \"a\\nb\\n\"\r\nline 2: c\n");
    assert_eq!(turns, 3);
    assert_eq!(connection.take_counts(), LineCounts { lines: 2, replies: 2, discarded: 0, unfinished: 0 });
}

/// Not with what was announced, and not by a copy for each read.
#[test]
fn memory_follows_what_has_come() {
    let now = Instant::now();
    let config = config(ConnectionTimeouts::NONE);
    let mut connection = Connection::new(peer(1, ([127, 0, 0, 1], 1)), &config, now);
    connection.received(b"read 100000\n", &config, now);
    let job = connection.take_job(now).expect("there is a line");
    connection.answered(job.answer(&Store, &config, TurnBudget::unlimited()), &config, now);
    assert_eq!(connection.bytes_held(), 0);
    let mut grown = 0;
    for sent in 1..=100 {
        let before = connection.bytes_held();
        connection.received(&[b'\n'; 1000], &config, now);
        grown += u32::from(connection.bytes_held() != before);
        assert!(connection.bytes_held() <= (2 * sent * 1000).min(100_000), "{}", connection.bytes_held());
    }
    assert!(grown <= 8, "{grown}");
    let job = connection.take_job(now).expect("all bytes are there");
    assert_eq!((job.lines(), job.reply_capacity_hint()), (0, 0), "data is not lines");
    connection.answered(job.answer(&Store, &config, TurnBudget::unlimited()), &config, now);
    assert!(connection.unsent().starts_with(b"1: 100000 bytes"));
    connection.wrote(connection.unsent().len(), now);
    assert_eq!(connection.bytes_held(), 0);
}

/// Reads two bytes before it greets.
struct Hello;

impl Responder for Hello {
    type Session = LineEnding;

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<LineEnding, BoxError> {
        reply.read_bytes(2)?;
        Ok(LineEnding::Lf)
    }

    fn respond(&self, _: &mut LineEnding, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(line);
        Ok(())
    }

    fn bytes(&self, _: &mut LineEnding, bytes: &[u8], reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(format_args!("version {}", bytes.escape_ascii()));
        Ok(())
    }

    fn max_data_bytes(&self) -> usize {
        2
    }
}

#[test]
fn a_client_may_begin_with_bytes() {
    check_every_fragmentation(|| Hello, b"\x05\na\n", "version \\x05\\n\na\n");
}

/// Reads what comes next before it says anything, with more bytes than a line may have.
struct Greedy;

impl Responder for Greedy {
    type Session = ();

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(reply.read_bytes(50_000)?)
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(line);
        Ok(())
    }

    fn bytes(&self, (): &mut (), bytes: &[u8], reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(bytes.len());
        Ok(())
    }

    fn max_data_bytes(&self) -> usize {
        MAX
    }
}

/// A connection thread reads before a worker has called `connect`.
#[test]
fn bytes_that_come_before_the_client_is_connected_are_all_there() {
    let now = Instant::now();
    let config = ConnectionConfig::new(100, ConnectionTimeouts::NONE, &Greedy);
    let mut connection = Connection::new(peer(1, ([127, 0, 0, 1], 1)), &config, now);
    connection.received(&[b'x'; 10_000], &config, now);
    assert!(!connection.wants_input(), "one read is enough for now");
    let mut sent = Vec::new();
    for piece in [&[b'x'; 40_000][..], b"a\n"] {
        while let Some(job) = connection.take_job(now) {
            connection.answered(job.answer(&Greedy, &config, TurnBudget::unlimited()), &config, now);
            sent.extend_from_slice(connection.unsent());
            connection.wrote(connection.unsent().len(), now);
        }
        connection.received(piece, &config, now);
    }
    let job = connection.take_job(now).expect("there is a line");
    connection.answered(job.answer(&Greedy, &config, TurnBudget::unlimited()), &config, now);
    sent.extend_from_slice(connection.unsent());
    assert_eq!(String::from_utf8_lossy(&sent), "50000\na\n");
}
