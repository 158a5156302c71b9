//! The config on which clients are served: how long a line may be, how long each wait may last, and what is said when it lasts
//! longer.

use std::time::Duration;

use crate::catch::rejection_words;
use crate::close_reason::CloseReason;
use crate::line::LineEnding;
use crate::rejection::Rejection;
use crate::responder::Responder;

/// What holds for every connection of a server.
#[derive(Debug)]
pub struct ConnectionConfig {
    /// The longest line that is taken, in bytes, without its ending.
    pub(crate) max_line_bytes: u32,
    pub(crate) timeouts: ConnectionTimeouts,
    pub(crate) when_rejected: WhenRejected,
    /// What is said to a client that is sent away, by the reason.
    rejections: [Option<RejectionText>; CloseReason::ALL.len()],
}

/// What becomes of a client of whom a line was rejected that the responder has not seen: it was [too long](Rejection::LineTooLong), or everyone
/// was [busy](Rejection::Busy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenRejected {
    /// The session goes on at the next line. It was told, by [`reject`](Responder::reject).
    #[default]
    Continue,
    /// The connection closes behind the rejection, and the lines that the client sent behind that one are not answered. For protocols
    /// in which one line has no meaning without the one before.
    Close,
}

/// How long a connection may stay in each [`Phase`](crate::Phase) of waiting for the client. `None` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionTimeouts {
    /// Nothing is owed and no line has begun.
    pub idle: Option<Duration>,
    /// A line has begun and has not ended. More bytes of it renew nothing.
    pub line: Option<Duration>,
    /// Replies are to be sent, and the client takes none of them. Whatever it takes renews this.
    pub write: Option<Duration>,
    /// Our end of the stream was sent, and the client has not closed its own. Zero closes at once, which can destroy replies
    /// that the client has not read yet.
    pub linger: Duration,
}

/// One rejection in both line endings.
#[derive(Debug)]
struct RejectionText {
    lf: Box<[u8]>,
    crlf: Box<[u8]>,
}

impl ConnectionConfig {
    /// The longest line that a server can be told to take, in bytes: 1 GiB.
    pub const MAX_LINE_BYTES: u32 = 1 << 30;

    /// The most room that is made for replies before there are any, in bytes: 32 KiB.
    pub const MAX_REPLY_CAPACITY: usize = 32 * 1024;

    /// These config, with rejections in the words of `responder`: its [`reject`](Responder::reject) is asked for each of them here,
    /// once, so that whoever is sent away later is told even when no one is free to word it.
    ///
    /// # Panics
    ///
    /// When lines may be longer than [`MAX_LINE_BYTES`](Self::MAX_LINE_BYTES).
    #[must_use]
    pub fn new<R>(max_line_bytes: u32, deadlines: ConnectionTimeouts, responder: &R) -> Self
    where
        R: Responder + ?Sized,
    {
        assert!(max_line_bytes <= Self::MAX_LINE_BYTES, "a line of {max_line_bytes} bytes cannot be held");
        let word = |rejection: Rejection| {
            let [lf, crlf] =
                [LineEnding::Lf, LineEnding::CrLf].map(|ending| rejection_words(responder, &rejection, ending));
            RejectionText { lf, crlf }
        };
        let notices = CloseReason::ALL.map(|reason| reason.rejection(&deadlines).map(word));
        Self { max_line_bytes, timeouts: deadlines, when_rejected: WhenRejected::default(), rejections: notices }
    }

    /// What becomes of a client when a line of it was rejected. By default, its session goes on.
    #[must_use]
    pub const fn when_rejected(mut self, when_rejected: WhenRejected) -> Self {
        self.when_rejected = when_rejected;
        self
    }

    /// What a client reads that is rejected before it has said anything, for this reason. Nothing, where there is nothing to say.
    #[must_use]
    pub fn rejection_text(&self, reason: CloseReason) -> &[u8] {
        self.rejection_text_with(reason, LineEnding::Lf)
    }

    /// What is said to a client that is sent away for this reason. Nothing, where it could not read that.
    pub(crate) fn rejection_text_with(&self, reason: CloseReason, ending: LineEnding) -> &[u8] {
        self.rejections[reason.index()].as_ref().map_or(&[], |notice| notice.ending(ending))
    }
}

impl RejectionText {
    fn ending(&self, ending: LineEnding) -> &[u8] {
        match ending {
            LineEnding::Lf => &self.lf,
            LineEnding::CrLf => &self.crlf,
        }
    }
}

impl ConnectionTimeouts {
    /// What suits a server on an untrusted network: five minutes of silence, ten seconds for a line, thirty for a client to take
    /// what it is owed, two for it to close its end.
    pub const DEFAULT: Self = Self {
        idle: Some(Duration::from_secs(5 * 60)),
        line: Some(Duration::from_secs(10)),
        write: Some(Duration::from_secs(30)),
        linger: Duration::from_secs(2),
    };

    /// None but for lingering, which takes two seconds at most.
    pub const NONE: Self = Self { idle: None, line: None, write: None, linger: Duration::from_secs(2) };
}

impl CloseReason {
    /// How a client is told, if it is.
    const fn rejection(self, deadlines: &ConnectionTimeouts) -> Option<Rejection> {
        match self {
            Self::IdleTimeout => match deadlines.idle {
                Some(within) => Some(Rejection::IdleTimeout { within }),
                None => None,
            },
            Self::LineTimeout => match deadlines.line {
                Some(within) => Some(Rejection::LineTimeout { within }),
                None => None,
            },
            Self::ReplyTimeout => Some(Rejection::ReplyTimeout),
            Self::Busy => Some(Rejection::Busy),
            Self::Overloaded => Some(Rejection::Overloaded),
            Self::ConnectionLimit => Some(Rejection::ConnectionLimit),
            Self::AddressLimit => Some(Rejection::AddressLimit),
            Self::ClientClosed
            | Self::ResponderClosed
            | Self::LineRejected
            | Self::Killed
            | Self::Shutdown
            | Self::ShutdownDeadline
            | Self::WriteTimeout
            | Self::Lost => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Greeter;

    #[test]
    fn a_line_of_1_gib_is_the_longest_that_can_be_taken() {
        let config = ConnectionConfig::new(1_073_741_824, ConnectionTimeouts::NONE, &Greeter);
        assert_eq!((config.max_line_bytes, ConnectionConfig::MAX_LINE_BYTES), (1_073_741_824, 1_073_741_824));
    }

    #[test]
    #[should_panic(expected = "a line of 1073741825 bytes cannot be held")]
    fn no_longer_line_can_be_taken() {
        let _ = ConnectionConfig::new(1_073_741_825, ConnectionTimeouts::NONE, &Greeter);
    }

    #[test]
    fn without_being_told_a_client_may_be_silent_for_five_minutes() {
        assert_eq!(ConnectionTimeouts::DEFAULT.idle, Some(Duration::from_secs(300)));
        let config = ConnectionConfig::new(10, ConnectionTimeouts::DEFAULT, &Greeter);
        assert_eq!(config.rejection_text(CloseReason::IdleTimeout), b"error: idle for 300s\n");
        assert_eq!(config.rejection_text_with(CloseReason::IdleTimeout, LineEnding::CrLf), b"error: idle for 300s\r\n");
    }
}
