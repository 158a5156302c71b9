//! `load`: loads a server, shows how far it is, prints the report, and judges it.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use greeter_args::Exit;
use greeter_client::escape;
use greeter_client::load::{
    self, Assertion, Lines, Load, LoadError, LoadProgress, ReplyEnd, Report, RunningLoad, Verdict,
};
use greeter_client::talk::{Script, Template};
use greeter_client::{ConnectionOptions, ServerAddress};

use super::scripts::{load as load_scripts, variables};
use crate::cli::args::{LoadArgs as Arguments, NAME};
use crate::cli::exit::ExitError;

/// How often the line that shows how far it is changes.
const REFRESH: Duration = Duration::from_millis(200);

/// How many open files this process needs besides its connections.
const OWN_FILES: u64 = 32;

/// How many more for `--before`: a socket is there twice while it changes hands.
const BEFORE_FILES: u64 = 32;

/// The largest file of lines: it is held in memory, and what is expected for it, too.
const MAX_LINES_BYTES: u64 = 64 * 1024 * 1024;

pub(crate) fn run(
    arguments: &Arguments,
    address: ServerAddress,
    connection: &ConnectionOptions,
) -> Result<(), ExitError> {
    let outputs =
        [(arguments.json.clone(), Report::to_json as fn(&Report) -> String), (arguments.html.clone(), Report::to_html)];
    let load = load_of(arguments, address, connection)?;
    make_room(load.connections, load.before.as_ref().map_or(0, |_| BEFORE_FILES))?;
    // What cannot be written is better known before than after.
    let outputs: Vec<ReportFile> =
        outputs.into_iter().filter_map(ReportFile::open).collect::<Result<_, ExitError>>()?;
    let is_interrupted = catch_interrupts()?;
    let mut running = load::start(load).map_err(with_remedy)?;
    watch(&mut running, &is_interrupted);
    let report = running.finish()?;
    let verdicts: Vec<(Assertion, Verdict)> =
        arguments.assert.iter().map(|assertion| (assertion.clone(), assertion.check(&report))).collect();
    print(&report, &verdicts).or_else(ExitError::unless_reader_gone)?;
    for output in outputs {
        output.write(&report)?;
    }
    classify(&report, &verdicts)
}

// What to do.

fn load_of(arguments: &Arguments, address: ServerAddress, connection: &ConnectionOptions) -> Result<Load, ExitError> {
    let is_counted = arguments.once || arguments.count.is_some();
    if is_counted && arguments.duration.is_some() {
        let option = if arguments.once { "--once" } else { "--count" };
        return Err(
            Exit::usage(NAME, &format!("{option} says when it ends, and --duration, too: give one of them")).into()
        );
    }
    let mut load = match (arguments.line.is_empty(), &arguments.lines, &arguments.script) {
        (false, None, None) => Load::lines(address, lines_from(arguments, arguments.line.clone())?),
        (true, Some(path), None) => Load::lines(address, lines_from(arguments, lines_of(Path::new(path))?)?),
        (true, None, Some(path)) => Load::scripts(address, scripts_from(arguments, path)?),
        (true, None, None) => return Err(Exit::usage(NAME, "load needs --line, --lines or --script").into()),
        _ => return Err(Exit::usage(NAME, "only one of --line, --lines and --script can be given").into()),
    };
    load.before = arguments.before.as_ref().map(only_script).transpose()?;
    let scripts = match (&load.content, &load.before) {
        (load::LoadContent::Scripts(scripts), _) => &scripts[..],
        (_, before) => before.as_slice(),
    };
    load.variables = variables(&arguments.define, &arguments.secret, scripts)?;
    load.anywhere = arguments.anywhere;
    load.eol = connection.eol;
    load.timeout = connection.timeout;
    load.proxy = connection.proxy;
    load.tls = connection.tls.clone();
    load.connections = arguments.connections;
    load.pipeline = arguments.pipeline.unwrap_or(load.pipeline);
    load.threads = arguments.threads.unwrap_or(load.threads);
    load.rate = arguments.rate;
    load.count = arguments.count;
    load.duration = arguments.duration.unwrap_or(load.duration);
    // A hundred lines are over before any warm-up is.
    load.warmup = arguments.warmup.unwrap_or(if is_counted { Duration::ZERO } else { load.warmup });
    Ok(load)
}

/// These lines, and what is expected for each.
fn lines_from(arguments: &Arguments, lines: Vec<Template>) -> Result<Lines, ExitError> {
    let mut lines = Lines::new(lines);
    lines.expect.clone_from(&arguments.expect);
    lines.reply_end = match (arguments.reply_lines, &arguments.reply_until) {
        (None, None) => ReplyEnd::Expected,
        (Some(lines), None) => ReplyEnd::Lines(lines),
        (None, Some(end)) => ReplyEnd::Until(end.clone()),
        (Some(_), Some(_)) => {
            return Err(Exit::usage(NAME, "only one of --reply-lines and --reply-until can be given").into());
        }
    };
    lines.once = arguments.once;
    Ok(lines)
}

/// The scripts at `path`, with which nothing is said that is for lines.
fn scripts_from(arguments: &Arguments, path: &String) -> Result<Vec<Script>, ExitError> {
    let alone = [
        ("--before", arguments.before.is_some()),
        ("--expect", !arguments.expect.is_empty()),
        ("--reply-lines", arguments.reply_lines.is_some()),
        ("--reply-until", arguments.reply_until.is_some()),
        ("--once", arguments.once),
        ("--pipeline", arguments.pipeline.is_some()),
        ("--threads", arguments.threads.is_some()),
    ];
    if let Some((option, _)) = alone.into_iter().find(|(_, is_given)| *is_given) {
        return Err(Exit::usage(NAME, &format!("{option} is for lines: a script says itself what it does")).into());
    }
    load_scripts(std::slice::from_ref(path))
}

/// The script at `path` that each connection begins with.
fn only_script(path: &String) -> Result<Script, ExitError> {
    let mut scripts = load_scripts(std::slice::from_ref(path))?.into_iter();
    match (scripts.next(), scripts.next()) {
        (Some(script), None) => Ok(script),
        _ => Err(Exit::usage(NAME, &format!("--before takes one script, and {path} has another number")).into()),
    }
}

/// The lines of a file. As in a script, a CR before the LF is not part of them.
fn lines_of(path: &Path) -> Result<Vec<Template>, ExitError> {
    let read = || -> anyhow::Result<Vec<u8>> {
        let bytes = fs::metadata(path)?.len();
        anyhow::ensure!(bytes <= MAX_LINES_BYTES, "it has more than {} MiB", MAX_LINES_BYTES / 1024 / 1024);
        Ok(fs::read(path)?)
    };
    let text = read().with_context(|| format!("cannot read {}", escape::path(path))).map_err(ExitError::unreadable)?;
    let mut lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    if lines.last() == Some(&&b""[..]) {
        lines.pop();
    }
    Ok(lines.into_iter().map(|line| Template::literal(line.strip_suffix(b"\r").unwrap_or(line))).collect())
}

/// Makes sure that there can be as many connections, or says why not.
#[cfg(unix)]
fn make_room(connections: usize, more: u64) -> Result<(), ExitError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let needed = connections as u64 + OWN_FILES + more;
    match limit.maximum {
        Some(maximum) if maximum < needed => Err(ExitError::connection(anyhow::anyhow!(
            "{connections} connections need {needed} open files, and this process may have {maximum}: raise the limit \
             (ulimit -Hn), or ask for fewer"
        ))),
        _ if limit.current.is_none_or(|current| current >= needed) => Ok(()),
        _ => setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
            .context("cannot raise the limit of open files")
            .map_err(ExitError::internal),
    }
}

#[cfg(not(unix))]
fn make_room(_connections: usize, _more: u64) -> Result<(), ExitError> {
    Ok(())
}

fn with_remedy(error: LoadError) -> ExitError {
    match error {
        LoadError::Remote(_) => ExitError::unreadable(anyhow::anyhow!("{error}: --anywhere allows it")),
        error => error.into(),
    }
}

// While it runs.

/// From now on Ctrl-C is noted; a second one ends the process. Not in the background, where shells
/// let it be ignored.
fn catch_interrupts() -> Result<Arc<AtomicBool>, ExitError> {
    use signal_hook::{consts::SIGINT, flag};
    let is_interrupted = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    if crate::cli::signals::is_ignored(SIGINT) {
        return Ok(is_interrupted);
    }
    flag::register_conditional_default(SIGINT, Arc::clone(&is_interrupted))
        .and_then(|_| flag::register(SIGINT, Arc::clone(&is_interrupted)))
        .context("cannot catch signals")
        .map_err(ExitError::internal)?;
    Ok(is_interrupted)
}

fn watch(running: &mut RunningLoad, is_interrupted: &AtomicBool) {
    let is_shown = io::stderr().is_terminal();
    while let Some(progress) = running.wait(REFRESH) {
        if is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K{}", status(&progress));
        }
        if is_interrupted.load(Ordering::Relaxed) {
            running.stop();
        }
    }
    if is_shown {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

fn status(progress: &LoadProgress) -> String {
    let LoadProgress { elapsed, per_second, errors, p99, .. } = progress;
    let p99 = p99.map_or_else(|| "warming up".to_owned(), |p99| format!("p99 {p99}"));
    format!("{:.1} s  {per_second:.0}/s  {p99}  {errors} errors", elapsed.as_secs_f64())
}

// Afterwards.

/// Prints the report and what became of the assertions.
fn print(report: &Report, verdicts: &[(Assertion, Verdict)]) -> io::Result<()> {
    for warning in report.warnings() {
        // The files have it, too.
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{report}")?;
    for (assertion, verdict) in verdicts {
        let word = if verdict.holds { "ok  " } else { "FAIL" };
        writeln!(stdout, "  {word} {assertion}  ({})", verdict.measured)?;
    }
    stdout.flush()
}

fn classify(report: &Report, verdicts: &[(Assertion, Verdict)]) -> Result<(), ExitError> {
    if report.is_stopped() {
        return Err(ExitError::interrupted(anyhow::anyhow!("interrupted")));
    }
    let unmet = verdicts.iter().filter(|(_, verdict)| !verdict.holds).count();
    if unmet > 0 {
        return Err(ExitError::unmet(anyhow::anyhow!("{unmet} of {} assertions do not hold", verdicts.len())));
    }
    let is_bounded = verdicts.iter().any(|(assertion, _)| assertion.is_about_errors());
    match (report.errors(), report.connections_lost()) {
        (0, _) => Ok(()),
        (errors, _) if !is_bounded => Err(ExitError::unmet(anyhow::anyhow!("there were errors: {errors}"))),
        // A bound for errors bounds nothing where nothing is due any more, as on a connection that
        // a closed loop has lost.
        (_, lost @ 1..) if !report.knows_what_is_due() => {
            Err(ExitError::unmet(anyhow::anyhow!("connections lost before the end: {lost}")))
        }
        _ => Ok(()),
    }
}

/// A file for the report in one form.
struct ReportFile {
    path: PathBuf,
    file: File,
    render: fn(&Report) -> String,
}

impl ReportFile {
    fn open((path, render): (Option<PathBuf>, fn(&Report) -> String)) -> Option<Result<Self, ExitError>> {
        let path = path?;
        let file = File::create(&path).with_context(|| format!("cannot write {}", escape::path(&path)));
        Some(file.map(|file| Self { path, file, render }).map_err(ExitError::unreadable))
    }

    fn write(mut self, report: &Report) -> Result<(), ExitError> {
        let text = (self.render)(report) + "\n";
        let written = self.file.write_all(text.as_bytes());
        written.with_context(|| format!("cannot write {}", escape::path(&self.path))).map_err(ExitError::internal)
    }
}
