//! A client that sends and does not read costs the server nothing, and the others neither.

use std::time::Duration;

use greeter_tests::PLACEMENTS;
use greeter_tests::client::Client;
use greeter_tests::process::ServerProcess;

const MIB: usize = 1024 * 1024;

#[test]
fn a_client_that_never_reads_is_not_read_either() {
    for workers in PLACEMENTS {
        let server = ServerProcess::start(&["--workers", &workers.to_string()]);
        let mut probe = Client::connect(server.address());
        assert_eq!(probe.ask("before"), "Hello, before\n");
        let before = server.resident_bytes();

        let names = b"somebody with a name of forty bytes......\n".repeat(64 * MIB / 42);
        let mut flood = Client::connect(server.address());
        let sent = flood.send_until_stuck(&names, Duration::from_millis(500));
        assert!(sent < 40 * MIB, "the server took {sent} bytes and was not stopped by its unsent replies");
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < 2 * MIB as u64, "{grown} bytes more for a client that does not read");
        for _ in 0..100 {
            assert_eq!(probe.ask("meanwhile"), "Hello, meanwhile\n");
        }

        // As soon as it reads, it goes on where it was: nothing was lost.
        let names_sent = sent / 42;
        flood.finish_sending();
        let replies = flood.rest();
        assert_eq!(replies.len(), names_sent * 49);
        assert!(replies.chunks(49).all(|reply| reply == b"Hello, somebody with a name of forty bytes......\n"));
    }
}
