//! The list of connections says what each is doing, and for how long.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use greeter_server::{BoxError, ConnectionInfo, Line, Peer, Phase, Reply, Responder, ServerHandle, WorkerInfo};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::{beside_others, builder, spawn};

/// Answers `big` with more than any socket takes, `quit` with the end, and `wait` once it is
/// released.
struct Gate(Mutex<Receiver<()>>);

impl Responder for Gate {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match line.as_bytes() {
            b"big" => reply.line(vec![b'x'; 32 * 1024 * 1024]),
            b"quit" => reply.close(),
            b"wait" => {
                self.0.lock().expect("nobody panics").recv()?;
                reply.line("at last");
            }
            _ => reply.line(line),
        }
        Ok(())
    }
}

fn find(client: &Client, server: &ServerHandle) -> Option<ConnectionInfo> {
    server.connections().into_iter().find(|connection| connection.peer.address == client.local_addr())
}

#[track_caller]
fn of(client: &Client, server: &ServerHandle) -> ConnectionInfo {
    find(client, server).expect("it is connected")
}

#[track_caller]
fn wait_for(phase: Phase, client: &Client, server: &ServerHandle) {
    let is_in_it = || find(client, server).is_some_and(|connection| connection.phase == phase);
    wait_until(&format!("it is in {phase:?}"), is_in_it);
}

#[test]
fn each_phase_is_seen_with_its_time_and_its_figures() {
    let _others = beside_others();
    let began = Instant::now();
    let (release, released) = channel();
    let server =
        spawn(builder().workers(1).responder(Gate(Mutex::new(released))).linger_timeout(Duration::from_secs(60)));
    let connect = || Client::connect(server.local_addr());

    let (mut idle, mut queued) = (connect(), connect());
    assert_eq!((idle.ask("hello"), queued.ask("hello")), ("hello\n".to_owned(), "hello\n".to_owned()));
    wait_for(Phase::Idle, &idle, &server);
    let mut reading = connect();
    reading.send("one\nhalf a li");
    assert_eq!(reading.text(), "one\n");
    wait_for(Phase::Reading, &reading, &server);
    let mut lingering = connect();
    lingering.send("quit\n");
    assert_eq!(lingering.line(), None);
    wait_for(Phase::Lingering, &lingering, &server);
    let mut writing = connect();
    writing.send("big\n");
    wait_for(Phase::Writing, &writing, &server);
    let mut answering = connect();
    // Connecting is answering, too, and must be over.
    assert_eq!(answering.ask("hello"), "hello\n");
    answering.send("wait\n");
    wait_for(Phase::Answering, &answering, &server);
    queued.send("hello\n");
    wait_for(Phase::Queued, &queued, &server);

    // Nothing moves now but time.
    let all = [&idle, &reading, &lingering, &writing, &answering, &queued];
    let before = all.map(|client| of(client, &server));
    let mark = Instant::now();
    wait_until("some time has passed", || mark.elapsed() >= Duration::from_millis(100));
    let after = all.map(|client| of(client, &server));
    // How old a connection is, is known to the millisecond.
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((after.phase, &after.peer), (before.phase, &before.peer));
        for (later, earlier) in [(after.age, before.age), (after.in_phase, before.in_phase)] {
            assert!(later + Duration::from_millis(1) >= earlier + Duration::from_millis(100), "{before:?} {after:?}");
            assert!(later <= began.elapsed(), "{after:?}");
        }
        assert!(after.in_phase <= after.age + Duration::from_millis(1), "{after:?}");
    }
    let [idle_is, reading_is, _, writing_is, answering_is, queued_is] = after;
    assert_eq!((queued_is.lines, queued_is.bytes_received, queued_is.bytes_sent), (2, 12, 6));
    assert_eq!((idle_is.lines, idle_is.bytes_received, idle_is.bytes_sent, idle_is.bytes_held), (1, 6, 6, 0));
    assert_eq!((reading_is.lines, reading_is.bytes_received), (1, 13));
    assert!((9..100).contains(&reading_is.bytes_held), "{reading_is:?}");
    assert!(writing_is.bytes_held > 1024 * 1024 && writing_is.bytes_sent > 0, "{writing_is:?}");
    assert!(matches!(&server.workers()[..], [WorkerInfo::Busy { peer, .. }] if *peer == answering_is.peer));

    release.send(()).expect("the responder waits");
    assert_eq!(answering.text(), "at last\n");
    assert_eq!(queued.text(), "hello\n");
    assert_eq!(writing.text().len(), 32 * 1024 * 1024 + 1);
    wait_for(Phase::Idle, &writing, &server);
    drop((idle, reading, lingering, writing, answering, queued));
    at_rest(&server);
}

/// Where the connection threads answer, one of them that does not come back cannot be asked; the
/// others can.
#[test]
fn a_thread_that_is_stuck_in_the_responder_does_not_hide_the_others() {
    let _others = beside_others();
    let (release, released) = channel();
    let server = spawn(builder().in_place().connection_threads(2).responder(Gate(Mutex::new(released))));
    let mut stuck = Client::connect(server.local_addr());
    let mut free = Client::connect(server.local_addr());
    assert_eq!((stuck.ask("hello"), free.ask("hello")), ("hello\n".to_owned(), "hello\n".to_owned()));
    stuck.send("wait\n");
    // The list is there after a second, whoever is stuck.
    wait_until("only one thread answers", || server.connections().len() == 1);
    assert_eq!(of(&free, &server).phase, Phase::Idle);
    release.send(()).expect("the responder waits");
    assert_eq!(stuck.text(), "at last\n");
    assert_eq!(server.connections().len(), 2);
}

/// Lists the connections, and says how many there are and whether that took as long as a thread is
/// waited for.
struct Census(OnceLock<ServerHandle>);

impl Responder for Census {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), _: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let began = Instant::now();
        let seen = self.0.get().ok_or("the server has not started")?.connections().len();
        reply.line(format_args!("{seen} {}", began.elapsed() >= Duration::from_secs(1)));
        Ok(())
    }
}

/// In place, a responder that asks for the list stands on one of the threads that are asked.
#[test]
fn a_responder_in_place_that_lists_connections_does_not_wait_for_its_own_thread() {
    let _others = beside_others();
    let census = Arc::new(Census(OnceLock::new()));
    let server = spawn(builder().in_place().connection_threads(2).responder(Arc::clone(&census)));
    assert!(census.0.set(server.clone()).is_ok());
    let mut clients = [(); 2].map(|()| Client::connect(server.local_addr()));
    assert_eq!(clients[0].ask("how many?"), "1 false\n");
    assert_eq!(clients[1].ask("how many?"), "1 false\n");
    // The handle that the responder keeps would keep the server.
    server.shutdown(Duration::from_secs(10));
}
