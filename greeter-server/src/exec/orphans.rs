//! Reaps the processes that others have left behind, for a program that is process 1: they are its
//! children then, and zombies until it looks. Must not touch those that are somebody's.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, getpid, waitpid};

/// How often it is looked for them.
const ORPHANS_INTERVAL: Duration = Duration::from_secs(1);

/// Zombies of which nobody knows.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// Those that were there when it was looked last: one of ours may have ended before we know it.
    seen: HashSet<u32>,
    /// When to look again.
    look_at: Option<Instant>,
}

impl Orphans {
    /// Looks for them, if it is time for that, beside those that are ours. Returns when it is next.
    pub(super) fn look(&mut self, ours: impl Iterator<Item = u32>, now: Instant) -> Instant {
        match self.look_at {
            Some(at) if at > now => at,
            _ => {
                self.reap(&ours.collect());
                *self.look_at.insert(now + ORPHANS_INTERVAL)
            }
        }
    }

    /// Reaps those that were there the last time as well, and are none of ours.
    fn reap(&mut self, ours: &HashSet<u32>) {
        let zombies: HashSet<u32> = zombies().filter(|pid| !ours.contains(pid)).collect();
        for pid in zombies.intersection(&self.seen) {
            let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw);
            // Others may have been faster.
            let _ = waitpid(pid, WaitOptions::NOHANG);
        }
        self.seen = zombies;
    }
}

/// Returns the children of this process that have ended (proc_pid_stat(5)).
fn zombies() -> impl Iterator<Item = u32> {
    let own = getpid().as_raw_pid().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(move |entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // Behind the name, which may hold anything: the state and the parent.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let is_zombie = fields.next() == Some("Z") && fields.next() == Some(&own);
        is_zombie.then_some(pid)
    })
}
