//! Saying something to clients that have not asked.

use std::fmt;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use greeter_core::{ClientId, LfInLine, PushMessage};

use crate::messages::PushedMessage;
use crate::thread_mailboxes::PushTarget;

/// Says something to clients outside the replies that they asked for, to one or to all: a line, several that stay together, or
/// bytes as they are. A [`Responder`](crate::Responder) gets it [from the builder](crate::Builder::responder_with), a host
/// program [from the handle](crate::ServerHandle::push).
///
/// It never gets into the middle of a reply, nor of what else is pushed, and arrives in the order in which one thread said it.
/// Lines end as that client's own do, or as long as it has sent none, as its banner does. What a responder says to the client
/// whom it is answering comes behind the replies to all lines that are answered in the same run, with a pool and without. That
/// holds for a reply that [closes](greeter_core::Reply::close) the connection, too: whoever is owed replies hears what is said
/// until the end of the stream is sent. Whoever is sent away (idle, overloaded, timed out…) or was not let in does not.
///
/// Saying something is a message to the thread that has the client: it does not wait, and nobody is told whether the client was
/// still there. A client that does not read what is pushed is cut off once [too much](crate::Builder::max_unsent_bytes) has
/// piled up.
#[derive(Clone)]
pub struct PushHandle(Arc<PushShared>);

struct PushShared {
    target: OnceLock<Arc<dyn PushTarget>>,
    bytes_in_flight: Arc<AtomicUsize>,
}

/// Why nothing was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// What was to be one line holds an LF.
    #[error("cannot push {0}")]
    NotALine(#[from] LfInLine),
    /// The server has not started yet.
    #[error("cannot push before the server has started")]
    NotStarted,
    /// Too much is under way already, to connection threads that are busy with something else: 16 MiB, the piece at hand among it. One that
    /// is smaller may be pushed again later.
    #[error("too much is being pushed")]
    TooMuch,
}

impl PushHandle {
    pub(crate) fn new() -> Self {
        Self(Arc::new(PushShared { target: OnceLock::new(), bytes_in_flight: Arc::default() }))
    }

    /// Says one line, without its ending, to this client. To one that has left, nothing is said, and no more once the server has
    /// stopped.
    ///
    /// # Errors
    ///
    /// [`PushError`]: then nobody was told.
    pub fn line(&self, to: ClientId, text: impl AsRef<[u8]>) -> Result<(), PushError> {
        self.send_to(to, PushMessage::line(text)?)
    }

    /// Says several lines to this client, each without its ending, as one: nothing gets between them.
    ///
    /// # Errors
    ///
    /// [`PushError`]: then nobody was told.
    pub fn lines(&self, to: ClientId, lines: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<(), PushError> {
        self.send_to(to, PushMessage::lines(lines)?)
    }

    /// Says bytes to this client as they are: nothing is added, nothing is checked, and nothing gets between them. The framing is the
    /// caller's.
    ///
    /// # Errors
    ///
    /// [`PushError`]: then nobody was told.
    pub fn raw(&self, to: ClientId, bytes: impl AsRef<[u8]>) -> Result<(), PushError> {
        self.send_to(to, PushMessage::raw(bytes))
    }

    /// Says one [line](Self::line) to every client that is connected when its thread gets to know.
    ///
    /// # Errors
    ///
    /// [`PushError`]: then nobody was told.
    pub fn broadcast(&self, text: impl AsRef<[u8]>) -> Result<(), PushError> {
        self.send_to_all(PushMessage::line(text)?)
    }

    /// Says several [lines](Self::lines) as one to every client that is connected when its thread gets to know.
    ///
    /// # Errors
    ///
    /// [`PushError`]: then nobody was told.
    pub fn broadcast_lines(&self, lines: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<(), PushError> {
        self.send_to_all(PushMessage::lines(lines)?)
    }

    /// Says [bytes as they are](Self::raw) to every client that is connected when its thread gets to know.
    ///
    /// # Errors
    ///
    /// [`PushError`]: then nobody was told.
    pub fn broadcast_raw(&self, bytes: impl AsRef<[u8]>) -> Result<(), PushError> {
        self.send_to_all(PushMessage::raw(bytes))
    }

    fn send_to(&self, to: ClientId, message: PushMessage) -> Result<(), PushError> {
        let target = self.target()?;
        target.push(to, self.reserve(message, 1)?);
        Ok(())
    }

    fn send_to_all(&self, message: PushMessage) -> Result<(), PushError> {
        let target = self.target()?;
        target.broadcast(&Arc::new(self.reserve(message, target.count())?));
        Ok(())
    }

    pub(crate) fn connect(&self, target: Arc<dyn PushTarget>) {
        // A responder has one server, and this is called once by it.
        let _ = self.0.target.set(target);
    }

    fn target(&self) -> Result<&dyn PushTarget, PushError> {
        self.0.target.get().map(|target| &**target).ok_or(PushError::NotStarted)
    }

    fn reserve(&self, message: PushMessage, target: usize) -> Result<PushedMessage, PushError> {
        PushedMessage::reserve(message, target, &self.0.bytes_in_flight).ok_or(PushError::TooMuch)
    }
}

impl fmt::Debug for PushHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("bytes_in_flight", &self.0.bytes_in_flight).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use greeter_core::client_id;
    use std::sync::Mutex;

    /// So many who hand on what is pushed, and all that they were given.
    struct RecordedPushes {
        count: usize,
        said: Mutex<Vec<(Option<ClientId>, Arc<PushedMessage>)>>,
    }

    impl PushTarget for RecordedPushes {
        fn count(&self) -> usize {
            self.count
        }

        fn push(&self, to: ClientId, news: PushedMessage) {
            self.said.lock().unwrap().push((Some(to), Arc::new(news)));
        }

        fn broadcast(&self, news: &Arc<PushedMessage>) {
            self.said.lock().unwrap().push((None, Arc::clone(news)));
        }
    }

    fn push(count: usize) -> (PushHandle, Arc<RecordedPushes>) {
        let (push, noted) = (PushHandle::new(), Arc::new(RecordedPushes { count, said: Mutex::default() }));
        push.connect(Arc::clone(&noted) as _);
        (push, noted)
    }

    #[test]
    fn everything_is_said_to_whom_it_is_for_and_as_what_it_is() {
        let (push, noted) = push(3);
        let ann = client_id(7);
        push.line(ann, "line").unwrap();
        push.lines(ann, ["one", "two"]).unwrap();
        push.raw(ann, "raw\n").unwrap();
        push.broadcast("line").unwrap();
        push.broadcast_lines(["one", "two"]).unwrap();
        push.broadcast_raw("raw\n").unwrap();
        let said: Vec<_> = noted.said.lock().unwrap().iter().map(|(to, news)| (*to, news.message().clone())).collect();
        let all = [
            PushMessage::line("line").unwrap(),
            PushMessage::lines(["one", "two"]).unwrap(),
            PushMessage::raw("raw\n"),
        ];
        let expected = [Some(ann), None].into_iter().flat_map(|to| all.clone().map(|message| (to, message)));
        assert_eq!(said, expected.collect::<Vec<_>>());
    }

    #[test]
    fn what_holds_an_lf_is_no_line_and_before_the_start_there_is_nobody() {
        let (push, noted) = push(3);
        let ann = client_id(7);
        let no_line = Err(PushError::NotALine(LfInLine));
        assert_eq!([push.line(ann, "\n"), push.broadcast("\n")], [no_line; 2]);
        assert_eq!([push.lines(ann, ["one", "\n"]), push.broadcast_lines(["one", "\n"])], [no_line; 2]);
        assert!(noted.said.lock().unwrap().is_empty());
        assert_eq!(PushHandle::new().line(ann, "early"), Err(PushError::NotStarted));
        assert_eq!(PushHandle::new().broadcast("early"), Err(PushError::NotStarted));
    }

    /// A broadcast is one text, and a letter to each thread.
    #[test]
    fn up_to_16_mib_may_be_under_way_with_their_letters() {
        const MOST: usize = 16 << 20;
        let (push, noted) = push(1000);
        let exactly = vec![b'x'; MOST - 64];
        assert_eq!(push.raw(client_id(7), &exactly), Ok(()));
        assert_eq!(push.raw(client_id(7), ""), Err(PushError::TooMuch));
        assert_eq!(
            format!("{push:?}"),
            format!("Push {{ bytes_in_flight: {MOST}, .. }}"),
            "what is rejected takes no room"
        );
        noted.said.lock().unwrap().clear();
        assert_eq!(push.broadcast_raw(&exactly), Err(PushError::TooMuch));
        assert_eq!((0..1000).filter(|_| push.broadcast("").is_ok()).count(), MOST / 64_001);
    }
}
