//! What a responder says to a client that has stopped sending.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use greeter_server::{BoxError, CloseReason, Later, Line, Peer, Phase, Reply, Responder, ServerHandle};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::{PLACEMENTS, answered_by, spawn};

use crate::kit::{TlsEnd, VERSIONS, World};

/// Says how many lines there were, later if the last was `later`.
struct Count(Mutex<Sender<(u32, Later)>>);

impl Responder for Count {
    /// How many lines there were, and whether to say so later.
    type Session = (u32, bool);

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(u32, bool), BoxError> {
        Ok((0, false))
    }

    fn respond(&self, count: &mut (u32, bool), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        *count = (count.0 + 1, line.as_bytes() == b"later");
        match line.as_bytes() {
            b"quit" => reply.close(),
            b"big" => reply.line("x".repeat(1_000_000)),
            _ => {}
        }
        Ok(())
    }

    fn wants_end_of_input(&self) -> bool {
        true
    }

    fn end_of_input(
        &self,
        (lines, is_later): &mut (u32, bool),
        _: CloseReason,
        reply: &mut Reply<'_>,
    ) -> Result<(), BoxError> {
        if *is_later {
            self.0.lock().expect("nobody panics with it").send((*lines, reply.later()))?;
        } else {
            reply.line(format_args!("{lines} in all"));
        }
        Ok(())
    }
}

fn count(workers: usize) -> (ServerHandle, Receiver<(u32, Later)>) {
    let (sender, asked) = channel();
    (spawn(answered_by(workers).responder(Count(Mutex::new(sender)))), asked)
}

#[test]
fn a_stop_ends_the_input_of_all_clients() {
    for workers in PLACEMENTS {
        let (server, asked) = count(workers);
        let mut clients: Vec<_> = (0..5).map(|_| Client::connect(server.local_addr())).collect();
        clients.iter_mut().for_each(|client| client.send("a\nlater\n"));
        let mut last = Client::connect(server.local_addr());
        last.send("a\nb\nun");
        wait_until("all lines are answered", || server.stats().replies == 12);
        let stopper = std::thread::spawn(move || server.shutdown(Duration::from_secs(30)));
        assert_eq!(String::from_utf8_lossy(&last.rest()), "2 in all\n");
        drop(last);
        for _ in 0..5 {
            let (lines, later) = asked.recv().expect("it is told");
            later.line(format_args!("{lines}, later"));
        }
        for mut client in clients {
            assert_eq!(String::from_utf8_lossy(&client.rest()), "2, later\n");
        }
        let report = stopper.join().expect("it does not panic");
        assert_eq!((report.discarded, report.threads_left), (0, 0));
    }
}

#[test]
fn a_client_that_stops_sending_is_told_what_it_has_sent() {
    for workers in PLACEMENTS {
        let (server, _) = count(workers);
        for (sent, received) in [("", "0 in all\n"), ("a\nb\nunfinished", "2 in all\n"), ("quit\n", "")] {
            let mut client = Client::connect(server.local_addr());
            client.send(sent);
            assert_eq!(String::from_utf8_lossy(&client.finish()), received);
        }
        let mut client = Client::connect(server.local_addr());
        client.send("big\nbig\nbig\n");
        client.finish_sending();
        let received = client.rest();
        assert_eq!((received.len(), received.ends_with(b"x\n3 in all\n")), (3_000_003 + 9, true));
        let stats = at_rest(&server);
        assert_eq!((stats.lines, stats.replies, stats.discarded), (6, 6, 0));
    }
}

#[test]
fn what_is_said_later_is_waited_for_also_while_the_server_stops() {
    for workers in PLACEMENTS {
        for stops in [false, true] {
            let (server, asked) = count(workers);
            let mut client = Client::connect(server.local_addr());
            client.send("a\nlater\n");
            client.finish_sending();
            let (lines, later) = asked.recv().expect("it is told");
            wait_until("it is parked", || server.connections()[0].phase == Phase::Parked);
            let id = server.connections()[0].peer.id;
            server.push().line(id, "news").expect("there is room");
            assert_eq!(client.text(), "news\n");
            if stops {
                server.shutdown_trigger().trigger(std::time::Duration::from_secs(30));
            }
            later.line(format_args!("{lines} after all"));
            assert_eq!(client.rest(), b"2 after all\n");
            assert_eq!(at_rest(&server).closed_by[CloseReason::ClientClosed], 1);
        }
    }
}

#[test]
fn in_tls_it_is_what_says_that_nothing_follows() {
    let world = World::new();
    let (sender, _asked) = channel();
    let server = world.spawn(answered_by(2).responder(Count(Mutex::new(sender))));
    for version in VERSIONS {
        for has_fin in [true, false] {
            let mut client = world.connect_in(version, &server);
            client.send("a\nb\n");
            client.close_notify();
            if has_fin {
                client.shut_down();
            }
            assert_eq!(client.rest(), ("2 in all\n".to_owned(), TlsEnd::CloseNotify));
        }
    }
    at_rest(&server);
}
