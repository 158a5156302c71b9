//! What must hold in a world at any time, and at its end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use greeter_core::{CloseReason, WhenLate};

use super::{SimulatedAcceptor, SimulatedThread, World};

use crate::limits::MAX_TIMED_OUT_PER_WORKER;
use crate::simulation::oracle::WireEnd;
use crate::simulation::responder::SessionRecord;
use crate::simulation::toy_tls::OVERHEAD;
use crate::stats::{Stats, total};
use crate::tls::record::MAX_RECORD_BYTES;

impl World {
    pub(super) fn check(&mut self) {
        let now = self.clock.now();
        if let Some(deadline) = self.stop {
            assert!(!self.clock.is_past(deadline, self.rules.slack()), "the stop takes too long");
        }
        self.check_backlog();
        for wire in &self.wires {
            let mut wire = wire.lock().unwrap();
            wire.check_rejected();
            let record = self.record(wire.number);
            // Who has taken a piece was told of in the same turn.
            let taken = wire.oracle.latest_piece;
            assert_eq!(taken, record.pieces_taken, "of the pieces of client {} is told in time", wire.number);
            if wire.registered.is_some() {
                wire.check_waits(record);
            }
        }
        for promise in &*self.promises.lock().unwrap() {
            let (wait, since) = match promise.when_late {
                WhenLate::Close | WhenLate::Reject => (self.rules.timeouts.reply, promise.asked),
                // What was said before it may have to be taken first, or written.
                WhenLate::Wait => match self.wires[promise.number as usize].lock().unwrap().may_idle_since() {
                    Some(since) => (self.rules.timeouts.idle, since.max(promise.asked)),
                    None => continue,
                },
            };
            let is_late = wait.is_some_and(|wait| self.clock.is_past(since, wait + self.rules.slack()));
            assert!(!is_late || !promise.later.is_wanted(), "a parked line does not time out: {promise:?}");
        }
        if let Some(pool) = &self.pool {
            pool.check_call_times(now, self.rules.slack() + self.clock.suspended());
            pool.check_worker_count();
        }
    }

    fn record(&self, number: u32) -> SessionRecord {
        *self.sessions.lock().unwrap().record(number)
    }

    /// Checks that no client waits that could be accepted or rejected.
    fn check_backlog(&self) {
        let backlog = self.backlog.lock().unwrap();
        let newcomers = self.admission.newcomers();
        let has_lobby = self.rules.has_proxy || self.rules.has_tls;
        assert!(self.admission.served() <= self.rules.max_connections, "more are served than there is room for");
        // Or a newcomer has the place of whoever comes next.
        let is_full = self.admission.served() >= self.rules.max_connections;
        let is_lobby_full = has_lobby && (newcomers >= self.rules.max_handshakes || is_full && newcomers > 0);
        let is_stopping = self.stop.is_some();
        assert!(newcomers <= self.rules.max_handshakes || is_stopping, "{newcomers} are in the lobby");
        let in_lobby = self.wires.iter().filter(|wire| wire.lock().unwrap().is_in_lobby()).count();
        let is_at_rest = |thread: &SimulatedThread| {
            let sleeps = thread.sleeps_until.is_none_or(|until| until > self.clock.now());
            sleeps && !thread.woken.load(Ordering::Relaxed)
        };
        let is_settled = self.threads.iter().all(is_at_rest);
        assert!(
            !is_settled || in_lobby <= self.rules.max_handshakes || is_stopping,
            "those that have lost their place stay"
        );
        let Some(since) = backlog.waits_since() else { return };
        let SimulatedAcceptor { woken, sleeps_until, .. } = &self.acceptor;
        let acts_now = backlog.is_ready
            || woken.load(Ordering::Relaxed)
            || sleeps_until.is_some_and(|until| until <= self.clock.now());
        let is_full = self.rules.waits_when_full && is_full;
        let may_rest = self.rules.has_faults || self.rules.max_accept_rate.is_some();
        let has_room = !is_lobby_full && !is_full && !may_rest;
        assert!(!has_room || acts_now, "there is room, and the acceptor is not woken");
        if self.rules.waits_when_full {
            let is_woken = acts_now || sleeps_until.is_some();
            return assert!(is_full || is_woken, "there is room, and the acceptor is not woken");
        }
        // Without descriptors or memory, the acceptor pauses, and that may happen now and again.
        let mut rests = Duration::from_secs(if self.rules.has_faults { 2 } else { 0 });
        if let Some(rate) = self.rules.max_accept_rate {
            rests += Duration::from_secs(1 + (self.wires.len() / rate) as u64);
        }
        if self.rules.has_proxy || self.rules.has_tls {
            // Those before it may have to be displaced, one after the other.
            rests += self.rules.handshake + Duration::from_secs(self.wires.len() as u64);
        }
        assert!(!self.clock.is_past(since, self.rules.slack() + rests), "the next client is not accepted");
    }

    pub(super) fn check_turns(&self, number: usize) {
        for wire in &self.wires {
            let mut wire = wire.lock().unwrap();
            if wire.registered.is_some_and(|(thread, _)| thread == number) {
                let record = self.record(wire.number);
                wire.note_round(record);
            }
        }
    }

    /// Checks that no client holds more than the published formula.
    pub(super) fn check_memory(&mut self, number: usize) {
        let Some(state) = &mut self.threads[number].state else { return };
        let rules = &self.rules;
        let longest_reply = 1000;
        // What was pushed comes on top of the replies.
        let of_receipts = 500;
        let unsent = 2 * rules.max_unsent_bytes + longest_reply + of_receipts;
        // Of each line that is answered beside others, there is a copy.
        let part = 2 * (rules.max_line_bytes + 2) + 2 * longest_reply;
        let parts = if rules.in_parallel > 1 { rules.in_parallel * part } else { 0 };
        // A record is read as a whole. Then there may be one in part, or whole ones behind another
        // that are as much as a read may be, and one that is on its way out.
        let (read_bytes, of_tls) = match rules.has_tls {
            true => (rules.read_bytes.max(rules.max_record), 2 * MAX_RECORD_BYTES + 2 * (unsent + 100 * OVERHEAD)),
            false => (rules.read_bytes, 0),
        };
        let max = parts + read_bytes + 2 * (rules.max_line_bytes + 2) + (2 * unsent).max(17 * read_bytes) + of_tls;
        for info in state.list() {
            assert!(info.bytes_held <= max, "{info:?} is more than {max}");
        }
        // Above the budget that all share, there is what each thread is just working on.
        let threads = rules.threads + rules.workers * (1 + MAX_TIMED_OUT_PER_WORKER);
        let in_use = self.memory.bytes();
        let max = rules.max_buffer_bytes.saturating_add(threads * max);
        assert!(in_use <= max, "{in_use} is more than {max}");
    }

    pub(super) fn check_end(mut self) -> u64 {
        let ran_out_of_time = self.stop.is_some_and(|deadline| deadline <= self.clock.now());
        // Workers that were left behind finish too.
        while let Some(pool) = &mut self.pool {
            let workers = pool.workers.borrow().len();
            let now = self.clock.now();
            let Some(worker) = (0..workers).find(|&worker| pool.can_work(worker, now)) else {
                let busy =
                    pool.workers.borrow().iter().filter_map(|worker| worker.work.as_ref().map(|work| work.until)).min();
                let Some(next) = busy else { break };
                self.clock.set(next);
                continue;
            };
            pool.work(worker, self.clock.moment());
        }
        self.acceptor.acceptor.close_rejected();
        let stats = total(&self.counters);
        assert_eq!(stats.lines, stats.replies + stats.discarded, "{stats:?}");
        assert_eq!(stats.accepted, stats.closed, "{stats:?}");
        self.check_ends(&stats);
        let promises = std::mem::take(&mut *self.promises.lock().unwrap());
        assert!(promises.iter().all(|promise| !promise.later.is_wanted()), "nobody waits for {promises:?}");
        assert_eq!(stats.parked, 0, "{stats:?}");
        // When the deadline of a stop has passed, sessions that are with a worker get no
        // `disconnect`.
        if !ran_out_of_time {
            self.check_disconnects();
        }
        self.mailboxes.clear();
        assert!(self.admission.is_empty(), "places are kept for clients that are gone: {:?}", self.admission);
        assert_eq!(self.memory.bytes(), 0, "what is charged is released");
        if let Some(pool) = &self.pool {
            let workers = pool.workers.borrow().len();
            assert!(self.rules.has_faults || workers >= self.rules.workers, "workers are lost");
        }
        let Stats { lines, replies, bytes_sent, bytes_received, .. } = stats;
        [lines, replies, bytes_sent, bytes_received, self.random.below(1 << 30) as u64]
            .iter()
            .fold(self.clock.passed().as_nanos() as u64, |sum, part| sum.wrapping_mul(31).wrapping_add(*part))
    }

    /// Checks that what the clients received is what was counted.
    fn check_ends(&self, stats: &Stats) {
        let busy = self.sessions.lock().unwrap().all().iter().map(|record| record.busy).sum();
        let (mut lines, mut answered) = (0, 0);
        let timeouts = [WireEnd::IdleTimeout, WireEnd::LineTimeout, WireEnd::SessionTimeout, WireEnd::ReplyTimeout];
        let mut counts = timeouts.map(|end| (end, 0));
        for wire in &self.wires {
            let wire = wire.lock().unwrap();
            let oracle = &wire.oracle;
            lines += wire.lines_read();
            answered += oracle.lines_answered_at_most();
            counts.iter_mut().filter(|(end, _)| *end == oracle.end).for_each(|(_, count)| *count += 1);
        }
        // Who breaks the protocol is not served with what came before that in the same read.
        let is_exact = !self.wires.iter().any(|wire| wire.lock().unwrap().is_bad());
        assert!(stats.lines == lines || !is_exact && stats.lines < lines, "{lines} lines are counted: {stats:?}");
        assert!(stats.replies <= answered, "{answered} lines were answered of {stats:?}");
        let rejected = self.wires.iter().filter(|wire| wire.lock().unwrap().oracle.end == WireEnd::Rejected).count();
        assert!(rejected as u64 <= stats.rejected, "{rejected} clients were rejected of {stats:?}");
        self.check_plaintext(stats);
        assert!(stats.busy <= busy, "the sessions know of {busy} lines that were rejected of {stats:?}");
        if !self.rules.has_faults {
            let reasons = [CloseReason::IdleTimeout, CloseReason::LineTimeout, CloseReason::SessionTimeout];
            for (reason, (_, count)) in reasons.into_iter().zip(counts) {
                assert!(stats.closed_by[reason] <= count, "{reason}: {count} clients received it of {stats:?}");
            }
        }
    }

    /// Checks that with TLS it is plaintext that is counted. What is sent of a record counts before
    /// the record is whole, and who is rejected is not counted.
    fn check_plaintext(&self, stats: &Stats) {
        if !self.rules.has_tls {
            return;
        }
        let (mut opened, mut written, mut more) = (0, 0, 0);
        for wire in &self.wires {
            let wire = wire.lock().unwrap();
            let tls = wire.tls.as_ref().expect("all clients have TLS");
            opened += tls.opened(wire.number) as u64;
            if wire.oracle.end == WireEnd::Rejected {
                continue;
            }
            written += tls.plaintext_written as u64;
            more += wire.plaintext_in_part() as u64;
        }
        let is_exact = !self.wires.iter().any(|wire| wire.lock().unwrap().is_bad());
        let (received, sent) = (stats.bytes_received, stats.bytes_sent);
        assert!(received == opened || !is_exact && received < opened, "{opened} bytes are received: {stats:?}");
        // What was on its way to such a client goes out with the alert.
        let at_least = if is_exact { written } else { 0 };
        assert!((at_least..=written + more).contains(&sent), "{sent} bytes of {written} and {more} more are sent");
    }

    /// Checks that every session that began has ended.
    fn check_disconnects(&self) {
        let sessions = self.sessions.lock().unwrap();
        for (number, record) in sessions.all().iter().enumerate() {
            let told = record.pieces_taken + record.pieces_lost;
            assert_eq!(record.pieces, told, "of each piece of client {number} is told once");
            assert_eq!(record.id.is_some(), record.disconnect.is_some(), "the session of client {number} does not end");
        }
    }
}
