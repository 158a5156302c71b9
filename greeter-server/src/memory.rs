//! Counts how much memory all lines and replies of a server occupy. Must not know what follows when
//! there is too little.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::CHARGE_UNIT;

/// The memory budget that all connections of a server share.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    charged: AtomicUsize,
    max_units: AtomicUsize,
}

impl MemoryBudget {
    pub(crate) const fn new(max_bytes: usize) -> Self {
        Self { charged: AtomicUsize::new(0), max_units: AtomicUsize::new(max_bytes / CHARGE_UNIT) }
    }

    /// Sets how many bytes there may be from now on. What is charged stays.
    pub(crate) fn set_max(&self, max_bytes: usize) {
        self.max_units.store(max_bytes / CHARGE_UNIT, Ordering::Relaxed);
    }

    /// Charges a connection for this many bytes, in place of the `charged` units from before, and
    /// returns whether the budget allows that. Less than before is always allowed. What is too much
    /// is charged all the same, until the connection is charged for less.
    pub(crate) fn charge(&self, charged: &mut u32, bytes: usize) -> bool {
        let units = u32::try_from(bytes / CHARGE_UNIT).unwrap_or(u32::MAX);
        if units == *charged {
            return true;
        }
        let before = std::mem::replace(charged, units);
        if units < before {
            self.charged.fetch_sub((before - units) as usize, Ordering::Relaxed);
            return true;
        }
        let more = (units - before) as usize;
        self.charged.fetch_add(more, Ordering::Relaxed) + more <= self.max_units.load(Ordering::Relaxed)
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
    fn a_charge_above_the_budget_fails_and_releasing_memory_makes_room() {
        let memory = MemoryBudget::new(10 * CHARGE_UNIT);
        let (mut ann, mut bob) = (0, 0);
        assert!(memory.charge(&mut ann, 8 * CHARGE_UNIT));
        assert!(memory.charge(&mut bob, 2 * CHARGE_UNIT + 1));
        assert!(!memory.charge(&mut bob, 3 * CHARGE_UNIT));
        assert!(memory.charge(&mut ann, 7 * CHARGE_UNIT));
        assert_eq!(memory.bytes(), 10 * CHARGE_UNIT);
        assert!(memory.charge(&mut ann, 0) && memory.charge(&mut bob, CHARGE_UNIT - 1));
        assert_eq!(memory.bytes(), 0);
    }
}
