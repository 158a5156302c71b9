//! A client that sends and does not read costs the server nothing, and the others neither.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use greeter_server::{BoxError, Line, Peer, Reply, Responder};
use greeter_tests::client::{Client, wait_until};
use greeter_tests::process::TestedServer;
use greeter_tests::{PLACEMENTS, alone, answered_by, beside_others, spawn};

const MIB: usize = 1024 * 1024;

#[test]
fn a_client_that_never_reads_is_not_read_either() {
    let _alone = alone();
    for workers in PLACEMENTS {
        let server = TestedServer::start(&["--workers", &workers.to_string()]);
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

        let cpu = server.cpu_time();
        thread::sleep(Duration::from_millis(500));
        let used = server.cpu_time() - cpu;
        assert!(
            used < Duration::from_millis(100),
            "{used:?} of processor time in half a second of waiting for a reader"
        );

        // As soon as it reads, it goes on where it was: nothing was lost.
        let names_sent = sent / 42;
        flood.finish_sending();
        let replies = flood.rest();
        assert_eq!(replies.len(), names_sent * 49);
        assert!(replies.chunks(49).all(|reply| reply == b"Hello, somebody with a name of forty bytes......\n"));
    }
}

/// Answers every line with as many bytes, as fast as they can be copied.
struct Fountain {
    reply: Vec<u8>,
    made: Arc<AtomicU64>,
}

impl Responder for Fountain {
    type Session = ();

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    fn respond(&self, (): &mut (), _: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.raw(&self.reply);
        self.made.fetch_add(self.reply.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// What is made and not sent is bounded, however fast it is made: 256 KiB and one reply.
#[test]
fn replies_are_not_made_faster_than_they_are_taken() {
    const REPLY_BYTES: usize = 100_000;
    let _others = beside_others();
    for workers in PLACEMENTS {
        let made = Arc::new(AtomicU64::new(0));
        let fountain = Fountain { reply: vec![b'x'; REPLY_BYTES], made: Arc::clone(&made) };
        let server = spawn(answered_by(workers).responder(fountain));
        let mut client = Client::connect(server.local_addr());
        client.send("\n".repeat(1_000));
        let progress = || (made.load(Ordering::Relaxed), server.stats().bytes_sent);
        wait_until("replies are made and no longer taken", || {
            let before = progress();
            thread::sleep(Duration::from_millis(50));
            before == progress() && before.0 > before.1
        });
        let (made, sent) = progress();
        assert!(made - sent <= 256 * 1024 + REPLY_BYTES as u64, "{} bytes are waiting", made - sent);
        client.finish_sending();
        assert_eq!(client.rest().len(), 1_000 * REPLY_BYTES);
    }
}
