//! What one thread has seen, tick by tick. No I/O, no clock: all times come from outside.

use std::io;
use std::sync::mpsc::Sender;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::clock::Used;

/// How often a thread hands over what it has seen.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// A send that leaves later than this after it could have is late: shorter delays are the system's timers.
pub(crate) const LATE: Duration = Duration::from_millis(1);

/// The longest time that is told apart, in nanoseconds: an hour.
const TIME_MAX: u64 = 3_600_000_000_000;

/// Three digits: a bucket is at most a thousandth of its value wide.
const DIGITS: u8 = 3;

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, TIME_MAX, DIGITS).expect("these bounds are in order")
}

/// Why something counts as an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    Wrong,
    Unasked,
    Unanswered,
    Unsent,
    /// A session of a script found nobody to connect to.
    Unconnected,
    Lost,
}

impl Mishap {
    pub(crate) const ALL: [Self; 6] =
        [Self::Wrong, Self::Unasked, Self::Unanswered, Self::Unsent, Self::Unconnected, Self::Lost];
}

/// Counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Lines that were sent, warm-up included.
    pub(crate) sent: u64,
    /// Right replies that came after the warm-up.
    pub(crate) heard: u64,
    /// Those of them that came before the end.
    pub(crate) in_time: u64,
    /// Right replies to lines that were due after the warm-up.
    pub(crate) right: u64,
    /// Lines that were due after the warm-up, and had no right reply.
    pub(crate) never: u64,
    /// What went wrong, warm-up included, in the order of [`Mishap::ALL`].
    pub(crate) mishaps: [u64; Mishap::ALL.len()],
    /// Lines that were sent later than they could have been.
    pub(crate) late: u64,
    /// By how much at most, in nanoseconds.
    pub(crate) late_max: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.heard += other.heard;
        self.in_time += other.in_time;
        self.right += other.right;
        self.never += other.never;
        for (sum, count) in self.mishaps.iter_mut().zip(other.mishaps) {
            *sum += count;
        }
        self.late += other.late;
        self.late_max = self.late_max.max(other.late_max);
    }

    pub(crate) fn errors(&self) -> u64 {
        self.mishaps.iter().sum()
    }
}

/// What was seen in one tick.
#[derive(Debug)]
pub(crate) struct Tick {
    /// Which one, counted from the end of the warm-up; what was seen before belongs to the first.
    pub(crate) number: u64,
    pub(crate) tally: Tally,
    /// From when a line was due to its reply. None in a closed loop, where a line is due when it is sent.
    pub(crate) response: Option<Histogram<u64>>,
    /// From when a line was sent to its reply.
    pub(crate) service: Histogram<u64>,
}

/// What a thread says to whoever collects.
#[derive(Debug)]
pub(crate) enum Message {
    /// A tick is over.
    Tick { thread: usize, tick: Box<Tick> },
    /// The first of its kind on this thread.
    Example(Mishap, String),
    /// There is nothing more to come from a thread.
    Ended(io::Result<Ended>),
}

/// What a thread tells at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// When it ended, in nanoseconds since the start.
    pub(crate) at: u64,
    /// Lines that were due or in flight when it was told to stop.
    pub(crate) waiting: u64,
    /// Connections that were lost when they could still have sent something.
    pub(crate) missing: u64,
    /// Processor time that it has used since the end of the warm-up, and how long that was.
    pub(crate) used: Option<Used>,
}

/// Collects what one thread sees.
#[derive(Debug)]
pub(crate) struct Recorder {
    thread: usize,
    messages: Sender<Message>,
    warmup: u64,
    tick: Tick,
    is_told: [bool; Mishap::ALL.len()],
}

impl Recorder {
    /// `warmup` is in nanoseconds.
    pub(crate) fn new(thread: usize, messages: Sender<Message>, warmup: u64, is_open: bool) -> Self {
        Self { thread, messages, warmup, tick: Self::fresh(0, is_open), is_told: Default::default() }
    }

    fn fresh(number: u64, is_open: bool) -> Tick {
        let response = is_open.then(histogram);
        Tick { number, tally: Tally::default(), response, service: histogram() }
    }

    pub(crate) fn sent(&mut self, lines: usize) {
        self.tick.tally.sent += lines as u64;
    }

    /// A line left so long after it could have.
    pub(crate) fn late(&mut self, lines: u64, by: u64) {
        self.tick.tally.late += lines;
        self.tick.tally.late_max = self.tick.tally.late_max.max(by);
    }

    /// So many right replies have come.
    pub(crate) fn heard(&mut self, lines: usize, is_in_time: bool) {
        self.tick.tally.heard += lines as u64;
        if is_in_time {
            self.tick.tally.in_time += lines as u64;
        }
    }

    /// So many lines that are measured were sent `service` nanoseconds ago and are answered. In a closed loop that is all there is to say.
    pub(crate) fn answered(&mut self, service: u64, lines: usize) {
        self.tick.tally.right += lines as u64;
        self.tick.service.saturating_record_n(service.max(1), lines as u64);
    }

    /// A line that was answered had been due so many nanoseconds ago.
    pub(crate) fn responded(&mut self, response: u64) {
        if let Some(histogram) = &mut self.tick.response {
            histogram.saturating_record(response.max(1));
        }
    }

    /// So many lines, due after the warm-up, will have no right reply.
    pub(crate) fn never(&mut self, lines: u64) {
        self.tick.tally.never += lines;
    }

    pub(crate) fn mishap(&mut self, mishap: Mishap, count: u64, example: impl FnOnce() -> String) {
        if count == 0 {
            return;
        }
        let kind = mishap as usize;
        self.tick.tally.mishaps[kind] += count;
        if !std::mem::replace(&mut self.is_told[kind], true) {
            // Whoever has stopped listening wants no report.
            let _ = self.messages.send(Message::Example(mishap, example()));
        }
    }

    /// Hands over what is older than the tick of `now`.
    pub(crate) fn turn(&mut self, now: u64) {
        let number = now.saturating_sub(self.warmup) / TICK.as_nanos() as u64;
        if number > self.tick.number {
            self.hand_over(number);
        }
    }

    /// Hands over what is left, and says that this was all.
    pub(crate) fn finish(mut self, ended: Ended) {
        self.hand_over(u64::MAX);
        let _ = self.messages.send(Message::Ended(Ok(ended)));
    }

    fn hand_over(&mut self, next: u64) {
        let fresh = Self::fresh(next, self.tick.response.is_some());
        let tick = Box::new(std::mem::replace(&mut self.tick, fresh));
        let _ = self.messages.send(Message::Tick { thread: self.thread, tick });
    }
}
