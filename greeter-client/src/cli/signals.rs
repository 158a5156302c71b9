//! Signals that would end this process, for those who have something to put in order first.

use signal_hook::consts::{
    SIGALRM, SIGHUP, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};

/// Those that end a process unless it says otherwise. Not among them are faults of its own, KILL,
/// which nobody can catch, and PIPE, which is ignored here.
const ENDING: [i32; 11] =
    [SIGALRM, SIGHUP, SIGINT, SIGPROF, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ];

/// Those that end this process. One that was ignored when it was started, as by `nohup` or by a
/// shell that puts it into the background, is not meant to.
pub(super) fn ending() -> impl Iterator<Item = i32> {
    let ignored = ignored();
    ENDING.into_iter().filter(move |signal| !is_in(ignored, *signal))
}

/// Whether this one was ignored when the process was started.
pub(super) fn is_ignored(signal: i32) -> bool {
    is_in(ignored(), signal)
}

fn is_in(mask: u64, signal: i32) -> bool {
    mask >> (signal - 1) & 1 == 1
}

/// A bit for each signal that is ignored, from the lowest for signal 1; none where the system does
/// not tell.
fn ignored() -> u64 {
    if !cfg!(target_os = "linux") {
        return 0;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
