//! Starts what tells others about the server, each a server of its own: the admin server, and the
//! agent for HAProxy. Must not decide what is told.

use std::time::Duration;

use anyhow::Context;
use greeter_server::{Builder, Responder, Server, ServerHandle, admin};

use crate::listeners::{behind_scheme, place_of};
use crate::program::RunningProgram;
use crate::settings::{SettingProblem, Settings};

/// How long an answer may still take once the server itself has ended.
const STOP: Duration = Duration::from_secs(1);

/// Descriptors that each of them may take: those of its clients, and of those that it rejects.
pub(crate) const DESCRIPTORS: usize = 160;

/// What tells others about the server.
pub(crate) struct Observers {
    running: Vec<(&'static str, ServerHandle)>,
}

impl Observers {
    /// Starts those that have an address.
    pub(crate) fn start(
        of: &ServerHandle,
        program: Option<&RunningProgram>,
        admin: Option<&str>,
        agent: Option<&str>,
    ) -> anyhow::Result<Self> {
        let program = program.cloned();
        let of_program = move || program.as_ref().map_or_else(String::new, RunningProgram::metrics);
        let admin = admin.map(|address| start("admin", address, admin::server_with(of, of_program))).transpose()?;
        let agent = agent.map(|address| start("agent", address, admin::agent(of))).transpose()?;
        Ok(Self { running: admin.into_iter().chain(agent).collect() })
    }

    /// Returns, for each, the line that says where it listens.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = String> {
        self.running.iter().map(|(name, server)| format!("{name} on {}", server.local_addr()))
    }

    /// Stops them, the last of all.
    pub(crate) fn stop(self) {
        for (_, server) in self.running {
            server.shutdown(STOP);
        }
    }
}

/// Returns what is wrong with the addresses, as far as that shows before somebody listens.
/// Each may have a place that nobody else has `taken`.
pub(crate) fn check(
    admin: Option<&str>,
    agent: Option<&str>,
    taken: &mut Vec<String>,
    settings: &Settings,
) -> Vec<SettingProblem> {
    let addresses = [("admin", admin), ("agent", agent)].into_iter();
    let problems = addresses.filter_map(|(name, address)| {
        let address = address?;
        let is_of_others = ["fd:", "tls:"].iter().any(|scheme| behind_scheme(address, scheme).is_some());
        let place = place_of(address);
        let is_taken = place.as_ref().is_some_and(|place| taken.contains(place));
        taken.extend(place);
        let problem = match Server::builder().listen(address).check() {
            _ if is_taken => format!("cannot listen on {address}: it is to be listened at twice"),
            _ if is_of_others => format!("{address} is for --listen only: use HOST:PORT or unix:PATH"),
            Err(error) => format!("{:#}", anyhow::Error::from(error)),
            Ok(_) => return None,
        };
        Some(SettingProblem { source: settings.source_of(name), message: format!("{}: {problem}", cannot_start(name)) })
    });
    problems.collect()
}

fn cannot_start(name: &str) -> String {
    format!("cannot start what --{name} asks for")
}

fn start<R: Responder>(
    name: &'static str,
    address: &str,
    builder: Builder<R>,
) -> anyhow::Result<(&'static str, ServerHandle)> {
    let server = builder.bind(address).with_context(|| cannot_start(name))?.spawn()?;
    tracing::info!(address = %server.local_addr(), "The {name} is ready.");
    Ok((name, server))
}
