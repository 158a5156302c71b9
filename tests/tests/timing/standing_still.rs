//! What had arrived by a deadline counts as arrived, though nobody was there to look: the process
//! stood still, or its thread was busy.

use std::thread;
use std::time::Duration;

use greeter_server::CloseReason;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::process::TestedServer;
use greeter_tests::puppet::Puppet;
use greeter_tests::size::sized;
use greeter_tests::{alone, beside_others, builder, in_both_placements, raise_descriptor_limit, spawn};
use rustix::process::Signal;

/// Every deadline that a server is given here.
const LIMIT: Duration = Duration::from_millis(500);

/// Longer than that.
const STILL: Duration = Duration::from_millis(1500);

/// As many clients as one look at the system tells of, and more.
fn crowd() -> usize {
    sized(100, 5000)
}

fn clients(server: &TestedServer, count: usize) -> Vec<Client> {
    raise_descriptor_limit();
    // All at once, since each is idle from then on.
    let mut clients: Vec<_> = (0..count).map(|_| Client::connect(server.address())).collect();
    for client in &mut clients {
        client.send("Ann\n");
    }
    for client in &mut clients {
        assert_eq!(client.text(), "Hello, Ann\n");
    }
    clients
}

fn start(arguments: &[&str]) -> TestedServer {
    TestedServer::start(&[&["--linger", "10s", "--max-connections-per-address", "off"], arguments].concat())
}

#[test]
fn a_line_that_arrived_in_time_is_no_silence() {
    let _others = beside_others();
    in_both_placements(|workers| {
        let server = start(&["--workers", &workers.to_string(), "--idle-timeout", "3s", "--line-timeout", "3s"]);
        let mut clients = clients(&server, crowd());
        server.stand_still();
        for client in &mut clients {
            client.send("Bob\n");
        }
        thread::sleep(Duration::from_secs(4));
        server.signal(Signal::CONT);
        for client in &mut clients {
            assert_eq!(client.text(), "Hello, Bob\n", "{workers} workers");
        }
    });
}

#[test]
fn a_line_that_was_finished_in_time_is_finished_and_others_are_not() {
    let _others = beside_others();
    let server = start(&["--idle-timeout", "off", "--line-timeout", "3s"]);
    // Longer than what is read at once.
    let name = "B".repeat(40_000);
    let mut clients = clients(&server, crowd().min(500));
    for client in &mut clients {
        client.send("B");
    }
    // They have begun: the reply to what comes in another connection comes after that.
    assert_eq!(Client::connect(server.address()).ask("Ann"), "Hello, Ann\n");
    server.stand_still();
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(if index % 2 == 0 { format!("{name}\nBob\n") } else { name.clone() });
    }
    thread::sleep(Duration::from_secs(4));
    server.signal(Signal::CONT);
    for (index, client) in clients.iter_mut().enumerate() {
        if index % 2 == 0 {
            assert_eq!(client.text(), "error: line longer than 8192 bytes\n");
            assert_eq!(client.text(), "Hello, Bob\n");
        } else {
            assert_eq!(client.text(), "error: line not finished within 3s\n");
        }
    }
}

#[test]
fn who_has_read_in_time_is_no_client_that_does_not_read() {
    let _others = beside_others();
    let server = start(&["--write-timeout", "3s"]);
    let mut client = Client::connect_with_buffers(server.address(), 64 * 1024);
    let line = format!("{}\n", "x".repeat(8000));
    let mut sender = client.sender();
    let request = line.repeat(1000);
    let sent = sender.send_until_stuck(request.as_bytes(), LIMIT);
    server.stand_still();
    // As much as the system has of it.
    let mut received = 0;
    while !client.hears_nothing_for(LIMIT) {
        received += client.bytes(1).len();
        received += client.take_received();
    }
    assert!(received > 0);
    thread::sleep(Duration::from_secs(4));
    server.signal(Signal::CONT);
    let lines = sent / line.len();
    sender.finish_sending();
    let rest = client.rest();
    assert_eq!(received + rest.len(), lines * (line.len() + "Hello, ".len()));
}

#[test]
fn who_waits_in_the_queue_while_the_process_stands_still_does_not_wait() {
    let _alone = alone();
    let limits = ["--queue-timeout", "1s", "--reply-timeout", "1s"];
    // The last waits for 0.4 s, and for the quarter of a second that counts of the time in which
    // the process stands still.
    let server = start(&[&["--workers", "1", "--work", "100ms"], &limits[..]].concat());
    let mut clients: Vec<_> = (0..5).map(|_| Client::connect(server.address())).collect();
    for client in &mut clients {
        client.send("Bob\n");
    }
    // The first is answered: the second is with the worker, and the others wait.
    assert_eq!(clients.remove(0).text(), "Hello, Bob\n");
    server.stand_still();
    thread::sleep(Duration::from_millis(2500));
    server.signal(Signal::CONT);
    for client in &mut clients {
        assert_eq!(client.text(), "Hello, Bob\n");
    }
}

#[test]
fn an_end_that_came_in_time_is_no_silence() {
    let _alone = alone();
    let server = spawn(builder().in_place().connection_threads(1).responder(Puppet::default()).idle_timeout(LIMIT));
    let mut busy = Client::connect(server.local_addr());
    assert_eq!(busy.ask("echo here"), "here\n");
    let mut leaving = Client::connect(server.local_addr());
    assert_eq!(leaving.ask("echo here"), "here\n");
    busy.send(format!("sleep {} done\n", STILL.as_millis()));
    leaving.finish_sending();
    assert_eq!(leaving.line(), None);
    assert_eq!(busy.text(), "done\n");
    wait_until("it is gone", || server.stats().closed_by[CloseReason::ClientClosed] == 1);
}

#[test]
fn a_line_that_came_while_its_thread_was_with_another_client_came_in_time() {
    let _alone = alone();
    let server = spawn(builder().in_place().connection_threads(1).responder(Puppet::default()).idle_timeout(LIMIT));
    let mut busy = Client::connect(server.local_addr());
    assert_eq!(busy.ask("echo here"), "here\n");
    let mut patient = Client::connect(server.local_addr());
    assert_eq!(patient.ask("echo here"), "here\n");
    busy.send(format!("sleep {} done\n", STILL.as_millis()));
    patient.send("echo in time\n");
    assert_eq!(patient.text(), "in time\n");
    assert_eq!(busy.text(), "done\n");
}
