//! Counts how much memory all lines and replies of a server occupy. Must not know what follows when
//! there is too little.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::CHARGE_UNIT;

/// The memory budget that all connections of a server share.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    charged: AtomicUsize,
    grains_max: usize,
}

impl MemoryBudget {
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self { charged: AtomicUsize::new(0), grains_max: bytes_max / CHARGE_UNIT }
    }

    /// Charges a connection for this many bytes, in place of the `charged` units from before, and
    /// returns whether the budget allows that. Less than before is always allowed.
    pub(crate) fn charge(&self, counted: &mut u32, bytes: usize) -> bool {
        let charged = u32::try_from(bytes / CHARGE_UNIT).unwrap_or(u32::MAX);
        if charged == *counted {
            return true;
        }
        let before = std::mem::replace(counted, charged);
        if charged < before {
            self.charged.fetch_sub((before - charged) as usize, Ordering::Relaxed);
            return true;
        }
        let more = (charged - before) as usize;
        self.charged.fetch_add(more, Ordering::Relaxed) + more <= self.grains_max
    }

    /// Returns how many bytes are charged.
    pub(crate) fn bytes(&self) -> usize {
        self.charged.load(Ordering::Relaxed) * CHARGE_UNIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_more_than_there_is_has_no_room_and_who_gives_back_makes_some() {
        let buffers = MemoryBudget::new(10 * CHARGE_UNIT);
        let (mut ann, mut bob) = (0, 0);
        assert!(buffers.charge(&mut ann, 8 * CHARGE_UNIT));
        assert!(buffers.charge(&mut bob, 2 * CHARGE_UNIT + 1));
        assert!(!buffers.charge(&mut bob, 3 * CHARGE_UNIT));
        assert!(buffers.charge(&mut ann, 7 * CHARGE_UNIT));
        assert_eq!(buffers.bytes(), 10 * CHARGE_UNIT);
        assert!(buffers.charge(&mut ann, 0) && buffers.charge(&mut bob, CHARGE_UNIT - 1));
        assert_eq!(buffers.bytes(), 0);
    }
}
