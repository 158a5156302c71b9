//! Measures greeter beside other servers that do the same, and writes the page, the charts and the samples to `docs`.
//!
//! ```text
//! cargo run --release -p greeter-tests --bin bench
//! ```
//!
//! # Layout
//!
//! `server` (who) and `case` (what) → `measure` and `visits` (a figure) → `samples` (the rounds) → `target` (what is to be
//! reached) → `tables` and `chart`, with `text` → `page`.

#![forbid(unsafe_code)]

mod case;
mod chart;
mod machine;
mod measure;
mod page;
mod samples;
mod server;
mod tables;
mod target;
mod text;
mod visits;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use argh::FromArgs;
use case::{Case, CaseGroup};
use machine::Machine;
use measure::{Size, measure};
use page::Page;
use samples::{SampleKey, Samples};
use server::{Contestant, Programs};
use target::is_close;

/// Measures greeter beside other servers that do the same, and writes benchmark.md and its charts.
#[derive(FromArgs)]
#[argh(
    help_triggers("-h", "--help"),
    note = "\
Run nothing else meanwhile. A full run takes some 30 minutes; what was measured is written after each round.
Figures that are close to what is to be reached are measured in each round, the others in five of them.
Go programs, Redis and what tests/peers needs from the registry are left out where they are missing.",
    example = "All of it:\n    {command_name}",
    example = "What a change does to the pool, beside the floor:\n    {command_name} --server bare-loop --server pool --figures lines --out target/bench",
    error_code(0, "all figures of greeter's own servers are there"),
    error_code(1, "some are not, or nothing could be written"),
    error_code(2, "the arguments are wrong")
)]
struct Options {
    /// how many rounds are measured (default: 60)
    #[argh(option, arg_name = "n", default = "60", from_str_fn(rounds))]
    rounds: usize,

    /// for how many seconds each figure is, each time (default: 0.5)
    #[argh(option, arg_name = "n", default = "Duration::from_millis(500)", from_str_fn(seconds))]
    seconds: Duration,

    /// measure only this server: bare-loop, in-place, in-place-2, pool, server.go, server2.go, tokio-lines, tokio-batched,
    /// thread-pool or redis; may be given several times
    #[argh(option, arg_name = "name")]
    server: Vec<Contestant>,

    /// measure only these figures: lines, growth, fairness, idle, visits or expensive; may be given several times
    #[argh(option, arg_name = "name")]
    figures: Vec<CaseGroup>,

    /// leave out what needs more connections (default: 15000, or as many as there may be open files)
    #[argh(option, arg_name = "n", default = "15_000")]
    max_connections: usize,

    /// the folder to write to (default: docs of the project)
    #[argh(option, arg_name = "folder", default = "documents()")]
    out: PathBuf,
}

/// How many rounds have all figures, at most.
const ROUNDS_OF_ALL: usize = 5;

/// How many connections are idle, if there may be so many.
const IDLE: usize = 9_000;

/// What this process opens besides connections, at most.
const FILES_BESIDES: u64 = 200;

fn documents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("docs")
}

fn rounds(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|rounds| *rounds > 0).ok_or_else(|| "write a number from 1 on".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0 && *seconds <= 3600.0);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "write a number above 0, such as 0.2, up to 3600".to_owned())
}

fn main() -> ExitCode {
    let options = match greeter_args::parse::<Options>("bench", env!("CARGO_PKG_VERSION")) {
        Ok(options) => options,
        Err(exit) => return exit.print(),
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    greeter_tests::raise_descriptor_limit();
    let machine = Machine::this();
    let mut run = BenchRun::prepare(options, &machine);
    for round in 1..=options.rounds {
        run.round(round);
        // What there is stays, whatever befalls the rounds to come.
        run.write(options, &machine, round)?;
    }
    tell(&format!("written to {}", options.out.display()));
    ensure!(run.failures == 0, "{} figures of greeter's own servers are missing", run.failures);
    Ok(())
}

/// A run of all rounds.
struct BenchRun {
    programs: Programs,
    size: Size,
    cases: Vec<Case>,
    rounds: usize,
    /// How many figures have a turn in all rounds together, and how many have had it.
    all: usize,
    done: usize,
    start: Instant,
    samples: Samples,
    left_out: Vec<String>,
    /// Figures of ours that could not be had.
    failures: usize,
}

impl BenchRun {
    fn prepare(options: &Options, machine: &Machine) -> Self {
        tell("building the servers");
        let all = if options.server.is_empty() { &Contestant::ALL[..] } else { &options.server };
        let programs = Programs::build(all);
        let mut left_out: Vec<String> =
            programs.missing.iter().map(|(server, why)| format!("{}: {why}", server.name())).collect();
        let max_connections = max_connections(options.max_connections);
        if max_connections < options.max_connections {
            left_out.push(format!(
                "what needs more than {max_connections} connections: the limit of open files is too low"
            ));
        }
        left_out.iter().for_each(|words| tell(&format!("LEFT OUT: {words}")));
        let cases = Case::all(&options.figures, max_connections, machine.processors);
        let size = Size { duration: options.seconds, idle: IDLE.min(max_connections) };
        let samples = Samples::default();
        let (rounds, start) = (options.rounds, Instant::now());
        let mut run = Self { programs, size, cases, rounds, all: 0, done: 0, start, samples, left_out, failures: 0 };
        run.all = (1..=rounds).map(|round| run.steps(round).len()).sum();
        run
    }

    /// What is measured in a round. Those that are compared with each other are measured one after the other.
    fn steps(&self, round: usize) -> Vec<(Case, Contestant)> {
        let has_all = has_all(round, self.rounds);
        let of = |case: Case| {
            let servers = self.programs.servers();
            servers
                .filter(move |&server| case.is_for(server) && (has_all || is_close(case, server)))
                .map(move |server| (case, server))
        };
        self.cases.iter().copied().flat_map(of).collect()
    }

    fn round(&mut self, round: usize) {
        for (case, server) in self.steps(round) {
            self.announce(round, &format!("{}, {case}", server.name()));
            self.done += 1;
            let process = self.programs.start(server, case);
            match process.and_then(|process| measure(case, server, &process, self.size)) {
                Ok(measured) => {
                    for (quantity, value) in measured {
                        self.samples.add(SampleKey { quantity, case, server }, round, value);
                    }
                }
                Err(error) => {
                    let words = format!("{}, {case}, in round {round}: {error:#}", server.name());
                    tell(&format!("LEFT OUT: {words}"));
                    self.left_out.push(words);
                    self.failures += usize::from(server.is_ours() || server == Contestant::BareLoop);
                }
            }
        }
    }

    /// Says what comes, and how long everything else will take.
    fn announce(&self, round: usize, what: &str) {
        let (done, all) = (self.done, self.all);
        let each = match done {
            // A guess, until there is something to go by.
            0..10 => (self.size.warmup() + self.size.duration).as_secs_f64() + 0.2,
            _ => self.start.elapsed().as_secs_f64() / done as f64,
        };
        let left = match each * (all - done) as f64 {
            seconds @ ..90.0 => format!("{seconds:.0} s"),
            seconds => format!("{:.0} min", seconds / 60.0),
        };
        tell(&format!("round {round}/{}, {}/{all}: {what} ({left} left)", self.rounds, done + 1));
    }

    fn write(&self, options: &Options, machine: &Machine, rounds: usize) -> Result<()> {
        let page = Page {
            machine,
            rounds,
            duration: options.seconds,
            idle: self.size.idle,
            left_out: &self.left_out,
            samples: &self.samples,
        };
        for (name, text) in page.files() {
            let path = options.out.join(name);
            let folder = path.parent().expect("a file is in a folder");
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// Whether a round, from one on, has all figures, or only those where a difference between rounds decides.
const fn has_all(round: usize, rounds: usize) -> bool {
    (round - 1).is_multiple_of(rounds.div_ceil(ROUNDS_OF_ALL))
}

/// As many as were asked for, or as this process may have.
fn max_connections(asked: usize) -> usize {
    use rustix::process::{Resource, getrlimit};
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    asked.min(usize::try_from(files.saturating_sub(FILES_BESIDES)).unwrap_or(usize::MAX))
}

fn tell(words: &str) {
    // Whoever does not listen gets the page.
    let _ = writeln!(io::stderr(), "{words}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_rounds_of_many_have_all_figures_and_each_of_a_few_does() {
        let of = |rounds| (1..=rounds).filter(|&round| has_all(round, rounds)).collect::<Vec<_>>();
        assert_eq!(of(60), [1, 13, 25, 37, 49]);
        assert_eq!(of(5), [1, 2, 3, 4, 5]);
        assert_eq!(of(1), [1]);
        assert_eq!(of(7), [1, 3, 5, 7]);
    }
}
