//! UTF-8 validation of text that arrives in pieces (RFC 6455, 8.1; RFC 3629).

use simdutf8::basic;

/// From this size on, in bytes, simdutf8 takes its vectors.
pub(crate) const VECTORS_SIZE_MIN: usize = 64;

/// The bytes are not UTF-8, whatever may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid utf-8")]
pub struct InvalidUtf8;

/// Validates text piece by piece and fails with the first byte that makes it invalid.
///
/// What a piece leaves unfinished, at most three bytes, is carried into the next. Vector instructions
/// do the rest in one pass; only the bytes around a cut are looked at one by one.
///
/// ```
/// let mut text = tidegate_proto::Utf8::new();
/// text.push(&[0xe2, 0x82])?;
/// assert!(text.finish().is_err()); // half a euro sign
/// text.push(&[0xac])?;
/// text.finish()?;
/// assert!(text.push(&[0xed, 0xa0]).is_err()); // a surrogate, known before its last byte
/// # Ok::<(), tidegate_proto::InvalidUtf8>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Utf8 {
    /// Invariant: `carry[..carry_size]` is the beginning of one character and not a whole one.
    carry: [u8; 3],
    carry_size: u8,
}

impl Utf8 {
    /// A validator that has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            carry: [0; 3],
            carry_size: 0,
        }
    }

    /// Takes the next piece of the text.
    ///
    /// # Errors
    /// [`InvalidUtf8`] as soon as no continuation could make the text valid, also for the second byte
    /// of a character that is still cut (`E0 80`, `ED A0`, `F0 80`, `F4 90`). Afterwards the validator
    /// is of no use.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), InvalidUtf8> {
        let bytes = if self.carry_size == 0 {
            bytes
        } else {
            self.finish_character(bytes)?
        };
        // What is too short for the vectors would go byte by byte.
        if bytes.len() < VECTORS_SIZE_MIN && bytes.is_ascii() {
            return Ok(());
        }
        let cut_size = cut_size(bytes);
        let (whole, cut) = bytes.split_at(bytes.len() - usize::from(cut_size));
        basic::from_utf8(whole).map_err(|_| InvalidUtf8)?;
        if cut.is_empty() {
            return Ok(());
        }
        match std::str::from_utf8(cut) {
            Err(error) if error.error_len().is_none() => {
                self.carry[..cut.len()].copy_from_slice(cut);
                self.carry_size = cut_size;
                Ok(())
            }
            _ => Err(InvalidUtf8),
        }
    }

    /// Whether the text so far ends within a character.
    #[inline]
    pub(crate) const fn is_cut(&self) -> bool {
        self.carry_size > 0
    }

    /// Ends the text.
    ///
    /// # Errors
    /// [`InvalidUtf8`] when the text ends within a character.
    pub const fn finish(&self) -> Result<(), InvalidUtf8> {
        if self.carry_size == 0 {
            Ok(())
        } else {
            Err(InvalidUtf8)
        }
    }

    /// Completes the carried character from the front of `bytes` and returns what is left of them.
    fn finish_character<'b>(&mut self, mut bytes: &'b [u8]) -> Result<&'b [u8], InvalidUtf8> {
        while self.carry_size > 0 {
            let Some((&byte, rest)) = bytes.split_first() else {
                break;
            };
            bytes = rest;
            let size = usize::from(self.carry_size);
            let mut character = [0; 4];
            character[..size].copy_from_slice(&self.carry[..size]);
            character[size] = byte;
            match std::str::from_utf8(&character[..=size]) {
                Ok(_) => self.carry_size = 0,
                Err(error) if error.error_len().is_some() => return Err(InvalidUtf8),
                Err(_) => {
                    self.carry[size] = byte;
                    self.carry_size += 1;
                }
            }
        }
        Ok(bytes)
    }
}

/// How many bytes at the end begin a character that needs more bytes, as its first byte has it. At most 3.
#[inline]
fn cut_size(bytes: &[u8]) -> u8 {
    let mut size = 0;
    for &byte in bytes.iter().rev().take(3) {
        size += 1;
        let whole = match byte {
            0x00..0x80 => return 0,
            0x80..0xC0 => continue,
            0xC0..0xE0 => 2,
            0xE0..0xF0 => 3,
            0xF0.. => 4,
        };
        return if size < whole { size } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_bytewise(bytes: &[u8]) -> Result<Utf8, usize> {
        let mut text = Utf8::new();
        for (index, byte) in bytes.iter().enumerate() {
            text.push(&[*byte]).map_err(|InvalidUtf8| index)?;
        }
        Ok(text)
    }

    #[test]
    fn whole_characters_of_each_length_pass_byte_by_byte() {
        let text = push_bytewise("aß€𝄞\u{10ffff}\u{d7ff}\u{e000}".as_bytes());
        assert_eq!(text.unwrap().finish(), Ok(()));
    }

    #[test]
    fn an_impossible_byte_fails_at_its_own_index() {
        let cases: [(&[u8], usize); 12] = [
            (&[0x80], 0),
            (&[0xc0], 0),
            (&[0xc1], 0),
            (&[0xf5], 0),
            (&[0xff], 0),
            (&[0xe0, 0x80], 1),
            (&[0xed, 0xa0], 1),
            (&[0xf0, 0x80], 1),
            (&[0xf4, 0x90], 1),
            (&[0xe2, 0x82, 0x28], 2),
            (&[0xf0, 0x9d, 0x84, 0x28], 3),
            (&[b'a', 0xc3, b'b'], 2),
        ];
        for (bytes, index) in cases {
            assert_eq!(push_bytewise(bytes), Err(index), "{bytes:x?}");
            assert_eq!(Utf8::new().push(bytes), Err(InvalidUtf8), "{bytes:x?}");
        }
    }

    #[test]
    fn a_cut_character_is_unfinished_until_its_last_byte() {
        let mut text = Utf8::new();
        for byte in [0xf0, 0x9d, 0x84] {
            text.push(&[byte]).unwrap();
            assert_eq!(text.finish(), Err(InvalidUtf8));
        }
        text.push(&[0x9e]).unwrap();
        assert_eq!(text.finish(), Ok(()));
    }

    #[test]
    fn long_pieces_with_a_cut_at_the_end_are_carried() {
        let mut text = Utf8::new();
        let mut piece = vec![b'x'; 1000];
        piece.extend_from_slice(&[0xf0, 0x9f, 0x98]);
        text.push(&piece).unwrap();
        assert_eq!(text.finish(), Err(InvalidUtf8));
        text.push(&[]).unwrap();
        text.push(&[0x80, b'y']).unwrap();
        assert_eq!(text.finish(), Ok(()));
    }
}
