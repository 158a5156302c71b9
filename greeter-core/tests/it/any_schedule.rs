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
}
