//! Checks how connections end, and that every line is accounted for.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use greeter_core::{
    BoxError, CloseAction, CloseReason, Connection, Greeter, Line, LineCounts, Peer, Reply, Responder, TurnBudget,
};

use crate::kit::{Script, config, connection, drive, end, now};

fn greeted() -> Connection<()> {
    let mut connection = connection();
    assert_eq!(drive(&mut connection, &Greeter), b"");
    connection
}

#[test]
fn a_client_that_stops_sending_still_gets_its_replies() {
    let mut connection = greeted();
    connection.received(b"a\nb\nunfinished", &config(), now());
    drive(&mut connection, &Greeter);
    connection.received_eof();
    assert_eq!(connection.take_counts(), LineCounts { lines: 2, replies: 2, discarded: 0, unfinished: 1 });
    assert_eq!(end(connection).0, CloseReason::ClientClosed);
}

#[test]
fn a_responder_that_closes_is_followed_by_a_lingering_read() {
    let mut connection = connection();
    connection.received(b"quit\na\nb\n", &config(), now());
    assert_eq!(drive(&mut connection, &Script), b"bye\n");
    assert_eq!(connection.take_counts(), LineCounts { lines: 3, replies: 1, discarded: 2, unfinished: 0 });
    assert_eq!(connection.close_action(), CloseAction::ShutdownWrite);
    let (start, config) = (now(), config());
    let until = start + Duration::from_secs(2);
    connection.write_shut_down(start);
    assert_eq!((connection.deadline(&config), connection.close_action()), (Some(until), CloseAction::None));

    // What still arrives is read, so that it cannot cause a reset, and is discarded.
    assert!(connection.wants_input());
    connection.received(b"c\nd\n", &config, now());
    assert!(connection.take_job(now()).is_none());
    assert_eq!(connection.take_counts(), LineCounts::default());
    connection.check_deadline(&config, until - Duration::from_millis(1));
    assert_eq!(connection.close_action(), CloseAction::None);
    connection.check_deadline(&config, until);
    assert_eq!(connection.close_action(), CloseAction::Close(CloseReason::ResponderClosed));
}

/// Sends one line to each client, and closes.
struct Status;

impl Responder for Status {
    type Session = ();

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line("up");
        reply.close();
        Ok(())
    }

    fn respond(&self, (): &mut (), _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
        unreachable!("the banner closes the connection")
    }
}

#[test]
fn a_client_that_has_stopped_sending_is_closed_without_lingering() {
    let mut connection = connection();
    connection.received_eof();
    assert_eq!(drive(&mut connection, &Status), b"up\n");
    assert_eq!(connection.close_action(), CloseAction::Close(CloseReason::ResponderClosed));
}

#[test]
fn a_stop_answers_what_has_arrived_and_no_more() {
    let mut connection = greeted();
    connection.stop(1000);
    assert!(connection.wants_input(), "what has arrived is read");
    connection.received(b"a\nb\nunfin", &config(), now());
    assert_eq!(drive(&mut connection, &Greeter), b"Hello, a\nHello, b\n");
    connection.received(b"ished\n", &config(), now());
    assert_eq!(drive(&mut connection, &Greeter), b"Hello, unfinished\n");
    connection.read_would_block();
    assert!(!connection.wants_input());
    assert_eq!(connection.close_action(), CloseAction::ShutdownWrite);
    assert_eq!(end(connection).0, CloseReason::Shutdown);
}

#[test]
fn a_client_that_continues_to_send_does_not_delay_a_stop() {
    let mut connection = greeted();
    connection.stop(6);
    for _ in 0..3 {
        connection.received(b"a\n", &config(), now());
        assert_eq!(drive(&mut connection, &Greeter), b"Hello, a\n");
    }
    assert!(!connection.wants_input());
    assert_eq!(connection.close_action(), CloseAction::ShutdownWrite);
}

#[test]
fn a_connection_that_is_done_keeps_its_reason() {
    let mut connection = connection();
    connection.received(b"quit\n", &config(), now());
    drive(&mut connection, &Script);
    connection.write_shut_down(Instant::now() + Duration::from_secs(2));
    connection.abort(CloseReason::Lost);
    assert_eq!(end(connection).0, CloseReason::ResponderClosed);
}

#[test]
fn a_stop_ends_an_idle_connection() {
    let mut connection = greeted();
    connection.stop(0);
    assert_eq!(connection.close_action(), CloseAction::ShutdownWrite);
    assert_eq!(end(connection).0, CloseReason::Shutdown);
}

#[test]
fn a_stop_waits_for_the_job_and_then_reads_on() {
    let mut connection = greeted();
    connection.received(b"a\n", &config(), now());
    let job = connection.take_job(now()).unwrap();
    connection.stop(1000);
    assert_eq!((connection.wants_input(), connection.close_action()), (false, CloseAction::None));
    connection.answered(job.answer(&Greeter, &config(), TurnBudget::unlimited()), &config(), now());
    assert_eq!(drive(&mut connection, &Greeter), b"Hello, a\n");
    connection.received(b"b\n", &config(), now());
    assert_eq!(drive(&mut connection, &Greeter), b"Hello, b\n");
    connection.read_would_block();
    assert_eq!(connection.close_action(), CloseAction::ShutdownWrite);
}

#[test]
fn what_a_broken_connection_was_owed_is_counted_as_discarded() {
    let mut connection = greeted();
    connection.received(b"a\nb\nc\n", &config(), now());
    connection.abort(CloseReason::Lost);
    assert_eq!(connection.take_counts(), LineCounts { lines: 3, replies: 0, discarded: 3, unfinished: 0 });
    assert!(connection.take_job(now()).is_none() && !connection.wants_input());

    // Answered, and half sent.
    let mut connection = greeted();
    connection.received(b"a\nb\nc\n", &config(), now());
    let job = connection.take_job(now()).unwrap();
    connection.answered(job.answer(&Greeter, &config(), TurnBudget::unlimited()), &config(), now());
    connection.wrote(12, now());
    connection.abort(CloseReason::Lost);
    assert_eq!(connection.take_counts(), LineCounts { lines: 3, replies: 0, discarded: 3, unfinished: 0 });
    assert_eq!(connection.unsent(), b"");
}

#[test]
fn replies_for_a_connection_that_is_over_are_discarded() {
    let mut connection = greeted();
    connection.received(b"a\nb\n", &config(), now());
    let job = connection.take_job(now()).unwrap();
    connection.abort(CloseReason::Lost);
    assert_eq!(connection.take_counts(), LineCounts { lines: 2, replies: 0, discarded: 2, unfinished: 0 });
    assert_eq!((connection.close_action(), connection.has_job()), (CloseAction::Close(CloseReason::Lost), false));
    connection.answered(job.answer(&Greeter, &config(), TurnBudget::unlimited()), &config(), now());
    assert_eq!(connection.unsent(), b"");
    assert_eq!(connection.take_counts(), LineCounts::default());
    assert_eq!(end(connection).0, CloseReason::Lost);
}

/// Records each disconnect and its reason.
#[derive(Default)]
struct Disconnects(Mutex<Vec<String>>);

impl Responder for Disconnects {
    type Session = String;

    fn connect(&self, peer: &Peer, _: &mut Reply<'_>) -> Result<String, BoxError> {
        Ok(peer.address.to_string())
    }

    fn respond(&self, _: &mut String, _: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn disconnect(&self, address: String, reason: CloseReason) {
        self.0.lock().expect("no holder of the lock panics").push(format!("{address}: {reason}"));
    }
}

#[test]
fn the_responder_receives_the_disconnect_and_its_reason() {
    let responder = Disconnects::default();
    let mut connection = connection();
    drive(&mut connection, &responder);
    connection.received_eof();
    end(connection).1.unwrap().notify(&responder).unwrap();
    assert_eq!(responder.0.into_inner().unwrap(), ["192.0.2.1:4000: the client stopped sending"]);
}

#[test]
fn a_client_that_was_never_connected_has_no_disconnect() {
    let mut connection = connection::<()>();
    connection.abort(CloseReason::Lost);
    assert!(end(connection).1.is_none());
}

#[test]
fn a_client_that_stops_at_once_still_gets_its_banner() {
    let mut connection = connection();
    connection.received_eof();
    let job = connection.take_job(now()).unwrap();
    connection.answered(job.answer(&Greeter, &config(), TurnBudget::unlimited()), &config(), now());
    assert_eq!(end(connection).0, CloseReason::ClientClosed);
}
