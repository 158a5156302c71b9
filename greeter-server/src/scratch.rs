//! Memory that a connection thread uses again and again.

use crate::buffers::GRAIN;

/// How much memory a thread keeps for replies that are yet to come, in bytes. Without, an allocator that gets back the buffers of all
/// who pipeline gives their memory to the system, and has it cleared and mapped again, page by page, when they send the next lines.
pub(crate) const SPARE_BYTES_MAX: usize = 1024 * 1024;

/// What a thread reads into, and buffers that replies were in.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) read: Box<[u8]>,
    /// The one that was used last on top.
    spares: Vec<Vec<u8>>,
    spare_bytes: usize,
}

impl Scratch {
    pub(crate) fn new(read_bytes: usize) -> Self {
        Self { read: vec![0; read_bytes].into_boxed_slice(), spares: Vec::new(), spare_bytes: 0 }
    }

    /// A buffer for so many bytes. It may hold more, but counts for no more [grains](GRAIN). Small ones come from the allocator, which
    /// keeps such by itself. A spare one of another size makes way, so that what is kept is what is wanted.
    pub(crate) fn buffer(&mut self, bytes: usize) -> Vec<u8> {
        if bytes < GRAIN {
            return Vec::with_capacity(bytes);
        }
        let most = (bytes / GRAIN + 1) * GRAIN - 1;
        let spare = self.spares.pop().inspect(|spare| self.spare_bytes -= spare.capacity());
        spare.filter(|spare| (bytes..=most).contains(&spare.capacity())).unwrap_or_else(|| Vec::with_capacity(most))
    }

    /// Keeps a buffer for the next replies, if there is room for it.
    pub(crate) fn keep(&mut self, buffer: Vec<u8>) {
        let bytes = buffer.capacity();
        if bytes >= GRAIN && self.spare_bytes + bytes <= SPARE_BYTES_MAX {
            self.spare_bytes += bytes;
            self.spares.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_was_kept_is_used_again_for_as_many_grains() {
        let mut scratch = Scratch::new(0);
        let buffer = scratch.buffer(2 * GRAIN + 10);
        let (place, capacity) = (buffer.as_ptr(), buffer.capacity());
        assert_eq!(capacity / GRAIN, 2);
        scratch.keep(buffer);
        let buffer = scratch.buffer(3 * GRAIN - 1);
        assert_eq!((buffer.as_ptr(), buffer.capacity()), (place, capacity));
    }

    #[test]
    fn a_buffer_of_another_size_makes_way() {
        let mut scratch = Scratch::new(0);
        for (kept, wanted) in [(2, 3), (3, 2)] {
            scratch.keep(Vec::with_capacity(kept * GRAIN));
            assert_eq!(scratch.buffer(wanted * GRAIN).capacity() / GRAIN, wanted);
            assert_eq!((scratch.spares.len(), scratch.spare_bytes), (0, 0));
        }
        // As many grains, and still too small.
        scratch.keep(Vec::with_capacity(GRAIN));
        assert!(scratch.buffer(GRAIN + 1).capacity() > GRAIN);
    }

    #[test]
    fn no_more_is_kept_than_that() {
        let mut scratch = Scratch::new(0);
        scratch.keep(Vec::with_capacity(GRAIN - 1));
        assert_eq!(scratch.spares.len(), 0, "an allocator does that better");
        for _ in 0..1000 {
            scratch.keep(Vec::with_capacity(8 * GRAIN));
        }
        assert_eq!(scratch.spares.len(), SPARE_BYTES_MAX / (8 * GRAIN));
        while !scratch.spares.is_empty() {
            scratch.buffer(8 * GRAIN);
        }
        assert_eq!(scratch.spare_bytes, 0);
    }
}
