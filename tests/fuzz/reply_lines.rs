//! Any bytes, cut anywhere, as replies that the client reads.
#![no_main]

#[path = "../../greeter-client/src/net/framing.rs"]
mod framing;
#[path = "../../greeter-client/tests/lines/property.rs"]
mod property;

/// Where the client has it.
mod net {
    pub(crate) use crate::framing;
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| property::holds(input));
