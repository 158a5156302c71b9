//! Knows when each line is due, and keeps the accounts of what has become of it. No I/O.

use super::thread_recorder::{LATE, Mishap, Recorder};
use crate::load::exchange::{Batch, Heard, Loss};
use crate::load::schedule::{Pace, Plan};
use crate::net::escape::one_line;

/// The accounts of one thread.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) plan: Plan,
    pub(crate) recorder: Recorder,
}

impl Ledger {
    /// Connection `number` has sent these lines. They could have left at `free`, or when they were due.
    pub(crate) fn sent(&mut self, number: u64, batch: Batch, free: u64) {
        self.recorder.sent(batch.lines);
        let Some(planned) = self.plan.planned(number, batch.first) else { return };
        let late = LATE.as_nanos() as u64;
        let by = batch.sent.saturating_sub(planned.max(free));
        if by > late {
            // Those behind the first were due later.
            let due = (0..batch.lines as u64).filter_map(|line| self.plan.planned(number, batch.first + line));
            let lines = due.filter(|planned| batch.sent.saturating_sub((*planned).max(free)) > late).count();
            self.recorder.late(lines as u64, by);
        }
    }

    /// Connection `number` has heard this at `now`.
    pub(crate) fn heard(&mut self, number: u64, heard: &Heard<'_>, batch: Batch, now: u64) {
        match heard {
            Heard::Right(_) => self.right(number, batch, now),
            Heard::Wrong { came, to } => {
                let never = self.measured(number, batch);
                self.recorder.never(never);
                self.recorder.mishap(Mishap::Wrong, 1, || {
                    format!("connection {}: came '{}' in reply to '{}'", number + 1, one_line(came), one_line(to))
                });
            }
            Heard::Unasked(line) => self.recorder.mishap(Mishap::Unasked, 1, || {
                format!("connection {}: came '{}', and no line waited for a reply", number + 1, one_line(line))
            }),
        }
    }

    fn right(&mut self, number: u64, batch: Batch, now: u64) {
        let Plan { warmup, end, .. } = self.plan;
        if now >= warmup {
            self.recorder.heard(batch.lines, now < end);
        }
        let service = now.saturating_sub(batch.sent);
        match self.plan.pace {
            Pace::Closed if batch.sent >= warmup => self.recorder.answered(service, batch.lines),
            Pace::Closed => {}
            Pace::Open(_) => {
                let mut measured = 0;
                for index in batch.first..batch.first + batch.lines as u64 {
                    if let Some(planned) = self.plan.planned(number, index).filter(|planned| *planned >= warmup) {
                        self.recorder.responded(now.saturating_sub(planned));
                        measured += 1;
                    }
                }
                self.recorder.answered(service, measured);
            }
        }
    }

    /// Connection `number` is lost; these lines of it were in flight, of which this is the oldest.
    pub(crate) fn lost<'a>(
        &mut self,
        number: u64,
        loss: &Loss,
        in_flight: impl Iterator<Item = &'a Batch>,
        oldest: &[u8],
    ) {
        self.recorder.mishap(Mishap::Lost, 1, || format!("connection {}: {loss}", number + 1));
        self.unanswered(number, in_flight, || format!("{loss}, in place of the reply to '{}'", one_line(oldest)));
    }

    /// These lines will not be answered any more.
    pub(crate) fn unanswered<'a>(
        &mut self,
        number: u64,
        in_flight: impl Iterator<Item = &'a Batch>,
        why: impl FnOnce() -> String,
    ) {
        let (mut lines, mut never) = (0, 0);
        for batch in in_flight {
            lines += batch.lines as u64;
            never += self.measured(number, *batch);
        }
        self.recorder.never(never);
        self.recorder.mishap(Mishap::Unanswered, lines, || format!("connection {}: {}", number + 1, why()));
    }

    /// Of the lines that were due on connection `number`, only so many have been sent.
    pub(crate) fn unsent(&mut self, number: u64, due: u64, sent: u64) {
        let lines = due.saturating_sub(sent);
        self.recorder.never(due.saturating_sub(sent.max(self.plan.unmeasured_on(number))));
        self.recorder.mishap(Mishap::Unsent, lines, || {
            format!("connection {}: {lines} lines were due that it could not send", number + 1)
        });
    }

    /// How many of these lines were due after the warm-up.
    fn measured(&self, number: u64, batch: Batch) -> u64 {
        match self.plan.pace {
            Pace::Closed if batch.sent >= self.plan.warmup => batch.lines as u64,
            Pace::Closed => 0,
            Pace::Open(_) => {
                let indices = batch.first..batch.first + batch.lines as u64;
                indices.filter(|index| self.is_measured(number, *index)).count() as u64
            }
        }
    }

    fn is_measured(&self, number: u64, index: u64) -> bool {
        self.plan.planned(number, index).is_some_and(|planned| planned >= self.plan.warmup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::thread_recorder::Tally;

    fn plan(connections: u64, threads: u64) -> Plan {
        let pace = Pace::Open("1000/s".parse().unwrap());
        Plan { pace, pipeline: 1, connections, threads, warmup: 0, end: 10_000_000, patience: 0 }
    }

    /// Each line is due on just one connection, and on that connection's thread.
    #[test]
    fn lines_are_dealt_to_all_connections_in_turn() {
        for (connections, threads) in [(1, 1), (7, 3), (8, 4), (5, 5)] {
            let plan = plan(connections, threads);
            for due in 0..40 {
                let on = |number| (0..due).filter(|k| k % connections == number).count() as u64;
                for thread in 0..threads {
                    let numbers: Vec<u64> =
                        (0..plan.connections_of(thread)).map(|slot| plan.number(thread, slot)).collect();
                    assert_eq!(numbers, (0..connections).filter(|n| n % threads == thread).collect::<Vec<_>>());
                    assert_eq!(plan.due_of(thread, due), numbers.iter().map(|&number| on(number)).sum::<u64>());
                }
                for number in 0..connections {
                    assert_eq!(plan.due_on(number, due), on(number), "{due} on {number} of {connections}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_due_at_the_end_or_later() {
        assert_eq!(plan(3, 1).due_by(0), 1);
        assert_eq!(plan(3, 1).due_by(9_000_000), 10);
        assert_eq!(plan(3, 1).due_by(u64::MAX), 10);
        assert_eq!(plan(3, 1).planned(2, 3), Some(11_000_000));
    }

    /// What the ledger's recorder has told, all ticks together.
    fn told(
        ledger: Ledger,
        messages: &std::sync::mpsc::Receiver<crate::load::measure::thread_recorder::Message>,
    ) -> Tally {
        use crate::load::measure::thread_recorder::{Ended, Message};
        ledger.recorder.finish(Ended { at: 0, waiting: 0, missing: 0, used: None });
        let mut sum = Tally::default();
        for message in messages.try_iter() {
            if let Message::Tick { tick, .. } = message {
                sum.add(&tick.tally);
            }
        }
        sum
    }

    #[test]
    fn a_line_is_late_if_it_left_long_after_it_was_due_and_could_have_left() {
        const MS: u64 = 1_000_000;
        // One connection, one line each millisecond: the first of these is due at 10 ms.
        let plan = Plan { end: u64::MAX, ..plan(1, 1) };
        for (lines, sent, free, late, late_max) in [
            (1, 10 * MS, 0, 0, 0),
            (1, 11 * MS, 0, 0, 0),
            (1, 11 * MS + 1, 0, 1, MS + 1),
            (4, 13 * MS, 0, 2, 3 * MS),
            // Until then, the server had kept it from sending.
            (4, 313 * MS, 312 * MS, 0, 0),
            (4, 315 * MS, 312 * MS, 4, 3 * MS),
        ] {
            let (sender, messages) = std::sync::mpsc::channel();
            let mut ledger = Ledger { plan, recorder: Recorder::new(0, sender, 0, true) };
            ledger.sent(0, Batch { first: 10, lines, sent }, free);
            let tally = told(ledger, &messages);
            assert_eq!((tally.late, tally.late_max, tally.sent), (late, late_max, lines as u64), "{lines} at {sent}");
        }
    }

    #[test]
    fn what_was_due_in_the_warm_up_is_an_error_but_not_measured() {
        let plan = Plan { warmup: 5_000_000, ..plan(2, 1) };
        let (sender, messages) = std::sync::mpsc::channel();
        let mut ledger = Ledger { plan, recorder: Recorder::new(0, sender, plan.warmup, true) };
        // Lines 1, 3, 5, 7 and 9 are due on connection 1, each at as many milliseconds.
        ledger.unanswered(1, [Batch { first: 1, lines: 2, sent: 0 }].iter(), String::new);
        ledger.unsent(1, 5, 1);
        let tally = told(ledger, &messages);
        assert_eq!(tally.mishaps, [0, 0, 2, 4, 0, 0]);
        assert_eq!(tally.never, 1 + 3);
    }
}
