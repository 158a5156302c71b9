//! Turns signals into the end of the server, and into settings that are read again. Must not leave
//! to chance any signal that ends a process by default: each is named here.

use std::ffi::c_int;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGPROF, SIGTERM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ};
use signal_hook::{SigId, flag, low_level};

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

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalRequest {
    End,
    /// To read the settings again.
    Reload,
}

/// The signals that mean something to the server, once they are caught.
pub(crate) struct Signals {
    /// A byte for each signal. What it was, the flags know, which are set before it.
    arrivals: UnixStream,
    end: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    /// Whether the next request ends the process at once.
    ends_at_once: Arc<AtomicBool>,
    /// Whether something has asked for the end that knows no delay.
    is_urgent: Arc<AtomicBool>,
    /// Whether SIGTERM was ignored when this process started.
    ignores_term: bool,
    /// What has a second SIGTERM end the process at once, unless the first is followed by a delay.
    second_term: Option<SigId>,
    hangup_reloads: bool,
}

/// Has SIGHUP no longer end the process, before it is known what else to do: it asks to read the
/// settings again, and these are being read. It stays ignored if it was.
pub(crate) fn hold_hangups() -> io::Result<Arc<AtomicBool>> {
    let hangups = Arc::<AtomicBool>::default();
    if !InheritedDispositions::read().ignores(SIGHUP) {
        flag::register(SIGHUP, Arc::clone(&hangups))?;
    }
    Ok(hangups)
}

impl Signals {
    /// Catches the signals: from now on, the first that asks for the end is only noted. A second
    /// request does what it does in every program, unless the first was SIGTERM and the end is
    /// delayed: then it ends the delay.
    ///
    /// SIGHUP asks for the end, or to read the settings again where there is a file of them. Those
    /// that were [held](hold_hangups) have come now.
    pub(crate) fn catch(is_delayed: bool, hangups: Option<Arc<AtomicBool>>) -> io::Result<Self> {
        let (arrivals, sender) = UnixStream::pair()?;
        let inherited = InheritedDispositions::read();
        let hangup_reloads = hangups.is_some();
        let mut signals = Self {
            arrivals,
            end: Arc::default(),
            reload: hangups.unwrap_or_default(),
            ends_at_once: Arc::default(),
            is_urgent: Arc::default(),
            ignores_term: inherited.ignores(SIGTERM),
            second_term: None,
            hangup_reloads,
        };
        let is_not_ignored = |signal: &c_int| !inherited.ignores(*signal);
        for signal in REQUESTS.into_iter().filter(is_not_ignored) {
            end_at_once_if(&signals.ends_at_once, signal)?;
            // A person at a terminal waits for nothing to be balanced elsewhere.
            if signal != SIGTERM {
                flag::register(signal, Arc::clone(&signals.ends_at_once))?;
                flag::register(signal, Arc::clone(&signals.is_urgent))?;
            }
            signals.have_noted(signal, &signals.end, &sender)?;
        }
        for signal in HINTS.into_iter().filter(is_not_ignored) {
            if signal == SIGHUP && hangup_reloads {
                signals.have_noted(signal, &signals.reload, &sender)?;
            } else {
                flag::register(signal, Arc::clone(&signals.is_urgent))?;
                signals.have_noted(signal, &signals.end, &sender)?;
            }
        }
        for signal in NO_REASONS.into_iter().filter(is_not_ignored) {
            // Nothing reads this flag.
            flag::register(signal, Arc::default())?;
        }
        signals.set_delayed(is_delayed)?;
        Ok(signals)
    }

    fn have_noted(&self, signal: c_int, flag: &Arc<AtomicBool>, sender: &UnixStream) -> io::Result<()> {
        flag::register(signal, Arc::clone(flag))?;
        low_level::pipe::register(signal, sender.try_clone()?).map(drop)
    }

    /// Sets whether SIGTERM is followed by a delay. If not, a second one ends the process at once.
    pub(crate) fn set_delayed(&mut self, is_delayed: bool) -> io::Result<()> {
        match self.second_term {
            None if !is_delayed && !self.ignores_term => {
                self.second_term = Some(flag::register(SIGTERM, Arc::clone(&self.ends_at_once))?);
            }
            Some(registered) if is_delayed => {
                low_level::unregister(registered);
                self.second_term = None;
            }
            _ => {}
        }
        Ok(())
    }

    /// Waits until a signal asks for something, unless one has done so before it was caught.
    pub(crate) fn wait(&mut self) -> io::Result<SignalRequest> {
        let mut request = self.take();
        loop {
            match request {
                Some(request) => return Ok(request),
                None => request = self.next()?,
            }
        }
    }

    /// Waits for one signal, also for one that asks for nothing, or for the timeout of the socket.
    fn next(&mut self) -> io::Result<Option<SignalRequest>> {
        match self.arrivals.read(&mut [0]) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Err(error),
            _ => Ok(self.take()),
        }
    }

    /// Takes what was asked for. Signals that came several times meanwhile have asked once.
    fn take(&self) -> Option<SignalRequest> {
        let is_set = |flag: &AtomicBool| flag.swap(false, Ordering::Relaxed);
        if is_set(&self.end) {
            return Some(SignalRequest::End);
        }
        is_set(&self.reload).then_some(SignalRequest::Reload)
    }

    /// Returns whether what has asked for the end leaves no time for a delay: anything but SIGTERM.
    pub(crate) fn is_urgent(&self) -> bool {
        self.is_urgent.load(Ordering::Relaxed)
    }

    /// Waits for this long, or until a signal asks for the end again. The request after that ends
    /// the process at once.
    pub(crate) fn wait_for(&mut self, delay: Duration) -> io::Result<()> {
        let waited = self.wait_for_end(Instant::now().checked_add(delay));
        self.ends_at_once.store(true, Ordering::Relaxed);
        self.arrivals.set_read_timeout(None)?;
        waited
    }

    fn wait_for_end(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
            self.arrivals.set_read_timeout(left)?;
            match self.next() {
                Ok(Some(SignalRequest::End)) => return Ok(()),
                Ok(Some(SignalRequest::Reload)) => log_late_hangup(),
                Ok(None) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// There is no delay any more: a second SIGTERM ends the process at once, and a SIGHUP is said
    /// to come too late. If the system has no room for that, the stop goes on without.
    pub(crate) fn end_delays(&mut self) {
        if let Err(error) = self.set_delayed(false) {
            tracing::warn!(%error, "Cannot have a second SIGTERM end the process at once.");
        }
        if self.hangup_reloads
            && let Err(error) = self.log_late_hangups()
        {
            tracing::warn!(%error, "Cannot log further signals.");
        }
    }

    fn log_late_hangups(&self) -> io::Result<()> {
        let (mut arrivals, reload) = (self.arrivals.try_clone()?, Arc::clone(&self.reload));
        let log = move || {
            while arrivals.read_exact(&mut [0]).is_ok() {
                if reload.swap(false, Ordering::Relaxed) {
                    log_late_hangup();
                }
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(log).map(drop)
    }
}

fn log_late_hangup() {
    tracing::info!("SIGHUP reads no settings any more, since the server will stop.");
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
