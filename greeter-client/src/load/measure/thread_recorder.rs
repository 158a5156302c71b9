//! What one thread has seen, tick by tick. No I/O, no clock: all times come from outside.

use std::io;
use std::sync::mpsc::Sender;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::clock::CpuUsage;

/// How often a thread hands over what it has seen.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// A send that leaves later than this after it could have is late: shorter delays are the system's
/// timers.
pub(crate) const LATE: Duration = Duration::from_millis(1);

/// The longest time that is told apart, in nanoseconds: an hour.
const MAX_TIME: u64 = 3_600_000_000_000;

/// Three digits: a bucket is at most a thousandth of its value wide.
const DIGITS: u8 = 3;

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_TIME, DIGITS).expect("these bounds are in order")
}

/// Why something counts as an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadErrorKind {
    Mismatch,
    Unsolicited,
    Unanswered,
    Unsent,
    /// A session of a script found nobody to connect to.
    Unconnected,
    Lost,
}

impl LoadErrorKind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Mismatch, Self::Unsolicited, Self::Unanswered, Self::Unsent, Self::Unconnected, Self::Lost];
}

/// Counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Lines that were sent, warm-up included.
    pub(crate) sent: u64,
    /// Right replies that came after the warm-up.
    pub(crate) replies: u64,
    /// Those of them that came before the end.
    pub(crate) in_time: u64,
    /// Right replies to lines that were due after the warm-up.
    pub(crate) right: u64,
    /// Lines that were due after the warm-up, and had no right reply.
    pub(crate) unanswered: u64,
    /// What went wrong, warm-up included, in the order of [`LoadErrorKind::ALL`].
    pub(crate) errors_by_kind: [u64; LoadErrorKind::ALL.len()],
    /// Lines of replies that were compared with nothing, warm-up included.
    pub(crate) uncompared: u64,
    /// Lines that were compared with nothing and look like an error, warm-up included.
    pub(crate) suspect: u64,
    /// When the last connection was lost, in nanoseconds since the start.
    pub(crate) last_lost: u64,
    /// Lines that were sent later than they could have been.
    pub(crate) late: u64,
    /// By how much at most, in nanoseconds.
    pub(crate) max_late: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.replies += other.replies;
        self.in_time += other.in_time;
        self.right += other.right;
        self.unanswered += other.unanswered;
        for (sum, count) in self.errors_by_kind.iter_mut().zip(other.errors_by_kind) {
            *sum += count;
        }
        self.uncompared += other.uncompared;
        self.suspect += other.suspect;
        self.last_lost = self.last_lost.max(other.last_lost);
        self.late += other.late;
        self.max_late = self.max_late.max(other.max_late);
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors_by_kind.iter().sum()
    }
}

/// What was seen in one tick.
#[derive(Debug)]
pub(crate) struct TickRecord {
    /// Which one, counted from the end of the warm-up; what was seen before belongs to the first.
    pub(crate) number: u64,
    pub(crate) counts: Counts,
    /// From when a line was due to its reply. None in a closed loop, where a line is due when it is
    /// sent.
    pub(crate) response: Option<Histogram<u64>>,
    /// From when a line was sent to its reply.
    pub(crate) service: Histogram<u64>,
}

/// What a thread says to whoever collects.
#[derive(Debug)]
pub(crate) enum RecorderMessage {
    /// A tick is over.
    Tick { thread: usize, tick: Box<TickRecord> },
    /// The first of its kind on this thread.
    Example(LoadErrorKind, String),
    /// The first line on this thread that looks like an error.
    Suspect(String),
    /// There is nothing more to come from a thread.
    Ended(io::Result<ThreadResult>),
}

/// What a thread tells at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadResult {
    /// When it ended, in nanoseconds since the start.
    pub(crate) at: u64,
    /// Lines that were due or in flight when it was told to stop.
    pub(crate) waiting: u64,
    /// Connections that were lost when they could still have sent something.
    pub(crate) lost_early: u64,
    /// Processor time that it has used since the end of the warm-up, and how long that was.
    pub(crate) used: Option<CpuUsage>,
}

/// Collects what one thread sees.
#[derive(Debug)]
pub(crate) struct ThreadRecorder {
    thread: usize,
    messages: Sender<RecorderMessage>,
    warmup: u64,
    tick: TickRecord,
    is_told: [bool; LoadErrorKind::ALL.len()],
    is_suspect_told: bool,
}

impl ThreadRecorder {
    /// `warmup` is in nanoseconds.
    pub(crate) fn new(thread: usize, messages: Sender<RecorderMessage>, warmup: u64, is_open: bool) -> Self {
        Self {
            thread,
            messages,
            warmup,
            tick: Self::fresh(0, is_open),
            is_told: Default::default(),
            is_suspect_told: false,
        }
    }

    fn fresh(number: u64, is_open: bool) -> TickRecord {
        let response = is_open.then(histogram);
        TickRecord { number, counts: Counts::default(), response, service: histogram() }
    }

    pub(crate) fn sent(&mut self, lines: usize) {
        self.tick.counts.sent += lines as u64;
    }

    /// A line left so long after it could have.
    pub(crate) fn late(&mut self, lines: u64, by: u64) {
        self.tick.counts.late += lines;
        self.tick.counts.max_late = self.tick.counts.max_late.max(by);
    }

    /// So many right replies have come.
    pub(crate) fn replied(&mut self, lines: usize, is_in_time: bool) {
        self.tick.counts.replies += lines as u64;
        if is_in_time {
            self.tick.counts.in_time += lines as u64;
        }
    }

    /// So many lines that are measured were sent `service` nanoseconds ago and are answered. In a
    /// closed loop that is all there is to say.
    pub(crate) fn answered(&mut self, service: u64, lines: usize) {
        self.tick.counts.right += lines as u64;
        self.tick.service.saturating_record_n(service.max(1), lines as u64);
    }

    /// A line that was answered had been due so many nanoseconds ago.
    pub(crate) fn responded(&mut self, response: u64) {
        if let Some(histogram) = &mut self.tick.response {
            histogram.saturating_record(response.max(1));
        }
    }

    /// So many lines, due after the warm-up, will have no right reply.
    pub(crate) fn unanswered(&mut self, lines: u64) {
        self.tick.counts.unanswered += lines;
    }

    /// A line of a reply was compared with nothing.
    pub(crate) fn uncompared(&mut self) {
        self.tick.counts.uncompared += 1;
    }

    /// A line was compared with nothing, and looks like an error.
    pub(crate) fn suspect(&mut self, example: impl FnOnce() -> String) {
        self.tick.counts.suspect += 1;
        if !std::mem::replace(&mut self.is_suspect_told, true) {
            let _ = self.messages.send(RecorderMessage::Suspect(example()));
        }
    }

    pub(crate) fn error(&mut self, kind: LoadErrorKind, count: u64, example: impl FnOnce() -> String) {
        if count == 0 {
            return;
        }
        let index = kind as usize;
        self.tick.counts.errors_by_kind[index] += count;
        if !std::mem::replace(&mut self.is_told[index], true) {
            // Whoever has stopped listening wants no report.
            let _ = self.messages.send(RecorderMessage::Example(kind, example()));
        }
    }

    /// A connection was lost.
    pub(crate) fn lost(&mut self, now: u64, example: impl FnOnce() -> String) {
        self.tick.counts.last_lost = now;
        self.error(LoadErrorKind::Lost, 1, example);
    }

    /// Hands over what is older than the tick of `now`.
    pub(crate) fn turn(&mut self, now: u64) {
        let number = now.saturating_sub(self.warmup) / TICK.as_nanos() as u64;
        if number > self.tick.number {
            self.hand_over(number);
        }
    }

    /// Hands over what is left, and says that this was all.
    pub(crate) fn finish(mut self, ended: ThreadResult) {
        self.hand_over(u64::MAX);
        let _ = self.messages.send(RecorderMessage::Ended(Ok(ended)));
    }

    fn hand_over(&mut self, next: u64) {
        let fresh = Self::fresh(next, self.tick.response.is_some());
        let tick = Box::new(std::mem::replace(&mut self.tick, fresh));
        let _ = self.messages.send(RecorderMessage::Tick { thread: self.thread, tick });
    }
}
