//! What can be said to and expected from one connection or one crowd.

use std::time::{Duration, Instant};

use super::Session;
use super::connection::SessionConnection;
use super::error::{Expected, Observed, SessionError};
use super::event::Event;
use super::expectation::{Expectation, LineFit, Skips};
use super::group::Selection;
use super::transcript::SessionLog;
use crate::net::{Deadline, StreamEnd};

/// A handle to a connection, a crowd, or one member of a crowd, for one step: see [`Session::on`].
///
/// A connection that is not open yet is opened by its first use. What is said to a crowd is said to
/// each member; what is expected is expected from each, in their order and within one common
/// deadline, and the first that fails is told.
///
/// An expectation that fails has consumed nothing (but what it [skipped](Self::skipping)), so that
/// one can look again.
#[derive(Debug)]
#[must_use = "it has neither said nor expected anything yet"]
pub struct ConnectionHandle<'a> {
    session: &'a mut Session,
    name: &'a str,
    timeout: Duration,
    skips: Skips<'a>,
}

impl Session {
    /// Returns a handle to the connection or the crowd `name`, or to the member `name.number` of a
    /// crowd; the numbers begin with 1. [`DEFAULT`](super::DEFAULT) is the connection without a
    /// name.
    pub fn on<'a>(&'a mut self, name: &'a str) -> ConnectionHandle<'a> {
        ConnectionHandle::new(self, name)
    }
}

impl<'a> ConnectionHandle<'a> {
    fn new(session: &'a mut Session, name: &'a str) -> Self {
        let timeout = session.options.timeout;
        Self { session, name, timeout, skips: Skips::Nothing }
    }

    /// Sets the timeout of the step, in place of
    /// [`SessionOptions::timeout`](super::SessionOptions::timeout).
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Skips every whole line that is not what the expectation demands, until one is, or until
    /// bytes, a prompt or the end are. It means nothing for [`take`](Self::take) and
    /// [`expect_nothing`](Self::expect_nothing).
    pub fn skipping(self) -> Self {
        Self { skips: Skips::Everything, ..self }
    }

    /// Skips a line that is not what the expectation demands if `skips` says so, as
    /// [`skipping`](Self::skipping) does with every line; one that is neither fails the
    /// expectation. `skips` receives what [`expect_line`](Self::expect_line) gives its closure, and
    /// is asked once for each line. So can be said what may come before, and what must not:
    ///
    /// ```no_run
    /// # let mut session = greeter_client::Session::default();
    /// // Some servers have a greeting.
    /// let mut greetings = 1;
    /// let is_greeting = |_: Option<usize>, line: &[u8]| {
    ///     greetings -= i32::from(line.starts_with(b"200 "));
    ///     line.starts_with(b"200 ") && greetings >= 0
    /// };
    /// session.on("").skipping_if(is_greeting).expect("Hello, Bob")?;
    ///
    /// // Whatever comes before the end of the list, but no error.
    /// session.on("").skipping_if(|_, line| !line.starts_with(b"-ERR")).expect(".")?;
    /// # Ok::<(), greeter_client::SessionError>(())
    /// ```
    pub fn skipping_if(self, skips: impl FnMut(Option<usize>, &[u8]) -> bool + 'a) -> Self {
        Self { skips: Skips::If(Box::new(skips)), ..self }
    }

    /// Sends `line` and a line ending, with the next [flush](Session::flush).
    ///
    /// # Errors
    ///
    /// * the connection cannot be opened, or we have closed or half-closed it;
    /// * [`LfInLineError`](SessionError::LfInLineError);
    /// * [`Send`](SessionError::Send): an earlier send has failed.
    pub fn send(self, line: impl AsRef<[u8]>) -> Result<(), SessionError> {
        let line = line.as_ref();
        self.send_each(|_| line)
    }

    /// Sends each member of a crowd the line that `line` returns for its number, which counts from
    /// 1. A connection that is in no crowd has none.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    pub fn send_each<L: AsRef<[u8]>>(self, mut line: impl FnMut(Option<usize>) -> L) -> Result<(), SessionError> {
        let eol = self.session.options.eol;
        self.gather(|member, wire| {
            let line = line(member);
            let line = line.as_ref();
            if !eol.append_line(wire, line) {
                return Err(SessionError::LfInLineError);
            }
            Ok(Event::SentLine(line.to_vec()))
        })
    }

    /// Sends exactly `bytes`, with the next [flush](Session::flush).
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send) but `LfInLineError`.
    pub fn send_bytes(self, bytes: impl AsRef<[u8]>) -> Result<(), SessionError> {
        let bytes = bytes.as_ref();
        self.gather(|_, wire| {
            wire.extend_from_slice(bytes);
            Ok(Event::SentBytes(bytes.to_vec()))
        })
    }

    /// Half-closes the connection, after the last byte that the server has not taken yet.
    ///
    /// # Errors
    ///
    /// The connection cannot be opened, or we have closed it.
    pub fn half_close(self) -> Result<(), SessionError> {
        self.part(|connection, log, _| connection.half_close(log))
    }

    /// Resets the connection; a Unix socket has no reset, and is closed. What the server has not
    /// taken may be lost.
    ///
    /// # Errors
    ///
    /// The connection cannot be opened, or we have closed it.
    pub fn reset(self) -> Result<(), SessionError> {
        self.part(|connection, log, _| connection.reset(log))
    }

    /// Closes the connection without a look at what has come. Waits until all is sent, at most
    /// until the timeout.
    ///
    /// # Errors
    ///
    /// The connection cannot be opened, or we have closed it.
    pub fn close(self) -> Result<(), SessionError> {
        self.part(|connection, log, deadline| connection.close(deadline, log))
    }

    /// Expects the next line to be exactly `line`.
    ///
    /// # Errors
    ///
    /// [`Mismatch`](SessionError::Mismatch); or the connection cannot be opened, or we have closed
    /// it.
    pub fn expect(self, line: impl AsRef<[u8]>) -> Result<(), SessionError> {
        let line = line.as_ref();
        let expected = Expected::Line(Some(line.to_vec()));
        self.each(&expected, |expectation| expectation.line(|actual| actual == line))
    }

    /// Expects `accepts` to accept the next line, which comes without its ending. For a member of a
    /// crowd `accepts` receives its number, which counts from 1; outside of crowds there is none.
    ///
    /// ```no_run
    /// # let mut session = greeter_client::Session::default();
    /// let expected = |member: Option<usize>| format!("Hello, guest {}", member.unwrap_or_default());
    /// session.on("c").expect_line(|member, line| line == expected(member).as_bytes())?;
    /// # Ok::<(), greeter_client::SessionError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`expect`](Self::expect).
    pub fn expect_line(self, mut accepts: impl FnMut(Option<usize>, &[u8]) -> bool) -> Result<(), SessionError> {
        self.each(&Expected::Line(None), |expectation| {
            let member = expectation.member();
            expectation.line(|line| accepts(member, line))
        })
    }

    /// Expects several lines, until `judge` says of one that it was the last: lines that may come
    /// in any order, for instance. Only when they have all come are they consumed. For a member of
    /// a crowd `judge` receives its number, as with [`expect_line`](Self::expect_line). A line that
    /// is [`Wrong`](LineFit::Wrong) fails the expectation, unless it may be
    /// [skipped](Self::skipping).
    ///
    /// ```no_run
    /// # let mut session = greeter_client::Session::default();
    /// use greeter_client::session::LineFit;
    ///
    /// // Whoever is first.
    /// let mut missing = vec!["Ann", "Ben", "Cid"];
    /// session.on("").expect_lines(|_, line| {
    ///     let Some(index) = missing.iter().position(|name| name.as_bytes() == line) else {
    ///         return LineFit::Wrong;
    ///     };
    ///     missing.remove(index);
    ///     if missing.is_empty() { LineFit::Last } else { LineFit::Fits }
    /// })?;
    /// # Ok::<(), greeter_client::SessionError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`expect`](Self::expect); also if more comes before the last line than is [read
    /// ahead](super::SessionOptions::max_unread_bytes).
    pub fn expect_lines(self, mut judge: impl FnMut(Option<usize>, &[u8]) -> LineFit) -> Result<(), SessionError> {
        self.each(&Expected::Line(None), |expectation| {
            let member = expectation.member();
            expectation.lines(|line| judge(member, line))
        })
    }

    /// Expects the next bytes to be exactly these, whether or not they end a line: a prompt, for
    /// instance, that is always the same.
    ///
    /// # Errors
    ///
    /// Those of [`expect`](Self::expect).
    pub fn expect_bytes(self, bytes: impl AsRef<[u8]>) -> Result<(), SessionError> {
        let bytes = bytes.as_ref();
        self.each(&Expected::Bytes(bytes.to_vec()), |expectation| expectation.bytes(bytes))
    }

    /// Expects a prompt, which is the start of a line that the server leaves unfinished: the
    /// shortest start of what is unread that ends with `ending`, holds no LF, and is accepted by
    /// `accepts`. For a member of a crowd `accepts` receives its number, which counts from 1;
    /// outside of crowds there is none. It is asked at each place where `ending` ends, whether or
    /// not more has come behind it; so the more of the prompt it wants to see, the less it takes
    /// for one. An LF before that ends the wait, as do
    /// [`MAX_PROMPT_BYTES`](super::MAX_PROMPT_BYTES).
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = greeter_client::ServerAddress::from(listener.local_addr()?);
    /// # let server = std::thread::spawn(move || -> std::io::Result<()> {
    /// #     let (mut stream, _) = listener.accept()?;
    /// #     stream.write_all(b"it costs 5$ a day\nguest@host-7:~$ ")?;
    /// #     stream.read_to_end(&mut Vec::new()).map(drop)
    /// # });
    /// # let mut session = greeter_client::Session::new(greeter_client::session::SessionOptions::to(address));
    /// // The host is another one each time, and there is something to be read before it asks.
    /// let mut host = String::new();
    /// session.on("").skipping().expect_prompt(":~$ ", |_, prompt| {
    ///     let text = String::from_utf8_lossy(prompt);
    ///     let found = text.strip_prefix("guest@").and_then(|text| text.strip_suffix(":~$ "));
    ///     found.map(|found| host = found.to_owned()).is_some()
    /// })?;
    /// assert_eq!(host, "host-7");
    /// # session.finish()?;
    /// # server.join().expect("the server does not panic")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`expect`](Self::expect).
    pub fn expect_prompt(
        self,
        ending: impl AsRef<[u8]>,
        mut accepts: impl FnMut(Option<usize>, &[u8]) -> bool,
    ) -> Result<(), SessionError> {
        let ending = ending.as_ref();
        self.each(&Expected::Prompt(ending.to_vec()), |expectation| {
            let member = expectation.member();
            expectation.prompt(ending, |start| accepts(member, start))
        })
    }

    /// Takes the next `count` bytes, whatever they are: those of all members of a crowd, one behind
    /// the other.
    ///
    /// # Errors
    ///
    /// Those of [`expect`](Self::expect).
    pub fn take(self, count: usize) -> Result<Vec<u8>, SessionError> {
        let mut taken = Vec::new();
        self.take_if(count, |_, bytes| {
            taken.extend_from_slice(bytes);
            true
        })?;
        Ok(taken)
    }

    /// Expects `accepts` to accept the next `count` bytes. For a member of a crowd it receives its
    /// number.
    pub(crate) fn take_if(
        self,
        count: usize,
        mut accepts: impl FnMut(Option<usize>, &[u8]) -> bool,
    ) -> Result<(), SessionError> {
        self.each(&Expected::Count(count), |expectation| {
            let member = expectation.member();
            expectation.count(count, |bytes| accepts(member, bytes))
        })
    }

    /// Starts TLS on the open connection, once the server has said that it may begin. The name in
    /// its certificate must be that of the address, or what the [target](super::Target::tls) says.
    ///
    /// ```no_run
    /// # use greeter_client::{ServerAddress, Session, session::SessionOptions};
    /// # let mut session = Session::new(SessionOptions::to("mail.example:25".parse::<ServerAddress>()?));
    /// session.on("").send("STARTTLS")?;
    /// session.on("").expect("220 Ready to start TLS")?;
    /// session.on("").start_tls()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// * [`StartTls`](SessionError::StartTls): something is unread. Whoever was in between may have
    ///   put it behind the go-ahead, and it must not count as encrypted (CVE-2011-0411). Or the
    ///   handshake failed, or TLS is spoken there already;
    /// * those of [`send`](Self::send).
    pub fn start_tls(self) -> Result<(), SessionError> {
        self.part(|connection, log, deadline| connection.start_tls(deadline, log))
    }

    /// Expects the server to close, with nothing unread before its end. An earlier send that failed
    /// is forgiven.
    ///
    /// # Errors
    ///
    /// Those of [`expect`](Self::expect).
    pub fn expect_eof(self) -> Result<(), SessionError> {
        self.each(&Expected::Eof, |expectation| expectation.end_forgiving(StreamEnd::is_eof))
    }

    /// Expects the server to reset the connection, with nothing unread before. An earlier send that
    /// failed is forgiven.
    ///
    /// # Errors
    ///
    /// Those of [`expect`](Self::expect).
    pub fn expect_reset(self) -> Result<(), SessionError> {
        self.each(&Expected::Reset, |expectation| expectation.end_forgiving(|end| end == StreamEnd::Reset))
    }

    /// Expects the server to close or reset the connection, with nothing unread before. An earlier
    /// send that failed is forgiven.
    ///
    /// # Errors
    ///
    /// Those of [`expect`](Self::expect).
    pub fn expect_closed(self) -> Result<(), SessionError> {
        self.each(&Expected::Closed, |expectation| {
            expectation.end_forgiving(|end| end.is_eof() || end == StreamEnd::Reset)
        })
    }

    /// Expects no byte and no end for `duration`.
    ///
    /// # Errors
    ///
    /// Those of [`expect`](Self::expect).
    pub fn expect_nothing(self, duration: Duration) -> Result<(), SessionError> {
        // Silence begins when we have said everything.
        self.session.flush();
        self.within(duration).each(&Expected::Nothing(duration), |expectation| expectation.nothing())
    }

    /// Lets each connection of the handle say something with the next flush.
    fn gather(
        self,
        mut say: impl FnMut(Option<usize>, &mut Vec<u8>) -> Result<Event, SessionError>,
    ) -> Result<(), SessionError> {
        let selection = self.session.select(self.name)?;
        self.session.turn_to(&selection);
        let (members, log) = self.session.members(&selection);
        let mut wire = Vec::new();
        for connection in members {
            wire.clear();
            let event = say(connection.member, &mut wire)?;
            connection.send(&wire, event, self.timeout, log)?;
        }
        Ok(())
    }

    /// Opens, starts the clock and flushes.
    fn begin(&mut self) -> Result<(Selection, Instant, Deadline), SessionError> {
        let selection = self.session.select(self.name)?;
        let start = Instant::now();
        let deadline = Deadline::from(start, Some(self.timeout));
        self.session.flush_by(&deadline);
        Ok((selection, start, deadline))
    }

    /// Flushes, and ends something on each connection of the handle.
    fn part(
        mut self,
        mut part: impl FnMut(&mut SessionConnection, &mut SessionLog, &Deadline) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        let (selection, _, deadline) = self.begin()?;
        let (members, log) = self.session.members(&selection);
        members.iter_mut().try_for_each(|connection| part(connection, log, &deadline))
    }

    /// Flushes, and waits for the same thing on each connection of the handle.
    fn each(
        mut self,
        expected: &Expected,
        mut wait: impl FnMut(&mut Expectation<'_, '_>) -> Result<(), Observed>,
    ) -> Result<(), SessionError> {
        let (selection, start, deadline) = self.begin()?;
        let eol = self.session.options.eol;
        let (members, log) = self.session.members(&selection);
        for connection in members {
            let mut expectation = Expectation::new(connection, log, deadline, eol, &mut self.skips)?;
            if let Err(observed) = wait(&mut expectation) {
                let skipped_lines = expectation.skipped_lines;
                return Err(connection.mismatch(expected.clone(), observed, start.elapsed(), skipped_lines)?);
            }
        }
        Ok(())
    }
}
