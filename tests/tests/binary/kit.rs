//! What the tests of TLS have in common.

#[allow(dead_code, reason = "these tests need some of it")]
#[path = "../kit/tls.rs"]
mod tls;

pub(crate) use tls::*;
