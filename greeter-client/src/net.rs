//! Turns an address into a connected socket, and what comes from it into lines, until a deadline.
//! It must not know what the lines mean: neither scripts nor sessions.
//!
//! Files, each importing only from those before it: `framing` (lines), `escape`, `address`,
//! `error`, `deadline`, `socket`, `proxy` (the header that may come first), `tls` (TLS between
//! bytes and bytes), `connect` (how a socket comes to be), `tls_layer` (TLS over a socket),
//! `stream` (what is talked over).

pub(crate) mod address;
mod connect;
mod deadline;
mod error;
pub mod escape;
mod framing;
mod proxy;
mod socket;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod tls_layer;

pub use address::{ServerAddress, ServerAddressError};
pub use error::{ConnectError, ConnectionError, TlsFailure};
pub use framing::{Eol, EolError};
pub use proxy::{Proxy, ProxyClient, ProxyFormatError, ProxyVersion};
pub use stream::StreamEnd;
pub use tls::TlsClient;
#[cfg(feature = "tls")]
pub use tls::{TlsClientError, TlsClientOptions};

pub(crate) use connect::Route;
pub(crate) use deadline::Deadline;
pub(crate) use framing::{LineOverflow, ReplyBuffer};
pub(crate) use socket::RawSocket;
#[cfg(feature = "load")]
pub(crate) use stream::connect;
pub(crate) use stream::{Stream, StreamRead};
pub(crate) use tls::ClientTlsSession;
#[cfg(feature = "load")]
pub(crate) use tls_layer::{CiphertextIn, PlainRead, TlsLayer};

#[cfg(not(feature = "tls"))]
mod tls {
    //! What takes the place of the file where the library is built without that feature: there is
    //! no TLS, and the compiler knows it.

    use super::error::TlsFailure;

    /// What TLS needs to know of a client. Without the feature `tls`, nobody can make one.
    #[derive(Clone, Debug)]
    pub enum TlsClient {}

    impl TlsClient {
        pub(super) fn system() -> Result<&'static Self, TlsFailure> {
            Err(TlsFailure::Unsupported)
        }

        pub(super) fn session(&self, _host: Option<&str>) -> Result<ClientTlsSession, TlsFailure> {
            match *self {}
        }
    }

    /// One connection's TLS, of which there is none.
    #[derive(Debug)]
    pub(crate) enum ClientTlsSession {}

    impl ClientTlsSession {
        pub(crate) fn is_handshaking(&self) -> bool {
            match *self {}
        }

        pub(crate) fn has_peer_closed(&self) -> bool {
            match *self {}
        }

        pub(crate) fn feed(&mut self, _ciphertext: &[u8]) -> Result<usize, TlsFailure> {
            match *self {}
        }

        pub(crate) fn take(&mut self, _space: &mut [u8]) -> usize {
            match *self {}
        }

        pub(crate) fn encrypt(&mut self, _bytes: &[u8], _ciphertext: &mut Vec<u8>) -> std::io::Result<usize> {
            match *self {}
        }

        pub(crate) fn owes(&self) -> bool {
            match *self {}
        }

        pub(crate) fn owed(&mut self, _ciphertext: &mut Vec<u8>) {
            match *self {}
        }

        pub(crate) fn close(&mut self, _ciphertext: &mut Vec<u8>) {
            match *self {}
        }
    }
}
