//! The host can cut off any client, whatever it is doing, and only that one.

use std::time::Duration;

use greeter_server::{ClientId, CloseReason, Phase, ServerHandle};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::puppet::Puppet;
use greeter_tests::{PLACEMENTS, answered_by, builder, spawn};

fn id_of(client: &Client, server: &ServerHandle) -> ClientId {
    let address = client.local_addr();
    wait_until("it is let in", || server.connections().iter().any(|connection| connection.peer.address == address));
    let connections = server.connections();
    let its = connections.iter().find(|connection| connection.peer.address == address);
    its.expect("it does not leave").peer.id
}

#[test]
fn whoever_is_cut_off_is_gone_and_nobody_else() {
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).responder(Puppet::default()));
        let connect = || Client::connect(server.local_addr());
        let mut bystander = connect();
        let (mut idle, mut reading, mut writing) = (connect(), connect(), connect());
        assert_eq!(idle.ask("echo here"), "here\n");
        reading.send("echo unfin");
        writing.send("big 30000000\n");
        wait_until("it is written to", || {
            server.connections().iter().any(|connection| connection.phase == Phase::Writing)
        });
        let ids = [&idle, &reading, &writing].map(|client| id_of(client, &server));
        ids.iter().for_each(|id| server.kill(*id));
        assert_eq!(idle.line(), None);
        assert_eq!(reading.line(), None);
        wait_until("they are gone", || {
            let stats = server.stats();
            (stats.closed_by[CloseReason::Killed], stats.served) == (3, 1)
        });

        // Their names are not given to others: who comes next has nothing to fear from them.
        let mut next = connect();
        assert_eq!(next.ask("echo next"), "next\n");
        ids.iter().for_each(|id| server.kill(*id));
        assert_eq!((next.ask("echo here"), bystander.ask("echo here")), ("here\n".to_owned(), "here\n".to_owned()));
        drop((next, bystander, writing));
        let stats = at_rest(&server);
        assert_eq!((stats.closed_by[CloseReason::Killed], stats.discarded_by[CloseReason::Killed]), (3, 1));
    }
}

#[test]
fn whoever_is_cut_off_while_it_is_answered_leaves_its_answer_to_nobody() {
    let server = spawn(builder().workers(1).responder(Puppet::default()));
    let mut client = Client::connect(server.local_addr());
    client.send("sleep 300 late\n");
    let id = id_of(&client, &server);
    wait_until("it is answered", || server.connections()[0].phase == Phase::Answering);
    server.kill(id);
    assert_eq!(client.rest(), b"");
    let mut next = Client::connect(server.local_addr());
    assert_eq!(next.ask("echo mine"), "mine\n");
    assert!(next.hears_nothing_for(Duration::from_millis(10)));
    drop(next);
    let stats = at_rest(&server);
    assert_eq!((stats.lines, stats.replies, stats.discarded_by[CloseReason::Killed]), (2, 1, 1));
}
