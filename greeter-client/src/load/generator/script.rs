//! Scripts as the unit of load: each runs from its first connect to its last check, on a thread for
//! each that runs at a time.
//!
//! The threads are those of the runner that `greeter-client run` has, with all that it knows; a
//! session costs a few hundred microseconds of processor time, most of it for the threads that read
//! its connections. That is enough for what a script is about, which is what a whole session takes;
//! lines are what a server is saturated with.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use crate::load::measure::clock::{Clock, CpuMeter, CpuScope};
use crate::load::measure::thread_recorder::{LATE, LoadErrorKind, RecorderMessage, TICK, ThreadRecorder, ThreadResult};
use crate::load::schedule::{Pace, Schedule};
use crate::net::escape::one_line;
use crate::run::{Outcome, RunOptions, run};
use crate::talk::Script;

/// How long a thread sleeps before it looks whether it is told to stop.
const NAP: Duration = Duration::from_millis(20);

/// Scripts under load.
pub(crate) struct ScriptGenerator {
    pub(crate) schedule: Schedule,
    pub(crate) scripts: Vec<Script>,
    pub(crate) options: RunOptions,
    pub(crate) clock: Clock,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) messages: Sender<RecorderMessage>,
}

/// What all threads share.
struct SharedRuns<'a> {
    scripts: &'a ScriptGenerator,
    recorder: Mutex<ThreadRecorder>,
    /// How many runs have begun.
    begun: AtomicU64,
    /// How many threads have ended before the plan did.
    lost_early: AtomicU64,
}

impl ScriptGenerator {
    /// Runs them until the plan ends, or until it is told to stop and those under way have ended.
    pub(crate) fn run(self) {
        let Schedule { pace, warmup, connections, end, total, .. } = self.schedule;
        let recorder = ThreadRecorder::new(0, self.messages.clone(), warmup, pace != Pace::Closed);
        let stage = SharedRuns {
            scripts: &self,
            recorder: Mutex::new(recorder),
            begun: AtomicU64::new(0),
            lost_early: AtomicU64::new(0),
        };
        let mut meter = None;
        let started = thread::scope(|scope| {
            let stage = &stage;
            let spawn = |slot| thread::Builder::new().spawn_scoped(scope, move || stage.work(slot));
            let workers = (1..=connections as usize).map(spawn).collect::<io::Result<Vec<_>>>();
            let Ok(workers) = workers else {
                self.stop.store(true, Ordering::Relaxed);
                return workers.map(drop);
            };
            while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
                let now = self.clock.now();
                if now >= warmup && meter.is_none() {
                    meter = Some(CpuMeter::start(CpuScope::Process, now));
                }
                stage.recorder().turn(now);
                thread::park_timeout(TICK);
            }
            Ok(())
        });
        let now = self.clock.now();
        let begun = stage.begun.load(Ordering::Relaxed);
        let lost_early = stage.lost_early.load(Ordering::Relaxed);
        let mut recorder = stage.recorder.into_inner().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.schedule.due_by(now).saturating_sub(begun);
        let mut ended = ThreadResult { at: now, waiting, lost_early, used: meter.and_then(|meter| meter.read(now)) };
        if !self.stop.load(Ordering::Relaxed) && (total.is_some() || now >= end) {
            ended.waiting = 0;
            recorder.unanswered(waiting);
            recorder
                .error(LoadErrorKind::Unsent, waiting, || format!("{waiting} runs were due that nobody was free for"));
        }
        match started {
            Ok(()) => recorder.finish(ended),
            Err(error) => drop(self.messages.send(RecorderMessage::Ended(Err(error)))),
        }
    }
}

impl SharedRuns<'_> {
    fn recorder(&self) -> MutexGuard<'_, ThreadRecorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one script after the other, as the `slot`th of those that run at a time. In a closed
    /// loop, no other follows one that finds nobody to connect to: nothing says when it would be
    /// due, but that it is not at once.
    fn work(&self, slot: usize) {
        let clock = self.scripts.clock;
        let mut options = self.scripts.options.clone();
        options.variables.set_slot(slot);
        let mut free = 0;
        while let Some((number, intended)) = self.next() {
            let sent = clock.now();
            self.begin(intended, sent, free);
            let script = &self.scripts.scripts[number as usize % self.scripts.scripts.len()];
            options.variables.set_number(number + 1);
            let outcome = run(script, &options, None);
            free = clock.now();
            let is_unconnected = matches!(&outcome, Outcome::Failed(failure) if failure.error.is_connecting());
            self.end(script, outcome, intended, sent, free);
            if is_unconnected && intended.is_none() {
                let begun = self.begun.load(Ordering::Relaxed);
                let has_more =
                    self.scripts.schedule.total.map_or(free < self.scripts.schedule.end, |total| begun < total);
                self.lost_early.fetch_add(u64::from(has_more), Ordering::Relaxed);
                return;
            }
        }
    }

    /// Waits until another run is due, and tells which one and since when; none at the end.
    fn next(&self) -> Option<(u64, Option<u64>)> {
        let ScriptGenerator { schedule, clock, stop, .. } = self.scripts;
        let is_over = |end: u64| stop.load(Ordering::Relaxed) || clock.now() >= end;
        let Pace::Open(rate) = schedule.pace else {
            let total = schedule.total.unwrap_or(u64::MAX);
            let due = |begun: u64| (!is_over(schedule.end) && begun < total).then_some(begun + 1);
            let number = self.begun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).ok()?;
            return Some((number, None));
        };
        // Runs that are due may begin late, but not for ever, unless it is said how many there are.
        let last = schedule.total.map_or(schedule.end.saturating_add(schedule.reply_timeout), |_| u64::MAX);
        if is_over(last) {
            return None;
        }
        let due = |begun: u64| (rate.intended(begun) < schedule.end).then_some(begun + 1);
        let number = self.begun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).ok()?;
        let intended = rate.intended(number);
        loop {
            let left = intended.saturating_sub(clock.now());
            if left == 0 {
                return Some((number, Some(intended)));
            }
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            thread::sleep(NAP.min(Duration::from_nanos(left)));
        }
    }

    fn begin(&self, intended: Option<u64>, sent: u64, free: u64) {
        let by = intended.map_or(0, |intended| sent.saturating_sub(intended.max(free)));
        let mut recorder = self.recorder();
        recorder.sent(1);
        if by > LATE.as_nanos() as u64 {
            recorder.late(1, by);
        }
    }

    fn end(&self, script: &Script, outcome: Outcome, intended: Option<u64>, sent: u64, now: u64) {
        let schedule = self.scripts.schedule;
        let warmup = schedule.warmup;
        let is_measured = intended.unwrap_or(sent) >= warmup;
        let mut recorder = self.recorder();
        let (kind, why) = match outcome {
            Outcome::Passed => {
                if now >= warmup {
                    recorder.replied(1, schedule.is_in_time(now));
                }
                if is_measured {
                    recorder.answered(now - sent, 1);
                    recorder.responded(now - intended.unwrap_or(sent));
                }
                return recorder.turn(now);
            }
            Outcome::Skipped(reason) => (
                LoadErrorKind::Mismatch,
                format!("{} was skipped: {}", one_line(script.name().as_bytes()), one_line(reason.as_bytes())),
            ),
            Outcome::Failed(failure) => (
                if failure.error.is_connecting() { LoadErrorKind::Unconnected } else { LoadErrorKind::Mismatch },
                format!("{}\n{failure}", one_line(script.name().as_bytes())),
            ),
        };
        recorder.unanswered(u64::from(is_measured));
        recorder.error(kind, 1, || why);
        recorder.turn(now);
    }
}
