//! The seam between this server and whatever encrypts for it.

use std::fmt;

use greeter_core::TlsInfo;

/// One end of a TLS connection, without I/O. What it is given are whole records, so that it keeps
/// none in part.
pub(crate) trait TlsSession: fmt::Debug + Send {
    /// Takes one record, and appends the plaintext that it carries for us.
    fn open(&mut self, record: &[u8], plaintext: &mut Vec<u8>) -> Result<(), TlsProblem>;

    /// Appends these bytes, at most [a record's](super::record::MAX_PLAINTEXT_BYTES), as one
    /// record, behind what it has to say for itself first. Returns where the record begins.
    fn seal(&mut self, plaintext: &[u8], ciphertext: &mut Vec<u8>) -> usize;

    /// Appends what the session has to say for itself: its part of the handshake, alerts, answers
    /// to key updates.
    fn take_output(&mut self, ciphertext: &mut Vec<u8>);

    /// Says that nothing follows (close_notify; RFC 8446, 6.1).
    fn close(&mut self);

    fn phase(&self) -> SessionPhase;

    /// What the handshake has told, once it is over.
    fn info(&self) -> TlsInfo;

    /// How much memory is kept of that, in bytes, beside what any session takes.
    fn bytes_kept(&self) -> usize;
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionPhase {
    Handshake,
    Open,
    /// The other end has said that nothing follows.
    ClosedByPeer,
}

/// Makes the session of each client.
pub(crate) trait NewTlsSession: fmt::Debug + Send + Sync {
    fn new_session(&self) -> Result<Box<dyn TlsSession>, TlsProblem>;

    /// How many bytes a client may send until its handshake is over.
    fn max_handshake_bytes(&self) -> usize;
}

/// Why a TLS connection failed, in words of our own: they go into a log, and nothing that the other
/// end has sent is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TlsProblem {
    #[error("what was sent is not TLS")]
    NotTls,
    #[error("the handshake is too long")]
    TooLong,
    #[error("records carry nothing")]
    Empty,
    #[error("the listener has no TLS on request")]
    NotOffered,
    #[cfg(feature = "tls")]
    #[error("no version, cipher suite or signature in common")]
    Incompatible,
    #[cfg(feature = "tls")]
    #[error("the client sent no certificate")]
    NoCertificate,
    #[cfg(feature = "tls")]
    #[error("the client's certificate has expired, or is not valid yet")]
    CertificateExpired,
    #[cfg(feature = "tls")]
    #[error("the client's certificate is from an unknown authority")]
    UnknownAuthority,
    #[cfg(feature = "tls")]
    #[error("the client's certificate is not valid")]
    InvalidCertificate,
    #[cfg(feature = "tls")]
    #[error("no application protocol in common")]
    NoApplicationProtocol,
    #[cfg(feature = "tls")]
    #[error("the client gave up with an alert")]
    Alert,
    #[cfg(feature = "tls")]
    #[error("the client broke the protocol")]
    Misbehaved,
}
