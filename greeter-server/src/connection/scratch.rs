//! Memory that a connection thread uses again and again. Must not grow with the number of clients.

use crate::limits::{CHARGE_UNIT, MAX_SPARE_BYTES};
use crate::transport::ReadBuffers;

/// The buffers into which a thread reads, and buffers of replies that were sent.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) read: ReadBuffers,
    /// The one that was used last on top.
    spares: Vec<Vec<u8>>,
    spare_bytes: usize,
}

impl Scratch {
    pub(crate) fn new(read_bytes: usize) -> Self {
        Self { read: ReadBuffers::new(read_bytes), spares: Vec::new(), spare_bytes: 0 }
    }

    /// Returns a buffer for this many bytes. It may hold more, but is not charged for more
    /// [units](CHARGE_UNIT). Small ones come from the allocator, which keeps such buffers by
    /// itself. A spare one of another size is dropped, so that those of the size in demand are
    /// kept.
    pub(crate) fn buffer(&mut self, bytes: usize) -> Vec<u8> {
        if bytes < CHARGE_UNIT {
            return Vec::with_capacity(bytes);
        }
        let most = (bytes / CHARGE_UNIT + 1) * CHARGE_UNIT - 1;
        let spare = self.spares.pop().inspect(|spare| self.spare_bytes -= spare.capacity());
        spare.filter(|spare| (bytes..=most).contains(&spare.capacity())).unwrap_or_else(|| Vec::with_capacity(most))
    }

    /// Keeps a buffer for later replies, if there is room for it.
    pub(crate) fn keep(&mut self, buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes >= CHARGE_UNIT && self.spare_bytes + bytes <= MAX_SPARE_BYTES {
            self.spare_bytes += bytes;
            self.spares.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_buffer_is_reused_for_the_same_number_of_units() {
        let mut scratch = Scratch::new(0);
        let buffer = scratch.buffer(2 * CHARGE_UNIT + 10);
        let (place, capacity) = (buffer.as_ptr(), buffer.capacity());
        assert_eq!(capacity / CHARGE_UNIT, 2);
        scratch.keep(buffer);
        let buffer = scratch.buffer(3 * CHARGE_UNIT - 1);
        assert_eq!((buffer.as_ptr(), buffer.capacity()), (place, capacity));
    }

    #[test]
    fn a_buffer_of_another_size_is_dropped() {
        let mut scratch = Scratch::new(0);
        for (kept, wanted) in [(2, 3), (3, 2)] {
            scratch.keep(Vec::with_capacity(kept * CHARGE_UNIT));
            assert_eq!(scratch.buffer(wanted * CHARGE_UNIT).capacity() / CHARGE_UNIT, wanted);
            assert_eq!((scratch.spares.len(), scratch.spare_bytes), (0, 0));
        }
        // As many units, and still too small.
        scratch.keep(Vec::with_capacity(CHARGE_UNIT));
        assert!(scratch.buffer(CHARGE_UNIT + 1).capacity() > CHARGE_UNIT);
    }

    #[test]
    fn buffers_are_kept_up_to_a_limit() {
        let mut scratch = Scratch::new(0);
        scratch.keep(Vec::with_capacity(CHARGE_UNIT - 1));
        assert_eq!(scratch.spares.len(), 0, "an allocator does that better");
        for _ in 0..1000 {
            scratch.keep(Vec::with_capacity(8 * CHARGE_UNIT));
        }
        assert_eq!(scratch.spares.len(), MAX_SPARE_BYTES / (8 * CHARGE_UNIT));
        while !scratch.spares.is_empty() {
            scratch.buffer(8 * CHARGE_UNIT);
        }
        assert_eq!(scratch.spare_bytes, 0);
    }
}
