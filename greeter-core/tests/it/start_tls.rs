//! TLS that begins behind a reply.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use greeter_core::testing::TestClient;
use greeter_core::{
    BoxError, CloseReason, Connection, ConnectionConfig, ConnectionTimeouts, Line, Origin, Peer, Phase, PushMessage,
    Reply, Responder, TlsInfo, TlsVersion, TurnBudget,
};

/// Notes what it is told of TLS.
#[derive(Default)]
struct Upgrades(Mutex<Vec<Option<TlsVersion>>>);

impl Responder for Upgrades {
    type Session = u32;

    fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<u32, BoxError> {
        Ok(0)
    }

    fn respond(&self, said: &mut u32, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        *said += 1;
        match line.as_bytes() {
            b"starttls" => {
                reply.line("go ahead");
                reply.start_tls();
            }
            b"silently" => reply.start_tls(),
            b"close first" => {
                reply.close();
                reply.start_tls();
            }
            b"close last" => {
                reply.start_tls();
                reply.close();
            }
            b"bytes" => {
                reply.start_tls();
                reply.read_bytes(3)?;
            }
            b"later" => {
                reply.start_tls();
                drop(reply.later());
            }
            b"fail" => {
                reply.start_tls();
                return Err("no".into());
            }
            text => reply.line(format!("{said} {}", text.escape_ascii())),
        }
        Ok(())
    }

    fn tls_started(&self, said: &mut u32, peer: &Peer) {
        assert_ne!(*said, 13, "unlucky");
        *said = 100;
        self.0.lock().expect("nobody panics with it").push(peer.tls().map(|tls| tls.version));
    }
}

/// A client whose responder may start TLS.
fn by_request(upgrades: &Upgrades) -> TestClient<'_, Upgrades> {
    TestClient::connect_by(Origin::default().with_start_tls(), upgrades)
}

const INFO: TlsInfo = TlsInfo::new(TlsVersion::Tls13);

#[test]
fn the_session_learns_that_tls_has_started_before_the_next_line() {
    let upgrades = Upgrades::default();
    let mut client = by_request(&upgrades);
    client.send("a\nstarttls\n").expect("1 a\ngo ahead\n");
    client.start_tls(INFO).expect("");
    client.send("b\n").expect("101 b\n");
    assert_eq!(*upgrades.0.lock().unwrap(), [Some(TlsVersion::Tls13)]);
    client.expect_end(CloseReason::ClientClosed);
    by_request(&upgrades).send("silently\n").start_tls(INFO).send("b\n").expect("101 b\n");
}

#[test]
fn what_came_in_plain_behind_the_request_is_never_answered() {
    for behind in ["b\n", "b", "\n"] {
        let upgrades = Upgrades::default();
        let mut client = by_request(&upgrades);
        client.send(format!("a\nstarttls\n{behind}")).expect("1 a\ngo ahead\n");
        client.expect_end(CloseReason::PlainBehindStartTls);
        assert_eq!(*upgrades.0.lock().unwrap(), []);
    }
}

#[test]
fn tls_is_no_answer_to_an_error_and_nothing_beside_it_is() {
    let upgrades = Upgrades::default();
    for (said, ends) in
        [("fail", false), ("close first", true), ("close last", true), ("bytes", false), ("later", false)]
    {
        let mut client = by_request(&upgrades);
        client.send(format!("{said}\n")).expect("error: internal error\n");
        assert_eq!(client.take_errors().count, 1, "{said}");
        if ends {
            client.expect_end(CloseReason::ResponderClosed);
        } else {
            // Bytes that were asked for are no line, whatever comes of the call.
            client.send(if said == "bytes" { "abca\n" } else { "a\n" }).expect("2 a\n");
        }
    }
}

#[test]
fn tls_that_cannot_start_is_an_error() {
    let upgrades = Upgrades::default();
    let mut in_plain = TestClient::connect(&upgrades);
    in_plain.send("starttls\na\n").expect("error: internal error\n2 a\n");
    let mut in_tls = by_request(&upgrades);
    in_tls.send("starttls\n").expect("go ahead\n").start_tls(INFO);
    in_tls.send("starttls\na\n").expect("error: internal error\n102 a\n");
    for mut client in [in_plain, in_tls] {
        let error = client.take_errors().first.expect("there is one").to_string();
        assert!(error.contains("starts TLS where the listener has none"), "{error}");
    }
}

#[test]
fn what_is_pushed_waits_for_tls() {
    let upgrades = Upgrades::default();
    let news = PushMessage::line("news").unwrap();
    let mut client = by_request(&upgrades);
    client.send("starttls\n").push(&news).expect("go ahead\n").push(&news).expect("");
    client.start_tls(INFO).expect("news\nnews\n").push(&news).expect("news\n");
    client.send("a\n").expect("101 a\n");
    // Where TLS does not begin, it is not said at all.
    for stops in [true, false] {
        let mut client = by_request(&upgrades);
        client.send("starttls\n").push(&news);
        if stops {
            client.shutdown()
        } else {
            client.send("in plain\n")
        };
        client.push(&news).expect("go ahead\n");
    }
}

#[test]
fn what_is_pushed_while_the_line_is_answered_waits_for_tls() {
    let (upgrades, now) = (Upgrades::default(), Instant::now());
    let config = ConnectionConfig::new(100, ConnectionTimeouts::DEFAULT, &upgrades);
    let mut peer = greeter_core::testing::peer(1, ([192, 0, 2, 1], 1));
    peer.origin = Some(Arc::new(Origin::default().with_start_tls()));
    let mut connection = Connection::<u32>::new(peer, &config, now);
    for received in [&b""[..], b"starttls\n"] {
        connection.received(received, &config, now);
        let job = connection.take_job(now).expect("there is something to answer");
        assert!(connection.push(&PushMessage::line("news").unwrap(), &config, now));
        connection.answered(job.answer(&upgrades, &config, TurnBudget::unlimited()), &config, now);
        let unsent = connection.unsent().to_vec();
        assert_eq!(unsent, if received.is_empty() { &b"news\n"[..] } else { b"go ahead\n" });
        connection.wrote(unsent.len(), now);
    }
    assert!(connection.wants_tls());
    assert_eq!((connection.phase(), connection.pushed_unsent()), (Phase::Handshake, 0));
    connection.tls_started(INFO, now);
    let job = connection.take_job(now).expect("the responder is told");
    connection.answered(job.answer(&upgrades, &config, TurnBudget::unlimited()), &config, now);
    assert_eq!((connection.unsent(), connection.pushed_unsent()), (&b"news\n"[..], 5));
    connection.wrote(5, now);
    assert_eq!((connection.pushed_unsent(), connection.bytes_held()), (0, 0));
}

#[test]
fn a_stop_waits_for_no_handshake() {
    let upgrades = Upgrades::default();
    let mut client = by_request(&upgrades);
    client.send("starttls\n").expect("go ahead\n");
    client.shutdown().expect_end(CloseReason::Shutdown);
}

#[test]
fn a_panic_of_tls_started_is_contained() {
    let upgrades = Upgrades::default();
    let mut client = by_request(&upgrades);
    client.send("a\n".repeat(12)).send("starttls\n");
    client.received();
    client.start_tls(INFO).expect("error: internal error\n").send("b\n").expect("14 b\n");
    assert_eq!(client.take_errors().count, 1);
}

fn connection_that_wants_tls(upgrades: &Upgrades, config: &ConnectionConfig, now: Instant) -> Connection<u32> {
    let mut peer = greeter_core::testing::peer(1, ([192, 0, 2, 1], 1));
    peer.origin = Some(Arc::new(Origin::default().with_start_tls()));
    let mut connection = Connection::new(peer, config, now);
    for received in [&b""[..], b"starttls\n"] {
        connection.received(received, config, now);
        let job = connection.take_job(now).expect("there is something to answer");
        connection.answered(job.answer(upgrades, config, TurnBudget::unlimited()), config, now);
    }
    assert!(!connection.wants_tls(), "the reply is not sent yet");
    let unsent = connection.unsent().len();
    connection.wrote(unsent, now);
    assert!(connection.wants_tls());
    connection
}

#[test]
fn until_the_handshake_is_over_nothing_is_read() {
    let (upgrades, now) = (Upgrades::default(), Instant::now());
    let config = ConnectionConfig::new(100, ConnectionTimeouts::DEFAULT, &upgrades);
    let mut connection = connection_that_wants_tls(&upgrades, &config, now);
    assert!(!connection.wants_input() && !connection.wants_answer());
    assert_eq!((connection.phase(), connection.deadline(&config)), (Phase::Handshake, None));
    connection.tls_started(INFO, now);
    assert!(!connection.wants_tls() && connection.wants_answer());
    assert_eq!(connection.peer().tls(), Some(&INFO));
}

#[test]
fn nothing_is_said_in_plain_to_who_is_to_begin_tls() {
    let (upgrades, now) = (Upgrades::default(), Instant::now());
    let config = ConnectionConfig::new(100, ConnectionTimeouts::DEFAULT, &upgrades);
    for ends in [CloseReason::HandshakeFailed, CloseReason::Overloaded] {
        let mut connection = connection_that_wants_tls(&upgrades, &config, now);
        match ends {
            CloseReason::HandshakeFailed => connection.tls_failed(),
            reason => connection.close_with(reason, &config, now),
        }
        assert_eq!((connection.unsent(), connection.reason()), (&b""[..], Some(ends)));
        assert!(!connection.wants_tls() && !connection.wants_answer());
    }
}
