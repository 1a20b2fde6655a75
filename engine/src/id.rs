//! The name of a connection that is never given twice.

use std::fmt;

const SLOT_BITS: u32 = 24;
const GENERATION_BITS: u32 = 30;

/// Shards have 10 bits of a [`ConnectionId`].
pub(crate) const SHARD_COUNT_MAX: usize = 1 << (64 - SLOT_BITS - GENERATION_BITS);

/// Slots have 24 bits of a [`ConnectionId`]: 16 million connections on one shard.
pub(crate) const SLOT_COUNT_MAX: usize = 1 << SLOT_BITS;

/// One connection of one server run.
///
/// ```text
///  63        54 53                       30 29                            0
/// ┌────────────┬───────────────────────────┬───────────────────────────────┐
/// │   shard    │            slot           │           generation          │
/// └────────────┴───────────────────────────┴───────────────────────────────┘
/// ```
///
/// A slot is used again; with its generation it is not, until a shard has accepted a
/// thousand million connections more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    pub(crate) fn new(shard: usize, slot: u32, generation: u32) -> Self {
        debug_assert!(shard < SHARD_COUNT_MAX);
        debug_assert!((slot as usize) < SLOT_COUNT_MAX);
        let generation = u64::from(generation) & ((1 << GENERATION_BITS) - 1);
        let slot = u64::from(slot) << GENERATION_BITS;
        Self((shard as u64) << (SLOT_BITS + GENERATION_BITS) | slot | generation)
    }

    /// The index of the shard that holds the connection.
    #[must_use]
    pub fn shard(self) -> usize {
        (self.0 >> (SLOT_BITS + GENERATION_BITS)) as usize
    }

    /// Where it lies on its shard, if it is still there: a small number, which another connection
    /// gets when this one is gone.
    #[must_use]
    pub fn slot(self) -> u32 {
        let slot = self.0 >> GENERATION_BITS & ((1 << SLOT_BITS) - 1);
        u32::try_from(slot).expect("it has 24 bits")
    }

    /// The id that is shown as this; `None` if none is.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| digits);
        number.map(Self)
    }

    /// The id as a number, for logs.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_has_another_id() {
        assert_ne!(ConnectionId::new(3, 9, 1), ConnectionId::new(3, 9, 2));
    }

    #[test]
    fn what_is_shown_can_be_read() {
        let id = ConnectionId::new(3, 9, 1);
        assert_eq!(ConnectionId::parse(&id.to_string()), Some(id));
        for text in [
            "",
            "1",
            "+000000000000001",
            "00000000000000001",
            "000000000000000g",
        ] {
            assert_eq!(ConnectionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_parts_do_not_touch_each_other() {
        let id = ConnectionId::new(SHARD_COUNT_MAX - 1, 0, u32::MAX);
        assert_eq!(id.shard(), SHARD_COUNT_MAX - 1);
        assert_ne!(id, ConnectionId::new(SHARD_COUNT_MAX - 1, 1, u32::MAX));
        assert_eq!(
            ConnectionId::new(SHARD_COUNT_MAX - 1, 77, u32::MAX).slot(),
            77
        );
        assert_eq!(ConnectionId::new(1, 2, 3).value(), 1 << 54 | 2 << 30 | 3);
    }
}
