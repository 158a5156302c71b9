//! Reaps the processes that others have left behind, for a program that is process 1: they are its
//! children then, and zombies until it looks. Must not touch those that are somebody's.

use std::collections::HashSet;
use std::fs;

use rustix::process::{Pid, WaitOptions, getpid, waitpid};

/// Zombies of which nobody knows.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    /// Those that were there when it was looked last: one of ours may have ended before we know it.
    seen: HashSet<u32>,
}

impl Orphans {
    /// Reaps those that were there the last time as well, and are none of ours.
    pub(super) fn reap(&mut self, ours: &HashSet<u32>) {
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
