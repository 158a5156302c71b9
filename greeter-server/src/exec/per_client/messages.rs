//! What passes between the clients' sessions and the thread that drives their processes. Must not
//! know what follows from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use greeter_core::{ClientId, Later};

use super::report::ProcessPermit;
use crate::exec::process::Program;
use crate::exec::spawner::StartOutcome;

/// How many bytes may wait for a process to read them before its client is not read any more.
pub(super) const MAX_UNREAD: usize = 64 * 1024;

/// What a line on its way costs beside its bytes, in bytes: short ones are many.
pub(super) const LINE_COST: usize = 128;

/// What a program is run with.
#[derive(Clone, Debug)]
pub(super) struct PerClientConfig {
    pub(super) program: Arc<Program>,
    pub(super) max_processes: usize,
    pub(super) reaps_orphans: bool,
}

/// A message to the thread.
#[derive(Debug)]
pub(super) enum PerClientMessage {
    /// A client has come, of whom its process is told so much.
    Open {
        link: Arc<ProcessLink>,
        environment: Vec<(&'static str, String)>,
        permit: ProcessPermit,
    },
    /// It has sent a line, and waits for an answer if its process has too much to read.
    Input {
        client: ClientId,
        bytes: Vec<u8>,
        later: Option<Later>,
    },
    /// Nothing more comes from it. The answer is the end.
    EndOfInput {
        client: ClientId,
        later: Later,
    },
    /// It has taken what was pushed to it.
    Taken {
        client: ClientId,
    },
    /// It is gone.
    Left {
        client: ClientId,
    },
    Started(StartOutcome),
    /// Has other options hold for those who come.
    Replace(PerClientConfig),
    Stop,
}

impl From<StartOutcome> for PerClientMessage {
    fn from(outcome: StartOutcome) -> Self {
        Self::Started(outcome)
    }
}

/// What a client's session and the thread share.
#[derive(Debug)]
pub(super) struct ProcessLink {
    pub(super) client: ClientId,
    /// How many bytes the process has not read, but for those in its socket; and what lines cost
    /// that are on their way to the thread.
    unread: AtomicUsize,
}

impl ProcessLink {
    pub(super) const fn new(client: ClientId) -> Self {
        Self { client, unread: AtomicUsize::new(0) }
    }

    /// Returns how many there are with these.
    pub(super) fn add_unread(&self, bytes: usize) -> usize {
        self.unread.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    pub(super) fn has_read(&self, bytes: usize) {
        self.unread.fetch_sub(bytes, Ordering::Relaxed);
    }
}
