//! What replaces the primitives of `sync` in a model.

use std::collections::VecDeque;
use std::sync::Arc;

use loom::sync::atomic::AtomicUsize;
pub(crate) use loom::sync::atomic::{Ordering, fence};
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};

/// An atomic whose stores are swaps. Loom (0.7) has only a partial order of what is written to one
/// place: it lets a thread that knows of a plain store read the swap before it, which no machine
/// does.
#[derive(Debug)]
pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub(crate) fn new(value: bool) -> Self {
        Self(loom::sync::atomic::AtomicBool::new(value))
    }

    pub(crate) fn load(&self, ordering: Ordering) -> bool {
        self.0.load(ordering)
    }

    pub(crate) fn store(&self, value: bool, ordering: Ordering) {
        self.0.swap(value, ordering);
    }

    pub(crate) fn swap(&self, value: bool, ordering: Ordering) -> bool {
        self.0.swap(value, ordering)
    }
}

/// As much of crossbeam's unbounded channel as the server uses. The number of messages is stored
/// beside the queue, as it is there, so that reading it orders nothing else.
pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let state = Mutex::new(ChannelState { messages: VecDeque::new(), senders: 1, is_received: true });
    let queue = Arc::new(ChannelQueue { state, has_changed: Condvar::new(), len: AtomicUsize::new(0) });
    (Sender(Arc::clone(&queue)), Receiver(queue))
}

#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<ChannelQueue<T>>);

#[derive(Debug)]
pub(crate) struct Receiver<T>(Arc<ChannelQueue<T>>);

/// The receiver was dropped.
#[derive(Debug)]
pub(crate) struct Disconnected;

#[derive(Debug)]
struct ChannelQueue<T> {
    state: Mutex<ChannelState<T>>,
    has_changed: Condvar,
    len: AtomicUsize,
}

#[derive(Debug)]
struct ChannelState<T> {
    messages: VecDeque<T>,
    senders: usize,
    is_received: bool,
}

impl<T> Sender<T> {
    pub(crate) fn send(&self, message: T) -> Result<(), Disconnected> {
        let mut state = self.0.state.lock().unwrap();
        if !state.is_received {
            return Err(Disconnected);
        }
        state.messages.push_back(message);
        drop(state);
        self.0.len.fetch_add(1, Ordering::Release);
        self.0.has_changed.notify_one();
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len.load(Ordering::Acquire)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state.lock().unwrap().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().senders -= 1;
        self.0.has_changed.notify_all();
    }
}

impl<T> Receiver<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len.load(Ordering::Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn try_recv(&self) -> Result<T, ()> {
        let message = self.0.state.lock().unwrap().messages.pop_front().ok_or(())?;
        self.0.len.fetch_sub(1, Ordering::AcqRel);
        Ok(message)
    }

    fn recv(&self) -> Option<T> {
        let mut state = self.0.state.lock().unwrap();
        while state.messages.is_empty() && state.senders > 0 {
            state = self.0.has_changed.wait(state).unwrap();
        }
        let message = state.messages.pop_front()?;
        drop(state);
        self.0.len.fetch_sub(1, Ordering::AcqRel);
        Some(message)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap();
        state.is_received = false;
        let left = std::mem::take(&mut state.messages);
        drop(state);
        drop(left);
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Box<dyn Iterator<Item = T> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(std::iter::from_fn(|| self.recv()))
    }
}
