//! Remembers what a session did and saw: a little of it for reports, all of it for whoever listens.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failure::PeerEnd;

/// How many entries a connection remembers: what a person takes in at a glance.
const ENTRIES_MAX: usize = 8;
/// How many bytes of each.
const ENTRY_BYTES_MAX: usize = 1024;

/// One thing that happened on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The position within the session: what was seen earlier has a smaller number.
    pub number: u64,
    /// How long after the session began.
    pub at: Duration,
    /// The connection's name; `c.17` is a member of the crowd `c`.
    pub connection: Arc<str>,
    /// What happened. A remembered entry holds at most the first KiB of its bytes.
    pub act: Act,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// The connection was opened.
    Opened,
    /// We sent a line; the ending is left out.
    SentLine(Vec<u8>),
    /// We sent bytes as they are.
    SentBytes(Vec<u8>),
    /// We said that nothing more will be sent.
    HalfClosed,
    /// We reset the connection.
    Reset,
    /// We closed the connection.
    Closed,
    /// A line came, and was expected or skipped; the ending is left out.
    ReceivedLine(Vec<u8>),
    /// Bytes came, and were expected.
    ReceivedBytes(Vec<u8>),
    /// The peer ended the stream, and that was expected.
    Ended(PeerEnd),
}

impl Act {
    fn bytes_mut(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::SentLine(bytes) | Self::SentBytes(bytes) | Self::ReceivedLine(bytes) | Self::ReceivedBytes(bytes) => {
                Some(bytes)
            }
            Self::Opened | Self::HalfClosed | Self::Reset | Self::Closed | Self::Ended(_) => None,
        }
    }
}

/// Is told everything.
pub(super) type Observer = Box<dyn FnMut(&Entry) + Send>;

/// Numbers what happens and tells it on.
pub(super) struct Log {
    start: Instant,
    entries: u64,
    pub(super) observer: Option<Observer>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), entries: 0, observer: None }
    }

    pub(super) fn record(&mut self, recent: &mut Recent, connection: &Arc<str>, act: Act) {
        self.entries += 1;
        let connection = Arc::clone(connection);
        let entry = Entry { number: self.entries, at: self.start.elapsed(), connection, act };
        if let Some(observer) = &mut self.observer {
            observer(&entry);
        }
        recent.push(entry);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// What happened last on one connection.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<Entry>);

impl Recent {
    fn push(&mut self, mut entry: Entry) {
        if let Some(bytes) = entry.act.bytes_mut() {
            bytes.truncate(ENTRY_BYTES_MAX);
            bytes.shrink_to(ENTRY_BYTES_MAX);
        }
        if self.0.len() == ENTRIES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(entry);
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }
}
