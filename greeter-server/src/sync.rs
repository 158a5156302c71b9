//! The primitives through which threads share state, in one place, so that a model checker can
//! replace them: with `--cfg loom`, the tests in `models` try every order in which threads can use
//! these.

#[cfg(not(all(loom, test)))]
pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded as channel};
#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(all(loom, test))]
pub(crate) use crate::models::sync::{
    AtomicBool, Condvar, Mutex, MutexGuard, Ordering, Receiver, Sender, channel, fence,
};
