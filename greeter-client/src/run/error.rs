//! Why a step failed.

use std::process::ExitStatus;
use std::time::Duration;

use super::process::ServerError;
use crate::net::{ServerAddressError, StreamEnd};
use crate::session::{Actual, Expected, SessionError};
use crate::talk::{CalculationError, CountError, Diagnostics, MIN_SECRET_BYTES, Name, Unbound};

/// Why a step, or the end of a script, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// On a connection; above all, what came is not what was expected.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A placeholder has no value.
    #[error(transparent)]
    Unbound(#[from] Unbound),
    /// A placeholder has no value, since the optional line that has it in it has not come.
    #[error("{{{{{name}}}}} has no value: '<? {line}' would have captured it, and no such line has come")]
    NotCaptured {
        /// The variable.
        name: Name,
        /// The pattern of the line.
        line: String,
    },
    /// Lines that may come in any order have come, and leave open what they capture.
    #[error("{0}")]
    Unclear(String),
    /// A value cannot be computed.
    #[error(transparent)]
    Calculation(#[from] CalculationError),
    /// The value of a secret is so short that reports would be full of masks.
    #[error("{{{{{0}}}}} is a secret, and its value has less than {MIN_SECRET_BYTES} bytes: too much would be masked")]
    ShortSecret(Name),
    /// What came holds a secret, and only a line in the plain form can have its name.
    #[error("what came holds a secret, and cannot be written down with its name in its place: edit it by hand")]
    SecretInBlessing,
    /// What a variable says is no number of bytes.
    #[error(transparent)]
    Count(#[from] CountError),
    /// What a variable says is no address.
    #[error("cannot connect there")]
    Address(#[from] ServerAddressError),
    /// The server of the run's own cannot be reached.
    #[error(transparent)]
    ServerProcess(#[from] ServerError),
    /// The server ended in another way.
    #[error("the server was to end with {expected}, but it ended with {actual}")]
    Exit {
        /// The status that was expected.
        expected: u8,
        /// The status that came, or the signal.
        actual: String,
    },
    /// The server ended by itself with another status than 0 or by a signal, and the script has
    /// neither sent it a signal nor said that it `exits`.
    #[error("the server has ended by itself ({0}), and the script does not say so")]
    ServerDied(ExitStatus),
    /// The server did not end.
    #[error("the server still runs after {waited:?}")]
    StillRuns {
        /// How long it was waited for.
        waited: Duration,
    },
    /// A step is about the server's process, and there is none.
    #[error("this run has no server of its own: give it one with --server")]
    NoServer,
    /// Nobody has said where to connect to.
    #[error("there is no address to connect to: give one with --connect or --server")]
    NoTarget,
    /// The run lacks something that the script uses.
    #[error("{0}; `require` lets a script be skipped where that is so")]
    Unsupported(String),
    /// What is to be inserted belongs into a file that the script includes, and that others may
    /// share.
    #[error("only what stands in the script itself is blessed, not what it includes; there was to be inserted: {0}")]
    InsertIntoIncluded(String),
    /// With what came, the script would be none.
    #[error("what came cannot be written down so that the script stays one; edit it by hand\n{0}")]
    InvalidBlessing(Diagnostics),
    /// The script as a whole takes too long.
    #[error("the script has taken more than {0:?}")]
    MaxTime(Duration),
}

impl StepError {
    /// Returns whether a connection, or the run's own server, could not be had in the first place:
    /// then the script is hardly to blame.
    #[must_use]
    pub const fn is_connecting(&self) -> bool {
        match self {
            Self::Session(SessionError::Connect { .. }) => true,
            Self::ServerProcess(error) => !matches!(error, ServerError::Process(_)),
            _ => false,
        }
    }

    /// Whether a connection, or the server itself, was not there any more.
    pub(super) fn is_about_an_end(&self) -> bool {
        match self {
            Self::Session(SessionError::Mismatch(mismatch)) => {
                mismatch.end.is_some() || mismatch.send_error.is_some() || matches!(mismatch.actual, Actual::End(_))
            }
            Self::Session(SessionError::Connect { .. } | SessionError::Send { .. }) => true,
            Self::ServerProcess(ServerError::Process(_)) | Self::Exit { .. } | Self::ServerDied(_) => true,
            _ => false,
        }
    }

    /// Whether [`bless`](super::bless()) may accept what came instead.
    pub(super) fn is_blessable(&self, is_timed: bool) -> bool {
        let Self::Session(SessionError::Mismatch(mismatch)) = self else { return false };
        let is_expected =
            matches!(mismatch.expected, Expected::Line(_) | Expected::Eof | Expected::Reset | Expected::Closed);
        let has_come = match mismatch.actual {
            Actual::Line(_) | Actual::End(StreamEnd::Eof | StreamEnd::Truncated | StreamEnd::Reset) => true,
            Actual::PartialLine(_) => mismatch.end.is_some(),
            Actual::Nothing => mismatch.timed_out && !is_timed,
            _ => false,
        };
        is_expected && has_come
    }
}
