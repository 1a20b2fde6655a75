//! A table that all shards share, cut into stripes with a lock each.
//!
//! ```text
//!  key ─▶ hash ─▶ one of 64 stripes: a lock and a table ─▶ its value
//! ```
//!
//! Connections come and go some thousand times a second, not a million: a lock that is held for one
//! look-up, and which two shards want at once one time in 64, costs less than a table for each shard
//! that the others would have to be asked for. Each stripe has cache lines of its own.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// More than there are cores on most machines.
pub(crate) const STRIPES: usize = 64;

/// The values of some keys.
pub(crate) type Table<K, V> = HashMap<K, V, RandomState>;

/// A value for each key, shared by all shards.
#[derive(Debug)]
pub(crate) struct Stripes<K, V> {
    /// Seeded: clients choose keys, and must not choose those that collide.
    hasher: RandomState,
    stripes: Box<[Stripe<K, V>]>,
}

/// Some of the keys. Two stripes have no cache line in common, nor a pair of them.
#[derive(Debug)]
#[repr(align(128))]
struct Stripe<K, V>(Mutex<Table<K, V>>);

impl<K, V> Default for Stripes<K, V> {
    fn default() -> Self {
        let hasher = RandomState::new();
        let stripe = |_| Stripe(Mutex::new(HashMap::with_hasher(hasher.clone())));
        Self {
            stripes: (0..STRIPES).map(stripe).collect(),
            hasher,
        }
    }
}

impl<K: Hash + Eq, V> Stripes<K, V> {
    /// The table that has this key, if any has. Nobody else sees it meanwhile.
    pub(crate) fn of(&self, key: &K) -> MutexGuard<'_, Table<K, V>> {
        // The table takes its own bits from both ends of the hash.
        let hash = self.hasher.hash_one(key) >> 32;
        self.stripes[usize::try_from(hash).expect("32 bits") % STRIPES].lock()
    }

    /// How many keys have a value.
    pub(crate) fn len(&self) -> usize {
        self.stripes.iter().map(|stripe| stripe.lock().len()).sum()
    }

    /// For how many keys there is room without more memory.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        let capacities = self.stripes.iter().map(|stripe| stripe.lock().capacity());
        capacities.sum()
    }
}

impl<K, V> Stripe<K, V> {
    /// Nothing is ever half written in there.
    fn lock(&self) -> MutexGuard<'_, Table<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
