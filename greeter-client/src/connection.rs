//! Turns lines into bytes on a connection and back, each with its timeout and its limit. It must
//! not know names or scripts: there is one connection and one caller.
//!
//! `pipeline` and `pipe` are two ways to keep many lines in flight; `traffic` is what a pipe tells
//! whoever watches.

mod endings;
mod pipe;
mod pipeline;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use crate::net::{
    ConnectError, ConnectionError, Deadline, Eol, LineOverflow, Proxy, ReplyBuffer, Route, ServerAddress, Stream,
    StreamEnd, TlsClient,
};

pub use pipe::{PipeEnd, PipeError, Piped};
pub use pipeline::Pipelined;
pub use traffic::Traffic;

/// Options of a connection.
///
/// ```
/// use greeter_client::{Eol, ConnectionOptions};
///
/// let mut options = ConnectionOptions::default();
/// options.eol = Eol::CrLf;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionOptions {
    /// How long connecting (TLS included), sending one line, and waiting for one reply may each
    /// take; `None` disables it. It is a total: bytes that arrive meanwhile do not extend it. The
    /// default is 5 s, because nobody watches a program for longer without doubting it.
    pub timeout: Option<Duration>,
    /// How long a [pipe](Connection::pipe) or a [pipeline](Connection::pipeline) waits for a server
    /// that says nothing and does not close, once all is sent and half-closed, and in a pipeline
    /// once as many lines have come. Bytes that come meanwhile begin it anew. The default is none:
    /// then only the server's end ends a pipe.
    pub idle: Option<Duration>,
    /// How lines end. The default is LF.
    pub eol: Eol,
    /// The longest line that is accepted, in bytes, without its ending. The receive buffer stays
    /// below it and 64 KiB, whichever is more. The default is 1 MiB, which no line meant for people
    /// reaches.
    pub max_line_bytes: usize,
    /// The PROXY header that is sent first. The default is none.
    pub proxy: Option<Proxy>,
    /// Whom TLS trusts, and who we are in it, where the address says `tls:`. The default is
    /// [`None`]: whom the system trusts, and nobody.
    pub tls: Option<TlsClient>,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            timeout: Some(Duration::from_secs(5)),
            idle: None,
            eol: Eol::Lf,
            max_line_bytes: 1024 * 1024,
            proxy: None,
            tls: None,
        }
    }
}

/// A connection to a line server.
///
/// Dropping it closes it. A server that writes first, with a banner, is read with
/// [`receive`](Self::receive).
///
/// ```
/// # use std::io::{BufRead, BufReader, Write};
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let address = greeter_client::ServerAddress::from(listener.local_addr()?);
/// # let server = std::thread::spawn(move || -> std::io::Result<()> {
/// #     let (mut stream, _) = listener.accept()?;
/// #     for name in BufReader::new(stream.try_clone()?).lines() {
/// #         stream.write_all(format!("Hello, {}\n", name?).as_bytes())?;
/// #     }
/// #     Ok(())
/// # });
/// use greeter_client::Connection;
///
/// let mut connection = Connection::connect(&address)?;
/// assert_eq!(connection.ask("Ann")?, b"Hello, Ann");
///
/// connection.send("Ben")?;
/// connection.finish_sending();
/// assert_eq!(connection.receive()?, Some(&b"Hello, Ben"[..]));
/// assert_eq!(connection.receive()?, None);
/// # server.join().expect("the server does not panic")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Connection {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
}

impl Connection {
    /// Connects with the default [`ConnectionOptions`]. Tries the addresses of a name one after the
    /// other.
    ///
    /// # Errors
    ///
    /// The name cannot be resolved, nobody accepts, TLS cannot be spoken where it should be, or it
    /// takes longer than 5 s.
    pub fn connect(address: &ServerAddress) -> Result<Self, ConnectError> {
        Self::connect_with(address, &ConnectionOptions::default())
    }

    /// Connects with `options`.
    ///
    /// # Errors
    ///
    /// The name cannot be resolved, nobody accepts, TLS cannot be spoken where it should be, or it
    /// takes longer than [`ConnectionOptions::timeout`].
    pub fn connect_with(address: &ServerAddress, options: &ConnectionOptions) -> Result<Self, ConnectError> {
        let route =
            Route { proxy: options.proxy, tls: options.tls.clone(), ..Route::to(address.clone(), options.timeout) };
        let stream = Arc::new(Stream::connect(&route)?);
        Ok(Self {
            sender: Sender {
                stream: Arc::clone(&stream),
                timeout: options.timeout,
                eol: options.eol,
                wire: Vec::new(),
            },
            receiver: Receiver {
                stream,
                timeout: options.timeout,
                idle: options.idle,
                lines: ReplyBuffer::new(options.eol, options.max_line_bytes),
                limit: options.max_line_bytes,
            },
        })
    }

    /// Sends one line and waits for one line. [`ConnectionOptions::timeout`] is for both together.
    ///
    /// A server that answers twice leaves its second line to the next call: read with
    /// [`receive`](Self::receive) what is more than one line.
    ///
    /// # Errors
    ///
    /// Any [`ConnectionError`]; [`Closed`](ConnectionError::Closed) where the connection ended in
    /// place of the reply.
    pub fn ask(&mut self, line: impl AsRef<[u8]>) -> Result<&[u8], ConnectionError> {
        let deadline = Deadline::after(self.sender.timeout);
        self.sender.send_by(line.as_ref(), &deadline)?;
        self.receiver.receive_by(&deadline)?.ok_or(ConnectionError::Closed)
    }

    /// Sends one line, as [`Sender::send`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Sender::send`].
    pub fn send(&mut self, line: impl AsRef<[u8]>) -> Result<(), ConnectionError> {
        self.sender.send(line)
    }

    /// Waits for the next line and returns it without its ending, as [`Receiver::receive`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::receive`].
    pub fn receive(&mut self) -> Result<Option<&[u8]>, ConnectionError> {
        self.receiver.receive()
    }

    /// Returns what has come and has not been received as a line, as [`Receiver::unread`] does.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.receiver.unread()
    }

    /// Half-closes: the server sees the end of the stream, and can still send. A
    /// [`send`](Self::send) after it fails with [`ConnectionError::Lost`].
    pub fn finish_sending(&mut self) {
        self.sender.half_close();
    }

    /// Splits the connection into its two directions, for two threads. It closes when both are
    /// dropped.
    ///
    /// ```no_run
    /// # let address = "127.0.0.1:8080".parse()?;
    /// use std::thread;
    /// use greeter_client::Connection;
    ///
    /// let (mut sender, mut receiver) = Connection::connect(&address)?.split();
    /// let sending = thread::spawn(move || {
    ///     sender.send("Bob")?;
    ///     sender.finish();
    ///     Ok::<(), greeter_client::ConnectionError>(())
    /// });
    /// while let Some(reply) = receiver.receive()? {
    ///     assert_eq!(reply, b"Hello, Bob");
    /// }
    /// sending.join().expect("the thread does not panic")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// The sending half of a connection; see [`Connection::split`].
#[derive(Debug)]
pub struct Sender {
    pub(crate) stream: Arc<Stream>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) eol: Eol,
    /// The line and its ending, so that they leave in one write.
    wire: Vec<u8>,
}

impl Sender {
    /// Sends `line` and its ending.
    ///
    /// # Errors
    ///
    /// * [`LfInLineError`](ConnectionError::LfInLineError), and nothing was sent;
    /// * [`Lost`](ConnectionError::Lost);
    /// * [`TimedOut`](ConnectionError::TimedOut): the server does not read, and part of the line
    ///   may have been sent. To keep more lines in flight than it reads at once, use
    ///   [`Connection::pipeline`].
    pub fn send(&mut self, line: impl AsRef<[u8]>) -> Result<(), ConnectionError> {
        let deadline = Deadline::after(self.timeout);
        self.send_by(line.as_ref(), &deadline)
    }

    /// Half-closes: the server sees the end of the stream, and can still send.
    pub fn finish(self) {
        self.half_close();
    }

    /// Resets the connection. Both sides may lose what is on its way, and a [`Receiver::receive`]
    /// that waits returns. The reset is sent once the [`Receiver`] is dropped, too. A Unix socket
    /// has no reset, and is closed.
    pub fn reset(self) {
        self.stream.abort();
    }

    fn send_by(&mut self, line: &[u8], deadline: &Deadline) -> Result<(), ConnectionError> {
        self.wire.clear();
        if !self.eol.append_line(&mut self.wire, line) {
            return Err(ConnectionError::LfInLineError);
        }
        self.stream.write_all(&self.wire, deadline)?;
        // One huge line must not cost its size for as long as the connection lives.
        self.wire.clear();
        self.wire.shrink_to(64 * 1024);
        Ok(())
    }

    fn half_close(&self) {
        // What cannot be said any more, reading tells better.
        let _ = self.stream.half_close(&Deadline::after(self.timeout));
    }
}

/// The receiving half of a connection; see [`Connection::split`].
#[derive(Debug)]
pub struct Receiver {
    pub(crate) stream: Arc<Stream>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    lines: ReplyBuffer,
    limit: usize,
}

impl Receiver {
    /// Waits for the next line and returns it without its ending. Returns `None` if the server has
    /// closed after a whole line, or before any.
    ///
    /// # Errors
    ///
    /// * [`TimedOut`](ConnectionError::TimedOut): no whole line within
    ///   [`ConnectionOptions::timeout`]. What has come of it is kept, and another call may wait for
    ///   the rest;
    /// * [`PartialLine`](ConnectionError::PartialLine): the server closed in the middle of a line.
    ///   It is never given out as a whole one;
    /// * [`LineTooLong`](ConnectionError::LineTooLong);
    /// * [`Lost`](ConnectionError::Lost).
    pub fn receive(&mut self) -> Result<Option<&[u8]>, ConnectionError> {
        let deadline = Deadline::after(self.timeout);
        self.receive_by(&deadline)
    }

    /// Waits for bytes, whole lines or not, and returns them: for a server whose prompts end no
    /// line. Returns `None` if the server has closed.
    ///
    /// What [`receive`](Self::receive) has left comes first, and what this gives out, that does not
    /// give out again.
    ///
    /// # Errors
    ///
    /// * [`TimedOut`](ConnectionError::TimedOut): nothing has come within
    ///   [`ConnectionOptions::timeout`], and another call may wait on;
    /// * [`Lost`](ConnectionError::Lost).
    pub fn receive_bytes(&mut self) -> Result<Option<&[u8]>, ConnectionError> {
        if self.lines.unread().is_empty() {
            let count = self.stream.read(self.lines.space(), &Deadline::after(self.timeout))?;
            self.lines.filled(count);
        }
        match self.lines.take_all() {
            bytes if bytes.is_empty() => Ok(None),
            bytes => Ok(Some(self.lines.line(bytes))),
        }
    }

    /// Returns what has come and has not been received as a line: whole lines, or the start of one.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.lines.unread()
    }

    /// Returns whether the server has not said in TLS that it would end the stream. Once the end
    /// has come, that means that what came may lack something.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.stream.end() == StreamEnd::Truncated
    }

    pub(crate) fn receive_by(&mut self, deadline: &Deadline) -> Result<Option<&[u8]>, ConnectionError> {
        loop {
            match self.lines.take_line() {
                Ok(Some(line)) => return Ok(Some(self.lines.line(line))),
                Ok(None) => {}
                Err(LineOverflow) => return Err(ConnectionError::LineTooLong { limit: self.limit }),
            }
            match self.stream.read(self.lines.space(), deadline)? {
                0 => break,
                count => self.lines.filled(count),
            }
        }
        match self.lines.unread().len() {
            0 => Ok(None),
            bytes => Err(ConnectionError::PartialLine { bytes }),
        }
    }
}
