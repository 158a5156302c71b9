//! A client that asks and does not read is held in little memory, for a while, and harms nobody.

use std::thread;
use std::time::{Duration, Instant};

use greeter_tests::client::{Client, wait_until};
use greeter_tests::probe::{ProbeLatency, probe};
use greeter_tests::process::TestedServer;
use greeter_tests::size::{figure, sized};
use greeter_tests::{beside_others, in_both_placements};
use rustix::process::Signal;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// How many bytes of names are sent to a server that does not stop reading.
const FLOOD_BYTES: usize = 64 * MIB as usize;

fn write_timeout() -> Duration {
    Duration::from_secs(sized(3, 10))
}

fn start(workers: usize) -> TestedServer {
    let timeout = format!("{:?}", write_timeout());
    TestedServer::start(&["--workers", &workers.to_string(), "--write-timeout", &timeout])
}

/// Names whose greetings have a thousand bytes.
fn names() -> Vec<u8> {
    [vec![b'A'; 992], b"\n".to_vec()].concat().repeat(FLOOD_BYTES / 993)
}

/// Sends names and reads nothing until it is cut off, which is when its time is over.
fn flood(mut client: Client, names: &[u8]) {
    let (sent, waited) = client.send_until_cut(names);
    assert!(sent < names.len(), "the server took everything");
    assert!(waited <= write_timeout() + sized(Duration::from_secs(10), Duration::from_secs(2)), "{waited:?}");
}

/// What so many that flood cost the server: memory at its most, and what a probe has when all are
/// stuck.
fn cost(server: &TestedServer, clients: usize, connect: impl Fn() -> Client) -> (u64, ProbeLatency) {
    let names = names();
    let before = server.resident_bytes();
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..clients).map(|_| connect()).map(|client| scope.spawn(|| flood(client, &names))).collect();
        let began = Instant::now();
        let mut most = before;
        let mut meanwhile = None;
        wait_until("all are cut off", || {
            most = most.max(server.resident_bytes());
            if meanwhile.is_none() && began.elapsed() >= write_timeout() / 2 {
                meanwhile = Some(probe(server.address()));
            }
            threads.iter().all(|thread| thread.is_finished())
        });
        (most - before, meanwhile.expect("nobody is cut off so soon"))
    })
}

/// Stops the server, which has noted why it cut off whom it has cut off; not of each, where they
/// are many.
fn assert_reason(mut server: TestedServer) {
    probe(server.address());
    server.signal(Signal::TERM);
    let (status, log) = server.wait(Duration::from_secs(20));
    assert!(log.contains("the client did not read its replies"), "{log}");
    assert!(!log.contains("the client did not finish its line"), "{log}");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn one_that_reads_nothing() {
    let _others = beside_others();
    in_both_placements(|workers| {
        let server = start(workers);
        let idle = probe(server.address());
        let (memory, meanwhile) = cost(&server, 1, || Client::connect(server.address()));
        figure("one that reads nothing", format!("{} KiB more, {meanwhile:?} for a probe ({idle:?})", memory / KIB));
        assert!(memory <= MIB, "{memory} bytes more");
        meanwhile.assert_like(idle);
        assert_reason(server);
    });
}

#[test]
fn two_hundred_that_read_nothing() {
    const CLIENTS: usize = 200;
    let _others = beside_others();
    in_both_placements(|workers| {
        let server = start(workers);
        let idle = probe(server.address());
        // For the system's sake, which would put away megabytes for each.
        let connect = || Client::connect_with_buffers(server.address(), 64 * 1024);
        let (memory, meanwhile) = cost(&server, CLIENTS, connect);
        figure("200 that read nothing", format!("{} KiB more, {meanwhile:?} for a probe ({idle:?})", memory / KIB));
        assert!(memory <= 20 * MIB, "{memory} bytes more");
        meanwhile.assert_like(idle);
        assert_reason(server);
    });
}

/// So slowly that the system never tells the server of room: that is as good as not at all.
#[test]
fn one_that_reads_a_byte_now_and_then() {
    let _others = beside_others();
    in_both_placements(|workers| {
        let server = start(workers);
        let mut client = Client::connect(server.address());
        let sender = client.sender();
        thread::scope(|scope| {
            let flood = scope.spawn(|| flood(sender, &names()));
            while !flood.is_finished() {
                client.sip();
                thread::sleep(write_timeout() / 20);
            }
        });
        assert_reason(server);
    });
}
