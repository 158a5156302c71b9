//! Turns a timeout into a point in time that bytes which dribble in cannot move.

use std::time::{Duration, Instant};

use super::error::ConnectionError;

/// When a wait is over, if ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    timeout: Duration,
    /// `None`: never.
    at: Option<Instant>,
}

impl Deadline {
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        Self::from(Instant::now(), timeout)
    }

    /// As if the wait had begun at `start`. A time that no clock can hold is never.
    pub(crate) fn from(start: Instant, timeout: Option<Duration>) -> Self {
        let timeout = timeout.unwrap_or(Duration::MAX);
        Self { timeout, at: start.checked_add(timeout) }
    }

    /// The one that is over first.
    pub(crate) fn or_earlier(self, other: Self) -> Self {
        match (self.at, other.at) {
            (Some(at), Some(others)) if others < at => other,
            (None, Some(_)) => other,
            _ => self,
        }
    }

    /// How long the wait may be in all.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long one may still wait; `None`: for ever. Never a zero, which means for ever to a
    /// socket.
    pub(crate) fn remaining(&self) -> Result<Option<Duration>, ConnectionError> {
        let Some(at) = self.at else { return Ok(None) };
        match at.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ConnectionError::TimedOut { timeout: self.timeout }),
            remaining => Ok(Some(remaining)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_timeout_and_none_never_pass() {
        for timeout in [None, Some(Duration::MAX)] {
            assert!(matches!(Deadline::after(timeout).remaining(), Ok(None)));
        }
    }

    #[test]
    fn a_deadline_that_has_passed_stays_so() {
        let deadline = Deadline::after(Some(Duration::ZERO));
        assert!(matches!(deadline.remaining(), Err(ConnectionError::TimedOut { timeout: Duration::ZERO })));
    }
}
