//! Scripts as the unit of load: each runs from its first connect to its last check, on a thread for each that runs at a time.
//!
//! The threads are those of the runner that `greeter-client run` has, with all that it knows; a session costs a few hundred
//! microseconds of processor time, most of it for the threads that read its connections. That is enough for what a script is
//! about, which is what a whole session takes; lines are what a server is saturated with.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use crate::load::measure::clock::{Clock, Meter, Whose};
use crate::load::measure::thread_recorder::{Ended, LATE, Message, Mishap, Recorder, TICK};
use crate::load::schedule::{Pace, Plan};
use crate::net::escape::one_line;
use crate::run::{Outcome, RunOptions, run};
use crate::talk::Script;

/// How long a thread sleeps before it looks whether it is told to stop.
const NAP: Duration = Duration::from_millis(20);

/// Scripts under load.
pub(crate) struct Scripts {
    pub(crate) plan: Plan,
    pub(crate) scripts: Vec<Script>,
    pub(crate) options: RunOptions,
    pub(crate) clock: Clock,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) messages: Sender<Message>,
}

/// What all threads share.
struct Stage<'a> {
    scripts: &'a Scripts,
    recorder: Mutex<Recorder>,
    /// How many runs have begun.
    begun: AtomicU64,
    /// How many threads have ended before the plan did.
    missing: AtomicU64,
}

impl Scripts {
    /// Runs them until the plan ends, or until it is told to stop and those under way have ended.
    pub(crate) fn run(self) {
        let Plan { pace, warmup, connections, end, .. } = self.plan;
        let recorder = Recorder::new(0, self.messages.clone(), warmup, pace != Pace::Closed);
        let stage = Stage {
            scripts: &self,
            recorder: Mutex::new(recorder),
            begun: AtomicU64::new(0),
            missing: AtomicU64::new(0),
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
                    meter = Some(Meter::start(Whose::Process, now));
                }
                stage.recorder().turn(now);
                thread::park_timeout(TICK);
            }
            Ok(())
        });
        let now = self.clock.now();
        let begun = stage.begun.load(Ordering::Relaxed);
        let missing = stage.missing.load(Ordering::Relaxed);
        let mut recorder = stage.recorder.into_inner().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.plan.due_by(now).saturating_sub(begun);
        let mut ended = Ended { at: now, waiting, missing, used: meter.and_then(|meter| meter.read(now)) };
        if !self.stop.load(Ordering::Relaxed) && now >= end {
            ended.waiting = 0;
            recorder.never(waiting);
            recorder.mishap(Mishap::Unsent, waiting, || format!("{waiting} runs were due that nobody was free for"));
        }
        match started {
            Ok(()) => recorder.finish(ended),
            Err(error) => drop(self.messages.send(Message::Ended(Err(error)))),
        }
    }
}

impl Stage<'_> {
    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one script after the other, as the `slot`th of those that run at a time. In a closed loop, no other follows one
    /// that finds nobody to connect to: nothing says when it would be due, but that it is not at once.
    fn work(&self, slot: usize) {
        let clock = self.scripts.clock;
        let mut options = self.scripts.options.clone();
        options.variables.set_slot(slot);
        let mut free = 0;
        while let Some((number, planned)) = self.next() {
            let sent = clock.now();
            self.begin(planned, sent, free);
            let script = &self.scripts.scripts[number as usize % self.scripts.scripts.len()];
            let outcome = run(script, &options, None);
            free = clock.now();
            let is_unconnected = matches!(&outcome, Outcome::Failed(failure) if failure.error.is_connecting());
            self.end(script, outcome, planned, sent, free);
            if is_unconnected && planned.is_none() {
                self.missing.fetch_add(u64::from(free < self.scripts.plan.end), Ordering::Relaxed);
                return;
            }
        }
    }

    /// Waits until another run is due, and tells which one and since when; none at the end.
    fn next(&self) -> Option<(u64, Option<u64>)> {
        let Scripts { plan, clock, stop, .. } = self.scripts;
        let is_over = |end: u64| stop.load(Ordering::Relaxed) || clock.now() >= end;
        let Pace::Open(rate) = plan.pace else {
            return (!is_over(plan.end)).then(|| (self.begun.fetch_add(1, Ordering::Relaxed), None));
        };
        // Runs that are due may begin late, but not for ever.
        if is_over(plan.end.saturating_add(plan.patience)) {
            return None;
        }
        let due = |begun: u64| (rate.planned(begun) < plan.end).then_some(begun + 1);
        let number = self.begun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).ok()?;
        let planned = rate.planned(number);
        loop {
            let left = planned.saturating_sub(clock.now());
            if left == 0 {
                return Some((number, Some(planned)));
            }
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            thread::sleep(NAP.min(Duration::from_nanos(left)));
        }
    }

    fn begin(&self, planned: Option<u64>, sent: u64, free: u64) {
        let by = planned.map_or(0, |planned| sent.saturating_sub(planned.max(free)));
        let mut recorder = self.recorder();
        recorder.sent(1);
        if by > LATE.as_nanos() as u64 {
            recorder.late(1, by);
        }
    }

    fn end(&self, script: &Script, outcome: Outcome, planned: Option<u64>, sent: u64, now: u64) {
        let Plan { warmup, end, .. } = self.scripts.plan;
        let is_measured = planned.unwrap_or(sent) >= warmup;
        let mut recorder = self.recorder();
        let (mishap, why) = match outcome {
            Outcome::Passed => {
                if now >= warmup {
                    recorder.heard(1, now < end);
                }
                if is_measured {
                    recorder.answered(now - sent, 1);
                    recorder.responded(now - planned.unwrap_or(sent));
                }
                return recorder.turn(now);
            }
            Outcome::Skipped(reason) => (
                Mishap::Wrong,
                format!("{} was skipped: {}", one_line(script.name().as_bytes()), one_line(reason.as_bytes())),
            ),
            Outcome::Failed(failure) => (
                if failure.error.is_connecting() { Mishap::Unconnected } else { Mishap::Wrong },
                format!("{}\n{failure}", one_line(script.name().as_bytes())),
            ),
        };
        recorder.never(u64::from(is_measured));
        recorder.mishap(mishap, 1, || why);
        recorder.turn(now);
    }
}
