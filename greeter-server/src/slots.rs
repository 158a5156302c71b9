//! Keeps a connection thread's clients in slots that are reused, under keys that are not. Must not
//! know what a client is.

use std::io;

use greeter_core::{ClientId, client_id};

/// Identifies one value: a slot, and which of its values in succession, modulo 2³². The key of a
/// value that was removed finds nothing, even when the slot holds another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    generation: u32,
}

/// How many bits of a client's id identify the slot: a thread has at most 2²² slots.
pub(crate) const SLOT_BITS: u32 = 22;

/// How many bits of a client's id identify the thread: a server has at most 2¹⁰ threads.
pub(crate) const THREAD_BITS: u32 = 10;

impl Key {
    /// Returns the id of the client that a thread keeps under this key.
    pub(crate) fn client_id(self, thread: usize) -> ClientId {
        client_id(u64::from(self.generation) << 32 | (thread as u64) << SLOT_BITS | u64::from(self.slot))
    }
}

impl From<ClientId> for Key {
    #[expect(clippy::cast_possible_truncation, reason = "the parts are taken out as they were put in")]
    fn from(id: ClientId) -> Self {
        let id = id.as_u64();
        Self { slot: id as u32 & ((1 << SLOT_BITS) - 1), generation: (id >> 32) as u32 }
    }
}

/// Returns the number of the thread that keeps the client with this id.
pub(crate) const fn thread_of(id: ClientId) -> usize {
    let id = id.as_u64();
    (id >> SLOT_BITS) as usize & ((1 << THREAD_BITS) - 1)
}

/// A vector with holes, which are filled first. It has as many slots as were ever in use at the
/// same time.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// The empty slots, the one emptied last on top.
    vacant: Vec<u32>,
}

/// A slot, and which of its values in succession it holds.
#[derive(Debug)]
struct Slot<T> {
    /// Incremented when a value is removed.
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), vacant: Vec::new() }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many values there are.
    pub(crate) const fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Returns the key that [`insert`](Self::insert) will return next.
    ///
    /// # Errors
    ///
    /// Returns an error if no other value fits. There are far more slots than a process can have
    /// descriptors.
    pub(crate) fn next_key(&self) -> io::Result<Key> {
        let slot = self.vacant.last().copied().or_else(|| u32::try_from(self.slots.len()).ok());
        let slot = slot
            .filter(|slot| *slot < 1 << SLOT_BITS)
            .ok_or_else(|| io::Error::other("there are too many connections for one thread"))?;
        Ok(Key { slot, generation: self.slots.get(slot as usize).map_or(0, |slot| slot.generation) })
    }

    /// Keeps a value and returns its key.
    ///
    /// # Panics
    ///
    /// Panics if there is [no room](Self::next_key).
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let key = self.next_key().expect("there is room");
        match self.vacant.pop() {
            Some(slot) => self.slots[slot as usize].value = Some(value),
            None => self.slots.push(Slot { generation: key.generation, value: Some(value) }),
        }
        key
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    /// Returns the key of the value that is in this slot now.
    pub(crate) fn key_of(&self, slot: usize) -> Option<Key> {
        let Slot { generation, value } = self.slots.get(slot)?;
        value.as_ref()?;
        Some(Key { slot: u32::try_from(slot).ok()?, generation: *generation })
    }

    /// Removes the value with this key, if it is still here.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        let slot = &mut self.slots[key.slot as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(key.slot);
        slot.value.take()
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.slot as usize)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.value.as_ref())
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        (0..self.slots.len()).filter_map(|slot| self.key_of(slot)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_used_again_and_its_old_key_finds_nothing() {
        let mut slots = Slots::new();
        let ann = slots.insert("Ann");
        let bob = slots.insert("Bob");
        assert_eq!(slots.remove(ann), Some("Ann"));
        let cid = slots.insert("Cid");
        assert_eq!(cid.slot, ann.slot);
        assert_ne!(cid, ann);
        assert_eq!(slots.get_mut(ann), None);
        assert_eq!(slots.remove(ann), None);
        assert_eq!(slots.get_mut(bob), Some(&mut "Bob"));
        assert_eq!(slots.get_mut(cid), Some(&mut "Cid"));
    }

    #[test]
    fn the_next_key_is_the_one_that_insert_gives() {
        let mut slots = Slots::new();
        for round in 0..3 {
            let expected = slots.next_key();
            let key = slots.insert(round);
            assert_eq!(key, expected.unwrap());
            assert_eq!(Key::from(key.client_id(1023)), key);
            assert_eq!(thread_of(key.client_id(1023)), 1023);
            assert_eq!(slots.key_of(key.slot as usize), Some(key));
            slots.remove(key);
            assert!(slots.is_empty());
            assert_eq!(slots.key_of(key.slot as usize), None);
        }
    }

    #[test]
    fn a_client_id_has_generation_thread_and_slot_in_separate_bits() {
        let key = Key { slot: 0x2a_bcde, generation: 0x1234_5678 };
        assert_eq!(key.client_id(0x155), client_id(0x1234_5678_556a_bcde));
        for (slot, generation, thread) in [(0x3f_ffff, 0, 0), (0, u32::MAX, 0), (0, 0, 0x3ff), (1, 2, 3)] {
            let key = Key { slot, generation };
            assert_eq!((Key::from(key.client_id(thread)), thread_of(key.client_id(thread))), (key, thread));
        }
    }

    #[test]
    fn keys_lists_all_values_and_there_are_as_many_slots_as_ids() {
        let mut slots = Slots::new();
        let keys = [0, 1, 2].map(|value| slots.insert(value));
        slots.remove(keys[1]);
        assert_eq!(slots.keys(), [keys[0], keys[2]]);
        assert!(!slots.is_empty());

        let mut slots = Slots::new();
        slots.slots.resize_with((1 << 22) - 1, || Slot { generation: 0, value: Some(()) });
        assert!(slots.next_key().is_ok());
        let last = slots.insert(());
        assert!(slots.next_key().is_err());
        assert_eq!((last.slot, slots.remove(last)), ((1 << 22) - 1, Some(())));
        assert!(slots.next_key().is_ok());
    }
}
