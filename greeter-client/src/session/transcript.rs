//! Remembers what a session did and saw: a little of it for reports, all of it for whoever listens.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::event::{Entry, Event};

/// How many entries a connection remembers: what a person takes in at a glance.
const MAX_ENTRIES: usize = 8;
/// How many bytes of each.
pub(crate) const MAX_ENTRY_BYTES: usize = 1024;

/// Is told everything.
pub(super) type Observer = Box<dyn FnMut(&Entry) + Send>;

/// Numbers what happens and tells it on.
pub(super) struct SessionLog {
    start: Instant,
    entries: u64,
    pub(super) observer: Option<Observer>,
}

impl SessionLog {
    pub(super) fn new() -> Self {
        Self { start: Instant::now(), entries: 0, observer: None }
    }

    pub(super) fn record(&mut self, recent: &mut RecentEntries, connection: &Arc<str>, event: Event) {
        self.entries += 1;
        let connection = Arc::clone(connection);
        let entry = Entry { number: self.entries, at: self.start.elapsed(), connection, event };
        if let Some(observer) = &mut self.observer {
            observer(&entry);
        }
        recent.push(entry);
    }
}

impl fmt::Debug for SessionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// What happened last on one connection.
#[derive(Debug, Default)]
pub(super) struct RecentEntries(VecDeque<Entry>);

impl RecentEntries {
    fn push(&mut self, mut entry: Entry) {
        if let Some(bytes) = entry.event.bytes_mut() {
            bytes.truncate(MAX_ENTRY_BYTES);
            bytes.shrink_to(MAX_ENTRY_BYTES);
        }
        if self.0.len() == MAX_ENTRIES {
            self.0.pop_front();
        }
        self.0.push_back(entry);
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }
}
