//! Checks that, whatever happens in whatever order, a client receives a prefix of what it is owed,
//! and all of it unless something broke. A fuzzer starts from the same files.

#[path = "../connection/property.rs"]
mod property;

use std::fs;

use proptest::prelude::*;

#[test]
fn the_corpus_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/connection/corpus");
    let files: Vec<_> = fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty());
    files.iter().for_each(|file| property::holds(&fs::read(file).unwrap()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn it_holds_in_any_schedule(program in proptest::collection::vec(any::<u8>(), 0..400)) {
        property::holds(&program);
    }

    /// Bytes of any kind seldom are a line that is answered later, and wait for it.
    #[test]
    fn it_holds_where_answers_come_later(
        config in proptest::collection::vec(any::<u8>(), 4),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        property::holds(&[config, steps.concat()].concat());
    }
}

/// A step, as a program has it, of a schedule in which something comes later.
fn step() -> impl Strategy<Value = Vec<u8>> {
    let lines =
        prop::sample::select(vec!["y\n", "j\n", "v\r\n", "J\n", "V\n", "j\na\n", "v\nj\nb\n", "d\x01\nj", "un", "a\n"]);
    let number = prop::sample::select(vec![0, 1, 5, 20, 55, 60, 100, 128, 139, 208, 250, 255]);
    let step = |step: property::Step| move |number: u8| vec![step.byte(), number];
    prop_oneof![
        4 => lines.prop_map(|lines| {
            let length = u8::try_from(lines.len()).expect("they are short");
            [&[property::Step::Receive.byte(), length], lines.as_bytes()].concat()
        }),
        5 => Just(vec![property::Step::TakeJob.byte()]),
        5 => number.clone().prop_map(step(property::Step::Answer)),
        4 => number.clone().prop_map(step(property::Step::Write)),
        3 => number.clone().prop_map(step(property::Step::Wait)),
        2 => number.clone().prop_map(step(property::Step::LateAnswer)),
        2 => number.prop_map(step(property::Step::Push)),
        1 => prop::sample::select(vec![
            property::Step::Reject,
            property::Step::ReceiveEof,
            property::Step::Close,
        ]).prop_map(|step| vec![step.byte()]),
    ]
}
