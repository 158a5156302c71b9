//! A line that never ends costs no more than a line may be long, and whoever sends it is told when
//! its time is over.

use std::thread;
use std::time::{Duration, Instant};

use greeter_tests::client::Client;
use greeter_tests::probe::probe;
use greeter_tests::process::TestedServer;
use greeter_tests::size::{figure, sized};
use greeter_tests::{beside_others, in_both_placements};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn line_timeout() -> Duration {
    Duration::from_secs(sized(5, 10))
}

fn start(workers: usize) -> TestedServer {
    let timeout = format!("{:?}", line_timeout());
    TestedServer::start(&["--workers", &workers.to_string(), "--log", "warn", "--line-timeout", &timeout])
}

/// Waits until it is told that its time is over, which was not before that was so.
fn assert_told(client: &mut Client, began: Instant) {
    assert_eq!(client.text(), format!("error: line not finished within {:?}\n", line_timeout()));
    let took = began.elapsed();
    assert!(took >= line_timeout(), "told after {took:?}");
    let late = sized(Duration::from_secs(10), Duration::from_millis(500));
    assert!(took <= line_timeout() + late, "told after {took:?}");
    assert_eq!(client.line(), None);
}

#[test]
fn sixty_four_mebibytes_without_a_newline_are_thrown_away_as_they_come() {
    let _others = beside_others();
    in_both_placements(|workers| {
        let server = start(workers);
        let idle = probe(server.address());
        let before = server.resident_bytes();
        let mut flood = Client::connect(server.address());
        let began = Instant::now();
        let mut most = before;
        for _ in 0..64 {
            flood.send(vec![b'A'; MIB]);
            most = most.max(server.resident_bytes());
        }
        let meanwhile = probe(server.address());
        meanwhile.assert_like(idle);
        assert_told(&mut flood, began);
        let grown = most - before;
        figure("64 MiB without a newline", format!("{} KiB more, probe {meanwhile:?}", grown / KIB as u64));
        assert!(grown <= MIB as u64, "{grown} bytes more");
    });
}

#[test]
fn a_hundred_unfinished_lines_of_a_mebibyte_cost_what_a_hundred_lines_may_be_long() {
    let _others = beside_others();
    in_both_placements(|workers| {
        let server = start(workers);
        let idle = probe(server.address());
        let before = server.resident_bytes();
        let mut clients: Vec<_> = (0..100).map(|_| (Client::connect(server.address()), Instant::now())).collect();
        let meanwhile = thread::scope(|scope| {
            let meanwhile = scope.spawn(|| probe(server.address()));
            for _ in 0..16 {
                clients.iter_mut().for_each(|(client, _)| client.send(vec![b'A'; MIB / 16]));
            }
            meanwhile.join().expect("the probe is answered")
        });
        let grown = server.resident_bytes().saturating_sub(before);
        figure("100 times 1 MiB without a newline", format!("{} KiB more, probe {meanwhile:?}", grown / KIB as u64));
        assert!(grown <= 4 * MIB as u64, "{grown} bytes more");
        meanwhile.assert_like(idle);
        clients.iter_mut().for_each(|(client, began)| assert_told(client, *began));
        probe(server.address());
    });
}
