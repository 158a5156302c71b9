//! A load under way: starts its threads, collects what they tell, and makes the report.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::before;
use super::config::{Lines, Load, LoadContent};
use super::error::LoadError;
use super::generator::{Generator, SharedStatus};
use super::report::Report;
use super::schedule::{Pace, Schedule};
use super::workload::{Workload, Workloads};
use crate::load::generator::connection::LoadConnection;
use crate::load::generator::script::ScriptGenerator;
use crate::load::generator::socket::{self, LoadSocket};
use crate::load::measure::accounting::Accounting;
use crate::load::measure::aggregator::Aggregator;
use crate::load::measure::clock::{Clock, nanoseconds};
use crate::load::measure::latency::Time;
use crate::load::measure::thread_recorder::{RecorderMessage, ThreadRecorder, ThreadResult};
use crate::net::Route;
use crate::run::RunOptions;
use crate::session::Target;
use crate::talk::{Action, Destination, Script, Secrets};

/// The most connections: as many as an address has ports.
const MAX_CONNECTIONS: usize = 65_535;

/// The most lines in flight on a connection: their bytes fit into any socket's buffer, or they are
/// very long.
const MAX_PIPELINE: usize = 100_000;

/// How long a load that was told to stop is waited for: a script may be in the middle of something.
const STOPPING: Duration = Duration::from_secs(1);

/// How long one script may take.
const MAX_SCRIPT_TIME: Duration = Duration::from_secs(60);

/// Opens all connections and starts a load.
///
/// # Errors
///
/// What is asked for makes no sense, the server is not there or not here, or not all connections
/// could be opened.
///
/// ```no_run
/// use std::time::Duration;
/// use greeter_client::load::{self, Lines, Load};
///
/// let load = Load::lines("127.0.0.1:8080".parse()?, Lines::new(["Bob".parse()?]));
/// let mut running = load::start(load)?;
/// while let Some(progress) = running.wait(Duration::from_millis(500)) {
///     println!("{} replies, {} errors", progress.replies, progress.errors);
/// }
/// println!("{}", running.finish()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn start(load: Load) -> Result<RunningLoad, LoadError> {
    let (sender, messages) = mpsc::channel();
    let schedule = schedule(&load)?;
    let mut route = Route { proxy: load.proxy, tls: load.tls.clone(), ..Route::to(load.target.clone(), load.timeout) };
    let stop = Arc::new(AtomicBool::new(false));
    let (clock, threads) = match &load.content {
        LoadContent::Lines(lines) => {
            load.before.as_ref().map_or(Ok(()), before::check)?;
            let (eol, connections, may_capture) = (load.eol, load.connections, load.before.is_some());
            let workloads = Workloads::new(lines, &load.variables, eol, load.pipeline, connections, may_capture)?;
            let first = socket::connect_first(&mut route, load.anywhere)?;
            let secrets = Mutex::new(load.variables.secrets().clone());
            let sockets = socket::connect_all(first, &route, connections, |number, connected| {
                let (connected, variables) = match &load.before {
                    Some(script) => before::run(&load, script, number, connected, &route)?,
                    None => return Ok((connected, workloads.of(number, &load.variables)?)),
                };
                if variables.secrets() != load.variables.secrets() {
                    secrets.lock().unwrap_or_else(PoisonError::into_inner).extend(variables.secrets());
                }
                Ok((connected, workloads.of(number, &variables)?))
            })?;
            let secrets = Arc::new(secrets.into_inner().unwrap_or_else(PoisonError::into_inner));
            let threads = LoadThreads { schedule, stop: &stop, sender: &sender, secrets };
            (threads.start(&load, sockets, lines)?, load.threads)
        }
        LoadContent::Scripts(scripts) => {
            check_scripts(scripts, load.anywhere)?;
            // It is closed at once: a server that greets whoever connects may find that odd, but it
            // is there.
            drop(socket::connect_first(&mut route, load.anywhere)?);
            (start_scripts(&load, scripts, schedule, &stop, sender)?, 1)
        }
    };
    let aggregator = Aggregator::new(threads, load.planned(), schedule.pace != Pace::Closed);
    Ok(RunningLoad { load, clock, stop, messages, aggregator, told: (Duration::ZERO, 0), stopped: None, failure: None })
}

fn schedule(load: &Load) -> Result<Schedule, LoadError> {
    let ranges = [
        ("connections", load.connections, MAX_CONNECTIONS),
        ("pipeline", load.pipeline, MAX_PIPELINE),
        ("threads", load.threads, load.connections),
    ];
    for (what, value, max) in ranges {
        if !(1..=max).contains(&value) {
            return Err(LoadError::OutOfRange { what, value, max });
        }
    }
    let total = load.total();
    match total {
        Some(0) => return Err(LoadError::NothingToSend),
        None if load.duration.is_zero() => return Err(LoadError::NoTime),
        _ => {}
    }
    let warmup = nanoseconds(load.warmup);
    let end = match (total, load.rate) {
        (None, _) => warmup.saturating_add(nanoseconds(load.duration)),
        (Some(total), Some(rate)) => rate.intended(total - 1).saturating_add(1),
        (Some(_), None) => u64::MAX,
    };
    Ok(Schedule {
        pace: load.rate.map_or(Pace::Closed, Pace::Open),
        pipeline: load.pipeline,
        connections: load.connections as u64,
        threads: load.threads as u64,
        warmup,
        end,
        total,
        reply_timeout: load.timeout.map_or(u64::MAX, nanoseconds),
    })
}

/// What the threads that send lines have in common.
struct LoadThreads<'a> {
    schedule: Schedule,
    stop: &'a Arc<AtomicBool>,
    sender: &'a Sender<RecorderMessage>,
    /// What is not to be shown of lines, also of those that a connection has heard before.
    secrets: Arc<Secrets>,
}

impl LoadThreads<'_> {
    /// Deals the connections to threads, and lets these begin.
    fn start(&self, load: &Load, sockets: Vec<(LoadSocket, Arc<Workload>)>, lines: &Lines) -> Result<Clock, LoadError> {
        let mut dealt: Vec<Vec<LoadConnection>> = (0..load.threads).map(|_| Vec::new()).collect();
        for (number, (socket, workload)) in sockets.into_iter().enumerate() {
            let first = if lines.once { 0 } else { number % lines.lines.len() };
            let connection = LoadConnection::new(socket, workload, first);
            dealt[number % load.threads].push(connection);
        }
        let status =
            Arc::new(SharedStatus { stop: Arc::clone(self.stop), connections: AtomicUsize::new(load.connections) });
        let clock = Clock::start();
        for (thread, connections) in dealt.into_iter().enumerate() {
            let is_open = self.schedule.pace != Pace::Closed;
            let recorder = ThreadRecorder::new(thread, self.sender.clone(), self.schedule.warmup, is_open);
            let accounting = Accounting { schedule: self.schedule, recorder, secrets: Arc::clone(&self.secrets) };
            let status = Arc::clone(&status);
            let generator = Generator::new(thread as u64, accounting, clock, load.eol, status, connections);
            let generator = generator.map_err(LoadError::Poll)?;
            let failed = self.sender.clone();
            let run = move || {
                if let Err(error) = generator.run() {
                    // Whoever does not listen any more has his report.
                    let _ = failed.send(RecorderMessage::Ended(Err(error)));
                }
            };
            spawn(run).inspect_err(|_| self.stop.store(true, Ordering::Relaxed))?;
        }
        Ok(clock)
    }
}

fn start_scripts(
    load: &Load,
    scripts: &[Script],
    schedule: Schedule,
    stop: &Arc<AtomicBool>,
    messages: Sender<RecorderMessage>,
) -> Result<Clock, LoadError> {
    let mut target = Target::from(load.target.clone());
    let timeout = load.timeout.unwrap_or(MAX_SCRIPT_TIME);
    target.timeout = timeout;
    target.proxy = load.proxy;
    target.tls = load.tls.clone();
    let mut options = RunOptions::to(target);
    options.timeout = timeout;
    options.max_time = MAX_SCRIPT_TIME;
    options.eol = load.eol;
    options.variables = load.variables.clone();
    let clock = Clock::start();
    let scripts =
        ScriptGenerator { schedule, scripts: scripts.to_vec(), options, clock, stop: Arc::clone(stop), messages };
    spawn(move || scripts.run())?;
    Ok(clock)
}

fn spawn(act: impl FnOnce() + Send + 'static) -> Result<(), LoadError> {
    thread::Builder::new().name("load".to_owned()).spawn(act).map(drop).map_err(LoadError::Thread)
}

/// Scripts can open connections to wherever they like.
fn check_scripts(scripts: &[Script], anywhere: bool) -> Result<(), LoadError> {
    if scripts.iter().all(|script| script.steps().is_empty()) {
        return Err(LoadError::NothingToSend);
    }
    let steps = scripts.iter().flat_map(Script::steps);
    let destinations = steps.filter_map(|step| match step.action() {
        Action::Connect(connect) => connect.to.as_ref(),
        _ => None,
    });
    for destination in destinations.filter(|_| !anywhere) {
        match destination {
            Destination::Address(address) if address.is_loopback() => {}
            Destination::Address(address) => return Err(LoadError::Remote(address.to_string())),
            Destination::Template(template) => return Err(LoadError::Remote(template.to_string())),
        }
    }
    Ok(())
}

/// The progress of a load.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LoadProgress {
    /// The time since the start, warm-up included.
    pub elapsed: Duration,
    /// Right replies since the end of the warm-up.
    pub replies: u64,
    /// Right replies per second since the last call, warm-up excluded.
    pub per_second: f64,
    /// Errors so far.
    pub errors: u64,
    /// The 99th percentile of the times since the end of the warm-up, if there are any.
    pub p99: Option<Time>,
}

/// A running load. Dropping it stops it.
#[derive(Debug)]
pub struct RunningLoad {
    load: Load,
    clock: Clock,
    stop: Arc<AtomicBool>,
    messages: Receiver<RecorderMessage>,
    aggregator: Aggregator,
    /// When somebody last asked how far it was, and how many replies there were.
    told: (Duration, u64),
    stopped: Option<Instant>,
    failure: Option<io::Error>,
}

impl RunningLoad {
    /// Waits for the end, at most for `at_most`. Returns [`None`] at the end, else the progress.
    pub fn wait(&mut self, at_most: Duration) -> Option<LoadProgress> {
        let start = Instant::now();
        while self.is_under_way() {
            let left = at_most.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Some(self.progress());
            }
            let left = self.stopped.map_or(left, |stopped| left.min(STOPPING.saturating_sub(stopped.elapsed())));
            match self.messages.recv_timeout(left) {
                Ok(message) => self.failure = self.aggregator.take(message).err(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.failure = Some(io::Error::other("it ended without a word"));
                }
            }
        }
        None
    }

    /// Stops the load. What is in flight is not waited for, and is no error.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.stopped.get_or_insert_with(Instant::now);
    }

    /// Waits for the end and returns the report.
    ///
    /// # Errors
    ///
    /// [`LoadError::Thread`]: what was measured is not all.
    pub fn finish(mut self) -> Result<Report, LoadError> {
        while self.wait(Duration::MAX).is_some() {}
        match self.failure.take() {
            Some(error) => Err(LoadError::Thread(error)),
            None => Ok(self.report()),
        }
    }

    fn is_under_way(&self) -> bool {
        let is_given_up = self.stopped.is_some_and(|stopped| stopped.elapsed() >= STOPPING);
        self.failure.is_none() && !self.aggregator.has_ended() && !is_given_up
    }

    fn progress(&mut self) -> LoadProgress {
        let (elapsed, replies) = (Duration::from_nanos(self.clock.now()), self.aggregator.counts.replies);
        let (before, replies_before) = std::mem::replace(&mut self.told, (elapsed, replies));
        LoadProgress {
            elapsed,
            replies,
            per_second: (replies - replies_before) as f64 / (elapsed - before).as_secs_f64(),
            errors: self.aggregator.counts.errors(),
            p99: self.aggregator.latency().quantile(0.99),
        }
    }

    fn report(&mut self) -> Report {
        let ended = &self.aggregator.ended;
        let at = ended.iter().map(|ended: &ThreadResult| ended.at).max();
        let at = Duration::from_nanos(at.unwrap_or_else(|| self.clock.now()));
        Report::new(self.load.clone(), &mut self.aggregator, at, self.stopped.is_some())
    }
}

impl Drop for RunningLoad {
    fn drop(&mut self) {
        self.stop();
    }
}
