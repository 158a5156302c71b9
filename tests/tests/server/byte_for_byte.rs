//! Over a socket, the server says what the article's programs say: for any bytes, cut anywhere, in
//! both placements.

use greeter_server::ListenerAddress;
use greeter_tests::books::at_rest;
use greeter_tests::client::Client;
use greeter_tests::{PLACEMENTS, answered_by, greeter, spawn};
use proptest::prelude::*;

/// The article's programs: whatever stands before an LF is greeted.
fn model(input: &[u8]) -> Vec<u8> {
    let mut replies = Vec::new();
    for line in input.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        replies.extend_from_slice(b"Hello, ");
        replies.extend_from_slice(line);
    }
    replies
}

/// What a client reads that sends these pieces, each with a write of its own, and stops sending.
fn replies<'a>(address: &ListenerAddress, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut client = Client::connect(address);
    let mut sender = client.sender();
    std::thread::scope(|scope| {
        let received = scope.spawn(move || client.rest());
        for piece in pieces {
            sender.send(piece);
        }
        sender.finish_sending();
        received.join().expect("the server answers")
    })
}

#[track_caller]
fn check(address: &ListenerAddress, input: &[u8]) {
    let said = replies(address, [input]);
    assert!(said == model(input), "{} was answered {}", input.escape_ascii(), said.escape_ascii());
}

#[test]
fn names_are_greeted_as_the_article_has_it() {
    for workers in PLACEMENTS {
        let server = greeter(workers);
        let address = server.local_addr();
        assert_eq!(replies(address, [&b"Bob\n"[..]]), b"Hello, Bob\n");
        assert_eq!(replies(address, [&b"Bob\r\n"[..]]), b"Hello, Bob\r\n");
        assert_eq!(replies(address, [&b"\n"[..]]), b"Hello, \n");
        assert_eq!(replies(address, [&b"Ann\nBob"[..]]), b"Hello, Ann\n");
    }
}

#[test]
fn hostile_bytes_are_names_like_others() {
    for workers in PLACEMENTS {
        let server = greeter(workers);
        let address = server.local_addr();
        check(address, b"a\rb\na\r\r\n\xff\xfe\n\0\n\xe2\x82\n\x1b[2J\n");
        check(address, &b"\n".repeat(5_000));
        let mut client = Client::connect(address);
        for byte in (0..=u8::MAX).filter(|byte| *byte != b'\n') {
            for length in [1, 1024] {
                let line = [vec![byte; length], b"\n".to_vec()].concat();
                client.send(&line);
                assert_eq!(client.bytes(7 + line.len()), model(&line), "byte {byte}");
            }
        }
        assert_eq!(client.ask("Bob"), "Hello, Bob\n");
        assert_eq!(replies(address, [&b"Bob\r"[..], &b"\nAnn\n"[..]]), b"Hello, Bob\r\nHello, Ann\n");
    }
}

#[test]
fn sixty_four_kibibytes_of_names_in_one_write() {
    for workers in PLACEMENTS {
        let server = greeter(workers);
        let names: String = (0..).map(|n| format!("guest {n}\r\n")).take(64 * 1024 / 13).collect();
        check(server.local_addr(), names.as_bytes());
    }
}

/// All 1,770 ways to cut a stream of 60 bytes at one or two places.
#[test]
fn every_split_gives_the_same_replies() {
    let limit = 16;
    let stream = b"Bob\n\r\n\nAnn\r\n0123456789abcdef\r\na\rb\n0123456789abcdefg\nlaster\n?";
    assert_eq!(stream.len(), 60);
    let expected = b"Hello, Bob\nHello, \r\nHello, \nHello, Ann\r\nHello, 0123456789abcdef\r\nHello, a\rb\n\
        error: line longer than 16 bytes\nHello, laster\n";
    for workers in PLACEMENTS {
        let server = spawn(answered_by(workers).max_line_bytes(limit));
        let address = server.local_addr();
        for first in 1..stream.len() {
            for second in first + 1..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                let said = replies(address, pieces);
                assert_eq!(said.escape_ascii().to_string(), expected.escape_ascii().to_string(), "{first} {second}");
            }
        }
        assert_eq!(replies(address, stream.chunks(1)), expected);
        let stats = at_rest(&server);
        assert_eq!((stats.lines, stats.unfinished_lines), (1771 * 8, 1771));
    }
}

#[test]
fn the_limit_is_met_to_the_byte_however_the_line_comes() {
    let limit = 8 * 1024;
    for workers in PLACEMENTS {
        let server = greeter(workers);
        for length in [limit - 1, limit, limit + 1, 3 * limit, 20 * limit] {
            for ending in ["\n", "\r\n"] {
                let name = "A".repeat(length);
                let input = format!("{name}{ending}Bob\n");
                let expected = match length <= limit {
                    true => format!("Hello, {name}{ending}Hello, Bob\n"),
                    false => format!("error: line longer than {limit} bytes{ending}Hello, Bob\n"),
                };
                for pieces in [1, 2, 5] {
                    let said = replies(server.local_addr(), input.as_bytes().chunks(input.len().div_ceil(pieces)));
                    assert!(said == expected.as_bytes(), "{length} bytes in {pieces} pieces: {}", said.escape_ascii());
                }
            }
        }
    }
}

#[test]
fn any_bytes_cut_anywhere_are_answered_as_the_model_says() {
    let servers = PLACEMENTS.map(greeter);
    let byte = prop_oneof![4 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(b'\r')];
    let strategy = (proptest::collection::vec(byte, 0..4000), proptest::collection::vec(0..4000_usize, 0..6));
    proptest!(ProptestConfig::with_cases(200), |((input, cuts) in strategy)| {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).chain([input.len()]).collect();
        cuts.sort_unstable();
        for server in &servers {
            let mut start = 0;
            let pieces = cuts.iter().map(|&cut| &input[std::mem::replace(&mut start, cut)..cut]);
            prop_assert_eq!(replies(server.local_addr(), pieces), model(&input));
        }
    });
}
