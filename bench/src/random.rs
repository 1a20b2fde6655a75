//! Chance from a seed: masking keys and handshake keys.
//!
//! RFC 6455, 10.3 wants masking keys that a web page cannot predict, so that a script cannot
//! write chosen bytes through a browser past a proxy. Here nobody but the user chooses the
//! bytes, and a key that costs nothing keeps the client out of the measurement.

use std::time::Duration;

/// A xorshift generator with a multiplied output (xorshift64*).
#[derive(Debug, Clone)]
pub struct Random {
    /// Invariant: not 0.
    state: u64,
}

impl Random {
    /// The generator of `stream` under `seed`; nearby numbers give unrelated streams.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Self {
        let mixed = scramble(scramble(seed) ^ stream);
        Self { state: mixed | 1 }
    }

    /// Any number.
    pub fn next_number(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A masking key.
    pub fn next_mask(&mut self) -> [u8; 4] {
        let [.., a, b, c, d] = self.next_number().to_le_bytes();
        [a, b, c, d]
    }

    /// A time between nothing and this, all alike.
    pub fn next_duration(&mut self, longest: Duration) -> Duration {
        let span = longest.as_nanos() + 1;
        // The upper 64 bits of a product: no division, and no bias that anybody could measure.
        let part = (u128::from(self.next_number()) * span) >> 64;
        Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// The sixteen bytes of a `Sec-WebSocket-Key`.
    pub fn next_key(&mut self) -> [u8; 16] {
        let (first, second) = (self.next_number(), self.next_number());
        (u128::from(first) << 64 | u128::from(second)).to_le_bytes()
    }
}

/// Spreads a number over all its bits (the finalizer of splitmix64).
fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_can_be_replayed_and_streams_differ() {
        let mut first = Random::new(7, 1);
        let mut again = Random::new(7, 1);
        let mut other = Random::new(7, 2);
        let keys: Vec<_> = (0..100).map(|_| first.next_mask()).collect();
        assert!(keys.iter().all(|key| *key == again.next_mask()));
        assert!(keys.iter().filter(|key| **key == other.next_mask()).count() < 2);
        assert_ne!(Random::new(0, 0).next_number(), 0);
    }
}
