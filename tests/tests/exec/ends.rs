use std::fs;

use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::directory::TestDirectory;

use crate::kit::{ECHO, for_each_line, is_there, serve, shell};

#[test]
fn a_process_ends_with_its_group_however_deaf_it_is() {
    let directory = TestDirectory::new();
    let pids = directory.file("pids");
    for deafness in ["", "trap '' TERM;", "trap '' TERM; (trap '' TERM; echo $$ >> PIDS; while :; do sleep 1; done) & "]
    {
        let deaf = deafness.replace("PIDS", pids.to_str().unwrap());
        let script = format!(
            "echo $$ > {0}; {deaf} sleep 1000 & echo $! >> {0}; while IFS= read -r line; do {ECHO}; done; sleep 1000",
            pids.display()
        );
        let (server, exec) = serve(shell(&script));
        assert_eq!(Client::connect(server.local_addr()).ask("Bob"), "Bob\n");
        at_rest(&server);
        server.shutdown(PATIENCE);
        let all = fs::read_to_string(&pids).unwrap();
        assert!(all.lines().count() >= 2 && all.lines().all(is_there), "{all}");
        exec.stop();
        wait_until("nobody is left", || !all.lines().any(is_there));
        assert!(exec.stats().running == 0 && !exec.is_ready());
    }
}

#[test]
fn the_last_handle_that_is_dropped_ends_the_processes() {
    let directory = TestDirectory::new();
    let ended = directory.file("ended");
    let script = format!("while IFS= read -r line; do {ECHO}; done; echo at the end of stdin > {}", ended.display());
    let (server, exec) = serve(shell(&script));
    assert_eq!(Client::connect(server.local_addr()).ask("Bob"), "Bob\n");
    drop(exec);
    at_rest(&server);
    assert!(!ended.exists());
    drop(server);
    wait_until("it has read the end", || ended.exists());
}

#[test]
fn a_stop_answers_what_is_with_a_process() {
    let (server, exec) = serve(for_each_line(&format!("sleep 0.3; {ECHO}")));
    let mut client = Client::connect(server.local_addr());
    client.send("Bob\nAnn\n");
    wait_until("it is parked", || server.stats().parked == 1);
    let report = server.shutdown(PATIENCE);
    assert_eq!((client.rest(), report.discarded), (b"Bob\nAnn\n".to_vec(), 0));
    exec.stop();
    drop(exec);
}
