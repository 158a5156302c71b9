//! Clients to processes of their own: one thread drives them all. Must not know what is said.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Instant;

use greeter_core::{ClientId, Rejection};

use super::messages::{PerClientConfig, PerClientMessage, ProcessLink};
use super::process::{ClientProcess, PIECE_BYTES, answer_with_nothing};
use super::report::{PerClientState, ProcessPermit};
use crate::exec::orphans::Orphans;
use crate::exec::pool_thread::PoolEvents;
use crate::exec::running::{Channel, MAX_STOP, RunningChild};
use crate::exec::spawner::{StartOutcome, StartRequest};
use crate::push::PushHandle;

/// The thread's own.
pub(super) struct PerClientPool {
    config: PerClientConfig,
    events: PoolEvents<PerClientMessage>,
    push: PushHandle,
    state: Arc<PerClientState>,
    processes: BTreeMap<usize, ClientProcess>,
    /// The numbers of the processes of those who are there.
    clients: HashMap<ClientId, usize>,
    next_number: usize,
    /// Processes for which there is something to do, once all that is at hand was looked at.
    due: BTreeSet<usize>,
    /// Processes whose stderr was not read to the end.
    unread: Vec<usize>,
    /// When there is something to do at the latest.
    look_at: Option<Instant>,
    orphans: Orphans,
    stops_by: Option<Instant>,
    buffer: Vec<u8>,
}

impl PerClientPool {
    pub(super) fn new(
        config: PerClientConfig,
        events: PoolEvents<PerClientMessage>,
        push: PushHandle,
        state: Arc<PerClientState>,
    ) -> Self {
        Self {
            config,
            events,
            push,
            state,
            processes: BTreeMap::new(),
            clients: HashMap::new(),
            next_number: 0,
            due: BTreeSet::new(),
            unread: Vec::new(),
            look_at: None,
            orphans: Orphans::default(),
            stops_by: None,
            buffer: vec![0; PIECE_BYTES],
        }
    }

    /// Drives processes until it is to stop, and they have ended.
    pub(super) fn run(mut self) {
        self.look(Instant::now());
        while !self.has_stopped() {
            // Who was not read to the end has its turn at once.
            let until = if self.unread.is_empty() { self.look_at } else { Some(Instant::now()) };
            let events = self.events.wait(until);
            let now = Instant::now();
            for number in mem::take(&mut self.unread) {
                self.on_event(number, Channel::Stderr);
            }
            for (number, channel) in events {
                self.on_event(number, channel);
            }
            for message in self.events.take_mail() {
                self.take(message, now);
            }
            for number in mem::take(&mut self.due) {
                self.turn(number, now);
            }
            if self.look_at.is_some_and(|at| at <= now) {
                self.look(now);
            }
        }
    }

    fn has_stopped(&self) -> bool {
        self.stops_by.is_some_and(|by| self.processes.is_empty() || Instant::now() >= by)
    }

    fn take(&mut self, message: PerClientMessage, now: Instant) {
        match message {
            PerClientMessage::Open { link, environment, permit } => self.open(link, environment, permit),
            PerClientMessage::Input { client, bytes, later } => match self.process_of(client) {
                Some((number, process)) => {
                    process.input(&bytes, later);
                    self.due.insert(number);
                }
                None => answer_with_nothing(later),
            },
            PerClientMessage::EndOfInput { client, later } => match self.process_of(client) {
                Some((number, process)) => {
                    process.end_input(later);
                    self.due.insert(number);
                }
                None => answer_with_nothing(Some(later)),
            },
            PerClientMessage::Taken { client } => {
                if let Some((number, process)) = self.process_of(client) {
                    process.taken();
                    self.due.insert(number);
                }
            }
            PerClientMessage::Left { client } => {
                if let Some(number) = self.clients.remove(&client) {
                    self.dismiss(number, now);
                }
            }
            PerClientMessage::Started(outcome) => self.started(outcome, now),
            PerClientMessage::Replace(config) => {
                self.config = config;
                self.look(now);
            }
            PerClientMessage::Stop => self.stop(now),
        }
    }

    fn process_of(&mut self, client: ClientId) -> Option<(usize, &mut ClientProcess)> {
        let number = *self.clients.get(&client)?;
        Some((number, self.processes.get_mut(&number)?))
    }

    fn on_event(&mut self, number: usize, channel: Channel) {
        let Some(process) = self.processes.get_mut(&number) else { return };
        let Some(running) = &mut process.running else { return };
        match channel {
            Channel::Stderr => {
                if running.read_stderr(&mut self.buffer) && !self.unread.contains(&number) {
                    self.unread.push(number);
                }
            }
            Channel::Stdin | Channel::Stdout | Channel::Life => _ = self.due.insert(number),
        }
    }
}

/// The life of a process.
impl PerClientPool {
    /// A client has come: a process is started for it.
    fn open(&mut self, link: Arc<ProcessLink>, environment: Vec<(&'static str, String)>, permit: ProcessPermit) {
        if self.stops_by.is_some() {
            let _ = self.push.close(link.client);
            return;
        }
        let number = self.next_number;
        self.next_number += 1;
        let mut program = (*self.config.program).clone();
        program.environment.extend(environment.into_iter().map(|(name, value)| (name.into(), value.into())));
        self.clients.insert(link.client, number);
        self.processes.insert(number, ClientProcess::new(link, permit));
        self.events.spawn(StartRequest { program: Arc::new(program), place: 0, number });
    }

    /// A process runs, or could not be started.
    fn started(&mut self, StartOutcome { request, started }: StartOutcome, now: Instant) {
        let StartRequest { program, number, .. } = request;
        let Some(process) = self.processes.get_mut(&number) else { return };
        let client = process.link.client;
        match started.and_then(|started| RunningChild::new(started, number, self.events.registry())) {
            Ok(running) => {
                self.state.started.add(1);
                tracing::debug!(pid = running.id(), %client, "A program was started.");
                let is_dismissed = process.is_dismissed;
                process.running = Some(running);
                if is_dismissed { self.dismiss(number, now) } else { self.turn(number, now) }
            }
            Err(error) => {
                self.state.failed_starts.add(1);
                tracing::error!(program = %program.display(), %error, "Cannot start a program.");
                // If it has left, nobody hears it.
                let _ = self.push.line(client, format_args!("error: {}", Rejection::InternalError).to_string());
                process.finish(&self.push);
                self.remove(number);
            }
        }
    }

    /// Gives a process what there is for it, and its client what it says; and ends the connection
    /// if there is nothing more.
    fn turn(&mut self, number: usize, now: Instant) {
        let Some(process) = self.processes.get_mut(&number) else { return };
        let (push, thread) = (&self.push, self.events.mailbox());
        let outcome = process.write().and_then(|()| process.send(push, thread, &mut self.buffer, now));
        if let Err(error) = outcome {
            tracing::error!(client = %process.link.client, %error, "A pipe to a program failed.");
            process.finish(push);
            return self.dismiss(number, now);
        }
        let is_ending = process.running.as_ref().is_some_and(RunningChild::is_ending);
        if !is_ending && process.is_over(now) {
            process.finish(push);
            process.is_dismissed = true;
        }
        if process.is_dismissed {
            return self.reap(number);
        }
        let next_due = process.next_due(now);
        self.look_by(next_due);
    }

    /// The client is gone, and its process is to follow.
    fn dismiss(&mut self, number: usize, now: Instant) {
        let Some(process) = self.processes.get_mut(&number) else { return };
        process.is_dismissed = true;
        if let Some(running) = &mut process.running {
            running.end(false, now);
            self.reap(number);
        }
        let next_due = self.processes.get(&number).and_then(|process| process.next_due(now));
        self.look_by(next_due);
    }

    /// Lets go of a process, if it has ended.
    fn reap(&mut self, number: usize) {
        let Some(ClientProcess { running: Some(running), link, .. }) = self.processes.get_mut(&number) else { return };
        let Some(status) = running.try_reap(&mut self.buffer) else { return };
        let (pid, client) = (running.id(), link.client);
        if running.is_ending() || status.success() {
            tracing::debug!(pid, %client, %status, "A program has ended.");
        } else if status.signal().is_some() {
            self.state.crashed.add(1);
            tracing::warn!(pid, %client, %status, "A program has crashed.");
        } else {
            tracing::info!(pid, %client, %status, "A program has ended.");
        }
        self.remove(number);
    }

    fn remove(&mut self, number: usize) {
        if let Some(process) = self.processes.remove(&number)
            && self.clients.get(&process.link.client) == Some(&number)
        {
            self.clients.remove(&process.link.client);
        }
    }
}

/// Time, and the end.
impl PerClientPool {
    /// Notes that there is something to do then.
    fn look_by(&mut self, at: Option<Instant>) {
        self.look_at = self.look_at.into_iter().chain(at).min();
    }

    /// Does what is due, and finds out when the next is.
    fn look(&mut self, now: Instant) {
        self.look_at = None;
        if self.config.reaps_orphans {
            let ours = self.processes.values().filter_map(|process| process.running.as_ref()).map(RunningChild::id);
            let next = self.orphans.look(ours, now);
            self.look_by(Some(next));
        }
        for number in self.processes.keys().copied().collect::<Vec<_>>() {
            let Some(process) = self.processes.get_mut(&number) else { continue };
            let waits_for_time = process.waits_for_time();
            match &mut process.running {
                Some(running) if process.is_dismissed => {
                    running.signal_if_due(now);
                    self.reap(number);
                    let next_due = self.processes.get(&number).and_then(|process| process.next_due(now));
                    self.look_by(next_due);
                }
                _ if waits_for_time => self.turn(number, now),
                _ => {}
            }
        }
        self.look_by(self.stops_by);
    }

    fn stop(&mut self, now: Instant) {
        if self.stops_by.is_some() {
            return;
        }
        self.stops_by = Some(now + MAX_STOP);
        self.look_by(self.stops_by);
        for number in self.processes.keys().copied().collect::<Vec<_>>() {
            if let Some(process) = self.processes.get_mut(&number).filter(|process| !process.is_dismissed) {
                process.finish(&self.push);
                self.dismiss(number, now);
            }
        }
    }
}
