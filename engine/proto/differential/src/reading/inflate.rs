//! DEFLATE as RFC 1951 has it, slowly and in one piece, so that a reader's habits can be told apart.
//!
//! It shares no code with the libraries under test.

/// How decoding stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// All bytes are used and no block is open. The last block was empty, stored, and its lengths began
    /// at this byte, if it was such a one.
    Between(Option<usize>),
    /// All bytes are used within a block or a block's header.
    Within,
    /// There is no room for what comes next.
    Full,
    /// No sender may have sent this.
    Corrupt,
    /// As `Corrupt`: a match refers to more than there has been.
    TooFar,
    /// A final block has ended. It was empty, stored, and its lengths began at this byte, if it was.
    Final(Option<usize>),
}

/// Decoded bytes are appended to `out`, which begins with what may be referred to.
#[derive(Debug)]
pub(super) struct Decoder<'d> {
    bytes: &'d [u8],
    /// In bits.
    position: usize,
    out: &'d mut Vec<u8>,
    /// The length that `out` may have.
    room: usize,
}

/// Ends decoding early.
type Step<T> = Result<T, Stop>;

impl<'d> Decoder<'d> {
    /// A decoder of `bytes` that lets `out` grow to `room` bytes.
    pub(super) const fn new(bytes: &'d [u8], out: &'d mut Vec<u8>, room: usize) -> Self {
        Self {
            bytes,
            position: 0,
            out,
            room,
        }
    }

    /// Decodes until it must stop, and says how many bytes were used at least in part.
    pub(super) fn run(mut self) -> (Stop, usize) {
        let mut last_empty = None;
        let stop = loop {
            if self.position == self.bytes.len() * 8 {
                break Stop::Between(last_empty);
            }
            match self.block() {
                Err(stop) => break stop,
                Ok((false, empty)) => last_empty = empty,
                Ok((true, empty)) => break Stop::Final(empty),
            }
        };
        (stop, self.position.div_ceil(8))
    }

    /// Whether the block was final, and where its lengths began if it was stored and empty.
    fn block(&mut self) -> Step<(bool, Option<usize>)> {
        let is_final = self.bits(1)? == 1;
        let mut empty = None;
        match self.bits(2)? {
            0 => empty = self.stored()?,
            1 => self.symbols(&Code::new(&fixed_lengths()), &Code::new(&[5; 32]))?,
            2 => {
                let (literals, distances) = self.codes()?;
                self.symbols(&literals, &distances)?;
            }
            _ => return Err(Stop::Corrupt),
        }
        Ok((is_final, empty))
    }

    fn stored(&mut self) -> Step<Option<usize>> {
        let start = self.position.div_ceil(8);
        self.position = start * 8;
        let (length, complement) = (self.bits(16)?, self.bits(16)?);
        if length != !complement & 0xffff {
            return Err(Stop::Corrupt);
        }
        for _ in 0..length {
            self.make_room()?;
            let byte = self.bits(8)?;
            self.out.push(byte.to_le_bytes()[0]);
        }
        Ok((length == 0).then_some(start))
    }

    /// RFC 1951, 3.2.7: the two codes of a block.
    fn codes(&mut self) -> Step<(Code, Code)> {
        const ORDER: [usize; 19] = [
            16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
        ];
        let literal_count = self.bits(5)? + 257;
        let distance_count = self.bits(5)? + 1;
        let count = self.bits(4)? + 4;
        if literal_count > 286 || distance_count > 30 {
            return Err(Stop::Corrupt);
        }
        let mut lengths = [0; 19];
        for &index in &ORDER[..count] {
            lengths[index] = self.bits(3)?;
        }
        let code = Code::new(&lengths);
        let all = literal_count + distance_count;
        if code.symbols.is_empty() {
            // zlib reads one bit for each length, all of them 0, before it finds no end of block.
            for _ in 0..all {
                self.bits(1)?;
            }
        }
        if !code.is_complete() {
            return Err(Stop::Corrupt);
        }
        let mut lengths = Vec::with_capacity(all);
        while lengths.len() < all {
            let symbol = self.symbol(&code)?;
            let (value, times) = match symbol {
                0..16 => (symbol, 1),
                16 => {
                    let times = 3 + self.bits(2)?;
                    (*lengths.last().ok_or(Stop::Corrupt)?, times)
                }
                17 => (0, 3 + self.bits(3)?),
                _ => (0, 11 + self.bits(7)?),
            };
            if lengths.len() + times > all {
                return Err(Stop::Corrupt);
            }
            lengths.extend(std::iter::repeat_n(value, times));
        }
        let literals = Code::new(&lengths[..literal_count]);
        let distances = Code::new(&lengths[literal_count..]);
        let ends = lengths[256] != 0;
        if ends && literals.is_usable() && distances.is_usable() {
            Ok((literals, distances))
        } else {
            Err(Stop::Corrupt)
        }
    }

    fn symbols(&mut self, literals: &Code, distances: &Code) -> Step<()> {
        loop {
            let symbol = self.symbol(literals)?;
            match symbol {
                0..256 => {
                    self.make_room()?;
                    self.out.push(symbol.to_le_bytes()[0]);
                }
                256 => return Ok(()),
                257..286 => {
                    let length = self.value(symbol - 257, 3, 4)?;
                    let length = if symbol == 285 { 258 } else { length };
                    let symbol = self.symbol(distances)?;
                    if symbol >= 30 {
                        return Err(Stop::Corrupt);
                    }
                    let distance = self.value(symbol, 1, 2)?;
                    self.copy(length, distance)?;
                }
                _ => return Err(Stop::Corrupt),
            }
        }
    }

    fn copy(&mut self, length: usize, distance: usize) -> Step<()> {
        // The order of zlib: what cannot be put anywhere is not looked up either.
        self.make_room()?;
        let start = self.out.len().checked_sub(distance).ok_or(Stop::TooFar)?;
        for index in start..start + length {
            self.make_room()?;
            self.out.push(self.out[index]);
        }
        Ok(())
    }

    /// RFC 1951, 3.2.5: what the `index`-th symbol of lengths or of distances stands for.
    fn value(&mut self, index: usize, least: usize, per_bit: usize) -> Step<usize> {
        let extra = |index: usize| (index / per_bit).saturating_sub(1);
        if least == 3 && index == 28 {
            return Ok(258);
        }
        let base: usize = least + (0..index).map(|index| 1 << extra(index)).sum::<usize>();
        Ok(base + self.bits(extra(index))?)
    }

    fn symbol(&mut self, code: &Code) -> Step<usize> {
        let (mut value, mut first, mut index) = (0, 0, 0);
        for &count in &code.counts[1..] {
            value |= self.bits(1)?;
            if value < first + count {
                return Ok(code.symbols[index + value - first]);
            }
            if code.symbols.len() < 2 {
                // Nothing longer follows, so nothing longer is waited for.
                break;
            }
            index += count;
            first = (first + count) << 1;
            value <<= 1;
        }
        Err(Stop::Corrupt)
    }

    fn bits(&mut self, count: usize) -> Step<usize> {
        if self.position + count > self.bytes.len() * 8 {
            self.position = self.bytes.len() * 8;
            return Err(Stop::Within);
        }
        let mut value = 0;
        for index in 0..count {
            let at = self.position + index;
            value |= usize::from(self.bytes[at / 8] >> (at % 8) & 1) << index;
        }
        self.position += count;
        Ok(value)
    }

    const fn make_room(&self) -> Step<()> {
        if self.out.len() < self.room {
            Ok(())
        } else {
            Err(Stop::Full)
        }
    }
}

/// A canonical Huffman code (RFC 1951, 3.2.2).
#[derive(Debug)]
struct Code {
    /// How many codes there are of each length.
    counts: [usize; 16],
    /// In the order of their codes.
    symbols: Vec<usize>,
}

impl Code {
    fn new(lengths: &[usize]) -> Self {
        let mut counts = [0; 16];
        let mut symbols = Vec::new();
        for (length, count) in counts.iter_mut().enumerate().skip(1) {
            let before = symbols.len();
            let all = lengths.iter().enumerate();
            symbols.extend(all.filter(|(_, l)| **l == length).map(|(symbol, _)| symbol));
            *count = symbols.len() - before;
        }
        Self { counts, symbols }
    }

    /// What is left of the room for codes: 0 when complete, `None` when there are too many.
    fn left(&self) -> Option<usize> {
        let mut left = 1_usize;
        for count in &self.counts[1..] {
            left = (left * 2).checked_sub(*count)?;
        }
        Some(left)
    }

    fn is_complete(&self) -> bool {
        self.left() == Some(0)
    }

    /// Complete, or as zlib takes it: no code at all, or a single one of one bit.
    fn is_usable(&self) -> bool {
        let single = self.symbols.len() == self.counts[1];
        match self.left() {
            None => false,
            Some(0) => true,
            Some(_) => single && self.symbols.len() <= 1,
        }
    }
}

fn fixed_lengths() -> [usize; 288] {
    let mut lengths = [8; 288];
    lengths[144..256].fill(9);
    lengths[256..280].fill(7);
    lengths
}
