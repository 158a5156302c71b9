//! Clients that the server lets go, and how it lets them come.

use std::time::{Duration, Instant};

use greeter_server::{BoxError, CloseReason, ConnectionInfo, Line, Peer, Phase, Rejection, Reply, Responder};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::puppet::Puppet;
use greeter_tests::{answered_by, in_both_placements, spawn};

const SOON: Duration = Duration::from_millis(50);

#[test]
fn a_session_that_has_lasted_long_enough_ends_when_nothing_is_owed() {
    in_both_placements(|workers| {
        let puppet = std::sync::Arc::new(Puppet::default());
        let server = spawn(answered_by(workers).max_session_time(SOON).responder(std::sync::Arc::clone(&puppet)));
        let mut idle = Client::connect(server.local_addr());
        assert_eq!(idle.rest(), b"error: session over\n");
        // What has begun is finished.
        let mut reading = Client::connect(server.local_addr());
        reading.send("echo a\necho ");
        assert_eq!(reading.text(), "a\n");
        assert!(reading.hears_nothing_for(SOON * 2));
        reading.send("b\n");
        assert_eq!(reading.rest(), b"b\nerror: session over\n");
        if workers > 0 {
            let mut answered = Client::connect(server.local_addr());
            answered.send("hang c\n");
            assert!(answered.hears_nothing_for(SOON * 2));
            puppet.release();
            assert_eq!(answered.rest(), b"c\nerror: session over\n");
        }
        drop((idle, reading));
        let closed = at_rest(&server).closed_by[CloseReason::SessionTimeout];
        assert_eq!(closed, if workers > 0 { 3 } else { 2 });
    });
}

/// Says nothing when a session is over, since its clients would take it for a reply.
struct Terse;

impl Responder for Terse {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(line.as_bytes());
        Ok(())
    }

    fn reject(&self, _: Option<&mut ()>, rejection: Rejection, reply: &mut Reply<'_>) {
        if rejection != Rejection::SessionTimeout {
            reply.line(format_args!("no: {rejection}"));
        }
    }
}

#[test]
fn a_responder_may_let_sessions_end_without_a_word() {
    let server = spawn(answered_by(1).max_session_time(SOON).responder(Terse));
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_stop_lets_idle_clients_go_one_after_the_other() {
    in_both_placements(|workers| {
        let server = spawn(answered_by(workers).drain_spread(Duration::from_secs(1)));
        let mut clients: Vec<_> = (0..40).map(|_| Client::connect(server.local_addr())).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("Bob"), "Hello, Bob\n"));
        server.shutdown_trigger().trigger(PATIENCE);
        let is_let_go = |client: &ConnectionInfo| client.phase == Phase::Lingering;
        wait_until("the first is let go", || server.connections().iter().any(is_let_go));
        // The others are served as ever: whoever is not gone yet has its reply.
        clients.iter_mut().for_each(|client| _ = client.try_send(b"Ann\n"));
        let replies: Vec<_> = clients.iter_mut().map(Client::rest).collect();
        assert!(replies.iter().all(|reply| reply.is_empty() || reply == b"Hello, Ann\n"), "{replies:?}");
        let answered = replies.iter().filter(|reply| !reply.is_empty()).count();
        assert!(answered > 0, "all were let go at once");
        drop(clients);
        let report = server.wait();
        assert_eq!((report.discarded, report.overran, report.stats.closed_by[CloseReason::Shutdown]), (0, 0, 40));
    });
}

#[test]
fn a_stop_is_never_longer_for_those_who_are_let_go() {
    let server = spawn(answered_by(1).drain_spread(Duration::from_secs(100_000)));
    let clients: Vec<_> = (0..10).map(|_| Client::connect(server.local_addr())).collect();
    wait_until("they are in", || server.stats().served == 10);
    let trigger = server.shutdown_trigger().clone();
    trigger.trigger(Duration::from_secs(100_000));
    // An earlier end lets all of them go.
    trigger.trigger(PATIENCE);
    for mut client in clients {
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(server.wait().overran, 0);
}

#[test]
fn no_more_clients_are_accepted_than_a_rate_allows() {
    let server = spawn(answered_by(1).max_accept_rate(20));
    let begun = Instant::now();
    let mut clients: Vec<_> = (0..12).map(|_| Client::connect(server.local_addr())).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("Bob"), "Hello, Bob\n"));
    // A tenth of a second's worth comes at once, and the others one each 50 ms.
    assert!(begun.elapsed() >= Duration::from_millis(9 * 50), "{:?}", begun.elapsed());
    clients.extend((0..10).map(|_| Client::connect(server.local_addr())));
    // A stop waits for nobody's turn.
    clients[12..].iter_mut().for_each(|client| client.send("Ann\n"));
    server.shutdown_trigger().trigger(PATIENCE);
    for client in &mut clients[12..] {
        assert_eq!(client.rest(), b"Hello, Ann\n");
    }
    drop(clients);
    assert_eq!(server.wait().discarded, 0);
}

#[test]
fn whoever_comes_and_says_nothing_is_counted_apart() {
    in_both_placements(|workers| {
        let server = spawn(answered_by(workers));
        let silent = Client::connect(server.local_addr());
        let broken_off = Client::connect(server.local_addr());
        let mut client = Client::connect(server.local_addr());
        assert_eq!(client.ask("Bob"), "Hello, Bob\n");
        wait_until("they are in", || server.stats().served == 3);
        broken_off.reset();
        drop((silent, client));
        let stats = at_rest(&server);
        assert_eq!((stats.silent_visits, stats.closed), (2, 3));
    });
}
