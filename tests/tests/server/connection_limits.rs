//! How many clients there may be at a time is exact, and who is one too many is told so or waits.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use greeter_server::{Builder, CloseReason, ServerHandle, WhenFull};
use greeter_tests::books::{at_rest, balanced};
use greeter_tests::client::{Client, wait_until};
use greeter_tests::size::sized;
use greeter_tests::{PLACEMENTS, answered_by, builder, raise_descriptor_limit, spawn};

const ROOM: usize = 10;
const CROWD: usize = 40;
const THREADS: usize = 4;
const ROUNDS: usize = 20;

/// What a listener asks the system to keep.
const BACKLOG: usize = 4096;

const SORRY: &str = "error: too many connections\n";
const SORRY_HOUSEHOLD: &str = "error: too many connections from your address\n";

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Disconnect {
    Close,
    Reset,
}

#[test]
fn of_forty_at_once_ten_are_served_and_thirty_are_told_round_after_round() {
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).max_connections(ROOM));
        for farewell in [Disconnect::Close, Disconnect::Reset] {
            for round in 0..ROUNDS {
                assert_eq!(crowd(&server, farewell), (ROOM, ROOM as u64), "round {round}, {farewell:?}");
                at_rest(&server);
            }
        }
        let stats = server.stats();
        let turned_away = 2 * ROUNDS * (CROWD - ROOM);
        assert_eq!(stats.closed_by[CloseReason::ConnectionLimit], turned_away as u64);
        assert_eq!(stats.accepted, (2 * ROUNDS * CROWD) as u64);
    }
}

/// So many at once, who all stay until the last has heard what becomes of it. Tells how many were
/// served, by their own account and by the server's.
fn crowd(server: &ServerHandle, farewell: Disconnect) -> (usize, u64) {
    let everyone_knows = Barrier::new(THREADS);
    let part = || {
        let mut clients: Vec<_> = (0..CROWD / THREADS).map(|_| Client::connect(server.local_addr())).collect();
        let served = clients.iter_mut().map(|client| usize::from(is_served(client))).sum::<usize>();
        everyone_knows.wait();
        let serving = server.stats().served;
        everyone_knows.wait();
        for client in clients {
            match farewell {
                Disconnect::Close => drop(client),
                Disconnect::Reset => client.reset(),
            }
        }
        (served, serving)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(part)).collect();
        let parts = threads.into_iter().map(|thread| thread.join().expect("every client is served or told"));
        parts.fold((0, 0), |(all, most), (served, serving)| (all + served, most.max(serving)))
    })
}

/// Either it is greeted, or it is told that there is no room and then reads the end of the stream.
fn is_served(client: &mut Client) -> bool {
    let name = client.local_addr();
    let reply = client.ask(&name.to_string());
    if reply == SORRY {
        assert_eq!(client.line(), None);
        return false;
    }
    assert_eq!(reply, format!("Hello, {name}\n"));
    true
}

#[test]
fn who_may_wait_is_served_as_soon_as_another_leaves() {
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).max_connections(ROOM).when_full(WhenFull::Wait));
        let mut clients: Vec<_> = (0..CROWD).map(|_| Client::connect(server.local_addr())).collect();
        for client in &mut clients {
            client.send(format!("{}\n", client.local_addr()));
        }
        for here in 1..=CROWD {
            let mut first = clients.remove(0);
            assert_eq!(first.text(), format!("Hello, {}\n", first.local_addr()));
            let stats = server.stats();
            assert!(stats.served <= ROOM as u64 && stats.accepted < (ROOM + here) as u64, "{stats:?}");
        }
        assert_eq!(at_rest(&server).replies, CROWD as u64);
    }
}

#[test]
fn an_address_has_its_share_and_what_others_do_does_not_touch_it() {
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).max_connections_per_address(2).max_connections(7));
        let come =
            |household: u8| Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, household)), server.local_addr());
        let served = |household| {
            let mut client = come(household);
            assert_eq!(client.ask("Bob"), "Hello, Bob\n");
            client
        };
        let mut here: Vec<_> = [2, 2, 3, 3, 4, 4].map(served).into();
        for household in [2, 3, 4] {
            let mut too_many = come(household);
            assert_eq!(too_many.text(), SORRY_HOUSEHOLD);
            assert_eq!(too_many.line(), None);
        }
        here.push(served(5));
        // There would be another from this address, if there were any room.
        assert_eq!(come(5).text(), SORRY);

        let leaver = here.remove(0);
        drop(leaver);
        wait_until("it has left", || server.stats().served == 6);
        here.push(served(2));
        drop(here);
        let stats = at_rest(&server);
        assert_eq!((stats.closed_by[CloseReason::AddressLimit], stats.closed_by[CloseReason::ConnectionLimit]), (3, 1));
    }
}

/// However many one address holds, and for as long as they like to linger, another has nothing to
/// do with that.
#[test]
fn an_address_at_its_limit_keeps_nobody_else_out() {
    for workers in PLACEMENTS {
        let builder = answered_by(workers).max_connections_per_address(3).linger_timeout(Duration::from_secs(3600));
        let server = spawn(builder);
        let from = |host| Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), server.local_addr());
        let served = |host| {
            let mut client = from(host);
            assert_eq!(client.ask("Bob"), "Hello, Bob\n");
            client
        };
        let mut here: Vec<_> = (0..3).map(|_| served(1)).collect();
        for stranger in 2..5 {
            let too_many: Vec<_> = (0..100).map(|_| from(1)).collect();
            here.push(served(stranger));
            for mut client in too_many {
                assert_eq!(client.text(), SORRY_HOUSEHOLD);
                here.push(client);
            }
        }
        drop(here);
        assert_eq!(at_rest(&server).closed_by[CloseReason::AddressLimit], 300);
    }
}

/// Those whom the system has connected when the server stops are served, as many as there is room
/// for, and the others are told.
#[test]
fn whoever_is_in_the_backlog_at_a_stop_is_served_or_told() {
    raise_descriptor_limit();
    for (workers, when_full) in
        PLACEMENTS.into_iter().flat_map(|workers| [(workers, WhenFull::Reject), (workers, WhenFull::Wait)])
    {
        let server = spawn(answered_by(workers).max_connections(ROOM).when_full(when_full));
        server.pause_accepting();
        // At full size, as many as the system has room for (listen(2) counts one more).
        let waiting = sized(5 * CROWD, BACKLOG + 1);
        let mut clients: Vec<_> = (0..waiting).map(|_| Client::connect(server.local_addr())).collect();
        clients.iter_mut().for_each(|client| client.send("Bob\n"));
        let report = server.shutdown(Duration::from_secs(20));
        let replies: Vec<_> = clients.iter_mut().map(Client::rest).collect();
        let served = replies.iter().filter(|reply| *reply == b"Hello, Bob\n").count();
        let told = replies.iter().filter(|reply| *reply == SORRY.as_bytes()).count();
        assert_eq!((served, told), (ROOM, waiting - ROOM), "{workers} workers, {when_full:?}");
        // A few may have slipped in before the order to pause came.
        let stats = report.stats;
        assert_eq!((stats.replies, stats.discarded), (served as u64, 0));
        assert_eq!(stats.closed_by[CloseReason::ConnectionLimit], told as u64);
        assert_eq!(stats.rejected, told as u64);
        assert!(report.rejected <= told as u64 && report.replies <= served as u64, "{report:?}");
        // Those for whom there is no room wait in the backlog until the stop refuses them.
        assert!(when_full == WhenFull::Reject || report.rejected == told as u64, "{report:?}");
        balanced(&report.stats);
    }
}

/// The library's own default, which is the binary's as well.
#[test]
fn unless_told_otherwise_an_address_has_a_thousand_and_others_have_the_rest() {
    raise_descriptor_limit();
    let server = spawn(builder());
    assert_eq!(server.limits().max_connections_per_address, Some(1000));
    let clients: Vec<_> = (0..1000).map(|_| Client::connect(server.local_addr())).collect();
    assert_eq!(Client::connect(server.local_addr()).text(), SORRY_HOUSEHOLD);
    let mut stranger = Client::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), server.local_addr());
    assert_eq!(stranger.ask("Bob"), "Hello, Bob\n");
    drop((clients, stranger));
    assert_eq!(at_rest(&server).closed_by[CloseReason::AddressLimit], 1);
}

#[test]
fn a_thousand_too_many_are_all_told() {
    let server = spawn(builder().max_connections(1));
    let address = server.local_addr();
    let mut served = Client::connect(address);
    assert_eq!(served.ask("Bob"), "Hello, Bob\n");
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(move || {
                for _ in 0..1000 / THREADS {
                    let mut client = Client::connect(address);
                    assert_eq!(client.text(), SORRY);
                    assert_eq!(client.line(), None);
                }
            });
        }
    });
    assert_eq!(served.ask("Bob"), "Hello, Bob\n");
    drop(served);
    assert_eq!(at_rest(&server).closed_by[CloseReason::ConnectionLimit], 1000);
}

#[test]
fn descriptors_that_are_spared_are_no_clients() {
    let possible = |spare: Option<usize>| {
        let builder = answered_by(1).max_connections(10_000_000);
        spawn(spare.into_iter().fold(builder, Builder::spare_descriptors)).limits().max_connections
    };
    let by_default = possible(None);
    assert_eq!((possible(Some(64)), possible(Some(164))), (by_default, by_default - 100));
}
