//! A chunk of received bytes that is used up from the front.

use std::mem;

/// The bytes of one receive, lent to a session that takes events out of them.
///
/// They are lent mutably because payloads are unmasked where they lie.
#[derive(Debug)]
pub struct Input<'a> {
    rest: &'a mut [u8],
}

impl<'a> Input<'a> {
    /// An input that holds the whole of `chunk`.
    #[must_use]
    pub const fn new(chunk: &'a mut [u8]) -> Self {
        Self { rest: chunk }
    }

    /// How many bytes have not been taken yet.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether every byte has been taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes not taken yet.
    #[inline]
    pub(crate) const fn rest(&self) -> &[u8] {
        self.rest
    }

    /// Takes `size` bytes from the front; the caller knows that they are there.
    #[inline]
    pub(crate) fn take(&mut self, size: usize) -> &'a mut [u8] {
        let (taken, rest) = mem::take(&mut self.rest).split_at_mut(size);
        self.rest = rest;
        taken
    }

    /// Takes all that is left.
    pub(crate) fn discard(&mut self) {
        self.rest = &mut [];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_from_the_front_and_outlive_the_input() {
        let mut chunk = [1, 2, 3, 4];
        let mut input = Input::new(&mut chunk);
        let first = input.take(3);
        assert_eq!(input.remaining(), 1);
        assert_eq!(input.rest(), [4]);
        input.discard();
        assert!(input.is_empty());
        assert_eq!(first, [1, 2, 3]);
    }
}
