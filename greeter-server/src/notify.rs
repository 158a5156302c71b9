//! Tells a service manager how the server is (sd_notify(3)). Must not be waited for by anybody.

use std::ffi::OsStr;
use std::io;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::linux::net::SocketAddrExt;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use greeter_args::printable;
use greeter_server::ServerHandle;
use sd_notify::NotifyState;

/// The least time between two signs of life, whatever the manager wants.
const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// How often it is said how far a stop is.
const STOP_INTERVAL: Duration = Duration::from_secs(1);

/// Until when the manager is to wait for the next word of a stop: some times as long as it takes
/// to come.
const EXTENSION: Duration = Duration::from_secs(5);

/// How much may wait to be told.
const MAX_WAITING: usize = 16;

/// How long the end waits for what is still to be told.
const FLUSH: Duration = Duration::from_millis(100);

/// What the thread that tells the manager is to do.
enum ManagerWord {
    Say(String),
    /// Tell whoever waits for it that all before this was said.
    Flush(SyncSender<()>),
}

/// The service manager, if one has started this process and wants to know.
pub(crate) struct Manager {
    /// To the thread that tells it: one that does not listen holds up nobody else.
    told: Option<SyncSender<ManagerWord>>,
    /// How long it waits for a sign of life, if it does.
    watchdog: Option<Duration>,
    is_stopping: bool,
}

impl Manager {
    /// Reads from the environment where the manager is (`NOTIFY_SOCKET`), and whether it wants
    /// signs of life (`WATCHDOG_USEC`, `WATCHDOG_PID`).
    pub(crate) fn from_env() -> io::Result<Self> {
        let address = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
        let reached = address.and_then(|address| {
            let reached = address_of(&address).and_then(|manager| Ok((UnixDatagram::unbound()?, manager)));
            reached.inspect_err(|error| tracing::warn!(%error, "Cannot tell the service manager.")).ok()
        });
        let is_there = reached.is_some();
        let watchdog = sd_notify::watchdog_enabled().filter(|time| is_there && !time.is_zero());
        let (told, to_tell) = mpsc::sync_channel(MAX_WAITING);
        if let Some((socket, manager)) = reached {
            start("notify", move || tell_all(&to_tell, &socket, &manager))?;
        }
        Ok(Self { told: is_there.then_some(told), watchdog, is_stopping: false })
    }

    /// Returns how long the manager waits for a sign of life, if it does.
    pub(crate) const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Says that the server is ready, and from then on that it is alive.
    pub(crate) fn ready(&self, server: &ServerHandle, status: &str) -> io::Result<()> {
        self.tell_ready(status);
        let (Some(watchdog), Some(told)) = (self.watchdog, self.told.clone()) else { return Ok(()) };
        let server = server.clone();
        start("watchdog", move || give_signs_of_life(&server, (watchdog / 4).max(MIN_INTERVAL), &told))
    }

    /// Says that the server reads its settings again, and since when: without that, systemd takes
    /// no end of it for one (sd_notify(3)).
    pub(crate) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::debug!(%error, "Cannot tell the service manager of a reload."),
        }
    }

    /// Says that this is over, whatever has come of it.
    pub(crate) fn reloaded(&self, status: &str) {
        self.tell_ready(status);
    }

    fn tell_ready(&self, status: &str) {
        // What is in a setting begins no line of its own here.
        self.tell(&[NotifyState::Ready, NotifyState::Status(&printable(status))]);
    }

    /// Says that the server stops, and from then on how far that is, also if it is called again. If
    /// there is no thread for that, the stop goes on without.
    pub(crate) fn stopping(&mut self, server: &ServerHandle) {
        let Some(told) = self.told.clone() else { return };
        if std::mem::replace(&mut self.is_stopping, true) {
            return;
        }
        tell(&told, &[NotifyState::Stopping]);
        let server = server.clone();
        if let Err(error) = start("stopping", move || tell_of_stop(&server, &told)) {
            tracing::warn!(%error, "Cannot tell the service manager how far the stop is.");
        }
    }

    /// Waits a moment for what is still to be told.
    pub(crate) fn flush(&self) {
        let (flushed, wait) = mpsc::sync_channel(1);
        if self.told.as_ref().is_some_and(|told| told.try_send(ManagerWord::Flush(flushed)).is_ok()) {
            // A manager that does not listen is left behind.
            let _ = wait.recv_timeout(FLUSH);
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if let Some(told) = &self.told {
            tell(told, states);
        }
    }
}

/// Has the manager told of this, unless it has not listened for long.
fn tell(told: &SyncSender<ManagerWord>, states: &[NotifyState<'_>]) {
    let states: Vec<_> = states.iter().map(ToString::to_string).collect();
    if told.try_send(ManagerWord::Say(states.join("\n"))).is_err() {
        tracing::warn!("The service manager does not listen.");
    }
}

/// Returns the address of the manager, which is a path, or a name without a file behind `@`.
fn address_of(socket: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(socket)
}

/// Tells the manager all of it, at a socket that is there from the start: it hears that the server
/// is alive also while clients have all other descriptors.
fn tell_all(words: &Receiver<ManagerWord>, socket: &UnixDatagram, manager: &SocketAddr) {
    for word in words {
        match word {
            ManagerWord::Say(states) => say(&states, socket, manager),
            // Whoever waits for it does not wait for ever.
            ManagerWord::Flush(flushed) => _ = flushed.try_send(()),
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
fn give_signs_of_life(server: &ServerHandle, interval: Duration, told: &SyncSender<ManagerWord>) {
    let mut was_stuck = false;
    loop {
        let stuck = server.stuck_thread(interval * 2);
        match stuck {
            None => tell(told, &[NotifyState::Watchdog]),
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
fn tell_of_stop(server: &ServerHandle, told: &SyncSender<ManagerWord>) {
    let micros = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
    loop {
        let status = format!("Stopping: {} clients left", server.stats().open());
        tell(told, &[NotifyState::ExtendTimeoutUsec(micros), NotifyState::Status(&status)]);
        thread::sleep(STOP_INTERVAL);
    }
}

/// Tells the manager, however long that takes. One that cannot be told has gone.
fn say(states: &str, socket: &UnixDatagram, manager: &SocketAddr) {
    if let Err(error) = socket.send_to_addr(states.as_bytes(), manager) {
        tracing::warn!(%error, "Cannot tell the service manager.");
    }
}
