//! How many clients there may be at a time is exact, and who is one too many is told so or waits.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Barrier;
use std::thread;

use greeter_server::{CloseReason, ServerHandle, WhenFull};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::{PLACEMENTS, builder, spawn};

const ROOM: usize = 10;
const CROWD: usize = 40;
const THREADS: usize = 4;
const ROUNDS: usize = 20;

const SORRY: &str = "error: too many connections\n";
const SORRY_HOUSEHOLD: &str = "error: too many connections from your address\n";

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Farewell {
    Close,
    Reset,
}

#[test]
fn of_forty_at_once_ten_are_served_and_thirty_are_told_round_after_round() {
    for workers in PLACEMENTS {
        let server = spawn(builder().workers(workers).connections_max(ROOM));
        for farewell in [Farewell::Close, Farewell::Reset] {
            for round in 0..ROUNDS {
                assert_eq!(crowd(&server, farewell), (ROOM, ROOM as u64), "round {round}, {farewell:?}");
                at_rest(&server);
            }
        }
        let stats = server.stats();
        let turned_away = 2 * ROUNDS * (CROWD - ROOM);
        assert_eq!(stats.closed_by[CloseReason::ServerFull], turned_away as u64);
        assert_eq!(stats.accepted, (2 * ROUNDS * CROWD) as u64);
    }
}

/// So many at once, who all stay until the last has heard what becomes of it. Tells how many were served, by their own account and
/// by the server's.
fn crowd(server: &ServerHandle, farewell: Farewell) -> (usize, u64) {
    let everyone_knows = Barrier::new(THREADS);
    let part = || {
        let mut clients: Vec<_> = (0..CROWD / THREADS).map(|_| Client::connect(server.local_addr())).collect();
        let served = clients.iter_mut().map(|client| usize::from(is_served(client))).sum::<usize>();
        everyone_knows.wait();
        let serving = server.stats().serving;
        everyone_knows.wait();
        for client in clients {
            match farewell {
                Farewell::Close => drop(client),
                Farewell::Reset => client.reset(),
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
        let server = spawn(builder().workers(workers).connections_max(ROOM).when_full(WhenFull::Wait));
        let mut clients: Vec<_> = (0..CROWD).map(|_| Client::connect(server.local_addr())).collect();
        for client in &mut clients {
            client.send(format!("{}\n", client.local_addr()));
        }
        for here in 1..=CROWD {
            let mut first = clients.remove(0);
            assert_eq!(first.text(), format!("Hello, {}\n", first.local_addr()));
            let stats = server.stats();
            assert!(stats.serving <= ROOM as u64 && stats.accepted < (ROOM + here) as u64, "{stats:?}");
        }
        assert_eq!(at_rest(&server).replies, CROWD as u64);
    }
}

#[test]
fn an_address_has_its_share_and_what_others_do_does_not_touch_it() {
    for workers in PLACEMENTS {
        let server = spawn(builder().workers(workers).connections_per_address_max(2).connections_max(7));
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
        wait_until("it has left", || server.stats().serving == 6);
        here.push(served(2));
        drop(here);
        let stats = at_rest(&server);
        assert_eq!((stats.closed_by[CloseReason::AddressFull], stats.closed_by[CloseReason::ServerFull]), (3, 1));
    }
}

/// Being told takes a descriptor and some time too, so there is a bound to that as well: beyond it, clients wait for their turn.
#[test]
fn a_thousand_too_many_are_all_told() {
    let server = spawn(builder().connections_max(1));
    let address: SocketAddr = server.local_addr();
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
    assert_eq!(at_rest(&server).closed_by[CloseReason::ServerFull], 1000);
}
