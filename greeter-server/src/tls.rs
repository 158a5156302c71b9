//! TLS: ciphertext into plaintext and back, between a client's state machine and its socket. Must
//! not know lines.

pub(crate) mod record;
#[cfg(feature = "tls")]
pub(crate) mod rustls_session;
pub(crate) mod session;
#[cfg(feature = "tls")]
pub(crate) mod settings;
pub(crate) mod stream;
