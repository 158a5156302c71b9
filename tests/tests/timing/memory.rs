//! What clients that do nothing cost, and that it is given back when they go.

use std::time::Instant;

use greeter_tests::client::{Client, wait_until};
use greeter_tests::process::TestedServer;
use greeter_tests::size::{figure, sized};
use greeter_tests::{PLACEMENTS, alone, raise_descriptor_limit};

const MIB: u64 = 1024 * 1024;

/// What a connection costs that holds nothing, in bytes.
const CONNECTION_BYTES: u64 = 512;

/// What it may hold before that is counted.
const GRAIN: u64 = 4096;

const PARTIAL_LINE: usize = 1000;

#[test]
fn idle_clients_cost_half_a_kibibyte_and_unfinished_lines_what_they_are_long() {
    let _alone = alone();
    raise_descriptor_limit();
    let clients = sized(2_000, 9_000);
    for workers in PLACEMENTS {
        let arguments = ["--workers", &workers.to_string(), "--log", "warn", "--max-connections-per-address", "off"];
        let server = TestedServer::start(&arguments);
        // What the first ones bring with them is not theirs alone.
        let first: Vec<_> = (0..100).map(|_| greeted(&server)).collect();
        let (descriptors, before) = (server.descriptors(), server.resident_bytes());

        let mut crowd: Vec<_> = (0..clients).map(|_| greeted(&server)).collect();
        let of_each = |more: u64| more as f64 / clients as f64;
        let idle = server.resident_bytes().saturating_sub(before);
        figure("an idle connection", format!("{:.0} bytes ({clients} of them)", of_each(idle)));
        assert!(idle <= clients as u64 * CONNECTION_BYTES, "{} bytes each", of_each(idle));

        for client in &mut crowd {
            client.send("A".repeat(PARTIAL_LINE));
        }
        // Behind it the same threads read somebody else.
        first.into_iter().for_each(|mut client| assert_eq!(client.ask("Bob"), "Hello, Bob\n"));
        let partial = server.resident_bytes().saturating_sub(before);
        figure("one with 1,000 bytes of a line", format!("{:.0} bytes", of_each(partial)));
        assert!(partial >= (clients * PARTIAL_LINE) as u64, "nothing is held");
        assert!(partial <= clients as u64 * (CONNECTION_BYTES + GRAIN), "{} bytes each", of_each(partial));

        drop(crowd);
        let left = Instant::now();
        wait_until("the crowd has left", || server.descriptors() <= descriptors - 100);
        wait_until("memory is given back", || server.resident_bytes() <= before + 20 * MIB);
        let stays = server.resident_bytes().saturating_sub(before);
        figure("when all have left", format!("{} KiB more than before, after {:?}", stays / 1024, left.elapsed()));
    }
}

fn greeted(server: &TestedServer) -> Client {
    let mut client = Client::connect(server.address());
    assert_eq!(client.ask("Bob"), "Hello, Bob\n");
    client
}
