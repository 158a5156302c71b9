//! What is said to a client unasked: how its lines end.

mod kit;

use std::time::Duration;

use greeter_core::{
    Connection, Deadlines, Failure, Greeter, Line, LineEnding, Peer, Refusal, Reply, Responder, Slice, Terms,
};
use kit::{connection, drive, now, peer};

/// Says a banner whose lines end in CR LF, to whoever it lets in.
struct CrLfBanner {
    lets_in: bool,
}

impl Responder for CrLfBanner {
    type Session = ();

    fn connect(&self, _: &Peer, reply: &mut Reply<'_>) -> Result<(), Failure> {
        reply.end_lines_with(LineEnding::CrLf);
        reply.line("ready");
        if self.lets_in { Ok(()) } else { Err(Refusal::because("not you").into()) }
    }

    fn respond(&self, (): &mut (), line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
        reply.line(line);
        Ok(())
    }
}

const WELCOME: CrLfBanner = CrLfBanner { lets_in: true };

fn push<S>(connection: &mut Connection<S>, text: &str) -> usize {
    connection.push(Line::new(text.as_bytes()).expect("it holds no LF"), now())
}

#[test]
fn until_a_client_has_shown_how_its_lines_end_what_it_is_told_ends_as_the_banner() {
    let terms = Terms::new(64, Deadlines::DEFAULT, &Greeter);
    let start = now();
    let mut connection = Connection::new(peer(), &terms, start);
    push(&mut connection, "early");
    let job = connection.take_job(start).unwrap();
    push(&mut connection, "meanwhile");
    connection.answered(job.answer(&WELCOME, Slice::endless()), start);
    assert_eq!(drive(&mut connection, &WELCOME), b"ready\r\nearly\r\nmeanwhile\r\n");
    push(&mut connection, "later");
    assert_eq!(drive(&mut connection, &WELCOME), b"later\r\n");

    connection.received(b"Bob\n", start);
    push(&mut connection, "news");
    assert_eq!(drive(&mut connection, &WELCOME), b"news\nBob\n");

    let mut silent = Connection::new(peer(), &terms, start);
    drive(&mut silent, &WELCOME);
    silent.expired(now() + Duration::from_secs(300), &terms);
    assert_eq!(drive(&mut silent, &WELCOME), b"error: idle for 300s\r\n");
}

#[test]
fn a_client_that_speaks_before_its_banner_has_shown_how_its_lines_end() {
    let mut connection = connection();
    connection.received(b"Bob\n", now());
    let job = connection.take_job(now()).unwrap();
    push(&mut connection, "news");
    connection.answered(job.answer(&WELCOME, Slice::endless()), now());
    assert_eq!(drive(&mut connection, &WELCOME), b"ready\r\nBob\nnews\n");
}

#[test]
fn whoever_is_not_let_in_is_told_in_the_banners_line_ending() {
    let mut connection = connection();
    assert_eq!(drive(&mut connection, &CrLfBanner { lets_in: false }), b"error: not you\r\n");
}
