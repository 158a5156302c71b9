//! Turns lines of one job into jobs of one line each, its parts, and their answers into its own.
//!
//! It neither calls the responder nor sends anything.

use crate::answer_cell::WhenLate;
use crate::config::ConnectionConfig;
use crate::job::{ClientJob, Parked};
use crate::line::LineEnding;
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
    max_reply_bytes: usize,
    clone: fn(&S) -> S,
}

impl<S: Clone> Parallel<S> {
    /// Answers at most so many lines of one client side by side, and no further one while so many
    /// bytes of replies wait for those before them. With 0 or 1 lines, it is one after the other.
    #[must_use]
    pub const fn new(max_lines: usize, max_reply_bytes: usize) -> Self {
        Self { max_lines, max_reply_bytes, clone: S::clone }
    }
}

/// Going out.
impl<S> ClientJob<S> {
    /// Returns whether a line may be [split off](Self::split_line), as far as lines go.
    pub(crate) fn can_split(&self, parallel: &Parallel<S>) -> bool {
        let is_alone = !self.awaits_answer() && self.input.lines() < 2;
        let side_by_side = self.parts().map_or(0, Parts::lines).max(self.parked().is_some().into());
        self.is_dear
            && self.session.is_some()
            && self.input.lines() > 0
            && !is_alone
            && !self.has_late_answer()
            && (side_by_side as usize) < parallel.max_lines
            && self.parts().map_or(0, Self::reply_bytes_of) < parallel.max_reply_bytes
    }

    /// Returns how many bytes of replies wait for those before them.
    fn reply_bytes_of(parts: &Parts<Self>) -> usize {
        parts.held().map(|part| part.replies.len()).sum()
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
    pub(crate) fn take_part_back(&mut self, number: PartNumber, part: Self) {
        let parts = self.parts_mut().expect("a part in flight belongs to a job");
        if let Some(abandoned) = parts.take_back(number, part) {
            self.let_go(abandoned);
        }
    }

    /// Removes the first part if nothing more of it is answered, and makes its replies its own.
    pub(crate) fn merge_first_part(&mut self, config: &ConnectionConfig) -> Option<Self> {
        let parts = self.parts_mut()?;
        parts.first().filter(|part| part.is_over())?;
        let mut part = parts.pop_first()?;
        self.is_dear = part.is_dear;
        self.append_replies(part.latest_ending, std::mem::take(&mut part.replies), config);
        Some(part)
    }

    /// Makes the replies its own that the first part has before an answer that comes later.
    pub(crate) fn take_said_by_first_part(&mut self, config: &ConnectionConfig) {
        if let Some(first) = self.parts_mut().and_then(Parts::first_mut) {
            let (ending, replies) = (first.latest_ending, std::mem::take(&mut first.replies));
            self.append_replies(ending, replies, config);
        }
    }

    /// Appends replies of a part to those that are not sent.
    fn append_replies(&mut self, ending: LineEnding, replies: Vec<u8>, config: &ConnectionConfig) {
        self.latest_ending = ending;
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
        self.parts().and_then(Parts::first).is_some_and(Self::is_due_again)
    }

    /// Returns whether a late answer has made any part due again.
    pub(crate) fn has_part_due(&self) -> bool {
        self.parts().is_some_and(|parts| parts.held().any(Self::is_due_again))
    }

    /// Takes the first of the parts that are due again. It is then in flight.
    pub(crate) fn take_part_due(&mut self) -> Option<Self> {
        self.parts_mut()?.take_held(Self::is_due_again, Self::bytes_held)
    }

    /// Returns whether a late answer has made this part due again.
    fn is_due_again(&self) -> bool {
        self.has_late_answer() && !self.is_over()
    }

    /// Returns whether a thread that answers makes the reply of the first part, or is to.
    pub(crate) fn is_first_part_made(&self) -> bool {
        let first = self.parts().and_then(Parts::first);
        self.has_parts() && first.is_none_or(Self::is_due_again)
    }

    /// Returns whether the reply timeout of the first part has passed.
    pub(crate) fn has_first_part_timed_out(&self) -> bool {
        self.parts().is_some_and(Parts::has_first_timed_out)
    }

    /// Has each parked part time out for which `is_late` holds: it is rejected, or the connection
    /// closes when it is the first.
    pub(crate) fn time_out_parked_parts(&mut self, is_late: impl Fn(&Parked) -> bool) {
        let Some(parts) = self.parts_mut() else { return };
        let is_late = |part: &Self| part.parked().is_some_and(&is_late);
        let is_rejected = |part: &Self| part.parked().is_some_and(|parked| parked.answer.when_late == WhenLate::Reject);
        parts.held_mut().filter(|part| is_late(part) && is_rejected(part)).for_each(Self::reject_late);
        let timed_out = parts.time_out_held(is_late);
        timed_out.into_iter().for_each(|part| self.let_go(part));
    }
}
