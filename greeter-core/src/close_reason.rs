//! Why connections end.

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client stopped sending and got every reply it was owed.
    #[error("the client stopped sending")]
    ClientClosed,
    /// The responder [closed](crate::Reply::close) it.
    #[error("the responder closed it")]
    ResponderClosed,
    /// A line was rejected that the responder has not seen, and that was [to be the end](crate::WhenRejected::Close).
    #[error("a line was rejected")]
    LineRejected,
    /// The program that the server is part of closed it. What was still owed is lost.
    #[error("the host program closed it")]
    Killed,
    /// The server is shutting down; every complete line was answered.
    #[error("the server is shutting down")]
    Shutdown,
    /// The server was shutting down and its deadline passed: what was still owed is lost.
    #[error("the server's deadline for shutting down has passed")]
    ShutdownDeadline,
    /// The connection broke, by a reset or another error of the network: what was still owed is lost.
    #[error("the connection broke")]
    Lost,
    /// The client was idle for too long: nothing was owed, and no line had begun.
    #[error("the client was idle")]
    IdleTimeout,
    /// The client began a line and did not finish it in time.
    #[error("the client did not finish its line")]
    LineTimeout,
    /// The client did not read what it was sent: what was still owed is lost.
    #[error("the client did not read its replies")]
    WriteTimeout,
    /// The responder did not come back with an answer in time. It is told so when it does.
    #[error("the responder did not answer in time")]
    ReplyTimeout,
    /// Nobody was free: to welcome the client, or to tell its session that lines were rejected.
    #[error("everyone was busy")]
    Busy,
    /// The server had no room for what this client made it hold.
    #[error("the server had no room for its lines and replies")]
    Overloaded,
    /// The server had as many clients as it takes. No responder is told of this one.
    #[error("the server was full")]
    ConnectionLimit,
    /// The server had as many clients from that address as it takes. No responder is told of this one.
    #[error("there were too many connections from its address")]
    AddressLimit,
}

impl CloseReason {
    /// The place of this one among [all](Self::ALL).
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// All reasons, in the order of their indices.
    pub const ALL: [Self; 15] = [
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
    ];
}
