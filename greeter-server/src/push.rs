//! Turns a host program's or a responder's lines into messages to the connection threads. Must not
//! wait for a client.

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use greeter_core::{ClientId, Delivery, LfInLineError, PushMessage, PushReceipt};

use crate::messages::InFlightPush;
use crate::thread_mailboxes::PushTarget;

/// Pushes lines to clients outside the replies to their own lines, to one client or to all.
///
/// It pushes a line, several lines that stay together, or raw bytes. A
/// [`Responder`](crate::Responder) receives the handle
/// [from the builder](crate::Builder::responder_with), which has an example, a host program
/// [from its own handle](crate::ServerHandle::push).
///
/// A pushed message never splits a reply or another message, and messages from one thread arrive in
/// the order in which it sent them. Lines end as that client's own lines do; as long as it has sent
/// none, as its banner does. What a responder pushes to the client that it is answering comes after
/// the replies to all lines of the same turn, with workers and without; only where its lines are
/// answered [side by side](crate::Builder::in_parallel), between two of them. That includes a reply
/// that [closes](greeter_core::Reply::close) the connection: a client that is owed replies receives
/// what is pushed until the server closes its end. A client that was rejected or disconnected
/// (idle, overloaded, timed out…) does not.
///
/// An answer that comes [later](greeter_core::Later) takes a way of its own to the connection: what
/// one thread pushes before it or behind it may come on the other side of it. Whoever needs an
/// order pushes from the call that [`Later::lines_then`](greeter_core::Later::lines_then) makes,
/// when the reply is among what the client is sent.
///
/// Pushing sends a message to the client's connection thread. It does not block, and does not
/// report whether the client was still connected. A client that does not read what is pushed is
/// disconnected once [too much](crate::Builder::max_unsent_bytes) is waiting.
///
/// ```
/// use greeter_server::Server;
///
/// let server = Server::builder().bind("127.0.0.1:0")?.spawn()?;
/// let push = server.push();
/// push.broadcast("to everyone")?;
/// push.broadcast_lines(["two lines", "that stay together"])?;
/// push.broadcast_raw(b"no line ending is added")?;
/// for connection in server.connections() {
///     let client = connection.peer.id;
///     push.line(client, "to one client")?;
///     push.lines(client, ["two lines", "that stay together"])?;
///     push.raw(client, b"no line ending is added")?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PushHandle(Arc<PushShared>);

/// What all clones of a handle share.
struct PushShared {
    target: OnceLock<Arc<dyn PushTarget>>,
    bytes_in_flight: Arc<AtomicUsize>,
}

/// An error returned by [`PushHandle`]. No client receives the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// A line contains an LF.
    #[error("cannot push {0}")]
    NotALine(#[from] LfInLineError),
    /// The server has not started yet.
    #[error("cannot push before the server has started")]
    NotStarted,
    /// Too many bytes are in flight to connection threads that are busy: 16 MiB, including this
    /// message. A smaller message can be pushed again later.
    #[error("too much is being pushed")]
    TooMuch,
}

impl PushHandle {
    pub(crate) fn new() -> Self {
        Self(Arc::new(PushShared { target: OnceLock::new(), bytes_in_flight: Arc::default() }))
    }

    /// Pushes one line, given without its ending, to this client. Does nothing if the client has
    /// left or the server has stopped.
    ///
    /// # Errors
    ///
    /// Returns a [`PushError`], and the client does not receive the line.
    pub fn line(&self, to: ClientId, text: impl AsRef<[u8]>) -> Result<(), PushError> {
        self.send_to(to, PushMessage::line(text)?)
    }

    /// Pushes several lines, each given without its ending, to this client. They stay together.
    ///
    /// # Errors
    ///
    /// Returns a [`PushError`], and the client receives none of the lines.
    pub fn lines(&self, to: ClientId, lines: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<(), PushError> {
        self.send_to(to, PushMessage::lines(lines)?)
    }

    /// Pushes bytes to this client as they are. They stay together, and no line ending is added or
    /// checked: the framing is the caller's part.
    ///
    /// # Errors
    ///
    /// Returns a [`PushError`], and the client receives none of the bytes.
    pub fn raw(&self, to: ClientId, bytes: impl AsRef<[u8]>) -> Result<(), PushError> {
        self.send_to(to, PushMessage::raw(bytes))
    }

    /// Pushes bytes like [`raw`](Self::raw), and calls `then` once it is known what has become of
    /// them: once, as soon as the client's socket has [taken](Delivery::Taken) the last of them, or
    /// it is certain that it will not, since the client is not connected, has gone, was
    /// disconnected, or the server has ended.
    ///
    /// So a responder that stands between a client and another program pushes a piece, and reads
    /// the next from that program when this one was taken: it holds one piece, however slow the
    /// client is. A client that takes such a piece is not idle; one that does not take it for the
    /// write timeout is disconnected.
    ///
    /// `then` is called by the client's connection thread, or by the thread that finds the piece
    /// lost, which may be this one before this returns. So it must be quick and wait for nothing.
    /// It may push; but whoever pushes again what was lost, from here, has that lost within this
    /// call. A panic of it is caught.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    /// use greeter_server::{BoxError, ClientId, Delivery, Line, Peer, PushHandle, Reply, Responder, testing};
    ///
    /// /// Sends numbers in pieces, and then the end.
    /// fn count(push: &PushHandle, to: ClientId, from: u32) {
    ///     if from == 1000 {
    ///         return push.close(to).unwrap_or_default();
    ///     }
    ///     let again = push.clone();
    ///     let pushed = push.raw_then(to, format!("{from}\n"), move |delivery| {
    ///         if delivery == Delivery::Taken {
    ///             count(&again, to, from + 1);
    ///         }
    ///     });
    ///     // Too much is on its way to others.
    ///     pushed.unwrap_or_else(|_| push.close(to).unwrap_or_default());
    /// }
    ///
    /// struct Count(PushHandle);
    ///
    /// impl Responder for Count {
    ///     type Session = ClientId;
    ///
    ///     fn connect(&self, peer: &Peer, _: &mut Reply<'_>) -> Result<ClientId, BoxError> {
    ///         Ok(peer.id)
    ///     }
    ///
    ///     fn respond(
    ///         &self,
    ///         id: &mut ClientId,
    ///         _: Line<'_>,
    ///         _: &mut Reply<'_>,
    ///     ) -> Result<(), BoxError> {
    ///         Ok(count(&self.0, *id, 0))
    ///     }
    /// }
    ///
    /// let server = testing::serve_with(Count);
    /// let mut client = TcpStream::connect(server.local_addr())?;
    /// client.write_all(b"go\n")?;
    /// let mut numbers = String::new();
    /// client.read_to_string(&mut numbers)?;
    /// assert_eq!(numbers.lines().count(), 1000);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns a [`PushError`]. The client receives none of the bytes, and `then` is not called.
    pub fn raw_then(
        &self,
        to: ClientId,
        bytes: impl AsRef<[u8]>,
        then: impl FnOnce(Delivery) + Send + 'static,
    ) -> Result<(), PushError> {
        let target = self.target()?;
        let message = self.reserve(PushMessage::raw(bytes), 1)?;
        target.push(to, message, Some(PushReceipt::new(then)));
        Ok(())
    }

    /// Ends this client's connection, as [`Reply::close`](greeter_core::Reply::close) does: behind
    /// the replies that it is owed, those that are being made, and what was pushed before. Lines
    /// that no thread has begun to answer are discarded. One that is to be answered
    /// [later](greeter_core::Reply::later) is waited for no more, and what is answered beside those
    /// behind it goes nowhere. Does nothing if the client has left or the server has stopped.
    ///
    /// # Errors
    ///
    /// Returns [`PushError::NotStarted`].
    pub fn close(&self, to: ClientId) -> Result<(), PushError> {
        self.target()?.close_client(to);
        Ok(())
    }

    /// Pushes one line, like [`line`](Self::line), to every client that is connected when its
    /// connection thread receives the message.
    ///
    /// # Errors
    ///
    /// Returns a [`PushError`], and no client receives the line.
    pub fn broadcast(&self, text: impl AsRef<[u8]>) -> Result<(), PushError> {
        self.send_to_all(PushMessage::line(text)?)
    }

    /// Pushes several lines, like [`lines`](Self::lines), to every client that is connected when
    /// its connection thread receives the message.
    ///
    /// # Errors
    ///
    /// Returns a [`PushError`], and no client receives the lines.
    pub fn broadcast_lines(&self, lines: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<(), PushError> {
        self.send_to_all(PushMessage::lines(lines)?)
    }

    /// Pushes bytes, like [`raw`](Self::raw), to every client that is connected when its connection
    /// thread receives the message.
    ///
    /// # Errors
    ///
    /// Returns a [`PushError`], and no client receives the bytes.
    pub fn broadcast_raw(&self, bytes: impl AsRef<[u8]>) -> Result<(), PushError> {
        self.send_to_all(PushMessage::raw(bytes))
    }

    fn send_to(&self, to: ClientId, message: PushMessage) -> Result<(), PushError> {
        let target = self.target()?;
        target.push(to, self.reserve(message, 1)?, None);
        Ok(())
    }

    fn send_to_all(&self, message: PushMessage) -> Result<(), PushError> {
        let target = self.target()?;
        target.broadcast(&Arc::new(self.reserve(message, target.count())?));
        Ok(())
    }

    /// Connects the handle to the connection threads of its server.
    pub(crate) fn connect(&self, target: Arc<dyn PushTarget>) {
        // A handle belongs to one server, which calls this once.
        let _ = self.0.target.set(target);
    }

    fn target(&self) -> Result<&dyn PushTarget, PushError> {
        self.0.target.get().map(|target| &**target).ok_or(PushError::NotStarted)
    }

    /// Reserves bytes in flight for a message to this many threads.
    fn reserve(&self, message: PushMessage, threads: usize) -> Result<InFlightPush, PushError> {
        InFlightPush::reserve(message, threads, &self.0.bytes_in_flight).ok_or(PushError::TooMuch)
    }
}

impl fmt::Debug for PushHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushHandle").field("bytes_in_flight", &self.0.bytes_in_flight).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use greeter_core::client_id;
    use std::sync::Mutex;

    /// Records what is pushed, as this many threads.
    struct RecordedPushes {
        count: usize,
        pushed: Mutex<Vec<(Option<ClientId>, Arc<InFlightPush>)>>,
        receipts: Mutex<Vec<PushReceipt>>,
        closed: Mutex<Vec<ClientId>>,
    }

    impl PushTarget for RecordedPushes {
        fn count(&self) -> usize {
            self.count
        }

        fn push(&self, to: ClientId, message: InFlightPush, receipt: Option<PushReceipt>) {
            self.receipts.lock().unwrap().extend(receipt);
            self.pushed.lock().unwrap().push((Some(to), Arc::new(message)));
        }

        fn broadcast(&self, message: &Arc<InFlightPush>) {
            self.pushed.lock().unwrap().push((None, Arc::clone(message)));
        }

        fn close_client(&self, client: ClientId) {
            self.closed.lock().unwrap().push(client);
        }
    }

    fn push(count: usize) -> (PushHandle, Arc<RecordedPushes>) {
        let (push, recorded) = (
            PushHandle::new(),
            Arc::new(RecordedPushes {
                count,
                pushed: Mutex::default(),
                receipts: Mutex::default(),
                closed: Mutex::default(),
            }),
        );
        push.connect(Arc::clone(&recorded) as _);
        (push, recorded)
    }

    #[test]
    fn each_method_pushes_its_message_to_its_clients() {
        let (push, recorded) = push(3);
        let client = client_id(7);
        push.line(client, "line").unwrap();
        push.lines(client, ["one", "two"]).unwrap();
        push.raw(client, "raw\n").unwrap();
        push.broadcast("line").unwrap();
        push.broadcast_lines(["one", "two"]).unwrap();
        push.broadcast_raw("raw\n").unwrap();
        let pushed: Vec<_> =
            recorded.pushed.lock().unwrap().iter().map(|(to, message)| (*to, message.content().clone())).collect();
        let all = [
            PushMessage::line("line").unwrap(),
            PushMessage::lines(["one", "two"]).unwrap(),
            PushMessage::raw("raw\n"),
        ];
        let expected = [Some(client), None].into_iter().flat_map(|to| all.clone().map(|message| (to, message)));
        assert_eq!(pushed, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_line_with_an_lf_and_a_push_before_the_start_are_errors() {
        let (push, recorded) = push(3);
        let client = client_id(7);
        let no_line = Err(PushError::NotALine(LfInLineError));
        assert_eq!([push.line(client, "\n"), push.broadcast("\n")], [no_line; 2]);
        assert_eq!([push.lines(client, ["one", "\n"]), push.broadcast_lines(["one", "\n"])], [no_line; 2]);
        assert!(recorded.pushed.lock().unwrap().is_empty());
        assert_eq!(PushHandle::new().line(client, "early"), Err(PushError::NotStarted));
        assert_eq!(PushHandle::new().broadcast("early"), Err(PushError::NotStarted));
    }

    #[test]
    fn what_was_not_pushed_is_told_of_by_the_error_alone_and_what_was_lost_once() {
        let told = Arc::new(Mutex::new(Vec::<(u32, Delivery)>::new()));
        let then = |number: u32| {
            let told = Arc::clone(&told);
            move |delivery| told.lock().unwrap().push((number, delivery))
        };
        let (push, recorded) = push(1);
        let client = client_id(7);
        assert_eq!(PushHandle::new().raw_then(client, "early", then(1)), Err(PushError::NotStarted));
        assert_eq!(push.raw_then(client, vec![b'x'; 16 << 20], then(2)), Err(PushError::TooMuch));
        assert_eq!(push.raw_then(client, "lost", then(3)), Ok(()));
        assert_eq!(*told.lock().unwrap(), []);
        recorded.receipts.lock().unwrap().clear();
        assert_eq!(*told.lock().unwrap(), [(3, Delivery::Lost)]);
        assert_eq!((push.close(client), PushHandle::new().close(client)), (Ok(()), Err(PushError::NotStarted)));
        assert_eq!(*recorded.closed.lock().unwrap(), [client]);
    }

    /// A broadcast is one text, and one message to each thread.
    #[test]
    fn at_most_16_mib_are_in_flight_with_their_messages() {
        const MAX: usize = 16 << 20;
        let (push, recorded) = push(1000);
        let exactly = vec![b'x'; MAX - 64];
        assert_eq!(push.raw(client_id(7), &exactly), Ok(()));
        assert_eq!(push.raw(client_id(7), ""), Err(PushError::TooMuch));
        assert_eq!(
            format!("{push:?}"),
            format!("PushHandle {{ bytes_in_flight: {MAX}, .. }}"),
            "what is rejected takes no room"
        );
        recorded.pushed.lock().unwrap().clear();
        assert_eq!(push.broadcast_raw(&exactly), Err(PushError::TooMuch));
        assert_eq!((0..1000).filter(|_| push.broadcast("").is_ok()).count(), MAX / 64_001);
    }
}
