//! Checks what a responder may do, and what its errors cost.

use std::sync::Arc;
use std::time::Duration;

use greeter_core::testing::TestClient;
use greeter_core::{
    BoxError, CloseReason, Connection, ConnectionConfig, ConnectionTimeouts, Greeter, Line, LineEnding, Peer,
    Rejection, Reply, Responder, TurnBudget, WhenRejected, responder_fn,
};

use crate::kit::{Script, assert_lawful, check_script, config, connection, drive, drive_by, now, peer, replies};

#[test]
fn a_reply_may_be_none_one_or_many_lines_or_raw() {
    check_script("a\nsilent\nthree\nraw\nb\r\n", "you said a\none\ntwo\nthree\n$3\r\n\n\n\n\r\nyou said b\r\n");
    check_script("three\r\n", "one\r\ntwo\r\nthree\r\n");
}

#[test]
fn a_responder_that_closes_answers_nothing_behind_that() {
    check_script("a\nquit\nb\nc\n", "you said a\nbye\n");
}

#[test]
fn an_error_costs_one_line_and_nothing_else() {
    check_script("a\npanic\nb\n", "you said a\nerror: internal error\nyou said b\n");
    check_script("fail\r\nb\n", "error: internal error\r\nyou said b\n");
    check_script("lf\nb\n", "error: internal error\nyou said b\n");
    check_script("a\nhalf-panic\nb\n", "you said a\nerror: internal error\nyou said b\n");
    check_script(&"panic\n".repeat(100), &"error: internal error\n".repeat(100));
}

#[test]
fn a_rejection_is_sent_in_its_words_and_is_no_error() {
    check_script(
        "a\nreject\r\n\u{ff}\nb\n",
        "you said a\nerror: as the client wishes\r\nyou said \u{ff}\nyou said b\n",
    );
    let mut connection = connection();
    connection.received(b"reject\n\xff\n", &config(), now());
    let job = connection.take_job(now()).unwrap();
    let mut answered = job.answer(&Script, &config(), TurnBudget::unlimited());
    assert_eq!(answered.replies(), b"error: as the client wishes\nerror: line is not valid UTF-8\n");
    assert_eq!(answered.take_errors().count, 0);
}

#[test]
fn a_responder_that_fails_after_close_still_closes() {
    check_script("quit-fail\nb\n", "error: internal error\n");
}

/// Accepts only clients from its own network.
struct Exclusive;

impl Responder for Exclusive {
    type Session = ();

    fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line("welcome");
        if peer.address.ip().is_some_and(|ip| ip.is_loopback()) {
            Ok(())
        } else {
            Err(Rejection::custom("members only").into())
        }
    }

    fn respond(&self, (): &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
        unreachable!("no client is accepted")
    }
}

#[test]
fn a_client_may_be_rejected_on_connect() {
    assert_eq!(replies(&Exclusive, [&b"Bob\n"[..]]), b"error: members only\n");
}

/// Breaks the framing even in a rejection.
struct Sloppy;

impl Responder for Sloppy {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Err(Rejection::custom(format!("two\nlines about {}", line.to_str()?)).into())
    }
}

#[test]
fn a_rejection_that_breaks_the_framing_is_not_sent() {
    assert_eq!(replies(&Sloppy, [&b"a\nb\n"[..]]), b"error: internal error\nerror: internal error\n");
}

#[test]
fn the_session_outlives_a_panic() {
    check_script("a\npanic\nhistory\n", "you said a\nerror: internal error\n192.0.2.1:4000 came,a,panic,history\n");
}

#[test]
fn errors_are_reported_with_the_job() {
    let mut connection = connection();
    connection.received(b"a\nfail\npanic\nlf\n", &config(), now());
    let job = connection.take_job(now()).unwrap();
    let mut answered = job.answer(&Script, &config(), greeter_core::TurnBudget::unlimited());
    let errors = answered.take_errors();
    assert_eq!(errors.count, 3);
    assert_eq!(errors.first.unwrap().to_string(), "the responder failed: as the client wishes");
    assert_eq!(answered.take_errors().count, 0);
}

/// The payload of a panic, which panics when it is dropped.
struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        std::panic::panic_any("and again")
    }
}

#[test]
fn a_panic_is_reported_with_its_message_if_that_is_text() {
    let responder = responder_fn(|line: &str| -> () {
        match line {
            "literal" => panic!("as it stands"),
            "number" => std::panic::panic_any(7),
            "payload" => std::panic::panic_any(PanicsOnDrop),
            line => panic!("{line} in words"),
        }
    });
    for (line, message) in
        [("literal", "as it stands"), ("text", "text in words"), ("number", "no message"), ("payload", "no message")]
    {
        let mut client = TestClient::connect(&responder);
        client.send(line).send("\n").expect("error: internal error\n");
        let error = client.take_errors().first.unwrap();
        assert_eq!(error.to_string(), format!("the responder panicked: {message}"));
    }
}

/// Panics wherever it can.
struct Hopeless;

impl Responder for Hopeless {
    type Session = ();

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line("welcome, and");
        panic!("no session")
    }

    fn respond(&self, (): &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
        unreachable!("without a session there is nothing to answer")
    }

    fn reject(&self, _session: Option<&mut Self::Session>, _: Rejection, _: &mut Reply<'_>) {
        panic!("no words either")
    }
}

#[test]
fn a_client_without_a_session_is_rejected_and_closed() {
    let replies = replies(&Hopeless, [&b"Bob\n"[..]]);
    assert_eq!(String::from_utf8(replies).unwrap(), "error: internal error\n");
}

/// Replies as SMTP does.
struct Smtp;

impl Responder for Smtp {
    type Session = ();

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.end_lines_with(LineEnding::CrLf);
        reply.line("220 here");
        Ok(())
    }

    fn respond(&self, (): &mut (), _: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line("250 ok");
        Ok(())
    }

    fn reject(&self, _session: Option<&mut Self::Session>, rejection: Rejection, reply: &mut Reply<'_>) {
        match rejection {
            Rejection::LineTooLong { .. } => reply.line("500 line too long"),
            rejection => reply.line(format_args!("451 {rejection}")),
        }
    }
}

#[test]
fn a_banner_comes_first_and_rejections_are_in_the_responders_words() {
    let input = format!("{}\r\nEHLO\r\n", "A".repeat(1000));
    let replies = replies(&Smtp, [input.as_bytes()]);
    assert_eq!(String::from_utf8(replies).unwrap(), "220 here\r\n500 line too long\r\n250 ok\r\n");
}

#[test]
fn the_banner_does_not_wait_for_a_line() {
    let mut connection = connection();
    assert_eq!(drive(&mut connection, &Smtp), b"220 here\r\n");
}

#[test]
fn a_function_of_text_never_sees_what_is_not_text() {
    let responder = responder_fn(|name: &str| format!("Hello, {name}"));
    assert_eq!(
        replies(&responder, [&b"Zo\xc3\xab\nZo\xeb\n"[..]]),
        b"Hello, Zo\xc3\xab\nerror: line is not valid UTF-8\n"
    );
    let responder = responder_fn(|line: &[u8]| line.to_ascii_uppercase());
    assert_eq!(replies(&responder, [&b"zo\xeb\n"[..]]), b"ZO\xeb\n");
}

#[test]
fn a_function_may_reject() {
    let responder = responder_fn(|line: &str| match line {
        "ping" => Ok("pong"),
        _ => Err(Rejection::custom("say ping")),
    });
    assert_eq!(replies(&responder, [&b"ping\npong\n"[..]]), b"pong\nerror: say ping\n");
    let responder = responder_fn(|line: &str| line.parse::<u8>().map(|number| number.to_string()));
    assert_eq!(replies(&responder, [&b"7\n-7\n"[..]]), b"7\nerror: internal error\n");
}

/// An error that panics when it is displayed.
#[derive(Debug)]
struct PanicsOnDisplay;

impl std::fmt::Display for PanicsOnDisplay {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("there are no words")
    }
}

impl std::error::Error for PanicsOnDisplay {}

#[test]
fn an_error_that_panics_when_displayed_is_contained() {
    let responder = responder_fn(|_: &str| Err::<&str, _>(PanicsOnDisplay));
    assert_eq!(replies(&responder, [&b"a\nb\n"[..]]), b"error: internal error\nerror: internal error\n");
}

#[test]
fn a_function_may_answer_with_a_constant() {
    let responder = responder_fn(|line: &str| if line == "ping" { "pong" } else { "what?" });
    assert_eq!(replies(&responder, [&b"ping\nping!\n"[..]]), b"pong\nwhat?\n");
}

#[test]
fn a_function_may_answer_with_a_number_a_char_or_nothing() {
    let responder = responder_fn(|line: &str| line.len());
    assert_eq!(replies(&responder, [&b"Bob\n\n"[..]]), b"3\n0\n");
    let responder = responder_fn(|line: &str| line.chars().next());
    assert_eq!(replies(&responder, [&b"Bob\n\nAnn\r\n"[..]]), b"B\nA\r\n");
    let responder = responder_fn(|line: &str| drop(line.to_owned()));
    assert_eq!(replies(&responder, [&b"Bob\n"[..]]), b"");
    let responder = responder_fn(|line: &str| line.parse::<i8>().map(|number| (number > 0).then_some(number)));
    assert_eq!(replies(&responder, [&b"7\n-7\nBob\n"[..]]), b"7\nerror: internal error\n");
    let responder =
        responder_fn(|line: &str| if line == "quiet" { Ok(()) } else { Err(Rejection::custom("too loud")) });
    assert_eq!(replies(&responder, [&b"quiet\nloud\n"[..]]), b"error: too loud\n");
}

#[test]
fn a_responder_without_a_session_can_be_chosen_at_run_time() {
    let responders: [Box<dyn Responder<Session = ()>>; 2] = [Box::new(Greeter), Box::new(Smtp)];
    let received = responders.map(|responder| replies(&responder, [&b"Bob\n"[..]]));
    assert_eq!(received, [b"Hello, Bob\n".to_vec(), b"220 here\r\n250 ok\n".to_vec()]);
    let shared: Arc<dyn Responder<Session = ()>> = Arc::new(Greeter);
    assert_eq!(replies(&shared, [&b"Bob\n"[..]]), b"Hello, Bob\n");
}

/// Receives mail as SMTP does (RFC 5321, 4.1.1.4): lines up to a lone dot, stored whole or not at
/// all.
struct Mailer;

#[derive(Default)]
struct Draft {
    lines: Vec<String>,
    misses_a_line: bool,
}

impl Responder for Mailer {
    type Session = Draft;

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<Draft, BoxError> {
        Ok(Draft::default())
    }

    fn respond(&self, draft: &mut Draft, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match line.to_str()? {
            "." => {
                let Draft { lines, misses_a_line } = std::mem::take(draft);
                reply.line(if misses_a_line { "554 lost a line".to_owned() } else { format!("250 {lines:?}") });
            }
            line => draft.lines.push(line.to_owned()),
        }
        Ok(())
    }

    fn reject(&self, draft: Option<&mut Draft>, rejection: Rejection, reply: &mut Reply<'_>) {
        match draft {
            Some(draft) => draft.misses_a_line = true,
            None => reply.line(format_args!("421 {rejection}")),
        }
    }
}

fn mailer(when_rejected: WhenRejected) -> (ConnectionConfig, Connection<Draft>) {
    let config = ConnectionConfig::new(10, ConnectionTimeouts::NONE, &Mailer).when_rejected(when_rejected);
    let mut connection = Connection::new(peer(), &config, now());
    assert_eq!(drive_by(&config, &mut connection, &Mailer), b"");
    (config, connection)
}

#[test]
fn a_session_learns_of_each_line_that_is_too_long() {
    let (config, mut connection) = mailer(WhenRejected::Continue);
    connection.received(b"one\na line that is longer\ntwo\n.\nthree\n.\n", &config, now());
    assert_eq!(drive_by(&config, &mut connection, &Mailer), b"554 lost a line\n250 [\"three\"]\n");
    assert_lawful(connection.take_counts());
}

#[test]
fn a_session_learns_of_each_line_that_is_rejected_as_busy() {
    let (config, mut connection) = mailer(WhenRejected::Continue);
    connection.received(b"one\ntwo\n", &config, now());
    let job = connection.take_job(now()).unwrap();
    connection.answered(job.reject_all(&Mailer, &config, TurnBudget::unlimited()), &config, now());
    assert_eq!(drive_by(&config, &mut connection, &Mailer), b"");
    connection.received(b"three\n.\n", &config, now());
    assert_eq!(drive_by(&config, &mut connection, &Mailer), b"554 lost a line\n");
    assert_lawful(connection.take_counts());
}

#[test]
fn a_session_that_cannot_learn_of_a_rejection_ends_the_connection() {
    let (config, mut connection) = mailer(WhenRejected::Continue);
    connection.received(b"one\r\ntwo\r\n", &config, now());
    let job = connection.take_job(now()).unwrap();
    connection.answered(job.reject_without_responder(&config), &config, now());
    assert_eq!(drive_by(&config, &mut connection, &Mailer), b"421 busy\r\n");
    assert_eq!(connection.reason(), Some(CloseReason::Busy));
    let counts = connection.take_counts();
    assert_lawful(counts);
    assert_eq!((counts.lines, counts.replies, counts.discarded), (2, 0, 2));
}

#[test]
fn a_session_of_unit_type_misses_nothing() {
    let config = ConnectionConfig::new(10, ConnectionTimeouts::NONE, &Greeter);
    let mut connection = Connection::new(peer(), &config, now());
    drive(&mut connection, &Greeter);
    connection.received(b"Ann\nBob\r\n", &config, now());
    let job = connection.take_job(now()).unwrap();
    connection.answered(job.reject_without_responder(&config), &config, now());
    assert_eq!(drive(&mut connection, &Greeter), b"error: busy\nerror: busy\r\n");
    assert_eq!(connection.reason(), None);
    let counts = connection.take_counts();
    assert_eq!((counts.lines, counts.replies, counts.discarded), (2, 2, 0));
}

#[test]
fn a_rejected_line_may_close_the_connection_and_earlier_replies_count() {
    let (config, mut connection) = mailer(WhenRejected::Close);
    connection.received(b"one\n.\na line that is longer\ntwo\n.\n", &config, now());
    assert_eq!(drive_by(&config, &mut connection, &Mailer), b"250 [\"one\"]\n");
    assert_eq!(connection.reason(), Some(CloseReason::LineRejected));
    let counts = connection.take_counts();
    assert_eq!((counts.lines, counts.replies, counts.discarded), (5, 3, 2));

    let (config, mut connection) = mailer(WhenRejected::Close);
    connection.received(b"one\ntwo\n", &config, now());
    let job = connection.take_job(now()).unwrap();
    connection.answered(job.reject_all(&Mailer, &config, TurnBudget::unlimited()), &config, now());
    drive_by(&config, &mut connection, &Mailer);
    assert_eq!(connection.reason(), Some(CloseReason::LineRejected));
    let counts = connection.take_counts();
    assert_eq!((counts.lines, counts.replies, counts.discarded), (2, 1, 1));
}

#[test]
fn rejections_exhaust_a_budget_like_replies() {
    let (config, mut connection) = mailer(WhenRejected::Continue);
    connection.received(&b"x\n".repeat(100), &config, now());
    let mut reads = 0;
    let clock = move || {
        reads += 1;
        Duration::from_millis(reads)
    };
    let job = connection.take_job(now()).unwrap();
    let rejected = job.reject_all(&Mailer, &config, TurnBudget::new(Duration::from_millis(3), usize::MAX, clock));
    assert_eq!(rejected.lines_answered(), 3);
}
