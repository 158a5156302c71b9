//! Sorts what went wrong into exit codes.

use std::io;

use greeter_args::Exit;
use greeter_client::load::LoadError;
use greeter_client::{ConnectError, ConnectionError, PipeError, TlsFailure};

/// Why the command ends with anything but success.
pub(crate) enum ExitError {
    /// There is nothing to do, or it cannot be understood.
    Exit(Exit),
    /// It was tried and failed.
    Error {
        /// The exit status.
        code: u8,
        /// What to print.
        error: anyhow::Error,
    },
    /// It was told to end, by this signal: that need not be told again.
    Signal(i32),
}

/// What should hold does not.
const UNMET: u8 = 1;
/// The input cannot be read.
const UNREADABLE: u8 = 2;
/// There is no connection, or none any more.
const CONNECTION: u8 = 3;
/// Neither the user nor the server is to blame.
const INTERNAL: u8 = 4;
/// As of a program that SIGINT has ended.
const INTERRUPTED: u8 = 130;

impl ExitError {
    /// Something was compared, and is not as it should be.
    pub(super) fn unmet(error: anyhow::Error) -> Self {
        Self::Error { code: UNMET, error }
    }

    /// The input cannot be read, or cannot be understood.
    pub(super) fn unreadable(error: anyhow::Error) -> Self {
        Self::Error { code: UNREADABLE, error }
    }

    /// The server did not do its part.
    pub(super) fn connection(error: impl Into<anyhow::Error>) -> Self {
        Self::Error { code: CONNECTION, error: error.into() }
    }

    /// A person has pressed Ctrl-C.
    pub(super) fn interrupted(error: anyhow::Error) -> Self {
        Self::Error { code: INTERRUPTED, error }
    }

    /// Something failed on this machine.
    pub(super) fn internal(error: anyhow::Error) -> Self {
        Self::Error { code: INTERNAL, error }
    }

    /// The server closed too early for all that it should have been sent.
    pub(super) fn unsent(bytes: u64) -> Self {
        Self::connection(anyhow::anyhow!("the server closed the connection with {bytes} bytes of the input unsent"))
    }

    /// stdout takes nothing.
    pub(super) fn stdout(err: io::Error) -> Self {
        Self::internal(anyhow::Error::new(err).context("cannot write to stdout"))
    }

    /// What writing to stdout has come to: a reader that has gone away wants no more, which is not
    /// an error.
    pub(super) fn unless_reader_gone(err: io::Error) -> Result<(), Self> {
        match err.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(Self::stdout(err)),
        }
    }

    /// The same failure, of this act.
    pub(super) fn context(self, context: String) -> Self {
        match self {
            Self::Error { code, error } => Self::Error { code, error: error.context(context) },
            other => other,
        }
    }
}

/// What an error of the library's asks for, as an option.
pub(crate) fn advice(error: &anyhow::Error) -> &'static str {
    match error.chain().find_map(|cause| cause.downcast_ref()) {
        Some(TlsFailure::UnknownIssuer) => ": name who has issued it with --tls-ca",
        Some(TlsFailure::NoRoots) => ": name some with --tls-ca",
        Some(TlsFailure::NoName) => " with --tls-name",
        _ => "",
    }
}

impl From<Exit> for ExitError {
    fn from(exit: Exit) -> Self {
        Self::Exit(exit)
    }
}

impl From<ConnectError> for ExitError {
    fn from(err: ConnectError) -> Self {
        Self::connection(err)
    }
}

impl From<ConnectionError> for ExitError {
    fn from(err: ConnectionError) -> Self {
        let code = match err {
            ConnectionError::Thread(_) => INTERNAL,
            _ => CONNECTION,
        };
        Self::Error { code, error: err.into() }
    }
}

impl From<LoadError> for ExitError {
    fn from(err: LoadError) -> Self {
        let code = match err {
            _ if err.is_usage() => UNREADABLE,
            _ if err.is_connecting() => CONNECTION,
            LoadError::BeforeFailed { .. } => UNMET,
            _ => INTERNAL,
        };
        Self::Error { code, error: err.into() }
    }
}

impl From<PipeError> for ExitError {
    fn from(err: PipeError) -> Self {
        let code = match err {
            PipeError::Input(_) => UNREADABLE,
            PipeError::Output(_) | PipeError::Watch(_) | PipeError::Thread(_) => INTERNAL,
            _ => CONNECTION,
        };
        Self::Error { code, error: err.into() }
    }
}
