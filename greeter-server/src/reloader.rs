//! Turns the file, read again, into other settings of a server that runs: all of them, or none if
//! one is wrong. Must not stop it.

use std::io;
use std::time::Duration;

use greeter_server::{Builder, Responder, ServerHandle, Tls};

use crate::listeners::is_one_place;
use crate::settings::{ListenerSettings, SettingProblem, SettingSource, Settings, Sources};

/// How often the files of certificates are looked at. What is in them counts, since a link may
/// lead to other files from one moment to the next.
const CERTIFICATES_INTERVAL: Duration = Duration::from_secs(1);

/// What settings were made into: a server before it listens.
pub(crate) struct Prepared<T, R> {
    pub(crate) options: T,
    pub(crate) builder: Builder<R>,
    pub(crate) certificates: Vec<Tls>,
}

/// What it takes to read the settings again.
pub(crate) struct Reloader {
    server: ServerHandle,
    sources: Sources,
    started_with: Settings,
    /// What holds now, of the options that can change.
    current: Settings,
    /// What holds now for each listener that there is.
    listeners: Vec<ListenerSettings>,
    /// The addresses if none is given.
    otherwise: Vec<String>,
    /// The certificates of its listeners.
    certificates: Vec<Tls>,
    /// Whether an option can change while a server runs, by its name.
    is_live: fn(&str) -> bool,
}

impl Reloader {
    pub(crate) fn new(
        server: ServerHandle,
        sources: Sources,
        settings: Settings,
        otherwise: Vec<String>,
        certificates: Vec<Tls>,
        is_live: fn(&str) -> bool,
    ) -> Self {
        let listeners = settings.of_listeners(&otherwise);
        let started_with = settings.clone();
        Self { server, sources, started_with, current: settings, listeners, otherwise, certificates, is_live }
    }

    /// Has the settings hold that are in the file now, prepared as for a start, and returns what
    /// the options are, which `hold` is told before that is logged. What was wrong is logged; then
    /// nothing has changed, and there is the first of it in words.
    pub(crate) fn reload<R: Responder, T>(
        &mut self,
        prepare: impl FnOnce(&Settings, &[String]) -> Result<Prepared<T, R>, Vec<SettingProblem>>,
        hold: impl FnOnce(&T),
    ) -> Result<T, String> {
        self.try_reload(prepare, hold).map_err(|problems| {
            for problem in &problems {
                tracing::error!(%problem, "Cannot reload the settings, and keeps those it has.");
            }
            problems.first().map(ToString::to_string).unwrap_or_default()
        })
    }

    fn try_reload<R: Responder, T>(
        &mut self,
        prepare: impl FnOnce(&Settings, &[String]) -> Result<Prepared<T, R>, Vec<SettingProblem>>,
        hold: impl FnOnce(&T),
    ) -> Result<T, Vec<SettingProblem>> {
        let settings = self.sources.settings()?;
        let Prepared { options, builder, certificates } = prepare(&settings, &self.otherwise)?;
        let report = self
            .server
            .reload(builder)
            .map_err(|error| vec![SettingProblem { source: SettingSource::Default, message: error.to_string() }])?;
        hold(&options);
        // Only to say so: others have taken their place. Files that are gone are no news in them.
        let are_new = self.certificates.iter().any(|old| old.reload().unwrap_or(false));
        if let Err(error) = watch(&certificates) {
            tracing::error!(%error, "Cannot watch the files of certificates: new ones hold upon SIGHUP.");
        }
        self.certificates = certificates;
        let is_live = |name: &&str| (self.is_live)(name);
        let listeners = self.listeners_with(&settings);
        let pairs: Vec<_> = listeners.iter().zip(&self.listeners).collect();
        let mut changed = settings.changed_from(&self.current, &pairs);
        changed.retain(is_live);
        if are_new {
            changed.push("certificates");
        }
        // The library's names are those of methods. Where is listened, it knows best: one place may
        // be written in several ways.
        let of_library = report.needs_restart.iter().map(|name| name.replace('_', "-"));
        let since_start = settings.changed_from(&self.started_with, &[]);
        let mut needs_restart: Vec<_> =
            since_start.into_iter().filter(|name| !is_live(name)).map(str::to_owned).collect();
        needs_restart.extend(of_library);
        needs_restart.sort();
        needs_restart.dedup();
        self.current = settings;
        self.listeners = listeners;
        tracing::info!(changed = %in_words(&changed), "Settings were reloaded.");
        if !needs_restart.is_empty() {
            let needs_restart = needs_restart.join(", ");
            tracing::warn!(settings = %needs_restart, "Some settings hold only once the server is started again.");
        }
        Ok(options)
    }

    /// Returns what holds for each listener that there is with these settings. One that they do not
    /// have stays as it is.
    fn listeners_with(&self, settings: &Settings) -> Vec<ListenerSettings> {
        let mut asked = settings.of_listeners(&self.otherwise);
        let with = |listener: &ListenerSettings| {
            let is_it = |asked: &ListenerSettings| is_one_place(asked.address(), listener.address());
            asked.iter().position(is_it).map_or_else(|| listener.clone(), |index| asked.remove(index))
        };
        self.listeners.iter().map(with).collect()
    }
}

/// Has new certificates hold soon after they are in their files, also while nobody sends a signal.
pub(crate) fn watch(certificates: &[Tls]) -> io::Result<()> {
    certificates.iter().try_for_each(|tls| tls.reload_every(CERTIFICATES_INTERVAL))
}

fn in_words(changed: &[&str]) -> String {
    if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") }
}
