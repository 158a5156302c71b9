//! Turns lines of one job into jobs of one line each, its parts, and their answers into its own.
//!
//! It neither calls the responder nor sends anything.

use crate::config::ConnectionConfig;
use crate::job::{ClientJob, Parked};
use crate::parts::{PartNumber, Parts};
use crate::telnet;

/// How many lines of one client are answered side by side, on as many threads.
///
/// It is for lines that have nothing to do with each other: each is answered with a clone of the
/// session, and what it changes there is lost. A session of `()` has nothing to lose. The responder
/// must not ask for [counted bytes](crate::Reply::read_bytes).
///
/// Only lines that prove dear are given out one by one: those of a turn that took longer for each
/// than a sixteenth of its [budget](crate::TurnBudget), and those that are answered
/// [later](crate::Reply::later).
#[derive(Debug)]
pub struct Parallel<S> {
    max_lines: usize,
    clone: fn(&S) -> S,
}

impl<S: Clone> Parallel<S> {
    /// Answers at most so many lines of one client side by side. With 0 or 1, it is one after the
    /// other.
    #[must_use]
    pub const fn new(max_lines: usize) -> Self {
        Self { max_lines, clone: S::clone }
    }
}

/// Going out.
impl<S> ClientJob<S> {
    /// Returns whether a line may be [split off](Self::split_line), as far as lines go.
    pub(crate) fn can_split(&self, parallel: &Parallel<S>) -> bool {
        let is_alone = !self.awaits_answer() && self.input.lines() < 2;
        let side_by_side = self.parts().map_or(0, Parts::len).max(self.parked().is_some().into());
        self.is_dear
            && self.session.is_some()
            && self.input.lines() > 0
            && !is_alone
            && !self.has_late_answer()
            && side_by_side < parallel.max_lines
    }

    /// Makes the first line that waits a job of its own, to be answered side by side with the
    /// others. What is parked becomes a part as well.
    pub(crate) fn split_line(&mut self, parallel: &Parallel<S>) -> Option<Self> {
        if self.parked().is_some() {
            let session = (parallel.clone)(self.session.as_ref()?);
            let part = self.split_parked(session);
            self.parts_mut()?.add_held(part);
        }
        let session = (parallel.clone)(self.session.as_ref()?);
        let input = self.input.split_line()?;
        let part = self.new_part(session, input);
        self.parts_mut()?.add_in_flight(part.bytes_held());
        Some(part)
    }
}

/// Coming back.
impl<S> ClientJob<S> {
    /// Takes a part back that was in flight.
    pub(crate) fn put_part(&mut self, number: PartNumber, part: Self) {
        let parts = self.parts_mut().expect("a part in flight belongs to a job");
        if let Some(abandoned) = parts.put(number, part) {
            self.let_go(abandoned);
        }
    }

    /// Appends the replies of the first part that are here to its own, and returns the part if it
    /// is answered.
    pub(crate) fn merge_first_part(&mut self, config: &ConnectionConfig) -> Option<Self> {
        let parts = self.parts_mut()?;
        if parts.first().is_some_and(Self::is_over) {
            let mut part = parts.pop_first()?;
            self.latest_ending = part.latest_ending;
            self.is_dear = part.is_dear;
            self.append_replies(std::mem::take(&mut part.replies), config);
            return Some(part);
        }
        // What was said before the answer that comes later.
        let replies = std::mem::take(&mut parts.first_mut()?.replies);
        self.append_replies(replies, config);
        None
    }

    /// Appends replies to those that are not sent.
    fn append_replies(&mut self, replies: Vec<u8>, config: &ConnectionConfig) {
        let start = self.replies.len();
        if start == 0 {
            self.replies = replies;
        } else {
            self.replies.extend_from_slice(&replies);
        }
        if config.rules.telnet {
            telnet::escape(&mut self.replies, start);
        }
    }

    /// Returns whether the first line without a reply is parked.
    pub(crate) fn is_first_parked(&self) -> bool {
        let first = self.parts().and_then(Parts::first);
        first.unwrap_or(self).parked().is_some()
    }

    /// Returns whether a late answer has made the first part due again.
    pub(crate) fn is_first_part_due(&self) -> bool {
        self.parts().and_then(Parts::first).is_some_and(|part| part.has_work() && !part.is_over())
    }

    /// Takes the first part, if it is due again. It is then in flight.
    pub(crate) fn take_first_part_due(&mut self) -> Option<Self> {
        let bytes = self.parts().and_then(Parts::first)?.bytes_held();
        if self.is_first_part_due() { self.parts_mut()?.take_first(bytes) } else { None }
    }

    /// Returns whether the reply timeout of the first part has passed.
    pub(crate) fn has_first_part_timed_out(&self) -> bool {
        self.parts().is_some_and(Parts::has_first_timed_out)
    }

    /// Takes the first answer to a parked part that the connection is told of, and returns whether
    /// there was one. Others that are here have messages of their own.
    pub(crate) fn take_late_answer_of_part(&mut self, config: &ConnectionConfig) -> bool {
        let mut held = self.parts_mut().into_iter().flat_map(Parts::held_mut);
        let part = held.find(|part| part.parked().is_some_and(Parked::is_told_of));
        part.is_some_and(|part| part.take_late_answer(config).is_some())
    }

    /// Has each parked part time out for which `is_over` holds.
    pub(crate) fn time_out_parked_parts(&mut self, is_over: impl Fn(&Parked) -> bool) {
        let parts = self.parts_mut().map(|parts| parts.time_out_held(|part| part.parked().is_some_and(&is_over)));
        parts.unwrap_or_default().into_iter().for_each(|part| self.let_go(part));
    }
}
