//! Who resets the connection is forgotten at once, and the answer that comes too late goes nowhere.

use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use greeter_tests::client::{Client, lines_received, wait_until};
use greeter_tests::{builder, spawn};

#[test]
fn a_reset_is_noticed_while_the_reply_is_still_being_made() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let server = spawn(builder().workers(1).responder_fn(move |line: &str| {
        if line == "wait" {
            released.lock().expect("nobody panics").recv().expect("the test goes on");
        }
        format!("answer to {line}")
    }));
    let mut rude = Client::connect(server.local_addr());
    rude.send("wait\n");
    wait_until("the line is being answered", || lines_received(&server) == 1);
    rude.reset();
    wait_until("the connection is closed", || server.stats().open() == 0);
    assert_eq!(server.stats().discarded, 1);

    // Whoever comes next has nothing to do with it.
    let mut next = Client::connect(server.local_addr());
    next.send("next\n");
    release.send(()).expect("the responder waits");
    assert_eq!(next.text(), "answer to next\n");
    drop(next);
    let report = server.shutdown(Duration::from_secs(10));
    assert_eq!((report.stats.lines, report.stats.replies, report.stats.discarded), (2, 1, 1));
}
