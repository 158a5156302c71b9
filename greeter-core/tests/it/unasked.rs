//! What is said to a client message: when it is heard, where it stands, and how its lines end.

use std::time::Duration;

use greeter_core::{
    BoxError, CloseAction, CloseReason, Connection, ConnectionConfig, ConnectionTimeouts, Greeter, Line, LineEnding,
    Peer, PushMessage, Rejection, Reply, Responder, TurnBudget, WhenRejected,
};

use crate::kit::{Script, connection, drive, end, now, peer};

/// Says a banner whose lines end in CR LF, to whoever it lets in.
struct CrLfBanner {
    lets_in: bool,
}

impl Responder for CrLfBanner {
    type Session = ();

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.end_lines_with(LineEnding::CrLf);
        reply.line("ready");
        if self.lets_in { Ok(()) } else { Err(Rejection::custom("not you").into()) }
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(line);
        Ok(())
    }
}

const WELCOME: CrLfBanner = CrLfBanner { lets_in: true };

fn push<S>(connection: &mut Connection<S>, text: &str) -> bool {
    connection.push(&PushMessage::line(text).expect("it holds no LF"), now())
}

#[test]
fn what_is_said_while_a_closing_reply_is_made_comes_behind_it() {
    let mut connection = connection();
    drive(&mut connection, &Script);
    connection.received(b"a\nquit\nb\n", now());
    let job = connection.take_job(now()).unwrap();
    assert!(push(&mut connection, "news"));
    connection.answered(job.answer(&Script, TurnBudget::unlimited()), now());
    assert_eq!(drive(&mut connection, &Script), b"you said a\nbye\nnews\n");
    assert_eq!(end(connection).0, CloseReason::ResponderClosed);
}

#[test]
fn until_our_end_of_the_stream_is_sent_everyone_hears_who_is_owed_replies() {
    let by_responder = |connection: &mut Connection<_>| connection.received(b"quit\n", now());
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
        assert_eq!(connection.close_action(), CloseAction::None, "what is said is sent first");
        assert_eq!(drive(&mut connection, &Script), b"news\n");
        if connection.close_action() == CloseAction::ShutdownWrite {
            connection.write_shut_down(now());
            assert!(!push(&mut connection, "late"));
        }
    }
}

#[test]
fn a_line_that_is_refused_and_is_the_end_comes_behind_replies_as_well() {
    let config = ConnectionConfig::new(10, ConnectionTimeouts::NONE, &Greeter).when_rejected(WhenRejected::Close);
    let mut connection = Connection::new(peer(), &config, now());
    drive(&mut connection, &Greeter);
    connection.received(b"Bob\nBartholomew\nAnn\n", now());
    let job = connection.take_job(now()).unwrap();
    assert!(push(&mut connection, "news"));
    connection.answered(job.answer(&Greeter, TurnBudget::unlimited()), now());
    assert_eq!(drive(&mut connection, &Greeter), b"Hello, Bob\nerror: line longer than 10 bytes\nnews\n");
    assert_eq!(end(connection).0, CloseReason::LineRejected);
}

#[test]
fn nobody_hears_who_is_sent_away_or_was_not_let_in() {
    let config = ConnectionConfig::new(64, ConnectionTimeouts::DEFAULT, &Greeter);
    let mut sent_away = Connection::new(peer(), &config, now());
    drive(&mut sent_away, &Greeter);
    sent_away.close_with(CloseReason::Overloaded, &config, now());
    assert!(!push(&mut sent_away, "news"));

    let mut rejected = Connection::new(peer(), &config, now());
    let job = rejected.take_job(now()).unwrap();
    push(&mut rejected, "news");
    rejected.answered(job.answer(&CrLfBanner { lets_in: false }, TurnBudget::unlimited()), now());
    assert!(!push(&mut rejected, "news"));
    assert_eq!(drive(&mut rejected, &WELCOME), b"error: not you\r\n");
}

#[test]
fn until_a_client_has_shown_how_its_lines_end_what_it_is_told_ends_as_the_banner() {
    let config = ConnectionConfig::new(64, ConnectionTimeouts::DEFAULT, &Greeter);
    let start = now();
    let mut connection = Connection::new(peer(), &config, start);
    push(&mut connection, "early");
    let job = connection.take_job(start).unwrap();
    push(&mut connection, "meanwhile");
    connection.answered(job.answer(&WELCOME, TurnBudget::unlimited()), start);
    assert_eq!(drive(&mut connection, &WELCOME), b"ready\r\nearly\r\nmeanwhile\r\n");
    push(&mut connection, "later");
    assert_eq!(drive(&mut connection, &WELCOME), b"later\r\n");

    connection.received(b"Bob\n", start);
    push(&mut connection, "news");
    assert_eq!(drive(&mut connection, &WELCOME), b"news\nBob\n");

    let mut silent = Connection::new(peer(), &config, start);
    drive(&mut silent, &WELCOME);
    silent.expired(now() + Duration::from_secs(300), &config);
    assert_eq!(drive(&mut silent, &WELCOME), b"error: idle for 300s\r\n");
}

#[test]
fn a_client_that_speaks_before_its_banner_has_shown_how_its_lines_end() {
    let mut connection = connection();
    connection.received(b"Bob\n", now());
    let job = connection.take_job(now()).unwrap();
    push(&mut connection, "news");
    connection.answered(job.answer(&WELCOME, TurnBudget::unlimited()), now());
    assert_eq!(drive(&mut connection, &WELCOME), b"ready\r\nBob\nnews\n");
}

#[test]
fn whoever_is_not_let_in_is_told_in_the_banners_line_ending() {
    let mut connection = connection();
    assert_eq!(drive(&mut connection, &CrLfBanner { lets_in: false }), b"error: not you\r\n");
}

#[test]
fn lines_said_together_stay_together_and_raw_bytes_stay_as_they_are() {
    let mut connection = connection();
    drive(&mut connection, &Script);
    connection.received(b"a\r\n", now());
    let message =
        [PushMessage::lines(["one", "two"]).unwrap(), PushMessage::raw("$1\r\n\n\r\n"), PushMessage::line("").unwrap()];
    let said = "one\r\ntwo\r\n$1\r\n\n\r\n\r\n";

    let job = connection.take_job(now()).unwrap();
    for message in &message {
        connection.push(message, now());
    }
    connection.answered(job.answer(&Script, TurnBudget::unlimited()), now());
    assert_eq!(String::from_utf8_lossy(&drive(&mut connection, &Script)), format!("you said a\r\n{said}"));

    for message in &message {
        connection.push(message, now());
    }
    assert_eq!(String::from_utf8_lossy(&drive(&mut connection, &Script)), said);
}

#[test]
fn to_say_nothing_is_not_to_say_an_empty_line() {
    let mut connection = connection::<Vec<String>>();
    drive(&mut connection, &Script);
    assert!(!connection.push(&PushMessage::lines([""; 0]).unwrap(), now()));
    assert!(!connection.push(&PushMessage::raw(""), now()));
    assert_eq!(drive(&mut connection, &Script), b"");
    assert!(PushMessage::lines(["one", "two\nthree"]).is_err());
}
