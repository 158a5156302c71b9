//! Turns a client's bytes into what comes back: a driver with no socket and no clock.

use std::time::Instant;

use greeter_core::{
    BoxError, CloseAction, CloseReason, Connection, ConnectionConfig, ConnectionTimeouts, Disconnect, Greeter, Line,
    LineCounts, Peer, Rejection, Reply, Responder, TurnBudget, client_id,
};

pub(crate) const MAX_LINE_BYTES: u32 = 64;

/// A responder that answers each line by its first word.
pub(crate) struct Script;

impl Responder for Script {
    type Session = Vec<String>;

    fn connect(&self, peer: &Peer, _reply: &mut Reply<'_>) -> Result<Vec<String>, BoxError> {
        Ok(vec![format!("{} came", peer.address)])
    }

    fn respond(&self, seen: &mut Vec<String>, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let line = line.to_str()?;
        seen.push(line.to_owned());
        match line.split(' ').next() {
            Some("panic") => panic!("as the client wishes"),
            Some("half-panic") => {
                reply.line("half a reply");
                panic!("in the middle")
            }
            Some("reject") => return Err(Rejection::custom("as the client wishes").into()),
            Some("quit-fail") => {
                reply.close();
                return Err("after that".into());
            }
            Some("fail") => return Err("as the client wishes".into()),
            Some("lf") => reply.line("one\ntwo"),
            Some("silent") => {}
            Some("raw") => reply.raw("$3\r\n\n\n\n\r\n"),
            Some("three") => ["one", "two", "three"].into_iter().for_each(|line| reply.line(line)),
            Some("quit") => {
                reply.line("bye");
                reply.close();
            }
            Some("history") => reply.line(seen.join(",")),
            _ => reply.line(format!("you said {line}")),
        }
        Ok(())
    }
}

pub(crate) fn connection<S>() -> Connection<S> {
    Connection::new(peer(), &config(), now())
}

pub(crate) fn peer() -> Peer {
    Peer::new(client_id(7), ([192, 0, 2, 1], 4000).into())
}

/// A configuration with no timeout but linger.
pub(crate) fn config() -> ConnectionConfig {
    ConnectionConfig::new(MAX_LINE_BYTES, ConnectionTimeouts::NONE, &Greeter)
}

/// The time, for what does not depend on it.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Drives a connection until there is nothing more to do, with a socket that takes everything.
/// Returns what was sent.
pub(crate) fn drive<R: Responder>(connection: &mut Connection<R::Session>, responder: &R) -> Vec<u8> {
    drive_by(&config(), connection, responder)
}

/// Does the same with a configuration of the test's own.
pub(crate) fn drive_by<R: Responder>(
    config: &ConnectionConfig,
    connection: &mut Connection<R::Session>,
    responder: &R,
) -> Vec<u8> {
    let mut written = Vec::new();
    loop {
        written.extend_from_slice(connection.unsent());
        connection.wrote(connection.unsent().len(), now());
        let Some(job) = connection.take_job(now()) else { return written };
        connection.answered(job.answer(responder, config, TurnBudget::unlimited()), config, now());
    }
}

/// Returns what a client receives that sends these pieces and then stops sending.
pub(crate) fn replies<'a, R: Responder>(responder: &R, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut connection = connection();
    let mut written = drive(&mut connection, responder);
    for piece in pieces {
        if !connection.wants_input() {
            break;
        }
        connection.received(piece, &config(), now());
        written.extend(drive(&mut connection, responder));
    }
    connection.received_eof();
    written.extend(drive(&mut connection, responder));
    end(connection);
    written
}

/// Asserts that each line that was received was answered or discarded.
#[track_caller]
pub(crate) fn assert_lawful(counts: LineCounts) {
    assert_eq!(counts.lines, counts.replies + counts.discarded, "{counts:?}");
}

#[track_caller]
pub(crate) fn check(input: &[u8], expected: &[u8]) {
    assert_eq!(replies(&Greeter, [input]).escape_ascii().to_string(), expected.escape_ascii().to_string());
}

#[track_caller]
pub(crate) fn check_script(input: &str, expected: &str) {
    let replies = replies(&Script, [input.as_bytes()]);
    assert_eq!(String::from_utf8_lossy(&replies), expected);
}

/// Closes a connection as a driver does, and returns the reason and the disconnect.
pub(crate) fn end<S>(mut connection: Connection<S>) -> (CloseReason, Option<Disconnect<S>>) {
    if connection.close_action() == CloseAction::ShutdownWrite {
        connection.write_shut_down(now());
        connection.received_eof();
    }
    let CloseAction::Close(reason) = connection.close_action() else { panic!("{:?}", connection.close_action()) };
    assert_lawful(connection.take_counts());
    (reason, connection.into_disconnect())
}
