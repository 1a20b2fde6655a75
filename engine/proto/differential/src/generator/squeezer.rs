//! Compresses messages in every way that DEFLATE has (RFC 1951), and in some that it has not.

use std::fmt;

use flate2::{Compress, Compression as Level, FlushCompress};

use crate::conversation::Compression;
use crate::random::Random;

/// A sender's compression during one conversation.
pub(super) struct Squeezer {
    real: Compress,
    /// Whether the conversation is compressed by a real library from end to end.
    is_real: bool,
    takeover: bool,
    /// What a message may refer to.
    history: Vec<u8>,
    bits: BitWriter,
}

impl fmt::Debug for Squeezer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Squeezer").finish_non_exhaustive()
    }
}

impl Default for Squeezer {
    fn default() -> Self {
        Self {
            real: Compress::new(Level::new(6), false),
            is_real: false,
            takeover: false,
            history: Vec::new(),
            bits: BitWriter::default(),
        }
    }
}

impl Squeezer {
    /// Begins a conversation.
    pub(super) fn start(&mut self, random: &mut Random, compression: Compression) {
        if compression == Compression::None {
            return;
        }
        self.takeover = compression == Compression::Takeover;
        self.is_real = random.percent(25);
        self.history.clear();
        if self.is_real {
            self.real.reset();
        }
    }

    /// Compresses a message into `out`, without the tail that is cut off (RFC 7692, 7.2.1).
    pub(super) fn squeeze(
        &mut self,
        random: &mut Random,
        payload: &[u8],
        wild: bool,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        if self.is_real {
            self.squeeze_really(payload, out);
        } else {
            self.squeeze_by_hand(random, payload, wild, out);
        }
        if wild && random.percent(15) {
            spoil(random, out);
        }
    }

    fn squeeze_really(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        if !self.takeover {
            self.real.reset();
        }
        out.reserve(payload.len() + payload.len() / 8 + 64);
        let made = self.real.compress_vec(payload, out, FlushCompress::Sync);
        made.expect("memory can be compressed into");
        out.truncate(out.len().saturating_sub(4));
    }

    fn squeeze_by_hand(
        &mut self,
        random: &mut Random,
        payload: &[u8],
        wild: bool,
        out: &mut Vec<u8>,
    ) {
        // Some senders forget that they must not refer to earlier messages.
        let forgets = !wild || !random.percent(15);
        if !self.takeover && forgets {
            self.history.clear();
        }
        self.bits.begin(out);
        let block_count = 1 + random.below(2);
        let mut rest = payload;
        for left in (0..block_count).rev() {
            let size = if left == 0 {
                rest.len()
            } else {
                random.below(rest.len() + 1)
            };
            let (block, after) = rest.split_at(size);
            rest = after;
            let is_final = random.percent(6);
            if random.percent(25) {
                self.put_stored(block, is_final, out);
            } else {
                self.put_fixed(random, block, is_final, wild, out);
            }
            if is_final {
                self.bits.align(out);
                // Hardly a sender refers back over the end of a final block.
                if !random.percent(20) {
                    self.history.clear();
                }
            }
        }
        // The empty block without its lengths; some are final too.
        let is_final = wild && random.percent(3);
        self.bits.put(u32::from(is_final), 3, out);
        self.bits.align(out);
        if self.history.len() > 40_000 {
            self.history.drain(..8_000);
        }
    }

    fn put_stored(&mut self, mut block: &[u8], is_final: bool, out: &mut Vec<u8>) {
        loop {
            let size = block.len().min(0xffff);
            let last = size == block.len();
            self.bits.put(u32::from(is_final && last), 3, out);
            self.bits.align(out);
            let length = u16::try_from(size).expect("as cut above");
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&(!length).to_le_bytes());
            out.extend_from_slice(&block[..size]);
            self.history.extend_from_slice(&block[..size]);
            block = &block[size..];
            if last {
                return;
            }
        }
    }

    fn put_fixed(
        &mut self,
        random: &mut Random,
        block: &[u8],
        is_final: bool,
        wild: bool,
        out: &mut Vec<u8>,
    ) {
        self.bits.put(u32::from(is_final) | 1 << 1, 3, out);
        let mut at = 0;
        while at < block.len() {
            let distance = self.guess_distance(random);
            let length = self.match_length(&block[at..], distance);
            if length >= 3 {
                self.put_match(length, distance, out);
                at += length;
                self.history.extend_from_slice(&block[at - length..at]);
            } else {
                self.put_literal(block[at], out);
                self.history.push(block[at]);
                at += 1;
            }
        }
        if wild && random.percent(2) {
            // A match that nothing before it explains, or may.
            let distance = random.pick(&[20, 200, 32_768]);
            self.put_match(3 + random.below(256), 1 + random.below(distance), out);
        }
        self.put_code(0, 7, out);
    }

    fn guess_distance(&self, random: &mut Random) -> usize {
        match random.below(4) {
            0 => 1 + random.below(self.history.len().clamp(1, 32_768)),
            1 => random.pick(&[64, 128, 2, 4]),
            _ => 1,
        }
    }

    /// How far `block` says again what was said `distance` bytes ago, at most 258 bytes.
    fn match_length(&self, block: &[u8], distance: usize) -> usize {
        let Some(start) = self.history.len().checked_sub(distance) else {
            return 0;
        };
        let earlier = |index: usize| match self.history.get(start + index) {
            Some(byte) => *byte,
            None => block[index - distance],
        };
        (0..block.len().min(258))
            .take_while(|&index| earlier(index) == block[index])
            .count()
    }

    fn put_literal(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            0..144 => self.put_code(0x30 + u32::from(byte), 8, out),
            144.. => self.put_code(0x190 + u32::from(byte) - 144, 9, out),
        }
    }

    fn put_match(&mut self, length: usize, distance: usize, out: &mut Vec<u8>) {
        let (symbol, base, extra) = if length == 258 {
            (285, 258, 0)
        } else {
            coded(length, 3, 257, 4)
        };
        let symbol = u32::try_from(symbol).expect("at most 285");
        if symbol < 280 {
            self.put_code(symbol - 256, 7, out);
        } else {
            self.put_code(0xc0 + symbol - 280, 8, out);
        }
        self.put_extra(length - base, extra, out);
        let (symbol, base, extra) = coded(distance, 1, 0, 2);
        self.put_code(u32::try_from(symbol).expect("at most 29"), 5, out);
        self.put_extra(distance - base, extra, out);
    }

    fn put_extra(&mut self, value: usize, count: u32, out: &mut Vec<u8>) {
        self.bits
            .put(u32::try_from(value).expect("at most 13 bits"), count, out);
    }

    /// A Huffman code, whose highest bit goes first.
    fn put_code(&mut self, code: u32, count: u32, out: &mut Vec<u8>) {
        self.bits
            .put(code.reverse_bits() >> (32 - count), count, out);
    }
}

/// RFC 1951, 3.2.5: the symbol of a length or distance, the least value it stands for, and the number of
/// extra bits. The first `2 * per_bit` values have none; then each `per_bit` symbols share a number.
fn coded(value: usize, least: usize, symbol: usize, per_bit: usize) -> (usize, usize, u32) {
    let (mut symbol, mut base) = (symbol, least);
    let mut index = 0;
    loop {
        let extra = if index < 2 * per_bit {
            0
        } else {
            index / per_bit - 1
        };
        if value < base + (1 << extra) {
            return (symbol, base, u32::try_from(extra).expect("at most 13"));
        }
        base += 1 << extra;
        symbol += 1;
        index += 1;
    }
}

/// Makes compressed data wrong: changed, cut, followed by something, or nothing at all.
fn spoil(random: &mut Random, out: &mut Vec<u8>) {
    match random.below(6) {
        0 | 1 if !out.is_empty() => {
            let index = random.below(out.len());
            out[index] ^= 1 << random.below(8);
        }
        2 => out.truncate(random.below(out.len() + 1)),
        3 => {
            out.pop();
        }
        4 => out.clear(),
        _ => out.push(random.byte()),
    }
}

/// Writes bits, the lowest first.
#[derive(Debug, Default)]
struct BitWriter {
    held: u64,
    count: u32,
}

impl BitWriter {
    fn begin(&mut self, out: &mut Vec<u8>) {
        out.clear();
        (self.held, self.count) = (0, 0);
    }

    fn put(&mut self, bits: u32, count: u32, out: &mut Vec<u8>) {
        self.held |= u64::from(bits) << self.count;
        self.count += count;
        while self.count >= 8 {
            out.push(self.held.to_le_bytes()[0]);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    /// Ends the byte with zeros.
    fn align(&mut self, out: &mut Vec<u8>) {
        if self.count > 0 {
            out.push(self.held.to_le_bytes()[0]);
        }
        (self.held, self.count) = (0, 0);
    }
}
