//! Turns a promise to answer a line into the answer: any thread may give it, at any time.
//!
//! It does not know when the answer is sent, or whether anybody still waits for it.

use std::fmt;

use crate::answer_cell::{AnswerCell, AwaitedAnswer, LateAnswer, WhenLate, WhenTaken};
use crate::error::{BoxError, ResponderError, rejection_in};
use crate::line::LineEnding;
use crate::rejection::Rejection;
use crate::reply::{LineText, Reply, append_line};
use crate::sync::Arc;

/// The answer to one line, to be given later: [`Reply::later`] returns it.
///
/// Until it is given, the line is parked: the client waits, the lines behind it wait, and the
/// thread that called the responder is free for other clients. It can be sent to any thread. It is
/// consumed by the answer; if it is dropped without one, also by a panic, the client receives
/// `error: internal error`, so that no client waits for nothing.
///
/// The line may end before its answer comes: the [reply timeout](crate::ConnectionTimeouts::reply)
/// expires (what follows for the client is [a choice](WhenLate)), the connection breaks or is
/// closed, or the server stops. What comes after that goes nowhere. Whichever is first decides, and
/// the other has no effect.
///
/// ```
/// # extern crate greeter_core as greeter_server;
/// use std::sync::mpsc::{Receiver, Sender, channel};
/// use greeter_server::testing::TestClient;
/// use greeter_server::{BoxError, Later, Line, Peer, Reply, Responder};
///
/// /// Has another thread look up what each line asks for.
/// struct LookUp(Sender<(String, Later)>);
///
/// impl Responder for LookUp {
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
///         let question = line.to_str()?.to_owned();
///         Ok(self.0.send((question, reply.later()))?)
///     }
/// }
///
/// let (questions, asked): (_, Receiver<(String, Later)>) = channel();
/// let look_up = LookUp(questions);
/// let mut client = TestClient::connect(&look_up);
/// client.send("Bob\nAnn\n").expect("");
/// let (question, later) = asked.recv().expect("the line was sent");
/// later.line(format_args!("{question} is in"));
/// client.expect("Bob is in\n");
/// drop(asked.recv());
/// client.expect("error: internal error\n");
/// ```
#[must_use = "dropped without an answer, it is an internal error"]
pub struct Later {
    /// None once it was answered.
    cell: Option<Arc<AnswerCell>>,
    ending: LineEnding,
}

/// What a thread that answers is to do with the session, in the place of the line.
pub(crate) type ThenFn<S> = Box<dyn FnOnce(&mut S, &mut Reply<'_>) -> Result<(), BoxError> + Send>;

impl Reply<'_> {
    /// Answers the line later, by the handle that this returns.
    ///
    /// What this call writes is sent at once, in front of the later answer; a push may come between
    /// the two. With [`close`](Self::close), the connection closes behind that answer. If the call
    /// then returns an error or panics, that is the answer, and the handle is of no use any more.
    ///
    /// It is an error of the responder to call this twice, or beside
    /// [`read_bytes`](Self::read_bytes), in one call, and to call it in
    /// [`connect`](crate::Responder::connect) or [`reject`](crate::Responder::reject).
    ///
    /// [`Later`] has an example.
    pub fn later(&mut self) -> Later {
        self.later_with(WhenLate::Close)
    }

    /// Does the same, and says what happens if the answer does not come in time.
    ///
    /// [`WhenLate`] has an example.
    pub fn later_with(&mut self, when_late: WhenLate) -> Later {
        let cell = Arc::new(AnswerCell::new());
        let later = Later { cell: Some(Arc::clone(&cell)), ending: self.ending() };
        self.answer_later(AwaitedAnswer::new(cell, self.ending(), when_late));
        later
    }
}

impl Later {
    /// Answers with one line, and adds the ending: that which the [reply](Reply::line) would have
    /// had.
    ///
    /// If it holds an LF, the client receives `error: internal error`, as for a reply.
    pub fn line(self, text: impl LineText) {
        self.lines([text]);
    }

    /// Answers with several lines, each as by [`line`](Self::line), or with none.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use std::sync::Mutex;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{BoxError, Later, Line, Peer, Reply, Responder};
    /// # struct Lists(Mutex<Vec<Later>>);
    /// # impl Responder for Lists {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
    /// #     fn respond(&self, _: &mut (), _: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
    /// #         self.0.lock().unwrap().push(reply.later());
    /// #         Ok(())
    /// #     }
    /// # }
    /// # let lists = Lists(Mutex::default());
    /// # let mut client = TestClient::connect(&lists);
    /// # client.send("list\r\n");
    /// # let later = lists.0.lock().unwrap().pop().unwrap();
    /// later.lines(["milk", "eggs"]);
    /// # client.expect("milk\r\neggs\r\n");
    /// ```
    pub fn lines(self, lines: impl IntoIterator<Item = impl LineText>) {
        self.lines_when_taken(lines, WhenTaken::nothing());
    }

    /// Does the same, and has `then` called: once the answer is among what is sent to the client,
    /// or it is known that it will not be. What is pushed to the client from then on comes behind
    /// the answer.
    ///
    /// It may be called on a thread that serves clients, so it must be quick.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use std::sync::Mutex;
    /// # use std::sync::mpsc::channel;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{BoxError, Later, Line, Peer, Reply, Responder};
    /// # struct Rooms(Mutex<Vec<Later>>);
    /// # impl Responder for Rooms {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
    /// #     fn respond(&self, _: &mut (), _: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
    /// #         self.0.lock().unwrap().push(reply.later());
    /// #         Ok(())
    /// #     }
    /// # }
    /// # let rooms = Rooms(Mutex::default());
    /// # let mut client = TestClient::connect(&rooms);
    /// # client.send("enter\n");
    /// # let later = rooms.0.lock().unwrap().pop().unwrap();
    /// let (entered, members) = channel();
    /// later.lines_then(["you have entered"], move || drop(entered.send("Bob")));
    /// # client.expect("you have entered\n");
    /// // Whatever others say to Bob is pushed behind that.
    /// assert_eq!(members.recv(), Ok("Bob"));
    /// ```
    pub fn lines_then(self, lines: impl IntoIterator<Item = impl LineText>, then: impl FnOnce() + Send + 'static) {
        self.lines_when_taken(lines, WhenTaken::call(then));
    }

    fn lines_when_taken(self, lines: impl IntoIterator<Item = impl LineText>, when_taken: WhenTaken) {
        let mut bytes = Vec::new();
        let framing = lines.into_iter().try_for_each(|text| append_line(text, self.ending, &mut bytes));
        self.answer(match framing {
            Ok(()) => LateAnswer::Bytes(bytes, when_taken),
            Err(error) => LateAnswer::Error(error.into()),
        });
    }

    /// Answers with bytes as they are, also none: adds no ending and checks nothing.
    pub fn raw(self, bytes: impl Into<Vec<u8>>) {
        self.answer(LateAnswer::Bytes(bytes.into(), WhenTaken::nothing()));
    }

    /// Rejects the line, in the responder's [own words](crate::Responder::reject).
    pub fn reject(self, rejection: Rejection) {
        self.answer(LateAnswer::Rejection(rejection));
    }

    /// Answers as [`respond`](crate::Responder::respond) does where it returns this error: for a
    /// [`Rejection`], the client receives its words, and for any other error
    /// `error: internal error`, and the server logs what it was.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use std::io::{Error, ErrorKind};
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{BoxError, Line, Peer, Rejection, Reply, Responder};
    /// # struct Unlucky;
    /// # impl Responder for Unlucky {
    /// #     type Session = ();
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> { Ok(()) }
    /// #     fn respond(
    /// #         &self,
    /// #         _: &mut (),
    /// #         line: Line<'_>,
    /// #         reply: &mut Reply<'_>,
    /// #     ) -> Result<(), BoxError> {
    /// #         let later = reply.later();
    /// let answer: Result<u32, Error> = Err(ErrorKind::TimedOut.into());
    /// match answer {
    ///     Ok(number) => later.line(number),
    ///     Err(error) => later.fail(error),
    /// }
    /// #         Ok(())
    /// #     }
    /// # }
    /// # let mut client = TestClient::connect(&Unlucky);
    /// # client.send("a\n").expect("error: internal error\n");
    /// # assert_eq!(client.take_errors().count, 1);
    /// ```
    pub fn fail(self, error: impl Into<BoxError>) {
        self.answer(match rejection_in(error.into()) {
            Ok(rejection) => LateAnswer::Rejection(rejection),
            Err(error) => LateAnswer::Error(error),
        });
    }

    /// Has the answer made with the session, on a thread that answers: `then` is called as
    /// [`respond`](crate::Responder::respond) would be, in the place of the line.
    ///
    /// It is not called if the client is gone by then, or if no thread that answers is free for
    /// longer than the queue timeout: the client is then told that the server is
    /// [busy](Rejection::Busy).
    ///
    /// `S` must be the responder's [`Session`](crate::Responder::Session); if it is not, the client
    /// receives `error: internal error`.
    ///
    /// ```
    /// # extern crate greeter_core as greeter_server;
    /// # use std::sync::Mutex;
    /// # use greeter_server::testing::TestClient;
    /// # use greeter_server::{BoxError, Later, Line, Peer, Reply, Responder};
    /// # struct Counter(Mutex<Option<Later>>);
    /// # impl Responder for Counter {
    /// #     type Session = u64;
    /// #     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<u64, BoxError> { Ok(41) }
    /// #     fn respond(
    /// #         &self,
    /// #         _: &mut u64,
    /// #         _: Line<'_>,
    /// #         reply: &mut Reply<'_>,
    /// #     ) -> Result<(), BoxError> {
    /// #         *self.0.lock().unwrap() = Some(reply.later());
    /// #         Ok(())
    /// #     }
    /// # }
    /// # let counter = Counter(Mutex::new(None));
    /// # let mut client = TestClient::connect(&counter);
    /// # client.send("a\n");
    /// # let later = counter.0.lock().unwrap().take().unwrap();
    /// later.then(|count: &mut u64, reply| {
    ///     *count += 1;
    ///     reply.line(*count);
    ///     Ok(())
    /// });
    /// # client.expect("42\n");
    /// ```
    pub fn then<S: 'static>(self, then: impl FnOnce(&mut S, &mut Reply<'_>) -> Result<(), BoxError> + Send + 'static) {
        let then: ThenFn<S> = Box::new(then);
        self.answer(LateAnswer::Then(Box::new(then)));
    }

    /// Returns whether the client still waits for the answer, so that the work for it is worth
    /// going on with.
    ///
    /// A client that has only stopped sending waits.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.cell.as_ref().is_some_and(|cell| cell.is_open())
    }

    /// Returns whether the connection waits for the answer already: whether what is pushed to the
    /// client before the answer is given comes before it. It does soon after the call that has
    /// asked for the handle has returned.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.cell.as_ref().is_some_and(|cell| cell.is_armed())
    }

    fn answer(mut self, answer: LateAnswer) {
        if let Some(cell) = self.cell.take() {
            cell.answer(answer);
        }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        if let Some(cell) = self.cell.take()
            && cell.is_open()
        {
            cell.answer(LateAnswer::Error(ResponderError::Misuse("dropped a `Later` without an answer")));
        }
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").field("is_wanted", &self.is_wanted()).finish_non_exhaustive()
    }
}
