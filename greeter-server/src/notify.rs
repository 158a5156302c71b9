//! Tells a service manager how the server is (sd_notify(3)). Must not be waited for by anybody.

use std::io;
use std::thread;
use std::time::Duration;

use greeter_server::ServerHandle;
use sd_notify::NotifyState;

/// The least time between two signs of life, whatever the manager wants.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// How often it is said how far a stop is.
const STOP_INTERVAL: Duration = Duration::from_secs(1);

/// Until when the manager is to wait for the next word of a stop: some times as long as it takes
/// to come.
const EXTENSION: Duration = Duration::from_secs(5);

/// The service manager, if one has started this process and wants to know.
pub(crate) struct Manager {
    is_there: bool,
    /// How long it waits for a sign of life, if it does.
    watchdog: Option<Duration>,
    is_stopping: bool,
}

impl Manager {
    /// Reads from the environment where the manager is (`NOTIFY_SOCKET`), and whether it wants
    /// signs of life (`WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub(crate) fn from_env() -> Self {
        let is_there = std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        let watchdog = sd_notify::watchdog_enabled().filter(|time| is_there && !time.is_zero());
        Self { is_there, watchdog, is_stopping: false }
    }

    /// Returns how long the manager waits for a sign of life, if it does.
    pub(crate) const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Says that the server is ready, and from then on that it is alive.
    pub(crate) fn ready(&self, server: &ServerHandle, status: &str) -> io::Result<()> {
        if !self.is_there {
            return Ok(());
        }
        if let Err(error) = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]) {
            tracing::warn!(%error, "Cannot tell the service manager that the server is ready.");
        }
        let Some(watchdog) = self.watchdog else { return Ok(()) };
        let server = server.clone();
        start("watchdog", move || give_signs_of_life(&server, (watchdog / 4).max(MIN_INTERVAL)))
    }

    /// Says that the server reads its settings again, and since when: without that, systemd takes
    /// no end of it for one (sd_notify(3)).
    pub(crate) fn reloading(&self) {
        if !self.is_there {
            return;
        }
        match NotifyState::monotonic_usec_now() {
            Ok(now) => say(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "Cannot tell the service manager of a reload."),
        }
    }

    /// Says that this is over, whatever has come of it.
    pub(crate) fn reloaded(&self, status: &str) {
        if self.is_there {
            say(&[NotifyState::Ready, NotifyState::Status(status)]);
        }
    }

    /// Says that the server stops, and from then on how far that is, also if it is called again. If
    /// there is no thread for that, the stop goes on without.
    pub(crate) fn stopping(&mut self, server: &ServerHandle) {
        if !self.is_there || std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        say(&[NotifyState::Stopping]);
        let server = server.clone();
        if let Err(error) = start("stopping", move || tell_of_stop(&server)) {
            tracing::warn!(%error, "Cannot tell the service manager how far the stop is.");
        }
    }
}

/// Starts a thread that lives as long as the process.
fn start(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}

/// Says that the server is alive, as long as each of its threads is: four times as often as the
/// manager wants to hear it. It is silent once a thread has been so for half of that time, so the
/// manager has lost patience one and a half times that time after the thread was last heard of, and
/// no reply that is shorter than that time ends the server.
fn give_signs_of_life(server: &ServerHandle, interval: Duration) {
    let mut was_stuck = false;
    loop {
        let stuck = server.stuck_thread(interval * 2);
        match stuck {
            None => say(&[NotifyState::Watchdog]),
            Some(stuck) if !was_stuck => {
                tracing::error!(thread = stuck.thread, waited = ?stuck.waited, "A connection thread gives no sign of life.");
            }
            Some(_) => {}
        }
        was_stuck = stuck.is_some();
        thread::sleep(interval);
    }
}

/// Says how many clients are left, and has the manager wait for the next word of that.
fn tell_of_stop(server: &ServerHandle) {
    let micros = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
    loop {
        let status = format!("Stopping: {} clients left", server.stats().open());
        say(&[NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status(&status)]);
        thread::sleep(STOP_INTERVAL);
    }
}

/// A manager that cannot be told is one that has gone.
fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "Cannot tell the service manager.");
    }
}
