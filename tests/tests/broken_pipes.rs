//! A host that leaves SIGPIPE to its default is not killed by clients that go away: the server
//! never causes the signal.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::puppet::Puppet;
use greeter_tests::size::{figure, sized};
use greeter_tests::{PLACEMENTS, answered_by, spawn};
use signal_hook::consts::SIGPIPE;

const THREADS: usize = 4;

/// Rust's own programs ignore SIGPIPE, so that this process, too, would not notice; here it is
/// caught. One is enough to kill a host with the default.
#[test]
fn who_resets_in_the_middle_of_a_reply_sends_the_host_no_signal() {
    let has_come = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGPIPE, Arc::clone(&has_come)).expect("the signal can be caught");
    let resets = sized(100, 500);
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).responder(Puppet::default()));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for number in 0..resets / THREADS {
                        let mut client = Client::connect(server.local_addr());
                        client.send("big 1000000\nbig 1000000\nbig 1000000\n");
                        client.bytes(1000);
                        // To write after a reset is one error, and after an end and a reset
                        // another: that one is the signal.
                        if number % 4 > 0 {
                            client.finish_sending();
                        }
                        client.reset();
                    }
                });
            }
        });
        assert_eq!(Client::connect(server.local_addr()).ask("echo alive"), "alive\n");
        let stats = at_rest(&server);
        figure("clients that reset in the middle of a reply", format!("{resets}, lines lost {}", stats.discarded));
        assert!(stats.discarded > 0, "they all came too late");
    }
    assert!(!has_come.load(Ordering::SeqCst));

    // The signal would have been seen.
    let (reader, mut writer) = std::io::pipe().expect("a pipe can be had");
    drop(reader);
    assert!(writer.write_all(b"hello").is_err());
    wait_until("the signal comes", || has_come.load(Ordering::SeqCst));
}
