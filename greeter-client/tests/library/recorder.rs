//! A recording is a script that says what was recorded.

use greeter_client::session::StreamEnd;
use greeter_client::talk::{Action, Incoming, Outgoing, Script, Variables};
use greeter_client::{Eol, Recorder, Traffic};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Ours,
    Theirs,
}

/// What went over the wire if a script was followed: the bytes of each side, as long as it speaks.
fn meant(text: &[u8]) -> Vec<(Side, Vec<u8>)> {
    let script = Script::parse("recording.talk", text).unwrap_or_else(|problems| panic!("{problems}"));
    let mut eol = Eol::Lf;
    let mut turns = Vec::new();
    for step in script.steps() {
        let (side, bytes) = match step.action() {
            Action::Eol(new) => {
                eol = *new;
                continue;
            }
            Action::Send { what: Outgoing::Line(line), .. } => {
                let line = line.expand(&Variables::default(), None).unwrap();
                (Side::Ours, [&line, eol.bytes()].concat())
            }
            Action::Send { what: Outgoing::Raw(raw), .. } => (Side::Ours, raw.to_vec()),
            Action::Expect { what: Incoming::Line(line), .. } => {
                (Side::Theirs, [line.text().unwrap(), eol.bytes()].concat())
            }
            Action::Expect { what: Incoming::Raw(raw), .. } => (Side::Theirs, raw.to_vec()),
            Action::Expect { what: Incoming::Eof, .. } => continue,
            action => panic!("{action:?} was not recorded"),
        };
        push(&mut turns, side, &bytes);
    }
    turns
}

fn push(turns: &mut Vec<(Side, Vec<u8>)>, side: Side, bytes: &[u8]) {
    match turns.last_mut() {
        _ if bytes.is_empty() => {}
        Some((last, said)) if *last == side => said.extend_from_slice(bytes),
        _ => turns.push((side, bytes.to_vec())),
    }
}

fn record(pieces: &[(Side, Vec<u8>)]) -> Vec<u8> {
    let mut recorder = Recorder::new(Vec::new());
    for (side, bytes) in pieces {
        let traffic = match side {
            Side::Ours => Traffic::Sent(bytes),
            Side::Theirs => Traffic::Received(bytes),
        };
        recorder.record(traffic).unwrap();
    }
    recorder.record(Traffic::Ended(StreamEnd::Eof)).unwrap();
    recorder.output().clone()
}

#[track_caller]
fn says_the_same(pieces: &[(Side, Vec<u8>)]) {
    let mut turns = Vec::new();
    for (side, bytes) in pieces {
        push(&mut turns, *side, bytes);
    }
    assert_eq!(meant(&record(pieces)), turns);
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[ -~]{0,6}(\r?\n)?".prop_map(String::into_bytes),
        2 => "([<>#{} \"\\\\\t\r\n\u{202e}\u{a0}é\0]|\\{\\{a\\}\\}|eof|\r\n){0,6}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_said_is_what_the_recording_says(
        pieces in proptest::collection::vec((prop_oneof![Just(Side::Ours), Just(Side::Theirs)], piece()), 0..12)
    ) {
        says_the_same(&pieces);
    }
}

#[test]
fn a_line_that_is_longer_than_a_scripts_own_lines_is_recorded() {
    let line = [&b"\xff".repeat(3 << 20)[..], b"\n"].concat();
    says_the_same(&[(Side::Ours, b"long\n".to_vec()), (Side::Theirs, line)]);
}
