//! Turns a schedule into lines on sockets, and what comes from them into what has happened: the
//! share of one thread, which does nothing else in between. It must not know how anything is shown.

pub(super) mod checker;
pub(super) mod connection;
pub(super) mod script;
pub(super) mod socket;
mod timer;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::load::exchange::{Batch, ConnectionLoss};
use crate::load::measure::accounting::Accounting;
use crate::load::measure::clock::{Clock, CpuMeter, CpuScope};
use crate::load::measure::thread_recorder::{TICK, ThreadResult};
use crate::load::schedule::Pace;
use crate::net::Eol;
use connection::{LoadConnection, ReadProgress};
use timer::SendTimer;

const TIMER: Token = Token(usize::MAX);

/// How much is read at once: as much as loopback delivers.
const READ_BYTES: usize = 64 * 1024;

/// How often one connection is read before others have their turn.
const MAX_READS: usize = 16;

/// How many connections one poll may report.
const MAX_EVENTS: usize = 1024;

/// A connection, or what is left of it.
struct ConnectionSlot {
    /// Which one of all.
    number: u64,
    /// How many lines it has sent.
    sent: u64,
    /// Whether it has more to send than the server lets it.
    is_backlogged: bool,
    /// Since when that is over.
    free: u64,
    connection: Option<LoadConnection>,
}

/// What the threads of a load know of each other.
#[derive(Debug)]
pub(super) struct SharedStatus {
    /// Whether it was told to stop.
    pub(super) stop: Arc<AtomicBool>,
    /// How many connections are left, on all threads together. A thread that has none left goes on
    /// as long as there are some: lines become due on its own, too, and are never sent.
    pub(super) connections: AtomicUsize,
}

impl SharedStatus {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn has_no_connections(&self) -> bool {
        self.connections.load(Ordering::Relaxed) == 0
    }
}

pub(super) struct Generator {
    thread: u64,
    clock: Clock,
    eol: Eol,
    status: Arc<SharedStatus>,
    poll: Poll,
    timer: SendTimer,
    accounting: Accounting,
    slots: Vec<ConnectionSlot>,
    /// How many of the thread's lines have been looked at when they became due.
    seen: u64,
    /// Those that were not read to the end when others had their turn.
    unread: Vec<usize>,
    /// How many connections were lost when they could still have sent something.
    lost_early: u64,
    /// Runs from the end of the warm-up on.
    meter: Option<CpuMeter>,
}

impl Generator {
    /// `connections` are those of `thread`, in the order of their numbers.
    pub(super) fn new(
        thread: u64,
        accounting: Accounting,
        clock: Clock,
        eol: Eol,
        status: Arc<SharedStatus>,
        connections: Vec<LoadConnection>,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = SendTimer::new(poll.registry(), TIMER)?;
        let mut slots = Vec::with_capacity(connections.len());
        for (index, mut connection) in connections.into_iter().enumerate() {
            connection.socket().register(poll.registry(), Token(index))?;
            let number = accounting.schedule.number(thread, index as u64);
            slots.push(ConnectionSlot { number, sent: 0, is_backlogged: false, free: 0, connection: Some(connection) });
        }
        let unread = Vec::new();
        Ok(Self {
            thread,
            clock,
            eol,
            status,
            poll,
            timer,
            accounting,
            slots,
            seen: 0,
            unread,
            lost_early: 0,
            meter: None,
        })
    }

    /// Works until all is done, or until it is told to stop.
    ///
    /// # Errors
    ///
    /// Those of the poll and the timer. Of a server's errors the accounting tells.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(MAX_EVENTS);
        let mut space = vec![0; READ_BYTES];
        let mut now = self.clock.now();
        let mut tick = 0;
        self.check_reply_timeouts(now);
        if self.accounting.schedule.pace == Pace::Closed {
            (0..self.slots.len()).for_each(|slot| self.send(slot, self.clock.now()));
        }
        while !self.is_done(now) {
            self.send_what_is_due(now);
            let timeout = self.timer.arm(now, self.wake_at(now))?;
            let timeout = if self.unread.is_empty() { timeout } else { Some(Duration::ZERO) };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for slot in std::mem::take(&mut self.unread) {
                self.on_ready(slot, true, &mut space);
            }
            for event in events.iter().filter(|event| event.token() != TIMER) {
                self.on_ready(event.token().0, event.is_read_closed() || event.is_error(), &mut space);
            }
            now = self.clock.now();
            if now / TICK_NANOSECONDS != tick {
                tick = now / TICK_NANOSECONDS;
                self.check_reply_timeouts(now);
            }
        }
        self.close(now);
        Ok(())
    }

    /// Whether there is nothing left to send, to read or to wait for.
    fn is_done(&self, now: u64) -> bool {
        let schedule = &self.accounting.schedule;
        if self.status.is_stopped() || self.status.has_no_connections() {
            return true;
        }
        let due = match schedule.total {
            Some(total) => total,
            None if now < schedule.end => return false,
            None => schedule.due_by(now),
        };
        let is_idle = |slot: &ConnectionSlot, connection: &LoadConnection| {
            connection.in_flight() == 0 && slot.sent >= schedule.due_on(slot.number, due)
        };
        schedule.total.is_none() && now >= schedule.end.saturating_add(schedule.reply_timeout)
            || self.slots.iter().all(|slot| slot.connection.as_ref().is_none_or(|connection| is_idle(slot, connection)))
    }

    /// In an open loop, lets those send for which a line has become due.
    fn send_what_is_due(&mut self, now: u64) {
        let schedule = self.accounting.schedule;
        let due = schedule.due_of(self.thread, schedule.due_by(now));
        let slots = self.slots.len() as u64;
        // Each has its turn once at most: it sends all that is due on it.
        for index in self.seen..due.min(self.seen + slots) {
            let slot = usize::try_from(index % slots).expect("a slot's index fits");
            self.send(slot, self.clock.now());
        }
        self.seen = due;
    }

    /// When there will be something to do even if nothing comes.
    fn wake_at(&self, now: u64) -> u64 {
        let schedule = &self.accounting.schedule;
        let tick = (now / TICK_NANOSECONDS + 1) * TICK_NANOSECONDS;
        let end = if now < schedule.end { schedule.end } else { u64::MAX };
        let next = self.next_due().filter(|next| *next < schedule.end);
        tick.min(end).min(next.unwrap_or(u64::MAX))
    }

    /// When the next line is due on a connection that could send it; a reply wakes the others.
    fn next_due(&self) -> Option<u64> {
        let slots = self.slots.len() as u64;
        let mut next =
            (self.seen..self.seen + slots).map(|index| (index / slots, &self.slots[(index % slots) as usize]));
        let (index, slot) = next.find(|(_, slot)| !slot.is_backlogged && slot.connection.is_some())?;
        self.accounting.schedule.intended(slot.number, index)
    }

    /// Sends what may be sent now on one connection.
    fn send(&mut self, index: usize, now: u64) {
        let schedule = self.accounting.schedule;
        let slot = &mut self.slots[index];
        let Some(connection) = &mut slot.connection else { return };
        let left = schedule.may_have_sent(slot.number, now).saturating_sub(slot.sent);
        let due = match schedule.pace {
            Pace::Closed if connection.in_flight() == 0 => left.min(schedule.pipeline as u64),
            Pace::Closed => 0,
            Pace::Open(_) => left,
        };
        let room = schedule.pipeline - connection.in_flight();
        let lines = usize::try_from(due).map_or(room, |due| due.min(room));
        slot.is_backlogged = connection.is_clogged() || lines as u64 != due;
        // Where more is due than there is room for, room is made first: else ever smaller pieces
        // would go back and forth.
        if lines == 0 || slot.is_backlogged && room < schedule.pipeline.div_ceil(2) {
            return;
        }
        let batch = Batch { first: slot.sent, lines, sent: now };
        slot.sent += lines as u64;
        self.accounting.sent(slot.number, batch, slot.free);
        if let Err(loss) = connection.send(batch) {
            self.close_lost(index, &loss);
        }
    }

    /// Writes and reads what can be written and read on one connection, and sends what may be sent
    /// then.
    fn on_ready(&mut self, index: usize, is_ending: bool, space: &mut [u8]) {
        let Self { slots, accounting, clock, eol, .. } = self;
        let ConnectionSlot { number, connection: Some(connection), is_backlogged, .. } = &mut slots[index] else {
            return;
        };
        let was_backlogged = *is_backlogged;
        let mut outcome = connection.write().map(|()| ReadProgress::More);
        let mut reads = 0;
        let mut now = None;
        while reads < MAX_READS && matches!(outcome, Ok(ReadProgress::More)) {
            reads += 1;
            outcome = connection.read(space, *eol, *clock, |received, batch, at| {
                accounting.received(*number, &received, batch, at);
                now = Some(at);
            });
            if is_ending && matches!(outcome, Ok(ReadProgress::Short)) {
                // Behind what has come may stand the end, which nothing will announce again.
                outcome = Ok(ReadProgress::More);
            }
        }
        match outcome {
            Err(loss) => return self.close_lost(index, &loss),
            Ok(ReadProgress::More) => self.unread.push(index),
            Ok(ReadProgress::Short | ReadProgress::Drained) => {}
        }
        let now = now.unwrap_or_else(|| clock.now());
        if was_backlogged {
            slots[index].free = now;
        }
        self.send(index, now);
    }

    fn close_lost(&mut self, index: usize, loss: &ConnectionLoss) {
        let now = self.clock.now();
        let ConnectionSlot { number, sent, connection, .. } = &mut self.slots[index];
        if let Some(connection) = connection.take() {
            self.status.connections.fetch_sub(1, Ordering::Relaxed);
            self.lost_early += u64::from(self.accounting.schedule.has_more(*number, *sent, now));
            let (batches, awaited) = (connection.batches(), connection.awaited(self.eol));
            self.accounting.lost(*number, loss, now, batches, awaited);
        }
    }

    /// What is done once a tick: gives up whom the server has left without a reply for too long.
    fn check_reply_timeouts(&mut self, now: u64) {
        self.accounting.recorder.turn(now);
        let schedule = self.accounting.schedule;
        if self.meter.is_none() && now >= schedule.warmup {
            self.meter = Some(CpuMeter::start(CpuScope::Thread, now));
        }
        for index in 0..self.slots.len() {
            let oldest = self.slots[index].connection.as_ref().and_then(LoadConnection::oldest);
            if oldest.is_some_and(|sent| now.saturating_sub(sent) >= schedule.reply_timeout) {
                self.close_lost(index, &ConnectionLoss::ReplyTimeout);
            }
        }
    }

    /// Tells what has become of everything.
    fn close(mut self, now: u64) {
        let schedule = self.accounting.schedule;
        let is_stopped = self.status.is_stopped();
        // Unless it was stopped, all that the plan has was due, however early the last connection
        // was lost.
        let due = schedule.due_by(if is_stopped { now } else { u64::MAX });
        let mut waiting = 0;
        for ConnectionSlot { number, sent, connection, .. } in &self.slots {
            let due = schedule.due_on(*number, due);
            match connection {
                Some(connection) if is_stopped => waiting += connection.in_flight() as u64 + due.saturating_sub(*sent),
                Some(connection) => {
                    let awaited = connection.awaited(self.eol);
                    self.accounting.unanswered(*number, &ConnectionLoss::ReplyTimeout, connection.batches(), awaited);
                    self.accounting.unsent(*number, due, *sent);
                }
                None => self.accounting.unsent(*number, due, *sent),
            }
        }
        let used = self.meter.and_then(|meter| meter.read(now));
        self.accounting.recorder.finish(ThreadResult { at: now, waiting, lost_early: self.lost_early, used });
    }
}

const TICK_NANOSECONDS: u64 = TICK.as_nanos() as u64;
