//! rustls behind the [seam](crate::tls::session). All that is known of rustls is here and in
//! [`settings`](crate::tls::settings).

use std::io::{self, BufRead, ErrorKind, Read, Write};

use greeter_core::{ClientCertificate, TlsInfo, TlsVersion};
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error, ProtocolVersion, ServerConnection};

use crate::tls::session::{SessionPhase, TlsProblem, TlsSession};

/// How much rustls reads at a time.
const READ_BYTES: usize = 4096;

/// A socket that has nothing to read.
struct NothingYet;

impl Read for NothingYet {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
}

/// A session of rustls'.
#[derive(Debug)]
pub(crate) struct RustlsSession {
    connection: ServerConnection,
    is_closed_by_peer: bool,
}

impl RustlsSession {
    pub(crate) const fn new(connection: ServerConnection) -> Self {
        Self { connection, is_closed_by_peer: false }
    }
}

impl TlsSession for RustlsSession {
    fn open(&mut self, record: &[u8], plaintext: &mut Vec<u8>) -> Result<(), TlsProblem> {
        let mut input = record;
        while !input.is_empty() {
            // It takes some 4 KiB at a time.
            match self.connection.read_tls(&mut input) {
                Ok(0) | Err(_) => return Err(TlsProblem::Misbehaved),
                Ok(_) => {}
            }
            let state = self.connection.process_new_packets().map_err(|error| failure_of(&error))?;
            self.is_closed_by_peer |= state.peer_has_closed();
            let mut reader = self.connection.reader();
            while let Ok(chunk) = reader.fill_buf()
                && !chunk.is_empty()
            {
                plaintext.extend_from_slice(chunk);
                let length = chunk.len();
                reader.consume(length);
            }
        }
        if record.len() > READ_BYTES {
            // Its buffer has grown by this record, and shrinks before the next read: let it begin
            // one.
            let _ = self.connection.read_tls(&mut NothingYet);
        }
        Ok(())
    }

    fn seal(&mut self, plaintext: &[u8], ciphertext: &mut Vec<u8>) -> usize {
        // The answer to a key update waits for what is said next, be it nothing.
        let _ = self.connection.writer().write(&[]);
        self.take_output(ciphertext);
        let start = ciphertext.len();
        // Its buffer is as large as it gets, and was emptied before.
        let sealed = self.connection.writer().write(plaintext);
        debug_assert_eq!(sealed.ok(), Some(plaintext.len()), "a record is sealed as a whole");
        self.take_output(ciphertext);
        start
    }

    fn take_output(&mut self, ciphertext: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // Writing to memory does not fail.
            let _ = self.connection.write_tls(ciphertext);
        }
    }

    fn close(&mut self) {
        self.connection.send_close_notify();
    }

    fn phase(&self) -> SessionPhase {
        if self.connection.is_handshaking() {
            SessionPhase::Handshake
        } else if self.is_closed_by_peer {
            SessionPhase::ClosedByPeer
        } else {
            SessionPhase::Open
        }
    }

    fn info(&self) -> TlsInfo {
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        };
        let mut info = TlsInfo::new(version);
        info.server_name = self.connection.server_name().map(Into::into);
        info.alpn = self.connection.alpn_protocol().map(Into::into);
        info.client = self.connection.peer_certificates().and_then(<[_]>::first).map(certificate);
        info
    }

    fn bytes_kept(&self) -> usize {
        let chain = self.connection.peer_certificates().unwrap_or_default();
        // The first is kept twice: the responder has it, too.
        chain.iter().chain(chain.first()).map(|der| der.len()).sum()
    }
}

/// Returns a client's certificate, with its names.
fn certificate(der: &CertificateDer<'_>) -> ClientCertificate {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    let sha256 = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
    let mut certificate = ClientCertificate::new(der, sha256);
    if let Ok(parsed) = webpki::EndEntityCert::try_from(der) {
        let is_clean = |name: &&str| !name.contains('\0');
        certificate.dns_names = parsed.valid_dns_names().filter(is_clean).map(Into::into).collect();
        certificate.uris = parsed.valid_uri_names().filter(is_clean).map(Into::into).collect();
    }
    certificate
}

/// Returns the reason in our own words.
fn failure_of(error: &Error) -> TlsProblem {
    match error {
        Error::InvalidMessage(_) => TlsProblem::NotTls,
        Error::PeerIncompatible(_) => TlsProblem::Incompatible,
        Error::NoCertificatesPresented => TlsProblem::NoCertificate,
        Error::NoApplicationProtocol => TlsProblem::NoApplicationProtocol,
        Error::AlertReceived(_) => TlsProblem::Alert,
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsProblem::CertificateExpired,
            CertificateError::UnknownIssuer => TlsProblem::UnknownAuthority,
            _ => TlsProblem::InvalidCertificate,
        },
        _ => TlsProblem::Misbehaved,
    }
}
