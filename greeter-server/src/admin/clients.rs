//! Turns the connections of a server into JSON, once a second at most.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use greeter_core::Phase;
use serde_json::{Value, json};

use crate::info::ConnectionInfo;
use crate::monitor::Monitor;

/// How old a list may be: however many ask, the connection threads are asked no more often.
const MAX_AGE: Duration = Duration::from_secs(1);

/// How many connections are in a list. What is asked of all of them are their numbers.
const MAX_LISTED: usize = 1000;

/// The last list of all connections, for all who ask.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    latest: Mutex<Option<Snapshot>>,
    /// Held by the one who makes the next.
    making: Mutex<()>,
}

#[derive(Clone, Debug)]
struct Snapshot {
    made: Instant,
    json: Arc<String>,
}

impl Snapshot {
    fn is_fresh(&self) -> bool {
        self.made.elapsed() < MAX_AGE
    }
}

impl Snapshots {
    /// Returns the list as JSON. It may take a second to make one, where a thread is busy; others
    /// have the one before meanwhile, or none if it is the first.
    pub(super) fn latest(&self, monitor: &Monitor) -> Option<Arc<String>> {
        let before = self.get();
        if let Some(fresh) = before.as_ref().filter(|snapshot| snapshot.is_fresh()) {
            return Some(Arc::clone(&fresh.json));
        }
        let _making = match self.making.try_lock() {
            Ok(making) => making,
            Err(TryLockError::Poisoned(making)) => making.into_inner(),
            Err(TryLockError::WouldBlock) => return before.map(|before| before.json),
        };
        // Somebody may have made one since the first look.
        if let Some(fresh) = self.get().filter(Snapshot::is_fresh) {
            return Some(fresh.json);
        }
        let json = Arc::new(json_of(monitor).to_string());
        let made = Snapshot { made: Instant::now(), json: Arc::clone(&json) };
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        Some(json)
    }

    fn get(&self) -> Option<Snapshot> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Those that have been in their phase for longest come first. Newcomers have no phase but that.
fn json_of(monitor: &Monitor) -> Value {
    let (mut connections, silent_threads) = monitor.connections(false);
    let newcomers = monitor.control.stats().handshakes;
    let mut phases = BTreeMap::new();
    if newcomers > 0 {
        phases.insert(Phase::Handshake.to_string(), newcomers);
    }
    for connection in &connections {
        *phases.entry(connection.phase.to_string()).or_insert(0) += 1;
    }
    let total = connections.len() as u64 + newcomers;
    connections.sort_by_key(|connection| std::cmp::Reverse(connection.in_phase));
    let listed: Vec<_> = connections.iter().take(MAX_LISTED).map(connection).collect();
    json!({ "total": total, "phases": phases, "silent_threads": silent_threads, "connections": listed })
}

fn connection(info: &ConnectionInfo) -> Value {
    let ConnectionInfo { peer, age, phase, in_phase, lines, bytes_received, bytes_sent, bytes_held } = info;
    json!({
        "id": peer.id.as_u64(),
        "address": peer.address.to_string(),
        "via": peer.via().map(|via| via.to_string()),
        "listener": peer.listener(),
        "tls": peer.tls().is_some(),
        "phase": phase.to_string(),
        "age_seconds": age.as_secs_f64(),
        "phase_seconds": in_phase.as_secs_f64(),
        "lines": lines,
        "received_bytes": bytes_received,
        "sent_bytes": bytes_sent,
        "held_bytes": bytes_held,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Server;

    #[test]
    fn however_many_ask_within_a_second_the_threads_are_asked_once() {
        let server = Server::builder().bind("127.0.0.1:0").unwrap().spawn().unwrap();
        let snapshots = Snapshots::default();
        let latest = || snapshots.latest(&server.monitor());
        let making = snapshots.making.lock().unwrap();
        assert!(latest().is_none(), "another is making the first");
        drop(making);
        let first = latest().unwrap();
        assert!(Arc::ptr_eq(&first, &latest().unwrap()));
        snapshots.latest.lock().unwrap().as_mut().unwrap().made -= MAX_AGE;
        let making = snapshots.making.lock().unwrap();
        assert!(Arc::ptr_eq(&first, &latest().unwrap()), "another is making the next");
        drop(making);
        assert!(!Arc::ptr_eq(&first, &latest().unwrap()));
    }
}
