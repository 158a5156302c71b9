//! Asks the connection threads for a sign of life. Must not wait for one.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::thread_mailboxes::ThreadMailboxes;

/// A connection thread that gives no sign of life. It displays as a sentence without a full stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StuckThread {
    /// Which thread: the number at the end of its name, `greeter-conn-0`.
    pub thread: usize,
    /// For how long it has not answered.
    pub waited: Duration,
}

/// The question that each thread was asked last. A thread is asked by mail, between two turns, so
/// that nobody is woken about whom nobody asks.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    questions: Mutex<Vec<Question>>,
}

#[derive(Clone, Debug)]
struct Question {
    asked: Instant,
    is_answered: Arc<AtomicBool>,
}

impl Question {
    /// Whether somebody still has it to answer. A thread that ends lets go of its mail.
    fn is_open(&self) -> bool {
        Arc::strong_count(&self.is_answered) > 1 && !self.is_answered.load(Ordering::Relaxed)
    }
}

impl Liveness {
    /// Returns the thread that has left a question unanswered for longest, if that is longer than
    /// this. Whoever has answered is asked again.
    pub(crate) fn stuck_thread(
        &self,
        mailboxes: &dyn ThreadMailboxes,
        longer_than: Duration,
        now: Instant,
    ) -> Option<StuckThread> {
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        let unasked = Question { asked: now, is_answered: Arc::new(AtomicBool::new(true)) };
        questions.resize(mailboxes.count(), unasked);
        let mut stuck = None::<StuckThread>;
        for (thread, question) in questions.iter_mut().enumerate() {
            if !question.is_open() {
                let is_answered = Arc::new(AtomicBool::new(false));
                // One that has ended has nothing to answer any more.
                if mailboxes.ask(thread, Arc::clone(&is_answered)) {
                    *question = Question { asked: now, is_answered };
                }
            }
            let waited = now.saturating_duration_since(question.asked);
            if question.is_open() && waited > longer_than && stuck.is_none_or(|stuck| stuck.waited < waited) {
                stuck = Some(StuckThread { thread, waited });
            }
        }
        stuck
    }
}

impl fmt::Display for StuckThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "greeter-conn-{} has given no sign of life for {:.1?}", self.thread, self.waited)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::mailbox::mailbox_of;
    use crate::messages::ThreadMessage;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn a_thread_is_stuck_that_leaves_a_question_unanswered_and_not_one_that_ends_with_it() {
        let (mailboxes, mut inboxes): (Vec<_>, Vec<_>) =
            (0..2).map(|_| mailbox_of::<ThreadMessage<(), ()>>(|| Ok(()))).unzip();
        let (liveness, began) = (Liveness::default(), Instant::now());
        let stuck = |seconds| liveness.stuck_thread(&mailboxes, LONG, began + Duration::from_secs(seconds));
        assert_eq!(stuck(0), None);
        let Some(ThreadMessage::GiveSignOfLife(is_answered)) = inboxes[0].next_message() else { panic!("it is asked") };
        is_answered.store(true, Ordering::Relaxed);
        assert_eq!(stuck(10), None);
        assert_eq!(stuck(11), Some(StuckThread { thread: 1, waited: Duration::from_secs(11) }));
        drop(inboxes.pop());
        assert_eq!(stuck(12), None);
        // The first was asked again at 10 s.
        assert_eq!(stuck(21), Some(StuckThread { thread: 0, waited: Duration::from_secs(11) }));
    }
}
