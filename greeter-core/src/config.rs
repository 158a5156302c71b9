//! Turns limits, timeouts and the words of a responder into the configuration that all connections
//! share.
//!
//! It keeps no state of any connection.

use std::borrow::Cow;
use std::time::Duration;

use crate::catch::rejection_words;
use crate::close_reason::CloseReason;
use crate::line::{BareLf, LineEnding, LineRules, WhenTooLong};
use crate::rejection::Rejection;
use crate::responder::Responder;
use crate::telnet;

/// The configuration that every connection of a server shares.
///
/// ```
/// # use greeter_core::{CloseReason, ConnectionConfig, ConnectionTimeouts, Greeter};
/// let config = ConnectionConfig::new(8192, ConnectionTimeouts::DEFAULT, &Greeter);
/// assert_eq!(*config.rejection_text(CloseReason::IdleTimeout), *b"error: idle for 300s\n");
/// ```
#[derive(Debug)]
pub struct ConnectionConfig {
    /// The length of the longest line that is accepted, in bytes, without its ending.
    pub(crate) max_line_bytes: u32,
    pub(crate) timeouts: ConnectionTimeouts,
    pub(crate) rules: ConnectionRules,
    /// What a client receives when its connection closes, by the reason.
    rejections: [Option<RejectionText>; CloseReason::ALL.len()],
}

/// What happens to a client after a line was rejected that the responder has not seen: the line was
/// [too long](Rejection::LineTooLong), or no worker was free ([busy](Rejection::Busy)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenRejected {
    /// The session continues with the next line. It learns of the rejection by
    /// [`reject`](Responder::reject).
    #[default]
    Continue,
    /// The connection closes behind the rejection, and the lines that the client sent behind that
    /// one are not answered. It is for protocols in which one line has no meaning without the one
    /// before.
    Close,
}

/// The rules about what is received and sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConnectionRules {
    pub(crate) when_rejected: WhenRejected,
    pub(crate) lines: LineRules,
    /// How every line ends that is sent; `None` for the ending of the request.
    pub(crate) line_ending: Option<LineEnding>,
    pub(crate) telnet: bool,
    /// How many counted bytes the responder reads at once; 0 if it takes none.
    pub(crate) max_data_bytes: u32,
    pub(crate) wants_end_of_input: bool,
}

impl ConnectionRules {
    /// Returns how to end what is sent to a client whose own line ended so.
    #[inline]
    pub(crate) fn ending_for(&self, request: LineEnding) -> LineEnding {
        self.line_ending.unwrap_or(request)
    }

    /// Returns whether a connection closes behind a line that was rejected unseen. Where a line may
    /// announce bytes, nobody knows what comes behind it.
    pub(crate) fn closes_when_rejected(&self) -> bool {
        self.when_rejected == WhenRejected::Close || self.max_data_bytes > 0
    }
}

/// How long a connection may stay in each [`Phase`](crate::Phase) of waiting for the client. `None`
/// disables a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionTimeouts {
    /// The idle timeout: the client is owed nothing and has begun no line.
    pub idle: Option<Duration>,
    /// The line timeout: a line has begun and has not ended. More bytes of it do not extend it.
    pub line: Option<Duration>,
    /// The reply timeout, as far as a connection knows it: an answer is to come
    /// [later](crate::Reply::later), and does not. How long the responder may take to return from a
    /// call is for the driver to decide.
    pub reply: Option<Duration>,
    /// The write timeout: replies are to be sent, and the client takes none of them. Each byte that
    /// it takes starts it again.
    pub write: Option<Duration>,
    /// The linger timeout: the server's end of the stream was sent, and the client has not closed
    /// its own. Zero closes at once, which can destroy replies that the client has not read yet.
    pub linger: Duration,
}

/// The text of one rejection, with both line endings.
#[derive(Debug)]
struct RejectionText {
    lf: Box<[u8]>,
    crlf: Box<[u8]>,
}

impl ConnectionConfig {
    /// The largest limit for a line that a server can have, in bytes: 1 GiB.
    pub const MAX_LINE_BYTES: u32 = 1 << 30;

    /// The largest number of [counted bytes](Responder::max_data_bytes) that a responder can read
    /// at once: 1 GiB.
    pub const MAX_DATA_BYTES: u32 = 1 << 30;

    /// The largest [buffer for replies](crate::ClientJob::reply_capacity_hint) that is asked for
    /// before there are any, in bytes: 32 KiB.
    pub const MAX_REPLY_CAPACITY: usize = 32 * 1024;

    /// Creates a configuration with rejections in the words of `responder`.
    ///
    /// Its [`reject`](Responder::reject) is called here, for each rejection that ends a connection
    /// and each line ending, so that a client receives one later even when no thread is free to
    /// word it.
    ///
    /// # Panics
    ///
    /// Panics if `max_line_bytes` is more than [`MAX_LINE_BYTES`](Self::MAX_LINE_BYTES), or the
    /// responder's [`max_data_bytes`](Responder::max_data_bytes) more than
    /// [`MAX_DATA_BYTES`](Self::MAX_DATA_BYTES).
    #[must_use]
    pub fn new<R>(max_line_bytes: u32, timeouts: ConnectionTimeouts, responder: &R) -> Self
    where
        R: Responder + ?Sized,
    {
        assert!(max_line_bytes <= Self::MAX_LINE_BYTES, "a line of {max_line_bytes} bytes cannot be held");
        let data_bytes = responder.max_data_bytes();
        let max_data_bytes = u32::try_from(data_bytes).ok().filter(|&bytes| bytes <= Self::MAX_DATA_BYTES);
        let max_data_bytes = max_data_bytes.unwrap_or_else(|| panic!("{data_bytes} bytes cannot be held"));
        let wants_end_of_input = responder.wants_end_of_input();
        let rules = ConnectionRules { max_data_bytes, wants_end_of_input, ..ConnectionRules::default() };
        let word = |rejection: Rejection| {
            let [lf, crlf] =
                [LineEnding::Lf, LineEnding::CrLf].map(|ending| rejection_words(responder, &rejection, ending));
            RejectionText { lf, crlf }
        };
        let rejections = CloseReason::ALL.map(|reason| reason.rejection(&timeouts).map(word));
        Self { max_line_bytes, timeouts, rules, rejections }
    }

    /// Sets what happens to a client after a line was rejected. The default is
    /// [`WhenRejected::Continue`].
    #[must_use]
    pub const fn when_rejected(mut self, when_rejected: WhenRejected) -> Self {
        self.rules.when_rejected = when_rejected;
        self
    }

    /// Sets what happens to a line that is too long. The default is [`WhenTooLong::Reject`].
    #[must_use]
    pub const fn when_too_long(mut self, when_too_long: WhenTooLong) -> Self {
        self.rules.lines.when_too_long = when_too_long;
        self
    }

    /// Sets what happens to a line that ends with LF alone. The default is [`BareLf::Accept`].
    #[must_use]
    pub const fn bare_lf(mut self, bare_lf: BareLf) -> Self {
        self.rules.lines.bare_lf = bare_lf;
        self
    }

    /// Sets how every line ends that is sent: replies, banners, pushes and rejections. The default,
    /// `None`, is to end each as the client's own line did, or as the banner did until there is
    /// one. A reply may [say otherwise](crate::Reply::end_lines_with).
    #[must_use]
    pub const fn line_ending(mut self, ending: Option<LineEnding>) -> Self {
        self.rules.line_ending = ending;
        self
    }

    /// Sets whether clients speak telnet (RFC 854, RFC 855). The default is not to.
    ///
    /// Then commands are taken out of what a client sends before it is cut into lines, each option
    /// that it offers or asks for is refused, `CR NUL` is a CR, and the byte 255 is sent and
    /// received twice. In other protocols these bytes are data. Counted bytes are counted, and the
    /// ending of a line is judged, by what is left.
    #[must_use]
    pub const fn telnet(mut self, telnet: bool) -> Self {
        self.rules.telnet = telnet;
        self
    }

    /// Returns what a client receives that is rejected for this reason before it has sent anything.
    /// It is empty if the client receives nothing.
    #[must_use]
    pub fn rejection_text(&self, reason: CloseReason) -> Cow<'_, [u8]> {
        let text = self.rejection_text_with(reason, self.rules.ending_for(LineEnding::default()));
        if self.rules.telnet { Cow::Owned(telnet::escaped(text)) } else { Cow::Borrowed(text) }
    }

    /// Returns what a client receives when its connection closes for this reason, before it is
    /// escaped for telnet. It is empty if the client receives nothing.
    pub(crate) fn rejection_text_with(&self, reason: CloseReason, ending: LineEnding) -> &[u8] {
        self.rejections[reason.index()].as_ref().map_or(&[], |text| text.ending(ending))
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
    /// The timeouts for a server on an untrusted network: idle 5 minutes, line 10 seconds, reply
    /// and write 30 seconds, linger 2 seconds.
    pub const DEFAULT: Self = Self {
        idle: Some(Duration::from_secs(5 * 60)),
        line: Some(Duration::from_secs(10)),
        reply: Some(Duration::from_secs(30)),
        write: Some(Duration::from_secs(30)),
        linger: Duration::from_secs(2),
    };

    /// No timeouts, but for linger, which is 2 seconds.
    pub const NONE: Self = Self { idle: None, line: None, reply: None, write: None, linger: Duration::from_secs(2) };
}

impl CloseReason {
    /// Returns the rejection that the client receives, if it receives one.
    const fn rejection(self, timeouts: &ConnectionTimeouts) -> Option<Rejection> {
        match self {
            Self::IdleTimeout => match timeouts.idle {
                Some(within) => Some(Rejection::IdleTimeout { within }),
                None => None,
            },
            Self::LineTimeout => match timeouts.line {
                Some(within) => Some(Rejection::LineTimeout { within }),
                None => None,
            },
            Self::ReplyTimeout => Some(Rejection::ReplyTimeout),
            Self::SessionTimeout => Some(Rejection::SessionTimeout),
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
            | Self::Lost
            | Self::HandshakeTimeout
            | Self::HandshakeLimit
            | Self::ProxyHeader
            | Self::HandshakeFailed
            | Self::PlainBehindStartTls => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Greeter;

    #[test]
    fn a_line_limit_of_1_gib_is_the_largest() {
        let config = ConnectionConfig::new(1_073_741_824, ConnectionTimeouts::NONE, &Greeter);
        assert_eq!((config.max_line_bytes, ConnectionConfig::MAX_LINE_BYTES), (1_073_741_824, 1_073_741_824));
    }

    #[test]
    #[should_panic(expected = "a line of 1073741825 bytes cannot be held")]
    fn a_line_limit_above_1_gib_panics() {
        let _ = ConnectionConfig::new(1_073_741_825, ConnectionTimeouts::NONE, &Greeter);
    }

    #[test]
    fn the_default_idle_timeout_is_five_minutes() {
        assert_eq!(ConnectionTimeouts::DEFAULT.idle, Some(Duration::from_secs(300)));
        let config = ConnectionConfig::new(10, ConnectionTimeouts::DEFAULT, &Greeter);
        assert_eq!(*config.rejection_text(CloseReason::IdleTimeout), *b"error: idle for 300s\n");
        assert_eq!(config.rejection_text_with(CloseReason::IdleTimeout, LineEnding::CrLf), b"error: idle for 300s\r\n");
    }
}
