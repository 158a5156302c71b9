//! One value for all threads that is replaced as a whole now and then. Must not know what it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The value that holds now.
#[derive(Debug)]
pub(crate) struct Current<T> {
    /// How many values there were before. It is written under the lock.
    version: AtomicU64,
    value: Mutex<Arc<T>>,
}

/// The value as a thread has last seen it: to look whether it is still that costs no lock.
#[derive(Debug)]
pub(crate) struct Seen<T> {
    version: u64,
    value: Arc<T>,
}

impl<T> Current<T> {
    pub(crate) const fn new(value: Arc<T>) -> Self {
        Self { version: AtomicU64::new(0), value: Mutex::new(value) }
    }

    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.lock())
    }

    pub(crate) fn replace(&self, value: Arc<T>) {
        let mut held = self.lock();
        *held = value;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Returns a thread's own view of it.
    pub(crate) fn seen(&self) -> Seen<T> {
        let held = self.lock();
        Seen { version: self.version.load(Ordering::Relaxed), value: Arc::clone(&held) }
    }

    /// Nothing that holds the lock can panic.
    fn lock(&self) -> MutexGuard<'_, Arc<T>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Seen<T> {
    /// Returns the value that holds now.
    pub(crate) fn latest(&mut self, current: &Current<T>) -> &Arc<T> {
        if self.version != current.version.load(Ordering::Acquire) {
            *self = current.seen();
        }
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_the_latest_once_it_is_asked_for() {
        let current = Current::new(Arc::new(1));
        let mut seen = current.seen();
        assert_eq!((**seen.latest(&current), *current.get()), (1, 1));
        for value in 2..5 {
            current.replace(Arc::new(value));
            assert_eq!((**seen.latest(&current), *current.get()), (value, value));
        }
        assert!(Arc::ptr_eq(seen.latest(&current), &current.get()));
    }
}
