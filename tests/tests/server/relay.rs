//! A responder between its clients and somebody who has much to say: it sends the next piece when
//! the last one was taken.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use greeter_server::{
    BoxError, Builder, ClientId, CloseReason, Delivery, Later, Line, Peer, PushHandle, Reply, Responder, ServerHandle,
    WhenLate,
};
use greeter_tests::books::at_rest;
use greeter_tests::client::{Client, wait_until};
use greeter_tests::{PLACEMENTS, answered_by, spawn};

use crate::kit::{TlsEnd, VERSIONS, World};

const PIECE: usize = 16 << 10;
const PIECES: usize = 640;

/// Sends pieces, and ends with the client's line or the end of its input.
struct Relay {
    push: PushHandle,
    told: Mutex<Sender<Delivery>>,
}

/// What is still to be sent to one client.
struct Stream {
    push: PushHandle,
    to: ClientId,
    next: usize,
    told: Sender<Delivery>,
    /// The answer that ends it; otherwise the server is asked for the end.
    last: Option<Later>,
}

impl Stream {
    fn send_next(mut self) {
        if self.next == PIECES {
            return match self.last {
                Some(later) => later.raw(""),
                None => self.push.close(self.to).expect("it has started"),
            };
        }
        let (push, to, bytes) = (self.push.clone(), self.to, piece(self.next));
        self.next += 1;
        let then = move |delivery| {
            self.told.send(delivery).unwrap_or_default();
            if delivery == Delivery::Taken {
                self.send_next();
            }
        };
        push.raw_then(to, bytes, then).expect("there is room");
    }
}

/// Returns a piece that is unlike those beside it.
fn piece(number: usize) -> Vec<u8> {
    let letters = b"abcdefghijklmnopqrstuvwxyz".iter().cycle().copied();
    letters.skip(number * 7 % 26).take(PIECE).collect()
}

fn all_pieces() -> Vec<u8> {
    (0..PIECES).flat_map(piece).collect()
}

impl Relay {
    fn stream(&self, to: ClientId, last: Option<Later>) {
        let told = self.told.lock().expect("nobody panics with it").clone();
        Stream { push: self.push.clone(), to, next: 0, told, last }.send_next();
    }
}

impl Responder for Relay {
    type Session = ClientId;

    fn connect(&self, peer: &Peer, _: &mut Reply<'_>) -> Result<ClientId, BoxError> {
        Ok(peer.id)
    }

    fn respond(&self, id: &mut ClientId, line: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
        if line.as_bytes() == b"go" {
            self.stream(*id, None);
        }
        Ok(())
    }

    fn wants_end_of_input(&self) -> bool {
        true
    }

    fn end_of_input(&self, id: &mut ClientId, _: CloseReason, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        self.stream(*id, Some(reply.later_with(WhenLate::Wait)));
        Ok(())
    }
}

fn relay(builder: Builder<greeter_server::Greeter>) -> (Builder<Relay>, Receiver<Delivery>) {
    let (told, tells) = channel();
    (builder.responder_with(move |push| Relay { push, told: Mutex::new(told) }), tells)
}

/// Asserts that a connection holds no more than a few pieces.
#[track_caller]
fn assert_little_is_held(server: &ServerHandle) {
    for connection in server.connections() {
        assert!(connection.bytes_held < 5 * PIECE, "{connection:?}");
    }
}

#[test]
fn a_slow_reader_receives_all_pieces_and_little_is_held() {
    for workers in PLACEMENTS {
        for half_closes in [false, true] {
            let (builder, tells) = relay(answered_by(workers));
            let server = spawn(builder);
            let mut client = Client::connect_with_small_buffer(server.local_addr());
            match half_closes {
                true => client.finish_sending(),
                false => client.send("go\n"),
            }
            let mut received = Vec::new();
            for _ in 0..PIECES / 10 {
                received.extend(client.bytes(10 * PIECE));
                assert_little_is_held(&server);
            }
            assert!(received == all_pieces(), "the pieces are whole and in order");
            if !half_closes {
                client.finish_sending();
            }
            assert_eq!(client.rest(), b"");
            let stats = at_rest(&server);
            let reason = if half_closes { CloseReason::ClientClosed } else { CloseReason::ResponderClosed };
            assert_eq!((stats.closed_by[reason], stats.pushed), (1, PIECES as u64));
            drop(server);
            let told: Vec<_> = tells.iter().collect();
            assert_eq!(told, [Delivery::Taken; PIECES]);
        }
    }
}

#[test]
fn in_tls_it_is_the_same() {
    let world = World::new();
    let (builder, tells) = relay(answered_by(0));
    let server = world.spawn(builder);
    for version in VERSIONS {
        for half_closes in [false, true] {
            let mut client = world.connect_in(version, &server);
            match half_closes {
                true => client.close_notify(),
                false => client.send("go\n"),
            }
            let (received, end) = client.rest();
            assert_eq!((received.len(), end), (PIECES * PIECE, TlsEnd::CloseNotify));
            assert!(received.as_bytes() == all_pieces(), "the pieces are whole and in order");
            client.shut_down();
        }
    }
    at_rest(&server);
    drop(server);
    assert_eq!(tells.iter().filter(|told| *told == Delivery::Taken).count(), 4 * PIECES);
}

#[test]
fn a_client_that_stops_reading_is_disconnected_and_all_are_told() {
    for workers in PLACEMENTS {
        let builder = answered_by(workers).max_unsent_bytes(64 << 20);
        let (builder, tells) = relay(builder.write_timeout(Duration::from_millis(200)));
        let server = spawn(builder);
        let mut client = Client::connect_with_small_buffer(server.local_addr());
        client.send("go\n");
        wait_until("it is disconnected", || server.stats().closed_by[CloseReason::WriteTimeout] == 1);
        at_rest(&server);
        drop(server);
        let told: Vec<_> = tells.iter().collect();
        let (last, before) = told.split_last().expect("something was pushed");
        assert_eq!(*last, Delivery::Lost);
        assert!(before.iter().all(|delivery| *delivery == Delivery::Taken));
    }
}

/// Whatever becomes of the clients and the server, each call is made once.
#[test]
fn many_threads_push_and_each_is_told_once() {
    const THREADS: usize = 4;
    const PUSHES: u64 = 500;
    let [taken, lost] = [0, 1].map(|_| Arc::new(AtomicU64::new(0)));
    let server = spawn(answered_by(0));
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(server.local_addr())).collect();
    clients.iter_mut().for_each(|client| drop(client.ask("Bob")));
    let ids: Vec<_> = server.connections().iter().map(|connection| connection.peer.id).collect();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (push, ids, taken, lost) = (server.push(), &ids, &taken, &lost);
            scope.spawn(move || {
                for number in 0..PUSHES {
                    let counts = [Arc::clone(taken), Arc::clone(lost)];
                    let to = ids[(thread as u64 + number) as usize % ids.len()];
                    let then = move |delivery| {
                        counts[usize::from(delivery == Delivery::Lost)].fetch_add(1, Ordering::Relaxed);
                    };
                    push.raw_then(to, format!("{thread} {number}\n"), then).expect("there is room");
                }
            });
        }
        let doomed = clients.pop().expect("there are some");
        doomed.reset();
        server.kill(ids[0]);
        clients[1].finish_sending();
    });
    server.shutdown(Duration::from_secs(30));
    let counts = [&taken, &lost].map(|count| count.load(Ordering::Relaxed));
    assert_eq!(counts.iter().sum::<u64>(), THREADS as u64 * PUSHES, "{counts:?}");
}

#[test]
fn a_push_to_a_server_that_is_gone_is_lost_at_once() {
    let server = spawn(answered_by(0));
    let mut client = Client::connect(server.local_addr());
    client.ask("Bob");
    let (id, push) = (server.connections()[0].peer.id, server.push());
    server.shutdown(Duration::from_secs(30));
    let (told, tells) = channel();
    push.raw_then(id, "late", move |delivery| told.send(delivery).unwrap_or_default()).expect("it had started");
    assert_eq!(tells.recv(), Ok(Delivery::Lost));
    push.close(id).expect("it had started");
}
