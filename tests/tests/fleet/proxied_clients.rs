//! Limits and the log behind HAProxy are about clients, and nobody else can say whose they are.

use std::net::IpAddr;

use greeter_tests::client::{Client, PATIENCE};
use greeter_tests::{alone, missing_program};
use rustix::process::Signal;

use crate::balancer::{Balancer, Name};

const MOST: usize = 3;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("it is an address")
}

#[test]
fn the_limit_for_an_address_counts_clients_and_not_the_balancer() {
    let _alone = alone();
    if missing_program("haproxy", "haproxy") {
        return;
    }
    let balancer = Balancer::start();
    let mut server = balancer.serve(Name::A, &["--max-connections-per-address", "3"]);
    let mut clients = Vec::new();
    for source in ["127.0.0.5", "127.0.0.6", "127.0.0.7"] {
        for _ in 0..MOST {
            let mut client = Client::connect_from(ip(source), balancer.address);
            assert_eq!(client.ask("Bob"), "Hello, Bob\n");
            clients.push(client);
        }
        let mut one_too_many = Client::connect_from(ip(source), balancer.address);
        assert_eq!(one_too_many.rest(), b"error: too many connections from your address\n");
    }
    let addresses: Vec<_> = clients.iter().map(Client::local_addr).collect();
    drop(clients);
    server.signal(Signal::TERM);
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success(), "{log}");
    for address in addresses {
        assert!(log.contains(&format!("Accepted connection. peer={address} via=127.0.0.1:")), "{address}: {log}");
    }
}

#[test]
fn whoever_is_no_balancer_cannot_say_that_it_is_somebody_else() {
    let _alone = alone();
    if missing_program("haproxy", "haproxy") {
        return;
    }
    let balancer = Balancer::start();
    let mut server = balancer.serve(Name::A, &["--max-connections-per-address", "1"]);
    let at = &*balancer.listen[Name::A as usize];
    // Past the balancer, and in its words: they are a line like any other.
    let forged = "PROXY TCP4 203.0.113.9 198.51.100.7 50412 80";
    let mut client = Client::connect_from(ip("127.0.0.9"), at);
    assert_eq!(client.ask(forged), format!("Hello, {forged}\n"));
    // And so the next one is from the same address, whatever it says.
    let mut other = Client::connect_from(ip("127.0.0.9"), at);
    other.send_if_taken("PROXY TCP4 203.0.113.10 198.51.100.7 50412 80\r\n");
    assert_eq!(other.text(), "error: too many connections from your address\n");
    // Through the balancer, too, they are a line behind its own header. At its own address, it is
    // a client itself while it checks.
    let mut through = Client::connect_from(ip("127.0.0.10"), balancer.address);
    assert_eq!(through.ask(forged), format!("Hello, {forged}\n"));
    let own = [client.local_addr(), through.local_addr()];
    drop((client, other, through));
    server.signal(Signal::TERM);
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success() && !log.contains("203.0.113."), "{log}");
    assert!(own.iter().all(|address| log.contains(&format!("peer={address}"))), "{log}");
}
