//! The one way into a thread that sleeps in `poll`: a channel and a wake-up in one.

use std::fmt;
use std::io;
use std::sync::Arc;

use mio::{Poll, Token, Waker};

use crate::sync::{AtomicBool, Ordering, Receiver, Sender, channel, fence};

/// The sending end. Sending never blocks: what is sent is bounded by how many connections there are.
#[derive(Debug)]
pub(crate) struct Mailbox<M> {
    sender: Sender<M>,
    bell: Arc<Notifier>,
    /// Nobody reads what is sent any more.
    is_abandoned: Arc<AtomicBool>,
}

/// The thread's own end.
#[derive(Debug)]
pub(crate) struct Inbox<M> {
    receiver: Receiver<M>,
    bell: Arc<Notifier>,
    is_abandoned: Arc<AtomicBool>,
}

/// Wakes the thread if it sleeps, once for any number of messages.
///
/// No message is left lying: the thread says that it is going to sleep before it looks into the mailbox for the last time,
/// and a sender puts its message in before it looks whether the thread sleeps. Whichever of the two is first, the other sees
/// it, since a full fence stands between the two steps of each.
struct Notifier {
    wake: Box<dyn Fn() -> io::Result<()> + Send + Sync>,
    is_asleep: AtomicBool,
}

/// The token of the event by which a wake-up shows. Whoever polls gives no socket this one.
pub(crate) const MAIL: Token = Token(usize::MAX);

/// Makes a mailbox for a thread, and what that thread polls.
pub(crate) fn mailbox<M>() -> io::Result<(Mailbox<M>, Inbox<M>, Poll)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), MAIL)?;
    let (mailbox, inbox) = mailbox_of(move || waker.wake());
    Ok((mailbox, inbox, poll))
}

/// Makes a mailbox for a thread that is woken so.
pub(crate) fn mailbox_of<M>(wake: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> (Mailbox<M>, Inbox<M>) {
    with_bell(Arc::new(Notifier { wake: Box::new(wake), is_asleep: AtomicBool::new(false) }))
}

fn with_bell<M>(bell: Arc<Notifier>) -> (Mailbox<M>, Inbox<M>) {
    let (sender, receiver) = channel();
    let is_abandoned = Arc::new(AtomicBool::new(false));
    let mailbox = Mailbox { sender, bell: Arc::clone(&bell), is_abandoned: Arc::clone(&is_abandoned) };
    (mailbox, Inbox { receiver, bell, is_abandoned })
}

impl<M> Mailbox<M> {
    /// A second mailbox of the same thread, with the same bell. The thread sleeps when [both](Inbox::try_sleep) are empty.
    pub(crate) fn another<N>(&self) -> (Mailbox<N>, Inbox<N>) {
        with_bell(Arc::clone(&self.bell))
    }

    /// Whether the thread still reads its mail.
    pub(crate) fn is_read(&self) -> bool {
        !self.is_abandoned.load(Ordering::Relaxed)
    }

    /// Whether the thread sleeps, for all one can tell from outside.
    pub(crate) fn is_asleep(&self) -> bool {
        self.bell.is_asleep.load(Ordering::Relaxed)
    }

    /// Sends a message. To a thread that has ended it goes nowhere.
    pub(crate) fn send(&self, message: M) {
        if self.sender.send(message).is_ok() {
            self.bell.notify();
        }
    }
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), bell: Arc::clone(&self.bell), is_abandoned: Arc::clone(&self.is_abandoned) }
    }
}

impl<M> Inbox<M> {
    /// Says that the thread is going to sleep, if there is no mail. When this is true, a message from now on wakes it.
    pub(crate) fn try_sleep(&self) -> bool {
        self.bell.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may_sleep = self.receiver.is_empty();
        if !may_sleep {
            self.woke_up();
        }
        may_sleep
    }

    /// Says that the thread is awake, so that nobody need wake it.
    pub(crate) fn woke_up(&self) {
        self.bell.is_asleep.store(false, Ordering::Relaxed);
    }

    /// How many messages are here.
    pub(crate) fn len(&self) -> usize {
        self.receiver.len()
    }

    /// The message that came first.
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
    fn notify(&self) {
        fence(Ordering::SeqCst);
        // The load spares the others the cache line while the thread is awake; the swap lets one of them ring.
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
        f.debug_struct("Bell").field("is_asleep", &self.is_asleep).finish_non_exhaustive()
    }
}
