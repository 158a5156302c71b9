//! Turns the lines of many clients into batches, which one thread answers. Must not know what is
//! asked, or how long an answer takes.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::thread;

use greeter_core::{Later, Reply};

use crate::sync::{Condvar, Mutex, MutexGuard};

/// How many questions lie in a queue before it is looked through for those that nobody waits for.
const MIN_LOOK: usize = 64;

/// Has lines of many clients answered together, by one thread of its own.
///
/// It is for what costs little more for many lines than for one: a query of a database, a
/// transaction that is on the disk when it returns, a request to another server. The responder
/// parses and checks a line with the session, and [asks](Self::ask) what is left; a function
/// receives what many clients have asked and answers each, by its own [`Later`]. It can own what it
/// works with, such as a connection to a database, without a lock.
///
/// Nobody waits for a batch to fill. The thread takes what is there as soon as it has answered the
/// batch before: while there is little to do, each batch is of one line, and batches grow with the
/// load. Each client has one line in a batch at most, since its next ones wait for the answer; with
/// lines that are answered [side by side](crate::Builder::in_parallel), it has more.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{Shutdown, TcpStream};
/// use greeter_server::{Asked, Batcher, BoxError, Line, Peer, Rejection, Reply, Responder};
/// use greeter_server::testing;
///
/// /// Adds numbers to one sum, and tells what it is then.
/// struct Till(Batcher<u64>);
///
/// impl Responder for Till {
///     type Session = ();
///
///     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
///         Ok(())
///     }
///
///     fn respond(
///         &self,
///         _: &mut (),
///         line: Line<'_>,
///         reply: &mut Reply<'_>,
///     ) -> Result<(), BoxError> {
///         let number = line.to_str()?.parse().map_err(|_| Rejection::custom("no number"))?;
///         self.0.ask(number, reply);
///         Ok(())
///     }
/// }
///
/// let mut sum: u64 = 0;
/// let batcher = Batcher::spawn(64, move |batch: Vec<Asked<u64>>| {
///     // Here it would be written down, once for all of them.
///     sum += batch.iter().map(|asked| asked.question).sum::<u64>();
///     batch.into_iter().for_each(|asked| asked.later.line(sum));
/// })?;
/// let server = testing::serve(Till(batcher));
/// let mut client = TcpStream::connect(server.local_addr())?;
/// client.write_all(b"40\ntwo\n2\n")?;
/// client.shutdown(Shutdown::Write)?;
/// let mut replies = String::new();
/// client.read_to_string(&mut replies)?;
/// assert_eq!(replies, "40\nerror: no number\n42\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # When the function fails
///
/// A line that it leaves without an answer, also by a panic, is an internal error; those that it
/// has answered by then keep their answers. After a panic, which is logged, it is called for the
/// next batch.
///
/// Nobody notices that it does not return. What it is at, and all that is asked behind that, waits
/// until the [reply timeout](crate::Builder::reply_timeout) ends each of those lines and its
/// connection; lines that do not ask are answered as ever. So what it calls needs a timeout of its
/// own, a shorter one.
///
/// # The end
///
/// Clones ask the same thread. When the last one is dropped, it answers what was asked and ends,
/// and nobody waits for that. A server that stops waits for the answers, as for any that come
/// later.
pub struct Batcher<Q>(Arc<QueueCloser<Q>>);

/// One question of a [`Batcher`], and the means to answer it.
#[derive(Debug)]
pub struct Asked<Q> {
    /// What the responder has [asked](Batcher::ask).
    pub question: Q,
    /// Answers the line.
    pub later: Later,
}

impl<Q: Send + 'static> Batcher<Q> {
    /// Starts the thread. It calls `answer` with what clients have asked, up to `max_lines` at a
    /// time, in the order in which they asked, and never with nothing.
    ///
    /// A question whose client does not wait any more is left out.
    ///
    /// # Errors
    ///
    /// Returns an error if the system has no thread left.
    ///
    /// # Panics
    ///
    /// Panics if `max_lines` is 0.
    pub fn spawn(max_lines: usize, answer: impl FnMut(Vec<Asked<Q>>) + Send + 'static) -> io::Result<Self> {
        assert!(max_lines > 0, "a batch has room for one line at least");
        let queue = Arc::new(Queue::new());
        let closer = Arc::new(QueueCloser { queue: Arc::clone(&queue) });
        thread::Builder::new().name("greeter-batch".to_owned()).spawn(move || run(&queue, max_lines, answer))?;
        Ok(Self(closer))
    }

    /// Answers the line [later](Reply::later), in a batch.
    ///
    /// It is the last thing that a responder does with a line: if the call fails afterwards, that
    /// is the answer, but the question may have been taken already. No limit of the server counts
    /// what a question holds.
    pub fn ask(&self, question: Q, reply: &mut Reply<'_>) {
        self.0.queue.push(Asked { question, later: reply.later() }, Asked::is_wanted);
    }
}

impl<Q> Batcher<Q> {
    /// Returns how many questions wait for their batch, those of clients that are gone included:
    /// for a responder that would rather say that it is [busy](greeter_core::Rejection::Busy).
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.queue.state().waiting.len()
    }
}

impl<Q> Asked<Q> {
    fn is_wanted(&self) -> bool {
        self.later.is_wanted()
    }
}

impl<Q> Clone for Batcher<Q> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Q> fmt::Debug for Batcher<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

/// The end of the queue at which is asked, which all clones of a batcher share. The last of them
/// closes the queue.
struct QueueCloser<Q> {
    queue: Arc<Queue<Asked<Q>>>,
}

impl<Q> Drop for QueueCloser<Q> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Answers batches until nobody can ask any more.
fn run<Q>(queue: &Queue<Asked<Q>>, max_lines: usize, mut answer: impl FnMut(Vec<Asked<Q>>)) {
    while let Some(mut batch) = queue.take(max_lines) {
        let lines = batch.len();
        // To drop a question is the responder's code, too.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            batch.retain(Asked::is_wanted);
            if !batch.is_empty() {
                answer(batch);
            }
        }));
        if let Err(panic) = outcome {
            tracing::error!(error = panic_text(&*panic), lines, "A batch has panicked.");
            // Dropping the payload of a panic may panic as well, so that is leaked.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                std::mem::forget(panic);
            }
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What waits for one thread, which takes it in batches.
///
/// A client has no more questions at a time than lines that are answered at once, and clients are
/// limited. But questions outlive their clients: while the thread hangs, these give up, come back
/// and ask again. So when the queue has doubled, those that nobody waits for are dropped: it holds
/// at most twice as many as there may be, or [`MIN_LOOK`].
pub(crate) struct Queue<T> {
    state: Mutex<Queued<T>>,
    has_changed: Condvar,
}

struct Queued<T> {
    waiting: VecDeque<T>,
    /// How many may wait before they are looked through.
    look_at: usize,
    /// Whether the thread waits, and has to be woken.
    is_asleep: bool,
    is_closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let state = Queued { waiting: VecDeque::new(), look_at: MIN_LOOK, is_asleep: false, is_closed: false };
        Self { state: Mutex::new(state), has_changed: Condvar::new() }
    }

    /// Adds an item. If there are many, those that are not wanted any more are dropped.
    pub(crate) fn push(&self, item: T, is_wanted: impl FnMut(&T) -> bool) {
        let mut state = self.state();
        state.waiting.push_back(item);
        let _unwanted = state.look_through(is_wanted);
        if std::mem::take(&mut state.is_asleep) {
            self.has_changed.notify_one();
        }
        // What is unwanted is dropped when the lock is not held any more: that is the responder's
        // code.
        drop(state);
    }

    /// Waits until there is something, and takes what there is, at most so many. Returns none when
    /// the queue is closed and empty.
    pub(crate) fn take(&self, max: usize) -> Option<Vec<T>> {
        let mut state = self.state();
        while state.waiting.is_empty() {
            if state.is_closed {
                return None;
            }
            state.is_asleep = true;
            state = self.has_changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let count = state.waiting.len().min(max);
        Some(state.waiting.drain(..count).collect())
    }

    /// Has the thread end when it has taken what there is.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        self.has_changed.notify_one();
    }

    /// No code that holds the lock can panic half-way.
    fn state(&self) -> MutexGuard<'_, Queued<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Queued<T> {
    /// Takes out what is not wanted any more, if it is time for that.
    fn look_through(&mut self, is_wanted: impl FnMut(&T) -> bool) -> VecDeque<T> {
        if self.waiting.len() < self.look_at {
            return VecDeque::new();
        }
        let (wanted, unwanted) = std::mem::take(&mut self.waiting).into_iter().partition(is_wanted);
        self.waiting = wanted;
        self.look_at = MIN_LOOK.max(2 * self.waiting.len());
        unwanted
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use greeter_core::testing::TestClient;
    use greeter_core::{BoxError, Line, Peer, Rejection, Responder};
    use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
    use std::time::Duration;

    #[test]
    fn what_waits_for_nobody_is_dropped_in_the_end() {
        let queue = Queue::new();
        let mut most = 0;
        for number in 0..10_000 {
            // A hundred clients, each of which has given up by the time it asks again.
            queue.push(number, |&asked| asked + 100 > number);
            most = most.max(queue.state().waiting.len());
        }
        assert!((100..=200).contains(&most), "{most}");
        queue.close();
        let left = queue.take(usize::MAX).expect("there are some");
        assert!(left.is_sorted() && left.ends_with(&[9_998, 9_999]), "{left:?}");
        assert!((9_900..10_000).all(|number| left.contains(&number)), "{left:?}");
    }

    #[test]
    fn what_everybody_waits_for_is_kept_and_seldom_looked_at() {
        let (queue, mut looks) = (Queue::new(), 0);
        for number in 0..10_000 {
            queue.push(number, |_| {
                looks += 1;
                true
            });
        }
        assert!(looks < 20_000, "{looks}");
        queue.close();
        assert!(queue.take(usize::MAX).expect("there are some").into_iter().eq(0..10_000));
    }

    #[test]
    #[should_panic(expected = "room for one line")]
    fn a_batch_of_no_lines_is_refused() {
        let _ = Batcher::<()>::spawn(0, |_| {});
    }

    /// Asks what each line says, and then fails if it says so.
    struct Desk(Batcher<String>);

    impl Responder for Desk {
        type Session = u32;

        fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<u32, BoxError> {
            Ok(0)
        }

        fn respond(&self, lines: &mut u32, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
            *lines += 1;
            self.0.ask(line.to_str()?.to_owned(), reply);
            if line.as_bytes() == b"twice" {
                self.0.ask("again".to_owned(), reply);
            }
            if line.as_bytes() == b"fail" { Err(Rejection::custom("failed").into()) } else { Ok(()) }
        }
    }

    /// A desk whose questions the test takes itself.
    fn desk_of_the_tests_own() -> (Desk, Arc<Queue<Asked<String>>>) {
        let queue = Arc::new(Queue::new());
        (Desk(Batcher(Arc::new(QueueCloser { queue: Arc::clone(&queue) }))), queue)
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    fn next(batches: &Receiver<Vec<Asked<String>>>) -> Vec<Asked<String>> {
        batches.recv_timeout(PATIENCE).expect("it was asked")
    }

    /// A desk whose batches the test receives.
    fn desk() -> (Desk, Receiver<Vec<Asked<String>>>) {
        let (sender, batches) = channel();
        let answer = move |batch| sender.send(batch).expect("the test receives them");
        (Desk(Batcher::spawn(10, answer).expect("there are threads")), batches)
    }

    /// Collects what is logged.
    #[derive(Clone, Default)]
    struct Logged(Arc<std::sync::Mutex<String>>);

    impl tracing::Subscriber for Logged {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }

        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            let text = &mut *self.0.lock().unwrap();
            *text += event.metadata().level().as_str();
            event.record(&mut |field: &tracing::field::Field, value: &dyn fmt::Debug| {
                *text += &format!(" {field}={value:?}");
            });
            text.push('\n');
        }

        fn enter(&self, _: &tracing::span::Id) {}

        fn exit(&self, _: &tracing::span::Id) {}
    }

    /// Panics when it is dropped.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("as told, once more");
        }
    }

    #[test]
    fn a_panic_is_logged_and_costs_what_has_no_answer_and_the_next_batch_nothing() {
        let (desk, queue) = desk_of_the_tests_own();
        let lines = ["a", "text", "string", "b", "bomb", "c", "d", "e"];
        let mut clients = [(); 8].map(|()| TestClient::connect(&desk));
        clients.iter_mut().zip(lines).for_each(|(client, line)| _ = client.send(format!("{line}\n")).expect(""));
        queue.close();
        let logged = Logged::default();
        tracing::subscriber::with_default(logged.clone(), || {
            run(&queue, 2, |batch| {
                batch.into_iter().for_each(|asked| match &*asked.question {
                    "text" => panic!("as told"),
                    "string" => panic!("as told by a {}", asked.question),
                    "bomb" => std::panic::panic_any(Bomb),
                    _ => asked.later.line("here"),
                });
            });
        });
        let (here, error) = ("here\n", "error: internal error\n");
        let expected = [here, error, error, error, error, error, here, here];
        clients.iter_mut().zip(expected).for_each(|(client, expected)| _ = client.expect(expected));
        let logged = logged.0.lock().unwrap();
        let errors: Vec<_> = logged.lines().filter(|line| line.contains("A batch has panicked.")).collect();
        assert_eq!(errors.len(), 3, "{logged}");
        for (line, text) in errors.into_iter().zip(["\"as told\"", "\"as told by a string\"", "\"no message\""]) {
            assert!(line.starts_with("ERROR") && line.contains(text) && line.contains("lines=2"), "{line}");
        }
    }

    #[test]
    fn whoever_is_gone_is_left_out_and_a_batch_of_nobody_is_none() {
        let (desk, queue) = desk_of_the_tests_own();
        let mut clients = Vec::from([(); 6].map(|()| TestClient::connect(&desk)));
        clients.iter_mut().zip(0..).for_each(|(client, number)| _ = client.send(format!("{number}\n")).expect(""));
        [3, 1, 0].into_iter().for_each(|gone| drop(clients.remove(gone)));
        queue.close();
        let mut batches = Vec::new();
        run(&queue, 2, |batch| {
            batches.push(batch.iter().map(|asked| asked.question.clone()).collect::<Vec<_>>());
            batch.into_iter().for_each(|asked| asked.later.line("here"));
        });
        assert_eq!(batches, [vec!["2"], vec!["4", "5"]]);
        clients.iter_mut().for_each(|client| _ = client.expect("here\n"));
    }

    #[test]
    fn a_session_is_at_hand_for_an_answer() {
        let (desk, batches) = desk();
        let mut client = TestClient::connect(&desk);
        client.send("a\nb\n").expect("");
        for expected in ["a is line 1\n", "b is line 2\n"] {
            let [Asked { question, later }] = <[_; 1]>::try_from(next(&batches)).unwrap();
            later.then(move |lines: &mut u32, reply| {
                reply.line(format_args!("{question} is line {lines}"));
                Ok(())
            });
            client.expect(expected);
        }
    }

    #[test]
    fn whoever_fails_behind_the_question_has_that_for_an_answer() {
        let (desk, batches) = desk();
        let mut client = TestClient::connect(&desk);
        client.send("fail\ntwice\na\n").expect("error: failed\nerror: internal error\n");
        // Whether the others came first is a matter of chance; nobody waits for them.
        let mut asked = std::iter::repeat_with(|| next(&batches)).flatten();
        let asked = asked.find(|asked| asked.question == "a").expect("there is always a next one");
        asked.later.line("here");
        client.expect("here\n");
    }

    #[test]
    fn the_thread_ends_with_the_last_that_could_ask() {
        let (desk, batches) = desk();
        let clone = desk.0.clone();
        drop(desk);
        let desk = Desk(clone);
        let mut client = TestClient::connect(&desk);
        client.send("a\nb\n").expect("");
        next(&batches).into_iter().for_each(|asked| asked.later.line("here"));
        client.expect("here\n");
        drop(next(&batches));
        client.expect("error: internal error\n");
        drop(client);
        drop(desk);
        // The function, and with it the sender.
        let end = batches.recv_timeout(PATIENCE).expect_err("nobody can ask");
        assert_eq!(end, RecvTimeoutError::Disconnected);
    }
}
