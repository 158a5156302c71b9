//! Turns a transcript, told step by step, into a conversation with a server: named connections,
//! what we say on them, and exactly what must come back. It must not know the language of scripts:
//! what a line has to match, its caller says.
//!
//! ```
//! # use std::io::{BufRead, BufReader, Write};
//! # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let address = greeter_client::ServerAddress::from(listener.local_addr()?);
//! # let greet = |stream: std::net::TcpStream| -> std::io::Result<()> {
//! #     for name in BufReader::new(stream.try_clone()?).lines() {
//! #         (&stream).write_all(format!("Hello, {}\n", name?).as_bytes())?;
//! #     }
//! #     Ok(())
//! # };
//! # let server = std::thread::spawn(move || {
//! #     listener.incoming().take(2).map(|stream| std::thread::spawn(move || greet(stream?))).collect::<Vec<_>>()
//! # });
//! use greeter_client::Session;
//! use greeter_client::session::SessionOptions;
//!
//! let mut session = Session::new(SessionOptions::to(address));
//!
//! // Two at once; each gets his own greetings, in his own order.
//! session.on("bob").send("Bob")?;
//! session.on("alice").send("Alice")?;
//! session.on("bob").send("Robert")?;
//! session.on("alice").expect("Hello, Alice")?;
//! session.on("bob").expect("Hello, Bob")?;
//! session.on("bob").expect("Hello, Robert")?;
//!
//! // Alice leaves; Bob says no more, is told no more, and sees the server close.
//! session.on("alice").half_close()?;
//! session.on("alice").expect_eof()?;
//! session.finish()?;
//! # for guest in server.join().expect("the server does not panic") {
//! #     guest.join().expect("nor its threads")?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This is the engine under `.talk` scripts, and for Rust tests that need more than a script can
//! say. It prints nothing, and what fails is a value: [`Mismatch`] has all that a report needs.
//!
//! # What it promises
//!
//! * *Order.* Each call is a step, and steps happen in order. A send never waits for a reply. An
//!   expectation waits until it is met, impossible or late, and never much longer than its deadline
//!   on the monotonic clock.
//! * *Reading* goes on in the background, up to [`SessionOptions::max_unread_bytes`] on each
//!   connection; beyond, the server feels that nobody reads. Expectations consume from the front of
//!   what has come. Nothing is searched, and nothing is skipped unless
//!   [told](ConnectionHandle::skipping).
//! * *Writing.* Adjacent sends on a connection, or on a crowd, leave in one write (each MiB of
//!   them, if they are huge). Any other step flushes first. What the server does not take at once
//!   is sent in the background, so that nothing is held up by a server that writes before it reads;
//!   only when 64 MiB wait on a connection does a flush wait, too.
//! * *Errors of sending* are told by the connection's next step. An expectation may still be met by
//!   what came before; that of a reset or an end forgives them; any other step fails, as does the
//!   end of the session.
//! * *The end.* [`Session::finish`] half-closes what is open and demands the server's end, with
//!   nothing unread before it. A server that has ended its side of the stream may still read; that
//!   it refuses what it is sent then is an error of sending, told by `finish` or when the
//!   connection is opened again.
//!
//! # Layout
//!
//! Files, each importing only from those before it: `event` (what happened), `error` (what should
//! have), `options`, `receive_buffer` (what has come), `prompt` (where one may end), `socket_io` (a
//! socket and its threads), `transcript`, `connection` (one of them), `expectation`, `group` (those
//! of one name), then [`Session`] itself, `handle` (its steps on a connection), `peek` (a look that
//! consumes nothing) and `hand_over` (a connection that goes on to others).

mod connection;
mod error;
mod event;
mod expectation;
mod group;
#[cfg(feature = "load")]
mod hand_over;
mod handle;
mod options;
mod peek;
mod prompt;
mod receive_buffer;
mod socket_io;
mod transcript;

use std::thread;
use std::time::{Duration, Instant};

pub use error::{Actual, Expected, Mismatch, SessionError};
pub use event::{Entry, Event};
pub use expectation::LineFit;
pub use handle::ConnectionHandle;
pub use options::{SessionOptions, Target};
pub use prompt::MAX_PROMPT_BYTES;

pub use crate::net::StreamEnd;

use crate::net::{Deadline, Eol};
use connection::SessionConnection;
use expectation::{Expectation, Skips};
use group::{Group, Selection};
pub(crate) use peek::{GroupPeek, Peek};
use socket_io::REFUSAL;
pub(crate) use transcript::MAX_ENTRY_BYTES;
use transcript::SessionLog;

/// The name of the connection that has none: the one that a script's plain `>` and `<` mean.
pub const DEFAULT: &str = "";

/// A session on named connections; see [the module](self).
///
/// Dropping it [abandons](Self::abandon) it.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    /// In the order in which they were opened.
    groups: Vec<Group>,
    /// Who has said something that has not been flushed. There is one at most: another's turn
    /// flushes.
    turn: Option<Selection>,
    log: SessionLog,
}

impl Session {
    /// Creates a session without connections.
    #[must_use]
    pub fn new(options: SessionOptions) -> Self {
        Self { options, groups: Vec::new(), turn: None, log: SessionLog::new() }
    }

    /// Returns the options.
    #[must_use]
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// Sets the timeout of the following expectations.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.options.timeout = timeout;
    }

    /// Sets how lines end from here on: those that are sent next, and those that are expected next.
    pub fn set_eol(&mut self, eol: Eol) {
        self.options.eol = eol;
    }

    /// Opens the connection `name`. One that has ended, or that we have closed, may be opened
    /// again.
    ///
    /// # Errors
    ///
    /// [`Connect`](SessionError::Connect), [`AlreadyOpen`](SessionError::AlreadyOpen),
    /// [`BadName`](SessionError::BadName).
    pub fn open(&mut self, name: &str, target: &Target) -> Result<(), SessionError> {
        self.open_group(name, target, None).map(|_| ())
    }

    /// Opens a crowd of `size` connections: `name.1` and so on. If one cannot be opened, none is.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_crowd(&mut self, name: &str, size: usize, target: &Target) -> Result<(), SessionError> {
        self.open_group(name, target, Some(size)).map(|_| ())
    }

    /// Returns how many connections `name` means: the size of a crowd, 1, or 0 if there is none
    /// yet.
    #[must_use]
    pub fn size(&self, name: &str) -> usize {
        group::find(&self.groups, name).map_or(0, |selection| selection.members.len())
    }

    /// Sends what is waiting to be sent. Every step but a send does that first, by itself.
    ///
    /// What goes wrong is told by the next step of that connection, if the step does not expect it.
    pub fn flush(&mut self) {
        self.flush_by(&Deadline::after(Some(self.options.timeout)));
    }

    /// Flushes, and waits for `duration`.
    pub fn sleep(&mut self, duration: Duration) {
        self.flush();
        thread::sleep(duration);
    }

    /// Half-closes every connection that is still open and expects the server to close it, with
    /// nothing unread before. They share one timeout. A connection that has
    /// [ended](ConnectionHandle::expect_eof), or was closed or reset, is exempt; but what was sent
    /// after such an end must not be refused.
    ///
    /// # Errors
    ///
    /// The first of [`finish_all`](Self::finish_all).
    pub fn finish(self) -> Result<(), SessionError> {
        self.finish_all().into_iter().next().map_or(Ok(()), Err)
    }

    /// Does what [`finish`](Self::finish) does, and returns all errors, in the order in which the
    /// connections were opened.
    #[must_use]
    pub fn finish_all(mut self) -> Vec<SessionError> {
        let start = Instant::now();
        let deadline = Deadline::from(start, Some(self.options.timeout));
        self.flush_by(&deadline);
        let Self { options, groups, log, .. } = &mut self;
        let mut open: Vec<&mut SessionConnection> = groups.iter_mut().flat_map(|group| &mut group.members).collect();
        open.retain(|connection| connection.is_unfinished());
        // All at once, so that no server waits for another's client.
        let mut errors: Vec<SessionError> =
            open.iter_mut().filter_map(|connection| connection.half_close(log).err()).collect();
        let ends = open.into_iter().map(|connection| finish_connection(connection, log, deadline, options.eol, start));
        errors.extend(ends.filter_map(Result::err));
        let refusals = Deadline::from(start, Some(REFUSAL));
        errors.extend(
            groups.iter().flat_map(|group| &group.members).filter_map(|connection| connection.refusal(&refusals)),
        );
        errors
    }

    /// Closes every connection without a look at what has come.
    pub fn abandon(self) {
        drop(self);
    }

    /// Calls `observer` with every event from here on, in order, on the thread that uses the
    /// session, and in full. It must not take long: the session waits for it.
    ///
    /// ```no_run
    /// # let mut session = greeter_client::Session::default();
    /// use greeter_client::{escape::one_line, session::Event};
    ///
    /// session.observe(|entry| match &entry.event {
    ///     Event::SentLine(line) => println!("{}> {}", entry.connection, one_line(line)),
    ///     Event::ReceivedLine(line) => println!("{}< {}", entry.connection, one_line(line)),
    ///     _ => {}
    /// });
    /// ```
    pub fn observe(&mut self, observer: impl FnMut(&Entry) + Send + 'static) {
        self.log.observer = Some(Box::new(observer));
    }

    /// Returns the last events: up to 8 of each connection, in the order in which they were seen.
    #[must_use]
    pub fn transcript(&self) -> Vec<Entry> {
        let members = self.groups.iter().flat_map(|group| &group.members);
        let mut entries: Vec<Entry> = members.flat_map(|connection| connection.recent().entries()).cloned().collect();
        entries.sort_by_key(|entry| entry.number);
        entries
    }

    /// Finds whom `name` means, or opens it.
    fn select(&mut self, name: &str) -> Result<Selection, SessionError> {
        match (group::find(&self.groups, name), &self.options.target) {
            (Some(selection), _) => Ok(selection),
            (None, Some(target)) if !name.contains('.') => {
                let target = target.clone();
                self.open_group(name, &target, None)
            }
            (None, _) => Err(SessionError::UnknownConnection(name.into())),
        }
    }

    /// Opens a connection, or a crowd of this size.
    fn open_group(&mut self, name: &str, target: &Target, crowd: Option<usize>) -> Result<Selection, SessionError> {
        self.flush();
        if name.contains('.') || crowd == Some(0) {
            return Err(SessionError::BadName(name.into()));
        }
        let known = self.groups.iter().position(|group| group.name == name);
        if known.is_some_and(|group| self.groups[group].members.iter().any(SessionConnection::is_unfinished)) {
            return Err(SessionError::AlreadyOpen(name.into()));
        }
        let refusals = Deadline::after(Some(REFUSAL));
        let known_members = known.iter().flat_map(|&group| &self.groups[group].members);
        if let Some(error) = known_members.filter_map(|connection| connection.refusal(&refusals)).next() {
            return Err(error);
        }
        let mut members = Vec::new();
        for number in 1..=crowd.unwrap_or(1) {
            let member = crowd.map(|_| number);
            let name = member.map_or_else(|| name.to_owned(), |number| format!("{name}.{number}"));
            members.push(SessionConnection::open(&name, member, target, self.options.max_unread_bytes, &mut self.log)?);
        }
        let all = 0..members.len();
        let group = Group { name: name.into(), members };
        let index = known.unwrap_or(self.groups.len());
        match self.groups.get_mut(index) {
            Some(closed) => *closed = group,
            None => self.groups.push(group),
        }
        Ok(Selection { group: index, members: all })
    }

    fn members(&mut self, selection: &Selection) -> (&mut [SessionConnection], &mut SessionLog) {
        (&mut self.groups[selection.group].members[selection.members.clone()], &mut self.log)
    }

    /// Lets `selection` say something: what others have said is sent before it.
    fn turn_to(&mut self, selection: &Selection) {
        if self.turn.as_ref() != Some(selection) {
            self.flush();
        }
        self.turn = Some(selection.clone());
    }

    fn flush_by(&mut self, deadline: &Deadline) {
        let Some(selection) = self.turn.take() else { return };
        self.members(&selection).0.iter_mut().for_each(|connection| connection.flush(deadline));
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new(SessionOptions::default())
    }
}

/// Waits for the end of a connection that we have half-closed.
fn finish_connection(
    connection: &mut SessionConnection,
    log: &mut SessionLog,
    deadline: Deadline,
    eol: Eol,
    start: Instant,
) -> Result<(), SessionError> {
    match Expectation::new(connection, log, deadline, eol, &mut Skips::Nothing)?.end(StreamEnd::is_eof) {
        // The script has not said that the server may refuse something.
        Ok(()) => connection.send_error().map_or(Ok(()), Err),
        Err(observed) => Err(connection.mismatch(Expected::Eof, observed, start.elapsed(), 0)?),
    }
}
