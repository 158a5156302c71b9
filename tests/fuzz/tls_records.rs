//! Any bytes as a client with TLS, and as what a network does to what it sends.
#![no_main]

#[path = "../../greeter-server/tests/tls/property.rs"]
mod property;
#[path = "../../greeter-server/src/tls/record.rs"]
mod record;
#[path = "../../greeter-server/src/tls/rustls_session.rs"]
mod rustls_session;
#[path = "../../greeter-server/src/tls/session.rs"]
mod session;
#[path = "../../greeter-server/src/tls/settings.rs"]
mod settings;
#[path = "../../greeter-server/src/tls/stream.rs"]
mod stream;
#[path = "../../greeter-server/src/system.rs"]
mod system;

/// Where the server has it.
mod tls {
    pub(crate) use crate::{record, rustls_session, session, settings, stream};
}

libfuzzer_sys::fuzz_target!(|program: &[u8]| property::holds(program));
