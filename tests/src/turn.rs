//! Whose turn it is, among tests that look at the clock or at their process as a whole.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Held by one test alone, or by several that do not mind each other. A test that fails while it
/// holds this breaks nothing for the others, so that a poisoned lock is as good as any.
static TURN: RwLock<()> = RwLock::new(());

/// Waits until no other test is at work, and keeps the others waiting as long as its value lives.
///
/// For a test that measures what others beside it would change, or that leaves them no processor.
/// It works within one binary; cargo runs the binaries one after another.
#[must_use = "whoever lets go of it at once is not alone"]
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no test is [alone], and keeps those waiting that want to be.
///
/// For a test that mostly waits for time to pass, and allows for a machine that does much else.
#[must_use = "whoever lets go of it at once disturbs those that are alone"]
pub fn beside_others() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}
