//! Chance that can be replayed: one seed, one sequence.

/// `SplitMix64` of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators"
/// (OOPSLA 2014): one word of state, and any seed is as good as another.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        // The golden ratio, and the multipliers of the paper's `mix64variant13`.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Another sequence, which goes on by itself.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    /// One of `0..count`, which must not be empty. The bias of the remainder is below 2^-32 for all that happens here.
    ///
    /// # Panics
    /// When `count` is 0.
    pub fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).expect("a size has at most 64 bits");
        usize::try_from(self.next() % count).expect("it is less than a size")
    }

    /// One of `1..=max`, and one in eight times 1, the most awkward of all.
    pub fn up_to(&mut self, max: usize) -> usize {
        if self.next().is_multiple_of(8) {
            1
        } else {
            1 + self.below(max)
        }
    }

    /// True with this probability.
    pub fn roll(&mut self, probability: f64) -> bool {
        /// A float holds 53 bits exactly.
        const ALL: f64 = (1_u64 << 53) as f64;
        (self.next() >> 11) as f64 / ALL < probability
    }

    /// Any order of `items` (Durstenfeld, "Algorithm 235: Random permutation", 1964).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_are_those_of_the_reference() {
        // The published test vector for the seed 1234567.
        let mut chance = Chance::new(1_234_567);
        assert_eq!(chance.next(), 6_457_827_717_110_365_317);
        assert_eq!(chance.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn a_roll_keeps_to_its_probability() {
        let mut chance = Chance::new(1);
        assert!((0..1000).all(|_| !chance.roll(0.0)));
        assert!((0..1000).all(|_| chance.roll(1.0)));
        let hits = (0..10_000).filter(|_| chance.roll(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits} of 10,000");
    }
}
