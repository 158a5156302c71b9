//! Knows when each line is due, and keeps the accounts of what has become of it. No I/O.

use std::sync::Arc;
use std::time::Duration;

use super::latency::ShortDuration;
use super::thread_recorder::{LATE, LoadErrorKind, ThreadRecorder};
use crate::load::exchange::{Awaited, Batch, ConnectionLoss, Received, ReplyPlace};
use crate::load::schedule::{Pace, Schedule};
use crate::net::escape::one_line;
use crate::talk::Secrets;

/// The accounts of one thread.
#[derive(Debug)]
pub(crate) struct Accounting {
    pub(crate) schedule: Schedule,
    pub(crate) recorder: ThreadRecorder,
    /// What is not to be shown of the lines that are told.
    pub(crate) secrets: Arc<Secrets>,
}

impl Accounting {
    /// Connection `number` has sent these lines. They could have left at `free`, or when they were
    /// due.
    pub(crate) fn sent(&mut self, number: u64, batch: Batch, free: u64) {
        self.recorder.sent(batch.lines);
        let Some(intended) = self.schedule.intended(number, batch.first) else { return };
        let late = LATE.as_nanos() as u64;
        let by = batch.sent.saturating_sub(intended.max(free));
        if by > late {
            // Those behind the first were due later.
            let due = (0..batch.lines as u64).filter_map(|line| self.schedule.intended(number, batch.first + line));
            let lines = due.filter(|intended| batch.sent.saturating_sub((*intended).max(free)) > late).count();
            self.recorder.late(lines as u64, by);
        }
    }

    /// Connection `number` has heard this at `now`.
    pub(crate) fn received(&mut self, number: u64, received: &Received<'_>, batch: Batch, now: u64) {
        match received {
            Received::Match(_) => self.right(number, batch, now),
            Received::Mismatch { came, place, to } => {
                let unanswered = self.measured(number, batch);
                let secrets = &self.secrets;
                self.recorder.unanswered(unanswered);
                self.recorder.error(LoadErrorKind::Mismatch, 1, || {
                    let (number, came, to) = (number + 1, shown(came, secrets), shown(to, secrets));
                    match place {
                        ReplyPlace::Whole => format!("connection {number}: came '{came}' in reply to '{to}'"),
                        ReplyPlace::Line(line) => {
                            format!("connection {number}: came '{came}' as line {line} of the reply to '{to}'")
                        }
                        ReplyPlace::End(line) => format!(
                            "connection {number}: the reply to '{to}' ended with its line {line}, '{came}': more were expected"
                        ),
                    }
                });
            }
            Received::Uncompared => self.recorder.uncompared(),
            Received::Suspect { came, to } => self.recorder.suspect(|| {
                let (came, to) = (shown(came, &self.secrets), shown(to, &self.secrets));
                format!("connection {}: came '{came}' in reply to '{to}'", number + 1)
            }),
            Received::Unsolicited(line) => self.recorder.error(LoadErrorKind::Unsolicited, 1, || {
                let line = shown(line, &self.secrets);
                format!("connection {}: came '{line}', and no line waited for a reply", number + 1)
            }),
        }
    }

    fn right(&mut self, number: u64, batch: Batch, now: u64) {
        let warmup = self.schedule.warmup;
        if now >= warmup {
            self.recorder.replied(batch.lines, self.schedule.is_in_time(now));
        }
        let service = now.saturating_sub(batch.sent);
        match self.schedule.pace {
            Pace::Closed if batch.sent >= warmup => self.recorder.answered(service, batch.lines),
            Pace::Closed => {}
            Pace::Open(_) => {
                let mut measured = 0;
                for index in batch.first..batch.first + batch.lines as u64 {
                    if let Some(intended) = self.schedule.intended(number, index).filter(|intended| *intended >= warmup)
                    {
                        self.recorder.responded(now.saturating_sub(intended));
                        measured += 1;
                    }
                }
                self.recorder.answered(service, measured);
            }
        }
    }

    /// Connection `number` is lost at `now`; these lines of it were in flight, and this is what it
    /// waited for.
    pub(crate) fn lost<'a>(
        &mut self,
        number: u64,
        loss: &ConnectionLoss,
        now: u64,
        in_flight: impl Iterator<Item = &'a Batch>,
        awaited: Awaited<'_>,
    ) {
        self.recorder.lost(now, || {
            format!("connection {}, after {}: {loss}", number + 1, ShortDuration(Duration::from_nanos(now)))
        });
        self.unanswered(number, loss, in_flight, awaited);
    }

    /// These lines will not be answered any more.
    pub(crate) fn unanswered<'a>(
        &mut self,
        number: u64,
        loss: &ConnectionLoss,
        in_flight: impl Iterator<Item = &'a Batch>,
        awaited: Awaited<'_>,
    ) {
        let (mut lines, mut unanswered) = (0, 0);
        for batch in in_flight {
            lines += batch.lines as u64;
            unanswered += self.measured(number, *batch);
        }
        self.recorder.unanswered(unanswered);
        self.recorder.error(LoadErrorKind::Unanswered, lines, || {
            format!("connection {}: {loss}, {}", number + 1, awaited.shown(&self.secrets))
        });
    }

    /// Of the lines that were due on connection `number`, only so many have been sent.
    pub(crate) fn unsent(&mut self, number: u64, due: u64, sent: u64) {
        let lines = due.saturating_sub(sent);
        self.recorder.unanswered(due.saturating_sub(sent.max(self.schedule.unmeasured_on(number))));
        self.recorder.error(LoadErrorKind::Unsent, lines, || {
            format!("connection {}: {lines} lines were due that it could not send", number + 1)
        });
    }

    /// How many of these lines were due after the warm-up.
    fn measured(&self, number: u64, batch: Batch) -> u64 {
        match self.schedule.pace {
            Pace::Closed if batch.sent >= self.schedule.warmup => batch.lines as u64,
            Pace::Closed => 0,
            Pace::Open(_) => {
                let indices = batch.first..batch.first + batch.lines as u64;
                indices.filter(|index| self.is_measured(number, *index)).count() as u64
            }
        }
    }

    fn is_measured(&self, number: u64, index: u64) -> bool {
        self.schedule.intended(number, index).is_some_and(|intended| intended >= self.schedule.warmup)
    }
}

fn shown(line: &[u8], secrets: &Secrets) -> String {
    one_line(&secrets.mask(line)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::measure::thread_recorder::Counts;

    fn schedule(connections: u64, threads: u64) -> Schedule {
        let pace = Pace::Open("1000/s".parse().unwrap());
        Schedule { pace, pipeline: 1, connections, threads, warmup: 0, end: 10_000_000, total: None, reply_timeout: 0 }
    }

    fn accounting(schedule: Schedule, recorder: ThreadRecorder) -> Accounting {
        Accounting { schedule, recorder, secrets: Arc::default() }
    }

    /// Each line is due on just one connection, and on that connection's thread.
    #[test]
    fn lines_are_dealt_to_all_connections_in_turn() {
        for (connections, threads) in [(1, 1), (7, 3), (8, 4), (5, 5)] {
            let schedule = schedule(connections, threads);
            for due in 0..40 {
                let on = |number| (0..due).filter(|k| k % connections == number).count() as u64;
                for thread in 0..threads {
                    let numbers: Vec<u64> =
                        (0..schedule.connections_of(thread)).map(|slot| schedule.number(thread, slot)).collect();
                    assert_eq!(numbers, (0..connections).filter(|n| n % threads == thread).collect::<Vec<_>>());
                    assert_eq!(schedule.due_of(thread, due), numbers.iter().map(|&number| on(number)).sum::<u64>());
                }
                for number in 0..connections {
                    assert_eq!(schedule.due_on(number, due), on(number), "{due} on {number} of {connections}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_due_at_the_end_or_later() {
        assert_eq!(schedule(3, 1).due_by(0), 1);
        assert_eq!(schedule(3, 1).due_by(9_000_000), 10);
        assert_eq!(schedule(3, 1).due_by(u64::MAX), 10);
        assert_eq!(schedule(3, 1).intended(2, 3), Some(11_000_000));
    }

    /// What the accounting's recorder has told, all ticks together.
    fn told(
        accounting: Accounting,
        messages: &std::sync::mpsc::Receiver<crate::load::measure::thread_recorder::RecorderMessage>,
    ) -> Counts {
        use crate::load::measure::thread_recorder::{RecorderMessage, ThreadResult};
        accounting.recorder.finish(ThreadResult { at: 0, waiting: 0, lost_early: 0, used: None });
        let mut sum = Counts::default();
        for message in messages.try_iter() {
            if let RecorderMessage::Tick { tick, .. } = message {
                sum.add(&tick.counts);
            }
        }
        sum
    }

    #[test]
    fn a_line_is_late_if_it_left_long_after_it_was_due_and_could_have_left() {
        const MS: u64 = 1_000_000;
        // One connection, one line each millisecond: the first of these is due at 10 ms.
        let schedule = Schedule { end: u64::MAX, ..schedule(1, 1) };
        for (lines, sent, free, late, max_late) in [
            (1, 10 * MS, 0, 0, 0),
            (1, 11 * MS, 0, 0, 0),
            (1, 11 * MS + 1, 0, 1, MS + 1),
            (4, 13 * MS, 0, 2, 3 * MS),
            // Until then, the server had kept it from sending.
            (4, 313 * MS, 312 * MS, 0, 0),
            (4, 315 * MS, 312 * MS, 4, 3 * MS),
        ] {
            let (sender, messages) = std::sync::mpsc::channel();
            let mut accounting = accounting(schedule, ThreadRecorder::new(0, sender, 0, true));
            accounting.sent(0, Batch { first: 10, lines, sent }, free);
            let counts = told(accounting, &messages);
            assert_eq!(
                (counts.late, counts.max_late, counts.sent),
                (late, max_late, lines as u64),
                "{lines} at {sent}"
            );
        }
    }

    #[test]
    fn what_was_due_in_the_warm_up_is_an_error_but_not_measured() {
        let schedule = Schedule { warmup: 5_000_000, ..schedule(2, 1) };
        let (sender, messages) = std::sync::mpsc::channel();
        let mut accounting = accounting(schedule, ThreadRecorder::new(0, sender, schedule.warmup, true));
        // Lines 1, 3, 5, 7 and 9 are due on connection 1, each at as many milliseconds.
        let awaited = Awaited { to: b"", begun: None };
        accounting.unanswered(1, &ConnectionLoss::Closed, [Batch { first: 1, lines: 2, sent: 0 }].iter(), awaited);
        accounting.unsent(1, 5, 1);
        let counts = told(accounting, &messages);
        assert_eq!(counts.errors_by_kind, [0, 0, 2, 4, 0, 0]);
        assert_eq!(counts.unanswered, 1 + 3);
    }
}
