//! Turns `--exec` and its like into a program that answers. Must not start it.

use std::time::Duration;

use greeter_server::{Exec, ExecError, ExecOptions};

use crate::settings::{SettingProblem, Settings};

/// The option with the program, which takes the rest of the command line.
pub(crate) const EXEC: &str = "exec";

/// Descriptors of a process and of the next in its place: three pipes each, and one for its life.
const DESCRIPTORS_PER_CHILD: usize = 8;

/// What is said of the program.
#[derive(Clone, Debug)]
pub(crate) struct ProgramOptions {
    /// Its name and its arguments; nothing, if the greeter answers.
    pub(crate) words: Vec<String>,
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
    /// Returns options to start the program with, if there is one.
    pub(crate) fn to_exec(&self, max_open_files: Option<u64>) -> Option<ExecOptions> {
        let Self { words, children, batch, lines_max, probe, reply_timeout, queue_timeout, max_reply_bytes } = self;
        let (program, arguments) = words.split_first()?;
        let mut exec = Exec::options(program).args(arguments);
        exec = children.iter().fold(exec, |exec, children| exec.children(*children));
        exec = batch.iter().fold(exec, |exec, lines| exec.batch(*lines));
        exec = lines_max.iter().fold(exec, |exec, lines| exec.lines_max(*lines));
        exec = probe.iter().fold(exec, ExecOptions::probe);
        exec = reply_timeout.iter().fold(exec, |exec, timeout| exec.reply_timeout(*timeout));
        exec = queue_timeout.iter().fold(exec, |exec, timeout| exec.queue_timeout(*timeout));
        exec = max_reply_bytes.iter().fold(exec, |exec, bytes| exec.max_reply_bytes(*bytes));
        exec = exec.reap_orphans(std::process::id() == 1);
        Some(max_open_files.into_iter().fold(exec, ExecOptions::max_open_files))
    }

    /// Returns what is wrong with them, as far as that shows without a start.
    pub(crate) fn check(&self, settings: &Settings) -> Vec<SettingProblem> {
        let Some(exec) = self.to_exec(None) else {
            let of_programs = ["exec-children", "exec-batch", "exec-lines-max", "exec-probe"];
            let given = of_programs.into_iter().filter(|name| settings.has(name));
            let problem = |name| SettingProblem {
                source: settings.source_of(name),
                message: format!("--{name} is for a program: there is no --exec"),
            };
            return given.map(problem).collect();
        };
        let mut problems: Vec<_> = exec.check().err().map(|error| self.in_words(error, settings)).into_iter().collect();
        if settings.has("work") {
            let message = "--work is for the greeter: with --exec, the program takes its own time".to_owned();
            problems.push(SettingProblem { source: settings.source_of("work"), message });
        }
        problems
    }

    /// Returns an error in terms of the options, with its place.
    pub(crate) fn in_words(&self, error: ExecError, settings: &Settings) -> SettingProblem {
        let (name, message) = match &error {
            ExecError::OutOfRange { option, value, min, max } => {
                let name = match *option {
                    "children" => "exec-children",
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
        // One that is out of its range is refused as what it is.
        self.batch.filter(|lines| (1..=1024).contains(lines) && !self.words.is_empty()).unwrap_or(1)
    }

    /// Returns how many descriptors its processes may take.
    pub(crate) fn descriptors(&self) -> usize {
        let children = self.children.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        if self.words.is_empty() { 0 } else { DESCRIPTORS_PER_CHILD.saturating_mul(children) }
    }
}
