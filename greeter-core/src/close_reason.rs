//! Turns each way in which a connection ends into one value, to report and to count.
//!
//! It does not know what the client receives; [`config`](crate::ConnectionConfig) does.

/// The reason why a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client stopped sending and received every reply that it was owed.
    #[error("the client stopped sending")]
    ClientClosed,
    /// The responder [closed](crate::Reply::close) the connection.
    #[error("the responder closed it")]
    ResponderClosed,
    /// A line was rejected that the responder had not seen, on a server that
    /// [closes](crate::WhenRejected::Close) then.
    #[error("a line was rejected")]
    LineRejected,
    /// The program that the server is part of closed the connection. What the client was still owed
    /// is lost.
    #[error("the host program closed it")]
    Killed,
    /// The server shut down, and every complete line was answered.
    #[error("the server is shutting down")]
    Shutdown,
    /// The server shut down and its deadline passed. What the client was still owed is lost.
    #[error("the server's deadline for shutting down has passed")]
    ShutdownDeadline,
    /// The connection broke, by a reset or another error of the network. What the client was still
    /// owed is lost.
    #[error("the connection broke")]
    Lost,
    /// The idle timeout expired: the client was owed nothing and had begun no line.
    #[error("the client was idle")]
    IdleTimeout,
    /// The line timeout expired: the client had begun a line and did not finish it.
    #[error("the client did not finish its line")]
    LineTimeout,
    /// The write timeout expired: the client did not read its replies. What it was still owed is
    /// lost.
    #[error("the client did not read its replies")]
    WriteTimeout,
    /// The reply timeout expired: the responder did not answer in time. Once it does, its
    /// [`disconnect`](crate::Responder::disconnect) receives this reason.
    #[error("the responder did not answer in time")]
    ReplyTimeout,
    /// No worker was free to connect the client, or to tell its session of rejected lines.
    #[error("everyone was busy")]
    Busy,
    /// The memory budget of the server had no room for what this client made it hold.
    #[error("the server had no room for its lines and replies")]
    Overloaded,
    /// The server was at its connection limit. The responder does not learn of this client.
    #[error("the server was full")]
    ConnectionLimit,
    /// The server was at its limit of connections from this address. The responder does not learn
    /// of this client.
    #[error("there were too many connections from its address")]
    AddressLimit,
    /// The client did not send its PROXY header, or did not finish its TLS handshake, within the
    /// handshake timeout. The responder does not learn of this client, unless it was in plain
    /// before and a reply had [asked for TLS](crate::Reply::start_tls).
    #[error("the client did not finish its handshake")]
    HandshakeTimeout,
    /// The client had kept the server waiting longest in its handshake when another needed the
    /// place. The responder does not learn of this client.
    #[error("there were too many handshakes at a time")]
    HandshakeLimit,
    /// A proxy sent no PROXY header, or an invalid one. The responder does not learn of this
    /// client.
    #[error("its proxy sent no valid header")]
    ProxyHeader,
    /// The TLS handshake failed: the two sides did not agree, the client's certificate was not
    /// accepted, or it speaks no TLS. The responder does not learn of this client, unless it was in
    /// plain before and a reply had [asked for TLS](crate::Reply::start_tls).
    #[error("the TLS handshake failed")]
    HandshakeFailed,
    /// A client that asked for TLS had sent more in plain behind that. It is discarded, since
    /// nobody knows who has sent it.
    #[error("something came in plain behind the request for TLS")]
    PlainBehindStartTls,
    /// The client had been connected for as long as one may, and was owed nothing. It may connect
    /// again, perhaps to another server.
    #[error("its session had lasted long enough")]
    SessionTimeout,
}

impl CloseReason {
    /// Returns the position of this reason in [`ALL`](Self::ALL).
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// All reasons, in the order of their indices.
    pub const ALL: [Self; 21] = [
        Self::ClientClosed,
        Self::ResponderClosed,
        Self::LineRejected,
        Self::Killed,
        Self::Shutdown,
        Self::ShutdownDeadline,
        Self::Lost,
        Self::IdleTimeout,
        Self::LineTimeout,
        Self::WriteTimeout,
        Self::ReplyTimeout,
        Self::Busy,
        Self::Overloaded,
        Self::ConnectionLimit,
        Self::AddressLimit,
        Self::HandshakeTimeout,
        Self::HandshakeLimit,
        Self::ProxyHeader,
        Self::HandshakeFailed,
        Self::PlainBehindStartTls,
        Self::SessionTimeout,
    ];
}
