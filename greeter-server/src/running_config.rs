//! Turns options into the configuration of one server, at its start and while it runs. Must not
//! know what follows for those who are connected.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greeter_core::Responder;

use crate::accept::descriptors::connections_possible;
use crate::config::{Config, ConfigError, Options};
use crate::current::Current;
use crate::entry_rules::{EntryRules, TlsRule};
use crate::sockets::ListeningSocket;

/// What of a server stays as it is, as long as it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    listeners: usize,
    /// Whether any client may owe something first.
    has_lobby: bool,
    /// How many bytes a client may send in its TLS handshake, where TLS is spoken.
    max_handshake_bytes: Option<usize>,
}

/// Makes the configuration that options ask for; none once the server has ended, which keeps its
/// responder no longer than its threads do.
type MakeConfig = dyn Fn(Options) -> Option<Result<Config, Vec<ConfigError>>> + Send + Sync;

/// The configuration of a running server, and what makes another.
pub(crate) struct RunningConfig {
    pub(crate) current: Arc<Current<Config>>,
    make: Box<MakeConfig>,
    started_with: Options,
    /// Held during a reload, so that one comes after the other.
    reloading: Mutex<()>,
}

impl Layout {
    pub(crate) fn of(listeners: &[(ListeningSocket, Arc<EntryRules>)]) -> Self {
        let tls = listeners.iter().filter_map(|(_, rules)| rules.tls.as_ref());
        let handshake_bytes = tls.map(|(TlsRule::AtOnce(tls) | TlsRule::OnRequest(tls))| tls.max_handshake_bytes());
        Self {
            listeners: listeners.len(),
            has_lobby: listeners.iter().any(|(_, rules)| rules.asks()),
            max_handshake_bytes: handshake_bytes.max(),
        }
    }

    /// Sets the limits that follow from the listeners, and lowers that of connections to the number
    /// of available file descriptors.
    pub(crate) fn fit(self, config: &mut Config) {
        let Config { connection_threads, workers, ref mut limits, .. } = *config;
        if !self.has_lobby {
            limits.max_handshakes = 0;
        }
        let lobbies = if self.has_lobby { connection_threads } else { 0 };
        let possible = connections_possible(self.listeners, connection_threads + workers, lobbies);
        if possible < limits.max_connections {
            let asked = limits.max_connections;
            tracing::warn!(asked, possible, "The limit of open files allows fewer connections.");
            limits.max_connections = possible;
        }
        if let Some(bytes) = self.max_handshake_bytes {
            limits.max_tls_connections = limits.max_connections;
            limits.max_handshake_bytes = limits.max_handshake_bytes.max(bytes);
        }
    }
}

impl RunningConfig {
    /// The configuration of a server that begins with this one.
    pub(crate) fn new<R: Responder>(
        config: Arc<Config>,
        started_with: Options,
        layout: Layout,
        responder: &Arc<R>,
    ) -> Self {
        let responder = Arc::downgrade(responder);
        let make = move |options: Options| {
            let responder = responder.upgrade()?;
            let config = options.validate(&*responder);
            Some(config.map(|mut config| {
                layout.fit(&mut config);
                config
            }))
        };
        let current = Arc::new(Current::new(config));
        Self { current, make: Box::new(make), started_with, reloading: Mutex::new(()) }
    }

    /// Begins a reload: returns what keeps others from it meanwhile.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        self.reloading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the options that a running server can have of these, and the names of those that it
    /// cannot.
    pub(crate) fn possible(&self, options: Options) -> (Options, Vec<&'static str>) {
        options.of_running(&self.started_with)
    }

    /// Makes the configuration that these options ask for; none once the server has ended.
    pub(crate) fn make(&self, options: Options) -> Option<Result<Config, Vec<ConfigError>>> {
        (self.make)(options)
    }
}
