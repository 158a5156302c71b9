//! What all clients make the server hold together is bounded: whoever would make it more is sent
//! off in words.

use std::time::Duration;

use greeter_server::{CloseReason, Phase, ServerHandle};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::size::figure;
use greeter_tests::{PLACEMENTS, answered_by, spawn};

const KIB: usize = 1024;
const MAX_LINE_BYTES: usize = 64 * KIB;
const ROOM: usize = 1024 * KIB;

/// What each of the greedy makes the server hold: a line that it does not finish.
const HELD: usize = 60 * KIB;
const GREEDY: usize = 40;

#[test]
fn whoever_wants_more_than_there_is_room_for_is_told_and_others_are_served() {
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).max_line_bytes(MAX_LINE_BYTES).max_buffer_bytes(ROOM));
        let mut polite = Client::connect(server.local_addr());
        let mut greedy: Vec<_> = (0..GREEDY).map(|_| greedy(&server)).collect();
        wait_until("each of the greedy is held or sent away", || holding(&server) + sent_away(&server) == GREEDY);
        let holding = holding(&server);
        figure("who hold 60 KiB each in 1 MiB", holding);
        assert!((ROOM / HELD / 2..=ROOM / HELD).contains(&holding), "{holding}");
        assert!(server.stats().buffer_bytes <= ROOM as u64);
        assert_eq!(polite.ask("polite"), "Hello, polite\n");

        greedy.retain_mut(|client| client.hears_nothing_for(Duration::from_millis(1)) || is_told(client));
        assert_eq!(greedy.len(), holding);

        // When they leave there is room for others, whose lines are as good as any.
        drop(greedy);
        wait_until("they have left", || server.stats().buffer_bytes == 0);
        let mut next = self::greedy(&server);
        next.send("!\n");
        assert_eq!(next.text(), format!("Hello, {}!\n", "A".repeat(HELD)));
        drop((next, polite));
        assert_eq!(at_rest(&server).closed_by[CloseReason::Overloaded], (GREEDY - holding) as u64);
    }
}

fn greedy(server: &ServerHandle) -> Client {
    let mut client = Client::connect(server.local_addr());
    client.send("A".repeat(HELD));
    client
}

/// Reads that there is no room, and the end. Then this one is not among those that stay.
fn is_told(client: &mut Client) -> bool {
    assert_eq!(client.text(), "error: overloaded\n");
    assert_eq!(client.line(), None);
    false
}

fn holding(server: &ServerHandle) -> usize {
    let holds = |phase, bytes: u64| phase == Phase::Reading && bytes == HELD as u64;
    server.connections().iter().filter(|connection| holds(connection.phase, connection.bytes_received)).count()
}

fn sent_away(server: &ServerHandle) -> usize {
    let lingering = server.connections().iter().filter(|connection| connection.phase == Phase::Lingering).count();
    lingering + usize::try_from(server.stats().closed_by[CloseReason::Overloaded]).expect("few have come")
}
