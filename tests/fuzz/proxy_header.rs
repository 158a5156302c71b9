//! Any bytes as a PROXY header, ours and that of another implementation.
#![no_main]

#[path = "../../greeter-core/tests/proxy/property.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
