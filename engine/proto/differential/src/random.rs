//! Chance from a seed: the same seed gives the same conversation, today and in a year.

/// A xorshift generator with a multiplied output (xorshift64*).
#[derive(Debug, Clone)]
pub struct Random {
    /// Invariant: not 0.
    state: u64,
}

impl Random {
    /// The generator of a seed; nearby seeds give unrelated numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // The finalizer of splitmix64 spreads a seed over all bits.
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self {
            state: (mixed ^ mixed >> 31) | 1,
        }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Any four bytes.
    pub fn four(&mut self) -> [u8; 4] {
        let [.., a, b, c, d] = self.number().to_le_bytes();
        [a, b, c, d]
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        self.four()[3]
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let high = (u128::from(self.number()) * limit as u128) >> 64;
        usize::try_from(high).unwrap_or(0)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// One of these, which are not none.
    pub fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_another_seed_others() {
        let numbers = |seed| {
            let mut random = Random::new(seed);
            (0..8).map(|_| random.number()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
    }

    #[test]
    fn below_stays_below_and_reaches_all() {
        let mut random = Random::new(3);
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[random.below(7)] = true;
        }
        assert_eq!(seen, [true; 7]);
    }
}
