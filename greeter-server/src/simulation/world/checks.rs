//! What must hold in a world at any time, and at its end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use greeter_core::CloseReason;

use super::{Entrance, World};

use crate::limits::MAX_TIMED_OUT_PER_WORKER;
use crate::simulation::oracle::End;
use crate::stats::{Stats, total};

impl World {
    pub(super) fn check(&mut self) {
        let now = self.clock.now();
        if let Some(deadline) = self.stop {
            assert!(!self.clock.is_past(deadline, self.rules.slack()), "the stop takes too long");
        }
        self.check_backlog();
        let mut guests = self.guests.lock().unwrap();
        for wire in &self.wires {
            let wire = wire.lock().unwrap();
            wire.check_refused();
            if wire.watched.is_some() {
                wire.check_waits(*guests.guest(wire.number));
            }
        }
        if let Some(staff) = &self.staff {
            staff.check_patience(now, self.rules.slack() + self.clock.stood_still());
            staff.check_number();
        }
    }

    /// Checks that no client waits that could be accepted or rejected.
    fn check_backlog(&self) {
        let backlog = self.backlog.lock().unwrap();
        let Some(since) = backlog.waits_since() else { return };
        if self.rules.waits_when_full {
            let Entrance { bell, sleeps_until, .. } = &self.acceptor;
            let is_told = backlog.has_news || bell.load(Ordering::Relaxed) || sleeps_until.is_some();
            let is_full = self.admission.served() >= self.rules.max_connections;
            return assert!(is_full || is_told, "there is room, and nobody tells the acceptor");
        }
        // Without descriptors or memory, the acceptor pauses, and that may happen now and again.
        let rests = Duration::from_secs(if self.rules.has_faults { 2 } else { 0 });
        assert!(!self.clock.is_past(since, self.rules.slack() + rests), "nobody lets the next in");
    }

    pub(super) fn check_turns(&self, number: usize) {
        let mut guests = self.guests.lock().unwrap();
        for wire in &self.wires {
            let mut wire = wire.lock().unwrap();
            if wire.watched.is_some_and(|(thread, _)| thread == number) {
                let guest = *guests.guest(wire.number);
                wire.note_round(guest);
            }
        }
    }

    /// Checks that no client holds more than the published formula.
    pub(super) fn check_memory(&mut self, number: usize) {
        let Some(life) = &mut self.threads[number].life else { return };
        let rules = &self.rules;
        let longest_reply = 1000;
        // What was pushed comes on top of the replies.
        let unsent = 2 * rules.max_unsent_bytes + longest_reply;
        let most = rules.read_bytes + 2 * (rules.max_line_bytes + 2) + (2 * unsent).max(17 * rules.read_bytes);
        for info in life.list() {
            assert!(info.bytes_held <= most, "{info:?} is more than {most}");
        }
        // Above the budget that all share, there is what each thread is just working on.
        let threads = rules.threads + rules.workers * (1 + MAX_TIMED_OUT_PER_WORKER);
        let in_use = self.memory.bytes();
        let most = rules.max_buffer_bytes.saturating_add(threads * most);
        assert!(in_use <= most, "{in_use} is more than {most}");
    }

    pub(super) fn check_end(mut self) -> u64 {
        let ran_out_of_time = self.stop.is_some_and(|deadline| deadline <= self.clock.now());
        // Workers that were left behind finish too.
        while let Some(staff) = &mut self.staff {
            let workers = staff.workers.borrow().len();
            let now = self.clock.now();
            let Some(worker) = (0..workers).find(|&worker| staff.can_work(worker, now)) else {
                let busy = staff
                    .workers
                    .borrow()
                    .iter()
                    .filter_map(|worker| worker.work.as_ref().map(|work| work.until))
                    .min();
                let Some(next) = busy else { break };
                self.clock.set(next);
                continue;
            };
            staff.work(worker, self.clock.moment());
        }
        self.acceptor.acceptor.close_rejected();
        let stats = total(&self.counters);
        assert_eq!(stats.lines, stats.replies + stats.discarded, "{stats:?}");
        assert_eq!(stats.accepted, stats.closed, "{stats:?}");
        self.check_ends(&stats);
        // When the deadline of a stop has passed, sessions that are with a worker get no
        // `disconnect`.
        if !ran_out_of_time {
            self.check_farewells();
        }
        self.mailboxes.clear();
        assert_eq!(self.memory.bytes(), 0, "what is counted is counted off");
        if let Some(staff) = &self.staff {
            let workers = staff.workers.borrow().len();
            assert!(self.rules.has_faults || workers >= self.rules.workers, "workers are lost");
        }
        let Stats { lines, replies, bytes_sent, bytes_received, .. } = stats;
        [lines, replies, bytes_sent, bytes_received, self.random.below(1 << 30) as u64]
            .iter()
            .fold(self.clock.passed().as_nanos() as u64, |sum, part| sum.wrapping_mul(31).wrapping_add(*part))
    }

    /// Checks that what the clients received is what was counted.
    fn check_ends(&self, stats: &Stats) {
        let busy = self.guests.lock().unwrap().all().iter().map(|guest| guest.busy).sum();
        let (mut lines, mut answered) = (0, 0);
        let mut told = [(End::Idle, 0), (End::LineUnfinished, 0), (End::TimedOut, 0)];
        for wire in &self.wires {
            let oracle = &wire.lock().unwrap().oracle;
            lines += oracle.lines_read;
            answered += oracle.lines_answered_at_most();
            told.iter_mut().filter(|(end, _)| *end == oracle.end).for_each(|(_, count)| *count += 1);
        }
        assert_eq!(stats.lines, lines, "lines are counted");
        assert!(stats.replies <= answered, "{answered} lines were answered of {stats:?}");
        assert!(stats.busy <= busy, "the sessions know of {busy} lines that were rejected of {stats:?}");
        if !self.rules.has_faults {
            let reasons = [CloseReason::IdleTimeout, CloseReason::LineTimeout];
            for (reason, (_, count)) in reasons.into_iter().zip(told) {
                assert!(stats.closed_by[reason] <= count, "{reason}: {count} were told of {stats:?}");
            }
        }
    }

    /// Checks that every session that began has ended.
    fn check_farewells(&self) {
        let guests = self.guests.lock().unwrap();
        for (number, guest) in guests.all().iter().enumerate() {
            assert_eq!(guest.id.is_some(), guest.disconnect.is_some(), "nobody said disconnect to client {number}");
        }
    }
}
