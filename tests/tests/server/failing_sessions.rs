//! A responder may fail wherever it is called, and where nobody calls it: when what it left behind
//! is dropped.

use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use greeter_server::{BoxError, CloseReason, Line, Peer, Rejection, Reply, Responder};
use greeter_tests::books::{at_rest, balanced};
use greeter_tests::client::{Client, wait_until};
use greeter_tests::puppet::silence_panics;
use greeter_tests::{PLACEMENTS, answered_by, spawn};

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("as told, by a drop");
        }
    }
}

/// Its sessions panic when they are dropped, and so does what it panics with.
struct Explosive;

impl Responder for Explosive {
    type Session = Bomb;

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<Bomb, BoxError> {
        Ok(Bomb)
    }

    fn respond(&self, _: &mut Bomb, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match line.to_str()?.split_once(' ') {
            Some(("sleep", duration)) => thread::sleep(Duration::from_millis(duration.parse()?)),
            Some(_) => panic_any(Bomb),
            None => {}
        }
        reply.line(line);
        Ok(())
    }
}

#[test]
fn sessions_that_panic_at_their_end_cost_nobody_anything() {
    const CLIENTS: usize = 50;
    silence_panics();
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).responder(Explosive));
        for number in 0..CLIENTS {
            let mut client = Client::connect(server.local_addr());
            assert_eq!(client.ask("first"), "first\n");
            if number % 2 == 0 {
                client.reset();
            }
        }
        assert_eq!(at_rest(&server).replies, CLIENTS as u64);
        assert_eq!(server.workers().len(), workers);
        assert_eq!(Client::connect(server.local_addr()).ask("last"), "last\n");
    }
}

#[test]
fn a_panic_whose_own_remains_panic_costs_one_line() {
    silence_panics();
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).responder(Explosive));
        let mut client = Client::connect(server.local_addr());
        client.send("before\npanic now\nafter\n");
        for reply in ["before\n", "error: internal error\n", "after\n"] {
            assert_eq!(client.text(), reply);
        }
        drop(client);
        assert_eq!(at_rest(&server).responder_errors, 1);
        assert_eq!(server.workers().len(), workers);
    }
}

/// Lines lie wherever lines can lie when time is up: with workers, before and behind them.
#[test]
fn sessions_that_panic_at_their_end_do_not_disturb_a_stop_that_runs_out_of_time() {
    const CLIENTS: usize = 40;
    silence_panics();
    for workers in PLACEMENTS {
        for round in 0..10 {
            let server = spawn(answered_by(workers).connection_threads(2).responder(Explosive));
            let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(server.local_addr())).collect();
            clients.iter_mut().for_each(|client| client.send("sleep 1\n".repeat(20)));
            wait_until("replies flow", || server.stats().replies > round * 5);
            let report = server.shutdown(Duration::from_millis(round));
            assert_eq!(report.threads_left, 0, "{report:?}");
            balanced(&report.stats);
        }
    }
}

/// Fails wherever it is asked to, by the number of the client: each third one as it comes, each as
/// it goes.
#[derive(Default)]
struct Hopeless {
    clients: AtomicU64,
    farewells: AtomicU64,
}

impl Responder for Hopeless {
    type Session = ();

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line("welcome");
        match self.clients.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => Ok(()),
            1 => panic!("as told, in connect"),
            _ => Err("as told".into()),
        }
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(line);
        Ok(())
    }

    fn reject(&self, _session: Option<&mut Self::Session>, rejection: Rejection, reply: &mut Reply<'_>) {
        reply.line("half a rejection");
        panic!("as told, in reject: {rejection}");
    }

    fn disconnect(&self, (): (), _: CloseReason) {
        self.farewells.fetch_add(1, Ordering::SeqCst);
        panic!("as told, in disconnect");
    }
}

#[test]
fn a_responder_that_fails_in_every_call_still_costs_each_client_its_own_line_only() {
    const CLIENTS: u64 = 30;
    silence_panics();
    for workers in PLACEMENTS {
        let responder = Arc::new(Hopeless::default());
        let server = spawn(answered_by(workers).max_line_bytes(20).responder(Arc::clone(&responder)));
        for number in 0..CLIENTS {
            let mut client = Client::connect(server.local_addr());
            let too_long = "x".repeat(21);
            client.send(format!("first\n{too_long}\nlast\n"));
            client.finish_sending();
            let expected = match number % 3 {
                0 => "welcome\nfirst\nerror: internal error\nlast\n",
                _ => "error: internal error\n",
            };
            assert_eq!(String::from_utf8_lossy(&client.rest()), expected, "client {number}");
        }
        let stats = at_rest(&server);
        assert_eq!((stats.replies, stats.responder_errors), (CLIENTS, CLIENTS / 3 + CLIENTS / 3 * 4), "{stats:?}");
        assert_eq!(server.workers().len(), workers);
        assert_eq!(server.shutdown(Duration::from_secs(10)).threads_left, 0);
        assert_eq!(responder.farewells.load(Ordering::SeqCst), CLIENTS / 3);
    }
}
