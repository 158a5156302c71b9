//! Turns `--exec` and its like into a program that answers, in whichever mode. Must not decide when
//! it starts, or ends.

use std::time::Duration;

use greeter_server::{
    Exec, ExecError, ExecOptions, PerClient, PerClientOptions, PushHandle, Tagged, TaggedOptions, admin,
};
use rustix::process::{Resource, getrlimit};

use crate::settings::{SettingProblem, Settings};

/// The option with the program, which takes the rest of the command line.
pub(crate) const EXEC: &str = "exec";

/// The option with how it is talked to.
const MODE: &str = "exec-mode";

/// The options that say more of the program, and those of them that mean something where a process
/// has one line at a time.
const OF_PROGRAMS: [&str; 5] = [MODE, "exec-children", "exec-batch", "exec-lines-max", "exec-probe"];
const OF_LINES: [&str; 3] = ["exec-batch", "exec-lines-max", "exec-probe"];

/// Descriptors of a process: three for its pipes or its socket, and one for its life.
const DESCRIPTORS_PER_CHILD: usize = 4;

/// Open files of the server itself, about: for those that it rejects, its threads, its log.
const FILES_OF_SERVER: usize = 256;

/// How a program is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExecMode {
    /// A process has one line, and answers it with one.
    Lines,
    /// A process has many clients, and each line says whose it is.
    Tagged,
    /// A process has one client, as of inetd.
    PerClient,
}

/// What is said of the program.
#[derive(Clone, Debug)]
pub(crate) struct ProgramOptions {
    /// Its name and its arguments; nothing, if the greeter answers.
    pub(crate) words: Vec<String>,
    pub(crate) mode: ExecMode,
    pub(crate) children: Option<usize>,
    pub(crate) batch: Option<usize>,
    pub(crate) lines_max: Option<u64>,
    pub(crate) probe: Option<String>,
    /// If they are given, and not off.
    pub(crate) reply_timeout: Option<Option<Duration>>,
    pub(crate) queue_timeout: Option<Option<Duration>>,
    pub(crate) max_reply_bytes: Option<usize>,
}

impl ProgramOptions {
    /// Returns what to start, if there is a program.
    pub(crate) fn to_start(&self, max_open_files: Option<u64>) -> Option<ProgramToStart> {
        let (program, arguments) = self.words.split_first()?;
        Some(match self.mode {
            ExecMode::Lines => ProgramToStart::Lines(self.lines(program, arguments, max_open_files)),
            ExecMode::Tagged => ProgramToStart::Tagged(self.tagged(program, arguments, max_open_files)),
            ExecMode::PerClient => ProgramToStart::PerClient(self.per_client(program, arguments, max_open_files)),
        })
    }

    fn lines(&self, program: &str, arguments: &[String], max_open_files: Option<u64>) -> ExecOptions {
        let Self { batch, lines_max, probe, reply_timeout, queue_timeout, max_reply_bytes, .. } = self;
        let mut exec = Exec::options(program).args(arguments).children(self.children());
        exec = batch.iter().fold(exec, |exec, lines| exec.batch(*lines));
        exec = lines_max.iter().fold(exec, |exec, lines| exec.lines_max(*lines));
        exec = probe.iter().fold(exec, ExecOptions::probe);
        exec = reply_timeout.iter().fold(exec, |exec, timeout| exec.reply_timeout(*timeout));
        exec = queue_timeout.iter().fold(exec, |exec, timeout| exec.queue_timeout(*timeout));
        exec = max_reply_bytes.iter().fold(exec, |exec, bytes| exec.max_reply_bytes(*bytes));
        exec = exec.reap_orphans(is_process_1());
        max_open_files.into_iter().fold(exec, ExecOptions::max_open_files)
    }

    fn tagged(&self, program: &str, arguments: &[String], max_open_files: Option<u64>) -> TaggedOptions {
        let Self { reply_timeout, max_reply_bytes, .. } = self;
        let mut tagged = Tagged::options(program).args(arguments).children(self.children());
        tagged = reply_timeout.iter().fold(tagged, |tagged, timeout| tagged.reply_timeout(*timeout));
        tagged = max_reply_bytes.iter().fold(tagged, |tagged, bytes| tagged.max_reply_bytes(*bytes));
        tagged = tagged.reap_orphans(is_process_1());
        max_open_files.into_iter().fold(tagged, TaggedOptions::max_open_files)
    }

    fn per_client(&self, program: &str, arguments: &[String], max_open_files: Option<u64>) -> PerClientOptions {
        let per_client = PerClient::options(program).args(arguments).max_processes(self.children());
        max_open_files.into_iter().fold(per_client.reap_orphans(is_process_1()), PerClientOptions::max_open_files)
    }

    /// Returns how many processes there are, or may be: where each has a client, no more than can
    /// have their files beside those of their clients.
    fn children(&self) -> usize {
        let asked = self.asked_children();
        match self.mode {
            // One that is out of its range is refused as what it is.
            ExecMode::PerClient if asked <= PerClientOptions::MAX_PROCESSES => {
                asked.min((files_for_clients_and_processes() / (DESCRIPTORS_PER_CHILD + 1)).max(1))
            }
            ExecMode::Lines | ExecMode::Tagged | ExecMode::PerClient => asked,
        }
    }

    fn asked_children(&self) -> usize {
        self.children.unwrap_or_else(|| match self.mode {
            ExecMode::Lines => std::thread::available_parallelism().map_or(1, usize::from),
            ExecMode::Tagged => 1,
            ExecMode::PerClient => PerClientOptions::DEFAULT_MAX_PROCESSES,
        })
    }

    /// Returns what is wrong with them, as far as that shows without a start.
    pub(crate) fn check(&self, settings: &Settings) -> Vec<SettingProblem> {
        let refused = |names: &[&str], why: &str| {
            let given = names.iter().filter(|name| settings.has(name));
            let problem = |name: &&str| SettingProblem {
                source: settings.source_of(name),
                message: format!("--{name} is for {why}"),
            };
            given.map(problem).collect::<Vec<_>>()
        };
        let Some(program) = self.to_start(None) else {
            return refused(&OF_PROGRAMS, "a program: there is no --exec");
        };
        let mut problems = match self.mode {
            ExecMode::Lines => Vec::new(),
            ExecMode::Tagged | ExecMode::PerClient => refused(&OF_LINES, "--exec-mode lines"),
        };
        problems.extend(program.check().err().map(|error| self.in_words(error, settings)));
        if settings.has("work") {
            let message = "--work is for the greeter: with --exec, the program takes its own time".to_owned();
            problems.push(SettingProblem { source: settings.source_of("work"), message });
        }
        problems
    }

    /// Has the program that runs be the one of these options, if a program answers.
    pub(crate) fn replace(
        &self,
        running: Option<&RunningProgram>,
        max_open_files: Option<u64>,
        settings: &Settings,
    ) -> Result<(), SettingProblem> {
        let needs_restart = |name: &str, what: &str| {
            let message = format!("{what} cannot change while the server runs: start it again");
            Err(SettingProblem { source: settings.source_of(name), message })
        };
        let replaced = match (running, self.to_start(max_open_files)) {
            (None, None) => return Ok(()),
            (Some(RunningProgram::Lines(exec)), Some(ProgramToStart::Lines(options))) => exec.replace(options),
            (Some(RunningProgram::Tagged(tagged)), Some(ProgramToStart::Tagged(options))) => tagged.replace(options),
            (Some(RunningProgram::PerClient(running)), Some(ProgramToStart::PerClient(options))) => {
                running.replace(options)
            }
            (Some(_), Some(_)) => {
                // It may be the one that is not given which is another.
                let name = if settings.has(MODE) { MODE } else { EXEC };
                return needs_restart(name, "the mode of a program");
            }
            (Some(_), None) | (None, Some(_)) => return needs_restart(EXEC, "whether a program answers"),
        };
        replaced.map_err(|error| self.in_words(error, settings))
    }

    /// Returns an error in terms of the options, with its place.
    pub(crate) fn in_words(&self, error: ExecError, settings: &Settings) -> SettingProblem {
        let (name, message) = match &error {
            ExecError::OutOfRange { option, value, min, max } => {
                let name = match *option {
                    "children" | "max_processes" => "exec-children",
                    "batch" => "exec-batch",
                    _ => "exec-lines-max",
                };
                let range = if *max == usize::MAX { format!("at least {min}") } else { format!("from {min} to {max}") };
                (name, format!("--{name} is {value}, but must be {range}"))
            }
            ExecError::Probe => ("exec-probe", format!("--exec-probe: {error}")),
            ExecError::NotStarted { program, .. } if self.words.len() == 1 && program.contains(char::is_whitespace) => {
                let advice =
                    "no shell sees it: in a file, write a list of words, such as [\"python3\", \"-u\", \"a.py\"]";
                (EXEC, format!("{:#}; {advice}", anyhow::Error::from(error)))
            }
            _ => (EXEC, format!("{:#}", anyhow::Error::from(error))),
        };
        SettingProblem { source: settings.source_of(name), message }
    }

    /// Returns how many lines of one client are answered side by side.
    pub(crate) fn batch(&self) -> usize {
        match self.mode {
            // One that is out of its range is refused as what it is.
            ExecMode::Lines => {
                self.batch.filter(|lines| (1..=1024).contains(lines) && !self.words.is_empty()).unwrap_or(1)
            }
            ExecMode::Tagged | ExecMode::PerClient => 1,
        }
    }

    /// Returns how many descriptors its processes may take: what is asked for, or if there are
    /// fewer, as many as leave clients a fifth.
    pub(crate) fn descriptors(&self) -> usize {
        if self.words.is_empty() {
            return 0;
        }
        // While one that stays is replaced, there are two.
        let at_once = match self.mode {
            ExecMode::Lines | ExecMode::Tagged => 2,
            ExecMode::PerClient => 1,
        };
        let of = |processes: usize| processes.saturating_mul(at_once * DESCRIPTORS_PER_CHILD);
        let (asked, for_both) = (self.asked_children(), files_for_clients_and_processes());
        let descriptors = if of(asked) <= for_both { of(self.children()) } else { for_both / 5 * 4 };
        if descriptors < of(asked) {
            let (may_have, open_files) = (descriptors / of(1), max_open_files());
            tracing::warn!(
                exec_children = asked,
                may_have,
                open_files,
                "There are too few open files for all processes."
            );
        }
        descriptors
    }
}

/// A program before it runs.
#[derive(Debug)]
pub(crate) enum ProgramToStart {
    Lines(ExecOptions),
    Tagged(TaggedOptions),
    PerClient(PerClientOptions),
}

impl ProgramToStart {
    fn check(&self) -> Result<(), ExecError> {
        match self {
            Self::Lines(options) => options.check(),
            Self::Tagged(options) => options.check(),
            Self::PerClient(options) => options.check(),
        }
    }

    /// Starts it. What it says to clients of itself goes through this handle.
    pub(crate) fn start(self, push: PushHandle) -> Result<RunningProgram, ExecError> {
        match self {
            Self::Lines(options) => options.start().map(RunningProgram::Lines),
            Self::Tagged(options) => options.start(push).map(RunningProgram::Tagged),
            Self::PerClient(options) => options.start(push).map(RunningProgram::PerClient),
        }
    }
}

/// A program that answers.
#[derive(Clone, Debug)]
pub(crate) enum RunningProgram {
    Lines(Exec),
    Tagged(Tagged),
    PerClient(PerClient),
}

impl RunningProgram {
    /// Ends its processes, and waits for that.
    pub(crate) fn stop(&self) {
        match self {
            Self::Lines(exec) => exec.stop(),
            Self::Tagged(tagged) => tagged.stop(),
            Self::PerClient(per_client) => per_client.stop(),
        }
    }

    /// Returns what there is to tell of it, in the text format of Prometheus.
    pub(crate) fn metrics(&self) -> String {
        match self {
            Self::Lines(exec) => admin::exec_metrics(&exec.stats()),
            Self::Tagged(tagged) => admin::tagged_metrics(&tagged.stats()),
            Self::PerClient(per_client) => admin::per_client_metrics(&per_client.stats()),
        }
    }
}

/// Returns whether this process gets the children that others have left behind, as in a container.
fn is_process_1() -> bool {
    std::process::id() == 1
}

/// Returns how many open files are left for clients and for a program's processes.
fn files_for_clients_and_processes() -> usize {
    max_open_files().saturating_sub(FILES_OF_SERVER)
}

/// Returns how many open files this process may have, once it has raised the limit.
fn max_open_files() -> usize {
    let limit = getrlimit(Resource::Nofile).maximum;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}
