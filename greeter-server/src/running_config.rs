//! Turns options into the configuration of one server, at its start and while it runs. Must not
//! know what follows for those who are connected.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greeter_core::Responder;

use crate::accept::descriptors::connections_possible;
use crate::config::{Config, ConfigError, Options};
use crate::current::Current;
use crate::entry_rules::{EntryRules, TlsRule};
use crate::listen::ListenerKind;

/// Makes the configuration that options ask for, without listeners; none once the server has ended,
/// which keeps its responder no longer than its threads do.
type MakeConfig = dyn Fn(Options) -> Option<Result<Config, Vec<ConfigError>>> + Send + Sync;

/// The configuration of a running server, and what makes another.
pub(crate) struct RunningConfig {
    pub(crate) current: Arc<Current<Config>>,
    make: Box<MakeConfig>,
    started_with: Options,
    /// What its listeners are.
    listeners: Vec<ListenerKind>,
    /// What clients owe at each of them now. Held during a reload, so that one comes after the
    /// other. It is no part of the configuration: a worker keeps that until its next job, and old
    /// certificates are to go before, or their files would still be watched.
    entry_rules: Mutex<Vec<Arc<EntryRules>>>,
}

impl Config {
    /// Makes it that of a server where clients owe this, with the limits that follow from it, and
    /// with no more connections than there are available file descriptors.
    pub(crate) fn with_limits_for(mut self, entry_rules: &[Arc<EntryRules>]) -> Self {
        let has_lobby = entry_rules.iter().any(|rules| rules.asks());
        let limits = &mut self.limits;
        if !has_lobby {
            limits.max_handshakes = 0;
        }
        let lobbies = if has_lobby { self.connection_threads } else { 0 };
        let possible = connections_possible(
            entry_rules.len(),
            self.connection_threads + self.workers,
            lobbies,
            self.spare_descriptors,
        );
        if possible < limits.max_connections {
            let asked = limits.max_connections;
            tracing::warn!(asked, possible, "The limit of open files allows fewer connections.");
            limits.max_connections = possible;
        }
        let tls = entry_rules.iter().filter_map(|rules| rules.tls.as_ref());
        let handshake_bytes = tls.map(|(TlsRule::AtOnce(tls) | TlsRule::OnRequest(tls))| tls.max_handshake_bytes());
        if let Some(bytes) = handshake_bytes.max() {
            limits.max_tls_connections = limits.max_connections;
            limits.max_handshake_bytes = limits.max_handshake_bytes.max(bytes);
        }
        self
    }
}

impl RunningConfig {
    /// The configuration of a server that begins with this one.
    pub(crate) fn new<R: Responder>(
        config: Arc<Config>,
        started_with: Options,
        listeners: Vec<ListenerKind>,
        entry_rules: Vec<Arc<EntryRules>>,
        responder: &Arc<R>,
    ) -> Self {
        let responder = Arc::downgrade(responder);
        let make = move |options: Options| Some(options.validate(&*responder.upgrade()?));
        let current = Arc::new(Current::new(config));
        Self { current, make: Box::new(make), started_with, listeners, entry_rules: Mutex::new(entry_rules) }
    }

    /// Begins a reload: returns what clients owe at each listener, and keeps others from it
    /// meanwhile.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Arc<EntryRules>>> {
        self.entry_rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the options that a running server can have of these, and the names of those that it
    /// cannot.
    pub(crate) fn possible(&self, options: Options) -> (Options, Vec<&'static str>) {
        options.of_running(&self.started_with)
    }

    /// Makes the configuration that these options ask for, without listeners; none once the server
    /// has ended.
    pub(crate) fn make(&self, options: Options) -> Option<Result<Config, Vec<ConfigError>>> {
        (self.make)(options)
    }

    /// Returns what clients owe at each listener if these are what is asked for, and whether they
    /// are those that there are, in any order. One that is not asked for any more stays as it is.
    pub(crate) fn entry_rules(
        &self,
        current: &[Arc<EntryRules>],
        mut asked: Vec<(ListenerKind, EntryRules)>,
    ) -> (Vec<Arc<EntryRules>>, bool) {
        let mut are_the_same = true;
        let of_each = self.listeners.iter().zip(current).map(|(listener, rules)| {
            match asked.iter().position(|(kind, _)| kind.is_same_listener(listener)) {
                Some(index) => {
                    let (kind, rules) = asked.remove(index);
                    are_the_same &= kind == *listener;
                    Arc::new(rules)
                }
                None => {
                    are_the_same = false;
                    Arc::clone(rules)
                }
            }
        });
        let of_each = of_each.collect();
        (of_each, are_the_same && asked.is_empty())
    }
}
