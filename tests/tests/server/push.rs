//! What is said unasked stays a line of its own, in order, and does not pile up.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use greeter_core::client_id;
use greeter_server::{
    BoxError, ClientId, CloseReason, Line, Peer, PushError, PushHandle, Reply, Responder, ServerHandle,
};
use greeter_tests::books::{at_rest, balanced};
use greeter_tests::client::{Client, lines_received, wait_until};
use greeter_tests::puppet::{Gate, Puppet};
use greeter_tests::{PLACEMENTS, answered_by, builder, spawn};

/// The only client's name.
fn only_client(server: &ServerHandle) -> ClientId {
    server.connections()[0].peer.id
}

#[test]
fn pushed_lines_never_get_into_a_reply_and_keep_their_order() {
    const LINES: usize = 3_000;
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).max_unsent_bytes(1 << 20).responder(Puppet::default()));
        let mut client = Client::connect(server.local_addr());
        assert_eq!(client.ask("echo first"), "first\n");
        let id = only_client(&server);
        let mut sender = client.sender();
        thread::scope(|scope| {
            scope.spawn(move || (0..LINES).for_each(|n| sender.send(format!("echo reply {n}\nbig 3000\n"))));
            let push = server.push();
            scope.spawn(move || {
                for n in 0..LINES {
                    match n % 2 {
                        0 => push.line(id, format!("pushed {n}")).expect("there is room"),
                        _ => push.broadcast(format!("pushed {n}")).expect("there is room"),
                    }
                    if n % 10 == 0 {
                        thread::yield_now();
                    }
                }
            });
            let (mut replies, mut pushed, mut big) = (0, 0, 0);
            while replies + pushed + big < 3 * LINES {
                let line = client.text();
                if line == format!("pushed {pushed}\n") {
                    pushed += 1;
                } else if line == format!("reply {replies}\n") {
                    replies += 1;
                } else {
                    assert!(line.len() == 3001 && line[..3000].bytes().all(|byte| byte == b'x'), "{line:?}");
                    assert_eq!(replies, big + 1, "the replies are in their order");
                    big += 1;
                }
            }
        });
        drop(client);
        let stats = at_rest(&server);
        assert_eq!(
            (stats.pushed, stats.lines, stats.replies),
            (LINES as u64, 2 * LINES as u64 + 1, 2 * LINES as u64 + 1)
        );
    }
}

#[test]
fn what_is_pushed_while_a_reply_is_made_comes_behind_it_in_the_clients_own_line_ending() {
    let puppet = Arc::new(Puppet::default());
    let server = spawn(builder().workers(1).responder(Arc::clone(&puppet)));
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.ask("echo first\r"), "first\r\n");
    client.send("hang late\r\n");
    wait_until("the line is being answered", || lines_received(&server) == 2);
    let id = only_client(&server);
    for n in 0..3 {
        server.push().line(id, format!("pushed {n}")).expect("there is room");
    }
    wait_until("all has arrived", || server.stats().pushed == 3);
    puppet.release();
    assert_eq!(client.finish(), b"late\r\npushed 0\r\npushed 1\r\npushed 2\r\n");
}

/// Says a banner, but takes its time.
struct SlowBanner(Arc<Gate>);

impl Responder for SlowBanner {
    type Session = ();

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        self.0.pass();
        reply.line("banner");
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(line);
        Ok(())
    }
}

/// Says something to itself whenever it is asked something.
struct Echo(PushHandle);

impl Responder for Echo {
    type Session = ClientId;

    fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<ClientId, BoxError> {
        self.0.line(peer.id, "pushed in connect")?;
        reply.line("banner");
        Ok(peer.id)
    }

    fn respond(&self, id: &mut ClientId, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        self.0.line(*id, format!("pushed in {}", line.to_str()?))?;
        reply.line(line);
        match line.as_bytes() {
            b"close" => reply.close(),
            b"fail" => {
                reply.close();
                return Err("as told".into());
            }
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn what_a_responder_pushes_as_it_closes_comes_behind_its_reply_and_before_the_end() {
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).responder_with(Echo));
        let said_first = "banner\npushed in connect\n";
        for (line, reply) in [("close", "close\n"), ("fail", "error: internal error\n")] {
            for _ in 0..100 {
                let mut client = Client::connect(server.local_addr());
                assert_eq!([client.text(), client.text()].concat(), said_first);
                client.send(format!("{line}\nmore\n"));
                let expected = format!("{reply}pushed in {line}\n");
                assert_eq!(String::from_utf8_lossy(&client.rest()), expected, "{workers} workers");
            }
        }
        // Whoever has stopped sending, too, and it may have done so before it was welcomed.
        for _ in 0..100 {
            let mut client = Client::connect(server.local_addr());
            assert_eq!(String::from_utf8_lossy(&client.finish()), said_first, "{workers} workers");
        }
        at_rest(&server);
    }
}

#[test]
fn nothing_is_pushed_before_the_banner() {
    for workers in PLACEMENTS {
        let gate = Arc::new(Gate::default());
        let server = spawn(answered_by(workers).connection_threads(1).responder(SlowBanner(Arc::clone(&gate))));
        // They come in together. The first one keeps the only worker, or the connection thread
        // itself; the others wait behind it.
        server.pause_accepting();
        let mut clients: Vec<_> = (0..20).map(|_| Client::connect(server.local_addr())).collect();
        server.resume_accepting();
        wait_until("they are here", || server.stats().accepted == 20);
        server.push().broadcast("pushed").expect("there is room");
        gate.open();
        for client in &mut clients {
            assert_eq!(client.text(), "banner\n");
        }
    }
}

#[test]
fn a_client_that_is_pushed_to_and_does_not_read_is_cut_off() {
    let text = "x".repeat(1000);
    for workers in PLACEMENTS {
        let server =
            spawn(answered_by(workers).write_timeout(None).max_unsent_bytes(10_000).responder(Puppet::default()));
        let mut reads = Client::connect(server.local_addr());
        assert_eq!(reads.ask("echo here"), "here\n");
        let never_reads = Client::connect_with_small_buffer(server.local_addr());
        wait_until("both are here", || server.stats().open() == 2);
        let mut said = 0;
        wait_until("it is cut off", || {
            server.push().broadcast(&text).expect("there is room");
            said += 1;
            assert_eq!(reads.text().trim_end(), text);
            server.stats().open() == 1
        });
        assert_eq!(server.stats().closed_by[CloseReason::WriteTimeout], 1);
        println!("cut off after {said} lines of 1,000 bytes");
        assert_eq!(reads.ask("echo still here"), "still here\n");
        drop((reads, never_reads));
        at_rest(&server);
    }
}

/// A connection thread that is busy with something else does not take what is pushed.
#[test]
fn what_nobody_takes_is_too_much_at_some_time_and_not_for_ever() {
    let puppet = Arc::new(Puppet::default());
    let server =
        spawn(builder().in_place().connection_threads(1).max_unsent_bytes(1 << 30).responder(Arc::clone(&puppet)));
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.ask("echo here"), "here\n");
    let id = only_client(&server);
    client.send("hang late\n");
    wait_until("the thread hangs", || server.stats().bytes_received == 20);
    let text = "x".repeat(1 << 20);
    let mut lines = 0;
    while server.push().line(id, &text).is_ok() {
        lines += 1;
        assert!(lines <= 16, "more than 16 MiB are under way");
    }
    assert_eq!(server.push().line(id, &text), Err(PushError::TooMuch));
    assert_eq!(server.push().broadcast(&text), Err(PushError::TooMuch));
    puppet.release();
    assert_eq!(client.text(), "late\n");
    for _ in 0..lines {
        assert_eq!(client.text().trim_end(), text);
    }
    assert_eq!(server.push().line(id, "again"), Ok(()));
    assert_eq!(client.text(), "again\n");
}

#[test]
fn what_is_pushed_to_nobody_takes_no_room() {
    let text = "x".repeat(1 << 20);
    let server = spawn(builder().responder(Puppet::default()));
    for name in [0, 1 << 25, u64::MAX] {
        for _ in 0..40 {
            wait_until("there is room", || server.push().line(client_id(name), &text) == Ok(()));
        }
    }
    assert!(matches!(server.push().line(client_id(0), "two\nlines"), Err(PushError::NotALine(_))));
    assert_eq!(server.stats().pushed, 0);
}

#[test]
fn what_is_pushed_after_the_stop_goes_nowhere() {
    let slot = Arc::new(Mutex::new(None::<PushHandle>));
    let server = spawn(builder().responder_with(|push| {
        assert_eq!(push.broadcast("early"), Err(PushError::NotStarted));
        *slot.lock().expect("nobody panics") = Some(push);
        Puppet::default()
    }));
    let push = slot.lock().expect("nobody panics").clone().expect("the responder was made");
    push.broadcast("early").expect("there is room");
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.ask("echo here"), "here\n");
    let report = server.shutdown(Duration::from_secs(10));
    balanced(&report.stats);
    assert_eq!(client.line(), None);
    for _ in 0..40 {
        assert_eq!(push.broadcast("x".repeat(1 << 20)), Ok(()), "nobody is there to whom it would be too much");
        assert_eq!(push.line(client_id(0), "x".repeat(1 << 20)), Ok(()));
    }
}

#[test]
fn lines_that_are_pushed_as_one_stay_together_whoever_else_pushes() {
    const ROUNDS: usize = 500;
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).max_unsent_bytes(1 << 20).responder(Puppet::default()));
        let mut client = Client::connect(server.local_addr());
        assert_eq!(client.ask("echo here\r"), "here\r\n");
        let id = only_client(&server);
        thread::scope(|scope| {
            let push = server.push();
            scope.spawn(move || (0..ROUNDS).for_each(|_| push.lines(id, ["a1", "a2"]).expect("there is room")));
            scope.spawn(move || (0..ROUNDS).for_each(|_| push.broadcast_lines(["b1", "b2"]).expect("there is room")));
            scope.spawn(move || (0..ROUNDS).for_each(|_| push.raw(id, "c1\nc2\r\n").expect("there is room")));
            scope.spawn(move || (0..ROUNDS).for_each(|_| push.broadcast_raw("d1\nd2\r\n").expect("there is room")));
        });
        for _ in 0..4 * ROUNDS {
            let pair = [client.text(), client.text()].concat();
            let pairs = ["a1\r\na2\r\n", "b1\r\nb2\r\n", "c1\nc2\r\n", "d1\nd2\r\n"];
            assert!(pairs.contains(&&*pair), "{pair:?}");
        }
        assert_eq!(server.stats().pushed, 4 * ROUNDS as u64);
        assert!(matches!(server.push().lines(id, ["one", "two\nthree"]), Err(PushError::NotALine(_))));
        assert_eq!(server.push().lines(id, [""; 0]), Ok(()));
        assert_eq!(client.ask("echo that is all\r"), "that is all\r\n");
    }
}

/// Neither one long piece nor many short ones at once say anything about a client that reads.
#[test]
fn whoever_reads_what_is_pushed_is_not_cut_off_however_much_comes_at_once() {
    const LIMIT: usize = 10_000;
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).max_unsent_bytes(LIMIT));
        let mut client = Client::connect(server.local_addr());
        assert_eq!(client.ask("Ann"), "Hello, Ann\n");
        let push = server.push();
        push.broadcast_raw(vec![b'x'; 10 * LIMIT]).expect("there is room");
        assert_eq!(client.bytes(10 * LIMIT), vec![b'x'; 10 * LIMIT]);
        for _ in 0..100 {
            push.broadcast("y".repeat(LIMIT / 10)).expect("there is room");
        }
        for _ in 0..100 {
            assert_eq!(client.text().len(), LIMIT / 10 + 1);
        }
        assert_eq!(client.ask("Ann"), "Hello, Ann\n");
        assert_eq!(server.stats().pushed, 101);
    }
}
