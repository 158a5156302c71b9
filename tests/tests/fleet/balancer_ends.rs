//! How sessions end that HAProxy ends, or whose client has stopped sending.

use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::{alone, missing_program};
use rustix::process::Signal;

use crate::balancer::{BOTH, Balancer, Name};

const LINES: usize = 3;

/// HAProxy tells the server of that end, and then it is `timeout server-fin` that bounds the wait.
#[test]
fn a_client_that_has_stopped_sending_gets_its_replies_through_the_balancer() {
    let _alone = alone();
    if missing_program("haproxy", "haproxy") {
        return;
    }
    let balancer = Balancer::start();
    let mut server = balancer.serve(Name::A, &["--work", "300ms"]);
    let mut client = Client::connect(balancer.address);
    client.send("Bob\n".repeat(LINES));
    assert_eq!(client.finish(), b"Hello, Bob\n".repeat(LINES));
    drop(client);
    server.signal(Signal::TERM);
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success() && log.contains("lines=3 reason=the client stopped sending"), "{log}");
}

#[test]
fn sessions_that_the_balancer_ends_are_over_for_client_and_server_and_no_others() {
    let _alone = alone();
    if missing_program("haproxy", "haproxy") {
        return;
    }
    let balancer = Balancer::start();
    let mut servers = BOTH.map(|name| balancer.serve(name, &[]));
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(balancer.address)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("Bob"), "Hello, Bob\n"));
    let ended = balancer.sessions(Name::A);
    balancer.order("shutdown sessions server greeter/a");
    wait_until("the balancer has none left there", || balancer.sessions(Name::A) == 0);
    // Whose session goes on is greeted, and the others read the end.
    clients.iter_mut().for_each(|client| client.send_if_taken("Ann\n"));
    let replies: Vec<_> = clients.iter_mut().map(Client::line).collect();
    assert_eq!(replies.iter().filter(|reply| reply.is_none()).count(), ended, "{replies:?}");
    assert!(replies.iter().flatten().all(|reply| reply == b"Hello, Ann\n"), "{replies:?}");
    drop(clients);
    for server in &mut servers {
        server.signal(Signal::TERM);
        let (status, log) = server.wait(PATIENCE);
        assert!(status.success() && log.contains("discarded=0"), "{log}");
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    }
}
