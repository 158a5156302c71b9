//! Turns signals into the end of the server. Must not leave to chance any signal that ends a
//! process by default: each is named here.

use std::ffi::c_int;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGPROF, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ};
use signal_hook::{flag, low_level};

/// Ask for the end. A second one ends the process at once.
const REQUESTS: [c_int; 2] = [SIGINT, SIGTERM];

/// Ask for the end too, but may come more than once without urgency: a closing terminal sends
/// SIGHUP by its kernel and by its shell, and a process that has used up its processor time
/// receives SIGXCPU every second. The timers may have been set by a program before it became this
/// one.
const HINTS: [c_int; 5] = [SIGHUP, SIGXCPU, SIGALRM, SIGVTALRM, SIGPROF];

/// Are no reason to end. Scripts send the first two to programs that can reopen or reload
/// something, often without knowing this one; and for a log that may not grow any more, the log has
/// its own count. Rust itself handles SIGPIPE.
const NO_REASONS: [c_int; 3] = [SIGUSR1, SIGUSR2, SIGXFSZ];

/// The exit code of a process that a signal has ended is, in a shell, this much more than the
/// signal.
const ENDED_BY: c_int = 128;

/// The signals that end the server, once they are caught.
pub(crate) struct Signals {
    arrivals: UnixStream,
    /// Whether the next request ends the process at once.
    ends_at_once: Arc<AtomicBool>,
    /// Whether something has asked for the end that knows no delay.
    is_urgent: Arc<AtomicBool>,
    /// Whether SIGTERM may be followed by a delay.
    may_be_delayed: bool,
}

impl Signals {
    /// Catches the signals: from now on, the first that asks for the end is only noted. A second
    /// request does what it does in every program, unless the first was SIGTERM and the end is
    /// delayed: then it ends the delay.
    pub(crate) fn catch(is_delayed: bool) -> io::Result<Self> {
        let (arrivals, sender) = UnixStream::pair()?;
        let (ends_at_once, is_urgent) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let inherited = InheritedDispositions::read();
        let is_not_ignored = |signal: &c_int| !inherited.ignores(*signal);
        for signal in REQUESTS.into_iter().filter(is_not_ignored) {
            end_at_once_if(&ends_at_once, signal)?;
            // A person at a terminal waits for nothing to be balanced elsewhere.
            if signal != SIGTERM || !is_delayed {
                flag::register(signal, Arc::clone(&ends_at_once))?;
                flag::register(signal, Arc::clone(&is_urgent))?;
            }
            low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        for signal in HINTS.into_iter().filter(is_not_ignored) {
            flag::register(signal, Arc::clone(&is_urgent))?;
            low_level::pipe::register(signal, sender.try_clone()?)?;
        }
        for signal in NO_REASONS.into_iter().filter(is_not_ignored) {
            // Nothing reads this flag.
            flag::register(signal, Arc::default())?;
        }
        let may_be_delayed = is_delayed && is_not_ignored(&SIGTERM);
        Ok(Self { arrivals, ends_at_once, is_urgent, may_be_delayed })
    }

    /// Waits until a signal asks for the end.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        self.arrivals.read_exact(&mut [0])
    }

    /// Returns whether it is SIGTERM that has asked for the end, and that leaves time for a delay.
    pub(crate) fn is_delayed(&self) -> bool {
        self.may_be_delayed && !self.is_urgent.load(Ordering::Relaxed)
    }

    /// Waits for this long, or until a signal asks for the end again. The request after that ends
    /// the process at once.
    pub(crate) fn wait_for(&mut self, delay: Duration) -> io::Result<()> {
        self.arrivals.set_read_timeout(Some(delay))?;
        let waited = self.arrivals.read_exact(&mut [0]);
        self.ends_at_once.store(true, Ordering::Relaxed);
        match waited {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(()),
            waited => waited,
        }
    }

    /// There is no delay any more: a second SIGTERM ends the process at once. If the system has no
    /// room to note that, the stop goes on without.
    pub(crate) fn end_delays(&self) {
        if self.may_be_delayed
            && let Err(error) = flag::register(SIGTERM, Arc::clone(&self.ends_at_once))
        {
            tracing::warn!(%error, "Cannot have a second SIGTERM end the process at once.");
        }
    }
}

/// Ends the process by the signal itself, so that its parent knows. Only process 1, of the system
/// or of a container, cannot: the kernel delivers no signal to it without a handler. There, the
/// exit code is the one that a shell would report.
fn end_at_once_if(condition: &Arc<AtomicBool>, signal: c_int) -> io::Result<()> {
    let condition = Arc::clone(condition);
    match process::id() {
        1 => flag::register_conditional_shutdown(signal, ENDED_BY + signal, condition)?,
        _ => flag::register_conditional_default(signal, condition)?,
    };
    Ok(())
}

/// The signals that were ignored when this process started, as `nohup` and shells without job
/// control arrange. They stay ignored. (proc_pid_status(5), "SigIgn"; where there is no such file,
/// none are known.)
struct InheritedDispositions {
    ignored: u64,
}

impl InheritedDispositions {
    fn read() -> Self {
        let status = fs::read("/proc/self/status").unwrap_or_default();
        Self::of(&String::from_utf8_lossy(&status))
    }

    fn of(status: &str) -> Self {
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        Self { ignored: ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0) }
    }

    const fn ignores(&self, signal: c_int) -> bool {
        self.ignored >> (signal - 1) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ignored_is_read_from_the_processs_status() {
        let inherited =
            InheritedDispositions::of("Name:\tgreeter-server\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001003\n");
        let ignored = (1..=64).filter(|signal| inherited.ignores(*signal));
        assert_eq!(ignored.collect::<Vec<_>>(), [1, 2, 13]);
        assert_eq!(InheritedDispositions::of("").ignored, 0);
    }
}
