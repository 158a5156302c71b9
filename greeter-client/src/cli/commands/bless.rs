//! `run --bless`: changes the files whose scripts were blessed.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use greeter_args::Exit;
use greeter_client::escape::{self, one_line};
use greeter_client::run::{Blessing, Outcome};
use greeter_client::talk::{Edits, Secrets, Source, Variables};
use greeter_client::{ConnectionOptions, Eol};

use crate::cli::args::{ConnectArg, MAX_TIME, NAME, RunArgs};
use crate::cli::color;
use crate::cli::exit::ExitError;
use crate::cli::file::{Identity, replace};

/// Where machines run the tests, an expectation that is changed to what came proves nothing.
pub(crate) fn check(force: bool) -> Result<(), Exit> {
    match env::var("CI") {
        Ok(ci) if ci == "true" && !force => Err(Exit::usage(
            NAME,
            "--bless changes what is expected, which is not for CI (CI=true); --bless --force does",
        )),
        _ => Ok(()),
    }
}

/// What a person types, before the name of a script, to bless it as it was run: against the same
/// server, with the same lines and values. None where that cannot be shown as it is, as with a
/// secret. What the environment says, it will say again.
pub(crate) fn command(
    arguments: &RunArgs,
    connect: &ConnectArg,
    connection: &ConnectionOptions,
    variables: &Variables,
) -> Option<String> {
    let time = |duration: Duration| humantime::format_duration(duration).to_string();
    let mut words = vec![NAME.to_owned()];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    if let Some(address) = connect.given() {
        option("--connect", address.to_string());
    }
    if connection.timeout != ConnectionOptions::default().timeout {
        option("--timeout", connection.timeout.map_or_else(|| "none".to_owned(), time));
    }
    if connection.eol == Eol::CrLf {
        option("--eol", "crlf".to_owned());
    }
    if let Some(proxy) = connection.proxy {
        option("--proxy", proxy.to_string());
    }
    words.extend_from_slice(connect.tls_words());
    words.extend(["run", "--bless"].map(str::to_owned));
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    if let Some(server) = &arguments.server {
        option("--server", server.clone());
    }
    if !arguments.wait.is_zero() {
        option("--wait", time(arguments.wait));
    }
    if arguments.max_time != MAX_TIME {
        option("--max-time", time(arguments.max_time));
    }
    for definition in &arguments.define {
        option("-D", definition.clone());
    }
    for name in &arguments.secret {
        option("--secret", name.clone());
    }
    let command = shlex::try_join(words.iter().map(String::as_str)).ok()?;
    let can_be_shown = !words.iter().any(|word| variables.secrets().are_in(word.as_bytes()));
    (can_be_shown && one_line(command.as_bytes()).to_string() == command).then_some(command)
}

/// What is to be changed in the files, under each of the names by which they were run. A Markdown
/// file may have several scripts.
#[derive(Default)]
pub(crate) struct Blessed<'a> {
    files: BTreeMap<Identity, BTreeMap<PathBuf, (&'a Source, Edits)>>,
    secrets: Secrets,
}

impl<'a> Blessed<'a> {
    /// Takes what has come of a script. That nothing is to be changed says something, too, if it
    /// passed.
    pub(crate) fn add(&mut self, source: &'a Source, Blessing { outcome, edits, secrets }: Blessing) {
        self.secrets.extend(&secrets);
        if let (Some(path), Outcome::Passed) = (source.path(), outcome) {
            let names = self.files.entry(Identity::of(path)).or_default();
            names.entry(path.to_owned()).or_insert_with(|| (source, Edits::default())).1.merge(edits);
        }
    }

    /// Changes the files, and tells what is different. One that fails does not keep the others from
    /// being changed.
    pub(crate) fn write(&self) -> Result<(), ExitError> {
        let (mut changed, mut failed) = (0, 0);
        let mut files: Vec<_> = self.files.values().collect();
        files.sort_by(|one, other| one.keys().cmp(other.keys()));
        for names in files {
            let Some((path, (source, edits))) = names.iter().find(|(_, (_, edits))| !edits.is_empty()) else {
                continue;
            };
            let name = escape::path(path).to_string();
            let (removed, added) = edits.counts();
            let text = match agree(names).and_then(|()| change(path, source, edits)) {
                Ok(()) => {
                    changed += 1;
                    format!("blessed {name}: -{removed} +{added}\n{}", edits.diff(source))
                }
                Err(err) => {
                    failed += 1;
                    format!("error: cannot bless {name}: {err}\n")
                }
            };
            color::tell_change(&self.secrets.mask_text(&text));
        }
        match failed {
            0 => Ok(()),
            _ => Err(ExitError::unreadable(anyhow::anyhow!("{failed} of {} files left as they are", changed + failed))),
        }
    }
}

/// A file that was run by several names can be changed if each time the same came.
fn agree(names: &BTreeMap<PathBuf, (&Source, Edits)>) -> io::Result<()> {
    let mut all = names.iter();
    let Some((_, (_, first))) = all.next() else { return Ok(()) };
    match all.find(|(_, (_, edits))| edits != first) {
        None => Ok(()),
        Some((other, _)) => {
            let other = escape::path(other);
            Err(io::Error::other(format!("it was also run as {other}, and not the same came: run it once")))
        }
    }
}

fn change(path: &Path, source: &Source, edits: &Edits) -> io::Result<()> {
    unchanged(&fs::read(path)?, source)?;
    replace(path, &edits.apply(source))
}

/// Somebody may have edited the file while its scripts were running.
fn unchanged(text: &[u8], source: &Source) -> io::Result<()> {
    if text == source.text() { Ok(()) } else { Err(io::Error::other("it has changed since it was read")) }
}
