//! Decisions taken from the front of a string of bytes, so that bytes can stand for anything.

/// What is left to decide with. Once it is used up, every decision is 0.
#[derive(Debug, Clone)]
pub(crate) struct Choices<'b> {
    rest: &'b [u8],
}

impl<'b> Choices<'b> {
    pub(crate) const fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn byte(&mut self) -> u8 {
        match self.rest {
            [first, rest @ ..] => {
                self.rest = rest;
                *first
            }
            [] => 0,
        }
    }

    pub(crate) const fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn array<const SIZE: usize>(&mut self) -> [u8; SIZE] {
        std::array::from_fn(|_| self.byte())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// One of these.
    pub(crate) fn among<T: Copy>(&mut self, items: &[T]) -> T {
        items[usize::from(self.byte()) % items.len()]
    }

    /// A size: each up to 127 has its byte, the others stand for steps of 50 up to 6,350.
    pub(crate) fn size(&mut self) -> usize {
        match usize::from(self.byte()) {
            small @ 0..128 => small,
            large => (large - 127) * 50,
        }
    }

    /// Up to 15 sizes.
    pub(crate) fn sizes(&mut self) -> Vec<usize> {
        let count = self.byte() % 16;
        (0..count).map(|_| self.size()).collect()
    }

    /// The next bytes, fewer at the end.
    pub(crate) fn bytes(&mut self, size: usize) -> &'b [u8] {
        let (taken, rest) = self.rest.split_at(size.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'b [u8] {
        self.bytes(usize::MAX)
    }

    /// A payload of a chosen size, repeated to a chosen length, so that few bytes make large ones.
    pub(crate) fn payload(&mut self) -> Vec<u8> {
        let size = self.size();
        let times = self.byte();
        let pattern = self.bytes(size);
        let times = if times < 200 {
            1
        } else {
            usize::from(times - 198)
        };
        pattern.repeat(times)
    }
}
