//! Clients: what they are called, and where they come from.

use std::net::SocketAddr;

/// Names one client of a server, from its first byte to its last. Another client never has the same.
///
/// What is in it is the driver's business; the core only carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// Who is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// The client's name on this server.
    pub id: ClientId,
    /// The address that the connection came from.
    pub address: SocketAddr,
}

impl Peer {
    /// Whoever connected from `address` and is called `id` here.
    #[must_use]
    pub const fn new(id: ClientId, address: SocketAddr) -> Self {
        Self { id, address }
    }
}
