//! Copies of the small batches that wait to be submitted, which the kernel reads then.

/// The largest batch that is copied. A larger one is worth a system call of its own.
pub(super) const SLOT_SIZE: usize = 1024;

/// Echoes need no more than 20, which is what the kernel tells of at once; a publication may have
/// many subscribers. Whoever finds no slot sends directly.
const SLOT_COUNT: u16 = 256;

/// So many slots of one size, of which those are used again first that the cache still knows.
pub(super) struct Slots {
    memory: Box<[u8]>,
    /// Invariant: no slot stands in it twice, and none that the kernel may still read.
    free: Vec<u16>,
    /// How much of each slot is used.
    sizes: [u16; SLOT_COUNT as usize],
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            memory: vec![0; SLOT_SIZE * usize::from(SLOT_COUNT)].into_boxed_slice(),
            free: (0..SLOT_COUNT).rev().collect(),
            sizes: [0; SLOT_COUNT as usize],
        }
    }

    /// Copies the bytes into a slot; `None` if there is no such slot.
    #[inline]
    pub(super) fn fill(&mut self, bytes: &[u8]) -> Option<u16> {
        let size = u16::try_from(bytes.len()).ok()?;
        if bytes.is_empty() || bytes.len() > SLOT_SIZE {
            return None;
        }
        let slot = self.free.pop()?;
        self.sizes[usize::from(slot)] = size;
        let start = usize::from(slot) * SLOT_SIZE;
        self.memory[start..start + bytes.len()].copy_from_slice(bytes);
        Some(slot)
    }

    #[inline]
    pub(super) fn bytes(&self, slot: u16) -> &[u8] {
        let start = usize::from(slot) * SLOT_SIZE;
        &self.memory[start..][..usize::from(self.sizes[usize::from(slot)])]
    }

    /// The kernel has read it.
    #[inline]
    pub(super) fn give_back(&mut self, slot: u16) {
        debug_assert!(!self.free.contains(&slot), "it was given back already");
        self.free.push(slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_its_bytes_until_it_is_given_back() {
        let mut slots = Slots::new();
        let bytes = [b"a".repeat(SLOT_SIZE), b"b".to_vec(), b"c".repeat(100)];
        let filled = bytes.each_ref().map(|bytes| slots.fill(bytes).unwrap());
        for (slot, bytes) in filled.into_iter().zip(&bytes) {
            assert_eq!(slots.bytes(slot), bytes);
        }
        slots.give_back(filled[1]);
        assert_eq!(slots.fill(b"next"), Some(filled[1]));
        assert_eq!(slots.bytes(filled[0]), bytes[0]);
    }

    #[test]
    fn there_are_so_many_slots_of_such_a_size() {
        let mut slots = Slots::new();
        assert_eq!(slots.fill(b""), None);
        assert_eq!(slots.fill(&[0; SLOT_SIZE + 1]), None);
        assert_eq!(slots.fill(&[0; 1 << 16]), None);
        let filled: Vec<_> = (0..SLOT_COUNT).map(|_| slots.fill(b"x").unwrap()).collect();
        assert_eq!(slots.fill(b"x"), None);
        for slot in filled {
            slots.give_back(slot);
        }
        assert!(slots.fill(b"x").is_some());
    }
}
