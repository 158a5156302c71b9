//! `run PATH…`: runs scripts, and reports each as it ends.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use greeter_args::Exit;
use greeter_client::report::{FinishedScript, Reporter, ScriptCounts};
use greeter_client::run::{
    self, Blessing, Failure as Report, Outcome, RunOptions, ServerProcess, ServerProcesses, Tries,
};
use greeter_client::session::Target;
use greeter_client::talk::{Edits, Script, Secrets, Variables};
use greeter_client::{ConnectionOptions, ServerAddress};

use super::bless;
use super::bless::Blessed;
use super::progress::{RunProgress, TICK};
use super::scripts::{in_environment, load, variables};
use crate::cli::args::{ConnectArg, NAME, RunArgs};
use crate::cli::color;
use crate::cli::exit::ExitError;

/// How long a server of our own may take until it listens, if nothing else is said.
const START: Duration = Duration::from_secs(10);

/// What happens to a script, by its number.
enum RunEvent {
    Started(usize),
    Ended(usize, FinishedRun),
}

/// How one script ended.
struct FinishedRun {
    tries: Tries,
    edits: Edits,
    secrets: Secrets,
}

pub(crate) fn run(arguments: &RunArgs, connect: ConnectArg, connection: &ConnectionOptions) -> Result<(), ExitError> {
    if arguments.bless {
        bless::check(arguments.force)?;
    } else if arguments.force {
        return Err(Exit::usage(NAME, "--force is about --bless").into());
    }
    if arguments.bless && arguments.retries > 0 {
        let words = "--retries is for what comes now and then, and --bless would make that what is expected";
        return Err(Exit::usage(NAME, words).into());
    }
    let command = arguments.server.as_deref().map(words).transpose()?;
    let scripts = scripts_of(arguments)?;
    let variables = variables(&arguments.define, &arguments.secret, &scripts)?;
    let bless_command = bless::command(arguments, &connect, connection, &variables);
    let mut options = run_options(arguments, connect.address()?, connection, variables);
    options.bless_command = bless_command;
    let start = if arguments.wait.is_zero() { START } else { arguments.wait };
    let play = |script: &Script, server: Option<&mut ServerProcess>| match arguments.bless {
        true => run::bless(script, &options, server),
        false => run::run(script, &options, server).into(),
    };
    let ending = SignalHandling::hiding(&options.variables);
    if command.is_some() {
        ending.catch_signals()?;
    }
    let run_once = |script: &Script| {
        let Some(command) = &command else { return play(script, None) };
        let secrets = options.variables.secrets();
        let played = match ending.servers.start(command, start) {
            Err(error) => Err(Report::without_server(script, error)),
            Ok(mut server) => {
                let blessing = play(script, Some(&mut server));
                server.end().map(|()| blessing).map_err(|error| Report::at_servers_end(script, error))
            }
        };
        ending.hold();
        played.unwrap_or_else(|failure| Outcome::Failed(Box::new(failure)).masked(secrets).into())
    };
    let run_one = |script: &Script| {
        let (mut edits, mut secrets) = (Edits::default(), Secrets::default());
        let tries = run::with_retries(arguments.retries, || {
            let blessing = run_once(script);
            (edits, secrets) = (blessing.edits, blessing.secrets);
            blessing.outcome
        });
        FinishedRun { tries, edits, secrets }
    };
    let mut reporter = Reporter::new(arguments.report, color::report(arguments.report), scripts.len());
    let mut blessed = Blessed::default();
    let told = run_all(&scripts, arguments, run_one, |script, FinishedRun { tries, edits, secrets }| {
        let Tries { outcome, took, earlier, .. } = tries;
        reporter.add(&FinishedScript { script, outcome: &outcome, took, earlier: &earlier })?;
        if arguments.bless {
            blessed.add(script.source(), Blessing { outcome, edits, secrets });
        }
        Ok(())
    });
    let told = told.and_then(|told| scripts[told..].iter().try_for_each(|script| reporter.add_not_run(script)));
    let tally = reporter.counts().clone();
    let told = told.and_then(|()| reporter.finish().map(drop));
    blessed.write()?;
    told.or_else(ExitError::unless_reader_gone)?;
    verdict(&tally)
}

/// Those that are asked for.
fn scripts_of(arguments: &RunArgs) -> Result<Vec<Script>, ExitError> {
    let mut scripts = load(&arguments.paths)?;
    if let Some(part) = &arguments.filter {
        scripts.retain(|script| script.name().contains(part));
    }
    if scripts.is_empty() {
        return Err(Exit::usage(NAME, "there is no script to run").into());
    }
    // One of more shards than there are scripts has nothing to do, and all is well.
    if let Some(shard) = arguments.shard {
        let mut position = 0..;
        scripts.retain(|_| position.next().is_some_and(|position| shard.holds(position)));
    }
    Ok(scripts)
}

/// What is ended with this process, if a signal does that: the servers are in groups of their own,
/// which signals for ours do not reach, and whoever waits for their outputs would wait for ever.
#[derive(Clone)]
struct SignalHandling {
    servers: Arc<ServerProcesses>,
    has_begun: Arc<AtomicBool>,
}

impl SignalHandling {
    /// Of servers that are told no secret of these, and show none.
    fn hiding(variables: &Variables) -> Self {
        let in_environment = variables.secret_names().map(in_environment);
        let servers = ServerProcesses::hiding(variables.secrets().clone(), in_environment);
        Self { servers: Arc::new(servers), has_begun: Arc::default() }
    }

    /// From now on, signals that end this process end its servers first.
    #[cfg(unix)]
    fn catch_signals(&self) -> Result<(), ExitError> {
        use anyhow::Context;
        use signal_hook::{iterator::Signals, low_level};
        let Self { servers, has_begun } = self.clone();
        let catch = || -> io::Result<()> {
            let mut signals = Signals::new(crate::cli::signals::ending())?;
            let watch = move || {
                if let Some(signal) = signals.forever().next() {
                    has_begun.store(true, Ordering::SeqCst);
                    servers.end_all();
                    // Not by way of the main thread, which may be waiting for whoever reads its
                    // report.
                    low_level::exit(128 + signal);
                }
            };
            thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop)
        };
        catch().context("cannot catch signals").map_err(ExitError::internal)
    }

    #[cfg(not(unix))]
    fn catch_signals(&self) -> Result<(), ExitError> {
        Ok(())
    }

    /// Keeps those back who have seen a server end only because this process does: nothing is to be
    /// told about that.
    fn hold(&self) {
        while self.has_begun.load(Ordering::SeqCst) {
            thread::park();
        }
    }
}

fn run_options(
    arguments: &RunArgs,
    address: ServerAddress,
    connection: &ConnectionOptions,
    variables: Variables,
) -> RunOptions {
    let mut target = Target::from(address);
    target.wait = arguments.wait;
    target.proxy = connection.proxy;
    target.tls = connection.tls.clone();
    target.timeout = connection.timeout.unwrap_or(arguments.max_time);
    let mut options = RunOptions::to(target);
    options.timeout = connection.timeout.unwrap_or(arguments.max_time);
    options.max_time = arguments.max_time;
    options.eol = connection.eol;
    options.variables = variables;
    options
}

/// Runs so many at a time, and hands over what has ended in the order of the scripts. Tells how
/// many have: with `--fail-fast`, some of those at the end may not have been run.
fn run_all<'a>(
    scripts: &'a [Script],
    arguments: &RunArgs,
    run_one: impl Fn(&Script) -> FinishedRun + Sync,
    report: impl FnMut(&'a Script, FinishedRun) -> io::Result<()>,
) -> io::Result<usize> {
    let next = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    let (sender, events) = mpsc::channel();
    let work = |sender: &Sender<RunEvent>| {
        // In this order: whoever has a number runs it, so that the last are those that are not run.
        if is_over.load(Ordering::SeqCst) {
            return None;
        }
        let number = next.fetch_add(1, Ordering::SeqCst);
        let script = scripts.get(number)?;
        sender.send(RunEvent::Started(number)).ok()?;
        let done = run_one(script);
        if arguments.fail_fast && matches!(done.tries.outcome, Outcome::Failed(_)) {
            is_over.store(true, Ordering::SeqCst);
        }
        sender.send(RunEvent::Ended(number, done)).ok()
    };
    thread::scope(|scope| {
        for _ in 0..arguments.jobs.min(scripts.len()) {
            let (sender, work) = (sender.clone(), &work);
            // Whoever does not listen any more wants no more scripts run.
            scope.spawn(move || while work(&sender).is_some() {});
        }
        drop(sender);
        let told = tell_all(scripts, &events, report);
        // Nobody listens any more: where telling has failed, what has not begun is not run.
        drop(events);
        told
    })
}

/// Tells of each script when all before it have been told of, and meanwhile shows the progress.
/// Returns how many there were.
fn tell_all<'a>(
    scripts: &'a [Script],
    events: &Receiver<RunEvent>,
    mut report: impl FnMut(&'a Script, FinishedRun) -> io::Result<()>,
) -> io::Result<usize> {
    let mut progress = RunProgress::new(scripts.len());
    let mut early = BTreeMap::new();
    let mut told = 0;
    loop {
        match events.recv_timeout(TICK) {
            Ok(RunEvent::Started(number)) => progress.start(number, scripts[number].name()),
            Ok(RunEvent::Ended(number, done)) => {
                progress.end(number, matches!(done.tries.outcome, Outcome::Failed(_)));
                early.insert(number, done);
                progress.erase();
                while let Some(done) = early.remove(&told) {
                    report(&scripts[told], done)?;
                    told += 1;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        progress.show();
    }
    progress.erase();
    Ok(told)
}

fn verdict(tally: &ScriptCounts) -> Result<(), ExitError> {
    let &ScriptCounts { failed, unconnected, not_run, .. } = tally;
    let not_run = if not_run == 0 { String::new() } else { format!(", and {not_run} were not run") };
    let error = || anyhow::anyhow!("{} of {} scripts failed{not_run}", failed + unconnected, tally.scripts());
    match (failed, unconnected) {
        (0, 0) => Ok(()),
        (0, _) => Err(ExitError::connection(error())),
        _ => Err(ExitError::unmet(error())),
    }
}

/// A command as a shell would split it, without a shell.
fn words(command: &str) -> Result<Vec<String>, Exit> {
    shlex::split(command).filter(|words| !words.is_empty()).ok_or_else(|| {
        Exit::usage(NAME, &format!("--server '{command}' is not a command: a quote is open, or there is nothing"))
    })
}
