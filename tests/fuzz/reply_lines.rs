//! Any bytes, cut anywhere, as replies that the client reads.
#![no_main]

#[path = "../../greeter-client/src/lines.rs"]
mod lines;
#[path = "../../greeter-client/tests/lines/property.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
