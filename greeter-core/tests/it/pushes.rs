//! Checks what a client receives that it has not asked for: when, in which place, and with which
//! line endings.

use std::time::Duration;

use greeter_core::{
    BoxError, CloseAction, CloseReason, Connection, ConnectionConfig, ConnectionTimeouts, Greeter, Line, LineEnding,
    Peer, PushMessage, Rejection, Reply, Responder, TurnBudget, WhenRejected,
};

use crate::kit::{Script, config, connection, drive, end, now, peer};

/// Sends a banner whose lines end in CR LF, to the clients that it accepts.
struct CrLfBanner {
    accepts: bool,
}

impl Responder for CrLfBanner {
    type Session = ();

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.end_lines_with(LineEnding::CrLf);
        reply.line("ready");
        if self.accepts { Ok(()) } else { Err(Rejection::custom("not you").into()) }
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(line);
        Ok(())
    }
}

const ACCEPTING: CrLfBanner = CrLfBanner { accepts: true };

fn push<S>(connection: &mut Connection<S>, text: &str) -> bool {
    connection.push(&PushMessage::line(text).expect("it holds no LF"), &config(), now())
}

#[test]
fn a_push_during_a_closing_reply_follows_it() {
    let mut connection = connection();
    drive(&mut connection, &Script);
    connection.received(b"a\nquit\nb\n", &config(), now());
    let job = connection.take_job(now()).unwrap();
    assert!(push(&mut connection, "news"));
    connection.answered(job.answer(&Script, &config(), TurnBudget::unlimited()), &config(), now());
    assert_eq!(drive(&mut connection, &Script), b"you said a\nbye\nnews\n");
    assert_eq!(end(connection).0, CloseReason::ResponderClosed);
}

#[test]
fn a_client_that_is_owed_replies_receives_pushes_until_the_end_of_the_stream() {
    let by_responder = |connection: &mut Connection<_>| connection.received(b"quit\n", &config(), now());
    let by_client = Connection::received_eof;
    let by_shutdown = |connection: &mut Connection<_>| connection.stop(0);
    let ends: [&dyn Fn(&mut Connection<_>); 3] = [&by_responder, &by_client, &by_shutdown];
    for bring_to_its_end in ends {
        let mut connection = connection();
        drive(&mut connection, &Script);
        bring_to_its_end(&mut connection);
        drive(&mut connection, &Script);
        assert_ne!(connection.close_action(), CloseAction::None);
        assert!(push(&mut connection, "news"));
        assert_eq!(connection.close_action(), CloseAction::None, "a push is sent first");
        assert_eq!(drive(&mut connection, &Script), b"news\n");
        if connection.close_action() == CloseAction::ShutdownWrite {
            connection.write_shut_down(now());
            assert!(!push(&mut connection, "late"));
        }
    }
}

#[test]
fn a_push_follows_a_rejected_line_that_closes_the_connection() {
    let config = ConnectionConfig::new(10, ConnectionTimeouts::NONE, &Greeter).when_rejected(WhenRejected::Close);
    let mut connection = Connection::new(peer(), &config, now());
    drive(&mut connection, &Greeter);
    connection.received(b"Bob\nBartholomew\nAnn\n", &config, now());
    let job = connection.take_job(now()).unwrap();
    assert!(push(&mut connection, "news"));
    connection.answered(job.answer(&Greeter, &config, TurnBudget::unlimited()), &config, now());
    assert_eq!(drive(&mut connection, &Greeter), b"Hello, Bob\nerror: line longer than 10 bytes\nnews\n");
    assert_eq!(end(connection).0, CloseReason::LineRejected);
}

#[test]
fn a_rejected_client_receives_no_push() {
    let config = ConnectionConfig::new(64, ConnectionTimeouts::DEFAULT, &Greeter);
    let mut closed = Connection::new(peer(), &config, now());
    drive(&mut closed, &Greeter);
    closed.close_with(CloseReason::Overloaded, &config, now());
    assert!(!push(&mut closed, "news"));

    let mut rejected = Connection::new(peer(), &config, now());
    let job = rejected.take_job(now()).unwrap();
    push(&mut rejected, "news");
    rejected.answered(job.answer(&CrLfBanner { accepts: false }, &config, TurnBudget::unlimited()), &config, now());
    assert!(!push(&mut rejected, "news"));
    assert_eq!(drive(&mut rejected, &ACCEPTING), b"error: not you\r\n");
}

#[test]
fn before_its_first_line_a_client_receives_the_line_ending_of_the_banner() {
    let config = ConnectionConfig::new(64, ConnectionTimeouts::DEFAULT, &Greeter);
    let start = now();
    let mut connection = Connection::new(peer(), &config, start);
    push(&mut connection, "early");
    let job = connection.take_job(start).unwrap();
    push(&mut connection, "meanwhile");
    connection.answered(job.answer(&ACCEPTING, &config, TurnBudget::unlimited()), &config, start);
    assert_eq!(drive(&mut connection, &ACCEPTING), b"ready\r\nearly\r\nmeanwhile\r\n");
    push(&mut connection, "later");
    assert_eq!(drive(&mut connection, &ACCEPTING), b"later\r\n");

    connection.received(b"Bob\n", &config, start);
    push(&mut connection, "news");
    assert_eq!(drive(&mut connection, &ACCEPTING), b"news\nBob\n");

    let mut silent = Connection::new(peer(), &config, start);
    drive(&mut silent, &ACCEPTING);
    silent.check_deadline(&config, now() + Duration::from_secs(300));
    assert_eq!(drive(&mut silent, &ACCEPTING), b"error: idle for 300s\r\n");
}

#[test]
fn a_line_before_the_banner_sets_the_line_ending() {
    let mut connection = connection();
    connection.received(b"Bob\n", &config(), now());
    let job = connection.take_job(now()).unwrap();
    push(&mut connection, "news");
    connection.answered(job.answer(&ACCEPTING, &config(), TurnBudget::unlimited()), &config(), now());
    assert_eq!(drive(&mut connection, &ACCEPTING), b"ready\r\nBob\nnews\n");
}

#[test]
fn a_client_that_is_not_accepted_receives_the_line_ending_of_the_banner() {
    let mut connection = connection();
    assert_eq!(drive(&mut connection, &CrLfBanner { accepts: false }), b"error: not you\r\n");
}

#[test]
fn lines_pushed_together_stay_together_and_raw_bytes_are_unchanged() {
    let mut connection = connection();
    drive(&mut connection, &Script);
    connection.received(b"a\r\n", &config(), now());
    let message =
        [PushMessage::lines(["one", "two"]).unwrap(), PushMessage::raw("$1\r\n\n\r\n"), PushMessage::line("").unwrap()];
    let pushed = "one\r\ntwo\r\n$1\r\n\n\r\n\r\n";

    let job = connection.take_job(now()).unwrap();
    for message in &message {
        connection.push(message, &config(), now());
    }
    connection.answered(job.answer(&Script, &config(), TurnBudget::unlimited()), &config(), now());
    assert_eq!(String::from_utf8_lossy(&drive(&mut connection, &Script)), format!("you said a\r\n{pushed}"));

    for message in &message {
        connection.push(message, &config(), now());
    }
    assert_eq!(String::from_utf8_lossy(&drive(&mut connection, &Script)), pushed);
}

#[test]
fn an_empty_push_is_not_an_empty_line() {
    let mut connection = connection::<Vec<String>>();
    drive(&mut connection, &Script);
    assert!(!connection.push(&PushMessage::lines([""; 0]).unwrap(), &config(), now()));
    assert!(!connection.push(&PushMessage::raw(""), &config(), now()));
    assert_eq!(drive(&mut connection, &Script), b"");
    assert!(PushMessage::lines(["one", "two\nthree"]).is_err());
}
