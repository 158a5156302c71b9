//! Checks turns: budgets, back-pressure, and one job for each connection.

use std::cell::Cell;
use std::time::Duration;

use greeter_core::{Greeter, TurnBudget};

use crate::kit::{Script, assert_lawful, config, connection, drive, now};

#[test]
fn a_job_that_exhausts_its_budget_comes_back_for_another_turn() {
    let mut connection = connection();
    connection.received(b"a\nb\nc\nd\ne\n", &config(), now());
    let clock = Cell::new(Duration::ZERO);
    let mut turns = Vec::new();
    while let Some(job) = connection.take_job(now()) {
        let tick = || {
            clock.set(clock.get() + Duration::from_micros(600));
            clock.get()
        };
        clock.set(Duration::ZERO);
        connection.answered(
            job.answer(&Greeter, &config(), TurnBudget::new(Duration::from_millis(1), usize::MAX, tick)),
            &config(),
            now(),
        );
        turns.push(String::from_utf8(connection.unsent().to_vec()).unwrap());
        assert!(connection.take_job(now()).is_none(), "nothing is answered while replies are unsent");
        assert!(!connection.wants_input());
        connection.wrote(connection.unsent().len(), now());
    }
    assert_eq!(turns, ["Hello, a\nHello, b\n", "Hello, c\nHello, d\n", "Hello, e\n"]);
    assert_lawful(connection.take_counts());
}

#[test]
fn replies_that_pile_up_exhaust_a_budget() {
    let mut connection = connection();
    connection.received(&b"\n".repeat(1000), &config(), now());
    let job = connection.take_job(now()).unwrap();
    connection.answered(
        job.answer(&Greeter, &config(), TurnBudget::new(Duration::MAX, 100, || Duration::ZERO)),
        &config(),
        now(),
    );
    assert_eq!(connection.unsent(), b"Hello, \n".repeat(13));
}

#[test]
fn a_buffer_serves_for_the_replies_and_comes_back_once_they_are_sent() {
    let mut connection = connection();
    connection.received(b"Bob\n", &config(), now());
    let mut job = connection.take_job(now()).unwrap();
    assert!(job.reply_capacity_hint() >= "Hello, Bob\n".len());
    let buffer = [b"replies to another client", &[b' '; 100][..]].concat();
    let place = buffer.as_ptr();
    job.set_reply_buffer(buffer);
    connection.answered(job.answer(&Greeter, &config(), TurnBudget::unlimited()), &config(), now());
    assert_eq!(connection.unsent(), b"Hello, Bob\n");
    assert_eq!(connection.wrote(10, now()), None);
    assert_eq!(connection.wrote(1, now()).map(|buffer| buffer.as_ptr()), Some(place));
    assert_eq!(connection.bytes_held(), 0);
}

#[test]
fn a_connection_is_not_read_while_its_job_is_in_flight() {
    let mut connection = connection();
    assert!(connection.wants_input(), "the first bytes are often there as soon as the client is");
    connection.received(b"a\n", &config(), now());
    let job = connection.take_job(now()).unwrap();
    assert!(!connection.wants_input());
    assert!(connection.take_job(now()).is_none());
    connection.answered(job.answer(&Script, &config(), TurnBudget::unlimited()), &config(), now());
    drive(&mut connection, &Script);
    assert!(connection.wants_input());
}

#[test]
fn a_socket_that_takes_a_byte_at_a_time_gets_the_same_bytes() {
    let mut connection = connection();
    connection.received(b"Bob\nAnn\r\n", &config(), now());
    let job = connection.take_job(now()).unwrap();
    connection.answered(job.answer(&Greeter, &config(), TurnBudget::unlimited()), &config(), now());
    let mut written = Vec::new();
    while let Some(&byte) = connection.unsent().first() {
        assert_eq!(connection.take_counts().replies, 0);
        written.push(byte);
        connection.wrote(1, now());
    }
    assert_eq!(written, b"Hello, Bob\nHello, Ann\r\n");
    assert_eq!(connection.take_counts().replies, 2);
    assert!(connection.wants_input());
}

#[test]
#[should_panic(expected = "input is taken only when it is wanted")]
fn a_driver_that_reads_when_it_must_not_panics() {
    let mut connection = connection();
    connection.received(b"a\n", &config(), now());
    let _job = connection.take_job(now());
    drive(&mut connection, &Greeter);
    connection.received(b"b\n", &config(), now());
}

#[test]
fn lines_that_panic_exhaust_a_budget_like_others() {
    let mut connection = connection();
    connection.received(&b"panic\n".repeat(10), &config(), now());
    let clock = Cell::new(Duration::ZERO);
    let tick = || {
        clock.set(clock.get() + Duration::from_millis(1));
        clock.get()
    };
    let job = connection.take_job(now()).unwrap();
    connection.answered(
        job.answer(&Script, &config(), TurnBudget::new(Duration::from_millis(1), usize::MAX, tick)),
        &config(),
        now(),
    );
    assert_eq!(connection.unsent(), b"error: internal error\n");
}

/// If a long reply were moved for each piece that the client takes, slow clients would be
/// expensive.
#[test]
fn what_is_left_of_a_reply_is_moved_only_when_it_is_the_smaller_part() {
    let mut connection = connection();
    connection.received(&b"Bob\n".repeat(1000), &config(), now());
    let job = connection.take_job(now()).unwrap();
    connection.answered(job.answer(&Greeter, &config(), TurnBudget::unlimited()), &config(), now());
    let replies = connection.unsent().to_vec();
    connection.write_would_block();
    let (start, mut left, mut held) = (connection.unsent().as_ptr(), replies.len(), connection.bytes_held());
    while left > 0 {
        connection.wrote(1, now());
        connection.write_would_block();
        left -= 1;
        assert_eq!(connection.unsent(), &replies[replies.len() - left..]);
        if left > replies.len().div_ceil(2) {
            assert_eq!(connection.unsent().as_ptr(), start.wrapping_add(replies.len() - left));
        }
        assert!(connection.bytes_held() <= held, "it holds no more than before");
        held = connection.bytes_held();
        assert!(connection.unsent().is_empty() || held <= 2 * left + 2, "{held} bytes for {left}");
    }
}
