//! Any bytes as a script.
#![no_main]

#[path = "../../greeter-client/tests/talk/property.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|text: &[u8]| property::holds(text));
