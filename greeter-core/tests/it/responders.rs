//! What a responder may do, and what its failures cost.

use std::sync::Arc;
use std::time::Duration;

use greeter_core::testing::TestClient;
use greeter_core::{
    BoxError, CloseReason, Connection, ConnectionConfig, ConnectionTimeouts, Greeter, Line, LineEnding, Peer,
    Rejection, Reply, Responder, TurnBudget, WhenRejected, responder_fn,
};

use crate::kit::{Script, assert_lawful, check_script, connection, drive, now, peer, replies};

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
fn a_failure_costs_one_line_and_nothing_else() {
    check_script("a\npanic\nb\n", "you said a\nerror: internal error\nyou said b\n");
    check_script("fail\r\nb\n", "error: internal error\r\nyou said b\n");
    check_script("lf\nb\n", "error: internal error\nyou said b\n");
    check_script("a\nhalf-panic\nb\n", "you said a\nerror: internal error\nyou said b\n");
    check_script(&"panic\n".repeat(100), &"error: internal error\n".repeat(100));
}

#[test]
fn a_refusal_is_said_in_its_words_and_is_no_fault() {
    check_script(
        "a\nreject\r\n\u{ff}\nb\n",
        "you said a\nerror: as the client wishes\r\nyou said \u{ff}\nyou said b\n",
    );
    let mut connection = connection();
    connection.received(b"reject\n\xff\n", now());
    let job = connection.take_job(now()).unwrap();
    let mut answered = job.answer(&Script, TurnBudget::unlimited());
    assert_eq!(answered.replies(), b"error: as the client wishes\nerror: line is not valid UTF-8\n");
    assert_eq!(answered.take_errors().count, 0);
}

#[test]
fn who_fails_after_asking_to_close_still_closes() {
    check_script("quit-fail\nb\n", "error: internal error\n");
}

/// Lets in only those who come from its own network.
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
        unreachable!("nobody came in")
    }
}

#[test]
fn a_client_may_be_turned_away_at_the_door() {
    assert_eq!(replies(&Exclusive, [&b"Bob\n"[..]]), b"error: members only\n");
}

/// Cannot even reject without a mistake.
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
fn a_refusal_that_breaks_the_framing_does_not_go_out() {
    assert_eq!(replies(&Sloppy, [&b"a\nb\n"[..]]), b"error: internal error\nerror: internal error\n");
}

#[test]
fn the_session_outlives_a_panic() {
    check_script("a\npanic\nhistory\n", "you said a\nerror: internal error\n192.0.2.1:4000 came,a,panic,history\n");
}

#[test]
fn what_failed_is_reported_with_the_job() {
    let mut connection = connection();
    connection.received(b"a\nfail\npanic\nlf\n", now());
    let job = connection.take_job(now()).unwrap();
    let mut answered = job.answer(&Script, greeter_core::TurnBudget::unlimited());
    let errors = answered.take_errors();
    assert_eq!(errors.count, 3);
    assert_eq!(errors.first.unwrap().to_string(), "the responder failed: as the client wishes");
    assert_eq!(answered.take_errors().count, 0);
}

/// What a responder may panic with: it panics in its turn when it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        std::panic::panic_any("and again")
    }
}

#[test]
fn a_panic_is_reported_in_its_words_if_it_has_any() {
    let responder = responder_fn(|line: &str| -> () {
        match line {
            "literal" => panic!("as it stands"),
            "number" => std::panic::panic_any(7),
            "grenade" => std::panic::panic_any(Grenade),
            line => panic!("{line} in words"),
        }
    });
    for (line, said) in
        [("literal", "as it stands"), ("text", "text in words"), ("number", "no message"), ("grenade", "no message")]
    {
        let mut client = TestClient::connect(&responder);
        client.send(line).send("\n").expect("error: internal error\n");
        let error = client.take_errors().first.unwrap();
        assert_eq!(error.to_string(), format!("the responder panicked: {said}"));
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
fn without_a_session_the_client_is_told_and_sent_away() {
    let replies = replies(&Hopeless, [&b"Bob\n"[..]]);
    assert_eq!(String::from_utf8(replies).unwrap(), "error: internal error\n");
}

/// Speaks as SMTP does.
struct Mail;

impl Responder for Mail {
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
fn a_banner_comes_first_and_refusals_are_in_the_responders_words() {
    let input = format!("{}\r\nEHLO\r\n", "A".repeat(1000));
    let replies = replies(&Mail, [input.as_bytes()]);
    assert_eq!(String::from_utf8(replies).unwrap(), "220 here\r\n500 line too long\r\n250 ok\r\n");
}

#[test]
fn the_banner_does_not_wait_for_a_line() {
    let mut connection = connection();
    assert_eq!(drive(&mut connection, &Mail), b"220 here\r\n");
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
fn a_function_may_refuse() {
    let responder = responder_fn(|line: &str| match line {
        "ping" => Ok("pong"),
        _ => Err(Rejection::custom("say ping")),
    });
    assert_eq!(replies(&responder, [&b"ping\npong\n"[..]]), b"pong\nerror: say ping\n");
    let responder = responder_fn(|line: &str| line.parse::<u8>().map(|number| number.to_string()));
    assert_eq!(replies(&responder, [&b"7\n-7\n"[..]]), b"7\nerror: internal error\n");
}

/// An error that cannot even be shown.
#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("there are no words")
    }
}

impl std::error::Error for Unspeakable {}

#[test]
fn an_error_that_panics_when_shown_is_contained() {
    let responder = responder_fn(|_: &str| Err::<&str, _>(Unspeakable));
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
    let responders: [Box<dyn Responder<Session = ()>>; 2] = [Box::new(Greeter), Box::new(Mail)];
    let said = responders.map(|responder| replies(&responder, [&b"Bob\n"[..]]));
    assert_eq!(said, [b"Hello, Bob\n".to_vec(), b"220 here\r\n250 ok\n".to_vec()]);
    let shared: Arc<dyn Responder<Session = ()>> = Arc::new(Greeter);
    assert_eq!(replies(&shared, [&b"Bob\n"[..]]), b"Hello, Bob\n");
}

/// Takes mail as SMTP does (RFC 5321, 4.1.1.4): lines up to a lone dot, stored whole or not at all.
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

    fn respond(&self, mail: &mut Draft, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match line.to_str()? {
            "." => {
                let Draft { lines, misses_a_line } = std::mem::take(mail);
                reply.line(if misses_a_line { "554 lost a line".to_owned() } else { format!("250 {lines:?}") });
            }
            line => mail.lines.push(line.to_owned()),
        }
        Ok(())
    }

    fn reject(&self, mail: Option<&mut Draft>, rejection: Rejection, reply: &mut Reply<'_>) {
        match mail {
            Some(mail) => mail.misses_a_line = true,
            None => reply.line(format_args!("421 {rejection}")),
        }
    }
}

fn mailer(when_rejected: WhenRejected) -> (ConnectionConfig, Connection<Draft>) {
    let config = ConnectionConfig::new(10, ConnectionTimeouts::NONE, &Mailer).when_rejected(when_rejected);
    let mut connection = Connection::new(peer(), &config, now());
    assert_eq!(drive(&mut connection, &Mailer), b"");
    (config, connection)
}

#[test]
fn a_session_hears_of_each_line_that_was_too_long() {
    let (_, mut connection) = mailer(WhenRejected::Continue);
    connection.received(b"one\na line that is longer\ntwo\n.\nthree\n.\n", now());
    assert_eq!(drive(&mut connection, &Mailer), b"554 lost a line\n250 [\"three\"]\n");
    assert_lawful(connection.take_counts());
}

#[test]
fn a_session_hears_of_each_line_that_came_when_everyone_was_busy() {
    let (config, mut connection) = mailer(WhenRejected::Continue);
    connection.received(b"one\ntwo\n", now());
    let job = connection.take_job(now()).unwrap();
    connection.answered(job.reject_all(&Mailer, &config, TurnBudget::unlimited()), now());
    assert_eq!(drive(&mut connection, &Mailer), b"");
    connection.received(b"three\n.\n", now());
    assert_eq!(drive(&mut connection, &Mailer), b"554 lost a line\n");
    assert_lawful(connection.take_counts());
}

#[test]
fn where_nobody_can_tell_the_session_the_connection_ends() {
    let (config, mut connection) = mailer(WhenRejected::Continue);
    connection.received(b"one\r\ntwo\r\n", now());
    let job = connection.take_job(now()).unwrap();
    connection.answered(job.reject_without_responder(&config), now());
    assert_eq!(drive(&mut connection, &Mailer), b"421 busy\r\n");
    assert_eq!(connection.reason(), Some(CloseReason::Busy));
    let account = connection.take_counts();
    assert_lawful(account);
    assert_eq!((account.lines, account.replies, account.discarded), (2, 0, 2));
}

#[test]
fn a_session_that_is_nothing_misses_nothing() {
    let config = ConnectionConfig::new(10, ConnectionTimeouts::NONE, &Greeter);
    let mut connection = Connection::new(peer(), &config, now());
    drive(&mut connection, &Greeter);
    connection.received(b"Ann\nBob\r\n", now());
    let job = connection.take_job(now()).unwrap();
    connection.answered(job.reject_without_responder(&config), now());
    assert_eq!(drive(&mut connection, &Greeter), b"error: busy\nerror: busy\r\n");
    assert_eq!(connection.reason(), None);
    let account = connection.take_counts();
    assert_eq!((account.lines, account.replies, account.discarded), (2, 2, 0));
}

#[test]
fn a_refused_line_may_be_the_end_and_what_was_answered_before_it_counts() {
    let (config, mut connection) = mailer(WhenRejected::Close);
    connection.received(b"one\n.\na line that is longer\ntwo\n.\n", now());
    assert_eq!(drive(&mut connection, &Mailer), b"250 [\"one\"]\n");
    assert_eq!(connection.reason(), Some(CloseReason::LineRejected));
    let account = connection.take_counts();
    assert_eq!((account.lines, account.replies, account.discarded), (5, 3, 2));

    let (_, mut connection) = mailer(WhenRejected::Close);
    connection.received(b"one\ntwo\n", now());
    let job = connection.take_job(now()).unwrap();
    connection.answered(job.reject_all(&Mailer, &config, TurnBudget::unlimited()), now());
    drive(&mut connection, &Mailer);
    assert_eq!(connection.reason(), Some(CloseReason::LineRejected));
    let account = connection.take_counts();
    assert_eq!((account.lines, account.replies, account.discarded), (2, 1, 1));
}

#[test]
fn who_refuses_line_after_line_does_so_for_a_slice() {
    let (config, mut connection) = mailer(WhenRejected::Continue);
    connection.received(&b"x\n".repeat(100), now());
    let mut looks = 0;
    let clock = move || {
        looks += 1;
        Duration::from_millis(looks)
    };
    let job = connection.take_job(now()).unwrap();
    let rejected = job.reject_all(&Mailer, &config, TurnBudget::new(Duration::from_millis(3), usize::MAX, clock));
    assert_eq!(rejected.lines_answered(), 3);
}
