//! TLS that begins behind a reply.

use std::sync::Mutex;

use greeter_core::testing::TestClient;
use greeter_core::{
    BoxError, CloseReason, Connection, ConnectionConfig, ConnectionTimeouts, Line, Peer, Phase, Reply, Responder,
    TlsInfo, TlsVersion,
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
            b"both" => {
                reply.close();
                reply.start_tls();
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

const INFO: TlsInfo = TlsInfo::new(TlsVersion::Tls13);

#[test]
fn the_session_learns_that_tls_has_started_before_the_next_line() {
    let upgrades = Upgrades::default();
    let mut client = TestClient::connect(&upgrades);
    client.send("a\nstarttls\n").expect("1 a\ngo ahead\n");
    client.start_tls(INFO).expect("");
    client.send("b\n").expect("101 b\n");
    assert_eq!(*upgrades.0.lock().unwrap(), [Some(TlsVersion::Tls13)]);
    client.expect_end(CloseReason::ClientClosed);
    TestClient::connect(&upgrades).send("silently\n").start_tls(INFO).send("b\n").expect("101 b\n");
}

#[test]
fn what_came_in_plain_behind_the_request_is_never_answered() {
    for behind in ["b\n", "b", "\n"] {
        let upgrades = Upgrades::default();
        let mut client = TestClient::connect(&upgrades);
        client.send(format!("a\nstarttls\n{behind}")).expect("1 a\ngo ahead\n");
        client.expect_end(CloseReason::PlainBehindStartTls);
        assert_eq!(*upgrades.0.lock().unwrap(), []);
    }
}

#[test]
fn tls_is_no_answer_to_an_error_and_nothing_beside_it_is() {
    let upgrades = Upgrades::default();
    let mut client = TestClient::connect(&upgrades);
    client.send("fail\nboth\na\n").expect("error: internal error\nerror: internal error\n");
    client.expect_end(CloseReason::ResponderClosed);
    assert_eq!(client.take_errors().count, 2);
}

#[test]
fn a_stop_waits_for_no_handshake() {
    let upgrades = Upgrades::default();
    let mut client = TestClient::connect(&upgrades);
    client.send("starttls\n").expect("go ahead\n");
    client.shutdown().expect_end(CloseReason::Shutdown);
}

#[test]
fn a_panic_of_tls_started_is_contained() {
    let upgrades = Upgrades::default();
    let mut client = TestClient::connect(&upgrades);
    client.send("a\n".repeat(12)).send("starttls\n");
    client.received();
    client.start_tls(INFO).expect("error: internal error\n").send("b\n").expect("14 b\n");
    assert_eq!(client.take_errors().count, 1);
}

#[test]
fn until_the_handshake_is_over_nothing_is_read() {
    let upgrades = Upgrades::default();
    let config = ConnectionConfig::new(100, ConnectionTimeouts::DEFAULT, &upgrades);
    let now = std::time::Instant::now();
    let mut connection = Connection::<u32>::new(greeter_core::testing::peer(1, ([192, 0, 2, 1], 1)), &config, now);
    let answer = |connection: &mut Connection<u32>| {
        let job = connection.take_job(now).expect("there is something to answer");
        let budget = greeter_core::TurnBudget::unlimited();
        connection.answered(job.answer(&upgrades, &config, budget), &config, now);
    };
    answer(&mut connection);
    connection.received(b"starttls\n", &config, now);
    answer(&mut connection);
    assert!(!connection.wants_tls(), "the reply is not sent yet");
    let unsent = connection.unsent().len();
    connection.wrote(unsent, now);
    assert!(connection.wants_tls() && !connection.wants_input() && !connection.wants_answer());
    assert_eq!((connection.phase(), connection.deadline(&config)), (Phase::Handshake, None));
    connection.tls_started(INFO, now);
    assert!(!connection.wants_tls() && connection.wants_answer());
    assert_eq!(connection.peer().tls(), Some(&INFO));
}
