//! Turns what holds for each listener into listeners and their certificates. Must not listen.

use std::path::{Path, PathBuf};

use greeter_server::{ClientAuth, Listener, Tls, TlsError};

use crate::settings::{ListenerSettings, SettingProblem, Settings};

/// The options of one listener.
pub(crate) struct ListenerOptions {
    pub(crate) address: String,
    pub(crate) proxies: Vec<String>,
    pub(crate) tls: TlsFiles,
}

/// The files of a listener that speaks TLS.
#[derive(PartialEq)]
pub(crate) struct TlsFiles {
    pub(crate) certificates: Vec<PathBuf>,
    pub(crate) keys: Vec<PathBuf>,
    pub(crate) client_authorities: Option<PathBuf>,
    pub(crate) client_auth: Option<ClientAuth>,
}

/// What comes of all listeners.
#[derive(Default)]
pub(crate) struct MadeListeners {
    pub(crate) listeners: Vec<Listener>,
    /// Where they listen, as far as that is one place.
    pub(crate) taken: Vec<String>,
    /// Listeners with the same files have the same certificates.
    certificates: Vec<(TlsFiles, Tls)>,
    pub(crate) problems: Vec<SettingProblem>,
    speak_tls: bool,
}

/// Returns the one place that an address means, where nobody else can listen as well; none if the
/// system chooses, or a service manager has chosen.
pub(crate) fn place_of(address: &str) -> Option<&str> {
    let place = address.strip_prefix("tls:").unwrap_or(address);
    let place = if place.starts_with("unix:") { without_settings(place) } else { place };
    (!place.ends_with(":0") && !place.starts_with("fd:")).then_some(place)
}

/// Returns a Unix socket's address without what is said of its file. A comma may also be part of
/// the path, and always is part of a name without a file.
fn without_settings(mut address: &str) -> &str {
    let is_setting = |part: &str| ["mode=", "owner=", "group="].iter().any(|setting| part.starts_with(setting));
    while !address.starts_with("unix:@")
        && let Some((before, last)) = address.rsplit_once(',')
        && is_setting(last)
    {
        address = before;
    }
    address
}

/// Makes the listeners, with all certificates that they have, and returns what is wrong beside
/// those that nothing is wrong with.
pub(crate) fn of(
    listeners: &[ListenerSettings],
    options: impl Fn(&Settings) -> Result<ListenerOptions, Vec<SettingProblem>>,
) -> MadeListeners {
    let mut made = MadeListeners::default();
    for listener in listeners {
        match options(&listener.settings) {
            Ok(options) => made.add(listener, options),
            Err(problems) => made.problems.extend(problems),
        }
    }
    let is_for_all = |listener: &&ListenerSettings| !listener.own.contains(&"tls-cert");
    if !made.speak_tls
        && made.problems.is_empty()
        && let Some(ListenerSettings { settings, .. }) = listeners.iter().find(is_for_all)
        && settings.has("tls-cert")
    {
        made.note(settings, "tls-cert", "--tls-cert is given, and no address begins with tls:");
    }
    made
}

impl MadeListeners {
    /// Returns the certificates, each once.
    pub(crate) fn certificates(&self) -> Vec<Tls> {
        self.certificates.iter().map(|(_, tls)| tls.clone()).collect()
    }

    fn add(&mut self, ListenerSettings { name, settings, own }: &ListenerSettings, options: ListenerOptions) {
        let ListenerOptions { address, proxies, tls } = options;
        if let Some(place) = place_of(&address) {
            if self.taken.iter().any(|taken| taken == place) {
                return self.note(
                    settings,
                    "listen",
                    &format!("cannot listen on {place}: it is to be listened at twice"),
                );
            }
            self.taken.push(place.to_owned());
        }
        let mut listener = Listener::from(address);
        self.speak_tls |= listener.is_tls();
        if let Err((name, problem)) = tls.go_together() {
            return self.note(settings, name, &problem);
        }
        if listener.is_tls() {
            match self.certificates_in(tls) {
                Ok(tls) => listener = listener.tls(&tls),
                Err(error) => return self.problems.push(in_words(error, settings)),
            }
        } else if own.contains(&"tls-cert") {
            return self.note(settings, "tls-cert", "--tls-cert is given, and this address does not begin with tls:");
        }
        if let Some(name) = name {
            listener = listener.named(name.as_str());
        }
        self.listeners.push(if proxies.is_empty() { listener } else { listener.proxy_from(proxies) });
    }

    /// Returns the certificates that are in these files.
    fn certificates_in(&mut self, files: TlsFiles) -> Result<Tls, TlsError> {
        if let Some((_, tls)) = self.certificates.iter().find(|(read, _)| *read == files) {
            return Ok(tls.clone());
        }
        let tls = files.load()?;
        self.certificates.push((files, tls.clone()));
        Ok(tls)
    }

    /// Notes what is wrong with an option. What listeners have in common is wrong once.
    fn note(&mut self, settings: &Settings, name: &str, message: &str) {
        let problem = SettingProblem { source: settings.source_of(name), message: message.to_owned() };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

impl TlsFiles {
    /// Returns which option is there without another, and how.
    fn go_together(&self) -> Result<(), (&'static str, String)> {
        let (certificates, keys) = (self.certificates.len(), self.keys.len());
        if certificates != keys {
            let name = if certificates == 0 { "tls-key" } else { "tls-cert" };
            let counts = format!("there are {certificates} and {keys}");
            return Err((name, format!("--tls-cert and --tls-key belong together: {counts}")));
        }
        match (&self.client_authorities, self.client_auth) {
            (None, Some(_)) => Err(("tls-client-auth", "--tls-client-auth needs --tls-client-ca".to_owned())),
            (Some(_), _) if certificates == 0 => {
                Err(("tls-client-ca", "--tls-client-ca needs --tls-cert and --tls-key".to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn load(&self) -> Result<Tls, TlsError> {
        let pairs = self.certificates.iter().zip(&self.keys);
        let mut tls = pairs.fold(Tls::options(), |tls, (certificate, key)| tls.certificate(certificate, key));
        if let Some(authorities) = &self.client_authorities {
            tls = tls.client_authorities(authorities, self.client_auth.unwrap_or(ClientAuth::Required));
        }
        tls.load()
    }
}

/// Returns the error in terms of the options, with the place of the file's name.
fn in_words(error: TlsError, settings: &Settings) -> SettingProblem {
    let source = match &error {
        TlsError::File { path, .. } | TlsError::Content { path, .. } => {
            settings.source_of_value(|text| Path::new(text) == path)
        }
        _ => settings.source_of("listen"),
    };
    let message = match error {
        TlsError::NoCertificate => "an address with tls: needs --tls-cert and --tls-key".to_owned(),
        error => format!("{:#}", anyhow::Error::from(error)),
    };
    SettingProblem { source, message }
}
