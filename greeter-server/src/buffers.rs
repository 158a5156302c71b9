//! How much memory all lines and replies of a server occupy together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What is counted, in bytes. What a connection holds below that is not, so that small lines and replies, which are nearly all
/// there are, cost no traffic between the processors; it is reckoned with in the sum that is published.
pub(crate) const GRAIN: usize = 4096;

/// The room for buffers that all connections of a server share.
#[derive(Debug)]
pub(crate) struct Buffers {
    grains: AtomicUsize,
    grains_max: usize,
}

impl Buffers {
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self { grains: AtomicUsize::new(0), grains_max: bytes_max / GRAIN }
    }

    /// Counts that a connection holds so many bytes, where `counted` grains were counted before, and tells whether there is room for
    /// that. Whoever holds less than before has room.
    pub(crate) fn count(&self, counted: &mut u32, bytes: usize) -> bool {
        let grains = u32::try_from(bytes / GRAIN).unwrap_or(u32::MAX);
        if grains == *counted {
            return true;
        }
        let before = std::mem::replace(counted, grains);
        if grains < before {
            self.grains.fetch_sub((before - grains) as usize, Ordering::Relaxed);
            return true;
        }
        let more = (grains - before) as usize;
        self.grains.fetch_add(more, Ordering::Relaxed) + more <= self.grains_max
    }

    /// How many bytes are counted.
    pub(crate) fn bytes(&self) -> usize {
        self.grains.load(Ordering::Relaxed) * GRAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_more_than_there_is_has_no_room_and_who_gives_back_makes_some() {
        let buffers = Buffers::new(10 * GRAIN);
        let (mut ann, mut bob) = (0, 0);
        assert!(buffers.count(&mut ann, 8 * GRAIN));
        assert!(buffers.count(&mut bob, 2 * GRAIN + 1));
        assert!(!buffers.count(&mut bob, 3 * GRAIN));
        assert!(buffers.count(&mut ann, 7 * GRAIN));
        assert_eq!(buffers.bytes(), 10 * GRAIN);
        assert!(buffers.count(&mut ann, 0) && buffers.count(&mut bob, GRAIN - 1));
        assert_eq!(buffers.bytes(), 0);
    }
}
