//! Checks how much memory a connection reports, in bytes. A server limits the sum of these.

use greeter_core::{ConnectionConfig, Greeter, PushMessage, TurnBudget};

use crate::kit::{config, connection, drive, now};

/// How many bytes longer than its line a reply is assumed to be.
const MORE: usize = 16;

#[test]
fn lines_count_with_their_endings_and_with_room_for_their_replies() {
    let mut connection = connection();
    assert_eq!(connection.bytes_held(), 0);
    drive(&mut connection, &Greeter);
    connection.received(b"Ann\nBob\r\nunfinished", &config(), now());
    assert_eq!(connection.bytes_held(), 19 + (9 + 2 * MORE));
    let job = connection.take_job(now()).unwrap();
    assert_eq!(connection.bytes_held(), 19 + (9 + 2 * MORE), "the job is in flight with that");
    assert_eq!((job.lines(), job.reply_capacity_hint(), job.bytes_held()), (2, 9 + 2 * MORE, 19 + 9 + 2 * MORE));
}

#[test]
fn lines_that_were_answered_do_not_count() {
    let mut connection = connection();
    drive(&mut connection, &Greeter);
    connection.received(b"Ann\nBob\r\n", &config(), now());
    let job = connection.take_job(now()).unwrap();
    let answered =
        job.answer(&Greeter, &config(), TurnBudget::new(std::time::Duration::MAX, 1, || std::time::Duration::ZERO));
    connection.answered(answered, &config(), now());
    connection.wrote(connection.unsent().len(), now());
    let job = connection.take_job(now()).unwrap();
    assert_eq!((job.lines(), job.reply_capacity_hint()), (1, 5 + MORE));
}

#[test]
fn replies_count_with_their_whole_capacity() {
    let mut connection = connection();
    drive(&mut connection, &Greeter);
    connection.received(b"Bob\n", &config(), now());
    let mut job = connection.take_job(now()).unwrap();
    job.set_reply_buffer(Vec::with_capacity(100));
    assert_eq!(job.bytes_held(), 4 + 100);
    let answered = job.answer(&Greeter, &config(), TurnBudget::unlimited());
    assert_eq!(answered.bytes_held(), 4 + 100);
    connection.answered(answered, &config(), now());
    assert_eq!(connection.bytes_held(), 100, "the line is gone");
    connection.wrote(connection.unsent().len(), now());
    assert_eq!(connection.bytes_held(), 0);
}

#[test]
fn at_most_32_kib_are_reserved_for_replies() {
    let mut connection = connection();
    drive(&mut connection, &Greeter);
    connection.received(&b"\n".repeat(10_000), &config(), now());
    assert_eq!(ConnectionConfig::MAX_REPLY_CAPACITY, 32_768);
    assert_eq!(connection.take_job(now()).unwrap().reply_capacity_hint(), 32_768);
}

#[test]
fn a_push_that_waits_counts_and_then_counts_among_the_replies() {
    let mut connection = connection();
    drive(&mut connection, &Greeter);
    connection.received(b"Bob\n", &config(), now());
    let job = connection.take_job(now()).unwrap();
    let before = connection.bytes_held();
    let text = "x".repeat(1000);
    connection.push(&PushMessage::line(&text).unwrap(), &config(), now());
    let one = connection.bytes_held() - before;
    assert!((1001..1001 + 256).contains(&one), "its text, and a short list: {one}");
    connection.push(&PushMessage::raw(&text), &config(), now());
    let two = connection.bytes_held() - before;
    assert!((2001..2001 + 256).contains(&two), "the list had room: {two}");
    assert_eq!(two - one, 1000);

    connection.answered(job.answer(&Greeter, &config(), TurnBudget::unlimited()), &config(), now());
    let unsent = connection.unsent().len();
    assert_eq!(unsent, "Hello, Bob\n".len() + 2001);
    assert!((unsent..=2 * unsent).contains(&connection.bytes_held()), "it is among the replies, and waits no longer");
}

#[test]
fn many_short_pushes_that_wait_are_held_as_one_text() {
    let mut connection = connection();
    drive(&mut connection, &Greeter);
    connection.received(b"Bob\n", &config(), now());
    let _job = connection.take_job(now()).unwrap();
    let before = connection.bytes_held();
    let line = PushMessage::line("x").unwrap();
    assert!((0..1000).all(|_| connection.push(&line, &config(), now())));
    let waiting = connection.bytes_held() - before;
    assert!((2000..2 * 2000 + 256).contains(&waiting), "{waiting}");
}

#[test]
fn the_list_of_waiting_pushes_counts_too() {
    let mut connection = connection();
    drive(&mut connection, &Greeter);
    connection.received(b"Bob\n", &config(), now());
    let _job = connection.take_job(now()).unwrap();
    let before = connection.bytes_held();
    for _ in 0..50 {
        connection.push(&PushMessage::line("x").unwrap(), &config(), now());
        connection.push(&PushMessage::raw("yz"), &config(), now());
    }
    let waiting = connection.bytes_held() - before;
    let piece = size_of::<Vec<u8>>() + "yz".len();
    assert!((100 * piece..1000 * piece).contains(&waiting), "{waiting}");
}
