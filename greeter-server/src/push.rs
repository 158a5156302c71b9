//! Saying something to clients that have not asked.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use greeter_core::{ClientId, LfInLine, Line};

use crate::switchboard::Switchboard;

/// How many bytes may be under way to the connection threads. They take them off as fast as they can copy, so that so much is
/// under way means that they do not keep up.
const PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What one line costs that is under way, beside its text.
const LINE_BYTES: usize = 64;

/// Says lines to clients outside the replies that they asked for: to one or to all. A [`Responder`](crate::Responder) gets it
/// [from the builder](crate::Builder::responder_with), a host program [from the handle](crate::ServerHandle::push).
///
/// A line never gets into the middle of a reply, and lines to one client arrive in the order in which one thread said them. They
/// end as that client's own lines do. Saying something is a message to the thread that has the client: it does not wait, and
/// nobody is told whether the client was still there. A client that does not read what is pushed is cut off once
/// [too much](crate::Builder::unsent_bytes_max) has piled up.
#[derive(Clone)]
pub struct Push(Arc<Shared>);

pub(crate) struct Shared {
    threads: OnceLock<Arc<dyn Switchboard>>,
    pending_bytes: AtomicUsize,
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
    /// Too much is under way already. Nothing is wrong with pushing it again later.
    #[error("too much is being pushed")]
    TooMuch,
}

impl Push {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared { threads: OnceLock::new(), pending_bytes: AtomicUsize::new(0) }))
    }

    /// Says one line, without its ending, to this client. To one that has left, nothing is said.
    ///
    /// # Errors
    ///
    /// [`PushError`]: then nobody was told.
    pub fn line(&self, to: ClientId, text: impl AsRef<[u8]>) -> Result<(), PushError> {
        let text = text.as_ref();
        Line::new(text)?;
        let threads = self.threads()?;
        self.reserve(text.len() + LINE_BYTES)?;
        threads.push(to, text.into());
        Ok(())
    }

    /// Says one line, without its ending, to every client that is connected when its thread gets to know.
    ///
    /// # Errors
    ///
    /// [`PushError`]: then nobody was told.
    pub fn broadcast(&self, text: impl AsRef<[u8]>) -> Result<(), PushError> {
        let text = text.as_ref();
        Line::new(text)?;
        let threads = self.threads()?;
        self.reserve((text.len() + LINE_BYTES) * threads.count())?;
        threads.broadcast(&text.into());
        Ok(())
    }

    pub(crate) fn connect(&self, threads: &Arc<dyn Switchboard>) {
        // A responder has one server, and this is called once by it.
        let _ = self.0.threads.set(Arc::clone(threads));
    }

    /// A line has arrived at its connection thread.
    pub(crate) fn arrived(&self, text: &[u8]) {
        self.0.pending_bytes.fetch_sub(text.len() + LINE_BYTES, Ordering::Relaxed);
    }

    fn threads(&self) -> Result<&dyn Switchboard, PushError> {
        self.0.threads.get().map(|threads| &**threads).ok_or(PushError::NotStarted)
    }

    fn reserve(&self, bytes: usize) -> Result<(), PushError> {
        let pending = self.0.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
        if pending.saturating_add(bytes) > PENDING_BYTES_MAX {
            self.0.pending_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(PushError::TooMuch);
        }
        Ok(())
    }
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("pending_bytes", &self.0.pending_bytes).finish_non_exhaustive()
    }
}
