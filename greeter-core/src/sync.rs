//! The primitives through which threads share state, in one place, so that a model checker can
//! replace them: with `--cfg loom`, the models in `answer_cell` try every order in which threads
//! can use these.

#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

#[cfg(all(loom, test))]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
