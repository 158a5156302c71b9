//! A responder that does not come back costs the client it is answering, and nobody else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use greeter_server::{
    Asked, Batcher, BoxError, Builder, CloseReason, Line, Peer, Reply, Responder, ServerHandle, WorkerInfo,
};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::process::{own_threads, own_threads_left_behind};
use greeter_tests::puppet::{Gate, Puppet};
use greeter_tests::size::is_full;
use greeter_tests::{PLACEMENTS, alone, answered_by, builder, spawn};

/// How many may be stuck for each worker before nobody takes their place any more: the four of the
/// documentation, and itself.
const STUCK_PER_WORKER: usize = 5;

fn reply_timeout() -> Duration {
    if is_full() { Duration::from_secs(5) } else { Duration::from_millis(300) }
}

fn server_of(puppet: &Arc<Puppet>, workers: usize) -> ServerHandle {
    spawn(settings(workers).responder(Arc::clone(puppet)))
}

fn settings(workers: usize) -> Builder<impl Responder> {
    answered_by(workers).reply_timeout(reply_timeout()).queue_timeout(reply_timeout())
}

/// As many clients, each with a line that hangs and twenty behind it.
fn hang(server: &ServerHandle, clients: usize) -> Vec<Client> {
    let hang = |_| {
        let mut client = Client::connect(server.local_addr());
        client.send("hang late\n".to_owned() + &"echo behind\n".repeat(20));
        client
    };
    (0..clients).map(hang).collect()
}

fn is_stuck(worker: &WorkerInfo) -> bool {
    matches!(worker, WorkerInfo::TimedOut { .. })
}

/// Threads of this process that work for any server in it.
fn worker_threads() -> usize {
    own_threads("greeter-work-")
}

/// Those among them that are none of this test's.
fn others() -> usize {
    own_threads_left_behind("greeter-work-")
}

/// None of these lines takes as long as a reply may, and together they take longer: whatever comes
/// before them, each is answered.
#[test]
fn the_timeout_is_for_one_reply_however_many_are_asked_for_at_once() {
    let _alone = alone();
    let server = server_of(&Arc::default(), 1);
    let dear = reply_timeout() / 6;
    for cheap in [0, 1, 2, 10, 65] {
        let mut client = Client::connect(server.local_addr());
        let dear = format!("sleep {} dear\n", dear.as_millis());
        client.send("echo cheap\n".repeat(cheap) + &dear.repeat(12));
        let expected = "cheap\n".repeat(cheap) + &"dear\n".repeat(12);
        assert_eq!(String::from_utf8_lossy(&client.finish()), expected, "{cheap} cheap lines");
    }
    at_rest(&server);
}

/// Takes its time to welcome a client, and to answer it.
struct Slow;

impl Responder for Slow {
    type Session = ();

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        std::thread::sleep(reply_timeout() * 7 / 10);
        reply.line("welcome");
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        std::thread::sleep(reply_timeout() * 7 / 10);
        reply.line(line);
        Ok(())
    }
}

#[test]
fn a_welcome_and_the_reply_to_the_first_line_have_a_timeout_each() {
    let _alone = alone();
    let server = spawn(settings(1).responder(Slow));
    let mut client = Client::connect(server.local_addr());
    client.send("here\n");
    assert_eq!(String::from_utf8_lossy(&client.finish()), "welcome\nhere\n");
}

#[test]
fn what_was_answered_before_a_hang_arrives() {
    let _alone = alone();
    let puppet = Arc::new(Puppet::default());
    let server = server_of(&puppet, 1);
    let mut client = Client::connect(server.local_addr());
    client.send("echo cheap\n".to_owned() + &"sleep 50 dear\n".repeat(5) + "hang late\necho behind\n");
    let received = client.finish();
    puppet.release();
    assert_eq!(String::from_utf8_lossy(&received), "cheap\n".to_owned() + &"dear\n".repeat(5) + "error: timed out\n");
    let stats = at_rest(&server);
    assert_eq!((stats.replies, stats.discarded_by[CloseReason::ReplyTimeout]), (6, 2));
}

#[test]
fn the_clients_are_told_at_the_deadline_and_others_are_served() {
    let _alone = alone();
    let workers = if is_full() { 4 } else { 2 };
    let puppet = Arc::new(Puppet::default());
    let others = others();
    let server = server_of(&puppet, workers);
    let start = Instant::now();
    let mut hung = hang(&server, workers);
    for client in &mut hung {
        assert_eq!(client.text(), "error: timed out\n");
        let took = start.elapsed();
        assert!(took >= reply_timeout(), "given up after {took:?}");
        if is_full() {
            assert!(took <= reply_timeout() + Duration::from_millis(500), "given up after {took:?}");
        }
        assert_eq!(client.line(), None);
    }
    println!("told after {:?} with a timeout of {:?}", start.elapsed(), reply_timeout());

    let stuck: Vec<_> = server.workers().into_iter().filter(is_stuck).collect();
    let peers: BTreeSet<_> = stuck
        .iter()
        .map(|worker| match worker {
            WorkerInfo::TimedOut { peer, elapsed } => {
                assert!(*elapsed >= reply_timeout());
                peer.address
            }
            worker => panic!("{worker:?} is not stuck"),
        })
        .collect();
    assert_eq!(peers, hung.iter().map(Client::local_addr).collect());
    assert_eq!(server.stats().workers_timed_out, workers as u64);

    // Others work in their place, for clients that have the slots of those that are gone.
    drop(hung);
    wait_until("they are gone", || server.stats().open() == 0);
    let mut next: Vec<_> = (0..workers).map(|_| Client::connect(server.local_addr())).collect();
    for (number, other) in next.iter_mut().enumerate() {
        assert_eq!(other.ask(&format!("echo {number}")), format!("{number}\n"));
    }
    assert_eq!(puppet.farewells(CloseReason::ReplyTimeout), 0, "nobody is said to be gone who is still being answered");
    let released = Instant::now();
    puppet.release();
    wait_until("the pool has its size again", || server.workers().len() == workers);
    println!("the pool had its size again {:?} after the release", released.elapsed());
    assert_eq!(server.stats().workers_timed_out, 0);
    wait_until("threads have ended", || worker_threads() == others + workers);
    assert_eq!(puppet.farewells(CloseReason::ReplyTimeout), workers as u64);
    for (number, other) in next.iter_mut().enumerate() {
        assert_eq!(
            other.ask(&format!("echo again {number}")),
            format!("again {number}\n"),
            "nobody gets what came late"
        );
    }
    drop(next);
    let stats = at_rest(&server);
    assert_eq!(stats.discarded_by[CloseReason::ReplyTimeout], 21 * workers as u64);
    assert_eq!((stats.closed_by[CloseReason::ReplyTimeout], stats.responder_errors), (workers as u64, 0));
    assert_eq!(server.shutdown(Duration::from_secs(10)).threads_left, 0);
}

#[test]
fn when_nobody_is_left_all_are_told_so_until_somebody_comes_back() {
    let _alone = alone();
    for workers in [1, 2] {
        let puppet = Arc::new(Puppet::default());
        let others = others();
        let server = server_of(&puppet, workers);
        let mut settled = Client::connect(server.local_addr());
        assert_eq!(settled.ask("echo first"), "first\n");
        for _ in 0..STUCK_PER_WORKER {
            for client in &mut hang(&server, workers) {
                assert_eq!(client.text(), "error: timed out\n");
            }
        }
        wait_until("all are stuck", || server.stats().workers_timed_out as usize == STUCK_PER_WORKER * workers);
        assert_eq!(server.workers().len(), STUCK_PER_WORKER * workers);

        // To a client that is known every line is refused in its place, with its own ending; one
        // that is not is sent away.
        settled.send("echo a\r\necho b\n");
        assert_eq!(settled.text(), "error: busy\r\n");
        assert_eq!(settled.text(), "error: busy\n");
        let mut new = Client::connect(server.local_addr());
        new.send("echo c\n");
        assert_eq!(new.rest(), b"error: busy\n");
        assert_eq!(server.connections().iter().filter(|c| c.peer.address == settled.local_addr()).count(), 1);

        let released = Instant::now();
        puppet.release();
        wait_until("somebody is back", || settled.ask("echo back") == "back\n");
        println!("normal {:?} after the release", released.elapsed());
        wait_until("the pool has its size again", || server.workers().len() == workers);
        assert_eq!(server.stats().workers_timed_out, 0);
        wait_until("threads have ended", || worker_threads() == others + workers);
        drop((settled, new));
        assert_eq!(at_rest(&server).closed_by[CloseReason::Busy], 1);
        assert_eq!(puppet.farewells(CloseReason::ReplyTimeout), (STUCK_PER_WORKER * workers) as u64);
        assert_eq!(server.shutdown(Duration::from_secs(10)).threads_left, 0);
    }
}

#[test]
fn what_waits_behind_stuck_workers_is_refused_before_they_are_given_up() {
    let _alone = alone();
    let puppet = Arc::new(Puppet::default());
    let timeout = Duration::from_millis(200);
    let server = spawn(builder().workers(1).queue_timeout(timeout).reply_timeout(None).responder(Arc::clone(&puppet)));
    let mut settled = Client::connect(server.local_addr());
    assert_eq!(settled.ask("echo first"), "first\n");
    let mut hung = hang(&server, 1).remove(0);
    wait_until("the worker hangs", || matches!(server.workers()[..], [WorkerInfo::Busy { .. }]));
    let start = Instant::now();
    assert_eq!(settled.ask("echo second"), "error: busy\n");
    assert!(start.elapsed() >= timeout);
    puppet.release();
    assert_eq!(hung.text(), "late\n");
    for _ in 0..20 {
        assert_eq!(hung.text(), "behind\n");
    }
    assert_eq!(settled.ask("echo third"), "third\n");
    drop((hung, settled));
    assert_eq!(at_rest(&server).busy, 1);
}

#[test]
fn the_client_is_told_in_its_own_line_ending() {
    let _alone = alone();
    let puppet = Arc::new(Puppet::default());
    let server = server_of(&puppet, 1);
    let mut client = Client::connect(server.local_addr());
    client.send("hang late\r\nand half a li");
    assert_eq!(client.rest(), b"error: timed out\r\n");
    puppet.release();
    drop(client);
    let stats = at_rest(&server);
    assert_eq!((stats.discarded, stats.unfinished_lines), (1, 1));
}

/// Whoever has come back late and finds the place taken leaves nothing behind, however often that
/// happens.
#[test]
fn workers_that_come_and_go_leave_nothing_behind() {
    let _alone = alone();
    let rounds = if is_full() { 200 } else { 20 };
    let others = others();
    let server = spawn(builder().workers(1).reply_timeout(Duration::from_millis(5)).responder(Puppet::default()));
    let mappings = || std::fs::read_to_string("/proc/self/maps").expect("a process has memory").lines().count();
    let mut before = 0;
    for round in 0..rounds {
        let mut client = Client::connect(server.local_addr());
        client.send("sleep 50 late\n");
        assert_eq!(client.rest(), b"error: timed out\n");
        wait_until("the pool has its size again", || {
            server.workers().len() == 1 && server.stats().workers_timed_out == 0
        });
        // The first few bring what stays.
        if round == 5 {
            before = mappings();
        }
    }
    wait_until("all are gone", || server.stats().closed_by[CloseReason::ReplyTimeout] == rounds);
    wait_until("threads have ended", || worker_threads() == others + 1);
    println!("{before} mappings after 5 rounds, {} after {rounds}", mappings());
    assert!(mappings() <= before + 8, "{before} mappings have become {}", mappings());
}

/// Hangs where it is told that a client is gone.
struct NeverLetsGo(Arc<Gate>);

impl Responder for NeverLetsGo {
    type Session = bool;

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<bool, BoxError> {
        Ok(false)
    }

    fn respond(&self, hangs: &mut bool, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        *hangs = line.as_bytes() == b"hang";
        reply.line("noted");
        Ok(())
    }

    fn disconnect(&self, hangs: bool, _: CloseReason) {
        if hangs {
            self.0.pass();
        }
    }
}

#[test]
fn a_disconnect_that_hangs_costs_no_other_client() {
    let _alone = alone();
    let gate = Arc::new(Gate::default());
    // The line of the other client waits in the queue until the only worker is replaced: it may
    // wait for longer than the reply timeout. With the same time for both, either may pass first.
    let server = settings(1).queue_timeout(None).responder(NeverLetsGo(Arc::clone(&gate)));
    let server = spawn(server);
    let mut next = Client::connect(server.local_addr());
    assert_eq!(next.ask("here"), "noted\n");
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.ask("hang"), "noted\n");
    drop(client);
    wait_until("it is gone", || server.stats().open() == 1);
    wait_until("others are served", || next.ask("here") == "noted\n");
    wait_until("the watch has noticed", || server.stats().workers_timed_out == 1);
    gate.open();
    wait_until("the pool has its size again", || server.workers().len() == 1 && server.stats().workers_timed_out == 0);
    assert_eq!(next.ask("here"), "noted\n");
    drop(next);
    assert_eq!(at_rest(&server).closed_by[CloseReason::ReplyTimeout], 0);
}

/// Has the lines that say `ask` answered in batches, and echoes the others.
struct Asks(Batcher<()>);

impl Responder for Asks {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match line.as_bytes() {
            b"ask" => self.0.ask((), reply),
            _ => reply.line(line),
        }
        Ok(())
    }
}

/// Nobody watches the function that answers batches. Whoever waits for it is told when the time is
/// up, as for any answer that does not come.
#[test]
fn a_batch_that_hangs_costs_the_lines_that_wait_for_it() {
    let _alone = alone();
    for workers in PLACEMENTS {
        let gate = Arc::new(Gate::default());
        let (calls, called) = channel();
        let batcher = Batcher::spawn(100, {
            let gate = Arc::clone(&gate);
            move |batch: Vec<Asked<()>>| {
                // It fails only if the test is over.
                let _ = calls.send(batch.len());
                gate.pass();
                batch.into_iter().for_each(|asked| asked.later.line("answered"));
            }
        });
        let asks = Asks(batcher.expect("threads can be had"));
        let server = spawn(answered_by(workers).reply_timeout(reply_timeout()).responder(asks));
        let hang = |_| {
            let mut client = Client::connect(server.local_addr());
            client.send("echo before\nask\necho behind\n");
            client
        };
        let mut hung = vec![hang(0)];
        assert_eq!(called.recv_timeout(PATIENCE), Ok(1));
        hung.extend((1..5).map(hang));
        let mut others = Client::connect(server.local_addr());
        for client in &mut hung {
            assert_eq!(others.ask("echo"), "echo\n");
            assert_eq!(String::from_utf8_lossy(&client.rest()), "echo before\nerror: timed out\n");
        }
        gate.open();
        // The batch behind it is not of those that nobody waits for.
        assert_eq!(others.ask("ask"), "answered\n");
        assert_eq!(called.recv_timeout(PATIENCE), Ok(1));
        wait_until("what came too late is counted", || server.stats().late_answers == 1);
        drop((others, hung));
        let stats = at_rest(&server);
        assert_eq!((stats.closed_by[CloseReason::ReplyTimeout], stats.discarded), (5, 10));
    }
}
