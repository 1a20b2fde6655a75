//! How many there are of each key at present, over all shards: connections of an address, or of a
//! user. A key of which there are none takes no memory.
//!
//! Memory: an entry is its key, 4 bytes and one of the table's, and up to twice that where a table
//! has just grown. There are no more entries than connections.

use std::hash::Hash;

use crate::stripes::Stripes;

/// A table without keys gives its memory back if it has room for more than so many.
const KEYS_KEPT_MAX: usize = 64;

/// Counts by key, shared by all shards.
#[derive(Debug)]
pub(crate) struct Tally<K>(Stripes<K, u32>);

/// There are as many of a key as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(Stripes::default())
    }
}

impl<K: Hash + Eq + Clone> Tally<K> {
    /// Counts one more of this key, if there are fewer than `max`.
    ///
    /// # Errors
    /// [`Full`]; nothing is counted then.
    pub(crate) fn add(&self, key: &K, max: u32) -> Result<(), Full> {
        let mut counts = self.0.of(key);
        match counts.get_mut(key) {
            Some(count) if *count >= max => Err(Full),
            Some(count) => {
                *count += 1;
                Ok(())
            }
            None if max == 0 => Err(Full),
            None => {
                counts.insert(key.clone(), 1);
                Ok(())
            }
        }
    }

    /// One of this key is gone.
    ///
    /// # Panics
    /// When it was never counted: ours would be the fault, and every later count wrong.
    pub(crate) fn give_back(&self, key: &K) {
        let mut counts = self.0.of(key);
        let count = counts.get_mut(key).expect("it was counted");
        *count -= 1;
        if *count > 0 {
            return;
        }
        counts.remove(key);
        if counts.is_empty() && counts.capacity() > KEYS_KEPT_MAX {
            counts.shrink_to_fit();
        }
    }

    /// How many there are of this key.
    #[cfg(test)]
    pub(crate) fn count(&self, key: &K) -> u32 {
        self.0.of(key).get(key).copied().unwrap_or(0)
    }

    /// How many keys there are of which there is any.
    pub(crate) fn key_count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripes::STRIPES;

    #[test]
    fn no_more_than_the_most_are_counted_and_what_is_given_back_can_be_had_again() {
        let tally = Tally::default();
        assert_eq!(tally.add(&"a", 0), Err(Full));
        assert_eq!(tally.add(&"a", 2), Ok(()));
        assert_eq!(tally.add(&"a", 2), Ok(()));
        assert_eq!(tally.add(&"a", 2), Err(Full));
        assert_eq!(tally.add(&"b", 2), Ok(()), "each key has its own");
        // Who lowers the most does not make anybody leave.
        assert_eq!(tally.add(&"a", 1), Err(Full));
        tally.give_back(&"a");
        assert_eq!(tally.add(&"a", 2), Ok(()));
        assert_eq!((tally.count(&"a"), tally.key_count()), (2, 2));
    }

    #[test]
    fn a_key_of_which_there_are_none_takes_no_memory() {
        let tally = Tally::default();
        for key in 0..100_000_u32 {
            tally.add(&key, 1).unwrap();
        }
        assert_eq!(tally.key_count(), 100_000);
        assert!(tally.0.capacity() <= 2 * 100_000 * 8 / 7 + STRIPES * 4);
        for key in 0..100_000 {
            tally.give_back(&key);
        }
        assert_eq!(tally.key_count(), 0);
        assert!(tally.0.capacity() <= STRIPES * KEYS_KEPT_MAX);
    }

    #[test]
    #[should_panic(expected = "it was counted")]
    fn giving_back_what_was_never_counted_is_our_own_fault() {
        let tally = Tally::default();
        tally.add(&1, 9).unwrap();
        tally.give_back(&2);
    }

    #[test]
    fn threads_that_come_and_go_leave_nothing_and_are_never_too_many() {
        const THREADS: u64 = 8;
        const MAX: u32 = 3;
        let tally = Tally::default();
        let work = |seed: u64| {
            let (mut held, mut most, mut refused) = (Vec::new(), 0, 0);
            let mut state = seed + 1;
            for _ in 0..20_000 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                if state >> 63 == 0 || held.is_empty() {
                    let key = (state >> 33) % 5;
                    match tally.add(&key, MAX) {
                        Ok(()) => held.push(key),
                        Err(Full) => refused += 1,
                    }
                    most = most.max(tally.count(&key));
                } else if let Some(key) = held.pop() {
                    tally.give_back(&key);
                }
            }
            held.iter().for_each(|key| tally.give_back(key));
            (most, refused)
        };
        let (most, refused) = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|seed| scope.spawn(move || work(seed)))
                .collect();
            let ends = threads.into_iter().map(|thread| thread.join().unwrap());
            ends.fold((0, 0), |sum, end| (sum.0.max(end.0), sum.1 + end.1))
        });
        assert_eq!(most, MAX, "the most were reached, and never exceeded");
        assert!(refused > 0);
        assert_eq!(tally.key_count(), 0);
    }
}
