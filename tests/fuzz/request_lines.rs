//! Any bytes, cut anywhere, as lines that the server reads.
#![no_main]

#[path = "../../greeter-core/src/input.rs"]
mod input;
#[path = "../../greeter-core/src/line.rs"]
mod line;
#[path = "../../greeter-core/tests/input/property.rs"]
mod property;
#[path = "../../greeter-core/src/rejection.rs"]
mod rejection;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
