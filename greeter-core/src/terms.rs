//! The terms on which clients are served: how long a line may be, how long each wait may last, and what is said when it lasts
//! longer.

use std::time::Duration;

use crate::job::{ROOM_BYTES_MAX, words_of};
use crate::line::LineEnding;
use crate::refusal::Refusal;
use crate::responder::{CloseReason, Responder};

/// What holds for every connection of a server.
#[derive(Debug)]
pub struct Terms {
    /// The longest line that is taken, in bytes, without its ending.
    pub(crate) line_bytes_max: u32,
    pub(crate) deadlines: Deadlines,
    pub(crate) when_refused: WhenRefused,
    /// What is said to a client that is sent away, by the reason.
    notices: [Option<Notice>; CloseReason::ALL.len()],
}

/// What becomes of a client of whom a line was refused that the responder has not seen: it was [too long](Refusal::LineTooLong), or everyone
/// was [busy](Refusal::Busy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenRefused {
    /// The session goes on at the next line. It was told, by [`refuse`](Responder::refuse).
    #[default]
    Continue,
    /// The connection closes behind the refusal, and the lines that the client sent behind that one are not answered. For protocols
    /// in which one line has no meaning without the one before.
    Close,
}

/// How long a connection may stay in each [`Phase`](crate::Phase) of waiting for the client. `None` is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
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

/// One refusal in both line endings.
#[derive(Debug)]
struct Notice {
    lf: Box<[u8]>,
    crlf: Box<[u8]>,
}

impl Terms {
    /// The longest line that a server can be told to take, in bytes: 1 GiB.
    pub const LINE_BYTES_MAX: u32 = 1 << 30;

    /// The most room that is made for replies before there are any, in bytes: 32 KiB.
    pub const ROOM_BYTES_MAX: usize = ROOM_BYTES_MAX;

    /// These terms, with refusals in the words of `responder`: its [`refuse`](Responder::refuse) is asked for each of them here,
    /// once, so that whoever is sent away later is told even when no one is free to word it.
    ///
    /// # Panics
    ///
    /// When lines may be longer than [`LINE_BYTES_MAX`](Self::LINE_BYTES_MAX).
    #[must_use]
    pub fn new<R>(line_bytes_max: u32, deadlines: Deadlines, responder: &R) -> Self
    where
        R: Responder + ?Sized,
    {
        assert!(line_bytes_max <= Self::LINE_BYTES_MAX, "a line of {line_bytes_max} bytes cannot be held");
        let word = |refusal: Refusal| {
            let [lf, crlf] = [LineEnding::Lf, LineEnding::CrLf].map(|ending| words_of(responder, &refusal, ending));
            Notice { lf, crlf }
        };
        let notices = CloseReason::ALL.map(|reason| reason.refusal(&deadlines).map(word));
        Self { line_bytes_max, deadlines, when_refused: WhenRefused::default(), notices }
    }

    /// What becomes of a client when a line of it was refused. By default, its session goes on.
    #[must_use]
    pub const fn when_refused(mut self, when_refused: WhenRefused) -> Self {
        self.when_refused = when_refused;
        self
    }

    /// What a client reads that is refused before it has said anything, for this reason. Nothing, where there is nothing to say.
    #[must_use]
    pub fn refusal(&self, reason: CloseReason) -> &[u8] {
        self.notice(reason, LineEnding::Lf)
    }

    /// What is said to a client that is sent away for this reason. Nothing, where it could not read that.
    pub(crate) fn notice(&self, reason: CloseReason, ending: LineEnding) -> &[u8] {
        self.notices[reason.index()].as_ref().map_or(&[], |notice| notice.ending(ending))
    }
}

impl Notice {
    fn ending(&self, ending: LineEnding) -> &[u8] {
        match ending {
            LineEnding::Lf => &self.lf,
            LineEnding::CrLf => &self.crlf,
        }
    }
}

impl Deadlines {
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
    const fn refusal(self, deadlines: &Deadlines) -> Option<Refusal> {
        match self {
            Self::Idle => match deadlines.idle {
                Some(within) => Some(Refusal::Idle { within }),
                None => None,
            },
            Self::LineUnfinished => match deadlines.line {
                Some(within) => Some(Refusal::LineUnfinished { within }),
                None => None,
            },
            Self::NoReply => Some(Refusal::TimedOut),
            Self::Busy => Some(Refusal::Busy),
            Self::Overloaded => Some(Refusal::Overloaded),
            Self::ServerFull => Some(Refusal::ServerFull),
            Self::AddressFull => Some(Refusal::AddressFull),
            Self::ByClient
            | Self::ByResponder
            | Self::LineRefused
            | Self::ByHost
            | Self::ByShutdown
            | Self::ByShutdownDeadline
            | Self::NotReading
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
        let terms = Terms::new(1_073_741_824, Deadlines::NONE, &Greeter);
        assert_eq!((terms.line_bytes_max, Terms::LINE_BYTES_MAX), (1_073_741_824, 1_073_741_824));
    }

    #[test]
    #[should_panic(expected = "a line of 1073741825 bytes cannot be held")]
    fn no_longer_line_can_be_taken() {
        let _ = Terms::new(1_073_741_825, Deadlines::NONE, &Greeter);
    }

    #[test]
    fn without_being_told_a_client_may_be_silent_for_five_minutes() {
        assert_eq!(Deadlines::DEFAULT.idle, Some(Duration::from_secs(300)));
        let terms = Terms::new(10, Deadlines::DEFAULT, &Greeter);
        assert_eq!(terms.refusal(CloseReason::Idle), b"error: idle for 300s\n");
        assert_eq!(terms.notice(CloseReason::Idle, LineEnding::CrLf), b"error: idle for 300s\r\n");
    }
}
