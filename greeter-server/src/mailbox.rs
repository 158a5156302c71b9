//! Turns messages from other threads into a wake-up of a thread that sleeps in `poll`: a channel
//! and a waker in one. Must not know what the messages mean.

use std::fmt;
use std::io;
use std::sync::Arc;

use mio::{Poll, Token, Waker};

use crate::sync::{AtomicBool, Ordering, Receiver, Sender, channel, fence};

/// The sending end. Sending never blocks. What bounds the messages is not here: a connection has
/// one job or a limited number of parts, pushes have a limit of bytes, and the host program asks as
/// often as it likes.
#[derive(Debug)]
pub(crate) struct Mailbox<M> {
    sender: Sender<M>,
    notifier: Arc<Notifier>,
    /// Whether the inbox was dropped, so that no thread reads the messages any more.
    is_abandoned: Arc<AtomicBool>,
}

/// The receiving end, which the thread owns.
#[derive(Debug)]
pub(crate) struct Inbox<M> {
    receiver: Receiver<M>,
    notifier: Arc<Notifier>,
    is_abandoned: Arc<AtomicBool>,
}

/// Wakes the thread if it sleeps, once for any number of messages.
///
/// No message is left behind: the thread says that it is going to sleep before it looks into the
/// mailbox for the last time, and a sender puts its message in before it looks whether the thread
/// sleeps. Whichever comes first, the other sees it, since each has a full fence between its two
/// steps.
struct Notifier {
    wake: Box<dyn Fn() -> io::Result<()> + Send + Sync>,
    is_asleep: AtomicBool,
}

/// The token of a wake-up's event. No socket may have it.
pub(crate) const WAKE_UP: Token = Token(usize::MAX);

/// Creates a mailbox for a thread, and the `Poll` in which that thread sleeps.
pub(crate) fn mailbox<M>() -> io::Result<(Mailbox<M>, Inbox<M>, Poll)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKE_UP)?;
    let (mailbox, inbox) = mailbox_of(move || waker.wake());
    Ok((mailbox, inbox, poll))
}

/// Creates a mailbox for a thread that `wake` wakes.
pub(crate) fn mailbox_of<M>(wake: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> (Mailbox<M>, Inbox<M>) {
    with_notifier(Arc::new(Notifier { wake: Box::new(wake), is_asleep: AtomicBool::new(false) }))
}

/// Creates a mailbox whose messages wake the thread through this notifier.
fn with_notifier<M>(notifier: Arc<Notifier>) -> (Mailbox<M>, Inbox<M>) {
    let (sender, receiver) = channel();
    let is_abandoned = Arc::new(AtomicBool::new(false));
    let mailbox = Mailbox { sender, notifier: Arc::clone(&notifier), is_abandoned: Arc::clone(&is_abandoned) };
    (mailbox, Inbox { receiver, notifier, is_abandoned })
}

impl<M> Mailbox<M> {
    /// Creates a second mailbox of the same thread, with the same notifier. The thread may sleep
    /// when [both](Inbox::try_sleep) are empty.
    pub(crate) fn another<N>(&self) -> (Mailbox<N>, Inbox<N>) {
        with_notifier(Arc::clone(&self.notifier))
    }

    /// Returns whether the thread still reads its messages.
    pub(crate) fn has_receiver(&self) -> bool {
        !self.is_abandoned.load(Ordering::Relaxed)
    }

    /// Returns whether the thread sleeps, as far as another thread can tell.
    pub(crate) fn is_asleep(&self) -> bool {
        self.notifier.is_asleep.load(Ordering::Relaxed)
    }

    /// Sends a message. If the thread has ended, the message is dropped.
    pub(crate) fn send(&self, message: M) {
        if self.sender.send(message).is_ok() {
            self.notifier.notify();
        }
    }
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            notifier: Arc::clone(&self.notifier),
            is_abandoned: Arc::clone(&self.is_abandoned),
        }
    }
}

impl<M> Inbox<M> {
    /// Creates a second mailbox of the same thread, as [`Mailbox::another`] does.
    pub(crate) fn another<N>(&self) -> (Mailbox<N>, Inbox<N>) {
        with_notifier(Arc::clone(&self.notifier))
    }

    /// Announces that the thread is going to sleep, and returns whether it may: whether there is no
    /// message. If it returns true, any later message wakes the thread.
    pub(crate) fn try_sleep(&self) -> bool {
        self.notifier.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may_sleep = self.receiver.is_empty();
        if !may_sleep {
            self.woke_up();
        }
        may_sleep
    }

    /// Announces that the thread is awake, so that no sender wakes it.
    pub(crate) fn woke_up(&self) {
        self.notifier.is_asleep.store(false, Ordering::Relaxed);
    }

    /// Returns the number of messages.
    pub(crate) fn len(&self) -> usize {
        self.receiver.len()
    }

    /// Takes the oldest message.
    pub(crate) fn next_message(&self) -> Option<M> {
        self.receiver.try_recv().ok()
    }
}

impl<M> Drop for Inbox<M> {
    fn drop(&mut self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
    }
}

impl Notifier {
    /// Wakes the thread if it sleeps. To be called after a message was sent.
    fn notify(&self) {
        fence(Ordering::SeqCst);
        // The load spares other senders the cache line while the thread is awake; the swap lets
        // only one of them wake it.
        if self.is_asleep.load(Ordering::Relaxed)
            && self.is_asleep.swap(false, Ordering::Relaxed)
            && let Err(error) = (self.wake)()
        {
            tracing::error!(%error, "Cannot wake a thread.");
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("is_asleep", &self.is_asleep).finish_non_exhaustive()
    }
}
