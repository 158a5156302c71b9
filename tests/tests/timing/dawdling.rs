//! Who dawdles is told and sent off when its time is over; who is only waited for by others, or
//! comes in time, never is.

use std::time::{Duration, Instant};

use greeter_server::{BoxError, CloseReason, Line, Peer, Rejection, Reply, Responder, ServerHandle};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::puppet::Puppet;
use greeter_tests::size::{figure, sized};
use greeter_tests::{answered_by, beside_others, in_both_placements, spawn};

fn limit() -> Duration {
    Duration::from_secs(sized(2, 5))
}

/// A server on which nobody may dawdle for longer than the limit.
fn impatient(workers: usize) -> ServerHandle {
    let builder = answered_by(workers).responder(Puppet::default());
    spawn(builder.line_timeout(limit()).idle_timeout(limit()).linger_timeout(limit()))
}

/// Whatever was waited for came when its time was over: never before, and soon after.
#[track_caller]
fn assert_in_time(what: &str, since: Instant) {
    let took = since.elapsed();
    figure(what, format!("{took:?} of {:?}", limit()));
    assert!(took >= limit(), "{what}: after {took:?}");
    assert!(took <= limit() + sized(Duration::from_secs(10), Duration::from_millis(500)), "{what}: after {took:?}");
}

#[test]
fn a_byte_now_and_then_does_not_keep_a_line_open() {
    let _others = beside_others();
    in_both_placements(|workers| {
        let server = impatient(workers);
        let mut drip = Client::connect(server.local_addr());
        drip.send("echo ");
        let began = Instant::now();
        while drip.hears_nothing_for(limit() / 8) {
            assert!(began.elapsed() < 10 * limit(), "a byte now and then keeps it open");
            drip.send("A");
        }
        assert_eq!(drip.text(), format!("error: line not finished within {:?}\n", limit()));
        assert_in_time("a byte now and then", began);
        assert_eq!(drip.line(), None);
        drop(drip);
        let stats = at_rest(&server);
        assert_eq!((stats.closed_by[CloseReason::LineTimeout], stats.unfinished_lines), (1, 1));
    });
}

#[test]
fn who_says_nothing_is_told_and_sent_off() {
    let _others = beside_others();
    in_both_placements(|workers| {
        let server = impatient(workers);
        let began = Instant::now();
        let mut silent = Client::connect(server.local_addr());
        assert_eq!(silent.text(), format!("error: idle for {:?}\n", limit()));
        assert_in_time("silence", began);
        assert_eq!(silent.line(), None);
        drop(silent);
        assert_eq!(at_rest(&server).closed_by[CloseReason::IdleTimeout], 1);
    });
}

/// Repeats lines, and has no words for who says none.
struct Discreet;

impl Responder for Discreet {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(line);
        Ok(())
    }

    fn reject(&self, _: Option<&mut ()>, rejection: Rejection, reply: &mut Reply<'_>) {
        match rejection {
            Rejection::IdleTimeout { .. } => {}
            rejection => reply.line(format_args!("error: {rejection}")),
        }
    }
}

/// Who keeps a connection for the next request finds its end there, and nothing that could be taken
/// for the answer.
#[test]
fn who_says_nothing_is_sent_off_in_silence_where_the_responder_has_no_words_for_it() {
    let _others = beside_others();
    in_both_placements(|workers| {
        let server = spawn(answered_by(workers).responder(Discreet).idle_timeout(limit()));
        let mut keeper = Client::connect(server.local_addr());
        assert_eq!(keeper.ask("Bob"), "Bob\n");
        assert_eq!(keeper.line(), None);
        drop(keeper);
        assert_eq!(at_rest(&server).closed_by[CloseReason::IdleTimeout], 1);
    });
}

#[test]
fn a_line_now_and_then_keeps_a_client_for_ever() {
    let _others = beside_others();
    in_both_placements(|workers| {
        let server = impatient(workers);
        let mut steady = Client::connect(server.local_addr());
        let began = Instant::now();
        while began.elapsed() < 3 * limit() {
            assert_eq!(steady.ask("echo still here"), "still here\n");
            assert!(steady.hears_nothing_for(limit() / 5));
        }
        drop(steady);
        assert_eq!(at_rest(&server).closed_by[CloseReason::ClientClosed], 1);
    });
}

/// Neither the line that is being answered nor the one behind it is the client's to hurry.
#[test]
fn who_waits_for_an_answer_is_not_dawdling() {
    let _others = beside_others();
    in_both_placements(|workers| {
        let server = impatient(workers);
        let mut patient = Client::connect(server.local_addr());
        let work = 2 * limit().as_millis();
        patient.send(format!("sleep {work} worth waiting for\necho half"));
        assert_eq!(patient.text(), "worth waiting for\n");
        let asked = Instant::now();
        patient.send(" and half\n");
        assert_eq!(patient.text(), "half and half\n");
        assert_eq!(patient.text(), format!("error: idle for {:?}\n", limit()));
        assert_in_time("silence after an answer", asked);
        drop(patient);
        at_rest(&server);
    });
}

#[test]
fn who_does_not_close_after_the_end_is_closed_on_however_much_it_sends() {
    let _others = beside_others();
    in_both_placements(|workers| {
        let server = impatient(workers);
        let mut client = Client::connect(server.local_addr());
        let began = Instant::now();
        assert_eq!(client.ask("quit"), "bye\n");
        assert_eq!(client.line(), None);
        let sender = client.sender();
        wait_until("lingering is over", || {
            // What it sends is thrown away; and once the server has closed, so is the connection.
            sender.send_if_taken("more and more\n");
            server.stats().open() == 0
        });
        assert_in_time("lingering", began);
        let stats = at_rest(&server);
        assert_eq!((stats.lines, stats.closed_by[CloseReason::ResponderClosed]), (1, 1));
    });
}
