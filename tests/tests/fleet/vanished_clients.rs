//! Clients whose packets stop coming, as behind a firewall that has forgotten them.

use std::time::{Duration, Instant};

use greeter_tests::alone;
use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::size::{figure, is_full};
use rustix::process::Signal;

use crate::network::{Host, Network};

const CLIENTS: usize = 20;

/// What keepalive and `TCP_USER_TIMEOUT` come to, and some more.
const GIVEN_UP: Duration = Duration::from_secs(120);

const DROP: &str = "add table ip cut\nadd chain ip cut forward { type filter hook forward priority 0; policy drop; }\n";

/// Clients that were greeted.
fn clients(network: &Network) -> Vec<Client> {
    network.on(Host::Clients, || {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::connect(format!("{}:7", Host::PodA.ip()))).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("Bob"), "Hello, Bob\n"));
        clients
    })
}

/// Has nothing reach anybody any more, the ends of these clients neither.
fn vanish(network: &Network, clients: Vec<Client>) {
    network.filter(DROP);
    drop(clients);
}

/// The timeout for silence does not need the client for anything.
#[test]
fn clients_that_have_vanished_are_given_up_when_they_have_been_silent_for_long_enough() {
    let _alone = alone();
    let Some(network) = Network::new() else { return };
    let mut server = network.serve(Host::PodA, &["--idle-timeout", "2s", "--linger", "100ms"]);
    let before = server.descriptors();
    let clients = clients(&network);
    vanish(&network, clients);
    wait_until("their descriptors are free", || server.descriptors() == before);
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).0.success());
}

/// Without any timeout of the server's, TCP notices. That takes a minute and a half: at full size.
/// What every run sees is that each connection has the timer for it.
#[test]
fn clients_that_have_vanished_are_noticed_by_keepalive_where_silence_is_allowed() {
    let _alone = alone();
    let Some(network) = Network::new() else { return };
    let server = network.serve(Host::PodA, &["--idle-timeout", "off"]);
    let before = server.descriptors();
    let clients = clients(&network);
    assert_eq!(server.descriptors(), before + CLIENTS);
    let connections = network.connections(Host::PodA);
    let is_kept_alive = |line: &&String| line.contains("timer:(keepalive,");
    assert_eq!(connections.iter().filter(is_kept_alive).count(), CLIENTS, "{connections:?}");
    vanish(&network, clients);
    let begun = Instant::now();
    while is_full() && server.descriptors() > before {
        assert!(begun.elapsed() < GIVEN_UP, "{} descriptors in place of {before}", server.descriptors());
        std::thread::sleep(Duration::from_millis(100));
    }
    figure("vanished clients are noticed", format!("after {:.0} s", begun.elapsed().as_secs_f64()));
}
