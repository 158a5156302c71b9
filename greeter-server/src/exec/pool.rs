//! Turns lines into answers, by processes that run all the time: one thread gives each line to one
//! that is free, and starts others for those that end. Must not know where lines come from.
//!
//! A process that breaks the rule (one line for each, and nothing else) is ended and never asked
//! again: with its answers shifted by one, each client would read another's.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use greeter_core::Rejection;

use super::child::{ExecChild, ExecFault, Progress};
use super::orphans::Orphans;
use super::pause::{pause_after, varied};
use super::pool_thread::PoolEvents;
use super::process::Program;
use super::report::{ExecError, ExecStats};
use super::running::{Channel, LOOK_INTERVAL, MAX_STOP, READ_BYTES};
use super::spawner::{StartOutcome, StartRequest};
use super::waiting::{AskedLine, WaitingLines};
use crate::counter::Counter;
use crate::sync::Sender;

/// How long the first process has to be silent, where there is nothing to ask it.
pub(super) const TRIAL: Duration = Duration::from_millis(500);

/// What a pool is made of.
#[derive(Clone, Debug)]
pub(super) struct PoolOptions {
    pub(super) program: Arc<Program>,
    pub(super) children: usize,
    /// How many lines of one client a process is given at once.
    pub(super) batch: usize,
    pub(super) lines_max: Option<u64>,
    pub(super) probe: Option<Vec<u8>>,
    pub(super) reply_timeout: Option<Duration>,
    pub(super) queue_timeout: Option<Duration>,
    pub(super) max_reply_bytes: usize,
    pub(super) reaps_orphans: bool,
}

/// A message to the thread of a pool.
#[derive(Debug)]
pub(super) enum PoolMessage {
    Ask(AskedLine),
    Started(StartOutcome),
    /// Has these options hold from now on, and all processes replaced; or says why not.
    Replace {
        options: Arc<PoolOptions>,
        told: Sender<Result<(), ExecError>>,
    },
    Stop,
}

impl From<StartOutcome> for PoolMessage {
    fn from(outcome: StartOutcome) -> Self {
        Self::Started(outcome)
    }
}

/// What others may know of a pool.
#[derive(Debug, Default)]
pub(super) struct PoolState {
    /// Whether no process has come to answer for a while.
    pub(super) is_down: AtomicBool,
    pub(super) running: Counter,
    pub(super) waiting: Counter,
    pub(super) answered: Counter,
    pub(super) started: Counter,
    pub(super) late: Counter,
    pub(super) strays: Counter,
    pub(super) ended: Counter,
    pub(super) failed_starts: Counter,
}

/// The thread's own.
pub(super) struct ExecPool {
    options: Arc<PoolOptions>,
    events: PoolEvents<PoolMessage>,
    state: Arc<PoolState>,
    /// The processes, also those that are to end, each with its place.
    children: BTreeMap<usize, (ExecChild, usize)>,
    next_number: usize,
    places: Vec<ChildPlace>,
    /// Places whose process is free, perhaps.
    idle: Vec<usize>,
    waiting: WaitingLines,
    trial: Option<OptionsOnTrial>,
    /// Places whose process is to be replaced, one after the other.
    outdated: VecDeque<usize>,
    /// Whether there has been a process that was good.
    has_begun: bool,
    /// Processes whose stderr was not read to its end.
    talking: Vec<usize>,
    /// When there is something to do at the latest.
    look_at: Option<Instant>,
    starting: usize,
    orphans: Orphans,
    stops_by: Option<Instant>,
    buffer: Vec<u8>,
}

/// Options that hold once the first process with them is good, and who is to be told whether it is.
struct OptionsOnTrial {
    options: Arc<PoolOptions>,
    told: Sender<Result<(), ExecError>>,
}

/// Where one process is at a time, and the next comes when that has gone.
#[derive(Debug, Default)]
struct ChildPlace {
    current: Option<usize>,
    next: Next,
    /// How many processes in a row have ended before they had read a line.
    failures: u32,
}

/// The process that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    None,
    Pausing {
        until: Instant,
    },
    Starting {
        number: usize,
    },
    /// It has to answer the probe, or to be silent for a while, before it is given lines.
    OnTrial {
        child: usize,
        /// Until when, if it is to be silent.
        silent_until: Option<Instant>,
    },
}

impl ExecPool {
    pub(super) fn new(options: Arc<PoolOptions>, events: PoolEvents<PoolMessage>, state: Arc<PoolState>) -> Self {
        let waiting = WaitingLines::new(options.batch);
        Self {
            options,
            events,
            state,
            children: BTreeMap::new(),
            next_number: 0,
            places: Vec::new(),
            idle: Vec::new(),
            waiting,
            trial: None,
            outdated: VecDeque::new(),
            has_begun: false,
            talking: Vec::new(),
            look_at: None,
            starting: 0,
            orphans: Orphans::default(),
            stops_by: None,
            buffer: vec![0; READ_BYTES],
        }
    }

    /// Answers lines until it is to stop, and its processes have ended.
    pub(super) fn run(mut self) {
        while !self.has_stopped() {
            // Who was not read to the end has its turn at once.
            let until = if self.talking.is_empty() { self.look_at } else { Some(Instant::now()) };
            let events = self.events.wait(until);
            let now = Instant::now();
            let talking = mem::take(&mut self.talking).into_iter().map(|number| (number, Channel::Stderr));
            for (number, channel) in events.into_iter().chain(talking) {
                self.on_event(number, channel, now);
            }
            for message in self.events.take_mail() {
                self.take(message, now);
            }
            if self.look_at.is_some_and(|at| at <= now) {
                self.look(now);
            }
            self.give_lines(now);
            self.publish();
        }
    }

    fn has_stopped(&self) -> bool {
        let is_over = |by| self.children.is_empty() && self.starting == 0 || Instant::now() >= by;
        self.stops_by.is_some_and(is_over)
    }

    fn take(&mut self, message: PoolMessage, now: Instant) {
        match message {
            PoolMessage::Ask(question) if self.is_down() || self.stops_by.is_some() => question.reject(Rejection::Busy),
            PoolMessage::Ask(question) => {
                if let Some(timeout) = self.options.queue_timeout {
                    self.look_by(question.asked.checked_add(timeout));
                }
                self.waiting.push(question);
            }
            PoolMessage::Started(outcome) => self.started(outcome, now),
            PoolMessage::Replace { options, told } => self.replace(options, told),
            PoolMessage::Stop => self.stop(now),
        }
    }
}

/// Lines.
impl ExecPool {
    /// Gives lines to those who are free.
    fn give_lines(&mut self, now: Instant) {
        while !self.waiting.is_empty()
            && let Some(place) = self.idle.pop()
        {
            let current = self.places.get(place).and_then(|place| place.current);
            let Some(number) = current.filter(|number| self.children[number].0.is_idle()) else { continue };
            // What it has written by now is no answer to what it is given next.
            if !self.read(number, now) {
                continue;
            }
            let Some((child, _)) = self.children.get_mut(&number) else { continue };
            let lines = self.waiting.take(self.options.batch);
            if lines.is_empty() {
                return self.idle.push(place);
            }
            let given = child.give(lines, self.options.reply_timeout, now);
            let until = child.until;
            self.look_by(until);
            if let Err(fault) = given {
                self.failed(number, &fault, now);
            }
        }
    }

    /// Reads what a process has written, and returns whether it may be asked again.
    fn read(&mut self, number: usize, now: Instant) -> bool {
        let Some((child, place)) = self.children.get_mut(&number) else { return false };
        let (place, timeout) = (*place, self.options.reply_timeout);
        let Progress { answered, fault } = child.read(self.options.max_reply_bytes, timeout, &mut self.buffer, now);
        let (until, is_idle, closed, has_answered) =
            (child.until, child.is_idle(), child.running.closed(), !answered.is_empty());
        if has_answered {
            self.state.answered.add(answered.len() as u64);
            self.look_by(until);
            if let Some(place) = self.places.get_mut(place) {
                place.failures = 0;
            }
        }
        if let Some(closed) = closed {
            self.look_by(Some(closed + LOOK_INTERVAL));
        }
        for (question, answer) in answered {
            question.answer(&answer);
        }
        if let Some(fault) = fault {
            self.failed(number, &fault, now);
            return false;
        }
        if has_answered && is_idle {
            self.became_idle(place, number, now);
        }
        is_idle
    }

    /// A process has answered all that it was given.
    fn became_idle(&mut self, place: usize, number: usize, now: Instant) {
        let is_worn = self.children.get(&number).is_some_and(|(child, _)| child.is_worn());
        match self.places.get(place) {
            Some(ChildPlace { next: Next::OnTrial { child, .. }, .. }) if *child == number => {
                self.install(place, number, now);
            }
            Some(ChildPlace { current, next, .. }) if *current == Some(number) => {
                if is_worn && *next == Next::None {
                    self.start(place);
                }
                self.idle.push(place);
            }
            // Another has its place.
            _ => self.retire(number, now),
        }
    }

    /// Rejects all that wait, since nobody is there to answer, and nobody knows for how long.
    fn reject_all(&mut self) {
        self.waiting.drain().for_each(|question| question.reject(Rejection::Busy));
    }
}

/// Processes.
impl ExecPool {
    fn on_event(&mut self, number: usize, channel: Channel, now: Instant) {
        let Some((child, _)) = self.children.get_mut(&number) else { return };
        match channel {
            Channel::Stdin => {
                if let Err(fault) = child.write() {
                    self.failed(number, &fault, now);
                }
            }
            Channel::Stdout => drop(self.read(number, now)),
            Channel::Stderr => {
                if child.running.read_stderr(&mut self.buffer) {
                    self.talking.push(number);
                }
            }
            Channel::Life => self.look_at_life(number, now),
        }
    }

    /// Looks whether a process has ended.
    fn look_at_life(&mut self, number: usize, now: Instant) {
        // It may have answered before.
        self.read(number, now);
        let Some((child, _)) = self.children.get_mut(&number) else { return };
        let Some(status) = child.running.try_reap(&mut self.buffer) else { return };
        let pid = child.running.id();
        self.failed(number, &ExecFault::Ended(status), now);
        tracing::debug!(pid, %status, "A program has ended.");
        self.children.remove(&number);
    }

    /// Has another process started for this place.
    fn start(&mut self, place: usize) {
        if self.stops_by.is_some() {
            return;
        }
        let options = self.trial.as_ref().filter(|_| place == 0).map_or(&self.options, |trial| &trial.options);
        let number = self.next_number;
        self.next_number += 1;
        self.starting += 1;
        self.places[place].next = Next::Starting { number };
        self.events.spawn(StartRequest { program: Arc::clone(&options.program), place, number });
    }

    /// A process runs, or could not be started.
    fn started(&mut self, StartOutcome { request, started }: StartOutcome, now: Instant) {
        self.starting -= 1;
        let StartRequest { place, number, .. } = request;
        // If another was wanted meanwhile, this one ends.
        let is_wanted = |place: &ChildPlace| place.next == Next::Starting { number };
        if self.stops_by.is_some() || !self.places.get(place).is_some_and(is_wanted) {
            return;
        }
        let child = started.and_then(|started| ExecChild::new(started, number, self.events.registry()));
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                let program = request.program.display().to_string();
                tracing::error!(program, %error, "Cannot start a program.");
                self.state.failed_starts.add(1);
                return self.start_failed(place, ExecError::NotStarted { program, source: error }, now);
            }
        };
        self.state.started.add(1);
        tracing::debug!(pid = child.running.id(), "A program was started.");
        let is_trial = place == 0 && self.trial.is_some();
        let options = self.trial.as_ref().filter(|_| is_trial).map_or(&self.options, |trial| &trial.options);
        child.lines_max = options.lines_max.map_or(u64::MAX, varied);
        let given = match &options.probe {
            Some(probe) => child.give([AskedLine::probe(probe)].into(), options.reply_timeout, now),
            None => Ok(()),
        };
        let (has_probe, until) = (options.probe.is_some(), child.until);
        self.children.insert(number, (child, place));
        self.look_by(until);
        let has_failed = self.places[place].failures > 0;
        if !has_probe && !is_trial && !has_failed {
            return self.install(place, number, now);
        }
        let silent_until = (!has_probe).then(|| now + TRIAL);
        self.places[place].next = Next::OnTrial { child: number, silent_until };
        self.look_by(silent_until);
        if let Err(fault) = given {
            self.failed(number, &fault, now);
        }
    }

    /// A process is good, and takes the place of the one before.
    fn install(&mut self, place: usize, number: usize, now: Instant) {
        self.has_begun = true;
        self.places[place].next = Next::None;
        if let Some(before) = self.places[place].current.replace(number)
            && self.children.get(&before).is_some_and(|(child, _)| child.is_idle())
        {
            self.retire(before, now);
        }
        self.idle.push(place);
        if place == 0
            && let Some(OptionsOnTrial { options, told }) = self.trial.take()
        {
            self.waiting.set_batch(options.batch);
            self.options = options;
            self.look_for_orphans(now);
            let _ = told.send(Ok(()));
            self.resize(now);
        }
        self.replace_next();
    }

    /// Has as many places as there are to be, and the processes of the others replaced.
    fn resize(&mut self, now: Instant) {
        let (before, children) = (self.places.len(), self.options.children);
        (1..before).for_each(|place| self.forget_next(place, now));
        for place in self.places.drain(children.min(before)..).collect::<Vec<_>>() {
            let is_idle = |number: &usize| self.children.get(number).is_some_and(|(child, _)| child.is_idle());
            if let Some(number) = place.current.filter(is_idle) {
                self.retire(number, now);
            }
        }
        self.places.resize_with(children, ChildPlace::default);
        self.outdated = (1..before.min(children)).collect();
        (before..children).for_each(|place| self.start(place));
    }

    /// What is on its way for a place is not what is wanted any more.
    fn forget_next(&mut self, place: usize, now: Instant) {
        match self.places[place].next {
            Next::OnTrial { child, .. } => self.retire(child, now),
            Next::Starting { .. } => {}
            Next::None | Next::Pausing { .. } => return,
        }
        self.places[place].next = Next::None;
    }

    /// Replaces the next process that is to be replaced.
    fn replace_next(&mut self) {
        while let Some(place) = self.outdated.pop_front() {
            if self.places.get(place).is_some_and(|place| place.next == Next::None) {
                return self.start(place);
            }
        }
    }

    /// A process that is free is not needed any more.
    fn retire(&mut self, number: usize, now: Instant) {
        if let Some((child, _)) = self.children.get_mut(&number) {
            child.running.end(false, now);
            let next_signal = child.running.next_signal();
            self.look_by(next_signal);
        }
    }

    /// A process has broken the rule, or has ended. It is not asked again.
    fn failed(&mut self, number: usize, fault: &ExecFault, now: Instant) {
        let Some((child, place)) = self.children.get_mut(&number) else { return };
        if child.running.is_ending() {
            return;
        }
        let place = *place;
        child.running.read_stderr(&mut self.buffer);
        let (mut seen, mut unseen) = child.take_asked();
        // To be given a line is no work.
        let has_worked = child.has_answered() || seen.iter().any(AskedLine::is_of_client);
        let last_words = child.running.last_words().to_owned();
        let said = Some(&*last_words).filter(|words| !words.is_empty());
        child.running.end(true, now);
        let next_signal = child.running.next_signal();
        tracing::error!(pid = child.running.id(), reason = %fault, said, "A program failed, and is not asked again.");
        self.look_by(next_signal);
        match fault {
            ExecFault::Late(_) => self.state.late.add(1),
            ExecFault::Ended(_) | ExecFault::Closed | ExecFault::Pipe(_) => self.state.ended.add(1),
            ExecFault::Stray(_) | ExecFault::Surplus(_) | ExecFault::TooLong(_) => self.state.strays.add(1),
        }
        if let ExecFault::Late(_) = fault
            // Also if it was not read: its time is over with any other process as well.
            && let Some(late) = seen.pop_front().or_else(|| unseen.pop_front())
        {
            late.reject(Rejection::ReplyTimeout);
        }
        // Of what it has seen, nobody knows what has become of it.
        seen.into_iter().for_each(|question| question.fail("the program failed before it had answered"));
        let until = unseen.front().and_then(|question| question.until);
        unseen.into_iter().rev().filter(AskedLine::is_of_client).for_each(|question| self.waiting.push_front(question));
        self.look_by(until);
        self.lost(place, number, fault, &last_words, has_worked, now);
    }

    /// A place has lost its process, or the one that was to come.
    fn lost(
        &mut self,
        place: usize,
        number: usize,
        fault: &ExecFault,
        last_words: &str,
        has_worked: bool,
        now: Instant,
    ) {
        let Some(of_place) = self.places.get_mut(place) else { return };
        let is_next = matches!(of_place.next, Next::OnTrial { child, .. } if child == number);
        if is_next {
            let program =
                self.trial.as_ref().map_or(&self.options, |trial| &trial.options).program.display().to_string();
            let error = ExecError::Failed { program, reason: fault.to_string(), last_words: last_words.to_owned() };
            return self.start_failed(place, error, now);
        }
        if of_place.current == Some(number) {
            of_place.current = None;
            // With a line that ends it, a client has this place wait for a moment, and no longer.
            of_place.failures += u32::from(!has_worked);
            if of_place.next == Next::None {
                self.pause(place, now);
            }
        }
    }

    /// The process that was to come does not.
    fn start_failed(&mut self, place: usize, error: ExecError, now: Instant) {
        if place == 0
            && let Some(OptionsOnTrial { told, .. }) = self.trial.take()
        {
            self.places[place].next = Next::None;
            if !self.has_begun {
                self.stop(now);
            } else if self.places[place].current.is_none() {
                self.pause(place, now);
            }
            let _ = told.send(Err(error));
            return;
        }
        self.places[place].failures += 1;
        self.pause(place, now);
        self.replace_next();
    }

    /// Waits before another process is started: longer each time that one has ended before it had
    /// read a line.
    fn pause(&mut self, place: usize, now: Instant) {
        let pause = pause_after(self.places[place].failures);
        self.places[place].next = Next::Pausing { until: now + pause };
        self.look_by(Some(now + pause));
        if self.is_down() {
            // Who is refused and asks whether it is ready is told why.
            self.publish();
            self.reject_all();
        }
    }

    /// Returns whether no place has a process, and none has come to answer since.
    fn is_down(&self) -> bool {
        !self.places.is_empty() && self.places.iter().all(|place| place.current.is_none() && place.failures > 0)
    }
}

/// Time, and the end.
impl ExecPool {
    /// Notes that there is something to do then.
    fn look_by(&mut self, at: Option<Instant>) {
        self.look_at = self.look_at.into_iter().chain(at).min();
    }

    /// Does what is due, and finds out when the next is.
    fn look(&mut self, now: Instant) {
        self.look_at = None;
        self.look_for_orphans(now);
        let late = self.waiting.expire(self.options.queue_timeout, now);
        self.look_by(late);
        for number in self.children.keys().copied().collect::<Vec<_>>() {
            let Some((child, _)) = self.children.get_mut(&number) else { continue };
            child.running.signal_if_due(now);
            if let Some(closed) = child.running.closed() {
                self.look_at_life(number, now);
                if closed + LOOK_INTERVAL <= now {
                    self.failed(number, &ExecFault::Closed, now);
                } else {
                    self.look_by(Some(closed + LOOK_INTERVAL));
                }
            } else if child.running.is_ending() || cfg!(not(target_os = "linux")) {
                self.look_at_life(number, now);
                self.look_by(Some(now + LOOK_INTERVAL));
            } else if child.until.is_some_and(|until| until <= now) && self.is_late(number, now) {
                let silence = self.children[&number].0.silence();
                self.failed(number, &ExecFault::Late(silence), now);
            }
            let until = self.children.get(&number).and_then(|(child, _)| child.until);
            self.look_by(until);
        }
        // There may be fewer places behind one that is settled.
        for place in 0..self.places.len() {
            match self.places.get(place).map_or(Next::None, |place| place.next) {
                Next::Pausing { until } if until <= now => self.start(place),
                Next::OnTrial { child, silent_until: Some(until) } if until <= now => self.install(place, child, now),
                Next::Pausing { until } | Next::OnTrial { silent_until: Some(until), .. } => self.look_by(Some(until)),
                Next::None | Next::Starting { .. } | Next::OnTrial { silent_until: None, .. } => {}
            }
        }
    }

    fn look_for_orphans(&mut self, now: Instant) {
        if self.options.reaps_orphans {
            let ours = self.children.values().map(|(child, _)| child.running.id());
            let next = self.orphans.look(ours, now);
            self.look_by(Some(next));
        }
    }

    /// Returns whether a process has not answered though its time is over: what it has written by
    /// then counts.
    fn is_late(&mut self, number: usize, now: Instant) -> bool {
        self.read(number, now);
        self.children.get(&number).is_some_and(|(child, _)| child.until.is_some_and(|until| until <= now))
    }

    /// Has other options hold once a process with them is good.
    fn replace(&mut self, options: Arc<PoolOptions>, told: Sender<Result<(), ExecError>>) {
        if self.stops_by.is_some() || self.trial.is_some() {
            let _ = told.send(Err(ExecError::Busy));
            return;
        }
        self.trial = Some(OptionsOnTrial { options, told });
        if self.places.is_empty() {
            self.places.push(ChildPlace::default());
        }
        self.forget_next(0, Instant::now());
        self.start(0);
    }

    fn stop(&mut self, now: Instant) {
        if self.stops_by.is_some() {
            return;
        }
        self.stops_by = Some(now + MAX_STOP);
        self.look_by(Some(now + LOOK_INTERVAL));
        self.reject_all();
        self.places.clear();
        if let Some(OptionsOnTrial { told, .. }) = self.trial.take() {
            let _ = told.send(Err(ExecError::Busy));
        }
        for (child, _) in self.children.values_mut().filter(|(child, _)| !child.running.is_ending()) {
            let (seen, unseen) = child.take_asked();
            seen.into_iter().chain(unseen).for_each(|question| question.reject(Rejection::Busy));
            child.running.end(false, now);
        }
    }

    fn publish(&self) {
        self.state.is_down.store(self.is_down(), Ordering::Relaxed);
        self.state.running.set(self.children.len() as u64);
        self.state.waiting.set(self.waiting.len() as u64);
    }
}

/// Nobody answers any more, also if this thread has panicked.
impl Drop for ExecPool {
    fn drop(&mut self) {
        self.state.is_down.store(true, Ordering::Relaxed);
    }
}

impl PoolState {
    pub(super) fn stats(&self) -> ExecStats {
        ExecStats {
            running: self.running.get(),
            waiting: self.waiting.get(),
            answered: self.answered.get(),
            started: self.started.get(),
            failed_starts: self.failed_starts.get(),
            late: self.late.get(),
            strays: self.strays.get(),
            ended: self.ended.get(),
        }
    }
}
