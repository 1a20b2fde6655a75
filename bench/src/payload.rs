//! The messages of `echo`: each is different, and each is recognised without a copy of it.

use tidegate_proto::{Message, MessageKind};

use crate::pattern::{Pattern, characters, number};

/// Makes and recognises messages of one size.
#[derive(Debug)]
pub struct Payload(Pattern);

/// What a reply turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The one that was due.
    Right,
    /// Intact, but another one of the same connection, with this sequence number.
    Other(u32),
    /// Not anything that was sent here.
    Wrong,
}

/// The stamp: 28 bits of the sequence number and 20 of the connection's, 6 in a character.
const STAMP_SIZE: usize = 8;
const SEQUENCE_BITS: u32 = 28;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;

impl Payload {
    /// Messages of `size` bytes. Those of less than 5 bytes carry only the lowest bits of
    /// their sequence number, those of none are told by their kind and size alone.
    #[must_use]
    pub fn new(kind: MessageKind, size: usize) -> Self {
        Self(Pattern::new(kind, size))
    }

    /// Lends message number `sequence` of `connection` to `use_it`.
    pub fn with<T>(
        &mut self,
        sequence: u32,
        connection: u32,
        use_it: impl FnOnce(Message<'_>) -> T,
    ) -> T {
        self.0.with(sequence, &stamp(sequence, connection), use_it)
    }

    /// Is this message number `sequence` of `connection`?
    #[must_use]
    pub fn check(
        &self,
        sequence: u32,
        connection: u32,
        kind: MessageKind,
        bytes: &[u8],
    ) -> Verdict {
        if !self.0.is_alike(kind, bytes) {
            return Verdict::Wrong;
        }
        if self.is(sequence, connection, bytes) {
            return Verdict::Right;
        }
        let Some(low) = bytes.get(..STAMP_SIZE).and_then(number) else {
            return Verdict::Wrong;
        };
        // The nearest number that ends in these bits.
        let low = u32::try_from(low & SEQUENCE_MASK).expect("28 bits are left");
        let ahead = low.wrapping_sub(sequence) << (32 - SEQUENCE_BITS);
        let other = sequence.wrapping_add_signed(ahead.cast_signed() >> (32 - SEQUENCE_BITS));
        if self.is(other, connection, bytes) {
            Verdict::Other(other)
        } else {
            Verdict::Wrong
        }
    }

    fn is(&self, sequence: u32, connection: u32, bytes: &[u8]) -> bool {
        let stamp = stamp(sequence, connection);
        let stamped = STAMP_SIZE.min(bytes.len());
        bytes[..stamped] == stamp[..stamped] && self.0.matches(sequence, STAMP_SIZE, bytes)
    }
}

fn stamp(sequence: u32, connection: u32) -> [u8; STAMP_SIZE] {
    characters(u64::from(sequence) & SEQUENCE_MASK | u64::from(connection) << SEQUENCE_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [usize; 8] = [0, 1, 7, 8, 9, 20, 126, 16 * 1024];

    fn made(payload: &mut Payload, sequence: u32, connection: u32) -> Vec<u8> {
        payload.with(sequence, connection, |message| message.as_bytes().to_vec())
    }

    #[test]
    fn every_message_is_recognised() {
        for size in SIZES {
            let mut texts = Payload::new(MessageKind::Text, size);
            let mut binaries = Payload::new(MessageKind::Binary, size);
            for sequence in [0, 1, 255, 256, 1 << 28, u32::MAX] {
                let bytes = made(&mut texts, sequence, 999_999);
                assert_eq!(bytes.len(), size);
                assert_eq!(
                    texts.check(sequence, 999_999, MessageKind::Text, &bytes),
                    Verdict::Right
                );
                let bytes = made(&mut binaries, sequence, 0);
                assert_eq!(
                    binaries.check(sequence, 0, MessageKind::Binary, &bytes),
                    Verdict::Right
                );
            }
        }
    }

    #[test]
    fn a_neighbour_is_told_by_its_number() {
        let mut payload = Payload::new(MessageKind::Binary, 20);
        let bytes = made(&mut payload, 7, 3);
        assert_eq!(
            payload.check(6, 3, MessageKind::Binary, &bytes),
            Verdict::Other(7)
        );
        assert_eq!(
            payload.check(9, 3, MessageKind::Binary, &bytes),
            Verdict::Other(7)
        );
        assert_eq!(
            payload.check(7, 4, MessageKind::Binary, &bytes),
            Verdict::Wrong
        );
        let last = made(&mut payload, (1 << 28) - 1, 3);
        let verdict = payload.check(1 << 28, 3, MessageKind::Binary, &last);
        assert_eq!(verdict, Verdict::Other((1 << 28) - 1));
    }

    #[test]
    fn every_flipped_byte_and_the_wrong_kind_are_wrong() {
        let mut payload = Payload::new(MessageKind::Text, 40);
        let bytes = made(&mut payload, 5, 1);
        for index in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1;
            assert_eq!(
                payload.check(5, 1, MessageKind::Text, &flipped),
                Verdict::Wrong,
                "byte {index}"
            );
        }
        assert_eq!(
            payload.check(5, 1, MessageKind::Binary, &bytes),
            Verdict::Wrong
        );
        assert_eq!(
            payload.check(5, 1, MessageKind::Text, &bytes[1..]),
            Verdict::Wrong
        );
    }
}
