//! Options that change while clients are connected.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use greeter_server::{BuildError, Builder, CloseReason, Greeter, Listener, ServerHandle, WhenFull};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::puppet::Puppet;
use greeter_tests::{answered_by, in_both_placements, spawn};

/// Sooner than any test ends that waits for it.
const SOON: Duration = Duration::from_millis(50);
const NEVER: Duration = Duration::from_secs(100_000);

#[track_caller]
fn reload(server: &ServerHandle, options: Builder<Greeter>) {
    let report = server.reload(options).expect("the options are good");
    assert_eq!(report.needs_restart, Vec::<&str>::new());
}

fn closed(server: &ServerHandle, reason: CloseReason) {
    wait_until("it is closed", || server.stats().closed_by[reason] == 1);
}

#[test]
fn timeouts_hold_at_once_for_whoever_is_waited_for() {
    in_both_placements(|workers| {
        let options = || answered_by(workers).idle_timeout(NEVER).line_timeout(NEVER).write_timeout(NEVER);
        let server = spawn(options().responder(Puppet::default()));
        let mut idle = Client::connect(server.local_addr());
        assert_eq!(idle.ask("echo a"), "a\n");
        reload(&server, options().idle_timeout(SOON));
        assert_eq!(idle.rest(), b"error: idle for 50ms\n");
        reload(&server, options());
        let mut reading = Client::connect(server.local_addr());
        reading.send("ech");
        wait_until("it has begun", || server.connections().iter().any(|client| client.bytes_received == 3));
        reload(&server, options().line_timeout(SOON));
        assert_eq!(reading.rest(), b"error: line not finished within 50ms\n");
        reload(&server, options());
        let mut writing = Client::connect_with_small_buffer(server.local_addr());
        writing.send("big 50000000\n");
        wait_until("it has a part", || server.connections().iter().any(|client| client.bytes_sent > 0));
        reload(&server, options().write_timeout(SOON));
        closed(&server, CloseReason::WriteTimeout);
        // And those who are given time again have it.
        reload(&server, options());
        let mut idle = Client::connect(server.local_addr());
        assert!(idle.hears_nothing_for(SOON * 3));
        drop((idle, reading, writing));
        at_rest(&server);
    });
}

#[test]
fn a_reply_has_the_time_that_holds_now() {
    let puppet = Arc::new(Puppet::default());
    let options = || answered_by(1).reply_timeout(NEVER).queue_timeout(NEVER);
    let server = spawn(options().responder(Arc::clone(&puppet)));
    let mut hanging = Client::connect(server.local_addr());
    hanging.send("hang a\n");
    wait_until("it is answered", || server.workers().len() == 1 && !server.connections().is_empty());
    let mut queued = Client::connect(server.local_addr());
    queued.send("echo b\n");
    wait_until("it is queued", || server.connections().len() == 2);
    reload(&server, options().queue_timeout(SOON));
    assert_eq!(queued.text(), "error: busy\n");
    reload(&server, options().reply_timeout(SOON));
    assert_eq!(hanging.text(), "error: timed out\n");
    puppet.release();
    drop((hanging, queued));
    at_rest(&server);
}

#[test]
fn a_line_may_be_as_long_as_holds_now() {
    in_both_placements(|workers| {
        let server = spawn(answered_by(workers).max_line_bytes(10));
        let mut client = Client::connect(server.local_addr());
        let (short, long) = ("x".repeat(10), "x".repeat(100));
        let too_long = |most: usize| format!("error: line longer than {most} bytes\n");
        assert_eq!(client.ask(&long), too_long(10));
        reload(&server, answered_by(workers).max_line_bytes(100));
        // The thread has that before what it reads next.
        assert_eq!(server.connections().len(), 1);
        assert_eq!(client.ask(&long), format!("Hello, {long}\n"));
        reload(&server, answered_by(workers).max_line_bytes(9));
        assert_eq!(server.connections().len(), 1);
        assert_eq!(client.ask(&short), too_long(9));
        drop(client);
        at_rest(&server);
    });
}

#[test]
fn those_who_are_in_stay_and_those_who_come_find_what_holds_now() {
    let server = spawn(answered_by(1).max_connections(2).when_full(WhenFull::Reject));
    let connect = || Client::connect(server.local_addr());
    let mut clients = vec![connect(), connect()];
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("Bob"), "Hello, Bob\n"));
    assert_eq!(connect().rest(), b"error: too many connections\n");
    reload(&server, answered_by(1).max_connections(3));
    clients.push(connect());
    assert_eq!(clients[2].ask("Bob"), "Hello, Bob\n");
    reload(&server, answered_by(1).max_connections(10).max_connections_per_address(2));
    assert_eq!(connect().rest(), b"error: too many connections from your address\n");
    reload(&server, answered_by(1).max_connections(1).when_full(WhenFull::Wait));
    let mut waiting = connect();
    waiting.send("Ann\n");
    assert!(waiting.hears_nothing_for(SOON));
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("Bob"), "Hello, Bob\n"));
    reload(&server, answered_by(1).max_connections(4));
    assert_eq!(waiting.text(), "Hello, Ann\n");
    drop((clients, waiting));
    at_rest(&server);
}

#[test]
fn those_who_wait_for_room_find_it_in_a_larger_budget() {
    let options = |bytes| answered_by(1).max_unsent_bytes(1000).max_line_bytes(100_000).max_buffer_bytes(bytes);
    let server = spawn(options(300_000));
    let hold = || {
        let mut client = Client::connect(server.local_addr());
        client.send("x".repeat(90_000));
        client
    };
    let mut clients: Vec<_> = (0..10).map(|_| hold()).collect();
    wait_until("there is no more", || server.stats().closed_by[CloseReason::Overloaded] > 0);
    drop(clients);
    wait_until("they are gone", || server.stats().served == 0);
    let before = server.stats().closed_by[CloseReason::Overloaded];
    reload(&server, options(10_000_000));
    clients = (0..10).map(|_| hold()).collect();
    for client in &mut clients {
        client.send("\n");
        assert_eq!(client.text().len(), 90_008);
    }
    assert_eq!(server.stats().closed_by[CloseReason::Overloaded], before);
    drop(clients);
    at_rest(&server);
}

#[test]
fn newcomers_have_the_time_and_the_places_that_hold_now() {
    let options = || answered_by(1).handshake_timeout(NEVER).max_handshakes(1);
    let listener = Listener::from("127.0.0.1:0").proxy_from(["127.0.0.1"]);
    let server = options().bind(listener).expect("loopback has a free port").spawn().expect("threads can be had");
    let mut silent = vec![Client::connect(server.local_addr())];
    wait_until("it is in the lobby", || server.stats().handshakes == 1);
    reload(&server, options().max_handshakes(5));
    silent.extend((0..4).map(|_| Client::connect(server.local_addr())));
    wait_until("they are in the lobby", || server.stats().handshakes == 5);
    reload(&server, options().handshake_timeout(SOON));
    silent.iter_mut().for_each(|client| assert_eq!(client.rest(), b""));
    assert_eq!(at_rest(&server).closed_by[CloseReason::HandshakeTimeout], 5);
}

/// Of the acceptor, and of a lobby.
#[test]
fn whoever_was_rejected_lingers_for_the_time_that_holds_now() {
    let options = |linger| answered_by(1).max_connections_per_address(1).linger_timeout(linger);
    let proxied = Listener::from("127.0.0.1:0").proxy_from(["127.0.0.1"]);
    let server = spawn(options(NEVER).listen(proxied));
    let [proxied, plain] = server.local_addrs() else { panic!("there are two") };
    let mut served = Client::connect(plain);
    assert_eq!(served.ask("Bob"), "Hello, Bob\n");
    let mut rejected = [Client::connect(plain), Client::connect(proxied)];
    rejected[1].send("PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n");
    rejected.iter_mut().for_each(|client| assert_eq!(client.text(), "error: too many connections from your address\n"));
    assert_eq!(server.stats().closed, 0);
    reload(&server, options(SOON));
    wait_until("they have gone", || server.stats().closed_by[CloseReason::AddressLimit] == 2);
    drop((served, rejected));
    at_rest(&server);
}

/// One that begins without a lobby has one as soon as somebody owes something.
#[test]
fn whoever_comes_is_asked_for_what_its_listener_asks_now() {
    let from = |networks: &[&str]| {
        let listener = Listener::from("127.0.0.1:0").proxy_from(networks);
        answered_by(1).responder(Puppet::default()).listen(listener)
    };
    let server = answered_by(1).responder(Puppet::default()).bind("127.0.0.1:0").unwrap().spawn().unwrap();
    assert_eq!(server.limits().max_handshakes, 0);
    let reload = |builder: Builder<Puppet>| server.reload(builder).expect("the options are good").needs_restart;
    let greets = |sent: &str, expected: &str| {
        // Threads have their mail before anybody who comes after it.
        let mut client = Client::connect(server.local_addr());
        assert_eq!(client.ask(&format!("{sent}echo a")), expected, "{sent}");
        client
    };
    let header = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    let mut first = greets("", "a\n");
    for _ in 0..2 {
        assert!(reload(from(&["127.0.0.0/8"])).is_empty());
        greets(header, "a\n");
        wait_until("nobody is left", || server.stats().served == 1);
        let before = server.stats().closed_by[CloseReason::ProxyHeader];
        Client::connect(server.local_addr()).send("echo a\n");
        wait_until("it is closed", || server.stats().closed_by[CloseReason::ProxyHeader] > before);
        assert_ne!(server.limits().max_handshakes, 0);
        // A builder without listeners is for the other options.
        assert!(reload(answered_by(1).responder(Puppet::default()).max_connections(7)).is_empty());
        greets(header, "a\n");
        assert!(reload(from(&["192.0.2.0/24"])).is_empty());
        greets("", "a\n");
        assert_eq!(first.ask("echo b"), "b\n", "whoever is in stays");
    }
    // What is wrong with one of them, and with an option, is told, and nothing changes.
    let wrong = from(&["127.0.0.1"]).listen(Listener::from("127.0.0.1:0").proxy_from(["10.0.0.1/8"])).max_line_bytes(0);
    let BuildError::Invalid(problems) = server.reload(wrong).expect_err("two are wrong") else { panic!() };
    assert_eq!(problems.len(), 2);
    greets("", "a\n");
    // A place that nobody listens at needs a restart, and what stands beside it does not.
    let elsewhere = || answered_by(1).responder(Puppet::default()).listen("127.0.0.2:0");
    assert_eq!(reload(elsewhere()), ["listen"]);
    greets("", "a\n");
    assert_eq!(reload(elsewhere().listen(Listener::from("127.0.0.1:0").proxy_from(["127.0.0.1"]))), ["listen"]);
    greets(header, "a\n");
    drop(first);
    at_rest(&server);
}

/// Its address says which of several it is: what is meant for one does not hold at another.
#[test]
fn an_opened_socket_is_known_by_its_address() {
    let [first, second] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("loopback has a free port"));
    let again = |socket: &TcpListener| Listener::opened(socket.try_clone().expect("there are descriptors"));
    let options = || answered_by(1).responder(Puppet::default());
    let server = options().listen(again(&first)).bind(again(&second)).unwrap().spawn().unwrap();
    let asks = |socket: &TcpListener, sent: &str| {
        let address = socket.local_addr().expect("it is bound");
        assert_eq!(Client::connect(address).ask(&format!("{sent}echo a")), "a\n", "{sent}");
    };
    let header = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    let proxied = |socket: &TcpListener| again(socket).proxy_from(["127.0.0.1"]);
    // One that it does not have is another place.
    let other = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    for (reloaded, needs_restart, (sent_to_first, sent_to_second)) in [
        (options().listen(proxied(&second)), &["listen"][..], ("", header)),
        (options().listen(proxied(&other)), &["listen"], ("", header)),
        (options().listen(again(&second)).listen(proxied(&first)), &[], (header, "")),
    ] {
        assert_eq!(server.reload(reloaded).unwrap().needs_restart, needs_restart);
        asks(&first, sent_to_first);
        asks(&second, sent_to_second);
    }
    assert!(server.reload(options().listen(again(&first)).listen(again(&second))).unwrap().needs_restart.is_empty());
    asks(&first, "");
}

#[test]
fn listeners_in_another_order_are_the_same() {
    let at = |address: &str, networks: &[&str]| Listener::from(address).proxy_from(networks);
    let server = answered_by(1).listen("127.0.0.1:0").listen("127.0.0.2:0").build().unwrap().spawn().unwrap();
    reload(&server, answered_by(1).listen(at("127.0.0.2:0", &["127.0.0.0/8"])).listen("127.0.0.1:0"));
    let [plain, proxied] = server.local_addrs() else { panic!("there are two") };
    assert_eq!(Client::connect(plain).ask("Bob"), "Hello, Bob\n");
    assert_eq!(Client::connect(proxied).ask("PROXY UNKNOWN\r\nBob"), "Hello, Bob\n");
    // One that is missing, or one more, is not there before a restart.
    for others in [answered_by(1).listen("127.0.0.1:0"), answered_by(1).listen("127.0.0.1:0").listen("127.0.0.1:0")] {
        let report = server.reload(others.listen("127.0.0.3:0")).expect("the options are good");
        assert_eq!(report.needs_restart, ["listen"]);
    }
    let fewer = server.reload(answered_by(1).listen("127.0.0.2:0")).expect("the options are good");
    assert_eq!(fewer.needs_restart, ["listen"]);
}

#[test]
fn what_is_invalid_changes_nothing_and_what_needs_a_restart_is_named() {
    let server = spawn(answered_by(2).max_connections(7));
    let limits = server.limits();
    let invalid = answered_by(2).max_connections(8).idle_timeout(Duration::ZERO).max_line_bytes(0);
    let BuildError::Invalid(problems) = server.reload(invalid).expect_err("two options are invalid") else {
        panic!("nothing is listened on")
    };
    assert_eq!((problems.len(), server.limits()), (2, limits));
    let others = answered_by(3).max_connections(9).connection_threads(2).telnet(true).tcp_keepalive(false);
    let report = server.reload(others).expect("the options are good");
    assert_eq!(report.needs_restart, ["workers", "connection_threads", "telnet", "tcp_keepalive"]);
    assert_eq!((server.limits().max_connections, server.workers().len()), (9, 2));
}

/// Its file is there, and whoever may connect to it may.
#[test]
fn who_may_connect_to_a_unix_socket_needs_a_restart_and_its_proxies_do_not() {
    let directory = TestDirectory::new();
    let listener = |mode| Listener::unix(directory.file("s")).mode(mode);
    let server = answered_by(1).bind(listener(0o600)).unwrap().spawn().unwrap();
    let reload = |listener| server.reload(answered_by(1).listen(listener)).expect("it is good").needs_restart;
    assert!(reload(listener(0o600)).is_empty());
    assert_eq!(server.limits().max_handshakes, 0);
    assert_eq!(reload(listener(0o660).proxy_from(["unix"])), ["listen"]);
    assert_ne!(server.limits().max_handshakes, 0, "it is known by its path");
    assert_eq!(directory.file("s").metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_server_that_has_ended_keeps_no_responder_to_ask() {
    let puppet = Arc::new(Puppet::default());
    let server = spawn(answered_by(1).responder(Arc::clone(&puppet)));
    server.shutdown(PATIENCE);
    assert_eq!(Arc::strong_count(&puppet), 1);
    reload(&server, answered_by(1).max_connections(5));
    assert_ne!(server.limits().max_connections, 5);
}

#[test]
fn clients_do_not_notice() {
    in_both_placements(|workers| {
        let server = spawn(answered_by(workers));
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = Client::connect(server.local_addr());
                    for name in 0..500 {
                        assert_eq!(client.ask(&name.to_string()), format!("Hello, {name}\n"));
                    }
                    is_over.store(true, Ordering::Relaxed);
                });
            }
            let mut timeout = PATIENCE;
            while !is_over.load(Ordering::Relaxed) {
                timeout += Duration::from_secs(1);
                reload(
                    &server,
                    answered_by(workers).idle_timeout(timeout).max_unsent_bytes(timeout.as_millis() as usize),
                );
            }
        });
        assert_eq!(at_rest(&server).replies, 2000);
    });
}

#[test]
fn a_time_beyond_all_clocks_is_as_good_as_none() {
    const ETERNITY: Duration = Duration::MAX;
    in_both_placements(|workers| {
        let timeouts = answered_by(workers).line_timeout(ETERNITY).idle_timeout(ETERNITY).write_timeout(ETERNITY);
        let timeouts = timeouts.reply_timeout(ETERNITY).queue_timeout(ETERNITY).handshake_timeout(ETERNITY);
        let options = timeouts.linger_timeout(ETERNITY).max_session_time(ETERNITY).drain_spread(ETERNITY);
        let options = options.max_connections(8).when_full(WhenFull::Reject);
        let server = spawn(options.listen(Listener::from("127.0.0.1:0").proxy_from(["127.0.0.1"])));
        let [proxied, plain] = server.local_addrs() else { panic!("there are two") };
        let mut newcomer = Client::connect(proxied);
        // Half of all ids have more than the average share of a session's time.
        let mut clients: Vec<_> = (0..7).map(|_| Client::connect(plain)).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("Bob"), "Hello, Bob\n"));
        assert_eq!(Client::connect(plain).text(), "error: too many connections\n");
        newcomer.send("PROXY UNKNOWN\r\n");
        assert_eq!(newcomer.ask("Eve"), "Hello, Eve\n");
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("Ann"), "Hello, Ann\n"));
    });
}
