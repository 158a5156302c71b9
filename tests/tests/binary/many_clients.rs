//! A thousand clients at the same time, and every one of them reads its own replies and nothing
//! else.

use std::sync::Barrier;
use std::thread;

use greeter_tests::client::Client;
use greeter_tests::process::TestedServer;
use greeter_tests::{PLACEMENTS, raise_descriptor_limit};

const CLIENTS: usize = 1000;
const LINES: usize = 100;
const THREADS: usize = 4;

#[test]
fn a_thousand_simultaneous_clients_read_exactly_their_own_replies() {
    raise_descriptor_limit();
    for workers in PLACEMENTS {
        let server = TestedServer::start(&["--workers", &workers.to_string(), "--log", "warn"]);
        let all_connected = Barrier::new(THREADS);
        thread::scope(|scope| {
            for part in 0..THREADS {
                let (server, all_connected) = (&server, &all_connected);
                scope.spawn(move || {
                    let connect = |n| (part * CLIENTS + n, Client::connect(server.address()));
                    let mut clients: Vec<_> = (0..CLIENTS / THREADS).map(connect).collect();
                    all_connected.wait();
                    greet_everyone(&mut clients);
                });
            }
        });
    }
}

/// Sends every client's lines in bursts of 1, 2, 3 … lines, all clients' bursts before any reply is
/// read.
fn greet_everyone(clients: &mut [(usize, Client)]) {
    let mut sent = 0;
    for burst in 1.. {
        let lines = sent..LINES.min(sent + burst);
        if lines.is_empty() {
            break;
        }
        for (number, client) in clients.iter_mut() {
            client.send(lines.clone().map(|line| format!("guest {number}, line {line}\n")).collect::<String>());
        }
        for (number, client) in clients.iter_mut() {
            for line in lines.clone() {
                assert_eq!(client.text(), format!("Hello, guest {number}, line {line}\n"));
            }
        }
        sent = lines.end;
    }
    for (_, client) in clients {
        client.finish_sending();
        assert_eq!(client.line(), None);
    }
}
