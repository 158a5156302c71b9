//! What there is to tell of a program: why it is no good, and in numbers how it does. Must not
//! decide what follows from it.

use std::io;

/// Why a program does not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// An option is invalid.
    #[error("{option} is {value}, but must be from {min} to {max}")]
    OutOfRange {
        /// The option, by the name of its method on [`ExecOptions`](crate::ExecOptions).
        option: &'static str,
        /// The value, as given.
        value: usize,
        /// The minimum.
        min: usize,
        /// The maximum.
        max: usize,
    },
    /// The line to try the program with holds an LF.
    #[error("the probe is one line, without its end")]
    Probe,
    /// The system has no thread, or no descriptor, to drive the program with.
    #[error("cannot start what drives the program")]
    Thread {
        /// The system's error.
        source: io::Error,
    },
    /// The program cannot be started: it is not there, or may not be executed.
    #[error("cannot start {program}")]
    NotStarted {
        /// The program, as given.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// The first process of the program was no good: it ended, wrote before it was asked, or did
    /// not answer the [probe](crate::ExecOptions::probe).
    #[error("{program} is no program that answers lines: {reason}{}", said(.last_words))]
    Failed {
        /// The program, as given.
        program: String,
        /// What was wrong, in words.
        reason: String,
        /// The last line that it wrote to its stderr, or nothing.
        last_words: String,
    },
    /// Its processes are being replaced already, or it is stopping.
    #[error("the program is being replaced already, or stops")]
    Busy,
}

/// The counts of an [`Exec`](crate::Exec) since it started, and its gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecStats {
    /// How many processes run, those included that are to end.
    pub running: u64,
    /// How many lines wait for a process.
    pub waiting: u64,
    /// How many lines were answered.
    pub answered: u64,
    /// How many processes were started.
    pub started: u64,
    /// How many could not be started.
    pub failed_starts: u64,
    /// How many processes were ended since they did not answer in time.
    pub late: u64,
    /// How many were ended since they wrote more than they were asked for.
    pub strays: u64,
    /// How many have ended by themselves, and were not to.
    pub ended: u64,
}

/// Returns what is added to an error of what a program has said.
fn said(last_words: &str) -> String {
    if last_words.is_empty() { String::new() } else { format!("; it says: {last_words}") }
}
