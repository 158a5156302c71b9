//! Turns the file, read again, into other settings of a server that runs: all of them, or none if
//! one is wrong. Must not stop it.

use greeter_server::{Builder, Responder, ServerHandle, Tls};

use crate::settings::{SettingProblem, SettingSource, Settings, Sources};

/// What it takes to read the settings again.
pub(crate) struct Reloader {
    server: ServerHandle,
    sources: Sources,
    started_with: Settings,
    /// What holds now, of the options that can change.
    current: Settings,
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
        certificates: Vec<Tls>,
        is_live: fn(&str) -> bool,
    ) -> Self {
        Self { server, sources, started_with: settings.clone(), current: settings, certificates, is_live }
    }

    /// Has the settings hold that are in the file now, and returns what they were made into. What
    /// was wrong is logged; then nothing has changed, and there is the first of it in words.
    pub(crate) fn reload<R: Responder, T>(
        &mut self,
        prepare: impl FnOnce(&Settings) -> Result<(T, Builder<R>), Vec<SettingProblem>>,
    ) -> Result<T, String> {
        self.try_reload(prepare).map_err(|problems| {
            for problem in &problems {
                tracing::error!(%problem, "Cannot reload the settings, and keeps those it has.");
            }
            problems.first().map(ToString::to_string).unwrap_or_default()
        })
    }

    fn try_reload<R: Responder, T>(
        &mut self,
        prepare: impl FnOnce(&Settings) -> Result<(T, Builder<R>), Vec<SettingProblem>>,
    ) -> Result<T, Vec<SettingProblem>> {
        let settings = self.sources.settings()?;
        let (prepared, builder) = prepare(&settings)?;
        let report = self
            .server
            .reload(&builder)
            .map_err(|error| vec![SettingProblem { source: SettingSource::Default, message: error.to_string() }])?;
        let is_live = |name: &&str| (self.is_live)(name);
        let mut changed: Vec<_> = settings.changed_from(&self.current).into_iter().filter(is_live).collect();
        if self.has_new_certificates() {
            changed.push("certificates");
        }
        // The library's names are those of methods.
        let of_library = report.needs_restart.iter().map(|name| name.replace('_', "-"));
        let since_start = settings.changed_from(&self.started_with);
        let mut needs_restart: Vec<_> =
            since_start.into_iter().filter(|name| !is_live(name)).map(str::to_owned).collect();
        needs_restart.extend(of_library);
        needs_restart.sort();
        needs_restart.dedup();
        self.current = settings;
        tracing::info!(changed = %in_words(&changed), "Settings were reloaded.");
        if !needs_restart.is_empty() {
            let needs_restart = needs_restart.join(", ");
            tracing::warn!(settings = %needs_restart, "Some settings hold only once the server is started again.");
        }
        Ok(prepared)
    }

    /// Reads the certificates again, which were found to be good, and returns whether they are new.
    fn has_new_certificates(&self) -> bool {
        let mut is_new = false;
        for certificates in &self.certificates {
            match certificates.reload() {
                Ok(changed) => is_new |= changed,
                // Somebody has written to them since. They are looked at every second anyway.
                Err(error) => tracing::warn!(%error, "Cannot read new certificates, and keeps those it has."),
            }
        }
        is_new
    }
}

fn in_words(changed: &[&str]) -> String {
    if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") }
}
