//! Turns questions about a running server into answers. Must not keep it running, or change it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use greeter_core::Phase;

use crate::config::Config;
use crate::control::Control;
use crate::current::Current;
use crate::info::{ConnectionInfo, WorkerInfo};
use crate::liveness::StuckThread;

/// How long to wait for the list of a thread that is busy.
const LIST_TIMEOUT: Duration = Duration::from_secs(1);

/// A running server, for whoever asks about it.
#[derive(Clone)]
pub(crate) struct Monitor {
    pub(crate) control: Arc<Control>,
    current: Arc<Current<Config>>,
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

impl Monitor {
    pub(crate) const fn new(control: Arc<Control>, current: Arc<Current<Config>>) -> Self {
        Self { control, current }
    }

    /// Returns the configuration that holds now.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.current.get()
    }

    /// Returns the open connections, but for those of threads that do not answer within a second,
    /// and how many these are; one that has ended has none. The own thread of a caller `is_tracked`
    /// by the server would answer only later.
    pub(crate) fn connections(&self, is_tracked: bool) -> (Vec<ConnectionInfo>, usize) {
        let (sender, lists) = crossbeam_channel::unbounded();
        let asked = self.control.mailboxes.list(&sender);
        drop(sender);
        let is_connection_thread = self.config().workers == 0 && is_tracked;
        let others = asked.saturating_sub(is_connection_thread.into());
        let deadline = Instant::now() + LIST_TIMEOUT;
        let (mut connections, mut silent_threads) = (Vec::new(), others);
        while silent_threads > 0 {
            match lists.recv_deadline(deadline) {
                Ok(list) => {
                    connections.extend(list);
                    silent_threads -= 1;
                }
                Err(RecvTimeoutError::Timeout) => break,
                // Those that are left have ended meanwhile, and with them their clients.
                Err(RecvTimeoutError::Disconnected) => silent_threads = 0,
            }
        }
        // A connection knows that its job is in flight. Whether a worker has taken it, only the
        // workers know.
        let calls: Vec<_> = self.control.workers.all().iter().filter_map(|worker| worker.state().call()).collect();
        for connection in &mut connections {
            let is_taken = calls.iter().any(|call| call.peer.id == connection.peer.id);
            if connection.phase == Phase::Answering && !is_taken {
                connection.phase = Phase::Queued;
            }
        }
        (connections, silent_threads)
    }

    /// Returns the workers, those that have timed out first.
    pub(crate) fn workers(&self) -> Vec<WorkerInfo> {
        let now = Instant::now();
        let all = self.control.workers.all();
        let mut workers: Vec<_> = all.iter().filter_map(|worker| worker.state().info(now)).collect();
        workers.sort_by_key(|worker| !matches!(worker, WorkerInfo::TimedOut { .. }));
        workers
    }

    /// Asks each thread for a sign of life, and returns one that owes an older one.
    pub(crate) fn stuck_thread(&self, longer_than: Duration) -> Option<StuckThread> {
        let Control { liveness, mailboxes, .. } = &*self.control;
        liveness.stuck_thread(&**mailboxes, longer_than, Instant::now())
    }
}
