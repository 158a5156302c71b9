//! A server that pauses lets nobody in, forgets nobody who is there, and goes on where it was.

use std::time::Duration;

use greeter_tests::books::at_rest;
use greeter_tests::client::Client;
use greeter_tests::{PLACEMENTS, alone, greeter};

const A_WHILE: Duration = Duration::from_millis(100);

#[test]
fn who_comes_during_a_pause_waits_and_is_served_after_it() {
    let _alone = alone();
    for workers in PLACEMENTS {
        let server = greeter(workers);
        let mut inside = Client::connect(server.local_addr());
        assert_eq!(inside.ask("before"), "Hello, before\n");
        for round in 1..=3 {
            server.pause_accepting();
            server.pause_accepting();
            // Whoever was at the door already when the order came may have slipped in.
            let mut outside = (0..100).map(|_| Client::connect(server.local_addr())).find_map(|mut client| {
                client.send("waiting\n");
                client.hears_nothing_for(A_WHILE).then_some(client)
            });
            let outside = outside.as_mut().expect("at last nobody is let in any more");
            let accepted = server.stats().accepted;
            assert_eq!(inside.ask("meanwhile"), "Hello, meanwhile\n");
            assert!(outside.hears_nothing_for(A_WHILE));
            assert_eq!(server.stats().accepted, accepted);
            server.resume_accepting();
            assert_eq!(outside.text(), "Hello, waiting\n", "round {round}");
        }
        drop(inside);
        at_rest(&server);
    }
}

#[test]
fn a_stop_during_a_pause_serves_those_who_wait() {
    let _alone = alone();
    for workers in PLACEMENTS {
        let server = greeter(workers);
        server.pause_accepting();
        let mut outside: Vec<_> = (0..10).map(|_| Client::connect(server.local_addr())).collect();
        for client in &mut outside {
            client.send("waiting\n");
        }
        let report = server.shutdown(Duration::from_secs(20));
        for client in &mut outside {
            assert_eq!(client.text(), "Hello, waiting\n");
            assert_eq!(client.line(), None);
        }
        assert_eq!((report.stats.accepted, report.stats.closed, report.stats.replies), (10, 10, 10));
    }
}
