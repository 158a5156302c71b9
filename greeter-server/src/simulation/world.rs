//! A server and its clients in one thread, where chance decides which of them acts next.

mod checks;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::client::SimulatedClient;
use super::clock::SimulatedClock;
use super::listener::{Backlog, VirtualListener};
use super::oracle::Oracle;
use super::pool::SimulatedPool;
use super::random::Random;
use super::responder::{Promise, ScriptedResponder, SessionHistory};
use super::rules::Rules;
use super::toy_tls::ToyTls;
use super::wire::{VirtualSocket, VirtualSystem, Wire};

use crate::accept::acceptor::{Acceptor, AcceptorContext};
use crate::admission::Admission;
use crate::config::Config;
use crate::connection::thread::{ConnectionThread, Shared};
use crate::current::Current;
use crate::mailbox::{Inbox, Mailbox, mailbox_of};
use crate::memory::MemoryBudget;
use crate::messages::ThreadMessage;
use crate::pool::worker::Pool;
use crate::pool::worker_registry::WorkerRegistry;
use crate::push::PushHandle;
use crate::stats::Counters;
use crate::thread_mailboxes::ThreadMailboxes;

type SimulatedMessage = ThreadMessage<u32, VirtualSocket>;

pub(super) struct World {
    seed: u64,
    random: Random,
    rules: Rules,
    clock: SimulatedClock,
    is_traced: bool,

    threads: Vec<SimulatedThread>,
    mailboxes: Vec<Mailbox<SimulatedMessage>>,
    to_threads: Arc<dyn ThreadMailboxes>,
    pool: Option<SimulatedPool>,
    counters: Vec<Arc<Counters>>,
    memory: Arc<MemoryBudget>,
    config: Arc<Config>,
    push: PushHandle,
    sessions: Arc<Mutex<SessionHistory>>,
    tls: Arc<ToyTls>,
    promises: Arc<Mutex<Vec<Promise>>>,

    admission: Arc<Admission>,
    acceptor: SimulatedAcceptor,
    backlog: Arc<Mutex<Backlog>>,
    wires: Vec<Arc<Mutex<Wire>>>,
    clients: Vec<SimulatedClient>,
    next_client: Instant,
    suspension: Option<Suspension>,
    /// When the server must have stopped, once a stop was requested.
    stop: Option<Instant>,
}

/// A connection thread, and when it has something to do.
struct SimulatedThread {
    /// `None` once it has ended.
    state: Option<ConnectionThread<ScriptedResponder, VirtualSystem>>,
    woken: Arc<AtomicBool>,
    /// It sleeps until then at most. `None`: until a message or an event wakes it.
    sleeps_until: Option<Instant>,
}

/// The time for which the process stands still.
struct Suspension {
    since: Instant,
    until: Instant,
    /// How much has happened meanwhile.
    steps: usize,
}

/// The acceptor, and when it has something to do.
struct SimulatedAcceptor {
    acceptor: Acceptor<u32, VirtualListener>,
    woken: Arc<AtomicBool>,
    sleeps_until: Option<Instant>,
}

/// Which part of the world acts next.
#[derive(Clone, Copy, Debug)]
enum Actor {
    Thread(usize),
    Worker(usize),
    Watchdog,
    Acceptor,
    Client(usize),
    NewClient,
    /// Whoever answers later.
    Upstream,
}

/// How many steps there may be before the server is asked to stop. Up to a hundred times as many
/// may follow.
const MAX_STEPS: usize = 3000;

/// How many steps the clients make at most while the process stands still.
const MAX_STEPS_STILL: usize = 300;

impl World {
    pub(super) fn new(seed: u64, is_traced: bool) -> Self {
        let mut random = Random::new(seed);
        let rules = Rules::random(&mut random);
        let clock = SimulatedClock::new();
        let (push, sessions, tls) = (PushHandle::new(), Arc::default(), Arc::default());
        let (wake_ups, (mailboxes, inboxes)): (Vec<_>, (Vec<_>, Vec<_>)) =
            (0..rules.threads).map(|_| mailbox()).unzip();
        let to_threads: Arc<dyn ThreadMailboxes> = Arc::new(mailboxes.clone());
        push.connect(Arc::<dyn ThreadMailboxes>::clone(&to_threads));
        let (acceptor_woken, (to_acceptor, acceptor_inbox)) = mailbox();
        let memory = Arc::new(MemoryBudget::new(rules.max_buffer_bytes));

        // Where workers answer, only their own time passes. Otherwise it passes for all.
        let answering = if rules.workers > 0 { clock.copy() } else { clock.clone() };
        let responder =
            Arc::new(ScriptedResponder::new(answering.clone(), push.clone(), Arc::clone(&sessions), rules.wants_end));
        let config = Arc::new(rules.config(&responder));
        let (tasks, task_receiver) = crossbeam_channel::unbounded();
        let registry = Arc::<WorkerRegistry>::default();
        let pool = Pool {
            responder: Arc::clone(&responder),
            config: Arc::new(Current::new(Arc::clone(&config))),
            tasks: task_receiver,
            mailboxes: mailboxes.clone(),
            workers: Arc::clone(&registry),
            memory: Arc::clone(&memory),
            ticker: Arc::clone(&clock.ticker),
        };
        let mut random_faults = random.split();
        let fails_to_spawn = move || rules.has_faults && random_faults.one_in(3);
        let simulated = || SimulatedPool::new(pool, tasks.clone(), answering, rules.check_interval, fails_to_spawn);
        let pool = (rules.workers > 0).then(simulated);
        let shared = Shared { config: Arc::clone(&config), memory: Arc::clone(&memory), epoch: clock.now() };
        let counters: Vec<Arc<Counters>> = (0..=rules.threads).map(|_| Arc::default()).collect();
        let admission = Arc::new(Admission::new(config.limits, to_acceptor));
        let backlog = Arc::new(Mutex::new(Backlog::new(clock.clone(), random.split(), &rules)));
        let context = AcceptorContext {
            inbox: acceptor_inbox,
            threads: mailboxes.clone(),
            admission: Arc::clone(&admission),
            config: Arc::clone(&config),
            entry_rules: vec![Arc::new(rules.entry_rules(&tls))],
            counters: Arc::clone(&counters[rules.threads]),
        };
        let acceptor =
            Acceptor::new(vec![VirtualListener(Arc::clone(&backlog))], context, rules.max_rejected, clock.now());
        let acceptor = SimulatedAcceptor { acceptor, woken: acceptor_woken, sleeps_until: Some(clock.now()) };
        let thread = |(number, (woken, inbox)): (usize, (Arc<AtomicBool>, Inbox<SimulatedMessage>))| {
            let executor = rules.executor(&responder, &config, &tasks, &registry, &clock);
            let system = VirtualSystem { clock: clock.clone(), thread: number };
            let counters = Arc::clone(&counters[number]);
            let state = ConnectionThread::new(number, executor, system, inbox, shared.clone(), counters);
            SimulatedThread { state: Some(state), woken, sleeps_until: Some(clock.now()) }
        };
        let threads = wake_ups.into_iter().zip(inboxes).enumerate().map(thread).collect();
        Self {
            seed,
            next_client: clock.now(),
            clock,
            is_traced,
            threads,
            mailboxes,
            to_threads,
            pool,
            counters,
            memory,
            config,
            push,
            sessions,
            tls,
            promises: Arc::clone(&responder.promises),
            admission,
            acceptor,
            backlog,
            wires: Vec::new(),
            clients: Vec::new(),
            suspension: None,
            stop: None,
            random,
            rules,
        }
    }

    /// Runs the world from the first client to the end of the server. Panics if a promise is
    /// broken. Returns a number that depends on all that has happened.
    pub(super) fn run(mut self) -> u64 {
        self.trace(|world| format!("{:?}", world.rules));
        let steps = self.random.pick(&[50, 200, 1000, MAX_STEPS]);
        for _ in 0..steps {
            if !self.step() {
                break;
            }
        }
        self.stop();
        for _ in 0..100 * MAX_STEPS {
            if self.threads.iter().all(|thread| thread.state.is_none()) {
                return self.check_end();
            }
            self.step();
        }
        panic!("the server does not end");
    }

    /// Makes one step, if anything is left to happen.
    fn step(&mut self) -> bool {
        self.suspend_or_resume();
        let actors = self.actors();
        if actors.is_empty() {
            let Some(next) = self.next_time() else { return false };
            self.clock.set(next.max(self.clock.now()));
            return true;
        }
        let actor = self.random.pick(&actors);
        self.trace(|world| format!("{:?} {actor:?}", world.clock.passed()));
        self.act(actor);
        self.clock.advance(Duration::from_nanos(self.random.below(50_000) as u64));
        if self.rules.has_active_host && self.suspension.is_none() && self.random.one_in(20) {
            self.act_as_host();
        }
        if self.suspension.is_none() && self.random.one_in(4) {
            self.check();
        }
        true
    }

    /// Now and then the process does nothing for a while, and afterwards everything that is due
    /// happens.
    fn suspend_or_resume(&mut self) {
        let now = self.clock.now();
        match &mut self.suspension {
            Some(Suspension { since, until, .. }) if *until <= now => {
                self.clock.resume_after(now - *since);
                self.suspension = None;
            }
            Some(Suspension { steps: MAX_STEPS_STILL.., until, .. }) => self.clock.set(*until),
            Some(Suspension { steps, .. }) => *steps += 1,
            None if self.rules.may_be_suspended && self.random.one_in(300) => {
                let millis = self.random.pick(&[100, 1_000, 5_000, 70_000]);
                let until = now + Duration::from_millis(millis);
                self.suspension = Some(Suspension { since: now, until, steps: 0 });
            }
            None => {}
        }
    }

    /// Returns all that can act now.
    fn actors(&self) -> Vec<Actor> {
        let now = self.clock.now();
        let mut actors: Vec<Actor> = Vec::new();
        let is_due = |(_, client): &(usize, &SimulatedClient)| client.next.is_some_and(|next| next <= now);
        actors.extend(self.clients.iter().enumerate().filter(is_due).map(|(index, _)| Actor::Client(index)));
        if self.more_clients_come() && self.next_client <= now {
            actors.push(Actor::NewClient);
        }
        if self.suspension.is_some() {
            return actors;
        }
        for (number, thread) in self.threads.iter().enumerate() {
            if thread.state.is_some()
                && (thread.woken.load(Ordering::Relaxed)
                    || thread.sleeps_until.is_some_and(|until| until <= now)
                    || self.wires.iter().any(|wire| wire.lock().unwrap().has_readiness_for(number)))
            {
                actors.push(Actor::Thread(number));
            }
        }
        if let Some(pool) = &self.pool {
            let workers = pool.workers.borrow().len();
            actors.extend((0..workers).filter(|&worker| pool.can_work(worker, now)).map(Actor::Worker));
            actors.extend(pool.next_check.filter(|&check| check <= now).map(|_| Actor::Watchdog));
        }
        if self.next_promise().is_some_and(|due| due <= now) {
            actors.push(Actor::Upstream);
        }
        let SimulatedAcceptor { woken, sleeps_until, .. } = &self.acceptor;
        if woken.load(Ordering::Relaxed)
            || sleeps_until.is_some_and(|until| until <= now)
            || self.backlog.lock().unwrap().is_ready
        {
            actors.push(Actor::Acceptor);
        }
        actors
    }

    /// Returns when something can act next, if nothing can now.
    fn next_time(&self) -> Option<Instant> {
        let clients = self.clients.iter().filter_map(|client| client.next);
        let client = self.more_clients_come().then_some(self.next_client);
        if let Some(Suspension { until, .. }) = self.suspension {
            return clients.chain(client).chain([until]).min();
        }
        let threads = self.threads.iter().filter(|thread| thread.state.is_some());
        let acceptor = self.acceptor.sleeps_until;
        let threads = threads.filter_map(|thread| thread.sleeps_until);
        let promise = self.next_promise();
        let mut times: Vec<_> = threads.chain(clients).chain(client).chain(acceptor).chain(promise).collect();
        if let Some(pool) = &self.pool {
            times.extend(pool.workers.borrow().iter().filter_map(|worker| worker.work.as_ref().map(|work| work.until)));
            // The watchdog checks for ever; that alone does not keep a world going.
            if !times.is_empty() || self.stop.is_some() {
                times.extend(pool.next_check);
            }
        }
        times.into_iter().min()
    }

    /// Returns when the next answer that comes later is due.
    fn next_promise(&self) -> Option<Instant> {
        self.promises.lock().unwrap().iter().filter_map(|promise| promise.due).min()
    }

    /// Gives an answer that is due, whether anybody waits for it or not.
    fn keep_promise(&self) {
        let mut promises = self.promises.lock().unwrap();
        let next = promises.iter().enumerate().filter(|(_, promise)| promise.due.is_some());
        if let Some((index, _)) = next.min_by_key(|(_, promise)| promise.due) {
            let promise = promises.swap_remove(index);
            drop(promises);
            promise.keep();
        }
    }

    fn more_clients_come(&self) -> bool {
        self.stop.is_none() && self.wires.len() < self.rules.clients * 2
    }

    fn act(&mut self, actor: Actor) {
        let now = self.clock.now();
        match actor {
            Actor::Thread(number) => self.run_thread(number),
            Actor::Worker(worker) => {
                let pool = self.pool.as_ref().expect("a worker belongs to a pool");
                if let Some(client) = pool.work(worker, self.clock.moment()) {
                    self.note_answering(client);
                }
            }
            Actor::Watchdog => {
                let pool = self.pool.as_mut().expect("the watchdog belongs to a pool");
                let before = pool.answering();
                pool.check(self.clock.moment());
                before.into_iter().for_each(|client| self.note_answering(client));
            }
            Actor::Acceptor => self.run_acceptor(),
            Actor::Upstream => self.keep_promise(),
            Actor::Client(index) => self.clients[index].act(now),
            Actor::NewClient => self.connect(),
        }
    }

    /// Notes whether a worker has a client's job.
    fn note_answering(&self, client: u32) {
        let pool = self.pool.as_ref().expect("a job in flight is with a pool");
        self.wires[client as usize].lock().unwrap().is_being_answered = pool.answering().contains(&client);
    }

    /// A connection thread wakes up, does its round, and sleeps again.
    fn run_thread(&mut self, number: usize) {
        let mut readiness = Vec::new();
        for wire in &self.wires {
            let mut wire = wire.lock().unwrap();
            if wire.registered.is_some_and(|(thread, _)| thread == number) && self.random.one_in(30) {
                wire.wake_for_nothing();
            }
            // Some events are reported later.
            if wire.has_readiness_for(number) && !self.random.one_in(10) {
                let at = self.random.below(readiness.len() + 1);
                readiness.insert(at, wire.take_readiness());
            }
        }
        let thread = &mut self.threads[number];
        thread.woken.store(false, Ordering::Relaxed);
        let state = thread.state.as_mut().expect("a thread that runs has not ended");
        state.round(readiness.into_iter());
        if self.is_traced {
            state.list().iter().for_each(|info| println!("    {info:?}"));
        }
        self.check_turns(number);
        self.check_memory(number);
        let thread = &mut self.threads[number];
        if thread.state.as_ref().is_some_and(ConnectionThread::is_done) {
            thread.state = None;
            return;
        }
        let timeout = thread.state.as_mut().and_then(ConnectionThread::timeout);
        thread.sleeps_until = timeout.map(|timeout| self.clock.now() + timeout);
    }

    fn connect(&mut self) {
        let now = self.clock.now();
        let number = u32::try_from(self.wires.len()).expect("there are few clients");
        let oracle = Oracle::new(number, self.rules, &self.sessions, now);
        let mut wire = Wire::new(number, self.rules, oracle, &self.clock, self.random.split());
        if self.rules.has_tls {
            wire.expect_tls(&self.tls);
        }
        let wire = Arc::new(Mutex::new(wire));
        self.backlog.lock().unwrap().connect(Arc::clone(&wire));
        self.wires.push(Arc::clone(&wire));
        self.clients.push(SimulatedClient::new(wire, number, &self.rules, &mut self.random, now));
        let pause = self.random.pick(&[0, 100, 10_000, 3_000_000]);
        self.next_client = now + Duration::from_micros(pause);
    }

    /// The acceptor wakes up, accepts and rejects clients, and sleeps again.
    fn run_acceptor(&mut self) {
        let SimulatedAcceptor { acceptor, woken, sleeps_until } = &mut self.acceptor;
        woken.store(false, Ordering::Relaxed);
        let is_ready = std::mem::take(&mut self.backlog.lock().unwrap().is_ready);
        let now = self.clock.now();
        acceptor.round(is_ready.then_some(0).into_iter(), || now);
        *sleeps_until = acceptor.timeout(|| now).map(|timeout| now + timeout);
    }

    /// The host program pushes a line to a client, or kills it: one that is connected, or was.
    fn act_as_host(&mut self) {
        if self.wires.is_empty() {
            return;
        }
        // What holds is said again, and nobody may notice. Of a session with a number, lines side
        // by side are this world's own affair.
        if self.random.one_in(10) && self.rules.in_parallel == 1 {
            self.admission.set_limits(self.config.limits);
            return self.to_threads.reconfigure(&self.config);
        }
        let number = self.random.below(self.wires.len()) as u32;
        let mut sessions = self.sessions.lock().unwrap();
        let Some(id) = sessions.record(number).id else { return };
        if self.random.one_in(10) {
            self.wires[number as usize].lock().unwrap().is_killed = true;
            self.to_threads.kill(id);
        } else {
            self.push.line(id, sessions.next_push(number)).expect("little is being pushed");
        }
    }

    /// Stops the server: first the acceptor, which accepts the clients in the backlog, and then the
    /// connection threads.
    fn stop(&mut self) {
        self.acceptor.acceptor.close(self.clock.now());
        self.acceptor.woken.store(true, Ordering::Relaxed);
        let backlog = &mut *self.backlog.lock().unwrap();
        assert!(self.rules.has_faults || backlog.waits_since().is_none(), "a client is left in the backlog");
        backlog.reset_all();
        self.trace(|_| "stop".to_owned());
        if let Some(Suspension { since, .. }) = self.suspension.take() {
            self.clock.resume_after(self.clock.now() - since);
        }
        let deadline = self.clock.now() + self.rules.drain;
        self.stop = Some(deadline);
        self.wires.iter().for_each(|wire| wire.lock().unwrap().stop_deadline = Some(deadline));
        if let Some(pool) = &self.pool {
            pool.real.workers.stop_answering_at(deadline);
        }
        self.to_threads.stop(deadline);
    }

    fn trace(&self, what: impl FnOnce(&Self) -> String) {
        if self.is_traced {
            println!("{}: {}", self.seed, what(self));
        }
    }
}

/// Returns a mailbox that sets a flag to wake its thread.
fn mailbox<M>() -> (Arc<AtomicBool>, (Mailbox<M>, Inbox<M>)) {
    let woken = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&woken);
    let wake = move || {
        flag.store(true, Ordering::Relaxed);
        Ok(())
    };
    (woken, mailbox_of(wake))
}
