//! `run PATH…`: runs scripts, and reports each as it ends.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use greeter_args::Exit;
use greeter_client::run::{Fault, Outcome, RunOptions, Server, ServerError, run as run_script};
use greeter_client::session::Target;
use greeter_client::talk::{self, Script, Variables};
use greeter_client::{Address, Options};

use super::options::{NAME, Run};
use super::{Failure, check};

/// How long a server of our own may take until it listens, if nothing else is said.
const START: Duration = Duration::from_secs(10);

/// What variables of the environment start with that are variables of scripts.
const VARIABLE: &str = "TALK_";

/// How one script ended.
struct Report {
    result: Result<Outcome, ServerError>,
    took: Duration,
}

pub(super) fn run(arguments: &Run, address: Address, connection: &Options) -> Result<(), Failure> {
    let variables = variables(&arguments.define)?;
    let command = arguments.server.as_deref().map(words).transpose()?;
    let mut scripts = load(&arguments.paths)?;
    if let Some(part) = &arguments.filter {
        scripts.retain(|script| script.name().contains(part));
    }
    if scripts.is_empty() {
        return Err(Exit::usage(NAME, "there is no script to run").into());
    }
    let mut target = Target::from(address);
    target.wait = arguments.wait;
    target.timeout = connection.timeout.unwrap_or(arguments.max_time);
    let mut options = RunOptions::to(target);
    options.timeout = connection.timeout.unwrap_or(arguments.max_time);
    options.time_max = arguments.max_time;
    options.eol = connection.eol;
    options.variables = variables;
    let start = if arguments.wait.is_zero() { START } else { arguments.wait };
    let run_one = |script: &Script| match &command {
        None => Ok(run_script(script, &options, None)),
        Some(command) => {
            let mut server = Server::start(command, start)?;
            let outcome = run_script(script, &options, Some(&mut server));
            server.end().map(|()| outcome)
        }
    };
    let mut tally = Tally::default();
    let printed = run_all(&scripts, arguments.jobs, run_one, |script, report| tally.add(script, report));
    printed.and_then(|()| tally.print()).or_else(Failure::unless_reader_gone)?;
    tally.verdict()
}

/// All scripts, or an end before anything is run.
fn load(paths: &[String]) -> Result<Vec<Script>, Failure> {
    let mut scripts = Vec::new();
    let mut bad = 0;
    for script in talk::load_all(paths) {
        match script {
            Ok(script) => {
                check::tell(script.warnings().iter());
                scripts.push(script);
            }
            Err(error) => {
                bad += 1;
                check::tell_error(&error);
            }
        }
    }
    match bad {
        0 => Ok(scripts),
        _ => Err(Failure::unreadable(anyhow::anyhow!("nothing was run: scripts with errors: {bad}"))),
    }
}

/// Runs so many at a time, and hands over the reports in the order of the scripts.
fn run_all(
    scripts: &[Script],
    jobs: usize,
    run_one: impl Fn(&Script) -> Result<Outcome, ServerError> + Sync,
    mut report: impl FnMut(&Script, Report) -> io::Result<()>,
) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let (sender, reports) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.min(scripts.len()) {
            let (sender, next, run_one) = (sender.clone(), &next, &run_one);
            scope.spawn(move || {
                // Whoever does not listen any more wants no more scripts run.
                while let Some((index, script)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|index| Some((index, scripts.get(index)?)))
                {
                    let start = Instant::now();
                    let report = Report { result: run_one(script), took: start.elapsed() };
                    if sender.send((index, report)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let progress = Progress::new(scripts.len());
        let mut early = BTreeMap::new();
        let mut ended = 0;
        progress.show(0);
        for (index, one) in reports {
            early.insert(index, one);
            progress.erase();
            while let Some(one) = early.remove(&ended) {
                report(&scripts[ended], one)?;
                ended += 1;
            }
            progress.show(ended + early.len());
        }
        progress.erase();
        Ok(())
    })
}

/// How many scripts have ended, for a person who waits.
struct Progress {
    scripts: usize,
    is_shown: bool,
}

impl Progress {
    fn new(scripts: usize) -> Self {
        Self { scripts, is_shown: io::stderr().is_terminal() }
    }

    fn show(&self, ended: usize) {
        if self.is_shown && ended < self.scripts {
            let _ = write!(io::stderr(), "{ended} of {} scripts", self.scripts);
        }
    }

    fn erase(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// What has become of all scripts.
#[derive(Default)]
struct Tally {
    passed: usize,
    skipped: usize,
    /// Something came that was not expected, or did not come.
    failed: usize,
    /// There was nobody to talk to.
    unconnected: usize,
}

impl Tally {
    /// Counts a script and tells how it went.
    fn add(&mut self, script: &Script, report: Report) -> io::Result<()> {
        let name = script.name();
        let took = report.took.as_millis();
        let mut text = String::new();
        let written = match report.result {
            Ok(Outcome::Passed) => {
                self.passed += 1;
                writeln!(text, "ok   {name}  ({took} ms)")
            }
            Ok(Outcome::Skipped(reason)) => {
                self.skipped += 1;
                writeln!(text, "skip {name}  ({reason})")
            }
            Ok(Outcome::Failed(failure)) => {
                *self.count_of(&failure.fault) += 1;
                writeln!(text, "FAIL {name}  ({took} ms)\n{failure}")
            }
            Err(error) => {
                self.unconnected += 1;
                let error = anyhow::Error::new(error);
                writeln!(text, "FAIL {name}  ({took} ms)\n  {error:#}")
            }
        };
        written.map_err(io::Error::other)?;
        let mut stdout = io::stdout();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    fn count_of(&mut self, fault: &Fault) -> &mut usize {
        if fault.is_connecting() { &mut self.unconnected } else { &mut self.failed }
    }

    fn print(&self) -> io::Result<()> {
        let Self { passed, skipped, failed, unconnected } = *self;
        let scripts = self.scripts();
        let s = if scripts == 1 { "" } else { "s" };
        let failed = failed + unconnected;
        writeln!(io::stdout(), "\n{scripts} script{s}: {passed} passed, {failed} failed, {skipped} skipped")
    }

    fn verdict(&self) -> Result<(), Failure> {
        let error = || anyhow::anyhow!("{} of {} scripts failed", self.failed + self.unconnected, self.scripts());
        match (self.failed, self.unconnected) {
            (0, 0) => Ok(()),
            (0, _) => Err(Failure::connection(error())),
            _ => Err(Failure::unmet(error())),
        }
    }

    const fn scripts(&self) -> usize {
        self.passed + self.skipped + self.failed + self.unconnected
    }
}

/// The variables that the environment and `-D` set; the latter has the last word.
fn variables(define: &[String]) -> Result<Variables, Exit> {
    let mut variables = Variables::default();
    for (name, value) in env::vars_os() {
        if let Some(name) = name.to_str().and_then(|name| name.strip_prefix(VARIABLE))
            && let Ok(name) = name.parse()
        {
            variables.set(name, value.into_encoded_bytes());
        }
    }
    for definition in define {
        let bad = |why: String| Exit::usage(NAME, &format!("-D {definition}: {why}"));
        let (name, value) = definition.split_once('=').ok_or_else(|| bad("write it as name=value".to_owned()))?;
        variables.set(name.parse().map_err(|error| bad(format!("{error}")))?, value);
    }
    Ok(variables)
}

/// A command as a shell would split it, without a shell.
fn words(command: &str) -> Result<Vec<String>, Exit> {
    shlex::split(command).filter(|words| !words.is_empty()).ok_or_else(|| {
        Exit::usage(NAME, &format!("--server '{command}' is not a command: a quote is open, or there is nothing"))
    })
}
