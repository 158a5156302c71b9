//! Each server of a fleet is replaced, one after the other, while clients come and go.

use std::net::SocketAddr;
use std::time::Duration;

use greeter_client::load::{self, Load, RunningLoad};
use greeter_client::talk::Script;
use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::process::TestedServer;
use greeter_tests::size::{figure, sized};
use greeter_tests::{alone, missing_program};
use rustix::process::Signal;

use crate::balancer::{BOTH, Balancer};
use crate::crowd::{Crowd, nobody_is_harmed, sum};
use crate::network::{Host, Network, PODS};

/// Once SIGTERM has come, they go on until a second one says that their clients are done, which
/// here is seen and not waited for by the clock.
const DELAYED: [&str; 4] = ["--drain-delay", "1h", "--max-connections-per-address", "off"];

/// Two lines in one piece, one more, and the end.
const SESSION: &str = "> {{#}} Ann\n> Ben\n< Hello, {{#}} Ann\n< Hello, Ben\n> Cid\n< Hello, Cid\n>eof\n<eof\n";

/// How many sessions are between two steps of an operator, at the least.
const MEANWHILE: u64 = 50;

/// Sessions one after the other, eight at a time, until it is stopped.
fn sessions(address: SocketAddr) -> Load {
    let script = Script::parse("session", SESSION).expect("it is a script");
    let mut load = Load::scripts(address.into(), vec![script]);
    (load.connections, load.warmup, load.duration) = (8, Duration::ZERO, PATIENCE * 100);
    (load.anywhere, load.timeout) = (true, Some(PATIENCE));
    load
}

/// Waits until so many more sessions have passed.
fn goes_on(load: &mut RunningLoad) {
    let mut progress = || load.wait(Duration::from_millis(5)).expect("the load goes on");
    let before = progress().replies;
    wait_until("sessions pass", || progress().replies >= before + sized(MEANWHILE, 20 * MEANWHILE));
}

/// Stops the load, of which nothing has gone wrong.
fn ends_without_errors(mut load: RunningLoad, what: &str) {
    load.stop();
    let report = load.finish().expect("nothing was missed");
    assert_eq!((report.errors(), report.connections_lost()), (0, 0), "{report}");
    figure(what, format!("{} sessions, {:.0}/s, 0 errors", report.sent(), report.per_second()));
}

/// Begins the end of a server whose clients are gone, and waits for it.
fn has_lost_nothing(server: &mut TestedServer) {
    server.signal(Signal::TERM);
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success() && log.contains("discarded=0"), "{log}");
    // Pods listen where others can connect.
    let warnings = log.matches("WARN").count() - log.matches("WARN Listening where").count();
    assert!(warnings == 0 && !log.contains("ERROR"), "{log}");
}

#[test]
fn behind_haproxy_no_session_notices_a_rolling_restart() {
    let _alone = alone();
    if missing_program("haproxy", "haproxy") {
        return;
    }
    let balancer = Balancer::start();
    let mut servers = BOTH.map(|name| balancer.serve(name, &DELAYED));
    let mut load = load::start(sessions(balancer.address)).expect("the balancer takes clients");
    for (name, server) in BOTH.into_iter().zip(&mut servers) {
        goes_on(&mut load);
        // Its agent says so, and it takes clients as ever until the balancer has heard.
        server.signal(Signal::TERM);
        balancer.wait_until_draining(name);
        wait_until("those who had come are done", || balancer.sessions(name) == 0);
        has_lost_nothing(server);
        goes_on(&mut load);
        let before = balancer.figure(name, "stot");
        *server = balancer.serve(name, &DELAYED);
        wait_until("it is sent clients", || balancer.figure(name, "stot") > before);
    }
    ends_without_errors(load, "rolling restart behind HAProxy");
}

#[test]
fn behind_haproxy_those_who_stay_change_servers_between_two_lines() {
    let _alone = alone();
    if missing_program("haproxy", "haproxy") {
        return;
    }
    let balancer = Balancer::start();
    let mut servers = BOTH.map(|name| balancer.serve(name, &DELAYED));
    let crowd = Crowd::new(balancer.address, 8);
    let mut moved = 0;
    for (name, server) in BOTH.into_iter().zip(&mut servers) {
        server.signal(Signal::TERM);
        balancer.wait_until_draining(name);
        moved += balancer.sessions(name);
        crowd.each_is_greeted();
        has_lost_nothing(server);
        crowd.each_is_greeted();
        *server = balancer.serve(name, &DELAYED);
    }
    let accounts = crowd.leave();
    nobody_is_harmed(&accounts);
    assert_eq!((sum(&accounts, |it| it.ended), sum(&accounts, |it| it.told)), (moved, 0), "{accounts:?}");
    let [greeted, again] = [sum(&accounts, |it| it.greeted), sum(&accounts, |it| it.sent_again)];
    figure("those who stay", format!("{greeted} lines greeted; {moved} moved, {again} of them with a line on its way"));
}

/// Has the node deal new connections to these, as kube-proxy does with nftables. Connections that
/// there are stay where they are.
fn deal(network: &Network, pods: &[Host]) {
    let map: Vec<_> = pods.iter().zip(0..).map(|(pod, number)| format!("{number} : {}", pod.ip())).collect();
    network.filter(&format!(
        "flush chain ip service dealt\nadd rule ip service dealt ip daddr 10.99.100.1 tcp dport 7 \
         dnat to numgen random mod {} map {{ {} }}\n",
        pods.len(),
        map.join(", ")
    ));
}

#[test]
fn behind_nftables_as_kube_proxy_has_it_no_session_notices_a_rolling_restart() {
    let _alone = alone();
    let Some(network) = Network::new() else { return };
    network.filter("add table ip service\nadd chain ip service dealt { type nat hook prerouting priority -100; }\n");
    deal(&network, &PODS);
    let mut servers = PODS.map(|pod| network.serve(pod, &DELAYED));
    let service = "10.99.100.1:7".parse().expect("it is an address");
    let mut load = network.on(Host::Clients, || load::start(sessions(service))).expect("the node deals clients");
    for (pod, server) in PODS.into_iter().zip(&mut servers) {
        goes_on(&mut load);
        // It is told at the same time as the nodes are, and so before them.
        server.signal(Signal::TERM);
        let ask = || Client::connect(format!("{}:7", pod.ip())).ask("Bob");
        assert_eq!(network.on(Host::Clients, ask), "Hello, Bob\n", "it is still dealt clients");
        goes_on(&mut load);
        deal(&network, &PODS.into_iter().filter(|other| *other != pod).collect::<Vec<_>>());
        wait_until("those who had come are done", || network.connections(pod).is_empty());
        has_lost_nothing(server);
        goes_on(&mut load);
        *server = network.serve(pod, &DELAYED);
        deal(&network, &PODS);
        wait_until("it is dealt clients", || !network.connections(pod).is_empty());
    }
    ends_without_errors(load, "rolling restart behind nftables");
}
