//! Why there is no server, and how one has ended.

use std::fmt;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use super::output::LastLines;
use crate::net::ServerAddressError;

/// The exit of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerExit {
    /// The exit status, or the signal.
    pub status: ExitStatus,
    /// The last lines on stderr.
    pub stderr: LastLines,
}

/// An error of a [`ServerProcess`](super::ServerProcess).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// No program was named.
    #[error("no command to start a server")]
    NoCommand,
    /// The program could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// It closed its stdout before it said where it listens.
    #[error("{program} has not said where it listens: a line \"listening on ADDRESS\" on its stdout")]
    NotReady {
        /// The program.
        program: String,
        /// What it said last on stderr.
        stderr: LastLines,
    },
    /// It has said nothing for this long.
    #[error("{program} has not said for {waited:?} where it listens: a line \"listening on ADDRESS\" on its stdout")]
    ReadyTimeout {
        /// The program.
        program: String,
        /// How long.
        waited: Duration,
        /// What it said last on stderr.
        stderr: LastLines,
    },
    /// What it said is no address.
    #[error("{program} says that it listens, but not where")]
    Address {
        /// The program.
        program: String,
        /// What is wrong with what it said.
        source: ServerAddressError,
    },
    /// There is no port for it, or the system does not tell who listens.
    #[error("no port can be chosen for the server")]
    Port(#[source] io::Error),
    /// It ended before it listened, or went into the background, where nobody can end it.
    #[error("{program} {}", EarlyExit { port: *port, status: end.status })]
    Exited {
        /// The program.
        program: String,
        /// The port that was chosen for it, if one was.
        port: Option<u16>,
        /// How it ended.
        end: ServerExit,
    },
    /// It does not listen on its port after this long.
    #[error("{program} does not listen on port {port} after {waited:?}")]
    ListenTimeout {
        /// The program.
        program: String,
        /// The port that was chosen for it.
        port: u16,
        /// How long.
        waited: Duration,
        /// What it said last on stderr.
        stderr: LastLines,
    },
    /// After its end, its port still has a listener. So that may be who has answered.
    #[error(
        "somebody listens on port {port}, though {program} has ended: \
         another program took the port, or {program} left a process behind"
    )]
    PortInUse {
        /// The program.
        program: String,
        /// The port that was chosen for it.
        port: u16,
    },
    /// After its end, a process that it has started still holds its stdout or stderr. It is in a
    /// group of its own, so that nobody can end it who does not know it.
    #[error("{program} has ended, and left a process behind that has gone to another process group")]
    LeftBehind {
        /// The program.
        program: String,
    },
    /// [All servers were ended](super::ServerProcesses::end_all).
    #[error("no server is started any more")]
    ShutDown,
    /// The process could not be sent a signal or waited for.
    #[error("cannot reach the server's process")]
    Process(#[source] io::Error),
}

impl ServerError {
    /// Returns the last lines that the server wrote to stderr, where they may explain the error.
    #[must_use]
    pub fn stderr(&self) -> Option<&LastLines> {
        match self {
            Self::NotReady { stderr, .. } | Self::ReadyTimeout { stderr, .. } | Self::ListenTimeout { stderr, .. } => {
                Some(stderr)
            }
            Self::Exited { end, .. } => Some(&end.stderr),
            _ => None,
        }
    }
}

/// How it ended before it listened, and what was expected of it.
struct EarlyExit {
    port: Option<u16>,
    status: ExitStatus,
}

impl fmt::Display for EarlyExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, status } = self;
        match port {
            Some(port) => {
                write!(f, "has ended ({status}): it is to listen on port {port}, and to stay in the foreground")
            }
            None => write!(
                f,
                "has not said where it listens, and has ended ({status}): a line \"listening on ADDRESS\" on its stdout"
            ),
        }
    }
}
