//! Turns an answer that comes at any time, from any thread, into one that its connection takes:
//! once, or not at all.
//!
//! It knows no connection. Who waits for the answer is told by a call that it left behind.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use crate::error::ResponderError;
use crate::line::LineEnding;
use crate::rejection::Rejection;
use crate::sync::{Arc, Mutex, MutexGuard};

/// What came in the place of a reply.
pub(crate) enum LateAnswer {
    /// The reply, as it is sent.
    Bytes(Vec<u8>, WhenTaken),
    Rejection(Rejection),
    /// A [`ThenFn`](crate::later::ThenFn) for sessions of a type that only the responder knows.
    Then(Box<dyn Any + Send>),
    Error(ResponderError),
}

impl fmt::Debug for LateAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes, _) => write!(f, "Bytes \"{}\"", bytes.escape_ascii()),
            Self::Rejection(rejection) => write!(f, "{rejection:?}"),
            Self::Then(_) => f.write_str("Then"),
            Self::Error(error) => write!(f, "{error:?}"),
        }
    }
}

/// What is done once an answer is among the replies, or nobody wants it any more. That it is done
/// when this is dropped leaves no way to forget it.
pub(crate) struct WhenTaken(Option<Box<dyn FnOnce() + Send>>);

impl WhenTaken {
    pub(crate) const fn nothing() -> Self {
        Self(None)
    }

    pub(crate) fn call(then: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(then)))
    }
}

impl Drop for WhenTaken {
    fn drop(&mut self) {
        if let Some(then) = self.0.take()
            && let Err(panic) = catch_unwind(AssertUnwindSafe(then))
        {
            // Nobody can be told, and dropping the payload of a panic may panic as well.
            std::mem::forget(panic);
        }
    }
}

/// What happens to a line that is answered [later](crate::Reply::later_with), and to its client, if
/// the answer does not come within the [reply timeout](crate::ConnectionTimeouts::reply).
///
/// ```
/// # extern crate greeter_core as greeter_server;
/// # use std::sync::Mutex;
/// # use std::time::Duration;
/// # use greeter_server::testing::TestClient;
/// use greeter_server::{BoxError, Later, Line, Peer, Reply, Responder, WhenLate};
///
/// /// Asks another program that may be slow.
/// struct Asking(Mutex<Vec<Later>>);
///
/// impl Responder for Asking {
///     type Session = ();
///
///     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
///         Ok(())
///     }
///
///     fn respond(&self, _: &mut (), _: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
///         self.0.lock().unwrap().push(reply.later_with(WhenLate::Reject));
///         Ok(())
///     }
/// }
///
/// let asking = Asking(Mutex::default());
/// let mut client = TestClient::connect(&asking);
/// client.send("Bob\nAnn\n").wait(Duration::from_secs(60)).expect("error: timed out\n");
/// asking.0.lock().unwrap().pop().unwrap().line("Ann is in");
/// client.expect("Ann is in\n");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenLate {
    /// The client receives [`Rejection::ReplyTimeout`], and its connection closes: nobody knows
    /// what has become of the answer.
    #[default]
    Close,
    /// The line is rejected with [`Rejection::ReplyTimeout`] in its place, by the responder's
    /// [`reject`](crate::Responder::reject), and the client goes on with its next line: it is for
    /// answers that are no use any more, from a program that can be ended.
    Reject,
    /// The answer is waited for without end, as long as anything happens: the [idle
    /// timeout](crate::ConnectionTimeouts::idle) counts, from the line on.
    Wait,
}

/// The place where an answer and its connection meet.
///
/// An answer may come before the connection waits for it, and then lies here. Or the connection
/// comes first, and leaves the call by which it is told.
pub(crate) struct AnswerCell(Mutex<CellState>);

/// What tells a connection that the answer is here.
pub(crate) type Wake = Box<dyn FnOnce() + Send>;

enum CellState {
    /// Nobody has come.
    Open,
    /// The connection waits.
    Armed(Wake),
    /// The answer is here.
    Answered(LateAnswer),
    /// The answer was taken, or the connection does not want it any more; then it is told, if it
    /// was waiting, of an answer that comes too late.
    Closed(Option<Wake>),
}

impl AnswerCell {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(CellState::Open))
    }

    /// Returns whether an answer would be taken.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(*self.state(), CellState::Closed(_))
    }

    /// Returns whether the connection waits, and is told of the answer.
    pub(crate) fn is_armed(&self) -> bool {
        matches!(*self.state(), CellState::Armed(_))
    }

    /// Puts the answer here. Called once.
    pub(crate) fn answer(&self, answer: LateAnswer) {
        let (wake, _too_late) = {
            let mut state = self.state();
            match std::mem::replace(&mut *state, CellState::Closed(None)) {
                CellState::Open => {
                    *state = CellState::Answered(answer);
                    (None, None)
                }
                CellState::Armed(wake) => {
                    *state = CellState::Answered(answer);
                    (Some(wake), None)
                }
                // It is dropped when the lock is not held any more: that is the responder's code.
                CellState::Closed(wake) => (wake, Some(answer)),
                CellState::Answered(_) => unreachable!("there is one answer"),
            }
        };
        if let Some(wake) = wake {
            wake();
        }
    }

    /// Leaves a call by which the connection is told of the answer. Returns it if the answer is
    /// here already.
    pub(crate) fn arm(&self, wake: Wake) -> Option<Wake> {
        let mut state = self.state();
        if !matches!(*state, CellState::Open) {
            return Some(wake);
        }
        *state = CellState::Armed(wake);
        None
    }

    /// Returns how many bytes the answer has, if it is here and is bytes.
    pub(crate) fn len(&self) -> usize {
        match &*self.state() {
            CellState::Answered(LateAnswer::Bytes(bytes, _)) => bytes.len(),
            _ => 0,
        }
    }

    /// Returns whether the answer is here.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(*self.state(), CellState::Answered(_))
    }

    /// Takes the answer, if it is here.
    pub(crate) fn take(&self) -> Option<LateAnswer> {
        let mut state = self.state();
        if !matches!(*state, CellState::Answered(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, CellState::Closed(None)) {
            CellState::Answered(answer) => Some(answer),
            _ => None,
        }
    }

    /// Ends the wait. Returns the answer if it has come and was not taken; only a thread that
    /// answers may drop that, since it may hold the responder's code.
    pub(crate) fn cancel(&self) -> Option<LateAnswer> {
        let mut state = self.state();
        match std::mem::replace(&mut *state, CellState::Closed(None)) {
            CellState::Answered(answer) => Some(answer),
            CellState::Armed(wake) | CellState::Closed(Some(wake)) => {
                *state = CellState::Closed(Some(wake));
                None
            }
            CellState::Open | CellState::Closed(None) => None,
        }
    }

    /// No code that holds the lock can panic half-way.
    fn state(&self) -> MutexGuard<'_, CellState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection's end of a cell. Dropping it ends the wait, whatever becomes of the connection.
#[derive(Debug)]
pub(crate) struct AwaitedAnswer {
    cell: Arc<AnswerCell>,
    /// How the lines end that the answer writes.
    pub(crate) ending: LineEnding,
    /// What happens if it does not come in time.
    pub(crate) when_late: WhenLate,
}

impl AwaitedAnswer {
    pub(crate) const fn new(cell: Arc<AnswerCell>, ending: LineEnding, when_late: WhenLate) -> Self {
        Self { cell, ending, when_late }
    }
}

impl Deref for AwaitedAnswer {
    type Target = AnswerCell;

    fn deref(&self) -> &AnswerCell {
        &self.cell
    }
}

impl Drop for AwaitedAnswer {
    fn drop(&mut self) {
        drop(self.cell.cancel());
    }
}

impl fmt::Debug for AnswerCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self.state() {
            CellState::Open => "open",
            CellState::Armed(_) => "armed",
            CellState::Answered(_) => "answered",
            CellState::Closed(_) => "closed",
        })
    }
}

/// The cell, in every order in which an answer and its connection can use it:
///
/// ```sh
/// RUSTFLAGS="--cfg loom" cargo test --target-dir target/loom -p greeter-core --lib models
/// ```
#[cfg(all(loom, test))]
mod models {
    use super::*;
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::thread;

    struct Scene {
        cell: Arc<AnswerCell>,
        /// How often the connection was told.
        told: Arc<AtomicU32>,
        answering: thread::JoinHandle<()>,
    }

    /// Has another thread answer, or drop what it could have answered with.
    fn scene(drops: bool) -> Scene {
        let cell = Arc::new(AnswerCell::new());
        let answering = thread::spawn({
            let cell = Arc::clone(&cell);
            move || {
                if !drops {
                    cell.answer(LateAnswer::Bytes(b"late".to_vec(), WhenTaken::nothing()));
                } else if cell.is_open() {
                    cell.answer(LateAnswer::Error(ResponderError::Misuse("dropped")));
                }
            }
        });
        Scene { cell, told: Arc::new(AtomicU32::new(0)), answering }
    }

    impl Scene {
        fn arm(&self) -> bool {
            let told = Arc::clone(&self.told);
            let wake = self.cell.arm(Box::new(move || {
                told.fetch_add(1, Ordering::SeqCst);
            }));
            wake.is_none()
        }
    }

    #[test]
    fn an_answer_is_taken_at_once_or_told_of_once() {
        for drops in [false, true] {
            loom::model(move || {
                let scene = scene(drops);
                let is_armed = scene.arm();
                let taken = scene.cell.take().is_some();
                assert!(is_armed || taken, "the answer is here, or the connection is told");
                let Scene { cell, told, answering } = scene;
                answering.join().unwrap();
                assert_eq!(told.load(Ordering::SeqCst), u32::from(is_armed));
                assert_eq!(cell.take().is_some(), !taken, "it is taken once");
            });
        }
    }

    /// A timeout, a reset, a kill and the end of the server are all the same to the cell.
    #[test]
    fn a_wait_that_ends_meets_the_answer_or_not() {
        loom::model(|| {
            let scene = scene(false);
            let is_armed = scene.arm();
            let met = scene.cell.cancel().is_some();
            assert!(!scene.cell.is_open());
            let Scene { cell, told, answering } = scene;
            answering.join().unwrap();
            assert!(cell.take().is_none(), "nobody takes it any more");
            assert!(is_armed || met);
            // Also of an answer that is too late, so that it can be counted.
            assert_eq!(told.load(Ordering::SeqCst), u32::from(is_armed));
        });
    }

    #[test]
    fn a_timeout_and_a_lost_connection_end_a_wait_together() {
        loom::model(|| {
            let scene = scene(false);
            scene.arm();
            let awaited = AwaitedAnswer::new(Arc::clone(&scene.cell), LineEnding::Lf, WhenLate::Close);
            let dropping = thread::spawn(move || drop(awaited));
            let met = scene.cell.cancel().is_some();
            dropping.join().unwrap();
            scene.answering.join().unwrap();
            assert!(scene.cell.take().is_none() || !met);
            assert!(!scene.cell.is_open());
        });
    }
}
