//! What a TLS handshake tells of a client. Must not know how that is found out.

use std::fmt;

/// What a TLS handshake has told of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version that both sides have agreed upon.
    pub version: TlsVersion,
    /// The name of the server that the client asked for (SNI, RFC 6066, 3), if it did.
    pub server_name: Option<Box<str>>,
    /// The application protocol that both sides have agreed upon (ALPN, RFC 7301), if any.
    pub alpn: Option<Box<[u8]>>,
    /// The client's certificate, which was verified, if it was asked for and sent.
    pub client: Option<ClientCertificate>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// The certificate of a client: it was valid when the client connected, and the client has proved
/// that it has the key.
///
/// What it says is for whoever trusts the authority that signed it. Names are those of the subject
/// alternative names (RFC 5280, 4.2.1.6); the common name is in the certificate, and is no name to
/// decide by (RFC 6125, 6.4.4).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientCertificate {
    /// The certificate, in DER.
    pub der: Box<[u8]>,
    /// The SHA-256 digest of the certificate.
    pub sha256: [u8; 32],
    /// Its DNS names, without those that are none.
    pub dns_names: Vec<String>,
    /// Its URIs, as SPIFFE has them, without those that are not UTF-8 or hold a NUL.
    pub uris: Vec<String>,
}

impl TlsInfo {
    /// Creates what a handshake has told of a client that has no certificate and asked for nothing.
    #[must_use]
    pub const fn new(version: TlsVersion) -> Self {
        Self { version, server_name: None, alpn: None, client: None }
    }
}

impl ClientCertificate {
    /// Creates a certificate.
    #[must_use]
    pub fn new(der: &[u8], sha256: [u8; 32]) -> Self {
        Self { der: der.into(), sha256, dns_names: Vec::new(), uris: Vec::new() }
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        })
    }
}

/// It shows the fingerprint and the names.
impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex: String = self.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        f.debug_struct("ClientCertificate")
            .field("sha256", &hex)
            .field("dns_names", &self.dns_names)
            .field("uris", &self.uris)
            .finish_non_exhaustive()
    }
}
