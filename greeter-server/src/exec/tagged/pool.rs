//! Clients to processes that answer many each, and other processes for those that end: one thread
//! drives them all. Must not know what a program says of a client.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use greeter_core::{ClientId, CloseReason, Later, Rejection};

use super::child::{Done, TaggedChild, TaggedFault};
use super::messages::{ClientLink, EndCause, TaggedConfig, TaggedMessage};
use super::report::TaggedStats;
use super::session::answer_and_close;
use super::words::TaggedId;
use crate::counter::Counter;
use crate::exec::orphans::Orphans;
use crate::exec::pause::pause_after;
use crate::exec::pool_thread::PoolEvents;
use crate::exec::report::ExecError;
use crate::exec::running::{Channel, LOOK_INTERVAL, MAX_STOP, READ_BYTES, RunningChild};
use crate::exec::spawner::{StartOutcome, StartRequest};
use crate::push::PushHandle;
use crate::sync::Sender;

/// What others may know of a pool.
#[derive(Debug, Default)]
pub(super) struct TaggedState {
    /// Whether there is a process that new clients can go to.
    is_ready: AtomicBool,
    running: Counter,
    clients: Counter,
    waiting: Counter,
    answered: Counter,
    pushed: Counter,
    started: Counter,
    failed_starts: Counter,
    late: Counter,
    confused: Counter,
    ended: Counter,
}

/// The thread's own.
pub(super) struct TaggedPool {
    config: Arc<TaggedConfig>,
    events: PoolEvents<TaggedMessage>,
    push: PushHandle,
    state: Arc<TaggedState>,
    /// The processes, also those that are to end.
    children: BTreeMap<usize, (TaggedChild, ChildRole)>,
    next_number: usize,
    places: Vec<PlaceState>,
    clients: HashMap<ClientId, Whereabouts>,
    trial: Option<ConfigOnTrial>,
    /// Processes to whom something is to be said.
    unwritten: Vec<usize>,
    /// Processes that were not read to the end.
    unread: Vec<(usize, Channel)>,
    /// When there is something to do at the latest.
    look_at: Option<Instant>,
    starting: usize,
    orphans: Orphans,
    stops_by: Option<Instant>,
    buffer: Vec<u8>,
}

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChildRole {
    /// It has a place, or is to have it once it has greeted.
    Place(usize),
    /// It shows whether options are good.
    Trial,
    /// It has its clients, gets no others, and ends with the last of them.
    Leaving,
}

/// Where one process is at a time, and the next comes when that has gone.
#[derive(Clone, Copy, Debug)]
struct PlaceState {
    process: PlaceProcess,
    /// How many processes in a row have ended before they were given a line.
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PlaceProcess {
    /// None comes before then.
    Pausing { until: Instant },
    /// It is being started, or has not greeted.
    Coming { number: usize },
    /// It takes clients.
    There { number: usize },
}

/// Which process has a client, or had it.
#[derive(Debug)]
struct Whereabouts {
    number: usize,
    id: TaggedId,
    link: Arc<ClientLink>,
}

/// Options that hold once the first process with them has greeted, and who is to be told.
struct ConfigOnTrial {
    config: Arc<TaggedConfig>,
    told: Sender<Result<(), ExecError>>,
    number: usize,
}

impl TaggedPool {
    pub(super) fn new(
        config: Arc<TaggedConfig>,
        events: PoolEvents<TaggedMessage>,
        push: PushHandle,
        state: Arc<TaggedState>,
    ) -> Self {
        Self {
            config,
            events,
            push,
            state,
            children: BTreeMap::new(),
            next_number: 0,
            places: Vec::new(),
            clients: HashMap::new(),
            trial: None,
            unwritten: Vec::new(),
            unread: Vec::new(),
            look_at: None,
            starting: 0,
            orphans: Orphans::default(),
            stops_by: None,
            buffer: vec![0; READ_BYTES],
        }
    }

    /// Drives processes until it is to stop, and they have ended.
    pub(super) fn run(mut self) {
        while !self.has_stopped() {
            // Who was not read to the end has its turn at once.
            let until = if self.unread.is_empty() { self.look_at } else { Some(Instant::now()) };
            let events = self.events.wait(until);
            let now = Instant::now();
            for (number, channel) in mem::take(&mut self.unread).into_iter().chain(events) {
                self.on_event(number, channel, now);
            }
            for message in self.events.take_mail() {
                self.take(message, now);
            }
            if self.look_at.is_some_and(|at| at <= now) {
                self.look(now);
            }
            self.write(now);
            self.publish();
        }
    }

    fn has_stopped(&self) -> bool {
        let is_over = |by| self.children.is_empty() && self.starting == 0 || Instant::now() >= by;
        self.stops_by.is_some_and(is_over)
    }

    fn take(&mut self, message: TaggedMessage, now: Instant) {
        match message {
            TaggedMessage::Open { link, words } => self.open(link, &words, now),
            TaggedMessage::Taken { client } => self.reply_taken(client, now),
            TaggedMessage::Ask { client, text, later } => self.ask(client, &text, later, now),
            TaggedMessage::Left { client, reason } => self.left(client, reason, now),
            TaggedMessage::Started(outcome) => self.started(outcome, now),
            TaggedMessage::Replace { config, told } => self.replace(config, told),
            TaggedMessage::Stop => self.stop(now),
        }
    }
}

/// Clients.
impl TaggedPool {
    /// A client has come: it goes to the process that has the fewest.
    fn open(&mut self, link: Arc<ClientLink>, words: &[u8], now: Instant) {
        let client = link.client;
        let there = self.places.iter().filter_map(|place| place.there());
        let Some(number) = there.min_by_key(|number| self.children[number].0.clients()) else {
            // The last has ended since the client was let in.
            link.set_end(EndCause::Failed);
            let _ = self.push.close(client);
            self.clients.insert(client, Whereabouts { number: usize::MAX, id: TaggedId(0), link });
            return;
        };
        let Some((child, _)) = self.children.get_mut(&number) else { return };
        let id = child.open(Arc::clone(&link), words, now);
        self.clients.insert(client, Whereabouts { number, id, link });
        self.spoke_to(number);
    }

    fn ask(&mut self, client: ClientId, text: &[u8], later: Later, now: Instant) {
        let Some(Whereabouts { number, id, link }) = self.clients.get(&client) else {
            return later.reject(Rejection::Busy);
        };
        let given = match self.children.get_mut(number) {
            Some((child, _)) => child.ask(*id, text, later, now),
            None => Err(later),
        };
        match given {
            Ok(until) => {
                let number = *number;
                self.look_by(until);
                self.spoke_to(number);
            }
            // It has crossed the end of its client.
            Err(later) if link.end_cause() == Some(EndCause::Closed) => answer_and_close(later, Vec::new()),
            Err(later) => later.reject(Rejection::InternalError),
        }
    }

    /// A reply is where what is pushed comes behind it.
    fn reply_taken(&mut self, client: ClientId, now: Instant) {
        if let Some(&Whereabouts { number, id, .. }) = self.clients.get(&client)
            && let Some((child, _)) = self.children.get_mut(&number)
        {
            child.reply_taken(id, &self.push, now);
            self.count(number);
            self.spoke_to(number);
        }
    }

    fn left(&mut self, client: ClientId, reason: Option<CloseReason>, now: Instant) {
        let Some(Whereabouts { number, id, .. }) = self.clients.remove(&client) else { return };
        let Some((child, _)) = self.children.get_mut(&number) else { return };
        let outcome = child.left(id, reason, now);
        self.count(number);
        self.spoke_to(number);
        if let Err(fault) = outcome {
            self.failed(number, &fault, now);
        }
    }
}

/// What goes in and out.
impl TaggedPool {
    fn on_event(&mut self, number: usize, channel: Channel, now: Instant) {
        let Some((child, _)) = self.children.get_mut(&number) else { return };
        match channel {
            Channel::Stdin => self.spoke_to(number),
            Channel::Stdout => self.read(number, now),
            Channel::Stderr => {
                if child.running.read_stderr(&mut self.buffer) {
                    self.read_again(number, Channel::Stderr);
                }
            }
            Channel::Life => self.look_at_life(number, now),
        }
    }

    /// Notes that there may be more to read.
    fn read_again(&mut self, number: usize, channel: Channel) {
        if !self.unread.contains(&(number, channel)) {
            self.unread.push((number, channel));
        }
    }

    /// Counts what a process has done, and returns it.
    fn count(&mut self, number: usize) -> Done {
        let done = self.children.get_mut(&number).map(|(child, _)| mem::take(&mut child.done)).unwrap_or_default();
        self.state.answered.add(done.answered);
        self.state.pushed.add(done.pushed);
        self.state.late.add(done.late);
        done
    }

    /// Notes that something may be written to a process, once all that is at hand was dealt with.
    fn spoke_to(&mut self, number: usize) {
        if self.unwritten.last() != Some(&number) {
            self.unwritten.push(number);
        }
    }

    fn write(&mut self, now: Instant) {
        let mut numbers = mem::take(&mut self.unwritten);
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let Some((child, _)) = self.children.get_mut(&number) else { continue };
            let outcome = child.write();
            let next = child.next_due();
            self.look_by(next);
            match outcome {
                Ok(()) => self.end_if_done(number, now),
                Err(fault) => self.failed(number, &fault, now),
            }
        }
    }

    /// Reads what a process has written. For how long, that is bounded.
    fn read(&mut self, number: usize, now: Instant) {
        let Some((child, _)) = self.children.get_mut(&number) else { return };
        let had_greeted = child.has_greeted();
        let outcome = child.read(&self.push, &mut self.buffer, now);
        let has_greeted = child.has_greeted() && !had_greeted;
        let closed = child.running.closed();
        let has_answered = self.count(number).answered > 0;
        // Of a client that has ended by what was read, it is told.
        self.spoke_to(number);
        if has_greeted {
            self.greeted(number, now);
        }
        if has_answered && let Some(place) = self.place_of(number) {
            self.places[place].failures = 0;
        }
        match outcome {
            Ok(true) => self.read_again(number, Channel::Stdout),
            Ok(false) => self.look_by(closed.map(|closed| closed + LOOK_INTERVAL)),
            Err(fault) => self.failed(number, &fault, now),
        }
    }
}

/// Processes.
impl TaggedPool {
    fn place_of(&self, number: usize) -> Option<usize> {
        match self.children.get(&number)?.1 {
            ChildRole::Place(place) => Some(place),
            ChildRole::Trial | ChildRole::Leaving => None,
        }
    }

    /// Looks whether a process has ended.
    fn look_at_life(&mut self, number: usize, now: Instant) {
        // What it has said before counts.
        self.read(number, now);
        let Some((child, _)) = self.children.get_mut(&number) else { return };
        let Some(status) = child.running.try_reap(&mut self.buffer) else { return };
        let pid = child.running.id();
        self.failed(number, &TaggedFault::Ended(status), now);
        tracing::debug!(pid, %status, "A program has ended.");
        self.children.remove(&number);
    }

    /// Has a process started, and returns its number.
    fn start(&mut self, config: &TaggedConfig, place: usize) -> usize {
        let number = self.next_number;
        self.next_number += 1;
        self.starting += 1;
        self.events.spawn(StartRequest { program: Arc::clone(&config.program), place, number });
        number
    }

    fn start_in(&mut self, place: usize) {
        if self.stops_by.is_none() {
            let number = self.start(&Arc::clone(&self.config), place);
            self.places[place].process = PlaceProcess::Coming { number };
        }
    }

    /// A process runs, or could not be started.
    fn started(&mut self, StartOutcome { request, started }: StartOutcome, now: Instant) {
        self.starting -= 1;
        let StartRequest { place, number, .. } = request;
        let trial = self.trial.as_ref().filter(|trial| trial.number == number);
        let is_wanted = |place: &PlaceState| place.process == PlaceProcess::Coming { number };
        let (role, config) = match trial {
            Some(trial) => (ChildRole::Trial, &trial.config),
            None if self.places.get(place).is_some_and(is_wanted) => (ChildRole::Place(place), &self.config),
            // Others are wanted by now: this one ends.
            None => return,
        };
        if self.stops_by.is_some() {
            return;
        }
        let config = Arc::clone(config);
        let running = started.and_then(|started| RunningChild::new(started, number, self.events.registry()));
        match running {
            Ok(running) => {
                self.state.started.add(1);
                tracing::debug!(pid = running.id(), "A program was started.");
                self.children.insert(number, (TaggedChild::new(running, config, now), role));
                self.spoke_to(number);
            }
            Err(source) => {
                let program = request.program.display().to_string();
                tracing::error!(program, error = %source, "Cannot start a program.");
                self.state.failed_starts.add(1);
                match role {
                    ChildRole::Place(place) => self.lost(place, true, now),
                    ChildRole::Trial | ChildRole::Leaving => {
                        self.trial_failed(ExecError::NotStarted { program, source }, now);
                    }
                }
            }
        }
    }

    /// A process has greeted: it takes clients from now on.
    fn greeted(&mut self, number: usize, now: Instant) {
        let Some((_, role)) = self.children.get(&number) else { return };
        match *role {
            ChildRole::Place(place) => self.places[place].process = PlaceProcess::There { number },
            ChildRole::Trial => self.adopt(number, now),
            ChildRole::Leaving => {}
        }
    }

    /// Options have proved good: new clients go to this process, and to others as they come.
    fn adopt(&mut self, number: usize, now: Instant) {
        let Some(ConfigOnTrial { config, told, .. }) = self.trial.take() else { return };
        self.config = config;
        self.look_for_orphans(now);
        let mut leaving: Vec<usize> = Vec::new();
        for (other, (_, role)) in self.children.iter_mut().filter(|(other, _)| **other != number) {
            *role = ChildRole::Leaving;
            leaving.push(*other);
        }
        if let Some((_, role)) = self.children.get_mut(&number) {
            *role = ChildRole::Place(0);
        }
        let place = PlaceState { process: PlaceProcess::There { number }, failures: 0 };
        self.places = vec![place; self.config.children];
        (1..self.config.children).for_each(|place| self.start_in(place));
        leaving.into_iter().for_each(|other| self.end_if_done(other, now));
        self.publish();
        let _ = told.send(Ok(()));
    }

    /// A process that gets no more clients ends with the last.
    fn end_if_done(&mut self, number: usize, now: Instant) {
        let Some((child, ChildRole::Leaving)) = self.children.get_mut(&number) else { return };
        // One that has not greeted has nothing to wait for.
        if !child.running.is_ending() && (child.is_done() || !child.has_greeted()) {
            child.running.end(false, now);
            let next_signal = child.running.next_signal();
            self.look_by(next_signal);
        }
    }

    /// A process is no good any more. Its clients lose their connections.
    fn failed(&mut self, number: usize, fault: &TaggedFault, now: Instant) {
        let Some((child, role)) = self.children.get_mut(&number) else { return };
        if child.running.is_ending() {
            return;
        }
        let role = mem::replace(role, ChildRole::Leaving);
        child.running.read_stderr(&mut self.buffer);
        let last_words = child.running.last_words().to_owned();
        match fault {
            TaggedFault::Ended(_) | TaggedFault::Closed | TaggedFault::Pipe(_) => self.state.ended.add(1),
            _ => self.state.confused.add(1),
        }
        child.running.end(true, now);
        let (pid, was_asked, next_signal) = (child.running.id(), child.was_asked(), child.running.next_signal());
        let said = Some(&*last_words).filter(|words| !words.is_empty());
        tracing::error!(pid, reason = %fault, said, "A program failed, and its clients with it.");
        self.look_by(next_signal);
        match role {
            ChildRole::Leaving => {}
            ChildRole::Place(place) => self.lost(place, !was_asked, now),
            ChildRole::Trial => {
                let program =
                    self.trial.as_ref().map_or(&self.config, |trial| &trial.config).program.display().to_string();
                self.trial_failed(ExecError::Failed { program, reason: fault.to_string(), last_words }, now);
            }
        }
        // Whoever sees its clients leave sees it gone.
        self.publish();
        if let Some((child, _)) = self.children.get_mut(&number) {
            child.end_clients(&self.push, |later| later.fail("the program failed before it had answered"));
        }
    }

    /// A place has lost its process: the next comes after a pause, which is longer each time that
    /// one has ended before it was given a line.
    fn lost(&mut self, place: usize, is_failure: bool, now: Instant) {
        let Some(of_place) = self.places.get_mut(place) else { return };
        of_place.failures += u32::from(is_failure);
        let until = now + pause_after(of_place.failures);
        of_place.process = PlaceProcess::Pausing { until };
        self.look_by(Some(until));
    }

    /// Options are no good: all is as before.
    fn trial_failed(&mut self, error: ExecError, now: Instant) {
        let Some(ConfigOnTrial { told, .. }) = self.trial.take() else { return };
        if self.places.is_empty() {
            self.stop(now);
        }
        let _ = told.send(Err(error));
    }

    /// Has other options hold once a process with them has greeted.
    fn replace(&mut self, config: Arc<TaggedConfig>, told: Sender<Result<(), ExecError>>) {
        if self.stops_by.is_some() || self.trial.is_some() {
            let _ = told.send(Err(ExecError::Busy));
            return;
        }
        let number = self.start(&config, 0);
        self.trial = Some(ConfigOnTrial { config, told, number });
    }
}

impl PlaceState {
    /// Returns the process that takes clients.
    const fn there(&self) -> Option<usize> {
        match self.process {
            PlaceProcess::There { number } => Some(number),
            PlaceProcess::Pausing { .. } | PlaceProcess::Coming { .. } => None,
        }
    }
}

/// Time, and the end.
impl TaggedPool {
    /// Notes that there is something to do then.
    fn look_by(&mut self, at: Option<Instant>) {
        self.look_at = self.look_at.into_iter().chain(at).min();
    }

    /// Does what is due, and finds out when the next is.
    fn look(&mut self, now: Instant) {
        self.look_at = None;
        self.look_for_orphans(now);
        for number in self.children.keys().copied().collect::<Vec<_>>() {
            let Some((child, _)) = self.children.get_mut(&number) else { continue };
            child.running.signal_if_due(now);
            let next_signal = child.running.next_signal();
            if let Some(closed) = child.running.closed() {
                self.look_at_life(number, now);
                match closed + LOOK_INTERVAL {
                    at if at <= now => self.failed(number, &TaggedFault::Closed, now),
                    at => self.look_by(Some(at)),
                }
            } else if child.running.is_ending() || cfg!(not(target_os = "linux")) {
                self.look_at_life(number, now);
                self.look_by(Some(now + LOOK_INTERVAL));
            }
            self.look_by(next_signal);
            self.expire(number, now);
        }
        for place in 0..self.places.len() {
            match self.places[place].process {
                PlaceProcess::Pausing { until } if until <= now => self.start_in(place),
                PlaceProcess::Pausing { until } => self.look_by(Some(until)),
                PlaceProcess::Coming { .. } | PlaceProcess::There { .. } => {}
            }
        }
        self.look_by(self.stops_by);
    }

    fn look_for_orphans(&mut self, now: Instant) {
        if self.config.reaps_orphans {
            let ours = self.children.values().map(|(child, _)| child.running.id());
            let next = self.orphans.look(ours, now);
            self.look_by(Some(next));
        }
    }

    /// Ends what a process has had too much time for: what it has written by then counts.
    fn expire(&mut self, number: usize, now: Instant) {
        let is_late = |(child, _): &(TaggedChild, ChildRole)| {
            !child.running.is_ending() && child.next_due().is_some_and(|due| due <= now)
        };
        if self.children.get(&number).is_some_and(is_late) {
            self.read(number, now);
            if let Some((child, _)) = self.children.get_mut(&number)
                && !child.running.is_ending()
            {
                let outcome = child.write().and_then(|()| child.expire(&self.push, now));
                self.count(number);
                self.spoke_to(number);
                if let Err(fault) = outcome {
                    self.failed(number, &fault, now);
                }
            }
        }
        let child = self.children.get(&number).map(|(child, _)| child).filter(|child| !child.running.is_ending());
        self.look_by(child.and_then(TaggedChild::next_due));
    }

    fn stop(&mut self, now: Instant) {
        if self.stops_by.is_some() {
            return;
        }
        self.stops_by = Some(now + MAX_STOP);
        self.look_by(Some(now + LOOK_INTERVAL));
        self.places.clear();
        for (child, role) in self.children.values_mut().filter(|(child, _)| !child.running.is_ending()) {
            *role = ChildRole::Leaving;
            child.end_clients(&self.push, |later| later.reject(Rejection::Busy));
            let _ = child.write();
            child.running.end(false, now);
        }
        if let Some(ConfigOnTrial { told, .. }) = self.trial.take() {
            let _ = told.send(Err(ExecError::Busy));
        }
    }

    fn publish(&self) {
        self.state.is_ready.store(self.places.iter().any(|place| place.there().is_some()), Ordering::Relaxed);
        self.state.running.set(self.children.len() as u64);
        let sum = |count: fn(&TaggedChild) -> usize| self.children.values().map(|(child, _)| count(child) as u64).sum();
        self.state.clients.set(sum(TaggedChild::clients));
        self.state.waiting.set(sum(TaggedChild::lines_in_progress));
    }
}

/// Nobody is let in any more, also if this thread has panicked.
impl Drop for TaggedPool {
    fn drop(&mut self) {
        self.state.is_ready.store(false, Ordering::Relaxed);
    }
}

impl TaggedState {
    /// Returns whether there is a process that new clients can go to.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    pub(super) fn stats(&self) -> TaggedStats {
        TaggedStats {
            running: self.running.get(),
            clients: self.clients.get(),
            waiting: self.waiting.get(),
            answered: self.answered.get(),
            pushed: self.pushed.get(),
            started: self.started.get(),
            failed_starts: self.failed_starts.get(),
            late: self.late.get(),
            confused: self.confused.get(),
            ended: self.ended.get(),
        }
    }
}
