//! A server without descriptors keeps serving those it has, lets others wait, and does not spin.

use std::thread;
use std::time::Duration;

use greeter_tests::PLACEMENTS;
use greeter_tests::client::Client;
use greeter_tests::process::ServerProcess;

#[test]
fn clients_wait_in_the_backlog_until_there_are_descriptors_again() {
    for workers in PLACEMENTS {
        let mut server = ServerProcess::start(&["--workers", &workers.to_string(), "--log", "warn"]);
        let mut served = Client::connect(server.address());
        assert_eq!(served.ask("before"), "Hello, before\n");
        server.limit_descriptors(server.descriptors() as u64 + 10);

        let mut crowd: Vec<_> = (0..60).map(|_| Client::connect(server.address())).collect();
        for client in &mut crowd[..10] {
            assert_eq!(client.ask("first"), "Hello, first\n");
        }
        let cpu = server.cpu_time();
        thread::sleep(Duration::from_secs(1));
        let used = server.cpu_time() - cpu;
        assert!(used < Duration::from_millis(200), "{used:?} of processor time in a second of waiting");
        assert_eq!(served.ask("meanwhile"), "Hello, meanwhile\n");

        // Ten go, ten more come in; and so on until all have been served.
        while !crowd.is_empty() {
            for mut client in crowd.drain(..10) {
                assert_eq!(client.ask("at last"), "Hello, at last\n");
            }
        }
        drop(served);
        server.signal(rustix::process::Signal::TERM);
        let (status, log) = server.wait(Duration::from_secs(10));
        assert_eq!(status.code(), Some(0));
        let complaints = log.matches("Cannot accept connections").count();
        assert!((1..=20).contains(&complaints), "{log}");
    }
}
