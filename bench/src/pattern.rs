//! Bytes for messages that cost nearly nothing to make and to check.
//!
//! ```text
//!   pattern   ..............................................   one for each worker
//!   message        [stamp   ....................]              a window of it
//! ```
//!
//! A message is a window of one pattern, at an offset that follows from its sequence number,
//! with a stamp written over the beginning. So a message of 16 KiB costs a few bytes of
//! writing, and is checked by two comparisons. Stamps are ASCII, and so is the whole pattern
//! of text messages.

use tidegate_proto::{Message, MessageKind};

/// The pattern, and the size of the windows.
#[derive(Debug)]
pub struct Pattern {
    bytes: Vec<u8>,
    kind: MessageKind,
    size: usize,
}

/// How many windows there are; offsets repeat after so many messages. A prime, so that two
/// numbers that differ in one bit never share a window.
const OFFSETS: usize = 251;

impl Pattern {
    /// For messages of `size` bytes.
    #[must_use]
    pub fn new(kind: MessageKind, size: usize) -> Self {
        let bytes = (0..size + OFFSETS)
            .map(|index| byte_at(kind, index))
            .collect();
        Self { bytes, kind, size }
    }

    /// Lends a message to `use_it`. A stamp larger than the message is cut.
    pub fn with<T>(
        &mut self,
        sequence: u32,
        stamp: &[u8],
        use_it: impl FnOnce(Message<'_>) -> T,
    ) -> T {
        let offset = offset_of(sequence);
        let stamped = stamp.len().min(self.size);
        self.bytes[offset..offset + stamped].copy_from_slice(&stamp[..stamped]);
        let result = use_it(message_of(
            self.kind,
            &self.bytes[offset..offset + self.size],
        ));
        for index in offset..offset + stamped {
            self.bytes[index] = byte_at(self.kind, index);
        }
        result
    }

    /// Are these the kind and the size of every message?
    #[must_use]
    pub fn is_alike(&self, kind: MessageKind, bytes: &[u8]) -> bool {
        kind == self.kind && bytes.len() == self.size
    }

    /// Are these, behind the first `stamped` bytes, the bytes of this number?
    #[must_use]
    pub fn matches(&self, sequence: u32, stamped: usize, bytes: &[u8]) -> bool {
        let offset = offset_of(sequence);
        let stamped = stamped.min(self.size);
        bytes.len() == self.size
            && bytes[stamped..] == self.bytes[offset + stamped..offset + self.size]
    }
}

fn message_of(kind: MessageKind, bytes: &[u8]) -> Message<'_> {
    match kind {
        // The pattern and every stamp are ASCII, and this is one cheap pass.
        MessageKind::Text => Message::Text(str::from_utf8(bytes).expect("it is ASCII")),
        MessageKind::Binary => Message::Binary(bytes),
    }
}

fn offset_of(sequence: u32) -> usize {
    sequence as usize % OFFSETS
}

fn byte_at(kind: MessageKind, index: usize) -> u8 {
    // Fibonacci hashing: neighbours differ, and so do windows.
    let [.., high] = (index as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .to_le_bytes();
    match kind {
        MessageKind::Text => b'a' + high % 26,
        MessageKind::Binary => high,
    }
}

/// The lowest `6 * N` bits as characters from `0` to `o`, the lowest first.
#[must_use]
pub fn characters<const N: usize>(number: u64) -> [u8; N] {
    let mut rest = number;
    std::array::from_fn(|_| {
        let [low, ..] = (rest & 63).to_le_bytes();
        rest >>= 6;
        b'0' + low
    })
}

/// What [`characters`] wrote; `None` if it cannot have written this.
#[must_use]
pub fn number(characters: &[u8]) -> Option<u64> {
    characters.iter().rev().try_fold(0, |number, character| {
        let six = character.wrapping_sub(b'0');
        (six < 64).then_some(number << 6 | u64::from(six))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_as_characters() {
        for value in [0, 1, 63, 64, (1 << 48) - 1] {
            assert_eq!(number(&characters::<8>(value)), Some(value));
        }
        assert_eq!(number(b"0000000~"), None);
    }

    #[test]
    fn a_stamp_leaves_no_trace() {
        let mut pattern = Pattern::new(MessageKind::Text, 30);
        let before = pattern.bytes.clone();
        pattern.with(3, b"0123456789", |message| {
            assert!(matches!(message, Message::Text(_)))
        });
        assert_eq!(pattern.bytes, before);
    }

    #[test]
    fn windows_of_different_numbers_differ() {
        let mut pattern = Pattern::new(MessageKind::Binary, 16);
        let first = pattern.with(1, b"", |message| message.as_bytes().to_vec());
        assert!(pattern.matches(1, 0, &first));
        assert!((2..252).all(|sequence| !pattern.matches(sequence, 0, &first)));
    }
}
