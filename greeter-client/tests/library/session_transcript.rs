//! What a session remembers and tells on.

use std::sync::mpsc;

use greeter_client::session::{Entry, Event, SessionOptions, StreamEnd};
use greeter_client::{Session, SessionError};

use crate::kit::{Server, answer, greeter, serve, stay_silent};

fn to<T>(server: &Server<T>) -> Session {
    Session::new(SessionOptions::to(server.address.clone()))
}

/// An entry as a script would have it.
fn written(entry: &Entry) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let event = match &entry.event {
        Event::Opened => " opened".into(),
        Event::SentLine(line) => format!("> {}", text(line)),
        Event::SentBytes(bytes) => format!(">{:?}", text(bytes)),
        Event::HalfClosed => ">eof".into(),
        Event::ReceivedLine(line) => format!("< {}", text(line)),
        Event::ReceivedBytes(bytes) => format!("<{:?}", text(bytes)),
        Event::Ended(StreamEnd::Eof) => "<eof".into(),
        event => format!(" {event:?}"),
    };
    format!("{}{event}", entry.connection)
}

#[test]
fn everything_is_told_in_its_order() {
    let (alice, bob) = (greeter(), greeter());
    let (tell, told) = mpsc::channel();
    let mut session = to(&alice);
    session.observe(move |entry| tell.send(written(entry)).unwrap());
    session.open("bob", &bob.address.into()).unwrap();
    session.on("alice").send("Alice").unwrap();
    session.on("bob").send_bytes("B\n").unwrap();
    session.on("bob").expect_bytes("Hello, ").unwrap();
    session.on("alice").expect("Hello, Alice").unwrap();
    session.on("bob").skipping().expect_line(|_, line| line == b"B").unwrap();
    session.on("bob").half_close().unwrap();
    session.on("bob").expect_eof().unwrap();
    let kept: Vec<String> = session.transcript().iter().map(written).collect();
    session.on("alice").close().unwrap();
    session.finish().unwrap();
    let all: Vec<String> = told.iter().collect();
    assert_eq!(
        all,
        [
            "bob opened",
            "alice opened",
            "alice> Alice",
            "bob>\"B\\n\"",
            "bob<\"Hello, \"",
            "alice< Hello, Alice",
            "bob< B",
            "bob>eof",
            "bob<eof",
            "alice Closed",
        ]
    );
    assert_eq!(kept, all[..9]);
}

#[test]
fn the_end_of_the_session_is_told() {
    let (tell, told) = mpsc::channel();
    let mut session = to(&greeter());
    session.observe(move |entry| tell.send(written(entry)).unwrap());
    session.on("").send("Bob").unwrap();
    session.on("").expect("Hello, Bob").unwrap();
    session.finish().unwrap();
    assert_eq!(told.iter().collect::<Vec<_>>(), [" opened", "> Bob", "< Hello, Bob", ">eof", "<eof"]);
}

#[test]
fn a_failure_has_the_last_lines_of_its_connection() {
    let other = serve(stay_silent);
    let mut session = to(&greeter());
    session.open("other", &other.address.into()).unwrap();
    for number in 0..100 {
        session.on("bob").send(number.to_string()).unwrap();
        session.on("bob").expect(format!("Hello, {number}")).unwrap();
        session.on("other").send("noise").unwrap();
    }
    session.on("bob").send("Bob").unwrap();
    let outcome = session.on("bob").expect("Hello, Rob");
    let Err(SessionError::Mismatch(mismatch)) = outcome else { panic!("{outcome:?}") };
    let last: Vec<String> = mismatch.transcript.iter().map(written).collect();
    assert_eq!(last.len(), 8);
    assert_eq!(last[5..], ["bob> 99", "bob< Hello, 99", "bob> Bob"]);
    assert_eq!(session.transcript().len(), 16);
    assert!(session.transcript().is_sorted_by_key(|entry| entry.number));
}

#[test]
fn an_entry_is_told_in_full_and_remembered_in_part() {
    let (tell, told) = mpsc::channel();
    let mut session = to(&serve(|stream| answer(stream, <[u8]>::to_vec)));
    session.observe(move |entry| tell.send(entry.clone()).unwrap());
    let line = vec![b'x'; 100_000];
    session.on("").send(&line).unwrap();
    session.on("").expect(&line).unwrap();
    assert_eq!(session.transcript()[2].event, Event::ReceivedLine(vec![b'x'; 1024]));
    assert_eq!(told.iter().nth(2).unwrap().event, Event::ReceivedLine(line));
}
