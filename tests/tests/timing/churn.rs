//! Clients that come and go, in every rude way there is, leave nothing behind.

use std::thread;
use std::time::{Duration, Instant};

use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::process::TestedServer;
use greeter_tests::size::{figure, sized};
use greeter_tests::{PLACEMENTS, alone, raise_descriptor_limit};

const CONNECTIONS: usize = 20_000;
const THREADS: usize = 4;
const MIB: u64 = 1024 * 1024;

#[test]
fn twenty_thousand_rude_clients_leave_nothing_behind() {
    let _alone = alone();
    raise_descriptor_limit();
    for workers in PLACEMENTS {
        let server = TestedServer::start(&["--workers", &workers.to_string(), "--log", "warn"]);
        // The first round brings what stays: slots and buffers for as many as were ever here at the
        // same time.
        let idle = server.descriptors();
        let is_idle = || half_closed_sockets(server.address().port()) == 0 && server.descriptors() <= idle;
        rude_clients(&server);
        wait_until("all sockets are closed", is_idle);
        let (threads, memory) = (server.threads(), server.resident_bytes());
        rude_clients(&server);
        let last = Instant::now();
        wait_until("all sockets are closed", is_idle);
        let took = last.elapsed();
        assert!(took <= sized(PATIENCE, Duration::from_secs(2)), "{took:?}");
        assert_eq!(server.threads(), threads);
        let grown = server.resident_bytes().saturating_sub(memory);
        figure("20,000 rude clients", format!("{} KiB more, all gone after {took:?}", grown / 1024));
        assert!(grown <= 2 * MIB, "{grown} bytes more");
        assert_eq!(Client::connect(server.address()).ask("Bob"), "Hello, Bob\n");
    }
}

fn rude_clients(server: &TestedServer) {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for n in 0..CONNECTIONS / THREADS {
                    rude_client(server, n);
                    // Who gets a reply has everyone before it accepted: so the crowd is never much
                    // larger than this, and neither is what the server holds for it.
                    if n % 100 == 0 {
                        assert_eq!(Client::connect(server.address()).ask("Bob"), "Hello, Bob\n");
                    }
                }
            });
        }
    });
}

fn rude_client(server: &TestedServer, kind: usize) {
    let mut client = Client::connect(server.address());
    match kind % 4 {
        0 => drop(client),
        1 => client.send("half a li"),
        2 => {
            client.send("Bob\nAnn\n");
            client.reset();
        }
        // Closed with the reply unread.
        _ => client.send("Bob\n"),
    }
}

/// Sockets of this port on which the other end has closed and ours has not, those that wait to be
/// accepted among them: see proc_net_tcp(5).
fn half_closed_sockets(port: u16) -> usize {
    const CLOSE_WAIT: &str = "08";
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the system has a table of sockets");
    let is_ours = |line: &&str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == CLOSE_WAIT
    };
    table.lines().skip(1).filter(is_ours).count()
}
