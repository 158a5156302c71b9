//! Any bytes as what happens to a connection.
#![no_main]

#[path = "../../greeter-core/tests/connection/property.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|program: &[u8]| property::holds(program));
